//! How many tokens an input has, where the cheap bound on its bytes is too dear: by a public tokenizer, or by asking
//! the provider at an endpoint that costs nothing.
//!
//! Both are estimates, as the providers say themselves, so what is set aside is never less than
//! [`with_margin`].

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use tiktoken_rs::CoreBPE;

use crate::provider::Provider;
use crate::request::{Question, bedrock_model};

/// The longest body that is tokenised here, in bytes: longer ones keep the processor busy for too long.
pub const TOKENISED_MAX: usize = 1024 * 1024;

/// A request that asks a provider how many tokens the input of another one has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountRequest {
    /// The path, before it is made final.
    pub path: String,
    /// The JSON body.
    pub body: Vec<u8>,
}

/// What is set aside for an input that was estimated at `count` tokens: 5 % more, and 512 at least.
pub fn with_margin(count: u64) -> u64 {
    count.saturating_add((count / 20).max(512))
}

/// Members of a Messages request that count as input, as the token counting endpoint takes them. It "accepts the same
/// structured list of inputs", with tools, images and documents, and "is free to use"
/// (<https://platform.claude.com/docs/en/build-with-claude/token-counting>).
const ANTHROPIC: &[&str] = &[
    "cache_control",
    "context_management",
    "messages",
    "model",
    "output_config",
    "output_format",
    "system",
    "thinking",
    "tool_choice",
    "tools",
];

/// Those of a request to Gemini, whose `countTokens` takes the whole of it
/// (<https://ai.google.dev/api/tokens#method:-models.counttokens>).
const GOOGLE: &[&str] = &[
    "cachedContent",
    "cached_content",
    "contents",
    "generationConfig",
    "generation_config",
    "systemInstruction",
    "system_instruction",
    "toolConfig",
    "tool_config",
    "tools",
];

/// Those of a request to Converse. Schemas of answers are none of them
/// (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseTokensRequest.html>).
const CONVERSE: &[&str] = &["additionalModelRequestFields", "messages", "system", "toolConfig"];

/// Those of a request to OpenAI's Responses
/// (<https://developers.openai.com/api/docs/guides/token-counting>).
const RESPONSES: &[&str] = &[
    "conversation",
    "input",
    "instructions",
    "model",
    "parallel_tool_calls",
    "previous_response_id",
    "reasoning",
    "text",
    "tool_choice",
    "tools",
    "truncation",
];

impl CountRequest {
    /// The request that counts the input of another one; `None` where the provider has no endpoint that counts all of it.
    /// Images, documents and tools are counted too.
    pub fn of(question: &Question<'_>) -> Option<Self> {
        let path = question.path.as_str();
        match question.provider.table_id()? {
            "anthropic" if path == "/v1/messages" => {
                Some(Self::to("/v1/messages/count_tokens".to_owned(), &members(question, ANTHROPIC)?.into()))
            }
            "openai" if path == "/v1/responses" => {
                Some(Self::to("/v1/responses/input_tokens".to_owned(), &members(question, RESPONSES)?.into()))
            }
            "google" => {
                let (model, verb) = path.rsplit_once(':')?;
                if verb != "generateContent" && verb != "streamGenerateContent" {
                    return None;
                }
                let mut body = members(question, GOOGLE)?;
                let (_, name) = model.rsplit_once('/')?;
                body.insert("model".to_owned(), format!("models/{name}").into());
                Some(Self::to(format!("{model}:countTokens"), &json!({ "generateContentRequest": body })))
            }
            "bedrock" => Self::of_bedrock(question),
            _ => None,
        }
    }

    /// Only for Claude, and only under the name of the model itself, without the region of a profile
    /// (<https://docs.aws.amazon.com/bedrock/latest/userguide/count-tokens.html>).
    fn of_bedrock(question: &Question<'_>) -> Option<Self> {
        let model = bedrock_model(question).ok()?;
        let model = &model[model.find("anthropic.")?..];
        let (_, verb) = question.path.as_str().rsplit_once('/')?;
        let input = match verb {
            "converse" | "converse-stream" => {
                let all: Map<String, Value> = serde_json::from_slice(question.body).ok()?;
                if all.get("outputConfig").is_some_and(|config| !config.is_null()) {
                    return None;
                }
                json!({ "converse": members(question, CONVERSE)? })
            }
            "invoke" | "invoke-with-response-stream" => {
                json!({ "invokeModel": { "body": STANDARD.encode(question.body) } })
            }
            _ => return None,
        };
        let path = format!("/model/{}/count-tokens", model.replace(':', "%3A"));
        Some(Self::to(path, &json!({ "input": input })))
    }

    fn to(path: String, body: &Value) -> Self {
        Self { path, body: body.to_string().into_bytes() }
    }
}

/// These members of a body.
fn members(question: &Question<'_>, known: &[&str]) -> Option<Map<String, Value>> {
    let mut body: Map<String, Value> = serde_json::from_slice(question.body).ok()?;
    body.retain(|name, _| known.contains(&name.as_str()));
    Some(body)
}

/// The figure in the answer to a [`CountRequest`].
pub fn counted(answer: &[u8]) -> Option<u64> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    ["input_tokens", "totalTokens", "inputTokens"].into_iter().find_map(|name| answer.get(name)?.as_u64())
}

/// What the provider tells a model beside descriptions of tools or schemas of answers. Nothing is documented; recorded
/// requests with tools used up to 175 tokens more than their bodies have.
const TOOL_PROMPT_TOKENS: u64 = 512;

/// Members of a body with which such a prompt comes.
const PROMPTED: [&str; 4] = ["tools", "functions", "response_format", "text"];

/// Tokens of a whole request body that is text only, by OpenAI's public tokenizer; `None` for models whose tokenizer
/// is not public and for long bodies. The JSON around the text counts too: it has more tokens than what the provider
/// puts around each message (<https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken>). Tools and schemas
/// are written anew, nobody says how, so they count a second time, indented: of `[1,1,1]` a line for each number has
/// more tokens. Takes milliseconds, and about 150 of them the first time.
pub fn tokenise(provider: &Provider, model: &str, body: &[u8]) -> Option<u64> {
    if !is_tokenisable(provider, model, body) {
        return None;
    }
    let text = std::str::from_utf8(body).ok()?;
    let encoding = encoding(model)?;
    let members: Map<String, Value> = serde_json::from_slice(body).ok()?;
    let given = |name: &str| members.get(name).filter(|value| !value.is_null());
    let rendered = RENDERED.iter().filter_map(|name| serde_json::to_string_pretty(given(name)?).ok());
    let again: usize = rendered.map(|text| encoding.encode_ordinary(&text).len()).sum();
    let has_prompt = PROMPTED.iter().any(|name| given(name).is_some());
    let prompt = if has_prompt { TOOL_PROMPT_TOKENS } else { 0 };
    let tokens = u64::try_from(encoding.encode_ordinary(text).len() + again).ok()?;
    Some(tokens.saturating_add(prompt))
}

/// Members that the provider writes anew for the model.
const RENDERED: [&str; 5] = ["functions", "response_format", "text", "tool_choice", "tools"];

/// Whether [`tokenise`] has an answer.
pub fn is_tokenisable(provider: &Provider, model: &str, body: &[u8]) -> bool {
    matches!(provider.table_id(), Some("openai" | "azure-openai"))
        && body.len() <= TOKENISED_MAX
        && family(model).is_some()
}

/// The two vocabularies of OpenAI's models that are sold today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    O200k,
    Cl100k,
}

/// Prefixes of model names, as in OpenAI's own tokenizer library
/// (<https://github.com/openai/tiktoken/blob/main/tiktoken/model.py>); the first that fits counts.
const FAMILIES: [(&str, Family); 11] = [
    ("gpt-4o", Family::O200k),
    ("chatgpt-4o", Family::O200k),
    ("gpt-4.1", Family::O200k),
    ("gpt-4.5", Family::O200k),
    ("gpt-5", Family::O200k),
    ("o1", Family::O200k),
    ("o3", Family::O200k),
    ("o4-mini", Family::O200k),
    ("gpt-4", Family::Cl100k),
    ("gpt-3.5-turbo", Family::Cl100k),
    ("text-embedding-3-", Family::Cl100k),
];

fn family(model: &str) -> Option<Family> {
    FAMILIES.iter().find(|(prefix, _)| model.starts_with(prefix)).map(|(_, family)| *family)
}

fn encoding(model: &str) -> Option<&'static CoreBPE> {
    static O200K: LazyLock<Option<CoreBPE>> = LazyLock::new(|| tiktoken_rs::o200k_base().ok());
    static CL100K: LazyLock<Option<CoreBPE>> = LazyLock::new(|| tiktoken_rs::cl100k_base().ok());
    match family(model)? {
        Family::O200k => O200K.as_ref(),
        Family::Cl100k => CL100K.as_ref(),
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};
    use till_core::fields::Fields;
    use till_core::path::{FinalPath, RawPath};

    use super::{CountRequest, counted, with_margin};
    use crate::Registry;
    use crate::request::Question;

    /// Where a request is counted, and with which body.
    fn asked(provider: &str, path: &str, body: &Value) -> Option<(String, Value)> {
        let registry = Registry::builtin();
        let provider = registry.get(provider).expect("built in");
        let raw = RawPath::parse(path.as_bytes()).expect("a path");
        let path: FinalPath = provider.final_path(&raw).expect("a good path");
        let body = body.to_string().into_bytes();
        let question = Question {
            provider,
            method: &Method::POST,
            path: &path,
            query: None,
            headers: &Fields::default(),
            body: &body,
        };
        let request = CountRequest::of(&question)?;
        Some((request.path, serde_json::from_slice(&request.body).expect("JSON")))
    }

    #[test]
    fn all_that_is_input_is_counted_and_nothing_else_is_sent() {
        let image = json!([{ "type": "image", "source": { "type": "file", "file_id": "f" } }]);
        let message = json!([{ "role": "user", "content": image }]);
        let body = json!({ "model": "m", "messages": message, "max_tokens": 9, "stream": true, "tools": [] });
        let expected = json!({ "model": "m", "messages": message, "tools": [] });
        let messages = asked("anthropic", "/v1/messages", &body);
        assert_eq!(messages, Some(("/v1/messages/count_tokens".to_owned(), expected)));

        let body =
            json!({ "model": "m", "input": "Hi", "previous_response_id": "r", "max_output_tokens": 9 });
        let expected = json!({ "model": "m", "input": "Hi", "previous_response_id": "r" });
        let responses = asked("openai", "/v1/responses", &body);
        assert_eq!(responses, Some(("/v1/responses/input_tokens".to_owned(), expected)));

        let body =
            json!({ "contents": [], "system_instruction": {}, "cachedContent": "c", "serviceTier": "flex" });
        let (path, asked_for) =
            asked("google", "/v1beta/models/gemini-x:streamGenerateContent", &body).expect("counted");
        assert_eq!(path, "/v1beta/models/gemini-x:countTokens");
        assert_eq!(
            asked_for,
            json!({ "generateContentRequest": { "contents": [], "system_instruction": {}, "cachedContent": "c",
                "model": "models/gemini-x" } })
        );
    }

    #[test]
    fn bedrock_counts_for_claude_under_its_own_name() {
        let body = json!({ "messages": [], "toolConfig": { "tools": [] }, "inferenceConfig": {} });
        let path = "/model/us.anthropic.claude-sonnet-4-20250514-v1%3A0/converse-stream";
        let (path, asked_for) = asked("bedrock", path, &body).expect("counted");
        assert_eq!(path, "/model/anthropic.claude-sonnet-4-20250514-v1%3A0/count-tokens");
        assert_eq!(
            asked_for,
            json!({ "input": { "converse": { "messages": [], "toolConfig": { "tools": [] } } } })
        );

        let body = json!({ "anthropic_version": "bedrock-2023-05-31" });
        let path = "/model/anthropic.claude-haiku-4-5-20251001-v1:0/invoke";
        let (_, asked_for) = asked("bedrock", path, &body).expect("counted");
        let encoded = asked_for.pointer("/input/invokeModel/body").and_then(Value::as_str).expect("a body");
        assert_eq!(encoded, "eyJhbnRocm9waWNfdmVyc2lvbiI6ImJlZHJvY2stMjAyMy0wNS0zMSJ9");
    }

    #[test]
    fn what_nothing_counts_in_full_is_not_counted() {
        let schema = json!({ "messages": [], "outputConfig": { "textFormat": {} } });
        for (provider, path, body) in [
            ("openai", "/v1/chat/completions", json!({ "model": "m" })),
            ("anthropic", "/v1/messages/batches", json!({})),
            ("google", "/v1beta/models/m:embedContent", json!({})),
            ("bedrock", "/model/anthropic.claude-haiku-4-5-20251001-v1:0/converse", schema),
            ("bedrock", "/model/amazon.nova-lite-v1:0/converse", json!({})),
            ("groq", "/openai/v1/chat/completions", json!({})),
        ] {
            assert_eq!(asked(provider, path, &body), None, "{provider} {path}");
        }
    }

    #[test]
    fn an_estimate_is_never_held_as_it_is() {
        assert_eq!((with_margin(0), with_margin(100_000), with_margin(u64::MAX)), (512, 105_000, u64::MAX));
        for answer in [r#"{"input_tokens":7}"#, r#"{"totalTokens":7,"x":1}"#, r#"{"inputTokens":7}"#] {
            assert_eq!(counted(answer.as_bytes()), Some(7), "{answer}");
        }
        for answer in ["", "7", r#"{"input_tokens":-7}"#, r#"{"input_tokens":"7"}"#, r#"{"error":{}}"#] {
            assert_eq!(counted(answer.as_bytes()), None, "{answer}");
        }
    }
}
