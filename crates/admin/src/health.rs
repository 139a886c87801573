//! `/healthz` and `/readyz`, for whatever watches the process.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use till_store::StoreError;
use utoipa::ToSchema;

use crate::error::{ApiError, ErrorCode, NotReady, NotReadyBody};
use crate::router::Shared;

/// All is well.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health)]
pub(crate) struct HealthAnswer {
    /// Always `ok`.
    #[schema(example = "ok")]
    status: String,
}

impl HealthAnswer {
    fn ok() -> Json<Self> {
        Json(Self { status: "ok".to_owned() })
    }
}

/// Is it alive?
///
/// 200 as long as the process answers at all. Restart it when this fails.
#[utoipa::path(get, path = "/healthz", security(()),
    responses((status = 200, description = "The process answers", body = HealthAnswer)))]
pub(crate) async fn healthz() -> Json<HealthAnswer> {
    HealthAnswer::ok()
}

/// Can it serve?
///
/// 200 when the store can be written, no fence is up and the process does not stop. Don't send it requests while this
/// fails. The kill switch does not count: its answers are to reach whoever asks.
#[utoipa::path(get, path = "/readyz", security(()),
    responses(
        (status = 200, description = "Keys can be used", body = HealthAnswer),
        (status = 503, description = "The store can't be written, the instance is fenced, or the process stops",
            body = NotReadyBody),
    ))]
pub(crate) async fn readyz(State(shared): State<Arc<Shared>>) -> Result<Json<HealthAnswer>, NotReady> {
    let store = &shared.state.store;
    let mut reasons = Vec::new();
    if store.is_stopping() {
        reasons.push(ApiError::plain(ErrorCode::ShuttingDown));
    }
    if store.fenced().is_some() {
        reasons.push(ApiError::plain(ErrorCode::InstanceFenced));
    }
    if let Err(error) = store.writable().await {
        reasons.push(unwritable(&error));
    }
    if reasons.is_empty() { Ok(HealthAnswer::ok()) } else { Err(NotReady(reasons)) }
}

/// What the database or the operating system said, but not of which file.
fn unwritable(error: &StoreError) -> ApiError {
    let reason = match error {
        StoreError::Failed { action, reason, .. } => format!("the store could not {action}: {reason}"),
        other => other.to_string(),
    };
    ApiError::new(ErrorCode::LedgerUnavailable, reason)
}
