//! JSON of a usage, read once and where it stands: values are not copied, and those that are asked for are found in one
//! pass over the names.

use std::borrow::Cow;

use serde_json::Number;

use crate::json::span::{self, IS_SCALAR, after_blanks, plain_string, run};

/// A JSON object with all that is in it, one behind the other: each value is followed by those inside of it.
#[derive(Debug)]
pub(in crate::usage) struct Document<'a>(Vec<Item<'a>>);

#[derive(Debug)]
struct Item<'a> {
    /// Decoded; empty for what is in an array.
    name: Cow<'a, [u8]>,
    raw: &'a [u8],
    /// How many items are inside of it.
    below: usize,
}

/// An object in a document. Of a name that stands in it twice the last value counts, as readers of JSON take it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Object<'d>(&'d [Item<'d>]);

/// A value in a document.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'d> {
    raw: &'d [u8],
    inside: &'d [Item<'d>],
}

/// How deep a value may be nested, as `serde_json` takes it.
const DEPTH_MAX: usize = 127;

/// Room for what most usages have in them.
const ITEMS_USUAL: usize = 16;

impl<'a> Document<'a> {
    /// Reads a whole text; `None` if it is no object.
    pub(super) fn parse(text: &'a [u8]) -> Option<Self> {
        let (document, rest) = Self::read(after_blanks(text))?;
        after_blanks(rest).is_empty().then_some(document)
    }

    /// Reads the object with which a text begins, and gives what stands behind it; `None` if it is none.
    pub(in crate::usage) fn read(text: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut reader = Reader { items: Vec::with_capacity(ITEMS_USUAL) };
        let rest = reader.list(text.strip_prefix(b"{")?, b'}', DEPTH_MAX)?;
        let object = &text[..text.len() - rest.len()];
        (object.is_ascii() || std::str::from_utf8(object).is_ok()).then_some((Self(reader.items), rest))
    }

    pub(super) fn object(&self) -> Object<'_> {
        Object(&self.0)
    }
}

impl<'d> Object<'d> {
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The values of these names.
    #[inline]
    pub(super) fn pick<const N: usize>(self, names: [&str; N]) -> [Option<Value<'d>>; N] {
        let mut values = [None; N];
        for (name, value) in members(self.0) {
            if let Some(place) = names.iter().position(|wanted| wanted.as_bytes() == name) {
                values[place] = Some(value);
            }
        }
        values
    }

    /// The value of a name.
    pub(super) fn get(self, name: &str) -> Option<Value<'d>> {
        self.pick([name])[0]
    }
}

/// What is in an object or array, but not what is inside of that.
#[inline]
fn members<'d>(mut items: &'d [Item<'d>]) -> impl Iterator<Item = (&'d [u8], Value<'d>)> {
    std::iter::from_fn(move || {
        let (item, rest) = items.split_first()?;
        let (inside, rest) = rest.split_at(item.below);
        items = rest;
        Some((&*item.name, Value { raw: item.raw, inside }))
    })
}

impl<'d> Value<'d> {
    /// The value of a name, if this is an object that has it.
    pub(super) fn get(self, name: &str) -> Option<Self> {
        self.as_object()?.get(name)
    }

    /// As it stands in the text.
    pub(super) fn raw(self) -> &'d [u8] {
        self.raw
    }

    pub(super) fn is_null(self) -> bool {
        self.raw == b"null"
    }

    pub(super) fn is_true(self) -> bool {
        self.raw == b"true"
    }

    /// A number that is written as digits and is in range.
    #[inline]
    pub(super) fn as_digits(self) -> Option<u64> {
        digits(self.raw)
    }

    pub(super) fn as_number(self) -> Option<Number> {
        let is_number = matches!(self.raw.first(), Some(b'0'..=b'9' | b'-'));
        is_number.then(|| serde_json::from_slice(self.raw).ok())?
    }

    pub(super) fn as_str(self) -> Option<Cow<'d, str>> {
        text(self.raw)
    }

    pub(super) fn as_object(self) -> Option<Object<'d>> {
        self.raw.starts_with(b"{").then_some(Object(self.inside))
    }

    /// What is in an array; nothing for any other value.
    pub(super) fn items(self) -> impl Iterator<Item = Self> {
        let inside = if self.raw.starts_with(b"[") { self.inside } else { &[] };
        members(inside).map(|(_, value)| value)
    }
}

/// Reads a text from its beginning on: each function gives what stands behind what it has read.
struct Reader<'a> {
    items: Vec<Item<'a>>,
}

impl<'a> Reader<'a> {
    /// What stands between commas, up to the byte with which an object or array ends. It may be nested so deep.
    fn list(&mut self, text: &'a [u8], end: u8, depth: usize) -> Option<&'a [u8]> {
        let depth = depth.checked_sub(1)?;
        let mut text = after_blanks(text);
        if text.first() == Some(&end) {
            return Some(&text[1..]);
        }
        loop {
            let mut name = Cow::Borrowed(&b""[..]);
            if end == b'}' {
                let (length, is_escaped) = string(text)?;
                name = match is_escaped {
                    false => Cow::Borrowed(&text[1..length - 1]),
                    true => Cow::Owned(decoded(&text[..length])?.into_bytes()),
                };
                text = after_blanks(after_blanks(&text[length..]).strip_prefix(b":")?);
            }
            text = after_blanks(self.value(name, text, depth)?);
            let (separator, rest) = text.split_first()?;
            match *separator {
                b',' => text = after_blanks(rest),
                byte if byte == end => return Some(rest),
                _ => return None,
            }
        }
    }

    #[inline]
    fn value(&mut self, name: Cow<'a, [u8]>, text: &'a [u8], depth: usize) -> Option<&'a [u8]> {
        let place = self.items.len();
        self.items.push(Item { name, raw: b"", below: 0 });
        let rest = match *text.first()? {
            b'{' => self.list(&text[1..], b'}', depth)?,
            b'[' => self.list(&text[1..], b']', depth)?,
            b'"' => &text[string(text)?.0..],
            _ => &text[scalar(text)?..],
        };
        let below = self.items.len() - place - 1;
        let item = &mut self.items[place];
        (item.raw, item.below) = (&text[..text.len() - rest.len()], below);
        Some(rest)
    }
}

/// The length of the string with which a text begins, its quotes included, and whether there are escapes in it.
#[inline]
fn string(text: &[u8]) -> Option<(usize, bool)> {
    let inside = text.strip_prefix(b"\"")?;
    match plain_string(inside) {
        Some(length) => Some((length + 2, false)),
        None => escaped_string(text).map(|length| (length, true)),
    }
}

#[cold]
fn escaped_string(text: &[u8]) -> Option<usize> {
    let length = span::string(&text[1..])?.0 + 2;
    decoded(&text[..length]).map(|_| length)
}

/// A string with escapes in it.
#[cold]
fn decoded(quoted: &[u8]) -> Option<String> {
    serde_json::from_slice(quoted).ok()
}

/// The length of the number or word with which a text begins.
#[inline]
fn scalar(text: &[u8]) -> Option<usize> {
    let digits = text.iter().position(|byte| !byte.is_ascii_digit())?;
    let is_whole = !matches!(text[digits], b'.' | b'e' | b'E');
    // So many are in range, and none begins with a zero that does not count.
    if is_whole && (digits == 1 || (2..20).contains(&digits) && text[0] != b'0') {
        return Some(digits);
    }
    if let Some(word) = [&b"null"[..], b"true", b"false"].into_iter().find(|word| text.starts_with(word)) {
        return Some(word.len());
    }
    let length = run(text, &IS_SCALAR);
    serde_json::from_slice::<Number>(&text[..length]).ok()?;
    Some(length)
}

/// The number that digits are, if it is in range.
#[inline]
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = Some(byte.wrapping_sub(b'0')).filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(digit.into())
    })
}

/// Reads a whole text that is a string; `None` if it is something else.
pub(super) fn text(text: &[u8]) -> Option<Cow<'_, str>> {
    match string(text)? {
        (length, false) if length == text.len() => {
            std::str::from_utf8(&text[1..length - 1]).ok().map(Cow::Borrowed)
        }
        _ => serde_json::from_slice(text).ok().map(Cow::Owned),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Document, Value, members, text};

    #[test]
    fn the_last_of_equal_names_counts() {
        let usage = br#" {"a":1,"\u0061":2,"b":{"c":["d"]},"e":3,"e":null,"f":4}"#;
        let usage = Document::parse(usage).expect("an object");
        let [a, b, e, none] = usage.object().pick(["a", "b", "e", "g"]);
        assert!(a.and_then(Value::as_digits) == Some(2) && none.is_none());
        assert!(e.is_some_and(Value::is_null));
        let texts: Vec<_> =
            b.and_then(|b| b.get("c")).into_iter().flat_map(Value::items).map(Value::as_str).collect();
        assert_eq!(texts, [Some("d".into())]);
    }

    /// The same as another reader of JSON has it.
    fn plain(value: Value<'_>) -> serde_json::Value {
        if let Some(object) = value.as_object() {
            let text = |name: &[u8]| String::from_utf8(name.to_vec()).expect("text");
            members(object.0).map(|(name, value)| (text(name), plain(value))).collect()
        } else if value.raw.starts_with(b"[") {
            value.items().map(plain).collect()
        } else if let Some(text) = value.as_str() {
            text.as_ref().into()
        } else if let Some(number) = value.as_digits().map(Into::into).or(value.as_number()) {
            number.into()
        } else if value.is_null() {
            serde_json::Value::Null
        } else {
            value.is_true().into()
        }
    }

    fn check(text: &[u8]) {
        let expected = serde_json::from_slice(text).ok().filter(serde_json::Value::is_object);
        let read = Document::parse(text);
        let object = read.as_ref().map(|read| plain(Value { raw: b"{", inside: &read.0 }));
        assert_eq!(object, expected, "{}", String::from_utf8_lossy(text));
    }

    #[test]
    fn only_a_whole_object_is_one() {
        let nested = |depth| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth)).into_bytes();
        (120..140).for_each(|depth| check(&nested(depth)));
        for value in [
            "1",
            "-0",
            "01",
            "1.0",
            "1.",
            ".5",
            "1e2",
            "1E+2",
            "1e400",
            "1e",
            "+1",
            "18446744073709551616",
            "NaN",
            "nul",
            "nulll",
            "\"\\n\"",
            "\"\n\"",
            "\"\\ud800\"",
            "\"\\ud83d\\ude00\"",
            "\"\u{7f}\"",
            "\"é",
            "",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[1}",
            "{,}",
            "{\"b\"}",
            "{\"b\":1,}",
            "{b:1}",
            "\u{c}1",
            "1,\"a\":2",
        ] {
            check(format!("{{\"a\":{value}}}").as_bytes());
            check(format!(" {{ \"a\" :\t{value}\r\n}} ").as_bytes());
            check(format!("{{\"a\":{value}}}x").as_bytes());
            check(value.as_bytes());
        }
        let texts = [
            "\"a\"",
            "\"\\u0061\"",
            "\"é\\n\"",
            "\"\n\"",
            "\"",
            "\"a",
            "\"a\"b",
            "\"a\\",
            "\"\\x\"",
            "a",
            "1",
            "null",
            "",
        ];
        for string in texts {
            let plain: Option<String> = serde_json::from_str(string).ok();
            assert_eq!(text(string.as_bytes()).as_deref(), plain.as_deref(), "{string}");
        }
        check(b"{\"a\":\"\xff\"}");
        check(b"{\"\xff\":1}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]
        #[test]
        fn it_is_read_as_other_readers_do(
            pieces in proptest::collection::vec(
                proptest::sample::select(&[
                    "{", "}", "[", "]", ",", ":", "\"a\":", "\"b\":", "\"a\"", "1,", "2.50", "null,", "true", "-3", " ", "\n", "\"\\u0061\":",
                    "\"x\\\"\"", "\\", "\"", "{\"a\":1}", "[1,\"b\"]", "\u{1}", "é",
                ][..]),
                0..16,
            )
        ) {
            check(format!("{{{}}}", pieces.concat()).as_bytes());
            check(format!("{{\"a\":{}}}", pieces.concat()).as_bytes());
        }
    }
}
