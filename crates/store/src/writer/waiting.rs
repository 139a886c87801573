//! Requests that wait for units which are only held by others.
//!
//! - They are served in the order in which they came. One that needs less may pass the first a bounded number of
//!   times, so that a big one is not starved.
//! - Every change of an account looks at its queue again, in the same batch: what a settle gives back is granted
//!   with the same fsync.
//! - A queue is bounded, and whoever waits in it gives up after a while by itself: a caller that is gone is dropped.

use std::collections::VecDeque;
use std::sync::Arc;

use till_core::demand::Demand;
use till_core::denial::{Denial, DenialCode};
use till_core::key::KeyId;
use till_core::ledger;

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
pub(super) struct Waiter {
    terms: Arc<KeyTerms>,
    demand: Demand,
    reply: HoldReply,
    /// How often it was passed while it was the first.
    passed: u32,
}

/// Those that wait for one key, in order.
pub(super) type Waiters = VecDeque<Waiter>;

/// What came of asking.
pub(super) enum Asked {
    Answered(Answer),
    /// It has to wait; here is the way to answer it.
    Busy(HoldReply),
}

impl Writer {
    /// A new demand: answered, or put at the end of its queue.
    pub(super) fn arrive(&mut self, terms: Arc<KeyTerms>, demand: Demand, reply: HoldReply) {
        let key = terms.key;
        if !self.waiting.is_empty() {
            self.forget_those_who_left(key);
            // What came back in this batch belongs to those who came before.
            if self.changed.remove(&key) {
                self.serve_key(key);
            }
        }
        let is_queued = self.waiting.get(&key).is_some_and(|queue| !queue.is_empty());
        let may_pass = !needs_units(&demand)
            || self.waiting.get(&key).and_then(VecDeque::front).is_none_or(|first| first.passed < PASSES_MAX);
        let reply = if may_pass {
            match self.ask(&terms, &demand, is_queued, reply) {
                Asked::Answered(answer) => {
                    let granted = matches!(answer, Answer::Granted(..));
                    self.answers.push(answer);
                    if granted && needs_units(&demand) {
                        self.passed(key);
                    }
                    return;
                }
                Asked::Busy(reply) => reply,
            }
        } else {
            reply
        };
        if self.is_full(key) {
            self.answers.push(Answer::Denied(reply, busy_denial()));
            return;
        }
        self.waiting.entry(key).or_default().push_back(Waiter { terms, demand, reply, passed: 0 });
        self.waiters += 1;
    }

    /// Whether there is no place to wait for this key, also after the places of those who left are cleared. Those who
    /// leave say nothing, so this looks through the queues, but only once per batch.
    fn is_full(&mut self, key: KeyId) -> bool {
        let full = |writer: &Self| {
            let queue = writer.waiting.get(&key).map_or(0, VecDeque::len);
            queue >= PER_KEY_MAX || writer.waiters >= TOTAL_MAX
        };
        if full(self) && self.cleared != self.number {
            self.cleared = self.number;
            for queue in self.waiting.values_mut() {
                queue.retain(|waiter| !waiter.reply.is_closed());
            }
            self.waiting.retain(|_, queue| !queue.is_empty());
            self.waiters = self.waiting.values().map(VecDeque::len).sum();
        }
        full(self)
    }

    /// Nobody waits behind somebody who is not there any more.
    fn forget_those_who_left(&mut self, key: KeyId) {
        let Some(queue) = self.waiting.get_mut(&key) else { return };
        while queue.front().is_some_and(|first| first.reply.is_closed()) {
            queue.pop_front();
            self.waiters -= 1;
        }
        if queue.is_empty() {
            self.waiting.remove(&key);
        }
    }

    fn passed(&mut self, key: KeyId) {
        if let Some(first) = self.waiting.get_mut(&key).and_then(VecDeque::front_mut) {
            first.passed += 1;
        }
    }

    /// Looks again at the queues of the keys whose accounts changed.
    pub(super) fn serve_waiting(&mut self) {
        for key in std::mem::take(&mut self.changed) {
            self.serve_key(key);
        }
    }

    fn serve_key(&mut self, key: KeyId) {
        if let Some(queue) = self.waiting.remove(&key) {
            self.waiters -= queue.len();
            let left = self.serve(queue);
            self.waiters += left.len();
            if !left.is_empty() {
                self.waiting.insert(key, left);
            }
        }
    }

    /// Serves one queue as far as that goes, and gives back who still waits.
    fn serve(&mut self, mut queue: Waiters) -> Waiters {
        queue.retain(|waiter| !waiter.reply.is_closed());
        let mut place = 0;
        while place < queue.len().min(LOOK_AHEAD) {
            if place > 0 && queue[0].passed >= PASSES_MAX {
                break;
            }
            let Waiter { terms, demand, reply, passed } = queue.remove(place).expect("within the queue");
            let contended = !queue.is_empty();
            match self.ask(&terms, &demand, contended, reply) {
                Asked::Answered(answer) => {
                    if place > 0 && matches!(answer, Answer::Granted(..)) {
                        queue[0].passed += 1;
                    }
                    self.answers.push(answer);
                }
                Asked::Busy(reply) => {
                    queue.insert(place, Waiter { terms, demand, reply, passed });
                    place += 1;
                }
            }
        }
        queue
    }

    /// Everybody who waits is told that the store stops.
    pub(super) fn dismiss_waiting(&mut self) {
        for waiter in self.waiting.drain().flat_map(|(_, queue)| queue) {
            self.answers.push(Answer::Denied(waiter.reply, ledger::shutting_down_denial()));
        }
        self.waiters = 0;
    }

    /// After memory was read from disk again nobody knows what became free.
    pub(super) fn look_at_all_waiting(&mut self) {
        self.changed.extend(self.waiting.keys());
    }

    fn ask(&mut self, terms: &Arc<KeyTerms>, demand: &Demand, contended: bool, reply: HoldReply) -> Asked {
        match self.hold(terms, demand, contended) {
            Ok(Some(Ok(pending))) => Asked::Answered(Answer::Granted(reply, pending)),
            Ok(Some(Err(refusal))) => Asked::Answered(Answer::Refused(reply, refusal)),
            Ok(None) => Asked::Busy(reply),
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
        "What is left of this key's limit is set aside for requests that are still running, and they did not finish \
         in time. Nothing was sent. Try again in a moment, send fewer requests at once, or ask for lower output caps.",
    )
}
