//! Denials under the chain of the audit log: one entry per key, code and minute, when the minute is over.
//!
//! Calls only count ([`crate::denial_counts`]); the writer makes entries of the counts later, from disk. A
//! minute is entered once, in the transaction that says so. A denial that is counted after that, because a
//! stop came in between or a write failed, is counted under the minute behind it.
//!
//! The entries of a minute are bounded: whoever has many keys can't fill the disk. What is above the bound is
//! one entry with the number of keys and denials.

use serde_json::json;
use till_core::audit::{ACTION_DENIED, Actor, ChainHead};
use till_core::ledger::Ledger;
use till_core::time::Timestamp;

use crate::audit_log::DeniedMinute;
use crate::backend::{Backend, Batch};
use crate::error::StoreError;

/// Entries per minute, beyond the one for the rest.
pub(crate) const ENTRIES_PER_MINUTE_MAX: u32 = 100;

/// About so many entries go into one transaction.
const PIECE: usize = 1_000;

/// What stands in place of a key in the entry for the rest.
pub(crate) const OTHER_KEYS: &str = "other keys";

/// Adds the entries of the minutes after `entered` and up to `through` to the batch, a piece of them at most,
/// and moves `entered` on. Says the next minute that has denials, if there is one.
pub(crate) fn enter(
    backend: &mut dyn Backend,
    batch: &mut Batch,
    head: &mut ChainHead,
    now: Timestamp,
    entered: &mut u64,
    through: u64,
) -> Result<Option<u64>, StoreError> {
    let room = batch.audit.len() + PIECE;
    loop {
        let Some(minute) = backend.denied_minute(*entered)? else { return Ok(None) };
        if minute > through || batch.audit.len() >= room {
            return Ok(Some(minute));
        }
        let denied = backend.denied_in(minute, ENTRIES_PER_MINUTE_MAX)?;
        let mut projects = Vec::with_capacity(denied.most.len());
        for row in &denied.most {
            let place = match row.key {
                Some(key) => backend.key_place(key)?,
                None => None,
            };
            projects.push(place.map(|place| place.project));
        }
        write(denied, &projects, minute, |target, detail| {
            let entry = head.append(now, &Actor::system(), ACTION_DENIED, target, detail.to_string());
            batch.audit.push(entry);
        });
        *entered = minute;
        batch.log.denials_entered = Some(minute);
    }
}

fn write(
    denied: DeniedMinute,
    projects: &[Option<String>],
    minute: u64,
    mut entry: impl FnMut(&str, serde_json::Value),
) {
    let minute = Timestamp(minute.saturating_mul(60_000)).to_string();
    for (row, project) in denied.most.iter().zip(projects) {
        let key = row.key.map(|key| key.to_string()).unwrap_or_default();
        let code = row.code.as_str();
        entry(&key, json!({"code": code, "count": row.count, "minute": minute, "project": project}));
    }
    if !denied.others.is_empty() {
        let codes: serde_json::Map<String, serde_json::Value> =
            denied.others.iter().map(|(code, count)| (code.as_str().to_owned(), json!(count))).collect();
        let count = denied.others.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
        let detail = json!({
            "codes": codes,
            "count": count,
            "keys": denied.other_keys,
            "ofUnknownKeys": denied.unknown,
            "minute": minute,
        });
        entry(OTHER_KEYS, detail);
    }
}

/// At a start: what an earlier process left on disk, the minute that it did not see the end of included.
pub(crate) fn enter_all(
    backend: &mut dyn Backend,
    head: &mut ChainHead,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut entered = backend.log_state()?.denials_entered;
    loop {
        let mut batch = Batch::default();
        enter(backend, &mut batch, head, now, &mut entered, u64::MAX)?;
        if batch.is_empty() {
            return Ok(());
        }
        backend.commit(&batch, &Ledger::new(0, true))?;
    }
}
