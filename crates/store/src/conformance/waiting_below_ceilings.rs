//! Requests of several keys that wait for units of one ceiling: nobody is shut out by the others.

use std::sync::Arc;

use till_core::demand::Demand;
use till_core::denial::DenialCode;
use till_core::key::KeyId;

use super::actor;
use super::ceilings::{make, per_day, tokens_of_project};
use super::entities::project_put;
use super::escrow::draw;
use super::place::{MemoryPlace, Place, SqlitePlace};
use super::waiting::{
    Answer, PATIENCE, Waiting, answer, ask, denied, exactly, granted, looked_at, tokens, used,
    what_is_forgiven_serves_whoever_waits,
};
use crate::Store;
use crate::clock::FakeTime;

on_every_backend! {
    newcomers_of_other_keys_pass_a_bounded_number_of_times,
    calls_from_memory_pass_a_bounded_number_of_times,
    those_of_many_keys_are_served_in_order,
    who_waits_for_its_own_key_is_in_nobodys_way,
    one_key_does_not_take_all_places_at_a_ceiling,
    what_a_sister_is_forgiven_goes_to_those_who_wait,
    who_waits_gets_what_a_new_window_brings,
}

/// A ceiling of so many tokens, and so many keys below it that have more.
async fn keys_below(store: &Store, ceiling: u64, keys: u64) -> Vec<KeyId> {
    project_put(store, "a", None, tokens_of_project(ceiling)).await.unwrap();
    let mut made = Vec::new();
    for n in 1..=keys {
        made.push(make(store, n, tokens(1_000_000)).await);
    }
    made
}

async fn newcomers_of_other_keys_pass_a_bounded_number_of_times(place: &impl Place) {
    let store = place.start();
    let keys = keys_below(&store, 100, 4).await;
    let half = granted(&mut ask(&store, keys[0], exactly(50)).await);
    let mut first = ask(&store, keys[1], exactly(60)).await;
    let mut small = Vec::new();
    for n in 0..8 {
        small.push(granted(&mut ask(&store, keys[n % 3], exactly(1)).await));
    }
    let (mut ninth, mut dead) =
        (ask(&store, keys[2], exactly(1)).await, ask(&store, keys[3], exactly(1)).await);
    assert!(
        answer(&mut ninth).is_none() && answer(&mut dead).is_none(),
        "the first has been passed often enough"
    );
    // Whoever stands behind it is told of what has nothing to do with units.
    store.key_revoke(keys[3], &actor()).await.unwrap();
    looked_at(&store).await;
    assert_eq!(denied(answer(&mut dead).expect("at once")), DenialCode::KeyRevoked);
    assert_eq!(denied(store.hold_exactly(keys[3], used(1)).await), DenialCode::KeyRevoked);
    granted(&mut ask(&store, keys[0], exactly(0)).await).void();
    small.remove(0).settle(used(0));
    looked_at(&store).await;
    assert!(answer(&mut first).is_none() && answer(&mut ninth).is_none(), "one token too few");
    half.settle(used(0));
    looked_at(&store).await;
    granted(&mut first).settle(used(0));
    granted(&mut ninth).settle(used(0));
}

async fn calls_from_memory_pass_a_bounded_number_of_times(place: &impl Place) {
    let store = place.start();
    let keys = keys_below(&store, 100_000, 3).await;
    let half = granted(&mut ask(&store, keys[0], exactly(50_000)).await);
    draw(&store, keys[1], used(1)).await.void();
    let mut first = ask(&store, keys[2], exactly(60_000)).await;
    let mut passed = 0;
    while let Some(answer) = answer(&mut ask(&store, keys[1], exactly(1)).await) {
        answer.unwrap().void();
        passed += 1;
        assert!(passed <= 8, "{passed} calls passed");
    }
    assert!(answer(&mut first).is_none());
    half.settle(used(0));
    looked_at(&store).await;
    granted(&mut first).void();
}

async fn those_of_many_keys_are_served_in_order(place: &impl Place) {
    let store = place.start();
    let keys = keys_below(&store, 100, 6).await;
    let mut last = granted(&mut ask(&store, keys[0], exactly(100)).await);
    let mut queue = Vec::new();
    for n in [5, 1, 4, 2, 3, 0, 2, 5] {
        queue.push(ask(&store, keys[n], exactly(100)).await);
    }
    for next in 0..queue.len() {
        last.settle(used(0));
        looked_at(&store).await;
        let answers: Vec<Option<Answer>> = queue[next..].iter_mut().map(answer).collect();
        let served: Vec<bool> = answers.iter().map(Option::is_some).collect();
        assert!(served[0] && !served[1..].contains(&true), "{next}: {served:?}");
        last = answers.into_iter().flatten().next().expect("just seen").expect("was granted");
    }
}

/// Whatever it holds up behind it, that is its own key's.
async fn who_waits_for_its_own_key_is_in_nobodys_way(place: &impl Place) {
    let store = place.start();
    let keys = keys_below(&store, 1_000, 1).await;
    let narrow = make(&store, 9, tokens(100)).await;
    let all = granted(&mut ask(&store, narrow, exactly(100)).await);
    let mut waiting = ask(&store, narrow, exactly(60)).await;
    for _ in 0..50 {
        granted(&mut ask(&store, keys[0], exactly(1)).await).void();
    }
    let flexible = Demand { tokens_per_step: 1, steps_wanted: 400, steps_min: 1, ..Demand::ONE_ACTIVATION };
    let hold = granted(&mut ask(&store, keys[0], flexible).await);
    assert_eq!(hold.steps(), 400);
    all.settle(used(0));
    looked_at(&store).await;
    granted(&mut waiting).void();
    hold.void();
}

async fn one_key_does_not_take_all_places_at_a_ceiling(place: &impl Place) {
    let store = place.start();
    let keys = keys_below(&store, 100, 2).await;
    let all = granted(&mut ask(&store, keys[0], exactly(100)).await);
    let terms = store.key_terms(keys[0]).await.unwrap();
    let mut crowd: Vec<Waiting> = Vec::new();
    for _ in 0..1_024 {
        let (store, terms) = (store.clone(), Arc::clone(&terms));
        crowd.push(Box::pin(async move { store.hold(&terms, exactly(1), PATIENCE).await }));
        assert!(answer(crowd.last_mut().unwrap()).is_none(), "everything is held");
    }
    looked_at(&store).await;
    let mut one_more = ask(&store, keys[0], exactly(1)).await;
    assert_eq!(denied(answer(&mut one_more).expect("there is no place for it")), DenialCode::BudgetBusy);
    let mut other = ask(&store, keys[1], exactly(1)).await;
    assert!(answer(&mut other).is_none(), "it may wait");
    drop(crowd);
    all.settle(used(0));
    looked_at(&store).await;
    granted(&mut other).void();
}

async fn what_a_sister_is_forgiven_goes_to_those_who_wait(place: &impl Place) {
    let store = place.start();
    let keys = keys_below(&store, 100, 3).await;
    what_is_forgiven_serves_whoever_waits(place, store, [keys[0], keys[1], keys[2]]).await;
}

async fn who_waits_gets_what_a_new_window_brings(place: &impl Place) {
    let time = FakeTime::at(20_000 * 86_400_000);
    let store = place.start_at(&time);
    project_put(&store, "a", None, per_day(tokens(100))).await.unwrap();
    let (one, two) = (make(&store, 1, tokens(1_000)).await, make(&store, 2, tokens(1_000)).await);
    let all = granted(&mut ask(&store, one, exactly(100)).await);
    let mut waiting = Vec::new();
    // More than are looked at where nothing fits.
    for _ in 0..50 {
        waiting.push(ask(&store, two, exactly(2)).await);
    }
    assert!(answer(&mut waiting[0]).is_none());
    time.pass(86_400_000);
    for waiting in waiting {
        // By itself: nothing else happens that would wake the writer.
        tokio::time::timeout(PATIENCE / 3, waiting).await.expect("in time").unwrap().settle(used(2));
    }
    all.settle(used(1));
    assert_eq!(denied(store.hold_exactly(one, used(1)).await), DenialCode::ProjectExhausted);
}
