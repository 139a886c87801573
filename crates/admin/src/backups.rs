//! `POST /admin/backups`: notes that a backup was made.
//!
//! The copy itself is made beside the instance, from its files; what the instance adds is the entry in the audit log.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::authenticate::Caller;
use crate::error::{ApiError, ErrorBody, ErrorCode};
use crate::json_body::{self, Fields};
use crate::key_create::{invalid, text};
use crate::query;
use crate::router::Shared;

/// Longest name of a file, in characters.
const FILE_CHARS_MAX: usize = 4096;

/// A backup that was made.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BackupNote, example = json!({"file": "/backup/till-2026-01-31.db", "sha256": "9f2c6f0f6a1e4c1d8f0b7a5e3d2c1b0a9f2c6f0f6a1e4c1d8f0b7a5e3d2c1b0a", "bytes": 1048576}))]
#[expect(dead_code, reason = "describes the body for the documentation; `parse` reads it")]
pub(crate) struct BackupNoteBody {
    /// Where it is, for people.
    #[schema(example = "/backup/till-2026-01-31.db", min_length = 1, max_length = 4096)]
    file: String,
    /// SHA-256 of the file, in hexadecimal.
    #[schema(
        example = "9f2c6f0f6a1e4c1d8f0b7a5e3d2c1b0a9f2c6f0f6a1e4c1d8f0b7a5e3d2c1b0a",
        pattern = "^[0-9a-f]{64}$"
    )]
    sha256: String,
    /// Length of the file.
    #[schema(example = 1_048_576, minimum = 0, maximum = 9223372036854775807_i64)]
    bytes: u64,
}

/// The note was taken.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BackupNoteAnswer)]
pub(crate) struct BackupNoteAnswer {
    /// Always true.
    #[schema(example = true)]
    noted: bool,
}

/// Note a backup
///
/// `till backup` does this before it calls a backup done, so that the audit log tells who has a copy of the database.
#[utoipa::path(post, path = "/admin/backups", request_body = BackupNoteBody,
    responses(
        (status = 200, description = "It is in the audit log", body = BackupNoteAnswer),
        (status = 400, description = "A field or the body breaks a rule", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not declared as JSON", body = ErrorBody),
    ))]
pub(crate) async fn backup_note(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<BackupNoteAnswer>, ApiError> {
    query::none(&uri)?;
    let (file, sha256, bytes) = parse(&json_body::read(&headers, body).await?)?;
    let detail = json!({"sha256": sha256, "bytes": bytes});
    shared.state.store.audit_append("backup.make", &file, detail, caller.actor()).await?;
    Ok(Json(BackupNoteAnswer { noted: true }))
}

fn parse(body: &[u8]) -> Result<(String, String, u64), ApiError> {
    let mut fields = Fields::parse(body)?;
    let (file, sha256, bytes) = (fields.take("file")?, fields.take("sha256")?, fields.take("bytes")?);
    fields.finish(&["file", "sha256", "bytes"])?;
    let missing = |name: &str| ApiError::new(ErrorCode::MissingField, format!("`{name}` is required"));
    let file = text("file", file.ok_or_else(|| missing("file"))?)?;
    if file.is_empty() || file.chars().count() > FILE_CHARS_MAX || file.chars().any(char::is_control) {
        let rule = format!("has from 1 to {FILE_CHARS_MAX} characters, no control characters");
        return Err(invalid("file", &rule));
    }
    let sha256 = text("sha256", sha256.ok_or_else(|| missing("sha256"))?)?;
    if sha256.len() != 64 || !sha256.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(invalid("sha256", "must be 64 hexadecimal digits"));
    }
    let bytes = bytes.as_ref().ok_or_else(|| missing("bytes"))?;
    let bytes = bytes.as_u64().filter(|bytes| i64::try_from(*bytes).is_ok());
    let bytes =
        bytes.ok_or_else(|| invalid("bytes", &format!("must be a whole number from 0 to {}", i64::MAX)))?;
    Ok((file, sha256, bytes))
}
