//! The way of an answer from the writer to one caller, and one wake-up for many of them.
//!
//! To wake a task from another thread takes a lock that all of its runtime's threads share, and often a system call. So the
//! writer lays all answers of a batch down and wakes one caller, and that one wakes the others, from a thread of the runtime.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A place for one answer: who gives it, and who waits for it.
pub(crate) fn answer<T>() -> (Reply<T>, Answer<T>) {
    let slot = Arc::new(Slot(Mutex::new(State::Awaited(None))));
    (Reply(Some(Arc::clone(&slot))), Answer(slot))
}

/// Callers whose answers are there. Dropping this wakes them, so none is forgotten, whatever becomes of who has it.
#[derive(Debug, Default)]
pub(crate) struct Others(Vec<Waker>);

impl Drop for Others {
    fn drop(&mut self) {
        self.0.drain(..).for_each(Waker::wake);
    }
}

/// Gives an answer, once. Dropping it says that there will be none.
#[derive(Debug)]
pub(crate) struct Reply<T>(Option<Arc<Slot<T>>>);

/// Waits for an answer; `None` when there will be none.
#[derive(Debug)]
pub(crate) struct Answer<T>(Arc<Slot<T>>);

#[derive(Debug)]
struct Slot<T>(Mutex<State<T>>);

#[derive(Debug)]
enum State<T> {
    Awaited(Option<Waker>),
    Given(T, Others),
    /// Nobody waits, or nobody answers.
    Over,
}

impl<T> Slot<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // A change is one assignment, so a panic can't leave it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Reply<T> {
    /// Whether nobody waits any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.as_ref().is_none_or(|slot| matches!(*slot.lock(), State::Over))
    }

    /// Gives the answer and wakes who waits for it, and through him the others.
    pub(crate) fn send(self, answer: T, others: Others) {
        if let Some(waker) = self.give(answer, others) {
            waker.wake();
        }
    }

    /// Gives the answer; whoever waits for it is woken with these.
    pub(crate) fn send_with(self, answer: T, others: &mut Others) {
        others.0.extend(self.give(answer, Others::default()));
    }

    fn give(mut self, answer: T, others: Others) -> Option<Waker> {
        let slot = self.0.take().expect("it is taken by what ends it");
        let mut state = slot.lock();
        match &mut *state {
            State::Awaited(waker) => {
                let waker = waker.take();
                *state = State::Given(answer, others);
                waker
            }
            // The answer is dropped without the lock: it may give something back.
            _ => {
                drop(state);
                None
            }
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        let Some(slot) = self.0.take() else { return };
        let before = std::mem::replace(&mut *slot.lock(), State::Over);
        if let State::Awaited(Some(waker)) = before {
            waker.wake();
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        let before = std::mem::replace(&mut *self.0.lock(), State::Over);
        // Without the lock: an answer that nobody took may give something back.
        drop(before);
    }
}

impl<T> Future for Answer<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.0.lock();
        match &mut *state {
            State::Awaited(Some(waker)) => waker.clone_from(context.waker()),
            State::Awaited(waker) => *waker = Some(context.waker().clone()),
            State::Given(..) | State::Over => {
                let State::Given(answer, others) = std::mem::replace(&mut *state, State::Over) else {
                    return Poll::Ready(None);
                };
                drop(state);
                drop(others);
                return Poll::Ready(Some(answer));
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    use super::{Answer, Others, answer};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn poll(answer: &mut Answer<u8>, count: &Arc<Count>) -> Poll<Option<u8>> {
        let waker = Waker::from(Arc::clone(count));
        std::pin::pin!(answer).as_mut().poll(&mut Context::from_waker(&waker))
    }

    #[test]
    fn one_wakes_the_others_also_when_it_is_gone() {
        for is_gone in [false, true] {
            let counts: [Arc<Count>; 3] = Default::default();
            let woken = || counts.each_ref().map(|count| count.0.load(Ordering::SeqCst));
            let (replies, mut answers): (Vec<_>, Vec<_>) = (0..3).map(|_| answer()).unzip();
            for (answer, count) in answers.iter_mut().zip(&counts) {
                assert_eq!(poll(answer, count), Poll::Pending);
            }
            let mut others = Others::default();
            let mut replies = replies.into_iter();
            let first = replies.next().unwrap();
            for (n, reply) in (1..).zip(replies) {
                reply.send_with(n, &mut others);
            }
            assert_eq!(woken(), [0, 0, 0]);
            if is_gone {
                drop(answers.remove(0));
                first.send(0, others);
                assert_eq!(woken(), [0, 1, 1]);
            } else {
                first.send(0, others);
                assert_eq!(woken(), [1, 0, 0]);
                assert_eq!(poll(&mut answers.remove(0), &counts[0]), Poll::Ready(Some(0)));
                assert_eq!(woken(), [1, 1, 1]);
            }
            for (n, (answer, count)) in (1..).zip(answers.iter_mut().zip(&counts)) {
                assert_eq!(poll(answer, count), Poll::Ready(Some(n)));
            }
        }
    }

    #[test]
    fn who_leaves_with_its_answer_wakes_the_others() {
        let count: Arc<Count> = Arc::default();
        let ((first, first_answer), (second, mut second_answer)) = (answer(), answer());
        assert_eq!(poll(&mut second_answer, &count), Poll::Pending);
        let mut others = Others::default();
        second.send_with(2, &mut others);
        first.send(1, others);
        drop(first_answer);
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn each_side_learns_that_the_other_is_gone() {
        let (reply, waiting) = answer::<u8>();
        assert!(!reply.is_closed());
        drop(waiting);
        assert!(reply.is_closed());
        reply.send(1, Others::default());
        let (reply, mut waiting) = answer();
        let count: Arc<Count> = Arc::default();
        assert_eq!(poll(&mut waiting, &count), Poll::Pending);
        drop(reply);
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert_eq!(poll(&mut waiting, &count), Poll::Ready(None));
    }
}
