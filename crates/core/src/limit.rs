//! Units and the lifetime limits on them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::money::Dollars;

/// What is counted. Every account has a balance in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// Requests admitted to be sent upstream.
    Activations,
    /// Tokens, input and output together.
    Tokens,
    /// Money in nano-dollars, 10⁻⁹ USD.
    Spend,
}

impl Dimension {
    /// All dimensions, in the order of [`Units`].
    pub const ALL: [Self; 3] = [Self::Activations, Self::Tokens, Self::Spend];

    /// The word used in messages and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Activations => "activations",
            Self::Tokens => "tokens",
            Self::Spend => "spend",
        }
    }

    /// An amount with its unit, for people: `50 activations`, `$1.25`.
    pub fn amount(self, units: u128) -> String {
        match self {
            Self::Spend => format!("${}", Dollars(units)),
            Self::Activations if units == 1 => "1 activation".into(),
            Self::Tokens if units == 1 => "1 token".into(),
            Self::Activations | Self::Tokens => format!("{units} {self}"),
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An amount in every dimension.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Units {
    /// Requests.
    pub activations: u64,
    /// Tokens.
    pub tokens: u64,
    /// Nano-dollars.
    pub spend_nanos: u64,
}

impl Units {
    /// One request and nothing else.
    pub const ONE_ACTIVATION: Self = Self { activations: 1, tokens: 0, spend_nanos: 0 };

    /// Both together; `None` when a sum does not fit.
    pub fn checked_add(self, more: Self) -> Option<Self> {
        Some(Self {
            activations: self.activations.checked_add(more.activations)?,
            tokens: self.tokens.checked_add(more.tokens)?,
            spend_nanos: self.spend_nanos.checked_add(more.spend_nanos)?,
        })
    }

    /// What is left without `part`; `None` when that is more, in any dimension.
    pub fn checked_sub(self, part: Self) -> Option<Self> {
        Some(Self {
            activations: self.activations.checked_sub(part.activations)?,
            tokens: self.tokens.checked_sub(part.tokens)?,
            spend_nanos: self.spend_nanos.checked_sub(part.spend_nanos)?,
        })
    }

    /// The units that `f` makes of these and `others`, dimension by dimension.
    pub fn zip(self, others: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            activations: f(self.activations, others.activations),
            tokens: f(self.tokens, others.tokens),
            spend_nanos: f(self.spend_nanos, others.spend_nanos),
        }
    }

    /// The amount in one dimension.
    pub fn of(&self, dimension: Dimension) -> u64 {
        match dimension {
            Dimension::Activations => self.activations,
            Dimension::Tokens => self.tokens,
            Dimension::Spend => self.spend_nanos,
        }
    }

    /// The amount in one dimension, to be changed.
    pub fn of_mut(&mut self, dimension: Dimension) -> &mut u64 {
        match dimension {
            Dimension::Activations => &mut self.activations,
            Dimension::Tokens => &mut self.tokens,
            Dimension::Spend => &mut self.spend_nanos,
        }
    }
}

/// Lifetime bounds of an account; `None` is unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Requests.
    pub activations: Option<u64>,
    /// Tokens.
    pub tokens: Option<u64>,
    /// Nano-dollars.
    pub spend_nanos: Option<u64>,
}

impl Limits {
    /// The bound in one dimension.
    pub fn of(&self, dimension: Dimension) -> Option<u64> {
        match dimension {
            Dimension::Activations => self.activations,
            Dimension::Tokens => self.tokens,
            Dimension::Spend => self.spend_nanos,
        }
    }
}

impl Limits {
    /// The stricter of both, in every dimension.
    pub fn with(mut self, others: Self) -> Self {
        for dimension in Dimension::ALL {
            if let Some(bound) = others.of(dimension) {
                self.lower(dimension, bound);
            }
        }
        self
    }

    /// Lowers the bound in one dimension to this amount, if it is not lower already.
    pub fn lower(&mut self, dimension: Dimension, amount: u64) {
        let bound = match dimension {
            Dimension::Activations => &mut self.activations,
            Dimension::Tokens => &mut self.tokens,
            Dimension::Spend => &mut self.spend_nanos,
        };
        *bound = Some(bound.map_or(amount, |bound| bound.min(amount)));
    }
}

/// The largest limit that is accepted, 2⁶³−1: it fits every database's signed integer and leaves room
/// for sums to be checked instead of wrapped.
pub const LIMIT_MAX: u64 = i64::MAX as u64;
