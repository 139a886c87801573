//! The audit log as SQL.

use std::collections::BTreeMap;

use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension, Result, Row, params};
use till_core::audit::{
    Actor, ActorKind, AuditEntry, AuditHash, AuditKeyId, AuditPublicKey, ChainHead, Checkpoint, GENESIS,
};
use till_core::denial::DenialCode;
use till_core::key::KeyId;
use till_core::time::Timestamp;

use super::column::Time;
use super::read::damaged;
use super::{SqliteBackend, SqliteReader, of_one_moment, transaction};
use crate::audit_log::{
    AuditAction, AuditBackend, AuditPage, AuditQuery, AuditReader, AuditState, DeniedMinute, LogChange,
    LogState,
};
use crate::backend::DenialCount;
use crate::error::StoreError;
use crate::log_break::follow;

impl AuditBackend for SqliteBackend {
    fn log_state(&mut self) -> Result<LogState, StoreError> {
        self.file.run("read", log_state)
    }

    fn denied_minute(&mut self, after: u64) -> Result<Option<u64>, StoreError> {
        // What is in the journal counts as well.
        self.fold_all()?;
        self.file.run("read", |connection| {
            let sql = "SELECT min(minute) FROM denials WHERE minute > ?1";
            connection.prepare_cached(sql)?.query_row([bounded(after)], |row| row.get(0))
        })
    }

    fn denied_in(&mut self, minute: u64, most: u32) -> Result<DeniedMinute, StoreError> {
        self.fold_all()?;
        self.file.run("read", |connection| denied_in(connection, minute, most))
    }

    fn entry_hash(&mut self, seq: u64) -> Result<Option<AuditHash>, StoreError> {
        self.file.run("read", |connection| entry_hash(connection, seq))
    }

    fn entries_after(&mut self, seq: u64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        let query = AuditQuery { after: Some(seq), limit, ..AuditQuery::default() };
        self.file.run("read", |connection| page(connection, &query).map(|page| page.entries))
    }

    fn checkpoint_before(&mut self, before: Timestamp) -> Result<Option<Checkpoint>, StoreError> {
        self.file.run("read", |connection| {
            one_checkpoint(connection, "WHERE at < ?1 ORDER BY seq DESC LIMIT 1", &[&Time(before)])
        })
    }

    fn log_delete(&mut self, limit: u32) -> Result<u64, StoreError> {
        // Most times there is nothing, and then nothing is to be written.
        if !self.file.run("read", has_what_is_gone)? {
            return Ok(0);
        }
        self.file.write(|connection| transaction(connection, || delete(connection, limit)))
    }
}

impl AuditReader for SqliteReader {
    fn audit_page(&mut self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        self.run(|connection| page(connection, query))
    }

    fn audit_state(&mut self) -> Result<AuditState, StoreError> {
        self.run(|connection| of_one_moment(connection, || state(connection)))
    }

    fn audit_checkpoints(&mut self, after_seq: u64, limit: u32) -> Result<Vec<Checkpoint>, StoreError> {
        self.run(|connection| {
            let rest = "WHERE seq > ?1 AND seq >= (SELECT anchor FROM audit_marks) ORDER BY seq LIMIT ?2";
            checkpoints(connection, rest, &[&bounded(after_seq), &limit])
        })
    }
}

/// The largest number that a column has stands for every larger one.
fn bounded(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The newest entry, or where the log would start.
pub(super) fn head(connection: &Connection) -> Result<ChainHead> {
    let read = |row: &Row<'_>| Ok(ChainHead { seq: row.get(0)?, hash: row.get(1)? });
    let sql = "SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1";
    if let Some(head) = connection.prepare_cached(sql)?.query_row([], read).optional()? {
        return Ok(head);
    }
    let anchor = one_checkpoint(connection, "WHERE seq = (SELECT anchor FROM audit_marks)", &[])?;
    Ok(anchor.map_or(ChainHead { seq: 0, hash: GENESIS }, |anchor| anchor.head()))
}

pub(super) fn entry_hash(connection: &Connection, seq: u64) -> Result<Option<AuditHash>> {
    let sql = "SELECT hash FROM audit WHERE seq = ?1 UNION ALL \
               SELECT hash FROM audit_checkpoints WHERE seq = ?1 LIMIT 1";
    connection.prepare_cached(sql)?.query_row([bounded(seq)], |row| row.get(0)).optional()
}

/// Follows the log from where it starts to its end; what is wrong with it where an entry does not fit.
pub(super) fn chain(connection: &Connection) -> Result<std::result::Result<ChainHead, String>> {
    let anchor = one_checkpoint(connection, "WHERE seq = (SELECT anchor FROM audit_marks)", &[])?;
    let start = anchor.map_or(ChainHead { seq: 0, hash: GENESIS }, |anchor| anchor.head());
    let head = head(connection)?;
    let after = |seq| {
        let query = AuditQuery { after: Some(seq), limit: 1_000, ..AuditQuery::default() };
        page(connection, &query).map(|page| page.entries)
    };
    Ok(follow(start, head, after)?.map_or(Ok(head), Err))
}

pub(super) fn log_state(connection: &Connection) -> Result<LogState> {
    let sql = "SELECT coalesce((SELECT max(seq) FROM audit_checkpoints), 0), anchor, denials_entered FROM audit_marks";
    let mut state = connection.query_row(sql, [], |row| {
        Ok(LogState {
            sealed: row.get(0)?,
            anchor: row.get(1)?,
            denials_entered: row.get(2)?,
            ..LogState::default()
        })
    })?;
    state.keys = keys(connection)?.iter().map(AuditPublicKey::id).collect();
    Ok(state)
}

fn keys(connection: &Connection) -> Result<Vec<AuditPublicKey>> {
    let mut statement = connection.prepare_cached("SELECT public_key FROM audit_keys ORDER BY id")?;
    statement.query_map([], |row| row.get(0).map(AuditPublicKey))?.collect()
}

pub(super) fn state(connection: &Connection) -> Result<AuditState> {
    Ok(AuditState {
        anchor: one_checkpoint(connection, "WHERE seq = (SELECT anchor FROM audit_marks)", &[])?,
        keys: keys(connection)?,
        last: one_checkpoint(connection, "ORDER BY seq DESC LIMIT 1", &[])?,
        settings: connection.query_row("SELECT settings FROM audit_marks", [], |row| row.get(0))?,
    })
}

fn one_checkpoint(
    connection: &Connection,
    rest: &str,
    parameters: &[&dyn ToSql],
) -> Result<Option<Checkpoint>> {
    Ok(checkpoints(connection, rest, parameters)?.into_iter().next())
}

fn checkpoints(connection: &Connection, rest: &str, parameters: &[&dyn ToSql]) -> Result<Vec<Checkpoint>> {
    let sql = format!(
        "SELECT (SELECT id FROM instance), seq, hash, at, key_id, signature FROM audit_checkpoints {rest}"
    );
    let read = |row: &Row<'_>| {
        Ok(Checkpoint {
            instance_id: row.get(0)?,
            seq: row.get(1)?,
            hash: row.get(2)?,
            at: row.get::<_, Time>(3)?.0,
            key_id: AuditKeyId(row.get(4)?),
            signature: row.get(5)?,
        })
    };
    connection.prepare_cached(&sql)?.query_map(parameters, read)?.collect()
}

/// What a batch changes besides new entries, which are there already.
pub(super) fn change(connection: &Connection, change: &LogChange) -> Result<()> {
    for key in &change.keys {
        let sql = "INSERT INTO audit_keys (id, public_key) VALUES (?1, ?2)";
        connection.prepare_cached(sql)?.execute(params![key.id().0, key.0])?;
    }
    if let Some(checkpoint) = &change.checkpoint {
        let sql =
            "INSERT INTO audit_checkpoints (seq, hash, at, key_id, signature) VALUES (?1, ?2, ?3, ?4, ?5)";
        connection.prepare_cached(sql)?.execute(params![
            checkpoint.seq,
            checkpoint.hash,
            Time(checkpoint.at),
            checkpoint.key_id.0,
            checkpoint.signature,
        ])?;
    }
    if let Some(minute) = change.denials_entered {
        connection.prepare_cached("UPDATE audit_marks SET denials_entered = ?1")?.execute([minute])?;
    }
    if let Some(settings) = &change.settings {
        connection.prepare_cached("UPDATE audit_marks SET settings = ?1")?.execute([settings])?;
    }
    if let Some(anchor) = change.anchor {
        connection.prepare_cached("UPDATE audit_marks SET anchor = ?1")?.execute([anchor])?;
    }
    Ok(())
}

pub(super) fn has_what_is_gone(connection: &Connection) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM audit WHERE seq <= (SELECT anchor FROM audit_marks)) \
                   OR EXISTS (SELECT 1 FROM audit_checkpoints WHERE seq < (SELECT anchor FROM audit_marks)) \
                   OR EXISTS (SELECT 1 FROM denials WHERE minute <= (SELECT denials_entered FROM audit_marks))";
    connection.prepare_cached(sql)?.query_row([], |row| row.get(0))
}

/// Oldest first, so that what is left has no gap.
pub(super) fn delete(connection: &Connection, limit: u32) -> Result<u64> {
    let pieces = [
        "DELETE FROM audit WHERE seq IN (SELECT seq FROM audit WHERE seq <= (SELECT anchor FROM audit_marks) \
           ORDER BY seq LIMIT ?1)",
        "DELETE FROM audit_checkpoints WHERE seq IN (SELECT seq FROM audit_checkpoints \
           WHERE seq < (SELECT anchor FROM audit_marks) ORDER BY seq LIMIT ?1)",
        "DELETE FROM denials WHERE (minute, key, code) IN (SELECT minute, key, code FROM denials \
           WHERE minute <= (SELECT denials_entered FROM audit_marks) ORDER BY minute LIMIT ?1)",
    ];
    let mut deleted = 0;
    for sql in pieces {
        deleted = deleted.max(connection.prepare_cached(sql)?.execute([limit])?);
    }
    Ok(deleted as u64)
}

pub(super) fn denied_in(connection: &Connection, minute: u64, most: u32) -> Result<DeniedMinute> {
    let of_key = "FROM denials WHERE minute = ?1 AND key <> x'' ORDER BY count DESC, key, code LIMIT";
    let mut statement = connection.prepare_cached(&format!("SELECT key, code, count {of_key} ?2"))?;
    let read = |row: &Row<'_>| {
        Ok(DenialCount { key: Some(KeyId(row.get(0)?)), code: code(row, 1)?, minute, count: row.get(2)? })
    };
    let most_denied: Vec<DenialCount> =
        statement.query_map(params![minute, most], read)?.collect::<Result<_>>()?;
    let rest = format!("SELECT key, code, count {of_key} -1 OFFSET ?2");
    let sql = format!("SELECT count(DISTINCT key) FROM ({rest})");
    let other_keys = connection.prepare_cached(&sql)?.query_row(params![minute, most], |row| row.get(0))?;
    let mut others: BTreeMap<DenialCode, u64> = BTreeMap::new();
    let mut unknown: u64 = 0;
    let sql = format!(
        "SELECT code, sum(count), 0 FROM ({rest}) GROUP BY code UNION ALL \
         SELECT code, count, 1 FROM denials WHERE minute = ?1 AND key = x''"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![minute, most])?;
    while let Some(row) = rows.next()? {
        let count: u64 = row.get(1)?;
        let sum = others.entry(code(row, 0)?).or_insert(0);
        *sum = sum.saturating_add(count);
        if row.get(2)? {
            unknown = unknown.saturating_add(count);
        }
    }
    Ok(DeniedMinute { most: most_denied, other_keys, others, unknown })
}

fn code(row: &Row<'_>, column: usize) -> Result<DenialCode> {
    let word = row.get_ref(column)?.as_str()?;
    let known = DenialCode::ALL.into_iter().find(|code| code.as_str() == word);
    known.ok_or_else(|| damaged(column, "unknown code of a denial"))
}

/// Entries that one page looks at.
const LOOKED_AT_MAX: usize = 10_000;

/// Walks along one index, or along the log, and looks at every entry there: so it is known how far it came.
pub(super) fn page(connection: &Connection, query: &AuditQuery) -> Result<AuditPage> {
    let mut values: Vec<Box<dyn ToSql>> = Vec::new();
    let mut and = |to: &mut String, condition: &str, value: Box<dyn ToSql>| {
        values.push(value);
        to.push_str(" AND ");
        to.push_str(&condition.replace('?', &format!("?{}", values.len())));
    };
    let (mut walked, mut fits) = (String::new(), String::new());
    let action = match &query.action {
        Some(AuditAction::Is(action)) => Some(action.clone()),
        Some(AuditAction::StartsWith(start)) => {
            and(&mut fits, "substr(action, 1, length(?)) = ?", Box::new(start.clone()));
            None
        }
        None => None,
    };
    // Each of them has an index with the entries in their order. The first one is walked along.
    let mut is_first = true;
    for (condition, value) in [
        ("target = ?", &query.target),
        ("project = ?", &query.project),
        ("actor_id = ?", &query.actor),
        ("action = ?", &action),
    ] {
        if let Some(value) = value {
            let to = if std::mem::take(&mut is_first) { &mut walked } else { &mut fits };
            and(to, condition, Box::new(value.clone()));
        }
    }
    if let Some(after) = query.after {
        and(&mut walked, if query.newest_first { "seq < ?" } else { "seq > ?" }, Box::new(bounded(after)));
    }
    if let Some(from) = query.from {
        and(&mut fits, "at >= ?", Box::new(bounded(from.0)));
    }
    if let Some(to) = query.to {
        and(&mut fits, "at < ?", Box::new(bounded(to.0)));
    }
    if let Some(text) = &query.mentions {
        and(&mut fits, "instr(detail, ?) > 0", Box::new(text.clone()));
    }
    let order = if query.newest_first { "DESC" } else { "ASC" };
    let sql = format!(
        "SELECT seq, at, actor_kind, actor_id, actor_address, actor_request_id, action, target, detail, prev_hash, hash, \
           coalesce(TRUE{fits}, FALSE) \
         FROM audit WHERE seq > (SELECT anchor FROM audit_marks){walked} ORDER BY seq {order}"
    );
    let parameters: Vec<&dyn ToSql> = values.iter().map(AsRef::as_ref).collect();
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(&parameters[..])?;
    let mut page = AuditPage::default();
    for _ in 0..LOOKED_AT_MAX {
        if page.entries.len() >= query.limit as usize {
            return Ok(page);
        }
        let Some(row) = rows.next()? else {
            page.next_after = None;
            return Ok(page);
        };
        page.next_after = Some(row.get(0)?);
        if row.get(11)? {
            page.entries.push(entry(row)?);
        }
    }
    Ok(page)
}

fn entry(row: &Row<'_>) -> Result<AuditEntry> {
    let kind =
        ActorKind::parse(row.get_ref(2)?.as_str()?).ok_or_else(|| damaged(2, "unknown kind of actor"))?;
    Ok(AuditEntry {
        seq: row.get(0)?,
        at: row.get::<_, Time>(1)?.0,
        actor: Actor { kind, id: row.get(3)?, address: row.get(4)?, request_id: row.get(5)? },
        action: row.get(6)?,
        target: row.get(7)?,
        detail: row.get(8)?,
        prev_hash: row.get(9)?,
        hash: row.get(10)?,
    })
}
