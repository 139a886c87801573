//! Rows as values of the domain. What can't be one is an error: a damaged file, not a default.

use rusqlite::types::Type;
use rusqlite::{Connection, Error, OptionalExtension, Result, Row, ToSql, params};
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
use crate::usage_record::{DenialQuery, DenialSum};

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

/// Each account by itself, so that one that can't be read hides none of the others.
pub(super) fn every_account(
    connection: &Connection,
    mut each: impl FnMut(AccountId, Result<Account>),
) -> Result<()> {
    let mut statement =
        connection.prepare(concat!("SELECT ", account_columns!(), ", id, kind FROM accounts"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id = row.get(ACCOUNT_COLUMNS)?;
        let id = match row.get_ref(ACCOUNT_COLUMNS + 1)?.as_str()? {
            "key" => AccountId::Key(KeyId(id)),
            _ => AccountId::Ceiling(id),
        };
        each(id, account_from(row, 0));
    }
    Ok(())
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

/// Each key by itself, with its id if that can be read.
pub(super) fn every_key(
    connection: &Connection,
    now: Timestamp,
    mut each: impl FnMut(Option<[u8; 16]>, Result<KeyRecord>),
) -> Result<()> {
    let mut statement = connection.prepare(KEY_SELECT)?;
    let mut rows = statement.query([Time(now)])?;
    while let Some(row) = rows.next()? {
        each(row.get(ACCOUNT_COLUMNS).ok(), key_from(row));
    }
    Ok(())
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

/// Conditions are only those that are asked for, so that a page begins where the one before ended, and a project has its
/// index. What keys are sorted by besides their creation is in no index, which every call would pay for: then all keys are
/// compared, and a page of them is read.
pub(super) fn key_list(connection: &Connection, query: &KeyQuery, now: Timestamp) -> Result<Vec<KeyRecord>> {
    let (compare, order) = if query.ascending { (">", "ASC") } else { ("<", "DESC") };
    let value = |accounts: &str| match query.sort {
        KeySort::Created => None,
        KeySort::LastUsed => Some(format!("coalesce({accounts}.last_used_at, -1)")),
        KeySort::Expires => Some(format!("coalesce({accounts}.ends_at, {})", i64::MAX)),
    };
    let by = |keys: &str, accounts: &str| match value(accounts) {
        None => format!("{keys}.row"),
        Some(value) => format!("{value}, {keys}.row"),
    };
    let metadata = query.metadata.as_ref();
    let searched = query.searched();
    let ids = searched.as_ref().and_then(|(_, ids)| *ids);
    // After an unknown key nothing comes: its row is NULL, and no row is below NULL.
    let after = format!(
        "({}) {compare} (SELECT {} FROM keys AS k JOIN accounts AS a USING (id) \
           WHERE k.id = ?2 AND (?10 IS NULL OR k.project = ?10))",
        by("keys", "accounts"),
        by("k", "a")
    );
    let status = concat!(status_at!(), " = ?3");
    let conditions = [
        (query.after.is_some(), after.as_str()),
        (query.status.is_some(), status),
        (query.provider.is_some(), "provider = ?4"),
        (query.created_before.is_some(), "created_at < ?6"),
        (query.last_used_before.is_some(), "coalesce(last_used_at, created_at) < ?7"),
        (
            metadata.is_some(),
            "EXISTS (SELECT 1 FROM json_each(metadata) AS entry \
               WHERE entry.key = ?8 AND entry.type = 'text' AND entry.value = ?9)",
        ),
        (query.project.is_some(), "project = ?10"),
        (query.maker.is_some(), "maker = ?11"),
        (query.credential.is_some(), "credential = ?12"),
        (query.master_key.is_some(), "master_key = ?13"),
        (
            searched.is_some(),
            "(keys.id BETWEEN ?15 AND ?16 OR (json_type(metadata, '$.name') = 'text' \
               AND instr(lower(metadata ->> '$.name'), ?14) > 0))",
        ),
    ];
    let mut wanted = String::from("TRUE");
    for (_, condition) in conditions.iter().filter(|(is_wanted, _)| *is_wanted) {
        wanted.push_str(" AND ");
        wanted.push_str(condition);
    }
    let ordered = match value("accounts") {
        None => format!("ORDER BY keys.row {order}"),
        Some(value) => format!("ORDER BY {value} {order}, keys.row {order}"),
    };
    // A key as it is shown is large: only those of the page are sorted as such.
    let wanted = match query.sort {
        KeySort::Created => format!("{wanted} {ordered} LIMIT ?5"),
        _ => format!(
            "keys.row IN (SELECT keys.row FROM keys JOIN accounts USING (id) WHERE {wanted} {ordered} LIMIT ?5) {ordered}"
        ),
    };
    // A negative limit is none.
    let limit = query.limit.map_or(-1, i64::from);
    let parameters: [(&str, &dyn ToSql); 16] = [
        ("?1", &Time(now)),
        ("?2", &query.after.map(|id| id.0)),
        ("?3", &query.status.map(|status| status.as_str())),
        ("?4", &query.provider),
        ("?5", &limit),
        ("?6", &query.created_before.map(Time)),
        ("?7", &query.last_used_before.map(Time)),
        ("?8", &metadata.map(|(name, _)| name)),
        ("?9", &metadata.map(|(_, value)| value)),
        ("?10", &query.project),
        ("?11", &query.maker),
        ("?12", &query.credential),
        ("?13", &query.master_key.map(|id| id.0)),
        ("?14", &searched.as_ref().map(|(text, _)| text)),
        ("?15", &ids.map(|(first, _)| first.0)),
        ("?16", &ids.map(|(_, last)| last.0)),
    ];
    let mut statement = connection.prepare_cached(&format!("{KEY_SELECT} WHERE {wanted}"))?;
    for (name, value) in parameters {
        // What has no condition has no parameter.
        if let Some(index) = statement.parameter_index(name)? {
            statement.raw_bind_parameter(index, value)?;
        }
    }
    let mut rows = statement.raw_query();
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(key_from(row)?);
    }
    Ok(found)
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

/// Sums of denials between two days: those of all keys of a project together, those of each key, and those of one key.
pub(super) const DENIAL_SUMS: [&str; 3] = [
    "SELECT day, NULL, code, count FROM project_denials \
     WHERE day >= ?1 AND day < ?2 AND ?3 IS NULL AND (?4 IS NULL OR project = ?4)",
    "SELECT day, key, code, count FROM denial_sums WHERE day >= ?1 AND day < ?2 AND ?3 IS NULL \
       AND (?4 IS NULL OR EXISTS (SELECT 1 FROM keys WHERE keys.id = denial_sums.key AND project = ?4))",
    "SELECT day, key, code, count FROM denial_sums WHERE key = ?3 AND day >= ?1 AND day < ?2 \
       AND (?4 IS NULL OR EXISTS (SELECT 1 FROM keys WHERE keys.id = denial_sums.key AND project = ?4))",
];

/// How often calls were denied, per day and reason, and per key or project.
pub(super) fn denial_sums(connection: &Connection, query: &DenialQuery) -> Result<Vec<DenialSum>> {
    let bounded = |day: u64| i64::try_from(day).unwrap_or(i64::MAX);
    let read = |row: &Row<'_>| {
        let key = row.get_ref(1)?.as_blob_or_null()?.unwrap_or_default();
        let key = <[u8; 16]>::try_from(key).ok().map(KeyId);
        let code = denial_of(row.get_ref(2)?.as_str()?);
        let code = code.ok_or_else(|| damaged(2, "an unknown reason of a denial"))?;
        Ok(DenialSum { day: row.get(0)?, key, code, count: row.get(3)? })
    };
    let DenialQuery { days: (since, until), key, project, by_key } = query;
    let wanted = params![bounded(*since), bounded(*until), key.map(|key| key.0), project];
    let sql = DENIAL_SUMS[if key.is_some() { 2 } else { usize::from(*by_key) }];
    connection.prepare_cached(sql)?.query_map(wanted, read)?.collect()
}

pub(super) fn key_count(connection: &Connection) -> Result<u64> {
    connection.prepare_cached("SELECT count(*) FROM keys")?.query_row([], |row| row.get(0))
}
