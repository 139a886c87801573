//! `till whoami`

use serde_json::{Value, json};

use super::members::everywhere;
use super::policy::listed;
use super::status::text;
use crate::args::{Connection, Form, Output};
use crate::client::Client;
use crate::env::Surroundings;
use crate::output;

pub(crate) fn run(
    connection: &Connection,
    output: Output,
    surroundings: &Surroundings,
) -> anyhow::Result<()> {
    let client = Client::new(connection, surroundings)?;
    let who: Value = client.get("/admin/self")?["self"].take();
    match output.form {
        Form::Json => {
            output::json(&json!({"url": client.base_url(), "profile": client.profile(), "self": who}))?
        }
        Form::Table => output::pairs(&[
            ("address", client.base_url().to_owned()),
            ("from", client.told_by().to_owned()),
            ("id", text(&who["id"])),
            ("name", text(&who["name"])),
            ("role", text(&who["role"])),
            ("project", everywhere(&who["project"])),
            ("may do", listed(&who["permissions"])),
        ])?,
    }
    Ok(())
}
