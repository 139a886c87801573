//! A data directory of every schema version must open with all its figures.
//!
//! The directories were written by `examples/make_fixture.rs` of their time.

use std::path::Path;

use rusqlite::Connection;
use till_core::audit::{Actor, verify_chain};
use till_core::denial::DenialCode;
use till_core::key::{KeyId, KeyStatus};
use till_core::limit::{Limits, Units};
use till_core::role::Role;
use till_core::time::Timestamp;
use till_store::{AdminToken, Outcome, Store, TokenCounts, UsageFilter, UsageGroup, UsageQuery, UsageRecord};

use crate::common::{copy_directory, denied, hold, open};

#[tokio::test]
async fn schema_1_opens_with_everything_in_it() {
    opens_with_everything_in_it("schema-1", &["ledger.overrun"]).await;
}

#[tokio::test]
async fn schema_2_opens_with_everything_in_it() {
    opens_with_everything_in_it("schema-2", &["hold.exceeded", "ledger.overrun"]).await;
}

#[tokio::test]
async fn schema_3_opens_with_everything_in_it() {
    opens_with_everything_in_it("schema-3", &["hold.exceeded", "ledger.overrun"]).await;
}

#[tokio::test]
async fn schema_4_opens_with_everything_in_it() {
    opens_with_everything_in_it("schema-4", &["hold.exceeded", "ledger.overrun"]).await;
}

#[tokio::test]
async fn schema_5_opens_with_everything_in_it() {
    opens_with_everything_in_it("schema-5", &["hold.exceeded", "ledger.overrun"]).await;
}

/// They are rows, one each.
#[tokio::test]
async fn records_of_schema_3_are_all_there() {
    records_are_all_there("schema-3").await;
}

/// The index of their blocks has other parts.
#[tokio::test]
async fn records_of_schema_4_are_all_there() {
    records_are_all_there("schema-4").await;
}

#[tokio::test]
async fn records_of_schema_5_are_all_there() {
    records_are_all_there("schema-5").await;
}

async fn records_are_all_there(name: &str) {
    let copy = tempfile::tempdir().unwrap();
    copy_directory(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name), copy.path());
    for _ in 0..2 {
        let store = open(copy.path());
        let key = KeyId([1; 16]);
        let of_key = UsageFilter { key: Some(key), ..UsageFilter::default() };
        let query = UsageQuery { filter: of_key, ..UsageQuery::default() };
        let mut found = store.usage_list(query).await.unwrap().records;
        found.reverse();
        // The hold that was left open is recorded by the start, under the next number.
        let (seq, lost) = found.pop().expect("there are records");
        assert_eq!((seq, lost.outcome), (9, Outcome::Lost));
        assert_eq!(found.len(), 8);
        for (n, (seq, record)) in (0_u64..).zip(&found) {
            assert_eq!((*seq, record), (n + 1, &expected(key, n)));
        }
        let by_project = UsageGroup { project: true, ..UsageGroup::default() };
        let sums = store.usage_sum(by_project, UsageFilter::default()).await.unwrap();
        let [sum] = sums.as_slice() else { panic!("one project: {sums:?}") };
        // One of the eight was refused; the fixture's other keys have holds without records.
        assert_eq!((sum.project.as_deref(), sum.calls), (Some("default"), 8));
        store.close().await.unwrap();
    }
    let connection = Connection::open(copy.path().join("till.db")).unwrap();
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'usage_records%'";
    assert_eq!(connection.query_row(tables, [], |row| row.get::<_, u64>(0)), Ok(0));
}

/// As `examples/make_fixture.rs` made them.
fn expected(key: KeyId, n: u64) -> UsageRecord {
    let known = n.is_multiple_of(2);
    let refused = n == 7;
    UsageRecord {
        at: Timestamp(1_800_000_000_000 + n * 1_000),
        request_id: if known { format!("req_{n:032x}") } else { format!("anything {n} ü") },
        key,
        provider: "openai".into(),
        method: "POST".into(),
        endpoint: if known { "chat.completions".into() } else { "".into() },
        model: known.then(|| format!("model-{n}")),
        status: known.then_some(200),
        outcome: match n {
            7 => Outcome::Denied,
            _ if known => Outcome::Complete,
            _ => Outcome::Charged,
        },
        denial: match n {
            5 => Some(DenialCode::UpstreamTimeout),
            7 => Some(DenialCode::ModelDenied),
            _ => None,
        },
        tokens: TokenCounts { input: n, output: if n == 4 { u64::MAX } else { 0 }, ..TokenCounts::default() },
        charged: if refused { Units::default() } else { Units::ONE_ACTIVATION },
        price_version: known.then(|| "2026-01-01".into()),
        latency_ms: n * 100,
        first_byte_ms: known.then_some(n),
        client: match n {
            1 => None,
            2 => Some([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()),
            _ => Some([192, 0, 2, 1].into()),
        },
        streamed: known,
    }
}

async fn opens_with_everything_in_it(name: &str, alarms: &[&str]) {
    let copy = tempfile::tempdir().unwrap();
    copy_directory(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name), copy.path());
    let store = open(copy.path());
    let fence = store.fenced().expect("it is a copy");
    assert!(fence.reason.contains("copy"), "{}", fence.reason);
    store.fence_accept(&Actor::system()).await.unwrap();

    check_keys(&store).await;
    assert_eq!(store.index_key_fetch().await.unwrap().as_deref(), Some(b"wrapped index key".as_slice()));
    let token = store.entity_find::<AdminToken>([42; 32]).await.unwrap().expect("kept");
    assert_eq!((token.id.as_str(), token.is.role), ("owner", Role::Owner));
    assert_eq!(store.account_summary().await.unwrap().keys, 4);
    let log = store.audit_list(0, 100).await.unwrap();
    verify_chain(&log).unwrap();
    let old: Vec<&str> = log.iter().map(|entry| entry.action.as_str()).collect();
    let actions = ["admin_token.put", "key.create", "key.create", "key.revoke", "key.create", "key.create"];
    // What was denied is under the chain from now on.
    let entered = ["key.denied", "key.denied"];
    assert_eq!(old, [&actions, alarms, &["fence.raise"], &entered, &["fence.accept"]].concat());

    // It goes on from there.
    drop(hold(&store, KeyId([1; 16])).await);
    assert_eq!(denied(&store, KeyId([2; 16])).await, Some(DenialCode::KeyRevoked));
    assert_eq!(denied(&store, KeyId([3; 16])).await, Some(DenialCode::ActivationsExhausted));
    assert_eq!(denied(&store, KeyId([4; 16])).await, Some(DenialCode::TokensExhausted));
    store.close().await.unwrap();
    check_rows(copy.path());
    let store = open(copy.path());
    assert_eq!(store.fenced(), None);
    assert_eq!(crate::common::used(&store, KeyId([1; 16])).await, 9);
}

async fn check_keys(store: &Store) {
    let activations = |limit| Limits { activations: Some(limit), ..Limits::default() };
    let one = |activations| Units { activations, ..Units::default() };
    let tokens = Limits { tokens: Some(1_000), ..Limits::default() };
    let overrun = Units { activations: 1, tokens: u64::MAX, spend_nanos: 7 };
    for (n, limits, used, status) in [
        // Seven were settled, one voided, and the open one is an orphan now.
        (1, activations(50), one(8), KeyStatus::Active),
        (2, activations(5), one(1), KeyStatus::Revoked),
        (3, activations(2), one(2), KeyStatus::Exhausted),
        (4, tokens, overrun, KeyStatus::Exhausted),
    ] {
        let key = store.key_fetch(KeyId([n; 16])).await.unwrap().expect("exists");
        assert_eq!((key.limits, key.used, key.status), (limits, used, status), "key {n}");
        assert_eq!(key.metadata["agent"], format!("agent {n}"));
        assert_eq!((key.provider.as_str(), key.place.project.as_str()), ("openai", "default"));
        assert!(key.last_used_at.is_some());
        assert_eq!(key.revoked_at.is_some(), status == KeyStatus::Revoked);
        // What came later bounds nothing of what was there before.
        assert_eq!((key.lifetime, key.expired_at, key.paused_at), Default::default());
    }
}

fn check_rows(dir: &Path) {
    let connection = Connection::open(dir.join("till.db")).unwrap();
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, u64>(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM holds WHERE state = 'orphan'"), 1);
    let denied = |code: &str| {
        count(&format!(
            "SELECT sum(detail ->> 'count') FROM audit WHERE action = 'key.denied' AND detail ->> 'code' = '{code}'"
        ))
    };
    assert_eq!(denied("activations_exhausted"), 2);
    assert_eq!(denied("endpoint_denied"), 1);
    assert_eq!(count("SELECT sum(count) FROM activations_by_month"), 13);
}
