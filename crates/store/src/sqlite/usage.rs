//! Records of calls and sums over them as SQL.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use till_core::key::KeyId;
use till_core::ledger::{AccountId, HoldId, HoldKind, OpenHold};
use till_core::limit::Units;

use super::column::{Amount, Time, chain_from_bytes};
use super::read::damaged;
use super::records;
use crate::usage_record::{DAY_MS, OrphanHold, UsageFilter, UsageGroup, UsageRecord, UsageSum, hold_name};
use crate::usage_totals::{AMOUNTS, Total, TotalKey, add, by_total, sums};

/// Adds records to the blocks and to the sums.
pub(super) fn insert(connection: &Connection, calls: &[Arc<UsageRecord>]) -> Result<()> {
    if calls.is_empty() {
        return Ok(());
    }
    records::append(connection, calls)?;
    let mut totals: Vec<_> = by_total(calls.iter().map(Arc::as_ref)).into_iter().collect();
    // In the order of the table: neighbours share a page.
    totals.sort_unstable();
    change(connection, totals.into_iter().map(|(key, total)| (key, move |sum: &mut Total| add(sum, &total))))
}

/// Columns of a sum in the order of [`Total`].
macro_rules! amount_columns {
    () => {
        "calls, input, cache_read, cache_write, output, reasoning, audio_input, audio_output, image_input, image_output, \
         tool_calls, charged_activations, charged_tokens, charged_spend"
    };
}

/// Reads sums, changes them, writes them. SQLite's own addition would go over to floating point.
fn change<'a>(
    connection: &Connection,
    changes: impl IntoIterator<Item = (TotalKey<&'a str>, impl FnOnce(&mut Total))>,
) -> Result<()> {
    let select = concat!(
        "SELECT ",
        amount_columns!(),
        " FROM usage_sums WHERE day = ?1 AND key = ?2 AND provider = ?3 AND model = ?4 AND endpoint = ?5"
    );
    let update = "UPDATE usage_sums SET calls = ?6, input = ?7, cache_read = ?8, cache_write = ?9, output = ?10, \
                    reasoning = ?11, audio_input = ?12, audio_output = ?13, image_input = ?14, image_output = ?15, \
                    tool_calls = ?16, charged_activations = ?17, charged_tokens = ?18, charged_spend = ?19 \
                  WHERE day = ?1 AND key = ?2 AND provider = ?3 AND model = ?4 AND endpoint = ?5";
    let insert = concat!(
        "INSERT INTO usage_sums (day, key, provider, model, endpoint, ",
        amount_columns!(),
        ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)"
    );
    let mut select = connection.prepare_cached(select)?;
    let (mut update, mut insert) = (connection.prepare_cached(update)?, connection.prepare_cached(insert)?);
    for (key, change) in changes {
        let place = params![key.day, key.key.0, key.provider, key.model, key.endpoint];
        let found = select.query_row(place, |row| total(row, 0)).optional()?;
        let write = if found.is_some() { &mut update } else { &mut insert };
        let mut sum = found.unwrap_or([0; AMOUNTS]);
        change(&mut sum);
        write.raw_bind_parameter(1, key.day)?;
        write.raw_bind_parameter(2, key.key.0)?;
        write.raw_bind_parameter(3, key.provider)?;
        write.raw_bind_parameter(4, key.model)?;
        write.raw_bind_parameter(5, key.endpoint)?;
        for (index, amount) in (6..).zip(sum) {
            write.raw_bind_parameter(index, Amount(amount))?;
        }
        write.raw_execute()?;
    }
    Ok(())
}

fn total(row: &Row<'_>, first: usize) -> Result<Total> {
    let mut total = [0; AMOUNTS];
    for (index, amount) in (first..).zip(&mut total) {
        *amount = row.get::<_, Amount>(index)?.0;
    }
    Ok(total)
}

/// Takes back the charge of an orphan: its row, its record, its part of the sums.
pub(super) fn forgive(connection: &Connection, id: HoldId) -> Result<()> {
    let Some(hold) = orphan(connection, id)? else {
        return Ok(());
    };
    let sql = "DELETE FROM holds WHERE incarnation = ?1 AND number = ?2 AND state = 'orphan'";
    connection.prepare_cached(sql)?.execute(params![id.incarnation, id.number])?;
    let AccountId::Key(key) = hold.accounts.key() else {
        return Ok(());
    };
    records::forgive(connection, key, &hold_name(id), hold.at)?;
    let place = TotalKey { day: hold.at.0 / DAY_MS, key, provider: "", model: "", endpoint: "" };
    let units = [hold.units.activations, hold.units.tokens, hold.units.spend_nanos];
    let take_back = |sum: &mut Total| {
        for (amount, units) in sum[AMOUNTS - 3..].iter_mut().zip(units) {
            *amount = amount.saturating_sub(units.into());
        }
    };
    change(connection, [(place, take_back)])
}

/// The sums that are asked for. Rows are per day, key and model, so there are few of them compared with calls.
pub(super) fn sum(connection: &Connection, group: UsageGroup, filter: &UsageFilter) -> Result<Vec<UsageSum>> {
    let sql = format!(
        concat!(
            "SELECT day, key, provider, model, endpoint, ",
            amount_columns!(),
            " FROM usage_sums WHERE day >= ?1 AND day < ?2 AND {}"
        ),
        if filter.key.is_some() { "key = ?3" } else { "?3 IS NULL" }
    );
    let since = filter.since.map_or(0, |since| since.0 / DAY_MS);
    let until = filter.until.map_or(i64::MAX as u64, |until| until.0.div_ceil(DAY_MS));
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![since, until, filter.key.map(|key| key.0)], |row| {
        let key = TotalKey {
            day: row.get(0)?,
            key: KeyId(row.get(1)?),
            provider: row.get(2)?,
            model: row.get(3)?,
            endpoint: row.get(4)?,
        };
        Ok((key, total(row, 5)?))
    })?;
    let totals: Vec<(TotalKey<String>, Total)> = rows.collect::<Result<_>>()?;
    Ok(sums(totals, group, filter))
}

/// An orphan, if it is one.
pub(super) fn orphan(connection: &Connection, id: HoldId) -> Result<Option<OpenHold>> {
    let sql = "SELECT incarnation, number, at, activations, tokens, spend, accounts, kind, settled FROM holds \
               WHERE incarnation = ?1 AND number = ?2 AND state = 'orphan'";
    let parameters = params![Amount::from(id.incarnation), Amount::from(id.number)];
    let found = connection.prepare_cached(sql)?.query_row(parameters, hold_from).optional()?;
    Ok(found.map(|(_, hold)| hold))
}

/// A row of `holds`.
pub(super) fn hold_from(row: &Row<'_>) -> Result<(HoldId, OpenHold)> {
    let units = Units {
        activations: row.get::<_, Amount>(3)?.u64()?,
        tokens: row.get::<_, Amount>(4)?.u64()?,
        spend_nanos: row.get::<_, Amount>(5)?.u64()?,
    };
    let accounts = chain_from_bytes(row.get_ref(6)?.as_blob()?);
    let accounts = accounts.ok_or_else(|| damaged(6, "the accounts of a hold can't be read"))?;
    let id = HoldId { incarnation: row.get(0)?, number: row.get(1)? };
    let kind = match row.get_ref(7)?.as_str()? {
        "escrow" => HoldKind::Escrow { settled: row.get(8)? },
        _ => HoldKind::Call,
    };
    Ok((id, OpenHold { accounts, kind, units, at: row.get::<_, Time>(2)?.0 }))
}

/// Orphans, newest first.
pub(super) fn orphans(
    connection: &Connection,
    before: Option<HoldId>,
    limit: u32,
) -> Result<Vec<OrphanHold>> {
    let sql = "SELECT incarnation, number, at, activations, tokens, spend, accounts, kind, settled FROM holds \
               WHERE state = 'orphan' AND (?1 IS NULL OR (incarnation, number) < (?1, ?2)) \
               ORDER BY incarnation DESC, number DESC LIMIT ?3";
    let parameters = params![
        before.map(|id| Amount::from(id.incarnation)),
        before.map(|id| Amount::from(id.number)),
        limit
    ];
    let mut statement = connection.prepare_cached(sql)?;
    let holds = statement.query_map(parameters, hold_from)?;
    let orphan = |(id, hold): (HoldId, OpenHold)| match hold.accounts.key() {
        AccountId::Key(key) => Some(OrphanHold::new(id, key, &hold)),
        AccountId::Project(_) => None,
    };
    holds.filter_map(|hold| hold.map(orphan).transpose()).collect()
}
