//! Numbered schema versions, applied at start, each in a transaction of its own.
//!
//! The number is kept in `user_version`. A database with a higher number than this program knows is
//! refused: nobody knows what it means.

mod usage_rows;

use rusqlite::Connection;

use super::{block_index, sum_rows};

/// What leads from version `n` to `n + 1`, in order from an empty file: SQL, and what SQL alone can't do.
const MIGRATIONS: [(&str, Option<Step>); 8] = [
    (include_str!("schema-1.sql"), None),
    (include_str!("schema-2.sql"), None),
    (include_str!("schema-3.sql"), None),
    (include_str!("schema-4.sql"), Some(usage_rows::move_to_blocks)),
    (include_str!("schema-5.sql"), Some(block_index::catch_up)),
    (include_str!("schema-6.sql"), None),
    (include_str!("schema-7.sql"), None),
    (include_str!("schema-8.sql"), Some(sum_rows::derive)),
];

type Step = fn(&Connection) -> rusqlite::Result<()>;

/// The newest version that this program knows.
pub(super) const NEWEST: u32 = 8;

/// Marks the file as ours: the letters `till`.
pub(super) const APPLICATION_ID: i32 = 0x7469_6c6c;

/// Why a file can't be brought to the newest version.
pub(super) enum Refused {
    Newer { found: u32 },
    NotOurs,
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Brings the schema to [`NEWEST`].
pub(super) fn migrate(connection: &mut Connection) -> Result<(), Refused> {
    let application: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let found: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let empty = tables == 0 && found == 0;
    if application != APPLICATION_ID && !(application == 0 && empty) {
        return Err(Refused::NotOurs);
    }
    if found > NEWEST {
        return Err(Refused::Newer { found });
    }
    for (version, (sql, step)) in (1_u32..).zip(MIGRATIONS).skip_while(|(version, _)| *version <= found) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        if let Some(step) = step {
            step(&transaction)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", version)?;
        transaction.commit()?;
    }
    Ok(())
}
