//! What a request under a token or spend limit asks for: its model, the most that its input can come to, the cap
//! of its output, and the bytes that have to change so that the provider enforces what was set aside.
//!
//! Invariant: what is not understood is refused. An endpoint, a top-level field, a tool type or a beta value that
//! is in no table may make the request dearer than its bound, so it is never passed over.

mod anthropic;
mod bedrock;
mod cap;
mod cohere;
mod endpoint;
mod google;
mod object;
mod openai;
#[cfg(test)]
mod tests;
mod text;

use std::borrow::Cow;
use std::ops::Range;

use http::Method;
use till_core::fields::{self, Fields};
use till_core::path::FinalPath;

pub(crate) use self::bedrock::model_of as bedrock_model;
use self::endpoint::Content;
pub use self::endpoint::{Endpoint, endpoint, endpoints};
pub(crate) use self::object::Object;
pub(crate) use self::openai::form_texts;
use crate::price::{PriceContext, PriceTable};
use crate::provider::Provider;
use crate::usage::{AnswerFormat, Unit, Usage};

/// A request as it came, its body complete.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Who is asked.
    pub provider: &'a Provider,
    /// The method.
    pub method: &'a Method,
    /// The path, final.
    pub path: &'a FinalPath,
    /// The query, byte for byte.
    pub query: Option<&'a str>,
    /// The client's headers.
    pub headers: &'a Fields,
    /// The whole body; empty if there is none.
    pub body: &'a [u8],
}

/// Why a request can't be bounded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Something in it is in no table, or has no bound. The text is whole sentences for the developer: what it is
    /// and what to do.
    #[error("{message}")]
    Unbounded {
        /// The endpoint, field, tool type or header value at fault, such as `tools[0].type`.
        what: String,
        /// For people.
        message: String,
    },
    /// It can be read in more than one way, or not at all.
    #[error("{0}")]
    Malformed(String),
}

/// What a request asks for.
#[derive(Clone, Debug)]
pub struct RequestFacts {
    /// The row of the endpoint table, for records: `chat.completions`.
    pub endpoint: &'static str,
    /// The model as the request names it; `None` where the endpoint has none.
    pub model: Option<String>,
    /// The provider documents that this costs nothing and uses no billed tokens: nothing below matters.
    pub is_free: bool,
    /// How the answer tells what was used.
    pub answer: AnswerFormat,
    /// Upper bounds of what the request may be billed for besides the output that its cap bounds.
    /// [`Unit::InputTokens`] is the bound of all input; parts with a price of their own (audio, images) are bounds
    /// within it.
    pub input: Usage,
    /// What makes the provider work on its own, if anything does: nothing bounds that, but it asks no other model.
    pub unbounded: Option<Refused>,
    /// Why nothing bounds what it costs, where its tokens are bounded: a limit in money refuses it.
    pub unbounded_spend: Option<Refused>,
    /// What the price may depend on instead of `context`, because the account at the provider decides it: its default
    /// service tier, the place where it is served.
    pub other_contexts: Vec<PriceContext>,
    /// Whether the input is nothing but text, so that a tokenizer can count it.
    pub is_plain_text: bool,
    /// The dearest cache entry that the request may write.
    pub cache_write: CacheWrite,
    /// `None` when the endpoint makes no output that is billed by a cap, such as embeddings.
    pub output: Option<OutputCap>,
    /// What the price depends on besides the model: service tier, speed.
    pub context: PriceContext,
    /// Changes that are made whatever cap is granted, such as asking for usage in a stream. In order, not
    /// overlapping.
    pub edits: Vec<Edit>,
    /// Changes by which the provider enforces the known price. A key without a limit in money needs none of them.
    pub spend_edits: Vec<Edit>,
    /// The stream will have one more chunk than the client asked for, with nothing but usage: to be taken out.
    pub strips_usage_chunk: bool,
}

/// How long input may be kept in the provider's cache because of this request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum CacheWrite {
    /// Never, or at no price of its own.
    #[default]
    None,
    /// Five minutes, or as the provider decides.
    FiveMinutes,
    /// An hour.
    OneHour,
}

/// The output of a request and how it is capped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputCap {
    /// The parameter that the provider enforces, for people: `max_completion_tokens`.
    pub parameter: &'static str,
    /// The cap that the client asks for.
    pub requested: Option<u64>,
    /// The cap that holds when the client names none: the most that the model can put out, if that is known.
    pub default: Option<u64>,
    /// The lowest cap with which the provider accepts this request, at least 1.
    pub min: u64,
    /// How many outputs each get this cap: choices, candidates, prompts.
    pub outputs: u64,
    /// What may come out besides text, with a price of its own: `OutputAudioTokens`, `OutputImageTokens`.
    pub also: Vec<Unit>,
    /// Where the granted cap is written into the body.
    pub place: CapPlace,
}

/// Where a cap goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CapPlace {
    /// In place of these bytes, which are the number that stands there.
    Replace(Range<usize>),
    /// At this offset, between these texts: `,"max_tokens":` … nothing.
    Insert {
        /// Offset in the body.
        at: usize,
        /// Before the number.
        before: Cow<'static, str>,
        /// After it.
        after: Cow<'static, str>,
    },
}

/// A piece of the body that is replaced; an empty range inserts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What goes.
    pub range: Range<usize>,
    /// What comes.
    pub text: String,
}

/// Reads a request.
///
/// # Errors
/// See [`Refused`].
pub fn facts(question: &Question<'_>, prices: &PriceTable) -> Result<RequestFacts, Refused> {
    let facts = scan(question, prices);
    if let Ok(RequestFacts { unbounded: Some(refusal), .. }) = &facts {
        return Err(refusal.clone());
    }
    facts
}

/// The same for whom it is enough that the request is understood, also where nothing bounds what it costs.
///
/// # Errors
/// See [`Refused`].
pub(crate) fn scan(question: &Question<'_>, prices: &PriceTable) -> Result<RequestFacts, Refused> {
    let configured = || {
        question.provider.is_neutral_endpoint(question.method, question.path).then_some(&endpoint::CONFIGURED)
    };
    let row = endpoint(question.provider, question.method, question.path).or_else(configured).ok_or_else(|| {
        let what = format!("{} {}", question.method, question.path.as_str());
        let rule = "is not an endpoint whose cost till can bound. Ask whoever minted this key for one without a limit \
                    in tokens or money.";
        unbounded(&what, rule)
    })?;
    let Some(read) = row.read else {
        return Ok(RequestFacts::free(row));
    };
    let kind = question.content_type().map(|(kind, _)| kind);
    // A body without a type is JSON, as every provider reads it.
    let (fits, expected) = match row.content {
        Content::Json => (
            kind.as_deref().is_none_or(|kind| kind == JSON),
            "JSON and its Content-Type \"application/json\"",
        ),
        Content::Form => (
            kind.as_deref() == Some(FORM),
            "a form with a file in it and its Content-Type \"multipart/form-data\"",
        ),
        Content::JsonOrForm => (
            kind.as_deref().is_none_or(|kind| kind == JSON || kind == FORM),
            "JSON or a form, its Content-Type \"application/json\" or \"multipart/form-data\"",
        ),
    };
    if !fits {
        let kind = kind.unwrap_or_default();
        return Err(Refused::Malformed(format!(
            "The body of this request must be {expected}, not {kind:?}."
        )));
    }
    read(row, question, prices)
}

const JSON: &str = "application/json";
const FORM: &str = "multipart/form-data";

impl Question<'_> {
    /// The media type of the body in lower case and what stands behind it, if a type is named.
    fn content_type(&self) -> Option<(String, &str)> {
        let text = fields::text(self.headers.get("content-type")?).unwrap_or_default();
        let (kind, parameters) = text.split_once(';').unwrap_or((text, ""));
        Some((kind.trim().to_ascii_lowercase(), parameters))
    }
}

impl RequestFacts {
    fn free(row: &Endpoint) -> Self {
        Self { is_free: true, ..Self::metered(row) }
    }

    /// Facts to be filled in.
    fn metered(row: &Endpoint) -> Self {
        Self {
            endpoint: row.name,
            model: None,
            is_free: false,
            answer: row.answer,
            input: Usage::default(),
            unbounded: None,
            unbounded_spend: None,
            other_contexts: Vec::new(),
            is_plain_text: false,
            cache_write: CacheWrite::None,
            output: None,
            context: PriceContext::default(),
            edits: Vec::new(),
            spend_edits: Vec::new(),
            strips_usage_chunk: false,
        }
    }

    /// Lowers the bound of the input to what a tokenizer or the provider itself has counted, with its margin; `false`
    /// when that is no better.
    pub fn tighten(&mut self, counted: u64) -> bool {
        let is_better = counted < self.input.count(Unit::InputTokens);
        if is_better {
            self.input.set(Unit::InputTokens, counted);
        }
        is_better
    }

    /// The body that the provider gets, with this output cap.
    pub fn rewrite(&self, body: &[u8], cap: Option<u64>) -> Vec<u8> {
        let mut edits: Vec<Edit> = self.edits.iter().chain(&self.spend_edits).cloned().collect();
        if let (Some(output), Some(cap)) = (&self.output, cap) {
            edits.push(match &output.place {
                CapPlace::Replace(range) => Edit { range: range.clone(), text: cap.to_string() },
                CapPlace::Insert { at, before, after } => {
                    Edit { range: *at..*at, text: format!("{before}{cap}{after}") }
                }
            });
        }
        // Stable: what is inserted at the same place stays in order.
        edits.sort_by_key(|edit| edit.range.start);
        let mut rewritten = Vec::with_capacity(body.len() + 64);
        let mut done = 0;
        for edit in edits {
            rewritten.extend_from_slice(&body[done..edit.range.start]);
            rewritten.extend_from_slice(edit.text.as_bytes());
            done = edit.range.end;
        }
        rewritten.extend_from_slice(&body[done..]);
        rewritten
    }
}

/// A refusal that names what it is about: "`what` `rule`".
fn unbounded(what: &str, rule: &str) -> Refused {
    Refused::Unbounded {
        what: what.to_owned(),
        message: format!(
            "This scoped key has a limit in tokens or money, and this request can't be bounded: {what} {rule}"
        ),
    }
}

/// The usual rule for a member that is in no table.
const UNKNOWN: &str = "is not known to till. Leave it out, or ask whoever minted this key for one without a limit in tokens or money.";

/// Why work at the provider's has no bound.
const RUNS_THERE: &str = "makes the provider work and charge on its own, without a bound. Leave it out, or ask whoever \
                          minted this key for one without a limit in tokens or money.";
