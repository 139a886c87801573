//! What time it is: the one place of this crate that asks.
//!
//! A wall clock can be set back, and a key that was over must not live again by that. So time only goes forward here: it is
//! the wall clock, or the highest time that was ever seen plus what has passed since on a clock that nobody can set, if
//! that is more. The highest time seen is kept with the data and handed over at the next start ([`Clock::raise`]).

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use till_core::time::Timestamp;

/// Where the time comes from.
pub(crate) trait TimeSource: Send + Sync {
    /// Milliseconds since 1970, by a clock that may jump.
    fn wall_millis(&self) -> u64;
    /// Milliseconds since some moment, by a clock that only goes forward.
    fn steady_millis(&self) -> u64;
    /// The same clock, for how long something lasted.
    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// The clocks of the operating system.
struct SystemTimeSource {
    begin: Instant,
}

impl TimeSource for SystemTimeSource {
    /// A clock before 1970 counts as 1970; one after the year 292 million does not occur.
    fn wall_millis(&self) -> u64 {
        millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    fn steady_millis(&self) -> u64 {
        millis(self.begin.elapsed())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A clock that never goes back.
pub(crate) struct Clock {
    source: Box<dyn TimeSource>,
    /// The highest time seen, less the steady time at which it was seen.
    ahead: AtomicU64,
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("now", &self.now()).finish_non_exhaustive()
    }
}

impl Clock {
    pub(crate) fn system() -> Self {
        Self::new(SystemTimeSource { begin: Instant::now() })
    }

    pub(crate) fn new(source: impl TimeSource + 'static) -> Self {
        Self { source: Box::new(source), ahead: AtomicU64::new(0) }
    }

    /// Now: never before what was answered earlier.
    pub(crate) fn now(&self) -> Timestamp {
        let steady = self.source.steady_millis();
        let wall = self.source.wall_millis().saturating_sub(steady);
        if planted!(ClockSetBack) {
            return Timestamp(self.source.wall_millis());
        }
        // One number that only grows: no order with anything else is needed.
        let mut ahead = self.ahead.load(Ordering::Relaxed);
        if wall > ahead {
            // Seldom: whoever only reads it leaves it in the caches of all processors.
            ahead = self.ahead.fetch_max(wall, Ordering::Relaxed).max(wall);
        }
        Timestamp(steady.saturating_add(ahead))
    }

    /// A moment of the clock that nobody can set, for rates.
    pub(crate) fn steady(&self) -> till_core::rate::Instant {
        till_core::rate::Instant(self.source.steady_millis().saturating_mul(1_000_000))
    }

    /// A moment of that clock, for how long something lasted.
    pub(crate) fn instant(&self) -> Instant {
        self.source.instant()
    }

    /// It was at least this late already, in an earlier life of the process. Says how far the wall clock is behind.
    pub(crate) fn raise(&self, seen: Timestamp) -> Duration {
        let wall = self.source.wall_millis();
        self.ahead.fetch_max(seen.0.saturating_sub(self.source.steady_millis()), Ordering::Relaxed);
        Duration::from_millis(seen.0.saturating_sub(wall))
    }
}

/// A time that tests set.
#[cfg(test)]
#[derive(Clone, Debug)]
pub(crate) struct FakeTime(std::sync::Arc<(AtomicU64, AtomicU64)>);

#[cfg(test)]
impl FakeTime {
    pub(crate) fn at(wall_millis: u64) -> Self {
        Self(std::sync::Arc::new((AtomicU64::new(wall_millis), AtomicU64::new(0))))
    }

    /// Time passes, for both clocks.
    pub(crate) fn pass(&self, millis: u64) {
        self.0.0.fetch_add(millis, Ordering::SeqCst);
        self.0.1.fetch_add(millis, Ordering::SeqCst);
    }

    /// Somebody sets the wall clock.
    pub(crate) fn set_wall(&self, millis: u64) {
        self.0.0.store(millis, Ordering::SeqCst);
    }

    pub(crate) fn wall(&self) -> u64 {
        self.0.0.load(Ordering::SeqCst)
    }

    pub(crate) fn clock(&self) -> Clock {
        Clock::new(self.clone())
    }
}

/// As [`FakeTime`], and nothing lasts longer than the test says: for a writer that does not wait for anything by itself.
#[cfg(test)]
pub(crate) struct SteppedTime {
    pub(crate) time: FakeTime,
    pub(crate) begin: Instant,
}

#[cfg(test)]
impl TimeSource for SteppedTime {
    fn wall_millis(&self) -> u64 {
        self.time.wall_millis()
    }

    fn steady_millis(&self) -> u64 {
        self.time.steady_millis()
    }

    fn instant(&self) -> Instant {
        self.begin + Duration::from_millis(self.steady_millis())
    }
}

#[cfg(test)]
impl TimeSource for FakeTime {
    fn wall_millis(&self) -> u64 {
        self.0.0.load(Ordering::SeqCst)
    }

    fn steady_millis(&self) -> u64 {
        self.0.1.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use till_core::time::Timestamp;

    use super::FakeTime;

    #[test]
    fn time_only_goes_forward() {
        let time = FakeTime::at(10_000);
        let clock = time.clock();
        assert_eq!(clock.now(), Timestamp(10_000));
        time.pass(500);
        assert_eq!(clock.now(), Timestamp(10_500));
        // Set back: it goes on from the highest time seen.
        time.set_wall(3_000);
        assert_eq!(clock.now(), Timestamp(10_500));
        time.pass(500);
        assert_eq!(clock.now(), Timestamp(11_000));
        // Set forward, or the machine slept, during which the steady clock may stand still.
        time.set_wall(90_000);
        assert_eq!(clock.now(), Timestamp(90_000));
        time.set_wall(0);
        time.pass(1);
        assert_eq!(clock.now(), Timestamp(90_001));
        // A new process that knows how late it was.
        let time = FakeTime::at(5);
        let clock = time.clock();
        assert_eq!(clock.raise(Timestamp(90_001)), Duration::from_millis(89_996));
        assert_eq!(clock.now(), Timestamp(90_001));
        assert_eq!(clock.raise(Timestamp(7)), Duration::from_millis(2));
        time.pass(9);
        assert_eq!(clock.now(), Timestamp(90_010));
    }
}
