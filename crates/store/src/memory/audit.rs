//! The audit log of the backend in memory.

use std::collections::BTreeSet;

use till_core::audit::{AuditEntry, AuditHash, AuditPublicKey, Checkpoint};
use till_core::time::Timestamp;

use super::{Disk, MemoryBackend, MemoryReader};
use crate::audit_log::{
    AuditBackend, AuditPage, AuditQuery, AuditReader, AuditState, DeniedMinute, LogChange, LogState,
};
use crate::error::StoreError;

#[derive(Clone, Debug, Default)]
pub(crate) struct DiskLog {
    keys: Vec<AuditPublicKey>,
    checkpoints: Vec<Checkpoint>,
    anchor: u64,
    denials_entered: u64,
    settings: Option<String>,
}

pub(super) fn change(disk: &mut Disk, change: &LogChange) {
    let log = &mut disk.log;
    log.keys.extend(&change.keys);
    log.checkpoints.extend(change.checkpoint);
    log.denials_entered = change.denials_entered.unwrap_or(log.denials_entered);
    if change.settings.is_some() {
        log.settings.clone_from(&change.settings);
    }
    if let Some(anchor) = change.anchor {
        assert!(log.checkpoints.iter().any(|checkpoint| checkpoint.seq == anchor), "an anchor is signed");
        log.anchor = anchor;
    }
}

impl AuditBackend for MemoryBackend {
    fn log_state(&mut self) -> Result<LogState, StoreError> {
        let disk = self.medium.disk();
        Ok(LogState {
            sealed: disk.log.checkpoints.last().map_or(0, |checkpoint| checkpoint.seq),
            anchor: disk.log.anchor,
            keys: disk.log.keys.iter().map(AuditPublicKey::id).collect(),
            denials_entered: disk.log.denials_entered,
            denied: None,
        })
    }

    fn denied_minute(&mut self, after: u64) -> Result<Option<u64>, StoreError> {
        Ok(self.medium.disk().denials.iter().map(|row| row.minute).filter(|minute| *minute > after).min())
    }

    fn denied_in(&mut self, minute: u64, most: u32) -> Result<DeniedMinute, StoreError> {
        let disk = self.medium.disk();
        let of_minute = disk.denials.iter().filter(|row| row.minute == minute).copied();
        let (mut known, unknown): (Vec<_>, Vec<_>) = of_minute.partition(|row| row.key.is_some());
        known.sort_by_key(|row| (std::cmp::Reverse(row.count), row.key.map(|key| key.0), row.code.as_str()));
        let rest = known.split_off(known.len().min(most as usize));
        let mut denied = DeniedMinute {
            most: known,
            other_keys: rest.iter().map(|row| row.key).collect::<BTreeSet<_>>().len() as u64,
            unknown: unknown.iter().map(|row| row.count).sum(),
            ..DeniedMinute::default()
        };
        for row in rest.iter().chain(&unknown) {
            *denied.others.entry(row.code).or_insert(0) += row.count;
        }
        Ok(denied)
    }

    fn entry_hash(&mut self, seq: u64) -> Result<Option<AuditHash>, StoreError> {
        let disk = self.medium.disk();
        let entry = disk.audit.iter().find(|entry| entry.seq == seq).map(|entry| entry.hash);
        Ok(entry.or(disk.log.checkpoints.iter().find(|one| one.seq == seq).map(|one| one.hash)))
    }

    fn entries_after(&mut self, seq: u64, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        let disk = self.medium.disk();
        let first = seq.max(disk.log.anchor);
        Ok(disk.audit.iter().filter(|entry| entry.seq > first).take(limit as usize).cloned().collect())
    }

    fn checkpoint_before(&mut self, before: Timestamp) -> Result<Option<Checkpoint>, StoreError> {
        let disk = self.medium.disk();
        Ok(disk.log.checkpoints.iter().rev().find(|checkpoint| checkpoint.at < before).copied())
    }

    fn log_delete(&mut self, limit: u32) -> Result<u64, StoreError> {
        let mut disk = self.medium.disk();
        let (anchor, entered) = (disk.log.anchor, disk.log.denials_entered);
        let old = disk.audit.iter().take(limit as usize).filter(|entry| entry.seq <= anchor).count();
        disk.audit.drain(..old);
        disk.log.checkpoints.retain(|checkpoint| checkpoint.seq >= anchor);
        disk.denials.retain(|row| row.minute > entered);
        Ok(old as u64)
    }
}

impl AuditReader for MemoryReader {
    fn audit_page(&mut self, query: &AuditQuery) -> Result<AuditPage, StoreError> {
        let disk = self.0.disk();
        let fits = |entry: &&AuditEntry| {
            let is_behind = |after| if query.newest_first { entry.seq < after } else { entry.seq > after };
            entry.seq > disk.log.anchor
                && query.after.is_none_or(is_behind)
                && query.actor.as_ref().is_none_or(|actor| entry.actor.id == *actor)
                && query.action.as_ref().is_none_or(|action| action.matches(&entry.action))
                && query.target.as_ref().is_none_or(|target| entry.target == *target)
                && query.from.is_none_or(|from| entry.at >= from)
                && query.to.is_none_or(|to| entry.at < to)
                && query.mentions.as_ref().is_none_or(|text| entry.detail.contains(text))
                && query.project.as_ref().is_none_or(|project| {
                    let detail: serde_json::Value = serde_json::from_str(&entry.detail).unwrap_or_default();
                    detail["project"] == *project.as_str()
                        || entry.action.starts_with("project.") && entry.target == *project
                })
        };
        let mut found: Vec<AuditEntry> = disk.audit.iter().filter(fits).cloned().collect();
        if query.newest_first {
            found.reverse();
        }
        let limit = query.limit as usize;
        let is_cut = found.len() > limit;
        found.truncate(limit);
        let next_after = found.last().map(|entry| entry.seq).filter(|_| is_cut);
        Ok(AuditPage { entries: found, next_after })
    }

    fn audit_state(&mut self) -> Result<AuditState, StoreError> {
        let log = self.0.disk().log.clone();
        Ok(AuditState {
            anchor: log.checkpoints.iter().find(|checkpoint| checkpoint.seq == log.anchor).copied(),
            keys: log.keys,
            last: log.checkpoints.last().copied(),
            settings: log.settings,
        })
    }

    fn audit_checkpoints(&mut self, after_seq: u64, limit: u32) -> Result<Vec<Checkpoint>, StoreError> {
        let log = self.0.disk().log.clone();
        let fits = |one: &&Checkpoint| one.seq > after_seq && one.seq >= log.anchor;
        Ok(log.checkpoints.iter().filter(fits).take(limit as usize).copied().collect())
    }
}
