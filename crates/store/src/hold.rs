//! A granted hold, and how its owner learns that the key ended.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use till_core::denial::Denial;
use till_core::ledger::Grant;
use till_core::limit::{Limits, Units};
use till_core::time::Timestamp;
use tokio::sync::watch;

use crate::command::{Closing, Command, Shared};
use crate::error::StoreError;
use crate::escrow::Escrow;
use crate::figures::Figures;
use crate::usage_record::{Outcome, UsageRecord};

/// Why there is no hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldRefusal {
    /// A normal no.
    Denied(Denial),
    /// It could not be made durable; nothing may be sent.
    Unavailable(StoreError),
    /// The terms of the key have changed since they were read: read them again, and ask again.
    TermsChanged,
}

/// Proof that units are set aside, durably, for one request. Only the store makes one.
///
/// Dropping it settles it as spent in full: whoever can't say what happened must assume that everything
/// was used. Settling and voiding return at once; the store repeats them until they are durable, and
/// after a crash the units count as spent.
#[must_use = "dropping a hold spends it"]
pub struct Hold {
    shared: Arc<Shared>,
    grant: Grant,
    /// What it was granted out of, if it is not a hold of its own on disk.
    escrow: Option<Arc<Escrow>>,
    ended: watch::Receiver<Option<Denial>>,
    /// When the time of the key is over.
    expires_at: Option<Timestamp>,
    /// When it was granted: the window of a ceiling that it counts in.
    granted_at: Timestamp,
    record: Option<Arc<UsageRecord>>,
    /// When the call ended, if somebody looked at the clock.
    over_at: Option<Instant>,
    open: bool,
}

impl Hold {
    pub(crate) fn new(
        shared: Arc<Shared>,
        grant: Grant,
        escrow: Option<Arc<Escrow>>,
        ended: watch::Receiver<Option<Denial>>,
        expires_at: Option<Timestamp>,
        granted_at: Timestamp,
    ) -> Self {
        Self { shared, grant, escrow, ended, expires_at, granted_at, record: None, over_at: None, open: true }
    }

    /// What is set aside.
    pub fn units(&self) -> Units {
        self.grant.units
    }

    /// The output cap that was granted.
    pub fn steps(&self) -> u64 {
        self.grant.steps
    }

    /// What is left of each limit right after this hold; `None` is unlimited.
    pub fn remaining(&self) -> Limits {
        self.grant.remaining
    }

    /// Whether the time of the key ran out since it was granted: the process may have been asleep.
    pub(crate) fn is_over(&self) -> bool {
        self.expires_at.is_some_and(|end| end <= self.shared.clock.now())
    }

    /// Whether it was granted from memory.
    #[cfg(test)]
    pub(crate) fn is_drawn(&self) -> bool {
        self.escrow.is_some()
    }

    /// What to write into the usage records when the hold ends, however it ends. Its time becomes that of the grant, so that
    /// sums over a day have what the ledger counts in that day.
    pub fn record(&mut self, record: UsageRecord) {
        self.record_made(|_| record);
    }

    /// The same for a record that is yet to be made. `make` gets memory for the id, with nothing in it.
    pub fn record_made(&mut self, make: impl FnOnce(String) -> UsageRecord) {
        let at = self.granted_at;
        let record = self.shared.spare_records.place(|id| UsageRecord { at, ..make(id) });
        self.record = Some(record);
    }

    /// The record, to be filled in.
    pub fn record_mut(&mut self) -> Option<&mut UsageRecord> {
        self.record.as_mut().and_then(Arc::get_mut)
    }

    /// The call ended then: how long its end takes to be on disk is told by the metrics.
    pub fn over_at(&mut self, ended: Instant) {
        self.over_at = Some(ended);
    }

    /// Tells when the key ends while the hold is open, and after.
    pub fn key_ended(&self) -> KeyEnded {
        KeyEnded { ended: self.ended.clone() }
    }

    /// Why the key has ended, if it has. Cheap while it has not: no lock.
    pub fn ended(&self) -> Option<Denial> {
        match self.ended.has_changed() {
            Ok(false) => None,
            // Also when nobody can tell any more: what was told last counts.
            Ok(true) | Err(_) => self.ended.borrow().clone(),
        }
    }

    /// Replaces the hold by what was really used, which may be more.
    pub fn settle(mut self, used: Units) {
        self.close(used, None);
    }

    /// The same for a call of a key whose limits don't depend on what is left to be read: that is done when the end of the
    /// call is written, which it then is all the same. `used` is what is known by now, and stays where reading fails. What
    /// `figures` gives takes its place; in a dimension that has a limit it must be the same.
    pub fn settle_later(
        mut self,
        used: Units,
        figures: impl FnOnce(&mut UsageRecord) -> Units + Send + 'static,
    ) {
        self.close(used, Some(Figures::new(figures)));
    }

    /// Gives everything back. Only when it is provable that nothing was sent.
    pub fn void(mut self) {
        if let Some(record) = self.record_mut() {
            record.outcome = Outcome::Unsent;
            record.price_version = None;
        }
        self.close(Units::default(), None);
    }

    fn close(&mut self, used: Units, figures: Option<Figures>) {
        if std::mem::replace(&mut self.open, false) {
            if let Some(record) = self.record_mut() {
                record.charged = used;
            }
            let record = self.record.take();
            match &self.escrow {
                Some(escrow) => {
                    escrow.settle(&self.shared, self.grant.units, used, record, figures, self.over_at);
                }
                None => {
                    let closing =
                        Closing { id: self.grant.id, part: None, used, record, figures, ended: self.over_at };
                    self.shared.queue.push_lazy(Command::Close(closing));
                }
            }
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if planted!(RefundOnHangUp) {
            return self.close(Units::default(), None);
        }
        self.close(self.grant.units, None);
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("grant", &self.grant).finish_non_exhaustive()
    }
}

/// A hold on its way to the caller. If the caller is gone it is voided: nobody can have sent anything.
#[derive(Debug)]
pub(crate) struct Pending(Option<Hold>);

impl Pending {
    pub(crate) fn new(hold: Hold) -> Self {
        Self(Some(hold))
    }

    /// The caller has it: from here on dropping it spends it.
    pub(crate) fn arrive(mut self) -> Hold {
        self.0.take().expect("only this method and drop take it out, and both end it")
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(hold) = self.0.take() {
            hold.void();
        }
    }
}

/// Resolves when a key is revoked or paused, or its time is over.
#[derive(Clone, Debug)]
pub struct KeyEnded {
    ended: watch::Receiver<Option<Denial>>,
}

impl KeyEnded {
    /// Waits until the key ends, and says why; never answers for a key that lives on.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped: the next call answers at once if the key has ended.
    pub async fn wait(&mut self) -> Denial {
        if let Ok(ended) = self.ended.wait_for(Option::is_some).await
            && let Some(denial) = ended.as_ref()
        {
            return denial.clone();
        }
        // The store was closed; it says nothing about the key any more.
        std::future::pending().await
    }
}
