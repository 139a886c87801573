//! The whole path of a request, in order.
//!
//! `receive → authenticate → facts → admit → forward → relay + settle → record`. Passing a stage yields a value
//! that only this stage can make and the next one demands, so none can be left out by mistake:
//! [`Authenticated`], [`Facts`](crate::facts::Facts), [`Admission`], [`Forwarded`].
//!
//! Stages 1 to 3 are plain functions wherever nothing has to be waited for. Stages that wait are pinned where they begin: awaited as
//! they are they would be moved first, kilobytes each.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use till_core::denial::{Denial, DenialCode};
use till_core::fields::{Fields, decimal};
use till_core::limit::Limits;
use till_core::money::Dollars;
use till_core::path::RawPath;
use till_providers::websocket::WebsocketProtocol;
use till_providers::{Dialect, Provider};
use till_store::KeyTerms;
use tokio::sync::OwnedSemaphorePermit;

use crate::admit::{Admission, Admitted, Early, admit, admit_at_once, terms, terms_at_once};
use crate::authenticate::Authenticated;
use crate::body::{Answer, RequestBody, fields_of, header_map};
use crate::bounds::Clamped;
use crate::credentials;
use crate::drain::Drains;
use crate::facts::{Facts, facts};
use crate::forward::{Forwarded, forward, outbound};
use crate::head::{Head, Target};
use crate::http1::{Outbound, Violation};
use crate::record::Record;
use crate::relay::{Opening, open, relay};
use crate::respond;
use crate::route::{Route, route};
use crate::self_check::self_check;
use crate::trace::Trace;
use crate::turn::turn;
use crate::websocket;
use crate::{Inner, RequestId};

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

/// A request that was begun. What needs to wait for nothing is done by plain functions, on the stack, and only what a request has to
/// keep while it waits is in the memory of its connection, which is cold by then (docs/decisions/0022-what-is-cold.md).
pub(crate) struct Serving {
    reply: Reply,
    next: Next,
}

/// What is still to be done.
enum Next {
    /// Nothing.
    Answered(Box<Answer>),
    /// It is for till itself.
    Own(Waiting<Answer>),
    /// It can't be admitted before something has come.
    Admitting(Waiting<Box<Departing>>),
    /// It may be sent.
    Departing(Box<Departing>),
}

type Waiting<T> = Pin<Box<dyn Future<Output = Result<T, Refusal>> + Send>>;

/// What every answer gets.
struct Reply {
    request_id: RequestId,
    has_origin: bool,
}

/// Begins to serve a request, whose head had come at `received`. Every way through here ends in an answer and a record.
pub(crate) fn begin(client: &Arc<Client>, head: Head, body: RequestBody, received: Instant) -> Serving {
    let record = record_of(client, head.method.clone(), head.target.path(), &head.fields, received);
    let reply = Reply { request_id: record.request_id, has_origin: head.fields.contains("origin") };
    // Stage 0: what is for till itself is answered, the rest handed on.
    let next = match receive(&head) {
        Received::Data { provider, path } => pass(client, head, body, provider, path, record),
        Received::SelfCheck => {
            let client = Arc::clone(client);
            Next::Own(Box::pin(async move { check_self(&client.till, head, record).await }))
        }
        Received::Own => {
            let client = Arc::clone(client);
            Next::Own(Box::pin(async move { Ok(own(&client.till, head, body, record).await) }))
        }
        Received::Probe => Next::answered(probe_answer(record)),
        Received::Preflight => Next::answered(preflight_answer(&head, record)),
        Received::Refused(denial) => Next::refused(Refusal { denial, dialect: Dialect::Universal, record }),
    };
    Serving { reply, next }
}

impl Next {
    fn answered(answer: Answer) -> Self {
        Self::Answered(Box::new(answer))
    }

    fn refused(refusal: Refusal) -> Self {
        Self::answered(refuse(refusal))
    }
}

impl Serving {
    /// Goes on to the head of the answer.
    pub(crate) async fn answer(self, till: &Arc<Inner>) -> Answer {
        let Self { reply, next } = self;
        let departing = match next {
            Next::Answered(answer) => return reply.finish(*answer),
            Next::Own(answering) => return reply.finish(answering.await.unwrap_or_else(refuse)),
            Next::Departing(departing) => {
                turn(departing.record.started, till.requests.len()).await;
                departing
            }
            // What has waited comes with others anyway.
            Next::Admitting(admitting) => match admitting.await {
                Ok(departing) => departing,
                Err(refusal) => return reply.finish(refuse(refusal)),
            },
        };
        let outcome = pin!(departing.answer(till)).await;
        reply.finish(outcome.unwrap_or_else(refuse))
    }
}

impl Reply {
    fn finish(&self, mut answer: Answer) -> Answer {
        if self.has_origin && !answer.is_own() && !answer.fields.contains(ALLOW_ORIGIN) {
            // A page that holds a scoped key may read the answers; the key is the credential, not the origin.
            answer.fields.push(ALLOW_ORIGIN, "*");
        }
        // The control plane has the id from here and may have said it already.
        if !answer.is_own() || !answer.fields.contains(REQUEST_ID) {
            answer.fields.push(REQUEST_ID, self.request_id.as_bytes());
        }
        answer
    }
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
    let record = record_of(client, Method::GET, "/", &Fields::default(), Instant::now());
    let reply = Reply { request_id: record.request_id, has_origin: false };
    let denial = Denial::new(violation.code, format!("This request is refused: {}.", violation.message));
    reply.finish(refuse(Refusal { denial, dialect: Dialect::Universal, record }))
}

/// The record of a request that has just come.
fn record_of(
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

/// A request to a provider that was not sent yet.
struct Asked {
    head: Head,
    /// The provider that the path names.
    provider: Option<String>,
    path: RawPath,
    /// Without the key, from stage 1 on.
    query: Option<String>,
    /// Which errors the client understands. Before the key is known, the path may tell.
    dialect: Dialect,
    record: Box<Record>,
}

/// A request that may be sent.
struct Departing {
    key: Authenticated,
    websocket: Option<WebsocketProtocol>,
    request: Box<Outbound>,
    admission: Admission,
    /// Taken by the body until the head of the answer has come.
    room: Option<OwnedSemaphorePermit>,
    remaining: Limits,
    clamped: Option<Clamped>,
    dialect: Dialect,
    record: Box<Record>,
}

/// Stages 1 to 3 for a request to a provider, as far as they go without waiting, which nearly always is to their end.
fn pass(
    client: &Arc<Client>,
    head: Head,
    body: RequestBody,
    provider: Option<String>,
    path: RawPath,
    record: Box<Record>,
) -> Next {
    let till = &client.till;
    let named = provider.as_deref().and_then(|id| till.registry.get(id));
    let dialect = named.map_or(Dialect::Universal, Provider::dialect);
    let mut asked = Asked { head, provider, path, query: None, dialect, record };
    let key = match asked.authenticated(till) {
        Ok(key) => key,
        Err(denial) => return Next::refused(asked.denied(&denial)),
    };
    let mut early = Early::new(body);
    let facts = match terms_at_once(till, &key, asked.record.client) {
        // They are not in memory, which is seldom.
        None => return asked.later(client, key, None, early),
        Some(terms) => terms.and_then(|terms| {
            let facts = asked.facts(till, &key, &terms)?;
            early.terms = Some(terms);
            Ok(facts)
        }),
    };
    let facts = match facts {
        Ok(facts) => facts,
        Err(denial) => return Next::refused(asked.denied(&denial)),
    };
    match admit_at_once(till, &key, &asked.head, &facts, early, &mut asked.record) {
        Ok(admitted) => asked.depart(till, key, facts, admitted).map_or_else(Next::refused, Next::Departing),
        Err(early) => asked.later(client, key, Some(facts), early),
    }
}

impl Asked {
    /// Stage 1.
    fn authenticated(&mut self, till: &Inner) -> Result<Authenticated, Denial> {
        known_provider(till, self.provider.as_deref())?;
        let (key, query) = authenticated(till, &mut self.head, &mut self.dialect, &mut self.record)?;
        self.query = query;
        Ok(key)
    }

    /// Stage 2, once.
    fn facts(&mut self, till: &Inner, key: &Authenticated, terms: &KeyTerms) -> Result<Facts, Denial> {
        let Self { head, provider, path, query, .. } = self;
        let scope = terms.scope().map(|scope| &**scope);
        facts(key, head, provider.as_deref(), path, query.take(), scope)
            .inspect_err(|denial| till.store.denial_record(key.key().id, denial.code))
    }

    /// What is left of stages 2 and 3 when something has to be waited for.
    fn later(mut self, client: &Arc<Client>, key: Authenticated, facts: Option<Facts>, early: Early) -> Next {
        let client = Arc::clone(client);
        Next::Admitting(Box::pin(async move {
            let admitted = self.admitted(&client.till, &key, facts, early).await;
            match admitted {
                Ok((facts, admitted)) => self.depart(&client.till, key, facts, admitted),
                Err(denial) => Err(self.denied(&denial)),
            }
        }))
    }

    async fn admitted(
        &mut self,
        till: &Inner,
        key: &Authenticated,
        facts: Option<Facts>,
        mut early: Early,
    ) -> Result<(Facts, Admitted), Denial> {
        let forget = |denial: &Denial| till.authenticator.forget_ended(key, denial.code);
        let facts = match facts {
            Some(facts) => facts,
            None => {
                let terms = terms(till, key, self.record.client).await.inspect_err(forget)?;
                let facts = self.facts(till, key, &terms)?;
                early.terms = Some(terms);
                facts
            }
        };
        let admitted = pin!(admit(till, key, &self.head, &facts, early, &mut self.record)).await;
        Ok((facts, admitted.inspect_err(forget)?))
    }

    /// The request as it goes out.
    fn depart(
        mut self,
        till: &Inner,
        key: Authenticated,
        facts: Facts,
        admitted: Admitted,
    ) -> Result<Box<Departing>, Refusal> {
        let Admitted { admission, body, length, clamped, room } = admitted;
        let remaining = admission.remaining();
        if let Some(trace) = &self.record.trace {
            trace.propagate(&mut self.head.fields);
        }
        let request = match outbound(key.key(), &facts, &self.head, body, length) {
            Ok(request) => Box::new(request),
            Err(denial) => {
                till.store.denial_record(key.key().id, denial.code);
                return Err(self.denied(&denial));
            }
        };
        let (websocket, Self { dialect, record, .. }) = (facts.websocket, self);
        Ok(Box::new(Departing {
            key,
            websocket,
            request,
            admission,
            room,
            remaining,
            clamped,
            dialect,
            record,
        }))
    }

    /// It is refused, and nothing of it was sent.
    fn denied(self, denial: &Denial) -> Refusal {
        let Self { dialect, record, .. } = self;
        if let Some(key) = record.key {
            record.till().store.denied_record(record.denied(key, denial));
        }
        Refusal { denial: denial.clone(), dialect, record }
    }
}

impl Departing {
    /// Stages 4 to 7.
    async fn answer(self: Box<Self>, till: &Arc<Inner>) -> Result<Answer, Refusal> {
        let Self { key, websocket, request, admission, room, remaining, clamped, dialect, record } = *self;
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
        let mut answer = match websocket {
            Some(protocol) if is_switched => {
                websocket::open(Arc::clone(till), key, protocol, forwarded, record)
            }
            _ => {
                let opened = match open(forwarded, key.key()) {
                    Ok(Opening::Opened(opened)) => Ok(opened),
                    Ok(Opening::Coded(coded)) => Box::pin(coded.opened(till.timeouts.idle)).await,
                    Err(denial) => Err(denial),
                };
                match opened {
                    Ok(opened) => relay(opened, &key.key().redactor, dialect, record),
                    Err(denial) => return Err(Refusal { denial, dialect, record }),
                }
            }
        };
        write_remaining(&remaining, clamped.as_ref(), &mut answer.fields);
        Ok(answer)
    }
}

/// Stage 4. Where the answer counts against a limit it is awaited although the client may go away meanwhile: what
/// it says was used is what the key pays. It is in flight for as long, and keeps its room for the body.
async fn send(
    till: &Arc<Inner>,
    key: &Authenticated,
    request: Box<Outbound>,
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
