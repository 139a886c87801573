//! No way around: endpoints that are refused for every scoped key that doesn't name them.
//!
//! An agent that could make itself a credential, a session or a signed URL would go on at the provider
//! without till; one that could start a batch or a run would turn one request into many. The lists are
//! per provider, in the modules below, each row with the page of the provider that it is taken from.
//!
//! Matching is generous against evasion: see [`crate::pattern`]. A row that is about creating
//! something covers every method but `GET` and `HEAD`, whatever the documentation names, so that a
//! second documented or undocumented writing method is no way around it.

pub(crate) mod anthropic;
pub(crate) mod azure;
pub(crate) mod bedrock;
pub(crate) mod cerebras;
pub(crate) mod cohere;
pub(crate) mod deepseek;
pub(crate) mod fireworks;
pub(crate) mod github;
pub(crate) mod google;
pub(crate) mod groq;
pub(crate) mod huggingface;
pub(crate) mod mistral;
pub(crate) mod openai;
pub(crate) mod openrouter;
pub(crate) mod perplexity;
pub(crate) mod stripe;
pub(crate) mod together;
pub(crate) mod xai;
pub(crate) mod zai;

use http::Method;
use till_core::path::FinalPath;

use crate::pattern::{Comparable, Pattern};
use crate::provider::Provider;

/// An endpoint on a provider's list.
#[derive(Clone, Copy, Debug)]
pub struct DeniedEndpoint {
    /// With which methods.
    pub methods: Methods,
    /// Which final paths.
    pub pattern: Pattern,
    /// Why.
    pub reason: DeniedReason,
    /// The provider's documentation of the endpoint.
    pub source: &'static str,
}

/// The methods that a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Methods {
    /// All: reading is as bad as writing.
    Any,
    /// All but `GET` and `HEAD`: looking is harmless.
    Writing,
}

/// Why an endpoint is a way around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeniedReason {
    /// It makes or shows a credential that works at the provider without till.
    Credential,
    /// It opens a session that goes on at the provider without till.
    Session,
    /// It makes a URL that works without a key.
    SignedUrl,
    /// It administers the account: members, keys, billing, access.
    Administration,
    /// It turns one request into many calls.
    ManyCalls,
}

impl DeniedReason {
    /// All reasons, for documentation.
    pub const ALL: [Self; 5] =
        [Self::Credential, Self::Session, Self::SignedUrl, Self::Administration, Self::ManyCalls];

    /// The end of a sentence that begins with "this endpoint".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Credential => "makes or shows a credential that works without till",
            Self::Session => "opens a session that goes on without till",
            Self::SignedUrl => "makes a URL that works without a key",
            Self::Administration => "administers the account",
            Self::ManyCalls => "turns one request into many calls",
        }
    }
}

impl Methods {
    /// Whether this method is meant.
    pub fn contains(self, method: &Method) -> bool {
        match self {
            Self::Any => true,
            Self::Writing => method != Method::GET && method != Method::HEAD,
        }
    }

    /// For people: `any` or `all but GET`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Writing => "all but GET",
        }
    }
}

impl DeniedEndpoint {
    /// Whether a request is to this endpoint.
    #[inline]
    pub fn matches(&self, method: &Method, path: &Comparable<'_>) -> bool {
        self.pattern.matches(path) && self.methods.contains(method)
    }
}

/// A row for every method.
const fn any(pattern: &'static str, reason: DeniedReason, source: &'static str) -> DeniedEndpoint {
    DeniedEndpoint { methods: Methods::Any, pattern: Pattern::new(pattern), reason, source }
}

/// A row for every method but those that only look.
const fn writing(pattern: &'static str, reason: DeniedReason, source: &'static str) -> DeniedEndpoint {
    DeniedEndpoint { methods: Methods::Writing, pattern: Pattern::new(pattern), reason, source }
}

impl Provider {
    /// The row that refuses this request for every scoped key that doesn't name the endpoint, if there is one.
    pub fn denied_endpoint(&self, method: &Method, path: &FinalPath) -> Option<&'static DeniedEndpoint> {
        let rows = self.denied_endpoints();
        if rows.is_empty() {
            return None;
        }
        let path = Comparable::new(path);
        rows.iter().find(|row| row.matches(method, &path))
    }
}

#[cfg(test)]
mod tests;
