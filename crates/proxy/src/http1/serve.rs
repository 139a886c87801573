//! Answers the requests of one connection, one after the other.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Method, StatusCode, Version};
use http_body::Body as _;
use till_core::fields;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::front::{FrontDoor, Request, Shared};
use super::head::digits;
use super::output::{Form, Outgoing, Output};
use crate::Stage;
use crate::body::{Answer, AnswerBody, BodyError, RequestBody, UpgradedClient};
use crate::request::{self, Client};
use crate::server::reached;
use crate::socket::Socket;

/// Serves a connection to its end. When the server stops, the answer being written is the last.
///
/// # Errors
/// The connection failed, or an answer did not come to its end: there is no other way to show that.
pub(crate) async fn serve(
    door: FrontDoor<Socket>,
    client: Arc<Client>,
    stage: watch::Receiver<Stage>,
) -> Result<(), BodyError> {
    let door = Shared::new(door);
    let mut stopping = stage.clone();
    let mut stopping = pin!(reached(&mut stopping, Stage::Stopping));
    let mut is_watched = false;
    loop {
        let next = poll_fn(|cx| {
            // Being woken by a stop takes a lock that all connections share. It was taken with the first poll, and is not
            // again before there is something new: the task has one waker for all its life.
            if (!is_watched || stage.has_changed().unwrap_or(true)) && stopping.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(None));
            }
            is_watched = true;
            door.lock().poll_request(cx)
        });
        let is_stopping = || stage.has_changed().unwrap_or(true);
        let written = match next.await? {
            None => return Ok(poll_fn(|cx| door.lock().poll_close(cx)).await?),
            Some(Ok(Request { head, is_kept, received, .. })) => {
                let how = How { version: head.version, is_head: head.method == Method::HEAD, is_kept };
                let body = RequestBody::of_http1(door.body());
                let serving = request::begin(&client, head, body, received.into_std());
                let mut serving = pin!(serving.answer(&client.till));
                let served = poll_fn(|cx| match serving.as_mut().poll(cx) {
                    Poll::Ready(answer) => {
                        Poll::Ready(Some(write_at_once(cx, answer, &how, is_stopping(), &door)))
                    }
                    Poll::Pending => door.lock().poll_gone(cx).map(|()| None),
                });
                // Nobody is there any more to answer.
                let Some(written) = served.await else { return Ok(()) };
                written
            }
            Some(Err(violation)) => {
                let how = How { version: Version::HTTP_11, is_head: false, is_kept: false };
                let mut answer = Some(request::refuse_head(&client, &violation));
                poll_fn(|cx| {
                    let answer = answer.take().expect("it is polled once");
                    Poll::Ready(write_at_once(cx, answer, &how, is_stopping(), &door))
                })
                .await
            }
        };
        let Written { is_kept, upgrade, at } = match written? {
            Attempt::Written(written) => written,
            Attempt::Waits(mut writing) => poll_fn(|cx| writing.poll(cx, &door)).await?,
        };
        if let Some(upgrade) = upgrade {
            // Whoever waits for it is gone if this fails.
            let _ = door.into_inner().map(|door| upgrade.send(door.into_rewound()));
            return Ok(());
        }
        if !is_kept {
            return Ok(poll_fn(|cx| door.lock().poll_close(cx)).await?);
        }
        door.lock().answered(at);
    }
}

/// What came of writing an answer at once.
enum Attempt {
    Written(Written),
    /// Not all of it is there, or the client takes it slowly.
    Waits(Box<Writing>),
}

/// An answer that has been written.
struct Written {
    is_kept: bool,
    upgrade: Option<oneshot::Sender<UpgradedClient>>,
    at: Instant,
}

/// Writes as much of an answer as can be written now, which is nearly always all of it: only one that has to wait is kept with the
/// connection.
///
/// # Errors
/// As [`Writing::poll`].
fn write_at_once(
    cx: &mut Context<'_>,
    answer: Answer,
    how: &How,
    is_stopping: bool,
    door: &Shared<Socket>,
) -> Result<Attempt, BodyError> {
    let mut writing = Writing::begin(answer, how, is_stopping, door);
    Ok(match writing.poll(cx, door) {
        Poll::Ready(written) => Attempt::Written(written?),
        Poll::Pending => Attempt::Waits(Box::new(writing)),
    })
}

/// What a request says about the form of its answer.
struct How {
    version: Version,
    is_head: bool,
    is_kept: bool,
}

/// An answer that is being written.
struct Writing {
    out: Output,
    /// Kept until all is written: the request lasts until then.
    body: AnswerBody,
    outgoing: Outgoing,
    is_kept: bool,
    upgrade: Option<oneshot::Sender<UpgradedClient>>,
    /// When it was begun; `None` once it has waited.
    begun: Option<Instant>,
    /// It ends after what is in `out`, and not as it should.
    failure: Option<BodyError>,
}

impl Writing {
    /// Its head is ready, in `out`.
    fn begin(answer: Answer, how: &How, is_stopping: bool, door: &Shared<Socket>) -> Self {
        let begun = Instant::now();
        let Answer { status, fields, body, upgrade } = answer;
        let How { version, is_head, is_kept } = *how;
        let has_body = !is_head && !status.is_informational() && !matches!(status.as_u16(), 204 | 304);
        let told = fields.get("content-length").and_then(digits);
        let known = told.or_else(|| body.size_hint().exact());
        let form = match known {
            _ if !has_body => Form::None,
            Some(length) => Form::Length(length),
            None if version == Version::HTTP_11 => Form::Chunked,
            None => Form::UntilClose,
        };
        let can_go_on = {
            let mut door = door.lock();
            door.answers();
            door.can_go_on()
        };
        let is_kept = is_kept && !is_stopping && can_go_on && form != Form::UntilClose;
        let mut output = Output::empty();
        let out = &mut output.bytes;
        write_status(out, status);
        fields.write_to(out);
        if !fields.contains("date") {
            write_date(out, begun);
        }
        match form {
            Form::Length(length) if told.is_none() => {
                fields::write_line(out, "content-length", fields::decimal(length, &mut [0; 20]));
            }
            // As if the body came; without a known length nothing is said.
            Form::None if told.is_none() && is_head && known.is_some_and(|length| length > 0) => {
                fields::write_line(out, "content-length", known.unwrap_or_default().to_string());
            }
            Form::Chunked => fields::write_line(out, "transfer-encoding", "chunked"),
            _ => {}
        }
        if upgrade.is_some() {
            // The answer says itself what the connection becomes.
        } else if !is_kept {
            fields::write_line(out, "connection", "close");
        } else if version == Version::HTTP_10 {
            fields::write_line(out, "connection", "keep-alive");
        }
        out.extend_from_slice(b"\r\n");
        let outgoing = Outgoing::new(form);
        Self { out: output, body, outgoing, is_kept, upgrade, begun: Some(begun), failure: None }
    }

    /// Ready when all is written.
    ///
    /// # Errors
    /// The connection failed, or the answer did not come to its end.
    fn poll(&mut self, cx: &mut Context<'_>, door: &Shared<Socket>) -> Poll<Result<Written, BodyError>> {
        let Poll::Ready(outcome) = self.poll_written(cx, door) else {
            self.begun = None;
            return Poll::Pending;
        };
        if outcome.is_err() && self.outgoing.is_until_close() {
            door.lock().break_off();
        }
        // Most are written at once: then one look at the clock is enough.
        let at = self.begun.unwrap_or_else(Instant::now);
        Poll::Ready(outcome.map(|()| Written { is_kept: self.is_kept, upgrade: self.upgrade.take(), at }))
    }

    fn poll_written(&mut self, cx: &mut Context<'_>, door: &Shared<Socket>) -> Poll<Result<(), BodyError>> {
        loop {
            if self.failure.is_none() {
                self.failure = self.outgoing.fill(cx, &mut self.body, &mut self.out).err();
            }
            let mut door = door.lock();
            if !self.out.is_empty() {
                ready!(door.poll_send(cx, &mut self.out))?;
                continue;
            }
            if let Some(failure) = self.failure.take() {
                return Poll::Ready(Err(failure));
            }
            if self.outgoing.has_ended() {
                return Poll::Ready(Ok(()));
            }
            ready!(door.poll_gone(cx));
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionReset).into()));
        }
    }
}

/// When the answer was made, RFC 9110 section 6.6.1.
fn write_date(out: &mut Vec<u8>, now: Instant) {
    thread_local! {
        /// It is the same line for a whole second, up to this moment.
        static WRITTEN: RefCell<(Option<Instant>, String)> = const { RefCell::new((None, String::new())) };
    }
    WRITTEN.with_borrow_mut(|(until, line)| {
        if until.is_none_or(|until| until <= now) {
            let date = SystemTime::now();
            let passed = date.duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos();
            let left = Duration::from_secs(1) - Duration::from_nanos(passed.into());
            (*until, *line) = (Some(now + left), format!("date: {}\r\n", httpdate::fmt_http_date(date)));
        }
        out.extend_from_slice(line.as_bytes());
    });
}

/// The status line, with the phrase that the status has everywhere: the provider's own may say anything.
fn write_status(out: &mut Vec<u8>, status: StatusCode) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}
