//! Real exchanges with providers, recorded, with what an independent calculator says they used and cost. They are no
//! part of the project: tests that have none say so and pass.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;

use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::Value;

/// Names the file with the exchanges: gzip, one JSON object per line.
pub const VARIABLE: &str = "TILL_RECORDINGS";

/// Where they are if nobody says otherwise, from the root of the project.
const DEFAULT: &str = "../shared/recordings/exchanges.jsonl.gz";

/// One exchange.
#[derive(Clone, Debug, Deserialize)]
pub struct Exchange {
    /// Its name.
    pub id: String,
    /// Who was asked.
    pub provider: String,
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The query.
    pub query: BTreeMap<String, Value>,
    /// The body of the request.
    pub request: Value,
    /// The status of the answer.
    pub status: u16,
    /// Its content type.
    pub content_type: Option<String>,
    /// Its body.
    pub response: String,
    /// Whether it is an event stream.
    pub streamed: bool,
    /// What it used and cost, where that is known.
    pub expected: Option<Expected>,
}

/// What an independent calculator says.
#[derive(Clone, Debug, Deserialize)]
pub struct Expected {
    /// Why it says nothing.
    pub error: Option<String>,
    /// Counts by unit; lengths of time in milliseconds.
    #[serde(default, deserialize_with = "counts")]
    pub usage: Option<BTreeMap<String, u64>>,
    /// The model that answered.
    pub model: Option<String>,
    /// Exact dollars, perhaps with an exponent.
    pub price_usd: Option<String>,
}

impl Exchange {
    /// The content type of its answer, or what it must have been.
    pub fn content_type(&self) -> &str {
        match &self.content_type {
            Some(content_type) => content_type,
            None if self.streamed => "text/event-stream",
            None => "application/json",
        }
    }
}

impl Expected {
    /// The price in nano-dollars, rounded up.
    pub fn nanos(&self) -> Option<u64> {
        self.price_usd.as_deref().map(|text| scaled(text, 9))
    }
}

/// A decimal number in units of 10 to the power of minus `places`, rounded up.
fn scaled(text: &str, places: i32) -> u64 {
    let (number, exponent) = text.split_once(['E', 'e']).unwrap_or((text, "0"));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits: u128 = format!("{whole}{fraction}").parse().expect("digits");
    let exponent: i32 = exponent.parse().expect("an exponent");
    let shift = places + exponent - i32::try_from(fraction.len()).expect("few digits");
    let power = 10_u128.pow(shift.unsigned_abs());
    let units = if shift >= 0 { digits * power } else { digits.div_ceil(power) };
    u64::try_from(units).expect("a number that is in use")
}

/// Counts, of which those of seconds may have a fraction.
fn counts<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<BTreeMap<String, u64>>, D::Error> {
    let counts = Option::<BTreeMap<String, serde_json::Number>>::deserialize(from)?;
    let whole = |(name, number): (String, serde_json::Number)| match name.strip_suffix("_seconds") {
        Some(name) => Some((format!("{name}_millis"), scaled(&number.to_string(), 3))),
        None => number.as_u64().map(|count| (name, count)),
    };
    let counts = counts.map(|counts| counts.into_iter().map(whole).collect::<Option<_>>());
    counts
        .map(|counts| counts.ok_or_else(|| serde::de::Error::custom("a count is no whole number")))
        .transpose()
}

/// The exchanges; `None`, and a word about it, when there are none here.
pub fn exchanges() -> Option<Vec<Exchange>> {
    use std::io::{BufRead as _, BufReader};
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = std::env::var_os(VARIABLE).map_or_else(|| root.join(DEFAULT), PathBuf::from);
    let Ok(file) = File::open(&path) else {
        eprintln!("SKIPPED: no recorded exchanges at {} ({VARIABLE} names another file)", path.display());
        return None;
    };
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    let read = |line: std::io::Result<String>| {
        serde_json::from_str(&line.expect("readable")).expect("an exchange per line")
    };
    Some(lines.map(read).collect())
}

/// Numbers that look random and are the same for the same seed.
pub struct Random(u64);

impl Random {
    /// Starts from a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below a bound.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap_or(0) % bound
    }
}
