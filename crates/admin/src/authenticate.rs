//! Who is asking, and whether they may.
//!
//! Every request passes [`gate`] before anything else of it is read. Invariants: a path that the route table
//! doesn't know is closed unless it is outside `/admin`; missing, malformed and unknown tokens take the same
//! steps and get the same answer, so neither content nor timing tells them apart; the look-up is by a
//! SHA-256 of the token, so its time says nothing about a stored token either. Refused tokens are counted in
//! a metric and written nowhere.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use till_core::audit::{Actor, ActorKind};
use till_core::role::Role;
use till_core::scope::Network;
use till_core::token::admin_token_hash;
use till_store::{AdminToken, EntityKind, Kept, KeyRecord, Member, Project};

use crate::error::{ApiError, ErrorCode};
use crate::permission::{Access, Permission, role_may};
use crate::router::Shared;

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
}

impl Caller {
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
pub(crate) struct Visitor(Actor);

impl Visitor {
    /// As the audit log knows them: not by name, but by address.
    pub(crate) fn actor(&self) -> &Actor {
        &self.0
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
            let visitor = Visitor(Actor {
                kind: ActorKind::System,
                id: "anonymous".into(),
                address: address(&request),
                request_id: request_id(&request),
            });
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
    match authenticate(&shared, credentials).await.and_then(|caller| permit(&shared, caller, needed)) {
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

/// What a request says about who sent it.
struct Credentials {
    /// Made also for an absent or malformed token, so that all refusals take the same time.
    token_hash: [u8; 32],
    address: Option<String>,
    ip: Option<IpAddr>,
    request_id: Option<String>,
}

impl Credentials {
    fn of(request: &Request) -> Self {
        Self {
            token_hash: admin_token_hash(bearer(request.headers()).unwrap_or_default()),
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
    let unknown = || {
        shared.metrics.unauthorized();
        ApiError::plain(ErrorCode::Unauthorized)
    };
    let store = &shared.state.store;
    let found: Option<Kept<AdminToken>> = store.entity_find(credentials.token_hash).await?;
    let found = found.filter(|found| found.is.expires_at.is_none_or(|end| end > store.now().0));
    let token = found.ok_or_else(unknown)?;
    let comes_from = |networks: &Vec<Network>| {
        credentials.ip.is_some_and(|ip| networks.iter().any(|network| network.contains(ip)))
    };
    if !token.is.networks.as_ref().is_none_or(comes_from) {
        // It is told what is wrong: whoever has it should know, and a thief learns nothing that helps.
        shared.metrics.forbidden();
        let message = "this admin token may not be used from this network";
        return Err(ApiError::new(ErrorCode::Forbidden, message));
    }
    let AdminToken { name, mut role, mut project, member, .. } = token.is;
    let mut maker = token.id.clone();
    if let Some(id) = member {
        // Nobody can do more by a token than by themselves.
        let member: Option<Kept<Member>> = store.entity_fetch(&id).await?;
        let member = member.filter(|member| member.ended_at.is_none()).ok_or_else(unknown)?;
        role = role.min(member.is.role);
        if member.is.project.is_some() && project != member.is.project {
            if project.is_some() {
                return Err(unknown());
            }
            project = member.is.project;
        }
        maker = id;
    }
    if let Some(id) = &project {
        let project: Option<Kept<Project>> = store.entity_fetch(id).await?;
        project.filter(|project| project.ended_at.is_none()).ok_or_else(unknown)?;
    }
    shared.note_use(EntityKind::Token, &token.id, token.used_at);
    let actor = Actor {
        kind: ActorKind::Admin,
        id: token.id,
        address: credentials.address,
        request_id: credentials.request_id,
    };
    Ok(Caller(Arc::new(Identity { actor, role, project, maker, name })))
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
