//! Reads the few request bodies that have to be known before a request is admitted.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, HeaderMap};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use till_core::denial::{Denial, DenialCode};
use till_providers::denied_field::DeniedField;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Inner;

/// The longest body that is read, in bytes: images and files come in base64.
const BODY_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// All bodies that are in memory at once, in bytes.
const TOTAL_BYTES_MAX: u32 = 512 * 1024 * 1024;

/// The room for all bodies.
pub(crate) fn room() -> Semaphore {
    Semaphore::new(TOTAL_BYTES_MAX as usize)
}

/// A body in memory, and the room that it takes until this is dropped.
pub(crate) struct Inspected {
    pub(crate) body: Full<Bytes>,
    pub(crate) room: OwnedSemaphorePermit,
}

/// Reads a body and refuses it if it sets the field.
///
/// # Errors
/// `endpoint_denied` for the field; `malformed_request`, `body_too_large` or `overloaded` when it can't be read.
pub(crate) async fn inspect(
    till: &Inner,
    headers: &HeaderMap,
    body: Incoming,
    field: &DeniedField,
) -> Result<Inspected, Denial> {
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(Denial::new(
            DenialCode::MalformedRequest,
            "A compressed body can't be read here. Send it without Content-Encoding.",
        ));
    }
    // Without a length as much as is allowed may come.
    let length = body.size_hint().upper().and_then(|length| u32::try_from(length).ok());
    let wanted = length.unwrap_or(BODY_BYTES_MAX).min(BODY_BYTES_MAX);
    let room = Arc::clone(&till.room_for_bodies).try_acquire_many_owned(wanted).map_err(|_| {
        Denial::new(DenialCode::Overloaded, "till holds as many request bodies as it may. Try again shortly.")
    })?;
    let whole = Limited::new(body, BODY_BYTES_MAX as usize).collect();
    // Whoever sends it slowly takes room from others.
    let whole = tokio::time::timeout(till.timeouts.idle, whole).await.map_err(|_| {
        Denial::new(DenialCode::MalformedRequest, "The body of this request took too long to arrive.")
    })?;
    let body = whole.map_err(|error| {
        if error.is::<LengthLimitError>() {
            let message = format!("The body of this request is longer than {BODY_BYTES_MAX} bytes.");
            return Denial::new(DenialCode::BodyTooLarge, message);
        }
        broken_body()
    })?;
    let body = body.to_bytes();
    match field.is_set(&body) {
        Ok(false) => Ok(Inspected { body: Full::new(body), room }),
        Ok(true) => Err(Denial::new(
            DenialCode::EndpointDenied,
            format!(
                "{:?} is not open to scoped keys: {}. Leave it out, or ask whoever minted this key to do it for you.",
                field.name, field.reason
            ),
        )),
        Err(error) => {
            Err(Denial::new(DenialCode::MalformedRequest, format!("This request is refused: {error}.")))
        }
    }
}

/// The answer to a body that did not come to its end.
pub(crate) fn broken_body() -> Denial {
    Denial::new(
        DenialCode::MalformedRequest,
        "The body of this request broke off, or is not framed as RFC 9112 says.",
    )
}
