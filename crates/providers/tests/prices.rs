//! What usages cost, compared with what `genai-prices` computed for them (`scripts/update_prices.py --expected`).

use serde::Deserialize;
use std::collections::BTreeMap;
use till_core::time::Timestamp;
use till_providers::price::{PriceContext, PriceTable};
use till_providers::usage::{Unit, Usage};

#[derive(Deserialize)]
struct Expected {
    at: u64,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    provider: String,
    model: String,
    tier: String,
    usage: BTreeMap<String, u64>,
    /// An exact decimal number.
    picos: String,
}

#[test]
fn costs_are_those_of_another_calculator() {
    let expected: Expected = serde_json::from_str(include_str!("fixtures/prices.json")).expect("sound");
    let table = PriceTable::builtin();
    for row in &expected.rows {
        let usage: Usage =
            row.usage.iter().map(|(name, count)| (Unit::from_name(name).expect("a unit"), *count)).collect();
        let mut context = PriceContext::default();
        context.set("service_tier", row.tier.as_str());
        let price = table.find(&row.provider, &row.model);
        let price = price.unwrap_or_else(|| panic!("{} {} has no price", row.provider, row.model));
        let ours = price.rates(&context, Timestamp(expected.at)).cost_picos(&usage);
        let (whole, fraction) = row.picos.split_once('.').unwrap_or((&row.picos, ""));
        let whole: u128 = whole.parse().expect("digits");
        if fraction.is_empty() {
            assert_eq!(ours, whole, "{} {} {:?}", row.provider, row.model, row.usage);
        } else {
            // Such prices are rounded up, each by less than a pico-dollar per token.
            let tokens = u128::from(usage.tokens());
            assert!(ours > whole && ours <= whole + 1 + tokens, "{} {} {ours}", row.provider, row.model);
        }
    }
    assert!(expected.rows.len() > 500);
}
