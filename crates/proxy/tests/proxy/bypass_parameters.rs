//! Ways to what the parameters of a scope forbid.

use serde_json::{Value, json};

use super::bypass::{Ask, Bench, ask};

const DENIED: &str = "parameter_denied";
const MALFORMED: &str = "malformed_request";

fn rules(parameters: Value) -> Value {
    json!({"parameters": parameters})
}

fn chat(more: &str) -> Ask {
    ask("POST /v1/chat/completions", format!(r#"{{"model":"gpt-4o-mini","messages":[]{more}}}"#))
}

fn respond(more: &str) -> Ask {
    ask("POST /v1/responses", format!(r#"{{"model":"gpt-4o-mini","input":"hi"{more}}}"#))
}

fn claude(more: &str) -> Ask {
    let body = format!(
        r#"{{"model":"claude-haiku-4-5","max_tokens":90,"messages":[{{"role":"user","content":"hi"}}]{more}}}"#
    );
    ask("POST /v1/messages", body)
}

fn gemini(more: &str) -> Ask {
    let body = format!(r#"{{"contents":[{{"parts":[{{"text":"hi"}}]}}]{more}}}"#);
    ask("POST /v1beta/models/gemini-2.5-flash:generateContent", body)
}

fn denied(asks: &[Ask]) -> Vec<(Ask, &'static str)> {
    asks.iter().map(|ask| (ask.clone(), DENIED)).collect()
}

#[tokio::test]
async fn tools() {
    let bench = Bench::start().await;
    let scope = rules(json!({"tools": false}));
    let rows = denied(&[
        chat(r#","tools":[{"type":"function","function":{"name":"f"}}]"#),
        chat(r#","t\u006fols":[{"type":"function","function":{"name":"f"}}]"#),
        chat(r#","functions":[{"name":"f"}]"#),
        chat(r#","web_search_options":{}"#),
        respond(r#","tools":[{"type":"web_search"}]"#),
        respond(r#","tools":[{"type":"custom","name":"c"}]"#),
        ask(
            "POST /v1/responses",
            r#"{"model":"gpt-4o-mini","input":[{"type":"additional_tools","tools":[{"type":"function","name":"f"}]}]}"#,
        ),
        ask("POST /v1/responses/input_tokens", r#"{"model":"gpt-4o-mini","tools":[{"type":"function"}]}"#),
        ask("POST /v1/chat/completions", r#"{"model":"gpt-4o-search-preview","messages":[]}"#),
    ]);
    assert_eq!(bench.check("openai", scope.clone(), &chat(r#","tools":[]"#), &rows).await, 9);
    let rows = denied(&[
        claude(r#","tools":[{"name":"f","input_schema":{}}]"#),
        claude(r#","tools":[{"type":"web_search_20250305","name":"w"}]"#),
        claude(r#","mcp_servers":[{"type":"url","url":"https://x"}]"#),
        claude(r#","container":{"skills":[]}"#),
    ]);
    assert_eq!(bench.check("anthropic", scope.clone(), &claude(""), &rows).await, 4);
    let rows = denied(&[
        gemini(r#","tools":[{"functionDeclarations":[{"name":"f"}]}]"#),
        gemini(r#","tools":{"function_declarations":[{"name":"f"}]}"#),
        gemini(r#","tools":[{"google_search":{}}]"#),
    ]);
    assert_eq!(bench.check("google", scope.clone(), &gemini(""), &rows).await, 3);
    let converse = |more: &str| {
        let body = format!(r#"{{"messages":[{{"role":"user","content":[{{"text":"hi"}}]}}]{more}}}"#);
        ask("POST /model/us.anthropic.claude-haiku-4-5-20251001-v1:0/converse", body)
    };
    let tool = r#","toolConfig":{"tools":[{"toolSpec":{"name":"f","inputSchema":{"json":{}}}}]}"#;
    bench.check("bedrock", scope, &converse(""), &denied(&[converse(tool)])).await;
}

#[tokio::test]
async fn tools_that_the_provider_runs() {
    let bench = Bench::start().await;
    let scope = rules(json!({"hostedTools": false}));
    let function = r#","tools":[{"type":"function","name":"f","parameters":{}}]"#;
    let rows = denied(&[
        chat(r#","web_search_options":{}"#),
        ask("POST /v1/chat/completions", r#"{"model":"gpt-4o-search-preview","messages":[]}"#),
        respond(r#","tools":[{"type":"web_search"}]"#),
        respond(
            r#","tools":[{"type":"function","name":"f","parameters":{}},{"type":"mcp","server_url":"https://x"}]"#,
        ),
        respond(r#","tools":[{"type":"code_interpreter","container":{"type":"auto"}}]"#),
        respond(r#","tools":[{"type":"namespace","name":"n","tools":[{"type":"web_search"}]}]"#),
    ]);
    assert_eq!(bench.check("openai", scope.clone(), &respond(function), &rows).await, 6);
    let rows = denied(&[
        claude(r#","tools":[{"type":"web_fetch_20250910","name":"w"}]"#),
        claude(r#","mcp_servers":[{"type":"url","url":"https://x"}]"#),
    ]);
    let twin = claude(r#","tools":[{"name":"f","input_schema":{}}]"#);
    bench.check("anthropic", scope.clone(), &twin, &rows).await;
    let rows =
        denied(&[gemini(r#","tools":[{"urlContext":{}}]"#), gemini(r#","tools":[{"code_execution":{}}]"#)]);
    let twin = gemini(r#","tools":[{"functionDeclarations":[{"name":"f"}]}]"#);
    bench.check("google", scope.clone(), &twin, &rows).await;
    let sonar =
        |more: &str| ask("POST /chat/completions", format!(r#"{{"model":"sonar","messages":[]{more}}}"#));
    bench
        .check("perplexity", scope.clone(), &sonar(r#","disable_search":true"#), &denied(&[sonar("")]))
        .await;
    let grok =
        |more: &str| ask("POST /v1/chat/completions", format!(r#"{{"model":"grok-4","messages":[]{more}}}"#));
    let rows = denied(&[grok(r#","search_parameters":{"mode":"auto"}"#), grok(r#","search_parameters":{}"#)]);
    bench.check("xai", scope, &grok(r#","search_parameters":{"mode":"off"}"#), &rows).await;
}

#[tokio::test]
async fn keeping_what_is_said() {
    let bench = Bench::start().await;
    let scope = rules(json!({"store": false}));
    let mut rows = denied(&[
        respond(""),
        respond(r#","store":null"#),
        respond(r#","store":true"#),
        respond(r#","store":0"#),
        respond(r#","store":"false""#),
        respond(r#","store":false,"conversation":"conv_1""#),
        chat(r#","store":true"#),
        chat(r#","st\u006fre":true"#),
        ask("POST /v1/conversations", "{}"),
        ask("POST /v1/files", ""),
        ask("POST /v1/chat/completions/c", r#"{"metadata":{}}"#),
    ]);
    rows.push((respond(r#","store":false,"store":true"#), MALFORMED));
    assert_eq!(bench.check("openai", scope.clone(), &respond(r#","store":false"#), &rows).await, 12);
    bench.passes("openai", scope, &[chat(""), chat(r#","store":false"#), chat(r#","store":null"#)]).await;
}

#[tokio::test]
async fn images() {
    let bench = Bench::start().await;
    let scope = rules(json!({"imageInput": false}));
    let content = |part: &str| {
        let body = format!(
            r#"{{"model":"gpt-4o-mini","messages":[{{"role":"user","content":[{{"type":"text","text":"a"}},{part}]}}]}}"#
        );
        ask("POST /v1/chat/completions", body)
    };
    let input = |item: &str| {
        ask(
            "POST /v1/responses",
            format!(r#"{{"model":"gpt-4o-mini","input":[{{"role":"user","content":[{item}]}}]}}"#),
        )
    };
    let rows = denied(&[
        content(r#"{"type":"image_url","image_url":{"url":"https://x"}}"#),
        content(r#"{"type":"image\u005furl","image_url":{"url":"https://x"}}"#),
        content(r#"{"type":"file","file":{"file_id":"f"}}"#),
        input(r#"{"type":"input_image","file_id":"f"}"#),
        input(r#"{"type":"input_image","image_url":"data:"}"#),
        input(r#"{"type":"input_file","file_id":"f"}"#),
        respond(r#","previous_response_id":"resp_1""#),
    ]);
    let twin = content(r#"{"type":"text","text":"image_url"}"#);
    assert_eq!(bench.check("openai", scope.clone(), &twin, &rows).await, 7);
    let picture = r#"{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA"}}"#;
    let shown = ask(
        "POST /v1/messages",
        format!(
            r#"{{"model":"claude-haiku-4-5","max_tokens":9,"messages":[{{"role":"user","content":[{picture}]}}]}}"#
        ),
    );
    bench.check("anthropic", scope.clone(), &claude(""), &denied(&[shown])).await;
    let part = |part: &str| {
        ask(
            "POST /v1beta/models/gemini-2.5-flash:generateContent",
            format!(r#"{{"contents":[{{"parts":[{part}]}}]}}"#),
        )
    };
    let rows = denied(&[
        part(r#"{"inlineData":{"mimeType":"image/png","data":"AA"}}"#),
        part(r#"{"inline_data":{"mime_type":"image/png","data":"AA"}}"#),
        part(r#"{"fileData":{"fileUri":"https://x"}}"#),
    ]);
    bench.check("google", scope, &gemini(""), &rows).await;
}

#[tokio::test]
async fn values() {
    let bench = Bench::start().await;
    let scope =
        rules(json!({"values": {"service_tier": ["default", "flex"], "temperature": [0, 1], "n": [1]}}));
    let rows = denied(&[
        chat(r#","service_tier":"priority""#),
        chat(r#","service_tier":"Default""#),
        chat(r#","service_tier":"auto""#),
        chat(r#","s\u0065rvice_tier":"auto""#),
        chat(r#","temperature":0.5"#),
        chat(r#","temperature":"0""#),
        chat(r#","n":2"#),
    ]);
    let twin = chat(r#","service_tier":"flex","temperature":1,"n":1"#);
    assert_eq!(bench.check("openai", scope.clone(), &twin, &rows).await, 7);
    bench.passes("openai", scope, &[chat(""), chat(r#","service_tier":null"#)]).await;
    let scope = rules(json!({"values": {"serviceTier": ["standard"]}}));
    let rows = denied(&[gemini(r#","service_tier":"priority""#), gemini(r#","serviceTier":"priority""#)]);
    bench.check("google", scope, &gemini(r#","service_tier":"standard""#), &rows).await;
}

#[tokio::test]
async fn output() {
    let bench = Bench::start().await;
    let scope = rules(json!({"maxOutputTokens": 100}));
    let mut rows = denied(&[chat(r#","n":101"#), respond(r#","tools":[{"type":"image_generation"}]"#)]);
    rows.push((chat(r#","max_tokens":50,"max_completion_tokens":500"#), MALFORMED));
    rows.push((chat(r#","max_tokens":"50""#), MALFORMED));
    rows.push((chat(r#","max_tokens":-1"#), MALFORMED));
    rows.push((chat(r#","max_tokens":1e999"#), MALFORMED));
    bench.check("openai", scope.clone(), &chat(r#","max_tokens":50"#), &rows).await;
    let thinking = claude("").clone();
    let deep = claude(r#","thinking":{"type":"enabled","budget_tokens":2000}"#);
    bench.check("anthropic", scope.clone(), &thinking, &denied(&[deep])).await;

    for (ask, member, expected, clamped) in [
        (chat(r#","max_tokens":50"#), "max_tokens", json!(50), None),
        (chat(r#","max_tokens":500"#), "max_tokens", json!(100), Some("max_tokens=100")),
        (
            chat(r#","max_completion_tokens":500"#),
            "max_completion_tokens",
            json!(100),
            Some("max_completion_tokens=100"),
        ),
        (chat(""), "max_completion_tokens", json!(100), Some("max_completion_tokens=100")),
        (chat(r#","n":4"#), "max_completion_tokens", json!(25), Some("max_completion_tokens=25")),
        (
            chat(r#","max_tokens":null"#),
            "max_completion_tokens",
            json!(100),
            Some("max_completion_tokens=100"),
        ),
        (respond(r#","max_output_tokens":99"#), "max_output_tokens", json!(99), None),
        (
            respond(r#","tools":[{"type":"web_search"}]"#),
            "max_output_tokens",
            json!(100),
            Some("max_output_tokens=100"),
        ),
    ] {
        let (arrived, told) = bench.arrives("openai", scope.clone(), &ask).await;
        assert_eq!((&arrived[member], told.as_deref()), (&expected, clamped), "{ask:?}: {arrived}");
    }
    let (arrived, _) = bench.arrives("google", scope.clone(), &gemini("")).await;
    assert_eq!(arrived["generationConfig"]["maxOutputTokens"], 100);
    let (arrived, _) = bench.arrives("mistral", scope, &chat(r#","max_completion_tokens":500"#)).await;
    assert_eq!((&arrived["max_tokens"], &arrived["max_completion_tokens"]), (&json!(100), &Value::Null));
}
