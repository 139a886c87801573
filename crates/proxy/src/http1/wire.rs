//! One connection to a provider: a request goes out, its answer comes in, and perhaps another one after it.
//!
//! It has no task of its own: whoever waits for something that comes over it polls it, and that also sends what is still
//! to be sent of the request.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;
use http_body::Frame;
use till_core::fields::Fields;
use tokio::time::Instant;

use super::alarm::Alarm;
use super::answer;
use super::input::{Input, Next};
use super::output::{Form, Outgoing, Output};
use crate::body::BodyError;
use crate::connect::OutboundBody;
use crate::socket::{Rewound, Socket, poll_read_once};

/// The longest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 256 * 1024;

/// So many interim answers come before the answer itself. A provider that has work to do sends one now and then.
const INTERIM_MAX: usize = 100;

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
    /// Ready to be written: the head, perhaps with the beginning of the body behind it.
    ready: Output,
    /// What is not in there yet.
    body: Option<OutboundBody>,
    outgoing: Outgoing,
    /// The answer has no body.
    is_head: bool,
}

impl Outbound {
    /// A request with this head, the empty line at its end included. `length` is what it says of the body; without one that
    /// is chunked. `is_head` says that the answer has no body.
    pub(crate) fn new(head: Vec<u8>, body: OutboundBody, length: Option<u64>, is_head: bool) -> Self {
        let outgoing = Outgoing::new(length.map_or(Form::Chunked, Form::Length));
        Self { ready: Output::of(head), body: Some(body), outgoing, is_head }
    }

    /// The head as it would be written, for the fuzz target.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn into_head(mut self) -> Vec<u8> {
        std::mem::take(&mut self.ready.bytes)
    }
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
    alarm: Alarm,
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

/// Whether another answer to the same request follows, RFC 9110 section 15.2.
fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// A request on its way.
struct Sending {
    out: Output,
    /// Not kept longer than needed: the client's connection hangs on it.
    body: Option<OutboundBody>,
    outgoing: Outgoing,
    /// What the network had taken when the request began, and whether it was handed any of it.
    sent_before: u64,
    is_tried: bool,
}

impl Sending {
    /// Nothing is to be sent.
    fn nothing() -> Self {
        Self {
            out: Output::default(),
            body: None,
            outgoing: Outgoing::new(Form::None),
            sent_before: 0,
            is_tried: false,
        }
    }

    /// Whether the provider has all that the head says, or is about to.
    fn is_complete(&self) -> bool {
        self.out.is_empty() && self.outgoing.has_ended()
    }

    /// Makes ready what the client has sent of the body.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<(), WireError> {
        let Some(body) = &mut self.body else { return Ok(()) };
        let filled = self.outgoing.fill(cx, body, &mut self.out);
        if filled.is_err() || self.outgoing.has_ended() {
            self.body = None;
        }
        filled.map_err(WireError::Client)
    }

    /// Sends what can be sent now.
    fn advance(&mut self, link: &Link, cx: &mut Context<'_>) -> Result<(), WireError> {
        loop {
            self.fill(cx)?;
            if self.out.is_empty() {
                return Ok(());
            }
            self.is_tried = true;
            let mut link = lock(link);
            let socket = link.as_mut().ok_or(WireError::Closed)?;
            if self.out.poll(cx, socket)?.is_pending() {
                return Ok(());
            }
        }
    }
}

/// An answer on its way.
struct Receiving {
    input: Input,
    /// There is no body: the request was HEAD.
    is_head: bool,
    /// The provider lets the connection be used again after this answer.
    is_kept: bool,
    /// Interim answers to the request so far.
    interim: usize,
}

impl Receiving {
    /// The head of which `read` is the newest piece.
    fn head(&mut self, read: &[u8]) -> Result<Option<AnswerHead>, WireError> {
        let Self { input, is_head, is_kept, interim } = self;
        let found = input.find(read, |input, bytes| {
            let Some(answer) = answer::read(bytes, &mut input.scanned, *is_head)? else { return Ok(None) };
            // What an interim answer says of the connection stays true.
            *is_kept &= answer.is_kept;
            input.begin(answer.framing, &bytes[answer.length..]);
            *interim += usize::from(is_interim(answer.head.status));
            Ok(Some(answer.head))
        });
        if self.input.unread.len() > HEAD_BYTES_MAX {
            return Err(WireError::NotHttp("the head of the answer is too long"));
        }
        if self.interim > INTERIM_MAX {
            return Err(WireError::NotHttp("there are too many interim answers"));
        }
        found
    }
}

impl Wire {
    pub(crate) fn new(socket: Socket) -> Self {
        let receiving = Receiving { input: Input::new(), is_head: false, is_kept: true, interim: 0 };
        let link = Arc::new(Mutex::new(Some(socket)));
        Self { link, sending: Sending::nothing(), receiving, alarm: Alarm::default() }
    }

    pub(crate) fn end(&self) -> WireEnd {
        WireEnd(Arc::downgrade(&self.link))
    }

    fn sent(&self) -> Option<u64> {
        lock(&self.link).as_ref().map(Socket::sent)
    }

    /// Begins a request. Nothing is sent before the wire is polled.
    pub(crate) fn begin(&mut self, request: Outbound) {
        let Outbound { ready, body, outgoing, is_head } = request;
        self.receiving.is_head = is_head;
        self.receiving.interim = 0;
        self.sending = Sending {
            out: ready,
            body,
            outgoing,
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
        let is_whole = self.sent_nothing() && self.sending.out.is_untouched();
        is_whole.then(|| {
            let sending = std::mem::replace(&mut self.sending, Sending::nothing());
            let Sending { out, body, outgoing, .. } = sending;
            Outbound { ready: out, body, outgoing, is_head: self.receiving.is_head }
        })
    }

    /// Sends, and waits for the head of the answer.
    pub(crate) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<AnswerHead, WireError>> {
        let sent = self.sending.advance(&self.link, cx);
        if let Err(WireError::Client(error)) = sent {
            return Poll::Ready(Err(WireError::Client(error)));
        }
        // What is unread came behind an interim answer.
        let mut found = self.receiving.head(&[]);
        loop {
            match found {
                Ok(Some(AnswerHead { status, .. })) if is_interim(status) => found = self.receiving.head(&[]),
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Ok(None) => {
                    let receiving = &mut self.receiving;
                    let read = lock(&self.link).as_mut().map(|socket| {
                        poll_read_once(socket, cx, |read| match read {
                            [] => Err(WireError::Closed),
                            _ => receiving.head(read),
                        })
                    });
                    found = match read {
                        Some(Poll::Ready(read)) => read.map_err(WireError::from).flatten(),
                        Some(Poll::Pending) if sent.is_ok() => return Poll::Pending,
                        _ => Err(WireError::Closed),
                    };
                }
                // A provider may answer before it has read everything, and close: then there is an answer.
                Err(error) => return Poll::Ready(Err(sent.err().unwrap_or(error))),
            }
        }
    }

    /// The next piece of the answer, or its trailers. Whatever is left of the request is sent meanwhile.
    pub(crate) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, WireError>>> {
        if !self.sending.is_complete() && self.sending.advance(&self.link, cx).is_err() {
            // The answer counts.
            self.sending = Sending::nothing();
            self.receiving.is_kept = false;
        }
        loop {
            match self.receiving.input.next().map_err(WireError::NotHttp)? {
                Next::Frame(frame) => return Poll::Ready(Some(Ok(frame))),
                Next::End => return Poll::Ready(None),
                Next::Missing => {}
            }
            let Receiving { input, is_kept, .. } = &mut self.receiving;
            let read = lock(&self.link).as_mut().map(|socket| {
                poll_read_once(socket, cx, |read| {
                    input.take(read);
                    read.len()
                })
            });
            let Some(read) = read else { return Poll::Ready(Some(Err(WireError::Closed))) };
            if ready!(read)? == 0 {
                *is_kept = false;
                if !input.end() {
                    return Poll::Ready(Some(Err(WireError::Closed)));
                }
            }
        }
    }

    /// Whether nothing more comes of the answer.
    pub(crate) fn has_ended(&self) -> bool {
        self.receiving.input.has_ended()
    }

    /// The length of the answer's body, where it is known.
    pub(crate) fn answer_length(&self) -> Option<u64> {
        self.receiving.input.length()
    }

    /// Whether both sides have said everything, and may say more.
    pub(crate) fn is_done(&self) -> bool {
        let Receiving { input, is_kept, .. } = &self.receiving;
        *is_kept && input.has_ended() && input.unread.is_empty() && self.sending.is_complete()
    }

    /// Whether nothing came since, not even the end.
    pub(crate) fn is_silent(&self) -> bool {
        lock(&self.link).as_mut().is_some_and(Socket::is_silent)
    }

    /// Ready when it is later than `deadline`.
    pub(crate) fn poll_deadline(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        self.alarm.poll(cx, deadline)
    }

    /// The connection as it is, for another protocol.
    pub(crate) fn into_rewound(self) -> Option<Rewound<Socket>> {
        let socket = lock(&self.link).take()?;
        Some(Rewound { read: self.receiving.input.unread, socket })
    }
}

#[cfg(test)]
mod tests;
