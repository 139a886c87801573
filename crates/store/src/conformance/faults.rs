//! Writes that fail, callers that leave, processes that die.

use till_core::denial::DenialCode;
use till_core::key::KeyStatus;
use till_core::limit::Units;

use super::place::{MemoryPlace, Place};
use super::{activations, actor, ask_and_leave, code, create, fetch, settled};
use crate::memory::Fault;
use crate::sqlite::SqliteBackend;
use crate::store::Bounds;
use crate::{HoldRefusal, Store, StoreError};

/// A write that fails refuses the batch and leaves nothing behind, whether or not it reached the disk.
async fn check_failed_hold(fault: Fault) {
    let place = MemoryPlace::new();
    let store = place.start();
    let key = create(&store, 1, activations(1)).await;
    place.medium.script([fault]);
    let refused = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap_err();
    assert!(
        matches!(&refused, HoldRefusal::Unavailable(error) if error.to_string().contains("write memory: no space")),
        "{refused:?}"
    );
    // The refused hold is voided with the next batches, if it was written at all.
    while !place.holds().is_empty() || fetch(&store, key).await.used.activations != 0 {
        let _ = store.writable().await;
        tokio::task::yield_now().await;
    }
    let hold = loop {
        match store.hold_exactly(key, Units::ONE_ACTIVATION).await {
            Ok(hold) => break hold,
            Err(HoldRefusal::Unavailable(_)) => {}
            Err(denied) => panic!("{denied:?}"),
        }
    };
    hold.settle(Units::ONE_ACTIVATION);
    assert_eq!(code(&store, key).await, DenialCode::ActivationsExhausted);
    assert_eq!(store.stats().commit_failures, 1);
    store.close().await.unwrap();
    assert_eq!(fetch(&place.start(), key).await.used.activations, 1);
}

#[tokio::test]
async fn a_failed_write_grants_nothing() {
    for fault in [Fault::Fail, Fault::WriteAndFail, Fault::FailAndNotReopen] {
        check_failed_hold(fault).await;
    }
}

#[tokio::test]
async fn a_settle_is_repeated_until_it_is_durable_and_counts_once() {
    for fault in [Fault::Fail, Fault::WriteAndFail, Fault::FailAndNotReopen] {
        let place = MemoryPlace::new();
        let store = place.start();
        let key = create(&store, 1, activations(9)).await;
        let settle = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
        let void = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
        place.medium.script([fault, fault]);
        settle.settle(Units { activations: 2, ..Units::default() });
        void.void();
        while !place.holds().is_empty() {
            let _ = store.writable().await;
            tokio::task::yield_now().await;
        }
        place.medium.heal();
        store.close().await.unwrap();
        let store = place.start();
        assert_eq!(fetch(&store, key).await.used.activations, 2, "{fault:?}");
        assert!(place.holds().is_empty());
    }
}

#[tokio::test]
async fn admin_actions_of_a_failed_write_did_not_happen() {
    let place = MemoryPlace::new();
    let store = place.start();
    let key = create(&store, 1, activations(9)).await;
    let mut ended = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap().key_ended();
    settled(&store).await;
    place.medium.script([Fault::Fail]);
    assert!(matches!(store.key_revoke(key, &actor()).await, Err(StoreError::Failed { .. })));
    assert_eq!(ask_and_leave(ended.wait()), None);
    assert_eq!(fetch(&store, key).await.status, KeyStatus::Active);
    assert_eq!(store.key_revoke(key, &actor()).await.unwrap().unwrap().status, KeyStatus::Revoked);
    assert_eq!(ended.wait().await.code, DenialCode::KeyRevoked, "the listener outlived the failure");
    let log = store.audit_list(0, 99).await.unwrap();
    till_core::audit::verify_chain(&log).expect("the chain has no gap");
}

#[tokio::test]
async fn a_caller_that_leaves_during_the_write_gets_nothing() {
    let place = MemoryPlace::new();
    let store = place.start();
    let key = create(&store, 1, activations(1)).await;
    {
        let gate = place.medium.gate.lock().unwrap();
        assert!(ask_and_leave(store.hold_exactly(key, Units::ONE_ACTIVATION)).is_none());
        drop(gate);
    }
    settled(&store).await;
    settled(&store).await;
    assert_eq!(fetch(&store, key).await.used.activations, 0);
}

#[tokio::test]
async fn a_fault_in_the_writer_refuses_everything_from_then_on() {
    let place = MemoryPlace::new();
    let store = place.start();
    let key = create(&store, 1, activations(9)).await;
    let hold = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
    place.medium.script([Fault::Panic]);
    for _ in 0..3 {
        let refused = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap_err();
        assert_eq!(refused, HoldRefusal::Unavailable(StoreError::Closed));
    }
    hold.settle(Units::ONE_ACTIVATION);
    assert_eq!(store.writable().await, Err(StoreError::Closed));
}

#[tokio::test]
async fn denials_reach_the_disk_although_nothing_else_happens() {
    let place = MemoryPlace::new();
    let store = place.start();
    store.denial_record(super::key_id(1), DenialCode::EndpointDenied);
    // Within about a second; the test would hang otherwise.
    while place.denials().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(place.denials()[0].count, 1);
}

#[tokio::test]
async fn a_full_disk_names_the_file_and_goes_away() {
    let dir = tempfile::tempdir().unwrap();
    let mut backend = SqliteBackend::open(dir.path()).unwrap();
    backend.forbid_growth(4);
    let witness = dir.path().join("witness");
    let bounds = Bounds { loaded_max: 8, usage_retention: None, audit_retention: None };
    let store =
        Store::start(Box::new(backend), &witness, "test", bounds, crate::clock::Clock::system(), ()).unwrap();
    let mut made = 0;
    let error = loop {
        let key = crate::NewKey {
            place: Default::default(),
            request: None,
            fingerprint: None,
            id: super::key_id(made),
            master_key: None,
            provider: "openai".into(),
            origin: "x".repeat(1000),
            limits: activations(1),
            options: Default::default(),
            lifetime: Default::default(),
            scope: Default::default(),
            metadata: serde_json::Map::new(),
        };
        match store.key_create(key, &actor()).await {
            Ok(_) => made += 1,
            Err(error) => break error.to_string(),
        }
    };
    assert!(made > 0 && error.contains("till.db") && error.contains("full"), "{made}: {error}");
    // Opening the file again lifts the bound of this test: there is room.
    create(&store, made, activations(1)).await;
    assert_eq!(store.account_summary().await.unwrap().keys, made + 1);
    for n in 0..=made {
        drop(store.hold_exactly(super::key_id(n), Units::ONE_ACTIVATION).await.unwrap());
    }
    store.close().await.unwrap();
}

/// A generator of pseudo-random numbers (SplitMix64), so that a seed tells the whole story.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

const KEYS: usize = 3;
const LIMIT: u64 = 25;

/// Random schedules of holds, ends, failing writes, crashes and clean restarts.
///
/// Per key: `sent` is what was granted and not voided. It never exceeds the limit, and what is recorded
/// after any restart is at least that: a void that a crash swallowed stays counted.
async fn simulate(seed: u64) {
    let mut random = Random(seed);
    let mut place = MemoryPlace::new();
    let mut store = place.start();
    for n in 0..KEYS as u64 {
        create(&store, n, activations(LIMIT)).await;
    }
    let mut sent = [0_u64; KEYS];
    let mut open = Vec::new();
    for _ in 0..150 {
        let n = random.below(KEYS as u64);
        match random.below(20) {
            0..9 => match store.hold_exactly(super::key_id(n), Units::ONE_ACTIVATION).await {
                Ok(hold) => {
                    let n = usize::try_from(n).unwrap();
                    sent[n] += 1;
                    assert!(sent[n] <= LIMIT, "seed {seed}: over the limit");
                    open.push((n, hold));
                }
                Err(HoldRefusal::Denied(denial)) => assert_eq!(denial.code, DenialCode::ActivationsExhausted),
                Err(HoldRefusal::Unavailable(_)) => {}
                Err(HoldRefusal::TermsChanged) => panic!("asked again under the new terms"),
            },
            9..14 if !open.is_empty() => {
                let at = usize::try_from(random.below(open.len() as u64)).unwrap();
                let (n, hold) = open.swap_remove(at);
                match random.below(3) {
                    0 => hold.settle(Units::ONE_ACTIVATION),
                    1 => drop(hold),
                    _ => {
                        sent[n] -= 1;
                        hold.void();
                    }
                }
            }
            // Voided, or if the writer was faster: dropped here, which spends it. Nothing was sent.
            14 => drop(ask_and_leave(store.hold_exactly(super::key_id(n), Units::ONE_ACTIVATION))),
            15 | 16 => {
                let kinds = [Fault::None, Fault::Fail, Fault::WriteAndFail, Fault::FailAndNotReopen];
                let some = (0..1 + random.below(3)).map(|_| kinds[usize::try_from(random.below(4)).unwrap()]);
                place.medium.script(some.collect::<Vec<_>>());
            }
            17 => {
                place = place.crash(store);
                store = place.start();
                open.clear();
            }
            18 => {
                place.medium.heal();
                open.clear();
                store.close().await.unwrap();
                store = place.start();
            }
            _ => {}
        }
        place.medium.heal_if(random.below(4) == 0);
    }
    place.medium.heal();
    open.clear();
    store.close().await.unwrap();
    let store = place.start();
    assert_eq!(store.fenced(), None, "seed {seed}: a false fence");
    for n in 0..KEYS as u64 {
        let used = fetch(&store, super::key_id(n)).await.used.activations;
        let sent = sent[usize::try_from(n).unwrap()];
        assert!(sent <= used && used <= LIMIT, "seed {seed}: key {n} sent {sent}, recorded {used}");
    }
    let log = store.audit_list(0, 9999).await.unwrap();
    till_core::audit::verify_chain(&log).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
}

#[tokio::test]
async fn never_over_under_random_faults_and_crashes() {
    for seed in 0..60 {
        simulate(seed).await;
    }
}

/// A disk that does not answer: whoever asks hears of it in time, all of them by one question.
#[tokio::test]
async fn a_probe_that_hangs_is_an_answer() {
    let place = MemoryPlace::new();
    let store = place.start();
    store.flush().await.unwrap();
    let asked = store.stats().operations;
    let medium = std::sync::Arc::clone(&place.medium);
    let (locked, is_locked) = std::sync::mpsc::channel();
    let (unlock, unlocked) = std::sync::mpsc::channel::<()>();
    let hung = std::thread::spawn(move || {
        let gate = medium.gate.lock().unwrap();
        locked.send(()).unwrap();
        unlocked.recv().unwrap();
        drop(gate);
    });
    is_locked.recv().unwrap();
    // Something to write, so that the probe waits for the disk.
    let settling = ask_and_leave(store.audit_append("test.write", "", serde_json::json!({}), &actor()));
    assert!(settling.is_none());
    let answers = tokio::join!(store.writable(), store.writable(), store.writable());
    unlock.send(()).unwrap();
    hung.join().unwrap();
    for answer in [answers.0, answers.1, answers.2] {
        assert!(
            matches!(&answer, Err(StoreError::Failed { reason, .. }) if reason.contains("5 s")),
            "{answer:?}"
        );
    }
    store.flush().await.unwrap();
    assert!(store.stats().operations <= asked + 3, "one probe, one entry, one flush");
}
