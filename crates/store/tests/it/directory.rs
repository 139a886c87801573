//! The data directory from outside: who may read it, who may open it, and what is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::common::{activations, create, hold, open, options, used};
use rusqlite::Connection;
use till_store::{OpenError, Store};

#[track_caller]
fn check_refused(dir: &Path, expected: fn(&OpenError) -> bool, text: &str) {
    let error = Store::open(&options(dir)).expect_err("must be refused");
    assert!(expected(&error), "{error:?}");
    let message = error.to_string();
    assert!(message.contains(text), "{message} should say {text}");
}

fn mode(path: &Path) -> u32 {
    path.metadata().expect("exists").permissions().mode() & 0o777
}

#[tokio::test]
async fn only_the_owner_may_read_it() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("a/b/till");
    let store = open(&dir);
    let key = create(&store, 1, activations(1)).await;
    drop(hold(&store, key).await);
    for directory in [dir.clone(), dir.join("keys"), root.path().join("a")] {
        assert_eq!(mode(&directory), 0o700, "{}", directory.display());
    }
    for file in ["till.db", "till.db-wal", "till.db-shm", "lock", "keys/witness"] {
        assert_eq!(mode(&dir.join(file)), 0o600, "{file}");
    }
    store.close().await.unwrap();
    assert!(!dir.join("till.db-wal").exists(), "a clean stop leaves one file to back up");
}

#[tokio::test]
async fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let name = dir.path().display().to_string();
    check_refused(dir.path(), |error| matches!(error, OpenError::AlreadyRunning { .. }), &name);
    store.close().await.unwrap();
    open(dir.path()).close().await.unwrap();
}

#[test]
fn places_that_are_no_data_directory() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "x").unwrap();
    let not_a_directory: fn(&OpenError) -> bool = |error| matches!(error, OpenError::NotADirectory { .. });
    check_refused(&file, not_a_directory, "--data");
    check_refused(&file.join("below"), not_a_directory, "file");
    check_refused(
        Path::new("/sys/till"),
        |error| matches!(error, OpenError::NotWritable { .. }),
        "/sys/till",
    );

    let read_only = root.path().join("read-only");
    fs::create_dir(&read_only).unwrap();
    fs::set_permissions(&read_only, fs::Permissions::from_mode(0o500)).unwrap();
    // Root may write everywhere.
    if fs::write(read_only.join("probe"), "").is_err() {
        check_refused(&read_only, |error| matches!(error, OpenError::NotWritable { .. }), "read-only");
    }
}

#[test]
fn files_that_are_no_database_of_ours() {
    let corrupt: fn(&OpenError) -> bool = |error| matches!(error, OpenError::Corrupt { .. });
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("till.db");
    fs::write(&file, vec![b'x'; 8192]).unwrap();
    check_refused(dir.path(), corrupt, "till.db");
    fs::remove_file(&file).unwrap();
    Connection::open(&file).unwrap().execute_batch("CREATE TABLE other (a)").unwrap();
    check_refused(dir.path(), corrupt, "another program");
    fs::remove_file(&file).unwrap();
    drop(open(dir.path()));
    Connection::open(&file).unwrap().pragma_update(None, "user_version", 7).unwrap();
    check_refused(
        dir.path(),
        |error| matches!(error, OpenError::NewerSchema { found: 7, known: 6, .. }),
        "version 7",
    );
}

#[tokio::test]
async fn a_damaged_account_stops_that_key_only() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (damaged, sound) = (create(&store, 1, activations(5)).await, create(&store, 2, activations(5)).await);
    store.close().await.unwrap();
    let connection = Connection::open(dir.path().join("till.db")).unwrap();
    // More spent than limit and overrun explain.
    connection.execute("UPDATE accounts SET activations_spent = 6 WHERE id = ?1", [damaged.0]).unwrap();
    drop(connection);
    let store = open(dir.path());
    let refused = store.hold_exactly(damaged, till_core::limit::Units::ONE_ACTIVATION).await.unwrap_err();
    assert!(format!("{refused:?}").contains("add up"), "{refused:?}");
    drop(hold(&store, sound).await);
    assert_eq!(used(&store, sound).await, 1);
}

#[tokio::test]
async fn the_audit_log_can_not_be_rewritten_by_accident() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    create(&store, 1, activations(5)).await;
    store.close().await.unwrap();
    let connection = Connection::open(dir.path().join("till.db")).unwrap();
    for sql in ["UPDATE audit SET detail = '{}'", "DELETE FROM audit", "DELETE FROM keys"] {
        assert!(connection.execute(sql, []).is_err(), "{sql}");
    }
}
