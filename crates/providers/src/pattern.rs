//! Patterns of paths, compared so that spelling a path differently is no way past them.
//!
//! A pattern is segments separated by `/`: a word matches itself in any case, `*` matches one segment,
//! `**` as the last segment matches whatever follows, nothing included. A segment `*:verb` matches a
//! segment that ends with `:verb`, Google's way to name a method.
//!
//! A path is compared percent-decoded and without a trailing slash, and in both ways of reading an
//! encoded slash: as data inside a segment and as a slash like any other.

use std::borrow::Cow;

use till_core::path::FinalPath;

/// A pattern as written in a table: starts with `/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern(pub &'static str);

/// The forms of a path that patterns are compared with. Nearly every path has nothing encoded in it and is compared as
/// it stands.
#[derive(Debug)]
pub struct Comparable<'a> {
    /// As a server sees it that decodes before it splits, without a trailing slash.
    decoded: Cow<'a, str>,
    /// As a server sees it that splits before it decodes, where that is different: segment by segment.
    split_before_decoding: Option<Vec<Cow<'a, str>>>,
}

impl<'a> Comparable<'a> {
    /// Decodes the path.
    pub fn new(path: &'a FinalPath) -> Self {
        let mut decoded = path.decoded();
        let split_before_decoding = path.has_encoded_slash().then(|| {
            let mut segments: Vec<_> = path.decoded_segments().collect();
            segments.pop_if(|last| last.is_empty());
            segments
        });
        if decoded.ends_with('/') {
            let length = decoded.len() - 1;
            match &mut decoded {
                Cow::Borrowed(text) => *text = &text[..length],
                Cow::Owned(text) => text.truncate(length),
            }
        }
        Self { decoded, split_before_decoding }
    }

    /// The segments where a server sees them that decodes before it splits.
    fn decoded_segments(&self) -> Segments<'_> {
        Segments(&self.decoded)
    }

    /// Where a server sees them that splits before it decodes.
    fn own_segments(&self) -> Option<impl Iterator<Item = &str>> {
        self.split_before_decoding.as_ref().map(|segments| segments.iter().map(|segment| &**segment))
    }
}

/// The segments of a path or pattern: what stands behind each slash. `str::split` is made for longer texts.
struct Segments<'a>(&'a str);

impl<'a> Iterator for Segments<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.0.get(1..)?;
        let end = rest.bytes().position(|byte| byte == b'/').unwrap_or(rest.len());
        let (segment, rest) = rest.split_at(end);
        self.0 = rest;
        Some(segment)
    }
}

impl Pattern {
    /// Whether the path, in one of its readings, is one of those meant.
    pub fn matches(&self, path: &Comparable<'_>) -> bool {
        (!self.differs(path) && matches(self.0, path.decoded_segments(), is_meant))
            || path.own_segments().is_some_and(|segments| matches(self.0, segments, is_meant))
    }

    /// Whether they are seen to be different at the first byte that is: of a long table nearly all rows are.
    fn differs(&self, path: &Comparable<'_>) -> bool {
        let (pattern, path) = (self.0.as_bytes(), path.decoded.as_bytes());
        let first = pattern.iter().zip(path).position(|(one, other)| !one.eq_ignore_ascii_case(other));
        first.is_some_and(|first| !pattern[..=first].contains(&b'*'))
    }

    /// Whether the path, split where it has slashes of its own and in its own letter case, is one of those meant: for
    /// tables of what is allowed, where another spelling is another path.
    pub fn matches_exactly(&self, path: &Comparable<'_>) -> bool {
        (path.split_before_decoding.is_some() || !self.differs(path)) && matches_exactly(self.0, path)
    }
}

/// [`Pattern::matches_exactly`] for a pattern from configuration.
pub(crate) fn matches_exactly(pattern: &str, path: &Comparable<'_>) -> bool {
    match path.own_segments() {
        Some(segments) => matches(pattern, segments, is_meant_exactly),
        None => matches(pattern, path.decoded_segments(), is_meant_exactly),
    }
}

fn matches<'a>(
    pattern: &str,
    mut segments: impl Iterator<Item = &'a str>,
    is_meant: fn(&str, &str) -> bool,
) -> bool {
    for expected in Segments(pattern) {
        if expected == "**" {
            return true;
        }
        if !segments.next().is_some_and(|segment| is_meant(expected, segment)) {
            return false;
        }
    }
    segments.next().is_none()
}

fn is_meant(expected: &str, segment: &str) -> bool {
    match expected.strip_prefix('*') {
        Some("") => true,
        Some(verb) => ends_with_ignoring_case(segment, verb),
        None => expected.eq_ignore_ascii_case(segment),
    }
}

fn is_meant_exactly(expected: &str, segment: &str) -> bool {
    match expected.strip_prefix('*') {
        Some(verb) => segment.len() > verb.len() && segment.ends_with(verb),
        None => expected == segment,
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
