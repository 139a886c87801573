//! `/admin/kill-switch`: stop everything, at once.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use serde::Serialize;
use utoipa::ToSchema;

use crate::authenticate::Caller;
use crate::error::{ApiError, ErrorBody, ErrorCode};
use crate::json_body::{self, Fields};
use crate::key_create::{flag, invalid, text};
use crate::query;
use crate::router::Shared;
use crate::time_text::rfc3339;

/// Longest reason, in characters.
const REASON_CHARS_MAX: usize = 256;

/// How to turn it.
#[derive(serde::Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = KillSwitchSet, example = json!({"on": true, "reason": "a key leaked"}))]
#[expect(dead_code, reason = "describes the body for the documentation; `parse` reads it")]
pub(crate) struct KillSwitchBody {
    /// Whether everything is to be stopped.
    #[schema(example = true)]
    on: bool,
    /// Why, for those who look: at most 256 characters, only when it is turned on.
    #[schema(example = "a key leaked", max_length = 256)]
    reason: Option<String>,
}

/// The switch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = KillSwitch)]
struct KillSwitchJson {
    /// Whether everything is stopped.
    #[schema(example = false)]
    on: bool,
    /// Since when; null while it is off.
    #[schema(required = true, format = DateTime, example = json!(null))]
    since: Option<String>,
    /// Why, if somebody said so.
    #[schema(required = true, example = json!(null))]
    reason: Option<String>,
}

/// The state of the switch.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = KillSwitchAnswer)]
pub(crate) struct KillSwitchAnswer {
    /// The switch.
    kill_switch: KillSwitchJson,
}

impl KillSwitchAnswer {
    fn of(shared: &Shared) -> Json<Self> {
        let switch = shared.state.store.kill_switch();
        let on = switch.is_some();
        let (since, reason) = switch.map(|switch| (rfc3339(switch.since), switch.reason)).unzip();
        Json(Self { kill_switch: KillSwitchJson { on, since, reason: reason.flatten() } })
    }
}

/// Show the kill switch
#[utoipa::path(get, path = "/admin/kill-switch",
    responses((status = 200, description = "Whether everything is stopped", body = KillSwitchAnswer)))]
pub(crate) async fn kill_switch_show(
    State(shared): State<Arc<Shared>>,
    _caller: Caller,
    uri: Uri,
) -> Result<Json<KillSwitchAnswer>, ApiError> {
    query::none(&uri)?;
    Ok(KillSwitchAnswer::of(&shared))
}

/// Turn the kill switch
///
/// On: every request of every key is refused with `instance_stopped` and every stream is cut, before the answer. It stays on
/// through restarts, until it is turned off. The admin API and readiness are not touched.
#[utoipa::path(put, path = "/admin/kill-switch", request_body = KillSwitchBody,
    responses(
        (status = 200, description = "The switch as it is now", body = KillSwitchAnswer),
        (status = 400, description = "A field or the body breaks a rule", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body is not declared as JSON", body = ErrorBody),
    ))]
pub(crate) async fn kill_switch_set(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<KillSwitchAnswer>, ApiError> {
    query::none(&uri)?;
    let (on, reason) = parse(&json_body::read(&headers, body).await?)?;
    shared.state.store.kill_switch_set(on, reason, caller.actor()).await?;
    Ok(KillSwitchAnswer::of(&shared))
}

fn parse(body: &[u8]) -> Result<(bool, Option<String>), ApiError> {
    let mut fields = Fields::parse(body)?;
    let on = fields.take("on")?;
    let reason = fields.take("reason")?;
    fields.finish(&["on", "reason"])?;
    let on = flag("on", on)?.ok_or_else(|| ApiError::new(ErrorCode::MissingField, "`on` is required"))?;
    let reason = reason.map(|reason| text("reason", reason)).transpose()?;
    if reason.is_some() && !on {
        return Err(invalid("reason", "is for a switch that is turned on"));
    }
    let is_text =
        |reason: &String| reason.chars().count() <= REASON_CHARS_MAX && !reason.chars().any(char::is_control);
    if reason.as_ref().is_some_and(|reason| !is_text(reason)) {
        return Err(invalid(
            "reason",
            &format!("has at most {REASON_CHARS_MAX} characters, no control characters"),
        ));
    }
    Ok((on, reason))
}
