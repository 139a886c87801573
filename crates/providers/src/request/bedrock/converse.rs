//! Converse: one form for all models.

use std::borrow::Cow;

use super::super::endpoint::Endpoint;
use super::super::object::{Object, Value};
use super::super::text::{InputBound, Medium};
use super::super::{
    CacheWrite, CapPlace, OutputCap, Question, RUNS_THERE, Refused, RequestFacts, UNKNOWN, anthropic, cap,
    unbounded,
};
use super::{IMAGE_TOKENS, headers, model_of, service_tier, window};
use crate::price::{ModelPrice, PriceTable};

/// Members that change nothing about what a request costs, or are read below
/// (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>).
const MEMBERS: [&str; 10] = [
    "additionalModelRequestFields",
    "additionalModelResponseFieldPaths",
    "inferenceConfig",
    "messages",
    "outputConfig",
    "performanceConfig",
    "requestMetadata",
    "serviceTier",
    "system",
    "toolConfig",
];

/// Formats of documents that are text as they are.
const TEXTS: [&str; 4] = ["csv", "html", "md", "txt"];

pub(super) fn converse(
    row: &'static Endpoint,
    question: &Question<'_>,
    prices: &PriceTable,
) -> Result<RequestFacts, Refused> {
    let model = model_of(question)?;
    let body = Object::parse(question.body)?;
    let unknown = |name: &str| !MEMBERS.contains(&name) && !question.provider.is_neutral_field(name);
    if let Some((name, _)) = body.iter().find(|(name, value)| !value.is_null() && unknown(name)) {
        let rule = if matches!(name, "guardrailConfig" | "promptVariables") { RUNS_THERE } else { UNKNOWN };
        return Err(unbounded(name, rule));
    }
    let price = prices.find(question.provider.price_id(), &model);
    let mut facts = RequestFacts::metered(row);
    headers(question, price, &mut facts)?;
    tier_and_speed(&body, price, &mut facts)?;
    let mut blocks = anthropic::Blocks::new(question.provider);
    let mut output = output(&body, price, &["maxTokens", "temperature", "topP", "stopSequences"])?;
    let mut betas = anthropic::Betas::default();
    if let Some(fields) = body.given("additionalModelRequestFields") {
        betas = additional(question, &fields, &mut blocks, &mut output)?;
    }
    let mut input = blocks.input;
    conversation(&body, question, &mut input)?;
    if let Some(config) = body.given("outputConfig").and_then(|config| config.as_object()) {
        for (name, value) in config.iter().filter(|(_, value)| !value.is_null()) {
            match name {
                "textFormat" => input.schema(&value, "outputConfig.textFormat")?,
                "effort" => input.text(&value),
                name => return Err(unbounded(&format!("outputConfig.{name}"), UNKNOWN)),
            }
        }
    }
    input.finish(window(&model, price, betas)?, &mut facts)?;
    if body.iter().any(|(_, value)| value.mentions("cachePoint")) {
        facts.cache_write = CacheWrite::OneHour;
    }
    facts.output = Some(output);
    facts.model = Some(model);
    Ok(facts)
}

/// Reads system prompt, messages and tools, which Nova's own form has too.
pub(super) fn conversation(
    body: &Object<'_>,
    question: &Question<'_>,
    input: &mut InputBound,
) -> Result<(), Refused> {
    if let Some(system) = body.given("system") {
        blocks(&system, "system", input)?;
    }
    let malformed = || Refused::Malformed("\"messages\" must be an array of objects.".to_owned());
    let messages = body.given("messages").map(|messages| messages.as_array().ok_or_else(malformed));
    for (index, message) in messages.transpose()?.unwrap_or_default().iter().enumerate() {
        let place = format!("messages[{index}]");
        input.message();
        let message = message.as_object().ok_or_else(malformed)?;
        for (name, value) in message.iter().filter(|(_, value)| !value.is_null()) {
            match name {
                "role" => input.text(&value),
                "content" => blocks(&value, &format!("{place}.content"), input)?,
                name => return Err(unbounded(&format!("{place}.{name}"), UNKNOWN)),
            }
        }
    }
    match body.given("toolConfig") {
        Some(config) => tools(&config, question, input),
        None => Ok(()),
    }
}

fn tier_and_speed(
    body: &Object<'_>,
    price: Option<&ModelPrice>,
    facts: &mut RequestFacts,
) -> Result<(), Refused> {
    let of = |name: &str, member: &str| {
        let value = body.given(name)?;
        Some(value.as_object().and_then(|object| object.given(member)?.as_str()).unwrap_or_default())
    };
    if let Some(tier) = of("serviceTier", "type") {
        service_tier("serviceTier", &tier, price, facts)?;
    }
    if of("performanceConfig", "latency").is_some_and(|latency| latency != "standard") {
        return Err(unbounded(
            "performanceConfig",
            "asks for a speed whose price is not known. Leave it out.",
        ));
    }
    Ok(())
}

/// The cap, which stands in `inferenceConfig`.
pub(super) fn output(
    body: &Object<'_>,
    price: Option<&ModelPrice>,
    known: &[&str],
) -> Result<OutputCap, Refused> {
    let default = price.and_then(ModelPrice::max_output);
    nested(body, "inferenceConfig", &["maxTokens"], known, default)
}

/// A cap that stands in an object of its own.
pub(super) fn nested(
    body: &Object<'_>,
    member: &'static str,
    caps: &'static [&'static str],
    known: &[&str],
    default: Option<u64>,
) -> Result<OutputCap, Refused> {
    let malformed = || Refused::Malformed(format!("{member:?} must be an object."));
    let Some(config) = body.get(member) else {
        return Ok(OutputCap {
            parameter: caps[0],
            requested: None,
            default,
            min: 1,
            outputs: 1,
            also: Vec::new(),
            place: CapPlace::Insert {
                at: body.end(),
                before: format!("{}{{\"{}\":", cap::member(body, member), caps[0]).into(),
                after: Cow::Borrowed("}"),
            },
        });
    };
    let config = config.as_object().ok_or_else(malformed)?;
    if let Some((name, _)) = config.iter().find(|(name, value)| !value.is_null() && !known.contains(name)) {
        return Err(unbounded(&format!("{member}.{name}"), UNKNOWN));
    }
    cap::find(&config, caps, default)
}

/// Fields that go to the model as they are: those of Anthropic's and Amazon's that are understood.
fn additional(
    question: &Question<'_>,
    fields: &Value<'_>,
    blocks: &mut anthropic::Blocks<'_>,
    output: &mut OutputCap,
) -> Result<anthropic::Betas, Refused> {
    const PLACE: &str = "additionalModelRequestFields";
    let malformed = || Refused::Malformed(format!("{PLACE:?} must be an object."));
    let fields = fields.as_object().ok_or_else(malformed)?;
    let betas = anthropic::Betas::of(question, fields.given("anthropic_beta").as_ref())?;
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        match name {
            "anthropic_beta" => {}
            "thinking" => output.min = anthropic::thinking_min(&value)?,
            "reasoning_config" | "reasoningConfig" => {
                reasoning(&value, &format!("{PLACE}.{name}"))?;
                output.min = anthropic::thinking_min(&value)?;
            }
            "output_config" => blocks.output_config(&value)?,
            "tools" => blocks.tools(&value, &format!("{PLACE}.tools"))?,
            "top_k" | "topK" if value.as_object().is_none() => {}
            "reasoning_effort" if value.is_str() => {}
            "inferenceConfig" => {
                let config = value.as_object().ok_or_else(malformed)?;
                if let Some((name, _)) = config.iter().find(|(name, _)| *name != "topK") {
                    return Err(unbounded(&format!("{PLACE}.inferenceConfig.{name}"), UNKNOWN));
                }
            }
            name => return Err(unbounded(&format!("{PLACE}.{name}"), UNKNOWN)),
        }
    }
    Ok(betas)
}

/// At Nova's highest effort, the cap must not be given
/// (<https://docs.aws.amazon.com/nova/latest/nova2-userguide/extended-thinking.html>), so there is none.
pub(super) fn reasoning(value: &Value<'_>, place: &str) -> Result<(), Refused> {
    let effort = value.as_object().and_then(|config| config.given("maxReasoningEffort")?.as_str());
    if effort.is_some_and(|effort| effort == "high") {
        let rule = "thinks without a cap at the effort \"high\". Ask for \"medium\".";
        return Err(unbounded(&format!("{place}.maxReasoningEffort"), rule));
    }
    Ok(())
}

fn blocks(value: &Value<'_>, place: &str, input: &mut InputBound) -> Result<(), Refused> {
    let malformed = || Refused::Malformed(format!("{place} must be an array of objects."));
    for (index, block) in value.as_array().ok_or_else(malformed)?.iter().enumerate() {
        let place = format!("{place}[{index}]");
        let object = block.as_object().ok_or_else(malformed)?;
        input.message();
        for (name, value) in object.iter().filter(|(_, value)| !value.is_null()) {
            match name {
                "text" if value.is_str() => input.text(&value),
                "cachePoint" => {}
                // Their texts are sealed or as they are; the marks around them are few.
                "reasoningContent" => input.text(&value),
                "toolUse" | "citationsContent" | "searchResult" => input.json(&value, &place)?,
                "image" => input.image(IMAGE_TOKENS),
                "document" => document(&value, &format!("{place}.document"), input)?,
                "video" => input.unseen(&format!("{place}.video"), Medium::Video),
                "audio" => input.unseen(&format!("{place}.audio"), Medium::Audio),
                // Nothing but its content without a guardrail, which is refused.
                "guardContent" => guarded(&value, &place, input)?,
                "toolResult" => result(&value, &format!("{place}.toolResult"), input)?,
                name => return Err(unbounded(&format!("{place}.{name}"), UNKNOWN)),
            }
        }
    }
    Ok(())
}

fn guarded(value: &Value<'_>, place: &str, input: &mut InputBound) -> Result<(), Refused> {
    let object = value.as_object();
    for (name, value) in object.iter().flat_map(|object| object.iter()) {
        match name {
            "text" => input.json(&value, place)?,
            "image" => input.image(IMAGE_TOKENS),
            name => return Err(unbounded(&format!("{place}.guardContent.{name}"), UNKNOWN)),
        }
    }
    Ok(())
}

fn document(value: &Value<'_>, place: &str, input: &mut InputBound) -> Result<(), Refused> {
    let object =
        value.as_object().ok_or_else(|| Refused::Malformed(format!("{place} must be an object.")))?;
    let format = object.given("format").and_then(|format| format.as_str()).unwrap_or_default();
    for (name, value) in object.iter().filter(|(name, _)| *name != "source") {
        input.bytes(name.len() as u64);
        input.text(&value);
    }
    let source = object.given("source").and_then(|source| source.as_object());
    for (name, value) in source.iter().flat_map(|source| source.iter()) {
        match name {
            // Base64 is longer than what it stands for.
            "text" | "content" => input.json(&value, place)?,
            "bytes" if TEXTS.contains(&format.as_ref()) => input.text(&value),
            _ => input.unseen(place, Medium::Document),
        }
    }
    Ok(())
}

fn result(value: &Value<'_>, place: &str, input: &mut InputBound) -> Result<(), Refused> {
    let malformed = || Refused::Malformed(format!("{place} must be an object."));
    let object = value.as_object().ok_or_else(malformed)?;
    for (name, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        if name != "content" {
            input.json(&value, place)?;
            continue;
        }
        for item in value.as_array().ok_or_else(malformed)? {
            for (name, value) in item.as_object().ok_or_else(malformed)?.iter() {
                match name {
                    "text" if value.is_str() => input.text(&value),
                    "json" | "searchResult" => input.json(&value, place)?,
                    "image" => input.image(IMAGE_TOKENS),
                    "document" => document(&value, &format!("{place}.document"), input)?,
                    "video" => input.unseen(&format!("{place}.video"), Medium::Video),
                    name => return Err(unbounded(&format!("{place}.{name}"), UNKNOWN)),
                }
            }
            input.message();
        }
    }
    Ok(())
}

fn tools(config: &Value<'_>, question: &Question<'_>, input: &mut InputBound) -> Result<(), Refused> {
    let list = config.as_object().and_then(|config| config.given("tools")?.as_array()).unwrap_or_default();
    for (index, tool) in list.iter().enumerate() {
        let place = format!("toolConfig.tools[{index}]");
        let object =
            tool.as_object().ok_or_else(|| Refused::Malformed(format!("{place} must be an object.")))?;
        for (name, value) in object.iter().filter(|(_, value)| !value.is_null()) {
            match name {
                "cachePoint" => {}
                name if name == "toolSpec" || question.provider.is_neutral_tool(name) => {
                    input.schema(&value, &place)?;
                }
                name => input.hosted_tool(&value, name, &["systemTool"], &format!("{place}.{name}"))?,
            }
        }
    }
    Ok(())
}
