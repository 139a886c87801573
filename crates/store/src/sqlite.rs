//! State in one SQLite file: the only SQL of the project is in this module and the ones below it.
//!
//! Write-ahead log with `synchronous=FULL`: a commit returns after its fsync. One connection writes; others
//! read, and a reader never waits for the writer. The tables are described in
//! `sqlite/schema-*.sql`.
//!
//! A batch of holds and their ends is one row of the `journal`. What is in it goes to the tables later, once however often
//! it changed: in pieces when it is time or somebody is about to read, and at once with the first batch of another kind and
//! whenever the file is opened. [`Fold`] is what is not in the tables yet. Everything else sees only the tables.

mod audit;
mod block;
mod block_index;
mod bytes;
mod claims;
mod column;
pub(crate) mod copy;
mod entities;
pub(crate) mod examine;
mod fold;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod journal;
mod master_keys;
mod migration;
mod pending;
mod read;
mod records;
#[cfg(test)]
mod scale_tests;
mod sum_rows;
mod sums;
#[cfg(test)]
mod tests;
mod usage;
mod write;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags};
use till_core::audit::ChainHead;
use till_core::key::KeyId;
use till_core::ledger::{Account, AccountId, HoldId, Ledger, OpenHold};
use till_core::limit::Units;
use till_core::policy::PolicyOwner;
use till_core::scope::Scope;
use till_core::time::{Month, Timestamp};
use till_core::token::{ClaimId, MasterKeyId};

#[cfg(test)]
use crate::backend::Room;
use crate::backend::{Backend, Batch, Instance, Reader};
use crate::claim::Claim;
use crate::entity::{Charged, EntityKind, EntityQuery, EntityRow, Lookup};
use crate::error::{OpenError, StoreError};
use crate::files::make_private_file;
use crate::key::{KeyCounts, KeyDetails, KeyOptions, KeyPlace, KeyQuery, KeyRecord};
use crate::master_key::{KnownMasterKey, MasterKeyRecord};
use crate::usage_record::{
    DenialQuery, DenialSum, OrphanHold, UsageFilter, UsageGroup, UsagePage, UsageQuery, UsageRecord, UsageSum,
};
use crate::usage_totals::top;
use fold::Fold;
use journal::Entry;
use migration::{Refused, migrate};

/// Name of the database in the data directory.
pub(crate) const FILE_NAME: &str = "till.db";

/// The newest schema that this program knows, and writes.
pub const SCHEMA_VERSION: u32 = migration::NEWEST;

/// How long to wait for a lock on the database. Only a checkpoint or a person with `sqlite3` takes one.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Prepared statements kept per connection; there are fewer.
const STATEMENTS_MAX: usize = 128;

/// Pages of the database in memory for the connection that writes: those that folds come back to.
const CACHE_KIBIBYTES: i64 = 16 << 10;

/// The same per connection that reads: there are two of them.
const READER_CACHE_KIBIBYTES: i64 = 8 << 10;

/// After so many pages in the write-ahead log they are copied into the database. Each page is copied once however often
/// it changed, so this is rare.
const CHECKPOINT_PAGES: i64 = 4_000;

/// The write-ahead log is cut back to this size after a checkpoint.
const WAL_BYTES_MAX: i64 = 64 << 20;

#[derive(Debug)]
pub(crate) struct SqliteBackend {
    file: File,
    /// What the journal says and the tables do not.
    fold: Fold,
    #[cfg(test)]
    room: Room,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    /// `None` after an error, until [`Backend::reopen`] succeeds.
    connection: Option<Connection>,
}

impl File {
    fn run<T>(
        &self,
        action: &'static str,
        run: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let Some(connection) = &self.connection else {
            let reason = "it was not opened again after an error".into();
            return Err(StoreError::Failed { action, file: self.path.clone(), reason });
        };
        run(connection).map_err(|error| failed(action, &self.path, &error))
    }

    /// After an error it is unknown what is on disk: nothing is read or written before the file was opened again.
    fn write<T>(&mut self, write: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let written = self.run("write", write);
        if written.is_err() {
            self.connection = None;
        }
        written
    }
}

impl SqliteBackend {
    /// Opens the database in `dir`, makes it if it is absent, and brings its schema up to date.
    pub(crate) fn open(dir: &Path) -> Result<Self, OpenError> {
        Self::open_file(dir.join(FILE_NAME))
    }

    /// The same with a database of another name.
    pub(crate) fn open_file(path: PathBuf) -> Result<Self, OpenError> {
        // Made here and not by SQLite, for its mode; the log and its index take the same one.
        make_private_file(&path)?;
        let opened = connect(&path).map_err(Refused::Sqlite).and_then(|mut connection| {
            migrate(&mut connection)?;
            let fold = transaction(&connection, || Fold::of_journal(&connection))?;
            Ok((connection, fold))
        });
        match opened {
            Ok((connection, fold)) => Ok(Self::of(File { path, connection: Some(connection) }, fold)),
            Err(refused) => Err(open_error(path, refused)),
        }
    }

    fn of(file: File, fold: Fold) -> Self {
        Self {
            file,
            fold,
            #[cfg(test)]
            room: Room::Plenty,
        }
    }

    /// Makes this connection believe that the disk is nearly full.
    #[cfg(test)]
    pub(crate) fn forbid_growth(&mut self, room: i64) {
        let pages = self
            .file
            .run("read", |connection| connection.query_row("PRAGMA page_count", [], |row| row.get(0)));
        let pages: i64 = pages.expect("a sound database");
        let bounded = self.file.run("write", |connection| {
            connection.query_row(&format!("PRAGMA max_page_count = {}", pages + room), [], |_| Ok(()))
        });
        bounded.expect("a sound database");
    }

    /// As much of the disk is free for this connection as was said.
    #[cfg(test)]
    fn bound_room(&mut self) {
        let run = |backend: &Self, sql: &str| {
            backend.file.run("write", |connection| connection.execute_batch(sql)).expect("a sound database");
        };
        // Lifted first: the table needs room.
        run(self, "PRAGMA max_page_count = 4294967294");
        for table in ["journal", "audit"] {
            run(self, &format!("DROP TRIGGER IF EXISTS temp.full_{table}"));
            if self.room == Room::None {
                run(self, "CREATE TABLE IF NOT EXISTS filler (bytes BLOB)");
                // Whatever is free among the pages is used up first.
                let sql = format!(
                    "CREATE TEMP TRIGGER full_{table} BEFORE INSERT ON main.{table} \
                     BEGIN INSERT INTO filler VALUES (zeroblob(16777216)); END"
                );
                run(self, &sql);
            }
        }
        if self.room != Room::Plenty {
            self.forbid_growth(0);
        }
    }

    /// One row of the journal, and what is due of the way to the tables.
    fn write_entry(&mut self, entry: Entry) -> Result<(), StoreError> {
        let bytes = entry.to_bytes();
        let (number, fold) = (self.fold.last() + 1, &mut self.fold);
        self.file.write(|connection| {
            if !fold.has_piece() {
                return journal::append(connection, number, &bytes);
            }
            transaction(connection, || {
                journal::append(connection, number, &bytes)?;
                crate::failpoint!("journal.appended");
                fold.write_piece(connection)
            })
        })?;
        self.fold.add(entry);
        self.fold.note_entry(bytes.len());
        Ok(())
    }

    /// Everything to the tables.
    fn fold_all(&mut self) -> Result<(), StoreError> {
        if self.fold.is_done() {
            return Ok(());
        }
        let fold = &mut self.fold;
        self.file.write(|connection| transaction(connection, || fold.all(connection)))
    }
}

/// Everything that `write` does, or nothing of it.
fn transaction<T>(
    connection: &Connection,
    write: impl FnOnce() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
    let written = write().and_then(|written| {
        connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(written)
    });
    if written.is_err() && !connection.is_autocommit() {
        // The first error is the one to report; whoever gets it opens the file again anyway.
        let _ = connection.execute_batch("ROLLBACK");
    }
    written
}

/// What is replaced or deleted meanwhile is overwritten in the file, and not only forgotten: a sealed upstream key opens by
/// its master key as long as its bytes are somewhere, in a backup of the file too. What calls change has no such bytes,
/// and would cost more pages of the log.
fn wiping<T>(
    connection: &Connection,
    is_wanted: bool,
    write: impl FnOnce() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    if !is_wanted {
        return write();
    }
    connection.pragma_update(None, "secure_delete", true)?;
    let written = write()?;
    // After an error the connection is closed.
    connection.pragma_update(None, "secure_delete", false)?;
    Ok(written)
}

/// Reads what is committed at one moment.
fn of_one_moment<T>(
    connection: &Connection,
    read: impl FnOnce() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = connection.unchecked_transaction()?;
    let found = read()?;
    transaction.commit()?;
    Ok(found)
}

/// What is damaged concerns the one who asks for it; the connection is sound.
fn charged(
    connection: &Connection,
    owner: PolicyOwner,
    id: &str,
    days: (u64, u64),
    after: Option<u64>,
) -> rusqlite::Result<Result<Charged, StoreError>> {
    match of_one_moment(connection, || sums::charged(connection, owner, id, days, after)) {
        Err(rusqlite::Error::FromSqlConversionFailure(_, _, reason)) => {
            Ok(Err(StoreError::Damaged { reason: reason.to_string() }))
        }
        charged => charged.map(Ok),
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_MAX)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIBIBYTES)?;
    Ok(connection)
}

fn open_error(path: PathBuf, refused: Refused) -> OpenError {
    let error = match refused {
        Refused::Newer { found } => return OpenError::NewerSchema { path, found, known: migration::NEWEST },
        Refused::NotOurs => {
            return OpenError::Corrupt { path, reason: "it was made by another program".into() };
        }
        Refused::Sqlite(error) => error,
    };
    if let rusqlite::Error::FromSqlConversionFailure(_, _, reason) = &error {
        return OpenError::Corrupt { path, reason: reason.to_string() };
    }
    let reason = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => OpenError::Corrupt { path, reason },
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            OpenError::NotWritable { path, reason }
        }
        _ => OpenError::Io { path, reason },
    }
}

fn failed(action: &'static str, path: &Path, error: &rusqlite::Error) -> StoreError {
    let reason = match error {
        // Says what is damaged; which column it was found in is of no interest.
        rusqlite::Error::FromSqlConversionFailure(_, _, reason) => reason.to_string(),
        error => error.to_string(),
    };
    StoreError::Failed { action, file: path.into(), reason }
}

impl Backend for SqliteBackend {
    fn instance(&mut self) -> Result<Option<Instance>, StoreError> {
        self.file.run("read", read::instance)
    }

    fn account(&mut self, id: AccountId) -> Result<Option<Account>, StoreError> {
        let row = self.file.run("read", |connection| read::account(connection, id))?;
        match self.fold.account(id) {
            None => Ok(row),
            Some(image) => image.over(row).map(Some).map_err(|error| StoreError::Failed {
                action: "read",
                file: self.file.path.clone(),
                reason: error.to_string(),
            }),
        }
    }

    fn key_options(&mut self, id: KeyId) -> Result<Option<KeyOptions>, StoreError> {
        self.file.run("read", |connection| read::key_options(connection, id))
    }

    fn key_details(&mut self, id: KeyId) -> Result<Option<KeyDetails>, StoreError> {
        self.file.run("read", |connection| read::key_details(connection, id))
    }

    fn key_scope(&mut self, id: KeyId) -> Result<Option<Scope>, StoreError> {
        self.file.run("read", |connection| read::key_scope(connection, id))
    }

    fn key_place(&mut self, id: KeyId) -> Result<Option<KeyPlace>, StoreError> {
        self.file.run("read", |connection| read::key_place(connection, id))
    }

    fn entity(&mut self, kind: EntityKind, id: &str) -> Result<Option<EntityRow>, StoreError> {
        self.file.run("read", |connection| entities::fetch(connection, kind, id))
    }

    fn entity_lookup(
        &mut self,
        kind: EntityKind,
        hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<String>, StoreError> {
        self.file.run("read", |connection| entities::lookup(connection, kind, hash, now))
    }

    fn live_keys(&mut self, owner: PolicyOwner, id: &str, now: Timestamp) -> Result<u64, StoreError> {
        self.fold_all()?;
        self.file.run("read", |connection| entities::live_keys(connection, owner, id, now))
    }

    fn charged(
        &mut self,
        owner: PolicyOwner,
        id: &str,
        days: (u64, u64),
        after: Option<u64>,
    ) -> Result<Units, StoreError> {
        self.fold_all()?;
        let charged = self.file.run("read", |connection| charged(connection, owner, id, days, after))?;
        charged.map(|charged| charged.units)
    }

    fn used_ever(&mut self, owner: PolicyOwner, id: &str) -> Result<Vec<(KeyId, Units)>, StoreError> {
        self.fold_all()?;
        self.file.run("read", |connection| entities::used_ever(connection, owner, id))
    }

    fn index_key(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        self.file.run("read", read::index_key)
    }

    fn master_key_is_retired(&mut self, id: MasterKeyId) -> Result<Option<bool>, StoreError> {
        self.file.run("read", |connection| master_keys::is_retired(connection, id))
    }

    fn orphan(&mut self, id: HoldId) -> Result<Option<OpenHold>, StoreError> {
        self.file.run("read", |connection| usage::orphan(connection, id))
    }

    fn usage_delete(&mut self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.file.write(|connection| transaction(connection, || records::delete(connection, before, limit)))
    }

    fn claim(&mut self, id: ClaimId) -> Result<Option<(KeyId, Timestamp)>, StoreError> {
        self.file.run("read", |connection| claims::find(connection, id))
    }

    fn claims_delete(&mut self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.file.write(|connection| wiping(connection, true, || claims::delete(connection, now, limit)))
    }

    fn sessions_delete(&mut self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.file.write(|connection| {
            let delete = || entities::sessions_delete(connection, now, limit);
            wiping(connection, true, || transaction(connection, delete))
        })
    }

    fn open_holds(&mut self) -> Result<Vec<(HoldId, OpenHold)>, StoreError> {
        self.fold_all()?;
        self.file.run("read", read::open_holds)
    }

    fn audit_head(&mut self) -> Result<ChainHead, StoreError> {
        self.file.run("read", audit::head)
    }

    fn month_total(&mut self, month: Month) -> Result<u128, StoreError> {
        match self.fold.month_total(month) {
            Some(total) => Ok(total),
            None => self.file.run("read", |connection| read::month_total(connection, month)),
        }
    }

    fn commit(&mut self, batch: &Batch, ledger: &Ledger) -> Result<(), StoreError> {
        let entry = Entry::of(batch, ledger);
        crate::failpoint!("commit.begin");
        if !batch.is_for_journal() || batch.fold && self.fold.is_little() {
            self.fold.add(entry);
            let fold = &mut self.fold;
            self.file.write(|connection| {
                wiping(connection, batch.changes_secrets(), || {
                    transaction(connection, || {
                        write::batch(connection, fold, batch, ledger)?;
                        crate::failpoint!("tables.written");
                        Ok(())
                    })
                })
            })?;
            crate::failpoint!("tables.committed");
        } else {
            self.write_entry(entry)?;
            crate::failpoint!("journal.committed");
        }
        if batch.fold {
            self.fold.want_all();
        }
        Ok(())
    }

    fn want_folded(&mut self) {
        self.fold.want_all();
    }

    fn fold_piece(&mut self) -> Result<(), StoreError> {
        let fold = &mut self.fold;
        crate::failpoint!("fold.begin");
        self.file.write(|connection| {
            transaction(connection, || {
                fold.write_piece(connection)?;
                crate::failpoint!("fold.written");
                Ok(())
            })
        })?;
        crate::failpoint!("fold.committed");
        Ok(())
    }

    fn fold_due(&self) -> Option<Instant> {
        self.fold.due()
    }

    fn committed(&self) -> u64 {
        self.fold.last()
    }

    fn folded(&self) -> u64 {
        self.fold.folded()
    }

    fn take_spare_records(&mut self) -> Vec<Arc<UsageRecord>> {
        self.fold.take_spare_records()
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        // Closed first: an error may stick to the old connection.
        self.file.connection = None;
        let path = &self.file.path;
        let opened = connect(path).and_then(|connection| {
            let fold = transaction(&connection, || Fold::of_journal(&connection))?;
            Ok((connection, fold))
        });
        let (connection, fold) = opened.map_err(|error| failed("open", path, &error))?;
        (self.file.connection, self.fold) = (Some(connection), fold);
        #[cfg(test)]
        if self.room != Room::Plenty {
            self.bound_room();
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), StoreError> {
        crate::failpoint!("checkpoint.begin");
        self.fold_all()?;
        crate::failpoint!("checkpoint.folded");
        self.file.write(|connection| transaction(connection, || sums::catch_up(connection)))?;
        self.file.run("write", |connection| {
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        })
    }

    #[cfg(test)]
    fn set_room(&mut self, room: Room) {
        self.room = room;
        if self.file.connection.is_some() {
            self.bound_room();
        }
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(SqliteReader { path: self.file.path.clone(), connection: None })
    }
}

/// Another connection, opened at first use and again after an error.
#[derive(Debug)]
struct SqliteReader {
    path: PathBuf,
    connection: Option<Connection>,
}

impl SqliteReader {
    fn run<T>(&mut self, run: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let connection = match self.connection.take() {
            Some(connection) => Ok(connection),
            None => connect(&self.path).and_then(|connection| {
                connection.pragma_update(None, "query_only", true)?;
                connection.pragma_update(None, "cache_size", -READER_CACHE_KIBIBYTES)?;
                Ok(connection)
            }),
        };
        let answer = connection.and_then(|connection| {
            let answer = run(&connection)?;
            self.connection = Some(connection);
            Ok(answer)
        });
        answer.map_err(|error| failed("read", &self.path, &error))
    }
}

impl Reader for SqliteReader {
    fn key_fetch(&mut self, id: KeyId, now: Timestamp) -> Result<Option<KeyRecord>, StoreError> {
        self.run(|connection| read::key_fetch(connection, id, now))
    }

    fn key_list(&mut self, query: &KeyQuery, now: Timestamp) -> Result<Vec<KeyRecord>, StoreError> {
        self.run(|connection| read::key_list(connection, query, now))
    }

    fn key_count(&mut self) -> Result<u64, StoreError> {
        self.run(read::key_count)
    }

    fn key_counts(&mut self, project: Option<&str>, now: Timestamp) -> Result<KeyCounts, StoreError> {
        self.run(|connection| read::key_counts(connection, project, now))
    }

    fn denial_sums(&mut self, query: &DenialQuery) -> Result<Vec<DenialSum>, StoreError> {
        self.run(|connection| read::denial_sums(connection, query))
    }

    fn month_total(&mut self, month: Month) -> Result<u128, StoreError> {
        self.run(|connection| read::month_total(connection, month))
    }

    fn claim_fetch(&mut self, id: ClaimId) -> Result<Option<Claim>, StoreError> {
        self.run(|connection| claims::fetch(connection, id))
    }

    fn index_key(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        self.run(read::index_key)
    }

    fn account(&mut self, id: AccountId) -> Result<Option<Account>, StoreError> {
        self.run(|connection| read::account(connection, id))
    }

    fn master_key_list(&mut self, now: Timestamp) -> Result<Vec<MasterKeyRecord>, StoreError> {
        self.run(|connection| master_keys::list(connection, now))
    }

    fn master_keys_known(&mut self) -> Result<Vec<KnownMasterKey>, StoreError> {
        self.run(master_keys::known)
    }

    fn master_key_keys(
        &mut self,
        id: MasterKeyId,
        after: Option<KeyId>,
        limit: u32,
    ) -> Result<Vec<KeyId>, StoreError> {
        self.run(|connection| master_keys::keys(connection, id, after, limit))
    }

    fn entity_fetch(&mut self, kind: EntityKind, id: &str) -> Result<Option<EntityRow>, StoreError> {
        self.run(|connection| entities::fetch(connection, kind, id))
    }

    fn entity_find(
        &mut self,
        kind: EntityKind,
        hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<EntityRow>, StoreError> {
        self.run(|connection| {
            let Some(id) = entities::lookup(connection, kind, hash, now)? else { return Ok(None) };
            Ok(entities::fetch(connection, kind, &id)?.filter(|row| row.ended_at.is_none()))
        })
    }

    fn entity_lookups(&mut self, kind: EntityKind, id: &str) -> Result<Vec<Lookup>, StoreError> {
        self.run(|connection| entities::lookups(connection, kind, id))
    }

    fn entity_list(&mut self, kind: EntityKind, query: &EntityQuery) -> Result<Vec<EntityRow>, StoreError> {
        self.run(|connection| entities::list(connection, kind, query))
    }

    fn keys_of(&mut self, owner: PolicyOwner, id: &str) -> Result<Vec<KeyId>, StoreError> {
        self.run(|connection| entities::keys_of(connection, owner, id))
    }

    fn keys_left(
        &mut self,
        owner: PolicyOwner,
        id: &str,
        after: Option<KeyId>,
        limit: u32,
    ) -> Result<Vec<KeyId>, StoreError> {
        self.run(|connection| entities::keys_left(connection, owner, id, after, limit))
    }

    fn endings(&mut self) -> Result<Vec<(PolicyOwner, String)>, StoreError> {
        self.run(entities::endings)
    }

    fn usage_list(&mut self, query: &UsageQuery) -> Result<UsagePage, StoreError> {
        self.run(|connection| of_one_moment(connection, || records::list(connection, query)))
    }

    fn charged(&mut self, owner: PolicyOwner, id: &str, days: (u64, u64)) -> Result<Charged, StoreError> {
        self.run(|connection| charged(connection, owner, id, days, None))?
    }

    fn used_ever(&mut self, owner: PolicyOwner, id: &str) -> Result<Vec<(KeyId, Units)>, StoreError> {
        self.run(|connection| entities::used_ever(connection, owner, id))
    }

    fn usage_sum(&mut self, group: UsageGroup, filter: &UsageFilter) -> Result<Vec<UsageSum>, StoreError> {
        self.run(|connection| of_one_moment(connection, || sums::sum(connection, group, filter)))
    }

    fn usage_top(
        &mut self,
        most: usize,
        group: UsageGroup,
        filter: &UsageFilter,
    ) -> Result<Vec<UsageSum>, StoreError> {
        self.run(|connection| {
            let sum = |group, filter: &UsageFilter| sums::sum(connection, group, filter);
            of_one_moment(connection, || top(most, group, filter, sum))
        })
    }

    fn orphan_list(&mut self, before: Option<HoldId>, limit: u32) -> Result<Vec<OrphanHold>, StoreError> {
        self.run(|connection| usage::orphans(connection, before, limit))
    }
}

/// The open holds that are on disk, in the table or in the journal.
#[cfg(test)]
pub(crate) fn durable_holds(connection: &Connection) -> rusqlite::Result<Vec<till_core::ledger::OpenHold>> {
    let state = connection.unchecked_transaction()?;
    let mut holds: std::collections::HashMap<_, _> = read::open_holds(&state)?.into_iter().collect();
    journal::entries(&state, journal::mark(&state)?, |entry, _| {
        holds.extend(entry.holds.into_iter().map(|(id, image)| (id, image.hold)));
        holds.retain(|id, _| !entry.holds_closed.contains(id));
    })?;
    Ok(holds.into_values().collect())
}
