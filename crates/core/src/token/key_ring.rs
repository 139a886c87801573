//! The secrets of an instance, and what they mint and open.
//!
//! There is one master key that new tokens are made under, and any number of older ones whose tokens go on opening
//! until they end. A master key that was retired opens nothing, whether it is here or not.
//!
//! Invariants:
//! - The current master key is never a retired one.
//! - [`KeyRing::epoch`] grows before a retirement is told: whoever remembers an opened token with the epoch from before
//!   it was opened, and asks for that again, never goes on with one that was retired meanwhile.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use super::credential::{self, CredentialError, CredentialLabel};
use super::payload::{self, Fingerprint, Header, Payload, TokenKeys};
use super::{
    AuditKeys, IndexKey, MasterKey, MasterKeyId, MintError, Minted, Opened, SCOPED_KEY_LEN_MAX,
    SCOPED_KEY_PREFIX, TokenError, checked_text, contents, hmac, mint_admin_token, wrap_index_key,
};
use crate::key::KeyId;
use crate::secret::Secret;
use crate::upstream::{NamedUpstream, Upstream, check_upstream_key};

/// Everything that is needed to mint and open the scoped keys of one instance.
pub struct KeyRing {
    instance_id: [u8; 16],
    fingerprint: Fingerprint,
    index_key: IndexKey,
    masters: RwLock<Arc<Masters>>,
    epoch: AtomicU64,
}

/// The master keys of one moment.
#[derive(Clone)]
struct Masters {
    current: MasterKey,
    /// Those that tokens were made under before, none of them retired.
    old: Vec<MasterKey>,
    retired: BTreeSet<MasterKeyId>,
}

impl Masters {
    /// The master key of this id. All of them are looked at, wherever it is.
    fn find(&self, id: MasterKeyId) -> Option<&MasterKey> {
        let all = self.old.iter().chain([&self.current]);
        all.fold(None, |found, master| if master.id() == id { Some(master) } else { found })
    }
}

/// Why a master key can't be retired.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("master key {0} is the current one: rotate first, so that another one takes its place")]
pub struct RetireError(pub MasterKeyId);

impl KeyRing {
    /// Puts together the secrets of an instance. `instance_id` are 16 bytes that were drawn at random when
    /// the instance was set up; they are no secret.
    pub fn new(master: MasterKey, instance_id: [u8; 16], index_key: IndexKey) -> Self {
        let masters = Masters { current: master, old: Vec::new(), retired: BTreeSet::new() };
        Self {
            instance_id,
            fingerprint: Fingerprint::of(&instance_id),
            index_key,
            masters: RwLock::new(Arc::new(masters)),
            epoch: AtomicU64::new(0),
        }
    }

    /// With master keys from before, and the ids of those that were retired, which open nothing even if they are among
    /// the former. The current one must not be among them: whoever starts an instance checks that.
    #[must_use]
    pub fn with_older(
        self,
        old: impl IntoIterator<Item = MasterKey>,
        retired: impl IntoIterator<Item = MasterKeyId>,
    ) -> Self {
        self.change(|masters| {
            masters.retired.extend(retired);
            for master in old {
                if !masters.retired.contains(&master.id()) && masters.find(master.id()).is_none() {
                    masters.old.push(master);
                }
            }
        });
        self
    }

    /// The master key that new scoped keys are made under.
    pub fn master_key_id(&self) -> MasterKeyId {
        self.masters().current.id()
    }

    /// An admin token that the same `seed` makes again, here and nowhere else: of a request that is sent twice.
    pub fn derive_admin_token(&self, seed: &[u8; 32]) -> Secret {
        mint_admin_token(hmac(self.index_key.reveal(), &[b"till/v1/admin-token", seed]))
    }

    /// The keys of the audit log.
    pub fn audit_keys(&self) -> AuditKeys {
        AuditKeys::derive(&self.index_key)
    }

    /// The master keys whose scoped keys open, the current one last.
    pub fn master_key_ids(&self) -> Vec<MasterKeyId> {
        let masters = self.masters();
        masters.old.iter().chain([&masters.current]).map(MasterKey::id).collect()
    }

    /// The index key as the database is to keep it under another master key.
    pub fn wrap_index_key(&self, master: &MasterKey) -> Vec<u8> {
        wrap_index_key(&self.index_key, master, &self.instance_id)
    }

    /// Mints under another master key from now on; what was minted before goes on opening.
    pub fn rotate(&self, master: MasterKey) {
        self.change(|masters| {
            masters.old.retain(|old| old.id() != master.id());
            let before = std::mem::replace(&mut masters.current, master);
            if before.id() != masters.current.id() {
                masters.old.push(before);
            }
        });
    }

    /// Opens no token of this master key any more, and forgets the key itself.
    ///
    /// # Errors
    /// It is the current one.
    pub fn retire(&self, id: MasterKeyId) -> Result<(), RetireError> {
        let outcome = self.change(|masters| {
            if masters.current.id() == id {
                return Err(RetireError(id));
            }
            masters.old.retain(|old| old.id() != id);
            masters.retired.insert(id);
            Ok(())
        });
        self.epoch.fetch_add(1, Ordering::AcqRel);
        outcome
    }

    /// Grows with every retirement. A token that was opened before must be opened again.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    fn masters(&self) -> Arc<Masters> {
        Arc::clone(&self.masters.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change<T>(&self, change: impl FnOnce(&mut Masters) -> T) -> T {
        let mut slot = self.masters.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut slot))
    }

    /// Makes a scoped key for `upstream`. `random_id` must be 16 fresh random bytes: they make the token's
    /// keys its own. (Should they repeat, for example after a virtual machine was cloned, both tokens stay
    /// sealed, but they have the same id, and the store refuses the second.)
    ///
    /// # Errors
    /// [`MintError`] when the upstream key is unusable or everything together is too long.
    pub fn mint(&self, upstream: &Upstream, random_id: [u8; 16]) -> Result<Minted, MintError> {
        check_upstream_key(&upstream.key)?;
        let contents = contents::encode(upstream).ok_or(MintError::TooLong)?;
        self.mint_contents(&contents, random_id)
    }

    /// Makes a scoped key for whatever key has the name in `upstream` when it is used; otherwise as [`KeyRing::mint`].
    ///
    /// # Errors
    /// [`MintError::TooLong`].
    pub fn mint_named(&self, upstream: &NamedUpstream, random_id: [u8; 16]) -> Result<Minted, MintError> {
        let contents = contents::encode_named(upstream).ok_or(MintError::TooLong)?;
        self.mint_contents(&contents, random_id)
    }

    fn mint_contents(&self, contents: &[u8], random_id: [u8; 16]) -> Result<Minted, MintError> {
        let masters = self.masters();
        let master_key = masters.current.id();
        let header = Header::new(master_key, self.fingerprint, random_id);
        let keys = TokenKeys::derive(&masters.current, &header);
        let payload = payload::assemble(&keys, &header, contents).ok_or(MintError::TooLong)?;
        let scoped_key = checked_text::write(SCOPED_KEY_PREFIX, &payload);
        if scoped_key.len() > SCOPED_KEY_LEN_MAX {
            return Err(MintError::TooLong);
        }
        Ok(Minted { scoped_key, id: self.key_id(random_id), master_key })
    }

    /// Verifies a scoped key and takes out what is sealed in it.
    ///
    /// Cheap checks stand first; the only one that compares with a secret, commitment and tag, takes the
    /// same time wherever the difference is.
    ///
    /// # Errors
    /// [`TokenError`] says why the string is not a scoped key of this instance.
    pub fn open(&self, token: &str) -> Result<Opened, TokenError> {
        if !token.starts_with(SCOPED_KEY_PREFIX) {
            return Err(TokenError::NotAScopedKey);
        }
        if token.len() > SCOPED_KEY_LEN_MAX {
            return Err(TokenError::TooLong);
        }
        let bytes = checked_text::read(SCOPED_KEY_PREFIX, token)?;
        let payload = Payload::parse(&bytes)?;
        let header = &payload.header;
        if header.fingerprint() != self.fingerprint {
            return Err(TokenError::OtherInstance);
        }
        let master_id = header.master_key_id();
        let masters = self.masters();
        let Some(master) = masters.find(master_id) else {
            return Err(if masters.retired.contains(&master_id) {
                TokenError::RetiredMasterKey(master_id)
            } else {
                TokenError::UnknownMasterKey(master_id)
            });
        };
        let keys = TokenKeys::derive(master, header);
        if !payload.is_genuine(&keys) {
            return Err(TokenError::Forged);
        }
        // Only now: a stranger must not learn whether blocks would have been the problem.
        if !payload.blocks.is_empty() {
            return Err(TokenError::BlocksUnsupported);
        }
        // Only somebody who has the master key can make a true tag over something that doesn't open.
        let contents = keys.unseal(header, payload.sealed).ok_or(TokenError::Forged)?;
        let upstream = contents::decode(&contents).ok_or(TokenError::UnsupportedContents)?;
        Ok(Opened { id: self.key_id(header.random_id()), upstream })
    }

    /// Seals an upstream key under a name, with the only place where it may go, by the current master key.
    ///
    /// # Errors
    /// [`MintError`] when the upstream key is unusable or everything together is too long.
    pub fn seal_credential(&self, name: &str, upstream: &Upstream) -> Result<Vec<u8>, MintError> {
        check_upstream_key(&upstream.key)?;
        credential::seal(&self.masters().current, &self.instance_id, name, upstream)
    }

    /// Undoes [`KeyRing::seal_credential`], also under a master key from before.
    ///
    /// # Errors
    /// It was sealed under another name, for another provider or elsewhere, or by a master key that is not here.
    pub fn unseal_credential(
        &self,
        label: CredentialLabel<'_>,
        sealed: &[u8],
    ) -> Result<Upstream, CredentialError> {
        let id = credential::sealed_by(sealed)?;
        let masters = self.masters();
        match masters.find(id) {
            Some(master) => credential::unseal(master, &self.instance_id, label, sealed),
            None if masters.retired.contains(&id) => Err(CredentialError::RetiredMasterKey(id)),
            None => Err(CredentialError::UnknownMasterKey(id)),
        }
    }

    /// The same key sealed by the current master key; `None` if that has sealed it.
    ///
    /// # Errors
    /// As [`KeyRing::unseal_credential`].
    pub fn reseal_credential(
        &self,
        label: CredentialLabel<'_>,
        sealed: &[u8],
    ) -> Result<Option<Vec<u8>>, CredentialError> {
        if credential::sealed_by(sealed)? == self.master_key_id() {
            return Ok(None);
        }
        let upstream = self.unseal_credential(label, sealed)?;
        // What was sealed once can be sealed again.
        self.seal_credential(label.name, &upstream).map(Some).map_err(|_| CredentialError::Damaged)
    }

    fn key_id(&self, random_id: [u8; 16]) -> KeyId {
        let hash = hmac(self.index_key.reveal(), &[b"till/v1/key-id", &random_id]);
        KeyId(*hash.first_chunk().expect("a SHA-256 HMAC has 32 bytes"))
    }
}
