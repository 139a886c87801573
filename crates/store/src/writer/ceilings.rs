//! What many keys may use together: the accounts above a key.
//!
//! A key belongs to a project, was made by somebody, and may use an upstream credential. Each of them may have ceilings
//! per day, month and lifetime. Every window of a ceiling is an account, made when a key first needs it. Invariants:
//! - a hold debits the windows that it is granted in, and is settled in them whenever it ends;
//! - a ceiling that is set while its window is under way is charged at once with what its keys have used in it, and what
//!   they hold is held in it too from then on. A window that begins later begins with nothing, because every hold in it
//!   debits it.

use std::sync::Arc;

use till_core::key::KeyId;
use till_core::ledger::{Account, AccountChain, AccountId, HoldId, HoldKind, OpenHold, Uncountable};
use till_core::limit::{Limits, Units};
use till_core::policy::{Policy, PolicyOwner, Window};
use till_core::time::Timestamp;

use super::{Writer, key_of};
use crate::entity::{Charged, EntityKind, UsedEver, not_known};
use crate::error::StoreError;
use crate::key::KeyPlace;
use crate::start::load;

/// A ceiling above a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ceiling {
    owner: PolicyOwner,
    id: Arc<str>,
    window: Window,
    limits: Limits,
}

impl Ceiling {
    /// The account of its window that a moment lies in.
    fn account(&self, at: Timestamp) -> AccountId {
        self.window.account(self.owner, &self.id, at)
    }
}

/// What is above a key. Empty for one without ceilings, and then it costs nothing.
pub(super) type CeilingList = Arc<[Ceiling]>;

/// What was read of an owner who is about to get other ceilings.
pub(super) struct NewCeilings {
    owner: PolicyOwner,
    /// Its keys that are in memory.
    keys: Vec<KeyId>,
    /// The ceilings, and for those that are new what was used, as far as it is on disk alone.
    windows: Vec<(Window, Limits, Option<Units>)>,
}

/// The owners of a place, with the kind of thing that each is.
pub(super) fn owners(place: &KeyPlace) -> impl Iterator<Item = (PolicyOwner, EntityKind, &str)> {
    let maker = place.maker.as_deref().map(|id| {
        let kind = if id.starts_with("mem_") { EntityKind::Member } else { EntityKind::Token };
        (PolicyOwner::Maker, kind, id)
    });
    let credential = place.credential.as_deref();
    let credential = credential.map(|id| (PolicyOwner::Credential, EntityKind::Credential, id));
    let project = (PolicyOwner::Project, EntityKind::Project, place.project.as_str());
    [maker, credential, Some(project)].into_iter().flatten()
}

/// Whether something of this place belongs to an owner.
pub(super) fn belongs(place: &KeyPlace, owner: PolicyOwner, id: &str) -> bool {
    owners(place).any(|(of, _, by)| (of, by) == (owner, id))
}

/// The least over all of them.
pub(super) fn limits_of(ceilings: &[Ceiling]) -> Limits {
    ceilings.iter().fold(Limits::default(), |limits, ceiling| limits.with(ceiling.limits))
}

/// When the shortest window of these ceilings is over.
pub(super) fn window_ends(ceilings: &[Ceiling], now: Timestamp) -> Option<Timestamp> {
    let ends = ceilings.iter().filter_map(|ceiling| ceiling.window.days(now));
    ends.map(|(_, after)| Timestamp::of_day(after)).min()
}

fn uncountable(error: Uncountable) -> StoreError {
    StoreError::Invalid { reason: error.to_string() }
}

impl Writer {
    /// The rules of an owner. One that is not known has none: keys of before projects name no maker.
    pub(super) fn policy(&mut self, kind: EntityKind, id: &str) -> Result<Arc<Policy>, StoreError> {
        if let Some(policy) = self.policies.get(&(kind, id.into())) {
            return Ok(Arc::clone(policy));
        }
        let row = self.entity(kind, id)?;
        let policy = row.map_or_else(|| Ok(Policy::default()), |row| row.policy()).map(Arc::new)?;
        self.policies.insert((kind, id.into()), Arc::clone(&policy));
        Ok(policy)
    }

    /// What is above a key of this place.
    pub(super) fn ceilings_of(&mut self, place: &KeyPlace) -> Result<CeilingList, StoreError> {
        let mut ceilings = Vec::new();
        for (owner, kind, id) in owners(place) {
            let policy = self.policy(kind, id)?;
            let id: Arc<str> = id.into();
            let of_owner = policy.ceilings.set();
            ceilings.extend(of_owner.map(|(window, limits)| Ceiling {
                owner,
                id: Arc::clone(&id),
                window,
                limits,
            }));
        }
        Ok(ceilings.into())
    }

    /// The accounts that a hold of a loaded key debits now. They are loaded when this returns.
    pub(super) fn chain(&mut self, key: KeyId) -> Result<AccountChain, StoreError> {
        let id = AccountId::Key(key);
        let ceilings = match self.live.get(&key) {
            Some(live) if !live.ceilings.is_empty() => Arc::clone(&live.ceilings),
            _ => return Ok(AccountChain::of_key(id)),
        };
        let mut above = Vec::with_capacity(ceilings.len());
        for ceiling in ceilings.iter() {
            above.push(self.ensure_ceiling(ceiling)?);
        }
        Ok(AccountChain::new(id, &above))
    }

    /// Puts the account of a ceiling's window into memory, and makes it if this is the first time.
    fn ensure_ceiling(&mut self, ceiling: &Ceiling) -> Result<AccountId, StoreError> {
        let Ceiling { owner, id, window, limits } = ceiling;
        let account = ceiling.account(self.now);
        if self.ledger.account(account).is_none() {
            let found = self.backend.account(account)?;
            let found = found.filter(|_| !planted!(WindowForgotten) || *window == Window::Lifetime);
            if found.is_none() {
                self.dirty.insert(account);
            }
            self.ledger.load(account, found.unwrap_or_else(|| Account::new(*limits)));
        }
        // Set anew while nobody had loaded it.
        if self.ledger.account(account).is_some_and(|found| found.limits() != *limits) {
            self.ledger.adjust(account, *limits);
            self.dirty.insert(account);
        }
        self.ceiling_names
            .entry(account)
            .or_insert_with(|| format!("the ceiling per {} of {} {id}", window.as_str(), owner.as_str()));
        Ok(account)
    }

    /// What has to be read before the rules of something are set: an error changes nothing, and stops nobody else's.
    pub(super) fn rules_read(
        &mut self,
        kind: EntityKind,
        id: &str,
        before: &Policy,
        after: &Policy,
        charged: &[Charged],
        used: Option<&UsedEver>,
    ) -> Result<Option<NewCeilings>, StoreError> {
        let (old, new) = (before.ceilings, after.ceilings);
        let Some(owner) = kind.owner().filter(|_| old != new) else { return Ok(None) };
        let of_owner = |(_, live): &(&KeyId, &super::Live)| belongs(&live.place, owner, id);
        let all: Vec<KeyId> = self.live.iter().filter(of_owner).map(|(key, _)| *key).collect();
        let mut keys = Vec::with_capacity(all.len());
        for key in all {
            // After a write that failed its account is not in memory, and one that was being made may not exist.
            if self.ensure_loaded(key)? {
                keys.push(key);
            }
        }
        let mut windows = Vec::new();
        for (window, limits) in new.set() {
            // One that was there has counted already.
            let stored = match old.of(window) == Limits::default() {
                true => Some(self.stored_use(owner, id, window, charged, used)?),
                false => None,
            };
            windows.push((window, limits, stored));
        }
        Ok(Some(NewCeilings { owner, keys, windows }))
    }

    /// What an owner's keys have used in the window of now, as far as it is on disk alone: charges of calls that ended, or
    /// what was ever used by those that are not in memory.
    fn stored_use(
        &mut self,
        owner: PolicyOwner,
        id: &str,
        window: Window,
        charged: &[Charged],
        used: Option<&UsedEver>,
    ) -> Result<Units, StoreError> {
        let Some(days) = window.days(self.now) else {
            let read;
            let keys = match used.filter(|used| used.evictions == self.evictions) {
                Some(used) => &used.keys,
                None => {
                    read = self.backend.used_ever(owner, id)?;
                    &read
                }
            };
            let is_in_memory = |key: KeyId| {
                self.live.contains_key(&key) && self.ledger.account(AccountId::Key(key)).is_some()
            };
            let others = keys.iter().filter(|(key, _)| !is_in_memory(*key)).map(|(_, used)| *used);
            return Ok(others.fold(Units::default(), |sum, used| sum.zip(used, u64::saturating_add)));
        };
        let begun = charged.iter().find(|begun| begun.days == days);
        let rest = self.backend.charged(owner, id, days, begun.map(|begun| begun.last));
        let rest = rest.map_err(|error| not_known(error, window))?;
        Ok(begun.map_or(Units::default(), |begun| begun.units).zip(rest, u64::saturating_add))
    }

    /// The rest: what calls of this batch were charged with, or what was ever used up by those that are in memory.
    fn loaded_use(&self, owner: PolicyOwner, id: &str, window: Window) -> Units {
        let add = |sum: Units, more: Units| sum.zip(more, u64::saturating_add);
        let is_of_owner =
            |key: KeyId| self.live.get(&key).is_some_and(|live| belongs(&live.place, owner, id));
        match window.days(self.now) {
            Some((first, after)) => {
                let records =
                    self.batch.usage.iter().filter(|record| (first..after).contains(&record.at.day()));
                let charged = records.filter(|record| is_of_owner(record.key)).map(|record| record.charged);
                charged.fold(Units::default(), add)
            }
            None => {
                let keys = self.live.keys().filter(|key| is_of_owner(**key));
                let accounts = keys.filter_map(|key| self.ledger.account(AccountId::Key(*key)));
                accounts.map(Account::used_up).fold(Units::default(), add)
            }
        }
    }

    /// The rules of something were set: its keys have other ceilings from now on.
    pub(super) fn policy_set(
        &mut self,
        kind: EntityKind,
        id: &str,
        after: Policy,
        ceilings: Option<NewCeilings>,
    ) -> Result<(), StoreError> {
        if kind.owner().is_some() {
            self.policies.insert((kind, id.into()), Arc::new(after));
        }
        let Some(NewCeilings { owner, keys, windows }) = ceilings else { return Ok(()) };
        // What is counted out ahead is under the old ceilings.
        for key in &keys {
            self.recall(*key);
        }
        for (window, limits, stored) in windows {
            let ceiling = Ceiling { owner, id: id.into(), window, limits };
            let account = self.ensure_ceiling(&ceiling)?;
            if let Some(stored) = stored {
                let used = stored.zip(self.loaded_use(owner, id, window), u64::saturating_add);
                self.charge_what_was_used(account, used)?;
                self.hold_what_is_held(&ceiling)?;
            }
        }
        for key in keys {
            let place = Arc::clone(&self.live.get(&key).expect("seen before").place);
            let ceilings = self.ceilings_of(&place)?;
            let live = self.live.get_mut(&key).expect("seen above");
            live.ceilings = ceilings;
            let options = live.terms.options;
            self.renew(key, options);
            self.key_changed(key);
        }
        Ok(())
    }

    /// A ceiling is set while its window is under way: what its keys have used in it so far is charged, but for what the
    /// account knows from a ceiling that was there earlier.
    fn charge_what_was_used(&mut self, account: AccountId, used: Units) -> Result<(), StoreError> {
        let found = self.ledger.account(account).expect("the caller has loaded it");
        let missing = used.zip(found.used_up(), u64::saturating_sub);
        self.ledger.charge(account, missing).map_err(uncountable)?;
        self.dirty.insert(account);
        Ok(())
    }

    /// … and what is held for their calls is held in it too, where their grant lies in its window. Calls that were granted
    /// out of an escrow lie in any window since it was opened: they count now.
    fn hold_what_is_held(&mut self, ceiling: &Ceiling) -> Result<(), StoreError> {
        let account = ceiling.account(self.now);
        let is_below = |live: &super::Live| belongs(&live.place, ceiling.owner, &ceiling.id);
        // Whoever has an open hold stays in memory.
        let counts = |hold: &OpenHold| {
            key_of(hold.accounts.key()).and_then(|key| self.live.get(&key)).is_some_and(is_below)
                && (hold.kind != HoldKind::Call || ceiling.account(hold.at) == account)
        };
        let open = self.ledger.open_holds().filter(|(_, hold)| counts(hold));
        let open: Vec<HoldId> = open.map(|(id, _)| id).collect();
        for id in open {
            if self.ledger.join(id, account).map_err(uncountable)? {
                self.batch.hold_changed(id);
            }
        }
        Ok(())
    }

    /// The accounts that an orphan was charged to: those that it was held in, and those of ceilings that were set since and
    /// in whose windows it lies, because these were charged with it then. They are loaded when this returns.
    pub(super) fn charged_to(&mut self, orphan: &OpenHold) -> Result<AccountChain, StoreError> {
        for account in orphan.accounts.iter() {
            if self.ledger.account(account).is_none() {
                load(self.backend.as_mut(), &mut self.ledger, account)?;
            }
        }
        let key = orphan.accounts.key();
        let ceilings = key_of(key).and_then(|key| self.live.get(&key)).map(|live| Arc::clone(&live.ceilings));
        let mut above = orphan.accounts.ancestors().to_vec();
        for ceiling in ceilings.iter().flat_map(|all| all.iter()) {
            if ceiling.account(orphan.at) == ceiling.account(self.now) {
                above.push(self.ensure_ceiling(ceiling)?);
            }
        }
        Ok(AccountChain::new(key, &above))
    }

    /// Takes back what is counted out for other keys under the same ceilings: it is free again for this one. `true` when
    /// something came back. Once per batch: nothing is counted out again before its end.
    pub(super) fn recall_beside(&mut self, chain: &AccountChain) -> bool {
        if chain.ancestors().iter().all(|ceiling| self.recalled.contains(ceiling)) {
            return false;
        }
        self.recalled.extend(chain.ancestors());
        let mut any = false;
        for (id, _) in self.shared.escrows.all() {
            let Some(hold) = self.ledger.open_hold(id) else { continue };
            let shares = hold.accounts.ancestors().iter().any(|one| chain.ancestors().contains(one));
            if shares && let Some(key) = key_of(hold.accounts.key()) {
                any |= self.recall(key);
            }
        }
        any
    }

    /// Forgets the ceilings whose windows no open hold is in. They are loaded again when they are needed.
    pub(super) fn evict_ceilings(&mut self) {
        self.ledger.evict_ceilings();
        self.ceiling_names.retain(|account, _| self.ledger.account(*account).is_some());
    }
}
