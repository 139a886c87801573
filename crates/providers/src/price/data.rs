//! The built-in table: `data/prices.json`, written by `scripts/update_prices.py`.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use till_core::time::Timestamp;

use super::matching::{Clause, Written};
use super::{Figure, ModelPrice, Period, PriceTable, ProviderPrices, Source, Variant};
use crate::usage::Unit;

static FILE: &str = include_str!("../../data/prices.json");

#[derive(Deserialize)]
struct Table {
    date: String,
    providers: Vec<Provider>,
}

#[derive(Deserialize)]
struct Provider {
    id: String,
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

pub(super) fn builtin() -> PriceTable {
    let table: Table = serde_json::from_str(FILE).expect("the built-in price table is sound");
    let mut fallbacks = Vec::new();
    let mut providers: HashMap<String, ProviderPrices> = HashMap::new();
    for provider in table.providers {
        let models: Vec<ModelPrice> = provider.models.into_iter().map(model).collect();
        fallbacks.push((provider.id.clone(), provider.fallback));
        providers.insert(provider.id, ProviderPrices { own: models.len(), models, exact: HashMap::new() });
    }
    for (id, others) in fallbacks {
        let borrowed: Vec<ModelPrice> =
            others.iter().filter_map(|other| providers.get(other)).flat_map(borrow).collect();
        let provider = providers.get_mut(&id).expect("it was put in above");
        provider.models.extend(borrowed);
        provider.index();
    }
    PriceTable { version: table.date.into(), providers }
}

/// The models of a provider as another one sells them: nobody says that it has the same tiers.
fn borrow(provider: &ProviderPrices) -> impl Iterator<Item = ModelPrice> {
    let own = &provider.models[..provider.own];
    own.iter().map(|model| ModelPrice { variants: Vec::new(), ..model.clone() })
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
        prices: model.prices.into_iter().map(period).collect(),
        variants: variants.collect(),
        audio_millis_min: model.audio_millis_min,
        source: if model.source.is_some() { Source::Litellm } else { Source::GenaiPrices },
    }
}

fn period(price: Price) -> Period {
    let figure = |(unit, amount): (String, Amount)| {
        let unit = Unit::from_name(&unit).expect("the built-in price table has known units");
        (unit, amount.figure())
    };
    Period { constraint: price.constraint, figures: price.per_unit.into_iter().map(figure).collect() }
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
