//! One model's prices, for people and for programs.

use serde_json::{Map, Value, json};
use till_core::money::Dollars;
use till_core::time::Timestamp;
use till_providers::price::{ModelPrice, PriceContext, PriceTable, Rates, units_per_figure};
use till_providers::usage::Unit;

use crate::output::{self, Table};

/// Minutes of a day.
const DAY: u64 = 1440;

/// Prices for one kind of request.
struct Column<'a> {
    title: String,
    rates: Rates<'a>,
}

/// Prints everything that is known about a model.
pub(super) fn print(
    provider: &str,
    price: &ModelPrice,
    table: &PriceTable,
    at: Timestamp,
) -> anyhow::Result<()> {
    let known = |bound: Option<u64>| {
        bound.map_or_else(|| "-".to_owned(), |tokens| format!("{} tokens", grouped(tokens)))
    };
    output::pairs(&[
        ("provider", provider.to_owned()),
        ("model", price.id().to_owned()),
        ("source", format!("{}, prices {}", price.source().as_str(), table.version())),
        ("takes in at most", known(price.context_window())),
        ("puts out at most", known(price.max_output())),
        ("1,000 in and 500 out cost", super::example(price)),
    ])?;
    let columns = columns(price, at);
    let rows = rows(&columns);
    if rows.is_empty() {
        output::line("No price is known: under a limit in money it is refused until you add one.")?;
        return Ok(());
    }
    let mut heading = vec!["UNIT", "PER"];
    heading.extend(columns.iter().map(|column| column.title.as_str()));
    let mut shown = Table::new(&heading, &[]);
    for (unit, above) in rows {
        let name = match above {
            None => unit.as_str().to_owned(),
            Some(above) => format!("  above {} of input", grouped(above)),
        };
        let (per, word) = per(unit);
        let cell = |column: &Column<'_>| {
            let figure = column.rates.figure(unit);
            let picos = figure.map(|figure| above.map_or(figure.base, |above| figure.at(above + 1)));
            picos.map_or_else(|| "-".to_owned(), |picos| format!("${}", dollars(unit, picos, per)))
        };
        shown.row([name, word.to_owned()].into_iter().chain(columns.iter().map(cell)));
    }
    shown.print()?;
    Ok(())
}

/// The same for programs.
pub(super) fn json(provider: &str, price: &ModelPrice, at: Timestamp) -> Value {
    let prices: Vec<Value> = columns(price, at)
        .into_iter()
        .map(|Column { title, rates }| {
            let figures: Map<String, Value> = rates
                .iter()
                .map(|(unit, figure)| {
                    let tiers: Vec<Value> = figure
                        .tiers
                        .iter()
                        .map(|(start, price)| json!({"aboveInputTokens": start, "picoUsd": price}))
                        .collect();
                    let figure =
                        json!({"picoUsd": figure.base, "perUnits": units_per_figure(unit), "tiers": tiers});
                    (unit.as_str().to_owned(), figure)
                })
                .collect();
            json!({"for": title.to_ascii_lowercase(), "perUnit": figures})
        })
        .collect();
    json!({
        "provider": provider,
        "model": price.id(),
        "source": price.source().as_str(),
        "contextWindow": price.context_window(),
        "maxOutput": price.max_output(),
        "prices": prices,
    })
}

/// The plain prices, those of hours of the day, and those that a request can ask for.
fn columns(price: &ModelPrice, at: Timestamp) -> Vec<Column<'_>> {
    let nothing = PriceContext::default();
    let midnight = at.minute() - at.minute() % DAY;
    let during = |minute: u64| price.rates(&nothing, Timestamp((midnight + minute) * 60_000));
    let mut hours: Vec<(u64, u64)> = price.hours().collect();
    hours.sort_unstable();
    hours.dedup();
    let is_within = |minute: u64, (start, end): (u64, u64)| {
        if end < start { minute >= start || minute < end } else { (start..end).contains(&minute) }
    };
    let other = (0..DAY).find(|minute| !hours.iter().any(|hours| is_within(*minute, *hours)));
    let mut columns = Vec::new();
    if hours.is_empty() {
        columns.push(Column { title: "PRICE".to_owned(), rates: price.rates(&nothing, at) });
    } else if let Some(minute) = other {
        columns.push(Column { title: "OTHER HOURS".to_owned(), rates: during(minute) });
    }
    for (start, end) in hours {
        let clock = |minute: u64| format!("{:02}:{:02}", minute / 60, minute % 60);
        columns.push(Column { title: format!("{}-{} UTC", clock(start), clock(end)), rates: during(start) });
    }
    let plain = columns.len();
    for name in ["service_tier", "speed", "route", "search_type"] {
        let mut values: Vec<&str> = price.variants(name).collect();
        values.sort_unstable();
        values.dedup();
        for value in values {
            let mut context = PriceContext::default();
            context.set(name, value);
            let rates = price.rates(&context, at);
            match columns.iter().position(|column| column.rates.iter().eq(rates.iter())) {
                // What costs the same as a request that asks for nothing is nothing to show.
                Some(same) if same < plain => {}
                Some(same) if columns[same].title.starts_with(name) => {
                    columns[same].title += &format!("|{value}");
                }
                _ => columns.push(Column { title: format!("{name}={value}"), rates }),
            }
        }
    }
    columns
}

/// A row for each unit, and one for each of its thresholds.
fn rows(columns: &[Column<'_>]) -> Vec<(Unit, Option<u64>)> {
    let mut rows = Vec::new();
    for unit in Unit::ALL {
        let figures: Vec<_> = columns.iter().filter_map(|column| column.rates.figure(unit)).collect();
        if figures.is_empty() {
            continue;
        }
        rows.push((unit, None));
        let mut starts: Vec<u64> =
            figures.iter().flat_map(|figure| &figure.tiers).map(|(start, _)| *start).collect();
        starts.sort_unstable();
        starts.dedup();
        rows.extend(starts.into_iter().map(|start| (unit, Some(start))));
    }
    rows
}

/// For how many of a unit people name prices, and the word for it.
fn per(unit: Unit) -> (u64, &'static str) {
    if units_per_figure(unit) > 1 {
        (units_per_figure(unit), "hour")
    } else if unit.is_input_token() || unit.is_output_token() || unit == Unit::InputCharacters {
        (1_000_000, "million")
    } else {
        (1_000, "thousand")
    }
}

/// Pico-dollars of a figure as dollars for so many units, rounded up.
fn dollars(unit: Unit, picos: u64, per: u64) -> Dollars {
    let figures = u128::from(per / units_per_figure(unit));
    Dollars((u128::from(picos) * figures).div_ceil(1_000))
}

/// `200,000`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
