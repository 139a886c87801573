//! The master key, from which every other key of an instance is derived.

use std::fmt;
use std::str::FromStr;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::checked_text::{self, TextError};
use crate::secret::Secret;

/// What the text form of a master key starts with.
pub const MASTER_KEY_PREFIX: &str = "till_master_";

const KEY_LEN: usize = 32;

/// The one secret of an instance that is kept outside of its database: 32 random bytes.
///
/// Like a [`Secret`] it has no `Debug`, `Display` or `Serialize`, and is wiped from memory when dropped.
///
/// ```compile_fail
/// println!("{:?}", till_core::token::MasterKey::from_bytes([0; 32]));
/// ```
#[derive(Clone)]
pub struct MasterKey {
    /// [`KEY_LEN`] bytes, which stay where they are when this is moved: an array would be copied, and what is left behind is
    /// wiped by nobody.
    bytes: Secret,
    id: MasterKeyId,
}

/// Which master key something was made under, without saying anything about that key: 4 derived bytes,
/// written as 8 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MasterKeyId(pub [u8; 4]);

impl fmt::Display for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for MasterKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that names no master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id of a master key has 8 hexadecimal digits")]
pub struct NotAMasterKeyId;

impl FromStr for MasterKeyId {
    type Err = NotAMasterKeyId;

    fn from_str(text: &str) -> Result<Self, NotAMasterKeyId> {
        if text.len() != 8 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(NotAMasterKeyId);
        }
        u32::from_str_radix(text, 16).map(|id| Self(id.to_be_bytes())).map_err(|_| NotAMasterKeyId)
    }
}

/// Why a text is not a master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MasterKeyError {
    /// Neither of the two forms.
    #[error("a master key is `{MASTER_KEY_PREFIX}…` as till wrote it, or 64 hexadecimal digits")]
    NotAMasterKey,
    /// The right prefix with a wrong checksum.
    #[error("the master key is damaged or incomplete, its checksum doesn't fit: restore it from your copy")]
    Checksum,
}

impl MasterKey {
    /// Takes 32 random bytes.
    pub fn from_bytes(bytes: [u8; KEY_LEN]) -> Self {
        Self::of(Secret::new(*Zeroizing::new(bytes)))
    }

    /// `bytes` are [`KEY_LEN`].
    fn of(bytes: Secret) -> Self {
        let id = MasterKeyId(*derive(bytes.reveal(), &[b"till/v1/master-key-id"]));
        Self { bytes, id }
    }

    /// Reads what [`MasterKey::to_text`] wrote, or 64 hexadecimal digits as `openssl rand -hex 32` and key
    /// management systems give them. White space around it, such as a file's last line break, is ignored.
    ///
    /// # Errors
    /// [`MasterKeyError`] for any other text; it repeats no part of it.
    pub fn parse(text: &str) -> Result<Self, MasterKeyError> {
        let text = text.trim_ascii();
        if let Some(bytes) = from_hex(text) {
            return Ok(Self::of(bytes));
        }
        let bytes = checked_text::read(MASTER_KEY_PREFIX, text).map_err(|error| match error {
            TextError::Checksum => MasterKeyError::Checksum,
            TextError::Prefix | TextError::Digits => MasterKeyError::NotAMasterKey,
        })?;
        if bytes.len() != KEY_LEN {
            return Err(MasterKeyError::NotAMasterKey);
        }
        Ok(Self::of(Secret::new(bytes.as_slice())))
    }

    /// The form for a file: `till_master_`, 44 base62 digits, `_`, and a checksum of 6. No line break.
    pub fn to_text(&self) -> Secret {
        checked_text::write(MASTER_KEY_PREFIX, self.bytes.reveal())
    }

    /// Its public name.
    pub fn id(&self) -> MasterKeyId {
        self.id
    }

    /// HKDF-SHA-256 without salt. `info` starts with a purpose `till/v1/…`; no purpose is the start of
    /// another one, so that two purposes never derive the same key.
    pub(super) fn derive<const N: usize>(&self, info: &[&[u8]]) -> Zeroizing<[u8; N]> {
        derive(self.bytes.reveal(), info)
    }
}

fn derive<const N: usize>(key: &[u8], info: &[&[u8]]) -> Zeroizing<[u8; N]> {
    let mut derived = Zeroizing::new([0; N]);
    Hkdf::<Sha256>::new(None, key)
        .expand_multi_info(info, &mut *derived)
        .expect("no more than 255 × 32 bytes are derived");
    derived
}

fn from_hex(text: &str) -> Option<Secret> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_LEN));
    if text.len() != 2 * KEY_LEN || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for digits in text.as_bytes().chunks(2) {
        let digits = std::str::from_utf8(digits).expect("all are ASCII");
        bytes.push(u8::from_str_radix(digits, 16).expect("both are hexadecimal digits"));
    }
    Some(Secret::new(std::mem::take(&mut *bytes)))
}

#[cfg(test)]
mod tests {
    use super::{MasterKey, MasterKeyError};

    /// Without the secret, which has no `Debug`.
    fn check(text: &str, expected: Result<[u8; 32], MasterKeyError>) {
        let parsed = MasterKey::parse(text).map(|key| key.bytes.reveal().to_vec());
        assert_eq!(parsed, expected.map(|bytes| bytes.to_vec()), "{text:?}");
    }

    #[test]
    fn both_forms_are_read() {
        let bytes: [u8; 32] = std::array::from_fn(|i| u8::try_from(i * 8).expect("below 256"));
        let text = MasterKey::from_bytes(bytes).to_text();
        let text = text.reveal_str().expect("digits are ASCII");
        assert_eq!(text.len(), "till_master_".len() + 44 + 1 + 6);
        check(text, Ok(bytes));
        check(&format!(" {text}\r\n"), Ok(bytes));
        check(&"0f".repeat(32), Ok([0x0f; 32]));
        check(&format!("{}\n", "0F".repeat(32)), Ok([0x0f; 32]));
    }

    #[test]
    fn other_texts_are_refused() {
        let key = MasterKey::from_bytes([7; 32]).to_text();
        let key = key.reveal_str().expect("digits are ASCII");
        let short = super::checked_text::write("till_master_", &[7; 31]);
        for (text, error) in [
            ("", MasterKeyError::NotAMasterKey),
            ("till_sk_", MasterKeyError::NotAMasterKey),
            (&"0f".repeat(31), MasterKeyError::NotAMasterKey),
            (&"0g".repeat(32), MasterKeyError::NotAMasterKey),
            (&"+f".repeat(32), MasterKeyError::NotAMasterKey),
            (short.reveal_str().expect("digits are ASCII"), MasterKeyError::NotAMasterKey),
            ("till_master_", MasterKeyError::Checksum),
            (&key[..key.len() - 1], MasterKeyError::Checksum),
            (&key.replace("till_master_0", "till_master_1"), MasterKeyError::Checksum),
        ] {
            check(text, Err(error));
        }
    }

    #[test]
    fn id_is_hexadecimal_and_depends_on_the_key() {
        let [a, b] = [[0; 32], [1; 32]].map(|bytes| MasterKey::from_bytes(bytes).id());
        assert_ne!(a, b);
        assert_eq!(a.to_string().len(), 8);
        assert!(a.to_string().bytes().all(|digit| digit.is_ascii_hexdigit()));
        assert_eq!(format!("{a:?}"), a.to_string());
    }
}
