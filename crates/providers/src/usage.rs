//! What a provider bills for one request: counts by unit.
//!
//! Units nest: cached input is part of the input, reasoning part of the output. A count includes the counts of the
//! units below it, as in `input_tokens` ⊇ `cache_read_tokens` ⊇ `cache_audio_read_tokens`.

mod chunk_filter;
mod format;
mod framing;
mod reader;
mod scanner;
mod shape;
mod tally;
mod unit;
mod whole;

pub use chunk_filter::UsageChunkFilter;
pub use reader::{AnswerFormat, Charge, Progress, Reading, UsageReader};
pub use unit::Unit;
pub(crate) use unit::Units;

/// Counts by unit, in whole units.
#[derive(Clone, PartialEq, Eq)]
pub struct Usage {
    counts: [u64; Unit::COUNT],
    /// Those that were reported, be it with zero.
    reported: Units,
}

impl Default for Usage {
    fn default() -> Self {
        Self { counts: [0; Unit::COUNT], reported: Units::default() }
    }
}

impl Usage {
    /// A count; 0 when it was not reported.
    pub fn count(&self, unit: Unit) -> u64 {
        self.counts[unit as usize]
    }

    /// Whether the count was reported, be it as zero.
    pub fn is_reported(&self, unit: Unit) -> bool {
        self.reported.has(unit)
    }

    /// Whether nothing was reported.
    pub fn is_empty(&self) -> bool {
        self.reported.is_empty()
    }

    /// Replaces a count.
    pub fn set(&mut self, unit: Unit, count: u64) {
        self.counts[unit as usize] = count;
        self.reported.add(unit);
    }

    /// Adds to a count; stays at 2⁶⁴−1, which no limit can pay for.
    pub fn add(&mut self, unit: Unit, count: u64) {
        self.set(unit, self.count(unit).saturating_add(count));
    }

    /// Adds all counts of another usage.
    pub fn add_all(&mut self, other: &Self) {
        for (unit, count) in other.iter() {
            self.add(unit, count);
        }
    }

    /// Tokens that count against a token limit: input and output, whatever their kind.
    pub fn tokens(&self) -> u64 {
        self.count(Unit::InputTokens).saturating_add(self.count(Unit::OutputTokens))
    }

    /// What was reported.
    pub fn iter(&self) -> impl Iterator<Item = (Unit, u64)> + '_ {
        self.reported.iter().map(|unit| (unit, self.count(unit)))
    }
}

impl std::fmt::Debug for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter().map(|(unit, count)| (unit.as_str(), count))).finish()
    }
}

impl FromIterator<(Unit, u64)> for Usage {
    fn from_iter<T: IntoIterator<Item = (Unit, u64)>>(counts: T) -> Self {
        let mut usage = Self::default();
        for (unit, count) in counts {
            usage.add(unit, count);
        }
        usage
    }
}
