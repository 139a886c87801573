//! Counters of the data plane, as Prometheus text.
//!
//! They are plain atomics in fixed tables: counting costs no lock and no look-up. There are no per-key
//! labels, so that an attacker can't make the page grow.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use till_core::denial::DenialCode;

/// What happened to requests since the start.
#[derive(Default)]
pub(crate) struct Metrics {
    /// Answers passed on, by hundreds of the status: index 0 is 1xx.
    answered: [AtomicU64; 5],
    refused: PerCode,
    stopping: AtomicBool,
    pub(crate) connections: Counter,
    pub(crate) connections_open: Gauge,
    pub(crate) upstream_connects: Counter,
    pub(crate) echoes_replaced: Counter,
    pub(crate) bytes_relayed: Counter,
    pub(crate) websocket_messages: Counter,
    pub(crate) inputs_counted: Counter,
}

/// A count per code.
struct PerCode([AtomicU64; DenialCode::ALL.len()]);

impl Default for PerCode {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::default()))
    }
}

/// Only goes up.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }
}

/// Goes up and down.
#[derive(Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    pub(crate) fn enter(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metrics {
    /// From now on streams that end early do so because of us.
    pub(crate) fn stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub(crate) fn answered(&self, status: http::StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.answered[class].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self, code: DenialCode) {
        let index = DenialCode::ALL.iter().position(|other| *other == code);
        self.refused.0[index.expect("ALL has every code")].fetch_add(1, Ordering::Relaxed);
    }

    /// The page, in the text format of Prometheus, version 0.0.4.
    pub(crate) fn render(&self, requests_in_flight: usize, idle_upstream_connections: usize) -> String {
        let mut page = String::with_capacity(4096);
        family(
            &mut page,
            "till_requests_answered_total",
            "counter",
            "Answers of upstreams passed on, by status class.",
        );
        for (class, count) in (1..).zip(&self.answered) {
            let count = count.load(Ordering::Relaxed);
            let _ = writeln!(page, "till_requests_answered_total{{status=\"{class}xx\"}} {count}");
        }
        family(
            &mut page,
            "till_requests_refused_total",
            "counter",
            "Requests that till answered itself with a denial or failure, by code.",
        );
        for (code, count) in DenialCode::ALL.iter().zip(&self.refused.0) {
            let count = count.load(Ordering::Relaxed);
            let _ = writeln!(page, "till_requests_refused_total{{code=\"{code}\"}} {count}");
        }
        let rows: [(&str, &str, &str, &AtomicU64); 7] = [
            ("till_client_connections_total", "counter", "Client connections accepted.", &self.connections.0),
            (
                "till_client_connections_open",
                "gauge",
                "Client connections open now.",
                &self.connections_open.0,
            ),
            (
                "till_upstream_connects_total",
                "counter",
                "New connections made to providers.",
                &self.upstream_connects.0,
            ),
            (
                "till_upstream_key_echoes_total",
                "counter",
                "Places in answers where an echoed upstream key was replaced.",
                &self.echoes_replaced.0,
            ),
            (
                "till_relayed_bytes_total",
                "counter",
                "Bytes of answer bodies passed on.",
                &self.bytes_relayed.0,
            ),
            (
                "till_websocket_activations_total",
                "counter",
                "WebSocket messages that started work.",
                &self.websocket_messages.0,
            ),
            (
                "till_inputs_counted_total",
                "counter",
                "Inputs whose tokens were counted because their cheap bound did not fit a limit.",
                &self.inputs_counted.0,
            ),
        ];
        for (name, kind, help, value) in rows {
            family(&mut page, name, kind, help);
            let _ = writeln!(page, "{name} {}", value.load(Ordering::Relaxed));
        }
        let name = "till_requests_in_flight";
        family(&mut page, name, "gauge", "Requests being served now, streams included.");
        let _ = writeln!(page, "{name} {requests_in_flight}");
        let name = "till_upstream_connections_idle";
        family(&mut page, name, "gauge", "Pooled upstream connections waiting for a request.");
        let _ = writeln!(page, "{name} {idle_upstream_connections}");
        page
    }
}

fn family(page: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
}
