//! Request bodies: streamed through, unless something has to be known of them before the request is admitted.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Either, Full};
use till_core::denial::{Denial, DenialCode};
use till_core::fields::Fields;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Inner;
use crate::body::RequestBody;
use crate::connect::OutboundBody;

/// The longest body that is read, in bytes: images and files come in base64.
const BODY_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// All bodies that are in memory at once, in bytes.
const TOTAL_BYTES_MAX: u32 = 512 * 1024 * 1024;

/// Room is taken in pieces of this size while a body arrives.
const ROOM_STEP: u32 = 64 * 1024;

/// The room for all bodies.
pub(crate) fn room() -> Semaphore {
    Semaphore::new(TOTAL_BYTES_MAX as usize)
}

/// The body of a request on its way to the provider.
pub(crate) enum Body {
    /// Not looked at.
    Stream(RequestBody),
    /// In memory, with the room that it takes.
    Whole(Bytes, OwnedSemaphorePermit),
}

impl Body {
    /// Reads it, if that has not been done.
    ///
    /// # Errors
    /// `malformed_request`, `body_too_large` or `overloaded` when it can't be read.
    pub(crate) async fn read(self, till: &Inner, fields: &Fields) -> Result<(Self, Bytes), Denial> {
        let (bytes, room) = match self {
            Self::Stream(body) => whole(till, fields, body).await?,
            Self::Whole(bytes, room) => (bytes, room),
        };
        Ok((Self::Whole(bytes.clone(), room), bytes))
    }

    /// The same for one that has come already, as most have with their head. `None` says nothing of any other: [`Self::read`] it.
    pub(crate) fn read_at_once(&mut self, till: &Inner, fields: &Fields) -> Option<Bytes> {
        let Self::Stream(body) = self else { return None };
        if fields.contains("content-encoding") {
            return None;
        }
        let length = u32::try_from(body.whole_length()?).ok().filter(|length| *length <= ROOM_STEP)?;
        let room = take_room(&till.room_for_bodies, length).ok()?;
        let bytes = body.take_whole();
        *self = Self::Whole(bytes.clone(), room);
        Some(bytes)
    }

    /// What goes out: `rewritten` if that is what the provider gets instead. The room is given back when the
    /// second value is dropped.
    pub(crate) fn into_outbound(
        self,
        rewritten: Option<Bytes>,
    ) -> (OutboundBody, Option<OwnedSemaphorePermit>) {
        match self {
            Self::Stream(body) => (Either::Left(body), None),
            Self::Whole(bytes, room) => (Either::Right(Full::new(rewritten.unwrap_or(bytes))), Some(room)),
        }
    }
}

async fn whole(
    till: &Inner,
    fields: &Fields,
    body: RequestBody,
) -> Result<(Bytes, OwnedSemaphorePermit), Denial> {
    if fields.contains("content-encoding") {
        return Err(Denial::new(
            DenialCode::MalformedRequest,
            "A compressed body can't be read here. Send it without Content-Encoding.",
        ));
    }
    // Whoever sends it slowly takes room from others.
    tokio::time::timeout(till.timeouts.idle, collect(&till.room_for_bodies, body)).await.unwrap_or_else(
        |_| {
            Err(Denial::new(
                DenialCode::MalformedRequest,
                "The body of this request took too long to arrive.",
            ))
        },
    )
}

async fn collect(
    room: &Arc<Semaphore>,
    mut body: RequestBody,
) -> Result<(Bytes, OwnedSemaphorePermit), Denial> {
    let known = body.size_hint().exact();
    if known.is_some_and(|length| length > u64::from(BODY_BYTES_MAX)) {
        return Err(too_large());
    }
    // Room is taken for what has arrived: an announced length is only a promise.
    let first = known.and_then(|length| u32::try_from(length).ok()).unwrap_or(ROOM_STEP).min(ROOM_STEP);
    let mut permit = take_room(room, first)?;
    let mut bytes = BytesMut::with_capacity(first as usize);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| broken_body())?.into_data() else { continue };
        let length = bytes.len() + data.len();
        if length > BODY_BYTES_MAX as usize {
            return Err(too_large());
        }
        while permit.num_permits() < length {
            permit.merge(take_room(room, ROOM_STEP)?);
        }
        bytes.extend_from_slice(&data);
    }
    Ok((bytes.freeze(), permit))
}

fn take_room(room: &Arc<Semaphore>, bytes: u32) -> Result<OwnedSemaphorePermit, Denial> {
    Arc::clone(room).try_acquire_many_owned(bytes).map_err(|_| {
        Denial::new(DenialCode::Overloaded, "till holds as many request bodies as it may. Try again shortly.")
    })
}

fn too_large() -> Denial {
    let message = format!("The body of this request is longer than {BODY_BYTES_MAX} bytes.");
    Denial::new(DenialCode::BodyTooLarge, message)
}

/// The answer to a body that did not come to its end.
pub(crate) fn broken_body() -> Denial {
    Denial::new(
        DenialCode::MalformedRequest,
        "The body of this request broke off, or is not framed as RFC 9112 says.",
    )
}
