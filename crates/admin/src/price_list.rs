//! `/admin/prices`: what models cost, as far as till knows.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use till_providers::price::{ModelPrice, Source};
use till_providers::usage::Unit;
use utoipa::ToSchema;

use crate::authenticate::Caller;
use crate::error::{ApiError, ErrorBody};
use crate::query::Parameters;
use crate::router::Shared;

/// Pico-dollars per token are micro-dollars per million tokens.
const MICROS: u64 = 1_000_000;

/// What a model costs, in US dollars per million tokens, as listed: large inputs, other ways of processing and other units can
/// cost otherwise. Null is no price.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Price)]
pub(crate) struct PriceJson {
    /// Id of the provider.
    #[schema(example = "openai")]
    provider: String,
    /// The model.
    #[schema(example = "gpt-4o-mini")]
    model: String,
    /// Input.
    #[schema(required = true, example = "0.15")]
    input_usd: Option<String>,
    /// Output.
    #[schema(required = true, example = "0.60")]
    output_usd: Option<String>,
    /// Input that is read from a cache.
    #[schema(required = true, example = "0.075")]
    cached_input_usd: Option<String>,
    /// Input and output together that it takes, in tokens.
    #[schema(required = true, example = 128_000)]
    context_window: Option<u64>,
    /// The most that it answers, in tokens.
    #[schema(required = true, example = 16_384)]
    max_output: Option<u64>,
    /// Where the price comes from: `genai-prices`, `litellm` or `configuration`.
    #[schema(example = "genai-prices")]
    source: &'static str,
    /// Whether it comes from the configuration of this instance.
    #[schema(example = false)]
    custom: bool,
}

impl PriceJson {
    fn new(provider: &str, price: &ModelPrice) -> Self {
        let per_million = |unit| price.listed(unit).map(per_million);
        Self {
            provider: provider.to_owned(),
            model: price.id().to_owned(),
            input_usd: per_million(Unit::InputTokens),
            output_usd: per_million(Unit::OutputTokens),
            cached_input_usd: per_million(Unit::CacheReadTokens),
            context_window: price.context_window(),
            max_output: price.max_output(),
            source: price.source().as_str(),
            custom: price.source() == Source::Override,
        }
    }
}

/// Pico-dollars per token as dollars per million, with at least two decimals.
fn per_million(picos: u64) -> String {
    let decimals = format!("{:06}", picos % MICROS);
    let short = decimals.trim_end_matches('0');
    format!("{}.{short:0<2}", picos / MICROS)
}

/// Prices.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PriceListAnswer)]
pub(crate) struct PriceListAnswer {
    /// Which prices these are.
    #[schema(example = "2026-11-23")]
    version: String,
    /// By provider.
    prices: Vec<PriceJson>,
}

/// List prices
///
/// The prices that calls are charged by. A model that is not among them has no price: under a limit in money its calls are
/// refused with `unpriced_model`.
#[utoipa::path(get, path = "/admin/prices",
    params(
        ("provider" = Option<String>, Query, description = "Only models of this provider"),
        ("model" = Option<String>, Query, description = "Only the model that this name stands for"),
    ),
    responses(
        (status = 200, description = "The prices", body = PriceListAnswer),
        (status = 400, description = "A query parameter breaks a rule", body = ErrorBody),
    ))]
pub(crate) async fn price_list(
    State(shared): State<Arc<Shared>>,
    _caller: Caller,
    uri: Uri,
) -> Result<Json<PriceListAnswer>, ApiError> {
    let mut parameters = Parameters::parse(&uri)?;
    let provider = parameters.take("provider")?;
    let model = parameters.take("model")?;
    parameters.finish(&["provider", "model"])?;
    let table = &shared.state.prices;
    // Keys name providers; a provider can be charged by the prices of another.
    let known = provider.as_deref().and_then(|id| shared.state.providers.get(id));
    let priced_as = known.map(|provider| provider.price_id().to_owned()).or(provider);
    let fits = |id: &str, price: &ModelPrice| {
        priced_as.as_deref().is_none_or(|wanted| wanted == id)
            && model
                .as_deref()
                .is_none_or(|model| table.find(id, model).is_some_and(|found| found.id() == price.id()))
    };
    let prices = table.iter().filter(|(id, price)| fits(id, price));
    let prices = prices.map(|(id, price)| PriceJson::new(id, price)).collect();
    Ok(Json(PriceListAnswer { version: table.version().to_string(), prices }))
}

#[cfg(test)]
mod tests {
    use super::per_million;

    #[test]
    fn prices_are_exact() {
        for (picos, text) in
            [(0, "0.00"), (150_000, "0.15"), (75_000, "0.075"), (2_500_000, "2.50"), (1, "0.000001")]
        {
            assert_eq!(per_million(picos), text);
        }
    }
}
