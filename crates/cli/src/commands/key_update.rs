//! `till keys update`, `pause`, `resume`, and `revoke` of many

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};
use till_core::time::Timestamp;

use super::confirm::{self, counted};
use super::keys::{named, path, print_key};
use super::status::text;
use crate::args::life::{Clear, KeyUpdate, KeysRevoke, LifeFlags, RateFlags};
use crate::args::{Form, OneKey};
use crate::client::Client;
use crate::env::Surroundings;
use crate::exit::Usage;
use crate::output;

pub(crate) fn update(wanted: &KeyUpdate, surroundings: &Surroundings) -> anyhow::Result<()> {
    let body = changes(wanted)?;
    let answer = Client::new(&wanted.connection, surroundings)?
        .patch(&path(&wanted.id), &body)
        .with_context(|| named(&wanted.id))?;
    print_key(&answer, wanted.output)
}

pub(crate) fn pause(
    wanted: &OneKey,
    reason: Option<&str>,
    paused: bool,
    surroundings: &Surroundings,
) -> anyhow::Result<()> {
    let mut body = json!({"paused": paused});
    if let Some(reason) = reason {
        body["paused_reason"] = json!(reason);
    }
    let answer = Client::new(&wanted.connection, surroundings)?
        .patch(&path(&wanted.id), &body)
        .with_context(|| named(&wanted.id))?;
    if wanted.output.form == Form::Table {
        let (id, status) = (text(&answer["key"]["id"]), text(&answer["key"]["status"]));
        let outcome = if paused {
            format!("{id} is paused: its requests are refused until `till keys resume {id}`.")
        } else {
            format!("{id} goes on; its status is {status}.")
        };
        output::line(&output::plain(&outcome))?;
        return Ok(());
    }
    print_key(&answer, wanted.output)
}

/// The bounds in time as the API takes them.
pub(super) fn life(flags: &LifeFlags) -> Map<String, Value> {
    let fields = [
        ("expires_at", json!(flags.expires_at)),
        ("ttl_seconds", json!(flags.ttl)),
        ("not_before", json!(flags.not_before)),
        ("activate_by", json!(flags.activate_by)),
        ("idle_expiry_seconds", json!(flags.idle_expiry)),
    ];
    fields
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The rates as the API takes them, if any is given.
pub(super) fn rate(flags: &RateFlags) -> Option<Value> {
    let fields = [
        ("requests_per_minute", flags.rpm),
        ("tokens_per_minute", flags.tpm),
        ("concurrent", flags.concurrent),
    ];
    let given: Map<String, Value> =
        fields.into_iter().filter_map(|(name, rate)| Some((name.to_owned(), json!(rate?)))).collect();
    (!given.is_empty()).then_some(Value::Object(given))
}

fn changes(wanted: &KeyUpdate) -> anyhow::Result<Value> {
    let metadata = match wanted.metadata_json.as_deref().map(serde_json::from_str) {
        None => Value::Null,
        Some(Ok(Value::Object(metadata))) => Value::Object(metadata),
        Some(Ok(_)) => bail!(Usage("--metadata-json is not a JSON object".into())),
        Some(Err(error)) => bail!(Usage(format!("--metadata-json is not JSON: {error}"))),
    };
    let mut body = life(&wanted.life);
    body.extend(rate(&wanted.rate).map(|rate| ("rate".to_owned(), rate)));
    for (name, value) in [
        ("name", json!(wanted.name)),
        ("metadata", metadata),
        ("max_activations", json!(wanted.max_activations)),
        ("max_tokens", json!(wanted.max_tokens)),
        ("max_spend_usd", json!(wanted.max_spend_usd)),
        ("add_activations", json!(wanted.add_activations)),
        ("add_tokens", json!(wanted.add_tokens)),
        ("add_spend_usd", json!(wanted.add_spend_usd)),
        ("clamp", json!(wanted.clamp)),
        ("durability", json!(wanted.durability)),
    ] {
        if !value.is_null() {
            body.insert(name.to_owned(), value);
        }
    }
    for clear in &wanted.clear {
        let name = match clear {
            Clear::Name => "name",
            Clear::Metadata => "metadata",
            Clear::MaxActivations => "max_activations",
            Clear::MaxTokens => "max_tokens",
            Clear::MaxSpend => "max_spend_usd",
            Clear::ExpiresAt => "expires_at",
            Clear::NotBefore => "not_before",
            Clear::ActivateBy => "activate_by",
            Clear::IdleExpiry => "idle_expiry_seconds",
            Clear::Rate => "rate",
        };
        if body.insert(name.to_owned(), Value::Null).is_some_and(|value| !value.is_null()) {
            bail!(Usage(format!("`{name}` is set and cleared at once")));
        }
    }
    if body.is_empty() {
        bail!(Usage("there is nothing to change; see `till keys update --help`".into()));
    }
    Ok(Value::Object(body))
}

pub(crate) fn revoke_many(wanted: &KeysRevoke, surroundings: &Surroundings) -> anyhow::Result<()> {
    let mut filter = filter(wanted)?;
    let client = Client::new(&wanted.connection, surroundings)?;
    filter["dry_run"] = json!(true);
    let preview = client.post("/admin/keys/revoke", Some(&filter))?;
    let count = preview["ids"].as_array().map_or(0, Vec::len);
    if wanted.dry_run || count == 0 {
        return report(&preview, wanted, "would be revoked");
    }
    confirm::ask(&format!("Revoke {}, for good?", counted(count, "key")), wanted.yes)?;
    filter["dry_run"] = json!(false);
    report(&client.post("/admin/keys/revoke", Some(&filter))?, wanted, "revoked")
}

fn report(answer: &Value, wanted: &KeysRevoke, outcome: &str) -> anyhow::Result<()> {
    if wanted.output.form == Form::Json {
        output::json(answer)?;
        return Ok(());
    }
    let ids: Vec<String> = answer["ids"].as_array().into_iter().flatten().map(text).collect();
    for id in &ids {
        output::line(&output::plain(id))?;
    }
    output::line(&format!("{} {outcome}.", counted(ids.len(), "key")))?;
    Ok(())
}

fn filter(wanted: &KeysRevoke) -> anyhow::Result<Value> {
    let mut filter = json!({});
    for pair in &wanted.where_ {
        let Some((name, value)) = pair.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            bail!(Usage(format!("--where `{pair}` is not NAME=VALUE")));
        };
        let (field, condition) = match name {
            "project" | "upstream" => (name, json!(value)),
            _ => ("metadata", json!({ name.strip_prefix("metadata.").unwrap_or(name): value })),
        };
        if !filter[field].is_null() {
            bail!(Usage(format!("only one `{field}` can be a condition")));
        }
        filter[field] = condition;
    }
    for (field, value) in [("project", &wanted.project), ("upstream", &wanted.upstream)] {
        let Some(value) = value else { continue };
        if !filter[field].is_null() {
            bail!(Usage(format!("`{field}` stands there twice")));
        }
        filter[field] = json!(value);
    }
    if let Some(provider) = &wanted.provider {
        filter["provider"] = json!(provider);
    }
    if let Some(master_key) = &wanted.master_key {
        filter["master_key"] = json!(master_key);
    }
    if let Some(status) = wanted.status {
        filter["status"] = json!(status.word());
    }
    for (name, span) in [("last_used_before", wanted.unused_for), ("created_before", wanted.older_than)] {
        if let Some(seconds) = span {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            filter[name] = json!(till_admin::rfc3339(Timestamp(now.saturating_sub(seconds) * 1000)));
        }
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::{changes, filter};
    use crate::args::{Cli, Command, KeysCommand};

    fn parsed(line: &[&str]) -> Option<KeysCommand> {
        let all = ["till", "keys"];
        match Cli::try_parse_from(all.iter().chain(line)).ok()?.command {
            Command::Keys(command) => Some(command),
            _ => None,
        }
    }

    fn update(line: &[&str]) -> Option<Value> {
        match parsed(&[&["update", "key_1"], line].concat())? {
            KeysCommand::Update(wanted) => changes(&wanted).ok(),
            _ => None,
        }
    }

    #[test]
    fn flags_become_a_change() {
        assert_eq!(update(&["--max-activations", "8"]), Some(json!({"max_activations": 8})));
        assert_eq!(
            update(&[
                "--add-spend-usd",
                "1.50",
                "--ttl",
                "7d",
                "--clamp",
                "false",
                "--durability",
                "call",
                "--clear",
                "not-before,max-tokens"
            ]),
            Some(
                json!({"add_spend_usd": "1.50", "ttl_seconds": 604_800, "clamp": false, "durability": "call", "not_before": null, "max_tokens": null})
            )
        );
        for wrong in [
            &[][..],
            &["--ttl", "7"],
            &["--ttl", "7d", "--expires-at", "2027-01-31T08:00:00Z"],
            &["--max-tokens", "5", "--clear", "max-tokens"],
            &["--durability", "none"],
            &["--clear", "status"],
            &["--metadata-json", "[]"],
        ] {
            assert_eq!(update(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn rates_are_one_field() {
        let set = update(&["--rpm", "60", "--concurrent", "4"]);
        assert_eq!(set, Some(json!({"rate": {"requests_per_minute": 60, "concurrent": 4}})));
        assert_eq!(update(&["--clear", "rate"]), Some(json!({"rate": null})));
        assert_eq!(update(&["--clear", "rate", "--tpm", "5"]), None);
    }

    #[test]
    fn many_keys_are_chosen_by_conditions() {
        let revoke = |line: &[&str]| match parsed(&[&["revoke"], line].concat())? {
            KeysCommand::Revoke(wanted) => Some((wanted.id.clone(), filter(&wanted).ok()?)),
            _ => None,
        };
        assert_eq!(revoke(&["key_1"]), Some((Some("key_1".into()), json!({}))));
        assert_eq!(
            revoke(&["--where", "team=a=b", "--status", "paused", "--yes"]),
            Some((None, json!({"metadata": {"team": "a=b"}, "status": "paused"})))
        );
        assert_eq!(
            revoke(&["--where", "project=a", "--where", "team=b"]),
            Some((None, json!({"project": "a", "metadata": {"team": "b"}})))
        );
        assert_eq!(
            revoke(&["--where", "metadata.project=a", "--project", "b", "--upstream", "c"]),
            Some((None, json!({"metadata": {"project": "a"}, "project": "b", "upstream": "c"})))
        );
        let (_, unused) = revoke(&["--unused-for", "30d"]).unwrap();
        assert!(unused["last_used_before"].as_str().unwrap().ends_with('Z'));
        for wrong in [
            &[][..],
            &["--yes"],
            &["key_1", "--where", "a=b"],
            &["--where", "a"],
            &["key_1", "--yes"],
            &["--where", "a=b", "--where", "c=d"],
            &["--where", "project=a", "--project", "b"],
        ] {
            assert_eq!(revoke(wrong), None, "{wrong:?}");
        }
    }
}
