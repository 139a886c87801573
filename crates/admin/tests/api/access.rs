//! Who gets in, and what every answer carries.

use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{Request, header};
use till_core::token::mint_admin_token;

use crate::harness::Instance;

const NEEDS_TOKEN: [(&str, &str); 20] = [
    ("GET", "/admin/master-keys"),
    ("POST", "/admin/master-keys/rotate"),
    ("POST", "/admin/master-keys/00000000/retire"),
    ("POST", "/admin/backups"),
    ("GET", "/admin/keys"),
    ("POST", "/admin/keys"),
    ("GET", "/admin/keys/key_0000000000000000000000"),
    ("DELETE", "/admin/keys/key_0000000000000000000000"),
    ("GET", "/admin/account"),
    ("GET", "/admin/providers"),
    ("GET", "/admin/instance"),
    ("POST", "/admin/instance/accept-rollback"),
    ("GET", "/admin/audit"),
    ("GET", "/admin/audit/1"),
    ("GET", "/admin/audit/checkpoints"),
    ("GET", "/admin/audit/export"),
    ("POST", "/admin/audit/find"),
    ("GET", "/admin"),
    ("GET", "/admin/nothing"),
    ("PUT", "/admin/keys"),
];

const PAGES: [&str; 4] = ["/docs", "/docs/style.css", "/metrics", "/admin/openapi.json"];

#[tokio::test]
async fn admin_needs_the_token() {
    let instance = Instance::start().await;
    let before = instance.audit().await.len();
    let wrong = mint_admin_token([4; 32]).reveal_str().unwrap().to_owned();
    let credentials = [
        vec![],
        vec![format!("Bearer {wrong}")],
        vec![format!("Bearer {}x", instance.token)],
        vec![format!("Bearer {}", instance.token.to_uppercase())],
        vec![format!("Basic {}", instance.token)],
        vec![instance.token.clone()],
        vec!["Bearer".into()],
        vec!["Bearer till_sk_0".into()],
        vec![format!("Bearer {}", instance.token), format!("Bearer {}", instance.token)],
    ];
    let mut first = None;
    for (method, path) in NEEDS_TOKEN {
        for values in &credentials {
            let mut request = Request::builder().method(method).uri(path);
            for value in values {
                request = request.header(header::AUTHORIZATION, value);
            }
            let answer = instance.send(request.body(Body::empty()).unwrap()).await;
            answer.assert_error(401, "unauthorized");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
            // The same bytes for every reason.
            assert_eq!(first.get_or_insert_with(|| answer.text.clone()), &answer.text);
        }
    }
    assert_eq!(instance.audit().await.len(), before, "refused tokens are not written");
    let refused = NEEDS_TOKEN.len() * credentials.len();
    let metrics = instance.get("/metrics").await.text;
    assert!(metrics.contains(&format!("\ntill_admin_unauthorized_total {refused}\n")), "{metrics}");
}

#[tokio::test]
async fn pages_are_open_on_loopback_only() {
    let local = Instance::start().await;
    let public = Instance::start_in(tempfile::tempdir().unwrap(), false).await;
    for path in PAGES {
        assert_eq!(local.get_anonymously(path).await.status, 200, "{path}");
        public.get_anonymously(path).await.assert_error(401, "unauthorized");
        assert_eq!(public.get(path).await.status, 200, "{path}");
        // Passed on by a reverse proxy, or a foreign name that resolves to this machine.
        for (name, value) in [("x-forwarded-for", "203.0.113.9"), ("host", "rebound.example:4100")] {
            let request = Request::builder().uri(path).header(name, value).body(Body::empty()).unwrap();
            local.send(request).await.assert_error(401, "unauthorized");
        }
    }
    for instance in [&local, &public] {
        for path in ["/healthz", "/readyz"] {
            let answer = instance.get_anonymously(path).await;
            assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, r#"{"status":"ok"}"#), "{path}");
        }
    }
}

#[tokio::test]
async fn what_does_not_exist_is_said_in_json() {
    let instance = Instance::start().await;
    for path in [
        "/",
        "/admin",
        "/admin/",
        "/admin/keys/",
        "/admin/keys/a/b",
        "/dashboard/assets/x.js",
        "/claim",
        "/claim/x/y",
        "/docs/x",
    ] {
        instance.get(path).await.assert_error(404, "not_found");
    }
    for (method, path, allow) in [
        ("PUT", "/admin/keys", "GET,HEAD,POST"),
        ("PUT", "/admin/keys/key_0000000000000000000000", "DELETE,GET,HEAD,PATCH"),
        ("DELETE", "/admin/account", "GET,HEAD"),
        ("GET", "/admin/instance/accept-rollback", "POST"),
        ("POST", "/healthz", "GET,HEAD"),
        ("OPTIONS", "/admin/keys", "GET,HEAD,POST"),
    ] {
        let answer = instance.call(method, path, Body::empty()).await;
        answer.assert_error(405, "method_not_allowed");
        let mut allowed: Vec<&str> = answer.header("allow").split(',').map(str::trim).collect();
        allowed.sort_unstable();
        assert_eq!(allowed.join(","), allow, "{method} {path}");
    }
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let instance = Instance::start().await;
    for path in ["/admin/keys", "/admin/account", "/docs", "/healthz"] {
        let answer = instance.call("HEAD", path, Body::empty()).await;
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, ""), "{path}");
    }
    let request = Request::builder().method("HEAD").uri("/admin/keys").body(Body::empty()).unwrap();
    assert_eq!(instance.send(request).await.status, 401);
}

#[tokio::test]
async fn every_answer_is_protected() {
    let instance = Instance::start().await;
    for path in ["/admin/keys", "/admin/nothing", "/docs", "/docs/style.css", "/healthz", "/metrics"] {
        for answer in [instance.get(path).await, instance.get_anonymously(path).await] {
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
            assert_eq!(answer.header("cache-control"), "no-store", "{path}");
            assert_eq!(answer.header("x-till-request-id"), "req_1", "{path}");
            let policy = answer.header("content-security-policy");
            assert!(
                policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
                "{path}"
            );
            assert!(
                answer.headers.keys().all(|name| !name.as_str().starts_with("access-control-")),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn a_panic_is_an_answer() {
    let instance = Instance::start().await;
    instance.broken.store(true, Ordering::SeqCst);
    let message = instance.get("/metrics").await.assert_error(500, "internal_error");
    assert!(!message.contains("on purpose"), "{message}");
    instance.broken.store(false, Ordering::SeqCst);
    assert!(instance.get("/metrics").await.text.contains("\ntill_admin_panics_total 1\n"));
}

#[tokio::test]
async fn an_instance_that_stops_is_not_ready() {
    let instance = Instance::start().await;
    assert_eq!(instance.get_anonymously("/readyz").await.status, 200);
    instance.store.stop_granting();
    instance.get_anonymously("/readyz").await.assert_not_ready(&["shutting_down"]);
    assert_eq!(instance.get_anonymously("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_closed_store_is_503_and_alive() {
    let instance = Instance::start().await;
    instance.store.close().await.unwrap();
    for (method, path) in [("GET", "/admin/keys"), ("POST", "/admin/keys"), ("GET", "/admin/account")] {
        instance.call(method, path, Body::empty()).await.assert_error(503, "ledger_unavailable");
    }
    instance.get_anonymously("/readyz").await.assert_not_ready(&["shutting_down", "ledger_unavailable"]);
    assert_eq!(instance.get_anonymously("/healthz").await.status, 200);
}
