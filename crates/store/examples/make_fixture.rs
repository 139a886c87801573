//! Writes the data directory that `tests/it/fixture.rs` opens: `cargo run -p till-store --example
//! make_fixture -- DIRECTORY`. To be run once for every schema version, before the next one is made; the
//! result is committed and never changed.

#![allow(clippy::unwrap_used)]

use serde_json::{Map, json};
use till_core::audit::{Actor, ActorKind};
use till_core::denial::DenialCode;
use till_core::key::KeyId;
use till_core::limit::{Limits, Units};
use till_core::role::Role;
use till_core::time::Timestamp;
use till_store::{AdminToken, Lookup, NewKey, OpenOptions, Outcome, Put, Store, TokenCounts, UsageRecord};

async fn create(store: &Store, n: u8, limits: Limits) -> KeyId {
    let owner = Actor {
        kind: ActorKind::Admin,
        id: "owner".into(),
        address: Some("127.0.0.1".into()),
        request_id: Some(format!("req_{n}")),
    };
    let key = NewKey {
        place: Default::default(),
        request: None,
        id: KeyId([n; 16]),
        master_key: None,
        fingerprint: None,
        provider: "openai".into(),
        origin: "https://api.openai.com".into(),
        limits,
        options: Default::default(),
        lifetime: Default::default(),
        scope: Default::default(),
        metadata: Map::from_iter([("agent".to_owned(), json!(format!("agent {n}")))]),
    };
    store.key_create(key, &owner).await.unwrap().id
}

/// One of each kind: what is known and what is not, small and large.
fn record(key: KeyId, n: u64) -> UsageRecord {
    let known = n.is_multiple_of(2);
    UsageRecord {
        at: Timestamp(1_800_000_000_000 + n * 1_000),
        request_id: if known { format!("req_{n:032x}") } else { format!("anything {n} ü") },
        key,
        provider: "openai".into(),
        method: "POST".into(),
        endpoint: if known { "chat.completions".into() } else { "".into() },
        model: known.then(|| format!("model-{n}")),
        status: known.then_some(200),
        outcome: if known { Outcome::Complete } else { Outcome::Charged },
        denial: (n == 5).then_some(DenialCode::UpstreamTimeout),
        tokens: TokenCounts { input: n, output: if n == 4 { u64::MAX } else { 0 }, ..TokenCounts::default() },
        charged: Units::default(),
        price_version: known.then(|| "2026-01-01".into()),
        latency_ms: n * 100,
        first_byte_ms: known.then_some(n),
        client: match n {
            1 => None,
            2 => Some([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()),
            _ => Some([192, 0, 2, 1].into()),
        },
        streamed: known,
    }
}

#[tokio::main]
async fn main() {
    let dir = std::env::args().nth(1).expect("the directory to write");
    let store = Store::open(&OpenOptions::new(dir, "0.1.0")).unwrap();
    store.index_key_put(b"wrapped index key".to_vec()).await.unwrap();
    let is = AdminToken::unbound("owner", Role::Owner);
    let lookups = Some(vec![Lookup { hash: [42; 32], until: None }]);
    let put = Put { id: "owner".into(), version: None, is, lookups, ends: false };
    store.entity_put(put, "token.put", json!({"role": "owner"}), &Actor::system()).await.unwrap();

    let activations = |limit| Limits { activations: Some(limit), ..Limits::default() };
    let active = create(&store, 1, activations(50)).await;
    for n in 0..7 {
        let mut hold = store.hold_exactly(active, Units::ONE_ACTIVATION).await.unwrap();
        hold.record(record(active, n));
        hold.settle(Units::ONE_ACTIVATION);
    }
    let refused =
        UsageRecord { outcome: Outcome::Denied, denial: Some(DenialCode::ModelDenied), ..record(active, 7) };
    store.denied_record(refused);
    store.hold_exactly(active, Units::ONE_ACTIVATION).await.unwrap().void();
    // Never closed: the next start must find it open and count it as spent.
    std::mem::forget(store.hold_exactly(active, Units::ONE_ACTIVATION).await.unwrap());

    let revoked = create(&store, 2, activations(5)).await;
    drop(store.hold_exactly(revoked, Units::ONE_ACTIVATION).await.unwrap());
    store.key_revoke(revoked, &Actor::system()).await.unwrap();

    let exhausted = create(&store, 3, activations(2)).await;
    for _ in 0..2 {
        drop(store.hold_exactly(exhausted, Units::ONE_ACTIVATION).await.unwrap());
    }
    store.hold_exactly(exhausted, Units::ONE_ACTIVATION).await.unwrap_err();
    store.denial_record(active, DenialCode::EndpointDenied);

    let limits = Limits { activations: None, tokens: Some(1_000), spend_nanos: None };
    let overrun = create(&store, 4, limits).await;
    let hold =
        store.hold_exactly(overrun, Units { activations: 1, tokens: 10, spend_nanos: 5 }).await.unwrap();
    hold.settle(Units { activations: 1, tokens: u64::MAX, spend_nanos: 7 });
    store.close().await.unwrap();
}
