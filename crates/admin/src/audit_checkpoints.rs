//! `/admin/audit/checkpoints`: what is signed of the audit log, and by which keys.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use till_core::audit::{AuditPublicKey, Checkpoint};
use till_core::hex::to_hex;
use utoipa::ToSchema;

use crate::audit::{PAGE_DEFAULT, PAGE_MAX};
use crate::authenticate::Caller;
use crate::error::{ApiError, ErrorBody};
use crate::query::Parameters;
use crate::router::Shared;
use crate::time_text::rfc3339;

/// A signed statement that the newest entry had this number and this hash.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditCheckpoint)]
pub(crate) struct CheckpointJson {
    /// Number of the entry.
    #[schema(example = 7)]
    seq: u64,
    /// Its hash, in hexadecimal.
    hash: String,
    /// When it was signed.
    #[schema(format = DateTime, example = "2026-01-31T08:00:00.25Z")]
    at: String,
    /// The instance whose log it is, in hexadecimal.
    instance_id: String,
    /// Which key signed, in hexadecimal.
    #[schema(example = "864f48b051d88d71")]
    key_id: String,
    /// Ed25519 signature, in hexadecimal; docs/audit.md says over what.
    signature: String,
}

impl From<Checkpoint> for CheckpointJson {
    fn from(checkpoint: Checkpoint) -> Self {
        Self {
            seq: checkpoint.seq,
            hash: to_hex(&checkpoint.hash),
            at: rfc3339(checkpoint.at),
            instance_id: to_hex(&checkpoint.instance_id),
            key_id: checkpoint.key_id.to_string(),
            signature: to_hex(&checkpoint.signature),
        }
    }
}

/// A key that signs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditKey)]
struct AuditKeyJson {
    /// Its id.
    #[schema(example = "864f48b051d88d71")]
    key_id: String,
    /// The public key, Ed25519, in hexadecimal.
    public_key: String,
}

impl From<AuditPublicKey> for AuditKeyJson {
    fn from(key: AuditPublicKey) -> Self {
        Self { key_id: key.id().to_string(), public_key: key.to_string() }
    }
}

/// Checkpoints, oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditCheckpointsAnswer)]
pub(crate) struct CheckpointsAnswer {
    /// The checkpoint behind which the log starts, when what was before is deleted by age; null when it starts at entry 1.
    #[schema(required = true)]
    anchor: Option<CheckpointJson>,
    /// Every key that signed so far.
    keys: Vec<AuditKeyJson>,
    /// The checkpoints.
    checkpoints: Vec<CheckpointJson>,
    /// What to send as `after` to go on.
    #[schema(example = 7)]
    next_after: u64,
}

/// List checkpoints of the audit log
///
/// A checkpoint is signed at each start and clean stop, at each export, and when there are new entries after ten minutes or a
/// thousand entries.
#[utoipa::path(get, path = "/admin/audit/checkpoints",
    params(
        ("after" = Option<u64>, Query, description = "Only checkpoints of entries with a greater `seq`"),
        ("limit" = Option<u32>, Query, description = "Checkpoints per page; 100 when absent", minimum = 1, maximum = 1000),
    ),
    responses(
        (status = 200, description = "The checkpoints", body = CheckpointsAnswer),
        (status = 400, description = "A query parameter breaks a rule", body = ErrorBody),
    ))]
pub(crate) async fn audit_checkpoints(
    State(shared): State<Arc<Shared>>,
    _caller: Caller,
    uri: Uri,
) -> Result<Json<CheckpointsAnswer>, ApiError> {
    let mut parameters = Parameters::parse(&uri)?;
    let after = parameters.take_number("after")?.unwrap_or(0);
    let limit = parameters.take_count("limit", PAGE_MAX)?.unwrap_or(PAGE_DEFAULT);
    parameters.finish(&["after", "limit"])?;
    let store = &shared.state.store;
    let state = store.audit_state().await?;
    let checkpoints = store.audit_checkpoints(after, limit).await?;
    Ok(Json(CheckpointsAnswer {
        anchor: state.anchor.map(CheckpointJson::from),
        keys: state.keys.into_iter().map(AuditKeyJson::from).collect(),
        next_after: checkpoints.last().map_or(after, |checkpoint| checkpoint.seq),
        checkpoints: checkpoints.into_iter().map(CheckpointJson::from).collect(),
    }))
}
