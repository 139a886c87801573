//! `/admin/master-keys`: list, rotate and retire.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::Uri;
use serde::Serialize;
use till_core::token::MasterKeyId;
use utoipa::ToSchema;

use crate::authenticate::Caller;
use crate::error::{ApiError, ErrorBody, ErrorCode};
use crate::master_keys::{MasterKeyStatus, MasterKeysError};
use crate::query;
use crate::router::Shared;
use crate::time_text::rfc3339;

/// A master key. Its bytes are in no answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MasterKey)]
pub(crate) struct MasterKeyJson {
    /// Its public name.
    #[schema(example = "5f0c3a9e")]
    id: String,
    /// `current`: new keys are made under it. `old`: keys that were made under it go on working. `retired`: they are refused.
    #[schema(example = "current")]
    state: &'static str,
    /// Whether this process has it. Keys that were made under one that is absent are refused.
    #[schema(example = true)]
    present: bool,
    /// When this instance first had it.
    #[schema(format = DateTime, example = "2026-01-31T08:00:00Z")]
    created_at: String,
    /// Since when its keys are refused; null is not.
    #[schema(required = true, format = DateTime, example = json!(null))]
    retired_at: Option<String>,
    /// Keys ever made under it.
    #[schema(example = 41)]
    keys: u64,
    /// Those of them that are neither revoked nor expired.
    #[schema(example = 12)]
    keys_live: u64,
}

impl From<MasterKeyStatus> for MasterKeyJson {
    fn from(master: MasterKeyStatus) -> Self {
        Self {
            id: master.record.id.to_string(),
            state: master.state.as_str(),
            present: master.present,
            created_at: rfc3339(master.record.created_at),
            retired_at: master.record.retired_at.map(rfc3339),
            keys: master.record.keys,
            keys_live: master.record.keys_live,
        }
    }
}

/// Master keys.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MasterKeyListAnswer)]
pub(crate) struct MasterKeyListAnswer {
    /// All that this instance has or had, oldest first.
    master_keys: Vec<MasterKeyJson>,
}

/// One master key.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MasterKeyAnswer)]
pub(crate) struct MasterKeyAnswer {
    /// The master key as it is now.
    master_key: MasterKeyJson,
    /// Keys that it ended, when it was retired.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 12)]
    keys_ended: Option<u64>,
}

/// The answer to `GET /admin/master-keys` for whoever has the list already.
pub fn master_keys_json(list: Vec<MasterKeyStatus>) -> serde_json::Value {
    let master_keys = list.into_iter().map(MasterKeyJson::from).collect();
    serde_json::to_value(MasterKeyListAnswer { master_keys }).expect("texts and numbers are JSON")
}

/// List master keys
#[utoipa::path(get, path = "/admin/master-keys",
    responses((status = 200, description = "All master keys of this instance", body = MasterKeyListAnswer)))]
pub(crate) async fn master_key_list(
    State(shared): State<Arc<Shared>>,
    _caller: Caller,
    uri: Uri,
) -> Result<Json<MasterKeyListAnswer>, ApiError> {
    query::none(&uri)?;
    let master_keys = shared.state.master_keys.list().await?.into_iter().map(MasterKeyJson::from).collect();
    Ok(Json(MasterKeyListAnswer { master_keys }))
}

/// Rotate the master key
///
/// Makes a new master key, which keys are made under from now on. Keys that exist go on working. Refused when the master key
/// comes from somewhere that till can't write, such as a variable or a command: then the new one has to be put there. Takes
/// no body.
#[utoipa::path(post, path = "/admin/master-keys/rotate",
    responses(
        (status = 200, description = "The new master key", body = MasterKeyAnswer),
        (status = 400, description = "There are query parameters", body = ErrorBody),
        (status = 409, description = "It can't be rotated here; the message says why", body = ErrorBody),
    ))]
pub(crate) async fn master_key_rotate(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<MasterKeyAnswer>, ApiError> {
    query::none(&uri)?;
    let id = shared.state.master_keys.rotate(caller.actor()).await?;
    answer(&shared, id, None).await
}

/// Retire a master key
///
/// Every key that was made under it is revoked and its streams are cut, before the answer. It never comes back, not even when
/// its file is put back. The current one is refused: rotate first. Retiring it again changes nothing. Takes no body.
#[utoipa::path(post, path = "/admin/master-keys/{id}/retire",
    params(("id" = String, Path, description = "Id of the master key", example = "5f0c3a9e")),
    responses(
        (status = 200, description = "The master key, retired", body = MasterKeyAnswer),
        (status = 400, description = "The path does not hold the id of a master key", body = ErrorBody),
        (status = 404, description = "There is no such master key", body = ErrorBody),
        (status = 409, description = "It is the current one", body = ErrorBody),
    ))]
pub(crate) async fn master_key_retire(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<MasterKeyAnswer>, ApiError> {
    query::none(&uri)?;
    let invalid = || ApiError::new(ErrorCode::InvalidId, "the id of a master key has 8 hexadecimal digits");
    let Path(id) = id.map_err(|_| invalid())?;
    let id = id.parse().map_err(|_| invalid())?;
    let ended = shared.state.master_keys.retire(id, caller.actor()).await?;
    answer(&shared, id, Some(ended)).await
}

async fn answer(
    shared: &Shared,
    id: MasterKeyId,
    keys_ended: Option<u64>,
) -> Result<Json<MasterKeyAnswer>, ApiError> {
    let list = shared.state.master_keys.list().await?;
    let master = list.into_iter().find(|master| master.record.id == id);
    let master = master.ok_or_else(|| ApiError::plain(ErrorCode::InternalError))?;
    Ok(Json(MasterKeyAnswer { master_key: master.into(), keys_ended }))
}

impl From<MasterKeysError> for ApiError {
    fn from(error: MasterKeysError) -> Self {
        match error {
            MasterKeysError::Unknown(_) => {
                Self::new(ErrorCode::NotFound, "there is no master key with this id")
            }
            MasterKeysError::Refused(reason) => Self::new(ErrorCode::Conflict, reason),
            MasterKeysError::Store(error) => error.into(),
        }
    }
}
