//! A credential in memory.
//!
//! Invariant: a [`Secret`] can't be printed, logged, compared in variable time or serialised. The one
//! way to its bytes is [`Secret::reveal`], so every use can be found with `grep reveal`.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// An upstream key, a scoped key, an admin token or a master key. Wiped from memory when dropped.
///
/// It has no `Debug`, `Display` or `Serialize` on purpose.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes ownership of a credential.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes themselves. Callers are where a credential is sealed, hashed, written into the
    /// upstream request, searched for in an answer, or shown once to the person who asked for it.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }

    /// [`Secret::reveal`] as text, or `None` when the credential is not UTF-8.
    pub fn reveal_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for Secret {
    /// Compares in constant time for equal lengths.
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn compares_by_content() {
        assert!(Secret::new("abc") == Secret::new("abc"));
        assert!(Secret::new("abc") != Secret::new("abd"));
        assert!(Secret::new("abc") != Secret::new("ab"));
        assert!(Secret::new("").is_empty());
    }
}
