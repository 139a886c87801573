//! The command line: what can be asked for. What is done about it is in `commands`.

pub(crate) mod administration;
pub(crate) mod audit;
pub(crate) mod credentials;
pub(crate) mod keep;
pub(crate) mod life;
pub(crate) mod login;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};

use administration::{MembersCommand, ProjectsCommand, TokensCommand};
use audit::AuditCommand;
use credentials::{CredentialsCommand, UpstreamKeyFlags};
use keep::{BackupWanted, MasterKeyCommand, RestoreWanted};
use life::{KeyUpdate, KeysRevoke, LifeFlags, RateFlags};
use login::{LoginWanted, LogoutWanted, ProfilesCommand};

use crate::settings::{DirectoryFlags, SettingFlags};
use crate::{profiles, span};

/// One real API key in, many small disposable ones out.
///
/// till is a proxy that you run yourself. It turns a real API key into scoped keys, each good for a number of
/// requests, tokens or dollars and dead after that. The real key never reaches whoever uses a scoped key.
#[derive(Parser)]
#[command(
    name = "till",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  till start\n  till keys create --provider openai --max-activations 50\n  till keys list\n  till login https://till.example.com\n\nExit codes: 0 done, 1 failed, 2 wrong usage or settings."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Start the server
    ///
    /// Without any configuration it makes a data directory, a master key and the owner's admin key, which is
    /// printed once, and listens on 127.0.0.1:4100. SIGTERM and SIGINT stop it after the requests in flight; a
    /// second signal stops it at once. SIGHUP reads the TLS certificate again.
    #[command(
        after_help = "Examples:\n  till start\n  till start --data /srv/till --listen 0.0.0.0:4100 --tls-cert cert.pem --tls-key key.pem\n  till start --provider-url openai=http://127.0.0.1:9000"
    )]
    Start(SettingFlags),
    /// Make, list, show, change and revoke scoped keys
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "Examples:\n  till keys create --provider openai --max-activations 50\n  till keys list --status active\n  till keys revoke key_3xhKzZ1LbR0uYp2NqTf8Wd"
    )]
    Keys(KeysCommand),
    /// Store real keys by name, to make scoped keys from
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "Examples:\n  till credentials create openai-prod --provider openai\n  till keys create --upstream openai-prod --max-activations 50\n  till credentials rotate openai-prod"
    )]
    Credentials(CredentialsCommand),
    /// Make, list, show, change and end projects
    ///
    /// Every key belongs to one. What may be made in a project and what its keys may use together are its rules.
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "Examples:\n  till projects create search-team --month-usd 100\n  till projects show search-team\n  till projects end search-team"
    )]
    Projects(ProjectsCommand),
    /// Make, list, show, change and remove members, the people who administer
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "Examples:\n  till members create ada@example.com --role admin --ask-password\n  till members list\n  till members password ada@example.com"
    )]
    Members(MembersCommand),
    /// Make, list, show, change, rotate and revoke admin tokens
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "Examples:\n  till tokens create ci --role minter --project search-team\n  till tokens list\n  till tokens rotate tok_0a1b2c3d4e5f60718293 --overlap 1h"
    )]
    Tokens(TokensCommand),
    /// Log in to a server with an admin token, and remember it as a profile
    ///
    /// The token is asked for on the terminal, hidden, or read from a file; never given on the command line, which other
    /// users and the shell's history can see. It is checked, and kept in a file that only you can read. The first profile
    /// is the chosen one: commands use it unless flags or variables say where the server is.
    #[command(
        after_help = "Examples:\n  till login https://till.example.com\n  till login https://till.example.com --profile staging --ca-file ca.pem\n  pass show till | till login https://till.example.com --admin-key-file -"
    )]
    Login(LoginWanted),
    /// Forget a profile and the admin token in it
    ///
    /// The token itself goes on; `till tokens revoke` ends it.
    #[command(after_help = "Examples:\n  till logout\n  till logout --profile staging")]
    Logout(LogoutWanted),
    /// List, choose and remove profiles
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "Examples:\n  till profiles list\n  till profiles use staging\n  till profiles remove staging"
    )]
    Profiles(ProfilesCommand),
    /// Show where commands go, as whom, and what one may do there
    #[command(after_help = "Examples:\n  till whoami\n  till whoami --profile staging --output json")]
    Whoami {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
    /// Show what was used: per key, model and day, or call by call
    ///
    /// Without `--by` and `--calls` it shows a sum per key.
    #[command(
        after_help = "Examples:\n  till usage\n  till usage --by key,model,day --since 7d\n  till usage --calls --key key_3xhKzZ1LbR0uYp2NqTf8Wd --limit 20\n  till usage --by model --since 2026-01-01 --output csv"
    )]
    Usage(UsageWanted),
    /// List and forgive what a crash left open
    ///
    /// A request that was under way when the server ended without a stop is spent, because nobody knows what became
    /// of it.
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "Examples:\n  till holds list\n  till holds forgive hold_7-31"
    )]
    Holds(HoldsCommand),
    /// Show, check and add prices of models
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "Examples:\n  till prices list --provider openai\n  till prices show gpt-4o-mini\n  till prices check my-prices.toml\n  till prices update my-prices.toml"
    )]
    Prices(PricesCommand),
    /// Stop every key at once, or let them go on
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "Examples:\n  till kill-switch on --reason 'a key leaked'\n  till kill-switch status\n  till kill-switch off"
    )]
    KillSwitch(KillSwitchCommand),
    /// Read, export and verify the audit log
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "Examples:\n  till audit list --action 'key.*' --from 7d\n  till audit export audit.jsonl\n  till audit verify audit.jsonl --public-key audit.pub"
    )]
    Audit(AuditCommand),
    /// Show how the server is doing
    #[command(
        after_help = "Examples:\n  till status\n  till status --url https://till.example.com --output json"
    )]
    Status {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
    /// List the providers that scoped keys can be made for
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "Examples:\n  till providers list\n  till providers show openai"
    )]
    Providers(ProvidersCommand),
    /// Check and show the settings
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "Examples:\n  till config check --config /etc/till/till.toml\n  till config show"
    )]
    Config(ConfigCommand),
    /// Say what is wrong with an instance, and what to do
    ///
    /// Looks at the settings, the data directory, the keys and the machine. Reads the whole database, whether a server runs on it or not, and changes nothing. Exit code 0 is fine, 1 is that
    /// something is wrong. Run it as the user that runs till, with the same settings.
    #[command(
        after_help = "Examples:\n  till doctor\n  till doctor --data /srv/till --key-dir /srv/till-keys\n  till doctor --config /etc/till/till.toml --output json"
    )]
    Doctor {
        #[command(flatten)]
        settings: SettingFlags,
        #[command(flatten)]
        output: Output,
    },
    /// What only the owner of the instance needs
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "Examples:\n  till admin reset-owner --data /srv/till\n  till admin accept-rollback"
    )]
    Admin(AdminCommand),
    /// Copy the database to a file while the server runs, or check such a file
    ///
    /// The file has everything of one moment but the master key and the witness, and says by itself whether it is whole. The
    /// backup is noted in the audit log, so where a server runs an admin key is needed.
    #[command(
        after_help = "Examples:\n  till backup /backup/till-$(date +%F).db\n  till backup --replace /backup/till.db --output json\n  till backup --verify /backup/till.db"
    )]
    Backup(Box<BackupWanted>),
    /// Put a backup in the place of the database; the server has to be stopped
    ///
    /// All keys are refused afterwards, until an admin accepts that what was used since the backup is not known: `till admin
    /// accept-rollback`. The database that was there is kept beside the new one.
    #[command(
        after_help = "Examples:\n  till restore /backup/till.db --data /srv/till\n  till restore /backup/till.db --replace"
    )]
    Restore(RestoreWanted),
    /// List, rotate and retire master keys
    ///
    /// A running server is asked, with the owner's admin key; where none runs it is done in the directories.
    #[command(
        subcommand,
        arg_required_else_help = true,
        after_help = "Examples:\n  till master-key list\n  till master-key rotate\n  till master-key retire 5f0c3a9e"
    )]
    MasterKey(MasterKeyCommand),
    /// Write completions for a shell
    #[command(
        after_help = "Examples:\n  till completions bash > ~/.local/share/bash-completion/completions/till\n  till completions zsh > ~/.zfunc/_till\n  till completions fish > ~/.config/fish/completions/till.fish"
    )]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write man pages into a directory: till.1 and one per command
    #[command(hide = true, after_help = "Examples:\n  till man ~/.local/share/man/man1")]
    Man {
        /// The directory, which is made if it is not there
        #[arg(value_hint = ValueHint::DirPath)]
        directory: PathBuf,
    },
    /// Show what this program is made of, with the licences and their texts
    #[command(after_help = "Examples:\n  till licenses\n  till licenses --output json")]
    Licenses {
        #[command(flatten)]
        output: Output,
    },
    /// Write a bill of materials of this program: CycloneDX 1.6, JSON
    #[command(after_help = "Examples:\n  till sbom > till.cdx.json")]
    Sbom,
    /// Print the version
    #[command(after_help = "Examples:\n  till version\n  till version --output json")]
    Version {
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Subcommand)]
pub(crate) enum KeysCommand {
    /// Make a scoped key out of a real one
    ///
    /// The real key is read from a file, from an environment variable or, on a terminal, from a hidden prompt;
    /// never from the command line, which other users and the shell's history can see. It is sealed into the
    /// scoped key and stored nowhere. With `--upstream` it is one that was stored by name.
    #[command(
        after_help = "Examples:\n  till keys create --provider openai --max-activations 50\n  till keys create --provider anthropic --max-activations 10 --upstream-key-env ANTHROPIC_API_KEY --name crawler\n  till keys create --provider openai --max-spend-usd 5 --allow-endpoint chat --allow-model 'gpt-4o-mini*' --allow-network 10.0.0.0/8\n  pass show openai | till keys create --provider openai --max-activations 1 --upstream-key-file -\n  till keys create --provider openai --max-activations 50 --claim 1h\n  till keys create --upstream openai-prod --max-activations 50"
    )]
    Create(Box<KeyCreate>),
    /// List scoped keys, newest first
    #[command(
        after_help = "Examples:\n  till keys list\n  till keys list --status active --provider openai --output json\n  till keys list --project search-team"
    )]
    List(Box<KeyList>),
    /// Show one scoped key
    #[command(after_help = "Examples:\n  till keys show key_3xhKzZ1LbR0uYp2NqTf8Wd")]
    Show(OneKey),
    /// Say what would become of a request with a scoped key, without sending it
    ///
    /// The same rules as for real requests decide. Nothing is sent and nothing is spent. Exit code 0 is yes, 1 is no.
    #[command(
        after_help = "Examples:\n  till keys explain key_3xhKzZ1LbR0uYp2NqTf8Wd --path /v1/chat/completions --model gpt-4o-mini\n  till keys explain key_3xhKzZ1LbR0uYp2NqTf8Wd --method GET --path /v1/models --from 192.0.2.7\n  till keys explain key_3xhKzZ1LbR0uYp2NqTf8Wd --path /v1/responses --body request.json"
    )]
    Explain(Box<Explain>),
    /// Change limits, life cycle, name or metadata of a scoped key
    ///
    /// It takes effect on the next request. What is not given stays as it is.
    #[command(
        after_help = "Examples:\n  till keys update key_3xhKzZ1LbR0uYp2NqTf8Wd --add-activations 20\n  till keys update key_3xhKzZ1LbR0uYp2NqTf8Wd --ttl 24h --clear max-tokens"
    )]
    Update(Box<KeyUpdate>),
    /// Stop a scoped key for now
    ///
    /// Its next request is refused and its streams in flight are cut, until it is resumed.
    #[command(
        after_help = "Examples:\n  till keys pause key_3xhKzZ1LbR0uYp2NqTf8Wd --reason 'odd traffic since noon'"
    )]
    Pause {
        #[command(flatten)]
        key: OneKey,
        /// Why, for those who look at the key
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Let a paused key go on
    #[command(after_help = "Examples:\n  till keys resume key_3xhKzZ1LbR0uYp2NqTf8Wd")]
    Resume(OneKey),
    /// End scoped keys, for good and at once
    ///
    /// Their next request is refused and their streams in flight are cut. With conditions in place of an id it shows how
    /// many keys fit and asks.
    #[command(
        after_help = "Examples:\n  till keys revoke key_3xhKzZ1LbR0uYp2NqTf8Wd\n  till keys revoke --where team=search --dry-run\n  till keys revoke --where project=search-team\n  till keys revoke --unused-for 30d --yes"
    )]
    Revoke(Box<KeysRevoke>),
}

/// Which keys to list.
#[derive(Args)]
pub(crate) struct KeyList {
    /// Only keys in this state
    #[arg(long, value_name = "STATUS")]
    pub(crate) status: Option<Status>,
    /// Only keys of this provider
    #[arg(long, value_name = "ID")]
    pub(crate) provider: Option<String>,
    /// Only keys of this project
    #[arg(long, value_name = "ID")]
    pub(crate) project: Option<String>,
    /// Only keys that this member or admin token made: an id, `mem_…` or `tok_…`
    #[arg(long, value_name = "ID")]
    pub(crate) created_by: Option<String>,
    /// Only keys that were made from this upstream credential
    #[arg(long, value_name = "NAME")]
    pub(crate) upstream: Option<String>,
    /// What to sort by; newest first if absent
    #[arg(long, value_name = "WHAT", value_parser = ["created", "last_used", "expires"])]
    pub(crate) sort: Option<String>,
    /// Least first: oldest, longest unused, first to end
    #[arg(long)]
    pub(crate) ascending: bool,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct KeyCreate {
    /// Whose API it is for: an id from `till providers list`
    #[arg(long, value_name = "ID", required_unless_present = "upstream")]
    pub(crate) provider: Option<String>,
    /// How many requests it is good for, over its whole life
    #[arg(long, value_name = "N", required_unless_present_any = ["max_tokens", "max_spend_usd", "max_spend_cents"])]
    pub(crate) max_activations: Option<u64>,
    /// How many tokens it is good for, input and output together
    #[arg(long, value_name = "N")]
    pub(crate) max_tokens: Option<u64>,
    /// How much it may spend in US dollars, such as 5 or 0.25
    #[arg(long, value_name = "DOLLARS", conflicts_with = "max_spend_cents")]
    pub(crate) max_spend_usd: Option<String>,
    /// How much it may spend in US cents
    #[arg(long, value_name = "CENTS")]
    pub(crate) max_spend_cents: Option<u64>,
    /// Refuse a request whose output cap is above what is left, instead of lowering the cap
    #[arg(long)]
    pub(crate) no_clamp: bool,
    /// Let requests pass whose cost nothing bounds: each of them can exceed a limit in tokens or money, but not a ceiling
    #[arg(long)]
    pub(crate) danger_allow_unbounded: bool,
    /// What is on disk before a request is sent: with `ahead` a key that is called often has units counted out for many
    /// calls at once, with `call` there is a write for every call
    #[arg(long, value_name = "ahead|call", value_parser = ["ahead", "call"])]
    pub(crate) durability: Option<String>,
    #[command(flatten)]
    pub(crate) life: LifeFlags,
    #[command(flatten)]
    pub(crate) rate: RateFlags,
    #[command(flatten)]
    pub(crate) upstream_key: UpstreamKeyFlags,
    /// Name of a stored real key, from `till credentials list`
    #[arg(long, value_name = "NAME", conflicts_with_all = ["upstream_key_file", "upstream_key_env"])]
    pub(crate) upstream: Option<String>,
    /// Answer a link that shows the key once, for so long at most, such as 1h or 7d, in place of the key itself
    #[arg(long, value_name = "SPAN", value_parser = span::seconds)]
    pub(crate) claim: Option<u64>,
    /// Project that it belongs to [default: the project that whoever asks is bound to, else default]
    #[arg(long, value_name = "ID")]
    pub(crate) project: Option<String>,
    /// A name to find it again by
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Something to remember about it; may be given more than once
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) metadata: Vec<String>,
    /// A JSON object to remember about it
    #[arg(long, value_name = "JSON")]
    pub(crate) metadata_json: Option<String>,
    #[command(flatten)]
    pub(crate) scope: ScopeWanted,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) output: SecretOutput,
}

/// What the key may call. Without any of these it may call everything.
#[derive(Args)]
#[command(next_help_heading = "Scope")]
pub(crate) struct ScopeWanted {
    /// A method and a path that it may call, such as "POST /v1/chat/completions", or a word for several, such as chat,
    /// from `till providers show`; may be given more than once
    #[arg(long, value_name = "ENDPOINT")]
    pub(crate) allow_endpoint: Vec<String>,
    /// A model that it may ask, `*` standing for any characters; may be given more than once
    #[arg(long, value_name = "MODEL")]
    pub(crate) allow_model: Vec<String>,
    /// An address or a network that it may be used from, such as 10.0.0.0/8; may be given more than once
    #[arg(long, value_name = "NETWORK")]
    pub(crate) allow_network: Vec<String>,
    /// The most that one call may put out: its output cap is lowered to that
    #[arg(long, value_name = "N")]
    pub(crate) max_output_tokens: Option<u64>,
    /// Refuse requests that bring tools
    #[arg(long)]
    pub(crate) no_tools: bool,
    /// Refuse requests that bring tools which the provider runs, such as web search
    #[arg(long)]
    pub(crate) no_hosted_tools: bool,
    /// Refuse requests that let the provider keep what is said
    #[arg(long)]
    pub(crate) no_store: bool,
    /// Refuse requests that bring images
    #[arg(long)]
    pub(crate) no_images: bool,
    /// The values that a member at the top of the body may have, such as service_tier=default,flex; may be given more
    /// than once
    #[arg(long, value_name = "NAME=VALUES")]
    pub(crate) allow_value: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Explain {
    /// Id of the key, `key_…`
    pub(crate) id: String,
    /// Method of the request
    #[arg(long, value_name = "METHOD", default_value = "POST")]
    pub(crate) method: String,
    /// Path of the request, as a client sends it
    #[arg(long, value_name = "PATH")]
    pub(crate) path: String,
    /// Model that it asks, if there is no body
    #[arg(long, value_name = "MODEL", conflicts_with = "body")]
    pub(crate) model: Option<String>,
    /// File with its body; `-` is standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) body: Option<PathBuf>,
    /// Address that it comes from
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) from: Option<String>,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct OneKey {
    /// Id of the key, `key_…`
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Args)]
pub(crate) struct UsageWanted {
    /// What to tell apart: any of key, model, day, provider, endpoint
    #[arg(long, value_name = "WHAT", value_delimiter = ',', conflicts_with = "calls")]
    pub(crate) by: Vec<UsageBy>,
    /// Show every call instead of sums, newest first
    #[arg(long)]
    pub(crate) calls: bool,
    /// At most so many calls
    #[arg(long, value_name = "N", default_value_t = 100, requires = "calls")]
    pub(crate) limit: usize,
    /// Only calls of this key
    #[arg(long, value_name = "ID")]
    pub(crate) key: Option<String>,
    /// Only calls with keys of this project
    #[arg(long, value_name = "ID")]
    pub(crate) project: Option<String>,
    /// Only calls to this provider
    #[arg(long, value_name = "ID")]
    pub(crate) provider: Option<String>,
    /// Only calls to this model
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// Only calls since then: 2026-01-31, 2026-01-31T08:00:00Z, or how long ago, as 7d, 24h or 30m
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only calls before then; as `--since`
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// Form of the answer
    #[arg(
        long = "output",
        short = 'o',
        value_name = "FORM",
        default_value = "table",
        help_heading = "Output"
    )]
    pub(crate) form: ListForm,
}

/// What sums can be told apart by.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum UsageBy {
    Key,
    Model,
    Day,
    Provider,
    Endpoint,
}

/// For people, for programs, or for spreadsheets.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ListForm {
    Table,
    Json,
    Csv,
}

#[derive(Subcommand)]
pub(crate) enum HoldsCommand {
    /// List holds that a crash left open, newest first
    #[command(after_help = "Examples:\n  till holds list\n  till holds list --output json")]
    List {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
    /// Give the units of a hold back to its key
    ///
    /// Do this only when you know that its request was not sent, or not billed. It is in the audit log.
    #[command(after_help = "Examples:\n  till holds forgive hold_7-31")]
    Forgive {
        /// Name of the hold, `hold_…`
        id: String,
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Subcommand)]
pub(crate) enum PricesCommand {
    /// List models and what they cost: the built-in table and what was added to it
    #[command(
        after_help = "Examples:\n  till prices list --provider anthropic\n  till prices list --output csv"
    )]
    List {
        /// Only models of this provider
        #[arg(long, value_name = "ID")]
        provider: Option<String>,
        /// Form of the answer
        #[arg(
            long = "output",
            short = 'o',
            value_name = "FORM",
            default_value = "table",
            help_heading = "Output"
        )]
        form: ListForm,
        #[command(flatten)]
        directories: DirectoryFlags,
    },
    /// Show everything that is known about what a model costs
    #[command(
        after_help = "Examples:\n  till prices show gpt-4o-mini\n  till prices show claude-sonnet-4-5 --provider bedrock"
    )]
    Show {
        /// Name of the model, as a request has it
        model: String,
        /// Only at this provider
        #[arg(long, value_name = "ID")]
        provider: Option<String>,
        #[command(flatten)]
        directories: DirectoryFlags,
        #[command(flatten)]
        output: Output,
    },
    /// Check prices that were added, or a file of them, and show what they change
    ///
    /// A file has tables `[[prices]]` with `provider`, `model` and dollars per million tokens in quotes: `input`,
    /// `output`, `cache_read` and so on; see docs/prices.md.
    #[command(after_help = "Examples:\n  till prices check\n  till prices check my-prices.toml")]
    Check {
        /// A file of prices in TOML; without it, those that are in effect
        #[arg(value_hint = ValueHint::FilePath)]
        file: Option<PathBuf>,
        #[command(flatten)]
        directories: DirectoryFlags,
        #[command(flatten)]
        output: Output,
    },
    /// Put a file of prices into the data directory
    ///
    /// It replaces the one that was put there before, and takes effect when the server is started the next time.
    #[command(
        after_help = "Examples:\n  till prices update my-prices.toml\n  till prices update my-prices.toml --data /srv/till"
    )]
    Update {
        /// A file of prices in TOML
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        #[command(flatten)]
        directories: DirectoryFlags,
        #[command(flatten)]
        output: Output,
    },
}

/// The states a key can be in.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Status {
    Active,
    Pending,
    Paused,
    Exhausted,
    Expired,
    Revoked,
}

impl Status {
    /// The word that the server knows it by.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pending => "pending",
            Self::Paused => "paused",
            Self::Exhausted => "exhausted",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

#[derive(Subcommand)]
pub(crate) enum KillSwitchCommand {
    /// Refuse every request of every key, and cut all streams
    ///
    /// It stays on through restarts, until it is turned off.
    #[command(after_help = "Examples:\n  till kill-switch on\n  till kill-switch on --reason 'a key leaked'")]
    On {
        /// Why, for those who look
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
    /// Let keys work again
    #[command(after_help = "Examples:\n  till kill-switch off")]
    Off {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
    /// Show whether it is on, since when and why
    #[command(after_help = "Examples:\n  till kill-switch status\n  till kill-switch status --output json")]
    Status {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Subcommand)]
pub(crate) enum ProvidersCommand {
    /// List all providers: the built-in ones and those of the configuration file
    #[command(after_help = "Examples:\n  till providers list\n  till providers list --output json")]
    List {
        #[command(flatten)]
        output: Output,
    },
    /// Show one provider: its address, key placement, paths, endpoints and words for them
    #[command(after_help = "Examples:\n  till providers show openai")]
    Show {
        /// Id of the provider
        id: String,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// Check all settings, and the files that they name, and report every mistake at once
    #[command(
        after_help = "Examples:\n  till config check\n  till config check --config /etc/till/till.toml"
    )]
    Check {
        #[command(flatten)]
        settings: SettingFlags,
        #[command(flatten)]
        output: Output,
    },
    /// Show every setting in effect, and where it comes from
    #[command(after_help = "Examples:\n  till config show\n  till config show --output json")]
    Show {
        #[command(flatten)]
        settings: SettingFlags,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Subcommand)]
pub(crate) enum AdminCommand {
    /// Replace a lost owner key; the server has to be stopped
    #[command(after_help = "Examples:\n  till admin reset-owner\n  till admin reset-owner --data /srv/till")]
    ResetOwner {
        #[command(flatten)]
        directories: DirectoryFlags,
        #[command(flatten)]
        output: Output,
    },
    /// Let keys work again after the data directory was put back from an older copy
    ///
    /// Requests that were sent after the copy was made are forgotten by this: revoke first what must not be used
    /// again.
    #[command(after_help = "Examples:\n  till admin accept-rollback")]
    AcceptRollback {
        #[command(flatten)]
        connection: Connection,
        #[command(flatten)]
        output: Output,
    },
}

/// How a command finds the server and shows that it may.
#[derive(Args, Clone, Default)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// Profile to use, from `till login` [variable: TILL_PROFILE] [default: the chosen one, unless the flags below or
    /// variables say where the server is]
    #[arg(long, value_name = "NAME", value_parser = profiles::checked_name, conflicts_with_all = ["url", "data", "admin_key_file"])]
    pub(crate) profile: Option<String>,
    /// Where the server is [variable: TILL_URL] [default: what `address` in the data directory says]
    #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) url: Option<String>,
    /// Data directory of a server on this machine [variable: TILL_DATA] [default: $XDG_DATA_HOME/till or ~/.local/share/till]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) data: Option<PathBuf>,
    /// File with the admin key [default: the variable TILL_ADMIN_KEY, then the file that TILL_ADMIN_KEY_FILE names]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) admin_key_file: Option<PathBuf>,
    /// Certificates in PEM that the server may be signed by, besides the system's; may be given more than once
    #[arg(long, alias = "ca", value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) ca_file: Vec<PathBuf>,
}

/// For people or for programs.
#[derive(Args, Clone, Copy)]
pub(crate) struct Output {
    /// Form of the answer
    #[arg(
        long = "output",
        short = 'o',
        value_name = "FORM",
        default_value = "table",
        help_heading = "Output"
    )]
    pub(crate) form: Form,
}

/// For people, for programs, or only the secret that was made.
#[derive(Args, Clone, Copy)]
pub(crate) struct SecretOutput {
    /// Form of the answer; `raw` is the secret alone
    #[arg(
        long = "output",
        short = 'o',
        value_name = "FORM",
        default_value = "table",
        help_heading = "Output"
    )]
    pub(crate) form: SecretForm,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SecretForm {
    Table,
    Json,
    Raw,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    Table,
    Json,
}
