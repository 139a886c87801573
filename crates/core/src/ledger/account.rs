//! An account: three balances and a status.

use std::fmt;

use super::balance::{Balance, Uncountable};
use super::{HoldKind, OpenHold};
use crate::key::{KeyId, KeyStatus};
use crate::lifetime::Lifetime;
use crate::limit::{Dimension, Limits, Units};
use crate::time::Timestamp;

/// Whose account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AccountId {
    /// A scoped key, or a block that narrows one.
    Key(KeyId),
    /// What many keys may use together within a window of time: see [`crate::policy::Window::account`].
    Ceiling([u8; 16]),
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => id.fmt(f),
            Self::Ceiling(_) => f.write_str("a ceiling that it shares with other keys"),
        }
    }
}

/// The state of a key or one of its ancestors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    balances: [Balance; 3],
    /// When it was ended, if it was.
    pub revoked_at: Option<Timestamp>,
    /// When it last granted a request.
    pub last_used_at: Option<Timestamp>,
    /// Its bounds in time.
    pub lifetime: Lifetime,
    /// When it was made or its bounds in time were set: it is not idle before.
    pub idle_from: Timestamp,
    /// When it was seen that its time is over. It stays over whatever a clock says later.
    pub expired_at: Option<Timestamp>,
    /// Since when it is stopped, if it is.
    pub paused_at: Option<Timestamp>,
}

impl Account {
    /// An account of which nothing is used.
    pub fn new(limits: Limits) -> Self {
        Self::from_balances(Dimension::ALL.map(|dimension| Balance::new(limits.of(dimension))))
    }

    /// An account with these balances, in the order of [`Dimension::ALL`].
    pub fn from_balances(balances: [Balance; 3]) -> Self {
        Self {
            balances,
            revoked_at: None,
            last_used_at: None,
            lifetime: Lifetime::default(),
            idle_from: Timestamp(0),
            expired_at: None,
            paused_at: None,
        }
    }

    /// The balances, in the order of [`Dimension::ALL`].
    pub fn balances(&self) -> &[Balance; 3] {
        &self.balances
    }

    /// The balance in one dimension.
    pub fn balance(&self, dimension: Dimension) -> &Balance {
        &self.balances[index(dimension)]
    }

    /// What is spent, held, escrowed and burnt together. An amount above 2⁶⁴−1, which only a lying upstream can cause, is
    /// 2⁶⁴−1 here.
    pub fn used(&self) -> Units {
        let used = |dimension| u64::try_from(self.balance(dimension).used()).unwrap_or(u64::MAX);
        Units {
            activations: used(Dimension::Activations),
            tokens: used(Dimension::Tokens),
            spend_nanos: used(Dimension::Spend),
        }
    }

    /// The part of [`Account::used`] that no open hold has.
    pub fn used_up(&self) -> Units {
        let used_up = |dimension| {
            let balance = self.balance(dimension);
            u64::try_from(balance.used() - balance.pending()).unwrap_or(u64::MAX)
        };
        Units {
            activations: used_up(Dimension::Activations),
            tokens: used_up(Dimension::Tokens),
            spend_nanos: used_up(Dimension::Spend),
        }
    }

    /// Its limits.
    pub fn limits(&self) -> Limits {
        let limit = |dimension| self.balance(dimension).parts().limit;
        Limits {
            activations: limit(Dimension::Activations),
            tokens: limit(Dimension::Tokens),
            spend_nanos: limit(Dimension::Spend),
        }
    }

    /// What it may still do; `is_in_use` says that a request of it is in flight.
    pub fn status(&self, is_in_use: bool, now: Timestamp) -> KeyStatus {
        match self.timeless_status() {
            KeyStatus::Revoked => KeyStatus::Revoked,
            _ if self.is_expired(is_in_use, now) => KeyStatus::Expired,
            KeyStatus::Exhausted => KeyStatus::Exhausted,
            _ if self.paused_at.is_some() => KeyStatus::Paused,
            _ if self.is_pending(now) => KeyStatus::Pending,
            _ => KeyStatus::Active,
        }
    }

    /// The part of the status that no clock and no pause has a say in: revoked, exhausted or active.
    pub fn timeless_status(&self) -> KeyStatus {
        if self.revoked_at.is_some() {
            KeyStatus::Revoked
        } else if self.is_any_exhausted() {
            KeyStatus::Exhausted
        } else {
            KeyStatus::Active
        }
    }

    /// When it expires, if nothing more happens; when it did, if it has.
    pub fn ends_at(&self, is_in_use: bool) -> Option<Timestamp> {
        self.expired_at.or_else(|| self.lifetime.ends_at(self.last_used_at, self.idle_from, is_in_use))
    }

    /// Whether its time is over.
    pub fn is_expired(&self, is_in_use: bool, now: Timestamp) -> bool {
        self.expired_at.is_some() || self.ends_at(is_in_use).is_some_and(|end| end <= now)
    }

    /// Whether its time has not come.
    pub fn is_pending(&self, now: Timestamp) -> bool {
        self.lifetime.not_before.is_some_and(|start| now < start)
    }

    /// Whether nothing more will be granted in some dimension.
    pub(super) fn is_any_exhausted(&self) -> bool {
        Dimension::ALL.into_iter().any(|dimension| self.is_exhausted(dimension))
    }

    /// Whether nothing more will be granted in this dimension. Tokens and money that are only held come back in part;
    /// an activation comes back only if nothing was sent.
    pub fn is_exhausted(&self, dimension: Dimension) -> bool {
        let balance = self.balance(dimension);
        let comes_back = dimension != Dimension::Activations && balance.pending() > 0;
        balance.is_overrun() || (balance.free() == Some(0) && !comes_back)
    }

    /// What is free of each limit.
    pub fn remaining(&self) -> Limits {
        self.remaining_with(Limits::default())
    }

    /// The lesser of `limits` and what is free here, per dimension.
    pub(super) fn remaining_with(&self, limits: Limits) -> Limits {
        let least = |dimension| {
            // What is free can't exceed the limit, except for 2⁶⁴ and more units given back after an
            // overrun; "at least 2⁶⁴−1 are left" is then the answer.
            let free = self.balance(dimension).free().map(|free| u64::try_from(free).unwrap_or(u64::MAX));
            match (limits.of(dimension), free) {
                (Some(limit), Some(free)) => Some(limit.min(free)),
                (limit, free) => limit.or(free),
            }
        };
        Limits {
            activations: least(Dimension::Activations),
            tokens: least(Dimension::Tokens),
            spend_nanos: least(Dimension::Spend),
        }
    }

    pub(super) fn hold(&mut self, units: Units, now: Timestamp) {
        for dimension in Dimension::ALL {
            self.balances[index(dimension)].hold(units.of(dimension));
        }
        self.last_used_at = Some(now);
    }

    pub(super) fn escrow(&mut self, units: Units) {
        for dimension in Dimension::ALL {
            self.balances[index(dimension)].escrow(units.of(dimension));
        }
    }

    /// Sets units aside for a hold that was granted, whether they are free or not. On an error nothing has changed.
    pub(super) fn set_aside(&mut self, kind: HoldKind, units: Units) -> Result<(), Uncountable> {
        let mut next = self.balances;
        for dimension in Dimension::ALL {
            next[index(dimension)].set_aside(kind, units.of(dimension))?;
        }
        self.balances = next;
        Ok(())
    }

    /// On an error nothing has changed.
    pub(super) fn settle(&mut self, kind: HoldKind, held: Units, used: Units) -> Result<(), Uncountable> {
        let mut next = self.balances;
        for dimension in Dimension::ALL {
            next[index(dimension)].settle(kind, held.of(dimension), used.of(dimension))?;
        }
        self.balances = next;
        Ok(())
    }

    pub(super) fn forgive(&mut self, units: Units) {
        for dimension in Dimension::ALL {
            self.balances[index(dimension)].forgive(units.of(dimension));
        }
    }

    pub(super) fn adjust(&mut self, limits: Limits) {
        for dimension in Dimension::ALL {
            self.balances[index(dimension)].adjust(limits.of(dimension));
        }
    }

    /// Whether at least the units of this hold are set aside.
    pub(super) fn covers(&self, hold: &OpenHold) -> bool {
        Dimension::ALL.into_iter().all(|dimension| {
            let parts = self.balance(dimension).parts();
            let set_aside = match hold.kind {
                HoldKind::Call => parts.held,
                HoldKind::Escrow { .. } => parts.escrowed,
            };
            set_aside >= u128::from(hold.units.of(dimension))
        })
    }

    pub(super) fn is_overrun(&self) -> bool {
        self.balances.iter().any(Balance::is_overrun)
    }

    pub(super) fn assert_balanced(&self) {
        for balance in &self.balances {
            balance.assert_balanced();
        }
    }
}

fn index(dimension: Dimension) -> usize {
    match dimension {
        Dimension::Activations => 0,
        Dimension::Tokens => 1,
        Dimension::Spend => 2,
    }
}
