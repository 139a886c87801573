//! What would become of a request, without sending it.

use serde_json::{Value, json};

use crate::harness::{CANARY, Instance};

/// A key with these fields besides the usual ones; its id.
async fn mint(instance: &Instance, more: Value) -> String {
    let mut body = json!({"provider": "openai", "upstream_key": CANARY, "max_activations": 5});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let created = instance.call("POST", "/admin/keys", body.to_string()).await;
    assert_eq!(created.status, 201, "{}", created.text);
    created.json()["key"]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn says_yes_or_no_and_why() {
    let instance = Instance::start().await;
    let scope = json!({
        "endpoints": ["chat", "GET /v1/models"], "models": ["gpt-4o-mini"], "networks": ["10.0.0.0/8"],
        "parameters": {"tools": false},
    });
    let scoped = mint(&instance, json!({"scope": scope})).await;
    let money = mint(&instance, json!({"max_spend_usd": "1"})).await;
    let revoked = mint(&instance, json!({})).await;
    instance.call("DELETE", &format!("/admin/keys/{revoked}"), "").await;
    let chat = "/v1/chat/completions";
    for (id, wanted, code, steps) in [
        (
            &scoped,
            json!({"method": "POST", "path": chat, "model": "gpt-4o-mini"}),
            None,
            "network path endpoint request status",
        ),
        (
            &scoped,
            json!({"method": "POST", "path": "/chat/completions", "model": "gpt-4o"}),
            Some("model_denied"),
            "network path endpoint request",
        ),
        (
            &scoped,
            json!({"method": "POST", "path": "/v1/embeddings", "model": "gpt-4o"}),
            Some("endpoint_denied"),
            "network path endpoint",
        ),
        (&scoped, json!({"method": "POST", "path": "/v1/../x"}), Some("malformed_request"), "network path"),
        (
            &scoped,
            json!({"method": "GET", "path": "/v1/models", "clientAddress": "10.1.1.1"}),
            None,
            "network path endpoint request status",
        ),
        (
            &scoped,
            json!({"method": "GET", "path": "/v1/models", "client_address": "::ffff:11.1.1.1"}),
            Some("network_denied"),
            "network",
        ),
        (
            &scoped,
            json!({"method": "POST", "path": chat, "body": {"model": "gpt-4o-mini", "messages": [], "tools": [{"type": "function"}]}}),
            Some("parameter_denied"),
            "network path endpoint request",
        ),
        (
            &scoped,
            json!({"method": "POST", "path": chat, "body": "{\"model\":\"gpt-4o-mini\",\"model\":\"gpt-4o\"}"}),
            Some("malformed_request"),
            "network path endpoint request",
        ),
        (
            &money,
            json!({"method": "POST", "path": chat, "model": "gpt-4o-mini"}),
            None,
            "network path endpoint bounds status",
        ),
        (
            &money,
            json!({"method": "POST", "path": chat, "model": "nobody-knows"}),
            Some("unpriced_model"),
            "network path endpoint bounds",
        ),
        (
            &money,
            json!({"method": "POST", "path": "/v1/batches"}),
            Some("endpoint_denied"),
            "network path endpoint",
        ),
        (
            &money,
            json!({"method": "POST", "path": "/proxy/anthropic/v1/messages"}),
            Some("endpoint_denied"),
            "network path",
        ),
        (
            &revoked,
            json!({"method": "POST", "path": chat}),
            Some("key_revoked"),
            "network path endpoint status",
        ),
    ] {
        let answer = instance.call("POST", &format!("/admin/keys/{id}/explain"), wanted.to_string()).await;
        assert_eq!(answer.status, 200, "{wanted}: {}", answer.text);
        let explained = answer.json()["explanation"].clone();
        assert_eq!(explained["allowed"], code.is_none(), "{wanted}: {explained}");
        assert_eq!(explained["code"], json!(code), "{wanted}: {explained}");
        assert_eq!(explained["message"].is_null(), code.is_none(), "{wanted}: {explained}");
        let names: Vec<&str> = explained["steps"]
            .as_array()
            .unwrap()
            .iter()
            .map(|step| step["step"].as_str().unwrap())
            .collect();
        assert_eq!(names.join(" "), steps, "{wanted}: {explained}");
    }
    // Nothing was spent.
    let shown = instance.get(&format!("/admin/keys/{scoped}")).await.json();
    assert_eq!(shown["key"]["usedActivations"], 0);
}

/// What is above a key has a say in what is bounded.
#[tokio::test]
async fn ceilings_count() {
    let instance = Instance::start().await;
    let unbounded = json!({"danger_allow_unbounded": true, "max_spend_usd": "1"});
    let (plain, unbounded) = (mint(&instance, json!({})).await, mint(&instance, unbounded).await);
    let code = async |id: &str| {
        let wanted = json!({"method": "POST", "path": "/v1/chat/completions", "model": "nobody-knows"});
        let answer = instance.call("POST", &format!("/admin/keys/{id}/explain"), wanted.to_string()).await;
        answer.json()["explanation"]["code"].clone()
    };
    assert_eq!((code(&plain).await, code(&unbounded).await), (Value::Null, Value::Null));
    let rules = json!({"policy": {"ceilings": {"day": {"max_spend_usd": "5"}}}});
    let put = instance.call("PATCH", "/admin/projects/default", rules.to_string()).await;
    assert_eq!(put.status, 200, "{}", put.text);
    assert_eq!(
        (code(&plain).await, code(&unbounded).await),
        (json!("unpriced_model"), json!("unpriced_model"))
    );
}

#[tokio::test]
async fn breaks_rules() {
    let instance = Instance::start().await;
    let id = mint(&instance, json!({})).await;
    for (wanted, code, part) in [
        (json!({"path": "/x"}), "missing_field", "`method`"),
        (json!({"method": "GET"}), "missing_field", "`path`"),
        (json!({"method": "G T", "path": "/x"}), "invalid_field", "`method`"),
        (json!({"method": "GET", "path": "x"}), "invalid_field", "`path`"),
        (json!({"method": "GET", "path": "/x", "body": 1}), "invalid_field", "`body`"),
        (json!({"method": "GET", "path": "/x", "body": {}, "model": "m"}), "invalid_field", "`model`"),
        (
            json!({"method": "GET", "path": "/x", "client_address": "here"}),
            "invalid_field",
            "`client_address`",
        ),
        (json!({"method": "GET", "path": "/x", "query": "a"}), "unknown_field", "`query`"),
    ] {
        let answer = instance.call("POST", &format!("/admin/keys/{id}/explain"), wanted.to_string()).await;
        let message = answer.assert_error(400, code);
        assert!(message.contains(part), "{wanted}: {message}");
    }
    let unknown = "/admin/keys/key_0000000000000000000000/explain";
    let wanted = json!({"method": "GET", "path": "/x"}).to_string();
    instance.call("POST", unknown, wanted).await.assert_error(404, "not_found");
}
