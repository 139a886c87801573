//! WebSockets: counted per message that starts work, or not opened at all.

use std::sync::{Arc, Mutex};

use futures_util::{SinkExt as _, StreamExt as _};
use till_store::{KeyChange, LimitChange, OpenOptions, Store};
use till_testkit::client::Client;
use till_testkit::upstream::{Step, Upstream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

use super::rig::{Options, Rig, UPSTREAM_KEY, actor, connections_end, soon};

fn upgrade(token: &str, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-extensions: permessage-deflate\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A provider that says yes, echoes its key once, and keeps every message.
struct Provider {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
    messages: Arc<Mutex<Vec<String>>>,
}

impl Provider {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (heads, messages) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (kept_heads, kept) = (Arc::clone(&heads), Arc::clone(&messages));
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let (heads, kept) = (Arc::clone(&kept_heads), Arc::clone(&kept));
                tokio::spawn(async move {
                    let head = read_head(&mut socket).await;
                    heads.lock().expect("no panic").push(head);
                    socket.write_all(SWITCHING).await.expect("writable");
                    let mut socket = WebSocketStream::from_raw_socket(socket, Role::Server, None).await;
                    let echo = format!("{{\"type\":\"session.created\",\"echo\":\"{UPSTREAM_KEY}\"}}");
                    let _ = socket.send(Message::text(echo)).await;
                    while let Some(Ok(Message::Text(text))) = socket.next().await {
                        kept.lock().expect("no panic").push(text.to_string());
                        let _ = socket.send(Message::text(format!("got {text}"))).await;
                    }
                });
            }
        });
        Self { url, heads, messages }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().expect("no panic").clone()
    }

    fn messages(&self) -> usize {
        self.messages.lock().expect("no panic").len()
    }
}

const SWITCHING: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

async fn read_head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.expect("a head"));
    }
    String::from_utf8(head).expect("text")
}

async fn open(rig: &Rig, token: &str, path: &str) -> WebSocketStream<TcpStream> {
    open_with(rig, &upgrade(token, path)).await
}

async fn open_with(rig: &Rig, request: &str) -> WebSocketStream<TcpStream> {
    let mut socket = TcpStream::connect(rig.address).await.expect("it listens");
    socket.write_all(request.as_bytes()).await.expect("writable");
    let head = read_head(&mut socket).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    WebSocketStream::from_raw_socket(socket, Role::Client, None).await
}

async fn next_text(socket: &mut WebSocketStream<TcpStream>) -> String {
    match socket.next().await {
        Some(Ok(Message::Text(text))) => text.to_string(),
        other => panic!("no text: {other:?}"),
    }
}

const START: &str = r#"{"type":"response.create","response":{}}"#;

#[tokio::test]
async fn every_message_that_starts_work_is_an_activation() {
    let provider = Provider::start().await;
    let rig = Rig::openai(&provider.url).await;
    let (token, id) = rig.mint("openai", 2).await;
    let mut socket = open(&rig, &token, "/v1/responses").await;
    let head = provider.heads().remove(0).to_lowercase();
    assert!(!head.contains("sec-websocket-extensions") && !head.contains("till_sk_"), "{head}");
    assert!(head.contains(&format!("authorization: bearer {UPSTREAM_KEY}")), "{head}");
    let created = next_text(&mut socket).await;
    assert!(created.contains("session.created") && !created.contains(UPSTREAM_KEY), "{created}");
    assert_eq!(rig.used(id).await, 1, "opening holds the first activation");
    for expected in [1, 2] {
        socket.send(Message::text(START)).await.expect("open");
        assert_eq!(next_text(&mut socket).await, format!("got {START}"));
        assert_eq!(rig.used(id).await, expected);
    }
    socket.send(Message::text(START)).await.expect("open");
    let refused = next_text(&mut socket).await;
    assert!(refused.contains("activations_exhausted"), "{refused}");
    assert_eq!((provider.messages(), rig.used(id).await), (2, 2));
}

/// Each message is of the day that it was let through in, by the clock of the store, and not of that of the opening.
#[tokio::test]
async fn every_message_has_a_time_of_its_own() {
    let provider = Provider::start().await;
    let rig = Rig::openai(&provider.url).await;
    let (token, id) = rig.mint("openai", 9).await;
    let opened = rig.store.now();
    let mut socket = open(&rig, &token, "/v1/responses").await;
    next_text(&mut socket).await;
    for is_first in [true, false] {
        let before = rig.store.now();
        while rig.store.now() == before {
            tokio::task::yield_now().await;
        }
        socket.send(Message::text(START)).await.expect("open");
        next_text(&mut socket).await;
        let at = rig.last_record(id).await.at;
        // The opening has paid for the first one.
        assert_eq!((opened <= at && at <= rig.store.now(), at > before), (true, !is_first), "{at:?}");
    }
}

#[tokio::test]
async fn a_limit_that_can_not_be_counted_here_ends_it_and_is_in_the_log() {
    let provider = Provider::start().await;
    let rig = Rig::openai(&provider.url).await;
    let (token, id) = rig.mint("openai", 9).await;
    let mut socket = open(&rig, &token, "/v1/responses").await;
    next_text(&mut socket).await;
    socket.send(Message::text(START)).await.expect("open");
    next_text(&mut socket).await;
    let limits = LimitChange { tokens: Some(Some(1_000)), ..LimitChange::default() };
    let change = KeyChange { limits, ..KeyChange::default() };
    rig.store.key_update(id, change, &actor()).await.expect("writable").expect("it is there");
    socket.send(Message::text(START)).await.expect("open");
    let refused = next_text(&mut socket).await;
    assert!(refused.contains("websocket_unmetered"), "{refused}");
    rig.store.close().await.expect("writable");
    let store =
        Store::open(&OpenOptions::new(rig.directory.path().join("data"), "test")).expect("it was closed");
    let log = store.audit_list(0, 99).await.expect("readable");
    let denied = log.iter().find(|entry| entry.action == "key.denied").expect("it was denied");
    assert!(denied.detail.contains("websocket_unmetered"), "{}", denied.detail);
}

#[tokio::test]
async fn what_can_not_be_understood_is_not_sent() {
    let provider = Provider::start().await;
    let rig = Rig::openai(&provider.url).await;
    let (token, id) = rig.mint("openai", 9).await;
    let mut socket = open(&rig, &token, "/v1/realtime?model=gpt-realtime").await;
    next_text(&mut socket).await;
    let rows = [
        Message::text("no json"),
        Message::text(r#"{"type":"future.event"}"#),
        Message::text(r#"{"type":"session.update","type":"response.create"}"#),
        // Speech detection of the provider would start work without a message.
        Message::text(r#"{"type":"input_audio_buffer.append","audio":""}"#),
        Message::binary(START.as_bytes().to_vec()),
    ];
    for row in rows {
        socket.send(row.clone()).await.expect("open");
        let refused = next_text(&mut socket).await;
        assert!(refused.contains("\"type\":\"error\""), "{row}: {refused}");
    }
    assert_eq!((provider.messages(), rig.used(id).await), (0, 1));
}

#[tokio::test]
async fn unused_sockets_cost_one() {
    let provider = Provider::start().await;
    let rig = Rig::openai(&provider.url).await;
    let (token, id) = rig.mint("openai", 3).await;
    let mut socket = open(&rig, &token, "/v1/responses").await;
    next_text(&mut socket).await;
    socket.close(None).await.expect("open");
    while let Some(Ok(_)) = socket.next().await {}
    assert_eq!(rig.used(id).await, 1);
}

#[tokio::test]
async fn a_dead_key_opens_nothing() {
    let provider = Provider::start().await;
    let rig = Rig::openai(&provider.url).await;
    let (token, id) = rig.mint("openai", 1).await;
    rig.revoke(id).await;
    let answer = Client::connect(rig.address).await.request(upgrade(&token, "/v1/responses")).await;
    assert_eq!(answer.status, 403);
    assert_eq!(provider.heads(), Vec::<String>::new());
}

#[tokio::test]
async fn what_can_not_be_counted_is_answered_426() {
    let provider = Provider::start().await;
    let url = provider.url.clone();
    let rig = Rig::start(&[("openai", &url), ("google", &url)], Options::default()).await;
    let rows = [
        ("openai", "/v1/chat/completions"),
        ("openai", "/v1/realtime?intent=transcription"),
        ("google", "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"),
    ];
    for (name, path) in rows {
        let (token, id) = rig.mint(name, 5).await;
        let answer = Client::connect(rig.address).await.request(upgrade(&token, path)).await;
        assert_eq!(answer.status, 426, "{path}: {}", answer.text());
        assert!(answer.text().contains("websocket_unmetered"), "{path}");
        assert_eq!(answer.header("connection"), Some("close"), "{path}");
        assert_eq!(rig.used(id).await, 0);
    }
    assert_eq!(provider.heads(), Vec::<String>::new());
}

#[tokio::test]
async fn a_key_offered_as_a_protocol_opens_and_stays_here() {
    let provider = Provider::start().await;
    let rig = Rig::openai(&provider.url).await;
    let (token, _) = rig.mint("openai", 9).await;
    let rows = [
        (
            "realtime, openai-insecure-api-key.TOKEN, openai-beta.realtime-v1",
            "realtime, openai-beta.realtime-v1",
        ),
        ("openai-insecure-api-key.TOKEN", ""),
    ];
    for (offered, left) in rows {
        let offered = format!("sec-websocket-protocol: {}", offered.replace("TOKEN", &token));
        let head = upgrade(&token, "/v1/realtime?model=gpt-realtime")
            .replace(&format!("authorization: Bearer {token}"), &offered);
        open_with(&rig, &head).await;
        let received = provider.heads().pop().expect("it arrived").to_lowercase();
        assert!(!received.contains("till_sk_") && !received.contains("insecure-api-key"), "{received}");
        assert!(received.contains(&format!("authorization: bearer {UPSTREAM_KEY}")), "{received}");
        let kept = received.lines().find_map(|line| line.strip_prefix("sec-websocket-protocol: "));
        assert_eq!(kept.unwrap_or_default(), left);
    }
}

#[tokio::test]
async fn the_reason_of_a_close_is_searched_too() {
    let reason = format!("bad {UPSTREAM_KEY}");
    // A final close frame without a mask: code 4000 and the reason (RFC 6455 section 5.5.1).
    let length = u8::try_from(reason.len() + 2).expect("a short reason");
    let close = [&[0x88, length, 0x0f, 0xa0], reason.as_bytes()].concat();
    let upstream = Upstream::start(move |_, _| {
        vec![Step::Send(SWITCHING.to_vec()), Step::Send(close.clone()), Step::Echo]
    })
    .await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, _) = rig.mint("openai", 1).await;
    let mut socket = open(&rig, &token, "/v1/realtime?model=gpt-realtime").await;
    let Some(Ok(Message::Close(Some(frame)))) = soon(socket.next()).await else {
        panic!("no close frame");
    };
    assert_eq!(u16::from(frame.code), 4000);
    assert_eq!(frame.reason.as_str(), format!("bad {}", "*".repeat(UPSTREAM_KEY.len())));
}

#[tokio::test]
async fn revoking_ends_a_socket_that_nobody_reads() {
    let stalled = Arc::new(Semaphore::new(0));
    let script_stalled = Arc::clone(&stalled);
    let upstream = Upstream::start(move |_, _| {
        // A text message of 60,000 bytes with a two-byte length (RFC 6455 section 5.2).
        let piece = [&[0x81, 126, 0xea, 0x60], [b'x'; 60_000].as_slice()].concat();
        let flood = Step::Flood { piece, stalled: Arc::clone(&script_stalled) };
        vec![Step::Send(SWITCHING.to_vec()), flood]
    })
    .await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint("openai", 5).await;
    let _unread = open(&rig, &token, "/v1/realtime?model=gpt-realtime").await;
    soon(stalled.acquire()).await.expect("open").forget();
    rig.revoke(id).await;
    connections_end(&upstream).await;
    rig.becomes_idle().await;
    assert_eq!(rig.used(id).await, 1);
}

#[tokio::test]
async fn a_revoked_key_closes_its_sockets() {
    let provider = Provider::start().await;
    let rig = Rig::openai(&provider.url).await;
    let (token, id) = rig.mint("openai", 5).await;
    let mut socket = open(&rig, &token, "/v1/responses").await;
    next_text(&mut socket).await;
    rig.revoke(id).await;
    let last = next_text(&mut socket).await;
    assert!(last.contains("key_revoked"), "{last}");
    assert!(matches!(socket.next().await, Some(Ok(Message::Close(_))) | None));
}
