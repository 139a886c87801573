//! Sums over calls as SQL.
//!
//! Rows have the sums of all records up to some number, which is kept with them. They catch up when they are tens of
//! thousands behind, so that a sum is written once for many calls; whoever asks before that adds the records after it.
//!
//! Catching up goes in pieces: first blocks are read, then rows are written in the order of their keys. Between two pieces
//! the rows of some keys have more records than those of the others, which is kept with them as well.

use std::collections::HashMap;

use rusqlite::{Connection, Result, Row, params};
use till_core::id_map::IdMap;
use till_core::key::KeyId;
use till_core::limit::Units;
use till_core::policy::PolicyOwner;
use till_core::time::Timestamp;

use super::block::BlockReader;
use super::bytes::Damaged;
use super::column::Amount;
use super::entities::owner_column;
use super::records;
use super::sum_rows::{self, Projects};
use crate::entity::Charged;
use crate::usage_record::{UsageFilter, UsageGroup, UsageSum};
use crate::usage_totals::{AMOUNTS, Sums, Total, TotalKey, add};

/// Records that may be missing in the rows.
const BEHIND_MAX: u64 = 65_536;

/// Sums in memory at once.
const TOTALS_MAX: usize = 16_384;

/// Which records the rows have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Summed {
    /// Those up to this number.
    all: u64,
    /// While they catch up: those up to this number, for keys up to this one. `None` is no key yet.
    ahead: Option<(u64, Option<KeyId>)>,
}

impl Summed {
    fn has(&self, seq: u64, key: KeyId) -> bool {
        seq <= self.all || self.ahead.is_some_and(|(ahead, keys)| seq <= ahead && Some(key) <= keys)
    }

    /// From three columns: `summed`, `summing`, `summing_key`.
    fn from(row: &Row<'_>, first: usize) -> Result<Self> {
        let key = row.get::<_, Option<[u8; 16]>>(first + 2)?.map(KeyId);
        let ahead = row.get::<_, Option<u64>>(first + 1)?.map(|ahead| (ahead, key));
        Ok(Self { all: row.get(first)?, ahead })
    }

    fn read(connection: &Connection) -> Result<Self> {
        let sql = "SELECT summed, summing, summing_key FROM usage_numbers";
        connection.prepare_cached(sql)?.query_row([], |row| Self::from(row, 0))
    }

    fn write(&self, connection: &Connection) -> Result<()> {
        let (ahead, key) = self.ahead.unzip();
        let sql = "UPDATE usage_numbers SET summed = ?1, summing = ?2, summing_key = ?3";
        let row = params![self.all, ahead, key.flatten().map(|key| key.0)];
        connection.prepare_cached(sql)?.execute(row).map(drop)
    }
}

/// Brings the rows up to date once they are far behind, in pieces.
#[derive(Debug)]
pub(super) struct CatchUp {
    behind_max: u64,
    is_behind: bool,
    pass: Option<Pass>,
}

#[derive(Debug)]
struct Pass {
    /// What the rows have, as this left it.
    summed: Summed,
    /// The last record that they are to have.
    target: u64,
    /// The first block that was not read; `None` when all of them were.
    next: Option<u64>,
    totals: Totals,
    /// What is left to be written, in the opposite order.
    rows: Vec<(TotalKey<usize>, Total)>,
}

impl Default for CatchUp {
    fn default() -> Self {
        Self { behind_max: BEHIND_MAX, is_behind: false, pass: None }
    }
}

impl CatchUp {
    /// There are more records than before.
    pub(super) fn look(&mut self, connection: &Connection) -> Result<()> {
        let sql = "SELECT last - summed > ?1 FROM usage_numbers";
        self.is_behind = connection.prepare_cached(sql)?.query_row([self.behind_max], |row| row.get(0))?;
        Ok(())
    }

    /// Whether there is something to do.
    pub(super) fn is_under_way(&self) -> bool {
        self.is_behind || self.pass.is_some()
    }

    /// Makes it begin sooner than anybody would.
    #[cfg(test)]
    pub(super) fn set_behind_max(&mut self, records: u64) {
        self.behind_max = records;
    }

    /// Whether the rows of some keys have more than those of others.
    #[cfg(test)]
    pub(super) fn is_in_the_middle(&self) -> bool {
        self.pass.as_ref().is_some_and(|pass| pass.summed.ahead.is_some())
    }

    /// Reads so many records, more or less, or writes so many rows.
    pub(super) fn piece(&mut self, connection: &Connection, records: usize, rows: usize) -> Result<()> {
        let summed = Summed::read(connection)?;
        // Somebody may have brought them up to date at once.
        let pass = self.pass.take().filter(|pass| pass.summed == summed);
        let mut pass = match pass {
            Some(pass) => pass,
            None if self.is_behind => Pass::begin(connection, summed)?,
            None => return Ok(()),
        };
        if pass.next.is_some() {
            pass.read(connection, records)?;
            self.pass = Some(pass);
        } else if !pass.write(connection, rows)? {
            self.pass = Some(pass);
        } else {
            self.look(connection)?;
        }
        Ok(())
    }
}

impl Pass {
    /// Goes on with one that a crash has ended.
    fn begin(connection: &Connection, summed: Summed) -> Result<Self> {
        let last = "SELECT last FROM usage_numbers";
        let target = match summed.ahead {
            Some((target, _)) => target,
            None => connection.prepare_cached(last)?.query_row([], |row| row.get(0))?,
        };
        let first = "SELECT coalesce(max(first_seq), 0) FROM usage_blocks WHERE first_seq <= ?1";
        let next = connection.prepare_cached(first)?.query_row([summed.all + 1], |row| row.get(0))?;
        Ok(Self { summed, target, next: Some(next), totals: Totals::default(), rows: Vec::new() })
    }

    fn read(&mut self, connection: &Connection, records: usize) -> Result<()> {
        let sql = "SELECT first_seq, records, last_seq, count, at_max FROM usage_blocks \
                   WHERE first_seq >= ?1 AND first_seq <= ?2 ORDER BY first_seq";
        let mut statement = connection.prepare_cached(sql)?;
        let mut blocks = statement.query(params![self.next, self.target])?;
        let mut left = records;
        while left > 0 {
            let Some(row) = blocks.next()? else {
                self.next = None;
                break;
            };
            let (id, last): (u64, u64) = (row.get(0)?, row.get(2)?);
            let (summed, target) = (self.summed, self.target);
            let is_wanted = |seq, key| seq <= target && !summed.has(seq, key);
            if !self.totals.add_sound(id, row.get_ref(1)?.as_blob()?, is_wanted) {
                note_lost(connection, row.get(4)?)?;
            }
            if self.totals.sums.len() >= TOTALS_MAX && summed.ahead.is_none() {
                // Enough for once.
                self.target = last.min(target);
                self.next = None;
                break;
            }
            self.next = Some(id + 1);
            left = left.saturating_sub(row.get(3)?);
        }
        if self.next.is_none() {
            self.rows = self.totals.sums.drain().collect();
            self.rows.sort_unstable_by_key(|(place, _)| (place.key, place.day));
            self.rows.reverse();
        }
        Ok(())
    }

    /// `true` when this was the last piece.
    fn write(&mut self, connection: &Connection, rows: usize) -> Result<bool> {
        let mut left = self.rows.len().saturating_sub(rows);
        let key = self.rows.get(left).map(|(place, _)| place.key);
        // All sums of a key at once.
        while left > 0 && self.rows.get(left - 1).map(|(place, _)| place.key) == key {
            left -= 1;
        }
        let piece = self.rows[left..].iter().rev();
        let named = piece.map(|(place, total)| (self.totals.named(place), *total));
        sum_rows::change(connection, add, named)?;
        self.rows.truncate(left);
        let is_last = self.rows.is_empty();
        self.summed = if is_last {
            Summed { all: self.target, ahead: None }
        } else {
            Summed { ahead: Some((self.target, key)), ..self.summed }
        };
        self.summed.write(connection)?;
        Ok(is_last)
    }
}

/// Brings the rows up to the newest record, at once.
///
/// A block that is damaged is left out: it says nothing any more, and calls must not stop for that.
pub(super) fn catch_up(connection: &Connection) -> Result<()> {
    let (mut totals, mut lost) = (Totals::default(), None);
    let mut statement = connection.prepare_cached(BLOCKS_AFTER)?;
    let mut blocks = statement.query([])?;
    while let Some(row) = blocks.next()? {
        let summed = Summed::from(row, 2)?;
        if !totals.add_sound(row.get(0)?, row.get_ref(1)?.as_blob()?, |seq, key| !summed.has(seq, key)) {
            lost = lost.max(Some(row.get(5)?));
        }
        if totals.sums.len() >= TOTALS_MAX {
            totals.write(connection)?;
        }
    }
    totals.write(connection)?;
    if let Some(at_max) = lost {
        note_lost(connection, at_max)?;
    }
    let sql = "UPDATE usage_numbers SET summed = last, summing = NULL, summing_key = NULL \
               WHERE summed < last OR summing IS NOT NULL";
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

/// The rows leave out a block whose newest record is of this time: who has to know all of that time must learn of it.
fn note_lost(connection: &Connection, at_max: i64) -> Result<()> {
    let sql = "UPDATE usage_numbers SET lost_until = max(coalesce(lost_until, 0), ?1)";
    connection.prepare_cached(sql)?.execute([at_max]).map(drop)
}

/// Blocks with records that the rows do not have, and which they have.
const BLOCKS_AFTER: &str = "SELECT first_seq, records, summed, summing, summing_key, at_max \
                            FROM usage_numbers CROSS JOIN usage_blocks \
                            WHERE first_seq >= coalesce((SELECT max(first_seq) FROM usage_blocks \
                                                         WHERE first_seq <= summed + 1), 0) \
                              AND last_seq > summed ORDER BY first_seq";

/// Sums over blocks. Names are numbers here, so that a call costs no text.
#[derive(Debug, Default)]
struct Totals {
    names: Vec<String>,
    numbers: HashMap<String, usize>,
    sums: IdMap<TotalKey<usize>, Total>,
}

impl Totals {
    /// Adds records of a block: all that are wanted, or none if it is damaged.
    fn add(
        &mut self,
        block: &[u8],
        is_wanted: impl Fn(u64, KeyId) -> bool,
    ) -> std::result::Result<(), Damaged> {
        let mut reader = BlockReader::new(block)?;
        let mut found: Vec<(TotalKey<usize>, Total)> = Vec::new();
        let mut last = [0; 3];
        while reader.advance()? {
            if !is_wanted(reader.seq(), reader.key()) {
                continue;
            }
            let Some((TotalKey { day, key, provider, model, endpoint }, amounts)) = reader.total() else {
                continue;
            };
            for (number, name) in last.iter_mut().zip([provider, model, endpoint]) {
                *number = self.number(*number, name);
            }
            let [provider, model, endpoint] = last;
            let place = TotalKey { day, key, provider, model, endpoint };
            // Often the same one as before.
            if found.last().is_none_or(|(before, _)| *before != place) {
                found.push((place, [0; AMOUNTS]));
            }
            let (_, sum) = found.last_mut().expect("just seen");
            add(sum, &amounts);
        }
        for (key, total) in found {
            add(self.sums.entry(key).or_insert([0; AMOUNTS]), &total);
        }
        Ok(())
    }

    /// As [`Totals::add`], of a row that begins with the number and the records of a block.
    fn add_of_row(&mut self, row: &Row<'_>, is_wanted: impl Fn(u64, KeyId) -> bool) -> Result<()> {
        let added = self.add(row.get_ref(1)?.as_blob()?, is_wanted);
        added.map_err(|why| row.get(0).map_or_else(|error| error, |id| records::damaged(id, why)))
    }

    /// As [`Totals::add`]; a damaged block is left out, and then this is `false`.
    fn add_sound(&mut self, id: u64, block: &[u8], is_wanted: impl Fn(u64, KeyId) -> bool) -> bool {
        let added = self.add(block, is_wanted);
        if let Err(why) = &added {
            tracing::error!(%why, block = id, "a block of usage records is damaged; it is left out of the sums");
        }
        added.is_ok()
    }

    fn named(&self, place: &TotalKey<usize>) -> TotalKey<&str> {
        let TotalKey { day, key, provider, model, endpoint } = *place;
        let [provider, model, endpoint] = [provider, model, endpoint].map(|name| self.names[name].as_str());
        TotalKey { day, key, provider, model, endpoint }
    }

    /// The number of a name, which is often the last one.
    fn number(&mut self, last: usize, name: &str) -> usize {
        if self.names.get(last).is_some_and(|last| last == name) {
            return last;
        }
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len();
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    /// Takes the sums out, in the order of the table: neighbours share a page.
    fn take(&mut self) -> Vec<(TotalKey<&str>, Total)> {
        let taken = std::mem::take(&mut self.sums);
        let mut sums: Vec<_> = taken.into_iter().map(|(place, total)| (self.named(&place), total)).collect();
        sums.sort_unstable();
        sums
    }

    /// Adds the sums to the rows.
    fn write(&mut self, connection: &Connection) -> Result<()> {
        sum_rows::change(connection, add, self.take())
    }
}

/// The sums that are asked for.
///
/// To be called in a transaction: rows and blocks must be of one moment.
pub(super) fn sum(connection: &Connection, group: UsageGroup, filter: &UsageFilter) -> Result<Vec<UsageSum>> {
    let since = filter.since.map_or(0, |since| since.day());
    let until = filter.until.map_or(i64::MAX as u64, Timestamp::first_day_from);
    let (mut sums, mut projects) = (Sums::new(group, filter), Projects::default());
    sum_rows::add_up(connection, &mut sums, &mut projects, (since, until))?;
    for (place, amounts) in newer(connection, Timestamp::of_day(since))?.take() {
        let project = projects.asked(connection, &sums, place.key)?;
        sums.add(&place, project.as_deref(), &amounts);
    }
    Ok(sums.finish())
}

/// Sums over the records that the rows do not have, without blocks that are older than this.
fn newer(connection: &Connection, since: Timestamp) -> Result<Totals> {
    let mut newer = Totals::default();
    let mut statement = connection.prepare_cached(BLOCKS_AFTER)?;
    let mut blocks = statement.query([])?;
    while let Some(row) = blocks.next()? {
        let summed = Summed::from(row, 2)?;
        if row.get::<_, i64>(5)? >= records::millis(since) {
            newer.add_of_row(row, |seq, key| !summed.has(seq, key))?;
        }
    }
    Ok(newer)
}

/// Sums over the records behind this number.
fn behind(connection: &Connection, last: u64) -> Result<Totals> {
    let mut behind = Totals::default();
    let sql = "SELECT first_seq, records FROM usage_blocks \
               WHERE first_seq >= coalesce((SELECT max(first_seq) FROM usage_blocks WHERE first_seq <= ?1 + 1), 0) \
                 AND last_seq > ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut blocks = statement.query([last])?;
    while let Some(row) = blocks.next()? {
        behind.add_of_row(row, |seq, _| seq > last)?;
    }
    Ok(behind)
}

/// What an owner's keys were charged with within these days, the first and the first after them, by all calls or by those
/// whose records are behind a number. To be called in a transaction, as [`sum`].
pub(super) fn charged(
    connection: &Connection,
    owner: PolicyOwner,
    id: &str,
    (first, end): (u64, u64),
    after: Option<u64>,
) -> Result<Charged> {
    let since = Timestamp::of_day(first);
    let sql = "SELECT last, coalesce(lost_until >= ?1, FALSE) FROM usage_numbers";
    let (last, is_lost): (u64, bool) = connection
        .prepare_cached(sql)?
        .query_row([records::millis(since)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if is_lost {
        return Err(super::read::damaged(0, "a block of the usage records of that time is damaged"));
    }
    let mut charged = [0_u128; 3];
    let mut add = |amounts: [u128; 3]| {
        for (sum, amount) in charged.iter_mut().zip(amounts) {
            *sum = sum.saturating_add(amount);
        }
    };
    let owner = owner_column(owner);
    let newer = match after {
        Some(last) => behind(connection, last)?,
        None => {
            // Most keys are met on the way along the days; a few are looked up.
            let sql = format!(
                "SELECT (SELECT count(*) FROM keys WHERE {owner} = ?1) > (SELECT count(*) FROM keys) / 8"
            );
            let has_many = connection.prepare_cached(&sql)?.query_row([id], |row| row.get(0))?;
            let (index, key) = if has_many { ("", "+key") } else { ("INDEXED BY usage_sums_by_key", "key") };
            let sql = format!(
                "SELECT charged_activations, charged_tokens, charged_spend FROM usage_sums {index} \
                 WHERE {key} IN (SELECT id FROM keys WHERE {owner} = ?1) AND day >= ?2 AND day < ?3"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query(params![id, first, end])?;
            while let Some(row) = rows.next()? {
                let amount = |index: usize| row.get::<_, Amount>(index).map(|amount| amount.0);
                add([amount(0)?, amount(1)?, amount(2)?]);
            }
            newer(connection, since)?
        }
    };
    let mut is_of_owner =
        connection.prepare_cached(&format!("SELECT 1 FROM keys WHERE id = ?1 AND {owner} = ?2"))?;
    let mut asked: IdMap<KeyId, bool> = IdMap::default();
    for (place, total) in newer.sums.iter().filter(|(place, _)| (first..end).contains(&place.day)) {
        let is_of_owner = match asked.get(&place.key) {
            Some(known) => *known,
            None => {
                let found = is_of_owner.exists(params![place.key.0, id])?;
                asked.insert(place.key, found);
                found
            }
        };
        let [.., activations, tokens, spend] = *total;
        if is_of_owner {
            add([activations, tokens, spend]);
        }
    }
    let [activations, tokens, spend_nanos] = charged.map(|sum| u64::try_from(sum).unwrap_or(u64::MAX));
    Ok(Charged { days: (first, end), units: Units { activations, tokens, spend_nanos }, last })
}
