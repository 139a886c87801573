//! Usage records of refused calls on their way to disk: so many per key, code and minute, so that a flood can't
//! fill the disk. All of them are in the counts of denials.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use till_core::denial::DenialCode;
use till_core::key::KeyId;

use crate::usage_record::UsageRecord;

/// Records per key, code and minute.
const PER_MINUTE_MAX: u32 = 20;

/// Records that wait to be written, and keys that are counted, at once.
const WAITING_MAX: usize = 4_096;

#[derive(Debug, Default)]
pub(crate) struct DeniedRecords {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    minute: u64,
    seen: HashMap<(KeyId, Option<DenialCode>), u32>,
    waiting: Vec<UsageRecord>,
}

impl DeniedRecords {
    /// Keeps the record, if there is room for it. `true` when it is the first that waits.
    pub(crate) fn add(&self, record: UsageRecord) -> bool {
        let mut state = self.lock();
        // One that was patient before it was refused comes late, and counts as of now.
        if state.minute < record.at.minute() {
            state.minute = record.at.minute();
            state.seen.clear();
        }
        if state.waiting.len() >= WAITING_MAX || state.seen.len() >= WAITING_MAX {
            return false;
        }
        let seen = state.seen.entry((record.key, record.denial)).or_insert(0);
        *seen += 1;
        if *seen > PER_MINUTE_MAX {
            return false;
        }
        state.waiting.push(record);
        state.waiting.len() == 1
    }

    /// Moves everything into `to`.
    pub(crate) fn take(&self, to: &mut Vec<Arc<UsageRecord>>) {
        to.extend(self.lock().waiting.drain(..).map(Arc::new));
    }

    /// Takes back what could not be written. It was counted when it came.
    pub(crate) fn put_back(&self, from: &mut Vec<Arc<UsageRecord>>) {
        let mut state = self.lock();
        let room = WAITING_MAX.saturating_sub(state.waiting.len());
        state.waiting.extend(from.drain(..).take(room).map(Arc::unwrap_or_clone));
        from.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lock().waiting.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
