//! Units counted out ahead.

use proptest::prelude::*;

use super::{KEY, NOW, PROJECT, hold, ledger, limits, parts, units};
use crate::denial::DenialCode;
use crate::key::KeyStatus;
use crate::ledger::{AccountChain, BalanceParts, HoldId, HoldKind, OpenHold};
use crate::limit::{Dimension, Units};

#[test]
fn what_is_counted_out_is_not_free_and_what_is_left_comes_back() {
    let mut ledger = ledger(&[(KEY, limits(Some(10), None, None))]);
    let chain = || AccountChain::of_key(KEY);
    assert_eq!(ledger.escrow(chain(), units(11, 0, 0), NOW), None, "more than is free");
    let id = ledger.escrow(chain(), units(4, 0, 0), NOW).expect("free");
    let seven = hold(&mut ledger, chain(), units(7, 0, 0), NOW).expect_err("6 are free");
    assert_eq!(seven.code, DenialCode::ActivationsExhausted);
    assert!(!ledger.escrow_extend(id, units(7, 0, 0)));
    assert!(ledger.escrow_extend(id, units(2, 0, 0)));
    // Three requests of it were sent, one was not.
    for nth in 1..=3 {
        let closed = ledger.escrow_settle(id, nth, units(1, 0, 0), units(1, 0, 0)).expect("countable");
        assert_eq!(closed.expect("in order").hold.units, units(1, 0, 0));
    }
    ledger.escrow_settle(id, 4, units(1, 0, 0), units(0, 0, 0)).expect("countable").expect("in order");
    let expected = BalanceParts { limit: Some(10), escrowed: 2, spent: 3, ..BalanceParts::default() };
    assert_eq!(parts(&ledger, KEY, Dimension::Activations), expected);
    // Said again after a write that may or may not have arrived.
    assert_eq!(ledger.escrow_settle(id, 4, units(1, 0, 0), units(1, 0, 0)), Ok(None));
    assert!(ledger.escrow_return(id, units(2, 0, 0)));
    ledger.void(id).expect("countable").expect("open until then");
    let expected = BalanceParts { limit: Some(10), spent: 3, ..BalanceParts::default() };
    assert_eq!(parts(&ledger, KEY, Dimension::Activations), expected);
    assert_eq!(ledger.holds_open(), 0);
    assert!(!ledger.escrow_return(id, units(0, 0, 0)) && !ledger.escrow_extend(id, units(0, 0, 0)));
}

#[test]
fn a_call_is_no_escrow() {
    let mut ledger = ledger(&[(KEY, limits(Some(10), None, None))]);
    let call = hold(&mut ledger, AccountChain::of_key(KEY), units(2, 0, 0), NOW).expect("free").id;
    assert!(!ledger.escrow_extend(call, units(1, 0, 0)));
    assert!(!ledger.escrow_return(call, units(1, 0, 0)));
    assert_eq!(ledger.escrow_settle(call, 1, units(1, 0, 0), units(1, 0, 0)), Ok(None));
    assert_eq!(ledger.open_hold(call).map(|hold| hold.units), Some(units(2, 0, 0)));
}

#[test]
fn every_ancestor_counts_out_too() {
    let mut ledger =
        ledger(&[(KEY, limits(Some(10), None, None)), (PROJECT, limits(Some(3), None, Some(9)))]);
    let chain = || AccountChain::new(KEY, &[PROJECT]);
    assert_eq!(ledger.escrow(chain(), units(4, 0, 0), NOW), None);
    let id = ledger.escrow(chain(), units(3, 0, 5), NOW).expect("free in both");
    let denial = hold(&mut ledger, chain(), units(1, 0, 0), NOW).expect_err("nothing left");
    assert_eq!(denial.code, DenialCode::ProjectExhausted);
    // The second part used more than was set aside for it, and more than the project has.
    let overrun = |closed: Option<super::super::Closed>| closed.expect("in order").overrun;
    let first = ledger.escrow_settle(id, 1, units(1, 0, 2), units(1, 0, 2)).expect("countable");
    assert_eq!(overrun(first), []);
    let second = ledger.escrow_settle(id, 2, units(1, 0, 2), units(1, 0, 12)).expect("countable");
    assert_eq!(overrun(second), [PROJECT]);
    let expected =
        BalanceParts { limit: Some(9), escrowed: 1, spent: 14, overrun: 6, ..BalanceParts::default() };
    assert_eq!(parts(&ledger, PROJECT, Dimension::Spend), expected);
}

#[test]
fn a_key_whose_money_is_counted_out_is_not_exhausted() {
    let mut ledger = ledger(&[(KEY, limits(None, None, Some(9)))]);
    let id = ledger.escrow(AccountChain::of_key(KEY), units(1, 0, 9), NOW).expect("free");
    assert_eq!(ledger.status(KEY, NOW), Some(KeyStatus::Active));
    let denial = hold(&mut ledger, AccountChain::of_key(KEY), units(1, 0, 5), NOW).expect_err("all is out");
    assert_eq!(denial.code, DenialCode::BudgetBusy, "it comes back in part");
    ledger.settle(id, units(1, 0, 9)).expect("countable").expect("open");
    assert_eq!(ledger.status(KEY, NOW), Some(KeyStatus::Exhausted));
}

#[test]
fn an_escrow_of_a_crash_is_restored_and_spent() {
    let mut ledger = ledger(&[(KEY, limits(Some(10), None, None))]);
    let id = ledger.escrow(AccountChain::of_key(KEY), units(4, 0, 0), NOW).expect("free");
    ledger.escrow_settle(id, 1, units(1, 0, 0), units(1, 0, 0)).expect("countable").expect("in order");
    let (account, hold) = (ledger.account(KEY).cloned().unwrap(), ledger.open_hold(id).cloned().unwrap());
    assert_eq!(hold.kind, HoldKind::Escrow { settled: 1 });

    let mut next = crate::ledger::Ledger::new(2, false);
    next.load(KEY, account);
    let as_call = OpenHold { kind: HoldKind::Call, ..hold.clone() };
    assert!(!next.restore_hold(HoldId { number: 9, ..id }, as_call), "escrowed is not held");
    assert!(next.restore_hold(id, hold.clone()));
    assert_eq!(
        next.escrow_settle(id, 1, units(1, 0, 0), units(1, 0, 0)),
        Ok(None),
        "it knows how far it was"
    );
    next.settle(id, hold.units).expect("countable").expect("open");
    let expected = BalanceParts { limit: Some(10), spent: 4, ..BalanceParts::default() };
    assert_eq!(parts(&next, KEY, Dimension::Activations), expected);
}

fn some_units() -> impl Strategy<Value = Units> {
    let amount = || prop_oneof![4 => 0_u64..4, 1 => Just(u64::MAX)];
    (0_u64..2, amount(), amount()).prop_map(|(activations, tokens, spend)| units(activations, tokens, spend))
}

proptest! {
    /// Settling at once is settling one after the other, or nothing.
    #[test]
    fn parts_are_settled_at_once_as_one_by_one(
        limited in proptest::array::uniform6(any::<bool>()),
        parts in proptest::collection::vec((0_u64..3, some_units()), 0..6),
        first in 1_u64..4,
        is_overrun in any::<bool>(),
    ) {
        let limit = |nth: usize| limited[nth].then_some(40);
        let mut at_once = ledger(&[
            (KEY, limits(limit(0), limit(1), limit(2))),
            (PROJECT, limits(limit(3), limit(4), limit(5))),
        ]);
        let id = at_once.escrow(AccountChain::new(KEY, &[PROJECT]), units(30, 30, 30), NOW).expect("free");
        at_once.escrow_settle(id, 1, units(1, 1, 1), units(1, if is_overrun { 50 } else { 1 }, 1)).expect("countable");
        let parts: Vec<_> = parts.into_iter().map(|(part, used)| (units(1, part, part), used)).collect();
        let mut one_by_one = at_once.clone();
        let before = at_once.clone();
        let is_settled = at_once.escrow_settle_all(id, first, parts.iter().copied());
        prop_assert!(!is_settled || first == 2);
        if is_settled {
            for (nth, (part, used)) in (first..).zip(&parts) {
                one_by_one.escrow_settle(id, nth, *part, *used).expect("countable").expect("in order");
            }
        }
        let expected = if is_settled { &one_by_one } else { &before };
        for account in [KEY, PROJECT] {
            prop_assert_eq!(at_once.account(account), expected.account(account));
        }
        prop_assert_eq!(at_once.open_hold(id), expected.open_hold(id));
        let is_within = |(part, used): &(Units, Units)| {
            Dimension::ALL.into_iter().all(|dimension| used.of(dimension) <= part.of(dimension))
        };
        prop_assert!(is_settled || first != 2 || !parts.iter().all(is_within), "the ordinary case");
    }
}
