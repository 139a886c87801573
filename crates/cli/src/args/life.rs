//! When a key works, and what can be changed of it, on the command line.

use clap::{ArgGroup, Args, ValueEnum};

use super::{Connection, Output, Status};
use crate::span;

/// When a new key works.
#[derive(Args, Default)]
#[command(next_help_heading = "Life cycle")]
pub(crate) struct LifeFlags {
    /// When it ends, such as 2027-01-31T08:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "ttl")]
    pub(crate) expires_at: Option<String>,
    /// After how long it ends, such as 30m, 24h or 7d
    #[arg(long, value_name = "SPAN", value_parser = span::seconds)]
    pub(crate) ttl: Option<u64>,
    /// When it begins; its requests are refused before
    #[arg(long, value_name = "TIME")]
    pub(crate) not_before: Option<String>,
    /// By when its first request has to come
    #[arg(long, value_name = "TIME")]
    pub(crate) activate_by: Option<String>,
    /// After how long without a request it ends
    #[arg(long, value_name = "SPAN", value_parser = span::seconds)]
    pub(crate) idle_expiry: Option<u64>,
}

/// How often a key may be used.
#[derive(Args, Default)]
#[command(next_help_heading = "Rates")]
pub(crate) struct RateFlags {
    /// Requests per minute
    #[arg(long, value_name = "N")]
    pub(crate) rpm: Option<u64>,
    /// Tokens per minute, input and output together
    #[arg(long, value_name = "N")]
    pub(crate) tpm: Option<u64>,
    /// Requests in flight
    #[arg(long, value_name = "N")]
    pub(crate) concurrent: Option<u64>,
}

/// What to change of a key.
#[derive(Args)]
pub(crate) struct KeyUpdate {
    /// Id of the key, `key_…`
    pub(crate) id: String,
    /// A new name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// A JSON object in place of all metadata
    #[arg(long, value_name = "JSON")]
    pub(crate) metadata_json: Option<String>,
    /// The limit in requests, used ones included
    #[arg(long, value_name = "N")]
    pub(crate) max_activations: Option<u64>,
    /// The limit in tokens
    #[arg(long, value_name = "N")]
    pub(crate) max_tokens: Option<u64>,
    /// The limit in US dollars
    #[arg(long, value_name = "DOLLARS")]
    pub(crate) max_spend_usd: Option<String>,
    /// Add so many requests to the limit
    #[arg(long, value_name = "N")]
    pub(crate) add_activations: Option<u64>,
    /// Add so many tokens to the limit
    #[arg(long, value_name = "N")]
    pub(crate) add_tokens: Option<u64>,
    /// Add so many US dollars to the limit
    #[arg(long, value_name = "DOLLARS")]
    pub(crate) add_spend_usd: Option<String>,
    /// Whether an output cap may be lowered to what is left
    #[arg(long, value_name = "true|false")]
    pub(crate) clamp: Option<bool>,
    /// What is on disk before a request is sent: units for many calls at once, or a hold for every call
    #[arg(long, value_name = "ahead|call", value_parser = ["ahead", "call"])]
    pub(crate) durability: Option<String>,
    #[command(flatten)]
    pub(crate) life: LifeFlags,
    #[command(flatten)]
    pub(crate) rate: RateFlags,
    /// Take something away; may be given more than once
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub(crate) clear: Vec<Clear>,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// What can be taken away from a key.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Clear {
    Name,
    Metadata,
    MaxActivations,
    MaxTokens,
    MaxSpend,
    ExpiresAt,
    NotBefore,
    ActivateBy,
    IdleExpiry,
    Rate,
}

/// Which keys to revoke.
#[derive(Args)]
#[command(group = ArgGroup::new("which").required(true).multiple(true).args(["id", "where_", "project", "upstream", "provider", "status", "unused_for", "older_than", "master_key"]))]
pub(crate) struct KeysRevoke {
    /// Id of the key, `key_…`
    #[arg(conflicts_with_all = ["where_", "project", "upstream", "provider", "status", "unused_for", "older_than", "master_key", "yes", "dry_run"])]
    pub(crate) id: Option<String>,
    /// All keys with this text in their metadata, such as team=search; `project=…` and `upstream=…` are as the flags, and
    /// metadata of these names is written `metadata.project=…`; may be given more than once
    #[arg(long = "where", value_name = "NAME=VALUE", help_heading = "Many keys")]
    pub(crate) where_: Vec<String>,
    /// All keys of this project
    #[arg(long, value_name = "ID", help_heading = "Many keys")]
    pub(crate) project: Option<String>,
    /// All keys that were made from this upstream credential
    #[arg(long, value_name = "NAME", help_heading = "Many keys")]
    pub(crate) upstream: Option<String>,
    /// All keys of this provider
    #[arg(long, value_name = "ID", help_heading = "Many keys")]
    pub(crate) provider: Option<String>,
    /// All keys in this state
    #[arg(long, value_name = "STATUS", help_heading = "Many keys")]
    pub(crate) status: Option<Status>,
    /// All keys that were not used for so long, such as 30d
    #[arg(long, value_name = "SPAN", value_parser = span::seconds, help_heading = "Many keys")]
    pub(crate) unused_for: Option<u64>,
    /// All keys that were made longer ago
    #[arg(long, value_name = "SPAN", value_parser = span::seconds, help_heading = "Many keys")]
    pub(crate) older_than: Option<u64>,
    /// All keys that were made under this master key, an id from `till master-key list`
    #[arg(long, value_name = "ID", help_heading = "Many keys")]
    pub(crate) master_key: Option<String>,
    /// Only show which keys these are
    #[arg(long, help_heading = "Many keys")]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long, short = 'y', help_heading = "Many keys")]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) output: Output,
}
