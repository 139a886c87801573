//! Ceilings that are set, changed and taken away while writes fail and processes die.

use till_core::denial::DenialCode;
use till_core::limit::Units;
use till_core::policy::Policy;

use super::ceilings::{activations_of_project, make};
use super::entities::project_put;
use super::faults::Random;
use super::place::{MemoryPlace, Place, SqlitePlace};
use super::{activations, ask_and_leave, code, fetch, key_id};
use crate::entity::Project;
use crate::memory::Fault;
use crate::{HoldRefusal, Store, StoreError};

const KEYS: u64 = 3;
/// Of a key: never what stops it here.
const AMPLE: u64 = 100_000;
/// Calls of a key that is called often, until units are counted out for it.
const BURST: u64 = 12;

/// What is in force, as disk has it.
async fn ceiling(store: &Store) -> (u64, Option<u64>) {
    let kept = store.entity_fetch::<Project>("a").await.unwrap().expect("the project was made");
    (kept.version, kept.is.policy.ceilings.lifetime.activations)
}

/// Random schedules of changes of a ceiling together with calls, with failing writes, crashes, restarts and evictions. Some
/// ceilings leave so much that keys have units counted out below them.
///
/// `sent` is what was granted and not voided. Whatever was the ceiling when a call was granted, before or after a change that
/// was under way, `sent` was within it; and in the end exactly what is left passes. Answers how many calls were granted from
/// memory under a ceiling.
async fn simulate(mut place: impl Place, seed: u64) -> u64 {
    let mut random = Random(seed);
    let mut store = place.start_with(4);
    project_put(&store, "a", None, Policy::default()).await.unwrap();
    for n in 0..KEYS {
        make(&store, n, activations(AMPLE)).await;
    }
    let (mut sent, mut drawn) = (0_u64, 0_u64);
    let mut open: Vec<crate::Hold> = Vec::new();
    for _ in 0..120 {
        match random.below(24) {
            0..6 => {
                let (version, before) = ceiling(&store).await;
                let room = if random.below(2) == 0 { 8 } else { 2_000 };
                let after = (random.below(4) > 0).then(|| sent.saturating_sub(3) + 1 + random.below(room));
                let policy = activations_of_project(after);
                let keys = [random.below(KEYS), random.below(KEYS)].map(key_id);
                // All of it in one batch, most of the time.
                let gate = place.medium().map(|medium| medium.gate.lock().unwrap());
                drop(ask_and_leave(store.flush()));
                std::thread::yield_now();
                let open_gate = async move { drop(gate) };
                let (_, one, two, ()) = tokio::join!(
                    project_put(&store, "a", Some(version), policy),
                    store.hold_exactly(keys[0], Units::ONE_ACTIVATION),
                    store.hold_exactly(keys[1], Units::ONE_ACTIVATION),
                    open_gate,
                );
                let most = before.zip(after).map(|(before, after)| before.max(after));
                for hold in [one, two] {
                    open.extend(granted(hold, &mut sent, most, seed));
                }
            }
            6..10 => {
                let (_, ceiling) = ceiling(&store).await;
                let hold = store.hold_exactly(key_id(random.below(KEYS)), Units::ONE_ACTIVATION).await;
                open.extend(granted(hold, &mut sent, ceiling, seed));
            }
            10..14 => {
                let (_, ceiling) = ceiling(&store).await;
                let key = key_id(random.below(KEYS));
                for _ in 0..BURST {
                    let hold = store.hold_exactly(key, Units::ONE_ACTIVATION).await;
                    let Some(hold) = granted(hold, &mut sent, ceiling, seed) else { break };
                    drawn += u64::from(hold.is_drawn() && ceiling.is_some());
                    match random.below(12) {
                        0 => open.push(hold),
                        _ => hold.settle(Units::ONE_ACTIVATION),
                    }
                }
            }
            14..19 if !open.is_empty() => {
                let at = usize::try_from(random.below(open.len() as u64)).unwrap();
                let hold = open.swap_remove(at);
                match random.below(3) {
                    0 => hold.settle(Units::ONE_ACTIVATION),
                    1 => drop(hold),
                    _ => {
                        sent -= 1;
                        hold.void();
                    }
                }
            }
            19 | 20 if place.medium().is_some() => {
                let kinds = [Fault::None, Fault::Fail, Fault::WriteAndFail, Fault::FailAndNotReopen];
                let some = (0..1 + random.below(3)).map(|_| kinds[usize::try_from(random.below(4)).unwrap()]);
                place.medium().expect("just seen").script(some.collect::<Vec<_>>());
            }
            21 => {
                place = place.end(store).await;
                store = place.start_with(4);
                open.clear();
            }
            22 => {
                heal(&place);
                open.clear();
                store.close().await.unwrap();
                store = place.start_with(4);
            }
            _ => {}
        }
        if random.below(3) == 0 {
            heal(&place);
        }
    }
    heal(&place);
    open.clear();
    store.close().await.unwrap();
    let store = place.start();
    assert_eq!(store.fenced(), None, "seed {seed}: a false fence");
    let mut used = 0;
    for n in 0..KEYS {
        used += fetch(&store, key_id(n)).await.used.activations;
    }
    assert!(sent <= used, "seed {seed}: sent {sent}, recorded {used}");
    let (version, _) = ceiling(&store).await;
    project_put(&store, "a", Some(version), activations_of_project(Some(used + 3))).await.unwrap();
    let mut passed = 0;
    loop {
        match store.hold_exactly(key_id(passed % KEYS), Units::ONE_ACTIVATION).await {
            Ok(hold) => hold.settle(Units::ONE_ACTIVATION),
            Err(HoldRefusal::Denied(denial)) if denial.code == DenialCode::ProjectExhausted => break,
            Err(error) => panic!("seed {seed}: {error:?}"),
        }
        passed += 1;
    }
    assert_eq!(passed, 3, "seed {seed}: as many as are left");
    drawn
}

fn heal(place: &impl Place) {
    if let Some(medium) = place.medium() {
        medium.heal();
    }
}

/// The hold, counted; it must have been within the ceiling.
fn granted(
    hold: Result<crate::Hold, HoldRefusal>,
    sent: &mut u64,
    ceiling: Option<u64>,
    seed: u64,
) -> Option<crate::Hold> {
    match hold {
        Ok(hold) => {
            *sent += 1;
            let within = ceiling.is_none_or(|ceiling| *sent <= ceiling);
            assert!(within, "seed {seed}: call {sent} under a ceiling of {ceiling:?}");
            Some(hold)
        }
        Err(HoldRefusal::Denied(denial)) => {
            assert_eq!(denial.code, DenialCode::ProjectExhausted, "seed {seed}");
            None
        }
        Err(HoldRefusal::Unavailable(_)) => None,
        Err(HoldRefusal::TermsChanged) => panic!("seed {seed}: asked again under the new terms"),
    }
}

#[tokio::test]
async fn never_over_a_ceiling_under_random_faults_and_crashes() {
    let mut all_drawn = 0;
    for seed in 0..150 {
        all_drawn += simulate(MemoryPlace::new(), seed).await;
    }
    assert!(all_drawn > 150, "only {all_drawn} calls were granted from memory under a ceiling");
}

#[tokio::test]
async fn never_over_a_ceiling_on_disk() {
    for seed in 0..8 {
        simulate(SqlitePlace::new(), seed).await;
    }
}

/// What can't be read is no better when it is there and damaged.
#[tokio::test]
async fn an_end_that_meets_something_damaged_did_not_happen() {
    let place = MemoryPlace::new();
    let store = place.start_with(4);
    project_put(&store, "a", None, Policy::default()).await.unwrap();
    for n in 0..KEYS {
        make(&store, n, activations(AMPLE)).await;
    }
    let credential: crate::Credential =
        serde_json::from_value(serde_json::json!({"provider": "openai", "sealed": "", "project": "a"}))
            .unwrap();
    let put = crate::Put { id: "c".into(), version: None, is: credential, lookups: None, ends: false };
    let actor = till_core::audit::Actor::system();
    store.entity_put(put, "credential.create", serde_json::json!({}), &actor).await.unwrap();
    for row in place.medium.disk().entities.iter_mut().filter(|row| row.id == "c") {
        row.body = "{".into();
    }
    let is = Project { name: "a".into(), policy: Policy::default() };
    let put = crate::Put { id: "a".into(), version: Some(1), is, lookups: None, ends: true };
    let ended = store.entity_put(put, "project.end", serde_json::json!({}), &actor).await;
    assert!(matches!(ended, Err(StoreError::Invalid { .. })), "{ended:?}");
    store.close().await.unwrap();
    let store = place.start_with(4);
    let kept = store.entity_fetch::<Project>("a").await.unwrap().expect("the project was made");
    assert_eq!((kept.version, kept.ended_at), (1, None));
    for n in 0..KEYS {
        store.hold_exactly(key_id(n), Units::ONE_ACTIVATION).await.unwrap().settle(Units::ONE_ACTIVATION);
    }
    let entries = store.audit_list(0, 99).await.unwrap();
    till_core::audit::verify_chain(&entries).unwrap();
    assert!(entries.iter().all(|entry| !matches!(&*entry.action, "project.end" | "key.revoke")));
}

/// Whichever read of it fails: a change is done with all that belongs to it, or not at all.
#[tokio::test]
async fn a_change_that_breaks_off_half_way_did_not_happen() {
    for reads in 0.. {
        let place = MemoryPlace::new();
        let store = place.start_with(4);
        project_put(&store, "a", None, Policy::default()).await.unwrap();
        for n in 0..KEYS {
            make(&store, n, activations(AMPLE)).await;
            store.hold_exactly(key_id(n), Units::ONE_ACTIVATION).await.unwrap().settle(Units::ONE_ACTIVATION);
        }
        store.close().await.unwrap();
        let store = place.start_with(4);
        *place.medium.reads.lock().unwrap() = Some(reads);
        let put = project_put(&store, "a", Some(1), activations_of_project(Some(4))).await;
        let was_enough = place.medium.reads.lock().unwrap().take().is_some();
        let entries = store.audit_list(0, 99).await.unwrap();
        let changes = entries.iter().filter(|entry| entry.action == "project.put").count();
        till_core::audit::verify_chain(&entries).unwrap();
        if was_enough {
            assert!(put.is_ok() && reads > 1, "{reads}: {put:?}");
            return;
        }
        assert!(matches!(put, Err(StoreError::Failed { .. })), "{reads}: {put:?}");
        assert_eq!((ceiling(&store).await, changes), ((1, None), 1), "{reads}");
        project_put(&store, "a", Some(1), activations_of_project(Some(4))).await.unwrap();
        let hold = store.hold_exactly(key_id(0), Units::ONE_ACTIVATION).await.unwrap();
        hold.settle(Units::ONE_ACTIVATION);
        assert_eq!(code(&store, key_id(1)).await, DenialCode::ProjectExhausted, "{reads}");
    }
}
