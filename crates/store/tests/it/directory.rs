//! The data directory from outside: who may read it, who may open it, and what is refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::common::{activations, create, hold, open, options, used};
use rusqlite::{Connection, params};
use till_core::audit::{Actor, ChainHead, LogRecord, Proof, Verifier};
use till_core::time::Timestamp;
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
    Connection::open(&file).unwrap().pragma_update(None, "user_version", 9).unwrap();
    check_refused(
        dir.path(),
        |error| matches!(error, OpenError::NewerSchema { found: 9, known: 8, .. }),
        "version 9",
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
        "REPLACE INTO audit_marks (one, anchor, denials_entered) VALUES (1, 3, 0)",
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

const SIGNING: [u8; 32] = [1; 32];

async fn signed(dir: &Path) -> Store {
    let store = open(dir);
    store.audit_sign_with(AuditKeys::derive(&IndexKey::from_bytes(SIGNING))).await.unwrap();
    store
}

/// What somebody can do who may write the database and nothing else: entries above `kept` are others, as many as `forged`, with
/// hashes that are right.
fn rewrite_log(dir: &Path, kept: u64, forged: u64) {
    let connection = Connection::open(dir.join("till.db")).unwrap();
    let mut statement = connection
        .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'audit%'")
        .unwrap();
    let triggers: Vec<(String, String)> =
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect();
    drop(statement);
    for (name, _) in &triggers {
        connection.execute_batch(&format!("DROP TRIGGER {name}")).unwrap();
    }
    connection.execute("DELETE FROM audit WHERE seq > ?1", [kept]).unwrap();
    connection.execute("DELETE FROM audit_checkpoints WHERE seq > ?1", [kept]).unwrap();
    if kept == 0 {
        connection.execute("DELETE FROM audit_keys", []).unwrap();
    }
    let sql = "SELECT hash FROM audit WHERE seq = ?1";
    let hash = connection.query_row(sql, [kept], |row| row.get(0)).unwrap_or([0; 32]);
    let mut head = ChainHead { seq: kept, hash };
    for n in 0..forged {
        let entry = head.append(Timestamp(n), &Actor::system(), "key.create", "nothing.to.see", "{}".into());
        let sql = "INSERT INTO audit (seq, at, actor_kind, actor_id, action, target, detail, prev_hash, hash) \
                   VALUES (?1, ?2, 'system', 'system', ?3, ?4, ?5, ?6, ?7)";
        let values = params![
            entry.seq,
            entry.at.0,
            entry.action,
            entry.target,
            entry.detail,
            entry.prev_hash,
            entry.hash
        ];
        connection.execute(sql, values).unwrap();
    }
    for (_, sql) in &triggers {
        connection.execute_batch(sql).unwrap();
    }
}

/// The log as an export has it, verified with the right public key.
async fn proof(store: &Store) -> Proof {
    let public_key = AuditKeys::derive(&IndexKey::from_bytes(SIGNING)).public_key();
    let mut verifier = Verifier::new(vec![public_key]);
    verifier.take(&LogRecord::Log { instance_id: store.instance_id() });
    for entry in store.audit_list(0, 1000).await.unwrap() {
        verifier.take(&LogRecord::Entry(entry));
    }
    let last = store.audit_state().await.unwrap().last.expect("it is signed");
    verifier.take(&LogRecord::Checkpoint(last));
    verifier.finish().unwrap_or_else(|fault| panic!("{fault}"))
}

#[tokio::test]
async fn a_log_that_somebody_has_rewritten_is_not_signed_unseen() {
    type Rewrite = fn(&Path, u64);
    let cases: [(&str, Rewrite, &str); 6] = [
        ("a whole new one", |dir, last| rewrite_log(dir, 0, last), "is another one"),
        ("a longer new one", |dir, last| rewrite_log(dir, 0, last + 5), "is another one"),
        ("nothing of it is left", |dir, _| rewrite_log(dir, 0, 0), "it ends at entry 0"),
        ("from an older checkpoint on", |dir, last| rewrite_log(dir, 3, last - 3), "is another one"),
        ("cut off at an older checkpoint", |dir, _| rewrite_log(dir, 3, 0), "it ends at entry 3"),
        ("something was added", |dir, last| rewrite_log(dir, last, 1), "was not there at the last stop"),
    ];
    for (what, rewrite, reason) in cases {
        let dir = tempfile::tempdir().unwrap();
        let store = signed(dir.path()).await;
        create(&store, 1, activations(5)).await;
        create(&store, 2, activations(5)).await;
        store.audit_seal().await.unwrap();
        create(&store, 3, activations(5)).await;
        store.close().await.unwrap();
        let last = 4;
        rewrite(dir.path(), last);
        let store = signed(dir.path()).await;
        let fence = store.fenced().unwrap_or_else(|| panic!("{what}: nobody noticed"));
        assert!(fence.reason.contains(reason), "{what}: {}", fence.reason);
        store.audit_seal().await.unwrap();
        let found = proof(&store).await.breaks;
        assert!(found.len() == 1 && found[0].reason.contains(reason), "{what}: {found:?}");
        // Accepted it goes on, and what is signed says for ever what it was.
        store.fence_accept(&Actor::system()).await.unwrap();
        store.close().await.unwrap();
        for n in [10, 11] {
            let store = signed(dir.path()).await;
            assert_eq!(store.fenced(), None, "{what}");
            assert_eq!(proof(&store).await.breaks, found, "{what}");
            create(&store, n, activations(1)).await;
            store.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_log_that_nobody_has_touched_is_no_alarm() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..6 {
        let store = if n % 2 == 0 { signed(dir.path()).await } else { open(dir.path()) };
        assert_eq!(store.fenced(), None, "start {n}");
        create(&store, n, activations(5)).await;
        if n < 4 {
            store.close().await.unwrap();
        }
    }
    let store = open(dir.path());
    assert!(store.audit_list(0, 99).await.unwrap().iter().all(|entry| entry.action != "audit.break"));
}

/// After a crash entries may stand behind what the witness knows; what it knows stays.
#[tokio::test]
async fn a_crash_hides_no_rewritten_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let copy = tempfile::tempdir().unwrap();
    let store = signed(dir.path()).await;
    create(&store, 1, activations(5)).await;
    store.audit_seal().await.unwrap();
    store.flush().await.unwrap();
    create(&store, 2, activations(5)).await;
    // What a process that is killed now leaves.
    let crashed = copy.path().join("till.db");
    let connection = Connection::open(dir.path().join("till.db")).unwrap();
    connection.execute("VACUUM INTO ?1", [crashed.to_str().unwrap()]).unwrap();
    drop(connection);
    let witness = fs::read(dir.path().join("keys/witness")).unwrap();
    store.close().await.unwrap();
    for (kept, forged, is_found) in [(3, 0, false), (2, 0, false), (1, 3, true)] {
        // In place: another file would be a copy.
        fs::write(dir.path().join("keys/witness"), &witness).unwrap();
        for name in ["till.db-wal", "till.db-shm"] {
            let _ = fs::remove_file(dir.path().join(name));
        }
        fs::copy(&crashed, dir.path().join("till.db")).unwrap();
        rewrite_log(dir.path(), kept, forged);
        let store = open(dir.path());
        assert_eq!(store.fenced().is_some(), is_found, "{kept} kept, {forged} forged: {:?}", store.fenced());
        store.close().await.unwrap();
    }
}
