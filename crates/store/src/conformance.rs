//! One suite for every backend: what the store promises, whatever keeps its state.

pub(crate) mod faults;
mod place;

use std::collections::BTreeSet;
use std::future::Future;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use serde_json::{Map, json};
use till_core::audit::{Actor, ActorKind, verify_chain};
use till_core::denial::DenialCode;
use till_core::key::{KeyId, KeyStatus};
use till_core::limit::{LIMIT_MAX, Limits, Units};
use till_core::scope::Scope;

use crate::{DenialQuery, HoldRefusal, KeyQuery, KeyRecord, NewKey, Store, StoreError};
use place::{MemoryPlace, Place, SqlitePlace};

/// Runs every case on every backend.
macro_rules! on_every_backend {
    ($($case:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test] async fn $case() { super::$case(&super::SqlitePlace::new()).await; })*
        }
        mod memory {
            $(#[tokio::test] async fn $case() { super::$case(&super::MemoryPlace::new()).await; })*
        }
    };
}

// After the macro, which they use.
mod audit;
mod ceilings;
mod ceilings_under_faults;
mod claims;
mod credentials;
mod entities;
mod escrow;
mod life;
mod master_keys;
mod rates;
pub(crate) mod usage;
pub(crate) mod waiting;
mod waiting_below_ceilings;

on_every_backend! {
    exactly_n_from_many_callers,
    counts_survive_a_restart,
    the_end_of_a_hold_is_what_counts,
    holds_left_open_are_spent_at_the_next_start,
    a_caller_that_went_away_gets_nothing,
    an_unknown_key_is_denied_and_not_made,
    a_revocation_reaches_everybody_before_it_answers,
    a_scope_is_kept_with_its_key,
    keys_are_listed_newest_first,
    amounts_of_every_size_are_kept,
    admin_actions_are_in_the_audit_log,
    denials_are_counted_per_key_and_code,
    secrets_of_the_instance_are_kept,
    many_keys_do_not_stay_in_memory,
    activations_are_counted_per_month,
    after_the_end_nothing_works,
}

pub(super) fn actor() -> Actor {
    Actor {
        kind: ActorKind::Admin,
        id: "owner".into(),
        address: Some("127.0.0.1".into()),
        request_id: Some("req_1".into()),
    }
}

pub(super) fn key_id(n: u64) -> KeyId {
    KeyId(u128::from(n).to_be_bytes())
}

pub(super) fn activations(limit: u64) -> Limits {
    Limits { activations: Some(limit), ..Limits::default() }
}

pub(super) async fn create(store: &Store, n: u64, limits: Limits) -> KeyId {
    let key = NewKey {
        place: Default::default(),
        request: None,
        id: key_id(n),
        master_key: None,
        fingerprint: None,
        provider: if n.is_multiple_of(2) { "openai" } else { "anthropic" }.into(),
        origin: "https://api.example.com".into(),
        limits,
        options: Default::default(),
        lifetime: Default::default(),
        scope: Default::default(),
        metadata: Map::from_iter([("agent".to_owned(), json!(n))]),
    };
    store.key_create(key, &actor()).await.unwrap().id
}

/// Returns when everything that was settled before is durable.
pub(super) async fn settled(store: &Store) {
    store.audit_append("test.barrier", "", json!({}), &Actor::system()).await.unwrap();
}

pub(super) async fn fetch(store: &Store, key: KeyId) -> KeyRecord {
    store.key_fetch(key).await.unwrap().expect("the key exists")
}

pub(super) async fn code(store: &Store, key: KeyId) -> DenialCode {
    match store.hold_exactly(key, Units::ONE_ACTIVATION).await {
        Err(HoldRefusal::Denied(denial)) => denial.code,
        other => panic!("{other:?} instead of a denial"),
    }
}

/// Asks once, so that the request is on its way, and then goes away; with the answer if it came at once.
pub(super) fn ask_and_leave<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = Box::pin(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

async fn exactly_n_from_many_callers(place: &impl Place) {
    let store = place.start();
    for (n, limit) in [(1, 1_u64), (2, 50)] {
        let key = create(&store, n, activations(limit)).await;
        let callers: Vec<_> = (0..200)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move { store.hold_exactly(key, Units::ONE_ACTIVATION).await })
            })
            .collect();
        let mut remaining = BTreeSet::new();
        for caller in callers {
            match caller.await.unwrap() {
                Ok(hold) => {
                    assert!(
                        remaining.insert(hold.remaining().activations.unwrap()),
                        "each sees another remainder"
                    );
                    hold.settle(Units::ONE_ACTIVATION);
                }
                Err(HoldRefusal::Denied(denial)) => assert_eq!(denial.code, DenialCode::ActivationsExhausted),
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(remaining, (0..limit).collect());
        let record = fetch(&store, key).await;
        assert_eq!((record.used.activations, record.status), (limit, KeyStatus::Exhausted));
        assert!(record.last_used_at >= Some(record.created_at));
    }
}

async fn counts_survive_a_restart(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, activations(3)).await;
    let instance = store.instance_id();
    for left in [2, 1] {
        let store = if left == 1 { place.start() } else { store.clone() };
        assert_eq!(store.fenced(), None);
        assert_eq!(store.instance_id(), instance);
        let hold = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
        assert_eq!(hold.remaining().activations, Some(left));
        hold.settle(Units::ONE_ACTIVATION);
        store.close().await.unwrap();
    }
    let store = place.start();
    // A second handle of a store that is dropped, not closed, writes what is left as well.
    store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap().void();
    drop(store);
    let store = place.start();
    let record = fetch(&store, key).await;
    assert_eq!(record.used.activations, 2);
    assert_eq!(record.metadata["agent"], 1);
    assert_eq!((record.place.project.as_str(), record.provider.as_str()), ("default", "anthropic"));
    assert!(place.holds().is_empty());
}

async fn the_end_of_a_hold_is_what_counts(place: &impl Place) {
    let store = place.start();
    let limits = Limits { activations: None, tokens: Some(100), spend_nanos: Some(1_000) };
    let key = create(&store, 1, limits).await;
    let units = Units { activations: 1, tokens: 10, spend_nanos: 100 };
    let hold = store.hold_exactly(key, units).await.unwrap();
    assert_eq!(hold.remaining(), Limits { activations: None, tokens: Some(90), spend_nanos: Some(900) });
    assert_eq!(fetch(&store, key).await.used, units, "held units count as used");
    hold.settle(Units { activations: 1, tokens: 4, spend_nanos: 40 });
    settled(&store).await;
    assert_eq!(fetch(&store, key).await.used, Units { activations: 1, tokens: 4, spend_nanos: 40 });
    store.hold_exactly(key, units).await.unwrap().void();
    settled(&store).await;
    assert_eq!(fetch(&store, key).await.used.tokens, 4, "nothing was sent");
    drop(store.hold_exactly(key, units).await.unwrap());
    settled(&store).await;
    assert_eq!(fetch(&store, key).await.used.tokens, 14, "unknown is spent");
    // More than was held: charged in full, and the key stops.
    store.hold_exactly(key, units).await.unwrap().settle(Units {
        activations: 1,
        tokens: 500,
        spend_nanos: 1,
    });
    settled(&store).await;
    let record = fetch(&store, key).await;
    assert_eq!((record.used.tokens, record.status), (514, KeyStatus::Exhausted));
    assert_eq!(code(&store, key).await, DenialCode::TokensExhausted);
    assert_eq!(store.stats().overruns, 1);
    let log = store.audit_list(0, 100).await.unwrap();
    let overrun =
        log.iter().find(|entry| entry.action == "ledger.overrun" && entry.target == key.to_string());
    for detail in [overrun, log.iter().find(|entry| entry.action == "hold.exceeded")].map(|one| one.unwrap())
    {
        assert!(detail.detail.contains("\"project\":\"default\""), "{}", detail.detail);
    }
}

async fn holds_left_open_are_spent_at_the_next_start(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, activations(5)).await;
    let hold = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
    let late = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
    store.close().await.unwrap();
    assert_eq!(place.holds(), [false, false]);
    late.void();
    for starts in 1..3 {
        let store = place.start();
        let record = fetch(&store, key).await;
        assert_eq!(record.used.activations, 2, "start {starts}");
        assert_eq!(place.holds(), [true, true], "they stay to be listed");
        store.close().await.unwrap();
    }
    // Its process is long gone: nothing is given back.
    hold.void();
    let store = place.start();
    assert_eq!(fetch(&store, key).await.used.activations, 2);
    assert_eq!(
        store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap().remaining().activations,
        Some(2)
    );
}

async fn a_caller_that_went_away_gets_nothing(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, activations(1)).await;
    while let Some(answer) = ask_and_leave(store.hold_exactly(key, Units::ONE_ACTIVATION)) {
        // The writer was faster than this thread.
        answer.unwrap().void();
        settled(&store).await;
    }
    settled(&store).await;
    settled(&store).await;
    assert_eq!(fetch(&store, key).await.used.activations, 0);
    assert!(store.hold_exactly(key, Units::ONE_ACTIVATION).await.is_ok());
}

async fn an_unknown_key_is_denied_and_not_made(place: &impl Place) {
    let store = place.start();
    assert_eq!(code(&store, key_id(9)).await, DenialCode::InvalidKey);
    assert_eq!(store.key_fetch(key_id(9)).await.unwrap(), None);
    assert_eq!(store.key_revoke(key_id(9), &actor()).await.unwrap(), None);
    assert_eq!(store.key_list(KeyQuery::default()).await.unwrap(), []);
    assert_eq!(store.account_summary().await.unwrap().keys, 0);
    // It can be made afterwards, once.
    let key = create(&store, 9, activations(1)).await;
    let again = NewKey {
        place: Default::default(),
        request: None,
        id: key,
        master_key: None,
        fingerprint: None,
        provider: "x".into(),
        origin: "y".into(),
        limits: Limits::default(),
        options: Default::default(),
        lifetime: Default::default(),
        scope: Default::default(),
        metadata: Map::new(),
    };
    let conflict = store.key_create(again.clone(), &actor()).await;
    assert_eq!(conflict, Err(StoreError::Conflict { what: key.to_string() }));
    let absurd = NewKey { id: key_id(10), limits: activations(LIMIT_MAX + 1), ..again };
    assert!(matches!(store.key_create(absurd, &actor()).await, Err(StoreError::Invalid { .. })));
    assert_eq!(fetch(&store, key).await.limits, activations(1));
}

async fn a_scope_is_kept_with_its_key(place: &impl Place) {
    let scope: Scope = serde_json::from_value(json!({
        "endpoints": ["POST /v1/chat/completions", "GET /v1/models/*"],
        "models": ["gpt-4o*"],
        "parameters": {
            "maxOutputTokens": 9, "tools": false, "hostedTools": false, "store": false, "imageInput": false,
            "values": {"n": [1, 2], "temperature": [0.5], "é": ["\u{1f980}", true]},
        },
        "networks": ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7"],
    }))
    .unwrap();
    let store = place.start();
    let free = create(&store, 1, activations(9)).await;
    let key = NewKey {
        place: Default::default(),
        request: None,
        id: key_id(2),
        master_key: None,
        fingerprint: None,
        provider: "openai".into(),
        origin: "https://api.example.com".into(),
        limits: activations(9),
        options: Default::default(),
        scope: scope.clone(),
        lifetime: Default::default(),
        metadata: Map::new(),
    };
    let key = store.key_create(key, &actor()).await.unwrap().id;
    let check = async |store: &Store| {
        assert_eq!(fetch(store, key).await.scope, scope);
        assert_eq!(store.key_terms(key).await.unwrap().scope().map(|scope| &**scope), Some(&scope));
        assert_eq!(fetch(store, free).await.scope, Scope::default());
        assert!(store.key_terms(free).await.unwrap().scope().is_none());
        assert_eq!(store.key_list(KeyQuery::default()).await.unwrap()[0].scope, scope);
    };
    check(&store).await;
    let entries = store.audit_list(0, 100).await.unwrap();
    let detail = |key: KeyId| {
        let entry = entries.iter().find(|entry| entry.target == key.to_string()).unwrap();
        serde_json::from_str::<serde_json::Value>(&entry.detail).unwrap()
    };
    assert_eq!(detail(key)["scope"], json!(scope));
    assert_eq!(detail(free).get("scope"), None);
    store.close().await.unwrap();
    check(&place.start()).await;
}

async fn a_revocation_reaches_everybody_before_it_answers(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, activations(9)).await;
    let other = create(&store, 2, activations(9)).await;
    let hold = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
    let mut ended = hold.key_ended();
    let mut other_ended = store.hold_exactly(other, Units::ONE_ACTIVATION).await.unwrap().key_ended();
    assert_eq!(ask_and_leave(ended.wait()), None);
    assert_eq!(store.key_revoke_from(key, 2, &actor()).await, Err(StoreError::Changed));
    assert_eq!(store.key_revoke_from(key_id(99), 1, &actor()).await, Ok(None));
    assert_eq!(fetch(&store, key).await.status, KeyStatus::Active);
    let revoked = store.key_revoke_from(key, 1, &actor()).await.unwrap().expect("exists");
    assert_eq!(revoked.status, KeyStatus::Revoked);
    let told = ask_and_leave(ended.wait()).expect("told already");
    assert_eq!(told.code, DenialCode::KeyRevoked);
    assert_eq!(ask_and_leave(other_ended.wait()), None);
    assert_eq!(code(&store, key).await, DenialCode::KeyRevoked);
    let again = store.key_revoke(key, &actor()).await.unwrap().expect("exists");
    assert_eq!(again.revoked_at, revoked.revoked_at);
    // What is in flight is still charged.
    hold.settle(Units::ONE_ACTIVATION);
    store.close().await.unwrap();
    let store = place.start();
    assert_eq!(code(&store, key).await, DenialCode::KeyRevoked);
    assert_eq!(fetch(&store, key).await.used.activations, 1);
    let log = store.audit_list(0, 100).await.unwrap();
    assert_eq!(log.iter().filter(|entry| entry.action == "key.revoke").count(), 1);
}

async fn keys_are_listed_newest_first(place: &impl Place) {
    let store = place.start();
    for n in 1..=6 {
        create(&store, n, activations(u64::from(n != 3))).await;
    }
    store.key_revoke(key_id(5), &actor()).await.unwrap();
    let check = async |query: KeyQuery, expected: &[u64]| {
        let found: Vec<KeyId> =
            store.key_list(query.clone()).await.unwrap().iter().map(|key| key.id).collect();
        assert_eq!(found, expected.iter().map(|n| key_id(*n)).collect::<Vec<_>>(), "{query:?}");
    };
    let all = KeyQuery::default;
    check(all(), &[6, 5, 4, 3, 2, 1]).await;
    check(KeyQuery { limit: Some(2), ..all() }, &[6, 5]).await;
    check(KeyQuery { limit: Some(2), after: Some(key_id(5)), ..all() }, &[4, 3]).await;
    check(KeyQuery { after: Some(key_id(1)), ..all() }, &[]).await;
    check(KeyQuery { after: Some(key_id(99)), ..all() }, &[]).await;
    check(KeyQuery { limit: Some(0), ..all() }, &[]).await;
    check(KeyQuery { status: Some(KeyStatus::Exhausted), ..all() }, &[3]).await;
    check(KeyQuery { status: Some(KeyStatus::Revoked), ..all() }, &[5]).await;
    check(KeyQuery { status: Some(KeyStatus::Active), provider: Some("openai".into()), ..all() }, &[6, 4, 2])
        .await;
    check(KeyQuery { provider: Some("nobody".into()), ..all() }, &[]).await;
}

async fn amounts_of_every_size_are_kept(place: &impl Place) {
    let store = place.start();
    let limits = Limits { activations: Some(LIMIT_MAX), tokens: None, spend_nanos: Some(LIMIT_MAX) };
    let key = create(&store, 1, limits).await;
    let all = Units { activations: LIMIT_MAX - 1, tokens: u64::MAX, spend_nanos: LIMIT_MAX - 1 };
    let most = Units { activations: u64::MAX, ..all };
    assert!(matches!(store.hold_exactly(key, most).await, Err(HoldRefusal::Denied(_))));
    store.hold_exactly(key, all).await.unwrap().settle(Units { spend_nanos: 5, ..all });
    let open =
        store.hold_exactly(key, Units { activations: 0, tokens: u64::MAX, spend_nanos: 0 }).await.unwrap();
    std::mem::forget(open);
    store.close().await.unwrap();
    let store = place.start();
    let record = fetch(&store, key).await;
    assert_eq!(record.used, Units { spend_nanos: 5, ..all });
    assert_eq!((record.limits, record.status), (limits, KeyStatus::Active));
    let unbounded = Units { activations: 1, tokens: 0, spend_nanos: 0 };
    store.hold_exactly(key, unbounded).await.unwrap().settle(Units { spend_nanos: u64::MAX, ..unbounded });
    store.close().await.unwrap();
    let record = fetch(&place.start(), key).await;
    assert_eq!(record.used, Units { activations: LIMIT_MAX, tokens: u64::MAX, spend_nanos: u64::MAX });
    assert_eq!(record.status, KeyStatus::Exhausted);
}

async fn admin_actions_are_in_the_audit_log(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, activations(1)).await;
    entities::token_put(&store, "owner", None, 7).await.unwrap();
    store.audit_append("till.start", "instance", json!({"version": "1"}), &Actor::system()).await.unwrap();
    store.key_revoke(key, &actor()).await.unwrap();
    store.close().await.unwrap();
    let store = place.start();
    store.audit_append("till.start", "instance", json!({}), &Actor::system()).await.unwrap();
    let log = store.audit_list(0, 100).await.unwrap();
    assert_eq!(verify_chain(&log).unwrap().seq, 5);
    let actions: Vec<&str> = log.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["key.create", "token.put", "till.start", "key.revoke", "till.start"]);
    assert_eq!((&log[0].actor, log[0].target.as_str()), (&actor(), key.to_string().as_str()));
    let detail: serde_json::Value = serde_json::from_str(&log[0].detail).unwrap();
    assert_eq!(detail["limits"], json!({"activations": 1, "tokens": null, "spendNanos": null}));
    assert_eq!(store.audit_list(3, 1).await.unwrap(), log[3..4]);
    assert_eq!(store.audit_list(u64::MAX, 9).await.unwrap(), []);
}

async fn denials_are_counted_per_key_and_code(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, activations(0)).await;
    for _ in 0..40 {
        assert_eq!(code(&store, key).await, DenialCode::ActivationsExhausted);
    }
    for _ in 0..3 {
        store.denial_record(key, DenialCode::EndpointDenied);
    }
    assert_eq!(code(&store, key_id(77)).await, DenialCode::InvalidKey);
    assert!(store.stats().batches < 20, "a flood of denials is not a flood of transactions");
    while store.stats().denials < 43 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    settled(&store).await;
    let today = store.now().day();
    let all = DenialQuery { days: (0, u64::MAX), key: None, project: None, by_key: true };
    let sums = async |query: DenialQuery| {
        let mut sums = store.denial_sums(query).await.unwrap();
        sums.sort_by_key(|sum| sum.count);
        sums.into_iter().map(|sum| (sum.day, sum.key, sum.code, sum.count)).collect::<Vec<_>>()
    };
    let expected = [
        (today, Some(key), DenialCode::EndpointDenied, 3),
        (today, Some(key), DenialCode::ActivationsExhausted, 40),
    ];
    let of = |key| DenialQuery { key: Some(key), ..all.clone() };
    let of_project = |project: &str| DenialQuery { project: Some(project.into()), ..all.clone() };
    assert_eq!(sums(DenialQuery { days: (today, today + 1), ..all.clone() }).await, expected);
    assert_eq!(sums(of(key)).await, expected);
    assert_eq!(sums(DenialQuery { days: (0, today), ..all.clone() }).await, []);
    assert_eq!(sums(of(key_id(77))).await, []);
    assert_eq!(sums(of_project("default")).await, expected);
    assert_eq!(sums(of_project("other")).await, []);
    assert_eq!(sums(DenialQuery { by_key: false, ..of_project("other") }).await, []);
    assert_eq!(sums(DenialQuery { key: Some(key), ..of_project("other") }).await, []);
    let together = expected.map(|(day, _, code, count)| (day, None, code, count));
    for query in [all.clone(), of_project("default")] {
        assert_eq!(sums(DenialQuery { by_key: false, ..query }).await, together);
    }
    store.close().await.unwrap();
    let denials = place.denials();
    let total = |code| denials.iter().filter(|row| row.code == code).map(|row| row.count).sum::<u64>();
    assert_eq!(total(DenialCode::ActivationsExhausted), 40);
    assert_eq!(total(DenialCode::EndpointDenied), 3);
    assert!(denials.iter().all(|row| row.key == Some(key)), "an unknown key costs no row");
}

async fn secrets_of_the_instance_are_kept(place: &impl Place) {
    let store = place.start();
    assert_eq!(store.index_key_fetch().await.unwrap(), None);
    store.index_key_put(vec![1, 2, 3]).await.unwrap();
    store.index_key_put(vec![9]).await.unwrap();
    store.close().await.unwrap();
    let store = place.start();
    assert_eq!(store.index_key_fetch().await.unwrap(), Some(vec![1, 2, 3]), "only the first one counts");
}

async fn many_keys_do_not_stay_in_memory(place: &impl Place) {
    let store = place.start_with(4);
    let mut holds = Vec::new();
    for n in 1..=30 {
        let key = create(&store, n, activations(3)).await;
        store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap().settle(Units::ONE_ACTIVATION);
        if n <= 8 {
            holds.push(store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap());
        }
    }
    store.key_revoke(key_id(2), &actor()).await.unwrap();
    assert_eq!(holds[1].key_ended().wait().await.code, DenialCode::KeyRevoked, "a listener is not forgotten");
    holds.into_iter().for_each(|hold| hold.settle(Units::ONE_ACTIVATION));
    settled(&store).await;
    for n in 1..=30 {
        let used = fetch(&store, key_id(n)).await.used.activations;
        assert_eq!(used, if n <= 8 { 2 } else { 1 }, "key {n}");
    }
    let hold = store.hold_exactly(key_id(1), Units::ONE_ACTIVATION).await.unwrap();
    assert_eq!(hold.remaining().activations, Some(0));
}

async fn activations_are_counted_per_month(place: &impl Place) {
    let store = place.start();
    for n in 1..=3 {
        let key = create(&store, n, activations(9)).await;
        store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap().settle(Units::ONE_ACTIVATION);
        store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap().void();
        std::mem::forget(store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap());
    }
    settled(&store).await;
    let summary = store.account_summary().await.unwrap();
    assert_eq!((summary.keys, summary.activations_this_month), (3, 6));
    store.close().await.unwrap();
    assert_eq!(place.start().account_summary().await.unwrap(), summary);
}

async fn after_the_end_nothing_works(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, activations(9)).await;
    store.writable().await.unwrap();
    let hold = store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
    store.stop_granting();
    assert_eq!(code(&store, key).await, DenialCode::ShuttingDown);
    hold.void();
    settled(&store).await;
    assert_eq!(fetch(&store, key).await.used.activations, 0, "settles are still taken");
    let (first, second) = tokio::join!(store.close(), store.close());
    assert_eq!((first, second, store.close().await), (Ok(()), Ok(()), Ok(())));
    assert_eq!(store.key_fetch(key).await, Err(StoreError::Closed));
    assert_eq!(store.writable().await, Err(StoreError::Closed));
    assert_eq!(store.key_revoke(key, &actor()).await, Err(StoreError::Closed));
    store.denial_record(key, DenialCode::EndpointDenied);
    // The same process may open it again at once, although the old handle lives.
    assert_eq!(fetch(&place.start(), key).await.used.activations, 0);
}
