//! What many keys may use together.

use std::sync::Arc;
use std::time::Duration;

use till_core::demand::Demand;
use till_core::denial::DenialCode;
use till_core::key::KeyId;
use till_core::lifetime::Lifetime;
use till_core::limit::{Limits, Units};
use till_core::policy::{Ceilings, Policy, PolicyOwner};
use till_core::scope::{Glob, Scope};
use till_core::time::Timestamp;
use tokio::task::JoinSet;

use super::entities::project_put;
use super::escrow::draw;
use super::place::{MemoryPlace, Place, SqlitePlace};
use super::usage::record;
use super::{activations, actor, code, fetch, key_id, settled};
use crate::clock::FakeTime;
use crate::{
    Hold, HoldRefusal, KeyChange, KeyOptions, KeyPlace, KeyRecord, LifetimeChange, LimitChange, NewKey,
    Store, StoreError, UsageRecord,
};

on_every_backend! {
    many_keys_stay_below_their_ceiling,
    many_busy_keys_stay_below_their_ceiling_and_reach_it,
    what_a_key_has_counted_out_is_there_for_the_others,
    who_can_not_be_served_anyway_disturbs_nobody,
    a_ceiling_counts_through_restarts_and_crashes,
    a_crash_spends_what_is_counted_out_above_too,
    a_window_ends_and_the_next_begins,
    what_is_counted_out_ends_with_its_window,
    a_ceiling_that_is_set_later_counts_what_was_used,
    a_window_that_is_under_way_counts_the_calls_of_its_days,
    a_ceiling_that_is_set_later_holds_what_is_held,
    a_ceiling_that_is_set_later_holds_what_is_counted_out,
    what_is_forgiven_comes_back_to_ceilings_that_were_set_later,
    a_ceiling_per_day_or_month_that_is_set_later_counts_what_was_used_in_it,
    a_ceiling_that_was_away_counts_what_was_used_meanwhile,
    a_raised_ceiling_lets_go_on,
    every_owner_has_a_say,
    what_a_key_gives_back_serves_who_waits_for_another,
    a_ceiling_in_money_makes_a_key_metered,
    no_key_is_unbounded_under_a_ceiling_or_limits_that_it_must_keep,
    a_key_that_comes_back_is_one_more,
    rules_are_kept_when_keys_are_made_and_changed,
}

/// Noon of a day.
const NOON: u64 = 20_000 * DAY + DAY / 2;
const DAY: u64 = 86_400_000;

fn spend(nanos: u64) -> Limits {
    Limits { spend_nanos: Some(nanos), ..Limits::default() }
}

fn dollars(nanos: u64) -> Units {
    Units { activations: 1, tokens: 0, spend_nanos: nanos }
}

fn lifetime(limits: Limits) -> Policy {
    Policy { ceilings: Ceilings { lifetime: limits, ..Ceilings::default() }, ..Policy::default() }
}

/// So many activations in the project's lifetime, or no ceiling.
pub(super) fn activations_of_project(limit: Option<u64>) -> Policy {
    limit.map_or_else(Policy::default, |limit| lifetime(activations(limit)))
}

pub(super) fn tokens_of_project(limit: u64) -> Policy {
    lifetime(Limits { tokens: Some(limit), ..Limits::default() })
}

fn per_month(limits: Limits) -> Policy {
    Policy { ceilings: Ceilings { month: limits, ..Ceilings::default() }, ..Policy::default() }
}

pub(super) fn per_day(limits: Limits) -> Policy {
    Policy { ceilings: Ceilings { day: limits, ..Ceilings::default() }, ..Policy::default() }
}

fn new_key(n: u64, limits: Limits) -> NewKey {
    NewKey {
        place: KeyPlace { project: "a".into(), maker: None, credential: None },
        request: None,
        master_key: None,
        id: key_id(n),
        fingerprint: None,
        provider: "openai".into(),
        origin: "https://api.example.com".into(),
        limits,
        options: Default::default(),
        lifetime: Default::default(),
        scope: Default::default(),
        metadata: Default::default(),
    }
}

pub(super) async fn make(store: &Store, n: u64, limits: Limits) -> KeyId {
    make_in(store, "a", n, limits).await
}

pub(super) async fn make_in(store: &Store, project: &str, n: u64, limits: Limits) -> KeyId {
    let place = KeyPlace { project: project.into(), ..KeyPlace::default() };
    store.key_create(NewKey { place, ..new_key(n, limits) }, &actor()).await.unwrap().id
}

async fn many_keys_stay_below_their_ceiling(place: &impl Place) {
    let store = place.start();
    project_put(&store, "a", None, lifetime(spend(5_000))).await.unwrap();
    let mut keys = Vec::new();
    for n in 1..=50 {
        keys.push(make(&store, n, spend(1_000)).await);
    }
    let mut callers = JoinSet::new();
    for n in 0..200 {
        let (store, key) = (store.clone(), keys[n % keys.len()]);
        callers.spawn(async move {
            let mut sent = 0;
            loop {
                match store.hold_exactly(key, dollars(90)).await {
                    Ok(hold) => {
                        tokio::task::yield_now().await;
                        hold.settle(dollars(70));
                        sent += 70;
                    }
                    Err(HoldRefusal::Denied(denial)) => {
                        assert_eq!(denial.code, DenialCode::ProjectExhausted, "{denial:?}");
                        assert!(denial.message.contains("a ceiling that it shares"), "{denial:?}");
                        return sent;
                    }
                    Err(error) => panic!("{error:?}"),
                }
            }
        });
    }
    let sent: u64 = callers.join_all().await.iter().sum();
    // What is left is less than a call holds.
    assert!(sent <= 5_000 && sent > 5_000 - 90, "{sent}");
    let mut used = 0;
    for key in keys {
        used += fetch(&store, key).await.used.spend_nanos;
    }
    assert_eq!(used, sent);
}

/// Keys with units counted out ahead: what one does not use is there for the others.
async fn many_busy_keys_stay_below_their_ceiling_and_reach_it(place: &impl Place) {
    let store = place.start();
    project_put(&store, "a", None, lifetime(activations(20_000))).await.unwrap();
    let mut keys = Vec::new();
    for n in 1..=4 {
        keys.push(make(&store, n, activations(1_000_000)).await);
    }
    let mut callers = JoinSet::new();
    for n in 0..32 {
        let (store, key) = (store.clone(), keys[n % keys.len()]);
        callers.spawn(async move {
            let (mut sent, mut drawn) = (0_u64, 0_u64);
            loop {
                match store.hold_exactly(key, Units::ONE_ACTIVATION).await {
                    Ok(hold) => {
                        sent += 1;
                        drawn += u64::from(hold.is_drawn());
                        hold.settle(Units::ONE_ACTIVATION);
                    }
                    Err(HoldRefusal::Denied(denial)) => {
                        assert_eq!(denial.code, DenialCode::ProjectExhausted, "{denial:?}");
                        return (sent, drawn);
                    }
                    Err(error) => panic!("{error:?}"),
                }
            }
        });
    }
    let counts = callers.join_all().await;
    let (sent, drawn) = counts.into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert_eq!(sent, 20_000, "exactly as many as there are");
    assert!(drawn > 10_000, "{drawn} from memory");
}

async fn what_a_key_has_counted_out_is_there_for_the_others(place: &impl Place) {
    let store = place.start();
    project_put(&store, "a", None, lifetime(activations(5_000))).await.unwrap();
    let (busy, other) =
        (make(&store, 1, activations(9_000)).await, make(&store, 2, activations(9_000)).await);
    let hold = draw(&store, busy, Units::ONE_ACTIVATION).await;
    let left = Units { activations: hold.remaining().activations.unwrap(), ..Units::default() };
    // All of it at once, also what the busy key would have drawn next.
    store.hold_exactly(other, left).await.unwrap().settle(left);
    assert_eq!(code(&store, busy).await, DenialCode::ProjectExhausted);
    assert_eq!(code(&store, other).await, DenialCode::ProjectExhausted);
}

/// It is asked for all the time, and what its sisters have counted out would not help it.
async fn who_can_not_be_served_anyway_disturbs_nobody(place: &impl Place) {
    let store = place.start();
    project_put(&store, "a", None, lifetime(activations(1_000_000))).await.unwrap();
    let busy = make(&store, 1, activations(1_000_000)).await;
    let [paused, revoked, used_up] =
        [(2, 9), (3, 9), (4, 0)].map(|(n, limit)| make(&store, n, activations(limit)));
    let (paused, revoked, used_up) = (paused.await, revoked.await, used_up.await);
    let pause = KeyChange { paused: Some(true), ..KeyChange::default() };
    store.key_update(paused, pause, &actor()).await.unwrap();
    store.key_revoke(revoked, &actor()).await.unwrap();
    for key in [paused, revoked, used_up] {
        draw(&store, busy, Units::ONE_ACTIVATION).await.settle(Units::ONE_ACTIVATION);
        let mut drawn = 0;
        for _ in 0..30 {
            assert_ne!(code(&store, key).await, DenialCode::ProjectExhausted);
            let hold = store.hold_exactly(busy, Units::ONE_ACTIVATION).await.unwrap();
            drawn += u64::from(hold.is_drawn());
            hold.settle(Units::ONE_ACTIVATION);
        }
        assert!(drawn > 15, "{drawn} from memory beside {key}");
    }
}

async fn a_ceiling_counts_through_restarts_and_crashes(place: &impl Place) {
    let store = place.start();
    project_put(&store, "a", None, lifetime(activations(5))).await.unwrap();
    let (one, two) = (make(&store, 1, activations(9)).await, make(&store, 2, activations(9)).await);
    for key in [one, two] {
        store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap().settle(Units::ONE_ACTIVATION);
    }
    store.close().await.unwrap();
    let store = place.start();
    let hold = store.hold_exactly(one, Units::ONE_ACTIVATION).await.unwrap();
    assert_eq!(hold.remaining().activations, Some(2), "the least of what is left counts");
    // As a crash leaves it.
    std::mem::forget(hold);
    store.close().await.unwrap();
    let store = place.start();
    for key in [two, one] {
        store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap().settle(Units::ONE_ACTIVATION);
    }
    assert_eq!(code(&store, one).await, DenialCode::ProjectExhausted);
    assert_eq!(code(&store, two).await, DenialCode::ProjectExhausted);
    // The orphan is found not to have been used: it is free again, above the key too.
    let orphan = store.orphan_list(None, 9).await.unwrap().remove(0);
    assert!(store.orphan_forgive(orphan.id, &actor()).await.unwrap());
    store.hold_exactly(two, Units::ONE_ACTIVATION).await.unwrap().settle(Units::ONE_ACTIVATION);
    assert_eq!(code(&store, one).await, DenialCode::ProjectExhausted);
}

async fn a_crash_spends_what_is_counted_out_above_too(place: &impl Place) {
    let store = place.start();
    project_put(&store, "a", None, lifetime(activations(5_000))).await.unwrap();
    let (busy, other) =
        (make(&store, 1, activations(9_000)).await, make(&store, 2, activations(9_000)).await);
    let mut sent = 0;
    // As a crash leaves them.
    while !store.hold_exactly(busy, Units::ONE_ACTIVATION).await.map(leave).unwrap() {
        sent += 1;
    }
    sent += 1;
    store.close().await.unwrap();
    let store = place.start();
    let left = |store: &Store, key| {
        let store = store.clone();
        async move {
            let hold = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
            let left = hold.remaining().activations.unwrap() + 1;
            hold.void();
            settled(&store).await;
            left
        }
    };
    assert_eq!(left(&store, other).await, 5_000 - sent);
    let orphans = store.orphan_list(None, 1_000).await.unwrap();
    let escrow = orphans.iter().find(|orphan| orphan.is_escrow).expect("one was granted from memory");
    assert!(store.orphan_forgive(escrow.id, &actor()).await.unwrap());
    assert_eq!(left(&store, other).await, 5_000 - sent + escrow.units.activations);
}

/// Nobody ever says what came of it; whether it was granted from memory.
fn leave(hold: Hold) -> bool {
    let is_drawn = hold.is_drawn();
    std::mem::forget(hold);
    is_drawn
}

async fn a_window_ends_and_the_next_begins(place: &impl Place) {
    let time = FakeTime::at(NOON);
    let store = place.start_at(&time);
    project_put(&store, "a", None, per_day(activations(2))).await.unwrap();
    let key = make(&store, 1, activations(100)).await;
    let before = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
    store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap().settle(Units::ONE_ACTIVATION);
    assert_eq!(code(&store, key).await, DenialCode::ProjectExhausted);
    time.pass(DAY / 2);
    let held = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
    // A call that began yesterday was yesterday's.
    before.settle(Units::ONE_ACTIVATION);
    store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap().settle(Units::ONE_ACTIVATION);
    held.settle(Units::ONE_ACTIVATION);
    assert_eq!(code(&store, key).await, DenialCode::ProjectExhausted);
    assert_eq!(fetch(&store, key).await.used.activations, 4);
    store.close().await.unwrap();
    let store = place.start_at(&time);
    assert_eq!(code(&store, key).await, DenialCode::ProjectExhausted);
    time.pass(DAY);
    store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap().void();
}

/// A key that is busy when the window ends: its calls of the next window count there.
async fn what_is_counted_out_ends_with_its_window(place: &impl Place) {
    let time = FakeTime::at(NOON);
    let store = place.start_at(&time);
    // 2024-11-03 at noon, and 2024-12-04.
    for (n, policy, ends_in) in
        [(1, per_day(activations(1_000)), DAY / 2), (2, per_month(activations(1_000)), 28 * DAY)]
    {
        time.pass(30 * DAY);
        project_put(&store, "a", (n > 1).then_some(n - 1), policy).await.unwrap();
        let key = make(&store, n, activations(1_000_000)).await;
        draw(&store, key, Units::ONE_ACTIVATION).await.settle(Units::ONE_ACTIVATION);
        time.pass(ends_in - 1);
        draw(&store, key, Units::ONE_ACTIVATION).await.settle(Units::ONE_ACTIVATION);
        time.pass(1);
        let mut left = 1_000;
        while let Ok(hold) = store.hold_exactly(key, Units::ONE_ACTIVATION).await {
            left -= 1;
            assert_eq!(hold.remaining().activations, Some(left), "{n}");
            hold.settle(Units::ONE_ACTIVATION);
        }
        assert_eq!((left, code(&store, key).await), (0, DenialCode::ProjectExhausted), "{n}");
    }
}

async fn a_ceiling_that_is_set_later_counts_what_was_used(place: &impl Place) {
    let time = FakeTime::at(NOON);
    let store = place.start_at(&time);
    project_put(&store, "a", None, Policy::default()).await.unwrap();
    let (one, two) = (make(&store, 1, activations(100)).await, make(&store, 2, activations(100)).await);
    for key in [one, one, two] {
        store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap().settle(Units::ONE_ACTIVATION);
    }
    let open = store.hold_exactly(two, Units::ONE_ACTIVATION).await.unwrap();
    let ceilings = Ceilings { lifetime: activations(6), day: Limits::default(), month: Limits::default() };
    project_put(&store, "a", Some(1), Policy { ceilings, ..Policy::default() }).await.unwrap();
    // Three were used and one may be: two are left.
    store.hold_exactly(one, Units::ONE_ACTIVATION).await.unwrap().settle(Units::ONE_ACTIVATION);
    open.settle(Units::ONE_ACTIVATION);
    store.hold_exactly(two, Units::ONE_ACTIVATION).await.unwrap().settle(Units::ONE_ACTIVATION);
    for key in [one, two] {
        assert_eq!(code(&store, key).await, DenialCode::ProjectExhausted);
    }
    // What was used before by keys that are not in memory counts as well.
    store.close().await.unwrap();
    let store = place.start_at(&time);
    project_put(&store, "a", Some(2), lifetime(activations(7))).await.unwrap();
    store.hold_exactly(one, Units::ONE_ACTIVATION).await.unwrap().settle(Units::ONE_ACTIVATION);
    assert_eq!(code(&store, two).await, DenialCode::ProjectExhausted);
}

/// What is used of the ceilings of the project, that of the shortest window first.
async fn used(store: &Store, policy: &Policy) -> Vec<Units> {
    settled(store).await;
    let used = store.ceilings_used(PolicyOwner::Project, "a", policy).await.unwrap();
    used.into_iter().map(|(_, used)| used).collect()
}

/// A call that is in the records, as all real ones are.
async fn recorded(store: &Store, key: KeyId) -> Hold {
    let mut hold = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
    // Whatever clock its record comes with.
    hold.record(UsageRecord { at: Timestamp(1), ..record(key, "call") });
    hold
}

/// A call counts in the windows that it was granted in, by the clock of the store, also where it counts afterwards.
async fn a_window_that_is_under_way_counts_the_calls_of_its_days(place: &impl Place) {
    let time = FakeTime::at(NOON);
    let store = place.start_at(&time);
    project_put(&store, "a", None, Policy::default()).await.unwrap();
    let (one, two) = (make(&store, 1, activations(100)).await, make(&store, 2, activations(100)).await);
    let last_month = make(&store, 3, activations(100)).await;
    recorded(&store, last_month).await.settle(dollars(1_000));
    // The first of November.
    time.pass(28 * DAY);
    recorded(&store, one).await.settle(dollars(100));
    let (over_night, too_long) = (recorded(&store, one).await, recorded(&store, two).await);
    time.pass(DAY);
    // By the store's clock it is the second of November, whatever anybody sets.
    time.set_wall(NOON);
    recorded(&store, two).await.settle(dollars(10));
    settled(&store).await;
    recorded(&store, one).await.settle(dollars(3));
    too_long.settle(dollars(400));
    let both = Policy {
        ceilings: Ceilings { day: spend(5_000), month: spend(5_000), lifetime: spend(5_000) },
        ..Policy::default()
    };
    project_put(&store, "a", Some(1), both.clone()).await.unwrap();
    let expected = [(2, 13), (5, 514), (6, 1_514)];
    let expected = expected.map(|(activations, spend_nanos)| Units { activations, tokens: 0, spend_nanos });
    // One call of yesterday is open: it counts in the month.
    let open = Units { activations: 0, tokens: 0, spend_nanos: 1 };
    let seen = used(&store, &both).await;
    let less = |units: Units| units.zip(open, u64::saturating_sub);
    assert_eq!(seen, [expected[0], less(expected[1]), less(expected[2])]);
    over_night.settle(dollars(1));
    assert_eq!(used(&store, &both).await, expected);
    store.close().await.unwrap();
    let store = place.start_at(&time);
    assert_eq!(used(&store, &both).await, expected);
}

/// Calls in flight are in a ceiling that is set meanwhile: with what they come to, also where nothing was held for it.
async fn a_ceiling_that_is_set_later_holds_what_is_held(place: &impl Place) {
    let store = place.start();
    project_put(&store, "a", None, Policy::default()).await.unwrap();
    let key = make(&store, 1, activations(100)).await;
    let other = make(&store, 2, spend(10_000)).await;
    let counted = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
    let crashes = store.hold_exactly(other, dollars(70)).await.unwrap();
    let voided = store.hold_exactly(other, dollars(300)).await.unwrap();
    // They are in the tables, and not only in a journal.
    assert_eq!(fetch(&store, other).await.used.spend_nanos, 370);
    let ceiling = lifetime(spend(1_000));
    project_put(&store, "a", Some(1), ceiling.clone()).await.unwrap();
    assert_eq!(used(&store, &ceiling).await, [Units { activations: 3, ..dollars(370) }]);
    counted.settle(dollars(500));
    voided.void();
    assert_eq!(used(&store, &ceiling).await, [Units { activations: 2, ..dollars(570) }]);
    assert_eq!(store.stats().holds_exceeded, 0, "nothing was held for it, which is no fault of the provider");
    std::mem::forget(crashes);
    store.close().await.unwrap();
    let store = place.start();
    assert_eq!(used(&store, &ceiling).await, [Units { activations: 2, ..dollars(570) }], "it is spent");
    let left = store.hold_exactly(key, dollars(430)).await.unwrap();
    // What does not fit is over the ceiling, and nothing passes until it comes back and somebody looks.
    project_put(&store, "a", Some(2), Policy::default()).await.unwrap();
    let too_much = store.hold_exactly(other, dollars(50)).await.unwrap();
    project_put(&store, "a", Some(3), ceiling.clone()).await.unwrap();
    assert_eq!(used(&store, &ceiling).await, [Units { activations: 4, ..dollars(1_050) }]);
    assert_eq!(code(&store, other).await, DenialCode::ProjectExhausted);
    left.settle(dollars(430));
    too_much.void();
    project_put(&store, "a", Some(4), lifetime(spend(1_001))).await.unwrap();
    store.hold_exactly(other, dollars(1)).await.unwrap().settle(dollars(1));
    assert_eq!(code(&store, other).await, DenialCode::ProjectExhausted);
}

async fn a_ceiling_that_is_set_later_holds_what_is_counted_out(place: &impl Place) {
    let store = place.start();
    project_put(&store, "a", None, Policy::default()).await.unwrap();
    let key = make(&store, 1, activations(1_000_000)).await;
    let mut calls = 0;
    let drawn = loop {
        let hold = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
        calls += 1;
        if hold.is_drawn() {
            break hold;
        }
        hold.settle(Units::ONE_ACTIVATION);
    };
    let ceiling = lifetime(activations(1_000_000));
    project_put(&store, "a", Some(1), ceiling.clone()).await.unwrap();
    let of = |activations| Units { activations, ..Units::default() };
    assert_eq!(used(&store, &ceiling).await, [of(calls)]);
    let next = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
    drawn.void();
    next.settle(Units::ONE_ACTIVATION);
    assert_eq!(used(&store, &ceiling).await, [of(calls)]);
}

async fn what_is_forgiven_comes_back_to_ceilings_that_were_set_later(place: &impl Place) {
    let time = FakeTime::at(NOON);
    let store = place.start_at(&time);
    project_put(&store, "a", None, Policy::default()).await.unwrap();
    let key = make(&store, 1, activations(100)).await;
    std::mem::forget(recorded(&store, key).await);
    recorded(&store, key).await.settle(Units::ONE_ACTIVATION);
    store.close().await.unwrap();
    let store = place.start_at(&time);
    let both = activations(10);
    let both = Policy {
        ceilings: Ceilings { month: both, lifetime: both, ..Ceilings::default() },
        ..Policy::default()
    };
    project_put(&store, "a", Some(1), both.clone()).await.unwrap();
    let of = |activations| [Units { activations, ..Units::default() }; 2];
    assert_eq!(used(&store, &both).await, of(2));
    let orphan = store.orphan_list(None, 9).await.unwrap().remove(0);
    assert!(store.orphan_forgive(orphan.id, &actor()).await.unwrap());
    assert_eq!(used(&store, &both).await, of(1));
    store.close().await.unwrap();
    assert_eq!(used(&place.start_at(&time), &both).await, of(1));
}

async fn a_ceiling_per_day_or_month_that_is_set_later_counts_what_was_used_in_it(place: &impl Place) {
    let time = FakeTime::at(NOON - 10 * DAY);
    let mut store = place.start_at(&time);
    for project in ["a", "b"] {
        project_put(&store, project, None, Policy::default()).await.unwrap();
    }
    let (one, two) = (make(&store, 1, activations(100)).await, make(&store, 2, activations(100)).await);
    let of_b = KeyPlace { project: "b".into(), ..KeyPlace::default() };
    let other = NewKey { place: of_b, ..new_key(3, activations(100)) };
    let other = store.key_create(other, &actor()).await.unwrap().id;
    // The month before, the day before, and today.
    for (key, calls, then) in
        [(one, 11, 9 * DAY), (one, 5, DAY / 2), (two, 1, DAY / 2), (one, 3, 0), (other, 7, 0)]
    {
        for _ in 0..calls {
            recorded(&store, key).await.settle(Units::ONE_ACTIVATION);
        }
        settled(&store).await;
        time.pass(then);
    }
    let month = |limit| {
        let ceilings = Ceilings { month: activations(limit), ..Ceilings::default() };
        Policy { ceilings, ..Policy::default() }
    };
    for (version, policy) in [(1, per_day(activations(6))), (2, month(12)), (3, per_day(activations(9)))] {
        let open = recorded(&store, two).await;
        // Four of today and one that is open, then ten of the month and one, then five of today and one.
        project_put(&store, "a", Some(version), policy).await.unwrap();
        let mut left = Vec::new();
        while let Ok(hold) = store.hold_exactly(one, Units::ONE_ACTIVATION).await {
            left.push(hold);
        }
        assert_eq!(left.len(), if version == 3 { 3 } else { 1 }, "version {version}");
        left.into_iter().for_each(Hold::void);
        store.hold_exactly(other, Units::ONE_ACTIVATION).await.unwrap().void();
        if version == 1 {
            open.settle(Units::ONE_ACTIVATION);
        } else {
            open.void();
        }
        // From rows and records alone, without a key in memory.
        store.close().await.unwrap();
        store = place.start_at(&time);
    }
}

async fn a_ceiling_that_was_away_counts_what_was_used_meanwhile(place: &impl Place) {
    let store = place.start();
    project_put(&store, "a", None, lifetime(activations(5))).await.unwrap();
    let key = make(&store, 1, activations(100)).await;
    let once = async || {
        store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap().settle(Units::ONE_ACTIVATION);
    };
    once().await;
    project_put(&store, "a", Some(1), Policy::default()).await.unwrap();
    for _ in 0..3 {
        once().await;
    }
    project_put(&store, "a", Some(2), lifetime(activations(5))).await.unwrap();
    once().await;
    assert_eq!(code(&store, key).await, DenialCode::ProjectExhausted);
}

async fn a_raised_ceiling_lets_go_on(place: &impl Place) {
    let store = place.start();
    project_put(&store, "a", None, lifetime(activations(1))).await.unwrap();
    let key = make(&store, 1, activations(100)).await;
    store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap().settle(Units::ONE_ACTIVATION);
    assert_eq!(code(&store, key).await, DenialCode::ProjectExhausted);
    project_put(&store, "a", Some(1), lifetime(activations(2))).await.unwrap();
    store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap().settle(Units::ONE_ACTIVATION);
    project_put(&store, "a", Some(2), lifetime(activations(1))).await.unwrap();
    assert_eq!(code(&store, key).await, DenialCode::ProjectExhausted);
    project_put(&store, "a", Some(3), Policy::default()).await.unwrap();
    store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap().settle(Units::ONE_ACTIVATION);
}

async fn every_owner_has_a_say(place: &impl Place) {
    use crate::entity::{AdminToken, Put};
    use till_core::role::Role;
    let store = place.start();
    project_put(&store, "a", None, lifetime(activations(10))).await.unwrap();
    let is = AdminToken { policy: lifetime(activations(2)), ..super::entities::token(Role::Minter) };
    let put = Put { id: "tok_1".into(), version: None, is, lookups: None, ends: false };
    store.entity_put(put, "token.put", serde_json::json!({}), &actor()).await.unwrap();
    let made_by = |n, maker: Option<&str>| NewKey {
        place: KeyPlace { project: "a".into(), maker: maker.map(str::to_owned), credential: None },
        ..new_key(n, activations(100))
    };
    let by_token = store.key_create(made_by(1, Some("tok_1")), &actor()).await.unwrap().id;
    let by_other = store.key_create(made_by(2, None), &actor()).await.unwrap().id;
    for _ in 0..2 {
        store.hold_exactly(by_token, Units::ONE_ACTIVATION).await.unwrap().settle(Units::ONE_ACTIVATION);
    }
    assert_eq!(code(&store, by_token).await, DenialCode::ProjectExhausted);
    for _ in 0..8 {
        store.hold_exactly(by_other, Units::ONE_ACTIVATION).await.unwrap().settle(Units::ONE_ACTIVATION);
    }
    assert_eq!(code(&store, by_other).await, DenialCode::ProjectExhausted);
}

async fn what_a_key_gives_back_serves_who_waits_for_another(place: &impl Place) {
    let store = place.start();
    project_put(&store, "a", None, lifetime(spend(100))).await.unwrap();
    let (one, two) = (make(&store, 1, spend(1_000)).await, make(&store, 2, spend(1_000)).await);
    let hold = store.hold_exactly(one, dollars(80)).await.unwrap();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.hold_exactly(two, dollars(50)).await.map(|hold| hold.settle(dollars(50))) }
    });
    // It is in the queue once something that was asked for later is answered.
    settled(&store).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    hold.settle(dollars(10));
    waiting.await.unwrap().unwrap();
    settled(&store).await;
    let refused = store.hold_exactly(one, dollars(41)).await.unwrap_err();
    assert!(
        matches!(&refused, HoldRefusal::Denied(denial) if denial.code == DenialCode::ProjectExhausted),
        "{refused:?}"
    );
    store.hold_exactly(one, dollars(40)).await.unwrap().void();
}

async fn a_ceiling_in_money_makes_a_key_metered(place: &impl Place) {
    let store = place.start();
    project_put(&store, "a", None, Policy::default()).await.unwrap();
    let key = make(&store, 1, activations(100)).await;
    let old = store.key_terms(key).await.unwrap();
    assert!(!old.is_metered());
    project_put(&store, "a", Some(1), per_day(spend(700))).await.unwrap();
    // Whoever acts by the old terms is sent to read the new ones.
    let stale = store.hold(&old, Demand::exactly(Units::ONE_ACTIVATION), Duration::from_secs(1)).await;
    assert!(matches!(stale, Err(HoldRefusal::TermsChanged)), "{stale:?}");
    let new = store.key_terms(key).await.unwrap();
    assert_eq!((new.is_metered(), new.limits().spend_nanos), (true, Some(700)));
    assert!(!Arc::ptr_eq(&old, &new));
    store.close().await.unwrap();
    let store = place.start();
    assert!(store.key_terms(key).await.unwrap().is_metered());
}

async fn no_key_is_unbounded_under_a_ceiling_or_limits_that_it_must_keep(place: &impl Place) {
    let store = place.start();
    project_put(&store, "a", None, Policy::default()).await.unwrap();
    let options = KeyOptions { allow_unbounded: true, ..KeyOptions::default() };
    let unbounded = |n, limits| NewKey { options, ..new_key(n, limits) };
    let key = store.key_create(unbounded(1, spend(5)), &actor()).await.unwrap().id;
    let allows = async || store.key_terms(key).await.unwrap().allows_unbounded();
    assert!(allows().await, "its own limit is its own affair");
    let tokens = Limits { tokens: Some(100), ..Limits::default() };
    for (version, ceiling, allowed) in [
        (1, spend(100), false),
        (2, activations(100), true),
        (3, tokens, false),
        (4, Limits::default(), true),
    ] {
        project_put(&store, "a", Some(version), per_day(ceiling)).await.unwrap();
        assert_eq!(allows().await, allowed, "{ceiling:?}");
    }
    let key_limits = |limits| Policy { key_limits: limits, ..Policy::default() };
    project_put(&store, "a", Some(5), key_limits(activations(9))).await.unwrap();
    let both = Limits { activations: Some(9), ..spend(5) };
    store.key_create(unbounded(2, both), &actor()).await.unwrap();
    project_put(&store, "a", Some(6), key_limits(spend(5))).await.unwrap();
    let more = LimitChange { spend_nanos: Some(Some(4)), ..LimitChange::default() };
    let change = KeyChange { limits: more, ..KeyChange::default() };
    let made = store.key_create(unbounded(3, spend(5)), &actor()).await.map(drop);
    for refused in [made, store.key_update(key, change, &actor()).await.map(drop)] {
        let Err(StoreError::NotAllowed { reason }) = &refused else { panic!("{refused:?}") };
        assert!(reason.contains("danger_allow_unbounded") && reason.contains("key_limits"), "{reason}");
    }
    store.key_create(new_key(4, spend(5)), &actor()).await.unwrap();
}

async fn a_key_that_comes_back_is_one_more(place: &impl Place) {
    let time = FakeTime::at(NOON);
    let store = place.start_at(&time);
    project_put(&store, "a", None, Policy { live_keys: Some(2), ..Policy::default() }).await.unwrap();
    let until = |millis: u64| Lifetime { expires_at: Some(Timestamp(NOON + millis)), ..Lifetime::default() };
    let make = async |n| {
        store.key_create(NewKey { lifetime: until(1_000), ..new_key(n, activations(9)) }, &actor()).await
    };
    for n in [1, 2] {
        make(n).await.unwrap();
    }
    time.pass(1_000);
    let prolong = async |n| {
        let expires_at = Some(Some(Timestamp(NOON + 9_000)));
        let lifetime = LifetimeChange { expires_at, ..LifetimeChange::default() };
        store.key_update(key_id(n), KeyChange { lifetime, ..KeyChange::default() }, &actor()).await
    };
    store.key_create(new_key(3, activations(9)), &actor()).await.unwrap();
    let both: [_; 2] = tokio::join!(prolong(1), prolong(2)).into();
    let refused = both.iter().filter_map(|done| done.as_ref().err());
    let refused: Vec<String> = refused.map(ToString::to_string).collect();
    assert!(refused.len() == 1 && refused[0].contains("2 live keys"), "{both:?}");
    // One that is alive may live longer.
    let (alive, over) = if both[0].is_ok() { (1, 2) } else { (2, 1) };
    prolong(alive).await.unwrap();
    store.key_revoke(key_id(alive), &actor()).await.unwrap();
    prolong(over).await.unwrap();
}

async fn rules_are_kept_when_keys_are_made_and_changed(place: &impl Place) {
    let time = FakeTime::at(NOON);
    let store = place.start_at(&time);
    let glob = |text: &str| Glob::parse(text).unwrap();
    let rules = Policy {
        live_keys: Some(2),
        providers: Some(vec!["openai".into()]),
        models: Some(vec![glob("gpt-5*")]),
        key_limits: activations(10),
        key_lifetime_seconds: Some(60),
        ..Policy::default()
    };
    project_put(&store, "a", None, rules).await.unwrap();
    let until = |millis: u64| Lifetime { expires_at: Some(Timestamp(NOON + millis)), ..Lifetime::default() };
    let good = |n| NewKey { lifetime: until(60_000), ..new_key(n, activations(10)) };
    let refused = async |key: NewKey, part: &str| match store.key_create(key, &actor()).await {
        Err(StoreError::NotAllowed { reason }) => assert!(reason.contains(part), "{reason}"),
        other => panic!("{part}: {other:?}"),
    };
    refused(NewKey { provider: "anthropic".into(), ..good(1) }, "`provider`").await;
    refused(NewKey { limits: activations(11), ..good(1) }, "at most 10 activations").await;
    refused(NewKey { limits: spend(5), ..good(1) }, "at most 10 activations").await;
    refused(NewKey { lifetime: until(60_001), ..good(1) }, "60 seconds").await;
    let scope = Scope { models: Some(vec![glob("o3")]), ..Scope::default() };
    refused(NewKey { scope, ..good(1) }, "`scope.models`").await;
    let nowhere = KeyPlace { project: "b".into(), ..KeyPlace::default() };
    refused(NewKey { place: nowhere, ..good(1) }, "`project`").await;
    let no_credential = KeyPlace { credential: Some("gone".into()), ..good(1).place };
    refused(NewKey { place: no_credential, ..good(1) }, "`upstream`").await;

    let one = store.key_create(good(1), &actor()).await.unwrap();
    assert_eq!(one.scope.models, Some(vec![glob("gpt-5*")]), "it gets the models that it may ask");
    assert!(store.key_terms(one.id).await.unwrap().scope().is_some());
    let two = store.key_create(good(2), &actor()).await.unwrap();
    refused(good(3), "2 live keys").await;
    store.key_revoke(two.id, &actor()).await.unwrap();
    store.key_create(good(3), &actor()).await.unwrap();
    // Two made at once where one may be.
    time.pass(60_000);
    let late = |n| NewKey { lifetime: until(120_000), ..good(n) };
    store.key_create(late(4), &actor()).await.unwrap();
    let actor = actor();
    let both = tokio::join!(store.key_create(late(5), &actor), store.key_create(late(6), &actor));
    assert!(both.0.is_ok() != both.1.is_ok(), "{both:?}");

    let change = async |change: KeyChange| store.key_update(key_id(4), change, &actor).await;
    let more = LimitChange { activations: Some(Some(11)), ..LimitChange::default() };
    let refused = change(KeyChange { limits: more, ..KeyChange::default() }).await;
    assert!(matches!(refused, Err(StoreError::NotAllowed { .. })), "{refused:?}");
    let longer =
        LifetimeChange { expires_at: Some(Some(Timestamp(NOON + 120_001))), ..LifetimeChange::default() };
    let refused = change(KeyChange { lifetime: longer, ..KeyChange::default() }).await;
    assert!(matches!(refused, Err(StoreError::NotAllowed { .. })), "{refused:?}");
    // A rule that became stricter is of interest for what it is about.
    let strict = Policy { key_limits: activations(1), ..Policy::default() };
    project_put(&store, "a", Some(1), strict).await.unwrap();
    let name = KeyChange { name: Some(Some("x".into())), version: Some(1), ..KeyChange::default() };
    let named: KeyRecord = change(name.clone()).await.unwrap().unwrap();
    assert_eq!(named.version, 2);
    assert_eq!(change(name).await, Err(StoreError::Changed));
}
