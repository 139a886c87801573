//! Spans of time as people write them: `90s`, `30m`, `24h`, `7d`.

use till_core::lifetime::IDLE_EXPIRY_SECONDS_MAX;

/// What such a text looks like.
pub(crate) const RULE: &str = "a whole number with `s`, `m`, `h` or `d`, such as `30m` or `7d`";

/// The span in seconds, from one second to a hundred years.
///
/// # Errors
/// What is expected.
pub(crate) fn seconds(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3_600),
        "d" => Some(86_400),
        _ => None,
    };
    let seconds =
        number.parse::<u64>().ok().zip(factor).and_then(|(number, factor)| number.checked_mul(factor));
    seconds
        .filter(|seconds| (1..=IDLE_EXPIRY_SECONDS_MAX).contains(seconds))
        .ok_or_else(|| format!("expected {RULE}, at most a hundred years"))
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn spans_have_a_unit_and_bounds() {
        for (text, expected) in [("1s", 1), ("90s", 90), ("30m", 1_800), ("24h", 86_400), ("7d", 604_800)] {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for text in ["", "s", "5", "0s", "-1s", "1.5h", "7 d", "1w", "99999999d", "18446744073709551615d"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
