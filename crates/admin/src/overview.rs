//! `/admin/overview`: what is being spent, and what will end soon, in one answer.
//!
//! Invariants: whoever asks how often, it is worked out at most once a second per project; what it looks at does not grow with
//! the number of calls.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderName, Uri, header};
use axum::response::IntoResponse;
use serde::Serialize;
use till_core::key::{KeyId, KeyStatus};
use till_core::limit::Units;
use till_core::time::{MILLIS_PER_DAY, Month, Timestamp};
use till_store::{Glance, GlanceQuery, KeyCounts, KeyRecord, Outcome, UsageFilter, UsageRecord, UsageSum};
use tokio::sync::Mutex;
use utoipa::ToSchema;

use crate::authenticate::Caller;
use crate::error::{ApiError, ErrorCode};
use crate::key_json::KeyJson;
use crate::money_text::usd;
use crate::query;
use crate::router::Shared;
use crate::time_text::rfc3339;
use crate::usage::keys_seen;

/// How long an answer is good for.
const FRESH: Duration = Duration::from_secs(1);

/// Projects whose answers are kept.
const PROJECTS_MAX: usize = 64;

/// Calls that the share of failed ones is taken from.
const RECENT: u32 = 500;

/// Keys, the last used ones, that may run out soon.
const CANDIDATES: u32 = 200;

/// Keys that are shown of those that run out, and of those that expire.
const SHOWN: u32 = 8;

/// Keys that expire within this time are shown.
const EXPIRES_WITHIN_MS: u64 = 7 * MILLIS_PER_DAY;

/// Keys that run out within this time are shown.
const RUNS_OUT_WITHIN_MS: u64 = 30 * MILLIS_PER_DAY;

/// Least time that a rate is taken from: less says nothing.
const RATE_MS_MIN: u64 = 3_600_000;

/// An answer that was worked out.
struct Kept {
    made: Instant,
    /// What listeners had heard of before it.
    changes: u64,
    answer: Bytes,
}

/// The answers that were worked out last, by project.
#[derive(Default)]
pub(crate) struct Overviews(Mutex<HashMap<Option<String>, Kept>>);

/// What was used in some time.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Period)]
struct PeriodJson {
    /// Calls that were let through.
    #[schema(example = 128)]
    calls: u64,
    /// What their answers say was used.
    #[schema(example = 163_840)]
    tokens: u64,
    /// US dollars that were charged for them, exact to the nano-dollar.
    #[schema(example = "0.0576")]
    charged_usd: String,
    /// Calls that were refused.
    #[schema(example = 3)]
    denials: u64,
}

/// How many keys are in each state.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = KeyCounts)]
struct KeyCountsJson {
    /// They work.
    #[schema(example = 12)]
    active: u64,
    /// Their time has not come.
    #[schema(example = 0)]
    pending: u64,
    /// Somebody stopped them for now.
    #[schema(example = 1)]
    paused: u64,
    /// A limit is reached.
    #[schema(example = 4)]
    exhausted: u64,
    /// Their time is over.
    #[schema(example = 7)]
    expired: u64,
    /// Somebody ended them.
    #[schema(example = 2)]
    revoked: u64,
}

impl From<KeyCounts> for KeyCountsJson {
    fn from(counts: KeyCounts) -> Self {
        Self {
            active: counts.of(KeyStatus::Active),
            pending: counts.of(KeyStatus::Pending),
            paused: counts.of(KeyStatus::Paused),
            exhausted: counts.of(KeyStatus::Exhausted),
            expired: counts.of(KeyStatus::Expired),
            revoked: counts.of(KeyStatus::Revoked),
        }
    }
}

/// The last calls that were let through, at most 500.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RecentCalls)]
struct RecentJson {
    /// How many these are.
    #[schema(example = 500)]
    calls: u64,
    /// Those that the provider answered with a status of 400 and above, or not at all.
    #[schema(example = 6)]
    failed: u64,
    /// When the first of them came; null when there are none.
    #[schema(required = true, format = DateTime, example = "2026-01-31T08:00:00.250Z")]
    since: Option<String>,
}

/// A key that will reach a limit.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Forecast)]
struct ForecastJson {
    /// The key.
    key: KeyJson,
    /// The limit that it reaches first.
    #[schema(example = "spend", pattern = "^(activations|tokens|spend)$")]
    limit: &'static str,
    /// When, if it goes on as since yesterday, 00:00 UTC, or since it was made.
    #[schema(format = DateTime, example = "2026-01-31T17:20:00.000Z")]
    at: String,
}

/// What is being spent, and what will end soon.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Overview)]
pub(crate) struct OverviewJson {
    /// This day, UTC.
    today: PeriodJson,
    /// This month, UTC.
    month: PeriodJson,
    /// Keys by state.
    keys: KeyCountsJson,
    /// The last calls.
    recent: RecentJson,
    /// Keys that will reach a limit within 30 days, soonest first, at most 8.
    running_out: Vec<ForecastJson>,
    /// Keys that end within 7 days, soonest first, at most 8.
    expiring: Vec<KeyJson>,
}

/// The overview.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OverviewAnswer)]
pub(crate) struct OverviewAnswer {
    /// The overview.
    overview: OverviewJson,
}

/// Show the overview
///
/// What was used today and this month, how many keys there are, and which of them will run out or end soon. It is at most a
/// second old.
#[utoipa::path(get, path = "/admin/overview",
    responses((status = 200, description = "The overview of what the caller sees", body = OverviewAnswer)))]
pub(crate) async fn overview(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
) -> Result<impl IntoResponse, ApiError> {
    query::none(&uri)?;
    // Whoever comes meanwhile waits for the same answer.
    let mut kept = shared.overviews.0.lock().await;
    let project = caller.project().map(str::to_owned);
    const KIND: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];
    // Who comes because of a change must not get what was said before it: nobody would tell them again.
    let changes = shared.listeners.changes();
    if let Some(kept) = kept.get(&project)
        && kept.made.elapsed() < FRESH
        && kept.changes == changes
    {
        return Ok((KIND, kept.answer.clone()));
    }
    let answer = OverviewAnswer { overview: work_out(&shared, &caller).await? };
    let answer: Bytes =
        serde_json::to_vec(&answer).map_err(|_| ApiError::plain(ErrorCode::InternalError))?.into();
    if kept.len() >= PROJECTS_MAX {
        kept.retain(|_, kept| kept.made.elapsed() < FRESH);
    }
    if kept.len() < PROJECTS_MAX {
        kept.insert(project, Kept { made: Instant::now(), changes, answer: answer.clone() });
    }
    Ok((KIND, answer))
}

async fn work_out(shared: &Shared, caller: &Caller) -> Result<OverviewJson, ApiError> {
    let store = &shared.state.store;
    let now = store.now();
    let project = caller.project().map(str::to_owned);
    let keys = keys_seen(shared, caller, None).await?;
    let filter = UsageFilter { keys: keys.map(Arc::new), ..UsageFilter::default() };
    let (today, first) = (now.day(), Month::of(now).days().0);
    let yesterday = Timestamp::of_day(today.saturating_sub(1));

    let glance = GlanceQuery {
        filter,
        project,
        days: (first, today + 1),
        keys_since: yesterday,
        calls: RECENT,
        keys_used: CANDIDATES,
        keys_ending: SHOWN,
    };
    let Glance { days, keys: used, denials, calls, keys_used, keys_ending, counts } =
        store.glance(glance).await?;
    let period = |from: u64| {
        let (mut calls, mut tokens, mut spend) = (0_u64, 0_u64, 0_u64);
        for sum in days.iter().filter(|sum| sum.day.is_some_and(|day| day >= from)) {
            calls = calls.saturating_add(sum.calls);
            tokens = tokens.saturating_add(sum.tokens.total());
            spend = spend.saturating_add(sum.charged.spend_nanos);
        }
        let denials = denials.iter().filter(|sum| sum.day >= from).map(|sum| sum.count);
        PeriodJson { calls, tokens, charged_usd: usd(spend), denials: denials.fold(0, u64::saturating_add) }
    };

    let soon = Timestamp(now.0.saturating_add(EXPIRES_WITHIN_MS));
    let expiring =
        keys_ending.into_iter().filter(|key| key.lifetime.expires_at.is_some_and(|end| end < soon));
    Ok(OverviewJson {
        today: period(today),
        month: period(first),
        keys: counts.into(),
        recent: recent(&calls),
        running_out: running_out(keys_used, &used, yesterday, now),
        expiring: expiring.map(KeyJson::from).collect(),
    })
}

fn recent(records: &[(u64, UsageRecord)]) -> RecentJson {
    let sent = records.iter().map(|(_, record)| record).filter(|record| record.outcome != Outcome::Denied);
    sent.fold(RecentJson::default(), |recent, record| RecentJson {
        calls: recent.calls + 1,
        failed: recent.failed + u64::from(record.status.is_none_or(|status| status >= 400)),
        since: Some(rfc3339(record.at)),
    })
}

/// The keys that reach a limit first, if they go on as since then.
fn running_out(
    keys: Vec<KeyRecord>,
    used: &[UsageSum],
    since: Timestamp,
    now: Timestamp,
) -> Vec<ForecastJson> {
    let used: HashMap<KeyId, Units> = used.iter().filter_map(|sum| Some((sum.key?, sum.charged))).collect();
    let mut found: Vec<(Timestamp, &'static str, KeyRecord)> = keys
        .into_iter()
        .filter_map(|key| {
            let (limit, at) = forecast(&key, *used.get(&key.id)?, since, now)?;
            // One that ends before never gets there.
            let ends_before = key.lifetime.expires_at.is_some_and(|end| end < at);
            (!ends_before && at.0 - now.0 < RUNS_OUT_WITHIN_MS).then_some((at, limit, key))
        })
        .collect();
    found.sort_by_key(|(at, ..)| *at);
    found.truncate(usize::try_from(SHOWN).expect("8 fits"));
    let shown = found.into_iter();
    shown.map(|(at, limit, key)| ForecastJson { key: key.into(), limit, at: rfc3339(at) }).collect()
}

/// Which limit a key reaches first, and when.
fn forecast(
    key: &KeyRecord,
    used: Units,
    since: Timestamp,
    now: Timestamp,
) -> Option<(&'static str, Timestamp)> {
    let elapsed = now.0.saturating_sub(since.0.max(key.created_at.0)).max(RATE_MS_MIN);
    let dimensions = [
        ("activations", key.limits.activations, key.used.activations, used.activations),
        ("tokens", key.limits.tokens, key.used.tokens, used.tokens),
        ("spend", key.limits.spend_nanos, key.used.spend_nanos, used.spend_nanos),
    ];
    let reached = dimensions.into_iter().filter_map(|(name, limit, so_far, lately)| {
        let left = limit?.saturating_sub(so_far);
        let wait = (u128::from(left) * u128::from(elapsed)).checked_div(u128::from(lately))?;
        let at = now.0.checked_add(u64::try_from(wait).ok()?)?;
        Some((name, Timestamp(at)))
    });
    reached.min_by_key(|(_, at)| *at)
}
