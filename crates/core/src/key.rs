//! What a scoped key is called and which state it is in.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use crate::base62;

/// Prefix of a public key id.
pub const KEY_ID_PREFIX: &str = "key_";

/// The public id of a scoped key, `key_…`: a keyed hash of the random id inside the token, so that
/// neither the database nor an API answer says anything about a token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId(pub [u8; 16]);

impl Hash for KeyId {
    /// Two numbers and no length: a key is looked up a dozen times in each call.
    fn hash<H: Hasher>(&self, state: &mut H) {
        for word in self.0.as_chunks::<8>().0 {
            state.write_u64(u64::from_le_bytes(*word));
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{KEY_ID_PREFIX}{}", base62::encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl KeyId {
    /// The first and the last id that begin like this, `key_` included; `None` if none does.
    pub fn starting_with(start: &str) -> Option<(Self, Self)> {
        let body = start.strip_prefix(KEY_ID_PREFIX)?;
        let (low, high) = base62::range::<16>(body)?;
        Some((Self(low), Self(high)))
    }
}

/// A text that is not a key id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a key id is `key_` and 22 letters or digits")]
pub struct NotAKeyId;

impl FromStr for KeyId {
    type Err = NotAKeyId;

    fn from_str(text: &str) -> Result<Self, NotAKeyId> {
        let body = text.strip_prefix(KEY_ID_PREFIX).ok_or(NotAKeyId)?;
        let bytes = base62::decode(body).ok_or(NotAKeyId)?;
        bytes.try_into().map(Self).map_err(|_| NotAKeyId)
    }
}

/// What a key may still do.
///
/// When several hold at once the one that stands first here wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyStatus {
    /// An admin ended it; it never comes back.
    Revoked,
    /// Its time is over, or it was not used for too long.
    Expired,
    /// A limit is reached; an admin could raise it.
    Exhausted,
    /// An admin stopped it for now.
    Paused,
    /// Its time has not come.
    Pending,
    /// It works.
    Active,
}

impl KeyStatus {
    /// All states, in the order in which they win.
    pub const ALL: [Self; 6] =
        [Self::Revoked, Self::Expired, Self::Exhausted, Self::Paused, Self::Pending, Self::Active];

    /// The word used in API answers, tables and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Exhausted => "exhausted",
            Self::Paused => "paused",
            Self::Pending => "pending",
            Self::Active => "active",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::KeyId;

    #[test]
    fn id_round_trips() {
        for id in [KeyId([0; 16]), KeyId([255; 16]), KeyId(*b"0123456789abcdef")] {
            let text = id.to_string();
            assert_eq!(text.len(), "key_".len() + 22);
            assert_eq!(text.parse(), Ok(id));
        }
    }

    #[test]
    fn ids_that_begin_alike_stand_together() {
        for id in [KeyId([0; 16]), KeyId([255; 16]), KeyId(*b"0123456789abcdef")] {
            let text = id.to_string();
            for length in 4..=text.len() {
                let (first, last) = KeyId::starting_with(&text[..length]).expect("it begins so itself");
                assert!((first..=last).contains(&id), "{length}");
                assert!(first.to_string().starts_with(&text[..length]), "{length}");
                assert!(last.to_string().starts_with(&text[..length]), "{length}");
            }
        }
        for text in ["", "abc", "key_z", "key_-", "key_00000000000000000000000"] {
            assert_eq!(KeyId::starting_with(text), None, "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_ids() {
        for text in ["", "key_", "key_abc", "kex_0000000000000000000000", "key_zzzzzzzzzzzzzzzzzzzzzz"] {
            assert!(text.parse::<KeyId>().is_err(), "{text}");
        }
    }
}
