//! What many keys may use together: the accounts above a key.
//!
//! A key belongs to a project, was made by somebody, and may use an upstream credential. Each of them may have ceilings
//! per day, month and lifetime. Every window of a ceiling is an account, made when a key first needs it. Invariants:
//! - a hold debits the windows that it is granted in, and is settled in them whenever it ends;
//! - a ceiling that is set while its window is under way is charged at once with what its keys have used in it, and what
//!   they hold is held in it too from then on. A window that begins later begins with nothing, because every hold in it
//!   debits it.

use std::collections::HashSet;
use std::sync::Arc;

use till_core::key::KeyId;
use till_core::ledger::{Account, AccountChain, AccountId, HoldId, HoldKind, OpenHold, Uncountable};
use till_core::limit::{Limits, Units};
use till_core::policy::{Policy, PolicyOwner, Window};
use till_core::time::Timestamp;

use super::{Writer, key_of};
use crate::entity::EntityKind;
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

fn owner_of(kind: EntityKind) -> Option<PolicyOwner> {
    match kind {
        EntityKind::Project => Some(PolicyOwner::Project),
        EntityKind::Member | EntityKind::Token => Some(PolicyOwner::Maker),
        EntityKind::Credential => Some(PolicyOwner::Credential),
        EntityKind::Session => None,
    }
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

    /// What calls of these keys were charged that were granted in the window of now and have ended.
    fn used_in(&mut self, keys: &Arc<HashSet<KeyId>>, window: Window) -> Result<Units, StoreError> {
        let Some((first, after)) = window.days(self.now) else {
            return self.used_ever(keys);
        };
        let used = self.backend.charged(keys, (first, after))?;
        let of_batch = self.batch.usage.iter();
        let of_batch =
            of_batch.filter(|record| keys.contains(&record.key) && (first..after).contains(&record.at.day()));
        Ok(of_batch.fold(used, |sum, record| sum.zip(record.charged, u64::saturating_add)))
    }

    fn used_ever(&mut self, keys: &HashSet<KeyId>) -> Result<Units, StoreError> {
        let mut used = Units::default();
        for key in keys {
            let id = AccountId::Key(*key);
            let of_key = match self.ledger.account(id) {
                Some(account) => account.used_up(),
                None => self.backend.account(id)?.map_or(Units::default(), |account| account.used_up()),
            };
            used = used.zip(of_key, u64::saturating_add);
        }
        Ok(used)
    }

    /// The rules of something were set: its keys have other ceilings from now on.
    pub(super) fn policy_set(
        &mut self,
        kind: EntityKind,
        id: &str,
        before: &Policy,
        after: Policy,
    ) -> Result<(), StoreError> {
        let Some(owner) = owner_of(kind) else { return Ok(()) };
        let (old, new) = (before.ceilings, after.ceilings);
        self.policies.insert((kind, id.into()), Arc::new(after));
        if old == new {
            return Ok(());
        }
        // What is counted out ahead is under the old ceilings.
        let of_owner = |(_, live): &(&KeyId, &super::Live)| belongs(&live.place, owner, id);
        let all: Vec<KeyId> = self.live.iter().filter(of_owner).map(|(key, _)| *key).collect();
        let mut keys = Vec::with_capacity(all.len());
        for key in all {
            // After a write that failed its account is not in memory, and one that was being made may not exist.
            if self.ensure_loaded(key)? {
                self.recall(key);
                keys.push(key);
            }
        }
        for (window, limits) in new.set() {
            let ceiling = Ceiling { owner, id: id.into(), window, limits };
            let account = self.ensure_ceiling(&ceiling)?;
            if old.of(window) == Limits::default() {
                let keys = Arc::new(self.keys_of(owner, id)?.into_iter().collect());
                self.charge_what_was_used(&keys, window, account)?;
                self.hold_what_is_held(&keys, &ceiling)?;
            }
        }
        for key in keys {
            let place = Arc::clone(&self.live.get(&key).expect("seen above").place);
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
    fn charge_what_was_used(
        &mut self,
        keys: &Arc<HashSet<KeyId>>,
        window: Window,
        account: AccountId,
    ) -> Result<(), StoreError> {
        let used = self.used_in(keys, window)?;
        let found = self.ledger.account(account).expect("the caller has loaded it");
        let missing = used.zip(found.used_up(), u64::saturating_sub);
        self.ledger.charge(account, missing).map_err(uncountable)?;
        self.dirty.insert(account);
        Ok(())
    }

    /// … and what is held for their calls is held in it too, where their grant lies in its window. Calls that were granted
    /// out of an escrow lie in any window since it was opened: they count now.
    fn hold_what_is_held(&mut self, keys: &HashSet<KeyId>, ceiling: &Ceiling) -> Result<(), StoreError> {
        let account = ceiling.account(self.now);
        let counts = |hold: &OpenHold| {
            key_of(hold.accounts.key()).is_some_and(|key| keys.contains(&key))
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
