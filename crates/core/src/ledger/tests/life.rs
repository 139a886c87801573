//! What time and pauses do to a key: a table, and random keys against a second reading of the rules.

use proptest::prelude::*;

use super::{KEY, NOW, hold, ledger, limits, units};
use crate::denial::DenialCode;
use crate::key::KeyStatus;
use crate::ledger::{AccountChain, AccountId, Ledger};
use crate::lifetime::Lifetime;
use crate::limit::Units;
use crate::time::Timestamp;

/// One key, told by what holds of it.
#[derive(Clone, Copy, Debug)]
struct Facts {
    revoked: bool,
    /// Milliseconds until its end; negative is over.
    ends_in: Option<i64>,
    used_up: bool,
    paused: bool,
    /// Milliseconds until its beginning; negative is over.
    starts_in: Option<i64>,
}

fn facts() -> impl Strategy<Value = Facts> {
    let offset = || proptest::option::of(-3..3_i64);
    (any::<bool>(), offset(), any::<bool>(), any::<bool>(), offset()).prop_map(
        |(revoked, ends_in, used_up, paused, starts_in)| Facts {
            revoked,
            ends_in,
            used_up,
            paused,
            starts_in,
        },
    )
}

/// The rule as the documentation has it: of all that hold, the first of this list.
fn naive(facts: Facts) -> (KeyStatus, Option<DenialCode>) {
    let all = [
        (facts.revoked, KeyStatus::Revoked, Some(DenialCode::KeyRevoked)),
        (facts.ends_in.is_some_and(|left| left <= 0), KeyStatus::Expired, Some(DenialCode::KeyExpired)),
        (facts.used_up, KeyStatus::Exhausted, Some(DenialCode::ActivationsExhausted)),
        (facts.paused, KeyStatus::Paused, Some(DenialCode::KeyPaused)),
        (facts.starts_in.is_some_and(|left| left > 0), KeyStatus::Pending, Some(DenialCode::KeyNotYetActive)),
        (true, KeyStatus::Active, None),
    ];
    let first = all.into_iter().find(|(holds, ..)| *holds).expect("the last one always holds");
    (first.1, first.2)
}

fn shifted(offset: i64) -> Timestamp {
    Timestamp(NOW.0.checked_add_signed(offset).expect("a small offset"))
}

fn build(id: AccountId, facts: Facts, ledger: &mut Ledger) {
    let lifetime = Lifetime {
        not_before: facts.starts_in.map(shifted),
        expires_at: facts.ends_in.map(shifted),
        ..Lifetime::default()
    };
    if facts.used_up {
        hold(ledger, AccountChain::of_key(id), Units::ONE_ACTIVATION, Timestamp(1)).expect("one is left");
    }
    assert!(ledger.set_lifetime(id, lifetime, Timestamp(1)));
    ledger.set_paused(id, facts.paused, Timestamp(2));
    if facts.revoked {
        ledger.revoke(id, Timestamp(3));
    }
}

proptest! {
    /// Status and denial follow the precedence, whatever holds at once.
    #[test]
    fn the_first_that_holds_wins(facts in facts()) {
        let mut ledger = ledger(&[(KEY, limits(Some(1), None, None))]);
        build(KEY, facts, &mut ledger);
        let (status, code) = naive(facts);
        prop_assert_eq!(ledger.status(KEY, NOW), Some(status));
        let answer = hold(&mut ledger, AccountChain::of_key(KEY), Units::ONE_ACTIVATION, NOW);
        if let Err(denial) = &answer {
            prop_assert!(!denial.message.to_lowercase().contains("rate limit"), "{}", denial.message);
        }
        prop_assert_eq!(answer.err().map(|denial| denial.code), code);
    }

    /// The same over a chain: what wins for any account of it wins for the key.
    #[test]
    fn the_first_that_holds_anywhere_wins(key in facts(), parent in facts()) {
        let (id, above) = (KEY, super::PARENT);
        let mut ledger = ledger(&[(id, limits(Some(1), None, None)), (above, limits(Some(1), None, None))]);
        build(id, key, &mut ledger);
        build(above, parent, &mut ledger);
        let worst = naive(key).0.min(naive(parent).0);
        let answer = hold(&mut ledger, AccountChain::new(id, &[above]), Units::ONE_ACTIVATION, NOW);
        let expected = match worst {
            KeyStatus::Revoked => Some(DenialCode::KeyRevoked),
            KeyStatus::Expired => Some(DenialCode::KeyExpired),
            KeyStatus::Exhausted if naive(key).0 == worst => Some(DenialCode::ActivationsExhausted),
            KeyStatus::Exhausted => Some(DenialCode::ProjectExhausted),
            KeyStatus::Paused => Some(DenialCode::KeyPaused),
            KeyStatus::Pending => Some(DenialCode::KeyNotYetActive),
            KeyStatus::Active => None,
        };
        prop_assert_eq!(answer.err().map(|denial| denial.code), expected);
    }
}

#[test]
fn seen_expired_is_expired_for_ever() {
    let mut ledger = ledger(&[(KEY, limits(Some(9), None, None))]);
    let lifetime = Lifetime { expires_at: Some(Timestamp(500)), ..Lifetime::default() };
    ledger.set_lifetime(KEY, lifetime, Timestamp(100));
    assert!(!ledger.expire(KEY, Timestamp(499)));
    assert!(ledger.expire(KEY, Timestamp(500)));
    assert!(!ledger.expire(KEY, Timestamp(501)), "only the first is news");
    // The clock is set back.
    assert_eq!(ledger.status(KEY, Timestamp(200)), Some(KeyStatus::Expired));
    let answer = hold(&mut ledger, AccountChain::of_key(KEY), Units::ONE_ACTIVATION, Timestamp(200));
    assert_eq!(answer.unwrap_err().code, DenialCode::KeyExpired);
    // Only an admin gives it more time.
    ledger.set_lifetime(KEY, Lifetime { expires_at: Some(Timestamp(900)), ..lifetime }, Timestamp(600));
    hold(&mut ledger, AccountChain::of_key(KEY), Units::ONE_ACTIVATION, Timestamp(600)).unwrap();
}

#[test]
fn a_key_in_use_is_not_idle() {
    let mut ledger = ledger(&[(KEY, limits(None, Some(10), None))]);
    let lifetime = Lifetime { idle_expiry_seconds: Some(1), ..Lifetime::default() };
    ledger.set_lifetime(KEY, lifetime, Timestamp(0));
    let ask =
        |ledger: &mut Ledger, at: u64| hold(ledger, AccountChain::of_key(KEY), units(1, 1, 0), Timestamp(at));
    let grant = ask(&mut ledger, 999).unwrap();
    assert_eq!(ledger.status(KEY, Timestamp(50_000)), Some(KeyStatus::Active), "in flight");
    ledger.settle(grant.id, units(1, 1, 0)).unwrap().expect("open");
    ledger.rest(KEY, Timestamp(50_000));
    assert_eq!(ledger.status(KEY, Timestamp(50_999)), Some(KeyStatus::Active));
    assert_eq!(ledger.status(KEY, Timestamp(51_000)), Some(KeyStatus::Expired));
    assert_eq!(ask(&mut ledger, 51_000).unwrap_err().code, DenialCode::KeyExpired);
}

#[test]
fn the_first_request_has_to_come_in_time() {
    let mut ledger =
        ledger(&[(KEY, limits(Some(9), None, None)), (super::PARENT, limits(Some(9), None, None))]);
    let lifetime = Lifetime { activate_by: Some(Timestamp(500)), ..Lifetime::default() };
    ledger.set_lifetime(KEY, lifetime, Timestamp(100));
    ledger.set_lifetime(super::PARENT, lifetime, Timestamp(100));
    hold(&mut ledger, AccountChain::of_key(KEY), Units::ONE_ACTIVATION, Timestamp(499)).unwrap();
    hold(&mut ledger, AccountChain::of_key(KEY), Units::ONE_ACTIVATION, Timestamp(9_999)).unwrap();
    let late = hold(&mut ledger, AccountChain::of_key(super::PARENT), Units::ONE_ACTIVATION, Timestamp(500));
    assert_eq!(late.unwrap_err().code, DenialCode::KeyExpired);
}

#[test]
fn the_first_pause_counts() {
    let mut ledger = ledger(&[(KEY, limits(Some(9), None, None))]);
    assert_eq!(ledger.set_paused(KEY, true, Timestamp(1)), Some(true));
    assert_eq!(ledger.set_paused(KEY, true, Timestamp(2)), Some(false));
    assert_eq!(ledger.account(KEY).unwrap().paused_at, Some(Timestamp(1)));
    assert_eq!(ledger.set_paused(KEY, false, Timestamp(3)), Some(true));
    assert_eq!(ledger.status(KEY, NOW), Some(KeyStatus::Active));
    assert_eq!(ledger.set_paused(super::PARENT, true, NOW), None);
}

#[test]
fn the_kill_switch_comes_before_everything() {
    let mut ledger = Ledger::new(1, true);
    ledger.load(KEY, crate::ledger::Account::new(limits(Some(9), None, None)));
    ledger.revoke(KEY, NOW);
    let code = |ledger: &mut Ledger| {
        hold(ledger, AccountChain::of_key(KEY), Units::ONE_ACTIVATION, NOW).unwrap_err().code
    };
    ledger.set_stopped(true);
    assert_eq!(code(&mut ledger), DenialCode::InstanceStopped);
    ledger.set_stopped(false);
    assert_eq!(code(&mut ledger), DenialCode::KeyFenced);
    ledger.unfence(2);
    assert_eq!(code(&mut ledger), DenialCode::KeyRevoked);
}
