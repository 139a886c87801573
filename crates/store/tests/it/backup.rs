//! Backups and what is restored from them.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;
use till_core::audit::{Actor, verify_chain};
use till_core::denial::DenialCode;
use till_core::hex::to_hex;
use till_core::key::KeyId;
use till_core::limit::Units;
use till_core::time::Timestamp;
use till_core::token::ClaimId;
use till_store::{
    BackupError, BackupInfo, KeyQuery, Lookup, NewClaim, Outcome, Put, Restored, Session, Step, Store,
    UsageFilter, UsageGroup, UsageQuery, backup_make, backup_verify, restore,
};

use crate::common::{
    activations, copy_directory, create, denied, hold, key_id, new_key, open, options, record, spawn, used,
};

const TAKEN: Timestamp = Timestamp(1_800_000_000_000);

fn make(dir: &Path, file: &Path) -> Result<BackupInfo, BackupError> {
    backup_make(&options(dir), file, false, (TAKEN, "1.2.3"), &mut |_| {}, |_| Ok(()))
}

fn put_back(file: &Path, dir: &Path, replace: bool) -> Result<Restored, BackupError> {
    restore(file, &options(dir), replace, (&Actor::system(), TAKEN), &mut |_| {})
}

/// A directory whose key has used 2 of 5 activations, and runs.
async fn running() -> (TempDir, PathBuf, Store, KeyId) {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("till");
    let store = open(&dir);
    let key = create(&store, 1, activations(5)).await;
    for _ in 0..2 {
        hold(&store, key).await.settle(Units::ONE_ACTIVATION);
    }
    store.flush().await.unwrap();
    (root, dir, store, key)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// It opens fenced, and after that is accepted the key has used so many. Says what the log tells of what was replaced.
async fn check_restored(dir: &Path, key: KeyId, expected: u64) -> Value {
    let store = open(dir);
    let fence = store.fenced().expect("what was restored is fenced");
    assert!(fence.reason.contains("restored from a backup of 2027-01-15"), "{}", fence.reason);
    assert_eq!(denied(&store, key).await, Some(DenialCode::KeyFenced));
    assert_eq!(
        denied(&store, key_id(99)).await,
        Some(DenialCode::KeyFenced),
        "made since the backup, perhaps"
    );
    store.close().await.unwrap();
    let store = open(dir);
    assert!(store.fenced().is_some(), "a restart accepts nothing");
    assert_eq!(used(&store, key).await, expected);
    store.fence_accept(&Actor::system()).await.unwrap();
    hold(&store, key).await.settle(Units::ONE_ACTIVATION);
    assert_eq!(used(&store, key).await, expected + 1);
    store.close().await.unwrap();
    let store = open(dir);
    assert_eq!(store.fenced(), None, "accepted once and for all");
    let log = store.audit_list(0, 1000).await.unwrap();
    verify_chain(&log).unwrap();
    let count = |action| log.iter().filter(|entry| entry.action == action).count();
    assert_eq!((count("backup.restore"), count("fence.accept")), (1, 1));
    let told = log.iter().find(|entry| entry.action == "backup.restore").expect("it was counted");
    let replaced = serde_json::from_str::<Value>(&told.detail).unwrap()["replaced"].clone();
    store.close().await.unwrap();
    replaced
}

#[tokio::test]
async fn a_backup_of_a_running_instance_is_restored_elsewhere() {
    let (root, dir, store, key) = running().await;
    let file = root.path().join("a b?#%.backup");
    let mut steps = Vec::new();
    let mut seen = |step| {
        let unfinished = fs::metadata(root.path().join("a b?#%.backup.partial")).unwrap();
        assert_eq!(unfinished.permissions().mode() & 0o777, 0o600, "at every step");
        steps.push(step);
    };
    let info = backup_make(&options(&dir), &file, false, (TAKEN, "1.2.3"), &mut seen, |_| Ok(())).unwrap();
    assert!(matches!(steps[..], [Step::Copy { .. }, .., Step::Check]), "{steps:?}");
    hold(&store, key).await.settle(Units::ONE_ACTIVATION);
    store.close().await.unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!((info.bytes, info.keys), (fs::metadata(&file).unwrap().len(), 1));
    assert_eq!((info.taken_at, info.version.as_str()), (TAKEN, "1.2.3"));
    assert_eq!(backup_verify(&file, &mut |_| {}).unwrap(), info);
    assert_eq!(names(root.path()), ["a b?#%.backup", "till"], "nothing beside it");
    // It is an ordinary database, too.
    let connection = Connection::open(&file).unwrap();
    let keys: u64 = connection.query_row("SELECT count(*) FROM keys", [], |row| row.get(0)).unwrap();
    assert_eq!(keys, 1);
    drop(connection);

    let elsewhere = root.path().join("new/till");
    let restored = put_back(&file, &elsewhere, false).unwrap();
    assert_eq!((restored.kept, restored.info), (None, info));
    assert_eq!(names(&elsewhere), ["lock", "till.db"]);
    assert_eq!(fs::metadata(elsewhere.join("till.db")).unwrap().permissions().mode() & 0o777, 0o600);
    check_restored(&elsewhere, key, 2).await;
}

#[tokio::test]
async fn what_was_there_is_kept_beside() {
    let (root, dir, store, key) = running().await;
    let file = root.path().join("backup");
    make(&dir, &file).unwrap();
    assert!(matches!(put_back(&file, &dir, true), Err(BackupError::Open(_))), "it runs");
    hold(&store, key).await.settle(Units::ONE_ACTIVATION);
    hold(&store, key).await.settle(Units::ONE_ACTIVATION);
    store.close().await.unwrap();
    let before = fs::read(dir.join("till.db")).unwrap();
    match put_back(&file, &dir, false) {
        Err(BackupError::HasDatabase { state, .. }) => assert!(state.contains("newer"), "{state}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read(dir.join("till.db")).unwrap(), before);
    let kept = put_back(&file, &dir, true).unwrap().kept.expect("there was one");
    assert!(kept.file_name().unwrap().to_str().unwrap().starts_with("till.db.before-restore-"));
    assert_eq!(fs::read(&kept).unwrap(), before);
    // The witness is right beside it, and ahead.
    check_restored(&dir, key, 2).await;
}

/// The witness would not notice: nothing was started or stopped in between.
#[tokio::test]
async fn a_backup_of_the_same_incarnation_is_fenced_all_the_same() {
    let (root, dir, store, key) = running().await;
    let file = root.path().join("backup");
    let crashed = root.path().join("crashed.db");
    make(&dir, &file).unwrap();
    hold(&store, key).await.settle(Units::ONE_ACTIVATION);
    store.flush().await.unwrap();
    // As a crash leaves it.
    fs::copy(dir.join("till.db"), &crashed).unwrap();
    fs::copy(dir.join("till.db-wal"), root.path().join("crashed.db-wal")).unwrap();
    let witness = fs::read(dir.join("keys/witness")).unwrap();
    store.close().await.unwrap();
    fs::copy(&crashed, dir.join("till.db")).unwrap();
    fs::copy(root.path().join("crashed.db-wal"), dir.join("till.db-wal")).unwrap();
    OpenOptions::new().write(true).open(dir.join("keys/witness")).unwrap().write_all(&witness).unwrap();
    let kept = put_back(&file, &dir, true).unwrap().kept.unwrap();
    let log = PathBuf::from(format!("{}-wal", kept.display()));
    assert!(log.exists(), "the log of the old database is kept with it");
    let replaced = check_restored(&dir, key, 2).await;
    let (seq, hash): (u64, [u8; 32]) = Connection::open(&kept)
        .unwrap()
        .query_row("SELECT seq, hash FROM audit ORDER BY seq DESC", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!((&replaced["auditSeq"], &replaced["auditHash"]), (&json!(seq), &json!(to_hex(&hash))));
    assert!(replaced["incarnation"].as_u64() > Some(0), "{replaced}");
}

#[tokio::test]
async fn a_backup_under_load_has_the_figures_of_one_moment() {
    let (root, dir, store, _) = running().await;
    let mut keys = vec![];
    for n in 2..10 {
        keys.push(create(&store, n, activations(1_000_000)).await);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicU64::new(0));
    let mut clients = Vec::new();
    for client in 0..64_usize {
        let (store, stop, calls) = (store.clone(), Arc::clone(&stop), Arc::clone(&calls));
        let key = keys[client % keys.len()];
        clients.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let mut hold = hold(&store, key).await;
                let mut call = record(store.now(), key, &format!("{client}"));
                call.charged = Units::ONE_ACTIVATION;
                hold.record(call);
                hold.settle(Units::ONE_ACTIVATION);
                calls.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        }));
    }
    for round in 0..3 {
        let begun = calls.load(Ordering::Relaxed);
        while calls.load(Ordering::Relaxed) < begun + 500 {
            tokio::task::yield_now().await;
        }
        let (dir, file) = (dir.clone(), root.path().join(format!("backup-{round}")));
        tokio::task::spawn_blocking(move || make(&dir, &file).unwrap()).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.unwrap();
    }
    store.close().await.unwrap();

    let mut last = 0;
    for round in 0..3 {
        let elsewhere = root.path().join(format!("till-{round}"));
        put_back(&root.path().join(format!("backup-{round}")), &elsewhere, false).unwrap();
        // Opening checks `limit + overrun = free + held + spent + escrowed + burnt` of every account that it loads.
        let store = open(&elsewhere);
        verify_chain(&store.audit_list(0, 1000).await.unwrap()).unwrap();
        let sums = store.usage_sum(UsageGroup { key: true, ..UsageGroup::default() }, UsageFilter::default());
        let sums = sums.await.unwrap();
        let mut total = 0;
        for key in &keys {
            let mut query = UsageQuery { limit: u32::MAX, ..UsageQuery::default() };
            query.filter.key = Some(*key);
            let records = store.usage_list(query).await.unwrap().records;
            let charged: u64 = records.iter().map(|(_, call)| call.charged.activations).sum();
            // Those without a sight of their end are there, as lost ones.
            assert_eq!(used(&store, *key).await, charged, "{key}");
            let ended = records.iter().filter(|(_, call)| call.outcome != Outcome::Lost).count() as u64;
            assert!(ended <= charged);
            let of_key: u64 =
                sums.iter().filter(|sum| sum.key == Some(*key)).map(|sum| sum.charged.activations).sum();
            assert_eq!(of_key, charged, "{key}");
            total += charged;
        }
        assert!(total > last, "each is later than the one before");
        last = total;
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_is_not_whole_is_refused() {
    let (root, dir, store, _) = running().await;
    store.close().await.unwrap();
    let file = root.path().join("backup");
    make(&dir, &file).unwrap();
    let whole = fs::read(&file).unwrap();
    let elsewhere = root.path().join("elsewhere");
    let bad = root.path().join("bad");
    let check = |bytes: &[u8], expected: &str| {
        fs::write(&bad, bytes).unwrap();
        let said = backup_verify(&bad, &mut |_| {}).unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
        let said = put_back(&bad, &elsewhere, false).unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
        assert!(!elsewhere.join("till.db").exists());
        assert_eq!(names(&elsewhere), ["lock"], "nothing is left behind");
    };
    check(b"", "not a backup of till");
    check(&[b'x'; 5000], "not a backup of till");
    check(&whole[..whole.len() - 1], "not a backup of till");
    check(&whole[..whole.len() / 2], "not a backup of till");
    check(&whole[1..], "its length is not what it says");
    check(&whole[..whole.len() - 512], "not a backup of till");
    // A bit anywhere.
    for at in (0..whole.len()).step_by(whole.len() / 37) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&bad, &flipped).unwrap();
        assert!(backup_verify(&bad, &mut |_| {}).is_err(), "byte {at}");
        assert!(put_back(&bad, &elsewhere, false).is_err(), "byte {at}");
    }
    for at in whole.len() - 512..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 4;
        fs::write(&bad, &flipped).unwrap();
        assert!(backup_verify(&bad, &mut |_| {}).is_err(), "byte {at} of the trailer");
    }
    // Of another program, and of a newer till: with a right trailer.
    for (sql, expected) in [
        ("PRAGMA application_id = 7", "not a backup of till"),
        ("PRAGMA user_version = 999", "schema version 999"),
        ("DELETE FROM instance", "no instance"),
    ] {
        let other = root.path().join("other");
        let _ = fs::remove_dir_all(&other);
        fs::create_dir(&other).unwrap();
        fs::write(other.join("till.db"), &whole[..whole.len() - 512]).unwrap();
        Connection::open(other.join("till.db")).unwrap().execute_batch(sql).unwrap();
        let said = make(&other, &root.path().join("b")).unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
        assert!(!root.path().join("b").exists() && !root.path().join("b.partial").exists());
    }
}

#[tokio::test]
async fn a_backup_takes_no_other_place() {
    let (root, dir, store, _) = running().await;
    let file = root.path().join("backup");
    fs::write(&file, "mine").unwrap();
    assert!(matches!(make(&dir, &file), Err(BackupError::Exists { .. })));
    let replacing = |file: &Path, note: Result<(), String>| {
        backup_make(&options(&dir), file, true, (TAKEN, "1"), &mut |_| {}, |_| note)
    };
    assert!(matches!(replacing(&file, Ok(())), Err(BackupError::NotReplaced { .. })), "it is no backup");
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    fs::remove_file(&file).unwrap();
    make(&dir, &file).unwrap();
    let before = fs::read(&file).unwrap();
    let not_noted = replacing(&file, Err("no".into()));
    assert!(matches!(not_noted, Err(BackupError::NotNoted(_))));
    assert_eq!(fs::read(&file).unwrap(), before, "the old one is still there");
    for name in ["till.db", "till.db-wal", "lock", "keys/witness", "keys/master.key", "keys/new"] {
        assert!(
            matches!(replacing(&dir.join(name), Ok(())), Err(BackupError::OfTheInstance { .. })),
            "{name}"
        );
    }
    let taken = fs::File::create(root.path().join("backup.partial")).unwrap();
    taken.lock().unwrap();
    assert!(matches!(replacing(&file, Ok(())), Err(BackupError::Busy { .. })));
    drop(taken);
    // What a backup left behind that was killed is taken over.
    replacing(&file, Ok(())).unwrap();
    backup_verify(&file, &mut |_| {}).unwrap();
    assert_eq!(names(root.path()), ["backup", "till"]);
    assert!(matches!(make(root.path(), &root.path().join("x")), Err(BackupError::NoDatabase { .. })));
    let nowhere = root.path().join("none/backup");
    assert!(matches!(make(&dir, &nowhere), Err(BackupError::Io { .. })));
    store.close().await.unwrap();
}

/// Who was signed in then may not be meant to be now, and a link may have been used.
#[tokio::test]
async fn sessions_and_claims_do_not_come_back() {
    let (root, dir, store, key) = running().await;
    let session =
        Session { subject: "owner".into(), stamp: String::new(), csrf: String::new(), expires_at: u64::MAX };
    let lookups = Some(vec![Lookup { hash: [1; 32], until: None }]);
    let put = Put { id: "ses_1".into(), version: None, is: session, lookups, ends: false };
    store.entity_put(put, "session.create", json!({}), &Actor::system()).await.unwrap();
    let claim = NewClaim { id: ClaimId([7; 16]), sealed: vec![1], expires_at: Timestamp(u64::MAX >> 1) };
    let new = new_key(2, activations(1));
    store.key_create_for_claim(new, claim, &Actor::system()).await.unwrap();
    let there = async |store: &Store| {
        let session = store.entity_find::<Session>([1; 32]).await.unwrap();
        (session.is_some(), store.claim_fetch(ClaimId([7; 16])).await.unwrap().is_some())
    };
    assert_eq!(there(&store).await, (true, true));
    let file = root.path().join("backup");
    make(&dir, &file).unwrap();
    store.close().await.unwrap();
    let elsewhere = root.path().join("elsewhere");
    put_back(&file, &elsewhere, false).unwrap();
    let store = open(&elsewhere);
    assert_eq!(there(&store).await, (false, false));
    store.fence_accept(&Actor::system()).await.unwrap();
    assert_eq!(there(&store).await, (false, false));
    assert_eq!(used(&store, key).await, 2);
    store.close().await.unwrap();
    // The same for a directory that is fenced because it is a copy.
    let copied = root.path().join("copied");
    copy_directory(&dir, &copied);
    let store = open(&copied);
    assert!(store.fenced().is_some());
    assert_eq!(there(&store).await, (false, false));
    store.close().await.unwrap();
    let store = open(&dir);
    assert_eq!(there(&store).await, (true, true), "the original goes on");
    store.close().await.unwrap();
}

/// In a directory that others may write to.
#[tokio::test]
async fn a_backup_is_written_to_nobody_elses_file() {
    let (root, dir, store, _) = running().await;
    let (file, partial) = (root.path().join("backup"), root.path().join("backup.partial"));
    let victim = root.path().join("victim");
    fs::write(&victim, "theirs").unwrap();
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o644)).unwrap();
    std::os::unix::fs::symlink(&victim, &partial).unwrap();
    make(&dir, &file).unwrap();
    assert_eq!(fs::read(&victim).unwrap(), b"theirs");
    assert_eq!(fs::metadata(&victim).unwrap().permissions().mode() & 0o777, 0o644);
    fs::remove_file(&file).unwrap();
    // Somebody made it first, to read along.
    fs::write(&partial, "").unwrap();
    let mut theirs = fs::File::open(&partial).unwrap();
    make(&dir, &file).unwrap();
    let mut read = Vec::new();
    std::io::Read::read_to_end(&mut theirs, &mut read).unwrap();
    assert!(read.is_empty(), "{} bytes", read.len());
    // A name that was free at the beginning.
    let late = root.path().join("late");
    let made = backup_make(&options(&dir), &late, false, (TAKEN, "1"), &mut |_| {}, |_| {
        fs::write(&late, "theirs").unwrap();
        Ok(())
    });
    assert!(matches!(made, Err(BackupError::Exists { .. })), "{made:?}");
    assert_eq!(fs::read(&late).unwrap(), b"theirs");
    assert_eq!(names(root.path()), ["backup", "late", "till", "victim"]);
    store.close().await.unwrap();
}

/// A restore that was cut short: what is copied is what the next start would find.
#[tokio::test]
async fn a_restore_is_finished_before_a_backup() {
    let (root, dir, store, key) = running().await;
    let (file, second) = (root.path().join("backup"), root.path().join("second"));
    make(&dir, &file).unwrap();
    hold(&store, key).await.settle(Units::ONE_ACTIVATION);
    store.close().await.unwrap();
    let elsewhere = root.path().join("elsewhere");
    put_back(&file, &elsewhere, false).unwrap();
    fs::rename(elsewhere.join("till.db"), dir.join("till.db.restored")).unwrap();
    make(&dir, &second).unwrap();
    assert!(!dir.join("till.db.restored").exists());
    let third = root.path().join("third");
    put_back(&second, &third, false).unwrap();
    let store = open(&third);
    assert_eq!(used(&store, key).await, 2, "not what was to be replaced");
    store.close().await.unwrap();
}

const VICTIM: &str = "TILL_TEST_BACKUP_VICTIM";

/// Ends as by kill -9 at the step that the variable tells: no destructor runs.
#[tokio::test]
async fn victim() {
    let Ok(order) = std::env::var(VICTIM) else { return };
    let (what, root, nth) = {
        let mut parts = order.split('|');
        let mut next = || parts.next().unwrap().to_owned();
        (next(), PathBuf::from(next()), next().parse::<u32>().unwrap())
    };
    let mut count = 0;
    let mut die = |_| {
        count += 1;
        if count == nth {
            std::process::abort();
        }
    };
    let (dir, file) = (root.join("till"), root.join("backup"));
    if what == "backup" {
        backup_make(&options(&dir), &root.join("other"), true, (TAKEN, "1"), &mut die, |_| Ok(())).unwrap();
    } else {
        restore(&file, &options(&dir), true, (&Actor::system(), TAKEN), &mut die).unwrap();
    }
}

#[tokio::test]
async fn killed_at_any_step_there_is_the_old_state_or_the_new_one() {
    let mut outcomes = [0, 0];
    for nth in 1..50 {
        let (root, dir, store, key) = running().await;
        make(&dir, &root.path().join("backup")).unwrap();
        hold(&store, key).await.settle(Units::ONE_ACTIVATION);
        store.close().await.unwrap();
        let order = format!("restore|{}|{nth}", root.path().display());
        let status = spawn("backup::victim", VICTIM, Path::new(&order)).wait().unwrap();
        let store = open(&dir);
        let restored = store.fenced().is_some();
        assert_eq!(used(&store, key).await, if restored { 2 } else { 3 }, "step {nth}");
        outcomes[usize::from(restored)] += 1;
        let log = store.audit_list(0, 1000).await.unwrap();
        verify_chain(&log).unwrap();
        assert_eq!(log.iter().any(|entry| entry.action == "backup.restore"), restored, "step {nth}");
        store.close().await.unwrap();
        if restored {
            check_restored(&dir, key, 2).await;
            assert!(names(&dir).iter().any(|name| name.starts_with("till.db.before-restore-")));
        } else {
            // What was left behind is in nobody's way.
            put_back(&root.path().join("backup"), &dir, true).unwrap();
            check_restored(&dir, key, 2).await;
        }
        if status.success() {
            assert!(outcomes[0] >= 3 && outcomes[1] >= 3, "{outcomes:?}");
            return;
        }
    }
    panic!("it never came to its end");
}

#[tokio::test]
async fn a_killed_backup_is_none() {
    for nth in 1..50 {
        let (root, dir, store, _) = running().await;
        let order = format!("backup|{}|{nth}", root.path().display());
        let status = spawn("backup::victim", VICTIM, Path::new(&order)).wait().unwrap();
        let other = root.path().join("other");
        assert_eq!(other.exists(), status.success(), "step {nth}");
        make(&dir, &root.path().join("backup")).unwrap();
        backup_make(&options(&dir), &other, true, (TAKEN, "1"), &mut |_| {}, |_| Ok(())).unwrap();
        assert_eq!(names(root.path()), ["backup", "other", "till"]);
        store.close().await.unwrap();
        if status.success() {
            return;
        }
    }
    panic!("it never came to its end");
}

/// With a newer till, before it was ever started on that database.
#[tokio::test]
async fn databases_of_older_versions_are_copied_as_they_are_and_restored() {
    for schema in 1..=5 {
        let root = tempfile::tempdir().unwrap();
        let (old, file) = (root.path().join("old"), root.path().join("backup"));
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/schema-{schema}"));
        copy_directory(&fixture, &old);
        assert_eq!(make(&old, &file).unwrap().schema, schema);
        let version = |database: &Path| -> u32 {
            let connection = Connection::open(database).unwrap();
            connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
        };
        assert_eq!(version(&old.join("till.db")), schema, "a backup changes nothing");
        let elsewhere = root.path().join("new");
        put_back(&file, &elsewhere, false).unwrap();
        let store = open(&elsewhere);
        assert!(store.fenced().is_some());
        assert!(!store.key_list(KeyQuery::default()).await.unwrap().is_empty());
        let log = store.audit_list(0, 1000).await.unwrap();
        verify_chain(&log).unwrap();
        assert!(log.iter().any(|entry| entry.action == "backup.restore"));
        store.close().await.unwrap();
    }
}
