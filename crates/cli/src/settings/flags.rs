//! The table as flags of a command.

use std::path::Path;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::written::{Entries, Entry, Source};
use super::{Setting, TABLE};

/// The flags of every setting, as they were given. They are checked together with all other places, so
/// the parser of the command line takes any text.
#[derive(Clone, Debug, Default)]
pub(crate) struct SettingFlags(Vec<(&'static str, Vec<String>)>);

impl SettingFlags {
    pub(super) fn entries(&self) -> Entries {
        let entry = |text: &String| Entry { text: text.clone(), source: Source::Flag };
        self.0.iter().map(|(name, texts)| (*name, texts.iter().map(entry).collect())).collect()
    }

    /// Those of these settings.
    fn only(mut self, settings: &[&str]) -> Self {
        self.0.retain(|(name, _)| settings.contains(name));
        self
    }

    /// With this data directory, if there is one.
    fn at(&self, data: Option<&Path>) -> Self {
        let mut flags = self.clone();
        flags.0.extend(data.map(|data| ("data", vec![data.to_string_lossy().into_owned()])));
        flags
    }

    /// For tests: exactly these flags.
    #[cfg(test)]
    pub(crate) fn of(flags: &[(&'static str, &str)]) -> Self {
        let mut given: Vec<(&'static str, Vec<String>)> = Vec::new();
        for (name, text) in flags {
            match given.iter_mut().find(|(known, _)| known == name) {
                Some((_, texts)) => texts.push((*text).to_owned()),
                None => given.push((name, vec![(*text).to_owned()])),
            }
        }
        Self(given)
    }
}

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        command.args(TABLE.iter().map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn arg(setting: &Setting) -> Arg {
    let help = format!("{} [variable: {}] [default: {}]", setting.help, setting.env, setting.default.shown());
    Arg::new(setting.name)
        .long(setting.name)
        .value_name(setting.kind.value_name())
        .value_hint(setting.kind.hint())
        .action(ArgAction::Append)
        .allow_hyphen_values(true)
        .help_heading(setting.section)
        .help(help)
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let texts = |name| matches.try_get_many::<String>(name).ok()?.map(|texts| texts.cloned().collect());
        Ok(Self(TABLE.iter().filter_map(|setting| Some((setting.name, texts(setting.name)?))).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Flags of some settings only.
macro_rules! some_flags {
    ($(#[$meta:meta])* $name:ident, $settings:expr) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default)]
        pub(crate) struct $name(SettingFlags);

        impl Args for $name {
            fn augment_args(command: Command) -> Command {
                command.args(TABLE.iter().filter(|setting| $settings.contains(&setting.name)).map(arg))
            }

            fn augment_args_for_update(command: Command) -> Command {
                Self::augment_args(command)
            }
        }

        impl FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                SettingFlags::from_arg_matches(matches).map(|flags| Self(flags.only(&$settings)))
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }
    };
}

some_flags!(
    /// The settings that say where the instance lives on this machine.
    DirectoryFlags,
    ["config", "data", "key-dir"]
);

some_flags!(
    /// The same for commands that have a flag `--data` of their own.
    PlaceFlags,
    ["config", "key-dir"]
);

some_flags!(
    /// … and that need the master keys.
    KeyFlags,
    ["config", "key-dir", "master-key-file", "master-key-command"]
);

impl DirectoryFlags {
    /// As flags of every setting.
    pub(crate) fn settings(&self) -> &SettingFlags {
        &self.0
    }
}

impl PlaceFlags {
    /// As flags of every setting, with this data directory.
    pub(crate) fn at(&self, data: Option<&Path>) -> SettingFlags {
        self.0.at(data)
    }
}

impl KeyFlags {
    /// As flags of every setting, with this data directory.
    pub(crate) fn at(&self, data: Option<&Path>) -> SettingFlags {
        self.0.at(data)
    }
}
