//! `till status`

use serde_json::{Value, json};

use crate::args::{Connection, Form, Output};
use crate::client::Client;
use crate::env::Surroundings;
use crate::output;

pub(crate) fn run(
    connection: &Connection,
    output: Output,
    surroundings: &Surroundings,
) -> anyhow::Result<()> {
    let client = Client::new(connection, surroundings)?;
    let instance = client.get("/admin/instance")?["instance"].take();
    let account = client.get("/admin/account")?["account"].take();
    match output.form {
        Form::Json => {
            output::json(&json!({"url": client.base_url(), "instance": instance, "account": account}))?
        }
        Form::Table => output::pairs(&[
            ("address", client.base_url().to_owned()),
            ("version", text(&instance["version"])),
            ("instance", text(&instance["id"])),
            ("started", text(&instance["startedAt"])),
            ("keys", text(&account["keysUsed"])),
            ("activations this month", text(&account["activationsUsedThisMonth"])),
            ("fence", fence(&instance["fence"])),
        ])?,
    }
    Ok(())
}

/// Why keys don't work, and the way out, or that all is well.
pub(super) fn fence(fence: &Value) -> String {
    match fence["reason"].as_str() {
        Some(reason) => format!("ALL KEYS ARE REFUSED: {reason} (till admin accept-rollback)"),
        None => "none".to_owned(),
    }
}

/// A value of an answer as people read it.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
