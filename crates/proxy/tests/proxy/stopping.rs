//! Stopping: nothing new, what is under way may finish, what does not is charged.

use std::sync::Arc;
use std::time::Duration;

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
            let asked = r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Hello"}],"max_tokens":200,"stream":true}"#;
            let mut client = Client::connect(rig.address).await;
            client.send(request(&token, "POST", "/v1/chat/completions", asked)).await;
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
