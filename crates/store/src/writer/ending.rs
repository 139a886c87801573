//! Keys whose time runs out while requests of them are in flight.
//!
//! The ledger refuses an expired key by itself. What is left to do is to note the end durably, so that no clock brings the
//! key back, and to tell whoever streams under it. For that the writer wakes up at the next end of a key with open holds.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;
use till_core::audit::Actor;
use till_core::denial::Denial;
use till_core::key::KeyId;
use till_core::ledger::{self, AccountId};
use till_core::time::Timestamp;
use tokio::sync::watch;

use super::Writer;

/// Longest sleep while a moment is awaited. The clock may jump, and the one that wakes the writer may stand still
/// while the machine sleeps.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Who has to be told what once the batch is durable.
pub(super) type Ending = (watch::Sender<Option<Denial>>, Denial);

/// When keys with open holds end.
#[derive(Debug, Default)]
pub(super) struct Ends {
    awaited: BTreeSet<(Timestamp, KeyId)>,
    /// Seen in the current batch: forgotten when that is durable.
    seen: Vec<(Timestamp, KeyId)>,
}

impl Ends {
    pub(super) fn await_end(&mut self, at: Timestamp, key: KeyId) {
        self.awaited.insert((at, key));
    }

    /// Whether no end of a key is awaited.
    pub(super) fn is_empty(&self) -> bool {
        self.awaited.is_empty()
    }

    /// When to look again.
    pub(super) fn due(&self, now: Timestamp) -> Option<Instant> {
        self.awaited.first().map(|(at, _)| look_again(*at, now))
    }

    pub(super) fn forget(&mut self, at: Timestamp, key: KeyId) {
        self.awaited.remove(&(at, key));
    }

    /// What was seen is durable.
    pub(super) fn succeed(&mut self) {
        for end in self.seen.drain(..) {
            self.awaited.remove(&end);
        }
    }

    /// What was seen is not durable: it is seen again.
    pub(super) fn fail(&mut self) {
        self.seen.clear();
    }

    fn over(&self, now: Timestamp) -> Vec<(Timestamp, KeyId)> {
        self.awaited.iter().take_while(|(at, _)| *at <= now).copied().collect()
    }
}

/// When to look whether it is so late.
pub(super) fn look_again(at: Timestamp, now: Timestamp) -> Instant {
    Instant::now() + Duration::from_millis(at.0.saturating_sub(now.0)).min(LOOK_EVERY)
}

impl Writer {
    /// Ends the keys whose time has come, before anything else in the batch is looked at.
    pub(super) fn end_what_is_over(&mut self) {
        for (at, key) in self.ends.over(self.now) {
            // One that can't be read is looked at again in a second.
            if self.ensure_loaded(key).is_ok() {
                self.ends.seen.push((at, key));
                self.note_expiry(key);
            }
        }
    }

    /// Notes that a key is over, if it is, and tells its holders.
    pub(super) fn note_expiry(&mut self, key: KeyId) {
        self.recall(key);
        let id = AccountId::Key(key);
        if !self.ledger.expire(id, self.now) {
            // A write that failed may be on disk all the same: then the end is noted, and nobody was told.
            let is_noted = self.ledger.account(id).is_some_and(|account| account.expired_at.is_some());
            if is_noted && self.live.get(&key).is_some_and(|live| live.ended.borrow().is_none()) {
                self.tell(key, ledger::expired_denial(key));
            }
            return;
        }
        self.dirty.insert(id);
        self.batch.lifetimes.push(id);
        self.key_changed(key);
        self.tell(key, ledger::expired_denial(key));
        let project = self.live.get(&key).map(|live| live.place.project.clone());
        let detail = json!({"project": project}).to_string();
        self.audit(&Actor::system(), "key.expire", &key.to_string(), detail);
    }

    /// Tells the holders of a key why it ended, once that is durable.
    pub(super) fn tell(&mut self, key: KeyId, why: Denial) {
        if let Some(live) = self.live.get(&key) {
            self.ending.push((live.ended.clone(), why));
        }
    }

    /// If a key works again, holds that are granted from now on are not ended by what ended those before, or is about to
    /// in this batch.
    pub(super) fn begin_anew(&mut self, key: KeyId) {
        let id = AccountId::Key(key);
        let account = self.ledger.account(id).expect("whoever looks at a key has loaded it");
        let is_over = account.is_expired(self.ledger.is_pinned(id), self.now);
        if account.revoked_at.is_some() || account.paused_at.is_some() || is_over {
            return;
        }
        let live = self.live.get_mut(&key).expect("a loaded key is live");
        let is_ending = self.ending.iter().any(|(ended, _)| ended.same_channel(&live.ended));
        if is_ending || live.ended.borrow().is_some() {
            let old = std::mem::replace(&mut live.ended, watch::Sender::new(None));
            self.replaced.push((key, old));
        }
    }

    /// The batch failed: those who hold are told by the sender that they know.
    pub(super) fn undo_new_beginnings(&mut self) {
        while let Some((key, old)) = self.replaced.pop() {
            if let Some(live) = self.live.get_mut(&key) {
                live.ended = old;
            }
        }
    }

    /// While the store does not work nothing can be noted, but whose time is over is cut all the same.
    pub(super) fn cut_what_is_over(&mut self) {
        for (at, key) in self.ends.over(self.now) {
            let Some(live) = self.live.get(&key) else { continue };
            let is_end = live.expires_at == Some(at) || self.unsure.contains(&key);
            if is_end && live.ended.borrow().is_none() {
                live.ended.send_replace(Some(ledger::expired_denial(key)));
            }
        }
    }
}
