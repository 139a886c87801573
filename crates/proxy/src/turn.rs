//! Requests that are ready at the same time are sent one after the other.
//!
//! To send is most of what a request costs, and nearly all of that is the system's: one after the other, they find its code in the
//! processor's caches, and the provider is woken once for several (docs/decisions/0022-what-is-cold.md).

use std::cell::Cell;
use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

/// A thread that was here so short a time ago has more to do than one request: this is longer than one takes.
const SHORT: Duration = Duration::from_micros(200);

/// Lets every other request that is ready come as far as this one, whose head came at `now`. `in_flight` are served at the same
/// time, with this one.
pub(crate) async fn turn(now: Instant, in_flight: usize) {
    let mut waits = is_busy(now) && in_flight > 1;
    poll_fn(|cx| {
        if !std::mem::replace(&mut waits, false) {
            return Poll::Ready(());
        }
        // A task that wakes itself is polled again after those that wait already.
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Whether other requests are likely to wait for this thread. Where none does a turn would only wake another thread.
fn is_busy(now: Instant) -> bool {
    thread_local! {
        static BEFORE: Cell<Option<Instant>> = const { Cell::new(None) };
    }
    BEFORE.replace(Some(now)).is_some_and(|before| now.saturating_duration_since(before) < SHORT)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::time::{Duration, Instant};

    use super::{SHORT, turn};

    #[test]
    fn there_is_one_turn_where_others_are_likely_to_wait_and_none_elsewhere() {
        // A thread of its own, on which nobody was before.
        let seen = std::thread::spawn(|| {
            let begun = Instant::now();
            [(0, 9), (1, 9), (2, 1), (3, 2), (1_000, 9), (900, 9)].map(|(micros, in_flight)| {
                let mut nobody = Context::from_waker(Waker::noop());
                let mut turn = pin!(turn(begun + Duration::from_micros(micros), in_flight));
                let first = turn.as_mut().poll(&mut nobody);
                first.is_ready() || turn.poll(&mut nobody) != Poll::Ready(())
            })
        });
        assert!(SHORT < Duration::from_micros(900));
        // The first, one that is alone, and one after a pause go on at once; one before the last is no pause.
        assert_eq!(seen.join().expect("no panic"), [true, false, true, false, true, false]);
    }
}
