//! `till tokens`

use std::io::{self, Write};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use till_core::secret::Secret;
use ureq::http::Method;

use super::confirm::{self, counted};
use super::entity::{self, path};
use super::keys::minute;
use super::members::{everywhere, id_of};
use super::policy;
use super::status::text;
use crate::args::administration::{
    EndOne, ListWanted, OneId, TokenCreate, TokenRotate, TokenUpdate, TokensCommand,
};
use crate::args::{Form, Output, SecretForm, SecretOutput};
use crate::client::Client;
use crate::env::Surroundings;
use crate::exit::Usage;
use crate::output::{self, Table, plain};
use crate::profiles::{self, Profiles};

const KIND: &str = "tokens";

pub(crate) fn run(command: &TokensCommand, surroundings: &Surroundings) -> anyhow::Result<()> {
    match command {
        TokensCommand::List(wanted) => list(wanted, surroundings),
        TokensCommand::Show(wanted) => show(wanted, surroundings),
        TokensCommand::Create(wanted) => create(wanted, surroundings),
        TokensCommand::Update(wanted) => update(wanted, surroundings),
        TokensCommand::Rotate(wanted) => rotate(wanted, surroundings),
        TokensCommand::Revoke(wanted) => revoke(wanted, surroundings),
    }
}

fn list(wanted: &ListWanted, surroundings: &Surroundings) -> anyhow::Result<()> {
    let client = Client::new(&wanted.connection, surroundings)?;
    let tokens = entity::list(&client, KIND, wanted.ended)?;
    if wanted.output.form == Form::Json {
        output::json(&json!({"tokens": tokens}))?;
        return Ok(());
    }
    let heading = ["ID", "NAME", "ROLE", "PROJECT", "ENDS", "LAST USED", "REVOKED"];
    let columns = if wanted.ended { heading.len() } else { heading.len() - 1 };
    let mut table = Table::new(&heading[..columns], &[1]).optional(&[4, 5, 3]);
    for token in &tokens {
        let cells = [
            text(&token["id"]),
            text(&token["name"]),
            text(&token["role"]),
            everywhere(&token["project"]),
            minute(&token["expiresAt"]),
            minute(&token["lastUsedAt"]),
            minute(&token["revokedAt"]),
        ];
        table.row(cells.into_iter().take(columns));
    }
    table.print()?;
    Ok(())
}

fn show(wanted: &OneId, surroundings: &Surroundings) -> anyhow::Result<()> {
    let client = Client::new(&wanted.connection, surroundings)?;
    print(&client.get(&path(KIND, &wanted.id)).with_context(|| plain(&wanted.id))?, wanted.output)
}

fn create(wanted: &TokenCreate, surroundings: &Surroundings) -> anyhow::Result<()> {
    let client = Client::new(&wanted.connection, surroundings)?;
    let member = wanted.member.as_deref().map(|named| id_of(&client, named)).transpose()?;
    let mut body = json!({"name": wanted.name, "role": wanted.role.word()});
    let networks = (!wanted.network.is_empty()).then_some(&wanted.network);
    for (field, value) in [
        ("project", json!(wanted.project)),
        ("member", json!(member)),
        ("networks", json!(networks)),
        ("expires_at", json!(wanted.expires_at)),
        ("ttl_seconds", json!(wanted.ttl)),
        ("policy", json!(policy::of_new(&wanted.policy)?)),
    ] {
        if !value.is_null() {
            body[field] = value;
        }
    }
    let answer = client.post("/admin/tokens", Some(&body))?;
    hand_over(&answer, "is made", wanted.output, client.base_url())
}

fn update(wanted: &TokenUpdate, surroundings: &Surroundings) -> anyhow::Result<()> {
    let mut body = json!({});
    for (field, value, clear) in [
        ("name", json!(wanted.name), false),
        ("role", json!(wanted.role.map(|role| role.word())), false),
        ("networks", json!((!wanted.network.is_empty()).then_some(&wanted.network)), wanted.clear_networks),
        ("expires_at", json!(wanted.expires_at), wanted.clear_expires_at),
    ] {
        if !value.is_null() || clear {
            body[field] = value;
        }
    }
    if body == json!({}) && !policy::changes_any(&wanted.policy, &wanted.changes)? {
        bail!(Usage("there is nothing to change; see `till tokens update --help`".into()));
    }
    let body = |found: &Value| {
        let mut body = body.clone();
        if let Some(policy) = policy::changed(&wanted.policy, &wanted.changes, &found["policy"])? {
            body["policy"] = policy;
        }
        Ok(body)
    };
    let client = Client::new(&wanted.connection, surroundings)?;
    let answer = entity::update(&client, &path(KIND, &wanted.id), "token", wanted.changes.if_version, body)
        .with_context(|| plain(&wanted.id))?;
    print(&answer, wanted.output)
}

fn rotate(wanted: &TokenRotate, surroundings: &Surroundings) -> anyhow::Result<()> {
    let client = Client::new(&wanted.connection, surroundings)?;
    if wanted.overlap.is_none() {
        let question = format!(
            "Rotate the admin token {}? Whoever uses its old text is refused at once; --overlap 1h would let it go on for an \
             hour.",
            wanted.id
        );
        confirm::ask(&question, wanted.yes)?;
    }
    // Asked before: afterwards the old text may do nothing any more.
    let is_own = client.get("/admin/self")?["self"]["id"] == wanted.id.as_str();
    let mut body = json!({});
    if let Some(seconds) = wanted.overlap {
        body["overlap_seconds"] = json!(seconds);
    }
    let rotated = format!("{}/rotate", path(KIND, &wanted.id));
    let answer = client
        .change(&Method::POST, &rotated, Some(&body), wanted.if_version)
        .with_context(|| plain(&wanted.id))?;
    // First of all: nobody can see this text a second time.
    hand_over(&answer, "has a new text", wanted.output, client.base_url())?;
    if is_own && client.profile().is_some() {
        renew_profiles(&client, &answer, surroundings).context(
            "the token was rotated, but the profile still has its old text; log in again with the new one, `till login`",
        )?;
    }
    Ok(())
}

/// Puts the new text of one's own token where the old one was.
fn renew_profiles(client: &Client, answer: &Value, surroundings: &Surroundings) -> anyhow::Result<()> {
    let new = answer["adminToken"].as_str().context("the answer has no text")?;
    let names = Profiles::update(&profiles::path(surroundings)?, |profiles| {
        let own = profiles.all.iter_mut().filter(|(_, profile)| client.is_of(profile));
        Ok(own
            .map(|(name, profile)| {
                profile.admin_token = Secret::new(new);
                name.clone()
            })
            .collect::<Vec<_>>())
    })?;
    writeln!(io::stderr(), "The profile {} has the new text.", names.join(", "))?;
    Ok(())
}

fn revoke(wanted: &EndOne, surroundings: &Surroundings) -> anyhow::Result<()> {
    let client = Client::new(&wanted.connection, surroundings)?;
    let path = path(KIND, &wanted.id);
    if !wanted.yes {
        let token = client.get(&path).with_context(|| plain(&wanted.id))?;
        let keys = entity::live_keys(&client, "created_by", &wanted.id)?;
        let question = format!(
            "Revoke the admin token {} ({})? Whoever uses it is refused at once; {} that it made go on.",
            text(&token["token"]["name"]),
            wanted.id,
            counted(keys, "live key"),
        );
        confirm::ask(&question, false)?;
    }
    let answer =
        client.change(&Method::DELETE, &path, None, wanted.if_version).with_context(|| plain(&wanted.id))?;
    match wanted.output.form {
        Form::Json => output::json(&answer)?,
        Form::Table => output::line(&plain(&format!("{} is revoked.", text(&answer["token"]["id"]))))?,
    }
    Ok(())
}

/// The text of a token, which nobody can see a second time.
fn hand_over(answer: &Value, what: &str, output: SecretOutput, url: &str) -> anyhow::Result<()> {
    let (token, secret) = (&answer["token"], plain(&text(&answer["adminToken"])));
    match output.form {
        SecretForm::Json => output::json(answer)?,
        SecretForm::Raw => output::line(&secret)?,
        SecretForm::Table => {
            let place = match &token["project"] {
                Value::Null => "everywhere".to_owned(),
                project => format!("in the project {}", text(project)),
            };
            let introduction = plain(&format!(
                "The admin token {} ({}), {} {place}, {what}. It is shown only this once:",
                text(&token["name"]),
                text(&token["id"]),
                text(&token["role"]),
            ));
            output::line(&format!(
                "{introduction}\n\n  {secret}\n\nWhoever has it logs in with:\n\n  till login {}",
                plain(url)
            ))?;
        }
    }
    Ok(())
}

fn print(answer: &Value, output: Output) -> anyhow::Result<()> {
    if output.form == Form::Json {
        output::json(answer)?;
        return Ok(());
    }
    let token = &answer["token"];
    let networks = match &token["networks"] {
        Value::Null => "everywhere".to_owned(),
        networks => policy::listed(networks),
    };
    let mut pairs = vec![
        ("id", text(&token["id"])),
        ("name", text(&token["name"])),
        ("role", text(&token["role"])),
        ("project", everywhere(&token["project"])),
        ("stands for", text(&token["member"])),
        ("used from", networks),
        ("ends", text(&token["expiresAt"])),
        ("last used", text(&token["lastUsedAt"])),
        ("version", text(&token["version"])),
        ("made", text(&token["createdAt"])),
        ("revoked", text(&token["revokedAt"])),
    ];
    pairs.extend(policy::pairs(&token["policy"], &answer["ceilingsUsed"]));
    output::pairs(&pairs)?;
    Ok(())
}
