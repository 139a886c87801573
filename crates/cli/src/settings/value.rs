//! Texts of settings, turned into values. An error names the rule that the text breaks.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueHint;
use till_core::scope::Network;
use till_providers::BaseUrl;
use till_proxy::{AddressHeader, SampleRatio};
use tracing_subscriber::filter::LevelFilter;

use crate::span;

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The configuration file, which can't name itself.
    ConfigFile,
    /// A directory.
    Directory,
    /// A file.
    File,
    /// Any number of files.
    Files,
    /// IP address and port.
    Address,
    /// A program and its arguments.
    Command,
    /// Any number of `provider=URL`.
    ProviderUrls,
    /// Any number of IP addresses and networks.
    Networks,
    /// A number with a unit of time.
    Duration,
    /// A longer time, in days for example.
    Span,
    /// A whole number within bounds.
    Count {
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
    /// `on` or `off`.
    Switch,
    /// A URL.
    Url,
    /// A part of everything.
    Ratio,
    /// One of these words.
    Choice(&'static str),
}

impl Kind {
    /// The placeholder in the help.
    pub(crate) fn value_name(self) -> &'static str {
        match self {
            Self::ConfigFile | Self::File | Self::Files => "FILE",
            Self::Directory => "DIR",
            Self::Command => "COMMAND",
            Self::Address => "ADDR",
            Self::ProviderUrls => "PROVIDER=URL",
            Self::Networks => "NETWORK",
            Self::Duration => "TIME",
            Self::Span => "SPAN",
            Self::Count { .. } => "N",
            Self::Switch => "on|off",
            Self::Url => "URL",
            Self::Ratio => "RATIO",
            Self::Choice(_) => "WORD",
        }
    }

    /// What a value has to be, in words.
    pub(crate) fn rule(self) -> String {
        match self {
            Self::ConfigFile | Self::File => "path of a file".to_owned(),
            Self::Files => "path of a file; may be given more than once".to_owned(),
            Self::Directory => "path of a directory".to_owned(),
            Self::Command => "a program and its arguments, quoted as in a shell".to_owned(),
            Self::Address => "IP address and port, such as `127.0.0.1:4100` or `[::1]:0`".to_owned(),
            Self::ProviderUrls => {
                "`openai=http://127.0.0.1:9000`, with `,accept-sealed` and `,bills-alike` if wanted; may be given more than once"
                    .to_owned()
            }
            Self::Networks => {
                "IP address or network, such as `10.0.0.0/8` or `::1`; may be given more than once".to_owned()
            }
            Self::Duration => "a number with `ms`, `s`, `m` or `h`, such as `30s`".to_owned(),
            Self::Span => span::RULE.to_owned(),
            Self::Count { min, max } => format!("a whole number from {min} to {max}"),
            Self::Switch => "`on` or `off`".to_owned(),
            Self::Url => "a URL, such as `http://127.0.0.1:4318`".to_owned(),
            Self::Ratio => "a number from 0 to 1 with at most nine decimals, such as `0.1`".to_owned(),
            Self::Choice(words) => words.to_owned(),
        }
    }

    /// Whether it may be given more than once.
    pub(crate) fn is_list(self) -> bool {
        matches!(self, Self::Files | Self::ProviderUrls | Self::Networks)
    }

    /// Whether the configuration file may have it.
    pub(crate) fn is_in_file(self) -> bool {
        self != Self::ConfigFile
    }

    /// What a shell should complete.
    pub(crate) fn hint(self) -> ValueHint {
        match self {
            Self::ConfigFile | Self::File | Self::Files => ValueHint::FilePath,
            Self::Directory => ValueHint::DirPath,
            Self::Command => ValueHint::CommandString,
            Self::ProviderUrls | Self::Url => ValueHint::Url,
            _ => ValueHint::Other,
        }
    }
}

/// Form of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// A line of text per event.
    #[default]
    Human,
    /// A JSON object per event.
    Json,
}

/// Where a provider's requests go instead of its own address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProviderUrl {
    pub(crate) provider: String,
    pub(crate) url: BaseUrl,
    /// Whether keys that were sealed for another address are served too.
    pub(crate) accept_sealed: bool,
    pub(crate) bills_alike: bool,
}

pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("is empty; expected a path".to_owned());
    }
    Ok(PathBuf::from(text))
}

/// The words of a command. There is no shell: nothing in them is replaced.
pub(super) fn command(text: &str) -> Result<Vec<String>, String> {
    let words = shlex::split(text).filter(|words| !words.is_empty());
    words.ok_or_else(|| {
        "is no command; expected a program and its arguments, with quotes that are closed".to_owned()
    })
}

pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    if let Some(port) = text.strip_prefix("localhost:").and_then(|port| port.parse().ok()) {
        return Ok((Ipv4Addr::LOCALHOST, port).into());
    }
    text.parse().map_err(|_| expected(text, &Kind::Address.rule()))
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let millis_per_unit = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let millis = number
        .parse::<u64>()
        .ok()
        .zip(millis_per_unit)
        .and_then(|(number, factor)| number.checked_mul(factor))
        .ok_or_else(|| expected(text, &Kind::Duration.rule()))?;
    if millis == 0 || millis > DURATION_MILLIS_MAX {
        return Err(format!("`{text}` is out of bounds; a time is longer than nothing and at most 24h"));
    }
    Ok(Duration::from_millis(millis))
}

pub(super) fn span(text: &str) -> Result<Duration, String> {
    span::seconds(text).map(Duration::from_secs).map_err(|_| expected(text, span::RULE))
}

const DURATION_MILLIS_MAX: u64 = 24 * 3_600_000;

pub(super) fn count(text: &str, min: usize, max: usize) -> Result<usize, String> {
    let number = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    number
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| expected(text, &Kind::Count { min, max }.rule()))
}

pub(super) fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(expected(text, &Kind::Switch.rule())),
    }
}

pub(super) fn network(text: &str) -> Result<Network, String> {
    Network::parse(text).map_err(|error| format!("`{text}` is not allowed: {error}"))
}

pub(super) fn address_header(text: &str) -> Result<AddressHeader, String> {
    match text {
        "x-forwarded-for" => Ok(AddressHeader::XForwardedFor),
        "forwarded" => Ok(AddressHeader::Forwarded),
        _ => Err(expected(text, "x-forwarded-for or forwarded")),
    }
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "human" | "text" => Ok(LogFormat::Human),
        "json" => Ok(LogFormat::Json),
        _ => Err(expected(text, "human or json")),
    }
}

pub(super) fn log_level(text: &str) -> Result<LevelFilter, String> {
    match text {
        "error" => Ok(LevelFilter::ERROR),
        "warn" => Ok(LevelFilter::WARN),
        "info" => Ok(LevelFilter::INFO),
        "debug" => Ok(LevelFilter::DEBUG),
        "trace" => Ok(LevelFilter::TRACE),
        _ => Err(expected(text, "error, warn, info, debug or trace")),
    }
}

pub(super) fn provider_url(text: &str) -> Result<ProviderUrl, String> {
    let (provider, rest) = text.split_once('=').ok_or_else(|| expected(text, &Kind::ProviderUrls.rule()))?;
    let mut parts = rest.split(',');
    let url = parts.next().unwrap_or_default();
    let (mut accept_sealed, mut bills_alike) = (false, false);
    for option in parts {
        match option {
            "accept-sealed" => accept_sealed = true,
            "bills-alike" => bills_alike = true,
            _ => return Err(format!("`{option}` is no option; these are `accept-sealed` and `bills-alike`")),
        }
    }
    let parsed =
        url.parse::<BaseUrl>().map_err(|error| format!("the URL of `{provider}` is refused: {error}"))?;
    Ok(ProviderUrl { provider: provider.to_owned(), url: parsed, accept_sealed, bills_alike })
}

pub(super) fn url(text: &str) -> Result<BaseUrl, String> {
    // The text is not repeated: it could have a password.
    text.parse().map_err(|error| format!("is refused: {error}; expected {}", Kind::Url.rule()))
}

pub(super) fn ratio(text: &str) -> Result<SampleRatio, String> {
    SampleRatio::parse(text).ok_or_else(|| expected(text, &Kind::Ratio.rule()))
}

fn expected(text: &str, rule: &str) -> String {
    format!("`{text}` is not allowed; expected {rule}")
}
