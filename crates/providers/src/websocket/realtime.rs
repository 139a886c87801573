//! OpenAI's Realtime API: client events and what they start.
//!
//! Source of the events: developers.openai.com/api/reference/resources/realtime/client-events
//!
//! With turn detection, which is on unless the session says otherwise, the server listens to the audio
//! and starts responses by itself: nothing that the client sends could be counted. So audio is passed
//! on only after the server has confirmed that turn detection is off. The client's own wish is not
//! enough, since the server may reject it. And a connection on which turning it on was passed on never
//! gets audio, so that no order of wishes and confirmations on their way can be played against this.

use super::{ClientMessage, refused, unknown};
use crate::json::{self, Node};

/// What is known about one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Realtime {
    turn_detection: TurnDetection,
    /// Whether the server may transcribe what is committed, which is work.
    transcribes: bool,
}

/// Whether the server can start responses by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum TurnDetection {
    /// Nothing was confirmed yet: as good as on.
    #[default]
    Unconfirmed,
    /// The server said that it is off, and nothing that could turn it on was passed on.
    Off,
    /// Something that may have turned it on was passed on.
    Tainted,
}

/// What a `session` object says about a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setting {
    Absent,
    Null,
    /// A value, or something that can't be read and may be one.
    Set,
}

const AUDIO_REFUSED: &str = "till passes audio on only while turn detection is off, because with it the server starts \
    responses that can't be counted. Send a session.update with turn_detection null and wait for session.updated first; \
    then start each response with response.create.";

const TURN_ON_REFUSED: &str = "Turn detection is off on this connection, and till doesn't pass on what could turn it on again, \
    because with it the server starts responses that can't be counted. Open another connection.";

const TRANSCRIPTION_REFUSED: &str = "till can't count a transcription session, in which the server works without being asked. Use a session of the type \"realtime\".";

impl Realtime {
    pub(super) fn classify(&mut self, kind: &str, message: &Node<'_>) -> ClientMessage {
        match kind {
            "response.create" => ClientMessage::StartsWork,
            "session.update" => self.session_update(message),
            "input_audio_buffer.append" => self.audio(ClientMessage::Neutral),
            "input_audio_buffer.commit" if self.transcribes => self.audio(ClientMessage::StartsWork),
            "input_audio_buffer.commit" => self.audio(ClientMessage::Neutral),
            "conversation.item.create"
            | "conversation.item.retrieve"
            | "conversation.item.truncate"
            | "conversation.item.delete"
            | "input_audio_buffer.clear"
            | "output_audio_buffer.clear"
            | "response.cancel" => ClientMessage::Neutral,
            _ => unknown(kind),
        }
    }

    fn audio(&self, otherwise: ClientMessage) -> ClientMessage {
        match self.turn_detection {
            TurnDetection::Off => otherwise,
            TurnDetection::Unconfirmed | TurnDetection::Tainted => refused(AUDIO_REFUSED),
        }
    }

    fn session_update(&mut self, message: &Node<'_>) -> ClientMessage {
        let Some(session @ Node::Object(_)) = message.field("session") else {
            return refused("A session.update needs a \"session\" object.");
        };
        if is_transcription(session) {
            return refused(TRANSCRIPTION_REFUSED);
        }
        // A prompt kept at the server can hold settings that can't be seen here.
        let hidden = session.field("prompt").is_some_and(|prompt| *prompt != Node::Null);
        if hidden || turn_detection(session) == Setting::Set {
            if self.turn_detection == TurnDetection::Off {
                return refused(TURN_ON_REFUSED);
            }
            self.turn_detection = TurnDetection::Tainted;
        }
        self.transcribes |= hidden || transcription(session) == Setting::Set;
        ClientMessage::Neutral
    }

    /// Reads the configuration in force out of `session.created` and `session.updated`.
    pub(super) fn observe(&mut self, text: &[u8]) {
        // Most server messages are audio. Only what may be one of the two is parsed.
        if !mentions(text, b"session.created") && !mentions(text, b"session.updated") {
            return;
        }
        let Ok(message) = json::parse(text) else { return };
        let kind = message.field("type").and_then(Node::text);
        let (Some("session.created" | "session.updated"), Some(session)) = (kind, message.field("session"))
        else {
            return;
        };
        self.transcribes |= transcription(session) == Setting::Set;
        self.turn_detection = match (self.turn_detection, turn_detection(session)) {
            _ if is_transcription(session) => TurnDetection::Tainted,
            (TurnDetection::Unconfirmed, Setting::Null) => TurnDetection::Off,
            (TurnDetection::Off, Setting::Set) => TurnDetection::Tainted,
            (state, _) => state,
        };
    }
}

fn mentions(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len()).any(|window| window == what)
}

fn is_transcription(session: &Node<'_>) -> bool {
    let kind = session.field("type");
    let object = session.field("object").and_then(Node::text);
    kind.is_some_and(|kind| kind.text() != Some("realtime"))
        || object == Some("realtime.transcription_session")
}

fn turn_detection(session: &Node<'_>) -> Setting {
    setting(session, "turn_detection", "turn_detection")
}

fn transcription(session: &Node<'_>) -> Setting {
    setting(session, "input_audio_transcription", "transcription")
}

/// A setting in both generations of the API: `session.old` and `session.audio.input.new`.
fn setting(session: &Node<'_>, old: &str, new: &str) -> Setting {
    let flat = present(session.field(old));
    let nested = match session.field("audio") {
        None => Setting::Absent,
        Some(audio @ Node::Object(_)) => match audio.field("input") {
            None => Setting::Absent,
            Some(input @ Node::Object(_)) => present(input.field(new)),
            // Resetting the whole of it may bring the default back, which is on.
            Some(_) => Setting::Set,
        },
        Some(_) => Setting::Set,
    };
    match (flat, nested) {
        (Setting::Set, _) | (_, Setting::Set) => Setting::Set,
        (Setting::Null, _) | (_, Setting::Null) => Setting::Null,
        (Setting::Absent, Setting::Absent) => Setting::Absent,
    }
}

fn present(value: Option<&Node<'_>>) -> Setting {
    match value {
        None => Setting::Absent,
        Some(Node::Null) => Setting::Null,
        Some(_) => Setting::Set,
    }
}
