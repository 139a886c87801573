//! A store without its thread, what happens to it, and the comparison with the model.

mod calls;
mod changes;
mod comparing;
mod ends;

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use serde_json::Map;
use tempfile::TempDir;
use till_core::audit::Actor;
use till_core::key::KeyId;
use till_core::ledger::AccountId;
use till_core::lifetime::Lifetime;
use till_core::limit::{Limits, Units};
use till_core::policy::{Ceilings, Policy, Window};
use till_core::time::Timestamp;
use tokio::runtime::Runtime;

use super::days::Days;
use super::model::{Key, Known, Model, Sums};
use super::schedule::{Schedule, Step};
use crate::backend::Room;
use crate::clock::{Clock, FakeTime, SteppedTime};
use crate::command::Action;
use crate::entity::{EntityChange, EntityKind, Project};
use crate::memory::{self, Fault, MemoryBackend};
use crate::sqlite::SqliteBackend;
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
    /// When it was granted.
    day: u64,
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
    /// The account of its ceiling for ever.
    ceiling: AccountId,
    /// Its ceiling per day.
    daily: Limits,
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

fn project(version: Option<u64>, lifetime: Limits, day: Limits) -> Action {
    let policy = Policy { ceilings: Ceilings { lifetime, day, ..Ceilings::default() }, ..Policy::default() };
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
            expires: schedule.expires[key].map(|after| BEGIN + after),
            is_over: false,
        };
        let model = Model {
            keys: std::array::from_fn(key),
            project: Sums::new(activations(schedule.ceiling)),
            days: Days::new(schedule.daily),
            stopped: Known(vec![false]),
            latest: BEGIN,
            now: BEGIN,
            kept: BEGIN,
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
            ceiling: comparing::ceiling_of(Window::Lifetime, 0),
            daily: activations(schedule.daily),
            tally: Tally::default(),
            runtime: tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap(),
        };
        world.start();
        world.prepare(schedule);
        world
    }

    /// Makes the project and its keys.
    fn prepare(&mut self, schedule: &Schedule) {
        self.administer(project(None, activations(schedule.ceiling), self.daily));
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
                    // Once the writer has seen that it left.
                    self.model.left(left.key, left.units);
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
                let action = project(Some(self.version), activations(limit), self.daily);
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
                    Disk::Sqlite => {
                        let room = if how == 0 { Room::WithinFiles } else { Room::None };
                        self.process().writer.backend().set_room(room);
                    }
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
            Disk::Sqlite => self.process().writer.backend().set_room(Room::Plenty),
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
}
