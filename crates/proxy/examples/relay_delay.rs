//! What relaying adds to each event of a stream: the upstream sends an event only after the client has the one before,
//! directly and through till, in turns.
//!
//! ```sh
//! cargo run --release -p till-proxy --example relay_delay
//! ```
//!
//! The client, the upstream and till share one process, so the figures have their wake-ups in them; what counts is the
//! difference between the rows.
#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use till_core::limit::Limits;
use till_store::KeyOptions;
use till_testkit::client::Client;
use till_testkit::upstream::{Step, Upstream, chunk, chunked_head};
use tokio::sync::Semaphore;

#[path = "../tests/proxy/rig.rs"]
#[allow(dead_code, reason = "a part of it is for tests only")]
mod rig;

use rig::{Rig, request};

const EVENTS: usize = 200;
const ROUNDS: usize = 12;
const BODY: &str = r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Hello"}],"max_tokens":4000,"stream":true}"#;

fn event(number: usize) -> Step {
    // About 300 bytes, as a chunk of a chat has.
    let padding = "x".repeat(120);
    chunk(
        format!(
            "data: {{\"id\":\"chatcmpl-{padding}\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-4o-mini\",\
             \"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"w{number}\"}},\"finish_reason\":null}}]}}\n\n"
        )
        .as_bytes(),
    )
}

/// Times every event of one stream.
async fn stream(address: SocketAddr, token: &str, gate: &Semaphore, times: &mut Vec<Duration>) {
    let mut client = Client::connect(address).await;
    client.send(request(token, "POST", "/v1/chat/completions", BODY)).await;
    client.head().await.expect("a head");
    for _ in 0..EVENTS {
        let started = Instant::now();
        gate.add_permits(1);
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\n\n") {
            bytes.extend(client.chunk().await.expect("a chunk"));
        }
        times.push(started.elapsed());
    }
    while !client.chunk().await.expect("the end").is_empty() {}
}

#[tokio::main]
async fn main() {
    let gate = Arc::new(Semaphore::new(0));
    let script_gate = Arc::clone(&gate);
    let upstream = Upstream::start(move |_, _| {
        let mut steps = vec![chunked_head("content-type: text/event-stream\r\n")];
        for number in 0..EVENTS {
            steps.extend([Step::Wait(Arc::clone(&script_gate)), event(number)]);
        }
        let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":200,\"total_tokens\":209}}\n\ndata: \
                     [DONE]\n\n";
        steps.extend([chunk(usage.as_bytes()), chunk(b"")]);
        steps
    })
    .await;
    let rig = Rig::openai(&upstream.url()).await;
    let limits = Limits { tokens: Some(1 << 40), spend_nanos: Some(1 << 50), ..Limits::default() };
    let (metered, _) = rig.mint_with("openai", limits, KeyOptions::default()).await;
    let (counted, _) = rig.mint("openai", 1_000_000).await;
    let mut rows = [
        ("direct", upstream.address(), "none", Vec::new()),
        ("till, calls counted", rig.address, counted.as_str(), Vec::new()),
        ("till, tokens and dollars", rig.address, metered.as_str(), Vec::new()),
    ];
    for round in 0..=ROUNDS {
        for (_, address, token, times) in &mut rows {
            stream(*address, token, &gate, times).await;
            if round == 0 {
                // Connections and caches are warm from here on.
                times.clear();
            }
        }
    }
    println!(
        "{EVENTS} events, {ROUNDS} rounds in turns; microseconds from the upstream's permission to the client"
    );
    println!("{:26} {:>8} {:>8} {:>8}", "", "median", "p90", "p99");
    for (name, _, _, times) in &mut rows {
        times.sort_unstable();
        let at = |share: usize| times[(times.len() - 1) * share / 100].as_nanos() / 100;
        let shown = |tenths: u128| format!("{}.{}", tenths / 10, tenths % 10);
        println!("{name:26} {:>8} {:>8} {:>8}", shown(at(50)), shown(at(90)), shown(at(99)));
    }
}
