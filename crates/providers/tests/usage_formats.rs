//! Answers of each wire format, as their documentation has them: what they say was used, however the bytes come.

use base64::Engine as _;
use proptest::prelude::*;
use till_core::fields::Fields;
use till_providers::usage::AnswerFormat::{
    self, Anthropic, BedrockConverse, BedrockInvoke, Cohere, Gemini, OpenAiChat, OpenAiResponses, Silent,
};
use till_providers::usage::Unit::{self, *};
use till_providers::usage::{Charge, Progress, Reading, Usage, UsageReader};

const JSON: &str = "application/json";
const SSE: &str = "text/event-stream; charset=utf-8";
const FRAMES: &str = "application/vnd.amazon.eventstream";

const FORMATS: [AnswerFormat; 8] =
    [Silent, OpenAiChat, OpenAiResponses, Anthropic, Gemini, Cohere, BedrockConverse, BedrockInvoke];

fn read<'b>(format: AnswerFormat, kind: &str, pieces: impl IntoIterator<Item = &'b [u8]>) -> Reading {
    read_through(format, kind, pieces).0
}

/// The same, and what was known before the end.
fn read_through<'b>(
    format: AnswerFormat,
    kind: &str,
    pieces: impl IntoIterator<Item = &'b [u8]>,
) -> (Reading, Progress) {
    let mut headers = Fields::default();
    headers.push("content-type", kind);
    let mut reader = UsageReader::new(format, &headers);
    pieces.into_iter().for_each(|piece| reader.push(piece));
    let progress = reader.progress();
    (reader.finish(), progress)
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

/// A search and a look at a page: only the search is charged.
const SEARCHED: &[(Unit, u64)] =
    &[(InputTokens, 900), (OutputTokens, 80), (WebSearches, 1), (StorageSearches, 1)];

/// Two searches, one of them named again, and one without a text.
const GROUNDED: &[(Unit, u64)] = &[(InputTokens, 9), (OutputTokens, 5), (WebSearches, 2)];

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
    row!("chat-usage-in-every-chunk.sse", OpenAiChat, SSE, Some(&[(InputTokens, 9), (OutputTokens, 3)])),
    row!("chat-two-choices.sse", OpenAiChat, SSE, Some(&[(InputTokens, 9), (OutputTokens, 6)])),
    row!(
        "mistral-audio.json",
        OpenAiChat,
        JSON,
        Some(&[(InputTokens, 21), (OutputTokens, 4), (InputAudioMillis, 7_000)])
    ),
    row!("responses-searches.json", OpenAiResponses, JSON, Some(SEARCHED)),
    row!("responses-searches.sse", OpenAiResponses, SSE, Some(SEARCHED)),
    row!("responses-searches-one-by-one.sse", OpenAiResponses, SSE, Some(SEARCHED)),
    row!(
        "images.json",
        OpenAiResponses,
        JSON,
        Some(&[
            (InputTokens, 50),
            (InputTextTokens, 10),
            (InputImageTokens, 40),
            (OutputTokens, 1056),
            (OutputImageTokens, 1056)
        ])
    ),
    row!(
        "transcription.json",
        OpenAiResponses,
        JSON,
        Some(&[(InputTokens, 14), (InputAudioTokens, 14), (OutputTokens, 45)])
    ),
    row!("transcription-by-length.json", OpenAiResponses, JSON, Some(&[(AudioMillis, 1_100)])),
    row!("gemini-grounded.json", Gemini, JSON, Some(GROUNDED)),
    row!("gemini-grounded.sse", Gemini, SSE, Some(GROUNDED)),
    row!(
        "gemini-grounded-by-prompt.json",
        Gemini,
        JSON,
        Some(&[(InputTokens, 9), (OutputTokens, 5), (WebSearches, 1)])
    ),
    row!("gemini-blocked.sse", Gemini, SSE, Some(&[(InputTokens, 8)])),
    row!("gemini-two-candidates.sse", Gemini, SSE, Some(&[(InputTokens, 8), (OutputTokens, 6)])),
    row!(
        "gemini-embedding.json",
        Gemini,
        JSON,
        Some(&[(InputTokens, 12), (InputTextTokens, 2), (InputAudioTokens, 10)])
    ),
    row!("cohere-embed-image.json", Cohere, JSON, Some(&[(InputTokens, 203), (InputImageTokens, 200)])),
    row!("titan.json", BedrockInvoke, JSON, Some(&[(InputTokens, 5), (OutputTokens, 62)])),
    row!(
        "nova.json",
        BedrockInvoke,
        JSON,
        Some(&[(InputTokens, 7), (CacheReadTokens, 2), (OutputTokens, 3)])
    ),
    row!("anthropic.json", BedrockInvoke, JSON, Some(MESSAGE)),
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

/// The models and tokens of all charges.
fn charges(reading: &Reading) -> Vec<(Option<&str>, u64, u64)> {
    let charge = |charge: &Charge| (charge.usage.count(InputTokens), charge.usage.count(OutputTokens));
    reading.charges.iter().map(|one| (one.model.as_deref(), charge(one).0, charge(one).1)).collect()
}

/// A compaction is beside the figures at the top, by the model that answers; a model that stepped in is not, and what
/// the model that was asked did before is.
#[test]
fn iterations_that_are_not_in_the_sum_are_beside_it() {
    let with = |iterations: &str| {
        let answer = format!(
            r#"{{"model":"m-1","usage":{{"input_tokens":10,"output_tokens":25,"iterations":[{iterations}]}}}}"#
        );
        whole(Anthropic, JSON, &answer)
    };
    let tokens = r#""input_tokens":40,"output_tokens":60"#;
    for (iterations, others) in [
        (format!(r#"{{"type":"message",{tokens}}},{{"type":"message",{tokens}}}"#), vec![]),
        (
            format!(r#"{{"type":"compaction",{tokens}}},{{"type":"message",{tokens}}}"#),
            vec![(Some("m-1"), 40, 60)],
        ),
        (
            format!(
                r#"{{"type":"message","model":"m-0",{tokens}}},{{"type":"fallback_message","model":"m-1",{tokens}}}"#
            ),
            vec![(Some("m-0"), 40, 60)],
        ),
        (format!(r#"{{"type":"new","cache_read_input_tokens":2,{tokens}}}"#), vec![(Some("m-1"), 42, 60)]),
        (String::new(), vec![]),
    ] {
        let reading = with(&iterations);
        assert!(reading.is_complete);
        let mut expected = vec![(Some("m-1"), 10, 25)];
        expected.extend(others);
        assert_eq!(charges(&reading), expected, "{iterations}");
    }
    assert!(!with(r#"{"type":"compaction","input_tokens":-1,"output_tokens":1}"#).is_complete);
    assert!(!with("7").is_complete);
}

#[test]
fn the_first_event_of_a_message_is_not_the_last() {
    let start = r#"{"type":"message_start","message":{"usage":{"input_tokens":7,"output_tokens":1}}}"#;
    let stop = r#"{"type":"message_stop"}"#;
    let delta = r#"{"type":"message_delta","delta":{"stop_reason":null},"usage":{"output_tokens":5}}"#;
    let read = |events: &[&str]| {
        let stream: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
        whole(Anthropic, SSE, &stream)
    };
    assert!(!read(&[start]).is_complete);
    assert!(!read(&[start, stop]).is_complete);
    assert!(!read(&[start, delta]).is_complete);
    assert_eq!(charges(&read(&[start, delta, stop])), [(None, 7, 5)]);
    assert!(read(&[start, delta, stop]).is_complete);
}

#[test]
fn a_chat_without_its_output_is_not_final() {
    let choices = r#""choices":[{"index":0,"finish_reason":"stop"}]"#;
    assert!(!whole(OpenAiChat, JSON, &format!(r#"{{{choices},"usage":{{"prompt_tokens":3}}}}"#)).is_complete);
    // An embedding has none.
    let usage = r#""usage":{"prompt_tokens":3,"total_tokens":3}"#;
    assert!(whole(OpenAiChat, JSON, &format!(r#"{{"data":[{{"index":0}}],{usage}}}"#)).is_complete);
}

#[test]
fn figures_without_counts_and_empty_ones_change_nothing() {
    let last = r#"{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":3,"trafficType":"ON_DEMAND"}}"#;
    let stream = format!("data: {{\"usageMetadata\":{{\"trafficType\":\"ON_DEMAND\"}}}}\n\ndata: {last}\n\n");
    assert_eq!(counts(&whole(Gemini, SSE, &stream)).expect("final").count(InputTokens), 3);
    let stream = include_str!("fixtures/usage/chat.sse").replace("\"usage\":null", "\"usage\":{}");
    assert_eq!(counts(&whole(OpenAiChat, SSE, &stream)).expect("final").count(InputTokens), 19);
}

#[test]
fn the_tier_is_the_one_at_which_it_was_served() {
    let usage = r#""usage":{"prompt_tokens":1,"completion_tokens":1,"input_tokens":1,"output_tokens":1,"inputTokens":1"#;
    for (format, header, answer, expected) in [
        (OpenAiChat, None, format!(r#"{{"service_tier":"flex",{usage}}}}}"#), Some("flex")),
        (OpenAiResponses, None, format!(r#"{{"service_tier":"priority",{usage}}}}}"#), Some("priority")),
        (OpenAiResponses, None, format!(r#"{{"service_tier":null,{usage}}}}}"#), None),
        (Anthropic, None, format!(r#"{{{usage},"service_tier":"batch"}}}}"#), Some("batch")),
        (BedrockConverse, None, format!(r#"{{{usage}}},"serviceTier":{{"type":"flex"}}}}"#), Some("flex")),
        (BedrockInvoke, Some("x-amzn-bedrock-service-tier"), format!("{{{usage}}}}}"), Some("header")),
        (
            Gemini,
            Some("x-gemini-service-tier"),
            r#"{"usageMetadata":{"promptTokenCount":1}}"#.to_owned(),
            Some("header"),
        ),
        (
            Gemini,
            Some("x-gemini-service-tier"),
            r#"{"usageMetadata":{"promptTokenCount":1,"serviceTier":"SERVICE_TIER_FLEX"}}"#.to_owned(),
            Some("flex"),
        ),
    ] {
        let mut headers = Fields::default();
        if let Some(name) = header {
            headers.push(name, "header");
        }
        let mut reader = UsageReader::new(format, &headers);
        reader.push(answer.as_bytes());
        let reading = reader.finish();
        assert!(reading.is_complete, "{answer}");
        assert_eq!(reading.charges[0].context.value("service_tier"), expected, "{answer}");
    }
}

/// Where Claude was served is in the usage, and what that costs is in the price.
#[test]
fn the_place_of_an_answer_is_read_and_paid() {
    let cost = |geo: &str| {
        let answer = format!(
            r#"{{"type":"message","model":"claude-opus-4-6","stop_reason":"end_turn","usage":{{"input_tokens":100,"output_tokens":10{geo}}}}}"#
        );
        let reading = read(AnswerFormat::Anthropic, "application/json", [answer.as_bytes()]);
        let charge = &reading.charges[0];
        let table = till_providers::price::PriceTable::builtin();
        let price = table.find("anthropic", charge.model.as_deref().expect("a model")).expect("a price");
        price.rates(&charge.context, till_core::time::Timestamp(0)).cost_picos(&charge.usage)
    };
    let plain = cost("");
    assert_eq!(cost(r#","inference_geo":"global""#), plain);
    assert_eq!(cost(r#","inference_geo":"not_available""#), plain);
    assert_eq!(cost(r#","inference_geo":"us""#), plain * 11 / 10);
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
fn whole_and_in_pieces_an_answer_says_the_same() {
    const GOOD: &str = r#""usage":{"prompt_tokens":3,"completion_tokens":4,"a":[{"b":"\u00e9\n"}]}"#;
    let deep = format!("\"usage\":{{\"prompt_tokens\":3,\"a\":{}{}}}", "[".repeat(130), "]".repeat(130));
    let long = format!("\"usage\":{{\"prompt_tokens\":3,\"a\":\"{}\"}}", "x".repeat(70_000));
    for members in [
        GOOD,
        // Of a name that stands twice the last value counts, and no other is read.
        r#""model":"a","usage":{"prompt_tokens":-1},"model":"b","usage":{"prompt_tokens":3}"#,
        r#""usage":{"prompt_tokens":3},"usage":null,"service_tier":"flex","service_tier":null"#,
        r#""x_groq":{"usage":{"prompt_tokens":5}},"model":"m","service_tier":"x","usage":{"prompt_tokens":3}"#,
        r#""usage":{"prompt_tokens":3},"x_groq":{"usage":{"prompt_tokens":"}"}},"choices":[{"index":0}]"#,
        r#""usage":{"prompt_tokens":3,}"#,
        r#""usage":{"prompt_tokens":3]"#,
        r#""usage":{"prompt_tokens":03}"#,
        r#""usage":{"prompt_tokens":3,"a":"\x"}"#,
        "\"usage\":{\"prompt_tokens\":3,\"a\":\"\t\"}",
        r#""usage":{},"usage" : { } , "model":null"#,
        r#""usage":[3],"model":["}"]"#,
        &deep,
        &long,
    ] {
        for answer in [
            format!("{{{members}}}"),
            format!(" {{{members}}} \n"),
            format!("{{{members}}}\n{{{GOOD}}}"),
            format!("{{{GOOD}}}{{{members}}} {{"),
            format!("{{{members}}}]"),
            format!("[{{{members}}}]"),
        ] {
            let expected = read(OpenAiChat, JSON, answer.as_bytes().chunks(1));
            assert_eq!(whole(OpenAiChat, JSON, &answer), expected, "{:.300}", answer);
            // A first document that is whole, and a rest of any length.
            let (first, rest) = answer.split_at(answer.len().saturating_sub(5));
            let pieces = [first.as_bytes(), rest.as_bytes()];
            assert_eq!(read(OpenAiChat, JSON, pieces), expected, "{:.300}", answer);
        }
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
    for cut in 0..stream.len() {
        let ended = read(BedrockInvoke, FRAMES, [&stream[..cut]]);
        assert!(!ended.is_complete || ended == reading, "{cut}");
    }
}

/// The metrics have sums; for how long the cache keeps what was written is in the model's own figures.
#[test]
fn frames_of_invoke_model_with_a_cache() {
    let wrap = |inner: &str| {
        let bytes = base64::engine::general_purpose::STANDARD.encode(inner);
        frame(&format!(r#"{{"bytes":"{bytes}"}}"#))
    };
    let own = r#"{"type":"message_start","message":{"usage":{"input_tokens":7,"cache_creation_input_tokens":20,"cache_creation":{"ephemeral_1h_input_tokens":20},"output_tokens":1}}}"#;
    let delta = r#"{"type":"message_delta","usage":{"output_tokens":5}}"#;
    let metrics = |output: u64| {
        format!(
            r#"{{"type":"message_stop","amazon-bedrock-invocationMetrics":{{"inputTokenCount":7,"outputTokenCount":{output},"cacheWriteInputTokenCount":20}}}}"#
        )
    };
    for (output, written_for_an_hour) in [(5, 20), (6, 0)] {
        let stream = [wrap(own), wrap(delta), wrap(&metrics(output))].concat();
        let found = counts(&read(BedrockInvoke, FRAMES, [&stream[..]])).expect("final");
        assert_eq!((found.count(InputTokens), found.count(OutputTokens)), (27, output));
        assert_eq!(
            (found.count(CacheWriteTokens), found.count(CacheWrite1hTokens)),
            (20, written_for_an_hour)
        );
    }
}

#[test]
fn headers_of_invoke_model() {
    let read = |rows: &[(&'static str, &str)]| {
        let mut headers = Fields::default();
        for (name, value) in rows {
            headers.push(name, value);
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

/// A body may say more than the headers, or nothing that anybody knows how to read.
#[test]
fn bodies_of_invoke_model_beside_its_headers() {
    for (body, expected) in [
        (r#"{"usage":{"seconds":3}}"#, &[(InputTokens, 7), (OutputTokens, 5)][..]),
        (r#"{"usage":{"input_tokens":"7"}}"#, &[(InputTokens, 7), (OutputTokens, 5)]),
        (r#"{"inputTextTokenCount":6}"#, &[(InputTokens, 7), (OutputTokens, 5)]),
        (
            r#"{"usage":{"input_tokens":7,"output_tokens":5,"cache_read_input_tokens":9}}"#,
            &[(InputTokens, 16), (OutputTokens, 5), (CacheReadTokens, 9)],
        ),
    ] {
        let mut headers = Fields::default();
        headers.push("x-amzn-bedrock-input-token-count", "7");
        headers.push("x-amzn-bedrock-output-token-count", "5");
        let mut reader = UsageReader::new(BedrockInvoke, &headers);
        reader.push(body.as_bytes());
        let found = counts(&reader.finish()).unwrap_or_else(|| panic!("{body}"));
        for (unit, count) in expected {
            assert_eq!(found.count(*unit), *count, "{body} {}", unit.as_str());
        }
    }
}

/// Of such pieces answers are made; put together at random they are nearly answers. What comes byte by byte is read
/// in the plain way.
const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    " ",
    "\"",
    "\\",
    "7",
    "null",
    "\r\n",
    "\n\ndata: {",
    "\n\ndata: [DONE]\n\n",
    "\"a\":\"b\",",
    "\"a\" : 1e2 ,",
    "\"usage\":",
    "\"us\\u0061ge\":{",
    "\"usage\":null,",
    "\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}",
    "\"usage\":{\"input_tokens\":7,\"output_tokens\":2}",
    "\"usageMetadata\":{\"promptTokenCount\":7,\"candidatesTokenCount\":2}",
    "\"usage\":{\"billed_units\":{\"input_tokens\":7}}",
    "\"usage\":{\"inputTokens\":7,\"outputTokens\":2}",
    "\"model\":\"m\",",
    "\"model\":\"\\u006d\",",
    "\"model\":\"a name that is longer than what is counted by what it says, and than most names\",",
    "\"type\":\"message_start\",",
    "\"type\":\"response.completed\",",
    "\"message\":{",
    "\"response\":{",
    "\"choices\":[{",
    "\"index\":1,",
    "\"finish_reason\":null,",
    "\"finish_reason\":\"stop\"}]",
    "\"candidates\":[{",
    "\"finishReason\":\"STOP\"}]",
    "\"content\":{\"parts\":[{\"text\":\"é\"}]},",
    "\"delta\":{\"content\":\"Hi\"},",
    "\"delta\":{\"text\":\"line\\n\",",
    "\"delta\":{\"stop_reason\":\"end_turn\"},",
    "\"results\":[{\"tokenCount\":3}],\"inputTextTokenCount\":4,",
];

/// A count, or what stands in its place.
fn count() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![
        (0..5_000_u64).prop_map(Into::into),
        Just(u64::MAX.into()),
        Just(serde_json::Value::Null),
        Just(serde_json::json!({})),
        Just(serde_json::json!([7, {"prompt_tokens": 8}])),
        Just(serde_json::json!("7")),
    ]
}

/// The counts of a usage of OpenAI's, as anyone would read them.
fn plainly(usage: &serde_json::Value) -> Option<Usage> {
    let at = |place: &str| match usage.pointer(place) {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(count) => count.as_u64().map(Some).ok_or(()),
    };
    let (input, output) = (at("/prompt_tokens").ok()??, at("/completion_tokens").ok()??);
    let total = at("/total_tokens").ok()?.unwrap_or(0);
    let mut counts = expect(&[(InputTokens, input), (OutputTokens, output.max(total.saturating_sub(input)))]);
    for (unit, place) in [
        (CacheReadTokens, "/prompt_tokens_details/cached_tokens"),
        (InputAudioTokens, "/prompt_tokens_details/audio_tokens"),
        (OutputAudioTokens, "/completion_tokens_details/audio_tokens"),
        (OutputReasoningTokens, "/completion_tokens_details/reasoning_tokens"),
    ] {
        if let Some(count) = at(place).ok()? {
            counts.set(unit, count);
        }
    }
    Some(counts)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]
    #[test]
    fn a_chat_is_read_as_another_reader_of_json_reads_it(
        members in proptest::collection::vec((0..9_usize, count()), 0..12),
        text in any::<String>(),
        is_indented: bool,
        cut in 1..300_usize,
    ) {
        const NAMES: [&str; 9] = [
            "prompt_tokens", "completion_tokens", "total_tokens", "completion_tokens_details", "prompt_tokens_details",
            "cached_tokens", "audio_tokens", "reasoning_tokens", "other",
        ];
        let mut usage = serde_json::Map::new();
        for (name, value) in members {
            let details = ["prompt_tokens_details", "completion_tokens_details"][name % 2];
            match (name, usage.get_mut(details).and_then(serde_json::Value::as_object_mut)) {
                (5..8, Some(details)) => _ = details.insert(NAMES[name].to_owned(), value),
                // Beside the details it is another one's, which the plain reading has not.
                (5..8, None) => {}
                _ => _ = usage.insert(NAMES[name].to_owned(), value),
            }
        }
        let answer = serde_json::json!({
            "id": text,
            "choices": [{"index": 0, "message": {"content": text, "usage": {}}, "finish_reason": "stop"}],
            "usage": usage,
            "model": text,
        });
        let answer = if is_indented { serde_json::to_string_pretty(&answer) } else { serde_json::to_string(&answer) };
        let answer = answer.expect("it can be written");
        let expected = plainly(&usage.into());
        let reading = whole(OpenAiChat, JSON, &answer);
        prop_assert_eq!(counts(&reading), expected.clone());
        prop_assert!(expected.is_none() || reading.charges[0].model.as_ref() == Some(&text));
        prop_assert_eq!(read(OpenAiChat, JSON, answer.as_bytes().chunks(cut)), reading);
    }

    #[test]
    fn events_that_are_nearly_alike_are_read_alike_in_any_pieces(
        event in prop_oneof![
            Just(
                r#"{"id":"a","model":"m","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}],"usage":null}"#
                    .to_owned()
            ),
            proptest::collection::vec(proptest::sample::select(PIECES), 0..12)
                .prop_map(|pieces| format!("{{{}}}", pieces.concat())),
        ],
        changes in proptest::collection::vec(
            proptest::option::of((any::<proptest::sample::Index>(), proptest::sample::select(&b"{}[],:\"\\ 0ax"[..]))),
            1..8,
        ),
        cut in prop_oneof![Just(1), 1..200_usize],
    ) {
        let mut stream = Vec::new();
        for change in changes {
            let mut event = event.clone().into_bytes();
            if let Some((place, byte)) = change {
                let place = place.index(event.len());
                event[place] = byte;
            }
            stream.extend([b"data: ", &event[..], b"\n\n"].concat());
        }
        stream.extend_from_slice(b"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":2}}\n\n");
        for format in FORMATS {
            let reading = read_through(format, SSE, [&stream[..]]);
            prop_assert_eq!(read_through(format, SSE, stream.chunks(cut)), reading);
        }
    }

    #[test]
    fn any_bytes_are_read_alike_in_any_pieces(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "(data: ?)?[\\[\\]{}:,\"a-z0-9\\\\ \r\n]{0,120}".prop_map(String::into_bytes),
            proptest::collection::vec(proptest::sample::select(PIECES), 0..40)
                .prop_map(|pieces| format!("data: {{{}", pieces.concat()).into_bytes()),
        ],
        cut in prop_oneof![Just(1), 1..50_usize],
        kind in prop_oneof![Just(JSON), Just(SSE), Just(FRAMES)],
    ) {
        for format in FORMATS {
            let reading = read_through(format, kind, [&bytes[..]]);
            prop_assert_eq!(read_through(format, kind, bytes.chunks(cut)), reading);
        }
    }
}
