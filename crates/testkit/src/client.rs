//! A client that writes raw bytes and reads whole answers, so that a test sees what is on the wire.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// An answer as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Status line and headers.
    pub head: String,
    /// The body, out of its chunks.
    pub body: Vec<u8>,
    /// Header lines after a chunked body.
    pub trailers: String,
    /// Whether the body came to its proper end.
    pub is_complete: bool,
}

impl Answer {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .find(|(given, _)| given.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection.
pub struct Client {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.expect("somebody listens");
        Self { socket, buffer: Vec::new() }
    }

    /// Sends bytes. A connection that the other side closed is noticed when reading.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.socket.write_all(bytes.as_ref()).await;
    }

    /// Sends a request and reads its answer.
    pub async fn request(&mut self, bytes: impl AsRef<[u8]>) -> Answer {
        self.send(bytes).await;
        self.answer().await.expect("an answer")
    }

    /// Reads the head of an answer; `None` if the connection ended before one was complete.
    pub async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 4);
                return Some(head);
            }
            self.fill().await?;
        }
    }

    /// Reads exactly so many bytes; `None` if the connection ended before.
    pub async fn bytes(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            self.fill().await?;
        }
        Some(self.buffer.drain(..length).collect())
    }

    /// Reads the next chunk of a chunked answer: its data, or `None` if the connection ended before.
    pub async fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = self.line().await?;
        let size = usize::from_str_radix(&size, 16).ok()?;
        if size == 0 {
            return Some(Vec::new());
        }
        let data = self.bytes(size).await?;
        self.bytes(2).await?;
        Some(data)
    }

    /// Reads an answer; `None` if the connection ended before its head was complete.
    pub async fn answer(&mut self) -> Option<Answer> {
        let head = self.head().await?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
        let mut answer =
            Answer { status, head, body: Vec::new(), trailers: String::new(), is_complete: false };
        if let Some(length) = answer.header("content-length").and_then(|text| text.parse().ok()) {
            if let Some(body) = self.bytes(length).await {
                answer.body = body;
                answer.is_complete = true;
            } else {
                answer.body = std::mem::take(&mut self.buffer);
            }
        } else if answer.header("transfer-encoding") == Some("chunked") {
            while let Some(data) = self.chunk().await {
                if data.is_empty() {
                    answer.is_complete = self.trailers(&mut answer.trailers).await.is_some();
                    break;
                }
                answer.body.extend_from_slice(&data);
            }
        } else {
            answer.is_complete = true;
        }
        Some(answer)
    }

    /// Closes the connection.
    pub async fn close(mut self) {
        let _ = self.socket.shutdown().await;
    }

    /// Whether the other side has closed, waiting for it.
    pub async fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && self.fill().await.is_none()
    }

    async fn trailers(&mut self, trailers: &mut String) -> Option<()> {
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Some(());
            }
            trailers.push_str(&line);
            trailers.push('\n');
        }
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 2);
                return Some(line);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Option<()> {
        let mut piece = [0; 16 * 1024];
        match self.socket.read(&mut piece).await {
            Ok(0) | Err(_) => None,
            Ok(length) => {
                self.buffer.extend_from_slice(&piece[..length]);
                Some(())
            }
        }
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
