//! The stored upstream keys of this moment, by name, unsealed in memory.
//!
//! Whoever keeps them tells [`CredentialKeys`] of every change; whoever sends requests asks it. Neither knows the other.
//! Invariants:
//! - what is told of an older version than the one that is known is ignored, so the order of telling does not matter;
//! - a [`CredentialKey`] that somebody remembers says that it is not current any more before the change is told to whoever
//!   made it.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::{CredentialError, CredentialLabel, KeyRing};
use crate::upstream::Upstream;

/// A stored upstream key.
pub struct CredentialKey {
    /// The real key, and the only place where it may go.
    pub upstream: Upstream,
    is_replaced: AtomicBool,
}

impl CredentialKey {
    /// Whether it is still the one of its name.
    pub fn is_current(&self) -> bool {
        !self.is_replaced.load(Ordering::Acquire)
    }
}

/// What there is under a name.
pub enum CredentialFound {
    /// A key.
    Key(Arc<CredentialKey>),
    /// There is one, but it could not be unsealed here.
    Unusable,
    /// Nothing, or not any more.
    Missing,
}

#[derive(Default)]
struct Known {
    version: u64,
    is_removed: bool,
    key: Option<Arc<CredentialKey>>,
}

/// All of them.
#[derive(Default)]
pub struct CredentialKeys {
    known: RwLock<HashMap<String, Known>>,
}

impl fmt::Debug for CredentialKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialKeys").finish_non_exhaustive()
    }
}

impl CredentialKeys {
    /// What there is under a name now.
    pub fn find(&self, name: &str) -> CredentialFound {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        match known.get(name) {
            Some(Known { key: Some(key), .. }) => CredentialFound::Key(Arc::clone(key)),
            Some(Known { is_removed: false, .. }) => CredentialFound::Unusable,
            Some(_) | None => CredentialFound::Missing,
        }
    }

    /// Something is kept under a name, as `sealed` by a master key of `ring`.
    ///
    /// # Errors
    /// It can't be unsealed: then there is no usable key under this name from now on.
    pub fn put(
        &self,
        ring: &KeyRing,
        label: CredentialLabel<'_>,
        version: u64,
        sealed: &[u8],
    ) -> Result<(), CredentialError> {
        let (upstream, outcome) = match ring.unseal_credential(label, sealed) {
            Ok(upstream) => (Some(upstream), Ok(())),
            Err(error) => (None, Err(error)),
        };
        self.change(label.name, version, |known| {
            if known.key.as_ref().is_some_and(|old| Some(&old.upstream) == upstream.as_ref()) {
                return known.key.clone();
            }
            upstream.map(|upstream| Arc::new(CredentialKey { upstream, is_replaced: AtomicBool::new(false) }))
        });
        outcome
    }

    /// What was kept under a name is removed. The name is never used again.
    pub fn remove(&self, name: &str, version: u64) {
        self.change(name, version, |known| {
            known.is_removed = true;
            None
        });
    }

    fn change(
        &self,
        name: &str,
        version: u64,
        change: impl FnOnce(&mut Known) -> Option<Arc<CredentialKey>>,
    ) {
        let mut all = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(name.to_owned()).or_default();
        if version <= known.version {
            return;
        }
        known.version = version;
        let after = change(known);
        let before = std::mem::replace(&mut known.key, after);
        let stays = match (&before, &known.key) {
            (Some(before), Some(after)) => Arc::ptr_eq(before, after),
            _ => false,
        };
        if let Some(before) = before.filter(|_| !stays) {
            // Last: who sees that it is replaced finds what took its place.
            before.is_replaced.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{CredentialFound, CredentialKey, CredentialKeys};
    use crate::secret::Secret;
    use crate::token::CredentialLabel;
    use crate::token::craft::{ring, upstream};

    const PROD: CredentialLabel<'_> = CredentialLabel { name: "prod", provider: "openai" };

    fn put(keys: &CredentialKeys, version: u64, key: &str) {
        let sealed = ring().seal_credential("prod", &upstream(key)).expect("it is short");
        keys.put(&ring(), PROD, version, &sealed).expect("it unseals");
    }

    fn found(keys: &CredentialKeys) -> Arc<CredentialKey> {
        match keys.find("prod") {
            CredentialFound::Key(key) => key,
            CredentialFound::Unusable | CredentialFound::Missing => panic!("no key"),
        }
    }

    #[test]
    fn the_newest_counts_and_older_ones_know_it() {
        let keys = CredentialKeys::default();
        assert!(matches!(keys.find("prod"), CredentialFound::Missing));
        put(&keys, 1, "sk-first-one");
        let first = found(&keys);
        put(&keys, 2, "sk-first-one");
        assert!(first.is_current() && Arc::ptr_eq(&first, &found(&keys)), "only its rules have changed");
        put(&keys, 4, "sk-second-one");
        let second = found(&keys);
        assert!(!first.is_current() && second.is_current());
        put(&keys, 3, "sk-told-too-late");
        assert!(second.is_current() && second.upstream.key == Secret::new("sk-second-one"));
        let mut elsewhere = upstream("sk-second-one");
        elsewhere.origin = "https://elsewhere.example".into();
        let sealed = ring().seal_credential("prod", &elsewhere).expect("it is short");
        keys.put(&ring(), PROD, 5, &sealed).expect("it unseals");
        assert!(!second.is_current(), "the same key for another place is another one");
        keys.remove("prod", 6);
        assert!(!second.is_current());
        assert!(matches!(keys.find("prod"), CredentialFound::Missing));
        put(&keys, 4, "sk-told-too-late");
        assert!(matches!(keys.find("prod"), CredentialFound::Missing));
    }

    #[test]
    fn what_does_not_open_is_no_key() {
        let keys = CredentialKeys::default();
        put(&keys, 1, "sk-first-one");
        let first = found(&keys);
        assert!(keys.put(&ring(), PROD, 2, b"\x02nonsense").is_err());
        assert!(matches!(keys.find("prod"), CredentialFound::Unusable));
        assert!(!first.is_current());
    }
}
