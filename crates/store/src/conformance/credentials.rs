//! Stored upstream keys: who is told of them, what is made from them, what becomes of them with master keys and projects.

use std::sync::{Arc, Mutex};

use serde_json::json;
use till_core::key::KeyStatus;
use till_core::policy::Policy;
use till_core::secret::Secret;
use till_core::token::{IndexKey, KeyRing, MasterKey, wrap_index_key};
use till_core::upstream::{Placement, Upstream};

use super::entities::project_put;
use super::place::{MemoryPlace, Place, SqlitePlace};
use super::{activations, actor, fetch, key_id};
use crate::entity::{Credential, EntityQuery, Kept, Put};
use crate::memory::Fault;
use crate::store::KEYS_AT_ONCE;
use crate::{KeyPlace, KeyQuery, NewKey, Store, StoreError};

on_every_backend! {
    changes_are_told_before_they_are_answered,
    keys_are_made_where_and_for_what_they_may,
    one_that_is_removed_ends_its_keys,
    they_follow_the_master_key,
    they_end_with_their_project,
}

const KEY: &str = "sk-real-0123456789";

fn master(byte: u8) -> MasterKey {
    MasterKey::from_bytes([byte; 32])
}

fn ring(store: &Store, byte: u8) -> KeyRing {
    KeyRing::new(master(byte), store.instance_id(), IndexKey::from_bytes([9; 32]))
}

fn sealed(ring: &KeyRing, name: &str) -> Credential {
    let upstream = Upstream {
        key: Secret::new(KEY),
        provider: "openai".into(),
        origin: "https://api.example.com".into(),
        placement: Placement::Basic,
    };
    Credential {
        provider: "openai".into(),
        sealed: Credential::text_of(&ring.seal_credential(name, &upstream).unwrap()),
        project: None,
        projects: None,
        policy: Policy::default(),
    }
}

async fn put(
    store: &Store,
    name: &str,
    version: Option<u64>,
    is: Credential,
) -> Result<Kept<Credential>, StoreError> {
    let put = Put { id: name.into(), version, is, lookups: None, ends: false };
    store.entity_put(put, "credential.put", json!({}), &actor()).await
}

async fn remove(store: &Store, kept: Kept<Credential>) -> Kept<Credential> {
    let is = Credential { sealed: String::new(), ..kept.is };
    let put = Put { id: kept.id, version: Some(kept.version), is, lookups: None, ends: true };
    store.entity_put(put, "credential.remove", json!({}), &actor()).await.unwrap()
}

fn new_key(n: u64, project: &str, credential: &str) -> NewKey {
    NewKey {
        place: KeyPlace { project: project.into(), maker: None, credential: Some(credential.into()) },
        request: None,
        id: key_id(n),
        master_key: None,
        fingerprint: None,
        provider: "openai".into(),
        origin: "https://api.example.com".into(),
        limits: activations(5),
        options: Default::default(),
        lifetime: Default::default(),
        scope: Default::default(),
        metadata: Default::default(),
    }
}

async fn changes_are_told_before_they_are_answered(place: &impl Place) {
    let store = place.start();
    let ring = ring(&store, 1);
    put(&store, "early", None, sealed(&ring, "early")).await.unwrap();
    let told = Arc::<Mutex<Vec<(String, u64, bool)>>>::default();
    let list = Arc::clone(&told);
    let listener = move |kept: &Kept<Credential>| {
        list.lock().unwrap().push((kept.id.clone(), kept.version, kept.ended_at.is_some()));
    };
    store.credentials_follow(Arc::new(listener)).await.unwrap();
    let last = || told.lock().unwrap().last().cloned().unwrap();
    assert_eq!(last(), ("early".to_owned(), 1, false));
    let late = put(&store, "late", None, sealed(&ring, "late")).await.unwrap();
    assert_eq!(last(), ("late".to_owned(), 1, false));
    let late = put(&store, "late", Some(1), late.is).await.unwrap();
    assert_eq!(last(), ("late".to_owned(), 2, false));
    remove(&store, late).await;
    assert_eq!(last(), ("late".to_owned(), 3, true));
    // What is not written is not told.
    let count = told.lock().unwrap().len();
    assert!(put(&store, "late", None, sealed(&ring, "late")).await.is_err(), "a name is used once");
    assert_eq!(told.lock().unwrap().len(), count);
}

async fn keys_are_made_where_and_for_what_they_may(place: &impl Place) {
    let store = place.start();
    let ring = ring(&store, 1);
    for project in ["a", "b"] {
        project_put(&store, project, None, Policy::default()).await.unwrap();
    }
    let own = Credential { project: Some("a".into()), ..sealed(&ring, "own") };
    let some = Credential { projects: Some(vec!["a".into()]), ..sealed(&ring, "some") };
    let capped = Policy { key_limits: activations(3), ..Policy::default() };
    let capped = Credential { policy: capped, ..sealed(&ring, "capped") };
    for (name, is) in [("own", own), ("some", some), ("all", sealed(&ring, "all")), ("capped", capped)] {
        put(&store, name, None, is).await.unwrap();
    }
    let nowhere = Credential { project: Some("none".into()), ..sealed(&ring, "x") };
    assert!(put(&store, "x", None, nowhere).await.is_err());
    let mut n = 0;
    for (project, credential, may) in [
        ("a", "own", true),
        ("b", "own", false),
        ("a", "some", true),
        ("b", "some", false),
        ("a", "all", true),
        ("b", "all", true),
        ("a", "none", false),
        ("a", "capped", false),
    ] {
        n += 1;
        let made = store.key_create(new_key(n, project, credential), &actor()).await;
        let refused = matches!(made, Err(StoreError::NotAllowed { .. }));
        assert_eq!((made.is_ok(), refused), (may, !may), "{project} {credential}: {made:?}");
    }
    let other = NewKey { provider: "anthropic".into(), ..new_key(20, "a", "all") };
    let refused = store.key_create(other, &actor()).await;
    assert!(matches!(refused, Err(StoreError::NotAllowed { .. })), "{refused:?}");
}

async fn one_that_is_removed_ends_its_keys(place: &impl Place) {
    let store = place.start();
    let ring = ring(&store, 1);
    let kept = put(&store, "prod", None, sealed(&ring, "prod")).await.unwrap();
    put(&store, "other", None, sealed(&ring, "other")).await.unwrap();
    let mut ids = Vec::new();
    for (n, name) in [(1, "prod"), (2, "other")] {
        ids.push(store.key_create(new_key(n, "default", name), &actor()).await.unwrap().id);
    }
    let kept = remove(&store, kept).await;
    assert!(kept.ended_at.is_some() && kept.is.sealed_bytes().is_empty());
    assert_eq!(fetch(&store, ids[0]).await.status, KeyStatus::Revoked);
    assert_eq!(fetch(&store, ids[1]).await.status, KeyStatus::Active);
    let late = store.key_create(new_key(3, "default", "prod"), &actor()).await;
    assert!(matches!(late, Err(StoreError::NotAllowed { .. })), "{late:?}");
}

async fn they_follow_the_master_key(place: &impl Place) {
    let store = place.start();
    let ring = ring(&store, 1);
    let (one, two) = (master(1).id(), master(2).id());
    store.index_key_put(ring.wrap_index_key(&master(1))).await.unwrap();
    put(&store, "prod", None, sealed(&ring, "prod")).await.unwrap();
    let broken = Credential { sealed: sealed(&ring, "prod").sealed, ..sealed(&ring, "broken") };
    let broken = put(&store, "broken", None, broken).await.unwrap();
    let old = sealed(&ring, "old");
    let wrapped = wrap_index_key(&IndexKey::from_bytes([9; 32]), &master(2), &store.instance_id());
    store.master_key_rotate(two, wrapped, &actor()).await.unwrap();
    ring.rotate(master(2));
    // What is sealed by it, and can't be sealed anew, keeps it.
    let refused = store.master_key_retire(one, &actor()).await;
    assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
    assert_eq!(store.credentials_reseal(&ring, &actor()).await, Ok(1));
    assert_eq!(store.credentials_reseal(&ring, &actor()).await, Ok(0));
    let refused = store.master_key_retire(one, &actor()).await.unwrap_err().to_string();
    assert!(refused.contains("broken"), "{refused}");
    remove(&store, broken).await;
    assert_eq!(store.master_key_retire(one, &actor()).await, Ok(true));
    ring.retire(one).unwrap();
    let kept = store.entity_fetch::<Credential>("prod").await.unwrap().unwrap();
    assert_eq!((kept.version, kept.is.sealed_by()), (2, Some(two)));
    let found = ring.unseal_credential(kept.label(), &kept.is.sealed_bytes());
    assert!(found.is_ok_and(|found| found.key == Secret::new(KEY)));
    // Sealed before, put after.
    let refused = put(&store, "old", None, old).await;
    assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
}

async fn they_end_with_their_project(place: &impl Place) {
    let store = place.start();
    let ring = ring(&store, 1);
    let project = project_put(&store, "a", None, Policy::default()).await.unwrap();
    for (name, of) in [("own", Some("a")), ("all", None)] {
        put(&store, name, None, Credential { project: of.map(str::to_owned), ..sealed(&ring, name) })
            .await
            .unwrap();
    }
    let end = Put { id: "a".into(), version: Some(1), is: project.is, lookups: None, ends: true };
    store.entity_put(end, "project.end", json!({}), &actor()).await.unwrap();
    let left: Vec<Kept<Credential>> = store.entity_list(EntityQuery::default()).await.unwrap();
    assert_eq!(left.iter().map(|kept| kept.id.as_str()).collect::<Vec<_>>(), ["all"]);
    let own = store.entity_fetch::<Credential>("own").await.unwrap().unwrap();
    assert!(own.ended_at.is_some() && own.is.sealed.is_empty());
}

/// An end is on disk before the first key is revoked, no transaction revokes more than a bounded number, and what was cut
/// short is done later.
#[tokio::test]
async fn an_end_comes_in_pieces() {
    let place = MemoryPlace::new();
    let store = place.start();
    let ring = ring(&store, 1);
    let kept = put(&store, "prod", None, sealed(&ring, "prod")).await.unwrap();
    put(&store, "other", None, sealed(&ring, "other")).await.unwrap();
    let count = u64::from(KEYS_AT_ONCE) * 2 + 1;
    for n in 1..=count {
        store.key_create(new_key(n, "default", "prod"), &actor()).await.unwrap();
    }
    let other = store.key_create(new_key(count + 1, "default", "other"), &actor()).await.unwrap().id;
    let live = async |store: &Store| {
        let query = KeyQuery { credential: Some("prod".into()), ..KeyQuery::default() };
        let keys = store.key_list(query).await.unwrap();
        keys.iter().filter(|key| key.status != KeyStatus::Revoked).count() as u64
    };
    // The end is written, and a piece; the next one is not.
    place.medium.script([Fault::None, Fault::None, Fault::Fail]);
    let is = Credential { sealed: String::new(), ..kept.is };
    let end = Put { id: "prod".into(), version: Some(1), is, lookups: None, ends: true };
    let failed = store.entity_put(end, "credential.remove", json!({}), &actor()).await;
    assert!(matches!(failed, Err(StoreError::Failed { .. })), "{failed:?}");
    assert!(store.entity_fetch::<Credential>("prod").await.unwrap().unwrap().ended_at.is_some());
    assert_eq!(live(&store).await, count - u64::from(KEYS_AT_ONCE));
    let late = store.key_create(new_key(count + 2, "default", "prod"), &actor()).await;
    assert!(matches!(late, Err(StoreError::NotAllowed { .. })), "{late:?}");
    store.close().await.unwrap();
    let store = place.start();
    store.endings_finish().await.unwrap();
    assert_eq!(live(&store).await, 0);
    assert_eq!(fetch(&store, other).await.status, KeyStatus::Active);
    let before = store.stats().batches;
    store.endings_finish().await.unwrap();
    assert_eq!(store.stats().batches, before, "there is nothing left to do");
    let log = store.audit_list(0, 10_000).await.unwrap();
    assert_eq!(log.iter().filter(|entry| entry.action == "key.revoke").count() as u64, count);
}

/// Whether a write that failed has reached the disk or not, what is told in the end is what is there.
#[tokio::test]
async fn after_a_failed_write_is_told_what_is_there() {
    for (fault, version) in [(Fault::Fail, 1), (Fault::WriteAndFail, 2)] {
        let place = MemoryPlace::new();
        let store = place.start();
        let ring = ring(&store, 1);
        let kept = put(&store, "prod", None, sealed(&ring, "prod")).await.unwrap();
        let told = Arc::<Mutex<Vec<u64>>>::default();
        let list = Arc::clone(&told);
        let listener = move |kept: &Kept<Credential>| list.lock().unwrap().push(kept.version);
        store.credentials_follow(Arc::new(listener)).await.unwrap();
        place.medium.script([fault]);
        let failed = put(&store, "prod", Some(1), kept.is).await;
        assert!(matches!(failed, Err(StoreError::Failed { .. })), "{failed:?}");
        store.flush().await.unwrap();
        assert_eq!(told.lock().unwrap().last(), Some(&version), "{fault:?}");
    }
}
