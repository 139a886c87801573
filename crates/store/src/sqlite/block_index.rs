//! Which blocks of records a key occurs in.
//!
//! Blocks whose numbers differ in their last bits only make a *part*. Once there is a block of a later part, a part gets no
//! more of them and its lists are written, which costs far less than noting each key of each block by itself. The blocks
//! after the last part with lists are looked through by whoever searches: there are few of them.
//!
//! A list leaves nothing out. It may name too much: a block that has lost its records of a key or is gone, and one of
//! another key that begins with the same bytes.

use rusqlite::types::Type;
use rusqlite::{Connection, Error, OptionalExtension, Result, params};
use till_core::key::KeyId;

use super::block::BlockReader;
use super::bytes::{Bytes, Damaged, seal};

/// Blocks whose numbers differ in so many bits are of one part.
const PART_BITS: u32 = 14;

/// Lists of a part: a search reads one, and that of a part with as many keys as records is about a page.
const LISTS: u8 = 64;

/// First byte of a list. Another layout gets another one.
const VERSION: u8 = 1;

/// The first bytes of a key and the last bits of the number of a block, most significant byte first: sorted as bytes, the
/// blocks of a key are together and in order.
const ENTRY: usize = 8 + 2;

fn entry(key: KeyId, block: u64) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    entry[..8].copy_from_slice(&key.0[..8]);
    let place = (block % (1 << PART_BITS)).to_be_bytes();
    entry[8..].copy_from_slice(&place[6..]);
    entry
}

/// The list that a key is in.
fn list_of(key: KeyId) -> u8 {
    key.0[15] % LISTS
}

/// The part of a block.
pub(super) fn part(block: u64) -> u64 {
    block >> PART_BITS
}

/// The least number that a block of a part has.
pub(super) fn first_of(part: u64) -> u64 {
    part << PART_BITS
}

/// Number of the first block that is in no list.
pub(super) fn first_unlisted(connection: &Connection) -> Result<u64> {
    let sql = "SELECT listed << ?1 FROM usage_numbers";
    connection.prepare_cached(sql)?.query_row([PART_BITS], |row| row.get(0))
}

/// Writes the lists of all parts that get no more blocks.
pub(super) fn catch_up(connection: &Connection) -> Result<()> {
    let sql = "SELECT min(first_seq) >> ?1 FROM usage_numbers CROSS JOIN usage_blocks \
               WHERE first_seq >= listed << ?1 AND first_seq < (SELECT max(first_seq) FROM usage_blocks) >> ?1 << ?1";
    let mut next = connection.prepare_cached(sql)?;
    while let Some(part) = next.query_row([PART_BITS], |row| row.get::<_, Option<u64>>(0))? {
        write_lists(connection, part)?;
        let sql = "UPDATE usage_numbers SET listed = ?1";
        connection.prepare_cached(sql)?.execute([part + 1])?;
    }
    Ok(())
}

fn write_lists(connection: &Connection, part: u64) -> Result<()> {
    let mut lists = vec![Vec::new(); LISTS.into()];
    let sql = "SELECT first_seq, records FROM usage_blocks WHERE first_seq >= ?1 AND first_seq < ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut blocks = statement.query([part << PART_BITS, (part + 1) << PART_BITS])?;
    while let Some(row) = blocks.next()? {
        let block = row.get(0)?;
        match BlockReader::new(row.get_ref(1)?.as_blob()?) {
            Ok(reader) => {
                for key in reader.keys() {
                    lists[usize::from(list_of(*key))].push(entry(*key, block));
                }
            }
            // Nobody knows whose records are in it: it is everybody's, to be named to whoever searches.
            Err(_) => lists.iter_mut().for_each(|list| list.push(entry(EVERYBODY, block))),
        }
    }
    let sql = "INSERT OR REPLACE INTO usage_block_keys (part, list, entries) VALUES (?1, ?2, ?3)";
    let mut insert = connection.prepare_cached(sql)?;
    for (number, list) in lists.iter_mut().enumerate().filter(|(_, list)| !list.is_empty()) {
        list.sort_unstable();
        let mut entries = vec![VERSION];
        entries.extend_from_slice(list.as_flattened());
        seal(&mut entries);
        insert.execute(params![part, number, entries])?;
    }
    Ok(())
}

/// No key that occurs by chance.
const EVERYBODY: KeyId = KeyId([0xff; 16]);

/// The blocks of a part with lists in which a key occurs, newest first.
pub(super) fn blocks(connection: &Connection, part: u64, key: KeyId) -> Result<Vec<u64>> {
    let sql = "SELECT entries FROM usage_block_keys WHERE part = ?1 AND list = ?2";
    let found = connection.prepare_cached(sql)?.query_row(params![part, list_of(key)], |row| {
        search(row.get_ref(0)?.as_blob()?, part, key).map_err(|why| damaged(part, why))
    });
    Ok(found.optional()?.unwrap_or_default())
}

fn search(list: &[u8], part: u64, key: KeyId) -> std::result::Result<Vec<u64>, Damaged> {
    let (entries, []) = Bytes::unseal(list, VERSION)?.rest().as_chunks::<ENTRY>() else {
        return Err(Damaged::Content);
    };
    let mut found = Vec::new();
    for key in [key, EVERYBODY] {
        let begin = entries.partition_point(|other| other[..8] < key.0[..8]);
        let of_key = entries[begin..].iter().take_while(|other| other[..8] == key.0[..8]);
        let block =
            |entry: &[u8; ENTRY]| part << PART_BITS | u64::from(u16::from_be_bytes([entry[8], entry[9]]));
        found.extend(of_key.map(block));
    }
    found.sort_unstable_by(|one, other| other.cmp(one));
    found.dedup();
    Ok(found)
}

/// Deletes the lists of parts of which no block is left.
pub(super) fn delete(connection: &Connection) -> Result<()> {
    let sql = "DELETE FROM usage_block_keys WHERE part < coalesce((SELECT min(first_seq) >> ?1 FROM usage_blocks), \
               (SELECT listed FROM usage_numbers))";
    connection.prepare_cached(sql)?.execute([PART_BITS]).map(drop)
}

fn damaged(part: u64, why: Damaged) -> Error {
    let reason = format!("the list of blocks of part {part} of the usage records is damaged: {why}");
    Error::FromSqlConversionFailure(0, Type::Blob, reason.into())
}
