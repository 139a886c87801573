//! Points in time as text: RFC 3339 in UTC, as in `2026-01-31T08:00:00.250Z`.
//!
//! Invariant: always three digits after the seconds, so that the order of texts is the order of times.

use till_core::time::Timestamp;
use time::OffsetDateTime;

/// The text for a point in time. Years after 9999 can't be written that way and become the last instant that can.
pub fn rfc3339(at: Timestamp) -> String {
    let nanos = i128::from(at.0) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .map_or_else(|_| "9999-12-31T23:59:59.999Z".to_owned(), text)
}

/// The point in time that an RFC 3339 text means, in any offset; `None` for other texts and times before 1970.
pub(crate) fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let at = OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).ok()?;
    u64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok().map(Timestamp)
}

/// A day, counted from 1970-01-01 UTC, as `2026-01-31`.
pub(crate) fn day(day: u64) -> String {
    rfc3339(Timestamp::of_day(day))[..10].to_owned()
}

fn text(at: OffsetDateTime) -> String {
    let (date, time) = (at.date(), at.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.millisecond()
    )
}

#[cfg(test)]
mod tests {
    use till_core::time::Timestamp;

    use super::rfc3339;

    #[test]
    fn writes_utc() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_769_846_399_999, "2026-01-31T07:59:59.999Z"),
            (1_769_846_400_000, "2026-01-31T08:00:00.000Z"),
            (1_769_846_400_007, "2026-01-31T08:00:00.007Z"),
            (1_769_846_400_250, "2026-01-31T08:00:00.250Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
            (253_402_300_800_000, "9999-12-31T23:59:59.999Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(Timestamp(millis)), text);
        }
    }

    #[test]
    fn texts_sort_as_times_do() {
        let texts: Vec<String> = (29_000..=30_100).map(|millis| rfc3339(Timestamp(millis))).collect();
        assert!(texts.is_sorted());
    }
}
