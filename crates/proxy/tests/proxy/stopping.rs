//! Stopping: nothing new, what is under way may finish, what does not is charged.

use std::sync::Arc;
use std::time::Duration;

use till_testkit::client::Client;
use till_testkit::upstream::{Step, Upstream, chunk, chunked_head};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::rig::{Options, Rig, request};

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
