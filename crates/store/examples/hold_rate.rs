//! How many durable holds per second, and what they cost: `cargo run --release -p till-store --example hold_rate
//! [CALLERS [SECONDS [KEYS]]]`.
//!
//! Every caller takes a hold of one of many keys and settles it with a usage record, in a closed loop. Use a directory
//! on the disk in question: `TMPDIR=/some/disk`.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::float_arithmetic
)]

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Map;
use till_core::audit::Actor;
use till_core::key::KeyId;
use till_core::limit::{Limits, Units};
use till_store::{NewKey, OpenOptions, Outcome, Store, TokenCounts, UsageRecord};

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>().unwrap());
    let callers = arguments.next();
    let seconds = arguments.next().unwrap_or(2);
    let keys = arguments.next().unwrap_or(1_000);
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&OpenOptions::new(dir.path(), "example")).unwrap();
    let made: Vec<_> = (0..keys).map(|n| tokio::spawn(create(store.clone(), n))).collect();
    for key in made {
        key.await.unwrap();
    }
    for callers in callers.map_or_else(|| vec![1, 64, 1024], |callers| vec![callers]) {
        measure(&store, callers, Duration::from_secs(seconds), keys).await;
    }
    // What is worst for the next read: every key has changed since the last one.
    store.account_summary().await.unwrap();
    let calls: Vec<_> = (0..keys).map(|n| tokio::spawn(call(store.clone(), key_id(n), n))).collect();
    for call in calls {
        call.await.unwrap();
    }
    store.flush().await.unwrap();
    let (start, cpu) = (Instant::now(), cpu_nanos(true));
    let summary = store.account_summary().await.unwrap();
    let cpu = (cpu_nanos(true) - cpu) / 1000;
    println!("a read after a call of each key: {:?}, {cpu} µs of CPU in the writer", start.elapsed());
    store.close().await.unwrap();
    let bytes = fs::metadata(dir.path().join("till.db")).unwrap().len();
    println!("{} bytes of database per call", bytes / summary.activations_this_month.max(1));
}

fn key_id(n: u64) -> KeyId {
    // Spread as random ids are.
    KeyId((u128::from(n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)).to_be_bytes())
}

async fn create(store: Store, n: u64) {
    let key = NewKey {
        place: Default::default(),
        request: None,
        id: key_id(n),
        master_key: None,
        fingerprint: None,
        provider: "openai".into(),
        origin: "https://api.openai.com".into(),
        limits: Limits {
            activations: Some(u64::from(u32::MAX)),
            tokens: None,
            spend_nanos: Some(1_000_000_000_000_000),
        },
        options: Default::default(),
        lifetime: Default::default(),
        scope: Default::default(),
        metadata: Map::new(),
    };
    store.key_create(key, &Actor::system()).await.unwrap();
}

fn record(store: &Store, key: KeyId, n: u64) -> UsageRecord {
    UsageRecord {
        at: store.now(),
        request_id: format!("req_0a1b2c3d4e5f{:08x}", n as u32),
        key,
        provider: "openai".into(),
        method: "POST".into(),
        endpoint: "chat.completions".into(),
        model: Some("gpt-4o-mini-2024-07-18".into()),
        status: Some(200),
        outcome: Outcome::Complete,
        denial: None,
        tokens: TokenCounts { input: 812, cache_read: 512, output: 133 + n % 64, ..TokenCounts::default() },
        charged: Units::default(),
        price_version: Some("2026-11-01".into()),
        latency_ms: 700 + n % 512,
        first_byte_ms: Some(180 + n % 128),
        client: Some([10, 0, 0, (n % 4) as u8].into()),
        streamed: true,
    }
}

/// How long the hold took.
async fn call(store: Store, key: KeyId, n: u64) -> Duration {
    let asked = Instant::now();
    let units = Units { activations: 1, tokens: 2_000, spend_nanos: 3_000_000 };
    let mut hold = store.hold_exactly(key, units).await.unwrap();
    let waited = asked.elapsed();
    hold.record(record(&store, key, n));
    hold.settle(Units { activations: 1, tokens: 945 + n % 64, spend_nanos: 200_000 + n % 40_000 });
    waited
}

async fn measure(store: &Store, callers: u64, duration: Duration, keys: u64) {
    let before = (store.stats(), cpu_nanos(true), cpu_nanos(false));
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                let mut n = caller;
                while start.elapsed() < duration {
                    n += 7919 * 61;
                    let key = key_id(n % keys);
                    latencies.push(call(store.clone(), key, n).await.as_micros() as u64);
                }
                latencies
            })
        })
        .collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.unwrap());
    }
    store.flush().await.unwrap();
    latencies.sort_unstable();
    let percentile = |per_mille: usize| latencies[(latencies.len() - 1) * per_mille / 1000];
    let holds = latencies.len() as u128;
    let batches = store.stats().batches - before.0.batches;
    let each = |nanos: u128| nanos as f64 / holds as f64 / 1000.0;
    println!(
        "{callers} callers, {keys} keys: {} holds/s, p50 {} µs, p99 {} µs, p99.9 {} µs, max {} µs, {:.1} holds per \
         transaction, CPU per hold {:.2} µs in the writer, {:.2} µs in all",
        holds * 1_000_000 / start.elapsed().as_micros(),
        percentile(500),
        percentile(990),
        percentile(999),
        percentile(1000),
        holds as f64 / batches.max(1) as f64,
        each(cpu_nanos(true) - before.1),
        each(cpu_nanos(false) - before.2),
    );
}

/// Time on a processor of the writer's thread, or of all threads. Linux only; zero elsewhere.
fn cpu_nanos(of_writer: bool) -> u128 {
    let Ok(threads) = fs::read_dir("/proc/self/task") else { return 0 };
    let of_thread = |path: std::path::PathBuf| -> Option<u128> {
        if of_writer && fs::read_to_string(path.join("comm")).ok()?.trim() != "till-store" {
            return None;
        }
        fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    threads.filter_map(|thread| of_thread(thread.ok()?.path())).sum()
}
