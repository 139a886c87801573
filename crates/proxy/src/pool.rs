//! Idle connections to providers, kept for the next request.
//!
//! A connection comes back here only when its answer was read to the end and the provider may be written to
//! again. It is looked at before it is used once more: one that the provider closed, or that has been idle
//! for nearly as long as the provider allows, is dropped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use till_providers::BaseUrl;

use crate::connect::{ConnectError, Connector};
use crate::http1::Wire;
use crate::metrics::ProviderMetrics;

/// How many idle connections are kept for one destination.
const IDLE_MAX: usize = 512;

/// Connections to one destination.
pub(crate) struct Bucket {
    base: BaseUrl,
    idle_timeout: Duration,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    /// In a box: it goes through many hands with every request.
    wire: Box<Wire>,
    since: Instant,
}

impl Bucket {
    pub(crate) fn base(&self) -> &BaseUrl {
        &self.base
    }

    /// The connection that was used last and is still good: the others grow old and are dropped.
    pub(crate) fn take(&self, now: Instant) -> Option<Box<Wire>> {
        let mut idle = self.lock();
        while let Some(candidate) = idle.pop() {
            if candidate.is_good(self.idle_timeout, now) {
                return Some(candidate.wire);
            }
        }
        None
    }

    fn put(&self, wire: Box<Wire>, since: Instant) {
        let mut idle = self.lock();
        if idle.len() < IDLE_MAX {
            idle.push(Idle { wire, since });
        }
    }

    fn sweep(&self) {
        let now = Instant::now();
        self.lock().retain(|idle| idle.is_good(self.idle_timeout, now));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    fn is_good(&self, idle_timeout: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < idle_timeout && self.wire.is_silent()
    }
}

/// A connection that goes back to its bucket once its answer is complete.
pub(crate) struct Lease {
    pub(crate) wire: Box<Wire>,
    bucket: Arc<Bucket>,
}

impl Lease {
    /// Gives the connection back, if it can be used again. `now` is when its last answer ended.
    pub(crate) fn release(self, now: Instant) {
        if self.wire.is_done() {
            self.bucket.put(self.wire, now);
        }
    }
}

/// All destinations.
pub(crate) struct Pool {
    connector: Connector,
    buckets: Mutex<HashMap<String, Arc<Bucket>>>,
}

impl Pool {
    pub(crate) fn new(connector: Connector) -> Arc<Self> {
        Arc::new(Self { connector, buckets: Mutex::default() })
    }

    /// The bucket of a destination; made on first use. Destinations come from tokens that an admin minted and
    /// from configuration, so there are few.
    pub(crate) fn bucket(&self, base: &BaseUrl, idle_timeout: Duration) -> Arc<Bucket> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(
            buckets.entry(base.as_str().to_owned()).or_insert_with(|| {
                Arc::new(Bucket { base: base.clone(), idle_timeout, idle: Mutex::default() })
            }),
        )
    }

    /// An idle connection, if there is a good one.
    pub(crate) fn reuse(bucket: &Arc<Bucket>, metrics: &ProviderMetrics, now: Instant) -> Option<Lease> {
        let wire = bucket.take(now)?;
        metrics.reused();
        Some(Lease { wire, bucket: Arc::clone(bucket) })
    }

    /// A new connection.
    ///
    /// # Errors
    /// Always before anything of a request was sent.
    pub(crate) async fn connect(
        &self,
        bucket: &Arc<Bucket>,
        metrics: &ProviderMetrics,
    ) -> Result<Lease, ConnectError> {
        metrics.connects.add(1);
        let wire = self.connector.connect(bucket.base()).await;
        let wire = wire.inspect_err(|_| metrics.connect_failures.add(1))?;
        Ok(Lease { wire: Box::new(wire), bucket: Arc::clone(bucket) })
    }

    /// Drops connections that went bad, every few seconds, until the pool is gone.
    pub(crate) async fn sweep_regularly(pool: Weak<Self>) {
        let mut ticks = tokio::time::interval(Duration::from_secs(5));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Some(pool) = pool.upgrade() else { return };
            let buckets: Vec<_> =
                pool.buckets.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
            buckets.iter().for_each(|bucket| bucket.sweep());
        }
    }

    /// Connections that are there, for metrics.
    pub(crate) fn open(&self) -> u64 {
        self.connector.open.read()
    }

    /// Idle connections, for metrics.
    pub(crate) fn idle(&self) -> usize {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.values().map(|bucket| bucket.lock().len()).sum()
    }
}
