//! Who may do what. The one table of roles and permissions; handlers never compare roles.
//!
//! Invariant: what is not listed here is not allowed. The table in the documentation is made from this one, and a test
//! calls every operation with every role and compares.

use till_core::role::Role;

use Role::{Admin, Auditor, Minter, Owner, Viewer};

/// Something that somebody may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    AccountRead,
    AuditExport,
    AuditRead,
    CredentialsRead,
    CredentialsWrite,
    HoldsForgive,
    HoldsRead,
    InstanceRead,
    InstanceWrite,
    KeysCreate,
    KeysRead,
    KeysWrite,
    MasterKeysRead,
    MasterKeysWrite,
    BackupsWrite,
    MembersRead,
    MembersWrite,
    MetricsRead,
    ProjectsRead,
    ProjectsWrite,
    SelfRead,
    TokensRead,
    TokensWrite,
    UsageRead,
}

/// Who has a permission.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) permission: Permission,
    /// What it is, for the documentation.
    pub(crate) meaning: &'static str,
    pub(crate) roles: &'static [Role],
    /// Whether somebody who is bound to a project has it too, for that project.
    pub(crate) in_project: bool,
}

const ALL: &[Role] = &[Owner, Admin, Minter, Auditor, Viewer];
const NO_MINTER: &[Role] = &[Owner, Admin, Auditor, Viewer];
const READ_ALL: &[Role] = &[Owner, Admin, Auditor];
const ADMINS: &[Role] = &[Owner, Admin];

/// The table.
pub(crate) const TABLE: [Row; 24] = [
    row(Permission::SelfRead, "see who one is and what one may do", ALL, true),
    row(
        Permission::KeysRead,
        "see keys, their limits and use, and explain what would become of a request",
        ALL,
        true,
    ),
    row(
        Permission::KeysCreate,
        "make keys within the rules of the project and one's own",
        &[Owner, Admin, Minter],
        true,
    ),
    row(
        Permission::KeysWrite,
        "change and revoke keys (a minter: those that it made)",
        &[Owner, Admin, Minter],
        true,
    ),
    row(Permission::UsageRead, "see what was used, call by call and in sums", ALL, true),
    row(Permission::AccountRead, "see totals", ALL, true),
    row(
        Permission::CredentialsRead,
        "see the names of upstream credentials and what may be minted from them",
        ALL,
        true,
    ),
    row(Permission::CredentialsWrite, "store, replace and remove upstream credentials", ADMINS, true),
    row(Permission::ProjectsRead, "see projects, their rules and what is left of their ceilings", ALL, true),
    row(Permission::ProjectsWrite, "make, change and end projects", ADMINS, false),
    row(Permission::MembersRead, "see members", READ_ALL, true),
    row(
        Permission::MembersWrite,
        "make, change and remove members with a role up to one's own",
        ADMINS,
        true,
    ),
    row(Permission::TokensRead, "see admin tokens, not their text", READ_ALL, true),
    row(
        Permission::TokensWrite,
        "make, change, rotate and revoke admin tokens with a role up to one's own",
        ADMINS,
        true,
    ),
    row(Permission::AuditRead, "read the audit log, in a project what is about it", READ_ALL, true),
    row(
        Permission::AuditExport,
        "export the whole audit log, its checkpoints, and look for a token in it",
        READ_ALL,
        false,
    ),
    row(Permission::HoldsRead, "see what a crash left open", NO_MINTER, false),
    row(Permission::HoldsForgive, "give back what a crash left open", ADMINS, false),
    row(
        Permission::InstanceRead,
        "see providers, the state of the instance and the documentation",
        ALL,
        true,
    ),
    row(Permission::MetricsRead, "read the metrics of the whole instance", NO_MINTER, false),
    row(Permission::BackupsWrite, "make backups", &[Owner], false),
    row(Permission::MasterKeysRead, "see master keys, not the keys themselves", READ_ALL, false),
    row(Permission::MasterKeysWrite, "rotate and retire master keys", &[Owner], false),
    row(
        Permission::InstanceWrite,
        "turn the kill switch, and accept a roll-back, for which only the owner's token is let in",
        ADMINS,
        false,
    ),
];

const fn row(permission: Permission, meaning: &'static str, roles: &'static [Role], in_project: bool) -> Row {
    Row { permission, meaning, roles, in_project }
}

/// Whether a role has a permission; `bound` says whether it is that of one project.
pub(crate) fn role_may(role: Role, bound: bool, permission: Permission) -> bool {
    TABLE
        .iter()
        .any(|row| row.permission == permission && row.roles.contains(&role) && (row.in_project || !bound))
}

/// Everything that a role may do, as words.
pub(crate) fn permissions(role: Role, bound: bool) -> impl Iterator<Item = &'static str> {
    TABLE.iter().filter(move |row| role_may(role, bound, row.permission)).map(|row| row.permission.as_str())
}

impl Permission {
    /// The word in the API and the documentation.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::AccountRead => "account.read",
            Self::AuditExport => "audit.export",
            Self::AuditRead => "audit.read",
            Self::CredentialsRead => "credentials.read",
            Self::CredentialsWrite => "credentials.write",
            Self::HoldsForgive => "holds.forgive",
            Self::HoldsRead => "holds.read",
            Self::InstanceRead => "instance.read",
            Self::InstanceWrite => "instance.write",
            Self::KeysCreate => "keys.create",
            Self::KeysRead => "keys.read",
            Self::KeysWrite => "keys.write",
            Self::BackupsWrite => "backups.write",
            Self::MasterKeysRead => "master_keys.read",
            Self::MasterKeysWrite => "master_keys.write",
            Self::MembersRead => "members.read",
            Self::MembersWrite => "members.write",
            Self::MetricsRead => "metrics.read",
            Self::ProjectsRead => "projects.read",
            Self::ProjectsWrite => "projects.write",
            Self::SelfRead => "self.read",
            Self::TokensRead => "tokens.read",
            Self::TokensWrite => "tokens.write",
            Self::UsageRead => "usage.read",
        }
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

/// The table as Markdown, for `docs/administration.md`.
pub fn permission_table() -> String {
    let mut text = String::from(
        "| permission | what it is | owner | admin | minter | auditor | viewer | in a project |\n",
    );
    text.push_str("| --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for row in TABLE {
        let roles = Role::ALL.map(|role| if row.roles.contains(&role) { "yes" } else { "" });
        let bound = if row.in_project { "yes" } else { "" };
        let line = format!(
            "| `{}` | {} | {} | {bound} |\n",
            row.permission.as_str(),
            row.meaning,
            roles.join(" | ")
        );
        text.push_str(&line);
    }
    text
}

#[cfg(test)]
mod tests {
    use till_core::role::Role;

    use super::{Permission, TABLE, permission_table, role_may};

    #[test]
    fn every_permission_stands_in_the_table_once() {
        for (index, row) in TABLE.iter().enumerate() {
            assert!(TABLE[..index].iter().all(|other| other.permission != row.permission), "{row:?}");
            assert!(row.roles.contains(&Role::Owner), "an owner may do everything: {row:?}");
            assert!(role_may(Role::Owner, false, row.permission));
        }
    }

    #[test]
    fn roles_have_what_their_names_say() {
        for (role, bound, permission, may) in [
            (Role::Viewer, false, Permission::KeysRead, true),
            (Role::Viewer, false, Permission::AuditRead, false),
            (Role::Auditor, false, Permission::AuditRead, true),
            (Role::Auditor, false, Permission::KeysWrite, false),
            (Role::Minter, true, Permission::KeysCreate, true),
            (Role::Minter, false, Permission::TokensRead, false),
            (Role::Admin, true, Permission::TokensWrite, true),
            (Role::Admin, true, Permission::ProjectsWrite, false),
            (Role::Admin, false, Permission::ProjectsWrite, true),
            (Role::Owner, true, Permission::InstanceWrite, false),
        ] {
            assert_eq!(role_may(role, bound, permission), may, "{role} {bound} {permission:?}");
        }
    }

    #[test]
    fn the_documentation_has_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/administration.md");
        let docs = std::fs::read_to_string(path).unwrap();
        if std::env::var_os("TILL_UPDATE_SNAPSHOTS").is_some() {
            let (before, rest) = docs.split_once("| permission |").unwrap();
            let (_, after) = rest.split_once("\n\n").unwrap();
            let docs = format!("{before}{}\n{after}", permission_table());
            return std::fs::write(path, docs).unwrap();
        }
        assert!(
            docs.contains(&permission_table()),
            "put this into docs/administration.md:\n{}",
            permission_table()
        );
    }
}
