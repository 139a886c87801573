//! The master key, and the index key that it guards.
//!
//! Invariant: a master key is made only for a data directory that has none yet. If one is missing later, a
//! new one would silently make every scoped key worthless, so that is an error.

use std::path::Path;

use anyhow::{Context, anyhow, bail};
use till_core::token::{IndexKey, KeyRing, MasterKey, unwrap_index_key, wrap_index_key};
use till_store::Store;

use crate::env;
use crate::local_file;
use crate::settings::Settings;

const FILE: &str = "master.key";

/// What mints and opens scoped keys, with the keys that this data directory was made with, or with new ones
/// if it is new.
pub(super) async fn key_ring(
    settings: &Settings,
    given: Option<MasterKey>,
    store: &Store,
) -> anyhow::Result<KeyRing> {
    let wrapped = store.index_key_fetch().await.context("can't read the index key")?;
    let file = settings.key_dir.join(FILE);
    if let Some(file) = &settings.master_key_file {
        warn_if_open_to_others(file);
    }
    let master = match given.map_or_else(|| made_earlier(&file), |given| Ok(Some(given)))? {
        Some(master) => master,
        None if wrapped.is_none() => make(&file)?,
        None => bail!(
            "the master key is missing: {} is not there, and {} has scoped keys that only it opens. Put the file back, \
             name another with --master-key-file, or give the key in {}.",
            file.display(),
            settings.data.display(),
            env::MASTER_KEY
        ),
    };
    let instance_id = store.instance_id();
    let index_key = match wrapped {
        Some(wrapped) => unwrap_index_key(&wrapped, &master, &instance_id)?,
        None => {
            let index_key = IndexKey::from_bytes(random()?);
            let wrapped = wrap_index_key(&index_key, &master, &instance_id);
            store.index_key_put(wrapped).await.context("can't store the index key")?;
            index_key
        }
    };
    tracing::debug!(master_key.id = %master.id(), "opened the keys");
    Ok(KeyRing::new(master, instance_id, index_key))
}

/// The master key in the key directory, if there is one.
fn made_earlier(file: &Path) -> anyhow::Result<Option<MasterKey>> {
    if !file.try_exists().with_context(|| format!("can't look for {}", file.display()))? {
        return Ok(None);
    }
    warn_if_open_to_others(file);
    let text = local_file::read_secret(file)?;
    let text = text.reveal_str().with_context(|| format!("{} is not text", file.display()))?;
    MasterKey::parse(text).map(Some).with_context(|| format!("in {}", file.display()))
}

fn warn_if_open_to_others(file: &Path) {
    if local_file::is_open_to_others(file) {
        let mode = "chmod 600";
        tracing::warn!(file = %file.display(), fix = mode, "others on this machine may read the master key");
    }
}

fn make(file: &Path) -> anyhow::Result<MasterKey> {
    let master = MasterKey::from_bytes(random()?);
    local_file::write_new_secret(file, &master.to_text())?;
    Ok(master)
}

/// 32 bytes of the operating system's randomness.
pub(super) fn random() -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow!("the operating system gives no randomness: {error}"))?;
    Ok(bytes)
}
