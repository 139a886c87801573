//! For the fuzz target of headers and its replay: the way of a request head through till, without connections and store.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use till_core::fields::Fields;
use till_core::redact::Redactor;
use till_core::secret::Secret;
use till_core::token::{CredentialKeys, IndexKey, KeyRing, MasterKey};
use till_core::upstream::{Placement, Upstream};
use till_providers::Registry;

use crate::authenticate::Authenticator;
use crate::connect::Connector;
use crate::credentials;
use crate::facts::facts;
use crate::forward::{clean_answer, outbound};
use crate::http1::{HeadLimits, read_head};
use crate::pool::Pool;
use crate::route::{Route, route};

/// A provider, how it takes its key, and a scoped key for it.
pub struct Account {
    upstream: Upstream,
    token: Secret,
    authenticator: Authenticator,
}

/// What becomes of a request head.
#[derive(Debug, PartialEq, Eq)]
pub enum Passed {
    /// It is not complete.
    Incomplete,
    /// It is refused.
    Refused,
    /// This goes to the provider.
    Forwarded(Vec<u8>),
}

impl Account {
    /// An account at a provider that is built in.
    pub fn new(provider: &str, key: &str, placement: Placement) -> Self {
        let ring = KeyRing::new(MasterKey::from_bytes([3; 32]), [1; 16], IndexKey::from_bytes([2; 32]));
        let registry = Arc::new(Registry::builtin());
        let origin =
            registry.get(provider).and_then(|provider| provider.base_url()).expect("it has an address");
        let upstream = Upstream {
            key: Secret::new(key),
            provider: provider.to_owned(),
            origin: origin.as_str().to_owned(),
            placement,
        };
        let token = ring.mint(&upstream, [7; 16]).expect("it is short").scoped_key;
        let connector = Connector::new(tls(), &crate::OutboundProxy::default(), Duration::from_secs(1));
        let pool = Pool::new(connector);
        let credentials = Arc::new(CredentialKeys::default());
        let authenticator = Authenticator::new(Arc::new(ring), credentials, registry, pool, Arc::default());
        Self { upstream, token, authenticator }
    }

    /// The scoped key.
    pub fn token(&self) -> &str {
        self.token.reveal_str().expect("tokens are ASCII")
    }

    /// Takes a head as it came from a client, with a body of so many bytes behind it, through every stage but the store.
    /// `cuts` are lengths at which it was looked at before.
    pub fn forward(&self, bytes: &[u8], cuts: &[usize], body: usize) -> Passed {
        let mut scanned = 0;
        for cut in cuts {
            match read_head(&bytes[..*cut], &mut scanned, HeadLimits::default()) {
                Ok(None) => {}
                Ok(Some(_)) => break,
                Err(_) => return Passed::Refused,
            }
        }
        let mut head = match read_head(bytes, &mut scanned, HeadLimits::default()) {
            Ok(None) => return Passed::Incomplete,
            Ok(Some((_, head))) => head,
            Err(_) => return Passed::Refused,
        };
        let mut forwarded = || {
            let Route::Data { provider, path } = route(head.target.path()).ok()? else { return None };
            let found = credentials::find(&head.fields, head.target.query()).ok()?;
            let key = self.authenticator.authenticate(found.token.as_deref()).ok()?;
            let places = found.places;
            credentials::strip(&mut head.fields, places);
            let query = credentials::stripped(head.target.query());
            let facts = facts(&key, &head, provider.as_deref(), &path, query, None).ok()?;
            let no_body = Either::Right(Full::new(Bytes::new()));
            let request = outbound(key.key(), &facts, &head, no_body, Some(body)).ok()?;
            Some(request.into_head())
        };
        forwarded().map_or(Passed::Refused, Passed::Forwarded)
    }

    /// The fields of an answer as they go to the client.
    pub fn clean(&self, fields: &mut Fields) {
        clean_answer(fields, &Redactor::new(&self.upstream));
    }
}

/// Nothing is ever connected to.
fn tls() -> Arc<rustls::ClientConfig> {
    static TLS: OnceLock<Arc<rustls::ClientConfig>> = OnceLock::new();
    let make = || {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("versions").with_root_certificates(rustls::RootCertStore::empty());
        Arc::new(config.with_no_client_auth())
    };
    Arc::clone(TLS.get_or_init(make))
}

#[cfg(test)]
#[path = "../../../fuzz/checks/header_rewriting.rs"]
#[allow(unreachable_pub, reason = "the fuzz target uses the same file")]
mod header_rewriting;

#[cfg(test)]
mod tests {
    #[test]
    fn heads_are_rewritten_as_they_should_be() {
        till_testkit::corpus::replay("header_rewriting", super::header_rewriting::check);
    }
}
