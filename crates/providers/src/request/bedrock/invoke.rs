//! InvokeModel: bodies in the form of whoever made the model. Those whose cap is documented are read; for the others
//! there is Converse.

use super::super::endpoint::Endpoint;
use super::super::object::{Object, Value};
use super::super::text::InputBound;
use super::super::{Question, RUNS_THERE, Refused, RequestFacts, UNKNOWN, anthropic, cap, cohere, unbounded};
use super::{FACTOR, converse, headers, model_of, window};
use crate::price::{ModelPrice, PriceTable};

/// What is common to the text models of some maker.
struct Family {
    /// A part of the names of its models.
    part: &'static str,
    /// Names of the cap; the first is the one that is put in.
    caps: &'static [&'static str],
    /// Members that change nothing about the cost.
    also: &'static [&'static str],
}

/// <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html>
static FAMILIES: [Family; 6] = [
    Family { part: "meta.llama", caps: &["max_gen_len"], also: &[] },
    Family { part: "mistral.", caps: &["max_tokens"], also: &["tool_choice"] },
    Family { part: "deepseek.", caps: &["max_tokens"], also: &[] },
    Family {
        part: "openai.gpt-oss",
        caps: &["max_completion_tokens", "max_tokens"],
        also: &["model", "reasoning_effort", "tool_choice", "parallel_tool_calls"],
    },
    Family { part: "ai21.jamba", caps: &["max_tokens"], also: &["frequency_penalty", "presence_penalty"] },
    Family { part: "qwen.", caps: &["max_tokens", "max_completion_tokens"], also: &["tool_choice"] },
];

/// Members of all families that change nothing about the cost.
const SAMPLING: [&str; 7] = ["seed", "stop", "stream", "temperature", "top_k", "top_p", "user"];

pub(super) fn invoke(
    row: &'static Endpoint,
    question: &Question<'_>,
    prices: &PriceTable,
) -> Result<RequestFacts, Refused> {
    let model = model_of(question)?;
    let body = Object::parse(question.body)?;
    let price = prices.find(question.provider.price_id(), &model);
    let mut facts = if model.contains("anthropic.") {
        anthropic::read(row, question, &body, model, price)?
    } else if model.contains("embed") {
        embed(row, question, &body, model)?
    } else if model.contains("cohere.command-r") {
        cohere::read_v1(row, question, prices, &body, model)?
    } else if model.contains("amazon.nova") {
        nova(row, question, &body, model, price)?
    } else if model.contains("amazon.titan-text") {
        titan(row, question, &body, model, price)?
    } else if let Some(family) = FAMILIES.iter().find(|family| model.contains(family.part)) {
        chat(row, question, &body, model, price, family)?
    } else {
        return Err(unbounded(&model, "is asked in a form that is not known to till. Use Converse."));
    };
    headers(question, price, &mut facts)?;
    Ok(facts)
}

/// Refuses the first member that is in no list.
fn known(question: &Question<'_>, body: &Object<'_>, model: &str, lists: &[&[&str]]) -> Result<(), Refused> {
    let unknown = |name: &str| {
        !lists.iter().any(|list| list.contains(&name)) && !question.provider.is_neutral_field(name)
    };
    match body.iter().find(|(name, value)| !value.is_null() && unknown(name)) {
        Some((name, _)) => Err(unbounded(&format!("{model} {name}"), UNKNOWN)),
        None => Ok(()),
    }
}

/// Nova's own form, which is Converse's with another configuration
/// (<https://docs.aws.amazon.com/nova/latest/userguide/complete-request-schema.html>).
fn nova(
    row: &'static Endpoint,
    question: &Question<'_>,
    body: &Object<'_>,
    model: String,
    price: Option<&ModelPrice>,
) -> Result<RequestFacts, Refused> {
    const MEMBERS: [&str; 5] = ["schemaVersion", "system", "messages", "inferenceConfig", "toolConfig"];
    const CONFIG: [&str; 6] =
        ["maxTokens", "temperature", "topP", "topK", "stopSequences", "reasoningConfig"];
    known(question, body, &model, &[&MEMBERS, &["reasoningConfig"]])?;
    let config = body.given("inferenceConfig").and_then(|config| config.as_object());
    let inner = config.and_then(|config| config.given("reasoningConfig"));
    for config in [body.given("reasoningConfig"), inner].into_iter().flatten() {
        converse::reasoning(&config, "reasoningConfig")?;
    }
    let mut facts = RequestFacts::metered(row);
    let mut input = InputBound::new(FACTOR);
    converse::conversation(body, question, &mut input)?;
    input.finish(window(&model, price, anthropic::Betas::default())?, &mut facts)?;
    if body.iter().any(|(_, value)| value.mentions("cachePoint")) {
        facts.cache_write = super::super::CacheWrite::OneHour;
    }
    facts.output = Some(converse::output(body, price, &CONFIG)?);
    facts.model = Some(model);
    Ok(facts)
}

/// <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-text.html>
fn titan(
    row: &'static Endpoint,
    question: &Question<'_>,
    body: &Object<'_>,
    model: String,
    price: Option<&ModelPrice>,
) -> Result<RequestFacts, Refused> {
    const CONFIG: [&str; 4] = ["maxTokenCount", "temperature", "topP", "stopSequences"];
    known(question, body, &model, &[&["inputText", "textGenerationConfig"]])?;
    let mut facts = RequestFacts::metered(row);
    let mut input = InputBound::new(FACTOR);
    if let Some(text) = body.given("inputText") {
        input.text(&text);
    }
    input.finish(None, &mut facts)?;
    let default = price.and_then(ModelPrice::max_output);
    facts.output =
        Some(converse::nested(body, "textGenerationConfig", &["maxTokenCount"], &CONFIG, default)?);
    facts.model = Some(model);
    Ok(facts)
}

/// A prompt, or messages in OpenAI's form.
fn chat(
    row: &'static Endpoint,
    question: &Question<'_>,
    body: &Object<'_>,
    model: String,
    price: Option<&ModelPrice>,
    family: &Family,
) -> Result<RequestFacts, Refused> {
    const READ: [&str; 4] = ["prompt", "messages", "tools", "n"];
    known(question, body, &model, &[&READ, &SAMPLING, family.caps, family.also])?;
    let mut facts = RequestFacts::metered(row);
    let mut input = InputBound::new(FACTOR);
    let malformed = || Refused::Malformed("\"prompt\" must be a text.".to_owned());
    if let Some(prompt) = body.given("prompt") {
        prompt.is_str().then_some(()).ok_or_else(malformed)?;
        input.text(&prompt);
    }
    if let Some(list) = body.given("messages") {
        messages(&list, &mut input)?;
    }
    for (index, tool) in
        body.given("tools").and_then(|list| list.as_array()).unwrap_or_default().iter().enumerate()
    {
        let kind = tool.as_object().and_then(|tool| tool.given("type")?.as_str());
        let is_client =
            kind.as_deref().is_none_or(|kind| kind == "function" || question.provider.is_neutral_tool(kind));
        if !is_client {
            return Err(unbounded(&format!("tools[{index}].type"), RUNS_THERE));
        }
        input.schema(tool, &format!("tools[{index}]"))?;
    }
    input.finish(window(&model, price, anthropic::Betas::default())?, &mut facts)?;
    let mut output = cap::find(body, family.caps, price.and_then(ModelPrice::max_output))?;
    if let Some(choices) = body.given("n") {
        output.outputs = cap::whole(&choices, "n")?.max(1);
    }
    facts.output = Some(output);
    facts.model = Some(model);
    Ok(facts)
}

fn messages(list: &Value<'_>, input: &mut InputBound) -> Result<(), Refused> {
    const MEMBERS: [&str; 6] = ["role", "content", "name", "tool_calls", "tool_call_id", "reasoning_content"];
    let malformed = || Refused::Malformed("\"messages\" must be an array of objects.".to_owned());
    for (index, message) in list.as_array().ok_or_else(malformed)?.iter().enumerate() {
        let place = format!("messages[{index}]");
        input.message();
        for (name, value) in message.as_object().ok_or_else(malformed)?.iter() {
            match name {
                _ if value.is_null() => {}
                name if !MEMBERS.contains(&name) => {
                    return Err(unbounded(&format!("{place}.{name}"), UNKNOWN));
                }
                _ if value.is_str() => input.text(&value),
                "content" => {
                    for part in value.as_array().ok_or_else(malformed)? {
                        let kind = part.as_object().and_then(|part| part.given("type")?.as_str());
                        if kind.as_deref() != Some("text") {
                            let rule = "is no text. Use Converse for it.";
                            return Err(unbounded(&format!("{place}.content"), rule));
                        }
                        input.message();
                        input.text(&part);
                    }
                }
                _ => input.json(&value, &place)?,
            }
        }
    }
    Ok(())
}

/// Members of embedding requests with text: Titan's, Cohere's and Nova's. Images and the like are charged by the piece.
const EMBED: [&str; 12] = [
    "inputText",
    "dimensions",
    "normalize",
    "embeddingTypes",
    "texts",
    "input_type",
    "truncate",
    "embedding_types",
    "output_dimension",
    "max_tokens",
    "schemaVersion",
    "taskType",
];

fn embed(
    row: &'static Endpoint,
    question: &Question<'_>,
    body: &Object<'_>,
    model: String,
) -> Result<RequestFacts, Refused> {
    known(question, body, &model, &[&EMBED, &["singleEmbeddingParams"]])?;
    let single = body.given("singleEmbeddingParams").and_then(|single| single.as_object());
    if body.given("inputText").is_none() && body.given("texts").is_none() && single.is_none() {
        return Err(unbounded(&model, "is asked in a form that is not known to till."));
    }
    let mut input = InputBound::new(FACTOR);
    for (name, value) in single.iter().flat_map(|single| single.iter()) {
        let place = format!("{model} singleEmbeddingParams.{name}");
        match name {
            "embeddingPurpose" | "embeddingDimension" => {}
            "text" => {
                let text = value.as_object();
                let known = ["value", "truncationMode"];
                let other =
                    text.as_ref().and_then(|text| text.iter().find(|(name, _)| !known.contains(name)));
                if let Some((name, _)) = other {
                    return Err(unbounded(&format!("{place}.{name}"), UNKNOWN));
                }
            }
            _ => return Err(unbounded(&place, "is charged in another way than text. Send text.")),
        }
    }
    for (_, value) in body.iter() {
        input.text(&value);
        value.as_array().unwrap_or_default().iter().for_each(|_| input.message());
    }
    let mut facts = RequestFacts::metered(row);
    input.finish(None, &mut facts)?;
    facts.model = Some(model);
    Ok(facts)
}
