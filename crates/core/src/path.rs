//! The path of a request, checked before anything is decided from it.
//!
//! A scope is worthless if the path that till compares is not the path that the upstream acts on.
//! So a path is read once, as received and still percent-encoded, and whatever two programs could
//! read differently is refused instead of repaired.
//!
//! Invariants: a [`RawPath`] has passed every rule that holds for all providers. A [`FinalPath`] is
//! made only from a `RawPath`, has passed the rules of its provider too, and is what scope, metering
//! and forwarding all use. Neither can be made in any other way.

use std::borrow::Cow;
use std::fmt;

/// Why a path is refused. Each message names the rule, for the developer whose request it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum PathError {
    /// It doesn't start with `/`.
    #[error("the path must start with '/'")]
    NotAbsolute,
    /// A raw byte that is no visible ASCII character: a space, a control character, UTF-8 that was not encoded.
    #[error("the path has a space, control or non-ASCII character that is not percent-encoded")]
    NotVisibleAscii,
    /// A raw character that no path may have: `?`, `#`, `<`, `>` or a back quote.
    #[error("the path has a character that must be percent-encoded there: one of ? # < > `")]
    ForbiddenCharacter,
    /// A `%` that two hexadecimal digits don't follow.
    #[error("the path has a '%' without two hexadecimal digits behind it")]
    InvalidPercent,
    /// `%` sequences that are no UTF-8; overlong forms of `.` and `/` are among them.
    #[error("the percent-encoded bytes of the path are not valid UTF-8")]
    InvalidUtf8,
    /// An encoded control character, `%00` for example.
    #[error("the path has a percent-encoded control character")]
    EncodedControl,
    /// What would be a percent sequence once more after decoding: `%252e`.
    #[error("the path is percent-encoded twice")]
    DoubleEncoding,
    /// `\` or `%5C`, which some servers take for `/`.
    #[error("the path has a backslash")]
    Backslash,
    /// `;` or `%3B`, behind which some servers ignore the rest of a segment.
    #[error("the path has a semicolon")]
    Semicolon,
    /// `//`, or an encoded slash beside another slash or at the end.
    #[error("the path has an empty segment ('//')")]
    EmptySegment,
    /// `.` or `..` in any encoding.
    #[error("the path has a '.' or '..' segment")]
    DotSegment,
    /// `%2F` where the endpoint has no use for it.
    #[error("the path has an encoded slash (%2F), which this endpoint doesn't take")]
    EncodedSlash,
    /// An encoded letter, digit, `-`, `.`, `_` or `~`: the same path as the plain one, written so that it compares different.
    #[error("the path has a percent-encoded letter, digit, '-', '.', '_' or '~'; send that character itself")]
    EncodedUnreserved,
}

/// What a provider allows in a path beyond the rules for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathRules {
    /// Whether `%2F` may be data inside a segment (Amazon resource names, file names at GitHub).
    pub encoded_slash: bool,
    /// Whether letters, digits and `-._~` may be percent-encoded. Must be false where a table or a scope is compared with the path.
    pub encoded_unreserved: bool,
}

/// A path as received, after the rules that hold for every provider.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RawPath {
    text: Box<str>,
    facts: Facts,
}

/// The path that is compared, counted and forwarded. It never changes again.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct FinalPath(Box<str>);

/// What was seen on the way that some providers allow and others don't.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Facts {
    encoded_slash: bool,
    encoded_unreserved: bool,
}

impl RawPath {
    /// Checks the path part of a request target, without its query and still percent-encoded.
    ///
    /// # Errors
    /// Names the first broken rule.
    pub fn parse(path: &[u8]) -> Result<Self, PathError> {
        let facts = check(path)?;
        let text = std::str::from_utf8(path).expect("visible ASCII was checked").into();
        Ok(Self { text, facts })
    }

    /// The path as received.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first segment, as received; empty for `/`.
    pub fn first_segment(&self) -> &str {
        self.segments().next().unwrap_or_default()
    }

    /// The segments, split on `/` only and still encoded. A trailing slash is an empty last segment; `/` has one empty segment.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.text[1..].split('/')
    }

    /// The path without its first segment, `/` when nothing is left: how `/proxy/openai/v1/models`, asked twice, becomes `/v1/models`.
    #[must_use]
    pub fn after_first(&self) -> Self {
        let rest = after_segments(&self.text, 1);
        // A part of a path keeps every rule that the whole keeps. The facts may have been about the
        // part that is gone, so they are found again.
        Self::parse(if rest.is_empty() { b"/" } else { rest.as_bytes() })
            .expect("a tail of a valid path that starts at a slash is valid")
    }

    /// The final path: `prefix` put in the place of the first `dropped` segments.
    ///
    /// `prefix` is either empty or starts with `/` and doesn't end with one. The result goes through all checks
    /// again, so that no table can make a path that would have been refused.
    ///
    /// # Errors
    /// Names the rule of the provider that the path breaks.
    pub fn finalise(&self, dropped: usize, prefix: &str, rules: PathRules) -> Result<FinalPath, PathError> {
        self.allowed_by(rules)?;
        if dropped == 0 && prefix.is_empty() {
            return Ok(FinalPath(self.text.clone()));
        }
        let mut text = String::with_capacity(prefix.len() + self.text.len());
        text.push_str(prefix);
        text.push_str(after_segments(&self.text, dropped));
        if text.is_empty() {
            text.push('/');
        }
        let made = Self { facts: check(text.as_bytes())?, text: text.into() };
        made.allowed_by(rules)?;
        Ok(FinalPath(made.text))
    }

    fn allowed_by(&self, rules: PathRules) -> Result<(), PathError> {
        if self.facts.encoded_slash && !rules.encoded_slash {
            return Err(PathError::EncodedSlash);
        }
        if self.facts.encoded_unreserved && !rules.encoded_unreserved {
            return Err(PathError::EncodedUnreserved);
        }
        Ok(())
    }
}

impl FinalPath {
    /// The path as it goes upstream, behind the base path of the provider.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments, split on `/` only and still encoded. A trailing slash is an empty last segment.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0[1..].split('/')
    }

    /// The path with every percent sequence decoded, for comparing it with a list that must not be evaded.
    /// Never for forwarding.
    pub fn decoded(&self) -> Cow<'_, str> {
        decoded(&self.0)
    }

    /// The segments of [`FinalPath::segments`], each decoded by itself, so that an encoded slash stays
    /// inside its segment: how a server reads the path that splits before it decodes.
    pub fn decoded_segments(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.segments().map(decoded)
    }

    /// Whether a slash is encoded in it, which some servers read as a slash and others as a character of a segment.
    pub fn has_encoded_slash(&self) -> bool {
        self.facts().encoded_slash
    }

    /// Whether a character is encoded that may stand for itself. Only providers that no table knows are sent such paths.
    pub fn has_encoded_unreserved(&self) -> bool {
        self.facts().encoded_unreserved
    }

    fn facts(&self) -> Facts {
        if self.0.contains('%') { self.to_raw().facts } else { Facts::default() }
    }

    /// Reads the final path as a raw one again: a table applied to it must not change it any more.
    #[must_use]
    pub fn to_raw(&self) -> RawPath {
        RawPath::parse(self.0.as_bytes()).expect("a final path passes the checks for raw ones")
    }
}

impl fmt::Display for RawPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RawPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawPath({})", self.text)
    }
}

impl fmt::Display for FinalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for FinalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FinalPath({})", self.0)
    }
}

/// What stands behind the first `count` segments, with its leading slash; empty if there is nothing.
fn after_segments(path: &str, count: usize) -> &str {
    let mut rest = path;
    for _ in 0..count {
        rest = rest.get(1..).unwrap_or_default();
        rest = rest.find('/').map_or("", |slash| &rest[slash..]);
    }
    rest
}

/// The rules for all providers.
fn check(path: &[u8]) -> Result<Facts, PathError> {
    if path.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    let seen = seen_in(path);
    if seen & FORBIDDEN != 0 {
        check_raw_bytes(path)?;
    }
    if seen & PERCENT != 0 {
        let (decoded, facts) = decode(path)?;
        check_decoded(&decoded)?;
        check_segments(&decoded)?;
        // A trailing `%2F` would otherwise look like the trailing slash that is allowed.
        if path.ends_with(b"%2F") || path.ends_with(b"%2f") {
            return Err(PathError::EmptySegment);
        }
        Ok(facts)
    } else {
        if seen & (DOT | TWO_SLASHES) != 0 {
            check_segments(path)?;
        }
        Ok(Facts::default())
    }
}

/// What a path may have in it that has to be looked at more closely.
type Seen = u8;

/// A byte that [`check_raw_bytes`] refuses.
const FORBIDDEN: Seen = 1;
const PERCENT: Seen = 2;
const DOT: Seen = 4;
const SLASH: Seen = 8;
/// Slashes that follow each other.
const TWO_SLASHES: Seen = SLASH << 1;

/// What each byte is. Most paths have nothing of it.
const SEEN: [Seen; 256] = {
    let mut table = [0; 256];
    let mut byte = 0_u8;
    loop {
        table[byte as usize] = match byte {
            b'%' => PERCENT,
            b'.' => DOT,
            b'/' => SLASH,
            byte if forbidden(byte).is_some() => FORBIDDEN,
            _ => 0,
        };
        if byte == u8::MAX {
            break table;
        }
        byte += 1;
    }
};

fn seen_in(path: &[u8]) -> Seen {
    let (mut seen, mut before) = (0, 0);
    for byte in path {
        let here = SEEN[usize::from(*byte)];
        seen |= here | (here & before & SLASH) << 1;
        before = here;
    }
    seen
}

/// Why a raw byte may not be in a path.
const fn forbidden(byte: u8) -> Option<PathError> {
    match byte {
        b'\\' => Some(PathError::Backslash),
        b';' => Some(PathError::Semicolon),
        b'?' | b'#' | b'<' | b'>' | b'`' => Some(PathError::ForbiddenCharacter),
        byte if !byte.is_ascii_graphic() => Some(PathError::NotVisibleAscii),
        _ => None,
    }
}

fn check_raw_bytes(path: &[u8]) -> Result<(), PathError> {
    path.iter().find_map(|byte| forbidden(*byte)).map_or(Ok(()), Err)
}

/// The path with its percent sequences replaced, and what kinds of sequences there were.
fn decode(path: &[u8]) -> Result<(Vec<u8>, Facts), PathError> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut facts = Facts::default();
    let mut rest = path;
    while let [first, tail @ ..] = rest {
        if *first != b'%' {
            decoded.push(*first);
            rest = tail;
            continue;
        }
        let [high, low, tail @ ..] = tail else { return Err(PathError::InvalidPercent) };
        let byte = hex_digit(*high)? << 4 | hex_digit(*low)?;
        facts.encoded_slash |= byte == b'/';
        facts.encoded_unreserved |= byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        decoded.push(byte);
        rest = tail;
    }
    Ok((decoded, facts))
}

/// A checked path, or a segment of one, decoded.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let (bytes, _) = decode(text.as_bytes()).expect("percent sequences were checked");
    // The checks decoded the whole path. Slashes are ASCII, so splitting at them cuts no character.
    Cow::Owned(String::from_utf8(bytes).expect("UTF-8 was checked"))
}

fn hex_digit(digit: u8) -> Result<u8, PathError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(PathError::InvalidPercent),
    }
}

/// What must not come out of decoding, whoever decodes.
fn check_decoded(decoded: &[u8]) -> Result<(), PathError> {
    let text = std::str::from_utf8(decoded).map_err(|_| PathError::InvalidUtf8)?;
    for character in text.chars() {
        match character {
            '\\' => return Err(PathError::Backslash),
            ';' => return Err(PathError::Semicolon),
            character if character.is_control() => return Err(PathError::EncodedControl),
            _ => {}
        }
    }
    let twice = decoded
        .windows(3)
        .any(|three| three[0] == b'%' && three[1].is_ascii_hexdigit() && three[2].is_ascii_hexdigit());
    if twice { Err(PathError::DoubleEncoding) } else { Ok(()) }
}

/// No empty and no dot segment. Works on the decoded path, where an encoded slash separates too: a
/// server that decodes before it splits must not find what was not found here.
fn check_segments(decoded: &[u8]) -> Result<(), PathError> {
    let mut segments = decoded[1..].split(|byte| *byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            // The last one may be empty: a trailing slash, which is kept.
            b"" if segments.peek().is_some() => return Err(PathError::EmptySegment),
            b"." | b".." => return Err(PathError::DotSegment),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
