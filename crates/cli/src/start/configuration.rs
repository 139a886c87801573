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
    let kept = json!(now);
    if let Some(change) = last(store).await?.and_then(|before| change(&before, &now)) {
        store.audit_append("config.change", "", change, &Actor::system()).await?;
    }
    started["settings"] = kept.clone();
    store.audit_start(START, url, started, kept.to_string()).await?;
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
    let proxies = surroundings.proxies();
    // Without a proxy it says nothing.
    let exceptions = proxies.no_proxy.filter(|_| proxies.https.is_some() || proxies.http.is_some());
    for (name, value) in
        [("HTTPS_PROXY", proxies.https), ("HTTP_PROXY", proxies.http), ("NO_PROXY", exceptions)]
    {
        values.extend(value.map(|value| (name.to_owned(), value)));
    }
    let listener = settings.tls_files().map(|(certificate, _)| ("tls-cert", certificate));
    let authorities = settings.upstream_ca.iter().map(|file| ("upstream-ca", file.as_path()));
    for (name, file) in authorities.chain(listener) {
        // What can't be read kept the start from coming this far.
        let content = std::fs::read(file).unwrap_or_default();
        values.push((format!("{name} {}", file.display()), to_hex(&content)));
    }
    let hash = |name: &str, value: &str| to_hex(&keys.setting_hash(name, value))[..DIGITS].to_owned();
    values.into_iter().map(|(name, value)| (name.clone(), hash(&name, &value))).collect()
}

/// That of the last start; `None` when there was none. The entry is chained and signed; what is kept beside the log is for
/// when the entry was deleted by age.
async fn last(store: &Store) -> Result<Option<Configuration>, StoreError> {
    let query = AuditQuery {
        limit: 1,
        newest_first: true,
        action: Some(AuditAction::Is(START.to_owned())),
        ..AuditQuery::default()
    };
    let entry = store.audit_page(query).await?.pop();
    let Some(entry) = entry else {
        return Ok(store.audit_state().await?.settings.and_then(|kept| serde_json::from_str(&kept).ok()));
    };
    let detail: Value = serde_json::from_str(&entry.detail).unwrap_or_default();
    Ok(serde_json::from_value(detail["settings"].clone()).ok())
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
        with(flags, &[], Settings::default())
    }

    fn with(
        flags: &[(&'static str, &str)],
        variables: &[(&str, &str)],
        settings: Settings,
    ) -> super::Configuration {
        let surroundings = Surroundings::of(&[&[("HOME", "/home/u")], variables].concat());
        let written = Written::gather(&SettingFlags::of(flags), &surroundings);
        let settings = Settings { data: PathBuf::from("/nowhere"), ..settings };
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

    #[test]
    fn what_decides_where_keys_go_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let now = |variables: &[(&str, &str)], content: &str| {
            std::fs::write(&file, content).unwrap();
            with(&[], variables, Settings { upstream_ca: vec![file.clone()], ..Settings::default() })
        };
        let plain = now(&[("NO_PROXY", "*")], "one authority");
        assert_eq!(plain.len(), 1, "{plain:?}");
        let name = format!("upstream-ca {}", file.display());
        let other = change(&plain, &now(&[], "another authority")).unwrap();
        assert_eq!(other["changed"], json!([name]), "the same path");
        let proxies = [("https_proxy", "http://user:word@proxy:1"), ("NO_PROXY", "localhost")];
        let proxied = now(&proxies, "one authority");
        assert_eq!(change(&plain, &proxied).unwrap()["set"], json!(["HTTPS_PROXY", "NO_PROXY"]));
        assert!(!format!("{proxied:?}").contains("word"));
    }
}
