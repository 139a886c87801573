//! Promises 1 to 4: never over, exactly N, unknown is spent.

use std::sync::Arc;

use till_testkit::client::Client;
use till_testkit::upstream::{Step, Upstream, chunk, chunked_head, json};
use tokio::net::TcpListener;

use super::rig::{Rig, request};

/// `callers` connections send `calls` requests in all with a key of `limit` activations.
async fn exactly(limit: u64, calls: usize, callers: usize) {
    let upstream = Upstream::start(|_, _| json("{}")).await;
    let rig = Arc::new(Rig::openai(&upstream.url()).await);
    let (token, id) = rig.mint("openai", limit).await;
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let (rig, token) = (Arc::clone(&rig), token.clone());
            tokio::spawn(async move {
                let mut client = Client::connect(rig.address).await;
                let mut seen = Vec::new();
                for _ in (caller..calls).step_by(callers) {
                    let answer = client.request(request(&token, "POST", "/v1/chat/completions", "{}")).await;
                    let denied = answer.text().contains("activations_exhausted");
                    seen.push((answer.status, denied));
                }
                seen
            })
        })
        .collect();
    let mut passed = 0;
    let mut denied = 0;
    for task in tasks {
        for outcome in task.await.expect("no panic") {
            match outcome {
                (200, false) => passed += 1,
                (403, true) => denied += 1,
                other => panic!("neither passed nor exhausted: {other:?}"),
            }
        }
    }
    assert_eq!((passed, denied), (limit, calls as u64 - limit));
    assert_eq!(upstream.received().len() as u64, limit);
    assert_eq!(rig.used(id).await, limit);
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_fifty_of_four_hundred_pass() {
    exactly(50, 400, 64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_one_passes() {
    exactly(1, 64, 64).await;
}

#[tokio::test]
async fn what_was_provably_not_sent_is_given_back() {
    // A port that nobody listens on.
    let port = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", port.local_addr().expect("it is bound"));
    drop(port);
    let rig = Rig::openai(&url).await;
    let (token, id) = rig.mint("openai", 1).await;
    for _ in 0..3 {
        let answer = rig.call(&token, "POST", "/v1/chat/completions", "{}").await;
        assert_eq!(answer.status, 502, "{}", answer.text());
        assert!(answer.text().contains("upstream_unreachable"), "{}", answer.text());
    }
    assert_eq!(rig.used(id).await, 0);
}

#[tokio::test]
async fn names_that_do_not_resolve_are_given_back() {
    let rig = Rig::openai("http://nowhere.invalid:9").await;
    let (token, id) = rig.mint("openai", 1).await;
    assert_eq!(rig.call(&token, "POST", "/v1/chat/completions", "{}").await.status, 502);
    assert_eq!(rig.used(id).await, 0);
}

#[tokio::test]
async fn what_may_have_arrived_is_spent() {
    // The provider reads the request and closes without a word.
    let upstream = Upstream::start(|_, _| vec![Step::Close]).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint("openai", 1).await;
    let answer = rig.call(&token, "POST", "/v1/chat/completions", "{}").await;
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("upstream_protocol"), "{}", answer.text());
    assert_eq!(upstream.received().len(), 1, "a request that may have arrived is not sent again");
    rig.has_nothing_left(&token).await;
    assert_eq!((upstream.received().len(), rig.used(id).await), (1, 1));
}

#[tokio::test]
async fn a_cut_stream_is_spent_and_looks_cut() {
    let upstream = Upstream::start(|_, _| {
        vec![chunked_head("content-type: text/event-stream\r\n"), chunk(b"data: 1\n\n"), Step::Close]
    })
    .await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint("openai", 1).await;
    let answer = rig.call(&token, "POST", "/v1/chat/completions", "{}").await;
    assert_eq!((answer.status, answer.is_complete), (200, false));
    rig.has_nothing_left(&token).await;
    assert_eq!(rig.used(id).await, 1);
}

#[tokio::test]
async fn denials_name_the_limit_and_what_to_do() {
    let upstream = Upstream::start(|_, _| json("{}")).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint("openai", 1).await;
    let first = rig.call(&token, "POST", "/v1/chat/completions", "{}").await;
    assert_eq!(first.header("x-till-activations-remaining"), Some("0"));
    let second = rig.call(&token, "POST", "/v1/chat/completions", "{}").await;
    assert_eq!(second.status, 403);
    assert_eq!(second.header("x-should-retry"), Some("false"));
    assert_eq!(second.header("retry-after"), None);
    assert!(second.header("x-till-request-id").is_some_and(|id| id.starts_with("req_")));
    let text = second.text();
    for part in ["activations_exhausted", &id.to_string(), "only activation"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.to_lowercase().contains("rate limit"), "{text}");
}

#[tokio::test]
async fn a_revoked_key_stops_at_once() {
    let upstream = Upstream::start(|_, _| json("{}")).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint("openai", 5).await;
    assert_eq!(rig.call(&token, "GET", "/v1/models", "").await.status, 200);
    rig.revoke(id).await;
    let answer = rig.call(&token, "GET", "/v1/models", "").await;
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("key_revoked"), "{}", answer.text());
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn the_self_check_is_free() {
    let upstream = Upstream::start(|_, _| json("{}")).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint("openai", 3).await;
    assert_eq!(rig.call(&token, "GET", "/v1/models", "").await.status, 200);
    let answer = rig.call(&token, "GET", "/key", "").await;
    assert_eq!(answer.status, 200);
    let json: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(json["key"]["id"], id.to_string());
    assert_eq!(json["key"]["remainingActivations"], 2);
    assert_eq!(rig.used(id).await, 1);
    assert_eq!(rig.call("till_sk_nonsense", "GET", "/key", "").await.status, 403);
}
