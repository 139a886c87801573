//! Whether the audit log in the database is the one that was written there.
//!
//! Whoever can only write the database can hash a log of their own, from the first entry on or from any, and the next
//! checkpoint would sign it. The witness, which is no part of the database, knows an entry by its hash: a log that has it
//! and continues it without a fault was not changed up to it, and while nothing ran nothing came behind it. What came
//! between its last write and a crash it does not know.

use serde_json::json;
use till_core::audit::{ACTION_BREAK, Actor, AuditEntry, ChainHead};
use till_core::hex::to_hex;
use till_core::time::Timestamp;

use crate::backend::Backend;
use crate::error::StoreError;
use crate::witness::LogMark;

/// Entries that are read at once.
const PIECE: u32 = 1_000;

/// The log is another one.
#[derive(Debug)]
pub(crate) struct LogBreak {
    /// What the witness knows.
    known: Option<ChainHead>,
    /// What is found in its place.
    pub(crate) reason: String,
}

/// Compares the log with what the witness knows of it. `may_have_grown` is for a database that others than the writer add
/// entries to while nothing runs: one that is restored.
///
/// # Errors
/// The store can't be read.
pub(crate) fn find(
    backend: &mut dyn Backend,
    mark: LogMark,
    may_have_grown: bool,
) -> Result<Option<LogBreak>, StoreError> {
    let known = mark.head;
    let head = backend.audit_head()?;
    let there = backend.entry_hash(known.seq)?;
    let reason = if head.seq < known.seq {
        format!("it ends at entry {}, and entry {} was written before", head.seq, known.seq)
    } else if known.seq > 0 && there.is_none() {
        format!("entry {} is missing", known.seq)
    } else if known.seq > 0 && there != Some(known.hash) {
        format!("entry {} is another one than the one that was written", known.seq)
    } else if mark.is_end && !may_have_grown && head.seq > known.seq {
        format!("what stands behind entry {} was not there at the last stop", known.seq)
    } else {
        // What can't be read is not what was written; a disk that does not work is found by the next write.
        let after = |seq| {
            let read = backend.entries_after(seq, PIECE);
            read.map_err(|error| format!("behind entry {seq} it can't be read: {error}"))
        };
        match follow(known, head, after) {
            Ok(None) => return Ok(None),
            Ok(Some(reason)) | Err(reason) => reason,
        }
    };
    Ok(Some(LogBreak { known: Some(known), reason }))
}

/// What is wrong behind an entry that is right, up to the head. `after` gives the entries behind a number, in pieces.
pub(crate) fn follow<E>(
    mut at: ChainHead,
    head: ChainHead,
    mut after: impl FnMut(u64) -> Result<Vec<AuditEntry>, E>,
) -> Result<Option<String>, E> {
    loop {
        let piece = after(at.seq)?;
        if piece.is_empty() {
            return Ok(
                (at != head).then(|| format!("behind entry {} there are entries out of order", at.seq))
            );
        }
        at = match at.follow(&piece) {
            Ok(at) => at,
            Err(broken) => return Ok(Some(broken.to_string())),
        };
    }
}

impl LogBreak {
    /// The newest checkpoint is signed by somebody else.
    pub(crate) fn of_checkpoint(seq: u64) -> Self {
        let reason = format!("the checkpoint of entry {seq} is not signed by the key of this instance");
        Self { known: None, reason }
    }

    /// The entry that says so.
    pub(crate) fn entry(&self, head: &mut ChainHead, now: Timestamp) -> AuditEntry {
        tracing::error!(reason = self.reason, "the audit log is not the one that was written");
        let detail = json!({
            "known": self.known.map(|known| json!({"seq": known.seq, "hash": to_hex(&known.hash)})),
            "reason": self.reason,
        });
        head.append(now, &Actor::system(), ACTION_BREAK, "", detail.to_string())
    }
}
