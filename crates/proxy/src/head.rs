//! The head of a request, whichever version of HTTP it came with.

use http::{Method, Uri, Version};
use till_core::fields::Fields;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) target: Target,
    pub(crate) version: Version,
    pub(crate) fields: Fields,
}

/// What a request is for: a path and perhaps a query.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Target {
    text: String,
    /// Where the path ends.
    path_end: usize,
}

impl Target {
    /// From the target of a request line, RFC 9112 section 3.2; `None` if it has no path.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.starts_with('/') {
            return Some(Self::new(text));
        }
        let uri: Uri = text.parse().ok()?;
        Some(Self::new(uri.path_and_query()?.as_str()))
    }

    pub(crate) fn new(text: &str) -> Self {
        let path_end = memchr::memchr(b'?', text.as_bytes()).unwrap_or(text.len());
        Self { text: text.to_owned(), path_end }
    }

    pub(crate) fn path(&self) -> &str {
        &self.text[..self.path_end]
    }

    pub(crate) fn query(&self) -> Option<&str> {
        self.text.get(self.path_end + 1..)
    }

    /// Path and query as they came.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

impl Head {
    /// Whether a comma-separated header has this token, in any letter case.
    pub(crate) fn has_token(&self, name: &str, token: &str) -> bool {
        has_token(&self.fields, name, token)
    }
}

/// See [`Head::has_token`].
pub(crate) fn has_token(fields: &Fields, name: &str, token: &str) -> bool {
    fields.get_all(name).any(|value| lists(value, token))
}

/// Whether a comma-separated value has this token, in any letter case.
pub(crate) fn lists(value: &[u8], token: &str) -> bool {
    items(value).any(|item| item.eq_ignore_ascii_case(token.as_bytes()))
}

/// What a comma-separated value lists.
pub(crate) fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// The headers that `Connection` names, in lower case, but for those of which this says that they stay. They are for one
/// hop, RFC 9110 section 7.6.1.
pub(crate) fn named_by_connection(fields: &Fields, stays: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
    // Nearly always it names none: then nothing is allocated.
    let names = fields.get_all("connection").flat_map(items).filter(|name| !stays(name));
    names.map(<[u8]>::to_ascii_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn targets_have_a_path() {
        for (text, path, query) in [
            ("/a/b?c=d?e", "/a/b", Some("c=d?e")),
            ("/", "/", None),
            ("/?", "/", Some("")),
            ("http://host:80/a?b", "/a", Some("b")),
            ("http://host", "/", None),
            ("*", "*", None),
        ] {
            let target = Target::parse(text).expect(text);
            assert_eq!((target.path(), target.query()), (path, query), "{text}");
        }
        for text in ["host:80", "", "a b", "host"] {
            assert_eq!(Target::parse(text), None, "{text}");
        }
    }
}
