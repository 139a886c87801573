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
use tokio::time::Instant;

use super::alarm::Alarm;
use super::head::{self, Received, Violation};
use super::input::{Input, Next};
use super::output::Output;
use crate::body::BodyError;
use crate::head::Head;
use crate::socket::{Rewound, Socket, poll_read_once};

/// The connection preface of HTTP/2, RFC 9113 section 3.4.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// RFC 9110 section 15.2.1.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// After a refusal, or another last answer, this many bytes are read and thrown away before the connection closes,
/// so that the client gets to read the answer instead of a reset.
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
    /// Without taking anything of an answer.
    pub(crate) stalled: Duration,
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
    limits: HeadLimits,
    timeouts: FrontTimeouts,
    input: Input,
    /// The client waits to be told to send the body.
    awaits_continue: bool,
    /// What of `CONTINUE` is still to be written.
    continuing: Output,
    alarm: Alarm,
    waiting_since: Instant,
    stalled: Option<Stalled>,
    is_write_closed: bool,
    /// Bytes thrown away since then.
    discarded: usize,
    discards_until: Option<Instant>,
}

/// The client takes nothing of what it is sent.
#[derive(Clone, Copy)]
struct Stalled {
    /// What the network has taken.
    sent: u64,
    /// When that is too long.
    until: Instant,
}

/// A request without its body, which the door has.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) head: Head,
    /// The connection is to be used again.
    pub(super) is_kept: bool,
    /// When all of its head had come.
    pub(super) received: Instant,
    /// The client waits for a word before it sends the body.
    awaits_continue: bool,
}

/// The request of which `read` is the newest piece.
fn request(input: &mut Input, read: &[u8], limits: HeadLimits) -> Result<Option<Request>, Violation> {
    let found = input.find(read, |input, bytes| {
        let Some((length, received)) = head::read(bytes, &mut input.scanned, limits)? else {
            return Ok(None);
        };
        let Received { head, body, is_upgrade, is_kept, awaits_continue } = received;
        let rest = &bytes[length..];
        input.begin(body, rest);
        // What follows an offer to change the protocol may be of that protocol.
        let is_kept = is_kept && !is_upgrade;
        let awaits_continue = awaits_continue && rest.is_empty();
        Ok(Some(Request { head, is_kept, received: Instant::now(), awaits_continue }))
    });
    found.inspect_err(|violation: &Violation| {
        input.refuse(violation.message);
    })
}

impl<S: AsyncRead + AsyncWrite + Unpin> FrontDoor<S> {
    pub(crate) fn new(socket: S, limits: HeadLimits, timeouts: FrontTimeouts) -> Self {
        Self {
            socket,
            limits,
            timeouts,
            input: Input::new(),
            awaits_continue: false,
            continuing: Output::default(),
            alarm: Alarm::default(),
            waiting_since: Instant::now(),
            stalled: None,
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
            let unread = &self.input.unread;
            let length = unread.len().min(HTTP2_PREFACE.len());
            if unread[..length] != HTTP2_PREFACE[..length] {
                return Ok(Protocol::Http1);
            }
            if length == HTTP2_PREFACE.len() {
                return Ok(Protocol::Http2);
            }
            let was_idle = length == 0;
            let read = poll_fn(|cx| match self.poll_more(cx) {
                Poll::Pending => self.poll_silence(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
                read => read,
            });
            if read.await? == 0 {
                return Ok(Protocol::Http1);
            }
            if was_idle {
                self.waiting_since = Instant::now();
            }
        }
    }

    /// The connection as it is, for another protocol: what was read and not used, then what comes.
    pub(crate) fn into_rewound(self) -> Rewound<S> {
        Rewound { read: self.input.unread, socket: self.socket }
    }

    /// Reads once into what is unread. Zero is the end of the stream.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let unread = &mut self.input.unread;
        poll_read_once(&mut self.socket, cx, |read| {
            unread.extend_from_slice(read);
            read.len()
        })
    }

    /// Ready when the client has been silent for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_idle = self.input.unread.is_empty();
        let allowed = if is_idle { self.timeouts.idle } else { self.timeouts.head };
        self.alarm.poll(cx, self.waiting_since + allowed)
    }

    /// The next request; `None` when there is none any more. The body of the one before must be complete.
    pub(super) fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Result<Request, Violation>>>> {
        debug_assert!(self.can_go_on());
        self.input.skip();
        let Self { input, limits, .. } = self;
        let mut found = request(input, &[], *limits);
        loop {
            if let Some(found) = found.transpose() {
                self.awaits_continue = found.as_ref().is_ok_and(|request| request.awaits_continue);
                return Poll::Ready(Ok(Some(found)));
            }
            let was_idle = self.input.unread.is_empty();
            let Self { socket, input, limits, .. } = self;
            let read = poll_read_once(socket, cx, |read| (request(input, read, *limits), read.is_empty()));
            let Poll::Ready(read) = read else {
                ready!(self.poll_silence(cx));
                // Silence between requests is an ordinary end of the connection.
                let in_a_head = (!was_idle).then(|| {
                    let violation = Violation::head_timeout();
                    self.input.refuse(violation.message);
                    Err(violation)
                });
                return Poll::Ready(Ok(in_a_head));
            };
            let (request, is_end) = read?;
            if is_end {
                return Poll::Ready(Ok(None));
            }
            if was_idle && matches!(request, Ok(None)) {
                self.waiting_since = Instant::now();
            }
            found = request;
        }
    }

    /// The next piece of the body, or its trailers.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            match self.input.next()? {
                Next::Frame(frame) => return Poll::Ready(Some(Ok(frame))),
                Next::End => return Poll::Ready(None),
                Next::Missing => {}
            }
            if std::mem::take(&mut self.awaits_continue) {
                self.continuing = Output::of(CONTINUE.to_vec());
            }
            ready!(self.continuing.poll(cx, &mut self.socket))?;
            let input = &mut self.input;
            let read = poll_read_once(&mut self.socket, cx, |read| {
                input.take(read);
                read.len()
            });
            if ready!(read)? == 0 {
                return Poll::Ready(Some(Err("the client broke off".into())));
            }
        }
    }

    /// Ready when the client has left. What else it sends meanwhile is kept for later.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // While a body is missing, whoever reads that finds out.
        while self.input.is_complete() && self.input.unread.len() <= self.limits.bytes {
            if !matches!(ready!(self.poll_more(cx)), Ok(1..)) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// Whether another request can be read: all of this one has come.
    pub(super) fn can_go_on(&self) -> bool {
        self.input.is_complete()
    }

    /// An answer begins: the client needs no other word.
    pub(super) fn answers(&mut self) {
        self.awaits_continue = false;
    }

    /// Its answer was written at `now`: the client may think about its next request.
    pub(super) fn answered(&mut self, now: Instant) {
        self.waiting_since = now;
    }

    /// Reads and forgets what a client still sends that is not served any more. Ready at its end, or when it is too much.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = *self.discards_until.get_or_insert_with(|| Instant::now() + LINGER_TIME_MAX);
        while self.discarded < LINGER_BYTES_MAX {
            match poll_read_once(&mut self.socket, cx, <[u8]>::len) {
                Poll::Ready(Ok(length @ 1..)) => self.discarded += length,
                Poll::Ready(_) => break,
                Poll::Pending => return self.alarm.poll(cx, deadline),
            }
        }
        Poll::Ready(())
    }
}

impl FrontDoor<Socket> {
    /// Writes everything.
    ///
    /// # Errors
    /// The socket's own, or a time-out: the client takes nothing.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>, output: &mut Output) -> Poll<io::Result<()>> {
        // A word that is half written comes to its end first.
        let sent = match self.continuing.poll(cx, &mut self.socket) {
            Poll::Ready(Ok(())) => output.poll(cx, &mut self.socket),
            continuing => continuing,
        };
        if sent.is_pending() { self.poll_stalled(cx).map(Err) } else { sent }
    }

    /// Closes, and lets a client that is still sending read the answer first.
    ///
    /// # Errors
    /// As [`Self::poll_send`].
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_write_closed {
            match Pin::new(&mut self.socket).poll_shutdown(cx) {
                Poll::Ready(closed) => closed?,
                Poll::Pending => return self.poll_stalled(cx).map(Err),
            }
            self.is_write_closed = true;
        }
        // What comes after the socket is closed is answered with a reset, and a client that gets one forgets what it has not
        // read.
        if !self.can_go_on() || !self.input.unread.is_empty() {
            ready!(self.poll_discard(cx));
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when the client has taken nothing for too long. To be asked when something waits to be written.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let sent = self.socket.sent();
        let until = match self.stalled {
            Some(stalled) if stalled.sent == sent => stalled.until,
            _ => {
                let until = Instant::now() + self.timeouts.stalled;
                self.stalled = Some(Stalled { sent, until });
                until
            }
        };
        ready!(self.alarm.poll(cx, until));
        // The system would keep what nobody takes.
        self.break_off();
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    /// Lets the connection end in a way that nobody takes for the end of an answer.
    pub(super) fn break_off(&self) {
        self.socket.reset_when_dropped();
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

impl<S> Inbound<S> {
    /// How long the body is, if all of it has come in one piece.
    pub(crate) fn whole_length(&self) -> Option<usize> {
        self.0.lock().input.whole_length()
    }

    /// That piece.
    pub(crate) fn take_whole(&self) -> Bytes {
        self.0.lock().input.take_whole()
    }
}

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
        self.0.lock().input.length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests;
