//! `till master-key`: asks the server if one runs, and does it in the directories if none does.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use till_admin::{MasterKeys, master_keys_json};
use till_core::token::MasterKeyId;
use till_store::Store;

use super::backup::{actor, is_running};
use super::keys::minute;
use super::status::text;
use crate::args::keep::{MasterKeyCommand, MasterKeyPlace};
use crate::args::{Connection, Form};
use crate::client::Client;
use crate::env::{self, Surroundings};
use crate::exit::Usage;
use crate::output::{self, Table};
use crate::settings::Written;
use crate::{inputs, start};

pub(crate) fn run(command: &MasterKeyCommand, surroundings: &Surroundings) -> anyhow::Result<()> {
    match command {
        MasterKeyCommand::List(place) => list(place, surroundings),
        MasterKeyCommand::Rotate(place) => rotate(place, surroundings),
        MasterKeyCommand::Retire { id, yes, place } => retire(id, *yes, place, surroundings),
    }
}

/// Who does it.
enum Doer {
    Server(Client),
    /// The store is ours until the command ends.
    Here(Box<Here>),
}

struct Here {
    runtime: tokio::runtime::Runtime,
    store: Store,
    keys: MasterKeys,
}

impl Doer {
    fn find(place: &MasterKeyPlace, surroundings: &Surroundings) -> anyhow::Result<Self> {
        let connection = &place.connection;
        let is_remote = connection.url.is_some()
            || connection.data.is_none() && surroundings.variable(env::URL).is_some();
        if is_remote {
            return Client::new(connection, surroundings).map(Self::Server);
        }
        let flags = place.keys.at(connection.data.as_deref());
        let (settings, inputs) = inputs::read(&Written::gather(&flags, surroundings), surroundings)?;
        let opening = match start::existing_store(&settings) {
            Ok(opening) => opening,
            Err(error) if is_running(&error) => {
                let connection = Connection { data: Some(settings.data), ..connection.clone() };
                return Client::new(&connection, surroundings).map(Self::Server);
            }
            Err(error) => return Err(error),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (store, keys) = runtime.block_on(start::open_keys(&settings, inputs.master_keys, opening))?;
        let keys = MasterKeys::new(store.clone(), Arc::clone(&keys.ring), keys.make(), keys.note());
        Ok(Self::Here(Box::new(Here { runtime, store, keys })))
    }

    fn list(&self) -> anyhow::Result<Value> {
        match self {
            Self::Server(client) => client.get("/admin/master-keys"),
            Self::Here(here) => Ok(master_keys_json(here.runtime.block_on(here.keys.list())?)),
        }
    }

    /// Answers the id of the new one.
    fn rotate(&self) -> anyhow::Result<String> {
        match self {
            Self::Server(client) => {
                Ok(text(&client.post("/admin/master-keys/rotate", None)?["masterKey"]["id"]))
            }
            Self::Here(here) => {
                Ok(here.runtime.block_on(here.keys.rotate(&actor("master-key rotate")))?.to_string())
            }
        }
    }

    /// Answers how many keys it ended.
    fn retire(&self, id: MasterKeyId) -> anyhow::Result<u64> {
        match self {
            Self::Server(client) => {
                let answer = client.post(&format!("/admin/master-keys/{id}/retire"), None)?;
                answer["keysEnded"].as_u64().context("the server did not say how many keys it ended")
            }
            Self::Here(here) => {
                Ok(here.runtime.block_on(here.keys.retire(id, &actor("master-key retire")))?)
            }
        }
    }

    fn close(self) -> anyhow::Result<()> {
        match self {
            Self::Server(_) => Ok(()),
            Self::Here(here) => {
                here.runtime.block_on(here.store.close()).context("the store could not be closed cleanly")
            }
        }
    }
}

fn list(place: &MasterKeyPlace, surroundings: &Surroundings) -> anyhow::Result<()> {
    let doer = Doer::find(place, surroundings)?;
    let list = doer.list()?;
    doer.close()?;
    if place.output.form == Form::Json {
        output::json(&list)?;
        return Ok(());
    }
    let mut table = Table::new(&["ID", "STATE", "HERE", "CREATED", "RETIRED", "LIVE KEYS", "ALL KEYS"], &[]);
    for master in list["masterKeys"].as_array().into_iter().flatten() {
        table.row([
            text(&master["id"]),
            text(&master["state"]),
            if master["present"] == true { "yes" } else { "no" }.to_owned(),
            minute(&master["createdAt"]),
            minute(&master["retiredAt"]),
            text(&master["keysLive"]),
            text(&master["keys"]),
        ]);
    }
    table.print()?;
    Ok(())
}

fn rotate(place: &MasterKeyPlace, surroundings: &Surroundings) -> anyhow::Result<()> {
    let doer = Doer::find(place, surroundings)?;
    let id = doer.rotate()?;
    let list = doer.list()?;
    doer.close()?;
    match place.output.form {
        Form::Json => output::json(&json!({"masterKey": find(&list, &id)}))?,
        Form::Table => output::line(&format!(
            "New scoped keys are made under master key {} from now on; those that exist go on working.\n\
             Keep a copy of it, apart from the backups. `till master-key list` shows the others.",
            output::plain(&id)
        ))?,
    }
    Ok(())
}

fn retire(id: &str, yes: bool, place: &MasterKeyPlace, surroundings: &Surroundings) -> anyhow::Result<()> {
    let id: MasterKeyId = id.parse().map_err(|error| Usage(format!("{error}")))?;
    let doer = Doer::find(place, surroundings)?;
    let name = id.to_string();
    let found = find(&doer.list()?, &name);
    if found.is_null() {
        bail!("there is no master key {id} here; `till master-key list` shows those that there are");
    }
    if !yes && !confirmed(id, &text(&found["keysLive"]))? {
        bail!("nothing was retired");
    }
    let ended = doer.retire(id)?;
    let found = find(&doer.list()?, &name);
    doer.close()?;
    match place.output.form {
        Form::Json => output::json(&json!({"masterKey": found, "keysEnded": ended}))?,
        Form::Table => {
            output::line(&format!("Master key {id} is retired. Live keys that it ended: {ended}"))?
        }
    }
    Ok(())
}

fn find(list: &Value, id: &str) -> Value {
    let mut all = list["masterKeys"].as_array().into_iter().flatten();
    all.find(|master| master["id"] == id).cloned().unwrap_or(Value::Null)
}

/// Asks on a terminal; elsewhere nobody could answer.
fn confirmed(id: MasterKeyId, keys: &str) -> anyhow::Result<bool> {
    let keys = output::plain(keys);
    if !io::stdin().is_terminal() {
        bail!(Usage(format!(
            "{keys} live keys would end with master key {id}, for good: say --yes to do it"
        )));
    }
    eprint!("Retire master key {id} and end {keys} live keys, for good? [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
