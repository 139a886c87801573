//! The keys of the audit log: what signs its checkpoints, and what turns a token into a hash that may
//! stand in it.
//!
//! Both are derived from the index key, which is drawn once and wrapped by the master key. So they can't
//! be made from the database alone, and a rotation of the master key changes neither: the public key that
//! an auditor wrote down stays the right one.

use std::fmt;

use ed25519_dalek::{Signer, SigningKey};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{ADMIN_TOKEN_PREFIX, IndexKey, admin_token_hash, hmac, token_fingerprint};
use crate::audit::{AuditPublicKey, ChainHead, Checkpoint};
use crate::time::Timestamp;

/// See the module. Cloning copies secrets, which are wiped when dropped.
#[derive(Clone)]
pub struct AuditKeys {
    signing: SigningKey,
    hashing: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for AuditKeys {
    /// The public part alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AuditKeys").field(&self.public_key().id()).finish()
    }
}

impl AuditKeys {
    /// The keys of the instance that has this index key.
    pub fn derive(index_key: &IndexKey) -> Self {
        let signing = expand(index_key, b"till/v1/audit-signing");
        Self {
            signing: SigningKey::from_bytes(&signing),
            hashing: expand(index_key, b"till/v1/audit-token-hash"),
        }
    }

    /// What checkpoints are verified with.
    pub fn public_key(&self) -> AuditPublicKey {
        AuditPublicKey(self.signing.verifying_key().to_bytes())
    }

    /// Signs where the chain stands.
    pub fn checkpoint(&self, instance_id: [u8; 16], head: ChainHead, at: Timestamp) -> Checkpoint {
        let key_id = self.public_key().id();
        let unsigned =
            Checkpoint { instance_id, seq: head.seq, hash: head.hash, at, key_id, signature: [0; 64] };
        Checkpoint { signature: self.signing.sign(&unsigned.signed_bytes()).to_bytes(), ..unsigned }
    }

    /// What the log says in place of a scoped key or an admin token.
    pub fn token_hash(&self, token: &str) -> [u8; 32] {
        if token.starts_with(ADMIN_TOKEN_PREFIX) {
            self.hash_of(&admin_token_hash(token))
        } else {
            self.hash_of(&token_fingerprint(token))
        }
    }

    /// The same for a token of which only its hash is known: [`token_fingerprint`] of a scoped key,
    /// [`admin_token_hash`] of an admin token.
    pub fn hash_of(&self, hash: &[u8; 32]) -> [u8; 32] {
        hmac(&*self.hashing, &[b"token", hash])
    }

    /// What the log says in place of the value of a setting: only whether it is the same as before.
    pub fn setting_hash(&self, name: &str, value: &str) -> [u8; 32] {
        // The name is one of ours and has no zero byte.
        hmac(&*self.hashing, &[b"setting", name.as_bytes(), &[0], value.as_bytes()])
    }
}

/// HKDF-SHA-256 without salt; no purpose is the start of another one.
fn expand(index_key: &IndexKey, purpose: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut derived = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(None, index_key.reveal())
        .expand(purpose, &mut *derived)
        .expect("no more than 255 × 32 bytes are derived");
    derived
}

#[cfg(test)]
mod tests {
    use super::AuditKeys;
    use crate::token::{IndexKey, token_fingerprint};

    #[test]
    fn hashes_are_keyed_and_for_one_purpose() {
        let keys = |byte| AuditKeys::derive(&IndexKey::from_bytes([byte; 32]));
        let hash = keys(1).token_hash("till_sk_a");
        assert_eq!(hash, keys(1).token_hash("till_sk_a"));
        for other in [
            keys(1).token_hash("till_sk_b"),
            keys(2).token_hash("till_sk_a"),
            keys(1).setting_hash("till_sk_a", ""),
            token_fingerprint("till_sk_a"),
        ] {
            assert_ne!(hash, other);
        }
        assert_ne!(keys(1).setting_hash("a", "b"), keys(1).setting_hash("a", "c"));
        assert_ne!(keys(1).setting_hash("a", "b"), keys(1).setting_hash("b", "b"));
    }

    #[test]
    fn debug_shows_no_secret() {
        let keys = AuditKeys::derive(&IndexKey::from_bytes([1; 32]));
        assert_eq!(format!("{keys:?}"), format!("AuditKeys({})", keys.public_key().id()));
    }
}
