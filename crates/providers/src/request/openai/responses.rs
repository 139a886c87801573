//! The Responses API.

use super::super::endpoint::Endpoint;
use super::super::object::{Object, Value};
use super::super::text::{InputBound, Medium};
use super::super::{CacheWrite, Question, RUNS_THERE, Refused, RequestFacts, UNKNOWN, cap, unbounded};
use super::chat::{parts, service_tier};
use super::dialect::{Dialect, dialect};
use crate::price::{ModelPrice, PriceTable};

/// The lowest cap that is accepted: <https://platform.openai.com/docs/api-reference/responses/create>.
const CAP_MIN: u64 = 16;

/// Members that change nothing about what a request costs, or are read below.
const MEMBERS: [&str; 27] = [
    "background",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
    "verbosity",
];

/// Reads a request for a response.
pub(super) fn responses(
    row: &'static Endpoint,
    question: &Question<'_>,
    prices: &PriceTable,
) -> Result<RequestFacts, Refused> {
    let dialect = dialect(question.provider.table_id().unwrap_or_default())?;
    let body = Object::parse(question.body)?;
    let model = cap::name_of_model(&body)?;
    if dialect.is_agent(&model) {
        return Err(unbounded(&format!("model {model:?}"), RUNS_THERE));
    }
    if let Some((name, _)) = body.iter().find(|(name, value)| !value.is_null() && !MEMBERS.contains(name)) {
        let rule = if matches!(name, "prompt" | "conversation" | "context_management" | "moderation") {
            RUNS_THERE
        } else {
            UNKNOWN
        };
        return Err(unbounded(name, rule));
    }
    let price = prices.find(question.provider.price_id(), &model);
    let mut facts = RequestFacts::metered(row);
    let mut input = InputBound::new(dialect.factor);
    if let Some(instructions) = body.given("instructions") {
        input.message();
        input.text(&instructions);
    }
    if body.given("previous_response_id").is_some() {
        input.unseen("previous_response_id", Medium::Document);
    }
    if let Some(value) = body.given("input") {
        items(&value, dialect, &model, &mut input)?;
    }
    if let Some(tools) = body.given("tools") {
        function_tools(&tools, "tools", &mut input)?;
    }
    if let Some(text) = body.given("text") {
        input.schema(&text, "text")?;
    }
    service_tier(&body, price, &mut facts)?;
    input.finish(price.and_then(ModelPrice::context_window), &mut facts)?;
    facts.cache_write = CacheWrite::FiveMinutes;
    let mut output = cap::find(&body, &["max_output_tokens"], price.and_then(ModelPrice::max_output))?;
    output.min = CAP_MIN;
    facts.output = Some(output);
    facts.model = Some(model);
    Ok(facts)
}

fn items(value: &Value<'_>, dialect: &Dialect, model: &str, input: &mut InputBound) -> Result<(), Refused> {
    if value.is_str() {
        input.message();
        input.text(value);
        return Ok(());
    }
    let items = value
        .as_array()
        .ok_or_else(|| Refused::Malformed("\"input\" must be a text or an array.".to_owned()))?;
    for (index, item) in items.iter().enumerate() {
        let place = format!("input[{index}]");
        let object =
            item.as_object().ok_or_else(|| Refused::Malformed(format!("{place} must be an object.")))?;
        input.message();
        let kind = object.given("type").and_then(|kind| kind.as_str());
        match kind.as_deref() {
            None | Some("message") => {
                for (name, value) in object.iter().filter(|(_, value)| !value.is_null()) {
                    if name == "content" && !value.is_str() {
                        parts(&value, &format!("{place}.content"), dialect.image_tokens(model), input)?;
                    } else if matches!(name, "content" | "role" | "type" | "status" | "id" | "phase") {
                        input.text(&value);
                    } else {
                        return Err(unbounded(&format!("{place}.{name}"), UNKNOWN));
                    }
                }
            }
            Some("function_call" | "custom_tool_call" | "reasoning") => input.text(item),
            Some("function_call_output" | "custom_tool_call_output") => {
                match object.given("output").filter(|output| !output.is_str()) {
                    Some(output) => {
                        parts(&output, &format!("{place}.output"), dialect.image_tokens(model), input)?;
                    }
                    None => input.text(item),
                }
            }
            Some("item_reference") => input.unseen(&place, Medium::Document),
            Some(other) => {
                let rule = "is a kind of input whose tokens can't be bounded. Ask whoever minted this key for one without \
                            a limit in tokens or money.";
                return Err(unbounded(&format!("{place}.type {other:?}"), rule));
            }
        }
    }
    Ok(())
}

fn function_tools(value: &Value<'_>, name: &str, input: &mut InputBound) -> Result<(), Refused> {
    for (index, tool) in value.as_array().unwrap_or_default().iter().enumerate() {
        let place = format!("{name}[{index}]");
        let object = tool.as_object();
        let kind = object.as_ref().and_then(|tool| tool.given("type")).and_then(|kind| kind.as_str());
        match kind.as_deref() {
            Some("function" | "custom") => input.schema(tool, &place)?,
            // A group of the client's own functions.
            Some("namespace") => {
                if let Some(inner) = object.as_ref().and_then(|tool| tool.given("tools")) {
                    function_tools(&inner, &format!("{place}.tools"), input)?;
                }
            }
            other => {
                let what = format!("{place}.type {:?}", other.unwrap_or_default());
                return Err(unbounded(&what, RUNS_THERE));
            }
        }
    }
    Ok(())
}

/// An endpoint whose answers can be read, but whose output has no cap.
pub(super) fn uncapped(
    _: &'static Endpoint,
    question: &Question<'_>,
    _: &PriceTable,
) -> Result<RequestFacts, Refused> {
    let rule = "makes output that no parameter caps. Ask whoever minted this key for one without a limit in tokens or \
                money.";
    Err(unbounded(question.path.as_str(), rule))
}
