//! How far a piece of JSON goes: blanks, numbers and words, strings.

use memchr::memchr2;

/// The length of a string that ends within these bytes and has no escapes in it; they begin behind its first quote.
#[inline]
pub(crate) fn whole_string(bytes: &[u8]) -> Option<usize> {
    quote_or_escape(bytes).filter(|end| bytes.get(*end) == Some(&b'"'))
}

/// A number, a word or a string without escapes that ends within these bytes and is a member's, and what stands behind it.
#[inline]
pub(crate) fn whole_value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = match bytes.strip_prefix(b"\"") {
        Some(quoted) => whole_string(quoted)? + 2,
        None => run(bytes, &IS_SCALAR),
    };
    let (value, rest) = bytes.split_at_checked(length).filter(|(value, _)| !value.is_empty())?;
    let rest = after_blanks(rest);
    matches!(rest.first(), Some(b',' | b'}')).then_some((value, rest))
}

/// What stands behind the blanks with which a text begins, if any.
#[inline]
pub(crate) fn after_blanks(mut bytes: &[u8]) -> &[u8] {
    if !matches!(bytes.first(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
        return bytes;
    }
    // As lines are indented.
    while let Some(rest) = bytes.strip_prefix(b"        ") {
        bytes = rest;
    }
    &bytes[run(bytes, &IS_BLANK)..]
}

/// Where the first quote or backslash is. Most are within a few bytes, where `memchr2` takes longer.
#[inline]
pub(crate) fn quote_or_escape(bytes: &[u8]) -> Option<usize> {
    const NEAR: usize = 4;
    const ONES: u64 = 0x0101_0101_0101_0101;
    // The lowest bit that is set is in the lowest byte that is zero.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
    let (words, _) = bytes.as_chunks::<8>();
    let near = &words[..words.len().min(NEAR)];
    for (index, word) in near.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')));
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let seen = near.len() * 8;
    memchr2(b'"', b'\\', &bytes[seen..]).map(|at| seen + at)
}

pub(crate) type Kind = [bool; 256];

/// Blanks between values.
pub(crate) static IS_BLANK: Kind = kind(b" \t\r\n", true);

/// Blanks and what stands between values.
pub(crate) static IS_BETWEEN: Kind = kind(b",: \t\r\n", true);

/// Bytes of numbers and words, and of what is neither.
pub(crate) static IS_SCALAR: Kind = kind(b"\"{}[],: \t\r\n", false);

/// What neither begins a string nor changes the nesting.
pub(crate) static IS_FLAT: Kind = kind(b"\"{}[]", false);

/// Whether a byte is among these, or is not.
const fn kind(bytes: &[u8], is: bool) -> Kind {
    let mut kind = [!is; 256];
    let mut at = 0;
    while at < bytes.len() {
        kind[bytes[at] as usize] = is;
        at += 1;
    }
    kind
}

/// How many of these bytes, from the first on, are of a kind.
#[inline]
pub(crate) fn run(bytes: &[u8], kind: &Kind) -> usize {
    bytes.iter().position(|byte| !kind[usize::from(*byte)]).unwrap_or(bytes.len())
}
