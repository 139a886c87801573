//! Rows as values of the domain. What can't be one is an error: a damaged file, not a default.

use rusqlite::types::Type;
use rusqlite::{Connection, Error, OptionalExtension, Result, Row, params};
use serde_json::Value;
use till_core::key::{KeyId, KeyStatus};
use till_core::ledger::{Account, AccountId, Balance, BalanceParts, HoldId, OpenHold};
use till_core::lifetime::Lifetime;
use till_core::rate::Rates;
use till_core::scope::Scope;
use till_core::time::{Month, Timestamp};
use till_core::token::MasterKeyId;

use super::block::denial_of;
use super::column::{Amount, Time, account_parts};
use super::usage::hold_from;
use crate::backend::{Instance, Mark};
use crate::fence::Fence;
use crate::key::{Durability, KeyCounts, KeyDetails, KeyOptions, KeyPlace, KeyQuery, KeyRecord, KeySort};
use crate::kill_switch::KillSwitch;
use crate::usage_record::DenialSum;

/// Columns of `accounts` in the order that [`account_from`] reads them.
macro_rules! account_columns {
    () => {
        "activations_limit, activations_held, activations_spent, activations_escrowed, activations_burnt, \
         activations_overrun, tokens_limit, tokens_held, tokens_spent, tokens_escrowed, tokens_burnt, tokens_overrun, \
         spend_limit, spend_held, spend_spent, spend_escrowed, spend_burnt, spend_overrun, revoked_at, last_used_at, \
         not_before, expires_at, activate_by, idle_expiry_seconds, idle_from, expired_at, paused_at"
    };
}

/// How many those are.
const ACCOUNT_COLUMNS: usize = 27;

pub(super) fn instance(connection: &Connection) -> Result<Option<Instance>> {
    let sql = "SELECT id, incarnation, nonce, previous_nonce, fence_reason, fence_store_incarnation, \
                 fence_witness_incarnation, stopped_clean, version, time_seen, stopped_since, \
                 stopped_reason FROM instance";
    let read = |row: &Row<'_>| {
        let fence = match row.get::<_, Option<String>>(4)? {
            None => None,
            Some(reason) => {
                Some(Fence { store_incarnation: row.get(5)?, witness_incarnation: row.get(6)?, reason })
            }
        };
        Ok(Instance {
            id: row.get(0)?,
            mark: Mark { incarnation: row.get(1)?, nonce: row.get(2)? },
            previous_nonce: row.get(3)?,
            fence,
            stopped_clean: row.get(7)?,
            version: row.get(8)?,
            time_seen: row.get::<_, Time>(9)?.0,
            kill_switch: match row.get::<_, Option<Time>>(10)? {
                None => None,
                Some(since) => Some(KillSwitch { since: since.0, reason: row.get(11)? }),
            },
        })
    };
    connection.prepare_cached(sql)?.query_row([], read).optional()
}

pub(super) fn account(connection: &Connection, id: AccountId) -> Result<Option<Account>> {
    let sql = concat!("SELECT ", account_columns!(), " FROM accounts WHERE id = ?1 AND kind = ?2");
    let (kind, bytes) = account_parts(&id);
    connection.prepare_cached(sql)?.query_row(params![bytes, kind], |row| account_from(row, 0)).optional()
}

fn account_from(row: &Row<'_>, first: usize) -> Result<Account> {
    let mut account =
        Account::from_balances([balance(row, first)?, balance(row, first + 6)?, balance(row, first + 12)?]);
    let time = |index: usize| Ok::<_, Error>(row.get::<_, Option<Time>>(first + index)?.map(|time| time.0));
    account.revoked_at = time(18)?;
    account.last_used_at = time(19)?;
    account.lifetime = Lifetime {
        not_before: time(20)?,
        expires_at: time(21)?,
        activate_by: time(22)?,
        idle_expiry_seconds: row.get(first + 23)?,
    };
    account.idle_from = row.get::<_, Time>(first + 24)?.0;
    account.expired_at = time(25)?;
    account.paused_at = time(26)?;
    Ok(account)
}

fn balance(row: &Row<'_>, first: usize) -> Result<Balance> {
    let amount = |index: usize| row.get::<_, Amount>(first + index).map(|amount| amount.0);
    let limit = row.get::<_, Option<Amount>>(first)?.map(Amount::u64).transpose()?;
    let parts = BalanceParts {
        limit,
        held: amount(1)?,
        spent: amount(2)?,
        escrowed: amount(3)?,
        burnt: amount(4)?,
        overrun: amount(5)?,
    };
    Balance::from_parts(parts)
        .map_err(|error| Error::FromSqlConversionFailure(first, Type::Integer, Box::new(error)))
}

pub(super) fn damaged(column: usize, what: &'static str) -> Error {
    Error::FromSqlConversionFailure(column, Type::Blob, what.into())
}

pub(super) fn open_holds(connection: &Connection) -> Result<Vec<(HoldId, OpenHold)>> {
    let sql = "SELECT incarnation, number, at, activations, tokens, spend, accounts, kind, settled FROM holds \
               WHERE state = 'open' ORDER BY incarnation, number";
    connection.prepare_cached(sql)?.query_map([], hold_from)?.collect()
}

pub(super) fn month_total(connection: &Connection, month: Month) -> Result<u128> {
    let sql = "SELECT count FROM activations_by_month WHERE month = ?1";
    let total =
        connection.prepare_cached(sql)?.query_row([month.0], |row| row.get::<_, Amount>(0)).optional()?;
    Ok(total.map_or(0, |amount| amount.0))
}

pub(super) fn index_key(connection: &Connection) -> Result<Option<Vec<u8>>> {
    let read = |row: &Row<'_>| row.get(0);
    Ok(connection.prepare_cached("SELECT index_key FROM instance")?.query_row([], read).optional()?.flatten())
}

/// The state of a key at the time `?1`, as [`Account::status`] has it.
macro_rules! status_at {
    () => {
        "CASE WHEN status = 'revoked' THEN 'revoked' WHEN ends_at <= ?1 THEN 'expired' \
              WHEN status = 'exhausted' THEN 'exhausted' WHEN paused_at IS NOT NULL THEN 'paused' \
              WHEN not_before > ?1 THEN 'pending' ELSE 'active' END"
    };
}

const KEY_SELECT: &str = concat!(
    "SELECT ",
    account_columns!(),
    ", keys.id, project, provider, origin, metadata, created_at, clamp, allow_unbounded, scope, paused_reason, \
     requests_per_minute, tokens_per_minute, concurrent, durability, maker, credential, version, request, ",
    status_at!(),
    ", master_key FROM keys JOIN accounts USING (id)"
);

fn key_from(row: &Row<'_>) -> Result<KeyRecord> {
    let account = account_from(row, 0)?;
    let column = |index: usize| ACCOUNT_COLUMNS + index;
    let Ok(Value::Object(metadata)) = serde_json::from_str(row.get_ref(column(4))?.as_str()?) else {
        return Err(damaged(column(4), "the metadata of a key is no JSON object"));
    };
    let word = row.get_ref(column(18))?.as_str()?;
    let status = KeyStatus::ALL.into_iter().find(|status| status.as_str() == word);
    let status = status.ok_or_else(|| damaged(column(18), "unknown state of a key"))?;
    Ok(KeyRecord {
        id: KeyId(row.get(column(0))?),
        place: KeyPlace {
            project: row.get(column(1))?,
            maker: row.get(column(14))?,
            credential: row.get(column(15))?,
        },
        version: row.get(column(16))?,
        request: row.get(column(17))?,
        master_key: row.get::<_, Option<[u8; 4]>>(column(19))?.map(MasterKeyId),
        provider: row.get(column(2))?,
        origin: row.get(column(3))?,
        limits: account.limits(),
        options: KeyOptions {
            clamp: row.get(column(6))?,
            allow_unbounded: row.get(column(7))?,
            rates: rates(row, column(10))?,
            durability: durability(row, column(13))?,
        },
        scope: scope_from(row, column(8))?,
        used: account.used(),
        status,
        metadata,
        created_at: row.get::<_, Time>(column(5))?.0,
        last_used_at: account.last_used_at,
        revoked_at: account.revoked_at,
        lifetime: account.lifetime,
        expired_at: account.expired_at,
        paused_at: account.paused_at,
        paused_reason: row.get(column(9))?,
    })
}

fn rates(row: &Row<'_>, first: usize) -> Result<Rates> {
    Ok(Rates {
        requests_per_minute: row.get(first)?,
        tokens_per_minute: row.get(first + 1)?,
        concurrent: row.get(first + 2)?,
    })
}

fn durability(row: &Row<'_>, column: usize) -> Result<Durability> {
    let word = row.get_ref(column)?.as_str()?;
    Durability::parse(word).ok_or_else(|| damaged(column, "an unknown durability"))
}

pub(super) fn key_options(connection: &Connection, id: KeyId) -> Result<Option<KeyOptions>> {
    let sql = "SELECT clamp, allow_unbounded, requests_per_minute, tokens_per_minute, concurrent, durability FROM keys \
               WHERE id = ?1";
    let read = |row: &Row<'_>| {
        Ok(KeyOptions {
            clamp: row.get(0)?,
            allow_unbounded: row.get(1)?,
            rates: rates(row, 2)?,
            durability: durability(row, 5)?,
        })
    };
    connection.prepare_cached(sql)?.query_row([id.0], read).optional()
}

pub(super) fn key_details(connection: &Connection, id: KeyId) -> Result<Option<KeyDetails>> {
    let sql = "SELECT clamp, allow_unbounded, metadata, paused_reason, requests_per_minute, tokens_per_minute, \
                 concurrent, durability, version, project, maker, credential, provider, created_at FROM keys \
               WHERE id = ?1";
    let read = |row: &Row<'_>| {
        let Ok(Value::Object(metadata)) = serde_json::from_str(row.get_ref(2)?.as_str()?) else {
            return Err(damaged(2, "the metadata of a key is no JSON object"));
        };
        let options = KeyOptions {
            clamp: row.get(0)?,
            allow_unbounded: row.get(1)?,
            rates: rates(row, 4)?,
            durability: durability(row, 7)?,
        };
        Ok(KeyDetails {
            version: row.get(8)?,
            place: KeyPlace { project: row.get(9)?, maker: row.get(10)?, credential: row.get(11)? },
            provider: row.get(12)?,
            created_at: row.get::<_, Time>(13)?.0,
            options,
            metadata,
            paused_reason: row.get(3)?,
        })
    };
    connection.prepare_cached(sql)?.query_row([id.0], read).optional()
}

pub(super) fn key_place(connection: &Connection, id: KeyId) -> Result<Option<KeyPlace>> {
    let sql = "SELECT project, maker, credential FROM keys WHERE id = ?1";
    let read =
        |row: &Row<'_>| Ok(KeyPlace { project: row.get(0)?, maker: row.get(1)?, credential: row.get(2)? });
    connection.prepare_cached(sql)?.query_row([id.0], read).optional()
}

/// A scope that can't be read is no scope at all, so it is an error: the key is not served.
fn scope_from(row: &Row<'_>, column: usize) -> Result<Scope> {
    match row.get_ref(column)?.as_str_or_null()? {
        None => Ok(Scope::default()),
        Some(text) => {
            serde_json::from_str(text).map_err(|_| damaged(column, "the scope of a key can't be read"))
        }
    }
}

pub(super) fn key_scope(connection: &Connection, id: KeyId) -> Result<Option<Scope>> {
    let sql = "SELECT scope FROM keys WHERE id = ?1";
    connection.prepare_cached(sql)?.query_row([id.0], |row| scope_from(row, 0)).optional()
}

pub(super) fn key_fetch(connection: &Connection, id: KeyId, now: Timestamp) -> Result<Option<KeyRecord>> {
    let sql = format!("{KEY_SELECT} WHERE keys.id = ?2");
    connection.prepare_cached(&sql)?.query_row(params![Time(now), id.0], key_from).optional()
}

pub(super) fn key_list(connection: &Connection, query: &KeyQuery, now: Timestamp) -> Result<Vec<KeyRecord>> {
    let (compare, order) = if query.ascending { (">", "ASC") } else { ("<", "DESC") };
    // The row alone, where that suffices, so that its index is the order.
    let value = |accounts: &str| match query.sort {
        KeySort::Created => None,
        KeySort::LastUsed => Some(format!("coalesce({accounts}.last_used_at, -1)")),
        KeySort::Expires => Some(format!("coalesce({accounts}.ends_at, {})", i64::MAX)),
    };
    let by = |keys: &str, accounts: &str| match value(accounts) {
        None => format!("{keys}.row"),
        Some(value) => format!("{value}, {keys}.row"),
    };
    let (this, other) = (by("keys", "accounts"), by("k", "a"));
    let first = value("accounts").map_or_else(String::new, |value| format!("{value} {order}, "));
    // After an unknown key nothing comes: its row is NULL, and no row is below NULL.
    let sql = format!(
        "{KEY_SELECT} WHERE (?2 IS NULL OR ({this}) {compare} (SELECT {other} FROM keys AS k \
           JOIN accounts AS a USING (id) WHERE k.id = ?2 AND (?10 IS NULL OR k.project = ?10))) \
         AND (?3 IS NULL OR {} = ?3) AND (?4 IS NULL OR provider = ?4) AND (?6 IS NULL OR created_at < ?6) \
         AND (?7 IS NULL OR coalesce(last_used_at, created_at) < ?7) \
         AND (?8 IS NULL OR EXISTS (SELECT 1 FROM json_each(metadata) AS entry \
              WHERE entry.key = ?8 AND entry.type = 'text' AND entry.value = ?9)) \
         AND (?10 IS NULL OR project = ?10) AND (?11 IS NULL OR maker = ?11) AND (?12 IS NULL OR credential = ?12) \
         AND (?13 IS NULL OR master_key = ?13) \
         AND (?14 IS NULL OR keys.id BETWEEN ?15 AND ?16 OR (json_type(metadata, '$.name') = 'text' \
              AND instr(lower(metadata ->> '$.name'), ?14) > 0)) \
         ORDER BY {first}keys.row {order} LIMIT ?5",
        status_at!()
    );
    // A negative limit is none.
    let limit = query.limit.map_or(-1, i64::from);
    let metadata = query.metadata.as_ref();
    let searched = query.searched();
    let ids = searched.as_ref().and_then(|(_, ids)| *ids);
    let parameters = params![
        Time(now),
        query.after.map(|id| id.0),
        query.status.map(|status| status.as_str()),
        query.provider,
        limit,
        query.created_before.map(Time),
        query.last_used_before.map(Time),
        metadata.map(|(name, _)| name),
        metadata.map(|(_, value)| value),
        query.project,
        query.maker,
        query.credential,
        query.master_key.map(|id| id.0),
        searched.as_ref().map(|(text, _)| text),
        ids.map(|(first, _)| first.0),
        ids.map(|(_, last)| last.0),
    ];
    connection.prepare_cached(&sql)?.query_map(parameters, key_from)?.collect()
}

/// How many keys are in each state, of a project or of all.
pub(super) fn key_counts(
    connection: &Connection,
    project: Option<&str>,
    now: Timestamp,
) -> Result<KeyCounts> {
    let sql = format!(
        "SELECT {}, count(*) FROM keys JOIN accounts USING (id) WHERE {} GROUP BY 1",
        status_at!(),
        if project.is_some() { "project = ?2" } else { "?2 IS NULL" }
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![Time(now), project])?;
    let mut counts = KeyCounts::default();
    while let Some(row) = rows.next()? {
        let word = row.get_ref(0)?.as_str()?;
        let status = KeyStatus::ALL.into_iter().find(|status| status.as_str() == word);
        counts.add(status.ok_or_else(|| damaged(0, "unknown state of a key"))?, row.get(1)?);
    }
    Ok(counts)
}

/// The project of each key.
pub(super) fn key_projects(connection: &Connection) -> Result<Vec<(KeyId, String)>> {
    let mut statement = connection.prepare_cached("SELECT id, project FROM keys")?;
    statement.query_map([], |row| Ok((KeyId(row.get(0)?), row.get(1)?)))?.collect()
}

/// Sums of denials between two days, and those of one key.
pub(super) const DENIAL_SUMS: [&str; 2] = [
    "SELECT day, key, code, count FROM denial_sums WHERE day >= ?1 AND day < ?2 AND ?3 IS NULL",
    "SELECT day, key, code, count FROM denial_sums WHERE key = ?3 AND day >= ?1 AND day < ?2",
];

/// How often calls were denied, per day, key and reason, from the first day to before the second.
pub(super) fn denial_sums(
    connection: &Connection,
    (since, until): (u64, u64),
    key: Option<KeyId>,
) -> Result<Vec<DenialSum>> {
    let bounded = |day: u64| i64::try_from(day).unwrap_or(i64::MAX);
    let read = |row: &Row<'_>| {
        let key = <[u8; 16]>::try_from(row.get_ref(1)?.as_blob()?).ok().map(KeyId);
        let code = denial_of(row.get_ref(2)?.as_str()?);
        let code = code.ok_or_else(|| damaged(2, "an unknown reason of a denial"))?;
        Ok(DenialSum { day: row.get(0)?, key, code, count: row.get(3)? })
    };
    let range = params![bounded(since), bounded(until), key.map(|key| key.0)];
    let sql = DENIAL_SUMS[usize::from(key.is_some())];
    connection.prepare_cached(sql)?.query_map(range, read)?.collect()
}

pub(super) fn key_count(connection: &Connection) -> Result<u64> {
    connection.prepare_cached("SELECT count(*) FROM keys")?.query_row([], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, StatementStatus, params};

    use super::super::migration::migrate;
    use super::DENIAL_SUMS;

    #[test]
    fn sums_of_denials_are_found_without_looking_at_others() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert!(migrate(&mut connection).is_ok());
        let fill = "WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < 99999) \
                    INSERT INTO denial_sums SELECT n / 1000, CAST(printf('%016d', n % 1000) AS BLOB), 'model_denied', 1 FROM n";
        connection.execute_batch(fill).unwrap();
        connection.execute_batch("ANALYZE").unwrap();
        let key: &[u8] = b"0000000000000007";
        for (sql, key, plan, rows) in [
            (DENIAL_SUMS[0], None, "USING PRIMARY KEY (day>? AND day<?)", 3_000),
            (DENIAL_SUMS[1], Some(key), "USING INDEX denial_sums_by_key (key=? AND day>? AND day<?)", 3),
        ] {
            let mut explained = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let read = |row: &rusqlite::Row<'_>| row.get::<_, String>(3);
            let steps: Vec<String> =
                explained.query_map(params![40, 43, key], read).unwrap().map(Result::unwrap).collect();
            assert!(steps.iter().all(|step| step.contains(plan)), "{steps:?}");
            let mut statement = connection.prepare(sql).unwrap();
            let found = statement.query_map(params![40, 43, key], |_| Ok(())).unwrap().count();
            assert_eq!(found, rows);
            assert_eq!(statement.get_status(StatementStatus::FullscanStep), 0, "rows that nobody asked for");
        }
    }
}
