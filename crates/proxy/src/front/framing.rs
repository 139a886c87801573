//! Where a request body ends, followed byte by byte without keeping any of it.

use super::Violation;

/// The longest accepted line with a chunk size and its extensions.
const CHUNK_LINE_MAX: usize = 256;

/// The longest accepted trailer section.
const TRAILERS_MAX: usize = 16 * 1024;

/// A body, as far as it has been seen.
#[derive(Debug)]
pub(super) enum Body {
    /// So many bytes are still to come.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked(Chunked),
    /// No HTTP/1 framing from here on: HTTP/2, or the other side of an upgrade.
    Tunnel,
}

impl Body {
    /// Whether there is HTTP/1 framing at all.
    pub(super) fn is_http1(&self) -> bool {
        !matches!(self, Self::Tunnel)
    }

    /// Whether the next byte is the first of another request.
    pub(super) fn is_complete(&self) -> bool {
        match self {
            Self::Length(left) => *left == 0,
            Self::Chunked(chunked) => chunked.part == Part::Done,
            Self::Tunnel => false,
        }
    }

    /// How many of these bytes belong to the body.
    ///
    /// # Errors
    /// A framing that could be read in two ways.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        match self {
            Self::Length(left) => {
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= here as u64;
                Ok(here)
            }
            Self::Chunked(chunked) => chunked.advance(bytes),
            Self::Tunnel => Ok(bytes.len()),
        }
    }
}

/// The chunked coding of RFC 9112 section 7.1 with nothing optional: CRLF ends every line, a size has only
/// hexadecimal digits.
#[derive(Debug, Default)]
pub(super) struct Chunked {
    part: Part,
    /// Digits or bytes of the current part.
    seen: usize,
    size: u64,
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
    fn advance(&mut self, bytes: &[u8]) -> Result<usize, Violation> {
        let mut at = 0;
        while at < bytes.len() && self.part != Part::Done {
            if self.part == Part::Data {
                let here = usize::try_from(self.size).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.size -= here as u64;
                at += here;
                if self.size == 0 {
                    self.part = Part::DataReturn;
                }
                continue;
            }
            self.part = self.step(bytes[at])?;
            at += 1;
        }
        Ok(at)
    }

    fn step(&mut self, byte: u8) -> Result<Part, Violation> {
        self.seen += 1;
        let broken = || Violation::malformed("the chunked body is not framed as RFC 9112 says");
        Ok(match (&self.part, byte) {
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
            (Part::TrailerStart, b'\r') => Part::LastLineFeed,
            (Part::TrailerStart, b'!'..=b'~') | (Part::TrailerLine, b'\t' | b' '..=b'~' | 0x80..)
                if self.seen < TRAILERS_MAX =>
            {
                Part::TrailerLine
            }
            (Part::TrailerLine, b'\r') => Part::TrailerLineFeed,
            (Part::TrailerLineFeed, b'\n') => Part::TrailerStart,
            (Part::LastLineFeed, b'\n') => Part::Done,
            _ => return Err(broken()),
        })
    }
}
