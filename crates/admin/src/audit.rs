//! `/admin/audit`: the log of admin actions and denials, read only.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::Uri;
use serde::Serialize;
use till_core::audit::AuditEntry;
use till_core::hex::to_hex;
use till_core::time::Timestamp;
use till_store::{AuditAction, AuditPage, AuditQuery};
use utoipa::ToSchema;

use crate::authenticate::Caller;
use crate::error::{ApiError, ErrorBody, ErrorCode};
use crate::query::{self, Parameters};
use crate::router::Shared;
use crate::time_text::{parse_rfc3339, rfc3339};

/// Longest page.
pub(crate) const PAGE_MAX: u32 = 1000;

/// Length of a page that was not asked for.
pub(crate) const PAGE_DEFAULT: u32 = 100;

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
            prev_hash: to_hex(&entry.prev_hash),
            hash: to_hex(&entry.hash),
        }
    }
}

/// Entries in the order that was asked for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditAnswer)]
pub(crate) struct AuditAnswer {
    /// The entries.
    entries: Vec<AuditEntryJson>,
    /// What to send as `after` to go on: the last `seq` that was looked at, or what was sent when there was none.
    #[schema(example = 7)]
    next_after: u64,
}

/// One entry.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditEntryAnswer)]
pub(crate) struct AuditEntryAnswer {
    /// The entry.
    entry: AuditEntryJson,
}

/// Read the audit log
///
/// Every change that an admin made, every start and stop, and what was denied, counted per key, code and minute. To follow
/// the log, call again with `after` set to `nextAfter`. A page ends when it is full, or when 10,000 entries were looked at for
/// it: then it may be short or empty although there are more. When `nextAfter` is what was sent as `after` there is nothing
/// behind it yet. Entries that are deleted by age are not there any more: `GET /admin/audit/checkpoints` says where the log
/// starts.
#[utoipa::path(get, path = "/admin/audit",
    params(
        ("after" = Option<u64>, Query, description = "Only entries behind this `seq`, in the order of the answer; 0 starts at the first"),
        ("limit" = Option<u32>, Query, description = "Entries per page; 100 when absent", minimum = 1, maximum = 1000),
        ("actor" = Option<String>, Query, description = "Only entries of the actor with this `id`"),
        ("action" = Option<String>, Query, description = "Only entries of this action; with `*` at the end of all that start like it: `key.*`"),
        ("target" = Option<String>, Query, description = "Only entries about this, such as a key id"),
        ("project" = Option<String>, Query, description = "Only entries about this project and what belongs to it"),
        ("from" = Option<String>, Query, description = "Only entries from this time on, RFC 3339", format = DateTime),
        ("to" = Option<String>, Query, description = "Only entries before this time, RFC 3339", format = DateTime),
        ("order" = Option<String>, Query, description = "`asc`, oldest first, when absent, or `desc`", pattern = "^(asc|desc)$"),
    ),
    responses(
        (status = 200, description = "The entries", body = AuditAnswer),
        (status = 400, description = "A query parameter breaks a rule", body = ErrorBody),
    ))]
pub(crate) async fn audit_list(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<AuditAnswer>, ApiError> {
    let mut wanted = list_query(&uri)?;
    if let Some(own) = caller.project() {
        if wanted.project.as_deref().is_some_and(|project| project != own) {
            return Ok(Json(AuditAnswer { entries: Vec::new(), next_after: wanted.after.unwrap_or(0) }));
        }
        wanted.project = Some(own.to_owned());
    }
    let after = wanted.after.unwrap_or(0);
    let AuditPage { entries, next_after } = shared.state.store.audit_scan(wanted).await?;
    let next_after = next_after.or(entries.last().map(|entry| entry.seq)).unwrap_or(after);
    Ok(Json(AuditAnswer { entries: entries.into_iter().map(AuditEntryJson::from).collect(), next_after }))
}

fn list_query(uri: &Uri) -> Result<AuditQuery, ApiError> {
    let mut parameters = Parameters::parse(uri)?;
    let after = parameters.take_number("after")?;
    let limit = parameters.take_count("limit", PAGE_MAX)?.unwrap_or(PAGE_DEFAULT);
    let actor = parameters.take("actor")?;
    let action = parameters.take("action")?.map(action).transpose()?;
    let target = parameters.take("target")?;
    let from = time(&mut parameters, "from")?;
    let to = time(&mut parameters, "to")?;
    let newest_first = !parameters.take_ascending()?.unwrap_or(true);
    let project = parameters.take("project")?;
    parameters.finish(&["after", "limit", "actor", "action", "target", "project", "from", "to", "order"])?;
    Ok(AuditQuery { after, limit, newest_first, actor, action, target, from, to, mentions: None, project })
}

fn action(text: String) -> Result<AuditAction, ApiError> {
    match text.strip_suffix('*') {
        None if !text.contains('*') => Ok(AuditAction::Is(text)),
        Some(start) if !start.contains('*') => Ok(AuditAction::StartsWith(start.to_owned())),
        _ => Err(query::invalid("action", "has a `*` at its end or none")),
    }
}

fn time(parameters: &mut Parameters, name: &str) -> Result<Option<Timestamp>, ApiError> {
    let Some(text) = parameters.take(name)? else { return Ok(None) };
    let rule = "must be a time as in RFC 3339, such as 2026-01-31T08:00:00Z";
    parse_rfc3339(&text).map(Some).ok_or_else(|| query::invalid(name, rule))
}

/// Show an entry of the audit log
#[utoipa::path(get, path = "/admin/audit/{seq}",
    params(("seq" = u64, Path, description = "Number of the entry", example = 7)),
    responses(
        (status = 200, description = "The entry", body = AuditEntryAnswer),
        (status = 404, description = "There is no such entry, or not any more", body = ErrorBody),
    ))]
pub(crate) async fn audit_show(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    seq: Result<Path<String>, PathRejection>,
) -> Result<Json<AuditEntryAnswer>, ApiError> {
    query::none(&uri)?;
    let none =
        || ApiError::new(ErrorCode::NotFound, "there is no such entry in the audit log, or not any more");
    let digits = |text: &String| text.bytes().all(|byte| byte.is_ascii_digit());
    let seq = seq.ok().map(|Path(text)| text).filter(digits).and_then(|text| text.parse::<u64>().ok());
    let before = seq.and_then(|seq| seq.checked_sub(1)).ok_or_else(none)?;
    let project = caller.project().map(str::to_owned);
    let wanted = AuditQuery { after: Some(before), limit: 1, project, ..AuditQuery::default() };
    let found = shared.state.store.audit_page(wanted).await?;
    let entry = found.into_iter().next().filter(|entry| Some(entry.seq) == seq).ok_or_else(none)?;
    Ok(Json(AuditEntryAnswer { entry: entry.into() }))
}
