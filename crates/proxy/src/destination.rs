//! Where requests of a scoped key go, with everything that is derived from that once.
//!
//! Most scoped keys of an instance are made from few upstream keys. Those of one upstream key share all of this, so that
//! many of them need little memory, and what one of them has just used is still in the processor's caches for the next.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use http::Method;
use till_core::path::{PathError, RawPath};
use till_core::redact::Redactor;
use till_core::upstream::Upstream;
use till_providers::{BaseUrl, Place, Provider};

use crate::forward::KeyLine;
use crate::metrics::{Metrics, ProviderMetrics};
use crate::pool::{Bucket, Pool};

/// How many places are remembered for a destination.
const PLACES_MAX: usize = 16;

/// The longest path that is remembered, in bytes.
const PATH_LENGTH_MAX: usize = 256;

/// An upstream key and what it is used with.
pub(crate) struct Destination {
    pub(crate) provider: Provider,
    pub(crate) upstream: Upstream,
    pub(crate) key_line: Option<KeyLine>,
    pub(crate) redactor: Arc<Redactor>,
    pub(crate) bucket: Arc<Bucket>,
    pub(crate) metrics: Arc<ProviderMetrics>,
    /// What requests have asked for, the newest last.
    places: RwLock<Vec<Arc<Place>>>,
}

impl Destination {
    /// What the tables say of this method on this path.
    ///
    /// # Errors
    /// Names the rule of the provider that the path breaks.
    pub(crate) fn place(&self, method: &Method, raw: &RawPath) -> Result<Arc<Place>, PathError> {
        let known = self.places.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = known.iter().find(|place| place.is_at(method, raw)) {
            return Ok(Arc::clone(place));
        }
        drop(known);
        let place = Arc::new(self.provider.place(method, raw.clone())?);
        if raw.as_str().len() <= PATH_LENGTH_MAX {
            let mut known = self.places.write().unwrap_or_else(PoisonError::into_inner);
            if known.len() == PLACES_MAX {
                known.remove(0);
            }
            known.push(Arc::clone(&place));
        }
        Ok(place)
    }
}

/// All destinations that a token in memory has.
pub(crate) struct Destinations {
    metrics: Arc<Metrics>,
    known: Mutex<HashMap<u64, Weak<Destination>>>,
    /// One that nobody outside can aim at: upstream keys are secret, but that is no reason to rely on it.
    hashing: RandomState,
}

impl Destinations {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, known: Mutex::default(), hashing: RandomState::default() }
    }

    /// The one of this upstream key, whose provider is at `base`: that follows from the configuration.
    pub(crate) fn find(
        &self,
        upstream: Upstream,
        provider: &Provider,
        base: &BaseUrl,
        pool: &Pool,
    ) -> Arc<Destination> {
        let hash = self.hashing.hash_one((upstream.key.reveal(), &upstream.provider, &upstream.origin));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(destination) = known.get(&hash).and_then(Weak::upgrade)
            && destination.upstream == upstream
        {
            return destination;
        }
        let destination = Arc::new(Destination {
            bucket: pool.bucket(base, provider.idle_timeout()),
            redactor: Arc::new(Redactor::new(&upstream)),
            key_line: KeyLine::of(&upstream),
            metrics: self.metrics.provider(provider.shared_id()),
            provider: provider.clone(),
            upstream,
            places: RwLock::default(),
        });
        if known.len() == known.capacity() {
            // Before it grows: those that nobody has any more.
            known.retain(|_, destination| destination.strong_count() > 0);
        }
        known.insert(hash, Arc::downgrade(&destination));
        destination
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use till_core::secret::Secret;
    use till_core::upstream::{Placement, Upstream};
    use till_providers::Registry;

    use super::{Destination, Destinations};
    use crate::connect::{Connector, OutboundProxy};
    use crate::pool::Pool;

    fn find(destinations: &Destinations, pool: &Pool, key: &str, placement: Placement) -> Arc<Destination> {
        let registry = Registry::builtin();
        let provider = registry.get("openai").expect("built in");
        let base = provider.base_url().expect("has one");
        let (provider_id, origin) = (provider.id().to_owned(), base.as_str().to_owned());
        let upstream = Upstream { key: Secret::new(key), provider: provider_id, origin, placement };
        destinations.find(upstream, provider, base, pool)
    }

    #[test]
    fn equal_ones_are_one_and_others_are_not() {
        let roots = rustls::RootCertStore::empty();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let outbound = OutboundProxy::default();
        let pool = Pool::new(Connector::new(Arc::new(tls), &outbound, Duration::from_secs(1)));
        let destinations = Destinations::new(Arc::default());
        let find = |key: &str, placement| find(&destinations, &pool, key, placement);
        let first = find("sk-aaaaaaaa", Placement::Basic);
        assert!(Arc::ptr_eq(&first, &find("sk-aaaaaaaa", Placement::Basic)));
        let query = Placement::Query { name: "key".to_owned() };
        for other in [find("sk-bbbbbbbb", Placement::Basic), find("sk-aaaaaaaa", query)] {
            assert!(!Arc::ptr_eq(&first, &other));
        }
        drop(first);
        for number in 0..1000 {
            find(&format!("sk-aaaaaaaa{number}"), Placement::Basic);
        }
        assert!(destinations.known.lock().expect("no panic").len() < 100, "what nobody has is forgotten");
    }
}
