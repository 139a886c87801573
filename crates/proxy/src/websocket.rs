//! WebSockets whose work can be counted: every client message that starts work is one activation.
//!
//! The hold that was taken to open the connection pays for the first such message; each further one takes its
//! own hold, durable before the message is sent. A connection that is opened and never used costs one.
//! Messages are relayed whole, so that each can be read (towards the provider) and searched for the upstream
//! key (towards the client). Extensions are not negotiated: compressed messages could not be read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::StatusCode;
use serde_json::json;
use till_core::denial::{Denial, DenialCode};
use till_core::limit::Units;
use till_core::redact::Redactor;
use till_providers::websocket::{ClientMessage, WebsocketProtocol};
use till_store::{Hold, Outcome};
use tokio::sync::oneshot;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};

use crate::admit::{Held, take_hold};
use crate::authenticate::Authenticated;
use crate::body::Answer;
use crate::forward::{Forwarded, clean_answer};
use crate::record::Record;
use crate::server::reached;
use crate::socket::Rewound;
use crate::{Inner, Stage};

type Socket = WebSocketStream<Rewound<crate::socket::Socket>>;

/// The largest message in either direction, in bytes: audio and images come in base64.
const MESSAGE_MAX: usize = 32 * 1024 * 1024;

/// How long a closing handshake may take.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(5);

/// Answers the client's upgrade and relays in a task of its own.
pub(crate) fn open(
    till: Arc<Inner>,
    key: Authenticated,
    protocol: WebsocketProtocol,
    forwarded: Forwarded,
    mut record: Box<Record>,
) -> Answer {
    let Forwarded { head, lease, held, .. } = forwarded;
    let Held { mut hold, measure, trace } = *held;
    if let Some(trace) = trace {
        trace.answered(StatusCode::SWITCHING_PROTOCOLS.as_u16(), Instant::now(), true);
    }
    if let Some(record) = hold.record_mut() {
        record.status = Some(StatusCode::SWITCHING_PROTOCOLS.as_u16());
        record.streamed = true;
    }
    record.asked_for(&measure);
    let mut fields = head.fields;
    record.echoes += clean_answer(&mut fields, &key.key().redactor);
    fields.remove("sec-websocket-extensions");
    record.status = Some(StatusCode::SWITCHING_PROTOCOLS);
    fields.push("connection", "Upgrade");
    fields.push("upgrade", "websocket");
    let tracker = till.connections.clone();
    let mut stage = till.stage.clone();
    let (upgrade, client) = oneshot::channel();
    let session = async move {
        let _open = Open::new(&till);
        let (Ok(client), Some(upstream)) = (client.await, lease.wire.into_rewound()) else { return };
        let config =
            WebSocketConfig::default().max_message_size(Some(MESSAGE_MAX)).max_frame_size(Some(MESSAGE_MAX));
        let client = WebSocketStream::from_raw_socket(client, Role::Server, Some(config)).await;
        let upstream = WebSocketStream::from_raw_socket(upstream, Role::Client, Some(config)).await;
        let session = Session { till, key, protocol, paid: Some(hold), record };
        session.run(client, upstream).await;
    };
    tracker.spawn(async move {
        tokio::select! {
            () = session => {}
            // Dropped as it is: what it holds is spent.
            () = reached(&mut stage, Stage::Cutting) => {}
        }
    });
    Answer { upgrade: Some(upgrade), ..Answer::ready(StatusCode::SWITCHING_PROTOCOLS, fields, Bytes::new()) }
}

/// Counts a session as open until it is dropped.
struct Open(Arc<Inner>);

impl Open {
    fn new(till: &Arc<Inner>) -> Self {
        till.metrics.websockets_open.enter();
        Self(Arc::clone(till))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.metrics.websockets_open.leave();
    }
}

struct Session {
    till: Arc<Inner>,
    key: Authenticated,
    protocol: WebsocketProtocol,
    /// The hold of the opening request, until the first message that starts work uses it.
    paid: Option<Hold>,
    record: Box<Record>,
}

/// Why a session ends.
enum End {
    KeyEnded(Denial),
    Stopping,
    Idle,
    ClientGone,
    UpstreamGone,
    /// One side closed properly, with this frame.
    Closed(Option<CloseFrame>),
}

impl End {
    /// The word in the log.
    fn as_str(&self) -> &'static str {
        match self {
            Self::KeyEnded(_) => "key_ended",
            Self::Stopping => "shutting_down",
            Self::Idle => "silence",
            Self::ClientGone => "client_gone",
            Self::UpstreamGone => "upstream_cut",
            Self::Closed(_) => "closed",
        }
    }

    /// What the client is told.
    fn frame(self) -> Option<CloseFrame> {
        let code = match self {
            Self::Closed(frame) => return frame,
            Self::KeyEnded(_) => CloseCode::Policy,
            Self::Stopping | Self::Idle => CloseCode::Away,
            Self::ClientGone | Self::UpstreamGone => CloseCode::Error,
        };
        Some(CloseFrame { code, reason: "".into() })
    }
}

/// What comes out of a socket.
type Received = Option<Result<Message, tokio_tungstenite::tungstenite::Error>>;

impl Session {
    /// Relays until one side or till ends it. Whatever is being sent then is given up: a side that has stopped
    /// reading holds nothing up.
    async fn run(mut self, mut client: Socket, mut upstream: Socket) {
        let mut key_ended = self.paid.as_ref().expect("just opened").key_ended();
        let mut stage = self.till.stage.clone();
        let end = tokio::select! {
            biased;
            denial = key_ended.wait() => End::KeyEnded(denial),
            () = reached(&mut stage, Stage::Stopping) => End::Stopping,
            end = self.relay(&mut client, &mut upstream) => end,
        };
        self.record.cut = Some(end.as_str());
        // Owns the socket, so that the provider is let go although the client takes its time.
        let close_upstream = async move {
            let _ = tokio::time::timeout(CLOSE_TIME_MAX, upstream.close(None)).await;
        };
        let close_client = tokio::time::timeout(CLOSE_TIME_MAX, async {
            if let End::KeyEnded(denial) = &end {
                let _ = client.send(error_event(denial)).await;
            }
            client.close(end.frame()).await
        });
        let ((), _) = tokio::join!(close_upstream, close_client);
    }

    async fn relay(&mut self, client: &mut Socket, upstream: &mut Socket) -> End {
        let idle = self.till.timeouts.idle;
        loop {
            let passed = async {
                tokio::select! {
                    message = client.next() => self.forward_message(message, client, upstream).await,
                    message = upstream.next() => self.relay_message(message, client).await,
                }
            };
            match tokio::time::timeout(idle, passed).await {
                Ok(Ok(())) => {}
                Ok(Err(end)) => return end,
                Err(_) => return End::Idle,
            }
        }
    }

    /// One message of the client: counted if it starts work, refused if it can't be understood.
    async fn forward_message(
        &mut self,
        message: Received,
        client: &mut Socket,
        upstream: &mut Socket,
    ) -> Result<(), End> {
        let message = match message {
            Some(Ok(message)) => message,
            Some(Err(_)) | None => return Err(End::ClientGone),
        };
        let hold = match &message {
            Message::Text(text) => match self.protocol.classify(text.as_bytes()) {
                ClientMessage::Neutral => None,
                ClientMessage::StartsWork => match self.pay().await {
                    Ok(hold) => Some(hold),
                    Err(denial) => return tell(client, &denial).await,
                },
                ClientMessage::Refused(reason) => return self.refuse(client, reason).await,
            },
            Message::Binary(_) => {
                return self.refuse(client, "Binary messages can't be read here. Send JSON text.").await;
            }
            Message::Close(frame) => return Err(End::Closed(frame.clone())),
            // Answered or expected by the library itself.
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return Ok(()),
        };
        // From here on the hold is spent, whatever happens to the message.
        let sent = upstream.send(message).await;
        if let Some(mut hold) = hold {
            self.till.metrics.websocket_messages.add(1);
            if let Some(record) = hold.record_mut() {
                record.outcome = Outcome::Unmetered;
            }
            hold.settle(Units::ONE_ACTIVATION);
        }
        sent.map_err(|_| End::UpstreamGone)
    }

    async fn refuse(&self, client: &mut Socket, reason: impl Into<String>) -> Result<(), End> {
        let denial = Denial::new(DenialCode::EndpointDenied, reason);
        self.till.store.denial_record(self.key.key().id, denial.code);
        tell(client, &denial).await
    }

    async fn pay(&mut self) -> Result<Hold, Denial> {
        match self.paid.take() {
            Some(hold) => Ok(hold),
            None => {
                let mut hold = take_hold(&self.till, &self.key, self.record.client).await?;
                hold.record_made(|request_id| self.record.usage(self.key.key().id, request_id));
                Ok(hold)
            }
        }
    }

    async fn relay_message(&mut self, message: Received, client: &mut Socket) -> Result<(), End> {
        let message = match message {
            Some(Ok(Message::Close(frame))) => return Err(End::Closed(self.redact_close(frame))),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => return Ok(()),
            Some(Ok(message)) => message,
            Some(Err(_)) | None => return Err(End::UpstreamGone),
        };
        if let Message::Text(text) = &message {
            self.protocol.observe(text.as_bytes());
        }
        self.record.bytes += message.len() as u64;
        let (message, echoed) = redact(&self.key.key().redactor, message);
        self.record.echoes += u64::from(echoed);
        client.send(message).await.map_err(|_| End::ClientGone)
    }

    /// The reason is text of the provider like any other.
    fn redact_close(&mut self, frame: Option<CloseFrame>) -> Option<CloseFrame> {
        let mut frame = frame?;
        if let Some(masked) = self.key.key().redactor.redact_all(frame.reason.as_bytes()) {
            self.record.echoes += 1;
            frame.reason = String::from_utf8(masked).expect("masking replaces ASCII by ASCII").into();
        }
        Some(frame)
    }
}

/// Tells the client why its message was not sent. A key that is used up stays open for what is under way.
async fn tell(client: &mut Socket, denial: &Denial) -> Result<(), End> {
    client.send(error_event(denial)).await.map_err(|_| End::ClientGone)
}

fn redact(redactor: &Redactor, message: Message) -> (Message, bool) {
    let Some(masked) = redactor.redact_all(&message.clone().into_data()) else {
        return (message, false);
    };
    let masked = match message {
        Message::Text(_) => {
            Message::Text(String::from_utf8(masked).expect("masking replaces ASCII by ASCII").into())
        }
        _ => Message::Binary(masked.into()),
    };
    (masked, true)
}

/// The error event of OpenAI's Realtime and Responses WebSockets.
fn error_event(denial: &Denial) -> Message {
    let event = json!({
        "type": "error",
        "status": crate::respond::status(denial.code).as_u16(),
        "error": {
            "type": "permission_error",
            "code": denial.code.as_str(),
            "message": denial.message,
            "param": null,
        },
    });
    Message::Text(event.to_string().into())
}
