//! Fills the data directory of a server that is stopped, as if many keys had been used for a while:
//! `cargo run --release -p till-store --example fill -- DIRECTORY KEYS CALLS DAYS PROJECTS`.
//!
//! Everything goes the way of calls: each is held, settled and recorded. Only the times of the records are chosen: they
//! are spread over the days up to today. Keys belong to the projects `project-0`, `project-1` and so on, which must be there.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use till_core::audit::Actor;
use till_core::key::KeyId;
use till_core::limit::{Limits, Units};
use till_core::time::{MILLIS_PER_DAY, Timestamp};
use till_store::{KeyPlace, NewKey, OpenOptions, Outcome, Store, TokenCounts, UsageRecord};

const CALLERS: u64 = 512;
const MODELS: [(&str, &str); 6] = [
    ("openai", "gpt-4o-mini-2024-07-18"),
    ("openai", "gpt-4.1-2025-04-14"),
    ("openai", "o3-2025-04-16"),
    ("anthropic", "claude-sonnet-4-20250514"),
    ("anthropic", "claude-3-5-haiku-20241022"),
    ("google", "gemini-2.5-flash"),
];

#[derive(Clone, Copy)]
struct Size {
    keys: u64,
    calls: u64,
    days: u64,
    projects: u64,
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().unwrap();
    let mut number = || arguments.next().unwrap().parse::<u64>().unwrap();
    let size = Size { keys: number(), calls: number(), days: number(), projects: number() };
    let store = Store::open(&OpenOptions::new(Path::new(&dir), "fill")).unwrap();
    let made: Vec<_> = (0..size.keys).map(|n| tokio::spawn(create(store.clone(), size, n))).collect();
    for key in made {
        key.await.unwrap();
    }
    let next = Arc::new(AtomicU64::new(0));
    let now = store.now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (store, next) = (store.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= size.calls {
                        break;
                    }
                    call(&store, size, now, n).await;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    store.close().await.unwrap();
    println!("{} keys, {} calls", size.keys, size.calls);
}

fn key_id(n: u64) -> KeyId {
    // Spread as random ids are.
    KeyId((u128::from(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)).to_be_bytes())
}

async fn create(store: Store, size: Size, n: u64) {
    let name = json!({"name": format!("agent {n}")});
    let place = KeyPlace { project: format!("project-{}", n % size.projects), ..KeyPlace::default() };
    let key = NewKey {
        place,
        request: None,
        id: key_id(n),
        master_key: None,
        fingerprint: None,
        provider: MODELS[index(n)].0.into(),
        origin: "https://api.example.com".into(),
        limits: Limits { activations: Some(1_000_000), tokens: None, spend_nanos: Some(1_000_000_000_000) },
        options: Default::default(),
        lifetime: Default::default(),
        scope: Default::default(),
        metadata: name.as_object().unwrap().clone(),
    };
    store.key_create(key, &Actor::system()).await.unwrap();
}

fn index(n: u64) -> usize {
    usize::try_from(n).unwrap() % MODELS.len()
}

async fn call(store: &Store, size: Size, now: Timestamp, n: u64) {
    let of = n.wrapping_mul(7_919) % size.keys;
    let (provider, model) = MODELS[index(of)];
    let since = now.0 - (size.days - 1) * MILLIS_PER_DAY;
    let units = Units { activations: 1, tokens: 2_000, spend_nanos: 3_000_000 };
    let mut hold = store.hold_exactly(key_id(of), units).await.unwrap();
    hold.record(UsageRecord {
        at: Timestamp(since + (now.0 - since) / size.calls.max(1) * n),
        request_id: format!("req_0a1b2c3d4e5f{n:08x}"),
        key: key_id(of),
        provider: provider.into(),
        method: "POST".into(),
        endpoint: "chat.completions".into(),
        model: Some(model.into()),
        status: Some(if n.is_multiple_of(90) { 500 } else { 200 }),
        outcome: Outcome::Complete,
        denial: None,
        tokens: TokenCounts { input: 812, cache_read: 512, output: 133 + n % 64, ..TokenCounts::default() },
        charged: Units::default(),
        price_version: Some("2026-11-01".into()),
        latency_ms: 700 + n % 512,
        first_byte_ms: Some(180 + n % 128),
        client: Some([10, 0, 0, 1].into()),
        streamed: true,
    });
    hold.settle(Units {
        activations: 1,
        tokens: 945 + n % 64,
        spend_nanos: 200_000 + of % 977 * 1_000 + n % 40_000,
    });
}
