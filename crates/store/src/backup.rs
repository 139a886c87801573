//! Backups: the database of one moment in one file, which says by itself whether it is whole.
//!
//! A backup is made beside the instance, from its files: the instance goes on, and nothing that it does waits. What is in
//! it is what one transaction saw, the journal included, so every figure is one that was true at one moment. Neither master
//! keys nor the witness are in it: they are no part of the database.
//!
//! The file is an ordinary database with [`TRAILER_BYTES`] bytes behind it: a text that ends with the SHA-256 of all that
//! stands before. That tells a file that was damaged from one that was not, no more: whoever may write it can write the
//! SHA-256 as well. It gets its name when it is on disk and was read back and found right; until then it is `NAME.partial`,
//! which the next backup to that name removes if something ends this one. Nobody else's file is ever written to.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use till_core::hex::to_hex;
use till_core::time::Timestamp;
use till_core::token::MasterKeyId;

use crate::error::OpenError;
use crate::files::sync_directory;
use crate::restore;
use crate::sqlite::FILE_NAME;
use crate::sqlite::copy::{self, Contents, Unsound};
use crate::store::OpenOptions as StoreOptions;

const FIRST_LINE: &str = "till backup 1";

/// Length of what stands behind the database.
pub(crate) const TRAILER_BYTES: u64 = 512;

/// How often an unfinished file of somebody else is removed before that is given up.
const TRIES: u32 = 8;

/// Bytes that are read before somebody is told how far it is.
const CHUNK_BYTES: usize = 1 << 20;

/// What is being done, for whoever waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The database is copied; pages or bytes of all.
    Copy {
        /// So many are done,
        done: u64,
        /// of so many.
        total: u64,
    },
    /// The copy is checked.
    Check,
    /// It is written down that keys are refused until the restored figures are accepted.
    Fence,
    /// Everything is on disk. If this process ends now, the next start finishes.
    Commit,
    /// The database that was there gets another name.
    SetAside,
    /// The restored one gets its name.
    PutInPlace,
}

/// What a backup says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupInfo {
    /// When it was made.
    pub taken_at: Timestamp,
    /// Version of till that made it.
    pub version: String,
    /// Length of the file.
    pub bytes: u64,
    /// SHA-256 of the whole file, in hexadecimal.
    pub sha256: String,
    /// Version of the database's schema.
    pub schema: u32,
    /// Random bytes that tell the instance from every other one.
    pub instance_id: [u8; 16],
    /// How often the instance had been started and stopped.
    pub incarnation: u64,
    /// Keys ever made.
    pub keys: u64,
    /// Number of the newest audit entry.
    pub audit_seq: u64,
    /// The master key that was the current one: the scoped keys need it.
    pub master_key: Option<MasterKeyId>,
}

/// Why a backup can't be made, or is not to be trusted, or can't be restored. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is nothing to copy.
    #[error("there is no database in {dir}; give the right directory with --data", dir = dir.display())]
    NoDatabase {
        /// The data directory.
        dir: PathBuf,
    },
    /// Something has this name.
    #[error("{path} exists already; choose another name, or say --replace", path = path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It would take the place of what it is made from.
    #[error("{path} belongs to the instance itself; choose another directory", path = path.display())]
    OfTheInstance {
        /// The file.
        path: PathBuf,
    },
    /// What is to be replaced was not made by a backup.
    #[error("{path} is not a backup of till, so it is not replaced; choose another name, or remove it yourself", path = path.display())]
    NotReplaced {
        /// The file.
        path: PathBuf,
    },
    /// Somebody else makes a backup of this name.
    #[error("another backup is just being written to {path}", path = path.display())]
    Busy {
        /// The unfinished file.
        path: PathBuf,
    },
    /// It has no end as backups have.
    #[error("{path} is not a backup of till, or its end is missing", path = path.display())]
    NotABackup {
        /// The file.
        path: PathBuf,
    },
    /// It is not what was written.
    #[error("{path} is damaged ({reason}); use another backup", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A newer till made it.
    #[error("{path} has schema version {found}, which this till does not know; use the newer till", path = path.display())]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Version in the file.
        found: u32,
    },
    /// The directory is in use for something else.
    #[error("{path} is there already, and {state}; say --replace to put the backup in its place and keep it beside", path = path.display())]
    HasDatabase {
        /// The database.
        path: PathBuf,
        /// What it is against the backup.
        state: String,
    },
    /// The backup was made and could not be noted, so it was thrown away.
    #[error("the backup could not be noted in the audit log, so it was thrown away: {0}")]
    NotNoted(String),
    /// The operating system or the database refused.
    #[error("can't {action} {path} ({reason})", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The data directory can't be used.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Copies the database of a data directory to `file`, whether an instance runs there or not. `note` is called when the
/// backup is on disk and checked, before it gets its name; what it fails with ends everything. With `replace` an earlier
/// backup of that name is replaced, and no other file.
///
/// # Errors
/// [`BackupError`]. Then there is no new file; one that was to be replaced is still there.
pub fn backup_make(
    options: &StoreOptions,
    file: &Path,
    replace: bool,
    (taken_at, version): (Timestamp, &str),
    progress: &mut dyn FnMut(Step),
    note: impl FnOnce(&BackupInfo) -> Result<(), String>,
) -> Result<BackupInfo, BackupError> {
    let data_dir = &options.data_dir;
    restore::finish_pending(data_dir)?;
    let source = data_dir.join(FILE_NAME);
    if source.metadata().map_or(0, |metadata| metadata.len()) == 0 {
        return Err(BackupError::NoDatabase { dir: data_dir.into() });
    }
    if is_of_the_instance(options, file) {
        return Err(BackupError::OfTheInstance { path: file.into() });
    }
    check_free(file, replace)?;
    let partial = Partial::open(file)?;
    copy::copy(&source, &partial.path, |done, total| progress(Step::Copy { done, total }))
        .map_err(|error| failed("copy the database to", &partial.path, &error))?;
    crate::failpoint!("backup.copied");
    partial.finish(taken_at, version)?;
    let info = backup_verify(&partial.path, progress)?;
    crate::failpoint!("backup.verified");
    note(&info).map_err(BackupError::NotNoted)?;
    crate::failpoint!("backup.noted");
    partial.name(file, replace)?;
    Ok(info)
}

/// Whether a path is that of a file which the instance itself uses: some in its data directory, all beside its witness,
/// where the master keys are.
fn is_of_the_instance(options: &StoreOptions, file: &Path) -> bool {
    let directory = directory_of(file).canonicalize();
    let is = |other: &Path| directory.as_ref().is_ok_and(|is| other.canonicalize().is_ok_and(|it| it == *is));
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let is_of_data = name.starts_with(FILE_NAME) || name == "lock" || name == "address";
    is(directory_of(&options.witness)) || is_of_data && is(&options.data_dir)
}

fn directory_of(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Whether a backup may get this name.
fn check_free(file: &Path, replace: bool) -> Result<(), BackupError> {
    let Ok(there) = file.symlink_metadata() else { return Ok(()) };
    if !replace {
        return Err(BackupError::Exists { path: file.into() });
    }
    let is_backup = there.is_file() && read_trailer(file).is_ok();
    if is_backup { Ok(()) } else { Err(BackupError::NotReplaced { path: file.into() }) }
}

/// A file that is not finished. It goes when this does, unless it got its name.
struct Partial {
    path: PathBuf,
    file: File,
    named: bool,
}

impl Partial {
    /// Makes it, always anew: whoever made one that is there could read what is written to it, and what it is a link to
    /// may be somebody else's. So of all that hold the lock of a file of this name one has made it.
    fn open(file: &Path) -> Result<Self, BackupError> {
        let mut path = file.as_os_str().to_owned();
        path.push(".partial");
        let path = PathBuf::from(path);
        for _ in 0..TRIES {
            let made = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
            match made {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => clear(&path)?,
                Err(error) => return Err(failed("write", &path, &error)),
                Ok(file) => {
                    lock(&file, &path)?;
                    // Between the two somebody may have taken it for one that was left behind.
                    if is_at(&file, &path) {
                        return Ok(Self { path, file, named: false });
                    }
                }
            }
        }
        Err(BackupError::Busy { path })
    }

    /// Writes what stands behind the database, and returns when all of it is durable.
    fn finish(&self, taken_at: Timestamp, version: &str) -> Result<(), BackupError> {
        let failed = |error: io::Error| failed("write", &self.path, &error);
        let mut file = &self.file;
        let bytes = file.metadata().map_err(failed)?.len();
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut hash = Sha256::new();
        hash_bytes((&mut file, &self.path), bytes, &mut hash, &mut |_| Ok(()))?;
        let content = format!(
            "{FIRST_LINE}\ndatabase-bytes {bytes}\ntaken-at {}\ntill {}\n",
            taken_at.0,
            version.chars().filter(|letter| letter.is_ascii_graphic()).take(64).collect::<String>()
        );
        let text = format!("{content}sha256 {}\n", to_hex(&hash.chain_update(&content).finalize()));
        let mut trailer = text.into_bytes();
        trailer.resize(usize::try_from(TRAILER_BYTES).expect("a small number"), b'\n');
        file.write_all(&trailer).and_then(|()| file.sync_all()).map_err(failed)
    }

    fn name(mut self, file: &Path, replace: bool) -> Result<(), BackupError> {
        if !is_at(&self.file, &self.path) {
            let reason =
                "somebody else's file is there now; choose a directory that nobody else writes to".into();
            return Err(BackupError::Io { action: "write", path: self.path.clone(), reason });
        }
        let failed = |error: io::Error| failed("write", file, &error);
        if replace {
            check_free(file, replace)?;
            fs::rename(&self.path, file).map_err(failed)?;
            self.named = true;
        } else {
            // What came there meanwhile is not replaced. The unfinished name goes with `self`.
            match fs::hard_link(&self.path, file) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    return Err(BackupError::Exists { path: file.into() });
                }
                // There are file systems without links.
                Err(_) => {
                    check_free(file, replace)?;
                    fs::rename(&self.path, file).map_err(failed)?;
                    self.named = true;
                }
            }
        }
        Ok(sync_directory(directory_of(file))?)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.named {
            // If it stays, the next backup of this name removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes what an earlier backup left behind, or somebody put there.
fn clear(path: &Path) -> Result<(), BackupError> {
    let Ok(there) = path.symlink_metadata() else { return Ok(()) };
    let left = if there.is_file() { File::open(path).ok() } else { None };
    if let Some(left) = &left {
        lock(left, path)?;
        if !is_at(left, path) {
            return Ok(());
        }
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", path, &error)),
        _ => Ok(()),
    }
}

fn lock(file: &File, path: &Path) -> Result<(), BackupError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(BackupError::Busy { path: path.into() }),
        Err(TryLockError::Error(error)) => Err(failed("lock", path, &error)),
    }
}

/// Whether a path names this very file, and not one that it leads to.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(is), Ok(named)) => (is.dev(), is.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// Reads a backup from beginning to end and checks all of it.
///
/// # Errors
/// [`BackupError`] says what is wrong with it.
pub fn backup_verify(file: &Path, progress: &mut dyn FnMut(Step)) -> Result<BackupInfo, BackupError> {
    let trailer = verify_bytes(file, &mut |_, _| Ok(()))?;
    progress(Step::Check);
    let contents = copy::check(file).map_err(|unsound| refused(file, unsound))?;
    Ok(trailer.info(&contents))
}

/// What stands behind the database.
pub(crate) struct Trailer {
    pub(crate) database_bytes: u64,
    pub(crate) taken_at: Timestamp,
    pub(crate) version: String,
    /// Of the whole file.
    pub(crate) sha256: String,
}

impl Trailer {
    pub(crate) fn info(self, contents: &Contents) -> BackupInfo {
        BackupInfo {
            taken_at: self.taken_at,
            version: self.version,
            bytes: self.database_bytes + TRAILER_BYTES,
            sha256: self.sha256,
            schema: contents.schema,
            instance_id: contents.instance.id,
            incarnation: contents.instance.mark.incarnation,
            keys: contents.keys,
            audit_seq: contents.audit.seq,
            master_key: contents.master_key,
        }
    }
}

/// What is done with the bytes of a database while they are read; with how many there are.
pub(crate) type Take<'a> = &'a mut dyn FnMut(&[u8], u64) -> Result<(), BackupError>;

/// Reads the file once and compares its SHA-256, giving the bytes of the database to `take`: they are only to be trusted
/// when this returns.
pub(crate) fn verify_bytes(path: &Path, take: Take<'_>) -> Result<Trailer, BackupError> {
    let failed = |error: io::Error| failed("read", path, &error);
    let (mut file, text) = read_trailer(path)?;
    let database_bytes = file.metadata().map_err(failed)?.len().saturating_sub(TRAILER_BYTES);
    let not_a_backup = || BackupError::NotABackup { path: path.into() };
    let (content, expected, trailer) = parse_trailer(&text).ok_or_else(not_a_backup)?;
    let damaged = |reason: &str| BackupError::Damaged { path: path.into(), reason: reason.into() };
    if trailer.database_bytes != database_bytes {
        return Err(damaged("its length is not what it says"));
    }
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut hash = Sha256::new();
    hash_bytes((&mut file, path), database_bytes, &mut hash, &mut |chunk| take(chunk, database_bytes))?;
    let whole = to_hex(&hash.clone().chain_update(&text).finalize());
    if to_hex(&hash.chain_update(content).finalize()) != expected {
        return Err(damaged("its SHA-256 does not fit"));
    }
    Ok(Trailer { sha256: whole, ..trailer })
}

/// A file that ends as backups do, and its end.
fn read_trailer(path: &Path) -> Result<(File, String), BackupError> {
    let failed = |error: io::Error| failed("read", path, &error);
    let not_a_backup = || BackupError::NotABackup { path: path.into() };
    let mut file = File::open(path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let database_bytes = length.checked_sub(TRAILER_BYTES).ok_or_else(not_a_backup)?;
    file.seek(SeekFrom::Start(database_bytes)).map_err(failed)?;
    let mut bytes = Vec::new();
    Read::take(&file, TRAILER_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    let text = String::from_utf8(bytes).map_err(|_| not_a_backup())?;
    if parse_trailer(&text).is_none() {
        return Err(not_a_backup());
    }
    Ok((file, text))
}

/// The part that the SHA-256 covers, that, and what is said.
fn parse_trailer(text: &str) -> Option<(&str, &str, Trailer)> {
    let (content, rest) = text.split_at(text.find("sha256 ")?);
    let (sum, padding) = rest.strip_prefix("sha256 ")?.split_once('\n')?;
    if padding.bytes().any(|byte| byte != b'\n') {
        return None;
    }
    let mut lines = content.lines();
    if lines.next()? != FIRST_LINE {
        return None;
    }
    let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
    let trailer = Trailer {
        database_bytes: value("database-bytes")?.parse().ok()?,
        taken_at: Timestamp(value("taken-at")?.parse().ok()?),
        version: value("till")?,
        sha256: String::new(),
    };
    Some((content, sum, trailer))
}

fn hash_bytes(
    (file, path): (&mut impl Read, &Path),
    mut left: u64,
    hash: &mut Sha256,
    take: &mut dyn FnMut(&[u8]) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let mut chunk = vec![0; CHUNK_BYTES];
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let read = file.read(&mut chunk[..wanted]).and_then(|read| match read {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        });
        let read = read.map_err(|error| failed("read", path, &error))?;
        hash.update(&chunk[..read]);
        take(&chunk[..read])?;
        left -= read as u64;
    }
    Ok(())
}

pub(crate) fn failed(action: &'static str, path: &Path, error: &dyn std::error::Error) -> BackupError {
    BackupError::Io { action, path: path.into(), reason: error.to_string() }
}

pub(crate) fn refused(path: &Path, unsound: Unsound) -> BackupError {
    let path = path.to_path_buf();
    match unsound {
        Unsound::Newer(found) => BackupError::NewerSchema { path, found },
        Unsound::NotOurs => BackupError::NotABackup { path },
        Unsound::Empty => BackupError::Damaged { path, reason: "there is no instance in it".into() },
        Unsound::Damaged(reason) => BackupError::Damaged { path, reason },
        Unsound::Sqlite(error) => BackupError::Damaged { path, reason: error.to_string() },
    }
}
