//! The index key, which turns the random id in a token into the public id of its row, and how it is stored.
//!
//! It is drawn once when an instance is set up and never changes, so that a rotation of the master key
//! changes no id. In the database it is wrapped by the master key:
//! `version 1 · master-key id 4 · AES-256-GCM-SIV of 32 bytes, 48`.

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use zeroize::Zeroizing;

use super::{MasterKey, MasterKeyId};
use crate::secret::Secret;

const VERSION: u8 = 1;
const PREAMBLE_LEN: usize = 5;
const WRAPPED_LEN: usize = PREAMBLE_LEN + 32 + 16;

/// 32 random bytes. Like a [`Secret`](crate::secret::Secret) it can't be printed.
#[derive(Clone)]
pub struct IndexKey(Secret);

impl IndexKey {
    /// Takes 32 random bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::new(*Zeroizing::new(bytes)))
    }

    pub(super) fn reveal(&self) -> &[u8] {
        self.0.reveal()
    }
}

/// Why a wrapped index key can't be unwrapped. The messages are for the operator at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrapError {
    /// It was wrapped by another master key.
    #[error(
        "master key {given} doesn't belong to this data directory, which was set up with master key {expected}: \
         put the right master key back"
    )]
    WrongMasterKey {
        /// The master key that wrapped it.
        expected: MasterKeyId,
        /// The master key that was given.
        given: MasterKeyId,
    },
    /// Another length, or the master key is the right one and it doesn't open under this instance id.
    #[error(
        "the wrapped index key of this data directory is damaged: restore the data directory from a backup"
    )]
    Damaged,
    /// A newer till wrapped it.
    #[error("the index key of this data directory was wrapped by a newer till (version {0}): update till")]
    UnsupportedVersion(u8),
}

/// What the database keeps instead of the index key.
pub fn wrap_index_key(index_key: &IndexKey, master: &MasterKey, instance_id: &[u8; 16]) -> Vec<u8> {
    let mut wrapped = vec![VERSION];
    wrapped.extend_from_slice(&master.id().0);
    let sealed = cipher(master, instance_id)
        .encrypt(&Nonce::default(), Payload { msg: index_key.reveal(), aad: &wrapped })
        .expect("32 bytes are below AES-GCM-SIV's limit");
    wrapped.extend_from_slice(&sealed);
    wrapped
}

/// Undoes [`wrap_index_key`].
///
/// # Errors
/// [`WrapError::WrongMasterKey`] is the one that operators meet: the master key was replaced or lost.
pub fn unwrap_index_key(
    wrapped: &[u8],
    master: &MasterKey,
    instance_id: &[u8; 16],
) -> Result<IndexKey, WrapError> {
    match wrapped.first() {
        Some(&VERSION) if wrapped.len() == WRAPPED_LEN => {}
        Some(&VERSION) | None => return Err(WrapError::Damaged),
        Some(&version) => return Err(WrapError::UnsupportedVersion(version)),
    }
    let (preamble, sealed) = wrapped.split_at(PREAMBLE_LEN);
    let expected = MasterKeyId(*preamble.last_chunk().expect("the preamble ends with the 4 bytes of the id"));
    let given = master.id();
    if expected != given {
        return Err(WrapError::WrongMasterKey { expected, given });
    }
    let bytes = cipher(master, instance_id)
        .decrypt(&Nonce::default(), Payload { msg: sealed, aad: preamble })
        .map(Zeroizing::new)
        .map_err(|_| WrapError::Damaged)?;
    if bytes.len() != 32 {
        return Err(WrapError::Damaged);
    }
    Ok(IndexKey(Secret::new(bytes.as_slice())))
}

/// The master key that an index key was wrapped by; `None` when it says none.
pub fn index_key_wrapped_by(wrapped: &[u8]) -> Option<MasterKeyId> {
    let (version, rest) = wrapped.split_first()?;
    (*version == VERSION).then(|| rest.first_chunk().copied().map(MasterKeyId)).flatten()
}

/// The nonce is all zero: this key seals one value, the index key of this instance, and sealing the same
/// value again gives the same bytes.
fn cipher(master: &MasterKey, instance_id: &[u8; 16]) -> Aes256GcmSiv {
    let key = master.derive::<32>(&[b"till/v1/index-wrap", instance_id]);
    Aes256GcmSiv::new((&*key).into())
}

#[cfg(test)]
mod tests {
    use super::{IndexKey, WrapError, unwrap_index_key, wrap_index_key};
    use crate::token::MasterKey;

    const INSTANCE: [u8; 16] = [9; 16];

    fn master(byte: u8) -> MasterKey {
        MasterKey::from_bytes([byte; 32])
    }

    fn unwrap(wrapped: &[u8]) -> Result<Vec<u8>, WrapError> {
        unwrap_index_key(wrapped, &master(1), &INSTANCE).map(|key| key.reveal().to_vec())
    }

    #[test]
    fn round_trips() {
        let wrapped = wrap_index_key(&IndexKey::from_bytes([3; 32]), &master(1), &INSTANCE);
        assert_eq!(wrapped.len(), 53);
        assert_eq!(unwrap(&wrapped), Ok(vec![3; 32]));
    }

    #[test]
    fn another_master_key_is_named() {
        let wrapped = wrap_index_key(&IndexKey::from_bytes([3; 32]), &master(2), &INSTANCE);
        let error = unwrap(&wrapped).expect_err("wrapped by another key");
        assert_eq!(error, WrapError::WrongMasterKey { expected: master(2).id(), given: master(1).id() });
        assert!(error.to_string().contains(&master(2).id().to_string()), "{error}");
        assert!(error.to_string().contains("put the right master key back"), "{error}");
    }

    #[test]
    fn another_instance_is_refused() {
        let wrapped = wrap_index_key(&IndexKey::from_bytes([3; 32]), &master(1), &[8; 16]);
        assert_eq!(unwrap(&wrapped), Err(WrapError::Damaged));
    }

    #[test]
    fn every_flipped_bit_and_every_other_length_is_refused() {
        let wrapped = wrap_index_key(&IndexKey::from_bytes([3; 32]), &master(1), &INSTANCE);
        for bit in 0..wrapped.len() * 8 {
            let mut changed = wrapped.clone();
            changed[bit / 8] ^= 0x80 >> (bit % 8);
            let right = match unwrap(&changed) {
                Err(WrapError::UnsupportedVersion(_)) => bit < 8,
                Err(WrapError::WrongMasterKey { .. }) => (8..40).contains(&bit),
                Err(WrapError::Damaged) => bit >= 40,
                Ok(_) => false,
            };
            assert!(right, "bit {bit}");
        }
        for length in 0..wrapped.len() {
            assert_eq!(unwrap(&wrapped[..length]), Err(WrapError::Damaged), "length {length}");
        }
        assert_eq!(unwrap(&[&wrapped[..], &[0]].concat()), Err(WrapError::Damaged));
    }
}
