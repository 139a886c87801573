//! `till prices list`, `show`, `check` and `update`. No server is asked.

mod near;
mod shown;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use till_core::money::Dollars;
use till_core::time::Timestamp;
use till_providers::price::{ModelPrice, PriceContext, PriceFile, PriceRow, PriceTable, Source};
use till_providers::usage::{Unit, Usage};

use crate::args::{Form, ListForm, Output};
use crate::env::Surroundings;
use crate::exit::Usage as WrongUsage;
use crate::local_file;
use crate::output::{self, Table};
use crate::prices;
use crate::settings::{DirectoryFlags, Settings, Written};

pub(crate) fn list(
    provider: Option<&str>,
    form: ListForm,
    directories: &DirectoryFlags,
    surroundings: &Surroundings,
) -> anyhow::Result<()> {
    let settings = settings(directories, surroundings)?;
    let table = prices::table(&settings)?;
    let wanted = provider.map(|id| price_id(&settings, &table, id)).transpose()?;
    let is_wanted = |id: &str| match &wanted {
        Some(wanted) => wanted == id,
        // The table has more providers than till speaks for; custom ones may have their names.
        None => settings.registry.iter().any(|provider| provider.price_id() == id),
    };
    // A row that configuration stands before has no effect.
    let is_replaced = |id: &str, price: &ModelPrice| {
        let counts = table.find(id, price.id()).unwrap_or(price);
        counts.source() == Source::Override && !std::ptr::eq(counts, price)
    };
    let rows: Vec<(&str, &ModelPrice)> =
        table.iter().filter(|(id, price)| is_wanted(id) && !is_replaced(id, price)).collect();
    match form {
        ListForm::Json => {
            let models: Vec<Value> = rows.iter().map(|(id, price)| shown::json(id, price, now())).collect();
            output::json(&json!({"version": **table.version(), "models": models}))?;
        }
        ListForm::Csv => {
            let columns = [
                "provider",
                "model",
                "input",
                "cache_read",
                "cache_write",
                "output",
                "context_window",
                "max_output",
                "source",
            ];
            output::csv(&columns.map(str::to_owned))?;
            for (id, price) in rows {
                let tokens = |bound: Option<u64>| bound.map_or_else(String::new, |tokens| tokens.to_string());
                output::csv(&[
                    id.to_owned(),
                    price.id().to_owned(),
                    per_million(price, Unit::InputTokens).unwrap_or_default(),
                    per_million(price, Unit::CacheReadTokens).unwrap_or_default(),
                    per_million(price, Unit::CacheWriteTokens).unwrap_or_default(),
                    per_million(price, Unit::OutputTokens).unwrap_or_default(),
                    tokens(price.context_window()),
                    tokens(price.max_output()),
                    price.source().as_str().to_owned(),
                ])?;
            }
        }
        ListForm::Table => {
            let mut shown = Table::new(&["PROVIDER", "MODEL", "INPUT", "CACHED", "OUTPUT", "SOURCE"], &[1])
                .optional(&[5])
                .wrapped(&[1]);
            for (id, price) in rows {
                let cell = |unit| per_million(price, unit).unwrap_or_else(|| "-".to_owned());
                shown.row([
                    id.to_owned(),
                    price.id().to_owned(),
                    cell(Unit::InputTokens),
                    cell(Unit::CacheReadTokens),
                    cell(Unit::OutputTokens),
                    price.source().as_str().to_owned(),
                ]);
            }
            shown.print()?;
            output::line(&format!(
                "Dollars per million tokens, prices {}. `till prices show MODEL` has tiers and thresholds.",
                table.version()
            ))?;
        }
    }
    Ok(())
}

pub(crate) fn show(
    model: &str,
    provider: Option<&str>,
    directories: &DirectoryFlags,
    output: Output,
    surroundings: &Surroundings,
) -> anyhow::Result<()> {
    let settings = settings(directories, surroundings)?;
    let table = prices::table(&settings)?;
    let mut ids: Vec<String> = match provider {
        Some(id) => vec![price_id(&settings, &table, id)?],
        None => settings.registry.iter().map(|provider| provider.price_id().to_owned()).collect(),
    };
    let mut seen = std::collections::HashSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    let found: Vec<(&str, &ModelPrice)> =
        ids.iter().filter_map(|id| Some((id.as_str(), table.find(id, model)?))).collect();
    if found.is_empty() {
        return Err(WrongUsage(no_price(&table, &ids, model)).into());
    }
    if output.form == Form::Json {
        let models: Vec<Value> = found.iter().map(|(id, price)| shown::json(id, price, now())).collect();
        output::json(&json!({"version": **table.version(), "models": models}))?;
        return Ok(());
    }
    for (number, (id, price)) in found.iter().enumerate() {
        if number > 0 {
            output::line("")?;
        }
        shown::print(id, price, &table, now())?;
    }
    Ok(())
}

/// What to say about a model without a price.
fn no_price(table: &PriceTable, ids: &[String], model: &str) -> String {
    let mut message = format!("there is no price of {model:?}");
    if let [id] = ids {
        message += &format!(" at {id}");
    }
    let known = ids.iter().flat_map(|id| table.names(id).map(move |name| (id.as_str(), name)));
    let near = near::names(model, known);
    if near.is_empty() {
        message += "; ";
    } else {
        let shown = |(name, ids): &(&str, Vec<&str>)| format!("\n  {name} ({})", ids.join(", "));
        message += &format!("; there are prices of{}\n", near.iter().map(shown).collect::<String>());
    }
    message + "`till prices list` shows all, docs/prices.md says how to add one"
}

pub(crate) fn check(
    file: Option<&Path>,
    directories: &DirectoryFlags,
    output: Output,
    surroundings: &Surroundings,
) -> anyhow::Result<()> {
    let settings = settings(directories, surroundings)?;
    let added = match file {
        Some(path) => prices::read(path, &settings.registry)?.0,
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
    let settings = settings(directories, surroundings)?;
    let (added, text) = prices::read(file, &settings.registry)?;
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
    let row = |row: &PriceRow| {
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
        output::json(&json!({"version": **table.version(), "prices": rows}))?;
        return Ok(());
    }
    if rows.is_empty() {
        output::line(&format!("Nothing was added to the prices of {}.", builtin.version()))?;
        return Ok(());
    }
    let mut shown = Table::new(&["PROVIDER", "MODEL", "BEFORE", "NOW"], &[1]).wrapped(&[1]);
    for (provider, model, before, after) in rows {
        shown.row([provider, model, before.unwrap_or_else(|| "-".to_owned()), after.unwrap_or_default()]);
    }
    shown.print()?;
    output::line("What 1,000 tokens of input and 500 of output cost.")?;
    let mut notes: Vec<String> = Vec::new();
    for row in &added.prices {
        let lost = lost_units(row, &builtin, &table).join(", ");
        let note = format!("{} {} has no price of its own any more for {lost}.", row.provider, row.model);
        if !lost.is_empty() && !notes.contains(&note) {
            output::line(&note)?;
            notes.push(note);
        }
    }
    Ok(())
}

/// The units that the built-in table has a price for and a row that replaces it has none: these cost what the unit
/// costs that contains them, or nothing.
fn lost_units(row: &PriceRow, builtin: &PriceTable, table: &PriceTable) -> Vec<&'static str> {
    let plain = PriceContext::default();
    let find = |table: &'_ PriceTable| table.find(&row.provider, &row.model).cloned();
    let Some((before, after)) = find(builtin).zip(find(table)) else { return Vec::new() };
    let after = after.rates(&plain, now());
    let before = before.rates(&plain, now());
    before.iter().filter(|(unit, _)| after.figure(*unit).is_none()).map(|(unit, _)| unit.as_str()).collect()
}

fn settings(directories: &DirectoryFlags, surroundings: &Surroundings) -> anyhow::Result<Settings> {
    Ok(Settings::resolve(&Written::gather(directories.settings(), surroundings), surroundings)?)
}

/// The id under which the table has the prices of a provider.
fn price_id(settings: &Settings, table: &PriceTable, id: &str) -> anyhow::Result<String> {
    let price_id = settings.registry.get(id).map_or(id, |provider| provider.price_id());
    if table.has_provider(price_id) {
        return Ok(price_id.to_owned());
    }
    let message = if settings.registry.get(id).is_some() {
        format!("there are no prices of the provider `{id}`; docs/prices.md says how to add one")
    } else {
        format!("there is no provider `{id}`; `till providers list` shows them")
    };
    Err(WrongUsage(message).into())
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// What a small request costs; a dash if tokens have no price.
fn example(price: &ModelPrice) -> String {
    let usage = Usage::from_iter([(Unit::InputTokens, 1_000), (Unit::OutputTokens, 500)]);
    let rates = price.rates(&PriceContext::default(), now());
    if rates.figure(Unit::InputTokens).or(rates.figure(Unit::OutputTokens)).is_none() {
        return "-".to_owned();
    }
    format!("${}", Dollars(rates.cost_picos(&usage).div_ceil(1_000)))
}

/// Dollars per million of a unit; nothing where it has no price of its own.
fn per_million(price: &ModelPrice, unit: Unit) -> Option<String> {
    let rates = price.rates(&PriceContext::default(), now());
    rates.figure(unit).map(|figure| Dollars(u128::from(figure.base) * 1_000).to_string())
}
