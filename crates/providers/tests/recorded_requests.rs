//! Recorded requests: what is set aside for each is a bound of what it used, and only the output cap and the request
//! for usage change in it.

use std::collections::BTreeMap;

use http::Method;
use serde_json::Value;
use till_core::fields::Fields;
use till_core::path::{FinalPath, RawPath};
use till_core::time::Timestamp;
use till_providers::bound::{BoundError, demand};
use till_providers::count::{tokenise, with_margin};
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
    headers: Fields,
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
            headers: Fields::default(),
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

/// The middle, the nine tenths and the least of some numbers.
fn quantiles(numbers: &mut [u64]) -> [u64; 3] {
    numbers.sort_unstable();
    [numbers[numbers.len() / 2], numbers[numbers.len() * 9 / 10], numbers[0]]
}

/// A place without its numbers, so that the same reason is one: `messages[].content[].type`.
fn without_numbers(place: &str) -> String {
    let mut plain = String::new();
    let mut is_inside = false;
    for character in place.chars() {
        match character {
            '[' => is_inside = true,
            ']' => is_inside = false,
            _ => {}
        }
        if !is_inside || character == '[' {
            plain.push(character);
        }
    }
    plain
}

/// What a request has in it that its bound depends on.
fn features(body: &Value) -> String {
    let text = body.to_string();
    let has = |name: &str| body.get(name).is_some_and(|value| !value.is_null());
    let mut features = vec![format!("{} bytes", text.len())];
    for name in ["tools", "response_format", "text", "toolConfig", "system", "instructions", "thinking"] {
        if has(name) {
            features.push(name.to_owned());
        }
    }
    for part in ["image", "audio", "document", "file"] {
        if text.contains(&format!("\"type\":\"{part}")) || text.contains(&format!("\"{part}\":{{")) {
            features.push(part.to_owned());
        }
    }
    if text.contains("tool_call") || text.contains("tool_use") || text.contains("functionCall") {
        features.push("calls".to_owned());
    }
    features.join(", ")
}

/// Hundredths of what was used that were set aside, of the requests of one provider.
#[derive(Default)]
struct Ratios {
    input: Vec<u64>,
    whole: Vec<u64>,
    spend: Vec<u64>,
    /// The least for the input, and what that request has in it.
    least: Option<(u64, String)>,
}

/// At least a tenth of room, in hundredths: none of them was only lucky.
const MARGIN_MIN: u64 = 110;

#[test]
fn the_hold_was_a_bound() {
    let Some(exchanges) = exchanges() else { return };
    let (registry, prices) = (Registry::builtin(), PriceTable::builtin());
    let mut refusals: BTreeMap<String, usize> = BTreeMap::new();
    let mut ratios: BTreeMap<&str, Ratios> = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut held = 0;
    let mut tokenised = 0;
    for exchange in exchanges.iter().filter(|exchange| exchange.status == 200) {
        let asked = Asked::of(exchange, &registry);
        let mut refuse = |what: &str| {
            let reason = format!("{} {}", exchange.provider, without_numbers(what));
            *refusals.entry(reason).or_default() += 1;
        };
        let facts = match asked.facts(&prices) {
            Ok(facts) => facts,
            Err(Refused::Unbounded { what, .. }) => {
                refuse(&what);
                continue;
            }
            // A form, of which the recording has no bytes.
            Err(_) if !exchange.request.is_object() => {
                refuse("no JSON");
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
                refuse(&format!("unpriced: {what}"));
                continue;
            }
            Err(BoundError::Refused(Refused::Unbounded { what, .. })) => {
                refuse(&format!("in money: {what}"));
                continue;
            }
            Err(error) => {
                wrong.push(format!("{}: {error}", exchange.id));
                continue;
            }
        };
        held += 1;
        let units = demand.units(demand.steps_wanted).expect("countable");
        let (input, output) = (count("input_tokens"), count("output_tokens"));
        if units.tokens < input + output {
            wrong.push(format!("{}: {units:?} held, {usage:?} used", exchange.id));
        }
        if nanos.is_some_and(|nanos| units.spend_nanos < nanos) {
            wrong.push(format!("{}: {units:?} held, {nanos:?} cost", exchange.id));
        }
        // Where the tokenizer of the model is public, its count with its margin is set aside instead of bytes.
        let model = facts.model.as_deref().unwrap_or_default();
        if let Some(count) = tokenise(asked.provider, model, &asked.body).filter(|_| facts.is_plain_text) {
            tokenised += 1;
            if with_margin(count) < input {
                wrong.push(format!("{}: {count} tokens counted, {input} used", exchange.id));
            }
        }
        let ratios = ratios.entry(asked.provider.id()).or_default();
        let hundredths = |held: u64, used: u64| held.saturating_mul(100).checked_div(used);
        ratios.whole.extend(hundredths(units.tokens, input + output));
        ratios.spend.extend(nanos.and_then(|nanos| hundredths(units.spend_nanos, nanos)));
        if let Some(ratio) = hundredths(demand.tokens_fixed, input) {
            ratios.input.push(ratio);
            if ratio < MARGIN_MIN {
                let held = demand.tokens_fixed;
                wrong.push(format!("{}: {held} tokens of input held, {input} used", exchange.id));
            }
            if ratios.least.as_ref().is_none_or(|(least, _)| ratio < *least) {
                let model = facts.model.as_deref().unwrap_or_default();
                ratios.least = Some((ratio, format!("{model}, {}", features(&exchange.request))));
            }
        }
    }
    println!("{held} held, {tokenised} of them tokenised too");
    report(&refusals, &mut ratios);
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(held > 0);
}

#[expect(clippy::print_stdout, reason = "the report is for whoever runs the test")]
fn report(refusals: &BTreeMap<String, usize>, ratios: &mut BTreeMap<&str, Ratios>) {
    println!("refused, because nothing bounds them: {}", refusals.values().sum::<usize>());
    for (reason, count) in refusals {
        println!("  {count:3} {reason}");
    }
    println!("hundredths of what was used that were held (median, nine tenths, least):");
    for (provider, ratios) in ratios {
        println!("  {provider} ({} requests)", ratios.whole.len());
        let kinds =
            [("input", &mut ratios.input), ("all tokens", &mut ratios.whole), ("money", &mut ratios.spend)];
        for (kind, numbers) in kinds.into_iter().filter(|(_, numbers)| !numbers.is_empty()) {
            println!("    {kind:10} {:?}", quantiles(numbers));
        }
        if let Some((least, features)) = &ratios.least {
            println!("    least for input: {least}, {features}");
        }
    }
}

#[test]
fn only_the_cap_and_the_usage_change() {
    let Some(exchanges) = exchanges() else { return };
    let (registry, prices) = (Registry::builtin(), PriceTable::builtin());
    let mut rewritten = 0;
    for exchange in &exchanges {
        let asked = Asked::of(exchange, &registry);
        let Ok(facts) = asked.facts(&prices) else { continue };
        if !exchange.request.is_object() {
            continue;
        }
        let cap = facts.output.as_ref().map(|_| 17);
        let body = facts.rewrite(&asked.body, cap);
        let mut before: Value = exchange.request.clone();
        let mut after: Value = serde_json::from_slice(&body).expect("still JSON");
        if let Some(output) = &facts.output {
            let found = take(&mut after, output.parameter);
            assert_eq!(found, Some(Value::from(17)), "{}", exchange.id);
            take(&mut before, output.parameter);
            // Some providers document one of its two names, so the other one is renamed.
            take(&mut before, "max_tokens");
            take(&mut before, "max_completion_tokens");
            rewritten += 1;
        }
        for body in [&mut before, &mut after] {
            if let Some(body) = body.as_object_mut() {
                body.remove("stream_options");
                // OpenRouter gets the price that it may choose a provider at.
                if let Some(provider) = body.get_mut("provider").and_then(Value::as_object_mut) {
                    provider.remove("max_price");
                    if provider.is_empty() {
                        body.remove("provider");
                    }
                }
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
