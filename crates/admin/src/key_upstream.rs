//! What a scoped key is minted from: an upstream key in the request, or one that was stored by name.
//!
//! Invariant: destination and placement come from the registry, never from the request or from what is stored. A stored
//! key is minted from only while it goes where it was stored for, or the operator accepts that it goes elsewhere.

use serde_json::Value;
use till_core::secret::Secret;
use till_core::token::{KeyRing, MintError, Minted};
use till_core::upstream::{NamedUpstream, SealedUpstream, Upstream};
use till_providers::Provider;
use till_store::{Credential, Kept};

use crate::error::{ApiError, ErrorCode};
use crate::key_create::{invalid, required, secret, text};
use crate::router::Shared;

/// What was asked for.
pub(crate) enum UpstreamWanted {
    /// A key of its own.
    Key { provider: String, key: Secret },
    /// A stored one; the provider may be named besides.
    Named { provider: Option<String>, name: String },
}

impl UpstreamWanted {
    /// Exactly one of `upstream_key` and `upstream` is given.
    pub(crate) fn parse(
        provider: Option<Value>,
        key: Option<Value>,
        name: Option<Value>,
    ) -> Result<Self, ApiError> {
        match (key, name) {
            (Some(_), Some(_)) => Err(ApiError::new(
                ErrorCode::DuplicateField,
                "`upstream_key` and `upstream` both say which key to mint from; send one of them",
            )),
            (None, Some(name)) => Ok(Self::Named {
                provider: provider.map(|provider| text("provider", provider)).transpose()?,
                name: text("upstream", name)?,
            }),
            (key, None) => {
                let provider = text("provider", required("provider", provider)?)?;
                let key = key.ok_or_else(|| {
                    let message = "`upstream_key` is required, or `upstream` with the name of a stored one";
                    ApiError::new(ErrorCode::MissingField, message)
                })?;
                Ok(Self::Key { provider, key: secret("upstream_key", key)? })
            }
        }
    }

    /// The key in the request.
    pub(crate) fn key(&self) -> Option<&Secret> {
        match self {
            Self::Key { key, .. } => Some(key),
            Self::Named { .. } => None,
        }
    }
}

/// What is sealed into a scoped key, and for which provider.
pub(crate) struct MintFrom<'a> {
    pub(crate) provider: &'a Provider,
    pub(crate) origin: String,
    pub(crate) credential: Option<String>,
    sealed: SealedUpstream,
}

impl<'a> MintFrom<'a> {
    /// Finds the provider and, where it is named, what is stored, for a key of this project.
    ///
    /// # Errors
    /// There is none, or not for this project: nobody learns which.
    pub(crate) async fn find(
        shared: &'a Shared,
        wanted: &UpstreamWanted,
        project: &str,
    ) -> Result<Self, ApiError> {
        match wanted {
            UpstreamWanted::Key { provider, key } => {
                let (provider, origin) = reachable(shared, provider)?;
                let sealed = SealedUpstream::Key(upstream_here(shared, provider.id(), key)?);
                Ok(Self { provider, origin, credential: None, sealed })
            }
            UpstreamWanted::Named { provider: named, name } => {
                let found: Option<Kept<Credential>> = shared.state.store.entity_fetch(name).await?;
                let usable = found.filter(|found| found.ended_at.is_none() && found.is.may_mint_in(project));
                // The words of the store, which looks again when the key is made.
                let usable = usable.ok_or_else(|| {
                    ApiError::new(ErrorCode::NotAllowed, "`upstream` is no credential that there is")
                })?;
                let (provider, origin) = reachable(shared, &usable.is.provider)?;
                check_goes_there(shared, &usable)?;
                let fits =
                    |id: &String| shared.state.providers.get(id).is_some_and(|one| one.id() == provider.id());
                if !named.as_ref().is_none_or(fits) {
                    let rule = format!("must be `{}`, which `upstream` is for, or absent", provider.id());
                    return Err(invalid("provider", &rule));
                }
                let sealed = SealedUpstream::Named(NamedUpstream {
                    credential: usable.id.clone(),
                    provider: provider.id().to_owned(),
                    origin: origin.clone(),
                    placement: provider.placement().clone(),
                });
                Ok(Self { provider, origin, credential: Some(usable.id), sealed })
            }
        }
    }

    pub(crate) fn mint(&self, ring: &KeyRing, random_id: [u8; 16]) -> Result<Minted, MintError> {
        match &self.sealed {
            SealedUpstream::Key(upstream) => ring.mint(upstream, random_id),
            SealedUpstream::Named(upstream) => ring.mint_named(upstream, random_id),
        }
    }
}

/// Whether what is stored can be used, and goes where it was stored for.
fn check_goes_there(shared: &Shared, kept: &Kept<Credential>) -> Result<(), ApiError> {
    let stored = shared.state.keys.unseal_credential(kept.label(), &kept.is.sealed_bytes()).map_err(|_| {
        let message = "`upstream` can't be used here until it is given its upstream key again: its master key is not here, \
                       or it was altered";
        ApiError::new(ErrorCode::NotAllowed, message)
    })?;
    if goes_to(shared, &stored) {
        return Ok(());
    }
    let message = format!(
        "`upstream` was stored for {}, and its provider is at another address now: give it its upstream key again, or let \
         the operator accept that (--provider-url {}=URL,accept-sealed)",
        stored.origin, stored.provider
    );
    Err(ApiError::new(ErrorCode::NotAllowed, message))
}

/// Whether an upstream key goes where it was sealed for, or the operator accepts that it goes elsewhere.
pub(crate) fn goes_to(shared: &Shared, stored: &Upstream) -> bool {
    shared.state.providers.get(&stored.provider).is_some_and(|provider| {
        let configured = provider.base_url();
        configured.is_some_and(|url| url.as_str() == stored.origin || provider.accepts_sealed())
    })
}

/// An upstream key for the place where its provider is now.
///
/// # Errors
/// The provider is none that there is an address of.
pub(crate) fn upstream_here(shared: &Shared, provider: &str, key: &Secret) -> Result<Upstream, ApiError> {
    let (provider, origin) = reachable(shared, provider)?;
    let (id, placement) = (provider.id().to_owned(), provider.placement().clone());
    Ok(Upstream { key: key.clone(), provider: id, origin, placement })
}

/// A provider, and where it is.
fn reachable<'a>(shared: &'a Shared, id: &str) -> Result<(&'a Provider, String), ApiError> {
    let registry = &shared.state.providers;
    let found = registry.get(id).and_then(|provider| Some((provider, provider.base_url()?)));
    let Some((provider, base_url)) = found else {
        let known: Vec<&str> =
            registry.iter().filter(|one| one.base_url().is_some()).map(Provider::id).collect();
        let message =
            format!("`provider` is none that this instance can reach; known are {}", known.join(", "));
        return Err(ApiError::new(ErrorCode::UnknownProvider, message));
    };
    Ok((provider, base_url.as_str().to_owned()))
}
