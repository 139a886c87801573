//! What a key may call: endpoints, models, parameters, networks. Pure rules over what was read from the real request.
//!
//! - Every part is optional. A part that is given allows what it lists and nothing else; an empty list allows nothing.
//! - Nothing is guessed: whoever can't say what the request's model or endpoint is says so, and that is a no.

mod endpoint;
mod glob;
mod network;
mod parameter;

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use endpoint::{EndpointRule, NotAnEndpointRule};
pub use glob::{Glob, NotAGlob};
pub use network::{Network, NotANetwork};
pub use parameter::{ParameterRules, Parameters};

use crate::path::FinalPath;

/// The scope of a key. The default allows everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scope {
    /// Methods and paths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Vec<EndpointRule>>,
    /// Names of models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<Glob>>,
    /// What a request may ask for.
    #[serde(default, skip_serializing_if = "ParameterRules::is_empty")]
    pub parameters: ParameterRules,
    /// Where requests may come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks: Option<Vec<Network>>,
}

/// Why a request is outside of a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outside {
    /// Its method and path are not listed.
    Endpoint,
    /// Its model is not listed.
    Model {
        /// The model.
        model: String,
    },
    /// It names no model, where the scope depends on one.
    NoModel,
    /// It asks for something that is not allowed.
    Parameter {
        /// What it asks for: `tools`, `temperature`.
        name: String,
        /// What would be allowed, as the end of a sentence.
        rule: String,
    },
    /// It comes from elsewhere.
    Network,
}

impl Scope {
    /// Whether it allows everything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether the body of a request decides.
    pub fn needs_body(&self) -> bool {
        self.models.is_some() || !self.parameters.is_empty()
    }

    /// Whether requests may come from this address.
    ///
    /// # Errors
    /// They may not.
    pub fn check_network(&self, client: IpAddr) -> Result<(), Outside> {
        match &self.networks {
            Some(networks) if !networks.iter().any(|network| network.contains(client)) => {
                Err(Outside::Network)
            }
            _ => Ok(()),
        }
    }

    /// Whether this method may be used on this path. `slash_is_data` says whether the server is known to read an encoded
    /// slash as a character of its segment.
    ///
    /// # Errors
    /// It may not.
    pub fn check_endpoint(&self, method: &str, path: &FinalPath, slash_is_data: bool) -> Result<(), Outside> {
        let matches = |rule: &EndpointRule| match slash_is_data {
            true => rule.matches(method, path),
            false => rule.matches_either_way(method, path),
        };
        match &self.endpoints {
            Some(rules) if !rules.iter().any(matches) => Err(Outside::Endpoint),
            _ => Ok(()),
        }
    }

    /// Whether a rule names this endpoint and no other.
    pub fn names_exactly(&self, method: &str, path: &FinalPath) -> bool {
        let mut rules = self.endpoints.iter().flatten();
        rules.any(|rule| rule.is_exact() && rule.matches_either_way(method, path))
    }

    /// Whether this model may be asked; `None` is a request that names none.
    ///
    /// # Errors
    /// It may not.
    pub fn check_model(&self, model: Option<&str>) -> Result<(), Outside> {
        let Some(allowed) = &self.models else { return Ok(()) };
        let model = model.ok_or(Outside::NoModel)?;
        if allowed.iter().any(|glob| glob.matches(model)) {
            return Ok(());
        }
        Err(Outside::Model { model: model.to_owned() })
    }

    /// Whether the request may ask for what it asks for.
    ///
    /// # Errors
    /// It may not.
    pub fn check_parameters(&self, asked: &Parameters) -> Result<(), Outside> {
        self.parameters.check(asked)
    }
}

impl fmt::Display for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Endpoint => f.write_str("this method and path are not among those that it may call"),
            Self::Model { model } => write!(f, "model {model:?} is not among those that it may ask"),
            Self::NoModel => f.write_str("it may only ask certain models, and this request names none"),
            Self::Parameter { name, rule } => write!(f, "{name} {rule}"),
            Self::Network => f.write_str("this request comes from a network from which it may not be used"),
        }
    }
}

#[cfg(test)]
mod tests;
