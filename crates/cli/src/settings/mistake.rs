//! What is wrong with the settings: each mistake names the setting, where it stands, and the rule.

use std::fmt;

use super::Source;

/// One wrong or unknown setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// Name of the setting, or of what was taken for one.
    pub(crate) setting: String,
    /// Where it was written, when it was.
    pub(crate) place: Option<String>,
    /// What is wrong or expected. It may repeat the value: settings are never secrets, only the names of
    /// files that hold them.
    pub(crate) rule: String,
}

impl Mistake {
    pub(crate) fn new(setting: &str, source: &Source, rule: &str) -> Self {
        Self { setting: setting.to_owned(), place: Some(source.describe(setting)), rule: rule.to_owned() }
    }

    /// A mistake that no single place is to blame for.
    pub(crate) fn bare(setting: &str, rule: &str) -> Self {
        Self { setting: setting.to_owned(), place: None, rule: rule.to_owned() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{} ({place}): {}", self.setting, self.rule),
            None => write!(f, "{}: {}", self.setting, self.rule),
        }
    }
}

/// All of them; never empty when it is returned as an error.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) struct Mistakes(pub(crate) Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [_] => f.write_str("1 mistake in the settings:")?,
            mistakes => write!(f, "{} mistakes in the settings:", mistakes.len())?,
        }
        self.0.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}
