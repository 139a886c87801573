//! Requests that make something and can be sent again: the same request answers the same thing and makes no second one.
//!
//! Nothing is kept for it but a hash: of a key in its row, of other things as one more way to find them. The random part of the token is derived from who asks and the
//! `Idempotency-Key`, and sealing is deterministic, so that the same request makes the same token again; what was asked
//! for is compared by a hash over that token, which says nothing to who has no master key.

use axum::http::HeaderMap;
use serde_json::Value;
use sha2::{Digest, Sha256};
use till_core::audit::Actor;
use till_core::hex::to_hex;
use till_core::key::KeyId;
use till_core::token::{Minted, token_fingerprint};
use till_store::{Entity, Kept, KeyRecord, Lookup, Put, Store, StoreError};

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

    /// An id for what is made, where ids are given here.
    pub(crate) fn id(&self, prefix: &str, instance: &[u8; 16]) -> String {
        format!("{prefix}{}", &to_hex(&self.seed(instance))[..20])
    }

    /// What an admin token is made from.
    pub(crate) fn seed(&self, instance: &[u8; 16]) -> [u8; 32] {
        hash(b"till/v1/idempotency-seed", &[instance, self.actor.as_bytes(), &self.key])
    }

    /// What finds the thing that the same request made. Secrets of the body are not in it: a hash of them could be guessed.
    pub(crate) fn lookup(&self, body: &[u8]) -> Result<Lookup, ApiError> {
        let body = without_secrets(body)?;
        let parts: [&[u8]; 3] = [self.actor.as_bytes(), &self.key, body.as_bytes()];
        Ok(Lookup { hash: hash(b"till/v1/idempotency-entity", &parts), until: None })
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
    let body = without_secrets(body)?;
    let token = minted.scoped_key.reveal_str().expect("a scoped key is ASCII");
    Ok(hash(b"till/v1/idempotency-request", &[&token_fingerprint(token), body.as_bytes()]))
}

/// A body as text of one spelling.
fn without_secrets(body: &[u8]) -> Result<String, ApiError> {
    let mut body: Value =
        serde_json::from_slice(body).map_err(|_| ApiError::plain(ErrorCode::MalformedJson))?;
    if let Value::Object(fields) = &mut body {
        fields.retain(|name, _| !SECRETS.contains(&name.as_str()));
    }
    Ok(body.to_string())
}

/// Fields that are secrets.
const SECRETS: [&str; 3] = ["upstream_key", "upstreamKey", "password"];

/// Makes something, or finds what the same request made before.
pub(crate) async fn make<T: Entity>(
    store: &Store,
    mut put: Put<T>,
    repeated: Option<Lookup>,
    (action, detail): (&str, Value),
    actor: &Actor,
) -> Result<Kept<T>, ApiError> {
    let Some(lookup) = repeated else { return Ok(store.entity_put(put, action, detail, actor).await?) };
    if let Some(found) = store.entity_find(lookup.hash).await? {
        return Ok(found);
    }
    put.lookups.get_or_insert_default().push(lookup);
    let id = put.id.clone();
    match store.entity_put(put, action, detail, actor).await {
        Err(StoreError::Conflict { .. }) => {}
        done => return Ok(done?),
    }
    // The same request was faster, or another one has this word, or somebody else has the name.
    if let Some(found) = store.entity_find(lookup.hash).await? {
        return Ok(found);
    }
    let is_given_here = id.starts_with("tok_") || id.starts_with("mem_");
    match store.entity_fetch::<T>(&id).await? {
        Some(_) if is_given_here => Err(ApiError::plain(ErrorCode::IdempotencyMismatch)),
        _ => Err(StoreError::Conflict { what: id }.into()),
    }
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
