//! Answers of each wire format, as their documentation has them: what they say was used, however the bytes come.

use base64::Engine as _;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderName};
use proptest::prelude::*;
use till_providers::usage::AnswerFormat::{
    self, Anthropic, BedrockConverse, BedrockInvoke, Cohere, Gemini, OpenAiChat, OpenAiResponses, Silent,
};
use till_providers::usage::Unit::{self, *};
use till_providers::usage::{Reading, Usage, UsageReader};

const JSON: &str = "application/json";
const SSE: &str = "text/event-stream; charset=utf-8";
const FRAMES: &str = "application/vnd.amazon.eventstream";

const FORMATS: [AnswerFormat; 8] =
    [Silent, OpenAiChat, OpenAiResponses, Anthropic, Gemini, Cohere, BedrockConverse, BedrockInvoke];

fn read<'b>(format: AnswerFormat, kind: &str, pieces: impl IntoIterator<Item = &'b [u8]>) -> Reading {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, kind.parse().expect("a content type"));
    let mut reader = UsageReader::new(format, &headers);
    pieces.into_iter().for_each(|piece| reader.push(piece));
    reader.finish()
}

fn whole(format: AnswerFormat, kind: &str, answer: &str) -> Reading {
    read(format, kind, [answer.as_bytes()])
}

/// The usage of the only charge, where it is final.
fn counts(reading: &Reading) -> Option<Usage> {
    let [charge] = &reading.charges[..] else { return None };
    reading.is_complete.then(|| charge.usage.clone())
}

fn expect(counts: &[(Unit, u64)]) -> Usage {
    counts.iter().copied().collect()
}

/// An answer, and what it says beside zeros.
type Row = (&'static str, AnswerFormat, &'static str, &'static str, Option<&'static [(Unit, u64)]>);

macro_rules! row {
    ($file:literal, $format:expr, $kind:expr, $expected:expr) => {
        ($file, $format, $kind, include_str!(concat!("fixtures/usage/", $file)), $expected)
    };
}

const RESPONSE: &[(Unit, u64)] =
    &[(InputTokens, 36), (CacheReadTokens, 12), (OutputTokens, 87), (OutputReasoningTokens, 40)];

const MESSAGE: &[(Unit, u64)] = &[
    (InputTokens, 140),
    (CacheReadTokens, 100),
    (CacheWriteTokens, 30),
    (CacheWrite5mTokens, 20),
    (CacheWrite1hTokens, 10),
    (OutputTokens, 25),
    (WebSearches, 2),
];

const GEMINI: &[(Unit, u64)] = &[
    (InputTokens, 13),
    (InputToolTokens, 5),
    (InputTextTokens, 6),
    (InputImageTokens, 2),
    (OutputTokens, 32),
    (OutputReasoningTokens, 30),
];

const COHERE: &[(Unit, u64)] = &[(InputTokens, 5), (OutputTokens, 6)];

const ROWS: &[Row] = &[
    row!(
        "chat.json",
        OpenAiChat,
        JSON,
        Some(&[(InputTokens, 19), (CacheReadTokens, 4), (OutputTokens, 10), (OutputReasoningTokens, 3)])
    ),
    row!("chat.sse", OpenAiChat, SSE, Some(&[(InputTokens, 19), (OutputTokens, 10)])),
    row!("groq.sse", OpenAiChat, SSE, Some(&[(InputTokens, 5), (OutputTokens, 7)])),
    row!(
        "xai.json",
        OpenAiChat,
        JSON,
        Some(&[(InputTokens, 32), (CacheReadTokens, 6), (OutputTokens, 109), (OutputReasoningTokens, 100)])
    ),
    row!(
        "deepseek.json",
        OpenAiChat,
        JSON,
        Some(&[(InputTokens, 50), (CacheReadTokens, 32), (OutputTokens, 8)])
    ),
    row!(
        "perplexity.json",
        OpenAiChat,
        JSON,
        Some(&[
            (InputTokens, 7),
            (OutputTokens, 71),
            (OutputCitationTokens, 11),
            (OutputReasoningTokens, 40),
            (WebSearches, 3)
        ])
    ),
    row!("responses.json", OpenAiResponses, JSON, Some(RESPONSE)),
    row!("responses-completed.sse", OpenAiResponses, SSE, Some(RESPONSE)),
    row!("responses-incomplete.sse", OpenAiResponses, SSE, Some(RESPONSE)),
    row!("responses-failed.sse", OpenAiResponses, SSE, None),
    row!("anthropic.json", Anthropic, JSON, Some(MESSAGE)),
    row!("anthropic.sse", Anthropic, SSE, Some(MESSAGE)),
    row!("gemini.json", Gemini, JSON, Some(GEMINI)),
    row!("gemini-array.json", Gemini, JSON, Some(GEMINI)),
    row!("gemini.sse", Gemini, SSE, Some(GEMINI)),
    row!("cohere-v2.json", Cohere, JSON, Some(COHERE)),
    row!("cohere-v2.sse", Cohere, SSE, Some(COHERE)),
    row!("cohere-v1.json", Cohere, JSON, Some(COHERE)),
    row!("cohere-v1.ndjson", Cohere, "application/stream+json", Some(COHERE)),
    row!("cohere-embed.json", Cohere, JSON, Some(&[(InputTokens, 3)])),
    row!("cohere-rerank.json", Cohere, JSON, Some(&[(RerankSearches, 2)])),
    row!(
        "converse.json",
        BedrockConverse,
        JSON,
        Some(&[
            (InputTokens, 40),
            (CacheReadTokens, 20),
            (CacheWriteTokens, 10),
            (CacheWrite1hTokens, 10),
            (OutputTokens, 5)
        ])
    ),
];

#[test]
fn answers_say_what_their_documentation_says() {
    for (file, format, kind, answer, expected) in ROWS {
        let reading = whole(*format, kind, answer);
        let Some(expected) = expected else {
            assert_eq!(counts(&reading), None, "{file}");
            continue;
        };
        let found = counts(&reading).unwrap_or_else(|| panic!("{file}: {reading:?}"));
        let expected = expect(expected);
        for unit in Unit::ALL {
            assert_eq!(found.count(unit), expected.count(unit), "{file} {}", unit.as_str());
        }
    }
}

#[test]
fn any_cut_between_pieces_reads_the_same() {
    for (file, format, kind, answer, _) in ROWS {
        let bytes = answer.as_bytes();
        let reading = read(*format, kind, [bytes]);
        assert_eq!(read(*format, kind, bytes.chunks(1)), reading, "{file} one byte at a time");
        for cut in 0..bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(read(*format, kind, [head, tail]), reading, "{file} cut at {cut}");
        }
    }
}

/// What is cut off anywhere says either nothing final or just what the whole says.
#[test]
fn a_cut_answer_is_not_complete() {
    for (file, format, kind, answer, _) in ROWS.iter().filter(|row| !row.0.starts_with("gemini")) {
        let complete = whole(*format, kind, answer);
        for end in 0..answer.len() {
            let reading = read(*format, kind, [&answer.as_bytes()[..end]]);
            assert!(!reading.is_complete || reading == complete, "{file} ends at {end}: {reading:?}");
        }
    }
}

/// Every chunk of Gemini's has figures; only those of the last one are final.
#[test]
fn a_cut_answer_of_gemini_is_not_complete() {
    for (file, format, kind, answer, _) in ROWS.iter().filter(|row| row.0.starts_with("gemini")) {
        let complete = whole(*format, kind, answer);
        for end in 0..answer.len() {
            let reading = read(*format, kind, [&answer.as_bytes()[..end]]);
            assert!(!reading.is_complete || reading == complete, "{file} ends at {end}: {reading:?}");
        }
    }
}

#[test]
fn what_another_model_did_is_beside_it() {
    let reading = whole(Anthropic, JSON, include_str!("fixtures/usage/anthropic-advisor.json"));
    assert!(reading.is_complete);
    let charges: Vec<_> = reading
        .charges
        .iter()
        .map(|charge| {
            let count = |unit| charge.usage.count(unit);
            (charge.model.as_deref(), count(InputTokens), count(OutputTokens))
        })
        .collect();
    assert_eq!(charges, [(Some("m-1"), 10, 25), (Some("m-2"), 40, 60)]);
}

#[test]
fn what_only_looks_like_usage_is_none() {
    const USAGE: &str =
        r#""usage":{"prompt_tokens":1,"completion_tokens":1,"input_tokens":1,"output_tokens":1}"#;
    for answer in [
        format!(r#"{{"metadata":{{{USAGE}}}}}"#),
        format!(r#"{{"choices":[{{"message":{{"content":"x",{USAGE}}}}}]}}"#),
        format!(r#"{{"content":[{{"type":"tool_use","input":{{{USAGE}}}}}]}}"#),
        format!(r#"{{"text":{}}}"#, serde_json::json!(format!("{{{USAGE}}}"))),
        format!(r#"{{"x":[{{{USAGE}}}]}}"#),
        r#"{"usage":null}"#.to_owned(),
        r#"{"usage":"{\"prompt_tokens\":1}"}"#.to_owned(),
        r#"{"usage":[1]}"#.to_owned(),
        r#"{"usage":{}}"#.to_owned(),
        "null".to_owned(),
        String::new(),
    ] {
        for format in FORMATS {
            for (kind, text) in [(JSON, answer.clone()), (SSE, format!("data: {answer}\n\n"))] {
                let reading = whole(format, kind, &text);
                assert!(!reading.is_complete && reading.charges.is_empty(), "{format:?} {text}: {reading:?}");
            }
        }
    }
}

#[test]
fn counts_that_are_no_counts_are_not_final() {
    for count in ["-1", "1.5", "\"7\"", "18446744073709551616", "1e300", "true", "[7]", "{}"] {
        for (format, answer) in [
            (OpenAiChat, r#"{"usage":{"prompt_tokens":#,"completion_tokens":1}}"#),
            (OpenAiChat, r#"{"usage":{"prompt_tokens":1,"completion_tokens":#}}"#),
            (OpenAiResponses, r#"{"usage":{"input_tokens":1,"output_tokens":#}}"#),
            (Anthropic, r#"{"usage":{"input_tokens":1,"output_tokens":1,"cache_read_input_tokens":#}}"#),
            (Gemini, r#"{"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":#}}"#),
            (Cohere, r#"{"usage":{"billed_units":{"input_tokens":1,"output_tokens":#}}}"#),
            (BedrockConverse, r#"{"usage":{"inputTokens":#,"outputTokens":1}}"#),
        ] {
            let answer = answer.replace('#', count);
            assert!(!whole(format, JSON, &answer).is_complete, "{format:?} {answer}");
        }
    }
}

#[test]
fn names_may_be_escaped_and_the_last_usage_counts() {
    for answer in [
        r#"{"\u0075sage":{"prompt\u005ftokens":3,"completion_tokens":4}}"#,
        r#"{"usage":{"prompt_tokens":1,"completion_tokens":1},"usage":{"prompt_tokens":3,"completion_tokens":4}}"#,
        r#"{"usage":{"prompt_tokens":3.0,"completion_tokens":4.0}}"#,
    ] {
        let found = counts(&whole(OpenAiChat, JSON, answer)).expect("final");
        assert_eq!((found.count(InputTokens), found.count(OutputTokens)), (3, 4), "{answer}");
    }
}

#[test]
fn events_are_read_as_their_standard_says() {
    let stream = include_str!("fixtures/usage/chat.sse");
    let expected = whole(OpenAiChat, SSE, stream);
    for variant in [
        stream.replace('\n', "\r\n"),
        stream.replace('\n', "\r"),
        format!("\u{feff}{stream}"),
        stream.replace("data: ", ": a comment\nid: 7\ndata:"),
        stream.replace("\"choices\":[],", "\"choices\":[],\ndata: "),
        stream.trim_end().to_owned(),
        stream.replace("data: [DONE]\n\n", ""),
    ] {
        assert_eq!(whole(OpenAiChat, SSE, &variant), expected, "{variant:?}");
        assert_eq!(read(OpenAiChat, SSE, variant.as_bytes().chunks(1)), expected, "{variant:?}");
    }
    let without: String = stream.split_inclusive("\n\n").filter(|event| !event.contains("prompt")).collect();
    assert!(!whole(OpenAiChat, SSE, &without).is_complete);
    assert!(!whole(OpenAiChat, SSE, &without.replace("data: [DONE]\n\n", "")).is_complete);
}

/// A frame of Amazon's encoding. Checksums are not looked at here.
fn frame(payload: &str) -> Vec<u8> {
    let header = b"\x0b:event-type\x07\x00\x01x";
    let (headers, body) = (u32::try_from(header.len()).expect("short"), payload.as_bytes());
    let total = 16 + headers + u32::try_from(body.len()).expect("short");
    [&total.to_be_bytes()[..], &headers.to_be_bytes(), &[0; 4], header, body, &[0; 4]].concat()
}

#[test]
fn frames_of_converse_stream() {
    let stream = [
        frame(r#"{"role":"assistant"}"#),
        frame(r#"{"contentBlockIndex":0,"delta":{"text":"Hi"}}"#),
        frame(r#"{"stopReason":"end_turn"}"#),
        frame(r#"{"metrics":{"latencyMs":9},"usage":{"inputTokens":7,"outputTokens":5,"totalTokens":12}}"#),
    ]
    .concat();
    let reading = read(BedrockConverse, FRAMES, [&stream[..]]);
    let found = counts(&reading).expect("final");
    assert_eq!((found.count(InputTokens), found.count(OutputTokens)), (7, 5));
    for cut in 0..stream.len() {
        let (head, tail) = stream.split_at(cut);
        assert_eq!(read(BedrockConverse, FRAMES, [head, tail]), reading, "{cut}");
        let ended = read(BedrockConverse, FRAMES, [head]);
        assert!(!ended.is_complete || ended == reading, "{cut}");
    }
}

#[test]
fn frames_of_invoke_model() {
    let wrap = |inner: &str| {
        let bytes = base64::engine::general_purpose::STANDARD.encode(inner);
        frame(&format!(r#"{{"bytes":"{bytes}","p":"abc"}}"#))
    };
    let stream = [
        wrap(r#"{"type":"message_start","message":{"model":"m-1","usage":{"input_tokens":7,"output_tokens":1}}}"#),
        wrap(r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":5}}"#),
        wrap(
            r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":7,"outputTokenCount":5,"invocationLatency":9,"firstByteLatency":4}}"#,
        ),
    ]
    .concat();
    let reading = read(BedrockInvoke, FRAMES, [&stream[..]]);
    let found = counts(&reading).unwrap_or_else(|| panic!("{reading:?}"));
    assert_eq!((found.count(InputTokens), found.count(OutputTokens)), (7, 5));
    assert_eq!(read(BedrockInvoke, FRAMES, stream.chunks(1)), reading);
}

#[test]
fn headers_of_invoke_model() {
    let read = |rows: &[(&'static str, &str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            headers.insert(HeaderName::from_static(name), value.parse().expect("a value"));
        }
        let mut reader = UsageReader::new(BedrockInvoke, &headers);
        reader.push(br#"{"embedding":[0.1]}"#);
        reader.finish()
    };
    let (input, output) = ("x-amzn-bedrock-input-token-count", "x-amzn-bedrock-output-token-count");
    let found = counts(&read(&[(input, "7"), (output, "5")])).expect("final");
    assert_eq!((found.count(InputTokens), found.count(OutputTokens)), (7, 5));
    assert_eq!(counts(&read(&[(input, "7")])).expect("final").count(InputTokens), 7);
    for rows in [&[(input, "-7")][..], &[(output, "5")], &[(input, "7"), (output, "many")]] {
        assert!(!read(rows).is_complete, "{rows:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_alike_in_any_pieces(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "(data: ?)?[\\[\\]{}:,\"a-z0-9\\\\ \r\n]{0,120}".prop_map(String::into_bytes),
        ],
        cut in 1..50_usize,
        kind in prop_oneof![Just(JSON), Just(SSE), Just(FRAMES)],
    ) {
        for format in FORMATS {
            let reading = read(format, kind, [&bytes[..]]);
            prop_assert_eq!(read(format, kind, bytes.chunks(cut)), reading);
        }
    }
}
