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

/// A message of a user with these blocks, and more members of the body.
fn blocks(blocks: &str, more: &str) -> String {
    format!(
        r#"{{"model":"claude-sonnet-4-5","max_tokens":9,"messages":[{{"role":"user","content":[{blocks}]}}]{more}}}"#
    )
}

fn input(body: &str) -> u64 {
    passes("anthropic", MESSAGES, body).input.count(Unit::InputTokens)
}

/// What has no size here is at most what one pass takes in.
#[test]
fn files_are_bounded_by_the_window() {
    for source in [
        r#"{"type":"base64","media_type":"application/pdf","data":"JVBERi0="}"#,
        r#"{"type":"url","url":"https://example.com/a.pdf"}"#,
        r#"{"type":"file","file_id":"f"}"#,
    ] {
        let body = blocks(&format!(r#"{{"type":"document","source":{source}}}"#), "");
        let facts = passes("anthropic", MESSAGES, &body);
        assert_eq!(facts.input.count(Unit::InputTokens), 200_000, "{source}");
        assert!(!facts.is_plain_text);
        let long = body.replace("claude-sonnet-4-5", "claude-opus-5-5");
        assert_eq!(input(&long), 1_000_000, "{source}");
        // The same model takes in more when it is asked to.
        let beta = [("anthropic-beta", "context-1m-2025-08-07")];
        let facts = ask_with("anthropic", MESSAGES, &beta, &body).expect("passes");
        assert_eq!(facts.input.count(Unit::InputTokens), 1_000_000, "{source}");
    }
    // A model without a window, and one whose longer input has no price.
    let nobody = blocks(r#"{"type":"container_upload","file_id":"f"}"#, "");
    assert!(
        refused("anthropic", MESSAGES, &nobody.replace("claude-sonnet-4-5", "claude-instant-nobody"))
            .starts_with("messages[0]")
    );
    let beta = [("anthropic-beta", "context-1m-2025-08-07")];
    let old = messages("").replace("claude-sonnet-4-5", "claude-sonnet-4-0");
    assert!(matches!(
        ask_with("anthropic", MESSAGES, &beta, &old),
        Err(Refused::Unbounded { what, .. }) if what.contains("context-1m")
    ));
    // Text and pictures have a size.
    let text = r#"{"type":"document","source":{"type":"text","media_type":"text/plain","data":"Hello"}}"#;
    assert!(input(&blocks(text, "")) < 2_000);
    let image = r#"{"type":"image","source":{"type":"file","file_id":"f"}}"#;
    assert!((4_784..20_000).contains(&input(&blocks(image, ""))));
}

/// Blocks of earlier answers are input like any other, as long as no tool of the provider is given.
#[test]
fn history_passes() {
    let plain = r#"{"type":"server_tool_use","id":"s","name":"code_execution","input":{"code":"print(1)"}},
        {"type":"code_execution_tool_result","tool_use_id":"s","content":{"type":"code_execution_result","stdout":"1",
        "stderr":"","return_code":0,"content":[]}},
        {"type":"mcp_tool_use","id":"m","name":"n","server_name":"x","input":{}},
        {"type":"mcp_tool_result","tool_use_id":"m","is_error":false,"content":[{"type":"text","text":"x"}]},
        {"type":"fallback","from":{"model":"a"},"to":{"model":"b"}}"#;
    assert!(input(&blocks(plain, "")) < 10_000);
    let sealed = r#"{"type":"web_search_tool_result","tool_use_id":"s","content":[{"type":"web_search_result",
        "url":"u","title":"t","encrypted_content":"E","page_age":null}]}"#;
    assert_eq!(input(&blocks(sealed, "")), 200_000);
    let found = r#"{"type":"compaction","content":"Before, this was said."}"#;
    assert_eq!(input(&blocks(found, "")), 200_000);
    for (block, what) in [
        (r#"{"type":"never_heard_of"}"#, "messages[0].content[0].type"),
        (r#"{"text":"x"}"#, "messages[0].content[0].type"),
    ] {
        assert!(refused("anthropic", MESSAGES, &blocks(block, "")).starts_with(what), "{block}");
    }
    let tools = r#","tools":[{"type":"code_execution_20260120","name":"code_execution"}]"#;
    assert!(refused("anthropic", MESSAGES, &blocks(plain, tools)).starts_with("tools[0].type"));
}

/// A search of the client puts descriptions of tools into the conversation, each time it finds them.
#[test]
fn tools_that_are_found_are_counted_where_they_are_found() {
    let tools = format!(
        r#","tools":[{{"name":"f","description":"{}","input_schema":{{"type":"object"}},"defer_loading":true}},
        {{"name":"g","input_schema":{{"type":"object"}}}}]"#,
        "x".repeat(1_000)
    );
    let result = |names: &[&str]| {
        let found: Vec<_> =
            names.iter().map(|name| format!(r#"{{"type":"tool_reference","tool_name":"{name}"}}"#)).collect();
        input(&blocks(
            &format!(r#"{{"type":"tool_result","tool_use_id":"t","content":[{}]}}"#, found.join(",")),
            &tools,
        ))
    };
    let none = result(&[]);
    assert!(result(&["f"]) >= none + 2_000);
    assert!(result(&["f", "f"]) >= none + 4_000);
    assert!(result(&["g"]) < none + 1_000);
    // One that is not given may be any.
    assert!(result(&["h"]) >= none + 2_000);
    let listed = r#"{"type":"tool_search_tool_result","tool_use_id":"t","content":
        {"type":"tool_search_tool_search_result","tool_references":[{"type":"tool_reference","tool_name":"f"}]}}"#;
    assert!(input(&blocks(listed, &tools)) >= input(&blocks("", &tools)) + 2_000);
}

#[test]
fn tools_in_the_middle_are_looked_at_too() {
    let addition = |tool: &str| blocks(&format!(r#"{{"type":"tool_addition","tool":{tool}}}"#), "");
    let own = r#"{"type":"tool_definition","definition":{"name":"f","input_schema":{"type":"object"}}}"#;
    assert!(input(&addition(own)) > 2_048);
    passes("anthropic", MESSAGES, &addition(r#"{"type":"tool_reference","name":"f"}"#));
    for (tool, what) in [
        (
            r#"{"type":"tool_definition","definition":{"type":"web_search_20260318","name":"web_search"}}"#,
            "messages[0].content[0].tool.definition.type",
        ),
        (r#"{"type":"mcp_toolset_reference","mcp_server_name":"x"}"#, "messages[0].content[0].tool.type"),
        (
            r#"{"type":"tool_definition","definition":{"\u0074ype":"mcp_toolset"}}"#,
            "messages[0].content[0].tool",
        ),
    ] {
        assert!(refused("anthropic", MESSAGES, &addition(tool)).starts_with(what), "{tool}");
    }
    let compaction = r#"{"type":"compaction","tool_changes":[{"type":"tool_addition","tool":{"type":"tool_definition",
        "definition":{"type":"advisor_20260301","name":"advisor"}}}]}"#;
    assert!(refused("anthropic", MESSAGES, &blocks(compaction, "")).contains("advisor"));
}

#[test]
fn only_edits_that_clear_pass() {
    let edits = |edits: &str| messages(&format!(r#","context_management":{{"edits":[{edits}]}}"#));
    for kind in ["clear_tool_uses_20250919", "clear_thinking_20251015"] {
        passes("anthropic", MESSAGES, &edits(&format!(r#"{{"type":"{kind}"}}"#)));
    }
    for kind in ["compact_20260112", "never_heard_of", ""] {
        let what = refused("anthropic", MESSAGES, &edits(&format!(r#"{{"type":"{kind}"}}"#)));
        assert!(what.starts_with("context_management.edits[0].type"), "{what}");
    }
    for member in ["compaction", "thread", "fallbacks", "container", "mcp_servers"] {
        assert_eq!(refused("anthropic", MESSAGES, &messages(&format!(r#","{member}":{{}}"#))), member);
    }
}

#[test]
fn values_of_the_wrong_kind_say_nothing() {
    for member in
        [r#""service_tier":1"#, r#""speed":["fast"]"#, r#""inference_geo":{"us":1}"#, r#""tools":{}"#]
    {
        let answer = ask("anthropic", MESSAGES, &messages(&format!(",{member}")));
        assert!(matches!(answer, Err(Refused::Malformed(_))), "{member}");
    }
    let other = refused("anthropic", MESSAGES, &messages(r#","output_config":{"never_heard_of":1}"#));
    assert_eq!(other, "output_config.never_heard_of");
}

/// To be served in one country costs a tenth more, and a workspace may do so if nothing is said.
#[test]
fn where_it_is_served_is_in_the_price() {
    let picos = |geo: &str| {
        let facts = passes("anthropic", MESSAGES, &messages(&format!(r#","max_tokens":1000{geo}"#)));
        let price = PRICES.find("anthropic", "claude-sonnet-4-5");
        let demand = demand(&facts, price, true, AT, true).expect("a demand");
        (demand.picos_fixed, demand.picos_per_step)
    };
    let global = picos(r#","inference_geo":"global""#);
    let dearer = (global.0 * 11 / 10, global.1 * 11 / 10);
    assert_eq!((picos(""), picos(r#","inference_geo":"us""#)), (dearer, dearer));
}
