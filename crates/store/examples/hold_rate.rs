//! How many durable holds per second: `cargo run --release -p till-store --example hold_rate [CALLERS [SECONDS]]`.
//!
//! Every caller takes a hold of one of many keys and settles it, in a closed loop. Use a directory on
//! the disk in question: `TMPDIR=/some/disk`.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::cast_possible_truncation)]

use std::time::{Duration, Instant};

use serde_json::Map;
use till_core::audit::Actor;
use till_core::key::KeyId;
use till_core::limit::{Limits, Units};
use till_store::{NewKey, OpenOptions, Store};

const KEYS: u64 = 1_000;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().unwrap());
    let callers = arguments.next();
    let seconds = arguments.next().unwrap_or(2);
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&OpenOptions::new(dir.path(), "example")).unwrap();
    for n in 0..KEYS {
        let key = NewKey {
            id: KeyId(u128::from(n).to_be_bytes()),
            provider: "openai".into(),
            origin: "https://api.openai.com".into(),
            limits: Limits { activations: Some(u64::from(u32::MAX)), ..Limits::default() },
            options: Default::default(),
            lifetime: Default::default(),
            scope: Default::default(),
            metadata: Map::new(),
        };
        store.key_create(key, &Actor::system()).await.unwrap();
    }
    for callers in callers.map_or_else(|| vec![1, 64, 1024], |callers| vec![callers]) {
        measure(&store, callers, Duration::from_secs(seconds)).await;
    }
    store.close().await.unwrap();
}

async fn measure(store: &Store, callers: u64, duration: Duration) {
    let before = store.stats();
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                let mut n = caller;
                while start.elapsed() < duration {
                    n = (n + 61) % KEYS;
                    let asked = Instant::now();
                    let hold = store
                        .hold_exactly(KeyId(u128::from(n).to_be_bytes()), Units::ONE_ACTIVATION)
                        .await
                        .unwrap();
                    latencies.push(asked.elapsed().as_micros() as u64);
                    hold.settle(Units::ONE_ACTIVATION);
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.unwrap());
    }
    latencies.sort_unstable();
    let percentile = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    let holds = latencies.len() as u128;
    let batches = store.stats().batches - before.batches;
    println!(
        "{callers} callers: {} holds/s, p50 {} µs, p99 {} µs, {} holds per transaction",
        holds * 1_000_000 / start.elapsed().as_micros(),
        percentile(50),
        percentile(99),
        holds / u128::from(batches.max(1)),
    );
}
