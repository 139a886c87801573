//! The control plane of till: a REST API under `/admin`, its OpenAPI document and documentation page, and what
//! watches the process (`/healthz`, `/readyz`, `/metrics`).
//!
//! Handlers are thin: they parse, call the store, and render. Nothing here knows SQL, reads the environment or takes
//! part in forwarding requests. Invariants, each tested from outside in `tests/api.rs`:
//! - every route but health, readiness and claim links needs an admin token, unless it is a page on a loopback listener;
//! - every answer with a status of 400 and above is a JSON object, whatever went wrong;
//! - no answer repeats a credential, except the new scoped key in the answer to its creation or to its claim;
//! - what was asked for and is not enforced is refused, never ignored.

mod account;
mod audit;
mod audit_checkpoints;
mod audit_export;
mod audit_find;
mod authenticate;
mod backups;
mod claim;
mod credentials;
mod dashboard;
mod denials;
mod docs_page;
mod doors;
mod entity_json;
mod error;
mod events;
mod example;
mod field_name;
mod health;
mod holds;
mod idempotency;
mod instance;
mod json_body;
mod key_create;
mod key_explain;
mod key_json;
mod key_life;
mod key_rate;
mod key_update;
mod key_upstream;
mod keys;
mod keys_revoke;
mod kill_switch;
mod login;
mod master_key_api;
mod master_keys;
mod members;
mod metrics;
mod money_text;
mod openapi;
mod overview;
mod password;
mod permission;
mod policy_json;
mod price_list;
mod projects;
mod providers;
mod query;
mod refusals;
mod router;
mod scope_json;
mod time_text;
mod tokens;
mod usage;
mod who;

pub use authenticate::{ClientAddr, PeerAddr, RequestId};
pub use master_key_api::master_keys_json;
pub use master_keys::{
    MakeMasterKey, MasterKeyState, MasterKeyStatus, MasterKeys, MasterKeysError, NoteRetired,
};
pub use permission::permission_table;
pub use router::{AdminSettings, AdminState, openapi, openapi_text, router};
pub use time_text::rfc3339;
