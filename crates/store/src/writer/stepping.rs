//! For a simulation, which has no thread for the writer and looks at its state between batches.

use std::time::Instant;

use till_core::ledger::{AccountId, HoldId, Ledger};
use till_core::limit::Units;

use super::Writer;
use crate::backend::Backend;
use crate::error::StoreError;

impl Writer {
    /// Does what is asked for by now.
    pub(crate) fn step(&mut self) {
        let mut commands = Vec::new();
        self.shared.queue.take(&mut commands, Some(Instant::now()), false);
        self.run_batch(&mut commands);
    }

    /// A clean stop, as at the end of [`Writer::run`].
    pub(crate) fn stop(&mut self) -> Result<(), StoreError> {
        self.shared.queue.close();
        self.step();
        self.finish()
    }

    /// What is on disk, as this writer reads it.
    pub(crate) fn backend(&mut self) -> &mut dyn Backend {
        self.backend.as_mut()
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What is counted out in an account for the next calls.
    pub(crate) fn undrawn(&self, account: AccountId) -> Units {
        let is_in = |id: HoldId| {
            self.ledger.open_hold(id).is_some_and(|hold| hold.accounts.iter().any(|one| one == account))
        };
        let escrows = self.shared.escrows.all().into_iter().filter(|(id, _)| is_in(*id));
        escrows.fold(Units::default(), |sum, (_, escrow)| sum.zip(escrow.sight().free, u64::saturating_add))
    }

    /// What is left to do, for a message.
    pub(crate) fn behind(&self) -> String {
        format!("stale {}, {} to retry, {} queued", self.stale, self.retry.len(), self.shared.queue.len())
    }

    /// Whether a write that failed, or that was not tried yet, left something to do.
    pub(crate) fn is_behind(&self) -> bool {
        self.stale || self.escrows_left || !self.retry.is_empty() || self.shared.queue.len() > 0
    }
}
