//! A backend in memory, for tests: it can fail a write, or write and then say that it failed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
mod audit;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use till_core::audit::{AuditEntry, ChainHead};
use till_core::key::{KeyId, KeyStatus};
use till_core::ledger::{Account, AccountId, HoldId, HoldKind, Ledger, OpenHold};
use till_core::limit::Units;
use till_core::policy::PolicyOwner;
use till_core::scope::Scope;
use till_core::time::{Month, Timestamp};
use till_core::token::{ClaimId, MasterKeyId};

use crate::backend::{Backend, Batch, DenialCount, Instance, KeyRow, Reader};
use crate::claim::{Claim, NewClaim};
use crate::entity::{Charged, EntityKind, EntityQuery, EntityRow, Lookup};
use crate::error::StoreError;
use crate::key::{KeyCounts, KeyDetails, KeyOptions, KeyPlace, KeyQuery, KeyRecord, KeySort};
use crate::master_key::{KnownMasterKey, MasterKeyRecord};
use crate::usage_record::{
    DenialQuery, DenialSum, OrphanHold, Outcome, UsageFilter, UsageGroup, UsagePage, UsageQuery, UsageRecord,
    UsageSum, hold_name,
};
use crate::usage_totals::{Sums, Total, TotalKey, amounts, top};

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
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    instance: Option<Instance>,
    index_key: Option<Vec<u8>>,
    /// When they were first there, and when they were retired.
    master_keys: BTreeMap<MasterKeyId, (Timestamp, Option<Timestamp>)>,
    master_keys_ended: BTreeSet<MasterKeyId>,
    keys: Vec<KeyRow>,
    /// Of paused keys.
    reasons: BTreeMap<KeyId, String>,
    pub(crate) claims: BTreeMap<ClaimId, (KeyId, NewClaim)>,
    accounts: BTreeMap<AccountId, Account>,
    /// And whether it is an orphan.
    pub(crate) holds: BTreeMap<HoldId, (OpenHold, bool)>,
    /// Of changed keys.
    versions: BTreeMap<KeyId, u64>,
    /// In the order in which they were made.
    pub(crate) entities: Vec<EntityRow>,
    lookups: BTreeMap<(EntityKind, [u8; 32]), (String, Lookup)>,
    endings: Vec<(PolicyOwner, String)>,
    audit: Vec<AuditEntry>,
    log: audit::DiskLog,
    pub(crate) denials: Vec<DenialCount>,
    pub(crate) denial_sums: Vec<DenialSum>,
    months: BTreeMap<Month, u128>,
    pub(crate) usage: BTreeMap<u64, UsageRecord>,
    /// Records that are deleted: sums know them.
    usage_gone: Vec<UsageRecord>,
    usage_last: u64,
}

impl Default for Disk {
    /// A new one, with what a migration puts there.
    fn default() -> Self {
        let project = EntityRow {
            kind: EntityKind::Project,
            id: crate::key::DEFAULT_PROJECT.into(),
            project: None,
            version: 1,
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
            ended_at: None,
            used_at: None,
            body: r#"{"name":"default"}"#.into(),
        };
        Self {
            instance: None,
            index_key: None,
            keys: Vec::new(),
            reasons: BTreeMap::new(),
            claims: BTreeMap::new(),
            accounts: BTreeMap::new(),
            holds: BTreeMap::new(),
            versions: BTreeMap::new(),
            entities: vec![project],
            lookups: BTreeMap::new(),
            endings: Vec::new(),
            master_keys: BTreeMap::new(),
            master_keys_ended: Default::default(),
            audit: Vec::new(),
            log: Default::default(),
            denials: Vec::new(),
            denial_sums: Vec::new(),
            months: BTreeMap::new(),
            usage: BTreeMap::new(),
            usage_gone: Vec::new(),
            usage_last: 0,
        }
    }
}

/// A disk that outlives its backends.
#[derive(Debug, Default)]
pub(crate) struct Medium {
    disk: Mutex<Disk>,
    /// One for each commit to come; then none.
    faults: Mutex<VecDeque<Fault>>,
    /// After so many more reads one fails.
    pub(crate) reads: Mutex<Option<u32>>,
    /// Whoever holds it stalls commits.
    pub(crate) gate: Mutex<()>,
    /// What it was before the last write, if nobody syncs.
    before: Mutex<Option<Disk>>,
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

    fn read(&self) -> Result<MutexGuard<'_, Disk>, StoreError> {
        let mut reads = self.reads.lock().unwrap();
        match *reads {
            Some(0) => {
                *reads = None;
                return Err(failed("read"));
            }
            Some(left) => *reads = Some(left - 1),
            None => {}
        }
        Ok(self.disk())
    }

    /// What a crash leaves: what was written, or if nobody syncs, what was written before.
    pub(crate) fn crashed(&self, is_unsynced: bool) -> Disk {
        let before = self.before.lock().unwrap().take().filter(|_| is_unsynced);
        before.unwrap_or_else(|| self.disk().clone())
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
        Ok(self.medium.read()?.accounts.get(&id).cloned())
    }

    fn key_options(&mut self, id: KeyId) -> Result<Option<KeyOptions>, StoreError> {
        Ok(self.medium.read()?.keys.iter().find(|row| row.key.id == id).map(|row| row.key.options))
    }

    fn key_details(&mut self, id: KeyId) -> Result<Option<KeyDetails>, StoreError> {
        let disk = self.medium.read()?;
        Ok(disk.keys.iter().find(|row| row.key.id == id).map(|row| KeyDetails {
            version: disk.versions.get(&id).copied().unwrap_or(1),
            place: row.key.place.clone(),
            provider: row.key.provider.clone(),
            created_at: row.created_at,
            options: row.key.options,
            metadata: row.key.metadata.clone(),
            paused_reason: disk.reasons.get(&id).cloned(),
        }))
    }

    fn key_scope(&mut self, id: KeyId) -> Result<Option<Scope>, StoreError> {
        Ok(self.medium.read()?.keys.iter().find(|row| row.key.id == id).map(|row| row.key.scope.clone()))
    }

    fn key_place(&mut self, id: KeyId) -> Result<Option<KeyPlace>, StoreError> {
        Ok(self.medium.read()?.keys.iter().find(|row| row.key.id == id).map(|row| row.key.place.clone()))
    }

    fn entity(&mut self, kind: EntityKind, id: &str) -> Result<Option<EntityRow>, StoreError> {
        let disk = self.medium.read()?;
        Ok(entity(&disk, kind, id).cloned())
    }

    fn entity_lookup(
        &mut self,
        kind: EntityKind,
        hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<String>, StoreError> {
        Ok(lookup(&self.medium.disk(), kind, hash, now))
    }

    fn live_keys(&mut self, owner: PolicyOwner, id: &str, now: Timestamp) -> Result<u64, StoreError> {
        let disk = self.medium.read()?;
        let is_live = |key: &KeyId| {
            let account = &disk.accounts[&AccountId::Key(*key)];
            account.revoked_at.is_none() && !account.is_expired(false, now)
        };
        Ok(keys_of(&disk, owner, id).iter().filter(|key| is_live(key)).count() as u64)
    }

    fn charged(
        &mut self,
        owner: PolicyOwner,
        id: &str,
        days: (u64, u64),
        after: Option<u64>,
    ) -> Result<Units, StoreError> {
        Ok(charged(&*self.medium.read()?, owner, id, days, after))
    }

    fn used_ever(&mut self, owner: PolicyOwner, id: &str) -> Result<Vec<(KeyId, Units)>, StoreError> {
        Ok(used_ever(&*self.medium.read()?, owner, id))
    }

    fn index_key(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.medium.disk().index_key.clone())
    }

    fn master_key_is_retired(&mut self, id: MasterKeyId) -> Result<Option<bool>, StoreError> {
        Ok(self.medium.disk().master_keys.get(&id).map(|(_, retired_at)| retired_at.is_some()))
    }

    fn orphan(&mut self, id: HoldId) -> Result<Option<OpenHold>, StoreError> {
        let disk = self.medium.read()?;
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

    fn sessions_delete(&mut self, now: Timestamp, _: u32) -> Result<u64, StoreError> {
        let mut disk = self.medium.disk();
        let is_over = |row: &EntityRow| {
            let end =
                serde_json::from_str::<crate::entity::Session>(&row.body).map(|session| session.expires_at);
            row.kind == EntityKind::Session && (row.ended_at.is_some() || end.is_ok_and(|end| end <= now.0))
        };
        let over: Vec<String> =
            disk.entities.iter().filter(|row| is_over(row)).map(|row| row.id.clone()).collect();
        disk.entities.retain(|row| row.kind != EntityKind::Session || !over.contains(&row.id));
        disk.lookups.retain(|(kind, _), (id, _)| *kind != EntityKind::Session || !over.contains(id));
        Ok(over.len() as u64)
    }

    fn open_holds(&mut self) -> Result<Vec<(HoldId, OpenHold)>, StoreError> {
        let disk = self.medium.disk();
        let is_forgotten = |hold: &OpenHold| hold.kind != HoldKind::Call && planted!(EscrowForgotten);
        let open = disk.holds.iter().filter(|(_, (hold, orphan))| !orphan && !is_forgotten(hold));
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
            if planted!(UnsyncedWrite) {
                *self.medium.before.lock().unwrap() = Some(self.medium.disk().clone());
            }
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
        // As in the row: time never goes back there.
        let seen = disk.instance.as_ref().map_or(instance.time_seen, |old| old.time_seen);
        disk.instance = Some(Instance { time_seen: instance.time_seen.max(seen), ..instance.clone() });
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
    if batch.shuts_out {
        disk.entities.retain(|row| row.kind != EntityKind::Session);
        disk.lookups.retain(|(kind, _), _| *kind != EntityKind::Session);
        disk.claims.clear();
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
        disk.versions.insert(*id, details.version);
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
    for write in &batch.entities {
        let (kind, id) = (write.row.kind, &write.row.id);
        match disk.entities.iter_mut().find(|row| row.kind == kind && row.id == *id) {
            Some(row) => *row = write.row.clone(),
            None => disk.entities.push(write.row.clone()),
        }
        if let Some(lookups) = &write.lookups {
            disk.lookups.retain(|(of, _), (leads_to, _)| *of != kind || leads_to != id);
            disk.lookups.extend(lookups.iter().map(|one| ((kind, one.hash), (id.clone(), *one))));
        }
    }
    disk.endings.extend(batch.endings.iter().cloned());
    disk.endings.retain(|ending| !batch.endings_done.contains(ending));
    for (kind, id, at) in &batch.uses {
        if let Some(row) = disk.entities.iter_mut().find(|row| row.kind == *kind && row.id == *id) {
            row.used_at = row.used_at.max(Some(*at));
        }
    }
    if disk.index_key.is_none() {
        disk.index_key.clone_from(&batch.index_key);
    }
    if batch.index_key_anew.is_some() {
        disk.index_key.clone_from(&batch.index_key_anew);
    }
    for (id, at) in &batch.master_keys {
        disk.master_keys.entry(*id).or_insert((*at, None));
    }
    for (id, at) in &batch.master_keys_retired {
        disk.master_keys.get_mut(id).expect("a retired master key is known").1.get_or_insert(*at);
    }
    disk.master_keys_ended.extend(batch.master_keys_ended.iter().copied());
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
        let DenialCount { key, code, minute, count } = *denial;
        let day = minute / 1440;
        let same = |sum: &&mut DenialSum| (sum.day, sum.key, sum.code) == (day, key, code);
        match disk.denial_sums.iter_mut().find(same) {
            Some(sum) => sum.count += count,
            None => disk.denial_sums.push(DenialSum { day, key, code, count }),
        }
    }
    disk.months.extend(batch.months.iter().copied());
}

fn entity<'a>(disk: &'a Disk, kind: EntityKind, id: &str) -> Option<&'a EntityRow> {
    disk.entities.iter().find(|row| row.kind == kind && row.id == id)
}

fn lookup(disk: &Disk, kind: EntityKind, hash: [u8; 32], now: Timestamp) -> Option<String> {
    let (id, lookup) = disk.lookups.get(&(kind, hash))?;
    lookup.until.is_none_or(|until| until > now).then(|| id.clone())
}

/// Empty if there is no such key.
fn project_of(disk: &Disk, key: Option<KeyId>) -> &str {
    let row = disk.keys.iter().find(|row| Some(row.key.id) == key);
    row.map_or("", |row| &row.key.place.project)
}

fn usage_sum(disk: &Disk, group: UsageGroup, filter: &UsageFilter) -> Vec<UsageSum> {
    let mut sums = Sums::new(group, filter);
    for (place, amounts) in disk.usage.values().chain(&disk.usage_gone).filter_map(total) {
        sums.add(&place, Some(project_of(disk, Some(place.key))), &amounts);
    }
    sums.finish()
}

fn keys_of(disk: &Disk, owner: PolicyOwner, id: &str) -> Vec<KeyId> {
    let of = |place: &KeyPlace| match owner {
        PolicyOwner::Project => place.project == id,
        PolicyOwner::Maker => place.maker.as_deref() == Some(id),
        PolicyOwner::Credential => place.credential.as_deref() == Some(id),
    };
    disk.keys.iter().filter(|row| of(&row.key.place)).map(|row| row.key.id).collect()
}

fn charged(disk: &Disk, owner: PolicyOwner, id: &str, (first, end): (u64, u64), after: Option<u64>) -> Units {
    let keys = keys_of(disk, owner, id);
    let gone = disk.usage_gone.iter().filter(|_| after.is_none());
    let kept = disk.usage.iter().filter(|(seq, _)| after.is_none_or(|after| **seq > after));
    let fits = |record: &&UsageRecord| keys.contains(&record.key) && (first..end).contains(&record.at.day());
    let all = kept.map(|(_, record)| record).chain(gone).filter(fits);
    all.fold(Units::default(), |sum, record| sum.zip(record.charged, u64::saturating_add))
}

fn used_ever(disk: &Disk, owner: PolicyOwner, id: &str) -> Vec<(KeyId, Units)> {
    let used = |key| (key, disk.accounts[&AccountId::Key(key)].used_up());
    keys_of(disk, owner, id).into_iter().map(used).collect()
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
    KeyRecord {
        id: row.key.id,
        place: row.key.place.clone(),
        version: disk.versions.get(&row.key.id).copied().unwrap_or(1),
        request: row.key.request,
        master_key: row.key.master_key,
        provider: row.key.provider.clone(),
        origin: row.key.origin.clone(),
        limits: account.limits(),
        options: row.key.options,
        scope: row.key.scope.clone(),
        used: account.used(),
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
        let in_use = |id| disk.holds.values().any(|(hold, orphan)| !orphan && hold.accounts.key() == id);
        let value = |key: &KeyRecord| match query.sort {
            KeySort::Created => 0,
            KeySort::LastUsed => key.last_used_at.map_or(0, |at| at.0 + 1),
            KeySort::Expires => {
                let id = AccountId::Key(key.id);
                disk.accounts[&id].ends_at(in_use(id)).map_or(u64::MAX, |at| at.0)
            }
        };
        let mut newest_first: Vec<KeyRecord> = disk.keys.iter().map(|row| record(&disk, row, now)).collect();
        newest_first.sort_by_key(value);
        if !query.ascending {
            newest_first.reverse();
        }
        let skip = match query.after {
            None => 0,
            Some(id) => newest_first
                .iter()
                .position(|key| {
                    key.id == id && query.project.as_ref().is_none_or(|project| key.place.project == *project)
                })
                .map_or(newest_first.len(), |at| at + 1),
        };
        let searched = query.searched();
        let matches = |key: &KeyRecord| {
            query.status.is_none_or(|status| key.status == status)
                && query.project.as_ref().is_none_or(|project| key.place.project == *project)
                && query.maker.as_ref().is_none_or(|maker| key.place.maker.as_ref() == Some(maker))
                && query.credential.as_ref().is_none_or(|name| key.place.credential.as_ref() == Some(name))
                && query.master_key.is_none_or(|id| key.master_key == Some(id))
                && query.provider.as_ref().is_none_or(|provider| key.provider == *provider)
                && query.created_before.is_none_or(|before| key.created_at < before)
                && query
                    .last_used_before
                    .is_none_or(|before| key.last_used_at.unwrap_or(key.created_at) < before)
                && searched.as_ref().is_none_or(|(text, ids)| {
                    let name = key.metadata.get("name").and_then(|name| name.as_str()).unwrap_or_default();
                    ids.is_some_and(|(first, last)| (first..=last).contains(&key.id))
                        || (key.metadata.contains_key("name")
                            && name.to_ascii_lowercase().contains(text.as_str()))
                })
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

    fn key_counts(&mut self, project: Option<&str>, now: Timestamp) -> Result<KeyCounts, StoreError> {
        let disk = self.0.disk();
        let mut counts = KeyCounts::default();
        let records = disk.keys.iter().map(|row| record(&disk, row, now));
        for key in records.filter(|key| project.is_none_or(|project| key.place.project == project)) {
            counts.add(key.status, 1);
        }
        Ok(counts)
    }

    fn denial_sums(&mut self, query: &DenialQuery) -> Result<Vec<DenialSum>, StoreError> {
        let disk = self.0.disk();
        let DenialQuery { days: (since, until), key, project, by_key } = query;
        let fits = |sum: &&DenialSum| {
            (*since..*until).contains(&sum.day)
                && key.is_none_or(|key| sum.key == Some(key))
                && project.as_ref().is_none_or(|project| project_of(&disk, sum.key) == project)
        };
        let shown = |sum: &DenialSum| DenialSum { key: sum.key.filter(|_| *by_key || key.is_some()), ..*sum };
        Ok(disk.denial_sums.iter().filter(fits).map(shown).collect())
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

    fn account(&mut self, id: AccountId) -> Result<Option<Account>, StoreError> {
        Ok(self.0.disk().accounts.get(&id).cloned())
    }

    fn master_key_list(&mut self, now: Timestamp) -> Result<Vec<MasterKeyRecord>, StoreError> {
        let disk = self.0.disk();
        let of = |(id, (created_at, retired_at)): (&MasterKeyId, &(Timestamp, Option<Timestamp>))| {
            let keys = disk.keys.iter().filter(|row| row.key.master_key == Some(*id));
            let is_live = |row: &&KeyRow| {
                !matches!(record(&disk, row, now).status, KeyStatus::Revoked | KeyStatus::Expired)
            };
            MasterKeyRecord {
                id: *id,
                created_at: *created_at,
                retired_at: *retired_at,
                keys: keys.clone().count() as u64,
                keys_live: keys.filter(is_live).count() as u64,
            }
        };
        let mut list: Vec<_> = disk.master_keys.iter().map(of).collect();
        list.sort_by_key(|master| (master.created_at, master.id));
        Ok(list)
    }

    fn master_keys_known(&mut self) -> Result<Vec<KnownMasterKey>, StoreError> {
        let disk = self.0.disk();
        let known = disk.master_keys.iter().map(|(id, (_, retired_at))| KnownMasterKey {
            id: *id,
            is_retired: retired_at.is_some(),
            is_ended: disk.master_keys_ended.contains(id),
        });
        Ok(known.collect())
    }

    fn master_key_keys(
        &mut self,
        id: MasterKeyId,
        after: Option<KeyId>,
        limit: u32,
    ) -> Result<Vec<KeyId>, StoreError> {
        let disk = self.0.disk();
        let skip = disk.keys.iter().position(|row| Some(row.key.id) == after).map_or(0, |at| at + 1);
        let made_under =
            disk.keys.iter().skip(skip).filter(|row| row.key.master_key == Some(id)).map(|row| row.key.id);
        let live = made_under.filter(|key| disk.accounts[&AccountId::Key(*key)].revoked_at.is_none());
        Ok(live.take(limit as usize).collect())
    }

    fn entity_fetch(&mut self, kind: EntityKind, id: &str) -> Result<Option<EntityRow>, StoreError> {
        Ok(entity(&self.0.disk(), kind, id).cloned())
    }

    fn entity_find(
        &mut self,
        kind: EntityKind,
        hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<EntityRow>, StoreError> {
        let disk = self.0.disk();
        let found = lookup(&disk, kind, hash, now).and_then(|id| entity(&disk, kind, &id));
        Ok(found.filter(|row| row.ended_at.is_none()).cloned())
    }

    fn entity_lookups(&mut self, kind: EntityKind, id: &str) -> Result<Vec<Lookup>, StoreError> {
        let disk = self.0.disk();
        let of = disk.lookups.iter().filter(|((of, _), (leads_to, _))| *of == kind && leads_to == id);
        let mut lookups: Vec<Lookup> = of.map(|(_, (_, lookup))| *lookup).collect();
        lookups.sort_by_key(|lookup| (lookup.until.is_some(), lookup.until));
        Ok(lookups)
    }

    fn entity_list(&mut self, kind: EntityKind, query: &EntityQuery) -> Result<Vec<EntityRow>, StoreError> {
        let disk = self.0.disk();
        let mut rows: Vec<&EntityRow> = disk.entities.iter().rev().filter(|row| row.kind == kind).collect();
        if let Some(after) = &query.after {
            let is_seen = |row: &&EntityRow| query.project.is_none() || row.project == query.project;
            let place = rows.iter().position(|row| row.id == *after && is_seen(row));
            rows.drain(..place.map_or(rows.len(), |place| place + 1));
        }
        let fits = |row: &&EntityRow| {
            (query.with_ended || row.ended_at.is_none())
                && query.project.as_ref().is_none_or(|project| row.project.as_ref() == Some(project))
        };
        let limit = query.limit.map_or(usize::MAX, |limit| limit as usize);
        Ok(rows.into_iter().filter(fits).take(limit).cloned().collect())
    }

    fn keys_of(&mut self, owner: PolicyOwner, id: &str) -> Result<Vec<KeyId>, StoreError> {
        Ok(keys_of(&self.0.disk(), owner, id))
    }

    fn keys_left(
        &mut self,
        owner: PolicyOwner,
        id: &str,
        after: Option<KeyId>,
        limit: u32,
    ) -> Result<Vec<KeyId>, StoreError> {
        let disk = self.0.disk();
        let all = keys_of(&disk, owner, id);
        let first = after.and_then(|after| all.iter().position(|key| *key == after)).map_or(0, |at| at + 1);
        let is_left = |key: &&KeyId| disk.accounts[&AccountId::Key(**key)].revoked_at.is_none();
        Ok(all[first..].iter().filter(is_left).take(limit as usize).copied().collect())
    }

    fn endings(&mut self) -> Result<Vec<(PolicyOwner, String)>, StoreError> {
        Ok(self.0.disk().endings.clone())
    }

    fn usage_list(&mut self, query: &UsageQuery) -> Result<UsagePage, StoreError> {
        let disk = self.0.disk();
        let filter = &query.filter;
        let fits = |(seq, record): &(&u64, &UsageRecord)| {
            query.before.is_none_or(|before| **seq < before)
                && query.outcome.is_none_or(|outcome| record.outcome == outcome)
                && filter.key.is_none_or(|key| record.key == key)
                && filter.keys.as_ref().is_none_or(|keys| keys.contains(&record.key))
                && filter.provider.as_ref().is_none_or(|provider| *record.provider == **provider)
                && filter.model.as_ref().is_none_or(|model| record.model.as_ref() == Some(model))
                && filter.since.is_none_or(|since| record.at >= since)
                && filter.until.is_none_or(|until| record.at < until)
        };
        let newest_first = disk.usage.iter().rev().filter(fits);
        let one_more = newest_first.take((query.limit as usize).saturating_add(1));
        let found = one_more.map(|(seq, record)| (*seq, record.clone())).collect();
        Ok(UsagePage::of(found, query.limit, None))
    }

    fn charged(&mut self, owner: PolicyOwner, id: &str, days: (u64, u64)) -> Result<Charged, StoreError> {
        let disk = self.0.disk();
        Ok(Charged { days, units: charged(&disk, owner, id, days, None), last: disk.usage_last })
    }

    fn used_ever(&mut self, owner: PolicyOwner, id: &str) -> Result<Vec<(KeyId, Units)>, StoreError> {
        Ok(used_ever(&self.0.disk(), owner, id))
    }

    fn usage_sum(&mut self, group: UsageGroup, filter: &UsageFilter) -> Result<Vec<UsageSum>, StoreError> {
        Ok(usage_sum(&self.0.disk(), group, filter))
    }

    fn usage_top(
        &mut self,
        most: usize,
        group: UsageGroup,
        filter: &UsageFilter,
    ) -> Result<Vec<UsageSum>, StoreError> {
        let disk = self.0.disk();
        top(most, group, filter, |group, filter| Ok(usage_sum(&disk, group, filter)))
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
