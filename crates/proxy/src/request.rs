//! The whole path of a request, in order.
//!
//! `receive → authenticate → facts → admit → forward → relay + settle → record`. Passing a stage yields a value
//! that only this stage can make and the next one demands, so none can be left out by mistake:
//! [`Authenticated`], [`Facts`](crate::facts::Facts), [`Admission`], [`Forwarded`].

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use till_core::denial::{Denial, DenialCode};
use till_core::limit::Limits;
use till_core::money::Dollars;
use till_core::path::RawPath;
use till_providers::{Dialect, Provider};
use tokio::sync::OwnedSemaphorePermit;

use crate::Inner;
use crate::admit::{Admission, Admitted, admit, terms};
use crate::authenticate::Authenticated;
use crate::body::{AnswerBody, Kind};
use crate::bounds::Clamped;
use crate::connect::OutboundBody;
use crate::credentials;
use crate::drain::Drains;
use crate::facts::{facts, has_token};
use crate::forward::{Forwarded, forward, outbound};
use crate::front::{ConnectionState, REFUSED_MARK, Violation};
use crate::inspect::RequestBody;
use crate::record::Record;
use crate::relay::{open, relay};
use crate::respond;
use crate::route::{Route, route};
use crate::self_check::self_check;
use crate::websocket;

/// The connection that a request came in on.
pub(crate) struct Client {
    pub(crate) till: Arc<Inner>,
    pub(crate) peer: SocketAddr,
    /// Who is behind the connection, as the PROXY protocol says it; `None` when it can't be told.
    pub(crate) origin: Option<IpAddr>,
    pub(crate) state: Arc<ConnectionState>,
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

/// Where a request comes from.
#[derive(Clone, Copy)]
pub(crate) struct From {
    /// The other end of the connection.
    pub(crate) peer: SocketAddr,
    /// The client, as far as trusted proxies tell; `None` when it can't be told.
    pub(crate) client: Option<IpAddr>,
}

/// Why a request is refused, with all that the answer needs.
struct Refusal {
    denial: Denial,
    dialect: Dialect,
    record: Record,
}

/// Serves one request. Every way through here ends in an answer and a record.
pub(crate) async fn serve(client: Arc<Client>, request: Request<Incoming>) -> Response<AnswerBody> {
    let till = &client.till;
    let busy = client.state.busy();
    let request_id = till.request_ids.next();
    let violation = client.state.violation().filter(|_| request.headers().contains_key(REFUSED_MARK));
    // What follows on such a connection was not checked: see the front door.
    let closes = violation.is_some() || has_token(request.headers(), &header::UPGRADE, "websocket");
    let address = client.origin.and_then(|origin| till.trusted_proxies.client(origin, request.headers()));
    let from = From { peer: client.peer, client: address };
    let record =
        Record::new(Arc::clone(&client), request_id, address, request.method().clone(), request.uri().path());
    let mut response = match violation {
        Some(Violation { code, message }) => {
            let denial = Denial::new(*code, format!("This request is refused: {message}."));
            refuse(Refusal { denial, dialect: Dialect::Universal, record })
        }
        None => receive(till, from, request, record).await,
    };
    let headers = response.headers_mut();
    let id = HeaderValue::from_str(request_id.as_str()).expect("request ids are letters and digits");
    headers.insert(HeaderName::from_static("x-till-request-id"), id);
    if closes && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response.map(|body| body.guarded_by(busy))
}

/// Stage 0: answer what is for till itself, hand on the rest.
async fn receive(
    till: &Arc<Inner>,
    from: From,
    request: Request<Incoming>,
    record: Record,
) -> Response<Kind> {
    let path = request.uri().path();
    if request.method() == Method::TRACE {
        // It would send the request back, credentials included; RFC 9110 section 9.3.8 forbids that.
        let denial = Denial::new(DenialCode::MalformedRequest, "TRACE is not forwarded.");
        return refuse(Refusal { denial, dialect: Dialect::Universal, record });
    }
    if request.method() == Method::HEAD && path == "/" {
        return probe_answer(record);
    }
    let route = match route(path) {
        Ok(Route::Own) => return own(till, from, request, record).await,
        Ok(route) => route,
        Err(denial) => return refuse(Refusal { denial, dialect: Dialect::Universal, record }),
    };
    if is_preflight(request.method(), request.headers()) {
        return preflight_answer(request.headers(), record);
    }
    let has_origin = request.headers().contains_key(header::ORIGIN);
    let outcome = match route {
        Route::Data { provider, path } => pass(till, request, provider.as_deref(), &path, record).await,
        _ => Box::pin(check_self(till, request, record)).await,
    };
    let mut response = outcome.unwrap_or_else(refuse);
    if has_origin {
        // A page that holds a scoped key may read the answers; the key is the credential, not the origin.
        let headers = response.headers_mut();
        headers.entry(header::ACCESS_CONTROL_ALLOW_ORIGIN).or_insert(HeaderValue::from_static("*"));
    }
    response
}

/// Stages 1 to 7 for a request to a provider.
async fn pass(
    till: &Arc<Inner>,
    request: Request<Incoming>,
    provider: Option<&str>,
    path: &RawPath,
    mut record: Record,
) -> Result<Response<Kind>, Refusal> {
    let (mut parts, body) = request.into_parts();
    // Before the key is known, the path may tell which errors the client understands.
    let mut dialect =
        provider.and_then(|id| till.registry.get(id)).map_or(Dialect::Universal, Provider::dialect);
    let admitted = async {
        known_provider(till, provider)?;
        let (key, query) = authenticated(till, &mut parts, &mut dialect, &mut record)?;
        let count = |denial: &Denial| till.store.denial_record(key.key().id, denial.code);
        let terms = terms(till, &key, record.client).await?;
        let scope = terms.scope().map(|scope| &**scope);
        let facts = facts(&key, &parts, provider, path, query, scope).inspect_err(count)?;
        let body = RequestBody::Stream(body);
        let admitted = admit(till, &key, &parts, &facts, body, terms, &mut record).await?;
        Ok((key, facts, admitted))
    };
    let (key, facts, admitted) = match admitted.await {
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
    let is_head = parts.method == Method::HEAD;
    let client_upgrade = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    let answered = async {
        let request = outbound(key.key(), &facts, parts, body, length)?;
        send(till, &key, request, admission, room, &record).await
    };
    let forwarded = match answered.await {
        Ok(forwarded) => forwarded,
        Err(denial) => {
            if denial.code == DenialCode::UpstreamUnreachable {
                // The answer says that nothing is counted: let that be true for whoever looks next.
                let _ = till.store.flush().await;
            }
            return Err(Refusal { denial, dialect, record });
        }
    };
    let mut response = if let (Some(protocol), StatusCode::SWITCHING_PROTOCOLS, Some(client)) =
        (facts.websocket, forwarded.response.status(), client_upgrade)
    {
        websocket::open(Arc::clone(till), key, protocol, forwarded, client, record).map(Kind::Ready)
    } else {
        let opened = open(forwarded, key.key(), till.timeouts.idle, is_head).await;
        match opened {
            Ok(opened) => {
                let response = relay(opened, &key.key().redactor, dialect, record);
                response.map(|relay| Kind::Relay(Box::new(relay)))
            }
            Err(denial) => return Err(Refusal { denial, dialect, record }),
        }
    };
    write_remaining(&remaining, clamped.as_ref(), response.headers_mut());
    Ok(response)
}

/// Stage 4. Where the answer counts against a limit it is awaited although the client may go away meanwhile: what
/// it says was used is what the key pays. It is in flight for as long, and keeps its room for the body.
async fn send(
    till: &Arc<Inner>,
    key: &Authenticated,
    request: Request<OutboundBody>,
    admission: Admission,
    room: Option<OwnedSemaphorePermit>,
    record: &Record,
) -> Result<Forwarded, Denial> {
    let started = record.started;
    let first_byte = till.timeouts.first_byte;
    if !admission.is_metered() {
        return forward(&till.pool, &till.metrics, key.key(), request, admission, first_byte, started).await;
    }
    let drains = Drains::new(till, key.key(), &record.in_flight);
    let (till, key) = (Arc::clone(till), Arc::clone(key.key()));
    let forwarding = Box::pin(async move {
        let _room = room;
        forward(&till.pool, &till.metrics, &key, request, admission, first_byte, started).await
    });
    drains.await_answer(forwarding).await
}

/// Stage 1 for a request whose key may be anywhere; the query comes back without it.
fn authenticated(
    till: &Inner,
    parts: &mut http::request::Parts,
    dialect: &mut Dialect,
    record: &mut Record,
) -> Result<(Authenticated, Option<String>), Denial> {
    if till.requests.len() > till.in_flight_max {
        return Err(overloaded());
    }
    let taken = credentials::take(&mut parts.headers, parts.uri.query())?;
    let key = till.authenticator.authenticate(taken.token.as_deref()).map_err(|refused| {
        record.key = refused.key;
        if let Some(key) = refused.key {
            till.store.denial_record(key, refused.denial.code);
        }
        refused.denial
    })?;
    record.key = Some(key.key().id);
    record.opened = Some(Arc::clone(key.key()));
    record.redact_path(&key.key().redactor);
    *dialect = key.key().provider.dialect();
    Ok((key, taken.query))
}

/// The free self-check.
async fn check_self(
    till: &Inner,
    request: Request<Incoming>,
    mut record: Record,
) -> Result<Response<Kind>, Refusal> {
    let (mut parts, _) = request.into_parts();
    let mut dialect = Dialect::Universal;
    let answered = async {
        let (key, _) = authenticated(till, &mut parts, &mut dialect, &mut record)?;
        self_check(&till.store, &key, &parts.method, record.client).await
    };
    match answered.await {
        Ok(response) => {
            record.is_data = false;
            record.status = Some(response.status());
            Ok(response.map(Kind::ready))
        }
        Err(denial) => Err(Refusal { denial, dialect, record }),
    }
}

/// The control plane.
async fn own(till: &Inner, from: From, request: Request<Incoming>, mut record: Record) -> Response<Kind> {
    let From { peer, client } = from;
    let own = OwnRequest { peer, client, request_id: record.request_id.to_string() };
    record.is_data = false;
    let response = (till.own)(request, own).await;
    record.status = Some(response.status());
    response.map(Kind::Own)
}

/// Some clients look whether anybody is there before they send their first request.
fn probe_answer(mut record: Record) -> Response<Kind> {
    record.is_data = false;
    record.status = Some(StatusCode::OK);
    Response::new(Kind::ready(Bytes::new()))
}

/// The question of a browser before it sends a request across origins (WHATWG Fetch, section 3.2). It carries
/// no key, so it can't be forwarded or counted.
fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight_answer(request: &HeaderMap, mut record: Record) -> Response<Kind> {
    let mut response = Response::new(Kind::ready(Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    for (asked, granted) in [
        (header::ACCESS_CONTROL_REQUEST_METHOD, header::ACCESS_CONTROL_ALLOW_METHODS),
        (header::ACCESS_CONTROL_REQUEST_HEADERS, header::ACCESS_CONTROL_ALLOW_HEADERS),
    ] {
        if let Some(value) = request.get(asked) {
            headers.insert(granted, value.clone());
        }
    }
    record.is_data = false;
    record.status = Some(response.status());
    response
}

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

fn write_remaining(remaining: &Limits, clamped: Option<&Clamped>, headers: &mut HeaderMap) {
    if let Some(activations) = remaining.activations {
        headers.insert(HeaderName::from_static("x-till-activations-remaining"), activations.into());
    }
    if let Some(tokens) = remaining.tokens {
        headers.insert(HeaderName::from_static("x-till-tokens-remaining"), tokens.into());
    }
    if let Some(nanos) = remaining.spend_nanos {
        let value = HeaderValue::from_str(&Dollars(nanos.into()).to_string()).expect("digits and a point");
        headers.insert(HeaderName::from_static("x-till-spend-remaining-usd"), value);
    }
    if let Some(Clamped { parameter, cap }) = clamped {
        let value = HeaderValue::from_str(&format!("{parameter}={cap}")).expect("a name and digits");
        headers.insert(HeaderName::from_static("x-till-clamped"), value);
    }
}

fn refuse(refusal: Refusal) -> Response<Kind> {
    let Refusal { denial, dialect, mut record } = refusal;
    record.denial = Some(denial.code);
    let response = respond::refusal(&denial, dialect);
    record.status = Some(response.status());
    response.map(Kind::ready)
}
