//! Counters of the store for metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use till_core::metric::{Counter, Gauge, Histogram, NUMBERS, Reading, SHORT};

use crate::command::Closing;
use crate::usage_record::{TokenCounts, UsageRecord};

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Transactions committed.
    pub batches: u64,
    /// Operations taken from the queue.
    pub operations: u64,
    /// Transactions that failed.
    pub commit_failures: u64,
    /// Settles that broke a limit.
    pub overruns: u64,
    /// Settles above what was held.
    pub holds_exceeded: u64,
    /// Operations waiting now.
    pub queue_length: u64,
    /// Keys for which units are counted out ahead.
    pub escrows_open: u64,
    /// Requests that wait until others settle.
    pub waiting: u64,
    /// Ends of calls that were granted from memory, out of an escrow.
    pub settles_ahead: u64,
    /// Ends of calls that had a hold of their own on disk.
    pub settles_own: u64,
    /// Denials that were written.
    pub denials: u64,
    /// From asking the writer for a hold to its answer, in nanoseconds. Calls that are granted from memory don't ask.
    pub hold: Reading,
    /// From the end of a call to its record on disk, in nanoseconds.
    pub settle: Reading,
    /// One transaction with its fsync, in nanoseconds.
    pub commit: Reading,
    /// Operations that came together.
    pub batch: Reading,
    /// What calls came to whose end is on disk, by provider.
    pub usage: Vec<ProviderUsage>,
}

/// What calls of one provider came to since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderUsage {
    /// Id of the provider.
    pub provider: Arc<str>,
    /// What keys were charged, in nano-dollars.
    pub spend_nanos: u64,
    /// What keys were charged, in tokens.
    pub tokens_charged: u64,
    /// What answers say was used.
    pub tokens: TokenCounts,
}

/// The counters that the writer raises. They order nothing, so relaxed is enough.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) batches: AtomicU64,
    pub(crate) operations: AtomicU64,
    pub(crate) commit_failures: AtomicU64,
    pub(crate) overruns: AtomicU64,
    pub(crate) holds_exceeded: AtomicU64,
    pub(crate) waiting: Gauge,
    settles_ahead: Counter,
    settles_own: Counter,
    hold: Histogram,
    settle: Histogram,
    commit: Histogram,
    batch: Histogram,
    /// Taken once per batch.
    usage: Mutex<Vec<ProviderUsage>>,
}

impl Counters {
    pub(crate) fn read(&self, queue_length: usize, escrows_open: usize, denials: u64) -> StoreStats {
        StoreStats {
            batches: self.batches.load(Ordering::Relaxed),
            operations: self.operations.load(Ordering::Relaxed),
            commit_failures: self.commit_failures.load(Ordering::Relaxed),
            overruns: self.overruns.load(Ordering::Relaxed),
            holds_exceeded: self.holds_exceeded.load(Ordering::Relaxed),
            queue_length: queue_length as u64,
            escrows_open: escrows_open as u64,
            waiting: self.waiting.read(),
            settles_ahead: self.settles_ahead.read(),
            settles_own: self.settles_own.read(),
            denials,
            hold: self.hold.read(),
            settle: self.settle.read(),
            commit: self.commit.read(),
            batch: self.batch.read(),
            usage: self.usage.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// The writer answered a hold that was asked for at `asked`.
    pub(crate) fn held(&self, asked: Instant) {
        self.hold.observe_time(&SHORT, asked.elapsed());
    }

    /// A transaction of so many operations that began at `begun` is on disk since `written`.
    pub(crate) fn committed(&self, operations: usize, begun: Instant, written: Instant) {
        count(&self.batches, 1);
        self.batch.observe(&NUMBERS, operations as u64);
        self.commit.observe_time(&SHORT, written.saturating_duration_since(begun));
    }

    /// These ends of calls are on disk since `written`.
    pub(crate) fn settled(&self, closings: &[Closing], written: Instant) {
        for closing in closings {
            let settles = if closing.part.is_some() { &self.settles_ahead } else { &self.settles_own };
            settles.add(1);
            if let Some(ended) = closing.ended {
                self.settle.observe_time(&SHORT, written.saturating_duration_since(ended));
            }
        }
    }

    /// These records are on disk.
    pub(crate) fn used(&self, records: &[Arc<UsageRecord>]) {
        if records.is_empty() {
            return;
        }
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last = 0;
        for record in records {
            let is_same = |one: &ProviderUsage| Arc::ptr_eq(&one.provider, &record.provider);
            if !usage.get(last).is_some_and(is_same) {
                // The ids come out of the table of providers, so there are few.
                let known = usage.iter().position(|one| one.provider == record.provider);
                last = known.unwrap_or_else(|| {
                    usage.push(ProviderUsage::new(&record.provider));
                    usage.len() - 1
                });
            }
            usage[last].add(record);
        }
    }
}

impl ProviderUsage {
    fn new(provider: &Arc<str>) -> Self {
        let provider = Arc::clone(provider);
        Self { provider, spend_nanos: 0, tokens_charged: 0, tokens: TokenCounts::default() }
    }

    fn add(&mut self, record: &UsageRecord) {
        self.spend_nanos = self.spend_nanos.saturating_add(record.charged.spend_nanos);
        self.tokens_charged = self.tokens_charged.saturating_add(record.charged.tokens);
        self.tokens.add(&record.tokens);
    }
}

/// Raises a counter.
pub(crate) fn count(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}
