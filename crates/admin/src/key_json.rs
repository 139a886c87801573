//! A key as the API shows it.
//!
//! Names and types follow the published Till API, so that its clients read them; what we added has the same
//! style. Invariants: lists, maps and `used*` are never null; an unset `max*` is null; a scoped key is shown
//! in the answer to its creation, or once by its claim link, and nowhere else.

use serde::Serialize;
use serde_json::{Map, Value};
use till_core::scope::Scope;
use till_core::secret::Secret;
use till_core::time::Timestamp;
use till_store::KeyRecord;
use utoipa::ToSchema;

use crate::key_rate::RateJson;
use crate::money_text::{limit_cents, usd, used_cents};
use crate::scope_json::ScopeJson;
use crate::time_text::rfc3339;

/// A scoped key: its limits, what is used of them, and its state.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Key)]
pub(crate) struct KeyJson {
    /// Public id. It says nothing about the scoped key itself.
    #[schema(example = "key_ADlySp2gash6K23CpSXW7n")]
    id: String,
    /// The project that the key belongs to.
    #[schema(example = "default")]
    tenant_id: String,
    /// The member or admin token that made it; null for keys of earlier versions of till.
    #[schema(required = true, example = "tok_0a1b2c3d4e5f60718293")]
    created_by: Option<String>,
    /// Name of the upstream credential that it was minted from; null for a key that has its own.
    #[schema(required = true, example = json!(null))]
    upstream: Option<String>,
    /// 1 when it is made, one more with every change by an administrator: the `ETag`.
    #[schema(example = 1)]
    version: u64,
    /// Id of the provider.
    #[schema(example = "openai")]
    provider: String,
    /// Where its requests go. What counts is sealed in the scoped key.
    #[schema(example = "https://api.openai.com")]
    origin: String,
    /// Id of the master key that the scoped key was made under; null is not known.
    #[schema(required = true, example = "5f0c3a9e")]
    master_key: Option<String>,
    /// `active`, `pending` before its time, `paused`, `exhausted` when a limit is reached, `expired` or `revoked`. When
    /// several hold, the last of these.
    #[schema(example = "active")]
    status: String,
    /// Requests it is good for; null is unlimited.
    #[schema(required = true, example = 50)]
    max_activations: Option<u64>,
    /// Requests spent or in flight.
    #[schema(example = 12)]
    used_activations: u64,
    /// Tokens it is good for; null is unlimited.
    #[schema(required = true, example = json!(null))]
    max_tokens: Option<u64>,
    /// Tokens spent or in flight.
    #[schema(example = 0)]
    used_tokens: u64,
    /// Money it is good for in US cents, rounded down; null is unlimited.
    #[schema(required = true, example = json!(null))]
    max_spend_cents: Option<u64>,
    /// Money spent or in flight in US cents, rounded up.
    #[schema(example = 0)]
    used_spend_cents: u64,
    /// Money it is good for in US dollars, exact to the nano-dollar; null is unlimited.
    #[schema(required = true, example = json!(null))]
    max_spend_usd: Option<String>,
    /// Money spent or in flight in US dollars, exact to the nano-dollar.
    #[schema(example = "0.00")]
    used_spend_usd: String,
    /// Whether till may lower the output cap of a request to what is left.
    #[schema(example = true)]
    clamp: bool,
    /// Whether requests pass whose cost nothing bounds: the limits in tokens and money can then be exceeded.
    #[schema(example = false)]
    danger_allow_unbounded: bool,
    /// What is on disk before a request is sent: units for many calls at once (`ahead`) or a hold for every call (`call`).
    #[schema(example = "ahead", pattern = "^(ahead|call)$")]
    durability: &'static str,
    /// What it may call; a part that is absent allows everything.
    #[schema(value_type = ScopeJson)]
    scope: Scope,
    /// How often it may be used.
    rate: RateJson,
    /// Networks it may be used from; an empty list is everywhere.
    #[schema(example = json!([]))]
    ip_whitelist: Vec<String>,
    /// When it was made.
    #[schema(format = DateTime, example = "2026-01-31T08:00:00Z")]
    created_at: String,
    /// When a request was last let through; null is never.
    #[schema(required = true, format = DateTime, example = "2026-01-31T08:05:12.031Z")]
    last_used_at: Option<String>,
    /// When it was revoked; null is never.
    #[schema(required = true, format = DateTime, example = json!(null))]
    revoked_at: Option<String>,
    /// When it ends; null is never.
    #[schema(required = true, format = DateTime, example = "2027-01-31T08:00:00Z")]
    expires_at: Option<String>,
    /// When it begins; null is at once.
    #[schema(required = true, format = DateTime, example = json!(null))]
    not_before: Option<String>,
    /// By when its first request has to come; null is any time.
    #[schema(required = true, format = DateTime, example = json!(null))]
    activate_by: Option<String>,
    /// Seconds without a request after which it ends; null is never.
    #[schema(required = true, example = json!(null))]
    idle_expiry_seconds: Option<u64>,
    /// Since when it is paused; null is not.
    #[schema(required = true, format = DateTime, example = json!(null))]
    paused_at: Option<String>,
    /// Why it is paused, if somebody said so.
    #[schema(required = true, example = json!(null))]
    paused_reason: Option<String>,
    /// What was given at creation.
    #[schema(value_type = Object, example = json!({"name": "nightly crawler"}))]
    metadata: Map<String, Value>,
}

impl From<KeyRecord> for KeyJson {
    fn from(key: KeyRecord) -> Self {
        Self {
            id: key.id.to_string(),
            tenant_id: key.place.project,
            created_by: key.place.maker,
            upstream: key.place.credential,
            version: key.version,
            provider: key.provider,
            origin: key.origin,
            master_key: key.master_key.map(|id| id.to_string()),
            status: key.status.as_str().to_owned(),
            max_activations: key.limits.activations,
            used_activations: key.used.activations,
            max_tokens: key.limits.tokens,
            used_tokens: key.used.tokens,
            max_spend_cents: key.limits.spend_nanos.map(limit_cents),
            used_spend_cents: used_cents(key.used.spend_nanos),
            max_spend_usd: key.limits.spend_nanos.map(usd),
            used_spend_usd: usd(key.used.spend_nanos),
            clamp: key.options.clamp,
            danger_allow_unbounded: key.options.allow_unbounded,
            durability: key.options.durability.as_str(),
            ip_whitelist: key.scope.networks.iter().flatten().map(ToString::to_string).collect(),
            scope: key.scope,
            rate: key.options.rates.into(),
            created_at: rfc3339(key.created_at),
            last_used_at: key.last_used_at.map(rfc3339),
            revoked_at: key.revoked_at.map(rfc3339),
            expires_at: key.lifetime.expires_at.map(rfc3339),
            not_before: key.lifetime.not_before.map(rfc3339),
            activate_by: key.lifetime.activate_by.map(rfc3339),
            idle_expiry_seconds: key.lifetime.idle_expiry_seconds,
            paused_at: key.paused_at.map(rfc3339),
            paused_reason: key.paused_reason,
            metadata: key.metadata,
        }
    }
}

/// One key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KeyAnswer)]
pub(crate) struct KeyAnswer {
    /// The key.
    pub(crate) key: KeyJson,
}

/// A new key and, this once, the scoped key itself.
// No `Debug`: it holds a credential.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CreatedKey)]
pub(crate) struct CreatedKeyJson {
    /// The key.
    #[serde(flatten)]
    key: KeyJson,
    /// What the agent uses in place of the real key. Shown this once and stored nowhere. Absent when there is a claim link.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "till_sk_…", read_only)]
    scoped_key: Option<String>,
    /// With `claim_ttl_seconds` only, in place of `scopedKey`: a link that shows it once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "http://127.0.0.1:4100/claim/0T2WDP8pZgu0DNrTZ8mTGa#…", read_only)]
    claim_url: Option<String>,
    /// When the link ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, format = DateTime, example = "2026-01-31T09:00:00Z")]
    claim_expires_at: Option<String>,
}

/// How a new key gets to who uses it.
pub(crate) enum HandOver<'a> {
    /// In the answer to its creation.
    Now(&'a Secret),
    /// By this link, until then.
    ByLink(String, Timestamp),
}

impl CreatedKeyJson {
    /// Renders a new key. This is where a scoped key leaves the program.
    pub(crate) fn new(key: KeyRecord, hand_over: HandOver<'_>) -> Self {
        let key = key.into();
        match hand_over {
            HandOver::Now(scoped_key) => {
                let scoped_key = scoped_key.reveal_str().expect("a scoped key is ASCII").to_owned();
                Self { key, scoped_key: Some(scoped_key), claim_url: None, claim_expires_at: None }
            }
            HandOver::ByLink(url, until) => {
                Self { key, scoped_key: None, claim_url: Some(url), claim_expires_at: Some(rfc3339(until)) }
            }
        }
    }
}

/// A new key.
#[derive(Serialize, ToSchema)]
#[schema(as = KeyCreateAnswer)]
pub(crate) struct KeyCreateAnswer {
    /// The new key.
    pub(crate) key: CreatedKeyJson,
}

/// Keys, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = KeyListAnswer)]
pub(crate) struct KeyListAnswer {
    /// The keys.
    pub(crate) keys: Vec<KeyJson>,
    /// With `limit` only: what to send as `cursor` for the keys that follow; null when there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "key_ADlySp2gash6K23CpSXW7n")]
    pub(crate) next_cursor: Option<Option<String>>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};
    use till_core::key::{KeyId, KeyStatus};
    use till_core::lifetime::Lifetime;
    use till_core::limit::{Limits, Units};
    use till_core::time::Timestamp;
    use till_core::token::MasterKeyId;
    use till_store::{KeyOptions, KeyRecord};

    use super::KeyJson;

    #[test]
    fn renders_every_figure() {
        let record = KeyRecord {
            id: KeyId([0; 16]),
            place: Default::default(),
            version: 3,
            request: None,
            master_key: Some(MasterKeyId([0x5f, 0, 0, 1])),
            provider: "openai".into(),
            origin: "https://api.openai.com".into(),
            limits: Limits { activations: None, tokens: Some(9), spend_nanos: Some(19_999_999) },
            used: Units { activations: 3, tokens: 0, spend_nanos: 10_000_001 },
            options: KeyOptions::default(),
            scope: serde_json::from_value(json!({"networks": ["10.0.0.0/8"]})).unwrap(),
            status: KeyStatus::Exhausted,
            metadata: Map::new(),
            created_at: Timestamp(1_000),
            last_used_at: Some(Timestamp(2_000)),
            revoked_at: None,
            lifetime: Lifetime { expires_at: Some(Timestamp(9_000)), ..Lifetime::default() },
            expired_at: None,
            paused_at: Some(Timestamp(3_000)),
            paused_reason: Some("lunch".into()),
        };
        assert_eq!(
            serde_json::to_value(KeyJson::from(record)).unwrap(),
            json!({
                "id": "key_0000000000000000000000", "tenantId": "default", "createdBy": null, "upstream": null, "version": 3, "provider": "openai",
                "origin": "https://api.openai.com", "masterKey": "5f000001", "status": "exhausted",
                "maxActivations": null, "usedActivations": 3, "maxTokens": 9, "usedTokens": 0,
                "maxSpendCents": 1, "usedSpendCents": 2,
                "maxSpendUsd": "0.019999999", "usedSpendUsd": "0.010000001",
                "clamp": true, "dangerAllowUnbounded": false, "durability": "ahead",
                "rate": {"requestsPerMinute": null, "tokensPerMinute": null, "concurrent": null},
                "scope": {"networks": ["10.0.0.0/8"]}, "ipWhitelist": ["10.0.0.0/8"], "createdAt": "1970-01-01T00:00:01.000Z", "lastUsedAt": "1970-01-01T00:00:02.000Z",
                "revokedAt": null, "expiresAt": "1970-01-01T00:00:09.000Z", "notBefore": null, "activateBy": null,
                "idleExpirySeconds": null, "pausedAt": "1970-01-01T00:00:03.000Z", "pausedReason": "lunch", "metadata": {}
            })
        );
    }
}
