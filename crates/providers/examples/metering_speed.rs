//! What it costs to bound a request, to read its usage, and to count its input where the cheap bound does not fit.
//!
//! ```sh
//! cargo run --release -p till-providers --example metering_speed
//! ```
#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use http::Method;
use till_core::fields::Fields;
use till_core::path::{FinalPath, RawPath};
use till_core::time::Timestamp;
use till_providers::bound::demand;
use till_providers::count::{tokenise, with_margin};
use till_providers::price::PriceTable;
use till_providers::request::{Question, facts};
use till_providers::usage::{AnswerFormat, Unit, UsageReader};
use till_providers::{Provider, Registry};

const MODEL: &str = "gpt-4o-mini";
const AT: Timestamp = Timestamp(1_795_348_800_000);

/// The shortest of many runs: the others waited for something.
fn time(mut run: impl FnMut()) -> Duration {
    let started = Instant::now();
    let mut best = Duration::MAX;
    let mut runs = 0;
    while runs < 5 || (started.elapsed() < Duration::from_millis(400) && runs < 20_000) {
        let began = Instant::now();
        run();
        best = best.min(began.elapsed());
        runs += 1;
    }
    best
}

fn shown(time: Duration) -> String {
    format!("{}.{:02} us", time.as_nanos() / 1_000, time.as_nanos() % 1_000 / 10)
}

/// Prose of about so many bytes.
fn story(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 64);
    let mut number = 0;
    while text.len() < bytes {
        number += 1;
        let _ = write!(text, "Chapter {number}: once upon a time there was a proxy that counted. ");
    }
    text
}

fn body(bytes: usize) -> String {
    let story = story(bytes);
    format!(
        r#"{{"model":"{MODEL}","messages":[{{"role":"system","content":"You are brief."}},{{"role":"user","content":"{story}"}}],"max_tokens":500,"temperature":0.2}}"#
    )
}

fn main() {
    let (registry, prices) = (Registry::builtin(), PriceTable::builtin());
    let provider = registry.get("openai").expect("built in");
    let raw = RawPath::parse(b"/v1/chat/completions").expect("a path");
    let path = provider.final_path(&raw).expect("a good path");
    requests(provider, &path, &prices);
    answers();
}

fn requests(provider: &Provider, path: &FinalPath, prices: &PriceTable) {
    let mut headers = Fields::default();
    headers.push("content-type", "application/json");
    let started = Instant::now();
    black_box(tokenise(provider, MODEL, body(10).as_bytes()));
    println!("the first count loads the vocabulary: {}", shown(started.elapsed()));
    println!("{:>10} {:>14} {:>14} {:>10} {:>10}", "body", "bound", "count", "bound", "count");
    for bytes in [200, 4_000, 40_000, 400_000, 1_000_000] {
        let body = body(bytes);
        let question = Question {
            provider,
            method: &Method::POST,
            path,
            query: None,
            headers: &headers,
            body: body.as_bytes(),
        };
        let bound = || {
            let facts = facts(&question, prices).expect("it has a bound");
            let price = prices.find(provider.price_id(), MODEL);
            demand(&facts, price, true, AT, true).expect("it has a price")
        };
        let bounded = time(|| _ = black_box(bound()));
        let counting = time(|| _ = black_box(tokenise(provider, MODEL, body.as_bytes())));
        let counted = tokenise(provider, MODEL, body.as_bytes()).map(with_margin);
        println!(
            "{:>10} {:>14} {:>14} {:>10} {:>10}",
            body.len(),
            shown(bounded),
            shown(counting),
            bound().tokens_fixed,
            counted.unwrap_or(0)
        );
    }
}

fn answers() {
    let plain = format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","model":"{MODEL}-2024-07-18","choices":[{{"index":0,"message":{{"role":"assistant","content":"{}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":20,"completion_tokens":90,"total_tokens":110,"prompt_tokens_details":{{"cached_tokens":0}}}}}}"#,
        story(300)
    );
    let mut stream = String::new();
    for number in 0..200 {
        let _ = write!(
            stream,
            "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"{MODEL}-2024-07-18\",\
             \"service_tier\":\"default\",\"system_fingerprint\":\"fp_1\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\
             \" word{number}\"}},\"logprobs\":null,\"finish_reason\":null}}],\"usage\":null,\"obfuscation\":\"{}\"}}\n\n",
            "x".repeat(40)
        );
    }
    stream += "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":200}}\n\ndata: [DONE]\n\n";
    for (name, content_type, text, piece) in [
        ("one answer", "application/json", &plain, usize::MAX),
        ("one stream of 201 events", "text/event-stream", &stream, 300),
    ] {
        let mut headers = Fields::default();
        headers.push("content-type", content_type);
        let read = || {
            let mut reader = UsageReader::new(AnswerFormat::OpenAiChat, &headers);
            text.as_bytes().chunks(piece.min(text.len())).for_each(|piece| reader.push(piece));
            reader.finish()
        };
        assert!(read().charges[0].usage.count(Unit::InputTokens) == 20);
        println!("{name}, {} bytes: usage read in {}", text.len(), shown(time(|| drop(black_box(read())))));
    }
}
