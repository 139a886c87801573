//! Connections that fail, over real sockets.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use http_body_util::Full;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::coop;

use super::{Outbound, Wire, WireError};
use crate::connect::OutboundBody;
use crate::socket::{Socket, Tcp};

/// Both ends of a connection.
async fn pair() -> (Wire, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (Wire::new(Socket::Plain(Tcp::new(near.expect("it listens")))), far.expect("it came").0)
}

const HEAD: &str = "POST / HTTP/1.1\r\n\r\n";

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// A request whose head says this length of its body, or that it is chunked.
fn request(body: &str, length: Option<u64>) -> Outbound {
    Outbound::new(HEAD.into(), OutboundBody::Right(Full::from(body.to_owned())), length, false)
}

#[tokio::test]
async fn a_request_of_another_length_than_was_said_is_the_last_one() {
    for (length, is_whole) in [(1, false), (2, true), (3, false)] {
        let (mut wire, mut provider) = pair().await;
        // It answers whatever comes.
        provider.write_all(ANSWER).await.expect("open");
        wire.begin(request("hi", Some(length)));
        let mut answer = poll_fn(|cx| wire.poll_answer(cx)).await;
        if !is_whole {
            assert!(matches!(answer, Err(WireError::Client(_))), "{length}: {answer:?}");
            answer = poll_fn(|cx| wire.poll_answer(cx)).await;
        }
        assert!(answer.is_ok() && wire.has_ended(), "{length}: {answer:?}");
        assert_eq!(wire.is_done(), is_whole, "{length}");
    }
}

#[tokio::test]
async fn a_request_that_is_taken_back_is_the_same_on_another_connection() {
    let long = "0123456789".repeat(20_000);
    let rows = [
        ("", None, "0\r\n\r\n"),
        ("hi", None, "2\r\nhi\r\n0\r\n\r\n"),
        ("hi", Some(2), "hi"),
        ("", Some(0), ""),
        (&long, Some(200_000), &long),
    ];
    for (body, length, expected) in rows {
        let (mut wire, provider) = pair().await;
        provider.set_zero_linger().expect("open");
        drop(provider);
        wire.begin(request(body, length));
        let error = poll_fn(|cx| wire.poll_answer(cx)).await.expect_err("it is closed");
        assert!(wire.sent_nothing(), "{error}");
        let unsent = wire.take_back().expect("it is whole");
        let (mut wire, mut provider) = pair().await;
        wire.begin(unsent);
        let reading = async {
            let mut received = vec![0; HEAD.len() + expected.len()];
            provider.read_exact(&mut received).await.expect("so much is sent");
            let more = tokio::time::timeout(Duration::from_millis(20), provider.read_u8()).await;
            assert!(more.is_err(), "{body:?}: {more:?} comes behind it");
            provider.write_all(ANSWER).await.expect("open");
            String::from_utf8(received).expect("text")
        };
        let (answer, received) = tokio::join!(poll_fn(|cx| wire.poll_answer(cx)), reading);
        assert!(answer.is_ok() && wire.is_done());
        assert_eq!(received, format!("{HEAD}{expected}"));
    }
}

#[tokio::test]
async fn silence_is_told_however_much_the_task_has_done() {
    let (wire, provider) = pair().await;
    let mut provider = Some(provider);
    for is_open in [true, false] {
        if !is_open {
            provider = None;
            while wire.is_silent() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        poll_fn(|cx| {
            let mut steps = 0;
            while let Poll::Ready(step) = coop::poll_proceed(cx) {
                step.made_progress();
                steps += 1;
                assert!(steps < 1_000, "a task has a budget here");
            }
            assert_eq!(wire.is_silent(), is_open);
            Poll::Ready(())
        })
        .await;
    }
    drop(provider);
}

#[tokio::test]
async fn interim_answers_come_to_an_end() {
    const INTERIM: &[u8] = b"HTTP/1.1 102 Processing\r\n\r\n";
    // Each request of a connection may have as many.
    let (mut wire, mut provider) = pair().await;
    for _ in 0..2 {
        wire.begin(request("", Some(0)));
        provider.write_all(&[INTERIM.repeat(100), ANSWER.to_vec()].concat()).await.expect("open");
        let answer = poll_fn(|cx| wire.poll_answer(cx)).await;
        assert!(answer.is_ok() && wire.is_done(), "{answer:?}");
    }
    wire.begin(request("", Some(0)));
    provider.write_all(&INTERIM.repeat(101)).await.expect("open");
    // Whoever would wait for more fails for another reason, and does not wait for ever.
    provider.shutdown().await.expect("open");
    let answer = poll_fn(|cx| wire.poll_answer(cx)).await;
    assert!(matches!(answer, Err(WireError::NotHttp(_))), "{answer:?}");
}
