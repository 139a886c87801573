//! `till keys list`, `show` and `revoke`

use anyhow::Context;
use serde_json::{Value, json};

use super::status::text;
use crate::args::{Connection, Form, KeyList, OneKey, Output, Status};
use crate::client::{Client, escape};
use crate::env::Surroundings;
use crate::output::{self, Table};

pub(crate) fn list(wanted: &KeyList, surroundings: &Surroundings) -> anyhow::Result<()> {
    let client = Client::new(&wanted.connection, surroundings)?;
    let filters = [
        ("status", wanted.status.map(Status::word)),
        ("provider", wanted.provider.as_deref()),
        ("project", wanted.project.as_deref()),
        ("created_by", wanted.created_by.as_deref()),
        ("upstream", wanted.upstream.as_deref()),
        ("sort", wanted.sort.as_deref()),
        ("order", wanted.ascending.then_some("asc")),
    ];
    let given = filters.iter().filter_map(|(name, value)| Some(format!("&{name}={}", escape((*value)?))));
    let filter: String = given.collect();
    let keys = client.get_all(&format!("/admin/keys{}", filter.replacen('&', "?", 1)), "keys")?;
    if wanted.output.form == Form::Json {
        output::json(&json!({"keys": keys}))?;
        return Ok(());
    }
    if keys.is_empty() {
        let said = match filter.is_empty() {
            true => {
                "There are no keys. Make one with `till keys create --provider openai --max-activations 50`."
            }
            false => "There are no such keys.",
        };
        output::line(said)?;
        return Ok(());
    }
    let heading = ["ID", "NAME", "PROVIDER", "CALLS", "TOKENS", "SPENT", "STATUS", "LAST USED", "PROJECT"];
    // Those who have one project only need not read its name in every line.
    let with_project = keys.iter().any(|key| key["tenantId"] != till_store::DEFAULT_PROJECT);
    let columns = if with_project { heading.len() } else { heading.len() - 1 };
    let optional: &[usize] = if with_project { &[7, 2, 4, 8, 1, 3] } else { &[7, 2, 4, 1, 3] };
    let mut table = Table::new(&heading[..columns], &[1, 2]).optional(optional);
    for key in &keys {
        let cells = [
            text(&key["id"]),
            text(&key["metadata"]["name"]),
            text(&key["provider"]),
            used(key, "Activations"),
            used(key, "Tokens"),
            spent(key),
            state(key),
            minute(&key["lastUsedAt"]),
            text(&key["tenantId"]),
        ];
        table.row(cells.into_iter().take(columns));
    }
    table.print()?;
    Ok(())
}

pub(crate) fn show(wanted: &OneKey, surroundings: &Surroundings) -> anyhow::Result<()> {
    let answer = Client::new(&wanted.connection, surroundings)?
        .get(&path(&wanted.id))
        .with_context(|| named(&wanted.id))?;
    print_key(&answer, wanted.output)
}

pub(crate) fn revoke(
    id: &str,
    connection: &Connection,
    output: Output,
    surroundings: &Surroundings,
) -> anyhow::Result<()> {
    let answer = Client::new(connection, surroundings)?.delete(&path(id)).with_context(|| named(id))?;
    if output.form == Form::Table {
        output::line(&format!("{} is revoked.", output::plain(&text(&answer["key"]["id"]))))?;
        return Ok(());
    }
    print_key(&answer, output)
}

pub(super) fn print_key(answer: &Value, output: Output) -> anyhow::Result<()> {
    if output.form == Form::Json {
        output::json(answer)?;
        return Ok(());
    }
    let key = &answer["key"];
    output::pairs(&[
        ("id", text(&key["id"])),
        ("project", text(&key["tenantId"])),
        ("made by", text(&key["createdBy"])),
        ("upstream credential", text(&key["upstream"])),
        ("provider", text(&key["provider"])),
        ("origin", text(&key["origin"])),
        ("upstream credential", text(&key["upstream"])),
        ("status", state(key)),
        ("activations used", used(key, "Activations")),
        ("tokens used", used(key, "Tokens")),
        ("spent", spent(key)),
        ("caps lowered to what is left", text(&key["clamp"])),
        ("unbounded requests allowed", text(&key["dangerAllowUnbounded"])),
        ("durability", text(&key["durability"])),
        ("created", text(&key["createdAt"])),
        ("last used", text(&key["lastUsedAt"])),
        ("rates", rates(&key["rate"])),
        ("begins", text(&key["notBefore"])),
        ("ends", text(&key["expiresAt"])),
        ("to be used before", text(&key["activateBy"])),
        ("ends when idle for", idle(&key["idleExpirySeconds"])),
        ("paused", paused(key)),
        ("revoked", text(&key["revokedAt"])),
        ("metadata", text(&key["metadata"])),
    ])?;
    Ok(())
}

pub(super) fn path(id: &str) -> String {
    format!("/admin/keys/{}", escape(id))
}

/// The id in front of what is wrong with it.
pub(super) fn named(id: &str) -> String {
    output::plain(id)
}

/// `12/50`, or `12` when nothing bounds it.
fn used(key: &Value, what: &str) -> String {
    let used = text(&key[format!("used{what}")]);
    match &key[format!("max{what}")] {
        Value::Null => used,
        limit => format!("{used}/{}", text(limit)),
    }
}

/// `$0.0123/$5.00`, or `$0.0123` when nothing bounds it.
fn spent(key: &Value) -> String {
    let used = text(&key["usedSpendUsd"]);
    match &key["maxSpendUsd"] {
        Value::Null => format!("${used}"),
        limit => format!("${used}/${}", text(limit)),
    }
}

/// The status, and what nobody should overlook who reads the limits.
fn state(key: &Value) -> String {
    let status = text(&key["status"]);
    if key["dangerAllowUnbounded"] == true { format!("{status}, unbounded") } else { status }
}

/// `600 seconds`, or the sign for nothing.
pub(super) fn idle(seconds: &Value) -> String {
    if seconds.is_null() { text(seconds) } else { format!("{} seconds", text(seconds)) }
}

/// `60 requests/minute, 4 at once`
fn rates(rate: &Value) -> String {
    let units = [
        ("requestsPerMinute", " requests/minute"),
        ("tokensPerMinute", " tokens/minute"),
        ("concurrent", " at once"),
    ];
    let set = units.into_iter().filter(|(field, _)| !rate[field].is_null());
    let set: Vec<String> = set.map(|(field, unit)| format!("{}{unit}", text(&rate[field]))).collect();
    if set.is_empty() { text(&Value::Null) } else { set.join(", ") }
}

/// Since when it is paused, and why.
fn paused(key: &Value) -> String {
    let since = text(&key["pausedAt"]);
    if key["pausedReason"].is_null() { since } else { format!("{since} ({})", text(&key["pausedReason"])) }
}

/// A time to the minute, which is as much as a list has room for.
pub(super) fn minute(time: &Value) -> String {
    match time.as_str().and_then(|time| time.get(..16)) {
        Some(start) => format!("{}Z", start.replace('T', " ")),
        None => text(time),
    }
}

#[cfg(test)]
mod tests {
    use super::{minute, path, spent, state, used};
    use serde_json::json;

    #[test]
    fn cells() {
        let key = json!({"usedTokens": 12, "maxTokens": 50, "usedSpendUsd": "0.01", "maxSpendUsd": "5.00"});
        assert_eq!((used(&key, "Tokens"), spent(&key)), ("12/50".to_owned(), "$0.01/$5.00".to_owned()));
        let key = json!({"usedTokens": 12, "maxTokens": null, "usedSpendUsd": "0.00", "maxSpendUsd": null});
        assert_eq!((used(&key, "Tokens"), spent(&key)), ("12".to_owned(), "$0.00".to_owned()));
        let mut key = json!({"status": "active", "dangerAllowUnbounded": false});
        assert_eq!(state(&key), "active");
        key["dangerAllowUnbounded"] = json!(true);
        assert_eq!(state(&key), "active, unbounded");
        assert_eq!(minute(&json!("2026-01-31T08:05:12.031Z")), "2026-01-31 08:05Z");
        assert_eq!(minute(&json!(null)), "-");
        assert_eq!(path("../account"), "/admin/keys/..%2Faccount");
    }
}
