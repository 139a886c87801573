//! Keys that name a stored upstream key: what it is now counts, for everything that is done with it.

use std::sync::Arc;

use till_core::token::MasterKey;
use till_testkit::client::Client;
use till_testkit::upstream::{Received, Step, Upstream, chunk, chunked_head, respond};
use tokio::sync::Semaphore;

use super::rig::{Options, Rig, UPSTREAM_KEY, request, soon};

const NEXT_KEY: &str = "sk-canary-zyxwvutsrqponmlkjihgfedcba98";

fn sent_key(request: &Received) -> String {
    request.header("authorization").concat()
}

#[tokio::test]
async fn the_stored_key_is_sent_and_a_new_one_from_the_next_request_on() {
    let upstream = Upstream::start(|_, _| respond("200 OK", "", b"{}")).await;
    let rig = Rig::openai(&upstream.url()).await;
    rig.store_upstream_key("openai", "prod", Some(UPSTREAM_KEY)).await;
    let (token, _) = rig.mint_named("openai", "prod", 100).await;
    let (sealed, _) = rig.mint("openai", 100).await;
    // One connection of the client, one of the pool, and a token that is remembered: the change reaches them all.
    let mut client = Client::connect(rig.address).await;
    for _ in 0..3 {
        let answer = client.request(request(&token, "POST", "/v1/chat/completions", "{}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(client.request(request(&sealed, "POST", "/v1/chat/completions", "{}")).await.status, 200);
    rig.store_upstream_key("openai", "prod", Some(NEXT_KEY)).await;
    for token in [&token, &sealed] {
        assert_eq!(client.request(request(token, "POST", "/v1/chat/completions", "{}")).await.status, 200);
    }
    let (old, new) = (format!("Bearer {UPSTREAM_KEY}"), format!("Bearer {NEXT_KEY}"));
    let sent: Vec<String> = upstream.received().iter().map(sent_key).collect();
    assert_eq!(sent, [&old, &old, &old, &old, &new, &old].map(String::as_str), "a key of its own stays");
}

#[tokio::test]
async fn the_key_of_now_is_searched_for_in_answers() {
    // A provider that echoes whatever it gets.
    let upstream = Upstream::start(|_, request| {
        let key = sent_key(request);
        respond("200 OK", &format!("x-echo: {key}\r\n"), format!("{{\"you sent\":\"{key}\"}}").as_bytes())
    })
    .await;
    let rig = Rig::openai(&upstream.url()).await;
    rig.store_upstream_key("openai", "prod", Some(UPSTREAM_KEY)).await;
    let (token, _) = rig.mint_named("openai", "prod", 100).await;
    for key in [UPSTREAM_KEY, NEXT_KEY] {
        rig.store_upstream_key("openai", "prod", Some(key)).await;
        for _ in 0..2 {
            let answer = rig.call(&token, "POST", "/v1/chat/completions", "{}").await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let all = format!("{}{}", answer.head, answer.text());
            assert!(all.contains("you sent") && !all.contains(&key[3..]), "{all}");
        }
        assert!(sent_key(upstream.received().last().expect("it was sent")).contains(key));
    }
}

#[tokio::test]
async fn removing_it_cuts_streams_and_refuses_what_comes() {
    let gate = Arc::new(Semaphore::new(0));
    let script_gate = Arc::clone(&gate);
    let upstream = Upstream::start(move |_, _| {
        let head = chunked_head("content-type: text/event-stream\r\n");
        vec![head, chunk(b"data: 0\n\n"), Step::Wait(Arc::clone(&script_gate)), chunk(b"")]
    })
    .await;
    let rig = Rig::openai(&upstream.url()).await;
    rig.store_upstream_key("openai", "prod", Some(UPSTREAM_KEY)).await;
    rig.store_upstream_key("openai", "other", Some(UPSTREAM_KEY)).await;
    let (token, id) = rig.mint_named("openai", "prod", 100).await;
    let (other, other_id) = rig.mint_named("openai", "other", 100).await;
    let mut clients = Vec::new();
    for token in [&token, &other] {
        let mut client = Client::connect(rig.address).await;
        client.send(request(token, "POST", "/v1/chat/completions", "{}")).await;
        client.head().await.expect("a head");
        assert_eq!(client.chunk().await, Some(b"data: 0\n\n".to_vec()));
        clients.push(client);
    }
    rig.store_upstream_key("openai", "prod", None).await;
    let last = soon(clients[0].chunk()).await.expect("a last event");
    let last = String::from_utf8(last).expect("text");
    assert!(last.contains("key_revoked"), "{last}");
    let sent = upstream.received().len();
    let refused = rig.call(&token, "POST", "/v1/chat/completions", "{}").await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(refused.text().contains("key_revoked"), "{}", refused.text());
    assert_eq!(upstream.received().len(), sent, "nothing was sent");
    assert_eq!(rig.key(id).await.status.as_str(), "revoked");
    assert_eq!(rig.key(other_id).await.status.as_str(), "active");
    gate.add_permits(100);
    assert_eq!(clients[1].chunk().await, Some(Vec::new()), "the other one goes on");
}

/// The key was stored when the provider was at another address: neither it nor a token from there is sent to this one.
#[tokio::test]
async fn a_stored_key_is_sent_where_it_was_stored_for() {
    const ELSEWHERE: &str = "https://elsewhere.example";
    let upstream = Upstream::start(|_, _| respond("200 OK", "", b"{}")).await;
    for accepts in [false, true] {
        let repointed = [("openai", upstream.url(), accepts)];
        let repointed = repointed.iter().map(|(id, url, accepts)| (*id, url.as_str(), *accepts));
        let rig = Rig::start_accepting(repointed, Options::default()).await;
        rig.store_upstream_key_for("openai", "prod", ELSEWHERE, UPSTREAM_KEY).await;
        let (here, _) = rig.mint_named("openai", "prod", 100).await;
        let (there, _) = rig.mint_named_for("openai", "prod", ELSEWHERE.to_owned(), 100).await;
        let before = upstream.received().len();
        for token in [&here, &there] {
            let answer = rig.call(token, "GET", "/v1/models", "").await;
            assert_eq!(answer.status, if accepts { 200 } else { 403 }, "{}", answer.text());
            assert!(accepts || answer.text().contains("credential_denied"), "{}", answer.text());
        }
        assert_eq!(upstream.received().len() - before, if accepts { 2 } else { 0 });
        // Stored anew, for this address: a token from there still has another one in it.
        rig.store_upstream_key("openai", "prod", Some(UPSTREAM_KEY)).await;
        assert_eq!(rig.call(&here, "GET", "/v1/models", "").await.status, 200);
        let status = rig.call(&there, "GET", "/v1/models", "").await.status;
        assert_eq!(status, if accepts { 200 } else { 403 });
    }
}

#[tokio::test]
async fn what_can_not_be_unsealed_is_refused_and_comes_back() {
    let upstream = Upstream::start(|_, _| respond("200 OK", "", b"{}")).await;
    let rig = Rig::openai(&upstream.url()).await;
    rig.store_upstream_key("openai", "prod", Some(UPSTREAM_KEY)).await;
    let (token, id) = rig.mint_named("openai", "prod", 100).await;
    assert_eq!(rig.call(&token, "GET", "/v1/models", "").await.status, 200);
    // Put there for another provider, as somebody could who writes to the database.
    rig.store_upstream_key_as("openai", "prod", "anthropic", UPSTREAM_KEY).await;
    let refused = rig.call(&token, "GET", "/v1/models", "").await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(refused.text().contains("credential_denied"), "{}", refused.text());
    assert_eq!((upstream.received().len(), rig.used(id).await), (1, 1));
    rig.store_upstream_key("openai", "prod", Some(NEXT_KEY)).await;
    assert_eq!(rig.call(&token, "GET", "/v1/models", "").await.status, 200);
    // After a rotation the key is the same, until its master key is retired: then its token is refused.
    let master = rig.keys.master_key_id();
    rig.keys.rotate(MasterKey::from_bytes([9; 32]));
    rig.store.credentials_reseal(&rig.keys, &super::rig::actor()).await.expect("writable");
    assert_eq!(rig.call(&token, "GET", "/v1/models", "").await.status, 200);
    rig.keys.retire(master).expect("it is not the current one");
    let (young, _) = rig.mint_named("openai", "prod", 100).await;
    assert_eq!(rig.call(&token, "GET", "/v1/models", "").await.status, 403);
    assert_eq!(rig.call(&young, "GET", "/v1/models", "").await.status, 200);
    assert!(sent_key(upstream.received().last().expect("it was sent")).contains(NEXT_KEY));
}
