//! Where a key may be used from, and which endpoints it may call.

use serde_json::{Value, json};
use till_proxy::{AddressHeader, TrustedProxies};
use till_testkit::client::Client;
use till_testkit::upstream::{Upstream, json as answer_json};

use super::rig::{Options, Rig};

async fn upstream() -> Upstream {
    Upstream::start(|_, _| answer_json("{}")).await
}

fn trusted(header: AddressHeader) -> TrustedProxies {
    let networks = vec!["127.0.0.0/8".to_owned().try_into().expect("a network")];
    TrustedProxies { networks, header }
}

/// A GET of the list of models, with more lines in its head.
fn get(token: &str, path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: till\r\nauthorization: Bearer {token}\r\n{more}\r\n")
}

/// Whether a key that may be used from `networks` passes with these lines in its head.
async fn check_networks(trusted: TrustedProxies, rows: &[(Value, &str, bool)]) {
    let upstream = upstream().await;
    let options = Options { trusted_proxies: trusted, ..Options::default() };
    let rig = Rig::start(&[("openai", &upstream.url())], options).await;
    let mut sent = 0;
    for (networks, lines, expected) in rows {
        let (token, id) = rig.mint_scoped("openai", json!({"networks": networks})).await;
        for path in ["/v1/models", "/key"] {
            let answer = Client::connect(rig.address).await.request(get(&token, path, lines)).await;
            if *expected {
                assert_eq!(answer.status, 200, "{networks} {lines:?} {path}: {}", answer.text());
            } else {
                assert_eq!(answer.status, 403, "{networks} {lines:?} {path}: {}", answer.text());
                assert!(answer.text().contains("network_denied"), "{networks} {lines:?}: {}", answer.text());
            }
        }
        sent += usize::from(*expected);
        assert_eq!(rig.used(id).await, u64::from(*expected));
    }
    assert_eq!(upstream.received().len(), sent);
}

#[tokio::test]
async fn a_key_is_used_from_its_networks_only() {
    check_networks(
        TrustedProxies::default(),
        &[
            (json!(["127.0.0.1"]), "", true),
            (json!(["::ffff:127.0.0.1"]), "", true),
            (json!(["192.0.2.0/24", "127.0.0.0/8"]), "", true),
            (json!(["0.0.0.0/0"]), "", true),
            (json!(["::/0"]), "", false),
            (json!(["127.0.0.2"]), "", false),
            (json!(["::1"]), "", false),
            (json!(["192.0.2.0/24"]), "", false),
            // Nobody is trusted, so nobody's word counts.
            (json!(["192.0.2.9"]), "x-forwarded-for: 192.0.2.9\r\n", false),
            (json!(["192.0.2.9"]), "forwarded: for=192.0.2.9\r\n", false),
            (json!(["192.0.2.9"]), "x-real-ip: 192.0.2.9\r\n", false),
            (json!(["127.0.0.1"]), "x-forwarded-for: 192.0.2.9\r\n", true),
            (json!(["127.0.0.1"]), "x-forwarded-for: nonsense\r\n", true),
        ],
    )
    .await;
}

#[tokio::test]
async fn trusted_proxies_say_who_asks() {
    check_networks(
        trusted(AddressHeader::XForwardedFor),
        &[
            (json!(["192.0.2.9"]), "x-forwarded-for: 192.0.2.9\r\n", true),
            (json!(["192.0.2.9"]), "x-forwarded-for: ::ffff:192.0.2.9\r\n", true),
            (json!(["192.0.2.9"]), "x-forwarded-for: 192.0.2.9, 127.0.0.5\r\n", true),
            (json!(["192.0.2.9"]), "x-forwarded-for: 198.51.100.1, 192.0.2.9\r\n", true),
            (json!(["192.0.2.9"]), "x-forwarded-for: 192.0.2.9, 198.51.100.1\r\n", false),
            (json!(["192.0.2.9"]), "x-forwarded-for: 192.0.2.9\r\nx-forwarded-for: 198.51.100.1\r\n", false),
            (json!(["0.0.0.0/0", "::/0"]), "x-forwarded-for: unknown\r\n", false),
            (json!(["0.0.0.0/0", "::/0"]), "x-forwarded-for: 192.0.2.9,\r\n", false),
            (json!(["0.0.0.0/0", "::/0"]), "x-forwarded-for:\r\n", false),
            // The other header is what the client wrote.
            (json!(["192.0.2.9"]), "forwarded: for=192.0.2.9\r\n", false),
            (json!(["127.0.0.1"]), "forwarded: for=192.0.2.9\r\n", true),
            // It says who is behind the connection, whatever a client said to a proxy that passes on too much.
            (json!(["127.0.0.1"]), "x-forwarded-for: 192.0.2.9\r\nconnection: x-forwarded-for\r\n", false),
            (json!(["192.0.2.9"]), "connection: X-Forwarded-For\r\nx-forwarded-for: 192.0.2.9\r\n", true),
        ],
    )
    .await;
    check_networks(
        trusted(AddressHeader::Forwarded),
        &[
            (json!(["192.0.2.9"]), "forwarded: for=192.0.2.9\r\n", true),
            (json!(["2001:db8::/32"]), "forwarded: for=\"[2001:db8::7]:4711\";proto=https\r\n", true),
            (json!(["192.0.2.9"]), "forwarded: for=192.0.2.9, for=198.51.100.1\r\n", false),
            (json!(["0.0.0.0/0", "::/0"]), "forwarded: for=_hidden\r\n", false),
            (json!(["192.0.2.9"]), "x-forwarded-for: 192.0.2.9\r\n", false),
            (json!(["127.0.0.1"]), "forwarded: for=192.0.2.9\r\nconnection: forwarded\r\n", false),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_network_is_checked_before_anything_else_is_said() {
    let upstream = upstream().await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint_scoped("openai", json!({"networks": ["192.0.2.9"]})).await;
    rig.revoke(id).await;
    for (method, path) in [
        ("GET", "/v1/models"),
        ("POST", "/v1/batches"),
        ("GET", "/proxy/anthropic/v1/models"),
        ("GET", "/key"),
        ("POST", "/v1/responses"),
    ] {
        let answer = rig.call(&token, method, path, "{").await;
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert!(answer.text().contains("network_denied"), "{method} {path}: {}", answer.text());
    }
    assert_eq!(upstream.received(), []);
}

/// Sends bytes on a new connection and reads the answer.
async fn answer_to(rig: &Rig, bytes: Vec<u8>) -> String {
    let mut client = Client::connect(rig.address).await;
    client.send(bytes).await;
    client.answer().await.map_or_else(String::new, |answer| format!("{} {}", answer.status, answer.text()))
}

#[tokio::test]
async fn the_proxy_protocol_says_who_asks() {
    let upstream = upstream().await;
    let options = Options {
        trusted_proxies: trusted(AddressHeader::XForwardedFor),
        proxy_protocol: true,
        ..Options::default()
    };
    let rig = Rig::start(&[("openai", &upstream.url())], options).await;
    let (token, id) = rig.mint_scoped("openai", json!({"networks": ["192.0.2.9"]})).await;
    let v2 = |address: [u8; 4]| {
        let head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
        [&head[..], &address, &[127, 0, 0, 1, 0x12, 0x34, 0, 80]].concat()
    };
    for (header, expected) in [
        (b"PROXY TCP4 192.0.2.9 127.0.0.1 4660 80\r\n".to_vec(), "200 "),
        (v2([192, 0, 2, 9]), "200 "),
        (b"PROXY TCP4 192.0.2.8 127.0.0.1 4660 80\r\n".to_vec(), "403 "),
        (v2([192, 0, 2, 8]), "403 "),
        (b"PROXY UNKNOWN\r\n".to_vec(), "403 "),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(), "403 "),
    ] {
        // A client behind the load balancer writes what it likes: it is no trusted proxy.
        let request = get(&token, "/v1/models", "x-forwarded-for: 192.0.2.9\r\n");
        let is_other = expected == "403 " && !header.ends_with(b"\x20\0\0\0");
        let lines = if is_other { request } else { get(&token, "/v1/models", "") };
        let answer = answer_to(&rig, [&header[..], lines.as_bytes()].concat()).await;
        assert!(answer.starts_with(expected), "{header:?}: {answer}");
        assert_eq!(expected == "403 ", answer.contains("network_denied"), "{header:?}: {answer}");
        if expected == "200 " {
            rig.becomes_idle().await;
            let client = rig.last_record(id).await.client.map(|client| client.to_string());
            assert_eq!(client.as_deref(), Some("192.0.2.9"));
        }
    }
    // Without a header nobody gets in.
    assert_eq!(answer_to(&rig, get(&token, "/v1/models", "").into_bytes()).await, "");
    assert_eq!(upstream.received().len(), 2);

    // Somebody else is trusted: from here such a header is no HTTP, and none is asked for.
    let networks = vec!["192.0.2.0/24".to_owned().try_into().expect("a network")];
    let trusted_proxies = TrustedProxies { networks, header: AddressHeader::XForwardedFor };
    let options = Options { trusted_proxies, proxy_protocol: true, ..Options::default() };
    let other = Rig::start(&[("openai", &upstream.url())], options).await;
    let (token, _) = other.mint_scoped("openai", json!({"networks": ["192.0.2.9"]})).await;
    let bytes = format!("PROXY TCP4 192.0.2.9 127.0.0.1 4660 80\r\n{}", get(&token, "/v1/models", ""));
    assert!(!answer_to(&other, bytes.into_bytes()).await.starts_with("200"));
    let answer = answer_to(&other, get(&token, "/v1/models", "").into_bytes()).await;
    assert!(answer.contains("network_denied"), "{answer}");
    assert_eq!(upstream.received().len(), 2);

    // Nobody is trusted, and the protocol is off.
    let rig = Rig::openai(&upstream.url()).await;
    let (token, _) = rig.mint_scoped("openai", json!({"networks": ["192.0.2.9"]})).await;
    let bytes = format!("PROXY TCP4 192.0.2.9 127.0.0.1 4660 80\r\n{}", get(&token, "/v1/models", ""));
    assert!(!answer_to(&rig, bytes.into_bytes()).await.starts_with("200"));
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn the_record_has_the_address_of_the_client() {
    let upstream = upstream().await;
    let trusted_proxies = trusted(AddressHeader::XForwardedFor);
    let options = Options { trusted_proxies, ..Options::default() };
    let rig = Rig::start(&[("openai", &upstream.url())], options).await;
    let (token, id) = rig.mint("openai", 9).await;
    for (lines, expected) in [
        ("x-forwarded-for: 198.51.100.1, 192.0.2.9\r\n", Some("192.0.2.9")),
        ("", Some("127.0.0.1")),
        ("x-forwarded-for: unknown\r\n", None),
    ] {
        let answer = Client::connect(rig.address).await.request(get(&token, "/v1/models", lines)).await;
        assert_eq!(answer.status, 200);
        rig.becomes_idle().await;
        let client = rig.last_record(id).await.client.map(|client| client.to_string());
        assert_eq!(client.as_deref(), expected, "{lines:?}");
    }
}

/// Sends requests with a key of this scope; each row says the code of the refusal, if it is refused.
async fn check_endpoints(provider: &str, endpoints: Value, rows: &[(&str, &str, Option<&str>)]) {
    let upstream = upstream().await;
    let rig = Rig::start(&[(provider, &upstream.url())], Options::default()).await;
    let (token, _) = rig.mint_scoped(provider, json!({"endpoints": endpoints})).await;
    let mut sent = 0;
    for (method, path, refused) in rows {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: till\r\nauthorization: Bearer {token}\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        let mut client = Client::connect(rig.address).await;
        client.send(request).await;
        let text = if *method == "HEAD" {
            // There is no body.
            client.head().await.expect("an answer")
        } else {
            let answer = client.answer().await.expect("an answer");
            format!("HTTP/1.1 {} {}", answer.status, answer.text())
        };
        let status = match refused {
            None => "HTTP/1.1 200 ",
            Some("malformed_request") => "HTTP/1.1 400 ",
            Some(_) => "HTTP/1.1 403 ",
        };
        assert!(text.starts_with(status), "{method} {path}: {text}");
        let code = refused.filter(|_| *method != "HEAD").unwrap_or_default();
        assert!(text.contains(code), "{method} {path}: {text}");
        sent += usize::from(refused.is_none());
        rig.becomes_idle().await;
        assert_eq!(upstream.received().len(), sent, "{method} {path}");
    }
}

#[tokio::test]
async fn a_key_calls_its_endpoints_only() {
    let denied = Some("endpoint_denied");
    check_endpoints(
        "openai",
        json!(["POST /v1/chat/completions", "GET /v1/models/*", "* /v1/files/**"]),
        &[
            ("POST", "/v1/chat/completions", None),
            ("POST", "/chat/completions", None),
            ("POST", "/v1/v1/chat/completions", None),
            ("POST", "/proxy/openai/v1/chat/completions", None),
            ("POST", "/v1/chat/completions?x=/v1/models", None),
            ("GET", "/v1/models/gpt-4o", None),
            ("DELETE", "/v1/files/f", None),
            ("GET", "/v1/files", None),
            ("POST", "/v1/chat/completions/", denied),
            ("POST", "/v1/Chat/completions", denied),
            ("POST", "/v1/CHAT/COMPLETIONS", denied),
            ("PUT", "/v1/chat/completions", denied),
            ("PROPFIND", "/v1/chat/completions", denied),
            ("post", "/v1/chat/completions", denied),
            ("GET", "/v1/chat/completions", denied),
            ("HEAD", "/v1/models/gpt-4o", denied),
            ("OPTIONS", "/v1/models/gpt-4o", denied),
            ("GET", "/v1/models", denied),
            ("GET", "/v1/models/", None),
            ("GET", "/v1/models/a/b", denied),
            ("GET", "/v1/embeddings?/v1/models/x", denied),
            ("POST", "/v1/embeddings", denied),
            ("POST", "/v2/chat/completions", denied),
            ("GET", "/v1/filesx", denied),
            ("GET", "/v1/models/%67pt-4o", Some("malformed_request")),
            ("POST", "/v1/chat%2Fcompletions", Some("malformed_request")),
        ],
    )
    .await;
    check_endpoints("openai", json!([]), &[("GET", "/v1/models", denied)]).await;
}

#[tokio::test]
async fn an_encoded_slash_leads_nowhere_else() {
    let denied = Some("endpoint_denied");
    check_endpoints(
        "github",
        json!(["GET /repos/o/r/contents/*", "GET /repos/o/r/git/**"]),
        &[
            ("GET", "/repos/o/r/contents/a", None),
            ("GET", "/repos/o/r/contents/a%2Fb", denied),
            ("GET", "/repos/o/r/git/ref/heads/x", None),
        ],
    )
    .await;
    // Amazon's clients write names of models so.
    let arn = "arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.x";
    check_endpoints(
        "bedrock",
        json!(["POST /model/*/converse"]),
        &[
            ("POST", &format!("/model/{arn}/converse"), None),
            ("POST", &format!("/model/{arn}/invoke"), denied),
            ("POST", "/model/x/converse", None),
        ],
    )
    .await;
}

#[tokio::test]
async fn what_is_refused_to_every_key_passes_for_one_that_names_it() {
    let denied = Some("endpoint_denied");
    check_endpoints(
        "openai",
        json!(["POST /v1/batches", "POST /v1/organization/*", "* /v1/realtime/client_secrets", "GET /**"]),
        &[
            ("POST", "/v1/batches", None),
            ("POST", "/v1/batches/", denied),
            ("POST", "/v1/batches/b/cancel", denied),
            ("POST", "/v1/organization/projects", denied),
            ("GET", "/v1/organization/projects", denied),
            ("POST", "/v1/realtime/client_secrets", denied),
            ("GET", "/v1/models", None),
        ],
    )
    .await;
    // Looking is harmless where only writing is refused.
    check_endpoints("openai", json!(["GET /v1/batches"]), &[("POST", "/v1/batches", denied)]).await;
}

#[tokio::test]
async fn a_refusal_says_what_may_be_called() {
    let upstream = upstream().await;
    let rig = Rig::openai(&upstream.url()).await;
    let scope =
        json!({"endpoints": ["POST /v1/chat/completions", "GET /v1/models"], "networks": ["127.0.0.1"]});
    let (token, _) = rig.mint_scoped("openai", scope.clone()).await;
    let answer = rig.call(&token, "POST", "/v1/embeddings", "{}").await;
    assert!(answer.text().contains("POST /v1/chat/completions, GET /v1/models"), "{}", answer.text());
    let answer = rig.call(&token, "GET", "/key", "").await;
    let shown: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(shown["key"]["scope"], scope);
}

#[tokio::test]
async fn a_websocket_is_a_get_of_its_path() {
    let upstream = upstream().await;
    let rig = Rig::openai(&upstream.url()).await;
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: \
                   dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (endpoints, is_sent) in [(json!(["POST /v1/responses"]), false), (json!(["GET /v1/responses"]), true)]
    {
        let (token, _) = rig.mint_scoped("openai", json!({"endpoints": endpoints})).await;
        let before = upstream.received().len();
        let mut client = Client::connect(rig.address).await;
        client.send(get(&token, "/v1/responses", upgrade)).await;
        let head = client.head().await.expect("an answer");
        assert_eq!(head.starts_with("HTTP/1.1 403 "), !is_sent, "{endpoints}: {head}");
        assert_eq!(upstream.received().len() - before, usize::from(is_sent));
    }
}
