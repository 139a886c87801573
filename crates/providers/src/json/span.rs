//! How far a piece of JSON goes: blanks, numbers and words, strings.

use memchr::memchr2;

/// The length of a string that ends within these bytes and has no escapes in it; they begin behind its first quote.
#[inline]
pub(crate) fn whole_string(bytes: &[u8]) -> Option<usize> {
    quote_or_escape(bytes).filter(|end| bytes.get(*end) == Some(&b'"'))
}

/// The length of a string that ends within these bytes, which begin behind its first quote, and how many escapes are in
/// it.
#[inline]
pub(crate) fn string(bytes: &[u8]) -> Option<(usize, usize)> {
    let (mut at, mut escapes) = (0, 0);
    loop {
        at += quote_or_escape(bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some((at, escapes));
        }
        at += 2;
        escapes += 1;
    }
}

/// The length of an object or array that ends within these bytes and is nested so deep at most; they begin with its
/// bracket. Brackets of both kinds are the same here, and what stands between them is not looked at.
pub(crate) fn nest(bytes: &[u8], depth_max: usize) -> Option<usize> {
    let (mut at, mut depth) = (0, 0);
    loop {
        at += run(&bytes[at..], &IS_FLAT) + 1;
        match bytes.get(at - 1)? {
            b'"' => at += string(&bytes[at..])?.0 + 1,
            b'{' | b'[' if depth == depth_max => return None,
            b'{' | b'[' => depth += 1,
            _ => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
    }
}

/// The length of the value with which these bytes begin, if it ends within them and is nested so deep at most, and whether it
/// is a string without escapes. Nothing of it is checked.
#[inline]
pub(crate) fn value(bytes: &[u8], depth_max: usize) -> Option<(usize, bool)> {
    match bytes.first()? {
        b'"' => string(&bytes[1..]).map(|(length, escapes)| (length + 2, escapes == 0)),
        b'{' | b'[' => nest(bytes, depth_max).map(|length| (length, false)),
        _ => Some(run(bytes, &IS_SCALAR)).filter(|length| *length > 0).map(|length| (length, false)),
    }
}

/// What stands behind the blanks with which a text begins, if any.
#[inline]
pub(crate) fn after_blanks(mut bytes: &[u8]) -> &[u8] {
    if bytes.first().is_none_or(|byte| *byte > b' ') {
        return bytes;
    }
    // As lines are indented.
    while let Some(rest) = bytes.strip_prefix(b"        ") {
        bytes = rest;
    }
    &bytes[run(bytes, &IS_BLANK)..]
}

/// The length of a string that ends within these bytes and is what it says as it stands: no escapes are in it, and no control
/// characters, which must be escaped. They begin behind its first quote.
#[inline]
pub(crate) fn plain_string(bytes: &[u8]) -> Option<usize> {
    first::<true>(bytes).filter(|end| bytes.get(*end) == Some(&b'"'))
}

/// Where the first quote or backslash is.
#[inline]
pub(crate) fn quote_or_escape(bytes: &[u8]) -> Option<usize> {
    first::<false>(bytes)
}

/// Where the first quote or backslash is, or, where those are asked for, control character. Most are within a few bytes, where
/// `memchr2` takes longer.
#[inline]
fn first<const OR_CONTROL: bool>(bytes: &[u8]) -> Option<usize> {
    const NEAR: usize = 32;
    let mut at = 0;
    while let Some(word) = bytes.get(at..).and_then(|bytes| bytes.first_chunk()) {
        if let Some(found) = first_of_word::<OR_CONTROL>(word) {
            return Some(at + found);
        }
        at += 8;
        if at == NEAR {
            return far::<OR_CONTROL>(bytes, at);
        }
    }
    // What is left is the end of the last word, and nothing was found in the rest of that.
    match bytes.last_chunk() {
        Some(word) => first_of_word::<OR_CONTROL>(word).map(|found| bytes.len() - 8 + found),
        None => bytes.iter().position(|byte| matches!(byte, b'"' | b'\\') || OR_CONTROL && *byte < b' '),
    }
}

#[inline]
fn first_of_word<const OR_CONTROL: bool>(word: &[u8; 8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_le_bytes(*word);
    let [quotes, escapes] = [b'"', b'\\'].map(|byte| (word ^ (ONES * u64::from(byte))).wrapping_sub(ONES));
    let controls = if OR_CONTROL { word.wrapping_sub(ONES * u64::from(b' ')) } else { 0 };
    // The lowest byte that went below zero is one of them, unless it was not ASCII before.
    let found = (quotes | escapes | controls) & !word & (ONES << 7);
    (found != 0).then_some(found.trailing_zeros() as usize / 8)
}

/// The same where so many bytes were looked at. Not a part of every place that looks at names.
#[inline(never)]
fn far<const OR_CONTROL: bool>(bytes: &[u8], seen: usize) -> Option<usize> {
    let rest = &bytes[seen..];
    let at = memchr2(b'"', b'\\', rest)?;
    if OR_CONTROL && rest[..at].iter().copied().fold(u8::MAX, u8::min) < b' ' {
        return rest.iter().position(|byte| *byte < b' ').map(|at| seen + at);
    }
    Some(seen + at)
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

#[cfg(test)]
mod tests {
    use super::{plain_string, quote_or_escape};

    #[test]
    fn strings_end_where_their_bytes_say() {
        for length in 0..80 {
            let mut text = vec![b'x'; length];
            assert_eq!((quote_or_escape(&text), plain_string(&text)), (None, None), "{length}");
            for at in 0..length {
                // Beside what looks like one of them in one bit or by a borrow.
                for (neighbour, byte) in [0x7f, b'#', b'!', b'[', b']', b' ', 0xa2, 0xdc, 0x80, 0x9f, 0xff]
                    .into_iter()
                    .flat_map(|neighbour| {
                        [b'"', b'\\', 0, 0x1f, b' ', 0x7f, 0x80, 0xa2].map(|byte| (neighbour, byte))
                    })
                {
                    text.fill(neighbour);
                    text[at] = byte;
                    let is_end = matches!(byte, b'"' | b'\\');
                    assert_eq!(
                        quote_or_escape(&text),
                        is_end.then_some(at),
                        "{length} {at} {neighbour} {byte}"
                    );
                    let plain = (byte == b'"').then_some(at);
                    assert_eq!(plain_string(&text), plain, "{length} {at} {neighbour} {byte}");
                }
                text.fill(b'x');
                text[at] = b'"';
                for before in 0..at {
                    for byte in [0, 0x1f, b'\\'] {
                        text[before] = byte;
                        assert_eq!(plain_string(&text), None, "{length} {before} {at}");
                        text[before] = b'x';
                    }
                }
            }
        }
    }
}
