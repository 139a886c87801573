//! What comes over a connection: heads, and bodies behind them. The same for requests of clients and answers of providers.

use bytes::Bytes;
use http_body::Frame;

use super::framing::Framing;
use crate::body::header_map;

/// What has come and was not taken.
#[derive(Debug)]
pub(super) struct Input {
    /// Not looked at yet. Nothing, as a rule: most messages come whole.
    pub(super) unread: Vec<u8>,
    /// How much of it was looked at for a head.
    pub(super) scanned: usize,
    /// What is still to come of the body of the message.
    body: Framing,
    /// A piece of it.
    data: Bytes,
    /// Why nothing that comes can be understood any more.
    broken: Option<&'static str>,
}

/// What there is of a body.
pub(super) enum Next {
    /// A piece, or its trailers.
    Frame(Frame<Bytes>),
    /// Nothing more, ever.
    End,
    /// Nothing, before more has come: see [`Input::take`].
    Missing,
}

impl Input {
    pub(super) fn new() -> Self {
        Self { unread: Vec::new(), scanned: 0, body: Framing::NONE, data: Bytes::new(), broken: None }
    }

    /// Looks for a head at the start of what is unread and of `read`, which came behind it. What is none yet is kept.
    /// Whoever finds one calls [`Input::begin`].
    pub(super) fn find<T, E>(
        &mut self,
        read: &[u8],
        look: impl FnOnce(&mut Self, &[u8]) -> Result<Option<T>, E>,
    ) -> Result<Option<T>, E> {
        if self.unread.is_empty() {
            if read.is_empty() {
                return Ok(None);
            }
            // Looked at where it was read.
            let found = look(self, read)?;
            if found.is_none() {
                self.unread = read.to_vec();
            }
            return Ok(found);
        }
        let mut unread = std::mem::take(&mut self.unread);
        unread.extend_from_slice(read);
        let found = look(self, &unread)?;
        if found.is_none() {
            self.unread = unread;
        }
        Ok(found)
    }

    /// A head has ended, whose body is framed like this; `rest` came behind it.
    pub(super) fn begin(&mut self, body: Framing, rest: &[u8]) {
        self.scanned = 0;
        self.body = body;
        self.take(rest);
    }

    /// Takes what came of the body when something was missing.
    pub(super) fn take(&mut self, read: &[u8]) {
        match self.body.decode(read) {
            Ok((taken, data)) => {
                self.data = data;
                self.unread = read[taken..].to_vec();
            }
            Err(violation) => self.broken = Some(violation.message),
        }
    }

    /// The next piece of the body.
    ///
    /// # Errors
    /// It is not framed as it must be.
    pub(super) fn next(&mut self) -> Result<Next, &'static str> {
        loop {
            let data = std::mem::take(&mut self.data);
            if !data.is_empty() {
                return Ok(Next::Frame(Frame::data(data)));
            }
            if let Some(broken) = self.broken {
                return Err(broken);
            }
            if self.body.is_complete() {
                let trailers = self.body.trailers().map_err(|violation| self.refuse(violation.message))?;
                return Ok(trailers
                    .map_or(Next::End, |trailers| Next::Frame(Frame::trailers(header_map(&trailers)))));
            }
            if self.unread.is_empty() {
                return Ok(Next::Missing);
            }
            let unread = std::mem::take(&mut self.unread);
            self.take(&unread);
        }
    }

    /// How long the rest of the body is, if all of it has come in one piece. Not for one in chunks, behind which more may stand.
    pub(super) fn whole_length(&self) -> Option<usize> {
        let is_whole = matches!(self.body, Framing::Length(0)) && self.broken.is_none();
        is_whole.then_some(self.data.len())
    }

    /// That piece.
    pub(super) fn take_whole(&mut self) -> Bytes {
        std::mem::take(&mut self.data)
    }

    /// Nothing that comes is taken for anything from here on.
    pub(super) fn refuse(&mut self, why: &'static str) -> &'static str {
        self.broken = Some(why);
        why
    }

    /// The connection has ended; whether that is the end of the body, too.
    pub(super) fn end(&mut self) -> bool {
        let is_end = matches!(self.body, Framing::UntilClose);
        if is_end {
            self.body = Framing::NONE;
        }
        is_end
    }

    /// Forgets what is left of a body that has come.
    pub(super) fn skip(&mut self) {
        self.data = Bytes::new();
    }

    /// Whether all of the message has come, taken or not.
    pub(super) fn is_complete(&self) -> bool {
        self.body.is_complete() && self.broken.is_none()
    }

    /// Whether nothing is left to be taken of the message.
    pub(super) fn has_ended(&self) -> bool {
        self.data.is_empty() && self.body.has_ended()
    }

    /// How long the rest of the body is, where that is known.
    pub(super) fn length(&self) -> Option<u64> {
        self.body.left().map(|left| left + self.data.len() as u64)
    }
}
