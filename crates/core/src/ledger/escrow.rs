//! Units counted out ahead, for requests to come.
//!
//! A key that is called often would need a durable hold for every call. An escrow is one durable hold for many: calls are
//! granted out of it in memory, by whoever owns it, and each is settled in it when it ends. Nothing is granted twice,
//! because what is in an escrow is not free any more, and nothing is lost in a crash, because what is left of an escrow
//! then counts as spent.

use super::{AccountChain, Closed, HoldId, HoldKind, Ledger, OpenHold, Uncountable, replace};
use crate::limit::{Dimension, Units};
use crate::time::Timestamp;

impl Ledger {
    /// Counts units out ahead, in every account of the chain. `None`, and nothing happens, when an account is not loaded
    /// or has not so many free. Whether the key may be used is not asked: that was just done for the request that came
    /// before.
    pub fn escrow(&mut self, accounts: AccountChain, units: Units, now: Timestamp) -> Option<HoldId> {
        if !self.fits(&accounts, units) {
            return None;
        }
        let id = self.next_id()?;
        for account in accounts.iter() {
            let loaded = self.accounts.get_mut(&account).expect("checked above");
            loaded.account.escrow(units);
            loaded.open_holds += 1;
            loaded.account.assert_balanced();
        }
        let kind = HoldKind::Escrow { settled: 0 };
        self.holds.insert(id, OpenHold { accounts, kind, units, at: now });
        Some(id)
    }

    /// Adds to an escrow. `false`, and nothing happens, when it is not open or not so many units are free.
    pub fn escrow_extend(&mut self, id: HoldId, more: Units) -> bool {
        let Some(hold) = self.holds.get(&id) else { return false };
        let Some(units) = hold.units.checked_add(more) else { return false };
        let accounts = hold.accounts.clone();
        if hold.kind == HoldKind::Call || !self.fits(&accounts, more) {
            return false;
        }
        for account in accounts.iter() {
            let loaded = self.accounts.get_mut(&account).expect("an open hold keeps its accounts loaded");
            loaded.account.escrow(more);
            loaded.account.assert_balanced();
        }
        self.holds.get_mut(&id).expect("found above").units = units;
        true
    }

    /// Replaces the `nth` part of an escrow, counted from 1, by what was used. Parts are settled in order.
    ///
    /// `None` when the escrow is not open, or this part was settled before.
    ///
    /// # Errors
    /// As [`Ledger::settle`].
    ///
    /// # Panics
    /// A part is left out, or is larger than what is left of the escrow: its owner has lost count.
    pub fn escrow_settle(
        &mut self,
        id: HoldId,
        nth: u64,
        part: Units,
        used: Units,
    ) -> Result<Option<Closed>, Uncountable> {
        match self.holds.get(&id).map(|hold| hold.kind) {
            Some(HoldKind::Escrow { settled }) if nth > settled => {
                assert!(nth == settled + 1, "parts are settled in order: {nth} after {settled}");
            }
            _ => return Ok(None),
        }
        let closed = self.replace_part(id, part, used)?;
        let hold = self.holds.get_mut(&id).expect("found above");
        hold.kind = HoldKind::Escrow { settled: nth };
        Ok(Some(closed))
    }

    /// Replaces many parts of an escrow, `first` and those after it, at once: for each what was set aside and what was
    /// used. `false`, and nothing happens, unless that comes to the same as one after the other. It does when none used
    /// more than its own part of what is limited, because then only sums count. Otherwise, and when the first is not
    /// the next one, they have to be settled one by one.
    ///
    /// # Panics
    /// Together they are larger than what is left of the escrow: its owner has lost count.
    pub fn escrow_settle_all(
        &mut self,
        id: HoldId,
        first: u64,
        parts: impl IntoIterator<Item = (Units, Units)>,
    ) -> bool {
        let Some(hold) = self.holds.get(&id) else { return false };
        let HoldKind::Escrow { mut settled } = hold.kind else { return false };
        if first.checked_sub(1) != Some(settled) {
            return false;
        }
        let is_limited = Dimension::ALL.map(|dimension| {
            hold.accounts.iter().any(|id| self.accounts[&id].account.limits().of(dimension).is_some())
        });
        let (mut sum, mut sum_used) = (Units::default(), Units::default());
        for (part, used) in parts {
            let mut dimensions = Dimension::ALL.into_iter().zip(is_limited);
            let exceeds =
                dimensions.any(|(dimension, limited)| limited && used.of(dimension) > part.of(dimension));
            let (Some(more), Some(more_used)) = (sum.checked_add(part), sum_used.checked_add(used)) else {
                return false;
            };
            if exceeds {
                return false;
            }
            (sum, sum_used, settled) = (more, more_used, settled + 1);
        }
        if self.replace_part(id, sum, sum_used).is_err() {
            return false;
        }
        self.holds.get_mut(&id).expect("found above").kind = HoldKind::Escrow { settled };
        true
    }

    /// Gives a part of an escrow back that no request was granted out of. `false` when it is not open.
    ///
    /// # Panics
    /// The part is larger than what is left of the escrow.
    pub fn escrow_return(&mut self, id: HoldId, part: Units) -> bool {
        let is_escrow = self.holds.get(&id).is_some_and(|hold| hold.kind != HoldKind::Call);
        is_escrow && self.replace_part(id, part, Units::default()).is_ok()
    }

    /// Replaces a part of an open escrow.
    fn replace_part(&mut self, id: HoldId, part: Units, used: Units) -> Result<Closed, Uncountable> {
        let hold = self.holds.get_mut(&id).expect("the caller has found it");
        let left = hold.units.checked_sub(part).expect("an escrow covers what was granted out of it");
        let overrun = replace(&mut self.accounts, hold, part, used, 0)?;
        hold.units = left;
        Ok(Closed { hold: OpenHold { units: part, ..hold.clone() }, overrun })
    }

    /// A request of the account was granted at this time, out of an escrow.
    pub fn used_at(&mut self, id: super::AccountId, at: Timestamp) {
        if let Some(loaded) = self.accounts.get_mut(&id) {
            loaded.account.last_used_at = loaded.account.last_used_at.max(Some(at));
        }
    }
}
