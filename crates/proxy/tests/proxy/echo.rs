//! Promise 6: the upstream key never reaches the agent, whatever the provider does with it.

use std::io::Write as _;

use async_compression::tokio::write::{BrotliEncoder, ZstdEncoder};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use till_testkit::client::{Answer, Client};
use till_testkit::upstream::{Step, Upstream, chunk, chunked_head, respond};
use tokio::io::AsyncWriteExt as _;

use super::rig::{Rig, UPSTREAM_KEY, request};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The key in every form that is promised.
fn forms() -> Vec<String> {
    let mut forms = vec![
        UPSTREAM_KEY.to_owned(),
        format!("Bearer {UPSTREAM_KEY}"),
        hex(UPSTREAM_KEY.as_bytes()),
        hex(UPSTREAM_KEY.as_bytes()).to_uppercase(),
        UPSTREAM_KEY.bytes().map(|byte| format!("%{byte:02X}")).collect(),
        UPSTREAM_KEY.bytes().map(|byte| format!("\\u{byte:04x}")).collect(),
        UPSTREAM_KEY.replace('-', "%2d"),
    ];
    for before in ["", "x", "xy"] {
        let text = format!("{before}{UPSTREAM_KEY}yz");
        forms.push(STANDARD.encode(&text));
        forms.push(URL_SAFE_NO_PAD.encode(&text));
    }
    forms
}

/// Whether an answer has the key in any of the forms; base64 is decoded at every alignment.
fn leaks(answer: &Answer) -> bool {
    let text = format!("{}\n{}\n{}", answer.head, answer.text(), answer.trailers);
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "+/-_=%\\".contains(c)));
    let decoded = words.flat_map(|word| {
        let word = word.replace('-', "+").replace('_', "/");
        let word = word.trim_end_matches('=').to_owned();
        (0..4).filter_map(move |skip| {
            let part = word.get(skip..)?;
            let whole = &part[..part.len() - part.len() % 4];
            STANDARD.decode(whole).ok()
        })
    });
    let decoded: Vec<Vec<u8>> = decoded.collect();
    let plain = |bytes: &[u8]| bytes.windows(UPSTREAM_KEY.len()).any(|part| part == UPSTREAM_KEY.as_bytes());
    let escaped = forms();
    escaped[..7].iter().any(|form| text.contains(form.as_str())) || decoded.iter().any(|bytes| plain(bytes))
}

async fn one_answer(steps: Vec<Step>) -> Answer {
    let upstream = Upstream::start(move |_, _| steps.clone()).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, _) = rig.mint("openai", 1).await;
    let te = "te: trailers\r\nconnection: te\r\nhost:";
    let request = request(&token, "POST", "/v1/chat/completions", "{}").replacen("host:", te, 1);
    let mut client = Client::connect(rig.address).await;
    let answer = client.request(request).await;
    assert_eq!(
        upstream.received()[0].header("authorization"),
        [format!("Bearer {UPSTREAM_KEY}")],
        "the provider really has the key"
    );
    answer
}

#[tokio::test]
async fn in_a_body_in_every_form() {
    for form in forms() {
        let body = format!("{{\"echo\":\"{form}\"}}");
        let answer = one_answer(respond("200 OK", "", body.as_bytes())).await;
        assert!(!leaks(&answer), "{form}: {}", answer.text());
        assert_eq!(answer.body.len(), body.len(), "the length stays");
        assert!(answer.text().starts_with("{\"echo\":\""));
    }
}

#[tokio::test]
async fn in_headers_and_trailers() {
    let headers = format!("x-echo: Bearer {UPSTREAM_KEY}\r\nx-{UPSTREAM_KEY}: 1\r\ntrailer: x-t\r\n");
    let trailers = format!("0\r\nx-t: {UPSTREAM_KEY}\r\n\r\n");
    let steps = vec![chunked_head(&headers), chunk(b"hello"), Step::Send(trailers.into_bytes())];
    let answer = one_answer(steps).await;
    assert!(!leaks(&answer), "{} {}", answer.head, answer.trailers);
    assert!(answer.header("x-echo").is_some_and(|value| value.starts_with("Bearer ***")));
    assert!(answer.trailers.starts_with("x-t: ***"), "{:?}", answer.trailers);
    assert_eq!((answer.text().as_str(), answer.is_complete), ("hello", true));
}

#[tokio::test]
async fn in_the_reason_phrase() {
    let status = format!("200 {UPSTREAM_KEY}");
    let answer = one_answer(respond(&status, "", b"{}")).await;
    assert!(!leaks(&answer), "{}", answer.head);
}

#[tokio::test]
async fn in_a_stream_split_at_every_byte() {
    let event = format!("data: {{\"delta\":\"{UPSTREAM_KEY}\"}}\n\n");
    let answers: Vec<Vec<Step>> = (1..event.len())
        .map(|at| {
            let (left, right) = event.as_bytes().split_at(at);
            vec![chunked_head("content-type: text/event-stream\r\n"), chunk(left), chunk(right), chunk(b"")]
        })
        .chain([{
            let mut steps = vec![chunked_head("content-type: text/event-stream\r\n")];
            steps.extend(event.bytes().map(|byte| chunk(&[byte])));
            steps.push(chunk(b""));
            steps
        }])
        .collect();
    let count = answers.len();
    let upstream = Upstream::start(move |number, _| answers[number].clone()).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, _) = rig.mint("openai", count as u64).await;
    let mut client = Client::connect(rig.address).await;
    for _ in 0..count {
        let answer = client.request(request(&token, "POST", "/v1/chat/completions", "{}")).await;
        assert!(!leaks(&answer), "{}", answer.text());
        assert_eq!((answer.body.len(), answer.is_complete), (event.len(), true));
    }
}

#[tokio::test]
async fn compressed_although_asked_not_to() {
    let body = format!("{{\"echo\":\"{UPSTREAM_KEY}\"}}").repeat(50).into_bytes();
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&body).expect("in memory");
        encoder.finish().expect("in memory")
    };
    let zlib = {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&body).expect("in memory");
        encoder.finish().expect("in memory")
    };
    let codings =
        [("gzip", gzip), ("deflate", zlib), ("zstd", zstd(&body).await), ("br", brotli(&body).await)];
    for (coding, compressed) in codings {
        let answer =
            one_answer(respond("200 OK", &format!("content-encoding: {coding}\r\n"), &compressed)).await;
        assert_eq!(answer.header("content-encoding"), None);
        assert_eq!((answer.body.len(), answer.is_complete), (body.len(), true), "{coding}");
        assert!(!leaks(&answer), "{coding}");
        // Cut into single bytes on the way.
        let mut steps = vec![chunked_head(&format!("content-encoding: {coding}\r\n"))];
        steps.extend(compressed.iter().map(|byte| chunk(&[*byte])));
        steps.push(chunk(b""));
        let answer = one_answer(steps).await;
        assert_eq!(answer.body.len(), body.len());
        assert!(!leaks(&answer), "{coding}");
    }
}

async fn zstd(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZstdEncoder::new(Vec::new());
    encoder.write_all(body).await.expect("in memory");
    encoder.shutdown().await.expect("in memory");
    encoder.into_inner()
}

async fn brotli(body: &[u8]) -> Vec<u8> {
    let mut encoder = BrotliEncoder::new(Vec::new());
    encoder.write_all(body).await.expect("in memory");
    encoder.shutdown().await.expect("in memory");
    encoder.into_inner()
}

#[tokio::test]
async fn every_frame_of_a_compressed_body_is_decoded() {
    let secret = format!("second {UPSTREAM_KEY}");
    let frames = [zstd(b"first ").await, zstd(secret.as_bytes()).await].concat();
    let answer = one_answer(respond("200 OK", "content-encoding: zstd\r\n", &frames)).await;
    let masked = format!("first second {}", "*".repeat(UPSTREAM_KEY.len()));
    assert_eq!((answer.text(), answer.is_complete), (masked, true));
}

#[tokio::test]
async fn codings_that_can_not_be_read_are_not_passed_on() {
    for coding in ["compress", "gzip, gzip", "x-unknown", "identity, br, gzip"] {
        let headers = format!("content-encoding: {coding}\r\n");
        let answer = one_answer(respond("200 OK", &headers, UPSTREAM_KEY.as_bytes())).await;
        assert_eq!(answer.status, 502, "{coding}");
        assert!(!leaks(&answer), "{coding}");
    }
}

#[tokio::test]
async fn what_is_not_what_its_coding_says_is_a_clear_failure() {
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let headers = format!("content-encoding: {coding}\r\n");
        let answer = one_answer(respond("200 OK", &headers, b"{\"plain\": \"text, not compressed\"}")).await;
        assert_eq!(answer.status, 502, "{coding}");
        assert!(answer.text().contains("upstream_protocol"), "{coding}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_compressed_answer_that_breaks_off_looks_cut() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    encoder.write_all(&[b'x'; 100_000]).expect("in memory");
    let mut compressed = encoder.finish().expect("in memory");
    compressed.truncate(60_000);
    let answer = one_answer(respond("200 OK", "content-encoding: gzip\r\n", &compressed)).await;
    assert_eq!((answer.status, answer.is_complete), (200, false));
}

#[tokio::test]
async fn ordinary_answers_are_not_touched() {
    let body = format!("{{\"almost\":\"{}\"}}", &UPSTREAM_KEY[..UPSTREAM_KEY.len() / 2 - 1]);
    let answer = one_answer(respond("201 Created", "x-a: sk-canary\r\n", body.as_bytes())).await;
    assert_eq!((answer.status, answer.text()), (201, body));
    assert_eq!(answer.header("x-a"), Some("sk-canary"));
}
