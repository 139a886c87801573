//! kill -9 while the journal is folded in pieces: of every call there is one record and one charge, whatever the moment.
//!
//! As in `kill`, the test runs itself as the process to be killed. Its keys are so many that a fold takes many pieces, and
//! somebody reads all the time, so that there always is one.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::sync::mpsc;
use std::time::Duration;

use till_core::audit::Actor;
use till_core::key::KeyId;
use till_core::limit::Units;
use till_store::{KeyQuery, NewKey, Store, UsageFilter, UsageGroup, UsageQuery};

use crate::common::{activations, open, open_as_victim, record, say, spawn};

const KEYS: u16 = 2_000;
const ROUNDS: u64 = 24;
const CALLERS: u64 = 32;
/// A caller says that so many of its calls are on disk.
const SAYS: u64 = 25;
const DIRECTORY: &str = "TILL_STORE_FOLD_TEST_DIRECTORY";

fn key_id(n: u64) -> KeyId {
    KeyId(u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes())
}

/// Not a test of its own: what the killed process does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victim() {
    let Some(store) = open_as_victim(DIRECTORY) else { return };
    (0..CALLERS).for_each(|caller| drop(tokio::spawn(call(store.clone(), caller))));
    loop {
        // What was said to be written is seen, and what is seen stays.
        let summary = store.account_summary().await.unwrap();
        say(&format!("seen {}", summary.activations_this_month));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn call(store: Store, caller: u64) {
    let begin = store.now().0;
    for n in 1.. {
        let key = key_id((caller * 61 + n * 7919) % u64::from(KEYS));
        let mut hold = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
        hold.record(record(store.now(), key, &format!("req_{begin}_{caller}_{n}")));
        hold.settle(Units::ONE_ACTIVATION);
        if n % SAYS == 0 {
            store.flush().await.unwrap();
            say("written");
        }
    }
}

async fn create(store: Store, n: u64) {
    let key = NewKey {
        place: Default::default(),
        request: None,
        id: key_id(n),
        master_key: None,
        fingerprint: None,
        provider: "openai".into(),
        origin: "https://api.openai.com".into(),
        limits: activations(1 << 40),
        options: Default::default(),
        lifetime: Default::default(),
        scope: Default::default(),
        metadata: Default::default(),
    };
    store.key_create(key, &Actor::system()).await.unwrap();
}

#[tokio::test]
async fn every_call_counts_once_when_killed_in_a_fold() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let made: Vec<_> = (0..KEYS).map(|n| tokio::spawn(create(store.clone(), n.into()))).collect();
    for key in made {
        key.await.unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    let mut written = 0;
    for round in 0..ROUNDS {
        let mut child = spawn("fold::victim", DIRECTORY, dir.path());
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (working, is_working) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            let (mut written, mut seen) = (0, 0);
            for line in lines.map_while(Result::ok) {
                match line.split_once(' ') {
                    Some(("seen", count)) => seen = count.parse().unwrap(),
                    _ if line == "written" => {
                        written += SAYS;
                        // Nobody listens after the first time.
                        let _ = working.send(());
                    }
                    _ => {}
                }
            }
            (written, seen)
        });
        // However long that takes on a busy machine.
        is_working.recv().expect("the victim works");
        drop(is_working);
        std::thread::sleep(Duration::from_millis(round * 37 % 250));
        child.kill().unwrap();
        child.wait().unwrap();
        let (said, seen): (u64, u64) = reader.join().unwrap();
        written += said;
        let store = open(dir.path());
        let records =
            store.usage_list(UsageQuery { limit: u32::MAX, ..UsageQuery::default() }).await.unwrap().records;
        let count = records.len() as u64;
        let ids: HashSet<&str> = records.iter().map(|(_, record)| record.request_id.as_str()).collect();
        assert_eq!(ids.len(), records.len(), "round {round}: nothing is recorded twice");
        assert!(count >= written.max(seen), "round {round}: {count} records, {written} written, {seen} seen");
        let keys = store.key_list(KeyQuery::default()).await.unwrap();
        assert_eq!(keys.len(), usize::from(KEYS));
        assert_eq!(keys.iter().map(|key| key.used.activations).sum::<u64>(), count, "round {round}");
        let summary = store.account_summary().await.unwrap();
        assert_eq!(summary.activations_this_month, count, "round {round}");
        let sums = store.usage_sum(UsageGroup::default(), UsageFilter::default()).await.unwrap();
        assert_eq!(sums.iter().map(|sum| sum.calls).sum::<u64>(), count, "round {round}");
        // Half of the starts come after a stop, the others after another crash.
        if round % 2 == 0 {
            store.close().await.unwrap();
        }
    }
    assert!(written >= ROUNDS * SAYS, "the victims did something: {written}");
}
