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

/// A pattern as written in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: &'static str,
    /// How it begins, and which of those bytes a path must have: those before a `*`, and none beyond its end.
    head: Head,
    fixed: Head,
    /// Whether there is no `*` in it.
    is_literal: bool,
}

/// The beginning of a path or pattern in a number, so that one comparison sees that they differ.
type Head = u128;

/// How many bytes that is.
const HEAD_BYTES: usize = 16;

/// Where it begins: the first byte is a slash in all of them.
const HEAD_START: usize = 1;

/// The letter case of a byte does not count, so the bit that it is in doesn't, whatever the byte.
const fn head_byte(byte: u8, at: usize) -> Head {
    ((byte | 0x20) as Head) << (8 * (at - HEAD_START))
}

/// How a text begins, with zeros beyond its end.
fn head(text: &str) -> Head {
    let bytes = text.as_bytes().get(HEAD_START..).unwrap_or_default();
    match bytes.first_chunk::<HEAD_BYTES>() {
        Some(bytes) => Head::from_le_bytes(*bytes) | Head::from_le_bytes([0x20; HEAD_BYTES]),
        None => bytes.iter().enumerate().fold(0, |head, (at, byte)| head | head_byte(*byte, at + HEAD_START)),
    }
}

/// The forms of a path that patterns are compared with. Nearly every path has nothing encoded in it and is compared as
/// it stands.
#[derive(Debug)]
pub struct Comparable<'a> {
    /// As a server sees it that decodes before it splits, without a trailing slash.
    decoded: Cow<'a, str>,
    /// How that begins.
    head: Head,
    /// As a server sees it that splits before it decodes, where that is different: segment by segment.
    split_before_decoding: Option<Vec<Cow<'a, str>>>,
}

impl<'a> Comparable<'a> {
    /// Decodes the path.
    pub fn new(path: &'a FinalPath) -> Self {
        let mut decoded = path.decoded();
        // Borrowed means that nothing in it is encoded.
        let has_encoded_slash = matches!(decoded, Cow::Owned(_)) && path.has_encoded_slash();
        let split_before_decoding = has_encoded_slash.then(|| {
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
        Self { head: head(&decoded), decoded, split_before_decoding }
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
    /// A pattern, which starts with `/`.
    pub const fn new(text: &'static str) -> Self {
        let bytes = text.as_bytes();
        let mut is_literal = true;
        let mut at = 0;
        while at < bytes.len() {
            is_literal &= bytes[at] != b'*';
            at += 1;
        }
        let (mut head, mut fixed) = (0, 0);
        at = HEAD_START;
        while at < HEAD_START + HEAD_BYTES {
            if at < bytes.len() && bytes[at] == b'*' {
                break;
            }
            // A path may end before the slash of a `/**`, too.
            if at + 1 < bytes.len() && bytes[at] == b'/' && bytes[at + 1] == b'*' {
                break;
            }
            if at < bytes.len() {
                head |= head_byte(bytes[at], at);
            }
            fixed |= (0xff as Head) << (8 * (at - HEAD_START));
            at += 1;
        }
        Self { text, head, fixed, is_literal }
    }

    /// As it is written.
    pub const fn as_str(&self) -> &'static str {
        self.text
    }

    /// Whether the path, in one of its readings, is one of those meant.
    #[inline]
    pub fn matches(&self, path: &Comparable<'_>) -> bool {
        self.may_match(path) && self.matches_somehow(path)
    }

    fn matches_somehow(&self, path: &Comparable<'_>) -> bool {
        if self.is_literal && path.split_before_decoding.is_none() {
            return path.decoded.eq_ignore_ascii_case(self.text);
        }
        matches(self.text, path.decoded_segments(), is_meant)
            || path.own_segments().is_some_and(|segments| matches(self.text, segments, is_meant))
    }

    /// Whether the path, split where it has slashes of its own and in its own letter case, is one of those meant: for
    /// tables of what is allowed, where another spelling is another path.
    #[inline]
    pub fn matches_exactly(&self, path: &Comparable<'_>) -> bool {
        self.may_match(path) && self.matches_somehow_exactly(path)
    }

    fn matches_somehow_exactly(&self, path: &Comparable<'_>) -> bool {
        if self.is_literal && path.split_before_decoding.is_none() {
            return path.decoded == self.text;
        }
        matches_exactly(self.text, path)
    }

    /// Whether they don't differ at first sight: of a long table nearly all rows do. Both readings of a path have the same
    /// bytes.
    #[inline]
    fn may_match(&self, path: &Comparable<'_>) -> bool {
        (self.head ^ path.head) & self.fixed == 0
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
        let path = Comparable::new(&path);
        assert_eq!(Pattern::new(pattern).matches(&path), expected, "{pattern} {path:?}");
    }

    #[test]
    fn at_first_sight_nothing_is_taken_for_another() {
        // Words that are longer and shorter than what is looked at first, and equal up to there.
        const PATTERNS: [&str; 14] = [
            "/",
            "/v1",
            "/v1/**",
            "/v1/*",
            "/*",
            "/*/b",
            "/a/*/c",
            "/abcdefghijklmno",
            "/abcdefghijklmnop",
            "/abcdefghijklmnopq",
            "/abcdefghijklmnop/**",
            "/abcdefghijklmnop/q",
            "/a/*:verb",
            "/abcdefghijklmn/*",
        ];
        let rules = PathRules { encoded_slash: true, encoded_unreserved: true };
        let mut paths: Vec<String> =
            PATTERNS.iter().map(|path| path.replace("**", "x/y").replace('*', "b")).collect();
        let variants = paths.iter().flat_map(|path| {
            [
                path.to_uppercase(),
                format!("{path}q"),
                format!("{path}/"),
                format!("{path}/z"),
                path[..path.len() - 1].to_owned(),
                path.replacen('b', "%62", 1),
                path.replacen("/b", "%2Fb", 1),
                path.replacen('/', "/@", 1),
            ]
        });
        paths.extend(variants.collect::<Vec<_>>());
        for path in &paths {
            let Ok(raw) = RawPath::parse(path.as_bytes()) else { continue };
            let path = raw.finalise(0, "", rules).expect("allowed");
            let path = Comparable::new(&path);
            for text in PATTERNS {
                let either = |is_meant: fn(&str, &str) -> bool| {
                    [
                        super::matches(text, path.decoded_segments(), is_meant),
                        path.own_segments().is_some_and(|own| super::matches(text, own, is_meant)),
                    ]
                };
                let pattern = Pattern::new(text);
                assert_eq!(
                    pattern.matches(&path),
                    either(super::is_meant).contains(&true),
                    "{text} {path:?}"
                );
                assert_eq!(
                    pattern.matches_exactly(&path),
                    super::matches_exactly(text, &path),
                    "{text} {path:?}"
                );
            }
        }
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
