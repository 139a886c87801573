//! Bodies in `multipart/form-data` (RFC 7578, RFC 2046), of which only those are taken that every reader takes alike.
//!
//! Refused: anything in front of the first boundary or behind the last one, the boundary anywhere else, headers that
//! decode or fold, a name that is missing, escaped or given twice. Only names that end with `[]` may come again.

use super::super::{Question, Refused};

/// A form.
#[derive(Debug)]
pub(super) struct Form<'a> {
    fields: Vec<Field<'a>>,
}

/// A part of it.
#[derive(Debug)]
pub(super) struct Field<'a> {
    pub(super) name: &'a str,
    pub(super) is_file: bool,
    value: &'a [u8],
}

/// The longest boundary (RFC 2046, section 5.1.1).
const BOUNDARY_MAX: usize = 70;

fn malformed(what: &str) -> Refused {
    Refused::Malformed(format!("The form of this request can't be read in one way only: {what}."))
}

impl<'a> Form<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// It is no form, or one that can be read in more than one way.
    pub(super) fn parse(question: &Question<'a>) -> Result<Self, Refused> {
        let (_, parameters) =
            question.content_type().ok_or_else(|| malformed("its Content-Type is missing"))?;
        if question.headers.get_all("content-type").count() != 1 {
            return Err(malformed("it has more than one Content-Type"));
        }
        let boundary = boundary(parameters)?;
        let delimiter = format!("--{boundary}");
        let mut fields: Vec<Field<'a>> = Vec::new();
        for part in parts(question.body, delimiter.as_bytes())? {
            let field = Field::parse(part)?;
            if !field.name.ends_with("[]") && fields.iter().any(|known| known.name == field.name) {
                return Err(malformed(&format!("it has {:?} twice", field.name)));
            }
            fields.push(field);
        }
        Ok(Self { fields })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Field<'a>> {
        self.fields.iter()
    }

    /// The text of a field; `None` if it is not there.
    ///
    /// # Errors
    /// It is a file or no text.
    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, Refused> {
        self.fields.iter().find(|field| field.name == name).map(Field::text).transpose()
    }
}

impl<'a> Field<'a> {
    /// How many bytes it has.
    pub(super) fn len(&self) -> u64 {
        self.value.len() as u64
    }

    pub(super) fn text(&self) -> Result<&'a str, Refused> {
        let text = std::str::from_utf8(self.value).ok().filter(|_| !self.is_file);
        text.ok_or_else(|| malformed(&format!("{:?} must be a text", self.name)))
    }

    /// A part: headers, an empty line, what it holds.
    fn parse(part: &'a [u8]) -> Result<Self, Refused> {
        let end = find(part, b"\r\n\r\n").ok_or_else(|| malformed("a part has no end of its headers"))?;
        let head = std::str::from_utf8(&part[..end]).map_err(|_| malformed("a header is no text"))?;
        let mut disposition = None;
        let mut has_type = false;
        for line in head.split("\r\n") {
            let (name, value) = line.split_once(':').ok_or_else(|| malformed("a header has no name"))?;
            if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
                return Err(malformed("a header has control characters"));
            }
            let is_again = match name.to_ascii_lowercase().as_str() {
                "content-disposition" => disposition.replace(value).is_some(),
                "content-type" => std::mem::replace(&mut has_type, true),
                "content-length" => false,
                _ => return Err(malformed(&format!("a part has the header {name:?}"))),
            };
            if is_again {
                return Err(malformed(&format!("a part has the header {name:?} twice")));
            }
        }
        let disposition = disposition.ok_or_else(|| malformed("a part has no Content-Disposition"))?;
        let (name, is_file) = named(disposition)?;
        Ok(Self { name, is_file, value: &part[end + 4..] })
    }
}

/// The boundary among the parameters of a media type.
fn boundary(parameters: &str) -> Result<&str, Refused> {
    let mut found = None;
    for parameter in parameters.split(';').map(str::trim).filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if name.trim().eq_ignore_ascii_case("boundary") && found.replace(value.trim()).is_some() {
            return Err(malformed("it has two boundaries"));
        }
    }
    let found = found.unwrap_or_default();
    let bare = found.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(found);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&byte);
    if bare.is_empty() || bare.len() > BOUNDARY_MAX || !bare.bytes().all(is_plain) {
        return Err(malformed("its boundary is missing or has unusual characters"));
    }
    Ok(bare)
}

/// What stands between the boundaries.
fn parts<'a>(body: &'a [u8], delimiter: &[u8]) -> Result<Vec<&'a [u8]>, Refused> {
    let mut parts = Vec::new();
    let mut rest = body
        .strip_prefix(delimiter)
        .and_then(|rest| rest.strip_prefix(b"\r\n"))
        .ok_or_else(|| malformed("it does not begin with its boundary"))?;
    loop {
        let at = find(rest, delimiter).ok_or_else(|| malformed("it has no end"))?;
        let part =
            rest[..at].strip_suffix(b"\r\n").ok_or_else(|| malformed("its boundary stands within a part"))?;
        parts.push(part);
        let after = &rest[at + delimiter.len()..];
        if matches!(after, b"--" | b"--\r\n") {
            return Ok(parts);
        }
        rest = after
            .strip_prefix(b"\r\n")
            .ok_or_else(|| malformed("something stands behind one of its boundaries"))?;
    }
}

/// The name in a Content-Disposition, and whether it names a file.
fn named(disposition: &str) -> Result<(&str, bool), Refused> {
    let unusual = || malformed("a Content-Disposition has unusual parts");
    let (kind, mut rest) = disposition.split_once(';').ok_or_else(|| malformed("a part has no name"))?;
    if !kind.trim().eq_ignore_ascii_case("form-data") {
        return Err(unusual());
    }
    let (mut name, mut filename, mut encoded) = (None, None, None);
    loop {
        let (key, value) = rest.split_once('=').ok_or_else(unusual)?;
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => {
                let (value, after) = quoted.split_once('"').ok_or_else(unusual)?;
                if value.ends_with('\\') {
                    return Err(unusual());
                }
                (value, after.trim_start())
            }
            None => {
                let end = value.find(';').unwrap_or(value.len());
                let (value, after) = value.split_at(end);
                if value.contains('"') {
                    return Err(unusual());
                }
                (value.trim(), after)
            }
        };
        let place = match key.trim().to_ascii_lowercase().as_str() {
            "name" => &mut name,
            "filename" => &mut filename,
            "filename*" => &mut encoded,
            _ => return Err(unusual()),
        };
        if place.replace(value).is_some() {
            return Err(unusual());
        }
        match after.strip_prefix(';') {
            Some(next) => rest = next,
            None if after.is_empty() => break,
            None => return Err(unusual()),
        }
    }
    let name: &str = name.ok_or_else(|| malformed("a part has no name"))?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.[]".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_plain) {
        return Err(malformed(&format!("the name {name:?} has unusual characters")));
    }
    Ok((name, filename.is_some() || encoded.is_some()))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, wanted)
}
