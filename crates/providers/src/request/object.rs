//! A JSON body whose values are known with their place in it, so that single bytes of it can be changed.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memmem::Finder;

use super::Refused;
use crate::json;
use crate::json::span::{self, IS_BETWEEN, IS_BLANK, IS_SCALAR, Kind, after_blanks, quote_or_escape, run};

/// An object in a body.
#[derive(Clone, Debug)]
pub(crate) struct Object<'a> {
    raw: &'a str,
    members: Vec<(Cow<'a, str>, Value<'a>)>,
    /// Offset of its closing brace.
    end: usize,
}

/// A value in a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a> {
    raw: &'a str,
    start: usize,
    /// It is known to be a text without escapes.
    is_plain: bool,
}

/// Room for the members of most objects.
const MEMBERS_USUAL: usize = 16;

/// Deeper than this nobody follows.
const DEPTH_MAX: usize = 64;

impl<'a> Object<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// It is no JSON object, or has a name twice in one object, wherever that is.
    pub(crate) fn parse(body: &'a [u8]) -> Result<Self, Refused> {
        let malformed = |error: &dyn std::fmt::Display| {
            Refused::Malformed(format!(
                "The body of this request must be JSON that can be read in one way only: {error}."
            ))
        };
        if let Ok(raw) = std::str::from_utf8(body) {
            let mut members = Vec::with_capacity(MEMBERS_USUAL);
            let is_object = json::members(raw, |name, value| {
                members.push((Cow::Borrowed(&raw[name]), Value::new(&raw[value.clone()], value.start)));
            });
            if is_object {
                return Ok(Self { raw, members, end: raw.trim_ascii_end().len() - 1 });
            }
        }
        let text = json::check(body).map_err(|error| malformed(&error))?;
        Value::new(text, 0).as_object().ok_or_else(|| malformed(&"it is no object"))
    }

    pub(crate) fn get(&self, name: &str) -> Option<Value<'a>> {
        self.members.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// A member that is there and not null.
    pub(crate) fn given(&self, name: &str) -> Option<Value<'a>> {
        self.get(name).filter(|value| !value.is_null())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Value<'a>)> {
        self.members.iter().map(|(name, value)| (name.as_ref(), *value))
    }

    pub(crate) fn end(&self) -> usize {
        self.end
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether it or an object below may have a member that is the name of this finder: a quick look.
    pub(crate) fn may_mention(&self, name: &Finder<'_>) -> bool {
        may_mention(self.raw, name)
    }
}

impl<'a> Value<'a> {
    fn new(raw: &'a str, start: usize) -> Self {
        Self { raw, start, is_plain: false }
    }

    /// Where it stands in the body.
    pub(crate) fn range(&self) -> Range<usize> {
        self.start..self.start + self.raw.len()
    }

    pub(crate) fn raw(&self) -> &'a str {
        self.raw
    }

    pub(crate) fn is_null(&self) -> bool {
        self.raw == "null"
    }

    pub(crate) fn as_bool(&self) -> Option<bool> {
        match self.raw {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    pub(crate) fn as_u64(&self) -> Option<u64> {
        self.raw.parse().ok()
    }

    pub(crate) fn as_str(&self) -> Option<Cow<'a, str>> {
        let inside = self.raw.strip_prefix('"')?.strip_suffix('"')?;
        if !self.is_plain && inside.contains('\\') {
            return serde_json::from_str(self.raw).ok().map(Cow::Owned);
        }
        Some(Cow::Borrowed(inside))
    }

    pub(crate) fn is_str(&self) -> bool {
        self.raw.starts_with('"')
    }

    pub(crate) fn as_object(&self) -> Option<Object<'a>> {
        if !self.raw.starts_with('{') && !self.raw.trim_start().starts_with('{') {
            return None;
        }
        Parts::of(*self).object()
    }

    pub(crate) fn as_array(&self) -> Option<Vec<Self>> {
        self.raw.starts_with('[').then(|| Parts::of(*self).collect())
    }

    /// What is in an array, each if it is an object.
    pub(crate) fn as_objects(&self) -> Option<impl Iterator<Item = Option<Object<'a>>> + use<'a>> {
        let mut parts = self.raw.starts_with('[').then(|| Parts::of(*self))?;
        Some(std::iter::from_fn(move || {
            parts.pass_between();
            match parts.rest().first()? {
                b']' => None,
                b'{' => {
                    parts.at += 1;
                    Some(parts.object())
                }
                _ => parts.next().map(|_| None),
            }
        }))
    }

    /// The bytes of all text below, names included, decoded, and of numbers and words that stand outside of strings.
    pub(crate) fn text_bytes(&self) -> u64 {
        if self.is_plain {
            return self.raw.len() as u64 - 2;
        }
        let mut bytes = 0_u64;
        let mut rest = self.raw.as_bytes();
        let mut inside = false;
        while let Some(at) = memchr::memchr2(b'"', b'\\', rest) {
            bytes += if inside { at as u64 } else { scalar_bytes(&rest[..at]) };
            if rest[at] == b'"' {
                inside = !inside;
                rest = &rest[at + 1..];
            } else if rest.get(at + 1) == Some(&b'u') {
                // At most three bytes of UTF-8 for each; pairs make four out of six.
                bytes += 3;
                rest = rest.get(at + 6..).unwrap_or_default();
            } else {
                bytes += 1;
                rest = rest.get(at + 2..).unwrap_or_default();
            }
        }
        bytes + scalar_bytes(rest)
    }

    /// Whether an object below has a member of this name, however it is written.
    pub(crate) fn mentions(&self, name: &str) -> bool {
        self.any_member(name, |_| true)
    }

    /// Whether an object below has a member of this name, however it is written, for whose text, if its value is one,
    /// something holds.
    pub(crate) fn any_member(&self, name: &str, mut holds: impl FnMut(Option<Cow<'a, str>>) -> bool) -> bool {
        if !may_mention(self.raw, &Finder::new(name)) {
            return false;
        }
        let mut named = false;
        Tokens::of(self.raw).any(|token| match token {
            Token::Name(text) => {
                named = self.token(text).as_str().is_some_and(|known| known == name);
                false
            }
            _ if !std::mem::take(&mut named) => false,
            Token::Text(text) => holds(self.token(text).as_str()),
            _ => holds(None),
        })
    }

    fn token(&self, raw: &'a str) -> Self {
        let offset = raw.as_ptr() as usize - self.raw.as_ptr() as usize;
        Self::new(raw, self.start + offset)
    }

    /// The bytes that its most generous rendering takes: every member and item on a line of its own, indented by four
    /// spaces a level, everything beyond ASCII escaped. `None` when it is nested too deeply.
    pub(crate) fn rendered_bytes(&self) -> Option<u64> {
        self.rendered(0)
    }

    /// The same below so many levels.
    fn rendered(&self, above: usize) -> Option<u64> {
        let line = |depth: usize| 4 * (above + depth) as u64 + 2;
        let mut bytes = 0_u64;
        // What is open, and whether it is an array.
        let mut open: Vec<bool> = Vec::new();
        for token in Tokens::of(self.raw) {
            let is_item = open.last() == Some(&true) && !matches!(token, Token::Close);
            bytes += if is_item { line(open.len()) } else { 0 };
            match token {
                Token::Open { is_array } => {
                    open.push(is_array);
                    if above + open.len() > DEPTH_MAX {
                        return None;
                    }
                    bytes += line(open.len()) + 2;
                }
                Token::Close => {
                    open.pop();
                }
                Token::Name(text) => {
                    bytes += line(open.len()) + escaped_bytes(&self.token(text).as_str()?) + 3;
                }
                Token::Text(text) => {
                    let text = self.token(text).as_str()?;
                    bytes += escaped_bytes(&text).max(embedded_bytes(&text, above + open.len())?);
                }
                Token::Word(word) => bytes += word.len() as u64,
            }
        }
        Some(bytes)
    }
}

/// Whether a JSON text may have a name in it, also one that is written with escapes. Names are of letters, digits and
/// underscores.
fn may_mention(text: &str, name: &Finder<'_>) -> bool {
    let text = text.as_bytes();
    // Only escapes by number can hide it.
    let has_numbers = || memchr::memmem::find(text, b"\\u").is_some();
    name.find(text).is_some() || (memchr::memchr(b'\\', text).is_some() && has_numbers())
}

/// What stands in an object, each name before its value, or in an array.
struct Parts<'a> {
    whole: Value<'a>,
    /// Where the next one is, or what stands before it.
    at: usize,
}

impl<'a> Parts<'a> {
    fn of(whole: Value<'a>) -> Self {
        // Behind the bracket.
        let at = run(whole.raw.as_bytes(), &IS_BLANK) + 1;
        Self { whole, at }
    }

    fn rest(&self) -> &'a [u8] {
        self.whole.raw.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// Goes on to the next one, or to the end.
    fn pass_between(&mut self) {
        let mut rest = after_blanks(self.rest());
        if let [b',' | b':', behind @ ..] = rest {
            rest = after_blanks(behind);
        }
        self.at = self.whole.raw.len() - rest.len();
    }

    /// The object in which it is, to its end.
    fn object(&mut self) -> Option<Object<'a>> {
        let start = self.at - 1;
        let mut members = Vec::with_capacity(MEMBERS_USUAL);
        while let Some(name) = self.next() {
            members.push((name.as_str()?, self.next()?));
        }
        // Behind its closing brace.
        self.at += 1;
        let raw = self.whole.raw.get(start..self.at)?;
        Some(Object { raw, members, end: self.whole.start + self.at - 1 })
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        self.pass_between();
        let rest = self.rest();
        if matches!(rest.first()?, b'}' | b']') {
            return None;
        }
        let (length, is_plain) = span::value(rest, usize::MAX)?;
        let start = self.at;
        self.at += length;
        let raw = self.whole.raw.get(start..self.at)?;
        Some(Value { raw, start: self.whole.start + start, is_plain })
    }
}

/// The pieces of a JSON text that is known to be one, in their order: one look at each byte, however deep it is nested.
struct Tokens<'a> {
    raw: &'a str,
    at: usize,
}

enum Token<'a> {
    Open {
        is_array: bool,
    },
    Close,
    /// The name of a member, in quotes.
    Name(&'a str),
    /// A text that is a value, in quotes.
    Text(&'a str),
    /// A number, `true`, `false` or `null`.
    Word(&'a str),
}

impl<'a> Tokens<'a> {
    fn of(raw: &'a str) -> Self {
        Self { raw, at: 0 }
    }

    /// Where the text that begins here ends, behind its quote.
    fn end_of_text(&self, start: usize) -> usize {
        let bytes = self.raw.as_bytes();
        let mut at = start + 1;
        while let Some(found) = bytes.get(at..).and_then(quote_or_escape) {
            at += found;
            if bytes[at] == b'"' {
                return at + 1;
            }
            at += 2;
        }
        bytes.len()
    }

    fn skip(&mut self, what: &Kind) {
        self.at += run(self.raw.as_bytes().get(self.at..).unwrap_or_default(), what);
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip(&IS_BETWEEN);
        let start = self.at;
        let byte = *self.raw.as_bytes().get(start)?;
        self.at += 1;
        Some(match byte {
            b'{' | b'[' => Token::Open { is_array: byte == b'[' },
            b'}' | b']' => Token::Close,
            b'"' => {
                self.at = self.end_of_text(start);
                let text = &self.raw[start..self.at];
                self.skip(&IS_BLANK);
                if self.raw.as_bytes().get(self.at) == Some(&b':') {
                    Token::Name(text)
                } else {
                    Token::Text(text)
                }
            }
            _ => {
                self.at = start + run(&self.raw.as_bytes()[start..], &IS_SCALAR).max(1);
                Token::Word(&self.raw[start..self.at])
            }
        })
    }
}

/// Bytes outside of strings that are neither blank nor punctuation.
fn scalar_bytes(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| !b"{}[],: \t\r\n".contains(byte)).count() as u64
}

/// The bytes of the most generous rendering of JSON that stands in a text, as arguments of calls do: a provider may
/// read it and write it anew. 0 for any other text.
fn embedded_bytes(text: &str, depth: usize) -> Option<u64> {
    let text = text.trim();
    if !text.starts_with(['{', '[']) || json::check(text.as_bytes()).is_err() {
        return Some(0);
    }
    Value::new(text, 0).rendered(depth + 1)
}

/// The bytes of a text in quotes with everything that can be escaped as `\uXXXX`.
fn escaped_bytes(text: &str) -> u64 {
    let escaped = |character: char| match character {
        '"' | '\\' | '\u{0}'..='\u{1f}' | '\u{7f}' | '<' | '>' | '&' | '\'' | '/' => 6,
        character if character.is_ascii() => 1,
        character => 6 * character.len_utf16() as u64,
    };
    2 + text.chars().map(escaped).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::{Object, Value};

    #[test]
    fn places_are_those_in_the_body() {
        let body = r#" {"a" : [1, {"b":"x"}], "max\u005ftokens":  12 , "é":null}  "#;
        let object = Object::parse(body.as_bytes()).expect("an object");
        let cap = object.get("max_tokens").expect("there");
        assert_eq!((cap.as_u64(), &body[cap.range()]), (Some(12), "12"));
        let inner =
            object.get("a").and_then(|a| a.as_array()).expect("an array")[1].as_object().expect("an object");
        assert_eq!(&body[inner.get("b").expect("there").range()], "\"x\"");
        assert_eq!(&body[object.end()..=object.end()], "}");
        assert!(object.given("é").is_none() && object.get("é").is_some());
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for body in [
            "",
            "[]",
            "{",
            "{}x",
            r#"{"a":1,"a":2}"#,
            r#"{"a":{"b":1,"\u0062":2}}"#,
            "\u{feff}{}",
            r#"{"a":NaN}"#,
        ] {
            assert!(Object::parse(body.as_bytes()).is_err(), "{body}");
        }
        assert!(Object::parse(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn a_member_is_found_however_its_name_is_written() {
        for (raw, expected) in [
            (r#"{"ttl":1}"#, true),
            (r#"[{"a":[{"\u0074tl":null}]}]"#, true),
            (r#"{"a":"ttl","b":"\"ttl\":1"}"#, false),
            ("[]", false),
        ] {
            assert_eq!(Value::new(raw, 0).mentions("ttl"), expected, "{raw}");
        }
        let long = |raw| Value::new(raw, 0).any_member("ttl", |ttl| ttl.as_deref() != Some("5m"));
        assert!(long(r#"[{"ttl":"5m"},{"ttl":"1h"}]"#) && long(r#"{"ttl":5}"#));
        assert!(!long(r#"[{"ttl":"5m"},{"ttl":"\u0035m"}]"#));
    }

    #[test]
    fn text_is_measured_decoded() {
        for (raw, bytes) in [
            (r#""Hello""#, 5),
            (r#"{"role":"user","n":12}"#, 4 + 4 + 1 + 2),
            (r#"[1, -2.5e3, {"a":[true, null]}]"#, 1 + 6 + 1 + 4 + 4),
            (r#""a\n\"b""#, 4),
            (r#""\u00e9""#, 3),
            (r#"["é",["é"]]"#, 4),
            ("12", 2),
        ] {
            assert_eq!(Value::new(raw, 0).text_bytes(), bytes, "{raw}");
        }
    }

    #[test]
    fn a_rendering_takes_no_more_than_its_bound() {
        let schema =
            r#"{"type":"object","properties":{"é/":{"type":"string","enum":["a","b"]}},"required":[]}"#;
        let value: serde_json::Value = serde_json::from_str(schema).expect("JSON");
        let bound = Value::new(schema, 0).rendered_bytes().expect("not deep");
        let pretty = serde_json::to_string_pretty(&value).expect("JSON").replace('é', "\\u00e9");
        assert!(bound >= pretty.len() as u64, "{bound} {}", pretty.len());
        // As the recursion that it is defined by: a line for each member and item, and one where it ends.
        for (raw, expected) in [
            ("12", 2),
            (r#""é""#, 2 + 6),
            ("[]", 6 + 2),
            ("[1,2]", 6 + 2 + 2 * (6 + 1)),
            (
                r#"{"a":{"b":[true]},"c":"d"}"#,
                6 + 2 + (6 + 3 + 3) + (10 + 2 + 10 + 3 + 3 + 14 + 2 + 14 + 4) + (6 + 3 + 3 + 3),
            ),
            (r#" { "a" : [ ] , "b" : null } "#, 6 + 2 + (6 + 3 + 3 + 10 + 2) + (6 + 3 + 3 + 4)),
        ] {
            assert_eq!(Value::new(raw, 0).rendered_bytes(), Some(expected), "{raw}");
        }
        // Arguments of a call are JSON in a text.
        let text = r#""{\"a\":[1,2,3]}""#;
        let inner = r#"{"a":[1,2,3]}"#;
        let bytes = |raw| Value::new(raw, 0).rendered_bytes().expect("not deep");
        assert!(bytes(text) >= bytes(inner), "{} {}", bytes(text), bytes(inner));
        assert!(bytes(r#""[no JSON""#) < 16);
        let deep = "[".repeat(70) + &"]".repeat(70);
        assert_eq!(Value::new(&deep, 0).rendered_bytes(), None);
    }
}
