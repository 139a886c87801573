//! `till usage`

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use till_core::time::Timestamp;

use super::keys::minute;
use super::status::text;
use crate::args::{ListForm, UsageBy, UsageWanted};
use crate::client::{Client, escape};
use crate::env::Surroundings;
use crate::exit::Usage;
use crate::output::{self, Table};

/// Records per request; the server's largest page.
const PAGE: usize = 1000;

pub(crate) fn run(wanted: &UsageWanted, surroundings: &Surroundings) -> anyhow::Result<()> {
    let filter = filter(wanted)?;
    let client = Client::new(&wanted.connection, surroundings)?;
    if wanted.calls { calls(wanted, &filter, &client) } else { sums(wanted, &filter, &client) }
}

/// The part of the query that both lists have.
fn filter(wanted: &UsageWanted) -> anyhow::Result<String> {
    let mut filter = String::new();
    for (name, value) in [
        ("key", &wanted.key),
        ("project", &wanted.project),
        ("provider", &wanted.provider),
        ("model", &wanted.model),
    ] {
        if let Some(value) = value {
            filter += &format!("&{name}={}", escape(value));
        }
    }
    for (name, value) in [("since", &wanted.since), ("until", &wanted.until)] {
        if let Some(value) = value {
            filter += &format!("&{name}={}", escape(&time(name, value)?));
        }
    }
    Ok(filter)
}

/// A time as the server takes it: a date is its first moment, `7d` is so long ago.
pub(super) fn time(name: &str, text: &str) -> anyhow::Result<String> {
    if text.contains('T') {
        return Ok(text.to_owned());
    }
    if text.len() == 10 && text.as_bytes()[4] == b'-' {
        return Ok(format!("{text}T00:00:00Z"));
    }
    let wrong = || {
        Usage(format!(
            "--{name} must be a date (2026-01-31), a time (2026-01-31T08:00:00Z) or how long ago (7d, 24h, 30m)"
        ))
    };
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds = match unit {
        "d" => 86_400,
        "h" => 3_600,
        "m" => 60,
        _ => return Err(wrong().into()),
    };
    let ago = number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds)).ok_or_else(wrong)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Ok(till_admin::rfc3339(Timestamp(now.saturating_sub(ago) * 1000)))
}

fn word(by: UsageBy) -> (&'static str, &'static str) {
    match by {
        UsageBy::Key => ("key", "keyId"),
        UsageBy::Model => ("model", "model"),
        UsageBy::Day => ("day", "day"),
        UsageBy::Provider => ("provider", "provider"),
        UsageBy::Endpoint => ("endpoint", "endpoint"),
    }
}

fn sums(wanted: &UsageWanted, filter: &str, client: &Client) -> anyhow::Result<()> {
    let by = if wanted.by.is_empty() { vec![UsageBy::Key] } else { wanted.by.clone() };
    let words: Vec<&str> = by.iter().map(|by| word(*by).0).collect();
    let answer = client.get(&format!("/admin/usage/summary?group_by={}{filter}", words.join(",")))?;
    if wanted.form == ListForm::Json {
        output::json(&answer)?;
        return Ok(());
    }
    let rows: Vec<Vec<String>> = answer["sums"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|sum| {
            let mut row: Vec<String> = by.iter().map(|by| text(&sum[word(*by).1])).collect();
            let tokens = &sum["tokens"];
            row.extend([
                text(&sum["calls"]),
                text(&tokens["input"]),
                text(&tokens["cacheRead"]),
                text(&tokens["output"]),
                text(&sum["chargedTokens"]),
                text(&sum["chargedUsd"]),
            ]);
            row
        })
        .collect();
    let mut heading: Vec<String> = words.iter().map(|word| word.to_uppercase()).collect();
    heading
        .extend(["CALLS", "INPUT", "CACHED", "OUTPUT", "CHARGED TOKENS", "CHARGED USD"].map(str::to_owned));
    print(&heading, &rows, wanted.form)
}

fn calls(wanted: &UsageWanted, filter: &str, client: &Client) -> anyhow::Result<()> {
    let mut records: Vec<Value> = Vec::new();
    let mut before = String::new();
    while records.len() < wanted.limit {
        let page = PAGE.min(wanted.limit - records.len());
        let mut answer = client.get(&format!("/admin/usage?limit={page}{filter}{before}"))?;
        if let Value::Array(page) = answer["records"].take() {
            records.extend(page);
        }
        match answer["nextBefore"].as_u64() {
            Some(next) => before = format!("&before={next}"),
            None => break,
        }
    }
    if wanted.form == ListForm::Json {
        output::json(&json!({"records": records}))?;
        return Ok(());
    }
    let columns = [
        "TIME",
        "KEY",
        "ENDPOINT",
        "MODEL",
        "STATUS",
        "OUTCOME",
        "DENIAL",
        "INPUT",
        "OUTPUT",
        "CHARGED USD",
        "MS",
    ];
    let rows: Vec<Vec<String>> = records
        .iter()
        .map(|record| {
            let time = if wanted.form == ListForm::Csv { text(&record["at"]) } else { minute(&record["at"]) };
            vec![
                time,
                text(&record["keyId"]),
                text(&record["endpoint"]),
                text(&record["model"]),
                text(&record["status"]),
                text(&record["outcome"]),
                text(&record["denial"]),
                text(&record["tokens"]["input"]),
                text(&record["tokens"]["output"]),
                text(&record["chargedUsd"]),
                text(&record["latencyMs"]),
            ]
        })
        .collect();
    print(&columns.map(str::to_owned), &rows, wanted.form)
}

fn print(heading: &[String], rows: &[Vec<String>], form: ListForm) -> anyhow::Result<()> {
    if form == ListForm::Csv {
        output::csv(heading)?;
        rows.iter().try_for_each(|row| output::csv(row))?;
        return Ok(());
    }
    if rows.is_empty() {
        output::line("There were no such calls.")?;
        return Ok(());
    }
    let titles: Vec<&str> = heading.iter().map(String::as_str).collect();
    let mut table = Table::new(&titles, &[2, 3]);
    rows.iter().for_each(|row| table.row(row.iter().cloned()));
    table.print()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn times_are_dates_times_or_how_long_ago() {
        assert_eq!(time("since", "2026-01-31").unwrap(), "2026-01-31T00:00:00Z");
        assert_eq!(time("since", "2026-01-31T08:00:00+01:00").unwrap(), "2026-01-31T08:00:00+01:00");
        for ago in ["7d", "24h", "30m", "0d"] {
            assert!(time("since", ago).unwrap().ends_with('Z'), "{ago}");
        }
        for wrong in ["", "d", "7", "7w", "-7d", "yesterday", "é"] {
            assert!(time("since", wrong).is_err(), "{wrong:?}");
        }
    }
}
