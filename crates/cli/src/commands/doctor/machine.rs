//! What till needs of the machine: room, a file system that keeps what it was given, open files.

use std::path::Path;

use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::process::{Resource, getrlimit};
use till_store::{Examined, Finding};

use crate::settings::Settings;

/// Less room than that is soon used up: the write-ahead log alone may take so much.
const ROOM_MIN: u64 = 128 << 20;

/// Below that even a few hundred agents are too many.
const OPEN_FILES_MIN: u64 = 1_024;

pub(super) fn look(settings: &Settings, examined: &Examined) -> Vec<Finding> {
    let mut found = Vec::new();
    if settings.data.is_dir() {
        found.push(room(&settings.data));
        found.extend(kind(&settings.data));
    }
    found.push(open_files(settings.in_flight_max as u64, examined.process));
    found
}

fn room(data: &Path) -> Finding {
    const ABOUT: &str = "disk";
    let stat = match statvfs(data) {
        Ok(stat) => stat,
        Err(error) => {
            let text = format!("what is left of the disk of {} can't be told: {error}", data.display());
            return Finding::wrong(ABOUT, text, "check the disk");
        }
    };
    if stat.f_flag.contains(StatVfsMountFlags::RDONLY) {
        let text = format!("the file system of {} is read-only: every request is refused", data.display());
        return Finding::wrong(
            ABOUT,
            text,
            "look into the log of the system for why; then mount it for writing again",
        );
    }
    let bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
    let text = format!("{} MiB are free", bytes >> 20);
    if bytes < ROOM_MIN {
        return Finding::wrong(ABOUT, text, "make room: when it is full every request is refused");
    }
    Finding::fine(ABOUT, text)
}

/// Kinds of file systems (linux/magic.h) whose locks or syncs are not to be relied on, or that are gone with the machine.
#[cfg(target_os = "linux")]
fn kind(data: &Path) -> Option<Finding> {
    const ABOUT: &str = "disk";
    const OVER_A_NETWORK: [(u32, &str); 8] = [
        (0x6969, "NFS"),
        (0xff53_4d42, "CIFS"),
        (0xfe53_4d42, "SMB"),
        (0x517b, "SMB"),
        (0x5346_414f, "AFS"),
        (0x00c3_6400, "Ceph"),
        (0x0102_1997, "9p"),
        (0x6573_5546, "FUSE"),
    ];
    const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];
    // The kernel's words are of 32 bits, whatever type they are given here.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the numbers have 32 bits")]
    let kind = rustix::fs::statfs(data).ok()?.f_type as u32;
    if let Some((_, name)) = OVER_A_NETWORK.iter().find(|(magic, _)| *magic == kind) {
        let text = format!(
            "{} is on {name}: locks and syncs may not hold there, and limits rest on them",
            data.display()
        );
        return Some(Finding::wrong(ABOUT, text, "keep the data directory on a disk of this machine"));
    }
    IN_MEMORY.contains(&kind).then(|| {
        let text = format!("{} is in memory: everything is gone when the machine stops", data.display());
        Finding::note(ABOUT, text, "keep the data directory on a disk, unless that is meant")
    })
}

#[cfg(not(target_os = "linux"))]
fn kind(_: &Path) -> Option<Finding> {
    None
}

/// Of the server that runs, if it can be told; otherwise of one that would be started from here.
fn open_files(in_flight_max: u64, process: Option<u32>) -> Finding {
    const ABOUT: &str = "open files";
    let of_server = process.and_then(|process| {
        let limits = std::fs::read_to_string(format!("/proc/{process}/limits")).ok()?;
        limits
            .lines()
            .find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().nth(1)?.parse().ok())
    });
    let Some(limit) = of_server.or(getrlimit(Resource::Nofile).maximum) else {
        return Finding::fine(ABOUT, "as many as one likes".into());
    };
    let text = format!("{limit} may be open at once, and each request takes two");
    let fix = "raise the hard limit (LimitNOFILE, ulimit -Hn), or lower in-flight-max";
    if limit < OPEN_FILES_MIN {
        Finding::wrong(ABOUT, text, fix)
    } else if limit < in_flight_max.saturating_mul(2) {
        Finding::note(ABOUT, format!("{text}; in-flight-max is {in_flight_max}"), fix)
    } else {
        Finding::fine(ABOUT, text)
    }
}
