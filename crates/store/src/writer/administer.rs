//! What administrators do: each action and its audit entry go into the same transaction.

use serde_json::json;
use till_core::audit::Actor;
use till_core::key::KeyId;
use till_core::ledger::{self, Account, AccountId, HoldId};
use till_core::limit::{Dimension, LIMIT_MAX};
use till_core::policy::Proposed;
use till_core::time::Month;

use super::ceilings::{belongs, owners};
use super::update::{lifetime_json, limits_json};
use super::{Writer, key_of, units_json};
use crate::backend::{Instance, KeyRow};
use crate::claim::NewClaim;
use crate::command::{Action, Administration};
use crate::entity::EntityKind;
use crate::error::StoreError;
use crate::key::{KeyPlace, NewKey};
use crate::start::{contradiction, detail, next_mark, record};
use crate::usage_record::hold_name;

impl Writer {
    /// Applies an action to the current batch; `false` when what it is about does not exist.
    pub(super) fn administer(&mut self, what: Administration) -> Result<bool, StoreError> {
        let Administration { action, actor } = what;
        self.is_half_done = false;
        match action {
            Action::KeyCreate(key, claim) => self.key_create(*key, claim, &actor),
            Action::ClaimTake(id) => self.claim_take(id, &actor),
            Action::ClaimExpire(id) => self.claim_expire(id),
            Action::KeyRevoke(keys) => self.keys_revoke(&keys, &actor),
            Action::KeyRevokeFrom(key, version) => self.key_revoke_from(key, version, &actor),
            Action::KeyUpdate(key, change) => self.key_update(key, *change, &actor),
            Action::EntityPut(change) => self.entity_put(*change, &actor),
            Action::EndingDone(owner, id) => {
                self.batch.endings_done.push((owner, id));
                Ok(true)
            }
            Action::IndexKeyPut(wrapped) => {
                self.index_key_put(wrapped, &actor)?;
                Ok(true)
            }
            Action::MasterKey(action) => self.master_key(action, &actor),
            Action::FenceAccept => self.fence_accept(&actor),
            Action::KillSwitch { on, reason } => Ok(self.kill_switch(on, reason, &actor)),
            Action::HoldForgive(id) => self.hold_forgive(id, &actor),
            Action::AuditSignWith(keys) => {
                self.sign_log_with(*keys)?;
                Ok(true)
            }
            Action::AuditSeal => {
                self.log.want_seal();
                Ok(true)
            }
            Action::Audit { action, target, detail, settings } => {
                self.audit(&actor, &action, &target, detail);
                if settings.is_some() {
                    self.batch.log.settings = settings;
                }
                Ok(true)
            }
        }
    }

    fn key_create(
        &mut self,
        mut key: NewKey,
        claim: Option<NewClaim>,
        actor: &Actor,
    ) -> Result<bool, StoreError> {
        let too_high =
            |dimension: &Dimension| key.limits.of(*dimension).is_some_and(|limit| limit > LIMIT_MAX);
        if let Some(dimension) = Dimension::ALL.iter().find(|dimension| too_high(dimension)) {
            return Err(StoreError::Invalid {
                reason: format!("the limit of {dimension} is above {LIMIT_MAX}"),
            });
        }
        if self.ensure_loaded(key.id)? {
            return Err(StoreError::Conflict { what: key.id.to_string() });
        }
        if let Some(claim) = &claim {
            self.claim_check(claim)?;
        }
        self.master_key_check(&key)?;
        let id = AccountId::Key(key.id);
        key.lifetime
            .check(false, self.now)
            .map_err(|error| StoreError::Invalid { reason: error.to_string() })?;
        self.check_rules(&mut key)?;
        let ceilings = self.ceilings_of(&key.place)?;
        self.is_half_done = true;
        self.ledger.load(id, Account::new(key.limits));
        self.ledger.set_lifetime(id, key.lifetime, self.now);
        self.batch.lifetimes.push(id);
        self.enliven(key.id, key.options, key.scope.clone(), key.place.clone(), ceilings);
        self.dirty.insert(id);
        let mut detail = json!({"provider": key.provider, "origin": key.origin, "limits": limits_json(key.limits), "clamp": key.options.clamp, "durability": key.options.durability.as_str(), "dangerAllowUnbounded": key.options.allow_unbounded, "lifetime": lifetime_json(&key.lifetime), "rate": key.options.rates});
        detail["project"] = json!(key.place.project);
        if !key.metadata.is_empty() {
            detail["metadata"] = json!(key.metadata);
        }
        if let Some(credential) = &key.place.credential {
            detail["upstream"] = json!(credential);
        }
        if let Some(hash) = self.log.token_hash(key.fingerprint) {
            detail["tokenHash"] = json!(hash);
        }
        if !key.scope.is_empty() {
            detail["scope"] = json!(key.scope);
        }
        if let Some(claim) = claim {
            detail["claim"] = json!(true);
            detail["claimExpiresAt"] = json!(claim.expires_at.to_string());
            self.batch.claims.push((key.id, claim));
        }
        self.audit(actor, "key.create", &key.id.to_string(), detail.to_string());
        self.batch.keys.push(KeyRow { key, created_at: self.now });
        Ok(true)
    }

    /// Whether all who have a say allow the key; where they name models and it does not, it gets those.
    fn check_rules(&mut self, key: &mut NewKey) -> Result<(), StoreError> {
        self.check_project(&key.place.project)?;
        for (owner, kind, id) in owners(&key.place.clone()) {
            if kind == EntityKind::Credential {
                self.check_credential(id, key)?;
            }
            let policy = self.policy(kind, id)?;
            policy.narrow(&mut key.scope);
            let proposed = Proposed {
                provider: &key.provider,
                limits: key.limits,
                allow_unbounded: key.options.allow_unbounded,
                lifetime: &key.lifetime,
                scope: &key.scope,
            };
            policy.allows(owner, proposed, self.now)?;
        }
        self.check_one_more(&key.place)
    }

    /// Whether all who have a say allow one more live key in this place.
    pub(super) fn check_one_more(&mut self, place: &KeyPlace) -> Result<(), StoreError> {
        for (owner, kind, id) in owners(place) {
            let policy = self.policy(kind, id)?;
            if policy.live_keys.is_some() {
                let new = self.batch.keys.iter().map(|row| &row.key.place);
                let back = self.revived.iter().filter_map(|key| Some(&*self.live.get(key)?.place));
                let of_batch = new.chain(back).filter(|place| belongs(place, owner, id)).count() as u64;
                policy.allows_one_more(owner, of_batch + self.backend.live_keys(owner, id, self.now)?)?;
            }
        }
        Ok(())
    }

    /// Whether any of them exists.
    fn keys_revoke(&mut self, keys: &[KeyId], actor: &Actor) -> Result<bool, StoreError> {
        let mut any = false;
        for key in keys {
            any |= self.key_revoke(*key, actor)?;
        }
        Ok(any)
    }

    fn key_revoke_from(&mut self, key: KeyId, version: u64, actor: &Actor) -> Result<bool, StoreError> {
        match self.details(key)? {
            None => Ok(false),
            Some(details) if details.version != version => Err(StoreError::Changed),
            Some(_) => self.key_revoke(key, actor),
        }
    }

    pub(super) fn key_revoke(&mut self, key: KeyId, actor: &Actor) -> Result<bool, StoreError> {
        if !self.ensure_loaded(key)? {
            return Ok(false);
        }
        if !planted!(RevocationMissesEscrow) {
            self.recall(key);
        }
        let id = AccountId::Key(key);
        if self.ledger.revoke(id, self.now) == Some(true) {
            self.is_half_done = true;
            self.dirty.insert(id);
            let project = self.live.get(&key).map(|live| live.place.project.clone());
            self.audit(actor, "key.revoke", &key.to_string(), json!({"project": project}).to_string());
        }
        crate::failpoint!("revoke.done");
        self.key_changed(key);
        // Told again if it was revoked before: whoever asks must find every listener told.
        self.tell(key, ledger::revoked_denial(key));
        Ok(true)
    }

    /// Gives back what an orphan was charged with: an administrator found out that it was not used.
    fn hold_forgive(&mut self, id: HoldId, actor: &Actor) -> Result<bool, StoreError> {
        if self.batch.holds_forgiven.contains(&id) {
            return Ok(false);
        }
        let Some(hold) = self.backend.orphan(id)? else {
            return Ok(false);
        };
        if let Some(key) = key_of(hold.accounts.key()) {
            self.ensure_loaded(key)?;
            self.recall(key);
        }
        let accounts = self.charged_to(&hold)?;
        self.ensure_month(Month::of(hold.at))?;
        if !self.ledger.forgive(&accounts, hold.units) {
            return Err(contradiction());
        }
        self.is_half_done = true;
        self.count_month(hold.at, 0, hold.units.activations);
        self.dirty.extend(accounts.iter());
        self.note_changed(&accounts);
        self.batch.holds_forgiven.push(id);
        let key = hold.accounts.key();
        let project = key_of(key).map(|key| self.project_of(key)).transpose()?.flatten();
        let detail = json!({"key": key.to_string(), "units": units_json(hold.units), "project": project});
        self.audit(actor, "hold.forgive", &hold_name(id), detail.to_string());
        Ok(true)
    }

    /// Accepts that the store may be an older one. The witness is written first: a crash in between
    /// leaves the store fenced, and nobody was told that it is not.
    fn fence_accept(&mut self, actor: &Actor) -> Result<bool, StoreError> {
        let before = self.batch.instance.clone().unwrap_or_else(|| self.instance.clone());
        let Some(fence) = self.instance.fence.clone() else {
            return Ok(false);
        };
        if before.fence.is_none() {
            return Ok(true);
        }
        let highest = self.instance.mark.incarnation.max(fence.witness_incarnation.unwrap_or(0));
        let next = Instance {
            mark: next_mark(highest)?,
            previous_nonce: self.instance.mark.nonce,
            fence: None,
            ..before
        };
        self.witness
            .create(record(&next))
            .map_err(|error| StoreError::Invalid { reason: error.to_string() })?;
        self.audit(actor, "fence.accept", "store", detail(&fence));
        self.batch.instance = Some(next);
        Ok(true)
    }

    /// Goes on with what is durable about the store itself.
    pub(super) fn adopt(&mut self, instance: Instance) {
        if self.ledger.is_fenced() && instance.fence.is_none() {
            self.ledger.unfence(instance.mark.incarnation);
            self.shared.unfence();
        }
        self.ledger.set_stopped(instance.kill_switch.is_some());
        self.shared.show_kill_switch(instance.kill_switch.clone());
        self.instance = instance;
    }
}
