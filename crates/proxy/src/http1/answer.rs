//! The head of a provider's answer.

use http::StatusCode;
use till_core::fields::{self, Fields};

use super::framing::{Chunked, Framing};
use super::wire::{AnswerHead, WireError};
use crate::head::has_token;

/// The most fields that an answer has.
const FIELDS_MAX: usize = 100;

/// A complete head at the start of what came.
pub(super) struct Read {
    pub(super) length: usize,
    pub(super) head: AnswerHead,
    pub(super) framing: Framing,
    /// The provider lets the connection be used again after this answer.
    pub(super) is_kept: bool,
}

/// Reads a head, if it is complete. `is_head` says that the request was HEAD.
///
/// # Errors
/// It is not HTTP, or does not say where its body ends.
pub(super) fn read(bytes: &[u8], is_head: bool) -> Result<Option<Read>, WireError> {
    let mut found = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut found);
    let parsed = response.parse(bytes).map_err(|error| {
        WireError::NotHttp(match error {
            httparse::Error::TooManyHeaders => "the answer has too many headers",
            httparse::Error::HeaderName | httparse::Error::HeaderValue => {
                "a header of the answer is malformed"
            }
            _ => "the answer does not begin with a status line",
        })
    })?;
    let httparse::Status::Complete(length) = parsed else { return Ok(None) };
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(WireError::NotHttp("the answer has no status"))?;
    let is_http_11 = response.version == Some(1);
    let mut fields = Fields::with_capacity(length, response.headers.len() + OWN_FIELDS);
    for header in response.headers.iter() {
        fields.push(header.name, header.value);
    }
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
    Ok(Some(Read { length, head: AnswerHead { status, fields }, framing, is_kept }))
}

/// Room for the fields that till adds.
const OWN_FIELDS: usize = 4;

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
        let digits = fields::text(value).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let here: u64 = digits
            .and_then(|digits| digits.parse().ok())
            .ok_or(WireError::NotHttp("the answer has a length that is no number"))?;
        if length.replace(here).is_some_and(|before| before != here) {
            return Err(WireError::NotHttp("the answer has two lengths"));
        }
    }
    if let Some(length) = length.filter(|_| count > 1) {
        fields.set("content-length", length.to_string());
    }
    Ok(length)
}
