//! Projects, members, admin tokens: versions, ends, other ways to find them.

use serde_json::json;
use till_core::audit::verify_chain;
use till_core::key::{KeyId, KeyStatus};
use till_core::limit::Limits;
use till_core::policy::Policy;
use till_core::role::Role;
use till_core::time::Timestamp;
use tokio::task::JoinSet;

use super::place::{MemoryPlace, Place, SqlitePlace};
use super::{activations, actor, create, fetch};
use crate::clock::FakeTime;
use crate::entity::{AdminToken, EntityKind, EntityQuery, Kept, Lookup, Member, Project, Put};
use crate::{KeyChange, KeyPlace, KeyQuery, NewKey, Store, StoreError};

on_every_backend! {
    what_is_kept_has_a_version,
    what_has_ended_is_over,
    a_lookup_leads_to_one_thing_and_ends_in_time,
    lists_have_pages_and_projects,
    ending_a_project_ends_its_keys,
    uses_are_noted,
    what_can_not_be_counted_is_refused,
    keys_are_sorted_and_paged_by_what_is_asked_for,
    keys_are_found_by_name_and_counted_by_state,
}

pub(super) fn token(role: Role) -> AdminToken {
    AdminToken::unbound("a token", role)
}

/// Puts an admin token that this hash finds.
pub(super) async fn token_put(
    store: &Store,
    id: &str,
    version: Option<u64>,
    hash: u8,
) -> Result<Kept<AdminToken>, StoreError> {
    let lookups = Some(vec![Lookup { hash: [hash; 32], until: None }]);
    let put = Put { id: id.into(), version, is: token(Role::Owner), lookups, ends: false };
    store.entity_put(put, "token.put", json!({"role": "owner"}), &actor()).await
}

pub(super) async fn project_put(
    store: &Store,
    id: &str,
    version: Option<u64>,
    policy: Policy,
) -> Result<Kept<Project>, StoreError> {
    let is = Project { name: format!("project {id}"), policy };
    let put = Put { id: id.into(), version, is, lookups: None, ends: false };
    store.entity_put(put, "project.put", json!({}), &actor()).await
}

async fn what_is_kept_has_a_version(place: &impl Place) {
    let store = place.start();
    let default =
        store.entity_fetch::<Project>("default").await.unwrap().expect("it is there from the beginning");
    assert_eq!((default.version, default.is.name.as_str()), (1, "default"));
    let made = project_put(&store, "a", None, Policy::default()).await.unwrap();
    assert_eq!((made.id.as_str(), made.version, made.ended_at), ("a", 1, None));
    let again = project_put(&store, "a", None, Policy::default()).await;
    assert!(matches!(again, Err(StoreError::Conflict { .. })), "{again:?}");
    let rules = Policy { live_keys: Some(3), ..Policy::default() };
    let changed = project_put(&store, "a", Some(1), rules.clone()).await.unwrap();
    assert_eq!((changed.version, &changed.is.policy), (2, &rules));
    assert_eq!(project_put(&store, "a", Some(1), Policy::default()).await, Err(StoreError::Changed));
    assert_eq!(project_put(&store, "b", Some(1), Policy::default()).await, Err(StoreError::Missing));
    // Kinds do not share their ids.
    token_put(&store, "a", None, 1).await.unwrap();
    // Many at once from the same version: one of them.
    let mut all = JoinSet::new();
    for _ in 0..20 {
        let store = store.clone();
        all.spawn(async move { project_put(&store, "a", Some(2), Policy::default()).await.is_ok() });
    }
    assert_eq!(all.join_all().await.into_iter().filter(|won| *won).count(), 1);
    store.close().await.unwrap();
    let store = place.start();
    assert_eq!(store.entity_fetch::<Project>("a").await.unwrap().map(|kept| kept.version), Some(3));
    let log = store.audit_list(0, 100).await.unwrap();
    verify_chain(&log).unwrap();
    assert_eq!(
        log.iter().filter(|entry| entry.action == "project.put").count(),
        3,
        "what failed is not in it"
    );
}

async fn what_has_ended_is_over(place: &impl Place) {
    let store = place.start();
    let made = token_put(&store, "t", None, 1).await.unwrap();
    assert!(store.entity_find::<AdminToken>([1; 32]).await.unwrap().is_some());
    let put = Put { id: "t".into(), version: Some(1), is: made.is, lookups: None, ends: true };
    let ended = store.entity_put(put, "token.revoke", json!({}), &actor()).await.unwrap();
    assert!(ended.ended_at.is_some());
    assert_eq!(store.entity_find::<AdminToken>([1; 32]).await.unwrap(), None);
    for version in [None, Some(2)] {
        let error = token_put(&store, "t", version, 1).await.unwrap_err();
        assert!(matches!(error, StoreError::Conflict { .. } | StoreError::Missing), "{error:?}");
    }
    // What led to it is free again.
    token_put(&store, "u", None, 1).await.unwrap();
}

async fn a_lookup_leads_to_one_thing_and_ends_in_time(place: &impl Place) {
    let time = FakeTime::at(1_000);
    let store = place.start_at(&time);
    token_put(&store, "t", None, 1).await.unwrap();
    let taken = token_put(&store, "u", None, 1).await;
    assert!(matches!(taken, Err(StoreError::Conflict { .. })), "{taken:?}");
    // Rotation: the old hash goes on for a while.
    let lookups =
        vec![Lookup { hash: [2; 32], until: None }, Lookup { hash: [1; 32], until: Some(Timestamp(2_000)) }];
    let put =
        Put { id: "t".into(), version: Some(1), is: token(Role::Owner), lookups: Some(lookups), ends: false };
    store.entity_put(put, "token.rotate", json!({}), &actor()).await.unwrap();
    let found =
        async |hash: u8| store.entity_find::<AdminToken>([hash; 32]).await.unwrap().map(|kept| kept.id);
    assert_eq!(found(1).await.as_deref(), Some("t"));
    assert_eq!(found(2).await.as_deref(), Some("t"));
    time.pass(999);
    assert_eq!(found(1).await.as_deref(), Some("t"));
    time.pass(1);
    assert_eq!(found(1).await, None);
    assert_eq!(found(2).await.as_deref(), Some("t"));
    // A change that says nothing of them leaves them.
    let put = Put { id: "t".into(), version: Some(2), is: token(Role::Viewer), lookups: None, ends: false };
    store.entity_put(put, "token.update", json!({}), &actor()).await.unwrap();
    let kept = store.entity_find::<AdminToken>([2; 32]).await.unwrap().unwrap();
    assert_eq!((kept.is.role, kept.version), (Role::Viewer, 3));
}

async fn lists_have_pages_and_projects(place: &impl Place) {
    let store = place.start();
    project_put(&store, "a", None, Policy::default()).await.unwrap();
    for n in 0..5_u8 {
        let project = (n % 2 == 0).then(|| "a".to_owned());
        let is = Member {
            login: format!("m{n}"),
            name: String::new(),
            role: Role::Viewer,
            project,
            policy: Policy::default(),
            password: None,
        };
        let lookups = Some(vec![Lookup { hash: [n; 32], until: None }]);
        let put = Put { id: format!("mem_{n}"), version: None, is, lookups, ends: n == 4 };
        store.entity_put(put, "member.put", json!({}), &actor()).await.unwrap();
    }
    let list = async |query: EntityQuery| {
        let all = store.entity_list::<Member>(query).await.unwrap();
        all.into_iter().map(|kept| kept.is.login).collect::<Vec<_>>()
    };
    assert_eq!(list(EntityQuery::default()).await, ["m3", "m2", "m1", "m0"]);
    assert_eq!(
        list(EntityQuery { with_ended: true, limit: Some(2), ..Default::default() }).await,
        ["m4", "m3"]
    );
    let after = |id: &str| EntityQuery { after: Some(id.into()), ..Default::default() };
    assert_eq!(list(after("mem_2")).await, ["m1", "m0"]);
    assert_eq!(list(after("mem_9")).await, [""; 0]);
    assert_eq!(list(EntityQuery { project: Some("a".into()), ..Default::default() }).await, ["m2", "m0"]);
    // Nothing is put into a project that is not there.
    let is = AdminToken { project: Some("b".into()), ..token(Role::Viewer) };
    let put = Put { id: "x".into(), version: None, is, lookups: None, ends: false };
    let refused = store.entity_put(put, "token.put", json!({}), &actor()).await;
    assert!(matches!(refused, Err(StoreError::NotAllowed { .. })), "{refused:?}");
}

async fn ending_a_project_ends_its_keys(place: &impl Place) {
    let store = place.start();
    let made = project_put(&store, "a", None, Policy::default()).await.unwrap();
    let elsewhere = create(&store, 1, activations(3)).await;
    let key = |n: u64| NewKey {
        place: KeyPlace { project: "a".into(), maker: Some("tok_1".into()), credential: None },
        request: Some([5; 32]),
        master_key: None,
        id: super::key_id(n),
        fingerprint: None,
        provider: "openai".into(),
        origin: "https://api.example.com".into(),
        limits: activations(3),
        options: Default::default(),
        lifetime: Default::default(),
        scope: Default::default(),
        metadata: Default::default(),
    };
    let inside = store.key_create(key(2), &actor()).await.unwrap();
    assert_eq!((inside.place.project.as_str(), inside.request, inside.version), ("a", Some([5; 32]), 1));
    let of = async |query: KeyQuery| store.key_list(query).await.unwrap().len();
    assert_eq!(of(KeyQuery { project: Some("a".into()), ..Default::default() }).await, 1);
    assert_eq!(of(KeyQuery { maker: Some("tok_1".into()), ..Default::default() }).await, 1);
    assert_eq!(of(KeyQuery { maker: Some("tok_2".into()), ..Default::default() }).await, 0);
    assert_eq!(store.project_keys("a").await.unwrap(), [inside.id]);
    let put = Put { id: "a".into(), version: Some(1), is: made.is, lookups: None, ends: true };
    store.entity_put(put, "project.end", json!({}), &actor()).await.unwrap();
    assert_eq!(fetch(&store, inside.id).await.status, KeyStatus::Revoked);
    assert_eq!(fetch(&store, elsewhere).await.status, KeyStatus::Active);
    let late = store.key_create(key(3), &actor()).await;
    assert!(matches!(late, Err(StoreError::NotAllowed { .. })), "{late:?}");
}

async fn uses_are_noted(place: &impl Place) {
    let time = FakeTime::at(5_000);
    let store = place.start_at(&time);
    token_put(&store, "t", None, 1).await.unwrap();
    store.entity_used(EntityKind::Token, "t");
    store.flush().await.unwrap();
    let kept = store.entity_fetch::<AdminToken>("t").await.unwrap().unwrap();
    assert_eq!((kept.used_at, kept.version), (Some(Timestamp(5_000)), 1));
}

async fn what_can_not_be_counted_is_refused(place: &impl Place) {
    let store = place.start();
    let limits = Limits { tokens: Some(u64::MAX), ..Limits::default() };
    let refused = project_put(&store, "a", None, Policy { key_limits: limits, ..Policy::default() }).await;
    assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{refused:?}");
    assert_eq!(store.entity_fetch::<Project>("a").await.unwrap(), None);
}

async fn keys_are_sorted_and_paged_by_what_is_asked_for(place: &impl Place) {
    use till_core::lifetime::Lifetime;
    use till_core::limit::Units;

    use crate::KeySort;
    let time = FakeTime::at(1_000_000);
    let store = place.start_at(&time);
    // Made in this order; number, end, and whether it is used, in the order 3, 1.
    for (n, end) in [(1, Some(9_000_000)), (2, None), (3, Some(5_000_000)), (4, Some(9_000_000)), (5, None)] {
        let key = NewKey {
            place: KeyPlace::default(),
            request: None,
            master_key: None,
            id: super::key_id(n),
            fingerprint: None,
            provider: "openai".into(),
            origin: "https://api.example.com".into(),
            limits: activations(3),
            options: Default::default(),
            lifetime: Lifetime { expires_at: end.map(Timestamp), ..Lifetime::default() },
            scope: Default::default(),
            metadata: Default::default(),
        };
        store.key_create(key, &actor()).await.unwrap();
    }
    for n in [3, 1] {
        time.pass(1_000);
        let hold = store.hold_exactly(super::key_id(n), Units::ONE_ACTIVATION).await.unwrap();
        hold.settle(Units::ONE_ACTIVATION);
    }
    let number = |key: &crate::KeyRecord| key.id.0[15];
    for (sort, expected) in [
        (KeySort::Created, [5, 4, 3, 2, 1]),
        (KeySort::LastUsed, [1, 3, 5, 4, 2]),
        (KeySort::Expires, [5, 2, 4, 1, 3]),
    ] {
        for ascending in [false, true] {
            let mut expected = expected.to_vec();
            if ascending {
                expected.reverse();
            }
            let query = KeyQuery { sort, ascending, ..KeyQuery::default() };
            let all: Vec<u8> = store.key_list(query.clone()).await.unwrap().iter().map(number).collect();
            assert_eq!(all, expected, "{sort:?} {ascending}");
            let (mut paged, mut after) = (Vec::new(), None);
            loop {
                let page = KeyQuery { after, limit: Some(2), ..query.clone() };
                let page = store.key_list(page).await.unwrap();
                let Some(last) = page.last() else { break };
                after = Some(last.id);
                paged.extend(page.iter().map(number));
            }
            assert_eq!(paged, expected, "{sort:?} {ascending}, in pages");
            let nowhere = KeyQuery { after: Some(super::key_id(77)), ..query };
            assert!(store.key_list(nowhere).await.unwrap().is_empty());
        }
    }
}

async fn keys_are_found_by_name_and_counted_by_state(place: &impl Place) {
    let store = place.start();
    let names = ["Nightly crawler", "crawler of Ada", "100%_sure", "ÄRGER", ""];
    for (n, name) in (1..).zip(names) {
        let key = super::create(&store, n, super::activations(1)).await;
        let name = (!name.is_empty()).then(|| name.to_owned());
        store
            .key_update(key, KeyChange { name: Some(name), ..KeyChange::default() }, &actor())
            .await
            .unwrap();
    }
    let found = async |text: &str| -> Vec<KeyId> {
        let query = KeyQuery { search: Some(text.into()), ascending: true, ..KeyQuery::default() };
        store.key_list(query).await.unwrap().into_iter().map(|key| key.id).collect()
    };
    let key = super::key_id;
    assert_eq!(found("CRAWLER").await, [key(1), key(2)]);
    assert_eq!(found("%").await, [key(3)], "no pattern");
    assert_eq!(found("ÄRGER").await, [key(4)]);
    assert_eq!(found("nobody").await, []);
    let text = key(5).to_string();
    assert_eq!(found(&text).await, [key(5)]);
    assert!(found(&text[..12]).await.contains(&key(5)));
    assert_eq!(found("key_").await.len(), 5, "all ids begin so");
    store.key_revoke(key(1), &actor()).await.unwrap();
    store
        .key_update(key(2), KeyChange { paused: Some(true), ..KeyChange::default() }, &actor())
        .await
        .unwrap();
    let counts = store.key_counts(None).await.unwrap();
    let of = |status| counts.of(status);
    assert_eq!((of(KeyStatus::Revoked), of(KeyStatus::Paused), of(KeyStatus::Active)), (1, 1, 3));
    assert_eq!(store.key_counts(Some("nobody".into())).await.unwrap(), Default::default());
}
