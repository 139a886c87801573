//! `till providers list` and `show`: what this till knows, with the settings of this machine. No server is
//! asked.

use serde_json::{Value, json};
use till_core::upstream::Placement;
use till_providers::denied::DeniedEndpoint;
use till_providers::preset::presets;
use till_providers::request::endpoints;
use till_providers::{BaseUrl, Provider};

use super::status::text;
use crate::args::{Form, Output};
use crate::env::Surroundings;
use crate::exit::Usage;
use crate::output::{self, Table};
use crate::settings::{SettingFlags, Settings, Written};

pub(crate) fn list(output: Output, surroundings: &Surroundings) -> anyhow::Result<()> {
    let settings = settings(surroundings)?;
    let providers: Vec<Value> = settings.registry.iter().map(describe).collect();
    if output.form == Form::Json {
        output::json(&json!({"providers": providers}))?;
        return Ok(());
    }
    let mut table = Table::new(&["ID", "NAME", "BASE URL", "KEY GOES TO"], &[2, 3, 1]);
    for provider in &providers {
        table.row(["id", "name", "baseUrl", "placement"].map(|field| text(&provider[field])));
    }
    table.print()?;
    Ok(())
}

pub(crate) fn show(id: &str, output: Output, surroundings: &Surroundings) -> anyhow::Result<()> {
    let settings = settings(surroundings)?;
    let Some(provider) = settings.registry.get(id) else {
        return Err(Usage(format!("there is no provider `{id}`; `till providers list` shows all")).into());
    };
    let description = describe(provider);
    if output.form == Form::Json {
        output::json(&json!({"provider": description}))?;
        return Ok(());
    }
    let aliases = provider.aliases().join(", ");
    output::pairs(&[
        ("id", text(&description["id"])),
        ("name", text(&description["name"])),
        ("also called", if aliases.is_empty() { "-".to_owned() } else { aliases }),
        ("base URL", text(&description["baseUrl"])),
        ("key goes to", text(&description["placement"])),
        ("key variable", text(&description["keyEnv"])),
        ("SDK base path", text(&description["sdkBasePath"])),
        ("paths begin with", versions(provider)),
        ("from the settings", text(&description["custom"])),
        ("refused endpoints", provider.denied_endpoints().len().to_string()),
    ])?;
    if !endpoints(provider).is_empty() {
        output::line("\nEndpoints whose cost is known:")?;
        for endpoint in endpoints(provider) {
            let free = if endpoint.is_free { " (free)" } else { "" };
            output::line(&format!("  {}: {}{free}", endpoint.pattern(), endpoint.name))?;
        }
    }
    output::line("\nWords for `--allow-endpoint`:")?;
    for preset in presets(provider) {
        let rules: Vec<String> = preset.endpoints.iter().map(ToString::to_string).collect();
        output::line(&format!("  {} ({}): {}", preset.name, preset.meaning, rules.join(", ")))?;
    }
    if !provider.denied_endpoints().is_empty() {
        output::line("\nRefused to every key that does not name the endpoint:")?;
    }
    for endpoint in provider.denied_endpoints() {
        let methods = endpoint.methods.as_str();
        output::line(&format!("  {} ({methods}): {}", endpoint.pattern.as_str(), endpoint.reason.as_str()))?;
    }
    Ok(())
}

/// Beginnings of paths that name a version, the usual one first.
fn versions(provider: &Provider) -> String {
    let versions: Vec<&str> = provider.versions().collect();
    if versions.is_empty() { "-".to_owned() } else { versions.join(", ") }
}

fn settings(surroundings: &Surroundings) -> anyhow::Result<Settings> {
    let written = Written::gather(&SettingFlags::default(), surroundings);
    Ok(Settings::resolve(&written, surroundings)?)
}

fn describe(provider: &Provider) -> Value {
    let denied: Vec<Value> = provider.denied_endpoints().iter().map(denied).collect();
    let known: Vec<Value> = endpoints(provider)
        .iter()
        .map(|row| json!({"name": row.name, "endpoint": row.pattern(), "free": row.is_free, "source": row.source}))
        .collect();
    let words: Vec<Value> = presets(provider)
        .iter()
        .map(|preset| json!({"name": preset.name, "meaning": preset.meaning, "endpoints": preset.endpoints}))
        .collect();
    json!({
        "id": provider.id(),
        "name": provider.name(),
        "aliases": provider.aliases(),
        "baseUrl": provider.base_url().map(BaseUrl::as_str),
        "placement": placement(provider.placement()),
        "keyEnv": provider.key_env(),
        "sdkBasePath": provider.sdk_base_path(),
        "custom": provider.is_custom(),
        "versions": provider.versions().collect::<Vec<_>>(),
        "endpoints": known,
        "presets": words,
        "deniedEndpoints": denied,
    })
}

fn denied(endpoint: &DeniedEndpoint) -> Value {
    json!({
        "path": endpoint.pattern.as_str(),
        "methods": endpoint.methods.as_str(),
        "reason": endpoint.reason.as_str(),
        "source": endpoint.source,
    })
}

fn placement(placement: &Placement) -> String {
    match placement {
        Placement::Header { name, template } => format!("{name}: {template}"),
        Placement::Query { name } => format!("?{name}={{key}}"),
        Placement::Basic => "HTTP Basic".to_owned(),
    }
}
