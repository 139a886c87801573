//! Small files on this machine: secrets, and the address of the server.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, bail};
use till_core::secret::Secret;

/// No key is longer than this; a larger file is another file.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Permission bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// Reads a secret, without the white space around it. `-` is standard input.
pub(crate) fn read_secret(path: &Path) -> anyhow::Result<Secret> {
    if path == Path::new("-") {
        return read_trimmed(io::stdin().lock()).context("can't read standard input");
    }
    let place = || format!("can't read {}", path.display());
    File::open(path).map_err(anyhow::Error::from).and_then(read_trimmed).with_context(place)
}

/// Reads a password: everything but the line break at its end. `-` is standard input.
pub(crate) fn read_password(path: &Path) -> anyhow::Result<Secret> {
    let whole = if path == Path::new("-") {
        read_bounded(io::stdin().lock()).context("can't read standard input")
    } else {
        let place = || format!("can't read {}", path.display());
        File::open(path).map_err(anyhow::Error::from).and_then(read_bounded).with_context(place)
    }?;
    let text = whole.reveal();
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    Ok(Secret::new(text.strip_suffix(b"\r").unwrap_or(text)))
}

fn read_trimmed(source: impl Read) -> anyhow::Result<Secret> {
    let whole = read_bounded(source)?;
    Ok(Secret::new(whole.reveal().trim_ascii()))
}

fn read_bounded(source: impl Read) -> anyhow::Result<Secret> {
    let mut bytes = Vec::new();
    source.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        bail!("it is too large to be a secret");
    }
    Ok(Secret::new(bytes))
}

/// Whether others than the owner of a file may do anything with it.
pub(crate) fn is_open_to_others(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & OTHERS != 0)
}

/// Makes a directory that only its owner may enter, with everything above it.
pub(crate) fn make_private_dir(path: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("can't make the directory {}", path.display()))
}

/// Writes a new file that only its owner may read, and makes it durable. An existing file is an error.
pub(crate) fn write_new_secret(path: &Path, secret: &Secret) -> anyhow::Result<()> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(secret.reveal())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        sync_parent(path)
    };
    write().with_context(|| format!("can't write {}", path.display()))
}

/// Puts a secret in the place of a file, all at once, readable by its owner only, and makes it durable.
pub(crate) fn replace_secret(path: &Path, secret: &Secret) -> anyhow::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(secret.reveal())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        sync_parent(path)
    };
    write().with_context(|| format!("can't write {}", path.display()))
}

/// Puts a text in the place of a file, all at once, and makes it durable.
pub(crate) fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let new = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        // Before the rename: after a crash there is the old text or the new one, never an empty file.
        file.sync_all()?;
        fs::rename(&new, path)?;
        sync_parent(path)
    };
    write().with_context(|| format!("can't write {}", path.display()))
}

/// A new name in a directory is durable when the directory is.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use till_core::secret::Secret;

    use super::{is_open_to_others, make_private_dir, read_password, read_secret, write_new_secret};

    #[test]
    fn secrets_are_private_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("a/keys");
        make_private_dir(&keys).unwrap();
        assert_eq!(fs::metadata(&keys).unwrap().permissions().mode() & 0o777, 0o700);
        let file = keys.join("master.key");
        write_new_secret(&file, &Secret::new("one")).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!is_open_to_others(&file));
        assert!(write_new_secret(&file, &Secret::new("two")).is_err());
        assert!(read_secret(&file).unwrap() == Secret::new("one"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(is_open_to_others(&file));
    }

    #[test]
    fn secrets_are_read_without_white_space_around_them() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        fs::write(&file, " sk-1 \r\n\n").unwrap();
        assert!(read_secret(&file).unwrap() == Secret::new("sk-1"));
        fs::write(&file, "x".repeat(70_000)).unwrap();
        assert!(read_secret(&file).is_err());
        assert!(read_secret(&dir.path().join("none")).is_err());
    }

    #[test]
    fn passwords_keep_their_spaces() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        for (text, expected) in [(" a b \n", " a b "), ("a\r\n", "a"), ("a", "a"), ("a\n\n", "a\n")] {
            fs::write(&file, text).unwrap();
            assert!(read_password(&file).unwrap() == Secret::new(expected), "{text:?}");
        }
    }
}
