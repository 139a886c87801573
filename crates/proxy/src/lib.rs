//! The data plane of till: takes requests with scoped keys, forwards those that may pass, relays the answers.
//!
//! `request.rs` is the path of a request, one stage after the other; the other modules are its stages and what
//! they stand on. The crate keeps no state of its own that matters: who may do what is the store's.

#[cfg(test)]
extern crate self as till_proxy;

mod admit;
mod authenticate;
mod body;
mod bounds;
mod client_address;
mod connect;
mod credentials;
mod decode;
mod destination;
mod drain;
mod facts;
mod forward;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod head;
mod http1;
mod http2;
mod inspect;
mod meter;
mod metrics;
mod pool;
mod proxy_protocol;
mod record;
mod relay;
mod request;
mod resolve;
mod respond;
mod route;
mod self_check;
mod server;
mod socket;
mod tighten;
mod trace;
mod turn;
mod watchdog;
mod websocket;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Request, Response};
use till_core::time::Timestamp;
use till_core::token::{CredentialKeys, KeyRing};
use till_providers::Registry;
use till_providers::price::PriceTable;
use till_store::Store;
use tokio::sync::{Semaphore, watch};
use tokio_util::task::TaskTracker;

pub use self::body::{BodyError, OwnBody, RequestBody};
pub use self::client_address::{AddressHeader, TrustedProxies};
pub use self::connect::OutboundProxy;
pub use self::http1::HeadLimits;
pub use self::request::OwnRequest;
pub use self::server::{DrainReport, ServerTls};
pub use self::trace::{RequestTrace, SampleRatio, SpanId, StageTimes, TraceFacts, TraceId, Tracing};

use self::authenticate::Authenticator;
use self::connect::Connector;
use self::metrics::{Metrics, Others};
use self::pool::Pool;
use self::tighten::Counting;

/// Answers requests for till itself: the control plane, wired in by the program so that the two planes don't
/// know each other.
pub type OwnPaths = Arc<
    dyn Fn(Request<RequestBody>, OwnRequest) -> Pin<Box<dyn Future<Output = Response<OwnBody>> + Send>>
        + Send
        + Sync,
>;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// To connect to a provider, name resolution and TLS included.
    pub connect: Duration,
    /// From sending a request to the head of its answer.
    pub first_byte: Duration,
    /// Between two pieces of an answer.
    pub idle: Duration,
    /// For a client to send a request head, or to finish a TLS handshake.
    pub client_head: Duration,
    /// For a client connection between two requests.
    pub client_idle: Duration,
    /// For a request whose units are only held by other requests, until they settle.
    pub budget: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            // Reasoning models think for minutes before the first byte.
            first_byte: Duration::from_secs(600),
            idle: Duration::from_secs(300),
            client_head: Duration::from_secs(30),
            client_idle: Duration::from_secs(120),
            budget: Duration::from_secs(30),
        }
    }
}

/// What the data plane runs on.
pub struct ProxyConfig {
    /// The providers.
    pub registry: Arc<Registry>,
    /// What requests cost.
    pub prices: Arc<PriceTable>,
    /// Opens tokens.
    pub keys: Arc<KeyRing>,
    /// The stored upstream keys that tokens name.
    pub credentials: Arc<CredentialKeys>,
    /// Decides what is left.
    pub store: Store,
    /// Roots and settings for TLS to providers.
    pub upstream_tls: Arc<rustls::ClientConfig>,
    /// HTTP proxies on the way to providers.
    pub outbound_proxy: OutboundProxy,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// How large a request head may be.
    pub head_limits: HeadLimits,
    /// How many requests may be served at once; more are refused with `overloaded`.
    pub in_flight_max: usize,
    /// Whether there is a log line per request.
    pub log_requests: bool,
    /// How requests are traced, if they are.
    pub tracing: Option<Tracing>,
    /// Which proxies of one's own are believed when they say where a request comes from, and how they say it.
    pub trusted_proxies: TrustedProxies,
    /// Whether their connections begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// The time of day, for prices and records.
    pub clock: fn() -> Timestamp,
}

/// The data plane. Cheap to clone.
#[derive(Clone)]
pub struct Proxy {
    inner: Arc<Inner>,
    stop: Arc<watch::Sender<Stage>>,
}

/// How far the server has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It serves.
    Serving,
    /// Nothing new begins; what is under way may finish.
    Stopping,
    /// Time is over: whatever is still under way ends now, and what it holds is charged.
    Cutting,
}

/// What every request shares.
pub(crate) struct Inner {
    pub(crate) authenticator: Authenticator,
    pub(crate) registry: Arc<Registry>,
    pub(crate) prices: Arc<PriceTable>,
    pub(crate) store: Store,
    pub(crate) pool: Arc<Pool>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) own: OwnPaths,
    pub(crate) timeouts: Timeouts,
    pub(crate) head_limits: HeadLimits,
    pub(crate) in_flight_max: usize,
    pub(crate) room_for_bodies: Arc<Semaphore>,
    pub(crate) counting: Counting,
    pub(crate) log_requests: bool,
    pub(crate) tracing: Option<Tracing>,
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) proxy_protocol: bool,
    pub(crate) clock: fn() -> Timestamp,
    pub(crate) request_ids: RequestIds,
    /// What a stop waits for.
    pub(crate) connections: TaskTracker,
    /// Requests, and what is read on for nobody: the end of a stop waits until all of them have let go.
    pub(crate) requests: TaskTracker,
    pub(crate) stage: watch::Receiver<Stage>,
}

impl Proxy {
    /// Puts the parts together. Nothing runs yet.
    ///
    /// # Errors
    /// When the operating system gives no randomness.
    pub fn new(config: ProxyConfig, own: OwnPaths) -> Result<Self, getrandom::Error> {
        let connector = Connector::new(config.upstream_tls, &config.outbound_proxy, config.timeouts.connect);
        let pool = Pool::new(connector);
        let (stop, stage) = watch::channel(Stage::Serving);
        let metrics: Arc<Metrics> = Arc::default();
        let authenticator = Authenticator::new(
            config.keys,
            config.credentials,
            Arc::clone(&config.registry),
            Arc::clone(&pool),
            Arc::clone(&metrics),
        );
        let inner = Inner {
            authenticator,
            registry: config.registry,
            prices: config.prices,
            store: config.store,
            pool,
            metrics,
            own,
            timeouts: config.timeouts,
            head_limits: config.head_limits,
            in_flight_max: config.in_flight_max,
            room_for_bodies: Arc::new(inspect::room()),
            counting: Counting::default(),
            log_requests: config.log_requests,
            tracing: config.tracing,
            trusted_proxies: config.trusted_proxies,
            proxy_protocol: config.proxy_protocol,
            clock: config.clock,
            request_ids: RequestIds::new()?,
            connections: TaskTracker::new(),
            requests: TaskTracker::new(),
            stage,
        };
        Ok(Self { inner: Arc::new(inner), stop: Arc::new(stop) })
    }

    /// Counters as Prometheus text.
    pub fn metrics_text(&self) -> String {
        let Inner { metrics, requests, pool, .. } = &*self.inner;
        metrics.render(&Others {
            requests_in_flight: requests.len(),
            connections_idle: pool.idle(),
            connections_open: pool.open(),
        })
    }
}

/// Ids of requests: unique within an instance and hard to guess across restarts.
pub(crate) struct RequestIds {
    /// `req_` and the instance's own twelve digits.
    prefix: [u8; RequestId::PREFIX_LENGTH],
    next: AtomicU64,
}

impl RequestIds {
    fn new() -> Result<Self, getrandom::Error> {
        let mut random = [0; 8];
        getrandom::fill(&mut random[2..])?;
        Ok(Self { prefix: RequestId::prefix(u64::from_be_bytes(random)), next: AtomicU64::new(0) })
    }

    pub(crate) fn next(&self) -> RequestId {
        RequestId::new(self.prefix, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// The last hexadecimal digits of a number.
fn hex<const DIGITS: usize>(number: u64) -> [u8; DIGITS] {
    let bytes = number.to_be_bytes();
    std::array::from_fn(|place| {
        let place = 16 - DIGITS + place;
        let byte = bytes[place / 2];
        b"0123456789abcdef"[usize::from(if place.is_multiple_of(2) { byte >> 4 } else { byte & 15 })]
    })
}

/// `req_`, the prefix of the instance and a number of eight or sixteen hexadecimal digits.
#[derive(Clone, Copy)]
pub(crate) struct RequestId {
    text: [u8; Self::LENGTH_MAX],
    length: usize,
}

impl RequestId {
    const PREFIX_LENGTH: usize = 4 + 12;
    const LENGTH_MAX: usize = Self::PREFIX_LENGTH + 16;

    fn prefix(instance: u64) -> [u8; Self::PREFIX_LENGTH] {
        let mut prefix = *b"req_____________";
        prefix[4..].copy_from_slice(&hex::<12>(instance));
        prefix
    }

    fn new(prefix: [u8; Self::PREFIX_LENGTH], number: u64) -> Self {
        let mut text = [0; Self::LENGTH_MAX];
        let (start, digits) = text.split_at_mut(Self::PREFIX_LENGTH);
        start.copy_from_slice(&prefix);
        let length = if number <= u64::from(u32::MAX) {
            digits[..8].copy_from_slice(&hex::<8>(number));
            Self::PREFIX_LENGTH + 8
        } else {
            digits.copy_from_slice(&hex::<16>(number));
            Self::LENGTH_MAX
        };
        Self { text, length }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.text[..self.length]
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("letters and digits")
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::RequestId;

    #[test]
    fn request_ids_grow_when_they_must() {
        for (number, expected) in [
            (0, "req_0102030405ff00000000"),
            (0x1a2b, "req_0102030405ff00001a2b"),
            (u64::from(u32::MAX), "req_0102030405ffffffffff"),
            (1 << 32, "req_0102030405ff0000000100000000"),
            (u64::MAX, "req_0102030405ffffffffffffffffff"),
        ] {
            let prefix = RequestId::prefix(0x0102_0304_05ff);
            assert_eq!(RequestId::new(prefix, number).as_str(), expected);
        }
    }
}
