//! Putting a backup in the place of a database.
//!
//! The backup is copied, checked and fenced beside the database, as [`DRAFT`]; when all of that is on disk it is named
//! [`READY`], and that is the one moment that counts: before it, the directory is what it was; after it, whoever opens the
//! directory first puts the new database in its place ([`finish`]), which is done as often as it takes. The old database
//! and its log get another name and are never deleted.
//!
//! What was restored is always fenced, whatever the witness says: a backup and the database that it was taken from may have
//! the same incarnation. All keys are refused, because nothing proves of any of them that it was not used since. Sessions
//! and claims end with it: nothing proves that they were not ended since either. What else comes back is [`crate::COMES_BACK`].

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};
use till_core::audit::Actor;
use till_core::hex::to_hex;
use till_core::ledger::Ledger;
use till_core::time::Timestamp;

use crate::backend::{Backend, Batch, Instance};
use crate::backup::{BackupError, BackupInfo, Step, failed, refused, verify_bytes};
use crate::error::OpenError;
use crate::fence::Fence;
use crate::files::{make_private_directory, open_error, sync_directory};
use crate::lock::DirectoryLock;
use crate::sqlite::{FILE_NAME, SqliteBackend, copy};
use crate::store::OpenOptions as StoreOptions;
use crate::witness::{Reading, Witness};

/// Not to be trusted: something may have ended while it was written.
const DRAFT: &str = "till.db.restoring";

/// Whole, checked, fenced and on disk.
const READY: &str = "till.db.restored";

/// What came of a restore.
#[derive(Clone, Debug)]
pub struct Restored {
    /// What the backup says about itself.
    pub info: BackupInfo,
    /// Where the database is now that was there before.
    pub kept: Option<PathBuf>,
}

/// Puts a backup in the place of the database of a data directory. The instance must not run.
///
/// # Errors
/// [`BackupError`]. Unless it happened after [`Step::Commit`], the directory is as it was before; after that the next start
/// finishes.
pub fn restore(
    file: &Path,
    options: &StoreOptions,
    replace: bool,
    (actor, now): (&Actor, Timestamp),
    progress: &mut dyn FnMut(Step),
) -> Result<Restored, BackupError> {
    let dir = &options.data_dir;
    make_private_directory(dir)?;
    let _lock = DirectoryLock::acquire(dir)?;
    finish_telling(dir, &mut |_| {})?;
    let database = dir.join(FILE_NAME);
    let occupied = database.metadata().is_ok_and(|metadata| metadata.len() > 0);
    if occupied && !replace {
        // A file that is no backup is the greater mistake.
        let trailer = verify_bytes(file, &mut |_, _| Ok(()))?;
        let contents = copy::check(file).map_err(|unsound| refused(file, unsound))?;
        let state = compare(&database, &trailer.info(&contents));
        return Err(BackupError::HasDatabase { path: database, state });
    }
    let draft = Draft::new(dir.join(DRAFT))?;
    let info = draft.fill(file, progress)?;
    progress(Step::Fence);
    draft.fence(&info, replaced(&database), options, (actor, now))?;
    let ready = dir.join(READY);
    fs::rename(&draft.path, &ready).map_err(|error| failed("write", &ready, &error))?;
    sync_directory(dir)?;
    progress(Step::Commit);
    let kept = finish_telling(dir, progress)?;
    Ok(Restored { info, kept })
}

/// Where the database and its audit log stood that is set aside, so that nobody takes entries away unseen by restoring. Nothing
/// where there is none, or none that can be read.
fn replaced(database: &Path) -> Value {
    let Ok(there) = copy::look(database) else { return Value::Null };
    json!({
        "auditSeq": there.audit.seq,
        "auditHash": to_hex(&there.audit.hash),
        "incarnation": there.instance.mark.incarnation,
    })
}

/// What the database that is there is against the backup.
fn compare(database: &Path, backup: &BackupInfo) -> String {
    let Ok(there) = copy::look(database) else {
        return "it can't be read".into();
    };
    let (is, was) = (there.instance.mark.incarnation, backup.incarnation);
    if there.instance.id != backup.instance_id {
        "it belongs to another instance".into()
    } else if is > was || there.audit.seq > backup.audit_seq {
        format!(
            "it is newer than the backup (start {is} against {was}, audit entry {} against {})",
            there.audit.seq, backup.audit_seq
        )
    } else {
        "it may have been used since the backup was made".into()
    }
}

/// A copy that nobody uses yet. It goes when this does, unless it was given another name.
struct Draft {
    path: PathBuf,
}

impl Draft {
    /// Takes the place of what an earlier restore left behind.
    fn new(path: PathBuf) -> Result<Self, BackupError> {
        let draft = Self { path };
        draft.remove().map_err(|error| failed("remove", &draft.path, &error))?;
        Ok(draft)
    }

    fn remove(&self) -> std::io::Result<()> {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            match fs::remove_file(beside(&self.path, suffix)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Copies the database out of a backup, and checks the copy.
    fn fill(&self, file: &Path, progress: &mut dyn FnMut(Step)) -> Result<BackupInfo, BackupError> {
        let failed = |error: std::io::Error| failed("write", &self.path, &error);
        let mut copied =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&self.path).map_err(failed)?;
        let mut done = 0;
        let trailer = verify_bytes(file, &mut |chunk, total| {
            copied.write_all(chunk).map_err(failed)?;
            done += chunk.len() as u64;
            progress(Step::Copy { done, total });
            Ok(())
        })?;
        copied.sync_all().map_err(failed)?;
        progress(Step::Check);
        let contents = copy::check(&self.path).map_err(|unsound| refused(file, unsound))?;
        Ok(trailer.info(&contents))
    }

    /// Writes down that all keys are refused, and why, with an audit entry; returns when it is one durable file.
    fn fence(
        &self,
        info: &BackupInfo,
        replaced: Value,
        options: &StoreOptions,
        (actor, now): (&Actor, Timestamp),
    ) -> Result<(), BackupError> {
        let mut backend = SqliteBackend::open_file(self.path.clone())?;
        let found = backend.instance().map_err(OpenError::from)?;
        let instance = found.ok_or_else(|| BackupError::NotABackup { path: self.path.clone() })?;
        let mut head = backend.audit_head().map_err(OpenError::from)?;
        let witness_incarnation = match Witness::open(&options.witness).1 {
            Reading::Found(record) | Reading::Copied(record) if record.instance_id == instance.id => {
                Some(record.mark.incarnation)
            }
            _ => None,
        };
        let fence = Fence {
            store_incarnation: instance.mark.incarnation,
            witness_incarnation,
            reason: format!(
                "the database was restored from a backup of {}, so what was used since then is not known",
                info.taken_at
            ),
        };
        let detail = json!({
            "takenAt": info.taken_at.to_string(),
            "sha256": info.sha256,
            "reason": fence.reason,
            "replaced": replaced,
        });
        let now = Timestamp(now.0.max(instance.time_seen.0));
        let mut batch = Batch { shuts_out: true, ..Batch::default() };
        batch.audit.push(head.append(now, actor, "backup.restore", "store", detail.to_string()));
        batch.instance = Some(Instance { fence: Some(fence), time_seen: now, ..instance });
        let written = backend.commit(&batch, &Ledger::new(0, true)).and_then(|()| backend.checkpoint());
        written.map_err(OpenError::from)?;
        drop(backend);
        let log = beside(&self.path, "-wal");
        if log.metadata().is_ok_and(|metadata| metadata.len() > 0) {
            let reason = "its log could not be brought into it".into();
            return Err(BackupError::Io { action: "write", path: self.path.clone(), reason });
        }
        let sync = fs::File::open(&self.path).and_then(|file| file.sync_all());
        sync.map_err(|error| failed("write", &self.path, &error))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // If it stays, the next restore removes it.
        let _ = self.remove();
    }
}

/// Puts a restored database in its place, if one is ready. Whoever calls this has the lock of the directory.
///
/// # Errors
/// A name can't be changed; the next call goes on.
pub(crate) fn finish(dir: &Path) -> Result<(), OpenError> {
    if finish_telling(dir, &mut |_| {})?.is_some() {
        tracing::warn!("a restore that was cut short is finished");
    }
    Ok(())
}

/// The same for somebody who has no lock, and does not need one where nothing is ready.
///
/// # Errors
/// As [`finish`], or somebody has the lock.
pub(crate) fn finish_pending(dir: &Path) -> Result<(), OpenError> {
    if dir.join(READY).exists() {
        let _lock = DirectoryLock::acquire(dir)?;
        finish(dir)?;
    }
    Ok(())
}

/// The same; answers where the old database is now.
fn finish_telling(dir: &Path, progress: &mut dyn FnMut(Step)) -> Result<Option<PathBuf>, OpenError> {
    let ready = dir.join(READY);
    let Ok(metadata) = ready.metadata() else { return Ok(None) };
    // The same name however often this is tried.
    let since_epoch = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let name = format!("{FILE_NAME}.before-restore-{}", since_epoch.unwrap_or_default().as_millis());
    let (database, kept) = (dir.join(FILE_NAME), dir.join(name));
    progress(Step::SetAside);
    // The log first: a database without its log is an old one, a log beside the wrong database is the end of that.
    for suffix in ["-wal", "-shm", ""] {
        set_aside(&beside(&database, suffix), &beside(&kept, suffix))?;
    }
    sync_directory(dir)?;
    progress(Step::PutInPlace);
    fs::rename(&ready, &database).map_err(|error| open_error(&database, &error))?;
    sync_directory(dir)?;
    Ok(kept.exists().then_some(kept))
}

/// Gives a file another name, unless it has it already or is not there.
fn set_aside(file: &Path, kept: &Path) -> Result<(), OpenError> {
    match fs::rename(file, kept) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(open_error(file, &error)),
        _ => Ok(()),
    }
}

/// A file beside a database, of the same name with something behind it.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
