//! Keys that are handed over by a link: once, in time, and not again after a restart.

use serde_json::{Value, json};
use till_core::time::Timestamp;
use till_core::token::ClaimId;
use tokio::task::JoinSet;

use super::place::{MemoryPlace, Place, SqlitePlace};
use super::{activations, actor, create, key_id};
use crate::clock::FakeTime;
use crate::memory::Fault;
use crate::{Claim, NewClaim, NewKey, Store, StoreError};

on_every_backend! {
    a_claim_is_taken_by_one_of_many,
    a_claim_survives_a_restart_and_its_end_does_too,
    a_claim_ends_in_time,
    claims_that_are_over_are_cleared_away,
    a_key_and_its_claim_are_made_together,
}

const BEGIN: u64 = 1_800_000_000_000;
const ID: ClaimId = ClaimId([3; 16]);

fn new_key(n: u64) -> NewKey {
    NewKey {
        place: Default::default(),
        request: None,
        id: key_id(n),
        master_key: None,
        fingerprint: None,
        provider: "openai".into(),
        origin: "https://api.example.com".into(),
        limits: activations(9),
        options: Default::default(),
        lifetime: Default::default(),
        scope: Default::default(),
        metadata: Default::default(),
    }
}

fn claim(id: ClaimId, expires_at: u64) -> NewClaim {
    NewClaim { id, sealed: vec![7; 4000], expires_at: Timestamp(BEGIN + expires_at) }
}

async fn make(store: &Store, n: u64, claim: NewClaim) {
    let made = store.key_create_for_claim(new_key(n), claim, &actor()).await.unwrap();
    assert_eq!(made.id, key_id(n));
}

fn waiting(n: u64, expires_at: u64) -> Claim {
    let claim = claim(ID, expires_at);
    Claim { key: key_id(n), provider: "openai".into(), sealed: claim.sealed, expires_at: claim.expires_at }
}

async fn audit(store: &Store, action: &str) -> Vec<Value> {
    let log = store.audit_list(0, 1000).await.unwrap();
    let of_action = log.iter().filter(|entry| entry.action == action);
    of_action
        .map(|entry| {
            json!({"target": entry.target, "detail": serde_json::from_str::<Value>(&entry.detail).unwrap()})
        })
        .collect()
}

async fn a_claim_is_taken_by_one_of_many(place: &impl Place) {
    let time = FakeTime::at(BEGIN);
    let store = place.start_at(&time);
    make(&store, 1, claim(ID, 60_000)).await;
    create(&store, 2, activations(1)).await;
    let before = store.stats().batches;
    assert_eq!(store.claim_fetch(ID).await.unwrap(), Some(waiting(1, 60_000)));
    assert_eq!(store.claim_fetch(ClaimId([4; 16])).await.unwrap(), None);
    assert_eq!(store.stats().batches, before, "looking writes nothing");
    let mut takers = JoinSet::new();
    for _ in 0..32 {
        let store = store.clone();
        takers.spawn(async move { store.claim_take(ID, &actor()).await.unwrap() });
    }
    let taken = takers.join_all().await;
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 1);
    assert_eq!(place.claims(), 0, "gone from disk when somebody has it");
    assert_eq!(store.claim_fetch(ID).await.unwrap(), None);
    assert!(!store.claim_take(ID, &actor()).await.unwrap());
    assert_eq!(
        audit(&store, "key.claim").await,
        [json!({"target": key_id(1).to_string(), "detail": {"project": "default"}})]
    );
    let made = audit(&store, "key.create").await;
    assert_eq!(made[0]["detail"]["claim"], true);
    assert_eq!(made[0]["detail"]["claimExpiresAt"], Timestamp(BEGIN + 60_000).to_string());
    assert_eq!(made[1]["detail"].get("claim"), None);
}

async fn a_claim_survives_a_restart_and_its_end_does_too(place: &impl Place) {
    let time = FakeTime::at(BEGIN);
    let store = place.start_at(&time);
    make(&store, 1, claim(ID, 60_000)).await;
    store.close().await.unwrap();
    let store = place.start_at(&time);
    assert_eq!(store.claim_fetch(ID).await.unwrap(), Some(waiting(1, 60_000)));
    assert!(store.claim_take(ID, &actor()).await.unwrap());
    store.close().await.unwrap();
    let store = place.start_at(&time);
    assert_eq!(store.claim_fetch(ID).await.unwrap(), None);
    assert!(!store.claim_take(ID, &actor()).await.unwrap());
}

async fn a_claim_ends_in_time(place: &impl Place) {
    let time = FakeTime::at(BEGIN);
    let store = place.start_at(&time);
    let other = ClaimId([4; 16]);
    make(&store, 1, claim(ID, 1_000)).await;
    make(&store, 2, claim(other, 1_000)).await;
    time.pass(999);
    assert!(store.claim_fetch(ID).await.unwrap().is_some());
    time.pass(1);
    assert_eq!(store.claim_fetch(ID).await.unwrap(), None);
    assert_eq!(place.claims(), 1, "whoever looks clears it away");
    assert!(!store.claim_take(other, &actor()).await.unwrap(), "also for who looked before");
    assert_eq!(place.claims(), 0);
    time.set_wall(BEGIN);
    assert_eq!(store.claim_fetch(ID).await.unwrap(), None);
    assert_eq!(audit(&store, "key.claim").await, [] as [Value; 0]);
}

async fn claims_that_are_over_are_cleared_away(place: &impl Place) {
    let time = FakeTime::at(BEGIN);
    let store = place.start_at(&time);
    make(&store, 1, claim(ID, 1_000)).await;
    make(&store, 2, claim(ClaimId([4; 16]), 90_000)).await;
    store.close().await.unwrap();
    time.pass(2_000);
    // The first look is at the start, whether records are kept for ever or not.
    let store = place.start_at(&time);
    store.flush().await.unwrap();
    store.close().await.unwrap();
    assert_eq!(place.claims(), 1);
}

async fn a_key_and_its_claim_are_made_together(place: &impl Place) {
    let time = FakeTime::at(BEGIN);
    let store = place.start_at(&time);
    make(&store, 1, claim(ID, 1_000)).await;
    let again = store.key_create_for_claim(new_key(2), claim(ID, 1_000), &actor()).await;
    assert!(matches!(again, Err(StoreError::Conflict { .. })), "{again:?}");
    let late = store.key_create_for_claim(new_key(3), claim(ClaimId([4; 16]), 0), &actor()).await;
    assert!(matches!(late, Err(StoreError::Invalid { .. })), "{late:?}");
    for n in [2, 3] {
        assert_eq!(store.key_fetch(key_id(n)).await.unwrap(), None);
    }
    assert_eq!(place.claims(), 1);
}

/// What could not be written is not handed over; what may have been written is not handed over twice.
#[tokio::test]
async fn a_failed_write_hands_nothing_over() {
    let place = MemoryPlace::new();
    let time = FakeTime::at(BEGIN);
    let store = place.start_at(&time);
    make(&store, 1, claim(ID, 1_000)).await;
    place.medium.script([Fault::Fail]);
    assert!(store.claim_take(ID, &actor()).await.is_err());
    assert_eq!(store.claim_fetch(ID).await.unwrap(), Some(waiting(1, 1_000)));
    place.medium.script([Fault::WriteAndFail]);
    assert!(store.claim_take(ID, &actor()).await.is_err());
    assert!(!store.claim_take(ID, &actor()).await.unwrap());
    assert_eq!(audit(&store, "key.claim").await.len(), 1);
}
