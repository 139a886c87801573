//! Stage 7: one log line per request, and the counters. Never a secret, never a body, never a query.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use http::{Method, StatusCode};
use till_core::denial::{Denial, DenialCode};
use till_core::key::KeyId;
use till_core::limit::Units;
use till_core::redact::Redactor;
use till_core::time::Timestamp;
use till_core::token::{ADMIN_TOKEN_PREFIX, SCOPED_KEY_PREFIX};
use till_providers::base_url::Scheme;
use till_store::{Outcome, TokenCounts, UsageRecord};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::authenticate::VerifiedKey;
use crate::bounds::Measure;
use crate::facts::Facts;
use crate::request::Client;
use crate::trace::{Trace, clean, start};
use crate::{Inner, RequestId};

/// Bytes of a path that are kept for log and traces: more than any that means something.
const PATH_BYTES_MAX: usize = 2 * 1024;

macro_rules! log_request {
    ($level:ident, $record:expr) => {
        tracing::$level!(
            request = %$record.request_id,
            trace_id = $record.trace.as_ref().map(|trace| trace.id()),
            peer = %$record.connection.peer,
            client = $record.client.map(tracing::field::display),
            method = %$record.method,
            path = %$record.shown_path(),
            key = $record.key.map(tracing::field::display),
            provider = $record.provider(),
            status = $record.status.map(|status| status.as_u16()),
            denial = $record.denial.map(DenialCode::as_str),
            cut = $record.cut,
            bytes = $record.bytes,
            ms = millis($record.started),
            "request"
        )
    };
}

/// What is known of a request while it is served; written out when it is dropped. It is large and goes through many hands:
/// only boxes of it are made.
pub(crate) struct Record {
    /// The connection that it came in on. Nothing that all connections share is counted up and down per request.
    connection: Arc<Client>,
    /// It is served for as long as this is there.
    _in_flight: TaskTrackerToken,
    pub(crate) started: Instant,
    /// The same as time of day.
    pub(crate) at: Timestamp,
    pub(crate) request_id: RequestId,
    /// Present when requests are traced.
    pub(crate) trace: Option<Arc<Trace>>,
    /// Where the request comes from; `None` when it can't be told.
    pub(crate) client: Option<IpAddr>,
    method: Method,
    path: String,
    pub(crate) key: Option<KeyId>,
    /// The same key, where its token was opened.
    pub(crate) opened: Option<Arc<VerifiedKey>>,
    /// Name of the endpoint in the tables.
    endpoint: Option<&'static str>,
    model: Option<String>,
    pub(crate) status: Option<StatusCode>,
    /// Whether this is a request to a provider; the others are logged as details only, and not counted.
    pub(crate) is_data: bool,
    pub(crate) denial: Option<DenialCode>,
    /// How the answer ended, where that is not the ordinary end.
    pub(crate) cut: Option<&'static str>,
    pub(crate) bytes: u64,
    pub(crate) echoes: u64,
}

impl Record {
    pub(crate) fn new(
        connection: Arc<Client>,
        request_id: RequestId,
        client: Option<IpAddr>,
        method: Method,
        path: &str,
        started: Instant,
        trace: Option<Arc<Trace>>,
    ) -> Box<Self> {
        let till = &connection.till;
        let method = if known_method(&method).is_none() && method.as_str().contains(SCOPED_KEY_PREFIX) {
            Method::from_bytes(b"_OTHER").expect("a token")
        } else {
            method
        };
        let is_kept = till.log_requests || trace.is_some();
        let at = (till.clock)();
        Box::new(Self {
            _in_flight: till.requests.token(),
            connection,
            started,
            at,
            request_id,
            trace,
            client,
            method,
            path: if is_kept { kept_path(path) } else { String::new() },
            key: None,
            opened: None,
            endpoint: None,
            model: None,
            status: None,
            is_data: true,
            denial: None,
            cut: None,
            bytes: 0,
            echoes: 0,
        })
    }
}

impl Record {
    /// What all requests share.
    pub(crate) fn till(&self) -> &Arc<Inner> {
        &self.connection.till
    }

    /// The other end of the connection.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.connection.peer
    }

    /// Masks the upstream key, should somebody have put it into the path.
    pub(crate) fn redact_path(&mut self, redactor: &Redactor) {
        if let Some(masked) = redactor.redact_all(self.path.as_bytes()) {
            self.path = String::from_utf8_lossy(&masked).into_owned();
        }
    }

    /// The path as it is kept: whoever sends requests does not say how much. Cut only here, where an upstream key in it is
    /// masked.
    fn shown_path(&self) -> Cow<'_, str> {
        if self.path.len() <= PATH_BYTES_MAX {
            return Cow::Borrowed(&self.path);
        }
        Cow::Owned(format!("{}… ({} bytes)", start(&self.path, PATH_BYTES_MAX), self.path.len()))
    }

    fn provider(&self) -> Option<&str> {
        self.opened.as_ref().map(|key| key.provider.id())
    }

    /// What the request asks for is known from here on.
    pub(crate) fn asked_for(&mut self, measure: &Measure) {
        self.endpoint = measure.endpoint;
        self.model.clone_from(&measure.model);
    }

    /// Where the request goes, if nothing more can be known of it.
    pub(crate) fn asked_at(&mut self, facts: &Facts) {
        self.endpoint = facts.place.endpoint().map(|row| row.name);
    }

    /// The beginning of a usage record, with memory for the id: whoever knows more fills it in, and the hold says when it was
    /// granted.
    pub(crate) fn usage(&self, key: KeyId, mut request_id: String) -> UsageRecord {
        request_id.push_str(self.request_id.as_str());
        UsageRecord {
            at: self.at,
            request_id,
            key,
            provider: self
                .opened
                .as_ref()
                .map_or_else(|| "".into(), |key| Arc::clone(key.provider.shared_id())),
            method: method_name(&self.method),
            endpoint: self.endpoint.unwrap_or_default().into(),
            model: self.model.clone(),
            status: self.status.map(|status| status.as_u16()),
            outcome: Outcome::Charged,
            denial: self.denial,
            tokens: TokenCounts::default(),
            charged: Units::default(),
            price_version: None,
            latency_ms: 0,
            first_byte_ms: None,
            client: self.client,
            streamed: false,
        }
    }

    /// The usage record of a request that was refused.
    pub(crate) fn denied(&self, key: KeyId, denial: &Denial) -> UsageRecord {
        UsageRecord {
            at: self.till().store.now(),
            outcome: Outcome::Denied,
            denial: Some(denial.code),
            latency_ms: millis(self.started),
            ..self.usage(key, String::new())
        }
    }

    /// The answer was not sent to its end although nothing was wrong with it.
    pub(crate) fn abandoned(&mut self) {
        self.cut =
            Some(if self.connection.till.metrics.is_stopping() { "shutting_down" } else { "client_gone" });
    }
}

impl Record {
    /// Hands over what is known to the trace.
    fn end_trace(&self, trace: &Trace) {
        if !self.is_data {
            return trace.forget();
        }
        let key = self.opened.as_ref();
        let redactor = key.map(|key| &*key.redactor);
        trace.ended(|facts| {
            facts.request_id = self.request_id.to_string();
            facts.method = known_method(&self.method).unwrap_or("_OTHER");
            facts.path = self.shown_path().into_owned();
            facts.peer = Some(self.peer());
            facts.client = self.client;
            facts.status = self.status.map(|status| status.as_u16());
            facts.denial = self.denial.map(DenialCode::as_str);
            facts.cut = self.cut;
            facts.bytes = self.bytes;
            facts.key = self.key.map(|key| key.to_string());
            facts.provider = self.provider().map(str::to_owned);
            facts.server = key.map(|key| {
                let base = key.bucket.base();
                (base.host().to_owned(), base.port(), base.scheme() == Scheme::Https)
            });
            facts.endpoint = self.endpoint;
            facts.model = self.model.as_deref().map(|model| clean(model, redactor));
        });
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if let Some(trace) = &self.trace {
            self.end_trace(trace);
        }
        let Inner { metrics, log_requests, .. } = &*self.connection.till;
        match (self.denial, self.status, &self.opened) {
            (Some(code), _, opened) => {
                metrics.refused(opened.as_ref().map(|key| &*key.metrics), code);
                if code == DenialCode::InvalidKey && self.key.is_none() {
                    metrics.unknown_tokens.add(1);
                }
            }
            (None, Some(status), Some(key)) if self.is_data => key.metrics.answered(status, self.bytes),
            (None, ..) => {}
        }
        if self.echoes > 0 {
            metrics.echoes_replaced.add(self.echoes);
            tracing::warn!(
                request = %self.request_id,
                provider = self.provider(),
                echoes = self.echoes,
                "upstream echoed its key; replaced"
            );
        }
        if !log_requests {
            return;
        }
        // Probes of a load balancer every second would bury the requests of agents.
        if self.is_data {
            log_request!(info, self);
        } else {
            log_request!(debug, self);
        }
    }
}

/// A path for log and traces.
fn kept_path(path: &str) -> String {
    // Somebody may have put a key into the path: nothing to keep. HTTP/2 lets more through than a terminal should see.
    key_in_path(path).unwrap_or(path).escape_default().to_string()
}

/// What stands for a path that has one of our keys in it, in any spelling that is read as one.
fn key_in_path(path: &str) -> Option<&'static str> {
    let bytes = path.as_bytes();
    if !bytes.contains(&b'_') && !bytes.contains(&b'%') {
        return None;
    }
    let decoded = decoded(bytes);
    let has = |prefix: &str| decoded.windows(prefix.len()).any(|part| part == prefix.as_bytes());
    if has(SCOPED_KEY_PREFIX) {
        Some("[scoped key]")
    } else if has(ADMIN_TOKEN_PREFIX) {
        Some("[admin token]")
    } else {
        None
    }
}

/// What a path says without percent-encoding.
fn decoded(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !bytes.contains(&b'%') {
        return Cow::Borrowed(bytes);
    }
    let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
    let encoded = |at: usize| u8::try_from(digit(at + 1)? * 16 + digit(at + 2)?).ok();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let encoded = if byte == b'%' { encoded(at) } else { None };
        decoded.push(encoded.unwrap_or(byte));
        at += if encoded.is_some() { 3 } else { 1 };
    }
    Cow::Owned(decoded)
}

/// The name of a method, which is nearly always one that everybody knows.
fn method_name(method: &Method) -> Cow<'static, str> {
    known_method(method).map_or_else(|| method.as_str().to_owned().into(), Cow::Borrowed)
}

fn known_method(method: &Method) -> Option<&'static str> {
    const KNOWN: [&Method; 7] = [
        &Method::POST,
        &Method::GET,
        &Method::PUT,
        &Method::DELETE,
        &Method::PATCH,
        &Method::HEAD,
        &Method::OPTIONS,
    ];
    KNOWN.into_iter().find(|known| *known == method).map(Method::as_str)
}

/// Milliseconds since then.
pub(crate) fn millis(since: Instant) -> u64 {
    millis_between(since, Instant::now())
}

/// Milliseconds between the two.
pub(crate) fn millis_between(begin: Instant, end: Instant) -> u64 {
    u64::try_from(end.saturating_duration_since(begin).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::key_in_path;

    #[test]
    fn keys_in_paths_are_seen_in_every_spelling() {
        for (path, expected) in [
            ("/v1/chat/completions", None),
            ("/v1/files/file_1%2Fx", None),
            ("/till_sk", None),
            ("/v1/till_sk_abc", Some("[scoped key]")),
            ("/v1/till%5Fsk%5Fabc", Some("[scoped key]")),
            ("/v1/%74ill%5fsk_abc", Some("[scoped key]")),
            ("/admin/till_admin_abc", Some("[admin token]")),
            ("/admin/till%5Fadmin%5Fabc", Some("[admin token]")),
            ("/100%", None),
            ("/%5", None),
            ("/%ä_", None),
        ] {
            assert_eq!(key_in_path(path), expected, "{path}");
        }
    }
}
