//! `till doctor`: what the store says of the data directory, and what only this program knows: settings, master keys, and the
//! machine. Nothing is changed, and the command that gives a master key is not run.

mod machine;

use std::path::Path;

use serde_json::{Value, json};
use till_core::token::MasterKeyId;
use till_store::{Examined, Finding, Grade, database, examine};

use crate::args::{Form, Output};
use crate::env::Surroundings;
use crate::exit::Answered;
use crate::inputs::{self, Inputs};
use crate::settings::{Mistakes, SettingFlags, Settings, Written};
use crate::{local_file, output, prices, start};

pub(crate) fn run(flags: &SettingFlags, output: Output, surroundings: &Surroundings) -> anyhow::Result<()> {
    let written = Written::gather(flags, surroundings);
    // Where a setting is wrong, the rest is looked at all the same.
    let (settings, _) = Settings::resolve_what_is_right(&written, surroundings);
    let (mut findings, inputs) = match inputs::read(&written, surroundings) {
        Ok((_, inputs)) => (vec![Finding::fine("settings", "they are right".into())], Some(inputs)),
        Err(Mistakes(mistakes)) => {
            let fix = "see docs/configuration.md, and `till config check`";
            (
                mistakes.iter().map(|mistake| Finding::wrong("settings", mistake.to_string(), fix)).collect(),
                None,
            )
        }
    };
    if let Err(error) = prices::table(&settings) {
        findings.push(Finding::wrong("prices", format!("{error:#}"), "`till prices check`"));
    }
    let examined = examine(&start::open_options(&settings), start::now());
    findings.extend(examined.findings.iter().cloned());
    if let Some(inputs) = inputs {
        findings.extend(master_keys(&settings, inputs, &examined));
    }
    findings.extend(machine::look(&settings, &examined));
    let is_fine = findings.iter().all(|finding| finding.grade != Grade::Wrong);
    let shown = match output.form {
        Form::Json => output::json(&as_json(&findings, is_fine, &settings.data, &examined)),
        Form::Table => show(&findings, is_fine),
    };
    if !is_fine {
        return Err(Answered.into());
    }
    Ok(shown?)
}

/// Whether the master keys that a start would find open what is there.
fn master_keys(settings: &Settings, inputs: Inputs, examined: &Examined) -> Vec<Finding> {
    const ABOUT: &str = "master key";
    let mut found = Vec::new();
    for file in key_files(&settings.key_dir) {
        if local_file::is_open_to_others(&file) {
            let text = format!("others may read or write {}", file.display());
            found.push(Finding::wrong(ABOUT, text, &format!("chmod 600 {}", file.display())));
        }
    }
    let (Some(wrapped), Some(instance_id)) = (&examined.index_key, &examined.instance_id) else {
        return found;
    };
    if settings.master_key_command.is_some() {
        let text =
            "it comes from a command, which was not run, so it was not compared with the database".into();
        found.push(Finding::note(ABOUT, text, "run the command yourself to see whether it works"));
        return found;
    }
    match start::check_keys(settings, inputs.master_keys, wrapped, instance_id) {
        Ok(present) => {
            found.push(Finding::fine(ABOUT, "it opens what the database has".into()));
            found.extend(missing(&present, examined));
        }
        Err(error) => {
            let fix =
                "put back the key directory that belongs to this data directory, or name it with --key-dir";
            found.push(Finding::wrong(ABOUT, format!("{error:#}"), fix));
        }
    }
    found
}

/// Those that live keys were made under and that are not here.
fn missing(present: &[MasterKeyId], examined: &Examined) -> Vec<Finding> {
    let is_missed = |known: &&till_store::MasterKeyRecord| {
        known.retired_at.is_none() && known.keys_live > 0 && !present.contains(&known.id)
    };
    let finding = |known: &till_store::MasterKeyRecord| {
        let text = format!(
            "{} live keys were made under master key {}, which is not here",
            known.keys_live, known.id
        );
        let fix = "put it beside the others in the key directory, or retire it with `till master-key retire`";
        Finding::wrong("master key", text, fix)
    };
    examined.master_keys.iter().filter(is_missed).map(finding).collect()
}

fn key_files(key_dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(key_dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "key"))
        .collect()
}

fn word(grade: Grade) -> &'static str {
    match grade {
        Grade::Fine => "fine",
        Grade::Note => "note",
        Grade::Wrong => "wrong",
    }
}

fn as_json(findings: &[Finding], is_fine: bool, data: &Path, examined: &Examined) -> Value {
    let findings: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "about": finding.about,
                "grade": word(finding.grade),
                "text": finding.text,
                "fix": finding.fix,
            })
        })
        .collect();
    json!({
        "ok": is_fine,
        "database": database(data).display().to_string(),
        "running": examined.is_running,
        "process": examined.process,
        "findings": findings,
    })
}

fn show(findings: &[Finding], is_fine: bool) -> std::io::Result<()> {
    for finding in findings {
        let mark = if finding.grade == Grade::Wrong { "WRONG" } else { word(finding.grade) };
        output::line(&format!("{mark:<6} {:<12} {}", finding.about, output::plain(&finding.text)))?;
        if let Some(fix) = &finding.fix {
            output::line(&format!("{:19} -> {}", "", output::plain(fix)))?;
        }
    }
    output::line(if is_fine { "\nNothing is wrong." } else { "\nSomething is wrong: see WRONG above." })
}
