//! What a provider's wire format means: where its API is, how it takes a key, what its paths are,
//! which of its endpoints would be a way around till.
//!
//! Everything here is pure: tables, and functions of their arguments. A [`Registry`] is built once at
//! start and only read afterwards, so it needs no locks.

pub mod base_url;
pub mod bound;
mod builtin;
pub mod count;
pub mod custom;
pub mod denied;
pub mod denied_field;
mod json;
pub mod neutral;
pub mod paths;
pub mod pattern;
mod place;
pub mod preset;
pub mod price;
pub mod provider;
pub mod registry;
pub mod request;
pub mod scope;
pub mod unbilled;
pub mod usage;
pub mod websocket;

pub use base_url::BaseUrl;
pub use place::Place;
pub use provider::{Dialect, Provider};
pub use registry::Registry;
