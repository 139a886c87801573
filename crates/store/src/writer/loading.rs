//! Keys on their way into memory and out of it: accounts, terms, what is above them.

use std::sync::Arc;

use till_core::key::KeyId;
use till_core::ledger::AccountId;
use till_core::limit::Limits;
use till_core::rate::RateState;
use till_core::scope::Scope;
use till_core::time::Timestamp;
use tokio::sync::watch;

use super::ceilings::{CeilingList, limits_of};
use super::escrow::Pace;
use super::{Live, Writer};
use crate::error::StoreError;
use crate::key::{KeyOptions, KeyPlace};
use crate::terms::KeyTerms;

impl Writer {
    /// Puts a key's account into memory; `false` when there is no such key.
    pub(super) fn ensure_loaded(&mut self, key: KeyId) -> Result<bool, StoreError> {
        let id = AccountId::Key(key);
        if self.ledger.account(id).is_none() {
            let Some(account) = self.backend.account(id)? else {
                return Ok(false);
            };
            self.ledger.load(id, account);
        }
        if !self.live.contains_key(&key) {
            let options = self.backend.key_options(key)?.unwrap_or_default();
            let scope = self.backend.key_scope(key)?.unwrap_or_default();
            let place = self.backend.key_place(key)?.unwrap_or_default();
            let ceilings = self.ceilings_of(&place)?;
            self.enliven(key, options, scope, place, ceilings);
        } else if !self.unsure.is_empty() && self.unsure.contains(&key) {
            let options = self.backend.key_options(key)?.unwrap_or_default();
            let place = Arc::clone(&self.live[&key].place);
            let ceilings = self.ceilings_of(&place)?;
            self.live.get_mut(&key).expect("just seen").ceilings = ceilings;
            self.unsure.remove(&key);
            self.renew(key, options);
            self.begin_anew(key);
        }
        Ok(true)
    }

    /// Makes the terms of a loaded key known.
    pub(super) fn enliven(
        &mut self,
        key: KeyId,
        options: KeyOptions,
        scope: Scope,
        place: KeyPlace,
        ceilings: CeilingList,
    ) {
        let scope = (!scope.is_empty()).then(|| Arc::new(scope));
        let (terms, expires_at) = self.terms(key, options, scope, limits_of(&ceilings));
        let live = Live {
            ended: watch::Sender::new(None),
            touched: self.number,
            terms,
            place: Arc::new(place),
            ceilings,
            expires_at,
            rate: RateState::default(),
            pace: Pace::new(self.shared.clock.instant()),
        };
        self.live.insert(key, live);
        // What it was read from may be changes of this batch.
        self.renewed.push(key);
    }

    /// Makes the changed terms of a live key known: whoever holds under the old ones is asked to read them again.
    pub(super) fn renew(&mut self, key: KeyId, options: KeyOptions) {
        // A scope does not change.
        let live = self.live.get(&key).expect("a loaded key is live");
        let (scope, above) = (live.terms.scope.clone(), limits_of(&live.ceilings));
        let (terms, expires_at) = self.terms(key, options, scope, above);
        let live = self.live.get_mut(&key).expect("a loaded key is live");
        (live.terms, live.expires_at) = (terms, expires_at);
        self.renewed.push(key);
    }

    fn terms(
        &mut self,
        key: KeyId,
        options: KeyOptions,
        scope: Option<Arc<Scope>>,
        above: Limits,
    ) -> (Arc<KeyTerms>, Option<Timestamp>) {
        let account = self.ledger.account(AccountId::Key(key)).expect("loaded before");
        let (limits, expires_at) = (account.limits().with(above), account.lifetime.expires_at);
        self.terms_version += 1;
        let terms = Arc::new(KeyTerms {
            key,
            version: self.terms_version,
            limits,
            is_metered_above: above.tokens.is_some() || above.spend_nanos.is_some(),
            options,
            scope,
            escrow: Arc::default(),
        });
        self.shared.terms.put(Arc::clone(&terms));
        (terms, expires_at)
    }

    /// Forgets the idle keys that were used longest ago, until half of what may be loaded is left.
    pub(super) fn evict(&mut self) {
        let steady = self.shared.clock.steady();
        let idle = |(key, live): (&KeyId, &Live)| {
            let needed = live.ended.receiver_count() > 0
                || self.ledger.is_pinned(AccountId::Key(*key))
                || self.waiting.is_waiting(*key)
                || !live.rate.is_full(steady);
            (!needed).then_some((live.touched, *key))
        };
        let mut idle: Vec<(u64, KeyId)> = self.live.iter().filter_map(idle).collect();
        idle.sort_unstable();
        self.evictions += 1;
        let surplus = self.live.len().saturating_sub(self.loaded_max / 2);
        for (_, key) in idle.into_iter().take(surplus) {
            self.ledger.evict(AccountId::Key(key));
            self.live.remove(&key);
            self.unsure.remove(&key);
            self.shared.terms.remove(key);
        }
        self.evict_ceilings();
        // When most are needed, do not look again at every batch.
        self.evict_above = self.loaded_max.max(self.ledger.accounts_loaded().saturating_mul(2));
    }
}
