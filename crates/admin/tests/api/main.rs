//! The control plane from outside: whole requests into the router, with a real store in a temporary directory.

#![allow(clippy::unwrap_used, reason = "in tests a panic is a failure that says where it is")]

mod access;
mod audit;
mod bad_input;
mod claim;
mod credentials;
mod dashboard;
mod document;
mod explain;
mod fuzzing;
mod harness;
mod instance;
mod keys;
mod life;
mod login;
mod master_keys;
mod roles;
mod secrets;
mod usage;
mod watch;
