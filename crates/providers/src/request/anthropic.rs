//! Anthropic's Messages API.

use super::endpoint::{Endpoint, LOOK, POST};
use super::object::{Object, Value};
use super::text::InputBound;
use super::{CacheWrite, Question, RUNS_THERE, Refused, RequestFacts, UNKNOWN, cap, unbounded};
use crate::price::{ModelPrice, PriceTable};
use crate::usage::{AnswerFormat, Unit};

pub(super) static ENDPOINTS: [Endpoint; 4] = [
    Endpoint::metered(
        "/v1/messages",
        "messages",
        AnswerFormat::Anthropic,
        messages,
        "https://platform.claude.com/docs/en/about-claude/pricing",
    ),
    // "Token counting is free to use".
    Endpoint::free(
        POST,
        "/v1/messages/count_tokens",
        "messages.count_tokens",
        "https://platform.claude.com/docs/en/build-with-claude/token-counting",
    ),
    Endpoint::free(LOOK, "/v1/models", "models.list", "https://platform.claude.com/docs/en/api/models-list"),
    Endpoint::free(LOOK, "/v1/models/*", "models.retrieve", "https://platform.claude.com/docs/en/api/models"),
];

/// The vocabulary is not public.
const FACTOR: u64 = 2;

/// An image has at most about 1,600 tokens on older models and 4,784 on those that take large ones
/// (<https://platform.claude.com/docs/en/build-with-claude/vision>), doubled.
const IMAGE_TOKENS: u64 = 9_568;

/// Values of `anthropic-beta` that start nothing which is billed beside the tokens of the request
/// (<https://platform.claude.com/docs/en/api/beta-headers>). Compared without their date.
const BETAS: [&str; 24] = [
    "claude-code",
    "context-1m",
    "effort",
    "extended-cache-ttl",
    "files-api",
    "fine-grained-tool-streaming",
    "interleaved-thinking",
    "max-tokens-3-5-sonnet",
    "message-batches",
    "messages",
    "oauth",
    "output-128k",
    "output-300k",
    "pdfs",
    "prompt-caching",
    "prompt-caching-scope",
    "redact-thinking",
    "structured-outputs",
    "summarize-connector-text",
    "thinking-token-count",
    "token-counting",
    "token-efficient-tools",
    "tool-examples",
    "tools",
];

/// Tools that the client runs, with tokens of their own beside their description: `computer` 735, `text_editor` 700,
/// `bash` 245 (<https://platform.claude.com/docs/en/about-claude/pricing#tool-use-pricing>), all doubled.
const CLIENT_TOOLS: [(&str, u64); 4] =
    [("bash_", 490), ("text_editor_", 1_400), ("computer_", 1_470), ("memory_", 2_048)];

/// Members that change nothing about what a request costs, or are read below.
const MEMBERS: [&str; 20] = [
    "cache_control",
    "inference_geo",
    "max_tokens",
    "messages",
    "metadata",
    "model",
    "output_config",
    "output_format",
    "service_tier",
    "speed",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
    "anthropic_version",
];

fn messages(
    row: &'static Endpoint,
    question: &Question<'_>,
    prices: &PriceTable,
) -> Result<RequestFacts, Refused> {
    betas(question)?;
    let body = Object::parse(question.body)?;
    let model = cap::name_of_model(&body)?;
    let price = prices.find(question.provider.price_id(), &model);
    let mut facts = read(row, &body, price)?;
    facts.model = Some(model);
    Ok(facts)
}

/// Reads a body, which Bedrock and others take too.
pub(super) fn read(
    row: &'static Endpoint,
    body: &Object<'_>,
    price: Option<&ModelPrice>,
) -> Result<RequestFacts, Refused> {
    if let Some((name, _)) = body
        .iter()
        .find(|(name, value)| !value.is_null() && !MEMBERS.contains(name) && *name != "anthropic_beta")
    {
        let rule = if matches!(name, "mcp_servers" | "container" | "context_management" | "fallbacks") {
            RUNS_THERE
        } else {
            UNKNOWN
        };
        return Err(unbounded(name, rule));
    }
    let mut facts = RequestFacts::metered(row);
    let mut input = InputBound::new(FACTOR);
    if let Some(system) = body.given("system") {
        input.message();
        content(&system, "system", &mut input)?;
    }
    if let Some(list) = body.given("messages") {
        conversation(&list, &mut input)?;
    }
    if let Some(list) = body.given("tools") {
        tools(&list, &mut input)?;
    }
    for name in ["output_config", "output_format"] {
        if let Some(value) = body.given(name) {
            input.schema(&value, name)?;
        }
    }
    input.finish(price.and_then(ModelPrice::context_window), &mut facts)?;
    facts.cache_write = cache_write(body);
    tier_and_speed(body, price, &mut facts)?;
    let mut output = cap::find(body, &["max_tokens"], price.and_then(ModelPrice::max_output))?;
    if let Some(thinking) = body.given("thinking").and_then(|thinking| thinking.as_object())
        && let Some(budget) = thinking.given("budget_tokens")
    {
        // "must be less than max_tokens": a lower cap would break the request.
        output.min = cap::whole(&budget, "thinking.budget_tokens")?.saturating_add(1);
    }
    facts.output = Some(output);
    Ok(facts)
}

fn betas(question: &Question<'_>) -> Result<(), Refused> {
    for header in question.headers.get_all("anthropic-beta") {
        for value in
            header.to_str().unwrap_or("?").split(',').map(str::trim).filter(|value| !value.is_empty())
        {
            let name =
                value.trim_end_matches(|character: char| character.is_ascii_digit() || character == '-');
            if !BETAS.contains(&name) && !BETAS.contains(&value) {
                return Err(unbounded(&format!("anthropic-beta {value:?}"), UNKNOWN));
            }
        }
    }
    Ok(())
}

/// The longest time for which something in the body is to be kept.
fn cache_write(body: &Object<'_>) -> CacheWrite {
    let mentions = |text: &str| body.iter().any(|(name, value)| name == text || value.raw().contains(text));
    if !mentions("cache_control") {
        CacheWrite::None
    } else if mentions("ttl") {
        CacheWrite::OneHour
    } else {
        CacheWrite::FiveMinutes
    }
}

fn tier_and_speed(
    body: &Object<'_>,
    price: Option<&ModelPrice>,
    facts: &mut RequestFacts,
) -> Result<(), Refused> {
    if let Some(tier) = body.given("service_tier").and_then(|tier| tier.as_str())
        && !matches!(tier.as_ref(), "auto" | "standard_only")
    {
        return Err(unbounded("service_tier", "asks for a tier whose price is not known. Leave it out."));
    }
    if let Some(speed) = body.given("speed").and_then(|speed| speed.as_str())
        && speed != "standard"
    {
        if !price.is_none_or(|price| price.variants("speed").any(|known| known == speed)) {
            return Err(unbounded("speed", "asks for a speed whose price is not known. Leave it out."));
        }
        facts.context.set("speed", speed);
    }
    // Where a request is served costs a tenth more in the United States alone:
    // <https://platform.claude.com/docs/en/about-claude/pricing#data-residency-pricing>.
    if let Some(geo) = body.given("inference_geo").and_then(|geo| geo.as_str())
        && geo != "global"
    {
        return Err(unbounded("inference_geo", "asks for a place whose price is not known. Leave it out."));
    }
    Ok(())
}

fn conversation(value: &Value<'_>, input: &mut InputBound) -> Result<(), Refused> {
    let items =
        value.as_array().ok_or_else(|| Refused::Malformed("\"messages\" must be an array.".to_owned()))?;
    for (index, message) in items.iter().enumerate() {
        let place = format!("messages[{index}]");
        let message =
            message.as_object().ok_or_else(|| Refused::Malformed(format!("{place} must be an object.")))?;
        input.message();
        for (name, value) in message.iter().filter(|(_, value)| !value.is_null()) {
            match name {
                "role" => input.text(&value),
                "content" => content(&value, &format!("{place}.content"), input)?,
                name => return Err(unbounded(&format!("{place}.{name}"), UNKNOWN)),
            }
        }
    }
    Ok(())
}

/// A text, or an array of blocks.
fn content(value: &Value<'_>, place: &str, input: &mut InputBound) -> Result<(), Refused> {
    if value.is_str() {
        input.text(value);
        return Ok(());
    }
    let items = value
        .as_array()
        .ok_or_else(|| Refused::Malformed(format!("{place} must be a text or an array of blocks.")))?;
    for (index, block) in items.iter().enumerate() {
        let place = format!("{place}[{index}]");
        let object =
            block.as_object().ok_or_else(|| Refused::Malformed(format!("{place} must be an object.")))?;
        let kind = object.given("type").and_then(|kind| kind.as_str()).unwrap_or_default();
        input.message();
        match kind.as_ref() {
            "text" | "thinking" | "redacted_thinking" | "tool_use" => input.text(block),
            "tool_result" => {
                for (name, value) in object.iter().filter(|(_, value)| !value.is_null()) {
                    if name == "content" {
                        content(&value, &format!("{place}.content"), input)?;
                    } else {
                        input.text(&value);
                    }
                }
            }
            "image" if source(&object) != Some("file") => input.image(IMAGE_TOKENS),
            "document" | "search_result"
                if source(&object).is_none_or(|kind| matches!(kind, "text" | "content")) =>
            {
                input.text(block);
            }
            other => {
                let rule = "is a kind of input whose tokens can't be bounded. Send text or images, or ask whoever minted \
                            this key for one without a limit in tokens or money.";
                return Err(unbounded(&format!("{place}.type {other:?}"), rule));
            }
        }
    }
    Ok(())
}

/// Where an image or a document comes from, if it says so.
fn source(block: &Object<'_>) -> Option<&'static str> {
    let source = block.given("source")?.as_object()?;
    let kind = source.given("type")?.as_str()?;
    ["base64", "url", "file", "text", "content"].into_iter().find(|known| *known == kind).or(Some("unknown"))
}

fn tools(value: &Value<'_>, input: &mut InputBound) -> Result<(), Refused> {
    for (index, tool) in value.as_array().unwrap_or_default().iter().enumerate() {
        let place = format!("tools[{index}]");
        let object = tool.as_object();
        let kind = object.as_ref().and_then(|tool| tool.given("type")).and_then(|kind| kind.as_str());
        let kind = kind.unwrap_or("custom".into());
        let client = CLIENT_TOOLS.iter().find(|(start, _)| kind.starts_with(start));
        if kind != "custom" && client.is_none() {
            return Err(unbounded(&format!("{place}.type {kind:?}"), RUNS_THERE));
        }
        input.tokens(client.map_or(0, |(_, tokens)| *tokens));
        input.schema(tool, &place)?;
    }
    Ok(())
}
