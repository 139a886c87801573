//! What an exported log proves, record by record in bounded memory.
//!
//! A sound log starts at entry 1, or behind a signed checkpoint of which an entry says that everything up to
//! it was deleted by age; each entry continues the one before; every checkpoint fits the entry it stands
//! behind and is signed; and the last record is a checkpoint. So an end that was cut off is found, unless the
//! cut is right behind an earlier checkpoint: that only [`Verifier::expect_head`] finds.
//!
//! What the file alone can't show is that somebody gave the instance another log to go on with and to sign. The instance
//! compares its log with what it kept elsewhere, and where they differ it says so in an entry: [`Proof::breaks`].

use std::collections::BTreeMap;

use super::{
    ACTION_BREAK, ACTION_KEY, ACTION_TRIM, AuditEntry, AuditHash, AuditKeyId, AuditPublicKey, ChainHead,
    Checkpoint, LogRecord,
};
use crate::hex::from_hex;

/// What is wrong, and with which entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {seq}: {flaw}")]
pub struct LogFault {
    /// The first entry that is not as it was written, or not there.
    pub seq: u64,
    /// What happened to it.
    pub flaw: Flaw,
}

/// What can be wrong with an entry or the checkpoint of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Its content is not what was hashed.
    #[error("it was changed after it was written ({0})")]
    Changed(&'static str),
    /// The next one continues another entry in its place.
    #[error("it was changed and hashed anew: entry {next} continues another one")]
    Replaced {
        /// The entry behind it.
        next: u64,
    },
    /// It is not there.
    #[error("it was removed{}", up_to(*.last))]
    Removed {
        /// The last one of those that are missing in a row, if there are more.
        last: Option<u64>,
    },
    /// It stands there once more than it should.
    #[error("it was added: there is another entry of this number")]
    Added,
    /// It stands elsewhere.
    #[error("it was moved: it stands {0}")]
    Moved(String),
    /// A checkpoint of it has a signature that is not that of its key.
    #[error("the checkpoint of it has a bad signature")]
    BadSignature,
    /// A checkpoint that is signed says another hash.
    #[error(
        "its hash is not the one that a signed checkpoint says: it or one before it, down to entry {since}, was \
         changed and everything behind that hashed anew"
    )]
    Contradicted {
        /// The first entry that can be the changed one.
        since: u64,
    },
    /// A checkpoint of it stands behind another entry.
    #[error("the checkpoint of it was moved: it stands behind entry {0}")]
    CheckpointMoved(u64),
    /// A checkpoint of it is signed by a key that is not trusted.
    #[error("the checkpoint of it is signed by key {0}, which is none of the public keys that were given")]
    Untrusted(AuditKeyId),
    /// A checkpoint of it is signed by a key of which no entry tells.
    #[error("the checkpoint of it is signed by key {0}, which no entry before it makes known")]
    UnknownKey(AuditKeyId),
    /// A checkpoint of it is of another log.
    #[error("the checkpoint of it is of another instance")]
    OtherInstance,
    /// The file ends behind it.
    #[error("the log was cut off behind it: {0}")]
    CutOff(String),
    /// The file starts behind it, and nothing says why.
    #[error("it and those before it were removed: no entry says that they were deleted by age")]
    FrontRemoved,
    /// It is not the entry that was expected.
    #[error("it is not the one that was expected: its hash is another")]
    Unexpected,
    /// It was expected and is not in the log any more.
    #[error("it was expected, but the log starts behind it")]
    BeforeStart,
    /// What should be it can't be read.
    #[error("what stands in its place can't be read: {0}")]
    Unreadable(String),
    /// It says that the log before it is not the one that was written.
    #[error("till found then that the log before it was not the one that it had written: {0}")]
    Broken(String),
    /// This is no log.
    #[error("this is no exported log: it does not begin with a record of type `log`")]
    NotALog,
}

fn up_to(last: Option<u64>) -> String {
    last.map_or_else(String::new, |last| format!(", with all up to entry {last}"))
}

/// An entry that says that the log before it is not the one that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogBreak {
    /// Its number.
    pub seq: u64,
    /// What the instance found.
    pub reason: String,
}

/// What a sound log shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The instance whose log it is.
    pub instance_id: [u8; 16],
    /// The checkpoint behind which it starts; `None` when it starts at entry 1.
    pub anchor: Option<Checkpoint>,
    /// How many entries there are.
    pub entries: u64,
    /// How many checkpoints, the anchor among them.
    pub checkpoints: u64,
    /// The newest entry.
    pub head: ChainHead,
    /// The last checkpoint.
    pub last: Checkpoint,
    /// The keys that signed.
    pub keys: Vec<AuditPublicKey>,
    /// Where the instance found that the log before is not the one that it wrote. What stands in front of them is
    /// signed, but only shows what the instance was given.
    pub breaks: Vec<LogBreak>,
}

/// Takes records in order and says in the end what they prove.
#[derive(Clone, Debug)]
pub struct Verifier {
    trusted: Vec<AuditPublicKey>,
    expected: Option<ChainHead>,
    instance_id: Option<[u8; 16]>,
    /// Keys that the file brings.
    keys: BTreeMap<AuditKeyId, AuditPublicKey>,
    /// Those that an entry makes known.
    known: Vec<AuditPublicKey>,
    used: Vec<AuditPublicKey>,
    anchor: Option<Checkpoint>,
    /// Whether an entry tells of the deletion that the anchor is from.
    is_trim_told: bool,
    head: ChainHead,
    entries: u64,
    checkpoints: u64,
    last: Option<Checkpoint>,
    breaks: Vec<LogBreak>,
    fault: Option<LogFault>,
    gap: Option<Gap>,
}

/// An entry stands where an earlier one should: what comes later tells why.
#[derive(Clone, Debug)]
struct Gap {
    expected: u64,
    found: u64,
    /// Entries since.
    since: u64,
    /// After how many of them the expected one came.
    expected_after: Option<u64>,
    found_again: bool,
}

impl Verifier {
    /// One that trusts these public keys, or those in the file if there are none.
    pub fn new(trusted: Vec<AuditPublicKey>) -> Self {
        Self {
            trusted,
            expected: None,
            instance_id: None,
            keys: BTreeMap::new(),
            known: Vec::new(),
            used: Vec::new(),
            anchor: None,
            is_trim_told: false,
            head: ChainHead::EMPTY,
            entries: 0,
            checkpoints: 0,
            last: None,
            breaks: Vec::new(),
            fault: None,
            gap: None,
        }
    }

    /// The log must have this entry.
    #[must_use]
    pub fn expect_head(mut self, head: Option<ChainHead>) -> Self {
        self.expected = head;
        self
    }

    /// Number of the newest entry so far.
    pub fn seq(&self) -> u64 {
        self.head.seq
    }

    /// Whether something is wrong and nothing that comes can change what that is.
    pub fn is_decided(&self) -> bool {
        self.fault.is_some()
            || self.gap.as_ref().is_some_and(|gap| gap.found_again && gap.expected_after.is_some())
    }

    /// Takes the next record.
    pub fn take(&mut self, record: &LogRecord) {
        if self.fault.is_some() {
            return;
        }
        if let Some(gap) = &mut self.gap {
            if let LogRecord::Entry(entry) = record {
                gap.see(entry.seq);
            }
            return;
        }
        let taken = match (record, self.instance_id) {
            (LogRecord::Log { instance_id }, None) => {
                self.instance_id = Some(*instance_id);
                Ok(())
            }
            (_, None) | (LogRecord::Log { .. }, Some(_)) => Err(self.fault_at(self.next(), Flaw::NotALog)),
            (LogRecord::Key(key), Some(_)) => {
                self.keys.insert(key.id(), *key);
                Ok(())
            }
            (LogRecord::Entry(entry), Some(_)) => self.entry(entry),
            (LogRecord::Checkpoint(checkpoint), Some(instance_id)) => {
                self.checkpoint(checkpoint, instance_id)
            }
        };
        self.fault = taken.err();
    }

    /// What comes next can't be read.
    pub fn unreadable(&mut self, why: String) {
        if self.gap.is_none() && self.fault.is_none() {
            self.fault = Some(self.fault_at(self.next(), Flaw::Unreadable(why)));
        }
    }

    /// What it all proves.
    ///
    /// # Errors
    /// The first entry that is wrong.
    pub fn finish(self) -> Result<Proof, LogFault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if let Some(gap) = self.gap {
            return Err(gap.fault());
        }
        let at_end = |flaw| Err(LogFault { seq: self.head.seq, flaw });
        let Some(instance_id) = self.instance_id else { return at_end(Flaw::NotALog) };
        if let Some(expected) = self.expected.filter(|expected| expected.seq > self.head.seq) {
            return at_end(Flaw::CutOff(format!("entry {} was expected", expected.seq)));
        }
        let last = match self.last {
            Some(last) if last.seq == self.head.seq => last,
            _ => {
                return at_end(Flaw::CutOff(
                    "an exported log ends with a checkpoint of its last entry".into(),
                ));
            }
        };
        if let Some(anchor) = self.anchor.filter(|_| !self.is_trim_told) {
            return Err(LogFault { seq: anchor.seq, flaw: Flaw::FrontRemoved });
        }
        Ok(Proof {
            instance_id,
            anchor: self.anchor,
            entries: self.entries,
            checkpoints: self.checkpoints,
            head: self.head,
            last,
            keys: self.used,
            breaks: self.breaks,
        })
    }

    fn next(&self) -> u64 {
        self.head.seq.saturating_add(1)
    }

    fn fault_at(&self, seq: u64, flaw: Flaw) -> LogFault {
        LogFault { seq, flaw }
    }

    fn entry(&mut self, entry: &AuditEntry) -> Result<(), LogFault> {
        let next = self.next();
        if entry.hash != entry.computed_hash() {
            return Err(self.changed(entry));
        }
        if entry.seq > next {
            self.gap = Some(Gap::new(next, entry.seq));
            return Ok(());
        }
        if entry.seq < next {
            return Err(self.fault_at(entry.seq, Flaw::Added));
        }
        if entry.prev_hash != self.head.hash {
            let flaw = Flaw::Replaced { next };
            return Err(self.fault_at(self.head.seq, flaw));
        }
        self.head = ChainHead { seq: entry.seq, hash: entry.hash };
        self.entries += 1;
        self.look_for_expected()?;
        self.listen(entry);
        Ok(())
    }

    /// An entry whose hash is not that of its fields. If one field alone explains that, it is named.
    fn changed(&self, entry: &AuditEntry) -> LogFault {
        let next = self.next();
        let number = AuditEntry { seq: next, ..entry.clone() };
        let link = AuditEntry { prev_hash: self.head.hash, ..entry.clone() };
        if number.hash == number.computed_hash() {
            return self.fault_at(next, Flaw::Changed("its number"));
        }
        if entry.seq == next && link.hash == link.computed_hash() {
            return self.fault_at(next, Flaw::Changed("the hash of its predecessor"));
        }
        self.fault_at(entry.seq, Flaw::Changed("its hash is not that of its fields"))
    }

    fn look_for_expected(&self) -> Result<(), LogFault> {
        match self.expected {
            Some(expected) if expected.seq == self.head.seq && expected.hash != self.head.hash => {
                Err(self.fault_at(expected.seq, Flaw::Unexpected))
            }
            _ => Ok(()),
        }
    }

    /// Takes what entries say about the log itself.
    fn listen(&mut self, entry: &AuditEntry) {
        let detail = || serde_json::from_str::<serde_json::Value>(&entry.detail).unwrap_or_default();
        match entry.action.as_str() {
            ACTION_KEY => {
                self.known.extend(detail()["publicKey"].as_str().and_then(AuditPublicKey::parse));
            }
            ACTION_BREAK => {
                let reason = detail()["reason"].as_str().unwrap_or_default().to_owned();
                self.breaks.push(LogBreak { seq: entry.seq, reason });
            }
            ACTION_TRIM => {
                let detail = detail();
                let hash: Option<AuditHash> = detail["hash"].as_str().and_then(from_hex);
                let trimmed = detail["through"].as_u64().zip(hash).map(|(seq, hash)| ChainHead { seq, hash });
                self.is_trim_told |= trimmed.is_some() && trimmed == self.anchor.map(|anchor| anchor.head());
            }
            _ => {}
        }
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint, instance_id: [u8; 16]) -> Result<(), LogFault> {
        let of_it = |flaw| LogFault { seq: checkpoint.seq, flaw };
        let id = checkpoint.key_id;
        let is_anchor = self.entries == 0 && self.checkpoints == 0;
        let key = if self.trusted.is_empty() {
            *self.keys.get(&id).ok_or_else(|| of_it(Flaw::UnknownKey(id)))?
        } else {
            *self.trusted.iter().find(|key| key.id() == id).ok_or_else(|| of_it(Flaw::Untrusted(id)))?
        };
        if !checkpoint.is_signed_by(&key) {
            return Err(of_it(Flaw::BadSignature));
        }
        if checkpoint.instance_id != instance_id {
            return Err(of_it(Flaw::OtherInstance));
        }
        if is_anchor {
            self.anchor = Some(*checkpoint);
            self.head = checkpoint.head();
            if let Some(expected) = self.expected.filter(|expected| expected.seq < self.head.seq) {
                return Err(self.fault_at(expected.seq, Flaw::BeforeStart));
            }
            self.look_for_expected()?;
        } else if self.anchor.is_none() && !self.known.contains(&key) {
            return Err(of_it(Flaw::UnknownKey(id)));
        } else if checkpoint.seq > self.head.seq {
            let last = (checkpoint.seq > self.next()).then_some(checkpoint.seq);
            return Err(self.fault_at(self.next(), Flaw::Removed { last }));
        } else if checkpoint.seq < self.head.seq {
            return Err(of_it(Flaw::CheckpointMoved(self.head.seq)));
        } else if checkpoint.hash != self.head.hash {
            let since = self.last.map_or(1, |last| last.seq.saturating_add(1));
            return Err(of_it(Flaw::Contradicted { since }));
        }
        self.checkpoints += 1;
        self.last = Some(*checkpoint);
        if !self.used.contains(&key) {
            self.used.push(key);
        }
        Ok(())
    }
}

impl Gap {
    fn new(expected: u64, found: u64) -> Self {
        Self { expected, found, since: 0, expected_after: None, found_again: false }
    }

    fn see(&mut self, seq: u64) {
        if seq == self.expected && self.expected_after.is_none() {
            self.expected_after = Some(self.since);
        }
        self.found_again |= seq == self.found;
        self.since = self.since.saturating_add(1);
    }

    fn fault(&self) -> LogFault {
        let Self { expected, found, .. } = *self;
        let next = expected.saturating_add(1);
        let (seq, flaw) = match self.expected_after {
            Some(_) if self.found_again => (found, Flaw::Added),
            Some(0) if found > next => (found, Flaw::Moved(format!("in front of entry {expected}"))),
            Some(after) => (expected, Flaw::Moved(format!("behind entry {}", found.saturating_add(after)))),
            None => (expected, Flaw::Removed { last: (found > next).then(|| found - 1) }),
        };
        LogFault { seq, flaw }
    }
}
