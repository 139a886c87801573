//! Bedrock: Converse, and InvokeModel with bodies that are known.

mod converse;
mod invoke;

use std::borrow::Cow;

use till_core::fields;

use super::anthropic::Betas;
use super::endpoint::{Endpoint, POST};
use super::{Question, RUNS_THERE, Refused, RequestFacts, anthropic, unbounded};
use crate::price::ModelPrice;
use crate::usage::AnswerFormat;

const PRICING: &str = "https://aws.amazon.com/bedrock/pricing/";

pub(super) static ENDPOINTS: [Endpoint; 5] = [
    Endpoint::metered(
        "/model/*/converse",
        "converse",
        AnswerFormat::BedrockConverse,
        converse::converse,
        PRICING,
    ),
    Endpoint::metered(
        "/model/*/converse-stream",
        "converse-stream",
        AnswerFormat::BedrockConverse,
        converse::converse,
        PRICING,
    ),
    Endpoint::metered("/model/*/invoke", "invoke", AnswerFormat::BedrockInvoke, invoke::invoke, PRICING),
    Endpoint::metered(
        "/model/*/invoke-with-response-stream",
        "invoke-with-response-stream",
        AnswerFormat::BedrockInvoke,
        invoke::invoke,
        PRICING,
    ),
    // "Using the CountTokens API doesn't incur charges."
    Endpoint::free(
        POST,
        "/model/*/count-tokens",
        "count-tokens",
        "https://docs.aws.amazon.com/bedrock/latest/userguide/count-tokens.html",
    ),
];

/// Many vocabularies, few of them public.
const FACTOR: u64 = 2;

/// Nothing is documented for all models; twice the maximum of Anthropic's.
const IMAGE_TOKENS: u64 = 16_384;

/// The model in the path, decoded.
///
/// # Errors
/// It is a name that hides the model: of a prompt, of a profile of the account, of capacity that was bought.
pub(crate) fn model_of(question: &Question<'_>) -> Result<String, Refused> {
    let decoded = question.path.decoded_segments().nth(1).map(Cow::into_owned).unwrap_or_default();
    let rule = "hides which model is asked, and so what it costs. Ask with the id of the model itself, such as \
                \"us.anthropic.claude-sonnet-4-6\".";
    let hidden = || unbounded(&format!("model {decoded:?}"), rule);
    let model = match decoded.strip_prefix("arn:") {
        // A foundation model or a profile of the system has its name at the end.
        Some(arn) if arn.contains(":foundation-model/") || arn.contains(":inference-profile/") => {
            decoded.rsplit('/').next().unwrap_or_default()
        }
        Some(_) => return Err(hidden()),
        None => &decoded,
    };
    // All ids of models begin with who made them; other resources have a name without.
    if model.contains('.') { Ok(model.to_owned()) } else { Err(hidden()) }
}

/// How much a model takes in.
fn window(model: &str, price: Option<&ModelPrice>, betas: Betas) -> Result<Option<u64>, Refused> {
    if model.contains("claude") {
        return anthropic::window(model, price, betas);
    }
    Ok(price.and_then(ModelPrice::context_window))
}

/// Sets the service tier. Where there is no price for `flex`, which is cheaper, the usual one is held
/// (<https://docs.aws.amazon.com/bedrock/latest/userguide/service-tiers-inference.html>).
fn service_tier(
    what: &str,
    tier: &str,
    price: Option<&ModelPrice>,
    facts: &mut RequestFacts,
) -> Result<(), Refused> {
    let is_priced = price.is_none_or(|price| price.variants("service_tier").any(|known| known == tier));
    match tier {
        "default" => {}
        "flex" | "priority" if is_priced => facts.context.set("service_tier", tier),
        "flex" => {}
        _ => return Err(unbounded(what, "asks for a tier whose price is not known. Leave it out.")),
    }
    Ok(())
}

/// Headers of InvokeModel that change what is charged: a tier, a faster machine, a guardrail that is charged by the text
/// (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html>).
fn headers(
    question: &Question<'_>,
    price: Option<&ModelPrice>,
    facts: &mut RequestFacts,
) -> Result<(), Refused> {
    const GUARDRAIL: &str = "x-amzn-bedrock-guardrailidentifier";
    const LATENCY: &str = "x-amzn-bedrock-performanceconfig-latency";
    const TIER: &str = "x-amzn-bedrock-service-tier";
    const PROJECT: &str = "x-amzn-bedrock-projectidentifier";
    for name in [GUARDRAIL, PROJECT] {
        if question.headers.contains(name) {
            return Err(unbounded(name, RUNS_THERE));
        }
    }
    for value in question.headers.get_all(LATENCY) {
        if value != b"standard" {
            return Err(unbounded(LATENCY, "asks for a speed whose price is not known. Leave it out."));
        }
    }
    for value in question.headers.get_all(TIER) {
        service_tier(TIER, fields::text(value).unwrap_or("?"), price, facts)?;
    }
    Ok(())
}
