//! Nano-dollars as the cents and dollars of the API.

use till_core::money::Dollars;

/// Nano-dollars in a cent.
const NANOS_PER_CENT: u64 = 10_000_000;

/// A limit in whole cents, rounded down so that it never promises more than there is.
pub(crate) fn limit_cents(nanos: u64) -> u64 {
    nanos / NANOS_PER_CENT
}

/// A use in whole cents, rounded up so that it never hides spending.
pub(crate) fn used_cents(nanos: u64) -> u64 {
    nanos.div_ceil(NANOS_PER_CENT)
}

/// The exact amount in dollars with at least two decimals.
pub(crate) fn usd(nanos: u64) -> String {
    Dollars(nanos.into()).to_string()
}

#[cfg(test)]
mod tests {
    use super::{limit_cents, usd, used_cents};

    #[test]
    fn rounds_limits_down_and_use_up() {
        for (nanos, limit, used, text) in [
            (0, 0, 0, "0.00"),
            (1, 0, 1, "0.000000001"),
            (10_000_000, 1, 1, "0.01"),
            (10_000_001, 1, 2, "0.010000001"),
            (1_500_000_000, 150, 150, "1.50"),
            (u64::MAX, 1_844_674_407_370, 1_844_674_407_371, "18446744073.709551615"),
        ] {
            assert_eq!((limit_cents(nanos), used_cents(nanos), usd(nanos).as_str()), (limit, used, text));
        }
    }
}
