//! The owner's admin key: made on the first start, or preset for unattended installs.
//!
//! Invariants: the first start shows a key before its hash is stored. A crash between the two leaves no owner, and
//! the next start makes another key; never is one stored that nobody saw. A preset key replaces the owner's once: the same
//! one at a later start does not bring back a text that was rotated away since, perhaps because it had leaked.

use std::io;

use anyhow::{Context, anyhow};
use serde_json::json;
use till_core::audit::Actor;
use till_core::hex::to_hex;
use till_core::role::Role;
use till_core::secret::Secret;
use till_core::token::{admin_token_hash, mint_admin_token};
use till_store::{AdminToken, Kept, Lookup, Put, Store, StoreError};

use super::master_key::random;

/// Name of the owner's token, and its role.
const OWNER: &str = "owner";

/// What happened to the owner's key at this start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OwnerKey {
    /// Made now and shown this once.
    Made,
    /// As somebody preset it; they know it.
    Preset,
    /// The one of an earlier start.
    Kept,
}

/// Sees to it that there is an owner key, and that it is the preset one if there is one. `show` gets a key that
/// is made here, and returns when somebody could see it.
pub(super) async fn ensure(
    store: &Store,
    preset: Option<Secret>,
    show: impl FnOnce(&Secret) -> io::Result<()>,
) -> anyhow::Result<OwnerKey> {
    let context = "can't set up the owner key";
    if let Some(key) = preset {
        return ensure_preset(store, &key).await.context(context);
    }
    if exists(store).await.context(context)? {
        return Ok(OwnerKey::Kept);
    }
    let key = mint_admin_token(random()?);
    // As text, because a broken pipe alone would pass for a command whose reader has seen enough.
    show(&key).map_err(|error| anyhow!("can't print the owner's admin key, so none was made: {error}"))?;
    put_shown(store, &key).await?;
    Ok(OwnerKey::Made)
}

async fn ensure_preset(store: &Store, key: &Secret) -> anyhow::Result<OwnerKey> {
    let owner: Option<Kept<AdminToken>> = store.entity_fetch(OWNER).await?;
    let found: Option<Kept<AdminToken>> = store.entity_find(hash(key)).await?;
    let is_current = found.is_some_and(|token| token.id == OWNER);
    let preset = Some(to_hex(&hash(key)));
    match owner {
        Some(owner) if owner.is.preset == preset && is_current => {}
        Some(owner) if owner.is.preset == preset => {
            tracing::warn!(
                fix = "leave it out, or preset another value to replace the owner's key",
                "the preset owner key does nothing: the owner's key was rotated or reset since it was first preset"
            );
            return Ok(OwnerKey::Kept);
        }
        // It is what it should be, and from now on this is known to come from outside.
        Some(owner) if is_current => {
            let is = AdminToken { preset, ..owner.is };
            store_owner(store, Some(owner.version), is, None, &Actor::system()).await?;
        }
        _ => {
            put(store, key, preset, &Actor::system()).await?;
            tracing::info!("the owner key is the preset one from now on");
        }
    }
    Ok(OwnerKey::Preset)
}

async fn put_shown(store: &Store, key: &Secret) -> anyhow::Result<()> {
    // Whether a failed write reached the disk all the same can't always be told.
    let context = "the admin key printed above is void, unless the next start prints no other";
    put(store, key, None, &Actor::system()).await.context(context)
}

/// Makes a new owner key; the old one no longer works. The store writes this to the audit log.
pub(crate) async fn replace(store: &Store, actor: &Actor) -> anyhow::Result<Secret> {
    let key = mint_admin_token(random()?);
    put(store, &key, None, actor).await?;
    Ok(key)
}

/// Makes the owner's token what it is at first, found by `key` alone. Which key was preset last is remembered.
async fn put(store: &Store, key: &Secret, preset: Option<String>, actor: &Actor) -> anyhow::Result<()> {
    let before: Option<Kept<AdminToken>> =
        store.entity_fetch(OWNER).await.context("can't store the owner key")?;
    let version = before.as_ref().map(|before| before.version);
    let is = AdminToken {
        preset: preset.or_else(|| before.and_then(|before| before.is.preset)),
        ..AdminToken::unbound(OWNER, Role::Owner)
    };
    store_owner(store, version, is, Some(vec![Lookup { hash: hash(key), until: None }]), actor).await
}

async fn store_owner(
    store: &Store,
    version: Option<u64>,
    is: AdminToken,
    lookups: Option<Vec<Lookup>>,
    actor: &Actor,
) -> anyhow::Result<()> {
    let put = Put { id: OWNER.to_owned(), version, is, lookups, ends: false };
    let detail = json!({"name": OWNER, "role": OWNER});
    store.entity_put(put, "token.put", detail, actor).await.map(drop).context("can't store the owner key")
}

/// Whether there is an owner key.
async fn exists(store: &Store) -> Result<bool, StoreError> {
    Ok(store.entity_fetch::<AdminToken>(OWNER).await?.is_some())
}

fn hash(key: &Secret) -> [u8; 32] {
    admin_token_hash(key.reveal_str().expect("made or checked to be ASCII"))
}

#[cfg(test)]
mod tests {
    use std::io;

    use till_core::audit::Actor;
    use till_core::secret::Secret;
    use till_store::{AdminToken, OpenOptions, Store};

    use super::{OwnerKey, ensure, hash};

    fn store(dir: &tempfile::TempDir) -> Store {
        let options = OpenOptions {
            data_dir: dir.path().join("data"),
            witness: dir.path().join("witness"),
            version: "0".to_owned(),
            usage_retention: None,
            audit_retention: None,
        };
        Store::open(&options).expect("a new directory")
    }

    fn never(_: &Secret) -> io::Result<()> {
        panic!("there is nothing to show")
    }

    #[tokio::test]
    async fn a_key_that_was_not_shown_is_not_stored() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        // What a crash before the end of showing leaves.
        let broken = ensure(&store, None, |_| Err(io::ErrorKind::BrokenPipe.into())).await;
        assert!(!broken.unwrap_err().is::<io::Error>(), "it would end as if all were well");
        assert!(!super::exists(&store).await.unwrap());
        // The next start makes one and shows it; after that it is kept.
        let mut shown = None;
        let made = ensure(&store, None, |key| {
            shown = Some(key.clone());
            Ok(())
        });
        assert_eq!(made.await.unwrap(), OwnerKey::Made);
        let shown = shown.expect("it was shown");
        assert!(store.entity_find::<AdminToken>(hash(&shown)).await.unwrap().is_some());
        assert_eq!(ensure(&store, None, never).await.unwrap(), OwnerKey::Kept);
        let preset = Secret::new(format!("till_admin_{}", "a".repeat(40)));
        assert_eq!(ensure(&store, Some(preset), never).await.unwrap(), OwnerKey::Preset);
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_preset_key_replaces_the_owners_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let key = |letter: &str| Secret::new(format!("till_admin_{}", letter.repeat(40)));
        let start = async |letter: &str| ensure(&store, Some(key(letter)), never).await.unwrap();
        let works = async |key: &Secret| store.entity_find::<AdminToken>(hash(key)).await.unwrap().is_some();
        for _ in 0..2 {
            assert_eq!(start("a").await, OwnerKey::Preset);
            assert!(works(&key("a")).await);
        }
        // It leaks, and somebody rotates it; a restart with the same variable does not bring it back.
        let rotated = super::replace(&store, &Actor::system()).await.unwrap();
        assert_eq!(start("a").await, OwnerKey::Kept);
        assert!(!works(&key("a")).await && works(&rotated).await);
        // Another one replaces it, and one that it is already stays, with what else the token has.
        assert_eq!(start("b").await, OwnerKey::Preset);
        assert!(works(&key("b")).await && !works(&rotated).await);
        let now = super::replace(&store, &Actor::system()).await.unwrap();
        let version = async || store.entity_fetch::<AdminToken>("owner").await.unwrap().unwrap().version;
        let before = version().await;
        for _ in 0..2 {
            assert_eq!(ensure(&store, Some(now.clone()), never).await.unwrap(), OwnerKey::Preset);
            assert_eq!(version().await, before + 1);
        }
        let last = super::replace(&store, &Actor::system()).await.unwrap();
        assert_eq!(ensure(&store, Some(now.clone()), never).await.unwrap(), OwnerKey::Kept);
        assert!(works(&last).await && !works(&now).await);
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_shown_key_that_could_not_be_stored_is_called_void() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir);
        let key = Secret::new(format!("till_admin_{}", "a".repeat(40)));
        store.close().await.unwrap();
        let error = super::put_shown(&store, &key).await.unwrap_err();
        assert!(format!("{error:#}").starts_with("the admin key printed above is void"), "{error:#}");
    }
}
