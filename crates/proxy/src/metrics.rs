//! Counters of the data plane, as Prometheus text.
//!
//! Counting costs no lock, no look-up and no look at the clock: moments are handed over by whoever has them anyway. What
//! every request counts is kept once per thread ([`Shard`]), so that threads don't wait for each other's caches. There are no
//! labels but the provider's id, which comes out of the table of providers, and closed lists of words: nobody who sends
//! requests can make the page grow.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http::StatusCode;
use till_core::denial::DenialCode;
use till_core::metric::{Counter, Gauge, Histogram, Kind, LONG, Page, Reading, SHORT, Unit};

/// What happened to requests since the start.
#[derive(Default)]
pub(crate) struct Metrics {
    providers: Mutex<Vec<Arc<ProviderMetrics>>>,
    /// Requests whose key did not open.
    other: Refused,
    refused: PerCode,
    stopping: AtomicBool,
    pub(crate) unknown_tokens: Counter,
    pub(crate) connections: Counter,
    pub(crate) connections_open: Gauge,
    pub(crate) streams_open: Gauge,
    pub(crate) websockets_open: Gauge,
    pub(crate) echoes_replaced: Counter,
    pub(crate) websocket_messages: Counter,
    pub(crate) inputs_counted: Counter,
}

/// The same for one provider.
pub(crate) struct ProviderMetrics {
    id: Arc<str>,
    shards: Box<[Shard]>,
    refused: Refused,
    pub(crate) connects: Counter,
    pub(crate) connect_failures: Counter,
}

/// How many threads count apart. More of them share.
const SHARDS: usize = 16;

/// What one thread has counted. Aligned, so that no two of them are in one line of a processor's cache, nor in the pair that
/// some processors fetch together.
#[derive(Default)]
#[repr(align(128))]
struct Shard {
    /// Answers passed on, by hundreds of the status: index 0 is 1xx.
    answered: [Counter; CLASSES.len()],
    bytes: Counter,
    reused: Counter,
    sending: Histogram,
    first_byte: Histogram,
    duration: Histogram,
}

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

thread_local! {
    static SHARD: Cell<u8> = const { Cell::new(u8::MAX) };
}

/// The number of this thread's shard.
fn shard() -> usize {
    static NEXT: AtomicU8 = AtomicU8::new(0);
    SHARD.with(|mine| {
        if mine.get() == u8::MAX {
            mine.set(NEXT.fetch_add(1, Ordering::Relaxed) & (u8::MAX >> 1));
        }
        usize::from(mine.get()) % SHARDS
    })
}

/// A count per code.
struct PerCode([Counter; DenialCode::ALL.len()]);

impl Default for PerCode {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

/// A count per class of codes.
#[derive(Default)]
struct Refused([Counter; Class::ALL.len()]);

/// Why requests were not answered by their provider, in classes that call for the same reaction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// The key: there is none, it does not open, or it is for something else.
    Credential,
    /// The key is used up.
    Exhausted,
    /// The key may not be used at all, at the moment or any more.
    Status,
    /// The key may not be used for this, or not from there.
    Scope,
    /// What the request comes to can't be told.
    Unbounded,
    /// Too often, or too much at once.
    Rate,
    /// The request can't be served for anybody.
    Request,
    /// till could not.
    Till,
    /// The provider could not.
    Upstream,
}

impl Class {
    const ALL: [Self; 9] = [
        Self::Credential,
        Self::Exhausted,
        Self::Status,
        Self::Scope,
        Self::Unbounded,
        Self::Rate,
        Self::Request,
        Self::Till,
        Self::Upstream,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Credential => "denied_credential",
            Self::Exhausted => "denied_exhausted",
            Self::Status => "denied_status",
            Self::Scope => "denied_scope",
            Self::Unbounded => "denied_unbounded",
            Self::Rate => "denied_rate",
            Self::Request => "denied_request",
            Self::Till => "failed_till",
            Self::Upstream => "failed_upstream",
        }
    }

    fn of(code: DenialCode) -> Self {
        match code {
            DenialCode::MissingKey | DenialCode::InvalidKey | DenialCode::CredentialDenied => {
                Self::Credential
            }
            DenialCode::ActivationsExhausted
            | DenialCode::TokensExhausted
            | DenialCode::SpendExhausted
            | DenialCode::ProjectExhausted => Self::Exhausted,
            DenialCode::KeyRevoked
            | DenialCode::KeyExpired
            | DenialCode::KeyPaused
            | DenialCode::KeyNotYetActive
            | DenialCode::InstanceStopped
            | DenialCode::KeyFenced => Self::Status,
            DenialCode::EndpointDenied
            | DenialCode::ModelDenied
            | DenialCode::ParameterDenied
            | DenialCode::NetworkDenied => Self::Scope,
            DenialCode::UnpricedModel | DenialCode::UnboundedRequest | DenialCode::WebsocketUnmetered => {
                Self::Unbounded
            }
            DenialCode::RateLimited | DenialCode::ConcurrencyLimited | DenialCode::BudgetBusy => Self::Rate,
            DenialCode::UnknownProvider
            | DenialCode::MalformedRequest
            | DenialCode::BodyTooLarge
            | DenialCode::HeadersTooLarge => Self::Request,
            DenialCode::LedgerUnavailable | DenialCode::Overloaded | DenialCode::ShuttingDown => Self::Till,
            DenialCode::UpstreamUnreachable | DenialCode::UpstreamProtocol | DenialCode::UpstreamTimeout => {
                Self::Upstream
            }
        }
    }
}

/// The provider of requests whose key did not open.
const OTHER: &str = "other";

impl ProviderMetrics {
    fn new(id: Arc<str>) -> Self {
        Self {
            id,
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            refused: Refused::default(),
            connects: Counter::default(),
            connect_failures: Counter::default(),
        }
    }

    fn shard(&self) -> &Shard {
        &self.shards[shard()]
    }

    /// An answer was passed on, of which the client got so many bytes.
    pub(crate) fn answered(&self, status: StatusCode, bytes: u64) {
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        let shard = self.shard();
        shard.answered[class].add(1);
        shard.bytes.add(bytes);
    }

    /// A connection that was there is used again.
    pub(crate) fn reused(&self) {
        self.shard().reused.add(1);
    }

    /// The head of an answer came at `now`. Its request had come at `started` and was handed to a connection at `sent`.
    pub(crate) fn first_byte(&self, started: Instant, sent: Instant, now: Instant) {
        let shard = self.shard();
        shard.sending.observe_time(&SHORT, sent.saturating_duration_since(started));
        shard.first_byte.observe_time(&LONG, now.saturating_duration_since(sent));
    }

    /// An answer ended, whichever way.
    pub(crate) fn ended(&self, started: Instant, ended: Instant) {
        self.shard().duration.observe_time(&LONG, ended.saturating_duration_since(started));
    }

    fn sum(&self, counter: impl Fn(&Shard) -> &Counter) -> u64 {
        self.shards.iter().map(|shard| counter(shard).read()).sum()
    }

    fn read(&self, histogram: impl Fn(&Shard) -> &Histogram) -> Reading {
        let mut reading = Reading::default();
        self.shards.iter().for_each(|shard| histogram(shard).read_into(&mut reading));
        reading
    }
}

/// What is read elsewhere when the page is made.
pub(crate) struct Others {
    pub(crate) requests_in_flight: usize,
    /// Connections to providers that wait for a request.
    pub(crate) connections_idle: usize,
    /// Those that are there at all.
    pub(crate) connections_open: u64,
}

impl Metrics {
    /// From now on streams that end early do so because of us.
    pub(crate) fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// The counters of a provider of the registry, made when it is used first.
    pub(crate) fn provider(&self, id: &Arc<str>) -> Arc<ProviderMetrics> {
        let mut providers = self.providers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = providers.iter().find(|known| known.id == *id) {
            return Arc::clone(known);
        }
        let new = Arc::new(ProviderMetrics::new(Arc::clone(id)));
        providers.push(Arc::clone(&new));
        new
    }

    /// A request was answered by till itself. `provider` is that of its key, if it opened.
    pub(crate) fn refused(&self, provider: Option<&ProviderMetrics>, code: DenialCode) {
        let index = DenialCode::ALL.iter().position(|other| *other == code);
        self.refused.0[index.expect("ALL has every code")].add(1);
        let classes = provider.map_or(&self.other, |provider| &provider.refused);
        let index = Class::ALL.iter().position(|other| *other == Class::of(code));
        classes.0[index.expect("ALL has every class")].add(1);
    }

    /// The page, in the text format of Prometheus, version 0.0.4.
    pub(crate) fn render(&self, others: &Others) -> String {
        let mut providers = self.providers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        providers.sort_by(|one, other| one.id.cmp(&other.id));
        let mut page = Page::new();
        self.render_requests(&mut page, &providers);
        render_times(&mut page, &providers);
        self.render_connections(&mut page, &providers, others);
        page.counter(
            "till_upstream_key_echoes_total",
            "Places in answers where an echoed upstream key was replaced.",
            self.echoes_replaced.read(),
        );
        page.counter(
            "till_websocket_activations_total",
            "WebSocket messages that started work.",
            self.websocket_messages.read(),
        );
        page.counter(
            "till_inputs_counted_total",
            "Inputs whose tokens were counted because their cheap bound did not fit a limit.",
            self.inputs_counted.read(),
        );
        page.into_text()
    }

    fn render_requests(&self, page: &mut Page, providers: &[Arc<ProviderMetrics>]) {
        let mut family = page.family(
            "till_requests_total",
            Kind::Counter,
            Unit::Number,
            "Requests to providers that ended, by provider and outcome; provider other has those whose key did not open.",
        );
        for provider in providers {
            let answered = (0..CLASSES.len()).map(|class| provider.sum(|shard| &shard.answered[class])).sum();
            family.series(&[("provider", &provider.id), ("outcome", "answered")], answered);
            for (class, count) in Class::ALL.iter().zip(&provider.refused.0) {
                family.series(&[("provider", &provider.id), ("outcome", class.as_str())], count.read());
            }
        }
        for (class, count) in Class::ALL.iter().zip(&self.other.0) {
            family.series(&[("provider", OTHER), ("outcome", class.as_str())], count.read());
        }
        let mut family = page.family(
            "till_requests_refused_total",
            Kind::Counter,
            Unit::Number,
            "Requests that till answered itself with a denial or failure, by code.",
        );
        for (code, count) in DenialCode::ALL.iter().zip(&self.refused.0) {
            family.series(&[("code", code.as_str())], count.read());
        }
        page.counter(
            "till_unknown_tokens_total",
            "Requests with something like a scoped key that does not open here.",
            self.unknown_tokens.read(),
        );
        let mut family = page.family(
            "till_upstream_responses_total",
            Kind::Counter,
            Unit::Number,
            "Answers of providers that were passed on, by status class.",
        );
        for provider in providers {
            for (class, word) in CLASSES.iter().enumerate() {
                let count = provider.sum(|shard| &shard.answered[class]);
                family.series(&[("provider", &provider.id), ("status", word)], count);
            }
        }
        let mut family = page.family(
            "till_relayed_bytes_total",
            Kind::Counter,
            Unit::Number,
            "Bytes of answer bodies passed on.",
        );
        for provider in providers {
            family.series(&[("provider", &provider.id)], provider.sum(|shard| &shard.bytes));
        }
    }

    fn render_connections(&self, page: &mut Page, providers: &[Arc<ProviderMetrics>], others: &Others) {
        page.gauge(
            "till_requests_in_flight",
            "Requests being served now, streams included.",
            others.requests_in_flight as u64,
        );
        page.gauge("till_streams_open", "Event streams being passed on now.", self.streams_open.read());
        page.gauge("till_websockets_open", "WebSockets open now.", self.websockets_open.read());
        page.counter(
            "till_client_connections_total",
            "Client connections accepted.",
            self.connections.read(),
        );
        page.gauge(
            "till_client_connections_open",
            "Client connections open now.",
            self.connections_open.read(),
        );
        let mut count = |name, help, read: fn(&ProviderMetrics) -> u64| {
            let mut family = page.family(name, Kind::Counter, Unit::Number, help);
            for provider in providers {
                family.series(&[("provider", &provider.id)], read(provider));
            }
        };
        count(
            "till_upstream_connects_total",
            "New connections made to providers, those that failed included.",
            |provider| provider.connects.read(),
        );
        count(
            "till_upstream_connect_failures_total",
            "Connections to providers that could not be made.",
            |provider| provider.connect_failures.read(),
        );
        count(
            "till_upstream_connections_reused_total",
            "Requests that were sent over a connection that was there already.",
            |provider| provider.sum(|shard| &shard.reused),
        );
        let idle = others.connections_idle as u64;
        let mut family = page.family(
            "till_upstream_connections",
            Kind::Gauge,
            Unit::Number,
            "Connections to providers now: in use, or kept for the next request.",
        );
        family.series(&[("state", "busy")], others.connections_open.saturating_sub(idle));
        family.series(&[("state", "idle")], idle);
    }
}

fn render_times(page: &mut Page, providers: &[Arc<ProviderMetrics>]) {
    let mut render = |name, help, bounds, histogram: fn(&Shard) -> &Histogram| {
        let mut family = page.family(name, Kind::Histogram, Unit::Nano, help);
        for provider in providers {
            family.histogram(&[("provider", &provider.id)], bounds, &provider.read(histogram));
        }
    };
    render(
        "till_request_preparation_duration_seconds",
        "From the head of a request until it was handed to a connection to the provider: reading what must be read of it, \
         checking, the hold, connecting.",
        &SHORT,
        |shard| &shard.sending,
    );
    render(
        "till_upstream_first_byte_duration_seconds",
        "From handing a request to a connection until the head of the provider's answer was there.",
        &LONG,
        |shard| &shard.first_byte,
    );
    render(
        "till_request_duration_seconds",
        "From the head of a request until the end of the provider's answer, streams included.",
        &LONG,
        |shard| &shard.duration,
    );
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use http::StatusCode;
    use till_core::denial::DenialCode;

    use super::{Metrics, Others, SHARDS};

    const OTHERS: Others = Others { requests_in_flight: 3, connections_idle: 2, connections_open: 5 };

    #[test]
    fn every_thread_counts_and_the_page_has_the_sum() {
        let metrics = Metrics::default();
        let provider = metrics.provider(&Arc::from("openai"));
        let threads = 3 * SHARDS;
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let begin = Instant::now();
                    for _ in 0..100 {
                        provider.answered(StatusCode::OK, 7);
                        provider.first_byte(begin, begin, begin + Duration::from_millis(30));
                    }
                    metrics.refused(Some(&provider), DenialCode::TokensExhausted);
                    metrics.refused(None, DenialCode::InvalidKey);
                });
            }
        });
        let page = metrics.render(&OTHERS);
        for line in [
            "till_requests_total{provider=\"openai\",outcome=\"answered\"} 4800\n",
            "till_requests_total{provider=\"openai\",outcome=\"denied_exhausted\"} 48\n",
            "till_requests_total{provider=\"other\",outcome=\"denied_credential\"} 48\n",
            "till_upstream_responses_total{provider=\"openai\",status=\"2xx\"} 4800\n",
            "till_relayed_bytes_total{provider=\"openai\"} 33600\n",
            "till_upstream_first_byte_duration_seconds_bucket{provider=\"openai\",le=\"0.025\"} 0\n",
            "till_upstream_first_byte_duration_seconds_bucket{provider=\"openai\",le=\"0.05\"} 4800\n",
            "till_upstream_first_byte_duration_seconds_sum{provider=\"openai\"} 144\n",
            "till_upstream_connections{state=\"busy\"} 3\n",
            "till_requests_in_flight 3\n",
        ] {
            assert!(page.contains(&format!("\n{line}")), "{line} in {page}");
        }
    }

    #[test]
    fn a_provider_has_one_set_of_counters() {
        let metrics = Metrics::default();
        let id: Arc<str> = "openai".into();
        assert!(Arc::ptr_eq(&metrics.provider(&id), &metrics.provider(&Arc::from("openai"))));
        assert!(!Arc::ptr_eq(&metrics.provider(&id), &metrics.provider(&Arc::from("google"))));
    }
}
