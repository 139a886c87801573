//! Signing in: cookies, the word against forged requests, guesses.

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};

use crate::harness::{Answer, Instance};

const PASSWORD: &str = "correct horse battery staple";

async fn send(
    instance: &Instance,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> Answer {
    let mut request =
        Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    instance.send(request.body(body).unwrap()).await
}

async fn login(instance: &Instance, login: &str, password: &str) -> Answer {
    send(instance, "POST", "/admin/login", &[], &json!({"login": login, "password": password})).await
}

/// Makes a member and answers their id.
async fn member(instance: &Instance, login: &str, role: &str) -> String {
    let body = json!({"login": login, "role": role, "password": PASSWORD});
    let made = instance.call("POST", "/admin/members", body.to_string()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert!(!made.text.contains("argon2") && !made.text.contains(PASSWORD), "{}", made.text);
    made.json()["member"]["id"].as_str().unwrap().to_owned()
}

/// The cookie to send and the word.
fn session(answer: &Answer) -> (String, String) {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
    (cookie, answer.json()["csrfToken"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn somebody_who_is_signed_in_is_somebody() {
    let instance = Instance::start().await;
    let id = member(&instance, "Ada@Example.com", "admin").await;
    let signed_in = login(&instance, "ada@example.COM", PASSWORD).await;
    let (cookie, word) = session(&signed_in);
    assert_eq!((&signed_in.json()["id"], &signed_in.json()["role"]), (&json!(id), &json!("admin")));
    // In clear text on this machine a browser would not send a `Secure` cookie.
    let attributes = signed_in.header("set-cookie");
    assert!(attributes.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"), "{attributes}");
    let who = send(&instance, "GET", "/admin/self", &[("cookie", &cookie)], &Value::Null).await;
    assert_eq!(who.json()["self"]["id"], json!(id));
    // Reading needs the cookie alone, changing the word as well.
    let project = json!({"id": "a"});
    let make =
        async |headers: &[(&str, &str)]| send(&instance, "POST", "/admin/projects", headers, &project).await;
    make(&[("cookie", &cookie)]).await.assert_error(403, "forbidden");
    make(&[("cookie", &cookie), ("x-till-csrf", "guess")]).await.assert_error(403, "forbidden");
    make(&[("x-till-csrf", &word)]).await.assert_error(401, "unauthorized");
    let made = make(&[("cookie", &cookie), ("x-till-csrf", &word)]).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(instance.audit().await.pop().unwrap()["actor"]["id"], json!(id));
    // One cookie, not two, and a token beside it decides alone.
    let twice = format!("{cookie}; {cookie}");
    send(&instance, "GET", "/admin/self", &[("cookie", &twice)], &Value::Null)
        .await
        .assert_error(401, "unauthorized");
    let both = [("cookie", cookie.as_str()), ("authorization", "Bearer till_admin_wrong")];
    send(&instance, "GET", "/admin/self", &both, &Value::Null).await.assert_error(401, "unauthorized");
    // Signed out.
    let out = send(
        &instance,
        "POST",
        "/admin/logout",
        &[("cookie", &cookie), ("x-till-csrf", &word)],
        &Value::Null,
    )
    .await;
    assert_eq!(out.status, 204, "{}", out.text);
    assert!(out.header("set-cookie").starts_with("till_session=; Path=/; Max-Age=0;"));
    send(&instance, "GET", "/admin/self", &[("cookie", &cookie)], &Value::Null)
        .await
        .assert_error(401, "unauthorized");
    instance.call("POST", "/admin/logout", "").await.assert_error(400, "invalid_field");
}

#[tokio::test]
async fn cookies_are_secure_everywhere_else() {
    let instance = Instance::start_in(tempfile::tempdir().unwrap(), false).await;
    member(&instance, "ada", "viewer").await;
    let cookie = login(&instance, "ada", PASSWORD).await.header("set-cookie").to_owned();
    assert!(cookie.ends_with("; HttpOnly; SameSite=Strict; Secure"), "{cookie}");
    let local = Instance::start().await;
    member(&local, "ada", "viewer").await;
    let body = json!({"login": "ada", "password": PASSWORD});
    let behind = send(&local, "POST", "/admin/login", &[("x-forwarded-for", "203.0.113.9")], &body).await;
    assert!(behind.header("set-cookie").ends_with("; Secure"), "{}", behind.header("set-cookie"));
}

#[tokio::test]
async fn a_session_ends_with_what_it_stands_on() {
    let instance = Instance::start().await;
    let id = member(&instance, "ada", "admin").await;
    let path = format!("/admin/members/{id}");
    let alive = async |cookie: &str| {
        send(&instance, "GET", "/admin/self", &[("cookie", cookie)], &Value::Null).await.status == 200
    };
    let enter = async |password: &str| session(&login(&instance, "ada", password).await);
    // A new password, by an administrator.
    let (cookie, _) = enter(PASSWORD).await;
    assert!(alive(&cookie).await);
    let new = "another horse battery staple";
    assert_eq!(instance.call("PATCH", &path, json!({"password": new}).to_string()).await.status, 200);
    assert!(!alive(&cookie).await);
    login(&instance, "ada", PASSWORD).await.assert_error(401, "login_failed");
    // … and by oneself, who has to know the old one.
    let (cookie, word) = enter(new).await;
    let headers = [("cookie", cookie.as_str()), ("x-till-csrf", word.as_str())];
    let change = async |current: &str, to: &str| {
        let body = json!({"current_password": current, "password": to});
        send(&instance, "POST", "/admin/self/password", &headers, &body).await
    };
    change("wrong horse battery staple", PASSWORD).await.assert_error(401, "login_failed");
    change(new, "short").await.assert_error(400, "invalid_field");
    assert_eq!(change(new, PASSWORD).await.status, 204);
    assert!(!alive(&cookie).await);
    // A role that is taken away.
    let (cookie, _) = enter(PASSWORD).await;
    instance.call("PATCH", &path, r#"{"role":"viewer"}"#).await;
    let audit = send(&instance, "GET", "/admin/audit", &[("cookie", &cookie)], &Value::Null).await;
    audit.assert_error(403, "forbidden");
    // Nobody is left.
    assert_eq!(instance.call("DELETE", &path, "").await.status, 200);
    assert!(!alive(&cookie).await);
    login(&instance, "ada", PASSWORD).await.assert_error(401, "login_failed");
    // Their login is free again.
    member(&instance, "ada", "viewer").await;
    let log = serde_json::to_string(&instance.audit().await).unwrap();
    for word in ["argon2", PASSWORD, new] {
        assert!(!log.contains(word), "{word}");
    }
    for action in [
        "member.create",
        "member.update",
        "member.password",
        "member.remove",
        "session.create",
        "login.refuse",
    ] {
        assert!(log.contains(action), "{action}");
    }
}

#[tokio::test]
async fn an_admin_token_signs_in_as_well() {
    let instance = Instance::start().await;
    let made = instance.call("POST", "/admin/tokens", r#"{"name":"ci","role":"viewer"}"#).await.json();
    let text = made["adminToken"].as_str().unwrap();
    let body = json!({"admin_token": text});
    let signed_in = send(&instance, "POST", "/admin/login", &[], &body).await;
    let (cookie, _) = session(&signed_in);
    let who = send(&instance, "GET", "/admin/self", &[("cookie", &cookie)], &Value::Null).await;
    assert_eq!(who.json()["self"]["id"], made["token"]["id"]);
    let path = format!("/admin/tokens/{}", made["token"]["id"].as_str().unwrap());
    instance.call("DELETE", &path, "").await;
    send(&instance, "GET", "/admin/self", &[("cookie", &cookie)], &Value::Null)
        .await
        .assert_error(401, "unauthorized");
    send(&instance, "POST", "/admin/login", &[], &body).await.assert_error(401, "login_failed");
    let both = json!({"admin_token": text, "login": "ada"});
    send(&instance, "POST", "/admin/login", &[], &both).await.assert_error(400, "duplicate_field");
}

#[tokio::test]
async fn guesses_come_to_an_end() {
    let instance = Instance::start().await;
    member(&instance, "ada", "viewer").await;
    for _ in 0..5 {
        let known = login(&instance, "ada", "a wrong password").await;
        known.assert_error(401, "login_failed");
    }
    login(&instance, "ada", PASSWORD).await.assert_error(429, "too_many_attempts");
    // Nobody learns who exists.
    let unknown = login(&instance, "nobody", "a wrong password").await;
    unknown.assert_error(401, "login_failed");
    for _ in 0..4 {
        login(&instance, "nobody", "a wrong password").await.assert_error(401, "login_failed");
    }
    login(&instance, "nobody", "a wrong password").await.assert_error(429, "too_many_attempts");
}

#[tokio::test]
async fn members_have_rules() {
    let instance = Instance::start().await;
    member(&instance, "ada", "viewer").await;
    let make = async |body: Value| instance.call("POST", "/admin/members", body.to_string()).await;
    for (body, code) in [
        (json!({"role": "viewer"}), "missing_field"),
        (json!({"login": "x"}), "missing_field"),
        (json!({"login": "a b", "role": "viewer"}), "invalid_field"),
        (json!({"login": "", "role": "viewer"}), "invalid_field"),
        (json!({"login": "x", "role": "viewer", "password": "short"}), "invalid_field"),
        (json!({"login": "x", "role": "viewer", "project": "none"}), "not_allowed"),
        (json!({"login": "ADA", "role": "viewer"}), "conflict"),
    ] {
        assert_eq!(make(body.clone()).await.json()["error"]["code"], code, "{body}");
    }
    // Somebody without a password does not sign in, and keys that are made by a member have their ceilings.
    let ceiling = json!({"ceilings": {"lifetime": {"max_activations": 3}}});
    let made = make(json!({"login": "bot", "role": "minter", "policy": ceiling})).await.json();
    login(&instance, "bot", "").await.assert_error(401, "login_failed");
    let id = made["member"]["id"].as_str().unwrap();
    let token = json!({"name": "of bot", "role": "admin", "member": id});
    let token = instance.call("POST", "/admin/tokens", token.to_string()).await.json();
    let bearer = format!("Bearer {}", token["adminToken"].as_str().unwrap());
    let who = send(&instance, "GET", "/admin/self", &[("authorization", &bearer)], &Value::Null).await;
    assert_eq!(who.json()["self"]["role"], "minter", "no more than the member may");
    let key =
        json!({"provider": "openai", "upstream_key": "sk-proj-some-key-of-somebody", "max_activations": 9});
    let key = send(&instance, "POST", "/admin/keys", &[("authorization", &bearer)], &key).await;
    assert_eq!(key.json()["key"]["createdBy"], json!(id), "{}", key.text);
    let shown = instance.get(&format!("/admin/members/{id}")).await.json();
    assert_eq!(
        shown["ceilingsUsed"][0],
        json!({"window": "lifetime", "usedActivations": 0, "usedTokens": 0, "usedSpendUsd": "0.00"})
    );
}
