//! Scoped keys as they are kept: what the admin API writes and reads.

use serde_json::{Map, Value};
use till_core::key::{KeyId, KeyStatus};
use till_core::limit::{Limits, Units};
use till_core::scope::Scope;
use till_core::time::Timestamp;

/// The project of every key until there are more.
pub const DEFAULT_PROJECT: &str = "default";

/// What a key allows besides its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyOptions {
    /// Whether an output cap may be lowered to what is left; otherwise such a request is refused.
    pub clamp: bool,
    /// Whether requests without a bound pass although there is a limit in tokens or money. The limit can then be
    /// exceeded.
    pub allow_unbounded: bool,
}

impl Default for KeyOptions {
    fn default() -> Self {
        Self { clamp: true, allow_unbounded: false }
    }
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Public id, made from the token.
    pub id: KeyId,
    /// Id of the provider, such as `openai`.
    pub provider: String,
    /// Where its requests go. Shown to people; what counts is sealed in the token.
    pub origin: String,
    /// Lifetime limits, each at most [`till_core::limit::LIMIT_MAX`].
    pub limits: Limits,
    /// What it allows.
    pub options: KeyOptions,
    /// What it may call, and from where.
    pub scope: Scope,
    /// Whatever the admin wants to keep with it.
    pub metadata: Map<String, Value>,
}

/// A key with its figures, as of one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyRecord {
    /// Public id.
    pub id: KeyId,
    /// Project that it belongs to.
    pub project: String,
    /// Id of the provider.
    pub provider: String,
    /// Where its requests go.
    pub origin: String,
    /// Lifetime limits.
    pub limits: Limits,
    /// What it allows.
    pub options: KeyOptions,
    /// What it may call, and from where.
    pub scope: Scope,
    /// Spent, held, escrowed and burnt together. An amount above 2⁶⁴−1, which only a lying upstream can
    /// cause, is shown as 2⁶⁴−1; the ledger has the exact one.
    pub used: Units,
    /// What it may still do.
    pub status: KeyStatus,
    /// Whatever the admin keeps with it.
    pub metadata: Map<String, Value>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last granted a hold.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// Which keys to list. The default is all of them.
#[derive(Clone, Debug, Default)]
pub struct KeyQuery {
    /// Only keys that come after this one in the list, newest first.
    pub after: Option<KeyId>,
    /// At most so many.
    pub limit: Option<u32>,
    /// Only keys in this state.
    pub status: Option<KeyStatus>,
    /// Only keys of this provider.
    pub provider: Option<String>,
}

/// Figures over all keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountSummary {
    /// Keys ever made, revoked ones included.
    pub keys: u64,
    /// Activations used in the current month, UTC.
    pub activations_this_month: u64,
}
