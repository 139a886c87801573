//! A store that was put back, copied or moved: what is fenced and what is not.

use std::fs;
use std::path::Path;

use crate::common::{activations, copy_directory, create, denied, hold, open, options, used};
use tempfile::TempDir;
use till_core::audit::{Actor, verify_chain};
use till_core::denial::DenialCode;
use till_core::key::KeyId;
use till_store::{OpenError, OpenOptions, Opening};

/// A directory whose key has used 2 of 5 activations, after a clean stop.
async fn directory() -> (TempDir, KeyId) {
    let root = tempfile::tempdir().unwrap();
    let store = open(&root.path().join("till"));
    let key = create(&store, 1, activations(5)).await;
    for _ in 0..2 {
        drop(hold(&store, key).await);
    }
    store.close().await.unwrap();
    (root, key)
}

async fn use_once(dir: &Path, key: KeyId) {
    let store = open(dir);
    assert_eq!(store.fenced(), None);
    drop(hold(&store, key).await);
    store.close().await.unwrap();
}

/// It opens fenced for this reason, stays so over a restart, and works once that is accepted.
async fn check_fenced(dir: &Path, key: KeyId, reason: &str) {
    for start in 1..=2 {
        let store = open(dir);
        let fence = store.fenced().unwrap_or_else(|| panic!("start {start} is not fenced"));
        assert!(fence.reason.contains(reason), "{}", fence.reason);
        assert_eq!(denied(&store, key).await, Some(DenialCode::KeyFenced));
        store.close().await.unwrap();
    }
    let store = open(dir);
    let mut before = None;
    if let Some(record) = store.key_fetch(key).await.unwrap() {
        before = Some(record.used.activations);
    }
    store.fence_accept(&Actor::system()).await.unwrap();
    store.fence_accept(&Actor::system()).await.unwrap();
    assert_eq!(store.fenced(), None);
    if let Some(before) = before {
        drop(hold(&store, key).await);
        assert_eq!(used(&store, key).await, before + 1);
    }
    store.close().await.unwrap();
    let store = open(dir);
    assert_eq!(store.fenced(), None, "accepted once and for all");
    let log = store.audit_list(0, 100).await.unwrap();
    verify_chain(&log).unwrap();
    let count = |action| log.iter().filter(|entry| entry.action == action).count();
    assert_eq!((count("fence.raise"), count("fence.accept")), (1, 1));
}

#[tokio::test]
async fn a_database_put_back_from_an_older_copy() {
    let (root, key) = directory().await;
    let (dir, kept) = (root.path().join("till"), root.path().join("kept.db"));
    fs::copy(dir.join("till.db"), &kept).unwrap();
    use_once(&dir, key).await;
    fs::copy(&kept, dir.join("till.db")).unwrap();
    check_fenced(&dir, key, "older than the witness").await;
}

#[tokio::test]
async fn a_database_put_back_from_a_copy_made_while_it_was_used() {
    let (root, key) = directory().await;
    let (dir, kept) = (root.path().join("till"), root.path().join("kept"));
    let store = open(&dir);
    drop(hold(&store, key).await);
    copy_directory(&dir, &kept);
    drop(hold(&store, key).await);
    store.close().await.unwrap();
    for file in ["till.db", "till.db-wal"] {
        fs::copy(kept.join(file), dir.join(file)).unwrap();
    }
    check_fenced(&dir, key, "older than the witness").await;
}

#[tokio::test]
async fn a_directory_copied_as_a_whole() {
    let (root, key) = directory().await;
    let (dir, copy) = (root.path().join("till"), root.path().join("copy"));
    copy_directory(&dir, &copy);
    use_once(&dir, key).await;
    check_fenced(&copy, key, "looks like a copy").await;
    // The original goes on.
    use_once(&dir, key).await;
}

#[tokio::test]
async fn a_directory_put_back_as_a_whole_under_its_own_name() {
    let (root, key) = directory().await;
    let (dir, copy) = (root.path().join("till"), root.path().join("copy"));
    copy_directory(&dir, &copy);
    use_once(&dir, key).await;
    fs::remove_dir_all(&dir).unwrap();
    fs::rename(&copy, &dir).unwrap();
    check_fenced(&dir, key, "looks like a copy").await;
}

#[tokio::test]
async fn a_directory_that_moved_is_not_fenced() {
    let (root, key) = directory().await;
    let moved = root.path().join("moved");
    fs::rename(root.path().join("till"), &moved).unwrap();
    use_once(&moved, key).await;
}

#[tokio::test]
async fn a_witness_that_is_missing_damaged_or_of_another_database() {
    let (root, key) = directory().await;
    let (dir, witness) = (root.path().join("till"), root.path().join("till/keys/witness"));
    fs::remove_file(&witness).unwrap();
    check_fenced(&dir, key, "missing").await;

    let (root, key) = directory().await;
    let (dir, witness) = (root.path().join("till"), root.path().join("till/keys/witness"));
    fs::write(&witness, "x").unwrap();
    check_fenced(&dir, key, "can't be read").await;

    let (root, key) = directory().await;
    let (other, _) = directory().await;
    let (dir, witness) = (root.path().join("till"), root.path().join("till/keys/witness"));
    fs::rename(other.path().join("till/keys/witness"), &witness).unwrap();
    check_fenced(&dir, key, "another database").await;
}

#[tokio::test]
async fn a_database_that_was_removed() {
    let (root, key) = directory().await;
    let dir = root.path().join("till");
    fs::remove_file(dir.join("till.db")).unwrap();
    check_fenced(&dir, key, "database is new").await;
}

/// Somebody who only looks, with the witness elsewhere: a command with the wrong key directory, a start without its master
/// key.
#[tokio::test]
async fn to_look_fences_nothing() {
    let (root, key) = directory().await;
    let dir = root.path().join("till");
    let elsewhere = OpenOptions { witness: root.path().join("none/witness"), ..options(&dir) };
    for _ in 0..2 {
        let opening = Opening::new(&elsewhere).unwrap();
        let doubt = opening.doubt().expect("there is no witness");
        assert!(doubt.reason.contains("the witness file is missing"), "{}", doubt.reason);
        assert!(matches!(Opening::new(&elsewhere), Err(OpenError::AlreadyRunning { .. })), "it is locked");
        drop(opening);
        assert!(Opening::new(&options(&dir)).unwrap().doubt().is_none());
    }
    use_once(&dir, key).await;
    let store = Opening::new(&elsewhere).unwrap().start().unwrap();
    assert!(store.fenced().is_some());
    store.close().await.unwrap();
    assert!(Opening::new(&elsewhere).unwrap().doubt().is_none(), "it is fenced already");
}
