//! What the writer needs from a place that keeps state: reads one by one, and one atomic, durable write
//! per batch.
//!
//! Every backend passes the suite in `conformance`. A backend decides nothing: what it is given has been
//! decided by [`till_core::ledger`], and it stores after-images, so that applying a batch is idempotent.

use std::sync::Arc;
use std::time::Instant;

use till_core::audit::{AuditEntry, ChainHead};
use till_core::denial::DenialCode;
use till_core::key::KeyId;
use till_core::ledger::{Account, AccountId, HoldId, Ledger, OpenHold};
use till_core::limit::Units;
use till_core::policy::PolicyOwner;
use till_core::scope::Scope;
use till_core::time::{Month, Timestamp};
use till_core::token::{ClaimId, MasterKeyId};

use crate::audit_log::{AuditBackend, AuditReader, LogChange};
use crate::claim::{Claim, NewClaim};
use crate::entity::{Charged, EntityKind, EntityQuery, EntityRow, EntityWrite, Lookup};
use crate::error::StoreError;
use crate::fence::Fence;
use crate::key::{KeyCounts, KeyDetails, KeyOptions, KeyPlace, KeyQuery, KeyRecord, NewKey};
use crate::kill_switch::KillSwitch;
use crate::master_key::{KnownMasterKey, MasterKeyRecord};
use crate::usage_record::{
    DenialQuery, DenialSum, OrphanHold, UsageFilter, UsageGroup, UsagePage, UsageQuery, UsageRecord, UsageSum,
};

/// Where the store stands against its witness: a number that only grows, and a random value drawn with
/// it, so that two stores that went separate ways from the same copy are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) incarnation: u64,
    pub(crate) nonce: [u8; 16],
}

/// The one row about the store itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instance {
    /// Random, made with the database.
    pub(crate) id: [u8; 16],
    pub(crate) mark: Mark,
    /// Nonce of the mark before: what the witness has if a crash came between the two writes.
    pub(crate) previous_nonce: [u8; 16],
    pub(crate) fence: Option<Fence>,
    /// Whether the last stop wrote everything. Cleared by a start before anything is granted.
    pub(crate) stopped_clean: bool,
    /// Version of the program that started last.
    pub(crate) version: String,
    /// The highest time seen when this was written.
    pub(crate) time_seen: Timestamp,
    pub(crate) kill_switch: Option<KillSwitch>,
}

/// A key row to insert; its account comes with the after-images.
#[derive(Clone, Debug)]
pub(crate) struct KeyRow {
    pub(crate) key: NewKey,
    pub(crate) created_at: Timestamp,
}

/// How often a key was denied for one reason within one minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DenialCount {
    /// `None` collects what no longer fitted the bounded map.
    pub(crate) key: Option<KeyId>,
    pub(crate) code: DenialCode,
    pub(crate) minute: u64,
    /// To be added to what is there: the one part of a batch that is no after-image.
    pub(crate) count: u64,
}

/// Everything that one transaction writes.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) keys: Vec<KeyRow>,
    /// What hands new keys over.
    pub(crate) claims: Vec<(KeyId, NewClaim)>,
    /// Claims that were taken or whose time is over: their rows go.
    pub(crate) claims_gone: Vec<ClaimId>,
    /// Accounts whose after-images are in the ledger.
    pub(crate) accounts: Vec<AccountId>,
    /// Those of them whose bounds in time or pause changed; otherwise these are not written.
    pub(crate) lifetimes: Vec<AccountId>,
    /// Keys that were changed, after-images.
    pub(crate) details: Vec<(KeyId, KeyDetails)>,
    /// The highest time seen, to be kept.
    pub(crate) time_seen: Option<Timestamp>,
    /// Holds granted in this batch; those still open in the ledger get a row.
    pub(crate) holds_opened: Vec<HoldId>,
    /// Holds of an earlier batch whose units are others now.
    pub(crate) holds_changed: Vec<HoldId>,
    /// Holds closed in this batch that an earlier one gave a row.
    pub(crate) holds_closed: Vec<HoldId>,
    /// Holds of an earlier start: closed, but their rows stay, marked.
    pub(crate) holds_orphaned: Vec<HoldId>,
    /// Orphans whose units were given back: their rows go, and what they were charged with.
    pub(crate) holds_forgiven: Vec<HoldId>,
    /// Records to insert. Not idempotent: each belongs to a hold that this batch closes, or to a refusal.
    pub(crate) usage: Vec<Arc<UsageRecord>>,
    /// Things that administrators keep, after-images.
    pub(crate) entities: Vec<EntityWrite>,
    /// Owners of keys that have ended: their keys are still to be revoked.
    pub(crate) endings: Vec<(PolicyOwner, String)>,
    /// Those whose keys are all revoked.
    pub(crate) endings_done: Vec<(PolicyOwner, String)>,
    /// Every session and every claim is gone.
    pub(crate) shuts_out: bool,
    /// When such things were used.
    pub(crate) uses: Vec<(EntityKind, String, Timestamp)>,
    /// Written only if there is none.
    pub(crate) index_key: Option<Vec<u8>>,
    /// Written in place of the one there is.
    pub(crate) index_key_anew: Option<Vec<u8>>,
    /// Master keys that this instance has; those that are known stay as they are.
    pub(crate) master_keys: Vec<(MasterKeyId, Timestamp)>,
    /// Known master keys that are refused from now on.
    pub(crate) master_keys_retired: Vec<(MasterKeyId, Timestamp)>,
    /// Retired ones whose keys are all revoked.
    pub(crate) master_keys_ended: Vec<MasterKeyId>,
    pub(crate) audit: Vec<AuditEntry>,
    /// What else changes about the log.
    pub(crate) log: LogChange,
    pub(crate) denials: Vec<DenialCount>,
    /// Activations per month, after-images.
    pub(crate) months: Vec<(Month, u128)>,
    pub(crate) instance: Option<Instance>,
    /// Write even if there is nothing to write: somebody asks whether writing works.
    pub(crate) probe: bool,
    /// Somebody waits until all of it is where a [`Reader`] sees it: as [`Backend::want_folded`] after the commit.
    pub(crate) fold: bool,
}

impl Batch {
    /// Whether it consists of nothing but what calls change all the time, and a backend may therefore keep it in a
    /// journal first. Whatever else there is in a batch makes it go to the tables, and what is in the journal before it.
    pub(crate) fn is_for_journal(&self) -> bool {
        let is_of_calls = self.keys.is_empty()
            && self.claims.is_empty()
            && self.claims_gone.is_empty()
            && self.lifetimes.is_empty()
            && self.details.is_empty()
            && self.holds_orphaned.is_empty()
            && self.holds_forgiven.is_empty()
            && self.entities.is_empty()
            && self.endings_done.is_empty()
            && self.uses.is_empty()
            && self.index_key.is_none()
            && !self.has_master_keys()
            && self.audit.is_empty()
            && self.log.is_empty()
            && self.instance.is_none();
        let has_calls = !self.accounts.is_empty()
            || !self.holds_changed.is_empty()
            || !self.holds_closed.is_empty()
            || !self.usage.is_empty()
            || !self.denials.is_empty()
            || !self.months.is_empty();
        is_of_calls && has_calls
    }

    /// Whether something is written where sealed secrets are, which may move or end there.
    pub(crate) fn changes_secrets(&self) -> bool {
        !self.entities.is_empty()
            || !self.uses.is_empty()
            || !self.claims.is_empty()
            || !self.claims_gone.is_empty()
            || self.shuts_out
            || self.index_key_anew.is_some()
    }

    /// Whether a transaction would change nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
            && self.accounts.is_empty()
            && self.claims_gone.is_empty()
            && self.details.is_empty()
            && self.time_seen.is_none()
            && self.holds_changed.is_empty()
            && self.holds_closed.is_empty()
            && self.holds_orphaned.is_empty()
            && self.holds_forgiven.is_empty()
            && self.usage.is_empty()
            && self.entities.is_empty()
            && self.endings_done.is_empty()
            && self.uses.is_empty()
            && self.index_key.is_none()
            && !self.has_master_keys()
            && self.audit.is_empty()
            && self.log.is_empty()
            && self.denials.is_empty()
            && self.months.is_empty()
            && self.instance.is_none()
            && !self.probe
    }

    fn has_master_keys(&self) -> bool {
        self.index_key_anew.is_some()
            || !self.master_keys.is_empty()
            || !self.master_keys_retired.is_empty()
            || !self.master_keys_ended.is_empty()
    }

    /// The units of a hold changed. Noted once, or more often if others do in between.
    pub(crate) fn hold_changed(&mut self, id: HoldId) {
        if self.holds_changed.last() != Some(&id) {
            self.holds_changed.push(id);
        }
    }

    /// Empties it and keeps its memory for the next batch.
    pub(crate) fn clear(&mut self) {
        self.keys.clear();
        self.claims.clear();
        self.claims_gone.clear();
        self.accounts.clear();
        self.lifetimes.clear();
        self.details.clear();
        self.time_seen = None;
        self.holds_opened.clear();
        self.holds_changed.clear();
        self.holds_closed.clear();
        self.holds_orphaned.clear();
        self.holds_forgiven.clear();
        self.usage.clear();
        self.entities.clear();
        self.endings.clear();
        self.endings_done.clear();
        self.shuts_out = false;
        self.uses.clear();
        self.index_key = None;
        self.index_key_anew = None;
        self.master_keys.clear();
        self.master_keys_retired.clear();
        self.master_keys_ended.clear();
        self.audit.clear();
        self.log = LogChange::default();
        self.denials.clear();
        self.months.clear();
        self.instance = None;
        self.probe = false;
        self.fold = false;
    }
}

/// A durable place, used by the writer thread only.
pub(crate) trait Backend: AuditBackend + Send + 'static {
    /// The row about the store; `None` when it is new.
    fn instance(&mut self) -> Result<Option<Instance>, StoreError>;

    /// An account as the last commit left it.
    fn account(&mut self, id: AccountId) -> Result<Option<Account>, StoreError>;

    /// What a key allows; `None` when there is no such key.
    fn key_options(&mut self, id: KeyId) -> Result<Option<KeyOptions>, StoreError>;

    /// What of a key can be changed; `None` when there is no such key.
    fn key_details(&mut self, id: KeyId) -> Result<Option<KeyDetails>, StoreError>;
    /// What a key may call; `None` when there is no such key.
    fn key_scope(&mut self, id: KeyId) -> Result<Option<Scope>, StoreError>;

    /// Where a key belongs; `None` when there is no such key.
    fn key_place(&mut self, id: KeyId) -> Result<Option<KeyPlace>, StoreError>;

    /// Something that administrators keep, also if it has ended.
    fn entity(&mut self, kind: EntityKind, id: &str) -> Result<Option<EntityRow>, StoreError>;

    /// What a way to find something leads to at `now`.
    fn entity_lookup(
        &mut self,
        kind: EntityKind,
        hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<String>, StoreError>;

    /// How many keys of an owner are neither revoked nor expired at `now`.
    fn live_keys(&mut self, owner: PolicyOwner, id: &str, now: Timestamp) -> Result<u64, StoreError>;

    /// What calls of an owner's keys were charged with within `days`: the first, and the first after them. With `after`,
    /// calls whose records have higher numbers.
    ///
    /// # Errors
    /// Also [`StoreError::Damaged`]: a record of these days is lost.
    fn charged(
        &mut self,
        owner: PolicyOwner,
        id: &str,
        days: (u64, u64),
        after: Option<u64>,
    ) -> Result<Units, StoreError>;

    /// What each of an owner's keys has used in its lifetime, without what is held for open calls.
    fn used_ever(&mut self, owner: PolicyOwner, id: &str) -> Result<Vec<(KeyId, Units)>, StoreError>;

    /// The wrapped index key.
    fn index_key(&mut self) -> Result<Option<Vec<u8>>, StoreError>;

    /// Whether a master key was retired; `None` when it is not known.
    fn master_key_is_retired(&mut self, id: MasterKeyId) -> Result<Option<bool>, StoreError>;

    /// An orphan that nobody has forgiven.
    fn orphan(&mut self, id: HoldId) -> Result<Option<OpenHold>, StoreError>;

    /// Deletes at most `limit` usage records that are older, and says how many. What an error leaves behind is
    /// unknown, as with [`Backend::commit`].
    fn usage_delete(&mut self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;

    /// Which key a claim hands over, and until when.
    fn claim(&mut self, id: ClaimId) -> Result<Option<(KeyId, Timestamp)>, StoreError>;

    /// Deletes at most `limit` claims whose time is over at `now`, and says how many. What an error leaves behind is
    /// unknown, as with [`Backend::commit`].
    fn claims_delete(&mut self, now: Timestamp, limit: u32) -> Result<u64, StoreError>;

    /// Deletes at most `limit` sessions that are over at `now`, and says how many. What an error leaves behind is unknown, as
    /// with [`Backend::commit`].
    fn sessions_delete(&mut self, now: Timestamp, limit: u32) -> Result<u64, StoreError>;

    /// All open holds, orphans not among them, in the order of their ids.
    fn open_holds(&mut self) -> Result<Vec<(HoldId, OpenHold)>, StoreError>;

    /// The newest audit entry.
    fn audit_head(&mut self) -> Result<ChainHead, StoreError>;

    /// Activations counted in a month.
    fn month_total(&mut self, month: Month) -> Result<u128, StoreError>;

    /// Writes the batch, all or nothing, and returns when it is durable. After an error it is unknown
    /// whether it was written: the caller forgets what it knew, calls [`Backend::reopen`] and reads again.
    ///
    /// What calls change ([`Batch::is_for_journal`]) may go where a [`Reader`] does not see it. Reads of the backend
    /// itself see everything.
    fn commit(&mut self, batch: &Batch, ledger: &Ledger) -> Result<(), StoreError>;

    /// Brings the next piece of what was committed to where a [`Reader`] sees it. An error is that of a commit.
    fn fold_piece(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// When to do that at the latest, if no commit comes, which may do it as well; `None` when readers see everything.
    fn fold_due(&self) -> Option<Instant> {
        None
    }

    /// Somebody waits until readers see what was committed: [`Backend::folded`] comes to what [`Backend::committed`] is now.
    fn want_folded(&mut self) {}

    /// A number that grows with commits.
    fn committed(&self) -> u64 {
        0
    }

    /// What it was when the newest commit was made that readers see, with all before it.
    fn folded(&self) -> u64 {
        0
    }

    /// Gives away records that were committed and that it needs no longer.
    fn take_spare_records(&mut self) -> Vec<Arc<UsageRecord>> {
        Vec::new()
    }

    /// Drops what an error may have left behind and starts over from disk.
    fn reopen(&mut self) -> Result<(), StoreError>;

    /// Folds journals into the tables and the main file before a stop. Failing costs time at the next start, no data.
    fn checkpoint(&mut self) -> Result<(), StoreError>;

    /// Makes the disk full, or lets it have room again, where that can be done. It stays so when it is opened again.
    #[cfg(test)]
    fn set_room(&mut self, _room: Room) {}

    /// Something that reads what is committed, independently of the writer.
    fn reader(&self) -> Box<dyn Reader>;
}

/// How much of the disk is free.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Plenty,
    /// What the files have: some writes pass, and one of the next does not.
    WithinFiles,
    None,
}

/// Reads for the admin side, each of one committed state.
pub(crate) trait Reader: AuditReader + Send + 'static {
    /// With the status as of `now`.
    fn key_fetch(&mut self, id: KeyId, now: Timestamp) -> Result<Option<KeyRecord>, StoreError>;
    /// With the status as of `now`.
    fn key_list(&mut self, query: &KeyQuery, now: Timestamp) -> Result<Vec<KeyRecord>, StoreError>;
    fn key_count(&mut self) -> Result<u64, StoreError>;
    /// Of a project or of all.
    fn key_counts(&mut self, project: Option<&str>, now: Timestamp) -> Result<KeyCounts, StoreError>;
    fn denial_sums(&mut self, query: &DenialQuery) -> Result<Vec<DenialSum>, StoreError>;
    fn month_total(&mut self, month: Month) -> Result<u128, StoreError>;
    /// Expired or not.
    fn claim_fetch(&mut self, id: ClaimId) -> Result<Option<Claim>, StoreError>;
    fn index_key(&mut self) -> Result<Option<Vec<u8>>, StoreError>;
    fn account(&mut self, id: AccountId) -> Result<Option<Account>, StoreError>;
    /// Also if it has ended.
    fn entity_fetch(&mut self, kind: EntityKind, id: &str) -> Result<Option<EntityRow>, StoreError>;
    /// Not if it has ended.
    fn entity_find(
        &mut self,
        kind: EntityKind,
        hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<EntityRow>, StoreError>;
    fn entity_lookups(&mut self, kind: EntityKind, id: &str) -> Result<Vec<Lookup>, StoreError>;
    fn entity_list(&mut self, kind: EntityKind, query: &EntityQuery) -> Result<Vec<EntityRow>, StoreError>;
    fn keys_of(&mut self, owner: PolicyOwner, id: &str) -> Result<Vec<KeyId>, StoreError>;
    /// Those of them that are not revoked, in the order of their creation, after this one, at most `limit`.
    fn keys_left(
        &mut self,
        owner: PolicyOwner,
        id: &str,
        after: Option<KeyId>,
        limit: u32,
    ) -> Result<Vec<KeyId>, StoreError>;
    /// Owners that have ended and may have such keys.
    fn endings(&mut self) -> Result<Vec<(PolicyOwner, String)>, StoreError>;
    /// Oldest first.
    fn master_key_list(&mut self, now: Timestamp) -> Result<Vec<MasterKeyRecord>, StoreError>;
    fn master_keys_known(&mut self) -> Result<Vec<KnownMasterKey>, StoreError>;
    /// Keys made under it that are not revoked, in the order of their creation, after this one, at most `limit`.
    fn master_key_keys(
        &mut self,
        id: MasterKeyId,
        after: Option<KeyId>,
        limit: u32,
    ) -> Result<Vec<KeyId>, StoreError>;
    fn usage_list(&mut self, query: &UsageQuery) -> Result<UsagePage, StoreError>;
    /// As [`Backend::charged`].
    fn charged(&mut self, owner: PolicyOwner, id: &str, days: (u64, u64)) -> Result<Charged, StoreError>;
    fn used_ever(&mut self, owner: PolicyOwner, id: &str) -> Result<Vec<(KeyId, Units)>, StoreError>;
    fn usage_sum(&mut self, group: UsageGroup, filter: &UsageFilter) -> Result<Vec<UsageSum>, StoreError>;
    /// As [`crate::usage_totals::top`], of one moment.
    fn usage_top(
        &mut self,
        most: usize,
        group: UsageGroup,
        filter: &UsageFilter,
    ) -> Result<Vec<UsageSum>, StoreError>;
    fn orphan_list(&mut self, before: Option<HoldId>, limit: u32) -> Result<Vec<OrphanHold>, StoreError>;
}
