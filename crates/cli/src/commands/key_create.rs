//! `till keys create`

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};
use till_core::secret::Secret;

use super::status::text;
use super::{key_update, upstream_key};
use crate::args::{KeyCreate, ScopeWanted, SecretForm};
use crate::client::Client;
use crate::env::Surroundings;
use crate::exit::Usage;
use crate::output;

/// The variables that official SDKs read their base URL from, by provider. What stands in the URL behind
/// till's own address, the server says.
const BASE_URL_VARIABLES: [(&str, &str); 8] = [
    ("openai", "OPENAI_BASE_URL"),
    ("anthropic", "ANTHROPIC_BASE_URL"),
    ("google", "GOOGLE_GEMINI_BASE_URL"),
    ("groq", "GROQ_BASE_URL"),
    ("together", "TOGETHER_BASE_URL"),
    ("fireworks", "FIREWORKS_BASE_URL"),
    ("perplexity", "PERPLEXITY_BASE_URL"),
    ("cohere", "CO_API_URL"),
];

pub(crate) fn run(wanted: &KeyCreate, surroundings: &Surroundings) -> anyhow::Result<()> {
    let metadata = metadata(wanted)?;
    // The server first: nobody should type a key in only to learn that there is no server.
    upstream_key::refuse_on_command_line(&wanted.upstream_key)?;
    let client = Client::new(&wanted.connection, surroundings)?;
    let providers = client.get("/admin/providers")?;
    let upstream_key = match (&wanted.upstream, &wanted.provider) {
        (Some(_), _) => None,
        (None, provider) => {
            let provider = provider.as_deref().unwrap_or_default();
            Some(upstream_key::read(&wanted.upstream_key, provider, surroundings)?)
        }
    };
    let answer = client.post("/admin/keys", Some(&body(wanted, upstream_key.as_ref(), metadata)?))?;
    match wanted.output.form {
        SecretForm::Json => output::json(&answer)?,
        SecretForm::Raw => {
            let key = &answer["key"];
            let secret = if key["claimUrl"].is_null() { &key["scopedKey"] } else { &key["claimUrl"] };
            output::line(&output::plain(&text(secret)))?
        }
        SecretForm::Table => output::line(&hand_over(&answer["key"], &providers, client.base_url()))?,
    }
    Ok(())
}

fn body(
    wanted: &KeyCreate,
    upstream_key: Option<&Secret>,
    metadata: Map<String, Value>,
) -> anyhow::Result<Value> {
    let mut body = json!({});
    if let Some(provider) = &wanted.provider {
        body["provider"] = json!(provider);
    }
    if let Some(name) = &wanted.upstream {
        body["upstream"] = json!(name);
    }
    if let Some(key) = upstream_key {
        body["upstream_key"] = json!(key.reveal_str().context("the real key has strange characters")?);
    }
    let limits = [
        ("max_activations", json!(wanted.max_activations)),
        ("max_tokens", json!(wanted.max_tokens)),
        ("max_spend_usd", json!(wanted.max_spend_usd)),
        ("max_spend_cents", json!(wanted.max_spend_cents)),
        ("project", json!(wanted.project)),
    ];
    for (name, limit) in limits.into_iter().filter(|(_, limit)| !limit.is_null()) {
        body[name] = limit;
    }
    for (name, value) in key_update::life(&wanted.life) {
        body[name] = value;
    }
    if let Some(rate) = key_update::rate(&wanted.rate) {
        body["rate"] = rate;
    }
    if let Some(seconds) = wanted.claim {
        body["claim_ttl_seconds"] = json!(seconds);
    }
    if wanted.no_clamp {
        body["clamp"] = json!(false);
    }
    if wanted.danger_allow_unbounded {
        body["danger_allow_unbounded"] = json!(true);
    }
    if let Some(durability) = &wanted.durability {
        body["durability"] = json!(durability);
    }
    let scope = scope(&wanted.scope)?;
    if scope != json!({}) {
        body["scope"] = scope;
    }
    if !metadata.is_empty() {
        body["metadata"] = Value::Object(metadata);
    }
    if let Some(name) = &wanted.name {
        body["name"] = json!(name);
    }
    Ok(body)
}

/// The scope that the flags describe.
fn scope(wanted: &ScopeWanted) -> anyhow::Result<Value> {
    let mut scope = json!({});
    for (name, list) in [
        ("endpoints", &wanted.allow_endpoint),
        ("models", &wanted.allow_model),
        ("networks", &wanted.allow_network),
    ] {
        if !list.is_empty() {
            scope[name] = json!(list);
        }
    }
    let mut parameters = Map::new();
    if let Some(most) = wanted.max_output_tokens {
        parameters.insert("max_output_tokens".to_owned(), json!(most));
    }
    for (name, is_banned) in [
        ("tools", wanted.no_tools),
        ("hosted_tools", wanted.no_hosted_tools),
        ("store", wanted.no_store),
        ("image_input", wanted.no_images),
    ] {
        if is_banned {
            parameters.insert(name.to_owned(), json!(false));
        }
    }
    let mut values = Map::new();
    for pair in &wanted.allow_value {
        let Some((name, list)) = pair.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            bail!(Usage(format!("--allow-value `{pair}` is not NAME=VALUE,VALUE")));
        };
        if values.insert(name.to_owned(), list.split(',').map(value_of).collect()).is_some() {
            bail!(Usage(format!("--allow-value names `{name}` twice; give all its values at once")));
        }
    }
    if !values.is_empty() {
        parameters.insert("values".to_owned(), Value::Object(values));
    }
    if !parameters.is_empty() {
        scope["parameters"] = Value::Object(parameters);
    }
    Ok(scope)
}

/// A number, `true` or `false` as such, anything else as a text.
fn value_of(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Bool(_) | Value::Number(_))) => value,
        _ => json!(text),
    }
}

/// `--metadata-json` and every `--metadata` in one object.
fn metadata(wanted: &KeyCreate) -> anyhow::Result<Map<String, Value>> {
    let mut metadata = match wanted.metadata_json.as_deref().map(serde_json::from_str) {
        None => Map::new(),
        Some(Ok(Value::Object(metadata))) => metadata,
        Some(Ok(_)) => bail!(Usage("--metadata-json is not a JSON object".into())),
        Some(Err(error)) => bail!(Usage(format!("--metadata-json is not JSON: {error}"))),
    };
    for pair in &wanted.metadata {
        let Some((name, value)) = pair.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            bail!(Usage(format!("--metadata `{pair}` is not NAME=VALUE")));
        };
        if metadata.insert(name.to_owned(), json!(value)).is_some() {
            bail!(Usage(format!("the metadata `{name}` is given twice")));
        }
    }
    Ok(metadata)
}

/// The scoped key, shown once, and the lines that put it to use.
fn hand_over(key: &Value, providers: &Value, base_url: &str) -> String {
    let id = text(&key["provider"]);
    if let Some(link) = key["claimUrl"].as_str() {
        return hand_over_by_link(key, link);
    }
    let scoped_key = text(&key["scopedKey"]);
    let known = providers["providers"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|provider| provider["id"] == id.as_str());
    let url = format!("{base_url}{}", known.map_or("", |provider| path_of(&provider["sdkBaseUrl"])));
    let base_variable =
        BASE_URL_VARIABLES.iter().find(|(provider, _)| *provider == id).map(|(_, variable)| variable);
    let key_variable = known.and_then(|provider| provider["keyEnv"].as_str());
    let first = match base_variable {
        Some(variable) => format!("export {variable}={url}"),
        None => format!("# base URL: {url}"),
    };
    let second = match key_variable {
        Some(variable) => format!("export {variable}={scoped_key}"),
        None => format!("curl {base_url}/proxy/{id}/… -H 'Authorization: Bearer {scoped_key}'"),
    };
    output_lines(&[
        &format!("{} It is shown only this once:", introduction(key)),
        "",
        &format!("  {scoped_key}"),
        "",
        "Use it in place of the real key:",
        "",
        &format!("  {first}"),
        &format!("  {second}"),
    ])
}

/// The link, for whoever is to have the key.
fn hand_over_by_link(key: &Value, link: &str) -> String {
    output_lines(&[
        &format!(
            "{} Send this link to who is to have it; it shows the key once, until {}:",
            introduction(key),
            text(&key["claimExpiresAt"])
        ),
        "",
        &format!("  {link}"),
        "",
        "If they find it used already, somebody else has the key:",
        "",
        &format!("  till keys revoke {}", text(&key["id"])),
    ])
}

/// What was made.
fn introduction(key: &Value) -> String {
    let unbounded = match key["dangerAllowUnbounded"] == true {
        true => " Requests that nothing bounds may exceed that.",
        false => "",
    };
    let (id, provider) = (text(&key["id"]), text(&key["provider"]));
    format!("Scoped key {id} for {provider}, good for {}.{unbounded}", limits(key))
}

/// `50 activations and $0.25`
fn limits(key: &Value) -> String {
    let mut limits = Vec::new();
    for (field, unit) in [("maxActivations", "activations"), ("maxTokens", "tokens")] {
        if !key[field].is_null() {
            limits.push(format!("{} {unit}", text(&key[field])));
        }
    }
    if !key["maxSpendUsd"].is_null() {
        limits.push(format!("${}", text(&key["maxSpendUsd"])));
    }
    let ends = if key["expiresAt"].is_null() {
        String::new()
    } else {
        format!(", until {}", text(&key["expiresAt"]))
    };
    format!("{}{ends}", limits.join(" and "))
}

fn output_lines(lines: &[&str]) -> String {
    lines.iter().map(|line| output::plain(line)).collect::<Vec<_>>().join("\n")
}

/// What stands behind the authority of a URL: the server names itself as it sees itself, while the address
/// that this command reached it at is the one that works from here.
fn path_of(url: &Value) -> &str {
    let behind_scheme = url.as_str().and_then(|url| url.split_once("://")).map_or("", |(_, rest)| rest);
    behind_scheme.find('/').map_or("", |slash| &behind_scheme[slash..])
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::{hand_over, metadata, scope};
    use crate::args::{Cli, Command, KeyCreate, KeysCommand};

    fn wanted(more: &[&str]) -> KeyCreate {
        let all = ["till", "keys", "create", "--provider", "openai", "--max-activations", "50"];
        let cli = Cli::try_parse_from(all.iter().chain(more)).expect("the line is well formed");
        match cli.command {
            Command::Keys(KeysCommand::Create(wanted)) => *wanted,
            _ => panic!("another command"),
        }
    }

    #[test]
    fn metadata_comes_from_both_flags() {
        let both =
            wanted(&["--metadata", "team=search", "--metadata", "url=a=b", "--metadata-json", r#"{"n": 1}"#]);
        assert_eq!(json!(metadata(&both).unwrap()), json!({"team": "search", "url": "a=b", "n": 1}));
        for wrong in
            [["--metadata", "x"], ["--metadata", "=x"], ["--metadata-json", "[]"], ["--metadata-json", "{"]]
        {
            assert!(metadata(&wanted(&wrong)).is_err(), "{wrong:?}");
        }
        assert!(metadata(&wanted(&["--metadata", "a=1", "--metadata", "a=2"])).is_err());
    }

    #[test]
    fn a_scope_comes_from_its_flags() {
        let flags = [
            "--allow-endpoint",
            "chat",
            "--allow-endpoint",
            "GET /v1/models/*",
            "--allow-model",
            "gpt-4o*",
            "--allow-network",
            "10.0.0.0/8",
            "--max-output-tokens",
            "100",
            "--no-tools",
            "--no-hosted-tools",
            "--no-store",
            "--no-images",
            "--allow-value",
            "service_tier=default,flex",
            "--allow-value",
            "n=1,true,0.5",
        ];
        assert_eq!(
            scope(&wanted(&flags).scope).unwrap(),
            json!({
                "endpoints": ["chat", "GET /v1/models/*"], "models": ["gpt-4o*"], "networks": ["10.0.0.0/8"],
                "parameters": {
                    "max_output_tokens": 100, "tools": false, "hosted_tools": false, "store": false,
                    "image_input": false, "values": {"service_tier": ["default", "flex"], "n": [1, true, 0.5]},
                },
            })
        );
        assert_eq!(scope(&wanted(&[]).scope).unwrap(), json!({}));
        for wrong in [&["--allow-value", "x"][..], &["--allow-value", "=x"]] {
            assert!(scope(&wanted(wrong).scope).is_err(), "{wrong:?}");
        }
        assert!(scope(&wanted(&["--allow-value", "a=1", "--allow-value", "a=2"]).scope).is_err());
    }

    #[test]
    fn hands_over_ready_lines() {
        let providers = json!({"providers": [
            {"id": "openai", "sdkBaseUrl": "http://127.0.0.1:4100/v1", "keyEnv": "OPENAI_API_KEY"},
            {"id": "anthropic", "sdkBaseUrl": "http://127.0.0.1:4100", "keyEnv": "ANTHROPIC_API_KEY"},
            {"id": "mistral", "sdkBaseUrl": "http://127.0.0.1:4100", "keyEnv": "MISTRAL_API_KEY"},
            {"id": "mine", "sdkBaseUrl": "http://127.0.0.1:4100", "keyEnv": null},
        ]});
        let check = |provider: &str, lines: [&str; 2]| {
            let key =
                json!({"id": "key_1", "provider": provider, "scopedKey": "till_sk_x", "maxActivations": 50});
            let text = hand_over(&key, &providers, "https://till.example");
            assert!(text.contains("\n  till_sk_x\n"), "{text}");
            assert!(text.ends_with(&format!("\n  {}\n  {}", lines[0], lines[1])), "{text}");
        };
        check(
            "openai",
            ["export OPENAI_BASE_URL=https://till.example/v1", "export OPENAI_API_KEY=till_sk_x"],
        );
        check(
            "anthropic",
            ["export ANTHROPIC_BASE_URL=https://till.example", "export ANTHROPIC_API_KEY=till_sk_x"],
        );
        check("mistral", ["# base URL: https://till.example", "export MISTRAL_API_KEY=till_sk_x"]);
        let mut key = json!({"id": "key_1", "provider": "openai", "scopedKey": "till_sk_x", "maxTokens": 9});
        let says = |key: &serde_json::Value| hand_over(key, &providers, "https://till.example");
        assert!(!says(&key).contains("exceed"), "{}", says(&key));
        key["dangerAllowUnbounded"] = json!(true);
        assert!(says(&key).contains("good for 9 tokens. Requests that nothing bounds may exceed that."));
        let curl = "curl https://till.example/proxy/mine/… -H 'Authorization: Bearer till_sk_x'";
        let link = "https://till.example/claim/x#y";
        let claim = json!({"id": "key_1", "provider": "openai", "maxTokens": 9, "claimUrl": link});
        assert!(says(&claim).contains("\n  https://till.example/claim/x#y\n"), "{}", says(&claim));
        check("mine", ["# base URL: https://till.example", curl]);
    }
}
