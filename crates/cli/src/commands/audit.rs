//! `till audit list`, `show`, `public-key` and `find`

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::status::text;
use super::usage::time;
use super::{audit_export, audit_verify};
use crate::args::audit::{AuditCommand, AuditList, Order};
use crate::args::{Form, Output};
use crate::client::{Client, escape};
use crate::env::Surroundings;
use crate::exit::Answered;
use crate::local_file;
use crate::output::{self, Table};

/// Entries per request; the server's largest page.
const PAGE: usize = 1000;

/// How often to look for new entries.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

pub(crate) fn run(command: &AuditCommand, surroundings: &Surroundings) -> anyhow::Result<()> {
    match command {
        AuditCommand::List(wanted) => list(wanted, surroundings),
        AuditCommand::Show { seq, connection, output } => {
            show(*seq, &Client::new(connection, surroundings)?, *output)
        }
        AuditCommand::Export(wanted) => audit_export::run(wanted, surroundings),
        AuditCommand::Verify(wanted) => audit_verify::run(wanted, surroundings),
        AuditCommand::PublicKey { connection, output } => {
            public_key(&Client::new(connection, surroundings)?, *output)
        }
        AuditCommand::Find { token, connection, output } => {
            let token = local_file::read_secret(token)?;
            find(&token, &Client::new(connection, surroundings)?, *output)
        }
    }
}

/// The part of the query that says which entries.
fn filter(wanted: &AuditList) -> anyhow::Result<String> {
    let mut filter = String::new();
    for (name, value) in [
        ("actor", &wanted.actor),
        ("action", &wanted.action),
        ("target", &wanted.target),
        ("project", &wanted.project),
    ] {
        if let Some(value) = value {
            filter += &format!("&{name}={}", escape(value));
        }
    }
    for (name, value) in [("from", &wanted.from), ("to", &wanted.to)] {
        if let Some(value) = value {
            filter += &format!("&{name}={}", escape(&time(name, value)?));
        }
    }
    Ok(filter)
}

fn list(wanted: &AuditList, surroundings: &Surroundings) -> anyhow::Result<()> {
    let filter = filter(wanted)?;
    let client = Client::new(&wanted.connection, surroundings)?;
    if wanted.follow {
        return follow(wanted, &filter, &client);
    }
    let entries = entries(&client, &filter, wanted.order, None, wanted.limit)?;
    if wanted.output.form == Form::Json {
        output::json(&json!({"entries": entries}))?;
        return Ok(());
    }
    if entries.is_empty() {
        output::line("There are no such entries.")?;
        return Ok(());
    }
    table(&entries)
}

/// So many entries behind one of them, in pages, which may be short although there are more.
fn entries(
    client: &Client,
    filter: &str,
    order: Order,
    mut after: Option<u64>,
    limit: usize,
) -> anyhow::Result<Vec<Value>> {
    let order = if order == Order::Asc { "asc" } else { "desc" };
    let mut entries = Vec::new();
    while entries.len() < limit {
        let page = PAGE.min(limit - entries.len());
        let behind = after.map_or_else(String::new, |after| format!("&after={after}"));
        let mut answer = client.get(&format!("/admin/audit?order={order}&limit={page}{filter}{behind}"))?;
        let Value::Array(found) = answer["entries"].take() else { break };
        entries.extend(found);
        let next = answer["nextAfter"].as_u64();
        if next.is_none() || next == after {
            break;
        }
        after = next;
    }
    Ok(entries)
}

/// Columns, in the order in which they are left out where there is no room: the last one first.
const HEADING: [&str; 7] = ["SEQ", "TIME", "ACTOR", "ACTION", "TARGET", "FROM", "DETAIL"];

fn row(entry: &Value) -> [String; 7] {
    [
        text(&entry["seq"]),
        second(&entry["at"]),
        text(&entry["actor"]["id"]),
        text(&entry["action"]),
        text(&entry["target"]),
        text(&entry["actor"]["address"]),
        text(&entry["detail"]),
    ]
}

/// How many columns there is room for: an id and an address are of no use in part.
fn columns(width: Option<usize>) -> usize {
    match width {
        Some(..85) => 5,
        Some(..120) => 6,
        _ => 7,
    }
}

fn table(entries: &[Value]) -> anyhow::Result<()> {
    let columns = columns(output::terminal_width());
    let cuttable: &[usize] = if columns == HEADING.len() { &[2, 3, 6] } else { &[2, 3] };
    let mut table = Table::new(&HEADING[..columns], cuttable);
    entries.iter().for_each(|entry| table.row(row(entry).into_iter().take(columns)));
    table.print()?;
    Ok(())
}

/// A time to the second.
fn second(time: &Value) -> String {
    match time.as_str().and_then(|time| time.get(..19)) {
        Some(start) => format!("{}Z", start.replace('T', " ")),
        None => text(time),
    }
}

/// Writes entries as they come, until somebody interrupts it or nobody reads it any more.
fn follow(wanted: &AuditList, filter: &str, client: &Client) -> anyhow::Result<()> {
    // Where the log is now, before what is there is read: nothing is missed between the two.
    let newest = client.get("/admin/audit?order=desc&limit=1")?;
    let mut after = newest["entries"][0]["seq"].as_u64().unwrap_or(0);
    let behind = Some(after.saturating_add(1));
    let mut known = entries(client, filter, Order::Desc, behind, wanted.limit)?;
    known.reverse();
    known.iter().try_for_each(|entry| write(entry, wanted.output))?;
    loop {
        let mut answer = client.get(&format!("/admin/audit?after={after}&limit={PAGE}{filter}"))?;
        let found = answer["entries"].take().as_array().cloned().unwrap_or_default();
        found.iter().try_for_each(|entry| write(entry, wanted.output))?;
        let next = answer["nextAfter"].as_u64().unwrap_or(after);
        if next == after {
            thread::sleep(FOLLOW_EVERY);
        }
        after = next;
    }
}

/// One line.
fn write(entry: &Value, output: Output) -> anyhow::Result<()> {
    match output.form {
        Form::Json => output::line(&entry.to_string())?,
        Form::Table => output::fitting_line(&row(entry).join("  "))?,
    }
    Ok(())
}

fn show(seq: u64, client: &Client, output: Output) -> anyhow::Result<()> {
    let answer = client.get(&format!("/admin/audit/{seq}"))?;
    if output.form == Form::Json {
        output::json(&answer)?;
        return Ok(());
    }
    let entry = &answer["entry"];
    let actor = &entry["actor"];
    output::pairs(&[
        ("entry", text(&entry["seq"])),
        ("time", text(&entry["at"])),
        ("actor", format!("{} ({})", text(&actor["id"]), text(&actor["kind"]))),
        ("from", text(&actor["address"])),
        ("request", text(&actor["requestId"])),
        ("action", text(&entry["action"])),
        ("target", text(&entry["target"])),
        ("detail", text(&entry["detail"])),
        ("hash before", text(&entry["prevHash"])),
        ("hash", text(&entry["hash"])),
    ])?;
    Ok(())
}

fn public_key(client: &Client, output: Output) -> anyhow::Result<()> {
    let answer = client.get("/admin/audit/checkpoints?limit=1")?;
    let keys = &answer["keys"];
    if output.form == Form::Json {
        output::json(&json!({"keys": keys}))?;
        return Ok(());
    }
    // One a line and nothing else: a file of it is what `verify` takes.
    let line = |key: &Value| output::line(&output::plain(&text(&key["publicKey"])));
    keys.as_array().into_iter().flatten().try_for_each(line)?;
    Ok(())
}

fn find(token: &till_core::secret::Secret, client: &Client, output: Output) -> anyhow::Result<()> {
    let token = token.reveal_str().unwrap_or_default();
    let answer = client.post("/admin/audit/find", Some(&json!({"token": token})))?;
    let shown = match output.form {
        Form::Json => output::json(&answer).map_err(Into::into),
        Form::Table => show_found(&answer),
    };
    // Whether anybody reads the answer does not change it.
    if answer["subject"].is_null() {
        return Err(Answered.into());
    }
    shown
}

fn show_found(answer: &Value) -> anyhow::Result<()> {
    if answer["subject"].is_null() {
        output::line("The audit log knows nothing about this token.")?;
        return Ok(());
    }
    let subject = output::plain(&text(&answer["subject"]));
    let entries = answer["entries"].as_array().cloned().unwrap_or_default();
    if entries.is_empty() {
        let gone = "what the audit log said about it was deleted by age. It may still work";
        output::line(&format!("This is {subject}; {gone}: `till keys show {subject}` says so."))?;
        return Ok(());
    }
    output::line(&format!("This is {subject}."))?;
    table(&entries)?;
    if answer["complete"] == json!(false) {
        output::line("There are more entries: `till audit list --target` shows all.")?;
    }
    Ok(())
}
