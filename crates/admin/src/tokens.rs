//! `/admin/tokens`: admin tokens. Their text is shown once; what is kept is its SHA-256.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};
use till_core::policy::{Policy, PolicyOwner};
use till_core::role::Role;
use till_core::scope::Network;
use till_core::secret::Secret;
use till_core::time::Timestamp;
use till_core::token::{admin_token_hash, mint_admin_token};
use till_store::{AdminToken, EntityKind, Kept, Lookup, Member, Put};
use utoipa::ToSchema;

use crate::authenticate::Caller;
use crate::entity_json::{
    self, Edit, Page, Rotation, difference, if_match, missing, new_id, random, versioned,
};
use crate::error::{ApiError, ErrorBody, ErrorCode};
use crate::idempotency::{self, Repeatable};
use crate::json_body::{self, Fields};
use crate::key_create::{invalid, limit, required, text};
use crate::policy_json::{self, PolicyBody, PolicyJson};
use crate::projects::{CeilingUseJson, shown_name};
use crate::query;
use crate::router::Shared;
use crate::time_text::{parse_rfc3339, rfc3339};

/// Id of the token that the first start makes.
pub(crate) const OWNER: &str = "owner";

/// Longest time that an old text goes on after a rotation, and longest life that `ttl_seconds` gives: 100 years.
const SECONDS_MAX: u64 = 3_162_240_000;
const OVERLAP_MAX: u64 = 30 * 24 * 3600;

/// What somebody else has to do.
const OF_ONESELF: &str = "nobody changes `role`, `policy`, `networks` or the end of the admin token that they act by: use \
                          another one";

/// Rules of a token that stands for a member would not count.
const OF_MEMBER: &str = "`policy` of an admin token that stands for a member is that of the member: leave it out, and give the \
                         member rules";

/// An admin token to make.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenCreate, example = json!({"name": "ci", "role": "minter", "ttl_seconds": 7776000, "policy": {"providers": ["openai"], "max_live_keys": 100}}))]
#[expect(dead_code, reason = "describes the body for the documentation; `token_create` reads it")]
pub(crate) struct TokenCreateBody {
    /// A name for people.
    #[schema(example = "ci", min_length = 1, max_length = 256)]
    name: String,
    /// `owner`, `admin`, `minter`, `auditor` or `viewer`: at most one's own.
    #[schema(example = "minter", pattern = "^(owner|admin|minter|auditor|viewer)$")]
    role: String,
    /// The project that it is bound to; everywhere if absent, or in the project of whoever makes it.
    #[schema(example = "search-team")]
    project: Option<String>,
    /// The member that it stands for: it may do no more than they may, and their rules count.
    #[schema(example = "mem_0a1b2c3d4e5f60718293")]
    member: Option<String>,
    /// What may be minted with it, and what those keys may use together. Not with `member`, whose rules count then.
    policy: Option<PolicyBody>,
    /// Networks that it may be used from; everywhere if absent. Within those of the admin token that makes it.
    #[schema(example = json!(["10.0.0.0/8"]), max_items = 256)]
    networks: Option<Vec<String>>,
    /// When it ends; no later than the admin token that makes it.
    #[schema(format = DateTime, example = "2027-01-31T08:00:00Z")]
    expires_at: Option<String>,
    /// Seconds from now after which it ends. Excludes `expires_at`.
    #[schema(example = 86_400, minimum = 1, maximum = 3_162_240_000_i64)]
    ttl_seconds: Option<u64>,
}

/// What to change of an admin token. Null takes a bound away.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenUpdate, example = json!({"role": "viewer", "networks": ["10.0.0.0/8", "127.0.0.0/8"]}))]
#[expect(dead_code, reason = "describes the body for the documentation; `token_update` reads it")]
pub(crate) struct TokenUpdateBody {
    /// A name for people.
    #[schema(example = "ci", min_length = 1, max_length = 256)]
    name: Option<String>,
    /// What it may do, at most what one may oneself.
    #[schema(example = "viewer", pattern = "^(owner|admin|minter|auditor|viewer)$")]
    role: Option<String>,
    /// All rules anew.
    policy: Option<PolicyBody>,
    /// Networks that it may be used from.
    #[schema(example = json!(["10.0.0.0/8"]), max_items = 256)]
    networks: Option<Vec<String>>,
    /// When it ends.
    #[schema(format = DateTime, example = "2027-01-31T08:00:00Z")]
    expires_at: Option<String>,
}

/// How to rotate an admin token. The body may be absent.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenRotate, example = json!({"overlap_seconds": 3600}))]
#[expect(dead_code, reason = "describes the body for the documentation; `token_rotate` reads it")]
pub(crate) struct TokenRotateBody {
    /// Seconds for which the old text goes on working: at most 30 days; 0 if absent.
    #[schema(example = 3600, minimum = 0, maximum = 2_592_000)]
    overlap_seconds: Option<u64>,
}

/// An admin token, without its text.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AdminToken)]
pub(crate) struct TokenJson {
    /// Its id: the actor of what it does, in the audit log.
    #[schema(example = "tok_0a1b2c3d4e5f60718293")]
    id: String,
    /// A name for people.
    #[schema(example = "ci")]
    name: String,
    /// What it may do.
    #[schema(example = "minter")]
    role: &'static str,
    /// The project that it is bound to; null is everywhere.
    #[schema(required = true, example = "search-team")]
    project: Option<String>,
    /// The member that it stands for, if any.
    #[schema(required = true, example = json!(null))]
    member: Option<String>,
    /// Its rules.
    policy: PolicyJson,
    /// Networks that it may be used from; null is everywhere.
    #[schema(required = true, example = json!(["10.0.0.0/8"]))]
    networks: Option<Vec<String>>,
    /// When it ends; null is never.
    #[schema(required = true, format = DateTime, example = "2027-01-31T08:00:00.000Z")]
    expires_at: Option<String>,
    /// When it was last used, to the minute; null is never.
    #[schema(required = true, format = DateTime, example = json!(null))]
    last_used_at: Option<String>,
    /// 1 when it is made, one more with every change: the `ETag`.
    #[schema(example = 1)]
    version: u64,
    /// When it was made.
    #[schema(format = DateTime, example = "2026-01-31T08:00:00.000Z")]
    created_at: String,
    /// When it was last changed.
    #[schema(format = DateTime, example = "2026-01-31T08:00:00.000Z")]
    updated_at: String,
    /// When it was revoked; null is never.
    #[schema(required = true, format = DateTime, example = json!(null))]
    revoked_at: Option<String>,
}

impl From<&Kept<AdminToken>> for TokenJson {
    fn from(kept: &Kept<AdminToken>) -> Self {
        let AdminToken { name, role, project, member, policy, networks, expires_at, preset: _ } = &kept.is;
        let networks = networks.as_ref().map(|all| all.iter().map(ToString::to_string).collect());
        Self {
            id: kept.id.clone(),
            name: name.clone(),
            role: role.as_str(),
            project: project.clone(),
            member: member.clone(),
            policy: policy.into(),
            networks,
            expires_at: expires_at.map(|at| rfc3339(Timestamp(at))),
            last_used_at: kept.used_at.map(rfc3339),
            version: kept.version,
            created_at: rfc3339(kept.created_at),
            updated_at: rfc3339(kept.updated_at),
            revoked_at: kept.ended_at.map(rfc3339),
        }
    }
}

/// One admin token.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TokenAnswer)]
pub(crate) struct TokenAnswer {
    /// The token, without its text.
    token: TokenJson,
    /// What its keys have used in the current windows of the ceilings that it has.
    ceilings_used: Vec<CeilingUseJson>,
}

async fn answer(shared: &Shared, kept: &Kept<AdminToken>) -> Result<Response, ApiError> {
    let used = shared.state.store.ceilings_used(PolicyOwner::Maker, &kept.id, &kept.is.policy).await?;
    let ceilings_used = used.into_iter().map(CeilingUseJson::from).collect();
    Ok(versioned(StatusCode::OK, kept.version, TokenAnswer { token: kept.into(), ceilings_used }))
}

/// An admin token and, this once, its text.
// No `Debug`: it holds a credential.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TokenCreateAnswer)]
pub(crate) struct TokenSecretAnswer {
    /// The token.
    token: TokenJson,
    /// Its text. Shown this once and stored nowhere.
    #[schema(example = "till_admin_…", read_only)]
    admin_token: String,
}

/// Admin tokens, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = TokenListAnswer)]
pub(crate) struct TokenListAnswer {
    /// The tokens, without their text.
    tokens: Vec<TokenJson>,
    /// What to send as `cursor` for those that follow; null when there are none.
    #[schema(required = true, example = json!(null))]
    next_cursor: Option<String>,
}

/// Make an admin token
///
/// Its text is in this answer and nowhere else. With an `Idempotency-Key` the same request can be sent again, as long as the
/// token is not rotated.
#[utoipa::path(post, path = "/admin/tokens", request_body = TokenCreateBody,
    params(("idempotency-key" = Option<String>, Header,
            description = "1 to 255 visible ASCII characters that nobody else has used: a UUID")),
    responses(
        (status = 201, description = "The token", body = TokenSecretAnswer,
            headers(("etag" = String, description = "The version, for `If-Match`"))),
        (status = 400, description = "A field or the body breaks a rule", body = ErrorBody),
        (status = 409, description = "The `Idempotency-Key` was used with another request", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not declared as JSON", body = ErrorBody),
    ))]
pub(crate) async fn token_create(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let store = &shared.state.store;
    let repeatable = Repeatable::of(&headers, &caller)?;
    let body = json_body::read(&headers, body).await?;
    let mut fields = Fields::parse(&body)?;
    let name = fields.take("name")?;
    let role = fields.take("role")?;
    let project = fields.take("project")?;
    let member = fields.take("member")?;
    let policy = policy_json::take(&mut fields, &shared.state.providers)?;
    let networks = fields.take("networks")?;
    let expires_at = fields.take("expires_at")?;
    let ttl = fields.take("ttl_seconds")?;
    fields.finish(&[
        "name",
        "role",
        "project",
        "member",
        "policy",
        "networks",
        "expires_at",
        "ttl_seconds",
    ])?;
    let role = caller.may_grant(role_of(required("role", role)?)?)?;
    let mut project = caller.project_for(project.map(|value| text("project", value)).transpose()?)?;
    let member = member.map(|value| text("member", value)).transpose()?;
    if let Some(id) = &member {
        let found: Option<Kept<Member>> = store.entity_fetch(id).await?;
        let found =
            found.filter(|found| found.ended_at.is_none() && caller.sees_bound(found.is.project.as_deref()));
        let found = found.ok_or_else(|| invalid("member", "is none that there is"))?;
        if project.is_none() {
            project.clone_from(&found.is.project);
        }
    }
    let is = AdminToken {
        name: shown_name(text("name", required("name", name)?)?)?,
        role,
        project,
        member,
        policy: policy.unwrap_or_default(),
        networks: networks.map(self::networks).transpose()?,
        expires_at: end(expires_at, ttl, store.now())?,
        preset: None,
    };
    if is.member.is_some() && !is.policy.is_empty() {
        return Err(ApiError::new(ErrorCode::UnsupportedField, OF_MEMBER));
    }
    caller.may_hand_out(is.expires_at, is.networks.as_deref())?;
    let detail = json!({"name": is.name, "role": role, "project": is.project, "member": is.member,
                        "policy": PolicyJson::from(&is.policy), "networks": is.networks,
                        "expiresAt": is.expires_at.map(|at| rfc3339(Timestamp(at)))});
    let instance = store.instance_id();
    let (id, (secret, lookup), repeated) = match &repeatable {
        None => (new_id("tok_")?, secret()?, None),
        Some(repeatable) => {
            let text = shared.state.keys.derive_admin_token(&repeatable.seed(&instance));
            (repeatable.id("tok_", &instance), found_by(&text), Some(repeatable.lookup(&body)?))
        }
    };
    let put = Put { id, version: None, is, lookups: Some(vec![lookup]), ends: false };
    let kept = idempotency::make(store, put, repeated, ("token.create", detail), caller.actor()).await?;
    let answer = TokenSecretAnswer { token: (&kept).into(), admin_token: secret };
    Ok(versioned(StatusCode::CREATED, kept.version, answer))
}

/// A new text, and what finds it.
fn secret() -> Result<(String, Lookup), ApiError> {
    Ok(found_by(&mint_admin_token(random()?)))
}

fn found_by(secret: &Secret) -> (String, Lookup) {
    let secret = secret.reveal_str().expect("an admin token is ASCII").to_owned();
    let lookup = Lookup { hash: admin_token_hash(&secret), until: None };
    (secret, lookup)
}

/// Reads a role.
pub(crate) fn role_of(value: Value) -> Result<Role, ApiError> {
    let rule = "must be owner, admin, minter, auditor or viewer";
    Role::parse(&text("role", value)?).ok_or_else(|| invalid("role", rule))
}

fn networks(value: Value) -> Result<Vec<Network>, ApiError> {
    let network =
        |text: String| Network::parse(&text).map_err(|error| invalid("networks", &error.to_string()));
    policy_json::texts("networks", value)?.into_iter().map(network).collect()
}

fn end(at: Option<Value>, ttl: Option<Value>, now: Timestamp) -> Result<Option<u64>, ApiError> {
    match (at, ttl) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(ApiError::new(
            ErrorCode::DuplicateField,
            "`expires_at` and `ttl_seconds` are the same bound; send one of them",
        )),
        (None, Some(ttl)) => {
            Ok(Some(now.0.saturating_add(limit("ttl_seconds", &ttl, SECONDS_MAX)?.saturating_mul(1000))))
        }
        (Some(at), None) => {
            let rule = "must be a time to come in RFC 3339, such as \"2027-01-31T08:00:00Z\"";
            let at = parse_rfc3339(&text("expires_at", at)?).filter(|at| *at > now);
            at.map(|at| Some(at.0)).ok_or_else(|| invalid("expires_at", rule))
        }
    }
}

/// List admin tokens
///
/// Newest first, without their text. Without `limit` the answer has all of them.
#[utoipa::path(get, path = "/admin/tokens",
    params(
        ("limit" = Option<u32>, Query, description = "Tokens per page", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the page before"),
        ("ended" = Option<bool>, Query, description = "Whether revoked tokens are listed as well"),
    ),
    responses(
        (status = 200, description = "The tokens", body = TokenListAnswer),
        (status = 400, description = "A query parameter breaks a rule", body = ErrorBody),
    ))]
pub(crate) async fn token_list(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<TokenListAnswer>, ApiError> {
    let page = Page::parse(&uri)?;
    let (all, next_cursor) = page.fetch::<AdminToken>(&shared.state.store, caller.project()).await?;
    Ok(Json(TokenListAnswer { tokens: all.iter().map(TokenJson::from).collect(), next_cursor }))
}

/// Show an admin token
#[utoipa::path(get, path = "/admin/tokens/{id}",
    params(("id" = String, Path, description = "Id of the token", example = "tok_0a1b2c3d4e5f60718293")),
    responses(
        (status = 200, description = "The token, without its text", body = TokenAnswer,
            headers(("etag" = String, description = "The version, for `If-Match`"))),
        (status = 404, description = "There is no such token", body = ErrorBody),
    ))]
pub(crate) async fn token_show(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let kept: Kept<AdminToken> = entity_json::fetch(&shared.state.store, &caller, id).await?;
    answer(&shared, &kept).await
}

/// Change an admin token
///
/// Takes effect on its next request. Of the one that the request comes with only the name can be changed.
#[utoipa::path(patch, path = "/admin/tokens/{id}", request_body = TokenUpdateBody,
    params(
        ("id" = String, Path, description = "Id of the token", example = "tok_0a1b2c3d4e5f60718293"),
        ("if-match" = Option<String>, Header, description = "`ETag` of the version that the change is made from, or `*`", pattern = r#"^("[0-9]+"|\*)$"#),
    ),
    responses(
        (status = 200, description = "The token as it is now", body = TokenAnswer,
            headers(("etag" = String, description = "The version, for `If-Match`"))),
        (status = 400, description = "A field or the body breaks a rule", body = ErrorBody),
        (status = 404, description = "There is no such token, or it was revoked", body = ErrorBody),
        (status = 412, description = "It was changed since the version that `If-Match` names", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not declared as JSON", body = ErrorBody),
    ))]
pub(crate) async fn token_update(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let Path(id) = id.map_err(|_| missing(EntityKind::Token))?;
    let wanted = if_match(&headers)?;
    let store = &shared.state.store;
    let mut fields = Fields::parse(&json_body::read(&headers, body).await?)?;
    let name = fields.take("name")?;
    let role = fields.take("role")?;
    let policy: Option<Policy> = policy_json::take(&mut fields, &shared.state.providers)?;
    let networks = fields.take_nullable("networks")?;
    let expires_at = fields.take_nullable("expires_at")?;
    fields.finish(&["name", "role", "policy", "networks", "expires_at"])?;
    let name = name.map(|name| shown_name(text("name", name)?)).transpose()?;
    let role = role.map(|role| caller.may_grant(role_of(role)?)).transpose()?;
    let networks = match networks {
        None => None,
        Some(Value::Null) => Some(None),
        Some(value) => Some(Some(self::networks(value)?)),
    };
    let expires_at = match expires_at {
        None => None,
        Some(Value::Null) => Some(None),
        Some(value) => Some(end(Some(value), None, store.now())?),
    };
    let edit = |found: &Kept<AdminToken>| {
        check(&caller, found)?;
        let changes_bounds = networks.is_some() || expires_at.is_some();
        // There may be nobody else who could change the first owner's token.
        let is_first_owner = found.id == OWNER && caller.stands_on(OWNER);
        if caller.stands_on(&found.id)
            && !is_first_owner
            && (role.is_some() || policy.is_some() || changes_bounds)
        {
            return Err(ApiError::new(ErrorCode::NotAllowed, OF_ONESELF));
        }
        if found.is.member.is_some() && policy.as_ref().is_some_and(|policy| !policy.is_empty()) {
            return Err(ApiError::new(ErrorCode::UnsupportedField, OF_MEMBER));
        }
        if found.id == OWNER
            && (role.is_some_and(|role| role != Role::Owner) || expires_at.is_some_and(|at| at.is_some()))
        {
            return Err(invalid("role", "of the first owner's token stays, and it does not expire"));
        }
        let mut is = found.is.clone();
        if let Some(name) = &name {
            is.name.clone_from(name);
        }
        is.role = role.unwrap_or(is.role);
        if let Some(policy) = &policy {
            is.policy.clone_from(policy);
        }
        if let Some(networks) = &networks {
            is.networks.clone_from(networks);
        }
        is.expires_at = expires_at.unwrap_or(is.expires_at);
        if !is_first_owner && (changes_bounds || is.role > found.is.role) {
            caller.may_hand_out(is.expires_at, is.networks.as_deref())?;
        }
        let shown = |is: &AdminToken| {
            let kept = Kept { is: is.clone(), ..found.clone() };
            serde_json::to_value(TokenJson::from(&kept)).unwrap_or_default()
        };
        let detail = difference(&shown(&found.is), &shown(&is));
        Ok(Edit { is, rotation: None, ends: false, detail })
    };
    let kept = entity_json::update(store, &id, wanted, "token.update", caller.actor(), edit).await?;
    answer(&shared, &kept).await
}

/// Whether the caller may change this token.
fn check(caller: &Caller, found: &Kept<AdminToken>) -> Result<(), ApiError> {
    caller.may_administer(EntityKind::Token, found.is.project.as_deref(), found.is.role)
}

/// Rotate an admin token
///
/// Gives it a new text, which is in this answer and nowhere else. The old one works on for `overlap_seconds`.
#[utoipa::path(post, path = "/admin/tokens/{id}/rotate", request_body(content = TokenRotateBody),
    params(
        ("id" = String, Path, description = "Id of the token", example = "tok_0a1b2c3d4e5f60718293"),
        ("if-match" = Option<String>, Header, description = "`ETag` of the version that is to be rotated, or `*`", pattern = r#"^("[0-9]+"|\*)$"#),
    ),
    responses(
        (status = 200, description = "The token and its new text", body = TokenSecretAnswer,
            headers(("etag" = String, description = "The version, for `If-Match`"))),
        (status = 400, description = "A field or the body breaks a rule", body = ErrorBody),
        (status = 404, description = "There is no such token, or it was revoked", body = ErrorBody),
        (status = 412, description = "It was changed since the version that `If-Match` names", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not declared as JSON", body = ErrorBody),
    ))]
pub(crate) async fn token_rotate(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let Path(id) = id.map_err(|_| missing(EntityKind::Token))?;
    let wanted = if_match(&headers)?;
    let mut fields = Fields::parse(&json_body::read(&headers, body).await?)?;
    let overlap = fields.take("overlap_seconds")?;
    fields.finish(&["overlap_seconds"])?;
    let rule = format!("must be a whole number from 0 to {OVERLAP_MAX}");
    let overlap = match overlap {
        None => 0,
        Some(value) => value
            .as_u64()
            .filter(|seconds| *seconds <= OVERLAP_MAX)
            .ok_or_else(|| invalid("overlap_seconds", &rule))?,
    };
    let store = &shared.state.store;
    let (secret, lookup) = secret()?;
    let old_until =
        (overlap > 0).then(|| Timestamp(store.now().0.saturating_add(overlap.saturating_mul(1000))));
    let edit = |found: &Kept<AdminToken>| {
        check(&caller, found)?;
        caller.may_hand_out(found.is.expires_at, found.is.networks.as_deref())?;
        Ok(Edit {
            is: found.is.clone(),
            rotation: Some(Rotation { new: lookup, old_until }),
            ends: false,
            detail: json!({"project": found.is.project, "overlapSeconds": overlap}),
        })
    };
    let kept = entity_json::update(store, &id, wanted, "token.rotate", caller.actor(), edit).await?;
    let answer = TokenSecretAnswer { token: (&kept).into(), admin_token: secret };
    Ok(versioned(StatusCode::OK, kept.version, answer))
}

/// Revoke an admin token
///
/// Takes effect on its next request. The keys that were made with it go on. The first owner's token can't be revoked, only
/// rotated.
#[utoipa::path(delete, path = "/admin/tokens/{id}",
    params(
        ("id" = String, Path, description = "Id of the token", example = "tok_0a1b2c3d4e5f60718293"),
        ("if-match" = Option<String>, Header, description = "`ETag` of the version that is to be revoked, or `*`", pattern = r#"^("[0-9]+"|\*)$"#),
    ),
    responses(
        (status = 200, description = "The token, revoked", body = TokenAnswer,
            headers(("etag" = String, description = "The version, for `If-Match`"))),
        (status = 400, description = "There are query parameters, or it is the first owner's token", body = ErrorBody),
        (status = 404, description = "There is no such token, or it was revoked", body = ErrorBody),
        (status = 412, description = "It was changed since the version that `If-Match` names", body = ErrorBody),
    ))]
pub(crate) async fn token_revoke(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let Path(id) = id.map_err(|_| missing(EntityKind::Token))?;
    let wanted = if_match(&headers)?;
    let edit = |found: &Kept<AdminToken>| {
        check(&caller, found)?;
        if found.id == OWNER {
            return Err(ApiError::new(
                ErrorCode::InvalidId,
                "the first owner's token can be rotated, not revoked",
            ));
        }
        let detail = json!({"project": found.is.project});
        Ok(Edit { is: found.is.clone(), rotation: None, ends: true, detail })
    };
    let store = &shared.state.store;
    let kept = entity_json::update(store, &id, wanted, "token.revoke", caller.actor(), edit).await?;
    answer(&shared, &kept).await
}
