//! Stages 5 and 6: pass the answer on while it arrives, with the upstream key replaced wherever it is echoed,
//! and settle the hold when it ends.
//!
//! Nothing is buffered: a frame that comes in goes out, except for bytes at its end that may be the beginning
//! of the upstream key. When the client goes away, this value is dropped, and with it the upstream connection.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use till_core::denial::{Denial, DenialCode};
use till_core::limit::Units;
use till_core::redact::{RedactStream, Redactor};
use till_providers::Dialect;
use till_store::Hold;

use crate::body::BodyError;
use crate::decode::{self, Decoded};
use crate::forward::{Forwarded, clean_answer};
use crate::pool::Lease;
use crate::record::Record;
use crate::respond;
use crate::watchdog::{Bark, Watchdog};

/// An answer on its way to the client.
pub(crate) struct Relay {
    source: Source,
    redact: RedactStream,
    lease: Option<Lease>,
    hold: Option<Hold>,
    /// Present once it is cut.
    failure: Option<Failure>,
    /// Comes last, after held-back bytes.
    trailers: Option<HeaderMap>,
    redactor: Arc<Redactor>,
    /// Set with the second frame: most answers are one frame and need none.
    watchdog: Option<Watchdog>,
    has_begun: bool,
    idle: Duration,
    /// Present for event streams: the shape of a last event.
    events: Option<Dialect>,
    is_finished: bool,
    record: Record,
}

enum Source {
    Plain(Incoming),
    Decoded(Decoded),
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
        }
    }
}

/// Turns the answer of the provider into the one for the client.
///
/// # Errors
/// `upstream_protocol` for a content coding that can't be undone, or another protocol.
pub(crate) async fn relay(
    forwarded: Forwarded,
    redactor: &Arc<Redactor>,
    dialect: Dialect,
    idle: Duration,
    is_head: bool,
    mut record: Record,
) -> Result<Response<Relay>, Box<(Denial, Record)>> {
    let Forwarded { response, lease, hold } = forwarded;
    let (mut parts, body) = response.into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        let denial = Denial::new(
            DenialCode::UpstreamProtocol,
            "The provider switched to another protocol, which was not asked for. The request is counted.",
        );
        return Err(Box::new((denial, record)));
    }
    let has_body = !is_head && !body.is_end_stream();
    let source = match decode::coding(&parts.headers) {
        Ok(Some(coding)) if has_body => {
            decode::forget_coding(&mut parts.headers);
            match Decoded::begin(body, coding, idle).await {
                Ok(decoded) => Source::Decoded(decoded),
                Err(_) => return Err(Box::new((unreadable(), record))),
            }
        }
        Err(_) if has_body => return Err(Box::new((unreadable(), record))),
        _ => Source::Plain(body),
    };
    clean_answer(&mut parts.headers);
    record.echoes += redact_headers(redactor, &mut parts.headers);
    record.status = Some(parts.status);
    let is_events = parts
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
    let mut relay = Relay {
        source,
        redact: redactor.stream(),
        lease: Some(lease),
        hold: Some(hold),
        failure: None,
        trailers: None,
        redactor: Arc::clone(redactor),
        watchdog: None,
        has_begun: false,
        idle,
        events: is_events.then_some(dialect),
        is_finished: false,
        record,
    };
    if !has_body {
        relay.finish();
    }
    let mut response = Response::new(relay);
    *response.status_mut() = parts.status;
    *response.headers_mut() = parts.headers;
    Ok(response)
}

fn unreadable() -> Denial {
    Denial::new(
        DenialCode::UpstreamProtocol,
        "The provider's answer came in a content coding that till can't read, so it was not passed on. The request is \
         counted.",
    )
}

/// Replaces the upstream key in header values; drops headers that have it in their name. Counts both.
pub(crate) fn redact_headers(redactor: &Redactor, headers: &mut HeaderMap) -> u64 {
    let mut echoes = 0;
    for value in headers.values_mut() {
        if let Some(masked) = redactor.redact_all(value.as_bytes()) {
            *value = HeaderValue::from_bytes(&masked).expect("masking keeps a value valid");
            echoes += 1;
        }
    }
    let echoing: Vec<_> = headers
        .keys()
        .filter(|name| redactor.contains_in_header_name(name.as_str().as_bytes()))
        .cloned()
        .collect();
    for name in echoing {
        headers.remove(name);
        echoes += 1;
    }
    echoes
}

impl Relay {
    /// The answer is complete: the connection can be used again and the hold is settled.
    fn finish(&mut self) {
        self.is_finished = true;
        let is_ours = self.watchdog.take().is_none_or(|watchdog| watchdog.stand_down());
        if let Some(lease) = self.lease.take().filter(|_| is_ours) {
            lease.release();
        }
        if let Some(hold) = self.hold.take() {
            hold.settle(Units::ONE_ACTIVATION);
        }
    }

    /// Ends it early. The hold is settled as spent and the upstream connection closed, by dropping both.
    fn stop(&mut self, cut: Cut) {
        self.is_finished = true;
        self.record.cut = Some(cut.as_str());
        self.lease = None;
        self.hold = None;
        self.watchdog = None;
    }

    /// As [`Relay::stop`], and the client sees that the answer is not complete.
    fn cut(&mut self, cut: Cut) {
        self.stop(cut);
        self.failure = Some(Failure { cut, is_announced: false });
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
        if !self.is_finished {
            let held = self.redact.finish();
            self.record.echoes += self.redact.replacements();
            self.finish();
            if let Some(frame) = self.pass(held) {
                return Some(frame);
            }
        }
        self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))
    }

    /// Whether something on our side ends the stream now. The client learns why where the format has a place
    /// for it.
    fn poll_watchdog(&mut self, cx: &mut Context<'_>) -> Option<Bytes> {
        let (idle, hold, lease) = (self.idle, &self.hold, &self.lease);
        let watchdog = self.watchdog.get_or_insert_with(|| {
            let hold = hold.as_ref().expect("open until finished");
            let lease = lease.as_ref().expect("open until finished");
            Watchdog::start(hold.key_ended(), lease.wire.task(), idle)
        });
        match (watchdog.poll(cx), self.events) {
            (Poll::Pending, _) => return None,
            (Poll::Ready(Bark::Silence), _) => self.cut(Cut::Silence),
            (Poll::Ready(Bark::KeyEnded(_)), None) => self.cut(Cut::KeyEnded),
            (Poll::Ready(Bark::KeyEnded(denial)), Some(dialect)) => {
                self.stop(Cut::KeyEnded);
                return Some(last_event(&denial, dialect));
            }
        }
        None
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.source {
            Source::Plain(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Source::Decoded(body) => {
                body.poll_next(cx).map(|step| step.map(|data| data.map(Frame::data).map_err(Into::into)))
            }
        }
    }

    fn source_has_ended(&self) -> bool {
        match &self.source {
            Source::Plain(body) => body.is_end_stream(),
            Source::Decoded(_) => false,
        }
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
            if this.is_finished {
                return Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            if this.has_begun {
                if let Some(event) = this.poll_watchdog(cx) {
                    return Poll::Ready(Some(Ok(Frame::data(event))));
                }
                if this.is_finished {
                    continue;
                }
            }
            let frame = match this.poll_source(cx) {
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
            if let Some(watchdog) = &this.watchdog {
                watchdog.progress();
            }
            match frame.into_data() {
                Ok(data) => {
                    let data = this.redact.push(data);
                    if this.source_has_ended() && this.redact.held_len() == 0 {
                        // Known without asking again: saves the client's server a round.
                        let _ = this.end();
                    }
                    if let Some(frame) = this.pass(data) {
                        return Poll::Ready(Some(frame));
                    }
                }
                Err(frame) => {
                    let mut trailers = frame.into_trailers().unwrap_or_default();
                    clean_answer(&mut trailers);
                    this.record.echoes += redact_headers(&this.redactor, &mut trailers);
                    this.trailers = Some(trailers);
                    return Poll::Ready(this.end());
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_finished && self.trailers.is_none() && self.failure.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            // Masking keeps the length; held-back bytes come later, so only the beginning is exact.
            Source::Plain(body) if !self.has_begun => body.size_hint(),
            _ => SizeHint::default(),
        }
    }
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
        if !self.is_finished {
            self.record.abandoned();
        }
    }
}
