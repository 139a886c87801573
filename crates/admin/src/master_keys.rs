//! Master keys: which there are, and how one takes the place of another.
//!
//! [`MasterKeys`] is what the API and the command line do alike. Invariants: a new master key is kept where the next start
//! finds it before anything is made under it; what is retired is noted in the store before a token is refused for it, and
//! the answer comes after the last key that was made under it has ended and it is noted beside the master keys, where a
//! restore does not reach; stored upstream keys are sealed by the current one before an older one is retired.

use std::fmt;
use std::sync::Arc;

use till_core::audit::Actor;
use till_core::token::{KeyRing, MasterKey, MasterKeyId, RetireError};
use till_store::{MasterKeyRecord, Store, StoreError};
use tokio::sync::Mutex;

/// Makes a master key and keeps it where the next start takes it for the current one, or says why it can't. It returns
/// when that is durable. If there is one already that was never put in use, it is that.
pub type MakeMasterKey = Arc<dyn Fn() -> Result<MasterKey, String> + Send + Sync>;

/// Notes, beside the master keys, that one was retired, or says why it can't. It returns when that is durable.
pub type NoteRetired = Arc<dyn Fn(MasterKeyId) -> Result<(), String> + Send + Sync>;

/// The master keys of an instance.
#[derive(Clone)]
pub struct MasterKeys {
    store: Store,
    ring: Arc<KeyRing>,
    make: MakeMasterKey,
    note: NoteRetired,
    /// One change after the other.
    turn: Arc<Mutex<()>>,
}

impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKeys").finish_non_exhaustive()
    }
}

/// A master key as people see it.
#[derive(Clone, Copy, Debug)]
pub struct MasterKeyStatus {
    /// What the store knows of it.
    pub record: MasterKeyRecord,
    /// What it is good for.
    pub state: MasterKeyState,
    /// Whether this process has it.
    pub present: bool,
}

/// What a master key is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MasterKeyState {
    /// New tokens are made under it.
    Current,
    /// Tokens that were made under it go on opening, if it is present.
    Old,
    /// Its tokens are refused.
    Retired,
}

impl MasterKeyState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Old => "old",
            Self::Retired => "retired",
        }
    }
}

/// Why a change of master keys was not made.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeysError {
    /// There is no such master key.
    #[error("there is no master key {0} here")]
    Unknown(MasterKeyId),
    /// It can't be done as things stand; the text says why.
    #[error("{0}")]
    Refused(String),
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for MasterKeysError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Invalid { reason } => Self::Refused(reason),
            error => Self::Store(error),
        }
    }
}

impl MasterKeys {
    /// `ring` is the one that tokens are minted and opened with.
    pub fn new(store: Store, ring: Arc<KeyRing>, make: MakeMasterKey, note: NoteRetired) -> Self {
        Self { store, ring, make, note, turn: Arc::default() }
    }

    /// All that this instance has or had, oldest first.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn list(&self) -> Result<Vec<MasterKeyStatus>, StoreError> {
        let present = self.ring.master_key_ids();
        let current = self.ring.master_key_id();
        let status = |record: MasterKeyRecord| MasterKeyStatus {
            record,
            state: match record.retired_at {
                Some(_) => MasterKeyState::Retired,
                None if record.id == current => MasterKeyState::Current,
                None => MasterKeyState::Old,
            },
            present: present.contains(&record.id),
        };
        Ok(self.store.master_key_list().await?.into_iter().map(status).collect())
    }

    /// Mints under a new master key from now on; returns its id.
    ///
    /// # Errors
    /// No master key could be made, or the store can't be written: then the old one stays, and whatever was kept is used
    /// by the next rotation or the next start.
    pub async fn rotate(&self, actor: &Actor) -> Result<MasterKeyId, MasterKeysError> {
        let _turn = self.turn.lock().await;
        let make = Arc::clone(&self.make);
        let made = tokio::task::spawn_blocking(move || make()).await;
        let master = made
            .unwrap_or_else(|_| Err("making a master key failed".into()))
            .map_err(MasterKeysError::Refused)?;
        let id = master.id();
        let wrapped = self.ring.wrap_index_key(&master);
        self.store.master_key_rotate(id, wrapped, actor).await?;
        self.ring.rotate(master);
        // What is left after a failure is done by the next rotation, by a retirement, or by the next start.
        self.store.credentials_reseal(&self.ring, actor).await?;
        tracing::info!(master_key.id = %id, "a new master key is the current one");
        Ok(id)
    }

    /// Refuses every token that was made under a master key, for good, and ends its keys; returns how many of them were
    /// neither revoked nor expired before. Again it does what is left to do.
    ///
    /// # Errors
    /// It is the current one, there is no such master key, or the store failed: then it may be retired for some of its
    /// keys only, and the next start goes on.
    pub async fn retire(&self, id: MasterKeyId, actor: &Actor) -> Result<u64, MasterKeysError> {
        let _turn = self.turn.lock().await;
        let records = self.store.master_key_list().await?;
        let record =
            records.into_iter().find(|record| record.id == id).ok_or(MasterKeysError::Unknown(id))?;
        if self.ring.master_key_id() == id {
            return Err(MasterKeysError::Refused(RetireError(id).to_string()));
        }
        // Stored upstream keys outlive the master key; the store refuses if one is still sealed by it.
        self.store.credentials_reseal(&self.ring, actor).await?;
        if !self.store.master_key_retire(id, actor).await? {
            return Err(MasterKeysError::Unknown(id));
        }
        self.ring.retire(id).map_err(|error| MasterKeysError::Refused(error.to_string()))?;
        let note = Arc::clone(&self.note);
        let noted = tokio::task::spawn_blocking(move || note(id)).await;
        self.store.master_key_end(id, actor).await?;
        if let Err(error) = noted.unwrap_or_else(|_| Err("noting it failed".into())) {
            return Err(MasterKeysError::Refused(format!(
                "master key {id} is retired, but that could not be noted beside the master keys, so a restore would bring it \
                 back: retire it again. {error}"
            )));
        }
        tracing::info!(master_key.id = %id, keys = record.keys_live, "a master key is retired");
        Ok(record.keys_live)
    }
}
