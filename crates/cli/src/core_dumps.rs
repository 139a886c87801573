//! No core dumps, and no other process that looks into this one: its memory has master keys and real keys in it, and a dump
//! is a file.

use rustix::process::{Resource, Rlimit, setrlimit};

/// Below the size of any dump. Not 0: Linux gives a dump to a program that the system names whatever the limit is, unless
/// it is 1 (fs/coredump.c).
const LIMIT: Option<u64> = Some(1);

/// Forbids them to this process and to those that it starts. Where the limit is lower already it stays.
pub(crate) fn forbid() {
    // Nothing else depends on it, and there is no log yet.
    let _ = setrlimit(Resource::Core, Rlimit { current: LIMIT, maximum: LIMIT });
    // Only root can then attach a debugger or read `/proc/PID/mem`; a process of the same user can not.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};

    #[test]
    fn nothing_of_the_memory_gets_out() {
        super::forbid();
        assert!(getrlimit(Resource::Core).maximum.is_some_and(|limit| limit <= 1));
        assert_eq!(dumpable_behavior().expect("Linux tells"), DumpableBehavior::NotDumpable);
    }
}
