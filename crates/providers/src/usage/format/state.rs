//! What an answer has said so far.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde::Deserialize;
use till_core::fields::{self, Fields};

use super::counts::{
    ANTHROPIC_NAMES, Unreadable, anthropic, anthropic_others, bedrock, billed, chat, gemini, responses,
};
use super::inner_tree;
use super::money::{COST_NAMES, stated_cost};
use super::value::{self, Document, Object, Value};
use crate::price::PriceContext;
use crate::usage::reader::{AnswerFormat, Charge, Reading};
use crate::usage::scanner::{Field, Said, Scanner};
use crate::usage::tally::Tally;
use crate::usage::{Unit, Usage};

/// Searches that are told apart; each one beyond them counts, also one that was made before.
const QUERIES_MAX: usize = 256;

/// Room for most of what Anthropic says.
const MERGED_USUAL: usize = 512;

/// What was said so far.
#[derive(Debug)]
pub(in crate::usage) struct State {
    format: AnswerFormat,
    is_stream: bool,
    model: Option<Box<str>>,
    tier: Option<Box<str>>,
    speed: Option<Box<str>>,
    /// Where it was served.
    geo: Option<Box<str>>,
    /// The newest figures; an error once any could not be read.
    usage: Result<Usage, Unreadable>,
    /// Anthropic's, which come in two events that complete each other.
    /// They are JSON.
    merged: Vec<u8>,
    others: Vec<Charge>,
    reported_picos: Option<u128>,
    /// Of all documents.
    tally: Tally,
    /// Of the steps that a stream told one by one.
    steps: Tally,
    /// Of the steps in the document with the newest figures.
    steps_at_figures: Tally,
    /// Fingerprints of the searches of Google's, and how many there were beyond those.
    queries: Vec<u64>,
    queries_beyond: u64,
    /// The last document had figures.
    is_last: bool,
    /// That document is one of an array.
    in_array: bool,
    /// That document has no output in it.
    is_bare: bool,
    /// The newest figures are those with which a message of Anthropic's begins.
    has_begun_only: bool,
    is_done: bool,
    /// The figures stand where only final ones do.
    is_final: bool,
}

impl State {
    #[inline]
    pub(in crate::usage) fn new(format: AnswerFormat, headers: &Fields, is_stream: bool) -> Self {
        let mut state = Self {
            format,
            is_stream,
            model: None,
            tier: None,
            speed: None,
            geo: None,
            usage: Ok(Usage::default()),
            merged: Vec::new(),
            others: Vec::new(),
            reported_picos: None,
            tally: Tally::default(),
            steps: Tally::default(),
            steps_at_figures: Tally::default(),
            queries: Vec::new(),
            queries_beyond: 0,
            is_last: false,
            in_array: false,
            is_bare: false,
            has_begun_only: false,
            is_done: false,
            is_final: false,
        };
        let tier = match format {
            // <https://ai.google.dev/gemini-api/docs/priority-inference>
            AnswerFormat::Gemini => headers.get_text("x-gemini-service-tier"),
            // <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html>
            AnswerFormat::BedrockInvoke => headers.get_text("x-amzn-bedrock-service-tier"),
            _ => None,
        };
        state.tier = tier.map(Into::into);
        if format == AnswerFormat::BedrockInvoke {
            state.read_bedrock_headers(headers);
        }
        state
    }

    pub(in crate::usage) fn output_tokens(&self) -> u64 {
        self.usage.as_ref().map_or(0, |usage| usage.count(Unit::OutputTokens))
    }

    pub(in crate::usage) fn done(&mut self) {
        self.is_done = true;
    }

    /// One whole document.
    pub(in crate::usage) fn document(&mut self, said: Said<'_>) {
        let kind = text(said, Field::Type);
        let kind = kind.as_deref();
        self.is_last = false;
        self.in_array = said.in_array;
        self.is_bare = *said.tally == Tally::default();
        self.tally.add(said.tally);
        replace(&mut self.model, said, Field::Model);
        replace(&mut self.tier, said, Field::Tier);
        for (field, raw) in said.iter() {
            match field {
                // The same figures in a place of Groq's own.
                Field::VendorUsage if said.raw(Field::Usage).is_some() || self.usage_is_known() => {}
                Field::Usage | Field::VendorUsage => {
                    let read = said.usage.filter(|_| field == Field::Usage);
                    self.read_usage(raw, read, kind, said);
                }
                Field::Billed => self.read_billed(raw),
                Field::InputCount => self.read_input_count(raw, said.tally),
                Field::Queries => self.read_queries(raw),
                Field::Metrics => self.read_metrics(raw),
                Field::Wrapped => self.read_wrapped(raw),
                Field::Model | Field::Tier | Field::Type | Field::StopReason => {}
            }
        }
        match (self.format, kind) {
            (AnswerFormat::Anthropic, Some("message_stop")) => self.is_done = !self.has_begun_only,
            (AnswerFormat::OpenAiResponses, Some("response.output_item.done")) => self.steps.add(said.tally),
            _ => {}
        }
    }

    fn usage_is_known(&self) -> bool {
        self.usage.as_ref().is_ok_and(|usage| !usage.is_empty())
    }

    fn set(&mut self, usage: Result<Usage, Unreadable>) {
        // What could not be read once stays so: nobody knows what it replaced.
        if self.usage.is_ok() {
            self.usage = usage;
            self.is_last = true;
        }
    }

    /// Reads a usage, which may have been read already.
    fn read_usage(&mut self, raw: &[u8], read: Option<&Document<'_>>, kind: Option<&str>, said: Said<'_>) {
        if raw == b"null" {
            return;
        }
        let parsed;
        let usage = match read {
            Some(usage) => usage,
            None => {
                parsed = Document::parse(raw);
                let Some(usage) = &parsed else {
                    self.usage = Err(Unreadable);
                    return;
                };
                usage
            }
        };
        let usage = usage.object();
        if usage.is_empty() {
            return;
        }
        match self.format {
            AnswerFormat::OpenAiChat => {
                // Only embeddings have no output, and no choices.
                let is_embedding = self.tally == Tally::default();
                let (counts, cost) = chat(usage, !is_embedding);
                self.reported_picos = cost.or(self.reported_picos);
                self.set(counts);
            }
            AnswerFormat::OpenAiResponses => {
                self.reported_picos = stated_cost(usage.pick(COST_NAMES)).or(self.reported_picos);
                self.is_final = !self.is_stream || kind.is_some_and(is_last_event);
                self.steps_at_figures = *said.tally;
                self.set(responses(usage));
            }
            AnswerFormat::Anthropic => {
                self.merge(usage);
                self.is_final = !self.is_stream || text(said, Field::StopReason).is_some();
                self.has_begun_only = kind == Some("message_start");
                self.set_anthropic();
            }
            AnswerFormat::Gemini => {
                if let Some(tier) = usage.get("serviceTier").and_then(Value::as_str) {
                    self.tier = Some(tier_word(&tier).into());
                }
                if let Some(usage) = gemini(usage).transpose() {
                    self.set(usage);
                }
            }
            AnswerFormat::BedrockConverse => self.set(bedrock(usage)),
            AnswerFormat::BedrockInvoke => self.read_invoke(usage),
            AnswerFormat::Silent | AnswerFormat::Cohere => {}
        }
    }

    /// Takes the members of a usage of Anthropic's that are not null in place of those before.
    fn merge(&mut self, usage: Object<'_>) {
        let before = Document::parse(&self.merged);
        let before = before.as_ref().map(|merged| merged.object().pick(ANTHROPIC_NAMES));
        let mut merged = Vec::with_capacity(MERGED_USUAL);
        for ((name, before), value) in
            ANTHROPIC_NAMES.iter().zip(before.unwrap_or_default()).zip(usage.pick(ANTHROPIC_NAMES))
        {
            if let Some(value) = value.filter(|value| !value.is_null()).or(before) {
                merged.extend_from_slice(if merged.is_empty() { b"{\"" } else { b",\"" });
                merged.extend_from_slice(name.as_bytes());
                merged.extend_from_slice(b"\":");
                merged.extend_from_slice(value.raw());
            }
        }
        merged.extend_from_slice(if merged.is_empty() { b"{}" } else { b"}" });
        self.merged = merged;
    }

    fn set_anthropic(&mut self) {
        let merged = std::mem::take(&mut self.merged);
        let usage = Document::parse(&merged).expect("merged members are an object");
        let usage = usage.object();
        let [tier, speed, geo, iterations] =
            usage.pick(["service_tier", "speed", "inference_geo", "iterations"]);
        for (known, said) in [(&mut self.tier, tier), (&mut self.speed, speed), (&mut self.geo, geo)] {
            if let Some(said) = said.and_then(Value::as_str) {
                *known = Some(said.into());
            }
        }
        match anthropic_others(iterations, self.model.as_deref()) {
            Ok(others) => self.others = others,
            Err(error) => self.usage = Err(error),
        }
        self.set(anthropic(usage));
        self.merged = merged;
    }

    /// Anthropic's counts so far.
    fn anthropic(&self) -> Result<Usage, Unreadable> {
        anthropic(Document::parse(&self.merged).ok_or(Unreadable)?.object())
    }

    /// The usage that a model at Bedrock puts into its own body. The headers say the same with fewer words, so one that
    /// nobody knows how to read does no harm where there are headers.
    fn read_invoke(&mut self, usage: Object<'_>) {
        let counts = match usage.pick(["inputTokens", "prompt_tokens"]) {
            [Some(_), _] => bedrock(usage),
            [_, Some(_)] => chat(usage, false).0,
            _ => {
                self.merge(usage);
                self.anthropic()
            }
        };
        if counts.is_ok() || !(self.is_stream || self.usage_is_known()) {
            // A stream ends with the metrics.
            self.is_final |= !self.is_stream;
            self.set(counts);
        }
    }

    fn read_billed(&mut self, raw: &[u8]) {
        let Some(meta) = Document::parse(raw) else { return };
        if let Some(usage) = billed(meta.object()) {
            self.is_final = true;
            self.set(usage);
        }
    }

    /// Titan counts its input once and its output per result:
    /// <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-text.html>.
    fn read_input_count(&mut self, raw: &[u8], tally: &Tally) {
        if self.is_final && !self.is_stream {
            // The headers have said it.
            return;
        }
        self.is_final |= !self.is_stream;
        let count = serde_json::from_slice::<u64>(raw).map_err(|_| Unreadable);
        let output = (Unit::OutputTokens, tally.tokens);
        self.set(count.map(|count| Usage::from_iter([(Unit::InputTokens, count), output])));
    }

    /// The searches that Google made for one answer. A stream may name one again; one without a text is not billed:
    /// <https://ai.google.dev/gemini-api/docs/google-search#pricing>.
    fn read_queries(&mut self, raw: &[u8]) {
        if raw == b"null" {
            return;
        }
        let Ok(queries) = serde_json::from_slice::<Vec<String>>(raw) else {
            self.usage = Err(Unreadable);
            return;
        };
        for query in queries.iter().filter(|query| !query.is_empty()) {
            let mut hasher = DefaultHasher::new();
            query.hash(&mut hasher);
            let fingerprint = hasher.finish();
            if self.queries.contains(&fingerprint) {
                continue;
            }
            if self.queries.len() < QUERIES_MAX {
                self.queries.push(fingerprint);
            } else {
                self.queries_beyond = self.queries_beyond.saturating_add(1);
            }
        }
    }

    /// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModelWithResponseStream.html>
    fn read_metrics(&mut self, raw: &[u8]) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Metrics {
            input_token_count: u64,
            output_token_count: u64,
            #[serde(default)]
            cache_read_input_token_count: u64,
            #[serde(default)]
            cache_write_input_token_count: u64,
        }
        let metrics = serde_json::from_slice::<Metrics>(raw).map_err(|_| Unreadable);
        self.is_final = true;
        let metrics = metrics.map(|metrics| {
            let (read, written) =
                (metrics.cache_read_input_token_count, metrics.cache_write_input_token_count);
            Usage::from_iter([
                (Unit::InputTokens, metrics.input_token_count.saturating_add(read).saturating_add(written)),
                (Unit::CacheReadTokens, read),
                (Unit::CacheWriteTokens, written),
                (Unit::OutputTokens, metrics.output_token_count),
            ])
        });
        // The model's own figures tell more, such as for how long the cache keeps what was written.
        let sums = |usage: &Usage| (usage.count(Unit::InputTokens), usage.count(Unit::OutputTokens));
        let own = self.anthropic();
        self.set(match (own, metrics) {
            (Ok(own), Ok(metrics)) if sums(&own) == sums(&metrics) => Ok(own),
            (_, metrics) => metrics,
        });
    }

    /// A chunk of the model's own stream, in base64.
    fn read_wrapped(&mut self, raw: &[u8]) {
        use base64::Engine as _;
        let Ok(encoded) = serde_json::from_slice::<String>(raw) else { return };
        let Ok(inner) = base64::engine::general_purpose::STANDARD.decode(encoded) else { return };
        Scanner::new(inner_tree, false).push(&inner, &mut |said| self.document(said));
    }

    /// The counts of a request that is not streamed. One that can't be read leaves nothing that is known for sure.
    /// <https://docs.aws.amazon.com/bedrock/latest/userguide/model-invocation-logging.html> names the same counts.
    fn read_bedrock_headers(&mut self, headers: &Fields) {
        let count = |name: &str| {
            headers.get(name).map(|value| fields::text(value).and_then(|text| text.parse::<u64>().ok()))
        };
        let output = count("x-amzn-bedrock-output-token-count");
        let Some(input) = count("x-amzn-bedrock-input-token-count") else { return };
        self.is_final = !self.is_stream;
        // Embeddings have no output.
        self.set(match (input, output.unwrap_or(Some(0))) {
            (Some(input), Some(output)) => {
                Ok(Usage::from_iter([(Unit::InputTokens, input), (Unit::OutputTokens, output)]))
            }
            _ => Err(Unreadable),
        });
    }

    pub(in crate::usage) fn finish(&mut self) -> Reading {
        let reported_picos = self.reported_picos;
        let nothing = Reading { charges: Vec::new(), is_complete: false, reported_picos };
        let is_complete = self.is_complete();
        let Ok(usage) = &mut self.usage else { return nothing };
        if usage.is_empty() {
            return nothing;
        }
        // A stream that tells its steps one by one may leave them out of the last event.
        let web_searches = self.steps.web_searches().max(self.steps_at_figures.web_searches());
        let storage_searches = self.steps.storage_searches.max(self.steps_at_figures.storage_searches);
        let queries = (self.queries.len() as u64).saturating_add(self.queries_beyond);
        let queries = if is_billed_by_prompt(self.model.as_deref()) { queries.min(1) } else { queries };
        for (unit, count) in
            [(Unit::WebSearches, web_searches + queries), (Unit::StorageSearches, storage_searches)]
        {
            if count > 0 {
                usage.set(unit, count);
            }
        }
        let mut context = PriceContext::default();
        for (name, said) in
            [("service_tier", &mut self.tier), ("speed", &mut self.speed), ("inference_geo", &mut self.geo)]
        {
            if let Some(said) = said.take() {
                context.set(name, said);
            }
        }
        let model = self.model.take().map(Into::into);
        let mut charges = vec![Charge { model, usage: std::mem::take(usage), context }];
        charges.append(&mut self.others);
        Reading { charges, is_complete, reported_picos }
    }

    /// Whether nothing can follow that changes the figures.
    fn is_complete(&self) -> bool {
        match self.format {
            AnswerFormat::Silent => false,
            // The chunk without an output has the figures of the whole request,
            // <https://platform.openai.com/docs/api-reference/chat/create#chat-create-stream_options>. Some providers
            // have figures in every chunk, and some have no end mark: those are final when every output has ended.
            AnswerFormat::OpenAiChat if self.is_stream => {
                self.is_done || (self.is_last && (self.is_bare || self.tally.is_ended()))
            }
            // "If empty, the model has not stopped generating tokens", of `finishReason`:
            // <https://ai.google.dev/api/generate-content#candidate>.
            AnswerFormat::Gemini if self.is_stream || self.in_array => self.is_last && self.tally.is_ended(),
            AnswerFormat::Anthropic if self.is_stream => self.is_done || self.is_final,
            AnswerFormat::BedrockConverse if self.is_stream => self.is_last,
            AnswerFormat::BedrockInvoke | AnswerFormat::Cohere => self.is_final && !self.in_array,
            AnswerFormat::OpenAiResponses if self.is_stream => self.is_final,
            // One document, which has come to its end.
            _ => self.is_last && !self.in_array,
        }
    }
}

/// Whether an event of OpenAI's has figures that do not change any more: `response.completed`, `speech.audio.done`.
fn is_last_event(kind: &str) -> bool {
    let word = kind.rsplit('.').next().unwrap_or_default();
    matches!(word, "completed" | "incomplete" | "failed" | "done")
}

/// Gemini 2.5 and older are billed for a prompt that is grounded, newer ones for each search:
/// <https://ai.google.dev/gemini-api/docs/google-search#pricing>.
fn is_billed_by_prompt(model: Option<&str>) -> bool {
    model.is_some_and(|model| ["gemini-1", "gemini-2"].iter().any(|begin| model.starts_with(begin)))
}

/// A tier as requests write it: libraries know `SERVICE_TIER_FLEX` for `flex`, too.
fn tier_word(tier: &str) -> String {
    let tier = tier.to_ascii_lowercase();
    tier.strip_prefix("service_tier_").map(str::to_owned).unwrap_or(tier)
}

/// A string of a document.
fn text(said: Said<'_>, wanted: Field) -> Option<Cow<'_, str>> {
    value::text(said.raw(wanted)?)
}

/// Takes over what is new: every chunk of a stream says the same.
fn replace(known: &mut Option<Box<str>>, said: Said<'_>, wanted: Field) {
    let Some(raw) = said.raw(wanted) else { return };
    let inside = raw.strip_prefix(b"\"").and_then(|raw| raw.strip_suffix(b"\""));
    if known.is_some() && inside == known.as_deref().map(str::as_bytes) && !raw.contains(&b'\\') {
        return;
    }
    if let Some(text) = value::text(raw) {
        *known = Some(text.into());
    }
}
