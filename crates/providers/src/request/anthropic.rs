//! Anthropic's Messages API, also where others take its bodies.

mod betas;
mod blocks;

use till_core::time::Timestamp;

pub(super) use self::betas::Betas;
pub(super) use self::blocks::Blocks;
use super::endpoint::{Endpoint, LOOK, POST};
use super::object::{Object, Value};
use super::{CacheWrite, Question, RUNS_THERE, Refused, RequestFacts, UNKNOWN, cap, unbounded};
use crate::price::{ModelPrice, PriceContext, PriceTable};
use crate::usage::{AnswerFormat, Unit};

pub(super) static ENDPOINTS: [Endpoint; 4] = [
    Endpoint::metered(
        "/v1/messages",
        "messages",
        AnswerFormat::Anthropic,
        messages,
        "https://platform.claude.com/docs/en/about-claude/pricing",
    ),
    // "Token counting is free to use".
    Endpoint::free(
        POST,
        "/v1/messages/count_tokens",
        "messages.count_tokens",
        "https://platform.claude.com/docs/en/build-with-claude/token-counting",
    ),
    Endpoint::free(LOOK, "/v1/models", "models.list", "https://platform.claude.com/docs/en/api/models-list"),
    Endpoint::free(LOOK, "/v1/models/*", "models.retrieve", "https://platform.claude.com/docs/en/api/models"),
];

/// Members that change nothing about what a request costs, or are read below
/// (<https://platform.claude.com/docs/en/api/messages/create>). `diagnostics` asks why a cache was missed,
/// `fallback_credit_token` makes cache writes cheaper.
const MEMBERS: [&str; 24] = [
    "anthropic_beta",
    "anthropic_version",
    "cache_control",
    "context_management",
    "diagnostics",
    "fallback_credit_token",
    "inference_geo",
    "max_tokens",
    "messages",
    "metadata",
    "model",
    "output_config",
    "output_format",
    "service_tier",
    "speed",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
];

/// Members with which the provider works on its own, asks other models, or adds what it keeps.
const ACTIVE: [&str; 5] = ["compaction", "container", "fallbacks", "mcp_servers", "thread"];

/// Those of them that run tools, and ask no other model.
const HOSTED: [&str; 2] = ["container", "mcp_servers"];

/// Kinds of edits that only take something out of the input of a request; the others have a model write a summary
/// (<https://platform.claude.com/docs/en/build-with-claude/context-editing>).
const CLEARING: [&str; 2] = ["clear_thinking_", "clear_tool_uses_"];

/// The input of the models that are not listed in [`SHORT`], and of some of those with `context-1m`
/// (<https://platform.claude.com/docs/en/build-with-claude/context-windows>).
const LONG_WINDOW: u64 = 1_000_000;

/// Parts of names of models that take in less than a million tokens unless they are asked to.
const SHORT: [&str; 9] =
    ["claude-instant", "claude-v", "claude-2", "claude-3", "-4-0", "-4-1", "-4-2", "-4-5", "-4@"];

/// How much a model takes in.
///
/// # Errors
/// It is asked to take in more than usual, which costs more per token, and the price of that is not known.
pub(super) fn window(model: &str, price: Option<&ModelPrice>, betas: Betas) -> Result<Option<u64>, Refused> {
    let known = price.and_then(ModelPrice::context_window);
    if !SHORT.iter().any(|part| model.contains(part)) {
        return Ok(Some(known.unwrap_or_default().max(LONG_WINDOW)));
    }
    if !betas.has_long_input {
        return Ok(known);
    }
    let rates = price.map(|price| price.rates(&PriceContext::default(), Timestamp(0)));
    let figure = rates.as_ref().and_then(|rates| rates.figure(Unit::InputTokens));
    if figure.is_some_and(|figure| figure.tiers.is_empty()) {
        let rule = "asks for a longer input, whose price is not known for this model. Leave it out.";
        return Err(unbounded("anthropic-beta \"context-1m\"", rule));
    }
    Ok(Some(known.unwrap_or_default().max(LONG_WINDOW)))
}

fn messages(
    row: &'static Endpoint,
    question: &Question<'_>,
    prices: &PriceTable,
) -> Result<RequestFacts, Refused> {
    let body = Object::parse(question.body)?;
    let model = cap::name_of_model(&body)?;
    let price = prices.find(question.provider.price_id(), &model);
    read(row, question, &body, model, price)
}

/// Reads a body, which Bedrock takes too.
pub(super) fn read(
    row: &'static Endpoint,
    question: &Question<'_>,
    body: &Object<'_>,
    model: String,
    price: Option<&ModelPrice>,
) -> Result<RequestFacts, Refused> {
    let provider = question.provider;
    for (name, _) in body.iter().filter(|(_, value)| !value.is_null()) {
        if HOSTED.contains(&name) {
            continue;
        }
        if ACTIVE.contains(&name) {
            return Err(unbounded(name, RUNS_THERE));
        }
        if !MEMBERS.contains(&name) && !provider.is_neutral_field(name) {
            return Err(unbounded(name, UNKNOWN));
        }
    }
    let betas = Betas::of(question, body.given("anthropic_beta").as_ref())?;
    if let Some(management) = body.given("context_management") {
        clears_only(&management)?;
    }
    let mut facts = RequestFacts::metered(row);
    let mut blocks = Blocks::new(provider);
    for name in HOSTED {
        if let Some(value) = body.given(name) {
            blocks.input.hosted_tool(&value, name, &HOSTED, name)?;
        }
    }
    if let Some(list) = body.given("tools") {
        blocks.tools(&list, "tools")?;
    }
    if let Some(system) = body.given("system") {
        blocks.system(&system)?;
    }
    if let Some(list) = body.given("messages") {
        blocks.conversation(&list)?;
    }
    if let Some(config) = body.given("output_config") {
        blocks.output_config(&config)?;
    }
    if let Some(format) = body.given("output_format") {
        blocks.input.schema(&format, "output_format")?;
    }
    blocks.input.finish(window(&model, price, betas)?, &mut facts)?;
    facts.cache_write = cache_write(body);
    tier_and_speed(body, price, &mut facts)?;
    let mut output = cap::find(body, &["max_tokens"], price.and_then(ModelPrice::max_output))?;
    if let Some(thinking) = body.given("thinking") {
        output.min = thinking_min(&thinking)?;
    }
    facts.output = Some(output);
    facts.model = Some(model);
    Ok(facts)
}

/// The lowest cap with which a request that thinks is accepted. "Thinking tokens count toward your max_tokens limit",
/// and the budget "must be … less than max_tokens"
/// (<https://platform.claude.com/docs/en/build-with-claude/extended-thinking>). Where thinking is interleaved with calls
/// of tools, the cap that the client asks for may be lower, and then holds as it is.
pub(super) fn thinking_min(thinking: &Value<'_>) -> Result<u64, Refused> {
    let budget = thinking.as_object().and_then(|thinking| thinking.given("budget_tokens"));
    match budget {
        Some(budget) => Ok(cap::whole(&budget, "thinking.budget_tokens")?.saturating_add(1)),
        None => Ok(1),
    }
}

fn clears_only(management: &Value<'_>) -> Result<(), Refused> {
    let malformed =
        || Refused::Malformed("\"context_management\" must be an object with \"edits\".".to_owned());
    let management = management.as_object().ok_or_else(malformed)?;
    for (name, value) in management.iter().filter(|(_, value)| !value.is_null()) {
        if name != "edits" {
            return Err(unbounded(&format!("context_management.{name}"), UNKNOWN));
        }
        for (index, edit) in value.as_array().ok_or_else(malformed)?.iter().enumerate() {
            let kind = edit.as_object().and_then(|edit| edit.given("type")?.as_str()).unwrap_or_default();
            if !CLEARING.iter().any(|start| kind.starts_with(start)) {
                let what = format!("context_management.edits[{index}].type {kind:?}");
                return Err(unbounded(&what, RUNS_THERE));
            }
        }
    }
    Ok(())
}

/// The longest time for which something in the body is to be kept.
fn cache_write(body: &Object<'_>) -> CacheWrite {
    let mentions = |member: &str| body.iter().any(|(name, value)| name == member || value.mentions(member));
    if !mentions("cache_control") {
        CacheWrite::None
    } else if body.iter().any(|(_, value)| value.any_member("ttl", |ttl| ttl.as_deref() != Some("5m"))) {
        CacheWrite::OneHour
    } else {
        CacheWrite::FiveMinutes
    }
}

fn tier_and_speed(
    body: &Object<'_>,
    price: Option<&ModelPrice>,
    facts: &mut RequestFacts,
) -> Result<(), Refused> {
    let text = |name: &str| match body.given(name) {
        Some(value) => match value.as_str() {
            Some(text) => Ok(Some(text)),
            None => Err(Refused::Malformed(format!("{name:?} must be a text."))),
        },
        None => Ok(None),
    };
    if text("service_tier")?.is_some_and(|tier| !matches!(tier.as_ref(), "auto" | "standard_only")) {
        return Err(unbounded("service_tier", "asks for a tier whose price is not known. Leave it out."));
    }
    if let Some(speed) = text("speed")?
        && speed != "standard"
    {
        if !price.is_none_or(|price| price.variants("speed").any(|known| known == speed)) {
            return Err(unbounded("speed", "asks for a speed whose price is not known. Leave it out."));
        }
        facts.context.set("speed", speed);
    }
    // To be served in the United States alone costs a tenth more; what holds if nothing is said is a setting of the
    // workspace: <https://platform.claude.com/docs/en/about-claude/pricing#data-residency-pricing>.
    match text("inference_geo")?.as_deref() {
        Some("global") => {}
        Some("us") => facts.context.set("inference_geo", "us"),
        Some(_) => {
            return Err(unbounded(
                "inference_geo",
                "asks for a place whose price is not known. Leave it out.",
            ));
        }
        None => {
            let mut dearer = facts.context.clone();
            dearer.set("inference_geo", "us");
            facts.other_contexts.push(dearer);
        }
    }
    Ok(())
}
