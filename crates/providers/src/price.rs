//! What a provider charges, and what a usage costs.
//!
//! Prices are whole pico-dollars (10⁻¹² USD) per unit. The built-in table comes from public figures (see
//! `docs/prices.md`); configuration can add to it. A model that is in neither has no price, and nobody guesses one.

mod data;
mod matching;
mod overrides;
mod rates;
mod seen;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use till_core::id_map::IdMap;
use till_core::time::Timestamp;

pub use overrides::{AskedPrices, PriceFile, PriceMistake, PriceRow};
use rates::Figures;
pub use rates::Rates;

use crate::usage::{Unit, Units, Usage};
use data::Constraint;
use matching::Clause;
use seen::Seen;

/// What a price depends on besides provider and model, each as the provider itself writes it: `service_tier` is
/// `priority`, `speed` is `fast`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceContext {
    values: Vec<(&'static str, String)>,
}

/// Room for the values of most requests.
const VALUES_USUAL: usize = 2;

impl PriceContext {
    /// Sets a value, in place of one of the same name.
    pub fn set(&mut self, name: &'static str, value: impl Into<String>) {
        if self.values.is_empty() {
            self.values = Vec::with_capacity(VALUES_USUAL);
        }
        self.values.retain(|(known, _)| *known != name);
        self.values.push((name, value.into()));
    }

    /// A value.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// Takes over those values of another one that it has not.
    pub fn complete(&mut self, other: &Self) {
        for (name, value) in &other.values {
            if self.value(name).is_none() {
                self.values.push((name, value.clone()));
            }
        }
    }

    /// Whether it says anything.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

/// By names of the tables and of the operator's configuration: whoever asks for one can't add to it, so nobody can make names
/// fall together.
type NameMap<K, V> = IdMap<K, V>;

/// The prices of all models that are known.
#[derive(Debug)]
pub struct PriceTable {
    version: Arc<str>,
    /// The providers that have rows of configuration, with all their prices. Those of the others are read from the
    /// program when somebody asks.
    changed: NameMap<String, ProviderPrices>,
}

/// The prices of one provider.
#[derive(Clone, Debug, Default)]
struct ProviderPrices {
    /// The first whose clause holds counts. Behind its own are those of providers whose models it sells too.
    models: Vec<ModelPrice>,
    /// How many of them are its own.
    own: usize,
    /// Where an exact name is found without looking at every clause.
    exact: NameMap<String, usize>,
    /// Which ones other names were.
    seen: Seen,
}

/// What a model costs.
#[derive(Clone, Debug)]
pub struct ModelPrice {
    id: String,
    clause: Clause,
    context_window: Option<u64>,
    max_output: Option<u64>,
    /// The last one in force counts; the first one if none is.
    prices: Vec<Period>,
    variants: Vec<Variant>,
    /// The shortest audio that is billed, in milliseconds.
    audio_millis_min: u64,
    source: Source,
}

/// Where a price comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `genai-prices`.
    GenaiPrices,
    /// The table of `litellm`.
    Litellm,
    /// Configuration.
    Override,
}

impl Source {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GenaiPrices => "genai-prices",
            Self::Litellm => "litellm",
            Self::Override => "configuration",
        }
    }
}

/// Prices while a constraint holds.
#[derive(Clone, Debug)]
struct Period {
    constraint: Constraint,
    /// Parts before what contains them.
    figures: Vec<(Unit, Figure)>,
}

/// Prices that replace the plain ones for some requests.
#[derive(Clone, Debug)]
struct Variant {
    when: Vec<(String, String)>,
    period: Period,
}

/// Pico-dollars per unit; for lengths of time, which are counted in milliseconds, pico-dollars per hour. See
/// [`units_per_figure`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// The price up to the first threshold.
    pub base: u64,
    /// Thresholds in tokens of input, rising, and the price of *all* units above each.
    pub tiers: Vec<(u64, u64)>,
}

/// For how many units a figure is the price: an hour of milliseconds, otherwise one. The usual prices per hour are no
/// whole pico-dollars per millisecond.
pub fn units_per_figure(unit: Unit) -> u64 {
    match unit {
        Unit::AudioMillis | Unit::InputAudioMillis | Unit::OutputAudioMillis => 3_600_000,
        _ => 1,
    }
}

impl Figure {
    /// The price for a request with so many tokens of input.
    pub fn at(&self, input_tokens: u64) -> u64 {
        self.tiers
            .iter()
            .rev()
            .find(|(start, _)| input_tokens > *start)
            .map_or(self.base, |(_, price)| *price)
    }

    /// The dearest that a request with at most so many tokens of input can come to.
    pub fn dearest(&self, input_tokens_max: u64) -> u64 {
        let reachable = self.tiers.iter().filter(|(start, _)| input_tokens_max > *start);
        reachable.map(|(_, price)| *price).fold(self.base, u64::max)
    }
}

impl PriceTable {
    /// The table in the program.
    pub fn builtin() -> Self {
        Self { version: data::date().into(), changed: NameMap::default() }
    }

    /// The table with rows of configuration in front of its own. Each replaces all prices of a model, and of its bounds
    /// those that it names.
    pub fn with_overrides(mut self, file: &PriceFile) -> Self {
        if file.prices.is_empty() {
            return self;
        }
        for row in file.prices.iter().rev() {
            let mut model = row.to_model();
            if let Some(known) = self.find(&row.provider, &row.model) {
                // Another price does not change what the model can do.
                model.context_window = model.context_window.or(known.context_window);
                model.max_output = model.max_output.or(known.max_output);
            }
            let builtin = || data::provider(&row.provider).cloned().unwrap_or_default();
            let provider = self.changed.entry(row.provider.clone()).or_insert_with(builtin);
            provider.models.insert(0, model);
            provider.own += 1;
        }
        for provider in self.changed.values_mut() {
            provider.index();
        }
        self.version = format!("{}+{}", self.version, file.fingerprint()).into();
        self
    }

    /// Which prices these are: the date of the built-in ones, and a fingerprint of those added.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// What a model of a provider costs. The name is compared in any letter case.
    pub fn find(&self, provider: &str, model: &str) -> Option<&ModelPrice> {
        self.provider(provider)?.find(model)
    }

    /// Whether there is a price of any model of a provider.
    pub fn has_provider(&self, provider: &str) -> bool {
        self.changed.contains_key(provider) || data::ids().any(|id| id == provider)
    }

    /// The names of models of a provider that the table has in full, those of others that it sells too among them.
    pub fn names(&self, provider: &str) -> impl Iterator<Item = &str> {
        let models = self.provider(provider).map_or(&[][..], |provider| &provider.models[..]);
        models.iter().flat_map(|model| std::iter::once(model.id()).chain(model.clause.names()))
    }

    /// Every model with the id of its provider, in the order of the table within each provider. A model that a provider
    /// sells too stands only at its own.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ModelPrice)> {
        let mut ids: BTreeSet<&str> = data::ids().collect();
        ids.extend(self.changed.keys().map(String::as_str));
        ids.into_iter()
            .filter_map(|id| Some((id, self.provider(id)?)))
            .flat_map(|(id, provider)| provider.models[..provider.own].iter().map(move |model| (id, model)))
    }

    fn provider(&self, id: &str) -> Option<&ProviderPrices> {
        self.changed.get(id).or_else(|| data::provider(id))
    }
}

impl ProviderPrices {
    fn find(&self, model: &str) -> Option<&ModelPrice> {
        // Names in the table are in lower case, and so are most that are looked for.
        let place = match self.exact.get(model) {
            Some(place) => Some(*place),
            None if model.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                let model = &*model.to_ascii_lowercase();
                self.exact.get(model).copied().or_else(|| self.remembered(model))
            }
            None => self.remembered(model),
        };
        self.models.get(place?)
    }

    /// The place of a name that no model has exactly.
    fn remembered(&self, model: &str) -> Option<usize> {
        self.seen.place(model, || {
            self.search(model).or_else(|| {
                let dashed = matching::with_dashed_dates(model)?;
                self.exact.get(&dashed).copied().or_else(|| self.search(&dashed))
            })
        })
    }

    /// Looks at every clause.
    fn search(&self, model: &str) -> Option<usize> {
        self.models.iter().position(|candidate| candidate.clause.holds(model))
    }

    /// Finds the place of every name that a clause has in full. An earlier clause of another kind may hold for it
    /// too, and then counts.
    fn index(&mut self) {
        self.exact.clear();
        self.seen = Seen::default();
        let mut broad: Vec<usize> = Vec::new();
        for (index, model) in self.models.iter().enumerate() {
            for name in model.clause.names() {
                let earlier = broad.iter().copied().find(|index| self.models[*index].clause.holds(name));
                self.exact.entry(name.to_owned()).or_insert(earlier.unwrap_or(index));
            }
            if !model.clause.is_exact() {
                broad.push(index);
            }
        }
    }
}

impl ModelPrice {
    /// The name in the table.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How many tokens of input one pass of the model can take.
    pub fn context_window(&self) -> Option<u64> {
        self.context_window
    }

    /// How many tokens it can put out.
    pub fn max_output(&self) -> Option<u64> {
        self.max_output
    }

    /// Where the price comes from.
    pub fn source(&self) -> Source {
        self.source
    }

    /// The newest price of a unit, as it is listed: without tiers.
    pub fn listed(&self, unit: Unit) -> Option<u64> {
        let figures = &self.prices.last()?.figures;
        figures.iter().find(|(known, _)| *known == unit).map(|(_, figure)| figure.base)
    }

    /// Whether any of its prices is for this unit.
    pub fn has_figure(&self, unit: Unit) -> bool {
        let variants = self.variants.iter().map(|variant| &variant.period);
        let mut figures = self.prices.iter().chain(variants).flat_map(|period| &period.figures);
        figures.any(|(known, _)| *known == unit)
    }

    /// The prices for requests of this kind at this time.
    pub fn rates(&self, context: &PriceContext, at: Timestamp) -> Rates<'_> {
        let active = self.prices.iter().rev().find(|period| period.constraint.holds(at));
        let plain = active.or(self.prices.first()).map_or(&[][..], |period| &period.figures[..]);
        let mut figures = Figures::Plain(plain);
        if !context.is_empty() && self.variants.iter().any(|variant| variant.applies(context, at)) {
            let variants = self.variants.iter().filter(|variant| variant.applies(context, at));
            let mut mixed: Vec<_> = plain.iter().collect();
            let mut replaced = Units::default();
            for figure in variants.flat_map(|variant| &variant.period.figures) {
                if replaced.has(figure.0) {
                    continue;
                }
                replaced.add(figure.0);
                match mixed.iter_mut().find(|(known, _)| *known == figure.0) {
                    Some(known) => *known = figure,
                    None => mixed.push(figure),
                }
            }
            if mixed.len() > plain.len() {
                mixed.sort_by_key(parts_first);
            }
            figures = Figures::Mixed(mixed);
        }
        // "a 1.1x multiplier on all token pricing categories" for being served in the United States alone:
        // <https://platform.claude.com/docs/en/about-claude/pricing#data-residency-pricing>.
        let token_tenths = if context.value("inference_geo") == Some("us") { 11 } else { 10 };
        Rates::new(figures, self.audio_millis_min, token_tenths)
    }

    /// What a usage costs, in pico-dollars, at the dearer of two moments. For the other one is only asked where it matters.
    pub fn cost_picos(
        &self,
        context: &PriceContext,
        one: Timestamp,
        other: impl FnOnce() -> Timestamp,
        usage: &Usage,
    ) -> u128 {
        let at = |at| self.rates(context, at).cost_picos(usage);
        let timed = || {
            let periods = self.prices.iter().chain(self.variants.iter().map(|variant| &variant.period));
            periods.map(|period| &period.constraint).filter(|constraint| !constraint.is_always())
        };
        if timed().next().is_none() {
            return at(one);
        }
        let other = other();
        let is_alike = timed().all(|constraint| constraint.holds(one) == constraint.holds(other));
        if is_alike { at(one) } else { at(one).max(at(other)) }
    }

    /// The times of day at which there are prices of their own: from the first to before the second minute of the day,
    /// UTC; over midnight if the second is lower.
    pub fn hours(&self) -> impl Iterator<Item = (u64, u64)> {
        self.prices.iter().filter_map(|period| period.constraint.hours())
    }

    /// This moment, and those within a day from it at which other prices begin to hold: what is asked now may be billed
    /// then.
    pub fn moments(&self, at: Timestamp) -> impl Iterator<Item = Timestamp> {
        let variants = self.variants.iter().map(|variant| &variant.period);
        let periods = self.prices.iter().chain(variants);
        std::iter::once(at).chain(periods.flat_map(move |period| period.constraint.changes(at)))
    }

    /// The values of one name for which there are prices of their own, such as the service tiers.
    pub fn variants(&self, name: &str) -> impl Iterator<Item = &str> {
        let all = self.variants.iter().flat_map(|variant| &variant.when);
        all.filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Period {
    fn new(constraint: Constraint, mut figures: Vec<(Unit, Figure)>) -> Self {
        figures.sort_by_key(|figure| parts_first(&figure));
        Self { constraint, figures }
    }
}

/// By this the prices of parts come before those of what contains them.
fn parts_first((unit, _): &&(Unit, Figure)) -> std::cmp::Reverse<usize> {
    std::cmp::Reverse(unit.depth())
}

impl Variant {
    fn applies(&self, context: &PriceContext, at: Timestamp) -> bool {
        self.period.constraint.holds(at)
            && self.when.iter().all(|(name, value)| context.value(name) == Some(value.as_str()))
    }
}
