//! What can go wrong with durable state, and what to do about it.

use std::path::PathBuf;

use till_core::policy::NotAllowed;

/// Why the store can't be opened. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory.
    #[error("another till is already running on {dir}; stop it first, or choose another directory with --data", dir = dir.display())]
    AlreadyRunning {
        /// The data directory.
        dir: PathBuf,
    },
    /// The place for the data is not a directory.
    #[error("{path} is not a directory; choose another data directory with --data", path = path.display())]
    NotADirectory {
        /// What was given.
        path: PathBuf,
    },
    /// The directory or a file in it can't be written.
    #[error(
        "can't write {path} ({reason}); make it writable for the user that runs till, or choose another directory with --data",
        path = path.display()
    )]
    NotWritable {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// The database is not one of ours, or is damaged.
    #[error("{path} is damaged or not till's database ({reason}); `till doctor` says what is wrong with it, and `till restore` puts a backup in its place", path = path.display())]
    Corrupt {
        /// The database file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The database was written by a newer till.
    #[error(
        "{path} has schema version {found}, this till knows versions up to {known}; start the newer till again, or restore a backup made before it",
        path = path.display()
    )]
    NewerSchema {
        /// The database file.
        path: PathBuf,
        /// Version in the file.
        found: u32,
        /// Newest version that this program knows.
        known: u32,
    },
    /// Anything else the operating system refused.
    #[error("can't use {path} ({reason}); check the disk and the permissions; `till doctor` says more", path = path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
}

/// Why an operation on the open store failed. Nothing of it was done, except where it says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// More is waiting for the writer than it may.
    #[error("the store has too many operations waiting; try again shortly")]
    Overloaded,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// Reading or writing the file failed: disk full, I/O error, a damaged page.
    #[error("the store could not {action} {file}: {reason}", file = file.display())]
    Failed {
        /// What was tried.
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// What the database or the operating system said.
        reason: String,
    },
    /// Something of that name exists.
    #[error("{what} exists already")]
    Conflict {
        /// What exists.
        what: String,
    },
    /// Somebody else has changed it since it was read.
    #[error("it was changed since it was read; read it again")]
    Changed,
    /// There is no such thing, or it has ended.
    #[error("there is no such thing any more")]
    Missing,
    /// A rule of the project, or of whoever asks, says no.
    #[error("{reason}")]
    NotAllowed {
        /// Which rule.
        reason: String,
    },
    /// What has to be known for it is lost. Only this operation failed.
    #[error("{reason}")]
    Damaged {
        /// What is lost, and what to do.
        reason: String,
    },
    /// The request can't be carried out as it stands.
    #[error("{reason}")]
    Invalid {
        /// Why not.
        reason: String,
    },
}

impl From<StoreError> for OpenError {
    /// For what fails while the store is being opened.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Failed { file, reason, .. } => Self::Io { path: file, reason },
            error => Self::Corrupt { path: PathBuf::from("the database"), reason: error.to_string() },
        }
    }
}

impl From<NotAllowed> for StoreError {
    fn from(error: NotAllowed) -> Self {
        Self::NotAllowed { reason: error.to_string() }
    }
}
