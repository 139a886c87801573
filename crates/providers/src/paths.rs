//! The version in a path: clients disagree whether it belongs to the base URL.
//!
//! Anthropic's SDK wants a base URL without `/v1`, OpenAI's with it, some libraries leave it out
//! altogether. So a table per provider collapses a doubled version and adds a missing one. It is applied
//! once, before anything is decided about the path, and what comes out doesn't change when it is applied
//! again.

use till_core::path::{FinalPath, PathError, PathRules, RawPath};

use crate::pattern::{Comparable, Pattern};
use crate::provider::Provider;

/// How a provider's paths are made final.
#[derive(Debug)]
pub(crate) struct PathTable {
    /// Beginnings that are understood, and what stands for them in the final path. Mostly a version that
    /// stands for itself; otherwise what some clients write for it. Where two of them follow each other
    /// the first one is dropped: it came from the base URL, the second from the SDK.
    pub(crate) prefixes: &'static [(&'static str, &'static str)],
    /// Beginnings that go on after the version, for paths whose place is not the usual one. What stands behind
    /// them is names, so nothing more is collapsed there: an account may be called `v1`.
    pub(crate) resources: &'static [(&'static str, &'static str)],
    /// For a path with none of these: what is put in front of it if it begins so. The first row
    /// that fits counts, an empty one fits all; without a row that fits the path stays as it is.
    pub(crate) bare: &'static [(&'static str, &'static str)],
}

/// Where `%2F` may be data inside a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) enum EncodedSlash {
    /// Nowhere.
    Never,
    /// In the final paths that match.
    In(&'static [Pattern]),
    /// Everywhere.
    Always,
}

impl Provider {
    /// The path that is compared, counted and sent. The version table is applied here, and only here.
    ///
    /// # Errors
    /// Names the rule of this provider that the path breaks.
    pub fn final_path(&self, raw: &RawPath) -> Result<FinalPath, PathError> {
        let (dropped, prefix) = match self.paths().place(raw.as_str(), self.default_version) {
            // Most paths come as they should be. They are neither copied nor checked again.
            (dropped, prefix) if dropped == segment_count(prefix) && begins_with(raw.as_str(), prefix) => {
                (0, "")
            }
            placed => placed,
        };
        let rules = PathRules { encoded_slash: true, encoded_unreserved: self.allows_encoded_unreserved() };
        let path = raw.finalise(dropped, prefix, rules)?;
        if self.encoded_slash().refuses(&path) {
            return Err(PathError::EncodedSlash);
        }
        Ok(path)
    }

    /// The beginnings of final paths that name a version (`/v1beta`), the usual one first.
    pub fn versions(&self) -> impl Iterator<Item = &'static str> {
        self.paths().versions()
    }
}

impl EncodedSlash {
    fn refuses(self, path: &FinalPath) -> bool {
        if !path.has_encoded_slash() {
            return false;
        }
        match self {
            Self::Never => true,
            Self::Always => false,
            Self::In(patterns) => {
                let path = Comparable::new(path);
                !patterns.iter().any(|pattern| pattern.matches(&path))
            }
        }
    }
}

impl PathTable {
    /// How many leading segments go, and what is put there instead. `default_version` stands in the base
    /// URL, so it counts as if it stood in front of the path.
    fn place(&self, path: &str, default_version: Option<&str>) -> (usize, &'static str) {
        if let Some(placed) = self.collapse(path) {
            return placed;
        }
        match default_version {
            Some(version) if path != "/" => {
                let (dropped, target) = self.collapse(&format!("{version}{path}")).unwrap_or_default();
                (dropped.saturating_sub(segment_count(version)), target)
            }
            _ => (0, self.bare_prefix(path)),
        }
    }

    /// Drops all prefixes that follow each other at the beginning and names what stands for the last one.
    fn collapse(&self, path: &str) -> Option<(usize, &'static str)> {
        let mut rest = path;
        let mut dropped = 0;
        let mut last = None;
        loop {
            if let Some((resource, target)) = longest(self.resources, rest) {
                return Some((dropped + segment_count(resource), target));
            }
            let Some((prefix, target)) = longest(self.prefixes, rest) else {
                return last.map(|target| (dropped, target));
            };
            last = Some(target);
            dropped += segment_count(prefix);
            rest = &rest[prefix.len()..];
        }
    }

    fn bare_prefix(&self, path: &str) -> &'static str {
        // `/` alone is the provider's front door, not an endpoint whose version is missing.
        if path == "/" {
            return "";
        }
        let row = self.bare.iter().find(|(beginning, _)| begins_with(path, beginning));
        row.map_or("", |(_, prefix)| prefix)
    }

    /// The prefixes that stand for themselves: an operator who ends a base URL with one means the same
    /// place as without it.
    pub(crate) fn versions(&self) -> impl Iterator<Item = &'static str> {
        self.prefixes.iter().filter(|(prefix, target)| prefix == target).map(|(prefix, _)| *prefix)
    }
}

/// The longest of the beginnings that the path has.
fn longest(rows: &[(&'static str, &'static str)], path: &str) -> Option<(&'static str, &'static str)> {
    let fitting = rows.iter().copied().filter(|(beginning, _)| begins_with(path, beginning));
    fitting.max_by_key(|(beginning, _)| beginning.len())
}

/// Whether the first segments of the path are exactly those of the prefix.
fn begins_with(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn segment_count(prefix: &str) -> usize {
    prefix.matches('/').count()
}

#[cfg(test)]
mod tests;
