//! The answer to a demand: how much of it is granted, or whether waiting helps.
//!
//! - Units that are only *held* are no reason for a final no: they come back in part when their requests settle.
//! - Where others are in flight or waiting, a demand that can do with less gets a share of what is free, so that one
//!   big ask does not starve the rest; but never so little that the answer would be of no use.
//! - What counts is the account and the dimension that are scarce: what is held elsewhere does not help by coming back.

use super::account::{Account, AccountId};
use super::{AccountChain, Grant, HoldId, HoldKind, Ledger, Loaded, OpenHold, refusal};
use crate::demand::Demand;
use crate::denial::Denial;
use crate::limit::{Dimension, Limits, Units};
use crate::time::Timestamp;

/// A demand that can do with less gets at most this part of what is free while others are in flight.
pub const SHARE_DIVISOR: u64 = 4;

/// The same of what is free in an ancestor, which many keys share.
pub const ANCESTOR_SHARE_DIVISOR: u64 = 2;

/// An output cap below this is not worth having while units may come back: the request waits instead.
pub const USEFUL_STEPS: u64 = 1024;

/// What the ledger says to a demand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Set aside.
    Granted(Grant),
    /// Not now, but when units that are held come back: in this account first, the scarcest of the chain.
    Busy(AccountId),
    /// No.
    Denied(Denial),
}

/// What there is for a demand, the least over all accounts of its chain.
#[derive(Clone, Copy, Debug, Default)]
struct Room {
    /// Free now.
    free: Limits,
    /// The share of it for a demand that can do with less.
    share: Limits,
    /// Free once everything that is held has come back.
    later: Limits,
}

impl Ledger {
    /// Sets aside what is asked for in every account of the chain, or in none. `contended` says that others wait
    /// for units of these accounts.
    pub fn ask(
        &mut self,
        accounts: AccountChain,
        demand: &Demand,
        contended: bool,
        now: Timestamp,
    ) -> Verdict {
        self.ask_if(accounts, demand, contended, now, |_, _| Ok(()))
    }

    /// As [`Ledger::ask`], with a last word: `allow` is told what would be set aside and how many holds of the key are
    /// open, after everything else was found in order.
    pub fn ask_if(
        &mut self,
        accounts: AccountChain,
        demand: &Demand,
        contended: bool,
        now: Timestamp,
        allow: impl FnOnce(Units, usize) -> Result<(), Denial>,
    ) -> Verdict {
        let steps = match self.steps(&accounts, demand, contended, now) {
            Ok(Some(steps)) => steps,
            Ok(None) => return Verdict::Busy(self.scarcest(&accounts, demand)),
            Err(denial) => return Verdict::Denied(denial),
        };
        let Some(units) = demand.units(steps).filter(|units| self.fits(&accounts, *units)) else {
            return Verdict::Denied(refusal::uncountable(accounts.key()));
        };
        if let Err(denial) = allow(units, self.accounts[&accounts.key()].open_holds) {
            return Verdict::Denied(denial);
        }
        let Some(id) = self.next_id() else {
            return Verdict::Denied(refusal::out_of_numbers());
        };
        let mut remaining = Limits::default();
        for account in accounts.iter() {
            let loaded = self.accounts.get_mut(&account).expect("every account of the chain was seen");
            loaded.account.hold(units, now);
            loaded.open_holds += 1;
            loaded.account.assert_balanced();
            remaining = loaded.account.remaining_with(remaining);
        }
        self.holds.insert(id, OpenHold { accounts, kind: HoldKind::Call, units, at: now });
        Verdict::Granted(Grant { id, units, steps, remaining })
    }

    /// The cap to grant; `None` when the demand has to wait.
    fn steps(
        &self,
        accounts: &AccountChain,
        demand: &Demand,
        contended: bool,
        now: Timestamp,
    ) -> Result<Option<u64>, Denial> {
        if self.stopped {
            return Err(refusal::stopped());
        }
        if self.fenced {
            return Err(refusal::fenced());
        }
        let key = accounts.key();
        let Some(chain) = self.chain(accounts) else {
            return Err(refusal::unknown(key));
        };
        let first = |is: &dyn Fn(&Loaded) -> bool| chain.clone().find(|(_, loaded)| is(loaded));
        if let Some((id, _)) = first(&|loaded| loaded.account.revoked_at.is_some()) {
            return Err(refusal::revoked(key, id));
        }
        if let Some((id, _)) = first(&|loaded| loaded.account.is_expired(loaded.open_holds > 0, now)) {
            return Err(refusal::expired(key, id));
        }
        // An exhausted key says so, below, also while it is paused or pending: raising the limit comes first.
        if first(&|loaded| loaded.account.is_any_exhausted()).is_none() {
            if let Some((id, _)) = first(&|loaded| loaded.account.paused_at.is_some()) {
                return Err(refusal::paused(key, id));
            }
            if let Some((id, loaded)) = first(&|loaded| loaded.account.is_pending(now)) {
                return Err(refusal::pending(key, id, loaded.account.lifetime.not_before));
            }
        }
        let mut room = Room::default();
        for (id, loaded) in chain {
            look_at(key, id, &loaded.account, demand, contended, &mut room)?;
        }
        let Some(free) = demand.steps_within(room.free) else {
            return Ok(None);
        };
        if !demand.is_flexible() {
            return Ok(Some(free));
        }
        let useful = demand.steps_wanted.min(USEFUL_STEPS.max(demand.steps_min));
        if free < useful {
            // If nothing comes back of what is scarce, this is all there is.
            let later = demand.steps_within(room.later);
            return Ok((later <= Some(free)).then_some(free));
        }
        Ok(Some(demand.steps_within(room.share).unwrap_or(0).max(useful)))
    }

    /// The account with the least room for a demand, the first of several. Whoever has to wait finds something held there.
    fn scarcest(&self, accounts: &AccountChain, demand: &Demand) -> AccountId {
        let room = |id: &AccountId| demand.steps_within(self.accounts.get(id)?.account.remaining());
        accounts.iter().min_by_key(room).unwrap_or(accounts.key())
    }

    /// Whether a demand did not get all that it wants because of what is counted out in its ancestors.
    pub fn is_short_above(&self, accounts: &AccountChain, demand: &Demand) -> bool {
        let wanted = demand.units(demand.steps_wanted);
        let divisor = if demand.is_flexible() { ANCESTOR_SHARE_DIVISOR } else { 1 };
        let is_short = |account: &Account, dimension: Dimension| {
            let balance = account.balance(dimension);
            let wanted = wanted.map_or(u64::MAX, |units| units.of(dimension));
            let is_scarce = |free: u128| free / u128::from(divisor) < wanted.into();
            balance.parts().escrowed > 0 && balance.free().is_some_and(is_scarce)
        };
        let mut ancestors = accounts.ancestors().iter().filter_map(|id| self.account(*id));
        ancestors.any(|account| Dimension::ALL.into_iter().any(|dimension| is_short(account, dimension)))
    }

    /// A name for a new hold; `None` when they are used up.
    pub(super) fn next_id(&mut self) -> Option<HoldId> {
        self.last_number = self.last_number.checked_add(1)?;
        Some(HoldId { incarnation: self.incarnation, number: self.last_number })
    }

    /// The accounts of a chain, the key first; `None` when one of them is not loaded.
    pub(super) fn chain<'a>(
        &'a self,
        accounts: &'a AccountChain,
    ) -> Option<impl Iterator<Item = (AccountId, &'a Loaded)> + Clone> {
        let key = (accounts.key, self.accounts.get(&accounts.key)?);
        if accounts.ancestors.iter().any(|id| !self.accounts.contains_key(id)) {
            return None;
        }
        Some(std::iter::once(key).chain(accounts.ancestors.iter().map(|id| (*id, &self.accounts[id]))))
    }

    /// Whether these units are free in every account, and countable.
    pub(super) fn fits(&self, accounts: &AccountChain, units: Units) -> bool {
        let fits = |account: &Account| {
            Dimension::ALL.into_iter().all(|dimension| account.balance(dimension).fits(units.of(dimension)))
        };
        self.chain(accounts).is_some_and(|mut chain| chain.all(|(_, loaded)| fits(&loaded.account)))
    }
}

/// Narrows the room by one account, or says no if the demand would not fit although everything that is held
/// came back.
fn look_at(
    key: AccountId,
    id: AccountId,
    account: &Account,
    demand: &Demand,
    contended: bool,
    room: &mut Room,
) -> Result<(), Denial> {
    let least = demand.units(demand.steps_min);
    for dimension in Dimension::ALL {
        let balance = account.balance(dimension);
        let asked = least.map_or(u64::MAX, |units| units.of(dimension));
        let Some(free) = balance.free() else { continue };
        // An activation that is held is as good as spent: it comes back only if nothing was sent.
        let held = if dimension == Dimension::Activations { 0 } else { balance.pending() };
        if account.is_exhausted(dimension) || free.saturating_add(held) < asked.into() {
            return Err(refusal::exhausted(key, id, dimension, balance, asked));
        }
        let divisor = match dimension {
            Dimension::Activations => 1,
            _ if id == key && (held > 0 || contended) => SHARE_DIVISOR,
            _ if id != key && held > 0 => ANCESTOR_SHARE_DIVISOR,
            _ => 1,
        };
        room.later.lower(dimension, u64::try_from(free.saturating_add(held)).unwrap_or(u64::MAX));
        let free = u64::try_from(free).unwrap_or(u64::MAX);
        room.free.lower(dimension, free);
        room.share.lower(dimension, free / divisor);
    }
    Ok(())
}
