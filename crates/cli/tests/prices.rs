//! `till prices` from outside: what was added counts, and a file with mistakes changes nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const GOOD: &str = r#"
[[prices]]
provider = "gemini"
model = "gemini-tomorrow-*"
input = "1.25"
output = "10"
[prices.above.200000]
input = "2.50"
[prices.service_tier.priority]
output = "20"

[[prices]]
provider = "openai"
model = "gpt-4o-mini"
input = "0.20"
output = "0.70"
"#;

/// An empty directory of this test alone.
fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).expect("a directory");
    directory
}

fn till(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_till"));
    let command = command.arg("prices").args(arguments).current_dir(directory).env_clear();
    command.env("TILL_DATA", directory).output().expect("the program runs")
}

fn stdout(directory: &Path, arguments: &[&str]) -> String {
    let output = till(directory, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("it is UTF-8")
}

fn refused(directory: &Path, arguments: &[&str]) -> String {
    let output = till(directory, arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).expect("it is UTF-8")
}

#[test]
fn what_was_added_counts() {
    let directory = directory("prices-added");
    std::fs::write(directory.join("mine.toml"), GOOD).expect("written");
    let checked = stdout(&directory, &["check", "mine.toml"]);
    assert!(checked.contains("openai    gpt-4o-mini        $0.00045  $0.00055\n"), "{checked}");
    assert!(
        checked.contains("openai gpt-4o-mini has no price of its own any more for cache_read_tokens"),
        "{checked}"
    );
    assert!(
        !stdout(&directory, &["list", "--provider", "google"]).contains("tomorrow"),
        "a check changes nothing"
    );

    stdout(&directory, &["update", "mine.toml"]);
    let shown = stdout(&directory, &["show", "Gemini-Tomorrow-1"]);
    let table = "\
UNIT                      PER      PRICE   service_tier=priority
input_tokens              million  $1.25   $1.25
  above 200,000 of input  million  $2.50   $2.50
output_tokens             million  $10.00  $20.00
";
    assert!(shown.contains("configuration, prices 20") && shown.ends_with(table), "{shown}");
    let listed = stdout(&directory, &["list", "--provider", "openai", "--output", "csv"]);
    let rows: Vec<&str> = listed.lines().filter(|row| row.starts_with("openai,gpt-4o-mini,")).collect();
    assert_eq!(rows, ["openai,gpt-4o-mini,0.20,,,0.70,128000,16384,configuration"]);

    // The configuration file counts before what was put into the data directory.
    let row = "[[prices]]\nprovider = \"openai\"\nmodel = \"gpt-4o-mini\"\ninput = \"0.30\"\n";
    std::fs::write(directory.join("till.toml"), row).expect("written");
    let shown = stdout(&directory, &["show", "gpt-4o-mini", "--provider", "openai", "--config", "till.toml"]);
    assert!(shown.ends_with("input_tokens  million  $0.30\n"), "{shown}");
}

#[test]
fn a_file_with_mistakes_changes_nothing() {
    let directory = directory("prices-mistakes");
    std::fs::write(directory.join("mine.toml"), GOOD).expect("written");
    stdout(&directory, &["update", "mine.toml"]);
    let bad = "[[prices]]\nprovider = \"openai\"\nmodel = \"m\"\ninput = 5\n\n[[prices]]\nmodle = \"n\"\n";
    std::fs::write(directory.join("bad.toml"), bad).expect("written");
    for command in ["check", "update"] {
        let errors = refused(&directory, &[command, "bad.toml"]);
        assert!(
            errors.starts_with("error: 5 mistakes in bad.toml:\n  bad.toml:4: `input` must be dollars"),
            "{errors}"
        );
        assert!(errors.contains("\n  bad.toml:7: `modle` is not a key here"), "{errors}");
    }
    let installed = std::fs::read_to_string(directory.join("prices.toml")).expect("it is there");
    assert_eq!(installed, GOOD);
    assert!(!directory.join("prices.new").exists());

    std::fs::write(directory.join("till.toml"), bad).expect("written");
    let errors = refused(&directory, &["list", "--config", "till.toml"]);
    assert!(errors.contains("\n  prices input (till.toml:4): must be dollars"), "{errors}");
}

#[test]
fn names_that_are_not_there_are_answered_with_near_ones() {
    let directory = directory("prices-near");
    let errors = refused(&directory, &["show", "gpt-4p-mini"]);
    assert!(errors.contains("\n  gpt-4o-mini (azure-openai, openai)\n"), "{errors}");
    let errors = refused(&directory, &["show", "gpt-4o", "--provider", "opnai"]);
    assert!(errors.contains("there is no provider `opnai`"), "{errors}");
}
