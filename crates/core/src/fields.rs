//! The header fields of a message.
//!
//! They are kept as they came, one after the other in one piece of memory: a proxy looks at a few of them, leaves out a few
//! more and passes the rest on. A map would be dearer to fill than all of that.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;

/// Header fields or trailers, RFC 9110 section 5: in order, names in lower case, values without white space around them.
///
/// Values may be secrets, so `Debug` shows names only.
#[derive(Clone, Default)]
pub struct Fields {
    /// Lines as they are written, those of fields that were taken out included.
    text: Vec<u8>,
    places: Vec<Place>,
    /// [`mark`]s of all names, those of fields that were taken out included: most names that somebody asks for are not there.
    marks: u64,
}

/// The memory of fields.
type Memory = (Vec<u8>, Vec<Place>);

thread_local! {
    /// Memory of fields that are gone, for those that are read next: every message would ask for it anew.
    static SPARE: RefCell<Vec<Memory>> = const { RefCell::new(Vec::new()) };
}

/// So much of it is kept by a thread, each of so many bytes and fields at most.
const SPARE_MAX: usize = 8;
const SPARE_BYTES_MAX: usize = 4 * 1024;
const SPARE_FIELDS_MAX: usize = 64;

impl Drop for Fields {
    fn drop(&mut self) {
        let (mut text, mut places) = (std::mem::take(&mut self.text), std::mem::take(&mut self.places));
        let fits = |memory: usize, most| (1..=most).contains(&memory);
        if fits(text.capacity(), SPARE_BYTES_MAX) && fits(places.capacity(), SPARE_FIELDS_MAX) {
            // There may be keys in it, and nobody knows when it is used again.
            text.fill(0);
            text.clear();
            places.clear();
            // A thread that ends has none any more.
            let _ = SPARE.try_with(|spare| {
                let mut spare = spare.borrow_mut();
                if spare.len() < SPARE_MAX {
                    spare.push((text, places));
                }
            });
        }
    }
}

/// Where a field is in the text: its line, and in it the name and the value.
#[derive(Clone, Copy)]
struct Place {
    start: usize,
    colon: usize,
    value: usize,
    value_end: usize,
    end: usize,
}

/// Why a text is no fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum FieldError {
    /// Lines end in CR LF, and neither of the two stands anywhere else.
    LineEnd,
    /// RFC 9112 section 5.2.
    Folded,
    /// There is only a name.
    NoColon,
    /// RFC 9110 section 5.1: a token, right before the colon.
    Name,
    /// RFC 9110 section 5.5.
    Value,
    /// There are more than are accepted.
    TooMany,
}

impl FieldError {
    /// What is wrong, as the end of a sentence.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LineEnd => "a line ends in a bare line feed; lines end in CR LF",
            Self::Folded => "a header is folded over several lines, which is obsolete",
            Self::NoColon => "a header line has no colon",
            Self::Name => "a header name has a space or another forbidden character",
            Self::Value => "a header has a control character",
            Self::TooMany => "there are more header lines than are accepted",
        }
    }
}

/// Room for what is added to fields that were read, in bytes and in fields.
const ROOM: (usize, usize) = (192, 6);

/// So many fields are expected of most messages.
const EXPECTED: usize = 16;

impl Fields {
    /// Reads lines up to an empty one, RFC 9112 section 5; at most `max` fields. The number is the length of all of it;
    /// `None` if the empty line is not there.
    ///
    /// # Errors
    /// The first rule that a line breaks.
    pub fn parse(bytes: &[u8], max: usize) -> Result<Option<(Self, usize)>, FieldError> {
        let (text, places) = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        let mut fields = Self { text, places, marks: 0 };
        let Self { text, places, marks } = &mut fields;
        places.reserve(EXPECTED + ROOM.1);
        let (mut start, mut seen) = (0, 0);
        let end = loop {
            let Some(line_end) = line_end(bytes, start)? else { return Ok(None) };
            let end = line_end + 2;
            if line_end == start {
                break end;
            }
            if places.len() >= max {
                return Err(FieldError::TooMany);
            }
            let (place, kinds) = read_line(&bytes[start..line_end], start, end)?;
            *marks |= mark(place.name(bytes));
            places.push(place);
            seen |= kinds;
            start = end;
        };
        text.reserve(start + ROOM.0);
        text.extend_from_slice(&bytes[..start]);
        if seen & UPPER != 0 {
            places.iter().for_each(|place| lower(&mut text[place.start..place.colon]));
        }
        Ok(Some((fields, end)))
    }

    /// Adds a field after all others. The name is put in lower case, white space around the value left out.
    ///
    /// It is for who calls to see that neither has bytes in it that a header may not have.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let (name, value) = (name.as_ref(), value.as_ref());
        let value = &value[trimmed(value)];
        let start = self.text.len();
        write_line(&mut self.text, name, value);
        lower(&mut self.text[start..start + name.len()]);
        self.marks |= mark(name);
        let colon = start + name.len();
        self.places.push(Place {
            start,
            colon,
            value: colon + 2,
            value_end: colon + 2 + value.len(),
            end: self.text.len(),
        });
    }

    /// Puts this in the place of all fields of that name.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.remove(name);
        self.push(name, value);
    }

    /// Takes out all fields of that name.
    pub fn remove(&mut self, name: &str) {
        if self.may_have(name) {
            self.retain(|other, _| other != name.as_bytes());
        }
    }

    /// Takes out what this says no to.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        let text = &self.text;
        self.places.retain(|place| keep(place.name(text), place.value(text)));
    }

    /// The first value of that name, which is in lower case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    /// The first value of that name, if it is text: see [`text`].
    pub fn get_text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(text)
    }

    /// All values of that name, which is in lower case.
    pub fn get_all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> + Clone {
        let places = if self.may_have(name) { &self.places[..] } else { &[] };
        let found = places.iter().filter(move |place| place.name(&self.text) == name.as_bytes());
        found.map(|place| place.value(&self.text))
    }

    /// Whether one of that name may be there.
    fn may_have(&self, name: &str) -> bool {
        self.marks & mark(name.as_bytes()) != 0
    }

    /// Whether there is one of that name, which is in lower case.
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        self.places.iter().map(|place| (place.name(&self.text), place.value(&self.text)))
    }

    /// All values, to be changed in place.
    pub fn for_each_value(&mut self, mut change: impl FnMut(&mut [u8])) {
        for place in &self.places {
            change(&mut self.text[place.value..place.value_end]);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// As lines of HTTP/1.1, RFC 9112 section 5.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        self.write_some(out, |_| true);
    }

    /// The same for those whose name this says yes to.
    pub fn write_some(&self, out: &mut Vec<u8>, mut keep: impl FnMut(&[u8]) -> bool) {
        // Lines that follow each other are one piece.
        let (mut start, mut end) = (0, 0);
        for place in &self.places {
            if !keep(place.name(&self.text)) {
                continue;
            }
            if place.start != end {
                out.extend_from_slice(&self.text[start..end]);
                start = place.start;
            }
            end = place.end;
        }
        out.extend_from_slice(&self.text[start..end]);
    }
}

/// One line of a head in HTTP/1.1.
pub fn write_line(out: &mut Vec<u8>, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
    let (name, value) = (name.as_ref(), value.as_ref());
    // Asked for once, not for each part.
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// A number as a value, without memory of its own.
pub fn decimal(mut number: u64, memory: &mut [u8; 20]) -> &[u8] {
    let mut start = memory.len();
    loop {
        start -= 1;
        memory[start] = b'0' + u8::try_from(number % 10).expect("a digit");
        number /= 10;
        if number == 0 {
            return &memory[start..];
        }
    }
}

/// A value as text: ASCII only, because nothing says how the rest is to be read.
pub fn text(value: &[u8]) -> Option<&str> {
    if value.is_ascii() { std::str::from_utf8(value).ok() } else { None }
}

/// Optional white space of RFC 9110 section 5.6.3.
fn trimmed(value: &[u8]) -> Range<usize> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    start..end
}

impl Place {
    fn name<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.start..self.colon]
    }

    fn value<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.value..self.value_end]
    }
}

/// One bit of 64 for a name, in whichever letter case.
fn mark(name: &[u8]) -> u64 {
    let [first, .., last] = name else { return 1 };
    1 << ((name.len() + 5 * usize::from(first & 0x1f) + usize::from(last & 0x1f)) % 64)
}

/// A word of eight bytes that are all one.
const EACH: u64 = u64::MAX / 0xff;

/// Where a line ends that begins at `start`: at CR LF, RFC 9112 section 2.2. `None` if that has not come yet.
fn line_end(bytes: &[u8], start: usize) -> Result<Option<usize>, FieldError> {
    let mut from = start;
    loop {
        let Some(length) = control(&bytes[from..]) else { return Ok(None) };
        let at = from + length;
        match &bytes[at..] {
            [b'\r', b'\n', ..] => return Ok(Some(at)),
            [b'\r'] => return Ok(None),
            [b'\n', ..] => return Err(FieldError::LineEnd),
            [b'\t', ..] => from = at + 1,
            // RFC 9110 section 5.5.
            _ => return Err(FieldError::Value),
        }
    }
}

/// Where the first control character is. Eight bytes are looked at at a time: heads are short, and what stands in them is
/// looked at once.
fn control(bytes: &[u8]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        // The highest bit of each byte says whether it is a control character. Above the first one it may be wrong.
        let word = u64::from_le_bytes(*word);
        let delete = word ^ (EACH * 0x7f);
        let found = (word.wrapping_sub(EACH * 0x20) & !word) | (delete.wrapping_sub(EACH) & !delete);
        let found = found & (EACH * 0x80);
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let seen = bytes.len() - rest.len();
    rest.iter().position(u8::is_ascii_control).map(|at| seen + at)
}

/// Puts a name in lower case, eight bytes at a time.
fn lower(name: &mut [u8]) {
    let (chunks, rest) = name.as_chunks_mut::<8>();
    for chunk in chunks {
        // The highest bit of each byte says whether it is at least `A`, and whether it is beyond `Z`: they are ASCII.
        let word = u64::from_le_bytes(*chunk);
        let from_a = word + EACH * (0x80 - u64::from(b'A'));
        let beyond_z = word + EACH * (0x7f - u64::from(b'Z'));
        *chunk = (word | (from_a & !beyond_z & (EACH * 0x80)) >> 2).to_le_bytes();
    }
    rest.make_ascii_lowercase();
}

/// Finds name and value of a line without its end, which is from `start` to `end` in the text with it. The number says what
/// is in the name: see [`KINDS`].
fn read_line(line: &[u8], start: usize, end: usize) -> Result<(Place, u8), FieldError> {
    let (mut colon, mut kinds) = (0, 0);
    let end_of_name = loop {
        let byte = *line.get(colon).ok_or(FieldError::NoColon)?;
        let kind = KINDS[usize::from(byte)];
        if kind == 0 {
            break byte;
        }
        kinds |= kind;
        colon += 1;
    };
    match end_of_name {
        b':' if colon > 0 => {}
        b' ' | b'\t' if colon == 0 => return Err(FieldError::Folded),
        _ if memchr::memchr(b':', line).is_none() => return Err(FieldError::NoColon),
        _ => return Err(FieldError::Name),
    }
    let Range { start: from, end: to } = trimmed(&line[colon + 1..]);
    let (colon, value) = (start + colon, start + colon + 1);
    Ok((Place { start, colon, value: value + from, value_end: value + to, end }, kinds))
}

/// What of a byte can be in a name: `tchar` of RFC 9110 section 5.6.2, and whether that is a capital letter; 0 for others.
const KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        if byte.is_ascii_alphanumeric() {
            kinds[byte as usize] = if byte.is_ascii_uppercase() { TOKEN | UPPER } else { TOKEN };
        }
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < others.len() {
        kinds[others[at] as usize] = TOKEN;
        at += 1;
    }
    kinds
};
const TOKEN: u8 = 1;
const UPPER: u8 = 2;

/// Whether this is a token, RFC 9110 section 5.6.2.
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| KINDS[usize::from(*byte)] != 0)
}

impl<N: AsRef<[u8]>, V: AsRef<[u8]>> FromIterator<(N, V)> for Fields {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let mut all = Self::default();
        fields.into_iter().for_each(|(name, value)| all.push(name, value));
        all
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| String::from_utf8_lossy(name))).finish()
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Fields {}

#[cfg(test)]
mod tests {
    use super::{FieldError, Fields, decimal, is_token, text};

    fn fields() -> Fields {
        [("Host", "a"), ("X-Many", " 1\t"), ("accept", ""), ("x-many", "2")].into_iter().collect()
    }

    fn written(fields: &Fields) -> String {
        let mut out = Vec::new();
        fields.write_to(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn they_stay_in_order() {
        assert_eq!(written(&fields()), "host: a\r\nx-many: 1\r\naccept: \r\nx-many: 2\r\n");
        assert_eq!(fields().len(), 4);
        assert!(Fields::default().is_empty());
    }

    #[test]
    fn lines_are_read() {
        let lines = b"Host:a\r\nX-Many: \t1 2\t \r\naccept:\r\n\r\nrest: x\r\n";
        let (fields, length) = Fields::parse(lines, 3).expect("fields").expect("an empty line");
        assert_eq!(&lines[length..], b"rest: x\r\n");
        assert!((0..length).all(|end| Fields::parse(&lines[..end], 3) == Ok(None)));
        let expected = [("host", "a"), ("x-many", "1 2"), ("accept", "")].into_iter().collect();
        assert_eq!(fields, expected);
        assert_eq!(written(&fields), "host:a\r\nx-many: \t1 2\t \r\naccept:\r\n");
        let mut some = Vec::new();
        fields.write_some(&mut some, |name| name != b"x-many");
        assert_eq!(some, b"host:a\r\naccept:\r\n");
        assert_eq!(Fields::parse(b"\r\nx", 0), Ok(Some((Fields::default(), 2))));
    }

    #[test]
    fn what_is_no_field_is_refused() {
        for (lines, expected) in [
            ("a: b\r\nc: d\r\ne: f\r\n", FieldError::TooMany),
            ("a: b\n", FieldError::LineEnd),
            ("a: b\r\n\n", FieldError::LineEnd),
            ("\n", FieldError::LineEnd),
            ("a: b\r\n c: d\r\n", FieldError::Folded),
            ("\ta: b\r\n", FieldError::Folded),
            ("a\r\n", FieldError::NoColon),
            ("a b\r\n", FieldError::NoColon),
            (": b\r\n", FieldError::Name),
            ("a : b\r\n", FieldError::Name),
            ("a\u{e9}: b\r\n", FieldError::Name),
            ("a: b\rc\r\n", FieldError::Value),
            ("a: \0\r\n", FieldError::Value),
            ("a: b\u{7f}\r\n", FieldError::Value),
        ] {
            assert_eq!(Fields::parse(lines.as_bytes(), 2).err(), Some(expected), "{lines:?}");
        }
    }

    #[test]
    fn they_are_found_by_name() {
        let fields = fields();
        assert_eq!(fields.get("x-many"), Some(&b"1"[..]));
        assert_eq!(fields.get_all("x-many").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!((fields.get_text("accept"), fields.get("x")), (Some(""), None));
        assert!(fields.contains("host") && !fields.contains("hos"));
        assert_eq!((text(b"\xc3\xa9"), text(b"e")), (None, Some("e")));
    }

    #[test]
    fn they_change_in_place() {
        let mut fields = fields();
        fields.set("x-many", "3");
        fields.remove("host");
        assert_eq!(written(&fields), "accept: \r\nx-many: 3\r\n");
        fields.for_each_value(|value| value.fill(b'*'));
        fields.retain(|name, _| name != b"accept");
        assert_eq!(written(&fields), "x-many: *\r\n");
    }

    #[test]
    fn control_characters_are_found_wherever_they_stand() {
        for control in (0..0x20).chain([0x7f]) {
            for at in 0..40 {
                let mut line = b"a: 0123456789abcdefghijklmnopqrst\xe9\xff\x80uvwx\r\n\r\n".to_vec();
                line.insert(at, control);
                let read = Fields::parse(&line, 1);
                // A tab may stand in a value; what ends a line or stands in the name is another error.
                let is_good = control == b'\t' && at >= 2;
                assert_eq!(read.is_ok(), is_good, "{control:#x} at {at}");
                if at >= 2 && !matches!(control, b'\t' | b'\n') {
                    assert_eq!(read, Err(FieldError::Value), "{control:#x} at {at}");
                }
            }
        }
    }

    #[test]
    fn memory_that_is_used_again_has_nothing_of_before() {
        let long = b"x-many: 1\r\nauthorization: secret\r\nx-more: 2\r\n\r\n";
        let short = b"a: b\r\n\r\n";
        for _ in 0..20 {
            let (before, _) = Fields::parse(long, 3).expect("fields").expect("an empty line");
            assert_eq!((before.len(), before.get("authorization")), (3, Some(&b"secret"[..])));
            drop(before);
            // What breaks off has had it, too.
            assert_eq!(Fields::parse(b"authorization: x\r\nb\r\n", 3).err(), Some(FieldError::NoColon));
            let (fields, _) = Fields::parse(short, 3).expect("fields").expect("an empty line");
            assert_eq!((written(&fields).as_str(), fields.len()), ("a: b\r\n", 1));
            assert!(!fields.contains("authorization") && !fields.contains("x-many"));
        }
    }

    #[test]
    fn names_are_put_in_lower_case() {
        let all: Vec<u8> = (0..=u8::MAX).filter(|byte| is_token(&[*byte])).collect();
        for start in 0..8 {
            let lines = [&all[start..], b":x\r\n\r\n"].concat();
            let (fields, _) = Fields::parse(&lines, 1).expect("fields").expect("an empty line");
            let expected = all[start..].to_ascii_lowercase();
            assert_eq!(fields.iter().collect::<Vec<_>>(), [(&expected[..], &b"x"[..])]);
        }
    }

    #[test]
    fn numbers_are_written() {
        for number in [0, 7, 10, 1_234_567_890, u64::MAX] {
            assert_eq!(decimal(number, &mut [0; 20]), number.to_string().as_bytes());
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let fields: Fields = [("authorization", "Bearer secret")].into_iter().collect();
        assert_eq!(format!("{fields:?}"), r#"["authorization"]"#);
    }
}
