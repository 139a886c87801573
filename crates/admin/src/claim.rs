//! `/claim/{id}`: hands a key over, once, to whoever has the link.
//!
//! Invariants, each tested in `tests/api/claim.rs`:
//! - nobody but the holder of the link's secret learns whether there is such a claim: unknown, used and expired ones and
//!   a wrong secret get the same answer;
//! - what a stranger sends without the secret writes nothing, save that a claim whose time is over goes;
//! - the page is the same for every id and looks at nothing, so a program that only opens links uses none up;
//! - the row is gone from disk before the key is in an answer.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::Value;
use till_core::lifetime::TIME_MAX;
use till_core::secret::Secret;
use till_core::time::Timestamp;
use till_core::token::{ClaimId, ClaimSecret};
use till_store::NewClaim;
use utoipa::ToSchema;

use crate::authenticate::Visitor;
use crate::entity_json::random;
use crate::error::{ApiError, ErrorBody, ErrorCode};
use crate::json_body::{self, Fields};
use crate::key_create::{limit, required, text};
use crate::query;
use crate::router::Shared;

const PAGE: &str = include_str!("claim_page/page.html");
const STYLE: &str = include_str!("claim_page/claim.css");
const SCRIPT: &str = include_str!("claim_page/claim.js");

/// What the page may load and call: till's own script and style sheet, and the address that it was opened at.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// Longest time that a claim waits, in seconds: a week.
pub(crate) const CLAIM_TTL_SECONDS_MAX: u64 = 7 * 24 * 3600;

/// When a claim ends that is made now, from the field of the body that creates a key.
pub(crate) fn end(ttl_seconds: Option<Value>, now: Timestamp) -> Result<Option<Timestamp>, ApiError> {
    let Some(value) = ttl_seconds else { return Ok(None) };
    let seconds = limit("claim_ttl_seconds", &value, CLAIM_TTL_SECONDS_MAX)?;
    Ok(Some(Timestamp(now.0.saturating_add(seconds * 1000).min(TIME_MAX.0))))
}

/// What the store keeps of a key that is to be claimed, and the link, which is in one answer and nowhere else.
pub(crate) fn wrap(
    scoped_key: &Secret,
    expires_at: Timestamp,
    public_url: &str,
) -> Result<(NewClaim, String), ApiError> {
    let (id, secret) = (ClaimId(random()?), ClaimSecret::from_bytes(random()?));
    let text = secret.text();
    let text = text.reveal_str().expect("letters and digits are ASCII");
    let url = format!("{}/claim/{id}#{text}", public_url.trim_end_matches('/'));
    Ok((NewClaim { id, sealed: secret.seal(&id, scoped_key), expires_at }, url))
}

/// Page of a claim link
///
/// What a person sees who opens the link. It is the same for every id. The secret of the link stands behind its `#`; the
/// page sends it when the person asks for the key, so opening the link alone does not use it up.
#[utoipa::path(get, path = "/claim/{id}",
    params(("id" = String, Path, description = "Id of the claim", example = "0T2WDP8pZgu0DNrTZ8mTGa")),
    responses((status = 200, description = "A page of HTML", body = String, content_type = "text/html")))]
pub(crate) async fn claim_page() -> impl IntoResponse {
    let headers =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, POLICY)];
    (headers, PAGE)
}

/// Script of the claim page
#[utoipa::path(get, path = "/claim/claim.js",
    responses((status = 200, description = "The script", body = String, content_type = "text/javascript")))]
pub(crate) async fn claim_script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT)
}

/// Style sheet of the claim page
#[utoipa::path(get, path = "/claim/claim.css",
    responses((status = 200, description = "The style sheet", body = String, content_type = "text/css")))]
pub(crate) async fn claim_style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)
}

/// What opens a claim.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ClaimOpen, example = json!({"secret": "the-44-characters-behind-the-hash"}))]
#[expect(dead_code, reason = "describes the body for the documentation; `parse` reads it")]
pub(crate) struct ClaimBody {
    /// The part of the link behind its `#`.
    #[schema(example = "the-44-characters-behind-the-hash", write_only)]
    secret: String,
}

/// The key, this once.
// No `Debug`: it holds a credential.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ClaimAnswer)]
pub(crate) struct ClaimAnswer {
    /// What to use in place of the real key. Shown this once and stored nowhere.
    #[schema(example = "till_sk_…", read_only)]
    scoped_key: String,
    /// Public id of the key.
    #[schema(example = "key_ADlySp2gash6K23CpSXW7n")]
    key_id: String,
    /// Id of the provider.
    #[schema(example = "openai")]
    provider: String,
}

/// Claim a key
///
/// Answers the scoped key exactly once, to whoever has the secret of the link; needs no admin token. From then on there is
/// no such claim, also if the answer does not arrive: then revoke the key and make another one.
#[utoipa::path(post, path = "/claim/{id}", request_body = ClaimBody,
    params(("id" = String, Path, description = "Id of the claim", example = "0T2WDP8pZgu0DNrTZ8mTGa")),
    responses(
        (status = 200, description = "The key", body = ClaimAnswer),
        (status = 400, description = "A field or the body breaks a rule", body = ErrorBody),
        (status = 404, description = "The claim is not known, used or expired, or the secret is wrong", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not declared as JSON", body = ErrorBody),
        (status = 503, description = "The store could not read or write just now, or was put back from an older copy", body = ErrorBody),
    ))]
pub(crate) async fn claim_open(
    State(shared): State<Arc<Shared>>,
    visitor: Visitor,
    uri: Uri,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ClaimAnswer>, ApiError> {
    query::none(&uri)?;
    let secret = parse(&json_body::read(&headers, body).await?)?;
    let store = &shared.state.store;
    if store.fenced().is_some() {
        // An older copy of the store has claims that were used since.
        return Err(ApiError::plain(ErrorCode::InstanceFenced));
    }
    let id: Option<ClaimId> = id.ok().and_then(|Path(id)| id.parse().ok());
    let (Some(id), Some(secret)) = (id, secret) else { return Err(no_such_claim()) };
    let claim = store.claim_fetch(id).await?.ok_or_else(no_such_claim)?;
    // Opened first: only who has the secret can take it away.
    let scoped_key = secret.open(&id, &claim.sealed).ok_or_else(no_such_claim)?;
    if !store.claim_take(id, visitor.actor()).await? {
        return Err(no_such_claim());
    }
    let scoped_key = scoped_key.reveal_str().expect("a scoped key is ASCII").to_owned();
    Ok(Json(ClaimAnswer { scoped_key, key_id: claim.key.to_string(), provider: claim.provider }))
}

/// The secret of a body, `None` when it can't be one.
fn parse(body: &[u8]) -> Result<Option<ClaimSecret>, ApiError> {
    let mut fields = Fields::parse(body)?;
    let secret = fields.take("secret")?;
    fields.finish(&["secret"])?;
    let secret = Secret::new(text("secret", required("secret", secret)?)?);
    Ok(secret.reveal_str().and_then(ClaimSecret::parse))
}

fn no_such_claim() -> ApiError {
    ApiError::new(
        ErrorCode::NotFound,
        "there is no such claim: it was used already, its time is over, or the link is incomplete",
    )
}
