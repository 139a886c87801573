//! Speech in both directions.

use super::super::endpoint::Endpoint;
use super::super::object::Object;
use super::super::text::{InputBound, Medium, with_room};
use super::super::{Question, Refused, RequestFacts, UNKNOWN, cap, unbounded};
use super::form::{Field, Form};
use crate::price::{ModelPrice, PriceTable};
use crate::usage::Unit;

const SPEECH_MEMBERS: [&str; 10] = [
    "input",
    "instructions",
    "model",
    "response_format",
    "sample_rate",
    "speed",
    "stream",
    "stream_format",
    "voice",
    "voice_id",
];

/// Reads a request for speech: billed per character for some models, and by the length of the audio, which nothing
/// bounds, for the others.
pub(super) fn speech(
    row: &'static Endpoint,
    question: &Question<'_>,
    prices: &PriceTable,
) -> Result<RequestFacts, Refused> {
    let body = Object::parse(question.body)?;
    let is_known = |name: &str| SPEECH_MEMBERS.contains(&name) || question.provider.is_neutral_field(name);
    if let Some((name, _)) = body.iter().find(|(name, value)| !value.is_null() && !is_known(name)) {
        return Err(unbounded(name, UNKNOWN));
    }
    let model = cap::name_of_model(&body)?;
    let price = prices.find(question.provider.price_id(), &model);
    let is_by_character = price.is_some_and(|price| price.has_figure(Unit::InputCharacters));
    if !is_by_character && !model.starts_with("tts-1") {
        let rule =
            "makes audio whose length nothing bounds. Use a model that costs per character, such as tts-1.";
        return Err(unbounded(&format!("model {model:?}"), rule));
    }
    let mut facts = RequestFacts::metered(row);
    // A character has a byte at least.
    let text = body.given("input").map_or(0, |input| input.text_bytes());
    facts.input.set(Unit::InputCharacters, text);
    facts.model = Some(model);
    Ok(facts)
}

/// Fields of a form with speech to be written down that change nothing about its cost, or are read below.
const TRANSCRIPTION_FIELDS: [&str; 16] = [
    "diarize",
    "file",
    "include",
    "include[]",
    "known_speaker_names",
    "known_speaker_names[]",
    "known_speaker_references",
    "known_speaker_references[]",
    "language",
    "model",
    "prompt",
    "response_format",
    "stream",
    "temperature",
    "timestamp_granularities",
    "timestamp_granularities[]",
];

/// Why audio that is billed by its length has no bound. A header that states a constant bit rate is none: decoders look
/// into the data, and where that is MP3 they play hours of it from a file that says to be seconds of PCM.
const BY_LENGTH: &str = "is audio, which this model bills by its length, and nothing in a request bounds that. Use a model \
                         that is billed by tokens, such as gpt-4o-mini-transcribe, or a key with a limit in tokens \
                         instead.";

/// Reads a request to write speech down or to translate it.
///
/// Models that are billed by tokens hear the audio in a single pass, so it is at most what they take in, unless they
/// are asked to cut it (`chunking_strategy`: "If unset, the audio is transcribed as a single block",
/// <https://platform.openai.com/docs/api-reference/audio/createTranscription>). Nothing caps what they write but their
/// maximum.
pub(super) fn transcriptions(
    row: &'static Endpoint,
    question: &Question<'_>,
    prices: &PriceTable,
) -> Result<RequestFacts, Refused> {
    let form = Form::parse(question)?;
    for field in form.iter() {
        let name = field.name;
        if name == "chunking_strategy" || name == "chunking_strategy[type]" {
            let rule = "cuts the audio, and each part of it is a run of the model with input of its own. Leave it out.";
            return Err(unbounded(name, rule));
        }
        if !TRANSCRIPTION_FIELDS.contains(&name) && !question.provider.is_neutral_field(name) {
            return Err(unbounded(name, UNKNOWN));
        }
        if field.is_file != (name == "file") {
            return Err(Refused::Malformed(format!("{name:?} must {}be a file.", not(field.is_file))));
        }
    }
    let model = form.text("model")?.filter(|model| !model.is_empty() && model.len() <= 256);
    let model = model.ok_or_else(|| {
        Refused::Malformed("\"model\" must be given, and be the name of a model.".to_owned())
    })?;
    let price = prices.find(question.provider.price_id(), model);
    let mut facts = RequestFacts::metered(row);
    facts.model = Some(model.to_owned());
    let by_length =
        |price: &ModelPrice| price.has_figure(Unit::AudioMillis) || price.has_figure(Unit::InputAudioMillis);
    if price.map_or(model.contains("whisper"), by_length) {
        facts.input.set(Unit::InputTokens, 0);
        facts.unbounded_spend = Some(unbounded("file", BY_LENGTH));
        return Ok(facts);
    }
    let output = price.and_then(ModelPrice::max_output).ok_or_else(|| {
        let rule = "writes as much as it likes, and its maximum is not known. Whoever runs this till instance can add \
                    `max_output` to a price of this model.";
        unbounded(&format!("model {model:?}"), rule)
    })?;
    let mut input = InputBound::new(1);
    let is_text = |name: &str| !name.starts_with("file") && !name.starts_with("known_speaker_references");
    input.bytes(form.iter().filter(|field| is_text(field.name)).map(Field::len).sum());
    input.unseen("file", Medium::Audio);
    input.finish(price.and_then(ModelPrice::context_window).map(with_room), &mut facts)?;
    facts.input.set(Unit::OutputTokens, with_room(output));
    Ok(facts)
}

fn not(is_file: bool) -> &'static str {
    if is_file { "not " } else { "" }
}
