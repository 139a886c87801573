//! What the audit log says about the configuration: names, and whether values are others than at the last start.
//!
//! Invariant: no value stands in the log, because some may be secret to somebody. In its place stands a keyed hash of
//! it, so that a change is seen by comparing.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use till_core::audit::Actor;
use till_core::hex::to_hex;
use till_core::token::AuditKeys;
use till_store::{AuditAction, AuditQuery, Store, StoreError};

use crate::env::Surroundings;
use crate::prices;
use crate::settings::{Settings, TABLE, Written};

const START: &str = "instance.start";

/// Hexadecimal digits of a hash that are kept: enough to tell values apart.
const DIGITS: usize = 16;

/// By name: hashes of what is not as it is by default.
type Configuration = BTreeMap<String, String>;

/// Enters the start, what differs from the last one in front of it, and signs both.
pub(super) async fn enter_start(
    store: &Store,
    keys: &AuditKeys,
    written: &Written,
    (settings, surroundings): (&Settings, &Surroundings),
    url: &str,
    mut started: Value,
) -> Result<(), StoreError> {
    let now = configuration(keys, written, settings, surroundings);
    if let Some(change) = last(store).await?.and_then(|before| change(&before, &now)) {
        store.audit_append("config.change", "", change, &Actor::system()).await?;
    }
    started["settings"] = json!(now);
    store.audit_append(START, url, started, &Actor::system()).await?;
    store.audit_seal().await
}

fn configuration(
    keys: &AuditKeys,
    written: &Written,
    settings: &Settings,
    surroundings: &Surroundings,
) -> Configuration {
    let mut values = written.tables();
    for setting in TABLE {
        let Some(entries) = written.of(setting).into_iter().next() else { continue };
        let texts: Vec<&str> = entries.iter().map(|entry| entry.text.as_str()).collect();
        let text = texts.join("\0");
        if setting.default.text(settings, surroundings).as_deref() != Some(&text) {
            values.push((setting.name.to_owned(), text));
        }
    }
    if let Ok(text) = std::fs::read_to_string(prices::installed_path(&settings.data)) {
        values.push(("installed prices".to_owned(), text));
    }
    let hash = |name: &str, value: &str| to_hex(&keys.setting_hash(name, value))[..DIGITS].to_owned();
    values.into_iter().map(|(name, value)| (name.clone(), hash(&name, &value))).collect()
}

/// That of the last start; `None` when the log does not say.
async fn last(store: &Store) -> Result<Option<Configuration>, StoreError> {
    let query = AuditQuery {
        limit: 1,
        newest_first: true,
        action: Some(AuditAction::Is(START.to_owned())),
        ..AuditQuery::default()
    };
    let entry = store.audit_page(query).await?.pop();
    let detail: Option<Value> = entry.and_then(|entry| serde_json::from_str(&entry.detail).ok());
    Ok(detail.and_then(|detail| serde_json::from_value(detail["settings"].clone()).ok()))
}

/// Names of what was set, unset and changed; `None` when nothing was.
fn change(before: &Configuration, now: &Configuration) -> Option<Value> {
    let only = |one: &Configuration, other: &Configuration| -> Vec<String> {
        one.keys().filter(|name| !other.contains_key(*name)).cloned().collect()
    };
    let changed: Vec<&String> = now
        .iter()
        .filter(|(name, hash)| before.get(*name).is_some_and(|before| before != *hash))
        .map(|(name, _)| name)
        .collect();
    (before != now).then(|| json!({"set": only(now, before), "unset": only(before, now), "changed": changed}))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::json;
    use till_core::token::{AuditKeys, IndexKey};

    use super::{change, configuration};
    use crate::env::Surroundings;
    use crate::settings::{SettingFlags, Settings, Written};

    fn of(flags: &[(&'static str, &str)]) -> super::Configuration {
        let surroundings = Surroundings::of(&[("HOME", "/home/u")]);
        let written = Written::gather(&SettingFlags::of(flags), &surroundings);
        let settings = Settings { data: PathBuf::from("/nowhere"), ..Settings::default() };
        let keys = AuditKeys::derive(&IndexKey::from_bytes([1; 32]));
        configuration(&keys, &written, &settings, &surroundings)
    }

    #[test]
    fn what_differs_is_named_and_no_value_is_told() {
        let before = of(&[("listen", "127.0.0.1:7"), ("idle-timeout", "9m"), ("connect-timeout", "10s")]);
        assert_eq!(before.keys().collect::<Vec<_>>(), ["idle-timeout", "listen"], "the default is none");
        let now = of(&[("listen", "127.0.0.1:8"), ("log-requests", "off")]);
        assert_eq!(
            change(&before, &now),
            Some(json!({"set": ["log-requests"], "unset": ["idle-timeout"], "changed": ["listen"]}))
        );
        assert_eq!(change(&now, &of(&[("log-requests", "off"), ("listen", "127.0.0.1:8")])), None);
        let told = format!("{before:?}{now:?}");
        assert!(!told.contains("127.0.0.1") && !told.contains("9m"), "{told}");
    }
}
