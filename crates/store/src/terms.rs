//! What of a key decides how its requests are treated before the ledger is asked: which limits it has, what it
//! allows, what it may call.
//!
//! They are read without the writer. So that nobody acts on old ones, a hold names the terms that it was made under
//! and the writer compares.

use std::sync::{Arc, PoisonError, RwLock};

use till_core::id_map::IdMap;
use till_core::key::KeyId;
use till_core::limit::Limits;
use till_core::scope::Scope;

use crate::escrow::Escrow;
use crate::key::KeyOptions;

/// The terms of one key, as of one moment.
#[derive(Debug)]
pub struct KeyTerms {
    pub(crate) key: KeyId,
    /// Unlike that of all other terms of this process.
    pub(crate) version: u64,
    pub(crate) limits: Limits,
    /// Whether a ceiling above the key is in tokens or money.
    pub(crate) is_metered_above: bool,
    pub(crate) options: KeyOptions,
    /// `None` allows everything, so that keys without a scope pay for a look at it and no more.
    pub(crate) scope: Option<Arc<Scope>>,
    /// What is counted out for calls under these terms.
    pub(crate) escrow: Arc<Escrow>,
}

impl KeyTerms {
    /// The limits of the key, and of what it depends on where these are stricter.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// What it allows.
    pub fn options(&self) -> KeyOptions {
        self.options
    }

    /// Whether requests pass that nothing bounds: the key says so, and puts only its own limits at stake.
    pub fn allows_unbounded(&self) -> bool {
        self.options.allow_unbounded && !self.is_metered_above
    }

    /// What it may call, and from where; `None` is everything from everywhere.
    pub fn scope(&self) -> Option<&Arc<Scope>> {
        self.scope.as_ref()
    }

    /// Whether there is a limit in tokens or money, or tokens are bounded per minute.
    pub fn is_metered(&self) -> bool {
        self.limits.tokens.is_some()
            || self.limits.spend_nanos.is_some()
            || self.options.rates.tokens_per_minute.is_some()
    }
}

/// The map is split so that requests rarely wait for the writer.
const SHARDS: usize = 16;

/// Terms of the keys that are loaded.
#[derive(Debug, Default)]
pub(crate) struct TermsMap {
    shards: [RwLock<IdMap<KeyId, Arc<KeyTerms>>>; SHARDS],
}

impl TermsMap {
    pub(crate) fn find(&self, key: KeyId) -> Option<Arc<KeyTerms>> {
        self.shard(key).read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
    }

    pub(crate) fn put(&self, terms: Arc<KeyTerms>) {
        let mut shard = self.shard(terms.key).write().unwrap_or_else(PoisonError::into_inner);
        shard.insert(terms.key, terms);
    }

    pub(crate) fn remove(&self, key: KeyId) {
        self.shard(key).write().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }

    fn shard(&self, key: KeyId) -> &RwLock<IdMap<KeyId, Arc<KeyTerms>>> {
        &self.shards[usize::from(key.0[0]) % SHARDS]
    }
}
