//! Prices from configuration: for models that the built-in table does not have, or at other terms.
//!
//! A row is read out of a tree of values, so that every mistake in it is found at once and has a place; whoever read
//! the file knows the line of each place.

use serde_json::{Map, Value};
use till_core::money::Dollars;

use super::data::Constraint;
use super::matching::Clause;
use super::{Figure, ModelPrice, Period, Source, Variant, units_per_figure};
use crate::usage::Unit;

/// Rows of prices, as a file or the configuration has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceFile {
    /// The rows; the first one that fits a model counts.
    pub prices: Vec<PriceRow>,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceRow {
    /// Id of the provider.
    pub provider: String,
    /// Name of the model, in lower case; with a `*` at its end every name that begins so.
    pub model: String,
    /// How many tokens of input one pass of the model can take.
    pub context_window: Option<u64>,
    /// How many tokens it can put out.
    pub max_output: Option<u64>,
    /// The plain prices.
    pub figures: Vec<(Unit, Figure)>,
    /// Prices that replace them.
    pub asked: Vec<AskedPrices>,
}

/// Prices of requests that ask for something, such as the `service_tier` `priority`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedPrices {
    /// What can be asked for.
    pub name: String,
    /// What is.
    pub value: String,
    /// The prices that differ from the plain ones.
    pub figures: Vec<(Unit, Figure)>,
}

/// A rule that a row breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {rule}", self.path.join("."))]
pub struct PriceMistake {
    /// Where: the number of the row from 0, then keys.
    pub path: Vec<String>,
    /// What it must be.
    pub rule: String,
}

/// The key of a price, its unit, and for how many of what that unit counts it is.
const PRICES: [(&str, Unit, u64); 16] = [
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
    ("audio_hours", Unit::AudioMillis, 3_600_000),
    ("images", Unit::OutputImages, 1_000),
    ("searches", Unit::RerankSearches, 1_000),
    ("web_searches", Unit::WebSearches, 1_000),
    ("storage_searches", Unit::StorageSearches, 1_000),
    ("requests", Unit::Requests, 1_000),
];

/// Keys under which there are prices for requests that ask for something, by what they ask for.
const ASKED: [&str; 2] = ["service_tier", "speed"];

const DOLLARS_RULE: &str =
    "must be dollars as a decimal number in quotes, with at most 9 decimals, such as \"0.25\"";
const BOUND_RULE: &str = "must be a whole number of tokens, at least 1";

impl PriceFile {
    /// The keys that a row may have.
    pub fn keys() -> impl Iterator<Item = &'static str> {
        let others = ["provider", "model", "context_window", "max_output", "above"];
        others.into_iter().chain(ASKED).chain(PRICES.map(|(key, ..)| key))
    }

    /// Reads a list of rows.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn read(rows: &Value) -> Result<Self, Vec<PriceMistake>> {
        let mut reader = Reader::default();
        let mut prices = Vec::new();
        match rows {
            Value::Array(rows) => {
                for (number, row) in rows.iter().enumerate() {
                    prices.extend(reader.within(&number.to_string(), |reader| reader.row(row)));
                }
            }
            _ => reader.wrong("must be a list of tables; write `[[prices]]` above each row"),
        }
        if reader.mistakes.is_empty() { Ok(Self { prices }) } else { Err(reader.mistakes) }
    }

    /// Eight characters that differ for different rows (FNV-1a, folded).
    pub fn fingerprint(&self) -> String {
        let hash = format!("{:?}", self.prices).bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        });
        format!("{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff))
    }
}

/// Where it is, and what was wrong so far.
#[derive(Default)]
struct Reader {
    path: Vec<String>,
    mistakes: Vec<PriceMistake>,
}

impl Reader {
    fn wrong(&mut self, rule: &str) {
        self.mistakes.push(PriceMistake { path: self.path.clone(), rule: rule.to_owned() });
    }

    fn within<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(key.to_owned());
        let result = read(self);
        self.path.pop();
        result
    }

    fn table<'v>(&mut self, value: &'v Value, rule: &str) -> Option<&'v Map<String, Value>> {
        if !value.is_object() {
            self.wrong(rule);
        }
        value.as_object()
    }

    fn row(&mut self, row: &Value) -> Option<PriceRow> {
        let row = self.table(row, "must be a table; write `[[prices]]` above each row")?;
        self.refuse_unknown(row, |key| PriceFile::keys().any(|known| known == key));
        let provider =
            self.text(row, "provider", "must be the id of a provider, such as \"openai\"", |text| {
                !text.is_empty() && !text.bytes().any(|byte| byte.is_ascii_uppercase())
            });
        let rule = "must be the name of a model, with at most one `*`, at its end";
        let model = self.text(row, "model", rule, |text| {
            !text.is_empty() && !text.strip_suffix('*').unwrap_or(text).contains('*')
        });
        let context_window = self.bound(row, "context_window");
        let max_output = self.bound(row, "max_output");
        let figures = self.figures(row);
        if !row.keys().any(|key| is_price(key)) {
            self.wrong("has no price; give at least one, such as `input = \"0.25\"`");
        }
        let mut asked = Vec::new();
        for name in ASKED {
            let Some(values) = row.get(name) else { continue };
            self.within(name, |reader| reader.asked(name, values, &mut asked));
        }
        Some(PriceRow {
            provider: provider?,
            model: model?.to_ascii_lowercase(),
            context_window,
            max_output,
            figures,
            asked,
        })
    }

    fn refuse_unknown(&mut self, table: &Map<String, Value>, is_known: impl Fn(&str) -> bool) {
        for key in table.keys().filter(|key| !is_known(key)) {
            self.within(key, |reader| reader.wrong("is not a key here; see docs/prices.md for the keys"));
        }
    }

    fn text(
        &mut self,
        row: &Map<String, Value>,
        key: &str,
        rule: &str,
        is_good: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let good = row.get(key).and_then(Value::as_str).filter(|text| is_good(text));
        if good.is_none() {
            let rule = if row.contains_key(key) { rule.to_owned() } else { format!("is missing; it {rule}") };
            self.within(key, |reader| reader.wrong(&rule));
        }
        good.map(str::to_owned)
    }

    fn bound(&mut self, row: &Map<String, Value>, key: &str) -> Option<u64> {
        let value = row.get(key)?;
        let bound = value.as_u64().filter(|bound| *bound > 0);
        if bound.is_none() {
            self.within(key, |reader| reader.wrong(BOUND_RULE));
        }
        bound
    }

    /// The prices of a table, and in its table `above` those beyond a number of tokens of input.
    fn figures(&mut self, table: &Map<String, Value>) -> Vec<(Unit, Figure)> {
        let mut figures = Vec::new();
        for (unit, base) in self.amounts(table) {
            figures.push((unit, Figure { base, tiers: Vec::new() }));
        }
        if let Some(above) = table.get("above") {
            self.within("above", |reader| reader.tiers(table, above, &mut figures));
        }
        figures
    }

    fn tiers(&mut self, table: &Map<String, Value>, above: &Value, figures: &mut [(Unit, Figure)]) {
        let rule = "must have tables, such as `[prices.above.200000]`";
        let Some(above) = self.table(above, rule) else { return };
        let mut steps = Vec::new();
        for (key, prices) in above {
            self.within(key, |reader| {
                let start = key.parse::<u64>().ok().filter(|start| *start > 0 && start.to_string() == *key);
                let Some(start) = start else {
                    return reader.wrong("must be a number of tokens of input, such as 200000");
                };
                let Some(prices) = reader.table(prices, "must be a table of prices") else { return };
                reader.refuse_unknown(prices, is_price);
                for key in prices.keys().filter(|key| is_price(key) && !table.contains_key(*key)) {
                    reader.within(key, |reader| reader.wrong("has no price below this many tokens"));
                }
                steps.push((start, reader.amounts(prices)));
            });
        }
        steps.sort_unstable_by_key(|(start, _)| *start);
        for (unit, figure) in figures {
            let tiers = steps.iter().filter_map(|(start, amounts)| {
                let (_, amount) = amounts.iter().find(|(known, _)| known == unit)?;
                Some((*start, *amount))
            });
            figure.tiers = tiers.collect();
        }
    }

    fn asked(&mut self, name: &str, values: &Value, asked: &mut Vec<AskedPrices>) {
        let rule = format!("must have tables, such as `[prices.{name}.priority]`");
        let Some(values) = self.table(values, &rule) else { return };
        for (value, prices) in values {
            self.within(value, |reader| {
                let Some(prices) = reader.table(prices, "must be a table of prices") else { return };
                reader.refuse_unknown(prices, |key| is_price(key) || key == "above");
                let figures = reader.figures(prices);
                asked.push(AskedPrices { name: name.to_owned(), value: value.clone(), figures });
            });
        }
    }

    fn amounts(&mut self, table: &Map<String, Value>) -> Vec<(Unit, u64)> {
        let mut amounts = Vec::new();
        for (key, unit, per) in PRICES {
            let Some(value) = table.get(key) else { continue };
            match value.as_str().and_then(|text| picos(text, unit, per)) {
                Some(amount) => amounts.push((unit, amount)),
                None => self.within(key, |reader| reader.wrong(DOLLARS_RULE)),
            }
        }
        amounts
    }
}

fn is_price(key: &str) -> bool {
    PRICES.iter().any(|(known, ..)| *known == key)
}

/// Dollars for so many of a unit as the pico-dollars of a [`Figure`], rounded up.
fn picos(dollars: &str, unit: Unit, per: u64) -> Option<u64> {
    let nanos = dollars.parse::<Dollars>().ok()?.0;
    let per = u128::from(per / units_per_figure(unit));
    u64::try_from(nanos.checked_mul(1_000)?.div_ceil(per)).ok()
}

impl PriceRow {
    pub(super) fn to_model(&self) -> ModelPrice {
        let clause = match self.model.strip_suffix('*') {
            Some(start) => Clause::StartsWith(start.to_owned()),
            None => Clause::Is(self.model.clone()),
        };
        let period = |figures: &Vec<(Unit, Figure)>| Period::new(Constraint::default(), figures.clone());
        let variants = self.asked.iter().map(|AskedPrices { name, value, figures }| Variant {
            when: vec![(name.clone(), value.clone())],
            period: period(figures),
        });
        ModelPrice {
            id: self.model.clone(),
            clause,
            context_window: self.context_window,
            max_output: self.max_output,
            prices: vec![period(&self.figures)],
            variants: variants.collect(),
            audio_millis_min: 0,
            source: Source::Override,
        }
    }
}
