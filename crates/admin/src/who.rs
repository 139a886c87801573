//! `/admin/self`: who is asking, and what they may do.

use axum::Json;
use axum::http::Uri;
use serde::Serialize;
use utoipa::ToSchema;

use crate::authenticate::Caller;
use crate::error::ApiError;
use crate::permission::permissions;
use crate::query;

/// Who is asking.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Self)]
pub(crate) struct WhoJson {
    /// Id of the admin token or member: the actor of what they do, in the audit log.
    #[schema(example = "tok_0a1b2c3d4e5f60718293")]
    id: String,
    /// A name for people.
    #[schema(example = "ci")]
    name: String,
    /// What they are.
    #[schema(example = "minter")]
    role: &'static str,
    /// The project that they are bound to; null is everywhere.
    #[schema(required = true, example = "search-team")]
    project: Option<String>,
    /// What they may do, as the words in the documentation of administration.
    #[schema(example = json!(["keys.read", "keys.create"]))]
    permissions: Vec<&'static str>,
}

/// Who is asking.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SelfAnswer)]
pub(crate) struct WhoAnswer {
    /// Who is asking.
    #[serde(rename = "self")]
    who: WhoJson,
}

/// Show who one is
#[utoipa::path(get, path = "/admin/self",
    responses((status = 200, description = "Who is asking, and what they may do", body = WhoAnswer)))]
pub(crate) async fn who(caller: Caller, uri: Uri) -> Result<Json<WhoAnswer>, ApiError> {
    query::none(&uri)?;
    let project = caller.project().map(str::to_owned);
    let permissions = permissions(caller.role(), project.is_some()).collect();
    let (id, name) = (caller.actor().id.clone(), caller.name().to_owned());
    Ok(Json(WhoAnswer { who: WhoJson { id, name, role: caller.role().as_str(), project, permissions } }))
}
