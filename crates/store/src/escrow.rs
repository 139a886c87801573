//! Units that are durably counted out ahead, so that calls are granted from memory.
//!
//! A key that is called often would pay for a thread hand-over and a part of an fsync with every call. For such a key the
//! writer sets units aside for many calls at once ([`till_core::ledger::Ledger::escrow`]), and [`Escrow::draw`] grants
//! calls out of them, without the writer and without the disk: what covers the call is on disk already. When a call ends
//! its part is kept here until the writer comes for it.
//!
//! Invariants:
//! - what may be drawn, what is drawn and what waits to be settled never exceed what the hold on disk covers;
//! - nothing is drawn from the moment the writer has shut the escrow. It does so before it looks at the limits, the status
//!   or the time of the key for any other reason, so every decision is made on exact figures;
//! - nor from the moment a call has used more than it drew, until the writer has counted that;
//! - after a crash all that the hold covers is spent.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use till_core::demand::Demand;
use till_core::denial::Denial;
use till_core::id_map::IdMap;
use till_core::key::KeyId;
use till_core::ledger::{AccountId, Grant, HoldId};
use till_core::limit::{Dimension, Limits, Units};
use till_core::time::Timestamp;
use tokio::sync::watch;

use crate::command::{Closing, Command, Part, Shared};
use crate::figures::Figures;
use crate::hold::Hold;
use crate::key::KeyRecord;
use crate::usage_record::UsageRecord;

/// Calls that ended and that the writer has not come for. Beyond it nothing is drawn: whoever comes waits for the writer.
const SETTLED_MAX: usize = 16_384;

/// For how many of them there is room from the beginning.
const ROOM_MAX: usize = 1_024;

/// What of one key is counted out ahead, if anything is.
#[derive(Default)]
pub(crate) struct Escrow(Mutex<State>);

#[derive(Default)]
struct State {
    /// The hold on disk; only the writer changes it.
    hold: Option<HoldId>,
    /// Whether calls may draw.
    terms: Option<DrawTerms>,
    /// What may be drawn.
    free: Units,
    /// Drawn by calls that have not ended.
    out: Units,
    /// Calls that have not ended.
    in_flight: usize,
    /// Calls that ended.
    settled: Vec<Ended>,
    /// How many of them the writer has taken, in the whole life of the hold.
    taken: u64,
    /// The writer was asked to come.
    is_called: bool,
    draws: u64,
    drawn_at: Option<Timestamp>,
    /// The most that a call has drawn, per dimension, in the whole life of the hold.
    largest: Units,
}

/// What the writer decided when it last counted out.
pub(crate) struct DrawTerms {
    /// Below this the writer is asked for more.
    pub(crate) low: Units,
    /// No more than this is kept for the next calls, also of what comes back.
    pub(crate) most: Units,
    /// What is free beside the escrow.
    pub(crate) outside: Limits,
    /// From then on the writer has to be asked whether the key may be used.
    pub(crate) until: Option<Timestamp>,
    /// When the time of the key is over.
    pub(crate) expires_at: Option<Timestamp>,
    /// Tells the holders of the key that it ended.
    pub(crate) ended: watch::Sender<Option<Denial>>,
}

impl DrawTerms {
    /// Whether a call used more than it drew of something that there is a limit on.
    fn is_broken(&self, drawn: Units, used: Units) -> bool {
        let exceeds =
            |dimension| self.outside.of(dimension).is_some() && used.of(dimension) > drawn.of(dimension);
        Dimension::ALL.into_iter().any(exceeds)
    }
}

/// A call that ended.
struct Ended {
    part: Units,
    used: Units,
    record: Option<Arc<UsageRecord>>,
    figures: Option<Figures>,
    at: Option<Instant>,
}

/// What the writer finds when it comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    pub(crate) is_open: bool,
    pub(crate) free: Units,
    /// Calls in flight or not taken yet.
    pub(crate) is_in_use: bool,
    pub(crate) draws: u64,
    pub(crate) largest: Units,
}

impl fmt::Debug for Escrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Escrow").field("hold", &state.hold).field("free", &state.free).finish_non_exhaustive()
    }
}

impl Escrow {
    /// Grants a call out of what is counted out, as much as it wants; `None` sends it to the writer.
    pub(crate) fn draw(self: &Arc<Self>, shared: &Arc<Shared>, demand: &Demand) -> Option<Hold> {
        let mut state = self.lock();
        let terms = state.terms.as_ref()?;
        let now = shared.clock.now();
        if terms.until.is_some_and(|until| until <= now) {
            return None;
        }
        let units = demand.units(demand.steps_wanted)?;
        let free = state.free.checked_sub(units)?;
        let out = state.out.checked_add(units)?;
        if state.settled.len() >= SETTLED_MAX {
            return None;
        }
        let remaining = remaining(terms.outside, free);
        let is_low = free.zip(terms.low, |free, low| u64::from(free < low)) != Units::default();
        let (ended, expires_at) = (terms.ended.subscribe(), terms.expires_at);
        let id = state.hold.expect("what may be drawn is covered by a hold");
        state.free = free;
        if planted!(DoubleSpend) {
            state.free = state.free.checked_add(units)?;
        }
        state.out = out;
        state.in_flight += 1;
        state.draws += 1;
        state.drawn_at = Some(now);
        state.largest = state.largest.zip(units, u64::max);
        let calls = (is_low || state.settled.len() >= SETTLED_MAX / 2) && !state.is_called;
        state.is_called |= calls;
        drop(state);
        if calls && shared.queue.push(Command::Extend(id)).is_err() {
            // Too much waits there: the next call tries again.
            self.lock().is_called = false;
        }
        let grant = Grant { id, units, steps: demand.steps_wanted, remaining };
        Some(Hold::new(Arc::clone(shared), grant, Some(Arc::clone(self)), ended, expires_at, now))
    }

    /// Keeps the end of a call for the writer, with its time if it is known. What it did not use may be drawn again, as long as
    /// anything may, and as far as no more than was meant to lies ahead then: a crash would burn it.
    pub(crate) fn settle(
        &self,
        shared: &Shared,
        drawn: Units,
        used: Units,
        record: Option<Arc<UsageRecord>>,
        figures: Option<Figures>,
        at: Option<Instant>,
    ) {
        let mut state = self.lock();
        state.in_flight -= 1;
        state.out = state.out.checked_sub(drawn).expect("every draw is counted");
        let mut part = drawn;
        let is_broken = state.terms.as_ref().is_some_and(|terms| terms.is_broken(drawn, used));
        if let Some(most) = state.terms.as_ref().map(|terms| terms.most) {
            let room = most.zip(state.free, u64::saturating_sub);
            let back = drawn.zip(used, u64::saturating_sub).zip(room, u64::min);
            part = drawn.checked_sub(back).expect("a part of it");
            state.free = state.free.checked_add(back).expect("a part of what the hold covers");
        }
        if is_broken {
            // More was used than a limit was asked for: nothing passes before that is counted.
            state.terms = None;
        }
        state.settled.push(Ended { part, used, record, figures, at });
        let calls = state.terms.is_none() && !state.is_called;
        state.is_called |= calls;
        let id = state.hold.expect("a hold is open as long as a call of it is");
        drop(state);
        if calls {
            shared.queue.push_lazy(Command::Drain(id));
        }
    }

    // What follows is for the writer.

    /// The hold on disk.
    pub(crate) fn hold(&self) -> Option<HoldId> {
        self.lock().hold
    }

    /// A hold was taken for it, which is not durable yet.
    pub(crate) fn begin(&self, id: HoldId) {
        let mut state = self.lock();
        (state.hold, state.taken) = (Some(id), 0);
    }

    /// More may be drawn: it is durable.
    pub(crate) fn open(&self, more: Units, terms: DrawTerms) {
        let mut state = self.lock();
        state.free = state.free.checked_add(more).expect("the hold covers it");
        state.terms = Some(terms);
        state.is_called = false;
    }

    /// What is free beside it has changed.
    pub(crate) fn set_outside(&self, outside: Limits) {
        if let Some(terms) = &mut self.lock().terms {
            terms.outside = outside;
        }
    }

    /// Nothing may be drawn any more; with what could have been.
    pub(crate) fn shut(&self) -> Units {
        let mut state = self.lock();
        (state.terms, state.is_called) = (None, false);
        std::mem::take(&mut state.free)
    }

    /// The ends of calls since it was last asked, to be settled in this order.
    pub(crate) fn take(&self) -> Vec<Closing> {
        let mut state = self.lock();
        // One that was called to count out more has not done that yet.
        state.is_called &= state.terms.is_some();
        let Some(id) = state.hold else { return Vec::new() };
        let first = state.taken + 1;
        // As many are expected to come until the next time.
        let room = Vec::with_capacity(state.settled.len().min(ROOM_MAX));
        let ended = std::mem::replace(&mut state.settled, room);
        state.taken += ended.len() as u64;
        drop(state);
        let closing = |(nth, ended): (u64, Ended)| Closing {
            id,
            part: Some(Part { nth, units: ended.part }),
            used: ended.used,
            record: ended.record,
            figures: ended.figures,
            ended: ended.at,
        };
        (first..).zip(ended).map(closing).collect()
    }

    pub(crate) fn sight(&self) -> Sight {
        let state = self.lock();
        Sight {
            is_open: state.terms.is_some(),
            free: state.free,
            is_in_use: state.in_flight > 0 || !state.settled.is_empty(),
            draws: state.draws,
            largest: state.largest,
        }
    }

    /// When a call was last granted.
    pub(crate) fn drawn_at(&self) -> Option<Timestamp> {
        self.lock().drawn_at
    }

    /// Drawn by calls that the writer has not taken.
    pub(crate) fn drawn(&self) -> Option<Units> {
        let state = self.lock();
        state.settled.iter().try_fold(state.out, |sum, ended| sum.checked_add(ended.part))
    }

    /// Its hold is closed.
    pub(crate) fn end(&self) {
        *self.lock() = State::default();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Changes under the lock are additions that were checked before, so a panic can't leave it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is left of each limit: beside the escrow and in it.
pub(crate) fn remaining(outside: Limits, free: Units) -> Limits {
    let both = |outside: Option<u64>, free: u64| outside.map(|outside| outside.saturating_add(free));
    Limits {
        activations: both(outside.activations, free.activations),
        tokens: both(outside.tokens, free.tokens),
        spend_nanos: both(outside.spend_nanos, free.spend_nanos),
    }
}

/// What somebody is about to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// Calls that ended.
    Ended,
    /// What a key has used.
    Key(KeyId),
    /// What all accounts have used.
    All,
}

/// What accounts have used, of which something is counted out ahead: without what no call has drawn. All others have used
/// what their rows say.
#[derive(Debug, Default)]
pub(crate) struct ExactUse {
    pub(crate) used: IdMap<AccountId, Units>,
    /// How often keys were put out of memory, counted from 1: 0 when the writer could not say anything.
    pub(crate) evictions: u64,
}

impl ExactUse {
    pub(crate) fn of(&self, account: AccountId) -> Option<Units> {
        self.used.get(&account).copied()
    }

    /// Puts it in place of what was read.
    pub(crate) fn show(&self, records: &mut [KeyRecord]) {
        for record in records {
            record.used = self.of(AccountId::Key(record.id)).unwrap_or(record.used);
        }
    }
}

/// The escrows that have a hold on disk. Changed by the writer only.
#[derive(Debug, Default)]
pub(crate) struct Escrows {
    open: Mutex<IdMap<HoldId, Arc<Escrow>>>,
    count: AtomicUsize,
}

impl Escrows {
    /// Whether calls may draw from any.
    pub(crate) fn is_any_open(&self) -> bool {
        self.len() > 0 && self.lock().values().any(|escrow| escrow.sight().is_open)
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    pub(crate) fn find(&self, id: HoldId) -> Option<Arc<Escrow>> {
        self.lock().get(&id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<(HoldId, Arc<Escrow>)> {
        if self.len() == 0 {
            return Vec::new();
        }
        self.lock().iter().map(|(id, escrow)| (*id, Arc::clone(escrow))).collect()
    }

    pub(crate) fn put(&self, id: HoldId, escrow: Arc<Escrow>) {
        let mut open = self.lock();
        open.insert(id, escrow);
        self.count.store(open.len(), Ordering::Release);
    }

    pub(crate) fn remove(&self, id: HoldId) {
        let mut open = self.lock();
        open.remove(&id);
        self.count.store(open.len(), Ordering::Release);
    }

    /// Nothing may be drawn any more, from any of them.
    pub(crate) fn shut_all(&self) {
        for escrow in self.lock().values() {
            escrow.shut();
        }
    }

    fn lock(&self) -> MutexGuard<'_, IdMap<HoldId, Arc<Escrow>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
