//! The field `rate`: how often a key may be used.

use serde::Serialize;
use serde_json::{Map, Value};
use till_core::rate::Rates;
use till_store::RateChange;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::json_body::Fields;
use crate::key_create::{invalid, limit};

const FIELDS: [&str; 3] = ["requests_per_minute", "tokens_per_minute", "concurrent"];

/// The highest rate: a thousand million per minute.
const RATE_MAX: u64 = 1_000_000_000;

/// How often a key may be used. Each field may also be spelled in camelCase; null is as often as one likes.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RateSet)]
#[expect(dead_code, reason = "describes the body for the documentation; `change` reads it")]
pub(crate) struct RateBody {
    /// Requests per minute, evenly refilled.
    #[schema(example = 60, minimum = 1, maximum = 1_000_000_000)]
    requests_per_minute: Option<u64>,
    /// Tokens per minute, input and output together. As under a limit in tokens, what can't be bounded is refused.
    #[schema(example = 100_000, minimum = 1, maximum = 1_000_000_000)]
    tokens_per_minute: Option<u64>,
    /// Requests in flight.
    #[schema(example = 4, minimum = 1, maximum = 1_000_000_000)]
    concurrent: Option<u64>,
}

/// How often a key may be used; null is as often as one likes.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Rate)]
pub(crate) struct RateJson {
    /// Requests per minute.
    #[schema(required = true, example = 60)]
    requests_per_minute: Option<u64>,
    /// Tokens per minute, input and output together.
    #[schema(required = true, example = json!(null))]
    tokens_per_minute: Option<u64>,
    /// Requests in flight.
    #[schema(required = true, example = 4)]
    concurrent: Option<u64>,
}

impl From<Rates> for RateJson {
    fn from(rates: Rates) -> Self {
        Self {
            requests_per_minute: rates.requests_per_minute,
            tokens_per_minute: rates.tokens_per_minute,
            concurrent: rates.concurrent,
        }
    }
}

/// The change that the field asks for; null takes all rates away.
pub(crate) fn change(rate: Option<Value>) -> Result<RateChange, ApiError> {
    let rate = match rate {
        None => return Ok(RateChange::default()),
        Some(Value::Null) => {
            let none = Some(None);
            return Ok(RateChange { requests_per_minute: none, tokens_per_minute: none, concurrent: none });
        }
        Some(Value::Object(rate)) => rate,
        Some(_) => return Err(invalid("rate", "must be an object")),
    };
    let mut fields = Fields::of(Map::from_iter(rate));
    let mut take = |name: &str| -> Result<Option<Option<u64>>, ApiError> {
        match fields.take_nullable(name)? {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(value) => limit(&format!("rate.{name}"), &value, RATE_MAX).map(|rate| Some(Some(rate))),
        }
    };
    let change = RateChange {
        requests_per_minute: take("requests_per_minute")?,
        tokens_per_minute: take("tokens_per_minute")?,
        concurrent: take("concurrent")?,
    };
    fields.finish(&FIELDS)?;
    Ok(change)
}
