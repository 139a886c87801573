//! Ways to another model than those of the scope.

use serde_json::json;

use super::bypass::{Ask, Bench, ask, ask_with};

const DENIED: &str = "model_denied";
const FIELD: &str = "parameter_denied";
const PATH: &str = "endpoint_denied";
const MALFORMED: &str = "malformed_request";

/// A chat request with more members.
fn chat(model: &str, more: &str) -> Ask {
    let body = format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"hi"}}]{more}}}"#);
    ask("POST /v1/chat/completions", body)
}

#[tokio::test]
async fn by_the_name_of_the_model() {
    let bench = Bench::start().await;
    let mut rows = Vec::new();
    for name in [
        "gpt-4o",
        "gpt-4o-mini-2024-07-18",
        "GPT-4o-mini",
        "gpt-4.1",
        "o3",
        "ft:gpt-4o-mini:x",
        "xgpt-4.1-mini",
    ] {
        rows.push((chat(name, ""), DENIED));
    }
    for name in [
        "gpt-4.1- x",
        "gpt-4.1-\\t",
        "gpt-4.1-\\u0000",
        "gpt-4.1-a,gpt-4o",
        "gpt-4.1-a|gpt-4o",
        "gpt-4.1-../gpt-4o",
        "gpt-4.1-a//gpt-4o",
        "gpt-4.1-%2e",
        "gpt-4.1-a?model=gpt-4o",
        "gpt-4.1-a#gpt-4o",
        "gpt-4.1-a&b",
        "gpt-4.1-\\\\gpt-4o",
        "gpt-4.1-\u{ff41}",
        "gpt-4.1-\u{202e}",
        "gpt-4.1-a;b",
        "",
    ] {
        rows.push((chat(name, ""), MALFORMED));
    }
    for body in [
        r#"{"messages":[]}"#,
        r#"{"model":null,"messages":[]}"#,
        r#"{"model":4,"messages":[]}"#,
        r#"{"model":["gpt-4o-mini"],"messages":[]}"#,
        r#"{"model":{"name":"gpt-4o-mini"},"messages":[]}"#,
        r#"{"model":true,"messages":[]}"#,
    ] {
        rows.push((ask("POST /v1/chat/completions", body), MALFORMED));
    }
    let scope = json!({"models": ["gpt-4o-mini", "gpt-4.1-*"]});
    assert_eq!(bench.check("openai", scope.clone(), &chat("gpt-4.1-mini", ""), &rows).await, 29);
    bench.passes("openai", scope, &[chat("gpt-4o-mini", ""), chat("gpt-4.1-nano-2025-04-14", "")]).await;
    bench.check("openai", json!({"models": ["*"]}), &chat("x", ""), &[(chat("", ""), MALFORMED)]).await;
}

#[tokio::test]
async fn by_a_body_that_is_read_differently() {
    let bench = Bench::start().await;
    let path = "POST /v1/chat/completions";
    let good = r#"{"model":"gpt-4o-mini","messages":[]}"#;
    let bad = r#"{"model":"gpt-4o","messages":[]}"#;
    let utf16: Vec<u8> = bad.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut rows = Vec::new();
    for body in [
        r#"{"model":"gpt-4o-mini","model":"gpt-4o","messages":[]}"#.to_owned(),
        r#"{"model":"gpt-4o","model":"gpt-4o-mini","messages":[]}"#.to_owned(),
        r#"{"model":"gpt-4o-mini","mod\u0065l":"gpt-4o","messages":[]}"#.to_owned(),
        r#"{"model":"gpt-4o-mini","messages":[{"role":"user","role":"user","content":""}]}"#.to_owned(),
        format!("\u{feff}{good}"),
        format!("{good}{bad}"),
        format!("{good}\n{bad}"),
        format!("{good}\0"),
        format!("[{good}]"),
        format!("{good},"),
        format!("/**/{good}"),
        "model=gpt-4o-mini".to_owned(),
        "'gpt-4o-mini'".to_owned(),
        String::new(),
        "null".to_owned(),
        "{".to_owned(),
        good.replace("\"messages\":[]", "\"temperature\":NaN"),
        good.replace("\"messages\":[]", "\"max_tokens\":1e999"),
        good.replace("\"messages\":[]", "\"max_tokens\":99999999999999999999999"),
        good.replace("\"messages\":[]", "\"max_tokens\":-1"),
        good.replace("\"messages\":[]", "\"n\":1.5"),
        good.replace("gpt-4o-mini", "gpt-4o-mini\\ud800"),
    ] {
        rows.push((ask(path, body), MALFORMED));
    }
    rows.push((ask(path, utf16), MALFORMED));
    rows.push((ask(path, b"{\"model\":\"gpt-4o-mini\",\"messages\":\"\xff\"}"), MALFORMED));
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/merge-patch+json",
        "application/json; charset=utf-16",
        "application/json; charset=\"utf-7\"",
        "application/json, text/plain",
    ] {
        rows.push((ask_with(path, &format!("content-type: {kind}\r\n"), good), MALFORMED));
    }
    let json_type = "content-type: application/json\r\n";
    for lines in [
        "content-type: text/plain\r\n",
        "content-encoding: gzip\r\n",
        "content-encoding: identity\r\n",
        "x-http-method-override: GET\r\n",
        "x-method-override: PUT\r\n",
    ] {
        rows.push((ask_with(path, &format!("{json_type}{lines}"), good), MALFORMED));
    }
    for query in
        ["model=gpt-4o", "MODEL=gpt-4o", "mod%65l=gpt-4o", "a=b&deployment=x", "engine=x", "$httpMethod=PUT"]
    {
        rows.push((ask(&format!("{path}?{query}"), good), MALFORMED));
    }
    let count = rows.len();
    let scope = json!({"models": ["gpt-4o-mini"]});
    assert_eq!(bench.check("openai", scope.clone(), &ask(path, good), &rows).await, count);
    assert_eq!(count, 42);
    let charset = ask_with(path, "content-type: application/json; charset=utf-8\r\n", good);
    bench.passes("openai", scope, &[ask_with(path, "", good), charset]).await;
}

#[tokio::test]
async fn by_members_that_name_or_hide_one() {
    let bench = Bench::start().await;
    let mut rows = Vec::new();
    for more in [
        r#""models":["gpt-4o"]"#,
        r#""Model":"gpt-4o""#,
        r#""route":"fallback""#,
        r#""preset":"p""#,
        r#""agent_id":"a""#,
        r#""plugins":[{"id":"auto-router"}]"#,
        r#""provider":{"order":["x"]}"#,
        r#""deferred":true"#,
        r#""documents":[]"#,
        r#""guardrails":[]"#,
        r#""fallbacks":[]"#,
        r#""extra_body":{"model":"gpt-4o"}"#,
        r#""prediction":{"type":"content","content":"x"}"#,
        r#""modalities":["audio"]"#,
        r#""audio":{"voice":"x"}"#,
        r#""engine":"gpt-4o""#,
        r#""deployment_id":"x""#,
        r#""tools":[{"type":"image_generation"}]"#,
        r#""tools":[{"type":"advisor"}]"#,
        r#""tools":[{"type":"web_search","model":"gpt-4o"}]"#,
        r#""tools":[{"type":"web_search","user":{"mod\u0065l":"gpt-4o"}}]"#,
        r#""tools":[{"type":5}]"#,
        r#""tools":[{}]"#,
        r#""web_search_options":{"model":"gpt-4o"}"#,
    ] {
        let code = if more.starts_with("\"models") { DENIED } else { FIELD };
        rows.push((chat("gpt-4o-mini", &format!(",{more}")), code));
    }
    // Whatever stands before it: nothing that passes hides what does not.
    rows.push((chat("gpt-4o-mini", r#","web_search_options":{},"route":"fallback""#), FIELD));
    rows.push((chat("gpt-4o-mini", r#","tools":[{"type":"web_search"},{"type":"advisor"}]"#), FIELD));
    let scope = json!({"models": ["gpt-4o-mini"]});
    let twin =
        chat("gpt-4o-mini", r#","tools":[{"type":"function","function":{"name":"f"}}],"temperature":0.5"#);
    assert_eq!(bench.check("openai", scope.clone(), &twin, &rows).await, 26);

    let respond = |more: &str| {
        ask("POST /v1/responses", format!(r#"{{"model":"gpt-4o-mini","input":"hi","store":false{more}}}"#))
    };
    let rows: Vec<(Ask, &str)> = [
        (r#","prompt":{"id":"pmpt_1"}"#, FIELD),
        (r#","models":["gpt-4o"]"#, DENIED),
        (r#","context_management":[{"type":"compaction"}]"#, FIELD),
        (r#","agent":"a""#, FIELD),
        (r#","tools":[{"type":"image_generation"}]"#, FIELD),
        (r#","tools":[{"type":"mcp","server_url":"https://x","model":"gpt-4o"}]"#, FIELD),
        (r#","tools":[{"type":"namespace","name":"n","tools":[{"type":"image_generation"}]}]"#, FIELD),
        (r#","tools":[{"type":"web_search"},{"type":"image_generation"}]"#, FIELD),
        (r#","background":true"#, PATH),
    ]
    .into_iter()
    .map(|(more, code)| (respond(more), code))
    .collect();
    assert_eq!(bench.check("openai", scope.clone(), &respond(""), &rows).await, 9);
    // What the provider runs without another model is understood, though nothing bounds it.
    let mcp = r#","tools":[{"type":"mcp","server_url":"https://x","server_label":"x"}]"#;
    let search = r#","tools":[{"type":"web_search"},{"type":"file_search","vector_store_ids":["v"]}]"#;
    bench
        .passes(
            "openai",
            scope,
            &[respond(mcp), respond(search), chat("gpt-4o-mini", r#","web_search_options":{}"#)],
        )
        .await;
    bench.passes("openai", json!({"models": ["gpt-4o-*"]}), &[chat("gpt-4o-search-preview", "")]).await;
}

#[tokio::test]
async fn by_other_endpoints() {
    let bench = Bench::start().await;
    let body = r#"{"model":"gpt-4o","input":"x","prompt":"x","voice":"x","messages":[]}"#;
    let rows: Vec<(Ask, &str)> = [
        ("POST /v1/completions", r#"{"model":"gpt-4o","prompt":"x"}"#, DENIED),
        ("POST /v1/embeddings", r#"{"model":"gpt-4o","input":"x"}"#, DENIED),
        ("POST /v1/moderations", r#"{"input":"x"}"#, DENIED),
        ("POST /v1/moderations", r#"{"model":"omni-moderation-latest","input":"x"}"#, DENIED),
        ("POST /v1/responses/input_tokens", r#"{"model":"gpt-4o","input":"x"}"#, DENIED),
        ("POST /v1/responses/input_tokens", r#"{"model":"gpt-4o-mini","model":"gpt-4o"}"#, MALFORMED),
        ("POST /v1/images/generations", r#"{"prompt":"x"}"#, ""),
        (
            "POST /v1/images/generations",
            r#"{"model":"gpt-image-1","prompt":"x","size":"1024x1024","quality":"low"}"#,
            DENIED,
        ),
        ("POST /v1/responses/compact", r#"{"model":"gpt-4o-mini","input":"x"}"#, FIELD),
        ("POST /v1/engines/gpt-4o/completions", body, PATH),
        ("POST /v1/Chat/Completions", body, PATH),
        ("PUT /v1/chat/completions", body, PATH),
        ("POST /v1/videos", body, PATH),
        ("POST /v1/threads/runs", body, PATH),
        ("POST /v1/assistants", body, PATH),
        ("POST /v1/batches", body, PATH),
        ("POST /v1/fine_tuning/jobs", body, PATH),
        ("POST /v1/evals", body, PATH),
        ("POST /v1/realtime/client_secrets", body, PATH),
        ("POST /v2/chat/completions", body, PATH),
        ("POST /v1/chat/completions;model=gpt-4o", body, MALFORMED),
        ("POST /v1/chat/%63ompletions", body, MALFORMED),
        ("POST /v1//chat/completions", body, MALFORMED),
        ("POST /v1/chat/completions/", body, ""),
        ("POST http://api.openai.com/v1/chat/completions", body, ""),
    ]
    .into_iter()
    .map(|(line, body, code)| (ask(line, body), code))
    .collect();
    let scope = json!({"models": ["gpt-4o-mini"]});
    assert_eq!(bench.check("openai", scope.clone(), &chat("gpt-4o-mini", ""), &rows).await, 25);
    let speech = ask("POST /v1/audio/speech", r#"{"model":"tts-1","input":"x","voice":"x"}"#);
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: \
                   dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let socket = ask_with("GET /v1/responses", upgrade, "");
    let rows = [(speech, DENIED), (socket, "websocket_unmetered")];
    bench.check("openai", scope.clone(), &ask("GET /v1/models", ""), &rows).await;
    let form = |model: &str| {
        format!(
            "--x\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n--x\r\ncontent-disposition: form-data; \
             name=\"file\"; filename=\"a.wav\"\r\n\r\nRIFF\r\n--x--\r\n"
        )
    };
    let twice = form("gpt-4o-mini-transcribe").replacen(
        "--x\r\n",
        "--x\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\ngpt-4o-transcribe\r\n--x\r\n",
        1,
    );
    let heard = |body: String| {
        ask_with("POST /v1/audio/transcriptions", "content-type: multipart/form-data; boundary=x\r\n", body)
    };
    let rows = [
        (heard(form("gpt-4o-transcribe")), DENIED),
        (heard(twice), MALFORMED),
        (heard(format!("--x\r\n\r\n{}", form("gpt-4o-mini-transcribe"))), MALFORMED),
    ];
    let twin = heard(form("gpt-4o-mini-transcribe"));
    bench.check("openai", json!({"models": ["gpt-4o-mini-transcribe"]}), &twin, &rows).await;
    bench
        .passes(
            "openai",
            scope,
            &[
                ask("GET /v1/models/gpt-4o", ""),
                ask("DELETE /v1/files/f", ""),
                ask("POST /v1/conversations", "{}"),
                ask("POST /v1/responses/input_tokens", r#"{"model":"gpt-4o-mini","input":"x"}"#),
            ],
        )
        .await;
}

#[tokio::test]
async fn at_other_providers() {
    let bench = Bench::start().await;
    let message = |more: &str| {
        format!(
            r#"{{"model":"claude-haiku-4-5","max_tokens":9,"messages":[{{"role":"user","content":"hi"}}]{more}}}"#
        )
    };
    let claude = |more: &str| ask("POST /v1/messages", message(more));
    let beta = |value: &str| {
        let lines = format!("content-type: application/json\r\nanthropic-beta: {value}\r\n");
        ask_with("POST /v1/messages", &lines, message(""))
    };
    let rows = [
        (ask("POST /v1/messages", message("").replace("haiku", "opus")), DENIED),
        (claude(r#","fallbacks":[{"model":"claude-opus-4-5"}]"#), FIELD),
        (claude(r#","thread":{"id":"t"}"#), FIELD),
        (claude(r#","compaction":{}"#), FIELD),
        (claude(r#","context_management":{"edits":[{"type":"compact_20260112"}]}"#), FIELD),
        (
            claude(r#","tools":[{"type":"advisor_20260301","name":"advisor","model":"claude-opus-4-5"}]"#),
            FIELD,
        ),
        (claude(r#","tools":[{"type":"advisor_20260301","name":"advisor"}]"#), FIELD),
        (claude(r#","tools":[{"type":"web_search_20250305","name":"w","model":"claude-opus-4-5"}]"#), FIELD),
        (claude(r#","tools":[{"type":"agent_20260101","name":"a"}]"#), FIELD),
        (claude(r#","mcp_servers":[{"type":"url","url":"https://x","model":"y"}]"#), FIELD),
        (claude(r#","agents":[]"#), FIELD),
        (beta("subagents-2026-01-01"), FIELD),
        (beta("server-side-fallback-2026-01-01"), FIELD),
        (ask("POST /v1/messages/count_tokens", r#"{"model":"claude-opus-4-5","messages":[]}"#), DENIED),
        (ask("POST /v1/messages/count_tokens", r#"{"messages":[]}"#), DENIED),
        (ask("POST /v1/complete", message("")), PATH),
        (ask("POST /v1/messages/batches", message("")), PATH),
    ];
    let scope = json!({"models": ["claude-haiku-4-5"]});
    assert_eq!(bench.check("anthropic", scope.clone(), &claude(""), &rows).await, 17);
    let search = r#","tools":[{"type":"web_search_20250305","name":"web_search","max_uses":2}]"#;
    let code = r#","tools":[{"type":"code_execution_20250825","name":"code_execution"}]"#;
    bench.passes("anthropic", scope, &[claude(search), claude(code)]).await;

    let flash = "POST /v1beta/models/gemini-2.5-flash";
    let text = |more: &str| format!(r#"{{"contents":[{{"parts":[{{"text":"hi"}}]}}]{more}}}"#);
    let generate = |more: &str| ask(&format!("{flash}:generateContent"), text(more));
    let rows = [
        (ask("POST /v1beta/models/gemini-2.5-pro:generateContent", text("")), DENIED),
        (ask("POST /v1beta/models/GEMINI-2.5-flash:generateContent", text("")), ""),
        (ask("POST /v1/models/gemini-2.5-pro:streamGenerateContent?alt=sse", text("")), DENIED),
        (ask("POST /v1beta/models/gemini-2.5-flash:x:generateContent", text("")), DENIED),
        (ask(&format!("{flash}:batchGenerateContent"), text("")), PATH),
        (ask("POST /v1beta/tunedModels/gemini-2.5-flash:generateContent", text("")), PATH),
        (ask("POST /v1beta/openai/chat/completions", r#"{"model":"gemini-2.5-flash","messages":[]}"#), PATH),
        (generate(r#","model":"models/gemini-2.5-pro""#), MALFORMED),
        (generate(r#","model":"gemini-2.5-pro""#), MALFORMED),
        (generate(r#","model":7"#), MALFORMED),
        (generate(r#","system_instruction":{"parts":[]},"systemInstruction":{"parts":[]}"#), MALFORMED),
        (generate(r#","tools":[{"agent":{}}]"#), FIELD),
        (generate(r#","tools":[{"googleSearch":{"model":"x"}}]"#), FIELD),
        (generate(r#","agentConfig":{}"#), FIELD),
        (ask("POST /v1beta/models/gemini-2.5-pro:countTokens", text("")), DENIED),
        (
            ask(
                &format!("{flash}:countTokens"),
                r#"{"generateContentRequest":{"model":"models/gemini-2.5-pro","contents":[]}}"#,
            ),
            MALFORMED,
        ),
        (ask(&format!("{flash}:generateContent?$httpMethod=PUT"), text("")), MALFORMED),
        (ask("POST /v1beta/models/gemini%2d2.5-flash:generateContent", text("")), MALFORMED),
    ];
    let scope = json!({"models": ["gemini-2.5-flash"]});
    let twin = generate(r#","model":"models/gemini-2.5-flash","tools":[{"googleSearch":{}}]"#);
    assert_eq!(bench.check("google", scope, &twin, &rows).await, 18);

    let converse = |model: &str| {
        ask(
            &format!("POST /model/{model}/converse"),
            r#"{"messages":[{"role":"user","content":[{"text":"hi"}]}],"inferenceConfig":{"maxTokens":9}}"#,
        )
    };
    let invoke = |more: &str| {
        let body =
            message("").replace(r#""model":"claude-haiku-4-5","#, "").replace("]}", &format!("]{more}}}"));
        ask("POST /model/us.anthropic.claude-haiku-4-5-20251001-v1:0/invoke", body)
    };
    let arn = "arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3A";
    let rows = [
        (converse("us.anthropic.claude-opus-4-5-20251101-v1:0"), DENIED),
        (converse(&format!("{arn}application-inference-profile%2Fabc")), DENIED),
        (converse(&format!("{arn}prompt%2Fabc")), DENIED),
        (converse(&format!("{arn}default-prompt-router%2Fanthropic.claude-haiku")), DENIED),
        (converse(&format!("{arn}provisioned-model%2Fus.anthropic.claude-haiku-4-5")), DENIED),
        (converse(&format!("{arn}inference-profile%2Fus.anthropic.claude-opus-4-5-20251101-v1:0")), DENIED),
        (invoke(r#","model":"claude-opus-4-5""#), MALFORMED),
        (invoke(r#","fallbacks":[]"#), FIELD),
    ];
    let scope = json!({"models": ["us.anthropic.claude-haiku-*"]});
    let twin = converse(&format!("{arn}inference-profile%2Fus.anthropic.claude-haiku-4-5-20251001-v1:0"));
    assert_eq!(bench.check("bedrock", scope, &twin, &rows).await, 8);
}

#[tokio::test]
async fn by_routers_and_deployments() {
    let bench = Bench::start().await;
    let router = |model: &str, more: &str| {
        ask("POST /api/v1/chat/completions", format!(r#"{{"model":"{model}","messages":[]{more}}}"#))
    };
    let rows = [
        (router("openai/gpt-4o", ""), DENIED),
        (router("openai/gpt-4o-mini:online", ""), DENIED),
        (router("openai/gpt-4o-mini:floor", ""), DENIED),
        (router("openrouter/auto", ""), DENIED),
        (router("openai/gpt-4o-mini@preset/x", ""), DENIED),
        (router("@preset/x", ""), DENIED),
        (router("openai/gpt-4o-mini", r#","models":["openai/gpt-4o"]"#), DENIED),
        (router("openai/gpt-4o-mini", r#","preset":"x""#), FIELD),
        (router("openai/gpt-4o-mini", r#","route":"fallback""#), FIELD),
        (router("openai/gpt-4o-mini", r#","plugins":[{"id":"auto-router"}]"#), FIELD),
    ];
    let scope = json!({"models": ["openai/gpt-4o-mini", "openrouter/*", "@preset/*"]});
    let twin = router("openai/gpt-4o-mini", r#","provider":{"order":["azure"]}"#);
    assert_eq!(bench.check("openrouter", scope, &twin, &rows).await, 10);

    let azure = |path: &str, model: &str| {
        ask(&format!("POST /openai/{path}"), format!(r#"{{"model":"{model}","messages":[]}}"#))
    };
    let rows = [
        (azure("deployments/big/chat/completions?api-version=2024-10-21", "small"), PATH),
        (azure("v1/chat/completions", "big"), DENIED),
        (azure("v1/chat/completions", "model-router"), DENIED),
        (azure("v1/chat/completions?deployment=big", "small"), MALFORMED),
    ];
    let scope = json!({"models": ["small", "model-router"]});
    assert_eq!(bench.check("azure-openai", scope, &azure("v1/chat/completions", "small"), &rows).await, 4);

    let chat = |path: &str, model: &str, more: &str| {
        ask(&format!("POST {path}"), format!(r#"{{"model":"{model}","messages":[]{more}}}"#))
    };
    let groq = "/openai/v1/chat/completions";
    let rows = [
        (chat(groq, "groq/compound", ""), DENIED),
        (chat(groq, "x", r#","compound_custom":{"models":{"reasoning_model":"y"}}"#), FIELD),
    ];
    bench.check("groq", json!({"models": ["x", "groq/*"]}), &chat(groq, "x", ""), &rows).await;
    let cohere =
        |more: &str| ask("POST /v1/chat", format!(r#"{{"model":"command-r","message":"hi"{more}}}"#));
    let rows = [
        (cohere(r#","conversation_id":"c""#), FIELD),
        (cohere(r#","connectors":[{"id":"x","options":{"model":"y"}}]"#), FIELD),
        (ask("POST /v1/tokenize", r#"{"model":"command-a","text":"x"}"#), DENIED),
        (ask("POST /v1/chat", r#"{"message":"hi"}"#), MALFORMED),
    ];
    let twin = cohere(r#","connectors":[{"id":"web-search"}]"#);
    bench.check("cohere", json!({"models": ["command-r"]}), &twin, &rows).await;
    let rows = [(ask("POST /v1/agents/completions", r#"{"agent_id":"a","messages":[]}"#), PATH)];
    let twin = chat("/v1/chat/completions", "m", "");
    bench.check("mistral", json!({"models": ["m"]}), &twin, &rows).await;
}
