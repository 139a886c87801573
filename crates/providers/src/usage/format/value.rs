//! JSON of a usage, read where it stands: nothing of it is copied.

use std::borrow::Cow;

use serde_json::Number;

use crate::json::span::{self, IS_SCALAR, run, whole_string};

/// A JSON value.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    Array(Vec<Value<'a>>),
    Object(Object<'a>),
}

/// A JSON object. Of a name that stands in it twice the last value counts, as readers of JSON take it.
#[derive(Clone, Debug, Default)]
pub(super) struct Object<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

/// How deep a value may be nested, as `serde_json` takes it.
const DEPTH_MAX: usize = 127;

/// Room for what most objects and arrays have in them.
const ITEMS_USUAL: usize = 8;

impl Object<'static> {
    /// Takes over, by a copy, the members of these names that are not null.
    pub(super) fn take(&mut self, other: &Object<'_>, names: &[&'static str]) {
        for name in names {
            let Some(value) = other.get(name).filter(|value| !value.is_null()) else { continue };
            let value = value.to_static();
            match self.0.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = value,
                None => self.0.push((Cow::Borrowed(name), value)),
            }
        }
    }
}

impl<'a> Object<'a> {
    /// Reads a whole text; `None` if it is no object.
    pub(super) fn parse(text: &'a [u8]) -> Option<Self> {
        let text = after_blanks(std::str::from_utf8(text).ok()?);
        match (Reader { has_controls: has_controls(text) }).value(text, DEPTH_MAX)? {
            (Value::Object(object), rest) if after_blanks(rest).is_empty() => Some(object),
            _ => None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

impl<'a> Value<'a> {
    /// The value of a name, if this is an object that has it.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        self.as_object()?.get(name)
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    pub(super) fn is_true(&self) -> bool {
        matches!(self, Self::Bool(true))
    }

    pub(super) fn as_number(&self) -> Option<&Number> {
        match self {
            Self::Number(number) => Some(number),
            _ => None,
        }
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn as_object(&self) -> Option<&Object<'a>> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// What is in an array; nothing for any other value.
    pub(super) fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }

    fn to_static(&self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::Text(Cow::Owned(text.to_string())),
            Self::Array(items) => Value::Array(items.iter().map(Value::to_static).collect()),
            Self::Object(Object(members)) => {
                let members =
                    members.iter().map(|(name, value)| (Cow::Owned(name.to_string()), value.to_static()));
                Value::Object(Object(members.collect()))
            }
        }
    }
}

/// Reads a whole text that is a string; `None` if it is something else.
pub(super) fn text(text: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(text).ok()?;
    let (string, rest) = Reader { has_controls: has_controls(text) }.string(text)?;
    rest.is_empty().then_some(string)
}

/// Reads a text from its beginning on: each function gives what stands there, and the text behind it.
struct Reader {
    /// There are control characters, which may stand between values but not in a string.
    has_controls: bool,
}

impl Reader {
    /// `depth` is how deep the value may be nested.
    fn value<'a>(&self, text: &'a str, depth: usize) -> Option<(Value<'a>, &'a str)> {
        match text.as_bytes().first()? {
            b'{' => {
                let (members, rest) = self.list(&text[1..], b'}', depth, Self::member)?;
                Some((Value::Object(Object(members)), rest))
            }
            b'[' => {
                let (items, rest) = self.list(&text[1..], b']', depth, Self::value)?;
                Some((Value::Array(items), rest))
            }
            b'"' => self.string(text).map(|(text, rest)| (Value::Text(text), rest)),
            _ => {
                let (word, rest) = text.split_at(run(text.as_bytes(), &IS_SCALAR));
                let value = match word {
                    "null" => Value::Null,
                    "true" => Value::Bool(true),
                    "false" => Value::Bool(false),
                    number => Value::Number(read_number(number)?),
                };
                Some((value, rest))
            }
        }
    }

    fn member<'a>(&self, text: &'a str, depth: usize) -> Option<((Cow<'a, str>, Value<'a>), &'a str)> {
        let (name, rest) = self.string(text)?;
        let rest = after_blanks(rest).strip_prefix(':')?;
        let (value, rest) = self.value(after_blanks(rest), depth)?;
        Some(((name, value), rest))
    }

    /// What stands between commas, up to the byte with which an object or array ends.
    fn list<'a, T>(
        &self,
        text: &'a str,
        end: u8,
        depth: usize,
        item: impl Fn(&Self, &'a str, usize) -> Option<(T, &'a str)>,
    ) -> Option<(Vec<T>, &'a str)> {
        let depth = depth.checked_sub(1)?;
        let mut text = after_blanks(text);
        if text.as_bytes().first() == Some(&end) {
            return Some((Vec::new(), &text[1..]));
        }
        let mut items = Vec::with_capacity(ITEMS_USUAL);
        loop {
            let (one, rest) = item(self, text, depth)?;
            items.push(one);
            text = after_blanks(rest);
            match *text.as_bytes().first()? {
                b',' => text = after_blanks(&text[1..]),
                byte if byte == end => return Some((items, &text[1..])),
                _ => return None,
            }
        }
    }

    fn string<'a>(&self, text: &'a str) -> Option<(Cow<'a, str>, &'a str)> {
        let inside = text.strip_prefix('"')?;
        if let Some(length) = whole_string(inside.as_bytes()) {
            let (string, rest) = (&inside[..length], &inside[length + 1..]);
            let is_good = !(self.has_controls && has_controls(string));
            return is_good.then_some((Cow::Borrowed(string), rest));
        }
        let mut strings = serde_json::Deserializer::from_str(text).into_iter();
        let decoded: String = strings.next()?.ok()?;
        Some((Cow::Owned(decoded), &text[strings.byte_offset()..]))
    }
}

fn has_controls(text: &str) -> bool {
    text.bytes().fold(false, |any, byte| any | (byte < b' '))
}

fn read_number(text: &str) -> Option<Number> {
    let is_whole = text == "0" || matches!(text.as_bytes().first(), Some(b'1'..=b'9'));
    let whole = text.parse::<u64>().ok().filter(|_| is_whole);
    whole.map(Number::from).or_else(|| serde_json::from_str(text).ok())
}

fn after_blanks(text: &str) -> &str {
    let rest = span::after_blanks(text.as_bytes());
    &text[text.len() - rest.len()..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Object, Value, text};

    #[test]
    fn the_last_of_equal_names_counts_and_members_are_taken_over() {
        let number =
            |object: &Object<'_>, name| object.get(name).and_then(|value| value.as_number()?.as_u64());
        let usage = br#"{"a":1,"\u0061":2,"b":{"c":["d"]},"e":3,"e":null,"f":4}"#;
        let usage = Object::parse(usage).expect("an object");
        assert_eq!((number(&usage, "a"), number(&usage, "e")), (Some(2), None));
        let mut all = Object::default();
        for usage in [&Object::parse(br#"{"a":7,"e":8}"#).expect("an object"), &usage] {
            all.take(usage, &["a", "b", "e"]);
        }
        assert_eq!((number(&all, "a"), number(&all, "e"), all.0.len()), (Some(2), Some(8), 3));
        let texts = all.get("b").and_then(|b| b.get("c")).map(|c| c.items()[0].as_str());
        assert_eq!(texts, Some(Some("d")));
    }

    /// The same as another reader of JSON has it.
    fn plain(value: &Value<'_>) -> serde_json::Value {
        match value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Number(number) => number.clone().into(),
            Value::Text(text) => text.as_ref().into(),
            Value::Array(items) => items.iter().map(plain).collect(),
            Value::Object(Object(members)) => {
                members.iter().map(|(name, value)| (name.to_string(), plain(value))).collect()
            }
        }
    }

    fn check(text: &[u8]) {
        let expected = serde_json::from_slice(text).ok().filter(serde_json::Value::is_object);
        let object = Object::parse(text).map(|object| plain(&Value::Object(object)));
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
