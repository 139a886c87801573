//! Requests that make a key and can be sent again: the same request answers the same key and makes no second one.
//!
//! Nothing is kept for it but a hash in the row of the key. The random part of the token is derived from who asks and the
//! `Idempotency-Key`, and sealing is deterministic, so that the same request makes the same token again; what was asked
//! for is compared by a hash over that token, which says nothing to who has no master key.

use axum::http::HeaderMap;
use serde_json::Value;
use sha2::{Digest, Sha256};
use till_core::key::KeyId;
use till_core::token::{Minted, token_fingerprint};
use till_store::{KeyRecord, Store};

use crate::authenticate::Caller;
use crate::error::{ApiError, ErrorCode};

/// The header (IETF draft "The Idempotency-Key HTTP Header Field").
const HEADER: &str = "idempotency-key";

/// Longest value.
const BYTES_MAX: usize = 255;

/// A request that can be sent again.
pub(crate) struct Repeatable {
    actor: String,
    key: Vec<u8>,
}

impl Repeatable {
    /// `None` for a request without the header.
    ///
    /// # Errors
    /// The header stands twice, or is empty, too long or no visible ASCII.
    pub(crate) fn of(headers: &HeaderMap, caller: &Caller) -> Result<Option<Self>, ApiError> {
        let mut values = headers.get_all(HEADER).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let bytes = value.as_bytes();
        let plain = bytes.iter().all(|byte| (b' '..=b'~').contains(byte));
        if values.next().is_some() || bytes.is_empty() || bytes.len() > BYTES_MAX || !plain {
            let message = "`Idempotency-Key` is one value of 1 to 255 visible ASCII characters";
            return Err(ApiError::new(ErrorCode::InvalidField, message));
        }
        Ok(Some(Self { actor: caller.actor().id.clone(), key: bytes.to_owned() }))
    }

    /// What stands in the place of the random part of a token.
    pub(crate) fn random_id(&self, instance: &[u8; 16]) -> [u8; 16] {
        let digest = hash(b"till/v1/idempotency-id", &[instance, self.actor.as_bytes(), &self.key]);
        let (id, _) = digest.split_first_chunk().expect("32 bytes begin with 16");
        *id
    }
}

/// What was asked for, as a hash: the body without the upstream key, which is in the token.
pub(crate) fn fingerprint(body: &[u8], minted: &Minted) -> Result<[u8; 32], ApiError> {
    let mut body: Value =
        serde_json::from_slice(body).map_err(|_| ApiError::plain(ErrorCode::MalformedJson))?;
    if let Value::Object(fields) = &mut body {
        fields.retain(|name, _| name != "upstream_key" && name != "upstreamKey");
    }
    let token = minted.scoped_key.reveal_str().expect("a scoped key is ASCII");
    let (token, body) = (token_fingerprint(token), body.to_string());
    Ok(hash(b"till/v1/idempotency-request", &[&token, body.as_bytes()]))
}

/// The key that the same request made earlier.
///
/// # Errors
/// It was another request.
pub(crate) async fn repeated(
    store: &Store,
    id: KeyId,
    request: Option<[u8; 32]>,
) -> Result<KeyRecord, ApiError> {
    let found = store.key_fetch(id).await?.filter(|key| key.request == request);
    found.ok_or_else(|| ApiError::plain(ErrorCode::IdempotencyMismatch))
}

fn hash(domain: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(domain);
    for part in parts {
        // usize has at most 64 bits on every platform Rust supports.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
