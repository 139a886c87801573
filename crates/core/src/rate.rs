//! How often a key may be used: so much per minute, and so many at once.
//!
//! The generic cell rate algorithm (ITU-T I.371, annex A), in the form of a virtual schedule: one number per bound, and no
//! timer. A bound of N per minute refills evenly, an N-th of a minute per unit, and holds N at most. It says exactly how long
//! to wait. Rates are about the moment and not promises for a lifetime: they are kept in memory and start full.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::denial::{Denial, DenialCode};
use crate::key::KeyId;
use crate::limit::Units;

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

/// What is left of the bounds of one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateState {
    requests: PerMinute,
    tokens: PerMinute,
}

impl RateState {
    /// Takes what a request needs, all or nothing. `in_flight` are the requests of the key that run already.
    ///
    /// # Errors
    /// Which bound is in the way, and how long to wait.
    pub fn take(
        &mut self,
        rates: &Rates,
        key: KeyId,
        units: Units,
        in_flight: usize,
        now: Instant,
    ) -> Result<(), Denial> {
        if let Some(most) = rates.concurrent
            && u64::try_from(in_flight).is_ok_and(|in_flight| in_flight >= most)
        {
            let message = format!(
                "This scoped key ({key}) may have {most} requests in flight, and has them. Nothing was sent. Wait for one of \
                 them to end."
            );
            // When one ends nobody knows; in a moment is as good as any.
            let wait = Duration::from_secs(1);
            return Err(Denial::new(DenialCode::ConcurrencyLimited, message).after(wait));
        }
        let mut after = *self;
        let bounds = [
            (&mut after.requests, rates.requests_per_minute, units.activations, "requests"),
            (&mut after.tokens, rates.tokens_per_minute, units.tokens, "tokens"),
        ];
        for (bucket, bound, amount, what) in bounds {
            let Some(bound) = bound.filter(|_| amount > 0) else { continue };
            bucket
                .take(bound, amount, now)
                .map_err(|too_much| refusal(key, what, bound, amount, too_much))?;
        }
        *self = after;
        Ok(())
    }

    /// Corrects what was taken for a request, once it is known what it used.
    pub fn correct(&mut self, rates: &Rates, held: Units, used: Units, now: Instant) {
        if let Some(bound) = rates.requests_per_minute {
            self.requests.correct(bound, held.activations, used.activations, now);
        }
        if let Some(bound) = rates.tokens_per_minute {
            self.tokens.correct(bound, held.tokens, used.tokens, now);
        }
    }

    /// Whether nothing would be different if it was forgotten.
    pub fn is_full(&self, now: Instant) -> bool {
        [self.requests, self.tokens].iter().all(|bucket| bucket.full_at <= u128::from(now.0))
    }
}

fn refusal(key: KeyId, what: &str, bound: u64, amount: u64, too_much: TooMuch) -> Denial {
    let subject = format!("This scoped key ({key}) may use {bound} {what} per minute");
    match too_much {
        TooMuch::Wait(wait) => {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            let message =
                format!("{subject}. Nothing was sent. There is room for this request in {seconds} s.");
            Denial::new(DenialCode::RateLimited, message).after(wait)
        }
        TooMuch::Never => Denial::new(
            DenialCode::RateLimited,
            format!(
                "{subject}, and this request may use {amount}: it never fits. Send a shorter input or a lower output cap."
            ),
        ),
    }
}

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

    use super::{Instant, MINUTE_NANOS, PerMinute, RateState, Rates, TooMuch};
    use crate::denial::DenialCode;
    use crate::key::KeyId;
    use crate::limit::Units;

    #[test]
    fn a_refused_request_takes_nothing() {
        let rates = Rates { requests_per_minute: Some(2), tokens_per_minute: Some(100), concurrent: Some(3) };
        let (key, now) = (KeyId([1; 16]), Instant(5 * SECOND));
        let units = |tokens| Units { activations: 1, tokens, spend_nanos: 0 };
        let mut state = RateState::default();
        let crowded = state.take(&rates, key, units(1), 3, now).unwrap_err();
        assert_eq!(
            (crowded.code, crowded.wait),
            (DenialCode::ConcurrencyLimited, Some(Duration::from_secs(1)))
        );
        let never = state.take(&rates, key, units(101), 0, now).unwrap_err();
        assert_eq!((never.code, never.wait), (DenialCode::RateLimited, None));
        assert!(state.is_full(now));
        assert_eq!(state.take(&rates, key, units(100), 2, now), Ok(()));
        // The tokens are gone, and so the request is not taken either.
        let late = state.take(&rates, key, units(50), 0, now).unwrap_err();
        assert_eq!((late.code, late.wait), (DenialCode::RateLimited, Some(Duration::from_secs(30))));
        assert!(!late.message.to_lowercase().contains("rate limit"), "{}", late.message);
        assert!(!state.is_full(now));
        state.correct(&rates, units(100), units(40), now);
        assert_eq!(state.take(&rates, key, units(60), 0, now), Ok(()));
        let none = state.take(&rates, key, units(0), 0, now).unwrap_err();
        assert_eq!(none.wait, Some(Duration::from_secs(30)), "both requests are used");
        // Nothing was sent: it is given back.
        state.correct(&rates, units(60), Units::default(), now);
        assert_eq!(state.take(&rates, key, units(60), 0, now), Ok(()));
        assert!(state.is_full(Instant(5 * SECOND + 60 * SECOND)));
    }

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
