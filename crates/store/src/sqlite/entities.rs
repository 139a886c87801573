//! What administrators keep, as rows.

use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use till_core::key::KeyId;
use till_core::limit::Units;
use till_core::policy::PolicyOwner;
use till_core::time::Timestamp;

use super::column::{Amount, Time};
use crate::backend::Batch;
use crate::entity::{EntityKind, EntityQuery, EntityRow, EntityWrite, Lookup};

macro_rules! columns {
    () => {
        "id, project, version, created_at, updated_at, ended_at, used_at, body"
    };
}

fn row_of(kind: EntityKind, row: &Row<'_>) -> Result<EntityRow> {
    let time = |index: usize| Ok::<_, rusqlite::Error>(row.get::<_, Option<Time>>(index)?.map(|time| time.0));
    Ok(EntityRow {
        kind,
        id: row.get(0)?,
        project: row.get(1)?,
        version: row.get(2)?,
        created_at: row.get::<_, Time>(3)?.0,
        updated_at: row.get::<_, Time>(4)?.0,
        ended_at: time(5)?,
        used_at: time(6)?,
        body: row.get(7)?,
    })
}

pub(super) fn fetch(connection: &Connection, kind: EntityKind, id: &str) -> Result<Option<EntityRow>> {
    let sql = concat!("SELECT ", columns!(), " FROM entities WHERE kind = ?1 AND id = ?2");
    connection.prepare_cached(sql)?.query_row(params![kind.as_str(), id], |row| row_of(kind, row)).optional()
}

/// The id that a hash leads to.
pub(super) fn lookup(
    connection: &Connection,
    kind: EntityKind,
    hash: [u8; 32],
    now: Timestamp,
) -> Result<Option<String>> {
    let sql = "SELECT id FROM entity_lookups WHERE kind = ?1 AND hash = ?2 AND (until IS NULL OR until > ?3)";
    let found = params![kind.as_str(), hash, Time(now)];
    connection.prepare_cached(sql)?.query_row(found, |row| row.get(0)).optional()
}

/// The ways to find something.
pub(super) fn lookups(connection: &Connection, kind: EntityKind, id: &str) -> Result<Vec<Lookup>> {
    let sql = "SELECT hash, until FROM entity_lookups WHERE kind = ?1 AND id = ?2 ORDER BY until IS NOT NULL, until";
    let read = |row: &Row<'_>| {
        Ok(Lookup { hash: row.get(0)?, until: row.get::<_, Option<Time>>(1)?.map(|time| time.0) })
    };
    connection.prepare_cached(sql)?.query_map(params![kind.as_str(), id], read)?.collect()
}

pub(super) fn list(connection: &Connection, kind: EntityKind, query: &EntityQuery) -> Result<Vec<EntityRow>> {
    // After something that is not there nothing comes: its row is NULL, and no row is below NULL.
    let sql = concat!(
        "SELECT ",
        columns!(),
        " FROM entities WHERE kind = ?1 \
           AND (?2 IS NULL OR row < (SELECT row FROM entities WHERE kind = ?1 AND id = ?2 \
             AND (?3 IS NULL OR project = ?3))) \
           AND (?3 IS NULL OR project = ?3) AND (?4 OR ended_at IS NULL) ORDER BY row DESC LIMIT ?5"
    );
    // A negative limit is none.
    let limit = query.limit.map_or(-1, i64::from);
    let wanted = params![kind.as_str(), query.after, query.project, query.with_ended, limit];
    connection.prepare_cached(sql)?.query_map(wanted, |row| row_of(kind, row))?.collect()
}

pub(super) fn put(connection: &Connection, write: &EntityWrite) -> Result<()> {
    let EntityWrite { row, lookups } = write;
    let kind = row.kind.as_str();
    let sql = "INSERT INTO entities (kind, id, project, version, created_at, updated_at, ended_at, used_at, body) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
               ON CONFLICT (kind, id) DO UPDATE SET project = ?3, version = ?4, updated_at = ?6, ended_at = ?7, body = ?9";
    connection.prepare_cached(sql)?.execute(params![
        kind,
        row.id,
        row.project,
        row.version,
        Time(row.created_at),
        Time(row.updated_at),
        row.ended_at.map(Time),
        row.used_at.map(Time),
        row.body,
    ])?;
    let Some(lookups) = lookups else { return Ok(()) };
    let sql = "DELETE FROM entity_lookups WHERE kind = ?1 AND id = ?2";
    connection.prepare_cached(sql)?.execute(params![kind, row.id])?;
    for lookup in lookups {
        let sql = "INSERT INTO entity_lookups (kind, hash, id, until) VALUES (?1, ?2, ?3, ?4) \
                   ON CONFLICT (kind, hash) DO UPDATE SET id = ?3, until = ?4";
        let values = params![kind, lookup.hash, row.id, lookup.until.map(Time)];
        connection.prepare_cached(sql)?.execute(values)?;
    }
    Ok(())
}

pub(super) fn used(connection: &Connection, kind: EntityKind, id: &str, at: Timestamp) -> Result<()> {
    let sql = "UPDATE entities SET used_at = max(coalesce(used_at, 0), ?3) WHERE kind = ?1 AND id = ?2";
    connection.prepare_cached(sql)?.execute(params![kind.as_str(), id, Time(at)])?;
    Ok(())
}

pub(super) fn sessions_delete(connection: &Connection, now: Timestamp, limit: u32) -> Result<u64> {
    let sql = "DELETE FROM entities WHERE kind = 'session' AND row IN (SELECT row FROM entities WHERE kind = 'session' \
               AND (ended_at IS NOT NULL OR json_extract(body, '$.expiresAt') <= ?1) LIMIT ?2)";
    let deleted = connection.prepare_cached(sql)?.execute(params![Time(now), limit])?;
    if deleted > 0 {
        let sql = "DELETE FROM entity_lookups WHERE kind = 'session' \
                   AND id NOT IN (SELECT id FROM entities WHERE kind = 'session')";
        connection.prepare_cached(sql)?.execute([])?;
    }
    Ok(deleted as u64)
}

/// Notes owners that have ended, and those whose keys are all revoked.
pub(super) fn endings_write(connection: &Connection, batch: &Batch) -> Result<()> {
    for (owner, id) in &batch.endings {
        let sql = "INSERT INTO endings (kind, id) VALUES (?1, ?2) ON CONFLICT (kind, id) DO NOTHING";
        connection.prepare_cached(sql)?.execute([owner_column(*owner), id])?;
    }
    for (owner, id) in &batch.endings_done {
        let sql = "DELETE FROM endings WHERE kind = ?1 AND id = ?2";
        connection.prepare_cached(sql)?.execute([owner_column(*owner), id])?;
    }
    Ok(())
}

pub(super) fn endings(connection: &Connection) -> Result<Vec<(PolicyOwner, String)>> {
    let mut all = connection.prepare_cached("SELECT kind, id FROM endings")?;
    let mut rows = all.query([])?;
    let mut endings = Vec::new();
    while let Some(row) = rows.next()? {
        let kind: String = row.get(0)?;
        // What no column is named like was not written here, and has no keys.
        let owner = PolicyOwner::ALL.into_iter().find(|owner| owner_column(*owner) == kind);
        if let Some(owner) = owner {
            endings.push((owner, row.get(1)?));
        }
    }
    Ok(endings)
}

/// Ends every session, and takes away every claim.
pub(super) fn shut_out(connection: &Connection) -> Result<()> {
    connection.execute_batch(
        "DELETE FROM entities WHERE kind = 'session'; DELETE FROM entity_lookups WHERE kind = 'session'; \
         DELETE FROM claims",
    )
}

/// The column of `keys` that names an owner.
pub(super) fn owner_column(owner: PolicyOwner) -> &'static str {
    match owner {
        PolicyOwner::Project => "project",
        PolicyOwner::Maker => "maker",
        PolicyOwner::Credential => "credential",
    }
}

pub(super) fn keys_of(connection: &Connection, owner: PolicyOwner, id: &str) -> Result<Vec<KeyId>> {
    let sql = format!("SELECT id FROM keys WHERE {} = ?1", owner_column(owner));
    connection.prepare_cached(&sql)?.query_map([id], |row| row.get(0).map(KeyId))?.collect()
}

/// Those that are not revoked, after this one.
pub(super) fn keys_left(
    connection: &Connection,
    owner: PolicyOwner,
    id: &str,
    after: Option<KeyId>,
    limit: u32,
) -> Result<Vec<KeyId>> {
    let sql = format!(
        "SELECT keys.id FROM keys JOIN accounts USING (id) WHERE {} = ?1 AND status <> 'revoked' \
           AND keys.row > coalesce((SELECT row FROM keys WHERE id = ?2), -1) ORDER BY keys.row LIMIT ?3",
        owner_column(owner)
    );
    let parameters = params![id, after.map(|key| key.0), limit];
    connection.prepare_cached(&sql)?.query_map(parameters, |row| row.get(0).map(KeyId))?.collect()
}

/// What each of an owner's keys has used, without what is held for open calls.
pub(super) fn used_ever(
    connection: &Connection,
    owner: PolicyOwner,
    id: &str,
) -> Result<Vec<(KeyId, Units)>> {
    let sql = format!(
        "SELECT accounts.id, activations_spent, activations_burnt, tokens_spent, tokens_burnt, spend_spent, spend_burnt \
         FROM keys CROSS JOIN accounts ON accounts.id = keys.id WHERE {} = ?1",
        owner_column(owner)
    );
    let used = |row: &Row<'_>| {
        let sum = |first: usize| {
            let mut sum = 0_u128;
            for column in first..first + 2 {
                sum = sum.saturating_add(row.get::<_, Amount>(column)?.0);
            }
            Ok::<_, rusqlite::Error>(u64::try_from(sum).unwrap_or(u64::MAX))
        };
        Ok((KeyId(row.get(0)?), Units { activations: sum(1)?, tokens: sum(3)?, spend_nanos: sum(5)? }))
    };
    connection.prepare_cached(&sql)?.query_map([id], used)?.collect()
}

pub(super) fn live_keys(
    connection: &Connection,
    owner: PolicyOwner,
    id: &str,
    now: Timestamp,
) -> Result<u64> {
    let sql = format!(
        "SELECT count(*) FROM keys JOIN accounts USING (id) WHERE {} = ?1 AND status <> 'revoked' \
         AND (ends_at IS NULL OR ends_at > ?2)",
        owner_column(owner)
    );
    connection.prepare_cached(&sql)?.query_row(params![id, Time(now)], |row| row.get(0))
}
