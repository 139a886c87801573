//! Where in a text a form could start: the part that ordinary text goes through, so it must be fast.
//!
//! A form has at least eight characters. Of an occurrence whose first `stride + 3` bytes are not
//! escaped, four bytes at some offset below `stride` fall on a place that is a multiple of `stride`.
//! So only every `stride`-th place is looked at, and its four bytes are looked up in a bitmap of all
//! *fragments* of four bytes that forms have there. If the bitmap has it, every start in reach is a
//! candidate. An occurrence that does have an escape among these first bytes is found by that escape: `%`
//! and `\` followed by something that could be a character of a form are rare. What remains are the
//! last places of a text, too near to its end for either: they are looked at one by one.
//!
//! Invariant: a place where a form starts, whole or cut off by the end, is always a candidate.
//! A candidate need not be a form.

use super::form::{Form, is_backslashable};

/// Numbers of forms, as bits. Three needles in five encodings fit.
pub(super) type FormSet = u16;

/// Bytes that are looked up together.
const FRAGMENT_BYTES: usize = 4;

/// The distance of the places that are looked at, for long keys. A larger one needs fewer lookups but has
/// more fragments, and so more false candidates.
const STRIDE_MAX: usize = 16;

/// The bitmap has 2^13 bits; a key fills about a hundred of them, one with three needles three hundred.
const FRAGMENT_HASH_BITS: u32 = 13;
const FRAGMENT_WORDS: usize = (1 << FRAGMENT_HASH_BITS) / 64;

/// What is known about the beginnings of all forms of a key.
pub(super) struct Sieve {
    stride: usize,
    /// Hashes of the fragments at the offsets `0..stride` of every form, not escaped.
    fragments: [u64; FRAGMENT_WORDS],
    /// For each byte, the forms that may start with it.
    starts: [FormSet; 256],
    /// The bytes that the first `reach` characters of the forms may be: 256 bits.
    characters: [u64; 4],
}

impl Sieve {
    /// A form's number is its place in `forms`.
    pub(super) fn new(forms: &[Form<'_>]) -> Self {
        let shortest = forms.iter().map(|form| form.len()).min().unwrap_or(usize::MAX);
        let mut sieve = Self {
            stride: (shortest - (FRAGMENT_BYTES - 1)).min(STRIDE_MAX),
            fragments: [0; FRAGMENT_WORDS],
            starts: [0; 256],
            characters: [0; 4],
        };
        for (number, form) in forms.iter().enumerate() {
            sieve.add(1 << number, *form);
        }
        sieve
    }

    fn add(&mut self, number: FormSet, form: Form<'_>) {
        for byte in form.accepted(0).into_iter().chain(*b"\\%") {
            self.starts[usize::from(byte)] |= number;
        }
        for byte in (0..self.reach()).flat_map(|index| form.accepted(index)) {
            self.characters[usize::from(byte / 64)] |= 1 << (byte % 64);
        }
        for offset in 0..self.stride {
            let accepted: [_; FRAGMENT_BYTES] = std::array::from_fn(|index| form.accepted(offset + index));
            // Each of the four characters may be either of two bytes.
            for choice in 0..1_usize << FRAGMENT_BYTES {
                let fragment = std::array::from_fn(|index| accepted[index][choice >> index & 1]);
                let (word, bit) = fragment_place(fragment);
                self.fragments[word] |= bit;
            }
        }
    }

    /// How many bytes at the start of an occurrence decide whether it is found.
    fn reach(&self) -> usize {
        self.stride + FRAGMENT_BYTES - 1
    }

    /// Calls `judge` with every place where a form could start and the forms that could. A place may come
    /// up more than once, and places come in no order.
    pub(super) fn candidates(&self, text: &[u8], mut judge: impl FnMut(usize, FormSet)) {
        let mut judge_all = |places: std::ops::Range<usize>| {
            for (place, byte) in places.clone().zip(&text[places]) {
                let numbers = self.starts[usize::from(*byte)];
                if numbers != 0 {
                    judge(place, numbers);
                }
            }
        };
        let tail = self.fragment_hits(text, &mut judge_all);
        self.escape_hits(text, &mut judge_all);
        judge_all(tail..text.len());
    }

    /// Reports the places around every known fragment. Returns the first place that is out of reach of all
    /// fragments looked at.
    fn fragment_hits(&self, text: &[u8], judge_all: &mut impl FnMut(std::ops::Range<usize>)) -> usize {
        let mut tail = 0;
        // The place looked at is the last start in its reach, so the first place is `stride - 1`.
        let mut place = self.stride - 1;
        while let Some(fragment) = text.get(place..).and_then(|rest| rest.first_chunk()) {
            let (word, bit) = fragment_place(*fragment);
            if self.fragments[word] & bit != 0 {
                judge_all(tail..place + 1);
            }
            tail = place + 1;
            place += self.stride;
        }
        tail
    }

    /// Reports the places before every escape that could be a character of a form.
    fn escape_hits(&self, text: &[u8], judge_all: &mut impl FnMut(std::ops::Range<usize>)) {
        // What starts at or before an earlier introducer has been reported with it, or can't be a form.
        let mut reported = 0;
        for place in memchr::memchr2_iter(b'\\', b'%', text) {
            if self.may_be_character(&text[place..]) {
                judge_all(reported.max((place + 1).saturating_sub(self.reach()))..place + 1);
            }
            reported = place + 1;
        }
    }

    /// Whether what starts with an introducer could be one of the first characters of a form: that byte
    /// itself, or escaped, or cut off.
    fn may_be_character(&self, text: &[u8]) -> bool {
        if self.is_character(text[0]) {
            return true;
        }
        let digits = match text {
            [_] => return true,
            [b'%', digits @ ..] | [b'\\', b'u', b'0', b'0', digits @ ..] => digits,
            [_, b'u', rest @ ..] => return b"00".starts_with(rest),
            [_, next, ..] => return is_backslashable(*next) && self.is_character(*next),
            [] => return false,
        };
        match digits {
            [high, low, ..] => hex_value(*high)
                .zip(hex_value(*low))
                .is_some_and(|(high, low)| self.is_character(high << 4 | low)),
            [high] => hex_value(*high).is_some(),
            [] => true,
        }
    }

    fn is_character(&self, byte: u8) -> bool {
        self.characters[usize::from(byte / 64)] >> (byte % 64) & 1 == 1
    }

    /// The forms that may start with this byte if letter case is ignored.
    pub(super) fn starts_in_any_case(&self, byte: u8) -> FormSet {
        let [lower, upper] = [byte.to_ascii_lowercase(), byte.to_ascii_uppercase()];
        self.starts[usize::from(lower)] | self.starts[usize::from(upper)]
    }
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// Where in the bitmap a fragment is.
fn fragment_place(fragment: [u8; FRAGMENT_BYTES]) -> (usize, u64) {
    let hash = u32::from_le_bytes(fragment).wrapping_mul(0x9E37_79B1) >> (u32::BITS - FRAGMENT_HASH_BITS);
    ((hash / 64) as usize, 1 << (hash % 64))
}
