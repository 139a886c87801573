//! What the parser behind the front door gets to read.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use till_core::denial::DenialCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::{ConnectionState, FrontDoor, FrontTimeouts, HeadLimits, Protocol, REFUSED_HEAD};

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
fn door(socket: DuplexStream) -> (FrontDoor<DuplexStream>, Arc<ConnectionState>) {
    let shared = Arc::new(ConnectionState::default());
    let timeouts = FrontTimeouts { head: SECOND, idle: SECOND };
    (FrontDoor::new(socket, LIMITS, timeouts, Arc::clone(&shared)), shared)
}

/// Sends `pieces` one after the other; the bytes that the parser reads, and the code of the refusal.
fn pass(pieces: &[&[u8]]) -> (Vec<u8>, Option<DenialCode>) {
    on_a_fake_clock(async {
        let (mut client, server) = tokio::io::duplex(16);
        let (mut door, shared) = door(server);
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
        let mut read = Vec::new();
        let mut piece = [0; 64];
        // After a refusal there is nothing to read and no end: the clock, which is not the real one, stops it.
        while let Ok(Ok(length @ 1..)) = tokio::time::timeout(60 * SECOND, door.read(&mut piece)).await {
            read.extend_from_slice(&piece[..length]);
        }
        drop(door);
        writer.await.expect("the writer");
        (read, shared.violation().map(|violation| violation.code))
    })
}

fn passes(request: &str) {
    let bytes = request.as_bytes();
    assert_eq!(pass(&[bytes]), (bytes.to_vec(), None), "{request:?}");
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(pass(&single), (bytes.to_vec(), None), "byte by byte: {request:?}");
}

fn refuses(request: &str, code: DenialCode) {
    let bytes = request.as_bytes();
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    for pieces in [vec![bytes], single] {
        let (read, refused) = pass(&pieces);
        assert_eq!(refused, Some(code), "{request:?}");
        assert!(read.ends_with(REFUSED_HEAD), "{request:?}");
        let before = &read[..read.len() - REFUSED_HEAD.len()];
        assert!(bytes.starts_with(before), "{request:?}");
    }
}

#[test]
fn ordinary_requests_pass_unchanged() {
    passes("GET /v1/models HTTP/1.1\r\nHost: till\r\n\r\n");
    passes("\r\nGET / HTTP/1.0\r\n\r\n");
    passes("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    passes(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: Chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n",
    );
    passes(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x00\n\n\nanything",
    );
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
            let (mut door, shared) = door(server);
            client.write_all(sent.as_bytes()).await.expect("room");
            let mut read = [0; 64];
            let length = door.read(&mut read).await.expect("no error");
            assert_eq!(shared.violation().map(|violation| violation.code), expected);
            assert_eq!(&read[..length], if expected.is_some() { REFUSED_HEAD } else { b"" });
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
        "fffffffffffffffff\r\n",
    ] {
        let request = format!("{head}{chunks}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        let (read, _) = pass(&[request.as_bytes()]);
        assert!(
            !String::from_utf8_lossy(&read).contains("GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"),
            "{chunks:?}"
        );
    }
}

proptest! {
    /// Wherever the bytes are cut, the parser reads the same.
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
        prop_assert_eq!(pass(&pieces), (stream.to_vec(), None));
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
            let (mut door, _) = door(server);
            client.write_all(sent).await.expect("room");
            client.shutdown().await.expect("open");
            assert_eq!(door.detect().await.expect("no error"), expected);
            let mut read = Vec::new();
            if expected == Protocol::Http2 {
                door.read_to_end(&mut read).await.expect("no error");
                assert_eq!(read, sent);
            }
        });
    }
}

#[test]
fn a_client_that_waits_for_its_answer_is_not_idle() {
    on_a_fake_clock(async {
        let (mut client, server) = tokio::io::duplex(64);
        let (mut door, shared) = door(server);
        let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        client.write_all(request).await.expect("room");
        let mut read = [0; 64];
        let length = door.read(&mut read).await.expect("no error");
        assert_eq!(&read[..length], request);
        // The parser goes on reading to notice when the client leaves.
        let busy = shared.busy();
        let waited = tokio::time::timeout(600 * SECOND, door.read(&mut read)).await;
        assert!(waited.is_err(), "it ended while a request was served");
        drop(busy);
        let waited = tokio::time::timeout(600 * SECOND, door.read(&mut read)).await;
        assert_eq!(waited.expect("silence is an end now").expect("no error"), 0);
    });
}
