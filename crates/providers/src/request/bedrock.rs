//! Bedrock: Converse, and InvokeModel with bodies that are known.

use std::borrow::Cow;

use super::endpoint::{Endpoint, POST};
use super::object::{Object, Value};
use super::text::InputBound;
use super::{
    CacheWrite, CapPlace, OutputCap, Question, RUNS_THERE, Refused, RequestFacts, UNKNOWN, anthropic, cap,
    unbounded,
};
use crate::price::{ModelPrice, PriceTable};
use crate::usage::{AnswerFormat, Unit};

const PRICING: &str = "https://aws.amazon.com/bedrock/pricing/";

pub(super) static ENDPOINTS: [Endpoint; 5] = [
    Endpoint::metered("/model/*/converse", "converse", AnswerFormat::BedrockConverse, converse, PRICING),
    Endpoint::metered(
        "/model/*/converse-stream",
        "converse-stream",
        AnswerFormat::BedrockConverse,
        converse,
        PRICING,
    ),
    Endpoint::metered("/model/*/invoke", "invoke", AnswerFormat::BedrockInvoke, invoke, PRICING),
    Endpoint::metered(
        "/model/*/invoke-with-response-stream",
        "invoke-with-response-stream",
        AnswerFormat::BedrockInvoke,
        invoke,
        PRICING,
    ),
    // "There are no charges for using the CountTokens API".
    Endpoint::free(
        POST,
        "/model/*/count-tokens",
        "count-tokens",
        "https://docs.aws.amazon.com/bedrock/latest/userguide/count-tokens.html",
    ),
];

/// Many vocabularies, few of them public.
const FACTOR: u64 = 2;

/// Nothing is documented for all models; twice the maximum of Anthropic's.
const IMAGE_TOKENS: u64 = 16_384;

const MEMBERS: [&str; 8] = [
    "inferenceConfig",
    "messages",
    "requestMetadata",
    "system",
    "toolConfig",
    "additionalModelResponseFieldPaths",
    "outputConfig",
    "additionalModelRequestFields",
];

/// The model in the path, decoded. Names of profiles and prompts hide the model.
fn model_of(question: &Question<'_>) -> Result<String, Refused> {
    let decoded = question.path.decoded_segments().nth(1).map(Cow::into_owned).unwrap_or_default();
    if let Some(arn) = decoded.strip_prefix("arn:") {
        // A foundation model or a profile of the system has its name at the end.
        let known = arn.contains(":foundation-model/") || arn.contains(":inference-profile/");
        return match decoded.rsplit('/').next().filter(|_| known) {
            Some(model) => Ok(model.to_owned()),
            None => {
                Err(unbounded(&format!("model {decoded:?}"), "hides which model is asked. Name the model."))
            }
        };
    }
    Ok(decoded)
}

fn converse(
    row: &'static Endpoint,
    question: &Question<'_>,
    prices: &PriceTable,
) -> Result<RequestFacts, Refused> {
    let model = model_of(question)?;
    let body = Object::parse(question.body)?;
    if let Some((name, _)) = body.iter().find(|(name, value)| !value.is_null() && !MEMBERS.contains(name)) {
        let rule = if matches!(name, "guardrailConfig" | "promptVariables") { RUNS_THERE } else { UNKNOWN };
        return Err(unbounded(name, rule));
    }
    let price = prices.find(question.provider.price_id(), &model);
    let mut facts = RequestFacts::metered(row);
    let mut input = InputBound::new(FACTOR);
    let mut output = output(&body, price)?;
    if let Some(fields) = body.given("additionalModelRequestFields") {
        output.min = thinking(&fields)?;
    }
    if let Some(system) = body.given("system") {
        blocks(&system, "system", &mut input)?;
    }
    let messages = body.given("messages").and_then(|messages| messages.as_array()).unwrap_or_default();
    for (index, message) in messages.iter().enumerate() {
        input.message();
        if let Some(content) = message.as_object().and_then(|message| message.given("content")) {
            blocks(&content, &format!("messages[{index}].content"), &mut input)?;
        }
    }
    if let Some(config) = body.given("toolConfig") {
        tools(&config, &mut input)?;
    }
    if let Some(schema) = body.given("outputConfig") {
        input.schema(&schema, "outputConfig")?;
    }
    input.finish(price.and_then(ModelPrice::context_window), &mut facts)?;
    if body.iter().any(|(_, value)| value.raw().contains("cachePoint")) {
        facts.cache_write = CacheWrite::OneHour;
    }
    facts.output = Some(output);
    facts.model = Some(model);
    Ok(facts)
}

fn output(body: &Object<'_>, price: Option<&ModelPrice>) -> Result<OutputCap, Refused> {
    let default = price.and_then(ModelPrice::max_output);
    let Some(config) = body.given("inferenceConfig") else {
        let place = CapPlace::Insert {
            at: body.end(),
            before: format!("{}{{\"maxTokens\":", cap::member(body, "inferenceConfig")).into(),
            after: Cow::Borrowed("}"),
        };
        if body.get("inferenceConfig").is_some() {
            return Err(Refused::Malformed("\"inferenceConfig\" must be an object.".to_owned()));
        }
        return Ok(OutputCap {
            parameter: "maxTokens",
            requested: None,
            default,
            min: 1,
            outputs: 1,
            also: Vec::new(),
            place,
        });
    };
    let config = config
        .as_object()
        .ok_or_else(|| Refused::Malformed("\"inferenceConfig\" must be an object.".to_owned()))?;
    let known = ["maxTokens", "temperature", "topP", "stopSequences"];
    if let Some((name, _)) = config.iter().find(|(name, value)| !value.is_null() && !known.contains(name)) {
        return Err(unbounded(&format!("inferenceConfig.{name}"), UNKNOWN));
    }
    cap::find(&config, &["maxTokens"], default)
}

/// Fields that go to the model as they are: those of Anthropic's and Amazon's that are understood.
fn thinking(fields: &Value<'_>) -> Result<u64, Refused> {
    let object = fields.as_object().unwrap_or_else(|| Object::parse(b"{}").expect("an object"));
    let mut min = 1;
    for (name, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        match name {
            "thinking" | "reasoning_config" => {
                let budget = value.as_object().and_then(|thinking| thinking.given("budget_tokens"));
                if let Some(budget) = budget {
                    min = cap::whole(&budget, "budget_tokens")?.saturating_add(1);
                }
            }
            "top_k" | "topK" | "inferenceConfig" | "reasoning_effort" | "output_config"
                if !value.raw().contains("max") => {}
            name => return Err(unbounded(&format!("additionalModelRequestFields.{name}"), UNKNOWN)),
        }
    }
    Ok(min)
}

fn blocks(value: &Value<'_>, place: &str, input: &mut InputBound) -> Result<(), Refused> {
    for (index, block) in value.as_array().unwrap_or_default().iter().enumerate() {
        let place = format!("{place}[{index}]");
        let object =
            block.as_object().ok_or_else(|| Refused::Malformed(format!("{place} must be an object.")))?;
        input.tokens(8);
        for (name, value) in object.iter().filter(|(_, value)| !value.is_null()) {
            match name {
                "text" | "toolUse" | "reasoningContent" | "cachePoint" => input.text(&value),
                "image" if !value.raw().contains("s3Location") => input.image(IMAGE_TOKENS),
                "toolResult" => {
                    let result = value.as_object();
                    input.bytes(64);
                    let content = result.and_then(|result| result.given("content"));
                    if let Some(content) = content {
                        tool_result(&content, &place, input)?;
                    }
                }
                name => return Err(unbounded(&format!("{place}.{name}"), UNKNOWN)),
            }
        }
    }
    Ok(())
}

fn tool_result(value: &Value<'_>, place: &str, input: &mut InputBound) -> Result<(), Refused> {
    for item in value.as_array().unwrap_or_default() {
        let object =
            item.as_object().ok_or_else(|| Refused::Malformed(format!("{place} must be an object.")))?;
        for (name, value) in object.iter() {
            match name {
                "text" => input.text(&value),
                "json" => input.schema(&value, place)?,
                "image" if !value.raw().contains("s3Location") => input.image(IMAGE_TOKENS),
                name => return Err(unbounded(&format!("{place}.toolResult.{name}"), UNKNOWN)),
            }
        }
    }
    Ok(())
}

fn tools(config: &Value<'_>, input: &mut InputBound) -> Result<(), Refused> {
    let list = config.as_object().and_then(|config| config.given("tools")?.as_array()).unwrap_or_default();
    for (index, tool) in list.iter().enumerate() {
        let place = format!("toolConfig.tools[{index}]");
        let object =
            tool.as_object().ok_or_else(|| Refused::Malformed(format!("{place} must be an object.")))?;
        for (name, value) in object.iter() {
            match name {
                "toolSpec" => input.schema(&value, &place)?,
                "cachePoint" => {}
                name => return Err(unbounded(&format!("{place}.{name}"), RUNS_THERE)),
            }
        }
    }
    Ok(())
}

/// Members of embedding requests of Amazon's and Cohere's models.
const EMBED: [&str; 8] = [
    "inputText",
    "dimensions",
    "normalize",
    "embeddingTypes",
    "texts",
    "input_type",
    "truncate",
    "embedding_types",
];

fn invoke(
    row: &'static Endpoint,
    question: &Question<'_>,
    prices: &PriceTable,
) -> Result<RequestFacts, Refused> {
    let model = model_of(question)?;
    let body = Object::parse(question.body)?;
    let price = prices.find(question.provider.price_id(), &model);
    if body.given("anthropic_version").is_some() {
        let mut facts = anthropic::read(row, &body, price)?;
        facts.model = Some(model);
        return Ok(facts);
    }
    let known = |name: &str| EMBED.contains(&name) || matches!(name, "output_dimension" | "max_tokens");
    if let Some((name, _)) = body.iter().find(|(name, value)| !value.is_null() && !known(name)) {
        return Err(unbounded(&format!("{model} {name}"), UNKNOWN));
    }
    if body.given("inputText").is_none() && body.given("texts").is_none() {
        return Err(unbounded(&model, "is asked in a form that is not known to till. Use Converse."));
    }
    if !model.contains("embed") {
        return Err(unbounded(&model, "is asked in a form that is not known to till. Use Converse."));
    }
    let mut input = InputBound::new(FACTOR);
    for (_, value) in body.iter() {
        input.text(&value);
        value.as_array().unwrap_or_default().iter().for_each(|_| input.message());
    }
    let mut facts = RequestFacts::metered(row);
    input.finish(None, &mut facts)?;
    facts.model = Some(model);
    Ok(facts)
}
