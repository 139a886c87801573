//! `/admin/audit`: the log of admin actions, read only.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use till_core::audit::{AuditEntry, AuditHash};
use utoipa::ToSchema;

use crate::authenticate::Caller;
use crate::error::{ApiError, ErrorBody};
use crate::query::Parameters;
use crate::router::Shared;
use crate::time_text::rfc3339;

/// Longest page.
const PAGE_MAX: u32 = 1000;

/// Length of a page that was not asked for.
const PAGE_DEFAULT: u32 = 100;

/// One entry. The hashes chain the log: each covers every field and the hash before it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditEntry)]
pub(crate) struct AuditEntryJson {
    /// 1, 2, 3 …, without gaps.
    #[schema(example = 7)]
    seq: u64,
    /// When it happened, to the millisecond.
    #[schema(format = DateTime, example = "2026-01-31T08:00:00.25Z")]
    at: String,
    /// Who did it.
    actor: AuditActorJson,
    /// What was done.
    #[schema(example = "key.create")]
    action: String,
    /// What it was done to.
    #[schema(example = "key_ADlySp2gash6K23CpSXW7n")]
    target: String,
    /// More about it: JSON as the very text that was hashed.
    #[schema(example = "{}")]
    detail: String,
    /// Hash of the entry before, in hexadecimal; zeros in the first.
    prev_hash: String,
    /// Hash of this entry, in hexadecimal.
    hash: String,
}

/// Who acted.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditActor)]
struct AuditActorJson {
    /// `admin`, `system` or `local_cli`.
    #[schema(example = "admin")]
    kind: String,
    /// Name of the admin token, or `system`.
    #[schema(example = "owner")]
    id: String,
    /// Network address, where there is one.
    #[schema(required = true, example = "127.0.0.1:53124")]
    address: Option<String>,
    /// Id of the request, where there is one.
    #[schema(required = true)]
    request_id: Option<String>,
}

impl From<AuditEntry> for AuditEntryJson {
    fn from(entry: AuditEntry) -> Self {
        Self {
            seq: entry.seq,
            at: rfc3339(entry.at),
            actor: AuditActorJson {
                kind: entry.actor.kind.as_str().to_owned(),
                id: entry.actor.id,
                address: entry.actor.address,
                request_id: entry.actor.request_id,
            },
            action: entry.action,
            target: entry.target,
            detail: entry.detail,
            prev_hash: hexadecimal(&entry.prev_hash),
            hash: hexadecimal(&entry.hash),
        }
    }
}

pub(crate) fn hexadecimal(hash: &AuditHash) -> String {
    hash.iter().fold(String::with_capacity(2 * hash.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}

/// Entries, oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditAnswer)]
pub(crate) struct AuditAnswer {
    /// The entries.
    entries: Vec<AuditEntryJson>,
    /// What to send as `after` to go on: the last `seq` of this page, or what was sent when it is empty.
    #[schema(example = 7)]
    next_after: u64,
}

/// Read the audit log
///
/// Every change that an admin made, and every start and stop. To follow the log, call again with `after` set to
/// `nextAfter`; an empty page means that there is nothing new yet.
#[utoipa::path(get, path = "/admin/audit",
    params(
        ("after" = Option<u64>, Query, description = "Only entries with a greater `seq`; 0 starts at the first"),
        ("limit" = Option<u32>, Query, description = "Entries per page; 100 when absent", minimum = 1, maximum = 1000),
    ),
    responses(
        (status = 200, description = "The entries", body = AuditAnswer),
        (status = 400, description = "A query parameter breaks a rule", body = ErrorBody),
    ))]
pub(crate) async fn audit_list(
    State(shared): State<Arc<Shared>>,
    _caller: Caller,
    uri: Uri,
) -> Result<Json<AuditAnswer>, ApiError> {
    let mut parameters = Parameters::parse(&uri)?;
    let after = parameters.take_number("after")?.unwrap_or(0);
    let limit = parameters.take_count("limit", PAGE_MAX)?.unwrap_or(PAGE_DEFAULT);
    parameters.finish(&["after", "limit"])?;
    let entries = shared.state.store.audit_list(after, limit).await?;
    let next_after = entries.last().map_or(after, |entry| entry.seq);
    Ok(Json(AuditAnswer { entries: entries.into_iter().map(AuditEntryJson::from).collect(), next_after }))
}
