//! The switch that stops all keys of an instance at once.

use till_core::time::Timestamp;

/// That it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KillSwitch {
    /// Since when.
    pub since: Timestamp,
    /// Why, if whoever did it said so.
    pub reason: Option<String>,
}
