//! The body of `PATCH /admin/keys/{id}`: what is to be changed, and nothing else.

use serde_json::{Map, Value};
use till_core::limit::{LIMIT_MAX, Units};
use till_core::time::Timestamp;
use till_store::{KeyChange, LimitChange};
use utoipa::ToSchema;

use crate::error::{ApiError, ErrorCode};
use crate::json_body::Fields;
use crate::key_create::{check_metadata, check_name, durability, flag, invalid, limit, spend, text};
use crate::key_life::{self, LifeFields};
use crate::key_rate::{self, RateBody};

/// Longest reason of a pause, in characters.
const REASON_CHARS_MAX: usize = 256;

/// Fields besides those of [`key_life`].
const FIELDS: [&str; 15] = [
    "name",
    "metadata",
    "max_activations",
    "max_tokens",
    "max_spend_cents",
    "max_spend_usd",
    "add_activations",
    "add_tokens",
    "add_spend_cents",
    "add_spend_usd",
    "clamp",
    "durability",
    "paused",
    "paused_reason",
    "rate",
];

/// What to change; what is absent stays as it is. Each field may also be spelled in camelCase.
// `Deserialize` is there for `deny_unknown_fields`, which the schema takes over.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyUpdate, example = json!({"name": "nightly crawler", "add_activations": 10, "ttl_seconds": 86400}))]
#[expect(dead_code, reason = "describes the body for the documentation; `parse` reads it")]
pub(crate) struct KeyUpdateBody {
    /// The entry `name` of the metadata; null takes it away.
    #[schema(example = "nightly crawler", max_length = 256)]
    name: Option<String>,
    /// All metadata anew; null empties it.
    #[schema(value_type = Option<Object>, example = json!({"team": "search"}))]
    metadata: Option<Map<String, Value>>,
    /// The limit in requests, used ones included; null takes it away.
    #[schema(example = 80, minimum = 1, maximum = 9223372036854775807_i64)]
    max_activations: Option<u64>,
    /// The limit in tokens; null takes it away.
    #[schema(example = 2_000_000, minimum = 1, maximum = 9223372036854775807_i64)]
    max_tokens: Option<u64>,
    /// The limit in US cents; null takes the limit in money away. Excludes `max_spend_usd`.
    #[schema(example = 500, minimum = 1, maximum = 922_337_203_685_i64)]
    max_spend_cents: Option<u64>,
    /// The limit in US dollars; null takes the limit in money away. Excludes `max_spend_cents`.
    #[schema(example = "0.25", pattern = r"^[0-9]{1,10}(\.[0-9]{1,9})?$")]
    max_spend_usd: Option<String>,
    /// Adds so many requests to the limit.
    #[schema(example = 10, minimum = 1, maximum = 9223372036854775807_i64)]
    add_activations: Option<u64>,
    /// Adds so many tokens to the limit.
    #[schema(example = 100_000, minimum = 1, maximum = 9223372036854775807_i64)]
    add_tokens: Option<u64>,
    /// Adds so many US cents to the limit. Excludes `add_spend_usd`.
    #[schema(example = 100, minimum = 1, maximum = 922_337_203_685_i64)]
    add_spend_cents: Option<u64>,
    /// Adds so many US dollars to the limit. Excludes `add_spend_cents`.
    #[schema(example = "1.50", pattern = r"^[0-9]{1,10}(\.[0-9]{1,9})?$")]
    add_spend_usd: Option<String>,
    /// When it ends; null takes the end away. A key that has expired works again if this is in the future.
    #[schema(format = DateTime, example = "2027-01-31T08:00:00Z")]
    expires_at: Option<String>,
    /// Seconds from now after which it ends. Excludes `expires_at`.
    #[schema(example = 86_400, minimum = 1)]
    ttl_seconds: Option<u64>,
    /// When it begins; null takes that away.
    #[schema(format = DateTime, example = "2027-01-01T08:00:00Z")]
    not_before: Option<String>,
    /// By when its first request has to come; null takes that away.
    #[schema(format = DateTime, example = "2027-01-02T08:00:00Z")]
    activate_by: Option<String>,
    /// Seconds without a request after which it ends, counted anew from this change; null takes that away.
    #[schema(example = 604_800, minimum = 1)]
    idle_expiry_seconds: Option<u64>,
    /// Whether till may lower the output cap of a request to what is left.
    #[schema(example = true)]
    clamp: Option<bool>,
    /// What is on disk before a request is sent: `ahead` or `call`.
    #[schema(example = "call", pattern = "^(ahead|call)$")]
    durability: Option<String>,
    /// Whether it is stopped for now: its requests are refused and its streams cut until it is false again.
    #[schema(example = true)]
    paused: Option<bool>,
    /// Why it is paused, for people: at most 256 characters.
    #[schema(example = "odd traffic since noon", max_length = 256)]
    paused_reason: Option<String>,
    /// How often it may be used: what is absent in it stays as it is, and null takes all rates away.
    rate: Option<RateBody>,
}

/// Checks a whole body. A time to live counts from `now`.
pub(crate) fn parse(body: &[u8], now: Timestamp) -> Result<KeyChange, ApiError> {
    let mut fields = Fields::parse(body)?;
    if fields.is_empty() {
        return Err(ApiError::new(ErrorCode::MissingField, "there is nothing to change in an empty object"));
    }
    let name = fields.take_nullable("name")?;
    let metadata = fields.take_nullable("metadata")?;
    let activations = fields.take_nullable("max_activations")?;
    let tokens = fields.take_nullable("max_tokens")?;
    let cents = fields.take_nullable("max_spend_cents")?;
    let usd = fields.take_nullable("max_spend_usd")?;
    let more_activations = fields.take("add_activations")?;
    let more_tokens = fields.take("add_tokens")?;
    let more_cents = fields.take("add_spend_cents")?;
    let more_usd = fields.take("add_spend_usd")?;
    let clamp = fields.take("clamp")?;
    let durable = fields.take("durability")?;
    let paused = fields.take("paused")?;
    let paused_reason = fields.take("paused_reason")?;
    let life = LifeFields::take(&mut fields)?;
    let rate = fields.take_nullable("rate")?;
    fields.finish(&[&FIELDS[..], &key_life::FIELDS].concat())?;

    let count = |name, value: &Value| limit(name, value, LIMIT_MAX);
    let changed = |name, value: Option<Value>| match value {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(value) => count(name, &value).map(|limit| Some(Some(limit))),
    };
    let spend_nanos = match (&cents, &usd) {
        (None, None) => None,
        (Some(Value::Null), None | Some(Value::Null)) | (None, Some(Value::Null)) => Some(None),
        _ => {
            let given = |value: Option<Value>| value.filter(|value| !value.is_null());
            Some(spend(("max_spend_cents", given(cents)), ("max_spend_usd", given(usd)))?)
        }
    };
    let add = Units {
        activations: more_activations.map_or(Ok(0), |value| count("add_activations", &value))?,
        tokens: more_tokens.map_or(Ok(0), |value| count("add_tokens", &value))?,
        spend_nanos: spend(("add_spend_cents", more_cents), ("add_spend_usd", more_usd))?.unwrap_or(0),
    };
    let metadata = match metadata {
        None => None,
        Some(Value::Null) => Some(Map::new()),
        Some(Value::Object(metadata)) => Some(metadata),
        Some(_) => return Err(invalid("metadata", "must be an object")),
    };
    if let Some(metadata) = &metadata {
        check_metadata(metadata)?;
        if name.is_some() && metadata.contains_key("name") {
            let message = "`name` and `metadata.name` are the same field; send one of them";
            return Err(ApiError::new(ErrorCode::DuplicateField, message));
        }
    }
    let name = match name {
        None => None,
        Some(Value::Null) => Some(None),
        Some(name) => Some(Some(check_name(text("name", name)?)?)),
    };
    let paused_reason = paused_reason.map(|reason| text("paused_reason", reason)).transpose()?;
    if paused_reason.as_ref().is_some_and(|reason| {
        reason.chars().count() > REASON_CHARS_MAX || reason.chars().any(char::is_control)
    }) {
        let rule = format!("has at most {REASON_CHARS_MAX} characters, no control characters");
        return Err(invalid("paused_reason", &rule));
    }
    Ok(KeyChange {
        version: None,
        metadata,
        name,
        clamp: flag("clamp", clamp)?,
        durability: durability(durable)?,
        limits: LimitChange {
            activations: changed("max_activations", activations)?,
            tokens: changed("max_tokens", tokens)?,
            spend_nanos,
        },
        add,
        rates: key_rate::change(rate)?,
        lifetime: life.change(now)?,
        paused: flag("paused", paused)?,
        paused_reason,
    })
}

#[cfg(test)]
mod tests {
    use utoipa::PartialSchema;

    use super::{FIELDS, KeyUpdateBody};
    use crate::key_life;

    #[test]
    fn documentation_and_parser_know_the_same_fields() {
        let schema = serde_json::to_value(KeyUpdateBody::schema()).unwrap();
        let mut documented: Vec<&str> =
            schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        let mut parsed = [&FIELDS[..], &key_life::FIELDS].concat();
        documented.sort_unstable();
        parsed.sort_unstable();
        assert_eq!(documented, parsed);
    }
}
