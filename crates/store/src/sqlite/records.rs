//! Records of calls as SQL: one row holds hundreds of them, in the order in which they were written.
//!
//! The newest block is filled up before there is another one. Numbers of records only grow and are never used again.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::types::Type;
use rusqlite::{Connection, Error, OptionalExtension, Result, Rows, params};
use till_core::key::KeyId;
use till_core::limit::Units;
use till_core::time::Timestamp;

use super::block::{self, BlockReader, BlockWriter};
use super::bytes::Damaged;
use super::{block_index, sums};
use crate::usage_record::{Outcome, UsagePage, UsageQuery, UsageRecord};

/// Gives records their numbers and adds them to the blocks: at least so many, and otherwise as many as fill
/// blocks, or all of them if that is none. Says how many.
pub(super) fn append(connection: &Connection, records: &[Arc<UsageRecord>], least: usize) -> Result<usize> {
    let sql = "SELECT first_seq, last_seq, CASE WHEN count < ?1 AND length(records) < ?2 THEN records END \
               FROM usage_blocks ORDER BY first_seq DESC LIMIT 1";
    let newest =
        connection.prepare_cached(sql)?.query_row(params![block::RECORDS_MAX, block::BYTES_MAX], |row| {
            // One that is damaged stays as it is, to be named to whoever reads it.
            let begun = row.get_ref(2)?.as_blob_or_null()?.map(block::records).and_then(|begun| begun.ok());
            Ok((row.get(0)?, row.get(1)?, begun.unwrap_or_default()))
        });
    let (id, last, begun): (u64, u64, _) = newest.optional()?.unwrap_or_default();
    let full = (begun.len() + records.len()) / block::RECORDS_MAX * block::RECORDS_MAX;
    let count = match full.saturating_sub(begun.len()).max(least) {
        0 => records.len(),
        count => count,
    };
    let records = &records[..count];
    // A count that somebody has put back makes no number stand twice, nor one that is text or bytes, which SQLite holds for
    // more than any number, and for nothing in a sum.
    let used = begun.last().map_or(last, |(seq, _)| last.max(*seq));
    let sql = "UPDATE usage_numbers SET last = max(CAST(last AS INTEGER), ?2) + ?1 RETURNING last";
    let last: u64 =
        connection.prepare_cached(sql)?.query_row(params![records.len(), used], |row| row.get(0))?;
    let first = last + 1 - records.len() as u64;
    let id = if begun.is_empty() { first } else { id };
    let begun = begun.iter().map(|(seq, record)| (*seq, record));
    write_blocks(connection, id, begun.chain((first..).zip(records.iter().map(Arc::as_ref))))?;
    block_index::catch_up(connection)?;
    Ok(records.len())
}

/// Writes records into blocks of which the first has the id `first_seq`, and the others that of their first record.
pub(super) fn write_blocks<'a>(
    connection: &Connection,
    first_seq: u64,
    records: impl IntoIterator<Item = (u64, &'a UsageRecord)>,
) -> Result<()> {
    let mut id = Some(first_seq);
    let mut block = BlockWriter::with_room(block::RECORDS_MAX);
    for (seq, record) in records {
        if block.is_full() {
            let full = std::mem::replace(&mut block, BlockWriter::with_room(block::RECORDS_MAX));
            write(connection, id.take(), full)?;
        }
        block.push(seq, record);
    }
    if block.is_empty() { Ok(()) } else { write(connection, id, block) }
}

fn write(connection: &Connection, id: Option<u64>, block: BlockWriter<'_>) -> Result<()> {
    let (seqs, times) = (block.seqs(), block.times());
    let id = id.unwrap_or(*seqs.start());
    let sql = "INSERT OR REPLACE INTO usage_blocks (first_seq, last_seq, at_min, at_max, count, records) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let row = params![
        id,
        *seqs.end(),
        millis(*times.start()),
        millis(*times.end()),
        block.len(),
        block.into_bytes()
    ];
    connection.prepare_cached(sql)?.execute(row).map(drop)
}

/// A block that changes, or loses records, or all of them. It stays one block: the index knows it by its number.
fn rewrite(connection: &Connection, id: u64, records: &[(u64, UsageRecord)]) -> Result<()> {
    if records.is_empty() {
        let sql = "DELETE FROM usage_blocks WHERE first_seq = ?1";
        return connection.prepare_cached(sql)?.execute([id]).map(drop);
    }
    let mut block = BlockWriter::with_room(records.len());
    for (seq, record) in records {
        block.push(*seq, record);
    }
    write(connection, Some(id), block)
}

/// Blocks that one page looks through, and how many more it passes by for each of them.
const LOOKED_THROUGH_MAX: u32 = 512;
const PASSED_BY: u32 = 16;

/// What a page may still look at.
struct Search<'a> {
    query: &'a UsageQuery,
    found: Vec<(u64, UsageRecord)>,
    left: u32,
    /// Everything from this number on was looked at.
    reached: Option<u64>,
}

impl<'a> Search<'a> {
    fn new(query: &'a UsageQuery) -> Self {
        Self { query, found: Vec::new(), left: LOOKED_THROUGH_MAX * PASSED_BY, reached: None }
    }

    /// Whether there is one more than fits on the page.
    fn has_all(&self) -> bool {
        self.found.len() > self.query.limit as usize
    }

    /// Whether nothing more is to be looked at.
    fn is_over(&self) -> bool {
        self.has_all() || self.left == 0
    }

    fn pass_by(&mut self, id: u64) {
        (self.left, self.reached) = (self.left.saturating_sub(1), Some(id));
    }

    /// Adds what is asked for of one block after the other, from the newest: those that may have something of the time.
    fn look_through(&mut self, mut blocks: Rows<'_>) -> Result<()> {
        while !self.is_over()
            && let Some(row) = blocks.next()?
        {
            let id = row.get(0)?;
            if let Some(block) = row.get_ref(1)?.as_blob_or_null()? {
                let in_block = matches(block, self.query).map_err(|why| damaged(id, why))?;
                self.found.extend(in_block.into_iter().rev());
                self.left = self.left.saturating_sub(PASSED_BY - 1);
            }
            self.pass_by(id);
        }
        Ok(())
    }

    fn page(self) -> UsagePage {
        let next = self.reached.filter(|_| self.left == 0);
        UsagePage::of(self.found, self.query.limit, next)
    }
}

/// The records that a query asks for. Reads one block after the other, from the newest, until there are enough or it has
/// looked at so much that others should have their turn.
pub(super) fn list(connection: &Connection, query: &UsageQuery) -> Result<UsagePage> {
    let mut search = Search::new(query);
    let since = query.filter.since.map_or(0, millis);
    let until = query.filter.until.map_or(i64::MAX, millis);
    let before = query.before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX));
    // Blocks that no list is about are looked through.
    let first = match query.filter.key {
        None => 0,
        Some(_) => block_index::first_unlisted(connection)?,
    };
    let sql = "SELECT first_seq, CASE WHEN at_max >= ?3 AND at_min <= ?4 THEN records END FROM usage_blocks \
               WHERE first_seq >= ?1 AND first_seq < ?2 ORDER BY first_seq DESC";
    let mut statement = connection.prepare_cached(sql)?;
    search.look_through(statement.query(params![first, before, since, until])?)?;
    let Some(key) = query.filter.key else {
        return Ok(search.page());
    };
    let sql = "SELECT (SELECT min(first_seq) FROM usage_blocks), \
                 (SELECT max(first_seq) FROM usage_blocks WHERE first_seq < min(?1, ?2))";
    let ends = connection.prepare_cached(sql)?.query_row(params![first, before], |row| {
        Ok(row.get::<_, Option<u64>>(0)?.zip(row.get::<_, Option<u64>>(1)?))
    })?;
    let Some((first, last)) = ends else {
        return Ok(search.page());
    };
    let sql = "SELECT first_seq, CASE WHEN at_max >= ?3 AND at_min <= ?4 THEN records END FROM usage_blocks \
               WHERE first_seq = ?1 AND first_seq < ?2";
    let mut statement = connection.prepare_cached(sql)?;
    for part in (block_index::part(first)..=block_index::part(last)).rev() {
        for id in block_index::blocks(connection, part, key)? {
            search.look_through(statement.query(params![id, before, since, until])?)?;
        }
        if search.is_over() {
            break;
        }
        search.pass_by(block_index::first_of(part));
    }
    Ok(search.page())
}

/// The records of a block that a query asks for, oldest first.
fn matches(block: &[u8], query: &UsageQuery) -> std::result::Result<Vec<(u64, UsageRecord)>, Damaged> {
    let mut reader = BlockReader::new(block)?;
    let mut found = Vec::new();
    let is_of_others = |keys: &Arc<HashSet<KeyId>>| !reader.keys().iter().any(|key| keys.contains(key));
    if query.filter.key.is_some_and(|key| !reader.keys().contains(&key))
        || query.filter.keys.as_ref().is_some_and(is_of_others)
    {
        return Ok(found);
    }
    while reader.advance()? {
        if reader.fits(query) {
            found.push((reader.seq(), reader.record()?));
        }
    }
    Ok(found)
}

/// Deletes records from before a moment, and says how many: at least `limit` if there are so many, and not many more. A
/// block of which some are younger keeps those; a damaged one goes when all of it is old.
pub(super) fn delete(connection: &Connection, before: Timestamp, limit: u32) -> Result<u64> {
    let sql = "SELECT first_seq FROM usage_blocks WHERE at_min < ?1 ORDER BY at_min LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let ids = statement.query_map(params![millis(before), limit], |row| row.get(0))?;
    let ids: Vec<u64> = ids.collect::<Result<_>>()?;
    if !ids.is_empty() {
        sums::catch_up(connection)?;
    }
    let mut deleted = 0;
    for id in ids {
        if deleted >= u64::from(limit) {
            break;
        }
        deleted += delete_of_block(connection, id, before)?;
    }
    if deleted > 0 {
        block_index::delete(connection)?;
    }
    Ok(deleted)
}

fn delete_of_block(connection: &Connection, id: u64, before: Timestamp) -> Result<u64> {
    let sql = "SELECT records, at_max, count FROM usage_blocks WHERE first_seq = ?1";
    let (found, at_max, count) = connection.prepare_cached(sql)?.query_row([id], |row| {
        Ok((block::records(row.get_ref(0)?.as_blob()?), row.get::<_, i64>(1)?, row.get::<_, u64>(2)?))
    })?;
    let Ok(mut records) = found else {
        if at_max >= millis(before) {
            return Ok(0);
        }
        rewrite(connection, id, &[])?;
        return Ok(count);
    };
    let all = records.len();
    records.retain(|(_, record)| record.at >= before);
    rewrite(connection, id, &records)?;
    Ok((all - records.len()) as u64)
}

/// Notes that a call that was lost costs nothing.
pub(super) fn forgive(connection: &Connection, key: KeyId, request_id: &str, at: Timestamp) -> Result<()> {
    let sql = "SELECT first_seq, records FROM usage_blocks WHERE at_min <= ?1 AND at_max >= ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([millis(at)])?;
    while let Some(row) = rows.next()? {
        let (id, block) = (row.get(0)?, row.get_ref(1)?.as_blob()?);
        if BlockReader::new(block).is_ok_and(|reader| !reader.keys().contains(&key)) {
            continue;
        }
        let mut records = read(id, block)?;
        let is_it = |record: &UsageRecord| {
            record.key == key && record.request_id == request_id && record.outcome == Outcome::Lost
        };
        if let Some((_, record)) = records.iter_mut().find(|(_, record)| is_it(record)) {
            (record.outcome, record.charged) = (Outcome::Unsent, Units::default());
            drop(rows);
            return rewrite(connection, id, &records);
        }
    }
    Ok(())
}

fn read(id: u64, block: &[u8]) -> Result<Vec<(u64, UsageRecord)>> {
    block::records(block).map_err(|why| damaged(id, why))
}

pub(super) fn damaged(id: u64, why: Damaged) -> Error {
    let reason = format!("block {id} of the usage records is damaged: {why}");
    Error::FromSqlConversionFailure(1, Type::Blob, reason.into())
}

/// Times beyond the reach of SQLite's integers are all the same to the search for blocks.
pub(super) fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}
