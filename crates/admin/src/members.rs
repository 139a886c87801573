//! `/admin/members`: people who administer.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};
use till_core::policy::PolicyOwner;
use till_store::{EntityKind, Kept, Lookup, Member, Put};
use utoipa::ToSchema;

use crate::authenticate::{Caller, MEMBER_PREFIX, domain_hash};
use crate::entity_json::{self, Edit, Page, difference, if_match, missing, new_id, versioned};
use crate::error::{ApiError, ErrorBody, ErrorCode};
use crate::idempotency::{self, Repeatable};
use crate::json_body::{self, Fields};
use crate::key_create::{invalid, required, text};
use crate::password;
use crate::policy_json::{self, PolicyBody, PolicyJson};
use crate::projects::{CeilingUseJson, shown_name};
use crate::query;
use crate::router::Shared;
use crate::time_text::rfc3339;
use crate::tokens::role_of;

/// Longest login, in characters.
const LOGIN_MAX: usize = 254;

/// A member to make.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MemberCreate, example = json!({"login": "ada@example.com", "role": "admin", "name": "Ada", "password": "correct horse battery staple"}))]
#[expect(dead_code, reason = "describes the body for the documentation; `member_create` reads it")]
pub(crate) struct MemberCreateBody {
    /// What they sign in with: 1 to 254 visible characters, upper and lower case alike. Nobody else has it.
    #[schema(example = "ada@example.com", min_length = 1, max_length = 254)]
    login: String,
    /// A name for people.
    #[schema(example = "Ada", min_length = 1, max_length = 256)]
    name: Option<String>,
    /// `owner`, `admin`, `minter`, `auditor` or `viewer`: at most one's own.
    #[schema(example = "admin", pattern = "^(owner|admin|minter|auditor|viewer)$")]
    role: String,
    /// The project that they are bound to; everywhere if absent, or in the project of whoever makes them.
    #[schema(example = "search-team")]
    project: Option<String>,
    /// What they may mint, and what their keys may use together.
    policy: Option<PolicyBody>,
    /// Their first password: at least 12 characters, at most 1024 bytes. Without one they can't sign in.
    #[schema(example = "correct horse battery staple", min_length = 12, max_length = 1024, write_only)]
    password: Option<String>,
}

/// What to change of a member.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MemberUpdate, example = json!({"role": "viewer"}))]
#[expect(dead_code, reason = "describes the body for the documentation; `member_update` reads it")]
pub(crate) struct MemberUpdateBody {
    /// A name for people.
    #[schema(example = "Ada", min_length = 1, max_length = 256)]
    name: Option<String>,
    /// What they may do, at most what one may oneself.
    #[schema(example = "viewer", pattern = "^(owner|admin|minter|auditor|viewer)$")]
    role: Option<String>,
    /// All rules anew; null takes them away.
    policy: Option<PolicyBody>,
    /// A new password, which ends their sessions; null: they can't sign in any more.
    #[schema(example = "correct horse battery staple", min_length = 12, max_length = 1024, write_only)]
    password: Option<String>,
}

/// A member.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Member)]
pub(crate) struct MemberJson {
    /// Their id: the actor of what they do, in the audit log.
    #[schema(example = "mem_0a1b2c3d4e5f60718293")]
    id: String,
    /// What they sign in with.
    #[schema(example = "ada@example.com")]
    login: String,
    /// A name for people; empty if they have none.
    #[schema(example = "Ada")]
    name: String,
    /// What they may do.
    #[schema(example = "admin")]
    role: &'static str,
    /// The project that they are bound to; null is everywhere.
    #[schema(required = true, example = "search-team")]
    project: Option<String>,
    /// Their rules.
    policy: PolicyJson,
    /// Whether they have a password, and can sign in.
    #[schema(example = true)]
    can_sign_in: bool,
    /// When they last did something, to the minute; null is never.
    #[schema(required = true, format = DateTime, example = json!(null))]
    last_used_at: Option<String>,
    /// 1 when they are made, one more with every change: the `ETag`.
    #[schema(example = 1)]
    version: u64,
    /// When they were made.
    #[schema(format = DateTime, example = "2026-01-31T08:00:00.000Z")]
    created_at: String,
    /// When they were last changed.
    #[schema(format = DateTime, example = "2026-01-31T08:00:00.000Z")]
    updated_at: String,
    /// When they were removed; null is never.
    #[schema(required = true, format = DateTime, example = json!(null))]
    removed_at: Option<String>,
}

impl From<&Kept<Member>> for MemberJson {
    fn from(kept: &Kept<Member>) -> Self {
        let Member { login, name, role, project, policy, password } = &kept.is;
        Self {
            id: kept.id.clone(),
            login: login.clone(),
            name: name.clone(),
            role: role.as_str(),
            project: project.clone(),
            policy: policy.into(),
            can_sign_in: password.is_some() && kept.ended_at.is_none(),
            last_used_at: kept.used_at.map(rfc3339),
            version: kept.version,
            created_at: rfc3339(kept.created_at),
            updated_at: rfc3339(kept.updated_at),
            removed_at: kept.ended_at.map(rfc3339),
        }
    }
}

/// One member.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MemberAnswer)]
pub(crate) struct MemberAnswer {
    /// The member.
    member: MemberJson,
    /// What their keys have used in the current windows of the ceilings that they have.
    ceilings_used: Vec<CeilingUseJson>,
}

/// Members, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MemberListAnswer)]
pub(crate) struct MemberListAnswer {
    /// The members.
    members: Vec<MemberJson>,
    /// What to send as `cursor` for those that follow; null when there are none.
    #[schema(required = true, example = json!(null))]
    next_cursor: Option<String>,
}

/// What finds a member by what they sign in with.
pub(crate) fn login_hash(login: &str) -> [u8; 32] {
    domain_hash(b"till/v1/login", login.to_lowercase().as_bytes())
}

fn checked_login(login: String) -> Result<String, ApiError> {
    let is_visible = |one: char| !one.is_whitespace() && !one.is_control();
    if login.is_empty() || login.chars().count() > LOGIN_MAX || !login.chars().all(is_visible) {
        return Err(invalid("login", &format!("has 1 to {LOGIN_MAX} visible characters")));
    }
    Ok(login.to_lowercase())
}

async fn answer(shared: &Shared, status: StatusCode, kept: &Kept<Member>) -> Result<Response, ApiError> {
    let used = shared.state.store.ceilings_used(PolicyOwner::Maker, &kept.id, &kept.is.policy).await?;
    let ceilings_used = used.into_iter().map(CeilingUseJson::from).collect();
    Ok(versioned(status, kept.version, MemberAnswer { member: kept.into(), ceilings_used }))
}

/// Make a member
///
/// With an `Idempotency-Key` the same request can be sent again.
#[utoipa::path(post, path = "/admin/members", request_body = MemberCreateBody,
    params(("idempotency-key" = Option<String>, Header,
            description = "1 to 255 visible ASCII characters that nobody else has used: a UUID")),
    responses(
        (status = 201, description = "The member", body = MemberAnswer,
            headers(("etag" = String, description = "The version, for `If-Match`"))),
        (status = 400, description = "A field or the body breaks a rule", body = ErrorBody),
        (status = 409, description = "Somebody has this login, or the `Idempotency-Key` was used with another request", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not declared as JSON", body = ErrorBody),
    ))]
pub(crate) async fn member_create(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let repeatable = Repeatable::of(&headers, &caller)?;
    let body = json_body::read(&headers, body).await?;
    let mut fields = Fields::parse(&body)?;
    let login = fields.take("login")?;
    let name = fields.take("name")?;
    let role = fields.take("role")?;
    let project = fields.take("project")?;
    let policy = policy_json::take(&mut fields, &shared.state.providers)?;
    let password = fields.take("password")?;
    fields.finish(&["login", "name", "role", "project", "policy", "password"])?;
    let login = checked_login(text("login", required("login", login)?)?)?;
    let role = caller.may_grant(role_of(required("role", role)?)?)?;
    let project = caller.project_for(project.map(|value| text("project", value)).transpose()?)?;
    let name = name.map(|name| shown_name(text("name", name)?)).transpose()?.unwrap_or_default();
    let password = password.map(checked_password).transpose()?;
    let password = match password {
        None => None,
        Some(password) => {
            caller.may_let_sign_in()?;
            Some(shared.passwords.hash(password).await?)
        }
    };
    let detail = json!({"login": login, "name": name, "role": role, "project": project,
                        "policy": policy.as_ref().map(PolicyJson::from), "canSignIn": password.is_some()});
    let lookups = Some(vec![Lookup { hash: login_hash(&login), until: None }]);
    let is = Member { login, name, role, project, policy: policy.unwrap_or_default(), password };
    let store = &shared.state.store;
    let id = match &repeatable {
        None => new_id(MEMBER_PREFIX)?,
        Some(repeatable) => repeatable.id(MEMBER_PREFIX, &store.instance_id()),
    };
    let repeated = repeatable.map(|repeatable| repeatable.lookup(&body)).transpose()?;
    let put = Put { id, version: None, is, lookups, ends: false };
    let kept = idempotency::make(store, put, repeated, ("member.create", detail), caller.actor()).await?;
    answer(&shared, StatusCode::CREATED, &kept).await
}

fn checked_password(value: Value) -> Result<String, ApiError> {
    let password = text("password", value)?;
    password::check("password", &password)?;
    Ok(password)
}

/// List members
///
/// Newest first. Without `limit` the answer has all of them.
#[utoipa::path(get, path = "/admin/members",
    params(
        ("limit" = Option<u32>, Query, description = "Members per page", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the page before"),
        ("ended" = Option<bool>, Query, description = "Whether removed members are listed as well"),
    ),
    responses(
        (status = 200, description = "The members", body = MemberListAnswer),
        (status = 400, description = "A query parameter breaks a rule", body = ErrorBody),
    ))]
pub(crate) async fn member_list(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<MemberListAnswer>, ApiError> {
    let page = Page::parse(&uri)?;
    let (all, next_cursor) = page.fetch::<Member>(&shared.state.store, caller.project()).await?;
    Ok(Json(MemberListAnswer { members: all.iter().map(MemberJson::from).collect(), next_cursor }))
}

/// Show a member
#[utoipa::path(get, path = "/admin/members/{id}",
    params(("id" = String, Path, description = "Id of the member", example = "mem_0a1b2c3d4e5f60718293")),
    responses(
        (status = 200, description = "The member", body = MemberAnswer,
            headers(("etag" = String, description = "The version, for `If-Match`"))),
        (status = 404, description = "There is no such member", body = ErrorBody),
    ))]
pub(crate) async fn member_show(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let kept: Kept<Member> = entity_json::fetch(&shared.state.store, &caller, id).await?;
    answer(&shared, StatusCode::OK, &kept).await
}

/// Whether the caller may change this member.
fn check(caller: &Caller, found: &Kept<Member>) -> Result<(), ApiError> {
    caller.may_administer(EntityKind::Member, found.is.project.as_deref(), found.is.role)
}

/// What somebody else has to do.
const OF_ONESELF: &str = "nobody changes their own `role`, `policy` or `password` here: ask another administrator; whoever is \
                          signed in changes their password with POST /admin/self/password";

/// Change a member
///
/// Takes effect on their next request. Of oneself only the name.
#[utoipa::path(patch, path = "/admin/members/{id}", request_body = MemberUpdateBody,
    params(
        ("id" = String, Path, description = "Id of the member", example = "mem_0a1b2c3d4e5f60718293"),
        ("if-match" = Option<String>, Header, description = "`ETag` of the version that the change is made from, or `*`", pattern = r#"^("[0-9]+"|\*)$"#),
    ),
    responses(
        (status = 200, description = "The member as they are now", body = MemberAnswer,
            headers(("etag" = String, description = "The version, for `If-Match`"))),
        (status = 400, description = "A field or the body breaks a rule", body = ErrorBody),
        (status = 404, description = "There is no such member, or they were removed", body = ErrorBody),
        (status = 412, description = "They were changed since the version that `If-Match` names", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not declared as JSON", body = ErrorBody),
    ))]
pub(crate) async fn member_update(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let Path(id) = id.map_err(|_| missing(EntityKind::Member))?;
    let wanted = if_match(&headers)?;
    let mut fields = Fields::parse(&json_body::read(&headers, body).await?)?;
    let name = fields.take("name")?;
    let role = fields.take("role")?;
    let policy = policy_json::take(&mut fields, &shared.state.providers)?;
    let password = fields.take_nullable("password")?;
    fields.finish(&["name", "role", "policy", "password"])?;
    let name = name.map(|name| shown_name(text("name", name)?)).transpose()?;
    let role = role.map(|role| caller.may_grant(role_of(role)?)).transpose()?;
    let password = match password {
        None => None,
        Some(Value::Null) => Some(None),
        Some(value) => Some(Some(checked_password(value)?)),
    };
    let store = &shared.state.store;
    let may = |found: &Kept<Member>| {
        check(&caller, found)?;
        if caller.stands_on(&found.id) && (role.is_some() || policy.is_some() || password.is_some()) {
            return Err(ApiError::new(ErrorCode::NotAllowed, OF_ONESELF));
        }
        if matches!(password, Some(Some(_))) || role.is_some_and(|role| role > found.is.role) {
            caller.may_let_sign_in()?;
        }
        Ok(())
    };
    let password = match &password {
        None => None,
        Some(None) => Some(None),
        Some(Some(text)) => {
            // Before so much work is done for it.
            may(&entity_json::alive(store, &id).await?)?;
            Some(Some(shared.passwords.hash(text.clone()).await?))
        }
    };
    let edit = |found: &Kept<Member>| {
        may(found)?;
        let mut is = found.is.clone();
        if let Some(name) = &name {
            is.name.clone_from(name);
        }
        is.role = role.unwrap_or(is.role);
        if let Some(policy) = &policy {
            is.policy.clone_from(policy);
        }
        if let Some(password) = &password {
            is.password.clone_from(password);
        }
        let shown = |is: &Member| {
            let kept = Kept { is: is.clone(), ..found.clone() };
            serde_json::to_value(MemberJson::from(&kept)).unwrap_or_default()
        };
        let mut detail = difference(&shown(&found.is), &shown(&is));
        detail["project"] = json!(found.is.project);
        detail["passwordChanged"] = json!(password.is_some());
        Ok(Edit { is, rotation: None, ends: false, detail })
    };
    let kept = entity_json::update(store, &id, wanted, "member.update", caller.actor(), edit).await?;
    answer(&shared, StatusCode::OK, &kept).await
}

/// Remove a member
///
/// Their sessions and the admin tokens that stand for them do nothing any more. The keys that they made go on.
#[utoipa::path(delete, path = "/admin/members/{id}",
    params(
        ("id" = String, Path, description = "Id of the member", example = "mem_0a1b2c3d4e5f60718293"),
        ("if-match" = Option<String>, Header, description = "`ETag` of the version that is to be removed, or `*`", pattern = r#"^("[0-9]+"|\*)$"#),
    ),
    responses(
        (status = 200, description = "The member, removed", body = MemberAnswer,
            headers(("etag" = String, description = "The version, for `If-Match`"))),
        (status = 400, description = "There are query parameters, or it is oneself", body = ErrorBody),
        (status = 404, description = "There is no such member, or they were removed", body = ErrorBody),
        (status = 412, description = "They were changed since the version that `If-Match` names", body = ErrorBody),
    ))]
pub(crate) async fn member_remove(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let Path(id) = id.map_err(|_| missing(EntityKind::Member))?;
    if caller.maker() == id {
        return Err(ApiError::new(
            ErrorCode::InvalidId,
            "nobody removes themselves; ask another administrator",
        ));
    }
    let wanted = if_match(&headers)?;
    let edit = |found: &Kept<Member>| {
        check(&caller, found)?;
        let detail = json!({"login": found.is.login, "project": found.is.project});
        Ok(Edit { is: Member { password: None, ..found.is.clone() }, rotation: None, ends: true, detail })
    };
    let store = &shared.state.store;
    let kept = entity_json::update(store, &id, wanted, "member.remove", caller.actor(), edit).await?;
    answer(&shared, StatusCode::OK, &kept).await
}
