//! What a key must be like: a plain reading of the rules above it, and the body that would make it again.

use serde_json::{Map, Value, json};
use till_core::time::Timestamp;

use super::admin_world::World;

/// A valid upstream key that is nobody's.
const OTHER: &str = "sk-proj-other9Qz7Lm0XbT3a";

/// The fields of a key that a body can give, each under the name that it has there.
const FIELDS: [(&str, &str); 15] = [
    ("tenantId", "project"),
    ("provider", "provider"),
    ("maxActivations", "max_activations"),
    ("maxTokens", "max_tokens"),
    ("maxSpendUsd", "max_spend_usd"),
    ("clamp", "clamp"),
    ("dangerAllowUnbounded", "danger_allow_unbounded"),
    ("durability", "durability"),
    ("scope", "scope"),
    ("rate", "rate"),
    ("expiresAt", "expires_at"),
    ("notBefore", "not_before"),
    ("activateBy", "activate_by"),
    ("idleExpirySeconds", "idle_expiry_seconds"),
    ("metadata", "metadata"),
];

/// The body that makes a key once more. `None` if it would be too late, or if it has no limit.
pub fn recreated(world: &World, key: &Value) -> Option<Value> {
    let soon = till_admin::rfc3339(Timestamp(world.instance.store.now().0 + 60_000));
    let ends_soon = |name: &str| key[name].as_str().is_some_and(|at| at.len() == soon.len() && *at < *soon);
    let has_limit = ["maxActivations", "maxTokens", "maxSpendUsd"].iter().any(|name| !key[*name].is_null());
    if ends_soon("expiresAt") || ends_soon("activateBy") || !has_limit {
        return None;
    }
    let mut body: Map<String, Value> =
        FIELDS.iter().map(|(shown, name)| ((*name).to_owned(), key[*shown].clone())).collect();
    match &key["upstream"] {
        Value::Null => body.insert("upstream_key".into(), json!(OTHER)),
        name => body.insert("upstream".into(), name.clone()),
    };
    Some(body.into())
}

/// Fails if they differ in what a body can give.
pub fn same_key(key: &Value, again: &Value) {
    for (name, _) in FIELDS {
        assert_eq!(key[name], again[name], "`{name}` of {key}");
    }
    assert_eq!(key["ipWhitelist"], again["ipWhitelist"], "{key}");
}

/// Fails if the rules of its project, its maker or its upstream credential forbid the key.
pub async fn is_allowed(world: &World, key: &Value) {
    let text = |name: &str| key[name].as_str().unwrap_or_default();
    for (path, what) in [
        (format!("/admin/projects/{}", text("tenantId")), "project"),
        (format!("/admin/tokens/{}", text("createdBy")), "token"),
        (format!("/admin/credentials/{}", text("upstream")), "credential"),
    ] {
        let answer = world.instance.get(&path).await;
        if answer.status == 200 {
            let policy = &answer.json()[what]["policy"];
            let now = world.instance.store.now();
            assert!(is_within(policy, key, now), "{what} has {policy}, and there is {key}");
        }
    }
}

fn is_within(policy: &Value, key: &Value, now: Timestamp) -> bool {
    let limits = &policy["keyLimits"];
    let is_low = |name: &str| match (number(&limits[name]), number(&key[name])) {
        (None, _) => true,
        (Some(most), Some(limit)) => limit <= most,
        (Some(_), None) => false,
    };
    let bounds_spending = !limits["maxTokens"].is_null() || !limits["maxSpendUsd"].is_null();
    let is_listed =
        |list: &Value, one: &str| list.as_array().is_none_or(|all| all.iter().any(|name| name == one));
    let asks_within = |model: &Value| {
        let model = model.as_str().expect("a text");
        let allowed =
            policy["models"].as_array().expect("asked below").iter().map(|one| one.as_str().expect("a text"));
        allowed.into_iter().any(|one| one == model || !model.contains('*') && matches(one, model))
    };
    let models = match (&policy["models"], &key["scope"]["models"]) {
        (Value::Null, _) => true,
        (_, Value::Array(asked)) => asked.iter().all(asks_within),
        _ => false,
    };
    let ends = match policy["maxKeyLifetimeSeconds"].as_u64() {
        None => true,
        Some(most) => {
            let latest = till_admin::rfc3339(Timestamp(now.0.saturating_add(most.saturating_mul(1000))));
            key["expiresAt"].as_str().is_some_and(|end| (end.len(), end) <= (latest.len(), &*latest))
        }
    };
    ["maxActivations", "maxTokens", "maxSpendUsd"].into_iter().all(is_low)
        && !(bounds_spending && key["dangerAllowUnbounded"] == true)
        && is_listed(&policy["providers"], key["provider"].as_str().expect("a text"))
        && models
        && ends
}

/// A whole number, or dollars in nano-dollars.
fn number(value: &Value) -> Option<u128> {
    let Some(text) = value.as_str() else { return value.as_u64().map(u128::from) };
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{decimals:0<9}").parse().ok()
}

/// Whether a pattern with stars is all of a text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            let ends = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            ends.into_iter().any(|at| matches(after, &rest[at..]))
        }),
    }
}
