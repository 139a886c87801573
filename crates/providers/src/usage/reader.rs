//! Usage out of an answer while it passes.
//!
//! A figure counts only if it is final: the answer came to the end that its format has, or the figure stands in the
//! last document of the stream. A figure that can't be read is no figure.

use till_core::fields::Fields;

use super::Usage;
use super::format::{self, State};
use super::framing::{Events, Frames, Framing, Piece};
use super::scanner::Scanner;
use super::whole;
use crate::price::PriceContext;

/// How an answer tells what was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerFormat {
    /// Not at all.
    Silent,
    /// `usage.prompt_tokens`, `usage.completion_tokens`: chat, completions and embeddings of OpenAI and those that
    /// copy it.
    OpenAiChat,
    /// `usage.input_tokens`, `usage.output_tokens`: OpenAI's Responses, images and transcriptions.
    OpenAiResponses,
    /// Anthropic's Messages.
    Anthropic,
    /// `usageMetadata` of Gemini.
    Gemini,
    /// Cohere's `meta.billed_units` (v1) and `usage.billed_units` (v2).
    Cohere,
    /// Bedrock's Converse and ConverseStream.
    BedrockConverse,
    /// Bedrock's InvokeModel: the model's own body, counts in the headers `x-amzn-bedrock-*-token-count`.
    BedrockInvoke,
}

impl AnswerFormat {
    /// Whether headers of the answer say a part of it.
    pub fn is_in_headers(self) -> bool {
        matches!(self, Self::Gemini | Self::BedrockInvoke)
    }
}

/// One thing that is billed: usually there is exactly one, and more where other models did part of the work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The model that did it, as the answer names it.
    pub model: Option<String>,
    /// What it used.
    pub usage: Usage,
    /// What the answer says of the tier or speed at which it was served.
    pub context: PriceContext,
}

/// What an answer said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What is billed; empty when nothing was said.
    pub charges: Vec<Charge>,
    /// Whether the figures are final.
    pub is_complete: bool,
    /// What the provider itself says to have charged (OpenRouter's `usage.cost`), in pico-dollars.
    pub reported_picos: Option<u128>,
}

/// What is known while an answer is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Tokens of output that were reported.
    pub output_tokens: u64,
    /// Bytes of generated text that were seen; there may be more.
    pub text_bytes: u64,
}

/// Reads one answer, in pieces of any size. Keeps the figures and the beginning of the piece that is under way, never
/// the answer.
#[derive(Debug)]
pub struct UsageReader {
    format: AnswerFormat,
    framing: Framing,
    /// For what does not come as a whole document. Nearly all answers that are no streams do.
    scanner: Option<Box<Scanner>>,
    state: State,
}

impl UsageReader {
    /// For an answer of this format with these headers.
    pub fn new(format: AnswerFormat, headers: &Fields) -> Self {
        let content_type = headers.get("content-type").unwrap_or_default();
        let is = |kind: &[u8]| {
            content_type.get(..kind.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(kind))
        };
        let framing = if is(b"text/event-stream") {
            Framing::Events(Events::new())
        } else if is(b"application/vnd.amazon.eventstream") {
            Framing::Frames(Frames::default())
        } else {
            Framing::Plain
        };
        let is_stream = !matches!(framing, Framing::Plain);
        Self { format, framing, scanner: None, state: State::new(format, headers, is_stream) }
    }

    /// Whether the answer is a stream of server-sent events.
    pub fn is_event_stream(&self) -> bool {
        matches!(self.framing, Framing::Events(_))
    }

    /// Reads on.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.format == AnswerFormat::Silent {
            return;
        }
        let Self { format, scanner, state, framing } = self;
        let (tree, is_stream) = (format::tree(*format), !matches!(framing, Framing::Plain));
        let mut bytes = bytes;
        if scanner.is_none() && !is_stream {
            bytes = whole::documents(tree, bytes, |said| state.document(said));
            if bytes.is_empty() {
                return;
            }
        }
        let scanner = scanner.get_or_insert_with(|| Box::new(Scanner::new(tree, is_stream)));
        match framing {
            Framing::Plain => scanner.push(bytes, &mut |said| state.document(said)),
            Framing::Events(events) => events.push(bytes, &mut |piece| take(scanner, state, piece)),
            Framing::Frames(frames) => frames.push(bytes, &mut |piece| take(scanner, state, piece)),
        }
    }

    /// What is known so far.
    pub fn progress(&self) -> Progress {
        if matches!(self.framing, Framing::Plain) {
            // An answer in one piece is not made while it is read: there is nothing to stop.
            return Progress::default();
        }
        Progress {
            output_tokens: self.state.output_tokens(),
            text_bytes: self.scanner.as_ref().map_or(0, |scanner| scanner.text_bytes()),
        }
    }

    /// The end of the answer.
    pub fn finish(mut self) -> Reading {
        let Self { scanner, state, framing, .. } = &mut self;
        if let (Framing::Events(events), Some(scanner)) = (framing, scanner) {
            events.finish(&mut |piece| take(scanner, state, piece));
        }
        self.state.finish()
    }
}

fn take(scanner: &mut Scanner, state: &mut State, piece: Piece<'_>) {
    match piece {
        Piece::Data(data) => scanner.push(data, &mut |said| state.document(said)),
        Piece::End => scanner.reset(),
        Piece::Done => {
            scanner.reset();
            state.done();
        }
    }
}
