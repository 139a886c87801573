//! JSON of a usage, read once and where it stands: values are not copied, and those that are asked for are found in one
//! pass over the names.

use std::borrow::Cow;

use serde_json::Number;

use crate::json::span::{IS_SCALAR, after_blanks, run, string};

/// A JSON object with all that is in it, one behind the other: each value is followed by those inside of it.
#[derive(Debug)]
pub(super) struct Document<'a>(Vec<Item<'a>>);

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
        if !text.is_ascii() {
            std::str::from_utf8(text).ok()?;
        }
        let has_controls = text.iter().fold(false, |any, byte| any | (*byte < b' '));
        let mut reader = Reader { items: Vec::with_capacity(ITEMS_USUAL), has_controls };
        let inside = after_blanks(text).strip_prefix(b"{")?;
        let rest = reader.list(inside, b'}', DEPTH_MAX)?;
        after_blanks(rest).is_empty().then_some(Self(reader.items))
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
    /// There are control characters, which may stand between values but not in a string.
    has_controls: bool,
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
                (name, text) = self.name(text)?;
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

    fn name(&self, text: &'a [u8]) -> Option<(Cow<'a, [u8]>, &'a [u8])> {
        let (quoted, escapes) = self.string(text)?;
        let rest = after_blanks(&text[quoted.len()..]).strip_prefix(b":")?;
        let name = match escapes {
            0 => Cow::Borrowed(&quoted[1..quoted.len() - 1]),
            _ => Cow::Owned(serde_json::from_slice::<String>(quoted).ok()?.into_bytes()),
        };
        Some((name, after_blanks(rest)))
    }

    fn value(&mut self, name: Cow<'a, [u8]>, text: &'a [u8], depth: usize) -> Option<&'a [u8]> {
        let place = self.items.len();
        self.items.push(Item { name, raw: b"", below: 0 });
        let rest = match *text.first()? {
            b'{' => self.list(&text[1..], b'}', depth)?,
            b'[' => self.list(&text[1..], b']', depth)?,
            b'"' => &text[self.string(text)?.0.len()..],
            _ => {
                let (word, rest) = text.split_at(run(text, &IS_SCALAR));
                let is_plain = matches!(word, b"null" | b"true" | b"false") || digits(word).is_some();
                if !is_plain || is_padded(word) {
                    serde_json::from_slice::<Number>(word).ok()?;
                }
                rest
            }
        };
        let below = self.items.len() - place - 1;
        let item = &mut self.items[place];
        (item.raw, item.below) = (&text[..text.len() - rest.len()], below);
        Some(rest)
    }

    /// A string with its quotes, and how many escapes are in it.
    fn string(&self, text: &'a [u8]) -> Option<(&'a [u8], usize)> {
        let (length, escapes) = string(text.strip_prefix(b"\"")?)?;
        let quoted = &text[..length + 2];
        let is_good = (escapes == 0 || serde_json::from_slice::<String>(quoted).is_ok())
            && !(self.has_controls && quoted.iter().any(|byte| *byte < b' '));
        is_good.then_some((quoted, escapes))
    }
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

/// Whether a number begins with a zero that does not count.
fn is_padded(number: &[u8]) -> bool {
    number.len() > 1 && number[0] == b'0'
}

/// Reads a whole text that is a string; `None` if it is something else.
pub(super) fn text(text: &[u8]) -> Option<Cow<'_, str>> {
    let inside = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\""));
    let is_plain = |text: &&[u8]| {
        text.iter().fold(true, |plain, byte| plain & (*byte >= b' ') & (*byte != b'"') & (*byte != b'\\'))
    };
    match inside.filter(is_plain) {
        Some(inside) => std::str::from_utf8(inside).ok().map(Cow::Borrowed),
        None => serde_json::from_slice(text).ok().map(Cow::Owned),
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
