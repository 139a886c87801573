//! Patterns of paths, compared so that spelling a path differently is no way past them.
//!
//! A pattern is segments separated by `/`: a word matches itself in any case, `*` matches one segment,
//! `**` as the last segment matches whatever follows, nothing included. A segment `*:verb` matches a
//! segment that ends with `:verb`, Google's way to name a method.
//!
//! A path is compared percent-decoded and without a trailing slash, and in both ways of reading an
//! encoded slash: as data inside a segment and as a slash like any other.

use till_core::path::FinalPath;

/// A pattern as written in a table: starts with `/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern(pub &'static str);

/// The forms of a path that patterns are compared with, made once per request.
#[derive(Debug)]
pub struct Comparable {
    /// As a server sees it that decodes before it splits.
    split_after_decoding: Vec<String>,
    /// As a server sees it that splits before it decodes, where that is different.
    split_before_decoding: Option<Vec<String>>,
}

impl Comparable {
    /// Decodes the path.
    pub fn new(path: &FinalPath) -> Self {
        let decoded = path.decoded();
        let trimmed = decoded.strip_suffix('/').unwrap_or(&decoded);
        let split_after_decoding: Vec<String> = trimmed.split('/').skip(1).map(str::to_owned).collect();
        let mut kept: Vec<String> = path.decoded_segments().map(Into::into).collect();
        if kept.last().is_some_and(String::is_empty) {
            kept.pop();
        }
        let split_before_decoding = (kept != split_after_decoding).then_some(kept);
        Self { split_after_decoding, split_before_decoding }
    }
}

impl Pattern {
    /// Whether the path, in one of its readings, is one of those meant.
    pub fn matches(&self, path: &Comparable) -> bool {
        self.matches_segments(&path.split_after_decoding)
            || path.split_before_decoding.as_ref().is_some_and(|segments| self.matches_segments(segments))
    }

    /// Whether the path, split where it has slashes of its own and in its own letter case, is one of those meant: for
    /// tables of what is allowed, where another spelling is another path.
    pub fn matches_exactly(&self, path: &Comparable) -> bool {
        matches_exactly(self.0, path)
    }

    fn matches_segments(&self, segments: &[String]) -> bool {
        let mut segments = segments.iter();
        for expected in self.0.split('/').skip(1) {
            if expected == "**" {
                return true;
            }
            match segments.next() {
                Some(segment) if matches_segment(expected, segment) => {}
                _ => return false,
            }
        }
        segments.next().is_none()
    }
}

/// [`Pattern::matches_exactly`] for a pattern from configuration.
pub(crate) fn matches_exactly(pattern: &str, path: &Comparable) -> bool {
    let segments = path.split_before_decoding.as_ref().unwrap_or(&path.split_after_decoding);
    let mut segments = segments.iter();
    for expected in pattern.split('/').skip(1) {
        if expected == "**" {
            return true;
        }
        let is_meant = |segment: &String| match expected.strip_prefix('*') {
            Some(verb) => segment.len() > verb.len() && segment.ends_with(verb),
            None => expected == segment,
        };
        if !segments.next().is_some_and(is_meant) {
            return false;
        }
    }
    segments.next().is_none()
}

fn matches_segment(expected: &str, segment: &str) -> bool {
    match expected.strip_prefix('*') {
        Some("") => true,
        Some(verb) => ends_with_ignoring_case(segment, verb),
        None => expected.eq_ignore_ascii_case(segment),
    }
}

fn ends_with_ignoring_case(text: &str, end: &str) -> bool {
    let (text, end) = (text.as_bytes(), end.as_bytes());
    text.len() >= end.len() && text[text.len() - end.len()..].eq_ignore_ascii_case(end)
}

#[cfg(test)]
mod tests {
    use till_core::path::{PathRules, RawPath};

    use super::{Comparable, Pattern};

    fn check(pattern: &'static str, path: &str, expected: bool) {
        let rules = PathRules { encoded_slash: true, encoded_unreserved: true };
        let path = RawPath::parse(path.as_bytes()).unwrap().finalise(0, "", rules).unwrap();
        assert_eq!(Pattern(pattern).matches(&Comparable::new(&path)), expected, "{pattern} {path}");
    }

    #[test]
    fn compares() {
        for (pattern, path, expected) in [
            ("/v1/batches", "/v1/batches", true),
            ("/v1/batches", "/v1/batches/", true),
            ("/v1/batches", "/v1/BATCHES", true),
            ("/v1/batches", "/%76%31/b%61tches", true),
            ("/v1/batches", "/v1%2Fbatches", true),
            ("/v1/batches", "/v1/batches/x", false),
            ("/v1/batches", "/v1/batche", false),
            ("/v1/batches", "/", false),
            ("/v1/*/runs", "/v1/t/runs", true),
            ("/v1/*/runs", "/v1/t/u/runs", false),
            ("/v1/*/runs", "/v1/t%2Fu/runs", true),
            ("/v1/*/*/runs", "/v1/t%2Fu/runs", true),
            ("/v1/*/runs", "/v1/t", false),
            ("/v1/organization/**", "/v1/organization", true),
            ("/v1/organization/**", "/v1/organization/", true),
            ("/v1/organization/**", "/v1/Organization/keys/x", true),
            ("/v1/organization/**", "/v1/organizations", false),
            ("/*/models/*:embed", "/v1beta/models/x:embed", true),
            ("/*/models/*:embed", "/v1beta/models/x%3Aembed", true),
            ("/*/models/*:embed", "/v1beta/models/x:EMBED", true),
            ("/*/models/*:embed", "/v1beta/models/embed", false),
            ("/*/models/*:embed", "/v1beta/models/x:embedAll", false),
            ("/**", "/", true),
            ("/**", "/x/y", true),
        ] {
            check(pattern, path, expected);
        }
    }
}
