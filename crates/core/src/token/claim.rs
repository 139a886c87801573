//! Claims: a scoped key that waits to be handed over by a link.
//!
//! The store keeps the scoped key encrypted; the secret that opens it is only in the link, behind the `#` that no
//! browser sends along. So whoever has the database has no key, and whoever sees the link's path has none either.
//!
//! `sealed = AES-256-GCM-SIV(key, nonce = 12 zero bytes, associated data = id, plaintext = scoped key)` with
//! `key = HKDF-SHA-256(secret, info = "till/v1/claim" ‖ id)`. The nonce may be zero because the key is used once.

use std::fmt;
use std::str::FromStr;

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::base62;
use crate::secret::Secret;

/// Purpose of the derived key.
const PURPOSE: &[u8] = b"till/v1/claim";

const ID_LEN: usize = 16;
const SECRET_LEN: usize = 32;

/// The public name of a claim: 16 random bytes, 22 letters or digits as a text. It opens nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimId(pub [u8; ID_LEN]);

impl fmt::Display for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&base62::encode(&self.0))
    }
}

impl fmt::Debug for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not the id of a claim.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the id of a claim is 22 letters or digits")]
pub struct NotAClaimId;

impl FromStr for ClaimId {
    type Err = NotAClaimId;

    fn from_str(text: &str) -> Result<Self, NotAClaimId> {
        // The length first, so that a stranger's text causes no work.
        if text.len() != 22 {
            return Err(NotAClaimId);
        }
        let bytes = base62::decode(text).ok_or(NotAClaimId)?;
        bytes.try_into().map(Self).map_err(|_| NotAClaimId)
    }
}

/// What only the link has: 32 random bytes, 44 letters or digits as a text. Like a [`Secret`] it can't be printed.
pub struct ClaimSecret(Zeroizing<[u8; SECRET_LEN]>);

impl ClaimSecret {
    /// Takes 32 fresh random bytes.
    pub fn from_bytes(bytes: [u8; SECRET_LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Reads it from a link; `None` when the text is not one.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 44 {
            return None;
        }
        let bytes = Zeroizing::new(base62::decode(text)?);
        Some(Self(Zeroizing::new(bytes.as_slice().try_into().ok()?)))
    }

    /// How it stands in the link.
    pub fn text(&self) -> Secret {
        Secret::new(base62::encode(&*self.0))
    }

    fn cipher(&self, id: &ClaimId) -> Aes256GcmSiv {
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(None, &*self.0)
            .expand_multi_info(&[PURPOSE, &id.0], &mut *key)
            .expect("no more than 255 × 32 bytes are derived");
        Aes256GcmSiv::new((&*key).into())
    }

    /// Encrypts a scoped key into what the store keeps. The secret must not be used for another one.
    pub fn seal(&self, id: &ClaimId, scoped_key: &Secret) -> Vec<u8> {
        self.cipher(id)
            .encrypt(&Nonce::default(), Payload { msg: scoped_key.reveal(), aad: &id.0 })
            .expect("a scoped key is far below AES-GCM-SIV's limit of 2³⁶ bytes")
    }

    /// The scoped key again; `None` when secret, id and ciphertext do not belong together.
    pub fn open(&self, id: &ClaimId, sealed: &[u8]) -> Option<Secret> {
        let opened = self.cipher(id).decrypt(&Nonce::default(), Payload { msg: sealed, aad: &id.0 });
        opened.ok().map(Secret::new)
    }
}

#[cfg(test)]
mod tests {
    use super::{ClaimId, ClaimSecret, NotAClaimId};
    use crate::secret::Secret;

    const ID: ClaimId = ClaimId([5; 16]);

    fn secret() -> ClaimSecret {
        ClaimSecret::from_bytes([9; 32])
    }

    #[test]
    fn a_scoped_key_comes_back_by_the_link() {
        let sealed = secret().seal(&ID, &Secret::new("till_sk_x"));
        assert_eq!(sealed.len(), "till_sk_x".len() + 16);
        let text = secret().text();
        let text = text.reveal_str().expect("digits are ASCII");
        let again = ClaimSecret::parse(text).expect("its own text");
        let id: ClaimId = ID.to_string().parse().expect("its own text");
        assert!(again.open(&id, &sealed).expect("it opens") == Secret::new("till_sk_x"));
    }

    #[test]
    fn what_was_changed_does_not_open() {
        let sealed = secret().seal(&ID, &Secret::new("till_sk_x"));
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(secret().open(&ID, &changed).is_none(), "bit {bit} of the ciphertext");
        }
        for bit in 0..128 {
            let mut id = ID;
            id.0[bit / 8] ^= 1 << (bit % 8);
            assert!(secret().open(&id, &sealed).is_none(), "bit {bit} of the id");
        }
        for bit in 0..256 {
            let mut bytes = [9; 32];
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(ClaimSecret::from_bytes(bytes).open(&ID, &sealed).is_none(), "bit {bit} of the secret");
        }
        for length in 0..sealed.len() {
            assert!(secret().open(&ID, &sealed[..length]).is_none(), "length {length}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let id = ID.to_string();
        assert_eq!(id.len(), 22);
        for text in ["", "claim.js", &id[1..], &format!("{id}0"), "zzzzzzzzzzzzzzzzzzzzzz", "……………………"]
        {
            assert_eq!(text.parse::<ClaimId>(), Err(NotAClaimId), "{text}");
        }
        let good = "0".repeat(44);
        assert!(ClaimSecret::parse(&good).is_some());
        for text in ["", &good[1..], &format!("{good}0"), &"z".repeat(44), &format!("{}-", &good[1..])] {
            assert!(ClaimSecret::parse(text).is_none(), "{text}");
        }
    }
}
