//! What goes out over a connection: heads, and bodies behind them. The same for answers to clients and requests to
//! providers.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;
use tokio::io::AsyncWrite;

use super::framing::{write_chunk, write_last_chunk};
use crate::body::BodyError;

/// So much of a body is made ready to be written before it is.
const FILL_MAX: usize = 32 * 1024;

/// A longer piece of a body is made ready in parts: what is in memory already is not copied all at once. It is a little
/// more than what comes in one read, which stays in one piece whatever is put in front of it.
const PIECE_MAX: usize = 2 * FILL_MAX;

/// What stands around a piece of a body, at most, but for trailers.
const FRAMING_MAX: usize = 32;

/// Memory for a message, as a rule enough for all of it.
const USUAL: usize = 2 * 1024;

thread_local! {
    /// Memory of messages that have gone out, for those that go out next: the processor still has it at hand, and no connection
    /// needs any while nothing is to be written.
    static SPARE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// So much of it is kept by a thread, each of so many bytes at most.
const SPARE_MAX: usize = 32;
const SPARE_BYTES_MAX: usize = 16 * 1024;

/// Memory for a message that is to be written.
pub(crate) fn memory() -> Vec<u8> {
    SPARE.with_borrow_mut(Vec::pop).unwrap_or_else(|| Vec::with_capacity(USUAL))
}

/// Takes the memory of a message that was written.
fn give_back(mut memory: Vec<u8>) {
    if (USUAL..=SPARE_BYTES_MAX).contains(&memory.capacity()) {
        // There may be keys in it, and nobody knows when it is used again.
        memory.fill(0);
        memory.clear();
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < SPARE_MAX {
                spare.push(memory);
            }
        });
    }
}

/// What is ready to be written.
#[derive(Debug)]
pub(super) struct Output {
    /// From `written` on.
    pub(super) bytes: Vec<u8>,
    written: usize,
    /// Something was handed down.
    is_begun: bool,
    /// TLS may have kept some of that back.
    is_flushed: bool,
    /// So many bytes at the beginning are wiped when they are let go of: the head of a request has the real key in it.
    secret: usize,
}

impl Default for Output {
    fn default() -> Self {
        Self::of(Vec::new())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl Output {
    /// Nothing yet, with room for a message.
    pub(super) fn empty() -> Self {
        Self { bytes: memory(), ..Self::default() }
    }

    /// All of these bytes are wiped in the end, and leave no copy behind.
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        let secret = bytes.len();
        Self { bytes, written: 0, is_begun: false, is_flushed: true, secret }
    }

    fn wipe(&mut self) {
        let secret = std::mem::take(&mut self.secret).min(self.bytes.len());
        if secret > 0 {
            self.bytes[..secret].fill(0);
            // What nobody reads before it is freed would not have to be written.
            std::hint::black_box(&self.bytes);
        }
    }

    /// Sees to it that so many bytes more leave no copy behind of what is there: memory that grows may move.
    fn make_room(&mut self, more: usize) {
        if self.bytes.capacity() == 0 {
            self.bytes = memory();
        }
        if self.secret == 0 || self.bytes.capacity() - self.bytes.len() >= more {
            return;
        }
        let room = self.bytes.len() + more;
        // A little more than now, as far as that is kept.
        let room = if room <= SPARE_BYTES_MAX { room.next_power_of_two() } else { room };
        let mut grown = Vec::with_capacity(room);
        grown.extend_from_slice(&self.bytes);
        let secret = self.secret;
        self.wipe();
        (self.bytes, self.secret) = (grown, secret);
    }

    /// Whether more may be made ready.
    pub(super) fn has_room(&self) -> bool {
        self.bytes.len() < FILL_MAX
    }

    /// Whether everything is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.is_flushed
    }

    /// Whether nothing was handed down, so that all that was made ready is still here.
    pub(super) fn is_untouched(&self) -> bool {
        !self.is_begun && !self.bytes.is_empty()
    }

    /// Writes everything.
    pub(super) fn poll<S>(&mut self, cx: &mut Context<'_>, socket: &mut S) -> Poll<io::Result<()>>
    where
        S: AsyncWrite + Unpin,
    {
        while self.written < self.bytes.len() {
            match ready!(Pin::new(&mut *socket).poll_write(cx, &self.bytes[self.written..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                length => self.written += length,
            }
            (self.is_begun, self.is_flushed) = (true, false);
        }
        self.written = 0;
        self.wipe();
        give_back(std::mem::take(&mut self.bytes));
        if !self.is_flushed {
            ready!(Pin::new(socket).poll_flush(cx))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }
}

/// How the end of a body is told, RFC 9112 section 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// There is none, whatever the head says.
    None,
    /// So many bytes are still to be written.
    Length(u64),
    Chunked,
    /// By closing the connection.
    UntilClose,
}

/// How far a body has come on its way out.
///
/// Invariant: what is written is what the head says, or the body never ends.
#[derive(Debug)]
pub(super) struct Outgoing {
    form: Form,
    state: State,
    /// What was taken of the body and is not in the output yet.
    rest: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// There is more of it.
    Open,
    /// Everything is in the output.
    Ended,
    /// What the other side waits for does not come.
    Broken,
}

impl Outgoing {
    pub(super) fn new(form: Form) -> Self {
        let state = if form == Form::None { State::Ended } else { State::Open };
        Self { form, state, rest: Bytes::new() }
    }

    /// Makes ready what there is of `body`.
    ///
    /// # Errors
    /// It failed, or is not as long as was said. The other side can't be told where it ends, so that the connection must.
    pub(super) fn fill<B>(
        &mut self,
        cx: &mut Context<'_>,
        body: &mut B,
        out: &mut Output,
    ) -> Result<(), BodyError>
    where
        B: Body<Data = Bytes, Error = BodyError> + Unpin,
    {
        while self.state == State::Open && out.has_room() {
            let rest = std::mem::take(&mut self.rest);
            if !rest.is_empty() {
                self.write(rest, out);
                continue;
            }
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => break,
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.take(data, out)?,
                    Err(frame) => self.end(frame.into_trailers().ok().as_ref(), out)?,
                },
                Poll::Ready(Some(Err(error))) => {
                    self.state = State::Broken;
                    return Err(error);
                }
                Poll::Ready(None) => self.end(None, out)?,
            }
        }
        Ok(())
    }

    fn take(&mut self, data: Bytes, out: &mut Output) -> Result<(), BodyError> {
        if let Form::Length(left) = &mut self.form {
            let Some(rest) = left.checked_sub(data.len() as u64) else {
                self.state = State::Broken;
                return Err("the body is longer than was said".into());
            };
            *left = rest;
        }
        // An empty chunk would be the end.
        if !data.is_empty() {
            self.write(data, out);
        }
        Ok(())
    }

    fn write(&mut self, mut data: Bytes, out: &mut Output) {
        if data.len() > PIECE_MAX {
            self.rest = data.split_off(FILL_MAX);
        }
        out.make_room(data.len() + FRAMING_MAX);
        match self.form {
            Form::Chunked => write_chunk(&mut out.bytes, &data),
            Form::Length(_) | Form::UntilClose => out.bytes.extend_from_slice(&data),
            Form::None => {}
        }
    }

    fn end(&mut self, trailers: Option<&HeaderMap>, out: &mut Output) -> Result<(), BodyError> {
        if let Form::Length(1..) = self.form {
            self.state = State::Broken;
            return Err("the body is shorter than was said".into());
        }
        if self.form == Form::Chunked {
            out.make_room(FRAMING_MAX);
            write_last_chunk(&mut out.bytes, trailers);
        }
        self.state = State::Ended;
        Ok(())
    }

    /// Whether all of it is in the output, as the head says.
    pub(super) fn has_ended(&self) -> bool {
        self.state == State::Ended
    }

    /// Whether only the end of the connection tells where it ends.
    pub(super) fn is_until_close(&self) -> bool {
        self.form == Form::UntilClose
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker, ready};

    use bytes::Bytes;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tokio::io::AsyncWrite;

    use super::{
        FILL_MAX, Form, Outgoing, Output, PIECE_MAX, SPARE, SPARE_BYTES_MAX, SPARE_MAX, USUAL, give_back,
        memory,
    };
    use crate::body::BodyError;

    /// A body in these pieces, written in this form: what goes out, or why not.
    fn written(form: Form, pieces: &[&[u8]]) -> Result<Vec<u8>, String> {
        let pieces = pieces.iter().map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))));
        let pieces: Vec<Result<_, BodyError>> = pieces.collect();
        let mut body = StreamBody::new(futures_util::stream::iter(pieces));
        let mut nobody = Context::from_waker(Waker::noop());
        let (mut outgoing, mut all) = (Outgoing::new(form), Vec::new());
        while !outgoing.has_ended() {
            let mut out = Output::default();
            let filled = outgoing.fill(&mut nobody, &mut body, &mut out);
            assert!(out.bytes.len() <= FILL_MAX + PIECE_MAX + 100, "{}", out.bytes.len());
            all.append(&mut out.bytes);
            if let Err(error) = filled {
                assert!(!outgoing.has_ended() && outgoing.fill(&mut nobody, &mut body, &mut out).is_ok());
                assert!(!outgoing.has_ended() && out.is_empty(), "it never ends");
                return Err(error.to_string());
            }
        }
        Ok(all)
    }

    #[test]
    fn a_body_ends_where_the_head_says_or_not_at_all() {
        let chunked = b"2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n";
        assert_eq!(written(Form::Chunked, &[b"hi", b"", b"!"]).as_deref(), Ok(&chunked[..]));
        for form in [Form::Length(3), Form::UntilClose] {
            assert_eq!(written(form, &[b"hi", b"", b"!"]).as_deref(), Ok(&b"hi!"[..]), "{form:?}");
        }
        assert_eq!(written(Form::Length(0), &[]), Ok(Vec::new()));
        assert_eq!(written(Form::None, &[b"hi"]), Ok(Vec::new()));
        for (length, pieces) in
            [(3, &[&b"hi"[..]][..]), (1, &[]), (1, &[b"hi"]), (2, &[b"hi", b"!"]), (0, &[b"!"])]
        {
            let error = written(Form::Length(length), pieces).expect_err("it is not so long");
            assert!(error.contains("than was said"), "{length} {pieces:?}: {error}");
        }
    }

    #[test]
    fn what_is_in_memory_is_not_copied_at_once() {
        let long = b"0123456789".repeat(100_000);
        assert!(written(Form::Length(1_000_000), &[&long]).as_ref() == Ok(&long));
        let chunked = written(Form::Chunked, &[&long]).expect("a body");
        assert!(chunked.starts_with(b"8000\r\n0123") && chunked.ends_with(b"6789\r\n0\r\n\r\n"));
    }

    #[test]
    fn what_was_written_leaves_its_memory_to_the_next_message() {
        // A thread of its own, so that nobody else's memory is there.
        std::thread::spawn(|| {
            let mut nobody = Context::from_waker(Waker::noop());
            let mut written = |length: usize| {
                let (mut slow, mut output) = (Slow::default(), Output::of(vec![b'k'; length]));
                output.bytes.extend_from_slice(b" and a body");
                while output.poll(&mut nobody, &mut slow).is_pending() {}
                assert_eq!((slow.written.len(), output.bytes.capacity()), (length + 11, 0));
            };
            written(SPARE_BYTES_MAX);
            assert_eq!(memory().capacity(), USUAL, "what is large is not kept");
            written(USUAL);
            let memories: Vec<_> = (0..2).map(|_| memory()).collect();
            assert!(memories.iter().all(Vec::is_empty));
            assert_eq!([&memories[0], &memories[1]].map(Vec::capacity), [2 * USUAL, USUAL]);
            (0..2 * SPARE_MAX).for_each(|_| give_back(Vec::with_capacity(USUAL)));
            assert_eq!(SPARE.with_borrow(Vec::len), SPARE_MAX);
        })
        .join()
        .expect("no panic");
    }

    /// Takes a byte now and then, and keeps everything back until it is flushed, as TLS may.
    #[derive(Default)]
    struct Slow {
        turns: usize,
        kept: Vec<u8>,
        written: Vec<u8>,
    }

    impl Slow {
        fn turn(&mut self) -> Poll<()> {
            self.turns += 1;
            if self.turns.is_multiple_of(2) { Poll::Ready(()) } else { Poll::Pending }
        }
    }

    impl AsyncWrite for Slow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            ready!(self.turn());
            self.kept.push(bytes[0]);
            Poll::Ready(Ok(1))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            ready!(self.turn());
            let kept = std::mem::take(&mut self.kept);
            self.written.extend(kept);
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn all_of_it_is_written_and_flushed_also_what_is_added_meanwhile() {
        let mut nobody = Context::from_waker(Waker::noop());
        let (mut slow, mut output) = (Slow::default(), Output::of(b"abc".to_vec()));
        assert!(output.is_untouched() && !output.is_empty());
        assert!(output.poll(&mut nobody, &mut slow).is_pending() && output.is_untouched());
        assert!(output.poll(&mut nobody, &mut slow).is_pending());
        assert!(!output.is_untouched(), "a part is gone");
        output.bytes.extend_from_slice(b"de");
        while output.poll(&mut nobody, &mut slow).is_pending() {
            assert!(!output.is_empty());
        }
        assert!(output.is_empty() && slow.written == b"abcde");
        output.bytes.extend_from_slice(b"f");
        assert!(!output.is_untouched(), "what came before it is gone");
    }
}
