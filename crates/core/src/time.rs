//! Points in time as the rules see them. The clock itself is the caller's.

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Whole minutes since the epoch; denials are counted per minute.
    pub fn minute(self) -> u64 {
        self.0 / 60_000
    }
}
