//! The body of an answer to a client, whichever part of till it comes from.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use http_body_util::combinators::UnsyncBoxBody;

use crate::relay::Relay;

/// Whatever may go wrong while a body is sent; hyper only needs to know that something did.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer of the control plane.
pub type OwnBody = UnsyncBoxBody<Bytes, BodyError>;

/// See the module documentation.
pub(crate) enum AnswerBody {
    /// A denial, or another small answer of the data plane itself.
    Ready(Full<Bytes>),
    /// Passed on from a provider. Boxed: it is large, and moved several times before it is polled.
    Relay(Box<Relay>),
    /// From the control plane.
    Own(OwnBody),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Ready(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Relay(body) => Pin::new(body.as_mut()).poll_frame(cx),
            Self::Own(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Ready(body) => body.is_end_stream(),
            Self::Relay(body) => body.is_end_stream(),
            Self::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Ready(body) => body.size_hint(),
            Self::Relay(body) => body.size_hint(),
            Self::Own(body) => body.size_hint(),
        }
    }
}
