//! Reads objects that come in one piece.
//!
//! Nearly all do, and then nothing has to be remembered between one byte and the next. What it makes of an object is what
//! [`Scanner`](super::scanner::Scanner) makes of it piece by piece; where it is not sure it gives up, and the scanner reads
//! the object in its way.

use super::format::Document;
use super::scanner::{CAPTURE_MAX, DEPTH_MAX, Field, MARK_MAX, Node, Place, Said, Step, Tree, step};
use super::tally::Tally;
use crate::json::span::{self, IS_SCALAR, after_blanks, nest, run, string, whole_string};

/// The most values that are wanted of an object: of more it is not sure.
const PLACES_MAX: usize = 4;

/// Each function takes one thing from the beginning of some bytes and gives what stands behind it.
pub(super) struct Whole<'b> {
    tree: Tree,
    /// All there is.
    text: &'b [u8],
    /// Where what was wanted is, so many of them.
    places: [Place; PLACES_MAX],
    found: usize,
    tally: Tally,
    /// The usage is read where it stands, and this is what it says.
    reads_usage: bool,
    usage: Option<Document<'b>>,
    /// Bytes of generated text.
    pub text_bytes: u64,
    /// Strings, numbers and words of which nothing is kept, for a document whose shape is learned: see
    /// [`Shape`](super::shape::Shape).
    pub holes: Option<Vec<Hole>>,
}

/// Takes the documents at the beginning of some bytes that come whole, and gives what stands behind them.
pub(super) fn documents(tree: Tree, mut bytes: &[u8], mut end: impl FnMut(Said<'_>)) -> &[u8] {
    // Otherwise more comes of the last one, which nearly always is the only one.
    if bytes.trim_ascii_end().ends_with(b"}") {
        while let Some(rest) = document(tree, bytes, &mut end) {
            bytes = rest;
        }
    }
    bytes
}

fn document(tree: Tree, bytes: &[u8], end: impl FnOnce(Said<'_>)) -> Option<&[u8]> {
    let inside = after_blanks(bytes).strip_prefix(b"{")?;
    let mut whole = Whole::new(tree, inside);
    let rest = whole.document(inside)?;
    end(whole.said());
    Some(rest)
}

/// A value of which nothing is kept.
#[derive(Debug)]
pub(super) struct Hole {
    /// How many bytes there are from its beginning to the end of those that are read.
    pub before_end: usize,
    pub length: usize,
    pub is_text: bool,
}

impl<'b> Whole<'b> {
    /// For something in a text.
    #[inline]
    pub(super) fn new(tree: Tree, text: &'b [u8]) -> Self {
        Self {
            tree,
            text,
            places: [(Field::Usage, 0, 0); PLACES_MAX],
            found: 0,
            tally: Tally::default(),
            reads_usage: false,
            usage: None,
            text_bytes: 0,
            holes: None,
        }
    }

    /// What was wanted.
    pub(super) fn said(&self) -> Said<'_> {
        Said::new(self.text, &self.places[..self.found], self.usage.as_ref(), &self.tally)
    }

    /// The members of a document and its last bracket.
    pub(super) fn document(&mut self, inside: &'b [u8]) -> Option<&'b [u8]> {
        self.reads_usage = true;
        self.members(inside, Node::Root, DEPTH_MAX - 1)
    }

    /// A member of an object. A comma or the last bracket of the object stands behind it. Its value is nested so deep at most.
    #[inline]
    pub(super) fn member(&mut self, bytes: &'b [u8], node: Node, depth: usize) -> Option<&'b [u8]> {
        let quoted = after_blanks(bytes).strip_prefix(b"\"")?;
        let (name, rest) = quoted.split_at(whole_string(quoted)?);
        let rest = after_blanks(&rest[1..]).strip_prefix(b":")?;
        let rest = after_blanks(self.value(after_blanks(rest), step(self.tree, node, name), depth)?);
        matches!(rest.first(), Some(b',' | b'}')).then_some(rest)
    }

    /// The members of an object and its last bracket.
    fn members(&mut self, mut bytes: &'b [u8], node: Node, depth: usize) -> Option<&'b [u8]> {
        if let Some(rest) = after_blanks(bytes).strip_prefix(b"}") {
            return Some(rest);
        }
        loop {
            let (separator, rest) = self.member(bytes, node, depth)?.split_first()?;
            if *separator == b'}' {
                return Some(rest);
            }
            bytes = rest;
        }
    }

    /// The items of an array and its last bracket.
    fn items(&mut self, bytes: &'b [u8], node: Node, depth: usize) -> Option<&'b [u8]> {
        let mut bytes = after_blanks(bytes);
        if let Some(rest) = bytes.strip_prefix(b"]") {
            return Some(rest);
        }
        loop {
            let rest = self.value(bytes, Step::Into(node), depth)?;
            match after_blanks(rest) {
                [b',', rest @ ..] => bytes = after_blanks(rest),
                [b']', rest @ ..] => return Some(rest),
                _ => return None,
            }
        }
    }

    #[inline]
    fn value(&mut self, bytes: &'b [u8], step: Step, depth: usize) -> Option<&'b [u8]> {
        if step == Step::Into(Node::Nothing) && self.holes.is_none() {
            return span::value(bytes, depth).map(|(length, _)| &bytes[length..]);
        }
        self.value_of_interest(bytes, step, depth)
    }

    fn value_of_interest(&mut self, bytes: &'b [u8], step: Step, depth: usize) -> Option<&'b [u8]> {
        let length = match (*bytes.first()?, step) {
            (b'"', _) => {
                let (length, escapes) = string(&bytes[1..])?;
                if step == Step::Into(Node::Text) {
                    // Of each escape one byte, whatever is escaped.
                    self.text_bytes += (length - escapes) as u64;
                }
                length + 2
            }
            (b'{', Step::Keep(Field::Usage)) if self.reads_usage => {
                // One that is too long to be kept is not read to its end.
                let near = &bytes[..bytes.len().min(CAPTURE_MAX + 1)];
                let (usage, rest) = Document::read(near)?;
                self.usage = Some(usage);
                near.len() - rest.len()
            }
            (b'{' | b'[', Step::Into(Node::Nothing) | Step::Keep(_)) => nest(bytes, depth)?,
            (b'{', Step::Into(node)) => return self.members(&bytes[1..], node, depth.checked_sub(1)?),
            (b'[', Step::Into(node)) => return self.items(&bytes[1..], node, depth.checked_sub(1)?),
            _ => run(bytes, &IS_SCALAR),
        };
        let (value, rest) = bytes.split_at(length);
        match step {
            _ if value.is_empty() => return None,
            Step::Into(node) => {
                if let Some(holes) = &mut self.holes
                    && !matches!(value[0], b'{' | b'[')
                {
                    holes.push(Hole { before_end: bytes.len(), length, is_text: node == Node::Text });
                }
            }
            Step::Keep(field) if length <= CAPTURE_MAX => {
                let (known, free) = self.places.split_at_mut(self.found);
                if known.iter().any(|(known, ..)| *known == field) {
                    return None;
                }
                let start = self.text.len() - bytes.len();
                *free.first_mut()? = (field, start, start + length);
                self.found += 1;
            }
            Step::Count(mark) if length <= MARK_MAX => self.tally.count(mark, value),
            Step::Keep(_) | Step::Count(_) => return None,
        }
        Some(rest)
    }
}
