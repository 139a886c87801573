//! `/admin/credentials`, and keys that are minted from them.

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use till_core::role::Role;
use till_core::secret::Secret;
use till_core::token::mint_admin_token;
use till_core::upstream::{Placement, SealedUpstream, Upstream};
use till_store::{Credential, Put};

use crate::harness::{Answer, CANARY, Instance, put_token};

const NEXT: &str = "sk-proj-the-next-canary-0123456789";

async fn call(instance: &Instance, token: &str, method: &str, path: &str, body: Value) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    instance.send(request.body(Body::from(body)).unwrap()).await
}

async fn store(instance: &Instance, more: Value) -> Answer {
    let mut body = json!({"name": "openai-prod", "provider": "openai", "upstream_key": CANARY});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    instance.call("POST", "/admin/credentials", body.to_string()).await
}

async fn bound(instance: &Instance, n: u8, role: Role, project: &str) -> String {
    let text = mint_admin_token([n; 32]).reveal_str().unwrap().to_owned();
    put_token(&instance.store, &format!("tok_{n}"), &text, role, Some(project)).await;
    text
}

#[tokio::test]
async fn is_stored_shown_changed_and_removed() {
    let instance = Instance::start().await;
    let made = store(&instance, json!({"policy": {"ceilings": {"day": {"max_activations": 9}}}})).await;
    assert_eq!((made.status.as_u16(), made.header("etag")), (201, "\"1\""), "{}", made.text);
    let shown = &made.json()["credential"];
    assert_eq!(
        (&shown["name"], &shown["provider"], &shown["usable"]),
        (&json!("openai-prod"), &json!("openai"), &json!(true))
    );
    assert_eq!(shown["keyHint"], CANARY[CANARY.len() - 4..]);
    assert_eq!(shown["origin"], "https://api.openai.com");
    assert_eq!(made.json()["ceilingsUsed"][0]["window"], "day");
    let path = "/admin/credentials/openai-prod";
    let changed =
        instance.call("PATCH", path, json!({"upstream_key": NEXT, "policy": null}).to_string()).await;
    assert_eq!((changed.status.as_u16(), changed.header("etag")), (200, "\"2\""), "{}", changed.text);
    assert_eq!(changed.json()["credential"]["keyHint"], "6789");
    let short = store(&instance, json!({"name": "short", "upstream_key": "sk-19-characters-xy"})).await;
    assert_eq!(short.json()["credential"]["keyHint"], json!(null), "{}", short.text);
    let list = instance.get("/admin/credentials?limit=1").await.json();
    assert_eq!((&list["credentials"][0]["name"], &list["nextCursor"]), (&json!("short"), &json!("short")));
    let list = instance.get("/admin/credentials?limit=1&cursor=short").await.json();
    assert_eq!((&list["credentials"][0]["name"], &list["nextCursor"]), (&json!("openai-prod"), &json!(null)));
    let key = instance.create(&json!({"upstream": "openai-prod", "max_activations": 5})).await.json();
    let removed = instance.call("DELETE", path, "").await;
    assert!(removed.json()["credential"]["removedAt"].is_string(), "{}", removed.text);
    let shown = instance.get(path).await.json()["credential"].clone();
    assert_eq!((&shown["usable"], &shown["keyHint"]), (&json!(false), &json!(null)), "{shown}");
    let kept = instance.store.entity_fetch::<Credential>("openai-prod").await.unwrap().unwrap();
    assert_eq!(kept.is.sealed, "", "the real key is forgotten");
    let key = instance.get(&format!("/admin/keys/{}", key["key"]["id"].as_str().unwrap())).await.json();
    assert_eq!((&key["key"]["status"], &key["key"]["upstream"]), (&json!("revoked"), &json!("openai-prod")));
    instance.call("DELETE", path, "").await.assert_error(404, "not_found");
    instance.call("PATCH", path, json!({"policy": null}).to_string()).await.assert_error(404, "not_found");
    store(&instance, json!({})).await.assert_error(409, "conflict");
    let late = instance.create(&json!({"upstream": "openai-prod", "max_activations": 5})).await;
    late.assert_error(403, "not_allowed");
    // What was done is in the log, what must not be known is not.
    let log = serde_json::to_string(&instance.audit().await).unwrap();
    for action in ["credential.create", "credential.update", "credential.remove", "replaced", "key.revoke"] {
        assert!(log.contains(action), "{action}");
    }
    for answer in [&log, &made.text, &changed.text, &removed.text, &instance.get(path).await.text] {
        assert!(!answer.contains(CANARY) && !answer.contains(NEXT), "{answer}");
    }
}

#[tokio::test]
async fn rules_of_fields() {
    let instance = Instance::start().await;
    instance.call("POST", "/admin/projects", r#"{"id":"a"}"#).await;
    for (more, code, part) in [
        (json!({"name": null}), "missing_field", "`name`"),
        (json!({"name": "OpenAI"}), "invalid_field", "`name`"),
        (json!({"name": "-x"}), "invalid_field", "`name`"),
        (json!({"provider": null}), "missing_field", "`provider`"),
        (json!({"provider": "nobody"}), "unknown_provider", ""),
        (json!({"upstream_key": null}), "missing_field", "`upstream_key`"),
        (json!({"upstream_key": "short"}), "invalid_field", "`upstream_key`"),
        (json!({"upstreamKey": "sk-another-one"}), "duplicate_field", "`upstreamKey`"),
        (json!({"project": "none"}), "not_allowed", "`project`"),
        (json!({"project": "a", "projects": ["a"]}), "invalid_field", "`projects`"),
        (json!({"projects": "a"}), "invalid_field", "`projects`"),
        (json!({"projects": [CANARY]}), "invalid_field", "upstream key"),
        (json!({"policy": {"models": [CANARY]}}), "invalid_field", "upstream key"),
        (json!({"name": "abcdefgh", "upstream_key": "abcdefgh"}), "invalid_field", "upstream key"),
        (json!({"key": 1}), "unknown_field", "known are"),
    ] {
        let answer = store(&instance, more.clone()).await;
        assert_eq!(answer.json()["error"]["code"], code, "{more}: {}", answer.text);
        assert!(answer.text.contains(part) && !answer.text.contains(CANARY), "{more}: {}", answer.text);
    }
    store(&instance, json!({})).await;
    for (body, code, part) in [
        (json!({"upstream": "openai-prod"}), "missing_field", "limit"),
        (json!({"max_activations": 5}), "missing_field", "`provider`"),
        (json!({"provider": "openai", "max_activations": 5}), "missing_field", "`upstream`"),
        (
            json!({"upstream": "openai-prod", "upstream_key": CANARY, "provider": "openai", "max_activations": 5}),
            "duplicate_field",
            "send one of them",
        ),
        (
            json!({"upstream": "openai-prod", "provider": "anthropic", "max_activations": 5}),
            "invalid_field",
            "must be `openai`",
        ),
        (json!({"upstream": "none", "max_activations": 5}), "not_allowed", "`upstream`"),
        (json!({"upstream": 5, "max_activations": 5}), "invalid_field", "`upstream`"),
    ] {
        let answer = instance.create(&body).await;
        assert_eq!(answer.json()["error"]["code"], code, "{body}: {}", answer.text);
        assert!(answer.text.contains(part), "{body}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_key_names_it_and_is_made_once() {
    let instance = Instance::start().await;
    store(&instance, json!({"policy": {"key_limits": {"max_activations": 5}}})).await;
    let send = async |body: &Value| {
        let request = Request::builder().method("POST").uri("/admin/keys").header("idempotency-key", "one");
        let request = request
            .header(header::AUTHORIZATION, format!("Bearer {}", instance.token))
            .header(header::CONTENT_TYPE, "application/json");
        instance.send(request.body(Body::from(body.to_string())).unwrap()).await
    };
    let body = json!({"upstream": "openai-prod", "max_activations": 5});
    let (first, again) = (send(&body).await, send(&body).await);
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 201), "{}", again.text);
    assert_eq!(first.json()["key"]["scopedKey"], again.json()["key"]["scopedKey"]);
    store(&instance, json!({"name": "other"})).await;
    send(&json!({"upstream": "other", "max_activations": 5})).await.assert_error(409, "idempotency_mismatch");
    let key = first.json()["key"].clone();
    let told = (&key["provider"], &key["upstream"], &key["origin"]);
    assert_eq!(told, (&json!("openai"), &json!("openai-prod"), &json!("https://api.openai.com")));
    let opened =
        instance.keys.open(key["scopedKey"].as_str().unwrap()).unwrap_or_else(|error| panic!("{error}"));
    let SealedUpstream::Named(named) = opened.upstream else { panic!("it has a key of its own") };
    assert_eq!((named.credential.as_str(), named.provider.as_str()), ("openai-prod", "openai"));
    instance
        .create(&json!({"upstream": "openai-prod", "max_activations": 6}))
        .await
        .assert_error(403, "not_allowed");
    let path = format!("/admin/keys/{}/explain", key["id"].as_str().unwrap());
    let explained = instance.call("POST", &path, r#"{"method":"GET","path":"/v1/models"}"#).await.json();
    assert_eq!(explained["explanation"]["allowed"], true);
    let list = instance.get("/admin/keys?upstream=openai-prod").await.json();
    assert_eq!(list["keys"].as_array().unwrap().len(), 1);
}

/// The second one would say that a key is stored that is not.
#[tokio::test]
async fn an_idempotency_key_is_for_one_upstream_key() {
    let instance = Instance::start().await;
    let send = async |key: &str| {
        let body = json!({"name": "openai-prod", "provider": "openai", "upstream_key": key});
        let request = Request::builder().method("POST").uri("/admin/credentials");
        let request = request
            .header("idempotency-key", "one")
            .header(header::AUTHORIZATION, format!("Bearer {}", instance.token))
            .header(header::CONTENT_TYPE, "application/json");
        instance.send(request.body(Body::from(body.to_string())).unwrap()).await
    };
    assert_eq!(send(CANARY).await.status, 201);
    assert_eq!(send(CANARY).await.status, 201, "the same again");
    send(NEXT).await.assert_error(409, "idempotency_mismatch");
    let shown = instance.get("/admin/credentials/openai-prod").await.json();
    assert_eq!(shown["credential"]["keyHint"], CANARY[CANARY.len() - 4..]);
    let path = "/admin/credentials/openai-prod";
    assert_eq!(instance.call("PATCH", path, json!({"upstream_key": NEXT}).to_string()).await.status, 200);
    send(CANARY).await.assert_error(409, "idempotency_mismatch");
}

/// Puts a credential there whose key was sealed for somewhere else.
async fn store_for(instance: &Instance, name: &str, origin: &str, placement: Placement) {
    let key = Secret::new("svc-account:hunter22");
    let upstream = Upstream { key, provider: "openai".into(), origin: origin.into(), placement };
    let Ok(sealed) = instance.keys.seal_credential(name, &upstream) else { panic!("it is short") };
    let is = Credential {
        provider: "openai".into(),
        sealed: Credential::text_of(&sealed),
        project: None,
        projects: None,
        policy: Default::default(),
    };
    let put = Put { id: name.into(), version: None, is, lookups: None, ends: false };
    let actor = till_core::audit::Actor::system();
    instance.store.entity_put(put, "credential.create", json!({}), &actor).await.unwrap();
}

#[tokio::test]
async fn is_minted_from_only_for_where_it_was_stored_for() {
    let instance = Instance::start().await;
    let bearer = || Placement::Header { name: "authorization".into(), template: "Bearer {key}".into() };
    store_for(&instance, "here", "https://api.openai.com", bearer()).await;
    store_for(&instance, "elsewhere", "http://10.0.0.5:8080", bearer()).await;
    let mint = async |name: &str| instance.create(&json!({"upstream": name, "max_activations": 5})).await;
    assert_eq!(mint("here").await.status, 201);
    let refused = mint("elsewhere").await.assert_error(403, "not_allowed");
    assert!(
        refused.contains("was stored for http://10.0.0.5:8080") && refused.contains("accept-sealed"),
        "{refused}"
    );
    let path = "/admin/credentials/elsewhere";
    let shown = instance.get(path).await.json()["credential"].clone();
    assert_eq!((&shown["usable"], &shown["origin"]), (&json!(false), &json!("http://10.0.0.5:8080")));
    let changed = instance.call("PATCH", path, json!({"upstream_key": NEXT}).to_string()).await.json();
    let changed = &changed["credential"];
    assert_eq!((&changed["usable"], &changed["origin"]), (&json!(true), &json!("https://api.openai.com")));
    assert_eq!(mint("elsewhere").await.status, 201);
}

#[tokio::test]
async fn nothing_is_shown_of_a_password() {
    let instance = Instance::start().await;
    store_for(&instance, "basic", "https://api.openai.com", Placement::Basic).await;
    let shown = instance.get("/admin/credentials/basic").await;
    assert_eq!(shown.json()["credential"]["keyHint"], json!(null), "{}", shown.text);
}

#[tokio::test]
async fn who_is_bound_sees_what_may_be_minted_from() {
    let instance = Instance::start().await;
    for project in ["a", "b"] {
        instance.call("POST", "/admin/projects", json!({"id": project}).to_string()).await;
    }
    for more in [
        json!({"name": "all"}),
        json!({"name": "some", "projects": ["a", "b"]}),
        json!({"name": "own", "project": "a"}),
        json!({"name": "foreign", "project": "b"}),
        json!({"name": "not-for-a", "projects": ["b"]}),
    ] {
        assert_eq!(store(&instance, more.clone()).await.status, 201, "{more}");
    }
    let admin = bound(&instance, 40, Role::Admin, "a").await;
    let minter = bound(&instance, 41, Role::Minter, "a").await;
    let list = call(&instance, &minter, "GET", "/admin/credentials", Value::Null).await;
    let names = |list: &Value| {
        let all = list["credentials"].as_array().unwrap().iter();
        all.map(|one| one["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&list.json()), ["own", "some", "all"]);
    assert!(!list.text.contains("\"b\""), "{}", list.text);
    let hints: Vec<bool> =
        list.json()["credentials"].as_array().unwrap().iter().map(|one| one["keyHint"].is_string()).collect();
    assert_eq!(hints, [true, false, false]);
    let page = call(&instance, &minter, "GET", "/admin/credentials?limit=2", Value::Null).await.json();
    assert_eq!((names(&page), &page["nextCursor"]), (vec!["own".into(), "some".into()], &json!("some")));
    let page = call(&instance, &minter, "GET", "/admin/credentials?cursor=some", Value::Null).await.json();
    assert_eq!(names(&page), ["all"]);
    let mut answers = Vec::new();
    for cursor in ["not-for-a", "foreign", "nothing"] {
        let path = format!("/admin/credentials?cursor={cursor}");
        answers.push(call(&instance, &minter, "GET", &path, Value::Null).await.text);
    }
    assert!(answers.iter().all(|answer| *answer == answers[2]), "{answers:?}");
    for name in ["foreign", "not-for-a"] {
        for (method, body) in
            [("GET", Value::Null), ("PATCH", json!({"policy": null})), ("DELETE", Value::Null)]
        {
            let path = |name: &str| format!("/admin/credentials/{name}");
            let answer = call(&instance, &admin, method, &path(name), body.clone()).await;
            answer.assert_error(404, "not_found");
            let nowhere = call(&instance, &admin, method, &path("nothing"), body).await;
            assert_eq!(answer.text, nowhere.text, "{method} {name}");
        }
        let wanted = |name: &str| json!({"upstream": name, "max_activations": 5});
        let answer = call(&instance, &minter, "POST", "/admin/keys", wanted(name)).await;
        answer.assert_error(403, "not_allowed");
        let nowhere = call(&instance, &minter, "POST", "/admin/keys", wanted("nothing")).await;
        assert_eq!(answer.text, nowhere.text);
    }
    for name in ["all", "some"] {
        let path = format!("/admin/credentials/{name}");
        assert_eq!(call(&instance, &admin, "GET", &path, Value::Null).await.status, 200);
        for (method, body) in [("PATCH", json!({"upstream_key": NEXT})), ("DELETE", Value::Null)] {
            call(&instance, &admin, method, &path, body).await.assert_error(403, "forbidden");
        }
    }
    for name in ["own", "all", "some"] {
        let made =
            call(&instance, &minter, "POST", "/admin/keys", json!({"upstream": name, "max_activations": 5}))
                .await;
        assert_eq!(
            (made.status.as_u16(), &made.json()["key"]["tenantId"]),
            (201, &json!("a")),
            "{}",
            made.text
        );
    }
    // What they store is their project's.
    let body = json!({"name": "mine", "provider": "openai", "upstream_key": CANARY});
    let mine = call(&instance, &admin, "POST", "/admin/credentials", body.clone()).await.json();
    assert_eq!(mine["credential"]["project"], "a");
    let mut elsewhere = body;
    elsewhere["project"] = json!("b");
    call(&instance, &admin, "POST", "/admin/credentials", elsewhere).await.assert_error(403, "not_allowed");
    let rotated =
        call(&instance, &admin, "PATCH", "/admin/credentials/mine", json!({"upstream_key": NEXT})).await;
    assert_eq!(rotated.json()["credential"]["version"], 2, "{}", rotated.text);
}

#[tokio::test]
async fn master_keys_come_and_go() {
    let instance = Instance::start().await;
    store(&instance, json!({})).await;
    let before = instance.get("/admin/master-keys").await.json()["masterKeys"][0]["id"].clone();
    let rotated = instance.call("POST", "/admin/master-keys/rotate", "").await;
    assert_eq!(rotated.status, 200, "{}", rotated.text);
    let shown = instance.get("/admin/credentials/openai-prod").await.json();
    assert_eq!((&shown["credential"]["version"], &shown["credential"]["usable"]), (&json!(2), &json!(true)));
    let path = format!("/admin/master-keys/{}/retire", before.as_str().unwrap());
    assert_eq!(instance.call("POST", &path, "").await.status, 200);
    let shown = instance.get("/admin/credentials/openai-prod").await.json();
    assert_eq!(shown["credential"]["usable"], true);
    assert_eq!(shown["credential"]["keyHint"], CANARY[CANARY.len() - 4..]);
    let log = serde_json::to_string(&instance.audit().await).unwrap();
    assert!(log.contains("credential.reseal"), "{log}");
}
