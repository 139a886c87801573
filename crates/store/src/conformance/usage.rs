//! Records of calls: one for every hold whatever happens, and together they say what the ledger says.

use std::collections::BTreeSet;
use std::time::Duration;

use till_core::denial::DenialCode;
use till_core::key::KeyId;
use till_core::limit::{Limits, Units};
use till_core::time::Timestamp;
use tokio::task::JoinSet;

use super::place::{MemoryPlace, Place, SqlitePlace};
use super::waiting::Random;
use super::{actor, create, fetch, key_id};
use crate::memory::Fault;
use crate::store::Bounds;
use crate::writer::LOADED_MAX;
use crate::{
    Hold, HoldRefusal, Outcome, Store, StoreError, TokenCounts, UsageFilter, UsageGroup, UsageQuery,
    UsageRecord, UsageSum, hold_name,
};

on_every_backend! {
    every_end_of_a_hold_leaves_one_record,
    what_a_crash_left_open_is_recorded_and_forgiven_once,
    denied_calls_are_recorded_up_to_a_bound,
    denied_calls_of_mixed_minutes_are_bounded,
    pages_show_every_record_once,
    records_and_sums_keep_every_size,
    old_records_go_and_their_sums_stay,
    sums_know_only_models_that_exist_or_were_paid_for,
}

const UNITS: Units = Units { activations: 1, tokens: 100, spend_nanos: 1_000 };

fn wide() -> Limits {
    Limits { activations: Some(1_000_000), tokens: Some(100_000_000), spend_nanos: Some(1_000_000_000) }
}

pub(crate) fn record(key: KeyId, request_id: &str) -> UsageRecord {
    UsageRecord {
        at: Timestamp(1_800_000_000_000),
        request_id: request_id.into(),
        key,
        provider: "openai".into(),
        method: "POST".into(),
        endpoint: "chat.completions".into(),
        model: Some("model-1".into()),
        status: Some(200),
        outcome: Outcome::Charged,
        denial: None,
        tokens: TokenCounts::default(),
        charged: Units::default(),
        price_version: Some("2026-01-01".into()),
        latency_ms: 12,
        first_byte_ms: Some(3),
        client: Some([127, 0, 0, 1].into()),
        streamed: true,
    }
}

/// A hold that leaves a record of this name.
async fn recorded(store: &Store, key: KeyId, request_id: &str) -> Result<Hold, HoldRefusal> {
    let mut hold = store.hold_exactly(key, UNITS).await?;
    hold.record(record(key, request_id));
    hold.record_mut().expect("it has one").at = record(key, request_id).at;
    Ok(hold)
}

async fn all_records(store: &Store) -> Vec<UsageRecord> {
    let query = UsageQuery { limit: 100_000, ..UsageQuery::default() };
    store.usage_list(query).await.unwrap().records.into_iter().map(|(_, record)| record).collect()
}

fn sum(records: &[UsageRecord], key: KeyId) -> Units {
    let charged = records.iter().filter(|record| record.key == key).map(|record| record.charged);
    charged.fold(Units::default(), |sum, charged| Units {
        activations: sum.activations + charged.activations,
        tokens: sum.tokens + charged.tokens,
        spend_nanos: sum.spend_nanos + charged.spend_nanos,
    })
}

/// Ledger, records and sums tell the same of a key of which nothing is held; all records are given back.
async fn check_agreement(store: &Store, key: KeyId) -> Vec<UsageRecord> {
    let records = all_records(store).await;
    assert_eq!(sum(&records, key), fetch(store, key).await.used, "the ledger against the records");
    let filter = UsageFilter { key: Some(key), ..UsageFilter::default() };
    let sums = store.usage_sum(UsageGroup { key: true, ..UsageGroup::default() }, filter).await.unwrap();
    // Every other table that sums are read from agrees too.
    let of_all = records.iter().map(|record| record.charged.spend_nanos).sum::<u64>();
    for group in [
        UsageGroup { project: true, ..UsageGroup::default() },
        UsageGroup { key: true, ..UsageGroup::default() },
    ] {
        let all = store.usage_sum(group, UsageFilter::default()).await.unwrap();
        assert_eq!(all.iter().map(|sum| sum.charged.spend_nanos).sum::<u64>(), of_all, "{group:?}");
    }
    let admitted: Vec<_> = records.iter().filter(|record| record.outcome != Outcome::Denied).collect();
    if admitted.is_empty() {
        assert!(sums.is_empty());
    } else {
        assert_eq!(sums.len(), 1);
        assert_eq!((sums[0].key, sums[0].charged), (Some(key), sum(&records, key)));
        let calls = admitted.iter().filter(|record| record.key == key).count();
        assert_eq!(sums[0].calls, calls as u64);
    }
    records
}

fn only<'a>(records: &'a [UsageRecord], request_id: &str) -> &'a UsageRecord {
    let mut found = records.iter().filter(|record| record.request_id == request_id);
    let first = found.next().unwrap_or_else(|| panic!("no record of {request_id}"));
    assert!(found.next().is_none(), "two records of {request_id}");
    first
}

async fn every_end_of_a_hold_leaves_one_record(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, wide()).await;
    let other = create(&store, 2, wide()).await;
    let part = Units { activations: 1, tokens: 7, spend_nanos: 11 };
    let over = Units { activations: 1, tokens: 700, spend_nanos: 1_100 };
    let mut settled = recorded(&store, key, "settled").await.unwrap();
    let counts = TokenCounts { input: 4, output: 3, cache_read: 2, ..TokenCounts::default() };
    let known = settled.record_mut().expect("it has one");
    (known.outcome, known.tokens) = (Outcome::Complete, counts);
    settled.settle(part);
    recorded(&store, key, "over").await.unwrap().settle(over);
    recorded(&store, key, "voided").await.unwrap().void();
    drop(recorded(&store, key, "dropped").await.unwrap());
    let revoked = recorded(&store, key, "revoked").await.unwrap();
    store.key_revoke(key, &actor()).await.unwrap();
    assert!(recorded(&store, key, "refused").await.is_err());
    revoked.settle(part);
    // A hold that nobody gave a record leaves none.
    store.hold_exactly(other, UNITS).await.unwrap().void();
    let open = recorded(&store, key_id(2), "closed over").await.unwrap();
    store.close().await.unwrap();
    // Too late: its process has written its last.
    open.settle(part);

    for _ in 0..2 {
        let store = place.start();
        let records = check_agreement(&store, key).await;
        check_agreement(&store, other).await;
        assert_eq!(records.len(), 6);
        for (request_id, outcome, charged) in [
            ("settled", Outcome::Complete, part),
            ("over", Outcome::Charged, over),
            ("voided", Outcome::Unsent, Units::default()),
            ("dropped", Outcome::Charged, UNITS),
            ("revoked", Outcome::Charged, part),
        ] {
            let mut expected = UsageRecord { outcome, charged, ..record(key, request_id) };
            if outcome == Outcome::Unsent {
                expected.price_version = None;
            }
            let tokens = if request_id == "settled" { counts } else { TokenCounts::default() };
            assert_eq!(*only(&records, request_id), UsageRecord { tokens, ..expected });
        }
        let lost: Vec<_> = records.iter().filter(|record| record.outcome == Outcome::Lost).collect();
        assert_eq!((lost.len(), lost[0].key, lost[0].charged), (1, other, UNITS));
        store.close().await.unwrap();
    }
}

async fn what_a_crash_left_open_is_recorded_and_forgiven_once(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, wide()).await;
    for n in 0..5 {
        std::mem::forget(recorded(&store, key, &format!("req_{n}")).await.unwrap());
    }
    recorded(&store, key, "known").await.unwrap().settle(UNITS);
    assert!(store.orphan_list(None, 9).await.unwrap().is_empty(), "they may still end");
    store.close().await.unwrap();

    let store = place.start();
    let records = check_agreement(&store, key).await;
    let orphans = store.orphan_list(None, 9).await.unwrap();
    assert_eq!((records.len(), orphans.len()), (6, 5));
    assert!(orphans.is_sorted_by(|newer, older| newer.id > older.id), "newest first");
    assert_eq!(store.orphan_list(Some(orphans[1].id), 2).await.unwrap(), orphans[2..4], "a page");
    for orphan in &orphans {
        assert_eq!((orphan.key, orphan.units), (key, UNITS));
        let lost = only(&records, &hold_name(orphan.id));
        assert_eq!((lost.outcome, lost.charged, lost.at), (Outcome::Lost, UNITS, orphan.at));
    }

    let (first, second) = (orphans[0].id, orphans[1].id);
    let owner = actor();
    let both = tokio::join!(store.orphan_forgive(first, &owner), store.orphan_forgive(first, &owner));
    assert!(matches!(both, (Ok(true), Ok(false)) | (Ok(false), Ok(true))), "{both:?}");
    assert_eq!(store.orphan_forgive(first, &actor()).await, Ok(false));
    assert_eq!(fetch(&store, key).await.used.tokens, 500);
    let records = check_agreement(&store, key).await;
    let forgiven = only(&records, &hold_name(first));
    assert_eq!((forgiven.outcome, forgiven.charged), (Outcome::Unsent, Units::default()));
    store.close().await.unwrap();

    let store = place.start();
    assert_eq!(store.orphan_forgive(first, &actor()).await, Ok(false));
    assert_eq!(store.orphan_forgive(second, &actor()).await, Ok(true));
    assert_eq!(check_agreement(&store, key).await.len(), 6, "nothing is recorded again");
    assert_eq!(store.orphan_list(None, 9).await.unwrap(), orphans[2..]);
    let log = store.audit_list(0, 999).await.unwrap();
    let forgiven = log.iter().filter(|entry| entry.action == "hold.forgive");
    assert!(forgiven.clone().all(|entry| entry.detail.contains("\"project\":\"default\"")));
    let targets: Vec<String> = forgiven.map(|entry| entry.target.clone()).collect();
    assert_eq!(targets, [hold_name(first), hold_name(second)], "once each");
    // What was given back can be used.
    assert_eq!(store.hold_exactly(key, UNITS).await.unwrap().remaining().tokens, Some(100_000_000 - 500));
}

fn refused(key: KeyId, code: DenialCode, at: Timestamp) -> UsageRecord {
    UsageRecord { at, outcome: Outcome::Denied, denial: Some(code), status: None, ..record(key, "refused") }
}

async fn denied_calls_are_recorded_up_to_a_bound(place: &impl Place) {
    const PER_MINUTE: usize = 20;
    let store = place.start();
    let (key, other) = (create(&store, 1, wide()).await, create(&store, 2, wide()).await);
    let (minute, next) = (Timestamp(1_800_000_000_000), Timestamp(1_800_000_060_000));
    let (busy, exhausted) = (DenialCode::BudgetBusy, DenialCode::TokensExhausted);
    for _ in 0..100 {
        store.denied_record(refused(key, busy, minute));
        store.denied_record(refused(key, exhausted, minute));
        store.denied_record(refused(other, busy, Timestamp(minute.0 + 59_999)));
    }
    for _ in 0..5 {
        store.denied_record(refused(key, busy, next));
    }
    store.close().await.unwrap();
    let store = place.start();
    let records = check_agreement(&store, key).await;
    let count = |key, code, minute: Timestamp| {
        let same = |record: &&UsageRecord| {
            (record.key, record.denial, record.at.minute()) == (key, Some(code), minute.minute())
        };
        records.iter().filter(same).count()
    };
    for (key, code, at, expected) in [
        (key, busy, minute, PER_MINUTE),
        (key, exhausted, minute, PER_MINUTE),
        (other, busy, minute, PER_MINUTE),
        (key, busy, next, 5),
    ] {
        assert_eq!(count(key, code, at), expected, "{key} {code:?} {at:?}");
    }
    assert_eq!(records.len(), 3 * PER_MINUTE + 5);
    let query = UsageQuery { outcome: Some(Outcome::Denied), limit: 3, ..UsageQuery::default() };
    let newest = store.usage_list(query).await.unwrap().records;
    assert!(newest.iter().all(|(_, record)| *record == refused(key, busy, next)));
    assert!(store.usage_sum(UsageGroup::default(), UsageFilter::default()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_failed_write_loses_no_denied_call() {
    let place = MemoryPlace::new();
    let store = place.start();
    let key = create(&store, 1, wide()).await;
    place.medium.script([Fault::Fail]);
    store.denied_record(refused(key, DenialCode::BudgetBusy, Timestamp(1_800_000_000_000)));
    assert!(store.key_revoke(key, &actor()).await.is_err());
    insist(&store).await;
    store.close().await.unwrap();
    assert_eq!(all_records(&place.start()).await.len(), 1);
}

/// They arrive mixed when some were patient before they were refused.
async fn denied_calls_of_mixed_minutes_are_bounded(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, wide()).await;
    for n in 0..400 {
        let at = Timestamp(1_800_000_000_000 + 60_000 * (n % 2));
        store.denied_record(refused(key, DenialCode::BudgetBusy, at));
    }
    store.close().await.unwrap();
    let written = all_records(&place.start()).await.len();
    assert!(written <= 40, "20 in each of two minutes, not {written}");
}

async fn pages_show_every_record_once(place: &impl Place) {
    const RECORDS: u64 = 5_000;
    let store = place.start();
    let keys = [create(&store, 1, wide()).await, create(&store, 2, wide()).await];
    let mut calls = JoinSet::new();
    for n in 0..RECORDS {
        let store = store.clone();
        // One in five is of the second key.
        let key = keys[usize::from(n % 5 == 0)];
        calls.spawn(async move {
            let mut hold = recorded(&store, key, &format!("req_{n}")).await.unwrap();
            let known = hold.record_mut().expect("it has one");
            known.at = Timestamp(1_800_000_000_000 + n);
            known.model = Some(format!("model-{}", n % 3));
            match n % 2 {
                0 => hold.settle(Units { tokens: 1, ..Units::ONE_ACTIVATION }),
                _ => hold.void(),
            }
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    store.close().await.unwrap();
    let store = place.start();
    check_agreement(&store, keys[0]).await;
    check_agreement(&store, keys[1]).await;

    type Fits = fn(u64) -> bool;
    let of = |filter: UsageFilter| UsageQuery { limit: 333, filter, ..UsageQuery::default() };
    let key = |key| UsageFilter { key: Some(key), ..UsageFilter::default() };
    let model = |model: &str| Some(model.to_owned());
    let since = Some(Timestamp(1_800_000_001_000));
    let until = Some(Timestamp(1_800_000_002_000));
    let time = UsageFilter { since, until, ..UsageFilter::default() };
    let queries: [(UsageQuery, Fits); 8] = [
        (of(UsageFilter::default()), |_| true),
        (of(key(keys[0])), |n| n % 5 != 0),
        (of(key(keys[1])), |n| n % 5 == 0),
        (UsageQuery { outcome: Some(Outcome::Unsent), ..of(key(keys[1])) }, |n| n % 5 == 0 && n % 2 == 1),
        (of(UsageFilter { model: model("model-2"), ..key(keys[0]) }), |n| n % 5 != 0 && n % 3 == 2),
        (of(time.clone()), |n| (1_000..2_000).contains(&n)),
        (of(UsageFilter { key: Some(keys[1]), ..time }), |n| n % 5 == 0 && (1_000..2_000).contains(&n)),
        (of(UsageFilter { provider: Some("nobody".into()), ..UsageFilter::default() }), |_| false),
    ];
    for (query, fits) in queries {
        let mut seen = BTreeSet::new();
        let mut page = query.clone();
        loop {
            let rows = store.usage_list(page.clone()).await.unwrap().records;
            assert!(rows.len() <= 333 && rows.is_sorted_by(|newer, older| newer.0 > older.0), "{query:?}");
            assert!(rows.first().is_none_or(|(first, _)| page.before.is_none_or(|before| *first < before)));
            for (_, record) in &rows {
                assert!(seen.insert(record.request_id.clone()), "{} is shown twice", record.request_id);
            }
            match rows.last() {
                Some((last, _)) => page.before = Some(*last),
                None => break,
            }
        }
        let expected = (0..RECORDS).filter(|n| fits(*n)).map(|n| format!("req_{n}")).collect();
        assert_eq!(seen, expected, "{query:?}");
    }
    let nothing = UsageQuery { limit: 0, ..UsageQuery::default() };
    assert!(store.usage_list(nothing).await.unwrap().records.is_empty());

    let group = UsageGroup { key: true, model: true, ..UsageGroup::default() };
    let sums = store.usage_sum(group, UsageFilter::default()).await.unwrap();
    assert_eq!(sums.len(), 6);
    assert_eq!(sums.iter().map(|sum| sum.calls).sum::<u64>(), RECORDS);
    assert_eq!(sums.iter().map(|sum| sum.charged.tokens).sum::<u64>(), RECORDS / 2);

    let of_project = |project: &str| UsageFilter { project: Some(project.into()), ..UsageFilter::default() };
    for group in
        [UsageGroup { project: true, ..UsageGroup::default() }, UsageGroup { project: true, ..group }]
    {
        let sums = store.usage_sum(group, of_project("default")).await.unwrap();
        assert!(sums.iter().all(|sum| sum.project.as_deref() == Some("default")));
        assert_eq!(sums.iter().map(|sum| sum.calls).sum::<u64>(), RECORDS);
        assert_eq!(store.usage_sum(group, of_project("other")).await.unwrap(), []);
    }
    let by_day = UsageGroup { day: true, key: true, ..UsageGroup::default() };
    let top = store.usage_top(1, by_day, UsageFilter::default()).await.unwrap();
    let shown: Vec<_> = top.iter().map(|sum| (sum.key, sum.is_rest, sum.calls)).collect();
    assert_eq!(shown, [(Some(keys[0]), false, RECORDS / 5 * 4), (None, true, RECORDS / 5)]);
}

async fn records_and_sums_keep_every_size(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, Limits::default()).await;
    let most = Units { activations: 1, tokens: u64::MAX, spend_nanos: u64::MAX };
    for request_id in ["first", "second"] {
        let mut hold = recorded(&store, key, request_id).await.unwrap();
        let known = hold.record_mut().expect("it has one");
        known.tokens = TokenCounts::from_array([u64::MAX; TokenCounts::KINDS]);
        (known.latency_ms, known.model) = (i64::MAX as u64, None);
        hold.settle(most);
    }
    store.close().await.unwrap();
    let store = place.start();
    let records = all_records(&store).await;
    let first = only(&records, "first");
    assert_eq!((first.charged, first.tokens.to_array()), (most, [u64::MAX; TokenCounts::KINDS]));
    assert_eq!((first.latency_ms, &first.model), (i64::MAX as u64, &None));
    let sums = store.usage_sum(UsageGroup::default(), UsageFilter::default()).await.unwrap();
    // Shown as the highest number that there is, not as what is left of it after an overflow.
    let expected = UsageSum {
        calls: 2,
        tokens: TokenCounts::from_array([u64::MAX; TokenCounts::KINDS]),
        charged: Units { activations: 2, ..most },
        ..UsageSum::default()
    };
    assert_eq!(sums, [expected]);
}

/// Writes until one works; what was asked for before is then done.
async fn insist(store: &Store) {
    while store.flush().await.is_err() {
        tokio::task::yield_now().await;
    }
    store.flush().await.unwrap();
}

/// Random ends of holds under failing writes and crashes.
async fn simulate(seed: u64, crashes: bool) {
    let mut random = Random(seed);
    let mut place = MemoryPlace::new();
    let mut store = place.start();
    let key = create(&store, 1, wide()).await;
    let (mut open, mut granted, mut refused) = (Vec::new(), Vec::new(), 0);
    for n in 0..120 {
        match random.below(16) {
            0..7 => match recorded(&store, key, &format!("req_{n}")).await {
                Ok(hold) => {
                    granted.push(format!("req_{n}"));
                    open.push(hold);
                }
                Err(HoldRefusal::Unavailable(StoreError::Failed { .. })) => refused += 1,
                Err(error) => panic!("seed {seed}: {error:?}"),
            },
            7..12 if !open.is_empty() => {
                let hold = open.swap_remove(random.index(open.len()));
                match random.below(4) {
                    0 => hold.void(),
                    1 => drop(hold),
                    _ => hold.settle(Units { tokens: random.below(150), ..Units::ONE_ACTIVATION }),
                }
            }
            12 | 13 => {
                let kinds = [Fault::Fail, Fault::WriteAndFail, Fault::FailAndNotReopen];
                place.medium.script((0..1 + random.below(3)).map(|_| kinds[random.index(kinds.len())]));
            }
            14 if crashes => {
                place = place.crash(store);
                store = place.start();
                // Their process is gone; what they say now reaches nobody.
                open.clear();
            }
            _ => drop(store.flush().await),
        }
        if random.below(3) == 0 {
            place.medium.heal();
        }
    }
    place.medium.heal();
    open.clear();
    insist(&store).await;
    store.close().await.unwrap();
    let store = place.start();
    let records = check_agreement(&store, key).await;
    let named: BTreeSet<&String> = records.iter().map(|record| &record.request_id).collect();
    assert_eq!(named.len(), records.len(), "seed {seed}: a hold has two records");
    let lost: Vec<_> = records.iter().filter(|record| record.outcome == Outcome::Lost).collect();
    let ended = granted.iter().filter(|request_id| named.contains(request_id)).count();
    assert_eq!(ended + lost.len(), records.len(), "seed {seed}: a record of no hold");
    if crashes {
        // A hold that was refused may be on disk all the same, if the crash came before it was voided; and one that was
        // counted out for many calls has one record for all of them.
        let of_one = lost.iter().filter(|record| record.charged.activations == 1).count() as u64;
        let of_many = lost.iter().map(|record| record.charged.activations).sum::<u64>() - of_one;
        let missing = (granted.len() - ended) as u64;
        assert!(missing <= of_one + of_many, "seed {seed}: {missing} calls are in no record");
        let extra = of_one.saturating_sub(missing);
        assert!(extra <= refused, "seed {seed}: {extra} records of {refused} refused holds");
    } else {
        assert_eq!((ended, lost.len()), (granted.len(), 0), "seed {seed}");
    }
}

#[tokio::test]
async fn one_record_for_each_hold_although_writes_fail() {
    for seed in 0..60 {
        simulate(seed, false).await;
    }
}

#[tokio::test]
async fn one_record_for_each_hold_although_processes_die() {
    for seed in 0..60 {
        simulate(1_000 + seed, true).await;
    }
}

#[tokio::test]
async fn a_failed_write_forgives_nothing_twice() {
    for fault in [Fault::Fail, Fault::WriteAndFail, Fault::FailAndNotReopen] {
        let place = MemoryPlace::new();
        let store = place.start();
        let key = create(&store, 1, wide()).await;
        std::mem::forget(recorded(&store, key, "lost").await.unwrap());
        recorded(&store, key, "known").await.unwrap().settle(UNITS);
        store.close().await.unwrap();
        let store = place.start();
        let orphan = store.orphan_list(None, 9).await.unwrap().remove(0).id;
        place.medium.script([fault]);
        assert!(store.orphan_forgive(orphan, &actor()).await.is_err());
        insist(&store).await;
        let again = store.orphan_forgive(orphan, &actor()).await.unwrap();
        assert_eq!(again, fault != Fault::WriteAndFail, "{fault:?}: it is done, or it is not");
        assert_eq!(fetch(&store, key).await.used, UNITS, "{fault:?}: only what is known is left");
        check_agreement(&store, key).await;
    }
}

async fn sums_know_only_models_that_exist_or_were_paid_for(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, wide()).await;
    let nothing = Units::ONE_ACTIVATION;
    for (model, status, used) in [
        ("answered", Some(200), nothing),
        ("paid", None, UNITS),
        ("made-up", Some(404), nothing),
        ("unheard", None, nothing),
    ] {
        let mut hold = recorded(&store, key, model).await.unwrap();
        let known = hold.record_mut().expect("it has one");
        (known.model, known.status) = (Some(model.into()), status);
        hold.settle(used);
    }
    store.flush().await.unwrap();
    let group = UsageGroup { model: true, ..UsageGroup::default() };
    let sums = store.usage_sum(group, UsageFilter::default()).await.unwrap();
    let calls: BTreeSet<_> = sums.iter().map(|sum| (sum.model.clone().unwrap(), sum.calls)).collect();
    assert_eq!(calls, [("".into(), 2), ("answered".into(), 1), ("paid".into(), 1)].into());
    assert_eq!(all_records(&store).await.len(), 4, "each with its name");
}

async fn call_at(store: &Store, key: KeyId, at: Timestamp, name: &str) {
    let mut hold = recorded(store, key, name).await.unwrap();
    hold.record_mut().expect("it has one").at = at;
    hold.settle(Units::ONE_ACTIVATION);
}

async fn old_records_go_and_their_sums_stay(place: &impl Place) {
    const OLD: u64 = 4_100;
    const DAY: Duration = Duration::from_secs(86_400);
    let store = place.start();
    let now = store.now();
    let key = create(&store, 1, wide()).await;
    let mut calls = JoinSet::new();
    for n in 0..OLD {
        let store = store.clone();
        calls.spawn(
            async move { call_at(&store, key, Timestamp(now.0 - 2 * 86_400_000 - n % 7), "old").await },
        );
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap();
    }
    call_at(&store, key, Timestamp(now.0 - 3_600_000), "young").await;
    store.close().await.unwrap();

    let bounds = Bounds { loaded_max: LOADED_MAX, usage_retention: Some(DAY), audit_retention: None };
    let store = place.start_within(bounds);
    let mut more = 0;
    let old_ones_go = async {
        while all_records(&store).await.iter().any(|record| record.request_id == "old") {
            // Calls go on meanwhile.
            call_at(&store, key, now, "new").await;
            more += 1;
            store.flush().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(30), old_ones_go).await.expect("they go");
    let records = all_records(&store).await;
    assert_eq!(records.len(), 1 + more);
    only(&records, "young");
    let sums = store.usage_sum(UsageGroup::default(), UsageFilter::default()).await.unwrap();
    assert_eq!(sums[0].calls, OLD + 1 + more as u64, "sums stay");
    assert_eq!(fetch(&store, key).await.used.activations, OLD + 1 + more as u64);
}
