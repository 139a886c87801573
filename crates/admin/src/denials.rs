//! `/admin/denials/summary`: how often calls were refused, and why.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use serde::Serialize;
use till_core::time::Timestamp;
use till_store::{DenialQuery, DenialSum};
use utoipa::ToSchema;

use crate::authenticate::Caller;
use crate::error::{ApiError, ErrorBody};
use crate::query::{self, Parameters};
use crate::router::Shared;
use crate::time_text::day;
use crate::usage::Seen;

/// A sum over denials. What is not told apart is null.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DenialSum)]
pub(crate) struct DenialSumJson {
    /// The day, UTC.
    #[schema(required = true, example = "2026-01-31")]
    day: Option<String>,
    /// The key; also null for those that were counted without it, because there were too many.
    #[schema(required = true, example = "key_ADlySp2gash6K23CpSXW7n")]
    key_id: Option<String>,
    /// Why.
    #[schema(required = true, example = "activations_exhausted")]
    code: Option<String>,
    /// How often.
    #[schema(example = 12)]
    count: u64,
}

/// Sums over denials.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DenialSummaryAnswer)]
pub(crate) struct DenialSummaryAnswer {
    /// The sums: newest day first, most first within it.
    sums: Vec<DenialSumJson>,
}

/// What is told apart.
#[derive(Clone, Copy, Debug, Default)]
struct Apart {
    day: bool,
    key: bool,
    code: bool,
}

/// Sum up denials
///
/// How often till refused calls of known keys, by reason. Sums stay for ever. `since` and `until` count whole days, UTC.
#[utoipa::path(get, path = "/admin/denials/summary",
    params(
        ("group_by" = Option<String>, Query, description = "What to tell apart: any of `code`, `key`, `day`, separated by commas; without it one sum",
            pattern = "^(code|key|day)(,(code|key|day))*$"),
        ("key" = Option<String>, Query, description = "Only calls of this key"),
        ("project" = Option<String>, Query, description = "Only calls of keys of this project"),
        ("since" = Option<String>, Query, description = "Only calls on or after this day, RFC 3339", format = DateTime),
        ("until" = Option<String>, Query, description = "Only calls before this time, RFC 3339, to the end of its day", format = DateTime),
    ),
    responses(
        (status = 200, description = "The sums", body = DenialSummaryAnswer),
        (status = 400, description = "A query parameter breaks a rule", body = ErrorBody),
    ))]
pub(crate) async fn denial_summary(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<DenialSummaryAnswer>, ApiError> {
    let mut parameters = Parameters::parse(&uri)?;
    let apart = apart(parameters.take("group_by")?.as_deref())?;
    let key = parameters.take_key("key")?;
    let project = parameters.take("project")?;
    let since = parameters.take_time("since")?.map_or(0, Timestamp::day);
    let until = parameters.take_time("until")?.map_or(u64::MAX, Timestamp::first_day_from);
    parameters.finish(&["group_by", "key", "project", "since", "until"])?;
    let project = match Seen::of(&caller, project) {
        Seen::All => None,
        Seen::Project(project) => Some(project),
        Seen::Nothing => return Ok(Json(DenialSummaryAnswer { sums: Vec::new() })),
    };
    let query = DenialQuery { days: (since, until), key, project, by_key: apart.key };
    let sums = shared.state.store.denial_sums(query).await?;
    Ok(Json(DenialSummaryAnswer { sums: told_apart(sums.into_iter(), apart) }))
}

fn told_apart(sums: impl Iterator<Item = DenialSum>, apart: Apart) -> Vec<DenialSumJson> {
    let mut counts: BTreeMap<_, u64> = BTreeMap::new();
    for sum in sums {
        let place =
            (apart.day.then_some(sum.day), sum.key.filter(|_| apart.key), apart.code.then_some(sum.code));
        let count = counts.entry(place).or_insert(0);
        *count = count.saturating_add(sum.count);
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|((day, ..), count)| std::cmp::Reverse((*day, *count)));
    let shown = counts.into_iter().map(|((on, key, code), count)| DenialSumJson {
        day: on.map(day),
        key_id: key.map(|key| key.to_string()),
        code: code.map(|code| code.as_str().to_owned()),
        count,
    });
    shown.collect()
}

fn apart(words: Option<&str>) -> Result<Apart, ApiError> {
    let mut apart = Apart::default();
    for word in words.into_iter().flat_map(|words| words.split(',')) {
        match word {
            "day" => apart.day = true,
            "key" => apart.key = true,
            "code" => apart.code = true,
            _ => {
                let rule = "must be any of code, key and day, separated by commas";
                return Err(query::invalid("group_by", rule));
            }
        }
    }
    Ok(apart)
}
