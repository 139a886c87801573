//! What goes out over a connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

/// So much of a body is made ready to be written before it is.
const FILL_MAX: usize = 32 * 1024;

/// Memory that is kept for the next message.
const KEPT_MAX: usize = 4 * 1024;

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
}

impl Default for Output {
    fn default() -> Self {
        Self::of(Vec::new())
    }
}

impl Output {
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self { bytes, written: 0, is_begun: false, is_flushed: true }
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
        self.bytes.clear();
        if self.bytes.capacity() > KEPT_MAX {
            self.bytes = Vec::new();
        }
        if !self.is_flushed {
            ready!(Pin::new(socket).poll_flush(cx))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker, ready};

    use tokio::io::AsyncWrite;

    use super::Output;

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
