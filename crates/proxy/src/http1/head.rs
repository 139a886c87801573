//! The rules that a request head must keep.

use http::{Method, Version};
use till_core::denial::DenialCode;
use till_core::fields::{FieldError, Fields, is_token};

use super::HeadLimits;
use super::framing::{Chunked, Framing};
use crate::head::{Head, Target, items, lists, named_by_connection};

/// Why a head is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) code: DenialCode,
    pub(crate) message: &'static str,
}

impl Violation {
    pub(crate) fn malformed(message: &'static str) -> Self {
        Self { code: DenialCode::MalformedRequest, message }
    }

    fn too_large(message: &'static str) -> Self {
        Self { code: DenialCode::HeadersTooLarge, message }
    }

    pub(super) fn of_field(error: FieldError) -> Self {
        match error {
            FieldError::TooMany => {
                Self::too_large("the request has more header lines than this server accepts")
            }
            error => Self::malformed(error.as_str()),
        }
    }

    pub(crate) fn head_timeout() -> Self {
        Self::malformed("the request head took too long to arrive")
    }
}

/// A request, as its head says it.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) head: Head,
    pub(super) body: Framing,
    /// What comes next may not be read as a request, unless the connection is closed after the answer.
    pub(super) is_upgrade: bool,
    /// The connection is to be used again.
    pub(super) is_kept: bool,
    /// The client waits for a word before it sends the body.
    pub(super) awaits_continue: bool,
}

/// Empty lines that a client may send before a request line, RFC 9112 section 2.2.
const EMPTY_LINES_MAX: usize = 2;

/// Reads the head at the start of the buffer, if it is complete; the number is its length. `scanned` is how far an earlier
/// call with the same, shorter buffer got.
///
/// # Errors
/// The rule that the head breaks.
pub(super) fn read(
    buffer: &[u8],
    scanned: &mut usize,
    limits: HeadLimits,
) -> Result<Option<(usize, Received)>, Violation> {
    let start = skip_empty_lines(buffer)?;
    // Most heads are complete. Of others only what is new is looked at.
    if *scanned > 0 && !has_end(buffer, *scanned) {
        return too_short(buffer, scanned, limits);
    }
    let Some(line_end) = memchr::memchr(b'\n', &buffer[start..]).map(|at| start + at) else {
        return too_short(buffer, scanned, limits);
    };
    let line = buffer[start..line_end].strip_suffix(b"\r").ok_or(Violation::of_field(FieldError::LineEnd))?;
    let (method, target, version) = request_line(line)?;
    let parsed = Fields::parse(&buffer[line_end + 1..], limits.count).map_err(Violation::of_field)?;
    let Some((mut fields, length)) = parsed else {
        return too_short(buffer, scanned, limits);
    };
    let length = line_end + 1 + length;
    if length > limits.bytes {
        return Err(too_long());
    }
    *scanned = 0;
    let mut facts = Facts::default();
    for (name, value) in fields.iter() {
        facts.add(name, value)?;
    }
    let body = facts.body(version)?;
    if facts.names_others {
        remove_named(&mut fields);
    }
    let head = Head { method, target, version, fields };
    let is_kept = if version == Version::HTTP_11 { !facts.closes } else { facts.keeps && !facts.closes };
    let awaits_continue = facts.awaits_continue && version == Version::HTTP_11;
    Ok(Some((length, Received { head, body, is_upgrade: facts.is_upgrade, is_kept, awaits_continue })))
}

/// Whether a header stays although `Connection` names it.
fn stays(name: &[u8]) -> bool {
    const OURS: [&str; 9] = [
        // They say what the connection and the message are, and none of them is passed on as it came.
        "close",
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "te",
        "transfer-encoding",
        "upgrade",
        // An empty element of the list.
        "",
    ];
    // They say who is behind the connection. A proxy that passes on the client's `Connection` must not let it hide that.
    const ADDRESSES: [&str; 2] = ["forwarded", "x-forwarded-for"];
    OURS.iter().chain(&ADDRESSES).any(|other| name.eq_ignore_ascii_case(other.as_bytes()))
}

/// Takes out the headers that `Connection` names. The provider does not get them: then nothing may be decided on them either.
fn remove_named(fields: &mut Fields) {
    let named = named_by_connection(fields, stays);
    fields.retain(|name, _| named.iter().all(|named| named != name));
}

fn skip_empty_lines(buffer: &[u8]) -> Result<usize, Violation> {
    let mut start = 0;
    while buffer[start..].starts_with(b"\r\n") {
        start += 2;
        if start > 2 * EMPTY_LINES_MAX {
            return Err(Violation::malformed("the request begins with empty lines"));
        }
    }
    if buffer[start..].first() == Some(&b'\n') {
        return Err(Violation::of_field(FieldError::LineEnd));
    }
    Ok(start)
}

/// There is no complete head yet.
fn too_short(
    buffer: &[u8],
    scanned: &mut usize,
    limits: HeadLimits,
) -> Result<Option<(usize, Received)>, Violation> {
    *scanned = buffer.len();
    if buffer.len() > limits.bytes { Err(too_long()) } else { Ok(None) }
}

fn too_long() -> Violation {
    Violation::too_large("the request head is longer than this server accepts")
}

/// Whether a line ends in what came since so much was there that could be the last one, well or badly.
pub(super) fn has_end(buffer: &[u8], scanned: usize) -> bool {
    // It may straddle two reads.
    let from = scanned.saturating_sub(3);
    memchr::memchr_iter(b'\n', &buffer[from..])
        .map(|at| &buffer[..from + at])
        .any(|before| before.ends_with(b"\r\n\r") || !before.ends_with(b"\r"))
}

fn request_line(line: &[u8]) -> Result<(Method, Target, Version), Violation> {
    let broken =
        || Violation::malformed("the request line is not `METHOD target HTTP/1.1` with single spaces");
    let mut parts = line.split(|byte| *byte == b' ');
    let (method, target, version) =
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next());
    if parts.next().is_some() || target.is_empty() || !is_token(method) {
        return Err(broken());
    }
    // Without a way out early, so that many bytes are compared at once.
    if target.iter().fold(false, |found, byte| found | !byte.is_ascii_graphic()) {
        return Err(broken());
    }
    if target.contains(&b'#') {
        return Err(Violation::malformed("the request target has a fragment, which is never sent"));
    }
    if method == b"CONNECT" {
        return Err(Violation::malformed("CONNECT is not accepted: till is not a forward proxy"));
    }
    let version = match version {
        Some(b"HTTP/1.1") => Version::HTTP_11,
        Some(b"HTTP/1.0") => Version::HTTP_10,
        _ => return Err(broken()),
    };
    let method = Method::from_bytes(method).map_err(|_| broken())?;
    let target = std::str::from_utf8(target).ok().and_then(Target::parse);
    let target = target.ok_or(Violation::malformed("the request target is not a path"))?;
    Ok((method, target, version))
}

#[derive(Default)]
struct Facts {
    hosts: usize,
    length: Option<u64>,
    is_chunked: bool,
    is_upgrade: bool,
    keeps: bool,
    closes: bool,
    /// `Connection` names headers that are for this hop.
    names_others: bool,
    awaits_continue: bool,
}

impl Facts {
    fn add(&mut self, name: &[u8], value: &[u8]) -> Result<(), Violation> {
        match name {
            b"host" => self.hosts += 1,
            b"expect" => self.awaits_continue |= value.eq_ignore_ascii_case(b"100-continue"),
            // Only WebSockets are ever upgraded to; other offers (`h2c`) may be ignored, RFC 9110 section 7.8.
            b"upgrade" => self.is_upgrade |= lists(value, "websocket"),
            b"connection" => {
                self.keeps |= lists(value, "keep-alive");
                self.closes |= lists(value, "close");
                self.names_others |= items(value).any(|name| !stays(name));
            }
            b"content-length" => self.add_length(value)?,
            b"transfer-encoding" => self.add_coding(value)?,
            _ => {}
        }
        Ok(())
    }

    fn add_length(&mut self, value: &[u8]) -> Result<(), Violation> {
        if self.length.is_some() {
            return Err(Violation::malformed("the request has more than one Content-Length"));
        }
        let length = digits(value).ok_or(Violation::malformed("Content-Length is not a number"))?;
        self.length = Some(length);
        Ok(())
    }

    fn add_coding(&mut self, value: &[u8]) -> Result<(), Violation> {
        if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Violation::malformed("the only accepted Transfer-Encoding is a single `chunked`"));
        }
        self.is_chunked = true;
        Ok(())
    }

    fn body(&self, version: Version) -> Result<Framing, Violation> {
        let is_http_11 = version == Version::HTTP_11;
        if self.hosts > 1 || (self.hosts == 0 && is_http_11) {
            return Err(Violation::malformed("the request must have exactly one Host header"));
        }
        if self.is_chunked && self.length.is_some() {
            return Err(Violation::malformed("the request has both Content-Length and Transfer-Encoding"));
        }
        if self.is_chunked && !is_http_11 {
            return Err(Violation::malformed("HTTP/1.0 has no Transfer-Encoding"));
        }
        let has_body = self.is_chunked || self.length.is_some_and(|length| length > 0);
        if self.is_upgrade && has_body {
            return Err(Violation::malformed("a request to upgrade the connection must not have a body"));
        }
        Ok(if self.is_chunked {
            Framing::Chunked(Chunked::default())
        } else {
            Framing::Length(self.length.unwrap_or(0))
        })
    }
}

/// A number as `Content-Length` has it, RFC 9110 section 8.6: digits and nothing else.
pub(super) fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}
