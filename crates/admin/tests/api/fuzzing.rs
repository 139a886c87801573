//! The corpus of the fuzz target of the control plane, and random changes of it, without a fuzzer.

#[path = "../../../../fuzz/checks/admin_bodies.rs"]
#[allow(unreachable_pub, reason = "the fuzz target uses the same file")]
mod admin_bodies;
#[path = "../../../../fuzz/checks/admin_rules.rs"]
#[allow(unreachable_pub, reason = "the fuzz target uses the same file")]
mod admin_rules;
#[path = "../../../../fuzz/checks/admin_world.rs"]
#[allow(unreachable_pub, reason = "the fuzz target uses the same file")]
mod admin_world;

#[test]
fn answers_are_as_the_document_says() {
    till_testkit::corpus::replay_some("admin_bodies", 500, admin_bodies::check);
}
