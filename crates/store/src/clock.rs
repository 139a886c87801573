//! The one place of this crate that asks what time it is.

use std::time::{SystemTime, UNIX_EPOCH};

use till_core::time::Timestamp;

/// Now. A clock before 1970 counts as 1970; one after the year 292 million does not occur.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
