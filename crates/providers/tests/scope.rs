//! For random scopes and requests the decision is that of a second one, written plainly and by itself.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::LazyLock;

use http::Method;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use till_core::fields::Fields;
use till_core::path::RawPath;
use till_core::scope::Scope;
use till_providers::Registry;
use till_providers::price::PriceTable;
use till_providers::request::Question;
use till_providers::scope::{check_endpoint, check_network, check_request};

const PATHS: [&str; 6] = [
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/models",
    "/v1/models/gpt-4o",
    "/v1/batches",
];
const RULES: [&str; 9] = [
    "POST /v1/chat/completions",
    "POST /v1/responses",
    "POST /v1/*",
    "GET /v1/models/*",
    "* /v1/models",
    "GET /**",
    "* /**",
    "POST /v1/batches",
    "HEAD /v1/mod*/gpt-4o",
];
const MODELS: [&str; 5] = ["gpt-4o", "gpt-4o-mini", "o3", "gpt-4.1", "gpt-4o-search-preview"];
const GLOBS: [&str; 6] = ["gpt-4o", "gpt-4o*", "*mini", "o3", "*4*", "*"];
const NETWORKS: [(&str, [u8; 4], u32); 3] =
    [("10.0.0.0/8", [10, 0, 0, 0], 8), ("10.1.0.0/16", [10, 1, 0, 0], 16), ("192.0.2.7", [192, 0, 2, 7], 32)];

#[derive(Clone, Debug)]
struct Asked {
    method: &'static str,
    path: &'static str,
    client: [u8; 4],
    body: Value,
    clamp: bool,
}

fn some<T: Clone + std::fmt::Debug + 'static>(of: &'static [T]) -> impl Strategy<Value = Option<Vec<T>>> {
    proptest::option::of(proptest::collection::vec(proptest::sample::select(of), 1..4))
}

fn scopes() -> impl Strategy<Value = Value> {
    let flags = proptest::array::uniform4(proptest::option::weighted(0.3, Just(false)));
    let most = proptest::option::weighted(0.3, proptest::sample::select(&[1_u64, 20, 100][..]));
    let tiers = proptest::option::weighted(0.3, Just(json!(["default", "flex"])));
    let networks = proptest::option::weighted(0.4, proptest::collection::vec(0..NETWORKS.len(), 1..3));
    (some(&RULES), some(&GLOBS), networks, flags, most, tiers).prop_map(
        |(endpoints, models, networks, [tools, hosted, store, images], most, tiers)| {
            let mut scope = Map::new();
            if let Some(endpoints) = endpoints {
                scope.insert("endpoints".into(), json!(endpoints));
            }
            if let Some(models) = models {
                scope.insert("models".into(), json!(models));
            }
            if let Some(networks) = networks {
                let texts: Vec<&str> = networks.iter().map(|index| NETWORKS[*index].0).collect();
                scope.insert("networks".into(), json!(texts));
            }
            let mut rules = Map::new();
            for (name, flag) in
                [("tools", tools), ("hostedTools", hosted), ("store", store), ("imageInput", images)]
            {
                if let Some(flag) = flag {
                    rules.insert(name.into(), json!(flag));
                }
            }
            if let Some(most) = most {
                rules.insert("maxOutputTokens".into(), json!(most));
            }
            if let Some(tiers) = tiers {
                rules.insert("values".into(), json!({"service_tier": tiers}));
            }
            if !rules.is_empty() {
                scope.insert("parameters".into(), Value::Object(rules));
            }
            Value::Object(scope)
        },
    )
}

fn requests() -> impl Strategy<Value = Asked> {
    let client = prop_oneof![
        Just([10, 0, 0, 1]),
        Just([10, 1, 2, 3]),
        Just([192, 0, 2, 7]),
        Just([192, 0, 2, 8]),
        any::<[u8; 4]>()
    ];
    let model = proptest::option::weighted(0.95, proptest::sample::select(&MODELS[..]));
    let tools = proptest::sample::select(&["", "", "function", "web_search", "image_generation"][..]);
    let store = proptest::option::of(any::<bool>());
    let tier = proptest::option::of(proptest::sample::select(&["default", "flex", "auto"][..]));
    let cap = proptest::option::of(proptest::sample::select(&[1_u64, 16, 50, 500][..]));
    let body = (model, tools, store, tier, cap, any::<bool>(), 1..4_u64);
    let line = (proptest::sample::select(&["GET", "POST", "HEAD"][..]), proptest::sample::select(&PATHS[..]));
    (line, client, body, any::<bool>()).prop_map(
        |((method, path), client, (model, tools, store, tier, cap, image, n), clamp)| {
            let mut body = Map::new();
            if let Some(model) = model {
                body.insert("model".into(), json!(model));
            }
            let is_chat = path == PATHS[0];
            let picture = match is_chat {
                true => json!({"type": "image_url", "image_url": {"url": "https://example.com/a"}}),
                false => json!({"type": "input_image", "image_url": "https://example.com/a"}),
            };
            let content = if image { json!([picture]) } else { json!("hi") };
            let message = json!([{"role": "user", "content": content}]);
            if is_chat {
                body.insert("messages".into(), message);
                body.insert("n".into(), json!(n));
            } else {
                body.insert("input".into(), if path == PATHS[1] { message } else { json!("hi") });
            }
            if path == PATHS[0] || path == PATHS[1] {
                if !tools.is_empty() {
                    body.insert("tools".into(), json!([{"type": tools}]));
                }
                if let Some(store) = store {
                    body.insert("store".into(), json!(store));
                }
                if let Some(tier) = tier {
                    body.insert("service_tier".into(), json!(tier));
                }
                if let Some(cap) = cap {
                    let name = if is_chat { "max_completion_tokens" } else { "max_output_tokens" };
                    body.insert(name.into(), json!(cap));
                }
            }
            Asked { method, path, client, body: Value::Object(body), clamp }
        },
    )
}

/// The plain decision.
fn expected(scope: &Value, asked: &Asked) -> bool {
    network(scope, asked) && endpoint(scope, asked) && content(scope, asked)
}

fn network(scope: &Value, asked: &Asked) -> bool {
    let Some(allowed) = scope["networks"].as_array() else { return true };
    NETWORKS.iter().any(|(text, base, bits)| {
        let number = |address: [u8; 4]| address.iter().fold(0_u64, |sum, byte| sum * 256 + u64::from(*byte));
        let size = 2_u64.pow(32 - bits);
        allowed.contains(&json!(text)) && number(asked.client) / size == number(*base) / size
    })
}

fn fits(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => (0..=text.len()).any(|cut| fits(&pattern[1..], &text[cut..])),
        Some(first) => text.starts_with(first) && fits(&pattern[1..], &text[1..]),
    }
}

fn endpoint(scope: &Value, asked: &Asked) -> bool {
    let Some(rules) = scope["endpoints"].as_array() else {
        return asked.path != "/v1/batches" || asked.method != "POST";
    };
    let is_meant = |rule: &&str| {
        let (method, pattern) = rule.split_once(' ').expect("two parts");
        let path: Vec<&str> = asked.path.split('/').collect();
        let wanted: Vec<&str> = pattern.split('/').collect();
        let fits_path = match wanted.split_last() {
            Some((&"**", first)) => {
                path.len() >= first.len() && first.iter().zip(&path).all(|(a, b)| fits(a, b))
            }
            _ => path.len() == wanted.len() && wanted.iter().zip(&path).all(|(a, b)| fits(a, b)),
        };
        (method == "*" || method == asked.method) && fits_path
    };
    let mut meant = rules.iter().filter_map(Value::as_str).filter(is_meant).peekable();
    if asked.path == "/v1/batches" && asked.method == "POST" {
        return meant.any(|rule| rule == "POST /v1/batches");
    }
    meant.peek().is_some()
}

fn content(scope: &Value, asked: &Asked) -> bool {
    let models = scope["models"].as_array();
    let rules = &scope["parameters"];
    if models.is_none() && rules.is_null() {
        return true;
    }
    let body = &asked.body;
    match (asked.method, asked.path) {
        ("GET" | "HEAD", "/v1/models" | "/v1/models/gpt-4o" | "/v1/batches" | "/v1/chat/completions") => {
            return true;
        }
        ("POST", "/v1/chat/completions" | "/v1/responses" | "/v1/embeddings") => {}
        _ => return false,
    }
    let Some(model) = body["model"].as_str() else { return false };
    let is_asked = |globs: &Vec<Value>| globs.iter().any(|glob| fits(glob.as_str().expect("a text"), model));
    let tool = body["tools"][0]["type"].as_str();
    let has_text_output = asked.path != "/v1/embeddings";
    let is_hosted = tool == Some("web_search") || (has_text_output && model.contains("search"));
    let banned = |name: &str| rules[name] == json!(false);
    let is_response = asked.path == "/v1/responses";
    let stores = match body["store"].as_bool() {
        Some(store) => store,
        None => is_response,
    };
    let has_image = body.to_string().contains("image_url");
    let cap = body["max_completion_tokens"].as_u64().or(body["max_output_tokens"].as_u64());
    let is_capped = match rules["maxOutputTokens"].as_u64() {
        Some(most) if has_text_output => {
            let each = most / body["n"].as_u64().unwrap_or(1);
            each >= if is_response { 16 } else { 1 } && (asked.clamp || cap.is_some_and(|cap| cap <= each))
        }
        _ => true,
    };
    let tier = &body["service_tier"];
    let is_tier = tier.is_null() || rules["values"].is_null() || tier == "default" || tier == "flex";
    models.is_none_or(is_asked)
        && tool != Some("image_generation")
        && !(banned("tools") && (tool.is_some() || is_hosted))
        && !(banned("hostedTools") && is_hosted)
        && !(banned("store") && stores)
        && !(banned("imageInput") && has_image)
        && is_capped
        && is_tier
}

/// The decision of the program.
fn decided(scope: &Scope, asked: &Asked) -> bool {
    static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::builtin);
    static PRICES: LazyLock<PriceTable> = LazyLock::new(PriceTable::builtin);
    let provider = REGISTRY.get("openai").expect("built in");
    let raw = RawPath::parse(asked.path.as_bytes()).expect("a path");
    let path = provider.final_path(&raw).expect("a good path");
    let method: Method = asked.method.parse().expect("a method");
    let body = if asked.method == "POST" { asked.body.to_string() } else { String::new() };
    let question = Question {
        provider,
        method: &method,
        path: &path,
        query: None,
        headers: &Fields::default(),
        body: body.as_bytes(),
    };
    let client = IpAddr::V4(Ipv4Addr::from(asked.client));
    check_network(scope, Some(client)).is_ok()
        && check_endpoint(provider, Some(scope), &method, &path).is_ok()
        && (!scope.needs_body() || check_request(scope, asked.clamp, &question, &PRICES).is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_decision_is_that_of_a_plain_reference(scope in scopes(), asked in requests()) {
        let parsed: Scope = serde_json::from_value(scope.clone()).expect("a scope");
        prop_assert_eq!(decided(&parsed, &asked), expected(&scope, &asked), "{} {:?}", scope, asked);
    }
}
