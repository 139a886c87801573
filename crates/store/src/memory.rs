//! A backend in memory, for tests: it can fail a write, or write and then say that it failed.

mod audit;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use till_core::audit::{AuditEntry, ChainHead};
use till_core::key::KeyId;
use till_core::ledger::{Account, AccountId, HoldId, Ledger, OpenHold};
use till_core::limit::{Dimension, Units};
use till_core::scope::Scope;
use till_core::time::Timestamp;
use till_core::token::ClaimId;

use crate::admin_token::{AdminToken, NewAdminToken};
use crate::backend::{Backend, Batch, DenialCount, Instance, KeyRow, Reader};
use crate::claim::{Claim, NewClaim};
use crate::error::StoreError;
use crate::key::{KeyDetails, KeyOptions, KeyQuery, KeyRecord};
use crate::month::Month;
use crate::usage_record::{
    OrphanHold, Outcome, UsageFilter, UsageGroup, UsageQuery, UsageRecord, UsageSum, hold_name,
};
use crate::usage_totals::{Total, TotalKey, amounts, sums};

/// What a commit does instead of succeeding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Nothing is written.
    Fail,
    /// Everything is written, and the answer is an error all the same.
    WriteAndFail,
    /// The disk can't even be read when the writer opens it again.
    FailAndNotReopen,
    /// A fault in the program.
    Panic,
}

/// What is "on disk".
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    instance: Option<Instance>,
    index_key: Option<Vec<u8>>,
    keys: Vec<KeyRow>,
    /// Of paused keys.
    reasons: BTreeMap<KeyId, String>,
    pub(crate) claims: BTreeMap<ClaimId, (KeyId, NewClaim)>,
    accounts: BTreeMap<AccountId, Account>,
    /// And whether it is an orphan.
    pub(crate) holds: BTreeMap<HoldId, (OpenHold, bool)>,
    tokens: BTreeMap<String, (NewAdminToken, Timestamp)>,
    audit: Vec<AuditEntry>,
    log: audit::DiskLog,
    pub(crate) denials: Vec<DenialCount>,
    months: BTreeMap<Month, u128>,
    pub(crate) usage: BTreeMap<u64, UsageRecord>,
    /// Records that are deleted: sums know them.
    usage_gone: Vec<UsageRecord>,
    usage_last: u64,
}

/// A disk that outlives its backends.
#[derive(Debug, Default)]
pub(crate) struct Medium {
    disk: Mutex<Disk>,
    /// One for each commit to come; then none.
    faults: Mutex<VecDeque<Fault>>,
    /// Whoever holds it stalls commits.
    pub(crate) gate: Mutex<()>,
}

impl Medium {
    pub(crate) fn with(disk: Disk) -> Arc<Self> {
        Arc::new(Self { disk: Mutex::new(disk), ..Self::default() })
    }

    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }

    pub(crate) fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap().extend(faults);
    }

    pub(crate) fn heal(&self) {
        self.faults.lock().unwrap().clear();
    }

    pub(crate) fn heal_if(&self, condition: bool) {
        if condition {
            self.heal();
        }
    }
}

#[derive(Debug)]
pub(crate) struct MemoryBackend {
    medium: Arc<Medium>,
    /// A write failed and nobody looked again.
    stale: bool,
    reopens: bool,
}

impl MemoryBackend {
    pub(crate) fn new(medium: Arc<Medium>) -> Self {
        Self { medium, stale: false, reopens: true }
    }
}

fn failed(action: &'static str) -> StoreError {
    StoreError::Failed { action, file: PathBuf::from("memory"), reason: "no space left on device".into() }
}

impl Backend for MemoryBackend {
    fn instance(&mut self) -> Result<Option<Instance>, StoreError> {
        Ok(self.medium.disk().instance.clone())
    }

    fn account(&mut self, id: AccountId) -> Result<Option<Account>, StoreError> {
        Ok(self.medium.disk().accounts.get(&id).cloned())
    }

    fn key_options(&mut self, id: KeyId) -> Result<Option<KeyOptions>, StoreError> {
        Ok(self.medium.disk().keys.iter().find(|row| row.key.id == id).map(|row| row.key.options))
    }

    fn key_details(&mut self, id: KeyId) -> Result<Option<KeyDetails>, StoreError> {
        let disk = self.medium.disk();
        Ok(disk.keys.iter().find(|row| row.key.id == id).map(|row| KeyDetails {
            options: row.key.options,
            metadata: row.key.metadata.clone(),
            paused_reason: disk.reasons.get(&id).cloned(),
        }))
    }

    fn key_scope(&mut self, id: KeyId) -> Result<Option<Scope>, StoreError> {
        Ok(self.medium.disk().keys.iter().find(|row| row.key.id == id).map(|row| row.key.scope.clone()))
    }

    fn orphan(&mut self, id: HoldId) -> Result<Option<OpenHold>, StoreError> {
        let disk = self.medium.disk();
        Ok(disk.holds.get(&id).filter(|(_, orphan)| *orphan).map(|(hold, _)| hold.clone()))
    }

    fn usage_delete(&mut self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let mut disk = self.medium.disk();
        let old = disk.usage.iter().filter(|(_, record)| record.at < before).map(|(seq, _)| *seq);
        let old: Vec<u64> = old.take(limit as usize).collect();
        let gone: Vec<UsageRecord> = old.iter().filter_map(|seq| disk.usage.remove(seq)).collect();
        disk.usage_gone.extend(gone);
        Ok(old.len() as u64)
    }

    fn claim(&mut self, id: ClaimId) -> Result<Option<(KeyId, Timestamp)>, StoreError> {
        Ok(self.medium.disk().claims.get(&id).map(|(key, claim)| (*key, claim.expires_at)))
    }

    fn claims_delete(&mut self, now: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let mut disk = self.medium.disk();
        let over = disk.claims.iter().filter(|(_, (_, claim))| claim.expires_at <= now);
        let over: Vec<ClaimId> = over.map(|(id, _)| *id).take(limit as usize).collect();
        disk.claims.retain(|id, _| !over.contains(id));
        Ok(over.len() as u64)
    }

    fn open_holds(&mut self) -> Result<Vec<(HoldId, OpenHold)>, StoreError> {
        let disk = self.medium.disk();
        let open = disk.holds.iter().filter(|(_, (_, orphan))| !orphan);
        Ok(open.map(|(id, (hold, _))| (*id, hold.clone())).collect())
    }

    fn audit_head(&mut self) -> Result<ChainHead, StoreError> {
        let disk = self.medium.disk();
        Ok(disk.audit.last().map_or(ChainHead::EMPTY, |entry| ChainHead { seq: entry.seq, hash: entry.hash }))
    }

    fn month_total(&mut self, month: Month) -> Result<u128, StoreError> {
        Ok(self.medium.disk().months.get(&month).copied().unwrap_or(0))
    }

    fn commit(&mut self, batch: &Batch, ledger: &Ledger) -> Result<(), StoreError> {
        let gate = self.medium.gate.lock().unwrap();
        drop(gate);
        assert!(!self.stale, "after a failed write a backend must be opened again");
        let fault = self.medium.faults.lock().unwrap().pop_front().unwrap_or(Fault::None);
        assert!(fault != Fault::Panic, "a scripted panic");
        if matches!(fault, Fault::None | Fault::WriteAndFail) {
            write(&mut self.medium.disk(), batch, ledger);
        }
        self.stale = fault != Fault::None;
        self.reopens = fault != Fault::FailAndNotReopen;
        if self.stale { Err(failed("write")) } else { Ok(()) }
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        if !std::mem::replace(&mut self.reopens, true) {
            return Err(failed("open"));
        }
        self.stale = false;
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(MemoryReader(Arc::clone(&self.medium)))
    }
}

fn write(disk: &mut Disk, batch: &Batch, ledger: &Ledger) {
    if let Some(instance) = &batch.instance {
        disk.instance = Some(instance.clone());
    }
    for id in &batch.accounts {
        let account = ledger.account(*id).expect("a changed account is loaded").clone();
        let mut kept = account.clone();
        // As in a row: these columns are only written when the batch says so.
        if let Some(old) = disk.accounts.get(id).filter(|_| !batch.lifetimes.contains(id)) {
            (kept.lifetime, kept.idle_from) = (old.lifetime, old.idle_from);
            (kept.expired_at, kept.paused_at) = (old.expired_at, old.paused_at);
        }
        disk.accounts.insert(*id, kept);
    }
    disk.keys.extend(batch.keys.iter().cloned());
    for (key, claim) in &batch.claims {
        disk.claims.insert(claim.id, (*key, claim.clone()));
    }
    for id in &batch.claims_gone {
        disk.claims.remove(id);
    }
    for (id, details) in &batch.details {
        let row = disk.keys.iter_mut().find(|row| row.key.id == *id).expect("a changed key has a row");
        (row.key.options, row.key.metadata) = (details.options, details.metadata.clone());
        match &details.paused_reason {
            Some(reason) => drop(disk.reasons.insert(*id, reason.clone())),
            None => drop(disk.reasons.remove(id)),
        }
    }
    if let (Some(seen), Some(instance)) = (batch.time_seen, &mut disk.instance) {
        instance.time_seen = instance.time_seen.max(seen);
    }
    for id in &batch.holds_opened {
        if let Some(hold) = ledger.open_hold(*id) {
            assert!(disk.holds.insert(*id, (hold.clone(), false)).is_none(), "a hold id is used once");
        }
    }
    for id in &batch.holds_changed {
        if let (Some(row), Some(hold)) = (disk.holds.get_mut(id), ledger.open_hold(*id)) {
            row.0 = hold.clone();
        }
    }
    for id in &batch.holds_closed {
        disk.holds.remove(id);
    }
    for id in &batch.holds_orphaned {
        disk.holds.get_mut(id).expect("an orphan was open").1 = true;
    }
    for id in &batch.holds_forgiven {
        disk.holds.remove(id);
        for record in disk.usage.values_mut().filter(|record| record.request_id == hold_name(*id)) {
            (record.outcome, record.charged) = (Outcome::Unsent, Units::default());
        }
    }
    for record in &batch.usage {
        disk.usage_last += 1;
        disk.usage.insert(disk.usage_last, UsageRecord::clone(record));
    }
    for (token, at) in &batch.admin_tokens {
        disk.tokens.insert(token.name.clone(), (token.clone(), *at));
    }
    if disk.index_key.is_none() {
        disk.index_key.clone_from(&batch.index_key);
    }
    disk.audit.extend(batch.audit.iter().cloned());
    audit::change(disk, &batch.log);
    for denial in &batch.denials {
        let same = |row: &&mut DenialCount| {
            (row.key, row.code, row.minute) == (denial.key, denial.code, denial.minute)
        };
        match disk.denials.iter_mut().find(same) {
            Some(row) => row.count += denial.count,
            None => disk.denials.push(*denial),
        }
    }
    disk.months.extend(batch.months.iter().copied());
}

struct MemoryReader(Arc<Medium>);

fn total(call: &UsageRecord) -> Option<(TotalKey<&str>, Total)> {
    let names = [&call.provider, call.model.as_deref().unwrap_or_default(), &call.endpoint];
    let place = TotalKey::of(call.at, call.key, names, call.status, call.outcome, call.charged)?;
    Some((place, amounts(call.tokens, call.charged).map(u128::from)))
}

fn record(disk: &Disk, row: &KeyRow, now: Timestamp) -> KeyRecord {
    let account = &disk.accounts[&AccountId::Key(row.key.id)];
    let is_in_use = disk
        .holds
        .values()
        .any(|(hold, orphan)| !orphan && hold.accounts.key() == AccountId::Key(row.key.id));
    let used = |dimension| u64::try_from(account.balance(dimension).used()).unwrap_or(u64::MAX);
    KeyRecord {
        id: row.key.id,
        project: row.project.into(),
        provider: row.key.provider.clone(),
        origin: row.key.origin.clone(),
        limits: account.limits(),
        options: row.key.options,
        scope: row.key.scope.clone(),
        used: Units {
            activations: used(Dimension::Activations),
            tokens: used(Dimension::Tokens),
            spend_nanos: used(Dimension::Spend),
        },
        status: account.status(is_in_use, now),
        metadata: row.key.metadata.clone(),
        created_at: row.created_at,
        last_used_at: account.last_used_at,
        revoked_at: account.revoked_at,
        lifetime: account.lifetime,
        expired_at: account.expired_at,
        paused_at: account.paused_at,
        paused_reason: disk.reasons.get(&row.key.id).cloned(),
    }
}

impl Reader for MemoryReader {
    fn key_fetch(&mut self, id: KeyId, now: Timestamp) -> Result<Option<KeyRecord>, StoreError> {
        let disk = self.0.disk();
        Ok(disk.keys.iter().find(|row| row.key.id == id).map(|row| record(&disk, row, now)))
    }

    fn key_list(&mut self, query: &KeyQuery, now: Timestamp) -> Result<Vec<KeyRecord>, StoreError> {
        let disk = self.0.disk();
        let newest_first: Vec<KeyRecord> =
            disk.keys.iter().rev().map(|row| record(&disk, row, now)).collect();
        let skip = match query.after {
            None => 0,
            Some(id) => {
                newest_first.iter().position(|key| key.id == id).map_or(newest_first.len(), |at| at + 1)
            }
        };
        let matches = |key: &KeyRecord| {
            query.status.is_none_or(|status| key.status == status)
                && query.provider.as_ref().is_none_or(|provider| key.provider == *provider)
                && query.created_before.is_none_or(|before| key.created_at < before)
                && query
                    .last_used_before
                    .is_none_or(|before| key.last_used_at.unwrap_or(key.created_at) < before)
                && query.metadata.as_ref().is_none_or(|(name, value)| {
                    key.metadata.get(name).and_then(|v| v.as_str()) == Some(value)
                })
        };
        let limit = query.limit.map_or(usize::MAX, |limit| limit as usize);
        Ok(newest_first.into_iter().skip(skip).filter(matches).take(limit).collect())
    }

    fn key_count(&mut self) -> Result<u64, StoreError> {
        Ok(self.0.disk().keys.len() as u64)
    }

    fn month_total(&mut self, month: Month) -> Result<u128, StoreError> {
        Ok(self.0.disk().months.get(&month).copied().unwrap_or(0))
    }

    fn claim_fetch(&mut self, id: ClaimId) -> Result<Option<Claim>, StoreError> {
        let disk = self.0.disk();
        let provider = |id: KeyId| {
            let row = disk.keys.iter().find(|row| row.key.id == id).expect("a claim is of a key");
            row.key.provider.clone()
        };
        Ok(disk.claims.get(&id).map(|(key, claim)| Claim {
            key: *key,
            provider: provider(*key),
            sealed: claim.sealed.clone(),
            expires_at: claim.expires_at,
        }))
    }

    fn index_key(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.0.disk().index_key.clone())
    }

    fn admin_token_fetch(&mut self, hash: [u8; 32]) -> Result<Option<AdminToken>, StoreError> {
        let disk = self.0.disk();
        let found = disk.tokens.values().find(|(token, _)| token.hash == hash);
        Ok(found.map(|(token, at)| AdminToken {
            name: token.name.clone(),
            role: token.role.clone(),
            created_at: *at,
        }))
    }

    fn admin_token_exists(&mut self, name: &str) -> Result<bool, StoreError> {
        Ok(self.0.disk().tokens.contains_key(name))
    }

    fn usage_list(&mut self, query: &UsageQuery) -> Result<Vec<(u64, UsageRecord)>, StoreError> {
        let disk = self.0.disk();
        let filter = &query.filter;
        let fits = |(seq, record): &(&u64, &UsageRecord)| {
            query.before.is_none_or(|before| **seq < before)
                && query.outcome.is_none_or(|outcome| record.outcome == outcome)
                && filter.key.is_none_or(|key| record.key == key)
                && filter.provider.as_ref().is_none_or(|provider| *record.provider == **provider)
                && filter.model.as_ref().is_none_or(|model| record.model.as_ref() == Some(model))
                && filter.since.is_none_or(|since| record.at >= since)
                && filter.until.is_none_or(|until| record.at < until)
        };
        let newest_first = disk.usage.iter().rev().filter(fits);
        Ok(newest_first.take(query.limit as usize).map(|(seq, record)| (*seq, record.clone())).collect())
    }

    fn usage_sum(&mut self, group: UsageGroup, filter: &UsageFilter) -> Result<Vec<UsageSum>, StoreError> {
        let disk = self.0.disk();
        Ok(sums(disk.usage.values().chain(&disk.usage_gone).filter_map(total), group, filter))
    }

    fn orphan_list(&mut self, before: Option<HoldId>, limit: u32) -> Result<Vec<OrphanHold>, StoreError> {
        let disk = self.0.disk();
        let orphans = disk
            .holds
            .iter()
            .rev()
            .filter(|(id, (_, orphan))| *orphan && before.is_none_or(|before| **id < before));
        let orphan = |(id, (hold, _)): (&HoldId, &(OpenHold, bool))| {
            let AccountId::Key(key) = hold.accounts.key() else { panic!("a hold of no key") };
            OrphanHold::new(*id, key, hold)
        };
        Ok(orphans.take(limit as usize).map(orphan).collect())
    }
}
