//! A scope beside limits in tokens, and beside options that open something else.

use serde_json::{Value, json};
use till_core::limit::Limits;
use till_store::KeyOptions;
use till_testkit::upstream::{Upstream, json as answer_json, respond};

use super::rig::Rig;

#[tokio::test]
async fn the_stricter_of_scope_and_limit_holds() {
    let upstream = Upstream::start(|_, _| answer_json("{}")).await;
    let rig = Rig::openai(&upstream.url()).await;
    let danger = KeyOptions { allow_unbounded: true, ..KeyOptions::default() };
    let as_it_is = KeyOptions { clamp: false, ..KeyOptions::default() };
    let plain = KeyOptions::default();
    let most = |most: u64| json!({"parameters": {"maxOutputTokens": most}});
    let search = r#","tools":[{"type":"web_search"}]"#;
    // Limit in tokens, options, scope, more of the request; the cap that arrives or the code of the refusal.
    for (tokens, options, scope, more, expected) in [
        (Some(100_000), plain, most(100), "", Ok(json!(100))),
        (Some(100_000), plain, most(100), r#","max_completion_tokens":500"#, Ok(json!(100))),
        (Some(100_000), plain, most(100), r#","max_completion_tokens":50"#, Ok(json!(50))),
        (Some(300), plain, most(10_000), "", Ok(json!("less"))),
        (Some(100_000), as_it_is, most(100), r#","max_completion_tokens":500"#, Err("parameter_denied")),
        (Some(100_000), as_it_is, most(100), "", Err("parameter_denied")),
        (None, as_it_is, most(100), r#","max_completion_tokens":500"#, Err("parameter_denied")),
        (None, as_it_is, most(100), r#","max_completion_tokens":50"#, Ok(json!(50))),
        (Some(100_000), plain, json!({"models": ["o3"]}), "", Err("model_denied")),
        (Some(100_000), plain, json!({"models": ["gpt-4o-mini"]}), search, Err("unbounded_request")),
        (None, plain, json!({"models": ["gpt-4o-mini"]}), search, Ok(Value::Null)),
        (Some(100_000), danger, json!({"models": ["gpt-4o-mini"]}), search, Ok(Value::Null)),
        (Some(100_000), danger, json!({"models": ["o3"]}), search, Err("model_denied")),
        (
            Some(100_000),
            danger,
            json!({"parameters": {"hostedTools": false}}),
            search,
            Err("parameter_denied"),
        ),
        (
            Some(100_000),
            danger,
            json!({"models": ["gpt-4o-mini"]}),
            r#","preset":"p""#,
            Err("parameter_denied"),
        ),
        (Some(100_000), danger, most(100), search, Ok(json!(100))),
    ] {
        let limits = Limits { activations: Some(9), tokens, spend_nanos: None };
        let (token, _) = rig.mint_all("openai", limits, options, scope.clone()).await;
        let before = upstream.received().len();
        let body = format!(r#"{{"model":"gpt-4o-mini","messages":[]{more}}}"#);
        let answer = rig.call(&token, "POST", "/v1/chat/completions", &body).await;
        rig.becomes_idle().await;
        let received = upstream.received();
        match expected {
            Err(code) => {
                assert!(answer.text().contains(code), "{scope} {more}: {}", answer.text());
                assert_eq!(received.len(), before, "{scope} {more}");
            }
            Ok(cap) => {
                assert_eq!(answer.status, 200, "{tokens:?} {scope} {more}: {}", answer.text());
                let sent: Value = serde_json::from_slice(&received[before].body).expect("JSON");
                let found = &sent["max_completion_tokens"];
                if cap == "less" {
                    assert!(found.as_u64().is_some_and(|cap| cap < 300), "{sent}");
                } else {
                    assert_eq!(*found, cap, "{tokens:?} {scope} {more}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_stream_of_a_capped_key_is_the_one_that_was_asked_for() {
    let events = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\ndata: \
                  {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\ndata: [DONE]\n\n";
    let upstream = Upstream::start(move |_, _| {
        respond("200 OK", "content-type: text/event-stream\r\n", events.as_bytes())
    })
    .await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint_scoped("openai", json!({"parameters": {"maxOutputTokens": 100}})).await;
    let body = r#"{"model":"gpt-4o-mini","messages":[],"stream":true}"#;
    let answer = rig.call(&token, "POST", "/v1/chat/completions", body).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("hi") && answer.text().contains("[DONE]"), "{}", answer.text());
    assert!(!answer.text().contains("prompt_tokens"), "{}", answer.text());
    rig.becomes_idle().await;
    assert_eq!(rig.last_record(id).await.model.as_deref(), Some("gpt-4o-mini"));
}

#[tokio::test]
async fn a_body_that_may_pass_arrives_byte_for_byte() {
    let upstream = Upstream::start(|_, _| answer_json("{}")).await;
    let rig = Rig::openai(&upstream.url()).await;
    let scope = json!({"models": ["gpt-4o-mini"], "parameters": {"tools": false, "store": false}});
    let (token, _) = rig.mint_scoped("openai", scope).await;
    let body = "{ \"messages\" : [ ],\"stream\":true,\n  \"model\":\"gpt-4o-min\\u0069\" }\n";
    assert_eq!(rig.call(&token, "POST", "/v1/chat/completions", body).await.status, 200);
    assert_eq!(upstream.received()[0].body, body.as_bytes());
}
