//! Deletes usage records that are older than they have to be kept, and claims and sessions whose time is over, in small
//! pieces.

use std::time::{Duration, Instant};

use till_core::time::Timestamp;

use super::Writer;

/// How often to look.
const EVERY: Duration = Duration::from_secs(60);

/// How many records go at once: a transaction of a few milliseconds.
const PIECE: u32 = 2_000;

/// How long records are kept, and when to look for what is old.
#[derive(Debug)]
pub(super) struct Retention {
    /// `None` keeps them for ever.
    kept: Option<Duration>,
    next: Instant,
}

impl Retention {
    pub(super) fn new(kept: Option<Duration>, now: Instant) -> Self {
        // At once, so that a server that never runs for long does not keep everything.
        Self { kept, next: now }
    }

    /// Also where records are kept for ever: claims are not.
    pub(super) fn due(&self) -> Instant {
        self.next
    }
}

impl Writer {
    /// Deletes one piece, if it is time to.
    pub(super) fn delete_what_is_old(&mut self) {
        if self.retention.next > self.shared.clock.instant() {
            return;
        }
        let deleted = self
            .delete_old_records()
            .max(self.delete_old_claims())
            .max(self.delete_old_sessions())
            .max(self.delete_what_is_logged(PIECE));
        // A full piece means that there may be more.
        let wait = if deleted < u64::from(PIECE) { EVERY } else { Duration::from_millis(50) };
        self.retention.next = self.shared.clock.instant() + wait;
    }

    fn delete_old_claims(&mut self) -> u64 {
        self.backend.claims_delete(self.now, PIECE).unwrap_or_else(|error| {
            tracing::warn!(%error, "claims whose time is over could not be deleted");
            self.stale = true;
            0
        })
    }

    fn delete_old_sessions(&mut self) -> u64 {
        self.backend.sessions_delete(self.now, PIECE).unwrap_or_else(|error| {
            tracing::warn!(%error, "sessions that are over could not be deleted");
            self.stale = true;
            0
        })
    }

    fn delete_old_records(&mut self) -> u64 {
        let Some(kept) = self.retention.kept else {
            return 0;
        };
        let kept = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
        let before = Timestamp(self.now.0.saturating_sub(kept));
        self.backend.usage_delete(before, PIECE).unwrap_or_else(|error| {
            tracing::warn!(%error, "old usage records could not be deleted");
            self.stale = true;
            0
        })
    }
}
