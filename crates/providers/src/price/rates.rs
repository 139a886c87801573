//! Prices in force, and sums with them.

use super::Figure;
use crate::usage::{Unit, Usage};

/// The prices of one model for one kind of request at one moment.
#[derive(Clone, Debug)]
pub struct Rates<'a> {
    /// Parts before what contains them.
    figures: Vec<(Unit, &'a Figure)>,
    /// Tokens cost so many tenths of what the figures say.
    token_tenths: u64,
}

impl<'a> Rates<'a> {
    pub(super) fn new(mut figures: Vec<(Unit, &'a Figure)>, token_tenths: u64) -> Self {
        figures.sort_by_key(|(unit, _)| std::cmp::Reverse(unit.depth()));
        Self { figures, token_tenths }
    }

    /// A price with what is added to it, rounded up.
    fn with_surcharge(&self, unit: Unit, picos: u64) -> u64 {
        let is_token = unit.is_input_token() || unit.is_output_token();
        if !is_token || self.token_tenths == 10 {
            return picos;
        }
        let tenths = u128::from(picos) * u128::from(self.token_tenths);
        u64::try_from(tenths.div_ceil(10)).unwrap_or(u64::MAX)
    }

    /// The price of a unit, if it has one of its own.
    pub fn figure(&self, unit: Unit) -> Option<&'a Figure> {
        self.figures.iter().find(|(known, _)| *known == unit).map(|(_, figure)| *figure)
    }

    /// Every price, parts before what contains them.
    pub fn iter(&self) -> impl Iterator<Item = (Unit, &'a Figure)> + '_ {
        self.figures.iter().copied()
    }

    /// What a usage costs, in pico-dollars, exactly.
    ///
    /// Each unit is paid at the price of the most special kind that it is of: of the input, what was read from a cache
    /// at that price, and only the rest at the price of input. Where parts add up to more than their whole, the parts
    /// count. Above a threshold everything has the price above it.
    pub fn cost_picos(&self, usage: &Usage) -> u128 {
        let input_tokens = usage.count(Unit::InputTokens);
        let mut rests: Vec<(Unit, u64)> = Vec::with_capacity(self.figures.len());
        let mut picos = 0_u128;
        for (unit, figure) in &self.figures {
            let count = if *unit == Unit::Requests { 1 } else { usage.count(*unit) };
            let parts = rests.iter().filter(|(part, _)| unit.contains(*part)).map(|(_, rest)| *rest);
            let rest = parts.fold(count, u64::saturating_sub);
            rests.push((*unit, rest));
            let each = self.with_surcharge(*unit, figure.at(input_tokens));
            picos = picos.saturating_add(u128::from(each) * u128::from(rest));
        }
        picos
    }

    /// The dearest price, in pico-dollars, of the units that are asked for, for a request with at most so many tokens
    /// of input; `None` if none of them has a price.
    pub fn dearest(&self, input_tokens_max: u64, asked: impl Fn(Unit) -> bool) -> Option<u64> {
        let asked = self.figures.iter().filter(|(unit, _)| asked(*unit));
        asked.map(|(unit, figure)| self.with_surcharge(*unit, figure.dearest(input_tokens_max))).max()
    }
}
