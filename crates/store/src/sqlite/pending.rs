//! What entries of the journal say, in one piece: once per account, hold and sum, however often they changed.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, Result, params};
use till_core::denial::DenialCode;
use till_core::id_map::IdMap;
use till_core::key::KeyId;
use till_core::ledger::HoldId;
use till_core::time::{Month, Timestamp};

use super::column::{Amount, Time};
use super::journal::{Entry, HoldImage, NewestImages};
use super::write;
use crate::backend::DenialCount;

/// Several entries together, but for their records.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) accounts: NewestImages,
    holds: IdMap<HoldId, HoldImage>,
    /// Holds that the table has, perhaps, and that are closed.
    holds_closed: Vec<HoldId>,
    months: BTreeMap<Month, u128>,
    denials: HashMap<(Option<KeyId>, DenialCode, u64), u64>,
    time_seen: Option<Timestamp>,
}

impl Pending {
    /// Adds what the next batch says, but for its records.
    pub(super) fn add(&mut self, entry: Entry) {
        self.accounts.add(&entry.accounts);
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
        self.months.extend(entry.months);
        for DenialCount { key, code, minute, count } in entry.denials {
            let sum = self.denials.entry((key, code, minute)).or_insert(0);
            *sum = sum.saturating_add(count);
        }
        self.time_seen = self.time_seen.max(entry.time_seen);
    }

    /// Total of a month that its row does not have yet.
    pub(super) fn month_total(&self, month: Month) -> Option<u128> {
        self.months.get(&month).copied()
    }

    /// Writes everything but the accounts. Counts of denials are added, so this must be done once, and in the transaction
    /// that says so.
    pub(super) fn write_the_rest(&self, connection: &Connection) -> Result<()> {
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
        Ok(())
    }
}
