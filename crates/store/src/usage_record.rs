//! Records of calls, and sums over them.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use till_core::denial::DenialCode;
use till_core::key::KeyId;
use till_core::ledger::{HoldId, HoldKind, OpenHold};
use till_core::limit::Units;
use till_core::time::Timestamp;

/// What became of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageRecord {
    /// When it was let through or refused, by the clock of the store ([`crate::Store::now`]).
    pub at: Timestamp,
    /// The id that the answer carries.
    pub request_id: String,
    /// Who called.
    pub key: KeyId,
    /// Id of the provider.
    pub provider: Arc<str>,
    /// The HTTP method.
    pub method: Cow<'static, str>,
    /// Name of the endpoint; empty for one that is in no table.
    pub endpoint: Cow<'static, str>,
    /// The model, as the answer or else the request names it.
    pub model: Option<String>,
    /// The status of the provider's answer.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it was refused, or why there is no answer of the provider.
    pub denial: Option<DenialCode>,
    /// What the answer says was used.
    pub tokens: TokenCounts,
    /// What the key was charged. Filled in by the store.
    pub charged: Units,
    /// Version of the price table that gave the cost; `None` without a price.
    pub price_version: Option<Arc<str>>,
    /// From the request to the end of the answer, in milliseconds.
    pub latency_ms: u64,
    /// From the request to the head of the answer, in milliseconds.
    pub first_byte_ms: Option<u64>,
    /// Where the call came from.
    pub client: Option<IpAddr>,
    /// Whether the answer was an event stream.
    pub streamed: bool,
}

/// Tokens and calls of tools by kind. Parts are counted in their whole too: cached input is input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenCounts {
    /// Input.
    pub input: u64,
    /// Of it, read from a cache.
    pub cache_read: u64,
    /// Of it, written to a cache.
    pub cache_write: u64,
    /// Output.
    pub output: u64,
    /// Of it, reasoning.
    pub reasoning: u64,
    /// Of the input, audio.
    pub audio_input: u64,
    /// Of the output, audio.
    pub audio_output: u64,
    /// Of the input, images.
    pub image_input: u64,
    /// Of the output, images.
    pub image_output: u64,
    /// Tools that the provider ran.
    pub tool_calls: u64,
}

impl TokenCounts {
    /// How many kinds there are.
    pub const KINDS: usize = 10;

    /// The counts in the order of the fields.
    pub fn to_array(self) -> [u64; Self::KINDS] {
        [
            self.input,
            self.cache_read,
            self.cache_write,
            self.output,
            self.reasoning,
            self.audio_input,
            self.audio_output,
            self.image_input,
            self.image_output,
            self.tool_calls,
        ]
    }

    /// The other way round.
    pub fn from_array(counts: [u64; Self::KINDS]) -> Self {
        let [
            input,
            cache_read,
            cache_write,
            output,
            reasoning,
            audio_input,
            audio_output,
            image_input,
            image_output,
            tool_calls,
        ] = counts;
        Self {
            input,
            cache_read,
            cache_write,
            output,
            reasoning,
            audio_input,
            audio_output,
            image_input,
            image_output,
            tool_calls,
        }
    }

    /// Adds the counts of another. They are far from their ends.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.input, other.input),
            (&mut self.cache_read, other.cache_read),
            (&mut self.cache_write, other.cache_write),
            (&mut self.output, other.output),
            (&mut self.reasoning, other.reasoning),
            (&mut self.audio_input, other.audio_input),
            (&mut self.audio_output, other.audio_output),
            (&mut self.image_input, other.image_input),
            (&mut self.image_output, other.image_output),
            (&mut self.tool_calls, other.tool_calls),
        ] {
            *mine = mine.wrapping_add(theirs);
        }
    }

    /// The words of the kinds, in the order of the fields.
    pub const WORDS: [&'static str; Self::KINDS] = [
        "input",
        "cache_read",
        "cache_write",
        "output",
        "reasoning",
        "audio_input",
        "audio_output",
        "image_input",
        "image_output",
        "tool_calls",
    ];

    /// Input and output together.
    pub fn total(&self) -> u64 {
        self.input.saturating_add(self.output)
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The answer said what was used.
    Complete,
    /// What was used is not known: what was held is spent.
    Charged,
    /// The provider documents that such an answer is not billed.
    Unbilled,
    /// The provider documents that the endpoint costs nothing.
    Free,
    /// No limit depends on what was used, and the answer does not say it.
    Unmetered,
    /// Provably nothing was sent: what was held is given back.
    Unsent,
    /// till refused it.
    Denied,
    /// till ended without a stop while it was under way: what was held is spent.
    Lost,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Complete,
        Self::Charged,
        Self::Unbilled,
        Self::Free,
        Self::Unmetered,
        Self::Unsent,
        Self::Denied,
        Self::Lost,
    ];

    /// The word in answers and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Charged => "charged",
            Self::Unbilled => "unbilled",
            Self::Free => "free",
            Self::Unmetered => "unmetered",
            Self::Unsent => "unsent",
            Self::Denied => "denied",
            Self::Lost => "lost",
        }
    }

    /// The outcome of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }
}

/// Which records to list, newest first. The default is the newest 100.
#[derive(Clone, Debug)]
pub struct UsageQuery {
    /// Only records before this number.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: u32,
    /// Only those that fit.
    pub filter: UsageFilter,
    /// Only calls that ended so.
    pub outcome: Option<Outcome>,
}

impl Default for UsageQuery {
    fn default() -> Self {
        Self { before: None, limit: 100, filter: UsageFilter::default(), outcome: None }
    }
}

/// Records of calls, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsagePage {
    /// The records with their numbers.
    pub records: Vec<(u64, UsageRecord)>,
    /// What to ask for `before` to go on; `None` when there are no more.
    pub next_before: Option<u64>,
}

impl UsagePage {
    /// A page out of the first records that were found: with one more than it has room for there are more.
    pub(crate) fn of(mut records: Vec<(u64, UsageRecord)>, limit: u32, next_before: Option<u64>) -> Self {
        let limit = limit as usize;
        let is_cut = records.len() > limit;
        records.truncate(limit);
        let last = records.last().map(|(seq, _)| *seq).filter(|_| is_cut);
        Self { records, next_before: last.or(next_before) }
    }
}

/// Which calls to look at.
#[derive(Clone, Debug, Default)]
pub struct UsageFilter {
    /// Only those of this key.
    pub key: Option<KeyId>,
    /// Only those of these keys. Sums look each of them up.
    pub keys: Option<Arc<HashSet<KeyId>>>,
    /// Only those of keys of this project. Sums know it, lists of records are given the keys.
    pub project: Option<String>,
    /// Only those of this provider.
    pub provider: Option<String>,
    /// Only those of this model.
    pub model: Option<String>,
    /// Only those at or after this moment. Sums know whole days, UTC.
    pub since: Option<Timestamp>,
    /// Only those before this moment.
    pub until: Option<Timestamp>,
}

/// What to tell apart in sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageGroup {
    /// Days, UTC.
    pub day: bool,
    /// Keys.
    pub key: bool,
    /// Projects.
    pub project: bool,
    /// Providers.
    pub provider: bool,
    /// Models.
    pub model: bool,
    /// Endpoints.
    pub endpoint: bool,
}

/// A sum over calls. What is not told apart is `None`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct UsageSum {
    /// Whether it is over all that is not among the dearest; then only days are told apart.
    pub is_rest: bool,
    /// Days since 1970-01-01, UTC.
    pub day: Option<u64>,
    /// Whose calls.
    pub key: Option<KeyId>,
    /// The project of the keys; empty for a key that is not known.
    pub project: Option<String>,
    /// Id of the provider.
    pub provider: Option<String>,
    /// The model; empty where it is not known.
    pub model: Option<String>,
    /// The endpoint; empty where it is not known.
    pub endpoint: Option<String>,
    /// Calls that were admitted.
    pub calls: u64,
    /// What their answers say was used. An amount above 2⁶⁴−1 is shown as 2⁶⁴−1.
    pub tokens: TokenCounts,
    /// What the keys were charged for them; shown as the tokens are.
    pub charged: Units,
}

/// Which denials to sum up. The days are the first, and the first after them.
#[derive(Clone, Debug)]
pub struct DenialQuery {
    /// Days since 1970-01-01, UTC.
    pub days: (u64, u64),
    /// Only those of this key.
    pub key: Option<KeyId>,
    /// Only those of keys of this project.
    pub project: Option<String>,
    /// Whether keys are told apart.
    pub by_key: bool,
}

/// How often calls were denied for one reason within one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DenialSum {
    /// Days since 1970-01-01, UTC.
    pub day: u64,
    /// `None` where keys are not told apart, and for what was counted under no key.
    pub key: Option<KeyId>,
    /// Why.
    pub code: DenialCode,
    /// How often.
    pub count: u64,
}

/// A hold that a process left open when it ended without a stop: it is spent, because what became of its request is
/// not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrphanHold {
    /// Its name.
    pub id: HoldId,
    /// Whose it was.
    pub key: KeyId,
    /// What is spent for it.
    pub units: Units,
    /// When it was granted.
    pub at: Timestamp,
    /// Whether it was counted out for calls to come; otherwise it was that of one call.
    pub is_escrow: bool,
}

impl OrphanHold {
    pub(crate) fn new(id: HoldId, key: KeyId, hold: &OpenHold) -> Self {
        let is_escrow = matches!(hold.kind, HoldKind::Escrow { .. });
        Self { id, key, units: hold.units, at: hold.at, is_escrow }
    }
}

/// The name of a hold for people: its start, and its number within it.
pub fn hold_name(id: HoldId) -> String {
    format!("hold_{}-{}", id.incarnation, id.number)
}

/// The hold of this name.
pub fn parse_hold_name(name: &str) -> Option<HoldId> {
    let (incarnation, number) = name.strip_prefix("hold_")?.split_once('-')?;
    let id = HoldId { incarnation: incarnation.parse().ok()?, number: number.parse().ok()? };
    (hold_name(id) == name).then_some(id)
}
