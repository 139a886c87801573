//! The journal in front of the tables: whatever the moment of a fold or a crash, the tables come to say the same.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, params};
use serde_json::json;
use tempfile::TempDir;
use till_core::audit::{Actor, ChainHead};
use till_core::demand::Demand;
use till_core::denial::DenialCode;
use till_core::key::KeyId;
use till_core::ledger::{Account, AccountChain, AccountId, HoldId, Ledger, Verdict};
use till_core::limit::{Limits, Units};
use till_core::policy::{Ceilings, Policy, PolicyOwner};
use till_core::time::{Month, Timestamp};
use till_core::token::ClaimId;

use super::block::tests::record;
use super::{FILE_NAME, SqliteBackend, block, block_index, records};
use crate::audit_log::{AuditAction, AuditQuery};
use crate::backend::{Backend, Batch, DenialCount, Instance, KeyRow, Mark, Reader};
use crate::clock::Clock;
use crate::conformance::waiting::Random;
use crate::entity::{AdminToken, EntityKind, EntityRow, EntityWrite, Project, Put};
use crate::error::{OpenError, StoreError};
use crate::key::{KeyPlace, NewKey};
use crate::readers::Lane;
use crate::store::{Bounds, Store};
use crate::usage_record::{Outcome, UsageFilter, UsageGroup, UsageQuery, UsageRecord, UsageSum};
use crate::usage_totals::{Sums, TotalKey, amounts};

const KEYS: u64 = 5;
const UNITS: Units = Units { activations: 1, tokens: 100, spend_nanos: 1_000 };

fn key_id(n: u64) -> KeyId {
    KeyId(u128::from(n).to_be_bytes())
}

pub(super) fn new_key(n: u64) -> NewKey {
    NewKey {
        place: Default::default(),
        request: None,
        id: key_id(n),
        master_key: None,
        fingerprint: None,
        provider: "openai".into(),
        origin: "https://api.example.com".into(),
        limits: Limits::default(),
        options: Default::default(),
        lifetime: Default::default(),
        scope: Default::default(),
        metadata: Default::default(),
    }
}

/// What the writer would do with calls that come at random.
struct Calls {
    random: Random,
    ledger: Ledger,
    open: Vec<HoldId>,
    month: u128,
}

impl Calls {
    fn new(seed: u64) -> (Self, Batch) {
        let mut ledger = Ledger::new(1, false);
        let mut batch = Batch { instance: Some(instance()), ..Batch::default() };
        for n in 0..KEYS {
            let limits = Limits { activations: Some(1 << 40), tokens: None, spend_nanos: Some(1 << 50) };
            let id = AccountId::Key(key_id(n));
            ledger.load(id, Account::new(limits));
            batch.accounts.push(id);
            batch.lifetimes.push(id);
            let key = NewKey { limits, ..new_key(n) };
            batch.keys.push(KeyRow { key, created_at: Timestamp(1) });
        }
        (Self { random: Random(seed), ledger, open: Vec::new(), month: 0 }, batch)
    }

    fn batch(&mut self) -> Batch {
        let mut batch = Batch::default();
        let now = Timestamp(1_800_000_000_000 + self.random.below(1_000_000));
        for _ in 0..self.random.below(12) {
            let key = AccountId::Key(key_id(self.random.below(KEYS)));
            let chain = AccountChain::of_key(key);
            let Verdict::Granted(grant) = self.ledger.ask(chain, &Demand::exactly(UNITS), false, now) else {
                panic!("there is enough");
            };
            self.open.push(grant.id);
            batch.holds_opened.push(grant.id);
            batch.accounts.push(key);
        }
        for _ in 0..self.random.below(12).min(self.open.len() as u64) {
            let id = self.open.swap_remove(self.random.index(self.open.len()));
            let used = Units {
                activations: 1,
                tokens: self.random.below(200),
                spend_nanos: self.random.below(2_000),
            };
            let closed = self.ledger.settle(id, used).unwrap().expect("it is open");
            let AccountId::Key(key) = closed.hold.accounts.key() else { panic!("a hold of no key") };
            batch.holds_closed.push(id);
            batch.accounts.push(closed.hold.accounts.key());
            batch.usage.push(Arc::new(UsageRecord {
                at: now,
                key,
                charged: used,
                ..record(&mut self.random)
            }));
            self.month += 1;
            batch.months = vec![(Month::of(now), self.month)];
        }
        batch.accounts.sort_unstable();
        batch.accounts.dedup();
        if self.random.below(4) == 0 {
            batch.denials.push(DenialCount {
                key: Some(key_id(self.random.below(2))),
                code: DenialCode::ModelDenied,
                minute: self.random.below(2),
                count: 1 + self.random.below(3),
            });
        }
        batch.time_seen = (self.random.below(3) == 0).then_some(now);
        batch.probe = batch.is_empty();
        batch
    }
}

pub(super) fn instance() -> Instance {
    Instance {
        id: [1; 16],
        mark: Mark { incarnation: 1, nonce: [2; 16] },
        previous_nonce: [3; 16],
        fence: None,
        stopped_clean: false,
        version: "test".into(),
        time_seen: Timestamp(5),
        kill_switch: None,
    }
}

fn fold() -> Batch {
    Batch { fold: true, ..Batch::default() }
}

fn connection(dir: &Path) -> Connection {
    Connection::open(dir.join(FILE_NAME)).unwrap()
}

fn journal_rows(dir: &Path) -> u64 {
    connection(dir).query_row("SELECT count(*) FROM journal", [], |row| row.get(0)).unwrap()
}

/// Everything that the tables say.
fn tables(dir: &Path) -> Vec<(&'static str, Vec<Vec<Value>>)> {
    let connection = connection(dir);
    let rows = |table| {
        let sql = format!("SELECT * FROM {table}");
        let mut statement = connection.prepare(&sql).unwrap();
        let columns = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| (0..columns).map(|column| row.get(column)).collect();
        let rows = statement.query_map([], row).unwrap().map(Result::unwrap).collect();
        (table, rows)
    };
    [
        "instance",
        "accounts",
        "keys",
        "holds",
        "denials",
        "denial_sums",
        "activations_by_month",
        "usage_sums",
        "project_sums",
        "span_sums",
        "project_denials",
        "usage_blocks",
        "usage_block_keys",
        "usage_numbers",
        "journal",
    ]
    .map(rows)
    .into()
}

fn list(backend: &SqliteBackend, key: Option<KeyId>) -> Vec<(u64, UsageRecord)> {
    let filter = UsageFilter { key, ..UsageFilter::default() };
    backend
        .reader()
        .usage_list(&UsageQuery { limit: u32::MAX, filter, ..UsageQuery::default() })
        .unwrap()
        .records
}

#[test]
fn it_makes_no_difference_when_the_journal_is_folded() {
    let mut middles = [0; 2];
    for seed in 0..12 {
        let dirs: [TempDir; 4] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
        let mut backends = dirs.each_ref().map(|dir| SqliteBackend::open(dir.path()).unwrap());
        let (mut calls, first) = Calls::new(seed);
        let mut dice = Random(seed);
        for backend in &mut backends {
            backend.commit(&first, &calls.ledger).unwrap();
        }
        let mut written = Vec::new();
        for _ in 0..120 {
            let batch = calls.batch();
            written.extend(batch.usage.iter().cloned());
            for (number, backend) in backends.iter_mut().enumerate() {
                backend.commit(&batch, &calls.ledger).unwrap();
                match number {
                    // After each batch.
                    0 => backend.commit(&fold(), &calls.ledger).unwrap(),
                    // By the next start, after a crash.
                    1 if dice.below(9) == 0 => {
                        // Closed first, so that this is no second connection.
                        backend.file.connection = None;
                        *backend = SqliteBackend::open(dirs[1].path()).unwrap();
                    }
                    // In many pieces, some with batches and some alone, and often none for a while; and again and again by
                    // the next start, in the middle of it.
                    3 => {
                        match dice.below(4) {
                            0 => backend.want_folded(),
                            1 => (0..dice.below(9)).for_each(|_| backend.fold_piece().unwrap()),
                            _ => {}
                        }
                        if dice.below(6) == 0 {
                            for (count, is) in middles.iter_mut().zip(backend.fold.middles()) {
                                *count += usize::from(is);
                            }
                            backend.file.connection = None;
                            *backend = SqliteBackend::open(dirs[3].path()).unwrap();
                        }
                        backend.fold.cut_small();
                        if dice.below(30) == 0 {
                            // Somebody reads.
                            backend.want_folded();
                            while backend.folded() < backend.committed() {
                                backend.fold_piece().unwrap();
                            }
                            assert_eq!(list(backend, None).len(), written.len(), "seed {seed}");
                            assert_eq!(all_sums(backend), expected_sums(&written), "seed {seed}");
                        }
                    }
                    // At the end.
                    _ => {}
                }
                for n in 0..KEYS {
                    let id = AccountId::Key(key_id(n));
                    assert_eq!(
                        backend.account(id).unwrap().as_ref(),
                        calls.ledger.account(id),
                        "seed {seed}, place {number}"
                    );
                }
            }
        }
        assert_eq!(journal_rows(dirs[0].path()), 0);
        assert!(journal_rows(dirs[2].path()) > 0);
        for backend in &mut backends {
            let mut holds = backend.open_holds().unwrap();
            holds.retain(|(id, hold)| calls.ledger.open_hold(*id) == Some(hold));
            assert_eq!(holds.len(), calls.open.len(), "seed {seed}");
            let behind = all_sums(backend);
            backend.checkpoint().unwrap();
            assert_eq!(behind, all_sums(backend), "seed {seed}: rows and blocks say what rows say alone");
            assert_eq!(behind, expected_sums(&written), "seed {seed}");
        }
        let [one, others @ ..] = dirs.each_ref().map(|dir| tables(dir.path()));
        for other in others {
            for (one, other) in one.iter().zip(other) {
                assert_eq!(*one, other, "seed {seed}");
            }
        }
        for backend in &backends {
            let found = list(backend, None);
            let expected =
                (1..).zip(written.iter().map(|record| UsageRecord::clone(record))).collect::<Vec<_>>();
            assert!(found.iter().rev().eq(&expected), "seed {seed}");
            for n in 0..KEYS {
                let of_key = found.iter().filter(|(_, record)| record.key == key_id(n));
                assert!(list(backend, Some(key_id(n))).iter().eq(of_key), "seed {seed}");
            }
        }
    }
    assert!(middles.iter().all(|ends| *ends > 5), "{middles:?} ends in the middle of something");
}

const ALL_APART: UsageGroup =
    UsageGroup { day: true, key: true, project: true, provider: true, model: true, endpoint: true };

/// One for each table that sums are in.
const GROUPS: [UsageGroup; 3] =
    [ALL_APART, UsageGroup { day: false, ..ALL_APART }, UsageGroup { key: false, ..ALL_APART }];

/// Those that are equally dear come in any order.
fn sorted(mut sums: Vec<UsageSum>) -> Vec<UsageSum> {
    sums.sort_by_key(|sum| format!("{sum:?}"));
    sums
}

fn all_sums(backend: &SqliteBackend) -> [Vec<UsageSum>; 3] {
    GROUPS.map(|group| sorted(backend.reader().usage_sum(group, &UsageFilter::default()).unwrap()))
}

fn expected_sums(written: &[Arc<UsageRecord>]) -> [Vec<UsageSum>; 3] {
    GROUPS.map(|group| expected_sums_by(written, group))
}

fn expected_sums_by(written: &[Arc<UsageRecord>], group: UsageGroup) -> Vec<UsageSum> {
    let filter = UsageFilter::default();
    let mut sums = Sums::new(group, &filter);
    for call in written {
        let names = [&call.provider, call.model.as_deref().unwrap_or_default(), &call.endpoint];
        let place = TotalKey::of(call.at, call.key, names, call.status, call.outcome, call.charged);
        if let Some(place) = place {
            sums.add(&place, Some("default"), &amounts(call.tokens, call.charged).map(u128::from));
        }
    }
    sorted(sums.finish())
}

/// A journal with some entries, of a process that is gone.
fn left_behind(dir: &Path) -> usize {
    let mut backend = SqliteBackend::open(dir).unwrap();
    let (mut calls, first) = Calls::new(7);
    backend.commit(&first, &calls.ledger).unwrap();
    let mut records = 0;
    for _ in 0..9 {
        let batch = calls.batch();
        // Anything else would be written to the tables, and what came before with it.
        if !batch.is_for_journal() {
            continue;
        }
        records += batch.usage.len();
        backend.commit(&batch, &calls.ledger).unwrap();
    }
    drop(backend);
    assert!(journal_rows(dir) > 5 && records > 5);
    records
}

#[test]
fn a_journal_that_was_left_behind_is_folded_once() {
    let dir = tempfile::tempdir().unwrap();
    let records = left_behind(dir.path());
    for _ in 0..3 {
        let backend = SqliteBackend::open(dir.path()).unwrap();
        assert_eq!(list(&backend, None).len(), records);
        assert_eq!(journal_rows(dir.path()), 0);
        assert_eq!(backend.fold_due(), None);
    }
}

/// What is in a database, as version 4 would have it: rows of the tables that it knew, in the columns that it knew.
fn as_version_4(newer: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let old = connection(dir.path());
    for sql in [
        include_str!("schema-1.sql"),
        include_str!("schema-2.sql"),
        include_str!("schema-3.sql"),
        include_str!("schema-4.sql"),
        "DROP TABLE usage_records; PRAGMA application_id = 0x74696c6c; PRAGMA user_version = 4",
    ] {
        old.execute_batch(sql).unwrap();
    }
    let newer = newer.join(FILE_NAME);
    old.execute("ATTACH ?1 AS newer", [newer.to_str().unwrap()]).unwrap();
    let columns = "SELECT old.name, group_concat(c.name) FROM main.sqlite_schema AS old \
                   JOIN newer.sqlite_schema AS new ON new.name = old.name JOIN pragma_table_info(old.name) AS c \
                   WHERE old.type = 'table' AND old.name NOT IN ('usage_block_keys', 'sqlite_sequence') \
                   GROUP BY old.name";
    let mut tables = old.prepare(columns).unwrap();
    let tables =
        tables.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).unwrap();
    for (table, columns) in tables.map(Result::unwrap) {
        let copy = format!(
            "DELETE FROM {table}; INSERT INTO main.{table} ({columns}) SELECT {columns} FROM newer.{table}"
        );
        // The audit log is append-only, and empty.
        let copy = if table == "audit" { copy.replace("DELETE FROM audit; ", "") } else { copy };
        old.execute_batch(&copy).unwrap();
    }
    dir
}

/// Schema version 4 knew no mark: its journal began anew after each fold.
#[test]
fn a_journal_of_version_4_is_folded() {
    let dir = tempfile::tempdir().unwrap();
    let records = left_behind(dir.path());
    let dir = as_version_4(dir.path());
    let backend = SqliteBackend::open(dir.path()).unwrap();
    assert_eq!(list(&backend, None).len(), records);
    assert_eq!(journal_rows(dir.path()), 0);
}

#[test]
fn a_damaged_journal_is_not_skipped() {
    for (sql, expected) in [
        (
            "UPDATE journal SET entry = substr(entry, 1, length(entry) - 1) WHERE seq = 3",
            "entry 3 of the journal is damaged",
        ),
        ("UPDATE journal SET entry = zeroblob(50) WHERE seq = 2", "entry 2 of the journal is damaged"),
        ("DELETE FROM journal WHERE seq = 1", "entry 1 of the journal is damaged: it is missing"),
        ("DELETE FROM journal WHERE seq = 4", "entry 4 of the journal is damaged: it is missing"),
        // Records that are in blocks were in entries.
        ("UPDATE journal_mark SET recorded = 9999", "of the journal is damaged: it is missing"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        left_behind(dir.path());
        connection(dir.path()).execute(sql, []).unwrap();
        let before = tables(dir.path());
        let error = SqliteBackend::open(dir.path()).unwrap_err();
        assert!(matches!(&error, OpenError::Corrupt { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(tables(dir.path()), before, "nothing of it was folded");
    }
}

#[test]
fn a_damaged_block_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let records = left_behind(dir.path());
    let mut backend = SqliteBackend::open(dir.path()).unwrap();
    let sql = "UPDATE usage_blocks SET records = CAST(substr(records, 2) AS BLOB)";
    assert_eq!(connection(dir.path()).execute(sql, []), Ok(1));
    for key in [None, Some(key_id(1))] {
        let filter = UsageFilter { key, ..UsageFilter::default() };
        let query = UsageQuery { filter, ..UsageQuery::default() };
        let error = backend.reader().usage_list(&query).unwrap_err().to_string();
        assert!(error.contains("block 1 of the usage records is damaged: its checksum is wrong"), "{error}");
        assert!(error.contains(FILE_NAME), "{error}");
    }
    let error =
        backend.reader().usage_sum(UsageGroup::default(), &UsageFilter::default()).unwrap_err().to_string();
    assert!(error.contains("block 1 of the usage records is damaged"), "{error}");
    // Calls do not stop for that: there is another block, and this one goes with its time.
    let ledger = Ledger::new(1, false);
    backend.commit(&records_at([u64::MAX; 2]), &ledger).unwrap();
    backend.commit(&fold(), &ledger).unwrap();
    let newest = UsageQuery { limit: 1, ..UsageQuery::default() };
    assert_eq!(backend.reader().usage_list(&newest).unwrap().records.len(), 1);
    assert_eq!(backend.usage_delete(Timestamp(1), 99), Ok(0));
    assert_eq!(backend.usage_delete(Timestamp(u64::MAX), 99), Ok(records as u64));
    assert_eq!(list(&backend, None).len(), 2);
    assert!(backend.account(AccountId::Key(key_id(1))).unwrap().is_some());
    assert!(backend.reader().key_fetch(key_id(1), Timestamp(9)).unwrap().is_some());
}

/// Numbers of records are never used again, also where the count of them is not what it was.
#[test]
fn a_count_that_was_put_back_uses_no_number_twice() {
    for sql in [
        "UPDATE usage_numbers SET last = 1",
        "UPDATE usage_numbers SET last = -9",
        // Of a block that is full there is nothing to go on with.
        "UPDATE usage_numbers SET last = 1; UPDATE usage_blocks SET count = 512",
        // No number at all, which the schema allows nobody, but the disk does not know that.
        "PRAGMA writable_schema = ON; \
         UPDATE sqlite_schema SET sql = replace(sql, ') STRICT', ')') WHERE name = 'usage_numbers'; \
         PRAGMA writable_schema = RESET; \
         UPDATE usage_numbers SET last = x'03'",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let records = left_behind(dir.path());
        let mut backend = SqliteBackend::open(dir.path()).unwrap();
        connection(dir.path()).execute_batch(sql).unwrap();
        let ledger = Ledger::new(1, false);
        backend.commit(&records_at([u64::MAX; 2]), &ledger).unwrap();
        backend.commit(&fold(), &ledger).unwrap();
        let numbers: Vec<u64> = list(&backend, None).into_iter().map(|(seq, _)| seq).collect();
        let expected: Vec<u64> = (1..=records as u64 + 2).collect();
        assert!(numbers == expected || numbers.iter().rev().eq(&expected), "{sql}: {numbers:?}");
    }
}

#[test]
fn after_an_error_nothing_is_done_before_the_file_was_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut backend = SqliteBackend::open(dir.path()).unwrap();
    let (mut calls, first) = Calls::new(3);
    backend.commit(&first, &calls.ledger).unwrap();
    let batch = calls.batch();
    backend.commit(&batch, &calls.ledger).unwrap();
    let records = batch.usage.len();
    backend.forbid_growth(4);
    // More than there is room for, however well a block puts it together.
    let long = |n: u64| {
        let request_id = format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Arc::new(UsageRecord { request_id, ..record(&mut Random(1)) })
    };
    let lost =
        Batch { usage: (0..5_000).map(long).collect(), months: vec![(Month(5), 5)], ..Batch::default() };
    let error = backend.commit(&lost, &calls.ledger).unwrap_err().to_string();
    assert!(error.contains("full"), "{error}");
    for error in [
        backend.commit(&fold(), &calls.ledger).unwrap_err(),
        backend.usage_delete(Timestamp(9), 9).unwrap_err(),
        backend.open_holds().unwrap_err(),
    ] {
        assert!(error.to_string().contains("not opened again"), "{error}");
    }
    backend.reopen().unwrap();
    assert_eq!(backend.month_total(Month(5)), Ok(0));
    assert_eq!(list(&backend, None).len(), records);
    backend.commit(&lost, &calls.ledger).unwrap();
    assert_eq!(backend.month_total(Month(5)), Ok(5), "before it is folded");
    backend.commit(&fold(), &calls.ledger).unwrap();
    assert_eq!(list(&backend, None).len(), records + lost.usage.len());
}

/// Records of calls at these times.
fn records_at(times: impl IntoIterator<Item = u64>) -> Batch {
    let at = |at| Arc::new(UsageRecord { at: Timestamp(at), ..record(&mut Random(at)) });
    Batch { usage: times.into_iter().map(at).collect(), ..Batch::default() }
}

#[test]
fn blocks_are_filled_and_old_records_leave_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut backend = SqliteBackend::open(dir.path()).unwrap();
    let ledger = Ledger::new(1, false);
    let count = |sql: &str| connection(dir.path()).query_row(sql, [], |row| row.get::<_, usize>(0)).unwrap();
    // One by one, and then very many.
    for at in 0..600 {
        backend.commit(&records_at([at]), &ledger).unwrap();
        backend.commit(&fold(), &ledger).unwrap();
    }
    assert_eq!(count("SELECT count(*) FROM usage_blocks"), 2);
    backend.commit(&records_at(600..5_000), &ledger).unwrap();
    backend.commit(&fold(), &ledger).unwrap();
    assert_eq!(count("SELECT max(count) FROM usage_blocks"), block::RECORDS_MAX);
    assert_eq!(count("SELECT count(*) FROM usage_blocks"), 5_000_usize.div_ceil(block::RECORDS_MAX));
    let times = |backend: &SqliteBackend| {
        list(backend, None).iter().rev().map(|(_, one)| one.at.0).collect::<Vec<_>>()
    };
    assert!(times(&backend).into_iter().eq(0..5_000));

    // Whole blocks go, and a part of one.
    let deleted = backend.usage_delete(Timestamp(2_000), 1_000).unwrap();
    assert!((1_000..2_000).contains(&deleted), "{deleted}: not much more than was asked for");
    assert_eq!(deleted + backend.usage_delete(Timestamp(2_000), 5_000).unwrap(), 2_000);
    assert_eq!(backend.usage_delete(Timestamp(2_000), 5_000), Ok(0));
    assert!(times(&backend).into_iter().eq(2_000..5_000));
    let numbers = list(&backend, None);
    assert_eq!((numbers[0].0, numbers[2_999].0), (5_000, 2_001), "numbers stay");
    for n in 0..4 {
        let key = KeyId([n; 16]);
        let of_key = numbers.iter().filter(|(_, record)| record.key == key);
        assert!(list(&backend, Some(key)).iter().eq(of_key));
    }

    // All of them, also what is above any integer of SQLite.
    backend.commit(&records_at([u64::MAX, 7]), &ledger).unwrap();
    backend.commit(&fold(), &ledger).unwrap();
    assert_eq!(backend.usage_delete(Timestamp(5_000), 99_999), Ok(3_001));
    assert_eq!(times(&backend), [u64::MAX]);
    assert_eq!(count("SELECT count(*) FROM usage_block_keys"), 0, "nothing is left over");
    let filter = UsageFilter { since: Some(Timestamp(u64::MAX)), ..UsageFilter::default() };
    let query = UsageQuery { filter, ..UsageQuery::default() };
    assert_eq!(backend.reader().usage_list(&query).unwrap().records.len(), 1);
    connection(dir.path()).execute("DELETE FROM usage_blocks", []).unwrap();

    // A number is never used again.
    drop(backend);
    let mut backend = SqliteBackend::open(dir.path()).unwrap();
    backend.commit(&records_at([1]), &ledger).unwrap();
    backend.commit(&fold(), &ledger).unwrap();
    assert_eq!(list(&backend, None)[0].0, 5_003);
}

/// A page does not look at everything, whatever is asked for, and the pages together do.
#[test]
fn a_page_of_records_ends_and_leads_on() {
    let dir = tempfile::tempdir().unwrap();
    let backend = SqliteBackend::open(dir.path()).unwrap();
    let (step, blocks) = (1 << 10, 1_300);
    let connection = connection(dir.path());
    connection.execute_batch("BEGIN").unwrap();
    for n in 1..=blocks {
        let key = key_id(u64::from(n != 3));
        let record = UsageRecord { key, at: Timestamp(n), ..record(&mut Random(n)) };
        records::write_blocks(&connection, n * step, [(n * step, &record)]).unwrap();
    }
    connection.execute("UPDATE usage_numbers SET last = ?1, summed = ?1", [blocks * step]).unwrap();
    block_index::catch_up(&connection).unwrap();
    connection.execute_batch("COMMIT").unwrap();
    let pages = |limit, filter: UsageFilter| {
        let mut query = UsageQuery { limit, filter, ..UsageQuery::default() };
        let (mut found, mut pages) = (Vec::new(), 0);
        loop {
            let page = backend.reader().usage_list(&query).unwrap();
            assert!(page.next_before.is_none_or(|next| query.before.is_none_or(|before| next < before)));
            found.extend(page.records.into_iter().map(|(seq, _)| seq / step));
            pages += 1;
            match page.next_before {
                Some(_) => query.before = page.next_before,
                None => return (found, pages),
            }
        }
    };
    let filter = UsageFilter::default;
    let nothing = || UsageFilter { model: Some("none".into()), ..filter() };
    assert_eq!(pages(100, nothing()), (vec![], 3));
    assert_eq!(pages(100, UsageFilter { key: Some(key_id(1)), ..nothing() }), (vec![], 3));
    assert_eq!(pages(1, UsageFilter { keys: Some(Arc::new([key_id(0)].into())), ..filter() }), (vec![3], 3));
    assert_eq!(pages(9, UsageFilter { key: Some(key_id(0)), ..filter() }), (vec![3], 1), "by the lists");
    assert_eq!(
        pages(9, UsageFilter { until: Some(Timestamp(3)), ..filter() }),
        (vec![2, 1], 1),
        "by the times"
    );
    let all: Vec<u64> = (1..=blocks).rev().collect();
    assert_eq!(pages(1_300, filter()).0, all);
    assert_eq!(pages(100, filter()), (all.clone(), 13));
    let most: Vec<u64> = all.into_iter().filter(|n| *n != 3).collect();
    assert_eq!(pages(433, UsageFilter { key: Some(key_id(1)), ..filter() }), (most, 3));
}

/// What is about a project has an index; what has none is looked for in pieces.
#[test]
fn a_page_of_the_log_ends_and_leads_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut backend = SqliteBackend::open(dir.path()).unwrap();
    let (mut head, mut batch) = (ChainHead::EMPTY, Batch::default());
    for n in 1..=25_000_u64 {
        let (action, target, detail) = match n {
            5 | 24_990 => ("key.create", "key_1", r#"{"project":"a"}"#),
            12_000 => ("project.put", "a", "{}"),
            13 => ("rare.one", "x", "no JSON"),
            _ => ("key.create", "key_2", r#"{"project":"b"}"#),
        };
        batch.audit.push(head.append(Timestamp(n), &Actor::system(), action, target, detail.into()));
    }
    backend.commit(&batch, &Ledger::new(1, false)).unwrap();
    let pages = |query: AuditQuery| {
        let mut query = AuditQuery { limit: 100, ..query };
        let (mut found, mut pages) = (Vec::new(), 0);
        loop {
            let page = backend.reader().audit_page(&query).unwrap();
            found.extend(page.entries.iter().map(|entry| entry.seq));
            pages += 1;
            match page.next_after {
                Some(_) => query.after = page.next_after,
                None => return (found, pages),
            }
        }
    };
    let of_a = || AuditQuery { project: Some("a".into()), ..AuditQuery::default() };
    assert_eq!(pages(of_a()), (vec![5, 12_000, 24_990], 1));
    assert_eq!(pages(AuditQuery { newest_first: true, ..of_a() }), (vec![24_990, 12_000, 5], 1));
    assert_eq!(pages(AuditQuery { from: Some(Timestamp(6)), ..of_a() }), (vec![12_000, 24_990], 1));
    let rare =
        || AuditQuery { action: Some(AuditAction::StartsWith("rare.".into())), ..AuditQuery::default() };
    assert_eq!(pages(rare()), (vec![13], 3));
    assert_eq!(pages(AuditQuery { newest_first: true, ..rare() }), (vec![13], 3));
    assert_eq!(pages(AuditQuery { project: Some("b".into()), ..rare() }), (vec![], 3));
}

/// Who signs in does not wait until somebody's list is read, and the lists that wait have no threads.
#[test]
fn look_ups_do_not_wait_for_lists() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).max_blocking_threads(3).enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let store = start(dir.path());
        let key = store.key_create(new_key(1), &Actor::system()).await.unwrap().id;
        let (release, held) = std::sync::mpsc::channel::<()>();
        let (begin, begun) = tokio::sync::oneshot::channel();
        let mut lists = tokio::task::JoinSet::new();
        lists.spawn({
            let store = store.clone();
            async move {
                let read = move |_: &mut dyn Reader| {
                    begin.send(()).unwrap();
                    held.recv().unwrap();
                    Ok(())
                };
                store.read(Lane::List, read).await.unwrap();
            }
        });
        begun.await.unwrap();
        for _ in 0..20 {
            let store = store.clone();
            lists.spawn(async move { drop(store.usage_list(UsageQuery::default()).await.unwrap()) });
        }
        let look_ups = async {
            for _ in 0..20 {
                assert!(store.entity_fetch::<Project>("default").await.unwrap().is_some());
                assert_eq!(store.entity_find::<AdminToken>([1; 32]).await.unwrap(), None);
                assert!(store.key_fetch(key).await.unwrap().is_some());
                assert_eq!(store.claim_fetch(ClaimId([1; 16])).await.unwrap(), None);
                store.writable().await.unwrap();
                tokio::task::spawn_blocking(|| ()).await.unwrap();
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(30), look_ups).await;
        release.send(()).unwrap();
        waited.expect("nothing of it is a list");
        lists.join_all().await;
        store.close().await.unwrap();
        assert_eq!(store.key_fetch(key).await, Err(StoreError::Closed));
    });
}

/// What was added up before and what came after it make the whole, wherever the records are.
#[test]
fn charges_are_added_up_in_two_parts() {
    for seed in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let mut backend = SqliteBackend::open(dir.path()).unwrap();
        let (mut calls, mut first) = Calls::new(seed);
        for (row, project) in first.keys.iter_mut().zip(["a", "b", "b", "b", "b"]) {
            row.key.place.project = project.into();
        }
        // With so many others that those of either project are few.
        let others = if seed % 2 == 0 { 0 } else { 100 };
        for n in 100..100 + others {
            let id = AccountId::Key(key_id(n));
            calls.ledger.load(id, Account::new(Limits::default()));
            first.accounts.push(id);
            first.keys.push(KeyRow { key: new_key(n), created_at: Timestamp(1) });
        }
        backend.commit(&first, &calls.ledger).unwrap();
        let days = (Timestamp(1_800_000_000_000).day(), Timestamp(1_800_001_000_000).day() + 1);
        let mut all: Vec<Arc<UsageRecord>> = Vec::new();
        let mut begun = Vec::new();
        for n in 0..30 {
            let batch = calls.batch();
            // Nobody is charged for a call that was refused; these are made up.
            all.extend(batch.usage.iter().filter(|record| record.outcome != Outcome::Denied).cloned());
            backend.commit(&batch, &calls.ledger).unwrap();
            if calls.random.below(4) == 0 {
                backend.commit(&fold(), &calls.ledger).unwrap();
            }
            if n == 20 {
                backend.checkpoint().unwrap();
            }
            begun
                .push(["a", "b"].map(|id| backend.reader().charged(PolicyOwner::Project, id, days).unwrap()));
        }
        for (id, nth) in [("a", 0), ("b", 1)] {
            let of_project = all.iter().filter(|record| (record.key == key_id(0)) == (id == "a"));
            let expected =
                of_project.fold(Units::default(), |sum, record| sum.zip(record.charged, u64::saturating_add));
            let mut charged = |after| backend.charged(PolicyOwner::Project, id, days, after).unwrap();
            assert_eq!(charged(None), expected, "seed {seed}");
            for begun in begun.iter().map(|begun| begun[nth]) {
                let whole = begun.units.zip(charged(Some(begun.last)), u64::saturating_add);
                assert_eq!(whole, expected, "seed {seed}");
            }
        }
        let before = backend.charged(PolicyOwner::Project, "b", (0, days.0), None);
        assert_eq!(before, Ok(Units::default()), "seed {seed}");
    }
}

/// What was used and can't be read any more is not taken for nothing, and stops nobody but who asks for it.
#[tokio::test]
async fn a_ceiling_is_refused_alone_where_records_are_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = start(dir.path());
    let project = |version, policy| {
        let is = Project { name: "a".into(), policy };
        Put { id: "a".into(), version, is, lookups: None, ends: false }
    };
    let put = async |store: &Store, version, ceilings| {
        let policy = Policy { ceilings, ..Policy::default() };
        store.entity_put(project(version, policy), "project.put", json!({}), &Actor::system()).await
    };
    put(&store, None, Ceilings::default()).await.unwrap();
    let place = KeyPlace { project: "a".into(), ..KeyPlace::default() };
    let key = store.key_create(NewKey { place, ..new_key(1) }, &Actor::system()).await.unwrap().id;
    let mut hold = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
    hold.record(UsageRecord { at: store.now(), key, ..record(&mut Random(1)) });
    hold.settle(Units::ONE_ACTIVATION);
    assert_eq!(store.usage_list(UsageQuery::default()).await.unwrap().records.len(), 1);
    connection(dir.path()).execute("UPDATE usage_blocks SET records = zeroblob(50)", []).unwrap();
    let limits = Limits { activations: Some(9), ..Limits::default() };
    let (day, month) =
        (Ceilings { day: limits, ..Ceilings::default() }, Ceilings { month: limits, ..Ceilings::default() });
    // First the block is not in the sums yet, and then they leave it out.
    for _ in 0..2 {
        for ceilings in [day, month] {
            let refused = put(&store, Some(1), ceilings).await.unwrap_err();
            assert!(matches!(refused, StoreError::Damaged { .. }), "{refused:?}");
            assert!(refused.to_string().contains("is damaged"), "{refused}");
        }
        assert_eq!(store.stats().commit_failures, 0, "nobody else's batch failed");
        store.close().await.unwrap();
        store = start(dir.path());
    }
    let lifetime = Ceilings { lifetime: limits, ..Ceilings::default() };
    assert_eq!(put(&store, Some(1), lifetime).await.unwrap().version, 2);
    let policy = Policy { ceilings: lifetime, ..Policy::default() };
    let used = store.ceilings_used(PolicyOwner::Project, "a", &policy).await.unwrap();
    assert_eq!(used[0].1, Units::ONE_ACTIVATION);
}

/// The newest part has no lists yet.
#[test]
fn a_key_is_found_in_every_part() {
    let dir = tempfile::tempdir().unwrap();
    let mut backend = SqliteBackend::open(dir.path()).unwrap();
    let ledger = Ledger::new(1, false);
    for last in [0, 1 << 18, (1 << 18) + 5, 3 << 18, 9 << 18] {
        connection(dir.path()).execute("UPDATE usage_numbers SET last = ?1", params![last]).unwrap();
        // Full, so that each has a block of its own.
        backend.commit(&records_at(0..block::RECORDS_MAX as u64), &ledger).unwrap();
        backend.commit(&fold(), &ledger).unwrap();
    }
    let all = list(&backend, None);
    assert_eq!(all.len(), 5 * block::RECORDS_MAX);
    for n in 0..4 {
        let key = KeyId([n; 16]);
        let of_key: Vec<_> = all.iter().filter(|(_, record)| record.key == key).cloned().collect();
        assert_eq!(list(&backend, Some(key)), of_key);
        let filter = UsageFilter { key: Some(key), ..UsageFilter::default() };
        let before = Some(of_key[40].0);
        let page = UsageQuery { before, limit: 500, filter, ..UsageQuery::default() };
        let page = backend.reader().usage_list(&page).unwrap().records;
        assert!(page.iter().eq(of_key[41..].iter().take(500)));
    }
    let lists = |what: &str| {
        let sql = format!("SELECT {what} FROM usage_block_keys");
        connection(dir.path()).query_row(&sql, [], |row| row.get::<_, u64>(0)).unwrap()
    };
    assert_eq!((lists("count(DISTINCT part)"), lists("count(*)")), (3, 12), "one for each key");

    // Records that are gone are not found, whatever the lists say; those of parts that are gone go as well.
    assert_eq!(backend.usage_delete(Timestamp(100), 9_999), Ok(500));
    let all = list(&backend, None);
    for n in 0..4 {
        let of_key = all.iter().filter(|(_, record)| record.key == KeyId([n; 16]));
        assert!(list(&backend, Some(KeyId([n; 16]))).iter().eq(of_key));
    }
    connection(dir.path()).execute("DELETE FROM usage_blocks WHERE first_seq < 1 << 18", []).unwrap();
    assert!(backend.usage_delete(Timestamp(101), 9_999).unwrap() > 0);
    assert_eq!(lists("count(DISTINCT part)"), 2);
}

/// Whose records were in it is not known any more when the lists of its part are written.
#[test]
fn a_damaged_block_is_named_by_every_list() {
    let dir = tempfile::tempdir().unwrap();
    let mut backend = SqliteBackend::open(dir.path()).unwrap();
    let ledger = Ledger::new(1, false);
    for last in [0, 1 << 14] {
        connection(dir.path()).execute("UPDATE usage_numbers SET last = ?1", params![last]).unwrap();
        backend.commit(&records_at(0..block::RECORDS_MAX as u64), &ledger).unwrap();
        backend.commit(&fold(), &ledger).unwrap();
        let sql = "UPDATE usage_blocks SET records = zeroblob(50) WHERE first_seq = 1";
        connection(dir.path()).execute(sql, []).unwrap();
    }
    for n in [0, 77] {
        let filter = UsageFilter { key: Some(KeyId([n; 16])), ..UsageFilter::default() };
        let query = UsageQuery { filter, limit: 9_999, ..UsageQuery::default() };
        let error = backend.reader().usage_list(&query).unwrap_err().to_string();
        assert!(error.contains("block 1 of the usage records is damaged"), "{error}");
    }
}

fn start(dir: &Path) -> Store {
    let backend = SqliteBackend::open(dir).unwrap();
    let bounds = Bounds { loaded_max: 99, usage_retention: None, audit_retention: None };
    Store::start(Box::new(backend), &dir.join("witness"), "test", bounds, Clock::system(), ()).unwrap()
}

#[tokio::test]
async fn an_idle_store_has_an_empty_journal_and_whoever_reads_sees_everything() {
    let dir = tempfile::tempdir().unwrap();
    let store = start(dir.path());
    let key = NewKey { limits: Limits { activations: Some(9), ..Limits::default() }, ..new_key(1) };
    let id = store.key_create(key, &Actor::system()).await.unwrap().id;
    for used in 1..=3 {
        store.hold_exactly(id, Units::ONE_ACTIVATION).await.unwrap().settle(Units::ONE_ACTIVATION);
        // Without waiting for anything: what was asked for before is seen.
        assert_eq!(store.key_fetch(id).await.unwrap().unwrap().used.activations, used);
    }
    let hold = store.hold_exactly(id, Units::ONE_ACTIVATION).await.unwrap();
    assert!(journal_rows(dir.path()) > 0, "nobody asked since");
    // Within a few seconds; the test would hang otherwise.
    while journal_rows(dir.path()) > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let open = "SELECT count(*) FROM holds WHERE state = 'open'";
    assert_eq!(connection(dir.path()).query_row(open, [], |row| row.get::<_, u64>(0)), Ok(1));
    hold.void();
    store.close().await.unwrap();
    assert_eq!(journal_rows(dir.path()), 0);
}

/// What a credential was sealed as, and what a claim was, is not in the file any more once it was replaced or removed.
#[test]
fn what_was_sealed_is_wiped() {
    let dir = tempfile::tempdir().unwrap();
    let mut backend = SqliteBackend::open(dir.path()).unwrap();
    let ledger = Ledger::new(1, false);
    let marks: Vec<String> = (0..40).map(|n| format!("sealed-bytes-of-{n:02}-")).collect();
    let put = |n: usize, body: String| EntityWrite {
        row: EntityRow {
            kind: EntityKind::Credential,
            id: format!("c{n}"),
            project: None,
            version: 1,
            created_at: Timestamp(1),
            updated_at: Timestamp(1),
            ended_at: None,
            used_at: None,
            body,
        },
        lookups: None,
    };
    // Short ones that share a page, which is divided as they come, and long ones that have pages of their own.
    for (n, mark) in marks.iter().enumerate() {
        let body = mark.repeat(if n % 2 == 0 { 10 } else { 1_000 });
        let batch = Batch { entities: vec![put(n, body)], ..Batch::default() };
        backend.commit(&batch, &ledger).unwrap();
    }
    let has = |mark: &str| {
        let bytes = std::fs::read(dir.path().join(FILE_NAME)).unwrap();
        bytes.windows(mark.len()).any(|part| part == mark.as_bytes())
    };
    backend.checkpoint().unwrap();
    assert!(marks.iter().all(|mark| has(mark)));
    let gone: Vec<EntityWrite> = (0..marks.len()).map(|n| put(n, "{}".into())).collect();
    for write in gone {
        backend.commit(&Batch { entities: vec![write], ..Batch::default() }, &ledger).unwrap();
    }
    backend.checkpoint().unwrap();
    let left: Vec<&String> = marks.iter().filter(|mark| has(mark)).collect();
    assert!(left.is_empty(), "{left:?}");
}
