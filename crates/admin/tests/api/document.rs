//! The OpenAPI document agrees with the router and with the copy in `docs/`, and the page shows all of it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use axum::body::Body;
use serde_json::Value;
use till_core::key::KeyId;

use crate::harness::{Answer, Instance};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Set to `1` to write `docs/openapi.json` instead of comparing with it.
const UPDATE: &str = "TILL_UPDATE_SNAPSHOTS";

#[test]
fn the_copy_in_docs_is_in_step() {
    let copy = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let text = till_admin::openapi_text();
    if std::env::var_os(UPDATE).is_some_and(|value| value == "1") {
        std::fs::write(&copy, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&copy).unwrap_or_default();
    assert!(
        kept == text,
        "docs/openapi.json differs from the code; run this test with {UPDATE}=1 and read the diff"
    );
}

fn path_of(template: &str) -> String {
    template.replace("{id}", "key_0000000000000000000000")
}

#[tokio::test]
async fn the_router_serves_exactly_what_is_documented() {
    let instance = Instance::start().await;
    let served = instance.get_anonymously("/admin/openapi.json").await;
    assert_eq!(served.text, till_admin::openapi_text());
    let document = served.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut ids = BTreeSet::new();
    for (template, item) in document["paths"].as_object().unwrap() {
        for method in METHODS {
            let answer = instance.call(&method.to_uppercase(), &path_of(template), Body::empty()).await;
            let operation = &item[method];
            if operation.is_null() {
                answer.assert_error(405, "method_not_allowed");
                continue;
            }
            let [tag] = operation["tags"].as_array().unwrap().as_slice() else {
                panic!("{method} {template}: one tag")
            };
            assert!(document["tags"].as_array().unwrap().iter().any(|one| one["name"] == *tag), "{tag}");
            check_operation(operation, &answer, &format!("{method} {template}"));
            assert!(
                ids.insert(operation["operationId"].as_str().unwrap().to_owned()),
                "{method} {template}: id stands twice"
            );
        }
    }
    assert_eq!(ids.len(), 65, "{ids:?}");
}

/// An operation is described, and its answer is one of those described.
fn check_operation(operation: &Value, answer: &Answer, place: &str) {
    assert_ne!(answer.status, 405, "{place}");
    assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{place}");
    let status = answer.status.as_str();
    let described = &operation["responses"][status];
    assert!(described.is_object(), "{place} answered {status}, which is not described: {}", answer.text);
    let (media_type, _) = described["content"].as_object().and_then(|content| content.iter().next()).unwrap();
    assert!(answer.header("content-type").starts_with(media_type.as_str()), "{place}");
    let open = ["/healthz", "/readyz", "/claim/"].iter().any(|path| place.contains(path));
    assert_eq!(operation["responses"]["401"].is_object(), !open, "{place}");
}

#[tokio::test]
async fn answers_have_exactly_the_documented_fields() {
    let instance = Instance::start().await;
    let document: Value = serde_json::from_str(&till_admin::openapi_text()).unwrap();
    let schemas = &document["components"]["schemas"];
    let created = instance.minted(5).await;
    let show = format!("/admin/keys/{}", created["id"].as_str().unwrap());
    for (path, value, schema) in [
        ("key", instance.get(&show).await.json()["key"].clone(), "Key"),
        ("account", instance.get("/admin/account").await.json()["account"].clone(), "Account"),
        ("instance", instance.get("/admin/instance").await.json()["instance"].clone(), "Instance"),
        ("master key", instance.get("/admin/master-keys").await.json()["masterKeys"][0].clone(), "MasterKey"),
        ("provider", instance.get("/admin/providers").await.json()["providers"][0].clone(), "Provider"),
        ("entry", instance.audit().await.pop().unwrap(), "AuditEntry"),
        ("error", instance.get("/admin/x").await.json()["error"].clone(), "ErrorDetail"),
    ] {
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(&value), names(&schemas[schema]["properties"]), "{path}");
        let required: BTreeSet<String> = serde_json::from_value(schemas[schema]["required"].clone()).unwrap();
        assert_eq!(required, names(&value), "{path}: every field is always there");
        for (name, value) in value.as_object().unwrap() {
            check_type(value, &schemas[schema]["properties"][name], &format!("{path}.{name}"));
        }
    }
}

fn check_type(value: &Value, schema: &Value, place: &str) {
    let nullable =
        schema["oneOf"].as_array().is_some_and(|one_of| one_of.iter().any(|one| one["type"] == "null"));
    if schema["$ref"].is_string() || nullable {
        return;
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().any(|one| one == kind),
        one => one == kind,
    };
    assert!(allowed, "{place} is {kind}, but described as {schema}");
}

#[test]
fn references_lead_somewhere_and_everything_is_described() {
    let document: Value = serde_json::from_str(&till_admin::openapi_text()).unwrap();
    let mut used = BTreeSet::new();
    references(&document, &mut used);
    let schemas = document["components"]["schemas"].as_object().unwrap();
    assert_eq!(used, schemas.keys().cloned().collect(), "used and defined schemas");
    for (name, schema) in schemas {
        assert!(schema["description"].is_string(), "{name}");
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            // What refers to another schema may leave the description to that one.
            let refers = property["$ref"].is_string() || property["oneOf"].is_array();
            assert!(property["description"].is_string() || refers, "{name}.{field}");
        }
    }
}

/// People paste examples.
#[test]
fn example_ids_are_ids() {
    let text = till_admin::openapi_text();
    let ids: Vec<&str> =
        text.split('"').filter(|text| text.starts_with("key_") && text.len() == 26).collect();
    assert!(ids.len() >= 5, "{ids:?}");
    for id in ids {
        assert!(id.parse::<KeyId>().is_ok(), "{id}");
    }
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        Value::Object(entries) => {
            for (name, value) in entries {
                match value.as_str() {
                    Some(target) if name == "$ref" => {
                        found.insert(target.strip_prefix("#/components/schemas/").expect(target).to_owned());
                    }
                    _ => references(value, found),
                }
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn the_page_shows_everything_and_loads_nothing_foreign() {
    let instance = Instance::start().await;
    let page = instance.get_anonymously("/docs").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.header("content-security-policy").contains("style-src 'self'"));
    let html = &page.text;
    let document: Value = serde_json::from_str(&till_admin::openapi_text()).unwrap();
    for (path, item) in document["paths"].as_object().unwrap() {
        assert!(html.contains(&format!("<code>{path}</code>")), "{path}");
        for method in METHODS.iter().filter(|method| item[**method].is_object()) {
            let id = item[*method]["operationId"].as_str().unwrap();
            assert!(html.contains(&format!("<section id=\"op-{id}\">")), "{id}");
            assert!(html.contains(&format!("href=\"#op-{id}\"")), "{id}");
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        assert!(html.contains(&format!("id=\"schema-{name}\"")), "{name}");
        for field in schema["properties"].as_object().into_iter().flatten().map(|(field, _)| field) {
            assert!(html.contains(&format!("<code>{field}</code>")), "{name}.{field}");
        }
    }
    for code in ["unsupported_field", "ledger_unavailable", "unauthorized"] {
        assert!(html.contains(&format!("<code>{code}</code>")), "{code}");
    }
    check_page_is_self_contained(html);
}

/// No script, no inline style, and links and resources of this server only; every anchor exists; tags are balanced.
fn check_page_is_self_contained(html: &str) {
    for forbidden in ["<script", "<style", " style=", " onclick", "<iframe", "<img", "src="] {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
    for target in html.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        match target.strip_prefix('#') {
            Some(anchor) => assert!(html.contains(&format!("id=\"{anchor}\"")), "{target}"),
            None => {
                assert!(["/docs/style.css", "/admin/openapi.json", "data:,"].contains(&target), "{target}")
            }
        }
    }
    for tag in
        ["section", "table", "tr", "td", "p", "code", "pre", "ul", "li", "h2", "h3", "h4", "main", "nav"]
    {
        let opened = html.matches(&format!("<{tag}>")).count() + html.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "{tag}");
    }
}

#[tokio::test]
async fn tags_are_documented_where_they_are_sent() {
    let instance = Instance::start().await;
    let document: Value = serde_json::from_str(&till_admin::openapi_text()).unwrap();
    let key = instance.minted(5).await;
    let mut tagged = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let says = item["get"]["responses"]["200"]["headers"]["etag"].is_object();
        let id = match path.as_str() {
            "/admin/keys/{id}" => key["id"].as_str().unwrap(),
            "/admin/projects/{id}" => "default",
            "/admin/tokens/{id}" => "owner",
            // There is none of the others, or nothing of them has a version.
            _ => "none",
        };
        if !item["get"].is_object() {
            continue;
        }
        let answer = instance.get(&path.replace("{id}", id)).await;
        if answer.status == 200 {
            assert_eq!(answer.headers.contains_key("etag"), says, "{path}");
            tagged += usize::from(says);
        }
    }
    assert_eq!(tagged, 3);
}

/// Whoever is signed in may call what a token may; a change has to carry the second word.
#[test]
fn sessions_are_a_second_way_in() {
    let document: Value = serde_json::from_str(&till_admin::openapi_text()).unwrap();
    let schemes = &document["components"]["securitySchemes"];
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in METHODS.iter().filter(|method| item[**method]["x-till-permission"].is_string()) {
            let session = &item[*method]["security"][1];
            assert_eq!(session["sessionWord"].is_array(), *method != "get", "{method} {path}");
            assert!(session["session"].is_array() && schemes["session"]["in"] == "cookie", "{method} {path}");
        }
    }
}
