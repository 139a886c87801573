//! Bytes as letters and digits, in blocks of fixed width so that there is exactly one text for
//! every byte string.
//!
//! Eight bytes, read as a big-endian number, become eleven digits (62¹¹ > 2⁶⁴); a shorter last
//! block of k bytes becomes as many digits as 256ᵏ needs. The digit order is `0–9A–Za–z`.

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Digits for a block of 0…8 bytes.
const WIDTH: [usize; 9] = [0, 2, 3, 5, 6, 7, 9, 10, 11];

const BLOCK_BYTES: usize = 8;
const BLOCK_DIGITS: usize = WIDTH[BLOCK_BYTES];

pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(BLOCK_BYTES) * BLOCK_DIGITS);
    for block in bytes.chunks(BLOCK_BYTES) {
        let number = block.iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
        push_number(&mut text, number, WIDTH[block.len()]);
    }
    text
}

/// Appends `number` as exactly `width` digits.
pub(crate) fn push_number(text: &mut String, mut number: u64, width: usize) {
    let mut digits = [b'0'; BLOCK_DIGITS];
    for digit in digits[..width].iter_mut().rev() {
        *digit = DIGITS[usize::try_from(number % 62).expect("below 62")];
        number /= 62;
    }
    text.extend(digits[..width].iter().map(|digit| char::from(*digit)));
}

/// The bytes that [`encode`] turns into exactly this text, or `None` if there are none.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len().div_ceil(BLOCK_DIGITS) * BLOCK_BYTES);
    for digits in text.as_bytes().chunks(BLOCK_DIGITS) {
        let length = WIDTH.iter().position(|width| *width == digits.len())?;
        let number = number(digits)?;
        let block = number.to_be_bytes();
        let (zeros, block) = block.split_at(BLOCK_BYTES - length);
        if zeros.iter().any(|byte| *byte != 0) {
            return None;
        }
        bytes.extend_from_slice(block);
    }
    Some(bytes)
}

/// The least and the greatest `N` bytes, whole blocks, whose text begins like this; `None` if there are none.
pub(crate) fn range<const N: usize>(start: &str) -> Option<([u8; N], [u8; N])> {
    let (mut low, mut high) = ([0; N], [0; N]);
    let mut rest = start.as_bytes();
    for (low, high) in low.chunks_mut(BLOCK_BYTES).zip(high.chunks_mut(BLOCK_BYTES)) {
        let (digits, behind) = rest.split_at(rest.len().min(BLOCK_DIGITS));
        rest = behind;
        let filled = |with| {
            let mut all = [with; BLOCK_DIGITS];
            all[..digits.len()].copy_from_slice(digits);
            all
        };
        low.copy_from_slice(&number(&filled(b'0'))?.to_be_bytes());
        // What would be above the greatest number is that number, as the digits that are given were none too great.
        high.copy_from_slice(&number(&filled(b'z')).unwrap_or(u64::MAX).to_be_bytes());
    }
    rest.is_empty().then_some((low, high))
}

/// The value of a run of at most eleven digits, or `None` for another character or a value above 2⁶⁴−1.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'A'..=b'Z' => digit - b'A' + 10,
            b'a'..=b'z' => digit - b'a' + 36,
            _ => return None,
        };
        number.checked_mul(62)?.checked_add(u64::from(value))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{decode, encode};

    proptest! {
        #[test]
        fn round_trips(bytes: Vec<u8>) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }

        #[test]
        fn only_the_canonical_text_decodes(text in "[0-9A-Za-z]{0,40}") {
            if let Some(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }

    #[test]
    fn refuses_what_is_no_encoding() {
        // A width no block has, a character outside the alphabet, and values too large for their block.
        for text in ["0", "0000", "00000000", "-0", "zz", "zzzzzzzzzzz"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
