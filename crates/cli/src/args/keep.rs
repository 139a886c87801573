//! Backups and master keys on the command line.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

use super::{Connection, Output};
use crate::settings::{DirectoryFlags, KeyFlags, PlaceFlags};

/// What to copy, and where.
#[derive(Args)]
pub(crate) struct BackupWanted {
    /// The file to make or to check
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Only check a backup that was made before: its length, its SHA-256 and every page of its database
    #[arg(long, conflicts_with = "replace")]
    pub(crate) verify: bool,
    /// Put the new backup in the place of one of this name, once it is made
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) place: PlaceFlags,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// What to put back, and where.
#[derive(Args)]
pub(crate) struct RestoreWanted {
    /// The backup
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// Put it in the place of the database that is there, which is kept beside it under another name
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) directories: DirectoryFlags,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Where the master keys are: in a running server, or in the directories of one that is stopped.
#[derive(Args)]
pub(crate) struct MasterKeyPlace {
    #[command(flatten)]
    pub(crate) keys: KeyFlags,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Subcommand)]
pub(crate) enum MasterKeyCommand {
    /// List master keys, oldest first
    #[command(after_help = "Examples:\n  till master-key list\n  till master-key list --output json")]
    List(MasterKeyPlace),
    /// Make a new master key, which scoped keys are made under from now on
    ///
    /// Scoped keys that exist go on working. The new one is written to where the current one is, and the one before is
    /// kept beside it: keep a copy of both. A master key from a variable or a command has to be changed there.
    #[command(after_help = "Examples:\n  till master-key rotate\n  till master-key rotate --data /srv/till")]
    Rotate(MasterKeyPlace),
    /// Refuse every scoped key that was made under a master key, for good and at once
    ///
    /// It shows how many keys that ends and asks. Putting the master key back does not bring them back.
    #[command(
        after_help = "Examples:\n  till master-key retire 5f0c3a9e\n  till master-key retire 5f0c3a9e --yes"
    )]
    Retire {
        /// Id of the master key, from `till master-key list`
        id: String,
        /// Do not ask
        #[arg(long, short = 'y')]
        yes: bool,
        #[command(flatten)]
        place: MasterKeyPlace,
    },
}
