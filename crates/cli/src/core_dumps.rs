//! No core dumps: the memory of this program has master keys and real keys in it, and a dump is a file.

use rustix::process::{Resource, Rlimit, setrlimit};

/// Below the size of any dump. Not 0: Linux gives a dump to a program that the system names whatever the limit is, unless
/// it is 1 (fs/coredump.c).
const LIMIT: Option<u64> = Some(1);

/// Forbids them to this process and to those that it starts. Where the limit is lower already it stays.
pub(crate) fn forbid() {
    // Nothing else depends on it, and there is no log yet.
    let _ = setrlimit(Resource::Core, Rlimit { current: LIMIT, maximum: LIMIT });
}
