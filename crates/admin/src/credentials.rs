//! `/admin/credentials`: upstream keys that are stored once, sealed by the master key, and minted from by name.
//!
//! Invariants: an upstream key goes in and never comes out, neither in an answer nor in the audit log; where it may go is
//! sealed with it, and is where its provider was when it was given; somebody who is bound to a project sees its own
//! credentials and those of the instance that keys of the project may be minted from, and changes its own.

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
use till_core::secret::Secret;
use till_core::upstream::{Placement, Upstream};
use till_store::{Credential, EntityKind, EntityQuery, Kept, Put};
use utoipa::ToSchema;

use crate::authenticate::Caller;
use crate::entity_json::{self, Edit, Page, difference, if_match, missing, versioned};
use crate::error::{ApiError, ErrorBody, ErrorCode};
use crate::idempotency::{self, Repeatable};
use crate::json_body::{self, Fields};
use crate::key_create::{invalid, json_mentions, required, secret, text};
use crate::key_upstream::{goes_to, upstream_here};
use crate::policy_json::{self, PolicyBody, PolicyJson};
use crate::projects::CeilingUseJson;
use crate::query;
use crate::router::Shared;
use crate::time_text::rfc3339;

/// Longest name.
const NAME_MAX: usize = 64;

/// Shortest upstream key of which the end is shown, and how much that is.
const HINT_KEY_MIN: usize = 20;
const HINT_LENGTH: usize = 4;

/// An upstream credential to store.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CredentialCreate, example = json!({"name": "openai-prod", "provider": "openai", "upstream_key": "sk-proj-your-real-key", "policy": {"ceilings": {"day": {"max_spend_usd": "5"}}}}))]
#[expect(dead_code, reason = "describes the body for the documentation; `credential_create` reads it")]
pub(crate) struct CredentialCreateBody {
    /// 1 to 64 lower-case letters, digits and hyphens, beginning with a letter. It can't be changed or used again.
    #[schema(example = "openai-prod", min_length = 1, max_length = 64, pattern = "^[a-z][a-z0-9-]*$")]
    name: String,
    /// Id of a provider from `GET /admin/providers`. It can't be changed.
    #[schema(example = "openai")]
    provider: String,
    /// The real key. It is stored sealed by the master key and in no answer. Visible ASCII characters only.
    #[schema(
        example = "sk-proj-your-real-key",
        min_length = 8,
        max_length = 4096,
        pattern = "^[!-~]+$",
        write_only
    )]
    upstream_key: String,
    /// The project that it belongs to; the whole instance if absent, or the project of whoever stores it.
    #[schema(example = "search-team")]
    project: Option<String>,
    /// Projects whose keys may be minted from one of the whole instance; all if absent. Excludes `project`.
    #[schema(example = json!(["search-team"]), max_items = 256)]
    projects: Option<Vec<String>>,
    /// What may be minted from it, and what those keys may use together.
    policy: Option<PolicyBody>,
}

/// What to change of an upstream credential.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CredentialUpdate, example = json!({"upstream_key": "sk-proj-your-next-key"}))]
#[expect(dead_code, reason = "describes the body for the documentation; `credential_update` reads it")]
pub(crate) struct CredentialUpdateBody {
    /// Another real key of the same account or a new one. The scoped keys that were minted from the name use it from their
    /// next request on.
    #[schema(
        example = "sk-proj-your-next-key",
        min_length = 8,
        max_length = 4096,
        pattern = "^[!-~]+$",
        write_only
    )]
    upstream_key: Option<String>,
    /// Projects whose keys may be minted from it; null is all. Keys that were minted before go on.
    #[schema(example = json!(["search-team"]), max_items = 256)]
    projects: Option<Vec<String>>,
    /// All rules anew; null takes them away.
    policy: Option<PolicyBody>,
}

/// An upstream credential, without the upstream key.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Credential)]
pub(crate) struct CredentialJson {
    /// Its name.
    #[schema(example = "openai-prod")]
    name: String,
    /// Id of its provider.
    #[schema(example = "openai")]
    provider: String,
    /// The project that it belongs to; null is the whole instance.
    #[schema(required = true, example = json!(null))]
    project: Option<String>,
    /// Projects whose keys may be minted from it; null is all, or the one that it belongs to. Somebody who is bound to a
    /// project sees no other one here.
    #[schema(required = true, example = json!(["search-team"]))]
    projects: Option<Vec<String>>,
    /// The last 4 characters of the upstream key; null if it is shorter than 20, is a user name with a password, can't be
    /// unsealed, or is none of one's project.
    #[schema(required = true, example = "x7Qa")]
    key_hint: Option<String>,
    /// Where its upstream key goes: where its provider was when it was given. Null if it can't be unsealed.
    #[schema(required = true, example = "https://api.openai.com")]
    origin: Option<String>,
    /// Whether its upstream key can be unsealed here, and its provider is still where it was stored for, or that does not
    /// matter (`accept-sealed`). If not, its scoped keys are refused until it gets one again.
    #[schema(example = true)]
    usable: bool,
    /// Its rules.
    policy: PolicyJson,
    /// 1 when it is stored, one more with every change: the `ETag`.
    #[schema(example = 1)]
    version: u64,
    /// When it was stored.
    #[schema(format = DateTime, example = "2026-01-31T08:00:00.000Z")]
    created_at: String,
    /// When it was last changed.
    #[schema(format = DateTime, example = "2026-01-31T08:00:00.000Z")]
    updated_at: String,
    /// When it was removed; null is never.
    #[schema(required = true, format = DateTime, example = json!(null))]
    removed_at: Option<String>,
}

/// One upstream credential.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CredentialAnswer)]
pub(crate) struct CredentialAnswer {
    /// The credential.
    credential: CredentialJson,
    /// What its keys have used in the current windows of the ceilings that it has; nothing for one that is not of one's
    /// project.
    ceilings_used: Vec<CeilingUseJson>,
}

/// Upstream credentials, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CredentialListAnswer)]
pub(crate) struct CredentialListAnswer {
    /// The credentials.
    credentials: Vec<CredentialJson>,
    /// What to send as `cursor` for those that follow; null when there are none.
    #[schema(required = true, example = json!(null))]
    next_cursor: Option<String>,
}

/// Whether it is there for the caller.
fn is_seen(caller: &Caller, found: &Kept<Credential>) -> bool {
    caller.project().is_none_or(|own| found.is.may_mint_in(own))
}

/// Whether the caller may do with it as they like.
fn is_own(caller: &Caller, found: &Kept<Credential>) -> bool {
    caller.sees_bound(found.is.project.as_deref())
}

fn check(caller: &Caller, found: &Kept<Credential>) -> Result<(), ApiError> {
    if !is_seen(caller, found) {
        return Err(missing(EntityKind::Credential));
    }
    if is_own(caller, found) {
        return Ok(());
    }
    let message =
        "this upstream credential belongs to the whole instance: who is bound to a project may mint from it";
    Err(ApiError::new(ErrorCode::Forbidden, message))
}

/// As the caller may see it.
fn shown(shared: &Shared, caller: &Caller, kept: &Kept<Credential>) -> CredentialJson {
    let stored = shared.state.keys.unseal_credential(kept.label(), &kept.is.sealed_bytes()).ok();
    let is_own = is_own(caller, kept);
    let own_only =
        |projects: &Vec<String>| projects.iter().filter(|one| is_own || caller.sees(one)).cloned().collect();
    CredentialJson {
        name: kept.id.clone(),
        provider: kept.is.provider.clone(),
        project: kept.is.project.clone(),
        projects: kept.is.projects.as_ref().map(own_only),
        key_hint: stored.as_ref().filter(|_| is_own).and_then(hint),
        usable: stored.as_ref().is_some_and(|stored| goes_to(shared, stored)),
        origin: stored.map(|stored| stored.origin),
        policy: (&kept.is.policy).into(),
        version: kept.version,
        created_at: rfc3339(kept.created_at),
        updated_at: rfc3339(kept.updated_at),
        removed_at: kept.ended_at.map(rfc3339),
    }
}

/// The end of a key that is long enough for that to say nothing about the rest. A password may be short whatever the
/// length of the whole is.
fn hint(stored: &Upstream) -> Option<String> {
    if stored.placement == Placement::Basic {
        return None;
    }
    // Everything but the end is dropped here.
    let text = stored.key.reveal_str().filter(|text| text.len() >= HINT_KEY_MIN)?;
    text.get(text.len() - HINT_LENGTH..).map(str::to_owned)
}

async fn answer(
    shared: &Shared,
    caller: &Caller,
    status: StatusCode,
    kept: &Kept<Credential>,
) -> Result<Response, ApiError> {
    let ceilings_used = if is_own(caller, kept) {
        let store = &shared.state.store;
        let used = store.ceilings_used(PolicyOwner::Credential, &kept.id, &kept.is.policy).await?;
        used.into_iter().map(CeilingUseJson::from).collect()
    } else {
        Vec::new()
    };
    let credential = shown(shared, caller, kept);
    Ok(versioned(status, kept.version, CredentialAnswer { credential, ceilings_used }))
}

/// What the audit log has of it.
fn audited(is: &Credential) -> Value {
    json!({"provider": is.provider, "project": is.project, "projects": is.projects,
           "policy": PolicyJson::from(&is.policy)})
}

fn name_of(name: String) -> Result<String, ApiError> {
    let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if plain && name.len() <= NAME_MAX && name.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Ok(name);
    }
    Err(invalid("name", "is 1 to 64 lower-case letters, digits and hyphens, beginning with a letter"))
}

/// Sealed for where its provider is now.
fn seal(shared: &Shared, name: &str, provider: &str, key: &Secret) -> Result<Sealed, ApiError> {
    let upstream = upstream_here(shared, provider, key)?;
    let sealed = shared.state.keys.seal_credential(name, &upstream);
    let sealed = sealed.map_err(|error| invalid("upstream_key", &format!("can't be sealed: {error}")))?;
    Ok(Sealed { text: Credential::text_of(&sealed), origin: upstream.origin })
}

struct Sealed {
    text: String,
    origin: String,
}

/// Everything but the key is stored and shown.
fn check_mentions(name: &str, is: &Credential, key: &Secret) -> Result<(), ApiError> {
    if json_mentions(&json!([name, audited(is)]), key) {
        let message = "only `upstream_key` may contain the upstream key: everything else is stored and shown";
        return Err(ApiError::new(ErrorCode::InvalidField, message));
    }
    Ok(())
}

/// Store an upstream credential
///
/// Minters make keys from it by its name, with `upstream` in `POST /admin/keys`, without ever seeing the real key. With an
/// `Idempotency-Key` the same request can be sent again.
#[utoipa::path(post, path = "/admin/credentials", request_body = CredentialCreateBody,
    params(("idempotency-key" = Option<String>, Header,
            description = "1 to 255 visible ASCII characters that nobody else has used: a UUID")),
    responses(
        (status = 201, description = "The credential", body = CredentialAnswer,
            headers(("etag" = String, description = "The version, for `If-Match`"))),
        (status = 400, description = "A field or the body breaks a rule, or the provider is not known", body = ErrorBody),
        (status = 409, description = "The name is taken, now or earlier, or the `Idempotency-Key` was used with another request or another upstream key", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not declared as JSON", body = ErrorBody),
    ))]
pub(crate) async fn credential_create(
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
    let name = fields.take("name")?;
    let provider = fields.take("provider")?;
    let key = fields.take("upstream_key")?;
    let project = fields.take("project")?;
    let projects = fields.take("projects")?;
    let policy = policy_json::take(&mut fields, &shared.state.providers)?;
    fields.finish(&["name", "provider", "upstream_key", "project", "projects", "policy"])?;
    let name = name_of(text("name", required("name", name)?)?)?;
    let provider = text("provider", required("provider", provider)?)?;
    let provider = shared.state.providers.get(&provider).map(|provider| provider.id().to_owned());
    let provider = provider.ok_or_else(|| ApiError::plain(ErrorCode::UnknownProvider))?;
    let key = secret("upstream_key", required("upstream_key", key)?)?;
    let project = caller.project_for(project.map(|value| text("project", value)).transpose()?)?;
    let projects = projects.map(|value| policy_json::texts("projects", value)).transpose()?;
    if project.is_some() && projects.is_some() {
        return Err(invalid(
            "projects",
            "is for credentials of the whole instance; this one has a `project`",
        ));
    }
    let sealed = seal(&shared, &name, &provider, &key)?;
    let policy = policy.unwrap_or_default();
    let is = Credential { provider, sealed: sealed.text, project, projects, policy };
    check_mentions(&name, &is, &key)?;
    let mut detail = audited(&is);
    detail["origin"] = json!(sealed.origin);
    let put = Put { id: name, version: None, is, lookups: None, ends: false };
    let repeated = repeatable.map(|repeatable| repeatable.lookup(&body)).transpose()?;
    let can_be_older = repeated.is_some();
    let store = &shared.state.store;
    let kept = idempotency::make(store, put, repeated, ("credential.create", detail), caller.actor()).await?;
    // What the same request made before is found by everything but its secret.
    let stored = shared.state.keys.unseal_credential(kept.label(), &kept.is.sealed_bytes());
    if can_be_older && !stored.is_ok_and(|stored| stored.key == key) {
        return Err(ApiError::plain(ErrorCode::IdempotencyMismatch));
    }
    answer(&shared, &caller, StatusCode::CREATED, &kept).await
}

/// List upstream credentials
///
/// Newest first. Without `limit` the answer has all of them. Somebody who is bound to a project sees those that its keys may
/// be minted from.
#[utoipa::path(get, path = "/admin/credentials",
    params(
        ("limit" = Option<u32>, Query, description = "Credentials per page", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the page before"),
        ("ended" = Option<bool>, Query, description = "Whether removed credentials are listed as well"),
    ),
    responses(
        (status = 200, description = "The credentials", body = CredentialListAnswer),
        (status = 400, description = "A query parameter breaks a rule", body = ErrorBody),
    ))]
pub(crate) async fn credential_list(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<CredentialListAnswer>, ApiError> {
    let page = Page::parse(&uri)?;
    let store = &shared.state.store;
    let mut query = page.query(None);
    if caller.project().is_some() {
        // What is not there for them must not fill their pages, nor be a place to begin one.
        query = EntityQuery { limit: None, ..query };
        if let Some(after) = &query.after {
            let after: Option<Kept<Credential>> = store.entity_fetch(after).await?;
            if !after.is_some_and(|after| is_seen(&caller, &after)) {
                return Ok(Json(CredentialListAnswer { credentials: Vec::new(), next_cursor: None }));
            }
        }
    }
    let mut all: Vec<Kept<Credential>> = store.entity_list(query).await?;
    all.retain(|kept| is_seen(&caller, kept));
    let next_cursor = page.cut(&mut all);
    let credentials = all.iter().map(|kept| shown(&shared, &caller, kept)).collect();
    Ok(Json(CredentialListAnswer { credentials, next_cursor }))
}

/// Show an upstream credential
#[utoipa::path(get, path = "/admin/credentials/{name}",
    params(("name" = String, Path, description = "Name of the credential", example = "openai-prod")),
    responses(
        (status = 200, description = "The credential, without the upstream key", body = CredentialAnswer,
            headers(("etag" = String, description = "The version, for `If-Match`"))),
        (status = 404, description = "There is no such credential", body = ErrorBody),
    ))]
pub(crate) async fn credential_show(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let no_such = || missing(EntityKind::Credential);
    let Path(name) = name.map_err(|_| no_such())?;
    let kept: Option<Kept<Credential>> = shared.state.store.entity_fetch(&name).await?;
    let kept = kept.filter(|kept| is_seen(&caller, kept)).ok_or_else(no_such)?;
    answer(&shared, &caller, StatusCode::OK, &kept).await
}

/// Change an upstream credential
///
/// With `upstream_key` its real key is replaced: all scoped keys that were minted from it use the new one from their next
/// request on. Requests that are under way end with the old one. The new one goes where the provider is now.
#[utoipa::path(patch, path = "/admin/credentials/{name}", request_body = CredentialUpdateBody,
    params(
        ("name" = String, Path, description = "Name of the credential", example = "openai-prod"),
        ("if-match" = Option<String>, Header, description = "`ETag` of the version that the change is made from, or `*`", pattern = r#"^("[0-9]+"|\*)$"#),
    ),
    responses(
        (status = 200, description = "The credential as it is now", body = CredentialAnswer,
            headers(("etag" = String, description = "The version, for `If-Match`"))),
        (status = 400, description = "A field or the body breaks a rule", body = ErrorBody),
        (status = 404, description = "There is no such credential, or it was removed", body = ErrorBody),
        (status = 412, description = "It was changed since the version that `If-Match` names", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not declared as JSON", body = ErrorBody),
    ))]
pub(crate) async fn credential_update(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let Path(name) = name.map_err(|_| missing(EntityKind::Credential))?;
    let wanted = if_match(&headers)?;
    let mut fields = Fields::parse(&json_body::read(&headers, body).await?)?;
    let key = fields.take("upstream_key")?;
    let projects = fields.take_nullable("projects")?;
    let policy = policy_json::take(&mut fields, &shared.state.providers)?;
    fields.finish(&["upstream_key", "projects", "policy"])?;
    let key = key.map(|key| secret("upstream_key", key)).transpose()?;
    let projects = match projects {
        None => None,
        Some(Value::Null) => Some(None),
        Some(value) => Some(Some(policy_json::texts("projects", value)?)),
    };
    let edit = |found: &Kept<Credential>| {
        check(&caller, found)?;
        let mut is = found.is.clone();
        if let Some(projects) = &projects {
            if is.project.is_some() && projects.is_some() {
                let rule = "is for credentials of the whole instance; this one has a `project`";
                return Err(invalid("projects", rule));
            }
            is.projects.clone_from(projects);
        }
        if let Some(policy) = &policy {
            is.policy.clone_from(policy);
        }
        let mut detail = difference(&audited(&found.is), &audited(&is));
        detail["project"] = json!(found.is.project);
        if let Some(key) = &key {
            check_mentions(&found.id, &is, key)?;
            let sealed = seal(&shared, &found.id, &is.provider, key)?;
            is.sealed = sealed.text;
            detail["upstreamKey"] = json!("replaced");
            detail["origin"] = json!(sealed.origin);
        }
        Ok(Edit { is, rotation: None, ends: false, detail })
    };
    let store = &shared.state.store;
    let kept = entity_json::update(store, &name, wanted, "credential.update", caller.actor(), edit).await?;
    answer(&shared, &caller, StatusCode::OK, &kept).await
}

/// Remove an upstream credential
///
/// Revokes all keys that were minted from it, before the answer, and forgets the upstream key. It can't be undone, and the
/// name can't be used again.
#[utoipa::path(delete, path = "/admin/credentials/{name}",
    params(
        ("name" = String, Path, description = "Name of the credential", example = "openai-prod"),
        ("if-match" = Option<String>, Header, description = "`ETag` of the version that is to be removed, or `*`", pattern = r#"^("[0-9]+"|\*)$"#),
    ),
    responses(
        (status = 200, description = "The credential, removed", body = CredentialAnswer,
            headers(("etag" = String, description = "The version, for `If-Match`"))),
        (status = 400, description = "There are query parameters", body = ErrorBody),
        (status = 404, description = "There is no such credential, or it was removed", body = ErrorBody),
        (status = 412, description = "It was changed since the version that `If-Match` names", body = ErrorBody),
    ))]
pub(crate) async fn credential_remove(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let Path(name) = name.map_err(|_| missing(EntityKind::Credential))?;
    let wanted = if_match(&headers)?;
    let edit = |found: &Kept<Credential>| {
        check(&caller, found)?;
        let is = Credential { sealed: String::new(), ..found.is.clone() };
        let detail = json!({"provider": is.provider, "project": is.project});
        Ok(Edit { is, rotation: None, ends: true, detail })
    };
    let store = &shared.state.store;
    let kept = entity_json::update(store, &name, wanted, "credential.remove", caller.actor(), edit).await?;
    answer(&shared, &caller, StatusCode::OK, &kept).await
}
