//! The configuration file: TOML whose keys are the settings, tables `[providers.NAME]`, `[[prices]]` and `[[neutral]]`.

use std::path::Path;

use till_providers::price::PriceFile;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::custom_provider::{self, WrittenProvider};
use super::neutral::{self, WrittenNeutral};
use super::written::{Entries, Entry};
use super::{Mistake, Source, TABLE};
use crate::prices::{self, Rows};

/// The keys of the file that are no settings.
const PROVIDERS: &str = "providers";
const PRICES: &str = "prices";
const NEUTRAL: &str = "neutral";

/// What a configuration file says.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) entries: Entries,
    pub(super) custom_providers: Vec<WrittenProvider>,
    pub(super) prices: PriceFile,
    pub(super) neutral: Vec<WrittenNeutral>,
    pub(super) mistakes: Vec<Mistake>,
}

/// Reads the text of a configuration file and collects every mistake in it.
pub(super) fn read(text: &str, path: &Path) -> Contents {
    let reader = Reader { text, path };
    let mut contents = Contents::default();
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let start = error.span().map_or(0, |span| span.start);
        contents.mistakes.push(Mistake::new(
            "config",
            &reader.source(start),
            &format!("is not TOML: {}", error.message()),
        ));
    }
    if !contents.mistakes.is_empty() {
        // What a broken file seems to say is guesswork; one clear report is better than made-up ones.
        return contents;
    }
    for (key, value) in table.get_ref() {
        reader.read_key(&mut contents, key, value);
    }
    contents
}

/// Knows the text, so that a byte offset becomes a line.
pub(super) struct Reader<'a> {
    text: &'a str,
    path: &'a Path,
}

impl Reader<'_> {
    /// The place of a byte of the file.
    pub(super) fn source(&self, offset: usize) -> Source {
        let before = self.text.as_bytes().get(..offset).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Source::File { path: self.path.to_owned(), line }
    }

    fn read_key(
        &self,
        contents: &mut Contents,
        key: &Spanned<impl AsRef<str>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let name = key.get_ref().as_ref();
        let source = self.source(key.span().start);
        if name == PROVIDERS {
            custom_provider::read_all(self, contents, &source, value.get_ref());
            return;
        }
        if name == PRICES {
            self.read_prices(contents, &Rows::new(key, value));
            return;
        }
        if name == NEUTRAL {
            neutral::read_all(self, contents, &source, value.get_ref());
            return;
        }
        let Some(setting) =
            TABLE.iter().find(|setting| setting.kind.is_in_file() && setting.toml_key() == name)
        else {
            contents.mistakes.push(Mistake::new(name, &source, unknown_key_rule(name).as_str()));
            return;
        };
        let texts: Option<Vec<String>> = match value.get_ref() {
            DeValue::Array(items) if setting.kind.is_list() => {
                items.iter().map(|item| scalar(item.get_ref())).collect()
            }
            value => scalar(value).map(|text| vec![text]),
        };
        match texts {
            Some(texts) => {
                let entry = |text| Entry { text, source: source.clone() };
                contents.entries.insert(setting.name, texts.into_iter().map(entry).collect());
            }
            None => {
                let rule = format!("has the wrong type; expected {}", setting.kind.rule());
                contents.mistakes.push(Mistake::new(setting.name, &source, &rule));
            }
        }
    }
}

impl Reader<'_> {
    fn read_prices(&self, contents: &mut Contents, rows: &Rows) {
        match rows.read() {
            Ok(prices) => contents.prices = prices,
            Err(mistakes) => contents.mistakes.extend(mistakes.iter().map(|mistake| {
                let name = format!("{PRICES} {}", prices::key_of(mistake));
                Mistake::new(name.trim_end(), &self.source(rows.offset(mistake)), &mistake.rule)
            })),
        }
    }
}

/// The text of a value that a flag could have had, or `None` for tables, lists and times.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Boolean(on) => Some(if *on { "on" } else { "off" }.to_owned()),
        _ => None,
    }
}

fn unknown_key_rule(name: &str) -> String {
    let with_underscores = name.replace('-', "_");
    if with_underscores != name && TABLE.iter().any(|setting| setting.toml_key() == with_underscores) {
        return format!("is not a setting; write `{with_underscores}`");
    }
    "is not a setting; see docs/configuration.md for the names".to_owned()
}
