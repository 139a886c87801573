//! Calendar months, UTC, for the count of activations per month.

use till_core::time::Timestamp;

/// A month: year × 12 + month, January being 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Month(pub(crate) u64);

const MILLIS_PER_DAY: u64 = 24 * 60 * 60 * 1000;
/// Days of 400 Gregorian years.
const DAYS_PER_ERA: u64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const DAYS_BEFORE_EPOCH: u64 = 719_468;

impl Month {
    /// The month that a moment lies in. The year is taken to begin in March, so that the leap day is its
    /// last (Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`).
    pub(crate) fn of(at: Timestamp) -> Self {
        let days = at.0 / MILLIS_PER_DAY + DAYS_BEFORE_EPOCH;
        let era = days / DAYS_PER_ERA;
        let day_of_era = days % DAYS_PER_ERA;
        let leaps = day_of_era / 1_460 + day_of_era / (DAYS_PER_ERA - 1);
        let year_of_era = (day_of_era + day_of_era / 36_524 - leaps) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let months_since_march = (5 * day_of_year + 2) / 153;
        Self((era * 400 + year_of_era) * 12 + months_since_march + 2)
    }
}

#[cfg(test)]
mod tests {
    use till_core::time::Timestamp;

    use super::Month;

    #[test]
    fn months_begin_and_end_where_they_should() {
        let day = |n: u64| n * 86_400_000;
        for (millis, year, month) in [
            (0, 1970, 1),
            (day(31) - 1, 1970, 1),
            (day(31), 1970, 2),
            (day(59) - 1, 1970, 2),
            (day(59), 1970, 3),
            (day(364), 1970, 12),
            (day(365), 1971, 1),
            // 2000-02-29 and the day after; 2024-02-29 and the day after; 2026-11-22; 2100-02-28 and the day after.
            (951_782_400_000, 2000, 2),
            (951_868_800_000, 2000, 3),
            (1_709_164_800_000, 2024, 2),
            (1_709_251_200_000, 2024, 3),
            (1_795_305_600_000, 2026, 11),
            (4_107_456_000_000, 2100, 2),
            (4_107_542_400_000, 2100, 3),
        ] {
            assert_eq!(Month::of(Timestamp(millis)), Month(year * 12 + month - 1), "{millis}");
        }
    }
}
