//! What searching answers for the upstream key costs: `cargo run --release -p till-core --example redact_speed`.
#![allow(clippy::print_stdout, clippy::float_arithmetic, reason = "it prints measurements")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use till_core::redact::Redactor;
use till_core::secret::Secret;
use till_core::upstream::{Placement, Upstream};

const ROUNDS: u32 = 7;

/// Nanoseconds for one call, the best of a few rounds.
fn nanos(calls: u32, mut call: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..calls {
            call();
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(calls));
    }
    best
}

/// An upstream key of the given length whose characters look random.
fn upstream(length: usize) -> Upstream {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut key = b"sk-proj-".to_vec();
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    while key.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        key.push(digits[usize::try_from(state >> 58).expect("six bits")]);
    }
    key.truncate(length);
    Upstream {
        key: Secret::new(key),
        provider: "openai".into(),
        origin: "https://api.openai.com".into(),
        placement: Placement::Header { name: "authorization".into(), template: "Bearer {key}".into() },
    }
}

/// An answer of about 600 bytes, as chat completions look.
fn body() -> Bytes {
    let text = r#"{"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion","created":1741569952,"model":"gpt-4.1-2025-04-14","choices":[{"index":0,"message":{"role":"assistant","content":"Hello! How can I assist you today? Here is what I can do:\n\n1. Answer \"questions\".\n2. Write code.","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}},"service_tier":"default","system_fingerprint":"fp_a7d06e42a7"}"#;
    Bytes::from_static(text.as_bytes())
}

/// 201 events of about 300 bytes.
fn events() -> Vec<Bytes> {
    (0..201)
        .map(|index| {
            let mut event = String::new();
            write!(event, "data: {{\"id\":\"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG\",\"object\":\"chat.completion.chunk\",\"created\":1741570283,\"model\":\"gpt-4.1-2025-04-14\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_a7d06e42a7\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\" word{index}\"}},\"logprobs\":null,\"finish_reason\":null}}],\"usage\":null,\"obfuscation\":\"hq3k\"}}\n\n").expect("memory");
            event.into()
        })
        .collect()
}

/// A body of source code in JSON, where every few dozen bytes are escaped.
fn code() -> Bytes {
    r#"fn main() {\n\tprintln!(\"{}\", \"100% of <b>x</b>\");\n\tlet \u003ca\u003e = 5; // comment\n}\n"#
        .repeat(700)
        .into()
}

fn throughput(label: &str, text: &Bytes, nanos: f64) {
    let length = f64::from(u32::try_from(text.len()).expect("short"));
    println!("  {label:<34} {nanos:>10.0} ns  {:>6.1} GB/s", length / nanos);
}

fn main() {
    for length in [8, 20, 51, 164] {
        let upstream = upstream(length);
        let redactor = Arc::new(Redactor::new(&upstream));
        println!("key of {length} bytes, {} bytes in memory", std::mem::size_of::<Redactor>() + length);
        println!(
            "  {:<34} {:>10.0} ns",
            "build",
            nanos(2_000, || drop(black_box(Redactor::new(black_box(&upstream)))))
        );

        let body = body();
        throughput(
            "body, whole",
            &body,
            nanos(50_000, || drop(black_box(redactor.redact_all(black_box(&body))))),
        );
        let stream_body = || {
            let mut stream = redactor.stream();
            black_box(stream.push(black_box(body.clone())));
            black_box(stream.finish());
        };
        throughput("body, as a stream of one chunk", &body, nanos(50_000, stream_body));

        let events = events();
        let joined: Bytes = events.concat().into();
        let stream_events = || {
            let mut stream = redactor.stream();
            for event in &events {
                black_box(stream.push(black_box(event.clone())));
            }
            black_box(stream.finish());
        };
        throughput("201 events, each a chunk", &joined, nanos(500, stream_events));
        throughput(
            "201 events, one chunk",
            &joined,
            nanos(500, || drop(black_box(redactor.redact_all(&joined)))),
        );
        let code = code();
        throughput("source code in JSON", &code, nanos(500, || drop(black_box(redactor.redact_all(&code)))));

        let short = Bytes::from_static(b"data: [DONE]\n\n");
        let mut stream = redactor.stream();
        println!(
            "  {:<34} {:>10.0} ns",
            "14-byte chunk",
            nanos(100_000, || drop(black_box(stream.push(short.clone()))))
        );
        let header = b"text/event-stream; charset=utf-8";
        println!(
            "  {:<34} {:>10.0} ns",
            "header value",
            nanos(100_000, || drop(black_box(redactor.redact_all(black_box(header)))))
        );
        let name = b"x-ratelimit-remaining-requests";
        println!(
            "  {:<34} {:>10.0} ns",
            "header name",
            nanos(100_000, || {
                black_box(redactor.contains_in_header_name(black_box(name)));
            })
        );
    }
}
