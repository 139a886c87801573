//! The whole path of a request, in order.
//!
//! `receive → authenticate → facts → admit → forward → relay + settle → record`. Passing a stage yields a value
//! that only this stage can make and the next one demands, so none can be left out by mistake:
//! [`Authenticated`], [`Facts`], [`Admission`], [`Hold`](till_store::Hold).

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use till_core::denial::{Denial, DenialCode};
use till_core::limit::Limits;
use till_core::path::RawPath;
use till_providers::Dialect;

use crate::Inner;
use crate::admit::{Admission, admit};
use crate::authenticate::Authenticated;
use crate::body::AnswerBody;
use crate::credentials;
use crate::facts::{Facts, facts};
use crate::forward::{forward, outbound};
use crate::front::ConnectionState;
use crate::record::Record;
use crate::relay::relay;
use crate::respond;
use crate::route::{Route, route};
use crate::self_check::self_check;
use crate::websocket;

/// The connection that a request came in on.
pub(crate) struct Client {
    pub(crate) peer: SocketAddr,
    pub(crate) state: Arc<ConnectionState>,
}

/// What the control plane learns of a request besides the request itself.
pub struct OwnRequest {
    /// Where the connection comes from.
    pub peer: SocketAddr,
    /// The same id that the answer carries in `x-till-request-id`.
    pub request_id: String,
}

/// Why a request is refused, with all that the answer needs.
struct Refusal {
    denial: Denial,
    dialect: Dialect,
    record: Record,
}

/// Serves one request. Every way through here ends in an answer and a record.
pub(crate) async fn serve(
    till: Arc<Inner>,
    client: Arc<Client>,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let request_id = till.request_ids.next();
    let has_upgrade = request.headers().contains_key(header::UPGRADE);
    let origin = request.headers().contains_key(header::ORIGIN);
    let mut response = receive(&till, &client, request, &request_id).await;
    let headers = response.headers_mut();
    let id = HeaderValue::from_str(&request_id).expect("request ids are letters and digits");
    headers.insert(HeaderName::from_static("x-till-request-id"), id);
    if origin {
        // A page that holds a scoped key may read our refusals; the key is the credential, not the origin.
        headers.entry(header::ACCESS_CONTROL_ALLOW_ORIGIN).or_insert(HeaderValue::from_static("*"));
    }
    let closes = client.state.violation().is_some() || has_upgrade;
    if closes && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        // What follows on this connection was not checked: see the front door.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Stage 0: refuse what can't be read safely, answer what is for till itself, hand on the rest.
async fn receive(
    till: &Arc<Inner>,
    client: &Client,
    request: Request<Incoming>,
    request_id: &str,
) -> Response<AnswerBody> {
    let path = request.uri().path().to_owned();
    let record = Record::new(
        Arc::clone(&till.metrics),
        till.log_requests,
        request_id.to_owned(),
        client.peer,
        request.method().clone(),
        &path,
    );
    if let Some(violation) = client.state.violation() {
        let denial = Denial::new(violation.code, format!("This request is refused: {}.", violation.message));
        return refuse(Refusal { denial, dialect: Dialect::Universal, record });
    }
    if is_probe(request.method(), &path) || is_preflight(request.method(), request.headers()) {
        return probe_answer(request.headers(), record);
    }
    let outcome = match route(&path) {
        Err(denial) => Err(Refusal { denial, dialect: Dialect::Universal, record }),
        Ok(Route::Own) => {
            let own = OwnRequest { peer: client.peer, request_id: request_id.to_owned() };
            return finish_own(till, request, own, record).await;
        }
        Ok(Route::SelfCheck) => check_self(till, request, record).await,
        Ok(Route::Data { provider, path }) => pass(till, request, provider.as_deref(), &path, record).await,
    };
    outcome.unwrap_or_else(refuse)
}

/// Stages 1 to 7 for a request to a provider.
async fn pass(
    till: &Arc<Inner>,
    request: Request<Incoming>,
    provider: Option<&str>,
    path: &RawPath,
    mut record: Record,
) -> Result<Response<AnswerBody>, Refusal> {
    let mut dialect = named_dialect(till, provider);
    let admitted = async {
        let (mut parts, body) = request.into_parts();
        if till.metrics.requests_in_flight.value() > till.in_flight_max {
            return Err(overloaded());
        }
        known_provider(till, provider)?;
        let taken = credentials::take(&mut parts.headers, parts.uri.query())?;
        let key = till.authenticator.authenticate(taken.token.as_deref())?;
        record.key = Some(key.key().id);
        record.provider = Some(key.key().provider.id().to_owned());
        dialect = key.key().provider.dialect();
        let facts = facts(&key, &parts, provider, path, taken.query)
            .inspect_err(|denial| till.store.denial_record(key.key().id, denial.code))?;
        let admission = admit(&till.store, &key, &facts).await?;
        Ok((key, facts, admission, parts, body))
    };
    let (key, facts, admission, parts, body) = match admitted.await {
        Ok(admitted) => admitted,
        Err(denial) => {
            return Err(Refusal { denial, dialect, record });
        }
    };
    let remaining = admission.remaining();
    let mut response = send(till, key, facts, admission, parts, body, record).await?;
    write_remaining(&remaining, response.headers_mut());
    Ok(response)
}

async fn send(
    till: &Arc<Inner>,
    key: Authenticated,
    facts: Facts,
    admission: Admission,
    mut parts: http::request::Parts,
    body: Incoming,
    record: Record,
) -> Result<Response<AnswerBody>, Refusal> {
    let dialect = key.key().provider.dialect();
    let client_upgrade = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    let is_head = parts.method == Method::HEAD;
    let outbound = outbound(key.key(), &facts, parts, Either::Left(body));
    let sent = match outbound {
        Ok(request) => {
            let first_byte = till.timeouts.first_byte;
            forward(&till.pool, &till.metrics, key.key(), request, admission, first_byte).await
        }
        Err(denial) => Err(denial),
    };
    let forwarded = match sent {
        Ok(forwarded) => forwarded,
        Err(denial) => {
            return Err(Refusal { denial, dialect, record });
        }
    };
    if let (Some(protocol), StatusCode::SWITCHING_PROTOCOLS, Some(client)) =
        (facts.websocket, forwarded.response.status(), client_upgrade)
    {
        return Ok(websocket::open(Arc::clone(till), key, protocol, forwarded, client, record)
            .map(AnswerBody::Ready));
    }
    let idle = till.timeouts.idle;
    match relay(forwarded, &key.key().redactor, dialect, idle, is_head, record) {
        Ok(response) => Ok(response.map(|relay| AnswerBody::Relay(Box::new(relay)))),
        Err(refused) => {
            let (denial, record) = *refused;
            Err(Refusal { denial, dialect, record })
        }
    }
}

/// The free self-check.
async fn check_self(
    till: &Inner,
    request: Request<Incoming>,
    mut record: Record,
) -> Result<Response<AnswerBody>, Refusal> {
    let (mut parts, _) = request.into_parts();
    let mut dialect = Dialect::Universal;
    let answered = async {
        let taken = credentials::take(&mut parts.headers, parts.uri.query())?;
        let key = till.authenticator.authenticate(taken.token.as_deref())?;
        record.key = Some(key.key().id);
        dialect = key.key().provider.dialect();
        self_check(&till.store, &key, &parts.method).await
    };
    match answered.await {
        Ok(response) => {
            record.is_data = false;
            record.status = Some(response.status());
            Ok(response.map(ready))
        }
        Err(denial) => Err(Refusal { denial, dialect, record }),
    }
}

async fn finish_own(
    till: &Inner,
    request: Request<Incoming>,
    own: OwnRequest,
    mut record: Record,
) -> Response<AnswerBody> {
    record.is_data = false;
    let response = (till.own)(request, own).await;
    record.status = Some(response.status());
    response.map(AnswerBody::Own)
}

/// Some clients look whether anybody is there before they send their first request.
fn is_probe(method: &Method, path: &str) -> bool {
    method == Method::HEAD && path == "/"
}

/// The question of a browser before it sends a request across origins (WHATWG Fetch, section 3.2). It carries
/// no key, so it can't be forwarded or counted.
fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn probe_answer(request: &HeaderMap, mut record: Record) -> Response<AnswerBody> {
    record.is_data = false;
    let mut response = Response::new(ready(Bytes::new()));
    if let Some(method) = request.get(header::ACCESS_CONTROL_REQUEST_METHOD) {
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, method.clone());
        if let Some(names) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
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

/// Before the key is known, the path may tell which errors the client understands.
fn named_dialect(till: &Inner, provider: Option<&str>) -> Dialect {
    provider
        .and_then(|id| till.registry.get(id))
        .map_or(Dialect::Universal, till_providers::Provider::dialect)
}

fn overloaded() -> Denial {
    Denial::new(DenialCode::Overloaded, "till is serving as many requests as it may. Try again shortly.")
}

fn write_remaining(remaining: &Limits, headers: &mut HeaderMap) {
    if let Some(activations) = remaining.activations {
        headers.insert(HeaderName::from_static("x-till-activations-remaining"), activations.into());
    }
}

fn refuse(refusal: Refusal) -> Response<AnswerBody> {
    let Refusal { denial, dialect, mut record } = refusal;
    record.denial = Some(denial.code);
    let response = respond::refusal(&denial, dialect);
    record.status = Some(response.status());
    response.map(ready)
}

fn ready(bytes: Bytes) -> AnswerBody {
    AnswerBody::Ready(Full::new(bytes))
}
