//! What callers ask of the writer, and what they share with it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use till_core::audit::Actor;
use till_core::demand::Demand;
use till_core::key::KeyId;
use till_core::ledger::HoldId;
use till_core::limit::Units;
use till_core::policy::PolicyOwner;
use till_core::token::{AuditKeys, ClaimId};
use tokio::sync::oneshot;

use crate::answer::Reply;
use crate::claim::NewClaim;
use crate::clock::Clock;
use crate::credential::CredentialFollower;
use crate::denial_counts::DenialCounts;
use crate::denied_records::DeniedRecords;
use crate::entity::{EntityChange, EntityKind};
use crate::error::StoreError;
use crate::escrow::{About, Escrows, ExactUse};
use crate::fence::Fence;
use crate::figures::Figures;
use crate::hold::{HoldRefusal, Pending};
use crate::key::{KeyChange, NewKey};
use crate::kill_switch::KillSwitch;
use crate::master_key::MasterKeyAction;
use crate::queue::Queue;
use crate::spare_records::SpareRecords;
use crate::stats::Counters;
use crate::terms::{KeyTerms, TermsMap};
use crate::usage_record::UsageRecord;

/// Where the answer to a hold goes.
pub(crate) type HoldReply = Reply<Result<Pending, HoldRefusal>>;

/// Where the terms of a key go; `None` when there is no such key.
pub(crate) type TermsReply = oneshot::Sender<Result<Option<Arc<KeyTerms>>, StoreError>>;

/// Where the answer to an administrative command goes: whether there was something to act on.
pub(crate) type DoneReply = oneshot::Sender<Result<bool, StoreError>>;

/// Where it goes what accounts have used.
pub(crate) type ExactReply = oneshot::Sender<Result<ExactUse, StoreError>>;

/// The end of a hold, or of a call that was granted out of an escrow.
#[derive(Debug)]
pub(crate) struct Closing {
    pub(crate) id: HoldId,
    /// Which part of an escrow ends; `None` is the whole hold.
    pub(crate) part: Option<Part>,
    /// What was used; nothing for a void.
    pub(crate) used: Units,
    pub(crate) record: Option<Arc<UsageRecord>>,
    /// What is left to be read about it: see [`Closing::read`].
    pub(crate) figures: Option<Figures>,
    /// When the call ended, where somebody looked at the clock then.
    pub(crate) ended: Option<Instant>,
}

/// A part of an escrow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// Parts are numbered in the order in which they are settled, from 1.
    pub(crate) nth: u64,
    /// What was set aside for it.
    pub(crate) units: Units,
}

/// One thing for the writer to do.
#[derive(Debug)]
pub(crate) enum Command {
    Hold {
        terms: Arc<KeyTerms>,
        demand: Demand,
        reply: HoldReply,
    },
    /// Loads the terms of a key.
    Terms {
        key: KeyId,
        reply: TermsReply,
    },
    Close(Closing),
    /// Counts out more for the key of this escrow.
    Extend(HoldId),
    /// Settles what ended of this escrow, from which nothing is drawn any more.
    Drain(HoldId),
    Administer {
        what: Box<Administration>,
        reply: DoneReply,
    },
    /// Something that is kept was used.
    Used {
        kind: EntityKind,
        id: String,
    },
    /// Answered once it is durable how late it is.
    Seen {
        reply: DoneReply,
    },
    /// Answered once readers see everything that was asked for before.
    Exact {
        about: About,
        reply: ExactReply,
    },
    /// Answered once a transaction was written.
    Probe {
        reply: DoneReply,
    },
    /// The last one; answered when the files are closed.
    Stop {
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
}

/// Something that an administrator, or the process itself, does.
#[derive(Debug)]
pub(crate) struct Administration {
    pub(crate) action: Action,
    pub(crate) actor: Actor,
}

#[derive(Debug)]
pub(crate) enum Action {
    KeyCreate(Box<NewKey>, Option<NewClaim>),
    ClaimTake(ClaimId),
    /// Deletes the row of a claim whose time is over.
    ClaimExpire(ClaimId),
    KeyRevoke(Vec<KeyId>),
    /// From this version only.
    KeyRevokeFrom(KeyId, u64),
    KeyUpdate(KeyId, Box<KeyChange>),
    EntityPut(Box<EntityChange>),
    /// The keys of an owner that has ended are all revoked.
    EndingDone(PolicyOwner, String),
    IndexKeyPut(Vec<u8>),
    MasterKey(MasterKeyAction),
    FenceAccept,
    KillSwitch {
        on: bool,
        reason: Option<String>,
    },
    HoldForgive(HoldId),
    /// From now on the log is signed with these keys.
    AuditSignWith(Box<AuditKeys>),
    /// Signs where the log stands.
    AuditSeal,
    /// Only an entry in the audit log.
    Audit {
        action: String,
        target: String,
        detail: String,
        /// What the last start is known by, if this is one.
        settings: Option<String>,
    },
}

/// What handles, holds and the writer have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) queue: Queue<Command>,
    pub(crate) denials: DenialCounts,
    pub(crate) denied_records: DeniedRecords,
    pub(crate) spare_records: SpareRecords,
    pub(crate) terms: TermsMap,
    pub(crate) escrows: Escrows,
    pub(crate) counters: Counters,
    pub(crate) credentials: CredentialFollower,
    fence: Mutex<Option<Fence>>,
    kill_switch: Mutex<Option<KillSwitch>>,
    stopping: AtomicBool,
}

impl Shared {
    pub(crate) fn new(fence: Option<Fence>, kill_switch: Option<KillSwitch>, clock: Clock) -> Self {
        Self {
            clock,
            queue: Queue::new(),
            denials: DenialCounts::default(),
            denied_records: DeniedRecords::default(),
            spare_records: SpareRecords::default(),
            terms: TermsMap::default(),
            escrows: Escrows::default(),
            counters: Counters::default(),
            credentials: CredentialFollower::default(),
            fence: Mutex::new(fence),
            kill_switch: Mutex::new(kill_switch),
            stopping: AtomicBool::new(false),
        }
    }

    pub(crate) fn fence(&self) -> Option<Fence> {
        self.fence.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn unfence(&self) {
        *self.fence.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn kill_switch(&self) -> Option<KillSwitch> {
        self.kill_switch.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn show_kill_switch(&self, switch: Option<KillSwitch>) {
        *self.kill_switch.lock().unwrap_or_else(PoisonError::into_inner) = switch;
    }

    pub(crate) fn stop_granting(&self) {
        self.stopping.store(true, Ordering::Release);
        // Whoever waits for units is told.
        self.queue.nudge();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}
