//! An upstream key together with the only place it may be sent to.

use crate::secret::Secret;

/// Where a provider wants its key in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// In the header `name`, as `template` with `{key}` replaced: `authorization`, `Bearer {key}`.
    Header {
        /// Header name in lower case.
        name: String,
        /// Header value with exactly one `{key}`.
        template: String,
    },
    /// As the query parameter `name`.
    Query {
        /// Parameter name.
        name: String,
    },
    /// HTTP Basic; the upstream key is `user:password`, or a user name alone (then the password is empty).
    Basic,
}

/// The part of a token that is sealed: what is sent upstream, where to and how. Destination and placement
/// come only from here and from the operator's configuration, never from a database row or a request.
#[derive(Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The real key.
    pub key: Secret,
    /// Id of the provider, such as `openai`.
    pub provider: String,
    /// Scheme, host, port and base path, without a trailing slash: `https://api.openai.com`.
    pub origin: String,
    /// Where the key goes.
    pub placement: Placement,
}

impl Upstream {
    /// What a token has that says by name which key it is for.
    pub fn named(&self, credential: &str) -> NamedUpstream {
        NamedUpstream {
            credential: credential.to_owned(),
            provider: self.provider.clone(),
            origin: self.origin.clone(),
            placement: self.placement.clone(),
        }
    }
}

/// The sealed part of a token that names its upstream key instead of carrying it. Which key that is at the moment is said
/// by whoever keeps it under that name. That one has a destination of its own sealed with it: it goes nowhere else, and in
/// no other way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedUpstream {
    /// What the key is kept as.
    pub credential: String,
    /// Id of the provider.
    pub provider: String,
    /// Scheme, host, port and base path, without a trailing slash.
    pub origin: String,
    /// Where the key goes.
    pub placement: Placement,
}

/// What is sealed in a token.
#[derive(Clone, PartialEq, Eq)]
pub enum SealedUpstream {
    /// The key itself.
    Key(Upstream),
    /// The name of a key that an administrator has stored.
    Named(NamedUpstream),
}

/// The shortest upstream key that is accepted, in bytes. Below this, replacing echoes of the key in
/// answers would hit ordinary text.
pub const UPSTREAM_KEY_MIN: usize = 8;

/// The longest upstream key that is accepted, in bytes.
pub const UPSTREAM_KEY_MAX: usize = 4096;

/// Why a text can't be an upstream key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamKeyError {
    /// Shorter than [`UPSTREAM_KEY_MIN`].
    #[error("an upstream key has at least {UPSTREAM_KEY_MIN} bytes")]
    TooShort,
    /// Longer than [`UPSTREAM_KEY_MAX`].
    #[error("an upstream key has at most {UPSTREAM_KEY_MAX} bytes")]
    TooLong,
    /// A space, control or non-ASCII byte, which no HTTP header value may carry safely.
    #[error("an upstream key has only visible ASCII characters; check for a space or a line break")]
    NotVisibleAscii,
    /// Somebody pasted a scoped key.
    #[error("this is a till scoped key, not an upstream key")]
    ScopedKey,
}

/// Checks what an admin gave as an upstream key.
///
/// # Errors
/// Says which rule is broken, never what was given.
pub fn check_upstream_key(key: &Secret) -> Result<(), UpstreamKeyError> {
    let bytes = key.reveal();
    if bytes.len() < UPSTREAM_KEY_MIN {
        return Err(UpstreamKeyError::TooShort);
    }
    if bytes.len() > UPSTREAM_KEY_MAX {
        return Err(UpstreamKeyError::TooLong);
    }
    if !bytes.iter().all(u8::is_ascii_graphic) {
        return Err(UpstreamKeyError::NotVisibleAscii);
    }
    if bytes.starts_with(crate::token::SCOPED_KEY_PREFIX.as_bytes()) {
        return Err(UpstreamKeyError::ScopedKey);
    }
    Ok(())
}
