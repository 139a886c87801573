//! Requests under a limit: whatever the body is, it is refused or bounded, and what the provider gets differs from it
//! in nothing but the cap and the wish for usage.
//!
//! Input: a byte for the endpoint, `A` being the first of [`ENDPOINTS`]; the body.

use http::Method;
use serde_json::{Map, Value};
use till_core::fields::Fields;
use till_core::path::{FinalPath, RawPath};
use till_core::time::Timestamp;
use till_providers::bound::demand;
use till_providers::price::PriceTable;
use till_providers::provider::Provider;
use till_providers::registry::Registry;
use till_providers::request::{Edit, Question, Refused, RequestFacts, facts};

/// Provider and path of every endpoint that is metered. New ones go to the end: the corpus counts on the order.
pub const ENDPOINTS: [(&str, &str); 70] = [
    ("openai", "/v1/chat/completions"),
    ("openai", "/v1/responses"),
    ("openai", "/v1/responses/compact"),
    ("openai", "/v1/completions"),
    ("openai", "/v1/embeddings"),
    ("openai", "/v1/images/generations"),
    ("openai", "/v1/audio/speech"),
    ("anthropic", "/v1/messages"),
    ("google", "/v1beta/models/gemini-2.5-flash:generateContent"),
    ("google", "/v1beta/models/gemini-2.5-flash:streamGenerateContent"),
    ("google", "/v1beta/models/gemini-embedding-001:embedContent"),
    ("google", "/v1beta/models/gemini-embedding-001:batchEmbedContents"),
    ("cohere", "/v2/chat"),
    ("cohere", "/v1/chat"),
    ("cohere", "/v2/embed"),
    ("cohere", "/v2/rerank"),
    ("bedrock", "/model/amazon.nova-lite-v1:0/converse"),
    ("bedrock", "/model/amazon.nova-lite-v1:0/converse-stream"),
    ("bedrock", "/model/anthropic.claude-3-haiku-20240307-v1:0/invoke"),
    ("bedrock", "/model/amazon.titan-embed-text-v2:0/invoke-with-response-stream"),
    ("azure-openai", "/openai/v1/chat/completions"),
    ("azure-openai", "/openai/v1/responses"),
    ("azure-openai", "/openai/v1/embeddings"),
    ("mistral", "/v1/chat/completions"),
    ("mistral", "/v1/embeddings"),
    ("groq", "/openai/v1/chat/completions"),
    ("together", "/v1/chat/completions"),
    ("together", "/v1/completions"),
    ("together", "/v1/embeddings"),
    ("fireworks", "/inference/v1/chat/completions"),
    ("fireworks", "/inference/v1/completions"),
    ("fireworks", "/inference/v1/embeddings"),
    ("deepseek", "/chat/completions"),
    ("deepseek", "/v1/chat/completions"),
    ("deepseek", "/beta/chat/completions"),
    ("deepseek", "/v1/responses"),
    ("xai", "/v1/chat/completions"),
    ("xai", "/v1/responses"),
    ("openrouter", "/api/v1/chat/completions"),
    ("cerebras", "/v1/chat/completions"),
    ("zai", "/api/paas/v4/chat/completions"),
    ("huggingface", "/v1/chat/completions"),
    ("huggingface", "/nebius/v1/chat/completions"),
    ("huggingface", "/novita/v3/openai/chat/completions"),
    ("perplexity", "/chat/completions"),
    ("perplexity", "/v1/chat/completions"),
    ("openai", "/v1/images/edits"),
    ("openai", "/v1/audio/transcriptions"),
    ("openai", "/v1/audio/translations"),
    ("azure-openai", "/openai/v1/audio/speech"),
    ("azure-openai", "/openai/v1/audio/transcriptions"),
    ("azure-openai", "/openai/v1/audio/translations"),
    ("azure-openai", "/openai/v1/images/generations"),
    ("azure-openai", "/openai/v1/images/edits"),
    ("mistral", "/v1/fim/completions"),
    ("mistral", "/v1/audio/speech"),
    ("mistral", "/v1/audio/transcriptions"),
    ("groq", "/openai/v1/responses"),
    ("groq", "/openai/v1/audio/speech"),
    ("groq", "/openai/v1/audio/transcriptions"),
    ("groq", "/openai/v1/audio/translations"),
    ("together", "/v1/audio/transcriptions"),
    ("together", "/v1/audio/translations"),
    ("fireworks", "/inference/v1/responses"),
    ("deepseek", "/beta/completions"),
    ("openrouter", "/api/v1/responses"),
    ("openrouter", "/api/v1/embeddings"),
    ("cerebras", "/v1/completions"),
    ("perplexity", "/v1/embeddings"),
    ("mistral", "/v1/ocr"),
];

/// Caps that are granted: one that is in no corpus file, and the highest.
const CAPS: [u64; 2] = [1_234_567, u64::MAX];

const AT: Timestamp = Timestamp(1_795_348_800_000);

/// The tables, which take long to build.
struct World {
    registry: Registry,
    prices: PriceTable,
}

impl World {
    fn get() -> &'static Self {
        static WORLD: std::sync::OnceLock<World> = std::sync::OnceLock::new();
        WORLD.get_or_init(|| Self { registry: Registry::builtin(), prices: PriceTable::builtin() })
    }
}

/// The place that a request goes to.
pub struct Place<'a> {
    pub provider: &'a Provider,
    pub path: FinalPath,
    prices: &'a PriceTable,
}

impl Place<'static> {
    /// The one of a byte; every byte is one of them.
    pub fn of(byte: u8) -> Self {
        let (id, path) = ENDPOINTS[usize::from(byte.wrapping_sub(b'A')) % ENDPOINTS.len()];
        let World { registry, prices } = World::get();
        let provider = registry.get(id).expect("a known provider");
        let raw = RawPath::parse(path.as_bytes()).expect("a good path");
        Self { provider, path: provider.final_path(&raw).expect("a good path"), prices }
    }

    /// Whether the endpoint hears audio, in a form. The boundary is `x`.
    fn takes_forms(&self) -> bool {
        let path = self.path.as_str();
        path.ends_with("/audio/transcriptions") || path.ends_with("/audio/translations")
    }

    fn facts(&self, body: &[u8]) -> Result<RequestFacts, Refused> {
        let mut headers = Fields::default();
        if self.takes_forms() {
            headers.push("content-type", "multipart/form-data; boundary=x");
        }
        let question = Question {
            provider: self.provider,
            method: &Method::POST,
            path: &self.path,
            query: None,
            headers: &headers,
            body,
        };
        facts(&question, self.prices)
    }
}

/// Checks one input.
pub fn check(input: &[u8]) {
    let [place, body @ ..] = input else { return };
    let place = Place::of(*place);
    let Ok(facts) = place.facts(body) else { return };
    if facts.is_free {
        return;
    }
    let price = facts.model.as_deref().and_then(|model| place.prices.find(place.provider.price_id(), model));
    for clamp in [false, true] {
        // Refused or not, it must not stumble over any number.
        if let Ok(demand) = demand(&facts, price, true, AT, clamp) {
            assert!(demand.steps_min <= demand.steps_wanted, "{demand:?}");
            assert!(demand.tokens_fixed >= facts.input.tokens(), "{demand:?}");
            demand.units(demand.steps_wanted);
        }
    }
    for cap in CAPS {
        let rewritten = facts.rewrite(body, facts.output.as_ref().map(|_| cap));
        if place.takes_forms() {
            assert_eq!(rewritten, body, "a form passes as it is");
            continue;
        }
        let before: Value = serde_json::from_slice(body).expect("what was understood is JSON");
        let after: Value = serde_json::from_slice(&rewritten)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&rewritten)));
        assert_eq!(after, expected(before, &facts, cap));
        let again = place.facts(&rewritten).unwrap_or_else(|error| {
            panic!("{error}: {}", String::from_utf8_lossy(&rewritten));
        });
        same(&facts, &again, cap);
    }
}

/// The body as the documentation of the provider would have it, made without looking at places in it.
fn expected(mut body: Value, facts: &RequestFacts, cap: u64) -> Value {
    let members = body.as_object_mut().expect("an object");
    // Some providers document one of the two names of the cap.
    let is_renamed = |edit: &Edit| edit.text.starts_with("\"max_") && edit.text.ends_with("tokens\"");
    if facts.edits.iter().any(is_renamed) {
        members.remove("max_tokens");
        members.remove("max_completion_tokens");
    }
    for edit in &facts.spend_edits {
        let most = object_at(object_at(members, "provider"), "max_price");
        // In place of a null it is the number alone.
        if let Ok(number) = serde_json::from_str::<serde_json::Number>(&edit.text) {
            let names = ["prompt", "completion"];
            let name = names.into_iter().find(|name| most.get(*name).is_some_and(Value::is_null));
            most.insert(name.expect("a null").to_owned(), number.into());
            continue;
        }
        for name in ["prompt", "completion"].into_iter().filter(|name| edit.text.contains(name)) {
            most.insert(name.to_owned(), number_after(&edit.text, name));
        }
    }
    if facts.edits.iter().any(|edit| !is_renamed(edit)) {
        object_at(members, "stream_options").insert("include_usage".to_owned(), true.into());
    }
    let Some(output) = &facts.output else { return body };
    let present = |members: &Map<String, Value>, names: &[&'static str]| {
        names.iter().copied().find(|name| members.contains_key(*name)).unwrap_or(names[0])
    };
    match output.parameter {
        "maxOutputTokens" => {
            let config = present(members, &["generationConfig", "generation_config"]);
            let config = object_at(members, config);
            let name = present(config, &["maxOutputTokens", "max_output_tokens"]);
            config.insert(name.to_owned(), cap.into());
        }
        "maxTokens" => {
            object_at(members, "inferenceConfig").insert("maxTokens".to_owned(), cap.into());
        }
        name => {
            members.insert(name.to_owned(), cap.into());
        }
    }
    body
}

/// The number of a member in a piece of JSON.
fn number_after(text: &str, name: &str) -> Value {
    let (_, after) = text.split_once(&format!("\"{name}\":")).expect("a member");
    let end = after.find([',', '}']).unwrap_or(after.len());
    serde_json::from_str(&after[..end]).expect("a number")
}

/// The object under a name, put there if there is none.
fn object_at<'m>(members: &'m mut Map<String, Value>, name: &str) -> &'m mut Map<String, Value> {
    let value = members.entry(name).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("an object")
}

/// What the provider gets is bounded by the same facts, and needs no more changes.
fn same(facts: &RequestFacts, again: &RequestFacts, cap: u64) {
    assert_eq!(again.endpoint, facts.endpoint);
    assert_eq!(again.model, facts.model);
    assert_eq!(again.is_free, facts.is_free);
    assert_eq!(again.answer, facts.answer);
    assert_eq!(again.input, facts.input);
    assert_eq!(again.is_plain_text, facts.is_plain_text);
    assert_eq!(again.cache_write, facts.cache_write);
    assert_eq!(format!("{:?}", again.context), format!("{:?}", facts.context));
    assert!(again.edits.is_empty(), "{:?}", again.edits);
    assert!(again.spend_edits.is_empty(), "{:?}", again.spend_edits);
    assert!(!again.strips_usage_chunk, "the client would lose a chunk that it asked for");
    assert_eq!(again.output.is_some(), facts.output.is_some());
    if let (Some(again), Some(output)) = (&again.output, &facts.output) {
        assert_eq!(again.requested, Some(cap));
        assert_eq!(again.parameter, output.parameter);
        assert_eq!(again.default, output.default);
        assert_eq!(again.min, output.min);
        assert_eq!(again.outputs, output.outputs);
        assert_eq!(again.also, output.also);
    }
}
