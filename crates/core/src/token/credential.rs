//! Upstream keys that an administrator has stored by name, as the database keeps them.
//!
//! `version 2 · master-key id 4 · AES-256-GCM-SIV of the contents`. The contents are those of a token with a key: where the
//! key goes and how is sealed with it, so that neither a provider that is configured at another address later nor a
//! request can have it sent there. The key of the cipher is derived from the master key, the instance and the name;
//! associated data are the 5 bytes before, the fingerprint of the instance, the name and the provider. So what is sealed
//! under one name opens under no other one, for no other provider and nowhere else: whoever can write to the database
//! can't have a key sent to another place by putting it under a name that goes there.

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use zeroize::Zeroizing;

use super::payload::Fingerprint;
use super::{MasterKey, MasterKeyId, MintError, contents};
use crate::upstream::{SealedUpstream, Upstream};

/// Version 1 was the key alone.
const VERSION: u8 = 2;
const PREAMBLE_LEN: usize = 5;

/// What a stored upstream key is called and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialLabel<'a> {
    /// Its name.
    pub name: &'a str,
    /// Id of its provider.
    pub provider: &'a str,
}

/// Why a stored upstream key can't be unsealed. It says nothing about the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// It was altered, or sealed under another name, for another provider or by another instance.
    #[error("it is damaged, or was not sealed under this name and for this provider")]
    Damaged,
    /// Another till sealed it, in a way that this one doesn't know.
    #[error(
        "another till sealed it, in version {0}, which this one does not read: give it its upstream key again"
    )]
    UnsupportedVersion(u8),
    /// This till doesn't have the master key that sealed it.
    #[error("master key {0}, which sealed it, is not here")]
    UnknownMasterKey(MasterKeyId),
    /// The master key that sealed it was retired.
    #[error("master key {0}, which sealed it, was retired")]
    RetiredMasterKey(MasterKeyId),
}

/// The master key that a stored upstream key was sealed by; `None` when it says none.
pub fn credential_sealed_by(sealed: &[u8]) -> Option<MasterKeyId> {
    sealed_by(sealed).ok()
}

pub(super) fn sealed_by(sealed: &[u8]) -> Result<MasterKeyId, CredentialError> {
    match sealed.split_first() {
        Some((&VERSION, rest)) => {
            rest.first_chunk().copied().map(MasterKeyId).ok_or(CredentialError::Damaged)
        }
        Some((&version, _)) => Err(CredentialError::UnsupportedVersion(version)),
        None => Err(CredentialError::Damaged),
    }
}

pub(super) fn seal(
    master: &MasterKey,
    instance_id: &[u8; 16],
    name: &str,
    upstream: &Upstream,
) -> Result<Vec<u8>, MintError> {
    let label = CredentialLabel { name, provider: &upstream.provider };
    let contents = contents::encode(upstream).ok_or(MintError::TooLong)?;
    let mut sealed = vec![VERSION];
    sealed.extend_from_slice(&master.id().0);
    let aad = associated(&sealed, instance_id, label);
    let ciphertext = cipher(master, instance_id, label)
        .encrypt(&Nonce::default(), Payload { msg: &contents, aad: &aad })
        .expect("four texts are far below AES-GCM-SIV's limit");
    sealed.extend_from_slice(&ciphertext);
    Ok(sealed)
}

/// `master` must be the one that [`sealed_by`] names.
pub(super) fn unseal(
    master: &MasterKey,
    instance_id: &[u8; 16],
    label: CredentialLabel<'_>,
    sealed: &[u8],
) -> Result<Upstream, CredentialError> {
    let (preamble, ciphertext) = sealed.split_at_checked(PREAMBLE_LEN).ok_or(CredentialError::Damaged)?;
    let aad = associated(preamble, instance_id, label);
    let contents = cipher(master, instance_id, label)
        .decrypt(&Nonce::default(), Payload { msg: ciphertext, aad: &aad })
        .map(Zeroizing::new)
        .map_err(|_| CredentialError::Damaged)?;
    match contents::decode(&contents) {
        Some(SealedUpstream::Key(upstream)) if upstream.provider == label.provider => Ok(upstream),
        _ => Err(CredentialError::Damaged),
    }
}

/// The nonce is all zero: the name has a cipher of its own, and sealing another key under it reveals, thanks to SIV, only
/// whether it is the same key again.
fn cipher(master: &MasterKey, instance_id: &[u8; 16], label: CredentialLabel<'_>) -> Aes256GcmSiv {
    let key = master.derive::<32>(&[b"till/v1/credential", instance_id, label.name.as_bytes()]);
    Aes256GcmSiv::new((&*key).into())
}

fn associated(preamble: &[u8], instance_id: &[u8; 16], label: CredentialLabel<'_>) -> Vec<u8> {
    // usize has at most 64 bits on every platform Rust supports.
    let length = (label.name.len() as u64).to_be_bytes();
    let fingerprint = Fingerprint::of(instance_id).0;
    [preamble, &fingerprint, &length, label.name.as_bytes(), label.provider.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::{CredentialError, CredentialLabel, credential_sealed_by};
    use crate::token::craft::{INSTANCE, MASTER, ring, ring_of, upstream};
    use crate::token::{KeyRing, MasterKey};
    use crate::upstream::Placement;

    const KEY: &str = "sk-real-0123456789";

    fn label<'a>(name: &'a str, provider: &'a str) -> CredentialLabel<'a> {
        CredentialLabel { name, provider }
    }

    fn seal(ring: &KeyRing) -> Vec<u8> {
        ring.seal_credential("prod", &upstream(KEY)).expect("it is short")
    }

    fn unseal(ring: &KeyRing, of: (&str, &str), sealed: &[u8]) -> Result<String, CredentialError> {
        let found = ring.unseal_credential(label(of.0, of.1), sealed)?;
        Ok(found.key.reveal_str().expect("it is text").to_owned())
    }

    #[test]
    fn round_trips_and_names_its_master_key() {
        let sealed = seal(&ring());
        assert_eq!(credential_sealed_by(&sealed), Some(MasterKey::from_bytes(MASTER).id()));
        assert!(!sealed.windows(8).any(|part| part == &KEY.as_bytes()[..8]));
        assert_eq!(unseal(&ring(), ("prod", "openai"), &sealed), Ok(KEY.to_owned()));
    }

    #[test]
    fn where_the_key_goes_is_sealed_with_it() {
        let mut to = upstream(KEY);
        to.origin = "http://10.0.0.5:8080/v1".into();
        to.placement = Placement::Query { name: "key".into() };
        let sealed = ring().seal_credential("prod", &to).expect("it is short");
        let found = ring().unseal_credential(label("prod", "openai"), &sealed);
        assert!(found.is_ok_and(|found| found == to));
    }

    #[test]
    fn opens_under_no_other_name_provider_instance_or_master_key() {
        let sealed = seal(&ring());
        for of in [("test", "openai"), ("prod", "anthropic"), ("pro", "dopenai"), ("prodopenai", "")] {
            assert_eq!(unseal(&ring(), of, &sealed), Err(CredentialError::Damaged), "{of:?}");
        }
        let elsewhere = ring_of(MASTER, [0x1e; 16]);
        assert_eq!(unseal(&elsewhere, ("prod", "openai"), &sealed), Err(CredentialError::Damaged));
        let master = MasterKey::from_bytes(MASTER).id();
        let other = ring_of([0x3b; 32], INSTANCE);
        let unknown = Err(CredentialError::UnknownMasterKey(master));
        assert_eq!(unseal(&other, ("prod", "openai"), &sealed), unknown);
    }

    #[test]
    fn every_flipped_bit_and_every_other_length_is_refused() {
        let sealed = seal(&ring());
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 0x80 >> (bit % 8);
            let right = match unseal(&ring(), ("prod", "openai"), &changed) {
                Err(CredentialError::UnsupportedVersion(_)) => bit < 8,
                Err(CredentialError::UnknownMasterKey(_)) => (8..40).contains(&bit),
                Err(CredentialError::Damaged) => bit >= 40,
                Err(CredentialError::RetiredMasterKey(_)) | Ok(_) => false,
            };
            assert!(right, "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert!(unseal(&ring(), ("prod", "openai"), &sealed[..length]).is_err(), "length {length}");
        }
        let longer = [&sealed[..], &[0]].concat();
        assert_eq!(unseal(&ring(), ("prod", "openai"), &longer), Err(CredentialError::Damaged));
    }

    #[test]
    fn follows_the_master_key() {
        let ring = ring();
        let of = label("prod", "openai");
        let first = seal(&ring);
        assert_eq!(ring.reseal_credential(of, &first), Ok(None));
        let (old, new) = (ring.master_key_id(), MasterKey::from_bytes([5; 32]));
        let id = new.id();
        ring.rotate(new);
        let second =
            ring.reseal_credential(of, &first).expect("the old one is here").expect("it is sealed anew");
        assert_eq!(credential_sealed_by(&second), Some(id));
        ring.retire(old).expect("it is not the current one");
        assert_eq!(unseal(&ring, ("prod", "openai"), &second), Ok(KEY.to_owned()));
        let retired = Err(CredentialError::RetiredMasterKey(old));
        assert_eq!(unseal(&ring, ("prod", "openai"), &first), retired);
    }
}
