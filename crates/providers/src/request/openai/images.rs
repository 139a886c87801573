//! Images and speech.

use super::super::endpoint::Endpoint;
use super::super::object::Object;
use super::super::text::InputBound;
use super::super::{Question, Refused, RequestFacts, UNKNOWN, cap, unbounded};
use crate::price::PriceTable;
use crate::usage::Unit;

const IMAGE_MEMBERS: [&str; 14] = [
    "background",
    "model",
    "moderation",
    "n",
    "output_compression",
    "output_format",
    "partial_images",
    "prompt",
    "quality",
    "response_format",
    "size",
    "stream",
    "style",
    "user",
];

/// The most tokens of one image: 6,240 for 1024×1536 in high quality
/// (<https://platform.openai.com/docs/guides/image-generation#cost-and-latency>), doubled.
const IMAGE_TOKENS: u64 = 12_480;

/// Each partial image of a stream costs 100 tokens more (same page).
const PARTIAL_IMAGE_TOKENS: u64 = 100;

/// Reads a request for images.
pub(super) fn images(
    row: &'static Endpoint,
    question: &Question<'_>,
    _: &PriceTable,
) -> Result<RequestFacts, Refused> {
    let body = Object::parse(question.body)?;
    if let Some((name, _)) =
        body.iter().find(|(name, value)| !value.is_null() && !IMAGE_MEMBERS.contains(name))
    {
        return Err(unbounded(name, UNKNOWN));
    }
    let model = cap::name_of_model(&body)?;
    let count = |name: &str, default| body.given(name).map_or(Ok(default), |value| cap::whole(&value, name));
    let images = count("n", 1)?.max(1);
    let mut facts = RequestFacts::metered(row);
    let mut input = InputBound::new(1);
    if let Some(prompt) = body.given("prompt") {
        input.text(&prompt);
    }
    if model.starts_with("dall-e") {
        facts.input.set(Unit::OutputImages, images);
    } else {
        let partial = count("partial_images", 0)?.saturating_mul(PARTIAL_IMAGE_TOKENS);
        let each = partial.saturating_add(IMAGE_TOKENS);
        let output = images.saturating_mul(each);
        input.finish(None, &mut facts)?;
        facts.input.set(Unit::OutputTokens, output);
        facts.input.set(Unit::OutputImageTokens, output);
    }
    facts.model = Some(model);
    Ok(facts)
}

const SPEECH_MEMBERS: [&str; 7] =
    ["input", "instructions", "model", "response_format", "speed", "stream_format", "voice"];

/// Reads a request for speech: billed per character for some models, and by the length of the audio, which nothing
/// bounds, for the others.
pub(super) fn speech(
    row: &'static Endpoint,
    question: &Question<'_>,
    _: &PriceTable,
) -> Result<RequestFacts, Refused> {
    let body = Object::parse(question.body)?;
    if let Some((name, _)) =
        body.iter().find(|(name, value)| !value.is_null() && !SPEECH_MEMBERS.contains(name))
    {
        return Err(unbounded(name, UNKNOWN));
    }
    let model = cap::name_of_model(&body)?;
    if !model.starts_with("tts-1") {
        let rule = "makes audio whose length nothing bounds. Use tts-1, which costs per character.";
        return Err(unbounded(&format!("model {model:?}"), rule));
    }
    let mut facts = RequestFacts::metered(row);
    let text = body.given("input").map_or(0, |input| input.text_bytes());
    facts.input.set(Unit::InputCharacters, text);
    facts.model = Some(model);
    Ok(facts)
}
