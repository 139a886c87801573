//! Answers that come compressed although till asked for plain ones: they are decoded, because what can't be
//! read can't be searched for the upstream key, and passed on decoded.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZlibDecoder, ZstdDecoder};
use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt as _;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap};
use http_body_util::{BodyExt as _, BodyStream};
use hyper::body::Incoming;
use tokio::io::AsyncRead;
use tokio_util::io::{StreamReader, poll_read_buf};

use crate::connect::Wire;

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
pub(crate) fn coding(headers: &HeaderMap) -> Result<Option<Coding>, UnknownCoding> {
    let mut found = None;
    for value in headers.get_all(CONTENT_ENCODING) {
        for name in value.to_str().map_err(|_| UnknownCoding)?.split(',') {
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
pub(crate) fn forget_coding(headers: &mut HeaderMap) {
    headers.remove(CONTENT_ENCODING);
    headers.remove(CONTENT_LENGTH);
}

/// The decoded bytes of a body. Trailers of a compressed answer are dropped.
pub(crate) struct Decoded {
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
    pub(crate) async fn begin(
        body: Incoming,
        coding: Coding,
        wire: &Wire,
        patience: Duration,
    ) -> io::Result<Self> {
        let mut decoded = Self::new(body, coding);
        let first = wire.wait(std::future::poll_fn(|cx| decoded.poll_next(cx)));
        let first = tokio::time::timeout(patience, first).await.map_err(|_| io::ErrorKind::TimedOut)?;
        decoded.first = Some(first.transpose()?);
        Ok(decoded)
    }

    fn new(body: Incoming, coding: Coding) -> Self {
        let frames = BodyStream::new(body.map_err(io::Error::other));
        let data = frames.try_filter_map(|frame| std::future::ready(Ok(frame.into_data().ok())));
        let compressed = StreamReader::new(data);
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
        Self { reader, buffer: BytesMut::new(), first: None }
    }

    /// The next decoded bytes; `None` is the end.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(first.map(Ok));
        }
        self.buffer.reserve(STEP);
        match std::task::ready!(poll_read_buf(self.reader.as_mut(), cx, &mut self.buffer)) {
            Ok(0) => Poll::Ready(None),
            Ok(_) => Poll::Ready(Some(Ok(self.buffer.split().freeze()))),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }
}
