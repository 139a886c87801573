//! Where each format has its figures, and what they mean.

mod counts;

use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value};

use self::counts::{
    Unreadable, anthropic, anthropic_others, bedrock, billed, chat, gemini, picos, responses,
};
use super::reader::{AnswerFormat, Charge, Reading};
use super::scanner::{Field, Found, Node, Scanner, Step, Tree};
use super::{Unit, Usage};
use crate::price::PriceContext;

/// Which members of an answer are looked at.
pub(super) fn tree(format: AnswerFormat) -> Tree {
    match format {
        AnswerFormat::Silent => |_, _| NOTHING,
        AnswerFormat::OpenAiChat => |node, name| match (node, name) {
            (Node::Root | Node::Vendor, "usage") if node == Node::Root => Step::Keep(Field::Usage),
            (Node::Vendor, "usage") => Step::Keep(Field::VendorUsage),
            (Node::Root, "model") => Step::Keep(Field::Model),
            (Node::Root, "service_tier") => Step::Keep(Field::Tier),
            (Node::Root, "x_groq") => Step::Into(Node::Vendor),
            (Node::Root, "choices") => Step::Into(Node::Choices),
            (Node::Choices, "delta" | "text") | (Node::Text, "tool_calls" | "function" | "function_call") => {
                Step::Into(Node::Text)
            }
            _ => NOTHING,
        },
        AnswerFormat::OpenAiResponses => |node, name| match (node, name) {
            (Node::Root | Node::Response, "usage") => Step::Keep(Field::Usage),
            (Node::Root | Node::Response, "model") => Step::Keep(Field::Model),
            (Node::Root | Node::Response, "service_tier") => Step::Keep(Field::Tier),
            (Node::Root, "type") => Step::Keep(Field::Type),
            (Node::Root, "response") => Step::Into(Node::Response),
            (Node::Root, "delta") => Step::Into(Node::Text),
            _ => NOTHING,
        },
        AnswerFormat::Anthropic => |node, name| match (node, name) {
            (Node::Root | Node::Message, "usage") => Step::Keep(Field::Usage),
            (Node::Root | Node::Message, "model") => Step::Keep(Field::Model),
            (Node::Root, "type") => Step::Keep(Field::Type),
            (Node::Root, "message") => Step::Into(Node::Message),
            (Node::Root, "delta") => Step::Into(Node::Text),
            (Node::Text, "stop_reason") | (Node::Root, "stop_reason") => Step::Keep(Field::StopReason),
            _ => NOTHING,
        },
        AnswerFormat::Gemini => |node, name| match (node, name) {
            (Node::Root, "usageMetadata") => Step::Keep(Field::Usage),
            (Node::Root, "modelVersion") => Step::Keep(Field::Model),
            (Node::Root, "candidates") => Step::Into(Node::Candidates),
            (Node::Candidates, "content") => Step::Into(Node::Content),
            (Node::Content, "parts") => Step::Into(Node::Text),
            _ => NOTHING,
        },
        AnswerFormat::Cohere => |node, name| match (node, name) {
            (Node::Root | Node::Delta, "usage") => Step::Keep(Field::Billed),
            (Node::Root | Node::Response, "meta") => Step::Keep(Field::Billed),
            (Node::Root, "type" | "event_type") => Step::Keep(Field::Type),
            (Node::Root, "response") => Step::Into(Node::Response),
            (Node::Root, "delta") => Step::Into(Node::Delta),
            (Node::Delta, "message") | (Node::Text, "tool_calls" | "function") => Step::Into(Node::Text),
            _ => NOTHING,
        },
        AnswerFormat::BedrockConverse => |node, name| match (node, name) {
            (Node::Root, "usage") => Step::Keep(Field::Usage),
            (Node::Root, "delta") | (Node::Text, "toolUse" | "reasoningContent") => Step::Into(Node::Text),
            _ => NOTHING,
        },
        AnswerFormat::BedrockInvoke => |node, name| match (node, name) {
            (Node::Root, "usage") => Step::Keep(Field::Usage),
            (Node::Root, "inputTextTokenCount") => Step::Keep(Field::InputCount),
            (Node::Root, "bytes") => Step::Keep(Field::Wrapped),
            (Node::Root, "amazon-bedrock-invocationMetrics") => Step::Keep(Field::Metrics),
            _ => NOTHING,
        },
    }
}

const NOTHING: Step = Step::Into(Node::Nothing);

/// What was said so far.
#[derive(Debug)]
pub(super) struct State {
    format: AnswerFormat,
    is_stream: bool,
    model: Option<String>,
    tier: Option<String>,
    speed: Option<String>,
    /// The newest figures; an error once any could not be read.
    usage: Result<Usage, Unreadable>,
    /// Anthropic's, which come in two events that complete each other.
    merged: Map<String, Value>,
    others: Vec<Charge>,
    reported_picos: Option<u128>,
    /// The last document had figures.
    is_last: bool,
    is_done: bool,
    /// The figures stand where only final ones do.
    is_final: bool,
}

impl State {
    pub(super) fn new(format: AnswerFormat, headers: &HeaderMap, is_stream: bool) -> Self {
        let mut state = Self {
            format,
            is_stream,
            model: None,
            tier: None,
            speed: None,
            usage: Ok(Usage::default()),
            merged: Map::new(),
            others: Vec::new(),
            reported_picos: None,
            is_last: false,
            is_done: false,
            is_final: false,
        };
        if format == AnswerFormat::BedrockInvoke {
            state.read_bedrock_headers(headers);
        }
        state
    }

    pub(super) fn output_tokens(&self) -> u64 {
        self.usage.as_ref().map_or(0, |usage| usage.count(Unit::OutputTokens))
    }

    pub(super) fn done(&mut self) {
        self.is_done = true;
    }

    /// One whole document.
    pub(super) fn document(&mut self, found: Found) {
        let kind = text(&found, Field::Type);
        let stopped = text(&found, Field::StopReason).is_some();
        self.is_last = false;
        if let Some(model) = text(&found, Field::Model) {
            self.model = Some(model);
        }
        if let Some(tier) = text(&found, Field::Tier) {
            self.tier = Some(tier);
        }
        let has_usage = found.iter().any(|(field, _)| *field == Field::Usage);
        for (field, raw) in &found {
            match field {
                Field::VendorUsage if has_usage || self.usage_is_known() => {}
                Field::Usage | Field::VendorUsage => self.read_usage(raw, kind.as_deref(), stopped),
                Field::Billed => self.read_billed(raw),
                Field::InputCount => self.read_input_count(raw),
                Field::Metrics => self.read_metrics(raw),
                Field::Wrapped => self.read_wrapped(raw),
                Field::Model | Field::Tier | Field::Type | Field::StopReason => {}
            }
        }
        if self.format == AnswerFormat::Anthropic && kind.as_deref() == Some("message_stop") {
            self.is_done = true;
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

    fn read_usage(&mut self, raw: &[u8], kind: Option<&str>, stopped: bool) {
        if raw == b"null" {
            return;
        }
        let Ok(Value::Object(usage)) = serde_json::from_slice(raw) else {
            self.usage = Err(Unreadable);
            return;
        };
        match self.format {
            AnswerFormat::OpenAiChat => {
                self.reported_picos = usage.get("cost").and_then(picos).or(self.reported_picos);
                self.set(chat(&usage));
            }
            AnswerFormat::OpenAiResponses => {
                self.reported_picos = usage.get("cost").and_then(picos).or(self.reported_picos);
                self.is_final = !self.is_stream
                    || kind.is_some_and(|kind| {
                        let word = kind.rsplit('.').next().unwrap_or_default();
                        matches!(word, "completed" | "incomplete" | "failed" | "done")
                    });
                self.set(responses(&usage));
            }
            AnswerFormat::Anthropic => {
                self.merged.extend(usage.into_iter().filter(|(_, value)| !value.is_null()));
                self.is_final = !self.is_stream || stopped;
                self.read_anthropic();
            }
            AnswerFormat::Gemini => self.set(gemini(&usage)),
            AnswerFormat::BedrockConverse => self.set(bedrock(&usage)),
            AnswerFormat::BedrockInvoke if usage.contains_key("inputTokens") => self.set(bedrock(&usage)),
            AnswerFormat::BedrockInvoke if usage.contains_key("prompt_tokens") => self.set(chat(&usage)),
            AnswerFormat::BedrockInvoke => {
                self.merged.extend(usage);
                self.read_anthropic();
            }
            AnswerFormat::Silent | AnswerFormat::Cohere => {}
        }
    }

    fn read_anthropic(&mut self) {
        let text = |name: &str| self.merged.get(name).and_then(Value::as_str).map(str::to_owned);
        self.tier = text("service_tier").or(self.tier.take());
        self.speed = text("speed").or(self.speed.take());
        match anthropic_others(&self.merged) {
            Ok(others) => self.others = others,
            Err(error) => self.usage = Err(error),
        }
        self.set(anthropic(&self.merged));
    }

    fn read_billed(&mut self, raw: &[u8]) {
        let Ok(Value::Object(meta)) = serde_json::from_slice(raw) else { return };
        if let Some(usage) = billed(&meta) {
            self.is_final = true;
            self.set(usage);
        }
    }

    fn read_input_count(&mut self, raw: &[u8]) {
        let count = serde_json::from_slice::<u64>(raw).map_err(|_| Unreadable);
        self.set(count.map(|count| Usage::from_iter([(Unit::InputTokens, count), (Unit::OutputTokens, 0)])));
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
        self.set(metrics.map(|metrics| {
            let (read, written) =
                (metrics.cache_read_input_token_count, metrics.cache_write_input_token_count);
            Usage::from_iter([
                (Unit::InputTokens, metrics.input_token_count.saturating_add(read).saturating_add(written)),
                (Unit::CacheReadTokens, read),
                (Unit::CacheWriteTokens, written),
                (Unit::OutputTokens, metrics.output_token_count),
            ])
        }));
    }

    /// A chunk of the model's own stream, in base64.
    fn read_wrapped(&mut self, raw: &[u8]) {
        use base64::Engine as _;
        let Ok(encoded) = serde_json::from_slice::<String>(raw) else { return };
        let Ok(inner) = base64::engine::general_purpose::STANDARD.decode(encoded) else { return };
        let mut scanner = Scanner::new(tree(self.format));
        let mut documents = Vec::new();
        scanner.push(&inner, &mut |found| documents.push(found));
        for mut found in documents {
            found.retain(|(field, _)| *field != Field::Wrapped);
            self.document(found);
        }
    }

    /// <https://docs.aws.amazon.com/bedrock/latest/userguide/model-invocation-logging.html> names the same counts.
    fn read_bedrock_headers(&mut self, headers: &HeaderMap) {
        let count = |name: &str| headers.get(name)?.to_str().ok()?.parse::<u64>().ok();
        let input = count("x-amzn-bedrock-input-token-count");
        let output = count("x-amzn-bedrock-output-token-count");
        if let Some(input) = input {
            let output = output.unwrap_or(0);
            self.set(Ok(Usage::from_iter([(Unit::InputTokens, input), (Unit::OutputTokens, output)])));
            self.is_final = true;
        }
    }

    pub(super) fn finish(self) -> Reading {
        let is_final = match self.format {
            AnswerFormat::Silent => false,
            _ if !self.is_stream => true,
            // The chunk with the figures is the last one, or the end mark follows it.
            AnswerFormat::OpenAiChat => self.is_done || self.is_last,
            AnswerFormat::Anthropic => self.is_done || self.is_final,
            AnswerFormat::Gemini | AnswerFormat::BedrockConverse => self.is_last,
            AnswerFormat::OpenAiResponses | AnswerFormat::Cohere | AnswerFormat::BedrockInvoke => {
                self.is_final
            }
        };
        let Ok(usage) = self.usage else {
            return Reading { charges: Vec::new(), is_complete: false, reported_picos: self.reported_picos };
        };
        if usage.is_empty() {
            return Reading { charges: Vec::new(), is_complete: false, reported_picos: self.reported_picos };
        }
        let mut context = PriceContext::default();
        if let Some(tier) = self.tier {
            context.set("service_tier", tier);
        }
        if let Some(speed) = self.speed {
            context.set("speed", speed);
        }
        let mut charges = vec![Charge { model: self.model, usage, context }];
        charges.extend(self.others);
        Reading { charges, is_complete: is_final, reported_picos: self.reported_picos }
    }
}

/// A string of a document.
fn text(found: &Found, wanted: Field) -> Option<String> {
    let (_, raw) = found.iter().find(|(field, _)| *field == wanted)?;
    serde_json::from_slice(raw).ok()
}
