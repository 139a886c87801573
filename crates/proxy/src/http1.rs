//! HTTP/1.1 towards clients and towards providers, RFC 9112 read strictly.
//!
//! Parsers forgive: they take a bare line feed for a line end, or drop `Content-Length` when `Transfer-Encoding` is there
//! too, and another one in front of till or behind it may read the same bytes as two requests. Here a request says one
//! thing or is refused, and what goes out is written anew from what was understood. Nothing of it keeps memory for a
//! connection on which nothing comes.
//!
//! - [`front`]: requests of clients are read, from one connection;
//! - [`serve`]: each is answered before the next one is read;
//! - [`wire`]: requests go out to a provider and answers come in, over one connection.
//!
//! Both read through [`input`] and write through [`output`].

mod alarm;
mod answer;
mod framing;
mod front;
mod head;
mod input;
mod output;
mod serve;
mod wire;

pub(crate) use self::answer::answer_status;
pub use self::front::HeadLimits;
pub(crate) use self::front::{FrontDoor, FrontTimeouts, Inbound, Protocol};
pub(crate) use self::head::Violation;
pub(crate) use self::output::memory;
pub(crate) use self::serve::serve;
pub(crate) use self::wire::{AnswerHead, Outbound, Wire, WireEnd, WireError};

/// The length and the head at the start of the bytes, for the fuzz target.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_head(
    bytes: &[u8],
    scanned: &mut usize,
    limits: HeadLimits,
) -> Result<Option<(usize, crate::head::Head)>, Violation> {
    Ok(head::read(bytes, scanned, limits)?.map(|(length, received)| (length, received.head)))
}
