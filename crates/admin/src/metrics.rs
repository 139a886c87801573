//! `/metrics`: counters in the Prometheus text format.
//!
//! No label carries anything that a caller chose, so the number of series is bounded.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use till_core::metric::{Counter, Kind, NUMBERS, Page, SHORT, Unit};
use till_store::{ProviderUsage, StoreStats, TokenCounts};

use crate::router::Shared;

/// Content type of the text format, version 0.0.4.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the control plane counts about itself.
#[derive(Debug)]
pub(crate) struct AdminMetrics {
    /// By group of the route table.
    operations: Vec<Operation>,
    /// What no route is for.
    other: Answers,
    unauthorized: Counter,
    forbidden: Counter,
    throttled: Counter,
    panics: Counter,
}

#[derive(Debug)]
struct Operation {
    tag: &'static str,
    /// The same for the page.
    word: String,
    answers: Answers,
}

/// Answers by first digit of the status.
type Answers = [Counter; CLASSES.len()];

const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// What is no operation.
const OTHER: &str = "other";

impl AdminMetrics {
    /// For operations in these groups.
    pub(crate) fn new(tags: impl Iterator<Item = &'static str>) -> Self {
        let mut tags: Vec<_> = tags.collect();
        tags.sort_unstable();
        tags.dedup();
        let operation = |tag: &'static str| Operation {
            tag,
            word: tag.to_lowercase().replace(' ', "_"),
            answers: Answers::default(),
        };
        Self {
            operations: tags.into_iter().map(operation).collect(),
            other: Answers::default(),
            unauthorized: Counter::default(),
            forbidden: Counter::default(),
            throttled: Counter::default(),
            panics: Counter::default(),
        }
    }

    /// A request was answered; `tag` is the group of its route, if there is one.
    pub(crate) fn answered(&self, tag: Option<&'static str>, status: StatusCode) {
        let class = match status.as_u16() {
            0..300 => 0,
            300..400 => 1,
            400..500 => 2,
            500.. => 3,
        };
        let operation = tag.and_then(|tag| self.operations.iter().find(|operation| operation.tag == tag));
        operation.map_or(&self.other, |operation| &operation.answers)[class].add(1);
    }

    pub(crate) fn unauthorized(&self) {
        self.unauthorized.add(1);
    }

    pub(crate) fn forbidden(&self) {
        self.forbidden.add(1);
    }

    pub(crate) fn throttled(&self) {
        self.throttled.add(1);
    }

    pub(crate) fn panicked(&self) {
        self.panics.add(1);
    }

    fn render(&self, page: &mut Page) {
        let mut family = page.family(
            "till_admin_requests_total",
            Kind::Counter,
            Unit::Number,
            "Requests answered by the control plane, by group of operations and status class.",
        );
        let operations =
            self.operations.iter().map(|operation| (operation.word.as_str(), &operation.answers));
        for (word, answers) in operations.chain([(OTHER, &self.other)]) {
            for (class, count) in CLASSES.iter().zip(answers) {
                family.series(&[("operation", word), ("status", class)], count.read());
            }
        }
        for (name, help, count) in [
            ("till_admin_unauthorized_total", "Requests without a valid admin token.", &self.unauthorized),
            ("till_admin_forbidden_total", "Requests whose admin token may not do that.", &self.forbidden),
            (
                "till_admin_login_throttled_total",
                "Sign-ins that were not looked at, because too many had failed.",
                &self.throttled,
            ),
            ("till_admin_panics_total", "Requests that met a defect in till.", &self.panics),
        ] {
            page.counter(name, help, count.read());
        }
    }
}

fn render_store(page: &mut Page, stats: &StoreStats, fenced: bool, stopped: bool) {
    for (name, help, value) in [
        ("till_store_batches_total", "Transactions committed.", stats.batches),
        ("till_store_operations_total", "Operations taken from the queue.", stats.operations),
        ("till_store_commit_failures_total", "Transactions that failed.", stats.commit_failures),
        (
            "till_store_holds_exceeded_total",
            "Requests that used more than was set aside for them.",
            stats.holds_exceeded,
        ),
        (
            "till_store_overruns_total",
            "Requests that used more than a limit allows; their keys are stopped.",
            stats.overruns,
        ),
    ] {
        page.counter(name, help, value);
    }
    let mut settles = page.family(
        "till_store_settles_total",
        Kind::Counter,
        Unit::Number,
        "Ends of calls on disk: of calls with a hold of their own, or granted from units counted out ahead.",
    );
    settles.series(&[("hold", "own")], stats.settles_own);
    settles.series(&[("hold", "ahead")], stats.settles_ahead);
    for (name, help, value) in [
        ("till_store_queue_length", "Operations that wait for the writer.", stats.queue_length),
        (
            "till_store_escrows_open",
            "Keys for which units are counted out ahead of their calls.",
            stats.escrows_open,
        ),
        ("till_store_waiting_requests", "Requests that wait until others settle.", stats.waiting),
        ("till_store_fenced", "1 while all keys are refused after a roll-back.", u64::from(fenced)),
        ("till_kill_switch", "1 while the kill switch is on and all keys are refused.", u64::from(stopped)),
    ] {
        page.gauge(name, help, value);
    }
    for (name, help, reading) in [
        (
            "till_store_hold_duration_seconds",
            "From asking the writer for a hold until it was on disk, waiting for units included. Calls that are granted \
             from units counted out ahead don't ask.",
            &stats.hold,
        ),
        (
            "till_store_settle_duration_seconds",
            "From the end of a call until its end was on disk. Nobody waits for that.",
            &stats.settle,
        ),
        (
            "till_store_commit_duration_seconds",
            "One transaction of the store, nearly all of it the fsync.",
            &stats.commit,
        ),
    ] {
        page.family(name, Kind::Histogram, Unit::Nano, help).histogram(&[], &SHORT, reading);
    }
    page.family(
        "till_store_batch_operations",
        Kind::Histogram,
        Unit::Number,
        "Operations that shared one transaction.",
    )
    .histogram(&[], &NUMBERS, &stats.batch);
    render_usage(page, &stats.usage);
}

fn render_usage(page: &mut Page, usage: &[ProviderUsage]) {
    let mut family = page.family(
        "till_spend_dollars_total",
        Kind::Counter,
        Unit::Nano,
        "What keys were charged in US dollars, for calls whose end is on disk.",
    );
    for one in usage {
        family.series(&[("provider", &one.provider)], one.spend_nanos);
    }
    let mut family = page.family(
        "till_tokens_charged_total",
        Kind::Counter,
        Unit::Number,
        "What keys were charged in tokens, for calls whose end is on disk.",
    );
    for one in usage {
        family.series(&[("provider", &one.provider)], one.tokens_charged);
    }
    let mut family = page.family(
        "till_tokens_used_total",
        Kind::Counter,
        Unit::Number,
        "What answers of providers say was used, by kind: the kinds overlap, those of docs/metering.md. tool_calls are calls.",
    );
    for one in usage {
        for (kind, count) in TokenCounts::WORDS.iter().zip(one.tokens.to_array()) {
            family.series(&[("provider", &one.provider), ("kind", kind)], count);
        }
    }
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
    let mut page = Page::new();
    render_store(&mut page, &store.stats(), store.fenced().is_some(), store.kill_switch().is_some());
    shared.metrics.render(&mut page);
    text.push_str(&page.into_text());
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text)
}
