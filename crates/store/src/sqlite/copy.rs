//! A database as one file: copied out of a directory that is in use, and looked at without being changed.

use std::path::Path;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, Error, OpenFlags, OptionalExtension, Result};
use till_core::audit::ChainHead;
use till_core::token::{MasterKeyId, index_key_wrapped_by};

use super::migration::{APPLICATION_ID, NEWEST};
use super::{BUSY_WAIT, read};
use crate::backend::Instance;

/// Pages that are copied before somebody is told how far it is.
const PAGES_AT_ONCE: i32 = 256;

/// How long it waits at a time for somebody who has the file, and how often.
const WAIT: Duration = Duration::from_millis(5);
const WAITS_MAX: u32 = 2_000;

/// What a database says about itself.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) schema: u32,
    pub(crate) instance: Instance,
    pub(crate) audit: ChainHead,
    pub(crate) keys: u64,
    pub(crate) master_key: Option<MasterKeyId>,
}

/// Why a database is not what it should be.
#[derive(Debug)]
pub(crate) enum Unsound {
    Sqlite(Error),
    /// Made by another program.
    NotOurs,
    Newer(u32),
    /// Nothing was ever started on it.
    Empty,
    Damaged(String),
}

impl From<Error> for Unsound {
    fn from(error: Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Copies what is committed at one moment, journal included, into an empty file, which is one file afterwards: its log is
/// part of it. Nobody who reads or writes waits for this.
pub(crate) fn copy(from: &Path, to: &Path, mut progress: impl FnMut(u64, u64)) -> Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(from, flags)?;
    source.busy_timeout(BUSY_WAIT)?;
    source.pragma_update(None, "query_only", true)?;
    // What is committed from here on is not seen. Without this, every commit would make the copy start again.
    source.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema;")?;
    let mut target = Connection::open_with_flags(to, flags)?;
    target.pragma_update(None, "journal_mode", "OFF")?;
    target.pragma_update(None, "synchronous", "OFF")?;
    let copy = Backup::new(&source, &mut target)?;
    let mut waited = 0;
    loop {
        let step = copy.step(PAGES_AT_ONCE)?;
        let pages = copy.progress();
        let whole = u64::try_from(pages.pagecount).unwrap_or(0);
        progress(whole.saturating_sub(u64::try_from(pages.remaining).unwrap_or(0)), whole);
        match step {
            StepResult::Done => break,
            StepResult::More => waited = 0,
            // Somebody has the file for a moment.
            _ if waited < WAITS_MAX => {
                waited += 1;
                std::thread::sleep(WAIT);
            }
            _ => {
                return Err(Error::SqliteFailure(
                    rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
                    None,
                ));
            }
        }
    }
    drop(copy);
    source.execute_batch("COMMIT")?;
    target.pragma_update(None, "journal_mode", "DELETE")?;
    target.close().map_err(|(_, error)| error)
}

/// Reads a database that nobody writes, without making any file beside it, and checks every page of it.
pub(crate) fn check(file: &Path) -> std::result::Result<Contents, Unsound> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri(file, "immutable=1"), flags)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    let found = contents(&connection)?;
    let verdicts: Vec<String> = connection
        .prepare("PRAGMA integrity_check(3)")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_>>()?;
    if verdicts != ["ok"] {
        return Err(Unsound::Damaged(verdicts.join("; ")));
    }
    let orphans = connection.prepare("PRAGMA foreign_key_check")?.query_row([], |_| Ok(())).optional()?;
    if orphans.is_some() {
        return Err(Unsound::Damaged("a row names another one that is not there".into()));
    }
    Ok(found)
}

/// What a database says about itself, without checking it.
pub(crate) fn look(file: &Path) -> std::result::Result<Contents, Unsound> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.pragma_update(None, "query_only", true)?;
    // The log stays beside it: what is set aside is kept as it was found.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    contents(&connection)
}

fn contents(connection: &Connection) -> std::result::Result<Contents, Unsound> {
    let application: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if application != APPLICATION_ID {
        return Err(Unsound::NotOurs);
    }
    let schema = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if schema > NEWEST {
        return Err(Unsound::Newer(schema));
    }
    // Columns that came later are not asked for: a backup may be older than this program.
    let sql = "SELECT id, incarnation, nonce, previous_nonce, index_key FROM instance";
    let row = connection.query_row(sql, [], |row| {
        let instance = Instance {
            id: row.get(0)?,
            mark: crate::backend::Mark { incarnation: row.get(1)?, nonce: row.get(2)? },
            previous_nonce: row.get(3)?,
            fence: None,
            stopped_clean: false,
            version: String::new(),
            time_seen: till_core::time::Timestamp(0),
            kill_switch: None,
        };
        Ok((instance, row.get::<_, Option<Vec<u8>>>(4)?))
    });
    let Some((instance, index_key)) = row.optional()? else {
        return Err(Unsound::Empty);
    };
    Ok(Contents {
        schema,
        instance,
        audit: super::audit::head(connection)?,
        keys: read::key_count(connection)?,
        master_key: index_key.as_deref().and_then(index_key_wrapped_by),
    })
}

/// The URI of a file. `immutable=1` is for one that does not change while it is read.
pub(super) fn uri(file: &Path, options: &str) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;
    let absolute = std::path::absolute(file).unwrap_or_else(|_| file.into());
    let mut uri = "file://".to_owned();
    for byte in absolute.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.".contains(byte) {
            uri.push(char::from(*byte));
        } else {
            write!(uri, "%{byte:02X}").expect("a String takes everything");
        }
    }
    uri + "?" + options
}
