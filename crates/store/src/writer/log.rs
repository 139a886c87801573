//! What the writer does for the audit log besides entries of actions: checkpoints, denials, deletion by age.
//!
//! All of it goes into the batch that is about to be written, so a checkpoint never covers what is not on
//! disk. After a failed write it is read again how far the log has come ([`Log::reload`]).

use std::time::{Duration, Instant};

use serde_json::json;
use till_core::audit::{ACTION_KEY, ACTION_TRIM, Actor, Checkpoint};
use till_core::hex::to_hex;
use till_core::time::Timestamp;
use till_core::token::AuditKeys;

use super::Writer;
use crate::audit_log::LogState;
use crate::backend::DenialCount;
use crate::denial_entries;
use crate::error::StoreError;
use crate::log_break::LogBreak;
use crate::start::record;

/// A checkpoint is made when there are new entries and the last one was made so long ago …
const SEAL_EVERY: Duration = Duration::from_secs(600);

/// … or there are so many of them.
const SEAL_ENTRIES: u64 = 1_000;

/// How long after its end a minute is entered: denials are written within a second.
const MINUTE_GRACE_MILLIS: u64 = 2_000;

/// How often to look for entries that are too old. Each deletion is an entry itself.
const TRIM_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Later than every time in the database, whose numbers have a sign.
const TIME_MAX: Timestamp = Timestamp(i64::MAX as u64);

#[derive(Debug)]
pub(super) struct Log {
    keys: Option<AuditKeys>,
    state: LogState,
    sealed_at: Instant,
    wants_seal: bool,
    /// There is a checkpoint that the witness does not know of.
    pub(super) is_sealed_anew: bool,
    /// What the backend had committed when it was asked to show the denials of the minute.
    wants_denials: Option<u64>,
    /// The process ends: no minute is waited for.
    is_ending: bool,
    /// `None` keeps entries for ever.
    kept: Option<Duration>,
    trim_at: Option<Instant>,
}

impl Log {
    pub(super) fn new(state: LogState, kept: Option<Duration>) -> Self {
        Self {
            keys: None,
            state,
            sealed_at: Instant::now(),
            wants_seal: false,
            is_sealed_anew: false,
            wants_denials: None,
            is_ending: false,
            kept,
            trim_at: kept.map(|_| Instant::now()),
        }
    }

    /// What was to be written may or may not be on disk.
    pub(super) fn reload(&mut self, state: LogState) {
        self.state = state;
        self.wants_denials = None;
        self.trim_at = self.kept.map(|_| Instant::now());
    }

    pub(super) fn want_seal(&mut self) {
        self.wants_seal = true;
    }

    /// What the log says in place of a token with this SHA-256.
    pub(super) fn token_hash(&self, fingerprint: Option<[u8; 32]>) -> Option<String> {
        Some(to_hex(&self.keys.as_ref()?.hash_of(&fingerprint?)))
    }

    /// Denials on their way to disk: none goes under a minute that is entered.
    pub(super) fn note_denials(&mut self, denials: &mut [DenialCount]) {
        for denial in denials {
            denial.minute = denial.minute.max(self.state.denials_entered.saturating_add(1));
            if self.state.denied.is_none_or(|first| denial.minute < first) {
                self.state.denied = Some(denial.minute);
            }
        }
    }

    fn is_seal_due(&self, newest: u64) -> bool {
        let new = newest.saturating_sub(self.state.sealed);
        new > 0
            && self.keys.is_some()
            && (self.wants_seal
                || self.is_ending
                || new >= SEAL_ENTRIES
                || self.sealed_at.elapsed() >= SEAL_EVERY)
    }
}

/// When a minute can be entered, in milliseconds.
fn minute_end(minute: u64) -> u64 {
    minute.saturating_add(1).saturating_mul(60_000).saturating_add(MINUTE_GRACE_MILLIS)
}

impl Writer {
    /// From now on the log is signed with these keys. That the newest checkpoint only looks as if it were is entered first.
    pub(super) fn sign_log_with(&mut self, keys: AuditKeys) -> Result<(), StoreError> {
        let (newest, key) = (self.backend.checkpoint_before(TIME_MAX)?, keys.public_key());
        let is_forged = |newest: &Checkpoint| newest.key_id == key.id() && !newest.is_signed_by(&key);
        if let Some(newest) = newest.filter(is_forged) {
            let entry = LogBreak::of_checkpoint(newest.seq).entry(&mut self.head, self.now);
            self.batch.audit.push(entry);
        }
        self.log.keys = Some(keys);
        Ok(())
    }

    /// When to wake up for the log.
    pub(super) fn log_due(&self) -> Option<Instant> {
        let unsealed = self.head.seq > self.log.state.sealed && self.log.keys.is_some();
        let seal = unsealed.then(|| self.log.sealed_at + SEAL_EVERY);
        let denials = self.log.state.denied.map(|minute| {
            let wait = minute_end(minute).saturating_sub(self.shared.clock.now().0);
            Instant::now() + Duration::from_millis(wait)
        });
        [seal, denials, self.log.trim_at].into_iter().flatten().min()
    }

    /// Adds what is due to the batch. The last thing before it is written.
    pub(super) fn tend_log(&mut self) -> Result<(), StoreError> {
        self.enter_denials()?;
        self.trim_log()?;
        if self.log.is_seal_due(self.head.seq) {
            self.seal_log();
        }
        self.log.wants_seal = false;
        Ok(())
    }

    fn enter_denials(&mut self) -> Result<(), StoreError> {
        let Some(minute) = self.log.state.denied else { return Ok(()) };
        let mut through = u64::MAX;
        if !self.log.is_ending {
            if self.now.0 < minute_end(minute) {
                return Ok(());
            }
            through = self.now.minute().saturating_sub(1);
            // The way from the journal to the tables goes in pieces that no call notices: then there is little to be
            // done at once.
            let wanted = match self.log.wants_denials {
                Some(wanted) => wanted,
                None => {
                    self.backend.want_folded();
                    *self.log.wants_denials.insert(self.backend.committed())
                }
            };
            if self.backend.folded() < wanted {
                return Ok(());
            }
        }
        self.log.wants_denials = None;
        self.log.state.denied = denial_entries::enter(
            self.backend.as_mut(),
            &mut self.batch,
            &mut self.head,
            self.now,
            &mut self.log.state.denials_entered,
            through,
        )?;
        Ok(())
    }

    /// Lets the log start behind the newest checkpoint that is old enough. Its entries go later, in pieces.
    fn trim_log(&mut self) -> Result<(), StoreError> {
        let Some(kept) = self.log.kept.filter(|_| self.log.trim_at.is_some_and(|at| at <= Instant::now()))
        else {
            return Ok(());
        };
        self.log.trim_at = Some(Instant::now() + TRIM_EVERY);
        let kept = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
        let before = Timestamp(self.now.0.saturating_sub(kept));
        let found = self.backend.checkpoint_before(before)?;
        let Some(checkpoint) = found.filter(|checkpoint| checkpoint.seq > self.log.state.anchor) else {
            return Ok(());
        };
        let detail = json!({
            "through": checkpoint.seq,
            "hash": to_hex(&checkpoint.hash),
            "before": before.to_string(),
            "entries": checkpoint.seq - self.log.state.anchor,
        });
        self.audit(&Actor::system(), ACTION_TRIM, "", detail.to_string());
        self.batch.log.anchor = Some(checkpoint.seq);
        self.log.state.anchor = checkpoint.seq;
        Ok(())
    }

    /// Signs where the log stands with the entries of this batch.
    fn seal_log(&mut self) {
        let Some(keys) = self.log.keys.clone() else { return };
        let public_key = keys.public_key();
        let id = public_key.id();
        if !self.log.state.keys.contains(&id) {
            let detail = json!({"algorithm": "ed25519", "publicKey": public_key.to_string()});
            self.audit(&Actor::system(), ACTION_KEY, &id.to_string(), detail.to_string());
            self.batch.log.keys.push(public_key);
            self.log.state.keys.push(id);
        }
        self.batch.log.checkpoint = Some(keys.checkpoint(self.instance.id, self.head, self.now));
        self.log.state.sealed = self.head.seq;
        self.log.sealed_at = Instant::now();
    }

    /// The witness follows every checkpoint, so that what was signed can't be replaced unseen.
    pub(super) fn witness_log(&mut self) {
        if self.stale || self.ledger.is_fenced() || !std::mem::take(&mut self.log.is_sealed_anew) {
            return;
        }
        if let Err(error) = self.witness.write(record(&self.instance)) {
            tracing::error!(%error, "the witness could not be written");
        }
    }

    /// Before a stop: what was denied is entered, and the whole log signed. If that fails, the next start enters and
    /// signs it.
    pub(super) fn end_log(&mut self) {
        self.log.is_ending = true;
        while !self.stale
            && (self.log.state.denied.is_some()
                || self.head.seq > self.log.state.sealed && self.log.keys.is_some())
        {
            self.run_batch(&mut Vec::new());
        }
    }

    /// Deletes rows of the log that nobody reads any more.
    pub(super) fn delete_what_is_logged(&mut self, limit: u32) -> u64 {
        if self.stale {
            return 0;
        }
        self.backend.log_delete(limit).unwrap_or_else(|error| {
            tracing::warn!(%error, "old entries of the audit log could not be deleted");
            self.stale = true;
            0
        })
    }
}
