//! `/admin/account`: totals.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use till_core::time::{Month, Timestamp};
use till_store::{EntityQuery, Kept, Project, UsageFilter, UsageGroup};
use utoipa::ToSchema;

use crate::authenticate::Caller;
use crate::error::ApiError;
use crate::query;
use crate::router::Shared;

/// Totals of the caller. Carries every field that clients of the published Till API read.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Account)]
pub(crate) struct AccountJson {
    /// `global`: the caller sees the whole instance; `tenant`: one project.
    #[schema(example = "global")]
    scope: String,
    /// The one project that the caller is bound to; null for a global caller.
    #[schema(required = true, example = json!(null))]
    tenant: Option<TenantJson>,
    /// Projects that the caller sees.
    #[schema(example = 1)]
    tenants: u64,
    /// Keys ever made, revoked ones included.
    #[schema(example = 3)]
    keys_used: u64,
    /// Requests spent or in flight in this calendar month, UTC.
    #[schema(example = 128)]
    activations_used_this_month: u64,
}

/// The project that a caller is bound to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Tenant)]
pub(crate) struct TenantJson {
    /// Its id.
    #[schema(example = "search-team")]
    id: String,
    /// A name for people.
    #[schema(example = "Search team")]
    name: String,
}

/// Totals.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AccountAnswer)]
pub(crate) struct AccountAnswer {
    /// The totals.
    account: AccountJson,
}

/// Show totals
#[utoipa::path(get, path = "/admin/account",
    responses((status = 200, description = "Totals of the caller", body = AccountAnswer)))]
pub(crate) async fn account_show(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<AccountAnswer>, ApiError> {
    query::none(&uri)?;
    let store = &shared.state.store;
    let account = match caller.project() {
        None => {
            let summary = store.account_summary().await?;
            let projects: Vec<Kept<Project>> = store.entity_list(EntityQuery::default()).await?;
            AccountJson {
                scope: "global".to_owned(),
                tenant: None,
                tenants: projects.len() as u64,
                keys_used: summary.keys,
                activations_used_this_month: summary.activations_this_month,
            }
        }
        Some(id) => {
            let project: Option<Kept<Project>> = store.entity_fetch(id).await?;
            let keys = store.project_keys(id).await?;
            let (first, _) = Month::of(store.now()).days();
            let filter = UsageFilter {
                project: Some(id.to_owned()),
                since: Some(Timestamp::of_day(first)),
                ..UsageFilter::default()
            };
            let sums = store.usage_sum(UsageGroup::default(), filter).await?;
            let name = project.map_or_else(|| id.to_owned(), |project| project.is.name);
            AccountJson {
                scope: "tenant".to_owned(),
                tenant: Some(TenantJson { id: id.to_owned(), name }),
                tenants: 1,
                keys_used: keys.len() as u64,
                activations_used_this_month: sums.first().map_or(0, |sum| sum.charged.activations),
            }
        }
    };
    Ok(Json(AccountAnswer { account }))
}
