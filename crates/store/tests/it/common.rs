//! What the tests from outside share.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Map;
use till_core::audit::Actor;
use till_core::denial::DenialCode;
use till_core::key::KeyId;
use till_core::limit::{Limits, Units};
use till_core::time::Timestamp;
use till_store::{Hold, HoldRefusal, NewKey, OpenOptions, Outcome, Store, TokenCounts, UsageRecord};

pub(crate) fn key_id(n: u8) -> KeyId {
    KeyId([n; 16])
}

pub(crate) fn options(dir: &Path) -> OpenOptions {
    OpenOptions::new(dir, "test")
}

pub(crate) fn open(dir: &Path) -> Store {
    Store::open(&options(dir)).expect("opens")
}

pub(crate) fn activations(limit: u64) -> Limits {
    Limits { activations: Some(limit), ..Limits::default() }
}

pub(crate) fn new_key(n: u8, limits: Limits) -> NewKey {
    NewKey {
        place: Default::default(),
        request: None,
        id: key_id(n),
        master_key: None,
        fingerprint: None,
        provider: "openai".into(),
        origin: "https://api.openai.com".into(),
        limits,
        options: Default::default(),
        lifetime: Default::default(),
        scope: Default::default(),
        metadata: Map::new(),
    }
}

pub(crate) async fn create(store: &Store, n: u8, limits: Limits) -> KeyId {
    store.key_create(new_key(n, limits), &Actor::system()).await.expect("is made").id
}

pub(crate) async fn hold(store: &Store, key: KeyId) -> Hold {
    store.hold_exactly(key, Units::ONE_ACTIVATION).await.expect("units are left")
}

pub(crate) async fn used(store: &Store, key: KeyId) -> u64 {
    store.key_fetch(key).await.expect("readable").expect("exists").used.activations
}

pub(crate) async fn denied(store: &Store, key: KeyId) -> Option<DenialCode> {
    match store.hold_exactly(key, Units::ONE_ACTIVATION).await {
        Ok(hold) => {
            hold.void();
            None
        }
        Err(HoldRefusal::Denied(denial)) => Some(denial.code),
        Err(error) => panic!("{error:?}"),
    }
}

/// Copies a directory file by file, as `cp -r` does.
pub(crate) fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("makes a directory");
    for entry in std::fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("has a type").is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copies");
        }
    }
}

/// The store of a process that was started to be killed; `None` in the test itself.
pub(crate) fn open_as_victim(variable: &str) -> Option<Store> {
    let store = open(Path::new(&std::env::var_os(variable)?));
    assert_eq!(store.fenced(), None);
    Some(store)
}

/// The record of an ordinary call.
pub(crate) fn record(at: Timestamp, key: KeyId, request_id: &str) -> UsageRecord {
    UsageRecord {
        at,
        request_id: request_id.into(),
        key,
        provider: "openai".into(),
        method: "POST".into(),
        endpoint: "chat.completions".into(),
        model: Some("model-1".into()),
        status: Some(200),
        outcome: Outcome::Complete,
        denial: None,
        tokens: TokenCounts::default(),
        charged: Units::default(),
        price_version: None,
        latency_ms: 1,
        first_byte_ms: None,
        client: None,
        streamed: false,
    }
}

/// Says a line to the test that started this process: in one write, so that it is never half there.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Starts a test of this file's program as a process of its own, to be killed; the variable tells it the directory.
pub(crate) fn spawn(test: &str, variable: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(variable, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}
