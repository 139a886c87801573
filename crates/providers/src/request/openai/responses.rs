//! The Responses API.

use std::borrow::Cow;

use super::super::endpoint::Endpoint;
use super::super::object::{Object, Value};
use super::super::text::{InputBound, Medium, with_room};
use super::super::{CacheWrite, Question, RUNS_THERE, Refused, RequestFacts, UNKNOWN, cap, unbounded};
use super::chat::{answer_format, service_tier, unpriced_audio};
use super::dialect::{Asked, Dialect};
use super::openrouter::cap_price;
use super::parts::Reader;
use crate::price::{ModelPrice, PriceTable};
use crate::provider::Provider;

/// Why a reference to a stored prompt has no bound.
const HIDDEN: &str = "stands for a model, tools and texts that only the provider knows. Send them instead.";

/// The lowest cap that is accepted: <https://platform.openai.com/docs/api-reference/responses/create>.
const CAP_MIN: u64 = 16;

/// Members that change nothing about what a request costs, or are read below.
const MEMBERS: [&str; 29] = [
    "background",
    // Codex: names its session and turn.
    "client_metadata",
    "conversation",
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
    let Asked { dialect, body, model } = Asked::of(question, Dialect::hides_model)?;
    let is_known = |name: &str, value: &Value<'_>| {
        MEMBERS.contains(&name) || dialect.is_neutral(name, value) || question.provider.is_neutral_field(name)
    };
    if let Some((name, _)) = body.iter().find(|(name, value)| !value.is_null() && !is_known(name, value)) {
        let rule = match name {
            "prompt" => HIDDEN,
            "context_management" | "moderation" | "plugins" | "models" | "search_parameters" => RUNS_THERE,
            _ => UNKNOWN,
        };
        return Err(unbounded(name, rule));
    }
    let price = prices.find(question.provider.price_id(), &model);
    let mut facts = RequestFacts::metered(row);
    let mut input = InputBound::new(dialect.factor);
    if dialect.is_agent(&model) {
        input.runs_there(&format!("model {model:?}"));
    }
    if let Some(instructions) = body.given("instructions") {
        input.message();
        input.text(&instructions);
    }
    // Only items: what a conversation holds comes before the input.
    for name in ["previous_response_id", "conversation"] {
        if body.given(name).is_some() {
            input.unseen(name, Medium::Document);
        }
    }
    let mut reader = Reader { dialect, model: &model, input: &mut input, audio: None };
    if let Some(value) = body.given("input") {
        items(&value, question.provider, &mut reader)?;
    }
    if let Some(choice) = body.given("tool_choice") {
        reader.any(&choice, "tool_choice")?;
    }
    facts.unbounded_spend = reader.audio.take().and_then(|place| unpriced_audio(&place, price));
    if dialect.id == "openrouter" {
        cap_price(&body, price, &mut facts)?;
    }
    if let Some(tools) = body.given("tools") {
        function_tools(&tools, "tools", question.provider, &mut input)?;
    }
    if let Some(format) = body.given("text").and_then(|text| text.as_object()?.given("format")) {
        answer_format(&format, &mut input)?;
    }
    service_tier(&body, price, &mut facts)?;
    input.finish(price.and_then(ModelPrice::context_window).map(with_room), &mut facts)?;
    facts.cache_write = CacheWrite::FiveMinutes;
    let mut output = cap::find(&body, &["max_output_tokens"], price.and_then(ModelPrice::max_output))?;
    output.min = CAP_MIN;
    facts.output = Some(output);
    facts.model = Some(model);
    Ok(facts)
}

fn items(value: &Value<'_>, provider: &Provider, reader: &mut Reader<'_>) -> Result<(), Refused> {
    if value.is_str() {
        reader.input.message();
        reader.input.text(value);
        return Ok(());
    }
    let items = value
        .as_array()
        .ok_or_else(|| Refused::Malformed("\"input\" must be a text or an array.".to_owned()))?;
    for (index, item) in items.iter().enumerate() {
        let place = format!("input[{index}]");
        let object =
            item.as_object().ok_or_else(|| Refused::Malformed(format!("{place} must be an object.")))?;
        reader.input.message();
        let kind = object.given("type").and_then(|kind| kind.as_str());
        match kind.as_deref() {
            None | Some("message") => message(&object, &place, reader)?,
            Some("reasoning") => reasoning(item, &object, &place, reader.input)?,
            Some(
                "function_call_output"
                | "custom_tool_call_output"
                | "computer_call_output"
                | "local_shell_call_output"
                | "shell_call_output"
                | "apply_patch_call_output",
            ) => output(&object, &place, reader)?,
            Some("tool_search_output" | "additional_tools") => {
                if let Some(tools) = object.given("tools") {
                    function_tools(&tools, &format!("{place}.tools"), provider, reader.input)?;
                }
                reader.members(&object, &place, |name| name == "tools")?;
            }
            // What the client ran, or is to run, in full.
            Some(
                "function_call" | "custom_tool_call" | "tool_search_call" | "computer_call"
                | "local_shell_call" | "shell_call" | "apply_patch_call",
            ) => reader.input.json(item, &place)?,
            // What the provider ran: by their ids it may know more of it than stands here. It runs again only if the tool
            // is in `tools`.
            Some(
                "item_reference"
                | "compaction"
                | "web_search_call"
                | "file_search_call"
                | "code_interpreter_call"
                | "image_generation_call"
                | "mcp_list_tools"
                | "mcp_call"
                | "mcp_approval_request",
            ) => {
                reader.input.unseen(&place, Medium::Document);
                let is_sealed = |name: &str| matches!(name, "encrypted_content" | "result");
                reader.members(&object, &place, is_sealed)?;
            }
            Some(other) => {
                let rule = "is a kind of input whose tokens can't be bounded. Ask whoever minted this key for one without \
                            a limit in tokens or money.";
                return Err(unbounded(&format!("{place}.type {other:?}"), rule));
            }
        }
    }
    Ok(())
}

fn message(object: &Object<'_>, place: &str, reader: &mut Reader<'_>) -> Result<(), Refused> {
    for (name, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        let place = format!("{place}.{name}");
        match name {
            "content" => reader.content(&value, &place)?,
            "role" | "type" | "status" | "id" | "phase" | "name" => reader.any(&value, &place)?,
            // Codex sends it with each message. Counted as if the model saw it.
            "internal_chat_message_metadata_passthrough" => reader.any(&value, &place)?,
            _ => return Err(unbounded(&place, UNKNOWN)),
        }
    }
    Ok(())
}

/// The result of a call that the client ran: a text, parts, or a screenshot.
fn output(object: &Object<'_>, place: &str, reader: &mut Reader<'_>) -> Result<(), Refused> {
    reader.members(object, place, |name| name == "output")?;
    let Some(output) = object.given("output") else { return Ok(()) };
    let place = format!("{place}.output");
    match output.as_object() {
        Some(part) => reader.part(&part, &place),
        // Of a shell: objects with what was written, and how it ended.
        None if output.as_array().is_some_and(|parts| parts.iter().all(is_no_part)) => {
            reader.input.json(&output, &place)
        }
        None => reader.content(&output, &place),
    }
}

fn is_no_part(value: &Value<'_>) -> bool {
    value.as_object().is_some_and(|object| object.get("type").is_none() && object.get("stdout").is_some())
}

/// The least that reasoning takes in its encrypted form, in bytes of base64. Shorter ones were seen for reasoning of 1,344
/// and more tokens (o3-mini, August 2025), so they are references to what the provider keeps; of longer ones a token had
/// 5.8 bytes and more.
const SEALED_MIN: usize = 900;

/// Reasoning: as text, encrypted, or by the id under which the provider keeps it
/// (<https://platform.openai.com/docs/guides/reasoning#encrypted-reasoning-items>).
fn reasoning(
    item: &Value<'_>,
    object: &Object<'_>,
    place: &str,
    input: &mut InputBound,
) -> Result<(), Refused> {
    let sealed = object.given("encrypted_content").map_or(0, |sealed| sealed.range().len());
    let has_text = object.given("content").is_some_and(|content| content.text_bytes() > 0);
    if sealed < SEALED_MIN && (sealed > 0 || !has_text) {
        input.unseen(place, Medium::Document);
    }
    input.json(item, place)
}

fn function_tools(
    value: &Value<'_>,
    name: &str,
    provider: &Provider,
    input: &mut InputBound,
) -> Result<(), Refused> {
    let tools = value.as_array();
    let tools = tools.ok_or_else(|| Refused::Malformed(format!("{name:?} must be an array.")))?;
    for (index, tool) in tools.iter().enumerate() {
        let place = format!("{name}[{index}]");
        let object = tool.as_object();
        let given = |name: &str| object.as_ref().and_then(|tool| tool.given(name));
        let kind = given("type").and_then(|kind| kind.as_str());
        let is_local = || {
            let environment = given("environment").and_then(|place| place.as_object());
            let kind = environment.and_then(|place| place.given("type")?.as_str().map(Cow::into_owned));
            kind.as_deref() == Some("local")
        };
        match kind.as_deref() {
            Some("function" | "custom") => input.schema(tool, &place)?,
            // A group of the client's own functions.
            Some("namespace") => {
                if let Some(inner) = given("tools") {
                    function_tools(&inner, &format!("{place}.tools"), provider, input)?;
                }
                input.schema(tool, &place)?;
            }
            // Tools whose work the client does: <https://platform.openai.com/docs/guides/tools>.
            Some("local_shell" | "apply_patch" | "computer_use_preview" | "computer") => {
                client_tool(tool, &place, input)?;
            }
            Some("shell") if is_local() => client_tool(tool, &place, input)?,
            Some("tool_search") if given("execution").is_some_and(|how| how.raw() == "\"client\"") => {
                client_tool(tool, &place, input)?;
            }
            Some(kind) if provider.is_neutral_tool(kind) => input.schema(tool, &place)?,
            other => {
                let kind = other.unwrap_or_default();
                input.hosted_tool(tool, kind, &HOSTED, &format!("{place}.type {kind:?}"))?;
            }
        }
    }
    Ok(())
}

/// Types of tools that the provider runs, and that ask no other model: images are made by one.
const HOSTED: [&str; 13] = [
    "browser_search",
    "code_execution",
    "code_interpreter",
    "collections_search",
    "file_search",
    "mcp",
    "shell",
    "tool_search",
    "web_search",
    "web_search_2025_08_26",
    "web_search_preview",
    "web_search_preview_2025_03_11",
    "x_search",
];

/// Tokens of the description that the provider itself has of a tool which the client runs. None is documented.
const CLIENT_TOOL: u64 = 4_096;

fn client_tool(tool: &Value<'_>, place: &str, input: &mut InputBound) -> Result<(), Refused> {
    input.hidden(CLIENT_TOOL);
    input.schema(tool, place)
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
