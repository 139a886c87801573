//! One request and its answer on a kept connection.

use std::io;
use std::net::SocketAddr;

use till_bench::wire::{BodyEnd, Head};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connection and what it reads into.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What an answer was.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) says_retry_after: bool,
    /// Bytes of its body.
    pub(crate) bytes: usize,
    /// In how many pieces it was read: fewer than events were sent when several came together.
    pub(crate) reads: usize,
}

impl Connection {
    pub(crate) async fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 * 1024) })
    }

    /// Sends `request` and reads the answer to its end; `content` gets its body piece by piece.
    pub(crate) async fn ask(&mut self, request: &[u8], mut content: impl FnMut(&[u8])) -> io::Result<Answer> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let mut answer = Answer::default();
        let mut end = loop {
            self.read().await?;
            answer.reads += 1;
            let Some(head) = Head::find(&self.buffer) else { continue };
            answer.status = head.status();
            answer.says_retry_after = head.header("retry-after").is_some();
            let (framing, length) = (head.framing(), head.text.len());
            self.buffer.drain(..length);
            break BodyEnd::new(framing);
        };
        loop {
            let bytes = &mut answer.bytes;
            end.push(&self.buffer, |range| {
                *bytes += range.len();
                content(&self.buffer[range]);
            })?;
            if end.is_over() {
                return Ok(answer);
            }
            self.buffer.clear();
            self.read().await?;
            answer.reads += 1;
        }
    }

    async fn read(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
