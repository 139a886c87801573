//! Stored upstream keys: what depends on them, and who is told.

use serde_json::json;
use till_core::audit::Actor;
use till_core::token::MasterKeyId;

use super::Writer;
use crate::entity::{Credential, EntityChange, EntityKind, EntityQuery, EntityRow, Kept};
use crate::error::StoreError;
use crate::key::NewKey;

impl Writer {
    /// Whether a key may be minted from it, there and for that.
    pub(super) fn check_credential(&mut self, id: &str, key: &NewKey) -> Result<(), StoreError> {
        let found =
            self.entity(EntityKind::Credential, id)?.map(EntityRow::kept::<Credential>).transpose()?;
        let usable =
            found.filter(|found| found.ended_at.is_none() && found.is.may_mint_in(&key.place.project));
        match usable {
            None => Err(not_allowed("`upstream` is no credential that there is")),
            Some(found) if found.is.provider != key.provider => {
                Err(not_allowed("`provider` is not the one that `upstream` is for"))
            }
            Some(_) => Ok(()),
        }
    }

    /// Nothing is sealed by a master key that was retired meanwhile.
    pub(super) fn check_sealed(&mut self, row: &EntityRow) -> Result<(), StoreError> {
        let kept: Kept<Credential> = row.clone().kept()?;
        match kept.is.sealed_by() {
            Some(id) if self.is_retired(id)? == Some(true) => Err(StoreError::Invalid {
                reason: format!("master key {id} was retired meanwhile: send the request again"),
            }),
            _ => Ok(()),
        }
    }

    /// A master key is not retired while something is sealed by it.
    pub(super) fn check_nothing_sealed_by(&mut self, id: MasterKeyId) -> Result<(), StoreError> {
        for kept in self.credentials(&EntityQuery::default())? {
            if kept.is.sealed_by() == Some(id) {
                let reason = format!(
                    "the upstream credential {} is sealed by master key {id} and could not be sealed anew: give it its \
                     upstream key again, or remove it",
                    kept.id
                );
                return Err(StoreError::Invalid { reason });
            }
        }
        Ok(())
    }

    /// Ends what belongs to a project that ends.
    pub(super) fn credentials_end(&mut self, project: &str, actor: &Actor) -> Result<(), StoreError> {
        let query = EntityQuery { project: Some(project.to_owned()), ..EntityQuery::default() };
        for kept in self.credentials(&query)? {
            let is = Credential { sealed: String::new(), ..kept.is };
            let change = EntityChange {
                kind: EntityKind::Credential,
                id: kept.id,
                version: Some(kept.version),
                project: is.project.clone(),
                body: serde_json::to_string(&is)
                    .map_err(|error| StoreError::Invalid { reason: error.to_string() })?,
                lookups: None,
                ends: true,
                action: "credential.remove".to_owned(),
                detail: json!({"project": project}).to_string(),
                charged: Vec::new(),
                used: None,
            };
            self.entity_write(change, actor)?;
        }
        Ok(())
    }

    /// Those that have not ended, with what this batch changes.
    fn credentials(&mut self, query: &EntityQuery) -> Result<Vec<Kept<Credential>>, StoreError> {
        let mut rows = self.backend.reader().entity_list(EntityKind::Credential, query)?;
        for write in &self.batch.entities {
            if write.row.kind == EntityKind::Credential {
                rows.retain(|row| row.id != write.row.id);
                rows.push(write.row.clone());
            }
        }
        let is_wanted = |row: &EntityRow| {
            row.ended_at.is_none() && query.project.as_ref().is_none_or(|of| row.project.as_ref() == Some(of))
        };
        rows.into_iter().filter(is_wanted).map(EntityRow::kept).collect()
    }

    /// The batch is durable: whoever follows is told.
    pub(super) fn credentials_succeed(&self) {
        for write in &self.batch.entities {
            if write.row.kind == EntityKind::Credential {
                self.tell_of_credential(write.row.clone());
            }
        }
    }

    /// It is unknown what of the batch is durable.
    pub(super) fn credentials_fail(&mut self) {
        self.credentials_unsure |=
            self.batch.entities.iter().any(|write| write.row.kind == EntityKind::Credential);
    }

    /// The store works again: whoever follows is told how all of them are.
    pub(super) fn credentials_recover(&mut self) -> Result<(), StoreError> {
        if !self.credentials_unsure {
            return Ok(());
        }
        let all = EntityQuery { with_ended: true, ..EntityQuery::default() };
        for row in self.backend.reader().entity_list(EntityKind::Credential, &all)? {
            self.tell_of_credential(row);
        }
        self.credentials_unsure = false;
        Ok(())
    }

    fn tell_of_credential(&self, row: EntityRow) {
        match row.kept() {
            Ok(kept) => self.shared.credentials.tell(&kept),
            Err(error) => tracing::error!(%error, "an upstream credential can't be read"),
        }
    }
}

fn not_allowed(reason: &str) -> StoreError {
    StoreError::NotAllowed { reason: reason.to_owned() }
}
