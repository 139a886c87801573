//! Cohere's API, versions 1 and 2.

use super::endpoint::{Endpoint, LOOK, POST};
use super::object::{Object, Value};
use super::text::InputBound;
use super::{Question, RUNS_THERE, Refused, RequestFacts, UNKNOWN, cap, unbounded};
use crate::price::{ModelPrice, PriceTable};
use crate::usage::{AnswerFormat, Unit};

const PRICING: &str = "https://cohere.com/pricing";

pub(super) static ENDPOINTS: [Endpoint; 8] = [
    Endpoint::metered("/v2/chat", "chat", AnswerFormat::Cohere, chat, PRICING),
    Endpoint::metered("/v1/chat", "chat.v1", AnswerFormat::Cohere, chat_v1, PRICING),
    Endpoint::metered("/*/embed", "embed", AnswerFormat::Cohere, embed, PRICING),
    Endpoint::metered("/*/rerank", "rerank", AnswerFormat::Cohere, rerank, PRICING),
    Endpoint::free(POST, "/v1/tokenize", "tokenize", "https://docs.cohere.com/reference/tokenize"),
    Endpoint::free(POST, "/v1/detokenize", "detokenize", "https://docs.cohere.com/reference/detokenize"),
    Endpoint::free(
        POST,
        "/v1/check-api-key",
        "check-api-key",
        "https://docs.cohere.com/reference/checkapikey",
    ),
    Endpoint::free(LOOK, "/v1/models/**", "models", "https://docs.cohere.com/reference/list-models"),
];

/// Byte-level, but texts are normalised before.
const FACTOR: u64 = 2;

/// An image of an embedding: nothing is documented.
const IMAGE_TOKENS: u64 = 16_384;

/// Members of a message (<https://docs.cohere.com/reference/chat>).
const MESSAGE: [&str; 6] = ["role", "content", "tool_calls", "tool_call_id", "tool_plan", "citations"];

const CHAT: [&str; 24] = [
    "citation_options",
    "documents",
    "frequency_penalty",
    "k",
    "logprobs",
    "max_tokens",
    "messages",
    "model",
    "p",
    "presence_penalty",
    "priority",
    "raw_prompting",
    "reasoning_effort",
    "response_format",
    "safety_mode",
    "seed",
    "stop_sequences",
    "stream",
    "strict_tools",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "prompt_truncation",
];

fn chat(
    row: &'static Endpoint,
    question: &Question<'_>,
    prices: &PriceTable,
) -> Result<RequestFacts, Refused> {
    let body = Object::parse(question.body)?;
    known(question, &body, &CHAT)?;
    let mut input = InputBound::new(FACTOR);
    let malformed = || Refused::Malformed("\"messages\" must be an array of objects.".to_owned());
    let messages = body.given("messages").map(|messages| messages.as_array().ok_or_else(malformed));
    for (index, message) in messages.transpose()?.unwrap_or_default().iter().enumerate() {
        let place = format!("messages[{index}]");
        input.message();
        for (name, value) in message.as_object().ok_or_else(malformed)?.iter() {
            match name {
                "content" if !value.is_str() => parts(&value, &place, &mut input)?,
                name if !MESSAGE.contains(&name) && !value.is_null() => {
                    return Err(unbounded(&format!("{place}.{name}"), UNKNOWN));
                }
                _ if value.is_str() => input.text(&value),
                _ => input.json(&value, &place)?,
            }
        }
    }
    let model = cap::name_of_model(&body)?;
    finish(row, question, prices, &body, model, input)
}

/// The parts of a message. An image of a vision model has 256 tokens per tile, but nothing says how many tiles it may
/// have.
fn parts(value: &Value<'_>, place: &str, input: &mut InputBound) -> Result<(), Refused> {
    for part in value.as_array().unwrap_or_default() {
        let kind = part.as_object().and_then(|part| part.given("type")?.as_str()).unwrap_or_default();
        input.message();
        match kind.as_ref() {
            "text" | "thinking" => input.text(&part),
            "document" => input.json(&part, place)?,
            kind => {
                let rule = "is a kind of input whose tokens are not documented. Send it as text.";
                return Err(unbounded(&format!("{place}.content.type {kind:?}"), rule));
            }
        }
    }
    Ok(())
}

const CHAT_V1: [&str; 24] = [
    "chat_history",
    "citation_quality",
    "documents",
    "force_single_step",
    "frequency_penalty",
    "k",
    "max_input_tokens",
    "max_tokens",
    "message",
    "model",
    "p",
    "preamble",
    "presence_penalty",
    "prompt_truncation",
    "raw_prompting",
    "response_format",
    "safety_mode",
    "search_queries_only",
    "seed",
    "stop_sequences",
    "stream",
    "temperature",
    "tool_results",
    "tools",
];

fn chat_v1(
    row: &'static Endpoint,
    question: &Question<'_>,
    prices: &PriceTable,
) -> Result<RequestFacts, Refused> {
    let body = Object::parse(question.body)?;
    let model = cap::name_of_model(&body)?;
    read_v1(row, question, prices, &body, model)
}

/// Reads a body of version 1, which Bedrock takes too.
pub(super) fn read_v1(
    row: &'static Endpoint,
    question: &Question<'_>,
    prices: &PriceTable,
    body: &Object<'_>,
    model: String,
) -> Result<RequestFacts, Refused> {
    known_or_hosted(question, body, &CHAT_V1)?;
    let mut input = InputBound::new(FACTOR);
    if let Some(connectors) = body.given("connectors") {
        input.hosted_tool(&connectors, "connectors", &["connectors"], "connectors")?;
    }
    for name in ["message", "chat_history", "preamble", "tool_results"] {
        let Some(value) = body.given(name) else { continue };
        input.message();
        if value.is_str() {
            input.text(&value);
        } else {
            input.json(&value, name)?;
        }
        let items = value.as_array().map_or(0, |items| items.len());
        (0..items).for_each(|_| input.message());
    }
    finish(row, question, prices, body, model, input)
}

/// What both versions have in common. `max_tokens` is "the maximum number of output tokens the model will generate in
/// the response", thoughts included: they are content of the response.
fn finish(
    row: &'static Endpoint,
    question: &Question<'_>,
    prices: &PriceTable,
    body: &Object<'_>,
    model: String,
    mut input: InputBound,
) -> Result<RequestFacts, Refused> {
    let price = prices.find(question.provider.price_id(), &model);
    for name in ["documents", "tools", "response_format"] {
        if let Some(value) = body.given(name) {
            input.schema(&value, name)?;
            let items = value.as_array().map_or(0, |items| items.len());
            (0..items).for_each(|_| input.message());
        }
    }
    let mut facts = RequestFacts::metered(row);
    input.finish(price.and_then(ModelPrice::context_window), &mut facts)?;
    facts.output = Some(cap::find(body, &["max_tokens"], price.and_then(ModelPrice::max_output))?);
    facts.model = Some(model);
    Ok(facts)
}

/// The same with what makes the provider search.
fn known_or_hosted(question: &Question<'_>, body: &Object<'_>, members: &[&str]) -> Result<(), Refused> {
    let members: Vec<&str> = members.iter().copied().chain(["connectors"]).collect();
    known(question, body, &members)
}

fn known(question: &Question<'_>, body: &Object<'_>, members: &[&str]) -> Result<(), Refused> {
    let unknown = |name: &str| !members.contains(&name) && !question.provider.is_neutral_field(name);
    match body.iter().find(|(name, value)| !value.is_null() && unknown(name)) {
        Some((name @ ("connectors" | "conversation_id"), _)) => Err(unbounded(name, RUNS_THERE)),
        Some((name, _)) => Err(unbounded(name, UNKNOWN)),
        None => Ok(()),
    }
}

const EMBED: [&str; 11] = [
    "embedding_types",
    "images",
    "input_type",
    "inputs",
    "max_tokens",
    "model",
    "output_dimension",
    "priority",
    "texts",
    "truncate",
    "texts_type",
];

fn embed(row: &'static Endpoint, question: &Question<'_>, _: &PriceTable) -> Result<RequestFacts, Refused> {
    let body = Object::parse(question.body)?;
    known(question, &body, &EMBED)?;
    let mut input = InputBound::new(FACTOR);
    let list = |name: &str| body.given(name).and_then(|list| list.as_array()).unwrap_or_default();
    for text in list("texts") {
        input.message();
        input.text(&text);
    }
    for _ in list("images") {
        input.image(IMAGE_TOKENS);
    }
    for (index, item) in list("inputs").iter().enumerate() {
        input.message();
        let parts = item.as_object().and_then(|item| item.given("content")?.as_array()).unwrap_or_default();
        for part in parts {
            embed_part(&part, index, &mut input)?;
        }
    }
    let mut facts = RequestFacts::metered(row);
    input.finish(None, &mut facts)?;
    facts.model = Some(cap::name_of_model(&body)?);
    Ok(facts)
}

fn embed_part(part: &Value<'_>, index: usize, input: &mut InputBound) -> Result<(), Refused> {
    let kind =
        part.as_object().and_then(|part| part.given("type")?.as_str().map(std::borrow::Cow::into_owned));
    match kind.as_deref() {
        Some("text") => input.text(part),
        Some("image_url") => input.image(IMAGE_TOKENS),
        other => {
            return Err(unbounded(&format!("inputs[{index}].type {:?}", other.unwrap_or_default()), UNKNOWN));
        }
    }
    Ok(())
}

const RERANK: [&str; 9] = [
    "documents",
    "max_chunks_per_doc",
    "max_tokens_per_doc",
    "model",
    "priority",
    "query",
    "rank_fields",
    "return_documents",
    "top_n",
];

/// A search unit is a query with up to 100 documents; one of more than 500 tokens, the query included, counts as
/// several (<https://cohere.com/pricing>).
fn rerank(row: &'static Endpoint, question: &Question<'_>, _: &PriceTable) -> Result<RequestFacts, Refused> {
    const DOCUMENTS_PER_UNIT: u64 = 100;
    const TOKENS_PER_DOCUMENT: u64 = 500;
    /// What the query must leave of them.
    const ROOM_MIN: u64 = 50;
    let body = Object::parse(question.body)?;
    known(question, &body, &RERANK)?;
    let query = body.given("query").map_or(0, |query| tokens(&query));
    let room = TOKENS_PER_DOCUMENT.saturating_sub(query);
    if room < ROOM_MIN {
        let rule = "is too long for its cost to be bounded. Shorten it to 450 letters, or 225 bytes if not all are ASCII.";
        return Err(unbounded("query", rule));
    }
    let documents = body.given("documents").and_then(|list| list.as_array()).unwrap_or_default();
    let chunks = documents.iter().map(|document| tokens(document).div_ceil(room).max(1));
    let chunks = chunks.fold(0_u64, u64::saturating_add);
    let mut facts = RequestFacts::metered(row);
    facts.input.set(Unit::RerankSearches, chunks.div_ceil(DOCUMENTS_PER_UNIT).max(1));
    facts.model = Some(cap::name_of_model(&body)?);
    Ok(facts)
}

/// The most tokens of a text. A token stands for a byte at least, and nothing normalises ASCII.
fn tokens(value: &Value<'_>) -> u64 {
    let is_ascii = value.raw().is_ascii() && !value.raw().contains("\\u");
    value.text_bytes().saturating_mul(if is_ascii { 1 } else { FACTOR })
}
