//! Times, kept one by one and summed up at the end: percentiles are exact.

use std::time::Duration;

use serde::Serialize;

/// Times that were measured, in nanoseconds.
#[derive(Debug, Default)]
pub struct Times {
    nanos: Vec<u64>,
}

/// What there is to say about them, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Summary {
    /// How many there are.
    pub count: usize,
    /// The median.
    pub p50_us: u64,
    /// 90 % are at most this.
    pub p90_us: u64,
    /// 99 % are at most this.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

impl Times {
    /// Adds one.
    pub fn add(&mut self, time: Duration) {
        self.nanos.push(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds those of another.
    pub fn add_all(&mut self, other: Self) {
        self.nanos.extend(other.nanos);
    }

    /// Sums them up.
    pub fn summary(mut self) -> Summary {
        self.nanos.sort_unstable();
        let at = |percent: usize| {
            let rank = (self.nanos.len() * percent).div_ceil(100).saturating_sub(1);
            self.nanos.get(rank).map_or(0, |nanos| nanos / 1_000)
        };
        Summary { count: self.nanos.len(), p50_us: at(50), p90_us: at(90), p99_us: at(99), max_us: at(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let mut times = Times::default();
        for micros in (1..=200).rev() {
            times.add(Duration::from_micros(micros));
        }
        let summary = times.summary();
        assert_eq!((summary.count, summary.p50_us, summary.p99_us, summary.max_us), (200, 100, 198, 200));
        assert_eq!(Times::default().summary().max_us, 0);
    }
}
