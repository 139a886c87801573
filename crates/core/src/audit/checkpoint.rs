//! Checkpoints: signed statements of where the chain stood.
//!
//! A chain shows that its entries belong together; a signature shows that it was this instance that said
//! so. The signing key is not in the database in any form that opens without the master key
//! ([`crate::token::AuditKeys`]), so whoever can only write the database can't make a checkpoint.

use std::fmt;

use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

use super::{AuditHash, ChainHead};
use crate::hex::{from_hex, to_hex};
use crate::time::Timestamp;

/// Separates what is signed here from whatever else the key could sign, and names the version.
const DOMAIN: &[u8] = b"till/v1/audit-checkpoint";

/// Separates this use of SHA-256 from every other one.
const KEY_ID_DOMAIN: &[u8] = b"till/v1/audit-key-id";

/// Which key signed: 8 bytes of a hash of the public key, written as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuditKeyId(pub [u8; 8]);

impl fmt::Display for AuditKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for AuditKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An Ed25519 public key, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AuditPublicKey(pub [u8; 32]);

impl AuditPublicKey {
    /// Its id: the first 8 bytes of SHA-256 over `till/v1/audit-key-id` and the key.
    pub fn id(&self) -> AuditKeyId {
        let hash = Sha256::new().chain_update(KEY_ID_DOMAIN).chain_update(self.0).finalize();
        AuditKeyId(*hash.first_chunk().expect("a SHA-256 has 32 bytes"))
    }

    /// Reads 64 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        from_hex(text).map(Self)
    }
}

impl fmt::Display for AuditPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for AuditPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A signed statement: at this time the newest entry had this number and this hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The instance whose log it is.
    pub instance_id: [u8; 16],
    /// Number of the newest entry.
    pub seq: u64,
    /// Its hash.
    pub hash: AuditHash,
    /// When it was signed.
    pub at: Timestamp,
    /// By which key.
    pub key_id: AuditKeyId,
    /// Ed25519 over [`Checkpoint::signed_bytes`].
    pub signature: [u8; 64],
}

impl Checkpoint {
    /// What is signed: the domain, then instance id, number, hash, time and key id, each with its length
    /// in front as 8 bytes; numbers have 8 bytes, all big-endian.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = DOMAIN.to_vec();
        let (seq, at) = (self.seq.to_be_bytes(), self.at.0.to_be_bytes());
        for field in [&self.instance_id[..], &seq, &self.hash, &at, &self.key_id.0] {
            // usize has at most 64 bits on every platform Rust supports.
            bytes.extend_from_slice(&(field.len() as u64).to_be_bytes());
            bytes.extend_from_slice(field);
        }
        bytes
    }

    /// Whether this key signed it.
    pub fn is_signed_by(&self, key: &AuditPublicKey) -> bool {
        let signature = Signature::from_bytes(&self.signature);
        key.id() == self.key_id
            && VerifyingKey::from_bytes(&key.0)
                .is_ok_and(|verifying| verifying.verify_strict(&self.signed_bytes(), &signature).is_ok())
    }

    /// What it says of the chain.
    pub fn head(&self) -> ChainHead {
        ChainHead { seq: self.seq, hash: self.hash }
    }
}

#[cfg(test)]
mod tests {
    use super::{AuditKeyId, AuditPublicKey};
    use crate::audit::{Checkpoint, GENESIS};
    use crate::hex::to_hex;
    use crate::time::Timestamp;
    use crate::token::{AuditKeys, IndexKey};

    fn keys() -> AuditKeys {
        AuditKeys::derive(&IndexKey::from_bytes([9; 32]))
    }

    fn checkpoint() -> Checkpoint {
        keys().checkpoint([1; 16], crate::audit::ChainHead { seq: 7, hash: [3; 32] }, Timestamp(1_000))
    }

    #[test]
    fn every_change_breaks_the_signature() {
        type Change = fn(&mut Checkpoint);
        let public = keys().public_key();
        assert!(checkpoint().is_signed_by(&public));
        let changes: &[Change] = &[
            |c| c.instance_id[0] ^= 1,
            |c| c.seq += 1,
            |c| c.hash = GENESIS,
            |c| c.at.0 += 1,
            |c| c.key_id.0[7] ^= 1,
            |c| c.signature[0] ^= 1,
            |c| c.signature[63] ^= 1,
            |c| c.signature = [0; 64],
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut changed = checkpoint();
            change(&mut changed);
            assert!(!changed.is_signed_by(&public), "change {number}");
        }
        let other = AuditKeys::derive(&IndexKey::from_bytes([8; 32])).public_key();
        assert!(!checkpoint().is_signed_by(&other));
        // A key that everything would be signed by.
        assert!(
            !Checkpoint { key_id: AuditPublicKey([0; 32]).id(), signature: [0; 64], ..checkpoint() }
                .is_signed_by(&AuditPublicKey([0; 32]))
        );
    }

    #[test]
    fn the_encoding_is_fixed() {
        // A checkpoint of an older version must still be verifiable: these never change.
        assert_eq!(
            keys().public_key().to_string(),
            "0850e0992527e8578cb7fca380d79e2fcd1cac84ea5503b6bf4c67bcb5df0c13"
        );
        assert_eq!(checkpoint().key_id.to_string(), "864f48b051d88d71");
        assert_eq!(
            to_hex(&checkpoint().signature),
            "caeef70ee615b63910710793e532ad07c05bbdb1818eab601907fe8056e77d59e2ce4c492b60ec9378ae8af91269893f620166d02c21d328f7425fd015b6a90b"
        );
    }

    #[test]
    fn an_id_is_written_in_digits() {
        assert_eq!(AuditKeyId([1; 8]).to_string(), "0101010101010101");
    }
}
