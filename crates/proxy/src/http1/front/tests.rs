//! What is read as a request, and what is not.

use std::future::poll_fn;
use std::time::Duration;

use proptest::prelude::*;
use till_core::denial::DenialCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::{FrontDoor, FrontTimeouts, HeadLimits, Protocol, Shared};

const LIMITS: HeadLimits = HeadLimits { bytes: 512, count: 8 };

const SECOND: Duration = Duration::from_secs(1);

fn on_a_fake_clock<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(test)
}

/// A door that gives a client one second for a head, and between two.
fn door(socket: DuplexStream) -> FrontDoor<DuplexStream> {
    FrontDoor::new(socket, LIMITS, FrontTimeouts { head: SECOND, idle: SECOND, stalled: SECOND })
}

/// What was understood of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Understood {
    /// Method and target, headers, and the body with its trailers.
    requests: Vec<(String, String, String)>,
    refused: Option<DenialCode>,
    /// The body of the last request broke.
    is_broken: bool,
}

/// Reads requests until there is none any more.
async fn understand(door: &mut FrontDoor<DuplexStream>) -> Understood {
    let mut all = Understood::default();
    loop {
        let request = match poll_fn(|cx| door.poll_request(cx)).await {
            Ok(Some(Ok(request))) => request,
            Ok(Some(Err(violation))) => {
                all.refused = Some(violation.code);
                return all;
            }
            Ok(None) | Err(_) => return all,
        };
        let mut body = Vec::new();
        let end = loop {
            match poll_fn(|cx| door.poll_body(cx)).await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => body.extend_from_slice(&data),
                    Err(trailers) => body.extend_from_slice(format!("{trailers:?}").as_bytes()),
                },
                Some(Err(_)) => break Err(()),
                None => break Ok(()),
            }
        };
        let head = request.head;
        let mut lines = Vec::new();
        head.fields.write_to(&mut lines);
        let text = |bytes| String::from_utf8(bytes).expect("text");
        all.requests.push((format!("{} {}", head.method, head.target.as_str()), text(lines), text(body)));
        if end.is_err() {
            assert!(!door.can_go_on());
            all.is_broken = true;
            return all;
        }
        if !request.is_kept {
            return all;
        }
    }
}

/// Sends `pieces` one after the other.
fn pass(pieces: &[&[u8]]) -> Understood {
    on_a_fake_clock(async {
        let (mut client, server) = tokio::io::duplex(16);
        let mut door = door(server);
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
        let writer = tokio::spawn(async move {
            for piece in pieces {
                if client.write_all(&piece).await.is_err() {
                    return;
                }
            }
            let _ = client.shutdown().await;
            let mut rest = Vec::new();
            let _ = client.read_to_end(&mut rest).await;
        });
        let understood = understand(&mut door).await;
        drop(door);
        writer.await.expect("the writer");
        understood
    })
}

/// However it is cut, `text` is these requests: method and target, headers, body.
#[track_caller]
fn passes(text: &str, requests: &[(&str, &str, &str)]) {
    let requests =
        requests.iter().map(|(line, head, body)| (line.to_string(), head.to_string(), body.to_string()));
    let expected = Understood { requests: requests.collect(), ..Understood::default() };
    let bytes = text.as_bytes();
    assert_eq!(pass(&[bytes]), expected, "{text:?}");
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(pass(&single), expected, "byte by byte: {text:?}");
}

/// The last head of `text` is refused.
#[track_caller]
fn refuses(text: &str, code: DenialCode) {
    let bytes = text.as_bytes();
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    for pieces in [vec![bytes], single] {
        let understood = pass(&pieces);
        assert_eq!(understood.refused, Some(code), "{text:?}");
        assert_eq!(understood.requests.len(), text.matches(" HTTP/").count().saturating_sub(1), "{text:?}");
    }
}

#[test]
fn ordinary_requests_pass() {
    let host = "host: a\r\n";
    passes("GET /v1/models HTTP/1.1\r\nHost: till\r\n\r\n", &[("GET /v1/models", "host: till\r\n", "")]);
    passes("\r\nGET / HTTP/1.0\r\n\r\n", &[("GET /", "", "")]);
    passes(
        "POST /?q HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        &[("POST /?q", "host: a\r\ncontent-length: 5\r\n", "hello"), ("GET /", host, "")],
    );
    passes(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
        &[
            (
                "POST /",
                "host: a\r\ntransfer-encoding: Chunked\r\n",
                r#"helloFrame { kind: Trailers({"a": "b"}) }"#,
            ),
            ("GET /", host, ""),
        ],
    );
}

#[test]
fn nothing_follows_where_the_protocol_may_change() {
    passes(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
        &[("GET /", "host: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n", "")],
    );
}

#[test]
fn what_connection_names_is_not_there() {
    for (lines, left) in [
        ("X-A: 1\r\nConnection: x-a\r\nx-a: 2\r\nX-B: 3\r\n", "connection: x-a\r\nx-b: 3\r\n"),
        (
            "X-A: 1\r\nconnection: close ,\tX-A ,,\r\nconnection: X-B\r\nx-b:\r\n",
            "connection: close ,\tX-A ,,\r\nconnection: X-B\r\n",
        ),
        // What this hop is made of, and who is behind it.
        ("TE: x\r\nconnection: te, host, close\r\n", "te: x\r\nconnection: te, host, close\r\n"),
        (
            "Content-Length: 0\r\nconnection: content-length,close\r\n",
            "content-length: 0\r\nconnection: content-length,close\r\n",
        ),
        (
            "X-Forwarded-For: 1\r\nForwarded: 2\r\nconnection: forwarded,x-forwarded-for\r\n",
            "x-forwarded-for: 1\r\nforwarded: 2\r\nconnection: forwarded,x-forwarded-for\r\n",
        ),
    ] {
        passes(
            &format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"),
            &[("GET /", &format!("host: a\r\n{left}"), "")],
        );
    }
}

#[test]
fn a_connection_lasts_as_long_as_both_want() {
    for (head, is_kept) in [
        ("GET / HTTP/1.1\r\nhost: a\r\n", true),
        ("GET / HTTP/1.1\r\nhost: a\r\nConnection: x, Close\r\n", false),
        ("GET / HTTP/1.0\r\n", false),
        ("GET / HTTP/1.0\r\nconnection: Keep-Alive\r\n", true),
    ] {
        let understood = pass(&[format!("{head}\r\nGET / HTTP/1.1\r\nhost: b\r\n\r\n").as_bytes()]);
        assert_eq!(understood.requests.len(), if is_kept { 2 } else { 1 }, "{head:?}");
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let rows = [
        // Two lengths, or a length and a coding.
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        // Line ends.
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n",
        // Header syntax.
        "GET / HTTP/1.1\r\nHost: a\r\n X: folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tfolded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n: empty\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
        // Host and request line.
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET /\r\nHost: a\r\n\r\n",
        "GET /\t HTTP/1.1\r\nHost: a\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        // A body on an upgrade could hide a request.
        "POST / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx",
        // The second request on the connection.
        "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
    ];
    for row in rows {
        refuses(row, DenialCode::MalformedRequest);
    }
}

#[test]
fn long_heads_are_refused_whether_complete_or_not() {
    let complete = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(600));
    refuses(&complete, DenialCode::HeadersTooLarge);
    refuses(&"GET / HTTP/1.1\r\nHost: a\r\nX: ".replace('X', &"x".repeat(600)), DenialCode::HeadersTooLarge);
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(8));
    refuses(&many, DenialCode::HeadersTooLarge);
}

#[test]
fn a_slow_head_is_refused_and_silence_is_an_end() {
    for (sent, expected) in [("", None), ("GET / HT", Some(DenialCode::MalformedRequest))] {
        on_a_fake_clock(async {
            let (mut client, server) = tokio::io::duplex(64);
            let mut door = door(server);
            client.write_all(sent.as_bytes()).await.expect("room");
            assert_eq!(
                understand(&mut door).await,
                Understood { refused: expected, ..Understood::default() }
            );
        });
    }
}

#[test]
fn broken_chunks_end_the_body_with_an_error() {
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for chunks in [
        "5\nhello\r\n0\r\n\r\n",
        "5 \r\nhello",
        "-5\r\n",
        "\r\n",
        "5\r\nhelloX",
        "0\r\nbare\n\r\n",
        "0\r\nno colon\r\n\r\n",
        "0\r\nna me: x\r\n\r\n",
        "fffffffffffffffff\r\n",
    ] {
        let request = format!("{head}{chunks}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        let single: Vec<&[u8]> = request.as_bytes().chunks(1).collect();
        for pieces in [vec![request.as_bytes()], single] {
            let understood = pass(&pieces);
            assert!(understood.is_broken && understood.requests.len() == 1, "{chunks:?}: {understood:?}");
        }
    }
}

#[test]
fn a_body_that_breaks_off_is_an_error() {
    for body in ["Content-Length: 5\r\n\r\nhell", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
        assert!(pass(&[format!("POST / HTTP/1.1\r\nHost: a\r\n{body}").as_bytes()]).is_broken, "{body}");
    }
}

proptest! {
    /// Wherever the bytes are cut, the same is read.
    #[test]
    fn cuts_make_no_difference(cuts in proptest::collection::vec(0_usize..200, 0..6)) {
        let stream = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcPOST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts.into_iter().chain([stream.len()]) {
            pieces.push(&stream[from..cut]);
            from = cut;
        }
        let whole = pass(&[stream]);
        prop_assert_eq!((whole.requests.len(), whole.requests[1].2.as_str()), (3, "0123456789"));
        prop_assert_eq!(pass(&pieces), whole);
    }
}

#[test]
fn http2_is_recognised_by_its_preface_only() {
    let rows: [(&[u8], Protocol); 4] = [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0", Protocol::Http2),
        (b"PRI * HTTP/2.0\r\n\r\nXX", Protocol::Http1),
        (b"POST / HTTP/1.1\r\n", Protocol::Http1),
        (b"P", Protocol::Http1),
    ];
    for (sent, expected) in rows {
        on_a_fake_clock(async {
            let (mut client, server) = tokio::io::duplex(64);
            let mut door = door(server);
            client.write_all(sent).await.expect("room");
            client.shutdown().await.expect("open");
            assert_eq!(door.detect().await.expect("no error"), expected);
            let mut read = Vec::new();
            door.into_rewound().read_to_end(&mut read).await.expect("no error");
            assert_eq!(read, sent);
        });
    }
}

#[test]
fn a_client_that_leaves_is_noticed_and_what_it_sends_is_kept() {
    on_a_fake_clock(async {
        let (mut client, server) = tokio::io::duplex(64);
        let mut door = door(server);
        let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        client.write_all(request).await.expect("room");
        assert!(matches!(poll_fn(|cx| door.poll_request(cx)).await, Ok(Some(Ok(_)))));
        client.write_all(request).await.expect("room");
        // However long it takes: the client waits for us.
        let gone = tokio::time::timeout(600 * SECOND, poll_fn(|cx| door.poll_gone(cx))).await;
        assert!(gone.is_err(), "it is still there");
        door.answered(tokio::time::Instant::now());
        assert!(matches!(poll_fn(|cx| door.poll_request(cx)).await, Ok(Some(Ok(_)))));
        drop(client);
        poll_fn(|cx| door.poll_gone(cx)).await;
    });
}

/// What can be had of a body right after its head, and then the next request.
async fn whole_at_once(sent: &[u8]) -> (Option<String>, String) {
    let (mut client, socket) = tokio::io::duplex(4096);
    client.write_all(sent).await.expect("room");
    client.write_all(b"GET /next HTTP/1.1\r\nhost: a\r\n\r\n").await.expect("room");
    drop(client);
    let door = Shared::new(door(socket));
    poll_fn(|cx| door.lock().poll_request(cx))
        .await
        .expect("a socket")
        .expect("a request")
        .expect("a good one");
    let body = door.body();
    let whole = body.whole_length().map(|length| {
        let whole = body.take_whole();
        assert_eq!(whole.len(), length);
        String::from_utf8(whole.to_vec()).expect("text")
    });
    drop(body);
    let mut door = door.into_inner().expect("nobody else has it");
    while poll_fn(|cx| door.poll_body(cx)).await.is_some() {}
    let next = understand(&mut door).await;
    (whole, next.requests.first().map_or_else(String::new, |(target, ..)| target.clone()))
}

#[test]
fn a_body_that_is_whole_can_be_had_at_once_and_no_part_of_one() {
    on_a_fake_clock(async {
        for (framing, body, expected) in [
            ("content-length: 5", "hello", Some("hello")),
            ("content-length: 0", "", Some("")),
            ("accept: */*", "", Some("")),
            ("transfer-encoding: chunked", "5\r\nhello\r\n0\r\n\r\n", None),
            ("transfer-encoding: chunked", "1\r\nh\r\n4\r\nello\r\n0\r\nx: y\r\n\r\n", None),
        ] {
            let head = format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n");
            let (whole, next) = whole_at_once(format!("{head}{body}").as_bytes()).await;
            assert_eq!(whole.as_deref(), expected, "{framing} {body:?}");
            assert_eq!(next, "GET /next", "{framing} {body:?}: nothing of it is taken for another request");
        }
        // Not all of it has come.
        let (mut client, socket) = tokio::io::duplex(4096);
        client
            .write_all(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nhello")
            .await
            .expect("room");
        let door = Shared::new(door(socket));
        poll_fn(|cx| door.lock().poll_request(cx))
            .await
            .expect("a socket")
            .expect("a request")
            .expect("good");
        assert_eq!(door.body().whole_length(), None);
    });
}
