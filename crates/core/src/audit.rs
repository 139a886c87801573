//! The audit log: who did what, each entry carrying the hash of the one before.
//!
//! Invariant: the hash of an entry covers every one of its fields and the hash of its predecessor, so
//! a changed, removed, added or moved entry breaks the chain from there on ([`verify_chain`]). What a
//! chain alone can't show is that somebody made all of it anew, or cut it off at its *end*: for that
//! there are signed [`Checkpoint`]s, and whoever wants to be sure keeps the newest hash elsewhere.
//!
//! `checkpoint` is what is signed, `record` what stands in an exported file and `file` how, `verify`
//! what such a file proves.

mod checkpoint;
mod file;
mod record;
mod verify;
#[cfg(test)]
mod verify_tests;

use std::fmt;

use sha2::{Digest, Sha256};

use crate::time::Timestamp;

pub use checkpoint::{AuditKeyId, AuditPublicKey, Checkpoint};
pub use file::{CSV_HEADING, FileError, FileFormat, FileParser};
pub use record::{LogRecord, RecordError};
pub use verify::{Flaw, LogBreak, LogFault, Proof, Verifier};

/// The action of the entry that makes a public key known.
pub const ACTION_KEY: &str = "audit.key";

/// The action of the entry that says that older ones were deleted.
pub const ACTION_TRIM: &str = "audit.trim";

/// The action of the entry that says that the log before it is not the one that was written.
pub const ACTION_BREAK: &str = "audit.break";

/// The action of entries about denials of a key.
pub const ACTION_DENIED: &str = "key.denied";

/// What kind of somebody acted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActorKind {
    /// Somebody who showed an admin token.
    Admin,
    /// The process itself: start, stop, a fence.
    System,
    /// Somebody at the machine, with the data directory in reach.
    LocalCli,
}

impl ActorKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Admin, Self::System, Self::LocalCli];

    /// The word in exports and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::System => "system",
            Self::LocalCli => "local_cli",
        }
    }

    /// The kind whose word this is.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Who acted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// What kind of somebody.
    pub kind: ActorKind,
    /// Name of the admin token, or `system`.
    pub id: String,
    /// Network address the action came from, where there is one.
    pub address: Option<String>,
    /// Id of the request that asked for it, where there is one.
    pub request_id: Option<String>,
}

impl Actor {
    /// The process itself.
    pub fn system() -> Self {
        Self { kind: ActorKind::System, id: "system".into(), address: None, request_id: None }
    }
}

/// A SHA-256 hash in the chain.
pub type AuditHash = [u8; 32];

/// What stands in the place of a predecessor's hash in the first entry.
pub const GENESIS: AuditHash = [0; 32];

/// One line of the log. Secrets never stand in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// 1, 2, 3 …, without gaps.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// Who did it.
    pub actor: Actor,
    /// What was done, as `noun.verb`: `key.create`, `fence.accept`.
    pub action: String,
    /// What it was done to, such as a key id.
    pub target: String,
    /// More about it: JSON, kept as the text that was hashed.
    pub detail: String,
    /// Hash of the entry before, [`GENESIS`] in the first.
    pub prev_hash: AuditHash,
    /// Hash of this entry.
    pub hash: AuditHash,
}

/// Separates this use of SHA-256 from every other one, and names the version of the encoding.
const DOMAIN: &[u8] = b"till/v1/audit";

/// Where the chain stands: what the next entry continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainHead {
    /// Number of the newest entry, 0 when there is none.
    pub seq: u64,
    /// Its hash, [`GENESIS`] when there is none.
    pub hash: AuditHash,
}

impl ChainHead {
    /// The head of an empty log.
    pub const EMPTY: Self = Self { seq: 0, hash: GENESIS };

    /// Makes the entry that follows and moves on to it.
    pub fn append(
        &mut self,
        at: Timestamp,
        actor: &Actor,
        action: &str,
        target: &str,
        detail: String,
    ) -> AuditEntry {
        let mut entry = AuditEntry {
            seq: self.seq.saturating_add(1),
            at,
            actor: actor.clone(),
            action: action.into(),
            target: target.into(),
            detail,
            prev_hash: self.hash,
            hash: GENESIS,
        };
        entry.hash = entry.computed_hash();
        *self = Self { seq: entry.seq, hash: entry.hash };
        entry
    }

    /// Checks that entries continue it, and answers with the last of them.
    ///
    /// # Errors
    /// Names the first entry that is wrong.
    pub fn follow<'a>(self, entries: impl IntoIterator<Item = &'a AuditEntry>) -> Result<Self, BrokenChain> {
        let mut head = self;
        for entry in entries {
            let fault = |fault| BrokenChain { seq: entry.seq, fault };
            let expected = head.seq.saturating_add(1);
            if entry.seq != expected {
                return Err(fault(ChainFault::OutOfOrder { expected }));
            }
            if entry.prev_hash != head.hash {
                return Err(fault(ChainFault::Unlinked));
            }
            if entry.hash != entry.computed_hash() {
                return Err(fault(ChainFault::Changed));
            }
            head = Self { seq: entry.seq, hash: entry.hash };
        }
        Ok(head)
    }
}

impl AuditEntry {
    /// The hash that this entry must carry: SHA-256 of the domain, the predecessor's hash and every
    /// field with its length in front, so that no two different entries have the same encoding.
    pub fn computed_hash(&self) -> AuditHash {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update(self.prev_hash);
        field(&mut hash, &self.seq.to_be_bytes());
        field(&mut hash, &self.at.0.to_be_bytes());
        field(&mut hash, self.actor.kind.as_str().as_bytes());
        field(&mut hash, self.actor.id.as_bytes());
        optional_field(&mut hash, self.actor.address.as_deref());
        optional_field(&mut hash, self.actor.request_id.as_deref());
        field(&mut hash, self.action.as_bytes());
        field(&mut hash, self.target.as_bytes());
        field(&mut hash, self.detail.as_bytes());
        hash.finalize().into()
    }
}

fn field(hash: &mut Sha256, bytes: &[u8]) {
    // usize has at most 64 bits on every platform Rust supports.
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

/// An absent field differs from an empty one: a marker byte stands in front of either.
fn optional_field(hash: &mut Sha256, text: Option<&str>) {
    match text {
        None => hash.update([0]),
        Some(text) => {
            hash.update([1]);
            field(hash, text.as_bytes());
        }
    }
}

/// The first entry that does not belong where it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct BrokenChain {
    /// Number that the entry carries.
    pub seq: u64,
    /// What is wrong with it.
    pub fault: ChainFault,
}

impl fmt::Display for BrokenChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "audit entry {}: {}", self.seq, self.fault)
    }
}

/// What is wrong with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// Its number is not its predecessor's plus one.
    #[error("entry {expected} should stand here")]
    OutOfOrder {
        /// The number that should stand here.
        expected: u64,
    },
    /// It continues another entry than the one before it.
    #[error("it does not continue the entry before it")]
    Unlinked,
    /// Its content is not what was hashed.
    #[error("its content was changed after it was written")]
    Changed,
}

/// Checks a whole log from its first entry, and answers with its head.
///
/// # Errors
/// Names the first entry that is wrong. A log that does not start at entry 1 is wrong at its first.
pub fn verify_chain<'a>(entries: impl IntoIterator<Item = &'a AuditEntry>) -> Result<ChainHead, BrokenChain> {
    ChainHead::EMPTY.follow(entries)
}

#[cfg(test)]
mod tests {
    use super::{Actor, ActorKind, AuditEntry, BrokenChain, ChainFault, ChainHead, GENESIS, verify_chain};
    use crate::time::Timestamp;

    fn log(length: u64) -> Vec<AuditEntry> {
        let mut head = ChainHead::EMPTY;
        let actor = |n: u64| Actor {
            kind: ActorKind::ALL[usize::try_from(n % 3).expect("below 3")],
            id: format!("actor {n}"),
            address: n.is_multiple_of(2).then(|| "127.0.0.1".into()),
            request_id: n.is_multiple_of(3).then(String::new),
        };
        (0..length)
            .map(|n| {
                head.append(
                    Timestamp(1_000 + n),
                    &actor(n),
                    "key.create",
                    &format!("key_{n}"),
                    format!("{{\"n\":{n}}}"),
                )
            })
            .collect()
    }

    #[test]
    fn an_untouched_log_is_sound() {
        for length in [0, 1, 2, 9] {
            let log = log(length);
            let head = verify_chain(&log).expect("sound");
            assert_eq!(head.seq, length);
            assert_eq!(head.hash, log.last().map_or(GENESIS, |entry| entry.hash));
        }
    }

    #[test]
    fn every_change_of_one_entry_is_found() {
        type Change = fn(&mut AuditEntry);
        let changes: &[(&str, Change)] = &[
            ("seq", |e| e.seq += 1),
            ("at", |e| e.at.0 += 1),
            ("kind", |e| {
                e.actor.kind =
                    if e.actor.kind == ActorKind::Admin { ActorKind::System } else { ActorKind::Admin }
            }),
            ("id", |e| e.actor.id.push('x')),
            ("address", |e| e.actor.address = e.actor.address.take().xor(Some("10.0.0.1".into()))),
            ("request id", |e| e.actor.request_id = e.actor.request_id.take().xor(Some(String::new()))),
            ("action", |e| e.action = "key.revoke".into()),
            ("target", |e| e.target.clear()),
            ("detail", |e| e.detail.push(' ')),
            ("a byte moved over a border", |e| {
                let c = e.target.pop().expect("not empty");
                e.detail.insert(0, c);
            }),
            ("previous hash", |e| e.prev_hash[31] ^= 1),
            ("hash", |e| e.hash[0] ^= 1),
        ];
        for at in 0..5 {
            for (what, change) in changes {
                let mut log = log(5);
                change(&mut log[at]);
                let seq = log[at].seq;
                assert_eq!(verify_chain(&log).expect_err(what).seq, seq, "{what} of entry {at}");
            }
        }
    }

    #[test]
    fn a_forged_entry_breaks_the_next_link() {
        let mut log = log(4);
        log[1].detail = "{}".into();
        log[1].hash = log[1].computed_hash();
        assert_eq!(verify_chain(&log), Err(BrokenChain { seq: 3, fault: ChainFault::Unlinked }));
    }

    #[test]
    fn deletions_swaps_and_a_missing_front_are_found() {
        for at in 0..4 {
            let mut deleted = log(5);
            deleted.remove(at);
            assert_eq!(verify_chain(&deleted).expect_err("deleted").seq, at as u64 + 2);
            let mut swapped = log(5);
            swapped.swap(at, at + 1);
            assert_eq!(verify_chain(&swapped).expect_err("swapped").seq, at as u64 + 2);
            let renumbered: Vec<AuditEntry> = log(5)
                .into_iter()
                .skip(at + 1)
                .zip(1..)
                .map(|(mut e, seq)| {
                    e.seq = seq;
                    e
                })
                .collect();
            assert_eq!(verify_chain(&renumbered).expect_err("cut off at the front").seq, 1);
            let mut doubled = log(5);
            doubled.insert(at, doubled[at].clone());
            assert!(verify_chain(&doubled).is_err());
        }
    }

    #[test]
    fn the_encoding_is_fixed() {
        // A log written by an older version must still be verifiable: this hash never changes.
        let hash: String = log(1)[0].hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, "8d1ae6300bf14844de79f55226726c5cd2785b48836a74c1d20d37ad060da81c");
    }
}
