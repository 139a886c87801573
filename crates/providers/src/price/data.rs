//! The built-in table: `data/prices.json`, written by `scripts/update_prices.py`.
//!
//! Most instances need the prices of one or two of its providers, so each is read when somebody asks for it first: about a
//! millisecond for 50 models. Until then the table is a part of the program that is not even loaded. Where a provider begins
//! is told from the lines of the file: each provider and each model begins one.

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

use serde::Deserialize;
use till_core::time::Timestamp;

use super::matching::{Clause, Written};
use super::{Figure, ModelPrice, NameMap, Period, ProviderPrices, Source, Variant};
use crate::usage::Unit;

static FILE: &str = include_str!("../../data/prices.json");

const SOUND: &str = "the built-in price table is sound";

static PROVIDERS: LazyLock<NameMap<&str, Entry>> = LazyLock::new(|| entries().collect());

/// A provider of the table.
struct Entry {
    /// The table from where the provider begins.
    text: &'static str,
    prices: OnceLock<ProviderPrices>,
}

#[derive(Deserialize)]
struct Provider {
    fallback: Vec<String>,
    models: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
    #[serde(rename = "match")]
    clause: Written,
    window: Option<u64>,
    output: Option<u64>,
    prices: Vec<Price>,
    #[serde(default)]
    variants: Vec<PriceVariant>,
    /// The shortest audio that is billed.
    #[serde(default)]
    audio_millis_min: u64,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Price {
    #[serde(flatten)]
    constraint: Constraint,
    per_unit: BTreeMap<String, Amount>,
}

#[derive(Deserialize)]
struct PriceVariant {
    when: BTreeMap<String, String>,
    #[serde(flatten)]
    price: Price,
}

/// When a price is in force; always if it says nothing.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(super) struct Constraint {
    /// From this day on: days since 1970-01-01, UTC.
    from: Option<u64>,
    /// From the first to before the second minute of the day, UTC; over midnight if the second is lower.
    hours: Option<(u64, u64)>,
}

impl Constraint {
    pub(super) fn hours(&self) -> Option<(u64, u64)> {
        self.hours
    }

    /// Whether it is none.
    pub(super) fn is_always(&self) -> bool {
        self.from.is_none() && self.hours.is_none()
    }

    pub(super) fn holds(&self, at: Timestamp) -> bool {
        let minute = at.minute();
        let (day, minute) = (minute / 1440, minute % 1440);
        let in_hours = self.hours.is_none_or(|(start, end)| {
            if end < start { minute >= start || minute < end } else { (start..end).contains(&minute) }
        });
        in_hours && self.from.is_none_or(|from| day >= from)
    }
}

impl Constraint {
    /// The moments within a day from this one at which it may begin or end to hold.
    pub(super) fn changes(&self, at: Timestamp) -> impl Iterator<Item = Timestamp> {
        const DAY: u64 = 1440;
        let now = at.minute();
        let hours = self.hours.into_iter().flat_map(|(start, end)| [start, end]);
        let next = move |minute: u64| now - now % DAY + minute + if minute > now % DAY { 0 } else { DAY };
        let day = self.from.map(|from| from * DAY).filter(move |from| (now..now + DAY).contains(from));
        hours.map(next).chain(day).map(|minute| Timestamp(minute * 60_000))
    }
}

/// A price, or the price and its thresholds.
#[derive(Deserialize)]
#[serde(untagged)]
enum Amount {
    Flat(u64),
    Tiered(Vec<Step>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Step {
    Base(u64),
    Above((u64, u64)),
}

/// The day of the table.
pub(super) fn date() -> &'static str {
    let rest = FILE.strip_prefix(r#"{"date": ""#).expect(SOUND);
    rest.split_once('"').expect(SOUND).0
}

/// The providers in the table, in any order.
pub(super) fn ids() -> impl Iterator<Item = &'static str> {
    PROVIDERS.keys().copied()
}

/// What a provider charges.
pub(super) fn provider(id: &str) -> Option<&'static ProviderPrices> {
    let entry = PROVIDERS.get(id)?;
    Some(entry.prices.get_or_init(|| entry.read()))
}

fn entries() -> impl Iterator<Item = (&'static str, Entry)> {
    const BEGIN: &str = "\n{\"id\":\"";
    FILE.match_indices(BEGIN).filter_map(|(at, _)| {
        let (id, rest) = FILE[at + BEGIN.len()..].split_once('"')?;
        let is_provider = rest.starts_with(",\"fallback\":");
        is_provider.then(|| (id, Entry { text: &FILE[at..], prices: OnceLock::new() }))
    })
}

impl Entry {
    fn provider(&self) -> Provider {
        // What follows the provider in the text is not looked at.
        Provider::deserialize(&mut serde_json::Deserializer::from_str(self.text)).expect(SOUND)
    }

    fn read(&self) -> ProviderPrices {
        let provider = self.provider();
        let mut models: Vec<ModelPrice> = provider.models.into_iter().map(model).collect();
        let own = models.len();
        for other in provider.fallback.iter().filter_map(|other| PROVIDERS.get(other.as_str())) {
            // Nobody says that the one who sells it too has the same tiers.
            let others =
                other.provider().models.into_iter().map(|other| Model { variants: Vec::new(), ..other });
            models.extend(others.map(model));
        }
        models.shrink_to_fit();
        let mut prices = ProviderPrices { models, own, ..ProviderPrices::default() };
        prices.index();
        prices
    }
}

fn model(model: Model) -> ModelPrice {
    let variants = model
        .variants
        .into_iter()
        .map(|variant| Variant { when: variant.when.into_iter().collect(), period: period(variant.price) });
    ModelPrice {
        id: model.id,
        clause: Clause::read(model.clause),
        context_window: model.window,
        max_output: model.output,
        prices: small(model.prices.into_iter().map(period)),
        variants: small(variants),
        audio_millis_min: model.audio_millis_min,
        source: if model.source.is_some() { Source::Litellm } else { Source::GenaiPrices },
    }
}

fn period(price: Price) -> Period {
    let figure = |(unit, amount): (String, Amount)| {
        let unit = Unit::from_name(&unit).expect(SOUND);
        (unit, amount.figure())
    };
    Period::new(price.constraint, small(price.per_unit.into_iter().map(figure)))
}

/// A list that takes no more memory than what is in it. Collecting may keep what the list took that it is made of.
fn small<T>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut list: Vec<T> = items.collect();
    list.shrink_to_fit();
    list
}

impl Amount {
    fn figure(self) -> Figure {
        match self {
            Self::Flat(base) => Figure { base, tiers: Vec::new() },
            Self::Tiered(steps) => {
                let mut figure = Figure { base: 0, tiers: Vec::new() };
                for step in steps {
                    match step {
                        Step::Base(base) => figure.base = base,
                        Step::Above(tier) => figure.tiers.push(tier),
                    }
                }
                figure
            }
        }
    }
}
