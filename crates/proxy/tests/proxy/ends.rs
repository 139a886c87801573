//! A key that ends while many streams run under it: once the administrator has the answer nothing moves any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use till_core::denial::DenialCode;
use till_core::key::KeyId;
use till_core::time::Timestamp;
use till_store::{KeyChange, LifetimeChange, StoreError};
use till_testkit::client::Client;
use till_testkit::upstream::{Step, Upstream, chunk, chunked_head};
use tokio::sync::Semaphore;

use super::rig::{Rig, actor, connections_end, request, soon};

const STREAMS: usize = 50;

/// How a key ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Revoked,
    Paused,
    Expired,
    Killed,
}

impl End {
    fn code(self) -> &'static str {
        match self {
            Self::Revoked => "key_revoked",
            Self::Paused => "key_paused",
            Self::Expired => "key_expired",
            Self::Killed => "instance_stopped",
        }
    }

    async fn come_over(self, rig: &Rig, id: KeyId) {
        let change = match self {
            Self::Revoked => return rig.revoke(id).await,
            Self::Killed => {
                return rig.store.kill_switch_set(true, None, &actor()).await.expect("writable");
            }
            Self::Paused => KeyChange { paused: Some(true), ..KeyChange::default() },
            Self::Expired => return expire(rig, id).await,
        };
        rig.store.key_update(id, change, &actor()).await.expect("writable").expect("it is there");
    }
}

/// Its time is set to end in a moment, and nobody does anything more. On a busy machine that moment may be over before it
/// is set.
async fn expire(rig: &Rig, id: KeyId) {
    for millis in 1.. {
        let expires_at = Some(Some(Timestamp(rig.store.now().0 + millis)));
        let lifetime = LifetimeChange { expires_at, ..Default::default() };
        match rig.store.key_update(id, KeyChange { lifetime, ..Default::default() }, &actor()).await {
            Err(StoreError::Invalid { .. }) => {}
            outcome => return drop(outcome.expect("writable").expect("it is there")),
        }
    }
}

/// Each stream has sent one event, and sends the next when the test lets it.
struct Streams {
    rig: Rig,
    upstream: Upstream,
    gate: Arc<Semaphore>,
    clients: Vec<Client>,
    token: String,
    id: KeyId,
}

impl Streams {
    async fn begin(content_type: &str) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let (script_gate, head) = (Arc::clone(&gate), format!("content-type: {content_type}\r\n"));
        let upstream = Upstream::start(move |_, _| {
            let mut steps = vec![chunked_head(&head)];
            for number in 0..10 {
                steps.push(chunk(format!("data: {number}\n\n").as_bytes()));
                steps.push(Step::Wait(Arc::clone(&script_gate)));
            }
            steps
        })
        .await;
        let rig = Rig::openai(&upstream.url()).await;
        let (token, id) = rig.mint("openai", 1_000).await;
        let mut clients = Vec::new();
        for _ in 0..STREAMS {
            let mut client = Client::connect(rig.address).await;
            client.send(request(&token, "POST", "/v1/chat/completions", "{}")).await;
            client.head().await.expect("a head");
            assert_eq!(client.chunk().await, Some(b"data: 0\n\n".to_vec()));
            clients.push(client);
        }
        Self { rig, upstream, gate, clients, token, id }
    }
}

#[expect(
    clippy::print_stdout,
    reason = "how long it takes is of interest, and no bound is safe on every machine"
)]
async fn check(end: End) {
    let mut streams = Streams::begin("text/event-stream").await;
    let started = Instant::now();
    end.come_over(&streams.rig, streams.id).await;
    let answered = started.elapsed();
    if !matches!(end, End::Expired) {
        // The provider has more to say in every stream, right now: not a byte of it may come out.
        streams.gate.add_permits(STREAMS);
    }
    for client in &mut streams.clients {
        let last = soon(client.chunk()).await.expect("a last event");
        let last = String::from_utf8(last).expect("text");
        assert!(last.contains("data: {\"error\":") && last.contains(end.code()), "{end:?}: {last}");
        assert_eq!(soon(client.chunk()).await, Some(Vec::new()), "a proper end");
    }
    println!(
        "{end:?}: answered after {answered:?}, {STREAMS} streams had ended after {:?}",
        started.elapsed()
    );
    let answer = streams.rig.call(&streams.token, "POST", "/v1/chat/completions", "{}").await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(answer.text().contains(end.code()), "{}", answer.text());
    assert!(!answer.text().to_lowercase().contains("rate limit"), "{}", answer.text());
    assert!(answer.head.contains("x-should-retry: false") && !answer.head.contains("retry-after"));
    // The scripts find out that nobody listens when they go on.
    streams.gate.add_permits(20 * STREAMS);
    connections_end(&streams.upstream).await;
    streams.rig.becomes_idle().await;
    assert_eq!(streams.upstream.received().len(), STREAMS, "the last one was not sent");
    assert_eq!(streams.rig.key(streams.id).await.used.activations, STREAMS as u64, "all are spent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revocation_ends_every_stream() {
    check(End::Revoked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_ends_every_stream() {
    check(End::Paused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expiry_ends_every_stream() {
    check(End::Expired).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kill_switch_ends_every_stream() {
    check(End::Killed).await;
}

#[tokio::test]
async fn an_answer_that_begins_after_the_end_is_not_passed_on() {
    for end in [End::Revoked, End::Paused, End::Killed] {
        let gate = Arc::new(Semaphore::new(0));
        let script_gate = Arc::clone(&gate);
        let upstream = Upstream::start(move |_, _| {
            vec![
                Step::Wait(Arc::clone(&script_gate)),
                Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret".to_vec()),
            ]
        })
        .await;
        let rig = Rig::openai(&upstream.url()).await;
        let (token, id) = rig.mint("openai", 5).await;
        let mut client = Client::connect(rig.address).await;
        client.send(request(&token, "POST", "/v1/chat/completions", "{}")).await;
        super::rig::becomes(|| upstream.received().len() == 1).await;
        end.come_over(&rig, id).await;
        // So that it takes milliseconds, of which the record has to tell.
        tokio::time::sleep(Duration::from_millis(2)).await;
        gate.add_permits(1);
        let answer = soon(client.answer()).await.expect("an answer");
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert!(answer.text().contains(end.code()) && !answer.text().contains("secret"), "{}", answer.text());
        rig.becomes_idle().await;
        assert_eq!(rig.key(id).await.used.activations, 1, "it was sent: it is spent");
        let record = rig.last_record(id).await;
        assert_eq!(record.denial.map(DenialCode::as_str), Some(end.code()));
        assert!(
            record.latency_ms >= 2 && record.latency_ms >= record.first_byte_ms.unwrap_or_default(),
            "{record:?}"
        );
    }
}

#[tokio::test]
async fn a_key_that_goes_on_after_a_pause_streams_again() {
    let streams = Streams::begin("text/event-stream").await;
    End::Paused.come_over(&streams.rig, streams.id).await;
    let go_on = KeyChange { paused: Some(false), ..KeyChange::default() };
    streams.rig.store.key_update(streams.id, go_on, &actor()).await.expect("writable").expect("it is there");
    let mut client = Client::connect(streams.rig.address).await;
    client.send(request(&streams.token, "POST", "/v1/chat/completions", "{}")).await;
    client.head().await.expect("a head");
    assert_eq!(client.chunk().await, Some(b"data: 0\n\n".to_vec()));
    streams.gate.add_permits(10 * (STREAMS + 1));
    // What came together is passed on together.
    let expected: String = (1..10).map(|number| format!("data: {number}\n\n")).collect();
    let mut passed = Vec::new();
    while passed.len() < expected.len() {
        passed.extend(client.chunk().await.expect("it goes on"));
    }
    assert_eq!(String::from_utf8(passed).expect("text"), expected);
}
