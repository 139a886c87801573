//! Random schedules of demands in all three dimensions, against a model that keeps the whole history, adds it up
//! again every time and finds caps by trying them.

use proptest::prelude::*;

use super::{hold, ledger, limits, parts, units};
use crate::demand::Demand;
use crate::denial::DenialCode;
use crate::key::KeyId;
use crate::ledger::{
    ANCESTOR_SHARE_DIVISOR, AccountChain, AccountId, HoldId, Ledger, SHARE_DIVISOR, USEFUL_STEPS, Verdict,
};
use crate::limit::{Dimension, LIMIT_MAX, Limits, Units};
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp(7);
const ACCOUNTS: usize = 3;

/// Keys 0 and 1, of which 1 is also an ancestor of 0; and a project.
fn id(account: usize) -> AccountId {
    match account {
        2 => AccountId::Ceiling([2; 16]),
        0 => AccountId::Key(KeyId([10; 16])),
        _ => AccountId::Key(KeyId([11; 16])),
    }
}

fn chain_of(accounts: &[usize]) -> AccountChain {
    let ancestors: Vec<AccountId> = accounts[1..].iter().map(|account| id(*account)).collect();
    AccountChain::new(id(accounts[0]), &ancestors)
}

#[derive(Clone, Debug)]
enum Step {
    Ask { chain: Vec<usize>, demand: Demand, contended: bool },
    Settle { nth: usize, used: Used },
    Forgive { chain: Vec<usize>, units: Units },
    Adjust { account: usize, limits: Limits },
    Revoke { account: usize },
}

/// How a hold ends.
#[derive(Clone, Copy, Debug)]
enum Used {
    /// Nothing of it was sent.
    Void,
    /// The request, and this many hundredths of the rest.
    Part(u64),
    All,
    /// Whatever a provider that lies says.
    Any(Units),
}

impl Used {
    fn of(self, held: Units) -> Units {
        let part = |amount: u64, hundredths: u64| {
            u64::try_from(u128::from(amount) * u128::from(hundredths) / 100).expect("a part of it")
        };
        match self {
            Self::Void => Units::default(),
            Self::Part(n) => units(held.activations, part(held.tokens, n), part(held.spend_nanos, n)),
            Self::All => held,
            Self::Any(used) => used,
        }
    }
}

struct Past {
    id: HoldId,
    accounts: Vec<usize>,
    held: Units,
    /// `None` while it is open.
    used: Option<Units>,
}

struct Model {
    limits: [Limits; ACCOUNTS],
    revoked: [bool; ACCOUNTS],
    overrun: [[u128; 3]; ACCOUNTS],
    forgiven: [[u128; 3]; ACCOUNTS],
    past: Vec<Past>,
}

/// What the rules say to a demand.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Granted(u64),
    Busy,
    Denied(Option<DenialCode>),
}

impl Model {
    fn spent(&self, account: usize, dimension: Dimension) -> u128 {
        let of_account = self.past.iter().filter(|past| past.accounts.contains(&account));
        let used = of_account.filter_map(|past| past.used);
        let sum: u128 = used.map(|used| u128::from(used.of(dimension))).sum();
        sum - self.forgiven[account][dimension as usize]
    }

    fn held(&self, account: usize, dimension: Dimension) -> u128 {
        let open = self.past.iter().filter(|past| past.used.is_none() && past.accounts.contains(&account));
        open.map(|past| u128::from(past.held.of(dimension))).sum()
    }

    fn used(&self, account: usize, dimension: Dimension) -> u128 {
        self.spent(account, dimension) + self.held(account, dimension)
    }

    fn free(&self, account: usize, dimension: Dimension) -> Option<u128> {
        let limit = u128::from(self.limits[account].of(dimension)?);
        Some(limit + self.overrun[account][dimension as usize] - self.used(account, dimension))
    }

    /// What can come back without anybody's mistake: not the activations.
    fn comes_back(&self, account: usize, dimension: Dimension) -> u128 {
        if dimension == Dimension::Activations { 0 } else { self.held(account, dimension) }
    }

    /// Whether every account has room, which is `of` its free units, for the demand with this cap.
    fn fits(
        &self,
        accounts: &[usize],
        demand: &Demand,
        steps: u64,
        of: impl Fn(usize, Dimension, u128) -> u128,
    ) -> bool {
        accounts.iter().all(|account| {
            Dimension::ALL.into_iter().all(|dimension| {
                let free = self.free(*account, dimension);
                free.is_none_or(|free| {
                    needs(demand, steps, dimension) <= of(*account, dimension, free).min(u64::MAX.into())
                })
            })
        })
    }

    fn expected(&self, accounts: &[usize], demand: &Demand, contended: bool) -> Expected {
        if accounts.iter().any(|account| self.revoked[*account]) {
            return Expected::Denied(Some(DenialCode::KeyRevoked));
        }
        if Dimension::ALL
            .into_iter()
            .any(|dimension| needs(demand, demand.steps_min, dimension) > u64::MAX.into())
        {
            // Which limit is named is not said by the rules; that it is a no is.
            return Expected::Denied(None);
        }
        for account in accounts {
            for dimension in Dimension::ALL {
                let back = self.comes_back(*account, dimension);
                let is_overrun = self.overrun[*account][dimension as usize] > 0;
                let least = needs(demand, demand.steps_min, dimension);
                let never = |free: u128| (free == 0 && back == 0) || free + back < least;
                if is_overrun || self.free(*account, dimension).is_some_and(never) {
                    let code = match (account == &accounts[0], dimension) {
                        (false, _) => DenialCode::ProjectExhausted,
                        (true, Dimension::Activations) => DenialCode::ActivationsExhausted,
                        (true, Dimension::Tokens) => DenialCode::TokensExhausted,
                        (true, Dimension::Spend) => DenialCode::SpendExhausted,
                    };
                    return Expected::Denied(Some(code));
                }
            }
        }
        let Some(free) = highest(demand, |steps| self.fits(accounts, demand, steps, |_, _, free| free))
        else {
            return Expected::Busy;
        };
        let granted = self.share(accounts, demand, contended, free);
        match granted {
            Some(steps)
                if Dimension::ALL
                    .into_iter()
                    .any(|dimension| needs(demand, steps, dimension) > u64::MAX.into()) =>
            {
                Expected::Denied(Some(DenialCode::UnboundedRequest))
            }
            Some(steps) => Expected::Granted(steps),
            None => Expected::Busy,
        }
    }

    /// The part of the `free` steps that it gets.
    fn share(&self, accounts: &[usize], demand: &Demand, contended: bool, free: u64) -> Option<u64> {
        if demand.steps_min == demand.steps_wanted {
            return Some(free);
        }
        let useful = demand.steps_wanted.min(USEFUL_STEPS.max(demand.steps_min));
        if free < useful {
            return (self.later(accounts, demand) <= Some(free)).then_some(free);
        }
        let share = highest(demand, |steps| {
            self.fits(accounts, demand, steps, |account, dimension, free| {
                let free = free.min(u64::MAX.into());
                match dimension {
                    Dimension::Activations => free,
                    _ if account == accounts[0] && (contended || self.held(account, dimension) > 0) => {
                        free / u128::from(SHARE_DIVISOR)
                    }
                    _ if account != accounts[0] && self.held(account, dimension) > 0 => {
                        free / u128::from(ANCESTOR_SHARE_DIVISOR)
                    }
                    _ => free,
                }
            })
        });
        Some(share.unwrap_or(0).max(useful))
    }

    /// The highest cap once everything that is held has come back.
    fn later(&self, accounts: &[usize], demand: &Demand) -> Option<u64> {
        let back = |account, dimension, free: u128| free + self.comes_back(account, dimension);
        highest(demand, |steps| self.fits(accounts, demand, steps, back))
    }

    fn close(&mut self, nth: usize, used: Units) {
        self.past[nth].used = Some(used);
        for account in self.past[nth].accounts.clone() {
            for dimension in Dimension::ALL {
                if let Some(limit) = self.limits[account].of(dimension) {
                    let over = self.used(account, dimension).saturating_sub(limit.into());
                    let overrun = &mut self.overrun[account][dimension as usize];
                    *overrun = over.max(*overrun);
                }
            }
        }
    }

    fn forgive(&mut self, account: usize, units: Units) {
        for dimension in Dimension::ALL {
            let taken = u128::from(units.of(dimension)).min(self.spent(account, dimension));
            self.forgiven[account][dimension as usize] += taken;
            let overrun = &mut self.overrun[account][dimension as usize];
            *overrun = overrun.saturating_sub(taken);
        }
    }

    fn adjust(&mut self, account: usize, limits: Limits) {
        self.limits[account] = limits;
        for dimension in Dimension::ALL {
            let used = self.used(account, dimension);
            let over = limits.of(dimension).map_or(0, |limit| used.saturating_sub(limit.into()));
            self.overrun[account][dimension as usize] = over;
        }
    }
}

/// What the demand needs with this cap, in numbers too wide to overflow.
fn needs(demand: &Demand, steps: u64, dimension: Dimension) -> u128 {
    let line = |per_step: u128, fixed: u128| {
        per_step.checked_mul(steps.into()).and_then(|sum| sum.checked_add(fixed)).unwrap_or(u128::MAX)
    };
    match dimension {
        Dimension::Activations => demand.activations.into(),
        Dimension::Tokens => line(demand.tokens_per_step.into(), demand.tokens_fixed.into()),
        Dimension::Spend => line(demand.picos_per_step, demand.picos_fixed).div_ceil(1_000),
    }
}

/// The highest cap that `fits`; more never fits where less does not.
fn highest(demand: &Demand, fits: impl Fn(u64) -> bool) -> Option<u64> {
    let (mut low, mut high) = (demand.steps_min, demand.steps_wanted);
    if !fits(low) {
        return None;
    }
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    Some(low)
}

/// The ledger as it is when everything that is held has come back, but for the activations.
fn with_all_returned(ledger: &Ledger, model: &Model) -> Ledger {
    let mut ledger = ledger.clone();
    for past in model.past.iter().filter(|past| past.used.is_none()) {
        let sent = units(past.held.activations, 0, 0);
        ledger.settle(past.id, sent).expect("countable").expect("is open");
    }
    ledger
}

fn check_ask(
    model: &mut Model,
    ledger: &mut Ledger,
    accounts: &[usize],
    demand: &Demand,
    contended: bool,
) -> Result<(), TestCaseError> {
    let expected = model.expected(accounts, demand, contended);
    let before: Vec<_> = (0..ACCOUNTS).map(|account| ledger.account(id(account)).cloned()).collect();
    let later = with_all_returned(ledger, model).ask(chain_of(accounts), demand, false, NOW);
    let verdict = ledger.ask(chain_of(accounts), demand, contended, NOW);
    match &verdict {
        Verdict::Granted(grant) => {
            prop_assert_eq!(expected, Expected::Granted(grant.steps));
            prop_assert!((demand.steps_min..=demand.steps_wanted).contains(&grant.steps));
            for dimension in Dimension::ALL {
                prop_assert_eq!(u128::from(grant.units.of(dimension)), needs(demand, grant.steps, dimension));
            }
            let held = grant.units;
            model.past.push(Past { id: grant.id, accounts: accounts.to_vec(), held, used: None });
            for account in accounts {
                for dimension in Dimension::ALL {
                    let limit = model.limits[*account].of(dimension).map(u128::from);
                    let used = model.used(*account, dimension);
                    prop_assert!(limit.is_none_or(|limit| used <= limit), "over: {used} of {limit:?}");
                }
            }
            return Ok(());
        }
        Verdict::Busy(at) => {
            prop_assert_eq!(expected, Expected::Busy);
            let account = accounts.iter().find(|account| id(**account) == *at).expect("one of the chain");
            let comes_back = |dimension| model.comes_back(*account, dimension) > 0;
            prop_assert!(Dimension::ALL.into_iter().any(comes_back), "nothing will come back there");
            let now = highest(demand, |steps| model.fits(accounts, demand, steps, |_, _, free| free));
            prop_assert!(model.later(accounts, demand) > now, "nothing that it waits for comes back");
            let is_uncountable =
                matches!(&later, Verdict::Denied(denial) if denial.code == DenialCode::UnboundedRequest);
            prop_assert!(matches!(later, Verdict::Granted(_)) || is_uncountable, "waited in vain: {later:?}");
        }
        Verdict::Denied(denial) => {
            match expected {
                Expected::Denied(None) => {}
                expected => prop_assert_eq!(expected, Expected::Denied(Some(denial.code))),
            }
            prop_assert!(matches!(later, Verdict::Denied(_)), "no, but later {later:?}");
        }
    }
    for (account, before) in before.into_iter().enumerate() {
        prop_assert_eq!(ledger.account(id(account)).cloned(), before, "without a grant nothing changes");
    }
    Ok(())
}

fn check_balances(model: &Model, ledger: &Ledger) -> Result<(), TestCaseError> {
    prop_assert_eq!(ledger.holds_open(), model.past.iter().filter(|past| past.used.is_none()).count());
    for account in 0..ACCOUNTS {
        let kept = ledger.account(id(account)).expect("loaded");
        prop_assert_eq!(kept.revoked_at.is_some(), model.revoked[account]);
        for dimension in Dimension::ALL {
            let balance = kept.balance(dimension);
            let parts = *balance.parts();
            prop_assert_eq!(parts.held, model.held(account, dimension));
            prop_assert_eq!(parts.spent, model.spent(account, dimension));
            prop_assert_eq!(parts.overrun, model.overrun[account][dimension as usize]);
            prop_assert_eq!(balance.free(), model.free(account, dimension));
            if let (Some(limit), Some(free)) = (parts.limit, balance.free()) {
                let explained = free + parts.held + parts.spent + parts.escrowed + parts.burnt;
                prop_assert_eq!(u128::from(limit) + parts.overrun, explained);
            }
        }
    }
    Ok(())
}

fn run(initial: [Limits; ACCOUNTS], steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut model = Model {
        limits: initial,
        revoked: [false; ACCOUNTS],
        overrun: [[0; 3]; ACCOUNTS],
        forgiven: [[0; 3]; ACCOUNTS],
        past: Vec::new(),
    };
    let mut ledger = ledger(&[(id(0), initial[0]), (id(1), initial[1]), (id(2), initial[2])]);
    for step in steps {
        match step {
            Step::Ask { chain, demand, contended } => {
                check_ask(&mut model, &mut ledger, &chain, &demand, contended)?;
            }
            Step::Settle { nth, used } if !model.past.is_empty() => {
                let nth = nth % model.past.len();
                let used = used.of(model.past[nth].held);
                let closed = ledger.settle(model.past[nth].id, used).expect("countable");
                prop_assert_eq!(closed.is_some(), model.past[nth].used.is_none());
                if closed.is_some() {
                    model.close(nth, used);
                }
            }
            Step::Settle { .. } => {}
            Step::Forgive { chain, units } => {
                prop_assert!(ledger.forgive(&chain_of(&chain), units));
                chain.iter().for_each(|account| model.forgive(*account, units));
            }
            Step::Adjust { account, limits } => {
                prop_assert!(ledger.adjust(id(account), limits));
                model.adjust(account, limits);
            }
            Step::Revoke { account } => {
                prop_assert_eq!(ledger.revoke(id(account), NOW), Some(!model.revoked[account]));
                model.revoked[account] = true;
            }
        }
        check_balances(&model, &ledger)?;
    }
    Ok(())
}

fn a_chain() -> impl Strategy<Value = Vec<usize>> {
    prop::sample::select(vec![vec![0], vec![0], vec![1], vec![0, 2], vec![1, 2], vec![0, 1, 2]])
}

/// Amounts of which several fit the limits below, and some of which none does.
fn an_amount() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0_u64..10_000,
        1 => Just(LIMIT_MAX),
        1 => Just(u64::MAX),
    ]
}

fn some_units() -> impl Strategy<Value = Units> {
    (0_u64..3, an_amount(), an_amount()).prop_map(|(a, t, s)| units(a, t, s))
}

fn some_limits() -> impl Strategy<Value = Limits> {
    let limit = || {
        prop_oneof![
            2 => Just(None),
            6 => (0_u64..40_000).prop_map(Some),
            1 => Just(Some(0)),
            1 => Just(Some(LIMIT_MAX)),
        ]
    };
    let few = prop_oneof![3 => Just(None), 1 => (0_u64..20).prop_map(Some)];
    (few, limit(), limit()).prop_map(|(a, t, s)| limits(a, t, s))
}

fn a_demand() -> impl Strategy<Value = Demand> {
    let fixed = || prop_oneof![2 => Just(0), 8 => 0_u64..3_000, 1 => Just(LIMIT_MAX), 1 => Just(u64::MAX)];
    let tokens_per_step = prop_oneof![1 => Just(0_u64), 4 => 1_u64..4, 1 => Just(u64::MAX)];
    // A price of nothing, less than a nano-dollar, several, and what no limit pays for.
    let picos_per_step = prop_oneof![
        2 => Just(0_u128), 3 => 1_u128..999, 3 => 1_000_u128..9_000, 1 => Just(u128::from(u64::MAX)), 1 => Just(u128::MAX)
    ];
    let least = prop_oneof![3 => Just(1_u64), 2 => 0_u64..64, 2 => 1_000_u64..1_050];
    let more = prop_oneof![3 => Just(0_u64), 6 => 1_u64..40_000, 1 => Just(u64::MAX)];
    (fixed(), fixed(), tokens_per_step, picos_per_step, least, more).prop_map(
        |(tokens_fixed, nanos_fixed, tokens_per_step, picos_per_step, steps_min, more)| Demand {
            activations: 1,
            tokens_fixed,
            picos_fixed: u128::from(nanos_fixed) * 1_000 / 3,
            tokens_per_step,
            picos_per_step,
            steps_wanted: steps_min.saturating_add(more),
            steps_min,
        },
    )
}

fn an_end() -> impl Strategy<Value = Used> {
    prop_oneof![
        2 => Just(Used::Void),
        6 => (0_u64..100).prop_map(Used::Part),
        2 => Just(Used::All),
        1 => some_units().prop_map(Used::Any),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (a_chain(), a_demand(), any::<bool>())
            .prop_map(|(chain, demand, contended)| Step::Ask { chain, demand, contended }),
        6 => (any::<usize>(), an_end()).prop_map(|(nth, used)| Step::Settle { nth, used }),
        1 => (a_chain(), some_units()).prop_map(|(chain, units)| Step::Forgive { chain, units }),
        2 => (0..ACCOUNTS, some_limits()).prop_map(|(account, limits)| Step::Adjust { account, limits }),
    ]
}

/// Revocations come at the end: nothing happens to a key after one.
fn a_schedule() -> impl Strategy<Value = Vec<Step>> {
    let ends = prop::collection::vec((0..ACCOUNTS).prop_map(|account| Step::Revoke { account }), 0..2);
    let rest = || prop::collection::vec(step(), 0..60);
    (rest(), ends, prop::collection::vec(step(), 0..10))
        .prop_map(|(before, ends, after)| [before, ends, after].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_model(
        initial in prop::array::uniform3(some_limits()),
        steps in a_schedule(),
    ) {
        run(initial, steps)?;
    }
}

/// A demand in steps of one token and one nano-dollar.
fn flexible(steps_min: u64, steps_wanted: u64) -> Demand {
    Demand { tokens_per_step: 1, picos_per_step: 1_000, steps_wanted, steps_min, ..Demand::ONE_ACTIVATION }
}

fn granted(ledger: &mut Ledger, chain: &[usize], demand: &Demand, contended: bool) -> Option<u64> {
    match ledger.ask(chain_of(chain), demand, contended, NOW) {
        Verdict::Granted(grant) => Some(grant.steps),
        Verdict::Busy(_) => None,
        Verdict::Denied(denial) => panic!("{denial}"),
    }
}

#[test]
fn shares_by_example() {
    // (limit, held by another, of an ancestor: limit, held; contended; least, wanted; granted)
    for (limit, held, above, contended, least, wanted, expected) in [
        // Alone, it gets everything that is free.
        (100_000, 0, None, false, 16, 128_000, Some(100_000)),
        (100_000, 0, None, false, 16, 500, Some(500)),
        // With others, a quarter, but something useful.
        (100_000, 20_000, None, false, 16, 128_000, Some(20_000)),
        (100_000, 0, None, true, 16, 128_000, Some(25_000)),
        (100_000, 98_000, None, false, 16, 128_000, Some(1_024)),
        (100_000, 98_000, None, false, 1_500, 128_000, Some(1_500)),
        (100_000, 98_000, None, false, 16, 500, Some(500)),
        // What is left is of little use: it waits, unless nothing comes back.
        (100_000, 99_000, None, false, 16, 128_000, None),
        (1_000, 0, None, true, 16, 128_000, Some(1_000)),
        // What can't do with less gets it whole, or waits.
        (100_000, 20_000, None, true, 80_000, 80_000, Some(80_000)),
        (100_000, 20_001, None, true, 80_000, 80_000, None),
        // Half of what is free above, while others hold something there.
        (100_000, 0, Some((50_000, 0)), false, 16, 128_000, Some(50_000)),
        (100_000, 0, Some((50_000, 10_000)), false, 16, 128_000, Some(20_000)),
        (100_000, 0, Some((50_000, 0)), true, 16, 128_000, Some(25_000)),
        // What is scarce does not come back, whatever others hold elsewhere: this is all there is.
        (500, 0, Some((1_000_000, 10_000)), false, 16, 4_096, Some(500)),
        (500, 0, Some((1_000_000, 10_000)), true, 16, 4_096, Some(500)),
        (100_000, 20_000, Some((500, 0)), false, 16, 4_096, Some(500)),
        (8_000, 0, Some((1_000_000, 10_000)), false, 16, 128_000, Some(8_000)),
        // It does, but no more than there is anyway.
        (500, 0, Some((600, 100)), false, 16, 4_096, Some(500)),
        (500, 0, Some((600, 101)), false, 16, 4_096, None),
    ] {
        let bound = limits(None, Some(limit), Some(limit));
        let above_bound = above.map_or(Limits::default(), |(limit, _)| limits(None, Some(limit), None));
        let mut ledger = ledger(&[(id(0), bound), (id(2), above_bound)]);
        let chain: &[usize] = if above.is_some() { &[0, 2] } else { &[0] };
        if held > 0 {
            hold(&mut ledger, chain_of(&[0]), units(1, held, held), NOW).expect("fits");
        }
        if let Some((_, held)) = above.filter(|(_, held)| *held > 0) {
            hold(&mut ledger, chain_of(&[2]), units(1, held, 0), NOW).expect("fits");
        }
        let steps = granted(&mut ledger, chain, &flexible(least, wanted), contended);
        assert_eq!(steps, expected, "{limit} {held} {above:?} {contended} {least}..{wanted}");
    }
}

#[test]
fn what_is_held_in_one_dimension_does_not_help_in_another() {
    let mut ledger = ledger(&[(id(0), limits(None, Some(500), Some(100_000)))]);
    hold(&mut ledger, chain_of(&[0]), units(1, 0, 50_000), NOW).expect("fits");
    assert_eq!(granted(&mut ledger, &[0], &flexible(16, 4_096), false), Some(500));
}

/// Only then is it of use to take back what other keys have counted out.
#[test]
fn short_above_by_example() {
    // (free above, counted out there; least, wanted; short)
    for (free, escrowed, least, wanted, expected) in [
        (1_000, 10, 1_000, 1_000, false),
        (1_000, 10, 1_001, 1_001, true),
        (1_000, 0, 1_001, 1_001, false),
        (1_000, 10, 16, 500, false),
        (1_000, 10, 16, 501, true),
    ] {
        let bound = limits(None, Some(free + escrowed), None);
        let mut ledger = ledger(&[(id(0), limits(None, Some(1), None)), (id(2), bound)]);
        if escrowed > 0 {
            ledger.escrow(chain_of(&[2]), units(1, escrowed, 0), NOW).expect("fits");
        }
        let demand = flexible(least, wanted);
        let is_short = |chain: &[usize]| ledger.is_short_above(&chain_of(chain), &demand);
        assert_eq!(is_short(&[0, 2]), expected, "{free} {escrowed} {least}..{wanted}");
        assert!(!is_short(&[0]) && !is_short(&[2]), "nothing is above it");
    }
}

#[test]
fn what_costs_nothing_is_not_bounded_by_money() {
    let mut ledger = ledger(&[(id(0), limits(None, None, Some(1)))]);
    let free = Demand { tokens_per_step: 1, steps_wanted: u64::MAX, ..Demand::ONE_ACTIVATION };
    assert_eq!(granted(&mut ledger, &[0], &free, false), Some(u64::MAX));
    assert_eq!(granted(&mut ledger, &[0], &free, true), Some(u64::MAX));
    assert_eq!(parts(&ledger, id(0), Dimension::Spend).held, 0);
    assert_eq!(parts(&ledger, id(0), Dimension::Tokens).held, 2 * u128::from(u64::MAX));
    // A thousandth of a nano-dollar is rounded up to a whole one: then all is used.
    let nearly = Demand { picos_fixed: 1, ..free };
    assert_eq!(granted(&mut ledger, &[0], &nearly, false), Some(u64::MAX));
    assert_eq!(parts(&ledger, id(0), Dimension::Spend).held, 1);
    assert_eq!(granted(&mut ledger, &[0], &nearly, false), None, "held, not spent");
}
