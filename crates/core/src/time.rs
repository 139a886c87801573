//! Points in time as the rules see them. The clock itself is the caller's.

use std::fmt;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

/// As RFC 3339 in UTC, to the second: for messages that people read.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.0 / 86_400_000, self.0 / 1000 % 86_400);
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

#[cfg(test)]
mod tests {
    use super::Timestamp;

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
