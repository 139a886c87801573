//! The header fields of a message.
//!
//! They are kept as they came, one after the other in one piece of memory: a proxy looks at a few of them, leaves out a few
//! more and passes the rest on. A map would be dearer to fill than all of that.

use std::fmt;

/// Header fields or trailers, RFC 9110 section 5: in order, names in lower case, values without white space around them.
///
/// Values may be secrets, so `Debug` shows names only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Fields {
    /// Names and values, in any order.
    text: Vec<u8>,
    places: Vec<Place>,
}

/// Where a field is in the text.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    name: u32,
    value: u32,
    end: u32,
}

impl Fields {
    /// None yet, with room.
    pub fn with_capacity(bytes: usize, count: usize) -> Self {
        Self { text: Vec::with_capacity(bytes), places: Vec::with_capacity(count) }
    }

    /// Adds a field after all others. The name is put in lower case, white space around the value left out.
    ///
    /// It is for who calls to see that neither has bytes in it that a header may not have.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        let (name, value) = (name.as_ref(), trim(value.as_ref()));
        let start = self.text.len();
        self.text.extend_from_slice(name);
        self.text[start..].make_ascii_lowercase();
        let value_start = self.text.len();
        self.text.extend_from_slice(value);
        let at = |at: usize| u32::try_from(at).expect("heads are shorter than 4 GiB");
        self.places.push(Place { name: at(start), value: at(value_start), end: at(self.text.len()) });
    }

    /// Puts this in the place of all fields of that name.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.remove(name);
        self.push(name, value);
    }

    /// Takes out all fields of that name.
    pub fn remove(&mut self, name: &str) {
        self.retain(|other, _| other != name.as_bytes());
    }

    /// Takes out what this says no to.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8], &[u8]) -> bool) {
        let text = &self.text;
        self.places.retain(|place| keep(place.name(text), place.value(text)));
    }

    /// The first value of that name, which is in lower case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(other, _)| *other == name.as_bytes()).map(|(_, value)| value)
    }

    /// The first value of that name, if it is text: see [`text`].
    pub fn get_text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(text)
    }

    /// All values of that name, which is in lower case.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + Clone {
        self.iter().filter(move |(other, _)| *other == name.as_bytes()).map(|(_, value)| value)
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
            change(&mut self.text[place.value as usize..place.end as usize]);
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
        for (name, value) in self.iter() {
            write_line(out, name, value);
        }
    }
}

/// One line of a head in HTTP/1.1.
pub fn write_line(out: &mut Vec<u8>, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
    out.extend_from_slice(name.as_ref());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value.as_ref());
    out.extend_from_slice(b"\r\n");
}

/// A value as text: ASCII only, because nothing says how the rest is to be read.
pub fn text(value: &[u8]) -> Option<&str> {
    if value.is_ascii() { std::str::from_utf8(value).ok() } else { None }
}

/// Optional white space of RFC 9110 section 5.6.3.
fn trim(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &value[start..end]
}

impl Place {
    fn name<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.name as usize..self.value as usize]
    }

    fn value<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        &text[self.value as usize..self.end as usize]
    }
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

#[cfg(test)]
mod tests {
    use super::{Fields, text};

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
    fn secrets_are_not_shown() {
        let fields: Fields = [("authorization", "Bearer secret")].into_iter().collect();
        assert_eq!(format!("{fields:?}"), r#"["authorization"]"#);
    }
}
