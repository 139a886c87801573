//! Where a body ends, RFC 9112 section 6, and what is in it.

use bytes::Bytes;
use till_core::fields::{self, Fields};

use super::head::Violation;

/// The longest accepted line with a chunk size and its extensions.
const CHUNK_LINE_MAX: usize = 256;

/// The longest accepted trailer section, in bytes.
const TRAILERS_MAX: usize = 16 * 1024;

/// … and in fields.
const TRAILERS_COUNT_MAX: usize = 100;

/// A body, as far as it has been seen.
#[derive(Debug)]
pub(crate) enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked(Chunked),
    /// Until the connection ends: an answer without a length.
    UntilClose,
}

impl Framing {
    /// No body at all.
    pub(crate) const NONE: Self = Self::Length(0);

    /// Whether nothing of it is still to come.
    pub(crate) fn is_complete(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunked) => chunked.part == Part::Done,
            Self::UntilClose => false,
        }
    }

    /// Whether nothing is left to be taken: neither bytes nor trailers.
    pub(crate) fn has_ended(&self) -> bool {
        self.is_complete() && !matches!(self, Self::Chunked(chunked) if !chunked.trailers.is_empty())
    }

    /// How many bytes are still to come, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// How many of these bytes belong to it, and what they stand for.
    ///
    /// # Errors
    /// A framing that could be read in two ways.
    pub(crate) fn decode(&mut self, input: &[u8]) -> Result<(usize, Bytes), Violation> {
        match self {
            Self::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= here as u64;
                Ok((here, Bytes::copy_from_slice(&input[..here])))
            }
            Self::Chunked(chunked) => {
                let mut data = Vec::with_capacity(input.len());
                let taken = chunked.decode(input, &mut data)?;
                Ok((taken, data.into()))
            }
            Self::UntilClose => Ok((input.len(), Bytes::copy_from_slice(input))),
        }
    }

    /// What came after the last chunk, once it is complete.
    ///
    /// # Errors
    /// It is not made of fields.
    pub(crate) fn trailers(&mut self) -> Result<Option<Fields>, Violation> {
        match self {
            Self::Chunked(chunked) if !chunked.trailers.is_empty() => {
                let mut lines = std::mem::take(&mut chunked.trailers);
                lines.extend_from_slice(b"\r\n");
                let parsed = Fields::parse(&lines, TRAILERS_COUNT_MAX).map_err(Violation::of_field)?;
                Ok(parsed.map(|(trailers, _)| trailers))
            }
            _ => Ok(None),
        }
    }
}

/// The chunked coding of RFC 9112 section 7.1: CRLF ends every line, a size has only hexadecimal digits.
#[derive(Debug, Default)]
pub(crate) struct Chunked {
    part: Part,
    /// Digits or bytes of the current part.
    seen: usize,
    size: u64,
    /// White space after a size is let through. Some servers write it; no client needs it.
    is_padded: bool,
    /// Lines after the last chunk.
    trailers: Vec<u8>,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Size,
    Extension,
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    /// At the start of a trailer line.
    TrailerStart,
    TrailerLine,
    TrailerLineFeed,
    LastLineFeed,
    Done,
}

impl Chunked {
    /// For the body of an answer.
    pub(crate) fn of_answer() -> Self {
        Self { is_padded: true, ..Self::default() }
    }

    fn decode(&mut self, input: &[u8], data: &mut Vec<u8>) -> Result<usize, Violation> {
        let mut at = 0;
        while at < input.len() && self.part != Part::Done {
            if self.part == Part::Data {
                let here = usize::try_from(self.size).unwrap_or(usize::MAX).min(input.len() - at);
                data.extend_from_slice(&input[at..at + here]);
                self.size -= here as u64;
                at += here;
                if self.size == 0 {
                    self.part = Part::DataReturn;
                }
                continue;
            }
            self.part = self.step(input[at])?;
            at += 1;
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<Part, Violation> {
        self.seen += 1;
        let broken = || Violation::malformed("the chunked body is not framed as RFC 9112 says");
        let part = match (&self.part, byte) {
            (Part::Size, digit) if digit.is_ascii_hexdigit() => {
                if self.seen > 15 {
                    return Err(broken());
                }
                let value = char::from(digit).to_digit(16).expect("checked just above");
                self.size = self.size << 4 | u64::from(value);
                Part::Size
            }
            (Part::Size, b'\r') if self.seen > 1 => Part::SizeLineFeed,
            (Part::Size, b';') if self.seen > 1 => Part::Extension,
            (Part::Size, b' ' | b'\t') if self.seen > 1 && self.is_padded => Part::Extension,
            (Part::Extension, b'\r') => Part::SizeLineFeed,
            (Part::Extension, b'\t' | b' '..=b'~') if self.seen < CHUNK_LINE_MAX => Part::Extension,
            (Part::SizeLineFeed, b'\n') => {
                self.seen = 0;
                if self.size == 0 { Part::TrailerStart } else { Part::Data }
            }
            (Part::DataReturn, b'\r') => Part::DataLineFeed,
            (Part::DataLineFeed, b'\n') => {
                self.seen = 0;
                Part::Size
            }
            (Part::TrailerStart, b'\r') => return Ok(Part::LastLineFeed),
            (Part::TrailerStart, b'!'..=b'~') | (Part::TrailerLine, b'\t' | b' '..=b'~' | 0x80..)
                if self.seen < TRAILERS_MAX =>
            {
                Part::TrailerLine
            }
            (Part::TrailerLine, b'\r') => Part::TrailerLineFeed,
            (Part::TrailerLineFeed, b'\n') => Part::TrailerStart,
            (Part::LastLineFeed, b'\n') => return Ok(Part::Done),
            _ => return Err(broken()),
        };
        if matches!(part, Part::TrailerLine | Part::TrailerLineFeed)
            || (part == Part::TrailerStart && self.part == Part::TrailerLineFeed)
        {
            self.trailers.push(byte);
        }
        Ok(part)
    }
}

/// Writes a piece of a chunked body. An empty one would be its end.
pub(super) fn write_chunk(out: &mut Vec<u8>, data: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let skipped = data.len().leading_zeros() / 4;
    for place in (0..usize::BITS / 4 - skipped).rev() {
        out.push(DIGITS[data.len() >> (4 * place) & 15]);
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Writes the end of a chunked body.
pub(super) fn write_last_chunk(out: &mut Vec<u8>, trailers: Option<&http::HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        fields::write_line(out, name.as_str(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}
