//! `till members`

use std::io::{self, IsTerminal};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use till_core::secret::Secret;
use ureq::http::Method;

use super::confirm::{self, counted};
use super::entity::{self, path};
use super::keys::minute;
use super::policy;
use super::status::text;
use crate::args::administration::{
    EndOne, ListWanted, MemberCreate, MemberPassword, MemberUpdate, MembersCommand, OneId,
};
use crate::args::{Form, Output};
use crate::client::Client;
use crate::env::Surroundings;
use crate::exit::Usage;
use crate::local_file;
use crate::output::{self, Table, plain};

const KIND: &str = "members";

/// What ids of members begin with. A login can begin so too; then it has to be named by its id.
const ID_PREFIX: &str = "mem_";

pub(crate) fn run(command: &MembersCommand, surroundings: &Surroundings) -> anyhow::Result<()> {
    match command {
        MembersCommand::List(wanted) => list(wanted, surroundings),
        MembersCommand::Show(wanted) => show(wanted, surroundings),
        MembersCommand::Create(wanted) => create(wanted, surroundings),
        MembersCommand::Update(wanted) => update(wanted, surroundings),
        MembersCommand::Remove(wanted) => remove(wanted, surroundings),
        MembersCommand::Password(wanted) => password(wanted, surroundings),
    }
}

/// The id of a member who is named by id or login.
pub(super) fn id_of(client: &Client, named: &str) -> anyhow::Result<String> {
    if named.starts_with(ID_PREFIX) {
        return Ok(named.to_owned());
    }
    let login = named.to_lowercase();
    let members = entity::list(client, KIND, false)?;
    let found = members.iter().find(|member| member["login"] == login.as_str());
    let id = found.and_then(|member| member["id"].as_str());
    id.map(str::to_owned).with_context(|| {
        format!("there is no member with the login {}; `till members list` shows them", plain(named))
    })
}

fn list(wanted: &ListWanted, surroundings: &Surroundings) -> anyhow::Result<()> {
    let client = Client::new(&wanted.connection, surroundings)?;
    let members = entity::list(&client, KIND, wanted.ended)?;
    if wanted.output.form == Form::Json {
        output::json(&json!({"members": members}))?;
        return Ok(());
    }
    if members.is_empty() {
        output::line(
            "There are no members. Make one with `till members create LOGIN --role admin --ask-password`.",
        )?;
        return Ok(());
    }
    let heading = ["ID", "LOGIN", "NAME", "ROLE", "PROJECT", "SIGNS IN", "LAST USED", "REMOVED"];
    let columns = if wanted.ended { heading.len() } else { heading.len() - 1 };
    let mut table = Table::new(&heading[..columns], &[1, 2]).optional(&[6, 2, 5, 4]);
    for member in &members {
        let cells = [
            text(&member["id"]),
            text(&member["login"]),
            text(&member["name"]),
            text(&member["role"]),
            everywhere(&member["project"]),
            if member["canSignIn"] == true { "yes" } else { "no" }.to_owned(),
            minute(&member["lastUsedAt"]),
            minute(&member["removedAt"]),
        ];
        table.row(cells.into_iter().take(columns));
    }
    table.print()?;
    Ok(())
}

/// A project that somebody is bound to.
pub(super) fn everywhere(project: &Value) -> String {
    if project.is_null() { "everywhere".to_owned() } else { text(project) }
}

fn show(wanted: &OneId, surroundings: &Surroundings) -> anyhow::Result<()> {
    let client = Client::new(&wanted.connection, surroundings)?;
    let id = id_of(&client, &wanted.id)?;
    print(&client.get(&path(KIND, &id)).with_context(|| plain(&id))?, wanted.output)
}

fn create(wanted: &MemberCreate, surroundings: &Surroundings) -> anyhow::Result<()> {
    let client = Client::new(&wanted.connection, surroundings)?;
    let policy = policy::of_new(&wanted.policy)?;
    let password = match (&wanted.password_file, wanted.ask_password) {
        (Some(file), _) => Some(local_file::read_password(file)?),
        (None, true) => Some(asked_password(&wanted.login)?),
        (None, false) => None,
    };
    let mut body = json!({"login": wanted.login, "role": wanted.role.word()});
    for (field, value) in [
        ("name", json!(wanted.name)),
        ("project", json!(wanted.project)),
        ("policy", json!(policy)),
        ("password", password.as_ref().map_or(Ok(Value::Null), as_text)?),
    ] {
        if !value.is_null() {
            body[field] = value;
        }
    }
    print(&client.post("/admin/members", Some(&body))?, wanted.output)
}

fn update(wanted: &MemberUpdate, surroundings: &Surroundings) -> anyhow::Result<()> {
    let changes_policy = policy::changes_any(&wanted.policy, &wanted.changes)?;
    if wanted.name.is_none() && wanted.role.is_none() && !changes_policy {
        bail!(Usage("there is nothing to change; see `till members update --help`".into()));
    }
    let body = |found: &Value| {
        let mut body = json!({});
        for (field, value) in [
            ("name", json!(wanted.name)),
            ("role", json!(wanted.role.map(|role| role.word()))),
            ("policy", json!(policy::changed(&wanted.policy, &wanted.changes, &found["policy"])?)),
        ] {
            if !value.is_null() {
                body[field] = value;
            }
        }
        Ok(body)
    };
    let client = Client::new(&wanted.connection, surroundings)?;
    let id = id_of(&client, &wanted.id)?;
    let answer = entity::update(&client, &path(KIND, &id), "member", wanted.changes.if_version, body)
        .with_context(|| plain(&wanted.id))?;
    print(&answer, wanted.output)
}

fn remove(wanted: &EndOne, surroundings: &Surroundings) -> anyhow::Result<()> {
    let client = Client::new(&wanted.connection, surroundings)?;
    let id = id_of(&client, &wanted.id)?;
    if !wanted.yes {
        let member = client.get(&path(KIND, &id)).with_context(|| plain(&wanted.id))?;
        let tokens = entity::list(&client, "tokens", false)?;
        let tokens = tokens.iter().filter(|token| token["member"] == id.as_str()).count();
        let keys = entity::live_keys(&client, "created_by", &id)?;
        let question = format!(
            "Remove the member {}? Their sessions and {} that stand for them end; {} that they made go on.",
            text(&member["member"]["login"]),
            counted(tokens, "admin token"),
            counted(keys, "live key"),
        );
        confirm::ask(&question, false)?;
    }
    let answer = client
        .change(&Method::DELETE, &path(KIND, &id), None, wanted.if_version)
        .with_context(|| plain(&wanted.id))?;
    match wanted.output.form {
        Form::Json => output::json(&answer)?,
        Form::Table => output::line(&plain(&format!("{} is removed.", text(&answer["member"]["login"]))))?,
    }
    Ok(())
}

fn password(wanted: &MemberPassword, surroundings: &Surroundings) -> anyhow::Result<()> {
    let client = Client::new(&wanted.connection, surroundings)?;
    let id = id_of(&client, &wanted.id)?;
    let password = match &wanted.password_file {
        _ if wanted.clear => Value::Null,
        Some(file) => as_text(&local_file::read_password(file)?)?,
        None => as_text(&asked_password(&wanted.id)?)?,
    };
    let body = json!({ "password": password });
    let answer = client
        .change(&Method::PATCH, &path(KIND, &id), Some(&body), wanted.if_version)
        .with_context(|| plain(&wanted.id))?;
    if wanted.output.form == Form::Json {
        output::json(&answer)?;
        return Ok(());
    }
    let login = text(&answer["member"]["login"]);
    let outcome = match wanted.clear {
        true => format!("{login} can't sign in any more."),
        false => format!("{login} has a new password; their sessions have ended."),
    };
    output::line(&plain(&outcome))?;
    Ok(())
}

fn as_text(password: &Secret) -> anyhow::Result<Value> {
    Ok(json!(password.reveal_str().context("the password is not UTF-8")?))
}

/// Asks twice, because nobody sees what they type.
fn asked_password(whose: &str) -> anyhow::Result<Secret> {
    if !io::stdin().is_terminal() {
        bail!(Usage(
            "where is the password? Use --password-file FILE (`-` is standard input); there is no terminal here to ask on"
                .into()
        ));
    }
    let ask = |prompt: String| {
        rpassword::prompt_password(prompt).map(Secret::new).context("can't read from the terminal")
    };
    let password = ask(format!("New password of {} (not shown): ", plain(whose)))?;
    if ask("Again: ".to_owned())? != password {
        bail!("these were two different passwords; nothing was done");
    }
    Ok(password)
}

fn print(answer: &Value, output: Output) -> anyhow::Result<()> {
    if output.form == Form::Json {
        output::json(answer)?;
        return Ok(());
    }
    let member = &answer["member"];
    let mut pairs = vec![
        ("id", text(&member["id"])),
        ("login", text(&member["login"])),
        ("name", text(&member["name"])),
        ("role", text(&member["role"])),
        ("project", everywhere(&member["project"])),
        ("can sign in", text(&member["canSignIn"])),
        ("last used", text(&member["lastUsedAt"])),
        ("version", text(&member["version"])),
        ("made", text(&member["createdAt"])),
        ("removed", text(&member["removedAt"])),
    ];
    pairs.extend(policy::pairs(&member["policy"], &answer["ceilingsUsed"]));
    output::pairs(&pairs)?;
    Ok(())
}
