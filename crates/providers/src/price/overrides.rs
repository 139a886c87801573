//! Prices from configuration: for models that the built-in table does not have, or at other terms.

use serde::Deserialize;

use super::data::Constraint;
use super::matching::Clause;
use super::{Figure, ModelPrice, Period, Source};
use crate::usage::Unit;

/// Rows of prices, as a file or the configuration has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceFile {
    /// The rows; the first one that fits a model counts.
    #[serde(default)]
    pub prices: Vec<PriceRow>,
}

/// One row. Prices are dollars as decimal strings.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WrittenRow")]
pub struct PriceRow {
    /// Id of the provider.
    pub provider: String,
    /// Name of the model, in lower case; with a `*` at its end every name that begins so.
    pub model: String,
    /// How many tokens of input one pass of the model can take.
    pub context_window: Option<u64>,
    /// How many tokens it can put out.
    pub max_output: Option<u64>,
    /// Pico-dollars per unit.
    pub picos: Vec<(Unit, u64)>,
}

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct PriceFileError {
    /// The field at fault.
    pub field: &'static str,
    /// What it must be.
    pub rule: String,
}

/// Names of prices, the unit of each, and for how many units it is.
const NAMES: [(&str, Unit, u64); 13] = [
    ("input", Unit::InputTokens, 1_000_000),
    ("output", Unit::OutputTokens, 1_000_000),
    ("cache_read", Unit::CacheReadTokens, 1_000_000),
    ("cache_write", Unit::CacheWriteTokens, 1_000_000),
    ("cache_write_1h", Unit::CacheWrite1hTokens, 1_000_000),
    ("input_audio", Unit::InputAudioTokens, 1_000_000),
    ("output_audio", Unit::OutputAudioTokens, 1_000_000),
    ("input_image", Unit::InputImageTokens, 1_000_000),
    ("output_image", Unit::OutputImageTokens, 1_000_000),
    ("input_characters", Unit::InputCharacters, 1_000_000),
    ("images", Unit::OutputImages, 1_000),
    ("searches", Unit::RerankSearches, 1_000),
    ("requests", Unit::Requests, 1_000),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRow {
    provider: String,
    model: String,
    context_window: Option<u64>,
    max_output: Option<u64>,
    input: Option<String>,
    output: Option<String>,
    cache_read: Option<String>,
    cache_write: Option<String>,
    cache_write_1h: Option<String>,
    input_audio: Option<String>,
    output_audio: Option<String>,
    input_image: Option<String>,
    output_image: Option<String>,
    input_characters: Option<String>,
    images: Option<String>,
    searches: Option<String>,
    requests: Option<String>,
}

impl TryFrom<WrittenRow> for PriceRow {
    type Error = PriceFileError;

    fn try_from(row: WrittenRow) -> Result<Self, PriceFileError> {
        let error = |field, rule: &str| Err(PriceFileError { field, rule: rule.to_owned() });
        if row.provider.is_empty() || row.provider.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return error("provider", "must be the id of a provider, such as \"openai\"");
        }
        let name = row.model.strip_suffix('*').unwrap_or(&row.model);
        if row.model.is_empty() || name.contains('*') {
            return error("model", "must be the name of a model, with at most one `*`, at its end");
        }
        for (field, bound) in [("context_window", row.context_window), ("max_output", row.max_output)] {
            if bound == Some(0) {
                return error(field, "must be at least 1");
            }
        }
        let written = [
            row.input,
            row.output,
            row.cache_read,
            row.cache_write,
            row.cache_write_1h,
            row.input_audio,
            row.output_audio,
            row.input_image,
            row.output_image,
            row.input_characters,
            row.images,
            row.searches,
            row.requests,
        ];
        let mut picos = Vec::new();
        for ((field, unit, per), text) in NAMES.into_iter().zip(written) {
            if let Some(text) = text {
                let Some(amount) = picos_per_unit(&text, per) else {
                    return error(
                        field,
                        "must be dollars as a decimal number in quotes with at most 9 decimals, such as \"0.25\"",
                    );
                };
                picos.push((unit, amount));
            }
        }
        if picos.is_empty() {
            return error("input", "at least one price must be given");
        }
        Ok(Self {
            provider: row.provider,
            model: row.model.to_ascii_lowercase(),
            context_window: row.context_window,
            max_output: row.max_output,
            picos,
        })
    }
}

/// Dollars for `per` units as pico-dollars per unit, rounded up.
fn picos_per_unit(dollars: &str, per: u64) -> Option<u64> {
    let nanos = dollars.parse::<till_core::money::Dollars>().ok()?.0;
    u64::try_from(nanos.checked_mul(1_000)?.div_ceil(per.into())).ok()
}

impl PriceRow {
    pub(super) fn to_model(&self) -> ModelPrice {
        let clause = match self.model.strip_suffix('*') {
            Some(start) => Clause::StartsWith(start.to_owned()),
            None => Clause::Is(self.model.clone()),
        };
        let figures = self
            .picos
            .iter()
            .map(|(unit, base)| (*unit, Figure { base: *base, tiers: Vec::new() }))
            .collect();
        ModelPrice {
            id: self.model.clone(),
            clause,
            context_window: self.context_window,
            max_output: self.max_output,
            prices: vec![Period { constraint: Constraint::default(), figures }],
            variants: Vec::new(),
            source: Source::Override,
        }
    }
}

impl PriceFile {
    /// The rows of a file in TOML's data model or JSON's.
    ///
    /// # Errors
    /// The field at fault and the rule.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Eight characters that differ for different rows (FNV-1a, folded).
    pub fn fingerprint(&self) -> String {
        let hash = format!("{:?}", self.prices).bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        format!("{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff))
    }
}
