//! The stored upstream keys, from the store to the data plane: neither of them can unseal one for the other.

use std::sync::Arc;

use anyhow::Context;
use till_core::audit::Actor;
use till_core::token::{CredentialKeys, KeyRing};
use till_store::{Credential, Kept, Store};

/// Unseals all of them, and whatever changes from now on. What an older master key has sealed is sealed by the current one
/// first: a rotation may have been cut short, or brought about by putting another master key in place.
pub(crate) async fn follow(store: &Store, ring: &Arc<KeyRing>) -> anyhow::Result<Arc<CredentialKeys>> {
    let resealed = store.credentials_reseal(ring, &Actor::system()).await;
    let resealed = resealed.context("the upstream credentials can't be sealed by the current master key")?;
    if resealed > 0 {
        tracing::info!(credentials = resealed, "upstream credentials are sealed by the current master key");
    }
    let credentials = Arc::<CredentialKeys>::default();
    let (known, ring) = (Arc::clone(&credentials), Arc::clone(ring));
    let listener = move |kept: &Kept<Credential>| learn(&known, &ring, kept);
    store.credentials_follow(Arc::new(listener)).await.context("can't read the upstream credentials")?;
    Ok(credentials)
}

fn learn(known: &CredentialKeys, ring: &KeyRing, kept: &Kept<Credential>) {
    if kept.ended_at.is_some() {
        return known.remove(&kept.id, kept.version);
    }
    if let Err(error) = known.put(ring, kept.label(), kept.version, &kept.is.sealed_bytes()) {
        tracing::error!(
            credential = kept.id,
            %error,
            "an upstream credential can't be used: scoped keys that were minted from it are refused"
        );
    }
}
