//! Recorded requests: what is set aside for each is a bound of what it used, and only the output cap and the request
//! for usage change in it.

use std::collections::BTreeMap;

use http::{HeaderMap, Method};
use serde_json::Value;
use till_core::path::{FinalPath, RawPath};
use till_core::time::Timestamp;
use till_providers::bound::{BoundError, demand};
use till_providers::price::PriceTable;
use till_providers::request::{Question, Refused, RequestFacts, facts};
use till_providers::{Provider, Registry};
use till_testkit::recorded::{Exchange, exchanges};

/// Noon of 2026-11-22, UTC: the day on which the prices of the recordings were computed.
const AT: Timestamp = Timestamp(1_795_348_800_000);

struct Asked<'a> {
    provider: &'a Provider,
    method: Method,
    path: FinalPath,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl<'a> Asked<'a> {
    fn of(exchange: &Exchange, registry: &'a Registry) -> Self {
        let provider = registry.get(&exchange.provider).expect("a known provider");
        let raw = RawPath::parse(exchange.path.as_bytes()).expect("a good path");
        Self {
            provider,
            method: exchange.method.parse().expect("a method"),
            path: provider.final_path(&raw).expect("a good path"),
            headers: HeaderMap::new(),
            body: exchange.request.to_string().into_bytes(),
        }
    }

    fn facts(&self, prices: &PriceTable) -> Result<RequestFacts, Refused> {
        let question = Question {
            provider: self.provider,
            method: &self.method,
            path: &self.path,
            query: None,
            headers: &self.headers,
            body: &self.body,
        };
        facts(&question, prices)
    }
}

/// The middle and the nine tenths of some numbers.
fn quantiles(mut numbers: Vec<u64>) -> (u64, u64) {
    numbers.sort_unstable();
    (numbers[numbers.len() / 2], numbers[numbers.len() * 9 / 10])
}

#[test]
fn the_hold_was_a_bound() {
    let Some(exchanges) = exchanges() else { return };
    let (registry, prices) = (Registry::builtin(), PriceTable::builtin());
    let mut refusals: BTreeMap<String, usize> = BTreeMap::new();
    let mut ratios: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut held = 0;
    for exchange in exchanges.iter().filter(|exchange| exchange.status == 200) {
        let asked = Asked::of(exchange, &registry);
        let facts = match asked.facts(&prices) {
            Ok(facts) => facts,
            Err(Refused::Unbounded { what, .. }) => {
                *refusals.entry(format!("{} {what}", exchange.provider)).or_default() += 1;
                continue;
            }
            Err(error) => {
                wrong.push(format!("{}: {error}", exchange.id));
                continue;
            }
        };
        let usage = exchange.expected.as_ref().and_then(|expected| expected.usage.as_ref());
        let Some(usage) = usage else { continue };
        let count = |name: &str| usage.get(name).copied().unwrap_or(0);
        let price = facts.model.as_deref().and_then(|model| prices.find(asked.provider.price_id(), model));
        let nanos = exchange.expected.as_ref().and_then(till_testkit::recorded::Expected::nanos);
        let demand = match demand(&facts, price, nanos.is_some(), AT, true) {
            Ok(demand) => demand,
            Err(BoundError::Unpriced { what }) => {
                *refusals.entry(format!("{} unpriced: {what}", exchange.provider)).or_default() += 1;
                continue;
            }
            Err(error) => {
                wrong.push(format!("{}: {error}", exchange.id));
                continue;
            }
        };
        held += 1;
        let units = demand.units(demand.steps_wanted).expect("countable");
        let input = count("input_tokens");
        // At least a tenth of room: none of them was only lucky.
        if demand.tokens_fixed * 10 < input * 11 {
            wrong
                .push(format!("{}: {} tokens of input held, {input} used", exchange.id, demand.tokens_fixed));
        }
        if units.tokens < input + count("output_tokens") {
            wrong.push(format!("{}: {units:?} held, {usage:?} used", exchange.id));
        }
        if nanos.is_some_and(|nanos| units.spend_nanos < nanos) {
            wrong.push(format!("{}: {units:?} held, {nanos:?} cost", exchange.id));
        }
        if let Some(ratio) = (demand.tokens_fixed * 100).checked_div(input) {
            ratios.entry(asked.provider.id()).or_default().push(ratio);
        }
    }
    println!("refused, because nothing bounds them:");
    for (reason, count) in &refusals {
        println!("  {count:3} {reason}");
    }
    println!("tokens of input held for each that was used, in hundredths (median, nine tenths):");
    for (provider, numbers) in ratios {
        println!("  {provider:12} {:4} requests {:?}", numbers.len(), quantiles(numbers.clone()));
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(held > 0);
}

#[test]
fn only_the_cap_and_the_usage_change() {
    let Some(exchanges) = exchanges() else { return };
    let (registry, prices) = (Registry::builtin(), PriceTable::builtin());
    let mut rewritten = 0;
    for exchange in &exchanges {
        let asked = Asked::of(exchange, &registry);
        let Ok(facts) = asked.facts(&prices) else { continue };
        let cap = facts.output.as_ref().map(|_| 17);
        let body = facts.rewrite(&asked.body, cap);
        let mut before: Value = exchange.request.clone();
        let mut after: Value = serde_json::from_slice(&body).expect("still JSON");
        if let Some(output) = &facts.output {
            let found = take(&mut after, output.parameter);
            assert_eq!(found, Some(Value::from(17)), "{}", exchange.id);
            take(&mut before, output.parameter);
            rewritten += 1;
        }
        for body in [&mut before, &mut after] {
            if let Some(body) = body.as_object_mut() {
                body.remove("stream_options");
                // A place for the cap that was empty before.
                body.retain(|name, value| {
                    !(name == "generationConfig" || name == "inferenceConfig")
                        || value.as_object().is_none_or(|config| !config.is_empty())
                });
            }
        }
        assert_eq!(before, after, "{}", exchange.id);
    }
    println!("{rewritten} rewritten");
}

/// Takes a member out, at the top or in the configuration.
fn take(body: &mut Value, name: &str) -> Option<Value> {
    let body = body.as_object_mut()?;
    if let Some(found) = body.remove(name) {
        return Some(found);
    }
    ["generationConfig", "generation_config", "inferenceConfig"]
        .into_iter()
        .find_map(|config| body.get_mut(config)?.as_object_mut()?.remove(name))
}
