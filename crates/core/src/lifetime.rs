//! When a key works: from when, until when, and how long without use.
//!
//! Pure arithmetic over points in time. That a key which was seen expired stays expired is the ledger's business.

use crate::time::Timestamp;

/// Bounds in time of a key. The default has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifetime {
    /// Nothing passes before.
    pub not_before: Option<Timestamp>,
    /// Nothing passes from then on, and what is in flight is cut.
    pub expires_at: Option<Timestamp>,
    /// The first request has to come before; otherwise the key expires.
    pub activate_by: Option<Timestamp>,
    /// Seconds without a request after which the key expires. A request in flight is use.
    pub idle_expiry_seconds: Option<u64>,
}

/// Longest idle expiry: a hundred years, in seconds.
pub const IDLE_EXPIRY_SECONDS_MAX: u64 = 100 * 366 * 24 * 3600;

/// Last point in time that a bound may have, in milliseconds: the end of the year 9999, the last that RFC 3339 can write.
pub const TIME_MAX: Timestamp = Timestamp(253_402_300_799_999);

/// Why bounds can't be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LifetimeError {
    /// `expires_at` is over.
    #[error("`expires_at` must be in the future")]
    ExpiresInThePast,
    /// `activate_by` is over.
    #[error("`activate_by` must be in the future")]
    ActivateInThePast,
    /// It would end before it begins.
    #[error("`not_before` must be before `expires_at`: the key would never work")]
    NeverWorks,
    /// It could not be used in time.
    #[error("`not_before` must be before `activate_by`: the key could not be used in time")]
    NeverActivated,
    /// The later of the two would mean nothing.
    #[error("`activate_by` must not be after `expires_at`, where it would mean nothing")]
    ActivateAfterEnd,
    /// Zero, or longer than anybody lives.
    #[error("`idle_expiry_seconds` must be a whole number from 1 to {IDLE_EXPIRY_SECONDS_MAX}")]
    IdleOutOfBounds,
    /// A year that can't be written.
    #[error("`expires_at`, `not_before` and `activate_by` must not be after the year 9999")]
    TooFar,
}

impl Lifetime {
    /// Whether these bounds make sense together, for a key that was used or not.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self, is_used: bool, now: Timestamp) -> Result<(), LifetimeError> {
        let is_over = |time: Option<Timestamp>| time.is_some_and(|time| time <= now);
        let times = [self.not_before, self.expires_at, self.activate_by];
        if times.into_iter().flatten().any(|time| time > TIME_MAX) {
            return Err(LifetimeError::TooFar);
        }
        if is_over(self.expires_at) {
            return Err(LifetimeError::ExpiresInThePast);
        }
        if !is_used && is_over(self.activate_by) {
            return Err(LifetimeError::ActivateInThePast);
        }
        let not_before = |other: Option<Timestamp>| other.is_some_and(|other| self.not_before >= Some(other));
        if not_before(self.expires_at) {
            return Err(LifetimeError::NeverWorks);
        }
        if not_before(self.activate_by) {
            return Err(LifetimeError::NeverActivated);
        }
        if self.expires_at.is_some() && self.activate_by > self.expires_at {
            return Err(LifetimeError::ActivateAfterEnd);
        }
        if self.idle_expiry_seconds.is_some_and(|idle| !(1..=IDLE_EXPIRY_SECONDS_MAX).contains(&idle)) {
            return Err(LifetimeError::IdleOutOfBounds);
        }
        Ok(())
    }

    /// When the key expires if nothing more happens; `None` is never. `idle_from` is when it was made or its bounds
    /// were set, `is_in_use` whether a request is in flight.
    pub fn ends_at(
        &self,
        last_used_at: Option<Timestamp>,
        idle_from: Timestamp,
        is_in_use: bool,
    ) -> Option<Timestamp> {
        let activate_by = self.activate_by.filter(|_| last_used_at.is_none());
        let idle = self.idle_expiry_seconds.filter(|_| !is_in_use).map(|seconds| {
            // A key that may not be used yet is not idle.
            let since =
                idle_from.max(last_used_at.unwrap_or(idle_from)).max(self.not_before.unwrap_or(idle_from));
            Timestamp(since.0.saturating_add(seconds.saturating_mul(1000)))
        });
        [self.expires_at, activate_by, idle].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::{IDLE_EXPIRY_SECONDS_MAX, Lifetime, LifetimeError, TIME_MAX};
    use crate::time::Timestamp;

    fn at(millis: u64) -> Option<Timestamp> {
        Some(Timestamp(millis))
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let none = Lifetime::default;
        let now = Timestamp(1_000);
        for (lifetime, is_used, expected) in [
            (none(), false, Ok(())),
            (Lifetime { expires_at: at(1_001), ..none() }, false, Ok(())),
            (Lifetime { expires_at: at(1_000), ..none() }, false, Err(LifetimeError::ExpiresInThePast)),
            (Lifetime { activate_by: at(1_000), ..none() }, false, Err(LifetimeError::ActivateInThePast)),
            (Lifetime { activate_by: at(1_000), ..none() }, true, Ok(())),
            (Lifetime { not_before: at(5), ..none() }, false, Ok(())),
            (
                Lifetime { not_before: at(2_000), expires_at: at(2_000), ..none() },
                false,
                Err(LifetimeError::NeverWorks),
            ),
            (
                Lifetime { not_before: at(2_000), activate_by: at(1_500), ..none() },
                false,
                Err(LifetimeError::NeverActivated),
            ),
            (
                Lifetime { activate_by: at(3_001), expires_at: at(3_000), ..none() },
                false,
                Err(LifetimeError::ActivateAfterEnd),
            ),
            (Lifetime { activate_by: at(3_000), expires_at: at(3_000), ..none() }, false, Ok(())),
            (Lifetime { idle_expiry_seconds: Some(0), ..none() }, false, Err(LifetimeError::IdleOutOfBounds)),
            (Lifetime { idle_expiry_seconds: Some(IDLE_EXPIRY_SECONDS_MAX), ..none() }, false, Ok(())),
            (
                Lifetime { idle_expiry_seconds: Some(IDLE_EXPIRY_SECONDS_MAX + 1), ..none() },
                false,
                Err(LifetimeError::IdleOutOfBounds),
            ),
            (
                Lifetime { expires_at: Some(Timestamp(TIME_MAX.0 + 1)), ..none() },
                false,
                Err(LifetimeError::TooFar),
            ),
        ] {
            assert_eq!(lifetime.check(is_used, now), expected, "{lifetime:?}");
        }
    }

    #[test]
    fn the_first_end_counts() {
        let all = Lifetime {
            not_before: at(2_000),
            expires_at: at(100_000),
            activate_by: at(9_000),
            idle_expiry_seconds: Some(5),
        };
        let from = Timestamp(1_000);
        assert_eq!(all.ends_at(None, from, false), at(7_000), "not idle before it may be used");
        assert_eq!(all.ends_at(None, Timestamp(8_000), false), at(9_000), "to be used by then");
        assert_eq!(all.ends_at(at(8_500), from, false), at(13_500), "used in time");
        assert_eq!(all.ends_at(at(8_500), from, true), at(100_000), "in use");
        assert_eq!(all.ends_at(at(99_000), from, false), at(100_000));
        assert_eq!(Lifetime::default().ends_at(None, from, false), None);
    }
}
