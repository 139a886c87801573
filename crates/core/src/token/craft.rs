//! For tests: tokens that no [`KeyRing`] would make, by somebody who has the master key or only a token.

use super::payload::{Fingerprint, Header, TokenKeys, next_tag};
use super::{IndexKey, KeyRing, MasterKey, Minted, SCOPED_KEY_PREFIX, checked_text};
use crate::secret::Secret;
use crate::upstream::{Placement, Upstream};

pub(super) const INSTANCE: [u8; 16] = [0x1d; 16];
pub(super) const MASTER: [u8; 32] = [0x3a; 32];
pub(super) const RANDOM_ID: [u8; 16] = *b"sixteen bytes id";

pub(super) fn ring_of(master: [u8; 32], instance: [u8; 16]) -> KeyRing {
    KeyRing::new(MasterKey::from_bytes(master), instance, IndexKey::from_bytes([0x1e; 32]))
}

pub(super) fn ring() -> KeyRing {
    ring_of(MASTER, INSTANCE)
}

pub(super) fn upstream(key: &str) -> Upstream {
    Upstream {
        key: Secret::new(key),
        provider: "openai".into(),
        origin: "https://api.openai.com".into(),
        placement: Placement::Header { name: "authorization".into(), template: "Bearer {key}".into() },
    }
}

pub(super) fn text(token: &Secret) -> &str {
    token.reveal_str().expect("tokens are ASCII")
}

pub(super) fn mint(ring: &KeyRing, key: &str, random_id: [u8; 16]) -> Minted {
    ring.mint(&upstream(key), random_id).unwrap_or_else(|error| panic!("{error}"))
}

pub(super) fn payload_of(token: &Secret) -> Vec<u8> {
    checked_text::read(SCOPED_KEY_PREFIX, text(token)).expect("minted tokens have the form").to_vec()
}

/// The token of any bytes, with a right checksum.
pub(super) fn token_of(payload: &[u8]) -> Secret {
    checked_text::write(SCOPED_KEY_PREFIX, payload)
}

/// `payload` with its last 32 bytes replaced by the blocks and `tag`.
pub(super) fn with_blocks(payload: &[u8], blocks: &[&[u8]], tag: [u8; 32]) -> Secret {
    let mut bytes = payload[..payload.len() - 32].to_vec();
    for block in blocks {
        bytes.extend_from_slice(&u16::try_from(block.len()).expect("short blocks").to_be_bytes());
        bytes.extend_from_slice(block);
    }
    bytes.extend_from_slice(&tag);
    token_of(&bytes)
}

/// The tag that a holder of `payload` computes for these blocks.
pub(super) fn chain(payload: &[u8], blocks: &[&[u8]]) -> [u8; 32] {
    let tag = *payload.last_chunk().expect("a payload ends with its tag");
    blocks.iter().fold(tag, |tag, block| next_tag(&tag, block).expect("short blocks"))
}

/// A payload whose commitment and tag are right, around any sealed part.
pub(super) fn genuine(sealed: impl FnOnce(&TokenKeys, &Header) -> Vec<u8>) -> Secret {
    let master = MasterKey::from_bytes(MASTER);
    let header = Header::new(master.id(), Fingerprint::of(&INSTANCE), RANDOM_ID);
    let keys = TokenKeys::derive(&master, &header);
    let whole = payload_of(&mint(&ring(), "sk-12345", RANDOM_ID).scoped_key);
    let commitment = &whole[27..59];
    let sealed = sealed(&keys, &header);
    let tag = keys.first_tag(&header, commitment, &sealed).expect("short enough");
    let length = u16::try_from(sealed.len()).expect("short enough").to_be_bytes();
    token_of(&[&header.0[..], commitment, &length, &sealed, &tag].concat())
}
