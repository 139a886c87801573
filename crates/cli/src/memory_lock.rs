//! Nothing of the memory gets into swap: it has master keys and real keys in it.
//!
//! All of it is locked or nothing: which pages have secrets in them is not known, because buffers of HTTP and TLS are among
//! them. So it is done where the operator has said that any amount may be locked (`LimitMEMLOCK=infinity` in the systemd
//! unit, `ulimit -l unlimited`): under a limit the next page that is needed could be refused, which ends the process.

/// Locks what there is and what comes, each page when it is first used. That it can't be is worth a line for who looks for it.
#[cfg(target_os = "linux")]
pub(crate) fn lock() {
    use rustix::mm::{MlockAllFlags, mlockall};
    use rustix::process::{Resource, getrlimit};
    if let Some(limit) = getrlimit(Resource::Memlock).current {
        tracing::debug!(
            limit,
            "the memory is not locked: it may be swapped out, unless ulimit -l is unlimited"
        );
        return;
    }
    match mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT) {
        Ok(()) => tracing::debug!("the memory is locked: none of it is swapped out"),
        Err(error) => tracing::debug!(error = %error, "the memory can't be locked: it may be swapped out"),
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn lock() {}
