//! What somebody who administers is.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The role of an admin token or a member. What each may do is one table in the control plane.
///
/// The order is that of power: nobody hands out a role above their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Sees keys, usage and totals.
    Viewer,
    /// Reads everything but secrets, the audit log included.
    Auditor,
    /// Makes keys within the bounds of its project and its own, and ends those that it made.
    Minter,
    /// Administers keys, members, admin tokens and upstream credentials.
    Admin,
    /// As an admin, and master keys, backups, other owners.
    Owner,
}

impl Role {
    /// All of them, the most powerful first.
    pub const ALL: [Self; 5] = [Self::Owner, Self::Admin, Self::Minter, Self::Auditor, Self::Viewer];

    /// The word in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Auditor => "auditor",
            Self::Minter => "minter",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// The role of this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Role;

    #[test]
    fn words_are_read_back() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
        for word in ["", "Owner", "owner ", "root"] {
            assert_eq!(Role::parse(word), None);
        }
        assert!(Role::ALL.windows(2).all(|pair| pair[0] > pair[1]));
    }
}
