//! Rows: whatever stands in the database, till says what it means or what is wrong with it. It never panics, takes no more
//! memory than the bytes warrant, and writes what it has read so that it reads the same.
//!
//! Input: `e` and the content of an entry of the journal, `b` and that of a block of records, without their checksums; or
//! `r`, or `s` for a start as well, and changes of rows: table, row, column and kind of what is put there, a byte each, and
//! its length, two bytes, before it. The same row can be changed more than once. Kinds: 0 nothing, 1 a number, 2 text, 3 bytes,
//! 4 bytes and their checksum, 5 a number with a point, 6 a number that is added, 7 bytes that are put in at the place that
//! the first of them says, 8 the same instead of what stood there; then the checksum of what had one is made right.

use tempfile::TempDir;
use till_store::fuzzing::{Cell, Database, Decoded, block, entry, sealed};

/// Longest change; longer ones find nothing more.
const VALUE_MAX: usize = 4096;

/// Rows that one input may change.
const CHANGES_MAX: usize = 16;

/// Memory for a byte that is read. A record of no length at all takes 12 bytes, and some 300 in memory; names that stand once
/// are had by each of them.
const SIZE_MAX: usize = 1024;

/// Checks one input.
pub fn check(input: &[u8]) {
    match input {
        [b'e', content @ ..] => check_decoded(content, entry(content)),
        [b'b', content @ ..] => check_decoded(content, block(content)),
        [kind @ (b'r' | b's'), changes @ ..] => check_rows(changes, *kind == b's'),
        _ => {}
    }
}

fn check_decoded(content: &[u8], decoded: Result<Decoded, String>) {
    let Ok(Decoded { again, is_same, size }) = decoded else { return };
    assert!(is_same, "{} was written again as {}", content.escape_ascii(), again.escape_ascii());
    let most = SIZE_MAX * (content.len() + 4);
    assert!(size <= most, "{} bytes take {size} bytes of memory: {}", content.len(), content.escape_ascii());
}

/// A database, and where its files are.
struct Instance {
    database: Database,
    _files: TempDir,
}

impl Instance {
    fn new() -> Self {
        let files = tempfile::tempdir().expect("a place for files");
        Self { database: Database::new(files.path()), _files: files }
    }
}

thread_local! {
    static INSTANCE: Instance = Instance::new();
}

fn check_rows(changes: &[u8], starts: bool) {
    INSTANCE.with(|Instance { database, .. }| {
        let rows = changed(database, changes);
        let errors = database.with(&rows, starts);
        for error in &errors {
            assert!(error.len() < 1_000 && !error.contains("panicked"), "{error}");
            // What is damaged is called by its number.
            let is_named =
                !error.contains(" is damaged: ") || error.bytes().any(|byte| byte.is_ascii_digit());
            assert!(is_named, "{error}");
        }
    });
}

/// The rows that changes make of those that there are.
fn changed(database: &Database, mut changes: &[u8]) -> Vec<(usize, Vec<Cell>)> {
    let mut rows: Vec<(usize, usize, Vec<Cell>)> = Vec::new();
    while let [table, row, column, kind, high, low, rest @ ..] = changes
        && rows.len() < CHANGES_MAX
    {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len()).min(VALUE_MAX);
        let (value, later) = rest.split_at(length);
        changes = later;
        let table = usize::from(*table) % database.tables.len();
        let known = &database.tables[table];
        let Some(row) = usize::from(*row).checked_rem(known.rows.len()) else { continue };
        let place = rows.iter().position(|(in_table, number, _)| (*in_table, *number) == (table, row));
        let place = place.unwrap_or_else(|| {
            rows.push((table, row, known.rows[row].clone()));
            rows.len() - 1
        });
        let cells = &mut rows[place].2;
        let column = usize::from(*column) % cells.len();
        cells[column] = cell(*kind, value, &cells[column]);
    }
    rows.into_iter().map(|(table, _, cells)| (table, cells)).collect()
}

fn cell(kind: u8, value: &[u8], before: &Cell) -> Cell {
    let number = || {
        let mut bytes = [if value.first().is_some_and(|first| *first >= 0x80) { 0xff } else { 0 }; 8];
        let length = value.len().min(8);
        bytes[8 - length..].copy_from_slice(&value[..length]);
        i64::from_be_bytes(bytes)
    };
    match (kind, before) {
        (0, _) => Cell::Null,
        (1, _) => Cell::Integer(number()),
        (2, _) => Cell::Text(value.to_vec()),
        (3, _) => Cell::Blob(value.to_vec()),
        (4, _) => Cell::Blob(sealed(value)),
        (5, _) => Cell::Real(f64::from_bits(number().cast_unsigned())),
        (6, Cell::Integer(before)) => Cell::Integer(before.wrapping_add(number())),
        (7 | 8, Cell::Text(before)) => Cell::Text(spliced(before, value, kind == 8)),
        (7 | 8, Cell::Blob(before)) => {
            let has_checksum =
                before.split_last_chunk::<4>().filter(|(content, _)| sealed(content) == *before);
            match has_checksum {
                Some((content, _)) => Cell::Blob(sealed(&spliced(content, value, kind == 8))),
                None => Cell::Blob(spliced(before, value, kind == 8)),
            }
        }
        (_, before) => before.clone(),
    }
}

/// Bytes with others at the place that the first of them says.
fn spliced(bytes: &[u8], value: &[u8], replaces: bool) -> Vec<u8> {
    let [at, value @ ..] = value else { return bytes.to_vec() };
    let at = usize::from(*at) % (bytes.len() + 1);
    let end = if replaces { (at + value.len()).min(bytes.len()) } else { at };
    [&bytes[..at], value, &bytes[end..]].concat()
}
