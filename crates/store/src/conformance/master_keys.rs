//! Master keys: which there are, what was made under them, and what happens to that.

use till_core::key::{KeyId, KeyStatus};
use till_core::limit::Units;
use till_core::token::{IndexKey, MasterKey, MasterKeyId, wrap_index_key};

use super::place::{MemoryPlace, Place, SqlitePlace};
use super::{activations, actor, code, fetch, key_id};
use crate::{KeyQuery, NewKey, Store, StoreError};
use till_core::denial::DenialCode;

on_every_backend! {
    the_index_key_is_wrapped_anew_with_the_new_master_key,
    a_retired_master_key_ends_its_keys,
    what_was_retired_halfway_is_retired_later,
}

fn master(byte: u8) -> MasterKey {
    MasterKey::from_bytes([byte; 32])
}

fn wrapped(byte: u8) -> Vec<u8> {
    wrap_index_key(&IndexKey::from_bytes([9; 32]), &master(byte), &[0; 16])
}

async fn create_under(store: &Store, n: u64, master_key: MasterKeyId) -> Result<KeyId, StoreError> {
    let key = NewKey {
        place: Default::default(),
        request: None,
        id: key_id(n),
        master_key: Some(master_key),
        fingerprint: None,
        provider: "openai".into(),
        origin: "https://api.example.com".into(),
        limits: activations(5),
        options: Default::default(),
        lifetime: Default::default(),
        scope: Default::default(),
        metadata: Default::default(),
    };
    Ok(store.key_create(key, &actor()).await?.id)
}

async fn the_index_key_is_wrapped_anew_with_the_new_master_key(place: &impl Place) {
    let store = place.start();
    store.index_key_put(wrapped(1)).await.unwrap();
    let (one, two) = (master(1).id(), master(2).id());
    assert!(store.master_key_rotate(two, wrapped(1), &actor()).await.is_err(), "another one wrapped it");
    assert_eq!(store.index_key_fetch().await.unwrap(), Some(wrapped(1)));
    store.master_key_rotate(two, wrapped(2), &actor()).await.unwrap();
    store.master_keys_note(vec![one, two, master(3).id()]).await.unwrap();
    store.close().await.unwrap();
    let store = place.start();
    assert_eq!(store.index_key_fetch().await.unwrap(), Some(wrapped(2)));
    let mut known: Vec<_> = store.master_key_list().await.unwrap().iter().map(|master| master.id).collect();
    known.sort();
    let mut expected = vec![one, two, master(3).id()];
    expected.sort();
    assert_eq!(known, expected);
    let log = store.audit_list(0, 100).await.unwrap();
    let rotated: Vec<_> = log.iter().filter(|entry| entry.action == "master_key.rotate").collect();
    assert_eq!(rotated.len(), 1);
    assert_eq!((&*rotated[0].target, rotated[0].actor.id.as_str()), (&*two.to_string(), "owner"));
    assert!(rotated[0].detail.contains(&one.to_string()));
}

async fn a_retired_master_key_ends_its_keys(place: &impl Place) {
    let store = place.start();
    let (one, two) = (master(1).id(), master(2).id());
    store.index_key_put(wrapped(1)).await.unwrap();
    let old = create_under(&store, 1, one).await.unwrap();
    let over = create_under(&store, 2, one).await.unwrap();
    store.key_revoke(over, &actor()).await.unwrap();
    let refused = store.master_key_retire(one, &actor()).await;
    assert!(matches!(refused, Err(StoreError::Invalid { .. })), "it is the current one: {refused:?}");
    assert_eq!(store.master_key_retire(master(3).id(), &actor()).await, Ok(false), "it is not known");
    store.master_key_rotate(two, wrapped(2), &actor()).await.unwrap();
    let new = create_under(&store, 3, two).await.unwrap();
    let of = |id| KeyQuery { master_key: Some(id), ..KeyQuery::default() };
    let ids = |keys: Vec<crate::KeyRecord>| keys.into_iter().map(|key| key.id).collect::<Vec<_>>();
    assert_eq!(ids(store.key_list(of(one)).await.unwrap()), [over, old]);
    assert_eq!(ids(store.key_list(of(two)).await.unwrap()), [new]);
    assert_eq!(fetch(&store, new).await.master_key, Some(two));
    let figures = |list: Vec<crate::MasterKeyRecord>, id| {
        let found = list.into_iter().find(|master| master.id == id).expect("it is known");
        (found.keys, found.keys_live, found.retired_at.is_some())
    };
    assert_eq!(figures(store.master_key_list().await.unwrap(), one), (2, 1, false));

    let held = store.hold_exactly(old, Units::ONE_ACTIVATION).await.unwrap();
    let survivor = store.hold_exactly(new, Units::ONE_ACTIVATION).await.unwrap();
    assert_eq!(store.master_key_retire(one, &actor()).await, Ok(true));
    assert!(create_under(&store, 4, one).await.is_err(), "minted before, stored after");
    assert_eq!(store.master_key_end(one, &actor()).await, Ok(1));
    assert_eq!(held.ended().map(|denial| denial.code), Some(DenialCode::KeyRevoked));
    assert!(survivor.ended().is_none());
    assert_eq!(code(&store, old).await, DenialCode::KeyRevoked);
    assert_eq!(fetch(&store, new).await.status, KeyStatus::Active);
    assert_eq!(figures(store.master_key_list().await.unwrap(), one), (2, 0, true));
    assert_eq!(store.master_key_retire(one, &actor()).await, Ok(true), "again");
    assert!(store.master_key_rotate(one, wrapped(1), &actor()).await.is_err(), "it never comes back");
    held.void();
    survivor.void();
    store.close().await.unwrap();

    let store = place.start();
    store.master_keys_note(vec![one]).await.unwrap();
    assert_eq!(figures(store.master_key_list().await.unwrap(), one), (2, 0, true), "for good");
    let log = store.audit_list(0, 100).await.unwrap();
    let count = |action| log.iter().filter(|entry| entry.action == action).count();
    assert_eq!((count("master_key.retire"), count("key.revoke")), (1, 2));
}

async fn what_was_retired_halfway_is_retired_later(place: &impl Place) {
    let store = place.start();
    let one = master(1).id();
    store.index_key_put(wrapped(1)).await.unwrap();
    for n in 1..=3 {
        create_under(&store, n, one).await.unwrap();
    }
    store.master_key_rotate(master(2).id(), wrapped(2), &actor()).await.unwrap();
    store.master_key_retire(one, &actor()).await.unwrap();
    store.key_revoke(key_id(2), &actor()).await.unwrap();
    store.close().await.unwrap();
    let store = place.start();
    let is_ended = async |store: &Store| {
        store.master_keys_known().await.unwrap().into_iter().find(|known| known.id == one).unwrap().is_ended
    };
    assert!(!is_ended(&store).await);
    assert_eq!(store.master_key_is_needed(one).await, Ok(true));
    assert_eq!(store.master_key_end(one, &actor()).await, Ok(2));
    assert!(is_ended(&store).await);
    assert_eq!(store.master_key_is_needed(one).await, Ok(false));
    assert_eq!(store.master_key_end(one, &actor()).await, Ok(0));
    assert_eq!(code(&store, key_id(3)).await, DenialCode::KeyRevoked);
}
