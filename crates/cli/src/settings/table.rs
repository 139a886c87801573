//! The one table of settings.
//!
//! To add a setting: a constant in `env.rs`, a field in `Settings`, a row here. Then run
//! `TILL_UPDATE=1 cargo test -p till-cli` to write `docs/configuration.md` and the help snapshots anew.

use super::value::{self, Kind};
use super::{Level, Settings};
use crate::env::{self, Surroundings};

/// One row: everything there is to know about a setting.
pub(crate) struct Setting {
    /// Name of the flag without `--`. The key in the configuration file is the same with `_` for `-`.
    pub(crate) name: &'static str,
    /// Environment variable.
    pub(crate) env: &'static str,
    /// What a value looks like, and how often it may be given.
    pub(crate) kind: Kind,
    /// What holds when nobody says anything.
    pub(crate) default: Fallback,
    /// Heading in the help and the documentation.
    pub(crate) section: &'static str,
    /// One or more whole sentences.
    pub(crate) help: &'static str,
    /// Checks one value and puts it in effect; the error says what is expected.
    pub(crate) apply: fn(&mut Settings, &str) -> Result<(), String>,
}

/// What holds when nobody says anything.
pub(crate) enum Fallback {
    /// Nothing; the text says what that means.
    Unset(&'static str),
    /// This value.
    Value(&'static str),
    /// A value that depends on the surroundings and on the settings in the rows before.
    Computed {
        /// How the help describes it.
        shown: &'static str,
        /// The value, where there is one.
        compute: fn(&Settings, &Surroundings) -> Option<String>,
    },
}

impl Fallback {
    /// How the help and the documentation show it.
    pub(crate) fn shown(&self) -> &'static str {
        match self {
            Self::Unset(shown) | Self::Value(shown) | Self::Computed { shown, .. } => shown,
        }
    }

    /// The value that holds here.
    pub(crate) fn text(&self, settings: &Settings, surroundings: &Surroundings) -> Option<String> {
        match self {
            Self::Unset(_) => None,
            Self::Value(text) => Some((*text).to_owned()),
            Self::Computed { compute, .. } => compute(settings, surroundings),
        }
    }
}

impl Setting {
    /// The key in the configuration file.
    pub(crate) fn toml_key(&self) -> String {
        self.name.replace('-', "_")
    }
}

const FILES: &str = "Files";
const NETWORK: &str = "Network";
const LIMITS: &str = "Limits";
const LOG: &str = "Log";
const TRACES: &str = "Traces";

/// All settings, in the order in which help and documentation show them.
pub(crate) const TABLE: &[Setting] = &[
    Setting {
        name: "config",
        env: env::CONFIG,
        kind: Kind::ConfigFile,
        default: Fallback::Computed {
            shown: "$XDG_CONFIG_HOME/till/till.toml or ~/.config/till/till.toml, if it exists",
            compute: |_, surroundings| {
                Some(surroundings.config_file().filter(|file| file.exists())?.to_str()?.to_owned())
            },
        },
        section: FILES,
        help: "Configuration file in TOML. Its keys are the names of these flags with `_` for `-`; tables `[providers.NAME]` add providers, tables `[[prices]]` add prices, tables `[[neutral]]` say what costs nothing by itself.",
        apply: |settings, text| value::path(text).map(|path| settings.config = Some(path)),
    },
    Setting {
        name: "data",
        env: env::DATA,
        kind: Kind::Directory,
        default: Fallback::Computed {
            shown: "$XDG_DATA_HOME/till or ~/.local/share/till",
            compute: |_, surroundings| Some(surroundings.data_dir()?.to_str()?.to_owned()),
        },
        section: FILES,
        help: "Data directory: the database and the file `address`. It is made if it is not there.",
        apply: |settings, text| value::path(text).map(|path| settings.data = path),
    },
    Setting {
        name: "key-dir",
        env: env::KEY_DIR,
        kind: Kind::Directory,
        default: Fallback::Computed {
            shown: "`keys` in the data directory",
            compute: |settings, _| Some(settings.data.join("keys").to_str()?.to_owned()),
        },
        section: FILES,
        help: "Where the master key and the roll-back witness live. Keep it out of backups of the data directory.",
        apply: |settings, text| value::path(text).map(|path| settings.key_dir = path),
    },
    Setting {
        name: "master-key-file",
        env: env::MASTER_KEY_FILE,
        kind: Kind::File,
        default: Fallback::Unset("`master.key` in the key directory, made on the first start"),
        section: FILES,
        help: "File with the master key, and older ones in the lines below it. A file named here has to exist. It wins over the variable TILL_MASTER_KEY, which has the key itself.",
        apply: |settings, text| value::path(text).map(|path| settings.master_key_file = Some(path)),
    },
    Setting {
        name: "master-key-command",
        env: env::MASTER_KEY_COMMAND,
        kind: Kind::Command,
        default: Fallback::Unset("no command is run"),
        section: FILES,
        help: "Command that prints the master key, such as one that asks a key management system to unwrap it. It is run at start, without a shell; its first line is the current master key, and further lines are older ones. It wins over the variable TILL_MASTER_KEY.",
        apply: |settings, text| {
            value::command(text).map(|command| settings.master_key_command = Some(command))
        },
    },
    Setting {
        name: "admin-key-file",
        env: env::ADMIN_KEY_FILE,
        kind: Kind::File,
        default: Fallback::Unset("a key is made on the first start and printed once"),
        section: FILES,
        help: "File with the owner's admin key, `till_admin_` and at least 32 letters, digits, `_` or `-`, for unattended installs. \
               Another key than before replaces the owner's. It wins over the variable TILL_ADMIN_KEY, which has the key itself.",
        apply: |settings, text| value::path(text).map(|path| settings.admin_key_file = Some(path)),
    },
    Setting {
        name: "listen",
        env: env::LISTEN,
        kind: Kind::Address,
        default: Fallback::Value("127.0.0.1:4100"),
        section: NETWORK,
        help: "Address and port to listen on. Port 0 takes a free one; the real address is printed and written to `address` in the data directory.",
        apply: |settings, text| value::address(text).map(|address| settings.listen = Some(address)),
    },
    Setting {
        name: "tls-cert",
        env: env::TLS_CERT,
        kind: Kind::File,
        default: Fallback::Unset("clear text"),
        section: NETWORK,
        help: "Certificate chain in PEM, to serve HTTPS. It is read again on SIGHUP.",
        apply: |settings, text| value::path(text).map(|path| settings.tls_cert = Some(path)),
    },
    Setting {
        name: "tls-key",
        env: env::TLS_KEY,
        kind: Kind::File,
        default: Fallback::Unset("clear text"),
        section: NETWORK,
        help: "Private key of the certificate in PEM. It is read again on SIGHUP.",
        apply: |settings, text| value::path(text).map(|path| settings.tls_key = Some(path)),
    },
    Setting {
        name: "trusted-proxies",
        env: env::TRUSTED_PROXIES,
        kind: Kind::Networks,
        default: Fallback::Unset("none"),
        section: NETWORK,
        help: "Addresses or networks of your own proxies and load balancers in front of till. What they say about where a request comes from is believed; nobody else is asked.",
        apply: |settings, text| value::network(text).map(|network| settings.trusted_proxies.push(network)),
    },
    Setting {
        name: "client-address-header",
        env: env::CLIENT_ADDRESS_HEADER,
        kind: Kind::Choice("x-forwarded-for or forwarded"),
        default: Fallback::Value("x-forwarded-for"),
        section: NETWORK,
        help: "The header in which trusted proxies say where a request comes from. The other one is not looked at.",
        apply: |settings, text| {
            value::address_header(text).map(|header| settings.client_address_header = header)
        },
    },
    Setting {
        name: "proxy-protocol",
        env: env::PROXY_PROTOCOL,
        kind: Kind::Switch,
        default: Fallback::Value("off"),
        section: NETWORK,
        help: "Whether connections of trusted proxies begin with a header of the PROXY protocol, version 1 or 2. Then each of them must, and nobody else may.",
        apply: |settings, text| value::switch(text).map(|on| settings.proxy_protocol = on),
    },
    Setting {
        name: "provider-url",
        env: env::PROVIDER_URL,
        kind: Kind::ProviderUrls,
        default: Fallback::Unset("every provider at its own address"),
        section: NETWORK,
        help: "Sends a provider's requests elsewhere: to a gateway, an on-premises server or a test. \
               With `,accept-sealed` keys that were made for the old address are served too, which sends their upstream keys to the new one. With `,bills-alike` answers that the provider documents as not billed \
               are not charged there either.",
        apply: |settings, text| value::provider_url(text).map(|url| settings.provider_urls.push(url)),
    },
    Setting {
        name: "upstream-ca",
        env: env::UPSTREAM_CA,
        kind: Kind::Files,
        default: Fallback::Unset("only the system's certificates"),
        section: NETWORK,
        help: "Certificates in PEM that upstreams may be signed by, besides the system's.",
        apply: |settings, text| value::path(text).map(|path| settings.upstream_ca.push(path)),
    },
    Setting {
        name: "connect-timeout",
        env: env::CONNECT_TIMEOUT,
        kind: Kind::Duration,
        default: Fallback::Value("10s"),
        section: LIMITS,
        help: "How long connecting to an upstream may take, TLS included.",
        apply: |settings, text| value::duration(text).map(|time| settings.connect_timeout = time),
    },
    Setting {
        name: "first-byte-timeout",
        env: env::FIRST_BYTE_TIMEOUT,
        kind: Kind::Duration,
        default: Fallback::Value("10m"),
        section: LIMITS,
        help: "How long an upstream may take to start its answer. Long answers that are not streamed need minutes.",
        apply: |settings, text| value::duration(text).map(|time| settings.first_byte_timeout = time),
    },
    Setting {
        name: "idle-timeout",
        env: env::IDLE_TIMEOUT,
        kind: Kind::Duration,
        default: Fallback::Value("5m"),
        section: LIMITS,
        help: "How long a stream may be silent, in either direction, before it is cut.",
        apply: |settings, text| value::duration(text).map(|time| settings.idle_timeout = time),
    },
    Setting {
        name: "client-header-timeout",
        env: env::CLIENT_HEADER_TIMEOUT,
        kind: Kind::Duration,
        default: Fallback::Value("30s"),
        section: LIMITS,
        help: "How long a client may take to send the head of a request.",
        apply: |settings, text| value::duration(text).map(|time| settings.client_header_timeout = time),
    },
    Setting {
        name: "budget-wait",
        env: env::BUDGET_WAIT,
        kind: Kind::Duration,
        default: Fallback::Value("30s"),
        section: LIMITS,
        help: "How long a request waits while the tokens or money that it needs are only set aside for other requests; after that it is answered 429.",
        apply: |settings, text| value::duration(text).map(|time| settings.budget_wait = time),
    },
    Setting {
        name: "key-lifetime-max",
        env: env::KEY_LIFETIME_MAX,
        kind: Kind::Span,
        default: Fallback::Unset("keys may live for ever"),
        section: LIMITS,
        help: "The longest lifetime of a scoped key. A new key without an end gets this one, a longer one is refused; keys that exist stay as they are.",
        apply: |settings, text| value::span(text).map(|span| settings.key_lifetime_max = Some(span)),
    },
    Setting {
        name: "usage-retention-days",
        env: env::USAGE_RETENTION_DAYS,
        kind: Kind::Count { min: 0, max: 36_500 },
        default: Fallback::Value("90"),
        section: LIMITS,
        help: "How many days the record of each call is kept; 0 keeps them for ever. Sums per day stay.",
        apply: |settings, text| {
            value::count(text, 0, 36_500).map(|days| settings.usage_retention_days = days)
        },
    },
    Setting {
        name: "audit-retention-days",
        env: env::AUDIT_RETENTION_DAYS,
        kind: Kind::Count { min: 0, max: 36_500 },
        default: Fallback::Value("0"),
        section: LIMITS,
        help: "How many days entries of the audit log are kept; 0 keeps them for ever. What is older goes up to a signed checkpoint, so that the rest can still be verified.",
        apply: |settings, text| {
            value::count(text, 0, 36_500).map(|days| settings.audit_retention_days = days)
        },
    },
    Setting {
        name: "shutdown-grace",
        env: env::SHUTDOWN_GRACE,
        kind: Kind::Duration,
        default: Fallback::Value("30s"),
        section: LIMITS,
        help: "How long requests in flight may go on after SIGTERM.",
        apply: |settings, text| value::duration(text).map(|time| settings.shutdown_grace = time),
    },
    Setting {
        name: "header-bytes-max",
        env: env::HEADER_BYTES_MAX,
        kind: Kind::Count { min: 1024, max: 16 * 1024 * 1024 },
        default: Fallback::Value("65536"),
        section: LIMITS,
        help: "The longest request head in bytes.",
        apply: |settings, text| {
            value::count(text, 1024, 16 * 1024 * 1024).map(|bytes| settings.header_bytes_max = bytes)
        },
    },
    Setting {
        name: "header-count-max",
        env: env::HEADER_COUNT_MAX,
        kind: Kind::Count { min: 8, max: 10_000 },
        default: Fallback::Value("100"),
        section: LIMITS,
        help: "How many headers a request may have.",
        apply: |settings, text| value::count(text, 8, 10_000).map(|count| settings.header_count_max = count),
    },
    Setting {
        name: "in-flight-max",
        env: env::IN_FLIGHT_MAX,
        kind: Kind::Count { min: 1, max: 10_000_000 },
        default: Fallback::Value("10000"),
        section: LIMITS,
        help: "How many requests may be in flight at once; the ones above it are answered 503.",
        apply: |settings, text| value::count(text, 1, 10_000_000).map(|count| settings.in_flight_max = count),
    },
    Setting {
        name: "worker-threads",
        env: env::WORKER_THREADS,
        kind: Kind::Count { min: 1, max: 1024 },
        default: Fallback::Unset("one per processor"),
        section: LIMITS,
        help: "Number of threads that serve requests.",
        apply: |settings, text| {
            value::count(text, 1, 1024).map(|count| settings.worker_threads = Some(count))
        },
    },
    Setting {
        name: "log-format",
        env: env::LOG_FORMAT,
        kind: Kind::Choice("human or json"),
        default: Fallback::Computed {
            shown: "human on a terminal, json elsewhere",
            compute: |_, surroundings| {
                Some((if surroundings.stderr_is_terminal { "human" } else { "json" }).to_owned())
            },
        },
        section: LOG,
        help: "Form of the log on stderr: lines for people, or a JSON object per line. `text` is another word for human.",
        apply: |settings, text| value::log_format(text).map(|format| settings.log_format = format),
    },
    Setting {
        name: "log-level",
        env: env::LOG_LEVEL,
        kind: Kind::Choice("error, warn, info, debug or trace"),
        default: Fallback::Value("info"),
        section: LOG,
        help: "The least important events that are logged. No level logs a key or a body.",
        apply: |settings, text| value::log_level(text).map(|level| settings.log_level = Level(level)),
    },
    Setting {
        name: "log-requests",
        env: env::LOG_REQUESTS,
        kind: Kind::Switch,
        default: Fallback::Value("on"),
        section: LOG,
        help: "Whether every request is logged, in one line.",
        apply: |settings, text| value::switch(text).map(|on| settings.log_requests = on),
    },
    Setting {
        name: "otlp-endpoint",
        env: env::OTLP_ENDPOINT,
        kind: Kind::Url,
        default: Fallback::Unset("no traces"),
        section: TRACES,
        help: "Where a collector takes traces by OTLP over HTTP, in JSON; `/v1/traces` is added to it. With `https` the certificates of upstream-ca count too.",
        apply: |settings, text| value::url(text).map(|url| settings.otlp_endpoint = Some(url)),
    },
    Setting {
        name: "otlp-sample-ratio",
        env: env::OTLP_SAMPLE_RATIO,
        kind: Kind::Ratio,
        default: Fallback::Value("1"),
        section: TRACES,
        help: "Which part of the requests is traced. A client that sends a `traceparent` decides for its own.",
        apply: |settings, text| value::ratio(text).map(|ratio| settings.otlp_sample_ratio = ratio),
    },
    Setting {
        name: "otlp-propagate",
        env: env::OTLP_PROPAGATE,
        kind: Kind::Switch,
        default: Fallback::Value("off"),
        section: TRACES,
        help: "Whether a provider gets the span of till as the parent in `traceparent` when a request is traced. Off, it gets what the client sent, unchanged.",
        apply: |settings, text| value::switch(text).map(|on| settings.otlp_propagate = on),
    },
];
