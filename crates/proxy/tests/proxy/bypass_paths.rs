//! Paths, methods and targets that try to look like an endpoint of the key's scope, over HTTP/1.1 and HTTP/2. None of them
//! reaches the provider; the request that they imitate does, after each.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use till_testkit::client::Client;
use till_testkit::upstream::{Upstream, json as answer};
use tokio::net::TcpStream;

use super::rig::{Options, Rig};

const SCOPE: &[&str] = &["POST /v1/chat/completions", "GET /v1/models/gpt-4o"];

/// Targets of a POST that want to be taken for the chat, or to get elsewhere by way of it.
const TARGETS: [&str; 44] = [
    "/v1/embeddings",
    "/v1/responses",
    "/v1/chat",
    "/v1/chat/completions/x",
    "/v1/chat/completions/",
    "/v1/chat/completionsx",
    "/v1/xchat/completions",
    "/v1/CHAT/completions",
    "/V1/chat/completions",
    "/v1//chat/completions",
    "//v1/chat/completions",
    "/v1/chat//completions",
    "/v1/./chat/completions",
    "/v1/chat/./completions",
    "/v1/embeddings/../chat/completions",
    "/v1/chat/completions/../../embeddings",
    "/v1/chat/completions/..",
    "/v1/%2e%2e/v1/embeddings",
    "/v1/chat/completions/%2e%2e/%2e%2e/embeddings",
    "/v1/chat/completions/%252e%252e/embeddings",
    "/v1/chat%2Fcompletions",
    "/v1/chat%2fcompletions",
    "/v1%2Fchat%2Fcompletions",
    "/v1/chat%5Ccompletions",
    "/v1/chat/completions%2F..%2F..%2Fembeddings",
    "/v1/chat;x=1/completions",
    "/v1/chat/completions;x=1",
    "/v1/embeddings;/v1/chat/completions",
    "/v1/chat/completions%3Bx",
    "/v1/chat/completions%00",
    "/v1/chat/completions%0d%0ax",
    "/v1/chat/completions%20",
    "/v1/chat/completions%3Fx",
    "/v1/chat/completions%23x",
    "/v1/%63hat/completions",
    "/v1/chat/completion%73",
    "/v1/chat/completions%c0%af",
    "/v1/chat/c%D0%BEmpletions",
    "/v1/chat/completions%E2%80%8B",
    "/v1/chat/%EF%BD%83ompletions",
    "/v2/chat/completions",
    "/v1/embeddings?/v1/chat/completions",
    "/v1/embeddings?path=/v1/chat/completions",
    "/proxy/anthropic/v1/chat/completions",
];

/// Methods and lines of the head that want a request to be treated as another.
const HEADS: [(&str, &str, &str); 14] = [
    ("GET", "/v1/chat/completions", ""),
    ("PUT", "/v1/chat/completions", ""),
    ("PATCH", "/v1/chat/completions", ""),
    ("post", "/v1/chat/completions", ""),
    ("POST", "/v1/models/gpt-4o", ""),
    ("HEAD", "/v1/models/gpt-4o", ""),
    ("DELETE", "/v1/models/gpt-4o", ""),
    ("POST", "/v1/chat/completions", "x-http-method-override: DELETE\r\n"),
    ("POST", "/v1/chat/completions", "x-http-method: PUT\r\n"),
    ("POST", "/v1/chat/completions", "x-method-override: GET\r\n"),
    ("POST", "/v1/embeddings", "x-original-url: /v1/chat/completions\r\n"),
    ("POST", "/v1/embeddings", "x-rewrite-url: /v1/chat/completions\r\n"),
    ("POST", "/v1/embeddings", "x-forwarded-prefix: /v1/chat/completions\r\n"),
    ("POST", "http://till/v1/embeddings", ""),
];

async fn rig() -> (Upstream, Rig, String) {
    let upstream = Upstream::start(|_, _| answer("{}")).await;
    let rig = Rig::start(&[("openai", &upstream.url())], Options::default()).await;
    let (token, _) = rig.mint_scoped("openai", json!({"endpoints": SCOPE})).await;
    (upstream, rig, token)
}

fn head(token: &str, method: &str, target: &str, lines: &str) -> String {
    format!(
        "{method} {target} HTTP/1.1\r\nhost: till\r\nauthorization: Bearer {token}\r\n{lines}content-type: \
         application/json\r\ncontent-length: 2\r\n\r\n{{}}"
    )
}

#[tokio::test]
async fn no_spelling_gets_past_the_endpoints_of_a_key() {
    let (upstream, rig, token) = rig().await;
    let targets = TARGETS.iter().map(|target| ("POST", *target, ""));
    for (number, (method, target, lines)) in targets.chain(HEADS).enumerate() {
        let mut client = Client::connect(rig.address).await;
        client.send(head(&token, method, target, lines)).await;
        let answered = client.head().await.unwrap_or_default();
        let status = answered.split(' ').nth(1).unwrap_or_default();
        assert!(matches!(status, "400" | "403" | "404"), "{method} {target} {lines}: {answered}");
        rig.becomes_idle().await;
        assert_eq!(upstream.received().len(), number, "{method} {target} {lines} was sent");
        let twin = rig.call(&token, "POST", "/v1/chat/completions", "{}").await;
        assert_eq!(twin.status, 200, "after {method} {target}: {}", twin.text());
    }
    println!("{} hostile requests", TARGETS.len() + HEADS.len());
}

/// `:path`, `:method` and `:authority` are where HTTP/2 has the target, and a host may be named beside them.
#[tokio::test]
async fn nor_do_the_pseudo_headers_of_http2() {
    let (upstream, rig, token) = rig().await;
    let socket = TcpStream::connect(rig.address).await.expect("it listens");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
            .await
            .expect("HTTP/2 with prior knowledge");
    tokio::spawn(connection);
    let mut number = 0;
    let mut ask = async |method: &str, authority: &str, path: &str, host: Option<&str>| {
        let mut asked = http::Request::builder().method(method).uri(format!("http://{authority}{path}"));
        if let Some(host) = host {
            asked = asked.header("host", host);
        }
        let asked = asked
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from("{}")));
        // What this client can't write can't be sent with it.
        let asked = asked.ok()?;
        let answered = sender.send_request(asked).await.expect("an answer");
        let status = answered.status().as_u16();
        let text = answered.into_body().collect().await.expect("a body").to_bytes();
        Some((status, String::from_utf8_lossy(&text).into_owned()))
    };
    let pseudo = [
        ("GET", "till", "/v1/chat/completions", None),
        ("PUT", "till", "/v1/chat/completions", None),
        ("POST", "till", "/v1/embeddings", Some("till")),
        ("POST", "api.openai.com", "/v1/embeddings", Some("till")),
        ("POST", "till", "/v1/embeddings", Some("api.openai.com")),
    ];
    let targets = TARGETS.iter().map(|target| ("POST", "till", *target, None));
    let mut tried = 0;
    for (method, authority, path, host) in targets.chain(pseudo) {
        let Some((status, text)) = ask(method, authority, path, host).await else { continue };
        tried += 1;
        assert!(matches!(status, 400 | 403 | 404), "{method} {path} {host:?}: {status} {text}");
        assert_eq!(upstream.received().len(), number, "{method} {path} {host:?} was sent");
        let (status, text) =
            ask("POST", "till", "/v1/chat/completions", None).await.expect("it can be written");
        assert_eq!(status, 200, "{text}");
        number += 1;
    }
    println!("{tried} hostile requests");
    assert!(tried > 40);
}
