//! `/metrics`: counters in the Prometheus text format.
//!
//! No label carries anything that a caller chose, so the number of series is bounded.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use till_store::StoreStats;

use crate::router::Shared;

/// Content type of the text format, version 0.0.4.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the control plane counts about itself.
#[derive(Debug, Default)]
pub(crate) struct AdminMetrics {
    /// Answers by first digit of the status: 2xx, 3xx, 4xx, 5xx.
    answers: [AtomicU64; 4],
    unauthorized: AtomicU64,
    forbidden: AtomicU64,
    panics: AtomicU64,
}

const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

impl AdminMetrics {
    pub(crate) fn answered(&self, status: StatusCode) {
        let class = match status.as_u16() {
            0..300 => 0,
            300..400 => 1,
            400..500 => 2,
            500.. => 3,
        };
        self.answers[class].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn unauthorized(&self) {
        self.unauthorized.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn forbidden(&self) {
        self.forbidden.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    fn render(&self, text: &mut String) {
        family(
            text,
            "till_admin_requests_total",
            "counter",
            "Requests answered by the control plane, by status class.",
        );
        for (class, count) in CLASSES.iter().zip(&self.answers) {
            line(
                text,
                &format!("till_admin_requests_total{{status=\"{class}\"}}"),
                count.load(Ordering::Relaxed),
            );
        }
        for (name, help, count) in [
            ("till_admin_unauthorized_total", "Requests without a valid admin token.", &self.unauthorized),
            ("till_admin_forbidden_total", "Requests whose admin token may not do that.", &self.forbidden),
            ("till_admin_panics_total", "Requests that met a defect in till.", &self.panics),
        ] {
            single(text, name, "counter", help, count.load(Ordering::Relaxed));
        }
    }
}

fn render_store(text: &mut String, stats: StoreStats, fenced: bool, stopped: bool) {
    for (name, kind, help, value) in [
        ("till_store_batches_total", "counter", "Transactions committed.", stats.batches),
        ("till_store_operations_total", "counter", "Operations taken from the queue.", stats.operations),
        ("till_store_commit_failures_total", "counter", "Transactions that failed.", stats.commit_failures),
        (
            "till_store_holds_exceeded_total",
            "counter",
            "Requests that used more than was set aside for them.",
            stats.holds_exceeded,
        ),
        (
            "till_store_overruns_total",
            "counter",
            "Requests that used more than a limit allows; their keys are stopped.",
            stats.overruns,
        ),
        ("till_store_queue_length", "gauge", "Operations that wait for the writer.", stats.queue_length),
        ("till_store_fenced", "gauge", "1 while all keys are refused after a roll-back.", u64::from(fenced)),
        (
            "till_kill_switch",
            "gauge",
            "1 while the kill switch is on and all keys are refused.",
            u64::from(stopped),
        ),
    ] {
        single(text, name, kind, help, value);
    }
}

fn single(text: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    family(text, name, kind, help);
    line(text, name, value);
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) {
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a String takes everything");
}

fn line(text: &mut String, series: &str, value: u64) {
    writeln!(text, "{series} {value}").expect("a String takes everything");
}

/// Counters
///
/// In the Prometheus text format. Needs an admin token unless till listens on a loopback address only.
#[utoipa::path(get, path = "/metrics",
    responses((status = 200, description = "All counters", body = String, content_type = "text/plain")))]
pub(crate) async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let mut text = (shared.state.metrics)();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let store = &shared.state.store;
    render_store(&mut text, store.stats(), store.fenced().is_some(), store.kill_switch().is_some());
    shared.metrics.render(&mut text);
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text)
}
