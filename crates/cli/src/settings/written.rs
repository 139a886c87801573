//! What somebody wrote, and where: the text of every setting with its source.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use till_providers::price::PriceFile;

use super::custom_provider::WrittenProvider;
use super::file;
use super::neutral::WrittenNeutral;
use super::{Mistake, Setting, SettingFlags, TABLE};
use crate::env::{self, Surroundings};

/// Everything that was written, place by place.
#[derive(Default)]
pub(crate) struct Written {
    flags: Entries,
    environment: Entries,
    file: Entries,
    /// From the configuration file.
    pub(super) custom_providers: Vec<WrittenProvider>,
    /// From the configuration file.
    pub(super) prices: PriceFile,
    pub(super) neutral: Vec<WrittenNeutral>,
    /// What is unknown or can't be read at all.
    pub(super) mistakes: Vec<Mistake>,
}

/// Texts by the name of their setting.
pub(super) type Entries = BTreeMap<&'static str, Vec<Entry>>;

/// One value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) text: String,
    pub(crate) source: Source,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The command line.
    Flag,
    /// An environment variable.
    Environment(&'static str),
    /// A line of the configuration file, counted from 1.
    File {
        /// Which file.
        path: PathBuf,
        /// Which line.
        line: usize,
    },
    /// The table.
    Default,
}

impl Source {
    /// The place in words.
    pub(crate) fn describe(&self, setting: &str) -> String {
        match self {
            Self::Flag => format!("flag --{setting}"),
            Self::Environment(name) => format!("variable {name}"),
            Self::File { path, line } => format!("{}:{line}", path.display()),
            Self::Default => "default".to_owned(),
        }
    }
}

impl Written {
    /// Gathers flags, variables and the configuration file that they name, or the default one.
    pub(crate) fn gather(flags: &SettingFlags, surroundings: &Surroundings) -> Self {
        let mut written = Self { flags: flags.entries(), ..Self::default() };
        written.read_environment(surroundings);
        written.refuse_repetitions();
        match written.config_file(surroundings) {
            ConfigFile::Named(path, source) => written.read_file(&path, Some(&source)),
            ConfigFile::Default(path) => written.read_file(&path, None),
            ConfigFile::Absent => {}
        }
        written
    }

    /// The values of a setting, one list per place that has it, the winning place first.
    pub(crate) fn of(&self, setting: &Setting) -> Vec<&[Entry]> {
        let places = [&self.flags, &self.environment, &self.file];
        places.into_iter().filter_map(|place| place.get(setting.name)).map(Vec::as_slice).collect()
    }

    /// The tables of the configuration file that are no settings: a name for each, and a text that differs when the table
    /// means something else.
    pub(crate) fn tables(&self) -> Vec<(String, String)> {
        let mut tables: Vec<(String, String)> = self
            .custom_providers
            .iter()
            .map(|written| (format!("providers.{}", written.provider.id), format!("{:?}", written.provider)))
            .collect();
        let prices = format!("{:?}", self.prices);
        if prices != format!("{:?}", PriceFile::default()) {
            tables.push(("prices".to_owned(), prices));
        }
        if !self.neutral.is_empty() {
            let rows: Vec<_> = self.neutral.iter().map(|written| &written.row).collect();
            tables.push(("neutral".to_owned(), format!("{rows:?}")));
        }
        tables
    }

    /// Where the value of a setting stands that holds, if anybody wrote one.
    pub(crate) fn source_of(&self, name: &str) -> Option<&Source> {
        let places = [&self.flags, &self.environment, &self.file];
        places
            .into_iter()
            .find_map(|place| place.get(name))
            .and_then(|entries| Some(&entries.first()?.source))
    }

    fn read_environment(&mut self, surroundings: &Surroundings) {
        for setting in TABLE {
            let Some(value) = surroundings.variable(setting.env) else {
                continue;
            };
            let texts =
                if setting.kind.is_list() { value.split(LIST_SEPARATOR).collect() } else { vec![value] };
            let source = Source::Environment(setting.env);
            let entry = |text: &str| Entry { text: text.trim().to_owned(), source: source.clone() };
            self.environment.insert(setting.name, texts.into_iter().map(entry).collect());
        }
        let known =
            |name: &str| env::NOT_SETTINGS.contains(&name) || TABLE.iter().any(|setting| setting.env == name);
        for name in surroundings.our_names().filter(|name| !known(name)) {
            let mut mistake =
                Mistake::bare(name, "is not a setting; unset it, or see `till start --help` for the names");
            mistake.place = Some("environment".to_owned());
            self.mistakes.push(mistake);
        }
    }

    fn refuse_repetitions(&mut self) {
        for setting in TABLE.iter().filter(|setting| !setting.kind.is_list()) {
            if self.flags.get(setting.name).is_some_and(|entries| entries.len() > 1) {
                self.mistakes.push(Mistake::new(setting.name, &Source::Flag, "is given more than once"));
            }
        }
    }

    fn config_file(&self, surroundings: &Surroundings) -> ConfigFile {
        let named = self
            .flags
            .get("config")
            .or_else(|| self.environment.get("config"))
            .and_then(|entries| entries.first());
        match (named, surroundings.config_file()) {
            (Some(entry), _) => ConfigFile::Named(PathBuf::from(&entry.text), entry.source.clone()),
            (None, Some(path)) if path.exists() => ConfigFile::Default(path),
            (None, _) => ConfigFile::Absent,
        }
    }

    /// Reads the configuration file; `named_by` says who asked for it.
    fn read_file(&mut self, path: &Path, named_by: Option<&Source>) {
        match std::fs::read_to_string(path) {
            Ok(text) => {
                let contents = file::read(&text, path);
                self.file = contents.entries;
                self.custom_providers = contents.custom_providers;
                self.prices = contents.prices;
                self.neutral = contents.neutral;
                self.mistakes.extend(contents.mistakes);
            }
            Err(error) => {
                let rule = format!("can't read {}: {error}", path.display());
                self.mistakes.push(Mistake::new("config", named_by.unwrap_or(&Source::Default), &rule));
            }
        }
    }
}

enum ConfigFile {
    Named(PathBuf, Source),
    Default(PathBuf),
    Absent,
}

/// Separates the values of a repeatable setting in one variable. URLs and paths have commas and spaces.
pub(crate) const LIST_SEPARATOR: char = ';';
