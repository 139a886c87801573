//! Gemini's API.

use std::borrow::Cow;

use till_core::time::Timestamp;

use super::endpoint::{Endpoint, LOOK, POST};
use super::object::{Object, Value};
use super::text::{InputBound, Medium};
use super::{CacheWrite, CapPlace, OutputCap, Question, Refused, RequestFacts, UNKNOWN, cap, unbounded};
use crate::price::{ModelPrice, PriceContext, PriceTable};
use crate::provider::Provider;
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

/// Tokens around a part.
const PER_PART: u64 = 8;

/// An image in the highest resolution has 2,240 tokens on Gemini 3
/// (<https://ai.google.dev/gemini-api/docs/media-resolution>); doubled.
const IMAGE_TOKENS: u64 = 4_480;

/// Before, it was 258 for each tile, of which a long one of 3,072 pixels has 24
/// (<https://ai.google.dev/gemini-api/docs/image-understanding>); doubled, and more.
const TILED_IMAGE_TOKENS: u64 = 16_384;

/// Beginnings of names of models that are asked with text and answer with what they charge tokens for. The others make
/// videos, music or research, at prices per piece.
const TALKING: [&str; 3] = ["gemini-", "gemma-", "learnlm-"];

/// Members of a body in camel case; the API takes them in snake case too. What `cachedContent` names was paid for when
/// it was stored, and is read as input of one pass.
const MEMBERS: [&str; 11] = [
    "cachedContent",
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
const CONFIG: [&str; 22] = [
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
    "seed",
    "stopSequences",
    "temperature",
    "thinkingConfig",
    "topK",
    "topP",
];

/// The members of an object under their names in camel case; a name in both spellings is refused.
struct Members<'a>(Vec<(&'static str, Value<'a>)>);

impl<'a> Members<'a> {
    /// Those of a body, to which configuration may have added some.
    fn of_body(
        object: &Object<'a>,
        known: &'static [&'static str],
        provider: &Provider,
    ) -> Result<Self, Refused> {
        Self::read(object, known, "", |name| provider.is_neutral_field(name))
    }

    fn of(object: &Object<'a>, known: &'static [&'static str], place: &str) -> Result<Self, Refused> {
        Self::read(object, known, place, |_| false)
    }

    fn read(
        object: &Object<'a>,
        known: &'static [&'static str],
        place: &str,
        is_neutral: impl Fn(&str) -> bool,
    ) -> Result<Self, Refused> {
        let mut members: Vec<(&'static str, Value<'a>)> = Vec::new();
        for (name, value) in object.iter() {
            let Some(camel) = known.iter().find(|camel| **camel == name || snake(camel) == name) else {
                if value.is_null() || is_neutral(name) {
                    continue;
                }
                return Err(unbounded(&format!("{place}{name}"), UNKNOWN));
            };
            if members.iter().any(|(other, _)| other == camel) {
                return Err(Refused::Malformed(format!("{place}{camel} is given in two spellings.")));
            }
            members.push((camel, value));
        }
        Ok(Self(members))
    }

    fn given(&self, name: &str) -> Option<Value<'a>> {
        self.0.iter().find(|(known, value)| *known == name && !value.is_null()).map(|(_, value)| *value)
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
    let segment = question.path.decoded_segments().last().map(Cow::into_owned).unwrap_or_default();
    let model = segment.rsplit_once(':').map(|(model, _)| model).filter(|model| !model.is_empty());
    model.map(str::to_owned).ok_or_else(|| Refused::Malformed("The path names no model.".to_owned()))
}

/// How much a model takes in. The table counts some windows in thousands that the API counts in units of 1,024:
/// 1,048,576 for a million.
fn window(price: Option<&ModelPrice>) -> Option<u64> {
    let known = price.and_then(ModelPrice::context_window)?;
    let is_round = known % 1_000 == 0;
    Some(if is_round { known.saturating_mul(1_048_576).div_ceil(1_000_000) } else { known })
}

fn image_tokens(model: &str) -> u64 {
    if model.starts_with("gemini-3") { IMAGE_TOKENS } else { TILED_IMAGE_TOKENS }
}

fn generate(
    row: &'static Endpoint,
    question: &Question<'_>,
    prices: &PriceTable,
) -> Result<RequestFacts, Refused> {
    let model = model_of(question)?;
    if !TALKING.iter().any(|start| model.starts_with(start)) {
        return Err(unbounded(&format!("model {model:?}"), "is none whose answers are bounded by a cap."));
    }
    let body = Object::parse(question.body)?;
    let members = Members::of_body(&body, &MEMBERS, question.provider)?;
    let price = prices.find(question.provider.price_id(), &model);
    let mut facts = RequestFacts::metered(row);
    let mut input = InputBound::new(FACTOR);
    let image = image_tokens(&model);
    if let Some(system) = members.given("systemInstruction") {
        content(&system, "systemInstruction", image, &mut input)?;
    }
    if let Some(contents) = members.given("contents") {
        match contents.as_array() {
            Some(items) => {
                for (index, item) in items.iter().enumerate() {
                    content(item, &format!("contents[{index}]"), image, &mut input)?;
                }
            }
            None => content(&contents, "contents", image, &mut input)?,
        }
    }
    if members.given("cachedContent").is_some() {
        input.unseen("cachedContent", Medium::Any);
    }
    if let Some(value) = members.given("tools") {
        tools(&value, question.provider, &mut input)?;
    }
    service_tier(&members, price, &mut facts)?;
    let output = output(&body, &members, price, &mut input)?;
    input.finish(window(price), &mut facts)?;
    if let Some(most) = drawn(&output, price)? {
        facts.input.set(Unit::OutputTokens, most);
        facts.model = Some(model);
        return Ok(facts);
    }
    facts.cache_write = CacheWrite::None;
    facts.output = Some(output);
    facts.model = Some(model);
    Ok(facts)
}

/// Where there is no price for `flex`, which costs half, the usual one is held.
fn service_tier(
    members: &Members<'_>,
    price: Option<&ModelPrice>,
    facts: &mut RequestFacts,
) -> Result<(), Refused> {
    let Some(tier) = members.given("serviceTier") else { return Ok(()) };
    let tier =
        tier.as_str().ok_or_else(|| Refused::Malformed("\"serviceTier\" must be a text.".to_owned()))?;
    let is_priced = price.is_none_or(|price| price.variants("service_tier").any(|known| known == tier));
    match tier.as_ref() {
        "standard" | "unspecified" => {}
        "flex" | "priority" if is_priced => facts.context.set("service_tier", tier),
        "flex" => {}
        _ => {
            return Err(unbounded("serviceTier", "asks for a tier whose price is not known. Leave it out."));
        }
    }
    Ok(())
}

/// The cap stands in `generationConfig`. It holds for thoughts and answer together, whatever `thinkingConfig` says: with
/// a cap of 1,500, 1,232 tokens of thoughts left room for 264 of the answer, and a recorded cap of 5 ended an answer
/// after 2 tokens of thoughts.
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
        output.also = modalities(None, price)?;
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
    for name in ["responseSchema", "responseJsonSchema"] {
        if let Some(schema) = known.given(name) {
            input.schema(&schema, name)?;
        }
    }
    if let Some(format) = known.given("responseFormat") {
        let members = format.as_object();
        let other = members.as_ref().and_then(|format| format.iter().find(|(name, _)| *name != "text"));
        if let Some((name, _)) = other {
            return Err(unbounded(&format!("generationConfig.responseFormat.{name}"), UNKNOWN));
        }
        input.schema(&format, "responseFormat")?;
    }
    output.also = modalities(known.given("responseModalities").as_ref(), price)?;
    Ok(output)
}

/// The most tokens of an answer with images or videos; `None` for one without. Nothing says that the cap holds for them:
/// how many there are is "limited to 32,768 output tokens", which is all that the model can put out
/// (<https://docs.cloud.google.com/vertex-ai/generative-ai/docs/multimodal/image-understanding>).
fn drawn(output: &OutputCap, price: Option<&ModelPrice>) -> Result<Option<u64>, Refused> {
    let is_drawn = |unit: &&Unit| matches!(unit, Unit::OutputImageTokens | Unit::OutputVideoTokens);
    let Some(unit) = output.also.iter().find(is_drawn) else { return Ok(None) };
    let is_priced = price.is_some_and(|price| is_put_out(price, *unit));
    let most = price.and_then(ModelPrice::max_output).filter(|_| is_priced).ok_or_else(|| {
        let rule =
            "ask for images of a model of which it is not known what they cost and how many there can be.";
        unbounded("generationConfig.responseModalities", rule)
    })?;
    Ok(Some(most.saturating_mul(output.outputs)))
}

/// Whether a model has a price for something that it puts out.
fn is_put_out(price: &ModelPrice, unit: Unit) -> bool {
    price.rates(&PriceContext::default(), Timestamp(0)).figure(unit).is_some()
}

/// What comes out besides text. A model that can put out more does so unless it is asked for text alone.
fn modalities(given: Option<&Value<'_>>, price: Option<&ModelPrice>) -> Result<Vec<Unit>, Refused> {
    let mut also = Vec::new();
    let list = given.map(|list| list.as_array().unwrap_or_else(|| vec![*list])).unwrap_or_default();
    let mut add = |unit| {
        if !also.contains(&unit) {
            also.push(unit);
        }
    };
    for modality in &list {
        match modality.as_str().unwrap_or_default().to_ascii_uppercase().as_str() {
            "TEXT" => {}
            "IMAGE" => add(Unit::OutputImageTokens),
            "AUDIO" => add(Unit::OutputAudioTokens),
            _ => {
                let what = format!("generationConfig.responseModalities {}", modality.raw());
                return Err(unbounded(&what, UNKNOWN));
            }
        }
    }
    if list.is_empty()
        && let Some(price) = price
    {
        [Unit::OutputImageTokens, Unit::OutputAudioTokens, Unit::OutputVideoTokens]
            .into_iter()
            .filter(|unit| is_put_out(price, *unit))
            .for_each(add);
    }
    Ok(also)
}

const CONTENT: [&str; 2] = ["parts", "role"];
const PART: [&str; 14] = [
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "toolCall",
    "toolResponse",
    "executableCode",
    "codeExecutionResult",
    "thought",
    "thoughtSignature",
    "mediaResolution",
    "videoMetadata",
    "partMetadata",
];
const RESPONSE: [&str; 6] = ["id", "name", "response", "parts", "willContinue", "scheduling"];

fn content(value: &Value<'_>, place: &str, image: u64, input: &mut InputBound) -> Result<(), Refused> {
    input.message();
    if value.is_str() {
        input.text(value);
        return Ok(());
    }
    let malformed = || Refused::Malformed(format!("{place} must be an object with \"parts\"."));
    let object = value.as_object().ok_or_else(malformed)?;
    let members = Members::of(&object, &CONTENT, &format!("{place}."))?;
    match members.given("parts") {
        Some(parts) => self::parts(&parts, place, image, input),
        None => Ok(()),
    }
}

fn parts(value: &Value<'_>, place: &str, image: u64, input: &mut InputBound) -> Result<(), Refused> {
    let items = value.as_array().unwrap_or_else(|| vec![*value]);
    for (index, part) in items.iter().enumerate() {
        let place = format!("{place}.parts[{index}]");
        let object =
            part.as_object().ok_or_else(|| Refused::Malformed(format!("{place} must be an object.")))?;
        let members = Members::of(&object, &PART, &format!("{place}."))?;
        input.tokens(PER_PART);
        for (name, value) in members.0.iter().filter(|(_, value)| !value.is_null()) {
            match *name {
                // Signatures seal thoughts, so their bytes count.
                "text" | "thoughtSignature" if value.is_str() => input.text(value),
                "inlineData" => inline(value, &place, image, input)?,
                // Its own type counts, not the one that is given here.
                "fileData" => input.unseen(&format!("{place}.fileData"), Medium::Any),
                "functionResponse" => response(value, &place, image, input)?,
                // What a tool of the provider found is sealed in the signature.
                "toolCall" | "toolResponse" => input.unseen(&format!("{place}.{name}"), Medium::Any),
                "thought" | "mediaResolution" | "videoMetadata" => {}
                _ => input.json(value, &place)?,
            }
        }
    }
    Ok(())
}

fn response(value: &Value<'_>, place: &str, image: u64, input: &mut InputBound) -> Result<(), Refused> {
    let place = format!("{place}.functionResponse");
    let object =
        value.as_object().ok_or_else(|| Refused::Malformed(format!("{place} must be an object.")))?;
    let members = Members::of(&object, &RESPONSE, &format!("{place}."))?;
    for (name, value) in members.0.iter().filter(|(_, value)| !value.is_null()) {
        if *name == "parts" {
            parts(value, &place, image, input)?;
        } else {
            input.json(value, &place)?;
        }
    }
    Ok(())
}

/// Data in the body: images by their documented maximum, text by its bytes, the rest by what the model takes in.
fn inline(value: &Value<'_>, place: &str, image: u64, input: &mut InputBound) -> Result<(), Refused> {
    let place = format!("{place}.inlineData");
    let object =
        value.as_object().ok_or_else(|| Refused::Malformed(format!("{place} must be an object.")))?;
    let members = Members::of(&object, &["mimeType", "data", "displayName"], &format!("{place}."))?;
    let kind = members.given("mimeType").and_then(|kind| kind.as_str()).unwrap_or_default();
    let kind = kind.to_ascii_lowercase();
    if kind.starts_with("image/") {
        input.image(image);
    } else if kind.starts_with("text/") {
        input.text(value);
    } else {
        input.unseen(&place, Medium::of(&kind));
    }
    Ok(())
}

fn tools(value: &Value<'_>, provider: &Provider, input: &mut InputBound) -> Result<(), Refused> {
    let items = value.as_array().unwrap_or_else(|| vec![*value]);
    for (index, tool) in items.iter().enumerate() {
        let place = format!("tools[{index}]");
        let object =
            tool.as_object().ok_or_else(|| Refused::Malformed(format!("{place} must be an object.")))?;
        for (name, value) in object.iter().filter(|(_, value)| !value.is_null()) {
            let is_client = matches!(name, "functionDeclarations" | "function_declarations");
            if !is_client && !provider.is_neutral_tool(name) {
                input.hosted_tool(&value, name, &HOSTED, &format!("{place}.{name}"))?;
                continue;
            }
            input.schema(&value, &place)?;
        }
    }
    Ok(())
}

/// Tools that the provider runs, and that ask no other model.
const HOSTED: [&str; 12] = [
    "codeExecution",
    "code_execution",
    "fileSearch",
    "file_search",
    "googleMaps",
    "google_maps",
    "googleSearch",
    "google_search",
    "googleSearchRetrieval",
    "google_search_retrieval",
    "urlContext",
    "url_context",
];

const EMBED: [&str; 7] =
    ["content", "model", "taskType", "title", "outputDimensionality", "embedContentConfig", "autoTruncate"];

fn embed(
    row: &'static Endpoint,
    question: &Question<'_>,
    prices: &PriceTable,
) -> Result<RequestFacts, Refused> {
    let model = model_of(question)?;
    let body = Object::parse(question.body)?;
    let members = Members::of_body(&body, &EMBED, question.provider)?;
    let price = prices.find(question.provider.price_id(), &model);
    let mut facts = RequestFacts::metered(row);
    embed_one(&members, "", &model)?.finish(window(price), &mut facts)?;
    facts.model = Some(model);
    Ok(facts)
}

fn embed_many(
    row: &'static Endpoint,
    question: &Question<'_>,
    prices: &PriceTable,
) -> Result<RequestFacts, Refused> {
    let model = model_of(question)?;
    let body = Object::parse(question.body)?;
    let members = Members::of_body(&body, &["requests"], question.provider)?;
    let price = prices.find(question.provider.price_id(), &model);
    let mut facts = RequestFacts::metered(row);
    facts.is_plain_text = true;
    let requests = members.given("requests").and_then(|requests| requests.as_array()).unwrap_or_default();
    for (index, request) in requests.iter().enumerate() {
        let place = format!("requests[{index}]");
        let object =
            request.as_object().ok_or_else(|| Refused::Malformed(format!("{place} must be an object.")))?;
        let other = object.given("model").and_then(|model| model.as_str());
        if other.is_some_and(|other| other.rsplit('/').next() != Some(model.as_str())) {
            return Err(Refused::Malformed(format!("{place}.model must be the model in the path.")));
        }
        let members = Members::of(&object, &EMBED, &format!("{place}."))?;
        // Each is a pass of its own, with a window of its own.
        let mut one = RequestFacts::metered(row);
        embed_one(&members, &format!("{place}."), &model)?.finish(window(price), &mut one)?;
        facts.input.add_all(&one.input);
        facts.is_plain_text &= one.is_plain_text;
    }
    facts.model = Some(model);
    Ok(facts)
}

fn embed_one(members: &Members<'_>, place: &str, model: &str) -> Result<InputBound, Refused> {
    let mut input = InputBound::new(FACTOR);
    for name in ["title", "embedContentConfig"] {
        if let Some(value) = members.given(name) {
            input.json(&value, format_args!("{place}{name}"))?;
        }
    }
    if let Some(value) = members.given("content") {
        content(&value, &format!("{place}content"), image_tokens(model), &mut input)?;
    }
    Ok(input)
}
