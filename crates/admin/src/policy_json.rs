//! The rules of a project, a member, an admin token or an upstream credential, as the API has them.

use serde::Serialize;
use serde_json::{Map, Value};
use till_core::limit::{LIMIT_MAX, Limits};
use till_core::policy::{Ceilings, Policy};
use till_core::scope::Glob;
use till_providers::Registry;
use utoipa::ToSchema;

use crate::error::{ApiError, ErrorCode};
use crate::json_body::Fields;
use crate::key_create::{invalid, limit, spend};
use crate::money_text::usd;

const FIELDS: [&str; 6] =
    ["ceilings", "max_live_keys", "providers", "models", "key_limits", "max_key_lifetime_seconds"];
const WINDOWS: [&str; 3] = ["day", "month", "lifetime"];
const LIMITS: [&str; 4] = ["max_activations", "max_tokens", "max_spend_cents", "max_spend_usd"];

/// Most entries of a list.
const LIST_MAX: usize = 256;

/// Bounds in each dimension; what is absent is unlimited.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LimitsInput)]
#[expect(dead_code, reason = "describes the body for the documentation; `limits` reads it")]
pub(crate) struct LimitsBody {
    /// Requests.
    #[schema(example = 10_000, minimum = 1, maximum = 9223372036854775807_i64)]
    max_activations: Option<u64>,
    /// Tokens, input and output together.
    #[schema(example = 1_000_000, minimum = 1, maximum = 9223372036854775807_i64)]
    max_tokens: Option<u64>,
    /// US cents. Excludes `max_spend_usd`.
    #[schema(example = 500, minimum = 1, maximum = 922_337_203_685_i64)]
    max_spend_cents: Option<u64>,
    /// US dollars, a decimal number in quotes with at most 9 decimals. Excludes `max_spend_cents`.
    #[schema(example = "5.00", pattern = r"^[0-9]{1,10}(\.[0-9]{1,9})?$")]
    max_spend_usd: Option<String>,
}

/// What all keys may use together. Days and months are those of UTC.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CeilingsInput)]
#[expect(dead_code, reason = "describes the body for the documentation; `parse` reads it")]
pub(crate) struct CeilingsBody {
    /// In a day.
    day: Option<LimitsBody>,
    /// In a calendar month.
    month: Option<LimitsBody>,
    /// In all.
    lifetime: Option<LimitsBody>,
}

/// Rules; what is absent is not restricted. A rule given here replaces all rules that there were.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PolicyInput)]
#[expect(dead_code, reason = "describes the body for the documentation; `parse` reads it")]
pub(crate) struct PolicyBody {
    /// What all keys may use together: never more is sent, as with the limits of a key.
    ceilings: Option<CeilingsBody>,
    /// Keys that are neither revoked nor expired, at a time.
    #[schema(example = 100, minimum = 0, maximum = 1_000_000_000)]
    max_live_keys: Option<u64>,
    /// Providers that keys may be for.
    #[schema(example = json!(["openai"]), max_items = 256)]
    providers: Option<Vec<String>>,
    /// Models that keys may ask, as in `scope.models`. A key that names none gets these.
    #[schema(example = json!(["gpt-5*"]), max_items = 256)]
    models: Option<Vec<String>>,
    /// A key needs these limits or lower ones.
    key_limits: Option<LimitsBody>,
    /// A key needs to end within so many seconds of being made.
    #[schema(example = 604_800, minimum = 1, maximum = 3_162_240_000_i64)]
    max_key_lifetime_seconds: Option<u64>,
}

/// Bounds; null is unlimited.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Limits)]
pub(crate) struct LimitsJson {
    /// Requests.
    #[schema(required = true, example = 10_000)]
    max_activations: Option<u64>,
    /// Tokens.
    #[schema(required = true, example = json!(null))]
    max_tokens: Option<u64>,
    /// US dollars, exact to the nano-dollar.
    #[schema(required = true, example = "5.00")]
    max_spend_usd: Option<String>,
}

impl From<Limits> for LimitsJson {
    fn from(limits: Limits) -> Self {
        Self {
            max_activations: limits.activations,
            max_tokens: limits.tokens,
            max_spend_usd: limits.spend_nanos.map(usd),
        }
    }
}

/// What all keys may use together.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Ceilings)]
pub(crate) struct CeilingsJson {
    /// In a day.
    day: LimitsJson,
    /// In a calendar month.
    month: LimitsJson,
    /// In all.
    lifetime: LimitsJson,
}

/// Rules; null is not restricted.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Policy)]
pub(crate) struct PolicyJson {
    /// What all keys may use together.
    ceilings: CeilingsJson,
    /// Keys that are neither revoked nor expired, at a time.
    #[schema(required = true, example = 100)]
    max_live_keys: Option<u64>,
    /// Providers that keys may be for.
    #[schema(required = true, example = json!(["openai"]))]
    providers: Option<Vec<String>>,
    /// Models that keys may ask.
    #[schema(required = true, example = json!(["gpt-5*"]))]
    models: Option<Vec<String>>,
    /// A key needs these limits or lower ones.
    key_limits: LimitsJson,
    /// A key needs to end within so many seconds of being made.
    #[schema(required = true, example = 604_800)]
    max_key_lifetime_seconds: Option<u64>,
}

impl From<&Policy> for PolicyJson {
    fn from(policy: &Policy) -> Self {
        let models = policy.models.as_ref();
        Self {
            ceilings: CeilingsJson {
                day: policy.ceilings.day.into(),
                month: policy.ceilings.month.into(),
                lifetime: policy.ceilings.lifetime.into(),
            },
            max_live_keys: policy.live_keys,
            providers: policy.providers.clone(),
            models: models.map(|all| all.iter().map(|one| one.as_str().to_owned()).collect()),
            key_limits: policy.key_limits.into(),
            max_key_lifetime_seconds: policy.key_lifetime_seconds,
        }
    }
}

/// Reads the field `policy`; null takes all rules away.
pub(crate) fn take(fields: &mut Fields, registry: &Registry) -> Result<Option<Policy>, ApiError> {
    match fields.take_nullable("policy")? {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(Policy::default())),
        Some(Value::Object(object)) => parse(object, registry).map(Some),
        Some(_) => Err(invalid("policy", "must be an object")),
    }
}

fn parse(object: Map<String, Value>, registry: &Registry) -> Result<Policy, ApiError> {
    let mut fields = Fields::of(object);
    let ceilings = fields.take("ceilings")?;
    let live_keys = fields.take("max_live_keys")?;
    let providers = fields.take("providers")?;
    let models = fields.take("models")?;
    let key_limits = fields.take("key_limits")?;
    let lifetime = fields.take("max_key_lifetime_seconds")?;
    fields.finish_in("policy", &FIELDS)?;
    let live_keys = live_keys.map(|value| {
        let count = value.as_u64().filter(|count| *count <= 1_000_000_000);
        count.ok_or_else(|| invalid("policy.max_live_keys", "must be a whole number from 0 to 1000000000"))
    });
    Ok(Policy {
        ceilings: ceilings.map(self::ceilings).transpose()?.unwrap_or_default(),
        live_keys: live_keys.transpose()?,
        providers: providers.map(|value| self::providers(value, registry)).transpose()?,
        models: models.map(self::models).transpose()?,
        key_limits: key_limits
            .map(|value| limits("policy.key_limits", value))
            .transpose()?
            .unwrap_or_default(),
        key_lifetime_seconds: lifetime
            .map(|value| limit("policy.max_key_lifetime_seconds", &value, 3_162_240_000))
            .transpose()?,
    })
}

fn ceilings(value: Value) -> Result<Ceilings, ApiError> {
    let Value::Object(object) = value else {
        return Err(invalid("policy.ceilings", "must be an object"));
    };
    let mut fields = Fields::of(object);
    let [day, month, lifetime] = WINDOWS.map(|name| fields.take(name));
    fields.finish_in("policy.ceilings", &WINDOWS)?;
    let of = |name: &str, value: Option<Value>| {
        let value = value.map(|value| limits(&format!("policy.ceilings.{name}"), value));
        value.transpose().map(Option::unwrap_or_default)
    };
    Ok(Ceilings { day: of("day", day?)?, month: of("month", month?)?, lifetime: of("lifetime", lifetime?)? })
}

fn limits(place: &str, value: Value) -> Result<Limits, ApiError> {
    let Value::Object(object) = value else { return Err(invalid(place, "must be an object")) };
    let mut fields = Fields::of(object);
    let [activations, tokens, cents, usd] = LIMITS.map(|name| fields.take(name));
    fields.finish_in(place, &LIMITS)?;
    let named = |name: &str| format!("{place}.{name}");
    let count = |name: &str, value: Option<Value>| {
        value.map(|value| limit(&named(name), &value, LIMIT_MAX)).transpose()
    };
    Ok(Limits {
        activations: count("max_activations", activations?)?,
        tokens: count("max_tokens", tokens?)?,
        spend_nanos: spend((&named("max_spend_cents"), cents?), (&named("max_spend_usd"), usd?))?,
    })
}

/// A list of texts.
pub(crate) fn texts(place: &str, value: Value) -> Result<Vec<String>, ApiError> {
    let rule = format!("must be a list of at most {LIST_MAX} strings");
    let Value::Array(items) = value else { return Err(invalid(place, &rule)) };
    if items.len() > LIST_MAX {
        return Err(invalid(place, &rule));
    }
    let text = |item| match item {
        Value::String(text) => Ok(text),
        _ => Err(invalid(place, &rule)),
    };
    items.into_iter().map(text).collect()
}

fn providers(value: Value, registry: &Registry) -> Result<Vec<String>, ApiError> {
    let place = "policy.providers";
    let known = |name: String| {
        // Keys carry the id; people may use an alias.
        let provider = registry.get(&name).map(|provider| provider.id().to_owned());
        provider.ok_or_else(|| {
            ApiError::new(
                ErrorCode::UnknownProvider,
                format!("`{place}` names a provider that this instance does not know"),
            )
        })
    };
    texts(place, value)?.into_iter().map(known).collect()
}

fn models(value: Value) -> Result<Vec<Glob>, ApiError> {
    let place = "policy.models";
    let glob = |text: String| Glob::parse(&text).map_err(|error| invalid(place, &error.to_string()));
    texts(place, value)?.into_iter().map(glob).collect()
}
