//! One dimension of one account: where every unit of the limit is.

use super::HoldKind;

/// The figures as they are kept. `free` is not among them: it follows from the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BalanceParts {
    /// The bound; `None` is unlimited.
    pub limit: Option<u64>,
    /// Set aside by open holds.
    pub held: u128,
    /// Used, or presumed used.
    pub spent: u128,
    /// Counted out ahead to a durable record that covers calls to come.
    pub escrowed: u128,
    /// Counted out and lost with the record's owner; never given back.
    pub burnt: u128,
    /// Used although it was not there.
    pub overrun: u128,
}

/// Figures that can't all be true: the record is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the figures of an account do not add up")]
pub struct Unbalanced;

/// A sum above 2¹²⁸−1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the amount is too large to be counted")]
pub struct Uncountable;

/// One dimension of an account. Invariant: `limit + overrun = free + held + spent + escrowed + burnt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    parts: BalanceParts,
    /// What may still be held; `None` is unlimited.
    free: Option<u128>,
}

impl Balance {
    /// A balance of which nothing is used.
    pub fn new(limit: Option<u64>) -> Self {
        Self { parts: BalanceParts { limit, ..BalanceParts::default() }, free: limit.map(u128::from) }
    }

    /// A balance with the figures that were kept.
    ///
    /// # Errors
    /// They do not add up: more is used than limit and overrun explain, or something overruns no limit.
    pub fn from_parts(parts: BalanceParts) -> Result<Self, Unbalanced> {
        let used = used(&parts).ok_or(Unbalanced)?;
        let free = match parts.limit {
            Some(limit) => {
                let bound = u128::from(limit).checked_add(parts.overrun).ok_or(Unbalanced)?;
                Some(bound.checked_sub(used).ok_or(Unbalanced)?)
            }
            None if parts.overrun == 0 => None,
            None => return Err(Unbalanced),
        };
        Ok(Self { parts, free })
    }

    /// The figures to keep.
    pub fn parts(&self) -> &BalanceParts {
        &self.parts
    }

    /// What may still be held; `None` is unlimited.
    pub fn free(&self) -> Option<u128> {
        self.free
    }

    /// Held, spent, escrowed and burnt together.
    pub fn used(&self) -> u128 {
        used(&self.parts).expect("a balance that exists has a sum")
    }

    /// What may come back in part: held and escrowed together.
    pub(super) fn pending(&self) -> u128 {
        self.parts.held.checked_add(self.parts.escrowed).expect("a balance that exists has a sum")
    }

    /// Whether the limit is broken and nobody raised it.
    pub fn is_overrun(&self) -> bool {
        self.parts.overrun > 0
    }

    /// Whether `units` can be held: they are free, and countable.
    pub(super) fn fits(&self, units: u64) -> bool {
        let countable = self.used().checked_add(units.into()).is_some();
        countable && self.free.is_none_or(|free| free >= units.into())
    }

    /// Moves from free to held. The caller has asked [`Balance::fits`].
    pub(super) fn hold(&mut self, units: u64) {
        let units = u128::from(units);
        self.free = self.free.map(|free| free.checked_sub(units).expect("fits was asked"));
        self.parts.held = self.parts.held.checked_add(units).expect("fits was asked");
    }

    /// Moves from free to escrowed. The caller has asked [`Balance::fits`].
    pub(super) fn escrow(&mut self, units: u64) {
        let units = u128::from(units);
        self.free = self.free.map(|free| free.checked_sub(units).expect("fits was asked"));
        self.parts.escrowed = self.parts.escrowed.checked_add(units).expect("fits was asked");
    }

    /// Sets units aside for a hold of this kind, whether they are free or not: what is not is overrun.
    pub(super) fn set_aside(&mut self, kind: HoldKind, units: u64) -> Result<(), Uncountable> {
        self.used().checked_add(units.into()).ok_or(Uncountable)?;
        let limit = self.parts.limit;
        self.adjust(None);
        match kind {
            HoldKind::Call => self.hold(units),
            HoldKind::Escrow { .. } => self.escrow(units),
        }
        self.adjust(limit);
        Ok(())
    }

    /// Replaces `held` units, of a hold of this kind, by `used` ones. On an error nothing has changed.
    pub(super) fn settle(&mut self, kind: HoldKind, held: u64, used: u64) -> Result<(), Uncountable> {
        let mut next = *self;
        let (held, used) = (u128::from(held), u128::from(used));
        let set_aside = match kind {
            HoldKind::Call => &mut next.parts.held,
            HoldKind::Escrow { .. } => &mut next.parts.escrowed,
        };
        *set_aside = set_aside.checked_sub(held).expect("what is set aside covers every open hold");
        next.parts.spent = next.parts.spent.checked_add(used).ok_or(Uncountable)?;
        if let Some(free) = next.free {
            if used <= held {
                next.free = Some(free.checked_add(held - used).ok_or(Uncountable)?);
            } else {
                let excess = used - held;
                let from_free = free.min(excess);
                next.free = Some(free - from_free);
                next.parts.overrun = next.parts.overrun.checked_add(excess - from_free).ok_or(Uncountable)?;
            }
        }
        if self::used(&next.parts).is_none() {
            return Err(Uncountable);
        }
        *self = next;
        Ok(())
    }

    /// Takes back what was spent, as far as it is: an overrun shrinks first.
    pub(super) fn forgive(&mut self, units: u64) {
        let units = u128::from(units).min(self.parts.spent);
        self.parts.spent -= units;
        let from_overrun = units.min(self.parts.overrun);
        self.parts.overrun -= from_overrun;
        self.free = self.free.map(|free| free + (units - from_overrun));
    }

    /// Sets another limit; what is used stays, and an overrun is what exceeds the new limit.
    pub(super) fn adjust(&mut self, limit: Option<u64>) {
        let used = self.used();
        self.parts.limit = limit;
        (self.free, self.parts.overrun) = match limit.map(u128::from) {
            None => (None, 0),
            Some(limit) if limit >= used => (Some(limit - used), 0),
            Some(limit) => (Some(0), used - limit),
        };
    }

    /// `limit + overrun = free + held + spent + escrowed + burnt`, or for an unlimited dimension: a sum
    /// exists and nothing overruns.
    pub(super) fn assert_balanced(&self) {
        let rebuilt = Self::from_parts(self.parts);
        assert!(rebuilt == Ok(*self), "limit + overrun = free + held + spent + escrowed + burnt: {self:?}");
    }
}

fn used(parts: &BalanceParts) -> Option<u128> {
    parts.held.checked_add(parts.spent)?.checked_add(parts.escrowed)?.checked_add(parts.burnt)
}
