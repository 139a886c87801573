//! The control plane: whatever is sent to it, it answers as its document says. A refusal names a field that there is and
//! repeats no secret; what is accepted reads the same when it is sent again as it was answered; and no key is made that the
//! rules above it do not allow.
//!
//! Input: a byte that picks the operation, in the order of [`OPERATIONS`]; a byte that says who asks and how ([`Manner`]); a
//! line with what stands for the id in the path, nothing for one that there is, and a query behind `?`; the body. In all of
//! it 1 stands for the id of a key, 2 for an upstream key, 3 for a scoped key, 4 for the owner's admin token.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use axum::body::Body;
use axum::http::{Request, header};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::admin_rules::{is_allowed, recreated, same_key};
use super::admin_world::World;
use crate::harness::{Answer, CANARY};

/// By their ids; new ones come last, so that files of the corpus keep their meaning.
pub const OPERATIONS: [&str; 65] = [
    "key_create",
    "key_list",
    "key_show",
    "key_update",
    "key_revoke",
    "keys_revoke",
    "key_explain",
    "claim_page",
    "claim_open",
    "claim_script",
    "claim_style",
    "usage_list",
    "usage_summary",
    "hold_list",
    "hold_forgive",
    "denial_summary",
    "overview",
    "provider_list",
    "price_list",
    "project_create",
    "project_list",
    "project_show",
    "project_update",
    "project_end",
    "token_create",
    "token_list",
    "token_show",
    "token_update",
    "token_rotate",
    "token_revoke",
    "credential_create",
    "credential_list",
    "credential_show",
    "credential_update",
    "credential_remove",
    "member_create",
    "member_list",
    "member_show",
    "member_update",
    "member_remove",
    "login",
    "logout",
    "password_change",
    "who",
    "account_show",
    "instance_show",
    "rollback_accept",
    "kill_switch_show",
    "kill_switch_set",
    "master_key_list",
    "master_key_rotate",
    "master_key_retire",
    "backup_note",
    "audit_list",
    "audit_show",
    "audit_checkpoints",
    "audit_export",
    "audit_find",
    "events",
    "healthz",
    "readyz",
    "metrics",
    "docs",
    "style",
    "openapi_json",
];

/// What the document says of an operation.
#[derive(Debug)]
pub struct Operation {
    pub id: &'static str,
    pub method: String,
    /// With `{…}` for an id.
    pub path: String,
    pub statuses: BTreeSet<String>,
    /// Names that it knows: fields of its body at every depth, parameters, headers.
    names: BTreeSet<String>,
}

fn operations() -> &'static [Operation] {
    static OPERATIONS_READ: OnceLock<Vec<Operation>> = OnceLock::new();
    OPERATIONS_READ.get_or_init(|| {
        let document: Value = serde_json::from_str(&till_admin::openapi_text()).expect("JSON");
        let mut found: BTreeMap<String, Operation> = BTreeMap::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("operations") {
                let Some(id) = operation["operationId"].as_str() else { continue };
                let id = OPERATIONS
                    .into_iter()
                    .find(|known| *known == id)
                    .unwrap_or_else(|| panic!("{id} is not known"));
                let mut names = BTreeSet::from(["authorization".to_owned()]);
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    names.insert(parameter["name"].as_str().expect("a name").to_owned());
                }
                let body = &operation["requestBody"]["content"]["application/json"]["schema"];
                fields(&document, body, &mut names);
                let statuses = operation["responses"].as_object().expect("answers").keys().cloned().collect();
                let (method, path) = (method.to_uppercase(), path.clone());
                found.insert(id.to_owned(), Operation { id, method, path, statuses, names });
            }
        }
        OPERATIONS.map(|id| found.remove(id).unwrap_or_else(|| panic!("{id} is gone"))).into()
    })
}

/// Names of fields, at every depth.
fn fields(document: &Value, schema: &Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(entries) => {
            for (name, value) in entries {
                match (name.as_str(), value) {
                    ("$ref", Value::String(target)) => {
                        fields(document, document.pointer(&target[1..]).expect("it leads somewhere"), names);
                    }
                    ("properties", Value::Object(properties)) => {
                        names.extend(properties.keys().cloned());
                        properties.values().for_each(|property| fields(document, property, names));
                    }
                    ("example", _) => {}
                    _ => fields(document, value, names),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| fields(document, item, names)),
        _ => {}
    }
}

/// Who asks, and what else the head says. Lowest bits: 0 and 3 the owner, 1 an admin of a project with rules, 2 a minter
/// with rules; then, a bit each: nobody; `If-Match`; `Idempotency-Key`; no JSON.
#[derive(Clone, Copy)]
struct Manner(u8);

impl Manner {
    fn has(self, bit: u8) -> bool {
        self.0 >> bit & 1 == 1
    }

    fn token(self, world: &World) -> Option<&str> {
        match (self.has(2), self.0 & 3) {
            (true, _) => None,
            (_, 1) => Some(&world.admin),
            (_, 2) => Some(&world.minter),
            _ => Some(&world.instance.token),
        }
    }
}

thread_local! {
    static STATE: RefCell<Option<(Runtime, Option<World>)>> = const { RefCell::new(None) };
}

/// Checks one input.
pub fn check(input: &[u8]) {
    let [operation, manner, rest @ ..] = input else { return };
    let Some(operation) = operations().get(usize::from(*operation)) else { return };
    STATE.with_borrow_mut(|state| {
        let (runtime, kept) = state.get_or_insert_with(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            (runtime.expect("a runtime"), None)
        });
        // What goes wrong leaves no world for the next input.
        let world = kept.take();
        *kept = runtime.block_on(async {
            let mut world = match world {
                Some(world) => world,
                None => World::new().await,
            };
            check_one(&mut world, operation, Manner(*manner), rest).await;
            if world.is_worn() { world.close().await } else { Some(world) }
        });
    });
}

async fn check_one(world: &mut World, operation: &Operation, manner: Manner, rest: &[u8]) {
    let text = written(world, rest);
    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    let Ok(line) = std::str::from_utf8(&text[..end]) else { return };
    let (id, query) = line.split_once('?').map_or((line, None), |(id, query)| (id, Some(query)));
    let body = text.get(end + 1..).unwrap_or_default();
    if world.is_too_slow(operation.id, body) {
        return;
    }
    let Some(mut uri) = world.path(operation, id) else { return };
    uri.extend(query.map(|query| format!("?{query}")));
    let mut request = Request::builder().method(&*operation.method).uri(&*uri);
    if let Some(token) = manner.token(world) {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    for (is_there, name, value) in [
        (manner.has(3), "if-match", "\"1\""),
        (manner.has(4), "idempotency-key", "once"),
        (!manner.has(5), "content-type", "application/json"),
    ] {
        request = if is_there { request.header(name, value) } else { request };
    }
    // What is no URI is refused before it gets here.
    let Ok(request) = request.body(Body::from(body.to_vec())) else { return };
    let answer = world.instance.send(request).await;
    world.note(operation, &answer);
    check_answer(world, operation, body, &answer);
    if answer.status.is_success() && answer.header("content-type") == "application/json" {
        check_accepted(world, operation, &answer.json()).await;
    }
}

fn written(world: &World, text: &[u8]) -> Vec<u8> {
    let part = |byte: &u8| match byte {
        1 => world.key.as_bytes().to_vec(),
        2 => CANARY.as_bytes().to_vec(),
        3 => world.scoped_key.as_bytes().to_vec(),
        4 => world.instance.token.as_bytes().to_vec(),
        byte => vec![*byte],
    };
    text.iter().flat_map(part).collect()
}

fn check_answer(world: &World, operation: &Operation, body: &[u8], answer: &Answer) {
    let shown =
        || format!("{} {} answered {}: {}", operation.id, body.escape_ascii(), answer.status, answer.text);
    assert!(operation.statuses.contains(answer.status.as_str()), "not in the document: {}", shown());
    let is_refused = answer.status.as_u16() >= 400;
    let headers = format!("{:?}", answer.headers);
    let says = |secret: &str| answer.text.contains(secret) || headers.contains(secret);
    let sent = serde_json::from_slice::<Value>(body).unwrap_or_default();
    let is_secret = |name: &str| sent[name].as_str().is_some_and(|value| value.contains(CANARY));
    if is_refused || is_secret("upstream_key") || is_secret("upstreamKey") {
        assert!(!says(CANARY), "the upstream key is repeated: {}", shown());
    }
    if is_refused || operation.id == "audit_find" {
        assert!(!says(&world.scoped_key) && !says(&world.instance.token), "a token is repeated: {}", shown());
    }
    if is_refused {
        check_refusal(operation, body, answer, &shown);
    }
}

fn check_refusal(operation: &Operation, body: &[u8], answer: &Answer, shown: &dyn Fn() -> String) {
    let refused = answer.json();
    let [code, message] = ["code", "message"].map(|name| refused["error"][name].as_str().unwrap_or_default());
    assert!(!code.is_empty() && !message.is_empty() && message.len() < 4_000, "{}", shown());
    if answer.status == 503 {
        // What there is no more of, or what is stopped, in a test.
        let is_expected =
            matches!(operation.id, "readyz" | "master_key_rotate") || code == "too_many_listeners";
        assert!(is_expected, "{}", shown());
        return;
    }
    assert!(answer.status.is_client_error(), "{}", shown());
    assert_eq!((&refused["detail"], &refused["status"]), (&json!(message), &json!(answer.status.as_u16())));
    if !matches!(
        code,
        "missing_field"
            | "invalid_field"
            | "duplicate_field"
            | "unknown_field"
            | "unsupported_field"
            | "invalid_query"
    ) {
        return;
    }
    let Some(name) = message.split('`').nth(1) else {
        // Of a name that does not look like one, of a query or a body as a whole, of a place in it, of the key that is changed.
        let is_said = ["not repeated here", "query", "line ", "object", "limit", "revoked"];
        let is_said = is_said.iter().any(|part| message.contains(part));
        assert!(is_said, "names nothing: {}", shown());
        return;
    };
    let first = name.split(['.', '[']).next().unwrap_or_default();
    let is_known = operation.names.iter().any(|known| known.eq_ignore_ascii_case(first));
    let is_sent = ["unknown_field", "invalid_query"].contains(&code)
        && (body.windows(name.len()).any(|part| part == name.as_bytes()) || code == "invalid_query");
    assert!(is_known || is_sent, "`{name}` is no field: {}", shown());
}

/// What was accepted says the same when it is sent again as it was answered, and is within the rules.
async fn check_accepted(world: &mut World, operation: &Operation, answer: &Value) {
    match operation.id {
        "key_create" | "key_update" => {
            let key = &answer["key"];
            if operation.id == "key_create" {
                is_allowed(world, key).await;
            }
            let Some(body) = recreated(world, key) else { return };
            let again = world.instance.call("POST", "/admin/keys", body.to_string()).await;
            let is_full = again.status == 403 && again.text.contains("live keys");
            assert!(is_full || again.status == 201, "{key} became {body}: {}", again.text);
            if !is_full {
                same_key(key, &again.json()["key"]);
            }
        }
        "project_create" | "project_update" => world.same_policy("projects", &answer["project"], "id").await,
        "member_create" | "member_update" => world.same_policy("members", &answer["member"], "id").await,
        "token_create" | "token_update" if answer["token"]["member"].is_null() => {
            world.same_policy("tokens", &answer["token"], "id").await;
        }
        "credential_create" | "credential_update" => {
            world.same_policy("credentials", &answer["credential"], "name").await;
        }
        _ => {}
    }
}
