//! Requests to Cohere.

use super::*;

#[test]
fn an_escaped_image_of_cohere_is_refused() {
    let body = r#"{"model":"command-a-vision-07-2025","messages":[{"role":"user","content":
        [{"type":"\u0069mage_url","\u0069mage_url":{"url":"https://example.com/a.png"}}]}]}"#;
    assert!(refused("cohere", "/v2/chat", body).starts_with("messages[0]"));
}
