//! Projects, members and admin tokens on the command line.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

use super::{Connection, Output, SecretOutput};
use crate::span;

#[derive(Subcommand)]
pub(crate) enum ProjectsCommand {
    /// List projects, newest first
    #[command(after_help = "Examples:\n  till projects list\n  till projects list --ended --output json")]
    List(ListWanted),
    /// Show one project, its rules, and what was used of its ceilings
    #[command(after_help = "Examples:\n  till projects show search-team")]
    Show(OneId),
    /// Make a project
    #[command(
        after_help = "Examples:\n  till projects create search-team --month-usd 100\n  till projects create search-team --name 'Search team' --day-usd 5 --provider openai --model 'gpt-5*' --key-max-usd 1 --key-max-lifetime 7d\n  till projects create search-team --policy-file rules.json"
    )]
    Create(Box<ProjectCreate>),
    /// Change the name or the rules of a project
    ///
    /// It takes effect on the next request of each of its keys. Rules that are not given stay as they are.
    #[command(
        after_help = "Examples:\n  till projects update search-team --day-usd 10\n  till projects update search-team --clear month,models\n  till projects update search-team --clear-policy --if-version 3"
    )]
    Update(Box<ProjectUpdate>),
    /// End a project, for good and at once
    ///
    /// All of its keys are revoked before the answer; its members and admin tokens may do nothing any more. Its id is not
    /// used again.
    #[command(
        after_help = "Examples:\n  till projects end search-team\n  till projects end search-team --yes --output json"
    )]
    End(EndOne),
}

#[derive(Subcommand)]
pub(crate) enum MembersCommand {
    /// List members, newest first
    #[command(after_help = "Examples:\n  till members list\n  till members list --ended --output json")]
    List(ListWanted),
    /// Show one member, their rules, and what was used of their ceilings
    #[command(after_help = "Examples:\n  till members show ada@example.com")]
    Show(OneId),
    /// Make a member
    ///
    /// Without a password they can't sign in; `till members password` gives them one later.
    #[command(
        after_help = "Examples:\n  till members create ada@example.com --role admin --ask-password\n  till members create ada@example.com --role minter --project search-team --month-usd 20\n  pass show ada | till members create ada@example.com --role viewer --password-file -"
    )]
    Create(Box<MemberCreate>),
    /// Change the name, the role or the rules of a member
    ///
    /// It takes effect on their next request. What is not given stays as it is.
    #[command(
        after_help = "Examples:\n  till members update ada@example.com --role viewer\n  till members update ada@example.com --month-usd 50 --if-version 2"
    )]
    Update(Box<MemberUpdate>),
    /// Remove a member
    ///
    /// Their sessions and the admin tokens that stand for them do nothing any more. The keys that they made go on.
    #[command(after_help = "Examples:\n  till members remove ada@example.com")]
    Remove(EndOne),
    /// Give a member a new password, or take it away
    ///
    /// It is asked for on the terminal or read from a file; never given on the command line. Their sessions end.
    #[command(
        after_help = "Examples:\n  till members password ada@example.com\n  pass show ada | till members password ada@example.com --password-file -\n  till members password ada@example.com --clear"
    )]
    Password(MemberPassword),
}

#[derive(Subcommand)]
pub(crate) enum TokensCommand {
    /// List admin tokens, newest first
    #[command(after_help = "Examples:\n  till tokens list\n  till tokens list --ended --output json")]
    List(ListWanted),
    /// Show one admin token, not its text
    #[command(after_help = "Examples:\n  till tokens show tok_0a1b2c3d4e5f60718293")]
    Show(OneId),
    /// Make an admin token
    ///
    /// Its text is shown once. `--output raw` prints nothing else, for a file or a secret store.
    #[command(
        after_help = "Examples:\n  till tokens create ci --role minter --project search-team --ttl 90d\n  till tokens create ci --role minter --day-usd 5 --max-live-keys 100 --network 10.0.0.0/8\n  till tokens create backup --role owner --output raw > token"
    )]
    Create(Box<TokenCreate>),
    /// Change the name, the role, the bounds or the rules of an admin token
    ///
    /// It takes effect on its next request. What is not given stays as it is.
    #[command(
        after_help = "Examples:\n  till tokens update tok_0a1b2c3d4e5f60718293 --role viewer\n  till tokens update tok_0a1b2c3d4e5f60718293 --clear-networks --clear-expires-at"
    )]
    Update(Box<TokenUpdate>),
    /// Give an admin token a new text, which is shown once
    ///
    /// With `--overlap` the old text goes on for so long. A profile that is logged in with the token gets the new text.
    #[command(
        after_help = "Examples:\n  till tokens rotate tok_0a1b2c3d4e5f60718293 --overlap 1h\n  till tokens rotate owner --yes --output raw > owner-token"
    )]
    Rotate(TokenRotate),
    /// Revoke an admin token
    ///
    /// Its next request is refused. The keys that were made with it go on.
    #[command(after_help = "Examples:\n  till tokens revoke tok_0a1b2c3d4e5f60718293")]
    Revoke(EndOne),
}

/// What somebody may do.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum RoleWord {
    /// Everything
    Owner,
    /// Administers keys, projects, members, admin tokens and upstream credentials
    Admin,
    /// Makes keys within the rules
    Minter,
    /// Reads everything but secrets
    Auditor,
    /// Sees keys, usage and totals
    Viewer,
}

impl RoleWord {
    /// The word that the server knows it by.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Minter => "minter",
            Self::Auditor => "auditor",
            Self::Viewer => "viewer",
        }
    }
}

#[derive(Args)]
pub(crate) struct ListWanted {
    /// Also those that have ended
    #[arg(long)]
    pub(crate) ended: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct OneId {
    /// Its id; a member also by login
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct EndOne {
    /// Its id; a member also by login
    pub(crate) id: String,
    /// Only if it is still of this version, as `show` has it
    #[arg(long, value_name = "N")]
    pub(crate) if_version: Option<u64>,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct ProjectCreate {
    /// Its id: lower-case letters, digits and hyphens. It can't be changed later
    pub(crate) id: String,
    /// A name for people [default: the id]
    #[arg(long)]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) policy: PolicyFlags,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct ProjectUpdate {
    /// Its id
    pub(crate) id: String,
    /// A new name for people
    #[arg(long)]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) policy: PolicyFlags,
    #[command(flatten)]
    pub(crate) changes: PolicyChanges,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct MemberCreate {
    /// What they sign in with, such as ada@example.com
    pub(crate) login: String,
    /// What they may do
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: RoleWord,
    /// A name for people
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Project that they are bound to [default: the project that whoever asks is bound to, else everywhere]
    #[arg(long, value_name = "ID")]
    pub(crate) project: Option<String>,
    /// Ask for a first password on the terminal
    #[arg(long)]
    pub(crate) ask_password: bool,
    /// File with a first password; `-` is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "ask_password")]
    pub(crate) password_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) policy: PolicyFlags,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct MemberUpdate {
    /// Their id, `mem_…`, or their login
    pub(crate) id: String,
    /// A new name for people
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// What they may do
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Option<RoleWord>,
    #[command(flatten)]
    pub(crate) policy: PolicyFlags,
    #[command(flatten)]
    pub(crate) changes: PolicyChanges,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct MemberPassword {
    /// Their id, `mem_…`, or their login
    pub(crate) id: String,
    /// File with the new password; `-` is standard input. Without it the terminal is asked
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) password_file: Option<PathBuf>,
    /// Take the password away: they can't sign in any more
    #[arg(long, conflicts_with = "password_file")]
    pub(crate) clear: bool,
    /// Only if they are still of this version, as `show` has it
    #[arg(long, value_name = "N")]
    pub(crate) if_version: Option<u64>,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct TokenCreate {
    /// A name for people
    pub(crate) name: String,
    /// What it may do
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: RoleWord,
    /// Project that it is bound to [default: the project that whoever asks is bound to, else everywhere]
    #[arg(long, value_name = "ID")]
    pub(crate) project: Option<String>,
    /// Member that it stands for: it may do no more than they may
    #[arg(long, value_name = "MEMBER")]
    pub(crate) member: Option<String>,
    /// An address or a network that it may be used from, such as 10.0.0.0/8; may be given more than once
    #[arg(long, value_name = "NETWORK")]
    pub(crate) network: Vec<String>,
    /// When it ends, such as 2027-01-31T08:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "ttl")]
    pub(crate) expires_at: Option<String>,
    /// After how long it ends, such as 24h or 90d
    #[arg(long, value_name = "SPAN", value_parser = span::seconds)]
    pub(crate) ttl: Option<u64>,
    #[command(flatten)]
    pub(crate) policy: PolicyFlags,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) output: SecretOutput,
}

#[derive(Args)]
pub(crate) struct TokenUpdate {
    /// Its id, `tok_…`
    pub(crate) id: String,
    /// A new name for people
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// What it may do
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Option<RoleWord>,
    /// The networks that it may be used from, in place of those that there are; may be given more than once
    #[arg(long, value_name = "NETWORK")]
    pub(crate) network: Vec<String>,
    /// Let it be used from everywhere
    #[arg(long, conflicts_with = "network")]
    pub(crate) clear_networks: bool,
    /// When it ends, such as 2027-01-31T08:00:00Z
    #[arg(long, value_name = "TIME")]
    pub(crate) expires_at: Option<String>,
    /// Let it never end
    #[arg(long, conflicts_with = "expires_at")]
    pub(crate) clear_expires_at: bool,
    #[command(flatten)]
    pub(crate) policy: PolicyFlags,
    #[command(flatten)]
    pub(crate) changes: PolicyChanges,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct TokenRotate {
    /// Its id, `tok_…`, or owner
    pub(crate) id: String,
    /// How long the old text goes on, such as 1h; at most 30d [default: not at all]
    #[arg(long, value_name = "SPAN", value_parser = span::seconds)]
    pub(crate) overlap: Option<u64>,
    /// Only if it is still of this version, as `show` has it
    #[arg(long, value_name = "N")]
    pub(crate) if_version: Option<u64>,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) output: SecretOutput,
}

/// What may be made, and what all those keys may use together. Days and months are those of UTC.
#[derive(Args, Default)]
#[command(next_help_heading = "Rules")]
pub(crate) struct PolicyFlags {
    /// US dollars that all keys may spend in a day, such as 5 or 0.25
    #[arg(long, value_name = "DOLLARS")]
    pub(crate) day_usd: Option<String>,
    /// Tokens that all keys may use in a day
    #[arg(long, value_name = "N")]
    pub(crate) day_tokens: Option<u64>,
    /// Requests that all keys may make in a day
    #[arg(long, value_name = "N")]
    pub(crate) day_activations: Option<u64>,
    /// US dollars in a calendar month
    #[arg(long, value_name = "DOLLARS")]
    pub(crate) month_usd: Option<String>,
    /// Tokens in a calendar month
    #[arg(long, value_name = "N")]
    pub(crate) month_tokens: Option<u64>,
    /// Requests in a calendar month
    #[arg(long, value_name = "N")]
    pub(crate) month_activations: Option<u64>,
    /// US dollars in all
    #[arg(long, value_name = "DOLLARS")]
    pub(crate) lifetime_usd: Option<String>,
    /// Tokens in all
    #[arg(long, value_name = "N")]
    pub(crate) lifetime_tokens: Option<u64>,
    /// Requests in all
    #[arg(long, value_name = "N")]
    pub(crate) lifetime_activations: Option<u64>,
    /// Keys that are neither revoked nor expired, at a time
    #[arg(long, value_name = "N")]
    pub(crate) max_live_keys: Option<u64>,
    /// A provider that keys may be for; may be given more than once
    #[arg(long, value_name = "ID")]
    pub(crate) provider: Vec<String>,
    /// A model that keys may ask, `*` standing for any characters; may be given more than once
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Vec<String>,
    /// A key needs a limit in US dollars, at most this
    #[arg(long, value_name = "DOLLARS")]
    pub(crate) key_max_usd: Option<String>,
    /// A key needs a limit in tokens, at most this
    #[arg(long, value_name = "N")]
    pub(crate) key_max_tokens: Option<u64>,
    /// A key needs a limit in requests, at most this
    #[arg(long, value_name = "N")]
    pub(crate) key_max_activations: Option<u64>,
    /// A key needs to end within so long of being made, such as 7d
    #[arg(long, value_name = "SPAN", value_parser = span::seconds)]
    pub(crate) key_max_lifetime: Option<u64>,
    /// File with all rules as the API has them, in JSON; `-` is standard input. The flags above come on top
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) policy_file: Option<PathBuf>,
}

/// What is to go of rules that there are.
#[derive(Args, Default)]
#[command(next_help_heading = "Rules")]
pub(crate) struct PolicyChanges {
    /// Take a rule away; may be given more than once
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    pub(crate) clear: Vec<PolicyPart>,
    /// Take all rules away; those that are given remain
    #[arg(long, conflicts_with_all = ["clear", "policy_file"])]
    pub(crate) clear_policy: bool,
    /// Only if it is still of this version, as `show` has it
    #[arg(long, value_name = "N", help_heading = "Options")]
    pub(crate) if_version: Option<u64>,
}

/// A rule that can be taken away.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PolicyPart {
    Day,
    Month,
    Lifetime,
    MaxLiveKeys,
    Providers,
    Models,
    KeyLimits,
    KeyMaxLifetime,
}
