//! What one request asks the ledger for: a fixed part, and an output whose bound the ledger may lower.
//!
//! Money is in pico-dollars here, so that nothing is rounded before the last step, which rounds up to whole
//! nano-dollars.

use crate::limit::{Limits, Units};

/// Pico-dollars (10⁻¹² USD) in a nano-dollar.
pub const PICOS_PER_NANO: u128 = 1_000;

/// The most that a request may cost, as a line: a fixed part plus so much for each *step* of its output cap. The
/// ledger grants the request with as many steps as there is room for, between `steps_min` and `steps_wanted`;
/// the caller writes the granted number into the request as its output cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Requests; one.
    pub activations: u64,
    /// Tokens that the request may use whatever its output cap is: the bound of its input.
    pub tokens_fixed: u64,
    /// What these may cost, in pico-dollars, with everything else that does not depend on the cap.
    pub picos_fixed: u128,
    /// Tokens per step of the cap: the number of answers that it applies to. 0 without an output to cap.
    pub tokens_per_step: u64,
    /// Pico-dollars per step.
    pub picos_per_step: u128,
    /// The cap that is asked for.
    pub steps_wanted: u64,
    /// The lowest cap that still gives a useful answer; equal to `steps_wanted` if it may not be lowered.
    pub steps_min: u64,
}

impl Demand {
    /// One request that uses neither tokens nor money, or whose key has no limit on them.
    pub const ONE_ACTIVATION: Self = Self {
        activations: 1,
        tokens_fixed: 0,
        picos_fixed: 0,
        tokens_per_step: 0,
        picos_per_step: 0,
        steps_wanted: 0,
        steps_min: 0,
    };

    /// Exactly these units.
    pub fn exactly(units: Units) -> Self {
        Self {
            activations: units.activations,
            tokens_fixed: units.tokens,
            picos_fixed: u128::from(units.spend_nanos) * PICOS_PER_NANO,
            ..Self::ONE_ACTIVATION
        }
    }

    /// What is set aside with this cap; `None` when that is more than can be counted.
    pub fn units(&self, steps: u64) -> Option<Units> {
        let tokens = self.tokens_per_step.checked_mul(steps)?.checked_add(self.tokens_fixed)?;
        let picos = self.picos_per_step.checked_mul(steps.into())?.checked_add(self.picos_fixed)?;
        Some(Units { activations: self.activations, tokens, spend_nanos: nanos_up(picos)? })
    }

    /// The highest cap, up to `steps_wanted`, with which the demand fits into `room`; `None` when it does not even
    /// fit with `steps_min`.
    pub fn steps_within(&self, room: Limits) -> Option<u64> {
        if room.activations.is_some_and(|room| room < self.activations) {
            return None;
        }
        let by_tokens = match room.tokens {
            None => self.steps_wanted,
            Some(room) => steps(room.into(), self.tokens_fixed.into(), self.tokens_per_step.into())?,
        };
        let by_spend = match room.spend_nanos {
            None => self.steps_wanted,
            // Rounding up never takes it above a whole number of nano-dollars that it was below.
            Some(room) => steps(u128::from(room) * PICOS_PER_NANO, self.picos_fixed, self.picos_per_step)?,
        };
        let steps = self.steps_wanted.min(by_tokens).min(by_spend);
        (steps >= self.steps_min).then_some(steps)
    }

    /// Whether the ledger may lower the cap.
    pub fn is_flexible(&self) -> bool {
        self.steps_min < self.steps_wanted
    }
}

/// How many steps of a size fit beside the fixed part.
fn steps(room: u128, fixed: u128, per_step: u128) -> Option<u64> {
    let left = room.checked_sub(fixed)?;
    Some(left.checked_div(per_step).map_or(u64::MAX, |steps| u64::try_from(steps).unwrap_or(u64::MAX)))
}

/// Whole nano-dollars, rounded up; `None` above 2⁶⁴−1.
pub fn nanos_up(picos: u128) -> Option<u64> {
    u64::try_from(picos.div_ceil(PICOS_PER_NANO)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Demand, nanos_up};
    use crate::limit::Limits;

    #[test]
    fn money_is_rounded_up_once() {
        for (picos, nanos) in [
            (0, Some(0)),
            (1, Some(1)),
            (999, Some(1)),
            (1_000, Some(1)),
            (1_001, Some(2)),
            (u128::from(u64::MAX) * 1_000, Some(u64::MAX)),
            (u128::from(u64::MAX) * 1_000 + 1, None),
            (u128::MAX, None),
        ] {
            assert_eq!(nanos_up(picos), nanos, "{picos}");
        }
    }

    fn amount() -> impl Strategy<Value = u64> {
        prop_oneof![0..20_u64, 0..2_000_000_u64, Just(u64::MAX), Just(i64::MAX as u64), any::<u64>()]
    }

    proptest! {
        #[test]
        fn the_highest_cap_that_fits_is_found(
            tokens_fixed in amount(),
            picos_fixed in amount(),
            tokens_per_step in 0..4_u64,
            picos_per_step in amount(),
            steps_min in 0..50_u64,
            more in amount(),
            tokens in proptest::option::of(amount()),
            spend_nanos in proptest::option::of(amount()),
        ) {
            let demand = Demand {
                activations: 1,
                tokens_fixed,
                picos_fixed: picos_fixed.into(),
                tokens_per_step,
                picos_per_step: picos_per_step.into(),
                steps_wanted: steps_min.saturating_add(more),
                steps_min,
            };
            let room = Limits { activations: None, tokens, spend_nanos };
            let fits = |steps: u64| {
                let tokens_used = u128::from(tokens_per_step) * u128::from(steps) + u128::from(tokens_fixed);
                let picos = u128::from(picos_per_step).checked_mul(steps.into()).and_then(|p| p.checked_add(picos_fixed.into()));
                tokens.is_none_or(|room| tokens_used <= room.into())
                    && spend_nanos.is_none_or(|room| picos.is_some_and(|picos| picos.div_ceil(1_000) <= room.into()))
            };
            match demand.steps_within(room) {
                Some(steps) => {
                    prop_assert!(fits(steps) && steps >= demand.steps_min && steps <= demand.steps_wanted);
                    prop_assert!(steps == demand.steps_wanted || !fits(steps + 1));
                    if let Some(units) = demand.units(steps) {
                        prop_assert!(tokens.is_none_or(|room| units.tokens <= room));
                        prop_assert!(spend_nanos.is_none_or(|room| units.spend_nanos <= room));
                    }
                }
                None => prop_assert!(!fits(demand.steps_min)),
            }
        }
    }
}
