//! What was used, and what a crash left open.

use serde_json::json;
use till_core::demand::Demand;
use till_core::key::KeyId;
use till_core::limit::Units;
use till_store::{KeyRecord, Outcome, TokenCounts, UsageRecord};

use crate::harness::{Instance, STARTED, open};

fn record(key: KeyId, model: &str) -> UsageRecord {
    UsageRecord {
        at: STARTED,
        request_id: "req_1".into(),
        key,
        provider: "openai".into(),
        method: "POST".into(),
        endpoint: "chat.completions".into(),
        model: Some(model.into()),
        status: Some(200),
        outcome: Outcome::Complete,
        denial: None,
        tokens: TokenCounts { input: 100, output: 50, ..TokenCounts::default() },
        charged: Units::default(),
        price_version: Some("2026-11-23".into()),
        latency_ms: 812,
        first_byte_ms: Some(240),
        client: Some([127, 0, 0, 1].into()),
        streamed: false,
    }
}

/// A call that used 150 tokens and $0.000045.
async fn call(instance: &Instance, key: KeyId, model: &str) -> KeyRecord {
    let terms = instance.store.key_terms(key).await.unwrap();
    let demand = Demand { tokens_fixed: 1_000, picos_fixed: 1_000_000_000, ..Demand::ONE_ACTIVATION };
    let mut hold = instance.store.hold(&terms, demand, std::time::Duration::from_secs(30)).await.unwrap();
    hold.record(record(key, model));
    hold.record_mut().expect("it has one").at = STARTED;
    hold.settle(Units { activations: 1, tokens: 150, spend_nanos: 45_000 });
    instance.store.flush().await.unwrap();
    instance.store.key_fetch(key).await.unwrap().unwrap()
}

#[tokio::test]
async fn calls_are_listed_in_pages_and_summed_up() {
    let instance = Instance::start().await;
    let minted = instance.minted(100).await;
    let id = minted["id"].as_str().unwrap().to_owned();
    let key: KeyId = id.parse().unwrap();
    for model in ["gpt-a", "gpt-b", "gpt-a"] {
        call(&instance, key, model).await;
    }
    let first = instance.get("/admin/usage?limit=2").await.json();
    let models = |page: &serde_json::Value| {
        let records = page["records"].as_array().unwrap();
        records.iter().map(|record| record["model"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(models(&first), ["gpt-a", "gpt-b"]);
    let next = first["nextBefore"].as_u64().unwrap();
    let second = instance.get(&format!("/admin/usage?limit=2&before={next}&key={id}")).await.json();
    assert_eq!((models(&second), &second["nextBefore"]), (vec!["gpt-a".to_owned()], &json!(null)));
    assert_eq!(
        second["records"][0],
        json!({
            "seq": 1, "at": "2026-01-31T08:00:00.000Z", "requestId": "req_1", "keyId": id, "provider": "openai",
            "method": "POST", "endpoint": "chat.completions", "model": "gpt-a", "status": 200, "outcome": "complete",
            "denial": null, "chargedTokens": 150, "chargedUsd": "0.000045", "priceVersion": "2026-11-23",
            "latencyMs": 812, "firstByteMs": 240, "client": "127.0.0.1", "streamed": false,
            "tokens": {
                "total": 150, "input": 100, "cacheRead": 0, "cacheWrite": 0, "output": 50, "reasoning": 0,
                "audioInput": 0, "audioOutput": 0, "imageInput": 0, "imageOutput": 0, "toolCalls": 0
            },
        })
    );
    for (filter, count) in [
        ("model=gpt-b", 1),
        ("model=gpt-c", 0),
        ("provider=openai", 3),
        ("outcome=charged", 0),
        ("since=2026-01-31T08:00:00Z", 3),
        ("since=2026-01-31T08:00:00.001Z", 0),
        ("until=2026-01-31T09:00:00%2B01:00", 0),
    ] {
        let page = instance.get(&format!("/admin/usage?{filter}")).await.json();
        assert_eq!(page["records"].as_array().unwrap().len(), count, "{filter}");
    }
    let sums = instance.get("/admin/usage/summary?group_by=model,day").await.json();
    let dearest = &sums["sums"][0];
    assert_eq!(
        (&dearest["model"], &dearest["day"], &dearest["calls"], &dearest["chargedUsd"], &dearest["keyId"]),
        (&json!("gpt-a"), &json!("2026-01-31"), &json!(2), &json!("0.00009"), &json!(null))
    );
    let all = instance.get("/admin/usage/summary").await.json();
    assert_eq!((&all["sums"][0]["calls"], &all["sums"][0]["tokens"]["total"]), (&json!(3), &json!(450)));
}

#[tokio::test]
async fn bad_queries_are_refused_by_name() {
    let instance = Instance::start().await;
    for (path, part) in [
        ("/admin/usage?limit=0", "`limit`"),
        ("/admin/usage?limit=1001", "`limit`"),
        ("/admin/usage?key=key_1", "`key`"),
        ("/admin/usage?since=yesterday", "`since`"),
        ("/admin/usage?outcome=fine", "`outcome`"),
        ("/admin/usage?before=x", "`before`"),
        ("/admin/usage/summary?group_by=colour", "`group_by`"),
        ("/admin/usage/summary?outcome=free", "`outcome`"),
        ("/admin/holds?before=7", "`before`"),
    ] {
        let message = instance.get(path).await.assert_error(400, "invalid_query");
        assert!(message.contains(part), "{path}: {message}");
    }
}

#[tokio::test]
async fn what_a_crash_left_open_can_be_forgiven_once() {
    let instance = Instance::start().await;
    let minted = instance.minted(2).await;
    let key: KeyId = minted["id"].as_str().unwrap().parse().unwrap();
    std::mem::forget(instance.store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap());
    instance.store.close().await.unwrap();
    let dir = instance.dir;
    drop(open(dir.path()));
    let instance = Instance::start_in(dir, true).await;
    let holds = instance.get("/admin/holds").await.json();
    let hold = &holds["holds"][0];
    assert_eq!(
        (&hold["keyId"], &hold["activations"], &holds["nextBefore"]),
        (&minted["id"], &json!(1), &json!(null))
    );
    let used = |instance: &Instance| {
        let store = instance.store.clone();
        async move { store.key_fetch(key).await.unwrap().unwrap().used.activations }
    };
    assert_eq!(used(&instance).await, 1);
    let lost = instance.get("/admin/usage?outcome=lost").await.json();
    assert_eq!(lost["records"].as_array().unwrap().len(), 1);
    let path = format!("/admin/holds/{}/forgive", hold["id"].as_str().unwrap());
    assert_eq!(instance.call("POST", &path, "").await.status, 200);
    assert_eq!(used(&instance).await, 0);
    instance.call("POST", &path, "").await.assert_error(404, "not_found");
    instance.call("POST", "/admin/holds/7/forgive", "").await.assert_error(400, "invalid_id");
    assert_eq!(instance.get("/admin/holds").await.json()["holds"], json!([]));
    assert!(instance.audit().await.iter().any(|entry| entry["action"] == "hold.forgive"));
    let unsent = instance.get("/admin/usage?outcome=unsent").await.json();
    assert_eq!(unsent["records"][0]["chargedUsd"], json!("0.00"));
}
