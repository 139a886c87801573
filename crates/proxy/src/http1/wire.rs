//! One connection to a provider: a request goes out, its answer comes in, and perhaps another one after it.
//!
//! It has no task of its own: whoever waits for something that comes over it polls it, and that also sends what is still
//! to be sent of the request.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::Full;
use till_core::fields::Fields;
use tokio::io::AsyncWrite as _;
use tokio::time::{Instant, Sleep};

use super::answer;
use super::framing::{Framing, write_chunk, write_last_chunk};
use crate::body::{BodyError, header_map};
use crate::connect::OutboundBody;
use crate::socket::{Rewound, Socket, poll_read_once};

/// The longest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 256 * 1024;

/// So much of a request body is made ready to be sent before it is.
const FILL_MAX: usize = 32 * 1024;

/// Memory that a connection keeps for its next request.
const KEPT_MAX: usize = 4 * 1024;

/// What goes wrong on a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("the connection failed")]
    Io(#[from] io::Error),
    #[error("the connection was closed before the answer was complete")]
    Closed,
    #[error("what came is not HTTP: {0}")]
    NotHttp(&'static str),
    /// The client's side, not the provider's.
    #[error("the body of the request broke off")]
    Client(#[source] BodyError),
}

/// A request as it goes out.
pub(crate) struct Outbound {
    /// Ready to be written, the empty line at its end included.
    pub(crate) head: Vec<u8>,
    pub(crate) body: OutboundBody,
    /// The body is chunked; otherwise the head says how long it is.
    pub(crate) is_chunked: bool,
    /// The answer has no body.
    pub(crate) is_head: bool,
}

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct AnswerHead {
    pub(crate) status: StatusCode,
    pub(crate) fields: Fields,
}

/// See the module documentation.
pub(crate) struct Wire {
    link: Arc<Link>,
    sending: Sending,
    receiving: Receiving,
    /// One timer for all requests; it looks at the clock when it fires instead of being moved with every request.
    timer: Option<Pin<Box<Sleep>>>,
}

/// The connection itself; `None` once it has been ended. The lock is for [`WireEnd`]; nobody else asks for it at the same
/// time.
type Link = Mutex<Option<Socket>>;

/// A way to end a connection from elsewhere, at once.
pub(crate) struct WireEnd(Weak<Link>);

impl WireEnd {
    pub(crate) fn end(&self) {
        let link = self.0.upgrade();
        // Taken out under the lock and closed after it.
        let _ = link.and_then(|link| lock(&link).take());
    }
}

fn lock(link: &Link) -> MutexGuard<'_, Option<Socket>> {
    link.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request on its way.
#[derive(Default)]
struct Sending {
    /// What is still to be sent, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// The rest of the body.
    body: Option<OutboundBody>,
    is_chunked: bool,
    /// TLS may have kept something back.
    is_flushed: bool,
    /// What the network had taken when the request began, and whether it was handed any of it.
    sent_before: u64,
    is_tried: bool,
}

impl Sending {
    fn is_complete(&self) -> bool {
        self.out.is_empty() && self.body.is_none() && self.is_flushed
    }

    /// Makes ready what the client has sent of the body.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<(), WireError> {
        while let Some(body) = &mut self.body
            && self.out.len() < FILL_MAX
        {
            match Pin::new(body).poll_frame(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Err(error))) => {
                    self.body = None;
                    return Err(WireError::Client(error));
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if !self.is_chunked => self.out.extend_from_slice(&data),
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => write_chunk(&mut self.out, &data),
                    Err(frame) => self.end(frame.into_trailers().ok().as_ref()),
                },
                Poll::Ready(None) => self.end(None),
            }
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) {
        self.body = None;
        if self.is_chunked {
            write_last_chunk(&mut self.out, trailers);
        }
    }

    /// Sends what can be sent now.
    fn advance(&mut self, link: &Link, cx: &mut Context<'_>) -> Result<(), WireError> {
        while !self.is_complete() {
            self.fill(cx)?;
            let mut link = lock(link);
            let socket = link.as_mut().ok_or(WireError::Closed)?;
            if self.out.is_empty() {
                if !self.is_flushed && Pin::new(socket).poll_flush(cx)?.is_ready() {
                    self.is_flushed = true;
                }
                return Ok(());
            }
            self.is_tried = true;
            match Pin::new(socket).poll_write(cx, &self.out[self.written..])? {
                Poll::Pending => return Ok(()),
                Poll::Ready(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Poll::Ready(length) => self.written += length,
            }
            self.is_flushed = false;
            if self.written == self.out.len() {
                self.written = 0;
                self.out.clear();
                if self.out.capacity() > KEPT_MAX {
                    self.out = Vec::new();
                }
            }
        }
        Ok(())
    }
}

/// An answer on its way.
struct Receiving {
    /// Not taken yet.
    unread: Vec<u8>,
    /// How much of it was looked at for a head.
    scanned: usize,
    /// What is still to come.
    framing: Framing,
    /// The part of the body that came with the head.
    first: Bytes,
    /// There is no body: the request was HEAD.
    is_head: bool,
    /// The provider lets the connection be used again after this answer.
    is_kept: bool,
}

impl Receiving {
    /// Looks for the head of an answer in what came.
    fn head(&mut self, read: &[u8]) -> Result<Option<AnswerHead>, WireError> {
        if read.is_empty() {
            return Err(WireError::Closed);
        }
        if self.unread.is_empty() {
            return self.head_in(read);
        }
        let mut unread = std::mem::take(&mut self.unread);
        unread.extend_from_slice(read);
        self.head_in(&unread)
    }

    fn head_in(&mut self, mut bytes: &[u8]) -> Result<Option<AnswerHead>, WireError> {
        loop {
            let Some(answer) = answer::read(bytes, &mut self.scanned, self.is_head)? else {
                if bytes.len() > HEAD_BYTES_MAX {
                    return Err(WireError::NotHttp("the head of the answer is too long"));
                }
                self.unread = bytes.to_vec();
                return Ok(None);
            };
            bytes = &bytes[answer.length..];
            let status = answer.head.status;
            if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
                // Another one follows: RFC 9110 section 15.2.
                continue;
            }
            (self.framing, self.is_kept) = (answer.framing, answer.is_kept);
            match self.framing {
                Framing::Length(_) if status != StatusCode::SWITCHING_PROTOCOLS => {
                    self.first = self.data(bytes)?
                }
                // What is wrong with its framing is not a fault of the head.
                _ => self.unread = bytes.to_vec(),
            }
            return Ok(Some(answer.head));
        }
    }

    /// Takes a piece of the body out of what came.
    fn data(&mut self, bytes: &[u8]) -> Result<Bytes, WireError> {
        let (taken, data) =
            self.framing.decode(bytes).map_err(|violation| WireError::NotHttp(violation.message))?;
        self.unread = bytes[taken..].to_vec();
        Ok(data)
    }

    /// The same at the end of the stream, where `read` is empty.
    fn more(&mut self, read: &[u8]) -> Result<Bytes, WireError> {
        match (&self.framing, read.is_empty()) {
            (_, false) => self.data(read),
            (Framing::UntilClose, true) => {
                self.framing = Framing::NONE;
                self.is_kept = false;
                Ok(Bytes::new())
            }
            (_, true) => Err(WireError::Closed),
        }
    }
}

impl Wire {
    pub(crate) fn new(socket: Socket) -> Self {
        let receiving = Receiving {
            unread: Vec::new(),
            scanned: 0,
            framing: Framing::NONE,
            first: Bytes::new(),
            is_head: false,
            is_kept: true,
        };
        let link = Arc::new(Mutex::new(Some(socket)));
        Self { link, sending: Sending::default(), receiving, timer: None }
    }

    pub(crate) fn end(&self) -> WireEnd {
        WireEnd(Arc::downgrade(&self.link))
    }

    fn sent(&self) -> Option<u64> {
        lock(&self.link).as_ref().map(Socket::sent)
    }

    /// Begins a request. Nothing is sent before the wire is polled.
    pub(crate) fn begin(&mut self, request: Outbound) {
        let Outbound { head, body, is_chunked, is_head } = request;
        self.receiving.is_head = is_head;
        self.sending = Sending {
            out: head,
            written: 0,
            body: Some(body),
            is_chunked,
            is_flushed: true,
            sent_before: self.sent().unwrap_or_default(),
            is_tried: false,
        };
    }

    /// Whether it is certain that nothing of the request went out: it was not handed down, or the network took nothing.
    /// Either alone would be too strict: TLS says good-bye on its own, and it may fail after a part of a record was
    /// written.
    pub(crate) fn sent_nothing(&self) -> bool {
        !self.sending.is_tried || self.sent() == Some(self.sending.sent_before)
    }

    /// The request, to be sent over another connection, if nothing of it went out and all of it is still here.
    pub(crate) fn take_back(&mut self) -> Option<Outbound> {
        let is_whole = self.sent_nothing() && self.sending.written == 0 && !self.sending.out.is_empty();
        is_whole.then(|| {
            let Sending { out, body, is_chunked, .. } = std::mem::take(&mut self.sending);
            let body = body.unwrap_or_else(|| OutboundBody::Right(Full::default()));
            Outbound { head: out, body, is_chunked, is_head: self.receiving.is_head }
        })
    }

    /// Sends, and waits for the head of the answer.
    pub(crate) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<AnswerHead, WireError>> {
        let sent = self.sending.advance(&self.link, cx);
        if let Err(WireError::Client(error)) = sent {
            return Poll::Ready(Err(WireError::Client(error)));
        }
        loop {
            let receiving = &mut self.receiving;
            let read = match lock(&self.link).as_mut() {
                Some(socket) => poll_read_once(socket, cx, |read| receiving.head(read)),
                None => return Poll::Ready(Err(WireError::Closed)),
            };
            return match read {
                Poll::Ready(Ok(Ok(Some(head)))) => Poll::Ready(Ok(head)),
                Poll::Ready(Ok(Ok(None))) => continue,
                Poll::Ready(Ok(Err(error))) => Poll::Ready(Err(sent.err().unwrap_or(error))),
                Poll::Ready(Err(error)) => Poll::Ready(Err(sent.err().unwrap_or(error.into()))),
                // A provider may answer before it has read everything, and close.
                Poll::Pending => match sent {
                    Ok(()) => Poll::Pending,
                    Err(error) => Poll::Ready(Err(error)),
                },
            };
        }
    }

    /// The next piece of the answer, or its trailers. Whatever is left of the request is sent meanwhile.
    pub(crate) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, WireError>>> {
        if !self.sending.is_complete() && self.sending.advance(&self.link, cx).is_err() {
            // The answer counts.
            self.sending = Sending::default();
            self.receiving.is_kept = false;
        }
        let receiving = &mut self.receiving;
        loop {
            let data = std::mem::take(&mut receiving.first);
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            if receiving.framing.is_complete() {
                let trailers = receiving.framing.trailers();
                let trailers = trailers.map_err(|violation| WireError::NotHttp(violation.message));
                let trailers = trailers.map(|trailers| trailers.map(|all| Frame::trailers(header_map(&all))));
                return Poll::Ready(trailers.transpose());
            }
            if !receiving.unread.is_empty() {
                let unread = std::mem::take(&mut receiving.unread);
                receiving.first = receiving.data(&unread)?;
                continue;
            }
            let read = match lock(&self.link).as_mut() {
                Some(socket) => poll_read_once(socket, cx, |read| receiving.more(read)),
                None => return Poll::Ready(Some(Err(WireError::Closed))),
            };
            receiving.first = ready!(read)??;
        }
    }

    /// Whether nothing more comes of the answer.
    pub(crate) fn has_ended(&self) -> bool {
        self.receiving.first.is_empty() && self.receiving.framing.has_ended()
    }

    /// The length of the answer's body, where it is known.
    pub(crate) fn answer_length(&self) -> Option<u64> {
        let receiving = &self.receiving;
        receiving.framing.left().map(|left| left + receiving.first.len() as u64)
    }

    /// Whether both sides have said everything, and may say more.
    pub(crate) fn is_done(&self) -> bool {
        let receiving = &self.receiving;
        receiving.is_kept
            && receiving.first.is_empty()
            && receiving.framing.is_complete()
            && receiving.unread.is_empty()
            && self.sending.is_complete()
    }

    /// Whether nothing came since, not even the end.
    pub(crate) fn is_silent(&self) -> bool {
        let mut nobody = Context::from_waker(Waker::noop());
        lock(&self.link)
            .as_mut()
            .is_some_and(|socket| poll_read_once(socket, &mut nobody, |_| ()).is_pending())
    }

    /// Ready when it is later than `deadline`. Deadlines only ever grow.
    pub(crate) fn poll_deadline(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }

    /// The connection as it is, for another protocol.
    pub(crate) fn into_rewound(self) -> Option<Rewound<Socket>> {
        let socket = lock(&self.link).take()?;
        Some(Rewound { read: self.receiving.unread, socket })
    }
}
