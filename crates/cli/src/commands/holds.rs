//! `till holds list` and `forgive`

use anyhow::Context as _;
use serde_json::{Value, json};

use super::keys::minute;
use super::status::text;
use crate::args::{Connection, Form, Output};
use crate::client::{Client, escape};
use crate::env::Surroundings;
use crate::output::{self, Table};

/// Holds per request; the server's largest page.
const PAGE: usize = 1000;

pub(crate) fn list(
    connection: &Connection,
    output: Output,
    surroundings: &Surroundings,
) -> anyhow::Result<()> {
    let client = Client::new(connection, surroundings)?;
    let mut holds = Vec::new();
    let first = format!("/admin/holds?limit={PAGE}");
    let mut path = first.clone();
    loop {
        let mut page = client.get(&path)?;
        if let Value::Array(page) = page["holds"].take() {
            holds.extend(page);
        }
        match page["nextBefore"].as_str() {
            Some(before) => path = format!("{first}&before={}", escape(before)),
            None => break,
        }
    }
    if output.form == Form::Json {
        output::json(&json!({"holds": holds}))?;
        return Ok(());
    }
    if holds.is_empty() {
        output::line(
            "No holds are left open: the server was never ended without a stop, or all were forgiven.",
        )?;
        return Ok(());
    }
    let mut table = Table::new(&["HOLD", "KIND", "KEY", "SINCE", "CALLS", "TOKENS", "SPENT"], &[]);
    for hold in &holds {
        table.row([
            text(&hold["id"]),
            text(&hold["kind"]),
            text(&hold["keyId"]),
            minute(&hold["at"]),
            text(&hold["activations"]),
            text(&hold["tokens"]),
            format!("${}", text(&hold["spendUsd"])),
        ]);
    }
    table.print()?;
    output::line("These are spent. `till holds forgive HOLD` gives one back.")?;
    Ok(())
}

pub(crate) fn forgive(
    id: &str,
    connection: &Connection,
    output: Output,
    surroundings: &Surroundings,
) -> anyhow::Result<()> {
    let path = format!("/admin/holds/{}/forgive", escape(id));
    let answer =
        Client::new(connection, surroundings)?.post(&path, None).with_context(|| output::plain(id))?;
    match output.form {
        Form::Json => output::json(&answer)?,
        Form::Table => {
            output::line(&format!("{} is forgiven: its units are free again.", output::plain(id)))?
        }
    }
    Ok(())
}
