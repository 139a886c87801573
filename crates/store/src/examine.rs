//! A data directory looked at from outside: what is there, what is wrong with it, and what to do.
//!
//! Invariant: nothing is changed, whoever runs: files are opened to be read only, and the lock is only asked about.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use till_core::time::Timestamp;

use crate::fence::{Verdict, judge};
use crate::lock;
use crate::master_key::MasterKeyRecord;
use crate::sqlite::examine::{Facts, Seen};
use crate::sqlite::{self, FILE_NAME};
use crate::store::OpenOptions;
use crate::witness::Witness;

/// What to do about a database that is damaged.
pub(crate) const RESTORE: &str = "with till stopped, put a backup in its place: `till restore FILE --replace`, which keeps what is there beside it";

/// What to do where only a start can go on.
pub(crate) const START_ONCE: &str = "start till once, then look again";

/// How far a clock may be behind what the database has seen.
const CLOCK_BEHIND_MAX_MILLIS: u64 = 60_000;

/// Names that are told before the rest is only counted.
const NAMES_MAX: usize = 5;

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grade {
    /// As it should be.
    Fine,
    /// Nothing is broken, and somebody may want to know.
    Note,
    /// Something is broken or dangerous.
    Wrong,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about, in a word or two.
    pub about: &'static str,
    /// How it is to be taken.
    pub grade: Grade,
    /// What was found.
    pub text: String,
    /// What to do about it.
    pub fix: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn fine(about: &'static str, text: String) -> Self {
        Self { about, grade: Grade::Fine, text, fix: None }
    }

    /// Worth knowing.
    pub fn note(about: &'static str, text: String, fix: &str) -> Self {
        Self { about, grade: Grade::Note, text, fix: Some(fix.into()) }
    }

    /// Broken or dangerous.
    pub fn wrong(about: &'static str, text: String, fix: &str) -> Self {
        Self { about, grade: Grade::Wrong, text, fix: Some(fix.into()) }
    }
}

/// What was found in a data directory.
#[derive(Debug)]
pub struct Examined {
    /// In the order in which it was looked at.
    pub findings: Vec<Finding>,
    /// Whether a process has the directory.
    pub is_running: bool,
    /// Which one, if the operating system says.
    pub process: Option<u32>,
    /// Random bytes made with the database.
    pub instance_id: Option<[u8; 16]>,
    /// The index key, as the database has it.
    pub index_key: Option<Vec<u8>>,
    /// The master keys that the database knows.
    pub master_keys: Vec<MasterKeyRecord>,
}

/// Looks at a data directory and at its witness. Blocks, for as long as it takes to read all of the database.
pub fn examine(options: &OpenOptions, now: Timestamp) -> Examined {
    let dir = &options.data_dir;
    let mut examined = Examined {
        findings: Vec::new(),
        is_running: false,
        process: None,
        instance_id: None,
        index_key: None,
        master_keys: Vec::new(),
    };
    let found = &mut examined.findings;
    let directory = match fs::metadata(dir) {
        Ok(metadata) if metadata.is_dir() => metadata,
        outcome => {
            let reason = outcome.map_or_else(|error| error.to_string(), |_| "it is no directory".into());
            let text = format!("{} can't be looked at: {reason}", dir.display());
            found.push(Finding::wrong(
                "directory",
                text,
                "give the right one with --data; `till start` makes a new one",
            ));
            return examined;
        }
    };
    if directory.permissions().mode() & 0o077 != 0 {
        let text = format!("others may enter {}", dir.display());
        found.push(Finding::note("directory", text, "chmod 700, unless that is meant"));
    }
    let holder = lock::holder(dir);
    (examined.is_running, examined.process) = (holder.is_some(), holder.flatten());
    found.push(Finding::fine("lock", told(dir, holder)));
    files(dir, &directory, found);
    let (witness, reading) = Witness::open(&options.witness);
    private(&options.witness, None, found);
    let database = dir.join(FILE_NAME);
    let facts = if database.exists() {
        let seen = Seen { is_running: examined.is_running, log: witness.log(), now };
        sqlite::examine::examine(&database, seen, found)
    } else {
        Some(Facts::default())
    };
    if let Some(Facts { instance, index_key, master_keys }) = facts {
        match judge(instance.as_ref(), &reading) {
            Verdict::New => {
                let text = format!("there is no database in {} and no witness of one", dir.display());
                found.push(Finding::note(
                    "witness",
                    text,
                    "`till start` makes one; if there was one, give the right directory with --data",
                ));
            }
            Verdict::Sound => {
                found.push(Finding::fine("witness", "it knows this database as the newest one".into()))
            }
            Verdict::Fenced(fence) => {
                let fix = "if the key directory is elsewhere, name it with --key-dir; otherwise all keys are refused until `till \
                           admin accept-rollback`, see docs/operations.md";
                found.push(Finding::wrong("witness", format!("all keys are refused: {}", fence.reason), fix));
            }
        }
        if let Some(instance) = instance {
            clock(instance.time_seen, now, found);
            if let Some(switch) = instance.kill_switch {
                let text = format!("the kill switch is on since {}: every key is refused", switch.since);
                found.push(Finding::note("kill switch", text, "`till kill-switch off`"));
            }
            examined.instance_id = Some(instance.id);
        }
        (examined.index_key, examined.master_keys) = (index_key, master_keys);
    }
    if lock::holder(dir).is_some() != examined.is_running {
        let text =
            "till was started or stopped while this was looked at, so some of it may not be true".into();
        examined.findings.push(Finding::wrong("lock", text, "run `till doctor` again"));
    }
    examined
}

fn told(dir: &Path, holder: Option<Option<u32>>) -> String {
    match holder {
        None => format!("no till runs on {}", dir.display()),
        Some(None) => format!("a till runs on {}", dir.display()),
        Some(Some(process)) => format!("process {process} runs on {}", dir.display()),
    }
}

/// Modes and owners of what till makes, and what a restore has left behind.
fn files(dir: &Path, directory: &Metadata, found: &mut Vec<Finding>) {
    let Ok(entries) = fs::read_dir(dir) else {
        let text = format!("the files in {} can't be listed", dir.display());
        found.push(Finding::wrong("files", text, "run `till doctor` as the user that runs till"));
        return;
    };
    let mut kept = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "lock" || name.starts_with(FILE_NAME) {
            private(&entry.path(), Some(directory), found);
        }
        if name == "till.db.restored" {
            let text = "a restore was cut short when it was as good as done".into();
            found.push(Finding::note("files", text, "the next start finishes it"));
        } else if name == "till.db.restoring" {
            let text = "a restore was cut short before anything was changed".into();
            found.push(Finding::note("files", text, "run `till restore` again, which removes it"));
        } else if name.starts_with("till.db.before-restore-")
            && !name.ends_with("-wal")
            && !name.ends_with("-shm")
        {
            kept.push(name);
        }
    }
    if !kept.is_empty() {
        let text = format!("databases from before a restore are kept: {}", at_most(&kept));
        found.push(Finding::note("files", text, "delete them when you are sure"));
    }
}

/// A file that is there is for its owner only, who is the owner of the directory.
fn private(file: &Path, directory: Option<&Metadata>, found: &mut Vec<Finding>) {
    let Ok(metadata) = fs::metadata(file) else { return };
    let name = file.display();
    if metadata.permissions().mode() & 0o077 != 0 {
        let text = format!("others may read or write {name}");
        found.push(Finding::wrong("files", text, &format!("chmod 600 {name}")));
    }
    if let Some(directory) = directory.filter(|directory| directory.uid() != metadata.uid()) {
        let text = format!(
            "{name} belongs to user {}, and its directory to user {}",
            metadata.uid(),
            directory.uid()
        );
        found.push(Finding::wrong("files", text, &format!("chown {} {name}", directory.uid())));
    }
}

fn clock(time_seen: Timestamp, now: Timestamp, found: &mut Vec<Finding>) {
    let behind = time_seen.0.saturating_sub(now.0);
    if behind > CLOCK_BEHIND_MAX_MILLIS {
        let text = format!(
            "it is {now}, and the database has seen {time_seen}, {} s later: till goes on from there, so keys end early",
            behind / 1000
        );
        found.push(Finding::wrong("clock", text, "set the clock right"));
    }
}

/// The first of these names, and how many more there are.
pub(crate) fn at_most(names: &[String]) -> String {
    let shown = names.iter().take(NAMES_MAX).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
