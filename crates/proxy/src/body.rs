//! Bodies and answers, whichever part of till or version of HTTP they come from.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use till_core::fields::Fields;
use tokio::sync::oneshot;
use tokio::time::Sleep;

use crate::http1::Inbound;
use crate::relay::Relay;
use crate::socket::{Rewound, Socket};

/// Whatever may go wrong while a body is read or sent.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer of the control plane.
pub type OwnBody = UnsyncBoxBody<Bytes, BodyError>;

/// The body of a request as the client sends it, with HTTP/1 or HTTP/2, and without trailers: those would pass what is
/// said of headers.
pub struct RequestBody {
    source: Either<Inbound<Socket>, Incoming>,
    /// Present where all of it must come in time.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    pub(crate) fn of_http1(body: Inbound<Socket>) -> Self {
        Self { source: Either::Left(body), deadline: None }
    }

    pub(crate) fn of_http2(body: Incoming) -> Self {
        Self { source: Either::Right(body), deadline: None }
    }

    /// The same body, which breaks off if not all of it is there after so long a time.
    pub(crate) fn within(mut self, time: Duration) -> Self {
        if !self.is_end_stream() {
            self.deadline = Some(Box::pin(tokio::time::sleep(time)));
        }
        self
    }

    /// How long it is, if all of it has come in one piece.
    pub(crate) fn whole_length(&self) -> Option<usize> {
        match &self.source {
            Either::Left(body) => body.whole_length(),
            Either::Right(_) => None,
        }
    }

    /// All of it, once that is known to have come.
    pub(crate) fn take_whole(&mut self) -> Bytes {
        match &self.source {
            Either::Left(body) => body.take_whole(),
            Either::Right(_) => Bytes::new(),
        }
    }

    /// Whether what seems to be the end is none. The library takes a stream that the client resets without an error for
    /// one that has ended: fit for an answer, but not for a request.
    fn is_cut_off(&self) -> bool {
        matches!(&self.source, Either::Right(body) if !body.is_end_stream())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        loop {
            match Pin::new(&mut this.source).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => {}
                Poll::Ready(None) if this.is_cut_off() => {
                    return Poll::Ready(Some(Err("the client broke off".into())));
                }
                Poll::Pending => {
                    let Some(deadline) = &mut this.deadline else { return Poll::Pending };
                    ready!(deadline.as_mut().poll(cx));
                    return Poll::Ready(Some(Err("the body took too long to arrive".into())));
                }
                frame => return frame,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.source.size_hint()
    }
}

/// An answer to a client.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) fields: Fields,
    pub(crate) body: AnswerBody,
    /// Gets the connection once the head is written: it speaks another protocol from then on.
    pub(crate) upgrade: Option<oneshot::Sender<UpgradedClient>>,
}

/// A client's connection that does not speak HTTP any more.
pub(crate) type UpgradedClient = Rewound<Socket>;

/// Where the body of an answer comes from.
pub(crate) enum AnswerBody {
    /// A denial, or another small answer of the data plane itself.
    Ready(Full<Bytes>),
    /// Passed on from a provider. Boxed: it is large, and moved several times before it is polled.
    Relay(Box<Relay>),
    /// From the control plane.
    Own(OwnBody),
}

impl AnswerBody {
    pub(crate) fn ready(bytes: impl Into<Bytes>) -> Self {
        Self::Ready(Full::new(bytes.into()))
    }
}

impl Answer {
    /// A small answer of the data plane itself.
    pub(crate) fn ready(status: StatusCode, fields: Fields, body: impl Into<Bytes>) -> Self {
        Self { status, fields, body: AnswerBody::ready(body), upgrade: None }
    }

    /// An answer of the control plane.
    pub(crate) fn own(response: Response<OwnBody>) -> Self {
        let (parts, body) = response.into_parts();
        let fields = fields_of(&parts.headers);
        Self { status: parts.status, fields, body: AnswerBody::Own(body), upgrade: None }
    }

    /// Whether the control plane gives it.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self.body, AnswerBody::Own(_))
    }

    /// As HTTP/2 has it.
    pub(crate) fn into_response(self) -> Response<AnswerBody> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = header_map(&self.fields);
        response
    }
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

/// Fields as the libraries for HTTP/2 and for the control plane have them.
pub(crate) fn header_map(fields: &Fields) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields.iter() {
        // What came in through one of the two is what the other one takes.
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            map.append(name, value);
        }
    }
    map
}

/// The other way round.
pub(crate) fn fields_of(map: &HeaderMap) -> Fields {
    map.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect()
}
