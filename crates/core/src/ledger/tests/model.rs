//! Random schedules against a model that keeps the whole history and adds it up again every time.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{hold, limits, units};
use crate::denial::DenialCode;
use crate::key::KeyId;
use crate::ledger::{Account, AccountChain, AccountId, HoldId, Ledger};
use crate::limit::{Dimension, LIMIT_MAX, Limits, Units};
use crate::time::Timestamp;

#[derive(Clone, Debug)]
enum Step {
    Hold {
        chain: Vec<u8>,
        units: Units,
    },
    /// Settles the hold that was granted as number `nth`, counted round: known ones, closed ones.
    Settle {
        nth: usize,
        used: Units,
    },
    Void {
        nth: usize,
    },
    /// Counts units out ahead.
    Escrow {
        chain: Vec<u8>,
        units: Units,
    },
    /// Adds to the hold of that number, if it is an escrow.
    Extend {
        nth: usize,
        more: Units,
    },
    /// Settles a part of an escrow, or one that was settled before.
    Part {
        nth: usize,
        part: Units,
        used: Units,
        again: bool,
    },
    /// Gives a part of an escrow back.
    Return {
        nth: usize,
        part: Units,
    },
    /// Puts an account above a hold that was granted without it.
    Join {
        nth: usize,
        account: u8,
    },
    /// Closes a hold that was never granted.
    Unknown {
        number: u64,
    },
    Adjust {
        account: u8,
        limits: Limits,
    },
    Revoke {
        account: u8,
    },
    Evict {
        account: u8,
    },
}

/// What the model remembers of a hold.
struct Past {
    id: HoldId,
    accounts: Vec<u8>,
    is_escrow: bool,
    held: Units,
    /// What was used of the parts of an escrow, and the accounts that it was in then.
    parts: Vec<(Vec<u8>, Units)>,
    /// `None` while it is open.
    used: Option<Units>,
}

impl Past {
    fn new(id: HoldId, accounts: Vec<u8>, held: Units, is_escrow: bool) -> Self {
        Self { id, accounts, is_escrow, held, parts: Vec::new(), used: None }
    }
}

struct Model {
    limits: [Limits; ACCOUNTS],
    revoked: [bool; ACCOUNTS],
    /// Sticky, as the rules say: the most by which use exceeded the limit since the limit was set.
    overrun: [[u128; 3]; ACCOUNTS],
    past: Vec<Past>,
}

const ACCOUNTS: usize = 3;

fn id(account: u8) -> AccountId {
    match account {
        2 => AccountId::Ceiling([2; 16]),
        n => AccountId::Key(KeyId([n; 16])),
    }
}

impl Model {
    fn sum(&self, account: u8, amount: impl Fn(&Past) -> u128) -> u128 {
        self.past.iter().filter(|past| past.accounts.contains(&account)).map(amount).sum()
    }

    fn spent(&self, account: u8, dimension: Dimension) -> u128 {
        let parts = self.past.iter().flat_map(|past| &past.parts);
        let parts = parts.filter(|(accounts, _)| accounts.contains(&account));
        let parts = parts.map(|(_, used)| u128::from(used.of(dimension))).sum::<u128>();
        parts + self.sum(account, |past| past.used.unwrap_or_default().of(dimension).into())
    }

    fn set_aside(&self, account: u8, dimension: Dimension, is_escrow: bool) -> u128 {
        self.sum(account, |past| match past.used {
            None if past.is_escrow == is_escrow => past.held.of(dimension).into(),
            _ => 0,
        })
    }

    fn held(&self, account: u8, dimension: Dimension) -> u128 {
        self.set_aside(account, dimension, false)
    }

    fn escrowed(&self, account: u8, dimension: Dimension) -> u128 {
        self.set_aside(account, dimension, true)
    }

    fn pending(&self, account: u8, dimension: Dimension) -> u128 {
        self.held(account, dimension) + self.escrowed(account, dimension)
    }

    fn used(&self, account: u8, dimension: Dimension) -> u128 {
        self.spent(account, dimension) + self.pending(account, dimension)
    }

    /// Whether these units can be counted out.
    fn may_escrow(&self, chain: &[u8], units: Units) -> bool {
        chain.iter().all(|account| {
            Dimension::ALL.into_iter().all(|dimension| {
                let free = self.free(*account, dimension);
                free.is_none_or(|free| free >= units.of(dimension).into())
            })
        })
    }

    fn free(&self, account: u8, dimension: Dimension) -> Option<u128> {
        let limit = self.limits[usize::from(account)].of(dimension)?;
        Some(
            u128::from(limit) + self.overrun[usize::from(account)][dimension as usize]
                - self.used(account, dimension),
        )
    }

    /// The denial that the rules ask for, if any.
    fn verdict(&self, chain: &[u8], asked: Units) -> Option<DenialCode> {
        if chain.iter().any(|account| self.revoked[usize::from(*account)]) {
            return Some(DenialCode::KeyRevoked);
        }
        let mut waits = false;
        for account in chain {
            for dimension in Dimension::ALL {
                let overrun = self.overrun[usize::from(*account)][dimension as usize] > 0;
                let asked = u128::from(asked.of(dimension));
                let held = match dimension {
                    Dimension::Activations => 0,
                    _ => self.pending(*account, dimension),
                };
                let free = self.free(*account, dimension);
                let never = free.is_some_and(|free| (free == 0 && held == 0) || free + held < asked);
                if overrun || never {
                    return Some(match (account == &chain[0], dimension) {
                        (false, _) => DenialCode::ProjectExhausted,
                        (true, Dimension::Activations) => DenialCode::ActivationsExhausted,
                        (true, Dimension::Tokens) => DenialCode::TokensExhausted,
                        (true, Dimension::Spend) => DenialCode::SpendExhausted,
                    });
                }
                waits |= free.is_some_and(|free| free < asked);
            }
        }
        waits.then_some(DenialCode::BudgetBusy)
    }

    fn close(&mut self, nth: usize, used: Units) -> bool {
        let past = &mut self.past[nth];
        if past.used.is_some() {
            return false;
        }
        past.used = Some(used);
        self.count_overrun(nth);
        true
    }

    fn count_overrun(&mut self, nth: usize) {
        for account in self.past[nth].accounts.clone() {
            for dimension in Dimension::ALL {
                if let Some(limit) = self.limits[usize::from(account)].of(dimension) {
                    let over = self.used(account, dimension).saturating_sub(limit.into());
                    let overrun = &mut self.overrun[usize::from(account)][dimension as usize];
                    *overrun = over.max(*overrun);
                }
            }
        }
    }

    fn adjust(&mut self, account: u8, limits: Limits) {
        self.limits[usize::from(account)] = limits;
        for dimension in Dimension::ALL {
            let used = self.used(account, dimension);
            let over = limits.of(dimension).map_or(0, |limit| used.saturating_sub(limit.into()));
            self.overrun[usize::from(account)][dimension as usize] = over;
        }
    }
}

fn run(initial: [Limits; ACCOUNTS], steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut model =
        Model { limits: initial, revoked: [false; ACCOUNTS], overrun: [[0; 3]; ACCOUNTS], past: Vec::new() };
    let mut ledger = Ledger::new(1, false);
    for (account, limits) in (0_u8..).zip(initial) {
        ledger.load(id(account), Account::new(limits));
    }
    // What an eviction wrote back to "disk".
    let mut disk: BTreeMap<u8, Account> = BTreeMap::new();
    let now = Timestamp(5);
    for step in steps {
        for (account, stored) in std::mem::take(&mut disk) {
            ledger.load(id(account), stored);
        }
        match step {
            Step::Hold { chain, units } => {
                let ancestors: Vec<AccountId> = chain[1..].iter().map(|account| id(*account)).collect();
                let mut distinct = chain.clone();
                distinct.dedup();
                let verdict = model.verdict(&distinct, units);
                match hold(&mut ledger, AccountChain::new(id(chain[0]), &ancestors), units, now) {
                    Ok(grant) => {
                        prop_assert_eq!(verdict, None);
                        model.past.push(Past::new(grant.id, distinct, units, false));
                    }
                    Err(denial) => prop_assert_eq!(verdict, Some(denial.code)),
                }
            }
            Step::Settle { nth, used } if !model.past.is_empty() => {
                let nth = nth % model.past.len();
                let closed = ledger.settle(model.past[nth].id, used).expect("countable");
                prop_assert_eq!(closed.is_some(), model.close(nth, used));
            }
            Step::Void { nth } if !model.past.is_empty() => {
                let nth = nth % model.past.len();
                let closed = ledger.void(model.past[nth].id).expect("countable");
                prop_assert_eq!(closed.is_some(), model.close(nth, Units::default()));
            }
            Step::Escrow { chain, units } => {
                let ancestors: Vec<AccountId> = chain[1..].iter().map(|account| id(*account)).collect();
                let mut distinct = chain.clone();
                distinct.dedup();
                let may = model.may_escrow(&distinct, units);
                let granted = ledger.escrow(AccountChain::new(id(chain[0]), &ancestors), units, now);
                prop_assert_eq!(granted.is_some(), may);
                model.past.extend(granted.map(|id| Past::new(id, distinct, units, true)));
            }
            Step::Extend { nth, more } if !model.past.is_empty() => {
                let nth = nth % model.past.len();
                let past = &model.past[nth];
                let sum = past.held.checked_add(more);
                let is_open = past.is_escrow && past.used.is_none();
                let may = is_open && sum.is_some() && model.may_escrow(&past.accounts, more);
                prop_assert_eq!(ledger.escrow_extend(past.id, more), may);
                if let (true, Some(sum)) = (may, sum) {
                    model.past[nth].held = sum;
                }
            }
            Step::Part { nth, part, used, again } if !model.past.is_empty() => {
                let nth = nth % model.past.len();
                let past = &mut model.past[nth];
                let part = past.held.zip(part, u64::min);
                let number = past.parts.len() as u64 + u64::from(!again);
                let closed = ledger.escrow_settle(past.id, number, part, used).expect("countable");
                let settles = past.is_escrow && past.used.is_none() && !again;
                prop_assert_eq!(closed.is_some(), settles);
                if settles {
                    past.held = past.held.checked_sub(part).expect("the lesser of both");
                    past.parts.push((past.accounts.clone(), used));
                    model.count_overrun(nth);
                }
            }
            Step::Return { nth, part } if !model.past.is_empty() => {
                let nth = nth % model.past.len();
                let past = &mut model.past[nth];
                let part = past.held.zip(part, u64::min);
                let is_open = past.is_escrow && past.used.is_none();
                prop_assert_eq!(ledger.escrow_return(past.id, part), is_open);
                if is_open {
                    past.held = past.held.checked_sub(part).expect("the lesser of both");
                }
            }
            Step::Join { nth, account } if !model.past.is_empty() => {
                let nth = nth % model.past.len();
                let past = &mut model.past[nth];
                let may = past.used.is_none() && !past.accounts.contains(&account);
                prop_assert_eq!(ledger.join(past.id, id(account)), Ok(may));
                if may {
                    past.accounts.push(account);
                    model.adjust(account, model.limits[usize::from(account)]);
                }
            }
            Step::Extend { .. } | Step::Part { .. } | Step::Return { .. } | Step::Join { .. } => {}
            Step::Unknown { number } => {
                let id = HoldId { incarnation: 2, number };
                prop_assert_eq!(ledger.settle(id, units(1, 1, 1)), Ok(None));
            }
            Step::Adjust { account, limits } => {
                prop_assert!(ledger.adjust(id(account), limits));
                model.adjust(account, limits);
            }
            Step::Revoke { account } => {
                let first = ledger.revoke(id(account), now);
                prop_assert_eq!(first, Some(!model.revoked[usize::from(account)]));
                model.revoked[usize::from(account)] = true;
            }
            Step::Evict { account } => {
                let stored = ledger.account(id(account)).cloned().expect("loaded");
                if ledger.evict(id(account)) {
                    disk.insert(account, stored);
                }
            }
            Step::Settle { .. } | Step::Void { .. } => {}
        }
        compare(&model, &ledger, &disk)?;
    }
    Ok(())
}

fn compare(model: &Model, ledger: &Ledger, disk: &BTreeMap<u8, Account>) -> Result<(), TestCaseError> {
    prop_assert_eq!(ledger.holds_open(), model.past.iter().filter(|past| past.used.is_none()).count());
    for account in 0_u8..3 {
        let kept = ledger.account(id(account)).or(disk.get(&account)).expect("in memory or on disk");
        prop_assert_eq!(kept.revoked_at.is_some(), model.revoked[usize::from(account)]);
        for dimension in Dimension::ALL {
            let balance = kept.balance(dimension);
            prop_assert_eq!(balance.parts().held, model.held(account, dimension));
            prop_assert_eq!(balance.parts().escrowed, model.escrowed(account, dimension));
            prop_assert_eq!(balance.parts().spent, model.spent(account, dimension));
            prop_assert_eq!(balance.parts().overrun, model.overrun[usize::from(account)][dimension as usize]);
            prop_assert_eq!(balance.free(), model.free(account, dimension));
        }
    }
    Ok(())
}

fn amount() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0_u64..6, 1 => Just(LIMIT_MAX - 1), 1 => Just(LIMIT_MAX), 1 => Just(u64::MAX)]
}

fn some_units() -> impl Strategy<Value = Units> {
    (amount(), amount(), amount()).prop_map(|(a, t, s)| units(a, t, s))
}

fn some_limits() -> impl Strategy<Value = Limits> {
    let limit = || prop_oneof![1 => Just(None), 4 => (0_u64..20).prop_map(Some), 1 => Just(Some(LIMIT_MAX))];
    (limit(), limit(), limit()).prop_map(|(a, t, s)| limits(a, t, s))
}

fn some_chain() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(vec![vec![0], vec![1], vec![0, 2], vec![0, 1, 2], vec![1, 1, 2]])
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (some_chain(), some_units()).prop_map(|(chain, units)| Step::Hold { chain, units }),
        6 => (any::<usize>(), some_units()).prop_map(|(nth, used)| Step::Settle { nth, used }),
        3 => any::<usize>().prop_map(|nth| Step::Void { nth }),
        4 => (some_chain(), some_units()).prop_map(|(chain, units)| Step::Escrow { chain, units }),
        3 => (any::<usize>(), some_units()).prop_map(|(nth, more)| Step::Extend { nth, more }),
        6 => (any::<usize>(), some_units(), some_units(), prop::bool::weighted(0.2))
            .prop_map(|(nth, part, used, again)| Step::Part { nth, part, used, again }),
        3 => (any::<usize>(), some_units()).prop_map(|(nth, part)| Step::Return { nth, part }),
        3 => (any::<usize>(), 0_u8..3).prop_map(|(nth, account)| Step::Join { nth, account }),
        1 => (0_u64..4).prop_map(|number| Step::Unknown { number }),
        2 => (0_u8..3, some_limits()).prop_map(|(account, limits)| Step::Adjust { account, limits }),
        1 => (0_u8..3).prop_map(|account| Step::Revoke { account }),
        2 => (0_u8..3).prop_map(|account| Step::Evict { account }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_model(
        initial in prop::array::uniform3(some_limits()),
        steps in prop::collection::vec(step(), 0..60),
    ) {
        run(initial, steps)?;
    }
}
