//! Keys that wait to be handed over, as SQL.

use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use till_core::key::KeyId;
use till_core::time::Timestamp;
use till_core::token::ClaimId;

use super::column::Time;
use crate::backend::Batch;
use crate::claim::Claim;

/// The claims of a batch. The rows of their keys are written before.
pub(super) fn write(connection: &Connection, batch: &Batch) -> Result<()> {
    for (key, claim) in &batch.claims {
        let sql = "INSERT INTO claims (id, key, sealed, expires_at) VALUES (?1, ?2, ?3, ?4)";
        let row = params![claim.id.0, key.0, claim.sealed, Time(claim.expires_at)];
        connection.prepare_cached(sql)?.execute(row)?;
    }
    for id in &batch.claims_gone {
        connection.prepare_cached("DELETE FROM claims WHERE id = ?1")?.execute([id.0])?;
    }
    Ok(())
}

pub(super) fn find(connection: &Connection, id: ClaimId) -> Result<Option<(KeyId, Timestamp)>> {
    let sql = "SELECT key, expires_at FROM claims WHERE id = ?1";
    let read = |row: &Row<'_>| Ok((KeyId(row.get(0)?), row.get::<_, Time>(1)?.0));
    connection.prepare_cached(sql)?.query_row([id.0], read).optional()
}

pub(super) fn fetch(connection: &Connection, id: ClaimId) -> Result<Option<Claim>> {
    let sql = "SELECT claims.key, keys.provider, claims.sealed, claims.expires_at \
               FROM claims JOIN keys ON keys.id = claims.key WHERE claims.id = ?1";
    let read = |row: &Row<'_>| {
        Ok(Claim {
            key: KeyId(row.get(0)?),
            provider: row.get(1)?,
            sealed: row.get(2)?,
            expires_at: row.get::<_, Time>(3)?.0,
        })
    };
    connection.prepare_cached(sql)?.query_row([id.0], read).optional()
}

/// Deletes at most `limit` claims whose time is over, and says how many.
pub(super) fn delete(connection: &Connection, now: Timestamp, limit: u32) -> Result<u64> {
    let sql = "DELETE FROM claims WHERE rowid IN (SELECT rowid FROM claims WHERE expires_at <= ?1 LIMIT ?2)";
    let deleted = connection.prepare_cached(sql)?.execute(params![Time(now), limit])?;
    Ok(deleted as u64)
}
