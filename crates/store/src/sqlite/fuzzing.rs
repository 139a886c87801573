//! For the fuzz target of rows and its replay: till on a database in which anything may stand.
//!
//! The database is in memory, without its checks, types and triggers: as if somebody had written it with other means, or
//! the disk had. It has a row or more in every table.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::backup::Backup;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, MAIN_DB, ToSql, params_from_iter};
use till_core::key::KeyId;
use till_core::ledger::{AccountChain, AccountId, HoldId, HoldKind, OpenHold};
use till_core::limit::Units;
use till_core::policy::PolicyOwner;
use till_core::time::{Month, Timestamp};
use till_core::token::{ClaimId, MasterKeyId};

use super::block::{self, BlockWriter};
use super::bytes::seal;
use super::column::Time;
use super::fold::Fold;
use super::journal::{AccountImage, Entry, HoldImage};
use super::migration::{Refused, migrate};
use super::{
    File, STATEMENTS_MAX, SqliteBackend, audit, block_index, claims, entities, master_keys, read, records,
    sums, transaction, usage, write,
};
use crate::audit_log::AuditQuery;
use crate::clock::Clock;
use crate::entity::{
    AdminToken, Credential, Entity, EntityKind, EntityQuery, EntityRow, Member, Project, Session,
};
use crate::key::{KeyQuery, KeySort};
use crate::start::start;
use crate::usage_record::{
    DenialQuery, Outcome, TokenCounts, UsageFilter, UsageGroup, UsageQuery, UsageRecord,
};
use crate::usage_totals::top;

/// What is read out of bytes of one layout.
#[derive(Debug)]
pub struct Decoded {
    /// Written again.
    pub again: Vec<u8>,
    /// Whether reading that says the same.
    pub is_same: bool,
    /// Bytes of memory that it takes, about.
    pub size: usize,
}

/// Reads an entry of the journal that somebody has put a right checksum to.
///
/// # Errors
/// What is wrong with it.
pub fn entry(content: &[u8]) -> Result<Decoded, String> {
    let found = Entry::from_bytes(&sealed(content)).map_err(|why| why.to_string())?;
    let again = found.to_bytes();
    let size = size_of_val(&found.holds[..]) + found.records.iter().map(|record| size(record)).sum::<usize>();
    Ok(Decoded { is_same: Entry::from_bytes(&again).as_ref() == Ok(&found), again, size })
}

/// Reads a block of records that somebody has put a right checksum to.
///
/// # Errors
/// What is wrong with it.
pub fn block(content: &[u8]) -> Result<Decoded, String> {
    let found = block::records(&sealed(content)).map_err(|why| why.to_string())?;
    let mut writer = BlockWriter::with_room(found.len());
    found.iter().for_each(|(seq, record)| writer.push(*seq, record));
    let again = writer.into_bytes();
    let size = found.iter().map(|(_, record)| size(record)).sum();
    Ok(Decoded { is_same: block::records(&again).as_ref() == Ok(&found), again, size })
}

/// Bytes with their checksum.
pub fn sealed(content: &[u8]) -> Vec<u8> {
    let mut bytes = content.to_vec();
    seal(&mut bytes);
    bytes
}

fn size(record: &UsageRecord) -> usize {
    let texts = [record.model.as_deref(), record.price_version.as_deref()];
    let names = [&*record.provider, &*record.method, &*record.endpoint, &*record.request_id];
    let length = texts.into_iter().flatten().chain(names).map(str::len).sum::<usize>();
    size_of::<UsageRecord>() + length
}

/// What stands in a column.
#[derive(Clone, Debug)]
pub enum Cell {
    /// Nothing.
    Null,
    /// A number.
    Integer(i64),
    /// One with a point.
    Real(f64),
    /// Text, or what should be some.
    Text(Vec<u8>),
    /// Bytes.
    Blob(Vec<u8>),
}

impl Cell {
    fn of(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Real(number) => Self::Real(number),
            ValueRef::Text(text) => Self::Text(text.to_vec()),
            ValueRef::Blob(bytes) => Self::Blob(bytes.to_vec()),
        }
    }
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Real(number) => ValueRef::Real(*number),
            Self::Text(text) => ValueRef::Text(text),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// A table with its rows.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Names of its columns.
    pub columns: Vec<String>,
    /// What stands there.
    pub rows: Vec<Vec<Cell>>,
}

/// Where an instance is kept, as it was closed.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    /// Its tables.
    pub tables: Vec<Table>,
    /// Where the witness of a start goes.
    directory: PathBuf,
}

/// What stands in no older database.
const MORE: &str = "
    INSERT INTO journal VALUES (15, x'');
    INSERT INTO entities (kind, id, project, version, created_at, updated_at, ended_at, used_at, body) VALUES
        ('project', 'ruled', NULL, 1, 0, 0, NULL, 7, '{\"name\":\"ruled\",\"policy\":{\"ceilings\":{\"lifetime\":{\"activations\":9}}}}'),
        ('member', 'mem_1', 'default', 2, 0, 5, NULL, NULL, '{\"login\":\"ada\",\"name\":\"Ada\",\"role\":\"admin\",\"project\":\"default\"}'),
        ('credential', 'openai-prod', NULL, 1, 0, 0, 8, NULL, '{\"provider\":\"openai\",\"sealed\":\"AAAA\",\"projects\":[\"default\"]}'),
        ('session', 'ses_1', NULL, 1, 0, 0, NULL, NULL, '{\"subject\":\"mem_1\",\"stamp\":\"00\",\"csrf\":\"11\",\"expiresAt\":9}');
    INSERT INTO entity_lookups VALUES ('session', zeroblob(32), 'ses_1', 99);
    INSERT INTO endings VALUES ('credential', 'openai-prod');
    INSERT INTO claims VALUES (zeroblob(16), x'01010101010101010101010101010101', x'00', 1900000000000);
    INSERT INTO usage_block_keys VALUES (0, 1, x'01');
    INSERT INTO audit_keys VALUES (zeroblob(8), zeroblob(32));
    INSERT INTO audit_checkpoints VALUES (5, (SELECT hash FROM audit WHERE seq = 5), 9, zeroblob(8), zeroblob(64));
    UPDATE keys SET maker = 'mem_1', credential = 'openai-prod', scope = '{\"models\":[\"gpt-*\"]}' WHERE row = 2;
    INSERT INTO holds SELECT incarnation, number + 1, 'orphan', at, activations, tokens, spend, accounts, 'escrow', 0
        FROM holds LIMIT 1;
";

/// Takes what the schema guards away: types, checks, triggers.
const UNGUARD: &str = "
    PRAGMA writable_schema = ON;
    DELETE FROM sqlite_schema WHERE type = 'trigger';
    UPDATE sqlite_schema SET sql = replace(replace(sql, 'STRICT, WITHOUT', 'WITHOUT'), ') STRICT', ')');
    PRAGMA writable_schema = RESET;
    PRAGMA ignore_check_constraints = ON;
";

/// About when the database was made.
const NOW: Timestamp = Timestamp(1_800_000_000_000);

const KEYS: [KeyId; 3] = [KeyId([1; 16]), KeyId([2; 16]), KeyId([0xee; 16])];

impl Database {
    /// Reads the one that an older version wrote, and brings it up to date. Files go into `directory`.
    pub fn new(directory: &Path) -> Self {
        // A copy, because opening it may write beside it.
        let copy = directory.join("copy.db");
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/schema-5/till.db");
        std::fs::copy(kept, &copy).expect("it is there");
        let mut connection = Connection::open_in_memory().expect("memory");
        connection.restore(MAIN_DB, &copy, None::<fn(_)>).expect("a database");
        match migrate(&mut connection) {
            Ok(()) => {}
            Err(Refused::Sqlite(error)) => panic!("{error}"),
            Err(_) => panic!("it is one of ours"),
        }
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        connection.execute_batch(UNGUARD).expect("the schema can be changed");
        connection.execute_batch(MORE).expect("they fit the schema");
        connection
            .execute("UPDATE journal SET entry = ?1", [Entry::default().to_bytes()])
            .expect("it is there");
        let mut list = vec![1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1];
        seal(&mut list);
        connection.execute("UPDATE usage_block_keys SET entries = ?1", [list]).expect("it is there");
        let tables = tables(&connection).expect("a sound database");
        Self { connection, tables, directory: directory.to_owned() }
    }

    /// Puts other rows there, and has till start with them, or read everything and write something. The errors that it says.
    pub fn with(&self, rows: &[(usize, Vec<Cell>)], starts: bool) -> Vec<String> {
        let mut errors = Vec::new();
        if starts {
            let mut connection = Connection::open_in_memory().expect("memory");
            let backup = Backup::new(&self.connection, &mut connection).expect("two databases");
            backup.step(-1).expect("memory");
            drop(backup);
            connection.pragma_update(None, "ignore_check_constraints", true).expect("it is known");
            self.put(&connection, rows);
            self.start(connection, &mut errors);
        } else {
            // Taken back at the end, which is quicker than another copy.
            self.connection.execute_batch("BEGIN").expect("none is open");
            self.put(&self.connection, rows);
            look(&self.connection, &mut errors);
            act(&self.connection, &mut errors);
            self.connection.execute_batch("ROLLBACK").expect("it is open");
        }
        errors
    }

    fn put(&self, connection: &Connection, rows: &[(usize, Vec<Cell>)]) {
        for (table, row) in rows {
            let Table { name, columns, .. } = &self.tables[*table];
            let places = vec!["?"; columns.len()].join(", ");
            let sql = format!("INSERT OR REPLACE INTO {name} VALUES ({places})");
            // What no table takes stands in none.
            let _ = connection.execute(&sql, params_from_iter(row));
        }
    }

    fn start(&self, connection: Connection, errors: &mut Vec<String>) {
        let Some(fold) = noted(errors, transaction(&connection, || Fold::of_journal(&connection))) else {
            return;
        };
        let file = File { path: self.directory.join("till.db"), connection: Some(connection) };
        let backend = Box::new(SqliteBackend::of(file, fold));
        let witness = self.directory.join("witness");
        // As if everything had been moved: what is there is fenced, and looked at.
        let _ = std::fs::remove_file(&witness);
        match start(backend, &witness, "0.0.0-fuzz", &Clock::system()) {
            Ok(mut started) => {
                let keys = KEYS.map(|key| started.backend.account(AccountId::Key(key)));
                errors.extend(keys.into_iter().filter_map(Result::err).map(|error| error.to_string()));
            }
            Err(error) => errors.push(error.to_string()),
        }
    }
}

fn tables(connection: &Connection) -> rusqlite::Result<Vec<Table>> {
    let sql =
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
    let names: Vec<String> =
        connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let table = |name: String| {
        let mut statement = connection.prepare(&format!("SELECT * FROM {name}"))?;
        let columns: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
        let row =
            |row: &rusqlite::Row<'_>| (0..columns.len()).map(|n| row.get_ref(n).map(Cell::of)).collect();
        let rows = statement.query_map([], row)?.collect::<rusqlite::Result<Vec<Vec<Cell>>>>()?;
        Ok(Table { rows, name, columns })
    };
    names.into_iter().map(table).collect()
}

/// Keeps what an error says.
fn noted<T>(errors: &mut Vec<String>, result: rusqlite::Result<T>) -> Option<T> {
    result
        .inspect_err(|error| errors.push(super::failed("read", Path::new("till.db"), error).to_string()))
        .ok()
}

/// Reads everything there is.
fn look(connection: &Connection, errors: &mut Vec<String>) {
    macro_rules! reads {
        ($($read:expr),+ $(,)?) => { $( noted(errors, $read); )+ };
    }
    let hold = HoldId { incarnation: 1, number: 10 };
    let master = MasterKeyId(*b"rapp");
    reads!(
        read::instance(connection),
        read::index_key(connection),
        read::open_holds(connection),
        read::month_total(connection, Month(24_322)),
        read::key_count(connection),
        read::key_counts(connection, None, NOW),
        read::key_counts(connection, Some("default"), NOW),
        usage::orphan(connection, hold),
        usage::orphans(connection, None, 100),
        claims::find(connection, ClaimId([0; 16])),
        claims::fetch(connection, ClaimId([0; 16])),
        master_keys::known(connection),
        master_keys::list(connection, NOW),
        master_keys::is_retired(connection, master),
        master_keys::keys(connection, master, None, 100),
        entities::endings(connection),
        audit::head(connection),
        audit::log_state(connection),
        audit::state(connection),
        audit::has_what_is_gone(connection),
        audit::denied_in(connection, 29_933_194, 1),
        audit::page(connection, &AuditQuery { limit: 3, ..AuditQuery::default() }),
        audit::page(connection, &AuditQuery { limit: 3, newest_first: true, ..AuditQuery::default() }),
    );
    for key in KEYS {
        reads!(
            read::key_options(connection, key),
            read::key_details(connection, key),
            read::key_scope(connection, key),
            read::key_place(connection, key),
            read::key_fetch(connection, key, NOW),
        );
        account(connection, AccountId::Key(key), errors);
    }
    for (sort, ascending) in [(KeySort::Created, false), (KeySort::LastUsed, true), (KeySort::Expires, false)]
    {
        let query = KeyQuery { sort, ascending, limit: Some(3), ..KeyQuery::default() };
        reads!(read::key_list(connection, &query, NOW));
    }
    for (key, by_key) in [(None, false), (None, true), (Some(KEYS[0]), true)] {
        let query = DenialQuery { days: (0, u64::MAX), key, project: None, by_key };
        reads!(read::denial_sums(connection, &query));
    }
    kept::<Project>(connection, errors);
    kept::<Member>(connection, errors);
    kept::<AdminToken>(connection, errors);
    kept::<Credential>(connection, errors);
    kept::<Session>(connection, errors);
    reads!(entities::lookup(connection, EntityKind::Session, [0; 32], NOW));
    for (owner, id) in [
        (PolicyOwner::Project, "default"),
        (PolicyOwner::Maker, "mem_1"),
        (PolicyOwner::Credential, "openai-prod"),
    ] {
        reads!(
            entities::keys_of(connection, owner, id),
            entities::keys_left(connection, owner, id, None, 100),
            entities::live_keys(connection, owner, id, NOW),
            entities::used_ever(connection, owner, id),
            sums::charged(connection, owner, id, (0, 30_000), None),
            sums::charged(connection, owner, id, (0, 30_000), Some(3)),
        );
    }
    sums_and_records(connection, errors);
}

fn sums_and_records(connection: &Connection, errors: &mut Vec<String>) {
    for key in [None, Some(KEYS[0])] {
        let filter = UsageFilter { key, ..UsageFilter::default() };
        let query = UsageQuery { filter, limit: 5, ..UsageQuery::default() };
        noted(errors, records::list(connection, &query));
    }
    let all = UsageGroup { day: true, key: true, project: true, provider: true, model: true, endpoint: true };
    for group in
        [all, UsageGroup { day: false, ..all }, UsageGroup { key: false, ..all }, UsageGroup::default()]
    {
        noted(errors, sums::sum(connection, group, &UsageFilter::default()));
    }
    let sum = |group, filter: &UsageFilter| sums::sum(connection, group, filter);
    noted(errors, top(2, UsageGroup { model: true, ..UsageGroup::default() }, &UsageFilter::default(), sum));
}

/// What is read of an account is what its figures say after they were written.
fn account(connection: &Connection, id: AccountId, errors: &mut Vec<String>) {
    let Some(Some(found)) = noted(errors, read::account(connection, id)) else { return };
    for at in [Timestamp(0), NOW, Timestamp(u64::MAX)] {
        let _ = (found.status(false, at), found.used());
    }
    let image = AccountImage::of(&found, false);
    if noted(errors, write::accounts_put(connection, [(id, image)])).is_some() {
        let again = noted(errors, read::account(connection, id)).flatten();
        assert_eq!(again, Some(found), "what was written is not what is read");
    }
}

/// What is read of a thing can be written and read again.
fn kept<T: Entity + Clone + PartialEq + std::fmt::Debug>(connection: &Connection, errors: &mut Vec<String>) {
    let query = EntityQuery { with_ended: true, ..EntityQuery::default() };
    for row in noted(errors, entities::list(connection, T::KIND, &query)).unwrap_or_default() {
        noted(errors, entities::lookups(connection, T::KIND, &row.id));
        let policy = row.policy();
        let id = row.id.clone();
        match row.kept::<T>() {
            Ok(found) => {
                let body = serde_json::to_string(&found.is).expect("it was read from JSON");
                let row = EntityRow {
                    kind: T::KIND,
                    id,
                    project: None,
                    version: found.version,
                    created_at: found.created_at,
                    updated_at: found.updated_at,
                    ended_at: found.ended_at,
                    used_at: found.used_at,
                    body,
                };
                assert_eq!(row.policy().ok(), policy.ok(), "its rules are others after it was written");
                assert_eq!(row.kept::<T>().ok(), Some(found), "it is another one after it was written");
            }
            Err(error) => errors.push(error.to_string()),
        }
    }
}

/// Does what calls, age and administrators do.
fn act(connection: &Connection, errors: &mut Vec<String>) {
    let folded = Fold::of_journal(connection);
    if let Some(mut fold) = noted(errors, folded) {
        fold.add(new_entry());
        fold.note_entry(100);
        noted(errors, fold.all(connection));
    }
    let old = Timestamp(NOW.0 + 4_000);
    noted(errors, block_index::catch_up(connection));
    noted(errors, sums::catch_up(connection));
    noted(errors, usage::forgive(connection, HoldId { incarnation: 1, number: 10 }));
    sums_and_records(connection, errors);
    noted(errors, entities::used(connection, EntityKind::Project, "ruled", NOW));
    noted(errors, entities::sessions_delete(connection, NOW, 100));
    noted(errors, claims::delete(connection, NOW, 100));
    noted(errors, audit::delete(connection, 3));
    noted(errors, records::delete(connection, old, 3));
    noted(errors, connection.execute("UPDATE instance SET time_seen = max(time_seen, ?1)", [Time(NOW)]));
    look(connection, errors);
}

/// What a call leaves behind.
fn new_entry() -> Entry {
    let record = UsageRecord {
        at: NOW,
        request_id: "req_0a1b2c3d4e5f00000001".into(),
        key: KEYS[0],
        provider: "openai".into(),
        method: "POST".into(),
        endpoint: "chat.completions".into(),
        model: None,
        status: Some(200),
        outcome: Outcome::Complete,
        denial: None,
        tokens: TokenCounts::default(),
        charged: Units { activations: 1, tokens: 2, spend_nanos: 3 },
        price_version: None,
        latency_ms: 4,
        first_byte_ms: None,
        client: None,
        streamed: false,
    };
    let hold = OpenHold {
        accounts: AccountChain::of_key(AccountId::Key(KEYS[0])),
        kind: HoldKind::Call,
        units: Units::default(),
        at: NOW,
    };
    let id = HoldId { incarnation: 1, number: 99 };
    Entry {
        holds: vec![(id, HoldImage { hold, is_new: true })],
        records: vec![Arc::new(record)],
        time_seen: Some(NOW),
        ..Entry::default()
    }
}

#[cfg(test)]
#[path = "../../../../fuzz/checks/database_rows.rs"]
#[allow(unreachable_pub, reason = "the fuzz target uses the same file")]
mod database_rows;

#[cfg(test)]
mod tests {
    #[test]
    fn any_row_is_read_or_said_to_be_wrong() {
        till_testkit::corpus::replay_some("database_rows", 300, super::database_rows::check);
    }
}
