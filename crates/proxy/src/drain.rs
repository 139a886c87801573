//! Reads answers to their end that nobody waits for any more, where that is needed to know what was used: hanging up
//! early is then as dear as reading on, and no dearer.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use till_providers::Provider;
use tokio::runtime::Handle;

use crate::authenticate::VerifiedKey;
use crate::forward::Forwarded;
use crate::metrics::InFlight;
use crate::relay::{Live, open};
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
    /// The request is served for as long as its answer is read.
    _in_flight: Arc<InFlight>,
    /// Between two pieces of an answer.
    pub(crate) idle: Duration,
}

/// How reading on came to its end.
enum End {
    /// The answer is complete.
    Whole,
    /// It broke off, was too long or too slow, the key ended, or the server stops.
    Early,
}

impl Drains {
    pub(crate) fn new(till: &Arc<Inner>, key: &Arc<VerifiedKey>, in_flight: Arc<InFlight>) -> Self {
        let idle = till.timeouts.idle;
        Self { till: Arc::clone(till), key: Arc::clone(key), _in_flight: in_flight, idle }
    }

    /// Whose answers these are.
    pub(crate) fn provider(&self) -> &Provider {
        &self.key.provider
    }

    /// Reads on in a task of its own if that is needed; otherwise the answer ends here.
    pub(crate) fn take_over(&self, live: Live) {
        let needed = live.needs_the_end();
        match Handle::try_current() {
            Ok(runtime) if needed => {
                runtime.spawn(self.till.connections.track_future(self.clone().read_on(live)));
            }
            _ => live.abandon(),
        }
    }

    /// As [`Drains::take_over`], for an answer of which only the head is there. Whoever calls it runs in a task that
    /// nobody waits for.
    pub(crate) async fn read_answer(self, forwarded: Forwarded) {
        let mut stage = self.till.stage.clone();
        let opened = tokio::select! {
            opened = open(forwarded, &self.key, self.idle, false) => opened,
            () = reached(&mut stage, Stage::Cutting) => return,
        };
        match opened {
            Ok((_, live, _)) if live.needs_the_end() => self.read_on(live).await,
            Ok((_, live, _)) => live.abandon(),
            // What was held is spent with what was dropped.
            Err(_) => {}
        }
    }

    async fn read_on(self, mut live: Live) {
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
