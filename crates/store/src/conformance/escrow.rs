//! Units counted out ahead: nothing that is promised of a hold is different for a call that is granted from memory.

use std::collections::BTreeSet;
use std::time::Duration;

use till_core::denial::DenialCode;
use till_core::key::{KeyId, KeyStatus};
use till_core::lifetime::Lifetime;
use till_core::limit::{Limits, Units};
use till_core::policy::{PolicyOwner, Window};
use till_core::rate::Rates;
use till_core::time::Timestamp;
use tokio::task::JoinSet;

use super::ceilings::{activations_of_project, make};
use super::entities::project_put;
use super::place::{MemoryPlace, Place, SqlitePlace};
use super::{activations, actor, ask_and_leave, code, create, fetch, key_id, settled};
use crate::clock::FakeTime;
use crate::command::Action;
use crate::{
    Durability, Hold, HoldRefusal, KeyChange, KeyOptions, KeyQuery, LimitChange, NewKey, Store, StoreError,
    UsageQuery,
};

on_every_backend! {
    exactly_n_although_most_calls_are_granted_from_memory,
    everybody_sees_another_remainder,
    figures_are_exact_whenever_they_are_read,
    reading_figures_takes_nothing_back,
    what_covers_a_call_is_on_disk_before_it_is_granted,
    a_crash_spends_what_is_counted_out_and_lists_it,
    a_stop_gives_back_what_is_not_drawn,
    no_call_is_granted_after_a_revocation_or_a_pause,
    what_an_admin_does_ends_it_at_once,
    the_last_unit_can_be_had_although_it_was_counted_out,
    no_call_is_granted_under_other_limits,
    the_kill_switch_stops_calls_that_are_granted_from_memory,
    a_key_ends_in_time_although_its_calls_are_granted_from_memory,
    money_that_is_not_used_is_drawn_again,
    more_than_was_drawn_is_charged_in_full,
    nothing_is_drawn_after_a_call_that_used_more_than_it_drew,
    nothing_is_drawn_under_a_limit_that_another_call_has_broken,
    a_key_may_have_a_hold_for_every_call,
    a_key_that_is_left_alone_gets_it_back,
}

const ONE: Units = Units::ONE_ACTIVATION;

/// Calls until one is granted from memory, and gives that one.
pub(super) async fn draw(store: &Store, key: KeyId, units: Units) -> Hold {
    for _ in 0..10_000 {
        let hold = store.hold_exactly(key, units).await.unwrap();
        if hold.is_drawn() {
            return hold;
        }
        hold.settle(units);
    }
    panic!("a key that is called all the time is called often");
}

async fn create_with(store: &Store, key: NewKey) -> KeyId {
    store.key_create(key, &actor()).await.unwrap().id
}

fn busy_key(n: u64) -> NewKey {
    NewKey {
        place: Default::default(),
        request: None,
        id: key_id(n),
        master_key: None,
        fingerprint: None,
        provider: "openai".into(),
        origin: "https://api.example.com".into(),
        limits: activations(1_000_000),
        options: KeyOptions::default(),
        lifetime: Lifetime::default(),
        scope: Default::default(),
        metadata: Default::default(),
    }
}

/// Calls from many tasks until nothing is left; how many were granted, and how many of them from memory.
async fn use_up(store: &Store, key: KeyId, units: Units) -> (u64, u64) {
    let mut callers = JoinSet::new();
    for _ in 0..32 {
        let store = store.clone();
        callers.spawn(async move {
            let (mut granted, mut drawn) = (0, 0);
            loop {
                match store.hold_exactly(key, units).await {
                    Ok(hold) => {
                        granted += 1;
                        drawn += u64::from(hold.is_drawn());
                        tokio::task::yield_now().await;
                        hold.settle(units);
                    }
                    Err(HoldRefusal::Denied(denial)) => {
                        let expected = [
                            DenialCode::ActivationsExhausted,
                            DenialCode::TokensExhausted,
                            DenialCode::SpendExhausted,
                        ];
                        assert!(expected.contains(&denial.code), "{denial:?}");
                        return (granted, drawn);
                    }
                    Err(error) => panic!("{error:?}"),
                }
            }
        });
    }
    let counts = callers.join_all().await;
    counts.into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

async fn exactly_n_although_most_calls_are_granted_from_memory(place: &impl Place) {
    let store = place.start();
    for (n, limit) in [(1, 20_000), (2, 999), (3, 200)] {
        let key = create(&store, n, activations(limit)).await;
        let (granted, drawn) = use_up(&store, key, ONE).await;
        assert_eq!(granted, limit);
        assert!(limit < 20_000 || drawn > limit / 2, "{drawn} of {limit} from memory");
        let record = fetch(&store, key).await;
        assert_eq!((record.used.activations, record.status), (limit, KeyStatus::Exhausted));
    }
    let money = Limits { activations: None, tokens: Some(900_000), spend_nanos: Some(10_000_000) };
    let key = create(&store, 4, money).await;
    let each = Units { activations: 1, tokens: 50, spend_nanos: 1_000 };
    let (granted, drawn) = use_up(&store, key, each).await;
    assert_eq!(granted, 10_000, "money is used up first");
    assert!(drawn > 5_000, "{drawn}");
    assert_eq!(fetch(&store, key).await.used.spend_nanos, 10_000_000);
    store.close().await.unwrap();
    assert!(place.holds().is_empty());
}

async fn everybody_sees_another_remainder(place: &impl Place) {
    let store = place.start();
    project_put(&store, "a", None, activations_of_project(Some(3_000))).await.unwrap();
    let alone = create(&store, 1, activations(3_000)).await;
    // What is left above is less than what is left of the key.
    let below = make(&store, 2, activations(9_000)).await;
    for key in [alone, below] {
        let mut seen = BTreeSet::new();
        let mut drawn = 0;
        for _ in 0..3_000 {
            let hold = store.hold_exactly(key, ONE).await.unwrap();
            drawn += u64::from(hold.is_drawn());
            assert!(seen.insert(hold.remaining().activations.unwrap()), "{key}");
            hold.settle(ONE);
        }
        assert_eq!(seen, (0..3_000).collect());
        assert!(drawn > 0);
    }
}

async fn figures_are_exact_whenever_they_are_read(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, activations(100_000)).await;
    let mut calls = 0;
    for _ in 0..20 {
        let mut open = Vec::new();
        for _ in 0..50 {
            open.push(store.hold_exactly(key, ONE).await.unwrap());
            calls += 1;
        }
        assert_eq!(fetch(&store, key).await.used.activations, calls, "held ones count");
        open.pop().unwrap().void();
        calls -= 1;
        open.into_iter().for_each(|hold| hold.settle(ONE));
        settled(&store).await;
        let records = store.key_list(Default::default()).await.unwrap();
        assert_eq!(records[0].used.activations, calls);
        assert!(records[0].last_used_at.is_some());
    }
    assert_eq!(store.account_summary().await.unwrap().activations_this_month, calls);
}

/// However much is read, calls go on to be granted from memory.
async fn reading_figures_takes_nothing_back(place: &impl Place) {
    let store = place.start();
    let policy = activations_of_project(Some(10_000_000));
    project_put(&store, "a", None, policy.clone()).await.unwrap();
    let mut keys = Vec::new();
    for n in 1..=2 {
        keys.push((make(&store, n, activations(1_000_000)).await, 0));
    }
    let mut open = Vec::new();
    for (key, used) in &mut keys {
        loop {
            let hold = store.hold_exactly(*key, ONE).await.unwrap();
            *used += 1;
            if hold.is_drawn() {
                open.push(hold);
                break;
            }
            hold.settle(ONE);
        }
    }
    let mut drawn = 0;
    for _ in 0..20 {
        for (key, used) in &keys {
            assert_eq!(fetch(&store, *key).await.used.activations, *used);
            let listed = store.key_list(KeyQuery::default()).await.unwrap();
            assert!(keys.iter().all(|(key, used)| {
                listed.iter().any(|one| one.id == *key && one.used.activations == *used)
            }));
            let all: u64 = keys.iter().map(|(_, used)| used).sum();
            let ceilings = store.ceilings_used(PolicyOwner::Project, "a", &policy).await.unwrap();
            assert_eq!(ceilings, [(Window::Lifetime, Units { activations: all, ..Units::default() })]);
            store.usage_list(UsageQuery::default()).await.unwrap();
            assert_eq!(
                store.account_summary().await.unwrap().activations_this_month,
                all - 2,
                "those that ended"
            );
            let hold = store.hold_exactly(*key, ONE).await.unwrap();
            drawn += u64::from(hold.is_drawn());
            hold.void();
        }
    }
    // One that nobody has used for a while may have been given back.
    assert!(drawn > 20, "{drawn} of 40");
}

async fn what_covers_a_call_is_on_disk_before_it_is_granted(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, activations(50_000)).await;
    let mut open = Vec::new();
    let mut drawn = 0;
    while drawn < 400 {
        let hold = store.hold_exactly(key, ONE).await.unwrap();
        drawn += u64::from(hold.is_drawn());
        open.push(hold);
        assert!(place.set_aside().activations >= open.len() as u64, "{} are not covered", open.len());
    }
    drop(open);
}

async fn a_crash_spends_what_is_counted_out_and_lists_it(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, activations(10_000)).await;
    let mut open = Vec::new();
    let mut drawn = 0;
    while drawn < 40 {
        let hold = store.hold_exactly(key, ONE).await.unwrap();
        drawn += u64::from(hold.is_drawn());
        open.push(hold);
    }
    // They never come back; what is written on the way out is what a crash leaves, but for what was not drawn.
    store.close().await.unwrap();
    let sent = open.len() as u64;
    let store = place.start();
    let used = fetch(&store, key).await.used.activations;
    assert_eq!(used, sent, "a clean stop gave back what was not drawn");
    let orphans = store.orphan_list(None, 1_000).await.unwrap();
    let escrow: Vec<_> = orphans.iter().filter(|orphan| orphan.is_escrow).collect();
    assert_eq!(escrow.iter().map(|orphan| orphan.units.activations).sum::<u64>(), drawn);
    assert_eq!(orphans.iter().map(|orphan| orphan.units.activations).sum::<u64>(), sent);
    assert_eq!(store.account_summary().await.unwrap().activations_this_month, sent);
    assert!(store.orphan_forgive(escrow[0].id, &actor()).await.unwrap());
    assert_eq!(fetch(&store, key).await.used.activations, sent - escrow[0].units.activations);
}

#[tokio::test]
async fn a_crash_burns_a_hundredth_of_what_is_left_and_no_more() {
    for round in 0..20 {
        let place = MemoryPlace::new();
        let store = place.start();
        let key = create(&store, 1, activations(10_000)).await;
        let mut sent = 0;
        for _ in 0..100 * round + 50 {
            store.hold_exactly(key, ONE).await.unwrap().settle(ONE);
            sent += 1;
        }
        let place = place.crash(store);
        let store = place.start();
        let used = fetch(&store, key).await.used.activations;
        assert!(used >= sent, "{used} for {sent}");
        assert!(used <= sent + (10_000 - sent) / 100, "{used} for {sent}");
        let (granted, _) = use_up(&store, key, ONE).await;
        assert_eq!(granted, 10_000 - used);
    }
}

/// Also when much comes back that calls in flight have drawn: it lies ahead no more than what was counted out.
#[tokio::test]
async fn a_crash_burns_no_more_when_much_came_back() {
    let place = MemoryPlace::new();
    let store = place.start();
    let key = create(&store, 1, Limits { tokens: Some(10_000), ..Limits::default() }).await;
    let mut holds = Vec::new();
    for _ in 0..400 {
        holds.push(store.hold_exactly(key, Units { tokens: 10, ..ONE }).await.unwrap());
    }
    assert!(holds.iter().filter(|hold| hold.is_drawn()).count() > 100);
    holds.into_iter().for_each(|hold| hold.settle(ONE));
    fetch(&store, key).await;
    settled(&store).await;
    let place = place.crash(store);
    let used = fetch(&place.start(), key).await.used.tokens;
    assert!(used <= 100, "{used} of 10,000 tokens were burnt, and all of them had come back");
}

/// However many keys are busy below it.
#[tokio::test]
async fn a_crash_burns_a_hundredth_of_a_ceiling_and_no_more() {
    const KEYS: u64 = 50;
    let place = MemoryPlace::new();
    let store = place.start();
    project_put(&store, "a", None, activations_of_project(Some(10_000))).await.unwrap();
    let mut callers = JoinSet::new();
    for n in 1..=KEYS {
        let key = make(&store, n, activations(1_000_000)).await;
        let store = store.clone();
        callers.spawn(async move {
            let mut drawn = 0;
            for _ in 0..40 {
                let hold = store.hold_exactly(key, ONE).await.unwrap();
                drawn += u64::from(hold.is_drawn());
                hold.settle(ONE);
            }
            drawn
        });
    }
    let drawn: u64 = callers.join_all().await.iter().sum();
    assert!(drawn > 0);
    let place = place.crash(store);
    let store = place.start();
    let (sent, mut used) = (40 * KEYS, 0);
    for n in 1..=KEYS {
        used += fetch(&store, key_id(n)).await.used.activations;
    }
    assert!((sent..=sent + 100).contains(&used), "{used} for {sent}");
    // What was burnt of the keys was burnt of the ceiling as well.
    let left = Units { activations: 10_000 - used, ..Units::default() };
    store.hold_exactly(key_id(1), left).await.unwrap().settle(left);
    assert_eq!(code(&store, key_id(2)).await, DenialCode::ProjectExhausted);
}

async fn a_stop_gives_back_what_is_not_drawn(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, activations(100_000)).await;
    let hold = draw(&store, key, ONE).await;
    store.stop_granting();
    let refused = store.hold_exactly(key, ONE).await;
    assert!(matches!(refused, Err(HoldRefusal::Denied(denial)) if denial.code == DenialCode::ShuttingDown));
    let used = fetch(&store, key).await.used.activations;
    hold.settle(ONE);
    store.close().await.unwrap();
    assert!(place.holds().is_empty());
    assert_eq!(fetch(&place.start(), key).await.used.activations, used);
}

async fn no_call_is_granted_after_a_revocation_or_a_pause(place: &impl Place) {
    let store = place.start();
    for (n, pauses) in [(1, true), (2, false)] {
        let key = create(&store, n, activations(1_000_000)).await;
        let terms = store.key_terms(key).await.unwrap();
        let hold = draw(&store, key, ONE).await;
        let mut ended = hold.key_ended();
        let expected = if pauses {
            let change = KeyChange { paused: Some(true), ..KeyChange::default() };
            store.key_update(key, change, &actor()).await.unwrap().unwrap();
            DenialCode::KeyPaused
        } else {
            store.key_revoke(key, &actor()).await.unwrap().unwrap();
            DenialCode::KeyRevoked
        };
        assert_eq!(ended.wait().await.code, expected);
        assert_eq!(hold.ended().map(|denial| denial.code), Some(expected));
        // Also not for somebody who has read the terms before.
        let demand = till_core::demand::Demand::ONE_ACTIVATION;
        let refused = store.hold(&terms, demand, Duration::ZERO).await;
        assert!(
            matches!(&refused, Err(HoldRefusal::TermsChanged))
                || matches!(&refused, Err(HoldRefusal::Denied(denial)) if denial.code == expected),
            "{refused:?}"
        );
        assert_eq!(code(&store, key).await, expected);
        let used = fetch(&store, key).await.used.activations;
        hold.void();
        settled(&store).await;
        assert_eq!(fetch(&store, key).await.used.activations, used - 1);
        if pauses {
            let change = KeyChange { paused: Some(false), ..KeyChange::default() };
            store.key_update(key, change, &actor()).await.unwrap().unwrap();
            assert!(draw(&store, key, ONE).await.ended().is_none());
        }
    }
}

/// Not only because whoever did it reads the key afterwards.
async fn what_an_admin_does_ends_it_at_once(place: &impl Place) {
    let store = place.start();
    let limits = LimitChange { activations: Some(Some(2_000_000)), ..LimitChange::default() };
    let actions = [
        Action::KeyRevoke(vec![key_id(1)]),
        Action::KeyUpdate(key_id(2), Box::new(KeyChange { limits, ..KeyChange::default() })),
        Action::KillSwitch { on: true, reason: None },
    ];
    for (n, action) in (1..).zip(actions) {
        let key = create(&store, n, activations(1_000_000)).await;
        let terms = store.key_terms(key).await.unwrap();
        draw(&store, key, ONE).await.settle(ONE);
        store.administer(action, &actor()).await.unwrap();
        let hold = store.hold(&terms, till_core::demand::Demand::ONE_ACTIVATION, Duration::ZERO).await;
        assert!(hold.is_err(), "{n}: {hold:?}");
    }
}

async fn the_last_unit_can_be_had_although_it_was_counted_out(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, activations(100_000)).await;
    let hold = draw(&store, key, ONE).await;
    let left = hold.remaining().activations.unwrap();
    let all = store.hold_exactly(key, Units { activations: left, ..Units::default() }).await.unwrap();
    assert_eq!(all.remaining().activations, Some(0));
    assert_eq!(code(&store, key).await, DenialCode::ActivationsExhausted);
}

/// Calls that want more while the write that counts it out is under way.
#[tokio::test]
async fn nothing_is_drawn_before_it_is_on_disk() {
    let place = MemoryPlace::new();
    let store = place.start();
    let key = create(&store, 1, activations(1_000_000)).await;
    let terms = store.key_terms(key).await.unwrap();
    let mut open = vec![draw(&store, key, ONE).await];
    let disk = place.medium.disk().clone();
    let covered: u64 = disk.holds.values().map(|(hold, _)| hold.units.activations).sum();
    let gate = place.medium.gate.lock().unwrap();
    let demand = till_core::demand::Demand::ONE_ACTIVATION;
    // More than what is counted out until now, and time for the writer to come as far as the gate.
    for _ in 0..50 {
        while let Some(Ok(hold)) = ask_and_leave(store.hold(&terms, demand, Duration::ZERO)) {
            open.push(hold);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(open.len() as u64 <= covered, "{} calls, and {covered} are covered", open.len());
    drop(gate);
    drop(open);
}

async fn no_call_is_granted_under_other_limits(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, activations(1_000_000)).await;
    draw(&store, key, ONE).await.settle(ONE);
    let used = fetch(&store, key).await.used.activations;
    draw(&store, key, ONE).await.void();
    let limits = LimitChange { activations: Some(Some(used)), ..LimitChange::default() };
    store.key_update(key, KeyChange { limits, ..KeyChange::default() }, &actor()).await.unwrap();
    assert_eq!(code(&store, key).await, DenialCode::ActivationsExhausted);
    let add = KeyChange { add: Units { activations: 500, ..Units::default() }, ..KeyChange::default() };
    let record = store.key_update(key, add, &actor()).await.unwrap().unwrap();
    let left = record.limits.activations.unwrap() - record.used.activations;
    assert_eq!(use_up(&store, key, ONE).await.0, left);
}

async fn the_kill_switch_stops_calls_that_are_granted_from_memory(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, activations(1_000_000)).await;
    let hold = draw(&store, key, ONE).await;
    store.kill_switch_set(true, None, &actor()).await.unwrap();
    assert_eq!(hold.ended().map(|denial| denial.code), Some(DenialCode::InstanceStopped));
    assert_eq!(code(&store, key).await, DenialCode::InstanceStopped);
    store.kill_switch_set(false, None, &actor()).await.unwrap();
    assert!(draw(&store, key, ONE).await.ended().is_none());
}

async fn a_key_ends_in_time_although_its_calls_are_granted_from_memory(place: &impl Place) {
    let time = FakeTime::at(1_000_000);
    let store = place.start_at(&time);
    let expires = Lifetime { expires_at: Some(Timestamp(1_060_000)), ..Lifetime::default() };
    let idle = Lifetime { idle_expiry_seconds: Some(60), ..Lifetime::default() };
    let mut keys = Vec::new();
    for (n, lifetime) in [(1, expires), (2, idle)] {
        keys.push(create_with(&store, NewKey { lifetime, ..busy_key(n) }).await);
        draw(&store, key_id(n), ONE).await.settle(ONE);
    }
    time.pass(59_999);
    for key in &keys {
        store.hold_exactly(*key, ONE).await.unwrap().settle(ONE);
    }
    settled(&store).await;
    time.pass(1);
    assert_eq!(code(&store, keys[0]).await, DenialCode::KeyExpired);
    assert_eq!(fetch(&store, keys[1]).await.status, KeyStatus::Active);
    time.pass(60_000);
    assert_eq!(fetch(&store, keys[1]).await.status, KeyStatus::Expired);
    assert_eq!(code(&store, keys[1]).await, DenialCode::KeyExpired);
}

async fn money_that_is_not_used_is_drawn_again(place: &impl Place) {
    let store = place.start();
    // A hundredth of it is 10 calls of what is set aside for each, and 1,000 of what each costs.
    let limits = Limits { spend_nanos: Some(10_000_000), ..Limits::default() };
    let key = create(&store, 1, limits).await;
    let (held, used) = (Units { spend_nanos: 10_000, ..ONE }, Units { spend_nanos: 100, ..ONE });
    let mut drawn = 0;
    for _ in 0..2_000 {
        let hold = store.hold_exactly(key, held).await.unwrap();
        drawn += u64::from(hold.is_drawn());
        hold.settle(used);
    }
    assert!(drawn > 1_000, "{drawn}");
    let record = fetch(&store, key).await;
    assert_eq!(record.used, Units { activations: 2_000, tokens: 0, spend_nanos: 200_000 });
}

async fn more_than_was_drawn_is_charged_in_full(place: &impl Place) {
    let store = place.start();
    let limits = Limits { tokens: Some(1_000_000), ..Limits::default() };
    let key = create(&store, 1, limits).await;
    let each = Units { tokens: 10, ..ONE };
    let hold = draw(&store, key, each).await;
    let before = fetch(&store, key).await.used.tokens;
    hold.settle(Units { tokens: 500, ..ONE });
    settled(&store).await;
    assert_eq!(fetch(&store, key).await.used.tokens, before - 10 + 500);
    assert_eq!((store.stats().holds_exceeded, store.stats().overruns), (1, 0));
    let hold = draw(&store, key, each).await;
    hold.settle(Units { tokens: 5_000_000, ..ONE });
    settled(&store).await;
    let record = fetch(&store, key).await;
    assert_eq!((record.used.tokens >= 5_000_000, record.status), (true, KeyStatus::Exhausted));
    assert_eq!(code(&store, key).await, DenialCode::TokensExhausted);
    assert_eq!((store.stats().holds_exceeded, store.stats().overruns), (2, 1));
}

/// Not even the call that comes right behind it, before the writer has looked.
async fn nothing_is_drawn_after_a_call_that_used_more_than_it_drew(place: &impl Place) {
    let store = place.start();
    let limits = Limits { tokens: Some(1_000_000), ..Limits::default() };
    let key = create(&store, 1, limits).await;
    let each = Units { tokens: 10, ..ONE };
    // Within the limit: it goes on, on exact figures.
    draw(&store, key, each).await.settle(Units { tokens: 500, ..ONE });
    let used = fetch(&store, key).await.used.tokens;
    let next = store.hold_exactly(key, each).await.unwrap();
    assert_eq!(next.remaining().tokens, Some(1_000_000 - used - 10));
    next.settle(each);
    draw(&store, key, each).await.settle(Units { tokens: 5_000_000, ..ONE });
    assert_eq!(code(&store, key).await, DenialCode::TokensExhausted);
    // What nothing limits breaks nothing.
    let key = create(&store, 2, activations(1_000_000)).await;
    draw(&store, key, ONE).await.settle(Units { tokens: 500, ..ONE });
    assert!(store.hold_exactly(key, ONE).await.unwrap().is_drawn());
}

/// A call with a hold of its own breaks a limit that those which are granted from memory need nothing of.
async fn nothing_is_drawn_under_a_limit_that_another_call_has_broken(place: &impl Place) {
    let store = place.start();
    let limits = Limits { tokens: Some(100), ..activations(1_000_000) };
    let key = create(&store, 1, limits).await;
    let hold = store.hold_exactly(key, Units { tokens: 10, ..ONE }).await.unwrap();
    draw(&store, key, ONE).await.settle(ONE);
    hold.settle(Units { tokens: 500, ..ONE });
    settled(&store).await;
    assert_eq!(code(&store, key).await, DenialCode::TokensExhausted);
}

async fn a_key_may_have_a_hold_for_every_call(place: &impl Place) {
    let store = place.start();
    let rates = Rates { requests_per_minute: Some(1_000_000), ..Rates::default() };
    let keys = [
        KeyOptions { durability: Durability::Call, ..KeyOptions::default() },
        KeyOptions { rates, ..KeyOptions::default() },
        KeyOptions { allow_unbounded: true, ..KeyOptions::default() },
    ];
    for (n, options) in (1..).zip(keys) {
        let key = create_with(&store, NewKey { options, ..busy_key(n) }).await;
        for _ in 0..200 {
            let hold = store.hold_exactly(key, ONE).await.unwrap();
            assert!(!hold.is_drawn(), "{options:?}");
            hold.settle(ONE);
        }
        let record = fetch(&store, key).await;
        assert_eq!((record.used.activations, record.options), (200, options));
    }
    let change = KeyChange { durability: Some(Durability::Ahead), ..KeyChange::default() };
    store.key_update(key_id(1), change, &actor()).await.unwrap();
    draw(&store, key_id(1), ONE).await.settle(ONE);
    let change = KeyChange { durability: Some(Durability::Call), ..KeyChange::default() };
    let record = store.key_update(key_id(1), change, &actor()).await.unwrap().unwrap();
    assert_eq!(record.options.durability, Durability::Call);
    assert!(!store.hold_exactly(key_id(1), ONE).await.unwrap().is_drawn());
}

async fn a_key_that_is_left_alone_gets_it_back(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, activations(1_000_000)).await;
    draw(&store, key, ONE).await.settle(ONE);
    // Within a part of a second; the test would hang otherwise.
    while !place.holds().is_empty() {
        tokio::task::yield_now().await;
    }
    let used = fetch(&store, key).await.used.activations;
    assert_eq!(
        store.hold_exactly(key, ONE).await.unwrap().remaining().activations,
        Some(1_000_000 - used - 1)
    );
}

#[tokio::test]
async fn a_fault_in_the_writer_ends_it() {
    let place = MemoryPlace::new();
    let store = place.start();
    let key = create(&store, 1, activations(1_000_000)).await;
    let hold = draw(&store, key, ONE).await;
    place.medium.script([crate::memory::Fault::Panic]);
    let _ = store.flush().await;
    while store.hold_exactly(key, ONE).await.map(|hold| hold.settle(ONE)).is_ok() {}
    assert_eq!(store.hold_exactly(key, ONE).await.unwrap_err(), HoldRefusal::Unavailable(StoreError::Closed));
    hold.settle(ONE);
}
