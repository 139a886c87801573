//! The front door of a client's connection: one request after the other, each unambiguous.
//!
//! Invariant: nothing is taken for a request head that was not checked, and there is one interpretation of where a body
//! ends. After a refused head, or a body that is not framed as it must be, nothing of the connection is read as a
//! request any more.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};

use super::framing::Framing;
use super::head::{self, Received, Violation};
use crate::body::{BodyError, header_map};
use crate::head::Head;
use crate::socket::{Rewound, poll_read_once};

/// The connection preface of HTTP/2, RFC 9113 section 3.4.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// RFC 9110 section 15.2.1.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// After a refusal this many bytes are read and thrown away before the connection closes, so that the client
/// gets to read the answer instead of a reset.
const LINGER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// … and for no longer than this.
const LINGER_TIME_MAX: Duration = Duration::from_secs(2);

/// How large a request head may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// Bytes of request line and headers together.
    pub bytes: usize,
    /// Number of header lines.
    pub count: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { bytes: 64 * 1024, count: 100 }
    }
}

/// How long a client connection may stay silent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrontTimeouts {
    /// From the first byte of a head to its last.
    pub(crate) head: Duration,
    /// Between requests.
    pub(crate) idle: Duration,
}

/// Which protocol a connection speaks, known from its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

/// See the module documentation.
pub(crate) struct FrontDoor<S> {
    socket: S,
    timeouts: FrontTimeouts,
    reading: Reading,
    /// How much of `CONTINUE` is still to be written.
    continuing: &'static [u8],
    /// One timer for the whole connection; it looks at the clock when it fires instead of being moved with
    /// every request.
    timer: Option<Pin<Box<Sleep>>>,
    waiting_since: Instant,
    is_write_closed: bool,
    /// Bytes thrown away since then.
    discarded: usize,
    discards_until: Option<Instant>,
}

/// What is known of the bytes that came.
struct Reading {
    limits: HeadLimits,
    /// Not looked at yet. Nothing, as a rule: most heads come whole, with their body.
    unread: Vec<u8>,
    /// Where the search for the end of the head goes on.
    scanned: usize,
    /// What is still to come of the body of the request being served.
    body: Framing,
    /// The part of it that came with its head.
    first: Bytes,
    /// The client waits to be told to send it.
    awaits_continue: bool,
    /// Nothing is read as a request any more.
    is_refused: bool,
}

/// A request without its body, which the door has.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) head: Head,
    /// The connection is to be used again.
    pub(super) is_kept: bool,
}

impl Reading {
    /// The request at the start of what is unread, and of `read` where nothing is.
    fn request(&mut self, read: &[u8]) -> Result<Option<Request>, Violation> {
        if self.unread.is_empty() {
            let request = self.request_in(read);
            if let Ok(None) = &request {
                self.unread = read.to_vec();
            }
            return request;
        }
        let mut unread = std::mem::take(&mut self.unread);
        unread.extend_from_slice(read);
        let request = self.request_in(&unread);
        if let Ok(None) = &request {
            self.unread = unread;
        }
        request
    }

    fn request_in(&mut self, bytes: &[u8]) -> Result<Option<Request>, Violation> {
        let received = head::read(bytes, &mut self.scanned, self.limits);
        let Some((length, received)) = received.inspect_err(|_| self.is_refused = true)? else {
            return Ok(None);
        };
        let Received { head, body, is_upgrade, is_kept, awaits_continue } = received;
        let rest = &bytes[length..];
        self.scanned = 0;
        self.awaits_continue = awaits_continue && rest.is_empty();
        self.body = body;
        match self.body.decode(rest) {
            Ok((taken, data)) => {
                self.first = data;
                self.unread = rest[taken..].to_vec();
            }
            Err(_) => self.is_refused = true,
        }
        // What follows an offer to change the protocol may be of that protocol.
        Ok(Some(Request { head, is_kept: is_kept && !is_upgrade }))
    }

    /// A piece of the body at the start of what is unread, and of `read` where nothing is.
    fn body(&mut self, read: &[u8]) -> Result<Bytes, Violation> {
        let unread = std::mem::take(&mut self.unread);
        let bytes = if unread.is_empty() { read } else { &unread };
        let (taken, data) = self.body.decode(bytes).inspect_err(|_| self.is_refused = true)?;
        self.unread = bytes[taken..].to_vec();
        Ok(data)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> FrontDoor<S> {
    pub(crate) fn new(socket: S, limits: HeadLimits, timeouts: FrontTimeouts) -> Self {
        let reading = Reading {
            limits,
            unread: Vec::new(),
            scanned: 0,
            body: Framing::NONE,
            first: Bytes::new(),
            awaits_continue: false,
            is_refused: false,
        };
        Self {
            socket,
            timeouts,
            reading,
            continuing: b"",
            timer: None,
            waiting_since: Instant::now(),
            is_write_closed: false,
            discarded: 0,
            discards_until: None,
        }
    }

    /// Reads until it is clear which protocol the client speaks.
    ///
    /// # Errors
    /// The socket's own, or a time-out.
    pub(crate) async fn detect(&mut self) -> io::Result<Protocol> {
        loop {
            let unread = &self.reading.unread;
            let length = unread.len().min(HTTP2_PREFACE.len());
            if unread[..length] != HTTP2_PREFACE[..length] {
                return Ok(Protocol::Http1);
            }
            if length == HTTP2_PREFACE.len() {
                return Ok(Protocol::Http2);
            }
            let was_idle = length == 0;
            if poll_fn(|cx| self.poll_fill(cx)).await? == 0 {
                return Ok(Protocol::Http1);
            }
            if was_idle {
                self.waiting_since = Instant::now();
            }
        }
    }

    /// The connection as it is, for another protocol: what was read and not used, then what comes.
    pub(crate) fn into_rewound(self) -> Rewound<S> {
        Rewound { read: self.reading.unread, socket: self.socket }
    }

    /// Reads once into what is unread. Zero is the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let unread = &mut self.reading.unread;
        let read = poll_read_once(&mut self.socket, cx, |read| {
            unread.extend_from_slice(read);
            read.len()
        });
        if read.is_pending() {
            ready!(self.poll_silence(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }

    /// Ready when the client has been silent for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_idle = self.reading.unread.is_empty();
        let deadline = self.waiting_since + if is_idle { self.timeouts.idle } else { self.timeouts.head };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if deadline < timer.deadline() {
            timer.as_mut().reset(deadline);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }

    /// The next request; `None` when there is none any more. The body of the one before must be complete.
    pub(super) fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Result<Request, Violation>>>> {
        debug_assert!(self.can_go_on());
        self.reading.first = Bytes::new();
        let mut found = if self.reading.unread.is_empty() { Ok(None) } else { self.reading.request(&[]) };
        loop {
            match found {
                Ok(Some(request)) => return Poll::Ready(Ok(Some(Ok(request)))),
                Ok(None) => {}
                Err(violation) => return Poll::Ready(Ok(Some(Err(violation)))),
            }
            let was_idle = self.reading.unread.is_empty();
            let reading = &mut self.reading;
            let read = poll_read_once(&mut self.socket, cx, |read| (reading.request(read), read.is_empty()));
            let Poll::Ready(read) = read else {
                ready!(self.poll_silence(cx));
                // Silence between requests is an ordinary end of the connection.
                let in_a_head = (!was_idle).then(|| Err(self.refuse(Violation::head_timeout())));
                return Poll::Ready(Ok(in_a_head));
            };
            let (request, is_end) = read?;
            if is_end {
                return Poll::Ready(Ok(None));
            }
            if was_idle {
                self.waiting_since = Instant::now();
            }
            found = request;
        }
    }

    fn refuse(&mut self, violation: Violation) -> Violation {
        self.reading.is_refused = true;
        violation
    }

    /// The next piece of the body, or its trailers.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let data = std::mem::take(&mut self.reading.first);
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            if self.reading.is_refused {
                return Poll::Ready(Some(Err("the body is not framed as RFC 9112 says".into())));
            }
            if self.reading.body.is_complete() {
                let trailers =
                    self.reading.body.trailers().map_err(|violation| self.refuse(violation).message);
                return Poll::Ready(
                    trailers.transpose().map(|trailers| Ok(Frame::trailers(header_map(&trailers?)))),
                );
            }
            if !self.reading.unread.is_empty() {
                self.reading.first = self.reading.body(&[]).map_err(|violation| violation.message)?;
                continue;
            }
            ready!(self.poll_continue(cx))?;
            let reading = &mut self.reading;
            let read = poll_read_once(&mut self.socket, cx, |read| {
                if read.is_empty() {
                    Err("the client broke off")
                } else {
                    reading.body(read).map_err(|violation| violation.message)
                }
            });
            self.reading.first = ready!(read)??;
        }
    }

    /// Tells a client that waits for it to send the body.
    fn poll_continue(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.reading.awaits_continue) {
            self.continuing = CONTINUE;
        }
        while !self.continuing.is_empty() {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, self.continuing))?;
            self.continuing = &self.continuing[written..];
            if self.continuing.is_empty() {
                let _ = Pin::new(&mut self.socket).poll_flush(cx)?;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when the client has left. What else it sends meanwhile is kept for later.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Reading { unread, body, limits, .. } = &mut self.reading;
        // Whoever reads the body finds out otherwise.
        while body.is_complete() && unread.len() <= limits.bytes {
            let read = poll_read_once(&mut self.socket, cx, |read| {
                unread.extend_from_slice(read);
                read.len()
            });
            if !matches!(ready!(read), Ok(1..)) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Whether another request can be read: all of this one has come.
    pub(super) fn can_go_on(&self) -> bool {
        self.reading.body.is_complete() && !self.reading.is_refused
    }

    /// An answer begins: the client needs no other word.
    pub(super) fn answers(&mut self) {
        self.reading.awaits_continue = false;
    }

    /// Its answer is written: the client may think about its next request.
    pub(super) fn answered(&mut self) {
        self.waiting_since = Instant::now();
    }

    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    /// Closes, and lets a client that is still sending read the answer first.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_write_closed {
            ready!(Pin::new(&mut self.socket).poll_shutdown(cx))?;
            self.is_write_closed = true;
        }
        if !self.can_go_on() {
            ready!(self.poll_discard(cx));
        }
        Poll::Ready(Ok(()))
    }

    /// Reads and forgets what a refused client still sends. Ready at its end, or when it is too much.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = *self.discards_until.get_or_insert_with(|| Instant::now() + LINGER_TIME_MAX);
        while self.discarded < LINGER_BYTES_MAX {
            match poll_read_once(&mut self.socket, cx, <[u8]>::len) {
                Poll::Ready(Ok(length @ 1..)) => self.discarded += length,
                Poll::Ready(_) => break,
                Poll::Pending => {
                    let timer =
                        self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
                    timer.as_mut().reset(deadline);
                    return timer.as_mut().poll(cx);
                }
            }
        }
        Poll::Ready(())
    }
}

/// The door of a connection, which the body of a request has too.
pub(super) struct Shared<S>(Arc<Mutex<FrontDoor<S>>>);

impl<S> Shared<S> {
    pub(super) fn new(door: FrontDoor<S>) -> Self {
        Self(Arc::new(Mutex::new(door)))
    }

    /// Nobody else asks at the same time: a connection and its request are one task.
    pub(super) fn lock(&self) -> MutexGuard<'_, FrontDoor<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The door itself, once no body has it any more.
    pub(super) fn into_inner(self) -> Option<FrontDoor<S>> {
        Arc::into_inner(self.0).map(|door| door.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// The body of the request that is being served.
    pub(super) fn body(&self) -> Inbound<S> {
        Inbound(Self(Arc::clone(&self.0)))
    }
}

/// The body of a client's request.
pub(crate) struct Inbound<S>(Shared<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Body for Inbound<S> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.lock().poll_body(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        let door = self.0.lock();
        let Reading { body, first, .. } = &door.reading;
        let left = body.left().map(|left| left + first.len() as u64);
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests;
