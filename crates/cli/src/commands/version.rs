//! `till version`

use serde_json::json;

use crate::args::{Form, Output};
use crate::output;

pub(crate) fn run(output: Output) -> anyhow::Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    match output.form {
        Form::Table => output::line(&format!("till {version}"))?,
        Form::Json => output::json(&json!({"version": version}))?,
    }
    Ok(())
}
