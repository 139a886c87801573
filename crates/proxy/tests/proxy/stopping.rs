//! Stopping: nothing new, what is under way may finish, what does not is charged.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use till_store::Outcome;
use till_testkit::client::Client;
use till_testkit::upstream::{Step, Upstream, chunk, chunked_head};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::rig::{Options, Rig, becomes, request, soon};

async fn waiting_stream(grace: Duration) -> (Upstream, Arc<Semaphore>, Rig, Client, till_core::key::KeyId) {
    let gate = Arc::new(Semaphore::new(0));
    let script_gate = Arc::clone(&gate);
    let upstream = Upstream::start(move |_, _| {
        vec![
            chunked_head("content-type: text/event-stream\r\n"),
            chunk(b"data: 1\n\n"),
            Step::Wait(Arc::clone(&script_gate)),
            chunk(b"data: 2\n\n"),
            chunk(b""),
        ]
    })
    .await;
    let rig = Rig::start(&[("openai", &upstream.url())], Options { grace, ..Options::default() }).await;
    let (token, id) = rig.mint("openai", 9).await;
    let mut client = Client::connect(rig.address).await;
    client.send(request(&token, "POST", "/v1/chat/completions", "{}")).await;
    client.head().await.expect("a head");
    assert_eq!(client.chunk().await, Some(b"data: 1\n\n".to_vec()));
    (upstream, gate, rig, client, id)
}

#[tokio::test]
async fn a_stream_under_way_finishes() {
    let (_upstream, gate, mut rig, mut client, id) = waiting_stream(Duration::from_secs(60)).await;
    let mut idle = Client::connect(rig.address).await;
    rig.stop();
    assert!(idle.is_closed().await, "an idle connection is closed at once");
    gate.add_permits(1);
    assert_eq!(client.chunk().await, Some(b"data: 2\n\n".to_vec()));
    assert_eq!(client.chunk().await, Some(Vec::new()));
    let report = rig.stop().await.expect("no panic");
    assert_eq!(report.cut, 0);
    assert_eq!(rig.used(id).await, 1);
    assert!(TcpStream::connect(rig.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_stream_that_does_not_finish_is_cut_and_charged() {
    let (_upstream, _gate, mut rig, mut client, id) = waiting_stream(Duration::from_millis(50)).await;
    let report = rig.stop().await.expect("no panic");
    assert_eq!(report.cut, 1);
    assert_eq!(client.chunk().await, None, "it must not look complete");
    assert_eq!(rig.used(id).await, 1);
}

const ASKED: &str = r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Hello"}],"max_tokens":200,"stream":true}"#;

/// How far the provider gets with the answer to a metered request before the server stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stuck {
    BeforeTheHead,
    InTheStream,
}

/// Whatever a metered request is waiting for: when the time is over its hold is charged, before the server has stopped
/// and the store is closed. What stays open would look like the work of a crash.
#[tokio::test]
async fn what_a_stop_cuts_off_is_charged_and_not_left_open() {
    for stuck in [Stuck::BeforeTheHead, Stuck::InTheStream] {
        for hangs_up in [false, true] {
            let gate = Arc::new(Semaphore::new(0));
            let script_gate = Arc::clone(&gate);
            let upstream = Upstream::start(move |_, _| {
                let wait = Step::Wait(Arc::clone(&script_gate));
                match stuck {
                    Stuck::BeforeTheHead => vec![wait],
                    Stuck::InTheStream => {
                        vec![
                            chunked_head("content-type: text/event-stream\r\n"),
                            chunk(b"data: {}\n\n"),
                            wait,
                        ]
                    }
                }
            })
            .await;
            let options = Options { grace: Duration::from_millis(50), ..Options::default() };
            let mut rig = Rig::start(&[("openai", &upstream.url())], options).await;
            let (token, id) = rig.mint_dollars("openai", 1_000_000_000).await;
            let mut client = Client::connect(rig.address).await;
            client.send(request(&token, "POST", "/v1/chat/completions", ASKED)).await;
            becomes(|| !upstream.received().is_empty()).await;
            if stuck == Stuck::InTheStream {
                client.head().await.expect("a head");
            }
            let mut client = Some(client);
            if hangs_up {
                client = None;
                becomes(|| rig.proxy.metrics_text().contains("till_client_connections_open 0\n")).await;
            }
            soon(rig.stop()).await.expect("no panic");
            let record = rig.last_record(id).await;
            assert_eq!(record.outcome, Outcome::Charged, "{stuck:?}, hangs up: {hangs_up}");
            assert!(record.charged.spend_nanos >= 200 * 600, "{:?}", record.charged);
            drop(client);
        }
    }
}

/// Streams of HTTP/2 are tasks of their own, which end a little later than their connection.
#[tokio::test]
async fn what_a_stop_cuts_off_of_http2_is_charged_too() {
    let gate = Arc::new(Semaphore::new(0));
    let script_gate = Arc::clone(&gate);
    let upstream = Upstream::start(move |number, _| {
        let wait = Step::Wait(Arc::clone(&script_gate));
        match number % 2 {
            0 => vec![wait],
            _ => vec![chunked_head("content-type: text/event-stream\r\n"), chunk(b"data: {}\n\n"), wait],
        }
    })
    .await;
    let options = Options { grace: Duration::from_millis(50), ..Options::default() };
    let mut rig = Rig::start(&[("openai", &upstream.url())], options).await;
    let (token, id) = rig.mint_dollars("openai", 1_000_000_000).await;
    let socket = TcpStream::connect(rig.address).await.expect("it listens");
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
            .await
            .expect("HTTP/2 with prior knowledge");
    tokio::spawn(connection);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let asked = http::Request::post("http://till/v1/chat/completions")
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(ASKED)))
            .expect("a good request");
        let mut sender = sender.clone();
        clients.spawn(async move {
            let answer = sender.send_request(asked).await;
            assert!(answer.is_err() || answer.expect("one").into_body().collect().await.is_err());
        });
    }
    becomes(|| upstream.received().len() == 10).await;
    soon(rig.stop()).await.expect("no panic");
    let spent = rig.key(id).await.used.spend_nanos;
    let query = till_store::UsageQuery::default();
    let records = rig.store.usage_list(query).await.expect("readable").records;
    assert_eq!(records.len(), 10, "every one is settled");
    let charged: u64 = records.iter().map(|(_, record)| record.charged.spend_nanos).sum();
    assert_eq!(charged, spent);
    assert!(records.iter().all(|(_, record)| record.outcome == Outcome::Charged));
    while let Some(client) = soon(clients.join_next()).await {
        client.expect("it must not look complete");
    }
}
