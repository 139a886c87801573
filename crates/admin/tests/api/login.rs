//! Signing in: cookies, the word against forged requests, guesses.

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use till_core::key::KeyId;
use till_core::limit::Units;

use crate::harness::{Answer, CANARY, Instance};

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
    // Sent with the API alone, never with what goes on to a provider.
    // In clear text on this machine a browser would not send a `Secure` cookie.
    let attributes = signed_in.header("set-cookie");
    assert!(attributes.ends_with("; Path=/admin; Max-Age=43200; HttpOnly; SameSite=Strict"), "{attributes}");
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
    assert!(out.header("set-cookie").starts_with("till_session=; Path=/admin; Max-Age=0;"));
    send(&instance, "GET", "/admin/self", &[("cookie", &cookie)], &Value::Null)
        .await
        .assert_error(401, "unauthorized");
    let message = instance.call("POST", "/admin/logout", "").await.assert_error(400, "invalid_field");
    assert!(message.contains("`Authorization`"), "{message}");
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
async fn a_session_of_an_admin_token_ends_with_the_text_that_opened_it() {
    let instance = Instance::start().await;
    let open = async |text: &str| {
        session(&send(&instance, "POST", "/admin/login", &[], &json!({"admin_token": text})).await).0
    };
    let status = async |cookie: &str, path: &str| {
        send(&instance, "GET", path, &[("cookie", cookie)], &Value::Null).await.status.as_u16()
    };
    let rotate = async |id: &str, overlap: u64| {
        let path = format!("/admin/tokens/{id}/rotate");
        let answer = instance.call("POST", &path, json!({"overlap_seconds": overlap}).to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["adminToken"].as_str().unwrap().to_owned()
    };
    let made = instance.call("POST", "/admin/tokens", r#"{"name":"ci","role":"admin"}"#).await.json();
    let id = made["token"]["id"].as_str().unwrap().to_owned();
    let first = open(made["adminToken"].as_str().unwrap()).await;
    // As long as the old text goes on, so do its sessions.
    let text = rotate(&id, 3600).await;
    let second = open(&text).await;
    assert_eq!((status(&first, "/admin/self").await, status(&second, "/admin/self").await), (200, 200));
    let text = rotate(&id, 0).await;
    assert_eq!((status(&first, "/admin/self").await, status(&second, "/admin/self").await), (401, 401));
    // What the token may do, from where and until when is looked at every time.
    let cookie = open(&text).await;
    let path = format!("/admin/tokens/{id}");
    let patch = async |body: Value| {
        let answer = instance.call("PATCH", &path, body.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    };
    assert_eq!(status(&cookie, "/admin/tokens").await, 200);
    patch(json!({"role": "viewer"})).await;
    assert_eq!(status(&cookie, "/admin/tokens").await, 403);
    patch(json!({"networks": ["192.0.2.0/24"]})).await;
    assert_eq!(status(&cookie, "/admin/self").await, 403);
    let soon = instance.store.now().0 + 200;
    let soon = till_admin::rfc3339(till_core::time::Timestamp(soon));
    patch(json!({"networks": null, "expires_at": soon})).await;
    while status(&cookie, "/admin/self").await == 200 {
        tokio::task::yield_now().await;
    }
    assert_eq!(status(&cookie, "/admin/self").await, 401);
    // The owner's token can't be revoked: a rotation has to shut out whoever had it.
    let cookie = open(&instance.token).await;
    assert_eq!(status(&cookie, "/admin/self").await, 200);
    let new = rotate("owner", 0).await;
    assert_eq!(status(&cookie, "/admin/self").await, 401);
    // Who signed in by a token has no password to change.
    let signed_in = send(&instance, "POST", "/admin/login", &[], &json!({"admin_token": new})).await;
    let (cookie, word) = session(&signed_in);
    let headers = [("cookie", cookie.as_str()), ("x-till-csrf", word.as_str())];
    let body = json!({"current_password": PASSWORD, "password": PASSWORD});
    send(&instance, "POST", "/admin/self/password", &headers, &body).await.assert_error(400, "invalid_field");
}

#[tokio::test]
async fn guesses_come_to_an_end() {
    let instance = Instance::start().await;
    member(&instance, "ada", "viewer").await;
    let (cookie, word) = session(&login(&instance, "ada", PASSWORD).await);
    let wrong = async |name: &str| login(&instance, name, "a wrong password").await;
    let refused = |answer: &Answer| {
        answer.assert_error(429, "too_many_attempts");
        let seconds: u64 = answer.header("retry-after").parse().unwrap();
        assert!((1..=900).contains(&seconds), "{seconds}");
    };
    for _ in 0..5 {
        let known = wrong("ada").await;
        known.assert_error(401, "login_failed");
        assert_eq!(known.header("retry-after"), "");
    }
    refused(&login(&instance, "ada", PASSWORD).await);
    // Who is signed in may still change the password, and has guesses of their own.
    let headers = [("cookie", cookie.as_str()), ("x-till-csrf", word.as_str())];
    let change = async |current: &str| {
        let body = json!({"current_password": current, "password": "another horse battery staple"});
        send(&instance, "POST", "/admin/self/password", &headers, &body).await
    };
    for _ in 0..5 {
        change("a wrong password").await.assert_error(401, "login_failed");
    }
    refused(&change(PASSWORD).await);
    // Nobody learns who exists.
    for _ in 0..5 {
        wrong("nobody").await.assert_error(401, "login_failed");
    }
    refused(&wrong("nobody").await);
    // Whatever the logins are, one address has so many guesses.
    for n in 0..10 {
        wrong(&format!("somebody-{n}")).await.assert_error(401, "login_failed");
    }
    refused(&wrong("somebody-else").await);
    // Admin tokens are not guessed, and who has one is not kept out by those who guess.
    let body = json!({"admin_token": instance.token});
    assert_eq!(send(&instance, "POST", "/admin/login", &[], &body).await.status, 200);
}

#[tokio::test]
async fn an_answer_does_not_wait_for_the_disk_where_that_would_tell_who_exists() {
    let instance = Instance::start().await;
    let id = member(&instance, "ada", "viewer").await;
    // The writer tells of a stored upstream key before anything else is written: it waits until it may go on.
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let may_go_on = std::sync::Mutex::new(may_go_on);
    let (reached, has_reached) = std::sync::mpsc::channel::<()>();
    let hold_up = move |_: &till_store::Kept<till_store::Credential>| {
        let _ = reached.send(());
        let _ = may_go_on.lock().unwrap().recv();
    };
    instance.store.credentials_follow(std::sync::Arc::new(hold_up)).await.unwrap();
    let stored = json!({"name": "held", "provider": "openai", "upstream_key": CANARY}).to_string();
    let storing = instance.call("POST", "/admin/credentials", stored);
    let meanwhile = async {
        while has_reached.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        for name in ["ada", "nobody"] {
            let answer = login(&instance, name, "a wrong password");
            let answer = tokio::time::timeout(std::time::Duration::from_secs(30), answer).await;
            answer.expect("nothing is waited for").assert_error(401, "login_failed");
        }
        drop(go_on);
    };
    let (stored, ()) = tokio::join!(storing, meanwhile);
    assert_eq!(stored.status, 201, "{}", stored.text);
    let noted = async || {
        let log = instance.audit().await;
        log.iter().any(|entry| entry["action"] == "login.refuse" && entry["target"] == json!(id))
    };
    while !noted().await {
        tokio::task::yield_now().await;
    }
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
    // Somebody without a password does not sign in, and keys that are made by a member are bound by their rules.
    let ceiling = json!({"ceilings": {"lifetime": {"max_activations": 3}}, "max_live_keys": 2, "providers": ["openai"]});
    let made = make(json!({"login": "bot", "role": "minter", "policy": ceiling})).await.json();
    login(&instance, "bot", "").await.assert_error(401, "login_failed");
    let id = made["member"]["id"].as_str().unwrap();
    // A token that stands for them has no rules of its own: they would not count.
    let token = json!({"name": "of bot", "role": "admin", "member": id});
    let mut ruled = token.clone();
    ruled["policy"] = json!({"max_live_keys": 1});
    let refused = instance.call("POST", "/admin/tokens", ruled.to_string()).await;
    assert!(refused.assert_error(400, "unsupported_field").contains("`policy`"), "{}", refused.text);
    ruled["policy"] = json!({});
    assert_eq!(instance.call("POST", "/admin/tokens", ruled.to_string()).await.status, 201);
    let token = instance.call("POST", "/admin/tokens", token.to_string()).await.json();
    let path = format!("/admin/tokens/{}", token["token"]["id"].as_str().unwrap());
    let refused = instance.call("PATCH", &path, r#"{"policy":{"max_live_keys":1}}"#).await;
    refused.assert_error(400, "unsupported_field");
    assert_eq!(instance.call("PATCH", &path, r#"{"policy":null}"#).await.status, 200);
    let bearer = format!("Bearer {}", token["adminToken"].as_str().unwrap());
    let who = send(&instance, "GET", "/admin/self", &[("authorization", &bearer)], &Value::Null).await;
    assert_eq!(who.json()["self"]["role"], "minter", "no more than the member may");
    let mint = async |provider: &str| {
        let key = json!({"provider": provider, "upstream_key": CANARY, "max_activations": 9});
        send(&instance, "POST", "/admin/keys", &[("authorization", &bearer)], &key).await
    };
    mint("anthropic").await.assert_error(403, "not_allowed");
    let mut ids = Vec::new();
    for _ in 0..2 {
        let key = mint("openai").await;
        assert_eq!(key.json()["key"]["createdBy"], json!(id), "{}", key.text);
        ids.push(key.json()["key"]["id"].as_str().unwrap().parse::<KeyId>().unwrap());
    }
    mint("openai").await.assert_error(403, "not_allowed");
    // Both keys together use what the member has.
    for key in [ids[0], ids[1], ids[0]] {
        let hold = instance.store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap();
        hold.settle(Units::ONE_ACTIVATION);
    }
    for key in ids {
        let refused = instance.store.hold_exactly(key, Units::ONE_ACTIVATION).await.unwrap_err();
        assert!(format!("{refused:?}").contains("ProjectExhausted"), "{refused:?}");
    }
    let shown = instance.get(&format!("/admin/members/{id}")).await.json();
    assert_eq!(
        shown["ceilingsUsed"][0],
        json!({"window": "lifetime", "usedActivations": 3, "usedTokens": 0, "usedSpendUsd": "0.00"})
    );
}

/// Reason and count of each refusal in the log, once there are so many.
async fn refusals(instance: &Instance, id: &str, least: usize) -> Vec<(String, u64)> {
    for _ in 0..500 {
        let log = instance.audit().await;
        let of_them = log.iter().filter(|one| one["action"] == "login.refuse" && one["target"] == id);
        let found: Vec<(String, u64)> = of_them
            .map(|entry| {
                let detail: Value = serde_json::from_str(entry["detail"].as_str().unwrap()).unwrap();
                (
                    detail["reason"].as_str().unwrap_or("none").to_owned(),
                    detail["count"].as_u64().unwrap_or(1),
                )
            })
            .collect();
        if found.len() >= least {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("there are fewer than {least} refusals of {id} in the log");
}

#[tokio::test]
async fn who_is_not_let_in_is_in_the_log() {
    let instance = Instance::start().await;
    let id = member(&instance, "ada", "viewer").await;
    let (cookie, word) = session(&login(&instance, "ada", PASSWORD).await);
    let headers = [("cookie", cookie.as_str()), ("x-till-csrf", word.as_str())];
    let body = json!({"current_password": "a wrong password", "password": "another horse battery"});
    for _ in 0..5 {
        let answer = send(&instance, "POST", "/admin/self/password", &headers, &body).await;
        answer.assert_error(401, "login_failed");
    }
    let once = refusals(&instance, &id, 1).await;
    assert_eq!(once, [("current_password".to_owned(), 1)], "the rest of the minute comes later");
    // Also with the right password, and also when nothing of it is looked at any more.
    let body = json!({"current_password": PASSWORD, "password": "another horse battery"});
    for _ in 0..3 {
        let answer = send(&instance, "POST", "/admin/self/password", &headers, &body).await;
        answer.assert_error(429, "too_many_attempts");
    }
    assert!(refusals(&instance, &id, 2).await.contains(&("too_many_attempts".to_owned(), 1)));
    let metrics = instance.get("/metrics").await.text;
    assert!(metrics.contains("\ntill_admin_login_throttled_total 3\n"), "{metrics}");

    // A token that is shown from where it may not be used, and one that has ended.
    for (name, limits, reason, status) in [
        ("far", json!({"networks": ["192.0.2.0/24"]}), "network", 403),
        ("old", json!({"ttl_seconds": 1}), "expired", 401),
    ] {
        let mut body = json!({"name": name, "role": "viewer"});
        body.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
        let made = instance.call("POST", "/admin/tokens", body.to_string()).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let (id, text) = (made.json()["token"]["id"].clone(), made.json()["adminToken"].clone());
        let bearer = format!("Bearer {}", text.as_str().unwrap());
        let answer =
            async || send(&instance, "GET", "/admin/self", &[("authorization", &bearer)], &Value::Null).await;
        while answer().await.status != status {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        answer().await;
        let found = refusals(&instance, id.as_str().unwrap(), 1).await;
        assert_eq!(found, [(reason.to_owned(), 1)]);
    }
}
