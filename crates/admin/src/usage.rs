//! `/admin/usage`: what was used, call by call and in sums.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use till_core::key::KeyId;
use till_store::{
    Outcome, TokenCounts, UsageFilter, UsageGroup, UsagePage, UsageQuery, UsageRecord, UsageSum,
};
use utoipa::ToSchema;

use crate::authenticate::Caller;
use crate::error::{ApiError, ErrorBody};
use crate::money_text::usd;
use crate::query::{self, Parameters};
use crate::router::Shared;
use crate::time_text::{day, rfc3339};

/// Longest page.
const PAGE_MAX: u32 = 1000;

/// Length of a page that was not asked for.
const PAGE_DEFAULT: u32 = 100;

/// Tokens by kind, as the answer of the provider has them. Parts are counted in their whole too.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Tokens)]
pub(crate) struct TokensJson {
    /// Input and output together.
    #[schema(example = 1280)]
    total: u64,
    /// Input, cached input included.
    #[schema(example = 1000)]
    input: u64,
    /// Of the input, what was read from a cache.
    #[schema(example = 400)]
    cache_read: u64,
    /// Of the input, what was written to a cache.
    #[schema(example = 0)]
    cache_write: u64,
    /// Output, reasoning included.
    #[schema(example = 280)]
    output: u64,
    /// Of the output, reasoning.
    #[schema(example = 128)]
    reasoning: u64,
    /// Of the input, audio.
    #[schema(example = 0)]
    audio_input: u64,
    /// Of the output, audio.
    #[schema(example = 0)]
    audio_output: u64,
    /// Of the input, images.
    #[schema(example = 0)]
    image_input: u64,
    /// Of the output, images.
    #[schema(example = 0)]
    image_output: u64,
    /// Calls of tools that the provider ran.
    #[schema(example = 0)]
    tool_calls: u64,
}

impl From<TokenCounts> for TokensJson {
    fn from(tokens: TokenCounts) -> Self {
        Self {
            total: tokens.total(),
            input: tokens.input,
            cache_read: tokens.cache_read,
            cache_write: tokens.cache_write,
            output: tokens.output,
            reasoning: tokens.reasoning,
            audio_input: tokens.audio_input,
            audio_output: tokens.audio_output,
            image_input: tokens.image_input,
            image_output: tokens.image_output,
            tool_calls: tokens.tool_calls,
        }
    }
}

/// One call.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UsageRecord)]
pub(crate) struct UsageRecordJson {
    /// Number of the record; higher ones ended later.
    #[schema(example = 7)]
    seq: u64,
    /// When the call came.
    #[schema(format = DateTime, example = "2026-01-31T08:00:00.250Z")]
    at: String,
    /// The id that the answer carried in `x-till-request-id`.
    request_id: String,
    /// Which key called.
    #[schema(example = "key_ADlySp2gash6K23CpSXW7n")]
    key_id: String,
    /// Id of the provider.
    #[schema(example = "openai")]
    provider: String,
    /// The HTTP method.
    #[schema(example = "POST")]
    method: String,
    /// Name of the endpoint; empty for one that is in no table.
    #[schema(example = "chat.completions")]
    endpoint: String,
    /// The model, as the answer or else the request names it.
    #[schema(required = true, example = "gpt-4o-mini-2024-07-18")]
    model: Option<String>,
    /// The status of the provider's answer; null without one.
    #[schema(required = true, example = 200)]
    status: Option<u16>,
    /// How it ended: `complete` (the answer said what was used), `charged` (what was used is not known, so what was
    /// set aside is spent), `unbilled` (the provider does not bill such an answer), `free` (the endpoint costs
    /// nothing), `unmetered` (no limit depends on it and the answer does not say it), `unsent` (provably nothing was
    /// sent), `denied` (till refused it), `lost` (till ended without a stop meanwhile; spent).
    #[schema(example = "complete")]
    outcome: String,
    /// Why it was refused, or why there is no answer of the provider.
    #[schema(required = true, example = json!(null))]
    denial: Option<String>,
    /// What the answer says was used.
    tokens: TokensJson,
    /// Tokens that the key was charged.
    #[schema(example = 1280)]
    charged_tokens: u64,
    /// US dollars that the key was charged, exact to the nano-dollar.
    #[schema(example = "0.00045")]
    charged_usd: String,
    /// Version of the price table that gave the cost; null where there was no price.
    #[schema(required = true, example = "2026-11-23")]
    price_version: Option<String>,
    /// From the request to the end of the answer, in milliseconds.
    #[schema(example = 812)]
    latency_ms: u64,
    /// From the request to the head of the answer, in milliseconds.
    #[schema(required = true, example = 240)]
    first_byte_ms: Option<u64>,
    /// Where the call came from.
    #[schema(required = true, example = "127.0.0.1")]
    client: Option<String>,
    /// Whether the answer was an event stream.
    #[schema(example = true)]
    streamed: bool,
}

impl From<(u64, UsageRecord)> for UsageRecordJson {
    fn from((seq, record): (u64, UsageRecord)) -> Self {
        Self {
            seq,
            at: rfc3339(record.at),
            request_id: record.request_id,
            key_id: record.key.to_string(),
            provider: record.provider.to_string(),
            method: record.method.into_owned(),
            endpoint: record.endpoint.into_owned(),
            model: record.model,
            status: record.status,
            outcome: record.outcome.as_str().to_owned(),
            denial: record.denial.map(|code| code.as_str().to_owned()),
            tokens: record.tokens.into(),
            charged_tokens: record.charged.tokens,
            charged_usd: usd(record.charged.spend_nanos),
            price_version: record.price_version.map(|version| version.to_string()),
            latency_ms: record.latency_ms,
            first_byte_ms: record.first_byte_ms,
            client: record.client.map(|client| client.to_string()),
            streamed: record.streamed,
        }
    }
}

/// Calls, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UsageAnswer)]
pub(crate) struct UsageAnswer {
    /// The calls.
    records: Vec<UsageRecordJson>,
    /// What to send as `before` for those that ended earlier; null when there are none. Only that says whether this is
    /// the last page: one may be short or empty and not be the last.
    #[schema(required = true, example = 7)]
    next_before: Option<u64>,
}

/// List calls
///
/// One record per call, newest first: those that were let through, and of those that were refused at most 20 per key,
/// reason and minute. Records are kept for 90 days unless the server is set up otherwise.
///
/// A page ends when it is full, or when some hundred thousand records were looked at for it: then it may be short or empty
/// although there are more, and `nextBefore` leads on.
#[utoipa::path(get, path = "/admin/usage",
    params(
        ("limit" = Option<u32>, Query, description = "Records per page; 100 when absent", minimum = 1, maximum = 1000),
        ("before" = Option<u64>, Query, description = "`nextBefore` of the page before"),
        ("key" = Option<String>, Query, description = "Only calls of this key"),
        ("project" = Option<String>, Query, description = "Only calls of keys of this project"),
        ("provider" = Option<String>, Query, description = "Only calls to this provider"),
        ("model" = Option<String>, Query, description = "Only calls to this model"),
        ("outcome" = Option<String>, Query, description = "Only calls that ended so", pattern = "^(complete|charged|unbilled|free|unmetered|unsent|denied|lost)$"),
        ("since" = Option<String>, Query, description = "Only calls at or after this time, RFC 3339", format = DateTime),
        ("until" = Option<String>, Query, description = "Only calls before this time, RFC 3339", format = DateTime),
    ),
    responses(
        (status = 200, description = "The calls", body = UsageAnswer),
        (status = 400, description = "A query parameter breaks a rule", body = ErrorBody),
    ))]
pub(crate) async fn usage_list(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<UsageAnswer>, ApiError> {
    let mut parameters = Parameters::parse(&uri)?;
    let page = parameters.take_count("limit", PAGE_MAX)?.unwrap_or(PAGE_DEFAULT);
    let before = parameters.take_number("before")?;
    let outcome = parameters.take("outcome")?;
    let (project, mut filter) = filter(&mut parameters)?;
    parameters
        .finish(&["limit", "before", "outcome", "key", "project", "provider", "model", "since", "until"])?;
    let outcome = outcome.map(|word| Outcome::parse(&word).ok_or_else(unknown_outcome)).transpose()?;
    filter.keys = keys_seen(&shared, &caller, project).await?.map(Arc::new);
    let wanted = UsageQuery { before, limit: page, filter, outcome };
    let UsagePage { records, next_before } = shared.state.store.usage_list(wanted).await?;
    Ok(Json(UsageAnswer { records: records.into_iter().map(UsageRecordJson::from).collect(), next_before }))
}

fn unknown_outcome() -> ApiError {
    let words = Outcome::ALL.map(Outcome::as_str).join(", ");
    query::invalid("outcome", &format!("must be one of {words}"))
}

/// What is asked for: of which project, and what else.
fn filter(parameters: &mut Parameters) -> Result<(Option<String>, UsageFilter), ApiError> {
    let project = parameters.take("project")?;
    let filter = UsageFilter {
        key: parameters.take_key("key")?,
        provider: parameters.take("provider")?,
        model: parameters.take("model")?,
        since: parameters.take_time("since")?,
        until: parameters.take_time("until")?,
        ..UsageFilter::default()
    };
    Ok((project, filter))
}

/// Whose figures are asked for and may be seen.
pub(crate) enum Seen {
    All,
    Project(String),
    Nothing,
}

impl Seen {
    pub(crate) fn of(caller: &Caller, project: Option<String>) -> Self {
        match project.or_else(|| caller.project().map(str::to_owned)) {
            None => Self::All,
            Some(project) if caller.sees(&project) => Self::Project(project),
            Some(_) => Self::Nothing,
        }
    }
}

/// The keys whose calls are asked for and may be seen; `None` is all.
pub(crate) async fn keys_seen(
    shared: &Shared,
    caller: &Caller,
    project: Option<String>,
) -> Result<Option<HashSet<KeyId>>, ApiError> {
    match Seen::of(caller, project) {
        Seen::All => Ok(None),
        Seen::Project(project) => {
            Ok(Some(shared.state.store.project_keys(&project).await?.into_iter().collect()))
        }
        Seen::Nothing => Ok(Some(HashSet::new())),
    }
}

/// A sum over calls. What is not told apart is null.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UsageSum)]
pub(crate) struct UsageSumJson {
    /// The day, UTC.
    #[schema(required = true, example = "2026-01-31")]
    day: Option<String>,
    /// The key.
    #[schema(required = true, example = "key_ADlySp2gash6K23CpSXW7n")]
    key_id: Option<String>,
    /// The project.
    #[schema(required = true, example = json!(null))]
    project: Option<String>,
    /// Id of the provider.
    #[schema(required = true, example = "openai")]
    provider: Option<String>,
    /// The model; empty where it is not known.
    #[schema(required = true, example = "gpt-4o-mini-2024-07-18")]
    model: Option<String>,
    /// The endpoint; empty where it is not known.
    #[schema(required = true, example = json!(null))]
    endpoint: Option<String>,
    /// Whether this is what `top` left over; then all but the day is null.
    #[schema(example = false)]
    rest: bool,
    /// Calls that were let through.
    #[schema(example = 12)]
    calls: u64,
    /// What their answers say was used.
    tokens: TokensJson,
    /// Tokens that were charged for them.
    #[schema(example = 15360)]
    charged_tokens: u64,
    /// US dollars that were charged for them, exact to the nano-dollar.
    #[schema(example = "0.0054")]
    charged_usd: String,
}

impl From<UsageSum> for UsageSumJson {
    fn from(sum: UsageSum) -> Self {
        Self {
            day: sum.day.map(day),
            project: sum.project,
            rest: sum.is_rest,
            key_id: sum.key.map(|key| key.to_string()),
            provider: sum.provider,
            model: sum.model,
            endpoint: sum.endpoint,
            calls: sum.calls,
            tokens: sum.tokens.into(),
            charged_tokens: sum.charged.tokens,
            charged_usd: usd(sum.charged.spend_nanos),
        }
    }
}

/// Sums over calls.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UsageSummaryAnswer)]
pub(crate) struct UsageSummaryAnswer {
    /// The sums: newest day first, dearest first within it.
    sums: Vec<UsageSumJson>,
}

/// Sum up calls
///
/// Sums stay when the records of their calls are deleted. `since` and `until` count whole days, UTC. With `top` the dearest of
/// what is told apart stay as they are, over all days, and the others are one sum per day.
#[utoipa::path(get, path = "/admin/usage/summary",
    params(
        ("group_by" = Option<String>, Query, description = "What to tell apart: any of `key`, `model`, `day`, `provider`, `endpoint`, `project`, separated by commas; without it one sum",
            pattern = "^(key|model|day|provider|endpoint|project)(,(key|model|day|provider|endpoint|project))*$"),
        ("top" = Option<u32>, Query, description = "Only so many, and the rest of them as one", minimum = 1, maximum = 1000),
        ("key" = Option<String>, Query, description = "Only calls of this key"),
        ("project" = Option<String>, Query, description = "Only calls of keys of this project"),
        ("provider" = Option<String>, Query, description = "Only calls to this provider"),
        ("model" = Option<String>, Query, description = "Only calls to this model"),
        ("since" = Option<String>, Query, description = "Only calls on or after this day, RFC 3339", format = DateTime),
        ("until" = Option<String>, Query, description = "Only calls before this time, RFC 3339, to the end of its day", format = DateTime),
    ),
    responses(
        (status = 200, description = "The sums", body = UsageSummaryAnswer),
        (status = 400, description = "A query parameter breaks a rule", body = ErrorBody),
    ))]
pub(crate) async fn usage_summary(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<UsageSummaryAnswer>, ApiError> {
    let mut parameters = Parameters::parse(&uri)?;
    let group = parameters.take("group_by")?;
    let top = parameters.take_count("top", PAGE_MAX)?;
    let (project, mut filter) = filter(&mut parameters)?;
    parameters.finish(&["group_by", "top", "key", "project", "provider", "model", "since", "until"])?;
    let group = self::group(group.as_deref())?;
    match Seen::of(&caller, project) {
        Seen::All => {}
        Seen::Project(project) => filter.project = Some(project),
        Seen::Nothing => return Ok(Json(UsageSummaryAnswer { sums: Vec::new() })),
    }
    let store = &shared.state.store;
    let sums = match top {
        None => store.usage_sum(group, filter).await?,
        Some(top) => store.usage_top(usize::try_from(top).expect("at most 1000"), group, filter).await?,
    };
    Ok(Json(UsageSummaryAnswer { sums: sums.into_iter().map(UsageSumJson::from).collect() }))
}

/// What to tell apart.
fn group(words: Option<&str>) -> Result<UsageGroup, ApiError> {
    let mut group = UsageGroup::default();
    for word in words.into_iter().flat_map(|words| words.split(',')) {
        let flag = match word {
            "key" => &mut group.key,
            "model" => &mut group.model,
            "day" => &mut group.day,
            "provider" => &mut group.provider,
            "endpoint" => &mut group.endpoint,
            "project" => &mut group.project,
            _ => {
                let rule =
                    "must be any of key, model, day, provider, endpoint and project, separated by commas";
                return Err(query::invalid("group_by", rule));
            }
        };
        *flag = true;
    }
    Ok(group)
}
