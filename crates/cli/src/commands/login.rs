//! `till login` and `logout`

use std::io::{self, IsTerminal, Write};

use anyhow::{Context, bail};
use serde_json::json;
use till_core::secret::Secret;
use till_core::token::ADMIN_TOKEN_PREFIX;

use super::status::text;
use crate::args::login::{LoginWanted, LogoutWanted};
use crate::args::{Connection, Form};
use crate::client::{self, Client};
use crate::env::{self, Surroundings};
use crate::exit::Usage;
use crate::local_file;
use crate::output::{self, plain};
use crate::profiles::{self, Profile, Profiles};

pub(crate) fn login(wanted: &LoginWanted, surroundings: &Surroundings) -> anyhow::Result<()> {
    let path = profiles::path(surroundings)?;
    let name = match &wanted.profile {
        Some(name) => name.clone(),
        None => of_environment(surroundings)?.unwrap_or_else(|| profiles::DEFAULT.to_owned()),
    };
    // Before anything is typed in: a file that can't be used is no place for a token.
    let known = Profiles::load(&path)?.all.remove(&name);
    let (url, told_by) = match (&wanted.url, &known) {
        (Some(url), _) => (with_scheme(url)?, "the command line".to_owned()),
        (None, Some(profile)) => (profile.url.clone(), format!("profile {name}")),
        (None, None) => client::find_server(&Connection::default(), surroundings)?,
    };
    let url = url.trim_end_matches('/').to_owned();
    let mut ca_file = Vec::new();
    for file in &wanted.ca_file {
        ca_file.push(std::path::absolute(file).with_context(|| format!("can't find {}", file.display()))?);
    }
    if ca_file.is_empty() {
        ca_file =
            known.filter(|profile| profile.url == url).map(|profile| profile.ca_file).unwrap_or_default();
    }
    if is_clear_text(&url) {
        writeln!(
            io::stderr(),
            "warning: the admin token goes to {} in clear text; use https:// if you can",
            plain(&url)
        )?;
    }
    // The address and the certificates first, for the same reason.
    Client::with(&url, told_by.clone(), Secret::new(""), &ca_file)?;
    let admin_token = token(wanted, &url)?;
    let client = Client::with(&url, told_by, admin_token.clone(), &ca_file)?;
    let who = client.get("/admin/self")?["self"].take();
    let is_chosen = Profiles::update(&path, |profiles| {
        let profile = Profile { url: url.clone(), admin_token, ca_file };
        profiles.all.insert(name.clone(), profile);
        if profiles.chosen().ok().flatten().is_none() {
            profiles.chosen = Some(name.clone());
        }
        Ok(profiles.chosen.as_deref() == Some(name.as_str()))
    })?;
    if wanted.output.form == Form::Json {
        output::json(&json!({"profile": name, "url": url, "chosen": is_chosen, "self": who}))?;
        return Ok(());
    }
    let place = match who["project"].as_str() {
        Some(project) => format!(" in the project {project}"),
        None => String::new(),
    };
    let whom = format!("{} ({}), {}{place}", text(&who["name"]), text(&who["id"]), text(&who["role"]));
    output::line(&plain(&format!("Logged in at {url} as {whom}.")))?;
    output::line(&match is_chosen {
        true => format!("Commands use this profile, {name}, unless flags or variables say otherwise."),
        false => {
            format!("Use it with --profile {name}, or for all commands after `till profiles use {name}`.")
        }
    })?;
    Ok(())
}

/// The profile that the environment names.
fn of_environment(surroundings: &Surroundings) -> anyhow::Result<Option<String>> {
    let name = surroundings.variable(env::PROFILE).map(profiles::checked_name).transpose();
    name.map_err(|rule| Usage(format!("{}: {rule}", env::PROFILE)).into())
}

fn with_scheme(url: &str) -> anyhow::Result<String> {
    if url.contains("://") {
        return Ok(url.to_owned());
    }
    if url.starts_with(ADMIN_TOKEN_PREFIX) {
        bail!(Usage(
            "an admin token is refused on the command line: other users see it and the shell keeps it in its history, so rotate \
             it (`till tokens rotate`). Say where the server is; the token is asked for."
                .into()
        ));
    }
    bail!(Usage(format!("a URL is needed, such as https://{url}")))
}

/// Whether whoever is on the way can read what is sent there.
fn is_clear_text(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(literal) => literal.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let is_loopback = host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    !is_loopback && !host.eq_ignore_ascii_case("localhost")
}

fn token(wanted: &LoginWanted, url: &str) -> anyhow::Result<Secret> {
    let token = match &wanted.admin_key_file {
        Some(file) => local_file::read_secret(file)?,
        None if io::stdin().is_terminal() => {
            let typed = rpassword::prompt_password(format!("Admin token for {} (not shown): ", plain(url)));
            Secret::new(typed.context("can't read from the terminal")?.trim())
        }
        None => bail!(Usage(
            "where is the admin token? Use --admin-key-file FILE (`-` is standard input); there is no terminal here to ask on"
                .into()
        )),
    };
    // Another secret that was put here by mistake is not sent anywhere.
    if !token.reveal().starts_with(ADMIN_TOKEN_PREFIX.as_bytes()) {
        bail!("that is no admin token: they begin with `{ADMIN_TOKEN_PREFIX}`. Nothing was sent.");
    }
    Ok(token)
}

pub(crate) fn logout(wanted: &LogoutWanted, surroundings: &Surroundings) -> anyhow::Result<()> {
    let name = match &wanted.profile {
        Some(name) => Some(name.clone()),
        None => of_environment(surroundings)?,
    };
    remove(name.as_deref(), wanted.output.form, surroundings)
}

/// Removes a profile, or the chosen one.
pub(super) fn remove(name: Option<&str>, form: Form, surroundings: &Surroundings) -> anyhow::Result<()> {
    let (name, was_chosen) = Profiles::update(&profiles::path(surroundings)?, |profiles| {
        let Some(name) = name.map(str::to_owned).or_else(|| profiles.chosen.clone()) else {
            bail!(Usage("there is no chosen profile; name one with --profile".into()));
        };
        if profiles.all.remove(&name).is_none() {
            return Err(profiles.no_such(&name));
        }
        let was_chosen = profiles.chosen.as_ref() == Some(&name);
        if was_chosen {
            profiles.chosen = None;
        }
        Ok((name, was_chosen))
    })?;
    if form == Form::Json {
        output::json(&json!({"profile": name, "removed": true, "wasChosen": was_chosen}))?;
        return Ok(());
    }
    output::line(&plain(&format!(
        "The profile {name} is gone from this machine. Its admin token goes on; `till tokens revoke` ends it."
    )))?;
    if was_chosen {
        output::line("It was the chosen one: `till profiles use NAME` chooses another.")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::is_clear_text;

    #[test]
    fn clear_text_is_what_leaves_the_machine_without_tls() {
        for (url, expected) in [
            ("http://127.0.0.1:4100", false),
            ("http://localhost", false),
            ("http://[::1]:4100/x", false),
            ("https://till.example.com", false),
            ("http://till.example.com:80", true),
            ("http://10.0.0.1", true),
            ("http://localhost.example.com", true),
        ] {
            assert_eq!(is_clear_text(url), expected, "{url}");
        }
    }
}
