//! What usages cost, compared with what `genai-prices` computed for them (`scripts/update_prices.py --expected`).

use serde::Deserialize;
use std::collections::BTreeMap;
use till_core::time::Timestamp;
use till_providers::price::{PriceContext, PriceTable, Source};
use till_providers::usage::{Unit, Usage};

#[derive(Deserialize)]
struct Row {
    provider: String,
    model: String,
    at: u64,
    context: BTreeMap<String, String>,
    usage: BTreeMap<String, u64>,
    /// An exact decimal number; nothing where the model has no price.
    picos: Option<String>,
}

#[test]
fn costs_are_those_of_another_calculator() {
    let rows: Vec<Row> = serde_json::from_str(include_str!("fixtures/prices.json")).expect("sound");
    let table = PriceTable::builtin();
    let (mut priced, mut unpriced) = (0, 0);
    for row in &rows {
        let asked = format!("{} {} {:?} {:?} at {}", row.provider, row.model, row.context, row.usage, row.at);
        // Models that only the other source has are no concern of this test.
        let price = table.find(&row.provider, &row.model);
        let price = price.filter(|price| price.source() == Source::GenaiPrices);
        let Some(picos) = &row.picos else {
            assert!(price.is_none(), "{asked} has a price");
            unpriced += 1;
            continue;
        };
        let price = price.unwrap_or_else(|| panic!("{asked} has no price"));
        let usage: Usage =
            row.usage.iter().map(|(name, count)| (Unit::from_name(name).expect("a unit"), *count)).collect();
        let mut context = PriceContext::default();
        for name in ["service_tier", "speed", "route", "search_type"] {
            if let Some(value) = row.context.get(name) {
                context.set(name, value.as_str());
            }
        }
        let ours = price.rates(&context, Timestamp(row.at)).cost_picos(&usage);
        let (whole, fraction) = picos.split_once('.').unwrap_or((picos, ""));
        let whole: u128 = whole.parse().expect("digits");
        if fraction.is_empty() {
            assert_eq!(ours, whole, "{asked}");
        } else {
            // Such prices are rounded up, each by less than a pico-dollar per token.
            let tokens = u128::from(usage.tokens());
            assert!(ours > whole && ours <= whole + 1 + tokens, "{asked}: {ours}");
        }
        priced += 1;
    }
    assert!(priced > 900 && unpriced > 200, "{priced} {unpriced}");
}
