//! What the settings point to: certificates, and secrets in files and variables. Read once, before anything
//! else is done.
//!
//! Invariant: settings and everything they name are checked together, so `till start` and `till config check`
//! report the same mistakes, all of them, and none of them has an effect.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use rustls::ServerConfig;
use till_core::secret::Secret;
use till_core::token::ADMIN_TOKEN_PREFIX;

use crate::env::{self, Surroundings};
use crate::local_file;
use crate::master_keys::{self, Given};
use crate::settings::{Mistake, Mistakes, Settings, Written};
use crate::tls::{self, Roots};

/// A preset key is as long as one that nobody can guess.
const PRESET_RANDOM_CHARS_MIN: usize = 32;

const PRESET_CHARS_MAX: usize = 256;

/// Everything that was named, read and checked.
pub(crate) struct Inputs {
    /// Certificate and key of the listener, if it has any.
    pub(crate) listener_tls: Option<Arc<ServerConfig>>,
    /// What upstreams may be signed by.
    pub(crate) upstream_roots: Roots,
    /// The owner's key, if somebody presets it.
    pub(crate) owner_key: Option<Secret>,
    /// The master keys that somebody gives. Those in the key directory are no input: an earlier start made them; nor is what
    /// a command prints, which is run when till starts.
    pub(crate) master_keys: Given,
}

/// Checks the settings and reads what they name.
///
/// # Errors
/// All mistakes at once: a wrong setting does not keep the files of the others from being looked at.
pub(crate) fn read(written: &Written, surroundings: &Surroundings) -> Result<(Settings, Inputs), Mistakes> {
    let (settings, mistakes) = Settings::resolve_what_is_right(written, surroundings);
    let mut reader = Reader { written, mistakes };
    let inputs = Inputs {
        listener_tls: reader.listener_tls(&settings),
        upstream_roots: reader.upstream_roots(&settings),
        master_keys: Given {
            keys: reader.secret(
                ("master-key-file", settings.master_key_file.as_deref()),
                (env::MASTER_KEY, surroundings),
                |text| master_keys::parse(&text),
            ),
            older: reader
                .secret(("", None), (env::MASTER_KEY_OLD, surroundings), |text| {
                    master_keys::parse_older(&text)
                })
                .unwrap_or_default(),
        },
        owner_key: reader.secret(
            ("admin-key-file", settings.admin_key_file.as_deref()),
            (env::ADMIN_KEY, surroundings),
            parse_owner_key,
        ),
    };
    if reader.mistakes.is_empty() { Ok((settings, inputs)) } else { Err(Mistakes(reader.mistakes)) }
}

/// Reads, and keeps what goes wrong with the name of the setting.
struct Reader<'a> {
    written: &'a Written,
    mistakes: Vec<Mistake>,
}

impl Reader<'_> {
    /// The value, or nothing and one mistake more.
    fn keep<T>(&mut self, setting: &str, outcome: anyhow::Result<T>) -> Option<T> {
        let error = match outcome {
            Ok(value) => return Some(value),
            Err(error) => format!("{error:#}"),
        };
        self.mistakes.push(match self.written.source_of(setting) {
            Some(source) => Mistake::new(setting, source, &error),
            None => Mistake::bare(setting, &error),
        });
        None
    }

    fn listener_tls(&mut self, settings: &Settings) -> Option<Arc<ServerConfig>> {
        let chain = settings.tls_cert.as_deref().map(|file| self.keep("tls-cert", tls::certificates(file)));
        let key = settings.tls_key.as_deref().map(|file| self.keep("tls-key", tls::private_key(file)));
        self.keep("tls-cert", tls::listener(chain??, key??))
    }

    fn upstream_roots(&mut self, settings: &Settings) -> Roots {
        let mut roots = tls::system_roots();
        for file in &settings.upstream_ca {
            roots.certificates.extend(self.keep("upstream-ca", tls::certificates(file)).unwrap_or_default());
        }
        roots
    }

    /// A secret from a file or a variable. The file wins, and the variable is checked all the same.
    fn secret<T>(
        &mut self,
        (setting, file): (&str, Option<&Path>),
        (variable, surroundings): (&str, &Surroundings),
        parse: fn(Secret) -> anyhow::Result<T>,
    ) -> Option<T> {
        let in_file = file.map(|file| {
            let read = local_file::read_secret(file)
                .and_then(|secret| parse(secret).with_context(|| format!("in {}", file.display())));
            self.keep(setting, read)
        });
        let in_variable =
            surroundings.variable(variable).map(|text| self.keep(variable, parse(Secret::new(text.trim()))));
        in_file.or(in_variable).flatten()
    }
}

fn parse_owner_key(key: Secret) -> anyhow::Result<Secret> {
    anyhow::ensure!(
        is_strong(&key),
        "the owner key can't be used: it has to be `{ADMIN_TOKEN_PREFIX}` and at least {PRESET_RANDOM_CHARS_MIN} random \
         letters, digits, `_` or `-`"
    );
    Ok(key)
}

fn is_strong(key: &Secret) -> bool {
    let Some(random) = key.reveal().strip_prefix(ADMIN_TOKEN_PREFIX.as_bytes()) else { return false };
    (PRESET_RANDOM_CHARS_MIN..=PRESET_CHARS_MAX).contains(&random.len())
        && random.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use till_core::secret::Secret;

    use super::{is_strong, read};
    use crate::env::Surroundings;
    use crate::settings::{Mistakes, SettingFlags, Written};

    /// The mistakes of these flags and variables, one text each.
    fn mistakes(flags: &[(&'static str, &str)], variables: &[(&str, &str)]) -> Vec<String> {
        let surroundings = Surroundings::of(&[&[("HOME", "/home/u")], variables].concat());
        let outcome = read(&Written::gather(&SettingFlags::of(flags), &surroundings), &surroundings);
        let Mistakes(mistakes) = outcome.err().expect("there are mistakes");
        mistakes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn settings_and_what_they_name_are_checked_together() {
        let check = |flags: &[(&'static str, &str)], variables: &[(&str, &str)], expected: &[&str]| {
            let found = mistakes(flags, variables);
            for start in expected {
                assert!(found.iter().any(|mistake| mistake.starts_with(start)), "{start}\n{found:#?}");
            }
            assert_eq!(found.len(), expected.len(), "{found:#?}");
        };
        let files = [
            ("tls-cert", "/none1"),
            ("tls-key", "/none2"),
            ("upstream-ca", "/none3"),
            ("upstream-ca", "/none4"),
            ("master-key-file", "/none5"),
            ("admin-key-file", "/none6"),
        ];
        let of_files = [
            "tls-cert (flag --tls-cert): can't read certificates in PEM from /none1",
            "tls-key (flag --tls-key): can't read a private key in PEM from /none2",
            "upstream-ca (flag --upstream-ca): can't read certificates in PEM from /none3",
            "upstream-ca (flag --upstream-ca): can't read certificates in PEM from /none4",
            "master-key-file (flag --master-key-file): can't read /none5",
            "admin-key-file (flag --admin-key-file): can't read /none6",
        ];
        check(&files, &[], &of_files);
        // Wrong values of other settings hide none of them, nor do files hide the variables that they win over.
        let also = [("provider-url", "openai=ftp://x"), ("listen", "nowhere")];
        let variables = [("TILL_ADMIN_KEY", "short"), ("TILL_MASTER_KEY", "short"), ("TILL_LISENT", "x")];
        let of_values = [
            "provider-url (flag --provider-url): ",
            "listen (flag --listen): ",
            "TILL_ADMIN_KEY: the owner key can't be used",
            "TILL_MASTER_KEY: ",
            "TILL_LISENT (environment): is not a setting",
        ];
        check(&[&files[..], &also].concat(), &variables, &[&of_files[..], &of_values].concat());
        check(
            &[("tls-cert", "/none")],
            &[("TILL_UPSTREAM_CA", "/none")],
            &[
                "tls-cert: is set without tls-key",
                "tls-cert (flag --tls-cert): can't read",
                "upstream-ca (variable TILL_UPSTREAM_CA): can't read",
            ],
        );
    }

    #[test]
    fn weak_presets_are_refused() {
        let check = |text: &str, strong| assert_eq!(is_strong(&Secret::new(text)), strong, "{text}");
        let random = "abcdefghijklmnopqrstuvwxyz-_0123";
        check(&format!("till_admin_{random}"), true);
        check(&format!("till_admin_{}", &random[1..]), false);
        check(&format!("till_admin_{random}!"), false);
        check(&format!("till_adm_{random}{random}"), false);
        check(&format!("till_admin_{}", "x".repeat(257)), false);
        check("", false);
    }

    #[test]
    fn refused_secrets_are_not_repeated() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "hunter2").unwrap();
        let path = file.path().to_str().unwrap();
        let found = mistakes(
            &[("master-key-file", path), ("admin-key-file", path), ("tls-key", path)],
            &[("TILL_ADMIN_KEY", "hunter2"), ("TILL_MASTER_KEY", "hunter2")],
        );
        assert_eq!(found.len(), 6, "{found:#?}");
        assert!(!found.concat().contains("hunter2"), "{found:#?}");
    }
}
