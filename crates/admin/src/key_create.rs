//! The body of `POST /admin/keys`: every field once, every rule named, nothing ignored.
//!
//! Invariant: what this version does not enforce is refused. A key that was asked for with a token limit
//! must not come out without one.

use std::time::Duration;

use serde_json::{Map, Value};
use till_core::lifetime::Lifetime;
use till_core::limit::{LIMIT_MAX, Limits};
use till_core::money::Dollars;
use till_core::scope::Scope;
use till_core::secret::Secret;
use till_core::time::Timestamp;
use till_core::upstream::{UPSTREAM_KEY_MAX, UPSTREAM_KEY_MIN, check_upstream_key};
use till_store::{Durability, KeyOptions};
use utoipa::ToSchema;

use crate::claim;
use crate::error::{ApiError, ErrorCode};
use crate::json_body::Fields;
use crate::key_life::LifeFields;
use crate::key_rate::{self, RateBody};
use crate::key_upstream::UpstreamWanted;
use crate::scope_json::{ScopeBody, ScopeWanted};

/// Fields that are enforced.
pub(crate) const SUPPORTED: [&str; 22] = [
    "provider",
    "project",
    "upstream_key",
    "upstream",
    "max_activations",
    "max_tokens",
    "max_spend_cents",
    "max_spend_usd",
    "clamp",
    "danger_allow_unbounded",
    "durability",
    "scope",
    "ip_whitelist",
    "metadata",
    "name",
    "expires_at",
    "ttl_seconds",
    "not_before",
    "activate_by",
    "idle_expiry_seconds",
    "rate",
    "claim_ttl_seconds",
];

/// Fields that are known, and refused with a value until something enforces them.
pub(crate) const UNSUPPORTED: [&str; 1] = ["upstream_ref"];

/// Largest `metadata`, in bytes of compact JSON.
const METADATA_BYTES_MAX: usize = 16 * 1024;

/// Deepest nesting in `metadata`; the object itself is level 1.
const METADATA_DEPTH_MAX: usize = 8;

/// Longest `name`, in characters.
const NAME_CHARS_MAX: usize = 256;

/// What to mint: at least one limit. Each field may also be spelled in camelCase.
///
/// Not enforced yet, and refused with `unsupported_field` unless null or empty: `upstream_ref`.
// `Deserialize` is there for `deny_unknown_fields`, which the schema takes over.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyCreate, example = json!({"provider": "openai", "upstream_key": "sk-proj-your-real-key", "max_activations": 50, "max_spend_usd": "0.25", "ttl_seconds": 86400, "name": "nightly crawler"}))]
#[expect(dead_code, reason = "describes the body for the documentation; `KeyCreate::parse` reads it")]
pub(crate) struct KeyCreateBody {
    /// Id of a provider from `GET /admin/providers`. Required with `upstream_key`.
    #[schema(example = "openai")]
    provider: Option<String>,
    /// The project that it belongs to; that of whoever makes it, or `default`, if absent.
    #[schema(example = "search-team")]
    project: Option<String>,
    /// The real key. It is sealed into the scoped key and stored nowhere. Visible ASCII characters only. Either this or
    /// `upstream` is required.
    #[schema(
        example = "sk-proj-your-real-key",
        min_length = 8,
        max_length = 4096,
        pattern = "^[!-~]+$",
        write_only
    )]
    upstream_key: Option<String>,
    /// Name of a stored upstream credential. Excludes `upstream_key`.
    #[schema(example = "openai-prod")]
    upstream: Option<String>,
    /// How many requests the scoped key is good for, over its whole life: a whole number from 1 to 2⁶³−1.
    #[schema(example = 50, minimum = 1, maximum = 9223372036854775807_i64)]
    max_activations: Option<u64>,
    /// How many tokens, input and output together, it is good for: a whole number from 1 to 2⁶³−1.
    #[schema(example = 1_000_000, minimum = 1, maximum = 9223372036854775807_i64)]
    max_tokens: Option<u64>,
    /// How much it may spend, in US cents: a whole number from 1 to 922337203685. Excludes `max_spend_usd`.
    #[schema(example = 500, minimum = 1, maximum = 922_337_203_685_i64)]
    max_spend_cents: Option<u64>,
    /// How much it may spend, in US dollars: a decimal number in quotes with at most 9 decimals. Excludes
    /// `max_spend_cents`.
    #[schema(example = "0.25", pattern = r"^[0-9]{1,10}(\.[0-9]{1,9})?$")]
    max_spend_usd: Option<String>,
    /// Whether till may lower the output cap of a request to what is left; otherwise such a request is refused. True
    /// if absent.
    #[schema(example = true)]
    clamp: Option<bool>,
    /// Let requests pass whose cost nothing bounds, such as those with tools that the provider runs, although there is
    /// a limit in tokens or money. The limit can then be exceeded by each of them. Under a ceiling in tokens or money they
    /// are refused all the same, and where `key_limits` has one of these such a key is not made. False if absent.
    #[schema(example = false)]
    danger_allow_unbounded: Option<bool>,
    /// What is on disk before a request is sent. `ahead`, if absent: a key that is called often has units counted out for
    /// many calls at once, at most a hundredth of what is left, and a crash of till spends those besides the requests in
    /// flight. `call`: a write for every call, and a crash spends the requests in flight only.
    #[schema(example = "ahead", pattern = "^(ahead|call)$")]
    durability: Option<String>,
    /// What the key may call. It may call everything if absent.
    scope: Option<ScopeBody>,
    /// Another name of `scope.networks`; an empty list is none.
    #[schema(example = json!(["10.0.0.0/8"]), max_items = 256)]
    ip_whitelist: Option<Vec<String>>,
    /// Anything you want to find on the key again: at most 16 KiB, nested at most 8 levels.
    #[schema(value_type = Option<Object>, example = json!({"team": "search"}))]
    metadata: Option<Map<String, Value>>,
    /// Short for `metadata.name`: at most 256 characters, no control characters.
    #[schema(example = "nightly crawler", max_length = 256, pattern = r"^[^\u0000-\u001F\u007F-\u009F]*$")]
    name: Option<String>,
    /// When it ends. An instance can have a longest lifetime, which is then also the one of a key without this.
    #[schema(format = DateTime, example = "2027-01-31T08:00:00Z")]
    expires_at: Option<String>,
    /// Seconds from now after which it ends. Excludes `expires_at`.
    #[schema(example = 86_400, minimum = 1, maximum = 3_162_240_000_i64)]
    ttl_seconds: Option<u64>,
    /// When it begins; until then its requests are refused.
    #[schema(format = DateTime, example = "2027-01-01T08:00:00Z")]
    not_before: Option<String>,
    /// By when its first request has to come; otherwise it ends then.
    #[schema(format = DateTime, example = "2027-01-02T08:00:00Z")]
    activate_by: Option<String>,
    /// Seconds without a request after which it ends. A request in flight is use.
    #[schema(example = 604_800, minimum = 1, maximum = 3_162_240_000_i64)]
    idle_expiry_seconds: Option<u64>,
    /// How often it may be used.
    rate: Option<RateBody>,
    /// Do not answer the scoped key but a link that shows it once, for so many seconds: at most a week.
    #[schema(example = 3600, minimum = 1, maximum = 604_800)]
    claim_ttl_seconds: Option<u64>,
}

/// A checked body.
pub(crate) struct KeyCreate {
    pub(crate) project: Option<String>,
    pub(crate) upstream: UpstreamWanted,
    pub(crate) limits: Limits,
    pub(crate) options: KeyOptions,
    pub(crate) lifetime: Lifetime,
    pub(crate) scope: ScopeWanted,
    pub(crate) metadata: Map<String, Value>,
    /// When the link ends by which it is handed over.
    pub(crate) claim_until: Option<Timestamp>,
}

impl KeyCreate {
    /// Checks a whole body. A key may live for the `longest` time from `now` on.
    pub(crate) fn parse(body: &[u8], now: Timestamp, longest: Option<Duration>) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        for name in UNSUPPORTED {
            unsupported(&mut fields, name)?;
        }
        let provider = fields.take("provider")?;
        let project = fields.take("project")?;
        let upstream_key = fields.take("upstream_key")?;
        let upstream = fields.take("upstream")?;
        let activations = fields.take("max_activations")?;
        let tokens = fields.take("max_tokens")?;
        let cents = fields.take("max_spend_cents")?;
        let usd = fields.take("max_spend_usd")?;
        let clamp = fields.take("clamp")?;
        let allow_unbounded = fields.take("danger_allow_unbounded")?;
        let durable = fields.take("durability")?;
        let scope = fields.take("scope")?;
        let ip_whitelist = fields.take("ip_whitelist")?;
        let metadata = fields.take("metadata")?;
        let name = fields.take("name")?;
        let life = LifeFields::take(&mut fields)?;
        let rate = fields.take("rate")?;
        let claim_ttl_seconds = fields.take("claim_ttl_seconds")?;
        // First what was sent too much: somebody who misspelt a field should read its name, not "missing".
        fields.finish(&SUPPORTED)?;

        let project = project.map(|project| text("project", project)).transpose()?;
        let upstream = UpstreamWanted::parse(provider, upstream_key, upstream)?;
        let activations = activations.map(|value| limit("max_activations", &value, LIMIT_MAX)).transpose()?;
        let tokens = tokens.map(|value| limit("max_tokens", &value, LIMIT_MAX)).transpose()?;
        let limits = Limits {
            activations,
            tokens,
            spend_nanos: spend(("max_spend_cents", cents), ("max_spend_usd", usd))?,
        };
        if limits == Limits::default() {
            let message = "at least one limit is required: `max_activations`, `max_tokens`, `max_spend_cents` or \
                           `max_spend_usd`";
            return Err(ApiError::new(ErrorCode::MissingField, message));
        }
        let default = KeyOptions::default();
        let options = KeyOptions {
            clamp: flag("clamp", clamp)?.unwrap_or(default.clamp),
            allow_unbounded: flag("danger_allow_unbounded", allow_unbounded)?
                .unwrap_or(default.allow_unbounded),
            rates: key_rate::change(rate)?.of(default.rates),
            durability: durability(durable)?.unwrap_or_default(),
        };
        let scope = ScopeWanted::parse(scope, ip_whitelist)?;
        let metadata = metadata_with_name(metadata, name)?;
        if upstream.key().is_some_and(|key| mentions(&metadata, key)) {
            return Err(invalid(
                "metadata",
                "must not contain the upstream key: metadata is stored and shown",
            ));
        }
        let lifetime = life.of_new_key(now, longest)?;
        let claim_until = claim::end(claim_ttl_seconds, now)?;
        Ok(Self { project, upstream, limits, options, scope, lifetime, metadata, claim_until })
    }
}

fn unsupported(fields: &mut Fields, name: &str) -> Result<(), ApiError> {
    let empty = match fields.take(name)? {
        None => true,
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(entries)) => entries.is_empty(),
        Some(_) => false,
    };
    if empty {
        return Ok(());
    }
    let message =
        format!("`{name}` is not enforced by this version of till, so it is refused instead of ignored");
    Err(ApiError::new(ErrorCode::UnsupportedField, message))
}

pub(crate) fn required(name: &str, value: Option<Value>) -> Result<Value, ApiError> {
    value.ok_or_else(|| ApiError::new(ErrorCode::MissingField, format!("`{name}` is required")))
}

pub(crate) fn invalid(name: &str, rule: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidField, format!("`{name}` {rule}"))
}

pub(crate) fn text(name: &str, value: Value) -> Result<String, ApiError> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(invalid(name, "must be a string")),
    }
}

pub(crate) fn secret(name: &str, value: Value) -> Result<Secret, ApiError> {
    let secret = Secret::new(text(name, value)?);
    match check_upstream_key(&secret) {
        Ok(()) => Ok(secret),
        Err(error) => Err(invalid(
            name,
            &format!(
                "must be the provider's own key, {UPSTREAM_KEY_MIN} to {UPSTREAM_KEY_MAX} bytes: {error}"
            ),
        )),
    }
}

pub(crate) fn limit(name: &str, value: &Value, max: u64) -> Result<u64, ApiError> {
    // Numbers above 2⁶⁴−1 and everything with a point or an exponent are floating point here, so they are refused.
    value
        .as_u64()
        .filter(|limit| (1..=max).contains(limit))
        .ok_or_else(|| invalid(name, &format!("must be a whole number from 1 to {max}, not in quotes")))
}

/// Nano-dollars in a cent.
const NANOS_PER_CENT: u64 = 10_000_000;

/// The amount in nano-dollars, from whichever of the two fields is given. Each comes with its name.
pub(crate) fn spend(
    (cents_name, cents): (&str, Option<Value>),
    (usd_name, usd): (&str, Option<Value>),
) -> Result<Option<u64>, ApiError> {
    match (cents, usd) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => {
            let message = format!("`{cents_name}` and `{usd_name}` are the same limit; send one of them");
            Err(ApiError::new(ErrorCode::DuplicateField, message))
        }
        (Some(cents), None) => {
            let cents = limit(cents_name, &cents, LIMIT_MAX / NANOS_PER_CENT)?;
            Ok(Some(cents * NANOS_PER_CENT))
        }
        (None, Some(usd)) => {
            let rule = "must be US dollars as a decimal number in quotes with at most 9 decimals, from \"0.000000001\" to \
                        \"9223372036.854775807\"";
            let nanos = usd.as_str().and_then(|text| text.parse::<Dollars>().ok());
            let nanos = nanos.and_then(|Dollars(nanos)| u64::try_from(nanos).ok());
            let nanos = nanos.filter(|nanos| (1..=LIMIT_MAX).contains(nanos));
            nanos.map(Some).ok_or_else(|| invalid(usd_name, rule))
        }
    }
}

pub(crate) fn flag(name: &str, value: Option<Value>) -> Result<Option<bool>, ApiError> {
    match value {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(flag)),
        Some(_) => Err(invalid(name, "must be true or false")),
    }
}

/// What is on disk before a request is sent, where it is given.
///
/// # Errors
/// Another word.
pub(crate) fn durability(value: Option<Value>) -> Result<Option<Durability>, ApiError> {
    let Some(value) = value else { return Ok(None) };
    let known = value.as_str().and_then(Durability::parse);
    known.map(Some).ok_or_else(|| invalid("durability", "must be \"ahead\" or \"call\""))
}

fn metadata_with_name(metadata: Option<Value>, name: Option<Value>) -> Result<Map<String, Value>, ApiError> {
    let mut metadata = match metadata {
        None => Map::new(),
        Some(Value::Object(metadata)) => metadata,
        Some(_) => return Err(invalid("metadata", "must be an object")),
    };
    if let Some(name) = name {
        let name = check_name(text("name", name)?)?;
        if metadata.insert("name".to_owned(), Value::String(name)).is_some() {
            let message = "`name` and `metadata.name` are the same field; send one of them";
            return Err(ApiError::new(ErrorCode::DuplicateField, message));
        }
    }
    check_metadata(&metadata)?;
    Ok(metadata)
}

/// A name that may stand in metadata.
pub(crate) fn check_name(name: String) -> Result<String, ApiError> {
    if name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
        let rule = format!("has at most {NAME_CHARS_MAX} characters, no control characters");
        return Err(invalid("name", &rule));
    }
    Ok(name)
}

/// Refuses metadata that is too large or too deep.
pub(crate) fn check_metadata(metadata: &Map<String, Value>) -> Result<(), ApiError> {
    if !metadata.values().all(|value| depth_fits(value, METADATA_DEPTH_MAX - 1)) {
        return Err(invalid("metadata", &format!("is nested at most {METADATA_DEPTH_MAX} levels")));
    }
    let bytes = serde_json::to_string(metadata).expect("a JSON map is JSON").len();
    if bytes > METADATA_BYTES_MAX {
        return Err(invalid("metadata", &format!("has at most {METADATA_BYTES_MAX} bytes as JSON")));
    }
    Ok(())
}

/// Whether a value has at most `levels` levels of arrays and objects.
fn depth_fits(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| depth_fits(item, levels - 1)),
        Value::Object(entries) => levels > 0 && entries.values().all(|item| depth_fits(item, levels - 1)),
        _ => true,
    }
}

/// Whether the upstream key stands in the scope, which is stored and shown.
pub(crate) fn scope_mentions(scope: &Scope, key: &Secret) -> bool {
    json_mentions(&serde_json::json!(scope), key)
}

/// Whether the upstream key stands in something that is stored and shown.
pub(crate) fn json_mentions(value: &Value, key: &Secret) -> bool {
    value_mentions(value, key.reveal_str().expect("a checked upstream key is ASCII"))
}

/// Whether the upstream key stands in a name or text of the metadata, which is stored in the clear.
fn mentions(metadata: &Map<String, Value>, key: &Secret) -> bool {
    let key = key.reveal_str().expect("a checked upstream key is ASCII");
    metadata.iter().any(|(name, value)| name.contains(key) || value_mentions(value, key))
}

fn value_mentions(value: &Value, key: &str) -> bool {
    match value {
        Value::String(text) => text.contains(key),
        Value::Array(items) => items.iter().any(|item| value_mentions(item, key)),
        Value::Object(entries) => {
            entries.iter().any(|(name, item)| name.contains(key) || value_mentions(item, key))
        }
        // A key of digits alone could be written as a number.
        Value::Number(number) => number.to_string().contains(key),
        Value::Null | Value::Bool(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use utoipa::PartialSchema;

    use super::{KeyCreateBody, SUPPORTED, UNSUPPORTED};

    #[test]
    fn documentation_and_parser_know_the_same_fields() {
        let schema = serde_json::to_value(KeyCreateBody::schema()).unwrap();
        let mut documented: Vec<&str> =
            schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        let mut parsed = SUPPORTED.to_vec();
        documented.sort_unstable();
        parsed.sort_unstable();
        assert_eq!(documented, parsed);
        assert_eq!(schema["additionalProperties"], Value::Bool(false));
        let described = schema["description"].as_str().unwrap();
        for name in UNSUPPORTED {
            assert!(described.contains(&format!("`{name}`")), "{name}");
        }
    }
}
