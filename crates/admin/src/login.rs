//! `/admin/login`: sessions of people in a browser.
//!
//! A session is a random secret in a cookie that no script can read (`HttpOnly`) and no other site can make the browser send
//! (`SameSite=Strict`), `Secure` except in clear text on this machine. Whatever changes something has to carry a second word
//! in a header, which only the page knows that signed in. Invariants: what is kept are hashes of both; failed attempts are
//! counted per login and per address before the password is looked at, in bounded memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use till_core::audit::{Actor, ActorKind};
use till_core::hex::to_hex;
use till_core::time::Timestamp;
use till_core::token::admin_token_hash;
use till_store::{AdminToken, EntityKind, Kept, Lookup, Member, Put, Session};
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use crate::authenticate::{
    Caller, SESSION_COOKIE, Subject, Visitor, csrf_hash, needs_secure_cookie, of_member, of_token,
    session_hash,
};
use crate::entity_json::{self, Edit, missing, new_id, random};
use crate::error::{ApiError, ErrorBody, ErrorCode};
use crate::json_body::{self, Fields};
use crate::key_create::{required, text};
use crate::members::login_hash;
use crate::password;
use crate::query;
use crate::router::Shared;
use crate::time_text::rfc3339;

/// How long a session lasts.
const SESSION_SECONDS: u64 = 12 * 3600;

/// Failed attempts within [`WINDOW_MS`] after which a login, or an address, has to wait.
const FAILURES_PER_LOGIN: u32 = 5;
const FAILURES_PER_ADDRESS: u32 = 20;
const WINDOW_MS: u64 = 15 * 60 * 1000;

/// So many are remembered; beyond that those whose window is over are forgotten, and if none is, nobody new may try.
const REMEMBERED_MAX: usize = 20_000;

/// Passwords that are looked at at once: each takes 19 MiB and some ten milliseconds.
const AT_ONCE: usize = 2;

/// Who may try to sign in.
pub(crate) struct Doors {
    failures: Mutex<HashMap<Door, Failures>>,
    at_once: Semaphore,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Door {
    Login([u8; 32]),
    Address(Option<IpAddr>),
}

#[derive(Clone, Copy)]
struct Failures {
    since: Timestamp,
    count: u32,
}

impl Default for Doors {
    fn default() -> Self {
        Self { failures: Mutex::default(), at_once: Semaphore::new(AT_ONCE) }
    }
}

impl Doors {
    /// Counts an attempt as failed before it is looked at, so that many at once are no more than as many in turn.
    ///
    /// # Errors
    /// There were too many.
    fn try_one(&self, doors: &[(Door, u32)], now: Timestamp) -> Result<(), ApiError> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |failures: &Failures| now.0.saturating_sub(failures.since.0) >= WINDOW_MS;
        if failures.len() >= REMEMBERED_MAX {
            failures.retain(|_, failures| !is_over(failures));
        }
        let count = |door: &Door| failures.get(door).filter(|one| !is_over(one)).map_or(0, |one| one.count);
        let is_full = failures.len() + doors.len() > REMEMBERED_MAX;
        if is_full || doors.iter().any(|(door, most)| count(door) >= *most) {
            return Err(ApiError::plain(ErrorCode::TooManyAttempts));
        }
        for (door, _) in doors {
            let one = failures.entry(door.clone()).or_insert(Failures { since: now, count: 0 });
            if is_over(one) {
                *one = Failures { since: now, count: 0 };
            }
            one.count += 1;
        }
        Ok(())
    }

    /// It did not fail.
    fn succeeded(&self, doors: &[(Door, u32)]) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        for (door, _) in doors {
            match door {
                Door::Login(_) => drop(failures.remove(door)),
                // One who can sign in must not make room for guesses at others from the same place.
                Door::Address(_) => {
                    if let Some(one) = failures.get_mut(door) {
                        one.count = one.count.saturating_sub(1);
                    }
                }
            }
        }
    }
}

/// Either `login` and `password`, or `admin_token`.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Login, example = json!({"login": "ada@example.com", "password": "correct horse battery staple"}))]
#[expect(dead_code, reason = "describes the body for the documentation; `login` reads it")]
pub(crate) struct LoginBody {
    /// What the member signs in with.
    #[schema(example = "ada@example.com")]
    login: Option<String>,
    /// Their password.
    #[schema(example = "correct horse battery staple", write_only)]
    password: Option<String>,
    /// An admin token.
    #[schema(example = "till_admin_…", write_only)]
    admin_token: Option<String>,
}

/// A new password for oneself.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PasswordChange, example = json!({"current_password": "correct horse battery staple", "password": "another horse battery staple"}))]
#[expect(dead_code, reason = "describes the body for the documentation; `password_change` reads it")]
pub(crate) struct PasswordBody {
    /// The password so far.
    #[schema(example = "correct horse battery staple", write_only)]
    current_password: String,
    /// The new one: at least 12 characters, at most 1024 bytes.
    #[schema(example = "another horse battery staple", min_length = 12, max_length = 1024, write_only)]
    password: String,
}

/// Somebody is signed in.
// No `Debug`: it holds a credential.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LoginAnswer)]
pub(crate) struct LoginAnswer {
    /// Id of the member or admin token.
    #[schema(example = "mem_0a1b2c3d4e5f60718293")]
    id: String,
    /// A name for people.
    #[schema(example = "Ada")]
    name: String,
    /// What they are.
    #[schema(example = "admin")]
    role: &'static str,
    /// The project that they are bound to; null is everywhere.
    #[schema(required = true, example = json!(null))]
    project: Option<String>,
    /// What to send as `x-till-csrf` with every request that changes something. It is in this answer only.
    #[schema(read_only)]
    csrf_token: String,
    /// When they have to sign in again.
    #[schema(format = DateTime, example = "2026-01-31T20:00:00.000Z")]
    expires_at: String,
}

/// Sign in
///
/// Sets a cookie for 12 hours. For pages in a browser; programs send an admin token with each request instead.
#[utoipa::path(post, path = "/admin/login", request_body = LoginBody,
    responses(
        (status = 200, description = "Signed in", body = LoginAnswer,
            headers(("set-cookie" = String, description = "The cookie `till_session`"))),
        (status = 400, description = "A field or the body breaks a rule", body = ErrorBody),
        (status = 401, description = "The login or the password is wrong, or nobody may sign in by it", body = ErrorBody),
        (status = 403, description = "The admin token may not be used from this network", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not declared as JSON", body = ErrorBody),
        (status = 429, description = "It failed too often", body = ErrorBody),
        (status = 503, description = "The store could not read or write just now", body = ErrorBody),
    ))]
pub(crate) async fn login(
    State(shared): State<Arc<Shared>>,
    visitor: Visitor,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let mut fields = Fields::parse(&json_body::read(&headers, body).await?)?;
    let login = fields.take("login")?;
    let given = fields.take("password")?;
    let token = fields.take("admin_token")?;
    fields.finish(&["login", "password", "admin_token"])?;
    let store = &shared.state.store;
    let (who, stamp) = match token {
        Some(token) if login.is_none() && given.is_none() => {
            let hash = admin_token_hash(&text("admin_token", token)?);
            let doors = [(Door::Address(visitor.ip()), FAILURES_PER_ADDRESS)];
            shared.doors.try_one(&doors, store.now())?;
            let found: Option<Kept<AdminToken>> = store.entity_find(hash).await?;
            let who = of_token(&shared, found, visitor.ip()).await?;
            let who = who.ok_or_else(|| failed(&shared))?;
            shared.doors.succeeded(&doors);
            (who, String::new())
        }
        Some(_) => {
            let message = "send `login` and `password`, or `admin_token`";
            return Err(ApiError::new(ErrorCode::DuplicateField, message));
        }
        None => {
            let login = text("login", required("login", login)?)?;
            let given = text("password", required("password", given)?)?;
            by_password(&shared, &visitor, &login, given).await?
        }
    };
    open(&shared, &visitor, who, stamp, needs_secure_cookie(&shared, &headers, uri.host())).await
}

fn failed(shared: &Shared) -> ApiError {
    shared.metrics.unauthorized();
    ApiError::plain(ErrorCode::LoginFailed)
}

async fn by_password(
    shared: &Shared,
    visitor: &Visitor,
    login: &str,
    given: String,
) -> Result<(Subject, String), ApiError> {
    let store = &shared.state.store;
    let hash = login_hash(login);
    let doors =
        [(Door::Login(hash), FAILURES_PER_LOGIN), (Door::Address(visitor.ip()), FAILURES_PER_ADDRESS)];
    shared.doors.try_one(&doors, store.now())?;
    let found: Option<Kept<Member>> = store.entity_find(hash).await?;
    let place = shared.doors.at_once.acquire().await;
    let is_right = password::is_right(found.as_ref().map(|found| &found.is), given).await?;
    drop(place);
    if !is_right {
        if let Some(found) = &found {
            // Bounded by the doors.
            let detail = json!({"project": found.is.project});
            store.audit_append("login.refuse", &found.id, detail, visitor.actor()).await?;
        }
        return Err(failed(shared));
    }
    let stamp = found.as_ref().map(|found| password::stamp(&found.is)).unwrap_or_default();
    let who = of_member(shared, found).await?.ok_or_else(|| failed(shared))?;
    shared.doors.succeeded(&doors);
    Ok((who, stamp))
}

/// Opens a session, and answers with its cookie.
async fn open(
    shared: &Shared,
    visitor: &Visitor,
    who: Subject,
    stamp: String,
    is_secure: bool,
) -> Result<Response, ApiError> {
    let store = &shared.state.store;
    let (secret, word) = (to_hex(&random::<32>()?), to_hex(&random::<32>()?));
    let expires_at = Timestamp(store.now().0.saturating_add(SESSION_SECONDS * 1000));
    let is = Session {
        subject: who.id.clone(),
        stamp,
        csrf: to_hex(&csrf_hash(word.as_bytes())),
        expires_at: expires_at.0,
    };
    let lookups = Some(vec![Lookup { hash: session_hash(&secret), until: Some(expires_at) }]);
    let put = Put { id: new_id("ses_")?, version: None, is, lookups, ends: false };
    let actor = Actor { kind: ActorKind::Admin, id: who.id.clone(), ..visitor.actor().clone() };
    let detail = json!({"subject": who.id, "project": who.project});
    store.entity_put(put, "session.create", detail, &actor).await?;
    let answer = LoginAnswer {
        id: who.id,
        name: who.name,
        role: who.role.as_str(),
        project: who.project,
        csrf_token: word,
        expires_at: rfc3339(expires_at),
    };
    let cookie = cookie(&secret, SESSION_SECONDS, is_secure)?;
    Ok((StatusCode::OK, [(header::SET_COOKIE, cookie)], Json(answer)).into_response())
}

fn cookie(value: &str, seconds: u64, is_secure: bool) -> Result<HeaderValue, ApiError> {
    let secure = if is_secure { "; Secure" } else { "" };
    let text =
        format!("{SESSION_COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::from_str(&text).map_err(|_| ApiError::plain(ErrorCode::InternalError))
}

/// Sign out
///
/// Ends the session by which the request came. Takes no body.
#[utoipa::path(post, path = "/admin/logout",
    responses(
        (status = 204, description = "Signed out",
            headers(("set-cookie" = String, description = "Takes the cookie away"))),
        (status = 400, description = "There are query parameters, or nobody is signed in: the request came with an admin token", body = ErrorBody),
    ))]
pub(crate) async fn logout(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let id = caller.session().ok_or_else(not_signed_in)?;
    let edit = |found: &Kept<Session>| {
        let detail = json!({"subject": found.is.subject, "project": caller.project()});
        Ok(Edit { is: found.is.clone(), lookups: None, ends: true, detail })
    };
    entity_json::update(&shared.state.store, id, None, "session.end", caller.actor(), edit).await?;
    let cookie = cookie("", 0, needs_secure_cookie(&shared, &headers, uri.host()))?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

fn not_signed_in() -> ApiError {
    ApiError::new(ErrorCode::InvalidField, "this request came with an admin token; nobody is signed in by it")
}

/// Change one's password
///
/// Ends all sessions of the member, this one included.
#[utoipa::path(post, path = "/admin/self/password", request_body = PasswordBody,
    responses(
        (status = 204, description = "It is changed; sign in again"),
        (status = 400, description = "A field or the body breaks a rule, or it is no member that is signed in", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not declared as JSON", body = ErrorBody),
        (status = 429, description = "The current password was wrong too often", body = ErrorBody),
    ))]
pub(crate) async fn password_change(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let mut fields = Fields::parse(&json_body::read(&headers, body).await?)?;
    let current = fields.take("current_password")?;
    let new = fields.take("password")?;
    fields.finish(&["current_password", "password"])?;
    let current = text("current_password", required("current_password", current)?)?;
    let new = text("password", required("password", new)?)?;
    password::check("password", &new)?;
    caller.session().ok_or_else(not_signed_in)?;
    let store = &shared.state.store;
    let member: Option<Kept<Member>> = store.entity_fetch(caller.maker()).await?;
    let member = member.ok_or_else(|| missing(EntityKind::Member))?;
    let doors = [(Door::Login(login_hash(&member.is.login)), FAILURES_PER_LOGIN)];
    shared.doors.try_one(&doors, store.now())?;
    let place = shared.doors.at_once.acquire().await;
    if !password::is_right(Some(&member.is), current).await? {
        return Err(ApiError::new(ErrorCode::LoginFailed, "`current_password` is wrong"));
    }
    shared.doors.succeeded(&doors);
    let hash = password::hash(new).await?;
    drop(place);
    let edit = |found: &Kept<Member>| {
        let is = Member { password: Some(hash.clone()), ..found.is.clone() };
        Ok(Edit { is, lookups: None, ends: false, detail: json!({"project": found.is.project}) })
    };
    entity_json::update(store, &member.id, None, "member.password", caller.actor(), edit).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[cfg(test)]
mod tests {
    use till_core::time::Timestamp;

    use super::{Door, Doors, FAILURES_PER_ADDRESS, FAILURES_PER_LOGIN, REMEMBERED_MAX, WINDOW_MS};

    #[test]
    fn guesses_are_few_per_login_and_per_address() {
        let doors = Doors::default();
        let both = |n: u8, last: u8| {
            let address = Some([192, 0, 2, last].into());
            [(Door::Login([n; 32]), FAILURES_PER_LOGIN), (Door::Address(address), FAILURES_PER_ADDRESS)]
        };
        let now = Timestamp(1_000_000);
        for _ in 0..5 {
            doors.try_one(&both(1, 1), now).unwrap();
        }
        assert!(doors.try_one(&both(1, 1), now).is_err());
        assert!(doors.try_one(&both(1, 2), now).is_err(), "from elsewhere as well");
        assert!(doors.try_one(&both(1, 1), Timestamp(now.0 + WINDOW_MS - 1)).is_err());
        doors.try_one(&both(1, 1), Timestamp(now.0 + WINDOW_MS)).unwrap();
        // Many logins from one place.
        let doors = Doors::default();
        for n in 0..20 {
            doors.try_one(&both(n, 1), now).unwrap();
        }
        assert!(doors.try_one(&both(99, 1), now).is_err());
        doors.try_one(&both(99, 2), now).unwrap();
        // Success makes room for the login, and for one more at the address.
        let doors = Doors::default();
        for _ in 0..4 {
            doors.try_one(&both(1, 1), now).unwrap();
        }
        doors.succeeded(&both(1, 1));
        for _ in 0..5 {
            doors.try_one(&both(1, 1), now).unwrap();
        }
        assert!(doors.try_one(&both(1, 1), now).is_err());
    }

    #[test]
    fn memory_is_bounded_and_a_flood_lets_nobody_guess() {
        let doors = Doors::default();
        let one = |n: usize| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&n.to_be_bytes());
            [(Door::Login(hash), FAILURES_PER_LOGIN)]
        };
        for n in 0..REMEMBERED_MAX {
            doors.try_one(&one(n), Timestamp(1_000)).unwrap();
        }
        assert!(doors.try_one(&one(REMEMBERED_MAX), Timestamp(1_000)).is_err());
        doors.try_one(&one(REMEMBERED_MAX), Timestamp(1_000 + WINDOW_MS)).unwrap();
    }
}
