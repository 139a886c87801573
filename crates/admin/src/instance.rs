//! `/admin/instance`: how this process is doing, and the way out of a fence.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use till_core::hex::to_hex;
use till_store::{COMES_BACK, Fence, StoreStats};
use utoipa::ToSchema;

use crate::authenticate::Caller;
use crate::error::{ApiError, ErrorBody};
use crate::query;
use crate::router::Shared;
use crate::time_text::rfc3339;

/// This process and its store.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Instance)]
pub(crate) struct InstanceJson {
    /// Random id of the store, in hexadecimal.
    #[schema(example = "9f2c6f0f6a1e4c1d8f0b7a5e3d2c1b0a")]
    id: String,
    /// Version of till.
    #[schema(example = "0.1.0")]
    version: String,
    /// Where clients reach it.
    #[schema(example = "http://127.0.0.1:4100")]
    public_url: String,
    /// When this process started.
    #[schema(format = DateTime, example = "2026-01-31T08:00:00Z")]
    started_at: String,
    /// Whole seconds since then.
    #[schema(example = 86400)]
    uptime_seconds: u64,
    /// Why no key works; null when all is well.
    #[schema(required = true)]
    fence: Option<FenceJson>,
    /// Counters of the store since the start.
    store: StoreJson,
}

/// The store was put back from an older copy: keys could have more left in it than they really have.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Fence)]
struct FenceJson {
    /// How often the store says it was started.
    #[schema(example = 4)]
    store_incarnation: u64,
    /// How often it really was, by the witness file outside of the backups; null when that can't be read.
    #[schema(required = true, example = 9)]
    witness_incarnation: Option<u64>,
    /// What was found and what to do.
    reason: String,
}

impl From<Fence> for FenceJson {
    fn from(fence: Fence) -> Self {
        Self {
            store_incarnation: fence.store_incarnation,
            witness_incarnation: fence.witness_incarnation,
            reason: fence.reason,
        }
    }
}

/// Counters of the store since the start.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StoreStats)]
struct StoreJson {
    /// Transactions committed.
    #[schema(example = 812)]
    batches: u64,
    /// Operations in them.
    #[schema(example = 9043)]
    operations: u64,
    /// Transactions that failed.
    #[schema(example = 0)]
    commit_failures: u64,
    /// Requests that used more than was set aside for them.
    #[schema(example = 0)]
    holds_exceeded: u64,
    /// Requests that used more than a limit allows; their keys are stopped.
    #[schema(example = 0)]
    overruns: u64,
    /// Operations that wait now.
    #[schema(example = 0)]
    queue_length: u64,
}

impl From<StoreStats> for StoreJson {
    fn from(stats: StoreStats) -> Self {
        Self {
            batches: stats.batches,
            operations: stats.operations,
            commit_failures: stats.commit_failures,
            holds_exceeded: stats.holds_exceeded,
            overruns: stats.overruns,
            queue_length: stats.queue_length,
        }
    }
}

/// The instance.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = InstanceAnswer)]
pub(crate) struct InstanceAnswer {
    /// The instance.
    instance: InstanceJson,
}

/// The instance after a roll-back was accepted.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RollbackAnswer)]
pub(crate) struct RollbackAnswer {
    /// The instance.
    instance: InstanceJson,
    /// What to look at: what the older copy has as it was, for people. Nothing if there was no fence.
    #[schema(example = json!(["admin tokens that were revoked, rotated or narrowed since, that of the owner included"]))]
    came_back: Vec<String>,
}

impl InstanceAnswer {
    fn new(shared: &Shared) -> Self {
        let state = &shared.state;
        let settings = &state.settings;
        let now = (state.clock)();
        Self {
            instance: InstanceJson {
                id: to_hex(&state.store.instance_id()),
                version: settings.version.to_owned(),
                public_url: settings.public_url.clone(),
                started_at: rfc3339(settings.started),
                uptime_seconds: now.0.saturating_sub(settings.started.0) / 1000,
                fence: state.store.fenced().map(FenceJson::from),
                store: state.store.stats().into(),
            },
        }
    }
}

/// Show the instance
#[utoipa::path(get, path = "/admin/instance",
    responses((status = 200, description = "This process and its store", body = InstanceAnswer)))]
pub(crate) async fn instance_show(
    State(shared): State<Arc<Shared>>,
    _caller: Caller,
    uri: Uri,
) -> Result<Json<InstanceAnswer>, ApiError> {
    query::none(&uri)?;
    Ok(Json(InstanceAnswer::new(&shared)))
}

/// Accept a roll-back
///
/// Lifts the fence, so that keys work again with what the restored store says is left of them. Requests that were sent
/// after the copy was made are forgotten by this, and so is what was revoked, removed or replaced: do first again what must
/// stay so. Until then only the owner's admin token is let in. Without a fence nothing changes. Takes no body.
#[utoipa::path(post, path = "/admin/instance/accept-rollback",
    responses(
        (status = 200, description = "The instance, without a fence, and what may have come back", body = RollbackAnswer),
        (status = 400, description = "There are query parameters", body = ErrorBody),
    ))]
pub(crate) async fn rollback_accept(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<RollbackAnswer>, ApiError> {
    query::none(&uri)?;
    let was_fenced = shared.state.store.fenced().is_some();
    if was_fenced {
        shared.state.store.fence_accept(caller.actor()).await?;
    }
    let came_back = if was_fenced { COMES_BACK.map(str::to_owned).into() } else { Vec::new() };
    Ok(Json(RollbackAnswer { instance: InstanceAnswer::new(&shared).instance, came_back }))
}
