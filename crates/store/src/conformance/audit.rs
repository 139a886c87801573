//! The audit log: checkpoints, denials, deletion by age.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use till_core::audit::{Actor, AuditEntry, ChainHead, LogRecord, Proof, Verifier};
use till_core::denial::DenialCode;
use till_core::hex::to_hex;
use till_core::limit::Units;
use till_core::time::Timestamp;
use till_core::token::{AuditKeys, IndexKey};

use super::entities::token_put;
use super::place::{MemoryPlace, Place, SqlitePlace};
use super::{activations, actor, code, create, key_id, settled};
use crate::clock::FakeTime;
use crate::store::Bounds;
use crate::writer::LOADED_MAX;
use crate::{AuditAction, AuditQuery, Store};

on_every_backend! {
    checkpoints_are_signed_when_they_are_wanted,
    many_entries_make_a_checkpoint,
    denials_of_a_minute_are_entered_once,
    a_stop_enters_what_was_denied_and_signs_it,
    the_entries_of_a_minute_are_bounded,
    old_entries_go_up_to_a_checkpoint,
    without_a_checkpoint_nothing_goes,
    entries_are_found_by_what_they_say,
    minted_tokens_stand_in_the_log_as_keyed_hashes,
}

const DAY: u64 = 86_400_000;

/// A minute begins then.
const NOON: u64 = 1_769_860_800_000;

fn keys() -> AuditKeys {
    AuditKeys::derive(&IndexKey::from_bytes([4; 32]))
}

async fn signed(place: &impl Place, time: &FakeTime) -> Store {
    let store = place.start_at(time);
    store.audit_sign_with(keys()).await.unwrap();
    store
}

/// The log as it is exported.
async fn verify(store: &Store) -> Proof {
    let (state, mut verifier) =
        (store.audit_state().await.unwrap(), Verifier::new(vec![keys().public_key()]));
    verifier.take(&LogRecord::Log { instance_id: store.instance_id() });
    state.anchor.iter().for_each(|anchor| verifier.take(&LogRecord::Checkpoint(*anchor)));
    let checkpoints = store.audit_checkpoints(0, 1_000).await.unwrap();
    for entry in store.audit_list(0, 100_000).await.unwrap() {
        let seq = entry.seq;
        verifier.take(&LogRecord::Entry(entry));
        let checkpoint = checkpoints.iter().find(|checkpoint| checkpoint.seq == seq);
        checkpoint.into_iter().for_each(|one| verifier.take(&LogRecord::Checkpoint(*one)));
    }
    verifier.finish().unwrap_or_else(|fault| panic!("{fault}"))
}

async fn entries(store: &Store, action: &str) -> Vec<AuditEntry> {
    let action = Some(AuditAction::Is(action.into()));
    store.audit_page(AuditQuery { action, limit: 10_000, ..AuditQuery::default() }).await.unwrap()
}

/// Target and detail of each.
async fn denied(store: &Store) -> Vec<(String, Value)> {
    let entries = entries(store, "key.denied").await;
    entries.into_iter().map(|entry| (entry.target, serde_json::from_str(&entry.detail).unwrap())).collect()
}

async fn checkpoint_seqs(store: &Store) -> Vec<u64> {
    store.audit_checkpoints(0, 100).await.unwrap().iter().map(|one| one.seq).collect()
}

async fn checkpoints_are_signed_when_they_are_wanted(place: &impl Place) {
    let time = FakeTime::at(NOON);
    let store = place.start_at(&time);
    settled(&store).await;
    store.audit_seal().await.unwrap();
    assert_eq!(checkpoint_seqs(&store).await, [] as [u64; 0], "nobody can sign");
    store.audit_sign_with(keys()).await.unwrap();
    assert_eq!(checkpoint_seqs(&store).await, [] as [u64; 0]);
    store.audit_seal().await.unwrap();
    // The key is entered first, and signed with the rest.
    let log = store.audit_list(0, 9).await.unwrap();
    let actions: Vec<&str> = log.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["test.barrier", "audit.key"]);
    let public = keys().public_key();
    assert_eq!(log[1].target, public.id().to_string());
    assert_eq!(
        serde_json::from_str::<Value>(&log[1].detail).unwrap(),
        json!({"algorithm": "ed25519", "publicKey": public.to_string()})
    );
    assert_eq!(checkpoint_seqs(&store).await, [2]);
    store.audit_seal().await.unwrap();
    assert_eq!(checkpoint_seqs(&store).await, [2], "nothing new");
    time.pass(1_000);
    settled(&store).await;
    store.audit_seal().await.unwrap();
    assert_eq!(checkpoint_seqs(&store).await, [2, 3]);
    let proof = verify(&store).await;
    assert_eq!((proof.entries, proof.last.at), (3, store.now()));
    settled(&store).await;
    store.close().await.unwrap();

    // A clean stop signs, and the key is known from then on.
    let store = signed(place, &time).await;
    assert_eq!(checkpoint_seqs(&store).await, [2, 3, 4]);
    settled(&store).await;
    store.audit_seal().await.unwrap();
    assert_eq!(verify(&store).await.head.seq, 5);
    assert_eq!(entries(&store, "audit.key").await.len(), 1);
    let state = store.audit_state().await.unwrap();
    assert_eq!((state.anchor, state.keys, state.last.unwrap().seq), (None, vec![public], 5));
    // Another key is entered when it signs first.
    let other = AuditKeys::derive(&IndexKey::from_bytes([5; 32]));
    store.audit_sign_with(other.clone()).await.unwrap();
    settled(&store).await;
    store.audit_seal().await.unwrap();
    assert_eq!(entries(&store, "audit.key").await.len(), 2);
    assert_eq!(store.audit_state().await.unwrap().last.unwrap().key_id, other.public_key().id());
}

async fn many_entries_make_a_checkpoint(place: &impl Place) {
    let store = signed(place, &FakeTime::at(NOON)).await;
    for _ in 0..1_001 {
        settled(&store).await;
    }
    assert_eq!(checkpoint_seqs(&store).await, [1_001], "with the entry of the key");
}

async fn denials_of_a_minute_are_entered_once(place: &impl Place) {
    let time = FakeTime::at(NOON + 10_000);
    let store = signed(place, &time).await;
    let key = create(&store, 1, activations(0)).await;
    for _ in 0..3 {
        code(&store, key).await;
    }
    store.denial_record(key, DenialCode::ModelDenied);
    store.flush().await.unwrap();
    time.pass(51_900);
    store.flush().await.unwrap();
    assert_eq!(denied(&store).await, [], "the last ones may be on their way");
    code(&store, key).await;
    settled(&store).await;
    time.pass(101);
    // Its counts come to the tables first.
    for _ in 0..20 {
        store.flush().await.unwrap();
    }
    let minute = "2026-01-31T12:00:00Z";
    let target = key.to_string();
    let expected = [
        (
            target.clone(),
            json!({"code": "activations_exhausted", "count": 3, "minute": minute, "project": "default"}),
        ),
        (target.clone(), json!({"code": "model_denied", "count": 1, "minute": minute, "project": "default"})),
    ];
    assert_eq!(denied(&store).await, expected);
    assert_eq!(entries(&store, "key.denied").await[0].actor, Actor::system());
    // One that comes late is counted under the next minute, and that is entered once as well.
    time.pass(60_000);
    for _ in 0..20 {
        store.flush().await.unwrap();
    }
    let all = denied(&store).await;
    assert_eq!(all[..2], expected);
    assert_eq!(
        all[2..],
        [(
            target,
            json!({"code": "activations_exhausted", "count": 1, "minute": "2026-01-31T12:01:00Z", "project": "default"})
        )]
    );
    time.pass(600_000);
    store.flush().await.unwrap();
    assert_eq!(denied(&store).await.len(), 3, "nothing was denied since");
    store.audit_seal().await.unwrap();
    verify(&store).await;
}

async fn a_stop_enters_what_was_denied_and_signs_it(place: &impl Place) {
    let time = FakeTime::at(NOON);
    let store = signed(place, &time).await;
    let key = create(&store, 1, activations(0)).await;
    for _ in 0..2 {
        code(&store, key).await;
    }
    store.close().await.unwrap();
    // In the same minute: no second entry of it for the same key and code.
    let store = signed(place, &time).await;
    assert_eq!(denied(&store).await.len(), 1);
    assert_eq!(verify(&store).await.head.seq, 3, "key.create, key.denied, audit.key");
    for _ in 0..5 {
        code(&store, key).await;
    }
    store.close().await.unwrap();
    let store = signed(place, &time).await;
    let minutes: Vec<(Value, Value)> =
        denied(&store).await.iter().map(|(_, one)| (one["minute"].clone(), one["count"].clone())).collect();
    let minute = |minute: &str| json!(format!("2026-01-31T12:0{minute}:00Z"));
    assert_eq!(minutes, [(minute("0"), json!(2)), (minute("1"), json!(5))]);
    verify(&store).await;
}

async fn the_entries_of_a_minute_are_bounded(place: &impl Place) {
    const KEYS: u64 = 130;
    let time = FakeTime::at(NOON);
    let store = signed(place, &time).await;
    for n in 0..KEYS {
        let key = key_id(n + 1);
        for _ in 0..=n {
            store.denial_record(key, DenialCode::KeyRevoked);
        }
        if n < 10 {
            store.denial_record(key, DenialCode::ModelDenied);
        }
    }
    settled(&store).await;
    store.close().await.unwrap();
    let store = signed(place, &time).await;
    let denied = denied(&store).await;
    assert_eq!(denied.len(), 101);
    // Who was denied most stands there by name.
    let by_name: BTreeMap<&str, u64> =
        denied[..100].iter().map(|(key, one)| (key.as_str(), one["count"].as_u64().unwrap())).collect();
    assert_eq!(by_name.len(), 100);
    for n in 30..KEYS {
        assert_eq!(by_name.get(key_id(n + 1).to_string().as_str()), Some(&(n + 1)));
    }
    let rest: u64 = (1..=30).sum();
    assert_eq!(
        denied[100],
        (
            "other keys".to_owned(),
            json!({
                "codes": {"key_revoked": rest, "model_denied": 10},
                "count": rest + 10,
                "keys": 30,
                "ofUnknownKeys": 0,
                "minute": "2026-01-31T12:00:00Z",
            })
        )
    );
}

fn keeping(days: u64) -> Bounds {
    Bounds {
        loaded_max: LOADED_MAX,
        usage_retention: None,
        audit_retention: Some(Duration::from_secs(days * DAY / 1_000)),
    }
}

async fn old_entries_go_up_to_a_checkpoint(place: &impl Place) {
    let time = FakeTime::at(NOON);
    let store = signed(place, &time).await;
    for day in 0..5_u64 {
        for _ in 0..10 {
            settled(&store).await;
        }
        if day % 2 == 0 {
            store.audit_seal().await.unwrap();
        }
        time.pass(DAY);
    }
    let whole = store.audit_list(0, 1_000).await.unwrap();
    assert_eq!(checkpoint_seqs(&store).await, [11, 31, 51]);
    store.close().await.unwrap();

    // Older than three days are those of the days 0 and 1; the last checkpoint that is old enough is that of day 0.
    let begin = || async {
        let store = place.start_under(keeping(3), time.clock());
        store.audit_sign_with(keys()).await.unwrap();
        settled(&store).await;
        store
    };
    let store = begin().await;
    store.audit_seal().await.unwrap();
    let proof = verify(&store).await;
    assert_eq!(proof.anchor.map(|anchor| anchor.seq), Some(11));
    let left = store.audit_list(0, 1_000).await.unwrap();
    assert_eq!(left[..40], whole[11..]);
    let trims = entries(&store, "audit.trim").await;
    assert_eq!(
        serde_json::from_str::<Value>(&trims[0].detail).unwrap(),
        json!({"through": 11, "hash": to_hex(&whole[10].hash), "entries": 11, "before": Timestamp(NOON + 2 * DAY).to_string()})
    );
    assert_eq!(checkpoint_seqs(&store).await[0], 11, "the anchor stays");
    store.close().await.unwrap();

    // Further, and what the entry said of the first time goes too.
    time.pass(30 * DAY);
    let store = begin().await;
    store.audit_seal().await.unwrap();
    let proof = verify(&store).await;
    let head = ChainHead { seq: 53, hash: left[41].hash };
    assert_eq!(left[41].seq, 53, "audit.trim and a barrier");
    assert_eq!(proof.anchor.map(|anchor| anchor.head()), Some(head));
    assert_eq!(entries(&store, "audit.trim").await.len(), 1);
    assert_eq!(store.audit_list(0, 1_000).await.unwrap()[0].seq, 54);
    store.close().await.unwrap();
    let store = begin().await;
    assert_eq!(entries(&store, "audit.trim").await.len(), 1, "nothing more is old");
    drop(store);
}

async fn without_a_checkpoint_nothing_goes(place: &impl Place) {
    let time = FakeTime::at(NOON);
    let store = place.start_at(&time);
    settled(&store).await;
    store.close().await.unwrap();
    time.pass(100 * DAY);
    let store = place.start_under(keeping(1), time.clock());
    settled(&store).await;
    assert_eq!(store.audit_list(0, 9).await.unwrap().len(), 2);
    assert_eq!(store.audit_state().await.unwrap().anchor, None);
}

async fn entries_are_found_by_what_they_say(place: &impl Place) {
    let time = FakeTime::at(NOON);
    let store = place.start_at(&time);
    for n in 1..=3 {
        create(&store, n, activations(5)).await;
        time.pass(1_000);
    }
    store.key_revoke(key_id(2), &actor()).await.unwrap();
    store.audit_append("keys.other", "x", json!({"note": "50%_of"}), &Actor::system()).await.unwrap();
    let seqs = |query: AuditQuery| {
        let store = store.clone();
        async move {
            let query = AuditQuery { limit: if query.limit == 0 { 100 } else { query.limit }, ..query };
            let found = store.audit_page(query).await.unwrap();
            found.iter().map(|entry| entry.seq).collect::<Vec<_>>()
        }
    };
    let all = AuditQuery::default;
    let start = |text: &str| Some(AuditAction::StartsWith(text.into()));
    let target = Some(key_id(2).to_string());
    for (query, expected) in [
        (all(), vec![1, 2, 3, 4, 5]),
        (AuditQuery { newest_first: true, ..all() }, vec![5, 4, 3, 2, 1]),
        (AuditQuery { newest_first: true, limit: 2, after: Some(4), ..all() }, vec![3, 2]),
        (AuditQuery { after: Some(2), limit: 2, ..all() }, vec![3, 4]),
        (AuditQuery { actor: Some("system".into()), ..all() }, vec![5]),
        (AuditQuery { actor: Some("owner".into()), target: target.clone(), ..all() }, vec![2, 4]),
        (AuditQuery { action: Some(AuditAction::Is("key.revoke".into())), ..all() }, vec![4]),
        (AuditQuery { action: start("key."), ..all() }, vec![1, 2, 3, 4]),
        (AuditQuery { action: start("key"), ..all() }, vec![1, 2, 3, 4, 5]),
        (AuditQuery { action: start("key_"), ..all() }, vec![]),
        (AuditQuery { action: start("%"), ..all() }, vec![]),
        (AuditQuery { target, newest_first: true, ..all() }, vec![4, 2]),
        (AuditQuery { from: Some(Timestamp(NOON + 1_000)), ..all() }, vec![2, 3, 4, 5]),
        (
            AuditQuery { from: Some(Timestamp(NOON + 1_000)), to: Some(Timestamp(NOON + 3_000)), ..all() },
            vec![2, 3],
        ),
        (AuditQuery { mentions: Some("50%_of".into()), ..all() }, vec![5]),
        (AuditQuery { mentions: Some("50__of".into()), ..all() }, vec![]),
    ] {
        assert_eq!(seqs(query.clone()).await, expected, "{query:?}");
    }
}

async fn minted_tokens_stand_in_the_log_as_keyed_hashes(place: &impl Place) {
    let store = signed(place, &FakeTime::at(NOON)).await;
    let hash = [3; 32];
    token_put(&store, "owner", None, 3).await.unwrap();
    let entry = entries(&store, "token.put").await.remove(0);
    let detail: Value = serde_json::from_str(&entry.detail).unwrap();
    assert_eq!(detail, json!({"role": "owner", "tokenHash": to_hex(&keys().hash_of(&hash))}));
    assert!(!entry.detail.contains(&to_hex(&hash)));
}

/// Counts on disk of a minute that the process did not see the end of.
#[tokio::test]
async fn a_crash_loses_no_count_that_is_on_disk() {
    let time = FakeTime::at(NOON);
    let place = MemoryPlace::new();
    let store = signed(&place, &time).await;
    let key = create(&store, 1, activations(0)).await;
    for _ in 0..4 {
        code(&store, key).await;
    }
    settled(&store).await;
    let place = place.crash(store);
    let store = signed(&place, &time).await;
    let minute = "2026-01-31T12:00:00Z";
    let expected =
        json!({"code": "activations_exhausted", "count": 4, "minute": minute, "project": "default"});
    assert_eq!(denied(&store).await, [(key.to_string(), expected)]);
    store.audit_seal().await.unwrap();
    verify(&store).await;
    assert_eq!(store.hold_exactly(key, Units::ONE_ACTIVATION).await.err().map(drop), Some(()));
}

/// After a write that failed, whether it is on disk or not, there is one entry and a sound chain.
#[tokio::test]
async fn a_failed_write_neither_loses_nor_doubles_an_entry() {
    use crate::memory::Fault;
    for fault in [Fault::Fail, Fault::WriteAndFail] {
        let time = FakeTime::at(NOON);
        let place = MemoryPlace::new();
        let store = signed(&place, &time).await;
        let key = create(&store, 1, activations(0)).await;
        code(&store, key).await;
        settled(&store).await;
        time.pass(62_001);
        place.medium.script([fault]);
        // This is the batch that enters the minute and makes the first checkpoint.
        assert!(store.audit_seal().await.is_err(), "{fault:?}");
        store.audit_seal().await.unwrap();
        assert_eq!(denied(&store).await.len(), 1, "{fault:?}");
        assert_eq!(entries(&store, "audit.key").await.len(), 1, "{fault:?}");
        verify(&store).await;
    }
}
