//! HTTP/1.1 as far as the benchmarks need it: where a head and a body end. What it can't read ends the program; it is
//! not for strangers.

use std::ops::Range;

/// How the length of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes.
    Length(usize),
    /// In chunks.
    Chunked,
}

/// The head of a request or an answer.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// From the first line to the empty one.
    pub text: &'a [u8],
}

impl<'a> Head<'a> {
    /// The head at the start of `bytes`, if it has come to its end.
    pub fn find(bytes: &'a [u8]) -> Option<Self> {
        let end = memchr::memmem::find(bytes, b"\r\n\r\n")? + 4;
        Some(Self { text: &bytes[..end] })
    }

    /// The status of an answer.
    pub fn status(&self) -> u16 {
        let digits = self.text.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
        digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }

    /// A header, named in lower case.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.text.split(|byte| *byte == b'\n').skip(1).find_map(|line| {
            let (key, rest) = line.split_at_checked(name.len())?;
            let value = rest.strip_prefix(b":").filter(|_| key.eq_ignore_ascii_case(name.as_bytes()))?;
            Some(std::str::from_utf8(value).ok()?.trim())
        })
    }

    /// How the body is framed. Neither length nor chunks means that there is none.
    pub fn framing(&self) -> Framing {
        if self.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return Framing::Chunked;
        }
        Framing::Length(self.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0))
    }
}

/// Finds the end of a body that comes in pieces, and counts what is in it.
#[derive(Debug)]
pub struct BodyEnd {
    left: Left,
}

#[derive(Debug)]
enum Left {
    Length(usize),
    /// In the line with the size of a chunk, so far.
    Size(usize),
    /// In a chunk: bytes that are left, the line end behind it included.
    Chunk(usize),
    /// After the last chunk: bytes of its line end that are left.
    Last(usize),
}

impl BodyEnd {
    /// Before the first byte of the body.
    pub fn new(framing: Framing) -> Self {
        let left = match framing {
            Framing::Length(length) => Left::Length(length),
            Framing::Chunked => Left::Size(0),
        };
        Self { left }
    }

    /// Whether the body has ended.
    pub fn is_over(&self) -> bool {
        matches!(self.left, Left::Length(0) | Left::Last(0))
    }

    /// Goes over `bytes` and tells `content` where the body is in them.
    ///
    /// # Errors
    /// The size of a chunk is no number.
    pub fn push(&mut self, bytes: &[u8], mut content: impl FnMut(Range<usize>)) -> Result<(), NotHttp> {
        let mut at = 0;
        while at < bytes.len() && !self.is_over() {
            let rest = bytes.len() - at;
            self.left = match self.left {
                Left::Length(left) => {
                    let part = left.min(rest);
                    content(at..at + part);
                    at += part;
                    Left::Length(left - part)
                }
                Left::Size(size) => {
                    let byte = bytes[at];
                    at += 1;
                    match byte {
                        b'\n' if size == 0 => Left::Last(2),
                        b'\n' => Left::Chunk(size + 2),
                        b'\r' => Left::Size(size),
                        _ => {
                            let digit = char::from(byte).to_digit(16).ok_or(NotHttp)?;
                            Left::Size(size * 16 + digit as usize)
                        }
                    }
                }
                Left::Chunk(left) => {
                    let part = left.min(rest);
                    let data = part.min(left.saturating_sub(2));
                    content(at..at + data);
                    at += part;
                    if left == part { Left::Size(0) } else { Left::Chunk(left - part) }
                }
                Left::Last(left) => {
                    let part = left.min(rest);
                    at += part;
                    Left::Last(left - part)
                }
            };
        }
        Ok(())
    }
}

/// What came is no HTTP that this reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotHttp;

impl std::fmt::Display for NotHttp {
    fn fmt(&self, form: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        form.write_str("the peer sent something that is not the HTTP expected here")
    }
}

impl std::error::Error for NotHttp {}

impl From<NotHttp> for std::io::Error {
    fn from(error: NotHttp) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(framing: Framing, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let (mut end, mut body) = (BodyEnd::new(framing), Vec::new());
        for piece in pieces {
            end.push(piece, |range| body.extend_from_slice(&piece[range])).unwrap();
        }
        (body, end.is_over())
    }

    #[test]
    fn a_head_says_how_its_body_is_framed() {
        let head =
            Head::find(b"HTTP/1.1 503 Busy\r\nContent-Length: 12\r\nRetry-After: 1\r\n\r\nrest").unwrap();
        assert_eq!((head.status(), head.framing()), (503, Framing::Length(12)));
        assert_eq!(head.header("retry-after"), Some("1"));
        let head = Head::find(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
        assert_eq!(head.framing(), Framing::Chunked);
    }

    #[test]
    fn chunks_are_read_wherever_they_are_cut() {
        let whole = b"3\r\nabc\r\n1A\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n";
        for cut in 0..whole.len() {
            let (first, second) = whole.split_at(cut);
            let (body, is_over) = read(Framing::Chunked, &[first, second]);
            assert_eq!(
                (body.as_slice(), is_over),
                (b"abcabcdefghijklmnopqrstuvwxyz".as_slice(), true),
                "cut at {cut}"
            );
        }
        assert!(!read(Framing::Chunked, &[&whole[..whole.len() - 1]]).1);
    }

    #[test]
    fn a_length_is_read() {
        assert_eq!(read(Framing::Length(4), &[b"ab", b"cd"]), (b"abcd".to_vec(), true));
        assert!(!read(Framing::Length(4), &[b"abc"]).1);
    }
}
