//! The audit log as the rest of the program sees it: pages of it, checkpoints, and what it starts with.
//!
//! Invariants:
//! - readers see the log from one entry on without gaps: entries that are being deleted are not shown;
//! - it starts at entry 1 or behind a signed checkpoint, the *anchor*;
//! - checkpoints are made by the writer, in the transaction of the entries that they cover.

use std::collections::BTreeMap;

use till_core::audit::{AuditEntry, AuditHash, AuditKeyId, AuditPublicKey, Checkpoint};
use till_core::denial::DenialCode;
use till_core::time::Timestamp;
use till_core::token::AuditKeys;

use crate::backend::{Backend, DenialCount};
use crate::command::Action;
use crate::error::StoreError;
use crate::readers::Lane;
use crate::store::Store;
use till_core::audit::Actor;

/// Which actions to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditAction {
    /// This one.
    Is(String),
    /// All that start like this.
    StartsWith(String),
}

impl AuditAction {
    /// Whether an action is one of them.
    pub fn matches(&self, action: &str) -> bool {
        match self {
            Self::Is(one) => action == one,
            Self::StartsWith(start) => action.starts_with(start.as_str()),
        }
    }
}

/// Which entries to list. The default is none of them: `limit` is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Only entries behind this one, in the order of the list.
    pub after: Option<u64>,
    /// At most so many.
    pub limit: u32,
    /// Newest first, not oldest first.
    pub newest_first: bool,
    /// Only of the actor with this id.
    pub actor: Option<String>,
    /// Only these actions.
    pub action: Option<AuditAction>,
    /// Only what was done to this.
    pub target: Option<String>,
    /// Only entries from then on.
    pub from: Option<Timestamp>,
    /// Only entries before.
    pub to: Option<Timestamp>,
    /// Only entries whose detail has this in it.
    pub mentions: Option<String>,
    /// Only entries about this project: those that name it, and those about the project itself.
    pub project: Option<String>,
}

/// Entries in the order that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// What to ask for `after` to go on: the last entry that was looked at. `None` when there is nothing behind it.
    pub next_after: Option<u64>,
}

/// What the log starts with, and what signs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditState {
    /// The checkpoint behind which it starts; `None` when it starts at entry 1.
    pub anchor: Option<Checkpoint>,
    /// Every key that signed.
    pub keys: Vec<AuditPublicKey>,
    /// The newest checkpoint.
    pub last: Option<Checkpoint>,
    /// Settings of the last start, as [`Store::audit_start`] was given them.
    pub settings: Option<String>,
}

impl Store {
    /// Audit entries after number `after_seq`, oldest first.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn audit_list(&self, after_seq: u64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.audit_page(AuditQuery { after: Some(after_seq), limit, ..AuditQuery::default() }).await
    }

    /// As many audit entries as a query asks for, or all that there are. Others get their turn in between.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn audit_page(&self, mut query: AuditQuery) -> Result<Vec<AuditEntry>, StoreError> {
        let mut found = Vec::new();
        loop {
            let page = self.audit_scan(query.clone()).await?;
            query.limit = query.limit.saturating_sub(u32::try_from(page.entries.len()).unwrap_or(u32::MAX));
            found.extend(page.entries);
            match page.next_after {
                Some(next) if query.limit > 0 => query.after = Some(next),
                _ => return Ok(found),
            }
        }
    }

    /// A page of audit entries: it ends after so many entries were looked at, however few of them it asks for.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn audit_scan(&self, query: AuditQuery) -> Result<AuditPage, StoreError> {
        self.read(Lane::List, move |reader| reader.audit_page(&query)).await
    }

    /// What the log starts with, and what signs it.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn audit_state(&self) -> Result<AuditState, StoreError> {
        self.read(Lane::List, |reader| reader.audit_state()).await
    }

    /// Checkpoints of entries after number `after_seq`, oldest first.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn audit_checkpoints(&self, after_seq: u64, limit: u32) -> Result<Vec<Checkpoint>, StoreError> {
        self.read(Lane::List, move |reader| reader.audit_checkpoints(after_seq, limit)).await
    }

    /// From now on checkpoints are signed with these keys, and minted tokens stand in the log as hashes under
    /// them. The public key is entered in the log with the first checkpoint.
    ///
    /// # Errors
    /// The store is closed or can't be written.
    pub async fn audit_sign_with(&self, keys: AuditKeys) -> Result<(), StoreError> {
        self.administer(Action::AuditSignWith(Box::new(keys)), &Actor::system()).await.map(drop)
    }

    /// Signs where the log stands, unless that was signed already. Without keys nothing happens.
    ///
    /// # Errors
    /// The store can't be written.
    pub async fn audit_seal(&self) -> Result<(), StoreError> {
        self.administer(Action::AuditSeal, &Actor::system()).await.map(drop)
    }
}

/// What a transaction changes about the log besides new entries.
#[derive(Debug, Default)]
pub(crate) struct LogChange {
    pub(crate) keys: Vec<AuditPublicKey>,
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Denials up to this minute are in the log.
    pub(crate) denials_entered: Option<u64>,
    /// The log starts behind this entry, which has a checkpoint.
    pub(crate) anchor: Option<u64>,
    /// Settings of the start that is entered.
    pub(crate) settings: Option<String>,
}

impl LogChange {
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
            && self.checkpoint.is_none()
            && self.denials_entered.is_none()
            && self.anchor.is_none()
            && self.settings.is_none()
    }
}

/// What the writer knows about the log, as it is on disk.
#[derive(Debug, Default)]
pub(crate) struct LogState {
    /// Number of the entry of the newest checkpoint.
    pub(crate) sealed: u64,
    pub(crate) anchor: u64,
    pub(crate) keys: Vec<AuditKeyId>,
    /// Denials up to this minute are in the log.
    pub(crate) denials_entered: u64,
    /// The first minute after that with denials.
    pub(crate) denied: Option<u64>,
}

impl LogState {
    pub(crate) fn read(backend: &mut dyn Backend) -> Result<Self, StoreError> {
        let mut state = backend.log_state()?;
        state.denied = backend.denied_minute(state.denials_entered)?;
        Ok(state)
    }
}

/// Denials of one minute.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct DeniedMinute {
    /// Those of known keys that were denied most, at most as many as were asked for.
    pub(crate) most: Vec<DenialCount>,
    /// How many other keys there were.
    pub(crate) other_keys: u64,
    /// How often those were denied, and keys that nobody knows any more.
    pub(crate) others: BTreeMap<DenialCode, u64>,
    /// How many of those are of keys that nobody knows any more.
    pub(crate) unknown: u64,
}

/// What the writer needs from a backend for the log.
pub(crate) trait AuditBackend {
    /// All but `denied`.
    fn log_state(&mut self) -> Result<LogState, StoreError>;

    /// The first minute after this one that has denials.
    fn denied_minute(&mut self, after: u64) -> Result<Option<u64>, StoreError>;

    /// The denials of a minute.
    fn denied_in(&mut self, minute: u64, most: u32) -> Result<DeniedMinute, StoreError>;

    /// The hash of an entry, also of the one behind which the log starts.
    fn entry_hash(&mut self, seq: u64) -> Result<Option<AuditHash>, StoreError>;

    /// At most so many entries behind this one, oldest first.
    fn entries_after(&mut self, seq: u64, limit: u32) -> Result<Vec<AuditEntry>, StoreError>;

    /// The newest checkpoint that was signed before.
    fn checkpoint_before(&mut self, before: Timestamp) -> Result<Option<Checkpoint>, StoreError>;

    /// Deletes at most `limit` rows that nobody reads any more: entries up to the anchor, their checkpoints, and denials
    /// that are in the log. Says how many. What an error leaves behind is unknown, as with [`Backend::commit`].
    fn log_delete(&mut self, limit: u32) -> Result<u64, StoreError>;
}

/// What readers can ask about the log.
pub(crate) trait AuditReader {
    fn audit_page(&mut self, query: &AuditQuery) -> Result<AuditPage, StoreError>;
    fn audit_state(&mut self) -> Result<AuditState, StoreError>;
    fn audit_checkpoints(&mut self, after_seq: u64, limit: u32) -> Result<Vec<Checkpoint>, StoreError>;
}
