//! `/admin/audit/find`: what the log says about a token that somebody found.
//!
//! Invariant: the token is in the body of the request and nowhere else: what it leads to is its id, or its keyed hash in
//! the entry of its making.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use serde::Serialize;
use till_core::audit::AuditEntry;
use till_core::hex::to_hex;
use till_core::secret::Secret;
use till_core::token::{ADMIN_TOKEN_PREFIX, SCOPED_KEY_PREFIX, admin_token_hash};
use till_store::{AdminToken, AuditAction, AuditQuery};
use utoipa::ToSchema;

use crate::audit::{AuditEntryJson, PAGE_MAX};
use crate::authenticate::Caller;
use crate::error::{ApiError, ErrorBody};
use crate::json_body::{self, Fields};
use crate::key_create::{invalid, required, text};
use crate::query;
use crate::router::Shared;

/// Which token.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AuditFind)]
#[expect(dead_code, reason = "describes the body for the documentation; `parse` reads it")]
pub(crate) struct AuditFindBody {
    /// A scoped key or an admin token.
    #[schema(example = "till_sk_…", write_only)]
    token: String,
}

/// What the log says about it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditFindAnswer)]
pub(crate) struct AuditFindAnswer {
    /// The key id of a scoped key, or the name of an admin token; null when nobody here knows it. Without entries it is known,
    /// and what the log said about it was deleted by age.
    #[schema(required = true, example = "key_ADlySp2gash6K23CpSXW7n")]
    subject: Option<String>,
    /// The entries, oldest first: about a scoped key, or about an admin token and what was done with it.
    entries: Vec<AuditEntryJson>,
    /// Whether that is all of them; there are at most 1000.
    complete: bool,
}

/// Find a token in the audit log
///
/// For a scoped key or an admin token that turned up somewhere: what the log says about it. The token is neither kept nor
/// logged, and it need not work any more.
#[utoipa::path(post, path = "/admin/audit/find", request_body = AuditFindBody,
    responses(
        (status = 200, description = "What the log says about it", body = AuditFindAnswer),
        (status = 400, description = "A field or the body breaks a rule", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not declared as JSON", body = ErrorBody),
    ))]
pub(crate) async fn audit_find(
    State(shared): State<Arc<Shared>>,
    _caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<AuditFindAnswer>, ApiError> {
    query::none(&uri)?;
    let token = parse(&json_body::read(&headers, body).await?)?;
    let rule = "must be a scoped key or an admin token";
    let token = token.reveal_str().ok_or_else(|| invalid("token", rule))?;
    let (subject, mut entries) = if token.starts_with(SCOPED_KEY_PREFIX) {
        scoped_key(&shared, token).await?
    } else if token.starts_with(ADMIN_TOKEN_PREFIX) {
        admin_token(&shared, token).await?
    } else {
        return Err(invalid("token", rule));
    };
    let most = usize::try_from(PAGE_MAX).expect("a small number");
    let complete = entries.len() <= most;
    entries.truncate(most);
    let entries = entries.into_iter().map(AuditEntryJson::from).collect();
    Ok(Json(AuditFindAnswer { subject, entries, complete }))
}

fn parse(body: &[u8]) -> Result<Secret, ApiError> {
    let mut fields = Fields::parse(body)?;
    let token = fields.take("token")?;
    fields.finish(&["token"])?;
    Ok(Secret::new(text("token", required("token", token)?)?))
}

type Found = (Option<String>, Vec<AuditEntry>);

/// One more than is shown tells whether there are more.
fn all() -> AuditQuery {
    AuditQuery { limit: PAGE_MAX + 1, ..AuditQuery::default() }
}

/// The newest entry of its making.
async fn made(shared: &Shared, token: &str, action: AuditAction) -> Result<Option<AuditEntry>, ApiError> {
    let hash = to_hex(&shared.state.keys.audit_keys().token_hash(token));
    let query = AuditQuery {
        limit: 1,
        newest_first: true,
        action: Some(action),
        mentions: Some(format!("\"tokenHash\":\"{hash}\"")),
        ..AuditQuery::default()
    };
    Ok(shared.state.store.audit_page(query).await?.pop())
}

async fn scoped_key(shared: &Shared, token: &str) -> Result<Found, ApiError> {
    // One of another master key does not open, but it may have been made here.
    let id = match shared.state.keys.open(token) {
        Ok(opened) => Some(opened.id.to_string()),
        Err(_) => {
            made(shared, token, AuditAction::Is("key.create".to_owned())).await?.map(|entry| entry.target)
        }
    };
    let Some(id) = id else { return Ok((None, Vec::new())) };
    let entries = shared.state.store.audit_page(AuditQuery { target: Some(id.clone()), ..all() }).await?;
    // One that opens was made here, also if its entries were deleted by age.
    Ok((Some(id), entries))
}

/// From its making until another text took its place.
async fn admin_token(shared: &Shared, token: &str) -> Result<Found, ApiError> {
    let store = &shared.state.store;
    let about = |id: &str| AuditQuery { target: Some(id.to_owned()), ..all() };
    let begin = made(shared, token, AuditAction::StartsWith("token.".to_owned())).await?;
    let (id, begin) = match begin {
        Some(entry) => (entry.target, Some(entry.seq)),
        // Made before there were hashes in the log, or while nobody had the keys for them.
        None => match store.entity_find::<AdminToken>(admin_token_hash(token)).await? {
            Some(known) => (known.id, None),
            None => return Ok((None, Vec::new())),
        },
    };
    let after = begin.map(|begin| begin.saturating_sub(1));
    let mut entries = store.audit_page(AuditQuery { after, ..about(&id) }).await?;
    entries.extend(store.audit_page(AuditQuery { after, actor: Some(id.clone()), ..all() }).await?);
    entries.sort_unstable_by_key(|entry| entry.seq);
    entries.dedup_by_key(|entry| entry.seq);
    // With an overlap the old text went on for a while.
    let replaced = |entry: &AuditEntry| {
        let is_anew = matches!(entry.action.as_str(), "token.rotate" | "token.put");
        is_anew && entry.target == id && Some(entry.seq) > begin && !overlaps(&entry.detail)
    };
    if begin.is_some()
        && let Some(end) = entries.iter().position(replaced)
    {
        entries.truncate(end + 1);
    }
    Ok((Some(id), entries))
}

fn overlaps(detail: &str) -> bool {
    let detail: serde_json::Value = serde_json::from_str(detail).unwrap_or_default();
    detail["overlapSeconds"].as_u64().is_some_and(|seconds| seconds > 0)
}
