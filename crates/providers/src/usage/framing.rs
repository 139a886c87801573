//! How the documents of an answer follow each other.

/// The framing of an answer.
#[derive(Debug)]
pub(super) enum Framing {
    /// One document, or an array of them.
    Plain,
    /// Server-sent events, WHATWG HTML section 9.2.
    Events(Events),
    /// `application/vnd.amazon.eventstream`.
    Frames(Frames),
}

/// A piece of a document, or its end.
pub(super) enum Piece<'a> {
    Data(&'a [u8]),
    /// Nothing more belongs to this document.
    End,
    /// `[DONE]`, with which OpenAI's streams end.
    Done,
}

/// Splits server-sent events into the data of each.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// The beginning of a line, until it is known what line it is.
    field: Vec<u8>,
    line: Line,
    /// The last byte was a carriage return: a line feed right after it belongs to it.
    after_return: bool,
    /// The line so far has nothing in it.
    is_blank: bool,
    /// The data of this event so far, as far as it may be `[DONE]`.
    data: Vec<u8>,
    /// A line of data came before this one in the event.
    has_data: bool,
    /// The next byte is the first one of a line of data: a space there is none of the data.
    at_data: bool,
    has_begun: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Line {
    /// Not known yet.
    #[default]
    Begun,
    Data,
    Other,
}

const DATA: &[u8] = b"data:";
const DONE: &[u8] = b"[DONE]";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Events {
    pub(super) fn new() -> Self {
        Self { is_blank: true, ..Self::default() }
    }

    pub(super) fn push(&mut self, mut bytes: &[u8], sink: &mut impl FnMut(Piece<'_>)) {
        while !bytes.is_empty() {
            if self.after_return {
                self.after_return = false;
                if bytes[0] == b'\n' {
                    bytes = &bytes[1..];
                    continue;
                }
            }
            let end = memchr::memchr2(b'\n', b'\r', bytes);
            let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            self.push_line(piece, sink);
            bytes = rest;
            if end.is_some() {
                self.after_return = bytes[0] == b'\r';
                bytes = &bytes[1..];
                self.end_line(sink);
            }
        }
    }

    fn push_line(&mut self, mut piece: &[u8], sink: &mut impl FnMut(Piece<'_>)) {
        self.is_blank &= piece.is_empty();
        if self.has_begun
            && self.line == Line::Begun
            && self.field.is_empty()
            && let Some(rest) = piece.strip_prefix(DATA)
        {
            // Nearly all lines come so.
            self.begin_data();
            piece = rest;
        }
        while self.line == Line::Begun && !piece.is_empty() {
            self.field.push(piece[0]);
            piece = &piece[1..];
            if !self.has_begun && self.field == BYTE_ORDER_MARK {
                self.field.clear();
                self.is_blank = piece.is_empty();
            } else if self.field == DATA {
                self.begin_data();
            } else if !DATA.starts_with(&self.field)
                && (self.has_begun || !BYTE_ORDER_MARK.starts_with(&self.field))
            {
                self.line = Line::Other;
            }
        }
        self.has_begun |= self.line != Line::Begun;
        if self.line == Line::Data && !piece.is_empty() {
            let at_data = std::mem::take(&mut self.at_data);
            self.push_data(piece.strip_prefix(b" ").filter(|_| at_data).unwrap_or(piece));
            sink(Piece::Data(piece));
        }
    }

    fn begin_data(&mut self) {
        self.line = Line::Data;
        self.at_data = true;
        // A line feed stands between two lines of data.
        if std::mem::replace(&mut self.has_data, true) {
            self.push_data(b"\n");
        }
    }

    fn push_data(&mut self, bytes: &[u8]) {
        let room = (DONE.len() + 1).saturating_sub(self.data.len());
        self.data.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn end_line(&mut self, sink: &mut impl FnMut(Piece<'_>)) {
        self.has_begun = true;
        if self.is_blank {
            sink(if self.data == DONE { Piece::Done } else { Piece::End });
            self.data.clear();
            self.has_data = false;
        } else if self.line == Line::Data {
            sink(Piece::Data(b"\n"));
        }
        self.line = Line::Begun;
        self.at_data = false;
        self.field.clear();
        self.is_blank = true;
    }

    /// The end of the body: some providers leave out the last blank line.
    pub(super) fn finish(&mut self, sink: &mut impl FnMut(Piece<'_>)) {
        sink(if self.data == DONE { Piece::Done } else { Piece::End });
    }
}

/// Takes the payloads out of frames of Amazon's event stream encoding: total length, length of headers, checksum
/// (12 bytes), headers, payload, checksum (4 bytes).
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html>
#[derive(Debug, Default)]
pub(super) struct Frames {
    prelude: Vec<u8>,
    /// Bytes of headers that are still to come.
    headers: u64,
    payload: u64,
    checksum: u64,
    is_broken: bool,
}

const PRELUDE: usize = 12;
const CHECKSUM: u64 = 4;

impl Frames {
    pub(super) fn push(&mut self, mut bytes: &[u8], sink: &mut impl FnMut(Piece<'_>)) {
        while !bytes.is_empty() && !self.is_broken {
            if self.prelude.len() < PRELUDE {
                let take = (PRELUDE - self.prelude.len()).min(bytes.len());
                self.prelude.extend_from_slice(&bytes[..take]);
                bytes = &bytes[take..];
                if self.prelude.len() == PRELUDE {
                    self.begin();
                }
                continue;
            }
            if self.headers > 0 {
                bytes = skip(&mut self.headers, bytes).1;
            } else if self.payload > 0 {
                let (data, rest) = skip(&mut self.payload, bytes);
                sink(Piece::Data(data));
                bytes = rest;
            } else {
                bytes = skip(&mut self.checksum, bytes).1;
            }
            if self.headers == 0 && self.payload == 0 && self.checksum == 0 {
                sink(Piece::End);
                self.prelude.clear();
            }
        }
    }

    fn begin(&mut self) {
        let word = |at: usize| {
            let bytes = self.prelude[at..at + 4].try_into().expect("four bytes");
            u64::from(u32::from_be_bytes(bytes))
        };
        let (total, headers) = (word(0), word(4));
        let payload = total.checked_sub(PRELUDE as u64 + CHECKSUM).and_then(|rest| rest.checked_sub(headers));
        let Some(payload) = payload else {
            self.is_broken = true;
            return;
        };
        (self.headers, self.payload, self.checksum) = (headers, payload, CHECKSUM);
    }
}

/// Takes up to `left` bytes off.
fn skip<'b>(left: &mut u64, bytes: &'b [u8]) -> (&'b [u8], &'b [u8]) {
    let take = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    *left -= take as u64;
    bytes.split_at(take)
}
