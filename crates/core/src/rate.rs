//! How often a key may be used: so much per minute, and so many at once.
//!
//! The generic cell rate algorithm (ITU-T I.371, annex A), in the form of a virtual schedule: one number per bound, and no
//! timer. A bound of N per minute refills evenly, an N-th of a minute per unit, and holds N at most. It says exactly how long
//! to wait. Rates are about the moment and not promises for a lifetime: they are kept in memory and start full.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bounds of a key. The default has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rates {
    /// Requests per minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u64>,
    /// Tokens per minute, input and output together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
    /// Requests in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrent: Option<u64>,
}

/// A moment of a clock that never goes back, in nanoseconds from some beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(pub u64);

const MINUTE_NANOS: u128 = 60_000_000_000;

/// What is left of a bound per minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerMinute {
    /// When it would be full again, in nanoseconds; it is full from then on.
    full_at: u128,
}

/// Why there is not enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMuch {
    /// It fits once this time has passed.
    Wait(Duration),
    /// It never fits: the bound is lower.
    Never,
}

impl PerMinute {
    /// Takes units if they are there.
    ///
    /// # Errors
    /// How long to wait for them; nothing is taken.
    pub fn take(&mut self, bound: u64, units: u64, now: Instant) -> Result<(), TooMuch> {
        if units > bound {
            return Err(TooMuch::Never);
        }
        let now = u128::from(now.0);
        let full_at = self.full_at.max(now) + time_of(bound, units);
        // More than a minute away from being full is less than empty.
        let over = (full_at - now).saturating_sub(MINUTE_NANOS);
        if over > 0 {
            return Err(TooMuch::Wait(Duration::from_nanos(u64::try_from(over).unwrap_or(u64::MAX))));
        }
        self.full_at = full_at;
        Ok(())
    }

    /// Corrects what was taken by an estimate, once it is known what was used. It may go below empty.
    pub fn correct(&mut self, bound: u64, taken: u64, used: u64, now: Instant) {
        let now = u128::from(now.0);
        if used >= taken {
            self.full_at = self.full_at.max(now).saturating_add(time_of(bound, used - taken));
        } else {
            self.full_at = self.full_at.saturating_sub(time_of(bound, taken - used));
        }
    }
}

/// How long so many units take to refill, rounded up.
fn time_of(bound: u64, units: u64) -> u128 {
    match bound {
        0 if units == 0 => 0,
        // Nothing ever refills; a year is long enough.
        0 => MINUTE_NANOS * 60 * 24 * 365,
        _ => (u128::from(units) * MINUTE_NANOS).div_ceil(bound.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{Instant, MINUTE_NANOS, PerMinute, TooMuch};

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_minute_has_so_many_and_says_when_there_is_more() {
        let mut bucket = PerMinute::default();
        let at = |second: u64| Instant(1_000 * SECOND + second * SECOND);
        for _ in 0..60 {
            assert_eq!(bucket.take(60, 1, at(0)), Ok(()));
        }
        assert_eq!(bucket.take(60, 1, at(0)), Err(TooMuch::Wait(Duration::from_secs(1))));
        assert_eq!(bucket.take(60, 3, at(1)), Err(TooMuch::Wait(Duration::from_secs(2))));
        assert_eq!(bucket.take(60, 3, at(3)), Ok(()));
        assert_eq!(bucket.take(60, 61, at(3)), Err(TooMuch::Never));
        // Never more than a minute's worth, however long nobody came.
        assert_eq!(bucket.take(60, 60, at(10_000)), Ok(()));
        assert!(bucket.take(60, 1, at(10_000)).is_err());
    }

    #[test]
    fn an_estimate_is_corrected() {
        let mut bucket = PerMinute::default();
        let now = Instant(0);
        assert_eq!(bucket.take(100, 100, now), Ok(()));
        bucket.correct(100, 100, 40, now);
        assert_eq!(bucket.take(100, 60, now), Ok(()));
        bucket.correct(100, 60, 160, now);
        assert_eq!(bucket.take(100, 1, now), Err(TooMuch::Wait(Duration::from_millis(60_600))));
        let mut none = PerMinute::default();
        assert_eq!(none.take(0, 1, now), Err(TooMuch::Never));
        assert_eq!(none.take(0, 0, now), Ok(()));
    }

    proptest! {
        /// In any window of time no more passes than what fits at once and what refills meanwhile.
        #[test]
        fn no_window_has_more(
            bound in 1..200_u64,
            steps in proptest::collection::vec((0..5_000_000_000_u64, 1..50_u64), 1..60),
        ) {
            let mut bucket = PerMinute::default();
            let mut now = 0;
            let mut passed: Vec<(u64, u64)> = Vec::new();
            for (later, units) in steps {
                now += later;
                match bucket.take(bound, units, Instant(now)) {
                    Ok(()) => passed.push((now, units)),
                    Err(TooMuch::Wait(wait)) => {
                        // Exactly then it fits, and not before.
                        let (mut early, mut there) = (bucket, bucket);
                        let wait = u64::try_from(wait.as_nanos()).expect("short");
                        prop_assert!(there.take(bound, units, Instant(now + wait)).is_ok());
                        prop_assert!(early.take(bound, units, Instant(now + wait - 1)).is_err());
                    }
                    Err(TooMuch::Never) => prop_assert!(units > bound),
                }
            }
            for (first, (start, _)) in passed.iter().enumerate() {
                let mut sum = 0_u128;
                for (end, units) in &passed[first..] {
                    sum += u128::from(*units);
                    let refilled = u128::from(end - start) * u128::from(bound);
                    prop_assert!(sum * MINUTE_NANOS <= u128::from(bound) * MINUTE_NANOS + refilled);
                }
            }
        }
    }
}
