//! Durable state: the only SQL and the only fsync of the project.
//!
//! [`Store`] is a cheap handle. What units are left is decided by [`till_core::ledger`] alone; this crate
//! keeps the accounts that are in use in memory, makes every change durable before anybody hears of it,
//! and finds out at start whether the state was put back from an older copy.
//!
//! `store` is the handle and its promises, `queue` and `writer` the way of a command, `backend` what a
//! durable place must be able to do, `sqlite` the one that there is, `start`, `fence` and `witness` what
//! happens before anything is granted.

#[cfg(test)]
extern crate self as till_store;

/// Whether a test has switched this bug on (`simulation::plant`); never in a program.
macro_rules! planted {
    ($bug:ident) => {{
        #[cfg(test)]
        let is_planted = crate::simulation::plant::is_planted(crate::simulation::plant::Plant::$bug);
        #[cfg(not(test))]
        let is_planted = false;
        is_planted
    }};
}

mod answer;
mod audit_log;
mod backend;
mod backup;
mod claim;
mod clock;
mod command;
#[cfg(test)]
mod conformance;
mod credential;
mod denial_counts;
mod denial_entries;
mod denied_records;
mod entity;
mod error;
mod escrow;
mod examine;
pub mod failpoint;
mod fence;
mod figures;
mod files;
mod hold;
mod key;
mod kill_switch;
mod lock;
mod log_break;
mod master_key;
#[cfg(test)]
mod memory;
mod opening;
mod queue;
mod readers;
mod restore;
#[cfg(test)]
mod simulation;
mod spare_records;
mod sqlite;
mod start;
mod stats;
mod store;
mod terms;
mod usage;
mod usage_record;
mod usage_totals;
mod witness;
mod writer;

pub use audit_log::{AuditAction, AuditPage, AuditQuery, AuditState};
pub use backup::{BackupError, BackupInfo, Step, backup_make, backup_verify};
pub use claim::{Claim, NewClaim};
pub use credential::CredentialListener;
pub use entity::{
    AdminToken, Credential, Entity, EntityKind, EntityQuery, Kept, Lookup, Member, Project, Put, Session,
};
pub use error::{OpenError, StoreError};
pub use examine::{Examined, Finding, Grade, examine};
pub use fence::{COMES_BACK, Fence};
pub use hold::{Hold, HoldRefusal, KeyEnded};
pub use key::{
    AccountSummary, DEFAULT_PROJECT, Durability, KeyChange, KeyCounts, KeyOptions, KeyPlace, KeyQuery,
    KeyRecord, KeySort, LifetimeChange, LimitChange, NewKey, RateChange,
};
pub use kill_switch::KillSwitch;
pub use master_key::{KnownMasterKey, MasterKeyRecord};
pub use opening::Opening;
pub use restore::{Restored, restore};
pub use sqlite::SCHEMA_VERSION;
#[cfg(any(test, fuzzing))]
pub use sqlite::fuzzing;
pub use stats::{ProviderUsage, StoreStats};
pub use store::{OpenOptions, Store, database, store_is_open};
pub use terms::KeyTerms;
pub use usage::{Glance, GlanceQuery};
pub use usage_record::{
    DenialQuery, DenialSum, OrphanHold, Outcome, TokenCounts, UsageFilter, UsageGroup, UsagePage, UsageQuery,
    UsageRecord, UsageSum, hold_name, parse_hold_name,
};
