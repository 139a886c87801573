//! Usage records that were written, to be used again.
//!
//! A record is made by the thread that serves the call and let go by the writer. To free it there, and what it names, is
//! the slow path of an allocator; so it comes back here, and whoever makes the next one puts it in its place.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::usage_record::UsageRecord;

/// As many as a busy key leaves within some tens of milliseconds. What is beyond it is freed.
pub(crate) const SPARE_MAX: usize = 4_096;

#[derive(Debug, Default)]
pub(crate) struct SpareRecords(Mutex<Vec<Arc<UsageRecord>>>);

impl SpareRecords {
    /// Puts a record in the place of one that nobody else has, or in a new one. `make` gets the memory of an id, with nothing
    /// in it.
    pub(crate) fn place(&self, make: impl FnOnce(String) -> UsageRecord) -> Arc<UsageRecord> {
        let mut spare = self.lock().pop();
        match spare.as_mut().and_then(Arc::get_mut) {
            Some(place) => {
                let mut id = std::mem::take(&mut place.request_id);
                id.clear();
                *place = make(id);
            }
            None => spare = Some(Arc::new(make(String::new()))),
        }
        spare.expect("it was there, or was just made")
    }

    /// Takes records in that were written, as far as there is room.
    pub(crate) fn put(&self, written: &mut Vec<Arc<UsageRecord>>) {
        if !written.is_empty() {
            let mut spare = self.lock();
            let room = SPARE_MAX.saturating_sub(spare.len());
            spare.extend(written.drain(..room.min(written.len())));
            drop(spare);
            written.clear();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<UsageRecord>>> {
        // Each change is one push or pop, so a panic can't leave it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use till_core::key::KeyId;

    use super::{SPARE_MAX, SpareRecords};
    use crate::conformance::usage;
    use crate::usage_record::UsageRecord;

    fn record(n: u32) -> UsageRecord {
        usage::record(KeyId([1; 16]), &n.to_string())
    }

    fn place(spare: &SpareRecords, n: u32) -> Arc<UsageRecord> {
        spare.place(|mut request_id| {
            request_id.push_str(&n.to_string());
            UsageRecord { request_id, ..record(n) }
        })
    }

    #[test]
    fn a_record_takes_the_place_of_one_that_nobody_has() {
        let spare = SpareRecords::default();
        let (free, kept) = (place(&spare, 1), place(&spare, 2));
        let address = Arc::as_ptr(&free);
        spare.put(&mut vec![free, Arc::clone(&kept)]);
        let (third, fourth) = (place(&spare, 3), place(&spare, 4));
        assert_eq!((&*kept, &*third, &*fourth), (&record(2), &record(3), &record(4)));
        assert_eq!(Arc::as_ptr(&fourth), address);
        spare.put(&mut (0..5_000).map(|n| Arc::new(record(n))).collect());
        assert_eq!(spare.lock().len(), SPARE_MAX);
    }
}
