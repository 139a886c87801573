//! Finds a few values in JSON that comes in pieces, without keeping the rest.
//!
//! Which values those are is a small tree per format: only members on its paths are looked at, so that text which
//! looks like usage (in a tool's arguments, in metadata) is not taken for it. Names are compared decoded. What is
//! found is kept as raw JSON, up to a bound, and read when its document ends.

use memchr::memchr2;

use super::tally::{Mark, Tally};

/// The longest value that is kept, in bytes.
const CAPTURE_MAX: usize = 64 * 1024;

/// Room for most of them.
const CAPTURE_USUAL: usize = 64;

/// The longest value that is counted by what it says: a word or a small number.
const MARK_MAX: usize = 64;

/// The longest name that is looked at; longer ones are none of ours.
const NAME_MAX: usize = 256;

/// The deepest nesting that is followed. Deeper documents are not read.
const DEPTH_MAX: usize = 256;

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

/// What is at a name below a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Into(Node),
    Keep(Field),
    /// The value is only counted, so that any number of them takes no room.
    Count(Mark),
}

/// The tree of a format.
pub(super) type Tree = fn(Node, &str) -> Step;

/// Names of generated text inside of a [`Node::Text`].
const TEXT_NAMES: [&str; 9] = [
    "arguments",
    "content",
    "delta",
    "partial_json",
    "reasoning",
    "reasoning_content",
    "refusal",
    "text",
    "thinking",
];

/// What one document said.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The wanted values: of each field the last one, as readers of JSON take it.
    pub values: Vec<(Field, Vec<u8>)>,
    pub tally: Tally,
    /// The document is one of an array, and others may follow.
    pub in_array: bool,
}

impl Found {
    /// A value as raw JSON.
    pub(super) fn raw(&self, wanted: Field) -> Option<&[u8]> {
        self.values.iter().find(|(field, _)| *field == wanted).map(|(_, raw)| &raw[..])
    }

    fn keep(&mut self, field: Field, raw: Vec<u8>) {
        match self.values.iter_mut().find(|(known, _)| *known == field) {
            Some((_, known)) => *known = raw,
            None => self.values.push((field, raw)),
        }
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
    /// Room for values that are only counted.
    spare: Vec<u8>,
    found: Found,
    /// Bytes of generated text so far, counted from below.
    text_bytes: u64,
    in_scalar: bool,
    /// Too deep to be followed.
    is_lost: bool,
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
    raw: Vec<u8>,
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
    pub(super) fn new(tree: Tree) -> Self {
        Self {
            tree,
            levels: Vec::new(),
            below: 0,
            string: None,
            name: Vec::new(),
            next: Step::Into(Node::Root),
            capture: None,
            spare: Vec::new(),
            found: Found::default(),
            text_bytes: 0,
            in_scalar: false,
            is_lost: false,
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
        self.found = Found::default();
        self.in_scalar = false;
        self.is_lost = false;
    }

    /// Reads on. Calls `end` with what was wanted whenever an object at the root, or in an array at the root, ends.
    pub(super) fn push(&mut self, mut bytes: &[u8], end: &mut impl FnMut(Found)) {
        while let Some(byte) = bytes.first() {
            if self.is_lost {
                return;
            }
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
            self.push_byte(*byte, end);
            bytes = &bytes[1..];
        }
    }

    /// Whether neither names nor values count here: below a member that is not looked at, or inside of a value that is kept
    /// as it stands.
    fn is_in_nothing(&self) -> bool {
        self.levels.last().is_some_and(|level| level.node == Node::Nothing)
            && self.capture.as_ref().is_none_or(|capture| capture.depth < self.levels.len())
    }

    /// Passes over what does not count, to the end of it at most: only strings and nesting are followed. Takes nothing
    /// where that end comes next.
    fn push_nothing<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let run = bytes.iter().position(|byte| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']'));
        let run = run.unwrap_or(bytes.len());
        let length = match bytes.get(run) {
            Some(b'"') => {
                self.string = Some(Text { is_name: false, is_counted: false, is_escaped: false });
                run + 1
            }
            Some(b'{' | b'[') => {
                self.is_lost = self.levels.len() + self.below >= DEPTH_MAX;
                self.below += 1;
                run + 1
            }
            Some(_) if self.below > 0 => {
                self.below -= 1;
                run + 1
            }
            _ => run,
        };
        let (taken, rest) = bytes.split_at(length);
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
        let run = memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
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
        let node = self.levels.last().map_or(Node::Nothing, |level| level.node);
        self.next = self.step(node);
        if let Some(level) = self.levels.last_mut() {
            level.expects_name = false;
        }
    }

    fn step(&self, node: Node) -> Step {
        if node == Node::Nothing || self.name.len() > NAME_MAX {
            return Step::Into(Node::Nothing);
        }
        let decoded;
        let name = if self.name.contains(&b'\\') {
            let quoted = [b"\"", &self.name[..], b"\""].concat();
            decoded = serde_json::from_slice::<String>(&quoted).unwrap_or_default();
            &decoded
        } else {
            std::str::from_utf8(&self.name).unwrap_or_default()
        };
        match node {
            Node::Text if TEXT_NAMES.contains(&name) => Step::Into(Node::Text),
            Node::Text => (self.tree)(Node::Text, name),
            node => (self.tree)(node, name),
        }
    }

    fn push_byte(&mut self, byte: u8, end: &mut impl FnMut(Found)) {
        match byte {
            b'"' => {
                self.begin_value();
                let is_name = self.levels.last().is_some_and(|level| level.is_object && level.expects_name);
                if is_name {
                    self.name.clear();
                }
                let is_counted = !is_name && self.next == Step::Into(Node::Text);
                self.string = Some(Text { is_name, is_counted, is_escaped: false });
                self.keep_value(b"\"");
            }
            b'{' | b'[' => {
                self.begin_value();
                self.keep_value(&[byte]);
                let node = match self.next {
                    Step::Into(node) => node,
                    Step::Keep(_) | Step::Count(_) => Node::Nothing,
                };
                if self.levels.len() >= DEPTH_MAX {
                    self.is_lost = true;
                    return;
                }
                self.levels.push(Level { is_object: byte == b'{', node, expects_name: byte == b'{' });
            }
            b'}' | b']' => {
                self.end_scalar();
                self.keep_value(&[byte]);
                let Some(level) = self.levels.pop() else { return };
                let is_document = level.is_object
                    && self.levels.iter().all(|outer| !outer.is_object && outer.node == Node::Root);
                self.end_value();
                if is_document {
                    self.found.in_array = !self.levels.is_empty();
                    end(std::mem::take(&mut self.found));
                }
            }
            b',' => {
                self.end_scalar();
                self.keep_value(b",");
                if let Some(level) = self.levels.last_mut() {
                    level.expects_name = level.is_object;
                    if !level.is_object {
                        self.next = Step::Into(level.node);
                    }
                }
            }
            b':' => self.keep_value(b":"),
            b' ' | b'\t' | b'\r' | b'\n' => self.end_scalar(),
            _ => {
                if !self.in_scalar {
                    self.begin_value();
                    self.in_scalar = true;
                }
                self.keep_value(&[byte]);
            }
        }
    }

    /// A value, or a name, begins here.
    fn begin_value(&mut self) {
        let expects_name = self.levels.last().is_some_and(|level| level.is_object && level.expects_name);
        if expects_name || self.capture.is_some() {
            return;
        }
        let depth = self.levels.len();
        self.capture = match self.next {
            Step::Into(_) => None,
            Step::Keep(field) => {
                Some(Capture { wanted: Wanted::Field(field), depth, raw: Vec::with_capacity(CAPTURE_USUAL) })
            }
            Step::Count(mark) => {
                Some(Capture { wanted: Wanted::Mark(mark), depth, raw: std::mem::take(&mut self.spare) })
            }
        };
    }

    fn end_scalar(&mut self) {
        if std::mem::take(&mut self.in_scalar) {
            self.end_value();
        }
    }

    /// A value has ended: if it is the one that is kept, it is complete.
    fn end_value(&mut self) {
        let depth = self.levels.len();
        if let Some(mut capture) = self.capture.take_if(|capture| capture.depth == depth) {
            match capture.wanted {
                Wanted::Field(field) => self.found.keep(field, capture.raw),
                Wanted::Mark(mark) => {
                    self.found.tally.count(mark, &capture.raw);
                    capture.raw.clear();
                    self.spare = capture.raw;
                }
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
        if let Some(capture) = &mut self.capture {
            // One beyond the bound can't be read any more, which is what it is to be.
            let room = (capture.wanted.length_max() + 1).saturating_sub(capture.raw.len());
            capture.raw.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }
}
