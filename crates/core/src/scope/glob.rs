//! A text in which `*` stands for anything.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Compared with the whole text, in its own letter case. `*` stands for any characters, none included.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Glob(String);

/// The longest one, in bytes.
const BYTES_MAX: usize = 256;

/// A text that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pattern has 1 to {BYTES_MAX} visible characters; `*` stands for any of them")]
pub struct NotAGlob;

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It is empty, too long, or has blanks or control characters.
    pub fn parse(text: &str) -> Result<Self, NotAGlob> {
        let is_visible = |character: char| !character.is_whitespace() && !character.is_control();
        if text.is_empty() || text.len() > BYTES_MAX || !text.chars().all(is_visible) {
            return Err(NotAGlob);
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether it fits.
    pub fn matches(&self, text: &str) -> bool {
        matches(&self.0, text)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Takes the parts between stars from left to right, each at its first place: the last one is at the end. Linear but for
/// the search for each part, so no pattern makes it slow.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts = rest.split('*');
    let last = parts.next_back().unwrap_or_default();
    for part in parts {
        match text.find(part) {
            Some(at) => text = &text[at + part.len()..],
            None => return false,
        }
    }
    text.ends_with(last)
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Glob {
    type Error = NotAGlob;

    fn try_from(text: String) -> Result<Self, NotAGlob> {
        Self::parse(&text)
    }
}

impl From<Glob> for String {
    fn from(glob: Glob) -> Self {
        glob.0
    }
}
