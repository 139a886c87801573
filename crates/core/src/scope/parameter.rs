//! What a request may ask for: a small closed vocabulary, no language of expressions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Outside;

/// Ceilings and bans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ParameterRules {
    /// The highest output cap of one call. A request that asks for more, or for none, gets this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    /// Whether a request may bring tools; true if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<bool>,
    /// Whether it may bring tools that the provider runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hosted_tools: Option<bool>,
    /// Whether the provider may keep what is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<bool>,
    /// Whether it may bring images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_input: Option<bool>,
    /// The values that a top-level member of the body may have. A request without the member passes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, Vec<Value>>,
}

/// What a request asks for, read from the request itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parameters {
    /// It brings tools.
    pub has_tools: bool,
    /// It brings tools that the provider runs, or asks a model that does so on its own.
    pub has_hosted_tools: bool,
    /// The provider keeps what is said: it was asked to, or does so if nothing is said.
    pub stores: bool,
    /// It brings images.
    pub has_images: bool,
    /// Members at the top of its body for which there are rules.
    pub values: BTreeMap<String, Value>,
}

impl ParameterRules {
    /// Whether nothing is ruled.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(&self, asked: &Parameters) -> Result<(), Outside> {
        let banned = |name: &str| {
            Err(Outside::Parameter { name: name.to_owned(), rule: "are not allowed for it".to_owned() })
        };
        if asked.has_tools && self.tools == Some(false) {
            return banned("tools");
        }
        if asked.has_hosted_tools && (self.hosted_tools == Some(false) || self.tools == Some(false)) {
            return banned("tools that the provider runs");
        }
        if asked.has_images && self.image_input == Some(false) {
            return banned("images");
        }
        if asked.stores && self.store == Some(false) {
            return Err(Outside::Parameter {
                name: "store".to_owned(),
                rule: "must be false for it".to_owned(),
            });
        }
        for (name, value) in &asked.values {
            if let Some(allowed) = self.values.get(name)
                && !allowed.contains(value)
            {
                let allowed = Value::from(allowed.clone());
                return Err(Outside::Parameter {
                    name: format!("{name:?}"),
                    rule: format!("may only be one of {allowed} for it"),
                });
            }
        }
        Ok(())
    }
}
