//! Stage 4: send the request, with the real key in the place of the scoped one.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use http_body::Body as _;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use till_core::denial::{Denial, DenialCode};
use till_core::fields::{Fields, decimal, write_line};
use till_core::redact::Redactor;
use till_core::secret::Secret;
use till_core::upstream::{Placement, Upstream};

use crate::admit::{Admission, Held};
use crate::authenticate::VerifiedKey;
use crate::connect::OutboundBody;
use crate::facts::Facts;
use crate::head::{Head, named_by_connection};
use crate::http1::{AnswerHead, Outbound, WireError, memory};
use crate::inspect::broken_body;
use crate::pool::{Lease, Pool};

/// Headers of one hop, RFC 9110 section 7.6.1 and RFC 9112 section 6.1, and those that till answers itself.
fn is_not_forwarded(name: &[u8]) -> bool {
    match name {
        b"connection"
        | b"keep-alive"
        | b"proxy-authenticate"
        | b"proxy-authorization"
        | b"proxy-connection"
        | b"te"
        | b"transfer-encoding"
        | b"upgrade" => true,
        // Trailers of requests are not passed on.
        b"trailer" => true,
        // till has sent its own 100 (Continue).
        b"expect" => true,
        // An answer in parts could hide an echo of the key between two of them.
        b"range" | b"if-range" => true,
        // Compressed frames could not be scanned.
        b"sec-websocket-extensions" => true,
        // Written anew.
        b"host" | b"accept-encoding" | b"content-length" => true,
        _ => name.starts_with(TILL_HEADER_PREFIX.as_bytes()),
    }
}

/// Headers of one hop in answers.
fn is_not_relayed(name: &[u8]) -> bool {
    match name {
        b"connection"
        | b"keep-alive"
        | b"proxy-connection"
        | b"proxy-authenticate"
        | b"transfer-encoding"
        | b"upgrade" => true,
        _ => name.starts_with(TILL_HEADER_PREFIX.as_bytes()),
    }
}

/// Prefix of till's own headers: never forwarded, never taken from an upstream.
pub(crate) const TILL_HEADER_PREFIX: &str = "x-till-";

/// Everything that a query parameter's value may not contain unescaped.
const QUERY_VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An answer whose head has arrived.
pub(crate) struct Forwarded {
    pub(crate) head: AnswerHead,
    pub(crate) lease: Lease,
    pub(crate) held: Box<Held>,
    /// When the request came.
    pub(crate) started: Instant,
    /// When it was handed to the connection.
    pub(crate) sent: Instant,
}

/// Sends the request and waits for the head of the answer.
///
/// The hold is voided when it is provable that nothing was sent: no connection could be made, the connection
/// gave the request back, or not one byte was written. In every other case it stays spent. A request goes out
/// at most once: it is sent again, on a new connection, only when a pooled one gave it back untouched.
///
/// # Errors
/// `upstream_unreachable`, `upstream_protocol` or `upstream_timeout`.
pub(crate) async fn forward(
    pool: &Pool,
    key: &VerifiedKey,
    request: Box<Outbound>,
    mut admission: Admission,
    first_byte: Duration,
    started: Instant,
) -> Result<Forwarded, Denial> {
    if let Some(trace) = admission.trace() {
        trace.sending();
    }
    let outcome = pin!(exchange(pool, key, request, &mut admission, first_byte)).await;
    match outcome {
        Ok((head, lease, sent)) => Ok(Forwarded { head, lease, held: admission.into_held(), started, sent }),
        Err(denial) => {
            admission.failed(&denial, started);
            if let Some(trace) = admission.trace() {
                trace.failed(denial.code.as_str());
            }
            Err(denial)
        }
    }
}

async fn exchange(
    pool: &Pool,
    key: &VerifiedKey,
    mut request: Box<Outbound>,
    admission: &mut Admission,
    first_byte: Duration,
) -> Result<(AnswerHead, Lease, Instant), Denial> {
    loop {
        let now = Instant::now();
        let (mut lease, is_reused, sent) = match Pool::reuse(&key.bucket, &key.metrics, now) {
            Some(lease) => (lease, true, now),
            None => {
                // In a box of its own, because it is large and seldom.
                let fresh = Box::pin(pool.connect(&key.bucket, &key.metrics)).await;
                (fresh.map_err(|error| unreachable(key, &error))?, false, Instant::now())
            }
        };
        till_store::failpoint!("forward.hold");
        admission.sending();
        lease.wire.begin(*request);
        let deadline = tokio::time::Instant::from_std(sent) + first_byte;
        let answered = poll_fn(|cx| match lease.wire.poll_answer(cx) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending => lease.wire.poll_deadline(cx, deadline).map(|()| None),
        });
        let error = match answered.await {
            Some(Ok(head)) => {
                till_store::failpoint!("forward.answered");
                return Ok((head, lease, sent));
            }
            Some(Err(error)) => error,
            None => return Err(too_late(key, first_byte)),
        };
        let is_unsent = lease.wire.sent_nothing();
        if is_unsent {
            admission.nothing_was_sent();
        }
        if let WireError::Client(_) = error {
            // The body is the client's own, and it is what failed.
            return Err(broken_body());
        }
        match lease.wire.take_back() {
            // The provider closed the idle connection just now, and the request is still whole.
            Some(unsent) if is_reused => *request = unsent,
            _ if is_unsent => return Err(unreachable(key, &error)),
            _ => return Err(broke_off(key, &error)),
        }
    }
}

fn unreachable(key: &VerifiedKey, error: &(dyn std::error::Error + 'static)) -> Denial {
    tracing::warn!(
        key = %key.id,
        provider = %key.provider.id(),
        error = %chain(error),
        "upstream unreachable"
    );
    Denial::new(
        DenialCode::UpstreamUnreachable,
        format!("{} could not be reached. Nothing was sent and nothing is counted.", key.provider.id()),
    )
}

fn broke_off(key: &VerifiedKey, error: &(dyn std::error::Error + 'static)) -> Denial {
    tracing::warn!(
        key = %key.id,
        provider = %key.provider.id(),
        error = %chain(error),
        "upstream broke off"
    );
    Denial::new(
        DenialCode::UpstreamProtocol,
        format!(
            "{} closed the connection or sent something that is not HTTP. The request may have arrived there, so \
             it is counted.",
            key.provider.id()
        ),
    )
}

fn too_late(key: &VerifiedKey, first_byte: Duration) -> Denial {
    Denial::new(
        DenialCode::UpstreamTimeout,
        format!(
            "{} did not begin to answer within {} s. The request was sent and is counted.",
            key.provider.id(),
            first_byte.as_secs()
        ),
    )
}

/// An error with its causes: `Display` of each names only itself.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Turns the client's request into the one that goes upstream. `length` is that of the body where it is not the
/// client's any more.
///
/// # Errors
/// `malformed_request` when path and query together are no request target.
pub(crate) fn outbound(
    key: &VerifiedKey,
    facts: &Facts,
    client: &Head,
    body: OutboundBody,
    length: Option<usize>,
) -> Result<Outbound, Denial> {
    let mut head = memory();
    let base = key.bucket.base();
    head.extend_from_slice(client.method.as_str().as_bytes());
    head.push(b' ');
    write_target(&mut head, key, facts)?;
    head.extend_from_slice(b" HTTP/1.1\r\n");
    write_line(&mut head, "host", base.authority());
    let length = length.map(|length| length as u64).or(body.size_hint().exact());
    write_fields(&mut head, client, key.key_line.as_ref(), facts.websocket.is_some());
    match length {
        // What has no body says so only where one is expected, RFC 9110 section 8.6.
        Some(0) if !matches!(client.method, Method::POST | Method::PUT | Method::PATCH) => {}
        Some(length) => write_line(&mut head, "content-length", decimal(length, &mut [0; 20])),
        None => write_line(&mut head, "transfer-encoding", "chunked"),
    }
    head.extend_from_slice(b"\r\n");
    Ok(Outbound::new(head, body, length, client.method == Method::HEAD))
}

fn write_target(head: &mut Vec<u8>, key: &VerifiedKey, facts: &Facts) -> Result<(), Denial> {
    let start = head.len();
    head.extend_from_slice(key.bucket.base().path_prefix().as_bytes());
    head.extend_from_slice(facts.place.path().as_str().as_bytes());
    let mut write_query = |query: &str| {
        head.push(b'?');
        head.extend_from_slice(query.as_bytes());
    };
    match with_query_key(&key.upstream, facts.query.as_deref()) {
        Some(query) => write_query(&query),
        None => facts.query.as_deref().into_iter().for_each(write_query),
    }
    // HTTP/2 lets more through.
    if head[start..].iter().all(u8::is_ascii_graphic) {
        return Ok(());
    }
    Err(Denial::new(DenialCode::MalformedRequest, "This path and query are no request target."))
}

/// What is written behind the real key at most: the hop's own headers and the framing of the body.
const AFTER_KEY_MAX: usize = 128;

/// The client's headers but for those of the hop between client and till, and the real key.
fn write_fields(head: &mut Vec<u8>, client: &Head, key: Option<&KeyLine>, is_websocket: bool) {
    client.fields.write_some(head, |name| {
        !is_not_forwarded(name) && key.is_none_or(|key| key.name.as_bytes() != name)
    });
    head.extend_from_slice(b"accept-encoding: identity\r\n");
    if let Some(key) = key {
        // Room for what follows as well: memory that grows would leave a copy of the key behind.
        head.reserve(key.line.len() + AFTER_KEY_MAX);
        // The one place, besides the query, where the real key leaves till.
        head.extend_from_slice(key.line.reveal());
    }
    if is_websocket {
        write_line(head, "connection", "Upgrade");
        write_line(head, "upgrade", "websocket");
    } else if client.has_token("te", "trailers") {
        write_line(head, "connection", "te");
        write_line(head, "te", "trailers");
    }
}

/// Removes what belongs to the hop between provider and till from an answer, replaces the upstream key in values, and
/// drops fields that have it in their name. The number is how often that was.
pub(crate) fn clean_answer(fields: &mut Fields, redactor: &Redactor) -> u64 {
    const STAY: [&str; 3] = ["keep-alive", "close", "content-length"];
    let stays = |name: &[u8]| STAY.iter().any(|other| name.eq_ignore_ascii_case(other.as_bytes()));
    let named = named_by_connection(fields, stays);
    let mut echoes = 0;
    fields.retain(|name, _| {
        if is_not_relayed(name) || named.iter().any(|named| named == name) {
            return false;
        }
        let is_echo = redactor.contains_in_header_name(name);
        echoes += u64::from(is_echo);
        !is_echo
    });
    fields.for_each_value(|value| {
        if let Some(masked) = redactor.redact_all(value) {
            value.copy_from_slice(&masked);
            echoes += 1;
        }
    });
    echoes
}

/// The header in which a provider wants the real key, ready to be written.
pub(crate) struct KeyLine {
    name: String,
    line: Secret,
}

impl KeyLine {
    /// `None` for providers that want it in the query.
    pub(crate) fn of(upstream: &Upstream) -> Option<Self> {
        let key = upstream.key.reveal_str().expect("upstream keys are visible ASCII");
        let (name, value) = match &upstream.placement {
            Placement::Header { name, template } => {
                let (before, after) = template.split_once("{key}").unwrap_or((template, ""));
                (name.as_str(), joined(&[before, key, after]))
            }
            Placement::Basic => {
                let plain = joined(&[key, if key.contains(':') { "" } else { ":" }]);
                let encoded = Secret::new(STANDARD.encode(plain.reveal()));
                ("authorization", joined(&["Basic ", encoded.reveal_str().expect("Base64 is ASCII")]))
            }
            Placement::Query { .. } => return None,
        };
        let mut line = Vec::with_capacity(name.len() + value.len() + ": \r\n".len());
        write_line(&mut line, name, value.reveal());
        Some(Self { name: name.to_owned(), line: Secret::new(line) })
    }
}

/// One text of these, with room for all of them from the start: one that grows leaves copies behind, which nobody wipes.
fn joined(parts: &[&str]) -> Secret {
    let mut text = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| text.extend_from_slice(part.as_bytes()));
    Secret::new(text)
}

/// The query with the real key, for providers that want it there; `None` for the others.
fn with_query_key(upstream: &Upstream, query: Option<&str>) -> Option<String> {
    let Placement::Query { name } = &upstream.placement else { return None };
    let key = upstream.key.reveal_str().expect("upstream keys are visible ASCII");
    let ours = format!("{name}={}", utf8_percent_encode(key, QUERY_VALUE));
    let others = query.unwrap_or_default().split('&').filter(|parameter| {
        let given = parameter.split_once('=').map_or(*parameter, |(given, _)| given);
        !parameter.is_empty() && given != name
    });
    Some(others.map(str::to_owned).chain([ours]).collect::<Vec<_>>().join("&"))
}
