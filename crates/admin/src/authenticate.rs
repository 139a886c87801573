//! Who is asking, and whether they may.
//!
//! Every request passes [`gate`] before anything else of it is read. Invariants: a path that the route table
//! doesn't know is closed unless it is outside `/admin`; missing, malformed and unknown tokens take the same
//! steps and get the same answer, so neither content nor timing tells them apart; while the store may be an older copy, in
//! which tokens and passwords are back that were taken away, only the owner's token is let in; the look-up is by a
//! SHA-256 of the token, so its time says nothing about a stored token either. Refused tokens are counted in
//! a metric and written nowhere.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use till_core::audit::{Actor, ActorKind};
use till_core::hex::{from_hex, to_hex};
use till_core::role::Role;
use till_core::scope::Network;
use till_core::time::Timestamp;
use till_core::token::admin_token_hash;
use till_store::{AdminToken, EntityKind, Kept, KeyRecord, Member, Project, Session};

use crate::entity_json::missing;
use crate::error::{ApiError, ErrorCode};
use crate::password;
use crate::permission::{Access, Permission, role_may};
use crate::refusals::Who;
use crate::router::Shared;
use crate::time_text::rfc3339;
use crate::tokens::OWNER;

/// The address a request came from. The listener puts it into the request's extensions.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddr(pub SocketAddr);

/// The address of whoever sent a request, where that is not the other end of the connection.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddr(pub IpAddr);

/// The id under which a request stands in the log. The listener puts it into the request's extensions, or
/// into the header `x-till-request-id`.
#[derive(Clone, Debug)]
pub struct RequestId(pub String);

/// Header form of [`RequestId`].
pub(crate) const REQUEST_ID_HEADER: &str = "x-till-request-id";

/// Longest request id that is taken from a header.
const REQUEST_ID_MAX: usize = 128;

/// Whoever passed [`gate`]. Handlers demand it; only this file can make one.
#[derive(Clone)]
pub(crate) struct Caller(Arc<Identity>);

struct Identity {
    actor: Actor,
    role: Role,
    /// `None` is everywhere.
    project: Option<String>,
    /// Whose rules count for the keys that they make.
    maker: String,
    name: String,
    session: Option<String>,
    bounds: Bounds,
}

/// How long and from where an admin token may be used. A member has no such bounds.
#[derive(Clone, Default)]
pub(crate) struct Bounds {
    expires_at: Option<u64>,
    networks: Option<Vec<Network>>,
}

impl Caller {
    /// The session by which they came, if they are signed in.
    pub(crate) fn session(&self) -> Option<&str> {
        self.0.session.as_deref()
    }

    /// As the audit log knows them.
    pub(crate) fn actor(&self) -> &Actor {
        &self.0.actor
    }

    pub(crate) fn role(&self) -> Role {
        self.0.role
    }

    /// A name for people.
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// The project that they are bound to; `None` is everywhere.
    pub(crate) fn project(&self) -> Option<&str> {
        self.0.project.as_deref()
    }

    /// Whose rules count for the keys that they make: a member or an admin token.
    pub(crate) fn maker(&self) -> &str {
        &self.0.maker
    }

    /// Whether what belongs to this project is there for them.
    pub(crate) fn sees(&self, project: &str) -> bool {
        self.project().is_none_or(|own| own == project)
    }

    /// As [`Caller::sees`], for what may belong to the whole instance: that is not there for who is bound.
    pub(crate) fn sees_bound(&self, project: Option<&str>) -> bool {
        self.project().is_none_or(|own| project == Some(own))
    }

    /// The project of something that they make: the one they name, or their own.
    ///
    /// # Errors
    /// They are bound to another one.
    pub(crate) fn project_for(&self, named: Option<String>) -> Result<Option<String>, ApiError> {
        match (named, self.project()) {
            (None, own) => Ok(own.map(str::to_owned)),
            (Some(named), own) if own.is_none_or(|own| own == named) => Ok(Some(named)),
            // The same as for one that does not exist.
            (Some(_), _) => Err(ApiError::new(ErrorCode::NotAllowed, "`project` is none that there is")),
        }
    }

    /// Whether they may change or end a key: a minter only those that it made.
    pub(crate) fn may_change(&self, key: &KeyRecord) -> Result<(), ApiError> {
        if self.role() != Role::Minter || key.place.maker.as_deref() == Some(self.maker()) {
            return Ok(());
        }
        Err(ApiError::new(
            ErrorCode::Forbidden,
            "a minter changes and revokes the keys that it made, no others",
        ))
    }

    /// Whether they may change or end something that acts: a member or an admin token of this project and role.
    ///
    /// # Errors
    /// It is not there for them, or its role is above their own.
    pub(crate) fn may_administer(
        &self,
        kind: EntityKind,
        project: Option<&str>,
        role: Role,
    ) -> Result<(), ApiError> {
        if !self.sees_bound(project) {
            return Err(missing(kind));
        }
        self.may_grant(role).map(drop)
    }

    /// Whether this is what they act by: their admin token, or the member that they are or that it stands for.
    pub(crate) fn stands_on(&self, id: &str) -> bool {
        self.actor().id == id || self.maker() == id
    }

    /// Whether they may hand out an admin token that ends then and is for these networks: whoever acts by one that ends
    /// would otherwise go on by another.
    ///
    /// # Errors
    /// It would go on for longer than their own, or from elsewhere.
    pub(crate) fn may_hand_out(
        &self,
        expires_at: Option<u64>,
        networks: Option<&[Network]>,
    ) -> Result<(), ApiError> {
        let Bounds { expires_at: own_end, networks: own } = &self.0.bounds;
        if let Some(end) = own_end
            && expires_at.is_none_or(|at| at > *end)
        {
            let message = format!(
                "your own admin token ends at {}: one that you hand out needs an `expires_at` no later than that",
                rfc3339(Timestamp(*end))
            );
            return Err(ApiError::new(ErrorCode::NotAllowed, message));
        }
        let is_within = |one: &Network| own.iter().flatten().any(|own| own.covers(one));
        if own.is_some() && !networks.is_some_and(|all| all.iter().all(is_within)) {
            let message = "your own admin token is for certain networks: one that you hand out needs `networks` within these";
            return Err(ApiError::new(ErrorCode::NotAllowed, message));
        }
        Ok(())
    }

    /// Whether they may give somebody a password, or more rights to sign in with: a member who signs in can do so for ever
    /// and from everywhere.
    ///
    /// # Errors
    /// They act by an admin token that ends, or that is for certain networks.
    pub(crate) fn may_let_sign_in(&self) -> Result<(), ApiError> {
        let Bounds { expires_at, networks } = &self.0.bounds;
        if expires_at.is_none() && networks.is_none() {
            return Ok(());
        }
        let message = "an admin token with an end or with networks gives nobody a `password` or a higher `role`: a member \
                       who signs in has neither bound";
        Err(ApiError::new(ErrorCode::NotAllowed, message))
    }

    /// Whether they may hand out, take away or change somebody of this role.
    ///
    /// # Errors
    /// It is above their own.
    pub(crate) fn may_grant(&self, role: Role) -> Result<Role, ApiError> {
        if role <= self.role() {
            return Ok(role);
        }
        Err(ApiError::new(ErrorCode::Forbidden, "this role is above your own"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // Absent only when a route was declared open by mistake: fail closed.
        parts.extensions.get().cloned().ok_or_else(|| ApiError::plain(ErrorCode::Unauthorized))
    }
}

/// Whoever sent a request that needs no token, as the audit log knows them.
#[derive(Clone)]
pub(crate) struct Visitor(Actor, Option<IpAddr>);

impl Visitor {
    /// As the audit log knows them: not by name, but by address.
    pub(crate) fn actor(&self) -> &Actor {
        &self.0
    }

    /// Their address, where that can be told.
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        self.1
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // Absent only when a route was declared to need a token by mistake.
        parts.extensions.get().cloned().ok_or_else(|| ApiError::plain(ErrorCode::InternalError))
    }
}

/// Lets a request through to its handler, or answers why not.
pub(crate) async fn gate(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let needed = match access(&shared, &request) {
        Access::Open => {
            let actor = Actor {
                kind: ActorKind::System,
                id: "anonymous".into(),
                address: address(&request),
                request_id: request_id(&request),
            };
            let visitor = Visitor(actor, client_ip(&request));
            request.extensions_mut().insert(visitor);
            return next.run(request).await;
        }
        Access::Page(_)
            if shared.state.settings.loopback && is_local(request.headers(), request.uri().host()) =>
        {
            return next.run(request).await;
        }
        Access::Page(permission) | Access::Token(permission) => permission,
    };
    let credentials = Credentials::of(&request);
    let caller = authenticate(&shared, credentials).await.and_then(|caller| {
        // Whoever watches must see why nothing works.
        if needed != Permission::MetricsRead {
            check_fence(&shared, &caller.actor().id)?;
        }
        permit(&shared, caller, needed)
    });
    match caller {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

fn access(shared: &Shared, request: &Request) -> Access {
    // GET handlers also answer HEAD.
    let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    let declared =
        request.extensions().get::<MatchedPath>().and_then(|path| shared.access(method, path.as_str()));
    match declared {
        Some(access) => access,
        None if request.uri().path().split('/').nth(1) == Some("admin") => {
            Access::Token(Permission::InstanceRead)
        }
        // Nothing but a 404 or 405 is behind it.
        None => Access::Open,
    }
}

/// Who sent a request whose answer goes on, to be looked at again.
pub(crate) struct Standing(Credentials);

impl Standing {
    pub(crate) fn of(request: &Request) -> Self {
        Self(Credentials::of(request))
    }

    /// Whether they may still do this. Where that can't be told they may not.
    pub(crate) async fn holds(&self, shared: &Shared, needed: Permission) -> bool {
        let caller = authenticate(shared, self.0.clone()).await;
        caller.is_ok_and(|caller| role_may(caller.role(), caller.project().is_some(), needed))
    }
}

/// What a request says about who sent it.
#[derive(Clone)]
struct Credentials {
    /// Made also for an absent or malformed token, so that all refusals take the same time.
    token_hash: [u8; 32],
    /// Of the session cookie, where there is one and no token.
    session_hash: Option<[u8; 32]>,
    /// Of the word that a session has to carry where it changes something; `None` where it reads.
    csrf_hash: Option<[u8; 32]>,
    address: Option<String>,
    ip: Option<IpAddr>,
    request_id: Option<String>,
}

impl Credentials {
    fn of(request: &Request) -> Self {
        let headers = request.headers();
        let cookie = session_cookie(headers).filter(|_| !headers.contains_key(header::AUTHORIZATION));
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let csrf = headers.get(CSRF_HEADER).map_or(&b""[..], |value| value.as_bytes());
        Self {
            token_hash: admin_token_hash(bearer(headers).unwrap_or_default()),
            session_hash: cookie.map(session_hash),
            csrf_hash: (!is_read).then(|| csrf_hash(csrf)),
            address: address(request),
            ip: client_ip(request),
            request_id: request_id(request),
        }
    }
}

/// The address of whoever sent a request, where that can be told.
fn client_ip(request: &Request) -> Option<IpAddr> {
    let client = request.extensions().get::<ClientAddr>().map(|client| client.0);
    client
        .or_else(|| request.extensions().get::<PeerAddr>().map(|peer| peer.0.ip()))
        .map(|ip| ip.to_canonical())
}

/// Where a request came from, for the audit log.
fn address(request: &Request) -> Option<String> {
    let peer = request.extensions().get::<PeerAddr>().map(|peer| peer.0);
    let client = request.extensions().get::<ClientAddr>().map(|client| client.0);
    // The port is that of the connection, so it says nothing about a client behind a proxy.
    let behind_proxy = client.filter(|client| peer.is_none_or(|peer| peer.ip().to_canonical() != *client));
    behind_proxy.map(|client| client.to_string()).or_else(|| peer.map(|peer| peer.to_string()))
}

/// Who is asking.
async fn authenticate(shared: &Shared, credentials: Credentials) -> Result<Caller, ApiError> {
    let store = &shared.state.store;
    let who = match credentials.session_hash {
        None => {
            let token: Option<Kept<AdminToken>> = store.entity_find(credentials.token_hash).await?;
            of_token(shared, token, credentials.ip).await?
        }
        Some(hash) => of_session(shared, hash, &credentials).await?,
    };
    let Some(Subject { id, name, role, project, maker, session, bounds }) = who else {
        shared.metrics.unauthorized();
        return Err(ApiError::plain(ErrorCode::Unauthorized));
    };
    let actor = Actor {
        kind: ActorKind::Admin,
        id,
        address: credentials.address,
        request_id: credentials.request_id,
    };
    Ok(Caller(Arc::new(Identity { actor, role, project, maker, name, session, bounds })))
}

/// Whether this member or admin token may go on. Where the store may be an older copy nobody knows whether it still is one,
/// and that may only be accepted by whoever has the owner's token, which a start or `till admin reset-owner` replaces.
///
/// # Errors
/// The store is fenced, and it is somebody else.
pub(crate) fn check_fence(shared: &Shared, id: &str) -> Result<(), ApiError> {
    if id == OWNER || shared.state.store.fenced().is_none() {
        return Ok(());
    }
    Err(ApiError::plain(ErrorCode::InstanceFenced))
}

/// Somebody who is known.
pub(crate) struct Subject {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) project: Option<String>,
    pub(crate) maker: String,
    /// The session by which they came.
    pub(crate) session: Option<String>,
    pub(crate) bounds: Bounds,
}

/// Who an admin token stands for; `None` when it may do nothing (any more).
///
/// # Errors
/// It may not be used from there, or the store can't be read.
pub(crate) async fn of_token(
    shared: &Shared,
    token: Option<Kept<AdminToken>>,
    ip: Option<IpAddr>,
) -> Result<Option<Subject>, ApiError> {
    let store = &shared.state.store;
    let is_alive = |token: &Kept<AdminToken>| {
        token.ended_at.is_none() && token.is.expires_at.is_none_or(|end| end > store.now().0)
    };
    let refused = |token: &Kept<AdminToken>, reason| {
        let address = ip.map(|ip| ip.to_string());
        let actor = Actor { kind: ActorKind::System, id: "anonymous".into(), address, request_id: None };
        shared.refusals.note(store, Who::Token(token.id.clone()), reason, actor);
    };
    let Some(token) = token else { return Ok(None) };
    if !is_alive(&token) {
        refused(&token, "expired");
        return Ok(None);
    }
    let comes_from =
        |networks: &Vec<Network>| ip.is_some_and(|ip| networks.iter().any(|network| network.contains(ip)));
    if !token.is.networks.as_ref().is_none_or(comes_from) {
        // It is told what is wrong: whoever has it should know, and a thief learns nothing that helps.
        shared.metrics.forbidden();
        refused(&token, "network");
        let message = "this admin token may not be used from this network";
        return Err(ApiError::new(ErrorCode::Forbidden, message));
    }
    let AdminToken { name, mut role, mut project, member, networks, expires_at, .. } = token.is;
    let bounds = Bounds { expires_at, networks };
    let mut maker = token.id.clone();
    if let Some(id) = member {
        // Nobody can do more by a token than by themselves.
        let member: Option<Kept<Member>> = store.entity_fetch(&id).await?;
        let Some(member) = member.filter(|member| member.ended_at.is_none()) else { return Ok(None) };
        role = role.min(member.is.role);
        if member.is.project.is_some() && project != member.is.project {
            if project.is_some() {
                return Ok(None);
            }
            project = member.is.project;
        }
        maker = id;
    }
    if !is_project_alive(shared, project.as_deref()).await? {
        return Ok(None);
    }
    shared.note_use(EntityKind::Token, &token.id, token.used_at);
    Ok(Some(Subject { id: token.id, name, role, project, maker, session: None, bounds }))
}

/// Who a member is; `None` when they may do nothing (any more).
pub(crate) async fn of_member(
    shared: &Shared,
    member: Option<Kept<Member>>,
) -> Result<Option<Subject>, ApiError> {
    let Some(member) = member.filter(|member| member.ended_at.is_none()) else { return Ok(None) };
    let Member { login, name, role, project, .. } = member.is;
    if !is_project_alive(shared, project.as_deref()).await? {
        return Ok(None);
    }
    shared.note_use(EntityKind::Member, &member.id, member.used_at);
    let name = if name.is_empty() { login } else { name };
    let (maker, bounds) = (member.id.clone(), Bounds::default());
    Ok(Some(Subject { id: member.id, name, role, project, maker, session: None, bounds }))
}

async fn is_project_alive(shared: &Shared, project: Option<&str>) -> Result<bool, ApiError> {
    let Some(id) = project else { return Ok(true) };
    let project: Option<Kept<Project>> = shared.state.store.entity_fetch(id).await?;
    Ok(project.is_some_and(|project| project.ended_at.is_none()))
}

/// Who is signed in. What changes something has to carry the word that only the page knows.
async fn of_session(
    shared: &Shared,
    hash: [u8; 32],
    credentials: &Credentials,
) -> Result<Option<Subject>, ApiError> {
    let store = &shared.state.store;
    let session: Option<Kept<Session>> = store.entity_find(hash).await?;
    let Some(session) = session.filter(|session| session.is.expires_at > store.now().0) else {
        return Ok(None);
    };
    let who = if session.is.subject.starts_with(MEMBER_PREFIX) {
        let member: Option<Kept<Member>> = store.entity_fetch(&session.is.subject).await?;
        let is_of_password = |member: &Kept<Member>| password::stamp(&member.is) == session.is.stamp;
        of_member(shared, member.filter(is_of_password)).await?
    } else {
        // By the text that was shown then: after a rotation that finds nothing any more, when the old text does not.
        let Some(hash) = from_hex(&session.is.stamp) else { return Ok(None) };
        let token: Option<Kept<AdminToken>> = store.entity_find(hash).await?;
        of_token(shared, token.filter(|token| token.id == session.is.subject), credentials.ip).await?
    };
    let Some(who) = who else { return Ok(None) };
    if credentials.csrf_hash.is_some_and(|hash| to_hex(&hash) != session.is.csrf) {
        shared.metrics.forbidden();
        let message = "a change by somebody who is signed in needs the header `x-till-csrf` with the word that signing in \
                       answered";
        return Err(ApiError::new(ErrorCode::Forbidden, message));
    }
    Ok(Some(Subject { session: Some(session.id), ..who }))
}

/// What ids of members begin with.
pub(crate) const MEMBER_PREFIX: &str = "mem_";

/// Name of the cookie of a session.
pub(crate) const SESSION_COOKIE: &str = "till_session";

/// The header that a change by somebody who is signed in has to carry.
pub(crate) const CSRF_HEADER: &str = "x-till-csrf";

/// What finds a session.
pub(crate) fn session_hash(secret: &str) -> [u8; 32] {
    domain_hash(b"till/v1/session", secret.as_bytes())
}

/// What is kept of the word that changes have to carry.
pub(crate) fn csrf_hash(word: &[u8]) -> [u8; 32] {
    domain_hash(b"till/v1/csrf", word)
}

/// SHA-256 of a text, told apart from other uses of it.
pub(crate) fn domain_hash(domain: &[u8], text: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(domain);
    hash.update([0]);
    hash.update(text);
    hash.finalize().into()
}

/// The one session cookie of a request (RFC 6265 section 5.4), if there is exactly one.
fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut found = pairs.filter(|(name, _)| *name == SESSION_COOKIE).map(|(_, value)| value);
    match (found.next(), found.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

/// Where it goes in clear text, a browser would not send a `Secure` cookie: on this machine alone that may be.
pub(crate) fn needs_secure_cookie(shared: &Shared, headers: &HeaderMap, uri_host: Option<&str>) -> bool {
    let settings = &shared.state.settings;
    !(settings.loopback && settings.public_url.starts_with("http://") && is_local(headers, uri_host))
}

/// Whether they may do what they ask for.
fn permit(shared: &Shared, caller: Caller, needed: Permission) -> Result<Caller, ApiError> {
    if role_may(caller.role(), caller.project().is_some(), needed) {
        return Ok(caller);
    }
    shared.metrics.forbidden();
    let bound = if caller.project().is_some() { " in one project" } else { "" };
    let message = format!(
        "this needs the permission {}, which the role {}{bound} does not have; docs/administration.md lists who has it",
        needed.as_str(),
        caller.role()
    );
    Err(ApiError::new(ErrorCode::Forbidden, message))
}

/// The token of the one `Authorization: Bearer` header, if there is exactly one.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' '))
}

/// The id of a request, as the listener gave it.
pub(crate) fn request_id(request: &Request) -> Option<String> {
    if let Some(RequestId(id)) = request.extensions().get() {
        return Some(id.clone());
    }
    let id = request.headers().get(REQUEST_ID_HEADER)?.to_str().ok()?;
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    (plain && !id.is_empty() && id.len() <= REQUEST_ID_MAX).then(|| id.to_owned())
}

/// Whether a request to a loopback listener really comes from a person at this machine: not passed on by a
/// reverse proxy, and not from a web page whose name was made to resolve to a loopback address.
fn is_local(headers: &HeaderMap, uri_host: Option<&str>) -> bool {
    let forwarded = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];
    if forwarded.iter().any(|name| headers.contains_key(*name)) {
        return false;
    }
    let host = headers.get(header::HOST).map_or(uri_host, |host| host.to_str().ok());
    host.is_some_and(names_loopback)
}

/// Whether `host` or `host:port` is `localhost` or a loopback address.
fn names_loopback(authority: &str) -> bool {
    if let Ok(address) = authority.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue};

    use super::{bearer, is_local};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn finds_the_bearer_token() {
        for (pairs, token) in [
            (&[("authorization", "Bearer abc")][..], Some("abc")),
            (&[("authorization", "bearer  abc")], Some("abc")),
            (&[("authorization", "Bearer")], None),
            (&[("authorization", "Basic abc")], None),
            (&[("authorization", "Bearer a"), ("authorization", "Bearer a")], None),
            (&[("x-api-key", "abc")], None),
            (&[], None),
        ] {
            assert_eq!(bearer(&headers(pairs)), token, "{pairs:?}");
        }
    }

    #[test]
    fn knows_who_is_local() {
        for (pairs, uri_host, local) in [
            (&[("host", "127.0.0.1:4100")][..], None, true),
            (&[("host", "localhost:4100")], None, true),
            (&[("host", "LOCALHOST")], None, true),
            (&[("host", "[::1]:4100")], None, true),
            (&[("host", "[::1]")], None, true),
            (&[], Some("127.0.0.1"), true),
            (&[], None, false),
            (&[("host", "evil.example:4100")], None, false),
            (&[("host", "localhost.evil.example")], None, false),
            (&[("host", "10.0.0.1:4100")], None, false),
            (&[("host", "evil.example")], Some("localhost"), false),
            (&[("host", "localhost"), ("x-forwarded-for", "1.2.3.4")], None, false),
            (&[("host", "localhost"), ("via", "1.1 proxy")], None, false),
        ] {
            assert_eq!(is_local(&headers(pairs), uri_host), local, "{pairs:?} {uri_host:?}");
        }
    }
}
