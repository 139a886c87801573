//! Denials on their way to disk: counted per key, code and minute, so that a flood costs one row.
//!
//! The map is bounded. What does not fit is counted under no key, per code and minute: nothing is lost
//! but whose it was.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use till_core::denial::DenialCode;
use till_core::key::KeyId;
use till_core::metric::Counter;
use till_core::time::Timestamp;

use crate::backend::DenialCount;

/// Entries in the map, beyond those under no key.
const ENTRIES_MAX: usize = 16_384;

type Counts = HashMap<(Option<KeyId>, DenialCode, u64), u64>;

#[derive(Debug, Default)]
pub(crate) struct DenialCounts {
    counts: Mutex<Counts>,
    /// How many were taken to be written.
    taken: Counter,
}

impl DenialCounts {
    /// Counts one. `true` when it is the first since the last [`DenialCounts::take`].
    pub(crate) fn add(&self, key: KeyId, code: DenialCode, now: Timestamp) -> bool {
        let mut counts = self.lock();
        let first = counts.is_empty();
        add(&mut counts, Some(key), code, now.minute(), 1);
        first
    }

    /// Moves everything into `to`.
    pub(crate) fn take(&self, to: &mut Vec<DenialCount>) {
        let mut counts = self.lock();
        self.taken.add(counts.values().sum());
        to.extend(counts.drain().map(|((key, code, minute), count)| DenialCount {
            key,
            code,
            minute,
            count,
        }));
    }

    /// Takes back what could not be written.
    pub(crate) fn put_back(&self, from: &mut Vec<DenialCount>) {
        let mut counts = self.lock();
        for DenialCount { key, code, minute, count } in from.drain(..) {
            add(&mut counts, key, code, minute, count);
        }
    }

    /// How many were taken to be written, since the start.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.read()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Adding numbers can't leave the map half changed, so a panic elsewhere does not spoil it.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(counts: &mut Counts, key: Option<KeyId>, code: DenialCode, minute: u64, count: u64) {
    let full = counts.len() >= ENTRIES_MAX && !counts.contains_key(&(key, code, minute));
    let key = if full { None } else { key };
    let sum = counts.entry((key, code, minute)).or_insert(0);
    *sum = sum.saturating_add(count);
}

#[cfg(test)]
mod tests {
    use till_core::denial::DenialCode;
    use till_core::key::KeyId;
    use till_core::time::Timestamp;

    use super::{DenialCounts, ENTRIES_MAX};

    #[test]
    fn a_flood_of_keys_stays_bounded_and_no_denial_is_lost() {
        let counts = DenialCounts::default();
        let flood = ENTRIES_MAX as u128 + 500;
        for n in 0..flood {
            let first = counts.add(KeyId(n.to_be_bytes()), DenialCode::KeyRevoked, Timestamp(7 * 60_000));
            assert_eq!(first, n == 0);
        }
        counts.add(KeyId([0; 16]), DenialCode::KeyRevoked, Timestamp(7 * 60_000 + 59_999));
        let mut taken = Vec::new();
        counts.take(&mut taken);
        assert!(counts.is_empty());
        assert_eq!(taken.len(), ENTRIES_MAX + 1);
        assert_eq!(taken.iter().map(|entry| u128::from(entry.count)).sum::<u128>(), flood + 1);
        assert!(taken.iter().all(|entry| entry.minute == 7));
        assert_eq!(
            taken.iter().find(|entry| entry.key == Some(KeyId([0; 16]))).map(|entry| entry.count),
            Some(2)
        );
        counts.put_back(&mut taken);
        counts.take(&mut taken);
        assert_eq!(taken.iter().map(|entry| u128::from(entry.count)).sum::<u128>(), flood + 1);
    }
}
