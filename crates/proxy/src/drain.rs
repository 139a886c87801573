//! Reads answers to their end that nobody waits for any more, where that is needed to know what was used: hanging up
//! early is then as dear as reading on, and no dearer.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use till_core::denial::Denial;
use tokio::runtime::Handle;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::authenticate::VerifiedKey;
use crate::forward::Forwarded;
use crate::relay::{Live, Opening, open};
use crate::server::reached;
use crate::{Inner, Stage};

/// How long one answer is read on, at most: longer than official SDKs wait for one (600 s).
const TIME_MAX: Duration = Duration::from_secs(900);

/// How much of one answer is read on, in bytes.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Takes over answers whose client is gone.
#[derive(Clone)]
pub(crate) struct Drains {
    till: Arc<Inner>,
    key: Arc<VerifiedKey>,
    /// Between two pieces of an answer.
    idle: Duration,
}

/// A request on its way, up to the head of its answer.
type Forwarding = Pin<Box<dyn Future<Output = Result<Forwarded, Denial>> + Send>>;

/// Waits for the head of an answer, in a task of its own once nobody else does.
struct Awaited {
    forwarding: Option<Forwarding>,
    drains: Drains,
}

impl Future for Awaited {
    type Output = Result<Forwarded, Denial>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let forwarding = self.forwarding.as_mut().expect("not polled after it was ready");
        let outcome = std::task::ready!(forwarding.as_mut().poll(cx));
        self.forwarding = None;
        Poll::Ready(outcome)
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        let Some(forwarding) = self.forwarding.take() else { return };
        if let Ok(runtime) = Handle::try_current() {
            let drains = self.drains.clone();
            let in_flight = drains.in_flight();
            runtime.spawn(self.drains.till.connections.track_future(drains.read_from(in_flight, forwarding)));
        }
    }
}

/// How reading on came to its end.
enum End {
    /// The answer is complete.
    Whole,
    /// It broke off, was too long or too slow, the key ended, or the server stops.
    Early,
}

impl Drains {
    pub(crate) fn new(till: &Arc<Inner>, key: &Arc<VerifiedKey>) -> Self {
        Self { till: Arc::clone(till), key: Arc::clone(key), idle: till.timeouts.idle }
    }

    /// The request is served for as long as its answer is read.
    fn in_flight(&self) -> TaskTrackerToken {
        self.till.requests.token()
    }

    /// Reads on in a task of its own if that is needed; otherwise the answer ends here.
    pub(crate) fn take_over(&self, live: Live) {
        let needed = live.needs_the_end();
        match Handle::try_current() {
            Ok(runtime) if needed => {
                let reading = self.clone().read_on(self.in_flight(), live);
                runtime.spawn(self.till.connections.track_future(reading));
            }
            _ => live.abandon(),
        }
    }

    /// Waits for the head of an answer.
    ///
    /// # Cancel safety
    /// When it is dropped it goes on in a task of its own, and so does reading the answer.
    pub(crate) fn await_answer(
        self,
        forwarding: Forwarding,
    ) -> impl Future<Output = Result<Forwarded, Denial>> {
        Awaited { forwarding: Some(forwarding), drains: self }
    }

    /// Reads an answer from before its head on, for nobody.
    async fn read_from(self, in_flight: TaskTrackerToken, forwarding: Forwarding) {
        let mut stage = self.till.stage.clone();
        let opened = async {
            match open(forwarding.await?, &self.key)? {
                Opening::Opened(opened) => Ok(opened),
                Opening::Coded(coded) => coded.opened(self.idle).await,
            }
        };
        let opened = tokio::select! {
            opened = opened => opened,
            // The admission is dropped: it spends what it holds if something may have been sent.
            () = reached(&mut stage, Stage::Cutting) => return,
        };
        match opened {
            Ok((_, live)) if live.needs_the_end() => self.read_on(in_flight, live).await,
            Ok((_, live)) => live.abandon(),
            // What was held is spent with what was dropped.
            Err(_) => {}
        }
    }

    async fn read_on(self, _in_flight: TaskTrackerToken, mut live: Live) {
        let mut key_ended = live.unwatch();
        let mut stage = self.till.stage.clone();
        let end = tokio::select! {
            end = read(&mut live, self.idle) => end,
            _ = key_ended.wait() => End::Early,
            () = tokio::time::sleep(TIME_MAX) => End::Early,
            () = reached(&mut stage, Stage::Cutting) => End::Early,
        };
        match end {
            End::Whole => live.finish(),
            End::Early => live.abandon(),
        }
    }
}

async fn read(live: &mut Live, idle: Duration) -> End {
    let mut bytes = 0_u64;
    loop {
        let frame = match tokio::time::timeout(idle, poll_fn(|cx| live.poll(cx))).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return End::Whole,
            Ok(Some(Err(_))) | Err(_) => return End::Early,
        };
        let Ok(data) = frame.into_data() else { continue };
        bytes += data.len() as u64;
        if bytes > BYTES_MAX || live.measure(data).is_err() {
            return End::Early;
        }
    }
}
