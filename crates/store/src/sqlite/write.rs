//! A batch as SQL.

use rusqlite::{Connection, Result, Statement, named_params, params};
use till_core::audit::AuditEntry;
use till_core::key::KeyId;
use till_core::ledger::{Account, AccountId, BalanceParts, HoldId, HoldKind, Ledger, OpenHold};

use super::column::{Amount, Time, account_parts, chain_bytes};
use super::fold::Fold;
use super::journal::AccountImage;
use super::{audit, claims, entities, master_keys, usage};
use crate::backend::{Batch, DenialCount, Instance, KeyRow};
use crate::key::KeyDetails;

/// Writes a batch and what came before it into the transaction that is open on the connection. The figures and the
/// records of the batch are in `fold` already.
pub(super) fn batch(connection: &Connection, fold: &mut Fold, batch: &Batch, ledger: &Ledger) -> Result<()> {
    if let Some(instance) = &batch.instance {
        instance_put(connection, instance)?;
    }
    fold.all(connection)?;
    for id in &batch.lifetimes {
        lifetime_put(connection, id, ledger.account(*id).expect("a changed account is loaded"))?;
    }
    for row in &batch.keys {
        key_insert(connection, row)?;
    }
    if batch.shuts_out {
        entities::shut_out(connection)?;
    }
    claims::write(connection, batch)?;
    for (id, details) in &batch.details {
        details_put(connection, *id, details)?;
    }
    for id in &batch.holds_orphaned {
        let sql = "UPDATE holds SET state = 'orphan' WHERE incarnation = ?1 AND number = ?2";
        connection.prepare_cached(sql)?.execute(params![id.incarnation, id.number])?;
    }
    for id in &batch.holds_forgiven {
        usage::forgive(connection, *id)?;
    }
    for write in &batch.entities {
        entities::put(connection, write)?;
    }
    entities::endings_write(connection, batch)?;
    for (kind, id, at) in &batch.uses {
        entities::used(connection, *kind, id, *at)?;
    }
    if let Some(wrapped) = &batch.index_key {
        let sql = "UPDATE instance SET index_key = ?1 WHERE index_key IS NULL";
        connection.prepare_cached(sql)?.execute(params![wrapped])?;
    }
    master_keys::write(connection, batch)?;
    for entry in &batch.audit {
        audit_insert(connection, entry)?;
    }
    audit::change(connection, &batch.log)?;
    if batch.probe {
        // Touches a page, so that the commit really writes.
        connection.prepare_cached("UPDATE instance SET version = version")?.execute([])?;
    }
    Ok(())
}

fn instance_put(connection: &Connection, instance: &Instance) -> Result<()> {
    let sql = "INSERT INTO instance (one, id, incarnation, nonce, previous_nonce, fence_reason, \
                 fence_store_incarnation, fence_witness_incarnation, stopped_clean, version, time_seen, \
                 stopped_since, stopped_reason) \
               VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) \
               ON CONFLICT (one) DO UPDATE SET incarnation = ?2, nonce = ?3, previous_nonce = ?4, fence_reason = ?5, \
                 fence_store_incarnation = ?6, fence_witness_incarnation = ?7, stopped_clean = ?8, version = ?9, \
                 time_seen = max(time_seen, ?10), stopped_since = ?11, stopped_reason = ?12";
    let fence = instance.fence.as_ref();
    let switch = instance.kill_switch.as_ref();
    connection.prepare_cached(sql)?.execute(params![
        instance.id,
        instance.mark.incarnation,
        instance.mark.nonce,
        instance.previous_nonce,
        fence.map(|fence| &fence.reason),
        fence.map(|fence| fence.store_incarnation),
        fence.and_then(|fence| fence.witness_incarnation),
        instance.stopped_clean,
        instance.version,
        Time(instance.time_seen),
        switch.map(|switch| Time(switch.since)),
        switch.and_then(|switch| switch.reason.as_deref()),
    ])?;
    Ok(())
}

/// The columns of an account that calls change, but for its status.
macro_rules! update_account {
    () => {
        "UPDATE accounts SET \
           activations_limit = ?2, activations_held = ?3, activations_spent = ?4, activations_escrowed = ?5, \
           activations_burnt = ?6, activations_overrun = ?7, \
           tokens_limit = ?8, tokens_held = ?9, tokens_spent = ?10, tokens_escrowed = ?11, tokens_burnt = ?12, \
           tokens_overrun = ?13, \
           spend_limit = ?14, spend_held = ?15, spend_spent = ?16, spend_escrowed = ?17, spend_burnt = ?18, \
           spend_overrun = ?19, revoked_at = ?21, last_used_at = ?22, ends_at = ?23"
    };
}

/// Writes the figures of accounts.
pub(super) fn accounts_put(
    connection: &Connection,
    images: impl IntoIterator<Item = (AccountId, AccountImage)>,
) -> Result<()> {
    // Nearly every write changes a row that exists and leaves its status alone. Then the status is not set: to check a
    // new one against the list of those that there are SQLite makes a table of them, which costs more than all the rest.
    let mut update =
        connection.prepare_cached(concat!(update_account!(), " WHERE id = ?1 AND status = ?20"))?;
    for (id, image) in images {
        bind_account(&mut update, &id, &image)?;
        if update.raw_execute()? == 0 {
            account_put(connection, &id, &image)?;
        }
    }
    Ok(())
}

/// One with another status, or that has no row.
fn account_put(connection: &Connection, id: &AccountId, image: &AccountImage) -> Result<()> {
    let sql = concat!(update_account!(), ", status = ?20 WHERE id = ?1");
    let mut update = connection.prepare_cached(sql)?;
    bind_account(&mut update, id, image)?;
    if update.raw_execute()? == 0 { account_insert(connection, id, image) } else { Ok(()) }
}

fn account_insert(connection: &Connection, id: &AccountId, image: &AccountImage) -> Result<()> {
    let sql = "INSERT INTO accounts (id, activations_limit, activations_held, activations_spent, \
                 activations_escrowed, activations_burnt, activations_overrun, tokens_limit, tokens_held, \
                 tokens_spent, tokens_escrowed, tokens_burnt, tokens_overrun, spend_limit, spend_held, \
                 spend_spent, spend_escrowed, spend_burnt, spend_overrun, status, revoked_at, last_used_at, ends_at, \
                 kind) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, \
                 ?20, ?21, ?22, ?23, ?24)";
    let mut insert = connection.prepare_cached(sql)?;
    bind_account(&mut insert, id, image)?;
    insert.raw_bind_parameter(24, account_parts(id).0)?;
    insert.raw_execute().map(drop)
}

fn bind_account(statement: &mut Statement<'_>, id: &AccountId, image: &AccountImage) -> Result<()> {
    statement.raw_bind_parameter(1, account_parts(id).1)?;
    for (first, balance) in [2, 8, 14].into_iter().zip(&image.balances) {
        bind_balance(statement, first, balance)?;
    }
    statement.raw_bind_parameter(20, image.status.as_str())?;
    statement.raw_bind_parameter(21, image.revoked_at.map(Time))?;
    statement.raw_bind_parameter(22, image.last_used_at.map(Time))?;
    statement.raw_bind_parameter(23, image.ends_at.map(Time))
}

fn bind_balance(statement: &mut Statement<'_>, first: usize, parts: &BalanceParts) -> Result<()> {
    statement.raw_bind_parameter(first, parts.limit.map(Amount::from))?;
    let amounts = [parts.held, parts.spent, parts.escrowed, parts.burnt, parts.overrun];
    for (index, amount) in (first + 1..).zip(amounts) {
        statement.raw_bind_parameter(index, Amount(amount))?;
    }
    Ok(())
}

/// The columns that only a change by an admin or the end of a key writes.
fn lifetime_put(connection: &Connection, id: &AccountId, account: &Account) -> Result<()> {
    let sql = "UPDATE accounts SET not_before = ?2, expires_at = ?3, activate_by = ?4, idle_expiry_seconds = ?5, \
                 idle_from = ?6, expired_at = ?7, paused_at = ?8 WHERE id = ?1";
    let lifetime = &account.lifetime;
    connection.prepare_cached(sql)?.execute(params![
        account_parts(id).1,
        lifetime.not_before.map(Time),
        lifetime.expires_at.map(Time),
        lifetime.activate_by.map(Time),
        lifetime.idle_expiry_seconds,
        Time(account.idle_from),
        account.expired_at.map(Time),
        account.paused_at.map(Time),
    ])?;
    Ok(())
}

fn details_put(connection: &Connection, id: KeyId, details: &KeyDetails) -> Result<()> {
    let sql = "UPDATE keys SET clamp = ?2, allow_unbounded = ?3, metadata = ?4, paused_reason = ?5, \
                 requests_per_minute = ?6, tokens_per_minute = ?7, concurrent = ?8, durability = ?9, version = ?10 \
               WHERE id = ?1";
    let metadata = serde_json::to_string(&details.metadata).expect("a JSON map is JSON");
    connection.prepare_cached(sql)?.execute(params![
        id.0,
        details.options.clamp,
        details.options.allow_unbounded,
        metadata,
        details.paused_reason,
        details.options.rates.requests_per_minute,
        details.options.rates.tokens_per_minute,
        details.options.rates.concurrent,
        details.options.durability.as_str(),
        details.version,
    ])?;
    Ok(())
}

fn key_insert(connection: &Connection, row: &KeyRow) -> Result<()> {
    let sql = "INSERT INTO keys (id, project, provider, origin, metadata, created_at, clamp, allow_unbounded, scope, \
                 requests_per_minute, tokens_per_minute, concurrent, durability, maker, credential, request, \
                 master_key) \
               VALUES (:id, :project, :provider, :origin, :metadata, :created_at, :clamp, :allow_unbounded, :scope, \
                 :requests, :tokens, :concurrent, :durability, :maker, :credential, :request, :master_key)";
    let scope = (!row.key.scope.is_empty())
        .then(|| serde_json::to_string(&row.key.scope).expect("a scope is lists, numbers and texts"));
    let metadata = serde_json::Value::Object(row.key.metadata.clone()).to_string();
    connection.prepare_cached(sql)?.execute(named_params! {
        ":id": row.key.id.0,
        ":project": row.key.place.project,
        ":maker": row.key.place.maker,
        ":credential": row.key.place.credential,
        ":request": row.key.request,
        ":provider": row.key.provider,
        ":origin": row.key.origin,
        ":metadata": metadata,
        ":created_at": Time(row.created_at),
        ":clamp": row.key.options.clamp,
        ":allow_unbounded": row.key.options.allow_unbounded,
        ":scope": scope,
        ":requests": row.key.options.rates.requests_per_minute,
        ":tokens": row.key.options.rates.tokens_per_minute,
        ":concurrent": row.key.options.rates.concurrent,
        ":durability": row.key.options.durability.as_str(),
        ":master_key": row.key.master_key.map(|id| id.0),
    })?;
    Ok(())
}

pub(super) fn hold_put(
    connection: &Connection,
    id: HoldId,
    hold: &OpenHold,
    chain: &mut Vec<u8>,
) -> Result<()> {
    let sql = "INSERT INTO holds (incarnation, number, state, at, activations, tokens, spend, accounts, kind, settled) \
               VALUES (?1, ?2, 'open', ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
               ON CONFLICT (incarnation, number) DO UPDATE SET activations = ?4, tokens = ?5, spend = ?6, \
                 accounts = ?7, settled = ?9";
    let (kind, settled) = match hold.kind {
        HoldKind::Call => ("call", 0),
        HoldKind::Escrow { settled } => ("escrow", settled),
    };
    chain_bytes(&hold.accounts, chain);
    connection.prepare_cached(sql)?.execute(params![
        id.incarnation,
        id.number,
        Time(hold.at),
        Amount::from(hold.units.activations),
        Amount::from(hold.units.tokens),
        Amount::from(hold.units.spend_nanos),
        &chain[..],
        kind,
        settled,
    ])?;
    Ok(())
}

fn audit_insert(connection: &Connection, entry: &AuditEntry) -> Result<()> {
    let sql = "INSERT INTO audit (seq, at, actor_kind, actor_id, actor_address, actor_request_id, action, target, \
                 detail, prev_hash, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    connection.prepare_cached(sql)?.execute(params![
        entry.seq,
        Time(entry.at),
        entry.actor.kind.as_str(),
        entry.actor.id,
        entry.actor.address,
        entry.actor.request_id,
        entry.action,
        entry.target,
        entry.detail,
        entry.prev_hash,
        entry.hash,
    ])?;
    Ok(())
}

pub(super) fn denial_add(connection: &Connection, denial: &DenialCount) -> Result<()> {
    let sql = "INSERT INTO denials (minute, key, code, count) VALUES (?1, ?2, ?3, ?4) \
               ON CONFLICT (minute, key, code) DO UPDATE SET count = count + excluded.count";
    let key: &[u8] = denial.key.as_ref().map_or(&[], |key| &key.0);
    connection.prepare_cached(sql)?.execute(params![
        denial.minute,
        key,
        denial.code.as_str(),
        denial.count
    ])?;
    // Rows by the minute go once they are in the audit log; these stay.
    for sql in [
        "INSERT INTO denial_sums (day, key, code, count) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (day, key, code) DO UPDATE SET count = count + excluded.count",
        "INSERT INTO project_denials (day, project, code, count) \
         VALUES (?1, coalesce((SELECT project FROM keys WHERE id = ?2), ''), ?3, ?4) \
         ON CONFLICT (day, project, code) DO UPDATE SET count = count + excluded.count",
    ] {
        connection.prepare_cached(sql)?.execute(params![
            denial.minute / MINUTES_PER_DAY,
            key,
            denial.code.as_str(),
            denial.count
        ])?;
    }
    Ok(())
}

const MINUTES_PER_DAY: u64 = 1440;
