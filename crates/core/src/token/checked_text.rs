//! The outer shape of every credential that till makes: a prefix, digits, and a checksum.
//!
//! Secret scanners look for the fixed prefix and use the checksum to tell a real find from a chance one;
//! people get "copied incompletely" instead of "unknown key".

use zeroize::Zeroizing;

use crate::base62;
use crate::secret::Secret;

/// Base62 digits that a CRC-32 needs.
const CHECKSUM_DIGITS: usize = 6;

/// Why a text doesn't have this shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TextError {
    /// It starts with something else.
    Prefix,
    /// The checksum is missing or wrong.
    Checksum,
    /// The checksum is right, but what stands between is not the canonical base62 of any bytes.
    Digits,
}

/// `prefix`, then `bytes` in base62, then `_` and the checksum over all of that.
pub(super) fn write(prefix: &str, bytes: &[u8]) -> Secret {
    let digits = Zeroizing::new(base62::encode(bytes));
    // The capacity is exact, so that no copy is left behind by growing.
    let mut text = String::with_capacity(prefix.len() + digits.len() + 1 + CHECKSUM_DIGITS);
    text.push_str(prefix);
    text.push_str(&digits);
    let checksum = checksum(&text);
    text.push('_');
    text.push_str(&checksum);
    Secret::new(text)
}

/// The bytes from which [`write`] makes exactly this text.
pub(super) fn read(prefix: &str, text: &str) -> Result<Zeroizing<Vec<u8>>, TextError> {
    let rest = text.strip_prefix(prefix).ok_or(TextError::Prefix)?;
    let (digits, stated) = rest.rsplit_once('_').ok_or(TextError::Checksum)?;
    let covered = &text[..prefix.len() + digits.len()];
    if stated != checksum(covered) {
        return Err(TextError::Checksum);
    }
    base62::decode(digits).map(Zeroizing::new).ok_or(TextError::Digits)
}

pub(super) fn checksum(text: &str) -> String {
    let mut digits = String::with_capacity(CHECKSUM_DIGITS);
    base62::push_number(&mut digits, u64::from(crc32fast::hash(text.as_bytes())), CHECKSUM_DIGITS);
    digits
}
