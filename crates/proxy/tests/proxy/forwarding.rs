//! What the provider gets to see, and what of its answer the client gets to see.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use till_core::upstream::Placement;
use till_providers::Registry;
use till_proxy::OutboundProxy;
use till_testkit::client::Client;
use till_testkit::upstream::{Step, Upstream, chunk, chunked_head, json, respond};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::rig::{Options, Rig, UPSTREAM_KEY, request, soon};

#[tokio::test]
async fn every_provider_gets_its_key_where_it_wants_it() {
    let upstream = Upstream::start(|_, _| json("{}")).await;
    let url = upstream.url();
    let registry = Registry::builtin();
    let ids: Vec<&str> = registry.iter().map(|provider| provider.id()).collect();
    let repointed: Vec<(&str, &str)> = ids.iter().map(|id| (*id, url.as_str())).collect();
    let rig = Rig::start(&repointed, Options::default()).await;
    for id in ids {
        let (token, _) = rig.mint(id, 9).await;
        // The same token in every place that some client uses.
        for place in [
            format!("authorization: Bearer {token}"),
            format!("x-api-key: {token}"),
            format!("x-goog-api-key: {token}"),
            format!("api-key: {token}"),
            format!("authorization: token {token}"),
        ] {
            let text = format!("GET /v1/models?a=b HTTP/1.1\r\nhost: till\r\n{place}\r\n\r\n");
            let answer = Client::connect(rig.address).await.request(text).await;
            assert_eq!(answer.status, 200, "{id} {}", answer.text());
            let received = upstream.received().pop().expect("it arrived");
            assert!(!received.head.contains("till_sk_"), "{id}: {}", received.head);
            match registry.get(id).expect("built in").placement() {
                Placement::Header { name, template } => {
                    assert_eq!(received.header(name), [template.replace("{key}", UPSTREAM_KEY)], "{id}");
                }
                other => panic!("no built-in provider has {other:?}"),
            }
            assert_eq!(received.head.matches(UPSTREAM_KEY).count(), 1, "{id}: {}", received.head);
            assert!(received.target().ends_with("?a=b"), "{id}: {}", received.target());
        }
    }
}

#[tokio::test]
async fn the_query_is_emptied_of_the_key_only() {
    let upstream = Upstream::start(|_, _| json("{}")).await;
    let rig = Rig::start(&[("google", &upstream.url())], Options::default()).await;
    let (token, _) = rig.mint("google", 1).await;
    let text = format!(
        "POST /v1beta/models/gemini-2.5-flash:generateContent?alt=sse&key={token}&x=%20+ HTTP/1.1\r\nhost: till\r\ncontent-length: 2\r\n\r\n{{}}"
    );
    assert_eq!(Client::connect(rig.address).await.request(text).await.status, 200);
    let received = &upstream.received()[0];
    assert_eq!(received.target(), "/v1beta/models/gemini-2.5-flash:generateContent?alt=sse&x=%20+");
    assert_eq!(received.header("x-goog-api-key"), [UPSTREAM_KEY]);
}

#[tokio::test]
async fn headers_of_the_hop_and_of_till_stay_here() {
    let upstream = Upstream::start(|_, _| {
        let headers = "connection: close, x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nx-till-activations-remaining: 99\r\nx-request-id: r1\r\nset-cookie: a=b\r\nset-cookie: c=d\r\n";
        respond("200 OK", headers, b"{}")
    })
    .await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, _) = rig.mint("openai", 5).await;
    let text = format!(
        "POST /v1/responses HTTP/1.1\r\nHost: till.example\r\nAuthorization: Bearer {token}\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nProxy-Authorization: Basic eDp5\r\nTE: gzip\r\nRange: bytes=0-3\r\nIf-Range: x\r\nAccept-Encoding: gzip, br\r\nX-Till-Anything: 1\r\nExpect: 200-maybe\r\nX-Stainless-Lang: python\r\nOpenAI-Beta: assistants=v2\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    let answer = Client::connect(rig.address).await.request(text).await;
    let received = &upstream.received()[0];
    for gone in [
        "x-mine",
        "keep-alive",
        "proxy-authorization",
        "te",
        "range",
        "if-range",
        "x-till-anything",
        "expect",
    ] {
        assert_eq!(received.header(gone), Vec::<&str>::new(), "{gone}: {}", received.head);
    }
    assert_eq!(received.header("host"), [upstream.address().to_string()]);
    assert_eq!(received.header("accept-encoding"), ["identity"]);
    assert_eq!(received.header("x-stainless-lang"), ["python"]);
    assert_eq!(received.header("openai-beta"), ["assistants=v2"]);
    assert_eq!(answer.header("x-hop"), None, "{}", answer.head);
    assert_eq!(answer.header("keep-alive"), None);
    assert_eq!(answer.header("x-request-id"), Some("r1"));
    assert_eq!(answer.header("x-till-activations-remaining"), Some("4"), "ours, not the provider's");
    assert_eq!(answer.head.matches("set-cookie").count(), 2);
}

#[tokio::test]
async fn bodies_pass_unchanged_in_both_directions() {
    let upstream = Upstream::start(|_, request| respond("200 OK", "", &request.body)).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, _) = rig.mint("openai", 10).await;
    let big: Vec<u8> = (0..5_000_000_u32).map(|n| u8::try_from(n % 251).expect("below 251")).collect();
    let head = format!("POST /v1/files HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n");
    let with_length = [format!("{head}content-length: {}\r\n\r\n", big.len()).as_bytes(), &big].concat();
    let answer = Client::connect(rig.address).await.request(with_length).await;
    assert!(answer.body == big, "5 MB with a length");
    let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n1;a=b\r\n!\r\n0\r\n\r\n");
    let answer = Client::connect(rig.address).await.request(chunked).await;
    assert_eq!(answer.text(), "hello!");
}

#[tokio::test]
async fn a_get_keeps_its_body() {
    let upstream = Upstream::start(|_, request| respond("200 OK", "", &request.body)).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, _) = rig.mint("openai", 2).await;
    let head = format!("GET /v1/models HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n");
    for body in
        ["transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "content-length: 5\r\n\r\nhello"]
    {
        let mut client = Client::connect(rig.address).await;
        let answer = soon(client.request(format!("{head}{body}"))).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    }
}

#[tokio::test]
async fn every_method_passes() {
    let upstream = Upstream::start(|_, request| {
        if request.line().starts_with("HEAD") {
            return vec![Step::Send(b"HTTP/1.1 200 OK\r\ncontent-length: 42\r\n\r\n".to_vec())];
        }
        respond("200 OK", "", request.line().as_bytes())
    })
    .await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint("openai", 20).await;
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    for method in methods {
        let answer = rig.call(&token, method, "/v1/files/x", "").await;
        assert_eq!(answer.text(), format!("{method} /v1/files/x HTTP/1.1"));
    }
    let mut client = Client::connect(rig.address).await;
    client.send(request(&token, "HEAD", "/v1/files/x", "")).await;
    let head = client.head().await.expect("a head");
    assert!(head.contains("content-length: 42"), "{head}");
    // The connection is still in step.
    assert_eq!(client.request(request(&token, "GET", "/v1/x", "")).await.text(), "GET /v1/x HTTP/1.1");
    assert_eq!(rig.used(id).await, 8);
}

#[tokio::test]
async fn till_answers_probes_and_preflights_itself() {
    let upstream = Upstream::start(|_, _| json("{}")).await;
    let rig = Rig::openai(&upstream.url()).await;
    let mut client = Client::connect(rig.address).await;
    client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(client.head().await.expect("a head").starts_with("HTTP/1.1 200"));
    let preflight = "OPTIONS /v1/chat/completions HTTP/1.1\r\nhost: a\r\norigin: https://app.example\r\naccess-control-request-method: POST\r\naccess-control-request-headers: authorization,content-type\r\n\r\n";
    client.send(preflight).await;
    let head = client.head().await.expect("a head");
    for part in [
        "HTTP/1.1 204",
        "access-control-allow-origin: *",
        "access-control-allow-methods: POST",
        "access-control-allow-headers: authorization,content-type",
    ] {
        assert!(head.contains(part), "{part} in {head}");
    }
    assert_eq!(upstream.received(), []);
}

#[tokio::test]
async fn a_client_that_expects_100_gets_it_and_no_body_is_asked_for_when_refused() {
    let upstream = Upstream::start(|_, request| respond("200 OK", "", &request.body)).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, _) = rig.mint("openai", 1).await;
    let head = format!(
        "POST /v1/files HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n"
    );
    let mut client = Client::connect(rig.address).await;
    client.send(&head).await;
    assert_eq!(client.head().await.as_deref(), Some("HTTP/1.1 100 Continue"));
    assert_eq!(client.request("hello").await.text(), "hello");
    let mut client = Client::connect(rig.address).await;
    client.send(&head).await;
    let refused = client.answer().await.expect("an answer without the body");
    assert_eq!(refused.status, 403);
}

#[tokio::test]
async fn trailers_of_answers_pass() {
    let upstream = Upstream::start(|_, _| {
        vec![
            chunked_head("trailer: x-sum, x-till-activations-remaining\r\n"),
            chunk(b"hi"),
            Step::Send(
                b"0\r\nx-sum: 7\r\nX-Till-Activations-Remaining: 99\r\nContent-Length: 9\r\ntransfer-encoding: \
                  chunked\r\ncontent-encoding: gzip\r\ntrailer: x\r\nhost: a\r\n\r\n"
                    .to_vec(),
            ),
        ]
    })
    .await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, _) = rig.mint("openai", 1).await;
    let text = format!(
        "GET /v1/x HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\nte: trailers\r\nconnection: te\r\n\r\n"
    );
    let answer = Client::connect(rig.address).await.request(text).await;
    assert_eq!(
        (answer.text().as_str(), answer.trailers.as_str()),
        ("hi", "x-sum: 7\n"),
        "all but those that are till's own, and those that say how a message is to be read"
    );
    assert_eq!(upstream.received()[0].header("te"), ["trailers"]);
}

/// They come when all that is decided about headers was decided.
#[tokio::test]
async fn trailers_of_requests_do_not_pass() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let provider = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        let mut all = Vec::new();
        while !all.windows(5).any(|part| part == b"\r\n0\r\n") || !all.ends_with(b"\r\n\r\n") {
            socket.read_buf(&mut all).await.expect("more");
        }
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        socket.write_all(answer).await.expect("it reads");
        String::from_utf8(all).expect("text")
    });
    let rig = Rig::openai(&url).await;
    let (token, _) = rig.mint("openai", 1).await;
    let text = format!(
        "POST /v1/files HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ntransfer-encoding: \
         chunked\r\ntrailer: x-api-key\r\n\r\n2\r\nhi\r\n0\r\nx-api-key: {token}\r\ncontent-length: \
         5\r\nx-http-method-override: DELETE\r\n\r\n"
    );
    let mut client = Client::connect(rig.address).await;
    assert_eq!(soon(client.request(&text)).await.text(), "ok");
    let received = provider.await.expect("no panic");
    assert!(received.ends_with("\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), "{received}");
    assert!(!received.contains("x-api-key") && !received.contains("till_sk_"), "{received}");
    // They are read, so that what follows is in step.
    assert_eq!(client.request("GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n").await.text(), "own /healthz");
}

#[tokio::test]
async fn connections_to_the_provider_are_used_again_and_checked_before() {
    let upstream = Upstream::start(|number, _| {
        let mut steps = json("{}");
        if number == 2 {
            // Closes an idle connection, as providers do.
            steps.push(Step::Close);
        }
        steps
    })
    .await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint("openai", 6).await;
    for _ in 0..6 {
        let answer = rig.call(&token, "GET", "/v1/models", "").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(upstream.connections(), 2);
    assert_eq!((upstream.received().len(), rig.used(id).await), (6, 6));
}

#[tokio::test]
async fn http2_clients_are_served() {
    let upstream = Upstream::start(|_, request| respond("200 OK", "", &request.body)).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint("openai", 10).await;
    let socket = TcpStream::connect(rig.address).await.expect("it listens");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
            .await
            .expect("HTTP/2 with prior knowledge");
    tokio::spawn(connection);
    let mut pending = Vec::new();
    for number in 0..12 {
        let request = http::Request::post("http://till/v1/chat/completions")
            .header("authorization", format!("Bearer {token}"))
            .body(Full::new(Bytes::from(format!("body {number}"))))
            .expect("a good request");
        pending.push((number, sender.send_request(request)));
    }
    let mut passed = 0;
    for (number, answer) in pending {
        let answer = answer.await.expect("an answer");
        let status = answer.status();
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        if status == 200 {
            assert_eq!(body, format!("body {number}"));
            passed += 1;
        } else {
            assert_eq!(status, 403);
        }
    }
    assert_eq!((passed, rig.used(id).await, upstream.received().len()), (10, 10, 10));
}

#[tokio::test]
async fn too_much_at_once_is_refused_and_costs_nothing() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let script_gate = Arc::clone(&gate);
    let upstream =
        Upstream::start(move |_, _| [vec![Step::Wait(script_gate.clone())], json("{}")].concat()).await;
    let options = Options { in_flight_max: 1, ..Options::default() };
    let rig = Rig::start(&[("openai", &upstream.url())], options).await;
    let (token, id) = rig.mint("openai", 5).await;
    let mut first = Client::connect(rig.address).await;
    first.send(request(&token, "GET", "/v1/models", "")).await;
    while upstream.received().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for path in ["/v1/models", "/key"] {
        let refused = rig.call(&token, "GET", path, "").await;
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{}", refused.text());
        assert!(refused.text().contains("overloaded"), "{path}: {}", refused.text());
    }
    gate.add_permits(10);
    assert_eq!(first.answer().await.expect("an answer").status, 200);
    assert_eq!(rig.used(id).await, 1);
}

/// A proxy that opens tunnels to anywhere and keeps the heads of the requests for them.
async fn outbound_proxy() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let heads = Arc::<Mutex<Vec<String>>>::default();
    let kept = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await.expect("a head"));
            }
            let head = String::from_utf8(head).expect("text");
            let target = head.split(' ').nth(1).expect("a target").to_owned();
            kept.lock().expect("no panic").push(head);
            let mut upstream = TcpStream::connect(target).await.expect("it listens");
            socket.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.expect("writable");
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut socket, &mut upstream).await });
        }
    });
    (format!("http://user:pass@{address}"), heads)
}

#[tokio::test]
async fn an_outbound_proxy_is_used_except_where_it_is_not_to_be() {
    let upstream = Upstream::start(|_, _| json("{}")).await;
    for (no_proxy, expected) in [(None, 1), (Some("127.0.0.1".to_owned()), 0)] {
        let (url, heads) = outbound_proxy().await;
        let outbound_proxy = OutboundProxy { http: Some(url), https: None, no_proxy };
        let options = Options { outbound_proxy, ..Options::default() };
        let rig = Rig::start(&[("openai", &upstream.url())], options).await;
        let (token, _) = rig.mint("openai", 2).await;
        for _ in 0..2 {
            assert_eq!(rig.call(&token, "GET", "/v1/models", "").await.status, 200);
        }
        let heads = heads.lock().expect("no panic").clone();
        assert_eq!(heads.len(), expected, "{heads:?}");
        for head in heads {
            assert!(head.starts_with(&format!("CONNECT {} HTTP/1.1\r\n", upstream.address())), "{head}");
            assert!(head.contains("proxy-authorization: Basic dXNlcjpwYXNz"), "{head}");
            assert!(!head.contains(UPSTREAM_KEY), "{head}");
        }
    }
}

#[tokio::test]
async fn an_outbound_proxy_that_refuses_costs_nothing() {
    // An IPv6 address is told from its port by brackets.
    for authority in ["127.0.0.1:9", "[2001:db8::5]:8080"] {
        let proxy = Upstream::start(|_, _| respond("407 Proxy Authentication Required", "", b"")).await;
        let outbound_proxy = OutboundProxy { http: Some(proxy.url()), https: None, no_proxy: None };
        let options = Options { outbound_proxy, ..Options::default() };
        let rig = Rig::start(&[("openai", &format!("http://{authority}"))], options).await;
        let (token, id) = rig.mint("openai", 2).await;
        let answer = soon(rig.call(&token, "GET", "/v1/models", "")).await;
        assert_eq!(answer.status, 502, "{}", answer.text());
        assert_eq!(proxy.received()[0].line(), format!("CONNECT {authority} HTTP/1.1"));
        assert_eq!(proxy.received()[0].header("host"), [authority]);
        assert_eq!(rig.used(id).await, 0);
    }
}

#[tokio::test]
async fn a_protocol_that_nobody_asked_for_is_not_relayed() {
    let upstream = Upstream::start(|_, _| {
        let switching = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: foo\r\n\r\n";
        vec![Step::Send(switching.to_vec()), Step::Echo]
    })
    .await;
    let rig = Rig::openai(&upstream.url()).await;
    for asked in ["", "connection: upgrade\r\nupgrade: foo\r\n"] {
        let (token, id) = rig.mint("openai", 1).await;
        let text =
            format!("GET /v1/models HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n{asked}\r\n");
        let answer = soon(Client::connect(rig.address).await.request(text)).await;
        assert_eq!(answer.status, 502, "{asked:?}: {}", answer.text());
        assert!(answer.text().contains("upstream_protocol"), "{asked:?}: {}", answer.text());
        rig.has_nothing_left(&token).await;
        assert_eq!(rig.used(id).await, 1);
    }
}

#[tokio::test]
async fn an_outbound_proxy_gets_no_credentials_over_another_scheme_than_it_was_given_with() {
    let proxy = Upstream::start(|_, _| respond("200 OK", "", b"")).await;
    let url = format!("https://user:pass@{}", proxy.address());
    let outbound_proxy = OutboundProxy { http: Some(url), https: None, no_proxy: None };
    let options = Options { outbound_proxy, ..Options::default() };
    let rig = Rig::start(&[("openai", "http://127.0.0.1:9")], options).await;
    let (token, id) = rig.mint("openai", 2).await;
    let answer = rig.call(&token, "GET", "/v1/models", "").await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert_eq!((proxy.connections(), rig.used(id).await), (0, 0));
}
