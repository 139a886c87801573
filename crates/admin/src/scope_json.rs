//! `scope` of a key as the API takes it: every part checked by itself, words replaced by what they stand for.
//!
//! Invariant: what comes out is a scope that is enforced as it stands. An empty list is refused: some would read it as
//! everything and others as nothing.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use till_core::limit::LIMIT_MAX;
use till_core::scope::{EndpointRule, Glob, Network, ParameterRules, Scope};
use till_providers::Provider;
use till_providers::preset::{preset, presets};
use till_providers::request::endpoints;
use utoipa::ToSchema;

use crate::error::{ApiError, ErrorCode};
use crate::json_body::Fields;
use crate::key_create::{flag, invalid, limit};

/// Most entries of a list.
const ENTRIES_MAX: usize = 256;

/// Longest name of a member for which values are listed, in bytes.
const MEMBER_BYTES_MAX: usize = 128;

/// Parts of a scope.
const PARTS: [&str; 4] = ["endpoints", "models", "parameters", "networks"];

/// Rules for parameters.
const RULES: [&str; 6] = ["max_output_tokens", "tools", "hosted_tools", "store", "image_input", "values"];

/// What a key may call. Each part may be left out, and then allows everything; a part that is given allows what it lists
/// and nothing else.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Scope)]
#[expect(dead_code, reason = "describes the field for the documentation; `ScopeWanted::parse` reads it")]
pub(crate) struct ScopeBody {
    /// Methods and paths as in `POST /v1/chat/completions` or `GET /v1/models/*`, compared with the path that goes to the
    /// provider: `*` stands for any characters within a segment, `**` as the last segment for whatever follows, `*` as the
    /// method for any method. Or words such as `chat`, `embeddings`, `models`, `read-only`, which stand for endpoints of the
    /// provider (`till providers show openai`) as they are known when the key is minted.
    #[schema(example = json!(["chat", "GET /v1/models/*"]), min_items = 1, max_items = 256)]
    endpoints: Option<Vec<String>>,
    /// Names of models; `*` stands for any characters.
    #[schema(example = json!(["gpt-4o-mini", "gpt-4.1-*"]), min_items = 1, max_items = 256)]
    models: Option<Vec<String>>,
    /// What a request may ask for.
    parameters: Option<ParametersBody>,
    /// Addresses and networks that requests may come from, such as `192.0.2.7`, `10.0.0.0/8` or `2001:db8::/32`.
    #[schema(example = json!(["10.0.0.0/8"]), min_items = 1, max_items = 256)]
    networks: Option<Vec<String>>,
}

/// Ceilings and bans. Each may be left out.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ScopeParameters)]
#[expect(dead_code, reason = "describes the field for the documentation; `ScopeWanted::parse` reads it")]
pub(crate) struct ParametersBody {
    /// The highest output cap of one call. A request that asks for more, or for none, gets this one, or is refused if
    /// `clamp` is false.
    #[schema(example = 1000, minimum = 1, maximum = 9223372036854775807_i64)]
    max_output_tokens: Option<u64>,
    /// Whether requests may bring tools.
    tools: Option<bool>,
    /// Whether they may bring tools that the provider runs, such as web search.
    hosted_tools: Option<bool>,
    /// Whether they may let the provider keep what is said.
    store: Option<bool>,
    /// Whether they may bring images.
    image_input: Option<bool>,
    /// Values that a member at the top of the body may have: texts, numbers, true or false.
    #[schema(value_type = Option<Object>, example = json!({"service_tier": ["default", "flex"]}))]
    values: Option<Map<String, Value>>,
}

/// What a key may call; a part that is absent allows everything. It describes what `Scope` of the core writes.
#[derive(serde::Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = KeyScope)]
pub(crate) struct ScopeJson {
    /// Methods and paths.
    #[schema(example = json!(["POST /v1/chat/completions"]))]
    endpoints: Option<Vec<String>>,
    /// Names of models.
    #[schema(example = json!(["gpt-4o-mini"]))]
    models: Option<Vec<String>>,
    /// What a request may ask for.
    parameters: Option<ParametersJson>,
    /// Where requests may come from.
    #[schema(example = json!(["10.0.0.0/8"]))]
    networks: Option<Vec<String>>,
}

/// Ceilings and bans; what is absent is allowed.
#[derive(serde::Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = KeyScopeParameters)]
pub(crate) struct ParametersJson {
    /// The highest output cap of one call.
    #[schema(example = 1000)]
    max_output_tokens: Option<u64>,
    /// False: no tools.
    tools: Option<bool>,
    /// False: no tools that the provider runs.
    hosted_tools: Option<bool>,
    /// False: the provider must not keep what is said.
    store: Option<bool>,
    /// False: no images.
    image_input: Option<bool>,
    /// Values that a member at the top of the body may have.
    #[schema(value_type = Option<Object>)]
    values: Option<Map<String, Value>>,
}

/// A checked scope whose words are not replaced yet.
#[derive(Default)]
pub(crate) struct ScopeWanted {
    endpoints: Option<Vec<String>>,
    scope: Scope,
}

impl ScopeWanted {
    /// Checks `scope` and `ip_whitelist`, which is another name of `scope.networks`. An empty whitelist is none, as its
    /// clients mean it.
    pub(crate) fn parse(scope: Option<Value>, ip_whitelist: Option<Value>) -> Result<Self, ApiError> {
        let mut wanted = Self::default();
        if let Some(scope) = scope {
            wanted = Self::read(object("scope", scope)?)?;
        }
        let is_given = |list: &Value| !list.as_array().is_some_and(Vec::is_empty);
        if let Some(list) = ip_whitelist.filter(is_given) {
            if wanted.scope.networks.is_some() {
                let message = "`ip_whitelist` and `scope.networks` are the same field; send one of them";
                return Err(ApiError::new(ErrorCode::DuplicateField, message));
            }
            wanted.scope.networks = Some(networks("ip_whitelist", list)?);
        }
        Ok(wanted)
    }

    fn read(scope: Map<String, Value>) -> Result<Self, ApiError> {
        let mut fields = Fields::of(scope);
        let endpoints = fields.take("endpoints")?;
        let models = fields.take("models")?;
        let parameters = fields.take("parameters")?;
        let networks_given = fields.take("networks")?;
        fields.finish_in("scope", &PARTS)?;
        let endpoints = endpoints.map(|list| texts("scope.endpoints", list)).transpose()?;
        for text in endpoints.iter().flatten().filter(|text| text.contains(' ')) {
            EndpointRule::parse(text).map_err(|error| wrong_entry("scope.endpoints", &error))?;
        }
        let models = models.map(|list| {
            let glob = |text: String| Glob::parse(&text).map_err(|error| wrong_entry("scope.models", &error));
            texts("scope.models", list)?.into_iter().map(glob).collect::<Result<Vec<_>, _>>()
        });
        let scope = Scope {
            endpoints: None,
            models: models.transpose()?,
            parameters: parameters.map(parameter_rules).transpose()?.unwrap_or_default(),
            networks: networks_given.map(|list| networks("scope.networks", list)).transpose()?,
        };
        Ok(Self { endpoints, scope })
    }

    /// The scope for a key of this provider.
    pub(crate) fn resolve(self, provider: &Provider) -> Result<Scope, ApiError> {
        let Self { endpoints: wanted, mut scope } = self;
        let has_table = !endpoints(provider).is_empty();
        for (is_ruled, name) in
            [(scope.models.is_some(), "scope.models"), (!scope.parameters.is_empty(), "scope.parameters")]
        {
            if is_ruled && !has_table {
                let rule = format!(
                    "can't be enforced for `{}`: till does not know what its requests mean; use `scope.endpoints`",
                    provider.id()
                );
                return Err(invalid(name, &rule));
            }
        }
        if let Some(wanted) = wanted {
            let mut rules: Vec<EndpointRule> = Vec::new();
            for text in wanted {
                for rule in rules_of(&text, provider)? {
                    if !rules.contains(&rule) {
                        rules.push(rule);
                    }
                }
            }
            scope.endpoints = Some(rules);
        }
        Ok(scope)
    }
}

/// One rule, or those that a word stands for.
fn rules_of(text: &str, provider: &Provider) -> Result<Vec<EndpointRule>, ApiError> {
    if text.contains(' ') {
        let rule = EndpointRule::parse(text).map_err(|error| wrong_entry("scope.endpoints", &error))?;
        return Ok(vec![rule]);
    }
    preset(provider, text).ok_or_else(|| {
        let known: Vec<&str> = presets(provider).iter().map(|preset| preset.name).collect();
        let rule = format!(
            "has an entry that is neither a method and a path, as in \"POST /v1/chat/completions\", nor a word that \
             stands for endpoints of `{}`: {}",
            provider.id(),
            known.join(", ")
        );
        invalid("scope.endpoints", &rule)
    })
}

fn parameter_rules(value: Value) -> Result<ParameterRules, ApiError> {
    let mut fields = Fields::of(object("scope.parameters", value)?);
    let most = fields.take("max_output_tokens")?;
    let mut flag_of =
        |name: &str| fields.take(name).and_then(|value| flag(&format!("scope.parameters.{name}"), value));
    let (tools, hosted_tools) = (flag_of("tools")?, flag_of("hosted_tools")?);
    let (store, image_input) = (flag_of("store")?, flag_of("image_input")?);
    let values = fields.take("values")?;
    fields.finish_in("scope.parameters", &RULES)?;
    let most =
        most.map(|value| limit("scope.parameters.max_output_tokens", &value, LIMIT_MAX)).transpose()?;
    let values = values.map(allowed_values).transpose()?.unwrap_or_default();
    // To allow something is to say nothing about it.
    let banned = |flag: Option<bool>| flag.filter(|allowed| !allowed);
    Ok(ParameterRules {
        max_output_tokens: most,
        tools: banned(tools),
        hosted_tools: banned(hosted_tools),
        store: banned(store),
        image_input: banned(image_input),
        values,
    })
}

fn allowed_values(value: Value) -> Result<BTreeMap<String, Vec<Value>>, ApiError> {
    const NAME: &str = "scope.parameters.values";
    let values = object(NAME, value)?;
    if values.len() > ENTRIES_MAX {
        return Err(invalid(NAME, &format!("has at most {ENTRIES_MAX} members")));
    }
    let mut allowed = BTreeMap::new();
    for (member, list) in values {
        let is_name = !member.is_empty()
            && member.len() <= MEMBER_BYTES_MAX
            && member.bytes().all(|b| b.is_ascii_graphic());
        if !is_name {
            let rule =
                format!("has a member whose name is not 1 to {MEMBER_BYTES_MAX} visible ASCII characters");
            return Err(invalid(NAME, &rule));
        }
        let is_plain = |value: &Value| value.is_string() || value.is_number() || value.is_boolean();
        let list = match list {
            Value::Array(list) if entries_fit(&list) && list.iter().all(is_plain) => list,
            _ => {
                let rule = format!(
                    "must give every member a list of 1 to {ENTRIES_MAX} texts, numbers, true or false"
                );
                return Err(invalid(NAME, &rule));
            }
        };
        allowed.insert(member, list);
    }
    Ok(allowed)
}

fn networks(name: &str, list: Value) -> Result<Vec<Network>, ApiError> {
    let network = |text: String| Network::parse(&text).map_err(|error| wrong_entry(name, &error));
    texts(name, list)?.into_iter().map(network).collect()
}

fn object(name: &str, value: Value) -> Result<Map<String, Value>, ApiError> {
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(invalid(name, "must be an object")),
    }
}

fn entries_fit(list: &[Value]) -> bool {
    (1..=ENTRIES_MAX).contains(&list.len())
}

fn texts(name: &str, value: Value) -> Result<Vec<String>, ApiError> {
    let rule = format!("must be a list of 1 to {ENTRIES_MAX} strings; leave it out to allow everything");
    let Value::Array(list) = value else { return Err(invalid(name, &rule)) };
    if !entries_fit(&list) {
        return Err(invalid(name, &rule));
    }
    let text = |value: Value| match value {
        Value::String(text) => Ok(text),
        _ => Err(invalid(name, &rule)),
    };
    list.into_iter().map(text).collect()
}

/// A wrong entry, by its place in words: the entry itself could be a credential that was put into the wrong field.
fn wrong_entry(name: &str, rule: &dyn std::fmt::Display) -> ApiError {
    invalid(name, &format!("has a wrong entry: {rule}"))
}
