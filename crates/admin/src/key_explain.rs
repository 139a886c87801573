//! `POST /admin/keys/{id}/explain`: what would become of a request, without sending it.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, Uri};
use serde::Serialize;
use serde_json::{Value, json};
use till_core::key::KeyStatus;
use till_core::limit::Dimension;
use till_providers::Provider;
use till_providers::scope::{KeyRules, Step, Supposed, Verdict, explain};
use till_store::{HoldRefusal, KeyRecord};
use utoipa::ToSchema;

use crate::authenticate::Caller;
use crate::error::{ApiError, ErrorBody, ErrorCode};
use crate::json_body::{self, Fields};
use crate::key_create::{invalid, required, text};
use crate::keys::{key_id, key_of, no_such_key};
use crate::query;
use crate::router::Shared;

/// Fields of the body.
const FIELDS: [&str; 5] = ["method", "path", "model", "body", "client_address"];

/// A request that nobody has sent.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeyExplain, example = json!({"method": "POST", "path": "/v1/chat/completions", "body": {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}}))]
#[expect(dead_code, reason = "describes the body for the documentation; `Wanted::parse` reads it")]
pub(crate) struct KeyExplainBody {
    /// Its method.
    #[schema(example = "POST", pattern = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
    method: String,
    /// Its path and query, as a client would send them.
    #[schema(example = "/v1/chat/completions", pattern = "^/")]
    path: String,
    /// The model that it asks, instead of a body.
    #[schema(example = "gpt-4o-mini")]
    model: Option<String>,
    /// Its body: an object, or a string that is taken byte for byte.
    #[schema(value_type = Option<Value>, example = json!({"model": "gpt-4o-mini", "messages": []}))]
    body: Option<Value>,
    /// Where it comes from.
    #[schema(example = "192.0.2.7")]
    client_address: Option<String>,
}

/// What would become of the request.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeyExplainAnswer)]
pub(crate) struct KeyExplainAnswer {
    /// The decision.
    explanation: ExplanationJson,
}

/// The decision and how it comes about.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeyExplanation)]
pub(crate) struct ExplanationJson {
    /// Whether it would be sent, as far as that can be told: what is left of the limits is not compared with it.
    #[schema(example = false)]
    allowed: bool,
    /// The code that it would be refused with; null if it would not.
    #[schema(required = true, example = "model_denied")]
    code: Option<String>,
    /// The message for the developer; null if there is none.
    #[schema(required = true)]
    message: Option<String>,
    /// What was looked at, in the order of the proxy, up to what refuses it.
    steps: Vec<StepJson>,
}

/// One step.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeyExplanationStep)]
pub(crate) struct StepJson {
    /// `network`, `status`, `path`, `endpoint`, `request` or `bounds`.
    #[schema(example = "endpoint")]
    step: String,
    /// `passes`, `refused`, or `unknown` when nobody said what it depends on.
    #[schema(example = "passes")]
    outcome: String,
    /// Why.
    #[schema(example = "POST /v1/chat/completions may be called.")]
    reason: String,
}

struct Wanted {
    method: Method,
    path: String,
    model: Option<String>,
    body: Option<String>,
    client: Option<IpAddr>,
}

impl Wanted {
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body)?;
        let method = fields.take("method")?;
        let path = fields.take("path")?;
        let model = fields.take("model")?;
        let body = fields.take("body")?;
        let client = fields.take("client_address")?;
        fields.finish(&FIELDS)?;
        let method = text("method", required("method", method)?)?;
        let path = text("path", required("path", path)?)?;
        let method =
            method.parse().map_err(|_| invalid("method", "must be a method of HTTP, such as POST"))?;
        if !path.starts_with('/') {
            return Err(invalid("path", "must begin with `/`"));
        }
        let body = match body {
            None => None,
            Some(Value::String(text)) => Some(text),
            Some(body @ Value::Object(_)) => Some(body.to_string()),
            Some(_) => {
                return Err(invalid("body", "must be an object, or a string that is taken byte for byte"));
            }
        };
        let model = model.map(|model| text("model", model)).transpose()?;
        if model.is_some() && body.is_some() {
            return Err(invalid("model", "stands for a body; send one of them"));
        }
        let address = |value: Value| {
            let address = value.as_str().and_then(|text| text.parse::<IpAddr>().ok());
            address.ok_or_else(|| invalid("client_address", "must be an IPv4 or IPv6 address"))
        };
        Ok(Self { method, path, model, body, client: client.map(address).transpose()? })
    }

    /// The body, or the shortest one that asks this model.
    fn body(&self, provider: &Provider) -> String {
        match (&self.body, &self.model) {
            (Some(body), _) => body.clone(),
            (None, Some(model)) if !matches!(provider.table_id(), Some("bedrock" | "google")) => {
                json!({"model": model}).to_string()
            }
            (None, _) if self.method == Method::GET || self.method == Method::HEAD => String::new(),
            (None, _) => "{}".to_owned(),
        }
    }
}

/// Explain what would become of a request
///
/// The same rules as for real requests say yes or no and why, step by step. Nothing is sent and nothing is spent.
#[utoipa::path(post, path = "/admin/keys/{id}/explain", request_body = KeyExplainBody,
    params(("id" = String, Path, description = "Id of the key", pattern = "^key_[0-9A-Za-z]{22}$", example = "key_ADlySp2gash6K23CpSXW7n")),
    responses(
        (status = 200, description = "The decision", body = KeyExplainAnswer),
        (status = 400, description = "A field breaks a rule, or the path does not hold a key id", body = ErrorBody),
        (status = 404, description = "There is no such key", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not declared as JSON", body = ErrorBody),
    ))]
pub(crate) async fn key_explain(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Json<KeyExplainAnswer>, ApiError> {
    query::none(&uri)?;
    let id = key_id(id)?;
    let wanted = Wanted::parse(&json_body::read(&headers, body).await?)?;
    let key = key_of(&shared, &caller, id).await?;
    let provider = shared.state.providers.get(&key.provider).ok_or_else(|| {
        let message = format!("the provider `{}` of this key is not configured here any more", key.provider);
        ApiError::new(ErrorCode::UnknownProvider, message)
    })?;
    let body = wanted.body(provider);
    // Ceilings decide with the key what is bounded and priced.
    let terms = shared.state.store.key_terms(key.id).await.map_err(refused)?;
    let limits = terms.limits();
    let rules = KeyRules {
        provider,
        scope: &key.scope,
        clamp: key.options.clamp,
        allow_unbounded: terms.allows_unbounded(),
        has_token_limit: limits.of(Dimension::Tokens).is_some(),
        has_spend_limit: limits.of(Dimension::Spend).is_some(),
    };
    let supposed = Supposed {
        method: &wanted.method,
        target: &wanted.path,
        headers: &till_core::fields::Fields::default(),
        body: body.as_bytes(),
        client: wanted.client,
    };
    let steps = explain(&rules, &supposed, &shared.state.prices, (shared.state.clock)());
    Ok(Json(KeyExplainAnswer { explanation: explanation(&key, steps) }))
}

fn refused(refusal: HoldRefusal) -> ApiError {
    match refusal {
        HoldRefusal::Unavailable(error) => error.into(),
        // Only a key that is not there has no terms.
        HoldRefusal::Denied(_) | HoldRefusal::TermsChanged => no_such_key(),
    }
}

/// The steps of the rules, and whether the key is alive at all: that comes last, where the ledger is asked.
fn explanation(key: &KeyRecord, steps: Vec<Step>) -> ExplanationJson {
    let mut explained = ExplanationJson { allowed: true, code: None, message: None, steps: Vec::new() };
    for Step { name, verdict } in steps {
        let (outcome, reason) = match verdict {
            Verdict::Passes(why) => ("passes", why),
            Verdict::Unknown(why) => ("unknown", why),
            Verdict::Refused(denial) => {
                explained.refuse(denial.code.as_str(), &denial.message);
                ("refused", denial.message)
            }
        };
        explained.add(name, outcome, reason);
    }
    if explained.allowed {
        let limits = [
            (key.limits.activations, key.used.activations, "activations_exhausted"),
            (key.limits.tokens, key.used.tokens, "tokens_exhausted"),
            (key.limits.spend_nanos, key.used.spend_nanos, "spend_exhausted"),
        ];
        let reached = limits.iter().find(|(limit, used, _)| limit.is_some_and(|limit| *used >= limit));
        let code = match key.status {
            KeyStatus::Revoked => Some("key_revoked"),
            _ => reached.map(|(_, _, code)| *code),
        };
        match code {
            None => explained.add("status", "passes", format!("The key is {}.", key.status.as_str())),
            Some(code) => {
                let reason = format!("The key is {}.", key.status.as_str());
                explained.refuse(code, &reason);
                explained.add("status", "refused", reason);
            }
        }
    }
    explained
}

impl ExplanationJson {
    fn refuse(&mut self, code: &str, message: &str) {
        self.allowed = false;
        self.code = Some(code.to_owned());
        self.message = Some(message.to_owned());
    }

    fn add(&mut self, step: &str, outcome: &str, reason: String) {
        self.steps.push(StepJson { step: step.to_owned(), outcome: outcome.to_owned(), reason });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};
    use utoipa::PartialSchema;

    use super::{FIELDS, KeyExplainBody};

    #[test]
    fn documentation_and_parser_know_the_same_fields() {
        let schema = serde_json::to_value(KeyExplainBody::schema()).unwrap();
        let properties: &Map<String, Value> = schema["properties"].as_object().unwrap();
        let mut documented: Vec<&str> = properties.keys().map(String::as_str).collect();
        let mut parsed = FIELDS.to_vec();
        documented.sort_unstable();
        parsed.sort_unstable();
        assert_eq!(documented, parsed);
    }
}
