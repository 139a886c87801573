//! The limit of open files: every connection is one, and the usual soft limit of 1024 is soon reached.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one. That it can't be raised is worth a line in the log, not a failure.
pub(super) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        Ok(()) => tracing::debug!(from = limit.current, to = limit.maximum, "raised the limit of open files"),
        Err(error) => {
            tracing::warn!(error = %error, limit = limit.current, "can't raise the limit of open files")
        }
    }
}
