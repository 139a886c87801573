//! Which keys have units counted out ahead, and how many. See [`crate::escrow`].
//!
//! The step is small against what is left and follows the rate: about what 50 ms need, and never more than a hundredth of
//! what is left, of a ceiling for all keys below it together. A key that is called now and then, or has little left, has
//! none: each of its calls is a hold of its own. So have those of a key for whose units somebody waits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use till_core::id_map::IdMap;
use till_core::key::{KeyId, KeyStatus};
use till_core::ledger::{AccountChain, AccountId, HoldId, HoldKind, OpenHold};
use till_core::limit::{Dimension, Units};
use till_core::rate::Rates;
use till_core::time::Timestamp;

use super::ceilings::window_ends;
use super::{Live, Writer, key_of};
use crate::escrow::{About, DrawTerms, Escrow, ExactUse, Sight};
use crate::key::Durability;

/// A key that was granted so many holds within [`PACE_WINDOW`] is called often.
const BUSY_HOLDS: u32 = 4;
const PACE_WINDOW: Duration = Duration::from_millis(20);

/// At most this part of what is left is counted out ahead: what a crash can burn besides the calls in flight.
const PART_DIVISOR: u128 = 100;

/// Of that part of a ceiling, one key gets at most this part of what the others have left of it: so there is something for
/// one that comes later, and all that are busy come to about the same.
const KEYS_DIVISOR: u128 = 2;

/// Counting out for fewer calls is not worth it.
const CALLS_MIN: u64 = 2;

/// … and for more is never needed.
const CALLS_MAX: u64 = 16_384;

/// An escrow that is used up sooner than this is made larger, one that lasts longer than [`LASTS_LONG`] smaller.
const LASTS: Duration = Duration::from_millis(25);
const LASTS_LONG: Duration = Duration::from_millis(100);

/// How long the end of a call may wait to be written.
const TEND_EVERY: Duration = Duration::from_millis(50);

/// An escrow that nobody has drawn from for so long is given back.
const IDLE: Duration = Duration::from_millis(250);

/// Keys with something counted out at a time.
const ESCROWS_MAX: usize = 4_096;

/// How often a key is called.
#[derive(Debug)]
pub(super) struct Pace {
    /// Holds since then.
    since: Instant,
    holds: u32,
    /// Calls to count out for, once it is busy.
    calls: u64,
    extended: Instant,
    /// Draws when the writer last looked, and since when there was none.
    draws: u64,
    idle_since: Instant,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, holds: 0, calls: 0, extended: now, draws: 0, idle_since: now }
    }

    /// One more hold; whether the key is called often.
    fn is_busy(&mut self, now: Instant) -> bool {
        if now - self.since > PACE_WINDOW {
            (self.since, self.holds) = (now, 0);
        }
        self.holds += 1;
        self.holds >= BUSY_HOLDS
    }

    /// How many calls to count out for now.
    fn calls(&mut self, now: Instant) -> u64 {
        let lasted = now - self.extended;
        self.extended = now;
        self.calls = match self.calls {
            0 => u64::from(self.holds) * 2,
            calls if lasted < LASTS => calls * 2,
            calls if lasted > LASTS_LONG => calls / 2,
            calls => calls,
        };
        self.calls = self.calls.clamp(u64::from(BUSY_HOLDS), CALLS_MAX);
        self.calls
    }
}

/// What may be drawn once the batch is durable.
#[derive(Debug)]
pub(super) struct Extension {
    key: KeyId,
    escrow: Arc<Escrow>,
    more: Units,
    wanted: Units,
}

impl Live {
    /// A hold of the key was granted: whether that happens often, and it may have units counted out.
    pub(super) fn is_busy(&mut self, now: Instant) -> bool {
        self.terms.options.durability == Durability::Ahead && self.pace.is_busy(now)
    }
}

impl Writer {
    /// Units for more calls of the key are to be counted out.
    pub(super) fn note_busy(&mut self, key: KeyId, units: Units) {
        if !self.busy.iter().any(|(busy, _)| *busy == key) {
            self.busy.push((key, units));
        }
    }

    /// The key needs more than what is counted out.
    pub(super) fn extend(&mut self, id: HoldId) {
        let Some(escrow) = self.shared.escrows.find(id) else { return };
        self.drain(&escrow);
        let key = self.ledger.open_hold(id).and_then(|hold| key_of(hold.accounts.key()));
        let sight = escrow.sight();
        if let Some(key) = key.filter(|_| sight.is_open) {
            self.note_busy(key, sight.largest);
        }
    }

    /// At the end of a batch: counts out for the keys that are called often.
    pub(super) fn escrow_for_the_busy(&mut self) {
        for (key, units) in std::mem::take(&mut self.busy) {
            if !self.escrow_for(key, units) {
                self.recall(key);
            }
        }
    }

    /// Whether calls of the key may be granted ahead; then as much is counted out as they need.
    fn escrow_for(&mut self, key: KeyId, units: Units) -> bool {
        let id = AccountId::Key(key);
        let Some(live) = self.live.get_mut(&key) else { return false };
        let options = live.terms.options;
        let is_active = self.ledger.status(id, self.now) == Some(KeyStatus::Active);
        if options.durability != Durability::Ahead
            || options.rates != Rates::default()
            || options.allow_unbounded
            || !is_active
            || self.ledger.is_stopped()
            || self.ledger.is_fenced()
            || self.shared.is_stopping()
            || self.unsure.contains(&key)
        {
            return false;
        }
        let escrow = Arc::clone(&live.terms.escrow);
        let sight = escrow.sight();
        let each = units.zip(sight.largest, u64::max);
        let Ok(chain) = self.chain(key) else { return false };
        if chain.iter().any(|account| self.waiting.is_any_at(account)) {
            return false;
        }
        let affordable = self.affordable(&chain, &escrow, sight.free, each);
        let live = self.live.get_mut(&key).expect("seen above");
        let calls = live.pace.calls(self.shared.clock.instant()).min(affordable);
        let Some(wanted) = times(each, calls).filter(|_| calls >= CALLS_MIN) else { return false };
        let more = wanted.zip(sight.free, u64::saturating_sub);
        match escrow.hold() {
            // What was counted out before is in other windows: it is given back first.
            Some(hold) if self.ledger.open_hold(hold).is_none_or(|hold| hold.accounts != chain) => {
                return false;
            }
            Some(hold) if self.ledger.escrow_extend(hold, more) => self.batch.hold_changed(hold),
            None if self.shared.escrows.len() < ESCROWS_MAX => {
                let Some(hold) = self.ledger.escrow(chain.clone(), more, self.now) else {
                    return false;
                };
                escrow.begin(hold);
                self.shared.escrows.put(hold, Arc::clone(&escrow));
                self.batch.holds_opened.push(hold);
            }
            _ => return false,
        }
        self.dirty.extend(chain.iter());
        if let Some(at) = self.live.get(&key).and_then(|live| live.expires_at) {
            self.ends.await_end(at, key);
        }
        crate::failpoint!("escrow.count_out");
        self.extending.push(Extension { key, escrow, more, wanted });
        true
    }

    /// For how many calls of this size the part of what is left suffices that may be counted out ahead. `undrawn` is what of
    /// the key's escrow may still be drawn.
    fn affordable(&self, chain: &AccountChain, escrow: &Escrow, undrawn: Units, each: Units) -> u64 {
        let own = escrow.hold().and_then(|id| self.ledger.open_hold(id));
        let own = own.map_or(Units::default(), |hold| hold.units);
        let part = |id: AccountId, dimension: Dimension| {
            let balance = self.ledger.account(id)?.balance(dimension);
            let part = balance.free()?.saturating_add(undrawn.of(dimension).into()) / PART_DIVISOR;
            if id == chain.key() {
                return Some(part);
            }
            let by_others = balance.parts().escrowed.saturating_sub(own.of(dimension).into());
            Some(part.saturating_sub(by_others) / KEYS_DIVISOR)
        };
        let mut calls = u128::from(CALLS_MAX);
        for id in chain.iter() {
            for dimension in Dimension::ALL {
                let by = part(id, dimension).and_then(|part| part.checked_div(each.of(dimension).into()));
                calls = by.map_or(calls, |by| calls.min(by));
            }
        }
        u64::try_from(calls).unwrap_or(CALLS_MAX)
    }

    /// The batch is durable: what was counted out in it may be drawn.
    pub(super) fn open_escrows(&mut self) {
        for Extension { key, escrow, more, wanted } in std::mem::take(&mut self.extending) {
            crate::failpoint!("escrow.open");
            let id = AccountId::Key(key);
            let (Some(live), Some(account)) = (self.live.get(&key), self.ledger.account(id)) else {
                continue;
            };
            let idle = account.lifetime.idle_expiry_seconds;
            let idle = idle.map(|seconds| Timestamp(self.now.0.saturating_add(seconds.saturating_mul(1000))));
            let window = window_ends(&live.ceilings, self.now);
            let until = [live.expires_at, idle, window].into_iter().flatten().min();
            let (ended, expires_at) = (live.ended.clone(), live.expires_at);
            let outside = escrow
                .hold()
                .and_then(|hold| self.ledger.remaining(&self.ledger.open_hold(hold)?.accounts))
                .unwrap_or_else(|| account.remaining());
            let low = wanted.zip(wanted, |units, _| units / 2);
            escrow.open(more, DrawTerms { low, most: wanted, outside, until, expires_at, ended });
        }
        if self.shared.escrows.len() == 0 {
            return;
        }
        for id in &self.batch.accounts {
            if let Some(live) = key_of(*id).and_then(|key| self.live.get(&key))
                && let Some(hold) = live.terms.escrow.hold().and_then(|hold| self.ledger.open_hold(hold))
                && let Some(outside) = self.ledger.remaining(&hold.accounts)
            {
                live.terms.escrow.set_outside(outside);
            }
        }
    }

    /// Takes back what is counted out for a key and not drawn, so that its account has the exact figures. Nothing is
    /// drawn from here on. `true` when something came back.
    pub(super) fn recall(&mut self, key: KeyId) -> bool {
        let escrow = self.live.get(&key).map(|live| Arc::clone(&live.terms.escrow));
        escrow.is_some_and(|escrow| escrow.hold().is_some() && self.take_back(&escrow))
    }

    /// As [`Writer::recall`] for all keys.
    pub(super) fn recall_all(&mut self) {
        for (_, escrow) in self.shared.escrows.all() {
            self.take_back(&escrow);
        }
    }

    /// Nothing passes any more under a limit that was broken, also not out of what was counted out before.
    pub(super) fn recall_below_overrun(&mut self) {
        while let Some(account) = self.overrun.pop() {
            for (id, escrow) in self.shared.escrows.all() {
                let hold = self.ledger.open_hold(id);
                if hold.is_some_and(|hold| hold.accounts.iter().any(|one| one == account)) {
                    self.take_back(&escrow);
                }
            }
        }
    }

    fn take_back(&mut self, escrow: &Arc<Escrow>) -> bool {
        let back = escrow.shut();
        crate::failpoint!("escrow.shut");
        self.drain(escrow);
        let Some(id) = escrow.hold() else { return false };
        let came_back = back != Units::default() && self.ledger.escrow_return(id, back);
        if came_back && let Some(hold) = self.ledger.open_hold(id) {
            let accounts = hold.accounts.clone();
            self.dirty.extend(accounts.iter());
            self.note_changed(&accounts);
            self.batch.hold_changed(id);
        }
        self.close_if_done(escrow);
        crate::failpoint!("escrow.taken_back");
        came_back
    }

    /// Closes the hold of an escrow that is shut and that no call draws from any more.
    fn close_if_done(&mut self, escrow: &Arc<Escrow>) {
        let sight = escrow.sight();
        let Some(id) = escrow.hold() else { return };
        if sight.is_open || sight.is_in_use || self.extending.iter().any(|one| Arc::ptr_eq(&one.escrow, escrow))
            // Parts that used nothing may have to be settled again after a write that failed.
            || self.retry.iter().any(|closing| closing.id == id)
        {
            return;
        }
        let is_empty = self.ledger.open_hold(id).is_some_and(|hold| hold.units == Units::default());
        if is_empty && let Ok(Some(closed)) = self.ledger.void(id) {
            self.forget_end(closed.hold.accounts.key());
            self.dirty.extend(closed.hold.accounts.iter());
            self.batch.holds_closed.push(id);
            self.ending_escrows.push(id);
        }
    }

    /// Settles the calls of an escrow that ended.
    pub(super) fn drain(&mut self, escrow: &Arc<Escrow>) {
        let Some(id) = escrow.hold() else { return };
        let closings = escrow.take();
        if let (Some(hold), Some(at)) = (self.ledger.open_hold(id), escrow.drawn_at()) {
            self.ledger.used_at(hold.accounts.key(), at);
        }
        self.close_parts(id, closings);
    }

    /// A call ended of an escrow that is shut.
    pub(super) fn drain_shut(&mut self, id: HoldId) {
        if let Some(escrow) = self.shared.escrows.find(id) {
            self.take_back(&escrow);
        }
    }

    /// Settles what ended of what somebody is about to read, and says what was used of accounts of which units are counted
    /// out. Calls go on to draw them.
    pub(super) fn exact(&mut self, about: About) -> ExactUse {
        let escrows = match about {
            About::Ended => {
                self.drain_all();
                Vec::new()
            }
            About::All => self.shared.escrows.all(),
            About::Key(key) => {
                let escrow = self.live.get(&key).map(|live| Arc::clone(&live.terms.escrow));
                escrow.and_then(|escrow| Some((escrow.hold()?, escrow))).into_iter().collect()
            }
        };
        let mut undrawn: IdMap<AccountId, Units> = IdMap::default();
        for (id, escrow) in escrows {
            self.drain(&escrow);
            let Some(accounts) = self.ledger.open_hold(id).map(|hold| hold.accounts.clone()) else {
                continue;
            };
            let Sight { mut free, is_in_use, .. } = escrow.sight();
            let account = self.ledger.account(accounts.key()).expect("the account of an open hold is loaded");
            let is_all_that_is_left =
                account.timeless_status() == KeyStatus::Exhausted && free != Units::default();
            if is_all_that_is_left || !is_in_use && account.is_expired(false, self.now) {
                // Its row would say that nothing is left, or that the key is in use.
                self.take_back(&escrow);
                free = Units::default();
            }
            // When it was last used is in its row.
            self.dirty.insert(accounts.key());
            for account in accounts.iter() {
                let sum = undrawn.entry(account).or_default();
                *sum = sum.zip(free, u64::saturating_add);
            }
        }
        let used = undrawn.into_iter().filter_map(|(id, undrawn)| {
            let used = self.ledger.account(id)?.used();
            Some((id, used.zip(undrawn, u64::saturating_sub)))
        });
        ExactUse { used: used.collect(), evictions: self.evictions }
    }

    /// When to look at the escrows again.
    pub(super) fn tend_due(&self) -> Option<Instant> {
        self.has_open_escrows.then(|| self.tended_at + TEND_EVERY)
    }

    /// Now and then: settles what ended, and takes back what nobody draws from.
    pub(super) fn tend_escrows(&mut self) {
        if self.shared.escrows.len() == 0 {
            return;
        }
        let now = self.shared.clock.instant();
        if now - self.tended_at < TEND_EVERY {
            return;
        }
        self.tended_at = now;
        for (id, escrow) in self.shared.escrows.all() {
            self.drain(&escrow);
            let sight = escrow.sight();
            let key = self.ledger.open_hold(id).and_then(|hold| key_of(hold.accounts.key()));
            let Some(live) = key.and_then(|key| self.live.get_mut(&key)) else { continue };
            if live.pace.draws != sight.draws {
                (live.pace.draws, live.pace.idle_since) = (sight.draws, now);
                live.touched = self.number;
            }
            if sight.is_open && now - live.pace.idle_since >= IDLE {
                live.pace = Pace::new(now);
                self.take_back(&escrow);
            }
        }
    }

    /// Settles everything that ended, without taking anything back.
    pub(super) fn drain_all(&mut self) {
        for (_, escrow) in self.shared.escrows.all() {
            self.drain(&escrow);
        }
    }

    /// After the batch: escrows whose holds are closed are as new.
    pub(super) fn end_escrows(&mut self) {
        for id in std::mem::take(&mut self.ending_escrows) {
            if let Some(escrow) = self.shared.escrows.find(id) {
                self.shared.escrows.remove(id);
                escrow.end();
            }
        }
        self.has_open_escrows = self.shared.escrows.is_any_open();
    }

    /// A write failed: nothing may be drawn before it is known what is on disk.
    pub(super) fn shut_escrows(&mut self) {
        self.shared.escrows.shut_all();
        self.extending.clear();
        self.ending_escrows.clear();
        self.busy.clear();
        self.has_open_escrows = false;
        self.escrows_unsure = true;
    }

    /// Memory was read from disk again: what the hold of an escrow covers there beyond the calls that drew from it comes
    /// back.
    pub(super) fn reconcile_escrows(&mut self) {
        if !std::mem::take(&mut self.escrows_unsure) {
            return;
        }
        self.escrows_left = true;
        for (id, escrow) in self.shared.escrows.all() {
            let Some(hold) = self.ledger.open_hold(id) else {
                // It was never written, so nothing was drawn from it, or it was closed, and nothing was any more.
                self.ending_escrows.push(id);
                continue;
            };
            let accounts = hold.accounts.clone();
            let Some(back) = self.beyond_what_was_drawn(hold, id, &escrow) else {
                tracing::error!(hold = ?id, "an escrow covers less than what was drawn from it");
                continue;
            };
            if back != Units::default() && self.ledger.escrow_return(id, back) {
                self.dirty.extend(accounts.iter());
                self.batch.hold_changed(id);
            }
        }
    }

    /// What a hold covers besides the calls that drew from its escrow and are not settled on disk.
    fn beyond_what_was_drawn(&self, hold: &OpenHold, id: HoldId, escrow: &Escrow) -> Option<Units> {
        let HoldKind::Escrow { settled } = hold.kind else { return None };
        let to_settle =
            self.retry.iter().filter(|closing| closing.id == id).filter_map(|closing| closing.part);
        let drawn = to_settle
            .filter(|part| part.nth > settled)
            .try_fold(escrow.drawn()?, |sum, part| sum.checked_add(part.units))?;
        hold.units.checked_sub(drawn)
    }

    /// After the settles of a write that failed were done again: nobody comes back to what was shut meanwhile.
    pub(super) fn close_shut_escrows(&mut self) {
        if std::mem::take(&mut self.escrows_left) {
            for (_, escrow) in self.shared.escrows.all() {
                self.drain(&escrow);
                self.close_if_done(&escrow);
            }
        }
    }
}

fn times(each: Units, calls: u64) -> Option<Units> {
    Some(Units {
        activations: each.activations.checked_mul(calls)?,
        tokens: each.tokens.checked_mul(calls)?,
        spend_nanos: each.spend_nanos.checked_mul(calls)?,
    })
}
