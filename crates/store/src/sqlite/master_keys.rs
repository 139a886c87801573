//! Which master keys there are, and which keys were made under them.

use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use till_core::key::KeyId;
use till_core::time::Timestamp;
use till_core::token::MasterKeyId;

use super::column::Time;
use crate::backend::Batch;
use crate::master_key::{KnownMasterKey, MasterKeyRecord};

/// Writes what a batch changes of them.
pub(super) fn write(connection: &Connection, batch: &Batch) -> Result<()> {
    if let Some(wrapped) = &batch.index_key_anew {
        connection.prepare_cached("UPDATE instance SET index_key = ?1")?.execute([wrapped])?;
    }
    for (id, at) in &batch.master_keys {
        let sql = "INSERT INTO master_keys (id, created_at) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING";
        connection.prepare_cached(sql)?.execute(params![id.0, Time(*at)])?;
    }
    for (id, at) in &batch.master_keys_retired {
        let sql = "UPDATE master_keys SET retired_at = coalesce(retired_at, ?2) WHERE id = ?1";
        connection.prepare_cached(sql)?.execute(params![id.0, Time(*at)])?;
    }
    for id in &batch.master_keys_ended {
        let sql = "UPDATE master_keys SET is_ended = TRUE WHERE id = ?1 AND retired_at IS NOT NULL";
        connection.prepare_cached(sql)?.execute([id.0])?;
    }
    Ok(())
}

pub(super) fn known(connection: &Connection) -> Result<Vec<KnownMasterKey>> {
    let sql = "SELECT id, retired_at IS NOT NULL, is_ended FROM master_keys ORDER BY created_at, id";
    let read = |row: &Row<'_>| {
        Ok(KnownMasterKey { id: MasterKeyId(row.get(0)?), is_retired: row.get(1)?, is_ended: row.get(2)? })
    };
    connection.prepare_cached(sql)?.query_map([], read)?.collect()
}

pub(super) fn is_retired(connection: &Connection, id: MasterKeyId) -> Result<Option<bool>> {
    let sql = "SELECT retired_at IS NOT NULL FROM master_keys WHERE id = ?1";
    connection.prepare_cached(sql)?.query_row([id.0], |row| row.get(0)).optional()
}

pub(super) fn list(connection: &Connection, now: Timestamp) -> Result<Vec<MasterKeyRecord>> {
    let sql = "SELECT master_keys.id, master_keys.created_at, retired_at, count(keys.id), \
                 count(*) FILTER (WHERE status <> 'revoked' AND (ends_at IS NULL OR ends_at > ?1)) \
               FROM master_keys LEFT JOIN keys ON master_key = master_keys.id LEFT JOIN accounts ON accounts.id = keys.id \
               GROUP BY master_keys.id ORDER BY master_keys.created_at, master_keys.id";
    let read = |row: &Row<'_>| {
        Ok(MasterKeyRecord {
            id: MasterKeyId(row.get(0)?),
            created_at: row.get::<_, Time>(1)?.0,
            retired_at: row.get::<_, Option<Time>>(2)?.map(|at| at.0),
            keys: row.get(3)?,
            keys_live: row.get(4)?,
        })
    };
    connection.prepare_cached(sql)?.query_map([Time(now)], read)?.collect()
}

pub(super) fn keys(
    connection: &Connection,
    id: MasterKeyId,
    after: Option<KeyId>,
    limit: u32,
) -> Result<Vec<KeyId>> {
    let sql = "SELECT keys.id FROM keys JOIN accounts USING (id) WHERE master_key = ?1 AND status <> 'revoked' \
                 AND keys.row > coalesce((SELECT row FROM keys WHERE id = ?2), -1) ORDER BY keys.row LIMIT ?3";
    let parameters = params![id.0, after.map(|key| key.0), limit];
    connection.prepare_cached(sql)?.query_map(parameters, |row| row.get(0).map(KeyId))?.collect()
}
