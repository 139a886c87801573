//! Answers of providers as they may be framed, and as they may not.

use std::sync::Arc;

use till_testkit::client::Client;
use till_testkit::upstream::{Step, Upstream, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::rig::{Rig, request, soon};

/// An upstream that sends this and closes.
async fn sends(answer: &str) -> Upstream {
    let answer = answer.as_bytes().to_vec();
    Upstream::start(move |_, _| vec![Step::Send(answer.clone()), Step::Close]).await
}

/// How an answer is passed on: status, body, and whether it came to its end.
async fn passed(answer: &str, method: &str) -> (u16, String, bool) {
    let upstream = sends(answer).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, id) = rig.mint("openai", 1).await;
    let passed = soon(rig.call(&token, method, "/v1/models", "")).await;
    assert_eq!((upstream.received().len(), rig.used(id).await), (1, 1), "{answer:?}");
    (passed.status, passed.text(), passed.is_complete)
}

#[tokio::test]
async fn bodies_end_where_the_head_says() {
    for (answer, body) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", "hi"),
        ("HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nhi", "hi"),
        ("HTTP/1.1 200 \r\nContent-Length:2\r\n\r\nhi", "hi"),
        ("HTTP/1.1 200 O\tK \u{e9}\r\ncontent-length: 2\r\n\r\nhi", "hi"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nhi", "hi"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", ""),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "hi"),
        // Some servers pad sizes.
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2  \r\nhi\r\n0 ;x=y\r\n\r\n", "hi"),
        // RFC 9112 section 6.3: chunks override a length.
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            "hi",
        ),
        // Without either it is all that comes.
        ("HTTP/1.1 200 OK\r\n\r\nhi", "hi"),
        ("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\n\r\nhi", "hi"),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", "hi"),
        // Others come before it.
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
            "hi",
        ),
    ] {
        assert_eq!(passed(answer, "GET").await, (200, body.to_owned(), true), "{answer:?}");
    }
}

/// A client that got the head of an answer with this status, because the provider sent `answer`; and what it is connected to.
async fn answered(answer: &'static str, method: &str, status: u16) -> (Rig, Client) {
    let upstream = sends(answer).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, _) = rig.mint("openai", 1).await;
    let mut client = Client::connect(rig.address).await;
    client.send(request(&token, method, "/v1/models", "")).await;
    let head = soon(client.head()).await.expect("a head");
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{answer:?}: {head}");
    (rig, client)
}

#[tokio::test]
async fn some_answers_have_no_body() {
    for (answer, method, status) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", "HEAD", 200),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "HEAD", 200),
        ("HTTP/1.1 204 No Content\r\n\r\n", "DELETE", 204),
        ("HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\n\r\n", "GET", 304),
    ] {
        let (_rig, mut client) = answered(answer, method, status).await;
        // What comes next is the answer to the next request.
        client.send("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let next = soon(client.head()).await.expect("another head");
        assert!(next.starts_with("HTTP/1.1 200 "), "{answer:?}: {next}");
    }
}

#[tokio::test]
async fn an_answer_without_a_body_is_read_as_strictly() {
    for (answer, method, status) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\n", "HEAD", 200),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n", "HEAD", 502),
        ("HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\n", "HEAD", 502),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n", "HEAD", 502),
        ("HTTP/1.1 304 Not Modified\r\ncontent-length: 2, 2\r\n\r\n", "GET", 502),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 0\r\ncontent-length: 1\r\n\r\n", "GET", 502),
        (
            "HTTP/1.1 100 Continue\r\ncontent-length: -1\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "GET",
            502,
        ),
    ] {
        answered(answer, method, status).await;
    }
}

/// What some senders put there all the same is no body to others.
#[tokio::test]
async fn a_connection_is_given_up_after_a_body_where_none_may_be() {
    for (answer, is_reused, length) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", true, None),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", true, None),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n", false, None),
        ("HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n", false, None),
        ("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", true, Some("5")),
        ("HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n", false, None),
        ("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", true, None),
        ("HTTP/1.1 103 Early Hints\r\ncontent-length: 5\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", false, None),
        (
            "HTTP/1.1 103 Early Hints\r\ntransfer-encoding: chunked\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
            false,
            None,
        ),
    ] {
        let upstream = Upstream::start(move |_, _| vec![Step::Send(answer.as_bytes().to_vec())]).await;
        let rig = Rig::openai(&upstream.url()).await;
        let (token, _) = rig.mint("openai", 2).await;
        let mut client = Client::connect(rig.address).await;
        for _ in 0..2 {
            client.send(request(&token, "GET", "/v1/models", "")).await;
            let head = soon(client.head()).await.expect("a head");
            let told = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            assert_eq!(told, length, "{answer:?}");
        }
        assert_eq!(upstream.connections(), if is_reused { 1 } else { 2 }, "{answer:?}");
    }
}

#[tokio::test]
async fn what_is_no_http_is_said_so_and_counted() {
    for answer in [
        "",
        "\r\n",
        "hello\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n",
        "HTTP/1.1 200 OK\ncontent-length: 2\n\nhi",
        "HTTP/1.1 200 OK\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.1 200\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.1 200OK\r\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.1 200 O\0K\r\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.1 200 O\rK\r\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.1 200 O\u{7f}K\r\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\nna me: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: y\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nx: \0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: two\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nhi!",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let (status, text, _) = passed(answer, "GET").await;
        assert!(status == 502 && text.contains("upstream_protocol"), "{answer:?}: {status} {text}");
    }
}

#[tokio::test]
async fn a_body_that_ends_early_looks_cut() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\nX\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhiX",
    ] {
        let (status, text, is_complete) = passed(answer, "GET").await;
        assert!(status == 200 && "hi".starts_with(&text) && !is_complete, "{answer:?}: {text}");
    }
}

/// Its end is told by the end of the connection, so that has to be no ordinary one.
#[tokio::test]
async fn nor_does_it_look_complete_to_a_client_of_http_1_0() {
    for (answer, is_whole) in [
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n", false),
    ] {
        let upstream = sends(answer).await;
        let rig = Rig::openai(&upstream.url()).await;
        let (token, _) = rig.mint("openai", 1).await;
        let mut socket = TcpStream::connect(rig.address).await.expect("it listens");
        let asked = request(&token, "GET", "/v1/models", "").replace("HTTP/1.1", "HTTP/1.0");
        socket.write_all(asked.as_bytes()).await.expect("open");
        let mut passed = Vec::new();
        let end = soon(socket.read_to_end(&mut passed)).await;
        assert_eq!(end.is_ok(), is_whole, "{answer:?}: {end:?}");
        assert!(!is_whole || passed.ends_with(b"\r\n\r\nhi"), "{:?}", String::from_utf8_lossy(&passed));
    }
}

#[tokio::test]
async fn it_makes_no_difference_where_an_answer_is_cut() {
    let answer = b"HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\nHTTP/1.1 200 OK\r\nX-Y:z\r\ntransfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n3\r\n, w\r\n0\r\nsum: 1\r\n\r\n";
    let gate = Arc::new(Semaphore::new(0));
    let script_gate = Arc::clone(&gate);
    let upstream = Upstream::start(move |number, _| {
        let (left, right) = answer.split_at(number % answer.len());
        let left = Step::Send(left.to_vec());
        vec![left, Step::Wait(Arc::clone(&script_gate)), Step::Send(right.to_vec())]
    })
    .await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, _) = rig.mint("openai", 1_000).await;
    let mut client = Client::connect(rig.address).await;
    for cut in 0..answer.len() {
        client.send(request(&token, "GET", "/v1/models", "")).await;
        super::rig::becomes(|| upstream.received().len() == cut + 1).await;
        tokio::task::yield_now().await;
        gate.add_permits(1);
        let passed = soon(client.answer()).await.expect("an answer");
        assert_eq!(
            (passed.status, passed.text().as_str(), passed.header("x-y")),
            (200, "hello, w", Some("z")),
            "{cut}"
        );
        assert_eq!(passed.trailers, "sum: 1\n", "{cut}");
    }
    assert_eq!(upstream.connections(), 1, "it is used again each time");
}

#[tokio::test]
async fn nothing_that_follows_an_answer_answers_the_next_request() {
    let smuggled = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled";
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    ] {
        for is_apart in [false, true] {
            let upstream = Upstream::start(move |number, _| match (number, is_apart) {
                (0, false) => vec![Step::Send(format!("{answer}{smuggled}").into_bytes())],
                (0, true) => {
                    vec![Step::Send(answer.as_bytes().to_vec()), Step::Send(smuggled.as_bytes().to_vec())]
                }
                _ => json("{}"),
            })
            .await;
            let rig = Rig::openai(&upstream.url()).await;
            let (token, _) = rig.mint("openai", 2).await;
            assert_eq!(rig.call(&token, "GET", "/v1/models", "").await.text(), "hi");
            if is_apart {
                // It has come by then, one way or another.
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            assert_eq!(rig.call(&token, "GET", "/v1/models", "").await.text(), "{}", "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_the_provider_gives_up_is_not_used_again() {
    for (answer, connections) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", 1),
        ("HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 2\r\n\r\nhi", 2),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", 2),
        ("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nhi", 1),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 2),
        // HTTP/1.0 has no chunks, so who sends some may mean something else.
        (
            "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            2,
        ),
    ] {
        let upstream = Upstream::start(move |_, _| vec![Step::Send(answer.as_bytes().to_vec())]).await;
        let rig = Rig::openai(&upstream.url()).await;
        let (token, _) = rig.mint("openai", 2).await;
        for _ in 0..2 {
            assert_eq!(rig.call(&token, "GET", "/v1/models", "").await.text(), "hi");
        }
        assert_eq!(upstream.connections(), connections, "{answer:?}");
    }
}

#[tokio::test]
async fn a_provider_may_answer_before_it_has_read_everything() {
    // It says no to the head, and closes with the body unread.
    let upstream = Upstream::start(|_, _| json("{}")).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.expect("a connection");
        let mut some = [0; 1024];
        let _ = socket.read(&mut some).await;
        let no = b"HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno";
        socket.write_all(no).await.expect("it reads");
        socket.shutdown().await.expect("open");
        // Until the other side has gone.
        while socket.read(&mut some).await.is_ok_and(|length| length > 0) {}
    });
    let rig = Rig::openai(&url).await;
    let (token, id) = rig.mint("openai", 1).await;
    let answer = soon(rig.call(&token, "POST", "/v1/files", &"x".repeat(4_000_000))).await;
    assert_eq!((answer.status, answer.text().as_str()), (413, "no"));
    assert_eq!((rig.used(id).await, upstream.received().len()), (1, 0));
}
