//! Requests to Bedrock.

use super::*;

#[test]
fn an_escaped_cap_in_additional_fields_is_refused() {
    let fields = r#"{"additionalModelRequestFields":{"inferenceConfig":{"\u006dax_new_tokens":9000}}}"#;
    assert!(refused("bedrock", CONVERSE, fields).starts_with("additionalModelRequestFields"));
}

#[test]
fn betas_in_a_body_are_looked_at() {
    let body = r#"{"anthropic_version":"bedrock-2023-05-31","anthropic_beta":["never-heard-of-2026-01-01"],
        "max_tokens":9,"messages":[]}"#;
    assert!(refused("bedrock", INVOKE, body).contains("never-heard-of"));
}

/// Headers of InvokeModel that set a dearer tier, a faster machine, a guardrail.
#[test]
fn headers_of_invoke_model_that_cost_are_refused() {
    let body = r#"{"anthropic_version":"bedrock-2023-05-31","max_tokens":9,"messages":[]}"#;
    for (name, value) in [
        ("x-amzn-bedrock-performanceconfig-latency", "optimized"),
        ("x-amzn-bedrock-service-tier", "priority"),
        ("x-amzn-bedrock-guardrailidentifier", "g"),
    ] {
        assert!(ask_with("bedrock", INVOKE, &[(name, value)], body).is_err(), "{name}");
    }
}

#[test]
fn names_of_models_in_bedrock() {
    for (path, model) in [
        (CONVERSE, "anthropic.claude-3-haiku-20240307-v1:0"),
        ("/model/us.amazon.nova-lite-v1%3A0/converse", "us.amazon.nova-lite-v1:0"),
        (
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A%3Afoundation-model%2Famazon.nova-lite-v1%3A0/converse-stream",
            "amazon.nova-lite-v1:0",
        ),
    ] {
        assert_eq!(passes("bedrock", path, "{}").model.as_deref(), Some(model), "{path}");
    }
}
