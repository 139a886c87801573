//! Settings of the server: what the user wrote, and what the program runs on.
//!
//! [`TABLE`] is the one definition of every setting. It gives the flags of `till start`, the `TILL_…`
//! variables, the keys of the configuration file, `till config show` and `docs/configuration.md`.
//! [`Written`] is what somebody wrote and where; [`Settings`] is what the program runs on.
//!
//! Invariants:
//! - A flag wins over a variable, a variable over the file, the file over the default. A repeatable
//!   setting is taken whole from the first of these places that has it; places are never mixed.
//! - All mistakes are reported together, those in values that another place overrides included.

mod custom_provider;
#[cfg(test)]
mod document;
mod file;
mod flags;
mod mistake;
mod neutral;
mod table;
#[cfg(test)]
mod tests;
mod value;
mod written;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use till_core::scope::Network;
use till_providers::price::PriceFile;
use till_providers::{BaseUrl, Registry};
use till_proxy::{AddressHeader, SampleRatio};
use tracing_subscriber::filter::LevelFilter;

pub(crate) use flags::{DirectoryFlags, KeyFlags, PlaceFlags, SettingFlags};
pub(crate) use mistake::{Mistake, Mistakes};
pub(crate) use table::{Setting, TABLE};
pub(crate) use value::{LogFormat, ProviderUrl};
pub(crate) use written::{Source, Written};

use crate::env::Surroundings;
use crate::prices;

/// What the program runs on. Every field is checked; the fields stand in the order of [`TABLE`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) config: Option<PathBuf>,
    pub(crate) data: PathBuf,
    pub(crate) key_dir: PathBuf,
    pub(crate) master_key_file: Option<PathBuf>,
    /// The program and its arguments.
    pub(crate) master_key_command: Option<Vec<String>>,
    pub(crate) admin_key_file: Option<PathBuf>,
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) tls_cert: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
    pub(crate) trusted_proxies: Vec<Network>,
    pub(crate) client_address_header: AddressHeader,
    pub(crate) proxy_protocol: bool,
    pub(crate) provider_urls: Vec<ProviderUrl>,
    pub(crate) upstream_ca: Vec<PathBuf>,
    pub(crate) connect_timeout: Duration,
    pub(crate) first_byte_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) client_header_timeout: Duration,
    pub(crate) budget_wait: Duration,
    pub(crate) key_lifetime_max: Option<Duration>,
    pub(crate) usage_retention_days: usize,
    pub(crate) audit_retention_days: usize,
    pub(crate) shutdown_grace: Duration,
    pub(crate) header_bytes_max: usize,
    pub(crate) header_count_max: usize,
    pub(crate) in_flight_max: usize,
    pub(crate) worker_threads: Option<usize>,
    pub(crate) log_format: LogFormat,
    pub(crate) log_level: Level,
    pub(crate) log_requests: bool,
    pub(crate) otlp_endpoint: Option<BaseUrl>,
    pub(crate) otlp_sample_ratio: SampleRatio,
    pub(crate) otlp_propagate: bool,
    /// The built-in providers, those of the configuration file, and where `provider_urls` points them.
    pub(crate) registry: Registry,
    /// Prices of the configuration file.
    pub(crate) prices: PriceFile,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level(pub(crate) LevelFilter);

impl Default for Level {
    fn default() -> Self {
        Self(LevelFilter::INFO)
    }
}

impl Settings {
    /// Everything that was written, checked and put in effect.
    ///
    /// # Errors
    /// All mistakes at once.
    pub(crate) fn resolve(written: &Written, surroundings: &Surroundings) -> Result<Self, Mistakes> {
        let (settings, mistakes) = Self::resolve_what_is_right(written, surroundings);
        if mistakes.is_empty() { Ok(settings) } else { Err(Mistakes(mistakes)) }
    }

    /// The same with the mistakes beside it, for whoever looks for more of them. Unless there are none, the
    /// settings are not to be run on: where a value is wrong nothing is set.
    pub(crate) fn resolve_what_is_right(
        written: &Written,
        surroundings: &Surroundings,
    ) -> (Self, Vec<Mistake>) {
        let mut mistakes = written.mistakes.clone();
        let mut settings = Self::default();
        for setting in TABLE {
            for (place, entries) in written.of(setting).into_iter().enumerate() {
                // Overridden values are checked as well, on a copy that is thrown away.
                let mut scratch = Self::default();
                let target = if place == 0 { &mut settings } else { &mut scratch };
                mistakes.extend(entries.iter().filter_map(|entry| {
                    (setting.apply)(target, &entry.text)
                        .err()
                        .map(|rule| Mistake::new(setting.name, &entry.source, &rule))
                }));
            }
            if written.of(setting).is_empty()
                && let Some(default) = setting.default.text(&settings, surroundings)
                && let Err(rule) = (setting.apply)(&mut settings, &default)
            {
                mistakes.push(Mistake::new(setting.name, &Source::Default, &rule));
            }
        }
        settings.fill_registry(written, &mut mistakes);
        settings.prices = written.prices.clone();
        let unknown = prices::unknown_providers(&settings.prices, &settings.registry);
        mistakes.extend(unknown.iter().map(|mistake| Mistake::bare("prices provider", &mistake.rule)));
        settings.check_together(&mut mistakes);
        (settings, mistakes)
    }

    /// How long usage records are kept; `None` is for ever.
    pub(crate) fn usage_retention(&self) -> Option<Duration> {
        days(self.usage_retention_days)
    }

    /// How long entries of the audit log are kept; `None` is for ever.
    pub(crate) fn audit_retention(&self) -> Option<Duration> {
        days(self.audit_retention_days)
    }

    /// The address to listen on.
    pub(crate) fn listen(&self) -> SocketAddr {
        self.listen.expect("the table has a default address")
    }

    /// Certificate chain and private key of the listener.
    pub(crate) fn tls_files(&self) -> Option<(&Path, &Path)> {
        self.tls_cert.as_deref().zip(self.tls_key.as_deref())
    }

    /// Rules over more than one setting.
    fn check_together(&self, mistakes: &mut Vec<Mistake>) {
        let pairs = [
            ("tls-cert", &self.tls_cert, "tls-key", &self.tls_key),
            ("tls-key", &self.tls_key, "tls-cert", &self.tls_cert),
        ];
        for (name, file, other, other_file) in pairs {
            if file.is_some()
                && other_file.is_none()
                && !mistakes.iter().any(|mistake| mistake.setting == other)
            {
                mistakes.push(Mistake::bare(name, &format!("is set without {other}; TLS needs both files")));
            }
        }
        if self.master_key_file.is_some() && self.master_key_command.is_some() {
            let rule = "is set beside master-key-file; the master key comes from one place";
            mistakes.push(Mistake::bare("master-key-command", rule));
        }
        if self.proxy_protocol
            && self.trusted_proxies.is_empty()
            && !mistakes.iter().any(|mistake| mistake.setting == "trusted-proxies")
        {
            let rule = "is on without trusted-proxies; only they may say for whom a connection is";
            mistakes.push(Mistake::bare("proxy-protocol", rule));
        }
        if self.data.as_os_str().is_empty() && !mistakes.iter().any(|mistake| mistake.setting == "data") {
            mistakes.push(Mistake::bare(
                "data",
                "has no default here, because neither HOME nor XDG_DATA_HOME is set: give --data DIR",
            ));
        }
    }

    /// Adds the providers of the file and points providers elsewhere.
    fn fill_registry(&mut self, written: &Written, mistakes: &mut Vec<Mistake>) {
        for written in &written.custom_providers {
            if let Err(errors) = self.registry.add_custom(written.provider.clone()) {
                let setting = format!("providers.{}", written.provider.id);
                mistakes.extend(
                    errors.iter().map(|error| Mistake::new(&setting, &written.source, &error.to_string())),
                );
            }
        }
        for written in &written.neutral {
            if let Err(error) = self.registry.add_neutral(written.row.clone()) {
                mistakes.push(Mistake::new("neutral", &written.source, &error.to_string()));
            }
        }
        for (index, wanted) in self.provider_urls.iter().enumerate() {
            if self.provider_urls[..index].iter().any(|earlier| earlier.provider == wanted.provider) {
                mistakes.push(Mistake::bare(
                    "provider-url",
                    &format!("names provider `{}` twice", wanted.provider),
                ));
            }
            let outcome = self
                .registry
                .repoint(&wanted.provider, wanted.url.as_str(), wanted.accept_sealed)
                .and_then(|()| {
                    if wanted.bills_alike { self.registry.bills_alike(&wanted.provider) } else { Ok(()) }
                });
            if written.custom_providers.iter().any(|custom| custom.provider.id == wanted.provider) {
                // It is there, or it is missing because of a mistake that is reported already.
                continue;
            }
            mistakes.extend(outcome.err().map(|error| Mistake::bare("provider-url", &error.to_string())));
        }
    }
}

/// So many days; none are for ever.
fn days(count: usize) -> Option<Duration> {
    let days = u64::try_from(count).expect("a small number");
    (days > 0).then(|| Duration::from_secs(days * 24 * 3600))
}
