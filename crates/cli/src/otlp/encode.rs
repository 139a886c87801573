//! Traces in the JSON form of OTLP 1: ids in 64-bit numbers as text.
//!
//! Names are those of the OpenTelemetry semantic conventions: HTTP 1.23 (stable) and generative AI 1.37 (in development).
//! What is till's own begins with `till.`.

use serde_json::{Value, json};
use till_core::hex::to_hex;
use till_proxy::{RequestTrace, SpanId, StageTimes, TraceFacts};

/// What the spans are of.
pub(crate) struct Resource {
    /// Version of till.
    pub(crate) version: &'static str,
    /// Which store it serves.
    pub(crate) instance: String,
    /// Whether clients come by TLS.
    pub(crate) has_tls: bool,
}

// Kinds of spans.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
const CLIENT: u8 = 3;

/// Of a status.
const ERROR: u8 = 2;

/// Bits of flags: sampled; whether the parent is elsewhere is known; it is elsewhere.
const SAMPLED: u32 = 1;
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// How many spans a trace has.
pub(crate) fn spans(trace: &RequestTrace) -> u64 {
    let stages = [trace.hold, trace.upstream, trace.stream];
    1 + stages.into_iter().flatten().count() as u64
}

/// The body of a request to the collector.
pub(crate) fn request(resource: &Resource, traces: &[RequestTrace]) -> String {
    let spans: Vec<Value> = traces.iter().flat_map(|trace| spans_of(resource, trace)).collect();
    let mut attributes = Attributes::default();
    attributes.text("service.name", "till");
    attributes.text("service.version", resource.version);
    attributes.text("service.instance.id", &resource.instance);
    json!({"resourceSpans": [{
        "resource": {"attributes": attributes.0},
        "scopeSpans": [{"scope": {"name": "till", "version": resource.version}, "spans": spans}],
    }]})
    .to_string()
}

fn spans_of(resource: &Resource, trace: &RequestTrace) -> Vec<Value> {
    let mut spans = vec![request_span(resource, trace)];
    let request = Some(trace.request.id);
    if let Some(times) = trace.hold {
        spans.push(span(trace, "hold", INTERNAL, times, request, Attributes::default(), None));
    }
    if let Some(times) = trace.upstream {
        spans.push(upstream_span(trace, times));
        if let Some(stream) = trace.stream {
            spans.push(span(trace, "stream", INTERNAL, stream, Some(times.id), Attributes::default(), None));
        }
    }
    spans
}

fn request_span(resource: &Resource, trace: &RequestTrace) -> Value {
    let facts = &trace.facts;
    let mut attributes = Attributes::default();
    attributes.text("http.request.method", facts.method);
    attributes.text("url.scheme", if resource.has_tls { "https" } else { "http" });
    attributes.text("url.path", &facts.path);
    if let Some(peer) = facts.peer {
        attributes.text("network.peer.address", &peer.ip().to_string());
        attributes.number("network.peer.port", peer.port().into());
    }
    if let Some(client) = facts.client {
        attributes.text("client.address", &client.to_string());
    }
    if let Some(status) = facts.status {
        attributes.number("http.response.status_code", status.into());
    }
    attributes.number("http.response.body.size", facts.bytes);
    attributes.text("till.request_id", &facts.request_id);
    attributes.some("till.key_id", facts.key.as_deref());
    attributes.some("till.provider", facts.provider.as_deref());
    attributes.some("till.endpoint", facts.endpoint);
    attributes.some("till.denial", facts.denial);
    attributes.some("till.cut", facts.cut);
    // What is the client's fault is no error of a server.
    let status = facts.status.filter(|status| *status >= 500).map(|status| status.to_string());
    let error = status.map(|status| facts.denial.map_or(status, str::to_owned));
    span(trace, facts.method, SERVER, trace.request, trace.parent, attributes, error)
}

fn upstream_span(trace: &RequestTrace, times: StageTimes) -> Value {
    let facts = &trace.facts;
    let mut attributes = Attributes::default();
    attributes.text("http.request.method", facts.method);
    if let Some((host, port, has_tls)) = &facts.server {
        attributes.text("server.address", host);
        attributes.number("server.port", (*port).into());
        attributes.text("url.scheme", if *has_tls { "https" } else { "http" });
    }
    if let Some(status) = facts.upstream_status {
        attributes.number("http.response.status_code", status.into());
    }
    let operation = facts.endpoint.and_then(operation);
    let mut name = facts.method.to_owned();
    if let Some(operation) = operation {
        name =
            facts.model.as_ref().map_or_else(|| operation.to_owned(), |model| format!("{operation} {model}"));
        attributes.text("gen_ai.operation.name", operation);
        attributes.some("gen_ai.provider.name", facts.provider.as_deref().map(provider));
        attributes.some("gen_ai.request.model", facts.model.as_deref());
        attributes.some("gen_ai.response.model", facts.answer_model.as_deref());
        if let Some(tokens) = &facts.tokens {
            attributes.number("gen_ai.usage.input_tokens", tokens.input);
            attributes.number("gen_ai.usage.output_tokens", tokens.output);
            if tokens.cache_read > 0 {
                attributes.number("gen_ai.usage.cache_read.input_tokens", tokens.cache_read);
            }
        }
        attributes.flag("till.stream", facts.is_stream);
    }
    if facts.spend_nanos > 0 {
        attributes.number("till.spend_nano_dollars", facts.spend_nanos);
    }
    span(trace, &name, CLIENT, times, Some(trace.request.id), attributes, upstream_error(facts))
}

/// For a client every status from 400 on is an error.
fn upstream_error(facts: &TraceFacts) -> Option<String> {
    let status = facts.upstream_status.filter(|status| *status >= 400);
    facts.upstream_error.map(str::to_owned).or(status.map(|status| status.to_string()))
}

/// The word of the conventions for an endpoint of the tables.
fn operation(endpoint: &str) -> Option<&'static str> {
    Some(match endpoint {
        "chat.completions" | "messages" | "responses" | "chat" | "chat.v1" | "converse"
        | "converse-stream" => "chat",
        "completions" => "text_completion",
        _ if endpoint.starts_with("invoke") => "chat",
        _ if endpoint.to_lowercase().starts_with("embed") => "embeddings",
        _ if endpoint.to_lowercase().contains("generatecontent") => "generate_content",
        _ => return None,
    })
}

/// The word of the conventions for a provider; others are called as they are here.
fn provider(id: &str) -> &str {
    match id {
        "google" => "gcp.gemini",
        "bedrock" => "aws.bedrock",
        "azure-openai" => "azure.ai.openai",
        "mistral" => "mistral_ai",
        "xai" => "x_ai",
        other => other,
    }
}

fn span(
    trace: &RequestTrace,
    name: &str,
    kind: u8,
    times: StageTimes,
    parent: Option<SpanId>,
    mut attributes: Attributes,
    error: Option<String>,
) -> Value {
    let is_remote = kind == SERVER && parent.is_some();
    attributes.some("error.type", error.as_deref());
    let mut span = json!({
        "traceId": to_hex(&trace.trace_id.0),
        "spanId": to_hex(&times.id.0),
        "flags": SAMPLED | HAS_IS_REMOTE | if is_remote { IS_REMOTE } else { 0 },
        "name": name,
        "kind": kind,
        "startTimeUnixNano": times.begin.to_string(),
        "endTimeUnixNano": times.end.to_string(),
        "attributes": attributes.0,
    });
    if let Some(parent) = parent {
        span["parentSpanId"] = to_hex(&parent.0).into();
    }
    if error.is_some() {
        span["status"] = json!({"code": ERROR});
    }
    span
}

/// Attributes in the form of OTLP.
#[derive(Default)]
struct Attributes(Vec<Value>);

impl Attributes {
    fn text(&mut self, key: &str, value: &str) {
        self.0.push(json!({"key": key, "value": {"stringValue": value}}));
    }

    fn some(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    fn number(&mut self, key: &str, value: u64) {
        // The format has signed numbers.
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.0.push(json!({"key": key, "value": {"intValue": value.to_string()}}));
    }

    fn flag(&mut self, key: &str, value: bool) {
        self.0.push(json!({"key": key, "value": {"boolValue": value}}));
    }
}
