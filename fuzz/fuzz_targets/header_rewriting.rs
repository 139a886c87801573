#![no_main]

#[path = "../checks/header_rewriting.rs"]
mod header_rewriting;

libfuzzer_sys::fuzz_target!(|input: &[u8]| header_rewriting::check(input));
