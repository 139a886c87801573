//! Answers that come compressed although till asked for plain ones: they are decoded, because what can't be
//! read can't be searched for the upstream key, and passed on decoded.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use bytes::{Buf as _, Bytes, BytesMut};
use till_core::fields::{self, Fields};
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};
use tokio_util::io::poll_read_buf;

use crate::http1::Wire;

/// How much is decoded at once.
const STEP: usize = 16 * 1024;

/// A content coding that can be undone, RFC 9110 section 8.4.1 and the IANA registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    /// The zlib format, as RFC 9110 section 8.4.1.2 says.
    Deflate,
    Brotli,
    Zstd,
}

/// A coding that is not known here, or several on top of each other.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnknownCoding;

/// What the headers of an answer say.
///
/// # Errors
/// [`UnknownCoding`].
pub(crate) fn coding(answer: &Fields) -> Result<Option<Coding>, UnknownCoding> {
    let mut found = None;
    for value in answer.get_all("content-encoding") {
        for name in fields::text(value).ok_or(UnknownCoding)?.split(',') {
            let coding = match name.trim().to_ascii_lowercase().as_str() {
                "" | "identity" => continue,
                "gzip" | "x-gzip" => Coding::Gzip,
                "deflate" => Coding::Deflate,
                "br" => Coding::Brotli,
                "zstd" => Coding::Zstd,
                _ => return Err(UnknownCoding),
            };
            if found.replace(coding).is_some() {
                return Err(UnknownCoding);
            }
        }
    }
    Ok(found)
}

/// Headers that are no longer true of the decoded answer.
pub(crate) fn forget_coding(fields: &mut Fields) {
    fields.remove("content-encoding");
    fields.remove("content-length");
}

/// The decoded bytes of a body. Trailers of a compressed answer are dropped.
pub(crate) struct Decoded {
    feed: Feed,
    reader: Pin<Box<dyn AsyncRead + Send>>,
    buffer: BytesMut,
    /// What was read to see whether it can be decoded; `Some(None)` is the end.
    first: Option<Option<Bytes>>,
}

impl Decoded {
    /// Reads the first bytes, so that an answer which is not what its header says is found out while there is
    /// still a status to tell it with.
    ///
    /// # Errors
    /// It can't be decoded, or nothing came for as long as `patience`.
    pub(crate) async fn begin(coding: Coding, wire: &mut Wire, patience: Duration) -> io::Result<Self> {
        let mut decoded = Self::new(coding);
        let first = std::future::poll_fn(|cx| decoded.poll_next(cx, wire));
        let first = tokio::time::timeout(patience, first).await.map_err(|_| io::ErrorKind::TimedOut)?;
        decoded.first = Some(first.transpose()?);
        Ok(decoded)
    }

    fn new(coding: Coding) -> Self {
        let feed = Feed::default();
        let compressed = Eater { feed: feed.clone(), piece: Bytes::new() };
        let reader: Pin<Box<dyn AsyncRead + Send>> = match coding {
            Coding::Gzip => {
                let mut decoder = GzipDecoder::new(compressed);
                decoder.multiple_members(true);
                Box::pin(decoder)
            }
            Coding::Deflate => Box::pin(ZlibDecoder::new(compressed)),
            Coding::Brotli => Box::pin(BrotliDecoder::new(compressed)),
            Coding::Zstd => {
                let mut decoder = ZstdDecoder::new(compressed);
                decoder.multiple_members(true);
                Box::pin(decoder)
            }
        };
        Self { feed, reader, buffer: BytesMut::new(), first: None }
    }

    /// The next decoded bytes; `None` is the end.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        wire: &mut Wire,
    ) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(first.map(Ok));
        }
        loop {
            self.buffer.reserve(STEP);
            // It waits for what comes over the wire, and for nothing else.
            let mut nobody = Context::from_waker(Waker::noop());
            match poll_read_buf(self.reader.as_mut(), &mut nobody, &mut self.buffer) {
                Poll::Ready(Ok(0)) => return Poll::Ready(None),
                Poll::Ready(Ok(_)) => return Poll::Ready(Some(Ok(self.buffer.split().freeze()))),
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                Poll::Pending => match ready!(wire.poll_data(cx)) {
                    Some(Ok(frame)) => self.feed.lock().pieces.extend(frame.into_data().ok()),
                    Some(Err(error)) => return Poll::Ready(Some(Err(io::Error::other(error)))),
                    None => self.feed.lock().is_complete = true,
                },
            }
        }
    }
}

/// Compressed bytes between the wire and the decoder.
#[derive(Clone, Default)]
struct Feed(Arc<Mutex<Fed>>);

#[derive(Default)]
struct Fed {
    pieces: VecDeque<Bytes>,
    is_complete: bool,
}

impl Feed {
    fn lock(&self) -> MutexGuard<'_, Fed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The decoder's end of it. Nobody is woken: see [`Decoded::poll_next`].
struct Eater {
    feed: Feed,
    piece: Bytes,
}

impl AsyncBufRead for Eater {
    fn poll_fill_buf(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.piece.is_empty() {
            let mut fed = this.feed.lock();
            match fed.pieces.pop_front() {
                Some(piece) => this.piece = piece,
                None if fed.is_complete => {}
                None => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(&this.piece))
    }

    fn consume(mut self: Pin<&mut Self>, length: usize) {
        self.piece.advance(length);
    }
}

impl AsyncRead for Eater {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let piece = ready!(self.as_mut().poll_fill_buf(cx))?;
        let length = piece.len().min(out.remaining());
        out.put_slice(&piece[..length]);
        self.consume(length);
        Poll::Ready(Ok(()))
    }
}
