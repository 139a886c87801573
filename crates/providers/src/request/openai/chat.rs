//! Chat completions, and the completions before them.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::super::endpoint::Endpoint;
use super::super::object::{Object, Value};
use super::super::text::{InputBound, Medium, with_room};
use super::super::{CacheWrite, Edit, Question, RUNS_THERE, Refused, RequestFacts, UNKNOWN, cap, unbounded};
use super::dialect::{Asked, Dialect};
use super::openrouter::cap_price;
use super::parts::Reader;
use crate::price::{ModelPrice, PriceTable};
use crate::provider::Provider;
use crate::usage::Unit;

/// Members that change nothing about what a request costs.
const NEUTRAL: [&str; 27] = [
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "metadata",
    "min_p",
    "parallel_tool_calls",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning_effort",
    "safety_identifier",
    "seed",
    "stop",
    "store",
    "temperature",
    "top_k",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    // Read below.
    "messages",
    "model",
    "n",
    "response_format",
    "service_tier",
    "stream",
    "stream_options",
];

/// Those of the next list that make the provider search, and ask no other model.
const SEARCHES: [&str; 3] = ["web_search_options", "search_parameters", "search_settings"];

/// Types of tools that the provider runs, and that ask no other model.
const HOSTED: [&str; 5] = ["browser_search", "code_interpreter", "live_search", "web_search", "x_search"];

/// Members that make the provider search, run tools or ask other models.
const RUNS: [&str; 14] = [
    "web_search_options",
    "search_parameters",
    "search_settings",
    "compound_custom",
    "plugins",
    "models",
    "route",
    "preset",
    "agent_id",
    "deferred",
    "documents",
    "guardrails",
    "provider",
    "moderation",
];

/// Tokens of a prompt that Mistral puts in front (<https://docs.mistral.ai/api>: "Assignment to actual SPs is handled
/// internally"). Its length is not documented.
const OWN_PROMPT: u64 = 1_024;

/// Why a prediction has no bound: <https://platform.openai.com/docs/guides/predicted-outputs#limitations>.
const PREDICTED: &str = "is billed as output where it turns out to be wrong, beyond the cap. Leave it out.";

/// Members of a message that hold text of its own, besides its content.
const MESSAGE: [&str; 15] = [
    "role",
    "name",
    "tool_calls",
    "tool_call_id",
    "function_call",
    "refusal",
    "reasoning",
    "reasoning_content",
    "reasoning_details",
    "prefix",
    "annotations",
    "cache_control",
    "partial",
    "thinking",
    "index",
];

/// Finds the name of what asks for a cache.
static CACHE_CONTROL: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("cache_control"));

/// Reads a chat request.
pub(super) fn chat(
    row: &'static Endpoint,
    question: &Question<'_>,
    prices: &PriceTable,
) -> Result<RequestFacts, Refused> {
    let Asked { dialect, body, model } = Asked::of(question, Dialect::hides_model)?;
    let price = prices.find(question.provider.price_id(), &model);
    let mut facts = RequestFacts::metered(row);
    let mut input = InputBound::new(dialect.factor);
    let mut reader = Reader { dialect, model: &model, input: &mut input, audio: None };
    if dialect.is_agent(&model) {
        reader.input.runs_there(&format!("model {model:?}"));
    }
    let (mut is_cached_longer, may_be_cached) = (false, body.may_mention(&CACHE_CONTROL));
    for (name, value) in body.iter().filter(|(_, value)| !value.is_null()) {
        is_cached_longer |= may_be_cached && (name == "cache_control" || value.mentions("cache_control"));
        match name {
            "messages" => messages(&value, &mut reader)?,
            "tools" => tools(&value, question.provider, reader.input)?,
            "functions" => reader.input.schema(&value, "functions")?,
            "response_format" => answer_format(&value, reader.input)?,
            "modalities" => only_text(&value)?,
            // A list of allowed tools may be shown to the model.
            "tool_choice" | "function_call" => reader.any(&value, name)?,
            // Texts that the model may cite: <https://console.groq.com/docs/api-reference#chat-create>.
            "documents" if dialect.id == "groq" => reader.any(&value, name)?,
            // Mistral puts a prompt of its own in front.
            "prompt_mode" | "safe_prompt" if dialect.id == "mistral" => reader.input.hidden(OWN_PROMPT),
            name if dialect.caps.contains(&name) || dialect.is_neutral(name, &value) => {}
            name if NEUTRAL.contains(&name) => {}
            name if question.provider.is_neutral_field(name) => {}
            name if SEARCHES.contains(&name) && !value.mentions("model") => reader.input.runs_there(name),
            name if RUNS.contains(&name) => return Err(unbounded(name, RUNS_THERE)),
            "prediction" => return Err(unbounded(name, PREDICTED)),
            name => return Err(unbounded(name, UNKNOWN)),
        }
    }
    facts.unbounded_spend = reader.audio.take().and_then(|place| unpriced_audio(&place, price));
    if dialect.id == "openrouter" {
        cap_price(&body, price, &mut facts)?;
    }
    service_tier(&body, price, &mut facts)?;
    input.finish(price.and_then(ModelPrice::context_window).map(with_room), &mut facts)?;
    // Some providers write caches on their own, at a price where there is one.
    facts.cache_write = if is_cached_longer { CacheWrite::OneHour } else { CacheWrite::FiveMinutes };
    let mut output = dialect.cap(question.body, &body, price, &mut facts)?;
    if let Some(choices) = body.given("n") {
        output.outputs = cap::whole(&choices, "n")?.max(1);
    }
    facts.output = Some(output);
    ask_for_usage(&body, dialect, &mut facts)?;
    facts.model = Some(model);
    Ok(facts)
}

fn only_text(value: &Value<'_>) -> Result<(), Refused> {
    let items = value.as_array().unwrap_or_default();
    if items.iter().all(|item| item.as_str().is_some_and(|kind| kind == "text")) {
        return Ok(());
    }
    Err(unbounded("modalities", "ask for more than text, whose cost is not bounded by the output cap."))
}

/// The service tier must be one whose price is known.
pub(super) fn service_tier(
    body: &Object<'_>,
    price: Option<&ModelPrice>,
    facts: &mut RequestFacts,
) -> Result<(), Refused> {
    let tier = body.given("service_tier").map(|tier| tier.as_str().unwrap_or_default());
    let tier = tier.unwrap_or("auto".into());
    // "If set to 'auto', then the request will be processed with the service tier configured in the Project settings"
    // (<https://platform.openai.com/docs/api-reference/chat/create>), which may be the dearer one.
    let has_priority =
        price.is_some_and(|price| price.variants("service_tier").any(|known| known == "priority"));
    if tier == "auto" && has_priority {
        let mut dearer = facts.context.clone();
        dearer.set("service_tier", "priority");
        facts.other_contexts.push(dearer);
    }
    if body.given("service_tier").is_none() {
        return Ok(());
    }
    let is_plain =
        matches!(tier.as_ref(), "auto" | "default" | "on_demand" | "standard" | "flex" | "standard_only");
    let is_priced = price.is_none_or(|price| price.variants("service_tier").any(|known| known == tier));
    if !is_plain && !is_priced {
        return Err(unbounded("service_tier", "asks for a tier whose price is not known. Leave it out."));
    }
    // A cheaper tier may be answered by the plain one: "This response value may be different from the value set in the
    // parameter" (<https://platform.openai.com/docs/api-reference/chat/create>). The answer tells.
    if tier != "flex" {
        facts.context.set("service_tier", tier);
    }
    Ok(())
}

fn messages(value: &Value<'_>, reader: &mut Reader<'_>) -> Result<(), Refused> {
    let messages =
        value.as_objects().ok_or_else(|| Refused::Malformed("\"messages\" must be an array.".to_owned()))?;
    for (index, message) in messages.enumerate() {
        let message =
            message.ok_or_else(|| Refused::Malformed(format!("messages[{index}] must be an object.")))?;
        reader.input.message();
        for (name, value) in message.iter().filter(|(_, value)| !value.is_null()) {
            // Nearly always nobody reads it.
            let place = format_args!("messages[{index}].{name}");
            reader.input.bytes(name.len() as u64);
            match name {
                "content" => reader.content(&value, place)?,
                // What the model said before, by its name.
                "audio" => reader.input.unseen(&place.to_string(), Medium::Audio),
                name if MESSAGE.contains(&name) => reader.any(&value, place)?,
                _ => return Err(unbounded(&place.to_string(), UNKNOWN)),
            }
        }
    }
    Ok(())
}

/// The form of the answer: a schema is shown to the model.
pub(super) fn answer_format(value: &Value<'_>, input: &mut InputBound) -> Result<(), Refused> {
    let is_plain = |object: Object<'_>| {
        object.iter().count() == 1
            && object.given("type").and_then(|kind| kind.as_str()).is_some_and(|kind| kind == "text")
    };
    if value.as_object().is_some_and(is_plain) {
        return Ok(());
    }
    input.schema(value, "response_format")
}

/// Why sound in the input has no bound in money, if so.
pub(super) fn unpriced_audio(place: &str, price: Option<&ModelPrice>) -> Option<Refused> {
    let has = |unit| price.is_some_and(|price| price.has_figure(unit));
    if has(Unit::AudioMillis) || has(Unit::InputAudioMillis) {
        let rule = "is audio, which this model bills by its length, and nothing in a request bounds that. Use a key with a \
                    limit in tokens instead.";
        return Some(unbounded(place, rule));
    }
    if price.is_some() && !has(Unit::InputAudioTokens) {
        let rule = "is audio, and no price of audio is known for this model. Whoever runs this till instance can add \
                    one, as `input_audio_tokens`.";
        return Some(unbounded(place, rule));
    }
    None
}

fn tools(value: &Value<'_>, provider: &Provider, input: &mut InputBound) -> Result<(), Refused> {
    let tools = value.as_array();
    let tools = tools.ok_or_else(|| Refused::Malformed("\"tools\" must be an array.".to_owned()))?;
    for (index, tool) in tools.iter().enumerate() {
        let object = tool.as_object();
        let given = |name: &str| object.as_ref().and_then(|tool| tool.given(name));
        let kind = given("type").and_then(|kind| kind.as_str());
        match kind.as_deref() {
            // Some leave out the type of the only kind that there was at first.
            None if given("function").is_some() => input.schema(tool, &format!("tools[{index}]"))?,
            Some("function" | "custom") => input.schema(tool, &format!("tools[{index}]"))?,
            Some(kind) if provider.is_neutral_tool(kind) => {
                input.schema(tool, &format!("tools[{index}]"))?;
            }
            other => {
                let kind = other.unwrap_or_default();
                input.hosted_tool(tool, kind, &HOSTED, &format!("tools[{index}].type {kind:?}"))?;
            }
        }
    }
    Ok(())
}

/// A stream tells what was used only if it is asked to.
fn ask_for_usage(body: &Object<'_>, dialect: &Dialect, facts: &mut RequestFacts) -> Result<(), Refused> {
    if !cap::flag(body, "stream")? || !dialect.asks_for_usage {
        return Ok(());
    }
    let options = body.given("stream_options");
    let Some(options) = options else {
        let text = match body.get("stream_options") {
            Some(null) => Edit { range: null.range(), text: "{\"include_usage\":true}".to_owned() },
            None => Edit {
                range: body.end()..body.end(),
                text: format!("{}{{\"include_usage\":true}}", cap::member(body, "stream_options")),
            },
        };
        facts.edits.push(text);
        facts.strips_usage_chunk = true;
        return Ok(());
    };
    let object = options
        .as_object()
        .ok_or_else(|| Refused::Malformed("\"stream_options\" must be an object.".to_owned()))?;
    match object.get("include_usage") {
        Some(value) if value.as_bool() == Some(true) => {}
        Some(value) => {
            facts.edits.push(Edit { range: value.range(), text: "true".to_owned() });
            facts.strips_usage_chunk = true;
        }
        None => {
            let at = object.end();
            let text = format!("{}true", cap::member(&object, "include_usage"));
            facts.edits.push(Edit { range: at..at, text });
            facts.strips_usage_chunk = true;
        }
    }
    Ok(())
}

/// Members of the older completions.
const COMPLETIONS: [&str; 20] = [
    "best_of",
    "echo",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_tokens",
    "model",
    "n",
    "presence_penalty",
    "prompt",
    "seed",
    "stop",
    "stream",
    "stream_options",
    "suffix",
    "temperature",
    "top_k",
    "top_p",
    "repetition_penalty",
    "user",
];

/// Reads a request for completions.
pub(super) fn completions(
    row: &'static Endpoint,
    question: &Question<'_>,
    prices: &PriceTable,
) -> Result<RequestFacts, Refused> {
    let Asked { dialect, body, model } = Asked::of(question, Dialect::is_agent)?;
    let is_known = |name: &str, value: &Value<'_>| {
        COMPLETIONS.contains(&name)
            || dialect.is_neutral(name, value)
            || question.provider.is_neutral_field(name)
    };
    if let Some((name, _)) = body.iter().find(|(name, value)| !value.is_null() && !is_known(name, value)) {
        return Err(unbounded(name, if RUNS.contains(&name) { RUNS_THERE } else { UNKNOWN }));
    }
    let price = prices.find(question.provider.price_id(), &model);
    let mut facts = RequestFacts::metered(row);
    let mut input = InputBound::new(dialect.factor);
    let prompts = match body.given("prompt") {
        Some(prompt) => texts(&prompt, "prompt", &mut input)?,
        None => 1,
    };
    if let Some(suffix) = body.given("suffix") {
        input.text(&suffix);
    }
    input.finish(None, &mut facts)?;
    facts.cache_write = CacheWrite::FiveMinutes;
    let mut output = cap::find(&body, &["max_tokens"], price.and_then(ModelPrice::max_output))?;
    // What holds at OpenAI when none is given; a higher one that till puts in would make the answer longer.
    if matches!(dialect.id, "openai" | "azure-openai") {
        output.requested = output.requested.or(Some(16));
    }
    let count = |name: &str| body.given(name).map_or(Ok(1), |value| cap::whole(&value, name));
    // `echo` gives the prompt back, which is billed as input only.
    output.outputs = count("n")?.max(count("best_of")?).max(1).saturating_mul(prompts);
    facts.output = Some(output);
    ask_for_usage(&body, dialect, &mut facts)?;
    facts.model = Some(model);
    Ok(facts)
}

/// A text, an array of texts, an array of tokens, or an array of such arrays: how many there are.
pub(super) fn texts(value: &Value<'_>, name: &str, input: &mut InputBound) -> Result<u64, Refused> {
    let malformed =
        || Refused::Malformed(format!("{name:?} must be a text, or an array of texts or tokens."));
    if value.is_str() {
        input.text(value);
        return Ok(1);
    }
    let items = value.as_array().ok_or_else(malformed)?;
    if items.iter().all(|item| item.as_u64().is_some()) {
        input.tokens(items.len() as u64);
        return Ok(1);
    }
    for item in &items {
        input.message();
        match item.as_array() {
            Some(tokens) if tokens.iter().all(|token| token.as_u64().is_some()) => {
                input.tokens(tokens.len() as u64);
            }
            None if item.is_str() => input.text(item),
            _ => return Err(malformed()),
        }
    }
    Ok(items.len() as u64)
}
