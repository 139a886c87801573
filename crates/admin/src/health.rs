//! `/healthz` and `/readyz`, for whatever watches the process.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{ApiError, ErrorBody, ErrorCode};
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
/// 200 when the store can be written and no fence is up. Don't send it requests while this fails.
#[utoipa::path(get, path = "/readyz", security(()),
    responses(
        (status = 200, description = "Keys can be used", body = HealthAnswer),
        (status = 503, description = "The store can't be written, or the instance is fenced", body = ErrorBody),
    ))]
pub(crate) async fn readyz(State(shared): State<Arc<Shared>>) -> Result<Json<HealthAnswer>, ApiError> {
    if shared.state.store.fenced().is_some() {
        return Err(ApiError::plain(ErrorCode::InstanceFenced));
    }
    shared.state.store.writable().await?;
    Ok(HealthAnswer::ok())
}
