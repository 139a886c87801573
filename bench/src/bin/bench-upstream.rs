//! A provider for benchmarks: one thread, answers that are ready before they are asked for.
//!
//! It knows one thing to do per request and takes it from the flags, not from the request, but for `"stream":true`.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use till_bench::answers::{EVENT_BYTES, EVENTS, answer, event};
use till_bench::wire::{Framing, Head};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::MissedTickBehavior;

/// A mock provider. It prints the address that it listens on and runs until it is ended.
#[derive(Debug, Parser)]
struct Settings {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// How long it thinks before an answer, in milliseconds.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,

    /// Time between two events of a stream, in microseconds; 0 is none. The first comes at once.
    #[arg(long, default_value_t = 0)]
    event_gap_us: u64,

    /// Events of a stream.
    #[arg(long, default_value_t = EVENTS)]
    events: usize,
}

struct Provider {
    settings: Settings,
    answer: Vec<u8>,
}

const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\
    cache-control: no-cache\r\ntransfer-encoding: chunked\r\nx-request-id: req_bench\r\n\r\n";

fn main() -> io::Result<()> {
    let settings = Settings::parse();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve(settings))
}

async fn serve(settings: Settings) -> io::Result<()> {
    let listener = TcpListener::bind(settings.listen).await?;
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    let body = answer();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nx-request-id: req_bench\r\n\r\n",
        body.len()
    );
    let provider = Arc::new(Provider { settings, answer: (head + &body).into_bytes() });
    loop {
        let (stream, _) = listener.accept().await?;
        let provider = Arc::clone(&provider);
        // A connection that breaks is the business of its client, which counts errors.
        tokio::spawn(async move { provider.connection(stream).await });
    }
}

impl Provider {
    async fn connection(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = Vec::with_capacity(4096);
        loop {
            while !is_whole(&buffer) {
                if stream.read_buf(&mut buffer).await? == 0 {
                    return Ok(());
                }
            }
            let is_stream = memchr::memmem::find(&buffer, br#""stream":true"#).is_some();
            buffer.clear();
            if self.settings.delay_ms > 0 {
                tokio::time::sleep(Duration::from_millis(self.settings.delay_ms)).await;
            }
            if is_stream {
                self.stream(&mut stream).await?;
            } else {
                stream.write_all(&self.answer).await?;
            }
        }
    }

    /// Each event is a write of its own, as providers do it.
    async fn stream(&self, stream: &mut TcpStream) -> io::Result<()> {
        let Settings { event_gap_us, events, .. } = self.settings;
        let gap = Duration::from_micros(event_gap_us.max(1));
        let mut ticks = tokio::time::interval(gap);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        stream.write_all(STREAM_HEAD).await?;
        let (mut one, mut chunk) = (Vec::with_capacity(EVENT_BYTES), Vec::with_capacity(EVENT_BYTES + 16));
        for number in 0..events {
            if event_gap_us > 0 {
                ticks.tick().await;
            } else {
                tokio::task::yield_now().await;
            }
            event(number, events, &mut one);
            chunk.clear();
            write!(chunk, "{:x}\r\n", one.len())?;
            chunk.extend_from_slice(&one);
            chunk.extend_from_slice(b"\r\n");
            if number + 1 == events {
                chunk.extend_from_slice(b"0\r\n\r\n");
            }
            stream.write_all(&chunk).await?;
        }
        Ok(())
    }
}

/// Whether a request has come as a whole. The clients here send the next one after the answer.
fn is_whole(buffer: &[u8]) -> bool {
    let Some(head) = Head::find(buffer) else { return false };
    match head.framing() {
        Framing::Length(length) => buffer.len() >= head.text.len() + length,
        Framing::Chunked => buffer.ends_with(b"0\r\n\r\n"),
    }
}
