//! `GET /key`: what a scoped key may know about itself. It costs nothing.

use std::net::IpAddr;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use till_core::denial::{Denial, DenialCode};
use till_core::fields::Fields;
use till_core::money::Dollars;
use till_providers::scope::check_network;
use till_store::{KeyRecord, Store};

use crate::authenticate::Authenticated;
use crate::body::Answer;

/// Answers for the key that the request carries.
///
/// # Errors
/// `malformed_request` for another method, `network_denied`, `invalid_key` when the row is gone, `ledger_unavailable`.
pub(crate) async fn self_check(
    store: &Store,
    key: &Authenticated,
    method: &Method,
    client: Option<IpAddr>,
) -> Result<Answer, Denial> {
    if method != Method::GET && method != Method::HEAD {
        return Err(Denial::new(DenialCode::MalformedRequest, "/key is read with GET."));
    }
    let record = store.key_fetch(key.key().id).await.map_err(|error| {
        tracing::error!(key = %key.key().id, error = %error, "self-check failed");
        Denial::new(DenialCode::LedgerUnavailable, "till could not read this key's state. Try again.")
    })?;
    let record = record.ok_or_else(|| {
        Denial::new(DenialCode::InvalidKey, "This scoped key is not known here. Ask for a new one.")
    })?;
    check_network(&record.scope, client)
        .inspect_err(|denial| store.denial_record(key.key().id, denial.code))?;
    let fields = Fields::from_iter([("content-type", "application/json"), ("cache-control", "no-store")]);
    Ok(Answer::ready(StatusCode::OK, fields, render(&record).to_string()))
}

/// Fewer fields than an admin sees, with the same names: no metadata, no address.
fn render(record: &KeyRecord) -> Value {
    let (limits, used, rates) = (record.limits, record.used, record.options.rates);
    let left = |limit: Option<u64>, used: u64| limit.map(|limit| limit.saturating_sub(used));
    let dollars = |nanos: u64| Dollars(nanos.into()).to_string();
    json!({
        "key": {
            "id": record.id.to_string(),
            "provider": record.provider,
            "status": record.status.as_str(),
            "maxActivations": limits.activations,
            "usedActivations": used.activations,
            "remainingActivations": left(limits.activations, used.activations),
            "maxTokens": limits.tokens,
            "usedTokens": used.tokens,
            "remainingTokens": left(limits.tokens, used.tokens),
            "maxSpendUsd": limits.spend_nanos.map(dollars),
            "usedSpendUsd": dollars(used.spend_nanos),
            "remainingSpendUsd": left(limits.spend_nanos, used.spend_nanos).map(dollars),
            "expiresAt": record.lifetime.expires_at.map(|at| at.to_string()),
            "notBefore": record.lifetime.not_before.map(|at| at.to_string()),
            "activateBy": record.lifetime.activate_by.map(|at| at.to_string()),
            "idleExpirySeconds": record.lifetime.idle_expiry_seconds,
            "rate": {
                "requestsPerMinute": rates.requests_per_minute,
                "tokensPerMinute": rates.tokens_per_minute,
                "concurrent": rates.concurrent,
            },
            "clamp": record.options.clamp,
            "dangerAllowUnbounded": record.options.allow_unbounded,
            "durability": record.options.durability.as_str(),
            "scope": record.scope,
        }
    })
}
