//! The help of every command, kept in files and reviewed when it changes.
//!
//! `TILL_UPDATE=1 cargo test -p till-cli` writes the files anew.

use std::path::Path;
use std::process::Command;

const COMMANDS: &[&[&str]] = &[
    &[],
    &["start"],
    &["keys"],
    &["keys", "create"],
    &["keys", "list"],
    &["keys", "show"],
    &["keys", "update"],
    &["keys", "pause"],
    &["keys", "resume"],
    &["keys", "explain"],
    &["keys", "revoke"],
    &["credentials"],
    &["credentials", "list"],
    &["credentials", "show"],
    &["credentials", "create"],
    &["credentials", "rotate"],
    &["credentials", "update"],
    &["credentials", "remove"],
    &["projects"],
    &["projects", "list"],
    &["projects", "show"],
    &["projects", "create"],
    &["projects", "update"],
    &["projects", "end"],
    &["members"],
    &["members", "list"],
    &["members", "show"],
    &["members", "create"],
    &["members", "update"],
    &["members", "remove"],
    &["members", "password"],
    &["tokens"],
    &["tokens", "list"],
    &["tokens", "show"],
    &["tokens", "create"],
    &["tokens", "update"],
    &["tokens", "rotate"],
    &["tokens", "revoke"],
    &["login"],
    &["logout"],
    &["profiles"],
    &["profiles", "list"],
    &["profiles", "use"],
    &["profiles", "remove"],
    &["whoami"],
    &["man"],
    &["licenses"],
    &["sbom"],
    &["kill-switch"],
    &["kill-switch", "on"],
    &["kill-switch", "off"],
    &["kill-switch", "status"],
    &["audit"],
    &["audit", "list"],
    &["audit", "show"],
    &["audit", "export"],
    &["audit", "verify"],
    &["audit", "public-key"],
    &["audit", "find"],
    &["status"],
    &["providers"],
    &["providers", "list"],
    &["providers", "show"],
    &["config"],
    &["config", "check"],
    &["config", "show"],
    &["usage"],
    &["holds"],
    &["holds", "list"],
    &["holds", "forgive"],
    &["prices"],
    &["prices", "list"],
    &["prices", "show"],
    &["prices", "check"],
    &["prices", "update"],
    &["doctor"],
    &["admin"],
    &["admin", "reset-owner"],
    &["admin", "accept-rollback"],
    &["backup"],
    &["restore"],
    &["master-key"],
    &["master-key", "list"],
    &["master-key", "rotate"],
    &["master-key", "retire"],
    &["completions"],
    &["version"],
];

fn help(command: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_till"))
        .args(command)
        .arg("--help")
        .env_clear()
        .env("COLUMNS", "100")
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).expect("help is UTF-8")
}

#[test]
fn help_of_every_command() {
    let update = std::env::var_os("TILL_UPDATE").is_some();
    let mut stale = Vec::new();
    for command in COMMANDS {
        let name = ["till"].iter().chain(*command).copied().collect::<Vec<_>>().join("-");
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/snapshots/{name}.txt"));
        let text = help(command);
        if update {
            std::fs::write(&file, &text).expect("the snapshot can be written");
        } else if std::fs::read_to_string(&file).unwrap_or_default() != text {
            stale.push(format!("{name}:\n{text}"));
        }
    }
    assert!(
        stale.is_empty(),
        "run `TILL_UPDATE=1 cargo test -p till-cli` and review the change:\n{}",
        stale.join("\n")
    );
}

#[test]
fn every_command_is_listed_and_has_examples() {
    for command in COMMANDS {
        let text = help(command);
        let has_subcommands = text.contains("\nCommands:\n");
        assert!(text.contains("Examples:\n"), "{command:?} has no example");
        if !has_subcommands {
            continue;
        }
        let list = text.split("\nCommands:\n").nth(1).unwrap_or_default();
        let names = list
            .lines()
            .take_while(|line| !line.is_empty())
            .filter_map(|line| line.split_whitespace().next());
        for name in names.filter(|name| *name != "help") {
            let full: Vec<&str> = command.iter().copied().chain([name]).collect();
            assert!(COMMANDS.contains(&full.as_slice()), "{full:?} is missing in this test");
        }
    }
}
