//! The process environment, read once, in one place.
//!
//! Invariant: nothing else in till asks for an environment variable. Every name that means something
//! is a constant here, and what was read travels on as a value, so tests never touch the real one.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;

pub(crate) const DATA: &str = "TILL_DATA";
pub(crate) const KEY_DIR: &str = "TILL_KEY_DIR";
pub(crate) const MASTER_KEY_FILE: &str = "TILL_MASTER_KEY_FILE";
pub(crate) const MASTER_KEY_COMMAND: &str = "TILL_MASTER_KEY_COMMAND";
pub(crate) const ADMIN_KEY_FILE: &str = "TILL_ADMIN_KEY_FILE";
pub(crate) const CONFIG: &str = "TILL_CONFIG";
pub(crate) const LISTEN: &str = "TILL_LISTEN";
pub(crate) const TLS_CERT: &str = "TILL_TLS_CERT";
pub(crate) const TLS_KEY: &str = "TILL_TLS_KEY";
pub(crate) const TRUSTED_PROXIES: &str = "TILL_TRUSTED_PROXIES";
pub(crate) const CLIENT_ADDRESS_HEADER: &str = "TILL_CLIENT_ADDRESS_HEADER";
pub(crate) const PROXY_PROTOCOL: &str = "TILL_PROXY_PROTOCOL";
pub(crate) const PROVIDER_URL: &str = "TILL_PROVIDER_URL";
pub(crate) const UPSTREAM_CA: &str = "TILL_UPSTREAM_CA";
pub(crate) const CONNECT_TIMEOUT: &str = "TILL_CONNECT_TIMEOUT";
pub(crate) const FIRST_BYTE_TIMEOUT: &str = "TILL_FIRST_BYTE_TIMEOUT";
pub(crate) const IDLE_TIMEOUT: &str = "TILL_IDLE_TIMEOUT";
pub(crate) const CLIENT_HEADER_TIMEOUT: &str = "TILL_CLIENT_HEADER_TIMEOUT";
pub(crate) const BUDGET_WAIT: &str = "TILL_BUDGET_WAIT";
pub(crate) const KEY_LIFETIME_MAX: &str = "TILL_KEY_LIFETIME_MAX";
pub(crate) const USAGE_RETENTION_DAYS: &str = "TILL_USAGE_RETENTION_DAYS";
pub(crate) const AUDIT_RETENTION_DAYS: &str = "TILL_AUDIT_RETENTION_DAYS";
pub(crate) const SHUTDOWN_GRACE: &str = "TILL_SHUTDOWN_GRACE";
pub(crate) const HEADER_BYTES_MAX: &str = "TILL_HEADER_BYTES_MAX";
pub(crate) const HEADER_COUNT_MAX: &str = "TILL_HEADER_COUNT_MAX";
pub(crate) const IN_FLIGHT_MAX: &str = "TILL_IN_FLIGHT_MAX";
pub(crate) const WORKER_THREADS: &str = "TILL_WORKER_THREADS";
pub(crate) const LOG_FORMAT: &str = "TILL_LOG_FORMAT";
pub(crate) const LOG_LEVEL: &str = "TILL_LOG_LEVEL";
pub(crate) const LOG_REQUESTS: &str = "TILL_LOG_REQUESTS";
pub(crate) const OTLP_ENDPOINT: &str = "TILL_OTLP_ENDPOINT";
pub(crate) const OTLP_SAMPLE_RATIO: &str = "TILL_OTLP_SAMPLE_RATIO";
pub(crate) const OTLP_PROPAGATE: &str = "TILL_OTLP_PROPAGATE";

/// Prefix of every variable that is ours; one that is not known is a mistake worth reporting.
pub(crate) const PREFIX: &str = "TILL_";

/// Where the commands find the server.
pub(crate) const URL: &str = "TILL_URL";
/// The profile that the commands use.
pub(crate) const PROFILE: &str = "TILL_PROFILE";
/// The admin key: what the commands authenticate with, and the owner key that `till start` presets.
pub(crate) const ADMIN_KEY: &str = "TILL_ADMIN_KEY";
/// The master key itself, for places that hand out secrets as variables.
pub(crate) const MASTER_KEY: &str = "TILL_MASTER_KEY";
/// Master keys from before, with commas in between.
pub(crate) const MASTER_KEY_OLD: &str = "TILL_MASTER_KEY_OLD";

/// Variables with our prefix that are not settings.
pub(crate) const NOT_SETTINGS: &[&str] = &[
    URL,
    PROFILE,
    ADMIN_KEY,
    MASTER_KEY,
    MASTER_KEY_OLD,
    #[cfg(feature = "failpoints")]
    FAILPOINT,
];

/// The file in which a test says where the process ends.
#[cfg(feature = "failpoints")]
pub(crate) const FAILPOINT: &str = "TILL_FAILPOINT";

const HOME: &str = "HOME";
const XDG_DATA_HOME: &str = "XDG_DATA_HOME";
const XDG_CONFIG_HOME: &str = "XDG_CONFIG_HOME";

/// Lower case wins where both are set, as in curl; upper-case `HTTP_PROXY` counts too, because till is
/// no CGI program whose callers could set it.
const HTTPS_PROXY: [&str; 2] = ["https_proxy", "HTTPS_PROXY"];
const HTTP_PROXY: [&str; 2] = ["http_proxy", "HTTP_PROXY"];
const NO_PROXY: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// What surrounds the process: its environment and whether somebody is looking.
#[derive(Clone, Default)]
pub(crate) struct Surroundings {
    variables: BTreeMap<String, String>,
    /// Whether stderr, where the log goes, is a terminal.
    pub(crate) stderr_is_terminal: bool,
}

/// Proxies towards upstreams, exactly as they were given.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct ProxyVariables {
    pub(crate) https: Option<String>,
    pub(crate) http: Option<String>,
    pub(crate) no_proxy: Option<String>,
}

impl Surroundings {
    /// Reads the real environment.
    pub(crate) fn of_process() -> Self {
        let text = |part: std::ffi::OsString| part.to_string_lossy().into_owned();
        Self {
            variables: std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect(),
            stderr_is_terminal: std::io::stderr().is_terminal(),
        }
    }

    /// For tests: exactly these variables.
    #[cfg(test)]
    pub(crate) fn of(variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Self { variables: variables.collect(), stderr_is_terminal: false }
    }

    /// A variable; one that is set to nothing counts as not set.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The names of all variables that are set and start with [`PREFIX`].
    pub(crate) fn our_names(&self) -> impl Iterator<Item = &str> {
        self.variables
            .iter()
            .filter(|(name, value)| name.starts_with(PREFIX) && !value.is_empty())
            .map(|(name, _)| name.as_str())
    }

    /// Where data lives when nobody says otherwise.
    pub(crate) fn data_dir(&self) -> Option<PathBuf> {
        self.xdg(XDG_DATA_HOME, ".local/share")
    }

    /// The configuration file that is read when it exists and nobody names another.
    pub(crate) fn config_file(&self) -> Option<PathBuf> {
        Some(self.xdg(XDG_CONFIG_HOME, ".config")?.join("till.toml"))
    }

    /// The file that `till login` writes.
    pub(crate) fn profiles_file(&self) -> Option<PathBuf> {
        Some(self.xdg(XDG_CONFIG_HOME, ".config")?.join("profiles.toml"))
    }

    /// Proxies for upstream connections.
    pub(crate) fn proxies(&self) -> ProxyVariables {
        let first =
            |names: [&str; 2]| names.iter().find_map(|name| self.variable(name)).map(ToOwned::to_owned);
        ProxyVariables { https: first(HTTPS_PROXY), http: first(HTTP_PROXY), no_proxy: first(NO_PROXY) }
    }

    /// The XDG rule: the variable when it is an absolute path, else the place below the home directory.
    fn xdg(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let given = self.variable(variable).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = given.or_else(|| Some(PathBuf::from(self.variable(HOME)?).join(below_home)))?;
        Some(base.join("till"))
    }
}

#[cfg(test)]
mod tests {
    use super::Surroundings;
    use std::path::Path;

    #[test]
    fn directories_follow_the_xdg_rule() {
        let check = |variables: &[(&str, &str)], data: Option<&str>| {
            assert_eq!(Surroundings::of(variables).data_dir().as_deref(), data.map(Path::new));
        };
        check(&[("HOME", "/h")], Some("/h/.local/share/till"));
        check(&[("HOME", "/h"), ("XDG_DATA_HOME", "/x")], Some("/x/till"));
        check(&[("HOME", "/h"), ("XDG_DATA_HOME", "relative")], Some("/h/.local/share/till"));
        check(&[("HOME", "/h"), ("XDG_DATA_HOME", "")], Some("/h/.local/share/till"));
        check(&[], None);
    }

    #[test]
    fn proxies_are_read_in_both_cases() {
        let surroundings = Surroundings::of(&[
            ("HTTPS_PROXY", "http://upper:1"),
            ("https_proxy", "http://lower:1"),
            ("NO_PROXY", "localhost"),
            ("HTTP_PROXY", ""),
        ]);
        let proxies = surroundings.proxies();
        assert_eq!(proxies.https.as_deref(), Some("http://lower:1"));
        assert_eq!(proxies.no_proxy.as_deref(), Some("localhost"));
        assert_eq!(proxies.http, None);
    }
}
