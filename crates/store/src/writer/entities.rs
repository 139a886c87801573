//! What administrators keep besides keys: written in one step with its audit entry.

use serde_json::Value;
use till_core::audit::Actor;

use super::Writer;
use crate::entity::{EntityChange, EntityKind, EntityRow, EntityWrite, Lookup};
use crate::error::StoreError;

impl Writer {
    /// Something as it is with the changes of this batch.
    pub(super) fn entity(&mut self, kind: EntityKind, id: &str) -> Result<Option<EntityRow>, StoreError> {
        let in_batch =
            self.batch.entities.iter().rev().find(|write| write.row.kind == kind && write.row.id == id);
        match in_batch {
            Some(write) => Ok(Some(write.row.clone())),
            None => self.backend.entity(kind, id),
        }
    }

    /// Writes a change. What ends with it is noted first and revoked later, in pieces, by whoever waits for this.
    pub(super) fn entity_put(&mut self, change: EntityChange, actor: &Actor) -> Result<bool, StoreError> {
        let (kind, id, ends) = (change.kind, change.id.clone(), change.ends);
        self.entity_write(change, actor)?;
        if let Some(owner) = kind.ends_keys_as().filter(|_| ends) {
            if kind == EntityKind::Project {
                // Their keys are keys of the project.
                self.credentials_end(&id, actor)?;
            }
            self.batch.endings.push((owner, id));
        }
        Ok(true)
    }

    /// The change alone.
    pub(super) fn entity_write(&mut self, change: EntityChange, actor: &Actor) -> Result<(), StoreError> {
        let EntityChange { kind, id, version, project, body, lookups, ends, action, detail, charged, used } =
            change;
        let before = self.entity(kind, &id)?;
        let row = match (&before, version) {
            (None, None) => EntityRow {
                kind,
                id: id.clone(),
                project,
                version: 1,
                created_at: self.now,
                updated_at: self.now,
                ended_at: ends.then_some(self.now),
                used_at: None,
                body,
            },
            (Some(_), None) => return Err(StoreError::Conflict { what: format!("{} {id}", kind.as_str()) }),
            (None, Some(_)) => return Err(StoreError::Missing),
            (Some(row), Some(_)) if row.ended_at.is_some() => return Err(StoreError::Missing),
            (Some(row), Some(version)) if row.version != version => return Err(StoreError::Changed),
            (Some(row), Some(version)) => EntityRow {
                version: version + 1,
                updated_at: self.now,
                ended_at: ends.then_some(self.now),
                project,
                body,
                ..row.clone()
            },
        };
        let after = row.policy()?;
        after.check().map_err(|error| StoreError::Invalid { reason: error.to_string() })?;
        if let Some(project) = row.project.as_deref().filter(|_| !ends) {
            self.check_project(project)?;
        }
        if kind == EntityKind::Credential && !ends {
            self.check_sealed(&row)?;
        }
        for lookup in lookups.iter().flatten() {
            self.check_lookup(kind, &id, lookup)?;
        }
        let detail = self.completed(&row, lookups.as_deref(), detail);
        let policy_before = before.map_or_else(|| Ok(Default::default()), |row| row.policy())?;
        // What has ended is found by nothing any more.
        let lookups = if ends { Some(Vec::new()) } else { lookups };
        let ceilings = self.rules_read(kind, &id, &policy_before, &after, &charged, used.as_ref())?;
        self.is_half_done = true;
        self.batch.entities.push(EntityWrite { row, lookups });
        self.policy_set(kind, &id, after, ceilings)?;
        self.audit(actor, &action, &id, detail);
        Ok(())
    }

    /// The detail of an audit entry with the project by which its auditors find it, and with the hash by which a token that
    /// was found somewhere can be looked for.
    fn completed(&self, row: &EntityRow, lookups: Option<&[Lookup]>, detail: String) -> String {
        let Ok(Value::Object(mut fields)) = serde_json::from_str(&detail) else { return detail };
        let newest = lookups.and_then(|all| all.iter().find(|lookup| lookup.until.is_none()));
        let newest = newest.filter(|_| row.kind == EntityKind::Token);
        if let Some(hash) = newest.and_then(|one| self.log.token_hash(Some(one.hash))) {
            fields.insert("tokenHash".into(), hash.into());
        }
        if let Some(project) = &row.project {
            fields.insert("project".into(), project.as_str().into());
        }
        Value::Object(fields).to_string()
    }

    /// Whether something may be made in a project.
    pub(super) fn check_project(&mut self, id: &str) -> Result<(), StoreError> {
        match self.entity(EntityKind::Project, id)? {
            Some(row) if row.ended_at.is_none() => Ok(()),
            _ => Err(StoreError::NotAllowed { reason: "`project` is none that there is".to_owned() }),
        }
    }

    /// A way to find something leads to one thing only.
    fn check_lookup(&mut self, kind: EntityKind, id: &str, lookup: &Lookup) -> Result<(), StoreError> {
        let of_batch = |write: &&EntityWrite| {
            write.row.kind == kind && write.lookups.iter().flatten().any(|one| one.hash == lookup.hash)
        };
        let in_batch = self.batch.entities.iter().rev().find(of_batch).map(|write| write.row.id.clone());
        let taken = match in_batch {
            Some(taken) => Some(taken),
            None => self.backend.entity_lookup(kind, lookup.hash, self.now)?,
        };
        match taken {
            Some(taken) if taken != id => {
                Err(StoreError::Conflict { what: format!("a {} of this name", kind.as_str()) })
            }
            _ => Ok(()),
        }
    }
}
