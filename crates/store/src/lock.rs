//! One process per data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::OpenError;
use crate::files::open_error;

/// Holds the lock until it is dropped; the operating system drops it with the process.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    file: File,
}

impl DirectoryLock {
    /// Locks the directory.
    ///
    /// # Errors
    /// [`OpenError::AlreadyRunning`] when another process has it; otherwise the file can't be made.
    pub(crate) fn acquire(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join("lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| open_error(&path, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(OpenError::AlreadyRunning { dir: dir.into() }),
            Err(TryLockError::Error(error)) => Err(open_error(&path, &error)),
        }
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Closing alone would leave the lock with a child process that was forked and has not yet replaced
        // itself by its program. If this fails, closing is what is left.
        let _ = self.file.unlock();
    }
}
