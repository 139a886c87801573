//! The body of an answer to a client, whichever part of till it comes from.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use http_body_util::combinators::UnsyncBoxBody;

use crate::front::Busy;
use crate::relay::Relay;

/// Whatever may go wrong while a body is sent; hyper only needs to know that something did.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer of the control plane.
pub type OwnBody = UnsyncBoxBody<Bytes, BodyError>;

/// See the module documentation.
pub(crate) struct AnswerBody {
    kind: Kind,
    /// The client waits for us as long as this is alive.
    _busy: Busy,
}

/// Where a body comes from.
pub(crate) enum Kind {
    /// A denial, or another small answer of the data plane itself.
    Ready(Full<Bytes>),
    /// Passed on from a provider. Boxed: it is large, and moved several times before it is polled.
    Relay(Box<Relay>),
    /// From the control plane.
    Own(OwnBody),
}

impl Kind {
    pub(crate) fn ready(bytes: impl Into<Bytes>) -> Self {
        Self::Ready(Full::new(bytes.into()))
    }

    pub(crate) fn guarded_by(self, busy: Busy) -> AnswerBody {
        AnswerBody { kind: self, _busy: busy }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.get_mut().kind {
            Kind::Ready(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Kind::Relay(body) => Pin::new(body.as_mut()).poll_frame(cx),
            Kind::Own(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Ready(body) => body.is_end_stream(),
            Kind::Relay(body) => body.is_end_stream(),
            Kind::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Ready(body) => body.size_hint(),
            Kind::Relay(body) => body.size_hint(),
            Kind::Own(body) => body.size_hint(),
        }
    }
}
