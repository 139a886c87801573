#![no_main]

#[path = "../checks/admin_bodies.rs"]
mod admin_bodies;
#[path = "../checks/admin_rules.rs"]
mod admin_rules;
#[path = "../checks/admin_world.rs"]
mod admin_world;
#[path = "../../crates/admin/tests/api/harness.rs"]
#[allow(dead_code, reason = "the tests of the control plane use more of it")]
mod harness;

libfuzzer_sys::fuzz_target!(|input: &[u8]| admin_bodies::check(input));
