#![no_main]

#[path = "../checks/database_rows.rs"]
mod database_rows;

libfuzzer_sys::fuzz_target!(|input: &[u8]| database_rows::check(input));
