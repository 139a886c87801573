//! What is asked and answered: the same bytes for every proxy, so that only the proxies differ.

use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// Length of the JSON answer.
pub const ANSWER_BYTES: usize = 600;

/// Events of a stream, the one with the usage and `[DONE]` included.
pub const EVENTS: usize = 200;

/// Bytes of an event with its empty line. 200 of them are 60 KB.
pub const EVENT_BYTES: usize = 300;

/// The body of an ordinary request.
pub const CHAT: &str = include_str!("../requests/chat.json");

/// The same, asking for a stream that says at its end what was used.
pub const CHAT_STREAM: &str = include_str!("../requests/chat-stream.json");

const USAGE: &str = concat!(
    r#""usage":{"prompt_tokens":24,"completion_tokens":40,"total_tokens":64,"#,
    r#""prompt_tokens_details":{"cached_tokens":0},"completion_tokens_details":{"reasoning_tokens":0}}"#
);

/// A chat completion of [`ANSWER_BYTES`] bytes.
pub fn answer() -> String {
    let before = concat!(
        r#"{"id":"chatcmpl-BenchBenchBenchBench","object":"chat.completion","created":1764000000,"#,
        r#""model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,"message":{"role":"assistant","content":""#
    );
    let after = format!(r#"","refusal":null}},"logprobs":null,"finish_reason":"stop"}}],{USAGE}}}"#);
    let text = "x".repeat(ANSWER_BYTES - before.len() - after.len());
    format!("{before}{text}{after}")
}

/// Writes event number `number` of a stream to `into`, which is emptied first. The event carries the time at which it
/// was made, for [`made_at_nanos`].
pub fn event(number: usize, last: usize, into: &mut Vec<u8>) {
    into.clear();
    let made = unix_nanos();
    let choices =
        r#"[{"index":0,"delta":{"content":"Hello"},"logprobs":null,"finish_reason":null}],"usage":null"#;
    let usage = r#"[],"usage":{"prompt_tokens":24,"completion_tokens":40,"total_tokens":64}"#;
    let rest = if number + 2 == last { usage } else { choices };
    let written = if number + 1 == last {
        write!(into, "data: [DONE]")
    } else {
        write!(
            into,
            r#"data: {{"id":"chatcmpl-Bench","object":"chat.completion.chunk","created":1764000000,"model":"gpt-4o-mini","made":{made:019},"choices":{rest}}}"#
        )
    };
    written.expect("a vector takes everything");
    if number + 1 < last {
        assert!(into.len() <= EVENT_BYTES - 2, "an event has to fit");
        // White space after a value means nothing, and every event is as long as the others.
        into.resize(EVENT_BYTES - 2, b' ');
    }
    into.extend_from_slice(b"\n\n");
}

/// When an event was made; `None` for one that does not say.
pub fn made_at_nanos(event: &[u8]) -> Option<u64> {
    const NAME: &[u8] = br#""made":"#;
    let start = memchr::memmem::find(event, NAME)? + NAME.len();
    let digits = event.get(start..start + 19)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The time of day, in nanoseconds since 1970.
pub fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    u64::try_from(since.as_nanos()).expect("nanoseconds since 1970 fit until the year 2554")
}

/// A whole stream, as a body.
pub fn stream() -> Vec<u8> {
    let (mut all, mut one) = (Vec::new(), Vec::new());
    for number in 0..EVENTS {
        event(number, EVENTS, &mut one);
        all.extend_from_slice(&one);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_json_of_its_length() {
        assert_eq!(answer().len(), ANSWER_BYTES);
        let value: serde_json::Value = serde_json::from_str(&answer()).unwrap();
        assert_eq!(value["usage"]["total_tokens"], 64);
    }

    #[test]
    fn every_event_is_json_and_says_when_it_was_made() {
        let text = String::from_utf8(stream()).unwrap();
        let events: Vec<_> = text.split_terminator("\n\n").collect();
        assert_eq!(events.len(), EVENTS);
        assert!(text.len().abs_diff(EVENTS * EVENT_BYTES) < EVENT_BYTES);
        for event in &events[..EVENTS - 1] {
            let value: serde_json::Value =
                serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(made_at_nanos(event.as_bytes()), value["made"].as_u64());
        }
        assert_eq!(events[EVENTS - 1], "data: [DONE]");
    }
}
