//! Points in time as the rules see them. The clock itself is the caller's.

use std::fmt;

/// Milliseconds of a day.
pub const MILLIS_PER_DAY: u64 = 24 * 60 * 60 * 1000;
/// Days of 400 Gregorian years.
const DAYS_PER_ERA: u64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const DAYS_BEFORE_EPOCH: u64 = 719_468;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

/// As RFC 3339 in UTC, to the second: for messages that people read.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.day(), self.0 / 1000 % 86_400);
        // Years that begin in March end with the leap day, and 400 of them have 146,097 days (Howard Hinnant, "chrono-
        // compatible low-level date algorithms"). 719,468 days are between 0000-03-01 and 1970-01-01.
        let day = days + 719_468;
        let (era, day) = (day / 146_097, day % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let year = era * 400 + year + next;
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl Timestamp {
    /// Whole minutes since the epoch; denials are counted per minute.
    pub fn minute(self) -> u64 {
        self.0 / 60_000
    }

    /// The midnight, UTC, that a day begins with.
    pub fn of_day(day: u64) -> Self {
        Self(day.saturating_mul(MILLIS_PER_DAY))
    }

    /// Whole days since the epoch, UTC.
    pub fn day(self) -> u64 {
        self.0 / MILLIS_PER_DAY
    }

    /// The first day that begins at this moment or later, as [`Timestamp::day`] counts.
    pub fn first_day_from(self) -> u64 {
        self.0.div_ceil(MILLIS_PER_DAY)
    }

    /// As RFC 3339 in UTC with three digits after the seconds: `2026-01-31T08:00:00.250Z`.
    pub fn to_millis_text(self) -> String {
        let seconds = self.to_string();
        format!("{}.{:03}Z", seconds.trim_end_matches('Z'), self.0 % 1000)
    }

    /// Undoes [`Timestamp::to_millis_text`]; `None` for every other spelling, and for years after 9999.
    pub fn from_millis_text(text: &str) -> Option<Self> {
        let number = |range: std::ops::Range<usize>| -> Option<u64> {
            let digits = text.get(range)?;
            digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok())?
        };
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let (hour, minute, second, millis) =
            (number(11..13)?, number(14..16)?, number(17..19)?, number(20..23)?);
        // The way back of `Display`, in years that begin in March.
        let year = if month > 2 { year } else { year.checked_sub(1)? };
        let (era, year) = (year / 400, year % 400);
        let day = (153 * ((month + 9) % 12) + 2) / 5 + day.checked_sub(1)?;
        let days = (era * 146_097 + year * 365 + year / 4 - year / 100 + day).checked_sub(719_468)?;
        let at = Self((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + millis);
        // Whatever can't be, such as a 31st of February, is another day when it is written again.
        (at.to_millis_text() == text).then_some(at)
    }
}

/// A calendar month, UTC: year × 12 + month, January being 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(pub u64);

impl Month {
    /// The month that a moment lies in. The year is taken to begin in March, so that the leap day is its
    /// last (Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`).
    pub fn of(at: Timestamp) -> Self {
        let days = at.day() + DAYS_BEFORE_EPOCH;
        let era = days / DAYS_PER_ERA;
        let day_of_era = days % DAYS_PER_ERA;
        let leaps = day_of_era / 1_460 + day_of_era / (DAYS_PER_ERA - 1);
        let year_of_era = (day_of_era + day_of_era / 36_524 - leaps) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let months_since_march = (5 * day_of_year + 2) / 153;
        Self((era * 400 + year_of_era) * 12 + months_since_march + 2)
    }

    /// Its first day and the first day after it, since the epoch.
    pub fn days(self) -> (u64, u64) {
        (first_day(self.0), first_day(self.0 + 1))
    }
}

/// Days from the epoch to the first of a month (the same source, `days_from_civil`).
fn first_day(month: u64) -> u64 {
    // Counted from March of the year 0.
    let since_march = month - 2;
    let (year, month) = (since_march / 12, since_march % 12);
    let (era, year) = (year / 400, year % 400);
    let day = 365 * year + year / 4 - year / 100 + (153 * month + 2) / 5;
    era * DAYS_PER_ERA + day - DAYS_BEFORE_EPOCH
}

#[cfg(test)]
mod tests {
    use super::{Month, Timestamp};

    #[test]
    fn is_written_as_people_read_it() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399_999, "2000-02-28T23:59:59Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (951_868_800_000, "2000-03-01T00:00:00Z"),
            (1_769_846_400_250, "2026-01-31T08:00:00Z"),
            (1_735_689_599_000, "2024-12-31T23:59:59Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(Timestamp(millis).to_string(), text);
        }
    }

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
            let month = Month(year * 12 + month - 1);
            assert_eq!(Month::of(Timestamp(millis)), month, "{millis}");
            let (first, after) = month.days();
            assert!((day(first)..day(after)).contains(&millis), "{millis}");
            assert_eq!(Month::of(Timestamp(day(first))), month, "{millis}");
            assert_eq!(Month::of(Timestamp(day(after) - 1)), month, "{millis}");
            assert_eq!(Month::of(Timestamp(day(after))), Month(month.0 + 1), "{millis}");
        }
    }

    #[test]
    fn the_exact_text_is_read_back_and_no_other() {
        for millis in (0..400_000).map(|n| n * 633_713_377 + n % 1000).chain([0, 253_402_300_799_999]) {
            let at = Timestamp(millis);
            if millis <= 253_402_300_799_999 {
                assert_eq!(Timestamp::from_millis_text(&at.to_millis_text()), Some(at));
            }
        }
        for text in [
            "",
            "2026-01-31T08:00:00Z",
            "2026-01-31T08:00:00.25Z",
            "2026-01-31t08:00:00.250Z",
            "2026-01-31T08:00:00.250+00:00",
            "2026-02-29T08:00:00.250Z",
            "2026-00-10T08:00:00.250Z",
            "2026-13-10T08:00:00.250Z",
            "2026-01-00T08:00:00.250Z",
            "2026-01-31T24:00:00.250Z",
            "2026-01-31T08:60:00.250Z",
            "1969-12-31T23:59:59.999Z",
            "0000-01-01T00:00:00.000Z",
            "+026-01-31T08:00:00.250Z",
            "2026-01-31T08:00:00.250Z ",
            "é026-01-31T08:00:00.250Z",
        ] {
            assert_eq!(Timestamp::from_millis_text(text), None, "{text:?}");
        }
    }
}
