//! The reader of usage: where the network cuts decides nothing, and what it keeps is bounded.
//!
//! Input: a digit for the format; `j`, `s` or `a` for JSON, server-sent events or Amazon's event stream, in capitals
//! with Bedrock's headers; a byte that seeds the cuts, 0xff to repeat what is behind the first `~` many times, with
//! a number for `#`; the answer.

use till_core::fields::Fields;
use till_providers::usage::{AnswerFormat, Progress, Reading, UsageReader};

use super::pieces::pieces;

/// In the order of the digits.
pub const FORMATS: [AnswerFormat; 8] = [
    AnswerFormat::Silent,
    AnswerFormat::OpenAiChat,
    AnswerFormat::OpenAiResponses,
    AnswerFormat::Anthropic,
    AnswerFormat::Gemini,
    AnswerFormat::Cohere,
    AnswerFormat::BedrockConverse,
    AnswerFormat::BedrockInvoke,
];

/// How long a repeated answer is: long enough that keeping it would go beyond [`KEPT_MAX`], and no longer, as it takes
/// most of the time.
const LONG: usize = 256 * 1024;

/// What the reader may come to when it is written out for debugging: one value of the length that it keeps, each byte
/// of which takes five, and little else.
const KEPT_MAX: usize = 600_000;

/// Checks one input.
pub fn check(input: &[u8]) {
    let [format, kind, seed, answer @ ..] = input else { return };
    let format = format_of(*format);
    let headers = headers(*kind);
    let whole = read(format, &headers, [answer]);
    assert_eq!(read(format, &headers, pieces(answer, *seed)), whole, "cut by seed {seed}");
    assert_eq!(read(format, &headers, answer.chunks(1)), whole, "one byte at a time");
    if *seed == 0xff && answer.contains(&b'~') {
        is_bounded(format, &headers, answer);
    }
}

/// The format of a digit; any other byte is one of them too.
pub fn format_of(byte: u8) -> AnswerFormat {
    FORMATS[usize::from(byte.wrapping_sub(b'0')) % FORMATS.len()]
}

/// Reads an answer in these pieces.
pub fn read<'b>(
    format: AnswerFormat,
    headers: &Fields,
    pieces: impl IntoIterator<Item = &'b [u8]>,
) -> (Progress, Reading) {
    let mut reader = UsageReader::new(format, headers);
    for piece in pieces {
        reader.push(piece);
    }
    (reader.progress(), reader.finish())
}

fn headers(kind: u8) -> Fields {
    let mut headers = Fields::default();
    let content_type = match kind.to_ascii_lowercase() {
        b's' => "text/event-stream; charset=utf-8",
        b'a' => "application/vnd.amazon.eventstream",
        _ => "application/json",
    };
    headers.push("content-type", content_type);
    if kind.is_ascii_uppercase() {
        headers.push("x-amzn-bedrock-input-token-count", "7");
        headers.push("x-amzn-bedrock-output-token-count", "11");
    }
    headers
}

/// An upstream must not be able to fill the memory with an answer without an end.
fn is_bounded(format: AnswerFormat, headers: &Fields, answer: &[u8]) {
    let (head, tail) = answer.split_at(answer.iter().position(|byte| *byte == b'~').unwrap_or(0));
    let tail = tail.get(1..).filter(|rest| !rest.is_empty()).unwrap_or(tail);
    let mut long = head.to_vec();
    for number in 0.. {
        if long.len() >= LONG {
            break;
        }
        // Names that differ, too.
        for (index, part) in tail.split(|byte| *byte == b'#').enumerate() {
            if index > 0 {
                long.extend_from_slice(format!("{number:06}").as_bytes());
            }
            long.extend_from_slice(part);
        }
    }
    let mut reader = UsageReader::new(format, headers);
    for piece in long.chunks(64 * 1024) {
        reader.push(piece);
    }
    let kept = format!("{reader:?}").len();
    assert!(kept < KEPT_MAX, "written out, what it keeps of {} bytes is {kept} long", long.len());
}
