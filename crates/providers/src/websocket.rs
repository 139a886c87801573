//! WebSockets whose client messages till can count: each one that starts work is one activation.
//!
//! What a message means is a closed table per protocol; a type that is not in it is refused, because
//! nobody knows whether the provider would start working on it. A path or query that could open
//! another protocol than the ones known here opens none: the caller answers 426 and the client falls
//! back to HTTP.

pub mod realtime;

use till_core::path::FinalPath;

use crate::json::{self, Node};
use crate::pattern::{Comparable, Pattern};
use crate::provider::{Provider, Websockets};
pub use realtime::Realtime;

/// A protocol and what was seen of one connection so far. Made anew for every connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebsocketProtocol {
    /// OpenAI's Realtime API.
    OpenAiRealtime(Realtime),
    /// OpenAI's Responses API over a WebSocket.
    OpenAiResponses,
}

/// What a client message means for the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage {
    /// The provider starts working: one activation, held before the message is passed on.
    StartsWork,
    /// Passed on, costs nothing.
    Neutral,
    /// Must not be passed on. The text says why and what to do, for the developer of the client.
    Refused(String),
}

/// Query parameters that a countable WebSocket may be opened with. `intent` (transcription) and
/// `call_id` (a call whose media goes past till) are not among them.
const QUERY_PARAMETERS: [&str; 3] = ["model", "api-version", "deployment"];

impl Provider {
    /// The protocol of a WebSocket opened with this path and query, if till can count it.
    pub fn websocket(&self, path: &FinalPath, query: Option<&str>) -> Option<WebsocketProtocol> {
        let mut parameters = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let known = |pair: &str| {
            let name = pair.split('=').next().unwrap_or_default();
            QUERY_PARAMETERS.contains(&name)
        };
        if !parameters.all(known) {
            return None;
        }
        let path = Comparable::new(path);
        let is = |pattern| Pattern::new(pattern).matches(&path);
        let realtime = || Some(WebsocketProtocol::OpenAiRealtime(Realtime::default()));
        match self.websockets() {
            Websockets::OpenAi if is("/v1/realtime") => realtime(),
            Websockets::OpenAi if is("/v1/responses") => Some(WebsocketProtocol::OpenAiResponses),
            Websockets::Azure if is("/openai/v1/realtime") || is("/openai/realtime") => realtime(),
            _ => None,
        }
    }
}

impl WebsocketProtocol {
    /// The name in logs and documentation.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::OpenAiRealtime(_) => "openai-realtime",
            Self::OpenAiResponses => "openai-responses",
        }
    }

    /// Reads one complete text message of the client, before it is passed on. Binary messages are not
    /// part of these protocols; the caller refuses them.
    pub fn classify(&mut self, text: &[u8]) -> ClientMessage {
        let message = match json::parse(text) {
            Ok(message) => message,
            Err(error) => return refused(format!("The message is not understood: {error}.")),
        };
        let Some(kind) = message.field("type").and_then(Node::text) else {
            return refused("The message has no \"type\".");
        };
        match self {
            Self::OpenAiRealtime(state) => state.classify(kind, &message),
            Self::OpenAiResponses if runs_in_background(&message) => {
                refused("\"background\" is not open to scoped keys: the run goes on where till can't end it.")
            }
            Self::OpenAiResponses => match kind {
                // `response.steer` continues a response with more input, which is work of its own.
                "response.create" | "response.steer" => ClientMessage::StartsWork,
                _ => unknown(kind),
            },
        }
    }

    /// Looks at one complete text message of the provider, which is passed on whatever it is. The
    /// Realtime API says here which configuration is in force.
    pub fn observe(&mut self, text: &[u8]) {
        if let Self::OpenAiRealtime(state) = self {
            state.observe(text);
        }
    }
}

/// As in the body of a plain request, at the top or in the response that is asked for.
fn runs_in_background(message: &Node<'_>) -> bool {
    let is_set =
        |node: &Node<'_>| !matches!(node.field("background"), None | Some(Node::Null | Node::Bool(false)));
    is_set(message) || message.field("response").is_some_and(is_set)
}

fn refused(reason: impl Into<String>) -> ClientMessage {
    ClientMessage::Refused(reason.into())
}

/// The longest part of a message type that is repeated to the client.
const TYPE_SHOWN_MAX: usize = 64;

fn unknown(kind: &str) -> ClientMessage {
    let shown: String = kind.chars().take(TYPE_SHOWN_MAX).collect();
    refused(format!("till can't count messages of the type {shown:?} and doesn't pass them on."))
}

#[cfg(test)]
mod tests;
