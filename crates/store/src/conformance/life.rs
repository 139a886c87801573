//! When keys work: expiry, pauses, changes, and clocks that jump.

use std::future::Future as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};

use serde_json::{Map, json};
use till_core::demand::Demand;
use till_core::denial::DenialCode;
use till_core::key::{KeyId, KeyStatus};
use till_core::lifetime::Lifetime;
use till_core::limit::{LIMIT_MAX, Limits, Units};
use till_core::time::Timestamp;
use tokio::task::JoinSet;

use super::place::{MemoryPlace, Place, SqlitePlace};
use super::{activations, actor, ask_and_leave, code, create, fetch, key_id, settled};
use crate::clock::FakeTime;
use crate::memory::Fault;
use crate::{HoldRefusal, KeyChange, KeyQuery, LifetimeChange, LimitChange, NewKey, Store, StoreError};

on_every_backend! {
    an_expired_key_stays_expired_whatever_the_clock_says,
    a_clock_that_jumps_forward_ends_keys_at_once,
    told_expired_is_expired_after_a_restart,
    the_end_reaches_everybody_who_holds,
    a_pause_reaches_everybody_before_it_answers,
    those_who_wait_hear_of_a_pause_at_once,
    the_status_of_a_row_is_that_of_the_ledger,
    limits_are_changed_in_one_step,
    a_change_that_contradicts_itself_changes_nothing,
    changes_from_many_sides_all_count,
    old_terms_are_not_used_after_a_change,
    many_keys_are_revoked_at_once,
    the_kill_switch_stops_everything_and_stays_on,
}

const BEGIN: u64 = 1_800_000_000_000;

fn at(millis: u64) -> Option<Timestamp> {
    Some(Timestamp(BEGIN + millis))
}

fn expiring(millis: u64) -> Lifetime {
    Lifetime { expires_at: at(millis), ..Lifetime::default() }
}

async fn create_for(store: &Store, n: u64, limits: Limits, lifetime: Lifetime) -> KeyId {
    let key = NewKey {
        place: Default::default(),
        request: None,
        id: key_id(n),
        master_key: None,
        fingerprint: None,
        provider: "openai".into(),
        origin: "https://api.example.com".into(),
        limits,
        options: Default::default(),
        lifetime,
        scope: Default::default(),
        metadata: Map::from_iter([(
            "team".to_owned(),
            json!(if n.is_multiple_of(2) { "even" } else { "odd" }),
        )]),
    };
    store.key_create(key, &actor()).await.unwrap().id
}

async fn change(store: &Store, key: KeyId, change: KeyChange) -> Result<crate::KeyRecord, StoreError> {
    store.key_update(key, change, &actor()).await.map(|record| record.expect("the key exists"))
}

fn pause(paused: bool) -> KeyChange {
    KeyChange { paused: Some(paused), ..KeyChange::default() }
}

async fn an_expired_key_stays_expired_whatever_the_clock_says(place: &impl Place) {
    let time = FakeTime::at(BEGIN);
    let store = place.start_at(&time);
    let key = create_for(&store, 1, activations(9), expiring(1_000)).await;
    store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap().settle(Units::ONE_ACTIVATION);
    time.pass(999);
    store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap().settle(Units::ONE_ACTIVATION);
    time.pass(1);
    assert_eq!(code(&store, key).await, DenialCode::KeyExpired);
    // The clock is set back while it runs, and before the next start.
    time.set_wall(BEGIN - 50_000);
    assert_eq!(code(&store, key).await, DenialCode::KeyExpired);
    store.close().await.unwrap();
    let time = FakeTime::at(BEGIN - 50_000);
    let store = place.start_at(&time);
    assert_eq!(code(&store, key).await, DenialCode::KeyExpired);
    assert_eq!(fetch(&store, key).await.status, KeyStatus::Expired);
    // What is made now, by a clock that is behind, does not live longer either.
    assert!(store.now() >= Timestamp(BEGIN + 1_000));
    let late = create_for(&store, 2, activations(9), expiring(3_000)).await;
    time.pass(2_000);
    assert_eq!(code(&store, late).await, DenialCode::KeyExpired);
    let log = store.audit_list(0, 100).await.unwrap();
    let ends = log.iter().filter(|entry| entry.action == "key.expire");
    assert_eq!(
        ends.map(|entry| entry.target.clone()).collect::<Vec<_>>(),
        [key.to_string(), late.to_string()]
    );
}

async fn a_clock_that_jumps_forward_ends_keys_at_once(place: &impl Place) {
    let time = FakeTime::at(BEGIN);
    let store = place.start_at(&time);
    let key = create_for(&store, 1, activations(9), expiring(3_600_000)).await;
    let hold = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
    // The machine slept: its steady clock stood still.
    time.set_wall(BEGIN + 3_600_000);
    assert_eq!(code(&store, key).await, DenialCode::KeyExpired);
    assert_eq!(ask_and_leave(hold.key_ended().wait()).expect("told").code, DenialCode::KeyExpired);
    time.set_wall(BEGIN);
    assert_eq!(code(&store, key).await, DenialCode::KeyExpired);
    drop(hold);
    settled(&store).await;
    assert_eq!(fetch(&store, key).await.used.activations, 1, "what was in flight is spent");
}

async fn told_expired_is_expired_after_a_restart(place: &impl Place) {
    let time = FakeTime::at(BEGIN);
    let store = place.start_at(&time);
    let key = create_for(&store, 1, activations(9), expiring(500_000)).await;
    time.pass(500_000);
    // Nobody used it: the row says so only because somebody looked.
    assert_eq!(fetch(&store, key).await.status, KeyStatus::Expired);
    std::mem::forget(store.clone());
    store.close().await.unwrap();
    let store = place.start_at(&FakeTime::at(BEGIN + 1));
    assert_eq!(fetch(&store, key).await.status, KeyStatus::Expired);
    assert_eq!(code(&store, key).await, DenialCode::KeyExpired);
}

async fn the_end_reaches_everybody_who_holds(place: &impl Place) {
    let time = FakeTime::at(BEGIN);
    let store = place.start_at(&time);
    let key = create_for(&store, 1, Limits { tokens: Some(10), ..activations(9) }, expiring(1_000)).await;
    let all = Units { activations: 1, tokens: 10, spend_nanos: 0 };
    let hold = store.hold_exactly(key, all).await.unwrap();
    let mut ended = hold.key_ended();
    assert_eq!(ask_and_leave(ended.wait()), None);
    // One more waits for what is held.
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { store.hold_exactly(key, all).await })
    };
    time.pass(1_000);
    // Nobody asks for anything: the writer wakes up by itself.
    assert_eq!(ended.wait().await.code, DenialCode::KeyExpired);
    match waiting.await.unwrap() {
        Err(HoldRefusal::Denied(denial)) => assert_eq!(denial.code, DenialCode::KeyExpired),
        other => panic!("{other:?}"),
    }
    drop(hold);
    settled(&store).await;
    let record = fetch(&store, key).await;
    assert_eq!((record.status, record.used), (KeyStatus::Expired, all));
    assert_eq!(record.expired_at, at(1_000));
    // An admin gives it more time: what ended those before does not end those who come.
    let more = LifetimeChange { expires_at: Some(at(9_000)), ..Default::default() };
    let limits = LimitChange { tokens: Some(Some(20)), ..Default::default() };
    let record =
        change(&store, key, KeyChange { lifetime: more, limits, ..Default::default() }).await.unwrap();
    assert_eq!((record.status, record.expired_at), (KeyStatus::Active, None));
    let hold = store.hold_exactly(key, all).await.unwrap();
    assert_eq!(ask_and_leave(hold.key_ended().wait()), None);
    // The new end is awaited, also where it is set while the key is in use.
    let less = LifetimeChange { expires_at: Some(at(2_000)), ..Default::default() };
    change(&store, key, KeyChange { lifetime: less, ..Default::default() }).await.unwrap();
    time.pass(1_000);
    assert_eq!(hold.key_ended().wait().await.code, DenialCode::KeyExpired);
}

async fn a_pause_reaches_everybody_before_it_answers(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, activations(9)).await;
    let hold = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
    let paused = change(&store, key, KeyChange { paused_reason: Some("looks odd".into()), ..pause(true) })
        .await
        .unwrap();
    assert_eq!((paused.status, paused.paused_reason.as_deref()), (KeyStatus::Paused, Some("looks odd")));
    assert_eq!(ask_and_leave(hold.key_ended().wait()).expect("told already").code, DenialCode::KeyPaused);
    assert_eq!(code(&store, key).await, DenialCode::KeyPaused);
    let again = change(&store, key, pause(true)).await.unwrap();
    assert_eq!((again.paused_at, again.paused_reason), (paused.paused_at, paused.paused_reason));
    store.close().await.unwrap();
    let store = place.start();
    assert_eq!(code(&store, key).await, DenialCode::KeyPaused, "also after a restart");
    let record = change(&store, key, pause(false)).await.unwrap();
    assert_eq!((record.status, record.paused_at, record.paused_reason), (KeyStatus::Active, None, None));
    let hold = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
    assert_eq!(ask_and_leave(hold.key_ended().wait()), None);
    // A pause and its end at once, which the writer may see together: those who held before are told.
    let (first, second) = tokio::join!(change(&store, key, pause(true)), change(&store, key, pause(false)));
    first.unwrap();
    second.unwrap();
    assert_eq!(ask_and_leave(hold.key_ended().wait()).expect("told").code, DenialCode::KeyPaused);
    let next = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
    assert_eq!(ask_and_leave(next.key_ended().wait()), None);
    // And they are still told of everything else.
    store.key_revoke(key, &actor()).await.unwrap();
    assert_eq!(ask_and_leave(next.key_ended().wait()).expect("told").code, DenialCode::KeyRevoked);
}

async fn those_who_wait_hear_of_a_pause_at_once(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, Limits { tokens: Some(10), ..Limits::default() }).await;
    let all = Units { activations: 1, tokens: 10, spend_nanos: 0 };
    let held = store.hold_exactly(key, all).await.unwrap();
    let terms = store.key_terms(key).await.unwrap();
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move {
            store.hold(&terms, Demand::exactly(all), std::time::Duration::from_secs(3_600)).await
        })
    };
    settled(&store).await;
    change(&store, key, pause(true)).await.unwrap();
    match waiting.await.unwrap() {
        // Its terms are those before the pause: it is told to ask again, and then that the key is paused.
        Err(HoldRefusal::TermsChanged) => assert_eq!(code(&store, key).await, DenialCode::KeyPaused),
        Err(HoldRefusal::Denied(denial)) => assert_eq!(denial.code, DenialCode::KeyPaused),
        other => panic!("{other:?}"),
    }
    drop(held);
}

async fn the_status_of_a_row_is_that_of_the_ledger(place: &impl Place) {
    let time = FakeTime::at(BEGIN);
    let store = place.start_at(&time);
    let none = Lifetime::default;
    for (n, lifetime) in [
        (1, none()),
        (2, expiring(1_000)),
        (3, Lifetime { not_before: at(1_000), ..none() }),
        (4, Lifetime { activate_by: at(1_000), ..none() }),
        (5, Lifetime { activate_by: at(1_000), ..none() }),
        (6, Lifetime { idle_expiry_seconds: Some(1), ..none() }),
        (7, Lifetime { idle_expiry_seconds: Some(1), ..none() }),
        (8, none()),
        (9, none()),
    ] {
        create_for(&store, n, activations(3), lifetime).await;
    }
    let used = store.hold_exactly(key_id(5), Units::ONE_ACTIVATION).await.unwrap();
    let in_use = store.hold_exactly(key_id(7), Units::ONE_ACTIVATION).await.unwrap();
    store
        .hold_exactly(key_id(8), Units { activations: 3, ..Units::default() })
        .await
        .unwrap()
        .settle(Units { activations: 3, ..Units::default() });
    change(&store, key_id(8), pause(true)).await.unwrap();
    change(&store, key_id(9), pause(true)).await.unwrap();
    used.settle(Units::ONE_ACTIVATION);
    settled(&store).await;
    let check = async |expected: [KeyStatus; 9]| {
        for (n, status) in (1..).zip(expected) {
            assert_eq!(fetch(&store, key_id(n)).await.status, status, "key {n}");
        }
        for status in KeyStatus::ALL {
            let query = KeyQuery { status: Some(status), ..KeyQuery::default() };
            let listed = store.key_list(query).await.unwrap().len();
            assert_eq!(listed, expected.iter().filter(|one| **one == status).count(), "{status:?}");
        }
    };
    use KeyStatus::{Active, Exhausted, Expired, Paused, Pending};
    check([Active, Active, Pending, Active, Active, Active, Active, Exhausted, Paused]).await;
    time.pass(1_000);
    check([Active, Expired, Active, Expired, Active, Expired, Active, Exhausted, Paused]).await;
    drop(in_use);
    settled(&store).await;
    time.pass(999);
    assert_eq!(fetch(&store, key_id(7)).await.status, Active, "idle only from the end of its last request");
    time.pass(1);
    assert_eq!(fetch(&store, key_id(7)).await.status, Expired);
    for (n, expected) in
        [(2, DenialCode::KeyExpired), (4, DenialCode::KeyExpired), (7, DenialCode::KeyExpired)]
    {
        assert_eq!(code(&store, key_id(n)).await, expected, "key {n}");
    }
}

async fn limits_are_changed_in_one_step(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, activations(5)).await;
    for _ in 0..3 {
        store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap().settle(Units::ONE_ACTIVATION);
    }
    settled(&store).await;
    let to = |limit| KeyChange {
        limits: LimitChange { activations: Some(limit), ..Default::default() },
        ..Default::default()
    };
    // Below what is used: exhausted at once.
    let record = change(&store, key, to(Some(2))).await.unwrap();
    assert_eq!(
        (record.status, record.limits, record.used.activations),
        (KeyStatus::Exhausted, activations(2), 3)
    );
    assert_eq!(code(&store, key).await, DenialCode::ActivationsExhausted);
    // Raised again, by a sum.
    let add = KeyChange { add: Units { activations: 2, ..Units::default() }, ..Default::default() };
    assert_eq!(change(&store, key, add.clone()).await.unwrap().limits, activations(4));
    store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap().settle(Units::ONE_ACTIVATION);
    assert_eq!(code(&store, key).await, DenialCode::ActivationsExhausted);
    // Another bound in place of it.
    let limits = LimitChange { activations: Some(None), tokens: Some(Some(7)), ..Default::default() };
    let record = change(&store, key, KeyChange { limits, ..Default::default() }).await.unwrap();
    assert_eq!(record.limits, Limits { tokens: Some(7), ..Limits::default() });
    // A lying provider: the key is overrun, and goes on when an admin raises its limit.
    let units = Units { activations: 1, tokens: 7, spend_nanos: 0 };
    store.hold_exactly(key, units).await.unwrap().settle(Units { tokens: 100, ..units });
    assert_eq!(code(&store, key).await, DenialCode::TokensExhausted);
    let raised = LimitChange { tokens: Some(Some(107)), ..Default::default() };
    let record = change(&store, key, KeyChange { limits: raised, ..Default::default() }).await.unwrap();
    assert_eq!((record.status, record.used.tokens), (KeyStatus::Active, 100));
    store.hold_exactly(key, units).await.unwrap().settle(units);
    store.close().await.unwrap();
    let store = place.start();
    assert_eq!(fetch(&store, key).await.used.tokens, 107);
    let log = store.audit_list(0, 100).await.unwrap();
    let entry = log.iter().find(|entry| entry.action == "key.update").expect("in the log");
    let detail: serde_json::Value = serde_json::from_str(&entry.detail).unwrap();
    assert_eq!(detail["before"]["limits"]["activations"], 5);
    assert_eq!(detail["after"]["limits"]["activations"], 2);
    assert_eq!(detail["after"].as_object().unwrap().len(), 1, "only what differs");
}

async fn a_change_that_contradicts_itself_changes_nothing(place: &impl Place) {
    let time = FakeTime::at(BEGIN);
    let store = place.start_at(&time);
    let key = create_for(&store, 1, activations(5), expiring(9_000)).await;
    let before = fetch(&store, key).await;
    let lifetime = |lifetime| KeyChange { lifetime, ..Default::default() };
    let limits = |limits| KeyChange { limits, ..Default::default() };
    let add = |add| KeyChange { add, clamp: Some(false), ..Default::default() };
    for (wrong, part) in [
        (lifetime(LifetimeChange { expires_at: Some(at(0)), ..Default::default() }), "future"),
        (lifetime(LifetimeChange { not_before: Some(at(9_000)), ..Default::default() }), "never work"),
        (limits(LimitChange { activations: Some(None), ..Default::default() }), "at least one limit"),
        (limits(LimitChange { tokens: Some(Some(LIMIT_MAX + 1)), ..Default::default() }), "above"),
        (add(Units { tokens: 1, ..Units::default() }), "no limit of tokens"),
        (add(Units { activations: LIMIT_MAX, ..Units::default() }), "above"),
        (KeyChange { paused_reason: Some("x".into()), ..Default::default() }, "paused"),
    ] {
        match store.key_update(key, wrong, &actor()).await {
            Err(StoreError::Invalid { reason }) => assert!(reason.contains(part), "{reason}"),
            other => panic!("{other:?} instead of `{part}`"),
        }
        assert_eq!(fetch(&store, key).await, before);
    }
    assert_eq!(store.key_update(key_id(99), pause(true), &actor()).await, Ok(None));
    store.key_revoke(key, &actor()).await.unwrap();
    assert!(matches!(store.key_update(key, pause(true), &actor()).await, Err(StoreError::Invalid { .. })));
    let past = NewKey { id: key_id(7), ..new_key(expiring(0)) };
    assert!(matches!(store.key_create(past, &actor()).await, Err(StoreError::Invalid { .. })));
    assert_eq!(store.key_fetch(key_id(7)).await.unwrap(), None);
}

fn new_key(lifetime: Lifetime) -> NewKey {
    NewKey {
        place: Default::default(),
        request: None,
        id: key_id(1),
        master_key: None,
        fingerprint: None,
        provider: "openai".into(),
        origin: "https://api.example.com".into(),
        limits: activations(1),
        options: Default::default(),
        lifetime,
        scope: Default::default(),
        metadata: Map::new(),
    }
}

async fn changes_from_many_sides_all_count(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, activations(10)).await;
    let granted = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for n in 0..40_u64 {
        let (store, granted) = (store.clone(), Arc::clone(&granted));
        tasks.spawn(async move {
            let add = Units { activations: 5, ..Units::default() };
            let name = Some(Some(format!("change {n}")));
            change(&store, key, KeyChange { add, name, ..Default::default() }).await.unwrap();
            for _ in 0..9 {
                match store.hold_exactly(key, Units::ONE_ACTIVATION).await {
                    Ok(hold) => {
                        granted.fetch_add(1, Ordering::Relaxed);
                        hold.settle(Units::ONE_ACTIVATION);
                    }
                    Err(HoldRefusal::Denied(denial)) => {
                        assert_eq!(denial.code, DenialCode::ActivationsExhausted);
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    // Whatever is left now can be had, and not one more.
    while store.hold_exactly(key, Units::ONE_ACTIVATION).await.is_ok() {
        granted.fetch_add(1, Ordering::Relaxed);
    }
    let record = fetch(&store, key).await;
    assert_eq!((record.limits, record.used.activations), (activations(210), 210));
    assert_eq!(granted.load(Ordering::Relaxed), 210);
    let log = store.audit_list(0, 1_000).await.unwrap();
    assert_eq!(log.iter().filter(|entry| entry.action == "key.update").count(), 40);
    till_core::audit::verify_chain(&log).unwrap();
}

async fn old_terms_are_not_used_after_a_change(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, activations(10)).await;
    let terms = store.key_terms(key).await.unwrap();
    let limits = LimitChange { tokens: Some(Some(7)), ..Default::default() };
    let record =
        change(&store, key, KeyChange { limits, clamp: Some(false), ..Default::default() }).await.unwrap();
    assert!(!record.options.clamp);
    let refused = store.hold(&terms, Demand::ONE_ACTIVATION, std::time::Duration::ZERO).await;
    assert_eq!(refused.unwrap_err(), HoldRefusal::TermsChanged);
    let terms = store.key_terms(key).await.unwrap();
    assert!(terms.is_metered() && !terms.options().clamp);
}

async fn the_kill_switch_stops_everything_and_stays_on(place: &impl Place) {
    let store = place.start();
    let (one, two) = (create(&store, 1, activations(9)).await, create(&store, 2, activations(9)).await);
    let tokens = create(&store, 3, Limits { tokens: Some(10), ..Limits::default() }).await;
    let all = Units { activations: 1, tokens: 10, spend_nanos: 0 };
    let mut holds = vec![
        store.hold_exactly(one, Units::ONE_ACTIVATION).await.unwrap(),
        store.hold_exactly(two, Units::ONE_ACTIVATION).await.unwrap(),
        store.hold_exactly(tokens, all).await.unwrap(),
    ];
    let waiting = {
        let store = store.clone();
        tokio::spawn(async move { store.hold_exactly(tokens, all).await })
    };
    settled(&store).await;
    store.kill_switch_set(true, Some("leak".into()), &actor()).await.unwrap();
    for hold in &holds {
        assert_eq!(hold.ended().expect("told already").code, DenialCode::InstanceStopped);
        assert_eq!(ask_and_leave(hold.key_ended().wait()).expect("told").code, DenialCode::InstanceStopped);
    }
    match waiting.await.unwrap() {
        Err(HoldRefusal::Denied(denial)) => assert_eq!(denial.code, DenialCode::InstanceStopped),
        other => panic!("{other:?}"),
    }
    assert_eq!(code(&store, one).await, DenialCode::InstanceStopped);
    assert_eq!(fetch(&store, one).await.status, KeyStatus::Active, "it says nothing about a key");
    let since = store.kill_switch().expect("on").since;
    store.kill_switch_set(true, None, &actor()).await.unwrap();
    assert_eq!(store.kill_switch().expect("on").since, since);
    holds.drain(..).for_each(drop);
    store.close().await.unwrap();
    let store = place.start();
    assert_eq!(store.kill_switch().map(|switch| switch.since), Some(since), "also after a restart");
    assert_eq!(code(&store, two).await, DenialCode::InstanceStopped);
    store.kill_switch_set(false, None, &actor()).await.unwrap();
    store.kill_switch_set(false, None, &actor()).await.unwrap();
    assert_eq!(store.kill_switch(), None);
    let hold = store.hold_exactly(two, Units::ONE_ACTIVATION).await.unwrap();
    assert_eq!(hold.ended(), None);
    store.key_revoke(two, &actor()).await.unwrap();
    assert_eq!(hold.ended().expect("told").code, DenialCode::KeyRevoked);
    let log = store.audit_list(0, 100).await.unwrap();
    let turns = log.iter().filter(|entry| entry.action.starts_with("kill_switch"));
    let turns: Vec<&str> = turns.map(|entry| entry.action.as_str()).collect();
    assert_eq!(turns, ["kill_switch.on", "kill_switch.on", "kill_switch.off"]);
}

#[tokio::test]
async fn a_kill_switch_that_could_not_be_written_is_as_on_disk() {
    for (fault, is_on) in [(Fault::Fail, false), (Fault::WriteAndFail, true)] {
        let place = MemoryPlace::new();
        let store = place.start();
        let key = create(&store, 1, activations(9)).await;
        settled(&store).await;
        place.medium.script([fault]);
        assert!(store.kill_switch_set(true, None, &actor()).await.is_err());
        assert_eq!(store.hold_exactly(key, Units::ONE_ACTIVATION).await.is_err(), is_on, "{fault:?}");
        assert_eq!(store.kill_switch().is_some(), is_on);
    }
}

async fn many_keys_are_revoked_at_once(place: &impl Place) {
    let time = FakeTime::at(BEGIN);
    let store = place.start_at(&time);
    for n in 1..=6 {
        create_for(&store, n, activations(9), Lifetime::default()).await;
        time.pass(10);
    }
    drop(store.hold_exactly(key_id(2), Units::ONE_ACTIVATION).await.unwrap());
    let ids = async |query: KeyQuery| -> Vec<KeyId> {
        store.key_list(query).await.unwrap().into_iter().map(|key| key.id).collect()
    };
    let all = KeyQuery::default;
    let even = ids(KeyQuery { metadata: Some(("team".into(), "even".into())), ..all() }).await;
    assert_eq!(even, [key_id(6), key_id(4), key_id(2)]);
    assert_eq!(ids(KeyQuery { metadata: Some(("team".into(), "none".into())), ..all() }).await, []);
    assert_eq!(ids(KeyQuery { created_before: at(20), ..all() }).await, [key_id(2), key_id(1)]);
    let unused = ids(KeyQuery { last_used_before: at(25), ..all() }).await;
    assert_eq!(unused, [key_id(3), key_id(1)], "the second was used later");
    let hold = store.hold_exactly(key_id(4), Units::ONE_ACTIVATION).await.unwrap();
    store.keys_revoke([even, vec![key_id(99)]].concat(), &actor()).await.unwrap();
    assert_eq!(ask_and_leave(hold.key_ended().wait()).expect("told").code, DenialCode::KeyRevoked);
    for n in 1..=6 {
        let expected = if n % 2 == 0 { KeyStatus::Revoked } else { KeyStatus::Active };
        assert_eq!(fetch(&store, key_id(n)).await.status, expected);
    }
}

#[tokio::test]
async fn a_change_that_could_not_be_written_is_read_again() {
    for (fault, happened) in [(Fault::Fail, false), (Fault::WriteAndFail, true)] {
        let place = MemoryPlace::new();
        let store = place.start();
        let key = create(&store, 1, activations(9)).await;
        let hold = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
        settled(&store).await;
        place.medium.script([fault]);
        let limits = LimitChange { activations: Some(Some(2)), ..Default::default() };
        assert!(change(&store, key, KeyChange { limits, ..pause(true) }).await.is_err());
        assert_eq!(ask_and_leave(hold.key_ended().wait()), None, "nobody is told what may not be so");
        let terms = store.key_terms(key).await.unwrap();
        let limit = if happened { 2 } else { 9 };
        assert_eq!(terms.limits(), activations(limit), "{fault:?}");
        if happened {
            assert_eq!(code(&store, key).await, DenialCode::KeyPaused);
        }
        // Said again, it is so, and everybody is told.
        change(&store, key, pause(true)).await.unwrap();
        assert_eq!(ask_and_leave(hold.key_ended().wait()).expect("told").code, DenialCode::KeyPaused);
        // The end of the pause fails as well: who holds under it knows its end all the same.
        place.medium.script([fault]);
        assert!(change(&store, key, pause(false)).await.is_err());
        change(
            &store,
            key,
            KeyChange {
                limits: LimitChange { activations: Some(Some(5)), ..Default::default() },
                ..pause(false)
            },
        )
        .await
        .unwrap();
        let hold = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
        assert_eq!(ask_and_leave(hold.key_ended().wait()), None);
        store.key_revoke(key, &actor()).await.unwrap();
        assert_eq!(ask_and_leave(hold.key_ended().wait()).expect("told").code, DenialCode::KeyRevoked);
    }
}

#[tokio::test]
async fn told_expired_is_expired_after_a_crash() {
    let place = MemoryPlace::new();
    let time = FakeTime::at(BEGIN);
    let store = place.start_at(&time);
    let key = create_for(&store, 1, activations(9), expiring(500_000)).await;
    time.pass(500_000);
    assert_eq!(fetch(&store, key).await.status, KeyStatus::Expired);
    let place = place.crash(store);
    let store = place.start_at(&FakeTime::at(BEGIN + 1));
    assert_eq!(code(&store, key).await, DenialCode::KeyExpired);
}

/// … and so is what was over when anything durable was answered, however shortly before the crash the clock had jumped.
#[tokio::test]
async fn how_late_it_was_survives_a_crash() {
    let place = MemoryPlace::new();
    let time = FakeTime::at(BEGIN);
    let store = place.start_at(&time);
    let other = create_for(&store, 1, activations(9), Lifetime::default()).await;
    let key = create_for(&store, 2, activations(9), expiring(500_000)).await;
    time.set_wall(BEGIN + 501_000);
    store.hold_exactly(other, Units::ONE_ACTIVATION).await.unwrap().settle(Units::ONE_ACTIVATION);
    let place = place.crash(store);
    let store = place.start_at(&FakeTime::at(BEGIN + 1));
    assert_eq!(code(&store, key).await, DenialCode::KeyExpired);
}

#[tokio::test]
async fn a_pause_and_its_end_that_fail_together_change_nobody() {
    let place = MemoryPlace::new();
    let store = place.start();
    let key = create(&store, 1, activations(9)).await;
    let hold = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
    settled(&store).await;
    place.medium.script([Fault::None, Fault::Fail]);
    let mut tasks = JoinSet::new();
    {
        // While the writer is busy with one batch, both get into the next.
        let gate = place.medium.gate.lock().unwrap();
        assert!(ask_and_leave(store.audit_append("test.stall", "", json!({}), &actor())).is_none());
        while store.stats().queue_length > 0 {
            std::thread::yield_now();
        }
        for paused in [true, false] {
            let mut update = Box::pin({
                let store = store.clone();
                async move { store.key_update(key, pause(paused), &actor()).await }
            });
            let asked = update.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(asked.is_pending());
            tasks.spawn(update);
        }
        drop(gate);
    }
    while let Some(task) = tasks.join_next().await {
        assert!(matches!(task.unwrap(), Err(StoreError::Failed { .. })));
    }
    assert_eq!(fetch(&store, key).await.status, KeyStatus::Active);
    assert_eq!(ask_and_leave(hold.key_ended().wait()), None);
    // Who holds since before all that is still told of what comes.
    store.key_revoke(key, &actor()).await.unwrap();
    assert_eq!(ask_and_leave(hold.key_ended().wait()).expect("told").code, DenialCode::KeyRevoked);
}

#[tokio::test]
async fn who_is_over_is_cut_although_the_store_does_not_work() {
    let place = MemoryPlace::new();
    let time = FakeTime::at(BEGIN);
    let store = place.start_at(&time);
    let key = create_for(&store, 1, activations(9), expiring(1_000)).await;
    let hold = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
    place.medium.script([Fault::FailAndNotReopen; 500]);
    assert!(store.hold_exactly(key, Units::ONE_ACTIVATION).await.is_err());
    time.pass(1_000);
    assert_eq!(hold.key_ended().wait().await.code, DenialCode::KeyExpired);
    place.medium.heal();
    while !matches!(store.hold_exactly(key, Units::ONE_ACTIVATION).await, Err(HoldRefusal::Denied(_))) {
        tokio::task::yield_now().await;
    }
    assert_eq!(fetch(&store, key).await.expired_at, at(1_000));
}

/// The end was written and the write failed: it is on disk, and whoever holds has to hear of it all the same.
#[tokio::test]
async fn who_is_over_is_told_after_a_write_that_failed() {
    for fault in [Fault::Fail, Fault::WriteAndFail, Fault::FailAndNotReopen] {
        let place = MemoryPlace::new();
        let time = FakeTime::at(BEGIN);
        let store = place.start_at(&time);
        let key = create_for(&store, 1, activations(9), expiring(1_000)).await;
        let hold = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
        settled(&store).await;
        place.medium.script([fault]);
        time.pass(1_000);
        assert!(store.hold_exactly(key, Units::ONE_ACTIVATION).await.is_err());
        while !matches!(store.hold_exactly(key, Units::ONE_ACTIVATION).await, Err(HoldRefusal::Denied(_))) {
            tokio::task::yield_now().await;
        }
        let told = ask_and_leave(hold.key_ended().wait());
        assert_eq!(told.map(|denial| denial.code), Some(DenialCode::KeyExpired), "{fault:?}");
    }
}
