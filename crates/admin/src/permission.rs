//! Who may do what. The one table of roles and permissions; handlers never compare roles.
//!
//! Invariant: what is not listed here is not allowed, so a role that an older binary doesn't know may do nothing.

/// Something an admin token may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    /// See keys, their limits and usage.
    KeysRead,
    /// Make and revoke keys.
    KeysWrite,
    /// See totals.
    AccountRead,
    /// See providers, the state of the instance, its metrics and documentation.
    InstanceRead,
    /// Lift the fence after a roll-back, turn the kill switch.
    InstanceWrite,
    /// Rotate and retire master keys.
    MasterKeysWrite,
    /// Read the audit log.
    AuditRead,
    /// See what was used, call by call.
    UsageRead,
    /// Give back what a hold that a crash left open was charged with.
    HoldsForgive,
}

/// Whether a role, named as the store holds it, has a permission.
pub(crate) fn role_may(role: &str, permission: Permission) -> bool {
    match (role, permission) {
        (
            "owner",
            Permission::KeysRead
            | Permission::KeysWrite
            | Permission::AccountRead
            | Permission::InstanceRead
            | Permission::InstanceWrite
            | Permission::MasterKeysWrite
            | Permission::AuditRead
            | Permission::UsageRead
            | Permission::HoldsForgive,
        ) => true,
        (_, _) => false,
    }
}

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anybody: liveness and readiness, and claims, where the link is what lets in.
    Open,
    /// Anybody on this machine when the listener is loopback; otherwise a token with the permission.
    Page(Permission),
    /// A token with the permission.
    Token(Permission),
}

#[cfg(test)]
mod tests {
    use super::{Permission, role_may};

    #[test]
    fn unknown_roles_may_nothing() {
        for role in ["", "Owner", "owner ", "admin", "viewer"] {
            assert!(!role_may(role, Permission::KeysRead), "{role}");
        }
        assert!(role_may("owner", Permission::InstanceWrite));
    }
}
