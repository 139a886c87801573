//! What all keys together may use in a day of UTC, and did.

use std::collections::BTreeMap;

use till_core::limit::{Limits, Units};

use super::model::{Sums, add};

/// The sums of each day. Only activations have a ceiling there.
#[derive(Clone, Debug)]
pub(super) struct Days {
    pub(super) limit: Option<u64>,
    pub(super) begun: BTreeMap<u64, Sums>,
    /// What may come back in whatever day it was granted, or is going to be: its calls have left.
    pub(super) adrift: Units,
}

impl Days {
    pub(super) fn new(limit: Option<u64>) -> Self {
        Self { limit, begun: BTreeMap::new(), adrift: Units::default() }
    }

    pub(super) fn of(&mut self, day: u64) -> &mut Sums {
        let limits = Limits { activations: self.limit, ..Limits::default() };
        self.begun.entry(day).or_insert_with(|| Sums { loose: self.adrift, ..Sums::new(limits) })
    }

    /// Calls of this size left before they had an answer.
    pub(super) fn left(&mut self, units: Units) {
        self.adrift = add(self.adrift, units);
        self.begun.values_mut().for_each(|sums| sums.loose = add(sums.loose, units));
    }

    pub(super) fn rest(&mut self) {
        self.adrift = Units::default();
        self.begun.values_mut().for_each(Sums::rest);
    }
}
