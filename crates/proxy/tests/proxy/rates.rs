//! Who comes too often is told when to come again, and what is refused is not sent.

use std::sync::Arc;

use till_core::limit::Limits;
use till_core::rate::Rates;
use till_store::KeyOptions;
use till_testkit::client::Client;
use till_testkit::upstream::{Step, Upstream, json};
use tokio::sync::Semaphore;

use super::rig::{Rig, becomes, request};

fn ten_calls() -> Limits {
    Limits { activations: Some(10), ..Limits::default() }
}

#[tokio::test]
async fn a_request_that_comes_too_early_is_not_sent() {
    let upstream = Upstream::start(|_, _| json("{}")).await;
    let rig = Rig::openai(&upstream.url()).await;
    let rates = Rates { requests_per_minute: Some(2), ..Rates::default() };
    let options = KeyOptions { rates, ..KeyOptions::default() };
    let (token, id) = rig.mint_with("openai", ten_calls(), options).await;
    for _ in 0..2 {
        assert_eq!(rig.call(&token, "POST", "/v1/chat/completions", "{}").await.status, 200);
    }
    let answer = rig.call(&token, "POST", "/v1/chat/completions", "{}").await;
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert!(answer.text().contains("rate_limited"), "{}", answer.text());
    let wait: u64 = answer.header("retry-after").expect("how long").parse().expect("whole seconds");
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(answer.header("x-should-retry"), None);
    assert_eq!((upstream.received().len(), rig.key(id).await.used.activations), (2, 2));
}

#[tokio::test]
async fn only_so_many_are_in_flight() {
    let gate = Arc::new(Semaphore::new(0));
    let script_gate = Arc::clone(&gate);
    let upstream = Upstream::start(move |_, _| {
        let mut steps = vec![Step::Wait(Arc::clone(&script_gate))];
        steps.extend(json("{}"));
        steps
    })
    .await;
    let rig = Rig::openai(&upstream.url()).await;
    let rates = Rates { concurrent: Some(1), ..Rates::default() };
    let options = KeyOptions { rates, ..KeyOptions::default() };
    let (token, id) = rig.mint_with("openai", ten_calls(), options).await;
    let mut first = Client::connect(rig.address).await;
    first.send(request(&token, "POST", "/v1/chat/completions", "{}")).await;
    becomes(|| upstream.received().len() == 1).await;
    let second = rig.call(&token, "POST", "/v1/chat/completions", "{}").await;
    assert_eq!((second.status, second.header("retry-after")), (429, Some("1")), "{}", second.text());
    assert!(second.text().contains("concurrency_limited"), "{}", second.text());
    gate.add_permits(2);
    assert_eq!(first.answer().await.expect("an answer").status, 200);
    rig.becomes_idle().await;
    assert_eq!(rig.key(id).await.used.activations, 1, "the settle is written");
    assert_eq!(rig.call(&token, "POST", "/v1/chat/completions", "{}").await.status, 200);
}
