//! Upstream credentials on the command line, and where a real key is read from.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use super::{Connection, Output};

/// Where a real key is read from: a file, a variable, or else a hidden prompt.
#[derive(Args)]
pub(crate) struct UpstreamKeyFlags {
    /// File with the real key; `-` is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, group = "upstream_key_source")]
    pub(crate) upstream_key_file: Option<PathBuf>,
    /// Environment variable with the real key
    #[arg(long, value_name = "VARIABLE", group = "upstream_key_source")]
    pub(crate) upstream_key_env: Option<String>,
    /// Refused: a command line is no place for a secret. It is defined so that the refusal can say why.
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "", allow_hyphen_values = true)]
    pub(crate) upstream_key: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum CredentialsCommand {
    /// List upstream credentials, newest first
    #[command(after_help = "Examples:\n  till credentials list\n  till credentials list --output json")]
    List {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
    /// Show one upstream credential, without its real key
    #[command(after_help = "Examples:\n  till credentials show openai-prod")]
    Show(OneCredential),
    /// Store a real key under a name
    ///
    /// The real key is read from a file, from an environment variable or, on a terminal, from a hidden prompt. It is stored
    /// sealed by the master key, and scoped keys are made from it with `till keys create --upstream NAME`.
    #[command(
        after_help = "Examples:\n  till credentials create openai-prod --provider openai\n  pass show openai | till credentials create openai-prod --provider openai --upstream-key-file -\n  till credentials create maps --provider google --project search-team --upstream-key-env GOOGLE_API_KEY"
    )]
    Create(Box<CredentialCreate>),
    /// Put another real key in place of the one that is stored
    ///
    /// The scoped keys that were made from it use the new one from their next request on.
    #[command(
        after_help = "Examples:\n  till credentials rotate openai-prod\n  till credentials rotate openai-prod --upstream-key-env NEXT_OPENAI_KEY"
    )]
    Rotate(Box<CredentialRotate>),
    /// Change what may be minted from an upstream credential
    #[command(
        after_help = "Examples:\n  till credentials update openai-prod --allow-project search-team\n  till credentials update openai-prod --policy-json '{\"ceilings\": {\"day\": {\"max_spend_usd\": \"50\"}}}'"
    )]
    Update(Box<CredentialUpdate>),
    /// Forget a real key, and end all scoped keys that were made from it
    #[command(after_help = "Examples:\n  till credentials remove openai-prod")]
    Remove(OneCredential),
}

#[derive(Args)]
pub(crate) struct OneCredential {
    /// Its name
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct CredentialCreate {
    /// A name: lower-case letters, digits and hyphens
    pub(crate) name: String,
    /// Whose API it is for: an id from `till providers list`
    #[arg(long, value_name = "ID")]
    pub(crate) provider: String,
    #[command(flatten)]
    pub(crate) upstream_key: UpstreamKeyFlags,
    /// The project that it belongs to; without it, the whole instance
    #[arg(long, value_name = "ID", conflicts_with = "allow_project")]
    pub(crate) project: Option<String>,
    /// A project whose keys may be made from it; may be given more than once; without it, all of them
    #[arg(long, value_name = "ID")]
    pub(crate) allow_project: Vec<String>,
    /// Its rules, as the API has them in `policy`
    #[arg(long, value_name = "JSON")]
    pub(crate) policy_json: Option<String>,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct CredentialRotate {
    /// Its name
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) upstream_key: UpstreamKeyFlags,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
#[command(group(clap::ArgGroup::new("change").required(true).multiple(true)))]
pub(crate) struct CredentialUpdate {
    /// Its name
    pub(crate) name: String,
    /// A project whose keys may be made from it, in place of those before; may be given more than once
    #[arg(long, value_name = "ID", group = "change", conflicts_with = "all_projects")]
    pub(crate) allow_project: Vec<String>,
    /// Keys of all projects may be made from it
    #[arg(long, group = "change")]
    pub(crate) all_projects: bool,
    /// Its rules, as the API has them in `policy`, in place of those before; `null` takes them away
    #[arg(long, value_name = "JSON", group = "change")]
    pub(crate) policy_json: Option<String>,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) output: Output,
}
