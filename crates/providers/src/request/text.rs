//! How many tokens an input can have at most.
//!
//! - Plain text: its bytes times a factor. A token of a byte-level vocabulary stands for a byte at least, so the factor
//!   is 1; where the vocabulary is not public, or texts may be normalised before, it is 2.
//! - Around the text: a constant per message and per request, for marks between them and prompts of the provider.
//! - Descriptions of tools and schemas of answers are written anew by the provider, nobody says how: the bytes of the
//!   most generous rendering, and a constant for the prompt that goes with them.
//! - Images: the documented maximum.
//!
//! The constants are at least twice what recorded traffic used (`tests/recorded_requests.rs`).

use super::object::Value;
use super::{Refused, unbounded};

/// Tokens around a message.
pub(super) const PER_MESSAGE: u64 = 16;

/// Tokens around a request.
pub(super) const PER_REQUEST: u64 = 128;

/// Tokens of the prompt that goes with tools or a schema.
pub(super) const PER_TOOLS: u64 = 2_048;

/// A bound on the tokens of an input that is being put together.
#[derive(Clone, Copy, Debug)]
pub(super) struct InputBound {
    factor: u64,
    tokens: u64,
    has_tools: bool,
    images: u64,
}

impl InputBound {
    pub(super) fn new(factor: u64) -> Self {
        Self { factor, tokens: PER_REQUEST, has_tools: false, images: 0 }
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

    /// Adds what stands around a message.
    pub(super) fn message(&mut self) {
        self.tokens(PER_MESSAGE);
    }

    /// Adds an image of at most so many tokens.
    pub(super) fn image(&mut self, tokens: u64) {
        self.tokens(tokens);
        self.images = self.images.saturating_add(tokens);
    }

    /// Adds the description of a tool or the schema of an answer.
    ///
    /// # Errors
    /// It is nested too deeply to be bounded.
    pub(super) fn schema(&mut self, value: &Value<'_>, name: &str) -> Result<(), Refused> {
        let bytes = value.rendered_bytes().ok_or_else(|| {
            unbounded(name, "is nested too deeply for its tokens to be bounded. Flatten it.")
        })?;
        self.tokens(bytes.saturating_mul(self.factor).saturating_add(PER_MESSAGE));
        if !self.has_tools {
            self.has_tools = true;
            self.tokens(PER_TOOLS);
        }
        Ok(())
    }

    pub(super) fn total(&self) -> u64 {
        self.tokens
    }

    /// Of them, those of images.
    pub(super) fn image_tokens(&self) -> u64 {
        self.images
    }
}
