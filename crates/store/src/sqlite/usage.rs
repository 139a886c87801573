//! Records of calls and sums over them as SQL.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Result, Row, Statement, params};
use till_core::denial::DenialCode;
use till_core::key::KeyId;
use till_core::ledger::{AccountId, HoldId, HoldKind, OpenHold};
use till_core::limit::Units;
use till_core::time::Timestamp;

use super::column::{Amount, Time, chain_from_bytes};
use super::read::damaged;
use crate::usage_record::{
    DAY_MS, OrphanHold, Outcome, TokenCounts, UsageFilter, UsageGroup, UsageQuery, UsageRecord, UsageSum,
    hold_name,
};
use crate::usage_totals::{AMOUNTS, Total, TotalKey, add, by_total, sums};

/// Inserts records and adds them to the sums.
pub(super) fn insert(connection: &Connection, records: &[Arc<UsageRecord>]) -> Result<()> {
    if records.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO usage_records (at, key, request_id, provider, method, endpoint, model, status, outcome, \
                 denial, input, cache_read, cache_write, output, reasoning, audio_input, audio_output, image_input, \
                 image_output, tool_calls, charged_activations, charged_tokens, charged_spend, price_version, \
                 latency_ms, first_byte_ms, client, streamed) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, \
                 ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28)";
    let mut statement = connection.prepare_cached(sql)?;
    for record in records {
        bind(&mut statement, record)?;
        statement.raw_execute()?;
    }
    for (key, total) in by_total(records.iter().map(Arc::as_ref)) {
        change(connection, &key, |sum| add(sum, &total))?;
    }
    Ok(())
}

fn bind(statement: &mut Statement<'_>, record: &UsageRecord) -> Result<()> {
    statement.raw_bind_parameter(1, Time(record.at))?;
    statement.raw_bind_parameter(2, record.key.0)?;
    statement.raw_bind_parameter(3, &record.request_id)?;
    statement.raw_bind_parameter(4, &record.provider)?;
    statement.raw_bind_parameter(5, &record.method)?;
    statement.raw_bind_parameter(6, &record.endpoint)?;
    statement.raw_bind_parameter(7, &record.model)?;
    statement.raw_bind_parameter(8, record.status)?;
    statement.raw_bind_parameter(9, record.outcome.as_str())?;
    statement.raw_bind_parameter(10, record.denial.map(DenialCode::as_str))?;
    for (index, count) in (11..).zip(record.tokens.to_array()) {
        statement.raw_bind_parameter(index, Amount::from(count))?;
    }
    statement.raw_bind_parameter(21, Amount::from(record.charged.activations))?;
    statement.raw_bind_parameter(22, Amount::from(record.charged.tokens))?;
    statement.raw_bind_parameter(23, Amount::from(record.charged.spend_nanos))?;
    statement.raw_bind_parameter(24, &record.price_version)?;
    statement.raw_bind_parameter(25, i64::try_from(record.latency_ms).unwrap_or(i64::MAX))?;
    let first_byte = record.first_byte_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
    statement.raw_bind_parameter(26, first_byte)?;
    statement.raw_bind_parameter(27, record.client.map(|client| client.to_string()))?;
    statement.raw_bind_parameter(28, record.streamed)?;
    Ok(())
}

/// Columns of a sum in the order of [`Total`].
macro_rules! amount_columns {
    () => {
        "calls, input, cache_read, cache_write, output, reasoning, audio_input, audio_output, image_input, image_output, \
         tool_calls, charged_activations, charged_tokens, charged_spend"
    };
}

/// Reads a sum, changes it, writes it. SQLite's own addition would go over to floating point.
fn change(connection: &Connection, key: &TotalKey, change: impl FnOnce(&mut Total)) -> Result<()> {
    let sql = concat!(
        "SELECT ",
        amount_columns!(),
        " FROM usage_sums WHERE day = ?1 AND key = ?2 AND provider = ?3 AND model = ?4 AND endpoint = ?5"
    );
    let place = params![key.day, key.key.0, key.provider, key.model, key.endpoint];
    let found = connection.prepare_cached(sql)?.query_row(place, |row| total(row, 0)).optional()?;
    let mut sum = found.unwrap_or([0; AMOUNTS]);
    change(&mut sum);
    let sql = concat!(
        "INSERT OR REPLACE INTO usage_sums (day, key, provider, model, endpoint, ",
        amount_columns!(),
        ") VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)"
    );
    let mut statement = connection.prepare_cached(sql)?;
    statement.raw_bind_parameter(1, key.day)?;
    statement.raw_bind_parameter(2, key.key.0)?;
    statement.raw_bind_parameter(3, &key.provider)?;
    statement.raw_bind_parameter(4, &key.model)?;
    statement.raw_bind_parameter(5, &key.endpoint)?;
    for (index, amount) in (6..).zip(sum) {
        statement.raw_bind_parameter(index, Amount(amount))?;
    }
    statement.raw_execute().map(drop)
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
    let sql = "UPDATE usage_records SET outcome = 'unsent', charged_activations = 0, charged_tokens = 0, \
                 charged_spend = 0 WHERE key = ?1 AND request_id = ?2 AND outcome = 'lost'";
    connection.prepare_cached(sql)?.execute(params![key.0, hold_name(id)])?;
    let place = TotalKey {
        day: hold.at.0 / DAY_MS,
        key,
        provider: String::new(),
        model: String::new(),
        endpoint: String::new(),
    };
    let units = [hold.units.activations, hold.units.tokens, hold.units.spend_nanos];
    change(connection, &place, |sum| {
        for (amount, units) in sum[AMOUNTS - 3..].iter_mut().zip(units) {
            *amount = amount.saturating_sub(units.into());
        }
    })
}

/// Deletes at most `limit` records from before a moment, and says how many.
pub(super) fn delete(connection: &Connection, before: Timestamp, limit: u32) -> Result<u64> {
    let sql = "DELETE FROM usage_records WHERE seq IN \
                 (SELECT seq FROM usage_records WHERE at < ?1 ORDER BY at LIMIT ?2)";
    let deleted = connection.prepare_cached(sql)?.execute(params![Time(before), limit])?;
    Ok(deleted as u64)
}

/// The records that a query asks for.
pub(super) fn list(connection: &Connection, query: &UsageQuery) -> Result<Vec<(u64, UsageRecord)>> {
    // Two statements, so that each has the index that fits.
    let by_key = query.filter.key.is_some();
    let sql = format!(
        "SELECT seq, at, key, request_id, provider, method, endpoint, model, status, outcome, denial, input, cache_read, \
           cache_write, output, reasoning, audio_input, audio_output, image_input, image_output, tool_calls, \
           charged_activations, charged_tokens, charged_spend, price_version, latency_ms, first_byte_ms, client, \
           streamed \
         FROM usage_records WHERE seq < ?1 AND {} AND (?3 IS NULL OR provider = ?3) AND (?4 IS NULL OR model = ?4) \
           AND (?5 IS NULL OR at >= ?5) AND (?6 IS NULL OR at < ?6) AND (?7 IS NULL OR outcome = ?7) \
         ORDER BY seq DESC LIMIT ?8",
        if by_key { "key = ?2" } else { "?2 IS NULL" }
    );
    let UsageFilter { key, provider, model, since, until } = &query.filter;
    let before = query.before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX));
    let parameters = params![
        before,
        key.map(|key| key.0),
        provider,
        model,
        since.map(Time),
        until.map(Time),
        query.outcome.map(Outcome::as_str),
        query.limit,
    ];
    connection.prepare_cached(&sql)?.query_map(parameters, record_from)?.collect()
}

fn record_from(row: &Row<'_>) -> Result<(u64, UsageRecord)> {
    let amount = |index: usize| row.get::<_, Amount>(index)?.u64();
    let mut counts = [0; TokenCounts::KINDS];
    for (index, count) in (11..).zip(&mut counts) {
        *count = amount(index)?;
    }
    let outcome = Outcome::parse(row.get_ref(9)?.as_str()?);
    let denial = match row.get::<_, Option<String>>(10)? {
        None => None,
        Some(word) => {
            let known = DenialCode::ALL.into_iter().find(|code| code.as_str() == word);
            Some(known.ok_or_else(|| damaged(10, "an unknown denial"))?)
        }
    };
    let client = row.get::<_, Option<String>>(27)?;
    let record = UsageRecord {
        at: row.get::<_, Time>(1)?.0,
        key: KeyId(row.get(2)?),
        request_id: row.get(3)?,
        provider: row.get(4)?,
        method: row.get(5)?,
        endpoint: row.get(6)?,
        model: row.get(7)?,
        status: row.get(8)?,
        outcome: outcome.ok_or_else(|| damaged(9, "an unknown outcome"))?,
        denial,
        tokens: TokenCounts::from_array(counts),
        charged: Units { activations: amount(21)?, tokens: amount(22)?, spend_nanos: amount(23)? },
        price_version: row.get(24)?,
        latency_ms: row.get(25)?,
        first_byte_ms: row.get(26)?,
        client: client.and_then(|client| client.parse().ok()),
        streamed: row.get(28)?,
    };
    Ok((row.get(0)?, record))
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
    let totals: Vec<(TotalKey, Total)> = rows.collect::<Result<_>>()?;
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
