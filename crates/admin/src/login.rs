//! `/admin/login`: sessions of people in a browser.
//!
//! A session is a random secret in a cookie that no script can read (`HttpOnly`) and no other site can make the browser send
//! (`SameSite=Strict`), `Secure` except in clear text on this machine. Whatever changes something has to carry a second word
//! in a header, which only the page knows that signed in. Invariants: what is kept are hashes of both; a session ends when
//! what opened it, a password or the text of an admin token, would open none any more; nobody learns from an answer, nor
//! from how long it takes, which logins there are.

use std::sync::Arc;

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
use till_store::{AdminToken, Kept, Lookup, Member, Put, Session, Store};
use utoipa::ToSchema;

use crate::authenticate::{
    Caller, SESSION_COOKIE, Subject, Visitor, check_fence, csrf_hash, needs_secure_cookie, of_member,
    of_token, session_hash,
};
use crate::doors::Way;
use crate::entity_json::{self, Edit, new_id, random};
use crate::error::{ApiError, ErrorBody, ErrorCode};
use crate::json_body::{self, Fields};
use crate::key_create::{required, text};
use crate::members::login_hash;
use crate::password;
use crate::query;
use crate::refusals::Who;
use crate::router::Shared;
use crate::time_text::rfc3339;

/// How long a session lasts.
const SESSION_SECONDS: u64 = 12 * 3600;

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
        (status = 429, description = "A password was wrong too often", body = ErrorBody,
            headers(("retry-after" = u64, description = "Whole seconds until it may be tried again"))),
        (status = 503, description = "The store could not read or write just now, or is fenced and lets only the owner's token in", body = ErrorBody),
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
            // Nobody guesses 256 bits: tries are not counted.
            let hash = admin_token_hash(&text("admin_token", token)?);
            let found: Option<Kept<AdminToken>> = store.entity_find(hash).await?;
            let who = of_token(&shared, found, visitor.ip()).await?;
            let who = who.ok_or_else(|| failed(&shared))?;
            check_fence(&shared, &who.id)?;
            (who, to_hex(&hash))
        }
        Some(_) => {
            let message = "send `login` and `password`, or `admin_token`";
            return Err(ApiError::new(ErrorCode::DuplicateField, message));
        }
        None => {
            // No password is tried: it may be one that was changed since.
            check_fence(&shared, "")?;
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
    let way = Way::signing_in(hash, visitor.ip());
    shared.doors.try_one(&way, store.now()).inspect_err(|_| {
        shared.metrics.throttled();
        shared.refusals.note(store, Who::Login(hash), "too_many_attempts", visitor.actor().clone());
    })?;
    let found: Option<Kept<Member>> = store.entity_find(hash).await?;
    if !shared.passwords.is_right(found.as_ref().map(|found| &found.is), given).await? {
        if let Some(found) = found {
            note_refusal(store.clone(), found, visitor.actor().clone());
        }
        return Err(failed(shared));
    }
    let stamp = found.as_ref().map(|found| password::stamp(&found.is)).unwrap_or_default();
    let who = of_member(shared, found).await?.ok_or_else(|| failed(shared))?;
    shared.doors.succeeded(&way);
    Ok((who, stamp))
}

/// Writes to the audit log that somebody tried the login of a member. Nobody waits for the disk: it would tell logins that
/// there are from others. How many of these there can be, the doors say.
fn note_refusal(store: Store, found: Kept<Member>, actor: Actor) {
    tokio::spawn(async move {
        let detail = json!({"project": found.is.project, "reason": "password"});
        if let Err(error) = store.audit_append("login.refuse", &found.id, detail, &actor).await {
            tracing::error!(error = %error, member = found.id, "a refused login is missing in the audit log");
        }
    });
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
    // Nothing but the API needs it, and what goes on to a provider must not have it.
    let text = format!(
        "{SESSION_COOKIE}={value}; Path=/admin; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
    );
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
        Ok(Edit { is: found.is.clone(), rotation: None, ends: true, detail })
    };
    entity_json::update(&shared.state.store, id, None, "session.end", caller.actor(), edit).await?;
    let cookie = cookie("", 0, needs_secure_cookie(&shared, &headers, uri.host()))?;
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

fn not_signed_in() -> ApiError {
    let message = "`Authorization` has an admin token, by which nobody is signed in: send the cookie of a session without it";
    ApiError::new(ErrorCode::InvalidField, message)
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
        (status = 429, description = "The current password was wrong too often", body = ErrorBody,
            headers(("retry-after" = u64, description = "Whole seconds until it may be tried again"))),
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
    let member = member.filter(|member| member.id == caller.actor().id).ok_or_else(no_member)?;
    let way = Way::signed_in(login_hash(&member.is.login));
    let refused =
        |reason| shared.refusals.note(store, Who::Member(member.id.clone()), reason, caller.actor().clone());
    shared.doors.try_one(&way, store.now()).inspect_err(|_| {
        shared.metrics.throttled();
        refused("too_many_attempts");
    })?;
    let is_wrong = || ApiError::new(ErrorCode::LoginFailed, "`current_password` is wrong");
    if !shared.passwords.is_right(Some(&member.is), current).await? {
        refused("current_password");
        return Err(is_wrong());
    }
    shared.doors.succeeded(&way);
    let hash = shared.passwords.hash(new).await?;
    let edit = |found: &Kept<Member>| {
        // An administrator may have taken it away meanwhile.
        if found.is.password != member.is.password {
            return Err(is_wrong());
        }
        let is = Member { password: Some(hash.clone()), ..found.is.clone() };
        Ok(Edit { is, rotation: None, ends: false, detail: json!({"project": found.is.project}) })
    };
    entity_json::update(store, &member.id, None, "member.password", caller.actor(), edit).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn no_member() -> ApiError {
    ApiError::new(
        ErrorCode::InvalidField,
        "it is an admin token that is signed in, which has no password; rotate it instead",
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use axum::Router;
    use axum::body::Body;
    use axum::http::{Request, Response, StatusCode, header};
    use http_body_util::BodyExt as _;
    use serde_json::{Value, json};
    use till_core::audit::Actor;
    use till_core::role::Role;
    use till_core::time::Timestamp;
    use till_core::token::{IndexKey, KeyRing, MasterKey, admin_token_hash};
    use till_providers::Registry;
    use till_providers::price::PriceTable;
    use till_store::{AdminToken, Kept, Lookup, Member, OpenOptions, Put, Store};
    use tower::ServiceExt as _;

    use crate::password;
    use crate::router::{AdminSettings, AdminState, Shared, with_shared};
    use crate::{MakeMasterKey, MasterKeys};

    const OWNER: &str = "till_admin_of_the_owner";
    const PASSWORD: &str = "correct horse battery staple";

    /// The control plane with what its handlers share, and an owner.
    async fn plane(dir: &tempfile::TempDir) -> (Router, Arc<Shared>) {
        let store = Store::open(&OpenOptions::new(dir.path(), "0.0.0-test")).unwrap();
        let is = AdminToken::unbound("owner", Role::Owner);
        let lookups = Some(vec![Lookup { hash: admin_token_hash(OWNER), until: None }]);
        let put = Put { id: "owner".into(), version: None, is, lookups, ends: false };
        store.entity_put(put, "token.put", json!({}), &Actor::system()).await.unwrap();
        let master = MasterKey::from_bytes([7; 32]);
        let keys = Arc::new(KeyRing::new(master, store.instance_id(), IndexKey::from_bytes([9; 32])));
        let make: MakeMasterKey = Arc::new(|| Err("there is no other".into()));
        with_shared(AdminState {
            store: store.clone(),
            keys: Arc::clone(&keys),
            master_keys: MasterKeys::new(store, keys, make, Arc::new(|_| Ok(()))),
            providers: Arc::new(Registry::builtin()),
            prices: Arc::new(PriceTable::builtin()),
            settings: AdminSettings {
                loopback: true,
                public_url: "http://127.0.0.1:4100".into(),
                version: "0.0.0-test",
                started: Timestamp(0),
                key_lifetime_max: None,
            },
            metrics: Arc::new(String::new),
            clock: || Timestamp(0),
        })
    }

    fn request(method: &str, path: &str, body: &Value) -> Request<Body> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "127.0.0.1:4100")
            .header(header::CONTENT_TYPE, "application/json");
        request.body(Body::from(body.to_string())).unwrap()
    }

    async fn as_owner(router: &Router, method: &str, path: &str, body: &Value) -> (StatusCode, Value) {
        let mut request = request(method, path, body);
        let bearer = format!("Bearer {OWNER}").parse().unwrap();
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
        let response = router.clone().oneshot(request).await.unwrap();
        (response.status(), json_of(response).await)
    }

    async fn json_of(response: Response<Body>) -> Value {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&bytes).unwrap_or(Value::Null)
    }

    #[tokio::test]
    async fn work_on_passwords_waits_its_turn_and_is_not_done_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (router, shared) = plane(&dir).await;
        let places = [shared.passwords.place().await.unwrap(), shared.passwords.place().await.unwrap()];
        assert_eq!(places.len(), password::AT_ONCE, "all of them are taken");
        let ada = json!({"login": "ada", "role": "viewer", "password": PASSWORD});
        let making = {
            let router = router.clone();
            tokio::spawn(async move { as_owner(&router, "POST", "/admin/members", &ada).await })
        };
        // Nobody waits to be told that there is no such member, or that they may not.
        let change = json!({"password": PASSWORD});
        let changing = as_owner(&router, "PATCH", "/admin/members/mem_none", &change);
        let (status, _) = tokio::time::timeout(Duration::from_secs(30), changing).await.expect("no wait");
        assert_eq!(status, StatusCode::NOT_FOUND);
        assert!(!making.is_finished());
        drop(places);
        assert_eq!(making.await.unwrap().0, StatusCode::CREATED);
    }

    /// An administrator locks somebody out while that one's current password is looked at.
    #[tokio::test]
    async fn a_password_that_is_taken_away_does_not_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let (router, shared) = plane(&dir).await;
        let ada = json!({"login": "ada", "role": "viewer", "password": PASSWORD});
        let id = as_owner(&router, "POST", "/admin/members", &ada).await.1["member"]["id"].clone();
        let id = id.as_str().unwrap().to_owned();
        let signing_in = request("POST", "/admin/login", &json!({"login": "ada", "password": PASSWORD}));
        let signed_in = router.clone().oneshot(signing_in).await.unwrap();
        let cookie = signed_in.headers()[header::SET_COOKIE].clone();
        let word = json_of(signed_in).await["csrfToken"].as_str().unwrap().to_owned();
        let change = json!({"current_password": PASSWORD, "password": "another horse battery staple"});
        let mut change = request("POST", "/admin/self/password", &change);
        let pair = cookie.to_str().unwrap().split(';').next().unwrap().parse().unwrap();
        change.headers_mut().insert(header::COOKIE, pair);
        change.headers_mut().insert("x-till-csrf", word.parse().unwrap());

        let places = [shared.passwords.place().await.unwrap(), shared.passwords.place().await.unwrap()];
        let before = shared.doors.counted();
        let changing = tokio::spawn(router.clone().oneshot(change));
        // From then on it knows which password is to be looked at.
        while shared.doors.counted() == before {
            tokio::task::yield_now().await;
        }
        let path = format!("/admin/members/{id}");
        let (status, _) = as_owner(&router, "PATCH", &path, &json!({"password": null})).await;
        assert_eq!(status, StatusCode::OK);
        drop(places);
        assert_eq!(changing.await.unwrap().unwrap().status(), StatusCode::UNAUTHORIZED);
        let ada: Kept<Member> = shared.state.store.entity_fetch(&id).await.unwrap().unwrap();
        assert_eq!(ada.is.password, None);
    }
}
