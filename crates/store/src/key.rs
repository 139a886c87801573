//! Scoped keys as they are kept: what the admin API writes and reads.

use serde_json::{Map, Value};
use till_core::key::{KeyId, KeyStatus};
use till_core::lifetime::Lifetime;
use till_core::limit::{Limits, Units};
use till_core::rate::Rates;
use till_core::scope::Scope;
use till_core::time::Timestamp;
use till_core::token::MasterKeyId;

/// The project that is there from the beginning, of keys that name none.
pub const DEFAULT_PROJECT: &str = "default";

/// What a key allows besides its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyOptions {
    /// Whether an output cap may be lowered to what is left; otherwise such a request is refused.
    pub clamp: bool,
    /// Whether requests without a bound pass although there is a limit in tokens or money. The limit can then be
    /// exceeded. Under a ceiling in tokens or money it changes nothing: others share that.
    pub allow_unbounded: bool,
    /// How often it may be used, and how often at once.
    pub rates: Rates,
    /// How far what is on disk is ahead of what is sent.
    pub durability: Durability,
}

impl Default for KeyOptions {
    fn default() -> Self {
        Self {
            clamp: true,
            allow_unbounded: false,
            rates: Rates::default(),
            durability: Durability::default(),
        }
    }
}

/// What is on disk before a request is sent. Either way it covers the request; they differ in what a crash costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A key that is called often has units counted out for many calls at once, at most a hundredth of what is left. A
    /// crash spends those besides the requests in flight.
    #[default]
    Ahead,
    /// A hold for every call. A crash spends the requests in flight and nothing else.
    Call,
}

impl Durability {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Ahead, Self::Call];

    /// The word in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ahead => "ahead",
            Self::Call => "call",
        }
    }

    /// The durability of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|durability| durability.as_str() == word)
    }
}

/// Where a key belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPlace {
    /// The project.
    pub project: String,
    /// The member or admin token that made it, if that is known.
    pub maker: Option<String>,
    /// Name of the upstream credential that it uses; `None` for a key that has its own.
    pub credential: Option<String>,
}

impl Default for KeyPlace {
    fn default() -> Self {
        Self { project: DEFAULT_PROJECT.to_owned(), maker: None, credential: None }
    }
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Public id, made from the token.
    pub id: KeyId,
    /// Where it belongs.
    pub place: KeyPlace,
    /// What it was asked for with, if the request can be repeated: a hash.
    pub request: Option<[u8; 32]>,
    /// Which master key the token was made under, if that is known.
    pub master_key: Option<MasterKeyId>,
    /// SHA-256 of the token. It is not kept; the audit log has a keyed hash of it.
    pub fingerprint: Option<[u8; 32]>,
    /// Id of the provider, such as `openai`.
    pub provider: String,
    /// Where its requests go. Shown to people; what counts is sealed in the token.
    pub origin: String,
    /// Lifetime limits, each at most [`till_core::limit::LIMIT_MAX`].
    pub limits: Limits,
    /// What it allows.
    pub options: KeyOptions,
    /// From when and until when it works.
    pub lifetime: Lifetime,
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
    /// Where it belongs.
    pub place: KeyPlace,
    /// 1 when it is made, one more with every change by an administrator.
    pub version: u64,
    /// As [`NewKey::request`].
    pub request: Option<[u8; 32]>,
    /// Which master key its token was made under, if that is known.
    pub master_key: Option<MasterKeyId>,
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
    /// From when and until when it works.
    pub lifetime: Lifetime,
    /// When it was seen that its time is over.
    pub expired_at: Option<Timestamp>,
    /// Since when it is paused.
    pub paused_at: Option<Timestamp>,
    /// Why it is paused, if whoever did it said so.
    pub paused_reason: Option<String>,
}

/// What to change of a key; the default changes nothing. In what can be absent, the outer `None` leaves it as it is and
/// the inner one takes it away.
#[derive(Clone, Debug, Default)]
pub struct KeyChange {
    /// The version that the change was made from; `None` is any.
    pub version: Option<u64>,
    /// All metadata anew.
    pub metadata: Option<Map<String, Value>>,
    /// The entry `name` of the metadata, after that.
    pub name: Option<Option<String>>,
    /// Whether an output cap may be lowered to what is left.
    pub clamp: Option<bool>,
    /// How far what is on disk is ahead of what is sent.
    pub durability: Option<Durability>,
    /// Limits anew.
    pub limits: LimitChange,
    /// What is added to limits, after that.
    pub add: Units,
    /// Rates anew.
    pub rates: RateChange,
    /// Bounds in time.
    pub lifetime: LifetimeChange,
    /// Whether it is paused.
    pub paused: Option<bool>,
    /// Why it is paused.
    pub paused_reason: Option<String>,
}

/// New limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitChange {
    /// Requests.
    pub activations: Option<Option<u64>>,
    /// Tokens.
    pub tokens: Option<Option<u64>>,
    /// Nano-dollars.
    pub spend_nanos: Option<Option<u64>>,
}

/// New rates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateChange {
    /// See [`Rates::requests_per_minute`].
    pub requests_per_minute: Option<Option<u64>>,
    /// See [`Rates::tokens_per_minute`].
    pub tokens_per_minute: Option<Option<u64>>,
    /// See [`Rates::concurrent`].
    pub concurrent: Option<Option<u64>>,
}

impl RateChange {
    /// The rates after the change.
    pub fn of(&self, before: Rates) -> Rates {
        Rates {
            requests_per_minute: self.requests_per_minute.unwrap_or(before.requests_per_minute),
            tokens_per_minute: self.tokens_per_minute.unwrap_or(before.tokens_per_minute),
            concurrent: self.concurrent.unwrap_or(before.concurrent),
        }
    }
}

/// New bounds in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LifetimeChange {
    /// See [`Lifetime::not_before`].
    pub not_before: Option<Option<Timestamp>>,
    /// See [`Lifetime::expires_at`].
    pub expires_at: Option<Option<Timestamp>>,
    /// See [`Lifetime::activate_by`].
    pub activate_by: Option<Option<Timestamp>>,
    /// See [`Lifetime::idle_expiry_seconds`].
    pub idle_expiry_seconds: Option<Option<u64>>,
}

impl LifetimeChange {
    /// The bounds after the change.
    pub fn of(&self, before: Lifetime) -> Lifetime {
        Lifetime {
            not_before: self.not_before.unwrap_or(before.not_before),
            expires_at: self.expires_at.unwrap_or(before.expires_at),
            activate_by: self.activate_by.unwrap_or(before.activate_by),
            idle_expiry_seconds: self.idle_expiry_seconds.unwrap_or(before.idle_expiry_seconds),
        }
    }
}

/// What of a key can be changed and stands in its row, not in its account.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct KeyDetails {
    pub(crate) version: u64,
    pub(crate) place: KeyPlace,
    pub(crate) provider: String,
    pub(crate) created_at: Timestamp,
    pub(crate) options: KeyOptions,
    pub(crate) metadata: Map<String, Value>,
    pub(crate) paused_reason: Option<String>,
}

/// What keys are sorted by. Among those that are alike, by when they were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeySort {
    /// When they were made.
    #[default]
    Created,
    /// When they last let a request through; those that never did are the oldest.
    LastUsed,
    /// When they end if nothing more happens; those that do not are the last to end.
    Expires,
}

impl KeySort {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Created, Self::LastUsed, Self::Expires];

    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::LastUsed => "last_used",
            Self::Expires => "expires",
        }
    }

    /// The order of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sort| sort.as_str() == word)
    }
}

/// Which keys to list. The default is all of them, newest first.
#[derive(Clone, Debug, Default)]
pub struct KeyQuery {
    /// What they are sorted by.
    pub sort: KeySort,
    /// Least first, not greatest first.
    pub ascending: bool,
    /// Only keys that come after this one in the list, as it stands now.
    pub after: Option<KeyId>,
    /// At most so many.
    pub limit: Option<u32>,
    /// Only keys in this state.
    pub status: Option<KeyStatus>,
    /// Only keys of this project.
    pub project: Option<String>,
    /// Only keys that this member or admin token made.
    pub maker: Option<String>,
    /// Only keys that use this upstream credential.
    pub credential: Option<String>,
    /// Only keys of this provider.
    pub provider: Option<String>,
    /// Only keys whose tokens were made under this master key.
    pub master_key: Option<MasterKeyId>,
    /// Only keys that were made before.
    pub created_before: Option<Timestamp>,
    /// Only keys that were last used before, or never used and made before.
    pub last_used_before: Option<Timestamp>,
    /// Only keys with this entry, a text, in their metadata.
    pub metadata: Option<(String, String)>,
    /// Only keys with this in their name, in any case of the letters of ASCII, or whose id begins so.
    pub search: Option<String>,
}

impl KeyQuery {
    /// What is searched for, as names are compared, and the ids that begin so.
    pub(crate) fn searched(&self) -> Option<(String, Option<(KeyId, KeyId)>)> {
        self.search.as_ref().map(|text| (text.to_ascii_lowercase(), KeyId::starting_with(text)))
    }
}

/// How many keys are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyCounts([u64; KeyStatus::ALL.len()]);

impl KeyCounts {
    /// Those in this state.
    pub fn of(&self, status: KeyStatus) -> u64 {
        self.0[status as usize]
    }

    pub(crate) fn add(&mut self, status: KeyStatus, count: u64) {
        self.0[status as usize] += count;
    }
}

/// Figures over all keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountSummary {
    /// Keys ever made, revoked ones included.
    pub keys: u64,
    /// Activations used in the current month, UTC.
    pub activations_this_month: u64,
}
