//! The one thread that changes state: group commit.
//!
//! It takes everything that is queued, applies it to the ledger in memory, writes what changed in one
//! transaction with one fsync, and only then answers. Invariants:
//! - nobody hears of a grant, a revocation or an admin action that is not durable;
//! - memory equals disk between batches. After a failed write that is unknown, so everything is
//!   forgotten and read again, and the callers of that batch are told that it failed;
//! - an account is evicted only between batches, when no open hold and no listener needs it.

mod administer;
mod recovery;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use till_core::audit::{Actor, ChainHead};
use till_core::denial::{Denial, DenialCode};
use till_core::key::KeyId;
use till_core::ledger::{self, AccountChain, AccountId, Closed, Ledger};
use till_core::limit::Units;
use till_core::time::Timestamp;
use tokio::sync::{oneshot, watch};

use crate::backend::{Backend, Batch, Instance};
use crate::clock;
use crate::command::{Closing, Command, DoneReply, HoldReply, Shared};
use crate::error::StoreError;
use crate::hold::{Hold, HoldRefusal, Pending};
use crate::month::Month;
use crate::queue::Taken;
use crate::start::{Started, raise};
use crate::stats::count;
use crate::witness::Witness;

/// Accounts kept in memory, beyond those that open holds and listeners need.
pub(crate) const LOADED_MAX: usize = 16_384;

/// How long a denial may wait to be written.
const DENIAL_WAIT: Duration = Duration::from_secs(1);

/// How long after a failed write settles are tried again if nothing else comes.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// How often the witness follows while keys are used: what a database put back after a crash can hide.
const RAISE_EVERY: Duration = Duration::from_secs(300);

/// A successful write so recent answers a probe.
const PROBE_FRESH: Duration = Duration::from_secs(1);

/// What is kept of a key while it is in use, beside its account in the ledger.
#[derive(Debug)]
struct Live {
    /// Tells the holders of this key that it ended.
    ended: watch::Sender<Option<Denial>>,
    /// Number of the batch that last used it.
    touched: u64,
}

/// An answer that waits for the commit.
#[derive(Debug)]
enum Answer {
    Granted(HoldReply, Pending),
    Denied(HoldReply, Denial),
    Done(DoneReply, bool),
}

/// Who waits for the end.
pub(crate) type StopReply = oneshot::Sender<Result<(), StoreError>>;

pub(crate) struct Writer {
    shared: Arc<Shared>,
    backend: Box<dyn Backend>,
    witness: Witness,
    instance: Instance,
    ledger: Ledger,
    head: ChainHead,
    live: HashMap<KeyId, Live>,
    /// Totals of the months that were written to since they were last read.
    months: BTreeMap<Month, u128>,
    /// Beyond so many loaded accounts idle ones are evicted.
    evict_above: usize,
    loaded_max: usize,
    /// Memory may differ from disk: read again before anything else.
    stale: bool,
    /// Ends of holds that a failed write left to do.
    retry: Vec<Closing>,
    retry_due: Option<Instant>,
    denials_due: Option<Instant>,
    raised_at: Instant,
    used_since_raise: bool,
    written_at: Option<Instant>,
    stop: Vec<StopReply>,
    // Of the current batch:
    number: u64,
    now: Timestamp,
    batch: Batch,
    dirty: HashSet<AccountId>,
    dirty_months: HashSet<Month>,
    closings: Vec<Closing>,
    answers: Vec<Answer>,
    revoked: Vec<KeyId>,
}

impl Writer {
    pub(crate) fn new(started: Started, shared: Arc<Shared>, loaded_max: usize) -> Self {
        let Started { backend, witness, instance, ledger, head } = started;
        Self {
            shared,
            backend,
            witness,
            instance,
            ledger,
            head,
            live: HashMap::new(),
            months: BTreeMap::new(),
            evict_above: loaded_max,
            loaded_max,
            stale: false,
            retry: Vec::new(),
            retry_due: None,
            denials_due: None,
            raised_at: Instant::now(),
            used_since_raise: false,
            written_at: None,
            stop: Vec::new(),
            number: 0,
            now: clock::now(),
            batch: Batch::default(),
            dirty: HashSet::new(),
            dirty_months: HashSet::new(),
            closings: Vec::new(),
            answers: Vec::new(),
            revoked: Vec::new(),
        }
    }

    /// Works until the queue is closed, then writes what is left. The files are closed when it returns:
    /// with what came of it, and who wants to know.
    pub(crate) fn run(mut self) -> (Result<(), StoreError>, Vec<StopReply>) {
        let mut commands = Vec::new();
        let mut worked = false;
        loop {
            let due = self.due();
            let taken = self.shared.queue.take(&mut commands, due, worked);
            worked = !commands.is_empty();
            self.run_batch(&mut commands);
            if taken == Taken::Last {
                return (self.finish(), std::mem::take(&mut self.stop));
            }
        }
    }

    /// When to wake up although nobody asks for anything.
    fn due(&mut self) -> Option<Instant> {
        self.denials_due = if self.shared.denials.is_empty() {
            None
        } else {
            Some(self.denials_due.unwrap_or_else(|| Instant::now() + DENIAL_WAIT))
        };
        let raise = self.used_since_raise.then(|| self.raised_at + RAISE_EVERY);
        [self.denials_due, self.retry_due, raise].into_iter().flatten().min()
    }

    fn run_batch(&mut self, commands: &mut Vec<Command>) {
        self.number += 1;
        self.now = clock::now();
        count(&self.shared.counters.operations, commands.len());
        if let Err(error) = self.recover() {
            return self.refuse_all(commands, &error);
        }
        for closing in std::mem::take(&mut self.retry) {
            self.close(closing);
        }
        for command in commands.drain(..) {
            self.apply(command);
        }
        self.retry_due = (!self.retry.is_empty()).then(|| Instant::now() + RETRY_WAIT);
        match self.commit() {
            Ok(()) => self.succeed(),
            Err(error) => self.fail(&error),
        }
        if self.used_since_raise && self.raised_at.elapsed() >= RAISE_EVERY {
            self.raise(false)
                .unwrap_or_else(|error| tracing::error!(%error, "the witness could not be written"));
        }
    }

    fn apply(&mut self, command: Command) {
        match command {
            Command::Hold { key, units, reply } => match self.hold(key, units) {
                Ok(Ok(pending)) => self.answers.push(Answer::Granted(reply, pending)),
                Ok(Err(denial)) => self.answers.push(Answer::Denied(reply, denial)),
                // Whoever stopped waiting needs no answer; so in all sends below.
                Err(error) => drop(reply.send(Err(HoldRefusal::Unavailable(error)))),
            },
            Command::Close(closing) => self.close(closing),
            Command::Administer { what, reply } => match self.administer(*what) {
                Ok(found) => self.answers.push(Answer::Done(reply, found)),
                Err(error) => drop(reply.send(Err(error))),
            },
            Command::Probe { reply } => {
                self.batch.probe = self.written_at.is_none_or(|at| at.elapsed() > PROBE_FRESH);
                self.answers.push(Answer::Done(reply, true));
            }
            Command::Stop { reply } => {
                self.stop.push(reply);
                self.shared.queue.close();
            }
        }
    }

    fn hold(&mut self, key: KeyId, units: Units) -> Result<Result<Pending, Denial>, StoreError> {
        if self.shared.is_stopping() {
            return Ok(Err(ledger::shutting_down_denial()));
        }
        if !self.ledger.is_fenced() {
            self.ensure_loaded(key)?;
            self.ensure_month(Month::of(self.now))?;
        }
        let id = AccountId::Key(key);
        let grant = match self.ledger.hold(AccountChain::of_key(id), units, self.now) {
            Ok(grant) => grant,
            Err(denial) => {
                if denial.code != DenialCode::InvalidKey {
                    self.shared.denials.add(key, denial.code, self.now);
                }
                return Ok(Err(denial));
            }
        };
        self.dirty.insert(id);
        self.batch.holds_opened.push(grant.id);
        self.count_month(self.now, units.activations, 0);
        let live = self.live.get_mut(&key).expect("a loaded key is live");
        live.touched = self.number;
        let ended = live.ended.subscribe();
        Ok(Ok(Pending::new(Hold::new(Arc::clone(&self.shared), grant.id, units, grant.remaining, ended))))
    }

    /// Ends a hold; one that is not open any more is left alone.
    fn close(&mut self, closing: Closing) {
        let Some(at) = self.ledger.open_hold(closing.id).map(|hold| hold.at) else {
            return;
        };
        if self.ensure_month(Month::of(at)).is_err() {
            self.retry.push(closing);
            return;
        }
        match self.ledger.settle(closing.id, closing.used) {
            Ok(Some(closed)) => self.closed(closing, &closed),
            Ok(None) => {}
            // The hold stays open and becomes an orphan, which is spent.
            Err(error) => tracing::error!(%error, hold = ?closing.id, "a settle could not be counted"),
        }
    }

    fn closed(&mut self, closing: Closing, closed: &Closed) {
        self.dirty.extend(closed.hold.accounts.iter());
        self.batch.holds_closed.push(closing.id);
        self.closings.push(closing);
        self.count_month(closed.hold.at, closing.used.activations, closed.hold.units.activations);
        for account in &closed.overrun {
            count(&self.shared.counters.overruns, 1);
            let detail = json!({
                "hold": format!("{}-{}", closing.id.incarnation, closing.id.number),
                "held": units_json(closed.hold.units),
                "used": units_json(closing.used),
            });
            tracing::error!(key = %account, %detail, "more was used than a limit allows; the key is stopped");
            let account = account.to_string();
            self.audit(&Actor::system(), "ledger.overrun", &account, detail.to_string());
        }
    }

    /// Puts a key's account into memory; `false` when there is no such key.
    fn ensure_loaded(&mut self, key: KeyId) -> Result<bool, StoreError> {
        let id = AccountId::Key(key);
        if self.ledger.account(id).is_none() {
            let Some(account) = self.backend.account(id)? else {
                return Ok(false);
            };
            self.ledger.load(id, account);
        }
        self.live
            .entry(key)
            .or_insert_with(|| Live { ended: watch::Sender::new(None), touched: self.number });
        Ok(true)
    }

    fn ensure_month(&mut self, month: Month) -> Result<(), StoreError> {
        if !self.months.contains_key(&month) {
            let total = self.backend.month_total(month)?;
            self.months.insert(month, total);
        }
        Ok(())
    }

    /// Replaces `before` activations by `used` in the month of a hold.
    fn count_month(&mut self, at: Timestamp, used: u64, before: u64) {
        if used == before {
            return;
        }
        let month = Month::of(at);
        if let Some(total) = self.months.get_mut(&month) {
            // A statistic, which the ledger does not depend on: it may stop at its ends.
            *total = total.saturating_add(used.into()).saturating_sub(before.into());
            self.dirty_months.insert(month);
        }
    }

    fn audit(&mut self, actor: &Actor, action: &str, target: &str, detail: String) {
        self.batch.audit.push(self.head.append(self.now, actor, action, target, detail));
    }

    /// Writes the batch, if there is something to write.
    fn commit(&mut self) -> Result<(), StoreError> {
        self.batch.accounts.extend(self.dirty.drain());
        for month in self.dirty_months.drain() {
            self.batch.months.push((month, self.months[&month]));
        }
        let denials_due = self.denials_due.is_some_and(|due| due <= Instant::now());
        if self.batch.is_empty() && !denials_due {
            return Ok(());
        }
        self.shared.denials.take(&mut self.batch.denials);
        self.denials_due = None;
        if self.batch.is_empty() {
            return Ok(());
        }
        self.backend.commit(&self.batch, &self.ledger)?;
        count(&self.shared.counters.batches, 1);
        self.written_at = Some(Instant::now());
        self.used_since_raise |= !self.batch.accounts.is_empty();
        Ok(())
    }

    fn succeed(&mut self) {
        if let Some(instance) = self.batch.instance.take() {
            self.adopt(instance);
        }
        for key in self.revoked.drain(..) {
            if let Some(live) = self.live.get(&key) {
                live.ended.send_replace(Some(ledger::revoked_denial(key)));
            }
        }
        for answer in self.answers.drain(..) {
            match answer {
                // A pending hold that is dropped here, unsent or unread, voids itself.
                Answer::Granted(reply, pending) => drop(reply.send(Ok(pending))),
                Answer::Denied(reply, denial) => drop(reply.send(Err(HoldRefusal::Denied(denial)))),
                Answer::Done(reply, found) => drop(reply.send(Ok(found))),
            }
        }
        self.batch.clear();
        self.closings.clear();
        if self.ledger.accounts_loaded() > self.evict_above {
            self.evict();
        }
    }

    /// Forgets the idle keys that were used longest ago, until half of what may be loaded is left.
    fn evict(&mut self) {
        let idle = |(key, live): (&KeyId, &Live)| {
            let needed = live.ended.receiver_count() > 0 || self.ledger.is_pinned(AccountId::Key(*key));
            (!needed).then_some((live.touched, *key))
        };
        let mut idle: Vec<(u64, KeyId)> = self.live.iter().filter_map(idle).collect();
        idle.sort_unstable();
        let surplus = self.live.len().saturating_sub(self.loaded_max / 2);
        for (_, key) in idle.into_iter().take(surplus) {
            self.ledger.evict(AccountId::Key(key));
            self.live.remove(&key);
        }
        // When most are needed, do not look again at every batch.
        self.evict_above = self.loaded_max.max(self.ledger.accounts_loaded().saturating_mul(2));
    }

    fn raise(&mut self, stopped_clean: bool) -> Result<(), StoreError> {
        self.raised_at = Instant::now();
        self.used_since_raise = false;
        if self.ledger.is_fenced() {
            return Ok(());
        }
        let raised = raise(self.backend.as_mut(), &mut self.witness, &mut self.instance, stopped_clean);
        // What the store has now is unknown after an error.
        self.stale |= raised.is_err();
        raised
    }

    /// Writes what is left and marks the stop as clean.
    fn finish(&mut self) -> Result<(), StoreError> {
        self.denials_due = (!self.shared.denials.is_empty()).then(Instant::now);
        if self.stale || !self.retry.is_empty() || self.denials_due.is_some() {
            self.run_batch(&mut Vec::new());
        }
        self.recover()?;
        if !self.retry.is_empty() {
            return Err(StoreError::Invalid {
                reason: "some settles could not be written; they count as spent".into(),
            });
        }
        self.raise(true)?;
        self.backend.checkpoint().unwrap_or_else(
            |error| tracing::warn!(%error, "the journal was not folded; the next start does it"),
        );
        Ok(())
    }
}

fn units_json(units: Units) -> serde_json::Value {
    json!({"activations": units.activations, "tokens": units.tokens, "spendNanos": units.spend_nanos})
}
