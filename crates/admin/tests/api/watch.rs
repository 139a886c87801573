//! What the dashboard lives on: the overview, sums, prices, search, and the stream of changes.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use till_core::demand::Demand;
use till_core::denial::DenialCode;
use till_core::key::KeyId;
use till_core::limit::Units;
use till_core::role::Role;
use till_core::token::mint_admin_token;

use crate::harness::{CANARY, Instance, put_token};

async fn minted(instance: &Instance, fields: Value) -> (String, KeyId) {
    let mut body = json!({"provider": "openai", "upstream_key": CANARY, "max_activations": 10});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let made = instance.create(&body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let id = made.json()["key"]["id"].as_str().unwrap().to_owned();
    let key = id.parse().unwrap();
    (id, key)
}

/// A call that costs $0.000045.
async fn call(instance: &Instance, key: KeyId) {
    let terms = instance.store.key_terms(key).await.unwrap();
    let demand = Demand { tokens_fixed: 1_000, picos_fixed: 1_000_000_000, ..Demand::ONE_ACTIVATION };
    let hold = instance.store.hold(&terms, demand, Duration::from_secs(30)).await.unwrap();
    hold.settle(Units { activations: 1, tokens: 150, spend_nanos: 45_000 });
    instance.store.flush().await.unwrap();
}

/// Waits until so many denials are written.
async fn denied(instance: &Instance, count: u64) {
    while instance.store.stats().denials < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    instance.store.flush().await.unwrap();
}

#[tokio::test]
async fn the_overview_has_what_is_spent_and_what_ends() {
    let instance = Instance::start().await;
    let (id, key) =
        minted(&instance, json!({"name": "soon", "ttl_seconds": 3600, "max_spend_usd": "0.0011"})).await;
    minted(&instance, json!({"name": "later", "ttl_seconds": 30 * 86_400})).await;
    call(&instance, key).await;
    instance.store.denial_record(key, DenialCode::ModelDenied);
    denied(&instance, 1).await;
    let overview = instance.get("/admin/overview").await.json()["overview"].clone();
    assert_eq!(overview["keys"]["active"], 2);
    assert_eq!(overview["today"]["denials"], 1);
    assert_eq!(overview["month"]["denials"], 1);
    let expiring = overview["expiring"].as_array().unwrap();
    assert_eq!(expiring.iter().map(|key| &key["id"]).collect::<Vec<_>>(), [&json!(id)]);
    // Whoever asks again within a second gets the same.
    minted(&instance, json!({})).await;
    assert_eq!(instance.get("/admin/overview").await.json()["overview"]["keys"]["active"], 2);
}

#[tokio::test]
async fn denials_are_summed_up_for_those_who_see_the_key() {
    let instance = Instance::start().await;
    instance.call("POST", "/admin/projects", json!({"id": "a"}).to_string()).await;
    let (id, key) = minted(&instance, json!({"project": "a"})).await;
    let (_, other) = minted(&instance, json!({})).await;
    for (key, code, times) in [
        (key, DenialCode::ModelDenied, 3),
        (key, DenialCode::EndpointDenied, 1),
        (other, DenialCode::ModelDenied, 2),
    ] {
        (0..times).for_each(|_| instance.store.denial_record(key, code));
    }
    denied(&instance, 6).await;
    let sums = async |query: &str| {
        let answer = instance.get(&format!("/admin/denials/summary{query}")).await.json();
        let sums = answer["sums"].as_array().unwrap().clone();
        sums.iter().map(|sum| (sum["code"].clone(), sum["count"].as_u64().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(sums("").await, [(Value::Null, 6)]);
    assert_eq!(sums("?group_by=code").await, [(json!("model_denied"), 5), (json!("endpoint_denied"), 1)]);
    assert_eq!(sums(&format!("?key={id}")).await, [(Value::Null, 4)]);
    assert_eq!(sums("?project=a&group_by=code,day").await.len(), 2);
    assert_eq!(sums("?until=2020-01-01T00:00:00Z").await, []);
    assert_eq!(
        instance.get("/admin/denials/summary?group_by=key").await.json()["sums"][0]["keyId"],
        json!(id)
    );
    instance.get("/admin/denials/summary?group_by=word").await.assert_error(400, "invalid_query");
    // Somebody of another project.
    let token = mint_admin_token([5; 32]).reveal_str().unwrap().to_owned();
    put_token(&instance.store, "bound", &token, Role::Viewer, Some("default")).await;
    let request = Request::builder().uri(format!("/admin/denials/summary?key={id}"));
    let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    let answer = instance.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.json()["sums"], json!([]));
}

#[tokio::test]
async fn prices_are_exact_and_found_by_model() {
    let instance = Instance::start().await;
    let found = instance.get("/admin/prices?provider=openai&model=gpt-4o-mini").await.json();
    let [price] = found["prices"].as_array().unwrap().as_slice() else { panic!("{found}") };
    assert_eq!((&price["inputUsd"], &price["outputUsd"]), (&json!("0.15"), &json!("0.60")), "{price}");
    assert_eq!(price["custom"], false);
    let all = instance.get("/admin/prices?provider=openai").await.json();
    assert!(all["prices"].as_array().unwrap().len() > 10);
    assert_eq!(instance.get("/admin/prices?provider=nobody").await.json()["prices"], json!([]));
}

#[tokio::test]
async fn keys_are_found_by_name_and_id() {
    let instance = Instance::start().await;
    let (crawler, _) = minted(&instance, json!({"name": "Nightly <b>crawler"})).await;
    let (other, _) = minted(&instance, json!({})).await;
    let found = async |search: &str| {
        let answer = instance.get(&format!("/admin/keys?search={search}")).await.json();
        let keys = answer["keys"].as_array().unwrap().clone();
        keys.iter().map(|key| key["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found("%3CB%3ECRAWL").await, [crawler.as_str()]);
    assert_eq!(found(&other[..20]).await, [other.as_str()]);
    assert_eq!(found("").await.len(), 2);
    assert_eq!(found("nobody").await.len(), 0);
    let long = "x".repeat(257);
    instance.get(&format!("/admin/keys?search={long}")).await.assert_error(400, "invalid_query");
}

/// The next event, or `None` at the end.
async fn next(body: &mut Body) -> Option<String> {
    let frame = tokio::time::timeout(Duration::from_secs(30), body.frame()).await.expect("within the time");
    let data = frame?.unwrap().into_data().unwrap();
    Some(String::from_utf8(data.to_vec()).unwrap())
}

/// The topics of the next event that has one of them.
async fn changed(body: &mut Body, topic: &str) -> String {
    for _ in 0..10 {
        let event = next(body).await.expect("the stream goes on");
        if event.contains(&format!("\"{topic}\"")) {
            return event;
        }
    }
    panic!("nobody says that {topic} changed");
}

fn events(token: &str) -> Request<Body> {
    let request = Request::builder().uri("/admin/events");
    request.header(header::AUTHORIZATION, format!("Bearer {token}")).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn changes_are_told_and_the_stream_ends_with_the_token() {
    let instance = Instance::start().await;
    let token = mint_admin_token([4; 32]).reveal_str().unwrap().to_owned();
    put_token(&instance.store, "tok_viewer", &token, Role::Viewer, None).await;
    let mut owner = instance.open(events(&instance.token)).await.into_body();
    let answer = instance.open(events(&token)).await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut viewer = answer.into_body();
    assert!(next(&mut owner).await.unwrap().starts_with("retry: "));
    assert!(next(&mut viewer).await.unwrap().starts_with("retry: "));

    let (_, key) = minted(&instance, json!({})).await;
    assert!(changed(&mut owner, "keys").await.contains("audit"));
    assert!(!changed(&mut viewer, "keys").await.contains("audit"), "a viewer does not see it");
    call(&instance, key).await;
    changed(&mut owner, "usage").await;
    instance.store.denial_record(key, DenialCode::ModelDenied);
    changed(&mut owner, "usage").await;
    instance.call("PUT", "/admin/kill-switch", json!({"on": true}).to_string()).await;
    changed(&mut owner, "kill_switch").await;

    instance.call("DELETE", "/admin/tokens/tok_viewer", Body::empty()).await;
    while next(&mut viewer).await.is_some() {}
    changed(&mut owner, "admin").await;
}

#[tokio::test]
async fn the_overview_after_a_change_is_not_the_one_before_it() {
    let instance = Instance::start().await;
    let mut owner = instance.open(events(&instance.token)).await.into_body();
    assert!(next(&mut owner).await.unwrap().starts_with("retry: "));
    let active = async || {
        let overview = instance.get("/admin/overview").await.json()["overview"].clone();
        overview["keys"]["active"].as_u64().unwrap()
    };
    assert_eq!(active().await, 0);
    minted(&instance, json!({})).await;
    changed(&mut owner, "keys").await;
    assert_eq!(active().await, 1);
}

#[tokio::test]
async fn listeners_are_few() {
    let instance = Instance::start().await;
    let mut open = Vec::new();
    for _ in 0..256 {
        let answer = instance.open(events(&instance.token)).await;
        assert_eq!(answer.status(), 200);
        open.push(answer);
    }
    instance.send(events(&instance.token)).await.assert_error(503, "too_many_listeners");
    open.pop();
    assert_eq!(instance.open(events(&instance.token)).await.status(), 200, "there is room again");
}
