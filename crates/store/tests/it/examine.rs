//! What is said of a data directory that somebody looks at: each kind of damage is named, and nothing is changed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use till_core::time::Timestamp;
use till_store::{Examined, Grade, examine};

use crate::common::{activations, create, hold, open, options};

/// Later than anything that a test's store has seen.
const LATER: Timestamp = Timestamp(u64::MAX / 4);

/// A store that was used and stopped: two keys, one call.
async fn used(dir: &Path) {
    let store = open(dir);
    let key = create(&store, 1, activations(5)).await;
    create(&store, 2, activations(5)).await;
    drop(hold(&store, key).await);
    store.close().await.unwrap();
}

fn snapshot(dir: &Path) -> BTreeMap<PathBuf, (Vec<u8>, i64, i64)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.metadata().unwrap();
        if metadata.is_dir() {
            found.extend(snapshot(&path));
        } else {
            found.insert(path.clone(), (fs::read(&path).unwrap(), metadata.mtime(), metadata.mtime_nsec()));
        }
    }
    found
}

/// Looks, and sees to it that nothing was changed.
fn look(dir: &Path) -> Examined {
    let before = snapshot(dir);
    let examined = examine(&options(dir), LATER);
    assert!(snapshot(dir) == before, "something was changed");
    examined
}

/// `expected` are parts of what is wrong, one each, in order.
#[track_caller]
fn check(dir: &Path, expected: &[&str]) {
    let examined = look(dir);
    let wrong: Vec<_> = examined.findings.iter().filter(|finding| finding.grade == Grade::Wrong).collect();
    for (finding, expected) in wrong.iter().zip(expected) {
        assert!(finding.text.contains(expected), "{expected} is not in {finding:?}");
        assert!(finding.fix.is_some(), "{finding:?} does not say what to do");
    }
    assert_eq!(wrong.len(), expected.len(), "{wrong:#?}");
}

#[tokio::test]
async fn what_is_sound_is_called_so() {
    let dir = tempfile::tempdir().unwrap();
    used(dir.path()).await;
    check(dir.path(), &[]);
    let examined = look(dir.path());
    assert!(!examined.is_running && examined.instance_id.is_some());
    let texts: Vec<_> = examined.findings.iter().map(|finding| finding.text.as_str()).collect();
    for part in ["2 accounts add up", "2 keys can be read", "every page", "the newest one"] {
        assert!(texts.iter().any(|text| text.contains(part)), "{part} is not in {texts:#?}");
    }
}

#[tokio::test]
async fn each_kind_of_damage_is_named() {
    let rows: [(&str, &[&str]); 8] = [
        ("UPDATE accounts SET activations_spent = 6", &["do not add up", "can't be read"]),
        ("UPDATE accounts SET activations_held = 1, activations_spent = 0", &["what is set aside in key_"]),
        ("UPDATE keys SET scope = '{' WHERE row = 1", &["so till refuses them"]),
        (
            "INSERT INTO journal (seq, entry) SELECT folded + 1, x'01020304' FROM journal_mark",
            &["of the journal is damaged"],
        ),
        (
            "INSERT INTO journal (seq, entry) SELECT folded + 2, x'01020304' FROM journal_mark",
            &["it is missing"],
        ),
        (
            "DROP TRIGGER audit_is_not_changed; UPDATE audit SET action = 'key.update' WHERE seq = 1",
            &["entry 1"],
        ),
        ("UPDATE instance SET incarnation = incarnation - 2", &["older than the witness file"]),
        ("PRAGMA user_version = 99", &["schema version 99"]),
    ];
    for (sql, expected) in rows {
        let dir = tempfile::tempdir().unwrap();
        used(dir.path()).await;
        let connection = Connection::open(dir.path().join("till.db")).unwrap();
        connection.execute_batch(sql).unwrap();
        drop(connection);
        println!("{sql}");
        check(dir.path(), expected);
    }
}

#[tokio::test]
async fn files_are_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    used(dir.path()).await;
    let file = dir.path().join("till.db");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    check(dir.path(), &["others may read or write"]);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    check(dir.path(), &["was cut off"]);
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    check(dir.path(), &["was cut off", "is damaged"]);
    fs::write(&file, "").unwrap();
    check(dir.path(), &["everything in it is gone"]);
    fs::write(&file, vec![b'x'; 8192]).unwrap();
    check(dir.path(), &["does not begin like a database", "is damaged"]);
    fs::write(&file, &whole).unwrap();
    check(dir.path(), &[]);
    fs::remove_file(dir.path().join("keys/witness")).unwrap();
    check(dir.path(), &["the witness file is missing"]);
    let none = dir.path().join("none");
    let examined = examine(&options(&none), LATER);
    assert!(examined.findings[0].text.contains("can't be looked at") && !none.exists(), "{examined:?}");
}

#[tokio::test]
async fn a_clock_that_is_behind_is_told() {
    let dir = tempfile::tempdir().unwrap();
    used(dir.path()).await;
    let examined = examine(&options(dir.path()), Timestamp(1));
    assert!(
        examined.findings.iter().any(|finding| finding.about == "clock" && finding.grade == Grade::Wrong)
    );
}
