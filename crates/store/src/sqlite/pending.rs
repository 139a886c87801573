//! What is in the journal and not in the tables yet, in one piece: once per account, hold and sum, however often they
//! changed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, Result, params};
use till_core::denial::DenialCode;
use till_core::id_map::IdMap;
use till_core::key::KeyId;
use till_core::ledger::{AccountId, HoldId};
use till_core::time::Timestamp;

use super::column::{Amount, Time};
use super::journal::{AccountImage, Entry, HoldImage};
use super::{journal, records, sums, write};
use crate::backend::DenialCount;
use crate::month::Month;
use crate::usage_record::UsageRecord;

/// How long something may stay in the journal alone.
const FOLD_EVERY: Duration = Duration::from_secs(1);

/// So many records, or so many bytes of entries, are folded at once.
const RECORDS_MAX: usize = 16_384;
const BYTES_MAX: usize = 16 << 20;

/// Several entries together.
#[derive(Debug, Default)]
pub(super) struct Pending {
    accounts: IdMap<AccountId, AccountImage>,
    holds: IdMap<HoldId, HoldImage>,
    /// Holds that the table has, perhaps, and that are closed.
    holds_closed: Vec<HoldId>,
    records: Vec<Arc<UsageRecord>>,
    months: BTreeMap<Month, u128>,
    denials: HashMap<(Option<KeyId>, DenialCode, u64), u64>,
    time_seen: Option<Timestamp>,
    /// Rows of the journal.
    entries: u64,
    bytes: usize,
    since: Option<Instant>,
}

impl Pending {
    /// Adds what the next batch says.
    pub(super) fn add(&mut self, entry: Entry) {
        self.accounts.extend(entry.accounts);
        for (id, image) in entry.holds {
            // One that was granted since the last fold still is new when it has changed.
            let is_new = image.is_new || self.holds.get(&id).is_some_and(|before| before.is_new);
            self.holds.insert(id, HoldImage { is_new, ..image });
        }
        for id in entry.holds_closed {
            if !self.holds.remove(&id).is_some_and(|image| image.is_new) {
                self.holds_closed.push(id);
            }
        }
        self.records.extend(entry.records);
        self.months.extend(entry.months);
        for DenialCount { key, code, minute, count } in entry.denials {
            *self.denials.entry((key, code, minute)).or_insert(0) += count;
        }
        self.time_seen = self.time_seen.max(entry.time_seen);
    }

    /// What was added last has a row of so many bytes in the journal.
    pub(super) fn note_entry(&mut self, bytes: usize) {
        self.entries += 1;
        self.bytes += bytes;
        self.since.get_or_insert_with(Instant::now);
    }

    /// Rows in the journal.
    pub(super) fn entries(&self) -> u64 {
        self.entries
    }

    /// When to fold at the latest; `None` when the journal is empty.
    pub(super) fn due(&self) -> Option<Instant> {
        let is_full = self.records.len() >= RECORDS_MAX || self.bytes >= BYTES_MAX;
        self.since.map(|since| if is_full { since } else { since + FOLD_EVERY })
    }

    /// Figures of an account that its row does not have yet.
    pub(super) fn account(&self, id: AccountId) -> Option<&AccountImage> {
        self.accounts.get(&id)
    }

    /// Total of a month that its row does not have yet.
    pub(super) fn month_total(&self, month: Month) -> Option<u128> {
        self.months.get(&month).copied()
    }

    /// Writes everything to the tables and empties the journal, in the transaction that is open on the connection.
    pub(super) fn fold(&self, connection: &Connection) -> Result<()> {
        let mut accounts: Vec<_> = self.accounts.iter().collect();
        // In the order of the table: neighbours share a page.
        accounts.sort_unstable_by_key(|(id, _)| **id);
        write::accounts_put(connection, accounts)?;
        if let Some(seen) = self.time_seen {
            let sql = "UPDATE instance SET time_seen = max(time_seen, ?1)";
            connection.prepare_cached(sql)?.execute([Time(seen)])?;
        }
        let mut chain = Vec::new();
        for (id, image) in &self.holds {
            write::hold_put(connection, *id, &image.hold, &mut chain)?;
        }
        for id in &self.holds_closed {
            let sql = "DELETE FROM holds WHERE incarnation = ?1 AND number = ?2 AND state = 'open'";
            connection.prepare_cached(sql)?.execute(params![id.incarnation, id.number])?;
        }
        if !self.records.is_empty() {
            records::append(connection, &self.records)?;
            sums::keep_up(connection)?;
        }
        for ((key, code, minute), count) in &self.denials {
            write::denial_add(
                connection,
                &DenialCount { key: *key, code: *code, minute: *minute, count: *count },
            )?;
        }
        for (month, total) in &self.months {
            let sql = "INSERT INTO activations_by_month (month, count) VALUES (?1, ?2) \
                       ON CONFLICT (month) DO UPDATE SET count = excluded.count";
            connection.prepare_cached(sql)?.execute(params![month.0, Amount(*total)])?;
        }
        if self.entries > 0 {
            journal::clear(connection)?;
        }
        Ok(())
    }
}
