use till_core::path::RawPath;

use super::{ClientMessage, WebsocketProtocol};
use crate::registry::Registry;

use ClientMessage::{Neutral, StartsWork};

fn protocol(provider: &str, path: &str, query: Option<&str>) -> Option<&'static str> {
    let mut registry = Registry::builtin();
    registry.repoint("azure-openai", "https://x.openai.azure.com", false).unwrap();
    let provider = registry.get(provider).unwrap();
    let path = provider.final_path(&RawPath::parse(path.as_bytes()).unwrap()).unwrap();
    provider.websocket(&path, query).map(|protocol| protocol.as_str())
}

#[test]
fn which_paths_are_countable() {
    let realtime = Some("openai-realtime");
    for (provider, path, query, expected) in [
        ("openai", "/v1/realtime", Some("model=gpt-realtime"), realtime),
        ("openai", "/realtime", None, realtime),
        ("openai", "/v1/v1/realtime/", Some(""), realtime),
        ("openai", "/v1/responses", None, Some("openai-responses")),
        ("openai", "/v1/realtime", Some("intent=transcription"), None),
        ("openai", "/v1/realtime", Some("model=x&intent=transcription"), None),
        ("openai", "/v1/realtime", Some("%69ntent=transcription"), None),
        ("openai", "/v1/realtime", Some("call_id=rtc_1"), None),
        ("openai", "/v1/realtime/translations", None, None),
        ("openai", "/v1/chat/completions", None, None),
        ("azure-openai", "/openai/v1/realtime", Some("model=x"), realtime),
        ("azure-openai", "/openai/realtime", Some("api-version=2024-10-01-preview&deployment=x"), realtime),
        ("azure-openai", "/openai/v1/responses", None, None),
        ("xai", "/v1/realtime", None, None),
        (
            "google",
            "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent",
            None,
            None,
        ),
        ("anthropic", "/v1/responses", None, None),
    ] {
        assert_eq!(protocol(provider, path, query), expected, "{provider} {path} {query:?}");
    }
}

#[test]
fn responses_messages() {
    let check = |text: &str, expected: Result<ClientMessage, &str>| {
        let message = WebsocketProtocol::OpenAiResponses.classify(text.as_bytes());
        match (message, expected) {
            (ClientMessage::Refused(reason), Err(part)) => assert!(reason.contains(part), "{text}: {reason}"),
            (message, expected) => assert_eq!(Ok(message), expected, "{text}"),
        }
    };
    for text in [
        r#"{"type":"response.create","model":"gpt-5","input":"hi"}"#,
        r#"{"model":"gpt-5","type":"response.create","generate":false}"#,
        r#"{"type":"response.create","background":false}"#,
        r#"{"\u0074ype":"response.cre\u0061te"}"#,
        r#" {"type":"response.steer","previous_response_id":"r","input":"x"} "#,
    ] {
        check(text, Ok(StartsWork));
    }
    for (text, part) in [
        (r#"{"type":"response.cancel"}"#, "response.cancel"),
        (r#"{"type":"session.update","session":{}}"#, "session.update"),
        (r#"{"type":"Response.Create"}"#, "Response.Create"),
        (r#"{"type":"response.create","background":true}"#, "background"),
        (r#"{"type":"response.create","response":{"background":1}}"#, "background"),
        (r#"{"type":"response.create","type":"x"}"#, "twice"),
        (r#"{"type":"x","\u0074ype":"response.create"}"#, "twice"),
        (r#"{"type":"response.create","a":{"b":1,"b":2}}"#, "twice"),
        (r#"{"type":1}"#, "no \"type\""),
        ("{}", "no \"type\""),
        ("[]", "no \"type\""),
        (r#"["response.create"]"#, "no \"type\""),
        ("", "not understood"),
        ("response.create", "not understood"),
        (r#"{"type":"response.create"} {"type":"response.create"}"#, "not understood"),
        ("\u{feff}{\"type\":\"response.create\"}", "not understood"),
    ] {
        check(text, Err(part));
    }
    let long = format!("{{\"type\":\"{}\"}}", "x".repeat(10_000));
    let ClientMessage::Refused(reason) = WebsocketProtocol::OpenAiResponses.classify(long.as_bytes()) else {
        panic!("an unknown type was let through");
    };
    assert!(reason.len() < 200);
}

/// One step of a Realtime conversation.
enum Step {
    /// The client sends this and it is seen as that.
    Client(&'static str, ClientMessage),
    /// The client sends this and is refused with a reason that has these words.
    Refused(&'static str, &'static str),
    /// The server sends this.
    Server(&'static str),
}
use Step::{Client, Refused, Server};

const APPEND: &str = r#"{"type":"input_audio_buffer.append","audio":"AAAA"}"#;
const COMMIT: &str = r#"{"type":"input_audio_buffer.commit"}"#;
const CREATE: &str = r#"{"type":"response.create"}"#;
const OFF_OLD: &str = r#"{"type":"session.update","session":{"turn_detection":null}}"#;
const OFF_NEW: &str =
    r#"{"type":"session.update","session":{"type":"realtime","audio":{"input":{"turn_detection":null}}}}"#;
const ON_OLD: &str = r#"{"type":"session.update","session":{"turn_detection":{"type":"server_vad"}}}"#;
const ON_NEW: &str =
    r#"{"type":"session.update","session":{"audio":{"input":{"turn_detection":{"type":"semantic_vad"}}}}}"#;
const CREATED_ON: &str = r#"{"type":"session.created","session":{"type":"realtime","audio":{"input":{"turn_detection":{"type":"server_vad"}}}}}"#;
const UPDATED_OFF_OLD: &str =
    r#"{"type":"session.updated","session":{"object":"realtime.session","turn_detection":null}}"#;
const UPDATED_OFF_NEW: &str =
    r#"{"type":"session.updated","session":{"type":"realtime","audio":{"input":{"turn_detection":null}}}}"#;
const UPDATED_ON: &str = r#"{"type":"session.updated","session":{"turn_detection":{"type":"server_vad"}}}"#;

fn conversation(name: &str, steps: &[Step]) {
    let mut protocol = WebsocketProtocol::OpenAiRealtime(super::Realtime::default());
    for (index, step) in steps.iter().enumerate() {
        match step {
            Server(text) => protocol.observe(text.as_bytes()),
            Client(text, expected) => {
                assert_eq!(protocol.classify(text.as_bytes()), *expected, "{name}, step {index}");
            }
            Refused(text, part) => match protocol.classify(text.as_bytes()) {
                ClientMessage::Refused(reason) => {
                    assert!(reason.contains(part), "{name}, step {index}: {reason}")
                }
                other => panic!("{name}, step {index}: {other:?}"),
            },
        }
    }
}

#[test]
fn realtime_text_events() {
    for text in [
        r#"{"type":"conversation.item.create","item":{"type":"message"}}"#,
        r#"{"type":"conversation.item.retrieve","item_id":"i"}"#,
        r#"{"type":"conversation.item.truncate","item_id":"i"}"#,
        r#"{"type":"conversation.item.delete","item_id":"i"}"#,
        r#"{"type":"input_audio_buffer.clear"}"#,
        r#"{"type":"output_audio_buffer.clear"}"#,
        r#"{"type":"response.cancel"}"#,
        r#"{"type":"session.update","session":{"instructions":"be brief"}}"#,
        OFF_OLD,
        OFF_NEW,
        ON_OLD,
    ] {
        conversation(text, &[Client(text, Neutral), Client(CREATE, StartsWork)]);
    }
    for (text, part) in [
        (r#"{"type":"session.close"}"#, "session.close"),
        (r#"{"type":"transcription_session.update","session":{}}"#, "transcription_session.update"),
        (r#"{"type":"session.update"}"#, "\"session\""),
        (r#"{"type":"session.update","session":[null]}"#, "\"session\""),
        (r#"{"type":"session.update","session":{"type":"transcription"}}"#, "transcription session"),
        (r#"{"type":"session.update","session":{"turn_detection":{},"turn_detection":null}}"#, "twice"),
    ] {
        conversation(text, &[Refused(text, part)]);
    }
}

#[test]
fn realtime_audio_needs_turn_detection_confirmed_off() {
    conversation(
        "by default",
        &[Refused(APPEND, "turn_detection null"), Refused(COMMIT, "turn_detection null")],
    );
    conversation("server says on", &[Server(CREATED_ON), Refused(APPEND, "turn_detection null")]);
    conversation("wish alone", &[Server(CREATED_ON), Client(OFF_NEW, Neutral), Refused(APPEND, "wait")]);
    for (off, confirmed) in [(OFF_OLD, UPDATED_OFF_OLD), (OFF_NEW, UPDATED_OFF_NEW)] {
        conversation(
            "confirmed",
            &[
                Server(CREATED_ON),
                Client(off, Neutral),
                Server(confirmed),
                Client(APPEND, Neutral),
                Client(COMMIT, Neutral),
                Client(CREATE, StartsWork),
            ],
        );
    }
}

#[test]
fn realtime_turn_detection_stays_off() {
    for on in [
        ON_OLD,
        ON_NEW,
        r#"{"type":"session.update","session":{"audio":null}}"#,
        r#"{"type":"session.update","session":{"audio":{"input":null}}}"#,
        r#"{"type":"session.update","session":{"turn_detection":null,"audio":{"input":{"turn_detection":{}}}}}"#,
        r#"{"type":"session.update","session":{"prompt":{"id":"p"}}}"#,
    ] {
        conversation(
            on,
            &[
                Client(OFF_NEW, Neutral),
                Server(UPDATED_OFF_NEW),
                Client(APPEND, Neutral),
                Refused(on, "another connection"),
                Client(APPEND, Neutral),
            ],
        );
        conversation(
            "turned on before: never audio, whatever the server says later",
            &[
                Client(on, Neutral),
                Client(OFF_NEW, Neutral),
                Server(UPDATED_OFF_NEW),
                Refused(APPEND, "turn_detection null"),
            ],
        );
    }
    conversation(
        "the server changes its mind",
        &[
            Server(UPDATED_OFF_NEW),
            Client(APPEND, Neutral),
            Server(UPDATED_ON),
            Refused(APPEND, "turn_detection null"),
        ],
    );
}

#[test]
fn realtime_transcription_is_work() {
    let on = r#"{"type":"session.update","session":{"audio":{"input":{"transcription":{"model":"whisper-1"},"turn_detection":null}}}}"#;
    conversation(
        "asked for",
        &[Client(on, Neutral), Server(UPDATED_OFF_NEW), Client(APPEND, Neutral), Client(COMMIT, StartsWork)],
    );
    let updated =
        r#"{"type":"session.updated","session":{"turn_detection":null,"input_audio_transcription":{}}}"#;
    conversation("in force", &[Server(updated), Client(COMMIT, StartsWork)]);
    let session = r#"{"type":"session.created","session":{"type":"transcription","audio":{"input":{"turn_detection":null}}}}"#;
    conversation("a transcription session", &[Server(session), Refused(APPEND, "turn_detection null")]);
}

#[test]
fn realtime_ignores_other_server_messages() {
    let quoted =
        r#"{"type":"response.text.delta","delta":"session.updated","session":{"turn_detection":null}}"#;
    for text in [
        quoted,
        "session.updated",
        r#"{"type":"session.updated"}"#,
        r#"{"type":"session.updated","session":{}}"#,
    ] {
        conversation(text, &[Server(text), Refused(APPEND, "turn_detection null")]);
    }
}
