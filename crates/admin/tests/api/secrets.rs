//! No credential leaves by an answer, the log or a file.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::claim::{self, Link};
use crate::harness::{CANARY, Instance};

/// What was logged, by every test of this process.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn contains(bytes: &[u8], secret: &str) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
}

fn files(dir: &Path, visit: &mut dyn FnMut(&Path, &[u8])) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, visit);
        } else {
            visit(&path, &fs::read(&path).unwrap());
        }
    }
}

/// Requests with the canary wherever a careless person could put it.
fn misplaced() -> Vec<(&'static str, String, String)> {
    let mut requests = vec![
        ("GET", format!("/admin/keys/{CANARY}"), String::new()),
        ("DELETE", format!("/admin/keys/{CANARY}"), String::new()),
        ("GET", format!("/admin/keys?cursor={CANARY}"), String::new()),
        ("GET", format!("/admin/keys?{CANARY}=1"), String::new()),
        ("GET", format!("/admin/keys?status={CANARY}"), String::new()),
        ("GET", format!("/admin/{CANARY}"), String::new()),
        ("GET", format!("/{CANARY}"), String::new()),
        ("POST", "/admin/keys".into(), format!("{{\"upstream_key\":\"{CANARY}")),
        ("POST", "/admin/keys".into(), CANARY.into()),
        ("POST", "/admin/keys".into(), format!("{{\"a\":{CANARY}}}")),
        ("POST", "/admin/keys".into(), format!("{{\"{CANARY}\":1,\"{CANARY}\":2}}")),
    ];
    for name in
        ["provider", "max_activations", "metadata", "name", "max_tokens", "ip_whitelist", "scope", CANARY]
    {
        let mut body = json!({"provider": "openai", "upstream_key": CANARY, "max_activations": 1});
        body[name] = json!(CANARY);
        requests.push(("POST", "/admin/keys".into(), body.to_string()));
    }
    requests
}

#[tokio::test]
async fn no_credential_is_found_outside() {
    let log = Log::default();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).expect("no other test sets one");

    let instance = Instance::start().await;
    let key = instance.minted(5).await;
    let scoped_key = key["scopedKey"].as_str().unwrap().to_owned();
    let link = Link::of(&claim::create(&instance, 3600).await);
    let claimed = link.claim(&instance).await.json()["scopedKey"].as_str().unwrap().to_owned();
    let unclaimed = Link::of(&claim::create(&instance, 3600).await);
    let path = format!("/admin/keys/{}", key["id"].as_str().unwrap());
    let mut answers = vec![];
    for page in [
        path.as_str(),
        "/admin/keys",
        "/admin/account",
        "/admin/providers",
        "/admin/instance",
        "/admin/audit",
        "/admin/audit/1",
        "/admin/audit/checkpoints",
        "/admin/audit/export",
        "/admin/audit/export?format=csv",
        "/admin/openapi.json",
        "/docs",
        "/docs/style.css",
        "/metrics",
        "/healthz",
        "/readyz",
    ] {
        let answer = instance.get(page).await;
        assert_eq!(answer.status, 200, "{page}");
        answers.push(answer);
    }
    for (method, path, body) in misplaced() {
        let answer = instance.call(method, &path, body).await;
        assert!(answer.status.is_client_error(), "{method} {path}");
        answer.json();
        answers.push(answer);
    }
    let wrong =
        Request::builder().uri("/admin/keys").header(header::AUTHORIZATION, format!("Bearer {CANARY}"));
    answers.push(instance.send(wrong.body(Body::empty()).unwrap()).await);
    answers.push(instance.call("DELETE", &path, Body::empty()).await);
    instance.store.close().await.unwrap();
    answers.push(instance.get("/admin/keys").await);

    let secrets = [
        CANARY,
        scoped_key.as_str(),
        instance.token.as_str(),
        claimed.as_str(),
        link.secret.as_str(),
        unclaimed.secret.as_str(),
    ];
    for answer in &answers {
        let headers = format!("{:?}", answer.headers);
        for secret in secrets {
            assert!(!answer.text.contains(secret) && !headers.contains(secret), "{}", answer.text);
        }
    }
    let logged = log.0.lock().unwrap().clone();
    assert!(contains(&logged, "refused an admin request"), "the log is captured");
    let mut seen = 0;
    files(instance.dir.path(), &mut |path, bytes| {
        seen += 1;
        for secret in secrets {
            assert!(!contains(bytes, secret), "{}", path.display());
        }
    });
    assert!(seen > 0, "the store has files");
    for secret in secrets {
        assert!(!contains(&logged, secret), "{}", String::from_utf8_lossy(&logged));
    }
}
