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
//! - Which ones were retired is noted in the key directory as well as in the database, and a start brings each list up to the
//!   other: a database that is put back from an older copy brings none of them back.
//! - The store is started only with the master key that opens its index key.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use till_admin::{MakeMasterKey, NoteRetired};
use till_core::audit::Actor;
use till_core::secret::Secret;
use till_core::token::{
    IndexKey, KeyRing, MasterKey, MasterKeyId, index_key_wrapped_by, unwrap_index_key, wrap_index_key,
};
use till_store::{Opening, Store, StoreError};

use crate::env;
use crate::local_file;
use crate::master_keys::{self, Given, MasterKeys};
use crate::settings::Settings;

const FILE: &str = "master.key";

/// The ids of retired ones, one per line.
const RETIRED_FILE: &str = "retired";

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
    key_dir: PathBuf,
}

impl Keys {
    /// What notes a retirement in the key directory.
    pub(crate) fn note(&self) -> NoteRetired {
        let key_dir = self.key_dir.clone();
        Arc::new(move |id| note_retired(&key_dir, id).map_err(|error| format!("{error:#}")))
    }

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

/// Whether the master keys that there are open the index key of a database, without a start; answers which ones there are.
///
/// # Errors
/// What a start would say.
pub(crate) fn check(
    settings: &Settings,
    given: Given,
    wrapped: &[u8],
    instance_id: &[u8; 16],
) -> anyhow::Result<Vec<MasterKeyId>> {
    let Given { keys, older } = given;
    let (_, MasterKeys { current, mut old }) = find(settings, keys, false)?;
    old.extend(older);
    old.extend(kept_beside(&settings.key_dir)?);
    check_alive(current.id(), &retired(&settings.key_dir)?)?;
    unwrap(wrapped, &current, &old, instance_id)?;
    Ok([current].iter().chain(&old).map(MasterKey::id).collect())
}

/// Starts the store, with what mints and opens its scoped keys: the keys that this data directory was made with, or new
/// ones if it is new. Before the right ones are found nothing is written.
pub(crate) async fn open(
    settings: &Settings,
    given: Given,
    opening: Opening,
) -> anyhow::Result<(Store, Keys)> {
    let Given { keys, older } = given;
    let (place, MasterKeys { current, mut old }) = find(settings, keys, opening.index_key().is_none())?;
    old.extend(older);
    old.extend(kept_beside(&settings.key_dir)?);
    let noted = retired(&settings.key_dir)?;
    check_alive(current.id(), &noted)?;
    let unwrapped = match (opening.index_key(), opening.instance_id()) {
        (Some(wrapped), Some(id)) => Some(unwrap(wrapped, &current, &old, &id)?),
        _ => None,
    };
    // It blocks, which is fine while nothing is served.
    let store = opening.start()?;
    let known = store.master_keys_known().await.context("can't read the list of master keys")?;
    let retired: Vec<_> = known.iter().filter(|known| known.is_retired).map(|known| known.id).collect();
    check_alive(current.id(), &retired)?;
    let instance_id = store.instance_id();
    let index_key = match unwrapped {
        Some((index_key, before)) => {
            if let Some(before) = before {
                put_in_use(&index_key, &current, before, &store).await?;
            }
            index_key
        }
        None => {
            let index_key = IndexKey::from_bytes(random()?);
            let wrapped = wrap_index_key(&index_key, &current, &instance_id);
            store.index_key_put(wrapped).await.context("can't store the index key")?;
            index_key
        }
    };
    tracing::debug!(master_key.id = %current.id(), "opened the keys");
    let ring = KeyRing::new(current, instance_id, index_key).with_older(old, retired.clone());
    let present = ring.master_key_ids();
    let new: Vec<_> =
        present.iter().filter(|id| known.iter().all(|known| known.id != **id)).copied().collect();
    if !new.is_empty() {
        store.master_keys_note(new).await.context("can't note which master keys there are")?;
    }
    for id in noted.iter().filter(|id| !retired.contains(id)) {
        retire_again(*id, &ring, &store).await?;
    }
    for id in retired.iter().filter(|id| !noted.contains(id)) {
        note_retired(&settings.key_dir, *id)?;
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
    let keys = Keys { ring: Arc::new(ring), place, key_dir: settings.key_dir.clone() };
    Ok((store, keys))
}

fn check_alive(current: MasterKeyId, retired: &[MasterKeyId]) -> anyhow::Result<()> {
    if retired.contains(&current) {
        bail!("master key {current} was retired: put the one that took its place back");
    }
    Ok(())
}

/// Retires a master key that the database does not know to be: it is an older copy.
async fn retire_again(id: MasterKeyId, ring: &KeyRing, store: &Store) -> anyhow::Result<()> {
    let actor = Actor::system();
    let context = || format!("can't retire master key {id} again");
    // What it seals is sealed by the current one first, as far as that goes.
    store.credentials_reseal(ring, &actor).await.with_context(context)?;
    match store.master_key_retire(id, &actor).await {
        Err(StoreError::Invalid { reason }) => {
            tracing::error!(master_key.id = %id, reason, "a master key that was retired is not noted as such in the database")
        }
        done => drop(done.with_context(context)?),
    }
    ring.retire(id)?;
    store.master_key_end(id, &actor).await.with_context(context)?;
    tracing::warn!(
        master_key.id = %id,
        "a master key is retired again: it was, and the database that was put back did not know"
    );
    Ok(())
}

/// The master keys that were retired, as the key directory has it.
fn retired(key_dir: &Path) -> anyhow::Result<Vec<MasterKeyId>> {
    let file = key_dir.join(RETIRED_FILE);
    let place = || format!("can't read which master keys were retired in {}", file.display());
    if !file.try_exists().with_context(place)? {
        return Ok(Vec::new());
    }
    let text = local_file::read_secret(&file)?;
    let text = text.reveal_str().with_context(place)?;
    text.split_ascii_whitespace().map(|id| id.parse::<MasterKeyId>().with_context(place)).collect()
}

/// Adds one, unless it is there.
fn note_retired(key_dir: &Path, id: MasterKeyId) -> anyhow::Result<()> {
    let mut all = retired(key_dir)?;
    if all.contains(&id) {
        return Ok(());
    }
    all.push(id);
    let text = all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    local_file::replace_secret(&key_dir.join(RETIRED_FILE), &Secret::new(text))
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

/// The index key, and the older master key that wrapped it, if the current one did not.
fn unwrap(
    wrapped: &[u8],
    current: &MasterKey,
    old: &[MasterKey],
    instance_id: &[u8; 16],
) -> anyhow::Result<(IndexKey, Option<MasterKeyId>)> {
    let by = index_key_wrapped_by(wrapped);
    match old.iter().find(|old| old.id() != current.id() && Some(old.id()) == by) {
        Some(before) => Ok((unwrap_index_key(wrapped, before, instance_id)?, Some(before.id()))),
        None => {
            let index_key = unwrap_index_key(wrapped, current, instance_id).context(
                "if the master key was changed on purpose, give the one before as well: it is needed until its last key has ended",
            )?;
            Ok((index_key, None))
        }
    }
}

/// Wraps the index key by the current master key from now on.
async fn put_in_use(
    index_key: &IndexKey,
    current: &MasterKey,
    before: MasterKeyId,
    store: &Store,
) -> anyhow::Result<()> {
    let anew = wrap_index_key(index_key, current, &store.instance_id());
    store
        .master_key_rotate(current.id(), anew, &Actor::system())
        .await
        .context("the new master key can't be put in use")?;
    tracing::info!(master_key.id = %current.id(), before = %before, "a new master key is the current one");
    Ok(())
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
            if found.old.len() + 2 > master_keys::KEYS_MAX {
                bail!(
                    "there are {} master keys in {}, and no more than that are read: keep a copy of those that are retired \
                     (`till master-key list`) and take them out of it",
                    found.old.len() + 1,
                    file.display()
                );
            }
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use till_core::token::{MasterKey, MasterKeyId};

    use super::{Place, RETIRED_FILE, make_next, note_retired, retired};
    use crate::master_keys::{KEYS_MAX, parse, text};
    use crate::{local_file, start};

    fn masters(count: usize) -> Vec<MasterKey> {
        (1..=count).map(|n| MasterKey::from_bytes([u8::try_from(n).unwrap(); 32])).collect()
    }

    #[test]
    fn a_file_gets_no_more_master_keys_than_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys");
        let all = masters(KEYS_MAX - 1);
        local_file::replace_secret(&file, &text(&all)).unwrap();
        let place = Place::File(file.clone());
        let next = make_next(&place, all[0].id()).unwrap();
        let read = || parse(&local_file::read_secret(&file).unwrap()).unwrap();
        assert_eq!((read().current.id(), read().old.len()), (next.id(), KEYS_MAX - 1));
        let before = fs::read(&file).unwrap();
        let refused = make_next(&place, next.id()).err().expect("the next start could not read it");
        assert!(refused.to_string().contains("take them out"), "{refused}");
        assert_eq!(fs::read(&file).unwrap(), before);
    }

    #[test]
    fn retirements_are_noted_once_and_for_the_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let ids: Vec<MasterKeyId> = masters(3).iter().map(MasterKey::id).collect();
        assert!(retired(dir.path()).unwrap().is_empty());
        for id in [ids[0], ids[1], ids[0], ids[2]] {
            note_retired(dir.path(), id).unwrap();
        }
        assert_eq!(retired(dir.path()).unwrap(), ids);
        let file = dir.path().join(RETIRED_FILE);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(start::master_keys_kept(dir.path()).is_empty(), "it is no master key");
        fs::write(&file, "5f0c3a9e\nnonsense").unwrap();
        assert!(retired(dir.path()).is_err(), "what can't be told is a no");
    }
}
