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
    known(&body, &CHAT)?;
    let mut input = InputBound::new(FACTOR);
    let messages = body.given("messages").and_then(|messages| messages.as_array()).unwrap_or_default();
    for (index, message) in messages.iter().enumerate() {
        input.message();
        if message.raw().contains("image_url") {
            return Err(unbounded(
                &format!("messages[{index}]"),
                "has an image, whose tokens are not documented.",
            ));
        }
        input.text(message);
    }
    finish(row, question, prices, &body, input)
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
    known(&body, &CHAT_V1)?;
    let mut input = InputBound::new(FACTOR);
    for name in ["message", "chat_history", "preamble", "tool_results"] {
        if let Some(value) = body.given(name) {
            input.message();
            input.text(&value);
            let items = value.as_array().map_or(0, |items| items.len());
            (0..items).for_each(|_| input.message());
        }
    }
    finish(row, question, prices, &body, input)
}

/// What both versions have in common.
fn finish(
    row: &'static Endpoint,
    question: &Question<'_>,
    prices: &PriceTable,
    body: &Object<'_>,
    mut input: InputBound,
) -> Result<RequestFacts, Refused> {
    let model = cap::name_of_model(body)?;
    let price = prices.find(question.provider.price_id(), &model);
    for name in ["documents", "tools", "response_format"] {
        if let Some(value) = body.given(name) {
            input.schema(&value, name)?;
        }
    }
    let mut facts = RequestFacts::metered(row);
    input.finish(price.and_then(ModelPrice::context_window), &mut facts)?;
    facts.output = Some(cap::find(body, &["max_tokens"], price.and_then(ModelPrice::max_output))?);
    facts.model = Some(model);
    Ok(facts)
}

fn known(body: &Object<'_>, members: &[&str]) -> Result<(), Refused> {
    match body.iter().find(|(name, value)| !value.is_null() && !members.contains(name)) {
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
    known(&body, &EMBED)?;
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

const RERANK: [&str; 8] = [
    "documents",
    "max_chunks_per_doc",
    "max_tokens_per_doc",
    "model",
    "priority",
    "query",
    "rank_fields",
    "return_documents",
];

/// A search unit is a query with up to 100 documents; one of more than 500 tokens, the query included, counts as
/// several (<https://cohere.com/pricing>). Each byte may be a token.
fn rerank(row: &'static Endpoint, question: &Question<'_>, _: &PriceTable) -> Result<RequestFacts, Refused> {
    const DOCUMENTS_PER_UNIT: u64 = 100;
    const TOKENS_PER_DOCUMENT: u64 = 500;
    let body = Object::parse(question.body)?;
    known(&body, &[&RERANK[..], &["top_n"]].concat())?;
    let query = body.given("query").map_or(0, |query| query.text_bytes());
    let documents = body.given("documents").and_then(|list| list.as_array()).unwrap_or_default();
    if query.saturating_mul(FACTOR) * 2 > TOKENS_PER_DOCUMENT {
        return Err(unbounded("query", "is too long for its cost to be bounded. Shorten it to 125 bytes."));
    }
    let room = TOKENS_PER_DOCUMENT - query * FACTOR;
    let chunks: u64 =
        documents.iter().map(|document| (document.text_bytes() * FACTOR).div_ceil(room).max(1)).sum();
    let mut facts = RequestFacts::metered(row);
    facts.input.set(Unit::RerankSearches, chunks.div_ceil(DOCUMENTS_PER_UNIT).max(1));
    facts.model = Some(cap::name_of_model(&body)?);
    Ok(facts)
}
