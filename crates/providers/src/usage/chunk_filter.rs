//! Takes the chunk with nothing but usage out of a chat stream whose client did not ask for it.
//!
//! With `stream_options.include_usage` OpenAI sends one more chunk before the end, whose `choices` is an empty array
//! (<https://platform.openai.com/docs/api-reference/chat/object>). Everything else passes byte for byte. An event is
//! held back only until it is known whether it is that chunk, which is when it ends; events come whole, so nothing
//! waits.

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The longest event that is looked at, in bytes: the one with the usage has about 500. Longer ones pass.
const EVENT_MAX: usize = 64 * 1024;

/// The filter for one stream.
#[derive(Debug, Default)]
pub struct UsageChunkFilter {
    /// The event that has not ended.
    held: BytesMut,
    /// The event under way is too long to be the one.
    passes: bool,
}

impl UsageChunkFilter {
    /// At the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what came and gives what is to be passed on.
    pub fn push(&mut self, bytes: Bytes) -> Bytes {
        if self.held.is_empty() && !self.passes && ends_event(&bytes) && !may_have_usage(&bytes) {
            // Whole events, as they usually come, and none of them is the one: nothing is copied.
            return bytes;
        }
        let mut rest = &bytes[..];
        let mut out = BytesMut::new();
        while !rest.is_empty() {
            let end = event_end(&self.held, rest);
            let (piece, later) = rest.split_at(end.unwrap_or(rest.len()));
            rest = later;
            self.held.extend_from_slice(piece);
            if end.is_some() {
                // The length of the whole event decides, not of what came of it first.
                if self.passes || self.held.len() > EVENT_MAX || !is_usage_chunk(&self.held) {
                    out.extend_from_slice(&self.held);
                }
                self.held.clear();
                self.passes = false;
            } else if self.passes || self.held.len() > EVENT_MAX || !may_be_the_one(&self.held) {
                self.passes = true;
                // The last bytes stay, so that the end of the event is seen.
                let keep = self.held.len().min(3);
                let pass = self.held.len() - keep;
                out.extend_from_slice(&self.held[..pass]);
                let tail = self.held.split_off(pass);
                self.held = tail;
            }
        }
        out.freeze()
    }

    /// The rest, once the stream has ended.
    pub fn finish(&mut self) -> Bytes {
        let held = self.held.split().freeze();
        if !self.passes && held.len() <= EVENT_MAX && is_usage_chunk(&held) { Bytes::new() } else { held }
    }
}

/// Whether an event that has come so far may be the one: a line of data comes first.
fn may_be_the_one(held: &[u8]) -> bool {
    let length = held.len().min(5);
    held[..length] == b"data:"[..length]
}

/// Whether an event ends with these bytes for sure: a third end of a line would begin the next one.
fn ends_event(bytes: &[u8]) -> bool {
    let event = bytes.strip_suffix(b"\n\n").or_else(|| bytes.strip_suffix(b"\r\n\r\n"));
    event.is_some_and(|event| !matches!(event.last(), None | Some(b'\n' | b'\r')))
}

/// Whether there is a usage in any of these events: most chunks have one that is null.
fn may_have_usage(bytes: &[u8]) -> bool {
    const NAME: &[u8] = b"\"usage\"";
    memchr::memmem::find_iter(bytes, NAME).any(|at| {
        let value = bytes[at + NAME.len()..].trim_ascii_start().strip_prefix(b":");
        !value.is_some_and(|value| value.trim_ascii_start().starts_with(b"null"))
    })
}

/// Where in `bytes`, which follow `held`, the event ends: after a blank line.
fn event_end(held: &[u8], bytes: &[u8]) -> Option<usize> {
    let tail = &held[held.len().saturating_sub(3)..];
    let seam = tail.len();
    let joined: Vec<u8> = [tail, &bytes[..bytes.len().min(3)]].concat();
    let across = blank_line(&joined).filter(|end| *end > seam).map(|end| end - seam);
    across.or_else(|| blank_line(bytes))
}

/// The offset right after the first blank line.
fn blank_line(bytes: &[u8]) -> Option<usize> {
    memchr::memchr2_iter(b'\n', b'\r', bytes).find_map(|at| {
        let rest = &bytes[at..];
        [&b"\r\n\r\n"[..], b"\n\n", b"\r\r", b"\n\r\n"]
            .into_iter()
            .find(|blank| rest.starts_with(blank))
            .map(|blank| at + blank.len())
    })
}

fn is_usage_chunk(event: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Chunk {
        choices: Vec<IgnoredAny>,
        usage: Option<IgnoredAny>,
    }
    let Some(data) = event.strip_prefix(b"data:") else { return false };
    // Before anything is parsed: nearly every event has choices in it.
    if memchr::memmem::find(data, b"\"usage\"").is_none() {
        return false;
    }
    serde_json::from_slice::<Chunk>(data).is_ok_and(|chunk| chunk.choices.is_empty() && chunk.usage.is_some())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::UsageChunkFilter;

    const HEAD: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi \\\"usage\\\"\"}}],\"usage\":null}";
    const CHUNK: &str = "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":1}}";
    const OTHERS: [&str; 4] = [": a comment", "data: [DONE]", "data: {\"choices\":[]}", "event: x\ndata: {}"];

    fn run(stream: &str, pieces: impl IntoIterator<Item = usize>) -> String {
        let mut filter = UsageChunkFilter::new();
        let mut out = Vec::new();
        let mut rest = stream.as_bytes();
        for length in pieces {
            let (piece, later) = rest.split_at(length.min(rest.len()));
            out.extend_from_slice(&filter.push(Bytes::copy_from_slice(piece)));
            rest = later;
        }
        out.extend_from_slice(&filter.push(Bytes::copy_from_slice(rest)));
        out.extend_from_slice(&filter.finish());
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn only_the_chunk_with_usage_goes_however_it_is_cut() {
        for blank in ["\n\n", "\r\n\r\n", "\r\r"] {
            let line = &blank[..blank.len() / 2];
            let mut events = vec![HEAD.to_owned()];
            events.extend(OTHERS.map(|event| event.replace('\n', line)));
            let expected: String = events.iter().map(|event| format!("{event}{blank}")).collect();
            events.insert(2, CHUNK.to_owned());
            let stream: String = events.iter().map(|event| format!("{event}{blank}")).collect();
            assert_eq!(run(&stream, [stream.len()]), expected);
            assert_eq!(run(&stream, std::iter::repeat_n(1, stream.len())), expected);
            for cut in 0..stream.len() {
                assert_eq!(run(&stream, [cut]), expected, "{cut}");
            }
        }
    }

    #[test]
    fn the_chunk_may_be_the_last_thing() {
        assert_eq!(run(CHUNK, []), "");
        assert_eq!(run("data: [DONE]", []), "data: [DONE]");
    }

    #[test]
    fn an_event_that_came_whole_is_not_held_back() {
        let mut filter = UsageChunkFilter::new();
        let event = format!("{HEAD}\n\n");
        assert_eq!(filter.push(Bytes::from(event.clone())), event);
        // Nor is much of one that is too long to be the one.
        let long = Bytes::from(vec![b'x'; 100_000]);
        assert!(filter.push(long).len() > 99_000);
    }
}
