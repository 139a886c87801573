//! The data directory from outside: who may read it, who may open it, and what is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::common::{activations, create, hold, open, options, used};
use rusqlite::Connection;
use till_core::token::{AuditKeys, IndexKey};
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
    // Entries 1 to 3, a checkpoint, and one more with another checkpoint at the stop.
    let keys = AuditKeys::derive(&IndexKey::from_bytes([1; 32]));
    store.audit_sign_with(keys).await.unwrap();
    create(&store, 1, activations(5)).await;
    create(&store, 2, activations(5)).await;
    store.audit_seal().await.unwrap();
    create(&store, 3, activations(5)).await;
    store.close().await.unwrap();
    let connection = Connection::open(dir.path().join("till.db")).unwrap();
    for sql in [
        "UPDATE audit SET detail = '{}'",
        "DELETE FROM audit",
        "DELETE FROM keys",
        "REPLACE INTO audit SELECT seq, at, 'system', actor_id, NULL, NULL, action, target, detail, prev_hash, hash \
           FROM audit WHERE seq = 1",
        "INSERT INTO audit SELECT seq + 9, at, actor_kind, actor_id, NULL, NULL, action, target, detail, prev_hash, \
           hash FROM audit WHERE seq = 1",
        "UPDATE audit_marks SET anchor = 1",
        "UPDATE audit_marks SET anchor = 2",
        "UPDATE audit_marks SET anchor = 9",
        "DELETE FROM audit_marks",
        "REPLACE INTO audit_marks VALUES (1, 3, 0)",
        "UPDATE audit_checkpoints SET at = 0",
        "DELETE FROM audit_checkpoints",
        "REPLACE INTO audit_checkpoints SELECT seq, hash, 0, key_id, signature FROM audit_checkpoints",
        "UPDATE audit_keys SET public_key = zeroblob(32)",
        "DELETE FROM audit_keys",
        "REPLACE INTO audit_keys SELECT id, zeroblob(32) FROM audit_keys",
    ] {
        assert!(connection.execute(sql, []).is_err(), "{sql}");
    }
    // Deletion by age: behind a checkpoint, and no further.
    connection.execute("UPDATE audit_marks SET anchor = 3", []).unwrap();
    for sql in ["UPDATE audit_marks SET anchor = 0", "DELETE FROM audit", "DELETE FROM audit_checkpoints"] {
        assert!(connection.execute(sql, []).is_err(), "{sql}");
    }
    assert_eq!(connection.execute("DELETE FROM audit WHERE seq <= 3", []), Ok(3));
}
