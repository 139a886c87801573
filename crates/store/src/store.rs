//! The handle that the rest of the program uses, and what it promises.
//!
//! - A [`Hold`] exists only if the units are set aside on disk.
//! - What can't be made durable is refused ([`HoldRefusal::Unavailable`]); nothing is granted on trust.
//! - A revocation answers after it is durable and after everybody who holds the key was told.
//! - Every administrative action has an audit entry in its own transaction.
//!
//! Writes go through one thread ([`crate::writer`]); reads use connections of their own ([`crate::readers`]).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use till_core::audit::Actor;
use till_core::demand::Demand;
use till_core::denial::DenialCode;
use till_core::key::{KeyId, KeyStatus};
use till_core::ledger::{expired_denial, fenced_denial, shutting_down_denial, unknown_denial};
use till_core::limit::Units;
use till_core::policy::PolicyOwner;
use till_core::time::{Month, Timestamp};
use tokio::sync::oneshot;

use crate::answer::answer;
use crate::backend::{Backend, Reader};
use crate::clock::Clock;
use crate::command::{Action, Administration, Command, DoneReply, Shared};
use crate::credential::CredentialFollower;
use crate::entity::EntityKind;
use crate::error::{OpenError, StoreError};
use crate::escrow::{About, ExactUse};
use crate::fence::Fence;
use crate::hold::{Hold, HoldRefusal, Pending};
use crate::key::{AccountSummary, KeyChange, KeyQuery, KeyRecord, NewKey};
use crate::kill_switch::KillSwitch;
use crate::lock::DirectoryLock;
use crate::opening::Opening;
use crate::readers::{Lane, Readers};
use crate::sqlite::FILE_NAME;
use crate::start::start;
use crate::stats::StoreStats;
use crate::terms::KeyTerms;
use crate::usage_record::UsageRecord;
use crate::writer::Writer;
use crate::writer::waiting::{busy_denial, needs_units};

/// Where the state is.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The data directory; made if it is absent.
    pub data_dir: PathBuf,
    /// The witness file, which must stay outside of backups.
    pub witness: PathBuf,
    /// Version of the program, for the record.
    pub version: String,
    /// How long usage records are kept; `None` is for ever.
    pub usage_retention: Option<Duration>,
    /// How long entries of the audit log are kept; `None` is for ever.
    pub audit_retention: Option<Duration>,
}

/// How long usage records are kept if nobody says otherwise.
const USAGE_RETENTION: Duration = Duration::from_secs(90 * 24 * 3600);

impl OpenOptions {
    /// The usual places in a data directory: the witness is `DIR/keys/witness`.
    pub fn new(data_dir: impl AsRef<Path>, version: impl Into<String>) -> Self {
        let data_dir = data_dir.as_ref().to_path_buf();
        let witness = data_dir.join("keys").join("witness");
        Self {
            data_dir,
            witness,
            version: version.into(),
            usage_retention: Some(USAGE_RETENTION),
            audit_retention: None,
        }
    }
}

/// How long [`Store::hold_exactly`] waits for units that are only held.
const EXACTLY_PATIENCE: Duration = Duration::from_secs(30);

/// Keys that one transaction revokes: calls of all keys wait for it.
pub(crate) const KEYS_AT_ONCE: u32 = 1000;

/// How long an answer to [`Store::writable`] counts, and how long it may take.
const PROBE_FRESH: Duration = Duration::from_secs(1);
const PROBE_TIME_MAX: Duration = Duration::from_secs(5);

/// What is kept, and how much of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Accounts in memory.
    pub(crate) loaded_max: usize,
    /// Age of usage records.
    pub(crate) usage_retention: Option<Duration>,
    /// Age of entries of the audit log.
    pub(crate) audit_retention: Option<Duration>,
}

/// A cheap handle to the open store. When the last one is dropped the store is closed as by
/// [`Store::close`], but nobody learns whether that worked.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

struct Inner {
    shared: Arc<Shared>,
    instance_id: [u8; 16],
    was_closed: bool,
    /// What it was found to be when somebody last asked whether writing works.
    probed: tokio::sync::Mutex<Option<(Instant, Result<(), StoreError>)>>,
    readers: Arc<Readers>,
    writer: Option<JoinHandle<()>>,
    /// What closing came to; the lock makes a second caller wait for the first.
    closed: tokio::sync::Mutex<Option<Result<(), StoreError>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.readers.close();
        self.shared.queue.close();
        if let Some(writer) = self.writer.take()
            && writer.thread().id() != std::thread::current().id()
        {
            // It has logged why, if it panicked.
            let _ = writer.join();
        }
    }
}

/// Whether some process has the store of this data directory open.
///
/// # Errors
/// The directory can't be used.
pub fn store_is_open(data_dir: &Path) -> Result<bool, OpenError> {
    match DirectoryLock::acquire_now(data_dir) {
        Ok(_) => Ok(false),
        Err(OpenError::AlreadyRunning { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// The database of a data directory.
pub fn database(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE_NAME)
}

impl Store {
    /// Opens the store of a data directory, which is made if it is absent (mode 0700). Blocks.
    ///
    /// The directory is locked, the schema brought up to date, the incarnation number raised; holds that
    /// a crash left open are spent. If store and witness disagree the store opens fenced
    /// ([`Store::fenced`]).
    ///
    /// # Errors
    /// Each says what to do.
    pub fn open(options: &OpenOptions) -> Result<Self, OpenError> {
        Opening::new(options)?.start()
    }

    /// Starts on any backend. `guard` is dropped when the backend is closed.
    pub(crate) fn start(
        backend: Box<dyn Backend>,
        witness: &Path,
        version: &str,
        bounds: Bounds,
        clock: Clock,
        guard: impl Send + 'static,
    ) -> Result<Self, OpenError> {
        let (mut inner, writer) = Self::ready(backend, witness, version, bounds, clock)?;
        let abandon = AbandonOnPanic(Arc::clone(&inner.shared));
        let thread = std::thread::Builder::new().name("till-store".into()).spawn(move || {
            let abandon = abandon;
            let (result, replies) = writer.run();
            drop(guard);
            for reply in replies {
                // A caller that stopped waiting needs no answer.
                let _ = reply.send(result.clone());
            }
            drop(abandon);
        });
        let thread =
            thread.map_err(|error| OpenError::Io { path: witness.into(), reason: error.to_string() })?;
        inner.writer = Some(thread);
        Ok(Self { inner: Arc::new(inner) })
    }

    /// As [`Store::start`], without a thread: nothing happens but in [`Writer::step`].
    #[cfg(test)]
    pub(crate) fn start_stepped(
        backend: Box<dyn Backend>,
        witness: &Path,
        bounds: Bounds,
        clock: Clock,
    ) -> Result<(Self, Writer), OpenError> {
        let (inner, writer) = Self::ready(backend, witness, "test", bounds, clock)?;
        Ok((Self { inner: Arc::new(inner) }, writer))
    }

    /// Everything but the thread that writes.
    fn ready(
        backend: Box<dyn Backend>,
        witness: &Path,
        version: &str,
        bounds: Bounds,
        clock: Clock,
    ) -> Result<(Inner, Writer), OpenError> {
        let started = start(backend, witness, version, &clock)?;
        let (instance_id, was_closed) = (started.instance.id, started.was_closed);
        let shared = Arc::new(Shared::new(
            started.instance.fence.clone(),
            started.instance.kill_switch.clone(),
            clock,
        ));
        let readers = Arc::new(Readers::new(started.backend.reader(), started.backend.reader()));
        let writer = Writer::new(started, Arc::clone(&shared), &bounds);
        let inner = Inner {
            shared,
            instance_id,
            was_closed,
            probed: tokio::sync::Mutex::default(),
            readers,
            writer: None,
            closed: tokio::sync::Mutex::new(None),
        };
        Ok((inner, writer))
    }

    /// Random bytes made with the database: they tell this instance from every other one.
    pub fn instance_id(&self) -> [u8; 16] {
        self.inner.instance_id
    }

    /// The index key, wrapped by the master key, if there is one.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn index_key_fetch(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(Lane::LookUp, Reader::index_key).await
    }

    /// Keeps the wrapped index key if there is none yet; otherwise nothing changes.
    ///
    /// # Errors
    /// The store can't be written.
    pub async fn index_key_put(&self, wrapped: Vec<u8>) -> Result<(), StoreError> {
        self.administer(Action::IndexKeyPut(wrapped), &Actor::system()).await.map(drop)
    }

    /// Makes a key.
    ///
    /// # Errors
    /// The id exists, a limit is above [`till_core::limit::LIMIT_MAX`], or the store can't be written.
    pub async fn key_create(&self, key: NewKey, actor: &Actor) -> Result<KeyRecord, StoreError> {
        let id = key.id;
        self.administer(Action::KeyCreate(Box::new(key), None), actor).await?;
        self.made(id).await
    }

    /// The record of a key that was just made.
    pub(crate) async fn made(&self, id: KeyId) -> Result<KeyRecord, StoreError> {
        let record = self.key_fetch(id).await?;
        record.ok_or_else(|| StoreError::Invalid { reason: format!("{id} was made but can't be found") })
    }

    /// A key with its figures: they include every hold that was answered before.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn key_fetch(&self, id: KeyId) -> Result<Option<KeyRecord>, StoreError> {
        let now = self.now();
        let used = self.exact(About::Key(id)).await;
        let mut record = self.read(Lane::LookUp, move |reader| reader.key_fetch(id, now)).await?;
        used.show(record.as_mut_slice());
        self.see(record.as_slice()).await?;
        Ok(record)
    }

    /// Keys, newest first.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn key_list(&self, query: KeyQuery) -> Result<Vec<KeyRecord>, StoreError> {
        let now = self.now();
        let used = self.exact(About::All).await;
        let mut records = self.read(Lane::List, move |reader| reader.key_list(&query, now)).await?;
        used.show(&mut records);
        self.see(&records).await?;
        Ok(records)
    }

    /// Who is told that a key is over must not find it alive after a restart under a clock that was set back: then it
    /// is durable how late it is.
    async fn see(&self, records: &[KeyRecord]) -> Result<(), StoreError> {
        let is_news = |key: &KeyRecord| key.status == KeyStatus::Expired && key.expired_at.is_none();
        if records.iter().any(is_news) {
            self.ask(|reply| Command::Seen { reply }).await?;
        }
        Ok(())
    }

    /// What time it is for keys: never before what it was earlier, whatever the system's clock says.
    pub fn now(&self) -> Timestamp {
        self.inner.shared.clock.now()
    }

    /// Changes a key; `None` when there is no such key. Takes effect on the next request; after a pause every
    /// [`crate::KeyEnded`] of the key resolves before this answers.
    ///
    /// # Errors
    /// The change contradicts itself or the key ([`StoreError::Invalid`] says how), or the store can't be written.
    pub async fn key_update(
        &self,
        id: KeyId,
        change: KeyChange,
        actor: &Actor,
    ) -> Result<Option<KeyRecord>, StoreError> {
        let action = Action::KeyUpdate(id, Box::new(change));
        if self.administer(action, actor).await? { self.key_fetch(id).await } else { Ok(None) }
    }

    /// Ends many keys, as [`Store::key_revoke`] does with one; those that do not exist are left out.
    ///
    /// # Errors
    /// The store can't be written: some of them may be revoked.
    pub async fn keys_revoke(&self, ids: Vec<KeyId>, actor: &Actor) -> Result<(), StoreError> {
        for piece in ids.chunks(KEYS_AT_ONCE as usize) {
            self.administer(Action::KeyRevoke(piece.to_vec()), actor).await?;
        }
        Ok(())
    }

    /// The keys of a project.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn project_keys(&self, project: &str) -> Result<Vec<KeyId>, StoreError> {
        let project = project.to_owned();
        self.read(Lane::List, move |reader| reader.keys_of(PolicyOwner::Project, &project)).await
    }

    /// Ends a key for ever; `None` when there is no such key. A second time changes nothing.
    ///
    /// Answers after the change is durable and after [`crate::KeyEnded`] of every hold of the key resolves.
    ///
    /// # Errors
    /// The store can't be written. The key may be used until this succeeds.
    pub async fn key_revoke(&self, id: KeyId, actor: &Actor) -> Result<Option<KeyRecord>, StoreError> {
        if self.administer(Action::KeyRevoke(vec![id]), actor).await? {
            self.key_fetch(id).await
        } else {
            Ok(None)
        }
    }

    /// As [`Store::key_revoke`], if this is the newest version of the key.
    ///
    /// # Errors
    /// [`StoreError::Changed`]: it is not. Or the store can't be written.
    pub async fn key_revoke_from(
        &self,
        id: KeyId,
        version: u64,
        actor: &Actor,
    ) -> Result<Option<KeyRecord>, StoreError> {
        let action = Action::KeyRevokeFrom(id, version);
        if self.administer(action, actor).await? { self.key_fetch(id).await } else { Ok(None) }
    }

    /// Figures over all keys.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn account_summary(&self) -> Result<AccountSummary, StoreError> {
        let month = Month::of(self.now());
        self.exact(About::Ended).await;
        self.read(Lane::List, move |reader| {
            let activations = reader.month_total(month)?;
            Ok(AccountSummary {
                keys: reader.key_count()?,
                activations_this_month: u64::try_from(activations).unwrap_or(u64::MAX),
            })
        })
        .await
    }

    /// Why every key is refused, if it is.
    pub fn fenced(&self) -> Option<Fence> {
        self.inner.shared.fence()
    }

    /// Ends the fence: the administrator knows that what was used since the copy may be used again. Without
    /// a fence nothing happens.
    ///
    /// # Errors
    /// Store or witness can't be written; the fence stays.
    pub async fn fence_accept(&self, actor: &Actor) -> Result<(), StoreError> {
        self.administer(Action::FenceAccept, actor).await.map(drop)
    }

    /// Since when and why every key is stopped, if it is.
    pub fn kill_switch(&self) -> Option<KillSwitch> {
        self.inner.shared.kill_switch()
    }

    /// Stops every key at once, or lets them go on. It stays so through restarts.
    ///
    /// Answers after the change is durable and, when it is turned on, after [`crate::KeyEnded`] of every hold resolves.
    ///
    /// # Errors
    /// The store can't be written; it is unknown whether the switch is turned.
    pub async fn kill_switch_set(
        &self,
        on: bool,
        reason: Option<String>,
        actor: &Actor,
    ) -> Result<(), StoreError> {
        self.administer(Action::KillSwitch { on, reason }, actor).await.map(drop)
    }

    /// What a key's requests are to be treated by. From memory for a key that was used lately.
    ///
    /// # Errors
    /// There is no such key, or the store can't be read.
    pub async fn key_terms(&self, key: KeyId) -> Result<Arc<KeyTerms>, HoldRefusal> {
        if let Some(terms) = self.key_terms_at_once(key) {
            return Ok(terms);
        }
        let shared = &self.inner.shared;
        let (reply, answer) = oneshot::channel();
        shared.queue.push(Command::Terms { key, reply }).map_err(HoldRefusal::Unavailable)?;
        let terms = answer.await.unwrap_or(Err(StoreError::Closed)).map_err(HoldRefusal::Unavailable)?;
        if terms.is_none() && shared.fence().is_some() {
            // In an older copy a key may be absent that was made since.
            return Err(HoldRefusal::Denied(fenced_denial()));
        }
        terms.ok_or_else(|| HoldRefusal::Denied(unknown_denial(key)))
    }

    /// The same for a key that was used lately; `None` for any other.
    pub fn key_terms_at_once(&self, key: KeyId) -> Option<Arc<KeyTerms>> {
        self.inner.shared.terms.find(key)
    }

    /// Sets units aside, durably. When they are only held by other requests it waits for those, for as long as
    /// `patience`. A denial is counted.
    ///
    /// # Errors
    /// A denial, or the hold could not be made durable, or the terms are not those of the key any more: nothing may
    /// be sent in any case.
    ///
    /// # Cancel safety
    /// If the future is dropped before it answers, the hold is voided.
    pub async fn hold(
        &self,
        terms: &Arc<KeyTerms>,
        demand: Demand,
        patience: Duration,
    ) -> Result<Hold, HoldRefusal> {
        let answer = self.hold_uncounted(terms, demand, patience).await;
        if let Err(HoldRefusal::Denied(denial)) = &answer
            && !matches!(denial.code, DenialCode::InvalidKey | DenialCode::ShuttingDown)
        {
            self.denial_record(terms.key, denial.code);
        }
        answer
    }

    /// As [`Store::hold`] for somebody who may ask again for less: a denial is not counted.
    ///
    /// # Errors
    /// As [`Store::hold`].
    ///
    /// # Cancel safety
    /// As [`Store::hold`].
    pub async fn hold_uncounted(
        &self,
        terms: &Arc<KeyTerms>,
        demand: Demand,
        patience: Duration,
    ) -> Result<Hold, HoldRefusal> {
        if let Some(hold) = self.hold_at_once(terms, &demand) {
            return Ok(hold);
        }
        let shared = &self.inner.shared;
        if shared.is_stopping() {
            return Err(HoldRefusal::Denied(shutting_down_denial()));
        }
        let asked = Instant::now();
        let (reply, answer) = answer();
        let command = Command::Hold { terms: Arc::clone(terms), demand, reply };
        shared.queue.push(command).map_err(HoldRefusal::Unavailable)?;
        let answer = if needs_units(&demand) {
            let Ok(answer) = tokio::time::timeout(patience, answer).await else {
                return Err(HoldRefusal::Denied(busy_denial()));
            };
            answer
        } else {
            answer.await
        };
        let Some(answer) = answer else {
            return Err(HoldRefusal::Unavailable(StoreError::Closed));
        };
        shared.counters.held(asked);
        let hold = answer.map(Pending::arrive)?;
        if hold.is_over() {
            hold.void();
            return Err(HoldRefusal::Denied(expired_denial(terms.key)));
        }
        Ok(hold)
    }

    /// The same out of units that are on disk for calls to come; `None` says nothing but that [`Store::hold`] has to be asked.
    pub fn hold_at_once(&self, terms: &Arc<KeyTerms>, demand: &Demand) -> Option<Hold> {
        let shared = &self.inner.shared;
        if shared.is_stopping() {
            return None;
        }
        terms.escrow.draw(shared, demand)
    }

    /// Sets exactly these units aside, whatever the terms of the key are.
    ///
    /// # Errors
    /// As [`Store::hold`], except for changed terms.
    ///
    /// # Cancel safety
    /// As [`Store::hold`].
    pub async fn hold_exactly(&self, key: KeyId, units: Units) -> Result<Hold, HoldRefusal> {
        loop {
            let terms = self.key_terms(key).await?;
            match self.hold(&terms, Demand::exactly(units), EXACTLY_PATIENCE).await {
                Err(HoldRefusal::TermsChanged) => {}
                outcome => return outcome,
            }
        }
    }

    /// Counts a denial of a known key that was decided elsewhere. Never waits for the disk. What
    /// [`Store::hold`] denies is counted already.
    pub fn denial_record(&self, key: KeyId, code: DenialCode) {
        let shared = &self.inner.shared;
        if shared.denials.add(key, code, shared.clock.now()) {
            shared.queue.nudge();
        }
    }

    /// Keeps the record of a refused call, within bounds per key, code and minute. Never waits for the disk.
    pub fn denied_record(&self, record: UsageRecord) {
        let shared = &self.inner.shared;
        if shared.denied_records.add(record) {
            shared.queue.nudge();
        }
    }

    /// Adds an entry to the audit log: a start, a stop, a change of configuration. No secrets.
    ///
    /// # Errors
    /// The store can't be written.
    pub async fn audit_append(
        &self,
        action: &str,
        target: &str,
        detail: serde_json::Value,
        actor: &Actor,
    ) -> Result<(), StoreError> {
        let action = Action::Audit {
            action: action.into(),
            target: target.into(),
            detail: detail.to_string(),
            settings: None,
        };
        self.administer(action, actor).await.map(drop)
    }

    /// The same for a start, whose `settings` are kept beside the log too, where no entry is deleted by age
    /// ([`crate::AuditState::settings`]).
    ///
    /// # Errors
    /// The store can't be written.
    pub async fn audit_start(
        &self,
        action: &str,
        target: &str,
        detail: serde_json::Value,
        settings: String,
    ) -> Result<(), StoreError> {
        let (action, target) = (action.into(), target.into());
        let action = Action::Audit { action, target, detail: detail.to_string(), settings: Some(settings) };
        self.administer(action, &Actor::system()).await.map(drop)
    }

    /// Whether the last process that had the store closed it, with everything on disk.
    pub fn was_closed(&self) -> bool {
        self.inner.was_closed
    }

    /// Whether a write works: one did just now, or does. Whoever asks at the same time, or within a second, gets the same
    /// answer, so that nobody keeps the writer busy by asking.
    ///
    /// # Errors
    /// Why it does not, or that it takes too long.
    pub async fn writable(&self) -> Result<(), StoreError> {
        let store = self.clone();
        // In a task, so that the answer is there for others when whoever asked has gone away.
        let asked = tokio::spawn(async move {
            let mut probed = store.inner.probed.lock().await;
            if let Some((at, answer)) = &*probed
                && at.elapsed() < PROBE_FRESH
                && !store.is_stopping()
            {
                return answer.clone();
            }
            let late = || StoreError::Failed {
                action: "write",
                file: FILE_NAME.into(),
                reason: format!("it did not answer within {} s", PROBE_TIME_MAX.as_secs()),
            };
            let answer = tokio::time::timeout(PROBE_TIME_MAX, store.flush()).await;
            let answer = answer.unwrap_or_else(|_| Err(late()));
            *probed = Some((Instant::now(), answer.clone()));
            answer
        });
        asked.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Waits until everything asked for so far is written, what was given back included.
    ///
    /// # Errors
    /// It could not be written; it is tried again later.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.ask(|reply| Command::Probe { reply }).await.map(drop)
    }

    /// Counters for metrics.
    pub fn stats(&self) -> StoreStats {
        let shared = &self.inner.shared;
        shared.counters.read(shared.queue.len(), shared.escrows.len(), shared.denials.taken())
    }

    /// Whether nothing is granted any more because the process stops.
    pub fn is_stopping(&self) -> bool {
        self.inner.shared.is_stopping()
    }

    /// Denies further holds with `shutting_down`; open ones can still be settled. Idempotent.
    pub fn stop_granting(&self) {
        self.inner.shared.stop_granting();
    }

    /// Writes everything that is queued, marks the stop as clean and closes the files. Holds that are
    /// still open are spent. Idempotent; every later operation fails with [`StoreError::Closed`].
    ///
    /// # Errors
    /// Something could not be written. The next start counts it as spent.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.stop_granting();
        let mut closed = self.inner.closed.lock().await;
        if let Some(result) = &*closed {
            return result.clone();
        }
        // Closed first, so that the writer's connection is the last one and tidies up behind itself.
        let readers = Arc::clone(&self.inner.readers);
        // A panic in it would be one of a reader's own, which has nothing left to lose.
        let _ = tokio::task::spawn_blocking(move || readers.close()).await;
        let (reply, answer) = oneshot::channel();
        let result = match self.inner.shared.queue.push(Command::Stop { reply }) {
            Ok(()) => answer.await.unwrap_or(Err(StoreError::Closed)),
            // The queue is full: it is drained all the same, and then the files are closed.
            Err(error) => {
                self.inner.shared.queue.close();
                Err(error)
            }
        };
        *closed = Some(result.clone());
        result
    }

    /// Notes that something was used.
    pub(crate) fn note_use(&self, kind: EntityKind, id: String) {
        // If too much waits there it is noted another time.
        let _ = self.inner.shared.queue.push(Command::Used { kind, id });
    }

    pub(crate) fn credential_follower(&self) -> &CredentialFollower {
        &self.inner.shared.credentials
    }

    pub(crate) async fn administer(&self, action: Action, actor: &Actor) -> Result<bool, StoreError> {
        let what = Box::new(Administration { action, actor: actor.clone() });
        self.ask(|reply| Command::Administer { what, reply }).await
    }

    async fn ask(&self, command: impl FnOnce(DoneReply) -> Command) -> Result<bool, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.inner.shared.queue.push(command(reply))?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Whoever reads after this sees everything that calls changed before it: what ended is settled, and all of it is
    /// where readers see it. Calls go on to be granted ahead; what the answer says of an account is to be shown in place of
    /// what is read, which counts units as used that are only counted out. While the store can't be written the figures are
    /// those of the last time it could.
    pub(crate) async fn exact(&self, about: About) -> ExactUse {
        let (reply, answer) = oneshot::channel();
        if self.inner.shared.queue.push(Command::Exact { about, reply }).is_err() {
            return ExactUse::default();
        }
        answer.await.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Reads what is committed.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        lane: Lane,
        read: impl FnOnce(&mut dyn Reader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.inner.readers.read(lane, read).await
    }
}

/// If the writer panics, whoever waits for it must hear of it: the queue is closed and emptied.
struct AbandonOnPanic(Arc<Shared>);

impl Drop for AbandonOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("the store's writer stopped by a fault; nothing is granted until a restart");
            self.0.escrows.shut_all();
        }
        self.0.queue.abandon();
    }
}
