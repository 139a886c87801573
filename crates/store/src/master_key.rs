//! Master keys as the store knows them: their ids, never their bytes.
//!
//! The index key is wrapped by the current one. Rotating wraps it anew in the transaction that notes the new master key,
//! so there is no moment at which it is wrapped by none or by two. Retiring is noted first, and then every key that was
//! made under it is revoked, in pieces; the note stays, so whoever starts after a crash goes on with that.

use till_core::audit::Actor;
use till_core::time::Timestamp;
use till_core::token::MasterKeyId;

use crate::backend::Reader;
use crate::command::Action;
use crate::error::StoreError;
use crate::escrow::About;
use crate::readers::Lane;
use crate::store::{KEYS_AT_ONCE, Store};

/// A master key, and what was made under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MasterKeyRecord {
    /// Its public name.
    pub id: MasterKeyId,
    /// When this instance first had it.
    pub created_at: Timestamp,
    /// Since when its tokens are refused.
    pub retired_at: Option<Timestamp>,
    /// Keys ever made under it.
    pub keys: u64,
    /// Those of them that are neither revoked nor expired.
    pub keys_live: u64,
}

/// What a start has to know about a master key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownMasterKey {
    /// Its public name.
    pub id: MasterKeyId,
    /// Whether its tokens are refused.
    pub is_retired: bool,
    /// Whether every key that was made under it has been revoked since.
    pub is_ended: bool,
}

/// What is done with master keys.
#[derive(Debug)]
pub(crate) enum MasterKeyAction {
    /// The instance has these.
    Note(Vec<MasterKeyId>),
    /// The index key is wrapped by this one from now on.
    Rotate {
        id: MasterKeyId,
        wrapped: Vec<u8>,
    },
    Retire(MasterKeyId),
    /// The keys that were made under a retired one are revoked.
    Ended(MasterKeyId),
}

impl Store {
    /// The master keys that this instance has or had, oldest first.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn master_key_list(&self) -> Result<Vec<MasterKeyRecord>, StoreError> {
        let now = self.now();
        self.exact(About::Ended).await;
        self.read(Lane::List, move |reader| reader.master_key_list(now)).await
    }

    /// The same without figures, which take long when there are many keys.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn master_keys_known(&self) -> Result<Vec<KnownMasterKey>, StoreError> {
        self.read(Lane::LookUp, Reader::master_keys_known).await
    }

    /// Whether a key that was made under this master key is not revoked.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn master_key_is_needed(&self, id: MasterKeyId) -> Result<bool, StoreError> {
        let read = move |reader: &mut dyn Reader| reader.master_key_keys(id, None, 1);
        let keys = self.read(Lane::List, read).await?;
        Ok(!keys.is_empty())
    }

    /// Notes that the instance has these master keys. Those that are known stay as they are.
    ///
    /// # Errors
    /// The store can't be written.
    pub async fn master_keys_note(&self, ids: Vec<MasterKeyId>) -> Result<(), StoreError> {
        let action = Action::MasterKey(MasterKeyAction::Note(ids));
        self.administer(action, &Actor::system()).await.map(drop)
    }

    /// Keeps the index key as this master key wrapped it, in place of how it was wrapped before.
    ///
    /// # Errors
    /// The master key was retired ([`StoreError::Invalid`]), or the store can't be written: it is unknown which of both
    /// is kept.
    pub async fn master_key_rotate(
        &self,
        id: MasterKeyId,
        wrapped: Vec<u8>,
        actor: &Actor,
    ) -> Result<(), StoreError> {
        let action = Action::MasterKey(MasterKeyAction::Rotate { id, wrapped });
        self.administer(action, actor).await.map(drop)
    }

    /// Notes, for good, that tokens of this master key are refused; `false` when it is not known. No key is made under it
    /// from then on. It is left to the caller to refuse its tokens, and then to call [`Store::master_key_end`].
    ///
    /// # Errors
    /// It is the current one ([`StoreError::Invalid`]), or the store can't be written.
    pub async fn master_key_retire(&self, id: MasterKeyId, actor: &Actor) -> Result<bool, StoreError> {
        self.administer(Action::MasterKey(MasterKeyAction::Retire(id)), actor).await
    }

    /// Revokes every key that was made under a master key, and says how many those were. Streams in flight are cut before
    /// it answers. If it is interrupted some are revoked; called again it does the rest.
    ///
    /// # Errors
    /// The store can't be read or written.
    pub async fn master_key_end(&self, id: MasterKeyId, actor: &Actor) -> Result<u64, StoreError> {
        let (mut ended, mut last) = (0, None);
        loop {
            let read = move |reader: &mut dyn Reader| reader.master_key_keys(id, last, KEYS_AT_ONCE);
            let keys = self.read(Lane::List, read).await?;
            if keys.is_empty() {
                self.administer(Action::MasterKey(MasterKeyAction::Ended(id)), actor).await?;
                return Ok(ended);
            }
            ended += keys.len() as u64;
            last = keys.last().copied();
            self.keys_revoke(keys, actor).await?;
        }
    }
}
