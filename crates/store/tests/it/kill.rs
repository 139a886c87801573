//! kill -9 at random moments: what was granted is recorded, and never more than the limit is granted.
//!
//! The test runs itself as the process to be killed. That one says on its standard output what it may
//! send, after the grant, and what it gives back, before it does.

use std::io::{BufRead, BufReader};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::common::{activations, create, key_id, open, open_as_victim, say, spawn, used};
use till_core::denial::DenialCode;
use till_core::limit::Units;
use till_store::{HoldRefusal, Store};

const LIMIT: u64 = 3_000;
const ROUNDS: u64 = 24;
const CALLERS: u64 = 8;
const DIRECTORY: &str = "TILL_STORE_KILL_TEST_DIRECTORY";

/// Not a test of its own: what the killed process does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn victim() {
    let Some(store) = open_as_victim(DIRECTORY) else { return };
    let callers = (0..CALLERS).map(|caller| tokio::spawn(take_holds(store.clone(), caller)));
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    store.close().await.unwrap();
}

async fn take_holds(store: Store, caller: u64) {
    let mut open = Vec::new();
    for n in caller.. {
        match store.hold_exactly(key_id(1), Units::ONE_ACTIVATION).await {
            Ok(hold) => {
                say("granted");
                open.push(hold);
            }
            Err(HoldRefusal::Denied(denial)) => {
                assert_eq!(denial.code, DenialCode::ActivationsExhausted);
                return;
            }
            Err(error) => panic!("{error:?}"),
        }
        if n % 3 == 0
            && let Some(hold) = open.pop()
        {
            say("voided");
            hold.void();
        }
        if open.len() > 3 {
            open.remove(0).settle(Units::ONE_ACTIVATION);
        }
    }
}

#[tokio::test]
async fn never_over_when_killed_at_any_moment() {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let mut random = u64::try_from(seed % u128::from(u64::MAX)).unwrap();
    println!("seed {random}");
    let mut below = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let key = create(&store, 1, activations(LIMIT)).await;
    store.close().await.unwrap();
    let mut granted = 0_u64;
    let mut voided = 0_u64;
    for round in 0..ROUNDS {
        let mut child = spawn("kill::victim", DIRECTORY, dir.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let kill_after = below(250);
        let mut seen = 0;
        // A quarter of the rounds is killed while it starts.
        if round % 4 == 0 {
            std::thread::sleep(Duration::from_millis(below(40)));
        } else {
            while seen < kill_after
                && let Some(line) = lines.next()
            {
                seen += count(&line.unwrap(), &mut granted, &mut voided);
            }
        }
        child.kill().unwrap();
        for line in lines {
            count(&line.unwrap(), &mut granted, &mut voided);
        }
        child.wait().unwrap();
        let sent = granted - voided;
        let store = open(dir.path());
        assert_eq!(store.fenced(), None, "round {round}: a false fence");
        let recorded = used(&store, key).await;
        assert!(sent <= recorded, "round {round}: sent {sent}, recorded {recorded}");
        assert!(recorded <= LIMIT, "round {round}: recorded {recorded}");
        // Between restarts, sometimes without a clean stop of its own.
        if round % 2 == 0 {
            store.close().await.unwrap();
        }
    }
    assert!(granted > ROUNDS * 20, "the victims did something: {granted}");
    let store = open(dir.path());
    while let Ok(hold) = store.hold_exactly(key, Units::ONE_ACTIVATION).await {
        granted += 1;
        hold.settle(Units::ONE_ACTIVATION);
    }
    assert!(granted - voided <= LIMIT, "{granted} granted, {voided} voided");
    assert_eq!(used(&store, key).await, LIMIT);
}

fn count(line: &str, granted: &mut u64, voided: &mut u64) -> u64 {
    match line {
        "granted" => *granted += 1,
        "voided" => *voided += 1,
        _ => return 0,
    }
    1
}
