//! What must hold for any bytes. The fuzz targets run these with what libFuzzer makes up; `tests/corpora.rs` of
//! `till-providers` runs them with every committed corpus file and random changes of it.

// Each target uses one of them, and none is a library.
#![allow(dead_code, unreachable_pub)]

pub mod chunk_filter;
pub mod event_stream;
pub mod path_scope;
pub mod pieces;
pub mod redaction;
pub mod request_facts;
pub mod token;
pub mod usage_reader;
