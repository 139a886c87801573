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

const LITE: &str = "/model/us.amazon.nova-lite-v1:0/converse";

/// The body of a request with one block.
fn block(block: &str) -> String {
    format!(r#"{{"messages":[{{"role":"user","content":[{{{block}}}]}}]}}"#)
}

#[test]
fn documents_and_media_of_converse_are_bounded() {
    for given in [
        r#""document":{"format":"pdf","name":"a","source":{"bytes":"JVBERi0="}}"#,
        r#""document":{"format":"txt","name":"a","source":{"s3Location":{"uri":"s3://a"}}}"#,
        r#""video":{"format":"mp4","source":{"s3Location":{"uri":"s3://a"}}}"#,
        r#""audio":{"format":"mp3","source":{"bytes":""}}"#,
        r#""toolResult":{"toolUseId":"t","content":[{"video":{"source":{"bytes":""}}}]}"#,
    ] {
        assert_eq!(passes("bedrock", LITE, &block(given)).input.count(Unit::InputTokens), 300_000, "{given}");
    }
    for given in [
        r#""document":{"format":"txt","name":"a","source":{"bytes":"SGVsbG8="}}"#,
        r#""document":{"format":"pdf","name":"a","source":{"text":"Hello"}}"#,
        r#""guardContent":{"text":{"text":"Hello"}}"#,
        r#""toolUse":{"toolUseId":"t","name":"f","input":{},"type":"server_tool_use"}"#,
    ] {
        assert!(passes("bedrock", LITE, &block(given)).input.count(Unit::InputTokens) < 2_000, "{given}");
    }
    let image = block(r#""\u0069mage":{"format":"png","source":{"s3Location":{"uri":"s3://a"}}}"#);
    assert!(passes("bedrock", LITE, &image).input.count(Unit::InputImageTokens) >= 8_192);
    assert!(refused("bedrock", LITE, &block(r#""neverHeardOf":{}"#)).starts_with("messages[0].content[0]"));
    let system = r#"{"toolConfig":{"tools":[{"systemTool":{"name":"nova_grounding"}}]}}"#;
    assert_eq!(refused("bedrock", LITE, system), "toolConfig.tools[0].systemTool");
}

#[test]
fn tiers_pass_where_they_have_a_price() {
    let tier = |tier: &str| format!(r#"{{"serviceTier":{{"type":"{tier}"}}}}"#);
    let lite = "/model/us.amazon.nova-2-lite-v1:0/converse";
    for (path, name, expected) in [
        (LITE, "default", Some(None)),
        (LITE, "flex", Some(None)),
        (LITE, "priority", None),
        (LITE, "reserved", None),
        (lite, "reserved", None),
    ] {
        let answer = ask("bedrock", path, &tier(name));
        let context = answer.as_ref().ok().map(|facts| facts.context.value("service_tier"));
        assert_eq!(context, expected, "{path} {name}");
    }
    passes("bedrock", LITE, r#"{"performanceConfig":{"latency":"standard"}}"#);
}

#[test]
fn additional_fields_are_read() {
    let fields = |fields: &str| format!(r#"{{"additionalModelRequestFields":{{{fields}}}}}"#);
    for given in [
        r#""anthropic_beta":["interleaved-thinking-2025-05-14"]"#,
        r#""top_k":5"#,
        r#""inferenceConfig":{"topK":5}"#,
        r#""reasoning_config":{"type":"enabled","maxReasoningEffort":"medium"}"#,
        r#""output_config":{"effort":"high"}"#,
        r#""tools":[{"type":"computer_20250124","name":"computer"}]"#,
    ] {
        passes("bedrock", CONVERSE, &fields(given));
    }
    for (given, what) in [
        (r#""anthropic_beta":["never-heard-of-2026-01-01"]"#, "anthropic-beta"),
        (
            r#""reasoningConfig":{"maxReasoningEffort":"high"}"#,
            "additionalModelRequestFields.reasoningConfig",
        ),
        (r#""tools":[{"type":"web_search_20260318"}]"#, "additionalModelRequestFields.tools[0].type"),
        (r#""top_k":{"max_tokens":9}"#, "additionalModelRequestFields.top_k"),
    ] {
        assert!(refused("bedrock", CONVERSE, &fields(given)).starts_with(what), "{given}");
    }
    // A longer window has a price of its own, which this model's row has not.
    let long = fields(r#""anthropic_beta":["context-1m-2025-08-07"]"#);
    let sonnet = "/model/us.anthropic.claude-sonnet-4-20250514-v1:0/converse";
    assert!(refused("bedrock", sonnet, &long).contains("context-1m"));
}

#[test]
fn bodies_of_invoke_model_have_their_cap_where_their_model_looks_for_it() {
    let text = r#"[{"role":"user","content":[{"type":"text","text":"Hi"}]}]"#;
    let nova = r#"{"schemaVersion":"messages-v1","messages":[{"role":"user","content":[{"text":"Hi"}]}]"#;
    for (model, body, parameter, expected) in [
        (
            "us.amazon.nova-lite-v1:0",
            format!("{nova}}}"),
            "maxTokens",
            format!(r#"{nova},"inferenceConfig":{{"maxTokens":9}}}}"#),
        ),
        (
            "amazon.nova-pro-v1:0",
            format!(r#"{nova},"inferenceConfig":{{"maxTokens":50,"topK":5}}}}"#),
            "maxTokens",
            format!(r#"{nova},"inferenceConfig":{{"maxTokens":9,"topK":5}}}}"#),
        ),
        (
            "amazon.titan-text-express-v1",
            r#"{"inputText":"Hi"}"#.to_owned(),
            "maxTokenCount",
            r#"{"inputText":"Hi","textGenerationConfig":{"maxTokenCount":9}}"#.to_owned(),
        ),
        (
            "us.meta.llama3-3-70b-instruct-v1:0",
            r#"{"prompt":"Hi","max_gen_len":50}"#.to_owned(),
            "max_gen_len",
            r#"{"prompt":"Hi","max_gen_len":9}"#.to_owned(),
        ),
        (
            "mistral.mistral-large-2407-v1:0",
            format!(r#"{{"messages":{text}}}"#),
            "max_tokens",
            format!(r#"{{"messages":{text},"max_tokens":9}}"#),
        ),
        (
            "us.deepseek.r1-v1:0",
            r#"{"prompt":"Hi","max_tokens":50}"#.to_owned(),
            "max_tokens",
            r#"{"prompt":"Hi","max_tokens":9}"#.to_owned(),
        ),
        (
            "openai.gpt-oss-120b-1:0",
            format!(r#"{{"messages":{text},"max_tokens":50}}"#),
            "max_tokens",
            format!(r#"{{"messages":{text},"max_tokens":9}}"#),
        ),
        (
            "cohere.command-r-plus-v1:0",
            r#"{"message":"Hi"}"#.to_owned(),
            "max_tokens",
            r#"{"message":"Hi","max_tokens":9}"#.to_owned(),
        ),
    ] {
        let path = format!("/model/{model}/invoke");
        let facts = passes("bedrock", &path, &body);
        assert_eq!(facts.output.as_ref().expect("an output").parameter, parameter, "{model}");
        assert!(facts.input.count(Unit::InputTokens) > 2, "{model}");
        assert_eq!(String::from_utf8_lossy(&facts.rewrite(body.as_bytes(), Some(9))), expected, "{model}");
    }
    for (model, body, what) in [
        ("us.meta.llama3-3-70b-instruct-v1:0", r#"{"prompt":"x","images":["x"]}"#, "us.meta"),
        (
            "mistral.pixtral-large-2502-v1:0",
            r#"{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#,
            "messages[0]",
        ),
        (
            "us.amazon.nova-2-lite-v1:0",
            r#"{"reasoningConfig":{"maxReasoningEffort":"high"}}"#,
            "reasoningConfig",
        ),
        ("amazon.titan-embed-image-v1", r#"{"inputText":"x","inputImage":"x"}"#, "amazon.titan"),
        (
            "amazon.nova-2-multimodal-embeddings-v1:0",
            r#"{"taskType":"SINGLE_EMBEDDING","singleEmbeddingParams":{"image":{}}}"#,
            "amazon.nova",
        ),
        ("amazon.nova-canvas-v1:0", r#"{"taskType":"TEXT_IMAGE"}"#, "amazon.nova"),
        ("abcdef123456", r#"{"prompt":"x"}"#, "model"),
    ] {
        let what_is = refused("bedrock", &format!("/model/{model}/invoke"), body);
        assert!(what_is.starts_with(what), "{model}: {what_is}");
    }
    let single = r#"{"taskType":"SINGLE_EMBEDDING","singleEmbeddingParams":{"embeddingPurpose":"GENERIC_INDEX","text":
        {"value":"Hello","truncationMode":"END"}}}"#;
    let facts = passes("bedrock", "/model/amazon.nova-2-multimodal-embeddings-v1:0/invoke", single);
    assert!(facts.output.is_none() && facts.input.count(Unit::InputTokens) >= 5);
}
