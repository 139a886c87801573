//! Finds a few values in JSON that comes in pieces, without keeping the rest.
//!
//! Which values those are is a small tree per format: only members on its paths are looked at, so that text which
//! looks like usage (in a tool's arguments, in metadata) is not taken for it. Names are compared decoded. What is
//! found is kept as raw JSON, up to a bound, and read when its document ends.

use super::format::Document;
use super::shape::Shape;
use super::tally::{Mark, Tally};
use super::whole::Whole;
use crate::json::span::{IS_FLAT, IS_SCALAR, after_blanks, quote_or_escape, run, string};

/// The longest value that is kept, in bytes.
pub(super) const CAPTURE_MAX: usize = 64 * 1024;

/// Room for those of most documents, and how many they are.
const RAW_USUAL: usize = 512;
const PLACES_USUAL: usize = 4;

/// The longest value that is counted by what it says: a word or a small number.
pub(super) const MARK_MAX: usize = 64;

/// The longest name that is looked at; longer ones are none of ours.
const NAME_MAX: usize = 256;

/// The deepest nesting that is followed. Deeper documents are not read.
pub(super) const DEPTH_MAX: usize = 256;

/// How many times some bytes are looked at for members that come whole, and may then be cut after all.
const CUTS_MAX: usize = 8;

/// A place in the tree of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Root,
    Response,
    Message,
    Delta,
    Vendor,
    Choices,
    Candidates,
    Content,
    Grounding,
    /// Steps of an answer: messages, calls of tools.
    Items,
    Action,
    /// Results of the oldest models at Bedrock.
    Results,
    /// The object that names a tier.
    Tier,
    /// Generated text below this place is counted.
    Text,
    /// Nothing of interest below.
    Nothing,
}

/// A value that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Usage,
    /// Usage in a place that counts only if there is no better one.
    VendorUsage,
    Billed,
    Model,
    Tier,
    Type,
    StopReason,
    Queries,
    InputCount,
    Metrics,
    Wrapped,
}

/// What is to be done with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Into(Node),
    Keep(Field),
    /// The value is only counted, so that any number of them takes no room.
    Count(Mark),
}

/// The tree of a format.
pub(super) type Tree = fn(Node, &[u8]) -> Step;

/// What is at a name below a node.
#[inline]
pub(super) fn step(tree: Tree, node: Node, name: &[u8]) -> Step {
    match node {
        Node::Nothing => Step::Into(Node::Nothing),
        Node::Text if is_text_name(name) => Step::Into(Node::Text),
        node => tree(node, name),
    }
}

/// Whether this names generated text inside of a [`Node::Text`].
fn is_text_name(name: &[u8]) -> bool {
    matches!(
        name,
        b"arguments"
            | b"content"
            | b"delta"
            | b"partial_json"
            | b"reasoning"
            | b"reasoning_content"
            | b"refusal"
            | b"text"
            | b"thinking"
    )
}

/// What one document said.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    /// Where the places are.
    text: &'a [u8],
    /// The wanted values: of each field the last one, as readers of JSON take it.
    places: &'a [Place],
    /// The usage, where it was read already.
    pub usage: Option<&'a Document<'a>>,
    pub tally: &'a Tally,
    /// The document is one of an array, and others may follow.
    pub in_array: bool,
}

/// A value and where it begins and ends in some text.
pub(super) type Place = (Field, usize, usize);

impl<'a> Said<'a> {
    /// What stands at some places of a text.
    pub(super) fn new(
        text: &'a [u8],
        places: &'a [Place],
        usage: Option<&'a Document<'a>>,
        tally: &'a Tally,
    ) -> Self {
        Self { text, places, usage, tally, in_array: false }
    }

    /// A value as raw JSON.
    pub(super) fn raw(&self, wanted: Field) -> Option<&'a [u8]> {
        self.iter().find(|(field, _)| *field == wanted).map(|(_, raw)| raw)
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Field, &'a [u8])> + use<'a> {
        let text = self.text;
        self.places.iter().map(move |(field, start, end)| (*field, &text[*start..*end]))
    }
}

/// What one document said, kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// The wanted values one behind the other, as raw JSON.
    raw: Vec<u8>,
    places: Vec<Place>,
    tally: Tally,
}

impl Found {
    pub(super) fn said(&self) -> Said<'_> {
        Said::new(&self.raw, &self.places, None, &self.tally)
    }

    /// Keeps a value.
    fn keep(&mut self, field: Field, raw: &[u8]) {
        if let Some((_, start, end)) = self.places.iter_mut().find(|(known, ..)| *known == field) {
            // The room of the value before is for this one, so that any number of them takes no more.
            let before = *start..std::mem::replace(end, *start + raw.len());
            self.raw.splice(before.clone(), raw.iter().copied());
            for (_, start, end) in self.places.iter_mut().filter(|(_, start, _)| *start >= before.end) {
                *start = *start + raw.len() - before.len();
                *end = *end + raw.len() - before.len();
            }
        } else {
            if self.places.is_empty() {
                // What most documents have.
                self.raw.reserve(RAW_USUAL);
                self.places.reserve(PLACES_USUAL);
            }
            let start = self.raw.len();
            self.raw.extend_from_slice(raw);
            self.places.push((field, start, self.raw.len()));
        }
    }

    /// Keeps all that was said, too.
    pub(super) fn keep_all(&mut self, said: Said<'_>) {
        said.iter().for_each(|(field, raw)| self.keep(field, raw));
        self.tally.add(said.tally);
    }

    /// Begins anew.
    pub(super) fn clear(&mut self) {
        self.raw.clear();
        self.places.clear();
        self.tally = Tally::default();
    }
}

#[derive(Debug)]
pub(super) struct Scanner {
    tree: Tree,
    levels: Vec<Level>,
    /// How deep it is below the innermost of them, where that has nothing of interest.
    below: usize,
    string: Option<Text>,
    name: Vec<u8>,
    /// What the value to come is.
    next: Step,
    capture: Option<Capture>,
    /// What was captured of it.
    captured: Vec<u8>,
    found: Found,
    /// Bytes of generated text so far, counted from below.
    text_bytes: u64,
    in_scalar: bool,
    /// Too deep to be followed.
    is_lost: bool,
    /// That of the documents before, in a stream.
    shape: Option<Box<Shape>>,
    /// Members that did not come whole with the bytes that came last.
    cuts: usize,
}

#[derive(Debug)]
struct Level {
    is_object: bool,
    node: Node,
    expects_name: bool,
}

/// The inside of a string.
#[derive(Debug)]
struct Text {
    is_name: bool,
    is_counted: bool,
    is_escaped: bool,
}

#[derive(Debug)]
struct Capture {
    wanted: Wanted,
    depth: usize,
}

#[derive(Clone, Copy, Debug)]
enum Wanted {
    Field(Field),
    Mark(Mark),
}

impl Wanted {
    fn length_max(self) -> usize {
        match self {
            Self::Field(_) => CAPTURE_MAX,
            Self::Mark(_) => MARK_MAX,
        }
    }
}

impl Scanner {
    /// For one document or several, or for a stream of them.
    #[inline]
    pub(super) fn new(tree: Tree, is_stream: bool) -> Self {
        Self {
            tree,
            levels: Vec::new(),
            below: 0,
            string: None,
            name: Vec::new(),
            next: Step::Into(Node::Root),
            capture: None,
            captured: Vec::new(),
            found: Found::default(),
            text_bytes: 0,
            in_scalar: false,
            is_lost: false,
            shape: is_stream.then(Box::default),
            cuts: 0,
        }
    }

    pub(super) fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    /// Forgets a document that did not end.
    pub(super) fn reset(&mut self) {
        self.levels.clear();
        self.below = 0;
        self.string = None;
        self.next = Step::Into(Node::Root);
        self.capture = None;
        self.found.clear();
        self.in_scalar = false;
        self.is_lost = false;
    }

    /// Reads on. Calls `end` with what was wanted whenever an object at the root, or in an array at the root, ends.
    pub(super) fn push(&mut self, mut bytes: &[u8], end: &mut impl FnMut(Said<'_>)) {
        self.cuts = 0;
        while !bytes.is_empty() && !self.is_lost {
            if self.string.is_some() {
                bytes = self.push_string(bytes);
                continue;
            }
            if self.is_in_nothing() {
                let rest = self.push_nothing(bytes);
                if rest.len() < bytes.len() {
                    bytes = rest;
                    continue;
                }
            }
            bytes = self.push_token(bytes, end);
        }
    }

    /// Whether neither names nor values count here: below a member that is not looked at, or inside of a value that is kept
    /// as it stands.
    fn is_in_nothing(&self) -> bool {
        self.node() == Node::Nothing
            && self.capture.as_ref().is_none_or(|capture| capture.depth < self.levels.len())
    }

    /// Passes over what does not count, to the end of it at most: only strings and nesting are followed. Takes nothing
    /// where that end comes next.
    fn push_nothing<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let mut at = 0;
        while !self.is_lost {
            at += run(&bytes[at..], &IS_FLAT);
            match bytes.get(at) {
                Some(b'"') => {
                    at += 1;
                    let Some((length, _)) = string(&bytes[at..]) else {
                        self.string = Some(Text { is_name: false, is_counted: false, is_escaped: false });
                        break;
                    };
                    at += length + 1;
                }
                Some(b'{' | b'[') => {
                    at += 1;
                    self.is_lost = self.levels.len() + self.below >= DEPTH_MAX;
                    self.below += 1;
                }
                Some(_) if self.below > 0 => {
                    at += 1;
                    self.below -= 1;
                }
                _ => break,
            }
        }
        let (taken, rest) = bytes.split_at(at);
        self.keep_value(taken);
        rest
    }

    /// The inside of a string: runs of plain bytes are taken at once.
    fn push_string<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let text = self.string.as_mut().expect("inside of a string");
        if text.is_escaped {
            text.is_escaped = false;
            // One byte at least, whatever is escaped.
            self.text_bytes += u64::from(text.is_counted);
            let (byte, rest) = bytes.split_at(1);
            self.keep(byte);
            return rest;
        }
        let run = quote_or_escape(bytes).unwrap_or(bytes.len());
        if text.is_counted {
            self.text_bytes += run as u64;
        }
        if run == bytes.len() {
            self.keep(bytes);
            return &[];
        }
        let is_end = bytes[run] == b'"';
        text.is_escaped = !is_end;
        let (taken, rest) = bytes.split_at(run + 1);
        self.keep(taken);
        if is_end {
            self.end_string();
        }
        rest
    }

    fn end_string(&mut self) {
        let text = self.string.take().expect("inside of a string");
        if !text.is_name {
            self.end_value();
            return;
        }
        // Without its last quote.
        self.name.pop();
        if self.name.len() > NAME_MAX {
            self.end_name(b"");
        } else if self.name.contains(&b'\\') {
            let quoted = [b"\"", &self.name[..], b"\""].concat();
            let decoded = serde_json::from_slice::<String>(&quoted).unwrap_or_default();
            self.end_name(decoded.as_bytes());
        } else {
            let name = std::mem::take(&mut self.name);
            self.end_name(&name);
            self.name = name;
        }
    }

    /// A name has ended: it says what the value behind it is.
    fn end_name(&mut self, name: &[u8]) {
        let Some(level) = self.levels.last_mut() else { return };
        level.expects_name = false;
        self.next = step(self.tree, level.node, name);
    }

    /// One thing that counts: a name, the beginning of another string, a bracket, a run of blanks or of another value.
    fn push_token<'b>(&mut self, bytes: &'b [u8], end: &mut impl FnMut(Said<'_>)) -> &'b [u8] {
        let (token, rest) = bytes.split_at(1);
        match token[0] {
            b'"' => {
                self.begin_value();
                let is_name = self.expects_name();
                if is_name {
                    self.name.clear();
                }
                let is_counted = !is_name && self.next == Step::Into(Node::Text);
                self.string = Some(Text { is_name, is_counted, is_escaped: false });
                self.keep_value(token);
            }
            b'{' | b'[' => {
                if self.levels.is_empty()
                    && let Some(rest) = self.push_document(bytes, end)
                {
                    return rest;
                }
                self.begin_value();
                self.keep_value(token);
                let node = match self.next {
                    Step::Into(node) => node,
                    Step::Keep(_) | Step::Count(_) => Node::Nothing,
                };
                if self.levels.len() >= DEPTH_MAX {
                    self.is_lost = true;
                    return rest;
                }
                let is_object = token == b"{";
                self.levels.push(Level { is_object, node, expects_name: is_object });
                return self.push_members(rest, end);
            }
            b'}' | b']' => {
                self.end_scalar();
                self.keep_value(token);
                self.end_level(end);
            }
            b',' => {
                self.end_scalar();
                self.keep_value(token);
                if let Some(level) = self.levels.last_mut() {
                    level.expects_name = level.is_object;
                    if !level.is_object {
                        self.next = Step::Into(level.node);
                    }
                    return self.push_members(rest, end);
                }
            }
            b':' => self.keep_value(token),
            b' ' | b'\t' | b'\r' | b'\n' => {
                self.end_scalar();
                return after_blanks(rest);
            }
            _ => {
                if !self.in_scalar {
                    self.begin_value();
                    self.in_scalar = true;
                }
                let (scalar, rest) = bytes.split_at(run(bytes, &IS_SCALAR));
                self.keep_value(scalar);
                return rest;
            }
        }
        rest
    }

    /// Takes a document of a stream that comes whole, as nearly all do, without keeping anything of it, and without reading it
    /// if it is of the same shape as those before.
    fn push_document<'b>(&mut self, bytes: &'b [u8], end: &mut impl FnMut(Said<'_>)) -> Option<&'b [u8]> {
        let inside = bytes.strip_prefix(b"{").filter(|_| !self.in_scalar && self.capture.is_none())?;
        let shape = self.shape.as_deref_mut()?;
        if let Some((rest, text_bytes)) = shape.strip(bytes) {
            self.text_bytes += text_bytes;
            end(shape.found.said());
            return Some(rest);
        }
        if !shape.learns() {
            self.shape = None;
            return None;
        }
        let mut whole = Whole::new(self.tree, inside);
        whole.holes = Some(std::mem::take(&mut shape.holes));
        let rest = whole.document(inside)?;
        self.text_bytes += whole.text_bytes;
        end(whole.said());
        shape.holes = whole.holes.take().unwrap_or_default();
        shape.learn(&bytes[..bytes.len() - rest.len()], rest.len(), whole.said());
        Some(rest)
    }

    /// Takes members of the innermost object that come whole, and its end. Nearly always that is all there is. What is cut is
    /// read piece by piece, and so is everything that is unusual: both ways come to the same.
    fn push_members<'b>(&mut self, mut bytes: &'b [u8], end: &mut impl FnMut(Said<'_>)) -> &'b [u8] {
        let node = self.node();
        if node == Node::Nothing || !self.expects_name() || self.in_scalar || self.capture.is_some() {
            return bytes;
        }
        while self.cuts < CUTS_MAX {
            let mut whole = Whole::new(self.tree, bytes);
            let Some(rest) = whole.member(bytes, node, DEPTH_MAX - self.levels.len()) else {
                self.cuts += 1;
                break;
            };
            self.text_bytes += whole.text_bytes;
            self.found.keep_all(whole.said());
            let Some(rest) = rest.strip_prefix(b",") else {
                self.end_level(end);
                return &rest[1..];
            };
            bytes = rest;
            self.next = Step::Into(Node::Nothing);
        }
        bytes
    }

    /// The innermost object or array has ended.
    fn end_level(&mut self, end: &mut impl FnMut(Said<'_>)) {
        let Some(level) = self.levels.pop() else { return };
        self.end_value();
        if level.is_object && self.levels.iter().all(|outer| !outer.is_object && outer.node == Node::Root) {
            end(Said { in_array: !self.levels.is_empty(), ..self.found.said() });
            self.found.clear();
        }
    }

    /// A value, or a name, begins here.
    fn begin_value(&mut self) {
        if self.capture.is_some() || self.expects_name() {
            return;
        }
        let wanted = match self.next {
            Step::Into(_) => return,
            Step::Keep(field) => Wanted::Field(field),
            Step::Count(mark) => Wanted::Mark(mark),
        };
        self.captured.clear();
        self.capture = Some(Capture { wanted, depth: self.levels.len() });
    }

    fn expects_name(&self) -> bool {
        self.levels.last().is_some_and(|level| level.is_object && level.expects_name)
    }

    /// Where the innermost object or array is.
    fn node(&self) -> Node {
        self.levels.last().map_or(Node::Root, |level| level.node)
    }

    fn end_scalar(&mut self) {
        if std::mem::take(&mut self.in_scalar) {
            self.end_value();
        }
    }

    /// A value has ended: if it is the one that is kept, it is complete.
    fn end_value(&mut self) {
        let depth = self.levels.len();
        if let Some(capture) = self.capture.take_if(|capture| capture.depth == depth) {
            match capture.wanted {
                Wanted::Field(field) => self.found.keep(field, &self.captured),
                Wanted::Mark(mark) => self.found.tally.count(mark, &self.captured),
            }
        }
        self.next = match self.levels.last() {
            Some(level) if !level.is_object => Step::Into(level.node),
            Some(_) => Step::Into(Node::Nothing),
            None => Step::Into(Node::Root),
        };
    }

    /// Keeps bytes of a string: of a name, or of a wanted value.
    fn keep(&mut self, bytes: &[u8]) {
        let is_name = self.string.as_ref().is_some_and(|text| text.is_name);
        if is_name && self.capture.is_none() {
            // One beyond the bound, and the quote that ends it, so that a name that is too long is seen to be.
            let room = (NAME_MAX + 2).saturating_sub(self.name.len());
            self.name.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        self.keep_value(bytes);
    }

    fn keep_value(&mut self, bytes: &[u8]) {
        if let Some(capture) = &self.capture {
            // One beyond the bound can't be read any more, which is what it is to be.
            let room = (capture.wanted.length_max() + 1).saturating_sub(self.captured.len());
            self.captured.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }
}
