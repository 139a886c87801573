//! `docs/providers.md` and `docs/metering.md` say what the code does: their tables are made here and compared.
//!
//! After a change of the tables run the test once with `TILL_WRITE_DOCS=1` to bring the page up to date.

use std::fmt::Write;
use std::path::PathBuf;

use till_core::path::RawPath;
use till_core::upstream::Placement;
use till_providers::denied::DeniedReason;
use till_providers::request::endpoints;
use till_providers::unbilled::Unbilled;
use till_providers::{Provider, Registry};

#[test]
fn the_pages_are_up_to_date() {
    let registry = Registry::builtin();
    check("providers.md", &[("providers", providers(&registry)), ("denied", denied(&registry))]);
    check("metering.md", &[("endpoints", endpoint_table(&registry)), ("unbilled", unbilled(&registry))]);
}

/// Compares the sections of a page, or writes them.
fn check(name: &str, sections: &[(&str, String)]) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    let page = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("docs/{name}: {error}"));
    let updated =
        sections.iter().fold(page.clone(), |page, (section, content)| with_section(&page, section, content));
    if std::env::var_os("TILL_WRITE_DOCS").is_some() {
        std::fs::write(&file, &updated).unwrap_or_else(|error| panic!("docs/{name}: {error}"));
    } else if page != updated {
        panic!(
            "docs/{name} is behind the code. Run: TILL_WRITE_DOCS=1 cargo test -p till-providers --test page"
        );
    }
}

/// The page with what stands between the two markers of a section replaced.
fn with_section(page: &str, name: &str, content: &str) -> String {
    let begin = format!("<!-- begin generated: {name} -->\n");
    let end = format!("<!-- end generated: {name} -->");
    let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("no {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end}"));
    format!("{before}{begin}\n{content}\n{end}{after}")
}

fn providers(registry: &Registry) -> String {
    let mut table = String::from(
        "| id (also) | provider | base URL | where the key goes | versions | a path without one | SDK base path | key variable |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for provider in registry.iter() {
        let cells = [
            ids(provider),
            provider.name().to_owned(),
            provider.base_url().map_or("to be configured".to_owned(), |url| format!("`{url}`")),
            placement(provider.placement()),
            provider.versions().map(code).collect::<Vec<_>>().join(" "),
            bare(provider),
            if provider.sdk_base_path().is_empty() {
                "none".to_owned()
            } else {
                code(provider.sdk_base_path())
            },
            provider.key_env().map(code).unwrap_or_default(),
        ];
        writeln!(table, "| {} |", cells.join(" | ")).expect("a string takes everything");
    }
    table
}

fn denied(registry: &Registry) -> String {
    let mut text = String::new();
    for provider in registry.iter() {
        let rows = provider.denied_endpoints();
        writeln!(text, "### {}\n", provider.name()).expect("a string takes everything");
        if rows.is_empty() {
            text.push_str("Nothing that this provider documents is a way around.\n\n");
            continue;
        }
        text.push_str("| path | methods | because it | source |\n| --- | --- | --- | --- |\n");
        for row in rows {
            let (path, methods, reason) =
                (code(row.pattern.as_str()), row.methods.as_str(), row.reason.as_str());
            writeln!(text, "| {path} | {methods} | {reason} | <{}> |", row.source)
                .expect("a string takes everything");
        }
        text.push('\n');
    }
    text.trim_end().to_owned() + "\n"
}

fn endpoint_table(registry: &Registry) -> String {
    let mut text = String::new();
    for provider in registry.iter() {
        let rows = endpoints(provider);
        if rows.is_empty() {
            continue;
        }
        writeln!(text, "### {}\n", provider.name()).expect("a string takes everything");
        text.push_str("| endpoint | name in records | costs | source |\n| --- | --- | --- | --- |\n");
        for row in rows {
            let costs = if row.is_free { "nothing" } else { "by usage" };
            writeln!(text, "| {} | {} | {costs} | <{}> |", code(&row.pattern()), code(row.name), row.source)
                .expect("a string takes everything");
        }
        text.push('\n');
    }
    text.trim_end().to_owned() + "\n"
}

fn unbilled(registry: &Registry) -> String {
    let mut table = String::from("| provider | statuses | source |\n| --- | --- | --- |\n");
    for row in Unbilled::all() {
        let provider = registry.get(row.provider).expect("a known provider");
        writeln!(table, "| {} | {} | <{}> |", provider.name(), row.statuses(), row.source)
            .expect("a string takes everything");
    }
    table
}

fn ids(provider: &Provider) -> String {
    let aliases: Vec<String> = provider.aliases().iter().map(|alias| code(alias)).collect();
    match aliases.is_empty() {
        true => code(provider.id()),
        false => format!("{} ({})", code(provider.id()), aliases.join(", ")),
    }
}

fn placement(placement: &Placement) -> String {
    match placement {
        Placement::Header { name, template } => code(&format!("{name}: {template}")),
        Placement::Query { name } => code(&format!("?{name}={{key}}")),
        Placement::Basic => "Basic".to_owned(),
    }
}

/// What becomes of a path that no client would send with a version missing by accident.
fn bare(provider: &Provider) -> String {
    let raw = RawPath::parse(b"/x").expect("a valid path");
    let path = provider.final_path(&raw).expect("an allowed path");
    if path.as_str() == "/x" { "stays as it is".to_owned() } else { format!("`/x` → `{path}`") }
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

#[test]
fn the_page_explains_every_reason() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/providers.md");
    let page = std::fs::read_to_string(file).expect("docs/providers.md exists");
    for reason in DeniedReason::ALL {
        assert!(page.contains(reason.as_str()), "{reason:?}");
    }
}
