//! `till admin`: what only the owner of the instance needs.

use anyhow::Context;
use serde_json::{Value, json};
use till_core::audit::{Actor, ActorKind};

use super::status;
use crate::args::{Connection, Form, Output};
use crate::client::Client;
use crate::env::Surroundings;
use crate::output;
use crate::settings::{DirectoryFlags, Settings, Written};
use crate::start;

/// Makes a new owner key in the store itself. The store's lock keeps this from a running server.
pub(crate) fn reset_owner(
    flags: &DirectoryFlags,
    output: Output,
    surroundings: &Surroundings,
) -> anyhow::Result<()> {
    let written = Written::gather(flags.settings(), surroundings);
    let settings = Settings::resolve(&written, surroundings)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let key = runtime.block_on(async {
        let opening = start::existing_store(&settings).context("the owner key was not changed")?;
        let store = opening.start().context("the owner key was not changed")?;
        let actor = Actor {
            kind: ActorKind::LocalCli,
            id: "reset-owner".to_owned(),
            address: None,
            request_id: None,
        };
        let key = start::replace_owner_key(&store, &actor).await?;
        store.close().await.context("the store could not be closed cleanly; the new key may not work")?;
        anyhow::Ok(key)
    })?;
    let key = key.reveal_str().expect("an admin key is ASCII");
    match output.form {
        Form::Json => output::json(&json!({"adminKey": key}))?,
        Form::Table => output::line(&format!(
            "The owner has a new admin key; the old one no longer works. It is shown only this once:\n\n  {key}"
        ))?,
    }
    Ok(())
}

/// One per line.
pub(super) fn listed(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("  - {}", output::plain(line))).collect::<Vec<_>>().join("\n")
}

pub(crate) fn accept_rollback(
    connection: &Connection,
    output: Output,
    surroundings: &Surroundings,
) -> anyhow::Result<()> {
    let client = Client::new(connection, surroundings)?;
    let answer = client.post("/admin/instance/accept-rollback", None)?;
    match output.form {
        Form::Json => output::json(&answer)?,
        Form::Table => {
            output::pairs(&[("fence", status::fence(&answer["instance"]["fence"]))])?;
            let back: Vec<&str> =
                answer["cameBack"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            if !back.is_empty() {
                output::line(
                    "\nThe database is as it was when the copy was taken. Look at what may have come back:",
                )?;
                output::line(&listed(&back))?;
            }
        }
    }
    Ok(())
}
