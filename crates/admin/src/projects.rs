//! `/admin/projects`: tenants, and what their keys may use together.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde::Serialize;
use serde_json::json;
use till_core::limit::Units;
use till_core::policy::{PolicyOwner, Window};
use till_store::{EntityKind, Kept, Project, Put};
use utoipa::ToSchema;

use crate::authenticate::Caller;
use crate::entity_json::{self, Edit, Page, difference, if_match, missing, versioned};
use crate::error::{ApiError, ErrorBody, ErrorCode};
use crate::idempotency::{self, Repeatable};
use crate::json_body::{self, Fields};
use crate::key_create::{invalid, required, text};
use crate::money_text::usd;
use crate::policy_json::{self, PolicyBody, PolicyJson};
use crate::query;
use crate::router::Shared;
use crate::time_text::rfc3339;

/// Longest id, and longest name in characters.
const ID_MAX: usize = 64;
const NAME_MAX: usize = 256;

/// A project to make.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProjectCreate, example = json!({"id": "search-team", "name": "Search team", "policy": {"ceilings": {"day": {"max_spend_usd": "5"}}}}))]
#[expect(dead_code, reason = "describes the body for the documentation; `project_create` reads it")]
pub(crate) struct ProjectCreateBody {
    /// 1 to 64 lower-case letters, digits and hyphens, beginning with a letter. It can't be changed or used again.
    #[schema(example = "search-team", min_length = 1, max_length = 64, pattern = "^[a-z][a-z0-9-]*$")]
    id: String,
    /// A name for people; the id if absent.
    #[schema(example = "Search team", max_length = 256)]
    name: Option<String>,
    /// What may be minted in it, and what its keys may use together.
    policy: Option<PolicyBody>,
}

/// What to change of a project.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ProjectUpdate, example = json!({"name": "Search team", "policy": {"models": ["gpt-5*"], "ceilings": {"month": {"max_spend_usd": "100"}}}}))]
#[expect(dead_code, reason = "describes the body for the documentation; `project_update` reads it")]
pub(crate) struct ProjectUpdateBody {
    /// A name for people.
    #[schema(example = "Search team", max_length = 256)]
    name: Option<String>,
    /// All rules anew; null takes them away.
    policy: Option<PolicyBody>,
}

/// What was used in a window.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CeilingUse)]
pub(crate) struct CeilingUseJson {
    /// `day`, `month` or `lifetime`.
    #[schema(example = "day")]
    window: &'static str,
    /// Requests spent or in flight.
    #[schema(example = 12)]
    used_activations: u64,
    /// Tokens spent or in flight.
    #[schema(example = 0)]
    used_tokens: u64,
    /// US dollars spent or in flight, exact to the nano-dollar.
    #[schema(example = "1.25")]
    used_spend_usd: String,
}

impl From<(Window, Units)> for CeilingUseJson {
    fn from((window, used): (Window, Units)) -> Self {
        Self {
            window: window.as_str(),
            used_activations: used.activations,
            used_tokens: used.tokens,
            used_spend_usd: usd(used.spend_nanos),
        }
    }
}

/// A project.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Project)]
pub(crate) struct ProjectJson {
    /// Its id, the `tenantId` of its keys.
    #[schema(example = "search-team")]
    id: String,
    /// A name for people.
    #[schema(example = "Search team")]
    name: String,
    /// Its rules.
    policy: PolicyJson,
    /// 1 when it is made, one more with every change: the `ETag`.
    #[schema(example = 1)]
    version: u64,
    /// When it was made.
    #[schema(format = DateTime, example = "2026-01-31T08:00:00.000Z")]
    created_at: String,
    /// When it was last changed.
    #[schema(format = DateTime, example = "2026-01-31T08:00:00.000Z")]
    updated_at: String,
    /// When it was ended; null is never.
    #[schema(required = true, format = DateTime, example = json!(null))]
    ended_at: Option<String>,
}

impl From<&Kept<Project>> for ProjectJson {
    fn from(kept: &Kept<Project>) -> Self {
        Self {
            id: kept.id.clone(),
            name: kept.is.name.clone(),
            policy: (&kept.is.policy).into(),
            version: kept.version,
            created_at: rfc3339(kept.created_at),
            updated_at: rfc3339(kept.updated_at),
            ended_at: kept.ended_at.map(rfc3339),
        }
    }
}

/// One project.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ProjectAnswer)]
pub(crate) struct ProjectAnswer {
    /// The project.
    project: ProjectJson,
    /// What its keys have used in the current windows of the ceilings that it has.
    ceilings_used: Vec<CeilingUseJson>,
}

/// Projects, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ProjectListAnswer)]
pub(crate) struct ProjectListAnswer {
    /// The projects.
    projects: Vec<ProjectJson>,
    /// What to send as `cursor` for those that follow; null when there are none.
    #[schema(required = true, example = json!(null))]
    next_cursor: Option<String>,
}

async fn answer(shared: &Shared, status: StatusCode, kept: &Kept<Project>) -> Result<Response, ApiError> {
    let store = &shared.state.store;
    let used = store.ceilings_used(PolicyOwner::Project, &kept.id, &kept.is.policy).await?;
    let ceilings_used = used.into_iter().map(CeilingUseJson::from).collect();
    Ok(versioned(status, kept.version, ProjectAnswer { project: kept.into(), ceilings_used }))
}

/// Make a project
///
/// With an `Idempotency-Key` the same request can be sent again.
#[utoipa::path(post, path = "/admin/projects", request_body = ProjectCreateBody,
    params(("idempotency-key" = Option<String>, Header,
            description = "1 to 255 visible ASCII characters that nobody else has used: a UUID")),
    responses(
        (status = 201, description = "The project", body = ProjectAnswer,
            headers(("etag" = String, description = "The version, for `If-Match`"))),
        (status = 400, description = "A field or the body breaks a rule", body = ErrorBody),
        (status = 409, description = "The id is taken, now or earlier", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not declared as JSON", body = ErrorBody),
    ))]
pub(crate) async fn project_create(
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
    let id = fields.take("id")?;
    let name = fields.take("name")?;
    let policy = policy_json::take(&mut fields, &shared.state.providers)?;
    fields.finish(&["id", "name", "policy"])?;
    let id = project_id(text("id", required("id", id)?)?)?;
    let name = name.map(|name| shown_name(text("name", name)?)).transpose()?.unwrap_or_else(|| id.clone());
    let is = Project { name, policy: policy.unwrap_or_default() };
    let detail = json!({"name": is.name, "policy": PolicyJson::from(&is.policy)});
    let put = Put { id, version: None, is, lookups: None, ends: false };
    let repeated = repeatable.map(|repeatable| repeatable.lookup(&body)).transpose()?;
    let store = &shared.state.store;
    let kept = idempotency::make(store, put, repeated, ("project.create", detail), caller.actor()).await?;
    answer(&shared, StatusCode::CREATED, &kept).await
}

fn project_id(id: String) -> Result<String, ApiError> {
    let plain = id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if plain && id.len() <= ID_MAX && id.starts_with(|first: char| first.is_ascii_lowercase()) {
        return Ok(id);
    }
    Err(invalid("id", "is 1 to 64 lower-case letters, digits and hyphens, beginning with a letter"))
}

/// A name for people.
pub(crate) fn shown_name(name: String) -> Result<String, ApiError> {
    let count = name.chars().count();
    if (1..=NAME_MAX).contains(&count) && !name.chars().any(char::is_control) {
        return Ok(name);
    }
    Err(invalid("name", &format!("has 1 to {NAME_MAX} characters, no control characters")))
}

/// List projects
///
/// Newest first. Without `limit` the answer has all of them. Somebody who is bound to a project sees that one.
#[utoipa::path(get, path = "/admin/projects",
    params(
        ("limit" = Option<u32>, Query, description = "Projects per page", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the page before"),
        ("ended" = Option<bool>, Query, description = "Whether ended projects are listed as well"),
    ),
    responses(
        (status = 200, description = "The projects", body = ProjectListAnswer),
        (status = 400, description = "A query parameter breaks a rule", body = ErrorBody),
    ))]
pub(crate) async fn project_list(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<ProjectListAnswer>, ApiError> {
    let page = Page::parse(&uri)?;
    let store = &shared.state.store;
    if let Some(own) = caller.project() {
        let own: Option<Kept<Project>> = store.entity_fetch(own).await?;
        let projects = own.iter().map(ProjectJson::from).collect();
        return Ok(Json(ProjectListAnswer { projects, next_cursor: None }));
    }
    let (all, next_cursor) = page.fetch::<Project>(store, None).await?;
    Ok(Json(ProjectListAnswer { projects: all.iter().map(ProjectJson::from).collect(), next_cursor }))
}

/// Show a project
#[utoipa::path(get, path = "/admin/projects/{id}",
    params(("id" = String, Path, description = "Id of the project", example = "search-team")),
    responses(
        (status = 200, description = "The project", body = ProjectAnswer,
            headers(("etag" = String, description = "The version, for `If-Match`"))),
        (status = 404, description = "There is no such project", body = ErrorBody),
    ))]
pub(crate) async fn project_show(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let no_such = || missing(EntityKind::Project);
    let Path(id) = id.map_err(|_| no_such())?;
    let kept = shared.state.store.entity_fetch(&id).await?;
    let kept: Kept<Project> = kept.filter(|kept| caller.sees(&kept.id)).ok_or_else(no_such)?;
    answer(&shared, StatusCode::OK, &kept).await
}

/// Change a project
///
/// A ceiling takes effect on the next request of each of its keys; one that is set counts what was used in its current
/// window so far.
#[utoipa::path(patch, path = "/admin/projects/{id}", request_body = ProjectUpdateBody,
    params(
        ("id" = String, Path, description = "Id of the project", example = "search-team"),
        ("if-match" = Option<String>, Header, description = "`ETag` of the version that the change is made from, or `*`", pattern = r#"^("[0-9]+"|\*)$"#),
    ),
    responses(
        (status = 200, description = "The project as it is now", body = ProjectAnswer,
            headers(("etag" = String, description = "The version, for `If-Match`"))),
        (status = 400, description = "A field or the body breaks a rule", body = ErrorBody),
        (status = 404, description = "There is no such project, or it has ended", body = ErrorBody),
        (status = 412, description = "It was changed since the version that `If-Match` names", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not declared as JSON", body = ErrorBody),
    ))]
pub(crate) async fn project_update(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let Path(id) = id.map_err(|_| missing(EntityKind::Project))?;
    let wanted = if_match(&headers)?;
    let mut fields = Fields::parse(&json_body::read(&headers, body).await?)?;
    let name = fields.take("name")?;
    let policy = policy_json::take(&mut fields, &shared.state.providers)?;
    fields.finish(&["name", "policy"])?;
    let name = name.map(|name| shown_name(text("name", name)?)).transpose()?;
    let edit = |found: &Kept<Project>| {
        let mut is = found.is.clone();
        if let Some(name) = &name {
            is.name.clone_from(name);
        }
        if let Some(policy) = &policy {
            is.policy.clone_from(policy);
        }
        let shown = |is: &Project| json!({"name": is.name, "policy": PolicyJson::from(&is.policy)});
        let detail = difference(&shown(&found.is), &shown(&is));
        Ok(Edit { is, rotation: None, ends: false, detail })
    };
    let store = &shared.state.store;
    let kept = entity_json::update(store, &id, wanted, "project.update", caller.actor(), edit).await?;
    answer(&shared, StatusCode::OK, &kept).await
}

/// End a project
///
/// Revokes all of its keys before the answer; its members and admin tokens may do nothing any more. It can't be undone.
#[utoipa::path(delete, path = "/admin/projects/{id}",
    params(
        ("id" = String, Path, description = "Id of the project", example = "search-team"),
        ("if-match" = Option<String>, Header, description = "`ETag` of the version that is to be ended, or `*`", pattern = r#"^("[0-9]+"|\*)$"#),
    ),
    responses(
        (status = 200, description = "The project, ended", body = ProjectAnswer,
            headers(("etag" = String, description = "The version, for `If-Match`"))),
        (status = 400, description = "There are query parameters, or it is the default project", body = ErrorBody),
        (status = 404, description = "There is no such project, or it has ended", body = ErrorBody),
        (status = 412, description = "It was changed since the version that `If-Match` names", body = ErrorBody),
    ))]
pub(crate) async fn project_end(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    query::none(&uri)?;
    let Path(id) = id.map_err(|_| missing(EntityKind::Project))?;
    if id == till_store::DEFAULT_PROJECT {
        return Err(ApiError::new(ErrorCode::InvalidId, "the default project can't be ended"));
    }
    let wanted = if_match(&headers)?;
    let edit = |found: &Kept<Project>| {
        Ok(Edit { is: found.is.clone(), rotation: None, ends: true, detail: json!({}) })
    };
    let store = &shared.state.store;
    let kept = entity_json::update(store, &id, wanted, "project.end", caller.actor(), edit).await?;
    answer(&shared, StatusCode::OK, &kept).await
}
