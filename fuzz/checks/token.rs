//! Tokens: only a text that was minted here opens, and every credential has one spelling.
//!
//! Input: a letter for what is meant; a byte that picks the genuine text; then
//!
//! - `T`: a text as it is;
//! - `D`: changes of the characters of a genuine text (see [`changed`]), with a checksum made anew;
//! - `S`: the last block of digits of a genuine text, greater by so many times what its bytes can count to;
//! - `P`: changes of the bytes that a genuine text stands for, written and summed anew.

use till_core::secret::Secret;
use till_core::token::{
    ClaimId, ClaimSecret, IndexKey, KeyRing, MasterKey, SCOPED_KEY_PREFIX, check_admin_token,
    mint_admin_token,
};
use till_core::upstream::{Placement, SealedUpstream, Upstream};

const KEY: &str = "sk-proj-4f9Qz_7Lm-XbT0aWcR2e";

/// Checks one input.
pub fn check(input: &[u8]) {
    let [meant, pick, rest @ ..] = input else { return };
    let genuine = genuine();
    let (prefix, text) = &genuine[usize::from(*pick) % genuine.len()];
    let tried = match meant {
        b'T' => String::from_utf8_lossy(rest).into_owned(),
        b'D' => {
            let digits = changed(middle(prefix, text).as_bytes(), rest);
            summed(prefix, &String::from_utf8_lossy(&digits))
        }
        b'S' => summed(prefix, &greater(middle(prefix, text), rest.first().copied().unwrap_or(1))),
        b'P' => summed(prefix, &digits(&changed(&bytes(middle(prefix, text)), rest))),
        _ => return,
    };
    opens_if_minted(&tried, &genuine);
    has_one_spelling(&tried);
}

/// Texts with a checksum, each with its prefix: two scoped keys, an admin token and a master key.
fn genuine() -> Vec<(&'static str, String)> {
    let shown = |secret: &Secret| secret.reveal_str().expect("digits").to_owned();
    let (ring, upstream) = (ring(), upstream());
    let key = ring.mint(&upstream, [7; 16]).expect("short");
    let named = ring.mint_named(&upstream.named("openai-prod"), [8; 16]).expect("short");
    vec![
        (SCOPED_KEY_PREFIX, shown(&key.scoped_key)),
        (SCOPED_KEY_PREFIX, shown(&named.scoped_key)),
        ("till_admin_", shown(&mint_admin_token([9; 32]))),
        ("till_master_", shown(&MasterKey::from_bytes([3; 32]).to_text())),
    ]
}

fn ring() -> KeyRing {
    KeyRing::new(MasterKey::from_bytes([3; 32]), [1; 16], IndexKey::from_bytes([2; 32]))
}

fn upstream() -> Upstream {
    Upstream {
        key: Secret::new(KEY),
        provider: "openai".into(),
        origin: "https://api.openai.com".into(),
        placement: Placement::Header { name: "authorization".into(), template: "Bearer {key}".into() },
    }
}

fn opens_if_minted(text: &str, genuine: &[(&str, String)]) {
    let minted = genuine.iter().any(|(prefix, minted)| *prefix == SCOPED_KEY_PREFIX && minted == text);
    match ring().open(text) {
        Ok(opened) => {
            assert!(minted, "{text:?} was not minted and opens");
            match opened.upstream {
                SealedUpstream::Key(found) => {
                    assert!(found == upstream(), "{text:?} opens as something else")
                }
                SealedUpstream::Named(found) => assert_eq!(found, upstream().named("openai-prod")),
            }
        }
        Err(error) => {
            assert!(!minted, "{text:?} was minted and does not open: {error}");
            // A message may be logged; it repeats no credential. One that says the same of everything repeats nothing.
            let of_another = ring().open("another text").err().map(|error| error.to_string());
            let is_usual = of_another.as_deref() == Some(&*error.to_string());
            assert!(is_usual || text.len() < 20 || !error.to_string().contains(text), "{error}");
        }
    }
}

/// Whatever is accepted is what its bytes are written as.
fn has_one_spelling(text: &str) {
    if check_admin_token(text).is_ok() {
        let bytes: [u8; 32] = bytes(middle("till_admin_", text)).try_into().expect("32 bytes");
        assert_eq!(mint_admin_token(bytes).reveal_str(), Some(text), "another spelling of an admin token");
    }
    if let Ok(key) = MasterKey::parse(text) {
        let trimmed = text.trim_ascii();
        let is_hexadecimal = trimmed.len() == 64 && trimmed.bytes().all(|digit| digit.is_ascii_hexdigit());
        assert!(is_hexadecimal || key.to_text().reveal_str() == Some(trimmed), "{text:?}");
    }
    if let Ok(id) = text.parse::<ClaimId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Some(secret) = ClaimSecret::parse(text) {
        assert_eq!(secret.text().reveal_str(), Some(text));
    }
}

/// The bytes with changes: a byte whose lowest bits say what is done at the place that the next two say. 0: another byte,
/// the one that follows; 1: that byte put in; 2: what stands there taken out; 3: everything from there on taken out.
fn changed(bytes: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for change in changes.chunks_exact(4) {
        let at = usize::from(u16::from_be_bytes([change[1], change[2]])) % (bytes.len() + 1);
        match change[0] % 4 {
            1 => bytes.insert(at, change[3]),
            3 => bytes.truncate(at),
            _ if at == bytes.len() => {}
            0 => bytes[at] = change[3],
            _ => {
                bytes.remove(at);
            }
        }
    }
    bytes
}

/// Digits whose last block stands for a number that its bytes have no room for, and that is the same in those bytes.
fn greater(digits: &str, times: u8) -> String {
    let (before, last) = digits.split_at((digits.len() - 1) / 11 * 11);
    let value = |digit: u8| DIGITS.iter().position(|known| *known == digit).expect("a digit") as u128;
    let length = WIDTH.iter().position(|width| *width == last.len()).expect("a whole block");
    let mut number = last.bytes().fold(0, |number, digit| number * 62 + value(digit));
    number += u128::from(times) << (8 * length);
    let mut written = vec![b'0'; last.len()];
    for digit in written.iter_mut().rev() {
        *digit = DIGITS[(number % 62) as usize];
        number /= 62;
    }
    format!("{before}{}", String::from_utf8_lossy(&written))
}

/// What stands between prefix and checksum.
fn middle<'a>(prefix: &str, text: &'a str) -> &'a str {
    let rest = text.strip_prefix(prefix).expect("it has this prefix");
    rest.rsplit_once('_').expect("it has a checksum").0
}

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Digits that so many bytes take.
const WIDTH: [usize; 9] = [0, 2, 3, 5, 6, 7, 9, 10, 11];

/// Base62 as `docs/token-format.md` says, written for this check.
fn digits(bytes: &[u8]) -> String {
    let block = |block: &[u8]| {
        let number = block.iter().fold(0, |number, byte| number << 8 | u128::from(*byte));
        let digit = |place: usize| {
            let power = 62_u128.pow(u32::try_from(place).expect("small"));
            DIGITS[usize::try_from(number / power % 62).expect("small")]
        };
        (0..WIDTH[block.len()]).rev().map(|place| char::from(digit(place))).collect::<String>()
    };
    bytes.chunks(8).map(block).collect()
}

/// The way back, for digits that are right.
fn bytes(digits: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for block in digits.as_bytes().chunks(11) {
        let value = |digit: &u8| DIGITS.iter().position(|known| known == digit).expect("a digit") as u128;
        let number = block.iter().fold(0, |number, digit| number * 62 + value(digit));
        let length = WIDTH.iter().position(|width| *width == block.len()).expect("a whole block");
        bytes.extend_from_slice(&number.to_be_bytes()[16 - length..]);
    }
    bytes
}

fn summed(prefix: &str, digits: &str) -> String {
    let covered = format!("{prefix}{digits}");
    let mut sum = u32::MAX;
    for byte in covered.bytes() {
        sum ^= u32::from(byte);
        for _ in 0..8 {
            sum = sum >> 1 ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
        }
    }
    let mut number = !sum;
    let mut written = [b'0'; 6];
    for digit in written.iter_mut().rev() {
        *digit = DIGITS[(number % 62) as usize];
        number /= 62;
    }
    format!("{covered}_{}", String::from_utf8_lossy(&written))
}
