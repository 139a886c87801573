//! Hands keys over, each once: the row of a claim goes in the transaction that its taker waits for.

use serde_json::json;
use till_core::audit::Actor;
use till_core::key::KeyId;
use till_core::token::ClaimId;

use super::Writer;
use crate::claim::NewClaim;
use crate::error::StoreError;

impl Writer {
    /// Refuses a new claim that could not be taken.
    pub(super) fn claim_check(&mut self, claim: &NewClaim) -> Result<(), StoreError> {
        if claim.expires_at <= self.now {
            return Err(StoreError::Invalid { reason: "the time of the claim is over already".into() });
        }
        // A cloned machine can draw the same bytes again. Refused here, it does not fail the whole batch.
        let is_new = |(_, new): &(_, NewClaim)| new.id == claim.id;
        if self.batch.claims.iter().any(is_new) || self.backend.claim(claim.id)?.is_some() {
            return Err(StoreError::Conflict { what: "the id of the claim".into() });
        }
        Ok(())
    }

    /// Takes a claim; `false` when it is gone or its time is over, which deletes it too.
    pub(super) fn claim_take(&mut self, id: ClaimId, actor: &Actor) -> Result<bool, StoreError> {
        let Some((key, is_over)) = self.claim_of(id)? else {
            return Ok(false);
        };
        self.batch.claims_gone.push(id);
        if is_over {
            return Ok(false);
        }
        let project = self.project_of(key)?;
        self.audit(actor, "key.claim", &key.to_string(), json!({"project": project}).to_string());
        Ok(true)
    }

    /// Deletes a claim whose time is over.
    pub(super) fn claim_expire(&mut self, id: ClaimId) -> Result<bool, StoreError> {
        let is_over = self.claim_of(id)?.is_some_and(|(_, is_over)| is_over);
        if is_over {
            self.batch.claims_gone.push(id);
        }
        Ok(is_over)
    }

    /// The key of a claim that is there, and whether its time is over. What the current batch deletes is not there any
    /// more: that is what lets one of many win.
    fn claim_of(&mut self, id: ClaimId) -> Result<Option<(KeyId, bool)>, StoreError> {
        if self.batch.claims_gone.contains(&id) {
            return Ok(None);
        }
        let claim = self.backend.claim(id)?;
        Ok(claim.map(|(key, expires_at)| (key, expires_at <= self.now)))
    }
}
