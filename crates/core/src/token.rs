//! Scoped keys: how one is minted, and how one is opened again.
//!
//! A scoped key carries its upstream key in sealed form, or the name under which an administrator has stored it, so that
//! neither the database nor the holder can use that key without the master key. The bytes are specified in `docs/token-format.md`; examples that
//! another implementation can check itself against are in `docs/token-vectors.json`.
//!
//! Invariants:
//! - [`KeyRing::open`] accepts exactly the strings that [`KeyRing::mint`] can make for the same instance
//!   and one of its master keys. Every change to such a string is refused, and so is every other spelling of it.
//! - Whether a key is genuine says nothing about whether it may still be used: status and limits are in the
//!   store, never in the token.
//! - Nothing here prints a credential: errors name what is wrong with a token, never a part of it.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use crate::key::KeyId;
use crate::secret::Secret;
use crate::upstream::{SealedUpstream, UpstreamKeyError};

mod admin;
mod audit_keys;
mod checked_text;
mod claim;
mod contents;
#[cfg(test)]
mod craft;
mod credential;
mod credential_keys;
mod index_key;
mod key_ring;
mod master_key;
mod payload;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

pub use admin::{ADMIN_TOKEN_PREFIX, AdminTokenError, admin_token_hash, check_admin_token, mint_admin_token};
pub use audit_keys::AuditKeys;
pub use claim::{ClaimId, ClaimSecret, NotAClaimId};
pub use credential::{CredentialError, CredentialLabel, credential_sealed_by};
pub use credential_keys::{CredentialFound, CredentialKey, CredentialKeys};
pub use index_key::{IndexKey, WrapError, index_key_wrapped_by, unwrap_index_key, wrap_index_key};
pub use key_ring::{KeyRing, RetireError};
pub use master_key::{MASTER_KEY_PREFIX, MasterKey, MasterKeyError, MasterKeyId, NotAMasterKeyId};

use checked_text::TextError;

/// What every scoped key starts with.
pub const SCOPED_KEY_PREFIX: &str = "till_sk_";

/// The longest scoped key, in characters. It bounds the work that a stranger's string can cause, and it
/// stays within the header sizes that common HTTP servers and proxies allow.
pub const SCOPED_KEY_LEN_MAX: usize = 8192;

/// A new scoped key.
pub struct Minted {
    /// What the agent gets. It is shown once and stored nowhere.
    pub scoped_key: Secret,
    /// Its public name, and the key of its row in the store.
    pub id: KeyId,
    /// Which master key it was made under.
    pub master_key: MasterKeyId,
}

/// What a genuine scoped key says. That it opened doesn't mean that it may be used: its row decides.
pub struct Opened {
    /// Its public name, and the key of its row in the store.
    pub id: KeyId,
    /// The real key or its name, and the only place where it may go.
    pub upstream: SealedUpstream,
}

/// Why no scoped key could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// The upstream key breaks a rule of [`check_upstream_key`](crate::upstream::check_upstream_key).
    #[error(transparent)]
    UpstreamKey(#[from] UpstreamKeyError),
    /// Key, origin and placement together don't fit into a scoped key.
    #[error(
        "the upstream key, its origin and its placement are too long for a scoped key of {SCOPED_KEY_LEN_MAX} characters"
    )]
    TooLong,
}

/// Why a string is not a scoped key of this instance, in the order in which it is found out. The messages
/// are for the developer who sent the string; they tell nothing that the string itself doesn't say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Another prefix.
    #[error("this is not a till scoped key: a scoped key starts with `{SCOPED_KEY_PREFIX}`")]
    NotAScopedKey,
    /// More than [`SCOPED_KEY_LEN_MAX`] characters.
    #[error("a scoped key has at most {SCOPED_KEY_LEN_MAX} characters")]
    TooLong,
    /// The checksum is missing or doesn't fit: a typing error, or only a part of the key was copied.
    #[error("the scoped key is damaged or incomplete, its checksum doesn't fit: copy the whole key again")]
    Checksum,
    /// The checksum fits, but what it covers is not the one encoding of a payload.
    #[error("the scoped key has no valid structure: till did not make it")]
    Malformed,
    /// A format version that this program can't open.
    #[error("the scoped key has format version {0}, this till opens version 1 only")]
    UnsupportedVersion(u8),
    /// Made by another till instance.
    #[error("the scoped key belongs to another till instance: check the base URL")]
    OtherInstance,
    /// Made by this instance under a master key that it doesn't have.
    #[error("the scoped key was made under master key {0}, which this till doesn't have")]
    UnknownMasterKey(MasterKeyId),
    /// Made by this instance under a master key that an admin has retired.
    #[error("the scoped key was made under master key {0}, which was retired")]
    RetiredMasterKey(MasterKeyId),
    /// The commitment or the tag is wrong. Which of them is not told.
    #[error("the scoped key was altered: its tag doesn't fit")]
    Forged,
    /// A genuine key that was narrowed by its holder.
    #[error("the scoped key was narrowed by its holder, which is not yet supported")]
    BlocksUnsupported,
    /// A genuine key whose sealed contents this program can't read.
    #[error("the scoped key is genuine, but a newer till wrote its contents")]
    UnsupportedContents,
}

impl TokenError {
    /// A stable word for metrics, logs and the test vectors.
    pub fn reason(self) -> &'static str {
        match self {
            Self::NotAScopedKey => "not_a_scoped_key",
            Self::TooLong => "too_long",
            Self::Checksum => "checksum",
            Self::Malformed => "malformed",
            Self::UnsupportedVersion(_) => "unsupported_version",
            Self::OtherInstance => "other_instance",
            Self::UnknownMasterKey(_) => "unknown_master_key",
            Self::RetiredMasterKey(_) => "retired_master_key",
            Self::Forged => "forged",
            Self::BlocksUnsupported => "blocks_unsupported",
            Self::UnsupportedContents => "unsupported_contents",
        }
    }
}

impl From<TextError> for TokenError {
    fn from(error: TextError) -> Self {
        match error {
            TextError::Prefix => Self::NotAScopedKey,
            TextError::Checksum => Self::Checksum,
            TextError::Digits => Self::Malformed,
        }
    }
}

/// SHA-256 of the whole string: what a scoped key may be recognised by where it must not be kept.
pub fn token_fingerprint(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// HMAC-SHA-256 of the parts, one after the other.
fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
