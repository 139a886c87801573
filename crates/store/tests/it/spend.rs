//! kill -9 under load with a limit in money: what may have been billed is charged, and never more than the limit.
//!
//! As in `kill`, the test runs itself as the process to be killed. That one says what its provider bills for a
//! request after the grant and before anything of it is settled, as a request is billed once it is sent.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use till_core::demand::Demand;
use till_core::denial::DenialCode;
use till_core::key::KeyId;
use till_core::limit::{Limits, Units};
use till_core::time::Timestamp;
use till_store::{Hold, HoldRefusal, Outcome, Store, UsageFilter, UsageGroup, UsageQuery, UsageRecord};

use crate::common::{create, key_id, open, open_as_victim, record, say, spawn};

/// $4: enough for most of the rounds, of which each loses what was under way; the last ones are about what is left.
const LIMIT: u64 = 4_000_000_000;
const ROUNDS: u64 = 12;
const CALLERS: u64 = 12;
const PATIENCE: Duration = Duration::from_secs(20);
const DIRECTORY: &str = "TILL_STORE_SPEND_TEST_DIRECTORY";

/// Wants far more than it uses, as clients do.
const DEMAND: Demand = Demand {
    picos_fixed: 123_456_789,
    picos_per_step: 10_000_001,
    steps_wanted: 1_500,
    steps_min: 16,
    ..Demand::ONE_ACTIVATION
};

/// Not a test of its own: what the killed process does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victim() {
    let Some(store) = open_as_victim(DIRECTORY) else { return };
    let callers: Vec<_> = (0..CALLERS).map(|caller| tokio::spawn(spend(store.clone(), caller))).collect();
    for caller in callers {
        caller.await.unwrap();
    }
    store.close().await.unwrap();
}

async fn spend(store: Store, caller: u64) {
    for n in 0.. {
        let hold = match hold(&store).await {
            Ok(hold) => hold,
            Err(HoldRefusal::Denied(denial)) => {
                assert_eq!(denial.code, DenialCode::SpendExhausted);
                return;
            }
            Err(error) => panic!("{error:?}"),
        };
        if n % 5 == 4 {
            // It could not be sent.
            hold.void();
            continue;
        }
        // Mostly a part of the hold; now and then all of it is unknown.
        let billed = (1_000_000 + 37_000 * (caller + n % 50)).min(hold.units().spend_nanos);
        say(&format!("billed {billed}"));
        tokio::task::yield_now().await;
        if n % 7 == 6 {
            drop(hold);
        } else {
            hold.settle(Units { spend_nanos: billed, ..Units::ONE_ACTIVATION });
        }
    }
}

async fn hold(store: &Store) -> Result<Hold, HoldRefusal> {
    let terms = store.key_terms(key_id(1)).await?;
    let mut hold = store.hold(&terms, DEMAND, PATIENCE).await?;
    hold.record(charged(key_id(1)));
    Ok(hold)
}

/// Until its end says more, it is charged in full.
fn charged(key: KeyId) -> UsageRecord {
    UsageRecord { outcome: Outcome::Charged, ..record(Timestamp(1_800_000_000_000), key, "req_1") }
}

fn billed(line: &str) -> u64 {
    line.strip_prefix("billed ").map_or(0, |nanos| nanos.parse().unwrap())
}

#[tokio::test]
async fn no_money_is_forgotten_when_killed_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let key = create(&store, 1, Limits { spend_nanos: Some(LIMIT), ..Limits::default() }).await;
    store.close().await.unwrap();
    let mut sent = 0_u64;
    let (mut lost, mut busy_rounds, mut unfolded_rounds) = (0_usize, 0, 0);
    for round in 0..ROUNDS {
        let mut child = spawn("spend::victim", DIRECTORY, dir.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // After so many requests; what it says between this line and its death counts as well.
        let mut seen = 0;
        while seen < 10 + 7 * (round % 5)
            && let Some(line) = lines.next()
        {
            let billed = billed(&line.unwrap());
            sent += billed;
            seen += u64::from(billed > 0);
        }
        child.kill().unwrap();
        busy_rounds += u64::from(seen >= 10);
        sent += lines.map(|line| billed(&line.unwrap())).sum::<u64>();
        child.wait().unwrap();
        unfolded_rounds += u64::from(has_journal(dir.path()));

        let store = open(dir.path());
        assert_eq!(store.fenced(), None, "round {round}: a false fence");
        let charged = check(&store, key).await;
        assert!(sent <= charged, "round {round}: {sent} was billed, {charged} is charged");
        assert!(charged <= LIMIT, "round {round}: {charged} is charged");
        let orphans = store.orphan_list(None, 1_000).await.unwrap().len();
        assert!(orphans >= lost, "round {round}: orphans stay until they are forgiven");
        lost = orphans;
        store.close().await.unwrap();
    }
    assert!(unfolded_rounds >= ROUNDS / 3, "{unfolded_rounds} died with something in the journal");
    assert!(lost > 0 && busy_rounds >= ROUNDS / 3, "{lost} requests under way in {busy_rounds} rounds");
    assert!(sent > 0 && sent <= LIMIT);
    let store = open(dir.path());
    while let Ok(hold) = hold(&store).await {
        sent += hold.units().spend_nanos;
        drop(hold);
    }
    assert!(sent <= LIMIT, "{sent}");
    store.close().await.unwrap();
    check(&open(dir.path()), key).await;
}

/// Whether it died before what it wrote last was in the tables.
fn has_journal(dir: &Path) -> bool {
    let file = Connection::open(dir.join("till.db")).unwrap();
    file.query_row("SELECT EXISTS (SELECT 1 FROM journal)", [], |row| row.get(0)).unwrap()
}

/// Ledger, records and sums say the same; it is given back.
async fn check(store: &Store, key: KeyId) -> u64 {
    let used = store.key_fetch(key).await.unwrap().expect("exists").used;
    let all = UsageQuery { limit: 1_000_000, ..UsageQuery::default() };
    let records = store.usage_list(all).await.unwrap().records;
    assert_eq!(records.iter().map(|(_, record)| record.charged.spend_nanos).sum::<u64>(), used.spend_nanos);
    assert_eq!(records.iter().map(|(_, record)| record.charged.activations).sum::<u64>(), used.activations);
    let sums = store.usage_sum(UsageGroup::default(), UsageFilter::default()).await.unwrap();
    assert_eq!(sums.iter().map(|sum| sum.charged.spend_nanos).sum::<u64>(), used.spend_nanos);
    used.spend_nanos
}

/// How SQLite finds the rows of a statement.
fn plan(dir: &Path, sql: &str) -> String {
    let file = Connection::open_with_flags(dir.join("till.db"), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let mut statement = file.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    // Parameters that nobody bound are NULL, which the plan does not depend on.
    let mut rows = statement.raw_query();
    let mut steps = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        steps.push(row.get::<_, String>(3).unwrap());
    }
    steps.join("; ")
}

/// The statements are those of the store as far as it matters to the plan: conditions, order, bound.
#[tokio::test]
async fn a_page_of_one_key_is_found_by_its_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let key = create(&store, 1, Limits::default()).await;
    for _ in 0..20 {
        let mut hold = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
        hold.record(charged(key));
        hold.settle(Units::ONE_ACTIVATION);
    }
    store.close().await.unwrap();
    let list = plan(dir.path(), "SELECT entries FROM usage_block_keys WHERE part = ?1 AND list = ?2");
    assert!(list.contains("usage_block_keys USING PRIMARY KEY (part=? AND list=?)"), "{list}");
    let of_key = "SELECT first_seq, records FROM usage_blocks \
                  WHERE first_seq = ?1 AND first_seq < ?2 AND at_max >= ?3 AND at_min <= ?4";
    let of_key = plan(dir.path(), of_key);
    assert!(of_key.contains("usage_blocks USING INTEGER PRIMARY KEY (rowid=?)"), "{of_key}");
    let of_all = "SELECT first_seq, records FROM usage_blocks WHERE first_seq >= ?1 AND first_seq < ?2 \
                  AND at_max >= ?3 AND at_min <= ?4 ORDER BY first_seq DESC";
    let of_all = plan(dir.path(), of_all);
    assert!(of_all.contains("USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"), "{of_all}");
    let old = plan(
        dir.path(),
        "SELECT first_seq, records FROM usage_blocks WHERE at_min < ?1 ORDER BY at_min LIMIT 1",
    );
    assert!(old.contains("INDEX usage_blocks_by_time (at_min<?)"), "{old}");
    let sums = plan(dir.path(), "SELECT calls FROM usage_sums WHERE day >= ?1 AND day < ?2 AND key = ?3");
    assert!(sums.contains("INDEX usage_sums_by_key (key=? AND day>? AND day<?)"), "{sums}");
    for plan in [&list, &of_key, &of_all, &old, &sums] {
        assert!(
            !plan.contains("TEMP B-TREE") && !plan.contains("SCAN"),
            "nothing is sorted or read through: {plan}"
        );
    }
}
