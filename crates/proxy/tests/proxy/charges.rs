//! The corners of what a call is charged: whoever leaves, however the answer ends, and what is kept of it.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use till_core::denial::DenialCode;
use till_core::limit::Limits;
use till_proxy::Timeouts;
use till_store::{KeyOptions, Outcome};
use till_testkit::client::Client;
use till_testkit::upstream::{Step, Upstream, chunk, chunked_head, json, respond};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::metered::{
    CHAT, DOLLAR, EVENTS, Gated, HELLO, HELLO_STREAMED, USAGE, USAGE_NANOS, answer_with, delta, event,
    gated_stream, gated_upstream, post, settled, usage_chunk,
};
use super::rig::{Options, Rig, becomes, connections_end, request, soon};

/// A client that hangs up early must not make room for the next request while the provider still works for it.
#[tokio::test]
async fn what_nobody_waits_for_any_more_is_still_in_flight() {
    let gate = Arc::new(Semaphore::new(0));
    let script_gate = Arc::clone(&gate);
    let upstream = Upstream::start(move |_, _| {
        let mut steps = vec![Step::Wait(Arc::clone(&script_gate))];
        steps.extend(gated_stream(&script_gate));
        steps
    })
    .await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint_dollars("openai", DOLLAR).await;
    let mut client = Client::connect(rig.address).await;
    client.send(request(&token, "POST", CHAT, HELLO_STREAMED)).await;
    becomes(|| !upstream.received().is_empty()).await;
    drop(client);
    becomes(|| rig.proxy.metrics_text().contains("till_client_connections_open 0\n")).await;
    let in_flight = || rig.proxy.metrics_text().contains("till_requests_in_flight 1\n");
    // The client's part is over at any moment now.
    soon(async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(in_flight(), "before the head: {}", rig.proxy.metrics_text());
    gate.add_permits(10);
    settled(&rig, id).await;
    assert_eq!(rig.key(id).await.used.spend_nanos, USAGE_NANOS);
}

/// A revoked key ends what is read on for it, and what was held is spent.
#[tokio::test]
async fn a_revocation_ends_what_is_read_on_for_nobody() {
    let (_gate, upstream) = gated_upstream().await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint_dollars("openai", DOLLAR).await;
    let mut client = Client::connect(rig.address).await;
    client.send(request(&token, "POST", CHAT, HELLO_STREAMED)).await;
    client.head().await.expect("a head");
    drop(client);
    becomes(|| rig.proxy.metrics_text().contains("till_client_connections_open 0\n")).await;
    rig.revoke(id).await;
    settled(&rig, id).await;
    let record = rig.last_record(id).await;
    assert_eq!(record.outcome, Outcome::Charged);
    assert!(record.charged.spend_nanos >= 200 * 600);
}

/// Bodies that are announced and do not come must not keep others out.
#[tokio::test]
async fn a_body_that_does_not_arrive_takes_no_room_from_others() {
    let upstream = Upstream::start(|_, _| json(&answer_with(USAGE))).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, _) = rig.mint_dollars("openai", DOLLAR).await;
    let mut slow = Vec::new();
    for number in 1..=12 {
        let mut client = Client::connect(rig.address).await;
        let head = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: till\r\nauthorization: Bearer {token}\r\ncontent-length: \
             67108864\r\n\r\n{{\"model\""
        );
        client.send(head).await;
        becomes(|| rig.proxy.metrics_text().contains(&format!("till_requests_in_flight {number}\n"))).await;
        slow.push(client);
    }
    let answer = post(&rig, &token, HELLO).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Whatever somebody calls a model stays small where it is kept.
#[tokio::test]
async fn a_long_model_name_is_not_kept() {
    let long = "m".repeat(10_000);
    let said = answer_with(USAGE).replace("gpt-4o-mini-2024-07-18", &long);
    let upstream = Upstream::start(move |_, _| json(&said)).await;
    let rig = Rig::openai(&upstream.url()).await;
    let limits = Limits { tokens: Some(1_000_000), ..Limits::default() };
    let (token, id) = rig.mint_with("openai", limits, KeyOptions::default()).await;
    for (asked, status) in [(HELLO, 200), (&HELLO.replace("gpt-4o-mini", &long), 400)] {
        let answer = post(&rig, &token, asked).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        let record = rig.last_record(id).await;
        assert!(record.model.is_none_or(|model| model.len() <= 256), "{status}");
    }
}

/// A key whose requests may be unbounded exceeds what was held with every one of them: that is no alarm.
#[tokio::test]
async fn a_request_that_may_be_unbounded_is_no_alarm() {
    let upstream = Upstream::start(|_, _| json(&answer_with(USAGE))).await;
    let rig = Rig::openai(&upstream.url()).await;
    let limits = Limits { spend_nanos: Some(2 * USAGE_NANOS - 1), ..Limits::default() };
    let options = KeyOptions { allow_unbounded: true, ..KeyOptions::default() };
    let (token, id) = rig.mint_with("openai", limits, options).await;
    let unknown_field = HELLO.replace("\"max_tokens\"", "\"spend_more\":true,\"max_tokens\"");
    let audited = async |action: &str| {
        rig.store.flush().await.expect("writable");
        let audit = rig.store.audit_list(0, 1000).await.expect("readable");
        audit.iter().filter(|entry| entry.action == action).count()
    };
    assert_eq!(post(&rig, &token, &unknown_field).await.status, 200);
    assert_eq!((audited("hold.exceeded").await, audited("ledger.overrun").await), (0, 0));
    // A limit that is broken is one.
    assert_eq!(post(&rig, &token, &unknown_field).await.status, 200);
    assert_eq!(rig.key(id).await.used.spend_nanos, 2 * USAGE_NANOS);
    assert_eq!(audited("ledger.overrun").await, 1);
    assert_eq!(post(&rig, &token, &unknown_field).await.status, 403);
    let seen = rig.call(&token, "GET", "/key", "").await;
    assert!(seen.text().contains("\"dangerAllowUnbounded\":true"), "{}", seen.text());
}

/// What the 200 tokens of output of a request may cost that is not read to its end.
const OUTPUT_NANOS: u64 = 200 * 600;

#[tokio::test]
async fn a_stream_that_is_reset_is_read_to_its_end() {
    let (gate, upstream) = gated_upstream().await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint_dollars("openai", DOLLAR).await;
    let socket = TcpStream::connect(rig.address).await.expect("it listens");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
            .await
            .expect("HTTP/2 with prior knowledge");
    tokio::spawn(connection);
    let asked = http::Request::post(format!("http://till{CHAT}"))
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(HELLO_STREAMED)))
        .expect("a good request");
    let mut answer = soon(sender.send_request(asked)).await.expect("an answer");
    soon(answer.frame()).await.expect("an event").expect("of the answer");
    drop(answer);
    gate.add_permits(10);
    settled(&rig, id).await;
    let record = rig.last_record(id).await;
    assert_eq!((record.outcome, record.charged.spend_nanos), (Outcome::Complete, USAGE_NANOS));
    drop(sender);
}

#[tokio::test]
async fn a_compressed_answer_costs_what_it_says() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(answer_with(USAGE).as_bytes()).expect("in memory");
    let compressed = encoder.finish().expect("in memory");
    let headers = "content-type: application/json\r\ncontent-encoding: gzip\r\n";
    let upstream = Upstream::start(move |_, _| respond("200 OK", headers, &compressed)).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint_dollars("openai", DOLLAR).await;
    assert_eq!(post(&rig, &token, HELLO).await.text(), answer_with(USAGE));
    let record = rig.last_record(id).await;
    assert_eq!((record.outcome, record.charged.spend_nanos), (Outcome::Complete, USAGE_NANOS));
}

#[tokio::test]
async fn only_a_whole_refusal_costs_nothing() {
    for (name, status, body, is_cut) in [
        ("cut", "429 Too Many Requests", "{\"error\":".to_owned(), true),
        ("timeout", "408 Request Timeout", "{}".to_owned(), false),
        ("fault that says what was used", "500 Internal Server Error", answer_with(USAGE), false),
        ("elsewhere", "302 Found", "{}".to_owned(), false),
        ("nothing", "204 No Content", String::new(), false),
    ] {
        let length = body.len() + usize::from(is_cut);
        let framing =
            if status.starts_with("204") { String::new() } else { format!("content-length: {length}\r\n") };
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{framing}\r\n{body}");
        let upstream =
            Upstream::start(move |_, _| vec![Step::Send(head.clone().into_bytes()), Step::Close]).await;
        let rig = Rig::openai(&upstream.url()).await;
        let (token, id) = rig.mint_dollars("openai", DOLLAR).await;
        post(&rig, &token, HELLO).await;
        settled(&rig, id).await;
        let record = rig.last_record(id).await;
        assert_eq!(record.outcome, Outcome::Charged, "{name}");
        assert!(record.charged.spend_nanos >= OUTPUT_NANOS, "{name}: {:?}", record.charged);
        assert!(record.price_version.is_some(), "{name}: it is charged by a price");
    }
}

/// What is said before an answer breaks off counts if it is more than what was held.
#[tokio::test]
async fn an_answer_that_breaks_off_costs_at_least_what_it_says() {
    let lie = USAGE.replace("50", "150").replace("\"prompt_tokens\":100", "\"prompt_tokens\":900000");
    let said = format!(r#"{{"id":"c","model":"gpt-4o-mini","choices":[],{lie}}}"#);
    let upstream =
        Upstream::start(move |_, _| vec![chunked_head(EVENTS), delta("Hi"), event(&said), Step::Close]).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint_dollars("openai", DOLLAR).await;
    post(&rig, &token, HELLO_STREAMED).await;
    let record = rig.last_record(id).await;
    assert_eq!(record.outcome, Outcome::Charged);
    assert!(record.charged.spend_nanos >= 900_000 * 150, "{:?}", record.charged);
}

#[tokio::test]
async fn a_stream_with_a_length_may_be_shortened() {
    let mut text = String::new();
    for step in [delta("Hi"), usage_chunk(), event("[DONE]")] {
        let Step::Send(bytes) = step else { continue };
        let chunk = String::from_utf8(bytes).expect("text");
        text += chunk.split_once("\r\n").expect("a chunk").1.trim_end_matches("\r\n");
    }
    let whole = text.clone();
    let upstream = Upstream::start(move |_, _| respond("200 OK", EVENTS, text.as_bytes())).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint_dollars("openai", DOLLAR).await;
    let answer = soon(post(&rig, &token, HELLO_STREAMED)).await;
    assert!(answer.is_complete && answer.body.len() < whole.len(), "{}", answer.text());
    assert!(answer.text().ends_with("data: [DONE]\n\n"), "{}", answer.text());
    assert_eq!(rig.key(id).await.used.spend_nanos, USAGE_NANOS);
}

#[tokio::test]
async fn a_compressed_request_is_refused_where_it_has_to_be_read() {
    let upstream = Upstream::start(|_, _| json(&answer_with(USAGE))).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, _) = rig.mint_dollars("openai", DOLLAR).await;
    let asked =
        request(&token, "POST", CHAT, HELLO).replace("host: till", "host: till\r\ncontent-encoding: gzip");
    let answer = Client::connect(rig.address).await.request(asked).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(upstream.received().len(), 0);
}

/// What the provider gets is framed as it is, whatever the client's framing was.
#[tokio::test]
async fn a_rewritten_body_has_its_own_length() {
    let upstream = Upstream::start(|_, _| json(&answer_with(USAGE))).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, _) = rig.mint_dollars("openai", 150_000).await;
    let (first, second) = HELLO.split_at(20);
    let chunked = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: till\r\nauthorization: Bearer {token}\r\ncontent-type: \
         application/json\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x}\r\n\
         {second}\r\n0\r\n\r\n",
        first.len(),
        second.len()
    );
    for asked in [request(&token, "POST", CHAT, HELLO), chunked] {
        let before = upstream.received().len();
        let mut client = Client::connect(rig.address).await;
        // The first answer may be till's own 100 (Continue).
        client.request(asked).await;
        becomes(|| upstream.received().len() > before).await;
        let received = upstream.received();
        let sent = &received[before];
        assert_eq!(sent.header("content-length"), [sent.body.len().to_string()]);
        assert!(sent.header("transfer-encoding").is_empty() && sent.header("expect").is_empty());
        let body: serde_json::Value = serde_json::from_slice(&sent.body).expect("JSON");
        assert!(body["max_tokens"].as_u64().expect("a number") < 200, "{body}");
    }
}

#[tokio::test]
async fn who_hangs_up_while_waiting_is_gone() {
    let Gated { upstream, gate, .. } = Gated::start(usize::MAX).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint_dollars("openai", 200_000).await;
    let mut first = Client::connect(rig.address).await;
    first.send(request(&token, "POST", CHAT, HELLO)).await;
    becomes(|| !upstream.received().is_empty()).await;
    let mut second = Client::connect(rig.address).await;
    second.send(request(&token, "POST", CHAT, HELLO)).await;
    becomes(|| rig.proxy.metrics_text().contains("till_requests_in_flight 2\n")).await;
    drop(second);
    becomes(|| rig.proxy.metrics_text().contains("till_requests_in_flight 1\n")).await;
    gate.add_permits(1);
    assert_eq!(first.answer().await.expect("an answer").status, 200);
    settled(&rig, id).await;
    assert_eq!((upstream.received().len(), rig.key(id).await.used.spend_nanos), (1, USAGE_NANOS));
}

#[tokio::test]
async fn what_is_refused_or_fails_is_recorded_too() {
    let upstream = Upstream::start(|_, _| vec![Step::Close]).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint_dollars("openai", DOLLAR).await;
    let unpriced = HELLO.replace("gpt-4o-mini", "model-of-tomorrow");
    let unknown = HELLO.replace("\"max_tokens\"", "\"spend_more\":1,\"max_tokens\"");
    for (asked, code) in [
        (unpriced.as_str(), DenialCode::UnpricedModel),
        (unknown.as_str(), DenialCode::UnboundedRequest),
        ("[", DenialCode::MalformedRequest),
        (HELLO, DenialCode::UpstreamProtocol),
    ] {
        post(&rig, &token, asked).await;
        // Records of refused calls are written within a second by themselves; a stop writes them at once.
        let record = soon(async {
            loop {
                let records =
                    rig.store.usage_list(till_store::UsageQuery::default()).await.expect("readable").records;
                if let Some((_, record)) = records.into_iter().find(|(_, record)| record.denial == Some(code))
                {
                    break record;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
        assert_eq!((record.key, &*record.endpoint, &*record.method), (id, "chat.completions", "POST"));
        assert_eq!(record.client, Some([127, 0, 0, 1].into()));
        let is_sent = code == DenialCode::UpstreamProtocol;
        assert_eq!(record.outcome, if is_sent { Outcome::Charged } else { Outcome::Denied });
        assert_eq!(record.charged.spend_nanos > 0, is_sent, "{code}");
        assert_eq!(record.price_version.is_some(), is_sent, "{code}");
    }
}

#[tokio::test]
async fn what_till_says_of_itself_is_not_said_by_others() {
    let spoofed = "content-type: application/json\r\nx-till-spend-remaining-usd: 1000000.00\r\nX-Till-Clamped: \
                   max_tokens=1\r\nx-till-request-id: theirs\r\n";
    let upstream =
        Upstream::start(move |_, _| respond("200 OK", spoofed, answer_with(USAGE).as_bytes())).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, _) = rig.mint_dollars("openai", DOLLAR).await;
    let asked = request(&token, "POST", CHAT, HELLO).replace("host: till", "host: till\r\nx-till-clamped: 1");
    let answer = Client::connect(rig.address).await.request(asked).await;
    assert!(answer.header("x-till-spend-remaining-usd").expect("ours").starts_with("0.999"));
    assert!(answer.header("x-till-request-id").expect("ours").starts_with("req_"));
    assert_eq!(answer.header("x-till-clamped"), None);
    assert!(upstream.received()[0].header("x-till-clamped").is_empty());
}

/// Reading on has an end: when nothing comes any more, and when too much comes.
#[tokio::test]
async fn reading_on_for_nobody_is_bounded() {
    let gate = Arc::new(Semaphore::new(0));
    let stalled = Arc::new(Semaphore::new(0));
    // A comment, which is no output.
    let comment = format!(": {}\n\n", "x".repeat(1_000_000));
    let piece = format!("{:x}\r\n{comment}\r\n", comment.len()).into_bytes();
    for (name, last) in [
        ("silence", Step::Wait(Arc::clone(&gate))),
        ("flood", Step::Flood { piece, stalled: Arc::clone(&stalled) }),
    ] {
        let idle = if name == "silence" { Duration::from_millis(50) } else { Duration::from_secs(300) };
        let upstream =
            Upstream::start(move |_, _| vec![chunked_head(EVENTS), delta("Hi"), last.clone()]).await;
        let timeouts = Timeouts { idle, ..Timeouts::default() };
        let rig =
            Rig::start(&[("openai", &upstream.url())], Options { timeouts, ..Options::default() }).await;
        let (token, id) = rig.mint_dollars("openai", DOLLAR).await;
        let mut client = Client::connect(rig.address).await;
        client.send(request(&token, "POST", CHAT, HELLO_STREAMED)).await;
        client.head().await.expect("a head");
        drop(client);
        settled(&rig, id).await;
        let record = rig.last_record(id).await;
        assert_eq!(record.outcome, Outcome::Charged, "{name}");
        assert!(record.charged.spend_nanos >= OUTPUT_NANOS, "{name}");
        if name == "flood" {
            connections_end(&upstream).await;
        }
    }
}

/// A key whose requests may be unbounded may use a model without a price; what the provider says that it cost counts.
#[tokio::test]
async fn what_the_provider_says_to_have_charged_counts_without_a_price() {
    let said = r#"{"id":"c","model":"model-of-tomorrow","choices":[],"usage":{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,"cost":0.0123}}"#;
    let silent = said.replace(",\"cost\":0.0123", "");
    let upstream = Upstream::start(move |number, _| json(if number == 0 { said } else { &silent })).await;
    let rig = Rig::start(&[("openrouter", &upstream.url())], Options::default()).await;
    let limits = Limits { spend_nanos: Some(DOLLAR), ..Limits::default() };
    let options = KeyOptions { allow_unbounded: true, ..KeyOptions::default() };
    let (token, id) = rig.mint_with("openrouter", limits, options).await;
    let asked = HELLO.replace("gpt-4o-mini", "model-of-tomorrow");
    for (outcome, nanos) in [(Outcome::Complete, 12_300_000), (Outcome::Charged, 0)] {
        let answer = rig.call(&token, "POST", "/api/v1/chat/completions", &asked).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let record = rig.last_record(id).await;
        assert_eq!((record.outcome, record.charged.spend_nanos), (outcome, nanos));
    }
}

/// Some providers leave out the blank line behind the last event: what was held back for it comes at the end.
#[tokio::test]
async fn a_stream_may_end_in_the_middle_of_an_event() {
    for last in ["data: [DONE]", "data: {\"choices\":[{\"delta\":{\"content\":\"!\"}}]}\n", "data"] {
        let upstream = Upstream::start(move |_, _| {
            vec![chunked_head(EVENTS), delta("Hi"), usage_chunk(), chunk(last.as_bytes()), chunk(b"")]
        })
        .await;
        let rig = Rig::openai(&upstream.url()).await;
        let (token, id) = rig.mint_dollars("openai", DOLLAR).await;
        let answer = post(&rig, &token, HELLO_STREAMED).await;
        assert!(answer.is_complete && answer.text().ends_with(last), "{}", answer.text());
        assert!(!answer.text().contains("prompt_tokens"), "{}", answer.text());
        settled(&rig, id).await;
        assert!(rig.key(id).await.used.spend_nanos >= USAGE_NANOS);
    }
}

/// A provider that says itself that it is beyond its cap is not read on until it stops.
#[tokio::test]
async fn a_stream_that_reports_more_than_its_cap_is_cut() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = Upstream::start(move |_, _| {
        let beyond = r#"{"id":"c","model":"gpt-4o-mini","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":201,"total_tokens":210}}"#;
        vec![chunked_head(EVENTS), delta("Hi"), event(beyond), Step::Wait(Arc::clone(&gate))]
    })
    .await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint_dollars("openai", DOLLAR).await;
    let answer = soon(post(&rig, &token, HELLO_STREAMED)).await;
    assert!(answer.is_complete && answer.text().contains("upstream_protocol"), "{}", answer.text());
    let record = rig.last_record(id).await;
    assert_eq!(record.outcome, Outcome::Charged);
    assert!(record.charged.spend_nanos >= OUTPUT_NANOS + 600);
}
