//! The filter that takes the chunk with usage out: where the network cuts decides nothing.
//!
//! Input: a byte that seeds the cuts; a byte, `L` for a stream whose first event is longer than what is looked at;
//! the stream.

use bytes::Bytes;
use till_providers::usage::UsageChunkFilter;

use super::pieces::pieces;

/// Longer than any event that is looked at.
const LONG: usize = 80_000;

/// Checks one input.
pub fn check(input: &[u8]) {
    let [seed, kind, stream @ ..] = input else { return };
    // Not in the smallest pieces, which take long.
    let (seed, stream) =
        if *kind == b'L' { (*seed | 4, lengthened(stream)) } else { (*seed, stream.to_vec()) };
    let whole = run([&stream[..]]);
    same(&run(pieces(&stream, seed)), &whole, &format!("cut by seed {seed}"));
    if stream.len() < LONG {
        same(&run(stream.chunks(1)), &whole, "one byte at a time");
    }
    assert!(is_part(&whole, &stream), "something was put in or changed");
    if !contains(&stream, b"\"usage\"") {
        same(&whole, &stream, "nothing in it could be the chunk");
    }
    same(&run([&whole[..]]), &whole, "what was passed on once passes");
}

/// Puts spaces behind the first `data:`, which change nothing for whoever reads the event.
fn lengthened(stream: &[u8]) -> Vec<u8> {
    let at = stream.windows(5).position(|window| window == b"data:").map_or(0, |at| at + 5);
    [&stream[..at], &vec![b' '; LONG][..], &stream[at..]].concat()
}

fn run<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Vec<u8> {
    let mut filter = UsageChunkFilter::new();
    let mut out = Vec::new();
    for piece in pieces {
        out.extend_from_slice(&filter.push(Bytes::copy_from_slice(piece)));
    }
    out.extend_from_slice(&filter.finish());
    out
}

/// Whether `part` is `whole` with bytes taken out.
fn is_part(part: &[u8], whole: &[u8]) -> bool {
    let mut whole = whole.iter();
    part.iter().all(|byte| whole.any(|other| other == byte))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Fails with texts that people can read.
fn same(left: &[u8], right: &[u8], about: &str) {
    let shown = |bytes: &[u8]| match bytes.len() {
        0..600 => bytes.escape_ascii().to_string(),
        length => format!("{} … {}", bytes[..300].escape_ascii(), bytes[length - 300..].escape_ascii()),
    };
    assert!(left == right, "{about}:\n{}\n{}", shown(left), shown(right));
}
