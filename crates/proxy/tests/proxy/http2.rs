//! HTTP/2 as no library of a client sends it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use till_proxy::Timeouts;
use till_testkit::upstream::{Upstream, json, respond};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::rig::{Options, Rig, becomes, connections_end, soon};

/// Frames as RFC 9113 section 4.1 has them, on one stream.
struct Frames(TcpStream);

impl Frames {
    async fn connect(address: SocketAddr) -> Self {
        let mut socket = TcpStream::connect(address).await.expect("it listens");
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("open");
        let mut frames = Self(socket);
        frames.send(4, 0, 0, b"").await;
        frames
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.0.write_all(&frame).await.expect("open");
    }

    /// HEADERS of a request that has a body.
    async fn ask(&mut self, method: &str, path: &str, token: &str, more: &[(&str, &str)]) {
        let key = format!("Bearer {token}");
        let pseudo = [(":method", method), (":scheme", "http"), (":authority", "till"), (":path", path)];
        let mut block = Vec::new();
        for (name, value) in pseudo.iter().chain(&[("authorization", &*key)]).chain(more) {
            // A literal that is in no table, RFC 7541 section 6.2.2.
            block.push(0);
            for text in [name, value] {
                match text.len().checked_sub(127) {
                    None => block.push(u8::try_from(text.len()).expect("short")),
                    Some(rest) => {
                        block.push(127);
                        let high = u8::try_from(rest >> 7).expect("short");
                        assert!(high < 128);
                        block.extend([128 | u8::try_from(rest & 127).expect("seven bits"), high]);
                    }
                }
                block.extend_from_slice(text.as_bytes());
            }
        }
        // END_HEADERS
        self.send(1, 4, 1, &block).await;
    }

    async fn data(&mut self, data: &[u8]) {
        self.send(0, 0, 1, data).await;
    }

    async fn reset(&mut self, code: u32) {
        self.send(3, 0, 1, &code.to_be_bytes()).await;
    }
}

#[tokio::test]
async fn an_upload_that_is_cut_off_is_not_complete() {
    const NO_ERROR: u32 = 0;
    const CANCEL: u32 = 8;
    let upstream = Upstream::start(|_, _| json("{}")).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, _) = rig.mint("openai", 100).await;
    for code in [CANCEL, NO_ERROR] {
        for more in [&[][..], &[("content-length", "100")]] {
            let before = upstream.connections();
            let mut client = Frames::connect(rig.address).await;
            client.ask("POST", "/v1/files", &token, more).await;
            client.data(b"{\"half\":").await;
            becomes(|| upstream.connections() > before).await;
            client.reset(code).await;
            connections_end(&upstream).await;
            assert_eq!(upstream.received(), [], "{code} {more:?}");
        }
    }
}

async fn connect(rig: &Rig) -> SendRequest<BoxBody<Bytes, Infallible>> {
    let socket = TcpStream::connect(rig.address).await.expect("it listens");
    let (sender, connection) =
        handshake(TokioExecutor::new(), TokioIo::new(socket)).await.expect("HTTP/2 with prior knowledge");
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn trailers_of_requests_do_not_pass() {
    let upstream = Upstream::start(|_, request| respond("200 OK", "", &request.body)).await;
    let rig = Rig::openai(&upstream.url()).await;
    let (token, _) = rig.mint("openai", 9).await;
    let mut sender = connect(&rig).await;
    // The second request comes to the same connection of the provider, which reads no trailers.
    for _ in 0..2 {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-api-key", token.parse().expect("text"));
        let frames = [Frame::data(Bytes::from("hi")), Frame::trailers(trailers)].map(Ok);
        let asked = http::Request::post("http://till/v1/files")
            .header("authorization", format!("Bearer {token}"))
            .body(BoxBody::new(StreamBody::new(futures_util::stream::iter(frames))))
            .expect("a good request");
        let answer = soon(sender.send_request(asked)).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let text = answer.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(text, "hi");
    }
    assert_eq!((upstream.connections(), upstream.received().len()), (1, 2));
}

#[tokio::test]
async fn a_body_for_the_control_plane_comes_in_time() {
    let upstream = Upstream::start(|_, _| json("{}")).await;
    let idle = Duration::from_millis(200);
    let timeouts = Timeouts { idle, ..Timeouts::default() };
    let rig = Rig::start(&[("openai", &upstream.url())], Options { timeouts, ..Options::default() }).await;
    let mut sender = connect(&rig).await;
    let first = futures_util::stream::iter([Ok(Frame::data(Bytes::from("{")))]);
    let body = BoxBody::new(StreamBody::new(first.chain(futures_util::stream::pending())));
    let asked = http::Request::post("http://till/admin/keys").body(body).expect("a good request");
    let answer = soon(sender.send_request(asked)).await.expect("an answer");
    assert_eq!(answer.status(), 400);
    let text = answer.into_body().collect().await.expect("a body").to_bytes();
    assert!(String::from_utf8_lossy(&text).contains("too long"), "{text:?}");
}
