//! `/admin/account`: totals.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use till_store::AccountSummary;
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
    /// `global`: the caller sees the whole instance.
    #[schema(example = "global")]
    scope: String,
    /// The one project that the caller is bound to; null for a global caller.
    #[schema(value_type = Option<Object>, required = true, example = json!(null))]
    tenant: (),
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

impl From<AccountSummary> for AccountJson {
    fn from(summary: AccountSummary) -> Self {
        Self {
            scope: "global".to_owned(),
            tenant: (),
            tenants: 1,
            keys_used: summary.keys,
            activations_used_this_month: summary.activations_this_month,
        }
    }
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
    _caller: Caller,
    uri: Uri,
) -> Result<Json<AccountAnswer>, ApiError> {
    query::none(&uri)?;
    let summary = shared.state.store.account_summary().await?;
    Ok(Json(AccountAnswer { account: summary.into() }))
}
