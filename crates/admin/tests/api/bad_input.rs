//! What is refused: each rule with its code, a message that names the field, and no effect.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::{Request, header};
use http_body::Frame;
use serde_json::{Value, json};

use crate::harness::{CANARY, Instance};

/// A body that would be accepted, with some fields changed; `null` removes one.
fn body(changes: Value) -> Value {
    let mut body = json!({"provider": "openai", "upstream_key": CANARY, "max_activations": 5});
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => body.as_object_mut().unwrap().remove(name),
            value => body.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    body
}

/// Sends bodies and asserts code and part of the message, that nothing is repeated, and that no key came of it.
async fn check(rows: Vec<(String, &str, &str)>) {
    let instance = Instance::start().await;
    for (text, code, part) in rows {
        let answer = instance.call("POST", "/admin/keys", text.clone()).await;
        let message = answer.assert_error(400, code);
        assert!(message.contains(part), "{text}: {message}");
        assert!(!message.contains("canary"), "{text}: {message}");
    }
    assert_eq!(instance.get("/admin/keys").await.json(), json!({"keys": []}));
    assert!(instance.audit().await.iter().all(|entry| entry["action"] != "key.create"));
}

#[tokio::test]
async fn fields_break_rules() {
    let rule = "`max_activations` must be a whole number from 1 to 9223372036854775807";
    let mut rows = vec![];
    for value in [
        json!(0),
        json!(-1),
        json!(1.0),
        json!(1e3),
        json!("50"),
        json!(true),
        json!([]),
        json!({}),
        json!(9_223_372_036_854_775_808_u64),
        json!(u64::MAX),
    ] {
        rows.push((body(json!({"max_activations": value})).to_string(), "invalid_field", rule));
    }
    for number in
        ["18446744073709551616", "1e400", "-0", "1E2", "99999999999999999999999999", "-9223372036854775809"]
    {
        let text = format!(r#"{{"provider":"openai","upstream_key":"{CANARY}","max_activations":{number}}}"#);
        let (code, part) =
            if number == "1e400" { ("malformed_json", "line 1") } else { ("invalid_field", rule) };
        rows.push((text, code, part));
    }
    for (changes, code, part) in [
        (json!({"max_activations": null}), "missing_field", "`max_activations`"),
        (json!({"provider": null}), "missing_field", "`provider`"),
        (json!({"upstream_key": null}), "missing_field", "`upstream_key`"),
        (json!({"provider": 1}), "invalid_field", "`provider` must be a string"),
        (json!({"provider": ["canary"]}), "invalid_field", "`provider`"),
        (json!({"provider": ""}), "unknown_provider", "openai"),
        (json!({"provider": CANARY}), "unknown_provider", "anthropic"),
        (json!({"provider": "OpenAI "}), "unknown_provider", "openai"),
        (json!({"upstream_key": 1}), "invalid_field", "`upstream_key` must be a string"),
        (json!({"upstream_key": ""}), "invalid_field", "at least 8"),
        (json!({"upstream_key": "canary"}), "invalid_field", "at least 8"),
        (json!({"upstream_key": format!("{CANARY}\n")}), "invalid_field", "line break"),
        (json!({"upstream_key": format!("{CANARY} a")}), "invalid_field", "space"),
        (json!({"upstream_key": format!("{CANARY}\u{e9}")}), "invalid_field", "ASCII"),
        (json!({"upstream_key": "a".repeat(4097)}), "invalid_field", "at most 4096"),
        (json!({"upstream_key": "till_sk_canary"}), "invalid_field", "scoped key"),
        (json!({"metadata": []}), "invalid_field", "`metadata` must be an object"),
        (json!({"metadata": "canary"}), "invalid_field", "`metadata`"),
        (json!({"metadata": {"a": "x".repeat(16 * 1024)}}), "invalid_field", "at most 16384 bytes"),
        (json!({"metadata": {"a": [[[[[[[[]]]]]]]]}}), "invalid_field", "at most 8 levels"),
        (json!({"metadata": {"note": format!("for {CANARY}.")}}), "invalid_field", "upstream key"),
        (json!({"metadata": {"a": [{CANARY: 1}]}}), "invalid_field", "upstream key"),
        (json!({"name": CANARY}), "invalid_field", "upstream key"),
        (json!({"expires_at": "9999-12-31T23:59:59-01:00"}), "invalid_field", "`expires_at`"),
        (json!({"name": 5}), "invalid_field", "`name` must be a string"),
        (json!({"name": "a\u{7}"}), "invalid_field", "control"),
        (json!({"name": "é".repeat(257)}), "invalid_field", "at most 256 characters"),
        (json!({"name": "a", "metadata": {"name": "a"}}), "duplicate_field", "`metadata.name`"),
    ] {
        rows.push((body(changes).to_string(), code, part));
    }
    check(rows).await;
}

#[tokio::test]
async fn fields_are_known_and_stand_once() {
    let mut rows = vec![];
    for (changes, code, part) in [
        (json!({"max_requests": 5}), "unknown_field", "`max_requests`"),
        (json!({"Provider": "openai"}), "unknown_field", "`Provider`"),
        (json!({"maxactivations": 5}), "unknown_field", "`maxactivations`"),
        (json!({"tenantId": "default"}), "unknown_field", "`tenantId`"),
        // A misspelt required field is named before the missing one.
        (json!({"max_activations": null, "max_activation": 5}), "unknown_field", "`max_activation`"),
        // A credential in place of a name is not repeated.
        (json!({CANARY: true}), "unknown_field", "not repeated"),
        (json!({"": true}), "unknown_field", "not repeated"),
        (json!({"maxActivations": 5}), "duplicate_field", "`maxActivations`"),
        (json!({"upstreamKey": "another-key"}), "duplicate_field", "`upstreamKey`"),
        (json!({"rate": null, "durability": "sync"}), "invalid_field", "`durability`"),
        (json!({"durability": false}), "invalid_field", "`durability`"),
        (json!({"max_tokens": 0}), "invalid_field", "`max_tokens`"),
        (json!({"maxTokens": 1.5}), "invalid_field", "`max_tokens`"),
        (json!({"max_tokens": "5"}), "invalid_field", "not in quotes"),
        (json!({"max_tokens": 9_223_372_036_854_775_808_u64}), "invalid_field", "`max_tokens`"),
        (json!({"max_spend_cents": 922_337_203_686_u64}), "invalid_field", "922337203685"),
        (json!({"max_spend_cents": -1}), "invalid_field", "`max_spend_cents`"),
        (json!({"max_spend_usd": 0.25}), "invalid_field", "in quotes"),
        (json!({"max_spend_usd": "0"}), "invalid_field", "`max_spend_usd`"),
        (json!({"max_spend_usd": "0.0000000001"}), "invalid_field", "9 decimals"),
        (json!({"max_spend_usd": "1e3"}), "invalid_field", "`max_spend_usd`"),
        (json!({"max_spend_usd": "9223372036.854775808"}), "invalid_field", "`max_spend_usd`"),
        (json!({"max_spend_usd": "1", "max_spend_cents": 100}), "duplicate_field", "`max_spend_cents`"),
        (json!({"clamp": "yes"}), "invalid_field", "`clamp`"),
        (json!({"danger_allow_unbounded": 1}), "invalid_field", "`danger_allow_unbounded`"),
    ] {
        rows.push((body(changes).to_string(), code, part));
    }
    for (text, part) in [
        (r#"{"provider":"openai","provider":"anthropic"}"#, "column 31"),
        (r#"{"metadata":{"canary":1,"canary":2}}"#, "twice"),
        (r#"{"max_activations":1,"max\u005factivations":2}"#, "twice"),
    ] {
        rows.push((text.to_owned(), "duplicate_field", part));
    }
    let both = format!(
        r#"{{"provider":"openai","upstream_key":"{CANARY}","max_activations":5,"max_tokens":null,"maxTokens":null}}"#
    );
    rows.push((both, "duplicate_field", "`maxTokens`"));
    check(rows).await;
}

#[tokio::test]
async fn what_is_not_enforced_is_refused() {
    let mut rows = vec![];
    for (name, value) in [("upstream_ref", json!("env:OPENAI_API_KEY")), ("upstreamRef", json!("vault:x"))] {
        rows.push((body(json!({name: value})).to_string(), "unsupported_field", "not enforced"));
    }
    check(rows).await;
}

#[tokio::test]
async fn scopes_break_rules() {
    let mut rows = vec![];
    for scope in [json!({"models": ["a"]}), json!({"parameters": {"tools": false}})] {
        let body = body(json!({"provider": "stripe", "scope": scope})).to_string();
        rows.push((body, "invalid_field", "can't be enforced for `stripe`"));
    }
    let long = vec!["GET /v1/models"; 257];
    for (scope, code, part) in [
        (json!(1), "invalid_field", "`scope` must be an object"),
        (json!([]), "invalid_field", "`scope` must be an object"),
        (
            json!({"endpoint": ["chat"]}),
            "unknown_field",
            "`endpoint` in `scope`; known are endpoints, models",
        ),
        (json!({"endpoints": []}), "invalid_field", "`scope.endpoints` must be a list of 1 to 256 strings"),
        (json!({"endpoints": "chat"}), "invalid_field", "`scope.endpoints` must be a list"),
        (json!({"endpoints": ["chat", 1]}), "invalid_field", "`scope.endpoints` must be a list"),
        (json!({"endpoints": long}), "invalid_field", "`scope.endpoints` must be a list"),
        (
            json!({"endpoints": ["everything"]}),
            "invalid_field",
            "a word that stands for endpoints of `openai`: chat, embeddings",
        ),
        (json!({"endpoints": [""]}), "invalid_field", "`scope.endpoints` has an entry"),
        (json!({"endpoints": ["/v1/models"]}), "invalid_field", "`scope.endpoints` has an entry"),
        (json!({"endpoints": ["get /v1/models"]}), "invalid_field", "capital letters"),
        (json!({"endpoints": ["GET v1/models"]}), "invalid_field", "begins with `/`"),
        (json!({"endpoints": ["GET /v1/**/x"]}), "invalid_field", "`**` can only be the last segment"),
        (json!({"endpoints": ["GET /v1/../x"]}), "invalid_field", "no segment is empty"),
        (json!({"endpoints": ["GET /v1/%41"]}), "invalid_field", "written decoded"),
        (json!({"endpoints": ["GET /v1/models?x"]}), "invalid_field", "written decoded"),
        (json!({"models": []}), "invalid_field", "`scope.models` must be a list"),
        (
            json!({"models": ["a b"]}),
            "invalid_field",
            "`scope.models` has a wrong entry: a pattern has 1 to 256",
        ),
        (json!({"models": [""]}), "invalid_field", "`scope.models` has a wrong entry"),
        (json!({"networks": []}), "invalid_field", "`scope.networks` must be a list"),
        (
            json!({"networks": ["10.0.0.0/33"]}),
            "invalid_field",
            "`scope.networks` has a wrong entry: a network is",
        ),
        (json!({"networks": ["10.0.0.1/8"]}), "invalid_field", "bits beyond the prefix are set"),
        (json!({"networks": ["localhost"]}), "invalid_field", "the address can't be read"),
        (json!({"networks": ["010.0.0.1"]}), "invalid_field", "the address can't be read"),
        (json!({"networks": [" 10.0.0.1"]}), "invalid_field", "the address can't be read"),
        (json!({"parameters": []}), "invalid_field", "`scope.parameters` must be an object"),
        (json!({"parameters": {"tool": false}}), "unknown_field", "`tool` in `scope.parameters`"),
        (
            json!({"parameters": {"tools": 0}}),
            "invalid_field",
            "`scope.parameters.tools` must be true or false",
        ),
        (
            json!({"parameters": {"max_output_tokens": 0}}),
            "invalid_field",
            "`scope.parameters.max_output_tokens` must be a whole",
        ),
        (
            json!({"parameters": {"maxOutputTokens": "9"}}),
            "invalid_field",
            "`scope.parameters.max_output_tokens` must be a whole",
        ),
        (
            json!({"parameters": {"hosted_tools": true, "hostedTools": true}}),
            "duplicate_field",
            "`hostedTools`",
        ),
        (
            json!({"parameters": {"values": []}}),
            "invalid_field",
            "`scope.parameters.values` must be an object",
        ),
        (
            json!({"parameters": {"values": {"n": 1}}}),
            "invalid_field",
            "`scope.parameters.values` must give every member",
        ),
        (
            json!({"parameters": {"values": {"n": []}}}),
            "invalid_field",
            "`scope.parameters.values` must give every member",
        ),
        (
            json!({"parameters": {"values": {"n": [null]}}}),
            "invalid_field",
            "`scope.parameters.values` must give every member",
        ),
        (
            json!({"parameters": {"values": {"": [1]}}}),
            "invalid_field",
            "`scope.parameters.values` has a member whose name",
        ),
        (
            json!({"endpoints": [format!("GET /{CANARY}")]}),
            "invalid_field",
            "`scope` must not contain the upstream key",
        ),
    ] {
        rows.push((body(json!({"scope": scope})).to_string(), code, part));
    }
    for (changes, code, part) in [
        (json!({"ip_whitelist": "10.0.0.1"}), "invalid_field", "`ip_whitelist` must be a list"),
        (json!({"ipWhitelist": [""]}), "invalid_field", "`ip_whitelist` has a wrong entry"),
        (json!({"ip_whitelist": ["10.0.0.0/99"]}), "invalid_field", "`ip_whitelist` has a wrong entry"),
        (
            json!({"ip_whitelist": ["10.0.0.1"], "scope": {"networks": ["10.0.0.1"]}}),
            "duplicate_field",
            "`ip_whitelist` and `scope.networks` are the same field",
        ),
    ] {
        rows.push((body(changes).to_string(), code, part));
    }
    check(rows).await;
}

#[tokio::test]
async fn bodies_are_one_json_object() {
    let rows = [
        ("", "empty"),
        (" \r\n", "empty"),
        ("null", "object"),
        ("[]", "object"),
        ("\"canary\"", "object"),
        ("{\"provider\":", "line 1, column 12"),
        ("{\"provider\": canary}", "line 1, column 14"),
        ("{\n\"a\":1,}", "line 2, column 7"),
        ("{} {}", "line 1, column 4"),
        ("provider=openai", "line 1, column 1"),
        ("{\"a\":NaN}", "line 1"),
        ("{'a':1}", "line 1"),
        ("\u{feff}{}", "line 1"),
    ];
    check(rows.map(|(text, part)| (text.to_owned(), "malformed_json", part)).to_vec()).await;

    let instance = Instance::start().await;
    for bytes in [&b"{\"a\":\"\xff\"}"[..], b"{\"\xc3\x28\":1}", b"\x00"] {
        let answer = instance.call("POST", "/admin/keys", Body::from(bytes)).await;
        answer.assert_error(400, "malformed_json");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    instance.call("POST", "/admin/keys", deep).await.assert_error(400, "malformed_json");
}

#[tokio::test]
async fn bodies_are_declared_as_json() {
    let instance = Instance::start().await;
    let good = body(json!({})).to_string();
    let rows: [(&[&str], u16); 9] = [
        (&["application/json"], 201),
        (&["application/json; charset=utf-8"], 201),
        (&["Application/JSON"], 201),
        (&[], 415),
        (&["text/plain"], 415),
        (&["application/x-www-form-urlencoded"], 415),
        (&["application/jsonp"], 415),
        (&["application/json, text/plain"], 415),
        (&["application/json", "text/plain"], 415),
    ];
    for (types, status) in rows {
        let mut request = Request::builder().method("POST").uri("/admin/keys");
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", instance.token));
        for value in types {
            request = request.header(header::CONTENT_TYPE, *value);
        }
        let answer = instance.send(request.body(good.clone().into()).unwrap()).await;
        if status == 201 {
            assert_eq!(answer.status, 201, "{types:?}: {}", answer.text);
        } else {
            answer.assert_error(415, "unsupported_media_type");
        }
    }
}

#[tokio::test]
async fn bodies_are_bounded() {
    let instance = Instance::start().await;
    let good = body(json!({})).to_string();
    let padded = |length: usize| format!("{good}{}", " ".repeat(length - good.len()));
    assert_eq!(instance.call("POST", "/admin/keys", padded(1024 * 1024)).await.status, 201);
    let answer = instance.call("POST", "/admin/keys", padded(1024 * 1024 + 1)).await;
    answer.assert_error(413, "body_too_large");
    // Without an announced length, as chunks come in.
    instance.call("POST", "/admin/keys", Body::new(EndlessChunks)).await.assert_error(413, "body_too_large");
}

/// A body without an end.
struct EndlessChunks;

impl http_body::Body for EndlessChunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b' '; 1024])))))
    }
}

#[tokio::test]
async fn queries_are_known_and_stand_once() {
    let instance = Instance::start().await;
    for (path, part) in [
        ("/admin/keys?limit=0", "`limit` must be a whole number from 1 to 1000"),
        ("/admin/keys?limit=1001", "`limit`"),
        ("/admin/keys?limit=-1", "`limit`"),
        ("/admin/keys?limit=%2B1", "`limit`"),
        ("/admin/keys?limit=", "`limit`"),
        ("/admin/keys?limit=99999999999999999999", "`limit`"),
        ("/admin/keys?limit=1&limit=2", "twice"),
        ("/admin/keys?cursor=canary", "`cursor`"),
        ("/admin/keys?status=dead", "active, pending, paused, exhausted, expired or revoked"),
        ("/admin/keys?page=2", "`page`"),
        ("/admin/keys?sk-canary=2", "not repeated"),
        ("/admin/account?x=1", "`x`"),
        ("/admin/providers?x", "`x`"),
        ("/admin/instance?x=1", "`x`"),
        ("/admin/keys/key_0000000000000000000000?x=1", "`x`"),
        ("/admin/audit?after=-1", "`after`"),
        ("/admin/audit?after=9223372036854775808", "`after`"),
        ("/admin/audit?limit=1001", "`limit`"),
        ("/admin/audit?cursor=1", "`cursor`"),
        ("/admin/audit?order=up", "`order`"),
        ("/admin/audit?action=k*y", "`action`"),
        ("/admin/audit?action=**", "`action`"),
        ("/admin/audit?from=yesterday", "`from`"),
        ("/admin/audit?to=2026-01-31", "`to`"),
        ("/admin/audit/checkpoints?limit=0", "`limit`"),
        ("/admin/audit/export?format=xml", "`format`"),
    ] {
        let message = instance.get(path).await.assert_error(400, "invalid_query");
        assert!(message.contains(part), "{path}: {message}");
        assert!(!message.contains("canary"), "{path}: {message}");
    }
    let answer = instance.call("POST", "/admin/keys?dry_run=1", body(json!({})).to_string()).await;
    answer.assert_error(400, "invalid_query");
    let answer = instance.call("POST", "/admin/instance/accept-rollback?force=1", Body::empty()).await;
    answer.assert_error(400, "invalid_query");
}

#[tokio::test]
async fn ids_are_ids() {
    let instance = Instance::start().await;
    for (id, status, code) in [
        ("key_0000000000000000000000", 404, "not_found"),
        ("key_000000000000000000000", 400, "invalid_id"),
        ("key_zzzzzzzzzzzzzzzzzzzzzz", 400, "invalid_id"),
        ("KEY_0000000000000000000000", 400, "invalid_id"),
        ("till_sk_canary", 400, "invalid_id"),
        ("sk-canary", 400, "invalid_id"),
        ("%ff", 400, "invalid_id"),
        ("..%2fkeys", 400, "invalid_id"),
        ("key_0000000000000000000000%00", 400, "invalid_id"),
    ] {
        for method in ["GET", "DELETE"] {
            let answer = instance.call(method, &format!("/admin/keys/{id}"), Body::empty()).await;
            let message = answer.assert_error(status, code);
            assert!(!message.contains("canary"), "{id}: {message}");
        }
    }
}
