//! `till config check` and `till config show`

use serde_json::json;

use crate::args::{Form, Output};
use crate::env::Surroundings;
use crate::inputs;
use crate::output::{self, Table};
use crate::settings::{Mistakes, SettingFlags, Settings, TABLE, Written};

pub(crate) fn check(flags: &SettingFlags, output: Output, surroundings: &Surroundings) -> anyhow::Result<()> {
    let written = Written::gather(flags, surroundings);
    let outcome = inputs::read(&written, surroundings).map(drop);
    match (output.form, &outcome) {
        (Form::Table, Ok(())) => output::line("The settings are right.")?,
        (Form::Table, Err(_)) => {}
        (Form::Json, outcome) => {
            let mistakes = outcome.as_ref().err().map_or(&[][..], |Mistakes(mistakes)| mistakes);
            let mistakes: Vec<_> = mistakes
                .iter()
                .map(|mistake| json!({"setting": mistake.setting, "place": mistake.place, "rule": mistake.rule}))
                .collect();
            output::json(&json!({"ok": mistakes.is_empty(), "mistakes": mistakes}))?;
        }
    }
    Ok(outcome?)
}

pub(crate) fn show(flags: &SettingFlags, output: Output, surroundings: &Surroundings) -> anyhow::Result<()> {
    let written = Written::gather(flags, surroundings);
    let settings = Settings::resolve(&written, surroundings)?;
    let mut table = Table::new(&["SETTING", "VALUE", "FROM"], &[1, 2]);
    let mut rows = Vec::new();
    for setting in TABLE {
        let (value, from) = match written.of(setting).first() {
            Some(entries) => {
                let texts: Vec<&str> = entries.iter().map(|entry| entry.text.as_str()).collect();
                let from = entries.first().map(|entry| entry.source.describe(setting.name));
                (Some(texts.join("; ")), from.unwrap_or_default())
            }
            None => (setting.default.text(&settings, surroundings), "default".to_owned()),
        };
        rows.push(json!({"setting": setting.name, "value": value, "from": from}));
        table.row([
            setting.name.to_owned(),
            value.unwrap_or_else(|| format!("({})", setting.default.shown())),
            from,
        ]);
    }
    match output.form {
        Form::Table => table.print()?,
        Form::Json => output::json(&json!({"settings": rows}))?,
    }
    Ok(())
}
