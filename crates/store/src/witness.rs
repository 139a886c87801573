//! The witness: a small file, outside of what is backed up, that remembers how far the store has come.
//!
//! A key's limit is only worth something if the record of what it used can't be set back. Every start,
//! every clean stop, and every few minutes of use in between raise an incarnation number and draw a
//! random nonce, durably, first in the store and then here; nothing is granted before both are written.
//! A store that is behind the witness was put back from an older copy. A crash between the two writes
//! leaves the store exactly one step ahead, with the witness's nonce as its previous one, which is no
//! roll-back ([`crate::fence::judge`]).
//!
//! The file also records its own identity: its birth time, or its inode number where the file system
//! has no birth times. It is made once and rewritten in place, so a file that was copied, unpacked or
//! restored, alone or with the whole data directory, does not fit the identity written in it.
//!
//! What this can't see: a file system or volume snapshot that rolls both back with birth times and all,
//! and a database put back, without a stop in between, to a state of the same interval of a few minutes.
//! Both are named in docs/decisions/0002-rollback-witness.md.
//!
//! It also knows an entry of the audit log, by number and hash: the newest one that was on disk when it was last written,
//! which is with every checkpoint too. Whoever can only write the database can't make a log that has it ([`LogMark`]).
//!
//! Layout: two slots of [`SLOT_BYTES`] bytes, each a text with a checksum, written in turn, so that a
//! torn write leaves the older one whole.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};
use till_core::audit::ChainHead;
use till_core::hex::{from_hex, to_hex};

use crate::backend::Mark;
use crate::error::{OpenError, StoreError};
use crate::files::{make_private_directory, open_error, sync_directory};

/// Length of a slot; below the sector size of every disk.
const SLOT_BYTES: usize = 512;
/// The slots lie on different pages.
const SLOT_OFFSETS: [u64; 2] = [0, 4096];
const FIRST_LINE: &str = "till witness 1";

/// What the witness has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) instance_id: [u8; 16],
    pub(crate) mark: Mark,
}

/// Where the audit log stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LogMark {
    /// The newest entry.
    pub(crate) head: ChainHead,
    /// Nothing came behind it: the process stopped, and the next one has not entered anything yet.
    pub(crate) is_end: bool,
}

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// There is no file.
    Missing,
    /// There is something, but it says nothing, and why.
    Unreadable(String),
    /// A valid record in a file that is not the one it was written to.
    Copied(Record),
    /// A valid record in its own file.
    Found(Record),
}

/// What tells a file from a copy of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identity {
    /// Birth time, nanoseconds since the epoch.
    Born(u128),
    /// Inode number, only where the file system has no birth times.
    Inode(u64),
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        born.map_or(Self::Inode(metadata.ino()), |born| Self::Born(born.as_nanos()))
    }
}

/// The file, and which slot is written next.
#[derive(Debug)]
pub(crate) struct Witness {
    path: PathBuf,
    sequence: u64,
    last: Option<Record>,
    log: Option<LogMark>,
}

impl Witness {
    /// Looks at the file.
    pub(crate) fn open(path: &Path) -> (Self, Reading) {
        let (sequence, log, reading) = match read(path) {
            Ok(Some((slot, identity))) if slot.identity == identity => {
                (slot.sequence, slot.log, Reading::Found(slot.record))
            }
            Ok(Some((slot, _))) => (slot.sequence, slot.log, Reading::Copied(slot.record)),
            Ok(None) => (0, None, Reading::Missing),
            Err(reason) => (0, None, Reading::Unreadable(reason)),
        };
        let last = match &reading {
            Reading::Found(record) | Reading::Copied(record) => Some(*record),
            Reading::Missing | Reading::Unreadable(_) => None,
        };
        (Self { path: path.into(), sequence, last, log }, reading)
    }

    /// Where the audit log stood when the file was last written; `None` if it does not say.
    pub(crate) fn log(&self) -> Option<LogMark> {
        self.log
    }

    /// Where the audit log stands on disk: what is written from now on.
    pub(crate) fn see_log(&mut self, head: ChainHead) {
        self.log = Some(LogMark { head, is_end: false });
    }

    /// Nothing more will be entered in the audit log: what is written from now on.
    pub(crate) fn end_log(&mut self) {
        if let Some(log) = &mut self.log {
            log.is_end = true;
        }
    }

    /// Writes down that the audit log may grow.
    pub(crate) fn begin_log(&mut self) -> Result<(), StoreError> {
        match (&mut self.log, self.last) {
            (Some(log), Some(record)) if log.is_end => {
                log.is_end = false;
                self.write(record)
            }
            _ => Ok(()),
        }
    }

    /// What is known to be in the file.
    pub(crate) fn last(&self) -> Option<Record> {
        self.last
    }

    /// Makes the file anew, with an identity of its own, in place of whatever is there. The name appears
    /// only when the content is on disk.
    pub(crate) fn create(&mut self, record: Record) -> Result<(), OpenError> {
        let directory = self.path.parent().unwrap_or(Path::new("."));
        make_private_directory(directory)?;
        let draft = self.path.with_extension("new");
        let failed = |error: io::Error| open_error(&self.path, &error);
        match std::fs::remove_file(&draft) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(failed)?;
        let identity = Identity::of(&file.metadata().map_err(failed)?);
        write_slot(&file, &Slot { record, log: self.log, identity, sequence: 0 }).map_err(failed)?;
        std::fs::rename(&draft, &self.path).map_err(failed)?;
        sync_directory(directory)?;
        self.sequence = 0;
        self.last = Some(record);
        Ok(())
    }

    /// Writes what the store has reached, in place, and returns when it is durable.
    pub(crate) fn write(&mut self, record: Record) -> Result<(), StoreError> {
        let sequence = self.sequence.saturating_add(1);
        let written = OpenOptions::new().write(true).open(&self.path).and_then(|file| {
            let identity = Identity::of(&file.metadata()?);
            write_slot(&file, &Slot { record, log: self.log, identity, sequence })
        });
        written.map_err(|error| StoreError::Failed {
            action: "write",
            file: self.path.clone(),
            reason: error.to_string(),
        })?;
        self.sequence = sequence;
        self.last = Some(record);
        Ok(())
    }
}

struct Slot {
    record: Record,
    log: Option<LogMark>,
    identity: Identity,
    /// Grows with every write; the higher slot counts.
    sequence: u64,
}

fn write_slot(file: &File, slot: &Slot) -> io::Result<()> {
    let offset = SLOT_OFFSETS[usize::from(!slot.sequence.is_multiple_of(2))];
    file.write_all_at(&encode(slot), offset)?;
    file.sync_all()
}

fn encode(slot: &Slot) -> [u8; SLOT_BYTES] {
    let identity = match slot.identity {
        Identity::Born(nanos) => format!("born {nanos}"),
        Identity::Inode(inode) => format!("inode {inode}"),
    };
    let content = format!(
        "{FIRST_LINE}\ninstance {:032x}\nincarnation {}\nnonce {:032x}\n{identity}\nsequence {}\n",
        u128::from_be_bytes(slot.record.instance_id),
        slot.record.mark.incarnation,
        u128::from_be_bytes(slot.record.mark.nonce),
        slot.sequence,
    );
    let log = slot.log.map_or_else(String::new, |log| {
        let end = if log.is_end { "end" } else { "open" };
        format!("log {} {} {end}\n", log.head.seq, to_hex(&log.head.hash))
    });
    let content = content + &log;
    let text = format!("{content}sha256 {}\n", checksum(&content));
    let mut bytes = [b'\n'; SLOT_BYTES];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    bytes
}

fn checksum(content: &str) -> String {
    to_hex(&Sha256::digest(content))
}

/// The newer of the valid slots and the identity that the file really has; `None` without a file.
fn read(path: &Path) -> Result<Option<(Slot, Identity)>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let identity = Identity::of(&file.metadata().map_err(|error| error.to_string())?);
    let mut newest: Option<Slot> = None;
    for offset in SLOT_OFFSETS {
        let mut bytes = [0; SLOT_BYTES];
        match file.read_exact_at(&mut bytes, offset) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => continue,
            Err(error) => return Err(error.to_string()),
        }
        let slot = std::str::from_utf8(&bytes).ok().and_then(decode);
        newest = match (newest, slot) {
            (Some(old), Some(new)) if old.sequence > new.sequence => Some(old),
            (old, new) => new.or(old),
        };
    }
    newest.map(|slot| Some((slot, identity))).ok_or_else(|| "its content is damaged".into())
}

fn decode(text: &str) -> Option<Slot> {
    let (content, rest) = text.split_at(text.find("sha256 ")?);
    if rest.strip_prefix("sha256 ")?.trim_end() != checksum(content) {
        return None;
    }
    let mut lines = content.lines();
    if lines.next()? != FIRST_LINE {
        return None;
    }
    let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
    let hex = |text: String| u128::from_str_radix(&text, 16).ok().map(u128::to_be_bytes);
    let instance_id = hex(value("instance")?)?;
    let incarnation = value("incarnation")?.parse().ok()?;
    let nonce = hex(value("nonce")?)?;
    let identity = match lines.next()?.split_once(' ')? {
        ("born", nanos) => Identity::Born(nanos.parse().ok()?),
        ("inode", inode) => Identity::Inode(inode.parse().ok()?),
        _ => return None,
    };
    let sequence = lines.next()?.strip_prefix("sequence ")?.parse().ok()?;
    let log = match lines.next() {
        // An older version wrote it.
        None => None,
        Some(line) => Some(log_mark(line)?),
    };
    Some(Slot { record: Record { instance_id, mark: Mark { incarnation, nonce } }, log, identity, sequence })
}

fn log_mark(line: &str) -> Option<LogMark> {
    let mut words = line.strip_prefix("log ")?.split(' ');
    let head = ChainHead { seq: words.next()?.parse().ok()?, hash: from_hex(words.next()?)? };
    let is_end = match words.next()? {
        "end" => true,
        "open" => false,
        _ => return None,
    };
    Some(LogMark { head, is_end })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use till_core::audit::ChainHead;

    use super::{LogMark, Mark, Reading, Record, SLOT_BYTES, Witness};

    fn record(incarnation: u64) -> Record {
        Record { instance_id: [7; 16], mark: Mark { incarnation, nonce: [9; 16] } }
    }

    #[test]
    fn remembers_what_was_written_last() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys/witness");
        let (mut witness, reading) = Witness::open(&path);
        assert_eq!(reading, Reading::Missing);
        witness.create(record(0)).unwrap();
        for incarnation in 1..5 {
            witness.write(record(incarnation)).unwrap();
            let (again, reading) = Witness::open(&path);
            assert_eq!(reading, Reading::Found(record(incarnation)));
            witness = again;
        }
    }

    #[test]
    fn a_copy_is_known_as_one_even_under_the_old_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("witness");
        let (mut witness, _) = Witness::open(&path);
        witness.create(record(3)).unwrap();
        let moved = dir.path().join("moved");
        fs::rename(&path, &moved).unwrap();
        assert_eq!(Witness::open(&moved).1, Reading::Found(record(3)), "a move keeps the file");
        fs::copy(&moved, &path).unwrap();
        assert_eq!(Witness::open(&path).1, Reading::Copied(record(3)));
        // Writing does not make a copy genuine; making it anew does.
        let (mut witness, _) = Witness::open(&path);
        witness.create(record(4)).unwrap();
        assert_eq!(Witness::open(&path).1, Reading::Found(record(4)));
    }

    #[test]
    fn remembers_where_the_log_stood() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("witness");
        let head = |seq| ChainHead { seq, hash: [u8::try_from(seq).unwrap(); 32] };
        let (mut witness, _) = Witness::open(&path);
        witness.create(record(1)).unwrap();
        assert_eq!(Witness::open(&path).0.log(), None, "as an older version leaves it");
        witness.see_log(head(7));
        witness.write(record(2)).unwrap();
        assert_eq!(Witness::open(&path).0.log(), Some(LogMark { head: head(7), is_end: false }));
        witness.see_log(ChainHead { seq: u64::MAX, hash: [255; 32] });
        witness.end_log();
        witness
            .write(Record { instance_id: [255; 16], mark: Mark { incarnation: u64::MAX, nonce: [255; 16] } })
            .unwrap();
        let (mut again, _) = Witness::open(&path);
        assert!(again.log().unwrap().is_end);
        again.begin_log().unwrap();
        assert!(!Witness::open(&path).0.log().unwrap().is_end);
    }

    #[test]
    fn a_torn_or_damaged_write_leaves_the_older_slot() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("witness");
        let (mut witness, _) = Witness::open(&path);
        witness.create(record(1)).unwrap();
        witness.write(record(2)).unwrap();
        let sound = fs::read(&path).unwrap();
        let newer = 4096..4096 + SLOT_BYTES;
        for torn in [newer.start, newer.start + 20, newer.start + 200] {
            // In place: a new file would be a copy.
            let mut bytes = sound.clone();
            bytes[torn..newer.end].fill(0);
            fs::write(&path, &bytes).unwrap();
            assert_eq!(Witness::open(&path).1, Reading::Found(record(1)), "{torn}");
        }
        fs::write(&path, &sound[..30]).unwrap();
        assert!(matches!(Witness::open(&path).1, Reading::Unreadable(_)));
        fs::write(&path, b"").unwrap();
        assert!(matches!(Witness::open(&path).1, Reading::Unreadable(_)));
    }
}
