//! Admin tokens, known by the hash of their text only.

use till_core::time::Timestamp;

/// An admin token to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAdminToken {
    /// Its name; a token of the same name is replaced.
    pub name: String,
    /// What it may do: `owner`.
    pub role: String,
    /// SHA-256 of the token.
    pub hash: [u8; 32],
}

/// An admin token that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminToken {
    /// Its name.
    pub name: String,
    /// What it may do.
    pub role: String,
    /// When it was made.
    pub created_at: Timestamp,
}
