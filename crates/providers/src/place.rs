//! What the tables say of a method on a path, looked up once: whoever asks for something usually asks for the same again.

use http::Method;
use till_core::denial::Denial;
use till_core::path::{FinalPath, PathError, RawPath};
use till_core::scope::Scope;

use crate::denied::DeniedEndpoint;
use crate::denied_field::DeniedField;
use crate::provider::Provider;
use crate::request::{Endpoint, endpoint};
use crate::scope::check_known;

/// A method on a path of a provider.
#[derive(Debug)]
pub struct Place {
    method: Method,
    raw: RawPath,
    path: FinalPath,
    endpoint: Option<&'static Endpoint>,
    denied: Option<&'static DeniedEndpoint>,
    denied_field: Option<&'static DeniedField>,
}

impl Provider {
    /// Looks it up. The same method and path are the same place for as long as the process lives.
    ///
    /// # Errors
    /// Names the rule of this provider that the path breaks.
    pub fn place(&self, method: &Method, raw: RawPath) -> Result<Place, PathError> {
        let path = self.final_path(&raw)?;
        Ok(Place {
            endpoint: endpoint(self, method, &path),
            denied: self.denied_endpoint(method, &path),
            denied_field: self.denied_field(method, &path),
            method: method.clone(),
            raw,
            path,
        })
    }
}

impl Place {
    /// Whether it is this one.
    pub fn is_at(&self, method: &Method, raw: &RawPath) -> bool {
        self.method == method && self.raw.as_str() == raw.as_str()
    }

    /// The path that is compared, counted and sent.
    pub fn path(&self) -> &FinalPath {
        &self.path
    }

    /// The row that tells what it costs.
    pub fn endpoint(&self) -> Option<&'static Endpoint> {
        self.endpoint
    }

    /// The row by which the body has to be read.
    pub fn denied_field(&self) -> Option<&'static DeniedField> {
        self.denied_field
    }

    /// As [`crate::scope::check_endpoint`].
    ///
    /// # Errors
    /// The same.
    pub fn check(&self, provider: &Provider, scope: Option<&Scope>) -> Result<(), Denial> {
        check_known(provider, scope, &self.method, &self.path, self.denied)
    }
}
