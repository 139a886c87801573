//! Requests that nobody should send: each gets a clear answer, and nothing goes upstream.

use std::time::Duration;

use till_testkit::client::Client;
use till_testkit::upstream::{Upstream, json};

use super::rig::{Options, Rig, UPSTREAM_KEY, request, soon};

/// Sends raw bytes (with `TOKEN` replaced) and checks status and code; the provider must see nothing.
async fn refuses(rows: &[(&str, u16, &str)]) {
    let upstream = Upstream::start(|_, _| json("{}")).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint("openai", 50).await;
    for (text, status, code) in rows {
        let text = text.replace("TOKEN", &token);
        let shown: String = text.chars().take(200).collect();
        let answer = Client::connect(rig.address).await.request(&text).await;
        assert_eq!(answer.status, *status, "{shown:?}: {}", answer.text());
        let json: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert!(json["error"].is_object(), "{shown:?}: {json}");
        assert!(answer.text().contains(code), "{shown:?}: {}", answer.text());
        assert!(!answer.text().contains(&token), "{shown:?}");
    }
    assert_eq!(upstream.received(), []);
    assert_eq!(rig.used(id).await, 0);
}

#[tokio::test]
async fn keys_that_are_none() {
    refuses(&[
        ("GET /v1/models HTTP/1.1\r\nhost: a\r\n\r\n", 401, "missing_key"),
        ("GET /v1/models HTTP/1.1\r\nhost: a\r\nauthorization: Bearer sk-foreign\r\n\r\n", 401, "missing_key"),
        ("GET /v1/models HTTP/1.1\r\nhost: a\r\nauthorization: Bearer till_sk_\r\n\r\n", 403, "invalid_key"),
        ("GET /v1/models HTTP/1.1\r\nhost: a\r\nauthorization: Bearer TOKENx\r\n\r\n", 403, "invalid_key"),
        ("GET /v1/models HTTP/1.1\r\nhost: a\r\nauthorization: Bearer TOKEN\r\nx-api-key: till_sk_other\r\n\r\n", 400, "malformed_request"),
        ("GET /v1/models HTTP/1.1\r\nhost: a\r\nauthorization: Bearer TOKEN\r\nx-api-key: till_admin_other\r\n\r\n", 403, "invalid_key"),
        ("TRACE /v1/models HTTP/1.1\r\nhost: a\r\nauthorization: Bearer TOKEN\r\n\r\n", 400, "malformed_request"),
        ("GET /key/ HTTP/1.1\r\nhost: a\r\nauthorization: Bearer TOKEN\r\n\r\n", 400, "malformed_request"),
        ("GET /proxy/nobody/v1/models HTTP/1.1\r\nhost: a\r\nauthorization: Bearer TOKEN\r\n\r\n", 404, "unknown_provider"),
        ("GET /proxy/anthropic/v1/models HTTP/1.1\r\nhost: a\r\nauthorization: Bearer TOKEN\r\n\r\n", 403, "endpoint_denied"),
    ])
    .await;
}

#[tokio::test]
async fn ways_around() {
    let rows: Vec<(String, u16, &str)> = [
        ("POST", "/v1/realtime/client_secrets"),
        ("POST", "/realtime/client_secrets"),
        ("POST", "/v1/V1/../realtime/client_secrets"),
        ("POST", "/v1/realtime/client_secrets/"),
        ("POST", "/v1/Realtime/Client_Secrets"),
        ("GET", "/v1/organization/admin_api_keys"),
        ("POST", "/v1/batches"),
    ]
    .iter()
    .map(|(method, path)| {
        let is_traversal = path.contains("..");
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer TOKEN\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        if is_traversal { (text, 400, "malformed_request") } else { (text, 403, "endpoint_denied") }
    })
    .collect();
    let rows: Vec<(&str, u16, &str)> =
        rows.iter().map(|(text, status, code)| (text.as_str(), *status, *code)).collect();
    refuses(&rows).await;
}

#[tokio::test]
async fn work_that_would_go_on_by_itself() {
    let request = |headers: &str, body: &str| {
        format!(
            "POST /v1/responses HTTP/1.1\r\nhost: a\r\nauthorization: Bearer TOKEN\r\n{headers}content-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let denied = [r#"{"background":true}"#, r#"{"model":"m","backgr\u006fund":1}"#]
        .map(|body| (request("", body), 403, "endpoint_denied"));
    let unreadable = [
        request("", r#"{"background":false,"background":true}"#),
        request("", "{"),
        request("content-encoding: gzip\r\n", "{}"),
    ]
    .map(|text| (text, 400, "malformed_request"));
    let rows: Vec<(&str, u16, &str)> = denied
        .iter()
        .chain(&unreadable)
        .map(|(text, status, code)| (text.as_str(), *status, *code))
        .collect();
    refuses(&rows).await;
    // The twin that is allowed arrives byte for byte.
    let upstream = Upstream::start(|_, _| json("{}")).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, _) = rig.mint("openai", 1).await;
    let body = r#"{ "model":"m",  "background": false }"#;
    assert_eq!(rig.call(&token, "POST", "/v1/responses", body).await.status, 200);
    assert_eq!(upstream.received()[0].body, body.as_bytes());
}

#[tokio::test]
async fn methods_that_are_not_what_they_seem() {
    let request = |target: &str, header: &str| {
        format!("GET {target} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer TOKEN\r\n{header}\r\n")
    };
    let rows = [
        request("/v1/models", "x-http-method-override: DELETE\r\n"),
        request("/v1/models", "X-HTTP-Method: POST\r\n"),
        request("/v1/models", "x-method-override: PATCH\r\n"),
        request("/v1/models?a=b&$httpMethod=POST", ""),
        request("/v1/models?%24httpMethod=POST", ""),
        request("/v1/models?$httpMet%68od=DELETE", ""),
    ];
    let rows: Vec<(&str, u16, &str)> =
        rows.iter().map(|text| (text.as_str(), 400, "malformed_request")).collect();
    refuses(&rows).await;
}

#[tokio::test]
async fn paths_that_lead_astray() {
    let paths = [
        "/proxy/openai/../admin/keys",
        "/proxy/openai/%2e%2e/admin/keys",
        "/proxy/openai/%2e%2e%2fadmin/keys",
        "/v1/models%2fx",
        "//admin/keys",
        "/v1//models",
        "/v1/./models",
        "/v1/models;x=y",
        "/v1/%00",
        "/v1\\models",
        "/v1/%252e%252e/x",
        "/v1/%6dodels",
    ];
    let rows: Vec<String> = paths
        .iter()
        .map(|path| format!("GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer TOKEN\r\n\r\n"))
        .collect();
    let rows: Vec<(&str, u16, &str)> =
        rows.iter().map(|text| (text.as_str(), 400, "malformed_request")).collect();
    refuses(&rows).await;
}

/// A header that `Connection` names is for till only, and is not passed on: then it must not decide anything either.
#[tokio::test]
async fn headers_that_connection_names() {
    refuses(&[
        (
            "GET /v1/models HTTP/1.1\r\nhost: a\r\nconnection: Authorization\r\nauthorization: Bearer TOKEN\r\n\r\n",
            401,
            "missing_key",
        ),
        (
            "POST /v1/responses HTTP/1.1\r\nhost: a\r\nauthorization: Bearer TOKEN\r\nconnection: content-length, host, transfer-encoding\r\ncontent-length: 19\r\n\r\n{\"background\":true}",
            403,
            "endpoint_denied",
        ),
    ])
    .await;
    let upstream = Upstream::start(|_, _| json("{}")).await;
    let rig = Rig::start(&[("bedrock", &upstream.url())], Options::default()).await;
    let (token, id) = rig.mint_dollars("bedrock", 10_000_000_000).await;
    let body = r#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":5000}"#;
    // What is set aside for a request with these lines: the answer does not say what was used, so it is spent.
    let held = async |lines: &str| {
        let before = rig.key(id).await.used.spend_nanos;
        let text = request(&token, "POST", "/model/deepseek.v3.2/invoke", body);
        let text = text.replacen("host:", &format!("{lines}host:"), 1);
        let answer = Client::connect(rig.address).await.request(text).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        rig.becomes_idle().await;
        let sent = upstream.received().pop().expect("it arrived");
        (rig.key(id).await.used.spend_nanos - before, !sent.header("x-amzn-bedrock-service-tier").is_empty())
    };
    let tier = "x-amzn-bedrock-service-tier: flex\r\n";
    let (standard, _) = held("").await;
    let (flex, is_sent) = held(tier).await;
    assert!(flex < standard && is_sent, "{flex} {standard}");
    for named in [
        "x-amzn-bedrock-service-tier",
        "close , X-Amzn-Bedrock-Service-Tier",
        "\u{e9},x-amzn-bedrock-service-tier\t,te",
    ] {
        let lines = format!("connection: keep-alive\r\n{tier}connection: {named}\r\n");
        assert_eq!(held(&lines).await, (standard, false), "{named}");
    }
}

#[tokio::test]
async fn heads_that_can_be_read_in_two_ways() {
    let key = "authorization: Bearer TOKEN\r\n";
    let long = format!("GET /v1/x HTTP/1.1\r\nhost: a\r\n{key}x-long: {}\r\n\r\n", "y".repeat(1024 * 1024));
    let many = format!("GET /v1/x HTTP/1.1\r\nhost: a\r\n{key}{}\r\n", "x-n: y\r\n".repeat(2000));
    let rows = [
        (
            format!(
                "POST /v1/x HTTP/1.1\r\nhost: a\r\n{key}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /v1/smuggled HTTP/1.1\r\nhost: a\r\n{key}\r\n"
            ),
            400,
            "malformed_request",
        ),
        (
            format!(
                "POST /v1/x HTTP/1.1\r\nhost: a\r\n{key}content-length: 5\r\ncontent-length: 6\r\n\r\nhello!"
            ),
            400,
            "malformed_request",
        ),
        (format!("GET /v1/x HTTP/1.1\r\nhost: a\r\n{key}x: y\r\n folded\r\n\r\n"), 400, "malformed_request"),
        (format!("GET /v1/x HTTP/1.1\nhost: a\n{}\n", key.replace('\r', "")), 400, "malformed_request"),
        (format!("GET /v1/x HTTP/1.1\r\nhost: a\r\n{key}x : y\r\n\r\n"), 400, "malformed_request"),
        (long, 431, "headers_too_large"),
        (many, 431, "headers_too_large"),
    ];
    let rows: Vec<(&str, u16, &str)> =
        rows.iter().map(|(text, status, code)| (text.as_str(), *status, *code)).collect();
    refuses(&rows).await;
}

#[tokio::test]
async fn a_refused_head_ends_the_connection() {
    let upstream = Upstream::start(|_, _| json("{}")).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, _) = rig.mint("openai", 5).await;
    let mut client = Client::connect(rig.address).await;
    let good = request(&token, "GET", "/v1/models", "");
    client.send(format!("GET / HTTP/1.1\r\nhost: a\nx: y\r\n\r\n{good}")).await;
    let answer = client.answer().await.expect("a refusal");
    assert_eq!((answer.status, answer.header("connection")), (400, Some("close")));
    assert!(client.is_closed().await);
    assert_eq!(upstream.received(), []);
}

#[tokio::test]
async fn a_body_with_broken_chunks_is_the_clients_mistake() {
    let upstream = Upstream::start(|_, _| json("{}")).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, _) = rig.mint("openai", 9).await;
    for chunks in
        ["ZZ\r\n", "5\r\nhello\r\nZZ\r\n", "5\r\nhelloX", "5\nhello", "5\r\nhello\r\n0\r\nbare\n\r\n"]
    {
        let head = format!(
            "POST /v1/files HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        let mut client = Client::connect(rig.address).await;
        let answer = soon(client.request(format!("{head}{chunks}"))).await;
        assert_eq!(answer.status, 400, "{chunks:?}: {}", answer.text());
        assert!(answer.text().contains("malformed_request"), "{chunks:?}: {}", answer.text());
        assert!(soon(client.is_closed()).await, "{chunks:?}");
    }
    assert_eq!(upstream.received(), [], "no request is whole without the end of its body");
}

#[tokio::test]
async fn the_control_plane_is_reached_by_its_own_paths_only() {
    let rig = Rig::start(&[], Options::default()).await;
    for path in ["/admin/keys", "/docs", "/healthz", "/metrics"] {
        let answer = Client::connect(rig.address)
            .await
            .request(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))
            .await;
        assert_eq!(answer.text(), format!("own {path}"));
    }
    for path in ["/Admin/keys", "/%61dmin/keys", "/admin%2fkeys"] {
        let answer = Client::connect(rig.address)
            .await
            .request(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))
            .await;
        assert!(matches!(answer.status, 400 | 401), "{path}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_key_sealed_for_another_address_goes_nowhere_unless_the_operator_accepts_it() {
    let upstream = Upstream::start(|_, _| json("{}")).await;
    let url = upstream.url();
    for (accept_sealed, status) in [(false, 403), (true, 200)] {
        let rig = Rig::start_accepting([("openai", url.as_str(), accept_sealed)], Options::default()).await;
        let elsewhere = "https://api.openai.com".to_owned();
        let (token, id) = rig.mint_sealed("openai", UPSTREAM_KEY, elsewhere, 5).await;
        let answer = rig.call(&token, "GET", "/v1/models", "").await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.text().contains("credential_denied"), !accept_sealed);
        assert_eq!(rig.used(id).await, u64::from(accept_sealed));
    }
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn a_genuine_key_that_does_not_fit_the_configuration_is_a_counted_denial() {
    let upstream = Upstream::start(|_, _| json("{}")).await;
    let rig = Rig::openai(&upstream.url()).await;
    let elsewhere = "https://api.openai.com".to_owned();
    let (token, _) = rig.mint_sealed("openai", UPSTREAM_KEY, elsewhere, 5).await;
    let before = rig.store.stats();
    let answer = rig.call(&token, "GET", "/v1/models", "").await;
    assert!(answer.text().contains("credential_denied"), "{}", answer.text());
    // Nobody asked the store for anything, so all that it can have to write is the denial.
    let written = async {
        while rig.store.stats().batches == before.batches {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon(written).await;
    assert_eq!(rig.store.stats().operations, before.operations);
}
