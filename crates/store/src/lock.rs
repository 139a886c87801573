//! One process per data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::error::OpenError;
use crate::files::open_error;

/// How often, and how far apart, it is tried to get the lock: who only asks whether somebody has it has it for a moment.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

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
        for _ in 1..TRIES {
            match Self::acquire_now(dir) {
                Err(OpenError::AlreadyRunning { .. }) => thread::sleep(PAUSE),
                outcome => return outcome,
            }
        }
        Self::acquire_now(dir)
    }

    /// The same without patience for others who only ask.
    ///
    /// # Errors
    /// As [`DirectoryLock::acquire`].
    pub(crate) fn acquire_now(dir: &Path) -> Result<Self, OpenError> {
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

/// Whether somebody has the lock, and which process, if the operating system says. Nothing is made, and who asks at the same
/// time is not in the way.
pub(crate) fn holder(dir: &Path) -> Option<Option<u32>> {
    let file = File::open(dir.join("lock")).ok()?;
    match file.try_lock_shared() {
        Ok(()) => {
            // Closing it gives it back as well.
            let _ = file.unlock();
            None
        }
        Err(TryLockError::WouldBlock) => {
            Some(file.metadata().ok().and_then(|it| process_with_lock(it.ino())))
        }
        Err(TryLockError::Error(_)) => None,
    }
}

/// Linux lists all locks: `1: FLOCK ADVISORY WRITE 4711 08:01:131 0 EOF`.
fn process_with_lock(inode: u64) -> Option<u32> {
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let is_it =
            fields.get(1) == Some(&"FLOCK") && fields.get(5)?.rsplit(':').next()?.parse() == Ok(inode);
        is_it.then(|| fields.get(4)?.parse().ok()).flatten()
    })
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Closing alone would leave the lock with a child process that was forked and has not yet replaced
        // itself by its program. If this fails, closing is what is left.
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::{DirectoryLock, PAUSE};
    use crate::error::OpenError;

    #[test]
    fn who_only_asks_stops_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let asking = DirectoryLock::acquire_now(dir.path()).unwrap();
        let ends = thread::spawn(move || {
            thread::sleep(PAUSE / 2);
            drop(asking);
        });
        let taken = DirectoryLock::acquire(dir.path()).unwrap();
        ends.join().unwrap();
        assert!(matches!(DirectoryLock::acquire(dir.path()), Err(OpenError::AlreadyRunning { .. })));
        drop(taken);
    }
}
