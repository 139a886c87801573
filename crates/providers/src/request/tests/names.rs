//! Names that are known, however they are written, and those that configuration adds.

use super::*;
use crate::neutral::{Neutral, NeutralThing};

/// A JSON text in which every name is written with an escape.
fn escaped(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(members) => {
            let member = |(name, value): (&String, &serde_json::Value)| {
                let mut rest = name.chars();
                let first = rest.next().map_or(String::new(), |first| format!("\\u{:04x}", u32::from(first)));
                format!("\"{first}{}\":{}", rest.as_str(), escaped(value))
            };
            format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
        }
        serde_json::Value::Array(items) => {
            format!("[{}]", items.iter().map(escaped).collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

/// However the names in a body are written, it is understood as the same.
#[test]
fn names_are_the_same_with_escapes() {
    let thinking = r#","thinking":{"type":"enabled","budget_tokens":2000},"max_tokens":4000"#;
    for (provider, path, body) in [
        ("anthropic", MESSAGES, messages(thinking)),
        (
            "anthropic",
            MESSAGES,
            messages(r#","system":[{"type":"text","text":"x","cache_control":{"ttl":"1h"}}]"#),
        ),
        ("anthropic", MESSAGES, messages(r#","context_management":{"edits":[{"type":"compact_20260112"}]}"#)),
        ("anthropic", MESSAGES, messages(r#","tools":[{"type":"web_search_20250305","name":"w"}]"#)),
        ("anthropic", MESSAGES, messages(r#","mcp_servers":[]"#)),
        ("google", GEMINI, r#"{"generationConfig":{"maxOutputTokens":9,"candidateCount":3}}"#.to_owned()),
        ("google", GEMINI, r#"{"tools":[{"googleSearch":{}}]}"#.to_owned()),
        ("google", GEMINI, r#"{"contents":[{"parts":[{"fileData":{"fileUri":"x"}}]}]}"#.to_owned()),
        ("bedrock", CONVERSE, r#"{"system":[{"cachePoint":{"type":"default"}}]}"#.to_owned()),
        (
            "bedrock",
            CONVERSE,
            r#"{"messages":[{"content":[{"document":{"format":"pdf","source":{"bytes":""}}}]}]}"#.to_owned(),
        ),
        (
            "bedrock",
            CONVERSE,
            r#"{"additionalModelRequestFields":{"thinking":{"budget_tokens":1024}}}"#.to_owned(),
        ),
        ("bedrock", INVOKE, r#"{"anthropic_version":"x","anthropic_beta":["never-heard-of"]}"#.to_owned()),
        (
            "bedrock",
            NOVA,
            r#"{"messages":[{"content":[{"image":{}}]}],"inferenceConfig":{"maxTokens":9}}"#.to_owned(),
        ),
        (
            "cohere",
            "/v2/chat",
            r#"{"model":"command-r","messages":[{"content":[{"type":"image_url"}]}]}"#.to_owned(),
        ),
        ("cohere", "/v1/chat", r#"{"model":"command-r","message":"x","connectors":[]}"#.to_owned()),
    ] {
        let value: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        match (ask(provider, path, &body), ask(provider, path, &escaped(&value))) {
            (Ok(plain), Ok(other)) => {
                assert_eq!(plain.input, other.input, "{body}");
                assert_eq!(plain.cache_write, other.cache_write, "{body}");
                let cap = |facts: &RequestFacts| {
                    facts.output.as_ref().map(|output| (output.requested, output.min, output.outputs))
                };
                assert_eq!(cap(&plain), cap(&other), "{body}");
            }
            (Err(plain), Err(other)) => assert_eq!(plain, other, "{body}"),
            (plain, other) => panic!("{body}: {plain:?}, but escaped {other:?}"),
        }
    }
}

/// What configuration adds to the tables passes.
#[test]
fn rows_of_configuration_count() {
    let ask = |id: &str, path: &str, headers: &Fields, body: &str, what: NeutralThing| {
        let mut provider = REGISTRY.get(id).expect("built in").clone();
        provider.neutral = vec![Neutral { provider: id.to_owned(), what }];
        let path =
            provider.final_path(&RawPath::parse(path.as_bytes()).expect("a path")).expect("a good path");
        let question = Question {
            provider: &provider,
            method: &Method::POST,
            path: &path,
            query: None,
            headers,
            body: body.as_bytes(),
        };
        facts(&question, &PRICES)
    };
    let field = || NeutralThing::Field("new_thing".to_owned());
    let tool = || NeutralThing::Tool("new_tool".to_owned());
    let none = Fields::default();
    let mut beta = Fields::default();
    beta.push("anthropic-beta", "new-beta-2027-01-01");
    for (id, path, headers, body, what) in [
        ("anthropic", MESSAGES, &none, messages(r#","new_thing":1"#), field()),
        ("anthropic", MESSAGES, &none, messages(r#","tools":[{"type":"new_tool","name":"x"}]"#), tool()),
        ("anthropic", MESSAGES, &beta, messages(""), NeutralThing::Beta("new-beta-2027-01-01".to_owned())),
        ("google", GEMINI, &none, r#"{"new_thing":1}"#.to_owned(), field()),
        ("google", GEMINI, &none, r#"{"tools":[{"new_tool":{}}]}"#.to_owned(), tool()),
        ("google", EMBED, &none, r#"{"new_thing":1}"#.to_owned(), field()),
        ("bedrock", CONVERSE, &none, r#"{"new_thing":1}"#.to_owned(), field()),
        ("bedrock", CONVERSE, &none, r#"{"toolConfig":{"tools":[{"new_tool":{}}]}}"#.to_owned(), tool()),
        ("bedrock", LLAMA, &none, r#"{"prompt":"x","new_thing":1}"#.to_owned(), field()),
        (
            "cohere",
            "/v2/chat",
            &none,
            r#"{"model":"command-r","messages":[],"new_thing":1}"#.to_owned(),
            field(),
        ),
        (
            "cohere",
            "/v2/embed",
            &none,
            r#"{"model":"embed-v4.0","texts":[],"new_thing":1}"#.to_owned(),
            field(),
        ),
    ] {
        let other = NeutralThing::Field("another".to_owned());
        assert!(ask(id, path, headers, &body, other).is_err(), "{id} {body}");
        let answer = ask(id, path, headers, &body, what);
        assert!(answer.is_ok(), "{id} {body}: {answer:?}");
    }
}
