//! `/admin/audit/export`: the whole log as a file that can be verified without till.
//!
//! Invariants: the file ends with a checkpoint of its last entry, made for it; it is read in pages, so memory is
//! bounded; if a page is not what follows, because it was deleted by age meanwhile, the answer breaks off and is not
//! taken for a whole one.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderName, Uri, header};
use axum::response::IntoResponse;
use futures_util::stream;
use till_core::audit::{ChainHead, Checkpoint, FileFormat, LogRecord};
use till_store::{AuditState, Store};

use crate::authenticate::Caller;
use crate::error::{ApiError, ErrorBody, ErrorCode};
use crate::query::{self, Parameters};
use crate::router::Shared;

/// Entries that are read at once.
const PAGE: u32 = 500;

/// How many entries follow, for whoever wants to show how far it is.
const ENTRIES_HEADER: &str = "x-till-audit-entries";

/// Export the audit log
///
/// All of it with the checkpoints and the public keys, as lines of JSON or as comma-separated values after RFC 4180, in
/// the form that docs/audit.md describes and `till audit verify` reads. A checkpoint is made for it, so that the file ends
/// with a signature over everything in it. The header `x-till-audit-entries` says how many entries there are.
#[utoipa::path(get, path = "/admin/audit/export",
    params(("format" = Option<String>, Query, description = "`jsonl` when absent, or `csv`", pattern = "^(jsonl|csv)$")),
    responses(
        (status = 200, description = "The log", content((String = "application/jsonl"), (String = "text/csv"))),
        (status = 400, description = "A query parameter breaks a rule", body = ErrorBody),
    ))]
pub(crate) async fn audit_export(
    State(shared): State<Arc<Shared>>,
    _caller: Caller,
    uri: Uri,
) -> Result<impl IntoResponse, ApiError> {
    let mut parameters = Parameters::parse(&uri)?;
    let format = match parameters.take("format")? {
        None => FileFormat::Jsonl,
        Some(word) => {
            FileFormat::parse(&word).ok_or_else(|| query::invalid("format", "must be `jsonl` or `csv`"))?
        }
    };
    parameters.finish(&["format"])?;
    let store = shared.state.store.clone();
    store.audit_seal().await?;
    let state = store.audit_state().await?;
    let Some(last) = state.last else {
        tracing::error!("there are no keys to sign the audit log with");
        return Err(ApiError::plain(ErrorCode::InternalError));
    };
    let (media_type, file) = match format {
        FileFormat::Jsonl => ("application/jsonl", "attachment; filename=\"till-audit.jsonl\""),
        FileFormat::Csv => ("text/csv; charset=utf-8", "attachment; filename=\"till-audit.csv\""),
    };
    let headers = [
        (header::CONTENT_TYPE, media_type.to_owned()),
        (header::CONTENT_DISPOSITION, file.to_owned()),
        (
            HeaderName::from_static(ENTRIES_HEADER),
            (last.seq - state.anchor.map_or(0, |anchor| anchor.seq)).to_string(),
        ),
    ];
    let export = Export::new(store, format, &state, last);
    let body = stream::try_unfold(export, |mut export| async {
        let piece = export.piece().await.inspect_err(|error| {
            tracing::warn!(error = %error, "an export of the audit log broke off");
        })?;
        Ok::<_, io::Error>(piece.map(|piece| (piece, export)))
    });
    Ok((headers, Body::from_stream(body)))
}

/// An export under way.
struct Export {
    store: Store,
    format: FileFormat,
    /// What comes before the next page.
    begin: Option<String>,
    /// The last entry that was written.
    head: ChainHead,
    last: Checkpoint,
    /// Checkpoints of entries to come.
    checkpoints: VecDeque<Checkpoint>,
}

impl Export {
    fn new(store: Store, format: FileFormat, state: &AuditState, last: Checkpoint) -> Self {
        let mut begin = format.heading().to_owned();
        let log = LogRecord::Log { instance_id: last.instance_id };
        let keys = state.keys.iter().map(|key| LogRecord::Key(*key));
        let anchor = state.anchor.map(LogRecord::Checkpoint);
        for record in [log].into_iter().chain(keys).chain(anchor) {
            begin.push_str(&format.write(&record));
        }
        let head = state.anchor.map_or(ChainHead::EMPTY, |anchor| anchor.head());
        Self { store, format, begin: Some(begin), head, last, checkpoints: VecDeque::new() }
    }

    /// The next bytes; `None` at the end.
    async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(begin) = self.begin.take() {
            return Ok(Some(begin.into()));
        }
        if self.head.seq == self.last.seq {
            return Ok(None);
        }
        let entries = self.store.audit_list(self.head.seq, PAGE).await.map_err(io::Error::other)?;
        if self.checkpoints.is_empty() {
            let page = self.store.audit_checkpoints(self.head.seq, PAGE).await;
            self.checkpoints = page.map_err(io::Error::other)?.into();
        }
        let mut text = String::new();
        for entry in entries {
            if entry.prev_hash != self.head.hash {
                break;
            }
            self.head = ChainHead { seq: entry.seq, hash: entry.hash };
            text.push_str(&self.format.write(&LogRecord::Entry(entry)));
            while let Some(checkpoint) =
                self.checkpoints.front().copied().filter(|one| one.seq <= self.head.seq)
            {
                self.checkpoints.pop_front();
                text.push_str(&self.format.write(&LogRecord::Checkpoint(checkpoint)));
            }
            if self.head.seq == self.last.seq || self.checkpoints.is_empty() {
                break;
            }
        }
        if text.is_empty() {
            return Err(io::Error::other(
                "the next entry is not there; it may have been deleted by age just now",
            ));
        }
        Ok(Some(text.into()))
    }
}
