//! `POST /admin/keys/revoke`: ends every key that fits.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use serde::Serialize;
use serde_json::{Map, Value};
use till_core::key::{KeyId, KeyStatus};
use till_core::time::Timestamp;
use till_core::token::{MasterKeyId, NotAMasterKeyId};
use till_store::KeyQuery;
use utoipa::ToSchema;

use crate::authenticate::Caller;
use crate::error::{ApiError, ErrorBody, ErrorCode};
use crate::json_body::{self, Fields};
use crate::key_create::{flag, invalid, text};
use crate::query;
use crate::router::Shared;
use crate::time_text::parse_rfc3339;

const FIELDS: [&str; 9] = [
    "metadata",
    "provider",
    "project",
    "upstream",
    "status",
    "created_before",
    "last_used_before",
    "master_key",
    "dry_run",
];

/// Which keys to revoke: those for which every condition holds. At least one is required.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KeysRevoke, example = json!({"provider": "openai", "last_used_before": "2026-01-31T08:00:00Z", "dry_run": true}))]
#[expect(dead_code, reason = "describes the body for the documentation; `parse` reads it")]
pub(crate) struct KeysRevokeBody {
    /// One entry of the metadata and the text that it has.
    #[schema(value_type = Option<Object>, example = json!({"team": "search"}))]
    metadata: Option<Map<String, Value>>,
    /// Id of the provider.
    #[schema(example = "openai")]
    provider: Option<String>,
    /// Id of the project.
    #[schema(example = "search-team")]
    project: Option<String>,
    /// Name of the upstream credential that they were minted from.
    #[schema(example = "openai-prod")]
    upstream: Option<String>,
    /// Their state.
    #[schema(example = "paused")]
    status: Option<String>,
    /// Made before.
    #[schema(format = DateTime, example = "2026-01-31T08:00:00Z")]
    created_before: Option<String>,
    /// Last used before; a key that was never used counts by when it was made.
    #[schema(format = DateTime, example = "2026-01-31T08:00:00Z")]
    last_used_before: Option<String>,
    /// Made under the master key of this id.
    #[schema(example = "5f0c3a9e")]
    master_key: Option<String>,
    /// Only says which keys these are. False if absent.
    #[schema(example = true)]
    dry_run: Option<bool>,
}

/// The keys that were revoked, or would be.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = KeysRevokeAnswer)]
pub(crate) struct KeysRevokeAnswer {
    /// Their ids, newest first. Keys that were revoked before are not among them.
    #[schema(example = json!(["key_ADlySp2gash6K23CpSXW7n"]))]
    ids: Vec<String>,
    /// Whether nothing was done.
    #[schema(example = true)]
    dry_run: bool,
}

/// Revoke many keys
///
/// Takes effect before the answer, as the revocation of a single key does, a thousand at a time. After an error some of them
/// may be revoked: send it again.
#[utoipa::path(post, path = "/admin/keys/revoke", request_body = KeysRevokeBody,
    responses(
        (status = 200, description = "The keys", body = KeysRevokeAnswer),
        (status = 400, description = "A field or the body breaks a rule", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not declared as JSON", body = ErrorBody),
    ))]
pub(crate) async fn keys_revoke(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<KeysRevokeAnswer>, ApiError> {
    query::none(&uri)?;
    let (mut query, dry_run) = parse(&json_body::read(&headers, body).await?)?;
    if query.project.as_deref().is_some_and(|project| !caller.sees(project)) {
        return Ok(Json(KeysRevokeAnswer { ids: Vec::new(), dry_run }));
    }
    query.project = query.project.or_else(|| caller.project().map(str::to_owned));
    let keys = shared.state.store.key_list(query).await?;
    let ids: Vec<KeyId> = keys
        .into_iter()
        .filter(|key| key.status != KeyStatus::Revoked && caller.may_change(key).is_ok())
        .map(|key| key.id)
        .collect();
    let named = ids.iter().map(ToString::to_string).collect();
    if !dry_run && !ids.is_empty() {
        shared.state.store.keys_revoke(ids, caller.actor()).await?;
    }
    Ok(Json(KeysRevokeAnswer { ids: named, dry_run }))
}

fn parse(body: &[u8]) -> Result<(KeyQuery, bool), ApiError> {
    let mut fields = Fields::parse(body)?;
    let metadata = fields.take("metadata")?;
    let provider = fields.take("provider")?;
    let project = fields.take("project")?;
    let upstream = fields.take("upstream")?;
    let status = fields.take("status")?;
    let created_before = fields.take("created_before")?;
    let last_used_before = fields.take("last_used_before")?;
    let master_key = fields.take("master_key")?;
    let dry_run = fields.take("dry_run")?;
    fields.finish(&FIELDS)?;
    let conditions =
        [&metadata, &provider, &project, &upstream, &status, &created_before, &last_used_before, &master_key];
    if conditions.into_iter().all(Option::is_none) {
        let message = format!("at least one condition is required: {}", FIELDS[..8].join(", "));
        return Err(ApiError::new(ErrorCode::MissingField, message));
    }
    let query = KeyQuery {
        metadata: metadata.map(entry).transpose()?,
        provider: provider.map(|provider| text("provider", provider)).transpose()?,
        project: project.map(|project| text("project", project)).transpose()?,
        credential: upstream.map(|upstream| text("upstream", upstream)).transpose()?,
        status: status.map(state).transpose()?,
        created_before: created_before.map(|at| time("created_before", at)).transpose()?,
        last_used_before: last_used_before.map(|at| time("last_used_before", at)).transpose()?,
        master_key: master_key.map(master_key_id).transpose()?,
        ..KeyQuery::default()
    };
    Ok((query, flag("dry_run", dry_run)?.unwrap_or(false)))
}

fn entry(metadata: Value) -> Result<(String, String), ApiError> {
    let rule = "must be an object with one entry whose value is a text";
    let Value::Object(metadata) = metadata else { return Err(invalid("metadata", rule)) };
    let mut entries = metadata.into_iter();
    match (entries.next(), entries.next()) {
        (Some((name, Value::String(value))), None) => Ok((name, value)),
        _ => Err(invalid("metadata", rule)),
    }
}

fn master_key_id(value: Value) -> Result<MasterKeyId, ApiError> {
    text("master_key", value)?
        .parse()
        .map_err(|error: NotAMasterKeyId| invalid("master_key", &error.to_string()))
}

fn state(value: Value) -> Result<KeyStatus, ApiError> {
    let word = text("status", value)?;
    let known = KeyStatus::ALL.into_iter().find(|status| status.as_str() == word);
    known.ok_or_else(|| invalid("status", STATUS_RULE))
}

/// What a status has to be.
pub(crate) const STATUS_RULE: &str = "must be active, pending, paused, exhausted, expired or revoked";

fn time(name: &str, value: Value) -> Result<Timestamp, ApiError> {
    let rule = "must be a time in RFC 3339, such as \"2026-01-31T08:00:00Z\"";
    parse_rfc3339(&text(name, value)?).ok_or_else(|| invalid(name, rule))
}
