//! Stand-ins for tests: what till talks to, under the control of the test.

pub mod client;
pub mod corpus;
pub mod recorded;
pub mod upstream;
