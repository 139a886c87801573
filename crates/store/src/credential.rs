//! Stored upstream keys as the store knows them: sealed, never the keys themselves.
//!
//! Whoever has the master keys follows the changes ([`Store::credentials_follow`]) and unseals them. Invariants:
//! - a change is told after it is durable and before whoever made it is answered;
//! - one that has ended holds nothing that could be unsealed, its keys are revoked, and its name is never used again;
//! - none is sealed by a master key that is retired.

use std::fmt;
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use till_core::audit::Actor;
use till_core::token::{CredentialLabel, KeyRing, MasterKeyId, credential_sealed_by};

use crate::entity::{Credential, EntityQuery, Kept, Put};
use crate::error::StoreError;
use crate::store::Store;

/// Is told of a stored upstream key as it is now. It runs on the writer's thread and must not block or panic; being told
/// something twice, or something older again, must change nothing.
pub type CredentialListener = Arc<dyn Fn(&Kept<Credential>) + Send + Sync>;

/// Who follows, if anybody does.
#[derive(Default)]
pub(crate) struct CredentialFollower(OnceLock<CredentialListener>);

impl fmt::Debug for CredentialFollower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CredentialFollower").field(&self.0.get().is_some()).finish()
    }
}

impl CredentialFollower {
    pub(crate) fn tell(&self, credential: &Kept<Credential>) {
        if let Some(listener) = self.0.get() {
            listener(credential);
        }
    }
}

impl Credential {
    /// What is sealed, as text.
    pub fn text_of(sealed: &[u8]) -> String {
        STANDARD.encode(sealed)
    }

    /// What is sealed; nothing for one that has ended, or that somebody has damaged.
    pub fn sealed_bytes(&self) -> Vec<u8> {
        STANDARD.decode(&self.sealed).unwrap_or_default()
    }

    /// The master key that has sealed it.
    pub fn sealed_by(&self) -> Option<MasterKeyId> {
        credential_sealed_by(&self.sealed_bytes())
    }

    /// Whether keys of this project may be minted from it.
    pub fn may_mint_in(&self, project: &str) -> bool {
        match (&self.project, &self.projects) {
            (Some(own), _) => own == project,
            (None, Some(projects)) => projects.iter().any(|one| one == project),
            (None, None) => true,
        }
    }
}

impl Kept<Credential> {
    /// What it is sealed under.
    pub fn label(&self) -> CredentialLabel<'_> {
        CredentialLabel { name: &self.id, provider: &self.is.provider }
    }
}

impl Store {
    /// Tells `listener` of all stored upstream keys, and of every change to one from then on. There is one listener; a
    /// later one is ignored.
    ///
    /// # Errors
    /// The store can't be read: then it may not have been told of all.
    pub async fn credentials_follow(&self, listener: CredentialListener) -> Result<(), StoreError> {
        // First the changes: what changes while the rest is read is told in between.
        let _ = self.credential_follower().0.set(Arc::clone(&listener));
        for kept in self.entity_list(EntityQuery::default()).await? {
            listener(&kept);
        }
        Ok(())
    }

    /// Seals by the current master key of `ring` whatever another one has sealed, and says how many those were. What can't
    /// be unsealed is left as it is.
    ///
    /// # Errors
    /// The store can't be read or written. Called again it does the rest.
    pub async fn credentials_reseal(&self, ring: &KeyRing, actor: &Actor) -> Result<u64, StoreError> {
        let mut resealed = 0;
        loop {
            let mut is_crossed = false;
            for kept in self.entity_list::<Credential>(EntityQuery::default()).await? {
                let sealed = match ring.reseal_credential(kept.label(), &kept.is.sealed_bytes()) {
                    Ok(Some(sealed)) => sealed,
                    Ok(None) => continue,
                    Err(error) => {
                        tracing::warn!(credential = kept.id, %error, "an upstream credential can't be sealed anew");
                        continue;
                    }
                };
                let detail = json!({"masterKey": credential_sealed_by(&sealed).map(|id| id.to_string())});
                let is = Credential { sealed: Credential::text_of(&sealed), ..kept.is };
                let put = Put { id: kept.id, version: Some(kept.version), is, lookups: None, ends: false };
                match self.entity_put(put, "credential.reseal", detail, actor).await {
                    Ok(_) => resealed += 1,
                    // Somebody changed or removed it meanwhile.
                    Err(StoreError::Changed) => is_crossed = true,
                    Err(StoreError::Missing) => {}
                    Err(error) => return Err(error),
                }
            }
            if !is_crossed {
                return Ok(resealed);
            }
        }
    }
}
