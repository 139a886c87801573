//! What an administrator changes of a key, in one step with its audit entry.

use serde_json::{Map, Value, json};
use till_core::audit::Actor;
use till_core::key::{KeyId, KeyStatus};
use till_core::ledger::{self, AccountId};
use till_core::lifetime::Lifetime;
use till_core::limit::{Dimension, LIMIT_MAX, Limits, Units};
use till_core::time::Timestamp;

use super::Writer;
use super::ceilings::owners;
use crate::error::StoreError;
use crate::key::{KeyChange, KeyDetails, LimitChange};

impl Writer {
    pub(super) fn key_update(
        &mut self,
        key: KeyId,
        change: KeyChange,
        actor: &Actor,
    ) -> Result<bool, StoreError> {
        if !self.ensure_loaded(key)? {
            return Ok(false);
        }
        let Some(details_before) = self.details(key)? else {
            return Ok(false);
        };
        if change.version.is_some_and(|version| version != details_before.version) {
            return Err(StoreError::Changed);
        }
        if !planted!(LimitMissesEscrow) {
            self.recall(key);
        }
        let id = AccountId::Key(key);
        let account = self.ledger.account(id).expect("loaded above");
        if account.revoked_at.is_some() {
            return Err(invalid("the key is revoked: it can't be changed any more"));
        }
        let (limits_before, lifetime_before) = (account.limits(), account.lifetime);
        let paused_before = account.paused_at.is_some();
        let is_used = account.last_used_at.is_some();
        // Everything is checked before anything is changed: a batch is not undone.
        let limits = limits_after(limits_before, &change.limits, change.add)?;
        let lifetime = change.lifetime.of(lifetime_before);
        let lifetime_changes = change.lifetime != Default::default();
        if lifetime_changes {
            lifetime.check(is_used, self.now).map_err(|error| invalid(&error.to_string()))?;
        }
        self.check_change(
            &details_before,
            (limits != limits_before).then_some(limits),
            lifetime_changes.then_some(&lifetime),
        )?;
        let is_over = self.ledger.status(id, self.now) == Some(KeyStatus::Expired);
        let revives = is_over && lifetime_changes;
        if revives {
            self.check_one_more(&details_before.place)?;
        }
        let paused = change.paused.unwrap_or(paused_before);
        if change.paused_reason.is_some() && !paused {
            return Err(invalid("`paused_reason` is for a key that is paused"));
        }
        let details = details_after(&details_before, &change, paused);

        let mut log = Changes::default();
        log.note("metadata", json!(details_before.metadata), json!(details.metadata));
        log.note("clamp", json!(details_before.options.clamp), json!(details.options.clamp));
        log.note("rate", json!(details_before.options.rates), json!(details.options.rates));
        let durability = |details: &KeyDetails| json!(details.options.durability.as_str());
        log.note("durability", durability(&details_before), durability(&details));
        log.note("limits", limits_json(limits_before), limits_json(limits));
        log.note("lifetime", lifetime_json(&lifetime_before), lifetime_json(&lifetime));
        log.note("paused", json!(paused_before), json!(paused));
        log.note("pausedReason", json!(details_before.paused_reason), json!(details.paused_reason));

        if limits != limits_before {
            self.ledger.adjust(id, limits);
            crate::failpoint!("limit.adjusted");
        }
        if lifetime_changes {
            self.ledger.set_lifetime(id, lifetime, self.now);
            self.batch.lifetimes.push(id);
        }
        self.revived.extend(revives.then_some(key));
        if self.ledger.set_paused(id, paused, self.now) == Some(true) {
            self.batch.lifetimes.push(id);
        }
        self.dirty.insert(id);
        self.audit(actor, "key.update", &key.to_string(), log.into_detail(&details_before.place.project));
        let options = details.options;
        self.batch.details.push((key, details));
        self.renew(key, options);
        self.key_changed(key);
        self.tell_or_begin_anew(key, paused, lifetime_changes);
        Ok(true)
    }

    /// Those who hold are told of a pause; those who come after the end of one are not.
    fn tell_or_begin_anew(&mut self, key: KeyId, paused: bool, lifetime_changes: bool) {
        let id = AccountId::Key(key);
        if paused {
            // Told again if it was paused before: whoever asks must find every listener told.
            self.tell(key, ledger::paused_denial(key));
        } else {
            self.begin_anew(key);
        }
        if lifetime_changes
            && let Some(at) = self.live.get(&key).and_then(|live| live.expires_at)
            && self.ledger.is_pinned(id)
        {
            self.ends.await_end(at, key);
        }
    }

    /// Whether all who have a say allow what changes. A rule that became stricter since the key was made is of interest
    /// only for that.
    fn check_change(
        &mut self,
        key: &KeyDetails,
        limits: Option<Limits>,
        lifetime: Option<&Lifetime>,
    ) -> Result<(), StoreError> {
        for (owner, kind, id) in owners(&key.place) {
            let policy = self.policy(kind, id)?;
            if let Some(limits) = limits {
                policy.allows_limits(owner, limits, key.options.allow_unbounded)?;
            }
            if let Some(lifetime) = lifetime {
                policy.allows_lifetime(owner, lifetime, key.created_at)?;
            }
        }
        Ok(())
    }

    /// What of a key can be changed, with the changes of this batch.
    pub(super) fn details(&mut self, key: KeyId) -> Result<Option<KeyDetails>, StoreError> {
        if let Some((_, details)) = self.batch.details.iter().rev().find(|(changed, _)| *changed == key) {
            return Ok(Some(details.clone()));
        }
        if let Some(row) = self.batch.keys.iter().find(|row| row.key.id == key) {
            let details = KeyDetails {
                version: 1,
                place: row.key.place.clone(),
                provider: row.key.provider.clone(),
                created_at: row.created_at,
                options: row.key.options,
                metadata: row.key.metadata.clone(),
                paused_reason: None,
            };
            return Ok(Some(details));
        }
        self.backend.key_details(key)
    }
}

fn details_after(before: &KeyDetails, change: &KeyChange, paused: bool) -> KeyDetails {
    let mut details = before.clone();
    details.version += 1;
    if let Some(metadata) = &change.metadata {
        details.metadata.clone_from(metadata);
    }
    match &change.name {
        None => {}
        Some(None) => drop(details.metadata.remove("name")),
        Some(Some(name)) => drop(details.metadata.insert("name".into(), Value::String(name.clone()))),
    }
    details.options.clamp = change.clamp.unwrap_or(before.options.clamp);
    details.options.rates = change.rates.of(before.options.rates);
    details.options.durability = change.durability.unwrap_or(before.options.durability);
    details.paused_reason = match (paused, &change.paused_reason) {
        (false, _) => None,
        (true, Some(reason)) => Some(reason.clone()),
        (true, None) => before.paused_reason.clone(),
    };
    details
}

/// The limits after a change.
///
/// # Errors
/// Something is added to no limit, the sum is above [`LIMIT_MAX`], or no limit is left.
fn limits_after(before: Limits, change: &LimitChange, add: Units) -> Result<Limits, StoreError> {
    let mut limits = Limits {
        activations: change.activations.unwrap_or(before.activations),
        tokens: change.tokens.unwrap_or(before.tokens),
        spend_nanos: change.spend_nanos.unwrap_or(before.spend_nanos),
    };
    for dimension in Dimension::ALL {
        let bound = match dimension {
            Dimension::Activations => &mut limits.activations,
            Dimension::Tokens => &mut limits.tokens,
            Dimension::Spend => &mut limits.spend_nanos,
        };
        let more = add.of(dimension);
        if more > 0 {
            let Some(limit) = bound else {
                return Err(invalid(&format!(
                    "the key has no limit of {dimension} that something could be added to"
                )));
            };
            *limit = limit.saturating_add(more);
        }
        if bound.is_some_and(|limit| limit > LIMIT_MAX) {
            return Err(invalid(&format!("the limit of {dimension} would be above {LIMIT_MAX}")));
        }
    }
    if limits == Limits::default() {
        return Err(invalid("a key needs at least one limit; the last one can't be taken away"));
    }
    Ok(limits)
}

fn invalid(reason: &str) -> StoreError {
    StoreError::Invalid { reason: reason.into() }
}

fn moment(time: Option<Timestamp>) -> Value {
    json!(time.map(|time| time.to_string()))
}

pub(super) fn limits_json(limits: Limits) -> Value {
    json!({"activations": limits.activations, "tokens": limits.tokens, "spendNanos": limits.spend_nanos})
}

/// What an audit entry says about a change: only what differs.
#[derive(Default)]
struct Changes {
    before: Map<String, Value>,
    after: Map<String, Value>,
}

impl Changes {
    fn note(&mut self, name: &str, before: Value, after: Value) {
        if before != after {
            self.before.insert(name.to_owned(), before);
            self.after.insert(name.to_owned(), after);
        }
    }

    fn into_detail(self, project: &str) -> String {
        json!({"project": project, "before": self.before, "after": self.after}).to_string()
    }
}

/// Bounds in time as an audit entry tells them.
pub(super) fn lifetime_json(lifetime: &Lifetime) -> Value {
    json!({
        "notBefore": moment(lifetime.not_before),
        "expiresAt": moment(lifetime.expires_at),
        "activateBy": moment(lifetime.activate_by),
        "idleExpirySeconds": lifetime.idle_expiry_seconds,
    })
}
