//! Requests to Gemini.

use super::*;
use crate::price::PriceContext;

/// The API takes a single value for a list, as it does for `contents`.
#[test]
fn a_single_modality_is_a_modality() {
    match ask("google", GEMINI, r#"{"generationConfig":{"responseModalities":"AUDIO"}}"#) {
        Ok(facts) => assert_eq!(facts.output.expect("an output").also, [Unit::OutputAudioTokens]),
        Err(Refused::Unbounded { .. } | Refused::Malformed(_)) => {}
    }
}

/// The body of a request with one part.
fn part(part: &str) -> String {
    format!(r#"{{"contents":[{{"role":"user","parts":[{{{part}}}]}}]}}"#)
}

#[test]
fn media_are_bounded_by_the_window() {
    const WINDOW: u64 = 1_048_576;
    for (given, units) in [
        (
            r#""fileData":{"fileUri":"x","mimeType":"text/plain"}"#,
            &[Unit::InputAudioTokens, Unit::InputVideoTokens][..],
        ),
        (r#""file_data":{"file_uri":"x"}"#, &[Unit::InputAudioTokens, Unit::InputImageTokens]),
        (r#""inlineData":{"mimeType":"application/pdf","data":""}"#, &[Unit::InputImageTokens]),
        (r#""inline_data":{"mime_type":"audio/mpeg","data":""}"#, &[Unit::InputAudioTokens]),
        (
            r#""inlineData":{"mimeType":"video/mp4","data":""},"videoMetadata":{"fps":24}"#,
            &[Unit::InputVideoTokens],
        ),
        (
            r#""functionResponse":{"name":"f","response":{},"parts":[{"fileData":{"fileUri":"x"}}]}"#,
            &[Unit::InputAudioTokens],
        ),
        (r#""toolResponse":{"id":"t","toolType":"FILE_SEARCH","response":{}},"thoughtSignature":"x""#, &[]),
    ] {
        let facts = passes("google", GEMINI, &part(given));
        assert_eq!(facts.input.count(Unit::InputTokens), WINDOW, "{given}");
        for unit in units {
            assert_eq!(facts.input.count(*unit), WINDOW, "{given}");
        }
    }
    let cached = passes("google", GEMINI, r#"{"contents":[],"cached_content":"cachedContents/x"}"#);
    assert_eq!(cached.input.count(Unit::InputTokens), WINDOW);
    // A million in the table is a million in units of 1,024 there.
    let lite = "/v1beta/models/gemini-2.5-flash-lite:generateContent";
    let facts = passes("google", lite, &part(r#""fileData":{"fileUri":"x"}"#));
    assert_eq!(facts.input.count(Unit::InputTokens), WINDOW);
    let unknown = "/v1beta/models/gemini-nobody-knows:generateContent";
    assert!(refused("google", unknown, &part(r#""fileData":{"fileUri":"x"}"#)).contains("fileData"));
}

#[test]
fn history_of_tools_passes_and_what_is_not_known_does_not() {
    let code = r#""executableCode":{"language":"PYTHON","code":"print(1)"}"#;
    let result = r#""codeExecutionResult":{"outcome":"OUTCOME_OK","output":"1"}"#;
    for given in [code, result] {
        assert!(passes("google", GEMINI, &part(given)).input.count(Unit::InputTokens) < 2_000, "{given}");
    }
    for (given, what) in [
        (r#""neverHeardOf":1"#, "contents[0].parts[0].neverHeardOf"),
        (r#""documentMetadata":{}"#, "contents[0].parts[0].documentMetadata"),
        (r#""functionResponse":{"neverHeardOf":1}"#, "contents[0].parts[0].functionResponse.neverHeardOf"),
    ] {
        assert_eq!(refused("google", GEMINI, &part(given)), what);
    }
    for (config, what) in [
        (r#"{"routingConfig":{}}"#, "generationConfig.routingConfig"),
        (r#"{"responseFormat":{"video":{}}}"#, "generationConfig.responseFormat.video"),
        (r#"{"responseModalities":[2]}"#, "generationConfig.responseModalities 2"),
        (r#"{"response_modalities":["VIDEO"]}"#, "generationConfig.responseModalities \"VIDEO\""),
    ] {
        assert_eq!(refused("google", GEMINI, &format!(r#"{{"generationConfig":{config}}}"#)), what);
    }
    // Numbers are names of tiers too.
    assert!(refused("google", GEMINI, r#"{"serviceTier":3}"#).contains("serviceTier"));
    let flex = passes("google", GEMINI, r#"{"serviceTier":"flex"}"#);
    assert!(flex.context.is_empty(), "{:?}", flex.context);
    for model in
        ["veo-3.0-generate-001", "lyria-3-pro-preview", "imagen-4.0-generate-001", "deep-research-preview"]
    {
        let path = format!("/v1beta/models/{model}:generateContent");
        assert!(refused("google", &path, "{}").starts_with("model"), "{model}");
    }
}

#[test]
fn images_are_bounded_by_what_the_model_can_put_out() {
    let image = "/v1beta/models/gemini-2.5-flash-image:generateContent";
    for (body, most) in [
        ("{}", 32_768),
        (r#"{"generationConfig":{"maxOutputTokens":9,"candidateCount":2}}"#, 65_536),
        (r#"{"generationConfig":{"responseModalities":["TEXT","IMAGE"]}}"#, 32_768),
    ] {
        let facts = passes("google", image, body);
        assert_eq!((facts.input.count(Unit::OutputTokens), facts.output), (most, None), "{body}");
        let price = PRICES.find("google", "gemini-2.5-flash-image").expect("a price");
        let demand = demand(&passes("google", image, body), Some(price), true, AT, true).expect("a demand");
        let each =
            price.rates(&PriceContext::default(), AT).figure(Unit::OutputImageTokens).expect("a price").base;
        assert!(demand.picos_fixed >= u128::from(each) * u128::from(most), "{body}");
    }
    let text = passes("google", image, r#"{"generationConfig":{"responseModalities":["TEXT"]}}"#);
    assert_eq!((text.input.count(Unit::OutputTokens), text.output.expect("an output").also), (0, Vec::new()));
    let other = r#"{"generationConfig":{"responseModalities":["IMAGE"]}}"#;
    assert!(refused("google", GEMINI, other).starts_with("generationConfig.responseModalities"));
    let omni = passes("google", "/v1beta/models/gemini-omni-1.1-flash:generateContent", "{}");
    assert_eq!(omni.input.count(Unit::OutputTokens), 65_536);
}

#[test]
fn every_embedding_of_a_batch_is_a_pass() {
    let one = r#"{"content":{"parts":[{"inlineData":{"mimeType":"video/mp4","data":""}}]}}"#;
    let many = format!(r#"{{"requests":[{one},{one},{one}]}}"#);
    let held = |verb: &str, body: &str| {
        let path = format!("/v1beta/models/gemini-embedding-2:{verb}");
        passes("google", &path, body).input
    };
    let single = held("embedContent", one);
    assert!(single.count(Unit::InputVideoTokens) >= 8_192);
    let all = held("batchEmbedContents", &many);
    for unit in [Unit::InputTokens, Unit::InputVideoTokens] {
        assert_eq!(all.count(unit), 3 * single.count(unit));
    }
}

#[test]
fn a_model_is_named_however_the_path_is_written() {
    let path = "/v1beta/models/gemini-2.5-flash%3AgenerateContent";
    if let Ok(facts) = ask("google", path, "{}") {
        assert_eq!(facts.model.as_deref(), Some("gemini-2.5-flash"));
    }
}
