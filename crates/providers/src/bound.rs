//! The dearest that a request can come to, as a demand on the ledger.

use till_core::demand::Demand;
use till_core::time::Timestamp;

use crate::price::{ModelPrice, Rates};
use crate::request::{CacheWrite, OutputCap, Refused, RequestFacts};
use crate::usage::Unit;

/// The lowest cap with which an answer is of any use: the least that OpenAI's Responses API accepts.
const STEPS_MIN: u64 = 16;

/// The cap of a request that names none, for a model whose maximum is not known. Every model can put out so much.
const STEPS_DEFAULT: u64 = 4_096;

/// Parts of the input that may have prices of their own, also where they go into a cache and come out of one.
const PARTS: [(Unit, Unit, Unit); 3] = [
    (Unit::InputAudioTokens, Unit::CacheAudioWriteTokens, Unit::CacheAudioReadTokens),
    (Unit::InputImageTokens, Unit::CacheImageWriteTokens, Unit::CacheImageReadTokens),
    (Unit::InputVideoTokens, Unit::InputVideoTokens, Unit::CacheVideoReadTokens),
];

/// Why a request has no bound.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoundError {
    /// There is no price for what it asks for.
    #[error(
        "This scoped key has a limit in money, and {what} has no price here, so what it costs can't be bounded. Whoever \
         runs this till instance can add one (`till prices --help`), or mint a key with a limit in tokens instead."
    )]
    Unpriced {
        /// The model, or a unit of it.
        what: String,
    },
    /// It can't be bounded for another reason.
    #[error(transparent)]
    Refused(Refused),
}

/// What to ask the ledger for. `needs_price` says whether there is a limit in money; `clamp`, whether the output cap
/// may be lowered.
///
/// # Errors
/// See [`BoundError`].
pub fn demand(
    facts: &RequestFacts,
    price: Option<&ModelPrice>,
    needs_price: bool,
    at: Timestamp,
    clamp: bool,
) -> Result<Demand, BoundError> {
    if let Some(refused) = facts.unbounded_spend.as_ref().filter(|_| needs_price) {
        return Err(BoundError::Refused(refused.clone()));
    }
    let tokens_fixed = facts.input.tokens();
    let (picos_fixed, picos_each) = match price {
        None if needs_price => {
            let model = facts.model.as_deref().map(|model| format!("model {model:?}"));
            return Err(BoundError::Unpriced { what: model.unwrap_or_else(|| facts.endpoint.to_owned()) });
        }
        None => (0, 0),
        Some(price) => match dearest(facts, price, at) {
            Ok(picos) => picos,
            Err(unit) if needs_price => {
                let model = facts.model.as_deref().unwrap_or(facts.endpoint);
                return Err(BoundError::Unpriced { what: format!("{} of model {model:?}", unit.as_str()) });
            }
            Err(_) => (0, 0),
        },
    };
    let mut demand = Demand {
        activations: 1,
        tokens_fixed,
        picos_fixed,
        tokens_per_step: 0,
        picos_per_step: 0,
        steps_wanted: 0,
        steps_min: 0,
    };
    if let Some(output) = &facts.output {
        demand.tokens_per_step = output.outputs;
        demand.picos_per_step = u128::from(picos_each).saturating_mul(output.outputs.into());
        let wanted = output.requested.or(output.default).unwrap_or(STEPS_DEFAULT).max(1);
        // More than the model can put out is never used.
        let wanted = output.default.map_or(wanted, |most| wanted.min(most));
        // A client that asks for less than the lowest cap knows better: it is never raised above what it asks for.
        let asks_for_less = output.requested.is_some_and(|requested| requested < output.min);
        demand.steps_wanted = if asks_for_less { wanted } else { wanted.max(output.min) };
        demand.steps_min =
            if clamp { output.min.max(STEPS_MIN).min(demand.steps_wanted) } else { demand.steps_wanted };
    }
    Ok(demand)
}

/// What everything but the capped output, and a token of that output, can cost, whenever within a day it is billed.
fn dearest(facts: &RequestFacts, price: &ModelPrice, at: Timestamp) -> Result<(u128, u64), Unit> {
    let mut most = (0, 0);
    let contexts = || std::iter::once(&facts.context).chain(&facts.other_contexts);
    for (at, context) in price.moments(at).flat_map(|at| contexts().map(move |context| (at, context))) {
        let rates = price.rates(context, at);
        most.0 = most.0.max(fixed_picos(facts, &rates)?);
        if let Some(output) = &facts.output {
            most.1 = most.1.max(output_picos(facts, output, &rates)?);
        }
    }
    Ok(most)
}

/// What everything but the capped output can cost; the unit that has no price otherwise.
fn fixed_picos(facts: &RequestFacts, rates: &Rates<'_>) -> Result<u128, Unit> {
    let input = facts.input.count(Unit::InputTokens);
    let mut picos = u128::from(rates.figure(Unit::Requests).map_or(0, |figure| figure.dearest(input)));
    let text = rates.dearest(input, |unit| is_text_input(unit, facts.cache_write));
    let mut kinds = Vec::new();
    for (part, write, read) in PARTS {
        let count = facts.input.count(part);
        if count > 0 {
            let own = rates.dearest(input, |unit| unit == part || unit == write || unit == read);
            kinds.push((own.max(text).ok_or(part)?, count));
        }
    }
    // It costs the most when as much of it as can be is of the dearest kind.
    kinds.sort_unstable_by_key(|(each, _)| std::cmp::Reverse(*each));
    let mut rest = input;
    for (each, count) in kinds {
        let count = count.min(rest);
        rest -= count;
        picos = picos.saturating_add(u128::from(each) * u128::from(count));
    }
    if rest > 0 {
        picos = picos.saturating_add(u128::from(text.ok_or(Unit::InputTokens)?) * u128::from(rest));
    }
    let fixed_output = facts.input.count(Unit::OutputTokens);
    if fixed_output > 0 {
        let each = rates.dearest(input, Unit::is_output_token).ok_or(Unit::OutputTokens)?;
        picos = picos.saturating_add(u128::from(each) * u128::from(fixed_output));
    }
    for (unit, count) in facts.input.iter() {
        if count == 0 || unit.is_input_token() || unit.is_output_token() {
            continue;
        }
        let each = rates.dearest(input, |priced| priced == unit || priced.contains(unit)).ok_or(unit)?;
        picos = picos.saturating_add(u128::from(each) * u128::from(count));
    }
    Ok(picos)
}

/// Whether text of the input may be billed in this unit.
fn is_text_input(unit: Unit, cache_write: CacheWrite) -> bool {
    match unit {
        Unit::CacheWriteTokens | Unit::CacheWrite5mTokens => cache_write != CacheWrite::None,
        Unit::CacheWrite1hTokens => cache_write == CacheWrite::OneHour,
        Unit::InputTokens
        | Unit::InputTextTokens
        | Unit::CacheReadTokens
        | Unit::CacheTextReadTokens
        | Unit::InputToolTokens
        | Unit::InputTextToolTokens => true,
        _ => false,
    }
}

/// What a token of the output can cost; the unit that has no price otherwise.
fn output_picos(facts: &RequestFacts, output: &OutputCap, rates: &Rates<'_>) -> Result<u64, Unit> {
    let input = facts.input.count(Unit::InputTokens);
    let may_come = |unit: Unit| {
        matches!(
            unit,
            Unit::OutputTokens
                | Unit::OutputTextTokens
                | Unit::OutputReasoningTokens
                | Unit::OutputCitationTokens
        ) || output.also.contains(&unit)
    };
    for unit in &output.also {
        // Without a price of its own it would be paid as text, which nobody has said.
        if rates.figure(*unit).is_none() {
            return Err(*unit);
        }
    }
    rates.dearest(input, may_come).ok_or(Unit::OutputTokens)
}
