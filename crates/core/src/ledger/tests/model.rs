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
    held: Units,
    /// `None` while it is open.
    used: Option<Units>,
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
        2 => AccountId::Project([2; 16]),
        n => AccountId::Key(KeyId([n; 16])),
    }
}

impl Model {
    fn sum(&self, account: u8, dimension: Dimension, amount: impl Fn(&Past) -> Units) -> u128 {
        let of_account = self.past.iter().filter(|past| past.accounts.contains(&account));
        of_account.map(|past| u128::from(amount(past).of(dimension))).sum()
    }

    fn spent(&self, account: u8, dimension: Dimension) -> u128 {
        self.sum(account, dimension, |past| past.used.unwrap_or_default())
    }

    fn held(&self, account: u8, dimension: Dimension) -> u128 {
        self.sum(account, dimension, |past| if past.used.is_none() { past.held } else { Units::default() })
    }

    fn used(&self, account: u8, dimension: Dimension) -> u128 {
        self.spent(account, dimension) + self.held(account, dimension)
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
                    _ => self.held(*account, dimension),
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
        for account in self.past[nth].accounts.clone() {
            for dimension in Dimension::ALL {
                if let Some(limit) = self.limits[usize::from(account)].of(dimension) {
                    let over = self.used(account, dimension).saturating_sub(limit.into());
                    let overrun = &mut self.overrun[usize::from(account)][dimension as usize];
                    *overrun = over.max(*overrun);
                }
            }
        }
        true
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
                        model.past.push(Past { id: grant.id, accounts: distinct, held: units, used: None });
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
