//! `/admin/holds`: what a crash left open, and is spent because nobody knows what became of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::Uri;
use serde::Serialize;
use till_store::{OrphanHold, hold_name, parse_hold_name};
use utoipa::ToSchema;

use crate::authenticate::Caller;
use crate::error::{ApiError, ErrorBody, ErrorCode};
use crate::money_text::usd;
use crate::query::{self, Parameters};
use crate::router::Shared;
use crate::time_text::rfc3339;

/// Longest page.
const PAGE_MAX: u32 = 1000;

/// Length of a page that was not asked for.
const PAGE_DEFAULT: u32 = 100;

/// A hold that was open when till ended without a stop: that of a request under way, or units that were counted out for
/// calls to come. It is spent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Hold)]
pub(crate) struct HoldJson {
    /// Name of the hold.
    #[schema(example = "hold_7-31")]
    id: String,
    /// `request`, or `escrow` for units that were counted out ahead, of which till can't tell any more how many were used.
    #[schema(example = "request", pattern = "^(request|escrow)$")]
    kind: &'static str,
    /// Whose it was.
    #[schema(example = "key_ADlySp2gash6K23CpSXW7n")]
    key_id: String,
    /// When it was granted.
    #[schema(format = DateTime, example = "2026-01-31T08:00:00.250Z")]
    at: String,
    /// Requests that are spent for it.
    #[schema(example = 1)]
    activations: u64,
    /// Tokens that are spent for it.
    #[schema(example = 4352)]
    tokens: u64,
    /// US dollars that are spent for it.
    #[schema(example = "0.0025")]
    spend_usd: String,
}

impl From<OrphanHold> for HoldJson {
    fn from(hold: OrphanHold) -> Self {
        Self {
            id: hold_name(hold.id),
            kind: if hold.is_escrow { "escrow" } else { "request" },
            key_id: hold.key.to_string(),
            at: rfc3339(hold.at),
            activations: hold.units.activations,
            tokens: hold.units.tokens,
            spend_usd: usd(hold.units.spend_nanos),
        }
    }
}

/// Holds, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HoldListAnswer)]
pub(crate) struct HoldListAnswer {
    /// The holds.
    holds: Vec<HoldJson>,
    /// What to send as `before` for older ones; null when there are none.
    #[schema(required = true, example = json!(null))]
    next_before: Option<String>,
}

/// List holds that a crash left open
///
/// What became of their requests is not known, so they are spent. Those that were forgiven are not listed any more.
#[utoipa::path(get, path = "/admin/holds",
    params(
        ("limit" = Option<u32>, Query, description = "Holds per page; 100 when absent", minimum = 1, maximum = 1000),
        ("before" = Option<String>, Query, description = "`nextBefore` of the page before", pattern = "^hold_[0-9]+-[0-9]+$"),
    ),
    responses(
        (status = 200, description = "The holds", body = HoldListAnswer),
        (status = 400, description = "A query parameter breaks a rule", body = ErrorBody),
    ))]
pub(crate) async fn hold_list(
    State(shared): State<Arc<Shared>>,
    _caller: Caller,
    uri: Uri,
) -> Result<Json<HoldListAnswer>, ApiError> {
    let mut parameters = Parameters::parse(&uri)?;
    let page = parameters.take_count("limit", PAGE_MAX)?.unwrap_or(PAGE_DEFAULT);
    let before = parameters.take("before")?;
    parameters.finish(&["limit", "before"])?;
    let invalid = || query::invalid("before", "is not a `nextBefore` of an answer");
    let before = before.map(|name| parse_hold_name(&name).ok_or_else(invalid)).transpose()?;
    let mut holds = shared.state.store.orphan_list(before, page + 1).await?;
    let shown = usize::try_from(page).expect("a page has at most 1000 holds");
    let more = holds.len() > shown;
    holds.truncate(shown);
    let next_before = holds.last().filter(|_| more).map(|last| hold_name(last.id));
    Ok(Json(HoldListAnswer { holds: holds.into_iter().map(HoldJson::from).collect(), next_before }))
}

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HoldForgiveAnswer)]
pub(crate) struct HoldForgiveAnswer {
    /// Name of the hold whose units are free again.
    #[schema(example = "hold_7-31")]
    forgiven: String,
}

/// Forgive a hold
///
/// Gives the units of a hold that a crash left open back to its key. Do this only when you know that its request was
/// not sent, or not billed: otherwise the key can use more than its limit. It is in the audit log.
#[utoipa::path(post, path = "/admin/holds/{id}/forgive",
    params(("id" = String, Path, description = "Name of the hold", pattern = "^hold_[0-9]+-[0-9]+$", example = "hold_7-31")),
    responses(
        (status = 200, description = "Its units are free again", body = HoldForgiveAnswer),
        (status = 400, description = "The path does not hold a hold's name", body = ErrorBody),
        (status = 404, description = "There is no such hold, or it was forgiven before", body = ErrorBody),
    ))]
pub(crate) async fn hold_forgive(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<HoldForgiveAnswer>, ApiError> {
    query::none(&uri)?;
    let invalid =
        || ApiError::new(ErrorCode::InvalidId, "a hold is named `hold_` and two numbers, as in hold_7-31");
    let Path(name) = id.map_err(|_| invalid())?;
    let id = parse_hold_name(&name).ok_or_else(invalid)?;
    if shared.state.store.orphan_forgive(id, caller.actor()).await? {
        return Ok(Json(HoldForgiveAnswer { forgiven: name }));
    }
    Err(ApiError::new(
        ErrorCode::NotFound,
        "there is no hold of this name that is left open; it may be forgiven already",
    ))
}
