//! How many tokens an input can have at most.
//!
//! - Plain text: its bytes times a factor. A token of a byte-level vocabulary stands for a byte at least, so the factor
//!   is 1; where the vocabulary is not public, or texts may be normalised before, it is 2.
//! - Around the text: a constant per message and per request, for marks between them and prompts of the provider.
//! - JSON that the provider writes anew, nobody says how (descriptions of tools, schemas of answers, arguments and
//!   results of calls): the bytes of the most generous rendering. With tools or a schema comes a prompt: a constant.
//! - Images: the documented maximum.
//! - Files, and what the provider keeps from before: at most what the model takes in. That bounds a single pass of the
//!   model, so it is no bound for what runs several (tools of the provider).
//!
//! The constants are at least twice what recorded traffic used (`tests/recorded_requests.rs`).

use std::fmt::Display;

use super::object::Value;
use super::{RUNS_THERE, Refused, RequestFacts, unbounded};
use crate::usage::Unit;

/// Tokens around a message.
pub(super) const PER_MESSAGE: u64 = 16;

/// Tokens around a request.
pub(super) const PER_REQUEST: u64 = 128;

/// Tokens of the prompt that goes with tools or a schema.
pub(super) const PER_TOOLS: u64 = 2_048;

/// A maximum of a model that nothing in the request enforces, and 5 % more: price tables round, and 1,000,000 stands for
/// 1,047,576 (gpt-4.1) or 1,048,576, 128,000 for 131,072.
pub(super) fn with_room(most: u64) -> u64 {
    most.saturating_add(most.div_ceil(20))
}

/// Kinds of input that may have a price of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Medium {
    /// Text and pictures of pages, as a document has them.
    Document,
    Audio,
    /// Pictures and sound.
    Video,
    /// Any of them.
    Any,
}

impl Medium {
    /// By its media type, as in `audio/mpeg`.
    pub(super) fn of(media_type: &str) -> Self {
        match media_type.split('/').next().unwrap_or_default() {
            "audio" => Self::Audio,
            "video" => Self::Video,
            "image" | "text" => Self::Document,
            _ if media_type == "application/pdf" => Self::Document,
            _ => Self::Any,
        }
    }

    /// What its tokens may be billed as besides text.
    fn units(self) -> &'static [Unit] {
        match self {
            Self::Document => &[Unit::InputImageTokens],
            Self::Audio => &[Unit::InputAudioTokens],
            Self::Video => &[Unit::InputVideoTokens, Unit::InputAudioTokens, Unit::InputImageTokens],
            Self::Any => &[Unit::InputImageTokens, Unit::InputAudioTokens, Unit::InputVideoTokens],
        }
    }
}

/// A bound on the tokens of an input that is being put together.
#[derive(Clone, Debug)]
pub(super) struct InputBound {
    factor: u64,
    tokens: u64,
    has_tools: bool,
    /// What the provider runs on its own.
    runs_there: Option<Refused>,
    /// There is a prompt that only the provider knows, so no tokenizer can count it.
    has_hidden: bool,
    images: u64,
    /// Places of what has no size here, and what each may be.
    unseen: Vec<(String, Medium)>,
}

impl InputBound {
    pub(super) fn new(factor: u64) -> Self {
        Self {
            factor,
            tokens: PER_REQUEST,
            has_tools: false,
            runs_there: None,
            has_hidden: false,
            images: 0,
            unseen: Vec::new(),
        }
    }

    /// Adds all text of a value.
    pub(super) fn text(&mut self, value: &Value<'_>) {
        self.bytes(value.text_bytes());
    }

    /// Adds so many bytes of text.
    pub(super) fn bytes(&mut self, bytes: u64) {
        self.tokens = self.tokens.saturating_add(bytes.saturating_mul(self.factor));
    }

    /// Adds tokens.
    pub(super) fn tokens(&mut self, tokens: u64) {
        self.tokens = self.tokens.saturating_add(tokens);
    }

    /// Adds a prompt of the provider of at most so many tokens.
    pub(super) fn hidden(&mut self, tokens: u64) {
        self.has_hidden = true;
        self.tokens(tokens);
    }

    /// Adds what stands around a message.
    pub(super) fn message(&mut self) {
        self.tokens(PER_MESSAGE);
    }

    /// Adds an image of at most so many tokens.
    pub(super) fn image(&mut self, tokens: u64) {
        self.tokens(tokens);
        self.images = self.images.saturating_add(tokens);
    }

    /// Adds what has no size here: a file by its name or in a form that would have to be decoded, or what the provider
    /// keeps. All of it together is at most what the model takes in.
    pub(super) fn unseen(&mut self, place: &str, medium: Medium) {
        self.unseen.push((place.to_owned(), medium));
    }

    /// Adds JSON that the provider writes anew, such as the arguments of a call.
    ///
    /// # Errors
    /// It is nested too deeply to be bounded.
    pub(super) fn json(&mut self, value: &Value<'_>, name: impl Display) -> Result<(), Refused> {
        let bytes = value.rendered_bytes().ok_or_else(|| {
            unbounded(&name.to_string(), "is nested too deeply for its tokens to be bounded. Flatten it.")
        })?;
        self.bytes(bytes);
        Ok(())
    }

    /// Adds the description of a tool or the schema of an answer.
    ///
    /// # Errors
    /// It is nested too deeply to be bounded.
    pub(super) fn schema(&mut self, value: &Value<'_>, name: &str) -> Result<(), Refused> {
        self.json(value, name)?;
        self.message();
        if !self.has_tools {
            self.has_tools = true;
            self.tokens(PER_TOOLS);
        }
        Ok(())
    }

    /// Adds what makes the provider work and charge on its own. Only what asks no model besides the one of the request
    /// may be added here.
    pub(super) fn runs_there(&mut self, what: &str) {
        self.runs_there.get_or_insert_with(|| unbounded(what, RUNS_THERE));
    }

    /// The same for a tool, if its kind is one of those `known` to ask no other model, and it names none.
    ///
    /// # Errors
    /// It may ask another model.
    pub(super) fn hosted_tool(
        &mut self,
        tool: &Value<'_>,
        kind: &str,
        known: &[&str],
        what: &str,
    ) -> Result<(), Refused> {
        let names_model = ["model", "models", "agent_id", "agents"].iter().any(|name| tool.mentions(name));
        if names_model || !known.contains(&kind) {
            return Err(unbounded(what, RUNS_THERE));
        }
        self.runs_there(what);
        Ok(())
    }

    /// Puts the bound into the facts of the request. `window` is how many tokens the model takes in.
    ///
    /// # Errors
    /// It has input without a size, and how much the model takes in is not known.
    pub(super) fn finish(self, window: Option<u64>, facts: &mut RequestFacts) -> Result<(), Refused> {
        facts.unbounded = self.runs_there;
        let mut tokens = self.tokens;
        if self.images > 0 {
            facts.input.set(Unit::InputImageTokens, self.images);
        }
        if let Some((place, _)) = self.unseen.first() {
            let window = window.ok_or_else(|| {
                let rule = "is input whose size only the provider knows, and how much this model takes in is not known. Send \
                            it as text, or ask whoever runs this till instance to add `context_window` to a price of this \
                            model.";
                unbounded(place, rule)
            })?;
            tokens = tokens.max(window);
            for unit in self.unseen.iter().flat_map(|(_, medium)| medium.units()) {
                facts.input.set(*unit, tokens);
            }
        }
        facts.is_plain_text = self.images == 0 && self.unseen.is_empty() && !self.has_hidden;
        facts.input.set(Unit::InputTokens, tokens);
        Ok(())
    }
}
