//! The instance itself: providers, state, fence, audit log, metrics.

use std::fs;
use std::path::Path;

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use till_core::role::Role;
use till_core::token::mint_admin_token;

use crate::harness::{Instance, open, put_token};

#[tokio::test]
async fn lists_providers() {
    let instance = Instance::start().await;
    let answer = instance.get("/admin/providers").await.json();
    let providers = answer["providers"].as_array().unwrap();
    let openai = providers.iter().find(|provider| provider["id"] == "openai").unwrap();
    assert_eq!(
        openai,
        &json!({"id": "openai", "name": "OpenAI", "aliases": openai["aliases"], "baseUrl": "https://api.openai.com",
            "sdkBaseUrl": "http://127.0.0.1:4100/v1", "keyEnv": "OPENAI_API_KEY", "custom": false})
    );
    // A key can be minted for exactly those with an address.
    for provider in providers {
        let body = json!({"provider": provider["id"], "upstream_key": "sk-0123456789", "max_activations": 1});
        let answer = instance.create(&body).await;
        if provider["baseUrl"].is_string() {
            assert_eq!(answer.status, 201, "{provider}: {}", answer.text);
        } else {
            answer.assert_error(400, "unknown_provider");
        }
    }
}

#[tokio::test]
async fn shows_the_instance() {
    let instance = Instance::start().await;
    let answer = instance.get("/admin/instance").await.json()["instance"].clone();
    assert_eq!(answer["version"], "1.2.3");
    assert_eq!(answer["startedAt"], "2026-01-31T08:00:00.000Z");
    assert_eq!(answer["uptimeSeconds"], 61);
    assert_eq!(answer["publicUrl"], "http://127.0.0.1:4100");
    assert!(answer["fence"].is_null());
    assert_eq!(answer["id"].as_str().unwrap().len(), 32);
    assert!(answer["store"]["batches"].as_u64().unwrap() >= 1);
    // Nothing to accept: nothing changes.
    let before = instance.audit().await;
    let accepted = instance.call("POST", "/admin/instance/accept-rollback", Body::empty()).await;
    assert_eq!(accepted.status, 200);
    assert_eq!(instance.audit().await, before);
}

/// Copies a data directory without the witness, which is outside of what is backed up.
pub(crate) fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Replaces what is in a data directory by such a copy.
pub(crate) fn put_back(from: &Path, to: &Path) {
    for entry in fs::read_dir(to).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    copy(from, to);
}

#[tokio::test]
async fn a_roll_back_is_shown_and_accepted() {
    let (dir, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    open(dir.path()).close().await.unwrap();
    copy(dir.path(), backup.path());
    open(dir.path()).close().await.unwrap();
    put_back(backup.path(), dir.path());

    let instance = Instance::start_in(dir, true).await;
    instance.get_anonymously("/readyz").await.assert_not_ready(&["instance_fenced"]);
    assert_eq!(instance.get_anonymously("/healthz").await.status, 200);
    assert!(instance.get("/metrics").await.text.contains("\ntill_store_fenced 1\n"));
    let fence = instance.get("/admin/instance").await.json()["instance"]["fence"].clone();
    assert!(fence["witnessIncarnation"].as_u64() > fence["storeIncarnation"].as_u64(), "{fence}");
    assert!(!fence["reason"].as_str().unwrap().is_empty());

    let accepted = instance.call("POST", "/admin/instance/accept-rollback", Body::empty()).await;
    assert_eq!(accepted.status, 200, "{}", accepted.text);
    assert!(accepted.json()["instance"]["fence"].is_null());
    assert_eq!(instance.get_anonymously("/readyz").await.status, 200);
    let entry = instance.audit().await.pop().unwrap();
    assert_eq!(
        (&entry["actor"]["kind"], &entry["actor"]["id"]),
        (&json!("admin"), &json!("owner")),
        "{entry}"
    );
}

/// What is in an older copy may have been taken away since: tokens, passwords, sessions.
#[tokio::test]
async fn only_the_owner_is_let_in_while_fenced() {
    let (dir, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let instance = Instance::start_in(dir, true).await;
    let token = mint_admin_token([40; 32]).reveal_str().unwrap().to_owned();
    put_token(&instance.store, "tok_1", &token, Role::Owner, None).await;
    let member =
        json!({"login": "ada@example.com", "role": "owner", "password": "correct horse battery staple"});
    assert_eq!(instance.call("POST", "/admin/members", member.to_string()).await.status, 201);
    let sign_in = async |instance: &Instance, body: Value| {
        let request = Request::builder().method("POST").uri("/admin/login");
        let request = request.header(header::CONTENT_TYPE, "application/json");
        instance.send(request.body(Body::from(body.to_string())).unwrap()).await
    };
    let password = json!({"login": "ada@example.com", "password": "correct horse battery staple"});
    let signed_in = sign_in(&instance, password.clone()).await;
    let cookie = signed_in.header("set-cookie").split(';').next().unwrap().to_owned();
    let get = async |instance: &Instance, name: &str, value: &str, path: &str| {
        instance.send(Request::builder().uri(path).header(name, value).body(Body::empty()).unwrap()).await
    };
    let bearer = format!("Bearer {token}");
    for (name, value) in [("authorization", &bearer), ("cookie", &cookie)] {
        assert_eq!(get(&instance, name, value, "/admin/self").await.status, 200);
    }
    let (owner, dir) = (instance.token.clone(), instance.dir);
    instance.store.close().await.unwrap();
    copy(dir.path(), backup.path());
    open(dir.path()).close().await.unwrap();
    put_back(backup.path(), dir.path());

    let instance = Instance::start_in(dir, false).await;
    for path in ["/admin/self", "/admin/instance", "/admin/keys", "/admin/nothing"] {
        get(&instance, "authorization", &bearer, path).await.assert_error(503, "instance_fenced");
    }
    assert_eq!(get(&instance, "cookie", &cookie, "/admin/self").await.status, 401, "the session has ended");
    let accept = Request::builder().method("POST").uri("/admin/instance/accept-rollback");
    let accept = accept.header("authorization", &bearer).body(Body::empty()).unwrap();
    instance.send(accept).await.assert_error(503, "instance_fenced");
    sign_in(&instance, password.clone()).await.assert_error(503, "instance_fenced");
    sign_in(&instance, json!({"admin_token": token})).await.assert_error(503, "instance_fenced");
    assert_eq!(
        get(&instance, "authorization", &bearer, "/metrics").await.status,
        200,
        "whoever watches sees it"
    );
    assert_eq!(instance.get_anonymously("/healthz").await.status, 200);
    // The owner may look around, take away what must not be there, and accept.
    assert_eq!(sign_in(&instance, json!({"admin_token": owner})).await.status, 200);
    assert_eq!(instance.call("DELETE", "/admin/tokens/tok_1", "").await.status, 200);
    let accepted = instance.call("POST", "/admin/instance/accept-rollback", "").await.json();
    let back = accepted["cameBack"].to_string();
    for word in [
        "keys that",
        "admin tokens",
        "members",
        "passwords",
        "credentials",
        "projects",
        "ceilings",
        "master keys",
    ] {
        assert!(back.contains(word), "{word}: {back}");
    }
    assert_eq!(get(&instance, "authorization", &bearer, "/admin/self").await.status, 401);
    assert_eq!(sign_in(&instance, password).await.status, 200);
    let again = instance.call("POST", "/admin/instance/accept-rollback", "").await.json();
    assert_eq!(again["cameBack"], json!([]), "there was no fence");
}

#[tokio::test]
async fn actions_are_in_the_audit_log_with_who_did_them() {
    let instance = Instance::start().await;
    let start = instance.audit().await.len();
    let key = instance.minted(5).await;
    let path = format!("/admin/keys/{}", key["id"].as_str().unwrap());
    instance.get(&path).await;
    instance.call("DELETE", &path, Body::empty()).await;
    let log = instance.audit().await;
    let new = &log[start..];
    let actions: Vec<_> = new.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["key.create", "key.revoke"]);
    for entry in new {
        assert_eq!(entry["target"], key["id"]);
        let actor =
            json!({"kind": "admin", "id": "owner", "address": "127.0.0.1:5555", "requestId": "req_1"});
        assert_eq!(entry["actor"], actor);
    }
    for (entry, next) in log.iter().zip(&log[1..]) {
        assert_eq!(entry["hash"], next["prevHash"]);
    }
}

#[tokio::test]
async fn the_audit_log_is_read_in_pages() {
    let instance = Instance::start().await;
    for max in 1..=4 {
        instance.minted(max).await;
    }
    let log = instance.audit().await;
    let mut seen = vec![];
    let mut after = json!(0);
    loop {
        let page = instance.get(&format!("/admin/audit?after={after}&limit=2")).await.json();
        let entries = page["entries"].as_array().unwrap().clone();
        if entries.is_empty() {
            assert_eq!(page["nextAfter"], after);
            break;
        }
        seen.extend(entries);
        after = page["nextAfter"].clone();
    }
    assert_eq!(seen, log);
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let instance = Instance::start().await;
    instance.minted(5).await;
    instance.get("/admin/nothing").await;
    let answer = instance.get_anonymously("/metrics").await;
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert!(
        answer.text.starts_with("# TYPE till_requests_total counter\ntill_requests_total 5\n"),
        "{}",
        answer.text
    );
    for (operation, status) in [("keys", "2xx"), ("other", "4xx")] {
        let line =
            format!("\ntill_admin_requests_total{{operation=\"{operation}\",status=\"{status}\"}} 1\n");
        assert!(answer.text.contains(&line), "{}", answer.text);
    }
    assert!(answer.text.contains("\ntill_store_fenced 0\n"), "{}", answer.text);
    // Every series has its type, and every line is one of three kinds.
    for line in answer.text.lines().filter(|line| !line.starts_with("# ")) {
        let (series, value) = line.split_once(' ').expect(line);
        let name = series.split('{').next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        let has_type = |name: &str| answer.text.contains(&format!("# TYPE {name} "));
        assert!(has_type(name) || family.is_some_and(has_type), "{line}");
        value.parse::<f64>().expect(line);
    }
}
