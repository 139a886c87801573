//! The head of a provider's answer.

use http::StatusCode;
use till_core::fields::Fields;

use super::framing::{Chunked, Framing};
use super::head::{digits, has_end};
use super::wire::{AnswerHead, WireError};
use crate::head::has_token;

/// The most fields that an answer has.
const FIELDS_MAX: usize = 100;

const NO_HEAD: &str = "the answer does not begin with a head as RFC 9112 says";

/// A complete head at the start of what came.
pub(super) struct Read {
    pub(super) length: usize,
    pub(super) head: AnswerHead,
    pub(super) framing: Framing,
    /// The provider lets the connection be used again after this answer.
    pub(super) is_kept: bool,
}

/// Reads a head, if it is complete. `scanned` is how much of it was looked at before; `is_head` says that the request was
/// HEAD.
///
/// # Errors
/// It is not HTTP, or does not say where its body ends.
pub(super) fn read(bytes: &[u8], scanned: &mut usize, is_head: bool) -> Result<Option<Read>, WireError> {
    if !bytes.iter().zip(b"HTTP/1.").all(|(byte, expected)| byte == expected) {
        // Nobody waits for the end of what is no head.
        return Err(WireError::NotHttp(NO_HEAD));
    }
    // Most heads are complete. Of others only what is new is looked at.
    if *scanned > 0 && !has_end(bytes, *scanned) {
        *scanned = bytes.len();
        return Ok(None);
    }
    *scanned = bytes.len();
    let Some(line_end) = memchr::memchr(b'\n', bytes) else { return Ok(None) };
    let (is_http_11, status) = status_line(&bytes[..line_end]).ok_or(WireError::NotHttp(NO_HEAD))?;
    let parsed = Fields::parse(&bytes[line_end + 1..], FIELDS_MAX);
    let Some((mut fields, length)) = parsed.map_err(|error| WireError::NotHttp(error.as_str()))? else {
        return Ok(None);
    };
    *scanned = 0;
    let is_kept = if is_http_11 {
        !has_token(&fields, "connection", "close")
    } else {
        has_token(&fields, "connection", "keep-alive")
    };
    let (framing, is_kept) = match coding(&fields)? {
        _ if is_head || status.is_informational() || matches!(status.as_u16(), 204 | 304) => {
            (Framing::NONE, is_kept)
        }
        Coding::Chunked => {
            // RFC 9112 section 6.3: it overrides a length, and who sends both is not to be trusted further.
            let has_length = fields.contains("content-length");
            fields.remove("content-length");
            (Framing::Chunked(Chunked::of_answer()), is_kept && !has_length)
        }
        Coding::None => match content_length(&mut fields)? {
            Some(length) => (Framing::Length(length), is_kept),
            None => (Framing::UntilClose, false),
        },
    };
    Ok(Some(Read { length: line_end + 1 + length, head: AnswerHead { status, fields }, framing, is_kept }))
}

/// RFC 9112 section 4, up to its line feed: whether the version is 1.1, and the status. The phrase is not looked at.
fn status_line(line: &[u8]) -> Option<(bool, StatusCode)> {
    let (is_http_11, rest) = match line.split_at_checked(9)? {
        (b"HTTP/1.1 ", rest) => (true, rest),
        (b"HTTP/1.0 ", rest) => (false, rest),
        _ => return None,
    };
    let (digits, rest) = rest.split_at_checked(3)?;
    matches!(rest.first(), Some(b' ' | b'\r')).then_some(())?;
    Some((is_http_11, StatusCode::from_bytes(digits).ok()?))
}

enum Coding {
    None,
    Chunked,
}

fn coding(fields: &Fields) -> Result<Coding, WireError> {
    let mut codings = fields.get_all("transfer-encoding");
    let Some(first) = codings.next() else { return Ok(Coding::None) };
    if codings.next().is_some() || !first.eq_ignore_ascii_case(b"chunked") {
        return Err(WireError::NotHttp("the answer has a transfer coding other than chunked"));
    }
    Ok(Coding::Chunked)
}

/// The one length that is said, RFC 9112 section 6.3. Proxies in between are known to say the same one twice.
fn content_length(fields: &mut Fields) -> Result<Option<u64>, WireError> {
    let (mut length, mut count) = (None, 0);
    for value in fields.get_all("content-length") {
        count += 1;
        let here = digits(value).ok_or(WireError::NotHttp("the answer has a length that is no number"))?;
        if length.replace(here).is_some_and(|before| before != here) {
            return Err(WireError::NotHttp("the answer has two lengths"));
        }
    }
    if let Some(length) = length.filter(|_| count > 1) {
        fields.set("content-length", length.to_string());
    }
    Ok(length)
}

/// The status that an answer begins with, and the length of its head; `None` while that is not complete.
///
/// # Errors
/// It is not HTTP.
pub(crate) fn answer_status(bytes: &[u8]) -> Result<Option<(StatusCode, usize)>, WireError> {
    Ok(read(bytes, &mut 0, true)?.map(|read| (read.head.status, read.length)))
}
