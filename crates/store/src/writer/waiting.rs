//! Requests that wait for units which are only held by others.
//!
//! - Each waits at the account of its chain that has not enough for it: that of its key, or a ceiling together with those
//!   of other keys. There they are served in the order in which they came. One that needs less may pass the first a bounded
//!   number of times, so that a big one is not starved, whichever key it is for.
//! - Who waits for units of its own key is in nobody's way but that key's.
//! - Every change of an account looks at its queue again, in the same batch: what a settle gives back is granted
//!   with the same fsync.
//! - A queue is bounded, and whoever waits in it gives up after a while by itself: a caller that is gone is dropped.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Instant;

use till_core::demand::Demand;
use till_core::denial::{Denial, DenialCode};
use till_core::id_map::{IdMap, IdSet};
use till_core::key::{KeyId, KeyStatus};
use till_core::ledger::{self, AccountChain, AccountId};
use till_core::time::Timestamp;

use super::ending::look_again;
use super::hold::HoldOutcome;
use super::{Answer, Writer};
use crate::command::HoldReply;
use crate::hold::HoldRefusal;
use crate::terms::KeyTerms;

/// How often the first in a queue may be passed.
const PASSES_MAX: u32 = 8;

/// How many may wait for one key.
const PER_KEY_MAX: usize = 1_024;

/// How many may wait in all.
const TOTAL_MAX: usize = 16_384;

/// How far behind the first one is looked for that fits.
const LOOK_AHEAD: usize = 32;

/// One that waits.
#[derive(Debug)]
struct Waiter {
    terms: Arc<KeyTerms>,
    demand: Demand,
    reply: HoldReply,
    /// Those that came later have higher numbers.
    came: u64,
    /// How often it was passed while it was the first.
    passed: u32,
}

/// Everybody who waits.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// By the account that has not enough for them, in the order in which they came.
    at: IdMap<AccountId, VecDeque<Waiter>>,
    /// How many wait for a key, wherever they stand.
    of_key: IdMap<KeyId, usize>,
    total: usize,
    /// Number of the newest.
    came: u64,
}

impl Waiters {
    pub(super) fn len(&self) -> usize {
        self.total
    }

    pub(super) fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Whether anybody waits for units of an account.
    pub(super) fn is_any_at(&self, account: AccountId) -> bool {
        self.first(account).is_some()
    }

    /// Whether anybody waits for a key.
    pub(super) fn is_waiting(&self, key: KeyId) -> bool {
        self.of_key.contains_key(&key)
    }

    fn first(&self, account: AccountId) -> Option<&Waiter> {
        self.at.get(&account)?.front()
    }

    fn insert(&mut self, account: AccountId, waiter: Waiter) {
        *self.of_key.entry(waiter.terms.key).or_default() += 1;
        self.total += 1;
        let queue = self.at.entry(account).or_default();
        let place = queue.partition_point(|other| other.came < waiter.came);
        queue.insert(place, waiter);
    }

    fn remove(&mut self, account: AccountId, place: usize) -> Option<Waiter> {
        let waiter = self.at.get_mut(&account)?.remove(place)?;
        self.forget(waiter.terms.key);
        Some(waiter)
    }

    /// Takes out those at an account that are meant.
    fn take(&mut self, account: AccountId, is_meant: impl Fn(&Waiter) -> bool) -> VecDeque<Waiter> {
        let Some(queue) = self.at.get_mut(&account).filter(|queue| queue.iter().any(&is_meant)) else {
            return VecDeque::new();
        };
        let (taken, left) = std::mem::take(queue).into_iter().partition(is_meant);
        *queue = left;
        self.tidy(account);
        for waiter in &taken {
            self.forget(waiter.terms.key);
        }
        taken
    }

    /// One that waited for a key is taken out.
    fn forget(&mut self, key: KeyId) {
        self.total -= 1;
        if let Entry::Occupied(mut count) = self.of_key.entry(key) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// An empty queue is none.
    fn tidy(&mut self, account: AccountId) {
        if !self.is_any_at(account) {
            self.at.remove(&account);
        }
    }

    fn accounts(&self) -> Vec<AccountId> {
        self.at.keys().copied().collect()
    }
}

/// What came of asking.
enum Asked {
    Answered(Answer),
    /// It has to wait at this account; here is the way to answer it.
    Busy(AccountId, HoldReply),
}

impl Writer {
    /// A new demand: answered, or put at the end of a queue.
    pub(super) fn arrive(&mut self, terms: Arc<KeyTerms>, demand: Demand, reply: HoldReply) {
        let key = terms.key;
        if !self.waiting.is_empty() {
            // What came back in this batch belongs to those who came before.
            self.tell_those_of_changed_keys();
            let accounts: Vec<AccountId> = self.accounts_of(key).iter().collect();
            for account in &accounts {
                self.forget_those_who_left(*account);
            }
            let changed = accounts.into_iter().filter(|account| self.changed.remove(account)).collect();
            self.serve(changed);
        }
        self.waiting.came += 1;
        let came = self.waiting.came;
        if let Some((account, waiter)) = self.attempt(Waiter { terms, demand, reply, came, passed: 0 }) {
            if self.is_full(key) {
                self.answers.push(Answer::Denied(waiter.reply, busy_denial()));
            } else {
                self.waiting.insert(account, waiter);
            }
        }
    }

    /// Asks for one that is not in a queue; with where it has to wait, if it has to.
    fn attempt(&mut self, waiter: Waiter) -> Option<(AccountId, Waiter)> {
        let mut contended = false;
        let mut before = Vec::new();
        if !self.waiting.is_empty() {
            for account in self.accounts_of(waiter.terms.key).iter() {
                if let Some(first) = self.waiting.first(account) {
                    contended = true;
                    if first.came < waiter.came {
                        before.push((account, first.passed));
                    }
                }
            }
        }
        let needs_units = needs_units(&waiter.demand);
        let in_the_way = before.iter().find(|(_, passed)| *passed >= PASSES_MAX);
        if let Some((account, _)) = in_the_way.filter(|_| needs_units && self.depends_on_units(&waiter.terms))
        {
            return Some((*account, waiter));
        }
        let Waiter { terms, demand, reply, came, passed } = waiter;
        match self.ask(&terms, &demand, contended, reply) {
            Asked::Answered(answer) => {
                if needs_units && matches!(answer, Answer::Granted(..)) {
                    for (account, _) in before {
                        let queue = self.waiting.at.get_mut(&account);
                        queue.and_then(VecDeque::front_mut).expect("asking moves nobody").passed += 1;
                    }
                }
                self.answers.push(answer);
                None
            }
            Asked::Busy(account, reply) => Some((account, Waiter { terms, demand, reply, came, passed })),
        }
    }

    /// Whether it is only units that a request may have to wait for: everything else is answered at once.
    fn depends_on_units(&self, terms: &KeyTerms) -> bool {
        let is_current = self.live.get(&terms.key).is_some_and(|live| live.terms.version == terms.version);
        let status = self.ledger.status(AccountId::Key(terms.key), self.now);
        is_current
            && status == Some(KeyStatus::Active)
            && !self.ledger.is_stopped()
            && !self.ledger.is_fenced()
    }

    /// Where a request of the key may have somebody before it.
    fn accounts_of(&mut self, key: KeyId) -> AccountChain {
        let alone = AccountChain::of_key(AccountId::Key(key));
        // Whatever can't be read now is an error of the request when it is asked for.
        match self.ledger.is_fenced() || !self.ensure_loaded(key).unwrap_or(false) {
            true => alone,
            false => self.chain(key).unwrap_or(alone),
        }
    }

    /// Whether there is no place to wait for this key, also after the places of those who left are cleared. Those who
    /// leave say nothing, so this looks through the queues, but only once per batch.
    fn is_full(&mut self, key: KeyId) -> bool {
        let full = |waiting: &Waiters| {
            waiting.of_key.get(&key).is_some_and(|count| *count >= PER_KEY_MAX) || waiting.total >= TOTAL_MAX
        };
        if full(&self.waiting) && self.cleared != self.number {
            self.cleared = self.number;
            for account in self.waiting.accounts() {
                self.waiting.take(account, |waiter| waiter.reply.is_closed());
            }
        }
        full(&self.waiting)
    }

    /// Nobody waits behind somebody who is not there any more.
    fn forget_those_who_left(&mut self, account: AccountId) {
        while self.waiting.first(account).is_some_and(|first| first.reply.is_closed()) {
            self.waiting.remove(account, 0);
            self.changed.insert(account);
        }
        self.waiting.tidy(account);
    }

    /// Looks again at the queues of the accounts that changed.
    pub(super) fn serve_waiting(&mut self) {
        self.tell_those_of_changed_keys();
        // Whoever is served may have taken back what was counted out elsewhere.
        while !self.changed.is_empty() {
            let changed = self.changed.drain().collect();
            self.serve(changed);
        }
    }

    /// Looks again at some queues: first at the one whose first came first.
    fn serve(&mut self, mut accounts: Vec<AccountId>) {
        accounts.retain(|account| self.waiting.is_any_at(*account));
        accounts.sort_unstable_by_key(|account| self.waiting.first(*account).map(|first| first.came));
        for account in accounts {
            self.serve_at(account);
        }
    }

    /// Serves one queue as far as that goes.
    fn serve_at(&mut self, account: AccountId) {
        drop(self.waiting.take(account, |waiter| waiter.reply.is_closed()));
        let mut place = 0;
        while place < LOOK_AHEAD {
            let is_passed_enough = |first: &Waiter| first.passed >= PASSES_MAX;
            if place > 0 && self.waiting.first(account).is_some_and(is_passed_enough) {
                break;
            }
            let Some(waiter) = self.waiting.remove(account, place) else { break };
            if let Some((at, waiter)) = self.attempt(waiter) {
                self.waiting.insert(at, waiter);
                place += usize::from(at == account);
            }
        }
        self.waiting.tidy(account);
    }

    /// Those that wait for keys that changed hear of it, wherever they stand.
    fn tell_those_of_changed_keys(&mut self) {
        let mut keys: IdSet<KeyId> = std::mem::take(&mut self.keys_changed);
        keys.retain(|key| self.waiting.is_waiting(*key));
        if keys.is_empty() {
            return;
        }
        for account in self.waiting.accounts() {
            for waiter in self.waiting.take(account, |waiter| keys.contains(&waiter.terms.key)) {
                // Whoever stood behind it may come forward.
                self.changed.insert(account);
                if let Some((at, waiter)) = self.attempt(waiter) {
                    self.waiting.insert(at, waiter);
                }
            }
        }
    }

    /// Something else than its units changed of a key.
    pub(super) fn key_changed(&mut self, key: KeyId) {
        if !self.waiting.is_empty() {
            self.keys_changed.insert(key);
        }
    }

    /// The accounts changed: whoever waits there is to be served.
    pub(super) fn note_changed(&mut self, accounts: &AccountChain) {
        if !self.waiting.is_empty() {
            self.changed.extend(accounts.iter());
        }
    }

    /// Everybody who waits is told that the store stops.
    pub(super) fn dismiss_waiting(&mut self) {
        for waiter in std::mem::take(&mut self.waiting).at.into_values().flatten() {
            self.answers.push(Answer::Denied(waiter.reply, ledger::shutting_down_denial()));
        }
    }

    /// Nobody knows what became free: memory was read from disk again, or windows are over.
    pub(super) fn look_at_all_waiting(&mut self) {
        self.changed.extend(self.waiting.at.keys());
    }

    /// When the windows of today are over and somebody may wait for that.
    pub(super) fn window_due(&self) -> Option<Instant> {
        let now = self.shared.clock.now();
        (!self.waiting.is_empty()).then(|| look_again(Timestamp::of_day(self.day + 1), now))
    }

    fn ask(&mut self, terms: &Arc<KeyTerms>, demand: &Demand, contended: bool, reply: HoldReply) -> Asked {
        match self.hold(terms, demand, contended) {
            Ok(HoldOutcome::Granted(pending)) => Asked::Answered(Answer::Granted(reply, pending)),
            Ok(HoldOutcome::Refused(refusal)) => Asked::Answered(Answer::Refused(reply, refusal)),
            Ok(HoldOutcome::Busy(account)) => Asked::Busy(account, reply),
            Err(error) => Asked::Answered(Answer::Refused(reply, HoldRefusal::Unavailable(error))),
        }
    }
}

/// Whether it needs anything that may be held by others.
pub(crate) fn needs_units(demand: &Demand) -> bool {
    demand.tokens_fixed > 0 || demand.picos_fixed > 0 || demand.steps_wanted > 0
}

/// The answer to a request whose units stay held for too long.
pub(crate) fn busy_denial() -> Denial {
    Denial::new(
        DenialCode::BudgetBusy,
        "What is left of this key's limit, or of a ceiling that it shares with other keys, is set aside for requests that \
         are still running, and they did not finish in time. Nothing was sent. Try again in a moment, send fewer requests at once, or ask for lower output caps.",
    )
}
