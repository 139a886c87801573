//! `till profiles`. No server is asked.

use serde_json::{Value, json};

use super::login;
use crate::args::Form;
use crate::args::login::ProfilesCommand;
use crate::env::Surroundings;
use crate::output::{self, Table, plain};
use crate::profiles::{self, Profiles};

pub(crate) fn run(command: &ProfilesCommand, surroundings: &Surroundings) -> anyhow::Result<()> {
    match command {
        ProfilesCommand::List { output } => list(output.form, surroundings),
        ProfilesCommand::Use { name, output } => choose(name, output.form, surroundings),
        ProfilesCommand::Remove { name, output } => login::remove(Some(name), output.form, surroundings),
    }
}

fn list(form: Form, surroundings: &Surroundings) -> anyhow::Result<()> {
    let profiles = Profiles::load(&profiles::path(surroundings)?)?;
    let is_chosen = |name: &str| profiles.chosen.as_deref() == Some(name);
    if form == Form::Json {
        let rows = profiles.all.iter().map(|(name, profile)| {
            json!({"name": name, "url": profile.url, "chosen": is_chosen(name), "caFile": profile.ca_file})
        });
        output::json(&json!({"profiles": rows.collect::<Vec<Value>>()}))?;
        return Ok(());
    }
    if profiles.all.is_empty() {
        output::line("There are no profiles. `till login URL` makes one.")?;
        return Ok(());
    }
    let mut table = Table::new(&["", "NAME", "URL"], &[]);
    for (name, profile) in &profiles.all {
        table.row([if is_chosen(name) { "*" } else { "" }.to_owned(), name.clone(), profile.url.clone()]);
    }
    table.print()?;
    Ok(())
}

fn choose(name: &str, form: Form, surroundings: &Surroundings) -> anyhow::Result<()> {
    let url = Profiles::update(&profiles::path(surroundings)?, |profiles| {
        let url = profiles.named(name)?.url.clone();
        profiles.chosen = Some(name.to_owned());
        Ok(url)
    })?;
    match form {
        Form::Json => output::json(&json!({"profile": name, "url": url, "chosen": true}))?,
        Form::Table => output::line(&plain(&format!("Commands use the profile {name}, {url}.")))?,
    }
    Ok(())
}
