//! Sums over calls as SQL.
//!
//! Rows have the sums of all records up to some number, which is kept with them. They catch up when they are tens of
//! thousands behind, so that a sum is written once for many calls; whoever asks before that adds the records after it.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use till_core::key::KeyId;

use super::block::BlockReader;
use super::bytes::Damaged;
use super::column::Amount;
use super::records;
use crate::usage_record::{DAY_MS, UsageFilter, UsageGroup, UsageSum};
use crate::usage_totals::{AMOUNTS, Total, TotalKey, add, sums};

/// Records that may be missing in the rows.
const BEHIND_MAX: u64 = 65_536;

/// Sums in memory at once.
const TOTALS_MAX: usize = 16_384;

/// Brings the rows up to the newest record if they are far behind.
pub(super) fn keep_up(connection: &Connection) -> Result<()> {
    let sql = "SELECT last - summed > ?1 FROM usage_numbers";
    if connection.prepare_cached(sql)?.query_row([BEHIND_MAX], |row| row.get(0))? {
        catch_up(connection)?;
    }
    Ok(())
}

/// Brings the rows up to the newest record.
///
/// A block that is damaged is left out: it says nothing any more, and calls must not stop for that.
pub(super) fn catch_up(connection: &Connection) -> Result<()> {
    let mut totals = Totals::default();
    let mut statement = connection.prepare_cached(BLOCKS_AFTER)?;
    let mut blocks = statement.query([])?;
    let mut any = false;
    while let Some(row) = blocks.next()? {
        any = true;
        let (id, summed): (u64, u64) = (row.get(0)?, row.get(2)?);
        if let Err(why) = totals.add(row.get_ref(1)?.as_blob()?, summed) {
            tracing::error!(%why, block = id, "a block of usage records is damaged; it is left out of the sums");
        }
        if totals.sums.len() >= TOTALS_MAX {
            totals.write(connection)?;
        }
    }
    if any {
        totals.write(connection)?;
        connection.prepare_cached("UPDATE usage_numbers SET summed = last")?.execute([])?;
    }
    Ok(())
}

/// Blocks with records that the rows do not have, and the number of the last one that they have.
const BLOCKS_AFTER: &str = "SELECT first_seq, records, summed FROM usage_numbers CROSS JOIN usage_blocks \
                            WHERE first_seq >= coalesce((SELECT max(first_seq) FROM usage_blocks \
                                                         WHERE first_seq <= summed + 1), 0) \
                              AND last_seq > summed ORDER BY first_seq";

/// Sums over blocks. Names are numbers here, so that a call costs no text.
#[derive(Debug, Default)]
struct Totals {
    names: Vec<String>,
    numbers: HashMap<String, usize>,
    sums: HashMap<TotalKey<usize>, Total>,
}

impl Totals {
    /// Adds the records of a block after number `after`: all of them, or none if it is damaged.
    fn add(&mut self, block: &[u8], after: u64) -> std::result::Result<(), Damaged> {
        let mut reader = BlockReader::new(block)?;
        let mut found: Vec<(TotalKey<usize>, Total)> = Vec::new();
        let mut last = [0; 3];
        while reader.advance()? {
            if reader.seq() <= after {
                continue;
            }
            let Some((TotalKey { day, key, provider, model, endpoint }, total)) = reader.total() else {
                continue;
            };
            for (number, name) in last.iter_mut().zip([provider, model, endpoint]) {
                *number = self.number(*number, name);
            }
            let [provider, model, endpoint] = last;
            found.push((TotalKey { day, key, provider, model, endpoint }, total));
        }
        for (key, total) in found {
            add(self.sums.entry(key).or_insert([0; AMOUNTS]), &total);
        }
        Ok(())
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
        let name = |number: usize| self.names[number].as_str();
        let named = |(key, total): (TotalKey<usize>, Total)| {
            let TotalKey { day, key, provider, model, endpoint } = key;
            let names = (name(provider), name(model), name(endpoint));
            (TotalKey { day, key, provider: names.0, model: names.1, endpoint: names.2 }, total)
        };
        let mut sums: Vec<_> = self.sums.drain().map(named).collect();
        sums.sort_unstable();
        sums
    }

    /// Adds the sums to the rows.
    fn write(&mut self, connection: &Connection) -> Result<()> {
        let sums = self.take().into_iter();
        change(connection, sums.map(|(key, total)| (key, move |sum: &mut Total| add(sum, &total))))
    }
}

/// Columns of a sum in the order of [`Total`].
macro_rules! amount_columns {
    () => {
        "calls, input, cache_read, cache_write, output, reasoning, audio_input, audio_output, image_input, image_output, \
         tool_calls, charged_activations, charged_tokens, charged_spend"
    };
}

/// Reads sums, changes them, writes them. SQLite's own addition would go over to floating point.
pub(super) fn change<'a>(
    connection: &Connection,
    changes: impl IntoIterator<Item = (TotalKey<&'a str>, impl FnOnce(&mut Total))>,
) -> Result<()> {
    let select = concat!(
        "SELECT ",
        amount_columns!(),
        " FROM usage_sums WHERE day = ?1 AND key = ?2 AND provider = ?3 AND model = ?4 AND endpoint = ?5"
    );
    let update = "UPDATE usage_sums SET calls = ?6, input = ?7, cache_read = ?8, cache_write = ?9, output = ?10, \
                    reasoning = ?11, audio_input = ?12, audio_output = ?13, image_input = ?14, image_output = ?15, \
                    tool_calls = ?16, charged_activations = ?17, charged_tokens = ?18, charged_spend = ?19 \
                  WHERE day = ?1 AND key = ?2 AND provider = ?3 AND model = ?4 AND endpoint = ?5";
    let insert = concat!(
        "INSERT INTO usage_sums (day, key, provider, model, endpoint, ",
        amount_columns!(),
        ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)"
    );
    let mut select = connection.prepare_cached(select)?;
    let (mut update, mut insert) = (connection.prepare_cached(update)?, connection.prepare_cached(insert)?);
    for (key, change) in changes {
        let place = params![key.day, key.key.0, key.provider, key.model, key.endpoint];
        let found = select.query_row(place, |row| total(row, 0)).optional()?;
        let write = if found.is_some() { &mut update } else { &mut insert };
        let mut sum = found.unwrap_or([0; AMOUNTS]);
        change(&mut sum);
        write.raw_bind_parameter(1, key.day)?;
        write.raw_bind_parameter(2, key.key.0)?;
        write.raw_bind_parameter(3, key.provider)?;
        write.raw_bind_parameter(4, key.model)?;
        write.raw_bind_parameter(5, key.endpoint)?;
        for (index, amount) in (6..).zip(sum) {
            write.raw_bind_parameter(index, Amount(amount))?;
        }
        write.raw_execute()?;
    }
    Ok(())
}

fn total(row: &Row<'_>, first: usize) -> Result<Total> {
    let mut total = [0; AMOUNTS];
    for (index, amount) in (first..).zip(&mut total) {
        *amount = row.get::<_, Amount>(index)?.0;
    }
    Ok(total)
}

/// The sums that are asked for. Rows are per day, key and model, so there are few of them compared with calls.
///
/// To be called in a transaction: rows and blocks must be of one moment.
pub(super) fn sum(connection: &Connection, group: UsageGroup, filter: &UsageFilter) -> Result<Vec<UsageSum>> {
    let sql = format!(
        concat!(
            "SELECT day, key, provider, model, endpoint, ",
            amount_columns!(),
            " FROM usage_sums WHERE day >= ?1 AND day < ?2 AND {}"
        ),
        if filter.key.is_some() { "key = ?3" } else { "?3 IS NULL" }
    );
    let since = filter.since.map_or(0, |since| since.0 / DAY_MS);
    let until = filter.until.map_or(i64::MAX as u64, |until| until.0.div_ceil(DAY_MS));
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![since, until, filter.key.map(|key| key.0)], |row| {
        let key = TotalKey {
            day: row.get(0)?,
            key: KeyId(row.get(1)?),
            provider: row.get(2)?,
            model: row.get(3)?,
            endpoint: row.get(4)?,
        };
        Ok((key, total(row, 5)?))
    })?;
    let mut totals: Vec<(TotalKey<String>, Total)> = rows.collect::<Result<_>>()?;
    let mut newer = Totals::default();
    let mut statement = connection.prepare_cached(BLOCKS_AFTER)?;
    let mut blocks = statement.query([])?;
    while let Some(row) = blocks.next()? {
        let added = newer.add(row.get_ref(1)?.as_blob()?, row.get(2)?);
        added.map_err(|why| row.get(0).map_or_else(|error| error, |id| records::damaged(id, why)))?;
    }
    totals.extend(newer.take().into_iter().map(|(key, total)| {
        let TotalKey { day, key, provider, model, endpoint } = key;
        let names = (provider.to_owned(), model.to_owned(), endpoint.to_owned());
        (TotalKey { day, key, provider: names.0, model: names.1, endpoint: names.2 }, total)
    }));
    Ok(sums(totals, group, filter))
}
