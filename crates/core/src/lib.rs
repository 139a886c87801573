//! The pure rules of till: no I/O, no async, no clock, no HTTP.
//!
//! Everything here takes values (and, where it matters, `now` and randomness) and returns decisions.
//! The crates around it act on them: `store` makes the ledger durable, `proxy` sends requests,
//! `admin` and `cli` talk to people.

pub mod audit;
mod base62;
pub mod demand;
pub mod denial;
pub mod fields;
pub mod hex;
pub mod id_map;
pub mod key;
pub mod ledger;
pub mod lifetime;
pub mod limit;
pub mod metric;
pub mod money;
pub mod path;
pub mod policy;
pub mod rate;
pub mod redact;
pub mod role;
pub mod scope;
pub mod secret;
pub mod time;
pub mod token;
pub mod upstream;
