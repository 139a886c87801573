//! Counters of the store for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
}

/// The counters that the writer raises. They order nothing, so relaxed is enough.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) batches: AtomicU64,
    pub(crate) operations: AtomicU64,
    pub(crate) commit_failures: AtomicU64,
    pub(crate) overruns: AtomicU64,
    pub(crate) holds_exceeded: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self, queue_length: usize) -> StoreStats {
        StoreStats {
            batches: self.batches.load(Ordering::Relaxed),
            operations: self.operations.load(Ordering::Relaxed),
            commit_failures: self.commit_failures.load(Ordering::Relaxed),
            overruns: self.overruns.load(Ordering::Relaxed),
            holds_exceeded: self.holds_exceeded.load(Ordering::Relaxed),
            queue_length: queue_length as u64,
        }
    }
}

/// Raises a counter.
pub(crate) fn count(counter: &AtomicU64, by: usize) {
    counter.fetch_add(by as u64, Ordering::Relaxed);
}
