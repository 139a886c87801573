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
    let line = bytes[..line_end].strip_suffix(b"\r");
    let (is_http_11, status) = line.and_then(status_line).ok_or(WireError::NotHttp(NO_HEAD))?;
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
    let (framing, is_clear) = framing(&mut fields, is_http_11, status, is_head)?;
    let is_kept = is_kept && is_clear;
    Ok(Some(Read { length: line_end + 1 + length, head: AnswerHead { status, fields }, framing, is_kept }))
}

/// Where the body ends, RFC 9112 section 6.3, and whether that can be read in one way only: only then is what follows
/// it to be trusted.
fn framing(
    fields: &mut Fields,
    is_http_11: bool,
    status: StatusCode,
    is_head: bool,
) -> Result<(Framing, bool), WireError> {
    let coding = coding(fields)?;
    if coding == Coding::Chunked && !has_no_body(status, is_head) {
        // It overrides a length. HTTP/1.0 does not have it.
        let has_length = fields.contains("content-length");
        if has_length {
            fields.remove("content-length");
        }
        return Ok((Framing::Chunked(Chunked::of_answer()), is_http_11 && !has_length));
    }
    let length = content_length(fields)?;
    if status.is_informational() || status == StatusCode::NO_CONTENT {
        // RFC 9110 section 8.6: there is no length either.
        if length.is_some() {
            fields.remove("content-length");
        }
        return Ok((Framing::NONE, coding == Coding::None && matches!(length, None | Some(0))));
    }
    Ok(match length {
        // What the answer would have with a body.
        _ if status == StatusCode::NOT_MODIFIED => (Framing::NONE, coding == Coding::None),
        _ if is_head => (Framing::NONE, coding == Coding::None || (is_http_11 && length.is_none())),
        Some(length) => (Framing::Length(length), true),
        None => (Framing::UntilClose, false),
    })
}

/// RFC 9110 section 6.4.1.
fn has_no_body(status: StatusCode, is_head: bool) -> bool {
    is_head
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// RFC 9112 section 4, without its line end: whether the version is 1.1, and the status. The phrase may say anything.
fn status_line(line: &[u8]) -> Option<(bool, StatusCode)> {
    let (is_http_11, rest) = match line.split_at_checked(9)? {
        (b"HTTP/1.1 ", rest) => (true, rest),
        (b"HTTP/1.0 ", rest) => (false, rest),
        _ => return None,
    };
    let (digits, rest) = rest.split_at_checked(3)?;
    // Some leave out the space with the phrase.
    matches!(rest.first(), Some(b' ') | None).then_some(())?;
    let is_text = rest.iter().all(|byte| !byte.is_ascii_control() || *byte == b'\t');
    is_text.then_some(())?;
    Some((is_http_11, StatusCode::from_bytes(digits).ok()?))
}

#[derive(Clone, Copy, PartialEq, Eq)]
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
