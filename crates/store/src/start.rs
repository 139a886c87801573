//! What happens before anything is granted: fence or not, a new incarnation, holds of a crash spent.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use till_core::audit::{Actor, ChainHead};
use till_core::key::KeyId;
use till_core::ledger::{AccountId, HoldId, HoldKind, Ledger, OpenHold};
use till_core::time::{Month, Timestamp};

use crate::audit_log::LogState;
use crate::backend::{Backend, Batch, Instance, Mark};
use crate::clock::Clock;
use crate::denial_entries;
use crate::error::{OpenError, StoreError};
use crate::fence::{Fence, Verdict, judge};
use crate::log_break::{self, LogBreak};
use crate::usage_record::{Outcome, TokenCounts, UsageRecord, hold_name};
use crate::witness::{Record, Witness};

/// Everything that the writer goes on with.
pub(crate) struct Started {
    pub(crate) backend: Box<dyn Backend>,
    pub(crate) witness: Witness,
    pub(crate) instance: Instance,
    pub(crate) ledger: Ledger,
    pub(crate) head: ChainHead,
    pub(crate) log: LogState,
    /// Whether the process before had written everything.
    pub(crate) was_closed: bool,
}

/// How far behind a clock may be without a word: they are set by a little all the time.
const CLOCK_BEHIND_MAX: Duration = Duration::from_secs(60);

/// Starts on a backend.
///
/// The order of the writes: the very first start makes the witness, which then says that no start was
/// ever seen, before the store's row. Every start writes its mark to the store and then to the witness,
/// so a crash leaves the store at most one step ahead, which [`judge`] knows is no roll-back. A fenced
/// store leaves the witness alone. The audit log is compared with the witness before anything is entered in it, so that
/// nothing is signed unseen that somebody else has written there.
pub(crate) fn start(
    mut backend: Box<dyn Backend>,
    witness_path: &Path,
    version: &str,
    clock: &Clock,
) -> Result<Started, OpenError> {
    let found = backend.instance()?;
    let seen = found.as_ref().filter(|_| !planted!(TimeForgotten)).map(|instance| instance.time_seen);
    let behind = clock.raise(seen.unwrap_or(Timestamp(0)));
    if behind > CLOCK_BEHIND_MAX {
        tracing::warn!(
            seconds = behind.as_secs(),
            "the clock is behind the highest time seen; times go on from there, so that no key lives longer"
        );
    }
    let now = clock.now();
    let (mut witness, reading) = Witness::open(witness_path);
    let mut verdict = judge(found.as_ref(), &reading);
    let mut head = backend.audit_head()?;
    let was_closed = found.as_ref().is_none_or(|instance| instance.stopped_clean);
    let was_fenced = found.as_ref().is_some_and(|instance| instance.fence.is_some());
    let broken = match witness.log() {
        Some(mark) => log_break::find(backend.as_mut(), mark, was_fenced)?,
        None => None,
    };
    if let (Verdict::Sound, Some(broken)) = (&verdict, &broken) {
        verdict = Verdict::Fenced(fence_of(broken, found.as_ref(), &witness));
    }
    let mut instance = match found {
        Some(instance) => instance,
        None => new_instance()?,
    };
    let mut batch = Batch::default();
    match &verdict {
        Verdict::New => witness.create(record(&instance))?,
        // From here on there may be entries that it does not know of.
        Verdict::Sound => witness.begin_log()?,
        Verdict::Fenced(fence) if instance.fence.is_none() => {
            batch.audit.push(head.append(now, &Actor::system(), "fence.raise", "store", detail(fence)));
            instance.fence = Some(fence.clone());
            batch.shuts_out = true;
        }
        Verdict::Fenced(_) => {}
    }
    if let Some(broken) = &broken {
        batch.audit.push(broken.entry(&mut head, now));
    }
    instance.version = version.into();
    instance.time_seen = now;
    instance.stopped_clean = false;
    batch.instance = Some(instance.clone());
    let mut orphans = Ledger::new(instance.mark.incarnation, false);
    spend_orphans(backend.as_mut(), &mut orphans, &mut batch)?;
    crate::failpoint!("start.orphans");
    backend.commit(&batch, &orphans)?;
    crate::failpoint!("start.orphans_spent");
    witness.see_log(head);
    if instance.fence.is_none() {
        raise(backend.as_mut(), &mut witness, &mut instance, false)?;
    }
    denial_entries::enter_all(backend.as_mut(), &mut head, now)?;
    witness.see_log(head);
    let log = LogState::read(backend.as_mut())?;
    let mut ledger = Ledger::new(instance.mark.incarnation, instance.fence.is_some());
    ledger.set_stopped(instance.kill_switch.is_some());
    Ok(Started { backend, witness, instance, ledger, head, log, was_closed })
}

/// A log that lacks what was written, or has what was not, is in a database that was put back from a copy, or that somebody
/// has changed.
fn fence_of(broken: &LogBreak, found: Option<&Instance>, witness: &Witness) -> Fence {
    Fence {
        store_incarnation: found.map_or(0, |instance| instance.mark.incarnation),
        witness_incarnation: witness.last().map(|record| record.mark.incarnation),
        reason: format!(
            "the audit log is not the one that was written ({}): the database was put back from a copy, or somebody has \
             changed it, so what was used is not known",
            broken.reason
        ),
    }
}

fn new_instance() -> Result<Instance, StoreError> {
    Ok(Instance {
        id: random()?,
        mark: Mark { incarnation: 0, nonce: random()? },
        previous_nonce: [0; 16],
        fence: None,
        stopped_clean: false,
        version: String::new(),
        time_seen: Timestamp(0),
        kill_switch: None,
    })
}

/// What the witness has to say about this state of the store.
pub(crate) fn record(instance: &Instance) -> Record {
    Record { instance_id: instance.id, mark: instance.mark }
}

/// The fence as an audit entry tells it.
pub(crate) fn detail(fence: &Fence) -> String {
    json!({
        "reason": fence.reason,
        "storeIncarnation": fence.store_incarnation,
        "witnessIncarnation": fence.witness_incarnation,
    })
    .to_string()
}

/// 16 random bytes.
pub(crate) fn random() -> Result<[u8; 16], StoreError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| StoreError::Failed {
        action: "read",
        file: "/dev/urandom".into(),
        reason: error.to_string(),
    })?;
    Ok(bytes)
}

/// The mark after this one.
pub(crate) fn next_mark(incarnation: u64) -> Result<Mark, StoreError> {
    let incarnation = incarnation.checked_add(1).ok_or_else(|| StoreError::Invalid {
        reason: "the store has been started as often as can be counted".into(),
    })?;
    Ok(Mark { incarnation, nonce: random()? })
}

/// Raises the incarnation number durably: in the store, then in the witness.
///
/// # Errors
/// Either can't be written. What is in `instance` is then what the store may have; the next call first
/// brings the witness up to it, so that the store is never more than one step ahead.
pub(crate) fn raise(
    backend: &mut dyn Backend,
    witness: &mut Witness,
    instance: &mut Instance,
    stopped_clean: bool,
) -> Result<(), StoreError> {
    if witness.last() != Some(record(instance)) {
        witness.write(record(instance))?;
    }
    let next = Instance {
        mark: next_mark(instance.mark.incarnation)?,
        previous_nonce: instance.mark.nonce,
        stopped_clean,
        ..instance.clone()
    };
    let batch = Batch { instance: Some(next.clone()), ..Batch::default() };
    backend.commit(&batch, &Ledger::new(0, true))?;
    *instance = next;
    crate::failpoint!("raise.stored");
    witness.write(record(instance))?;
    crate::failpoint!("raise.witnessed");
    Ok(())
}

/// Holds that are still open were granted by a process that is gone. Whether their requests were sent is
/// unknown, so they are spent; their rows stay, marked.
fn spend_orphans(backend: &mut dyn Backend, ledger: &mut Ledger, batch: &mut Batch) -> Result<(), OpenError> {
    let mut months = BTreeMap::new();
    for (id, hold) in backend.open_holds()? {
        for account in hold.accounts.iter() {
            if ledger.account(account).is_none() {
                load(backend, ledger, account)?;
                batch.accounts.push(account);
            }
        }
        let units = hold.units;
        if let HoldKind::Escrow { .. } = hold.kind {
            // Its calls would have been counted when they ended.
            let month = Month::of(hold.at);
            let total = match months.entry(month) {
                Entry::Occupied(entry) => entry.into_mut(),
                Entry::Vacant(entry) => entry.insert(backend.month_total(month)?),
            };
            *total = total.saturating_add(units.activations.into());
        }
        batch.usage.push(Arc::new(lost(id, &hold)));
        if !ledger.restore_hold(id, hold) || ledger.settle(id, units).is_err() {
            return Err(contradiction().into());
        }
        batch.holds_orphaned.push(id);
    }
    batch.months.extend(months);
    if !batch.holds_orphaned.is_empty() {
        tracing::warn!(
            holds = batch.holds_orphaned.len(),
            "holds of a process that ended without a stop are spent"
        );
    }
    Ok(())
}

/// The record of a call whose end nobody saw.
fn lost(id: HoldId, hold: &OpenHold) -> UsageRecord {
    let key = match hold.accounts.key() {
        AccountId::Key(key) => key,
        AccountId::Ceiling(bytes) => KeyId(bytes),
    };
    UsageRecord {
        at: hold.at,
        request_id: hold_name(id),
        key,
        provider: "".into(),
        method: "".into(),
        endpoint: "".into(),
        model: None,
        status: None,
        outcome: Outcome::Lost,
        denial: None,
        tokens: TokenCounts::default(),
        charged: hold.units,
        price_version: None,
        latency_ms: 0,
        first_byte_ms: None,
        client: None,
        streamed: false,
    }
}

/// Puts an account that a hold names into the ledger.
pub(crate) fn load(backend: &mut dyn Backend, ledger: &mut Ledger, id: AccountId) -> Result<(), StoreError> {
    let account = backend.account(id)?.ok_or_else(contradiction)?;
    ledger.load(id, account);
    Ok(())
}

/// The error for an open hold that the accounts on disk do not cover.
pub(crate) fn contradiction() -> StoreError {
    StoreError::Invalid {
        reason: "the database contradicts itself: an open hold is not in its accounts".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Arc;

    use super::{Started, start};
    use crate::clock::FakeTime;
    use crate::memory::{Fault, Medium, MemoryBackend};

    fn begin(medium: &Arc<Medium>, witness: &Path) -> Result<Started, crate::OpenError> {
        start(Box::new(MemoryBackend::new(Arc::clone(medium))), witness, "test", &FakeTime::at(1).clock())
    }

    #[test]
    fn a_crash_between_the_two_writes_is_no_roll_back() {
        let dir = tempfile::tempdir().unwrap();
        let witness = dir.path().join("witness");
        let medium = Arc::default();
        begin(&medium, &witness).unwrap();
        for crash in 1..5 {
            let before = fs::read(&witness).unwrap();
            begin(&medium, &witness).unwrap();
            // As if it had died before its last write, that of the witness.
            fs::write(&witness, before).unwrap();
            let started = begin(&medium, &witness).unwrap();
            assert_eq!(started.instance.fence, None, "crash {crash}");
        }
    }

    #[test]
    fn a_crash_at_any_write_of_the_first_start_is_no_roll_back() {
        for faults in [vec![Fault::Fail], vec![Fault::WriteAndFail], vec![Fault::None, Fault::WriteAndFail]] {
            let dir = tempfile::tempdir().unwrap();
            let witness = dir.path().join("keys/witness");
            let medium = Arc::<Medium>::default();
            medium.script(faults.clone());
            assert!(begin(&medium, &witness).is_err());
            let started = begin(&medium, &witness).unwrap();
            assert_eq!(started.instance.fence, None, "{faults:?}");
            assert!(started.instance.mark.incarnation > 0);
        }
    }

    #[test]
    fn a_fenced_store_leaves_the_witness_alone() {
        let dir = tempfile::tempdir().unwrap();
        let witness = dir.path().join("witness");
        let medium = Arc::default();
        begin(&medium, &witness).unwrap();
        let old = Medium::with(medium.disk().clone());
        begin(&medium, &witness).unwrap();
        begin(&medium, &witness).unwrap();
        let before = fs::read(&witness).unwrap();
        for _ in 0..3 {
            assert!(begin(&old, &witness).unwrap().instance.fence.is_some());
            assert_eq!(fs::read(&witness).unwrap(), before);
        }
        // The right database, put in again, is not fenced.
        assert_eq!(begin(&medium, &witness).unwrap().instance.fence, None);
    }
}
