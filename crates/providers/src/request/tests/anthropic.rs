//! Requests to Claude.

use super::*;

#[test]
fn thinking_needs_a_cap_above_its_budget() {
    let body = messages(r#","max_tokens":4000,"thinking":{"type":"enabled","budget_tokens":2048}"#);
    let facts = passes("anthropic", MESSAGES, &body);
    assert_eq!(facts.output.as_ref().expect("an output").min, 2049);
    let demand = demand(&facts, None, false, AT, true).expect("a demand");
    assert_eq!((demand.steps_min, demand.steps_wanted), (2049, 4000));
    let adaptive =
        passes("anthropic", MESSAGES, &messages(r#","max_tokens":9,"thinking":{"type":"adaptive"}"#));
    assert_eq!(adaptive.output.expect("an output").min, 1);
    let wrong = refused("anthropic", MESSAGES, &messages(r#","thinking":{"budget_tokens":"9"}"#));
    assert!(wrong.contains("thinking.budget_tokens"), "{wrong}");
    let converse = r#"{"additionalModelRequestFields":{"thinking":{"type":"enabled","budget_tokens":1024}}}"#;
    assert_eq!(passes("bedrock", CONVERSE, converse).output.expect("an output").min, 1025);
}

#[test]
fn betas_that_start_something_billed_are_refused() {
    for (value, expected) in [
        ("claude-code-20250219,interleaved-thinking-2025-05-14", true),
        ("prompt-caching-2024-07-31, token-efficient-tools-2025-02-19", true),
        ("context-1m-2025-08-07", true),
        ("", true),
        ("mcp-client-2025-04-04", false),
        ("code-execution-2025-05-22", false),
        ("claude-code-20250219,never-heard-of-2026-01-01", false),
        ("CLAUDE-CODE-20250219x", false),
    ] {
        let answer = ask_with("anthropic", MESSAGES, &[("anthropic-beta", value)], &messages(""));
        assert_eq!(answer.is_ok(), expected, "{value}: {answer:?}");
    }
    let two = [("anthropic-beta", "effort-2025-11-24"), ("anthropic-beta", "mcp-client-2025-04-04")];
    let answer = ask_with("anthropic", MESSAGES, &two, &messages(""));
    assert!(matches!(answer, Err(Refused::Unbounded { what, .. }) if what.contains("mcp-client")));
}

/// As version 2.1.197 sends it, with fewer tools.
#[test]
fn claude_code_passes() {
    const BETAS: &str = "claude-code-20250219,interleaved-thinking-2025-05-14,thinking-token-count-2026-05-13,\
                         context-management-2025-06-27,prompt-caching-scope-2026-01-05,effort-2025-11-24";
    let body = r#"{"model":"claude-opus-4-6","messages":[{"role":"user","content":[{"type":"text","text":"Hi"},
        {"type":"text","text":"there","cache_control":{"type":"ephemeral"}}]}],
        "system":[{"type":"text","text":"You are"},{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}],
        "tools":[{"name":"Bash","description":"Runs","input_schema":{"type":"object","properties":{}}}],
        "metadata":{"user_id":"u"},"max_tokens":64000,"thinking":{"type":"adaptive"},
        "context_management":{"edits":[{"type":"clear_thinking_20251015","keep":"all"}]},
        "output_config":{"effort":"high"},"stream":true}"#;
    let facts = ask_with("anthropic", MESSAGES, &[("anthropic-beta", BETAS)], body);
    let facts = facts.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(facts.cache_write, CacheWrite::FiveMinutes);
}

/// `computer_*` is a tool that the client runs; the API takes it only with this value.
#[test]
fn the_beta_value_of_a_tool_that_passes_passes() {
    let body = messages(
        r#","tools":[{"type":"computer_20250124","name":"computer","display_width_px":9,"display_height_px":9}]"#,
    );
    let answer = ask_with("anthropic", MESSAGES, &[("anthropic-beta", "computer-use-2025-01-24")], &body);
    assert!(answer.is_ok(), "{answer:?}");
}

#[test]
fn an_image_inside_of_a_document_is_no_text() {
    let body = r#"{"model":"claude-sonnet-4-5","messages":[{"role":"user","content":[{"type":"document","source":
        {"type":"content","content":[{"type":"image","source":{"type":"url","url":"https://example.com/a.png"}}]}}]}]}"#;
    match ask("anthropic", MESSAGES, body) {
        Ok(facts) => assert!(facts.input.count(Unit::InputTokens) >= 4_784, "{:?}", facts.input),
        Err(error) => assert!(matches!(error, Refused::Unbounded { .. })),
    }
}
