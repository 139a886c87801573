//! Places where a test ends the process, as `kill -9` does, at the moment that it chose.
//!
//! Compiled only with the feature `failpoints`: without it `failpoint!` is nothing, and no name of a
//! place is in the binary. `tests/test_kills.py` goes through all of them.

/// A place where the process may be made to end. The name is one of those in `tests/test_kills.py`.
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        $crate::failpoint::pass($name);
    };
}

#[cfg(feature = "failpoints")]
pub use armed::{arm, pass};

#[cfg(feature = "failpoints")]
mod armed {
    use std::fs;
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    /// Where it says where to end.
    static FILE: OnceLock<PathBuf> = OnceLock::new();

    /// Passes of the place that it names, since it is there.
    static PASSED: AtomicU64 = AtomicU64::new(0);

    /// From now on, while this file is there and says `NAME:N`, the process ends when the place is passed for the Nth time.
    pub fn arm(file: &str) {
        // A second one is not asked for.
        let _ = FILE.set(file.into());
    }

    /// The process comes by.
    pub fn pass(name: &str) {
        let Some(file) = FILE.get() else { return };
        let Ok(wanted) = fs::read_to_string(file) else {
            PASSED.store(0, Ordering::SeqCst);
            return;
        };
        let Some((place, nth)) = wanted.trim().split_once(':') else { return };
        if place == name && nth.parse() == Ok(PASSED.fetch_add(1, Ordering::SeqCst) + 1) {
            // No other thread is to do anything more than in a crash: the signal ends all of them.
            let _ = kill_process(getpid(), Signal::KILL);
            loop {
                std::thread::park();
            }
        }
    }
}
