//! Tables for the rules one by one; `model` and `ask` check random schedules against a second implementation.

mod ask;
mod escrow;
mod life;
mod model;

use super::{
    Account, AccountChain, AccountId, Balance, BalanceParts, HoldId, HoldKind, Ledger, OpenHold, Unbalanced,
    Verdict,
};
use crate::demand::Demand;
use crate::denial::{Denial, DenialCode};
use crate::key::{KeyId, KeyStatus};
use crate::limit::{Dimension, LIMIT_MAX, Limits, Units};
use crate::time::Timestamp;

const KEY: AccountId = AccountId::Key(KeyId([1; 16]));
const PARENT: AccountId = AccountId::Key(KeyId([2; 16]));
const PROJECT: AccountId = AccountId::Ceiling([3; 16]);
const NOW: Timestamp = Timestamp(1_000);

fn limits(activations: Option<u64>, tokens: Option<u64>, spend_nanos: Option<u64>) -> Limits {
    Limits { activations, tokens, spend_nanos }
}

fn units(activations: u64, tokens: u64, spend_nanos: u64) -> Units {
    Units { activations, tokens, spend_nanos }
}

fn ledger(accounts: &[(AccountId, Limits)]) -> Ledger {
    let mut ledger = Ledger::new(1, false);
    for (id, limits) in accounts {
        ledger.load(*id, Account::new(*limits));
    }
    ledger
}

fn parts(ledger: &Ledger, id: AccountId, dimension: Dimension) -> BalanceParts {
    *ledger.account(id).expect("loaded").balance(dimension).parts()
}

/// Asks for exactly these units. Having to wait is a no here.
fn hold(
    ledger: &mut Ledger,
    accounts: AccountChain,
    units: Units,
    now: Timestamp,
) -> Result<super::Grant, Denial> {
    match ledger.ask(accounts, &Demand::exactly(units), false, now) {
        Verdict::Granted(grant) => Ok(grant),
        Verdict::Busy(_) => Err(Denial::new(DenialCode::BudgetBusy, "Wait.")),
        Verdict::Denied(denial) => Err(denial),
    }
}

/// Holds `units` of a fresh key: what happens, and what the message must contain.
#[track_caller]
fn check_hold(limits: Limits, asked: Units, expected: Result<Limits, (DenialCode, &str)>) {
    let mut ledger = ledger(&[(KEY, limits)]);
    let before = ledger.account(KEY).cloned();
    match (hold(&mut ledger, AccountChain::of_key(KEY), asked, NOW), expected) {
        (Ok(grant), Ok(remaining)) => assert_eq!(grant.remaining, remaining),
        (Err(denial), Err((code, text))) => {
            assert_eq!(denial.code, code);
            assert!(denial.message.contains(text), "{denial}");
            assert_eq!(ledger.account(KEY).cloned(), before, "a denial changes nothing");
        }
        (answer, expected) => panic!("{answer:?} instead of {expected:?}"),
    }
}

#[test]
fn holds_at_the_edges() {
    use DenialCode::{ActivationsExhausted, SpendExhausted, TokensExhausted};
    let none = limits(None, None, None);
    let max = Some(LIMIT_MAX);
    check_hold(limits(Some(2), None, None), units(1, 0, 0), Ok(limits(Some(1), None, None)));
    check_hold(limits(Some(1), None, None), units(1, 0, 0), Ok(limits(Some(0), None, None)));
    check_hold(
        limits(Some(1), None, None),
        units(2, 0, 0),
        Err((ActivationsExhausted, "has 1 activation of its 1 activation left")),
    );
    check_hold(
        limits(Some(0), None, None),
        units(1, 0, 0),
        Err((ActivationsExhausted, "has a limit of 0 activations")),
    );
    check_hold(limits(Some(0), None, None), units(0, 0, 0), Err((ActivationsExhausted, "")));
    check_hold(
        limits(max, max, max),
        units(LIMIT_MAX, LIMIT_MAX, LIMIT_MAX),
        Ok(limits(Some(0), Some(0), Some(0))),
    );
    check_hold(
        limits(max, None, None),
        units(LIMIT_MAX + 1, 0, 0),
        Err((ActivationsExhausted, "9223372036854775807")),
    );
    check_hold(limits(max, None, None), units(u64::MAX, 0, 0), Err((ActivationsExhausted, "")));
    check_hold(none, units(u64::MAX, u64::MAX, u64::MAX), Ok(none));
    check_hold(
        limits(Some(9), Some(5), None),
        units(1, 6, 0),
        Err((TokensExhausted, "5 tokens of its 5 tokens left")),
    );
    check_hold(
        limits(None, None, Some(1_250_000_000)),
        units(1, 0, 2_000_000_000),
        Err((SpendExhausted, "$1.25 left, and this request needs at least $2.00")),
    );
    check_hold(limits(Some(1), Some(0), None), units(1, 0, 0), Err((TokensExhausted, "limit of 0 tokens")));
}

#[test]
fn exactly_n_then_a_clear_message() {
    let mut ledger = ledger(&[(KEY, limits(Some(50), None, None))]);
    let ids: Vec<HoldId> = (0..50)
        .map(|_| {
            hold(&mut ledger, AccountChain::of_key(KEY), Units::ONE_ACTIVATION, NOW)
                .expect("within the limit")
                .id
        })
        .collect();
    let denial = hold(&mut ledger, AccountChain::of_key(KEY), Units::ONE_ACTIVATION, NOW).expect_err("51st");
    assert!(denial.message.contains("50 of them by requests still in flight"), "{denial}");
    for id in ids {
        assert!(ledger.settle(id, Units::ONE_ACTIVATION).expect("countable").is_some());
    }
    let denial = hold(&mut ledger, AccountChain::of_key(KEY), Units::ONE_ACTIVATION, NOW).expect_err("51st");
    assert_eq!(denial.code, DenialCode::ActivationsExhausted);
    assert_eq!(
        denial.message,
        format!(
            "This scoped key ({KEY}) has used all 50 of its activations. Ask whoever minted it for a new key or a higher limit."
        )
    );
    assert!(!denial.message.to_lowercase().contains("rate limit"));
    assert_eq!(ledger.account(KEY).expect("loaded").status(false, NOW), KeyStatus::Exhausted);
    assert_eq!(ledger.account(KEY).expect("loaded").last_used_at, Some(NOW));
}

#[test]
fn closing_twice_or_the_unknown_changes_nothing() {
    let mut ledger = ledger(&[(KEY, limits(Some(5), Some(100), None))]);
    let open =
        |ledger: &mut Ledger| hold(ledger, AccountChain::of_key(KEY), units(1, 10, 7), NOW).expect("fits").id;
    let (settled, voided) = (open(&mut ledger), open(&mut ledger));
    assert!(ledger.settle(settled, units(1, 4, 3)).expect("countable").is_some());
    assert!(ledger.void(voided).expect("countable").is_some());
    let after = ledger.account(KEY).cloned();
    for id in [settled, voided, HoldId { incarnation: 1, number: 99 }, HoldId { incarnation: 0, number: 1 }] {
        assert_eq!(ledger.settle(id, units(1, 10, 7)), Ok(None));
        assert_eq!(ledger.void(id), Ok(None));
    }
    assert_eq!(ledger.account(KEY).cloned(), after);
    assert_eq!(parts(&ledger, KEY, Dimension::Tokens).spent, 4);
    assert_eq!(ledger.holds_open(), 0);
}

#[test]
fn an_overrun_is_recorded_in_full_and_stops_the_key() {
    // (limit, other hold, used, overrun): a hold of 10 is settled as `used`.
    for (limit, other, used, overrun) in [
        (Some(100), 0, 10, 0),
        (Some(100), 0, 100, 0),
        (Some(100), 0, 101, 1),
        (Some(100), 90, 11, 1),
        (Some(10), 0, u64::MAX, u128::from(u64::MAX) - 10),
        (None, 0, u64::MAX, 0),
    ] {
        let mut ledger = ledger(&[(KEY, limits(None, limit, None)), (PARENT, limits(None, None, None))]);
        let chain = AccountChain::new(KEY, &[PARENT]);
        let other =
            (other > 0).then(|| hold(&mut ledger, chain.clone(), units(0, other, 0), NOW).expect("fits").id);
        let id = hold(&mut ledger, chain.clone(), units(1, 10, 0), NOW).expect("fits").id;
        let closed = ledger.settle(id, units(1, used, 0)).expect("countable").expect("was open");
        assert_eq!(parts(&ledger, KEY, Dimension::Tokens).overrun, overrun, "{limit:?} {used}");
        assert_eq!(parts(&ledger, KEY, Dimension::Tokens).spent, u128::from(used));
        assert_eq!(closed.overrun, if overrun > 0 { vec![KEY] } else { vec![] });
        assert_eq!(ledger.account(PARENT).expect("loaded").status(false, NOW), KeyStatus::Active);
        if overrun > 0 {
            // Giving units back does not revive the key; only an admin does.
            other.map(|id| ledger.void(id).expect("countable"));
            let denial = hold(&mut ledger, chain.clone(), units(1, 1, 0), NOW).expect_err("overrun");
            assert_eq!(denial.code, DenialCode::TokensExhausted);
            assert!(denial.message.contains("although its limit is"), "{denial}");
            assert!(ledger.adjust(KEY, limits(None, None, None)));
            assert!(hold(&mut ledger, chain, units(1, 1, 0), NOW).is_ok());
        }
    }
}

#[test]
fn an_overrun_stops_every_account_that_it_breaks() {
    let within = |limit| limits(None, None, Some(limit));
    for (key, parent, project, broken) in [
        (100, 1_000, 1_000, vec![KEY]),
        (1_000, 100, 1_000, vec![PARENT]),
        (1_000, 100, 100, vec![PARENT, PROJECT]),
        (100, 100, 100, vec![KEY, PARENT, PROJECT]),
    ] {
        let accounts = [(KEY, within(key)), (PARENT, within(parent)), (PROJECT, within(project))];
        let mut ledger = ledger(&accounts);
        let chain = AccountChain::new(KEY, &[PARENT, PROJECT]);
        let id = hold(&mut ledger, chain, units(1, 0, 10), NOW).expect("fits").id;
        let closed = ledger.settle(id, units(1, 0, 500)).expect("countable").expect("was open");
        assert_eq!(closed.overrun, broken);
        for (account, limits) in accounts {
            let limit = limits.spend_nanos.expect("set above");
            let overrun = 500_u128.saturating_sub(limit.into());
            assert_eq!(parts(&ledger, account, Dimension::Spend).overrun, overrun);
            // Others that depend on it are stopped too.
            let others = hold(&mut ledger, AccountChain::of_key(account), units(1, 0, 1), NOW);
            assert_eq!(others.is_err(), broken.contains(&account));
        }
    }
}

#[test]
fn revoked_comes_before_exhausted_and_a_fence_before_all() {
    let mut ledger = ledger(&[(KEY, limits(Some(0), None, None))]);
    assert_eq!(ledger.revoke(KEY, NOW), Some(true));
    assert_eq!(ledger.revoke(KEY, Timestamp(2_000)), Some(false));
    assert_eq!(ledger.revoke(PARENT, NOW), None);
    let account = ledger.account(KEY).expect("loaded");
    assert_eq!((account.status(false, NOW), account.revoked_at), (KeyStatus::Revoked, Some(NOW)));
    let mut code =
        |key| hold(&mut ledger, AccountChain::of_key(key), Units::ONE_ACTIVATION, NOW).expect_err("no").code;
    assert_eq!(code(KEY), DenialCode::KeyRevoked);
    assert_eq!(code(PARENT), DenialCode::InvalidKey);

    let mut fenced = Ledger::new(1, true);
    fenced.load(KEY, Account::new(Limits::default()));
    let mut code = |key| {
        hold(&mut fenced, AccountChain::of_key(key), Units::ONE_ACTIVATION, NOW).map_err(|denial| denial.code)
    };
    assert_eq!(code(KEY), Err(DenialCode::KeyFenced));
    assert_eq!(code(PARENT), Err(DenialCode::KeyFenced));
    fenced.unfence(2);
    let grant = hold(&mut fenced, AccountChain::of_key(KEY), Units::ONE_ACTIVATION, NOW).expect("active");
    assert_eq!(grant.id, HoldId { incarnation: 2, number: 1 });
}

#[test]
fn a_chain_is_debited_whole_or_not_at_all() {
    let mut ledger = ledger(&[
        (KEY, limits(Some(9), None, None)),
        (PARENT, limits(Some(5), None, None)),
        (PROJECT, limits(Some(1), None, None)),
    ]);
    // Named twice, debited once.
    let chain = AccountChain::new(KEY, &[PARENT, PROJECT, PARENT, KEY]);
    assert_eq!(chain.iter().collect::<Vec<_>>(), [KEY, PARENT, PROJECT]);
    let grant = hold(&mut ledger, chain.clone(), Units::ONE_ACTIVATION, NOW).expect("fits everywhere");
    assert_eq!(grant.remaining.activations, Some(0), "the least of all");
    let denial =
        hold(&mut ledger, chain.clone(), Units::ONE_ACTIVATION, NOW).expect_err("the project is used up");
    assert_eq!(denial.code, DenialCode::ProjectExhausted);
    for id in [KEY, PARENT, PROJECT] {
        assert_eq!(parts(&ledger, id, Dimension::Activations).held, 1, "{id}");
    }
    ledger.void(grant.id).expect("countable");
    ledger.revoke(PARENT, NOW);
    let denial =
        hold(&mut ledger, chain, Units::ONE_ACTIVATION, NOW).expect_err("children die with their parent");
    assert_eq!(denial.code, DenialCode::KeyRevoked);
    assert_eq!(parts(&ledger, KEY, Dimension::Activations).held, 0);
    let missing = AccountChain::new(KEY, &[AccountId::Ceiling([9; 16])]);
    assert_eq!(
        hold(&mut ledger, missing, Units::ONE_ACTIVATION, NOW).expect_err("unknown").code,
        DenialCode::InvalidKey
    );
}

#[test]
fn adjusting_keeps_what_was_used() {
    // (from, used, to, free, overrun)
    for (from, used, to, free, overrun) in [
        (Some(10), 4, Some(20), Some(16), 0),
        (Some(10), 4, Some(4), Some(0), 0),
        (Some(10), 4, Some(0), Some(0), 4),
        (Some(10), 4, None, None, 0),
        (None, 4, Some(3), Some(0), 1),
        (None, 4, Some(LIMIT_MAX), Some(u128::from(LIMIT_MAX) - 4), 0),
    ] {
        let mut ledger = ledger(&[(KEY, limits(from, None, None))]);
        let id = hold(&mut ledger, AccountChain::of_key(KEY), units(used, 0, 0), NOW).expect("fits").id;
        assert!(ledger.adjust(KEY, limits(to, None, None)));
        let balance = *ledger.account(KEY).expect("loaded").balance(Dimension::Activations);
        assert_eq!((balance.free(), balance.parts().overrun, balance.used()), (free, overrun, used.into()));
        assert!(ledger.settle(id, units(used, 0, 0)).expect("countable").is_some());
    }
    assert!(!ledger(&[]).adjust(KEY, Limits::default()));
}

#[test]
fn what_cannot_be_counted_changes_nothing() {
    let full = BalanceParts { spent: u128::MAX - 5, ..BalanceParts::default() };
    let balances = [Balance::from_parts(full).expect("adds up"), Balance::new(None), Balance::new(None)];
    let mut ledger = Ledger::new(1, false);
    ledger.load(KEY, Account::from_balances(balances));
    assert!(hold(&mut ledger, AccountChain::of_key(KEY), units(6, 0, 0), NOW).is_err());
    let id = hold(&mut ledger, AccountChain::of_key(KEY), units(5, 0, 0), NOW).expect("countable").id;
    let before = ledger.account(KEY).cloned();
    assert!(ledger.settle(id, units(6, 0, 0)).is_err());
    assert_eq!(ledger.account(KEY).cloned(), before);
    assert!(ledger.settle(id, units(5, 0, 0)).expect("countable").is_some());
}

#[test]
fn damaged_figures_are_refused() {
    let parts =
        |limit, held, spent, overrun| BalanceParts { limit, held, spent, overrun, ..BalanceParts::default() };
    for (damaged, valid) in [
        (parts(Some(10), 5, 6, 0), false),
        (parts(Some(10), 5, 6, 1), true),
        (parts(Some(10), 5, 5, 0), true),
        (parts(None, u128::MAX, 1, 0), false),
        (parts(None, 1, 1, 1), false),
        (parts(Some(1), 0, 0, u128::MAX), false),
    ] {
        assert_eq!(Balance::from_parts(damaged).is_ok(), valid, "{damaged:?}");
        if !valid {
            assert_eq!(Balance::from_parts(damaged), Err(Unbalanced));
        }
    }
}

#[test]
fn open_holds_keep_their_accounts_loaded() {
    let mut ledger = ledger(&[(KEY, limits(Some(3), None, None)), (PARENT, Limits::default())]);
    let id = hold(&mut ledger, AccountChain::new(KEY, &[PARENT]), units(0, 0, 0), NOW).expect("fits").id;
    assert!(!ledger.evict(KEY) && !ledger.evict(PARENT), "even a hold of nothing");
    ledger.void(id).expect("countable");
    assert!(ledger.evict(KEY) && ledger.evict(PARENT) && ledger.evict(PARENT));
    assert_eq!(ledger.accounts_loaded(), 0);
}

#[test]
fn ceilings_that_no_hold_needs_are_evicted() {
    let other = AccountId::Ceiling([4; 16]);
    let none = Limits::default();
    let mut ledger = ledger(&[(KEY, limits(Some(3), None, None)), (PROJECT, none), (other, none)]);
    let id = hold(&mut ledger, AccountChain::new(KEY, &[PROJECT]), units(0, 0, 0), NOW).expect("fits").id;
    ledger.evict_ceilings();
    assert!(ledger.account(PROJECT).is_some() && ledger.account(other).is_none());
    ledger.void(id).expect("countable");
    ledger.evict_ceilings();
    assert!(ledger.account(PROJECT).is_none() && ledger.account(KEY).is_some());
}

#[test]
fn a_restored_hold_settles_like_any_other() {
    let held = BalanceParts { limit: Some(3), held: 2, ..BalanceParts::default() };
    let balances = [Balance::from_parts(held).expect("adds up"), Balance::new(None), Balance::new(None)];
    let (accounts, kind) = (AccountChain::of_key(KEY), HoldKind::Call);
    let open = |n| OpenHold { accounts: accounts.clone(), kind, units: units(n, 0, 0), at: NOW };
    let mut ledger = Ledger::new(7, false);
    let id = HoldId { incarnation: 7, number: 4 };
    assert!(!ledger.restore_hold(id, open(2)), "no account");
    ledger.load(KEY, Account::from_balances(balances));
    assert!(!ledger.restore_hold(id, open(3)), "more than is held");
    assert!(ledger.restore_hold(id, open(2)));
    assert!(!ledger.restore_hold(id, open(2)), "twice");
    let next = hold(&mut ledger, AccountChain::of_key(KEY), units(1, 0, 0), NOW).expect("fits").id;
    assert_eq!(next.number, 5, "ids are not given out again");
    ledger.settle(id, units(2, 0, 0)).expect("countable").expect("was open");
    assert_eq!(
        parts(&ledger, KEY, Dimension::Activations),
        BalanceParts { limit: Some(3), held: 1, spent: 2, ..BalanceParts::default() }
    );
}
