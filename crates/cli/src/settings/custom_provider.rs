//! Providers that the configuration file adds: `[providers.NAME]` with `base_url` and `auth`.
//!
//! Only the shape of the table is read here; what makes a good address or header is the registry's to say. A part
//! that is missing or has the wrong shape is reported and replaced by a stand-in, so that the registry gets to
//! check the other parts too; with a mistake reported, nothing runs on it.

use till_providers::custom::{CustomAuth, CustomProvider};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::{Contents, Reader};
use super::{Mistake, Source};

/// A provider as it was written.
#[derive(Clone, Debug)]
pub(super) struct WrittenProvider {
    pub(super) provider: CustomProvider,
    pub(super) source: Source,
}

const AUTH_RULE: &str =
    "expected `{header = \"x-api-key\", template = \"{key}\"}`, `{query = \"key\"}` or `{basic = true}`";

/// An address that the registry has nothing to say against; it belongs to nobody (RFC 6761).
const STAND_IN_URL: &str = "https://stand-in.invalid";

/// Reads the table `providers`.
pub(super) fn read_all(
    reader: &Reader<'_>,
    contents: &mut Contents,
    source: &Source,
    providers: &DeValue<'_>,
) {
    let DeValue::Table(providers) = providers else {
        contents.mistakes.push(Mistake::new("providers", source, "is not a table; write `[providers.NAME]`"));
        return;
    };
    for (id, provider) in providers {
        let source = reader.source(id.span().start);
        let mut rules = Vec::new();
        let provider = match provider.get_ref() {
            DeValue::Table(table) => read_one(id.get_ref(), table, &mut rules),
            _ => {
                rules.push("is not a table with `base_url` and `auth`".to_owned());
                stand_in(id.get_ref())
            }
        };
        let setting = format!("providers.{}", id.get_ref());
        contents.mistakes.extend(rules.iter().map(|rule| Mistake::new(&setting, &source, rule)));
        contents.custom_providers.push(WrittenProvider { provider, source });
    }
}

fn stand_in(id: &str) -> CustomProvider {
    CustomProvider {
        id: id.to_owned(),
        base_url: STAND_IN_URL.to_owned(),
        auth: CustomAuth::Basic,
        allow_encoded_slash: false,
    }
}

/// One provider's table; whatever is wrong with its shape goes to `rules`.
fn read_one(id: &str, table: &DeTable<'_>, rules: &mut Vec<String>) -> CustomProvider {
    let mut provider = stand_in(id);
    let mut keep = |rule: &str| rules.push(rule.to_owned());
    for key in table.keys().map(Spanned::get_ref) {
        if !matches!(key.as_ref(), "base_url" | "auth" | "allow_encoded_slash") {
            keep(&format!(
                "has an unknown key `{key}`; the keys are `base_url`, `auth` and `allow_encoded_slash`"
            ));
        }
    }
    match field(table, "base_url") {
        Some(DeValue::String(url)) => provider.base_url = url.clone().into_owned(),
        Some(_) => keep("has a `base_url` that is not a string"),
        None => keep("has no `base_url`"),
    }
    match field(table, "auth") {
        Some(DeValue::Table(auth)) => match read_auth(auth) {
            Ok(auth) => provider.auth = auth,
            Err(why) => keep(&format!("has an `auth` that {why}; {AUTH_RULE}")),
        },
        Some(_) => keep(&format!("has an `auth` that is not a table; {AUTH_RULE}")),
        None => keep(&format!("has no `auth`; {AUTH_RULE}")),
    }
    match field(table, "allow_encoded_slash") {
        None => {}
        Some(DeValue::Boolean(allow)) => provider.allow_encoded_slash = *allow,
        Some(_) => keep("has an `allow_encoded_slash` that is neither true nor false"),
    }
    provider
}

fn read_auth(auth: &DeTable<'_>) -> Result<CustomAuth, String> {
    let text = |name| match field(auth, name) {
        Some(DeValue::String(text)) => Ok(text.clone().into_owned()),
        _ => Err(format!("has a `{name}` that is not a string")),
    };
    let mut keys: Vec<&str> = auth.keys().map(|key| key.get_ref().as_ref()).collect();
    keys.sort_unstable();
    match keys.as_slice() {
        ["header"] => Ok(CustomAuth::Header { name: text("header")?, template: "{key}".to_owned() }),
        ["header", "template"] => {
            Ok(CustomAuth::Header { name: text("header")?, template: text("template")? })
        }
        ["query"] => Ok(CustomAuth::Query { name: text("query")? }),
        ["basic"] if matches!(field(auth, "basic"), Some(DeValue::Boolean(true))) => Ok(CustomAuth::Basic),
        _ => Err("says none of the three ways, or more than one".to_owned()),
    }
}

fn field<'t, 'i>(table: &'t DeTable<'i>, name: &str) -> Option<&'t DeValue<'i>> {
    table.iter().find(|(key, _)| key.get_ref().as_ref() == name).map(|(_, value)| value.get_ref())
}
