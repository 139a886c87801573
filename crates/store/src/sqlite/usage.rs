//! Holds that a crash left open as SQL.

use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use till_core::ledger::{AccountId, HoldId, HoldKind, OpenHold};
use till_core::limit::Units;

use super::column::{Amount, Time, chain_from_bytes};
use super::read::damaged;
use super::{records, sum_rows, sums};
use crate::usage_record::{OrphanHold, hold_name};
use crate::usage_totals::{AMOUNTS, Total, TotalKey};

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
    // The sums have the record as it was.
    sums::catch_up(connection)?;
    records::forgive(connection, key, &hold_name(id), hold.at)?;
    let place = TotalKey { day: hold.at.day(), key, provider: "", model: "", endpoint: "" };
    let mut charged = [0; AMOUNTS];
    let units = [hold.units.activations, hold.units.tokens, hold.units.spend_nanos];
    for (amount, units) in charged[AMOUNTS - 3..].iter_mut().zip(units) {
        *amount = units.into();
    }
    let take_back = |sum: &mut Total, charged: &Total| {
        for (amount, charged) in sum.iter_mut().zip(charged) {
            *amount = amount.saturating_sub(*charged);
        }
    };
    sum_rows::change(connection, take_back, [(place, charged)])
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
        AccountId::Ceiling(_) => None,
    };
    holds.filter_map(|hold| hold.map(orphan).transpose()).collect()
}
