//! Stages 5 and 6: pass the answer on while it arrives, with the upstream key replaced wherever it is echoed,
//! and settle the hold when it ends.
//!
//! Nothing is buffered: a frame that comes in goes out, except for bytes at its end that may be the beginning
//! of the upstream key. When the client goes away, this value is dropped, and with it the upstream connection.

use std::future::Future;
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
use tokio::time::{Instant, Sleep};

use crate::body::BodyError;
use crate::decode::{self, Decoded};
use crate::forward::{Forwarded, clean_answer};
use crate::pool::Lease;
use crate::record::Record;
use crate::respond;

/// An answer on its way to the client.
pub(crate) struct Relay {
    source: Source,
    redact: RedactStream,
    lease: Option<Lease>,
    hold: Option<Hold>,
    /// Comes last, after held-back bytes.
    trailers: Option<HeaderMap>,
    redactor: Arc<Redactor>,
    /// Made with the second frame: most answers are one frame and need neither.
    watch: Option<Watch>,
    frames: u64,
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

/// What can end a stream from our side.
struct Watch {
    key_ended: Pin<Box<dyn Future<Output = Denial> + Send>>,
    silence: Pin<Box<Sleep>>,
    last_frame: Instant,
}

/// Why a body ends with an error, so that the client does not take it for complete.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("the upstream broke off")]
    Upstream,
    #[error("the upstream was silent for too long")]
    Silence,
    #[error("the scoped key ended")]
    KeyEnded,
}

/// Turns the answer of the provider into the one for the client.
///
/// # Errors
/// `upstream_protocol` for a content coding that can't be undone.
pub(crate) fn relay(
    forwarded: Forwarded,
    redactor: &Arc<Redactor>,
    dialect: Dialect,
    idle: Duration,
    is_head: bool,
    mut record: Record,
) -> Result<Response<Relay>, Box<(Denial, Record)>> {
    let Forwarded { response, lease, hold } = forwarded;
    let (mut parts, body) = response.into_parts();
    let has_body = !is_head && !body.is_end_stream();
    let source = match decode::coding(&parts.headers) {
        Ok(Some(coding)) if has_body => {
            decode::forget_coding(&mut parts.headers);
            Source::Decoded(Decoded::new(body, coding))
        }
        Err(_) if has_body => {
            let denial = Denial::new(
                DenialCode::UpstreamProtocol,
                "The provider's answer came in a content coding that till can't read, so it was not passed on. The \
                 request is counted.",
            );
            return Err(Box::new((denial, record)));
        }
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
        trailers: None,
        redactor: Arc::clone(redactor),
        watch: None,
        frames: 0,
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
        if let Some(lease) = self.lease.take() {
            lease.release();
        }
        if let Some(hold) = self.hold.take() {
            hold.settle(Units::ONE_ACTIVATION);
        }
        self.watch = None;
    }

    /// Ends it early. The hold is settled as spent and the upstream connection closed, by dropping both.
    fn cut(&mut self, cut: Cut, name: &'static str) -> Option<Result<Frame<Bytes>, BodyError>> {
        self.is_finished = true;
        self.record.cut = Some(name);
        self.lease = None;
        self.hold = None;
        self.watch = None;
        Some(Err(cut.into()))
    }

    /// The key was revoked: the client learns why where the format has a place for it.
    fn cut_by_key(&mut self, denial: &Denial) -> Option<Result<Frame<Bytes>, BodyError>> {
        let cut = self.cut(Cut::KeyEnded, "key_ended");
        match self.events {
            // A blank line first, in case the last event was not complete.
            Some(dialect) => Some(Ok(Frame::data(last_event(denial, dialect)))),
            None => cut,
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

    /// Whether something on our side ends the stream now.
    fn poll_watch(&mut self, cx: &mut Context<'_>) -> Option<Result<Frame<Bytes>, BodyError>> {
        let idle = self.idle;
        let watch = self.watch.get_or_insert_with(|| {
            let mut ended = self.hold.as_ref().expect("open until finished").key_ended();
            Watch {
                key_ended: Box::pin(async move { ended.wait().await }),
                silence: Box::pin(tokio::time::sleep(idle)),
                last_frame: Instant::now(),
            }
        });
        if let Poll::Ready(denial) = watch.key_ended.as_mut().poll(cx) {
            return self.cut_by_key(&denial);
        }
        while watch.silence.as_mut().poll(cx).is_ready() {
            // Moved only when it fires, not with every frame.
            let deadline = watch.last_frame + idle;
            if Instant::now() >= deadline {
                return self.cut(Cut::Silence, "upstream_silent");
            }
            watch.silence.as_mut().reset(deadline);
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
            if this.is_finished {
                return Poll::Ready(this.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            if this.frames > 0
                && let Some(last) = this.poll_watch(cx)
            {
                return Poll::Ready(Some(last));
            }
            let frame = match this.poll_source(cx) {
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(error))) => {
                    tracing::debug!(request = %this.record.request_id, error = %error, "upstream broke off");
                    return Poll::Ready(this.cut(Cut::Upstream, "upstream_cut"));
                }
                Poll::Ready(None) => return Poll::Ready(this.end()),
                Poll::Pending if this.frames > 0 => return Poll::Pending,
                Poll::Pending => {
                    // From now on the key and the clock are watched too.
                    this.frames = 1;
                    continue;
                }
            };
            this.frames += 1;
            if let Some(watch) = &mut this.watch {
                watch.last_frame = Instant::now();
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
                    this.record.echoes += redact_headers(&this.redactor, &mut trailers);
                    this.trailers = Some(trailers);
                    return Poll::Ready(this.end());
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_finished && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            // Masking keeps the length; held-back bytes come later, so only the beginning is exact.
            Source::Plain(body) if self.frames == 0 => body.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

/// The last event of a stream that till ends, in the provider's own form. What follows it is a clean end.
fn last_event(denial: &Denial, dialect: Dialect) -> Bytes {
    let status = StatusCode::FORBIDDEN;
    let body = respond::body(denial, dialect, status);
    let name = if dialect == Dialect::Anthropic { "event: error\n" } else { "" };
    Bytes::from(format!("\n\n{name}data: {body}\n\n"))
}

impl Drop for Relay {
    fn drop(&mut self) {
        if !self.is_finished {
            self.record.cut = Some("client_gone");
        }
    }
}
