//! Requests that wait for units which are only held: in order, everybody is answered, nothing is lost.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use till_core::demand::Demand;
use till_core::denial::DenialCode;
use till_core::key::KeyId;
use till_core::limit::{Limits, Units};
use tokio::task::JoinSet;

use super::ceilings::{make_in, tokens_of_project};
use super::entities::project_put;
use super::place::{MemoryPlace, Place, SqlitePlace};
use super::{actor, ask_and_leave, create, fetch};
use crate::memory::{Fault, Medium};
use crate::{Hold, HoldRefusal, Store, StoreError};

on_every_backend! {
    those_who_wait_are_served_in_order,
    the_first_is_passed_by_newcomers_a_bounded_number_of_times,
    the_first_is_passed_by_those_behind_it_a_bounded_number_of_times,
    a_newcomer_does_not_pass_those_that_need_as_much,
    a_caller_that_leaves_gives_up_its_place,
    a_caller_that_left_holds_nobody_up,
    those_who_left_take_no_places,
    a_demand_that_may_be_lowered_to_nothing_is_patient_too,
    without_patience_it_is_busy,
    who_waits_is_told_of_a_revocation,
    who_waits_is_told_of_a_stop,
    who_waits_is_told_of_a_close,
    what_is_forgiven_goes_to_those_who_wait,
    what_is_spent_in_full_is_the_end_of_waiting,
    almost_all_of_a_budget_is_usable_by_many_callers,
    everybody_is_answered_in_random_schedules,
    everybody_is_answered_in_random_schedules_under_a_ceiling,
}

/// Longer than any test lasts: whoever waits so long has been forgotten.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) type Answer = Result<Hold, HoldRefusal>;
pub(super) type Waiting = Pin<Box<dyn Future<Output = Answer> + Send>>;

pub(super) fn tokens(limit: u64) -> Limits {
    Limits { tokens: Some(limit), ..Limits::default() }
}

/// One request that needs exactly so many tokens.
pub(super) fn exactly(tokens: u64) -> Demand {
    Demand { tokens_fixed: tokens, ..Demand::ONE_ACTIVATION }
}

/// What is charged for one request that used so many tokens.
pub(super) fn used(tokens: u64) -> Units {
    Units { tokens, ..Units::ONE_ACTIVATION }
}

/// Puts a request into the queue of the writer; when this returns it was looked at.
pub(super) async fn ask(store: &Store, key: KeyId, demand: Demand) -> Waiting {
    let terms = store.key_terms(key).await.unwrap();
    let owned = store.clone();
    let mut waiting: Waiting = Box::pin(async move { owned.hold(&terms, demand, PATIENCE).await });
    if let Some(answer) = answer(&mut waiting) {
        // The writer was faster than this thread.
        return Box::pin(std::future::ready(answer));
    }
    looked_at(store).await;
    waiting
}

/// Returns when everything that was asked before is answered, as far as it can be.
pub(super) async fn looked_at(store: &Store) {
    // Those who waited are answered after the one who asks here: the second time is the end of the first batch.
    store.flush().await.unwrap();
    store.flush().await.unwrap();
}

/// The answer, if there is one.
pub(super) fn answer(waiting: &mut Waiting) -> Option<Answer> {
    match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

#[track_caller]
pub(super) fn granted(waiting: &mut Waiting) -> Hold {
    answer(waiting).expect("was answered").expect("was granted")
}

#[track_caller]
pub(super) fn denied(answer: Answer) -> DenialCode {
    match answer {
        Err(HoldRefusal::Denied(denial)) => denial.code,
        other => panic!("{other:?} instead of a denial"),
    }
}

async fn those_who_wait_are_served_in_order(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, tokens(100)).await;
    let all = granted(&mut ask(&store, key, exactly(100)).await);
    let mut queue = Vec::new();
    for _ in 0..5 {
        queue.push(ask(&store, key, exactly(40)).await);
    }
    let mut holds = Vec::new();
    assert!(queue.iter_mut().all(|waiting| answer(waiting).is_none()), "everything is held");
    all.settle(used(0));
    for next in 2..=5 {
        looked_at(&store).await;
        if next == 2 {
            holds.push(granted(&mut queue[0]));
        }
        holds.push(granted(&mut queue[next - 1]));
        for later in &mut queue[next..] {
            assert!(answer(later).is_none(), "only two of them fit at once");
        }
        holds.remove(0).settle(used(0));
    }
    holds.into_iter().for_each(|hold| hold.settle(used(40)));
    looked_at(&store).await;
    assert_eq!(fetch(&store, key).await.used, Units { activations: 6, tokens: 40, spend_nanos: 0 });
}

async fn the_first_is_passed_by_newcomers_a_bounded_number_of_times(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, tokens(100)).await;
    let half = granted(&mut ask(&store, key, exactly(50)).await);
    let mut first = ask(&store, key, exactly(60)).await;
    let mut small = Vec::new();
    for _ in 0..8 {
        small.push(granted(&mut ask(&store, key, exactly(1)).await));
    }
    let mut ninth = ask(&store, key, exactly(1)).await;
    assert!(answer(&mut ninth).is_none(), "the first has been passed often enough");
    // What needs no units does not stand in the way.
    granted(&mut ask(&store, key, exactly(0)).await).void();
    // One token too few for the first, and still nobody passes.
    small.remove(0).settle(used(0));
    looked_at(&store).await;
    assert!(answer(&mut first).is_none() && answer(&mut ninth).is_none());
    half.settle(used(0));
    looked_at(&store).await;
    granted(&mut first).settle(used(0));
    granted(&mut ninth).settle(used(0));
}

async fn the_first_is_passed_by_those_behind_it_a_bounded_number_of_times(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, tokens(100)).await;
    let half = granted(&mut ask(&store, key, exactly(50)).await);
    let other_half = granted(&mut ask(&store, key, exactly(50)).await);
    let mut first = ask(&store, key, exactly(60)).await;
    let mut small = Vec::new();
    for _ in 0..20 {
        small.push(ask(&store, key, exactly(1)).await);
    }
    half.settle(used(0));
    looked_at(&store).await;
    let mut passed: Vec<Hold> = small.drain(..8).map(|mut waiting| granted(&mut waiting)).collect();
    assert!(answer(&mut first).is_none());
    assert!(small.iter_mut().all(|waiting| answer(waiting).is_none()), "the ninth and all after it wait");
    passed.drain(..).for_each(Hold::void);
    other_half.settle(used(0));
    looked_at(&store).await;
    granted(&mut first).settle(used(0));
    small.iter_mut().for_each(|waiting| granted(waiting).void());
}

/// What comes back and a newcomer that wants it arrive together, while somebody waits for the same amount.
async fn a_newcomer_does_not_pass_those_that_need_as_much(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, tokens(100)).await;
    let terms = store.key_terms(key).await.unwrap();
    for _ in 0..50 {
        let all = granted(&mut ask(&store, key, exactly(100)).await);
        let mut first = ask(&store, key, exactly(100)).await;
        let owned = (store.clone(), Arc::clone(&terms));
        let mut newcomer: Waiting =
            Box::pin(async move { owned.0.hold(&owned.1, exactly(100), PATIENCE).await });
        all.void();
        let early = answer(&mut newcomer);
        looked_at(&store).await;
        assert!(early.is_none() && answer(&mut newcomer).is_none(), "somebody came before");
        granted(&mut first).void();
        looked_at(&store).await;
        granted(&mut newcomer).void();
        looked_at(&store).await;
    }
}

async fn a_caller_that_leaves_gives_up_its_place(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, tokens(100)).await;
    let all = granted(&mut ask(&store, key, exactly(100)).await);
    let leaves = ask(&store, key, exactly(100)).await;
    let mut stays = ask(&store, key, exactly(100)).await;
    drop(leaves);
    all.settle(used(0));
    looked_at(&store).await;
    granted(&mut stays).settle(used(7));
    looked_at(&store).await;
    assert_eq!(fetch(&store, key).await.used.tokens, 7, "nothing is set aside for who left");
}

/// The first was passed as often as it may be, and then goes away: nobody has to be patient for its sake any more.
async fn a_caller_that_left_holds_nobody_up(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, tokens(100)).await;
    let half = granted(&mut ask(&store, key, exactly(50)).await);
    let first = ask(&store, key, exactly(60)).await;
    let mut small = Vec::new();
    for _ in 0..8 {
        small.push(granted(&mut ask(&store, key, exactly(1)).await));
    }
    drop(first);
    let mut newcomer = ask(&store, key, exactly(1)).await;
    assert!(answer(&mut newcomer).is_some_and(|answer| answer.is_ok()), "it fits and nobody is before it");
    half.settle(used(0));
}

/// Whoever comes in thousands and leaves at once must not shut the others out.
async fn those_who_left_take_no_places(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, tokens(100)).await;
    let terms = store.key_terms(key).await.unwrap();
    let all = granted(&mut ask(&store, key, exactly(100)).await);
    // They are not cleared away one by one from the front.
    let mut first = ask(&store, key, exactly(1)).await;
    for _ in 0..1_100 {
        assert!(ask_and_leave(store.hold(&terms, exactly(1), PATIENCE)).is_none(), "everything is held");
    }
    looked_at(&store).await;
    let mut waiting = ask(&store, key, exactly(1)).await;
    assert!(answer(&mut waiting).is_none(), "it may wait");
    all.settle(used(0));
    looked_at(&store).await;
    granted(&mut first).settle(used(1));
    granted(&mut waiting).settle(used(1));
    looked_at(&store).await;
    assert_eq!(fetch(&store, key).await.used.tokens, 2);
}

/// It would be granted with nothing, but waits for something useful: then its patience counts.
async fn a_demand_that_may_be_lowered_to_nothing_is_patient_too(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, tokens(100)).await;
    let terms = store.key_terms(key).await.unwrap();
    let all = granted(&mut ask(&store, key, exactly(100)).await);
    let demand = Demand { tokens_per_step: 1, steps_wanted: 50, steps_min: 0, ..Demand::ONE_ACTIVATION };
    let answer = tokio::time::timeout(PATIENCE / 3, store.hold(&terms, demand, Duration::ZERO)).await;
    assert_eq!(denied(answer.expect("it gives up")), DenialCode::BudgetBusy);
    all.settle(used(0));
}

async fn without_patience_it_is_busy(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, tokens(100)).await;
    let terms = store.key_terms(key).await.unwrap();
    let all = granted(&mut ask(&store, key, exactly(100)).await);
    let answer = store.hold(&terms, exactly(1), Duration::ZERO).await;
    assert_eq!(denied(answer), DenialCode::BudgetBusy);
    all.settle(used(60));
    looked_at(&store).await;
    assert_eq!(fetch(&store, key).await.used.tokens, 60, "nothing is set aside for who gave up");
    granted(&mut ask(&store, key, exactly(40)).await).settle(used(40));
    let late = store.hold(&terms, exactly(1), PATIENCE).await;
    assert_eq!(denied(late), DenialCode::TokensExhausted, "spent, not held");
    store.close().await.unwrap();
    let counted =
        |code| place.denials().iter().filter(|row| row.code == code).map(|row| row.count).sum::<u64>();
    assert_eq!((counted(DenialCode::BudgetBusy), counted(DenialCode::TokensExhausted)), (1, 1));
}

async fn who_waits_is_told_of_a_revocation(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, tokens(100)).await;
    let other = create(&store, 2, tokens(100)).await;
    let holds = [key, other].map(|key| ask(&store, key, exactly(100)));
    let [mine, its] = holds;
    let (mine, its) = (granted(&mut mine.await), granted(&mut its.await));
    let mut waiting = ask(&store, key, exactly(1)).await;
    let mut unconcerned = ask(&store, other, exactly(1)).await;
    store.key_revoke(key, &actor()).await.unwrap();
    looked_at(&store).await;
    assert_eq!(denied(answer(&mut waiting).expect("at once")), DenialCode::KeyRevoked);
    assert!(answer(&mut unconcerned).is_none());
    mine.settle(used(5));
    its.settle(used(5));
    looked_at(&store).await;
    granted(&mut unconcerned).settle(used(1));
}

async fn who_waits_is_told_of_a_stop(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, tokens(100)).await;
    let all = granted(&mut ask(&store, key, exactly(100)).await);
    let mut waiting = Vec::new();
    for _ in 0..40 {
        waiting.push(ask(&store, key, exactly(1)).await);
    }
    store.stop_granting();
    for waiting in waiting {
        // By itself: nothing else happens that would wake the writer.
        let answer = tokio::time::timeout(PATIENCE / 3, waiting).await.expect("told in time");
        assert_eq!(denied(answer), DenialCode::ShuttingDown);
    }
    all.settle(used(3));
    store.close().await.unwrap();
    assert_eq!(fetch(&place.start(), key).await.used.tokens, 3);
}

async fn who_waits_is_told_of_a_close(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, tokens(100)).await;
    let all = granted(&mut ask(&store, key, exactly(100)).await);
    let waiting = ask(&store, key, exactly(1)).await;
    store.close().await.unwrap();
    match tokio::time::timeout(PATIENCE / 3, waiting).await.expect("told in time") {
        Err(HoldRefusal::Unavailable(StoreError::Closed)) => {}
        answer => assert_eq!(denied(answer), DenialCode::ShuttingDown),
    }
    drop(all);
    assert_eq!(fetch(&place.start(), key).await.used.tokens, 100, "unknown is spent");
}

async fn what_is_forgiven_goes_to_those_who_wait(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, tokens(100)).await;
    what_is_forgiven_serves_whoever_waits(place, store, [key; 3]).await;
}

/// A crash leaves half of a hundred tokens open under the first key, and the second holds the other half: when the first half
/// is forgiven, the third is served.
pub(super) async fn what_is_forgiven_serves_whoever_waits(
    place: &impl Place,
    store: Store,
    keys: [KeyId; 3],
) {
    std::mem::forget(granted(&mut ask(&store, keys[0], exactly(50)).await));
    store.close().await.unwrap();
    let store = place.start();
    let half = granted(&mut ask(&store, keys[1], exactly(50)).await);
    let mut waiting = ask(&store, keys[2], exactly(40)).await;
    assert!(answer(&mut waiting).is_none());
    let orphan = store.orphan_list(None, 9).await.unwrap().remove(0).id;
    assert!(store.orphan_forgive(orphan, &actor()).await.unwrap());
    looked_at(&store).await;
    granted(&mut waiting).settle(used(0));
    half.settle(used(0));
}

async fn what_is_spent_in_full_is_the_end_of_waiting(place: &impl Place) {
    let store = place.start();
    let key = create(&store, 1, tokens(100)).await;
    let all = granted(&mut ask(&store, key, exactly(100)).await);
    let (mut big, mut small) = (ask(&store, key, exactly(60)).await, ask(&store, key, exactly(40)).await);
    all.settle(used(60));
    looked_at(&store).await;
    assert_eq!(denied(answer(&mut big).expect("it will never fit")), DenialCode::TokensExhausted);
    // A provider that lies takes what others wait for.
    let mut last = ask(&store, key, exactly(1)).await;
    granted(&mut small).settle(used(41));
    looked_at(&store).await;
    assert_eq!(denied(answer(&mut last).expect("nothing is left")), DenialCode::TokensExhausted);
}

/// The callers want far more than they use: nobody may be refused while what they don't use is only held.
async fn almost_all_of_a_budget_is_usable_by_many_callers(place: &impl Place) {
    const LIMIT: u64 = 100_000_000;
    const CALLERS: u64 = 200;
    const COST: u64 = 1_000_000;
    let store = place.start();
    let key = create(&store, 1, Limits { spend_nanos: Some(LIMIT), ..Limits::default() }).await;
    let demand =
        Demand { picos_per_step: 10_000_000, steps_wanted: 16_384, steps_min: 16, ..Demand::ONE_ACTIVATION };
    let spent = Arc::new(AtomicU64::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (store, spent) = (store.clone(), Arc::clone(&spent));
        callers.spawn(async move {
            let terms = store.key_terms(key).await.unwrap();
            match store.hold(&terms, demand, PATIENCE).await {
                Ok(hold) => {
                    assert!((demand.steps_min..=demand.steps_wanted).contains(&hold.steps()));
                    assert_eq!(hold.units().spend_nanos, hold.steps() * 10_000);
                    tokio::task::yield_now().await;
                    let cost = COST.min(hold.units().spend_nanos);
                    spent.fetch_add(cost, Ordering::SeqCst);
                    hold.settle(Units { spend_nanos: cost, ..Units::ONE_ACTIVATION });
                }
                answer => {
                    assert_eq!(denied(answer), DenialCode::SpendExhausted);
                    let spent = spent.load(Ordering::SeqCst);
                    assert!(spent >= LIMIT / 10 * 9, "told that all is used at {spent}");
                }
            }
        });
    }
    while let Some(caller) = tokio::time::timeout(PATIENCE, callers.join_next()).await.expect("no hang") {
        caller.unwrap();
    }
    looked_at(&store).await;
    let used = fetch(&store, key).await.used.spend_nanos;
    assert_eq!(used, spent.load(Ordering::SeqCst));
    assert!((LIMIT / 10 * 9..=LIMIT).contains(&used), "{used}");
}

/// A generator of pseudo-random numbers (SplitMix64), so that a seed tells the whole story.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).expect("below a length")
    }
}

const RANDOM_LIMIT: u64 = 60_000;

/// How a random schedule ends before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    None,
    Revoked,
    Stopped,
}

/// What the callers of one schedule have in common.
struct Schedule {
    store: Store,
    /// One, or several that share a ceiling.
    keys: Vec<KeyId>,
    /// Charged so far; raised before the store hears of it, so it is never less than what the store knows.
    spent: AtomicU64,
    ending: Ending,
    /// Requests until then.
    ends_in: AtomicU64,
    /// Where writes fail, if they do.
    faults: Option<Arc<Medium>>,
}

impl Schedule {
    async fn caller(&self, mut random: Random) {
        let key = self.keys[random.index(self.keys.len())];
        for _ in 0..5 {
            self.disturb(&mut random).await;
            let demand = a_demand(&mut random);
            let Ok(terms) = self.store.key_terms(key).await else {
                assert!(self.faults.is_some(), "the key exists");
                continue;
            };
            if random.below(8) == 0 {
                // Voided by the store, or here if the writer was faster.
                if let Some(Ok(hold)) = ask_and_leave(self.store.hold(&terms, demand, PATIENCE)) {
                    hold.void();
                }
                continue;
            }
            match self.store.hold(&terms, demand, PATIENCE).await {
                Ok(hold) => self.end(hold, &mut random).await,
                Err(HoldRefusal::Denied(denial)) => self.check_denial(denial.code, &demand),
                Err(HoldRefusal::Unavailable(_)) => assert!(self.faults.is_some(), "nothing fails here"),
                Err(HoldRefusal::TermsChanged) => panic!("nobody changed them"),
            }
        }
    }

    async fn disturb(&self, random: &mut Random) {
        if self.ends_in.fetch_sub(1, Ordering::SeqCst) == 1 {
            match self.ending {
                Ending::None => {}
                Ending::Stopped => self.store.stop_granting(),
                Ending::Revoked => {
                    while self.store.key_revoke(self.keys[0], &actor()).await.is_err() {
                        assert!(self.faults.is_some(), "nothing fails here");
                    }
                }
            }
        }
        if let Some(medium) = self.faults.as_ref().filter(|_| random.below(6) == 0) {
            let kinds = [Fault::Fail, Fault::WriteAndFail, Fault::FailAndNotReopen];
            medium.script((0..1 + random.below(2)).map(|_| kinds[random.index(kinds.len())]));
        }
    }

    /// Mostly far less than the hold is used.
    async fn end(&self, hold: Hold, random: &mut Random) {
        for _ in 0..random.below(6) {
            tokio::task::yield_now().await;
        }
        let held = hold.units().tokens;
        let spend = |tokens| self.spent.fetch_add(tokens, Ordering::SeqCst);
        match random.below(10) {
            0 => hold.void(),
            1 => {
                spend(held);
                drop(hold);
            }
            2 => {
                spend(held);
                hold.settle(used(held));
            }
            _ => {
                let part = held / (5 + random.below(50));
                spend(part);
                hold.settle(used(part));
            }
        }
    }

    /// A no must be one that would be given too if everything that is held came back.
    fn check_denial(&self, code: DenialCode, demand: &Demand) {
        match code {
            DenialCode::KeyRevoked => assert_eq!(self.ending, Ending::Revoked),
            DenialCode::ShuttingDown => assert_eq!(self.ending, Ending::Stopped),
            DenialCode::TokensExhausted | DenialCode::ProjectExhausted => {
                let left = RANDOM_LIMIT.saturating_sub(self.spent.load(Ordering::SeqCst));
                let least = demand.tokens_fixed + demand.steps_min * demand.tokens_per_step;
                assert!(left == 0 || left < least, "{left} left, {least} would have done");
            }
            code => panic!("{code:?}"),
        }
    }
}

fn a_demand(random: &mut Random) -> Demand {
    let fixed = random.below(2_000);
    match random.below(3) {
        0 => exactly(1 + random.below(20_000)),
        1 => exactly(1 + fixed / 50),
        _ => Demand {
            tokens_fixed: fixed,
            tokens_per_step: 1 + random.below(2),
            steps_min: 1 + random.below(64),
            steps_wanted: 128 + random.below(30_000),
            ..Demand::ONE_ACTIVATION
        },
    }
}

/// Runs one schedule on a key of its own, or on several below a ceiling of their own, and checks that in the end every token
/// is where it belongs; with how many writes failed.
async fn run(place: &impl Place, seed: u64, faults: Option<Arc<Medium>>, below: u64) -> u64 {
    let mut random = Random(seed);
    let store = place.start();
    let mut keys = Vec::new();
    if below == 0 {
        keys.push(create(&store, seed, tokens(RANDOM_LIMIT)).await);
    } else {
        let project = format!("p{seed}");
        project_put(&store, &project, None, tokens_of_project(RANDOM_LIMIT)).await.unwrap();
        for n in 0..below {
            keys.push(make_in(&store, &project, 100 * seed + n, tokens(2 * RANDOM_LIMIT)).await);
        }
    }
    let ending = [Ending::None, Ending::Revoked, Ending::None, Ending::Stopped][random.index(4)];
    let schedule = Arc::new(Schedule {
        store,
        keys: keys.clone(),
        spent: AtomicU64::new(0),
        ending,
        ends_in: AtomicU64::new(20 + random.below(80)),
        faults,
    });
    let mut callers = JoinSet::new();
    for caller in 0..24 {
        let schedule = Arc::clone(&schedule);
        let random = Random(seed.wrapping_mul(1_000) + caller);
        callers.spawn(async move { schedule.caller(random).await });
    }
    let all_leave = async {
        while let Some(caller) = callers.join_next().await {
            caller.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
    };
    // After a failed write the store tries again when somebody asks, or a second later.
    let impatient = async {
        while schedule.faults.is_some() {
            let _ = schedule.store.flush().await;
            tokio::task::yield_now().await;
        }
        std::future::pending::<()>().await;
    };
    let ended = tokio::time::timeout(PATIENCE, async {
        tokio::select! { () = all_leave => {}, () = impatient => {} }
    });
    ended.await.unwrap_or_else(|_| panic!("seed {seed}, {ending:?}: somebody is not answered"));

    if let Some(medium) = &schedule.faults {
        medium.heal();
    }
    let failures = schedule.store.stats().commit_failures;
    let spent = schedule.spent.load(Ordering::SeqCst);
    schedule.store.close().await.unwrap();
    let store = place.start();
    let mut used = 0;
    for key in &keys {
        used += fetch(&store, *key).await.used.tokens;
    }
    assert_eq!(used, spent, "seed {seed}, {ending:?}");
    assert!(spent <= RANDOM_LIMIT, "seed {seed}: {spent}");
    let alive = keys.last().filter(|_| ending != Ending::Revoked || keys.len() > 1);
    if let Some(key) = alive.filter(|_| spent < RANDOM_LIMIT) {
        granted(&mut ask(&store, *key, exactly(RANDOM_LIMIT - spent)).await).void();
    }
    store.close().await.unwrap();
    failures
}

async fn everybody_is_answered_in_random_schedules(place: &impl Place) {
    for seed in 1..=12 {
        assert_eq!(run(place, seed, None, 0).await, 0, "seed {seed}");
    }
}

async fn everybody_is_answered_in_random_schedules_under_a_ceiling(place: &impl Place) {
    for seed in 1..=12 {
        assert_eq!(run(place, seed, None, 4).await, 0, "seed {seed}");
    }
}

#[tokio::test]
async fn everybody_is_answered_although_writes_fail() {
    let mut failures = 0;
    for seed in 1..=24 {
        let place = MemoryPlace::new();
        failures +=
            run(&place, seed, Some(Arc::clone(&place.medium)), if seed % 2 == 0 { 0 } else { 4 }).await;
    }
    assert!(failures > 24, "only {failures} writes failed");
}

#[tokio::test]
async fn a_failed_write_loses_nobody_who_waits() {
    for fault in [Fault::Fail, Fault::WriteAndFail, Fault::FailAndNotReopen] {
        let place = MemoryPlace::new();
        let store = place.start();
        let key = create(&store, 1, tokens(100)).await;
        let all = granted(&mut ask(&store, key, exactly(100)).await);
        let first = ask(&store, key, exactly(60)).await;
        let second = ask(&store, key, exactly(60)).await;
        place.medium.script([fault]);
        all.settle(used(0));
        // The first was in the batch that failed; nothing is granted on trust.
        let refused = tokio::time::timeout(PATIENCE / 3, first).await.expect("is answered").unwrap_err();
        assert!(matches!(refused, HoldRefusal::Unavailable(_)), "{fault:?}: {refused:?}");
        // By itself: nothing else happens that would make the store try again.
        let second = tokio::time::timeout(PATIENCE / 3, second).await.expect("is answered");
        second.expect("everything came back").settle(used(1));
        looked_at(&store).await;
        assert_eq!(fetch(&store, key).await.used.tokens, 1, "{fault:?}");
        assert!(place.holds().is_empty(), "{fault:?}");
    }
}
