//! Charts and lists over many keys and calls: how their rows are found, how many are looked at, and whether the sums are right.
//!
//! `TILL_SCALE=full cargo nextest run -p till-store scale --no-capture` makes 10,000 keys and 1,000,000 calls, and prints the
//! times; without it there are fewer, for every day.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::trace::{TraceEvent, TraceEventCodes};
use rusqlite::{Connection, StatementStatus};
use till_core::denial::DenialCode;
use till_core::key::{KeyId, KeyStatus};
use till_core::ledger::{Account, AccountId, Ledger};
use till_core::limit::{Limits, Units};
use till_core::time::Timestamp;

use super::{FILE_NAME, SqliteBackend, SqliteReader, connect, sum_rows, sums};
use crate::audit_log::{AuditQuery, AuditReader};
use crate::backend::{Backend, Batch, DenialCount, KeyRow, Reader};
use crate::entity::{EntityKind, EntityQuery};
use crate::key::{KeyPlace, KeyQuery, KeySort, NewKey};
use crate::usage_record::{
    DenialQuery, Outcome, TokenCounts, UsageFilter, UsageGroup, UsageQuery, UsageRecord, UsageSum,
};
use crate::usage_totals::{Sums, TotalKey, amounts, top};

/// The first day. The last one is the first of a span, so that spans at both ends are cut.
const FIRST_DAY: u64 = 20_003;
/// Every key calls one of two models.
const MODELS_OF_KEY: u64 = 2;
/// Instructions of SQLite's machine for one row of a sum: 19 columns, and what leads to the next one.
const STEPS_PER_ROW: u64 = 32;
const STEPS_BESIDE: u64 = 1_500;
/// Blocks that no sum has yet, at most: what is summed up is this far behind, and a fold.
const BLOCKS_BEHIND: u64 = (65_536 + 4_096) / 512 + 2;

/// Tables of one row, which may be read through.
const ONE_ROW: [&str; 3] = ["usage_numbers", "audit_marks", "CONSTANT"];
/// A page of keys, in rows of sums: a key as it is shown has twice the columns.
const SHOWN: u64 = 2 * 101;
/// Where every key is compared, or the first ones are shown.
const COMPARED: &[&str] = &["keys", "accounts"];

#[derive(Clone, Copy)]
struct Size {
    keys: u64,
    days: u64,
    calls: u64,
    projects: u64,
    models: u64,
}

impl Size {
    fn project(self, key: u64) -> String {
        format!("project-{}", key % self.projects)
    }

    /// Rows of sums of so many days, without keys.
    fn project_rows(self, days: u64) -> u64 {
        days.min(self.days) * self.projects * self.models
    }

    fn rows_of_keys(self, keys: u64, days: u64) -> u64 {
        keys * days.min(self.days) * MODELS_OF_KEY
    }
}

/// Every key on every day, so that keys and days are many beside projects and models.
const SMALL: Size = Size { keys: 100, days: 37, calls: 8_000, projects: 5, models: 4 };
const FULL: Size = Size { keys: 10_000, days: 93, calls: 1_000_000, projects: 20, models: 8 };

fn is_full() -> bool {
    std::env::var_os("TILL_SCALE").is_some_and(|value| value == "full")
}

fn key_id(n: u64) -> KeyId {
    KeyId(u128::from(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes())
}

/// One call of many: nearly in the order of time, as calls end.
fn call(size: Size, n: u64) -> (u64, UsageRecord) {
    let key = n.wrapping_mul(7_919) % size.keys;
    let day = FIRST_DAY + n * size.days / size.calls;
    // Some were let through yesterday, and end today.
    let day = if n.is_multiple_of(97) { day.saturating_sub(1).max(FIRST_DAY) } else { day };
    let model = (key + n % MODELS_OF_KEY) % size.models;
    let charged = Units { activations: 1, tokens: 100 + n % 50, spend_nanos: 1_000 * (n % 977) };
    let record = UsageRecord {
        at: Timestamp(Timestamp::of_day(day).0 + n % 86_400_000),
        request_id: format!("req_0a1b2c3d4e5f{n:08x}"),
        key: key_id(key),
        provider: if model < 3 { "openai".into() } else { "anthropic".into() },
        method: "POST".into(),
        endpoint: "chat.completions".into(),
        model: Some(format!("model-{model}")),
        status: Some(if n.is_multiple_of(50) { 500 } else { 200 }),
        outcome: if n.is_multiple_of(211) { Outcome::Denied } else { Outcome::Complete },
        denial: (n.is_multiple_of(211)).then_some(DenialCode::BudgetBusy),
        tokens: TokenCounts { input: 80, output: 20 + n % 50, ..TokenCounts::default() },
        charged: if n.is_multiple_of(211) { Units::default() } else { charged },
        price_version: Some("2026-11-01".into()),
        latency_ms: 700,
        first_byte_ms: Some(180),
        client: Some([10, 0, 0, 1].into()),
        streamed: true,
    };
    (key, record)
}

struct Made {
    dir: tempfile::TempDir,
    backend: SqliteBackend,
    ledger: Ledger,
    size: Size,
    /// Every call and denial there ever was, per day, key and model: what the tables are compared with.
    expected: BTreeMap<(u64, u64, String, String), [u128; 14]>,
    denied: BTreeMap<(u64, u64), u64>,
}

impl Made {
    fn new(size: Size) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut backend = SqliteBackend::open(dir.path()).unwrap();
        let mut ledger = Ledger::new(1, false);
        let mut batch = Batch { instance: Some(super::tests::instance()), ..Batch::default() };
        for n in 0..size.keys {
            let id = AccountId::Key(key_id(n));
            let limits = Limits { activations: Some(1 << 40), ..Limits::default() };
            let mut account = Account::new(limits);
            account.last_used_at =
                (!n.is_multiple_of(5)).then_some(Timestamp(n.wrapping_mul(7_919) % 1_000_000));
            account.lifetime.expires_at = (n.is_multiple_of(3)).then_some(Timestamp(u64::MAX / 4 + n));
            ledger.load(id, account);
            batch.accounts.push(id);
            batch.lifetimes.push(id);
            let place = KeyPlace { project: size.project(n), ..KeyPlace::default() };
            let name = serde_json::json!({"name": format!("agent {n}")});
            let metadata = name.as_object().unwrap().clone();
            let key = NewKey { limits, place, id: key_id(n), metadata, ..super::tests::new_key(n) };
            batch.keys.push(KeyRow { key, created_at: Timestamp(n) });
        }
        backend.commit(&batch, &ledger).unwrap();
        Self { dir, backend, ledger, size, expected: BTreeMap::new(), denied: BTreeMap::new() }
    }

    /// All calls of the size, as the writer writes them.
    fn call(&mut self) {
        let size = self.size;
        for first in (0..size.calls).step_by(4_096) {
            let mut batch = Batch::default();
            for n in first..size.calls.min(first + 4_096) {
                let (key, record) = call(size, n);
                let names =
                    [&*record.provider, record.model.as_deref().unwrap_or_default(), &record.endpoint];
                let place =
                    TotalKey::of(record.at, record.key, names, record.status, record.outcome, record.charged);
                if let Some(TotalKey { day, provider, model, .. }) = place {
                    let sum = self.expected.entry((day, key, provider.into(), model.into())).or_default();
                    let more = amounts(record.tokens, record.charged);
                    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += u128::from(more));
                }
                if n.is_multiple_of(7) {
                    let (minute, code) = (record.at.minute(), DenialCode::ActivationsExhausted);
                    batch.denials.push(DenialCount { key: Some(record.key), code, minute, count: 2 });
                    *self.denied.entry((record.at.day(), key)).or_default() += 2;
                }
                batch.usage.push(Arc::new(record));
            }
            self.backend.commit(&batch, &self.ledger).unwrap();
            self.backend.want_folded();
            while self.backend.fold_due().is_some() {
                self.backend.fold_piece().unwrap();
            }
        }
    }

    /// What the sums are, by adding up every call.
    fn sum(&self, group: UsageGroup, filter: &UsageFilter) -> Vec<UsageSum> {
        let mut sums = Sums::new(group, filter);
        for ((day, key, provider, model), amounts) in &self.expected {
            let endpoint = "chat.completions";
            let place = TotalKey { day: *day, key: key_id(*key), provider: &**provider, model, endpoint };
            sums.add(&place, Some(&self.size.project(*key)), amounts);
        }
        sums.finish()
    }

    fn days(&self, last: u64) -> UsageFilter {
        let since = Some(Timestamp::of_day(FIRST_DAY + self.size.days - last.min(self.size.days)));
        UsageFilter { since, ..UsageFilter::default() }
    }
}

thread_local! {
    /// Statements of the connection that is traced, with their instructions so far and the rows that were read through.
    static TRACED: RefCell<BTreeMap<String, (u64, u64)>> = const { RefCell::new(BTreeMap::new()) };
}

fn trace(event: TraceEvent<'_>) {
    let TraceEvent::Profile(statement, _) = event else { return };
    let status = |status| u64::try_from(statement.get_status(status)).unwrap_or(0);
    let seen = (status(StatementStatus::VmStep), status(StatementStatus::FullscanStep));
    TRACED.with_borrow_mut(|traced| traced.insert(statement.sql().into_owned(), seen));
}

/// What was run for a read: the statements, their instructions in all, the time.
struct Ran {
    name: &'static str,
    statements: Vec<String>,
    steps: u64,
    rows_read_through: u64,
    took: Duration,
    /// Rows that may be looked at, and tables that may be read through.
    rows_max: u64,
    scans: &'static [&'static str],
}

fn run<T>(
    dir: &Path,
    name: &'static str,
    (rows_max, scans): (u64, &'static [&'static str]),
    read: impl FnOnce(&mut SqliteReader) -> T,
) -> (Ran, T) {
    let path = dir.join(FILE_NAME);
    let connection = connect(&path).unwrap();
    connection.trace_v2(TraceEventCodes::SQLITE_TRACE_PROFILE, Some(trace));
    TRACED.with_borrow_mut(BTreeMap::clear);
    let mut reader = SqliteReader { path, connection: Some(connection) };
    let start = Instant::now();
    let value = read(&mut reader);
    let took = start.elapsed();
    let traced = TRACED.with_borrow_mut(std::mem::take);
    let sum = |part: fn(&(u64, u64)) -> u64| traced.values().map(part).sum();
    let (steps, rows_read_through) = (sum(|seen| seen.0), sum(|seen| seen.1));
    (
        Ran {
            name,
            statements: traced.into_keys().collect(),
            steps,
            rows_read_through,
            took,
            rows_max,
            scans,
        },
        value,
    )
}

/// Tables that a statement reads through as a whole.
fn read_through(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    // Parameters that nobody bound are NULL, which the plan does not depend on.
    let mut rows = statement.raw_query();
    let mut found = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let step: String = row.get(3).unwrap();
        if let Some(scanned) = step.strip_prefix("SCAN ") {
            found.push(scanned.split(' ').next().unwrap().to_owned());
        }
    }
    found
}

fn by(words: &str) -> UsageGroup {
    let has = |word| words.split(',').any(|one| one == word);
    UsageGroup {
        day: has("day"),
        key: has("key"),
        project: has("project"),
        provider: has("provider"),
        model: has("model"),
        endpoint: has("endpoint"),
    }
}

/// Equally dear ones come in any order.
fn sorted(mut sums: Vec<UsageSum>) -> Vec<UsageSum> {
    sums.sort_by_cached_key(|sum| format!("{sum:?}"));
    sums
}

/// What the dashboard asks the store for, and what it may look at.
fn everything(made: &Made) -> Vec<Ran> {
    let (dir, size) = (made.dir.path(), made.size);
    let keys = size.keys;
    let mut ran = Vec::new();
    let mut top_of = |name, words: &str, most, filter: &UsageFilter, rows| {
        let group = by(words);
        // A top is made of up to three sums.
        let bounds = (rows + 3 * BLOCKS_BEHIND, &[][..]);
        let (one, sums) = run(dir, name, bounds, |reader| reader.usage_top(most, group, filter).unwrap());
        let Ok(expected) = top(most, group, filter, |group, filter| {
            Ok::<_, std::convert::Infallible>(made.sum(group, filter))
        });
        assert_eq!(sorted(sums), sorted(expected), "{name}");
        ran.push(one);
    };
    let month = made.days(30);
    let of_project = UsageFilter { project: Some(size.project(3)), ..month.clone() };
    let of_key = UsageFilter { key: Some(key_id(3)), ..month.clone() };
    // Whole spans, days at both ends, and what is not summed up yet.
    let spans = 30 / sum_rows::SPAN_DAYS + 1;
    let rows_by_key = size.rows_of_keys(keys, spans + sum_rows::SPAN_DAYS);
    // Several sums make a top, and each looks at the blocks that are not summed up.
    let of_projects = 2 * size.project_rows(30);
    for (name, words) in [
        ("by provider and day", "day,provider"),
        ("by model and day", "day,model"),
        ("by project and day", "day,project"),
        ("by endpoint and day", "day,endpoint"),
    ] {
        top_of(name, words, 7, &month, of_projects + size.project_rows(30));
    }
    let of_dearest = size.rows_of_keys(7, 30) + size.project_rows(30);
    top_of("by key and day", "day,key", 7, &month, rows_by_key + of_dearest);
    top_of("by key", "key", 1_000, &month, rows_by_key);
    top_of("by key, of a project", "key", 1_000, &of_project, rows_by_key);
    top_of("by model, of a project", "model", 1_000, &of_project, size.project_rows(30));
    top_of("by model, of a key", "model", 1_000, &of_key, size.rows_of_keys(1, 30));
    let quarter = made.days(90);
    let spans = 90 / sum_rows::SPAN_DAYS + 1;
    top_of("by key, 90 days", "key", 1_000, &quarter, size.rows_of_keys(keys, spans + sum_rows::SPAN_DAYS));
    top_of("by model, 90 days", "model", 1_000, &quarter, size.project_rows(90));
    top_of("in all", "", 1, &month, size.project_rows(30));
    top_of("by day, of a key", "day", 1, &of_key, 3 * size.rows_of_keys(1, 30));
    let used: HashSet<KeyId> = (0..200.min(keys)).map(key_id).collect();
    let of_used = UsageFilter { keys: Some(Arc::new(used)), ..made.days(2) };
    top_of("of the keys used last", "key", 1_000, &of_used, size.rows_of_keys(200, 2) + 200 * 16);
    let ended = UsageFilter {
        until: Some(Timestamp::of_day(FIRST_DAY + 29)),
        since: Some(Timestamp::of_day(FIRST_DAY + 2)),
        ..UsageFilter::default()
    };
    top_of("by key, of days before", "key", 1_000, &ended, rows_by_key);

    let days = (FIRST_DAY + made.size.days - 30, FIRST_DAY + made.size.days);
    for (name, key, of, rows) in [
        ("denials", None, None, 30 * size.projects),
        ("denials of a project", None, Some(size.project(3)), 30 * size.projects),
        ("denials of a key", Some(3), None, 30),
    ] {
        let query = DenialQuery { days, key: key.map(key_id), project: of.clone(), by_key: false };
        let (one, sums) = run(dir, name, (rows, &[]), |reader| reader.denial_sums(&query).unwrap());
        let counted = made.denied.iter().filter(|((day, denied), _)| {
            (days.0..days.1).contains(day)
                && key.is_none_or(|key| key == *denied)
                && of.as_ref().is_none_or(|of| *of == size.project(*denied))
        });
        let expected: u64 = counted.map(|(_, count)| count).sum();
        assert!(expected > 0);
        assert_eq!(sums.iter().map(|sum| sum.count).sum::<u64>(), expected, "{name}");
        ran.push(one);
    }

    let now = Timestamp(u64::MAX / 8);
    let page = KeyQuery { limit: Some(101), ..KeyQuery::default() };
    let live = KeyQuery { status: Some(KeyStatus::Active), limit: Some(200), ..KeyQuery::default() };
    let last_used = |query: &KeyQuery| KeyQuery { sort: KeySort::LastUsed, ..query.clone() };
    let ending = |query: &KeyQuery| KeyQuery { sort: KeySort::Expires, ascending: true, ..query.clone() };
    let middle = Some(key_id(keys / 2));
    let middle_of_project = Some(key_id(keys / 2 / size.projects * size.projects + 3));
    let searched = KeyQuery { search: Some("agent 7".into()), ..page.clone() };
    for (name, query, rows, scans) in [
        ("keys", page.clone(), SHOWN, COMPARED),
        ("keys, a page in the middle", KeyQuery { after: middle, ..page.clone() }, SHOWN, &[]),
        ("keys, upwards", KeyQuery { after: middle, ascending: true, ..page.clone() }, SHOWN, &[]),
        (
            "keys of a project",
            KeyQuery { project: Some(size.project(3)), after: middle_of_project, ..page.clone() },
            SHOWN,
            &[],
        ),
        // Where every key is compared.
        (
            "keys by their last use",
            KeyQuery { after: middle, ..last_used(&page) },
            2 * keys + SHOWN,
            COMPARED,
        ),
        ("live keys by their last use", last_used(&live), 2 * keys + 400, COMPARED),
        ("keys by their end", ending(&page), 2 * keys + SHOWN, COMPARED),
        (
            "keys by their end, a page in the middle",
            KeyQuery { after: middle, ..ending(&page) },
            2 * keys + SHOWN,
            COMPARED,
        ),
        ("keys with a name", searched, 2 * keys + SHOWN, COMPARED),
    ] {
        let (one, found) = run(dir, name, (rows, scans), |reader| reader.key_list(&query, now).unwrap());
        assert!(!found.is_empty(), "{name}");
        ran.push(one);
    }
    ran.push(
        run(dir, "keys by state", (2 * keys, COMPARED), |reader| reader.key_counts(None, now).unwrap()).0,
    );

    let list = |filter| UsageQuery { limit: 500, filter, ..UsageQuery::default() };
    let none = UsageFilter { model: Some("model-none".into()), ..UsageFilter::default() };
    for (name, query) in [
        ("calls", list(UsageFilter::default())),
        ("calls of a key", list(UsageFilter { key: Some(key_id(3)), ..UsageFilter::default() })),
        ("calls of which there are none", list(none)),
    ] {
        // A page ends after so many blocks.
        ran.push(run(dir, name, (17 * 512, &[]), |reader| reader.usage_list(&query).unwrap()).0);
    }
    let newest = AuditQuery { limit: 100, newest_first: true, ..AuditQuery::default() };
    ran.push(run(dir, "the audit log", (100, &[]), |reader| reader.audit_page(&newest).unwrap()).0);
    let projects = EntityQuery { limit: Some(1_000), ..EntityQuery::default() };
    let list = |reader: &mut SqliteReader| reader.entity_list(EntityKind::Project, &projects).unwrap();
    ran.push(run(dir, "projects", (1_000, &[]), list).0);
    ran.push(
        run(dir, "holds left by a crash", (100, &["holds"]), |reader| reader.orphan_list(None, 100).unwrap())
            .0,
    );
    ran
}

fn check(made: &Made, ran: &[Ran]) {
    let connection = connect(&made.dir.path().join(FILE_NAME)).unwrap();
    let mut wrong = Vec::new();
    for one in ran {
        if is_full() {
            println!(
                "{:>42}: {:>9} steps, {:>6} rows read through, {:?}",
                one.name, one.steps, one.rows_read_through, one.took
            );
        }
        for sql in one.statements.iter().filter(|sql| sql.starts_with("SELECT")) {
            for table in read_through(&connection, sql) {
                if !ONE_ROW.contains(&table.as_str()) && !one.scans.contains(&table.as_str()) {
                    wrong.push(format!("{}: reads through {table}: {sql}", one.name));
                }
            }
        }
        let steps_max = one.rows_max * STEPS_PER_ROW + STEPS_BESIDE;
        if one.steps > steps_max {
            wrong.push(format!("{}: {} steps, not {steps_max}: {:#?}", one.name, one.steps, one.statements));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Both tables that follow from the sums of days and keys say what those say, added up by SQLite.
fn check_derived(dir: &Path) {
    let connection = connect(&dir.join(FILE_NAME)).unwrap();
    let names = "calls, input, cache_read, cache_write, output, reasoning, audio_input, audio_output, image_input, \
                 image_output, tool_calls, charged_activations, charged_tokens, charged_spend";
    let added: Vec<String> = names.split(", ").map(|name| format!("sum({name})")).collect();
    let added = added.join(", ");
    let project = "coalesce((SELECT project FROM keys WHERE keys.id = usage_sums.key), '')";
    for (table, place) in
        [("project_sums", format!("day, {project}")), ("span_sums", "day / 8, key".to_owned())]
    {
        let sums = format!(
            "SELECT {place}, provider, model, endpoint, {added} FROM usage_sums GROUP BY 1, 2, 3, 4, 5"
        );
        for sql in [
            format!("SELECT count(*) FROM (SELECT * FROM {table} EXCEPT {sums})"),
            format!("SELECT count(*) FROM (SELECT * FROM ({sums}) EXCEPT SELECT * FROM {table})"),
        ] {
            assert_eq!(connection.query_row(&sql, [], |row| row.get(0)), Ok(0), "{table}");
        }
    }
    let denials = format!(
        "SELECT count(*) FROM (SELECT day, {}, code, sum(count) FROM denial_sums GROUP BY 1, 2, 3 \
                               EXCEPT SELECT * FROM project_denials)",
        project.replace("usage_sums", "denial_sums")
    );
    assert_eq!(connection.query_row(&denials, [], |row| row.get(0)), Ok(0));
}

#[test]
fn charts_look_at_few_rows_and_say_what_calls_say() {
    let mut made = Made::new(if is_full() { FULL } else { SMALL });
    let start = Instant::now();
    made.call();
    let took = start.elapsed();
    if is_full() {
        println!("{} calls of {} keys were written in {took:?}", made.size.calls, made.size.keys);
    }
    check_derived(made.dir.path());
    // Some calls, or all, are not summed up yet.
    check(&made, &everything(&made));
    made.backend.file.write(sums::catch_up).unwrap();
    check_derived(made.dir.path());
    let before = everything(&made);
    check(&made, &before);
    if is_full() {
        return;
    }

    // Twice as many calls on the same days are as many rows, nearly.
    made.call();
    made.backend.file.write(sums::catch_up).unwrap();
    let after = everything(&made);
    check(&made, &after);
    for (before, after) in before.iter().zip(&after).filter(|(one, _)| !one.name.starts_with("calls")) {
        let most = before.steps * 11 / 10 + 1_000;
        assert!(after.steps <= most, "{}: {} steps, and {} before", after.name, after.steps, before.steps);
    }

    // Records go, and nothing else does.
    let end = Timestamp::of_day(FIRST_DAY + made.size.days - 5);
    while made.backend.usage_delete(end, 4_096).unwrap() > 0 {}
    assert!(made.backend.reader().usage_list(&UsageQuery::default()).unwrap().records.len() == 100);
    check_derived(made.dir.path());
    everything(&made);
}

/// As the version before had it: without the tables that follow.
#[test]
fn sums_of_version_7_are_derived() {
    let mut made = Made::new(SMALL);
    made.call();
    made.backend.file.write(sums::catch_up).unwrap();
    let dir = made.dir.path();
    let connection = Connection::open(dir.join(FILE_NAME)).unwrap();
    connection
        .execute_batch(
            "DROP TABLE project_sums; DROP TABLE span_sums; DROP TABLE project_denials; PRAGMA user_version = 7",
        )
        .unwrap();
    drop(connection);
    made.backend.file.connection = None;
    made.backend = SqliteBackend::open(dir).unwrap();
    check_derived(dir);
    everything(&made);
}
