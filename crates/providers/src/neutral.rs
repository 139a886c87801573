//! Rows that configuration adds to the tables of what a request may have without becoming dearer than its bound.
//!
//! The tables in the program know what providers had documented when it was built. What came since is refused under a
//! token or spend limit until somebody who has read the new documentation adds a row.

use http::Method;
use till_core::path::FinalPath;

use crate::pattern::{Comparable, matches_exactly};
use crate::provider::Provider;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neutral {
    /// Id of the provider.
    pub provider: String,
    /// What costs nothing by itself.
    pub what: NeutralThing,
}

/// What may be neutral.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NeutralThing {
    /// A method and a pattern of paths, for something that costs nothing at all: `GET /v1/things/*`.
    Endpoint(String),
    /// A top-level member of JSON bodies.
    Field(String),
    /// A type of tools that the client runs: its description is counted as that of a function is.
    Tool(String),
    /// A value of the header `anthropic-beta`.
    Beta(String),
}

/// What is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NeutralError {
    /// Neither built in nor configured.
    #[error("there is no provider {0:?}")]
    UnknownProvider(String),
    /// A custom provider whose API no table knows has no tables to add to.
    #[error("the API of provider {0:?} is in no table, so there is nothing to add to")]
    NoTable(String),
    /// An endpoint that can't be read.
    #[error("endpoint {0:?} must be a method and a path, as in \"GET /v1/things/*\"")]
    Endpoint(String),
    /// Nothing is named.
    #[error("a name must not be empty")]
    Empty,
}

impl Neutral {
    /// Checks the row itself.
    ///
    /// # Errors
    /// See [`NeutralError`].
    pub(crate) fn check(&self) -> Result<(), NeutralError> {
        let (NeutralThing::Endpoint(text)
        | NeutralThing::Field(text)
        | NeutralThing::Tool(text)
        | NeutralThing::Beta(text)) = &self.what;
        if text.is_empty() {
            return Err(NeutralError::Empty);
        }
        if matches!(self.what, NeutralThing::Endpoint(_)) && endpoint(text).is_none() {
            return Err(NeutralError::Endpoint(text.clone()));
        }
        Ok(())
    }
}

/// The two parts of an endpoint.
fn endpoint(text: &str) -> Option<(&str, &str)> {
    let (method, pattern) = text.split_once(' ')?;
    let is_method = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
    (is_method && pattern.starts_with('/')).then_some((method, pattern))
}

impl Provider {
    /// Whether configuration says that a request to this endpoint costs nothing.
    pub(crate) fn is_neutral_endpoint(&self, method: &Method, path: &FinalPath) -> bool {
        let mut rows = self.neutral.iter().filter_map(|row| match &row.what {
            NeutralThing::Endpoint(text) => endpoint(text),
            _ => None,
        });
        rows.any(|(known, pattern)| {
            known == method.as_str() && matches_exactly(pattern, &Comparable::new(path))
        })
    }

    /// Whether configuration says that this top-level member of a body costs nothing.
    pub(crate) fn is_neutral_field(&self, name: &str) -> bool {
        self.neutral.iter().any(|row| matches!(&row.what, NeutralThing::Field(known) if known == name))
    }

    /// Whether configuration says that a tool of this type is run by the client.
    pub(crate) fn is_neutral_tool(&self, kind: &str) -> bool {
        self.neutral.iter().any(|row| matches!(&row.what, NeutralThing::Tool(known) if known == kind))
    }

    /// Whether configuration says that this beta value costs nothing.
    pub(crate) fn is_neutral_beta(&self, value: &str) -> bool {
        self.neutral.iter().any(|row| matches!(&row.what, NeutralThing::Beta(known) if known == value))
    }
}
