//! Logging in, and the profiles that it makes, on the command line.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use super::Output;
use crate::profiles;

#[derive(Args)]
pub(crate) struct LoginWanted {
    /// Where the server is [default: where the profile says, else the variable TILL_URL, else the server of this machine]
    #[arg(value_hint = ValueHint::Url)]
    pub(crate) url: Option<String>,
    /// Name of the profile [variable: TILL_PROFILE] [default: default]
    #[arg(long, value_name = "NAME", value_parser = profiles::checked_name)]
    pub(crate) profile: Option<String>,
    /// File with the admin token; `-` is standard input. Without it the terminal is asked
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) admin_key_file: Option<PathBuf>,
    /// Certificates in PEM that the server may be signed by, besides the system's; kept in the profile; may be given more
    /// than once
    #[arg(long, alias = "ca", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) ca_file: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct LogoutWanted {
    /// Name of the profile [variable: TILL_PROFILE] [default: the chosen one]
    #[arg(long, value_name = "NAME", value_parser = profiles::checked_name)]
    pub(crate) profile: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Subcommand)]
pub(crate) enum ProfilesCommand {
    /// List profiles; the chosen one has a star
    #[command(after_help = "Examples:\n  till profiles list\n  till profiles list --output json")]
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Choose the profile that commands use when nothing else is said
    #[command(after_help = "Examples:\n  till profiles use staging")]
    Use {
        /// Name of the profile
        name: String,
        #[command(flatten)]
        output: Output,
    },
    /// Remove a profile and the admin token in it
    ///
    /// The token itself goes on; `till tokens revoke` ends it.
    #[command(after_help = "Examples:\n  till profiles remove staging")]
    Remove {
        /// Name of the profile
        name: String,
        #[command(flatten)]
        output: Output,
    },
}
