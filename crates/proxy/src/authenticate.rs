//! Stage 1: which key is this, and what is sealed in it.
//!
//! A token is opened with cryptography alone: no store is asked, so unknown tokens cost an attacker more than
//! us. What was opened is remembered with the whole token, which is compared. Status and limits are never read
//! from here; the ledger has them. A key that a token only names is in memory too, and asked for again as soon as it
//! was changed.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use till_core::denial::{Denial, DenialCode};
use till_core::id_map::IdMap;
use till_core::key::KeyId;
use till_core::ledger::revoked_denial;
use till_core::secret::Secret;
use till_core::token::{CredentialFound, CredentialKey, CredentialKeys, KeyRing};
use till_core::upstream::{NamedUpstream, SealedUpstream, Upstream};
use till_providers::{BaseUrl, Provider, Registry};

use crate::destination::{Destination, Destinations};
use crate::metrics::Metrics;
use crate::pool::Pool;

/// How many opened tokens are remembered.
const TOKENS_MAX: usize = 65_536;

/// How many characters at the end of a token are its checksum, with what stands before it.
const CHECKSUM_LENGTH: usize = 7;

/// The memory is split so that requests rarely wait for each other.
const SHARDS: usize = 16;

/// A token that opened.
pub(crate) struct VerifiedKey {
    pub(crate) id: KeyId,
    /// [`number_of`] its token.
    number: u64,
    destination: Arc<Destination>,
    /// The stored upstream key that the token names, if it does.
    named: Option<Arc<CredentialKey>>,
}

/// A key is its destination with an id.
impl Deref for VerifiedKey {
    type Target = Destination;

    fn deref(&self) -> &Destination {
        &self.destination
    }
}

/// Proof that a request carries a token of this instance, whose destination is the configured one.
#[derive(Clone)]
pub(crate) struct Authenticated(Arc<VerifiedKey>);

impl Authenticated {
    pub(crate) fn key(&self) -> &Arc<VerifiedKey> {
        &self.0
    }
}

/// Why a request is not let in.
#[derive(Debug)]
pub(crate) struct Unauthenticated {
    pub(crate) denial: Denial,
    /// The key, where the token is genuine and the configuration is what doesn't fit.
    pub(crate) key: Option<KeyId>,
}

impl From<Denial> for Unauthenticated {
    fn from(denial: Denial) -> Self {
        Self { denial, key: None }
    }
}

/// Opens tokens.
pub(crate) struct Authenticator {
    keys: Arc<KeyRing>,
    credentials: Arc<CredentialKeys>,
    registry: Arc<Registry>,
    pool: Arc<Pool>,
    /// By [`number_of`] their token.
    opened: [Mutex<IdMap<u64, Opened>>; SHARDS],
    destinations: Destinations,
}

struct Opened {
    token: Secret,
    /// [`KeyRing::epoch`] before it was opened.
    epoch: u64,
    key: Arc<VerifiedKey>,
}

impl Authenticator {
    pub(crate) fn new(
        keys: Arc<KeyRing>,
        credentials: Arc<CredentialKeys>,
        registry: Arc<Registry>,
        pool: Arc<Pool>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (opened, destinations) = (Default::default(), Destinations::new(metrics));
        Self { keys, credentials, registry, pool, opened, destinations }
    }

    /// Opens a token, or finds it among those opened before.
    ///
    /// # Errors
    /// `missing_key`, `invalid_key`, or `unknown_provider` and `credential_denied` where the configuration no
    /// longer fits what is sealed, or `key_revoked` where the stored upstream key that it names was removed.
    pub(crate) fn authenticate(&self, token: Option<&[u8]>) -> Result<Authenticated, Unauthenticated> {
        let token = token.ok_or_else(|| {
            Denial::new(
                DenialCode::MissingKey,
                "This is till, and the request carries no scoped key. Send one (it starts with till_sk_) where \
                 the provider's own API key would go.",
            )
        })?;
        // Before anything is opened: what was retired while it was being opened is opened again.
        let epoch = self.keys.epoch();
        let number = number_of(token);
        let shard = self.shard(number);
        if let Some(known) = shard.lock().unwrap_or_else(PoisonError::into_inner).get(&number)
            && known.token.reveal() == token
            && known.epoch == epoch
            && known.key.named.as_ref().is_none_or(|named| named.is_current())
        {
            return Ok(Authenticated(Arc::clone(&known.key)));
        }
        let key = Arc::new(self.open(token, number)?);
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= TOKENS_MAX / SHARDS {
            // Any one will do: a token that comes again is opened again, in microseconds.
            let victim = shard.keys().next().copied();
            victim.map(|victim| shard.remove(&victim));
        }
        let token = Secret::new(token);
        shard.insert(number, Opened { token, epoch, key: Arc::clone(&key) });
        Ok(Authenticated(key))
    }

    /// Forgets a key that will never be served again, and its real key with it if nobody else has that. It is opened anew
    /// whenever its token comes again, as one that was never seen.
    pub(crate) fn forget_ended(&self, key: &Authenticated, denial: DenialCode) {
        if let DenialCode::KeyRevoked | DenialCode::KeyExpired = denial {
            let number = key.0.number;
            self.shard(number).lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        }
    }

    fn shard(&self, number: u64) -> &Mutex<IdMap<u64, Opened>> {
        &self.opened[usize::from(number.to_le_bytes()[0]) % SHARDS]
    }

    fn open(&self, token: &[u8], number: u64) -> Result<VerifiedKey, Unauthenticated> {
        // What is no text is no token either.
        let token = std::str::from_utf8(token).unwrap_or_default();
        let opened = self.keys.open(token).map_err(|error| {
            Denial::new(
                DenialCode::InvalidKey,
                format!("This scoped key is not valid here: {error}. Ask whoever minted it for a new one."),
            )
        })?;
        let id = opened.id;
        let known = |denial| Unauthenticated { denial, key: Some(id) };
        let (upstream, named) = match opened.upstream {
            SealedUpstream::Key(upstream) => (upstream, None),
            SealedUpstream::Named(upstream) => {
                let (upstream, key) = self.with_stored_key(id, upstream).map_err(known)?;
                (upstream, Some(key))
            }
        };
        let provider = self.registry.get(&upstream.provider).ok_or_else(|| {
            known(Denial::new(
                DenialCode::UnknownProvider,
                format!(
                    "This scoped key is for the provider {:?}, which is not configured here any more.",
                    upstream.provider
                ),
            ))
        })?;
        let base = destination(provider, &upstream, named.as_deref()).map_err(known)?;
        let destination = self.destinations.find(upstream, provider, &base, &self.pool);
        Ok(VerifiedKey { id, number, destination, named })
    }

    /// The upstream with the key that has its name now, which is sent in the way that was sealed with it.
    fn with_stored_key(
        &self,
        id: KeyId,
        upstream: NamedUpstream,
    ) -> Result<(Upstream, Arc<CredentialKey>), Denial> {
        match self.credentials.find(&upstream.credential) {
            CredentialFound::Key(stored) if stored.upstream.provider == upstream.provider => {
                Ok((Upstream { origin: upstream.origin, ..stored.upstream.clone() }, stored))
            }
            // Its keys were revoked with it.
            CredentialFound::Missing => Err(revoked_denial(id)),
            CredentialFound::Key(_) | CredentialFound::Unusable => Err(Denial::new(
                DenialCode::CredentialDenied,
                format!(
                    "The upstream credential {:?}, which this scoped key was minted from, can't be used here: its \
                     master key is missing, or it was altered. Ask the operator to store its upstream key again.",
                    upstream.credential
                ),
            )),
        }
    }
}

/// A number that tells a token from others; the whole token is compared besides. It is made of the end of the tag, which
/// nobody without the master key can choose for a token that opens.
fn number_of(token: &[u8]) -> u64 {
    let end = token.len().saturating_sub(CHECKSUM_LENGTH);
    token[..end].last_chunk().map_or(0, |last| u64::from_le_bytes(*last))
}

/// Where the request goes: to the sealed destination, provided that the configuration still says the same
/// or the operator accepts keys that were sealed for another one. A stored key has a destination of its own.
fn destination(
    provider: &Provider,
    upstream: &Upstream,
    stored: Option<&CredentialKey>,
) -> Result<BaseUrl, Denial> {
    let denied = |what: &str| {
        Denial::new(
            DenialCode::CredentialDenied,
            format!(
                "This scoped key was made for {}, but {what}. Ask whoever minted it for a new one, or the \
                 operator to accept keys sealed for the old address (--provider-url {}=URL,accept-sealed).",
                upstream.origin,
                provider.id()
            ),
        )
    };
    let configured =
        provider.base_url().ok_or_else(|| denied("its provider has no address configured now"))?;
    let fits = |origin: &str| configured.as_str() == origin || provider.accepts_sealed();
    if !fits(&upstream.origin) {
        return Err(denied("its provider is configured at another address now"));
    }
    if let Some(stored) = stored.filter(|stored| !fits(&stored.upstream.origin)) {
        return Err(Denial::new(
            DenialCode::CredentialDenied,
            format!(
                "The upstream credential that this scoped key was minted from was stored for {}, but its provider \
                 is configured at another address now. Ask the operator to store its upstream key again, or to \
                 accept keys sealed for the old address (--provider-url {}=URL,accept-sealed).",
                stored.upstream.origin,
                provider.id()
            ),
        ));
    }
    Ok(configured.clone())
}
