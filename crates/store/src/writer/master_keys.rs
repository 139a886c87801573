//! What is noted about master keys.

use serde_json::json;
use till_core::audit::Actor;
use till_core::token::{MasterKeyId, index_key_wrapped_by};

use super::Writer;
use crate::error::StoreError;
use crate::key::NewKey;
use crate::master_key::MasterKeyAction;

impl Writer {
    pub(super) fn master_key(&mut self, action: MasterKeyAction, actor: &Actor) -> Result<bool, StoreError> {
        match action {
            MasterKeyAction::Note(ids) => {
                for id in ids {
                    self.master_key_add(id, actor)?;
                }
                Ok(true)
            }
            MasterKeyAction::Rotate { id, wrapped } => self.master_key_rotate(id, wrapped, actor),
            MasterKeyAction::Ended(id) => {
                self.batch.master_keys_ended.push(id);
                Ok(true)
            }
            MasterKeyAction::Retire(id) => self.master_key_retire(id, actor),
        }
    }

    /// The first index key, with the master key that wrapped it.
    pub(super) fn index_key_put(&mut self, wrapped: Vec<u8>, actor: &Actor) -> Result<(), StoreError> {
        if let Some(id) = index_key_wrapped_by(&wrapped) {
            self.master_key_add(id, actor)?;
        }
        self.batch.index_key.get_or_insert(wrapped);
        Ok(())
    }

    /// The instance has this one, which may be new to it.
    fn master_key_add(&mut self, id: MasterKeyId, actor: &Actor) -> Result<(), StoreError> {
        if self.is_retired(id)?.is_none() {
            self.batch.master_keys.push((id, self.now));
            self.audit(actor, "master_key.add", &id.to_string(), "{}".into());
        }
        Ok(())
    }

    fn master_key_rotate(
        &mut self,
        id: MasterKeyId,
        wrapped: Vec<u8>,
        actor: &Actor,
    ) -> Result<bool, StoreError> {
        if index_key_wrapped_by(&wrapped) != Some(id) {
            return Err(invalid(format!("the index key is not wrapped by master key {id}")));
        }
        if self.is_retired(id)? == Some(true) {
            return Err(invalid(format!("master key {id} was retired")));
        }
        let before = self.current_master_key()?;
        self.batch.master_keys.push((id, self.now));
        self.batch.index_key_anew = Some(wrapped);
        let detail = json!({"before": before.map(|before| before.to_string())});
        self.audit(actor, "master_key.rotate", &id.to_string(), detail.to_string());
        Ok(true)
    }

    fn master_key_retire(&mut self, id: MasterKeyId, actor: &Actor) -> Result<bool, StoreError> {
        if self.current_master_key()? == Some(id) {
            return Err(invalid(format!(
                "master key {id} is the current one: rotate first, so that another one takes its place"
            )));
        }
        match self.is_retired(id)? {
            None => return Ok(false),
            Some(true) => {}
            Some(false) => {
                self.check_nothing_sealed_by(id)?;
                self.batch.master_keys_retired.push((id, self.now));
                self.audit(actor, "master_key.retire", &id.to_string(), "{}".into());
            }
        }
        Ok(true)
    }

    /// No key is made under a master key that was retired while it was minted.
    pub(super) fn master_key_check(&mut self, key: &NewKey) -> Result<(), StoreError> {
        match key.master_key {
            Some(id) if self.is_retired(id)? == Some(true) => {
                Err(invalid(format!("master key {id} was retired meanwhile: mint the key again")))
            }
            _ => Ok(()),
        }
    }

    /// With what this batch changes.
    pub(super) fn is_retired(&mut self, id: MasterKeyId) -> Result<Option<bool>, StoreError> {
        let names = |list: &[(MasterKeyId, _)]| list.iter().any(|(named, _)| *named == id);
        if names(&self.batch.master_keys_retired) {
            return Ok(Some(true));
        }
        let known = self.backend.master_key_is_retired(id)?;
        Ok(known.or(names(&self.batch.master_keys).then_some(false)))
    }

    fn current_master_key(&mut self) -> Result<Option<MasterKeyId>, StoreError> {
        let in_batch = self.batch.index_key_anew.as_ref().or(self.batch.index_key.as_ref());
        if let Some(wrapped) = in_batch {
            return Ok(index_key_wrapped_by(wrapped));
        }
        Ok(self.backend.index_key()?.as_deref().and_then(index_key_wrapped_by))
    }
}

fn invalid(reason: String) -> StoreError {
    StoreError::Invalid { reason }
}
