//! HTTP/2 towards clients: a library's. Its framing leaves nothing to interpretation.
//!
//! Invariant: an answer of which a client takes nothing is let go after a time, as with HTTP/1. The library asks for more of
//! an answer only where the client's window has room, so an answer that nobody takes is never asked, and can't end by itself.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::Stage;
use crate::body::{AnswerBody, BodyError, RequestBody};
use crate::http1::FrontDoor;
use crate::request::{self, Client};
use crate::server::reached;
use crate::socket::Socket;

/// Streams that one connection may have open.
const STREAMS_MAX: u32 = 256;

/// An answer that was not asked for more in so many idle times is let go. A provider that is silent is given up before
/// that, and then the answer is asked.
const IDLE_TIMES_MAX: u8 = 3;

/// Serves a connection to its end. When the server stops, it takes no more requests.
///
/// # Errors
/// The connection failed.
pub(crate) async fn serve(
    door: FrontDoor<Socket>,
    client: Arc<Client>,
    mut stage: watch::Receiver<Stage>,
) -> Result<(), BodyError> {
    let till = Arc::clone(&client.till);
    let answers = Answers::default();
    let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
        let (client, answers) = (Arc::clone(&client), answers.clone());
        async move {
            let (parts, body) = request.into_parts();
            let head = request::head_of(parts);
            let body = RequestBody::of_http2(body);
            let answer = request::begin(&client, head, body, Instant::now()).answer(&client.till).await;
            Ok::<_, std::convert::Infallible>(answer.into_response().map(|body| answers.watched(body)))
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(till.head_limits.bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(till.timeouts.client_idle)
        .serve_connection(TokioIo::new(door.into_rewound()), service);
    let mut connection = pin!(connection);
    let mut idle_times = tokio::time::interval(till.timeouts.idle);
    idle_times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_stopping = false;
    loop {
        tokio::select! {
            outcome = connection.as_mut() => return Ok(outcome?),
            () = reached(&mut stage, Stage::Stopping), if !is_stopping => {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = idle_times.tick() => answers.let_go(),
        }
    }
}

/// The answers of a connection that are on their way.
#[derive(Clone, Default)]
struct Answers(Arc<Mutex<Vec<Weak<Mutex<OnItsWay>>>>>);

struct OnItsWay {
    /// `None` once it was let go.
    body: Option<AnswerBody>,
    /// Since it was asked for more.
    idle_times: u8,
}

/// An answer that can be let go while nobody asks for more of it.
struct Watched(Arc<Mutex<OnItsWay>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Answers {
    fn watched(&self, body: AnswerBody) -> Watched {
        let answer = Arc::new(Mutex::new(OnItsWay { body: Some(body), idle_times: 0 }));
        let mut answers = lock(&self.0);
        if answers.len() >= 2 * STREAMS_MAX as usize {
            answers.retain(|answer| answer.strong_count() > 0);
        }
        answers.push(Arc::downgrade(&answer));
        Watched(answer)
    }

    /// An idle time has passed.
    fn let_go(&self) {
        let answers: Vec<_> = lock(&self.0).iter().filter_map(Weak::upgrade).collect();
        for answer in answers {
            let mut answer = lock(&answer);
            answer.idle_times = answer.idle_times.saturating_add(1);
            // Till's own may wait for something to tell.
            let is_let_go =
                answer.idle_times >= IDLE_TIMES_MAX && matches!(answer.body, Some(AnswerBody::Relay(_)));
            let untaken = if is_let_go { answer.body.take() } else { None };
            drop(answer);
            drop(untaken);
        }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut answer = lock(&self.0);
        answer.idle_times = 0;
        match &mut answer.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(Some(Err("the client took nothing of the answer for too long".into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        lock(&self.0).body.as_ref().is_some_and(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        lock(&self.0).body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}
