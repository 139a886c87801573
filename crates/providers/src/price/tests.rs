use till_core::time::Timestamp;

use super::{PriceContext, PriceFile, PriceTable};
use crate::usage::{Unit, Usage};

const NOW: Timestamp = Timestamp(1_795_262_400_000);

fn usage(counts: &[(Unit, u64)]) -> Usage {
    counts.iter().copied().collect()
}

/// What a usage costs in pico-dollars.
fn cost(provider: &str, model: &str, tier: Option<&str>, counts: &[(Unit, u64)]) -> Option<u128> {
    let table = PriceTable::builtin();
    let mut context = PriceContext::default();
    if let Some(tier) = tier {
        context.set("service_tier", tier);
    }
    Some(table.find(provider, model)?.rates(&context, NOW).cost_picos(&usage(counts)))
}

#[test]
fn prices_of_well_known_models() {
    use Unit::{CacheReadTokens, CacheWrite1hTokens, CacheWriteTokens, InputTokens, OutputTokens};
    let million = 1_000_000;
    for (provider, model, tier, counts, dollars) in [
        ("openai", "gpt-4o-mini", None, vec![(InputTokens, million), (OutputTokens, million)], "0.75"),
        ("openai", "GPT-4o-mini-2024-07-18", None, vec![(InputTokens, million)], "0.15"),
        ("openai", "gpt-5", None, vec![(InputTokens, million), (CacheReadTokens, million)], "0.125"),
        ("openai", "gpt-5", Some("priority"), vec![(OutputTokens, million)], "20"),
        ("openai", "gpt-5", Some("flex"), vec![(OutputTokens, million)], "5"),
        ("openai", "gpt-5", Some("default"), vec![(OutputTokens, million)], "10"),
        ("azure-openai", "gpt-4o-mini", None, vec![(OutputTokens, million)], "0.60"),
        ("google", "gemini-2.5-pro", None, vec![(InputTokens, 200_000)], "0.25"),
        ("google", "gemini-2.5-pro", None, vec![(InputTokens, 200_001)], "0.5000025"),
        ("anthropic", "claude-sonnet-4-0", None, vec![(InputTokens, 3), (CacheWriteTokens, 2)], "0.0000105"),
        (
            "anthropic",
            "claude-sonnet-4-0",
            None,
            vec![(InputTokens, 3), (CacheWriteTokens, 2), (CacheWrite1hTokens, 2)],
            "0.000015",
        ),
    ] {
        let expected: till_core::money::Dollars = dollars.parse().expect("dollars");
        assert_eq!(cost(provider, model, tier, &counts), Some(expected.0 * 1_000), "{provider} {model}");
    }
    for (provider, model) in [("openai", "model-of-tomorrow"), ("nobody", "gpt-5"), ("openai", "")] {
        assert_eq!(cost(provider, model, None, &[]), None, "{provider} {model}");
    }
}

#[test]
fn every_price_is_found_under_its_own_name() {
    let table = PriceTable::builtin();
    let mut seen = 0;
    for (provider, model) in table.iter() {
        for name in model.clause.names() {
            let found = table.find(provider, name).expect("a model has its own name");
            let first = table.providers[provider].models.iter().find(|model| model.clause.holds(name));
            assert_eq!(found.id(), first.expect("it holds").id(), "{provider} {name}");
            seen += 1;
        }
    }
    assert!(seen > 3_000, "{seen}");
}

#[test]
fn a_row_of_configuration_comes_first() {
    let rows = r#"{"prices": [
        {"provider": "openai", "model": "Tomorrow-*", "input": "2.50", "output": "0.000000001", "max_output": 9},
        {"provider": "openai", "model": "gpt-4o-mini", "input": "1"},
        {"provider": "ours", "model": "m", "requests": "5"}
    ]}"#;
    let file = PriceFile::from_json(rows).expect("good rows");
    let plain = PriceTable::builtin();
    let table = PriceTable::builtin().with_overrides(&file);
    assert_ne!(plain.version(), table.version());
    assert!(table.version().starts_with(plain.version()));
    let rates = |provider, model| {
        let price = table.find(provider, model).expect("priced");
        price.rates(&PriceContext::default(), NOW)
    };
    let counts = usage(&[(Unit::InputTokens, 2), (Unit::OutputTokens, 1)]);
    // A thousandth of a pico-dollar per token is rounded up to one.
    assert_eq!(rates("openai", "tomorrow-1").cost_picos(&counts), 5_000_001);
    assert_eq!(table.find("openai", "tomorrow-1").and_then(super::ModelPrice::max_output), Some(9));
    assert_eq!(rates("openai", "gpt-4o-mini").cost_picos(&counts), 2_000_000);
    assert_eq!(rates("openai", "gpt-4o").cost_picos(&usage(&[(Unit::InputTokens, 1)])), 2_500_000);
    assert_eq!(rates("ours", "m").cost_picos(&Usage::default()), 5_000_000_000);
}

#[test]
fn bad_rows_are_refused_by_name() {
    for (row, expected) in [
        (r#"{"provider":"openai","model":"m"}"#, "input: at least one price"),
        (r#"{"provider":"openai","model":"m","input":2.5}"#, "string"),
        (r#"{"provider":"openai","model":"m","input":"-1"}"#, "input: must be dollars"),
        (r#"{"provider":"openai","model":"m","input":"1e3"}"#, "input: must be dollars"),
        (r#"{"provider":"openai","model":"a*b","input":"1"}"#, "model: must be"),
        (r#"{"provider":"openai","model":"","input":"1"}"#, "model: must be"),
        (r#"{"provider":"","model":"m","input":"1"}"#, "provider: must be"),
        (r#"{"provider":"openai","model":"m","input":"1","max_output":0}"#, "max_output: must be"),
        (r#"{"provider":"openai","model":"m","inptu":"1"}"#, "unknown field `inptu`"),
    ] {
        let error = PriceFile::from_json(&format!("{{\"prices\":[{row}]}}")).expect_err(row).to_string();
        assert!(error.contains(expected), "{row}: {error}");
    }
}

#[test]
fn parts_that_exceed_their_whole_are_paid() {
    let counts = [(Unit::InputTokens, 10), (Unit::CacheReadTokens, 30)];
    let expected = 30 * 75_000;
    assert_eq!(cost("openai", "gpt-4o-mini", None, &counts), Some(expected));
}
