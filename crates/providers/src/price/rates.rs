//! Prices in force, and sums with them.

use super::{Figure, units_per_figure};
use crate::usage::{Unit, Units, Usage};

/// The prices of one model for one kind of request at one moment.
#[derive(Clone, Debug)]
pub struct Rates<'a> {
    figures: Figures<'a>,
    audio_millis_min: u64,
    /// Tokens cost so many tenths of what the figures say.
    token_tenths: u64,
}

/// Prices of units, parts before what contains them.
#[derive(Clone, Debug)]
pub(super) enum Figures<'a> {
    Plain(&'a [(Unit, Figure)]),
    /// Of several lists.
    Mixed(Vec<&'a (Unit, Figure)>),
}

impl<'a> Figures<'a> {
    #[inline]
    fn iter(&self) -> impl Iterator<Item = (Unit, &'a Figure)> {
        let (plain, mixed) = match self {
            Self::Plain(plain) => (*plain, &[][..]),
            Self::Mixed(mixed) => (&[][..], &mixed[..]),
        };
        plain.iter().chain(mixed.iter().copied()).map(|(unit, figure)| (*unit, figure))
    }
}

impl<'a> Rates<'a> {
    pub(super) fn new(figures: Figures<'a>, audio_millis_min: u64, token_tenths: u64) -> Self {
        Self { figures, audio_millis_min, token_tenths }
    }

    /// A price with what is added to it, rounded up.
    fn with_surcharge(&self, unit: Unit, picos: u64) -> u64 {
        if self.token_tenths == 10 || !(unit.is_input_token() || unit.is_output_token()) {
            return picos;
        }
        let tenths = u128::from(picos) * u128::from(self.token_tenths);
        u64::try_from(tenths.div_ceil(10)).unwrap_or(u64::MAX)
    }

    /// The price of a unit, if it has one of its own.
    pub fn figure(&self, unit: Unit) -> Option<&Figure> {
        self.iter().find(|(known, _)| *known == unit).map(|(_, figure)| figure)
    }

    /// Every price, parts before what contains them.
    pub fn iter(&self) -> impl Iterator<Item = (Unit, &Figure)> {
        self.figures.iter()
    }

    /// What a usage costs, in pico-dollars; exactly, but that a fraction of the whole sum is rounded up.
    ///
    /// Each unit is paid at the price of the most special kind that it is of: of the input, what was read from a cache
    /// at that price, and only the rest at the price of input. Where parts add up to more than their whole, the parts
    /// count. Above a threshold everything has the price above it.
    pub fn cost_picos(&self, usage: &Usage) -> u128 {
        let input_tokens = usage.count(Unit::InputTokens);
        let mut rests = [0_u64; Unit::COUNT];
        let (mut picos, mut per_hour) = (0_u128, 0_u128);
        let mut paid = Units::default();
        for (unit, figure) in self.iter() {
            let count = match unit {
                Unit::Requests => 1,
                Unit::AudioMillis | Unit::InputAudioMillis => self.audio_millis(unit, usage),
                unit => usage.count(unit),
            };
            if count == 0 {
                continue;
            }
            let parts = paid.and(unit.parts()).iter();
            let rest = parts.map(|part| rests[part as usize]).fold(count, u64::saturating_sub);
            rests[unit as usize] = rest;
            paid.add(unit);
            let amount = u128::from(self.with_surcharge(unit, figure.at(input_tokens))) * u128::from(rest);
            let sum = if units_per_figure(unit) == 1 { &mut picos } else { &mut per_hour };
            *sum = sum.saturating_add(amount);
        }
        if per_hour == 0 {
            return picos;
        }
        picos.saturating_add(per_hour.div_ceil(units_per_figure(Unit::AudioMillis).into()))
    }

    /// Where there is a shortest audio that is billed, audio is audio: the provider tells its length in one way only.
    fn audio_millis(&self, unit: Unit, usage: &Usage) -> u64 {
        let [whole, heard] = [Unit::AudioMillis, Unit::InputAudioMillis].map(|unit| usage.count(unit));
        let reported = if whole > 0 { whole } else { heard };
        match self.audio_millis_min {
            0 => usage.count(unit),
            _ if reported == 0 => 0,
            min => reported.max(min),
        }
    }

    /// The dearest price, in pico-dollars per unit, of the units that are asked for, for a request with at most so many tokens
    /// of input; `None` if none of them has a price.
    pub fn dearest(&self, input_tokens_max: u64, asked: impl Fn(Unit) -> bool) -> Option<u64> {
        let asked = self.iter().filter(|(unit, _)| asked(*unit));
        let each = |unit: Unit, figure: &Figure| self.with_surcharge(unit, figure.dearest(input_tokens_max));
        asked.map(|(unit, figure)| each(unit, figure).div_ceil(units_per_figure(unit))).max()
    }
}
