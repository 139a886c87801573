//! `till audit`: what can be asked of the audit log.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

use super::{Connection, Output};

#[derive(Subcommand)]
pub(crate) enum AuditCommand {
    /// List entries, newest first
    #[command(
        after_help = "Examples:\n  till audit list\n  till audit list --target key_3xhKzZ1LbR0uYp2NqTf8Wd --order asc\n  till audit list --action 'key.*' --actor owner --from 7d\n  till audit list --follow --output json"
    )]
    List(Box<AuditList>),
    /// Show one entry
    #[command(after_help = "Examples:\n  till audit show 7")]
    Show {
        /// Number of the entry
        #[arg(value_name = "SEQ")]
        seq: u64,
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
    /// Write the whole log with its signatures, for `till audit verify`
    ///
    /// Without a file it goes to standard output. A file is written all at once, so that no half of one is left, and only its
    /// owner may read it.
    #[command(
        after_help = "Examples:\n  till audit export audit.jsonl\n  till audit export audit.csv\n  till audit export --format csv > audit.csv"
    )]
    Export(AuditExport),
    /// Verify an exported log without a server, or the log of a running one
    ///
    /// It names the first entry that was changed, removed, added or moved, checks every signature, and finds an end that was
    /// cut off unless the cut is right behind a checkpoint; `--expect-head` finds that too. Without `--public-key` a log that
    /// somebody made anew as a whole passes. A log of which the instance itself says, in an `audit.break` entry, that it is another
    /// one than it wrote does not pass, unless you name that entry with `--known-break`. Exit code 0 is a sound log, 1 is one that is not.
    #[command(
        after_help = "Examples:\n  till audit verify audit.jsonl --public-key audit.pub\n  till audit verify audit.csv --public-key 0850e0992527e8578cb7fca380d79e2fcd1cac84ea5503b6bf4c67bcb5df0c13 --expect-head 230:8d1ae6300bf14844de79f55226726c5cd2785b48836a74c1d20d37ad060da81c\n  till audit verify"
    )]
    Verify(Box<AuditVerify>),
    /// Print the public key that checkpoints are signed with
    #[command(after_help = "Examples:\n  till audit public-key\n  till audit public-key > audit.pub")]
    PublicKey {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
    /// Say what the log knows about a scoped key or an admin token that turned up
    ///
    /// The token goes to the server in the body of one request; it is neither kept nor logged, and it need not work any more.
    #[command(
        after_help = "Examples:\n  pbpaste | till audit find --token -\n  till audit find --token found.txt"
    )]
    Find {
        /// File with the token; `-` is standard input
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        token: PathBuf,
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Args)]
pub(crate) struct AuditList {
    /// Only what this actor did: the name of an admin token, or `system`
    #[arg(long, value_name = "NAME")]
    pub(crate) actor: Option<String>,
    /// Only this action; with `*` at the end all that start like it, such as 'key.*'
    #[arg(long, value_name = "ACTION")]
    pub(crate) action: Option<String>,
    /// Only what was done to this, such as a key id
    #[arg(long, value_name = "ID")]
    pub(crate) target: Option<String>,
    /// Only what is about this project and what belongs to it
    #[arg(long, value_name = "ID")]
    pub(crate) project: Option<String>,
    /// Only entries since then: a date (2026-01-31), a time (2026-01-31T08:00:00Z) or how long ago (7d, 24h, 30m)
    #[arg(long, value_name = "TIME")]
    pub(crate) from: Option<String>,
    /// Only entries before then; as `--from`
    #[arg(long, value_name = "TIME")]
    pub(crate) to: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub(crate) limit: usize,
    /// Newest or oldest first
    #[arg(long, value_name = "ORDER", default_value = "desc", conflicts_with = "follow")]
    pub(crate) order: Order,
    /// Show the newest ones, oldest of them first, and go on with what comes, until interrupted
    #[arg(long)]
    pub(crate) follow: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Which comes first.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    Asc,
    Desc,
}

#[derive(Args)]
pub(crate) struct AuditExport {
    /// Where to write it; standard output without one
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// Lines of JSON or comma-separated values [default: csv for a file that ends in .csv, else jsonl]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<ExportFormat>,
    #[command(flatten)]
    pub(crate) connection: Connection,
}

/// The two forms of an exported log.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    Jsonl,
    Csv,
}

#[derive(Args)]
pub(crate) struct AuditVerify {
    /// An exported log; `-` is standard input. Without it the log of the running server is verified
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// The public key that has to have signed it, in hexadecimal, or a file with it; may be given more than once
    #[arg(long, value_name = "HEX|FILE")]
    pub(crate) public_key: Vec<String>,
    /// An entry that has to be in it, with its hash: what an earlier `till audit verify` showed as the head
    #[arg(long, value_name = "SEQ:HASH")]
    pub(crate) expect_head: Option<String>,
    /// An `audit.break` entry that you know the reason of, such as a restored backup; may be given more than once
    #[arg(long, value_name = "SEQ")]
    pub(crate) known_break: Vec<u64>,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) output: Output,
}
