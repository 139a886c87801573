//! Requests as official clients send them pass with what is expected of them; what may cost more than it seems is
//! refused, naming what it is about.

mod anthropic;
mod bedrock;
mod bounds;
mod cohere;
mod google;
mod names;
mod openai;

use std::sync::LazyLock;

use http::Method;
use proptest::prelude::*;
use till_core::fields::Fields;
use till_core::path::{FinalPath, RawPath};
use till_core::time::Timestamp;

use super::{CacheWrite, Question, Refused, RequestFacts, facts};
use crate::Registry;
use crate::bound::{BoundError, demand};
use crate::price::PriceTable;
use crate::usage::{Unit, Usage};

/// Noon of 2026-11-22, UTC.
const AT: Timestamp = Timestamp(1_795_348_800_000);

/// Read once: it is large.
static PRICES: LazyLock<PriceTable> = LazyLock::new(PriceTable::builtin);

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::builtin);

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const RESPONSES: &str = "/v1/responses";
const GEMINI: &str = "/v1beta/models/gemini-2.5-flash:generateContent";
const CONVERSE: &str = "/model/anthropic.claude-3-haiku-20240307-v1:0/converse";
const NOVA: &str = "/model/us.amazon.nova-lite-v1:0/invoke";
const LLAMA: &str = "/model/us.meta.llama3-3-70b-instruct-v1:0/invoke";
const EMBED: &str = "/v1beta/models/gemini-embedding-2:batchEmbedContents";
const INVOKE: &str = "/model/anthropic.claude-3-haiku-20240307-v1:0/invoke";

fn ask_with(
    provider: &str,
    path: &str,
    headers: &[(&'static str, &str)],
    body: &str,
) -> Result<RequestFacts, Refused> {
    let provider = REGISTRY.get(provider).expect("built in");
    let path: FinalPath =
        provider.final_path(&RawPath::parse(path.as_bytes()).expect("a path")).expect("a good path");
    let headers: Fields = headers.iter().copied().collect();
    let question = Question {
        provider,
        method: &Method::POST,
        path: &path,
        query: None,
        headers: &headers,
        body: body.as_bytes(),
    };
    facts(&question, &PRICES)
}

fn ask(provider: &str, path: &str, body: &str) -> Result<RequestFacts, Refused> {
    ask_with(provider, path, &[("content-type", "application/json")], body)
}

fn passes(provider: &str, path: &str, body: &str) -> RequestFacts {
    ask(provider, path, body).unwrap_or_else(|error| panic!("{provider} {path} {body}: {error}"))
}

/// What a refusal is about; the message, where the request is malformed.
fn refused(provider: &str, path: &str, body: &str) -> String {
    match ask(provider, path, body) {
        Err(Refused::Unbounded { what, message }) => {
            assert!(message.contains(&what), "{message} does not name {what}");
            what
        }
        Err(Refused::Malformed(message)) => message,
        Ok(facts) => panic!("{provider} {path} {body} passes: {facts:?}"),
    }
}

/// A request with one message, of OpenAI's chat.
fn chat(more: &str) -> String {
    format!(r#"{{"model":"gpt-4o-mini","messages":[{{"role":"user","content":"Hi"}}]{more}}}"#)
}

/// The same, of Anthropic's.
fn messages(more: &str) -> String {
    format!(r#"{{"model":"claude-sonnet-4-5","messages":[{{"role":"user","content":"Hi"}}]{more}}}"#)
}

#[test]
fn ordinary_requests_have_their_cap_where_their_provider_looks_for_it() {
    let chat_of = |model: &str| {
        format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"Hi"}}],"max_tokens":77}}"#)
    };
    let gemini =
        r#"{"contents":[{"parts":[{"text":"Hi"}],"role":"user"}],"generationConfig":{"maxOutputTokens":77}}"#;
    let converse = r#"{"messages":[{"role":"user","content":[{"text":"Hi"}]}],"inferenceConfig":{"maxTokens":77,"temperature":0.5}}"#;
    let invoke = r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":77,"messages":[{"role":"user","content":"Hi"}]}"#;
    let responses = r#"{"model":"gpt-5-mini","input":"Hi","max_output_tokens":77}"#.to_owned();
    for (provider, path, body, model, parameter) in [
        ("openai", CHAT, chat(r#","max_completion_tokens":77"#), "gpt-4o-mini", "max_completion_tokens"),
        ("openai", CHAT, chat_of("gpt-4o-mini"), "gpt-4o-mini", "max_tokens"),
        ("openai", RESPONSES, responses, "gpt-5-mini", "max_output_tokens"),
        ("anthropic", MESSAGES, messages(r#","max_tokens":77"#), "claude-sonnet-4-5", "max_tokens"),
        ("google", GEMINI, gemini.to_owned(), "gemini-2.5-flash", "maxOutputTokens"),
        ("mistral", CHAT, chat_of("mistral-small-latest"), "mistral-small-latest", "max_tokens"),
        (
            "groq",
            "/openai/v1/chat/completions",
            chat_of("llama-3.1-8b-instant"),
            "llama-3.1-8b-instant",
            "max_tokens",
        ),
        ("deepseek", "/chat/completions", chat_of("deepseek-chat"), "deepseek-chat", "max_tokens"),
        ("cohere", "/v2/chat", chat_of("command-a-03-2025"), "command-a-03-2025", "max_tokens"),
        ("bedrock", CONVERSE, converse.to_owned(), "anthropic.claude-3-haiku-20240307-v1:0", "maxTokens"),
        ("bedrock", INVOKE, invoke.to_owned(), "anthropic.claude-3-haiku-20240307-v1:0", "max_tokens"),
    ] {
        let facts = passes(provider, path, &body);
        assert_eq!(facts.model.as_deref(), Some(model), "{provider}");
        let output = facts.output.as_ref().expect("an output");
        assert_eq!((output.parameter, output.requested), (parameter, Some(77)), "{provider}");
        assert!(facts.input.count(Unit::InputTokens) > 0 && !facts.is_free, "{provider}");
        let after = String::from_utf8(facts.rewrite(body.as_bytes(), Some(33))).expect("text");
        assert_eq!(after, body.replace("77", "33"), "{provider}");
    }
}

#[test]
fn a_cap_that_is_not_there_is_put_in() {
    for (provider, path, body, expected) in [
        ("openai", CHAT, r#"{"model":"gpt-4o"}"#, r#"{"model":"gpt-4o","max_completion_tokens":9}"#),
        (
            "openai",
            CHAT,
            r#"{"max_completion_tokens":null,"model":"gpt-4o"}"#,
            r#"{"max_completion_tokens":9,"model":"gpt-4o"}"#,
        ),
        (
            "openai",
            CHAT,
            r#"{"max\u005ftokens":5,"model":"gpt-4o"}"#,
            r#"{"max\u005ftokens":9,"model":"gpt-4o"}"#,
        ),
        ("openai", RESPONSES, " {\"model\":\"gpt-4o\"} ", " {\"model\":\"gpt-4o\",\"max_output_tokens\":9} "),
        ("google", GEMINI, "{}", r#"{"generationConfig":{"maxOutputTokens":9}}"#),
        ("google", GEMINI, r#"{"generation_config":{}}"#, r#"{"generation_config":{"maxOutputTokens":9}}"#),
        (
            "google",
            GEMINI,
            r#"{"generation_config":{"max_output_tokens":100}}"#,
            r#"{"generation_config":{"max_output_tokens":9}}"#,
        ),
        ("bedrock", CONVERSE, "{}", r#"{"inferenceConfig":{"maxTokens":9}}"#),
        ("bedrock", CONVERSE, r#"{"inferenceConfig":{}}"#, r#"{"inferenceConfig":{"maxTokens":9}}"#),
    ] {
        let facts = passes(provider, path, body);
        assert_eq!(String::from_utf8_lossy(&facts.rewrite(body.as_bytes(), Some(9))), expected, "{provider}");
    }
}

#[test]
fn caps_that_can_be_read_in_two_ways_are_refused() {
    for cap in ["\"5\"", "-1", "1.5", "1e2", "-0", "5.0", "true", "[5]", "18446744073709551616"] {
        let openai = refused("openai", CHAT, &chat(&format!(r#","max_tokens":{cap}"#)));
        assert!(openai.contains("max_tokens"), "{cap}: {openai}");
        let anthropic = refused("anthropic", MESSAGES, &messages(&format!(r#","max_tokens":{cap}"#)));
        assert!(anthropic.contains("max_tokens"), "{cap}: {anthropic}");
        let gemini =
            refused("google", GEMINI, &format!(r#"{{"generationConfig":{{"maxOutputTokens":{cap}}}}}"#));
        assert!(gemini.contains("maxOutputTokens"), "{cap}: {gemini}");
        let bedrock =
            refused("bedrock", CONVERSE, &format!(r#"{{"inferenceConfig":{{"maxTokens":{cap}}}}}"#));
        assert!(bedrock.contains("maxTokens"), "{cap}: {bedrock}");
    }
    let both = refused("openai", CHAT, &chat(r#","max_tokens":5,"max_completion_tokens":6"#));
    assert!(both.contains("max_tokens") && both.contains("max_completion_tokens"), "{both}");
    // One of them being null is no conflict.
    let one = passes("openai", CHAT, &chat(r#","max_tokens":5,"max_completion_tokens":null"#));
    assert_eq!(one.output.expect("an output").requested, Some(5));
}

#[test]
fn what_is_not_known_or_works_on_its_own_is_refused_by_name() {
    let gemini = |more: &str| format!(r#"{{"contents":[]{more}}}"#);
    for (provider, path, body, what) in [
        ("openai", CHAT, chat(r#","new_thing":1"#), "new_thing"),
        ("openai", CHAT, chat(r#","web_search_options":{}"#), "web_search_options"),
        ("openai", CHAT, chat(r#","tools":[{"type":"web_search"}]"#), "tools[0].type"),
        ("openai", CHAT, chat(r#","modalities":["text","audio"]"#), "modalities"),
        ("openai", CHAT, chat(r#","prediction":{"type":"content","content":"x"}"#), "prediction"),
        ("openai", CHAT, chat(r#","service_tier":"turbo""#), "service_tier"),
        ("openai", CHAT, r#"{"model":"gpt-4o-search-preview","messages":[]}"#.to_owned(), "model"),
        (
            "openai",
            RESPONSES,
            r#"{"model":"gpt-5","tools":[{"type":"web_search"}]}"#.to_owned(),
            "tools[0].type",
        ),
        ("openai", RESPONSES, r#"{"model":"gpt-5","tools":[{"type":"mcp"}]}"#.to_owned(), "tools[0].type"),
        ("openai", RESPONSES, r#"{"model":"gpt-5","prompt":{"id":"p"}}"#.to_owned(), "prompt"),
        (
            "openai",
            RESPONSES,
            r#"{"model":"nobody","previous_response_id":"r"}"#.to_owned(),
            "previous_response_id",
        ),
        ("openai", "/v1/audio/speech", r#"{"model":"gpt-4o-mini-tts","input":"Hi"}"#.to_owned(), "model"),
        ("openai", "/v1/embeddings", r#"{"model":"text-embedding-3-small","x":1}"#.to_owned(), "x"),
        ("openai", "/v1/batches", "{}".to_owned(), "POST /v1/batches"),
        ("openai", "/v1/responses/compact", r#"{"model":"gpt-5"}"#.to_owned(), "/v1/responses/compact"),
        ("anthropic", MESSAGES, messages(r#","mcp_servers":[]"#), "mcp_servers"),
        ("anthropic", MESSAGES, messages(r#","container":"c""#), "container"),
        ("anthropic", MESSAGES, messages(r#","new_thing":1"#), "new_thing"),
        ("anthropic", MESSAGES, messages(r#","inference_geo":"mars""#), "inference_geo"),
        (
            "anthropic",
            MESSAGES,
            messages(r#","tools":[{"type":"web_search_20250305","name":"w"}]"#),
            "tools[0].type",
        ),
        (
            "anthropic",
            MESSAGES,
            messages(r#","tools":[{"type":"code_execution_20250522"}]"#),
            "tools[0].type",
        ),
        ("anthropic", "/v1/messages/batches", "{}".to_owned(), "POST /v1/messages/batches"),
        ("google", GEMINI, gemini(r#","tools":[{"googleSearch":{}}]"#), "tools[0].googleSearch"),
        ("google", GEMINI, gemini(r#","tools":{"code_execution":{}}"#), "tools[0].code_execution"),
        (
            "google",
            GEMINI,
            gemini(r#","generationConfig":{"speechConfig":{}}"#),
            "generationConfig.speechConfig",
        ),
        ("google", GEMINI, gemini(r#","serviceTier":"priority""#), "serviceTier"),
        (
            "cohere",
            "/v1/chat",
            r#"{"model":"command-r","message":"x","connectors":[]}"#.to_owned(),
            "connectors",
        ),
        (
            "cohere",
            "/v1/chat",
            r#"{"model":"command-r","conversation_id":"x"}"#.to_owned(),
            "conversation_id",
        ),
        ("cohere", "/v2/chat", r#"{"model":"command-r","x":"x"}"#.to_owned(), "x"),
        (
            "perplexity",
            "/chat/completions",
            r#"{"model":"sonar-deep-research","messages":[]}"#.to_owned(),
            "model",
        ),
        ("openrouter", "/api/v1/chat/completions", r#"{"model":"openai/gpt-4o:online"}"#.to_owned(), "model"),
        ("openrouter", "/api/v1/chat/completions", r#"{"model":"x","models":["y"]}"#.to_owned(), "models"),
        ("bedrock", CONVERSE, r#"{"guardrailConfig":{}}"#.to_owned(), "guardrailConfig"),
        (
            "bedrock",
            CONVERSE,
            r#"{"performanceConfig":{"latency":"optimized"}}"#.to_owned(),
            "performanceConfig",
        ),
        (
            "bedrock",
            CONVERSE,
            r#"{"additionalModelRequestFields":{"max_tokens":9}}"#.to_owned(),
            "additionalModelRequestFields.max_tokens",
        ),
        (
            "bedrock",
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aapplication-inference-profile%2Fabc/converse",
            "{}".to_owned(),
            "model",
        ),
        ("bedrock", "/model/writer.palmyra-x5-v1:0/invoke", r#"{"prompt":"x"}"#.to_owned(), "writer.palmyra"),
    ] {
        let refused = refused(provider, path, &body);
        assert!(refused.starts_with(what), "{provider} {body}: {refused:?} instead of {what:?}");
    }
}

#[test]
fn bodies_that_are_not_json_of_one_meaning_are_refused() {
    for body in [
        "",
        "[]",
        "{}",
        r#"{"model":5}"#,
        r#"{"model":""}"#,
        r#"{"model":"gpt-4o","model":"gpt-5-pro"}"#,
        r#"{"model":"gpt-4o","\u006dodel":"gpt-5-pro"}"#,
        r#"{"model":"gpt-4o","messages":[{"role":"user","role":"system"}]}"#,
        r#"{"model":"gpt-4o","messages":"Hi"}"#,
        r#"{"model":"gpt-4o","messages":["Hi"]}"#,
        r#"{"model":"gpt-4o","n":"2"}"#,
        r#"{"model":"gpt-4o","n":-2}"#,
        r#"{"model":"gpt-4o","stream":"true"}"#,
        r#"{"model":"gpt-4o","stream":true,"stream_options":[]}"#,
    ] {
        assert!(matches!(ask("openai", CHAT, body), Err(Refused::Malformed(_))), "{body}");
    }
    let body = chat("");
    for (kind, expected) in [
        ("application/json", true),
        ("Application/JSON; charset=utf-8", true),
        ("text/plain", false),
        ("multipart/form-data; boundary=x", false),
        ("application/x-www-form-urlencoded", false),
        ("", false),
    ] {
        let answer = ask_with("openai", CHAT, &[("content-type", kind)], &body);
        assert_eq!(answer.is_ok(), expected, "{kind:?}");
    }
    assert!(ask_with("openai", CHAT, &[], &body).is_ok());
    for body in [
        r#"{"generationConfig":{},"generation_config":{"maxOutputTokens":9}}"#,
        r#"{"generationConfig":{"maxOutputTokens":5,"max_output_tokens":9}}"#,
        r#"{"contents":[{"parts":[],"parts":[]}]}"#,
        r#"{"generationConfig":null}"#,
        r#"{"systemInstruction":"a","system_instruction":"b"}"#,
    ] {
        assert!(matches!(ask("google", GEMINI, body), Err(Refused::Malformed(_))), "{body}");
    }
}

#[test]
fn each_answer_of_many_gets_the_cap() {
    let outputs =
        |provider, path, body: &str| passes(provider, path, body).output.expect("an output").outputs;
    assert_eq!(outputs("openai", CHAT, &chat("")), 1);
    assert_eq!(outputs("openai", CHAT, &chat(r#","n":3"#)), 3);
    assert_eq!(outputs("openai", CHAT, &chat(r#","n":0"#)), 1);
    assert_eq!(outputs("google", GEMINI, r#"{"generation_config":{"candidate_count":4}}"#), 4);
    let completions = r#"{"model":"gpt-3.5-turbo-instruct","prompt":["a","b"],"n":2,"best_of":5}"#;
    assert_eq!(outputs("openai", "/v1/completions", completions), 10);
    let tokens = r#"{"model":"gpt-3.5-turbo-instruct","prompt":[[1,2],[3]]}"#;
    assert_eq!(outputs("openai", "/v1/completions", tokens), 2);
    // More than can be counted is not granted by going round.
    let huge = passes("openai", CHAT, &chat(r#","n":18446744073709551615,"max_tokens":100"#));
    let demand = demand(&huge, None, false, AT, true).expect("a demand");
    assert_eq!(demand.units(demand.steps_min), None);
}

#[test]
fn a_stream_is_asked_for_its_usage_and_only_then() {
    for (more, expected) in [
        ("", None),
        (r#","stream":false"#, None),
        (r#","stream":null"#, None),
        (r#","stream":false,"stream_options":null"#, None),
        (r#","stream":true"#, Some(r#","stream":true,"stream_options":{"include_usage":true}"#)),
        (
            r#","stream_options":null,"stream":true"#,
            Some(r#","stream_options":{"include_usage":true},"stream":true"#),
        ),
        (
            r#","stream":true,"stream_options":{}"#,
            Some(r#","stream":true,"stream_options":{"include_usage":true}"#),
        ),
        (
            r#","stream":true,"stream_options":{"include_usage":false}"#,
            Some(r#","stream":true,"stream_options":{"include_usage":true}"#),
        ),
        (
            r#","stream":true,"stream_options":{"include_usage":null}"#,
            Some(r#","stream":true,"stream_options":{"include_usage":true}"#),
        ),
        (
            r#","stream":true,"stream_options":{"include_obfuscation":false}"#,
            Some(r#","stream":true,"stream_options":{"include_obfuscation":false,"include_usage":true}"#),
        ),
        (r#","stream":true,"stream_options":{"include_usage":true}"#, None),
    ] {
        let body = chat(more);
        let facts = passes("openai", CHAT, &body);
        let after = String::from_utf8(facts.rewrite(body.as_bytes(), None)).expect("text");
        assert_eq!(after, chat(expected.unwrap_or(more)), "{more}");
        assert_eq!(facts.strips_usage_chunk, expected.is_some(), "{more}");
    }
    // The cap and the options, both put in at the end.
    let body = chat(r#","stream":true"#);
    let after = passes("openai", CHAT, &body).rewrite(body.as_bytes(), Some(7));
    let after: serde_json::Value = serde_json::from_slice(&after).expect("JSON");
    assert_eq!(after["max_completion_tokens"], 7);
    assert_eq!(after["stream_options"]["include_usage"], true);
    // Mistral tells without being asked, and takes no such member.
    assert!(passes("mistral", CHAT, &chat(r#","stream":true"#)).edits.is_empty());
}

#[test]
fn what_is_kept_in_a_cache_is_known() {
    let system = |control: &str| messages(&format!(r#","system":[{{"type":"text","text":"x"{control}}}]"#));
    for (control, expected) in [
        ("", CacheWrite::None),
        (r#","cache_control":{"type":"ephemeral"}"#, CacheWrite::FiveMinutes),
        (r#","cache_control":{"type":"ephemeral","ttl":"1h"}"#, CacheWrite::OneHour),
    ] {
        assert_eq!(passes("anthropic", MESSAGES, &system(control)).cache_write, expected, "{control}");
    }
    let point = r#"{"system":[{"text":"x"},{"cachePoint":{"type":"default"}}]}"#;
    assert_eq!(passes("bedrock", CONVERSE, point).cache_write, CacheWrite::OneHour);
    // Some that copy OpenAI's chat write caches on their own, and for longer only if they are told to.
    for (more, expected) in [
        ("", CacheWrite::FiveMinutes),
        (r#","user":"a\n\"cache_control\"""#, CacheWrite::FiveMinutes),
        (r#","cache_control":null"#, CacheWrite::FiveMinutes),
        (r#","cache_control":{"type":"ephemeral"}"#, CacheWrite::OneHour),
        (r#","cache\u005fcontrol":{"type":"ephemeral"}"#, CacheWrite::OneHour),
        (r#","metadata":{"a":[{"cache_control":1}]}"#, CacheWrite::OneHour),
        (r#","metadata":{"a":"\n","\u0063ache_control":1}"#, CacheWrite::OneHour),
    ] {
        assert_eq!(passes("openrouter", CHAT, &chat(more)).cache_write, expected, "{more}");
    }
}

/// A name that is written with escapes is the same name.
#[test]
fn escaped_names_hide_nothing() {
    let system =
        r#","system":[{"type":"text","text":"x","\u0063ache_control":{"type":"ephemeral","\u0074tl":"1h"}}]"#;
    assert_eq!(
        passes("anthropic", MESSAGES, &messages(system)).cache_write,
        CacheWrite::OneHour,
        "anthropic"
    );
    let point = r#"{"system":[{"text":"x"},{"\u0063achePoint":{"type":"default"}}]}"#;
    assert_eq!(passes("bedrock", CONVERSE, point).cache_write, CacheWrite::OneHour, "bedrock");
}

/// Arguments of tools and their results are JSON, of which numbers and marks are tokens too.
#[test]
fn numbers_in_tool_arguments_are_input() {
    let numbers = vec!["123456789"; 1_000].join(",");
    for (provider, path, body) in [
        (
            "anthropic",
            MESSAGES,
            format!(
                r#"{{"model":"claude-sonnet-4-5","messages":[{{"role":"assistant","content":[{{"type":"tool_use","id":"t","name":"f","input":{{"a":[{numbers}]}}}}]}}]}}"#
            ),
        ),
        (
            "google",
            GEMINI,
            format!(
                r#"{{"contents":[{{"role":"user","parts":[{{"functionResponse":{{"name":"f","response":{{"a":[{numbers}]}}}}}}]}}]}}"#
            ),
        ),
        (
            "bedrock",
            CONVERSE,
            format!(
                r#"{{"messages":[{{"role":"assistant","content":[{{"toolUse":{{"toolUseId":"t","name":"f","input":{{"a":[{numbers}]}}}}}}]}}]}}"#
            ),
        ),
        (
            "cohere",
            "/v1/chat",
            format!(
                r#"{{"model":"command-r-08-2024","message":"x","tool_results":[{{"call":{{"name":"f"}},"outputs":[{{"a":[{numbers}]}}]}}]}}"#
            ),
        ),
    ] {
        let held = passes(provider, path, &body).input.count(Unit::InputTokens);
        // Three digits are a token at best.
        assert!(held >= 4_000, "{provider}: {held}");
    }
}

#[test]
fn endpoints_without_a_cap() {
    let input = |provider, path, body: &str| {
        let facts = passes(provider, path, body);
        assert!(facts.output.is_none(), "{path}");
        facts.input
    };
    let embeddings = |list: &str| {
        let body =
            format!(r#"{{"model":"text-embedding-3-small","input":{list},"encoding_format":"base64"}}"#);
        input("openai", "/v1/embeddings", &body).count(Unit::InputTokens)
    };
    assert!(embeddings(r#""Hello""#) >= 5);
    assert_eq!(embeddings("[1,2,3,4]"), embeddings("[1,2]") + 2);
    assert!(embeddings("[[1,2,3],[4]]") >= 4);
    assert!(refused("openai", "/v1/embeddings", r#"{"model":"m","input":{"a":1}}"#).contains("input"));
    let speech = input("openai", "/v1/audio/speech", r#"{"model":"tts-1","input":"Hello","voice":"alloy"}"#);
    assert_eq!(speech.count(Unit::InputCharacters), 5);
    let images = input("openai", "/v1/images/generations", r#"{"model":"dall-e-3","prompt":"x","n":1}"#);
    assert_eq!(images.count(Unit::OutputImages), 1);
    let images = input("openai", "/v1/images/generations", r#"{"model":"gpt-image-1","prompt":"x","n":2}"#);
    assert_eq!(images.count(Unit::OutputImageTokens), 2 * 12_480);
    let documents = vec![r#""short""#; 201].join(",");
    let body = format!(r#"{{"model":"rerank-v3.5","query":"q","documents":[{documents}],"top_n":3}}"#);
    assert_eq!(input("cohere", "/v2/rerank", &body).count(Unit::RerankSearches), 3);
    let body =
        r#"{"model":"embed-v4.0","texts":["a","b"],"input_type":"search_query","embedding_types":["float"]}"#;
    assert!(input("cohere", "/v2/embed", body).count(Unit::InputTokens) >= 2);
    let batch =
        r#"{"requests":[{"model":"models/gemini-embedding-001","content":{"parts":[{"text":"Hi"}]}}]}"#;
    let path = "/v1beta/models/gemini-embedding-001:batchEmbedContents";
    assert!(input("google", path, batch).count(Unit::InputTokens) >= 2);
    let other = batch.replace("gemini-embedding-001", "gemini-other");
    assert!(matches!(ask("google", path, &other), Err(Refused::Malformed(_))));
}

#[test]
fn an_image_is_held_at_its_documented_maximum() {
    let part = r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}"#;
    let body = |model: &str| {
        format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":[{part},{part}]}}]}}"#)
    };
    for (model, each) in [("gpt-4o", 1_445), ("gpt-4o-mini", 48_169)] {
        let facts = passes("openai", CHAT, &body(model));
        assert!(facts.input.count(Unit::InputImageTokens) >= 2 * each, "{model}");
        assert!(!facts.is_plain_text, "{model}");
    }
    let claude = r#"{"model":"claude-sonnet-4-5","messages":[{"role":"user","content":[{"type":"image","source":
        {"type":"base64","media_type":"image/png","data":"AAAA"}}]}]}"#;
    assert!(passes("anthropic", MESSAGES, claude).input.count(Unit::InputImageTokens) >= 4_784);
}

proptest! {
    /// No body makes the reading panic, and what passes can be rewritten into JSON again.
    #[test]
    fn any_body_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80), more in "[\\[\\]{}:,\"a-z0-9\\\\ ]{0,60}") {
        for (provider, path) in [("openai", CHAT), ("openai", RESPONSES), ("anthropic", MESSAGES), ("google", GEMINI), ("cohere", "/v1/chat"), ("cohere", "/v2/rerank"), ("cohere", "/v2/chat"), ("bedrock", CONVERSE), ("bedrock", INVOKE), ("bedrock", NOVA), ("bedrock", LLAMA), ("google", EMBED)] {
            let _ = ask(provider, path, &String::from_utf8_lossy(&bytes));
            for body in [format!(r#"{{"model":"m",{more}}}"#), format!(r#"{{"model":"m","messages":[{more}]}}"#)] {
                if let Ok(facts) = ask(provider, path, &body) {
                    let after = facts.rewrite(body.as_bytes(), Some(1));
                    prop_assert!(serde_json::from_slice::<serde_json::Value>(&after).is_ok(), "{body}");
                }
            }
        }
    }
}
