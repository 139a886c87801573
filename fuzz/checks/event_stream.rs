//! Streams with good framing around any documents: what they say does not depend on the framing or on the cuts.
//!
//! Input: a digit for the format; a byte that seeds the cuts; documents, one a line.

use till_core::fields::Fields;
use till_providers::usage::{AnswerFormat, Progress, Reading};

use super::pieces::pieces;
use super::usage_reader::{format_of, read};

/// Checks one input.
pub fn check(input: &[u8]) {
    let [format, seed, documents @ ..] = input else { return };
    let format = format_of(*format);
    let documents: Vec<&[u8]> = documents.split(|byte| *byte == b'\n').collect();
    let frames: Vec<u8> = documents.iter().flat_map(|document| frame(document)).collect();
    let from_frames = every_way("application/vnd.amazon.eventstream", format, &frames, *seed);
    // Carriage returns end a line, and the end mark is one in events only.
    if documents.iter().any(|document| document.contains(&b'\r') || contains(document, b"[DONE]")) {
        return;
    }
    for (begin, end) in [("data: ", "\n\n"), ("data:", "\r\n\r\n"), ("event: x\r: note\rdata: ", "\r\r")] {
        let events: Vec<u8> = documents
            .iter()
            .flat_map(|document| [begin.as_bytes(), document, end.as_bytes()].concat())
            .collect();
        let from_events = every_way("text/event-stream", format, &events, *seed);
        assert_eq!(from_events.1, from_frames.1, "events with {begin:?} and {end:?}, and frames");
        // Bytes of text may differ: the end of a line belongs to a text that the end of its document cut off.
        let tokens = (from_events.0.output_tokens, from_frames.0.output_tokens);
        assert_eq!(tokens.0, tokens.1, "events with {begin:?} and {end:?}, and frames");
    }
}

/// Reads a stream whole and in two sets of pieces.
fn every_way(
    content_type: &'static str,
    format: AnswerFormat,
    stream: &[u8],
    seed: u8,
) -> (Progress, Reading) {
    let headers = Fields::from_iter([("content-type", content_type)]);
    let whole = read(format, &headers, [stream]);
    assert_eq!(read(format, &headers, pieces(stream, seed)), whole, "{content_type} cut by seed {seed}");
    assert_eq!(read(format, &headers, stream.chunks(1)), whole, "{content_type} one byte at a time");
    whole
}

/// A frame of Amazon's event stream encoding around a payload. Its checksums are zero: the client checks them, not
/// the reader.
fn frame(payload: &[u8]) -> Vec<u8> {
    const HEADERS: &[u8] = b"\x0d:content-type\x07\x00\x10application/json";
    let total = u32::try_from(12 + HEADERS.len() + payload.len() + 4).expect("no fuzz input is that long");
    let headers = u32::try_from(HEADERS.len()).expect("short");
    [&total.to_be_bytes()[..], &headers.to_be_bytes(), &[0; 4], HEADERS, payload, &[0; 4]].concat()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
