//! Whether the time that a token takes to be refused tells how near it came: `cargo run --release -p till-core
//! --example token_timing [SAMPLES]`.
//!
//! After dudect (Reparaz, Balasch and Verbauwhede, 2017): two kinds of tokens in random order, each opened once and timed, and
//! Welch's t of the two sets of times, of all and of those below the 90th percentile, where what the machine does meanwhile
//! is not. Above 4.5 or so the kinds can be told apart. Each kind has many tokens, made of the same ones: the digits of a token, which
//! its sender knows anyway, take their time to be read.

#![allow(clippy::float_arithmetic, reason = "a statistic, no money")]
#![allow(clippy::print_stdout, reason = "it is what the program is for")]

use std::time::Instant;

use till_core::secret::Secret;
use till_core::token::{IndexKey, KeyRing, MasterKey, SCOPED_KEY_PREFIX};
use till_core::upstream::{Placement, Upstream};

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const WIDTH: [usize; 9] = [0, 2, 3, 5, 6, 7, 9, 10, 11];
/// Tokens of each kind.
const TOKENS: u8 = 250;
const TAG_BYTES: usize = 32;
/// Where the random id of a key begins: behind version, master key and fingerprint.
const ID_AT: usize = 1 + 4 + 6;

/// Tokens to open of each kind, unless somebody says otherwise.
const SAMPLES: usize = 500_000;

/// A kind of token, and a text of what it is.
type Kind = (&'static str, Vec<String>);

fn main() {
    let samples =
        std::env::args().nth(1).map_or(SAMPLES, |given| given.parse().expect("a number of samples"));
    let ring = KeyRing::new(MasterKey::from_bytes([7; 32]), [1; 16], IndexKey::from_bytes([9; 32]));
    let upstream = Upstream {
        key: Secret::new("sk-proj-0123456789abcdefghijklmnopqrstuvwxyz"),
        provider: "openai".to_owned(),
        origin: "https://api.openai.com".to_owned(),
        placement: Placement::Header {
            name: "authorization".to_owned(),
            template: "Bearer {key}".to_owned(),
        },
    };
    let payload = |number: u8| {
        let minted = ring.mint(&upstream, [number; 16]).expect("a good upstream key");
        let payload = decode(minted.scoped_key.reveal_str().expect("ASCII"));
        assert_eq!(encode(&payload).as_bytes(), minted.scoped_key.reveal(), "the format is as it was");
        payload
    };
    let payloads: Vec<_> = (1..=TOKENS).map(payload).collect();
    let changed = |place: fn(usize) -> usize| -> Vec<String> {
        let change = |payload: &Vec<u8>| {
            let mut payload = payload.clone();
            let at = place(payload.len());
            payload[at] ^= 1;
            encode(&payload)
        };
        payloads.iter().map(change).collect()
    };
    let first = || ("tag differs in its first byte", changed(|length| length - TAG_BYTES));
    let last = || ("tag differs in its last byte", changed(|length| length - 1));
    let id = || ("id differs, so that all of the tag does", changed(|_| ID_AT));
    println!("{samples} of each kind, and Welch's t of all, and of those below the 90th percentile");
    // The first kind against itself shows what the machine alone does.
    for (a, b) in [(first(), first()), (first(), last()), (id(), first()), (id(), last())] {
        compare(&ring, samples, &a, &b);
    }
}

fn compare(ring: &KeyRing, samples: usize, a: &Kind, b: &Kind) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut times: [Vec<f64>; 2] = Default::default();
    while times.iter().any(|times| times.len() < samples) {
        let (which, token) = (random.below(2), random.below(TOKENS.into()));
        let token = &[a, b][which].1[token];
        let started = Instant::now();
        let is_open = std::hint::black_box(ring.open(std::hint::black_box(token))).is_ok();
        let took = started.elapsed().as_nanos();
        assert!(!is_open, "a forged token opened");
        times[which].push(f64::from(u32::try_from(took).unwrap_or(u32::MAX)));
    }
    let mut all = times.concat();
    all.sort_by(f64::total_cmp);
    let bound = all[all.len() / 10 * 9];
    let below = times.clone().map(|times| times.into_iter().filter(|time| *time < bound).collect::<Vec<_>>());
    let mean = |times: &[f64]| moments(times).0;
    println!(
        "t = {:6.2} and {:6.2}, means {:.1} and {:.1} ns: {} / {}",
        welch(&times),
        welch(&below),
        mean(&below[0]),
        mean(&below[1]),
        a.0,
        b.0
    );
}

fn welch([a, b]: &[Vec<f64>; 2]) -> f64 {
    let ((mean_a, of_a), (mean_b, of_b)) = (moments(a), moments(b));
    (mean_a - mean_b) / (of_a + of_b).sqrt()
}

/// The mean, and its variance.
#[allow(clippy::cast_precision_loss, reason = "there are fewer than 2⁵² samples")]
fn moments(times: &[f64]) -> (f64, f64) {
    let count = times.len() as f64;
    let mean = times.iter().sum::<f64>() / count;
    let squares: f64 = times.iter().map(|time| (time - mean) * (time - mean)).sum();
    (mean, squares / (count - 1.0) / count)
}

/// xorshift64*: which kind comes next must not follow a pattern that a branch predictor knows.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).expect("31 bits") % bound
    }
}

fn number(mut number: u64, width: usize) -> String {
    let mut digits = vec![b'0'; width];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[usize::try_from(number % 62).expect("below 62")];
        number /= 62;
    }
    String::from_utf8(digits).expect("ASCII")
}

/// A scoped key of these bytes (docs/token-format.md).
fn encode(payload: &[u8]) -> String {
    let block = |block: &[u8]| {
        number(block.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)), WIDTH[block.len()])
    };
    let text = format!("{SCOPED_KEY_PREFIX}{}", payload.chunks(8).map(block).collect::<String>());
    let checksum = number(u64::from(crc32fast::hash(text.as_bytes())), 6);
    format!("{text}_{checksum}")
}

fn decode(token: &str) -> Vec<u8> {
    let digits = &token[SCOPED_KEY_PREFIX.len()..token.len() - 7];
    let value = |digit: &u8| DIGITS.iter().position(|other| other == digit).expect("a digit") as u64;
    let block = |block: &[u8]| {
        let length = WIDTH.iter().position(|width| *width == block.len()).expect("a whole block");
        let number = block.iter().fold(0_u64, |sum, digit| sum * 62 + value(digit));
        number.to_be_bytes()[8 - length..].to_vec()
    };
    digits.as_bytes().chunks(11).flat_map(block).collect()
}
