//! Deletes usage records that are older than they have to be kept, in small pieces.

use std::time::{Duration, Instant};

use till_core::time::Timestamp;

use super::Writer;

/// How often to look.
const EVERY: Duration = Duration::from_secs(60);

/// How many records go at once: a transaction of a few milliseconds.
const PIECE: u32 = 2_000;

/// How long records are kept, and when to look for old ones.
#[derive(Debug)]
pub(super) struct Retention {
    /// `None` keeps them for ever.
    kept: Option<Duration>,
    next: Instant,
}

impl Retention {
    pub(super) fn new(kept: Option<Duration>) -> Self {
        // At once, so that a server that never runs for long does not keep everything.
        Self { kept, next: Instant::now() }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.kept.map(|_| self.next)
    }
}

impl Writer {
    /// Deletes one piece, if it is time to.
    pub(super) fn delete_old_records(&mut self) {
        let Some(kept) = self.retention.kept.filter(|_| self.retention.next <= Instant::now()) else {
            return;
        };
        let kept = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
        let before = Timestamp(self.now.0.saturating_sub(kept));
        let deleted = self.backend.usage_delete(before, PIECE).unwrap_or_else(|error| {
            tracing::warn!(%error, "old usage records could not be deleted");
            self.stale = true;
            0
        });
        // A full piece means that there may be more.
        let wait = if deleted < u64::from(PIECE) { EVERY } else { Duration::from_millis(50) };
        self.retention.next = Instant::now() + wait;
    }
}
