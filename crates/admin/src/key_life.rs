//! The fields that say when a key works, as creation and change have them.
//!
//! Invariant: what contradicts itself or is over already is refused by name, and no key lives longer than the instance
//! allows.

use std::time::Duration;

use serde_json::Value;
use till_core::lifetime::{IDLE_EXPIRY_SECONDS_MAX, Lifetime, TIME_MAX};
use till_core::time::Timestamp;
use till_store::LifetimeChange;

use crate::error::{ApiError, ErrorCode};
use crate::json_body::Fields;
use crate::time_text::parse_rfc3339;

/// Names of the fields.
pub(crate) const FIELDS: [&str; 5] =
    ["expires_at", "ttl_seconds", "not_before", "activate_by", "idle_expiry_seconds"];

/// What was sent, before anything of it is looked at. A field that is null is there as null.
pub(crate) struct LifeFields {
    expires_at: Option<Value>,
    ttl_seconds: Option<Value>,
    not_before: Option<Value>,
    activate_by: Option<Value>,
    idle_expiry_seconds: Option<Value>,
}

impl LifeFields {
    pub(crate) fn take(fields: &mut Fields) -> Result<Self, ApiError> {
        Ok(Self {
            expires_at: fields.take_nullable("expires_at")?,
            ttl_seconds: fields.take_nullable("ttl_seconds")?.filter(|value| !value.is_null()),
            not_before: fields.take_nullable("not_before")?,
            activate_by: fields.take_nullable("activate_by")?,
            idle_expiry_seconds: fields.take_nullable("idle_expiry_seconds")?,
        })
    }

    /// The change that they ask for. A time to live counts from `now`.
    pub(crate) fn change(self, now: Timestamp) -> Result<LifetimeChange, ApiError> {
        let expires_at = match (
            self.expires_at.filter(|value| !(value.is_null() && self.ttl_seconds.is_some())),
            self.ttl_seconds,
        ) {
            (Some(_), Some(_)) => {
                let message = "`expires_at` and `ttl_seconds` are the same bound; send one of them";
                return Err(ApiError::new(ErrorCode::DuplicateField, message));
            }
            (None, Some(seconds)) => {
                let seconds = seconds_of("ttl_seconds", &seconds)?;
                let end = Timestamp(now.0.saturating_add(seconds.saturating_mul(1000)).min(TIME_MAX.0));
                Some(Some(end))
            }
            (expires_at, None) => time("expires_at", expires_at)?,
        };
        let idle = match self.idle_expiry_seconds {
            None => None,
            Some(Value::Null) => Some(None),
            Some(seconds) => Some(Some(seconds_of("idle_expiry_seconds", &seconds)?)),
        };
        Ok(LifetimeChange {
            expires_at,
            not_before: time("not_before", self.not_before)?,
            activate_by: time("activate_by", self.activate_by)?,
            idle_expiry_seconds: idle,
        })
    }

    /// The bounds of a new key. Where there is a longest lifetime, a key without an end gets that one.
    pub(crate) fn of_new_key(self, now: Timestamp, longest: Option<Duration>) -> Result<Lifetime, ApiError> {
        let mut lifetime = self.change(now)?.of(Lifetime::default());
        lifetime.check(false, now).map_err(|error| invalid(&error.to_string()))?;
        let longest = longest.map(|longest| last_end(now, longest));
        match (longest, lifetime.expires_at) {
            (Some(last), Some(end)) if end > last => return Err(too_long(now, last)),
            (Some(last), None) => {
                lifetime.expires_at = Some(last);
                lifetime.check(false, now).map_err(|error| invalid(&error.to_string()))?;
            }
            _ => {}
        }
        Ok(lifetime)
    }
}

/// The last point in time at which a key that was made at `created_at` may end.
pub(crate) fn last_end(created_at: Timestamp, longest: Duration) -> Timestamp {
    let millis = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
    Timestamp(created_at.0.saturating_add(millis).min(TIME_MAX.0))
}

/// Refuses a new end that is later than the instance allows.
pub(crate) fn check_end(
    change: &LifetimeChange,
    created_at: Timestamp,
    longest: Option<Duration>,
) -> Result<(), ApiError> {
    let (Some(end), Some(longest)) = (change.expires_at, longest) else { return Ok(()) };
    let last = last_end(created_at, longest);
    if end.is_none_or(|end| end > last) { Err(too_long(created_at, last)) } else { Ok(()) }
}

fn too_long(from: Timestamp, last: Timestamp) -> ApiError {
    let seconds = (last.0 - from.0) / 1000;
    invalid(&format!(
        "`expires_at` is later than this instance allows: a key lives at most {seconds} seconds, until {last} (setting \
         `key-lifetime-max`)"
    ))
}

fn time(name: &str, value: Option<Value>) -> Result<Option<Option<Timestamp>>, ApiError> {
    match value {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(value) => {
            let at = value.as_str().and_then(parse_rfc3339).filter(|at| *at <= TIME_MAX);
            let rule = "must be a time in RFC 3339, such as \"2027-01-31T08:00:00Z\"";
            at.map(|at| Some(Some(at))).ok_or_else(|| invalid(&format!("`{name}` {rule}")))
        }
    }
}

fn seconds_of(name: &str, value: &Value) -> Result<u64, ApiError> {
    value.as_u64().filter(|seconds| (1..=IDLE_EXPIRY_SECONDS_MAX).contains(seconds)).ok_or_else(|| {
        invalid(&format!("`{name}` must be a whole number of seconds from 1 to {IDLE_EXPIRY_SECONDS_MAX}"))
    })
}

fn invalid(message: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidField, message)
}
