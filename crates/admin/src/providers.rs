//! `/admin/providers`: which APIs this instance speaks for.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use till_providers::{BaseUrl, Provider};
use utoipa::ToSchema;

use crate::authenticate::Caller;
use crate::error::ApiError;
use crate::query;
use crate::router::Shared;

/// An API that scoped keys can be minted for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Provider)]
pub(crate) struct ProviderJson {
    /// What goes into `provider` when a key is minted.
    #[schema(example = "openai")]
    id: String,
    /// Its name for people.
    #[schema(example = "OpenAI")]
    name: String,
    /// Other ids that are taken for it.
    #[schema(example = json!([]))]
    aliases: Vec<String>,
    /// Where its requests go; null until it is configured, and then no key can be minted for it.
    #[schema(required = true, example = "https://api.openai.com")]
    base_url: Option<String>,
    /// What to give its official SDK as base URL, to use a scoped key through this instance.
    #[schema(example = "http://127.0.0.1:4100/v1")]
    sdk_base_url: String,
    /// The environment variable that its SDKs read the key from, where there is one.
    #[schema(required = true, example = "OPENAI_API_KEY")]
    key_env: Option<String>,
    /// Whether it comes from the configuration of this instance.
    #[schema(example = false)]
    custom: bool,
}

impl ProviderJson {
    fn new(provider: &Provider, public_url: &str) -> Self {
        Self {
            id: provider.id().to_owned(),
            name: provider.name().to_owned(),
            aliases: provider.aliases().iter().map(|alias| (*alias).to_owned()).collect(),
            base_url: provider.base_url().map(BaseUrl::as_str).map(str::to_owned),
            sdk_base_url: format!("{}{}", public_url.trim_end_matches('/'), provider.sdk_base_path()),
            key_env: provider.key_env().map(str::to_owned),
            custom: provider.is_custom(),
        }
    }
}

/// Providers.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProviderListAnswer)]
pub(crate) struct ProviderListAnswer {
    /// Built-in providers first, then those of the configuration.
    providers: Vec<ProviderJson>,
}

/// List providers
#[utoipa::path(get, path = "/admin/providers",
    responses((status = 200, description = "All providers that this instance knows", body = ProviderListAnswer)))]
pub(crate) async fn provider_list(
    State(shared): State<Arc<Shared>>,
    _caller: Caller,
    uri: Uri,
) -> Result<Json<ProviderListAnswer>, ApiError> {
    query::none(&uri)?;
    let public_url = &shared.state.settings.public_url;
    let providers =
        shared.state.providers.iter().map(|provider| ProviderJson::new(provider, public_url)).collect();
    Ok(Json(ProviderListAnswer { providers }))
}
