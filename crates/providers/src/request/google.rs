//! Gemini's API.

use std::borrow::Cow;

use super::endpoint::{Endpoint, LOOK, POST};
use super::object::{Object, Value};
use super::text::InputBound;
use super::{
    CacheWrite, CapPlace, OutputCap, Question, RUNS_THERE, Refused, RequestFacts, UNKNOWN, cap, unbounded,
};
use crate::price::{ModelPrice, PriceTable};
use crate::usage::{AnswerFormat, Unit};

const PRICING: &str = "https://ai.google.dev/gemini-api/docs/pricing";

pub(super) static ENDPOINTS: [Endpoint; 8] = [
    Endpoint::metered(
        "/*/models/*:generateContent",
        "generateContent",
        AnswerFormat::Gemini,
        generate,
        PRICING,
    ),
    Endpoint::metered(
        "/*/models/*:streamGenerateContent",
        "streamGenerateContent",
        AnswerFormat::Gemini,
        generate,
        PRICING,
    ),
    Endpoint::metered("/*/models/*:embedContent", "embedContent", AnswerFormat::Gemini, embed, PRICING),
    Endpoint::metered(
        "/*/models/*:batchEmbedContents",
        "batchEmbedContents",
        AnswerFormat::Gemini,
        embed_many,
        PRICING,
    ),
    // "You can call countTokens … at no charge".
    Endpoint::free(
        POST,
        "/*/models/*:countTokens",
        "countTokens",
        "https://ai.google.dev/gemini-api/docs/tokens",
    ),
    Endpoint::free(LOOK, "/*/models", "models.list", "https://ai.google.dev/api/models"),
    Endpoint::free(LOOK, "/*/models/*", "models.get", "https://ai.google.dev/api/models"),
    Endpoint::free(LOOK, "/*/openai/models", "models.list", "https://ai.google.dev/gemini-api/docs/openai"),
];

/// SentencePiece with byte fallback and without normalisation, as published for Gemma; not published for Gemini.
const FACTOR: u64 = 2;

/// An image in the highest resolution has 2,240 tokens on Gemini 3
/// (<https://ai.google.dev/gemini-api/docs/media-resolution>) and 258 per tile before; doubled.
const IMAGE_TOKENS: u64 = 4_480;

/// Members of a body in camel case; the API takes them in snake case too.
const MEMBERS: [&str; 10] = [
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "safetySettings",
    "generationConfig",
    "labels",
    "model",
    "store",
    "serviceTier",
];

/// Members of `generationConfig` that change nothing about what a request costs, or are read below.
const CONFIG: [&str; 23] = [
    "audioTimestamp",
    "candidateCount",
    "enableAffectiveDialog",
    "enableEnhancedCivicAnswers",
    "frequencyPenalty",
    "imageConfig",
    "logprobs",
    "maxOutputTokens",
    "mediaResolution",
    "presencePenalty",
    "responseFormat",
    "responseJsonSchema",
    "responseLogprobs",
    "responseMimeType",
    "responseModalities",
    "responseSchema",
    "routingConfig",
    "seed",
    "stopSequences",
    "temperature",
    "thinkingConfig",
    "topK",
    "topP",
];

/// The members of an object under their names in camel case; a name in both spellings is refused.
struct Members<'a>(Vec<(Cow<'static, str>, Value<'a>)>);

impl<'a> Members<'a> {
    fn of(object: &Object<'a>, known: &'static [&'static str], place: &str) -> Result<Self, Refused> {
        let mut members: Vec<(Cow<'static, str>, Value<'a>)> = Vec::new();
        for (name, value) in object.iter() {
            let Some(camel) = known.iter().find(|camel| **camel == name || snake(camel) == name) else {
                if value.is_null() {
                    continue;
                }
                let rule =
                    if name == "cachedContent" || name == "cached_content" { RUNS_THERE } else { UNKNOWN };
                return Err(unbounded(&format!("{place}{name}"), rule));
            };
            if members.iter().any(|(other, _)| other == camel) {
                return Err(Refused::Malformed(format!("{place}{camel} is given in two spellings.")));
            }
            members.push((Cow::Borrowed(camel), value));
        }
        Ok(Self(members))
    }

    fn given(&self, name: &str) -> Option<Value<'a>> {
        self.0.iter().find(|(known, value)| known == name && !value.is_null()).map(|(_, value)| *value)
    }
}

fn snake(camel: &str) -> String {
    let mut snake = String::with_capacity(camel.len() + 4);
    for character in camel.chars() {
        if character.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(character.to_ascii_lowercase());
    }
    snake
}

/// The model in the path.
fn model_of(question: &Question<'_>) -> Result<String, Refused> {
    let path = question.path.as_str();
    let name = path.rsplit('/').next().and_then(|segment| segment.split(':').next());
    name.filter(|name| !name.is_empty())
        .map(str::to_owned)
        .ok_or_else(|| Refused::Malformed("The path names no model.".to_owned()))
}

fn generate(
    row: &'static Endpoint,
    question: &Question<'_>,
    prices: &PriceTable,
) -> Result<RequestFacts, Refused> {
    let model = model_of(question)?;
    let body = Object::parse(question.body)?;
    let members = Members::of(&body, &MEMBERS, "")?;
    let price = prices.find(question.provider.price_id(), &model);
    let mut facts = RequestFacts::metered(row);
    let mut input = InputBound::new(FACTOR);
    if let Some(system) = members.given("systemInstruction") {
        content(&system, "systemInstruction", &mut input)?;
    }
    if let Some(contents) = members.given("contents") {
        match contents.as_array() {
            Some(items) => {
                for (index, item) in items.iter().enumerate() {
                    content(item, &format!("contents[{index}]"), &mut input)?;
                }
            }
            None => content(&contents, "contents", &mut input)?,
        }
    }
    if let Some(value) = members.given("tools") {
        tools(&value, &mut input)?;
    }
    if let Some(tier) = members.given("serviceTier").and_then(|tier| tier.as_str())
        && !matches!(tier.as_ref(), "standard" | "flex")
    {
        return Err(unbounded("serviceTier", "asks for a tier whose price is not known. Leave it out."));
    }
    let output = output(&body, &members, price, &mut input)?;
    input.finish(price.and_then(ModelPrice::context_window), &mut facts)?;
    facts.cache_write = CacheWrite::None;
    facts.output = Some(output);
    facts.model = Some(model);
    Ok(facts)
}

/// The cap stands in `generationConfig`. Thoughts count into it
/// (<https://ai.google.dev/gemini-api/docs/thinking>).
fn output(
    body: &Object<'_>,
    members: &Members<'_>,
    price: Option<&ModelPrice>,
    input: &mut InputBound,
) -> Result<OutputCap, Refused> {
    let mut output = OutputCap {
        parameter: "maxOutputTokens",
        requested: None,
        default: price.and_then(ModelPrice::max_output),
        min: 1,
        outputs: 1,
        also: Vec::new(),
        place: CapPlace::Insert {
            at: body.end(),
            before: format!("{}{{\"maxOutputTokens\":", cap::member(body, "generationConfig")).into(),
            after: Cow::Borrowed("}"),
        },
    };
    let Some(value) = members.given("generationConfig") else {
        let null = body.get("generationConfig").or_else(|| body.get("generation_config"));
        if let Some(null) = null {
            return Err(Refused::Malformed(format!(
                "\"generationConfig\" must be an object, not {}.",
                null.raw()
            )));
        }
        return Ok(output);
    };
    let config = value
        .as_object()
        .ok_or_else(|| Refused::Malformed("\"generationConfig\" must be an object.".to_owned()))?;
    let known = Members::of(&config, &CONFIG, "generationConfig.")?;
    output.place = match config.get("max_output_tokens").or_else(|| config.get("maxOutputTokens")) {
        Some(value) => CapPlace::Replace(value.range()),
        None => cap::insertion(&config, "maxOutputTokens"),
    };
    if let Some(cap) = known.given("maxOutputTokens") {
        output.requested = Some(cap::whole(&cap, "maxOutputTokens")?);
    }
    if let Some(candidates) = known.given("candidateCount") {
        output.outputs = cap::whole(&candidates, "candidateCount")?.max(1);
    }
    for name in ["responseSchema", "responseJsonSchema", "responseFormat"] {
        if let Some(schema) = known.given(name) {
            input.schema(&schema, name)?;
        }
    }
    for modality in known.given("responseModalities").and_then(|list| list.as_array()).unwrap_or_default() {
        match modality.as_str().unwrap_or_default().to_ascii_uppercase().as_str() {
            "TEXT" | "MODALITY_UNSPECIFIED" => {}
            "IMAGE" => output.also.push(Unit::OutputImageTokens),
            "AUDIO" => output.also.push(Unit::OutputAudioTokens),
            other => {
                return Err(unbounded(&format!("generationConfig.responseModalities {other:?}"), UNKNOWN));
            }
        }
    }
    Ok(output)
}

const CONTENT: [&str; 2] = ["parts", "role"];
const PART: [&str; 8] = [
    "text",
    "inlineData",
    "functionCall",
    "functionResponse",
    "thought",
    "thoughtSignature",
    "mediaResolution",
    "partMetadata",
];

fn content(value: &Value<'_>, place: &str, input: &mut InputBound) -> Result<(), Refused> {
    input.message();
    if value.is_str() {
        input.text(value);
        return Ok(());
    }
    let malformed = || Refused::Malformed(format!("{place} must be an object with \"parts\"."));
    let object = value.as_object().ok_or_else(malformed)?;
    let members = Members::of(&object, &CONTENT, &format!("{place}."))?;
    let Some(parts) = members.given("parts") else { return Ok(()) };
    let parts = parts.as_array().unwrap_or_else(|| vec![parts]);
    for (index, part) in parts.iter().enumerate() {
        let place = format!("{place}.parts[{index}]");
        let object = part.as_object().ok_or_else(malformed)?;
        let members = Members::of(&object, &PART, &format!("{place}."))?;
        input.tokens(4);
        match members.given("inlineData") {
            Some(data) => inline(&data, &place, input)?,
            None => {
                if let Some(answer) = members.given("functionResponse")
                    && let Some(answer) = answer.as_object()
                    && answer.given("parts").is_some()
                {
                    return Err(unbounded(&format!("{place}.functionResponse.parts"), UNKNOWN));
                }
                input.text(part);
            }
        }
    }
    Ok(())
}

/// Data in the body: images by their documented maximum, text by its bytes. How long audio and video are is not known.
fn inline(value: &Value<'_>, place: &str, input: &mut InputBound) -> Result<(), Refused> {
    let object = value.as_object();
    let kind = object.as_ref().and_then(|data| data.given("mimeType").or_else(|| data.given("mime_type")));
    let kind = kind.and_then(|kind| kind.as_str()).unwrap_or_default().to_ascii_lowercase();
    if kind.starts_with("image/") {
        input.image(IMAGE_TOKENS);
        return Ok(());
    }
    if kind.starts_with("text/") {
        input.text(value);
        return Ok(());
    }
    let rule = "is a kind of input whose tokens can't be bounded. Send text or images, or ask whoever minted this key for \
                one without a limit in tokens or money.";
    Err(unbounded(&format!("{place}.inlineData {kind:?}"), rule))
}

fn tools(value: &Value<'_>, input: &mut InputBound) -> Result<(), Refused> {
    let items = value.as_array().unwrap_or_else(|| vec![*value]);
    for (index, tool) in items.iter().enumerate() {
        let place = format!("tools[{index}]");
        let object =
            tool.as_object().ok_or_else(|| Refused::Malformed(format!("{place} must be an object.")))?;
        for (name, value) in object.iter().filter(|(_, value)| !value.is_null()) {
            match name {
                "functionDeclarations" | "function_declarations" => input.schema(&value, &place)?,
                other => return Err(unbounded(&format!("{place}.{other}"), RUNS_THERE)),
            }
        }
    }
    Ok(())
}

const EMBED: [&str; 7] =
    ["content", "model", "taskType", "title", "outputDimensionality", "embedContentConfig", "autoTruncate"];

fn embed(
    row: &'static Endpoint,
    question: &Question<'_>,
    prices: &PriceTable,
) -> Result<RequestFacts, Refused> {
    let body = Object::parse(question.body)?;
    let mut input = InputBound::new(FACTOR);
    embed_one(&body, "", &mut input)?;
    embedding(row, question, prices, input)
}

fn embed_many(
    row: &'static Endpoint,
    question: &Question<'_>,
    prices: &PriceTable,
) -> Result<RequestFacts, Refused> {
    let body = Object::parse(question.body)?;
    let members = Members::of(&body, &["requests"], "")?;
    let mut input = InputBound::new(FACTOR);
    let requests = members.given("requests").and_then(|requests| requests.as_array()).unwrap_or_default();
    let model = model_of(question)?;
    for (index, request) in requests.iter().enumerate() {
        let place = format!("requests[{index}]");
        let object =
            request.as_object().ok_or_else(|| Refused::Malformed(format!("{place} must be an object.")))?;
        let other = object.given("model").and_then(|model| model.as_str());
        if other.is_some_and(|other| other.rsplit('/').next() != Some(model.as_str())) {
            return Err(Refused::Malformed(format!("{place}.model must be the model in the path.")));
        }
        embed_one(&object, &format!("{place}."), &mut input)?;
    }
    embedding(row, question, prices, input)
}

fn embed_one(object: &Object<'_>, place: &str, input: &mut InputBound) -> Result<(), Refused> {
    let members = Members::of(object, &EMBED, place)?;
    if let Some(title) = members.given("title") {
        input.text(&title);
    }
    match members.given("content") {
        Some(value) => content(&value, &format!("{place}content"), input),
        None => Ok(()),
    }
}

fn embedding(
    row: &'static Endpoint,
    question: &Question<'_>,
    prices: &PriceTable,
    input: InputBound,
) -> Result<RequestFacts, Refused> {
    let mut facts = RequestFacts::metered(row);
    let model = model_of(question)?;
    let price = prices.find(question.provider.price_id(), &model);
    input.finish(price.and_then(ModelPrice::context_window), &mut facts)?;
    facts.model = Some(model);
    Ok(facts)
}
