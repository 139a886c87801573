//! Keys that wait to be handed over by a link, once.
//!
//! The store knows a claim's id and a ciphertext that it can't open. Promises:
//! - [`Store::claim_take`] is true for one caller only, however many ask at once, and after the row is gone from disk;
//! - a claim whose time is over is gone, also under a clock that was set back;
//! - to look at a claim writes nothing, unless its time is over: then its row is deleted, which happens once.

use till_core::audit::Actor;
use till_core::key::KeyId;
use till_core::time::Timestamp;
use till_core::token::ClaimId;

use crate::command::Action;
use crate::error::StoreError;
use crate::key::{KeyRecord, NewKey};
use crate::readers::Lane;
use crate::store::Store;

/// How a new key is to be handed over.
#[derive(Clone, Debug)]
pub struct NewClaim {
    /// Random; the link has it.
    pub id: ClaimId,
    /// The scoped key as [`till_core::token::ClaimSecret::seal`] encrypted it.
    pub sealed: Vec<u8>,
    /// From then on it is gone.
    pub expires_at: Timestamp,
}

/// A key that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The key.
    pub key: KeyId,
    /// Its provider.
    pub provider: String,
    /// What the secret of the link opens.
    pub sealed: Vec<u8>,
    /// From then on it is gone.
    pub expires_at: Timestamp,
}

impl Store {
    /// Makes a key and what hands it over, both or none.
    ///
    /// # Errors
    /// As [`Store::key_create`]; the id of the claim is taken, or its time is over already.
    pub async fn key_create_for_claim(
        &self,
        key: NewKey,
        claim: NewClaim,
        actor: &Actor,
    ) -> Result<KeyRecord, StoreError> {
        let id = key.id;
        self.administer(Action::KeyCreate(Box::new(key), Some(claim)), actor).await?;
        self.made(id).await
    }

    /// A claim that nobody has taken and whose time is not over.
    ///
    /// # Errors
    /// The store can't be read, or the row of an expired claim can't be deleted.
    pub async fn claim_fetch(&self, id: ClaimId) -> Result<Option<Claim>, StoreError> {
        let claim = self.read(Lane::LookUp, move |reader| reader.claim_fetch(id)).await?;
        if claim.as_ref().is_some_and(|claim| claim.expires_at <= self.now()) {
            // Who is told that it is over must not find it again, whatever the clock says later.
            self.administer(Action::ClaimExpire(id), &Actor::system()).await?;
            return Ok(None);
        }
        Ok(claim)
    }

    /// Takes a claim away: true for exactly one caller, and only if its time is not over. Whoever gets true must have
    /// opened the claim before: there is no second attempt.
    ///
    /// # Errors
    /// The store can't be written. The claim may be gone all the same.
    pub async fn claim_take(&self, id: ClaimId, actor: &Actor) -> Result<bool, StoreError> {
        self.administer(Action::ClaimTake(id), actor).await
    }
}
