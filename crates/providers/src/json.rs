//! JSON as a tree in which no object has a name twice.
//!
//! Of two equal names some parsers take the first and some the last, so a message with both would be
//! counted as one thing and acted on as another.

mod clear;
pub(crate) mod span;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A JSON value, as far as till needs it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Node<'a> {
    /// `null`
    Null,
    /// A string.
    Text(Cow<'a, str>),
    /// An object.
    Object(BTreeMap<Cow<'a, str>, Node<'a>>),
    /// `true` or `false`
    Bool(bool),
    /// A number or an array.
    Other,
}

impl Node<'_> {
    /// The value of a name, if this is an object that has it.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(fields) => fields.get(name),
            _ => None,
        }
    }

    /// The string, if it is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// The text itself, if [`parse`] can read it.
///
/// # Errors
/// Those of [`parse`].
pub(crate) fn check(text: &[u8]) -> Result<&str, serde_json::Error> {
    if let Some(text) = clear::clear(text) {
        return Ok(text);
    }
    parse(text)?;
    std::str::from_utf8(text).map_err(serde_json::Error::custom)
}

/// Whether a text is an object, and one that [`check`] takes at first sight. Tells where its names and values are; that
/// counts only if it is one.
pub(crate) fn members(text: &str, member: impl FnMut(Range<usize>, Range<usize>)) -> bool {
    clear::members(text, member)
}

/// Reads a whole text.
///
/// # Errors
/// Something else than one JSON value, nested deeper than 128 levels, or with a name twice in an object.
pub(crate) fn parse(text: &[u8]) -> Result<Node<'_>, serde_json::Error> {
    serde_json::from_slice(text)
}

impl<'de: 'a, 'a> Deserialize<'de> for Node<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

/// The longest part of a name that is repeated in an error.
const NAME_SHOWN_MAX: usize = 64;

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Node::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Node::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Node::Other)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Node::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Node::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<Node<'de>>()?.is_some() {}
        Ok(Node::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some((name, value)) = entries.next_entry::<Node<'de>, Node<'de>>()? {
            let Node::Text(name) = name else { return Err(A::Error::custom("a name is no string")) };
            if fields.contains_key(&name) {
                let shown: String = name.chars().take(NAME_SHOWN_MAX).collect();
                return Err(A::Error::custom(format!("the name {shown:?} stands twice in one object")));
            }
            fields.insert(name, value);
        }
        Ok(Node::Object(fields))
    }
}
