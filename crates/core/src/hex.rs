//! Bytes as hexadecimal digits, in one spelling.

/// Lower-case hexadecimal digits.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| char::from(DIGITS[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Undoes [`to_hex`]; `None` for every other spelling and length.
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = digit(digits[0])? << 4 | digit(digits[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::{from_hex, to_hex};

    #[test]
    fn hexadecimal_has_one_spelling() {
        assert_eq!(to_hex(&[0, 15, 240, 255]), "000ff0ff");
        assert_eq!(from_hex("000ff0ff"), Some([0, 15, 240, 255]));
        for text in ["", "0", "000ff0f", "000FF0FF", "000ff0fg", "000ff0ff0", "+00ff0ff", "é00ff0f"] {
            assert_eq!(from_hex::<4>(text), None, "{text:?}");
        }
    }
}
