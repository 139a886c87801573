//! A store without its thread, what happens to it, and the comparison with the model.

use std::fs;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use serde_json::Map;
use tempfile::TempDir;
use till_core::audit::Actor;
use till_core::key::KeyId;
use till_core::ledger::{Account, AccountId, Balance, HoldKind};
use till_core::lifetime::Lifetime;
use till_core::limit::{Dimension, Limits, Units};
use till_core::policy::{Ceilings, Policy, PolicyOwner, Window};
use till_core::time::Timestamp;
use tokio::runtime::Runtime;

use super::model::{Key, Known, Model, Sums, add, higher, less};
use super::plant::{Plant, is_planted};
use super::schedule::{End, KEYS, Schedule, Step};
use crate::clock::{Clock, FakeTime, SteppedTime};
use crate::command::Action;
use crate::entity::{EntityChange, EntityKind, Project};
use crate::memory::{self, Fault, MemoryBackend};
use crate::sqlite::{FILE_NAME, SqliteBackend};
use crate::store::Bounds;
use crate::writer::Writer;
use crate::{Hold, HoldRefusal, KeyChange, KeyPlace, LimitChange, NewKey, Store, StoreError};

/// When a schedule begins: noon of a day.
const BEGIN: u64 = 20_000 * 86_400_000 + 43_200_000;
const PROJECT: &str = "a";

/// So many calls are made in the end to see that not one more passes.
const FEW: u64 = 60;

/// Runs of the writer after which everybody has an answer who does not wait for units.
const ANSWERED_AFTER: usize = 4;

/// Where the store of a simulation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Medium {
    Memory,
    Sqlite,
}

/// What schedules did, to see that they do something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) granted: u64,
    pub(super) drawn: u64,
    pub(super) exhausted: u64,
    pub(super) revocations: u64,
    pub(super) refused_writes: u64,
    pub(super) crashes: u64,
    pub(super) torn: u64,
    pub(super) restarts: u64,
    pub(super) compared: u64,
    pub(super) overruns: u64,
}

impl Tally {
    pub(super) fn add(&mut self, more: &Self) {
        self.granted += more.granted;
        self.drawn += more.drawn;
        self.exhausted += more.exhausted;
        self.revocations += more.revocations;
        self.refused_writes += more.refused_writes;
        self.crashes += more.crashes;
        self.torn += more.torn;
        self.restarts += more.restarts;
        self.compared += more.compared;
        self.overruns += more.overruns;
    }
}

type Answer<T> = Pin<Box<dyn Future<Output = T>>>;

/// A call that has no answer yet.
struct Ask {
    key: usize,
    units: Units,
    answer: Answer<Result<Hold, HoldRefusal>>,
}

/// A call in flight.
struct Call {
    key: usize,
    hold: Hold,
}

/// An administrative action without an answer.
struct Change {
    what: What,
    answer: Answer<Result<bool, StoreError>>,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Limits(usize, Limits),
    Ceiling(Limits),
    Revoked(usize),
    Paused(usize, bool),
    Stopped(bool),
}

enum Disk {
    Memory(Arc<memory::Medium>),
    Sqlite,
}

/// Store and writer, until a crash or a stop.
struct Process {
    writer: Writer,
    store: Store,
}

pub(super) struct World {
    disk: Disk,
    dir: TempDir,
    time: FakeTime,
    begin: Instant,
    loaded_max: usize,
    process: Option<Process>,
    asks: Vec<Ask>,
    calls: Vec<Call>,
    change: Option<Change>,
    model: Model,
    /// Version of the project.
    version: u64,
    tally: Tally,
    /// Waiting for held units takes a timer, which never fires here.
    runtime: Runtime,
}

fn key_id(key: usize) -> KeyId {
    crate::conformance::key_id(key as u64 + 1)
}

fn poll<T>(answer: &mut Answer<T>) -> Option<T> {
    match answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

fn activations(limit: Option<u64>) -> Limits {
    Limits { activations: limit, ..Limits::default() }
}

fn project(version: Option<u64>, limits: Limits) -> Action {
    let policy =
        Policy { ceilings: Ceilings { lifetime: limits, ..Ceilings::default() }, ..Policy::default() };
    Action::EntityPut(Box::new(EntityChange {
        kind: EntityKind::Project,
        id: PROJECT.into(),
        version,
        project: None,
        body: serde_json::to_string(&Project { name: PROJECT.into(), policy }).unwrap(),
        lookups: None,
        ends: false,
        action: "project.put".into(),
        detail: "{}".into(),
        charged: Vec::new(),
        used: None,
    }))
}

impl World {
    pub(super) fn new(schedule: &Schedule, medium: Medium) -> Self {
        // In memory where there is such a place: a simulation tests no disk.
        let shm = Path::new("/dev/shm");
        let dir = if shm.is_dir() { TempDir::new_in(shm) } else { TempDir::new() }.unwrap();
        let disk = match medium {
            Medium::Memory => Disk::Memory(Arc::default()),
            Medium::Sqlite => Disk::Sqlite,
        };
        let key = |key: usize| Key {
            sums: Sums::new(schedule.limits[key]),
            revoked: Known(vec![false]),
            paused: Known(vec![false]),
            expires: schedule.expires.filter(|_| key == KEYS - 1).map(|after| BEGIN + after),
            is_over: false,
        };
        let model = Model {
            keys: std::array::from_fn(key),
            project: Sums::new(activations(schedule.ceiling)),
            stopped: Known(vec![false]),
            latest: BEGIN,
            now: BEGIN,
            has_faults: false,
        };
        let mut world = Self {
            disk,
            dir,
            time: FakeTime::at(BEGIN),
            begin: Instant::now(),
            loaded_max: schedule.loaded_max,
            process: None,
            asks: Vec::new(),
            calls: Vec::new(),
            change: None,
            model,
            version: 1,
            tally: Tally::default(),
            runtime: tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap(),
        };
        world.start();
        world.prepare(schedule);
        world
    }

    /// Makes the project and its keys.
    fn prepare(&mut self, schedule: &Schedule) {
        self.administer(project(None, activations(schedule.ceiling)));
        for (key, limits) in schedule.limits.iter().enumerate() {
            let expires_at = self.model.keys[key].expires.map(Timestamp);
            let key = NewKey {
                place: KeyPlace { project: PROJECT.into(), maker: None, credential: None },
                request: None,
                id: key_id(key),
                master_key: None,
                fingerprint: None,
                provider: "openai".into(),
                origin: "https://api.example.com".into(),
                limits: *limits,
                options: Default::default(),
                lifetime: Lifetime { expires_at, ..Lifetime::default() },
                scope: Default::default(),
                metadata: Map::new(),
            };
            self.administer(Action::KeyCreate(Box::new(key), None));
        }
    }

    fn administer(&mut self, action: Action) {
        let mut answer = self.asked(action);
        assert!(poll(&mut answer).is_none(), "the writer runs only when told to");
        self.process().writer.step();
        assert!(poll(&mut answer).expect("it was done").expect("nothing fails here"));
    }

    fn asked(&self, action: Action) -> Answer<Result<bool, StoreError>> {
        let store = self.store();
        Box::pin(async move { store.administer(action, &Actor::system()).await })
    }

    fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("between a stop and a start nothing happens")
    }

    fn store(&self) -> Store {
        self.process.as_ref().expect("between a stop and a start nothing happens").store.clone()
    }

    fn start(&mut self) {
        let backend: Box<dyn crate::backend::Backend> = match &self.disk {
            Disk::Memory(medium) => Box::new(MemoryBackend::new(Arc::clone(medium))),
            Disk::Sqlite => Box::new(SqliteBackend::open(self.dir.path()).unwrap()),
        };
        let clock = Clock::new(SteppedTime { time: self.time.clone(), begin: self.begin });
        let bounds = Bounds { loaded_max: self.loaded_max, usage_retention: None, audit_retention: None };
        let witness = self.dir.path().join("witness");
        let (store, writer) = Store::start_stepped(backend, &witness, bounds, clock).unwrap();
        assert_eq!(store.fenced(), None, "FENCED without a roll-back");
        self.process = Some(Process { writer, store });
    }

    /// Does all steps, and in the end lets every key use exactly what is left.
    pub(super) fn run(mut self, steps: &[Step]) -> Result<Tally, String> {
        for (nth, step) in steps.iter().enumerate() {
            self.step(step).map_err(|wrong| format!("after step {nth}, {step:?}: {wrong}"))?;
        }
        self.exhaust().map_err(|wrong| format!("in the end: {wrong}"))?;
        Ok(self.tally)
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match *step {
            Step::Ask { key, units } => self.ask(key, units),
            Step::Burst { key, calls, units } => self.burst(key, calls, units),
            Step::Leave { nth } => {
                if !self.asks.is_empty() {
                    let nth = nth % self.asks.len();
                    let left = self.asks.swap_remove(nth);
                    // What it was given comes back, once the writer has seen that it left.
                    for sums in self.model.sums(left.key) {
                        sums.loose = add(sums.loose, left.units);
                    }
                }
                Ok(())
            }
            Step::End { nth, how } => {
                if !self.calls.is_empty() {
                    let nth = nth % self.calls.len();
                    let call = self.calls.swap_remove(nth);
                    self.end(call, how);
                }
                Ok(())
            }
            Step::Write => self.write(),
            Step::Limit { key, activations } => {
                let limits = Limits { activations, ..self.model.keys[key].sums.limits.0[0] };
                let change = LimitChange { activations: Some(activations), ..LimitChange::default() };
                let change = KeyChange { limits: change, ..KeyChange::default() };
                let action = Action::KeyUpdate(key_id(key), Box::new(change));
                self.change(What::Limits(key, limits), action)
            }
            Step::Ceiling { activations: limit } => {
                self.change_ends()?;
                let action = project(Some(self.version), activations(limit));
                self.change(What::Ceiling(activations(limit)), action)
            }
            Step::Revoke { key } => self.change(What::Revoked(key), Action::KeyRevoke(vec![key_id(key)])),
            Step::Pause { key, on } => {
                let change = KeyChange { paused: Some(on), ..KeyChange::default() };
                self.change(What::Paused(key, on), Action::KeyUpdate(key_id(key), Box::new(change)))
            }
            Step::Stop { on } => self.change(What::Stopped(on), Action::KillSwitch { on, reason: None }),
            Step::Fail { how, times } => {
                self.model.has_faults = true;
                match &self.disk {
                    Disk::Memory(medium) => {
                        let how = [Fault::Fail, Fault::WriteAndFail, Fault::FailAndNotReopen][how % 3];
                        medium.script(vec![how; times]);
                    }
                    Disk::Sqlite => self.process().writer.backend().set_full(true),
                }
                Ok(())
            }
            Step::Heal => {
                self.heal();
                Ok(())
            }
            Step::Pass { millis } => {
                self.time.pass(millis);
                self.look_at_clock(millis);
                Ok(())
            }
            Step::SetClock { seconds } => {
                self.time.set_wall(BEGIN.saturating_add_signed(seconds * 1000));
                self.look_at_clock(0);
                Ok(())
            }
            Step::Crash => self.crash(None),
            Step::CrashInWrite { part } => self.crash(Some(part)),
            Step::Restart => self.restart(),
            Step::Compare => self.compare(),
        }
    }

    fn heal(&mut self) {
        match &self.disk {
            Disk::Memory(medium) => medium.heal(),
            Disk::Sqlite => self.process().writer.backend().set_full(false),
        }
    }

    /// As the model understands it: time only goes forward, for as long as somebody remembers it.
    fn look_at_clock(&mut self, passed: u64) {
        let wall = self.time.wall();
        self.model.now = wall.max(self.model.now + passed);
        self.model.latest = wall.max(self.model.latest + passed);
        // The store is asked as well, as anybody does who asks for something: it remembers what it sees.
        self.store().now();
    }

    // Calls.

    fn ask(&mut self, key: usize, units: Units) -> Result<(), String> {
        let store = self.store();
        let answer = Box::pin(async move { store.hold_exactly(key_id(key), units).await });
        self.asks.push(Ask { key, units, answer });
        self.answers_of_asks()
    }

    fn burst(&mut self, key: usize, calls: u64, units: Units) -> Result<(), String> {
        for _ in 0..calls {
            let (asks, open) = (self.asks.len(), self.calls.len());
            self.ask(key, units)?;
            // Once for the terms of the key, and once for the hold.
            for _ in 0..2 {
                if self.asks.len() > asks {
                    self.write()?;
                }
            }
            if self.calls.len() <= open {
                break;
            }
            let call = self.calls.pop().expect("one more than before");
            self.end(call, End::Read { used: 16 });
        }
        Ok(())
    }

    fn end(&mut self, call: Call, how: End) {
        let held = call.hold.units();
        let sixteenth = |n: u64| held.zip(held, |held, _| held * n / 16);
        let (used, excess) = match how {
            End::Read { used } => (Units { activations: 1, ..sixteenth(used) }, Units::default()),
            End::HangUp => (held, Units::default()),
            End::Unsent => (Units::default(), Units::default()),
            End::Exceeds { by } => (held, Units { activations: 0, tokens: by, spend_nanos: by }),
        };
        self.tally.overruns += u64::from(excess != Units::default());
        match how {
            End::Read { .. } | End::Exceeds { .. } => call.hold.settle(add(used, excess)),
            End::HangUp => drop(call.hold),
            End::Unsent => call.hold.void(),
        }
        for sums in self.model.sums(call.key) {
            sums.open = less(sums.open, held);
            sums.sent = add(sums.sent, used);
            sums.charged = add(sums.charged, used);
            sums.excess = add(sums.excess, excess);
            sums.loose = add(sums.loose, less(held, used));
        }
    }

    /// The writer runs, and everybody hears what came of it.
    fn write(&mut self) -> Result<(), String> {
        self.process().writer.step();
        self.answers()?;
        self.check_figures()
    }

    fn answers(&mut self) -> Result<(), String> {
        self.answers_of_asks()?;
        let Some(change) = &mut self.change else { return Ok(()) };
        if let Some(answer) = poll(&mut change.answer) {
            let change = self.change.take().expect("just seen");
            self.changed(change.what, answer)?;
        }
        Ok(())
    }

    fn answers_of_asks(&mut self) -> Result<(), String> {
        let entered = self.runtime.handle().clone();
        let _entered = entered.enter();
        let mut waiting = Vec::new();
        let mut asks = std::mem::take(&mut self.asks).into_iter();
        while let Some(mut ask) = asks.next() {
            match poll(&mut ask.answer) {
                None => waiting.push(ask),
                Some(Ok(hold)) => self.granted(ask.key, hold)?,
                Some(Err(refusal)) => {
                    let others = waiting.iter().chain(asks.as_slice());
                    let mut asked = (Units::default(), Units::default());
                    for other in others {
                        asked.1 = add(asked.1, other.units);
                        if other.key == ask.key {
                            asked.0 = add(asked.0, other.units);
                        }
                    }
                    self.refused(ask.key, ask.units, refusal, asked)?;
                }
            }
        }
        self.asks = waiting;
        Ok(())
    }

    /// Who has no answer by now goes away.
    fn asks_end(&mut self) -> Result<(), String> {
        for _ in 0..ANSWERED_AFTER {
            if self.asks.is_empty() {
                break;
            }
            self.write()?;
        }
        self.asks.clear();
        Ok(())
    }

    fn granted(&mut self, key: usize, hold: Hold) -> Result<(), String> {
        self.tally.granted += 1;
        self.tally.drawn += u64::from(hold.is_drawn());
        for sums in self.model.sums(key) {
            sums.open = add(sums.open, hold.units());
        }
        self.calls.push(Call { key, hold });
        self.model.check_grant(key)
    }

    fn refused(
        &mut self,
        key: usize,
        units: Units,
        refusal: HoldRefusal,
        asked: (Units, Units),
    ) -> Result<(), String> {
        match refusal {
            HoldRefusal::Denied(denial) => {
                self.tally.exhausted += u64::from(denial.code.as_str().ends_with("exhausted"));
                self.model.check_denial(key, units, denial.code, asked)
            }
            HoldRefusal::Unavailable(_) if self.model.has_faults => {
                self.tally.refused_writes += 1;
                // It may be on disk, and is voided then.
                for sums in self.model.sums(key) {
                    sums.loose = add(sums.loose, units);
                }
                Ok(())
            }
            other => Err(format!("UNAVAILABLE without a fault: {other:?}")),
        }
    }

    // Changes.

    fn change(&mut self, what: What, action: Action) -> Result<(), String> {
        self.change_ends()?;
        let asked = self.asks.iter().map(|ask| ask.units).fold(Units::default(), add);
        let model = &mut self.model;
        match what {
            What::Limits(key, limits) => {
                let sums = &mut model.keys[key].sums;
                sums.limit_asked(limits, asked);
                sums.highest = highest(sums.highest, limits);
            }
            What::Ceiling(limits) => {
                model.project.limit_asked(limits, asked);
                model.project.highest = highest(model.project.highest, limits);
            }
            What::Revoked(key) => model.keys[key].revoked.asked(true),
            What::Paused(key, on) => model.keys[key].paused.asked(on),
            What::Stopped(on) => model.stopped.asked(on),
        }
        let mut answer = self.asked(action);
        assert!(poll(&mut answer).is_none(), "the writer runs only when told to");
        self.change = Some(Change { what, answer });
        Ok(())
    }

    /// One change at a time.
    fn change_ends(&mut self) -> Result<(), String> {
        while self.change.is_some() {
            self.write()?;
        }
        Ok(())
    }

    fn changed(&mut self, what: What, answer: Result<bool, StoreError>) -> Result<(), String> {
        match answer {
            Ok(_) => {}
            Err(StoreError::Failed { .. }) if self.model.has_faults => return Ok(()),
            // A revoked key can't be changed; the version of a project is not known after a write that failed.
            Err(StoreError::Invalid { .. } | StoreError::Changed) => return Ok(()),
            Err(error) => return Err(format!("{what:?} failed without a fault: {error:?}")),
        }
        let model = &mut self.model;
        let ends = match what {
            What::Limits(key, limits) => {
                model.keys[key].sums.limits.done(limits);
                None
            }
            What::Ceiling(limits) => {
                model.project.limits.done(limits);
                self.version += 1;
                None
            }
            What::Revoked(key) => {
                self.tally.revocations += 1;
                model.keys[key].revoked.done(true);
                Some(key)
            }
            What::Paused(key, on) => {
                model.keys[key].paused.done(on);
                on.then_some(key)
            }
            What::Stopped(on) => {
                model.stopped.done(on);
                let told = self.calls.iter().all(|call| call.hold.ended().is_some());
                return if on && !told {
                    Err("SENT: a call goes on although everything is stopped".into())
                } else {
                    Ok(())
                };
            }
        };
        let goes_on = |call: &Call| Some(call.key) == ends && call.hold.ended().is_none();
        if self.calls.iter().any(goes_on) {
            return Err(format!("SENT: a call goes on after {what:?}"));
        }
        Ok(())
    }

    // Ends of the process.

    /// The process dies: between two writes, or in one, of which a part is on disk.
    fn crash(&mut self, part: Option<u64>) -> Result<(), String> {
        self.tally.crashes += 1;
        let image = match &self.disk {
            Disk::Memory(medium) => {
                let medium = Arc::clone(medium);
                if let Some(part) = part {
                    medium.heal();
                    medium.script([if part % 2 == 0 { Fault::WriteAndFail } else { Fault::Fail }]);
                    self.process().writer.step();
                }
                Image::Memory(Box::new(medium.crashed(is_planted(Plant::UnsyncedWrite))))
            }
            Disk::Sqlite => {
                let before = Files::read(self.dir.path());
                let mut after = before.clone();
                if let Some(part) = part {
                    self.process().writer.step();
                    after = Files::read(self.dir.path());
                    self.tally.torn += u64::from(after.tear(&before, part));
                }
                Image::Sqlite(after)
            }
        };
        let asks = std::mem::take(&mut self.asks);
        let mut asked = [Units::default(); KEYS];
        asks.iter().for_each(|ask| asked[ask.key] = add(asked[ask.key], ask.units));
        drop(asks);
        self.change = None;
        self.process = None;
        self.calls.clear();
        match image {
            Image::Memory(disk) => self.disk = Disk::Memory(memory::Medium::with(*disk)),
            Image::Sqlite(files) => files.write(self.dir.path()),
        }
        self.model.has_faults = false;
        // Not known any more: how late it was, if the clock was set back.
        self.model.now = self.time.wall();
        self.start();
        self.read_states()?;
        for (key, asked) in asked.iter().enumerate() {
            let used = self.account(AccountId::Key(key_id(key)))?.used();
            self.model.keys[key].sums.crashed(&format!("key {key}"), used, *asked)?;
        }
        self.sum_up();
        Ok(())
    }

    /// A stop that writes everything, and a start.
    fn restart(&mut self) -> Result<(), String> {
        self.tally.restarts += 1;
        self.compare()?;
        self.change_ends()?;
        self.process().store.stop_granting();
        let stopped = self.process().writer.stop();
        stopped.map_err(|error| format!("a stop failed: {error}"))?;
        self.asks.clear();
        self.process = None;
        // Nobody can say any more what became of these.
        self.calls.clear();
        self.start();
        self.read_states()?;
        for (key, of) in self.model.keys.iter_mut().enumerate() {
            of.sums.sent = add(of.sums.sent, of.sums.open);
            of.sums.charged = add(of.sums.charged, of.sums.open);
            of.sums.open = Units::default();
            let id = AccountId::Key(key_id(key));
            let writer = &mut self.process.as_mut().expect("just started").writer;
            let used = writer.backend().account(id).unwrap().expect("it was made").used();
            if used != of.sums.charged {
                return Err(format!("RESTARTED: key {key} has {used:?} instead of {:?}", of.sums.charged));
            }
        }
        self.sum_up();
        Ok(())
    }

    /// What all keys come to.
    fn sum_up(&mut self) {
        let Model { keys, project, .. } = &mut self.model;
        let sum = |of: fn(&Sums) -> Units| keys.iter().map(|key| of(&key.sums)).fold(Units::default(), add);
        (project.sent, project.charged) = (sum(|sums| sums.sent), sum(|sums| sums.charged));
        (project.open, project.excess) = (Units::default(), Units::default());
        project.rest();
    }

    // Comparing.

    fn account(&mut self, id: AccountId) -> Result<Account, String> {
        let account = self.process().writer.backend().account(id).map_err(|error| error.to_string())?;
        account.ok_or_else(|| format!("{id} has no account"))
    }

    /// What is on disk is one of what may be there.
    fn read_states(&mut self) -> Result<(), String> {
        for key in 0..KEYS {
            let account = self.account(AccountId::Key(key_id(key)))?;
            let of = &mut self.model.keys[key];
            of.sums.limits.read("a limit", account.limits())?;
            of.revoked.read("revoked", account.revoked_at.is_some())?;
            of.paused.read("paused", account.paused_at.is_some())?;
        }
        let row = self.process().writer.backend().entity(EntityKind::Project, PROJECT);
        let row = row.map_err(|error| error.to_string())?.expect("the project was made");
        self.version = row.version;
        let limits = row.policy().map_err(|error| error.to_string())?.ceilings.lifetime;
        self.model.project.limits.read("the ceiling", limits)?;
        let stopped = self.process().store.kill_switch().is_some();
        self.model.stopped.read("stopped", stopped)
    }

    /// After each write: units are conserved, and nothing that was sent is missing.
    fn check_figures(&mut self) -> Result<(), String> {
        let Process { writer, .. } = self.process.as_mut().expect("it runs");
        if writer.is_behind() {
            return Ok(());
        }
        let ledger = writer.ledger();
        let ids = (0..KEYS).map(|key| AccountId::Key(key_id(key)));
        let ceiling = Window::Lifetime.account(PolicyOwner::Project, PROJECT, Timestamp(self.model.now));
        for id in ids.clone().chain([ceiling]) {
            let Some(account) = ledger.account(id) else { continue };
            let (mut held, mut escrowed) = (Units::default(), Units::default());
            for (_, hold) in ledger.open_holds().filter(|(_, hold)| hold.accounts.iter().any(|one| one == id))
            {
                match hold.kind {
                    HoldKind::Escrow { .. } => escrowed = add(escrowed, hold.units),
                    HoldKind::Call => held = add(held, hold.units),
                }
            }
            for dimension in Dimension::ALL {
                let balance = account.balance(dimension);
                let parts = *balance.parts();
                if Balance::from_parts(parts) != Ok(*balance) {
                    return Err(format!("SUMS: {id} {parts:?} with {:?} free", balance.free()));
                }
                let open = (u128::from(held.of(dimension)), u128::from(escrowed.of(dimension)));
                if (parts.held, parts.escrowed) != open {
                    return Err(format!("SUMS: {id} {parts:?}, and holds have {open:?}"));
                }
            }
        }
        self.model.count_excess(false);
        for (key, of) in self.model.keys.iter().enumerate() {
            let sums = &of.sums;
            if let Some(account) = ledger.account(AccountId::Key(key_id(key))) {
                let (used, sent) = (account.used(), add(sums.sent, sums.open));
                if less(sent, used) != Units::default() {
                    return Err(format!("LOST: key {key} has {used:?}, sent were {sent:?}"));
                }
            }
        }
        let in_memory: Vec<(AccountId, Account)> =
            ids.chain([ceiling]).filter_map(|id| Some((id, ledger.account(id)?.clone()))).collect();
        for (id, account) in in_memory {
            let on_disk = self.account(id)?;
            if account.balances() != on_disk.balances() {
                return Err(format!(
                    "DISK: {id} is {:?}, in memory {:?}",
                    on_disk.balances(),
                    account.balances()
                ));
            }
        }
        Ok(())
    }

    /// Everything comes to rest; then the store says what the model says, to the unit.
    fn compare(&mut self) -> Result<(), String> {
        self.tally.compared += 1;
        self.heal();
        self.asks_end()?;
        let (mut quiet, mut last) = (0, String::new());
        for _ in 0..12 {
            let store = self.store();
            let mut flushed: Answer<Result<(), StoreError>> = Box::pin(async move { store.flush().await });
            let _ = poll(&mut flushed);
            self.write()?;
            let answer = poll(&mut flushed);
            let is_written = matches!(answer, Some(Ok(())));
            last = format!("{answer:?}, {}", self.process().writer.behind());
            quiet = if is_written && !self.process().writer.is_behind() { quiet + 1 } else { 0 };
            if quiet == 3 && self.change.is_none() {
                break;
            }
        }
        if quiet < 3 {
            return Err(format!("it does not come to rest: {last}"));
        }
        self.model.has_faults = false;
        self.model.count_excess(true);
        self.read_states()?;
        let (mut undrawn_of_all, mut all) = (Units::default(), Units::default());
        for key in 0..KEYS {
            let used = self.account(AccountId::Key(key_id(key)))?.used();
            let undrawn = self.process().writer.undrawn(key_id(key));
            undrawn_of_all = add(undrawn_of_all, undrawn);
            let sums = &mut self.model.keys[key].sums;
            sums.rest();
            let expected = add(sums.charged, sums.open);
            all = add(all, expected);
            if used != add(expected, undrawn) {
                return Err(format!(
                    "EXACTLY: key {key} has {used:?}, of which {undrawn:?} is not drawn, instead of {expected:?}"
                ));
            }
        }
        self.model.project.rest();
        if self.model.project.limits.0[0] != Limits::default() {
            let now = Timestamp(self.model.now);
            let account = self.account(Window::Lifetime.account(PolicyOwner::Project, PROJECT, now))?;
            if account.used() != add(all, undrawn_of_all) {
                return Err(format!(
                    "EXACTLY: the ceiling has {:?}, its keys {all:?} and {undrawn_of_all:?}",
                    account.used()
                ));
            }
        }
        Ok(())
    }

    /// In the end every key that lives can use exactly what is left.
    fn exhaust(&mut self) -> Result<(), String> {
        self.compare()?;
        self.asks.clear();
        while let Some(call) = self.calls.pop() {
            self.end(call, End::HangUp);
        }
        self.compare()?;
        let one = Units::ONE_ACTIVATION;
        for key in 0..KEYS {
            for calls in 0.. {
                let left = self.left(key);
                let exhausted = self.tally.exhausted;
                if calls > FEW || calls > 2 && left.is_none_or(|left| left > FEW) {
                    break;
                }
                self.ask(key, one)?;
                self.asks_end()?;
                match self.calls.pop() {
                    Some(call) => self.end(call, End::Read { used: 16 }),
                    // Refused by something else than a limit.
                    None if self.tally.exhausted == exhausted => break,
                    None if left == Some(0) => break,
                    None => return Err(format!("EXACTLY: key {key} is exhausted with {left:?} left")),
                }
            }
        }
        self.compare()
    }

    /// Calls that the key has left: 0 where a limit of it, or of the project, in whatever dimension, is reached.
    fn left(&self, key: usize) -> Option<u64> {
        let left = |sums: &Sums| {
            let limits = sums.limits.0[0];
            let is_spent = |dimension: Dimension| {
                limits.of(dimension).is_some_and(|limit| limit <= sums.charged.of(dimension))
            };
            match sums.is_broken || Dimension::ALL.into_iter().any(is_spent) {
                true => Some(0),
                false => limits.activations.map(|limit| limit - sums.charged.activations),
            }
        };
        let (own, shared) = (left(&self.model.keys[key].sums), left(&self.model.project));
        own.into_iter().chain(shared).min()
    }
}

fn highest(one: Limits, other: Limits) -> Limits {
    // Without a limit there is no hundredth of it.
    let both = higher(one, other);
    let or_none = |both: Option<u64>, one: Option<u64>, other: Option<u64>| {
        both.filter(|_| one.is_some() && other.is_some())
    };
    Limits {
        activations: or_none(both.activations, one.activations, other.activations),
        tokens: or_none(both.tokens, one.tokens, other.tokens),
        spend_nanos: or_none(both.spend_nanos, one.spend_nanos, other.spend_nanos),
    }
}

/// What a crash leaves.
enum Image {
    Memory(Box<memory::Disk>),
    Sqlite(Files),
}

/// The database and its journal, byte for byte.
#[derive(Clone, PartialEq, Eq)]
struct Files {
    database: Vec<u8>,
    wal: Vec<u8>,
}

impl Files {
    fn read(dir: &Path) -> Self {
        let database = dir.join(FILE_NAME);
        let wal = fs::read(wal_of(dir)).unwrap_or_default();
        Self { database: fs::read(database).unwrap(), wal }
    }

    fn write(&self, dir: &Path) {
        let _ = fs::remove_file(dir.join(format!("{FILE_NAME}-shm")));
        fs::write(dir.join(FILE_NAME), &self.database).unwrap();
        fs::write(wal_of(dir), &self.wal).unwrap();
    }

    /// So many thousandths of what the journal has beyond `before` are on disk, and nothing of the rest. `true` when that is a
    /// part of it.
    fn tear(&mut self, before: &Self, part: u64) -> bool {
        let same = self.wal.iter().zip(&before.wal).take_while(|(one, other)| one == other).count();
        if self.database != before.database || same == self.wal.len() {
            return false;
        }
        let more = self.wal.len() - same;
        let cut = same + more * usize::try_from(part).expect("small") / 1_000;
        let mut torn = self.wal[..cut].to_vec();
        torn.extend_from_slice(before.wal.get(cut..).unwrap_or_default());
        self.wal = torn;
        true
    }
}

fn wal_of(dir: &Path) -> std::path::PathBuf {
    dir.join(format!("{FILE_NAME}-wal"))
}
