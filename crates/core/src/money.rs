//! Money for people. Everywhere else it is whole nano-dollars.

use std::fmt;

/// Nano-dollars (10⁻⁹ USD) in a dollar.
pub const NANOS_PER_DOLLAR: u128 = 1_000_000_000;

/// An amount in nano-dollars, written as exact decimal dollars with two decimals at least: `2.00`, `0.000000001`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dollars(pub u128);

impl fmt::Display for Dollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = format!("{:09}", self.0 % NANOS_PER_DOLLAR);
        let digits = fraction.trim_end_matches('0').len().max(2);
        write!(f, "{}.{}", self.0 / NANOS_PER_DOLLAR, &fraction[..digits])
    }
}

/// Why a text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be dollars as a decimal number with at most 9 decimals, such as \"0.25\"")]
pub struct NotDollars;

impl std::str::FromStr for Dollars {
    type Err = NotDollars;

    fn from_str(text: &str) -> Result<Self, NotDollars> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits(whole) || !is_digits(fraction) || fraction.len() > 9 || whole.len() > 20 {
            return Err(NotDollars);
        }
        let whole: u128 = whole.parse().map_err(|_| NotDollars)?;
        let fraction: u128 = format!("{fraction:0<9}").parse().map_err(|_| NotDollars)?;
        Ok(Self(whole * NANOS_PER_DOLLAR + fraction))
    }
}

#[cfg(test)]
mod tests {
    use super::{Dollars, NotDollars};

    #[test]
    fn dollars_are_exact() {
        for (nanos, text) in [
            (0, "0.00"),
            (1, "0.000000001"),
            (10_000_000, "0.01"),
            (1_250_000_000, "1.25"),
            (1_500_000_000, "1.50"),
            (1_234_567_890, "1.23456789"),
            (u64::MAX.into(), "18446744073.709551615"),
        ] {
            assert_eq!(Dollars(nanos).to_string(), text);
            assert_eq!(text.parse(), Ok(Dollars(nanos)));
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in ["", ".", "1.", ".5", "-1", "+1", "1e3", " 1", "1,5", "0.0000000001", "١", "1.5.5", "$1"]
        {
            assert_eq!(text.parse::<Dollars>(), Err(NotDollars), "{text:?}");
        }
        assert_eq!("5".parse(), Ok(Dollars(5_000_000_000)));
        assert_eq!("007.10".parse(), Ok(Dollars(7_100_000_000)));
    }
}
