//! A database looked at from outside, for somebody who wants to know what is wrong with it.
//!
//! Invariant: nothing is changed, not even the index of the log: where a log can't be read without making one, that is said,
//! and the figures are not looked at. What can't be read hides nothing of the rest.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, Result};
use till_core::key::KeyId;
use till_core::ledger::{Account, AccountId, HoldId, HoldKind, OpenHold};
use till_core::limit::Dimension;
use till_core::time::Timestamp;

use super::column::Time;
use super::copy::uri;
use super::journal::{self, NewestImages};
use super::migration::{APPLICATION_ID, NEWEST};
use super::{BUSY_WAIT, audit, master_keys, open_error, read};
use crate::backend::Instance;
use crate::examine::{Finding, RESTORE, START_ONCE, at_most};
use crate::master_key::MasterKeyRecord;
use crate::restore::beside;
use crate::witness::LogMark;

const ABOUT: &str = "database";

/// Every database has as many bytes; SQLite takes a shorter file for one that is still to be made.
const HEAD_BYTES: u64 = 512;

/// What else somebody may want to compare.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) instance: Option<Instance>,
    pub(crate) index_key: Option<Vec<u8>>,
    pub(crate) master_keys: Vec<MasterKeyRecord>,
}

/// Whether somebody has the database open, what the witness knows of its log, and what time it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) is_running: bool,
    pub(crate) log: Option<LogMark>,
    pub(crate) now: Timestamp,
}

/// Looks at a database and says what it finds. `None` when nothing could be read.
pub(crate) fn examine(file: &Path, seen: Seen, found: &mut Vec<Finding>) -> Option<Facts> {
    let log_bytes = beside(file, "-wal").metadata().map_or(0, |metadata| metadata.len());
    found.push(length(file, log_bytes > 0));
    if file.metadata().is_ok_and(|metadata| metadata.len() < HEAD_BYTES) {
        return None;
    }
    let options = match (seen.is_running, log_bytes) {
        (true, _) => "mode=ro",
        (false, 0) => "immutable=1",
        (false, _) if beside(file, "-shm").exists() => "mode=ro&readonly_shm=1",
        (false, _) => {
            let text = format!(
                "{log_bytes} bytes of the write-ahead log are not in the database yet and its index (till.db-shm) is missing, \
                 as after copying: the figures can't be looked at without changing a file"
            );
            found.push(Finding::note(ABOUT, text, START_ONCE));
            return None;
        }
    };
    if log_bytes > 0 && !seen.is_running {
        let text = format!(
            "till ended without a stop: {log_bytes} bytes of the write-ahead log are brought in by the next start. If its end is \
             torn, nobody was answered for that part"
        );
        found.push(Finding::fine(ABOUT, text));
    }
    let looked = open(file, options).and_then(|connection| look(&connection, seen, found));
    match looked {
        Ok(facts) => facts,
        Err(error) => {
            found.push(unreadable(ABOUT, file, error));
            None
        }
    }
}

fn open(file: &Path, options: &str) -> Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(uri(file, options), flags)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(connection)
}

/// Whether as many bytes are there as the first page says. With a log beside it the file may be shorter or longer.
fn length(file: &Path, has_log: bool) -> Finding {
    let mut head = [0; 100];
    let read = File::open(file).and_then(|mut file| {
        let bytes = file.metadata()?.len();
        file.read_exact(&mut head[..usize::try_from(bytes).unwrap_or(100).min(100)])?;
        Ok(bytes)
    });
    let name = file.display();
    let bytes = match read {
        Ok(bytes) => bytes,
        Err(error) => return Finding::wrong(ABOUT, format!("{name} can't be read: {error}"), RESTORE),
    };
    if bytes < HEAD_BYTES {
        let text = format!("{name} was cut off: it has {bytes} bytes, and everything in it is gone");
        return Finding::wrong(ABOUT, text, RESTORE);
    }
    if !head.starts_with(b"SQLite format 3\0") {
        let text = format!(
            "{name} does not begin like a database: its first bytes are damaged, or it is something else"
        );
        return Finding::wrong(ABOUT, text, RESTORE);
    }
    let number = |at: usize| head[at..at + 4].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let page = match number(16) >> 16 {
        1 => 65_536,
        size => size,
    };
    let expected = number(28).saturating_mul(page);
    // The count is only kept up to date by those who also write the second number.
    let is_counted = number(28) > 0 && number(24) == number(92);
    match bytes.cmp(&expected) {
        std::cmp::Ordering::Less if is_counted && !has_log => {
            let text = format!(
                "{name} was cut off: it has {bytes} bytes, and its first page says {expected} ({} pages of {page})",
                number(28)
            );
            Finding::wrong(ABOUT, text, RESTORE)
        }
        std::cmp::Ordering::Greater if is_counted && !has_log => {
            let text =
                format!("{name} has {bytes} bytes, {} more than its first page says", bytes - expected);
            Finding::wrong(ABOUT, text, RESTORE)
        }
        _ => Finding::fine(ABOUT, format!("{name}: {bytes} bytes")),
    }
}

fn look(connection: &Connection, seen: Seen, found: &mut Vec<Finding>) -> Result<Option<Facts>> {
    let number = |pragma: &str| -> Result<i32> {
        connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))
    };
    if number("application_id")? != APPLICATION_ID {
        found.push(Finding::wrong(ABOUT, "it was made by another program".into(), RESTORE));
        return Ok(None);
    }
    let (schema, newest) = (number("user_version")?, i32::try_from(NEWEST).unwrap_or(i32::MAX));
    if schema > newest {
        let text = format!("it has schema version {schema}, and this till knows versions up to {newest}");
        let fix = "start the newer till again, or restore a backup made before it with `till restore`";
        found.push(Finding::wrong(ABOUT, text, fix));
        return Ok(None);
    }
    whole(connection, found);
    if schema < newest {
        let text = format!(
            "it has schema version {schema}; the next start brings it to {newest}, and no older till opens it then"
        );
        found.push(Finding::note(ABOUT, text, "make a backup with the older till before the start"));
        return Ok(None);
    }
    let moment = connection.unchecked_transaction()?;
    let mut facts = Facts::default();
    part("instance", found, |found| {
        facts.instance = read::instance(&moment)?;
        facts.index_key = read::index_key(&moment)?;
        facts.master_keys = master_keys::list(&moment, seen.now)?;
        if facts.instance.is_none() {
            found.push(Finding::note("instance", "nothing was ever started on it".into(), START_ONCE));
        }
        Ok(())
    });
    part("accounts", found, |found| accounts(&moment, found));
    part("keys", found, |found| keys(&moment, seen.now, found));
    part("holds", found, |found| orphans(&moment, found));
    part("audit log", found, |found| audit_log(&moment, seen.log, found));
    part("backups", found, |found| backups(&moment, seen.now, found));
    Ok(Some(facts))
}

/// One thing that is looked at. That it can't be read is a finding, and the next one is looked at all the same.
fn part(about: &'static str, found: &mut Vec<Finding>, look: impl FnOnce(&mut Vec<Finding>) -> Result<()>) {
    if let Err(error) = look(found) {
        found.push(unreadable(about, Path::new(super::FILE_NAME), error));
    }
}

fn unreadable(about: &'static str, file: &Path, error: rusqlite::Error) -> Finding {
    use crate::error::OpenError::{Corrupt, Io, NotWritable};
    let name = file.display();
    match open_error(file.into(), super::Refused::Sqlite(error)) {
        Corrupt { reason, .. } => Finding::wrong(about, format!("{name} is damaged: {reason}"), RESTORE),
        NotWritable { reason, .. } | Io { reason, .. } => {
            let fix = "run `till doctor` as the user that runs till, and check the disk and the permissions";
            Finding::wrong(about, format!("{name} can't be read: {reason}"), fix)
        }
        other => Finding::wrong(about, other.to_string(), RESTORE),
    }
}

/// Every page and index, and that every row that is named is there.
fn whole(connection: &Connection, found: &mut Vec<Finding>) {
    part(ABOUT, found, |found| {
        let verdicts: Vec<String> = connection
            .prepare("PRAGMA integrity_check(5)")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_>>()?;
        let orphans = connection.prepare("PRAGMA foreign_key_check")?.query_map([], |_| Ok(()))?.count();
        if verdicts != ["ok"] {
            let text = format!("its pages are damaged: {}", verdicts.join("; "));
            found.push(Finding::wrong(ABOUT, text, RESTORE));
        } else if orphans > 0 {
            let text = format!("{orphans} rows name another one that is not there");
            found.push(Finding::wrong(ABOUT, text, RESTORE));
        } else {
            found.push(Finding::fine(ABOUT, "every page, index and reference is sound".into()));
        }
        Ok(())
    });
}

/// Figures as they are with the journal: whether they add up, and whether what is set aside is what open holds have.
fn accounts(connection: &Connection, found: &mut Vec<Finding>) -> Result<()> {
    let mut newest = NewestImages::default();
    let mut holds: HashMap<HoldId, OpenHold> = read::open_holds(connection)?.into_iter().collect();
    let mut entries = 0_u64;
    let journal = journal::entries(connection, journal::mark(connection)?, |entry, _| {
        newest.add(&entry.accounts);
        holds.extend(entry.holds.into_iter().map(|(id, image)| (id, image.hold)));
        holds.retain(|id, _| !entry.holds_closed.contains(id));
        entries += 1;
    });
    if let Err(error) = journal {
        found.push(unreadable("journal", Path::new(super::FILE_NAME), error));
        return Ok(());
    }
    let mut set_aside: HashMap<AccountId, [[u128; 2]; 3]> = HashMap::new();
    for hold in holds.values() {
        for account in hold.accounts.iter() {
            let sums = set_aside.entry(account).or_default();
            for (sum, dimension) in sums.iter_mut().zip(Dimension::ALL) {
                sum[usize::from(hold.kind != HoldKind::Call)] += u128::from(hold.units.of(dimension));
            }
        }
    }
    let (mut count, mut unbalanced, mut apart) = (0_u64, Vec::new(), Vec::new());
    read::every_account(connection, |id, row| {
        count += 1;
        let whole = match newest.get(id) {
            None => row,
            Some(image) => image.over(row.ok()).map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Null, error.into())
            }),
        };
        let aside = set_aside.remove(&id).unwrap_or_default();
        match whole {
            Err(_) => unbalanced.push(name(id)),
            Ok(account) if sums(&account) != aside => apart.push(name(id)),
            Ok(_) => {}
        }
    })?;
    unbalanced.extend(set_aside.into_keys().filter(|id| newest.get(*id).is_none()).map(name));
    if !unbalanced.is_empty() {
        let text = format!("the figures of {} do not add up or can't be read", at_most(&unbalanced));
        found.push(Finding::wrong("accounts", text, RESTORE));
    }
    if !apart.is_empty() {
        let text = format!("what is set aside in {} is not what open calls have", at_most(&apart));
        found.push(Finding::wrong("accounts", text, RESTORE));
    }
    if unbalanced.is_empty() && apart.is_empty() {
        let text = format!(
            "{count} accounts add up, with {entries} entries of the journal and {} open holds",
            holds.len()
        );
        found.push(Finding::fine("accounts", text));
    }
    Ok(())
}

/// What is held and what is escrowed, per dimension.
fn sums(account: &Account) -> [[u128; 2]; 3] {
    let [activations, tokens, spend] = account.balances();
    [activations, tokens, spend].map(|balance| [balance.parts().held, balance.parts().escrowed])
}

fn name(id: AccountId) -> String {
    match id {
        AccountId::Key(key) => key.to_string(),
        AccountId::Ceiling(bytes) => format!("ceiling {}", till_core::hex::to_hex(&bytes)),
    }
}

/// Each key by itself: one that can't be read is refused by till, and the others are served.
fn keys(connection: &Connection, now: Timestamp, found: &mut Vec<Finding>) -> Result<()> {
    let (mut count, mut unreadable) = (0_u64, Vec::new());
    read::every_key(connection, now, |id, key| {
        count += 1;
        if key.is_err() {
            unreadable.push(id.map_or_else(|| "a key without an id".to_owned(), |id| KeyId(id).to_string()));
        }
    })?;
    let rows: u64 = connection.query_row("SELECT count(*) FROM keys", [], |row| row.get(0))?;
    if rows != count {
        let text = format!("{rows} keys are counted, and {count} have an account");
        found.push(Finding::wrong("keys", text, RESTORE));
    }
    found.push(if unreadable.is_empty() {
        Finding::fine("keys", format!("{count} keys can be read"))
    } else {
        Finding::wrong(
            "keys",
            format!("{} can't be read, so till refuses them", at_most(&unreadable)),
            RESTORE,
        )
    });
    Ok(())
}

fn orphans(connection: &Connection, found: &mut Vec<Finding>) -> Result<()> {
    let sql = "SELECT count(*) FROM holds WHERE state = 'orphan'";
    let orphans: u64 = connection.query_row(sql, [], |row| row.get(0))?;
    if orphans > 0 {
        let text =
            format!("{orphans} calls were under way when till ended without a stop; they count as spent");
        let fix = "nothing, or `till holds list` and `till holds forgive` for those that were not billed";
        found.push(Finding::note("holds", text, fix));
    }
    Ok(())
}

/// Each entry follows from the one before, and the one that the witness knows is there.
fn audit_log(connection: &Connection, known: Option<LogMark>, found: &mut Vec<Finding>) -> Result<()> {
    let fix = "`till audit verify` on an export that was kept shows what was changed; restore a backup if the database is damaged";
    match audit::chain(connection)? {
        Ok(head) => {
            found.push(Finding::fine("audit log", format!("{} entries follow from each other", head.seq)))
        }
        Err(broken) => found.push(Finding::wrong("audit log", broken, fix)),
    }
    if let Some(known) = known.map(|mark| mark.head).filter(|known| known.seq > 0)
        && audit::entry_hash(connection, known.seq)? != Some(known.hash)
    {
        let text = format!("entry {} is not the one that the witness file knows", known.seq);
        found.push(Finding::wrong("audit log", text, fix));
    }
    Ok(())
}

fn backups(connection: &Connection, now: Timestamp, found: &mut Vec<Finding>) -> Result<()> {
    let sql = "SELECT max(at) FROM audit WHERE action = 'backup.make'";
    let last: Option<Time> = connection.query_row(sql, [], |row| row.get(0))?;
    let fix = "`till backup FILE`, regularly, to another disk";
    found.push(match last {
        None => Finding::note("backups", "the audit log knows of no backup".into(), fix),
        Some(Time(at)) => {
            let days = now.0.saturating_sub(at.0) / 86_400_000;
            let text = format!("the last one was noted {at}");
            if days > 7 {
                Finding::note("backups", format!("{text}, {days} days ago"), fix)
            } else {
                Finding::fine("backups", text)
            }
        }
    });
    Ok(())
}
