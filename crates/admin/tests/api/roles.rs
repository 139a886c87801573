//! Every operation with every role, and everything of one project from another.

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use till_core::limit::Units;
use till_core::role::Role;
use till_core::token::mint_admin_token;

use crate::claim::Link;
use crate::harness::{Answer, CANARY, Instance, put_token};

/// Answers with these are no answers of a handler that was let in.
const REFUSED: u16 = 403;

async fn call(instance: &Instance, token: &str, method: &str, path: &str, body: &str) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .header(header::CONTENT_TYPE, "application/json");
    instance.send(request.body(Body::from(body.to_owned())).unwrap()).await
}

fn token_text(n: u8) -> String {
    mint_admin_token([n; 32]).reveal_str().unwrap().to_owned()
}

/// Method, path and permission of every operation that needs a token, from the document.
fn operations() -> Vec<(String, String, String)> {
    let document: Value = serde_json::from_str(&till_admin::openapi_text()).unwrap();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if let Some(permission) = operation["x-till-permission"].as_str() {
                found.push((method.to_uppercase(), path.clone(), permission.to_owned()));
            }
        }
    }
    found
}

/// Whether the documented table gives a permission to a role.
fn table_says(permission: &str, role: Role, bound: bool) -> bool {
    let table = till_admin::permission_table();
    let line = table.lines().find(|line| line.starts_with(&format!("| `{permission}` |"))).expect(permission);
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let place = Role::ALL.iter().position(|one| *one == role).unwrap();
    cells[2 + place] == "yes" && (!bound || cells[7] == "yes")
}

#[tokio::test]
async fn every_operation_is_open_to_the_roles_of_the_table_and_no_others() {
    // What an allowed call does must not spoil the next: each role has an instance of its own.
    let operations = operations();
    assert!(operations.len() > 20, "{operations:?}");
    for role in Role::ALL {
        for bound in [false, true] {
            // Not on loopback, where pages are open.
            let instance = Instance::start_in(tempfile::tempdir().unwrap(), false).await;
            instance.call("POST", "/admin/projects", r#"{"id":"a"}"#).await;
            let token = token_text(20);
            put_token(&instance.store, "tok_x", &token, role, bound.then_some("a")).await;
            for (method, path, permission) in &operations {
                // Ids that do not exist: whoever is let in gets 400 or 404.
                let path = path
                    .replace("{id}", "key_0000000000000000000000")
                    .replace("{seq}", "999999")
                    .replace("{name}", "nothing");
                let answer = call(&instance, &token, method, &path, "{}").await;
                let may = table_says(permission, role, bound);
                assert_eq!(
                    answer.status != REFUSED,
                    may,
                    "{method} {path} as {role}, bound: {bound}: {} {}",
                    answer.status,
                    answer.text
                );
            }
        }
    }
}

/// Two projects with one thing of each kind.
async fn two_projects() -> (Instance, [Value; 2]) {
    let instance = Instance::start().await;
    let mut made = Vec::new();
    for (n, project) in [(30, "a"), (31, "b")] {
        assert_eq!(
            instance.call("POST", "/admin/projects", json!({"id": project}).to_string()).await.status,
            201
        );
        let admin = token_text(n);
        put_token(&instance.store, &format!("tok_{project}"), &admin, Role::Admin, Some(project)).await;
        let body =
            json!({"provider": "openai", "upstream_key": CANARY, "max_activations": 5, "project": project});
        let key = instance.create(&body).await;
        assert_eq!(key.status, 201, "{}", key.text);
        let stored = json!({"name": format!("cred-{project}"), "provider": "openai", "upstream_key": CANARY, "project": project});
        assert_eq!(instance.call("POST", "/admin/credentials", stored.to_string()).await.status, 201);
        let body = json!({"login": format!("one-of-{project}"), "role": "viewer", "project": project});
        let member =
            instance.call("POST", "/admin/members", body.to_string()).await.json()["member"]["id"].clone();
        made.push(json!({"project": project, "member": member, "admin": admin, "token": format!("tok_{project}"), "key": key.json()["key"]["id"]}));
    }
    (instance, made.try_into().unwrap())
}

#[tokio::test]
async fn nothing_of_another_project_is_there() {
    let (instance, [own, foreign]) = two_projects().await;
    let admin = own["admin"].as_str().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (key, token, member) = (text(&foreign["key"]), text(&foreign["token"]), text(&foreign["member"]));
    let before = instance.get(&format!("/admin/keys/{key}")).await.text;
    for (method, path, body) in [
        ("GET", format!("/admin/keys/{key}"), ""),
        ("PATCH", format!("/admin/keys/{key}"), r#"{"max_activations":9}"#),
        ("DELETE", format!("/admin/keys/{key}"), ""),
        ("POST", format!("/admin/keys/{key}/explain"), r#"{"method":"GET","path":"/v1/models"}"#),
        ("GET", "/admin/projects/b".to_owned(), ""),
        ("GET", format!("/admin/tokens/{token}"), ""),
        ("PATCH", format!("/admin/tokens/{token}"), r#"{"name":"mine"}"#),
        ("POST", format!("/admin/tokens/{token}/rotate"), "{}"),
        ("DELETE", format!("/admin/tokens/{token}"), ""),
        ("GET", "/admin/credentials/cred-b".to_owned(), ""),
        ("PATCH", "/admin/credentials/cred-b".to_owned(), r#"{"upstream_key":"sk-another-one-of-mine"}"#),
        ("DELETE", "/admin/credentials/cred-b".to_owned(), ""),
        ("GET", format!("/admin/members/{member}"), ""),
        ("PATCH", format!("/admin/members/{member}"), r#"{"name":"mine"}"#),
        ("DELETE", format!("/admin/members/{member}"), ""),
        ("GET", "/admin/tokens/owner".to_owned(), ""),
        ("DELETE", "/admin/tokens/owner".to_owned(), ""),
    ] {
        let answer = call(&instance, admin, method, &path, body).await;
        answer.assert_error(404, "not_found");
        // Word for word what something gets that does not exist.
        let nowhere = path
            .replace(&key, "key_0000000000000000000000")
            .replace(&token, "tok_none")
            .replace(&member, "mem_none")
            .replace("/b", "/none")
            .replace("cred-b", "none")
            .replace("owner", "none");
        assert_eq!(call(&instance, admin, method, &nowhere, body).await.text, answer.text, "{method} {path}");
    }
    for path in [
        "/admin/keys",
        "/admin/tokens",
        "/admin/projects",
        "/admin/credentials",
        "/admin/members",
        "/admin/usage",
        "/admin/keys?project=b",
        "/admin/usage/summary?project=b",
    ] {
        let answer = call(&instance, admin, "GET", path, "").await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert!(
            ![&key, &token, &member].into_iter().any(|id| answer.text.contains(id.as_str()))
                && !answer.text.contains("cred-b"),
            "{path}: {}",
            answer.text
        );
    }
    // A cursor says nothing about what is not theirs.
    for (path, id, none) in [
        ("/admin/keys?limit=5", &key, "key_0000000000000000000000"),
        ("/admin/tokens?limit=5", &token, "tok_none"),
        ("/admin/members?limit=5", &member, "mem_none"),
    ] {
        let page =
            async |cursor: &str| call(&instance, admin, "GET", &format!("{path}&cursor={cursor}"), "").await;
        assert_eq!(page(id).await.text, page(none).await.text, "{path}");
    }
    // Of the audit log what is about their project, and of the others not even that there is something.
    let log = call(&instance, admin, "GET", "/admin/audit?limit=1000", "").await;
    let entries = log.json()["entries"].as_array().unwrap().clone();
    let about: Vec<&str> = entries.iter().map(|entry| entry["target"].as_str().unwrap()).collect();
    assert!(about.contains(&"a") && about.contains(&own["key"].as_str().unwrap()), "{about:?}");
    assert!(![&key, &token, &member].into_iter().any(|id| log.text.contains(id.as_str())), "{}", log.text);
    for (entry, project) in [(entries[0]["seq"].as_u64().unwrap(), true), (1, false)] {
        let shown = call(&instance, admin, "GET", &format!("/admin/audit/{entry}"), "").await;
        assert_eq!(shown.status == 200, project, "{entry}: {}", shown.text);
    }
    let other = call(&instance, admin, "GET", "/admin/audit?project=b", "").await.json();
    assert_eq!(other["entries"], json!([]));
    let account = call(&instance, admin, "GET", "/admin/account", "").await.json();
    assert_eq!(
        (&account["account"]["scope"], &account["account"]["tenant"]["id"]),
        (&json!("tenant"), &json!("a"))
    );
    assert_eq!(account["account"]["keysUsed"], 1);
    // Nothing can be put there either.
    let body = json!({"provider": "openai", "upstream_key": CANARY, "max_activations": 5, "project": "b"});
    let refused = call(&instance, admin, "POST", "/admin/keys", &body.to_string()).await;
    refused.assert_error(403, "not_allowed");
    let unknown =
        call(&instance, admin, "POST", "/admin/keys", &body.to_string().replace("\"b\"", "\"none\"")).await;
    assert_eq!(unknown.text, refused.text, "a project that is not theirs is as one that does not exist");
    let body = json!({"name": "x", "role": "viewer", "project": "b"});
    call(&instance, admin, "POST", "/admin/tokens", &body.to_string()).await.assert_error(403, "not_allowed");
    // A revocation of everything reaches what is theirs.
    let all = call(&instance, admin, "POST", "/admin/keys/revoke", r#"{"provider":"openai"}"#).await.json();
    assert_eq!(all["ids"], json!([own["key"]]));
    assert_eq!(instance.get(&format!("/admin/keys/{key}")).await.text, before);
}

/// Each thing that can be done in a project is there for its auditors, also where it was done by somebody else.
#[tokio::test]
async fn what_is_done_in_a_project_is_seen_by_those_who_read_its_log() {
    let (instance, [own, _]) = two_projects().await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (member, key) = (text(&own["member"]), text(&own["key"]));
    for (method, path, body) in [
        ("PATCH", "/admin/tokens/tok_a".to_owned(), json!({"name": "renamed"})),
        (
            "PATCH",
            "/admin/credentials/cred-a".to_owned(),
            json!({"upstream_key": "sk-another-one-of-theirs"}),
        ),
        ("PATCH", format!("/admin/members/{member}"), json!({"role": "auditor"})),
        ("PATCH", format!("/admin/keys/{key}"), json!({"max_activations": 9})),
        ("PATCH", "/admin/projects/a".to_owned(), json!({"name": "A"})),
        ("DELETE", format!("/admin/keys/{key}"), Value::Null),
        ("DELETE", format!("/admin/members/{member}"), Value::Null),
        ("DELETE", "/admin/credentials/cred-a".to_owned(), Value::Null),
    ] {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = instance.call(method, &path, body).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text);
    }
    let body = json!({"provider": "openai", "upstream_key": CANARY, "max_activations": 5, "project": "a",
        "claim_ttl_seconds": 60, "name": "nightly crawler"});
    let waiting = instance.create(&body).await.json()["key"].clone();
    assert_eq!(Link::of(&waiting).claim(&instance).await.status, 200);
    let log =
        call(&instance, own["admin"].as_str().unwrap(), "GET", "/admin/audit?limit=1000", "").await.json();
    let entries = log["entries"].as_array().unwrap();
    let mut actions: Vec<&str> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    actions.sort_unstable();
    actions.dedup();
    let expected = [
        "credential.create",
        "credential.remove",
        "credential.update",
        "key.claim",
        "key.create",
        "key.revoke",
        "key.update",
        "member.create",
        "member.remove",
        "member.update",
        "project.create",
        "project.update",
        "token.create",
        "token.update",
    ];
    assert_eq!(actions, expected);
    let made = entries.iter().rev().find(|entry| entry["action"] == "key.create").unwrap();
    assert!(made["detail"].as_str().unwrap().contains("nightly crawler"), "{made}");
}

#[tokio::test]
async fn nobody_gets_above_their_own_role() {
    let instance = Instance::start().await;
    let admin = token_text(20);
    put_token(&instance.store, "tok_admin", &admin, Role::Admin, None).await;
    let make = |role: &str| json!({"name": "x", "role": role}).to_string();
    call(&instance, &admin, "POST", "/admin/tokens", &make("owner")).await.assert_error(403, "forbidden");
    let made = call(&instance, &admin, "POST", "/admin/tokens", &make("admin")).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let id = made.json()["token"]["id"].as_str().unwrap().to_owned();
    let change = |role: &str| json!({"role": role}).to_string();
    let path = format!("/admin/tokens/{id}");
    call(&instance, &admin, "PATCH", &path, &change("owner")).await.assert_error(403, "forbidden");
    for (method, path) in [
        ("PATCH", "/admin/tokens/owner"),
        ("POST", "/admin/tokens/owner/rotate"),
        ("DELETE", "/admin/tokens/owner"),
    ] {
        call(&instance, &admin, method, path, "{}").await.assert_error(403, "forbidden");
    }
    // Not even the owner takes the last one away.
    instance.call("DELETE", "/admin/tokens/owner", "").await.assert_error(400, "invalid_id");
    instance.call("PATCH", "/admin/tokens/owner", change("viewer")).await.assert_error(400, "invalid_field");
}

#[tokio::test]
async fn nobody_frees_themselves_of_their_bounds() {
    let instance = Instance::start().await;
    let made = async |body: Value| {
        let answer = instance.call("POST", "/admin/tokens", body.to_string()).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        let id = answer.json()["token"]["id"].as_str().unwrap().to_owned();
        (format!("/admin/tokens/{id}"), answer.json()["adminToken"].as_str().unwrap().to_owned())
    };
    let in_an_hour = instance.store.now().0 + 3_600_000;
    let at = |ms: u64| till_admin::rfc3339(till_core::time::Timestamp(ms));
    let (end, networks) = (at(in_an_hour), ["127.0.0.0/8", "10.0.0.0/8"]);
    let bounds = json!({"name": "x", "role": "admin", "networks": networks, "expires_at": end,
                        "policy": {"max_live_keys": 1}});
    let (own_path, own) = made(bounds).await;
    let (other_path, _) = made(json!({"name": "free", "role": "viewer"})).await;
    let (near_path, _) =
        made(json!({"name": "near", "role": "viewer", "networks": ["10.0.0.0/8"], "ttl_seconds": 60})).await;
    let ask = async |method: &str, path: &str, body: Value| {
        call(&instance, &own, method, path, &body.to_string()).await
    };
    let refused = async |method: &str, path: &str, body: Value, part: &str| {
        let answer = ask(method, path, body.clone()).await;
        assert!(answer.assert_error(403, "not_allowed").contains(part), "{body}: {}", answer.text);
    };
    let done = async |method: &str, path: &str, body: Value| {
        let answer = ask(method, path, body.clone()).await;
        assert!(answer.status.is_success(), "{method} {path} {body}: {}", answer.text);
        answer
    };
    // Its own bounds stay, but for its name.
    for body in [
        json!({"expires_at": null}),
        json!({"networks": null}),
        json!({"policy": null}),
        json!({"role": "admin"}),
    ] {
        refused("PATCH", &own_path, body, "the admin token that they act by").await;
    }
    done("PATCH", &own_path, json!({"name": "y"})).await;
    // What it makes has them too.
    let new = |extra: Value| {
        let mut body = json!({"name": "z", "role": "viewer", "networks": ["10.1.0.0/16"], "expires_at": end});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body
    };
    for (extra, part) in [
        (json!({"expires_at": null}), "`expires_at`"),
        (json!({"expires_at": at(in_an_hour + 1)}), "`expires_at`"),
        (json!({"networks": null}), "`networks`"),
        (json!({"networks": ["10.0.0.0/8", "192.0.2.0/24"]}), "`networks`"),
        (json!({"networks": ["10.0.0.0/7"]}), "`networks`"),
        (json!({"networks": ["::/0"]}), "`networks`"),
    ] {
        refused("POST", "/admin/tokens", new(extra), part).await;
    }
    let child = done("POST", "/admin/tokens", new(json!({"networks": networks}))).await.json();
    let child = format!("/admin/tokens/{}", child["token"]["id"].as_str().unwrap());
    // What others made can't be taken over, and gets no more than it has itself.
    refused("POST", &format!("{other_path}/rotate"), json!({}), "`expires_at`").await;
    refused("PATCH", &other_path, json!({"role": "admin"}), "`expires_at`").await;
    refused("PATCH", &near_path, json!({"networks": null}), "`networks`").await;
    refused("PATCH", &child, json!({"expires_at": null}), "`expires_at`").await;
    done("PATCH", &near_path, json!({"role": "minter", "expires_at": end})).await;
    done("POST", &format!("{near_path}/rotate"), json!({})).await;
    done("PATCH", &other_path, json!({"name": "still free", "policy": {"max_live_keys": 3}})).await;
    done("DELETE", &other_path, json!({})).await;
    // Nor by a member, who has no such bounds.
    let password = "correct horse battery staple";
    let ada = json!({"login": "ada", "role": "viewer"});
    let ada = done("POST", "/admin/members", ada).await.json()["member"]["id"].clone();
    let ada_path = format!("/admin/members/{}", ada.as_str().unwrap());
    let bob = json!({"login": "bob", "role": "viewer", "password": password});
    refused("POST", "/admin/members", bob, "`password`").await;
    refused("PATCH", &ada_path, json!({"password": password}), "`password`").await;
    refused("PATCH", &ada_path, json!({"role": "admin"}), "`role`").await;
    done("PATCH", &ada_path, json!({"password": null, "role": "viewer"})).await;
    refused("POST", "/admin/tokens", json!({"name": "z", "role": "viewer", "member": ada}), "`expires_at`")
        .await;
    // The same for who signed in by it; and it may end itself.
    let body = json!({"admin_token": own}).to_string();
    let signed_in = instance.call("POST", "/admin/login", body).await;
    let cookie = signed_in.header("set-cookie").split(';').next().unwrap().to_owned();
    let word = signed_in.json()["csrfToken"].as_str().unwrap().to_owned();
    let request = Request::builder().method("POST").uri("/admin/tokens");
    let request = request
        .header(header::COOKIE, cookie)
        .header("x-till-csrf", word)
        .header(header::CONTENT_TYPE, "application/json");
    let body = json!({"name": "z", "role": "viewer"}).to_string();
    instance.send(request.body(Body::from(body)).unwrap()).await.assert_error(403, "not_allowed");
    done("DELETE", &own_path, json!({})).await;
    // Whoever has the first owner's token may: there may be nobody else.
    for body in
        [json!({"networks": ["127.0.0.0/8"], "policy": {"max_live_keys": 1}}), json!({"networks": null})]
    {
        assert_eq!(instance.call("PATCH", "/admin/tokens/owner", body.to_string()).await.status, 200);
    }
}

#[tokio::test]
async fn members_change_of_themselves_what_others_need_not_decide() {
    let instance = Instance::start().await;
    let password = "correct horse battery staple";
    let body = json!({"login": "ada", "role": "owner", "password": password, "policy": {"max_live_keys": 1}});
    let id = instance.call("POST", "/admin/members", body.to_string()).await.json()["member"]["id"].clone();
    let path = format!("/admin/members/{}", id.as_str().unwrap());
    let token = json!({"name": "of ada", "role": "owner", "member": id}).to_string();
    let token = instance.call("POST", "/admin/tokens", token).await.json();
    let bearer = format!("Bearer {}", token["adminToken"].as_str().unwrap());
    let body = json!({"login": "ada", "password": password}).to_string();
    let signed_in = instance.call("POST", "/admin/login", body).await;
    let cookie = signed_in.header("set-cookie").split(';').next().unwrap().to_owned();
    let word = signed_in.json()["csrfToken"].as_str().unwrap().to_owned();
    let session = [("cookie", cookie.as_str()), ("x-till-csrf", word.as_str())];
    let by_token = [("authorization", bearer.as_str())];
    let patch = async |headers: &[(&str, &str)], body: &Value| {
        let mut request = Request::builder().method("PATCH").uri(&path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.header(header::CONTENT_TYPE, "application/json");
        instance.send(request.body(Body::from(body.to_string())).unwrap()).await
    };
    for headers in [&session[..], &by_token] {
        for body in [
            json!({"policy": null}),
            json!({"role": "admin"}),
            json!({"password": "another horse battery staple"}),
            json!({"password": null}),
        ] {
            let message = patch(headers, &body).await.assert_error(403, "not_allowed");
            assert!(message.contains("/admin/self/password"), "{message}");
        }
        assert_eq!(patch(headers, &json!({"name": "Ada"})).await.status, 200);
    }
    // Somebody else does it.
    let body = json!({"policy": null, "password": null}).to_string();
    assert_eq!(instance.call("PATCH", &path, body).await.status, 200);
}

/// Who reads the log of a project finds everything that was done in it.
#[tokio::test]
async fn a_project_has_its_own_entries_of_every_kind() {
    let (instance, [own, _]) = two_projects().await;
    let auditor = token_text(40);
    put_token(&instance.store, "tok_auditor", &auditor, Role::Auditor, Some("a")).await;
    let (key, member) = (own["key"].as_str().unwrap(), own["member"].as_str().unwrap());
    let password = "correct horse battery staple";
    let body = json!({"name": "t", "role": "viewer", "project": "a"}).to_string();
    let token = instance.call("POST", "/admin/tokens", body).await.json()["token"]["id"].clone();
    let token = format!("/admin/tokens/{}", token.as_str().unwrap());
    let member = format!("/admin/members/{member}");
    let signing_in = |password: &str| json!({"login": "one-of-a", "password": password}).to_string();
    for (method, path, body) in [
        ("PATCH", format!("/admin/keys/{key}"), r#"{"name":"n"}"#.to_owned()),
        ("PATCH", member.clone(), json!({"password": password}).to_string()),
        ("POST", "/admin/login".to_owned(), signing_in(password)),
        ("POST", "/admin/login".to_owned(), signing_in("a wrong password")),
        ("POST", format!("{token}/rotate"), "{}".to_owned()),
        ("PATCH", "/admin/credentials/cred-a".to_owned(), r#"{"upstream_key":"sk-another-one"}"#.to_owned()),
        ("PATCH", "/admin/projects/a".to_owned(), r#"{"name":"A"}"#.to_owned()),
        ("DELETE", token.clone(), String::new()),
        ("DELETE", member.clone(), String::new()),
        ("DELETE", format!("/admin/keys/{key}"), String::new()),
        ("DELETE", "/admin/credentials/cred-a".to_owned(), String::new()),
    ] {
        let answer = instance.call(method, &path, body).await;
        assert!(answer.status.is_success() || answer.status == 401, "{method} {path}: {}", answer.text);
    }
    let expected = [
        "project.create",
        "project.update",
        "key.create",
        "key.update",
        "key.revoke",
        "credential.create",
        "credential.update",
        "credential.remove",
        "member.create",
        "member.update",
        "member.remove",
        "token.create",
        "token.rotate",
        "token.revoke",
        "session.create",
        "login.refuse",
    ];
    // Nobody waits for the entry of a refused login.
    let seen = async || {
        let log = call(&instance, &auditor, "GET", "/admin/audit?limit=1000", "").await.json();
        let entries = log["entries"].as_array().unwrap().clone();
        entries.iter().map(|entry| entry["action"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let mut found = seen().await;
    while !found.iter().any(|action| action == "login.refuse") {
        found = seen().await;
    }
    for action in expected {
        assert!(found.iter().any(|one| one == action), "{action} is not in {found:?}");
    }
}

#[tokio::test]
async fn a_minter_changes_what_it_made_and_no_more() {
    let instance = Instance::start().await;
    let minter = token_text(20);
    put_token(&instance.store, "tok_minter", &minter, Role::Minter, None).await;
    let body = json!({"provider": "openai", "upstream_key": CANARY, "max_activations": 5});
    let own = call(&instance, &minter, "POST", "/admin/keys", &body.to_string()).await.json()["key"].clone();
    assert_eq!(own["createdBy"], "tok_minter");
    let other = instance.minted(5).await;
    let path = |key: &Value| format!("/admin/keys/{}", key["id"].as_str().unwrap());
    assert_eq!(call(&instance, &minter, "GET", &path(&other), "").await.status, 200);
    call(&instance, &minter, "PATCH", &path(&other), r#"{"paused":true}"#)
        .await
        .assert_error(403, "forbidden");
    call(&instance, &minter, "DELETE", &path(&other), "").await.assert_error(403, "forbidden");
    let all = call(&instance, &minter, "POST", "/admin/keys/revoke", r#"{"provider":"openai"}"#).await.json();
    assert_eq!(all["ids"], json!([own["id"]]));
    assert_eq!(instance.get(&path(&other)).await.json()["key"]["status"], "active");
}

#[tokio::test]
async fn what_is_used_of_the_ceilings_of_a_token_is_shown() {
    let instance = Instance::start().await;
    let rules = json!({"ceilings": {"lifetime": {"max_activations": 3}}});
    let body = json!({"name": "ci", "role": "minter", "policy": rules});
    let made = instance.call("POST", "/admin/tokens", body.to_string()).await.json();
    let key =
        json!({"provider": "openai", "upstream_key": "sk-proj-some-key-of-somebody", "max_activations": 9});
    let text = made["adminToken"].as_str().unwrap();
    let key = call(&instance, text, "POST", "/admin/keys", &key.to_string()).await.json();
    let id = key["key"]["id"].as_str().unwrap().parse().unwrap();
    let used = Units::ONE_ACTIVATION;
    instance.store.hold_exactly(id, used).await.unwrap().settle(used);
    let path = format!("/admin/tokens/{}", made["token"]["id"].as_str().unwrap());
    let shown = instance.get(&path).await.json();
    let changed = instance.call("PATCH", &path, r#"{"name":"other"}"#).await.json();
    for answer in [shown, changed] {
        assert_eq!(answer["ceilingsUsed"][0]["window"], "lifetime", "{answer}");
        assert_eq!(answer["ceilingsUsed"][0]["usedActivations"], 1, "{answer}");
    }
}

#[tokio::test]
async fn admin_tokens_have_bounds() {
    let instance = Instance::start().await;
    let make = async |body: Value| instance.call("POST", "/admin/tokens", body.to_string()).await;
    for (body, code, part) in [
        (json!({"role": "viewer"}), "missing_field", "`name`"),
        (json!({"name": "x"}), "missing_field", "`role`"),
        (json!({"name": "x", "role": "root"}), "invalid_field", "`role`"),
        (json!({"name": "", "role": "viewer"}), "invalid_field", "`name`"),
        (json!({"name": "x", "role": "viewer", "networks": ["10.0.0.1/8"]}), "invalid_field", "`networks`"),
        (json!({"name": "x", "role": "viewer", "member": "mem_none"}), "invalid_field", "`member`"),
        (json!({"name": "x", "role": "viewer", "project": "none"}), "not_allowed", "`project`"),
        (
            json!({"name": "x", "role": "viewer", "expires_at": "2020-01-01T00:00:00Z"}),
            "invalid_field",
            "`expires_at`",
        ),
        (json!({"name": "x", "role": "viewer", "ttl_seconds": 0}), "invalid_field", "`ttl_seconds`"),
        (json!({"name": "x", "role": "viewer", "till": 1}), "unknown_field", "known are"),
        (json!({"name": "x", "role": "viewer", "policy": {"ceiling": {}}}), "unknown_field", "`policy`"),
    ] {
        let answer = make(body.clone()).await;
        assert_eq!(answer.json()["error"]["code"], code, "{body}: {}", answer.text);
        assert!(answer.text.contains(part), "{body}: {}", answer.text);
    }
    let elsewhere = make(json!({"name": "x", "role": "viewer", "networks": ["192.0.2.0/24"]})).await.json();
    let text = elsewhere["adminToken"].as_str().unwrap();
    call(&instance, text, "GET", "/admin/keys", "").await.assert_error(403, "forbidden");
    let here = make(json!({"name": "x", "role": "viewer", "networks": ["127.0.0.0/8"]})).await.json();
    let text = here["adminToken"].as_str().unwrap().to_owned();
    assert_eq!(call(&instance, &text, "GET", "/admin/keys", "").await.status, 200);
    let who = call(&instance, &text, "GET", "/admin/self", "").await.json();
    assert_eq!((&who["self"]["role"], &who["self"]["id"]), (&json!("viewer"), &here["token"]["id"]));
    // Rotation: the old text goes on for a while, if somebody says so.
    let path = format!("/admin/tokens/{}", here["token"]["id"].as_str().unwrap());
    let with_overlap =
        instance.call("POST", &format!("{path}/rotate"), r#"{"overlap_seconds":3600}"#).await.json();
    let second = with_overlap["adminToken"].as_str().unwrap().to_owned();
    for text in [&text, &second] {
        assert_eq!(call(&instance, text, "GET", "/admin/keys", "").await.status, 200);
    }
    let at_once = instance.call("POST", &format!("{path}/rotate"), "{}").await.json();
    let third = at_once["adminToken"].as_str().unwrap().to_owned();
    for text in [&text, &second] {
        call(&instance, text, "GET", "/admin/keys", "").await.assert_error(401, "unauthorized");
    }
    assert_eq!(call(&instance, &third, "GET", "/admin/keys", "").await.status, 200);
    let shown = instance.get(&path).await;
    assert!(shown.json()["token"]["lastUsedAt"].is_string(), "{}", shown.text);
    assert!(!shown.text.contains("till_admin_"), "{}", shown.text);
    assert_eq!(instance.call("DELETE", &path, "").await.status, 200);
    call(&instance, &third, "GET", "/admin/keys", "").await.assert_error(401, "unauthorized");
    instance.call("DELETE", &path, "").await.assert_error(404, "not_found");
    let log = serde_json::to_string(&instance.audit().await).unwrap();
    for text in [&text, &second, &third] {
        assert!(!log.contains(text.as_str()), "a token is in the audit log");
    }
    for action in ["token.create", "token.rotate", "token.revoke"] {
        assert!(log.contains(action), "{action}");
    }
}

#[tokio::test]
async fn changes_that_cross_are_noticed() {
    let instance = Instance::start().await;
    let made = instance
        .call("POST", "/admin/projects", r#"{"id":"a","policy":{"ceilings":{"day":{"max_spend_usd":"5"}}}}"#)
        .await;
    assert_eq!((made.status.as_u16(), made.headers["etag"].to_str().unwrap()), (201, "\"1\""));
    assert_eq!(made.json()["project"]["policy"]["ceilings"]["day"]["maxSpendUsd"], "5.00");
    assert_eq!(made.json()["ceilingsUsed"][0]["window"], "day");
    instance.call("POST", "/admin/projects", r#"{"id":"a"}"#).await.assert_error(409, "conflict");
    let patch = async |etag: Option<&str>, name: &str| {
        let request = Request::builder().method("PATCH").uri("/admin/projects/a");
        let request = request
            .header(header::AUTHORIZATION, format!("Bearer {}", instance.token))
            .header(header::CONTENT_TYPE, "application/json");
        let request = match etag {
            None => request,
            Some(etag) => request.header(header::IF_MATCH, etag),
        };
        instance.send(request.body(Body::from(json!({"name": name}).to_string())).unwrap()).await
    };
    assert_eq!(patch(Some("\"1\""), "one").await.headers["etag"], "\"2\"");
    patch(Some("\"1\""), "two").await.assert_error(412, "changed");
    patch(Some("1"), "two").await.assert_error(400, "invalid_field");
    assert_eq!(patch(None, "three").await.json()["project"]["version"], 3);
    assert_eq!(patch(Some("*"), "four").await.json()["project"]["name"], "four");
    let entry = instance.audit().await.pop().unwrap();
    assert_eq!(entry["action"], "project.update");
    assert_eq!(entry["detail"], r#"{"after":{"name":"four"},"before":{"name":"three"}}"#);
    // Keys have versions as well.
    let key = instance.minted(5).await;
    let path = format!("/admin/keys/{}", key["id"].as_str().unwrap());
    let shown = instance.get(&path).await;
    assert_eq!(
        (shown.headers["etag"].to_str().unwrap(), &shown.json()["key"]["version"]),
        ("\"1\"", &json!(1))
    );
    assert_eq!(instance.call("PATCH", &path, r#"{"name":"x"}"#).await.headers["etag"], "\"2\"");
    let request = Request::builder().method("PATCH").uri(&path).header(header::IF_MATCH, "\"1\"");
    let request = request
        .header(header::AUTHORIZATION, format!("Bearer {}", instance.token))
        .header(header::CONTENT_TYPE, "application/json");
    instance.send(request.body(Body::from(r#"{"name":"y"}"#)).unwrap()).await.assert_error(412, "changed");
    let revoke = async |etag: &'static str| {
        let request = Request::builder().method("DELETE").uri(&path).header(header::IF_MATCH, etag);
        let request = request.header(header::AUTHORIZATION, format!("Bearer {}", instance.token));
        instance.send(request.body(Body::empty()).unwrap()).await
    };
    revoke("\"1\"").await.assert_error(412, "changed");
    revoke("1").await.assert_error(400, "invalid_field");
    assert_eq!(instance.get(&path).await.json()["key"]["status"], "active");
    for _ in 0..2 {
        assert_eq!(revoke("\"2\"").await.json()["key"]["status"], "revoked");
    }
    revoke("\"1\"").await.assert_error(412, "changed");
    // The default project stays.
    instance.call("DELETE", "/admin/projects/default", "").await.assert_error(400, "invalid_id");
    assert!(instance.call("DELETE", "/admin/projects/a", "").await.json()["project"]["endedAt"].is_string());
    instance.call("POST", "/admin/projects", r#"{"id":"a"}"#).await.assert_error(409, "conflict");
}

#[tokio::test]
async fn other_things_are_made_once_as_well() {
    let instance = Instance::start().await;
    let send = async |path: &str, repeat: &str, body: &Value| {
        let request = Request::builder().method("POST").uri(path).header("idempotency-key", repeat);
        let request = request
            .header(header::AUTHORIZATION, format!("Bearer {}", instance.token))
            .header(header::CONTENT_TYPE, "application/json");
        instance.send(request.body(Body::from(body.to_string())).unwrap()).await
    };
    for (path, body, other) in [
        ("/admin/projects", json!({"id": "a"}), json!({"id": "a", "name": "A"})),
        ("/admin/tokens", json!({"name": "x", "role": "viewer"}), json!({"name": "y", "role": "viewer"})),
        (
            "/admin/members",
            json!({"login": "ada", "role": "viewer", "password": "correct horse battery"}),
            json!({"login": "eve", "role": "viewer"}),
        ),
    ] {
        let first = send(path, "one", &body).await;
        assert_eq!(first.status, 201, "{path}: {}", first.text);
        let again = send(path, "one", &body).await;
        assert_eq!((again.status.as_u16(), &again.text), (201, &first.text), "{path}");
        assert_eq!(send(path, "one", &other).await.status, 409, "{path}");
    }
    let text = send("/admin/tokens", "one", &json!({"name": "x", "role": "viewer"})).await.json();
    let text = text["adminToken"].as_str().unwrap();
    assert_eq!(call(&instance, text, "GET", "/admin/self", "").await.status, 200);
    assert_eq!(instance.get("/admin/tokens").await.json()["tokens"].as_array().unwrap().len(), 2);
    let made = instance.audit().await.iter().filter(|entry| entry["action"] == "token.create").count();
    assert_eq!(made, 2, "the owner's and this one");
}

#[tokio::test]
async fn a_key_is_made_once_however_often_it_is_asked_for() {
    let instance = Instance::start().await;
    let send = async |repeat: &str, body: &Value| {
        let request = Request::builder().method("POST").uri("/admin/keys").header("idempotency-key", repeat);
        let request = request
            .header(header::AUTHORIZATION, format!("Bearer {}", instance.token))
            .header(header::CONTENT_TYPE, "application/json");
        instance.send(request.body(Body::from(body.to_string())).unwrap()).await
    };
    let body = json!({"provider": "openai", "upstream_key": CANARY, "max_activations": 5});
    let first = send("one", &body).await;
    let again = send("one", &body).await;
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 201), "{}", again.text);
    assert_eq!(first.json()["key"]["scopedKey"], again.json()["key"]["scopedKey"]);
    assert_ne!(send("two", &body).await.json()["key"]["id"], first.json()["key"]["id"]);
    let mut other = body.clone();
    other["max_activations"] = json!(6);
    send("one", &other).await.assert_error(409, "idempotency_mismatch");
    other = body.clone();
    other["upstream_key"] = json!("sk-proj-another-key-than-that");
    send("one", &other).await.assert_error(409, "idempotency_mismatch");
    send("", &body).await.assert_error(400, "invalid_field");
    send(&"x".repeat(256), &body).await.assert_error(400, "invalid_field");
    other = body.clone();
    other["claim_ttl_seconds"] = json!(60);
    send("three", &other).await.assert_error(400, "invalid_field");
    assert_eq!(instance.get("/admin/keys").await.json()["keys"].as_array().unwrap().len(), 2);
    // Somebody else's word is another one.
    let admin = token_text(20);
    put_token(&instance.store, "tok_admin", &admin, Role::Admin, None).await;
    let request = Request::builder().method("POST").uri("/admin/keys").header("idempotency-key", "one");
    let request = request
        .header(header::AUTHORIZATION, format!("Bearer {admin}"))
        .header(header::CONTENT_TYPE, "application/json");
    let theirs = instance.send(request.body(Body::from(body.to_string())).unwrap()).await;
    assert_ne!(theirs.json()["key"]["id"], first.json()["key"]["id"]);
}
