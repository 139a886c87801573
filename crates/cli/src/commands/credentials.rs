//! `till credentials`: real keys that are stored once and minted from by name.

use anyhow::Context;
use serde_json::{Value, json};
use till_core::secret::Secret;

use super::keys::minute;
use super::status::text;
use super::upstream_key;
use crate::args::credentials::{
    CredentialCreate, CredentialRotate, CredentialUpdate, CredentialsCommand, OneCredential,
};
use crate::args::{Connection, Form, Output};
use crate::client::{Client, escape};
use crate::env::Surroundings;
use crate::exit::Usage;
use crate::output::{self, Table};

/// Credentials per request; the server's largest page.
const PAGE: usize = 1000;

pub(crate) fn run(command: &CredentialsCommand, surroundings: &Surroundings) -> anyhow::Result<()> {
    match command {
        CredentialsCommand::List { connection, output } => list(connection, *output, surroundings),
        CredentialsCommand::Show(one) => show(one, surroundings),
        CredentialsCommand::Create(wanted) => create(wanted, surroundings),
        CredentialsCommand::Rotate(wanted) => rotate(wanted, surroundings),
        CredentialsCommand::Update(wanted) => update(wanted, surroundings),
        CredentialsCommand::Remove(one) => remove(one, surroundings),
    }
}

fn list(connection: &Connection, output: Output, surroundings: &Surroundings) -> anyhow::Result<()> {
    let credentials = fetch_all(&Client::new(connection, surroundings)?)?;
    if output.form == Form::Json {
        output::json(&json!({"credentials": credentials}))?;
        return Ok(());
    }
    if credentials.is_empty() {
        output::line(
            "There are no upstream credentials. Store one with `till credentials create NAME --provider openai`.",
        )?;
        return Ok(());
    }
    let mut table = Table::new(&["NAME", "PROVIDER", "KEY", "PROJECTS", "CHANGED"], &[3]);
    for credential in &credentials {
        table.row([
            text(&credential["name"]),
            text(&credential["provider"]),
            key(credential),
            projects(credential),
            minute(&credential["updatedAt"]),
        ]);
    }
    table.print()?;
    Ok(())
}

fn fetch_all(client: &Client) -> anyhow::Result<Vec<Value>> {
    let first = format!("/admin/credentials?limit={PAGE}");
    let (mut all, mut path) = (Vec::new(), first.clone());
    loop {
        let mut page = client.get(&path)?;
        if let Value::Array(page) = page["credentials"].take() {
            all.extend(page);
        }
        match page["nextCursor"].as_str() {
            Some(cursor) => path = format!("{first}&cursor={}", escape(cursor)),
            None => return Ok(all),
        }
    }
}

fn show(wanted: &OneCredential, surroundings: &Surroundings) -> anyhow::Result<()> {
    let answer = Client::new(&wanted.connection, surroundings)?
        .get(&path(&wanted.name))
        .with_context(|| output::plain(&wanted.name))?;
    print(&answer, wanted.output)
}

fn create(wanted: &CredentialCreate, surroundings: &Surroundings) -> anyhow::Result<()> {
    let mut body = json!({"name": wanted.name, "provider": wanted.provider});
    if let Some(project) = &wanted.project {
        body["project"] = json!(project);
    }
    if !wanted.allow_project.is_empty() {
        body["projects"] = json!(wanted.allow_project);
    }
    if let Some(policy) = policy(wanted.policy_json.as_deref())? {
        body["policy"] = policy;
    }
    upstream_key::refuse_on_command_line(&wanted.upstream_key)?;
    // The server first: nobody should type a key in only to learn that there is no server.
    let client = Client::new(&wanted.connection, surroundings)?;
    client.get("/admin/credentials?limit=1")?;
    let key = upstream_key::read(&wanted.upstream_key, &wanted.provider, surroundings)?;
    body["upstream_key"] = json!(revealed(&key)?);
    let answer = client.post("/admin/credentials", Some(&body))?;
    let name = output::plain(&wanted.name);
    let said = format!(
        "{name} is stored. Make keys from it:\n\n  till keys create --upstream {name} --max-activations 50"
    );
    report(&answer, &said, wanted.output)
}

fn rotate(wanted: &CredentialRotate, surroundings: &Surroundings) -> anyhow::Result<()> {
    upstream_key::refuse_on_command_line(&wanted.upstream_key)?;
    let client = Client::new(&wanted.connection, surroundings)?;
    let before = client.get(&path(&wanted.name)).with_context(|| output::plain(&wanted.name))?;
    let provider = output::plain(&text(&before["credential"]["provider"]));
    let key = upstream_key::read(&wanted.upstream_key, &provider, surroundings)?;
    let answer = client
        .patch(&path(&wanted.name), &json!({"upstream_key": revealed(&key)?}))
        .with_context(|| output::plain(&wanted.name))?;
    let said =
        format!("{} has its new key. Its scoped keys use it from now on.", output::plain(&wanted.name));
    report(&answer, &said, wanted.output)
}

fn update(wanted: &CredentialUpdate, surroundings: &Surroundings) -> anyhow::Result<()> {
    let mut body = json!({});
    if wanted.all_projects {
        body["projects"] = Value::Null;
    } else if !wanted.allow_project.is_empty() {
        body["projects"] = json!(wanted.allow_project);
    }
    if let Some(policy) = policy(wanted.policy_json.as_deref())? {
        body["policy"] = policy;
    }
    let answer = Client::new(&wanted.connection, surroundings)?
        .patch(&path(&wanted.name), &body)
        .with_context(|| output::plain(&wanted.name))?;
    print(&answer, wanted.output)
}

fn remove(wanted: &OneCredential, surroundings: &Surroundings) -> anyhow::Result<()> {
    let answer = Client::new(&wanted.connection, surroundings)?
        .delete(&path(&wanted.name))
        .with_context(|| output::plain(&wanted.name))?;
    let said = format!("{} is removed, and its scoped keys are revoked.", output::plain(&wanted.name));
    report(&answer, &said, wanted.output)
}

/// Rules as JSON; what they mean, the server knows.
fn policy(text: Option<&str>) -> anyhow::Result<Option<Value>> {
    let parse = |text| {
        serde_json::from_str(text)
            .map_err(|error| Usage(format!("--policy-json is not JSON: {error}")).into())
    };
    text.map(parse).transpose()
}

fn revealed(key: &Secret) -> anyhow::Result<&str> {
    key.reveal_str().context("the real key has strange characters")
}

fn path(name: &str) -> String {
    format!("/admin/credentials/{}", escape(name))
}

fn report(answer: &Value, said: &str, output: Output) -> anyhow::Result<()> {
    match output.form {
        Form::Json => output::json(answer)?,
        Form::Table => output::line(said)?,
    }
    Ok(())
}

fn print(answer: &Value, output: Output) -> anyhow::Result<()> {
    if output.form == Form::Json {
        output::json(answer)?;
        return Ok(());
    }
    let credential = &answer["credential"];
    output::pairs(&[
        ("name", text(&credential["name"])),
        ("provider", text(&credential["provider"])),
        ("key", key(credential)),
        ("goes to", destination(credential)),
        ("belongs to", owner(credential)),
        ("keys may be made in", projects(credential)),
        ("rules", text(&credential["policy"])),
        ("version", text(&credential["version"])),
        ("stored", text(&credential["createdAt"])),
        ("changed", text(&credential["updatedAt"])),
        ("removed", text(&credential["removedAt"])),
    ])?;
    Ok(())
}

/// `…x7Qa`, or what there is to say instead.
fn key(credential: &Value) -> String {
    match credential["keyHint"].as_str() {
        Some(hint) => format!("…{hint}"),
        None if credential["usable"] == true => "not shown".to_owned(),
        None => "can't be opened".to_owned(),
    }
}

/// Where the real key goes.
fn destination(credential: &Value) -> String {
    let origin = text(&credential["origin"]);
    if credential["origin"].is_null() || credential["usable"] == true {
        return origin;
    }
    format!(
        "{origin}; its provider is elsewhere now, so its keys are refused until it gets its real key again"
    )
}

fn owner(credential: &Value) -> String {
    match &credential["project"] {
        Value::Null => "the instance".to_owned(),
        project => text(project),
    }
}

/// The projects whose keys may be made from it.
fn projects(credential: &Value) -> String {
    if !credential["project"].is_null() {
        return text(&credential["project"]);
    }
    match credential["projects"].as_array() {
        None => "all projects".to_owned(),
        Some(projects) => projects.iter().map(text).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::{destination, key, path, policy, projects};
    use serde_json::json;

    #[test]
    fn cells() {
        let of_instance = json!({"keyHint": "x7Qa", "usable": true, "project": null, "projects": null});
        assert_eq!((key(&of_instance), projects(&of_instance)), ("…x7Qa".into(), "all projects".into()));
        let some = json!({"keyHint": null, "usable": true, "project": null, "projects": ["a", "b"]});
        assert_eq!((key(&some), projects(&some)), ("not shown".into(), "a, b".into()));
        let own = json!({"keyHint": null, "usable": false, "project": "a", "projects": null});
        assert_eq!((key(&own), projects(&own)), ("can't be opened".into(), "a".into()));
        let here = json!({"origin": "https://a.example", "usable": true});
        let elsewhere = json!({"origin": "https://a.example", "usable": false});
        assert_eq!(destination(&here), "https://a.example");
        assert!(destination(&elsewhere).contains("elsewhere now"));
        assert_eq!(path("../keys"), "/admin/credentials/..%2Fkeys");
    }

    #[test]
    fn rules_are_json() {
        assert_eq!(policy(Some("null")).unwrap(), Some(json!(null)));
        assert_eq!(policy(None).unwrap(), None);
        assert!(policy(Some("{")).is_err());
    }
}
