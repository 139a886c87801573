//! A request body as a strict JSON object.
//!
//! Invariants: at every depth a name stands once (parsers disagree about which of two wins, and a reviewer
//! may have seen the other one); errors give a position, never a value; every field must be taken or
//! explicitly refused, so nothing is silently ignored.

use std::fmt;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Value};

use crate::error::{ApiError, ErrorCode};
use crate::field_name::{camel_case, shown};

/// Longest body that is read, in bytes.
pub(crate) const BODY_MAX: usize = 1024 * 1024;

/// Reads a body that must be declared as JSON.
pub(crate) async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, ApiError> {
    if !is_json(headers) {
        return Err(ApiError::new(
            ErrorCode::UnsupportedMediaType,
            "send the body as JSON with `content-type: application/json`",
        ));
    }
    match Limited::new(body, BODY_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::plain(ErrorCode::BodyTooLarge)),
        Err(_) => Err(ApiError::new(ErrorCode::MalformedJson, "the body ended before it was complete")),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut declared = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (declared.next(), declared.next()) else { return false };
    let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

/// The fields of one JSON object, to be taken one by one. No `Debug`: one of them can be a credential.
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    /// Parses a whole body.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        if body.trim_ascii().is_empty() {
            return Err(ApiError::new(
                ErrorCode::MalformedJson,
                "the body is empty; a JSON object is needed",
            ));
        }
        match serde_json::from_slice(body).map_err(|error| malformed(&error))? {
            Strict(Value::Object(fields)) => Ok(Self(fields)),
            Strict(_) => Err(ApiError::new(ErrorCode::MalformedJson, "the body must be a JSON object")),
        }
    }

    /// The fields of an object inside of one, where nothing stands twice either.
    pub(crate) fn nested(fields: Map<String, Value>) -> Self {
        Self(fields)
    }

    /// Takes the field of this snake_case name, in either spelling. `null` counts as absent.
    pub(crate) fn take(&mut self, name: &str) -> Result<Option<Value>, ApiError> {
        let snake = self.0.remove(name);
        let camel_name = camel_case(name);
        let camel = if camel_name == name { None } else { self.0.remove(&camel_name) };
        if snake.is_some() && camel.is_some() {
            return Err(ApiError::new(
                ErrorCode::DuplicateField,
                format!("`{name}` and `{camel_name}` are the same field; send one of them"),
            ));
        }
        Ok(snake.or(camel).filter(|value| !value.is_null()))
    }

    /// As [`Fields::take`], but `null` is there, as null: somebody wants to take something away.
    pub(crate) fn take_nullable(&mut self, name: &str) -> Result<Option<Value>, ApiError> {
        let spellings = [name.to_owned(), camel_case(name)];
        let is_null = spellings.iter().any(|name| self.0.get(name).is_some_and(Value::is_null));
        Ok(self.take(name)?.or(is_null.then_some(Value::Null)))
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses whatever was not taken.
    pub(crate) fn finish(self, known: &[&str]) -> Result<(), ApiError> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(ApiError::new(
                ErrorCode::UnknownField,
                format!("there is no field {}; known are {}", shown(name), known.join(", ")),
            )),
        }
    }
}

fn malformed(error: &serde_json::Error) -> ApiError {
    let place = format!("line {}, column {}", error.line(), error.column());
    if is_too_deep(error) {
        return ApiError::new(ErrorCode::MalformedJson, format!("the JSON is nested too deeply, at {place}"));
    }
    match error.classify() {
        Category::Data => {
            ApiError::new(ErrorCode::DuplicateField, format!("a name stands twice in one object, at {place}"))
        }
        Category::Eof => {
            ApiError::new(ErrorCode::MalformedJson, format!("the JSON ends too early, at {place}"))
        }
        Category::Syntax | Category::Io => {
            ApiError::new(ErrorCode::MalformedJson, format!("the body is not valid JSON, at {place}"))
        }
    }
}

/// Whether the parser gave up on the depth, which it shows in its text alone; to it this is one more mistake
/// of syntax.
fn is_too_deep(error: &serde_json::Error) -> bool {
    error.classify() == Category::Syntax && error.to_string().starts_with("recursion limit exceeded")
}

/// A [`Value`] that refuses repeated names. The only data error it makes is that one.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(serde::de::Error::custom("repeated name"));
            }
            let Strict(value) = entries.next_value()?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Fields;

    fn check(body: &str, code: &str, part: &str) {
        let error = Fields::parse(body.as_bytes()).err().expect(body);
        assert_eq!(error.code(), code, "{body}");
        assert!(error.message().contains(part), "{body}: {}", error.message());
        assert!(!error.message().contains("canary"), "{body}: {}", error.message());
    }

    #[test]
    fn refuses_what_is_not_one_strict_object() {
        check("", "malformed_json", "empty");
        check("  \n", "malformed_json", "empty");
        check("[]", "malformed_json", "object");
        check("\"canary\"", "malformed_json", "object");
        check("{", "malformed_json", "line 1, column 1");
        check("{\n \"canary\": canary}", "malformed_json", "line 2, column 12");
        check("{} canary", "malformed_json", "line 1, column 4");
        check(r#"{"canary":1,"canary":1}"#, "duplicate_field", "column 20");
        check(r#"{"a":{"canary":1,"canary":2}}"#, "duplicate_field", "twice");
        check(r#"{"a":[{"b":1,"\u0062":2}]}"#, "duplicate_field", "twice");
        check(&format!("{{\"a\":{}", "[".repeat(4000)), "malformed_json", "nested too deeply");
        check(
            &format!("{{\"a\":{}{}}}", "[".repeat(128), "]".repeat(128)),
            "malformed_json",
            "nested too deeply",
        );
        check(&"{\"a\":".repeat(4000), "malformed_json", "nested too deeply");
        check("{\"a\":1e999}", "malformed_json", "column");
        check("{\"a\":\"\\ud800\"}", "malformed_json", "column");
    }

    #[test]
    fn takes_either_spelling_once() {
        for body in [r#"{"max_activations":5}"#, r#"{"maxActivations":5}"#] {
            let mut fields = Fields::parse(body.as_bytes()).ok().unwrap();
            assert_eq!(fields.take("max_activations").unwrap(), Some(json!(5)), "{body}");
            fields.finish(&[]).unwrap();
        }
        let mut fields = Fields::parse(br#"{"max_activations":5,"maxActivations":null}"#).ok().unwrap();
        assert_eq!(fields.take("max_activations").unwrap_err().code(), "duplicate_field");
        let mut fields = Fields::parse(br#"{"max_activations":null}"#).ok().unwrap();
        assert_eq!(fields.take("max_activations").unwrap(), None);
    }

    #[test]
    fn what_was_not_taken_is_refused() {
        let fields = Fields::parse(br#"{"provider":"a"}"#).ok().unwrap();
        let error = fields.finish(&["one", "two"]).unwrap_err();
        assert_eq!(error.code(), "unknown_field");
        assert!(error.message().contains("`provider`") && error.message().contains("one, two"));
    }
}
