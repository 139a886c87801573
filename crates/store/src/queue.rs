//! The way from many callers to the one writer.
//!
//! Urgent commands wake the writer; lazy ones (settles and voids, which nobody waits for) ride with the
//! next batch, or go alone after [`LAZY_WAIT`]. A caller pays for a wake-up only when the writer sleeps.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::StoreError;

/// Commands that may wait. Beyond it callers are refused instead of kept waiting without end.
pub(crate) const CAPACITY: usize = 65_536;

/// How long a settle may wait for company before it gets a transaction of its own.
pub(crate) const LAZY_WAIT: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(crate) struct Queue<C> {
    state: Mutex<State<C>>,
    wake: Condvar,
}

#[derive(Debug)]
struct State<C> {
    commands: Vec<C>,
    /// Something in `commands` is being waited for.
    urgent: bool,
    /// The writer should look at its own deadlines again.
    nudged: bool,
    closed: bool,
    sleep: Sleep,
}

/// What the writer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sleep {
    /// It runs, or was woken: it will look at the queue without help.
    Awake,
    /// It wakes up by itself within [`LAZY_WAIT`].
    Briefly,
    /// It sleeps until somebody wakes it, or for long.
    Deeply,
}

/// What [`Queue::take`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Commands, or none because a deadline or a nudge came first.
    Commands,
    /// The last commands: nothing comes after them.
    Last,
}

impl<C> Queue<C> {
    pub(crate) fn new() -> Self {
        let state =
            State { commands: Vec::new(), urgent: false, nudged: false, closed: false, sleep: Sleep::Awake };
        Self { state: Mutex::new(state), wake: Condvar::new() }
    }

    /// Adds a command that somebody waits for.
    ///
    /// # Errors
    /// Too many are waiting, or the queue is closed.
    pub(crate) fn push(&self, command: C) -> Result<(), StoreError> {
        let mut state = self.lock();
        if state.closed {
            return Err(StoreError::Closed);
        }
        if state.commands.len() >= CAPACITY {
            return Err(StoreError::Overloaded);
        }
        state.commands.push(command);
        state.urgent = true;
        self.wake_if(state, |sleep| sleep != Sleep::Awake);
        Ok(())
    }

    /// Adds a command that nobody waits for. It is not refused when many wait: there is at most one for
    /// every open hold, and holds are bounded. After the end it is dropped.
    pub(crate) fn push_lazy(&self, command: C) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        state.commands.push(command);
        self.wake_if(state, |sleep| sleep == Sleep::Deeply);
    }

    /// Makes the writer look at its deadlines: there is a new one.
    pub(crate) fn nudge(&self) {
        let mut state = self.lock();
        state.nudged = true;
        self.wake_if(state, |sleep| sleep == Sleep::Deeply);
    }

    /// Refuses further commands; the writer gets what is queued as its last.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        self.wake_if(state, |_| true);
    }

    /// Closes the queue and drops what is in it, so that whoever waits for an answer learns that none
    /// will come.
    pub(crate) fn abandon(&self) {
        self.close();
        // Dropped outside of the lock: a dropped answer may push a last command.
        let commands = std::mem::take(&mut self.lock().commands);
        drop(commands);
    }

    /// How many commands wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().commands.len()
    }

    fn wake_if(&self, mut state: MutexGuard<'_, State<C>>, condition: impl FnOnce(Sleep) -> bool) {
        if condition(state.sleep) {
            // Whoever pushes next need not wake it again.
            state.sleep = Sleep::Awake;
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Waits for commands and moves all of them into `batch`, which must be empty. Returns without any
    /// when `due` comes, when nudged, or at the end.
    ///
    /// With `expect_lazy` it first sleeps briefly, so that the settles of what was just granted need
    /// not wake it.
    pub(crate) fn take(&self, batch: &mut Vec<C>, due: Option<Instant>, expect_lazy: bool) -> Taken {
        debug_assert!(batch.is_empty(), "an old batch would be mixed with the new one");
        let mut state = self.lock();
        let mut brief_until = expect_lazy.then(|| Instant::now() + LAZY_WAIT);
        loop {
            if state.urgent || state.closed || state.nudged {
                break;
            }
            if !state.commands.is_empty() && brief_until.is_none() {
                brief_until = Some(Instant::now() + LAZY_WAIT);
            }
            let until = match (brief_until, due) {
                (Some(brief), Some(due)) => Some(brief.min(due)),
                (brief, due) => brief.or(due),
            };
            state.sleep = if brief_until.is_some() { Sleep::Briefly } else { Sleep::Deeply };
            let Some(until) = until else {
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let now = Instant::now();
            if now < until {
                let wait = self.wake.wait_timeout(state, until - now);
                state = wait.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            if !state.commands.is_empty() || due.is_some_and(|due| due <= now) {
                break;
            }
            brief_until = None;
        }
        state.sleep = Sleep::Awake;
        state.urgent = false;
        state.nudged = false;
        std::mem::swap(&mut state.commands, batch);
        if state.closed { Taken::Last } else { Taken::Commands }
    }

    fn lock(&self) -> MutexGuard<'_, State<C>> {
        // Every change under the lock is one assignment or push, so a panic can't leave it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{CAPACITY, Queue, Taken};
    use crate::error::StoreError;

    #[test]
    fn what_is_too_much_is_refused_but_settles_are_not() {
        let queue = Queue::new();
        for n in 0..CAPACITY {
            queue.push(n).unwrap();
        }
        assert_eq!(queue.push(0), Err(StoreError::Overloaded));
        queue.push_lazy(CAPACITY);
        let mut batch = Vec::new();
        assert_eq!(queue.take(&mut batch, None, false), Taken::Commands);
        assert_eq!(batch, (0..=CAPACITY).collect::<Vec<_>>(), "in order");
        queue.push(0).unwrap();
    }

    #[test]
    fn a_settle_alone_is_taken_after_a_short_while() {
        for expect_lazy in [false, true] {
            let queue = Queue::new();
            queue.push_lazy(1);
            let mut batch = Vec::new();
            assert_eq!(queue.take(&mut batch, None, expect_lazy), Taken::Commands);
            assert_eq!(batch, [1]);
        }
    }

    #[test]
    fn deadlines_and_nudges_return_without_commands() {
        let queue = Queue::<u8>::new();
        let mut batch = Vec::new();
        assert_eq!(
            queue.take(&mut batch, Some(Instant::now() + Duration::from_millis(1)), true),
            Taken::Commands
        );
        queue.nudge();
        assert_eq!(queue.take(&mut batch, None, true), Taken::Commands);
        assert!(batch.is_empty());
    }

    #[test]
    fn a_sleeping_writer_is_woken() {
        for lazy in [false, true] {
            let queue = Queue::new();
            std::thread::scope(|scope| {
                let writer = scope.spawn(|| {
                    let mut batch = Vec::new();
                    queue.take(&mut batch, None, false);
                    batch
                });
                if lazy {
                    queue.push_lazy(7)
                } else {
                    queue.push(7).unwrap()
                }
                assert_eq!(writer.join().unwrap(), [7]);
            });
        }
    }

    #[test]
    fn after_the_end_nothing_is_taken_in() {
        let queue = Queue::new();
        queue.push(1).unwrap();
        queue.close();
        assert_eq!(queue.push(2), Err(StoreError::Closed));
        queue.push_lazy(3);
        let mut batch = Vec::new();
        assert_eq!(queue.take(&mut batch, None, false), Taken::Last);
        assert_eq!(batch, [1]);
        queue.abandon();
        assert_eq!(queue.len(), 0);
    }
}
