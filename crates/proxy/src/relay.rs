//! Stages 5 and 6: pass the answer on while it arrives, with the upstream key replaced wherever it is echoed,
//! and settle the hold when it ends.
//!
//! Nothing is buffered: a frame that comes in goes out, except for bytes at its end that may be the beginning
//! of the upstream key. When the client goes away, this value is dropped, and with it the upstream connection, or it
//! is read to its end where that is needed to know what was used.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use http::header::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use till_core::denial::{Denial, DenialCode};
use till_core::redact::{RedactStream, Redactor};
use till_providers::Dialect;
use till_store::KeyEnded;

use crate::authenticate::VerifiedKey;
use crate::body::{Answer, AnswerBody, BodyError, fields_of, header_map};
use crate::decode::{self, Coding, Decoded};
use crate::drain::Drains;
use crate::forward::{Forwarded, clean_answer};
use crate::http1::{AnswerHead, Wire};
use crate::meter::{Exceeded, Meter, exceeded, is_event_stream};
use crate::pool::Lease;
use crate::record::Record;
use crate::respond;
use crate::watchdog::{Bark, Watchdog};

/// An answer on its way to the client.
pub(crate) struct Relay {
    /// What is read from; `None` once the answer has ended, whichever way.
    live: Option<Live>,
    redact: RedactStream,
    /// Present once it is cut.
    failure: Option<Failure>,
    /// Comes last, after held-back bytes.
    trailers: Option<HeaderMap>,
    redactor: Arc<Redactor>,
    /// The length that the client was told, until the first byte.
    size: SizeHint,
    has_begun: bool,
    /// Present for event streams: the shape of a last event.
    events: Option<Dialect>,
    record: Box<Record>,
}

/// The provider's side of an answer that has not ended.
pub(crate) struct Live {
    source: Source,
    lease: Lease,
    meter: Meter,
    /// Set with the second frame: most answers are one frame and need none.
    watchdog: Option<Watchdog>,
}

enum Source {
    Plain,
    /// In a box: it is large and seldom, and an answer is moved several times.
    Decoded(Box<Decoded>),
}

/// Why a body ends with an error, so that the client does not take it for complete.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum Cut {
    #[error("the upstream broke off")]
    Upstream,
    #[error("nothing moved for too long")]
    Silence,
    #[error("the scoped key ended")]
    KeyEnded,
    #[error("the upstream did not keep to its cap")]
    Exceeded,
}

/// The break that ends a body which is not complete.
struct Failure {
    cut: Cut,
    /// Whether there was a chance to write what came before.
    is_announced: bool,
}

impl Cut {
    /// The word in the log.
    fn as_str(self) -> &'static str {
        match self {
            Self::Upstream => "upstream_cut",
            Self::Silence => "silence",
            Self::KeyEnded => "key_ended",
            Self::Exceeded => "cap_exceeded",
        }
    }
}

/// An answer whose body can be read.
pub(crate) type Opened = (AnswerHead, Live);

/// What becomes of an answer whose head has come.
pub(crate) enum Opening {
    Opened(Opened),
    /// Some of it has to come before it can be told.
    Coded(Coded),
}

/// An answer that has to be decoded.
pub(crate) struct Coded {
    answer: Opened,
    coding: Coding,
}

/// Begins to read an answer: decodes it if it must be, and measures what passes.
///
/// # Errors
/// `upstream_protocol` for a content coding that can't be undone, or another protocol.
pub(crate) fn open(forwarded: Forwarded, key: &Arc<VerifiedKey>) -> Result<Opening, Denial> {
    let Forwarded { mut head, lease, held, started, sent } = forwarded;
    let meter = Meter::begin(held, key, &head, started, sent);
    let coding = match coding(&meter, &mut head, &lease.wire) {
        Ok(coding) => coding,
        Err(denial) => {
            meter.refuse(&denial);
            return Err(denial);
        }
    };
    if meter.shortens() {
        head.fields.remove("content-length");
    }
    let answer = (head, Live { source: Source::Plain, lease, meter, watchdog: None });
    Ok(match coding {
        None => Opening::Opened(answer),
        Some(coding) => Opening::Coded(Coded { answer, coding }),
    })
}

impl Coded {
    /// Waits for the first piece, for so long.
    ///
    /// # Errors
    /// `upstream_protocol` when it can't be decoded.
    pub(crate) async fn opened(self, idle: Duration) -> Result<Opened, Denial> {
        let Self { answer: (head, mut live), coding } = self;
        match Decoded::begin(coding, &mut live.lease.wire, idle).await {
            Ok(decoded) => live.source = Source::Decoded(Box::new(decoded)),
            Err(_) => {
                let denial = unreadable();
                live.meter.refuse(&denial);
                return Err(denial);
            }
        }
        Ok((head, live))
    }
}

/// How the body is coded, if any of the answer may be passed on.
fn coding(meter: &Meter, head: &mut AnswerHead, wire: &Wire) -> Result<Option<Coding>, Denial> {
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Denial::new(
            DenialCode::UpstreamProtocol,
            "The provider switched to another protocol, which was not asked for. The request is counted.",
        ));
    }
    if let Some(denial) = meter.ended() {
        // It ended before the provider answered: nothing of the answer is passed on.
        return Err(denial);
    }
    let has_body = !wire.has_ended();
    match decode::coding(&head.fields) {
        Ok(Some(coding)) if has_body => {
            decode::forget_coding(&mut head.fields);
            Ok(Some(coding))
        }
        Err(_) if has_body => Err(unreadable()),
        _ => Ok(None),
    }
}

/// Turns the answer of the provider into the one for the client.
pub(crate) fn relay(
    (AnswerHead { status, mut fields }, live): (AnswerHead, Live),
    redactor: &Arc<Redactor>,
    dialect: Dialect,
    mut record: Box<Record>,
) -> Answer {
    record.echoes += clean_answer(&mut fields, redactor);
    record.status = Some(status);
    let is_events = is_event_stream(&fields);
    if is_events {
        record.till().metrics.streams_open.enter();
    }
    let size = match &live.source {
        // Masking keeps the length; a chunk that is taken out does not.
        Source::Plain if !live.meter.shortens() => live.lease.wire.answer_length(),
        _ => None,
    };
    let has_body = !live.has_ended();
    let mut relay = Relay {
        live: Some(live),
        redact: redactor.stream(),
        failure: None,
        trailers: None,
        redactor: Arc::clone(redactor),
        size: size.map_or_else(SizeHint::default, SizeHint::with_exact),
        has_begun: false,
        events: is_events.then_some(dialect),
        record,
    };
    if !has_body {
        relay.finish();
    }
    Answer { status, fields, body: AnswerBody::Relay(Box::new(relay)), upgrade: None }
}

fn unreadable() -> Denial {
    Denial::new(
        DenialCode::UpstreamProtocol,
        "The provider's answer came in a content coding that till can't read, so it was not passed on. The request is \
         counted.",
    )
}

impl Live {
    /// The answer is complete: the connection can be used again and the hold is settled.
    pub(crate) fn finish(self) {
        let is_ours = self.watchdog.is_none_or(|watchdog| watchdog.stand_down());
        let ended = Instant::now();
        if is_ours {
            self.lease.release(ended);
        }
        self.meter.finish(ended);
    }

    /// Ends it early: the upstream connection is closed and the hold spent.
    pub(crate) fn abandon(self) {
        self.meter.abandon();
    }

    /// Whether it is to be read to its end although nobody waits for it.
    pub(crate) fn needs_the_end(&self) -> bool {
        self.meter.needs_the_end()
    }

    /// Nobody reads the answer any more: whoever takes it over watches it in another way.
    pub(crate) fn unwatch(&mut self) -> KeyEnded {
        self.watchdog = None;
        self.meter.key_ended()
    }

    /// Takes what came and gives what is to be passed on.
    pub(crate) fn measure(&mut self, data: Bytes) -> Result<Bytes, Exceeded> {
        let is_end = self.has_ended();
        self.meter.push(data, is_end)
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let wire = &mut self.lease.wire;
        match &mut self.source {
            Source::Plain => wire.poll_data(cx).map_err(Into::into),
            Source::Decoded(body) => body
                .poll_next(cx, wire)
                .map(|step| step.map(|data| data.map(Frame::data).map_err(Into::into))),
        }
    }

    fn has_ended(&self) -> bool {
        match &self.source {
            Source::Plain => self.lease.wire.has_ended(),
            Source::Decoded(_) => false,
        }
    }

    fn watchdog(&mut self, idle: Duration) -> &mut Watchdog {
        let (meter, lease) = (&self.meter, &self.lease);
        self.watchdog.get_or_insert_with(|| Watchdog::start(meter.key_ended(), lease.wire.end(), idle))
    }
}

impl Relay {
    fn finish(&mut self) {
        if let Some(live) = self.live.take() {
            live.finish();
        }
    }

    /// Ends it early. The hold is spent and the upstream connection closed.
    fn stop(&mut self, cut: Cut) {
        self.record.cut = Some(cut.as_str());
        if let Some(live) = self.live.take() {
            live.abandon();
        }
    }

    /// As [`Relay::stop`], and the client sees that the answer is not complete.
    fn cut(&mut self, cut: Cut) {
        self.stop(cut);
        self.failure = Some(Failure { cut, is_announced: false });
    }

    /// As [`Relay::stop`]; the client learns why where the format has a place for it.
    fn cut_saying(&mut self, cut: Cut, denial: &Denial) -> Option<Bytes> {
        match self.events {
            Some(dialect) => {
                self.stop(cut);
                Some(last_event(denial, dialect))
            }
            None => {
                self.cut(cut);
                None
            }
        }
    }

    /// Breaks the connection off, but not before what was passed on until now has been written.
    fn poll_failure(&mut self, cx: &Context<'_>) -> Poll<BodyError> {
        match &mut self.failure {
            Some(failure) if failure.is_announced => Poll::Ready(failure.cut.into()),
            Some(failure) => {
                failure.is_announced = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            None => Poll::Pending,
        }
    }

    fn pass(&mut self, data: Bytes) -> Option<Result<Frame<Bytes>, BodyError>> {
        if data.is_empty() {
            return None;
        }
        self.record.bytes += data.len() as u64;
        Some(Ok(Frame::data(data)))
    }

    /// The end of the upstream's body: what was held back, then trailers.
    fn end(&mut self) -> Option<Result<Frame<Bytes>, BodyError>> {
        if let Some(live) = &mut self.live {
            let mut held = self.redact.push(live.meter.rest());
            let last = self.redact.finish();
            if held.is_empty() {
                held = last;
            } else if !last.is_empty() {
                held = [held, last].concat().into();
            }
            self.record.echoes += self.redact.replacements();
            self.finish();
            if let Some(frame) = self.pass(held) {
                return Some(frame);
            }
        }
        self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))
    }

    /// Whether something on our side ends the stream now.
    fn poll_watchdog(&mut self, cx: &mut Context<'_>) -> Option<Bytes> {
        let idle = self.record.till().timeouts.idle;
        match self.live.as_mut()?.watchdog(idle).poll(cx) {
            Poll::Pending => None,
            Poll::Ready(Bark::Silence) => {
                self.cut(Cut::Silence);
                None
            }
            Poll::Ready(Bark::KeyEnded(denial)) => self.cut_saying(Cut::KeyEnded, &denial),
        }
    }

    /// A piece of the answer: measured, searched, passed on.
    fn take(&mut self, data: Bytes) -> Option<Result<Frame<Bytes>, BodyError>> {
        let live = self.live.as_mut()?;
        if let Some(denial) = live.meter.ended() {
            // The watchdog is about to say the same; what came in between is not passed on.
            let event = self.cut_saying(Cut::KeyEnded, &denial);
            return event.map(|event| Ok(Frame::data(event)));
        }
        let Ok(data) = live.measure(data) else {
            let event = self.cut_saying(Cut::Exceeded, &exceeded(&self.live.as_ref()?.meter.key().provider));
            return event.map(|event| Ok(Frame::data(event)));
        };
        let is_last = live.has_ended();
        let data = self.redact.push(data);
        if is_last && self.redact.held_len() == 0 && !self.live.as_ref()?.meter.shortens() {
            // Known without asking again: saves the client's server a round.
            let _ = self.end();
        }
        self.pass(data)
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        loop {
            if this.failure.is_some() {
                return this.poll_failure(cx).map(|error| Some(Err(error)));
            }
            if this.live.is_none() {
                return Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            if this.has_begun
                && let Some(event) = this.poll_watchdog(cx)
            {
                return Poll::Ready(Some(Ok(Frame::data(event))));
            }
            let Some(live) = &mut this.live else { continue };
            let frame = match live.poll(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(request = %this.record.request_id, error = %error, "upstream broke off");
                    this.cut(Cut::Upstream);
                    continue;
                }
                Poll::Ready(None) => return Poll::Ready(this.end()),
                Poll::Pending if this.has_begun => return Poll::Pending,
                Poll::Pending => {
                    // From now on the key and the clock are watched too.
                    this.has_begun = true;
                    continue;
                }
            };
            this.has_begun = true;
            if let Some(watchdog) = &live.watchdog {
                watchdog.progress();
            }
            match frame.into_data() {
                Ok(data) => {
                    if let Some(frame) = this.take(data) {
                        return Poll::Ready(Some(frame));
                    }
                }
                Err(frame) => {
                    let mut trailers = fields_of(&frame.into_trailers().unwrap_or_default());
                    this.record.echoes += clean_answer(&mut trailers, &this.redactor);
                    trailers.retain(|name, _| !is_no_trailer(name));
                    this.trailers = Some(header_map(&trailers));
                    return Poll::Ready(this.end());
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.live.is_none() && self.trailers.is_none() && self.failure.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        // Held-back bytes come later, so only the beginning is exact.
        if self.has_begun { SizeHint::default() } else { self.size }
    }
}

/// What says how a message is to be read stands in its head or nowhere, RFC 9110 section 6.5.1.
fn is_no_trailer(name: &[u8]) -> bool {
    matches!(
        name,
        b"content-encoding"
            | b"content-length"
            | b"content-range"
            | b"content-type"
            | b"host"
            | b"te"
            | b"trailer"
            | b"transfer-encoding"
    )
}

/// The last event of a stream that till ends, in the provider's own form, after a blank line in case the event
/// before was not complete. What follows it is a clean end.
fn last_event(denial: &Denial, dialect: Dialect) -> Bytes {
    let status = StatusCode::FORBIDDEN;
    let body = respond::body(denial, dialect, status);
    let name = if dialect == Dialect::Anthropic { "event: error\n" } else { "" };
    Bytes::from(format!("\n\n{name}data: {body}\n\n"))
}

impl Drop for Relay {
    fn drop(&mut self) {
        if self.events.is_some() {
            self.record.till().metrics.streams_open.leave();
        }
        let Some(live) = self.live.take() else { return };
        self.record.abandoned();
        Drains::new(self.record.till(), live.meter.key()).take_over(live);
    }
}
