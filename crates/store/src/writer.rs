//! The one thread that changes state: group commit.
//!
//! It takes everything that is queued, applies it to the ledger in memory, writes what changed in one
//! transaction with one fsync, and only then answers. Invariants:
//! - nobody hears of a grant, a revocation or an admin action that is not durable;
//! - memory equals disk between batches. After a failed write that is unknown, so everything is
//!   forgotten and read again, and the callers of that batch are told that it failed;
//! - an account is evicted only between batches, when no open hold and no listener needs it.

mod administer;
mod ceilings;
mod claims;
mod closing;
mod credentials;
mod ending;
mod entities;
mod escrow;
mod hold;
mod kill;
mod loading;
mod log;
mod master_keys;
mod recovery;
mod retention;
#[cfg(test)]
mod stepping;
mod update;
pub(crate) mod waiting;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use till_core::audit::{Actor, ChainHead};
use till_core::denial::Denial;
use till_core::id_map::{IdMap, IdSet};
use till_core::key::KeyId;
use till_core::ledger::{AccountId, HoldId, Ledger};
use till_core::limit::Units;
use till_core::policy::Policy;
use till_core::rate::RateState;
use till_core::time::{Month, Timestamp};
use tokio::sync::{oneshot, watch};

use crate::answer::Others;
use crate::backend::{Backend, Batch, Instance};
use crate::command::{Closing, Command, DoneReply, ExactReply, HoldReply, Shared, TermsReply};
use crate::entity::EntityKind;
use crate::error::StoreError;
use crate::escrow::ExactUse;
use crate::hold::{HoldRefusal, Pending};
use crate::key::KeyPlace;
use crate::queue::Taken;
use crate::start::{Started, raise};
use crate::stats::count;
use crate::store::Bounds;
use crate::terms::KeyTerms;
use crate::usage_record::UsageRecord;
use crate::witness::Witness;
use ceilings::CeilingList;
use ending::{Ending, Ends};
use escrow::{Extension, Pace};
use log::Log;
use retention::Retention;
use waiting::Waiters;

/// Accounts kept in memory, beyond those that open holds and listeners need.
pub(crate) const LOADED_MAX: usize = 16_384;

/// How long a denial may wait to be written.
const DENIAL_WAIT: Duration = Duration::from_secs(1);

/// How long after a failed write settles are tried again if nothing else comes.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// How often the witness follows while keys are used: what a database put back after a crash can hide.
const RAISE_EVERY: Duration = Duration::from_secs(300);

/// How often the highest time seen is kept, with what is written anyway.
const KEEP_TIME_EVERY_MILLIS: u64 = 1_000;

/// A successful write so recent answers a probe.
const PROBE_FRESH: Duration = Duration::from_secs(1);

/// What is kept of a key while it is in use, beside its account in the ledger.
#[derive(Debug)]
struct Live {
    /// Tells the holders of this key that it ended.
    ended: watch::Sender<Option<Denial>>,
    /// Number of the batch that last used it.
    touched: u64,
    terms: Arc<KeyTerms>,
    /// Where it belongs.
    place: Arc<KeyPlace>,
    /// What is above it.
    ceilings: CeilingList,
    /// When its time is over.
    expires_at: Option<Timestamp>,
    /// What is left of its rates.
    rate: RateState,
    pace: Pace,
}

/// An answer that waits for the commit.
#[derive(Debug)]
enum Answer {
    Granted(HoldReply, Pending),
    Denied(HoldReply, Denial),
    Refused(HoldReply, HoldRefusal),
    Terms(TermsReply, Option<Arc<KeyTerms>>),
    Done(DoneReply, bool),
    /// … and then for the rest of what readers are to see.
    Exact(ExactReply, ExactUse),
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
    live: IdMap<KeyId, Live>,
    /// Rules that were asked for since they were last changed.
    policies: HashMap<(EntityKind, Box<str>), Arc<Policy>>,
    /// What messages call the loaded accounts of ceilings.
    ceiling_names: HashMap<AccountId, String>,
    /// Totals of the months that were written to since they were last read.
    months: BTreeMap<Month, u128>,
    /// Beyond so many loaded accounts idle ones are evicted.
    evict_above: usize,
    loaded_max: usize,
    /// How often keys were put out of memory, from 1.
    evictions: u64,
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
    /// Version of the newest terms.
    terms_version: u64,
    waiting: Waiters,
    /// Number of the batch that last cleared the places of those who left.
    cleared: u64,
    /// Accounts that changed, so that those who wait there may be served.
    changed: IdSet<AccountId>,
    /// Keys that changed otherwise: whoever waits for one has to hear of it.
    keys_changed: IdSet<KeyId>,
    /// The day of the last batch.
    day: u64,
    retention: Retention,
    log: Log,
    ends: Ends,
    /// Keys whose change may or may not be on disk: their terms are read again.
    unsure: IdSet<KeyId>,
    /// The highest time seen that is on disk.
    time_kept: Timestamp,
    /// When the writer last looked at the escrows.
    tended_at: Instant,
    has_open_escrows: bool,
    /// What the holds of escrows cover may be more than what was drawn: a write failed.
    escrows_unsure: bool,
    /// Escrows may have been left that nobody draws from any more.
    escrows_left: bool,
    /// Stored upstream keys that changed may or may not be on disk.
    credentials_unsure: bool,
    // Of the current batch:
    number: u64,
    operations: usize,
    now: Timestamp,
    batch: Batch,
    dirty: IdSet<AccountId>,
    dirty_months: BTreeSet<Month>,
    closings: Vec<Closing>,
    /// Records of refused calls in the batch.
    denied: Vec<Arc<UsageRecord>>,
    answers: Vec<Answer>,
    ending: Vec<Ending>,
    /// Senders that new ones took the place of.
    replaced: Vec<(KeyId, watch::Sender<Option<Denial>>)>,
    /// Everybody is to be told that everything is stopped.
    killing: bool,
    /// Keys with new terms.
    renewed: Vec<KeyId>,
    /// Keys that were expired and are not any more.
    revived: Vec<KeyId>,
    /// Keys that units are to be counted out for, with those of the newest call.
    busy: Vec<(KeyId, Units)>,
    /// What may be drawn once the batch is durable.
    extending: Vec<Extension>,
    /// Escrows whose holds are closed in the batch.
    ending_escrows: Vec<HoldId>,
    /// Accounts whose limit was broken in the batch.
    overrun: Vec<AccountId>,
    /// Ceilings below which nothing is counted out any more in the batch.
    recalled: IdSet<AccountId>,
    /// Somebody wants to read what is true after the batch.
    wants_exact: bool,
    /// The action that is being done has changed something that is not undone.
    is_half_done: bool,
    /// An action broke off half-way: nothing of the batch may be written.
    broken: Option<StoreError>,
    /// Who waits until readers see what was committed up to then.
    readers: VecDeque<(u64, ExactReply, ExactUse)>,
}

impl Writer {
    pub(crate) fn new(started: Started, shared: Arc<Shared>, bounds: &Bounds) -> Self {
        let loaded_max = bounds.loaded_max;
        let (now, instant) = (shared.clock.now(), shared.clock.instant());
        let Started { backend, witness, instance, ledger, head, log, was_closed: _ } = started;
        let time_kept = instance.time_seen;
        Self {
            shared,
            backend,
            witness,
            instance,
            ledger,
            head,
            live: IdMap::default(),
            policies: HashMap::new(),
            ceiling_names: HashMap::new(),
            months: BTreeMap::new(),
            evict_above: loaded_max,
            loaded_max,
            evictions: 1,
            stale: false,
            retry: Vec::new(),
            retry_due: None,
            denials_due: None,
            raised_at: instant,
            used_since_raise: false,
            written_at: None,
            stop: Vec::new(),
            terms_version: 0,
            waiting: Waiters::default(),
            cleared: 0,
            changed: IdSet::default(),
            keys_changed: IdSet::default(),
            day: now.day(),
            retention: Retention::new(bounds.usage_retention, instant),
            log: Log::new(log, bounds.audit_retention),
            ends: Ends::default(),
            unsure: IdSet::default(),
            time_kept,
            tended_at: instant,
            has_open_escrows: false,
            escrows_unsure: false,
            escrows_left: false,
            credentials_unsure: false,
            number: 0,
            operations: 0,
            now,
            batch: Batch::default(),
            dirty: IdSet::default(),
            dirty_months: BTreeSet::new(),
            closings: Vec::new(),
            denied: Vec::new(),
            answers: Vec::new(),
            ending: Vec::new(),
            replaced: Vec::new(),
            killing: false,
            renewed: Vec::new(),
            revived: Vec::new(),
            busy: Vec::new(),
            extending: Vec::new(),
            ending_escrows: Vec::new(),
            overrun: Vec::new(),
            recalled: IdSet::default(),
            wants_exact: false,
            is_half_done: false,
            broken: None,
            readers: VecDeque::new(),
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
        let nothing_denied = self.shared.denials.is_empty() && self.shared.denied_records.is_empty();
        self.denials_due = if nothing_denied {
            None
        } else {
            Some(self.denials_due.unwrap_or_else(|| Instant::now() + DENIAL_WAIT))
        };
        if self.stale {
            // Nothing else can be done before the store works again, and what is due meanwhile stays due.
            self.retry_due = Some(self.retry_due.unwrap_or_else(|| Instant::now() + RETRY_WAIT));
            return self.retry_due;
        }
        let raise = self.used_since_raise.then(|| self.raised_at + RAISE_EVERY);
        let end = self.ends.due(self.shared.clock.now());
        let (fold, tend) = (self.backend.fold_due(), self.tend_due());
        let retention = Some(self.retention.due());
        let (log, window) = (self.log_due(), self.window_due());
        let all = [self.denials_due, self.retry_due, raise, retention, end, fold, tend, log, window];
        all.into_iter().flatten().min()
    }

    fn run_batch(&mut self, commands: &mut Vec<Command>) {
        self.number += 1;
        self.now = self.shared.clock.now();
        self.operations = commands.len();
        count(&self.shared.counters.operations, self.operations);
        if let Err(error) = self.recover() {
            self.cut_what_is_over();
            return self.refuse_all(commands, &error);
        }
        self.recalled.clear();
        self.reconcile_escrows();
        self.end_what_is_over();
        if std::mem::replace(&mut self.day, self.now.day()) != self.day {
            // Windows are over, and those that begin have everything free.
            self.look_at_all_waiting();
        }
        for closing in std::mem::take(&mut self.retry) {
            self.close(closing);
        }
        self.close_shut_escrows();
        self.tend_escrows();
        for command in commands.drain(..) {
            self.apply(command);
        }
        self.recall_below_overrun();
        if self.shared.is_stopping() {
            self.recall_all();
        }
        self.serve_waiting();
        if self.shared.is_stopping() {
            self.dismiss_waiting();
        }
        self.escrow_for_the_busy();
        self.retry_due = (!self.retry.is_empty()).then(|| Instant::now() + RETRY_WAIT);
        self.shared.counters.waiting.set(self.waiting.len() as u64);
        let whole = self.broken.take().map_or(Ok(()), Err);
        match whole.and_then(|()| self.tend_log()).and_then(|()| self.commit()) {
            Ok(()) => self.succeed(),
            Err(error) => self.fail(&error),
        }
        self.witness_log();
        if self.stale {
            // Nothing is written before it was read again what is on disk.
            return;
        }
        self.delete_what_is_old();
        if self.used_since_raise && self.shared.clock.instant() - self.raised_at >= RAISE_EVERY {
            self.raise(false)
                .unwrap_or_else(|error| tracing::error!(%error, "the witness could not be written"));
        }
    }

    fn apply(&mut self, command: Command) {
        match command {
            Command::Hold { terms, demand, reply } => self.arrive(terms, demand, reply),
            Command::Terms { key, reply } => match self.ensure_loaded(key) {
                Ok(_) => {
                    let terms = self.live.get(&key).map(|live| Arc::clone(&live.terms));
                    self.answers.push(Answer::Terms(reply, terms));
                }
                // Whoever stopped waiting needs no answer; so in all sends below.
                Err(error) => drop(reply.send(Err(error))),
            },
            Command::Close(closing) => self.close(closing),
            Command::Extend(id) => self.extend(id),
            Command::Drain(id) => self.drain_shut(id),
            Command::Administer { what, reply } => match self.administer(*what) {
                Ok(found) => self.answers.push(Answer::Done(reply, found)),
                Err(error) => {
                    // What could not be read may have been needed by what was done before.
                    if self.is_half_done || matches!(error, StoreError::Failed { .. }) {
                        self.broken.get_or_insert_with(|| error.clone());
                    }
                    drop(reply.send(Err(error)));
                }
            },
            Command::Used { kind, id } => self.batch.uses.push((kind, id, self.now)),
            Command::Seen { reply } => {
                self.batch.time_seen = Some(self.now);
                self.answers.push(Answer::Done(reply, true));
            }
            Command::Exact { about, reply } => {
                let used = self.exact(about);
                self.wants_exact = true;
                self.answers.push(Answer::Exact(reply, used));
            }
            Command::Probe { reply } => {
                self.drain_all();
                self.batch.probe = self.written_at.is_none_or(|at| at.elapsed() > PROBE_FRESH);
                self.answers.push(Answer::Done(reply, true));
            }
            Command::Stop { reply } => {
                self.stop.push(reply);
                self.shared.queue.close();
            }
        }
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
        crate::failpoint!("audit.append");
    }

    /// The project of a key, as entries about it name it, so that its auditors find them.
    fn project_of(&mut self, key: KeyId) -> Result<Option<String>, StoreError> {
        match self.live.get(&key) {
            Some(live) => Ok(Some(live.place.project.clone())),
            None => Ok(self.backend.key_place(key)?.map(|place| place.project)),
        }
    }

    /// Writes the batch, if there is something to write.
    fn commit(&mut self) -> Result<(), StoreError> {
        self.batch.accounts.extend(self.dirty.drain());
        for month in std::mem::take(&mut self.dirty_months) {
            self.batch.months.push((month, self.months[&month]));
        }
        self.batch.fold = std::mem::take(&mut self.wants_exact);
        let denials_due = self.denials_due.is_some_and(|due| due <= Instant::now());
        if self.batch.is_empty() && !denials_due {
            return self.fold_alone();
        }
        self.shared.denials.take(&mut self.batch.denials);
        self.log.note_denials(&mut self.batch.denials);
        self.shared.denied_records.take(&mut self.denied);
        self.batch.usage.extend(self.denied.iter().cloned());
        self.denials_due = None;
        if self.batch.is_empty() {
            return self.fold_alone();
        }
        // By the time that it is, which may jump, and not by what has passed: an answer says how late it is as well.
        if self.now.0.saturating_sub(self.time_kept.0) >= KEEP_TIME_EVERY_MILLIS && !planted!(TimeNotKept) {
            self.batch.time_seen = Some(self.now);
        }
        let begun = Instant::now();
        self.backend.commit(&self.batch, &self.ledger)?;
        self.time_kept = self.batch.time_seen.unwrap_or(self.time_kept);
        let written = Instant::now();
        let counters = &self.shared.counters;
        counters.committed(self.operations, begun, written);
        counters.settled(&self.closings, written);
        counters.used(&self.batch.usage);
        self.written_at = Some(written);
        self.used_since_raise |= !self.batch.accounts.is_empty();
        Ok(())
    }

    /// There is nothing to write. Then it is time for what is to be brought to where readers see it.
    fn fold_alone(&mut self) -> Result<(), StoreError> {
        if self.batch.fold {
            self.backend.want_folded();
        }
        if self.backend.fold_due().is_some_and(|due| due <= Instant::now()) {
            self.backend.fold_piece()?;
            self.written_at = Some(Instant::now());
        }
        Ok(())
    }

    /// Tells those who wait to read what they can.
    fn answer_readers(&mut self) {
        let folded = self.backend.folded();
        while self.readers.front().is_some_and(|(committed, ..)| *committed <= folded) {
            let (_, reply, used) = self.readers.pop_front().expect("it was just seen");
            // Whoever stopped waiting needs no answer.
            let _ = reply.send(Ok(used));
        }
    }

    fn succeed(&mut self) {
        crate::failpoint!("answer.begin");
        if let Some(instance) = self.batch.instance.take() {
            self.adopt(instance);
        }
        self.credentials_succeed();
        for (ended, why) in self.ending.drain(..) {
            ended.send_replace(Some(why));
        }
        if std::mem::take(&mut self.killing) {
            self.tell_all();
        }
        self.ends.succeed();
        self.open_escrows();
        self.end_escrows();
        self.replaced.clear();
        self.renewed.clear();
        self.revived.clear();
        let (mut first, mut others) = (None, Others::default());
        let mut answer_hold = |reply: HoldReply, answer| {
            if first.is_none() {
                first = Some((reply, answer));
            } else {
                reply.send_with(answer, &mut others);
            }
        };
        for answer in self.answers.drain(..) {
            match answer {
                // A pending hold that is dropped here, unsent or unread, voids itself.
                Answer::Granted(reply, pending) => answer_hold(reply, Ok(pending)),
                Answer::Denied(reply, denial) => answer_hold(reply, Err(HoldRefusal::Denied(denial))),
                Answer::Refused(reply, refusal) => answer_hold(reply, Err(refusal)),
                Answer::Terms(reply, terms) => drop(reply.send(Ok(terms))),
                Answer::Done(reply, found) => drop(reply.send(Ok(found))),
                Answer::Exact(reply, used) => {
                    self.readers.push_back((self.backend.committed(), reply, used));
                }
            }
        }
        if let Some((reply, answer)) = first {
            reply.send(answer, others);
        }
        crate::failpoint!("answer.end");
        self.answer_readers();
        if !self.batch.audit.is_empty() {
            self.witness.see_log(self.head);
        }
        self.log.is_sealed_anew |= self.batch.log.checkpoint.is_some();
        self.batch.clear();
        self.closings.clear();
        self.denied.clear();
        self.shared.spare_records.put(&mut self.backend.take_spare_records());
        if self.ledger.accounts_loaded() > self.evict_above {
            self.evict();
        }
    }

    fn raise(&mut self, stopped_clean: bool) -> Result<(), StoreError> {
        self.raised_at = self.shared.clock.instant();
        self.used_since_raise = false;
        if self.ledger.is_fenced() {
            return Ok(());
        }
        self.instance.time_seen = self.shared.clock.now();
        let raised = raise(self.backend.as_mut(), &mut self.witness, &mut self.instance, stopped_clean);
        // What the store has now is unknown after an error.
        self.stale |= raised.is_err();
        raised
    }

    /// Writes what is left and marks the stop as clean.
    fn finish(&mut self) -> Result<(), StoreError> {
        let nothing_denied = self.shared.denials.is_empty() && self.shared.denied_records.is_empty();
        self.denials_due = (!nothing_denied).then(Instant::now);
        if self.stale || !self.retry.is_empty() || self.denials_due.is_some() {
            self.run_batch(&mut Vec::new());
        }
        crate::failpoint!("stop.begin");
        self.end_log();
        self.recover()?;
        if !self.retry.is_empty() {
            return Err(StoreError::Invalid {
                reason: "some settles could not be written; they count as spent".into(),
            });
        }
        self.witness.end_log();
        self.raise(true)?;
        crate::failpoint!("stop.marked");
        self.backend.checkpoint().unwrap_or_else(
            |error| tracing::warn!(%error, "the journal was not folded; the next start does it"),
        );
        Ok(())
    }
}

fn key_of(account: AccountId) -> Option<KeyId> {
    match account {
        AccountId::Key(key) => Some(key),
        AccountId::Ceiling(_) => None,
    }
}

fn units_json(units: Units) -> serde_json::Value {
    json!({"activations": units.activations, "tokens": units.tokens, "spendNanos": units.spend_nanos})
}
