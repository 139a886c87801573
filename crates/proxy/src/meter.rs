//! Reads from an answer what was used, while it passes, and settles the hold when it ends.
//!
//! - What is not known is spent: a hold whose usage did not come is charged in full.
//! - A hold is settled once, whichever way the answer ends.
//! - Nothing is buffered: bytes that come in go out, except for the one chunk of a stream that the client did not
//!   ask for.
//! - Where no limit depends on it, an answer that came in one piece is read later, when the end of the call is written.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use till_core::demand::nanos_up;
use till_core::denial::{Denial, DenialCode};
use till_core::fields::Fields;
use till_core::limit::Units;
use till_providers::Provider;
use till_providers::unbilled::is_unbilled;
use till_providers::usage::{AnswerFormat, Charge, Reading, Unit, UsageChunkFilter, UsageReader};
use till_store::{KeyEnded, Outcome, TokenCounts, UsageRecord};

use crate::admit::Held;
use crate::authenticate::VerifiedKey;
use crate::bounds::Measure;
use crate::http1::AnswerHead;
use crate::record::millis_between;

/// The most text that one token stands for, in bytes. The longest entries of the public vocabularies (o200k_base and
/// cl100k_base: runs of 128 spaces and dashes) have 128 bytes; twice that for those that are not public.
const BYTES_PER_TOKEN_MAX: u64 = 256;

/// The longest answer that is read later, in bytes: it stays in memory for as long.
const LATER_MAX: usize = 4 * 1024;

/// The longest name of a model that is taken from an answer into the records, in bytes; as for requests.
const MODEL_BYTES_MAX: usize = 256;

/// Measures one answer.
pub(crate) struct Meter {
    held: Box<Held>,
    key: Arc<VerifiedKey>,
    status: StatusCode,
    reading: Progress,
    /// In a box, as few have one.
    filter: Option<Box<UsageChunkFilter>>,
    /// Where a provider that keeps to the cap must have stopped.
    output_max: Option<OutputMax>,
    started: Instant,
}

/// How far reading has come.
enum Progress {
    /// Nothing came yet, and nothing waits for it.
    Idle,
    /// All of it is here, to be read later.
    Waits(Bytes),
    /// In a box, so that an answer is not too large to be moved.
    Reads(Box<UsageReader>),
}

#[derive(Clone, Copy)]
struct OutputMax {
    tokens: u64,
    text_bytes: u64,
}

/// The provider puts out more than the cap that it was given.
pub(crate) struct Exceeded;

/// What an answer says that it cost.
struct Cost {
    tokens: u64,
    /// `None` when a model in it has no price, and the provider does not say what it charged.
    spend_nanos: Option<u64>,
}

impl Meter {
    /// `answer` is its head; `started` when the request came, `sent` when it was handed to the connection.
    pub(crate) fn begin(
        mut held: Box<Held>,
        key: &Arc<VerifiedKey>,
        answer: &AnswerHead,
        started: Instant,
        sent: Instant,
    ) -> Self {
        let Held { hold, measure, trace } = &mut *held;
        let is_traced = trace.as_ref().is_some_and(|trace| trace.is_sampled());
        let can_wait =
            !is_traced && !measure.is_metered && !measure.format.is_in_headers() && is_json(&answer.fields);
        let reading = if can_wait {
            Progress::Idle
        } else {
            Progress::Reads(Box::new(UsageReader::new(measure.format, &answer.fields)))
        };
        let is_stream = matches!(&reading, Progress::Reads(reader) if reader.is_event_stream());
        let filter = (measure.strips_usage_chunk && is_stream).then(|| Box::new(UsageChunkFilter::new()));
        let output_max = measure.outputs.filter(|_| measure.is_metered).map(|outputs| {
            let tokens = outputs.saturating_mul(hold.steps());
            OutputMax { tokens, text_bytes: tokens.saturating_mul(BYTES_PER_TOKEN_MAX) }
        });
        let now = Instant::now();
        key.metrics.first_byte(started, sent, now);
        if let Some(trace) = trace {
            trace.answered(answer.status.as_u16(), now, is_stream);
        }
        if let Some(record) = hold.record_mut() {
            record.status = Some(answer.status.as_u16());
            record.first_byte_ms = Some(millis_between(started, now));
            record.streamed = is_stream;
        }
        Self { held, key: Arc::clone(key), status: answer.status, reading, filter, output_max, started }
    }

    /// Whose answer it is.
    pub(crate) fn key(&self) -> &Arc<VerifiedKey> {
        &self.key
    }

    /// Whether the answer is needed to its end although the client may be gone.
    pub(crate) fn needs_the_end(&self) -> bool {
        let Measure { is_metered, is_free, .. } = self.held.measure;
        is_metered && !is_free
    }

    /// Whether bytes that come in may not go out.
    pub(crate) fn shortens(&self) -> bool {
        self.filter.is_some()
    }

    /// Tells when the key ends.
    pub(crate) fn key_ended(&self) -> KeyEnded {
        self.held.hold.key_ended()
    }

    /// Why the key has ended, if it has.
    pub(crate) fn ended(&self) -> Option<Denial> {
        self.held.hold.ended()
    }

    /// Takes what came of the answer and gives what is to be passed on. `is_end` says that nothing more comes.
    ///
    /// # Errors
    /// The provider does not keep to its cap: the answer is to be cut.
    pub(crate) fn push(&mut self, data: Bytes, is_end: bool) -> Result<Bytes, Exceeded> {
        if is_end && data.len() <= LATER_MAX && matches!(self.reading, Progress::Idle) {
            self.reading = Progress::Waits(data.clone());
            return Ok(data);
        }
        let max = self.output_max;
        let reader = self.reader();
        reader.push(&data);
        if let Some(max) = max {
            let progress = reader.progress();
            if progress.output_tokens > max.tokens || progress.text_bytes > max.text_bytes {
                return Err(Exceeded);
            }
        }
        Ok(match &mut self.filter {
            Some(filter) => filter.push(data),
            None => data,
        })
    }

    /// Reads now, from here on.
    fn reader(&mut self) -> &mut UsageReader {
        if !matches!(self.reading, Progress::Reads(_)) {
            self.reading = Progress::Reads(Box::new(plain_reader(self.held.measure.format)));
        }
        let Progress::Reads(reader) = &mut self.reading else { unreachable!("it was just begun") };
        reader
    }

    /// What was held back, once the answer has come to its end.
    pub(crate) fn rest(&mut self) -> Bytes {
        self.filter.as_mut().map_or_else(Bytes::new, |filter| filter.finish())
    }

    /// The answer is complete, since `ended`: settles at what was used.
    pub(crate) fn finish(self, ended: Instant) {
        self.settle(true, ended);
    }

    /// The answer ended early: what was held is spent, and more if more is known to have been used.
    pub(crate) fn abandon(self) {
        self.settle(false, Instant::now());
    }

    /// Nothing of the answer is passed on, and why: what was held is spent.
    pub(crate) fn refuse(mut self, denial: &Denial) {
        if let Some(record) = self.held.hold.record_mut() {
            record.denial = Some(denial.code);
        }
        self.abandon();
    }

    fn settle(self, is_whole: bool, ended: Instant) {
        till_store::failpoint!("settle.begin");
        let Self { held, key, status, reading, started, .. } = self;
        let Held { mut hold, measure, trace } = *held;
        key.metrics.ended(started, ended);
        hold.over_at(ended);
        if let Some(record) = hold.record_mut() {
            record.latency_ms = millis_between(started, ended);
        }
        let ended_at = ended;
        let ended = Ended { held: hold.units(), status, is_whole };
        let reader = match reading {
            Progress::Reads(reader) => *reader,
            Progress::Idle => plain_reader(measure.format),
            Progress::Waits(answer) => {
                let used = Units { activations: ended.held.activations, ..Units::default() };
                return hold.settle_later(used, move |record| {
                    let mut reader = plain_reader(measure.format);
                    reader.push(&answer);
                    conclude(&measure, &key.provider, &ended, reader.finish(), Some(record))
                });
            }
        };
        let used = conclude(&measure, &key.provider, &ended, reader.finish(), hold.record_mut());
        if let (Some(trace), Some(record)) = (trace, hold.record_mut()) {
            let model = record.model.as_deref();
            trace.settled(ended_at, record.tokens, used.spend_nanos, model, &key.redactor);
        }
        hold.settle(used);
        till_store::failpoint!("settle.end");
    }
}

/// For an answer whose headers say nothing of it.
fn plain_reader(format: AnswerFormat) -> UsageReader {
    UsageReader::new(format, &Fields::default())
}

/// How an answer ended.
struct Ended {
    /// What was set aside for it.
    held: Units,
    status: StatusCode,
    is_whole: bool,
}

/// What an answer used, which the record gets too.
fn conclude(
    measure: &Measure,
    provider: &Provider,
    ended: &Ended,
    mut reading: Reading,
    record: Option<&mut UsageRecord>,
) -> Units {
    let Ended { held, status, is_whole } = *ended;
    let cost = cost(measure, provider, &mut reading);
    let reported = Units {
        activations: held.activations,
        tokens: cost.tokens,
        spend_nanos: cost.spend_nanos.unwrap_or(0),
    };
    let nothing = Units { activations: held.activations, ..Units::default() };
    let is_known = reading.is_complete && (cost.spend_nanos.is_some() || !measure.needs_price);
    let (used, outcome) = if measure.is_free {
        (nothing, Outcome::Free)
    } else if !measure.is_metered {
        // Nothing rests on it: what can be read is shown.
        (reported, if is_known { Outcome::Complete } else { Outcome::Unmetered })
    } else if is_whole && is_unbilled(provider, measure.endpoint, status) {
        (nothing, Outcome::Unbilled)
    } else if is_whole && is_known && status.is_success() {
        (reported, Outcome::Complete)
    } else {
        (most(held, reported), Outcome::Charged)
    };
    if let Some(record) = record {
        record.outcome = outcome;
        let has_cost = cost.spend_nanos.is_some() || used.spend_nanos > 0;
        record.price_version = has_cost.then(|| Arc::clone(measure.prices.version()));
        record.tokens = counts(&reading.charges);
        let named = reading.charges.first_mut().and_then(|charge| charge.model.take());
        if let Some(model) = named.filter(|model| model.len() <= MODEL_BYTES_MAX) {
            record.model = Some(model);
        }
    }
    used
}

/// Why a stream is cut whose provider does not keep to its cap.
pub(crate) fn exceeded(provider: &Provider) -> Denial {
    Denial::new(
        DenialCode::UpstreamProtocol,
        format!(
            "{} put out more than the cap of this request allows, so the answer was cut off. What was set aside for it \
             is spent.",
            provider.id()
        ),
    )
}

/// Whether an answer is an event stream.
pub(crate) fn is_event_stream(answer: &Fields) -> bool {
    answer.get("content-type").is_some_and(|value| has_prefix(value, b"text/event-stream"))
}

/// Whether it is one document.
fn is_json(answer: &Fields) -> bool {
    answer.get("content-type").is_some_and(|value| has_prefix(value, b"application/json"))
}

fn has_prefix(text: &[u8], prefix: &[u8]) -> bool {
    // In letters that are not those of the prefix it is looked at once more, which is seldom.
    text.get(..prefix.len()).is_some_and(|start| start == prefix || start.eq_ignore_ascii_case(prefix))
}

fn cost(measure: &Measure, provider: &Provider, reading: &mut Reading) -> Cost {
    let mut tokens = 0_u64;
    let mut picos = Some(0_u128);
    for charge in &mut reading.charges {
        tokens = tokens.saturating_add(charge.usage.tokens());
        picos = picos.and_then(|picos| picos.checked_add(charge_picos(measure, provider, charge)?));
    }
    let picos = picos.filter(|_| !reading.charges.is_empty());
    // What the provider itself says to have charged can only add to it. Without a price it is all there is.
    let picos = picos.max(reading.reported_picos);
    // More than can be counted is more than any limit.
    Cost { tokens, spend_nanos: picos.map(|picos| nanos_up(picos).unwrap_or(u64::MAX)) }
}

/// What a charge costs, whose context is completed by what the request asked for.
fn charge_picos(measure: &Measure, provider: &Provider, charge: &mut Charge) -> Option<u128> {
    let named = [charge.model.as_deref(), measure.model.as_deref()];
    let price =
        named.into_iter().flatten().find_map(|model| measure.prices.find(provider.price_id(), model))?;
    charge.context.complete(&measure.context);
    // Which of the two moments counts is the provider's business.
    Some(price.cost_picos(&charge.context, measure.at, measure.clock, &charge.usage))
}

/// The greater of two amounts, per dimension.
fn most(one: Units, other: Units) -> Units {
    Units {
        activations: one.activations.max(other.activations),
        tokens: one.tokens.max(other.tokens),
        spend_nanos: one.spend_nanos.max(other.spend_nanos),
    }
}

/// The counts that a usage record has.
fn counts(charges: &[Charge]) -> TokenCounts {
    let mut counts = TokenCounts::default();
    for Charge { usage, .. } in charges {
        for (sum, unit) in [
            (&mut counts.input, Unit::InputTokens),
            (&mut counts.cache_read, Unit::CacheReadTokens),
            (&mut counts.cache_write, Unit::CacheWriteTokens),
            (&mut counts.output, Unit::OutputTokens),
            (&mut counts.reasoning, Unit::OutputReasoningTokens),
            (&mut counts.audio_input, Unit::InputAudioTokens),
            (&mut counts.audio_output, Unit::OutputAudioTokens),
            (&mut counts.image_input, Unit::InputImageTokens),
            (&mut counts.image_output, Unit::OutputImageTokens),
        ] {
            *sum = sum.saturating_add(usage.count(unit));
        }
        for unit in [Unit::WebSearches, Unit::SocialSearches, Unit::StorageSearches, Unit::CodeExecutions] {
            counts.tool_calls = counts.tool_calls.saturating_add(usage.count(unit));
        }
    }
    counts
}
