//! The master keys, and the index key that they guard.
//!
//! The first master key that is given is the current one: new scoped keys are made under it. The others only open what was
//! made under them. If another one than the current wrapped the index key, and is given too, the current one takes its
//! place: that is a rotation, whoever brought it about, and what a rotation that was cut short is finished by.
//!
//! Invariants:
//! - A master key is made only for a data directory that has none yet, or to rotate. If one is missing later, a new one
//!   would silently make every scoped key worthless, so that is an error.
//! - Before another master key becomes the current one, both are on disk. A file that has a master key in it is never
//!   left half written, and none is ever deleted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use till_admin::MakeMasterKey;
use till_core::audit::Actor;
use till_core::token::{
    IndexKey, KeyRing, MasterKey, MasterKeyId, index_key_wrapped_by, unwrap_index_key, wrap_index_key,
};
use till_store::Store;

use crate::env;
use crate::local_file;
use crate::master_keys::{self, Given, MasterKeys};
use crate::settings::Settings;

const FILE: &str = "master.key";

/// Where the current master key comes from, which is where a new one has to go.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// The key directory.
    KeyDir(PathBuf),
    /// A file that the settings name; more than one key may be in it, one per line.
    File(PathBuf),
    /// Something that till can't write; the text names it.
    Elsewhere(&'static str),
}

/// The ring of an instance, and where its current master key comes from.
pub(crate) struct Keys {
    pub(crate) ring: Arc<KeyRing>,
    pub(crate) place: Place,
}

impl Keys {
    /// What makes the next master key.
    pub(crate) fn make(&self) -> MakeMasterKey {
        let (ring, place) = (Arc::clone(&self.ring), self.place.clone());
        Arc::new(move || make_next(&place, ring.master_key_id()).map_err(|error| format!("{error:#}")))
    }
}

/// The master keys in a key directory, as far as they can be read.
pub(crate) fn kept(key_dir: &Path) -> Vec<MasterKeyId> {
    let current =
        read(&key_dir.join(FILE)).into_iter().flat_map(|keys| [vec![keys.current], keys.old].concat());
    let older = kept_beside(key_dir).into_iter().flatten();
    current.chain(older).map(|master| master.id()).collect()
}

/// What mints and opens scoped keys, with the keys that this data directory was made with, or with new ones
/// if it is new.
pub(crate) async fn open(settings: &Settings, given: Given, store: &Store) -> anyhow::Result<Keys> {
    let wrapped = store.index_key_fetch().await.context("can't read the index key")?;
    let Given { keys, older } = given;
    let (place, MasterKeys { current, mut old }) = find(settings, keys, wrapped.is_none())?;
    old.extend(older);
    old.extend(kept_beside(&settings.key_dir)?);
    let known = store.master_keys_known().await.context("can't read the list of master keys")?;
    let retired = || known.iter().filter(|known| known.is_retired).map(|known| known.id);
    if retired().any(|id| id == current.id()) {
        bail!("master key {} was retired: put the one that took its place back", current.id());
    }
    let instance_id = store.instance_id();
    let index_key = match wrapped {
        Some(wrapped) => unwrap(&wrapped, &current, &old, &instance_id, store).await?,
        None => {
            let index_key = IndexKey::from_bytes(random()?);
            let wrapped = wrap_index_key(&index_key, &current, &instance_id);
            store.index_key_put(wrapped).await.context("can't store the index key")?;
            index_key
        }
    };
    tracing::debug!(master_key.id = %current.id(), "opened the keys");
    let ring = KeyRing::new(current, instance_id, index_key).with_older(old, retired());
    let present = ring.master_key_ids();
    let new: Vec<_> =
        present.iter().filter(|id| known.iter().all(|known| known.id != **id)).copied().collect();
    if !new.is_empty() {
        store.master_keys_note(new).await.context("can't note which master keys there are")?;
    }
    for known in known {
        if known.is_retired && !known.is_ended {
            // A retirement was cut short.
            store.master_key_end(known.id, &Actor::system()).await.context("can't revoke retired keys")?;
        } else if !known.is_retired
            && !present.contains(&known.id)
            && store.master_key_is_needed(known.id).await.context("can't read keys")?
        {
            tracing::warn!(
                master_key.id = %known.id,
                "a master key is not here: scoped keys that were made under it are refused. Give it as well, or retire it"
            );
        }
    }
    Ok(Keys { ring: Arc::new(ring), place })
}

/// The current master key and those that stand beside it.
fn find(settings: &Settings, given: Option<MasterKeys>, is_new: bool) -> anyhow::Result<(Place, MasterKeys)> {
    if let Some(file) = &settings.master_key_file {
        warn_if_open_to_others(file);
        // Inputs that were read have what a file says that the settings name.
        let keys = given.context("the file with the master key was not read")?;
        return Ok((Place::File(file.clone()), keys));
    }
    if let Some(command) = &settings.master_key_command {
        return Ok((Place::Elsewhere("master-key-command"), master_keys::from_command(command)?));
    }
    if let Some(keys) = given {
        return Ok((Place::Elsewhere(env::MASTER_KEY), keys));
    }
    let file = settings.key_dir.join(FILE);
    let keys = match made_earlier(&file)? {
        Some(keys) => keys,
        None if is_new => {
            let current = MasterKey::from_bytes(random()?);
            local_file::write_new_secret(&file, &current.to_text())?;
            MasterKeys { current, old: Vec::new() }
        }
        None => bail!(
            "the master key is missing: {} is not there, and {} has scoped keys that only it opens. Put the file back, \
             name another with --master-key-file, or give the key in {}.",
            file.display(),
            settings.data.display(),
            env::MASTER_KEY
        ),
    };
    Ok((Place::KeyDir(settings.key_dir.clone()), keys))
}

/// The index key. If it was wrapped by an older master key it is wrapped by the current one from now on.
async fn unwrap(
    wrapped: &[u8],
    current: &MasterKey,
    old: &[MasterKey],
    instance_id: &[u8; 16],
    store: &Store,
) -> anyhow::Result<IndexKey> {
    let by = index_key_wrapped_by(wrapped);
    let Some(before) = old.iter().find(|old| old.id() != current.id() && Some(old.id()) == by) else {
        return unwrap_index_key(wrapped, current, instance_id).context(
            "if the master key was changed on purpose, give the one before as well: it is needed until its last key has ended",
        );
    };
    let index_key = unwrap_index_key(wrapped, before, instance_id)?;
    let anew = wrap_index_key(&index_key, current, instance_id);
    store
        .master_key_rotate(current.id(), anew, &Actor::system())
        .await
        .context("the new master key can't be put in use")?;
    tracing::info!(master_key.id = %current.id(), before = %before.id(), "a new master key is the current one");
    Ok(index_key)
}

/// The master keys in a file, if it is there.
fn made_earlier(file: &Path) -> anyhow::Result<Option<MasterKeys>> {
    if !file.try_exists().with_context(|| format!("can't look for {}", file.display()))? {
        return Ok(None);
    }
    warn_if_open_to_others(file);
    read(file).map(Some)
}

fn read(file: &Path) -> anyhow::Result<MasterKeys> {
    let text = local_file::read_secret(file)?;
    master_keys::parse(&text).with_context(|| format!("in {}", file.display()))
}

/// The older master keys that rotations left in the key directory: `master-….key`.
fn kept_beside(key_dir: &Path) -> anyhow::Result<Vec<MasterKey>> {
    let place = || format!("can't list {}", key_dir.display());
    let mut old = Vec::new();
    for entry in std::fs::read_dir(key_dir).with_context(place)? {
        let path = entry.with_context(place)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("master-") && name.ends_with(".key") {
            let MasterKeys { current, old: others } = made_earlier(&path)?.with_context(place)?;
            old.push(current);
            old.extend(others);
        }
    }
    Ok(old)
}

fn warn_if_open_to_others(file: &Path) {
    if local_file::is_open_to_others(file) {
        let mode = "chmod 600";
        tracing::warn!(file = %file.display(), fix = mode, "others on this machine may read the master key");
    }
}

/// Sees to it that the next start finds another master key than this one, and this one beside it. What a rotation
/// left behind that was cut short is used.
fn make_next(place: &Place, current: MasterKeyId) -> anyhow::Result<MasterKey> {
    let file = match place {
        Place::KeyDir(key_dir) => key_dir.join(FILE),
        Place::File(file) => file.canonicalize().with_context(|| format!("can't find {}", file.display()))?,
        Place::Elsewhere(name) => bail!(
            "the master key comes from {name}, which till can't change: let that give a new one first and the one before \
             after it, and restart; docs/operations.md says how"
        ),
    };
    let found = read(&file)?;
    if found.current.id() != current {
        return Ok(found.current);
    }
    let next = MasterKey::from_bytes(random()?);
    let text = match place {
        Place::KeyDir(key_dir) => {
            let kept = key_dir.join(format!("master-{current}.key"));
            keep(&kept, &found.current)?;
            next.to_text()
        }
        _ => {
            let older = [&found.current].into_iter().chain(&found.old);
            master_keys::text([&next].into_iter().chain(older))
        }
    };
    local_file::replace_secret(&file, &text)?;
    Ok(next)
}

/// Writes an old master key beside the current one, unless it is there already.
fn keep(file: &Path, master: &MasterKey) -> anyhow::Result<()> {
    match made_earlier(file)? {
        Some(kept) if kept.current.id() == master.id() => Ok(()),
        Some(_) => bail!("{} has another master key in it", file.display()),
        None => local_file::replace_secret(file, &master.to_text()),
    }
}

/// 32 bytes of the operating system's randomness.
pub(super) fn random() -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow!("the operating system gives no randomness: {error}"))?;
    Ok(bytes)
}
