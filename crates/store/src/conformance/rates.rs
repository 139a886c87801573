//! How often a key may be used: by a clock that the test sets.

use std::time::Duration;

use serde_json::Map;
use till_core::demand::Demand;
use till_core::denial::DenialCode;
use till_core::key::KeyId;
use till_core::limit::{Limits, Units};
use till_core::rate::Rates;

use super::ceilings::{make, tokens_of_project};
use super::entities::project_put;
use super::escrow::draw;
use super::place::{MemoryPlace, Place, SqlitePlace};
use super::{activations, actor, code, create, fetch, key_id, settled};
use crate::clock::FakeTime;
use crate::store::Bounds;
use crate::{HoldRefusal, KeyChange, KeyOptions, KeyPlace, NewKey, RateChange, Store};

on_every_backend! {
    rates_bound_the_moment,
    rates_are_changed_and_the_dead_say_so,
    a_cap_that_no_minute_has_room_for_is_lowered,
    a_rate_is_not_refilled_by_being_forgotten,
    a_rate_is_taken_once_although_others_have_units_counted_out,
}

const BEGIN: u64 = 1_800_000_000_000;

async fn create_rated(store: &Store, n: u64, rates: Rates) -> KeyId {
    create_rated_at(store, n, rates, KeyPlace::default()).await
}

async fn create_rated_at(store: &Store, n: u64, rates: Rates, place: KeyPlace) -> KeyId {
    let key = NewKey {
        place,
        request: None,
        fingerprint: None,
        id: key_id(n),
        master_key: None,
        provider: "openai".into(),
        origin: "https://api.example.com".into(),
        limits: Limits { tokens: Some(1_000_000), ..activations(1_000) },
        options: KeyOptions { rates, ..KeyOptions::default() },
        lifetime: Default::default(),
        scope: Default::default(),
        metadata: Map::new(),
    };
    store.key_create(key, &actor()).await.unwrap().id
}

async fn refused_for(store: &Store, key: KeyId, units: Units) -> (DenialCode, Option<Duration>) {
    match store.hold_exactly(key, units).await {
        Err(HoldRefusal::Denied(denial)) => (denial.code, denial.wait),
        other => panic!("{other:?} instead of a denial"),
    }
}

fn units(tokens: u64) -> Units {
    Units { activations: 1, tokens, spend_nanos: 0 }
}

async fn use_once(store: &Store, key: KeyId, tokens: u64) {
    store.hold_exactly(key, units(tokens)).await.unwrap().settle(units(tokens));
    settled(store).await;
}

fn late(seconds: u64) -> (DenialCode, Option<Duration>) {
    (DenialCode::RateLimited, Some(Duration::from_secs(seconds)))
}

async fn rates_bound_the_moment(place: &impl Place) {
    let time = FakeTime::at(BEGIN);
    let store = place.start_at(&time);
    let rates = Rates { requests_per_minute: Some(6), tokens_per_minute: Some(600), concurrent: Some(2) };
    let key = create_rated(&store, 1, rates).await;
    let first = store.hold_exactly(key, units(100)).await.unwrap();
    let second = store.hold_exactly(key, units(500)).await.unwrap();
    let crowded = (DenialCode::ConcurrencyLimited, Some(Duration::from_secs(1)));
    assert_eq!(refused_for(&store, key, units(0)).await, crowded);
    first.settle(units(100));
    settled(&store).await;
    assert_eq!(refused_for(&store, key, units(10)).await, late(1), "no tokens are left");
    second.settle(units(200));
    settled(&store).await;
    // What was held and not used is there again, and who was refused took nothing.
    use_once(&store, key, 300).await;
    for _ in 0..3 {
        use_once(&store, key, 0).await;
    }
    assert_eq!(refused_for(&store, key, units(0)).await, late(10));
    time.pass(9_000);
    assert_eq!(refused_for(&store, key, units(0)).await, late(1));
    // A wall clock that jumps refills nothing.
    time.set_wall(BEGIN + 3_600_000);
    assert_eq!(refused_for(&store, key, units(0)).await, late(1));
    time.pass(1_000);
    store.hold_exactly(key, units(0)).await.unwrap().void();
    settled(&store).await;
    use_once(&store, key, 0).await;
    assert_eq!(refused_for(&store, key, units(0)).await, late(10), "what was not sent is given back, once");
    time.pass(10_000);
    assert_eq!(refused_for(&store, key, units(601)).await, (DenialCode::RateLimited, None), "it never fits");
    let record = fetch(&store, key).await;
    assert_eq!((record.used.activations, record.options.rates), (7, rates));
    // More used than was held: the next ones wait longer than anybody should sleep.
    store.hold_exactly(key, units(1)).await.unwrap().settle(units(3_000));
    settled(&store).await;
    time.pass(10_000);
    let (code, wait) = refused_for(&store, key, units(600)).await;
    assert_eq!(code, DenialCode::RateLimited);
    assert!(wait > Some(Duration::from_secs(60)), "{wait:?}");
}

async fn rates_are_changed_and_the_dead_say_so(place: &impl Place) {
    let store = place.start();
    let key = create_rated(&store, 1, Rates { requests_per_minute: Some(1), ..Rates::default() }).await;
    use_once(&store, key, 0).await;
    assert_eq!(code(&store, key).await, DenialCode::RateLimited);
    let rates =
        RateChange { requests_per_minute: Some(None), concurrent: Some(Some(1)), ..Default::default() };
    let change = KeyChange { rates, ..Default::default() };
    let record = store.key_update(key, change, &actor()).await.unwrap().expect("exists");
    assert_eq!(record.options.rates, Rates { concurrent: Some(1), ..Rates::default() });
    let held = store.hold_exactly(key, units(0)).await.unwrap();
    assert_eq!(code(&store, key).await, DenialCode::ConcurrencyLimited);
    store.key_revoke(key, &actor()).await.unwrap();
    assert_eq!(code(&store, key).await, DenialCode::KeyRevoked);
    drop(held);
    store.close().await.unwrap();
    let store = place.start();
    assert_eq!(fetch(&store, key).await.options.rates, record.options.rates);
}

async fn a_cap_that_no_minute_has_room_for_is_lowered(place: &impl Place) {
    let store = place.start();
    let key = create_rated(&store, 1, Rates { tokens_per_minute: Some(600), ..Rates::default() }).await;
    let terms = store.key_terms(key).await.unwrap();
    assert!(terms.is_metered());
    let asked = Demand {
        tokens_fixed: 100,
        tokens_per_step: 2,
        steps_wanted: 9_000,
        steps_min: 1,
        ..Demand::ONE_ACTIVATION
    };
    let hold = store.hold(&terms, asked, Duration::from_secs(30)).await.unwrap();
    assert_eq!((hold.steps(), hold.units().tokens), (250, 600));
}

async fn a_rate_is_not_refilled_by_being_forgotten(place: &impl Place) {
    let time = FakeTime::at(BEGIN);
    let store = place
        .start_under(Bounds { loaded_max: 4, usage_retention: None, audit_retention: None }, time.clock());
    let key = create_rated(&store, 1, Rates { requests_per_minute: Some(1), ..Rates::default() }).await;
    use_once(&store, key, 0).await;
    for n in 2..40 {
        let other = create(&store, n, activations(3)).await;
        use_once(&store, other, 0).await;
    }
    assert_eq!(code(&store, key).await, DenialCode::RateLimited);
    time.pass(60_000);
    use_once(&store, key, 0).await;
}

async fn a_rate_is_taken_once_although_others_have_units_counted_out(place: &impl Place) {
    let time = FakeTime::at(BEGIN);
    let store = place.start_at(&time);
    let of_key = Limits { tokens: Some(1_000_000), ..Limits::default() };
    let rates = Rates { requests_per_minute: Some(2), tokens_per_minute: Some(10_000), ..Rates::default() };
    let asked = Demand { tokens_per_step: 1, steps_wanted: 128_000, steps_min: 1, ..Demand::ONE_ACTIVATION };
    // Its share of what is left above is what it asks for when its rate is considered, or less.
    for (n, left) in [(1, 100_000), (2, 12_000)] {
        project_put(&store, "a", (n > 1).then_some(1), tokens_of_project(left)).await.unwrap();
        let busy = make(&store, n, of_key).await;
        let at = KeyPlace { project: "a".into(), ..KeyPlace::default() };
        let key = create_rated_at(&store, 10 + n, rates, at).await;
        let terms = store.key_terms(key).await.unwrap();
        let mut undisturbed = 0;
        for _ in 0..10 {
            draw(&store, busy, units(1)).await.void();
            let hold = store.hold(&terms, asked, Duration::from_secs(30)).await.unwrap();
            assert_eq!(hold.steps(), 10_000, "{left}");
            hold.void();
            settled(&store).await;
            let hold = store.hold_exactly(busy, units(1)).await.unwrap();
            undisturbed += u64::from(hold.is_drawn());
            hold.void();
        }
        assert!(n > 1 || undisturbed > 5, "{undisturbed}: it got all that it may have");
        for _ in 0..2 {
            draw(&store, busy, units(1)).await.void();
            store.hold(&terms, asked, Duration::from_secs(30)).await.unwrap().settle(units(0));
            settled(&store).await;
        }
        assert_eq!(refused_for(&store, key, units(0)).await, late(30), "two were taken, and two refill");
    }
}
