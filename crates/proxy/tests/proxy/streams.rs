//! Answers that arrive over time: passed on at once, cut when the key ends, charged when the client leaves.

use std::sync::Arc;
use std::time::Duration;

use till_proxy::Timeouts;
use till_testkit::client::Client;
use till_testkit::upstream::{Step, Upstream, chunk, chunked_head};
use tokio::sync::Semaphore;

use super::rig::{Options, Rig, connections_end, request, soon};

const EVENTS: &str = "content-type: text/event-stream\r\n";

/// A provider that sends event k+1 only after the test has let it.
async fn gated(events: usize) -> (Upstream, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let script_gate = Arc::clone(&gate);
    let upstream = Upstream::start(move |_, _| {
        let mut steps = vec![chunked_head(EVENTS)];
        for number in 0..events {
            steps.push(chunk(format!("data: {number}\n\n").as_bytes()));
            steps.push(Step::Wait(Arc::clone(&script_gate)));
        }
        steps.push(chunk(b""));
        steps
    })
    .await;
    (upstream, gate)
}

#[tokio::test]
async fn nothing_is_held_back() {
    let (upstream, gate) = gated(20).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, _) = rig.mint("openai", 1).await;
    let mut client = Client::connect(rig.address).await;
    client.send(request(&token, "POST", "/v1/chat/completions", "{}")).await;
    client.head().await.expect("a head");
    // The provider waits for us: if till kept a byte, this would hang.
    for number in 0..20 {
        assert_eq!(client.chunk().await, Some(format!("data: {number}\n\n").into_bytes()));
        gate.add_permits(1);
    }
    assert_eq!(client.chunk().await, Some(Vec::new()));
}

#[tokio::test]
async fn revoking_cuts_streams_with_a_last_event() {
    let (upstream, gate) = gated(3).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint("openai", 10).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = Client::connect(rig.address).await;
        client.send(request(&token, "POST", "/v1/chat/completions", "{}")).await;
        client.head().await.expect("a head");
        assert_eq!(client.chunk().await, Some(b"data: 0\n\n".to_vec()));
        clients.push(client);
    }
    rig.revoke(id).await;
    for mut client in clients {
        let last = String::from_utf8(client.chunk().await.expect("a last event")).expect("text");
        assert!(last.contains("data: {\"error\":") && last.contains("key_revoked"), "{last}");
        assert_eq!(client.chunk().await, Some(Vec::new()), "a proper end");
    }
    gate.add_permits(100);
    assert_eq!(rig.used(id).await, 5);
}

#[tokio::test]
async fn revoking_cuts_other_answers_visibly() {
    let gate = Arc::new(Semaphore::new(0));
    let script_gate = Arc::clone(&gate);
    let upstream = Upstream::start(move |_, _| {
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345".to_vec();
        vec![Step::Send(head), Step::Wait(Arc::clone(&script_gate)), Step::Send(b"67890".to_vec())]
    })
    .await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint("openai", 1).await;
    let mut client = Client::connect(rig.address).await;
    client.send(request(&token, "GET", "/v1/files/f/content", "")).await;
    client.head().await.expect("a head");
    assert_eq!(client.bytes(5).await, Some(b"12345".to_vec()));
    rig.revoke(id).await;
    assert!(client.is_closed().await, "an answer that is not complete must not look complete");
}

#[tokio::test]
async fn revoking_ends_a_stream_that_nobody_reads() {
    for reads_on in [false, true] {
        let stalled = Arc::new(Semaphore::new(0));
        let script_stalled = Arc::clone(&stalled);
        let upstream = Upstream::start(move |_, _| {
            let Step::Send(piece) = chunk(&[b'x'; 64 * 1024]) else { unreachable!("chunks are sent") };
            vec![chunked_head(EVENTS), Step::Flood { piece, stalled: Arc::clone(&script_stalled) }]
        })
        .await;
        let rig = Rig::openai(&upstream.url()).await;
        let (token, id) = rig.mint("openai", 5).await;
        let mut client = Client::connect(rig.address).await;
        client.send(request(&token, "POST", "/v1/chat/completions", "{}")).await;
        client.head().await.expect("a head");
        soon(stalled.acquire()).await.expect("open").forget();
        rig.revoke(id).await;
        connections_end(&upstream).await;
        if reads_on {
            let last = soon(last_chunk(&mut client)).await.expect("a proper end");
            assert!(last.contains("data: {\"error\":") && last.contains("key_revoked"), "{last}");
        } else {
            client.close().await;
        }
        rig.becomes_idle().await;
        assert_eq!(rig.used(id).await, 1);
    }
}

/// The chunk before the end; `None` if the stream does not end properly.
async fn last_chunk(client: &mut Client) -> Option<String> {
    let mut last = Vec::new();
    loop {
        let next = client.chunk().await?;
        if next.is_empty() {
            return Some(String::from_utf8_lossy(&last).into_owned());
        }
        last = next;
    }
}

#[tokio::test]
async fn a_client_that_leaves_pays_and_the_provider_is_let_go() {
    let (upstream, _gate) = gated(2).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint("openai", 1).await;
    let mut client = Client::connect(rig.address).await;
    client.send(request(&token, "POST", "/v1/chat/completions", "{}")).await;
    client.head().await.expect("a head");
    client.close().await;
    // The gauge falls once the relay is dropped, which closes the connection to the provider.
    rig.becomes_idle().await;
    rig.has_nothing_left(&token).await;
    assert_eq!(rig.used(id).await, 1);
}

#[tokio::test]
async fn a_silent_provider_is_given_up() {
    let (upstream, _gate) = gated(2).await;
    let short = Timeouts { idle: Duration::from_millis(50), ..Timeouts::default() };
    let options = Options { timeouts: short, ..Options::default() };
    let rig = Rig::start(&[("openai", &upstream.url())], options).await;
    let (token, id) = rig.mint("openai", 1).await;
    let answer = rig.call(&token, "POST", "/v1/chat/completions", "{}").await;
    assert_eq!((answer.status, answer.is_complete), (200, false));
    rig.has_nothing_left(&token).await;
    assert_eq!(rig.used(id).await, 1);
}

#[tokio::test]
async fn a_provider_that_never_begins_is_a_timeout_and_spent() {
    let gate = Arc::new(Semaphore::new(0));
    let upstream = Upstream::start(move |_, _| vec![Step::Wait(Arc::clone(&gate))]).await;
    let short = Timeouts { first_byte: Duration::from_millis(50), ..Timeouts::default() };
    let options = Options { timeouts: short, ..Options::default() };
    let rig = Rig::start(&[("openai", &upstream.url())], options).await;
    let (token, id) = rig.mint("openai", 1).await;
    let answer = rig.call(&token, "POST", "/v1/chat/completions", "{}").await;
    assert_eq!(answer.status, 504, "{}", answer.text());
    rig.has_nothing_left(&token).await;
    assert_eq!(rig.used(id).await, 1);
}
