//! The clock of a connection.

use std::future::Future as _;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::task::coop;
use tokio::time::{Instant, Sleep};

/// One timer for all deadlines of a connection. It looks at the clock when it fires instead of being moved with every
/// message.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready when it is later than `deadline`.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if deadline < timer.deadline() {
            timer.as_mut().reset(deadline);
        }
        loop {
            // Outside of the budget that a task has: who always has something to read would never be late.
            ready!(pin!(coop::unconstrained(timer.as_mut())).poll(cx));
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future as _, poll_fn};
    use std::pin::pin;
    use std::task::Poll;
    use std::time::Duration;

    use tokio::task::coop;
    use tokio::time::Instant;

    use super::Alarm;

    #[tokio::test]
    async fn a_deadline_is_noticed_although_there_is_always_something_to_do() {
        let (mut alarm, deadline) = (Alarm::default(), Instant::now());
        // Timers have a resolution of a millisecond.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let is_late = poll_fn(|cx| {
            while pin!(coop::consume_budget()).poll(cx).is_ready() {}
            Poll::Ready(alarm.poll(cx, deadline).is_ready())
        });
        assert!(is_late.await);
    }
}
