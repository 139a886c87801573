//! Ends a stream from till's side: when its key ends, or when nothing moves for too long.
//!
//! It runs as a task of its own because the relay is only asked for more while the client reads. A client that
//! has stopped reading must not keep the provider working: the watchdog ends that connection itself, and the
//! relay finds out as soon as it is asked again.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use till_core::denial::Denial;
use till_store::KeyEnded;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::http1::WireEnd;

/// Why a stream must end.
pub(crate) enum Bark {
    /// The key ended, for this reason.
    KeyEnded(Denial),
    /// Neither did the provider send nor the client take anything.
    Silence,
}

/// Watches one stream until it is dropped.
pub(crate) struct Watchdog {
    bark: oneshot::Receiver<Bark>,
    watched: Arc<Watched>,
    task: AbortHandle,
}

#[derive(Default)]
struct Watched {
    /// Something was passed on since the last look.
    moved: AtomicBool,
    /// Either side has decided how the stream ends: only the first one may touch the upstream connection, which
    /// may be serving somebody else a moment later.
    decided: AtomicBool,
}

impl Watchdog {
    /// Starts watching. `upstream` is ended together with the stream.
    pub(crate) fn start(mut key: KeyEnded, upstream: WireEnd, idle: Duration) -> Self {
        let (sender, bark) = oneshot::channel();
        let watched = Arc::<Watched>::default();
        let shared = Arc::clone(&watched);
        let task = tokio::spawn(async move {
            let reason = tokio::select! {
                denial = key.wait() => Bark::KeyEnded(denial),
                () = silence(&shared.moved, idle) => Bark::Silence,
            };
            if shared.decided.swap(true, Ordering::AcqRel) {
                return;
            }
            // The reason first: the relay must not take it for a fault of the provider.
            let _ = sender.send(reason);
            upstream.end();
        });
        Self { bark, watched, task: task.abort_handle() }
    }

    /// Something was passed on.
    pub(crate) fn progress(&self) {
        self.watched.moved.store(true, Ordering::Relaxed);
    }

    /// The stream is complete. Whether that came first: otherwise the upstream connection is being ended and
    /// must not be used again.
    pub(crate) fn stand_down(&self) -> bool {
        !self.watched.decided.swap(true, Ordering::AcqRel)
    }

    /// Ready when the stream must end.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Bark> {
        // A task that is gone without a word means that the process is stopping.
        Poll::Ready(ready!(Pin::new(&mut self.bark).poll(cx)).unwrap_or(Bark::Silence))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ready after a whole period, at most twice as long as `idle`, without progress.
async fn silence(moved: &AtomicBool, idle: Duration) {
    loop {
        tokio::time::sleep(idle).await;
        if !moved.swap(false, Ordering::Relaxed) {
            return;
        }
    }
}
