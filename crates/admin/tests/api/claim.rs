//! Claim links: what the page is, who gets the key, and how often.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Answer, CANARY, Instance};
use crate::instance::{copy, put_back};

/// Id and secret of a link.
pub(crate) struct Link {
    pub(crate) path: String,
    pub(crate) secret: String,
}

impl Link {
    pub(crate) fn of(key: &Value) -> Self {
        let url = key["claimUrl"].as_str().expect("a link");
        let (page, secret) = url.split_once('#').expect("a secret");
        let path = page.strip_prefix("http://127.0.0.1:4100").expect("under the public URL").to_owned();
        Self { path, secret: secret.to_owned() }
    }

    /// A request without a token, as the page sends it.
    fn request(&self, secret: &str) -> Request<Body> {
        let request = Request::post(&self.path).header(header::CONTENT_TYPE, "application/json");
        request.body(json!({"secret": secret}).to_string().into()).unwrap()
    }

    pub(crate) async fn claim(&self, instance: &Instance) -> Answer {
        instance.send(self.request(&self.secret)).await
    }
}

pub(crate) async fn create(instance: &Instance, ttl_seconds: u64) -> Value {
    let answer = instance.create(&body(json!(ttl_seconds))).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()["key"].clone()
}

fn body(ttl_seconds: Value) -> Value {
    json!({"provider": "openai", "upstream_key": CANARY, "max_activations": 5, "claim_ttl_seconds": ttl_seconds})
}

#[tokio::test]
async fn a_link_is_answered_in_place_of_the_key() {
    let instance = Instance::start().await;
    let key = create(&instance, 3600).await;
    assert_eq!(key.get("scopedKey"), None);
    let link = Link::of(&key);
    assert_eq!((link.path.len(), link.secret.len()), ("/claim/".len() + 22, 44));
    let ends = key["claimExpiresAt"].as_str().unwrap();
    assert!(ends > key["createdAt"].as_str().unwrap());
    let answer = link.claim(&instance).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.header("cache-control"), "no-store");
    let shown = answer.json();
    let opened = instance.keys.open(shown["scopedKey"].as_str().unwrap()).expect("genuine");
    assert_eq!(opened.id.to_string(), key["id"]);
    let till_core::upstream::SealedUpstream::Key(upstream) = opened.upstream else {
        panic!("a key of its own")
    };
    assert_eq!(upstream.key.reveal_str(), Some(CANARY));
    assert_eq!(shown, json!({"scopedKey": shown["scopedKey"], "keyId": key["id"], "provider": "openai"}));
    link.claim(&instance).await.assert_error(404, "not_found");

    let plain = instance.minted(5).await;
    assert!(plain["scopedKey"].is_string());
    assert!(plain.get("claimUrl").is_none() && plain.get("claimExpiresAt").is_none());

    let log = instance.audit().await;
    let entry = |action: &str| {
        let of_key = |entry: &&Value| entry["action"] == action && entry["target"] == key["id"];
        let found: Vec<&Value> = log.iter().filter(of_key).collect();
        assert_eq!(found.len(), 1, "{action}");
        found[0].clone()
    };
    let made = entry("key.create");
    let detail: Value = serde_json::from_str(made["detail"].as_str().unwrap()).unwrap();
    assert_eq!(detail["claim"], true, "{made}");
    // To the second.
    assert_eq!(detail["claimExpiresAt"].as_str().unwrap()[..19], ends[..19], "{made}");
    let claimed = entry("key.claim").to_string();
    assert!(claimed.contains("127.0.0.1") && claimed.contains("anonymous"), "{claimed}");
    assert!(!json!(log).to_string().contains(&link.secret));
}

#[tokio::test]
async fn a_key_is_shown_to_one_of_many() {
    let instance = std::sync::Arc::new(Instance::start().await);
    let key = create(&instance, 3600).await;
    let mut askers = JoinSet::new();
    for _ in 0..32 {
        let (instance, link) = (std::sync::Arc::clone(&instance), Link::of(&key));
        askers.spawn(async move { link.claim(&instance).await.status.as_u16() });
    }
    let mut statuses = askers.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses[0], 200);
    assert!(statuses[1..].iter().all(|status| *status == 404), "{statuses:?}");
}

#[tokio::test]
async fn without_the_secret_nothing_is_told_and_nothing_happens() {
    let instance = Instance::start().await;
    let link = Link::of(&create(&instance, 3600).await);
    let other = Link::of(&create(&instance, 3600).await);
    let before = instance.store.stats().batches;
    let unknown = Link { path: format!("/claim/{}", "0".repeat(22)), secret: link.secret.clone() };
    let mut answers = vec![unknown.claim(&instance).await];
    for path in ["/claim/x", "/claim/%00", "/claim/%ff"] {
        let strange = Link { path: path.to_owned(), secret: link.secret.clone() };
        answers.push(strange.claim(&instance).await);
    }
    for secret in [&other.secret, "", "x", &link.secret[1..], &"z".repeat(44), "…"] {
        answers.push(instance.send(link.request(secret)).await);
    }
    for answer in &answers {
        answer.assert_error(404, "not_found");
        assert_eq!(answer.text, answers[0].text, "the same bytes for every reason");
    }
    for (body, code) in [
        ("", "malformed_json"),
        ("{}", "missing_field"),
        (r#"{"secret":1}"#, "invalid_field"),
        (r#"{"secret":"x","more":1}"#, "unknown_field"),
    ] {
        let request = Request::post(&link.path).header(header::CONTENT_TYPE, "application/json");
        instance.send(request.body(body.into()).unwrap()).await.assert_error(400, code);
    }
    // What a form on a foreign page could send.
    let form = Request::post(&link.path).header(header::CONTENT_TYPE, "text/plain");
    let form = form.body(json!({"secret": link.secret}).to_string().into()).unwrap();
    instance.send(form).await.assert_error(415, "unsupported_media_type");
    assert_eq!(instance.store.stats().batches, before, "nothing was written");
    assert_eq!(link.claim(&instance).await.status, 200);
    assert_eq!(link.claim(&instance).await.text, answers[0].text);
}

#[tokio::test]
async fn a_link_ends_in_time() {
    let instance = Instance::start().await;
    let link = Link::of(&create(&instance, 1).await);
    tokio::time::sleep(Duration::from_millis(1_050)).await;
    link.claim(&instance).await.assert_error(404, "not_found");
    for wrong in [json!(0), json!(604_801), json!(-1), json!(1.5), json!("3600"), json!(true)] {
        let message = instance.create(&body(wrong)).await.assert_error(400, "invalid_field");
        assert!(message.contains("`claim_ttl_seconds`"), "{message}");
    }
    let longest = create(&instance, 604_800).await;
    assert_eq!(Link::of(&longest).claim(&instance).await.status, 200);
}

#[tokio::test]
async fn the_page_is_the_same_for_all_and_uses_nothing_up() {
    let instance = Instance::start_in(tempfile::tempdir().unwrap(), false).await;
    let link = Link::of(&create(&instance, 3600).await);
    let page = instance.get_anonymously(&link.path).await;
    assert_eq!(page.status, 200);
    assert_eq!(page.text, instance.get_anonymously("/claim/unknown").await.text);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(page.header("cache-control"), "no-store");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
    assert_eq!(page.header("x-frame-options"), "DENY");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
    for forbidden in ["<script>", "<style", " style=", " onclick", "//", "<form"] {
        assert!(!page.text.contains(forbidden), "{forbidden}");
    }
    for (path, kind) in [
        ("/claim/claim.js", "text/javascript; charset=utf-8"),
        ("/claim/claim.css", "text/css; charset=utf-8"),
    ] {
        let name = path.rsplit('/').next().unwrap();
        assert!(page.text.contains(&format!("\"{name}\"")), "{name}");
        let part = instance.get_anonymously(path).await;
        assert_eq!((part.status.as_u16(), part.header("content-type")), (200, kind));
        assert!(!part.text.contains("http"), "{path} asks nobody else");
    }
    assert!(!instance.get_anonymously("/claim/claim.js").await.text.contains("innerHTML"));
    // Programs that look at links before people do.
    for method in ["HEAD", "GET"] {
        let request = Request::builder().method(method).uri(&link.path).body(Body::empty()).unwrap();
        assert_eq!(instance.send(request).await.status, 200);
    }
    assert_eq!(link.claim(&instance).await.status, 200);
}

/// An older copy of the store has claims that were used since.
#[tokio::test]
async fn a_fenced_instance_hands_nothing_over() {
    let (dir, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = dir.path().to_owned();
    let instance = Instance::start_in(dir, true).await;
    let link = Link::of(&create(&instance, 3600).await);
    instance.store.close().await.unwrap();
    copy(&path, backup.path());
    let instance = Instance::start_in(instance.dir, true).await;
    assert_eq!(link.claim(&instance).await.status, 200);
    instance.store.close().await.unwrap();
    put_back(backup.path(), &path);
    let instance = Instance::start_in(instance.dir, true).await;
    link.claim(&instance).await.assert_error(503, "instance_fenced");
}
