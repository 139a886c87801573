//! `till projects`

use anyhow::{Context, bail};
use serde_json::{Value, json};
use ureq::http::Method;

use super::confirm::{self, counted};
use super::entity::{self, path};
use super::keys::minute;
use super::policy;
use super::status::text;
use crate::args::administration::{EndOne, ListWanted, OneId, ProjectCreate, ProjectUpdate, ProjectsCommand};
use crate::args::{Form, Output};
use crate::client::Client;
use crate::env::Surroundings;
use crate::exit::Usage;
use crate::output::{self, Table, plain};

const KIND: &str = "projects";

pub(crate) fn run(command: &ProjectsCommand, surroundings: &Surroundings) -> anyhow::Result<()> {
    match command {
        ProjectsCommand::List(wanted) => list(wanted, surroundings),
        ProjectsCommand::Show(wanted) => show(wanted, surroundings),
        ProjectsCommand::Create(wanted) => create(wanted, surroundings),
        ProjectsCommand::Update(wanted) => update(wanted, surroundings),
        ProjectsCommand::End(wanted) => end(wanted, surroundings),
    }
}

fn list(wanted: &ListWanted, surroundings: &Surroundings) -> anyhow::Result<()> {
    let client = Client::new(&wanted.connection, surroundings)?;
    let projects = entity::list(&client, KIND, wanted.ended)?;
    if wanted.output.form == Form::Json {
        output::json(&json!({"projects": projects}))?;
        return Ok(());
    }
    let heading = ["ID", "NAME", "DAY", "MONTH", "IN ALL", "LIVE KEYS", "ENDED"];
    let columns = if wanted.ended { heading.len() } else { heading.len() - 1 };
    let mut table = Table::new(&heading[..columns], &[1, 2, 3, 4]).optional(&[5, 4, 1]);
    for project in &projects {
        let ceilings = &project["policy"]["ceilings"];
        let cells = [
            text(&project["id"]),
            text(&project["name"]),
            policy::bounds(&ceilings["day"], None),
            policy::bounds(&ceilings["month"], None),
            policy::bounds(&ceilings["lifetime"], None),
            text(&project["policy"]["maxLiveKeys"]),
            minute(&project["endedAt"]),
        ];
        table.row(cells.into_iter().take(columns));
    }
    table.print()?;
    Ok(())
}

fn show(wanted: &OneId, surroundings: &Surroundings) -> anyhow::Result<()> {
    let client = Client::new(&wanted.connection, surroundings)?;
    let answer = client.get(&path(KIND, &wanted.id)).with_context(|| plain(&wanted.id))?;
    print(&answer, wanted.output)
}

fn create(wanted: &ProjectCreate, surroundings: &Surroundings) -> anyhow::Result<()> {
    let mut body = json!({"id": wanted.id});
    for (field, value) in [("name", json!(wanted.name)), ("policy", json!(policy::of_new(&wanted.policy)?))] {
        if !value.is_null() {
            body[field] = value;
        }
    }
    let answer = Client::new(&wanted.connection, surroundings)?.post("/admin/projects", Some(&body))?;
    print(&answer, wanted.output)
}

fn update(wanted: &ProjectUpdate, surroundings: &Surroundings) -> anyhow::Result<()> {
    if wanted.name.is_none() && !policy::changes_any(&wanted.policy, &wanted.changes)? {
        bail!(Usage("there is nothing to change; see `till projects update --help`".into()));
    }
    let body = |found: &Value| {
        let mut body = json!({});
        if let Some(name) = &wanted.name {
            body["name"] = json!(name);
        }
        if let Some(policy) = policy::changed(&wanted.policy, &wanted.changes, &found["policy"])? {
            body["policy"] = policy;
        }
        Ok(body)
    };
    let client = Client::new(&wanted.connection, surroundings)?;
    let answer = entity::update(&client, &path(KIND, &wanted.id), "project", wanted.changes.if_version, body)
        .with_context(|| plain(&wanted.id))?;
    print(&answer, wanted.output)
}

fn end(wanted: &EndOne, surroundings: &Surroundings) -> anyhow::Result<()> {
    let client = Client::new(&wanted.connection, surroundings)?;
    let path = path(KIND, &wanted.id);
    if !wanted.yes {
        client.get(&path).with_context(|| plain(&wanted.id))?;
        confirm::ask(&question(&client, &wanted.id)?, false)?;
    }
    let answer =
        client.change(&Method::DELETE, &path, None, wanted.if_version).with_context(|| plain(&wanted.id))?;
    match wanted.output.form {
        Form::Json => output::json(&answer)?,
        Form::Table => output::line(&plain(&format!("{} has ended; its keys are revoked.", wanted.id)))?,
    }
    Ok(())
}

/// What will happen.
fn question(client: &Client, id: &str) -> anyhow::Result<String> {
    let keys = entity::live_keys(client, "project", id)?;
    let bound = |kind| -> anyhow::Result<usize> {
        let all = entity::list(client, kind, false)?;
        Ok(all.iter().filter(|one| one["project"] == id).count())
    };
    let keys = match keys {
        0 => "It has no live keys".to_owned(),
        1 => "Its 1 live key is revoked at once".to_owned(),
        keys => format!("Its {keys} live keys are revoked at once"),
    };
    let members = counted(bound("members")?, "member");
    let tokens = counted(bound("tokens")?, "admin token");
    Ok(format!(
        "End the project {id}? {keys}; its {members} and {tokens} may do nothing any more. It can't be undone."
    ))
}

fn print(answer: &Value, output: Output) -> anyhow::Result<()> {
    if output.form == Form::Json {
        output::json(answer)?;
        return Ok(());
    }
    let project = &answer["project"];
    let mut pairs = vec![
        ("id", text(&project["id"])),
        ("name", text(&project["name"])),
        ("version", text(&project["version"])),
        ("made", text(&project["createdAt"])),
        ("ended", text(&project["endedAt"])),
    ];
    pairs.extend(policy::pairs(&project["policy"], &answer["ceilingsUsed"]));
    output::pairs(&pairs)?;
    Ok(())
}
