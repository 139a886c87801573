//! The client's side of a connection: how long it may be silent, and what may follow what.

use std::sync::Arc;
use std::time::Duration;

use till_proxy::Timeouts;
use till_testkit::client::Client;
use till_testkit::upstream::{Step, Upstream, chunk, chunked_head, json, respond};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::rig::{Options, Rig, becomes, connections_end, request, soon};

#[tokio::test]
async fn a_client_that_waits_for_us_is_not_idle() {
    let gate = Arc::new(Semaphore::new(0));
    let script_gate = Arc::clone(&gate);
    let upstream = Upstream::start(move |_, _| {
        vec![
            Step::Wait(Arc::clone(&script_gate)),
            chunked_head("content-type: text/event-stream\r\n"),
            chunk(b"data: 1\n\n"),
            Step::Wait(Arc::clone(&script_gate)),
            chunk(b"data: 2\n\n"),
            chunk(b""),
        ]
    })
    .await;
    let short = Duration::from_millis(100);
    let timeouts = Timeouts { client_idle: short, client_head: short, ..Timeouts::default() };
    let rig = Rig::start(&[("openai", &upstream.url())], Options { timeouts, ..Options::default() }).await;
    let (token, _) = rig.mint("openai", 1).await;
    let mut client = Client::connect(rig.address).await;
    client.send(request(&token, "POST", "/v1/chat/completions", "{}")).await;
    // Longer than a client may be silent, before the answer begins and within it.
    tokio::time::sleep(4 * short).await;
    gate.add_permits(1);
    let head = soon(client.head()).await.expect("the answer begins");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(soon(client.chunk()).await, Some(b"data: 1\n\n".to_vec()));
    tokio::time::sleep(4 * short).await;
    gate.add_permits(1);
    assert_eq!(soon(client.chunk()).await, Some(b"data: 2\n\n".to_vec()));
    assert_eq!(soon(client.chunk()).await, Some(Vec::new()));
    assert_eq!(client.bytes(2).await, Some(b"\r\n".to_vec()), "no trailers");
    assert!(soon(client.is_closed()).await, "now it is idle");
}

#[tokio::test]
async fn the_time_for_a_head_starts_with_its_first_byte() {
    let upstream = Upstream::start(|_, _| json("{}")).await;
    let client_head = Duration::from_millis(500);
    let timeouts = Timeouts { client_head, ..Timeouts::default() };
    let rig = Rig::start(&[("openai", &upstream.url())], Options { timeouts, ..Options::default() }).await;
    let (token, _) = rig.mint("openai", 2).await;
    let text = request(&token, "GET", "/v1/models", "");
    let (left, right) = text.split_at(10);
    let mut client = Client::connect(rig.address).await;
    for _ in 0..2 {
        tokio::time::sleep(client_head + client_head / 5).await;
        client.send(left).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let answer = soon(client.request(right)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    client.send(left).await;
    assert_eq!(soon(client.answer()).await.expect("a refusal").status, 400, "it ends all the same");
}

#[tokio::test]
async fn an_offer_of_http2_is_declined_and_the_request_served() {
    let upstream = Upstream::start(|_, _| json("{}")).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint("openai", 9).await;
    let offer = "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nhost:";
    let mut client = Client::connect(rig.address).await;
    for (method, body) in [("POST", "{}"), ("GET", ""), ("POST", "{}")] {
        let text = request(&token, method, "/v1/models", body).replacen("host:", offer, 1);
        let answer = soon(client.request(text)).await;
        assert_eq!((answer.status, answer.header("connection")), (200, None), "{}", answer.head);
        let received = upstream.received().pop().expect("it arrived");
        assert_eq!(received.body, body.as_bytes());
        for gone in ["upgrade", "http2-settings"] {
            assert_eq!(received.header(gone), Vec::<&str>::new(), "{}", received.head);
        }
    }
    assert_eq!(rig.used(id).await, 3);
    let refused = soon(client.request("GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n")).await;
    assert_eq!(refused.status, 400, "heads are checked on: {}", refused.head);
}

#[tokio::test]
async fn what_stands_before_a_refused_head_is_served() {
    let upstream = Upstream::start(|_, _| json("{}")).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint("openai", 9).await;
    let good = request(&token, "POST", "/v1/files", "{}");
    let mut client = Client::connect(rig.address).await;
    client.send(format!("{good}GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n{good}")).await;
    let first = soon(client.answer()).await.expect("an answer");
    assert_eq!((first.status, first.text().as_str()), (200, "{}"));
    let second = soon(client.answer()).await.expect("a refusal");
    assert_eq!((second.status, second.header("connection")), (400, Some("close")));
    assert!(second.text().contains("malformed_request"), "{}", second.text());
    assert!(soon(client.is_closed()).await, "what follows is not served");
    assert_eq!((upstream.received().len(), rig.used(id).await), (1, 1));
}

#[tokio::test]
async fn a_refused_upload_gets_to_read_why() {
    let upstream = Upstream::start(|_, _| json("{}")).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint("openai", 1).await;
    rig.revoke(id).await;
    for length in [100_000, 1_000_000, 8_000_000] {
        // As simple clients do: everything is written before anything is read. A client whose write fails, or
        // whose read ends in a reset, reports that and not our answer.
        let text = request(&token, "POST", "/v1/files", &"x".repeat(length));
        let mut socket = TcpStream::connect(rig.address).await.expect("it listens");
        let written = soon(socket.write_all(text.as_bytes())).await;
        let mut answer = Vec::new();
        let read = soon(socket.read_to_end(&mut answer)).await;
        assert!(written.is_ok() && read.is_ok(), "{length}: {written:?} {read:?}");
        let answer = String::from_utf8(answer).expect("text");
        assert!(answer.starts_with("HTTP/1.1 403") && answer.contains("key_revoked"), "{length}: {answer}");
    }
    assert_eq!(upstream.received(), []);
}

/// Nobody sends anything behind a request with `connection: close`, or nearly.
#[tokio::test]
async fn an_answer_is_read_although_more_was_sent_than_is_served() {
    let upstream = Upstream::start(|_, _| json("{}")).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, _) = rig.mint("openai", 9).await;
    let last = request(&token, "GET", "/v1/models", "").replacen("host:", "connection: close\r\nhost:", 1);
    for length in [10, 100_000, 8_000_000] {
        let mut socket = TcpStream::connect(rig.address).await.expect("it listens");
        let written = soon(socket.write_all(format!("{last}{}", "x".repeat(length)).as_bytes())).await;
        let mut answer = Vec::new();
        let read = soon(socket.read_to_end(&mut answer)).await;
        assert!(written.is_ok() && read.is_ok(), "{length}: {written:?} {read:?}");
        assert!(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"{}"), "{length}");
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_left() {
    let piece = vec![b'x'; 100_000];
    let stalled = Arc::new(Semaphore::new(0));
    let script_stalled = Arc::clone(&stalled);
    let upstream = Upstream::start(move |_, _| {
        vec![
            Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000000\r\n\r\n".to_vec()),
            Step::Flood { piece: piece.clone(), stalled: Arc::clone(&script_stalled) },
        ]
    })
    .await;
    let timeouts = Timeouts { idle: Duration::from_millis(300), ..Timeouts::default() };
    let rig = Rig::start(&[("openai", &upstream.url())], Options { timeouts, ..Options::default() }).await;
    let (token, id) = rig.mint("openai", 1).await;
    let mut socket = TcpStream::connect(rig.address).await.expect("it listens");
    socket.write_all(request(&token, "GET", "/v1/models", "").as_bytes()).await.expect("open");
    let _ = soon(stalled.acquire()).await.expect("open");
    connections_end(&upstream).await;
    becomes(|| rig.proxy.metrics_text().contains("till_client_connections_open 0\n")).await;
    rig.becomes_idle().await;
    assert_eq!(rig.key(id).await.used.activations, 1);
    drop(socket);
    // Small answers fill the network too.
    let mut socket = TcpStream::connect(rig.address).await.expect("it listens");
    let asked = "GET /x HTTP/1.1\r\nhost: a\r\n\r\n".repeat(100);
    let patience = Duration::from_millis(200);
    while let Ok(Ok(())) = tokio::time::timeout(patience, socket.write_all(asked.as_bytes())).await {}
    becomes(|| rig.proxy.metrics_text().contains("till_client_connections_open 0\n")).await;
    drop(socket);
}

/// It is slow, but it takes something in every period.
#[tokio::test]
async fn a_client_that_takes_little_is_waited_for() {
    let upstream = Upstream::start(|_, _| respond("200 OK", "", &vec![b'x'; 30_000_000])).await;
    let timeouts = Timeouts { idle: Duration::from_millis(500), ..Timeouts::default() };
    let rig = Rig::start(&[("openai", &upstream.url())], Options { timeouts, ..Options::default() }).await;
    let (token, _) = rig.mint("openai", 1).await;
    let mut client = Client::connect(rig.address).await;
    client.send(request(&token, "GET", "/v1/models", "")).await;
    soon(client.head()).await.expect("a head");
    for _ in 0..10 {
        assert!(soon(client.bytes(3_000_000)).await.is_some());
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

#[tokio::test]
async fn a_body_for_the_control_plane_comes_in_time() {
    let upstream = Upstream::start(|_, _| json("{}")).await;
    let timeouts = Timeouts { idle: Duration::from_millis(200), ..Timeouts::default() };
    let rig = Rig::start(&[("openai", &upstream.url())], Options { timeouts, ..Options::default() }).await;
    for framing in ["content-length: 10", "transfer-encoding: chunked"] {
        let mut client = Client::connect(rig.address).await;
        client.send(format!("POST /admin/keys HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n1\r\n")).await;
        let answer = soon(client.answer()).await.expect("an answer");
        assert_eq!((answer.status, answer.header("connection")), (400, Some("close")), "{framing}");
        assert!(soon(client.is_closed()).await, "{framing}");
    }
}
