//! The owner's admin key: made on the first start, or preset for unattended installs.

use std::path::Path;

use anyhow::{Context, bail};
use till_core::audit::Actor;
use till_core::secret::Secret;
use till_core::token::{ADMIN_TOKEN_PREFIX, admin_token_hash, mint_admin_token};
use till_store::{NewAdminToken, Store};

use super::master_key::random;
use crate::env::{self, Surroundings};
use crate::local_file;

/// Name of the owner's token, and its role.
const OWNER: &str = "owner";

/// A preset key is as long as one that nobody can guess.
const PRESET_RANDOM_CHARS_MIN: usize = 32;

const PRESET_CHARS_MAX: usize = 256;

/// What happened to the owner's key at this start.
pub(super) enum OwnerKey {
    /// Made now, and to be shown this once.
    Made(Secret),
    /// As somebody preset it; they know it.
    Preset,
    /// The one of an earlier start.
    Kept,
}

/// The key that somebody preset: a named file, or the variable.
///
/// # Errors
/// When there is one that is no good owner key.
pub(super) fn preset(file: Option<&Path>, surroundings: &Surroundings) -> anyhow::Result<Option<Secret>> {
    let (key, place) = match (file, surroundings.variable(env::ADMIN_KEY)) {
        (Some(file), _) => (local_file::read_secret(file)?, file.display().to_string()),
        (None, Some(text)) => (Secret::new(text.trim()), env::ADMIN_KEY.to_owned()),
        (None, None) => return Ok(None),
    };
    if !is_strong(&key) {
        bail!(
            "the owner key in {place} can't be used: it has to be `{ADMIN_TOKEN_PREFIX}` and at least \
             {PRESET_RANDOM_CHARS_MIN} random letters, digits, `_` or `-`"
        );
    }
    Ok(Some(key))
}

fn is_strong(key: &Secret) -> bool {
    let Some(random) = key.reveal().strip_prefix(ADMIN_TOKEN_PREFIX.as_bytes()) else { return false };
    (PRESET_RANDOM_CHARS_MIN..=PRESET_CHARS_MAX).contains(&random.len())
        && random.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Sees to it that there is an owner key, and that it is the preset one if there is one.
pub(super) async fn ensure(store: &Store, preset: Option<Secret>) -> anyhow::Result<OwnerKey> {
    let context = "can't set up the owner key";
    if let Some(key) = preset {
        let known = store.admin_token_fetch(hash(&key)).await.context(context)?;
        if known.is_none_or(|token| token.name != OWNER) {
            put(store, &key, &Actor::system()).await?;
            tracing::info!("the owner key is the preset one from now on");
        }
        return Ok(OwnerKey::Preset);
    }
    if store.admin_token_exists(OWNER).await.context(context)? {
        return Ok(OwnerKey::Kept);
    }
    replace(store, &Actor::system()).await.map(OwnerKey::Made)
}

/// Makes a new owner key; the old one no longer works. The store writes this to the audit log.
pub(crate) async fn replace(store: &Store, actor: &Actor) -> anyhow::Result<Secret> {
    let key = mint_admin_token(random()?);
    put(store, &key, actor).await?;
    Ok(key)
}

async fn put(store: &Store, key: &Secret, actor: &Actor) -> anyhow::Result<()> {
    let token = NewAdminToken { name: OWNER.to_owned(), role: OWNER.to_owned(), hash: hash(key) };
    store.admin_token_put(token, actor).await.context("can't store the owner key")
}

fn hash(key: &Secret) -> [u8; 32] {
    admin_token_hash(key.reveal_str().expect("made or checked to be ASCII"))
}

#[cfg(test)]
mod tests {
    use till_core::secret::Secret;

    use super::{is_strong, preset};
    use crate::env::Surroundings;

    #[test]
    fn weak_presets_are_refused() {
        let check = |text: &str, strong| assert_eq!(is_strong(&Secret::new(text)), strong, "{text}");
        let random = "abcdefghijklmnopqrstuvwxyz-_0123";
        check(&format!("till_admin_{random}"), true);
        check(&format!("till_admin_{}", &random[1..]), false);
        check(&format!("till_admin_{random}!"), false);
        check(&format!("till_adm_{random}{random}"), false);
        check(&format!("till_admin_{}", "x".repeat(257)), false);
        check("", false);
    }

    #[test]
    fn a_refused_preset_is_not_repeated() {
        let surroundings = Surroundings::of(&[("TILL_ADMIN_KEY", "hunter2")]);
        let error = preset(None, &surroundings).err().expect("it is weak");
        assert!(!format!("{error:#}").contains("hunter2"));
    }
}
