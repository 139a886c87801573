//! Images, new or changed.

use std::borrow::Cow;

use super::super::endpoint::Endpoint;
use super::super::object::{Object, Value};
use super::super::text::InputBound;
use super::super::{FORM, Question, Refused, RequestFacts, UNKNOWN, unbounded};
use super::form::Form;
use crate::price::{ModelPrice, PriceTable};
use crate::usage::Unit;

/// Members that change nothing about the cost, or are read below.
const MEMBERS: [&str; 15] = [
    "background",
    "input_fidelity",
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

/// Members that are images.
const IMAGES: [&str; 4] = ["image", "image[]", "images", "mask"];

/// The most tokens of an image of the first family: 6,240 for 1024×1536 in high quality
/// (<https://platform.openai.com/docs/guides/image-generation#cost-and-latency>), doubled.
const IMAGE_TOKENS: u64 = 12_480;

/// Models of the first family, whose images have three sizes.
const FIRST_FAMILY: [&str; 3] = ["gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5"];

/// The most pixels of an image of gpt-image-2 (same page): 3840×2160.
const PIXELS_MAX: u64 = 8_294_400;

/// Each partial image of a stream costs 100 tokens more (same page).
const PARTIAL_IMAGE_TOKENS: u64 = 100;

/// The most tokens of an image that goes in: 65 + 4 × 129, and 6,240 in high fidelity
/// (<https://platform.openai.com/docs/guides/images-vision#gpt-image-1>), doubled.
const INPUT_IMAGE_TOKENS: u64 = 16_384;

/// What is asked for, in JSON or in a form.
#[derive(Debug, Default)]
struct Asked {
    model: String,
    prompt_bytes: u64,
    images: u64,
    partial: u64,
    inputs: u64,
    size: Option<String>,
    quality: Option<String>,
}

/// Reads a request for new images.
pub(super) fn images(
    row: &'static Endpoint,
    question: &Question<'_>,
    prices: &PriceTable,
) -> Result<RequestFacts, Refused> {
    bounded(row, &Asked::of_json(question, false)?, question, prices)
}

/// Reads a request to change images.
pub(super) fn edits(
    row: &'static Endpoint,
    question: &Question<'_>,
    prices: &PriceTable,
) -> Result<RequestFacts, Refused> {
    let is_form = question.content_type().is_some_and(|(kind, _)| kind == FORM);
    let asked = if is_form { Asked::of_form(question)? } else { Asked::of_json(question, true)? };
    bounded(row, &asked, question, prices)
}

fn bounded(
    row: &'static Endpoint,
    asked: &Asked,
    question: &Question<'_>,
    prices: &PriceTable,
) -> Result<RequestFacts, Refused> {
    let model = asked.model.as_str();
    if model.is_empty() || model.len() > 256 {
        return Err(Refused::Malformed("\"model\" must be given, and be the name of a model.".to_owned()));
    }
    let price = prices.find(question.provider.price_id(), model);
    let mut facts = RequestFacts::metered(row);
    facts.model = Some(model.to_owned());
    if model.starts_with("dall-e") {
        // These have a price per image, and others for large and for better ones.
        let is_standard = |value: &Option<String>, known: &[&str]| {
            value.as_deref().is_none_or(|value| known.contains(&value))
        };
        if !is_standard(&asked.quality, &["standard"]) {
            return Err(unbounded("quality", "has a price of its own. Leave it out."));
        }
        if !is_standard(&asked.size, &["256x256", "512x512", "1024x1024"]) {
            return Err(unbounded("size", "has a price of its own. Use 1024x1024."));
        }
        facts.input.set(Unit::OutputImages, asked.images);
        return Ok(facts);
    }
    let each = image_tokens(asked, price)?;
    let partial = asked.partial.saturating_mul(PARTIAL_IMAGE_TOKENS);
    let output = asked.images.saturating_mul(partial.saturating_add(each));
    let mut input = InputBound::new(1);
    input.bytes(asked.prompt_bytes);
    if asked.inputs > 0 {
        input.image(asked.inputs.saturating_mul(INPUT_IMAGE_TOKENS));
    }
    input.finish(None, &mut facts)?;
    facts.input.set(Unit::OutputTokens, output);
    facts.input.set(Unit::OutputImageTokens, output);
    Ok(facts)
}

/// The most tokens of an image that is made.
fn image_tokens(asked: &Asked, price: Option<&ModelPrice>) -> Result<u64, Refused> {
    let model = asked.model.as_str();
    if let Some(most) = price.and_then(ModelPrice::max_output) {
        return Ok(most);
    }
    let is_dated = |family: &str| {
        model.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with("-20"))
    };
    let known = matches!(asked.quality.as_deref(), None | Some("auto" | "low" | "medium" | "high"));
    if known && FIRST_FAMILY.into_iter().any(is_dated) {
        return Ok(IMAGE_TOKENS);
    }
    if known && is_dated("gpt-image-2") {
        // The calculator on the same page: 96 × 96 in high quality for a square, the dearest form, times the pixels and two
        // million, by four million. Doubled.
        let pixels = asked.size.as_deref().and_then(pixels).unwrap_or(PIXELS_MAX);
        return Ok(pixels.saturating_add(2_000_000).saturating_mul(96 * 96).div_ceil(2_000_000));
    }
    let rule = "makes images of which it is not known how many tokens they take. Use gpt-image-2, in high quality at most, \
                or ask whoever runs this till instance to add `max_output`, the tokens of an image, to a price of this \
                model.";
    Err(unbounded(&format!("model {model:?}"), rule))
}

/// How many pixels a size has, such as `1024x1536`.
fn pixels(size: &str) -> Option<u64> {
    let (width, height) = size.split_once('x')?;
    let side = |text: &str| text.parse::<u64>().ok().filter(|side| (1..=65_536).contains(side));
    Some(side(width)? * side(height)?)
}

fn whole(text: &str, name: &str) -> Result<u64, Refused> {
    text.parse()
        .map_err(|_| Refused::Malformed(format!("{name:?} must be a whole number that is not negative.")))
}

impl Asked {
    fn of_json(question: &Question<'_>, takes_images: bool) -> Result<Self, Refused> {
        let body = Object::parse(question.body)?;
        let mut asked = Self { images: 1, ..Self::default() };
        for (name, value) in body.iter().filter(|(_, value)| !value.is_null()) {
            if takes_images && IMAGES.contains(&name) {
                asked.inputs += value.as_array().map_or(1, |images| images.len() as u64);
            } else if MEMBERS.contains(&name) {
                asked.member(name, &value)?;
            } else if !question.provider.is_neutral_field(name) {
                return Err(unbounded(name, UNKNOWN));
            }
        }
        Ok(asked)
    }

    fn member(&mut self, name: &str, value: &Value<'_>) -> Result<(), Refused> {
        let text = || {
            let text = value.as_str().map(Cow::into_owned);
            text.ok_or_else(|| Refused::Malformed(format!("{name:?} must be a text.")))
        };
        match name {
            "model" => self.model = text()?,
            "prompt" => self.prompt_bytes = value.text_bytes(),
            "size" => self.size = Some(text()?),
            "quality" => self.quality = Some(text()?),
            "n" => self.images = whole(value.raw(), name)?.max(1),
            "partial_images" => self.partial = whole(value.raw(), name)?,
            _ => {}
        }
        Ok(())
    }

    fn of_form(question: &Question<'_>) -> Result<Self, Refused> {
        let form = Form::parse(question)?;
        let mut asked = Self { images: 1, ..Self::default() };
        for field in form.iter() {
            let name = field.name;
            if IMAGES.contains(&name) {
                asked.inputs += 1;
            } else if !MEMBERS.contains(&name) && !question.provider.is_neutral_field(name) {
                return Err(unbounded(name, UNKNOWN));
            }
            if field.is_file != IMAGES.contains(&name) {
                return Err(Refused::Malformed(format!("{name:?} must be {}.", kind(field.is_file))));
            }
        }
        asked.model = form.text("model")?.unwrap_or_default().to_owned();
        asked.prompt_bytes = form.text("prompt")?.map_or(0, |prompt| prompt.len() as u64);
        asked.size = form.text("size")?.map(str::to_owned);
        asked.quality = form.text("quality")?.map(str::to_owned);
        if let Some(text) = form.text("n")? {
            asked.images = whole(text, "n")?.max(1);
        }
        if let Some(text) = form.text("partial_images")? {
            asked.partial = whole(text, "partial_images")?;
        }
        Ok(asked)
    }
}

/// What a field must be that is the other one.
fn kind(is_file: bool) -> &'static str {
    if is_file { "a text" } else { "a file" }
}
