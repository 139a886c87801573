//! Directories and files that only the owner may read, and errors that name them.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::error::OpenError;

/// Makes a directory and those above it that are missing, for the owner only. One that exists keeps its
/// mode: it may be the administrator's choice.
pub(crate) fn make_private_directory(path: &Path) -> Result<(), OpenError> {
    if let Ok(metadata) = path.metadata() {
        return if metadata.is_dir() { Ok(()) } else { Err(OpenError::NotADirectory { path: path.into() }) };
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| open_error(path, &error))?;
    // The new name must be on disk before anything in it counts.
    path.parent().map_or(Ok(()), sync_directory)
}

/// Makes an empty file for the owner only, unless there is one.
pub(crate) fn make_private_file(path: &Path) -> Result<(), OpenError> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => path.parent().map_or(Ok(()), sync_directory),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(open_error(path, &error)),
    }
}

/// Makes names that were added to or changed in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), OpenError> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path).and_then(|directory| directory.sync_all()).map_err(|error| open_error(path, &error))
}

/// The error of the operating system, sorted by what the operator can do.
pub(crate) fn open_error(path: &Path, error: &io::Error) -> OpenError {
    let (path, reason) = (path.to_path_buf(), error.to_string());
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            OpenError::NotWritable { path, reason }
        }
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => OpenError::NotADirectory { path },
        _ => OpenError::Io { path, reason },
    }
}
