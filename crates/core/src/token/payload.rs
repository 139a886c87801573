//! The bytes of a scoped key: their structure, the keys that belong to them, and the tag chain.
//!
//! ```text
//! header 27 = version 1 · master-key id 4 · instance fingerprint 6 · random key id 16
//! commitment 32 · length 2 · sealed · (length 2 · block)* · tag 32
//! ```
//! All lengths are big-endian. There is one way to read any byte string, and [`Payload::parse`] reads all
//! of it or nothing.

use aes_gcm_siv::aead::{Aead, KeyInit, Payload as Sealing};
use aes_gcm_siv::{Aes256GcmSiv, Nonce};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{MasterKey, MasterKeyId, TokenError, hmac};

/// The only version so far: sealed with AES-256-GCM-SIV. Version 2 is reserved for AES-256-GCM.
const VERSION: u8 = 1;
const HEADER_LEN: usize = 27;
const COMMITMENT_LEN: usize = 32;
const TAG_LEN: usize = 32;

/// Every block costs an HMAC before the token is known to be genuine, so their number is bounded.
pub(super) const BLOCKS_MAX: usize = 16;

/// Six bytes that tell instances apart, so that a key that is sent to the wrong one gets a helpful answer.
/// They are no secret and prove nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(pub(super) [u8; 6]);

impl Fingerprint {
    pub(super) fn of(instance_id: &[u8; 16]) -> Self {
        let hash = Sha256::new().chain_update(b"till/v1/instance").chain_update(instance_id).finalize();
        Self(*hash.first_chunk().expect("a SHA-256 hash has 32 bytes"))
    }
}

/// What the keys of a token are derived from. Everything in it is readable by everybody.
#[derive(Clone, Copy)]
pub(super) struct Header(pub(super) [u8; HEADER_LEN]);

impl Header {
    pub(super) fn new(master: MasterKeyId, instance: Fingerprint, random_id: [u8; 16]) -> Self {
        let mut bytes = [0; HEADER_LEN];
        bytes[0] = VERSION;
        bytes[1..5].copy_from_slice(&master.0);
        bytes[5..11].copy_from_slice(&instance.0);
        bytes[11..].copy_from_slice(&random_id);
        Self(bytes)
    }

    pub(super) fn master_key_id(&self) -> MasterKeyId {
        MasterKeyId(self.field(1))
    }

    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint(self.field(5))
    }

    pub(super) fn random_id(&self) -> [u8; 16] {
        self.field(11)
    }

    fn field<const N: usize>(&self, start: usize) -> [u8; N] {
        *self.0[start..].first_chunk().expect("every field lies inside of the header")
    }
}

/// The three keys of one token.
pub(super) struct TokenKeys {
    pub(super) seal: Zeroizing<[u8; 32]>,
    pub(super) commitment: Zeroizing<[u8; COMMITMENT_LEN]>,
    pub(super) tag_root: Zeroizing<[u8; 32]>,
}

impl TokenKeys {
    pub(super) fn derive(master: &MasterKey, header: &Header) -> Self {
        Self {
            seal: master.derive(&[b"till/v1/seal", &header.0]),
            commitment: master.derive(&[b"till/v1/commit", &header.0]),
            tag_root: master.derive(&[b"till/v1/tag", &header.0]),
        }
    }

    /// The nonce is all zero because the key is used for this one message: the header it is derived from
    /// has a random id. Should that repeat, AES-GCM-SIV still reveals only whether contents are equal.
    pub(super) fn seal(&self, header: &Header, contents: &[u8]) -> Vec<u8> {
        Aes256GcmSiv::new((&*self.seal).into())
            .encrypt(&Nonce::default(), Sealing { msg: contents, aad: &header.0 })
            .expect("the contents are far below AES-GCM-SIV's limit of 2³⁶ bytes")
    }

    pub(super) fn unseal(&self, header: &Header, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        Aes256GcmSiv::new((&*self.seal).into())
            .decrypt(&Nonce::default(), Sealing { msg: sealed, aad: &header.0 })
            .map(Zeroizing::new)
            .ok()
    }

    pub(super) fn first_tag(
        &self,
        header: &Header,
        commitment: &[u8],
        sealed: &[u8],
    ) -> Option<[u8; TAG_LEN]> {
        Some(hmac(&*self.tag_root, &[&header.0, commitment, &length(sealed)?, sealed]))
    }
}

/// The tag of a chain that is one block longer. It needs nothing but the tag before, so every holder can
/// narrow a key, and it hides that tag, so nobody can take a block off.
pub(super) fn next_tag(tag: &[u8; TAG_LEN], block: &[u8]) -> Option<[u8; TAG_LEN]> {
    Some(hmac(tag, &[b"block", &length(block)?, block]))
}

fn length(bytes: &[u8]) -> Option<[u8; 2]> {
    u16::try_from(bytes.len()).ok().map(u16::to_be_bytes)
}

/// A payload without blocks, or `None` when the sealed part is too long for its length field.
pub(super) fn assemble(keys: &TokenKeys, header: &Header, contents: &[u8]) -> Option<Vec<u8>> {
    let sealed = keys.seal(header, contents);
    let tag = keys.first_tag(header, &*keys.commitment, &sealed)?;
    Some([&header.0[..], &*keys.commitment, &length(&sealed)?, &sealed, &tag].concat())
}

/// A payload whose structure is right. Nothing in it is to be believed before [`Payload::is_genuine`].
pub(super) struct Payload<'a> {
    pub(super) header: Header,
    pub(super) commitment: &'a [u8; COMMITMENT_LEN],
    pub(super) sealed: &'a [u8],
    pub(super) blocks: Vec<&'a [u8]>,
    pub(super) tag: &'a [u8; TAG_LEN],
}

impl<'a> Payload<'a> {
    /// The version stands first and is looked at first: another version may have another structure.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, TokenError> {
        match bytes.first() {
            None => Err(TokenError::Malformed),
            Some(&VERSION) => Self::parse_version_1(bytes).ok_or(TokenError::Malformed),
            Some(&version) => Err(TokenError::UnsupportedVersion(version)),
        }
    }

    fn parse_version_1(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk()?;
        let (commitment, rest) = rest.split_first_chunk()?;
        let (sealed, mut rest) = split_prefixed(rest)?;
        let mut blocks = Vec::new();
        while rest.len() > TAG_LEN {
            if blocks.len() == BLOCKS_MAX {
                return None;
            }
            let (block, after) = split_prefixed(rest)?;
            blocks.push(block);
            rest = after;
        }
        let tag = rest.try_into().ok()?;
        Some(Self { header: Header(*header), commitment, sealed, blocks, tag })
    }

    /// Whether commitment and tag are those of this master key. Both are always computed and compared in
    /// constant time, so that an answer says nothing about how near a forgery came.
    pub(super) fn is_genuine(&self, keys: &TokenKeys) -> bool {
        let first = keys.first_tag(&self.header, self.commitment, self.sealed);
        let last =
            self.blocks.iter().try_fold(first, |tag, block| Some(tag.and_then(|tag| next_tag(&tag, block))));
        let Some(Some(expected)) = last else {
            return false;
        };
        let committed = keys.commitment.ct_eq(self.commitment);
        (committed & expected.ct_eq(self.tag)).into()
    }
}

/// What a 2-byte length announces, and the rest.
fn split_prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(*length).into())
}
