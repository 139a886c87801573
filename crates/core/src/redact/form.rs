//! One form of the key, and whether a text starts with it.
//!
//! A form is not stored: its characters are computed from the key where they are needed, so ten
//! thousand keys cost little memory. Two spellings that mean the same (upper and lower hex digits,
//! the two base64 alphabets) are one character that accepts two bytes.

/// How the key's bytes are written as characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// One character for each byte.
    Plain,
    /// Two hex digits for each byte.
    Hex,
    /// Base64 when 0, 2 or 1 bytes (modulo 3) stand before the key; as many of its first *bits* are
    /// in a character that the byte before it has a share in, so the form leaves them out.
    Base64 { skipped_bits: usize },
}

impl Encoding {
    pub(super) const ALL: [Self; 5] = [
        Self::Plain,
        Self::Hex,
        Self::Base64 { skipped_bits: 0 },
        Self::Base64 { skipped_bits: 2 },
        Self::Base64 { skipped_bits: 4 },
    ];
}

/// The bytes that one character of a form may be, unescaped. Often both are the same.
pub(super) type Accepted = [u8; 2];

/// The key in one encoding.
#[derive(Clone, Copy)]
pub(super) struct Form<'key> {
    key: &'key [u8],
    encoding: Encoding,
}

/// What became of looking for a form at the start of a text. Both can be there: a key that ends in
/// `\` is complete after it, yet the next byte may show that this was the first half of `\\`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Attempt {
    /// The whole form is there and takes so many bytes, the most that are possible.
    pub(super) matched: Option<usize>,
    /// The text ended when so many characters of the form had been seen and more could follow.
    pub(super) cut_off_after: Option<usize>,
}

/// How many ways of reading a text are followed at once. A second way opens only at a backslash of the
/// key (is `\\` one escaped or two plain ones?). So an echo could be overlooked only of a key with more than
/// this many in a row, and only if it mixes escaped and plain ones. The bound keeps a key of nothing
/// but backslashes from taking quadratic time at each place.
const READINGS_MAX: usize = 64;

const HEX_LOWER: &[u8; 16] = b"0123456789abcdef";
const HEX_UPPER: &[u8; 16] = b"0123456789ABCDEF";
const BASE64_STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl<'key> Form<'key> {
    pub(super) fn new(key: &'key [u8], encoding: Encoding) -> Self {
        Self { key, encoding }
    }

    /// How many characters it has.
    pub(super) fn len(self) -> usize {
        match self.encoding {
            Encoding::Plain => self.key.len(),
            Encoding::Hex => self.key.len() * 2,
            Encoding::Base64 { skipped_bits } => (self.key.len() * 8 - skipped_bits) / 6,
        }
    }

    /// The bytes that the character at `index` may be.
    pub(super) fn accepted(self, index: usize) -> Accepted {
        match self.encoding {
            Encoding::Plain => [self.key[index]; 2],
            Encoding::Hex => {
                let byte = self.key[index / 2];
                let digit = usize::from(if index.is_multiple_of(2) { byte >> 4 } else { byte & 15 });
                [HEX_LOWER[digit], HEX_UPPER[digit]]
            }
            Encoding::Base64 { skipped_bits } => {
                let bit = skipped_bits + index * 6;
                let next = self.key.get(bit / 8 + 1).copied().unwrap_or(0);
                let window = u16::from_be_bytes([self.key[bit / 8], next]);
                let digit = usize::from(window >> (10 - bit % 8) & 63);
                [BASE64_STANDARD[digit], BASE64_URL[digit]]
            }
        }
    }

    /// Whether so many characters give away the larger part of the key: at least half of its bytes, and
    /// at least eight.
    pub(super) fn is_larger_part(self, characters: usize) -> bool {
        let bytes = match self.encoding {
            Encoding::Plain => characters,
            Encoding::Hex => characters / 2,
            Encoding::Base64 { .. } => characters * 6 / 8,
        };
        bytes >= self.key.len().div_ceil(2).max(crate::upstream::UPSTREAM_KEY_MIN)
    }

    /// Looks for the form at the start of `text`.
    pub(super) fn attempt(self, text: &[u8]) -> Attempt {
        let mut offset = 0;
        for index in 0..self.len() {
            let rest = &text[offset..];
            let accepted = self.accepted(index);
            if is_introducer(accepted[0]) {
                return self.attempt_every_reading(text, index, offset);
            }
            match rest.first() {
                Some(byte) if accepted.contains(byte) => offset += 1,
                _ => match read_escape(rest, accepted) {
                    Reading::Length(length) => offset += length,
                    Reading::CutOff => {
                        return Attempt { matched: None, cut_off_after: Some(index) };
                    }
                    Reading::Different => return Attempt::default(),
                },
            }
        }
        Attempt { matched: Some(offset), cut_off_after: None }
    }

    /// Goes on from the character at `index`, which is a `\` or `%` of the key itself: in the text it may
    /// stand for itself or start an escape, so more than one reading must be followed.
    fn attempt_every_reading(self, text: &[u8], index: usize, offset: usize) -> Attempt {
        let mut cut_off_after = None;
        // Offsets in `text` that the next character may start at.
        let mut offsets = vec![offset];
        for index in index..self.len() {
            if offsets.is_empty() {
                break;
            }
            let accepted = self.accepted(index);
            let mut next = Vec::with_capacity(offsets.len() + 1);
            for offset in offsets {
                let rest = &text[offset..];
                if rest.first().is_some_and(|byte| accepted.contains(byte)) {
                    push_new(&mut next, offset + 1);
                }
                match read_escape(rest, accepted) {
                    Reading::Length(length) => push_new(&mut next, offset + length),
                    Reading::CutOff => cut_off_after = Some(index),
                    Reading::Different => {}
                }
            }
            offsets = next;
        }
        Attempt { matched: offsets.into_iter().max(), cut_off_after }
    }

    /// Whether `text` starts with the whole form, letter case ignored.
    pub(super) fn matches_in_any_case(self, text: &[u8]) -> bool {
        let mut rest = text;
        (0..self.len()).all(|index| {
            let accepted = self.accepted(index);
            let either = [accepted[0].to_ascii_lowercase(), accepted[0].to_ascii_uppercase()];
            let length = match rest.first() {
                Some(byte) if accepted.contains(byte) || either.contains(byte) => 1,
                _ => match (read_escape(rest, accepted), read_escape(rest, either)) {
                    (Reading::Length(length), _) | (_, Reading::Length(length)) => length,
                    _ => return false,
                },
            };
            rest = &rest[length..];
            true
        })
    }
}

/// Offsets come in rising order. When there are too many the largest takes the place of the one before it,
/// so that all plain and all escaped, the first and the last, are never dropped.
fn push_new(offsets: &mut Vec<usize>, offset: usize) {
    if offsets.contains(&offset) {
        return;
    }
    if offsets.len() == READINGS_MAX {
        offsets.pop();
    }
    offsets.push(offset);
}

/// Whether an escape may start with this byte.
pub(super) fn is_introducer(byte: u8) -> bool {
    matches!(byte, b'\\' | b'%')
}

/// Whether JSON lets this character be escaped by a backslash before it.
pub(super) fn is_backslashable(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | b'/')
}

/// What an escape at the start of a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// One of the accepted characters, in so many bytes.
    Length(usize),
    /// So far it could be, but the text ends.
    CutOff,
    /// Something else.
    Different,
}

/// Reads an escaped character that is one of those accepted.
fn read_escape(text: &[u8], accepted: Accepted) -> Reading {
    match text.first() {
        None => return Reading::CutOff,
        Some(byte) if !is_introducer(*byte) => return Reading::Different,
        Some(_) => {}
    }
    let mut reading = Reading::Different;
    for byte in accepted {
        let short = (is_backslashable(byte), text.get(1));
        if text[0] == b'\\' && short == (true, Some(&byte)) {
            return Reading::Length(2);
        }
        for introducer in [&b"\\u00"[..], b"%"] {
            match read_digits(text, introducer, byte) {
                Reading::Different => {}
                found => reading = found,
            }
        }
    }
    reading
}

/// Reads `introducer` and the two hex digits of `byte`.
fn read_digits(text: &[u8], introducer: &[u8], byte: u8) -> Reading {
    let digits = [HEX_LOWER[usize::from(byte >> 4)], HEX_LOWER[usize::from(byte & 15)]];
    let (head, rest) = text.split_at(introducer.len().min(text.len()));
    let rest = &rest[..rest.len().min(digits.len())];
    if !introducer.starts_with(head) || !digits[..rest.len()].eq_ignore_ascii_case(rest) {
        Reading::Different
    } else if rest.len() == digits.len() {
        Reading::Length(introducer.len() + digits.len())
    } else {
        Reading::CutOff
    }
}
