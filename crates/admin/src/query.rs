//! Query parameters: each known, each at most once.

use axum::extract::Query;
use axum::http::Uri;
use till_core::key::KeyId;
use till_core::time::Timestamp;

use crate::error::{ApiError, ErrorCode};
use crate::field_name::shown;
use crate::time_text::parse_rfc3339;

/// Query parameters of one request, to be taken one by one.
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Splits the query of a request.
    pub(crate) fn parse(uri: &Uri) -> Result<Self, ApiError> {
        Query::try_from_uri(uri)
            .map(|Query(pairs)| Self(pairs))
            .map_err(|_| ApiError::new(ErrorCode::InvalidQuery, "the query string is not `name=value&…`"))
    }

    /// Takes a parameter.
    pub(crate) fn take(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        let mut values = self.0.extract_if(.., |(given, _)| given == name).map(|(_, value)| value);
        let value = values.next();
        match values.next() {
            None => Ok(value),
            Some(_) => Err(invalid(name, "stands twice")),
        }
    }

    /// Takes a whole number in `1..=max`.
    pub(crate) fn take_count(&mut self, name: &str, max: u32) -> Result<Option<u32>, ApiError> {
        let Some(text) = self.take(name)? else { return Ok(None) };
        match digits(&text).and_then(|number| u32::try_from(number).ok()) {
            Some(number) if (1..=max).contains(&number) => Ok(Some(number)),
            _ => Err(invalid(name, &format!("must be a whole number from 1 to {max}"))),
        }
    }

    /// Takes a whole number.
    pub(crate) fn take_number(&mut self, name: &str) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.take(name)? else { return Ok(None) };
        match digits(&text).filter(|number| i64::try_from(*number).is_ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(invalid(name, &format!("must be a whole number from 0 to {}", i64::MAX))),
        }
    }

    /// Takes the id of a key.
    pub(crate) fn take_key(&mut self, name: &str) -> Result<Option<KeyId>, ApiError> {
        let id = self.take(name)?.map(|id| id.parse::<KeyId>()).transpose();
        id.map_err(|_| invalid(name, "must be a key id: `key_` and 22 letters or digits"))
    }

    /// Takes a moment.
    pub(crate) fn take_time(&mut self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        let Some(text) = self.take(name)? else { return Ok(None) };
        let rule = "must be a time as in 2026-01-31T08:00:00Z (RFC 3339)";
        parse_rfc3339(&text).map(Some).ok_or_else(|| invalid(name, rule))
    }

    /// Takes `true` or `false`.
    pub(crate) fn take_flag(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.take(name)?.as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(invalid(name, "must be true or false")),
        }
    }

    /// Takes `order`: whether it is `asc`; `None` when it is absent.
    pub(crate) fn take_ascending(&mut self) -> Result<Option<bool>, ApiError> {
        match self.take("order")?.as_deref() {
            None => Ok(None),
            Some("asc") => Ok(Some(true)),
            Some("desc") => Ok(Some(false)),
            Some(_) => Err(invalid("order", "must be `asc` or `desc`")),
        }
    }

    /// Refuses whatever was not taken.
    pub(crate) fn finish(self, known: &[&str]) -> Result<(), ApiError> {
        let Some((name, _)) = self.0.first() else { return Ok(()) };
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let message = format!("there is no query parameter {}; known here: {known}", shown(name));
        Err(ApiError::new(ErrorCode::InvalidQuery, message))
    }
}

/// Refuses any query parameter.
pub(crate) fn none(uri: &Uri) -> Result<(), ApiError> {
    Parameters::parse(uri)?.finish(&[])
}

/// A parameter that breaks its rule.
pub(crate) fn invalid(name: &str, rule: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidQuery, format!("the query parameter `{name}` {rule}"))
}

/// A number in plain decimal digits; unlike `str::parse` it takes no sign.
fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}
