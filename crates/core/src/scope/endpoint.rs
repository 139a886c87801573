//! Methods and paths that a key may use.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::glob;
use crate::path::FinalPath;

/// A method, or `*` for any, and a pattern of paths.
///
/// A pattern is compared segment by segment with the final path, decoded, in its own letter case. `*` in a segment stands for
/// any characters of that segment; `**` as the last segment stands for whatever follows, nothing included. A trailing slash is
/// a segment like any other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EndpointRule {
    method: String,
    pattern: String,
}

/// The longest one, in bytes.
const BYTES_MAX: usize = 1024;

/// A text that is no rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an endpoint is a method, or `*`, and a path as in \"POST /v1/chat/completions\" or \"GET /v1/models/*\"; {0}"
)]
pub struct NotAnEndpointRule(&'static str);

impl EndpointRule {
    /// Reads a rule.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, NotAnEndpointRule> {
        if text.len() > BYTES_MAX {
            return Err(NotAnEndpointRule("it is too long"));
        }
        let (method, pattern) = text.split_once(' ').ok_or(NotAnEndpointRule("a part is missing"))?;
        let is_method = method == "*"
            || (!method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-'));
        if !is_method {
            return Err(NotAnEndpointRule("the method is written in capital letters"));
        }
        let Some(path) = pattern.strip_prefix('/') else {
            return Err(NotAnEndpointRule("the path begins with `/`"));
        };
        if !pattern.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(NotAnEndpointRule("the path has visible ASCII characters only"));
        }
        if pattern.contains(['%', '?', '#', ';', '\\']) {
            return Err(NotAnEndpointRule("the path is written decoded, without a query"));
        }
        let mut segments = path.split('/').peekable();
        while let Some(segment) = segments.next() {
            let is_last = segments.peek().is_none();
            if segment.contains("**") && !(segment == "**" && is_last) {
                return Err(NotAnEndpointRule("`**` can only be the last segment, alone"));
            }
            if matches!(segment, "." | "..") || (segment.is_empty() && !is_last) {
                return Err(NotAnEndpointRule("no segment is empty, `.` or `..`"));
            }
        }
        Ok(Self { method: method.to_owned(), pattern: pattern.to_owned() })
    }

    /// Whether a request is one of those meant.
    pub fn matches(&self, method: &str, path: &FinalPath) -> bool {
        if self.method != "*" && self.method != method {
            return false;
        }
        self.matches_segments(path.decoded_segments())
    }

    /// The same where it is not known how the server reads an encoded slash: as a character of its segment or as a slash
    /// like any other. The request must be one of those meant in both ways.
    pub fn matches_either_way(&self, method: &str, path: &FinalPath) -> bool {
        self.matches(method, path)
            && (!path.has_encoded_slash()
                || self.matches_segments(path.decoded()[1..].split('/').map(Cow::Borrowed)))
    }

    /// Whether it names one endpoint, without anything that stands for others too.
    pub fn is_exact(&self) -> bool {
        self.method != "*" && !self.pattern.contains('*')
    }

    fn matches_segments<'a>(&self, mut segments: impl Iterator<Item = Cow<'a, str>>) -> bool {
        for expected in self.pattern[1..].split('/') {
            if expected == "**" {
                return true;
            }
            match segments.next() {
                Some(segment) if glob::matches(expected, &segment) => {}
                _ => return false,
            }
        }
        segments.next().is_none()
    }
}

impl fmt::Display for EndpointRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.pattern)
    }
}

impl TryFrom<String> for EndpointRule {
    type Error = NotAnEndpointRule;

    fn try_from(text: String) -> Result<Self, NotAnEndpointRule> {
        Self::parse(&text)
    }
}

impl From<EndpointRule> for String {
    fn from(rule: EndpointRule) -> Self {
        rule.to_string()
    }
}
