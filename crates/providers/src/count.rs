//! How many tokens an input has, where the cheap bound on its bytes is too dear: by a public tokenizer, or by asking
//! the provider at an endpoint that costs nothing.
//!
//! Both are estimates, as the providers say themselves, so what is set aside is never less than
//! [`with_margin`].

use std::sync::LazyLock;

use serde_json::{Map, Value};
use tiktoken_rs::CoreBPE;

use crate::provider::Provider;
use crate::request::Question;

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

/// Members of a Messages request that count as input, as the token counting endpoint takes them:
/// <https://platform.claude.com/docs/en/api/messages-count-tokens>.
const ANTHROPIC_MEMBERS: [&str; 8] =
    ["messages", "model", "output_config", "output_format", "system", "thinking", "tool_choice", "tools"];

impl CountRequest {
    /// The request that counts the input of another one; `None` where the provider has no such endpoint.
    pub fn of(question: &Question<'_>) -> Option<Self> {
        let path = question.path.as_str();
        match question.provider.table_id()? {
            "anthropic" if path == "/v1/messages" => {
                let mut body: Map<String, Value> = serde_json::from_slice(question.body).ok()?;
                body.retain(|name, _| ANTHROPIC_MEMBERS.contains(&name.as_str()));
                Some(Self { path: "/v1/messages/count_tokens".to_owned(), body: to_bytes(&body.into()) })
            }
            // <https://ai.google.dev/api/tokens#method:-models.counttokens>
            "google" => {
                let (model, verb) = path.rsplit_once(':')?;
                if verb != "generateContent" && verb != "streamGenerateContent" {
                    return None;
                }
                let mut body: Map<String, Value> = serde_json::from_slice(question.body).ok()?;
                let (_, name) = model.rsplit_once('/')?;
                body.insert("model".to_owned(), format!("models/{name}").into());
                let body = Map::from_iter([("generateContentRequest".to_owned(), body.into())]);
                Some(Self { path: format!("{model}:countTokens"), body: to_bytes(&body.into()) })
            }
            _ => None,
        }
    }
}

/// The figure in the answer to a [`CountRequest`].
pub fn counted(answer: &[u8]) -> Option<u64> {
    let answer: Value = serde_json::from_slice(answer).ok()?;
    ["input_tokens", "totalTokens"].into_iter().find_map(|name| answer.get(name)?.as_u64())
}

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
    let rendered = RENDERED.iter().filter_map(|name| serde_json::to_string_pretty(members.get(*name)?).ok());
    let again: usize = rendered.map(|text| encoding.encode_ordinary(&text).len()).sum();
    u64::try_from(encoding.encode_ordinary(text).len() + again).ok()
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

fn to_bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}
