//! `till prices list`, `show`, `check` and `update`. No server is asked.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde_json::{Value, json};
use till_core::money::Dollars;
use till_core::time::Timestamp;
use till_providers::price::{Figure, ModelPrice, PriceContext, PriceFile, PriceTable};
use till_providers::usage::{Unit, Usage};

use crate::args::{Form, ListForm, Output};
use crate::env::Surroundings;
use crate::exit::Usage as WrongUsage;
use crate::local_file;
use crate::output::{self, Table};
use crate::prices;
use crate::settings::{DirectoryFlags, SettingFlags, Settings, Written};

pub(crate) fn list(
    provider: Option<&str>,
    form: ListForm,
    surroundings: &Surroundings,
) -> anyhow::Result<()> {
    let settings = settings(&SettingFlags::default(), surroundings)?;
    let table = prices::table(&settings)?;
    let wanted = provider.map(|id| price_id(&settings, id));
    let rows: Vec<(&str, &ModelPrice)> =
        table.iter().filter(|(id, _)| wanted.as_deref().is_none_or(|wanted| wanted == *id)).collect();
    if rows.is_empty() {
        let id = provider.unwrap_or_default();
        return Err(WrongUsage(format!("there are no prices of a provider `{id}`")).into());
    }
    let columns = ["PROVIDER", "MODEL", "INPUT", "CACHED", "OUTPUT", "WINDOW", "MAX OUTPUT", "SOURCE"];
    match form {
        ListForm::Json => {
            let models: Vec<Value> = rows.iter().map(|(id, price)| describe(id, price)).collect();
            output::json(&json!({"version": table.version(), "models": models}))?;
        }
        ListForm::Csv => {
            output::csv(&columns.map(str::to_owned))?;
            rows.iter().try_for_each(|(id, price)| output::csv(&cells(id, price)))?;
        }
        ListForm::Table => {
            let mut shown = Table::new(&columns, &[1, 0]);
            rows.iter().for_each(|(id, price)| shown.row(cells(id, price)));
            shown.print()?;
            output::line(&format!("Dollars per million tokens. Prices of {}.", table.version()))?;
        }
    }
    Ok(())
}

pub(crate) fn show(
    model: &str,
    provider: Option<&str>,
    output: Output,
    surroundings: &Surroundings,
) -> anyhow::Result<()> {
    let settings = settings(&SettingFlags::default(), surroundings)?;
    let table = prices::table(&settings)?;
    let ids: Vec<String> = match provider {
        Some(id) => vec![price_id(&settings, id)],
        None => settings.registry.iter().map(|provider| provider.price_id().to_owned()).collect(),
    };
    let found: Vec<(&str, &ModelPrice)> =
        ids.iter().filter_map(|id| Some((id.as_str(), table.find(id, model)?))).collect();
    if found.is_empty() {
        let message = format!(
            "there is no price of {model:?}; add one as docs/prices.md says, or look for its name in `till prices list`"
        );
        return Err(WrongUsage(message).into());
    }
    if output.form == Form::Json {
        let models: Vec<Value> = found.iter().map(|(id, price)| describe(id, price)).collect();
        output::json(&json!({"version": table.version(), "models": models}))?;
        return Ok(());
    }
    for (number, (id, price)) in found.iter().enumerate() {
        if number > 0 {
            output::line("")?;
        }
        show_one(id, price)?;
    }
    Ok(())
}

fn show_one(provider: &str, price: &ModelPrice) -> anyhow::Result<()> {
    let known =
        |bound: Option<u64>| bound.map_or_else(|| "-".to_owned(), |tokens| format!("{tokens} tokens"));
    output::pairs(&[
        ("provider", provider.to_owned()),
        ("model", price.id().to_owned()),
        ("source", price.source().as_str().to_owned()),
        ("takes in at most", known(price.context_window())),
        ("puts out at most", known(price.max_output())),
        ("1,000 in and 500 out cost", example(price)),
    ])?;
    for (name, context) in contexts(price) {
        output::line(&format!("  {name}:"))?;
        for (unit, figure) in price.rates(&context, now()).iter() {
            output::line(&format!("    {:28} {}", unit.as_str(), tiers(unit, figure)))?;
        }
    }
    Ok(())
}

pub(crate) fn check(file: Option<&Path>, output: Output, surroundings: &Surroundings) -> anyhow::Result<()> {
    let settings = settings(&SettingFlags::default(), surroundings)?;
    let added = match file {
        Some(path) => prices::read(path)?,
        None => prices::added(&settings)?,
    };
    report(&added, output)
}

pub(crate) fn update(
    file: &Path,
    directories: &DirectoryFlags,
    output: Output,
    surroundings: &Surroundings,
) -> anyhow::Result<()> {
    let settings = settings(directories.settings(), surroundings)?;
    let added = prices::read(file)?;
    let text = std::fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
    if !settings.data.is_dir() {
        let message =
            format!("there is no data directory {}; give the right one with --data", settings.data.display());
        return Err(WrongUsage(message).into());
    }
    let to = prices::installed_path(&settings.data);
    local_file::replace(&to, &text)?;
    report(&added, output)?;
    if output.form == Form::Table {
        output::line(&format!(
            "Written to {}. It takes effect when the server is started again.",
            to.display()
        ))?;
    }
    Ok(())
}

/// What rows of prices change.
fn report(added: &PriceFile, output: Output) -> anyhow::Result<()> {
    let builtin = PriceTable::builtin();
    let table = PriceTable::builtin().with_overrides(added);
    let row = |row: &till_providers::price::PriceRow| {
        let name = row.model.trim_end_matches('*');
        let before = builtin.find(&row.provider, name);
        let after = table.find(&row.provider, name);
        (row.provider.clone(), row.model.clone(), before.map(example), after.map(example))
    };
    let rows: Vec<_> = added.prices.iter().map(row).collect();
    if output.form == Form::Json {
        let rows: Vec<Value> = rows
            .iter()
            .map(|(provider, model, before, after)| {
                json!({"provider": provider, "model": model, "exampleUsdBefore": before, "exampleUsd": after})
            })
            .collect();
        output::json(&json!({"version": table.version(), "prices": rows}))?;
        return Ok(());
    }
    if rows.is_empty() {
        output::line(&format!("Nothing was added to the prices of {}.", builtin.version()))?;
        return Ok(());
    }
    let mut shown = Table::new(&["PROVIDER", "MODEL", "BEFORE", "NOW"], &[1]);
    for (provider, model, before, after) in rows {
        shown.row([provider, model, before.unwrap_or_else(|| "-".to_owned()), after.unwrap_or_default()]);
    }
    shown.print()?;
    output::line("What 1,000 tokens of input and 500 of output cost.")?;
    Ok(())
}

fn settings(flags: &SettingFlags, surroundings: &Surroundings) -> anyhow::Result<Settings> {
    Ok(Settings::resolve(&Written::gather(flags, surroundings), surroundings)?)
}

fn price_id(settings: &Settings, id: &str) -> String {
    settings.registry.get(id).map_or_else(|| id.to_owned(), |provider| provider.price_id().to_owned())
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The plain prices, and those that a request can ask for.
fn contexts(price: &ModelPrice) -> Vec<(String, PriceContext)> {
    let mut contexts = vec![("prices".to_owned(), PriceContext::default())];
    for name in ["service_tier", "speed", "route", "search_type"] {
        let mut values: Vec<&str> = price.variants(name).filter(|value| *value != "default").collect();
        values.dedup();
        for value in values {
            let mut context = PriceContext::default();
            context.set(name, value);
            contexts.push((format!("with {name} {value}"), context));
        }
    }
    contexts
}

/// What a small request costs.
fn example(price: &ModelPrice) -> String {
    let usage = Usage::from_iter([(Unit::InputTokens, 1_000), (Unit::OutputTokens, 500)]);
    let picos = price.rates(&PriceContext::default(), now()).cost_picos(&usage);
    format!("${}", Dollars(picos.div_ceil(1_000)))
}

/// `$2.50/M`, `$2.50/M, above 200000 $5.00/M`
fn tiers(unit: Unit, figure: &Figure) -> String {
    let mut text = amount(unit, figure.base);
    for (start, price) in &figure.tiers {
        text += &format!(", above {start} tokens of input {}", amount(unit, *price));
    }
    text
}

/// Pico-dollars per unit as dollars for a number of units that people use.
fn amount(unit: Unit, picos: u64) -> String {
    let (per, name) = if unit.is_input_token() || unit.is_output_token() || unit == Unit::InputCharacters {
        (1_000_000, "million")
    } else if matches!(unit, Unit::AudioMillis | Unit::InputAudioMillis | Unit::OutputAudioMillis) {
        (3_600_000, "hour")
    } else {
        (1_000, "thousand")
    };
    format!("${} per {name}", Dollars((u128::from(picos) * per).div_ceil(1_000)))
}

/// Dollars per million of a unit, or nothing where it has no price.
fn per_million(price: &ModelPrice, unit: Unit) -> String {
    let rates = price.rates(&PriceContext::default(), now());
    let figure = rates.figure(unit).map(|figure| Dollars(u128::from(figure.base) * 1_000));
    figure.map_or_else(|| "-".to_owned(), |dollars| dollars.to_string())
}

fn cells(provider: &str, price: &ModelPrice) -> [String; 8] {
    let known = |bound: Option<u64>| bound.map_or_else(|| "-".to_owned(), |tokens| tokens.to_string());
    [
        provider.to_owned(),
        price.id().to_owned(),
        per_million(price, Unit::InputTokens),
        per_million(price, Unit::CacheReadTokens),
        per_million(price, Unit::OutputTokens),
        known(price.context_window()),
        known(price.max_output()),
        price.source().as_str().to_owned(),
    ]
}

fn describe(provider: &str, price: &ModelPrice) -> Value {
    let prices: Vec<Value> = contexts(price)
        .into_iter()
        .map(|(name, context)| {
            let rates = price.rates(&context, now());
            let figures: serde_json::Map<String, Value> = rates
                .iter()
                .map(|(unit, figure)| {
                    let tiers: Vec<Value> = figure
                        .tiers
                        .iter()
                        .map(|(start, price)| json!({"aboveInputTokens": start, "picoUsd": price}))
                        .collect();
                    (unit.as_str().to_owned(), json!({"picoUsd": figure.base, "tiers": tiers}))
                })
                .collect();
            json!({"for": name, "perUnit": figures})
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
