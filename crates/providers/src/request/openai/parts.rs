//! What messages and items are made of: text, calls, images, and input whose size only the provider knows.

use std::borrow::Cow;
use std::fmt::Display;

use super::super::object::{Object, Value};
use super::super::text::{InputBound, Medium};
use super::super::{RUNS_THERE, Refused, unbounded};
use super::dialect::Dialect;

/// Input that is being read, of one request.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) dialect: &'static Dialect,
    pub(super) model: &'a str,
    pub(super) input: &'a mut InputBound,
    /// The first place with sound in it, which has a price of its own.
    pub(super) audio: Option<String>,
}

/// Parts that are text.
const TEXTS: [&str; 8] = [
    "text",
    "input_text",
    "output_text",
    "refusal",
    "thinking",
    "reasoning_text",
    "summary_text",
    // Mistral: numbers of documents that were cited.
    "reference",
];

/// Parts that are an image each.
const IMAGES: [&str; 3] = ["image_url", "input_image", "computer_screenshot"];

/// Parts that have no size here, and what they are. Their own member has the name of the part, or one of [`CARRIERS`].
const MEDIA: [(&str, Medium); 11] = [
    ("input_audio", Medium::Audio),
    ("audio_url", Medium::Audio),
    ("audio", Medium::Audio),
    ("video_url", Medium::Video),
    ("input_video", Medium::Video),
    ("video", Medium::Video),
    ("file", Medium::Document),
    ("input_file", Medium::Document),
    ("file_url", Medium::Document),
    ("document_url", Medium::Document),
    ("document", Medium::Document),
];

/// Members that hold, or refer to, what an image or a file is. What they hold is bounded by what the part is, so their
/// bytes do not count.
const CARRIERS: [&str; 9] = [
    "image_url",
    "image",
    "file_id",
    "file_data",
    "file_url",
    "document_name",
    "detail",
    "cache_control",
    "type",
];

impl Reader<'_> {
    /// Adds a value whose own text the model reads; JSON that is no text is rendered in a way that nobody knows.
    pub(super) fn any(&mut self, value: &Value<'_>, name: impl Display) -> Result<(), Refused> {
        if value.is_str() {
            self.input.text(value);
            return Ok(());
        }
        self.input.json(value, name)
    }

    /// Adds all members but some.
    pub(super) fn members(
        &mut self,
        object: &Object<'_>,
        place: &str,
        is_skipped: impl Fn(&str) -> bool,
    ) -> Result<(), Refused> {
        for (name, value) in object.iter().filter(|(name, value)| !value.is_null() && !is_skipped(name)) {
            self.input.bytes(name.len() as u64);
            self.any(&value, place)?;
        }
        Ok(())
    }

    /// Adds the content of a message or of a result: a text, or an array of parts.
    pub(super) fn content(&mut self, value: &Value<'_>, place: impl Display) -> Result<(), Refused> {
        if value.is_str() {
            self.input.text(value);
            return Ok(());
        }
        let items = value
            .as_array()
            .ok_or_else(|| Refused::Malformed(format!("{place} must be a text or an array of parts.")))?;
        for (index, part) in items.iter().enumerate() {
            let place = format!("{place}[{index}]");
            if part.is_str() {
                self.input.text(part);
                self.input.tokens(4);
                continue;
            }
            let object =
                part.as_object().ok_or_else(|| Refused::Malformed(format!("{place} must be an object.")))?;
            self.part(&object, &place)?;
        }
        Ok(())
    }

    /// Adds one part.
    pub(super) fn part(&mut self, part: &Object<'_>, place: &str) -> Result<(), Refused> {
        let kind = part.given("type").and_then(|kind| kind.as_str()).unwrap_or_default();
        let kind = kind.as_ref();
        self.input.tokens(4);
        if TEXTS.contains(&kind) {
            return self.members(part, place, |_| false);
        }
        let is_carrier = |name: &str| name == kind || CARRIERS.contains(&name);
        if IMAGES.contains(&kind) {
            let detail = part.given("detail").and_then(|detail| detail.as_str().map(Cow::into_owned));
            let detail = detail.or_else(|| {
                let image = part.given("image_url")?.as_object()?;
                image.given("detail")?.as_str().map(Cow::into_owned)
            });
            self.input.image(self.dialect.image_tokens(self.model, detail.as_deref()));
            return self.members(part, place, is_carrier);
        }
        if let Some((_, medium)) = MEDIA.iter().find(|(known, _)| *known == kind) {
            if *medium == Medium::Document && self.dialect.parses_files {
                return Err(unbounded(&format!("{place}.type {kind:?}"), RUNS_THERE));
            }
            if matches!(medium, Medium::Audio | Medium::Video) && self.audio.is_none() {
                self.audio = Some(place.to_owned());
            }
            self.input.unseen(place, *medium);
            return self.members(part, place, is_carrier);
        }
        let rule = "is a kind of input whose tokens can't be bounded. Send text, images, audio or files, or ask whoever \
                    minted this key for one without a limit in tokens or money.";
        Err(unbounded(&format!("{place}.type {kind:?}"), rule))
    }
}
