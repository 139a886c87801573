//! The whole path of a request, in order.
//!
//! `receive → authenticate → facts → admit → forward → relay + settle → record`. Passing a stage yields a value
//! that only this stage can make and the next one demands, so none can be left out by mistake:
//! [`Authenticated`], [`Facts`](crate::facts::Facts), [`Admission`], [`Forwarded`].
//!
//! Stages that wait are pinned where they begin: awaited as they are they would be moved first, kilobytes each.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use till_core::denial::{Denial, DenialCode};
use till_core::fields::{Fields, decimal};
use till_core::limit::Limits;
use till_core::money::Dollars;
use till_core::path::RawPath;
use till_providers::{Dialect, Provider};
use tokio::sync::OwnedSemaphorePermit;

use crate::Inner;
use crate::admit::{Admission, Admitted, admit, terms};
use crate::authenticate::Authenticated;
use crate::body::{Answer, RequestBody, fields_of, header_map};
use crate::bounds::Clamped;
use crate::credentials;
use crate::drain::Drains;
use crate::facts::facts;
use crate::forward::{Forwarded, forward, outbound};
use crate::head::{Head, Target};
use crate::http1::{Outbound, Violation};
use crate::inspect::Body;
use crate::record::Record;
use crate::relay::{open, relay};
use crate::respond;
use crate::route::{Route, route};
use crate::self_check::self_check;
use crate::trace::Trace;
use crate::websocket;

/// The connection that a request came in on.
pub(crate) struct Client {
    pub(crate) till: Arc<Inner>,
    pub(crate) peer: SocketAddr,
    /// Who is behind the connection, as the PROXY protocol says it; `None` when it can't be told.
    pub(crate) origin: Option<IpAddr>,
}

/// What the control plane learns of a request besides the request itself.
pub struct OwnRequest {
    /// Where the connection comes from.
    pub peer: SocketAddr,
    /// Where the request comes from, if trusted proxies stand between; `None` when it can't be told.
    pub client: Option<IpAddr>,
    /// The same id that the answer carries in `x-till-request-id`.
    pub request_id: String,
}

/// Why a request is refused, with all that the answer needs.
struct Refusal {
    denial: Denial,
    dialect: Dialect,
    record: Box<Record>,
}

/// Serves one request, whose head had come at `received`. Every way through here ends in an answer and a record.
pub(crate) async fn serve(client: Arc<Client>, head: Head, body: RequestBody, received: Instant) -> Answer {
    let till = &client.till;
    let record = begin(&client, head.method.clone(), head.target.path(), &head.fields, received);
    let request_id = record.request_id;
    let has_origin = head.fields.contains("origin");
    // Stage 0: what is for till itself is answered, the rest handed on.
    let outcome = match receive(&head) {
        Received::Data { provider, path } => {
            pin!(pass(till, head, body, provider.as_deref(), &path, record)).await
        }
        Received::SelfCheck => Box::pin(check_self(till, head, record)).await,
        Received::Own => Ok(Box::pin(own(till, head, body, record)).await),
        Received::Probe => Ok(probe_answer(record)),
        Received::Preflight => Ok(preflight_answer(&head, record)),
        Received::Refused(denial) => Err(Refusal { denial, dialect: Dialect::Universal, record }),
    };
    let mut answer = outcome.unwrap_or_else(refuse);
    if has_origin && !answer.is_own() && !answer.fields.contains(ALLOW_ORIGIN) {
        // A page that holds a scoped key may read the answers; the key is the credential, not the origin.
        answer.fields.push(ALLOW_ORIGIN, "*");
    }
    // The control plane has the id from here and may have said it already.
    if !answer.is_own() || !answer.fields.contains(REQUEST_ID) {
        answer.fields.push(REQUEST_ID, request_id.as_bytes());
    }
    answer
}

/// What a request is for.
enum Received {
    /// A provider: the one named, or that of the key.
    Data { provider: Option<String>, path: RawPath },
    /// What a key may know about itself.
    SelfCheck,
    /// The control plane.
    Own,
    /// Whether anybody is there.
    Probe,
    /// A browser's question before it sends its request.
    Preflight,
    /// Nothing that is served here.
    Refused(Denial),
}

fn receive(head: &Head) -> Received {
    let path = head.target.path();
    if head.method == Method::HEAD && path == "/" {
        return Received::Probe;
    }
    match route(path) {
        Ok(Route::Own) => Received::Own,
        // It would send the request back, credentials included; RFC 9110 section 9.3.8 forbids that.
        _ if head.method == Method::TRACE => {
            Received::Refused(Denial::new(DenialCode::MalformedRequest, "TRACE is not forwarded."))
        }
        Err(denial) => Received::Refused(denial),
        Ok(_) if is_preflight(head) => Received::Preflight,
        Ok(Route::SelfCheck) => Received::SelfCheck,
        Ok(Route::Data { provider, path }) => Received::Data { provider, path },
    }
}

/// Answers a request whose head says no one thing.
pub(crate) fn refuse_head(client: &Arc<Client>, violation: &Violation) -> Answer {
    let record = begin(client, Method::GET, "/", &Fields::default(), Instant::now());
    let request_id = record.request_id;
    let denial = Denial::new(violation.code, format!("This request is refused: {}.", violation.message));
    let mut answer = refuse(Refusal { denial, dialect: Dialect::Universal, record });
    answer.fields.push(REQUEST_ID, request_id.as_bytes());
    answer
}

/// The record of a request that has just come.
fn begin(
    client: &Arc<Client>,
    method: Method,
    path: &str,
    fields: &Fields,
    received: Instant,
) -> Box<Record> {
    let till = &client.till;
    let address = client.origin.and_then(|origin| till.trusted_proxies.client(origin, fields));
    let trace = till.tracing.as_ref().and_then(|tracing| Trace::begin(tracing, fields, received));
    Record::new(Arc::clone(client), till.request_ids.next(), address, method, path, received, trace)
}

/// The header that names a request.
const REQUEST_ID: &str = "x-till-request-id";

/// Stages 1 to 7 for a request to a provider.
async fn pass(
    till: &Arc<Inner>,
    mut head: Head,
    body: RequestBody,
    provider: Option<&str>,
    path: &RawPath,
    mut record: Box<Record>,
) -> Result<Answer, Refusal> {
    // Before the key is known, the path may tell which errors the client understands.
    let mut dialect =
        provider.and_then(|id| till.registry.get(id)).map_or(Dialect::Universal, Provider::dialect);
    let admitted = pin!(async {
        known_provider(till, provider)?;
        let (key, query) = authenticated(till, &mut head, &mut dialect, &mut record)?;
        let count = |denial: &Denial| till.store.denial_record(key.key().id, denial.code);
        let forget = |denial: &Denial| till.authenticator.forget_ended(&key, denial.code);
        let terms = terms(till, &key, record.client).await.inspect_err(forget)?;
        let scope = terms.scope().map(|scope| &**scope);
        let facts = facts(&key, &head, provider, path, query, scope).inspect_err(count)?;
        let body = Body::Stream(body);
        let admitted =
            pin!(admit(till, &key, &head, &facts, body, terms, &mut record)).await.inspect_err(forget)?;
        Ok((key, facts, admitted))
    })
    .await;
    let (key, facts, admitted) = match admitted {
        Ok(admitted) => admitted,
        Err(denial) => {
            if let Some(key) = record.key {
                till.store.denied_record(record.denied(key, &denial));
            }
            return Err(Refusal { denial, dialect, record });
        }
    };
    let Admitted { admission, body, length, clamped, room } = admitted;
    let remaining = admission.remaining();
    if let Some(trace) = &record.trace {
        trace.propagate(&mut head.fields);
    }
    let request = match outbound(key.key(), &facts, &head, body, length) {
        Ok(request) => request,
        Err(denial) => {
            let id = key.key().id;
            till.store.denial_record(id, denial.code);
            till.store.denied_record(record.denied(id, &denial));
            return Err(Refusal { denial, dialect, record });
        }
    };
    // Its memory is for the next request, and this one may wait for long.
    drop(head);
    let forwarded = pin!(send(till, &key, request, admission, room, &record)).await;
    let forwarded = match forwarded {
        Ok(forwarded) => forwarded,
        Err(denial) => {
            if denial.code == DenialCode::UpstreamUnreachable {
                // The answer says that nothing is counted: let that be true for whoever looks next.
                let _ = till.store.flush().await;
            }
            return Err(Refusal { denial, dialect, record });
        }
    };
    let is_switched = forwarded.head.status == StatusCode::SWITCHING_PROTOCOLS;
    let mut answer = match facts.websocket {
        Some(protocol) if is_switched => websocket::open(Arc::clone(till), key, protocol, forwarded, record),
        _ => match pin!(open(forwarded, key.key(), till.timeouts.idle)).await {
            Ok(opened) => relay(opened, &key.key().redactor, dialect, record),
            Err(denial) => return Err(Refusal { denial, dialect, record }),
        },
    };
    write_remaining(&remaining, clamped.as_ref(), &mut answer.fields);
    Ok(answer)
}

/// Stage 4. Where the answer counts against a limit it is awaited although the client may go away meanwhile: what
/// it says was used is what the key pays. It is in flight for as long, and keeps its room for the body.
async fn send(
    till: &Arc<Inner>,
    key: &Authenticated,
    request: Outbound,
    admission: Admission,
    room: Option<OwnedSemaphorePermit>,
    record: &Record,
) -> Result<Forwarded, Denial> {
    let started = record.started;
    let first_byte = till.timeouts.first_byte;
    if !admission.is_metered() {
        let key = key.key();
        return pin!(forward(&till.pool, key, request, admission, first_byte, started)).await;
    }
    let drains = Drains::new(till, key.key());
    let (till, key) = (Arc::clone(till), Arc::clone(key.key()));
    let forwarding = Box::pin(async move {
        let _room = room;
        forward(&till.pool, &key, request, admission, first_byte, started).await
    });
    drains.await_answer(forwarding).await
}

/// Stage 1 for a request whose key may be anywhere; the query comes back without it.
fn authenticated(
    till: &Inner,
    head: &mut Head,
    dialect: &mut Dialect,
    record: &mut Record,
) -> Result<(Authenticated, Option<String>), Denial> {
    if till.requests.len() > till.in_flight_max {
        return Err(overloaded());
    }
    let found = credentials::find(&head.fields, head.target.query())?;
    let key = till.authenticator.authenticate(found.token.as_deref()).map_err(|refused| {
        record.key = refused.key;
        if let Some(key) = refused.key {
            till.store.denial_record(key, refused.denial.code);
        }
        refused.denial
    })?;
    let places = found.places;
    credentials::strip(&mut head.fields, places);
    record.key = Some(key.key().id);
    record.opened = Some(Arc::clone(key.key()));
    record.redact_path(&key.key().redactor);
    *dialect = key.key().provider.dialect();
    Ok((key, credentials::stripped(head.target.query())))
}

/// The free self-check.
async fn check_self(till: &Inner, mut head: Head, mut record: Box<Record>) -> Result<Answer, Refusal> {
    let mut dialect = Dialect::Universal;
    let answered = async {
        let (key, _) = authenticated(till, &mut head, &mut dialect, &mut record)?;
        self_check(&till.store, &key, &head.method, record.client).await
    };
    match answered.await {
        Ok(answer) => {
            record.is_data = false;
            record.status = Some(answer.status);
            Ok(answer)
        }
        Err(denial) => Err(Refusal { denial, dialect, record }),
    }
}

/// The control plane.
async fn own(till: &Inner, head: Head, body: RequestBody, mut record: Box<Record>) -> Answer {
    let request_id = record.request_id.to_string();
    let own = OwnRequest { peer: record.peer(), client: record.client, request_id };
    record.is_data = false;
    // Nothing else ends a connection that announces a body and sends none.
    let mut request = Request::new(body.within(till.timeouts.idle));
    *request.method_mut() = head.method;
    *request.version_mut() = head.version;
    *request.headers_mut() = header_map(&head.fields);
    let answer = match head.target.as_str().parse() {
        Ok(uri) => {
            *request.uri_mut() = uri;
            Answer::own((till.own)(request, own).await)
        }
        Err(_) => {
            let denial =
                Denial::new(DenialCode::MalformedRequest, "This path and query are no request target.");
            respond::refusal(&denial, Dialect::Universal)
        }
    };
    record.status = Some(answer.status);
    answer
}

/// Some clients look whether anybody is there before they send their first request.
fn probe_answer(mut record: Box<Record>) -> Answer {
    record.is_data = false;
    record.status = Some(StatusCode::OK);
    Answer::ready(StatusCode::OK, Fields::default(), Bytes::new())
}

/// The question of a browser before it sends a request across origins (WHATWG Fetch, section 3.2). It carries
/// no key, so it can't be forwarded or counted.
fn is_preflight(head: &Head) -> bool {
    head.method == Method::OPTIONS
        && head.fields.contains("origin")
        && head.fields.contains("access-control-request-method")
}

fn preflight_answer(head: &Head, mut record: Box<Record>) -> Answer {
    let mut fields = Fields::from_iter([(ALLOW_ORIGIN, "*"), ("access-control-max-age", "600")]);
    for (asked, granted) in [
        ("access-control-request-method", "access-control-allow-methods"),
        ("access-control-request-headers", "access-control-allow-headers"),
    ] {
        if let Some(value) = head.fields.get(asked) {
            fields.push(granted, value);
        }
    }
    record.is_data = false;
    record.status = Some(StatusCode::NO_CONTENT);
    Answer::ready(StatusCode::NO_CONTENT, fields, Bytes::new())
}

/// Says to which pages a browser may show an answer.
const ALLOW_ORIGIN: &str = "access-control-allow-origin";

fn known_provider(till: &Inner, named: Option<&str>) -> Result<(), Denial> {
    match named {
        Some(id) if till.registry.get(id).is_none() => Err(Denial::new(
            DenialCode::UnknownProvider,
            format!("No provider {id:?} is configured here; `till providers list` shows those that are."),
        )),
        _ => Ok(()),
    }
}

fn overloaded() -> Denial {
    Denial::new(DenialCode::Overloaded, "till is serving as many requests as it may. Try again shortly.")
}

fn write_remaining(remaining: &Limits, clamped: Option<&Clamped>, fields: &mut Fields) {
    if let Some(activations) = remaining.activations {
        fields.push("x-till-activations-remaining", decimal(activations, &mut [0; 20]));
    }
    if let Some(tokens) = remaining.tokens {
        fields.push("x-till-tokens-remaining", decimal(tokens, &mut [0; 20]));
    }
    if let Some(nanos) = remaining.spend_nanos {
        fields.push("x-till-spend-remaining-usd", Dollars(nanos.into()).to_string());
    }
    if let Some(Clamped { parameter, cap }) = clamped {
        fields.push("x-till-clamped", format!("{parameter}={cap}"));
    }
}

fn refuse(refusal: Refusal) -> Answer {
    let Refusal { denial, dialect, mut record } = refusal;
    record.denial = Some(denial.code);
    let answer = respond::refusal(&denial, dialect);
    record.status = Some(answer.status);
    answer
}

/// A request of HTTP/2 in the form that both versions have here.
pub(crate) fn head_of(parts: http::request::Parts) -> Head {
    // A CONNECT has no path, and is refused for that.
    let target = Target::new(parts.uri.path_and_query().map_or("", |target| target.as_str()));
    Head { target, fields: fields_of(&parts.headers), method: parts.method, version: parts.version }
}
