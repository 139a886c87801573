//! The life cycle of keys, changes of keys, and revoking many.

use std::time::Duration;

use serde_json::{Value, json};
use till_core::limit::Units;
use till_core::time::Timestamp;

use crate::harness::{Answer, CANARY, Instance};

impl Instance {
    async fn create_with(&self, more: Value) -> Answer {
        let mut body = json!({"provider": "openai", "upstream_key": CANARY, "max_activations": 5});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.create(&body).await
    }

    async fn change(&self, id: &str, body: &Value) -> Answer {
        self.call("PATCH", &format!("/admin/keys/{id}"), body.to_string()).await
    }

    /// So many seconds from now, as the API takes times.
    fn soon(&self, seconds: i64) -> String {
        till_admin::rfc3339(Timestamp(self.store.now().0.checked_add_signed(seconds * 1000).unwrap()))
    }
}

fn id(answer: &Answer) -> String {
    answer.json()["key"]["id"].as_str().expect("a key").to_owned()
}

#[tokio::test]
async fn keys_have_a_life_cycle() {
    let instance = Instance::start().await;
    let all = json!({
        "expires_at": "2199-01-31T09:00:00+01:00", "notBefore": "2199-01-01T00:00:00Z",
        "activateBy": "2199-01-02T00:00:00.500Z", "idle_expiry_seconds": 3600
    });
    let answer = instance.create_with(all).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let key = answer.json()["key"].clone();
    assert_eq!(key["status"], "pending");
    assert_eq!(key["expiresAt"], "2199-01-31T08:00:00.000Z");
    assert_eq!(key["notBefore"], "2199-01-01T00:00:00.000Z");
    assert_eq!(key["activateBy"], "2199-01-02T00:00:00.500Z");
    assert_eq!(
        (&key["idleExpirySeconds"], &key["pausedAt"], &key["pausedReason"]),
        (&json!(3600), &Value::Null, &Value::Null)
    );
    let before = instance.store.now();
    let answer = instance.create_with(json!({"ttlSeconds": 60})).await;
    let end = answer.json()["key"]["expiresAt"].as_str().unwrap().to_owned();
    let (first, last) = (Timestamp(before.0 + 60_000), Timestamp(instance.store.now().0 + 60_000));
    assert!((till_admin::rfc3339(first)..=till_admin::rfc3339(last)).contains(&end), "{end}");
    for status in ["pending", "active"] {
        let listed = instance.get(&format!("/admin/keys?status={status}")).await.json();
        assert_eq!(listed["keys"].as_array().unwrap().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn bounds_in_time_are_checked() {
    let instance = Instance::start().await;
    for (more, code, part) in [
        (json!({"expires_at": instance.soon(-1)}), "invalid_field", "`expires_at` must be in the future"),
        (json!({"activate_by": instance.soon(-1)}), "invalid_field", "`activate_by` must be in the future"),
        (json!({"expires_at": instance.soon(50), "ttl_seconds": 5}), "duplicate_field", "same bound"),
        (json!({"expires_at": "tomorrow"}), "invalid_field", "RFC 3339"),
        (json!({"expires_at": "2199-01-31 09:00:00"}), "invalid_field", "RFC 3339"),
        (json!({"expires_at": "2199-01-31"}), "invalid_field", "RFC 3339"),
        (json!({"expires_at": 1_900_000_000}), "invalid_field", "RFC 3339"),
        (json!({"ttl_seconds": 0}), "invalid_field", "`ttl_seconds` must be a whole number of seconds"),
        (json!({"ttl_seconds": "60"}), "invalid_field", "`ttl_seconds`"),
        (json!({"ttl_seconds": u64::MAX}), "invalid_field", "`ttl_seconds`"),
        (json!({"idle_expiry_seconds": 0.5}), "invalid_field", "`idle_expiry_seconds`"),
        (
            json!({"not_before": instance.soon(90), "expires_at": instance.soon(60)}),
            "invalid_field",
            "never work",
        ),
        (
            json!({"not_before": instance.soon(90), "activate_by": instance.soon(60)}),
            "invalid_field",
            "in time",
        ),
        (json!({"activate_by": instance.soon(90), "ttl_seconds": 60}), "invalid_field", "mean nothing"),
        (json!({"expires_at": "2199-01-31T08:00:00Z", "expiresAt": null}), "duplicate_field", "`expiresAt`"),
    ] {
        let message = instance.create_with(more.clone()).await.assert_error(400, code);
        assert!(message.contains(part), "{more}: {message}");
    }
    assert_eq!(instance.get("/admin/keys").await.json(), json!({"keys": []}));
}

#[tokio::test]
async fn an_instance_can_have_a_longest_lifetime() {
    let day = Duration::from_secs(86_400);
    let instance = Instance::start_with(tempfile::tempdir().unwrap(), true, Some(day)).await;
    let answer = instance.create_with(json!({})).await;
    assert_ne!(answer.json()["key"]["expiresAt"], Value::Null, "it gets the longest");
    for late in [json!({"ttl_seconds": 86_402}), json!({"expires_at": "2199-01-31T08:00:00Z"})] {
        let message = instance.create_with(late).await.assert_error(400, "invalid_field");
        assert!(message.contains("86400 seconds") && message.contains("key-lifetime-max"), "{message}");
    }
    let key = id(&instance.create_with(json!({"ttl_seconds": 60})).await);
    instance.change(&key, &json!({"expires_at": null})).await.assert_error(400, "invalid_field");
    instance.change(&key, &json!({"ttl_seconds": 90_000})).await.assert_error(400, "invalid_field");
    assert_eq!(instance.change(&key, &json!({"ttl_seconds": 80_000})).await.status, 200);
}

#[tokio::test]
async fn keys_are_changed() {
    let instance = Instance::start().await;
    let key = id(&instance.create_with(json!({"name": "one", "metadata": {"team": "search"}})).await);
    let check = async |body: Value, expected: Value| {
        let answer = instance.change(&key, &body).await;
        assert_eq!(answer.status, 200, "{body}: {}", answer.text);
        let shown = instance.get(&format!("/admin/keys/{key}")).await.json();
        assert_eq!(answer.json(), shown);
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(shown["key"][name], *value, "{body}");
        }
    };
    check(json!({"max_activations": 8}), json!({"maxActivations": 8})).await;
    check(json!({"addActivations": 2, "add_tokens": null}), json!({"maxActivations": 10})).await;
    check(
        json!({"max_spend_usd": "0.25", "add_spend_cents": 5, "max_tokens": 9}),
        json!({"maxSpendUsd": "0.30", "maxTokens": 9}),
    )
    .await;
    check(
        json!({"max_spend_cents": null, "maxTokens": null}),
        json!({"maxSpendUsd": null, "maxTokens": null}),
    )
    .await;
    check(json!({"name": "two"}), json!({"metadata": {"name": "two", "team": "search"}})).await;
    check(json!({"metadata": {"a": 1}}), json!({"metadata": {"a": 1}})).await;
    check(json!({"metadata": null, "name": "x"}), json!({"metadata": {"name": "x"}})).await;
    check(json!({"name": null}), json!({"metadata": {}})).await;
    check(json!({"clamp": false}), json!({"clamp": false})).await;
    check(
        json!({"paused": true, "paused_reason": "lunch"}),
        json!({"status": "paused", "pausedReason": "lunch"}),
    )
    .await;
    check(json!({"paused": false}), json!({"status": "active", "pausedAt": null, "pausedReason": null}))
        .await;
    check(
        json!({"not_before": "2199-01-01T00:00:00Z", "idleExpirySeconds": 60}),
        json!({"status": "pending", "idleExpirySeconds": 60}),
    )
    .await;
    check(
        json!({"not_before": null, "idle_expiry_seconds": null}),
        json!({"status": "active", "notBefore": null, "idleExpirySeconds": null}),
    )
    .await;
    let entries = instance.audit().await;
    let changes: Vec<&Value> = entries.iter().filter(|entry| entry["action"] == "key.update").collect();
    assert_eq!(changes.len(), 13);
    assert_eq!(changes[0]["target"], key.as_str());
    let detail = |entry: &Value| serde_json::from_str::<Value>(entry["detail"].as_str().unwrap()).unwrap();
    let paused = changes.iter().map(|entry| detail(entry)).find(|detail| detail["after"]["paused"] == true);
    assert_eq!(paused.expect("the pause")["before"], json!({"paused": false, "pausedReason": null}));
    // A limit below what is used stops it.
    let hold =
        instance.store.hold_exactly(key.parse().unwrap(), Units { activations: 3, ..Units::default() });
    hold.await.unwrap().settle(Units { activations: 3, ..Units::default() });
    instance.store.flush().await.unwrap();
    check(json!({"max_activations": 2}), json!({"status": "exhausted", "usedActivations": 3})).await;
    check(json!({"add_activations": 2}), json!({"status": "active", "maxActivations": 4})).await;
}

#[tokio::test]
async fn what_can_not_be_changed_is_refused() {
    let instance = Instance::start().await;
    let key = id(&instance.create_with(json!({})).await);
    let before = instance.get(&format!("/admin/keys/{key}")).await.json();
    for (body, code, part) in [
        (json!({}), "missing_field", "nothing to change"),
        (json!({"provider": "anthropic"}), "unknown_field", "`provider`"),
        (json!({"upstream_key": CANARY}), "unknown_field", "paused"),
        (json!({"max_activations": 0}), "invalid_field", "`max_activations`"),
        (json!({"max_activations": null}), "invalid_field", "at least one limit"),
        (json!({"add_activations": -1}), "invalid_field", "`add_activations`"),
        (json!({"add_tokens": 1}), "invalid_field", "no limit of tokens"),
        (json!({"add_activations": 9_223_372_036_854_775_807_i64}), "invalid_field", "above"),
        (json!({"add_spend_cents": 1, "add_spend_usd": "1"}), "duplicate_field", "`add_spend_usd`"),
        (json!({"max_spend_cents": 1, "max_spend_usd": "1"}), "duplicate_field", "`max_spend_usd`"),
        (json!({"paused": "yes"}), "invalid_field", "`paused`"),
        (json!({"paused_reason": "x"}), "invalid_field", "paused"),
        (json!({"paused": true, "paused_reason": "x".repeat(257)}), "invalid_field", "256"),
        (json!({"name": "a", "metadata": {"name": "b"}}), "duplicate_field", "`metadata.name`"),
        (json!({"metadata": []}), "invalid_field", "`metadata`"),
        (json!({"expires_at": instance.soon(-5)}), "invalid_field", "in the future"),
        (json!({"expiresAt": instance.soon(5), "ttl_seconds": 4}), "duplicate_field", "`ttl_seconds`"),
        (json!({"ttl": 4}), "unknown_field", "`ttl`"),
    ] {
        let message = instance.change(&key, &body).await.assert_error(400, code);
        assert!(message.contains(part), "{body}: {message}");
        assert!(!message.contains("canary"), "{message}");
    }
    assert_eq!(instance.get(&format!("/admin/keys/{key}")).await.json(), before);
    instance
        .change("key_0000000000000000000000", &json!({"paused": true}))
        .await
        .assert_error(404, "not_found");
    instance.change("nonsense", &json!({"paused": true})).await.assert_error(400, "invalid_id");
    instance.call("DELETE", &format!("/admin/keys/{key}"), "").await;
    let message = instance.change(&key, &json!({"paused": true})).await.assert_error(400, "invalid_field");
    assert!(message.contains("revoked"), "{message}");
}

#[tokio::test]
async fn many_keys_are_revoked() {
    let instance = Instance::start().await;
    let revoke = async |body: Value| instance.call("POST", "/admin/keys/revoke", body.to_string()).await;
    let mut ids = Vec::new();
    for n in 0..4 {
        let team = if n % 2 == 0 { "even" } else { "odd" };
        ids.push(id(&instance.create_with(json!({"metadata": {"team": team, "n": n}})).await));
    }
    instance.change(&ids[3], &json!({"paused": true})).await;
    let dry = revoke(json!({"metadata": {"team": "odd"}, "dry_run": true})).await;
    assert_eq!(dry.json(), json!({"ids": [ids[3], ids[1]], "dryRun": true}));
    assert_eq!(instance.get("/admin/keys?status=revoked").await.json(), json!({"keys": []}));
    let done = revoke(json!({"metadata": {"team": "odd"}, "status": "paused"})).await;
    assert_eq!(done.json(), json!({"ids": [ids[3]], "dryRun": false}));
    let done = revoke(json!({"metadata": {"team": "odd"}})).await;
    assert_eq!(done.json(), json!({"ids": [ids[1]], "dryRun": false}), "what is revoked already is left out");
    let none = json!({"ids": [], "dryRun": false});
    assert_eq!(revoke(json!({"provider": "anthropic"})).await.json(), none);
    assert_eq!(revoke(json!({"createdBefore": "2001-01-01T00:00:00Z"})).await.json(), none);
    let all = revoke(json!({"lastUsedBefore": instance.soon(60), "provider": "openai"})).await;
    assert_eq!(all.json(), json!({"ids": [ids[2], ids[0]], "dryRun": false}));
    assert_eq!(instance.audit().await.iter().filter(|entry| entry["action"] == "key.revoke").count(), 4);
    for (body, code) in [
        (json!({}), "missing_field"),
        (json!({"dry_run": true}), "missing_field"),
        (json!({"metadata": {"a": "b", "c": "d"}}), "invalid_field"),
        (json!({"metadata": {"n": 1}}), "invalid_field"),
        (json!({"status": "dead"}), "invalid_field"),
        (json!({"created_before": "yesterday"}), "invalid_field"),
        (json!({"team": "odd"}), "unknown_field"),
        (json!({"provider": "openai", "dry_run": 1}), "invalid_field"),
    ] {
        revoke(body).await.assert_error(400, code);
    }
}

#[tokio::test]
async fn the_kill_switch_is_turned() {
    let instance = Instance::start().await;
    let off = json!({"killSwitch": {"on": false, "since": null, "reason": null}});
    assert_eq!(instance.get("/admin/kill-switch").await.json(), off);
    let put = async |body: Value| instance.call("PUT", "/admin/kill-switch", body.to_string()).await;
    let on = put(json!({"on": true, "reason": "a key leaked"})).await.json();
    assert_eq!(
        (&on["killSwitch"]["on"], &on["killSwitch"]["reason"]),
        (&json!(true), &json!("a key leaked"))
    );
    assert!(on["killSwitch"]["since"].as_str().unwrap().ends_with('Z'));
    assert_eq!(instance.get("/admin/kill-switch").await.json(), on);
    assert_eq!(instance.get_anonymously("/readyz").await.status, 200, "it is as ready as it was");
    assert!(instance.get("/metrics").await.text.contains("\ntill_kill_switch 1\n"));
    for (body, code) in [
        (json!({}), "missing_field"),
        (json!({"on": "yes"}), "invalid_field"),
        (json!({"on": false, "reason": "x"}), "invalid_field"),
        (json!({"on": true, "reason": "x".repeat(257)}), "invalid_field"),
        (json!({"on": true, "why": "x"}), "unknown_field"),
    ] {
        put(body).await.assert_error(400, code);
    }
    assert_eq!(instance.get("/admin/kill-switch").await.json(), on);
    assert_eq!(put(json!({"on": false})).await.json(), off);
    assert!(instance.get("/metrics").await.text.contains("\ntill_kill_switch 0\n"));
    let audit = instance.audit().await;
    assert!(audit.iter().any(|entry| entry["action"] == "kill_switch.on"));
}

#[tokio::test]
async fn keys_have_rates() {
    let instance = Instance::start().await;
    let answer =
        instance.create_with(json!({"rate": {"requests_per_minute": 60, "tokensPerMinute": 1000}})).await;
    let rate = |answer: &Answer| answer.json()["key"]["rate"].clone();
    assert_eq!(rate(&answer), json!({"requestsPerMinute": 60, "tokensPerMinute": 1000, "concurrent": null}));
    let key = id(&answer);
    let answer = instance.change(&key, &json!({"rate": {"concurrent": 4, "tokens_per_minute": null}})).await;
    assert_eq!(rate(&answer), json!({"requestsPerMinute": 60, "tokensPerMinute": null, "concurrent": 4}));
    let answer = instance.change(&key, &json!({"rate": null})).await;
    assert_eq!(
        rate(&answer),
        json!({"requestsPerMinute": null, "tokensPerMinute": null, "concurrent": null})
    );
    for (wrong, code, part) in [
        (json!({"rate": 5}), "invalid_field", "`rate` must be an object"),
        (json!({"rate": {"concurrent": 0}}), "invalid_field", "`rate.concurrent`"),
        (json!({"rate": {"requests_per_minute": 1_000_000_001}}), "invalid_field", "1000000000"),
        (
            json!({"rate": {"requests_per_minute": 1, "requestsPerMinute": 1}}),
            "duplicate_field",
            "same field",
        ),
        (json!({"rate": {"per_second": 1}}), "unknown_field", "`per_second`"),
        (
            json!({"provider": "github", "rate": {"tokens_per_minute": 1}}),
            "invalid_field",
            "`rate.tokens_per_minute`",
        ),
    ] {
        let message = instance.create_with(wrong.clone()).await.assert_error(400, code);
        assert!(message.contains(part), "{wrong}: {message}");
    }
}
