//! The only thing that decides whether units are left: a state machine without clock, disk or network.
//!
//! A *hold* sets units aside in one or more accounts (the key, then its ancestors) in all three
//! dimensions, all or nothing. It ends with a *settle* (what was really used) or a *void* (nothing was
//! sent). The owner of a [`Ledger`] loads accounts before it asks about them, makes what changed
//! durable, and only then acts on the answer.
//!
//! Invariants, asserted after every event for every account that it touched:
//! - per account and dimension `limit + overrun = free + held + spent + escrowed + burnt`;
//! - a hold is granted only out of `free`, so what was granted never exceeds a limit;
//! - an account with an open hold stays loaded, so a settle always finds it;
//! - an *escrow* is a hold for requests to come: they are granted out of it without asking the ledger, and settled in it
//!   one after the other. It is counted as escrowed, not held, and is lost in a crash like any other hold;
//! - a hold id is given out once. Closing a hold that is not open, for the second time or out of order,
//!   changes nothing.
//!
//! Amounts are summed in 128 bits: whatever a lying upstream reports fits, and nothing is clamped,
//! wrapped or lost.

mod account;
mod ask;
mod balance;
mod escrow;
mod refusal;
#[cfg(test)]
mod tests;

use std::collections::hash_map::Entry;

pub use account::{Account, AccountId};
pub use ask::{ANCESTOR_SHARE_DIVISOR, SHARE_DIVISOR, USEFUL_STEPS, Verdict};
pub use balance::{Balance, BalanceParts, Unbalanced, Uncountable};

use crate::denial::{Denial, DenialCode};
use crate::id_map::IdMap;
use crate::key::{KeyId, KeyStatus};
use crate::lifetime::Lifetime;
use crate::limit::{Limits, Units};
use crate::time::Timestamp;

/// Names a hold for ever: no two holds of a store have the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HoldId {
    /// Number of the start that granted it; every start has a higher one.
    pub incarnation: u64,
    /// 1, 2, 3 … within that start.
    pub number: u64,
}

/// The accounts that a hold debits: the key first, then its ancestors, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountChain {
    key: AccountId,
    /// Empty for a key without ancestors, and then it owns no memory.
    ancestors: Box<[AccountId]>,
}

impl AccountChain {
    /// A key that stands alone.
    pub fn of_key(key: AccountId) -> Self {
        Self { key, ancestors: Box::default() }
    }

    /// A key with its ancestors. One that is named twice is still debited once.
    pub fn new(key: AccountId, ancestors: &[AccountId]) -> Self {
        let mut seen: Vec<AccountId> = Vec::with_capacity(ancestors.len());
        for ancestor in ancestors {
            if *ancestor != key && !seen.contains(ancestor) {
                seen.push(*ancestor);
            }
        }
        Self { key, ancestors: seen.into_boxed_slice() }
    }

    /// The account of the key itself.
    pub fn key(&self) -> AccountId {
        self.key
    }

    /// Whether it has accounts beside that of the key.
    pub fn has_ancestors(&self) -> bool {
        !self.ancestors.is_empty()
    }

    /// The accounts that it shares with others.
    pub fn ancestors(&self) -> &[AccountId] {
        &self.ancestors
    }

    /// All accounts, the key first.
    pub fn iter(&self) -> impl Iterator<Item = AccountId> + '_ {
        std::iter::once(self.key).chain(self.ancestors.iter().copied())
    }
}

/// What a hold is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldKind {
    /// One request.
    Call,
    /// Requests to come.
    Escrow {
        /// How many of its requests were settled.
        settled: u64,
    },
}

/// A hold whose outcome is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenHold {
    /// What it debits.
    pub accounts: AccountChain,
    /// What it is for.
    pub kind: HoldKind,
    /// How much is set aside in each account.
    pub units: Units,
    /// When it was granted.
    pub at: Timestamp,
}

/// The answer to a hold that is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its name.
    pub id: HoldId,
    /// What is set aside.
    pub units: Units,
    /// The output cap that was granted: what is asked for, or less.
    pub steps: u64,
    /// What is left of each limit now, the least over all accounts; `None` is unlimited.
    pub remaining: Limits,
}

/// The answer to a settle or void that closed a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The hold as it was.
    pub hold: OpenHold,
    /// Accounts whose limit is broken now: more was used than they had. They are exhausted until an
    /// admin changes their limit.
    pub overrun: Vec<AccountId>,
}

/// A loaded account and how many open holds keep it loaded.
#[derive(Clone, Debug)]
struct Loaded {
    account: Account,
    open_holds: usize,
}

/// The accounts that are in memory and the holds that are open.
#[derive(Clone, Debug)]
pub struct Ledger {
    accounts: IdMap<AccountId, Loaded>,
    holds: IdMap<HoldId, OpenHold>,
    incarnation: u64,
    /// Number of the newest hold of this incarnation.
    last_number: u64,
    fenced: bool,
    stopped: bool,
}

impl Ledger {
    /// An empty ledger. `incarnation` must be higher than that of any ledger before it on the same
    /// store. A `fenced` one denies everything.
    pub fn new(incarnation: u64, fenced: bool) -> Self {
        Self {
            accounts: IdMap::default(),
            holds: IdMap::default(),
            incarnation,
            last_number: 0,
            fenced,
            stopped: false,
        }
    }

    /// Replaces a hold by what was used, which may be more than was held: the excess comes from what is
    /// free, and what is not there either is recorded as overrun.
    ///
    /// `None` when no such hold is open: it was closed before, or never granted.
    ///
    /// # Errors
    /// The sums do not fit 128 bits any more. Nothing changed and the hold stays open.
    pub fn settle(&mut self, id: HoldId, used: Units) -> Result<Option<Closed>, Uncountable> {
        let Entry::Occupied(entry) = self.holds.entry(id) else {
            return Ok(None);
        };
        let hold = entry.get();
        let overrun = replace(&mut self.accounts, hold, hold.units, used, 1)?;
        let hold = entry.remove();
        Ok(Some(Closed { hold, overrun }))
    }

    /// Takes back what an orphan was charged with: an admin found out that it was not used. The units go from spent to
    /// free. What is not spent any more, because limits were set anew since, stays as it is.
    pub fn forgive(&mut self, accounts: &AccountChain, units: Units) -> bool {
        if accounts.iter().any(|id| !self.accounts.contains_key(&id)) {
            return false;
        }
        for id in accounts.iter() {
            let account = &mut self.accounts.get_mut(&id).expect("checked above").account;
            account.forgive(units);
            account.assert_balanced();
        }
        true
    }

    /// Gives a hold back, because it is provable that nothing was sent. `None` as in [`Ledger::settle`].
    ///
    /// # Errors
    /// Never for an account that was loaded with sound figures; the type is that of a settle.
    pub fn void(&mut self, id: HoldId) -> Result<Option<Closed>, Uncountable> {
        self.settle(id, Units::default())
    }

    /// Gives an account other limits. What was used stays; a limit below it leaves nothing free, and
    /// the difference is overrun. `false` when the account is not loaded.
    pub fn adjust(&mut self, id: AccountId, limits: Limits) -> bool {
        let Some(loaded) = self.accounts.get_mut(&id) else {
            return false;
        };
        loaded.account.adjust(limits);
        loaded.account.assert_balanced();
        true
    }

    /// Charges an account with what was used before it was asked: a ceiling that is set while its window is under way.
    /// What is not free is overrun. `false` when the account is not loaded.
    ///
    /// # Errors
    /// The sums do not fit 128 bits any more. Nothing changed.
    pub fn charge(&mut self, id: AccountId, used: Units) -> Result<bool, Uncountable> {
        let Some(loaded) = self.accounts.get_mut(&id) else {
            return Ok(false);
        };
        let mut account = loaded.account.clone();
        account.settle(HoldKind::Call, Units::default(), used)?;
        account.assert_balanced();
        loaded.account = account;
        Ok(true)
    }

    /// Adds an account to the chain of an open hold, as if it had been there when the hold was granted: a ceiling that is
    /// set while it is open. What is not free there is overrun. `false`, and nothing happens, when the hold is not open,
    /// the account is not loaded or is in the chain already.
    ///
    /// # Errors
    /// The sums do not fit 128 bits any more. Nothing changed.
    pub fn join(&mut self, id: HoldId, account: AccountId) -> Result<bool, Uncountable> {
        let (Some(hold), Some(loaded)) = (self.holds.get_mut(&id), self.accounts.get_mut(&account)) else {
            return Ok(false);
        };
        if hold.accounts.iter().any(|one| one == account) {
            return Ok(false);
        }
        loaded.account.set_aside(hold.kind, hold.units)?;
        loaded.open_holds += 1;
        loaded.account.assert_balanced();
        let ancestors = [hold.accounts.ancestors(), &[account]].concat();
        hold.accounts = AccountChain::new(hold.accounts.key, &ancestors);
        Ok(true)
    }

    /// The open holds, in no order.
    pub fn open_holds(&self) -> impl Iterator<Item = (HoldId, &OpenHold)> {
        self.holds.iter().map(|(id, hold)| (*id, hold))
    }

    /// What is left of the limits of a chain, the least of all its accounts; `None` when one of them is not loaded.
    pub fn remaining(&self, accounts: &AccountChain) -> Option<Limits> {
        let chain = self.chain(accounts)?;
        Some(chain.fold(Limits::default(), |least, (_, loaded)| loaded.account.remaining_with(least)))
    }

    /// Ends an account for ever. The first revocation counts: `Some(true)` if it was this one, `None`
    /// when the account is not loaded.
    pub fn revoke(&mut self, id: AccountId, now: Timestamp) -> Option<bool> {
        let account = &mut self.accounts.get_mut(&id)?.account;
        let first = account.revoked_at.is_none();
        account.revoked_at.get_or_insert(now);
        Some(first)
    }

    /// Notes that the time of an account is over, if it is. It then stays over whatever the clock says. `true` when
    /// this was the first to see it.
    pub fn expire(&mut self, id: AccountId, now: Timestamp) -> bool {
        let Some(loaded) = self.accounts.get_mut(&id) else {
            return false;
        };
        let is_news =
            loaded.account.expired_at.is_none() && loaded.account.is_expired(loaded.open_holds > 0, now);
        if is_news {
            loaded.account.expired_at = Some(now);
        }
        is_news
    }

    /// Gives an account other bounds in time. If they are not over yet it works again, although the old ones were.
    /// `false` when the account is not loaded.
    pub fn set_lifetime(&mut self, id: AccountId, lifetime: Lifetime, now: Timestamp) -> bool {
        let Some(loaded) = self.accounts.get_mut(&id) else {
            return false;
        };
        let account = &mut loaded.account;
        (account.lifetime, account.idle_from, account.expired_at) = (lifetime, now, None);
        true
    }

    /// Stops an account, or lets it go on. The first of several pauses counts. `None` when the account is not loaded,
    /// otherwise whether something changed.
    pub fn set_paused(&mut self, id: AccountId, paused: bool, now: Timestamp) -> Option<bool> {
        let account = &mut self.accounts.get_mut(&id)?.account;
        let changes = account.paused_at.is_some() != paused;
        if changes {
            account.paused_at = paused.then_some(now);
        }
        Some(changes)
    }

    /// A request of the account has ended: it is idle from now on. Only of interest where idling ends it.
    pub fn rest(&mut self, id: AccountId, now: Timestamp) {
        if let Some(loaded) = self.accounts.get_mut(&id)
            && loaded.account.lifetime.idle_expiry_seconds.is_some()
        {
            loaded.account.last_used_at = loaded.account.last_used_at.max(Some(now));
        }
    }

    /// What a loaded account may still do.
    pub fn status(&self, id: AccountId, now: Timestamp) -> Option<KeyStatus> {
        self.accounts.get(&id).map(|loaded| loaded.account.status(loaded.open_holds > 0, now))
    }

    /// Stops everything, or lets it go on: the kill switch.
    pub fn set_stopped(&mut self, stopped: bool) {
        self.stopped = stopped;
    }

    /// Whether the kill switch is on.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Whether everything is denied.
    pub fn is_fenced(&self) -> bool {
        self.fenced
    }

    /// Ends the fence. Holds are granted under `incarnation` from now on, which must be higher.
    pub fn unfence(&mut self, incarnation: u64) {
        assert!(incarnation > self.incarnation, "an incarnation number only grows");
        self.fenced = false;
        self.incarnation = incarnation;
        self.last_number = 0;
    }

    /// Puts an account into memory, as it is on disk. One that is there already stays as it is.
    pub fn load(&mut self, id: AccountId, account: Account) {
        account.assert_balanced();
        self.accounts.entry(id).or_insert(Loaded { account, open_holds: 0 });
    }

    /// Puts an open hold into memory whose units the loaded accounts already count as held or escrowed.
    /// `false`, and nothing happens, when an account is missing, counts less than that, or the
    /// hold is there already: what is on disk contradicts itself.
    pub fn restore_hold(&mut self, id: HoldId, hold: OpenHold) -> bool {
        let covered =
            |account| self.accounts.get(&account).is_some_and(|loaded| loaded.account.covers(&hold));
        if self.holds.contains_key(&id) || !hold.accounts.iter().all(covered) {
            return false;
        }
        for account in hold.accounts.iter() {
            self.accounts.get_mut(&account).expect("checked above").open_holds += 1;
        }
        if id.incarnation == self.incarnation {
            self.last_number = self.last_number.max(id.number);
        }
        self.holds.insert(id, hold);
        true
    }

    /// Takes an account out of memory. `false` when open holds still need it.
    pub fn evict(&mut self, id: AccountId) -> bool {
        match self.accounts.entry(id) {
            Entry::Occupied(entry) if entry.get().open_holds == 0 => {
                entry.remove();
                true
            }
            Entry::Occupied(_) => false,
            Entry::Vacant(_) => true,
        }
    }

    /// Takes the accounts of ceilings out of memory that no open hold needs.
    pub fn evict_ceilings(&mut self) {
        self.accounts.retain(|id, loaded| loaded.open_holds > 0 || matches!(id, AccountId::Key(_)));
    }

    /// Forgets every account and hold, because memory may differ from disk. Ids are not given out again.
    pub fn forget_all(&mut self) {
        self.accounts.clear();
        self.holds.clear();
    }

    /// A loaded account.
    pub fn account(&self, id: AccountId) -> Option<&Account> {
        self.accounts.get(&id).map(|loaded| &loaded.account)
    }

    /// Whether open holds keep the account in memory.
    pub fn is_pinned(&self, id: AccountId) -> bool {
        self.accounts.get(&id).is_some_and(|loaded| loaded.open_holds > 0)
    }

    /// An open hold.
    pub fn open_hold(&self, id: HoldId) -> Option<&OpenHold> {
        self.holds.get(&id)
    }

    /// How many accounts are loaded.
    pub fn accounts_loaded(&self) -> usize {
        self.accounts.len()
    }

    /// How many holds are open.
    pub fn holds_open(&self) -> usize {
        self.holds.len()
    }
}

/// Replaces `held` units of a hold by what was used, in every account of its chain; `ended` is 1 when that ends it. Says
/// which limits are broken now. On an error nothing has changed.
fn replace(
    accounts: &mut IdMap<AccountId, Loaded>,
    hold: &OpenHold,
    held: Units,
    used: Units,
    ended: usize,
) -> Result<Vec<AccountId>, Uncountable> {
    if !hold.accounts.ancestors.is_empty() {
        for account in hold.accounts.iter() {
            // Compute and discard, so that nothing has changed if a later account can't count it.
            accounts[&account].account.clone().settle(hold.kind, held, used)?;
        }
    }
    let mut overrun = Vec::new();
    for account in hold.accounts.iter() {
        let loaded = accounts.get_mut(&account).expect("an open hold keeps its accounts loaded");
        loaded.account.settle(hold.kind, held, used)?;
        loaded.open_holds = loaded.open_holds.checked_sub(ended).expect("every open hold was counted");
        loaded.account.assert_balanced();
        if loaded.account.is_overrun() {
            overrun.push(account);
        }
    }
    Ok(overrun)
}

/// The denial while everything is fenced.
pub fn fenced_denial() -> Denial {
    refusal::fenced()
}

/// The denial while the kill switch is on.
pub fn stopped_denial() -> Denial {
    refusal::stopped()
}

/// The denial for a key that has no row.
pub fn unknown_denial(key: KeyId) -> Denial {
    refusal::unknown(AccountId::Key(key))
}

/// The denial when a key was revoked while it was in use.
pub fn revoked_denial(key: KeyId) -> Denial {
    refusal::revoked(AccountId::Key(key), AccountId::Key(key))
}

/// The denial when the time of a key ran out while it was in use.
pub fn expired_denial(key: KeyId) -> Denial {
    refusal::expired(AccountId::Key(key), AccountId::Key(key))
}

/// The denial when a key was paused while it was in use.
pub fn paused_denial(key: KeyId) -> Denial {
    refusal::paused(AccountId::Key(key), AccountId::Key(key))
}

/// The denial while the process stops.
pub fn shutting_down_denial() -> Denial {
    Denial::new(
        DenialCode::ShuttingDown,
        "This till instance is shutting down; nothing was sent. Try again in a moment.",
    )
}
