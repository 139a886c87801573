//! The prices that a server runs on: the rows of the configuration file, before those of `prices.toml` in the data
//! directory, before the built-in table.
//!
//! A file of prices is read to its end, so that all mistakes in it are reported together, each with its line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Map, Value};
use till_providers::Registry;
use till_providers::price::{PriceFile, PriceMistake, PriceTable};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::exit::Usage;
use crate::settings::Settings;

/// Name of the file in the data directory that `till prices update` writes.
const FILE_NAME: &str = "prices.toml";

/// The only key of a file of prices, and that of prices in the configuration file.
const PRICES: &str = "prices";

/// Where `till prices update` puts prices.
pub(crate) fn installed_path(data: &Path) -> PathBuf {
    data.join(FILE_NAME)
}

/// The prices in effect.
///
/// # Errors
/// The file in the data directory can't be read, or there are mistakes in it.
pub(crate) fn table(settings: &Settings) -> anyhow::Result<PriceTable> {
    Ok(PriceTable::builtin().with_overrides(&added(settings)?))
}

/// What was added to the built-in table: the first row that fits a model counts.
///
/// # Errors
/// The file in the data directory can't be read, or there are mistakes in it.
pub(crate) fn added(settings: &Settings) -> anyhow::Result<PriceFile> {
    let mut added = settings.prices.clone();
    let installed = installed_path(&settings.data);
    if installed.exists() {
        added.prices.extend(read(&installed, &settings.registry)?.0.prices);
    }
    for row in &mut added.prices {
        if let Some(provider) = settings.registry.get(&row.provider) {
            row.provider = provider.price_id().to_owned();
        }
    }
    Ok(added)
}

/// Reads a file of prices. Its text comes with it.
///
/// # Errors
/// It can't be read, or there are mistakes in it: all of them, each with line, key and rule.
pub(crate) fn read(path: &Path, registry: &Registry) -> anyhow::Result<(PriceFile, String)> {
    let text = std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
    match parse(&text, registry) {
        Ok(file) => Ok((file, text)),
        Err(mistakes) => {
            let count = mistakes.len();
            let mistakes = if count == 1 { "1 mistake".to_owned() } else { format!("{count} mistakes") }
                + &format!(" in {}:", path.display())
                + &mistakes
                    .iter()
                    .map(|(line, what)| format!("\n  {}:{line}: {what}", path.display()))
                    .collect::<String>();
            Err(Usage(mistakes).into())
        }
    }
}

/// Reads the text of a file of prices, or finds its mistakes: line and words.
fn parse(text: &str, registry: &Registry) -> Result<PriceFile, Vec<(usize, String)>> {
    let line = |offset: usize| text.get(..offset).unwrap_or_default().matches('\n').count() + 1;
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let error = |error: &toml::de::Error| {
            (line(error.span().map_or(0, |span| span.start)), format!("is not TOML: {}", error.message()))
        };
        return Err(errors.iter().map(error).collect());
    }
    let mut mistakes = Vec::new();
    let mut file = PriceFile::default();
    for (key, value) in table.get_ref() {
        let at = line(key.span().start);
        if key.get_ref() == PRICES {
            let rows = Rows::new(key, value);
            let found = match rows.read() {
                Ok(found) => {
                    let unknown = unknown_providers(&found, registry);
                    file = found;
                    unknown
                }
                Err(found) => found,
            };
            mistakes.extend(found.iter().map(|mistake| {
                let key = key_of(mistake);
                let subject = if key.is_empty() { "the row".to_owned() } else { format!("`{key}`") };
                (line(rows.offset(mistake)), format!("{subject} {}", mistake.rule))
            }));
        } else {
            mistakes.push((
                at,
                format!("`{}` is not a key of a file of prices, which has only `[[prices]]`", key.get_ref()),
            ));
        }
    }
    mistakes.sort();
    if mistakes.is_empty() { Ok(file) } else { Err(mistakes) }
}

/// A mistake for each row of a provider that nobody knows.
pub(crate) fn unknown_providers(file: &PriceFile, registry: &Registry) -> Vec<PriceMistake> {
    let unknown = |(number, row): (usize, &till_providers::price::PriceRow)| {
        registry.get(&row.provider).is_none().then(|| PriceMistake {
            path: vec![number.to_string(), "provider".to_owned()],
            rule: format!(
                "of `{}` is `{}`, which is no provider; `till providers list` shows them",
                row.model, row.provider
            ),
        })
    };
    file.prices.iter().enumerate().filter_map(unknown).collect()
}

/// The key of a mistake in its row; empty for the row itself.
pub(crate) fn key_of(mistake: &PriceMistake) -> String {
    mistake.path.get(1..).unwrap_or_default().join(".")
}

/// Rows as they stand in a file.
pub(crate) struct Rows {
    values: Value,
    /// Where in the text each value is.
    offsets: BTreeMap<Vec<String>, usize>,
}

impl Rows {
    /// The value of the key `prices`.
    pub(crate) fn new(key: &Spanned<impl AsRef<str>>, rows: &Spanned<DeValue<'_>>) -> Self {
        let mut offsets = BTreeMap::new();
        offsets.insert(Vec::new(), key.span().start);
        let values = plain(rows.get_ref(), &mut Vec::new(), &mut offsets);
        Self { values, offsets }
    }

    /// What they say.
    ///
    /// # Errors
    /// Every mistake in them.
    pub(crate) fn read(&self) -> Result<PriceFile, Vec<PriceMistake>> {
        PriceFile::read(&self.values)
    }

    /// Where in the text a mistake is; for something that is missing, where it should be.
    pub(crate) fn offset(&self, mistake: &PriceMistake) -> usize {
        let mut path = mistake.path.as_slice();
        loop {
            if let Some(offset) = self.offsets.get(path) {
                return *offset;
            }
            match path.split_last() {
                Some((_, rest)) => path = rest,
                None => return 0,
            }
        }
    }
}

/// A value without its places, which go to `offsets`. Fractions and dates, of which prices have none, become nothing.
fn plain(value: &DeValue<'_>, path: &mut Vec<String>, offsets: &mut BTreeMap<Vec<String>, usize>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.clone().into_owned()),
        DeValue::Boolean(on) => Value::Bool(*on),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(Value::Null, Value::from)
        }
        DeValue::Array(items) => {
            let mut values = Vec::new();
            for (number, item) in items.iter().enumerate() {
                path.push(number.to_string());
                offsets.insert(path.clone(), item.span().start);
                values.push(plain(item.get_ref(), path, offsets));
                path.pop();
            }
            Value::Array(values)
        }
        DeValue::Table(table) => {
            let mut members = Map::new();
            for (key, member) in table {
                path.push(key.get_ref().as_ref().to_owned());
                offsets.insert(path.clone(), key.span().start);
                members.insert(key.get_ref().as_ref().to_owned(), plain(member.get_ref(), path, offsets));
                path.pop();
            }
            Value::Object(members)
        }
        DeValue::Float(_) | DeValue::Datetime(_) => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use till_providers::Registry;

    use super::parse;

    #[test]
    fn every_mistake_has_its_line() {
        let text = r#"
[[prices]]
provider = "openai"
modle = "x"
input = 2.5

[[prices]]
provider = "opnai"
model = "y"
max_output = -1
input = "1"
[prices.above.2k]
input = "1"

[price]
"#;
        let mistakes = parse(text, &Registry::builtin()).expect_err("bad");
        let mistakes: Vec<String> = mistakes.iter().map(|(line, what)| format!("{line}: {what}")).collect();
        let expected = [
            "2: `model` is missing; it must be the name of a model, with at most one `*`, at its end",
            "4: `modle` is not a key here; see docs/prices.md for the keys",
            "5: `input` must be dollars as a decimal number in quotes, with at most 9 decimals, such as \"0.25\"",
            "10: `max_output` must be a whole number of tokens, at least 1",
            "12: `above.2k` must be a number of tokens of input, such as 200000",
            "15: `price` is not a key of a file of prices, which has only `[[prices]]`",
        ];
        assert_eq!(mistakes, expected);
    }

    #[test]
    fn a_provider_must_be_known() {
        let row =
            |provider: &str| format!("[[prices]]\nprovider = \"{provider}\"\nmodel = \"m\"\ninput = \"1\"\n");
        let mistakes = parse(&row("opnai"), &Registry::builtin()).expect_err("bad");
        assert_eq!(mistakes[0].0, 2);
        assert!(
            mistakes[0].1.starts_with("`provider` of `m` is `opnai`, which is no provider"),
            "{mistakes:?}"
        );
        assert_eq!(parse(&row("gemini"), &Registry::builtin()).expect("an alias").prices.len(), 1);
        assert_eq!(parse("", &Registry::builtin()), Ok(till_providers::price::PriceFile::default()));
        let mistakes = parse("\n[[prices]", &Registry::builtin()).expect_err("no TOML");
        assert!(mistakes[0].0 == 2 && mistakes[0].1.starts_with("is not TOML: "), "{mistakes:?}");
        let mistakes = parse("prices = 5", &Registry::builtin()).expect_err("no list");
        assert!(mistakes[0].1.starts_with("the row must be a list"), "{mistakes:?}");
    }
}
