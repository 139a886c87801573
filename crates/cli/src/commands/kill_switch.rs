//! `till kill-switch`

use serde_json::{Value, json};

use super::status::text;
use crate::args::{Connection, Form, KillSwitchCommand, Output};
use crate::client::Client;
use crate::env::Surroundings;
use crate::output;

pub(crate) fn run(command: &KillSwitchCommand, surroundings: &Surroundings) -> anyhow::Result<()> {
    match command {
        KillSwitchCommand::On { reason, connection, output } => {
            let mut body = json!({"on": true});
            if let Some(reason) = reason {
                body["reason"] = json!(reason);
            }
            turn(&body, connection, *output, surroundings)
        }
        KillSwitchCommand::Off { connection, output } => {
            turn(&json!({"on": false}), connection, *output, surroundings)
        }
        KillSwitchCommand::Status { connection, output } => {
            show(&Client::new(connection, surroundings)?.get("/admin/kill-switch")?, *output)
        }
    }
}

fn turn(
    body: &Value,
    connection: &Connection,
    output: Output,
    surroundings: &Surroundings,
) -> anyhow::Result<()> {
    show(&Client::new(connection, surroundings)?.put("/admin/kill-switch", body)?, output)
}

fn show(answer: &Value, output: Output) -> anyhow::Result<()> {
    match output.form {
        Form::Json => output::json(answer)?,
        Form::Table => output::line(&output::plain(&sentence(&answer["killSwitch"])))?,
    }
    Ok(())
}

fn sentence(switch: &Value) -> String {
    if switch["on"] != true {
        return "The kill switch is off: keys work as far as their own limits go.".to_owned();
    }
    let reason =
        if switch["reason"].is_null() { String::new() } else { format!(" ({})", text(&switch["reason"])) };
    format!(
        "The kill switch is on since {}{reason}: ALL KEYS ARE REFUSED until `till kill-switch off`.",
        text(&switch["since"])
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::sentence;

    #[test]
    fn says_what_holds() {
        assert!(sentence(&json!({"on": false, "since": null, "reason": null})).contains("is off"));
        let on = sentence(&json!({"on": true, "since": "2027-01-31T08:00:00.000Z", "reason": "leak"}));
        assert!(on.contains("2027-01-31T08:00:00.000Z (leak): ALL KEYS ARE REFUSED"), "{on}");
    }
}
