//! Minting, listing, showing and revoking keys, and totals.

use axum::body::Body;
use serde_json::{Value, json};
use till_core::key::KeyId;
use till_core::limit::Units;
use till_core::upstream::{Placement, SealedUpstream};
use till_store::Store;

use crate::harness::{CANARY, Instance};

async fn spend(store: &Store, id: &Value, times: u64) {
    let id: KeyId = id.as_str().unwrap().parse().unwrap();
    for _ in 0..times {
        let hold = store.hold_exactly(id, Units::ONE_ACTIVATION).await.expect("there are activations left");
        hold.settle(Units::ONE_ACTIVATION);
    }
}

#[tokio::test]
async fn scopes_are_kept_and_shown() {
    let instance = Instance::start().await;
    let mut made = 0;
    for (changes, scope, ip_whitelist) in [
        (json!({"ip_whitelist": ["10.0.0.0/8"]}), json!({"networks": ["10.0.0.0/8"]}), json!(["10.0.0.0/8"])),
        (json!({"ipWhitelist": ["::ffff:10.0.0.1"]}), json!({"networks": ["10.0.0.1"]}), json!(["10.0.0.1"])),
        (json!({"ip_whitelist": [], "scope": {}}), json!({}), json!([])),
        (
            json!({"scope": {"endpoints": ["chat", "GET /v1/models", "POST /v1/responses"], "networks": ["::1"]}}),
            json!({
                "endpoints": ["POST /v1/chat/completions", "POST /v1/responses", "GET /v1/models"],
                "networks": ["::1"],
            }),
            json!(["::1"]),
        ),
        (
            json!({"scope": {
                "models": ["gpt-4o*"],
                "parameters": {
                    "max_output_tokens": 9, "tools": false, "hostedTools": false, "store": true, "image_input": false,
                    "values": {"n": [1]},
                },
            }}),
            json!({
                "models": ["gpt-4o*"],
                "parameters": {
                    "maxOutputTokens": 9, "tools": false, "hostedTools": false, "imageInput": false,
                    "values": {"n": [1]},
                },
            }),
            json!([]),
        ),
    ] {
        let mut body = json!({"provider": "openai", "upstream_key": CANARY, "max_activations": 5});
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let created = instance.call("POST", "/admin/keys", body.to_string()).await;
        assert_eq!(created.status, 201, "{}", created.text);
        let key = created.json()["key"].clone();
        assert_eq!((&key["scope"], &key["ipWhitelist"]), (&scope, &ip_whitelist), "{changes}");
        let shown = instance.get(&format!("/admin/keys/{}", key["id"].as_str().unwrap())).await.json();
        assert_eq!(shown["key"]["scope"], scope);
        made += 1;
        let audit = instance.audit().await;
        let entries: Vec<_> = audit.iter().filter(|entry| entry["action"] == "key.create").collect();
        assert_eq!(entries.len(), made);
        let newest = entries.iter().find(|entry| entry["target"] == key["id"]).unwrap();
        let expected = if scope == json!({}) { json!(null) } else { scope };
        let detail: Value = serde_json::from_str(newest["detail"].as_str().unwrap()).unwrap();
        assert_eq!(detail["scope"], expected);
    }
}

#[tokio::test]
async fn till_ac_sends_and_reads_exactly_this() {
    let instance = Instance::start().await;
    // The bodies that till-ac 0.1.1 makes, byte for byte (httpx writes compact JSON).
    for (body, metadata) in [
        (format!(r#"{{"provider":"openai","upstream_key":"{CANARY}","max_activations":50}}"#), json!({})),
        (
            format!(
                r#"{{"provider":"openai","upstream_key":"{CANARY}","max_activations":50,"metadata":{{"team":"search","name":"crawler"}}}}"#
            ),
            json!({"team": "search", "name": "crawler"}),
        ),
    ] {
        let created = instance.call("POST", "/admin/keys", body).await;
        assert_eq!(created.status, 201, "{}", created.text);
        assert_eq!(created.header("cache-control"), "no-store");
        let mut key = created.json()["key"].clone();
        let scoped_key = key.as_object_mut().unwrap().remove("scopedKey").unwrap();
        assert!(scoped_key.as_str().unwrap().starts_with("till_sk_"));
        assert!(key["createdAt"].as_str().unwrap().ends_with('Z'));
        let expected = json!({
            "id": key["id"], "tenantId": "default", "createdBy": "owner", "upstream": null, "version": 1, "masterKey": instance.keys.master_key_id().to_string(), "provider": "openai", "origin": "https://api.openai.com",
            "status": "active", "maxActivations": 50, "usedActivations": 0, "maxTokens": null, "usedTokens": 0,
            "maxSpendCents": null, "usedSpendCents": 0, "maxSpendUsd": null, "usedSpendUsd": "0.00",
            "clamp": true, "dangerAllowUnbounded": false, "durability": "ahead", "scope": {}, "ipWhitelist": [], "createdAt": key["createdAt"], "lastUsedAt": null, "revokedAt": null,
            "expiresAt": null, "notBefore": null, "activateBy": null, "idleExpirySeconds": null, "pausedAt": null,
            "pausedReason": null,
            "rate": {"requestsPerMinute": null, "tokensPerMinute": null, "concurrent": null},
            "metadata": metadata
        });
        assert_eq!(key, expected);

        // GET and DELETE come with a JSON content type and without a body.
        let path = format!("/admin/keys/{}", key["id"].as_str().unwrap());
        assert_eq!(instance.get(&path).await.json(), json!({"key": expected}));
        let revoked = instance.call("DELETE", &path, Body::empty()).await;
        assert_eq!((revoked.status.as_u16(), &revoked.json()["key"]["status"]), (200, &json!("revoked")));
    }
    assert_eq!(instance.get("/admin/keys").await.json()["keys"].as_array().unwrap().len(), 2);
    assert_eq!(
        instance.get("/admin/account").await.json(),
        json!({"account": {
            "scope": "global", "tenant": null, "tenants": 1, "keysUsed": 2, "activationsUsedThisMonth": 0
        }})
    );
}

#[tokio::test]
async fn the_scoped_key_opens_to_what_was_sealed() {
    let instance = Instance::start().await;
    let key = instance.minted(5).await;
    let opened =
        instance.keys.open(key["scopedKey"].as_str().unwrap()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(opened.id.to_string(), key["id"]);
    let SealedUpstream::Key(upstream) = opened.upstream else { panic!("it has a key of its own") };
    assert_eq!(upstream.key.reveal(), CANARY.as_bytes());
    assert_eq!(upstream.provider, "openai");
    assert_eq!(upstream.origin, "https://api.openai.com");
    let bearer = Placement::Header { name: "authorization".into(), template: "Bearer {key}".into() };
    assert_eq!(upstream.placement, bearer);
    // Random: the same request makes another key.
    assert_ne!(instance.minted(5).await["id"], key["id"]);
}

#[tokio::test]
async fn accepts_every_spelling_and_extreme() {
    let instance = Instance::start().await;
    for (body, max, metadata) in [
        (
            json!({"provider": "anthropic", "upstreamKey": CANARY, "maxActivations": 1, "name": "ключ 🔑"}),
            1_u64,
            json!({"name": "ключ 🔑"}),
        ),
        (
            json!({"provider": "openai", "upstream_key": CANARY, "maxActivations": i64::MAX, "metadata": null, "name": null,
                "max_tokens": null, "maxSpendCents": null, "ip_whitelist": [], "scope": {}, "rate": {}, "project": null}),
            9_223_372_036_854_775_807,
            json!({}),
        ),
        (
            json!({"provider": "openai", "upstream_key": CANARY, "max_activations": 7,
                "metadata": {"a": [[[[[[[1]]]]]]], "b": null, "c": 1.5, "": "\u{0}\u{2028}"}}),
            7,
            json!({"a": [[[[[[[1]]]]]]], "b": null, "c": 1.5, "": "\u{0}\u{2028}"}),
        ),
    ] {
        let answer = instance.create(&body).await;
        assert_eq!(answer.status, 201, "{body}: {}", answer.text);
        let key = &answer.json()["key"];
        assert_eq!((&key["maxActivations"], &key["metadata"]), (&json!(max), &metadata));
        let shown = instance.get(&format!("/admin/keys/{}", key["id"].as_str().unwrap())).await.json();
        assert_eq!(shown["key"]["metadata"], metadata);
    }
}

#[tokio::test]
async fn use_is_shown() {
    let instance = Instance::start().await;
    let key = instance.minted(3).await;
    let path = format!("/admin/keys/{}", key["id"].as_str().unwrap());
    spend(&instance.store, &key["id"], 2).await;
    let shown = instance.get(&path).await.json()["key"].clone();
    assert_eq!((&shown["usedActivations"], &shown["status"]), (&json!(2), &json!("active")));
    assert!(shown["lastUsedAt"].is_string());
    spend(&instance.store, &key["id"], 1).await;
    let shown = instance.get(&path).await.json()["key"].clone();
    assert_eq!((&shown["usedActivations"], &shown["status"]), (&json!(3), &json!("exhausted")));
    let account = instance.get("/admin/account").await.json();
    assert_eq!(account["account"]["activationsUsedThisMonth"], 3);
}

#[tokio::test]
async fn revoking_is_final_and_idempotent() {
    let instance = Instance::start().await;
    let key = instance.minted(5).await;
    let path = format!("/admin/keys/{}", key["id"].as_str().unwrap());
    let first = instance.call("DELETE", &path, Body::empty()).await;
    let second = instance.call("DELETE", &path, Body::empty()).await;
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (200, 200));
    assert_eq!(first.json(), second.json());
    assert!(first.json()["key"]["revokedAt"].is_string());
    let id: KeyId = key["id"].as_str().unwrap().parse().unwrap();
    assert!(instance.store.hold_exactly(id, Units::ONE_ACTIVATION).await.is_err());
    instance
        .call("DELETE", "/admin/keys/key_0000000000000000000000", Body::empty())
        .await
        .assert_error(404, "not_found");
}

#[tokio::test]
async fn lists_newest_first_in_pages() {
    let instance = Instance::start().await;
    assert_eq!(instance.get("/admin/keys").await.json(), json!({"keys": []}));
    assert_eq!(instance.get("/admin/keys?limit=1").await.json(), json!({"keys": [], "nextCursor": null}));
    let mut made = vec![];
    for max in 1..=5 {
        made.insert(0, instance.minted(max).await["id"].clone());
    }
    let ids = |answer: &Value| -> Vec<Value> {
        answer["keys"].as_array().unwrap().iter().map(|key| key["id"].clone()).collect()
    };
    let all = instance.get("/admin/keys").await.json();
    assert_eq!(ids(&all), made);
    assert!(all.get("nextCursor").is_none());

    for limit in [1, 2, 4, 5, 6, 1000] {
        let mut seen = vec![];
        let mut path = format!("/admin/keys?limit={limit}");
        loop {
            let page = instance.get(&path).await.json();
            assert!(page["keys"].as_array().unwrap().len() <= limit);
            seen.extend(ids(&page));
            let Some(cursor) = page["nextCursor"].as_str() else { break };
            path = format!("/admin/keys?limit={limit}&cursor={cursor}");
        }
        assert_eq!(seen, made, "limit {limit}");
    }
}

#[tokio::test]
async fn lists_by_status_and_provider() {
    let instance = Instance::start().await;
    let [exhausted, revoked, active] =
        [instance.minted(1).await, instance.minted(2).await, instance.minted(3).await];
    spend(&instance.store, &exhausted["id"], 1).await;
    let path = format!("/admin/keys/{}", revoked["id"].as_str().unwrap());
    instance.call("DELETE", &path, Body::empty()).await;
    let body = json!({"provider": "anthropic", "upstream_key": CANARY, "max_activations": 5});
    let other = instance.create(&body).await.json()["key"].clone();
    for (query, expected) in [
        ("status=active", vec![&other, &active]),
        ("status=exhausted", vec![&exhausted]),
        ("status=revoked", vec![&revoked]),
        ("provider=anthropic", vec![&other]),
        ("provider=openai&status=active", vec![&active]),
        ("provider=openai&limit=1", vec![&active]),
        ("provider=none-such", vec![]),
    ] {
        let answer = instance.get(&format!("/admin/keys?{query}")).await.json();
        let ids: Vec<&Value> = answer["keys"].as_array().unwrap().iter().map(|key| &key["id"]).collect();
        assert_eq!(ids, expected.iter().map(|key| &key["id"]).collect::<Vec<_>>(), "{query}");
    }
}

#[tokio::test]
async fn limits_in_tokens_and_money() {
    let instance = Instance::start().await;
    for (limits, tokens, cents, usd) in [
        (json!({"max_tokens": 5}), json!(5), json!(null), json!(null)),
        (json!({"maxSpendCents": 25}), json!(null), json!(25), json!("0.25")),
        (json!({"max_spend_usd": "0.019999999"}), json!(null), json!(1), json!("0.019999999")),
        (json!({"max_spend_usd": "5", "max_tokens": 9}), json!(9), json!(500), json!("5.00")),
    ] {
        let mut body = json!({"provider": "openai", "upstream_key": "sk-0123456789"});
        for (name, value) in limits.as_object().unwrap() {
            body[name] = value.clone();
        }
        let answer = instance.create(&body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let key = &answer.json()["key"];
        assert_eq!(key["maxActivations"], json!(null));
        assert_eq!((&key["maxTokens"], &key["maxSpendCents"], &key["maxSpendUsd"]), (&tokens, &cents, &usd));
        assert_eq!((&key["clamp"], &key["dangerAllowUnbounded"]), (&json!(true), &json!(false)));
    }
    let none = json!({"provider": "openai", "upstream_key": "sk-0123456789"});
    let answer = instance.create(&none).await;
    answer.assert_error(400, "missing_field");
    // No table knows what its requests cost.
    let unknown = json!({"provider": "github", "upstream_key": "sk-0123456789", "max_spend_usd": "1"});
    let answer = instance.create(&unknown).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert!(answer.text.contains("a limit in money can't be enforced"), "{}", answer.text);
}
