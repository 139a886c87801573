//! Stage 4: send the request, with the real key in the place of the scoped one.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use till_core::denial::{Denial, DenialCode};
use till_core::upstream::{Placement, Upstream};
use till_store::Hold;

use crate::admit::Admission;
use crate::authenticate::VerifiedKey;
use crate::bounds::Measure;
use crate::connect::OutboundBody;
use crate::facts::{Facts, has_token};
use crate::inspect::broken_body;
use crate::metrics::Metrics;
use crate::pool::{Lease, Pool};

/// Headers of one hop, RFC 9110 section 7.6.1 and RFC 9112 section 6.1, and those that till answers itself.
fn is_not_forwarded(name: &str) -> bool {
    match name {
        "connection"
        | "keep-alive"
        | "proxy-authenticate"
        | "proxy-authorization"
        | "proxy-connection"
        | "te"
        | "transfer-encoding"
        | "upgrade" => true,
        // till has sent its own 100 (Continue).
        "expect" => true,
        // An answer in parts could hide an echo of the key between two of them.
        "range" | "if-range" => true,
        // Compressed frames could not be scanned.
        "sec-websocket-extensions" => true,
        _ => name.starts_with(TILL_HEADER_PREFIX),
    }
}

/// Headers of one hop in answers.
fn is_not_relayed(name: &str) -> bool {
    match name {
        "connection" | "keep-alive" | "proxy-connection" | "proxy-authenticate" | "transfer-encoding"
        | "upgrade" => true,
        _ => name.starts_with(TILL_HEADER_PREFIX),
    }
}

/// Prefix of till's own headers: never forwarded, never taken from an upstream.
pub(crate) const TILL_HEADER_PREFIX: &str = "x-till-";

/// Everything that a query parameter's value may not contain unescaped.
const QUERY_VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An answer whose head has arrived.
pub(crate) struct Forwarded {
    pub(crate) response: Response<Incoming>,
    pub(crate) lease: Lease,
    pub(crate) hold: Hold,
    pub(crate) measure: Measure,
    /// When the request came.
    pub(crate) started: Instant,
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
    metrics: &Metrics,
    key: &VerifiedKey,
    request: Request<OutboundBody>,
    mut admission: Admission,
    first_byte: Duration,
    started: Instant,
) -> Result<Forwarded, Denial> {
    match exchange(pool, metrics, key, request, &mut admission, first_byte).await {
        Ok((response, lease)) => {
            let (hold, measure) = admission.into_parts();
            Ok(Forwarded { response, lease, hold, measure, started })
        }
        Err(denial) => {
            admission.failed(&denial, started);
            Err(denial)
        }
    }
}

async fn exchange(
    pool: &Pool,
    metrics: &Metrics,
    key: &VerifiedKey,
    mut request: Request<OutboundBody>,
    admission: &mut Admission,
    first_byte: Duration,
) -> Result<(Response<Incoming>, Lease), Denial> {
    loop {
        let (mut lease, is_reused) = match Pool::reuse(&key.bucket) {
            Some(lease) => (lease, true),
            None => {
                metrics.upstream_connects.add(1);
                // In a box of its own, because it is large and seldom.
                let fresh = Box::pin(pool.connect(&key.bucket)).await;
                (fresh.map_err(|error| unreachable(key, &error))?, false)
            }
        };
        let before = lease.wire.mark();
        admission.sending();
        let answer = lease.wire.sender.try_send_request(request);
        let mut answer = pin!(answer);
        let deadline = tokio::time::Instant::now() + first_byte;
        let answered = poll_fn(|cx| match lease.wire.poll(cx, |cx| answer.as_mut().poll(cx)) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending => lease.wire.poll_deadline(cx, deadline).map(|()| None),
        });
        let mut error = match answered.await {
            Some(Ok(response)) => return Ok((response, lease)),
            Some(Err(error)) => error,
            None => return Err(too_late(key, first_byte)),
        };
        let is_unsent = lease.wire.sent_nothing_since(before);
        if is_unsent {
            admission.nothing_was_sent();
        }
        match error.take_message() {
            // The provider closed the idle connection just now, and the request is still whole.
            Some(unsent) if is_unsent && is_reused => request = unsent,
            _ => return Err(failed(key, &error.into_error(), is_unsent)),
        }
    }
}

fn failed(key: &VerifiedKey, error: &hyper::Error, is_unsent: bool) -> Denial {
    if error.is_user() {
        // The body is the client's own, and it is what failed.
        return broken_body();
    }
    if is_unsent { unreachable(key, error) } else { broke_off(key, error) }
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
    mut parts: http::request::Parts,
    body: OutboundBody,
    length: Option<usize>,
) -> Result<Request<OutboundBody>, Denial> {
    let base = key.bucket.base();
    let query = with_query_key(&key.upstream, facts.query.as_deref());
    let mut target = String::with_capacity(256);
    target.push_str(base.path_prefix());
    target.push_str(facts.path.as_str());
    if let Some(query) = &query {
        target.push('?');
        target.push_str(query);
    }
    let uri = target.parse().map_err(|_| {
        Denial::new(DenialCode::MalformedRequest, "This path and query are no request target.")
    })?;
    clean(&mut parts.headers, facts.websocket.is_some());
    let authority = HeaderValue::from_str(base.authority()).expect("an authority is visible ASCII");
    parts.headers.insert(header::HOST, authority);
    parts.headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    place(&key.upstream, &mut parts.headers);
    if let Some(length) = length {
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    if body.size_hint().exact().is_none() {
        // Said out loud, because otherwise a GET would lose its body.
        parts.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let mut request = Request::new(body);
    *request.method_mut() = parts.method;
    *request.uri_mut() = uri;
    *request.headers_mut() = parts.headers;
    Ok(request)
}

/// Removes what belongs to the hop between client and till.
fn clean(headers: &mut HeaderMap, is_websocket: bool) {
    let wants_trailers = has_token(headers, &header::TE, "trailers");
    remove_named_by_connection(headers);
    remove_all(headers, is_not_forwarded);
    if is_websocket {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    } else if wants_trailers {
        headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes what belongs to the hop between provider and till from an answer.
pub(crate) fn clean_answer(headers: &mut HeaderMap) {
    remove_named_by_connection(headers);
    remove_all(headers, is_not_relayed);
}

fn remove_named_by_connection(headers: &mut HeaderMap) {
    // Nearly always `keep-alive`, `close` or absent: nothing to look up.
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|item| !item.eq_ignore_ascii_case("keep-alive") && !item.eq_ignore_ascii_case("close"))
        .filter_map(|item| item.parse().ok())
        .filter(|name| *name != header::CONTENT_LENGTH)
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// Removes what this says. One look at each header is less than one look-up per name.
fn remove_all(headers: &mut HeaderMap, is_removed: fn(&str) -> bool) {
    // Often none: an empty list allocates nothing.
    let removed: Vec<HeaderName> = headers.keys().filter(|name| is_removed(name.as_str())).cloned().collect();
    for name in removed {
        headers.remove(name);
    }
}

/// Writes the real key where the provider wants it: the one place where it leaves till.
fn place(upstream: &Upstream, headers: &mut HeaderMap) {
    let key = upstream.key.reveal_str().expect("upstream keys are visible ASCII");
    let (name, value) = match &upstream.placement {
        Placement::Header { name, template } => {
            let name = name.parse().expect("header names were checked when the key was minted");
            (name, template.replace("{key}", key))
        }
        Placement::Basic => {
            let credentials = if key.contains(':') { key.to_owned() } else { format!("{key}:") };
            (header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(credentials)))
        }
        Placement::Query { .. } => return,
    };
    let mut value = HeaderValue::from_str(&value).expect("visible ASCII in a checked template");
    value.set_sensitive(true);
    headers.insert::<HeaderName>(name, value);
}

/// The query with the real key, for providers that want it there.
fn with_query_key(upstream: &Upstream, query: Option<&str>) -> Option<String> {
    let Placement::Query { name } = &upstream.placement else {
        return query.map(str::to_owned);
    };
    let key = upstream.key.reveal_str().expect("upstream keys are visible ASCII");
    let ours = format!("{name}={}", utf8_percent_encode(key, QUERY_VALUE));
    let others = query.unwrap_or_default().split('&').filter(|parameter| {
        let given = parameter.split_once('=').map_or(*parameter, |(given, _)| given);
        !parameter.is_empty() && given != name
    });
    Some(others.map(str::to_owned).chain([ours]).collect::<Vec<_>>().join("&"))
}
