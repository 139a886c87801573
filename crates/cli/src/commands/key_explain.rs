//! `till keys explain`

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::status::text;
use crate::args::{Explain, Form};
use crate::client::{Client, escape};
use crate::env::Surroundings;
use crate::exit::{Answered, Usage};
use crate::output;

pub(crate) fn run(wanted: &Explain, surroundings: &Surroundings) -> anyhow::Result<()> {
    let mut body = json!({"method": wanted.method, "path": wanted.path});
    if let Some(model) = &wanted.model {
        body["model"] = json!(model);
    }
    if let Some(file) = &wanted.body {
        body["body"] = json!(read(file)?);
    }
    if let Some(address) = &wanted.from {
        body["client_address"] = json!(address);
    }
    let client = Client::new(&wanted.connection, surroundings)?;
    let path = format!("/admin/keys/{}/explain", escape(&wanted.id));
    let answer = client.post(&path, Some(&body)).with_context(|| format!("key `{}`", wanted.id))?;
    let explanation = &answer["explanation"];
    let is_allowed = explanation["allowed"] == true;
    match wanted.output.form {
        Form::Json => output::json(&answer)?,
        Form::Table => {
            for step in explanation["steps"].as_array().into_iter().flatten() {
                output::line(&line(step))?;
            }
            output::line(&match is_allowed {
                true => "yes".to_owned(),
                false => format!("no: {}", output::plain(&text(&explanation["code"]))),
            })?;
        }
    }
    if is_allowed { Ok(()) } else { Err(Answered.into()) }
}

fn line(step: &Value) -> String {
    let [name, outcome, reason] =
        ["step", "outcome", "reason"].map(|field| output::plain(&text(&step[field])));
    format!("{name:<9} {outcome:<8} {reason}")
}

fn read(file: &Path) -> anyhow::Result<String> {
    let bytes = if file == Path::new("-") {
        let mut bytes = Vec::new();
        io::stdin().read_to_end(&mut bytes).context("can't read standard input")?;
        bytes
    } else {
        fs::read(file).with_context(|| format!("can't read {}", file.display()))?
    };
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(_) => bail!(Usage(format!("{} is not in UTF-8", file.display()))),
    }
}
