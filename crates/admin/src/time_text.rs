//! Points in time as text: RFC 3339 in UTC, as in `2026-01-31T08:00:00.25Z`.

use till_core::time::Timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The text for a point in time. Years after 9999 can't be written that way and become the last instant that can.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    let nanos = i128::from(at.0) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos)
        .ok()
        .and_then(|at| at.format(&Rfc3339).ok())
        .unwrap_or_else(|| "9999-12-31T23:59:59Z".to_owned())
}

#[cfg(test)]
mod tests {
    use till_core::time::Timestamp;

    use super::rfc3339;

    #[test]
    fn writes_utc() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_769_846_400_250, "2026-01-31T08:00:00.25Z"),
            (u64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(Timestamp(millis)), text);
        }
    }
}
