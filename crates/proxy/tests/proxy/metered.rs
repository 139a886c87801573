//! Promises 1, 4 and 5 in tokens and money: what is set aside is a bound that the provider gets, what was used
//! replaces it, and what is not known is spent.

use std::sync::Arc;
use std::time::Duration;

use till_core::limit::Limits;
use till_core::policy::{Ceilings, Policy};
use till_proxy::Timeouts;
use till_store::{KeyOptions, Outcome};
use till_testkit::client::{Answer, Client};
use till_testkit::upstream::{Received, Step, Upstream, chunk, chunked_head, json, respond};
use tokio::sync::Semaphore;

use super::rig::{Options, Rig, request, soon};

pub(super) const CHAT: &str = "/v1/chat/completions";
pub(super) const EVENTS: &str = "content-type: text/event-stream\r\n";

/// gpt-4o-mini costs $0.15 per million tokens of input and $0.60 of output: this is $0.000045.
pub(super) const USAGE: &str = r#""usage":{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150}"#;
pub(super) const USAGE_NANOS: u64 = 45_000;

pub(super) const HELLO: &str =
    r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Hello"}],"max_tokens":200}"#;
pub(super) const HELLO_STREAMED: &str = r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Hello"}],"max_tokens":200,"stream":true}"#;

pub(super) const DOLLAR: u64 = 1_000_000_000;

pub(super) fn answer_with(usage: &str) -> String {
    format!(
        r#"{{"id":"c","object":"chat.completion","model":"gpt-4o-mini-2024-07-18","choices":[{{"index":0,"message":{{"role":"assistant","content":"Hi"}},"finish_reason":"stop"}}],{usage}}}"#
    )
}

pub(super) fn event(text: &str) -> Step {
    chunk(format!("data: {text}\n\n").as_bytes())
}

pub(super) fn delta(text: &str) -> Step {
    event(&format!(
        r#"{{"id":"c","object":"chat.completion.chunk","model":"gpt-4o-mini-2024-07-18","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}],"usage":null}}"#
    ))
}

pub(super) fn usage_chunk() -> Step {
    event(&format!(
        r#"{{"id":"c","object":"chat.completion.chunk","model":"gpt-4o-mini-2024-07-18","choices":[],{USAGE}}}"#
    ))
}

/// A streamed answer that goes on after its first event when the gate opens.
pub(super) fn gated_stream(gate: &Arc<Semaphore>) -> Vec<Step> {
    vec![
        chunked_head(EVENTS),
        delta("Hi"),
        Step::Wait(Arc::clone(gate)),
        delta(" there"),
        usage_chunk(),
        event("[DONE]"),
        chunk(b""),
    ]
}

/// The gate of every [`gated_stream`] of an upstream, and that upstream.
pub(super) async fn gated_upstream() -> (Arc<Semaphore>, Upstream) {
    let gate = Arc::new(Semaphore::new(0));
    let script_gate = Arc::clone(&gate);
    let upstream = Upstream::start(move |_, _| gated_stream(&script_gate)).await;
    (gate, upstream)
}

/// An upstream whose first answers wait at a gate.
pub(super) struct Gated {
    pub(super) upstream: Upstream,
    /// Lets one answer through per permit.
    pub(super) gate: Arc<Semaphore>,
    /// Has a permit for each request that came.
    pub(super) arrived: Arc<Semaphore>,
}

impl Gated {
    /// So many answers wait.
    pub(super) async fn start(waiting: usize) -> Self {
        let (gate, arrived) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let (script_gate, script_arrived) = (Arc::clone(&gate), Arc::clone(&arrived));
        let upstream = Upstream::start(move |number, _| {
            script_arrived.add_permits(1);
            let wait = (number < waiting).then(|| Step::Wait(Arc::clone(&script_gate)));
            wait.into_iter().chain(json(&answer_with(USAGE))).collect()
        })
        .await;
        Self { upstream, gate, arrived }
    }
}

pub(super) async fn post(rig: &Rig, token: &str, body: &str) -> Answer {
    rig.call(token, "POST", CHAT, body).await
}

fn body(received: &Received) -> serde_json::Value {
    serde_json::from_slice(&received.body).expect("JSON")
}

#[tokio::test]
async fn an_answer_costs_what_it_says() {
    let upstream = Upstream::start(|_, _| json(&answer_with(USAGE))).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint_dollars("openai", DOLLAR).await;
    let answer = post(&rig, &token, HELLO).await;
    assert_eq!((answer.status, answer.text()), (200, answer_with(USAGE)));
    let left = answer.header("x-till-spend-remaining-usd").expect("a header").to_owned();
    assert!(left.starts_with("0.999"), "{left}");
    assert_eq!(answer.header("x-till-clamped"), None);
    let key = rig.key(id).await;
    assert_eq!((key.used.activations, key.used.tokens, key.used.spend_nanos), (1, 150, USAGE_NANOS));
    let record = rig.last_record(id).await;
    assert_eq!(record.outcome, Outcome::Complete);
    assert_eq!((record.tokens.input, record.tokens.output), (100, 50));
    assert_eq!(record.charged.spend_nanos, USAGE_NANOS);
    assert_eq!(record.model.as_deref(), Some("gpt-4o-mini-2024-07-18"));
    assert_eq!((record.status, &*record.endpoint), (Some(200), "chat.completions"));
    assert!(record.price_version.is_some());
    // The request was as the client wrote it.
    assert_eq!(upstream.received()[0].body, HELLO.as_bytes());
}

#[tokio::test]
async fn under_a_limit_in_calls_it_is_recorded_all_the_same() {
    // Read when it is written; too long for that; in pieces.
    let padded = |length| answer_with(USAGE) + &" ".repeat(length);
    let answers = [padded(0), padded(3_000), padded(5_000)];
    let upstream = Upstream::start(move |number, _| match answers.get(number % 4) {
        Some(answer) => json(answer),
        None => vec![
            chunked_head("content-type: application/json\r\n"),
            chunk(&answer_with(USAGE).as_bytes()[..100]),
            chunk(&answer_with(USAGE).as_bytes()[100..]),
            chunk(b""),
        ],
    })
    .await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint("openai", 1_000).await;
    // The key becomes a busy one, whose calls are granted from memory.
    let calls = 48;
    for _ in 0..calls / 4 {
        let call = || post(&rig, &token, HELLO);
        tokio::join!(call(), call(), call(), call());
    }
    let used = rig.key(id).await.used;
    assert_eq!((used.activations, used.tokens, used.spend_nanos), (calls, calls * 150, calls * USAGE_NANOS));
    let query = till_store::UsageQuery { limit: u32::MAX, ..Default::default() };
    let records = rig.store.usage_list(query).await.expect("readable").records;
    assert_eq!(records.len() as u64, calls);
    for (_, record) in records {
        assert_eq!((record.outcome, record.tokens.input, record.tokens.output), (Outcome::Complete, 100, 50));
        assert_eq!((record.charged.activations, record.charged.spend_nanos), (1, USAGE_NANOS));
        assert_eq!(record.model.as_deref(), Some("gpt-4o-mini-2024-07-18"));
        assert!(record.price_version.is_some());
    }
}

#[tokio::test]
async fn a_token_limit_counts_tokens() {
    let upstream = Upstream::start(|_, _| json(&answer_with(USAGE))).await;
    let rig = Rig::openai(&upstream.url()).await;
    let limits = Limits { tokens: Some(1_000), ..Limits::default() };
    let (token, id) = rig.mint_with("openai", limits, KeyOptions::default()).await;
    let mut passed = 0;
    let refused = loop {
        let answer = post(&rig, &token, HELLO).await;
        if answer.status != 200 {
            break answer;
        }
        passed += 1;
    };
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(refused.text().contains("tokens_exhausted"), "{}", refused.text());
    assert_eq!(refused.header("x-should-retry"), Some("false"));
    assert_eq!(upstream.received().len(), passed);
    assert_eq!(rig.key(id).await.used.tokens, passed as u64 * 150);
    assert!(passed >= 5, "{passed} of 6 that fit");
}

#[tokio::test]
async fn the_cap_is_lowered_to_what_is_left() {
    let upstream = Upstream::start(|_, _| json(&answer_with(USAGE))).await;
    let rig = Rig::openai(&upstream.url()).await;
    // Enough for about 150 tokens of output.
    let (token, _) = rig.mint_dollars("openai", 100_000).await;
    let answer = post(&rig, &token, HELLO).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let cap = body(&upstream.received()[0])["max_tokens"].as_u64().expect("a number");
    assert!((16..200).contains(&cap), "{cap}");
    assert_eq!(answer.header("x-till-clamped"), Some(format!("max_tokens={cap}").as_str()));
    let sent = String::from_utf8(upstream.received()[0].body.clone()).expect("text");
    assert_eq!(sent, HELLO.replace("200", &cap.to_string()), "nothing else changed");
}

#[tokio::test]
async fn without_a_cap_one_is_put_in() {
    let upstream = Upstream::start(|_, _| json(&answer_with(USAGE))).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, _) = rig.mint_dollars("openai", DOLLAR).await;
    let asked = r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Hello"}]}"#;
    let answer = post(&rig, &token, asked).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let sent = body(&upstream.received()[0]);
    let cap = ["max_tokens", "max_completion_tokens"].into_iter().find_map(|name| sent[name].as_u64());
    assert!(cap.is_some_and(|cap| cap >= 1_000), "{sent}");
}

#[tokio::test]
async fn a_key_that_may_not_be_clamped_is_refused_instead() {
    let upstream = Upstream::start(|_, _| json(&answer_with(USAGE))).await;
    let rig = Rig::openai(&upstream.url()).await;
    let limits = Limits { spend_nanos: Some(100_000), ..Limits::default() };
    let options = KeyOptions { clamp: false, ..KeyOptions::default() };
    let (token, _) = rig.mint_with("openai", limits, options).await;
    let answer = post(&rig, &token, HELLO).await;
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("spend_exhausted"), "{}", answer.text());
    assert_eq!(upstream.received().len(), 0);
}

#[tokio::test]
async fn what_cannot_be_bounded_is_refused_unless_nothing_depends_on_it() {
    let upstream = Upstream::start(|_, _| json(&answer_with(USAGE))).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (dollars, _) = rig.mint_dollars("openai", DOLLAR).await;
    let limits = Limits { tokens: Some(1_000_000), ..Limits::default() };
    let (tokens, _) = rig.mint_with("openai", limits, KeyOptions::default()).await;
    let (calls, _) = rig.mint("openai", 100).await;
    let unknown_model = HELLO.replace("gpt-4o-mini", "model-of-tomorrow");
    let unknown_field = HELLO.replace("\"max_tokens\"", "\"spend_more\":true,\"max_tokens\"");
    for (path, asked, dollar_code, token_code) in [
        (CHAT, unknown_model.as_str(), Some("unpriced_model"), None),
        (CHAT, unknown_field.as_str(), Some("unbounded_request"), Some("unbounded_request")),
        ("/v1/unheard/of", HELLO, Some("unbounded_request"), Some("unbounded_request")),
    ] {
        for (token, code) in [(&dollars, dollar_code), (&tokens, token_code), (&calls, None)] {
            let before = upstream.received().len();
            let answer = rig.call(token, "POST", path, asked).await;
            match code {
                Some(code) => {
                    assert_eq!(answer.status, 403, "{path} {asked} {}", answer.text());
                    assert!(answer.text().contains(code), "{}", answer.text());
                    assert_eq!(upstream.received().len(), before);
                }
                None => assert_eq!(answer.status, 200, "{path} {asked} {}", answer.text()),
            }
        }
    }
}

#[tokio::test]
async fn danger_allow_unbounded_lets_it_pass_and_charges_what_is_said() {
    let upstream = Upstream::start(|_, _| json(&answer_with(USAGE))).await;
    let rig = Rig::openai(&upstream.url()).await;
    let limits = Limits { spend_nanos: Some(DOLLAR), ..Limits::default() };
    let options = KeyOptions { allow_unbounded: true, ..KeyOptions::default() };
    let (token, id) = rig.mint_with("openai", limits, options).await;
    let unknown_field = HELLO.replace("\"max_tokens\"", "\"spend_more\":true,\"max_tokens\"");
    assert_eq!(post(&rig, &token, &unknown_field).await.status, 200);
    assert_eq!(rig.key(id).await.used.spend_nanos, USAGE_NANOS);
}

/// The option puts the limits of the key at stake, not what it shares with others, whenever that is set.
#[tokio::test]
async fn danger_allow_unbounded_does_not_reach_a_ceiling() {
    let upstream = Upstream::start(|_, _| json(&answer_with(USAGE))).await;
    let rig = Rig::openai(&upstream.url()).await;
    let options = KeyOptions { allow_unbounded: true, ..KeyOptions::default() };
    let limits = Limits { spend_nanos: Some(DOLLAR), ..Limits::default() };
    let (own_limit, _) = rig.mint_with("openai", limits, options).await;
    let calls = Limits { activations: Some(100), ..Limits::default() };
    let (only_calls, _) = rig.mint_with("openai", calls, options).await;
    let search = HELLO.replace("\"max_tokens\"", "\"web_search_options\":{},\"max_tokens\"");
    let unknown_field = HELLO.replace("\"max_tokens\"", "\"spend_more\":true,\"max_tokens\"");
    let unpriced = HELLO.replace("gpt-4o-mini", "model-of-tomorrow");
    let requests = [search.as_str(), unknown_field.as_str(), unpriced.as_str()];
    let day = |day| Policy { ceilings: Ceilings { day, ..Ceilings::default() }, ..Policy::default() };
    let tokens = Limits { tokens: Some(1_000_000), ..Limits::default() };
    for (version, ceiling, refused) in [
        (1, calls, [None; 3]),
        (2, limits, [Some("unbounded_request"), Some("unbounded_request"), Some("unpriced_model")]),
        (3, Limits::default(), [None; 3]),
        (4, tokens, [Some("unbounded_request"), Some("unbounded_request"), None]),
    ] {
        rig.rules_of_default(version, day(ceiling)).await;
        for token in [&own_limit, &only_calls] {
            for (asked, refused) in requests.into_iter().zip(refused) {
                let before = upstream.received().len();
                let answer = post(&rig, token, asked).await;
                // With a limit of its own in money a key needs a price, unless only that is at stake.
                let refused = match (refused, ceiling.tokens) {
                    (None, Some(_)) if token == &own_limit => Some("unpriced_model"),
                    _ => refused,
                };
                assert_eq!(answer.status, if refused.is_some() { 403 } else { 200 }, "{}", answer.text());
                assert!(refused.is_none_or(|code| answer.text().contains(code)), "{}", answer.text());
                assert_eq!(upstream.received().len() - before, usize::from(refused.is_none()));
            }
        }
    }
    // What is bounded passes.
    assert_eq!(post(&rig, &own_limit, HELLO).await.status, 200);
}

#[tokio::test]
async fn usage_is_asked_for_and_taken_out_again() {
    for asks in [false, true] {
        let upstream = Upstream::start(|_, _| {
            vec![chunked_head(EVENTS), delta("Hi"), usage_chunk(), event("[DONE]"), chunk(b"")]
        })
        .await;
        let rig = Rig::openai(&upstream.url()).await;
        let (token, id) = rig.mint_dollars("openai", DOLLAR).await;
        let asked = if asks {
            HELLO_STREAMED.replace("}]", "}],\"stream_options\":{\"include_usage\":true}")
        } else {
            HELLO_STREAMED.to_owned()
        };
        let answer = post(&rig, &token, &asked).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(body(&upstream.received()[0])["stream_options"]["include_usage"], true);
        assert!(
            answer.text().contains("Hi") && answer.text().ends_with("data: [DONE]\n\n"),
            "{}",
            answer.text()
        );
        assert_eq!(answer.text().contains("prompt_tokens"), asks, "{}", answer.text());
        assert_eq!(rig.key(id).await.used.spend_nanos, USAGE_NANOS);
    }
}

#[tokio::test]
async fn metering_holds_nothing_back() {
    let gate = Arc::new(Semaphore::new(0));
    let script_gate = Arc::clone(&gate);
    let upstream = Upstream::start(move |_, _| {
        let mut steps = vec![chunked_head(EVENTS)];
        for number in 0..20 {
            steps.push(delta(&format!("word {number}")));
            steps.push(Step::Wait(Arc::clone(&script_gate)));
        }
        steps.extend([usage_chunk(), event("[DONE]"), chunk(b"")]);
        steps
    })
    .await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint_dollars("openai", DOLLAR).await;
    let mut client = Client::connect(rig.address).await;
    client.send(request(&token, "POST", CHAT, HELLO_STREAMED)).await;
    client.head().await.expect("a head");
    for number in 0..20 {
        let mut event = String::new();
        while !event.contains(&format!("word {number}\"")) || !event.ends_with("\n\n") {
            event += &String::from_utf8(soon(client.chunk()).await.expect("a chunk")).expect("text");
        }
        gate.add_permits(1);
    }
    while !client.chunk().await.expect("the rest").is_empty() {}
    assert_eq!(rig.key(id).await.used.spend_nanos, USAGE_NANOS);
}

#[tokio::test]
async fn hanging_up_costs_what_reading_on_costs() {
    let (gate, upstream) = gated_upstream().await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint_dollars("openai", DOLLAR).await;
    let mut client = Client::connect(rig.address).await;
    client.send(request(&token, "POST", CHAT, HELLO_STREAMED)).await;
    client.head().await.expect("a head");
    client.chunk().await.expect("the first event");
    drop(client);
    gate.add_permits(10);
    settled(&rig, id).await;
    let record = rig.last_record(id).await;
    assert_eq!((record.outcome, record.charged.spend_nanos), (Outcome::Complete, USAGE_NANOS));
}

#[tokio::test]
async fn hanging_up_before_the_answer_costs_what_it_costs() {
    let Gated { upstream, gate, arrived } = Gated::start(usize::MAX).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint_dollars("openai", DOLLAR).await;
    let mut client = Client::connect(rig.address).await;
    client.send(request(&token, "POST", CHAT, HELLO)).await;
    arrived.acquire().await.expect("open").forget();
    drop(client);
    gate.add_permits(1);
    settled(&rig, id).await;
    let record = rig.last_record(id).await;
    assert_eq!((record.outcome, record.charged.spend_nanos), (Outcome::Complete, USAGE_NANOS));
}

/// Waits until nothing of the key is under way any more.
pub(super) async fn settled(rig: &Rig, id: till_core::key::KeyId) {
    let settled = async {
        loop {
            rig.becomes_idle().await;
            rig.store.flush().await.expect("writable");
            let filter = till_store::UsageFilter { key: Some(id), ..Default::default() };
            let query = till_store::UsageQuery { filter, ..Default::default() };
            if !rig.store.usage_list(query).await.expect("readable").records.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon(settled).await;
}

#[tokio::test]
async fn what_is_not_known_is_spent() {
    let cut = || vec![chunked_head(EVENTS), delta("Hi"), Step::Close];
    let no_usage = || vec![chunked_head(EVENTS), delta("Hi"), event("[DONE]"), chunk(b"")];
    let error = || respond("500 Internal Server Error", "content-type: application/json\r\n", b"{}");
    let silent = || json(r#"{"choices":[]}"#);
    let unreadable = || json(&answer_with(r#""usage":{"prompt_tokens":-1,"completion_tokens":"x"}"#));
    for (name, steps) in [
        ("cut", cut()),
        ("no usage", no_usage()),
        ("error", error()),
        ("silent", silent()),
        ("unreadable", unreadable()),
    ] {
        let upstream = Upstream::start(move |_, _| steps.clone()).await;
        let rig = Rig::openai(&upstream.url()).await;
        let (token, id) = rig.mint_dollars("openai", DOLLAR).await;
        let asked = if matches!(name, "cut" | "no usage") { HELLO_STREAMED } else { HELLO };
        post(&rig, &token, asked).await;
        let record = rig.last_record(id).await;
        assert_eq!(record.outcome, Outcome::Charged, "{name}");
        // At least the 200 tokens of output that the request might have made.
        assert!(record.charged.spend_nanos >= 200 * 600, "{name}: {:?}", record.charged);
        assert_eq!(rig.key(id).await.used.spend_nanos, record.charged.spend_nanos, "{name}");
    }
}

#[tokio::test]
async fn refusals_of_the_provider_cost_an_activation_and_no_money() {
    for status in ["429 Too Many Requests", "400 Bad Request", "401 Unauthorized"] {
        let upstream =
            Upstream::start(move |_, _| respond(status, "content-type: application/json\r\n", b"{}")).await;
        let rig = Rig::openai(&upstream.url()).await;
        let (token, id) = rig.mint_dollars("openai", DOLLAR).await;
        for _ in 0..10 {
            assert!(status.starts_with(&post(&rig, &token, HELLO).await.status.to_string()));
        }
        let key = rig.key(id).await;
        assert_eq!((key.used.activations, key.used.tokens, key.used.spend_nanos), (10, 0, 0), "{status}");
        assert_eq!(rig.last_record(id).await.outcome, Outcome::Unbilled);
    }
}

/// What stands at another address than the provider's own may bill what the provider does not.
#[tokio::test]
async fn a_gateway_is_paid_for_what_it_refuses() {
    let upstream =
        Upstream::start(|_, _| respond("429 Too Many Requests", "content-type: application/json\r\n", b"{}"))
            .await;
    let options = Options { bills_alike: false, ..Options::default() };
    let rig = Rig::start(&[("openai", &upstream.url())], options).await;
    let (token, id) = rig.mint_dollars("openai", DOLLAR).await;
    assert_eq!(post(&rig, &token, HELLO).await.status, 429);
    assert_eq!(rig.last_record(id).await.outcome, Outcome::Charged);
    assert!(rig.key(id).await.used.spend_nanos >= 200 * 600);
}

#[tokio::test]
async fn more_than_the_model_can_put_out_is_lowered_and_said() {
    let upstream = Upstream::start(|_, _| json(&answer_with(USAGE))).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, _) = rig.mint_dollars("openai", DOLLAR).await;
    let answer = post(&rig, &token, &HELLO.replace("200", "2000000")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("x-till-clamped"), Some("max_tokens=16384"));
}

#[tokio::test]
async fn a_provider_that_ignores_the_cap_is_cut() {
    let flood = format!(
        "data: {}\n\n",
        r#"{"id":"c","object":"chat.completion.chunk","model":"gpt-4o-mini","choices":[{"index":0,"delta":{"content":"and so on and on and on"},"finish_reason":null}]}"#
    );
    let stalled = Arc::new(Semaphore::new(0));
    let upstream = Upstream::start(move |_, _| {
        let piece = format!("{:x}\r\n{flood}\r\n", flood.len()).into_bytes();
        vec![chunked_head(EVENTS), Step::Flood { piece, stalled: Arc::clone(&stalled) }]
    })
    .await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint_dollars("openai", DOLLAR).await;
    let answer = soon(post(&rig, &token, HELLO_STREAMED)).await;
    assert!(answer.text().contains("\"error\""), "{}", answer.text().len());
    assert!(answer.text().len() < 1_000_000, "{}", answer.text().len());
    let record = rig.last_record(id).await;
    assert_eq!(record.outcome, Outcome::Charged);
    assert!(record.charged.spend_nanos >= 200 * 600);
}

#[tokio::test]
async fn a_provider_that_reports_more_than_was_held_stops_the_key() {
    let lie = r#""usage":{"prompt_tokens":100,"completion_tokens":9000000000000000000,"total_tokens":1}"#;
    let upstream = Upstream::start(move |_, _| json(&answer_with(lie))).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint_dollars("openai", DOLLAR).await;
    let (other, _) = rig.mint_dollars("openai", DOLLAR).await;
    assert_eq!(post(&rig, &token, HELLO).await.status, 200);
    rig.store.flush().await.expect("writable");
    let answer = post(&rig, &token, HELLO).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(answer.text().contains("spend_exhausted"), "{}", answer.text());
    assert!(rig.key(id).await.used.spend_nanos > DOLLAR);
    let audit = rig.store.audit_list(0, 1000).await.expect("readable");
    for action in ["hold.exceeded", "ledger.overrun"] {
        assert!(audit.iter().any(|entry| entry.action == action), "{action} in {audit:?}");
    }
    assert_eq!(post(&rig, &other, HELLO).await.status, 200, "other keys go on");
}

#[tokio::test]
async fn a_request_waits_for_units_that_are_only_held() {
    let Gated { upstream, gate, arrived } = Gated::start(1).await;
    let rig = Arc::new(Rig::openai(&upstream.url()).await);
    // The first request alone takes nearly everything.
    let (token, id) = rig.mint_dollars("openai", 200_000).await;
    let call = |rig: &Arc<Rig>| {
        let (rig, token) = (Arc::clone(rig), token.clone());
        tokio::spawn(async move { post(&rig, &token, HELLO).await })
    };
    let first = call(&rig);
    arrived.acquire().await.expect("open").forget();
    let second = call(&rig);
    while !rig.proxy.metrics_text().contains("till_requests_in_flight 2\n") {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(!second.is_finished());
    gate.add_permits(1);
    assert_eq!(soon(first).await.expect("no panic").status, 200);
    let second = soon(second).await.expect("no panic");
    assert_eq!(second.status, 200, "{}", second.text());
    assert_eq!(rig.key(id).await.used.spend_nanos, 2 * USAGE_NANOS);
}

#[tokio::test]
async fn waiting_has_an_end() {
    let Gated { upstream, gate, arrived } = Gated::start(usize::MAX).await;
    let timeouts = Timeouts { budget: Duration::from_millis(50), ..Timeouts::default() };
    let options = Options { timeouts, ..Options::default() };
    let rig = Arc::new(Rig::start(&[("openai", &upstream.url())], options).await);
    let (token, _) = rig.mint_dollars("openai", 200_000).await;
    let first = {
        let (rig, token) = (Arc::clone(&rig), token.clone());
        tokio::spawn(async move { post(&rig, &token, HELLO).await })
    };
    arrived.acquire().await.expect("open").forget();
    let answer = soon(post(&rig, &token, HELLO)).await;
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert!(answer.text().contains("budget_busy"), "{}", answer.text());
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(upstream.received().len(), 1);
    gate.add_permits(1);
    assert_eq!(first.await.expect("no panic").status, 200);
}

#[tokio::test]
async fn a_websocket_is_not_opened_for_a_metered_key() {
    let upstream = Upstream::start(|_, _| json("{}")).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, _) = rig.mint_dollars("openai", DOLLAR).await;
    let upgrade = format!(
        "GET /v1/responses HTTP/1.1\r\nhost: till\r\nauthorization: Bearer {token}\r\nconnection: \
         upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: \
         dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let answer = Client::connect(rig.address).await.request(upgrade).await;
    assert_eq!(answer.status, 426, "{}", answer.text());
    assert_eq!(upstream.received().len(), 0);
}

#[tokio::test]
async fn what_the_provider_gives_for_nothing_costs_nothing() {
    let upstream = Upstream::start(|_, _| json(r#"{"data":[]}"#)).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint_dollars("openai", 1).await;
    let answer = rig.call(&token, "GET", "/v1/models", "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(rig.key(id).await.used.spend_nanos, 0);
    assert_eq!(rig.last_record(id).await.outcome, Outcome::Free);
}

#[tokio::test]
async fn a_public_tokenizer_tightens_a_bound_that_does_not_fit() {
    let upstream = Upstream::start(|_, _| json(&answer_with(USAGE))).await;
    let rig = Rig::openai(&upstream.url()).await;
    // 40,000 bytes, but only about 8,000 tokens.
    let story = "Once upon a time there was a proxy. ".repeat(1_111);
    let asked = format!(
        r#"{{"model":"gpt-4o-mini","messages":[{{"role":"user","content":"{story}"}}],"max_tokens":100}}"#
    );
    let limits = Limits { tokens: Some(20_000), ..Limits::default() };
    let (token, id) = rig.mint_with("openai", limits, KeyOptions::default()).await;
    let answer = post(&rig, &token, &asked).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(rig.proxy.metrics_text().contains("till_inputs_counted_total 1\n"));
    assert_eq!(rig.key(id).await.used.tokens, 150);
    // What does not fit however it is counted is refused.
    let limits = Limits { tokens: Some(8_000), ..Limits::default() };
    let (token, _) = rig.mint_with("openai", limits, KeyOptions::default()).await;
    let answer = post(&rig, &token, &asked).await;
    assert!(answer.status == 403 && answer.text().contains("tokens_exhausted"), "{}", answer.text());
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn the_provider_counts_for_nothing_what_does_not_fit() {
    let upstream = Upstream::start(|_, received| {
        if received.target().ends_with("/count_tokens") {
            return json(r#"{"input_tokens":8000}"#);
        }
        json(
            r#"{"type":"message","model":"claude-haiku-4-5","stop_reason":"end_turn","content":[],"usage":{"input_tokens":8000,"output_tokens":5}}"#,
        )
    })
    .await;
    let rig = Rig::start(&[("anthropic", &upstream.url())], Options::default()).await;
    let story = "Once upon a time there was a proxy. ".repeat(1_111);
    let asked = format!(
        r#"{{"model":"claude-haiku-4-5","messages":[{{"role":"user","content":"{story}"}}],"max_tokens":100,"stream":false}}"#
    );
    let limits = Limits { activations: Some(1), tokens: Some(20_000), ..Limits::default() };
    let (token, id) = rig.mint_with("anthropic", limits, KeyOptions::default()).await;
    let answer = rig.call(&token, "POST", "/v1/messages", &asked).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let received = upstream.received();
    let targets: Vec<&str> = received.iter().map(Received::target).collect();
    assert_eq!(targets, ["/v1/messages/count_tokens", "/v1/messages"]);
    let question = body(&received[0]);
    assert!(question.get("max_tokens").is_none() && question.get("stream").is_none(), "{question}");
    let key = rig.key(id).await;
    assert_eq!((key.used.activations, key.used.tokens), (1, 8_005), "the question is no activation");
    // The key is used up: nothing is asked any more.
    let answer = rig.call(&token, "POST", "/v1/messages", &asked).await;
    assert!(answer.text().contains("activations_exhausted"), "{}", answer.text());
    assert_eq!(upstream.received().len(), 2);
}
