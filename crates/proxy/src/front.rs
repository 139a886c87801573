//! The front door of an HTTP/1 connection: a byte stream in which every request is unambiguous.
//!
//! HTTP parsers forgive. Ours drops `Content-Length` when `Transfer-Encoding` is there too and takes a bare
//! line feed for a line end; another one in front of till or behind it may read the same bytes as two
//! requests. [`FrontDoor`] stands between the socket and the parser, follows the framing itself (RFC 9112,
//! read strictly) and lets a request head through only when it is complete and says one thing.
//!
//! A head that is refused is replaced by a harmless one, and the reason is left in [`ConnectionState`]: the
//! request path looks there first and answers in JSON like every other refusal. Nothing after a refused head
//! is read as a request.
//!
//! Invariant: the parser behind never sees a head that was not checked, nor more than one interpretation of
//! where a body ends.

mod framing;
mod head;

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use tokio_util::io::poll_read_buf;

use self::framing::Body;
use self::head::Head;
pub(crate) use self::head::Violation;

/// The connection preface of HTTP/2, RFC 9113 section 3.4.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the parser gets to see instead of a refused head.
const REFUSED_HEAD: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\nx-till-refused: 1\r\n\r\n";

/// Marks the request that the parser makes of [`REFUSED_HEAD`].
pub(crate) const REFUSED_MARK: &str = "x-till-refused";

/// How much is read from the socket at once while a head is incomplete. Most heads come whole and are read right into the
/// buffer of the parser; nothing is kept here for them.
const READ_STEP: usize = 8 * 1024;

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

/// What the front door and the request path of one connection tell each other.
#[derive(Debug, Default)]
pub(crate) struct ConnectionState {
    violation: OnceLock<Violation>,
    busy: AtomicUsize,
}

impl ConnectionState {
    /// Why a head was refused; the request that stands for it has the header [`REFUSED_MARK`].
    pub(crate) fn violation(&self) -> Option<&Violation> {
        self.violation.get()
    }

    /// A request is being served until the guard is dropped: its client need not say anything meanwhile.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed) > 0
    }
}

/// See [`ConnectionState::busy`].
#[derive(Debug)]
pub(crate) struct Busy(Arc<ConnectionState>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Which protocol a connection speaks, known from its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

enum State {
    /// Waiting for a complete head; nothing of it was passed on.
    Head,
    /// Passing on bytes of a body, or everything (HTTP/2, or after an upgrade).
    Body(Body),
    /// Refused: the rest of the connection is thrown away.
    Refused { discarded: usize, until: Option<Instant> },
}

/// What became of the first bytes after a silence.
enum Arrived {
    /// The parser has them: a whole head and nothing of another one. Or it is the end.
    Passed,
    /// They are in `unchecked`.
    Kept,
}

/// See the module documentation.
pub(crate) struct FrontDoor<S> {
    socket: S,
    state: State,
    limits: HeadLimits,
    timeouts: FrontTimeouts,
    shared: Arc<ConnectionState>,
    /// Read from the socket, not checked yet.
    unchecked: BytesMut,
    /// Where the search for the end of the head goes on.
    scanned: usize,
    /// Checked, not taken by the parser yet.
    checked: BytesMut,
    /// One timer for the whole connection; it looks at the clock when it fires instead of being moved with
    /// every request.
    timer: Option<Pin<Box<Sleep>>>,
    waiting_since: Instant,
    write_closed: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> FrontDoor<S> {
    pub(crate) fn new(
        socket: S,
        limits: HeadLimits,
        timeouts: FrontTimeouts,
        shared: Arc<ConnectionState>,
    ) -> Self {
        Self {
            socket,
            state: State::Head,
            limits,
            timeouts,
            shared,
            unchecked: BytesMut::new(),
            scanned: 0,
            checked: BytesMut::new(),
            timer: None,
            waiting_since: Instant::now(),
            write_closed: false,
        }
    }

    /// Reads until it is clear which protocol the client speaks. From then on an HTTP/2 connection passes
    /// unchanged: its framing leaves nothing to interpretation.
    ///
    /// # Errors
    /// The socket's own, or a time-out.
    pub(crate) async fn detect(&mut self) -> io::Result<Protocol> {
        loop {
            let length = self.unchecked.len().min(HTTP2_PREFACE.len());
            if self.unchecked[..length] != HTTP2_PREFACE[..length] {
                return Ok(Protocol::Http1);
            }
            if length == HTTP2_PREFACE.len() {
                self.checked = std::mem::take(&mut self.unchecked);
                self.state = State::Body(Body::Tunnel);
                return Ok(Protocol::Http2);
            }
            let was_idle = self.unchecked.is_empty();
            let read = std::future::poll_fn(|cx| self.poll_fill(cx)).await?;
            if read == 0 {
                return Ok(Protocol::Http1);
            }
            if was_idle {
                self.waiting_since = Instant::now();
            }
        }
    }

    /// Reads once into `unchecked`. Zero is the end of the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.unchecked.reserve(READ_STEP);
        match poll_read_buf(Pin::new(&mut self.socket), cx, &mut self.unchecked) {
            Poll::Ready(outcome) => Poll::Ready(outcome),
            Poll::Pending => {
                ready!(self.poll_silence(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }

    /// Ready when the client has been silent for too long.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let allowed = if self.unchecked.is_empty() { self.timeouts.idle } else { self.timeouts.head };
            let deadline = self.waiting_since + allowed;
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
            if deadline < timer.deadline() {
                timer.as_mut().reset(deadline);
            }
            ready!(timer.as_mut().poll(cx));
            let now = Instant::now();
            if self.shared.is_busy() {
                // It waits for us, not we for it.
                self.waiting_since = now;
            } else if now >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(self.waiting_since + allowed);
        }
    }

    /// Reads once into the parser's own buffer and looks at it there. What is not a whole head that may pass, and no
    /// more of the connection than that and its body, is taken out again.
    fn poll_whole_head(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<Arrived>> {
        let before = out.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, out))?;
        let read = &out.filled()[before..];
        if read.is_empty() {
            return Poll::Ready(Ok(Arrived::Passed));
        }
        if let Ok(Some(Head { length, mut body })) = head::check(read, &mut 0, self.limits)
            && body.advance(&read[length..]) == Ok(read.len() - length)
        {
            self.state = State::Body(body);
            return Poll::Ready(Ok(Arrived::Passed));
        }
        self.unchecked.extend_from_slice(read);
        out.set_filled(before);
        Poll::Ready(Ok(Arrived::Kept))
    }

    /// Looks for the end of a head in `unchecked` and lets it through, or refuses.
    fn check_head(&mut self) {
        match head::check(&self.unchecked, &mut self.scanned, self.limits) {
            Ok(None) => {}
            Ok(Some(head)) => {
                self.scanned = 0;
                let head_bytes = self.unchecked.split_to(head.length);
                if self.unchecked.is_empty() {
                    // Its room goes with the head.
                    self.unchecked = BytesMut::new();
                }
                self.checked = head_bytes;
                self.state = State::Body(head.body);
            }
            Err(violation) => self.refuse(violation),
        }
    }

    fn refuse(&mut self, violation: Violation) {
        // Only the first one counts: after it nothing is read as a request any more.
        let _ = self.shared.violation.set(violation);
        self.unchecked = BytesMut::new();
        self.checked = BytesMut::from(REFUSED_HEAD);
        self.state = State::Refused { discarded: 0, until: None };
    }

    /// Ends the connection in the middle of a body.
    fn break_off(&mut self, violation: &Violation) -> io::Error {
        self.unchecked = BytesMut::new();
        self.state = State::Refused { discarded: 0, until: None };
        io::Error::new(io::ErrorKind::InvalidData, violation.message)
    }

    /// Reads and forgets what a refused client still sends. Ready at its end, or when it is too much.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let State::Refused { discarded, until } = &mut self.state else {
                return Poll::Ready(());
            };
            if *discarded >= LINGER_BYTES_MAX {
                return Poll::Ready(());
            }
            let deadline = *until.get_or_insert_with(|| Instant::now() + LINGER_TIME_MAX);
            let mut scratch = [0_u8; READ_STEP];
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.socket).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    *discarded += buffer.filled().len();
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => {
                    let timer =
                        self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
                    timer.as_mut().reset(deadline);
                    return timer.as_mut().poll(cx);
                }
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for FrontDoor<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.checked.is_empty() {
                let length = this.checked.len().min(out.remaining());
                out.put_slice(&this.checked[..length]);
                this.checked.advance(length);
                if this.checked.is_empty() {
                    this.checked = BytesMut::new();
                }
                return Poll::Ready(Ok(()));
            }
            match &mut this.state {
                State::Head => {
                    this.check_head();
                    if !matches!(this.state, State::Head) {
                        continue;
                    }
                    if this.unchecked.is_empty() {
                        match this.poll_whole_head(cx, out) {
                            Poll::Ready(Ok(Arrived::Passed)) => return Poll::Ready(Ok(())),
                            Poll::Ready(Ok(Arrived::Kept)) => {
                                this.waiting_since = Instant::now();
                                continue;
                            }
                            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                            // Silence between requests is an ordinary end of the connection.
                            Poll::Pending => return this.poll_silence(cx).map(Ok),
                        }
                    }
                    match ready!(this.poll_fill(cx)) {
                        Ok(0) => return Poll::Ready(Ok(())),
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                            this.refuse(Violation::head_timeout());
                        }
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
                State::Body(body) => {
                    if body.is_complete() {
                        this.state = State::Head;
                        this.waiting_since = Instant::now();
                        continue;
                    }
                    if this.unchecked.is_empty() {
                        let before = out.filled().len();
                        ready!(Pin::new(&mut this.socket).poll_read(cx, out))?;
                        let read = &out.filled()[before..];
                        if read.is_empty() {
                            return Poll::Ready(Ok(()));
                        }
                        let belongs = match body.advance(read) {
                            Ok(belongs) => belongs,
                            Err(violation) => {
                                out.set_filled(before);
                                return Poll::Ready(Err(this.break_off(&violation)));
                            }
                        };
                        if belongs < read.len() {
                            this.unchecked.extend_from_slice(&read[belongs..]);
                            out.set_filled(before + belongs);
                        }
                        return Poll::Ready(Ok(()));
                    }
                    match body.advance(&this.unchecked) {
                        Ok(belongs) => this.checked = this.unchecked.split_to(belongs),
                        Err(violation) => return Poll::Ready(Err(this.break_off(&violation))),
                    }
                }
                // The answer to a refused head closes the connection; until it is written the client's end of
                // the stream must not look like its going away. What it still sends is read when closing.
                State::Refused { .. } => return Poll::Pending,
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for FrontDoor<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.write_closed {
            ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
            this.write_closed = true;
            if let State::Body(body) = &this.state
                && body.is_http1()
                && !body.is_complete()
            {
                // Refused before its body was read: as above, the client must get to read why.
                this.state = State::Refused { discarded: 0, until: None };
            }
        }
        ready!(this.poll_discard(cx));
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
