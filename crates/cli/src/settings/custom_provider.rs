//! Providers that the configuration file adds: `[providers.NAME]` with `base_url` and `auth`.
//!
//! Only the shape of the table is read here; what makes a good address or header is the registry's to say.

use till_providers::BaseUrl;
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
        let read = match provider.get_ref() {
            DeValue::Table(table) => read_one(id.get_ref(), table, &mut rules),
            _ => {
                rules.push("is not a table with `base_url` and `auth`".to_owned());
                None
            }
        };
        let setting = format!("providers.{}", id.get_ref());
        contents.mistakes.extend(rules.iter().map(|rule| Mistake::new(&setting, &source, rule)));
        contents.custom_providers.extend(read.map(|provider| WrittenProvider { provider, source }));
    }
}

/// One provider's table; whatever is wrong with its shape goes to `rules`.
fn read_one(id: &str, table: &DeTable<'_>, rules: &mut Vec<String>) -> Option<CustomProvider> {
    for key in table.keys().map(Spanned::get_ref) {
        if !matches!(key.as_ref(), "base_url" | "auth" | "allow_encoded_slash") {
            rules.push(format!(
                "has an unknown key `{key}`; the keys are `base_url`, `auth` and `allow_encoded_slash`"
            ));
        }
    }
    let base_url = match field(table, "base_url") {
        Some(DeValue::String(url)) => Ok(url.clone().into_owned()),
        Some(_) => Err("has a `base_url` that is not a string".to_owned()),
        None => Err("has no `base_url`".to_owned()),
    };
    let auth = match field(table, "auth") {
        Some(DeValue::Table(auth)) => {
            read_auth(auth).map_err(|why| format!("has an `auth` that {why}; {AUTH_RULE}"))
        }
        Some(_) => Err(format!("has an `auth` that is not a table; {AUTH_RULE}")),
        None => Err(format!("has no `auth`; {AUTH_RULE}")),
    };
    let allow_encoded_slash = match field(table, "allow_encoded_slash") {
        None => Ok(false),
        Some(DeValue::Boolean(allow)) => Ok(*allow),
        Some(_) => Err("has an `allow_encoded_slash` that is neither true nor false".to_owned()),
    };
    match (base_url, auth, allow_encoded_slash) {
        (Ok(base_url), Ok(auth), Ok(allow_encoded_slash)) => {
            Some(CustomProvider { id: id.to_owned(), base_url, auth, allow_encoded_slash })
        }
        (base_url, auth, allow_encoded_slash) => {
            // The registry does not get to see this provider, so its address is checked here.
            let address = base_url.and_then(|url| {
                url.parse::<BaseUrl>().map_err(|error| format!("has a `base_url` that is refused: {error}"))
            });
            rules.extend(address.err());
            rules.extend(auth.err());
            rules.extend(allow_encoded_slash.err());
            None
        }
    }
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
