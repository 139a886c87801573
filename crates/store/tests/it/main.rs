//! The store from outside: real files, real processes.

// Helpers of tests are tests too; the lint's exception knows only functions marked as such.
#![allow(clippy::unwrap_used)]

mod backup;
mod common;
mod directory;
mod examine;
mod fixture;
mod fold;
mod kill;
mod rollback;
mod spend;
