//! Requests to Cohere.

use super::*;

#[test]
fn an_escaped_image_of_cohere_is_refused() {
    let body = r#"{"model":"command-a-vision-07-2025","messages":[{"role":"user","content":
        [{"type":"\u0069mage_url","\u0069mage_url":{"url":"https://example.com/a.png"}}]}]}"#;
    assert!(refused("cohere", "/v2/chat", body).starts_with("messages[0]"));
}

#[test]
fn messages_are_read_member_by_member() {
    let body = |message: &str| format!(r#"{{"model":"command-a-03-2025","messages":[{message}]}}"#);
    for message in [
        r#"{"role":"user","content":"Hi"}"#,
        r#"{"role":"assistant","content":[{"type":"thinking","thinking":"x"},{"type":"text","text":"y"}]}"#,
        r#"{"role":"assistant","tool_plan":"x","tool_calls":[{"id":"t","type":"function","function":{"name":"f","arguments":"{}"}}]}"#,
        r#"{"role":"tool","tool_call_id":"t","content":[{"type":"document","document":{"data":{"a":1}}}]}"#,
    ] {
        passes("cohere", "/v2/chat", &body(message));
    }
    for (message, what) in [
        (r#"{"role":"user","never_heard_of":1}"#, "messages[0].never_heard_of"),
        (r#"{"role":"user","content":[{"type":"audio"}]}"#, "messages[0].content.type"),
    ] {
        assert!(refused("cohere", "/v2/chat", &body(message)).starts_with(what), "{message}");
    }
    assert!(matches!(ask("cohere", "/v2/chat", &body("1")), Err(Refused::Malformed(_))));
}

#[test]
fn queries_of_a_rerank_may_be_as_long_as_real_ones() {
    let ask = |query: &str| {
        let document = "x".repeat(1_000);
        let documents = vec![format!(r#""{document}""#); 50].join(",");
        ask(
            "cohere",
            "/v2/rerank",
            &format!(r#"{{"model":"rerank-v3.5","query":"{query}","documents":[{documents}]}}"#),
        )
    };
    let units = |query: &str| ask(query).map(|facts| facts.input.count(Unit::RerankSearches));
    // Three chunks of each document, or ten when the query leaves less room.
    assert_eq!(units("short").expect("passes"), 2);
    assert_eq!(units(&"q".repeat(400)).expect("passes"), 5);
    assert!(units(&"q".repeat(451)).is_err());
    assert!(units(&"é".repeat(120)).is_err());
}
