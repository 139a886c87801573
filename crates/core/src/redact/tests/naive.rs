//! The same search written as plainly as possible, to compare with: every form as a list of characters,
//! every place of the text tried, every way to read it followed.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// The characters of a form, each with the two bytes it may be, and how many bits of the key one tells.
pub(super) struct NaiveForm {
    pub(super) characters: Vec<[u8; 2]>,
    bits: usize,
    key_len: usize,
}

/// Every form of a key.
pub(super) fn forms(key: &[u8]) -> Vec<NaiveForm> {
    let pairs = |one: &[u8], other: &[u8]| one.iter().zip(other).map(|(a, b)| [*a, *b]).collect();
    let lower: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let upper = lower.to_uppercase();
    let form = |characters, bits| NaiveForm { characters, bits, key_len: key.len() };
    let mut forms = vec![form(pairs(key, key), 8), form(pairs(lower.as_bytes(), upper.as_bytes()), 4)];
    for before in 0..3 {
        let padded = [&b"xx"[..before], key].concat();
        let determined = (before * 8).div_ceil(6)..padded.len() * 8 / 6;
        let standard = STANDARD.encode(&padded).into_bytes();
        let url = URL_SAFE.encode(&padded).into_bytes();
        forms.push(form(pairs(&standard[determined.clone()], &url[determined]), 6));
    }
    forms
}

/// Every way to write one character.
pub(super) fn spellings(byte: u8) -> Vec<Vec<u8>> {
    let mut spellings = vec![vec![byte]];
    if b"\"\\/".contains(&byte) {
        spellings.push(vec![b'\\', byte]);
    }
    let digits = |upper: bool, digit: u8| match upper {
        true => format!("{digit:X}"),
        false => format!("{digit:x}"),
    };
    for (high, low) in [(false, false), (false, true), (true, false), (true, true)] {
        let hex = digits(high, byte >> 4) + &digits(low, byte & 15);
        spellings.push(format!("%{hex}").into_bytes());
        spellings.push(format!("\\u00{hex}").into_bytes());
    }
    spellings
}

/// Where readings of a form at one place end, and how many characters were seen where the text ended first.
fn walk(form: &NaiveForm, text: &[u8]) -> (Option<usize>, Option<usize>) {
    let (mut end, mut cut_off) = (None, None);
    let mut seen = HashSet::new();
    let mut open = vec![(0, 0)];
    while let Some((index, at)) = open.pop() {
        if !seen.insert((index, at)) {
            continue;
        }
        let Some(accepted) = form.characters.get(index) else {
            end = end.max(Some(at));
            continue;
        };
        let rest = &text[at..];
        // All that an escape can start with; anything else saves listing the spellings.
        let escaped = rest.first().is_none_or(|byte| b"\\%".contains(byte));
        if !escaped && !accepted.contains(&rest[0]) {
            continue;
        }
        for spelling in accepted.iter().flat_map(|byte| spellings(*byte)) {
            if rest.starts_with(&spelling) {
                open.push((index + 1, at + spelling.len()));
            } else if spelling.starts_with(rest) {
                cut_off = cut_off.max(Some(index));
            }
        }
    }
    (end, cut_off)
}

/// What must come out for a text, and where the first beginning of a form is that the end cuts off.
pub(super) fn search(needles: &[&[u8]], text: &[u8], complete: bool) -> (Vec<u8>, usize) {
    let mut masked = text.to_vec();
    let mut hold = text.len();
    for form in needles.iter().flat_map(|needle| forms(needle)) {
        for start in 0..text.len() {
            let (end, cut_off) = walk(&form, &text[start..]);
            if let Some(end) = end {
                masked[start..start + end].fill(b'*');
            }
            if let Some(characters) = cut_off {
                hold = hold.min(start);
                let told = characters * form.bits / 8;
                if complete && told >= 8 && told * 2 >= form.key_len {
                    masked[start..].fill(b'*');
                }
            }
        }
    }
    (masked, hold)
}
