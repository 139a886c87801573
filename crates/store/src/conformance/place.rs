//! Where the suite runs: something that a store can be started on again and again.

use std::sync::Arc;

use rusqlite::Connection;
use tempfile::TempDir;
use till_core::denial::DenialCode;
use till_core::key::KeyId;
use till_core::limit::Units;

use crate::backend::DenialCount;
use crate::clock::{Clock, FakeTime};
use crate::lock::DirectoryLock;
use crate::memory::{Disk, Fault, Medium, MemoryBackend};
use crate::sqlite::{FILE_NAME, SqliteBackend, durable_holds};
use crate::store::{Bounds, Store};
use crate::writer::LOADED_MAX;

pub(super) trait Place: Sized {
    fn start_under(&self, bounds: Bounds, clock: Clock) -> Store;

    fn start_within(&self, bounds: Bounds) -> Store {
        self.start_under(bounds, Clock::system())
    }

    /// Starts with a clock that the test sets.
    fn start_at(&self, time: &FakeTime) -> Store {
        self.start_under(
            Bounds { loaded_max: LOADED_MAX, usage_retention: None, audit_retention: None },
            time.clock(),
        )
    }

    /// Starts with at most about so many accounts in memory; usage records stay for ever.
    fn start_with(&self, loaded_max: usize) -> Store {
        self.start_within(Bounds { loaded_max, usage_retention: None, audit_retention: None })
    }

    fn start(&self) -> Store {
        self.start_with(LOADED_MAX)
    }

    /// Where writes can be made to fail.
    fn medium(&self) -> Option<&Medium> {
        None
    }

    /// Ends the process: by a crash where that can be simulated.
    async fn end(self, store: Store) -> Self {
        store.close().await.unwrap();
        self
    }

    /// For every hold that has a row, in order: whether it is an orphan.
    fn holds(&self) -> Vec<bool>;

    /// The units of all open holds that are on disk.
    fn set_aside(&self) -> Units;

    fn denials(&self) -> Vec<DenialCount>;

    /// How many claims have a row.
    fn claims(&self) -> usize;
}

pub(super) struct SqlitePlace {
    dir: TempDir,
}

impl SqlitePlace {
    pub(super) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn connection(&self) -> Connection {
        Connection::open(self.dir.path().join(FILE_NAME)).unwrap()
    }
}

impl Place for SqlitePlace {
    fn start_under(&self, bounds: Bounds, clock: Clock) -> Store {
        let lock = DirectoryLock::acquire(self.dir.path()).unwrap();
        let backend = SqliteBackend::open(self.dir.path()).unwrap();
        Store::start(Box::new(backend), &self.dir.path().join("witness"), "test", bounds, clock, lock)
            .unwrap()
    }

    fn holds(&self) -> Vec<bool> {
        let connection = self.connection();
        let mut statement =
            connection.prepare("SELECT state = 'orphan' FROM holds ORDER BY incarnation, number").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    fn set_aside(&self) -> Units {
        let holds = durable_holds(&self.connection()).unwrap();
        holds.iter().fold(Units::default(), |sum, hold| sum.checked_add(hold.units).unwrap())
    }

    fn claims(&self) -> usize {
        self.connection().query_row("SELECT count(*) FROM claims", [], |row| row.get(0)).unwrap()
    }

    fn denials(&self) -> Vec<DenialCount> {
        let connection = self.connection();
        let mut statement = connection.prepare("SELECT key, code, minute, count FROM denials").unwrap();
        let rows = statement.query_map([], |row| {
            let key: Vec<u8> = row.get(0)?;
            let code: String = row.get(1)?;
            Ok(DenialCount {
                key: key.try_into().ok().map(KeyId),
                code: *DenialCode::ALL.iter().find(|known| known.as_str() == code).expect("a known code"),
                minute: row.get(2)?,
                count: row.get(3)?,
            })
        });
        rows.unwrap().map(Result::unwrap).collect()
    }
}

pub(super) struct MemoryPlace {
    pub(super) medium: Arc<Medium>,
    dir: TempDir,
}

impl MemoryPlace {
    pub(super) fn new() -> Self {
        Self { medium: Arc::default(), dir: tempfile::tempdir().unwrap() }
    }

    /// What a crash at this moment leaves: the disk as it is, under the same witness. What the store
    /// tries to write on its way out fails.
    pub(super) fn crash(self, store: Store) -> Self {
        let disk: Disk = self.medium.disk().clone();
        self.medium.heal();
        self.medium.script([Fault::Fail; 1000]);
        drop(store);
        Self { medium: Medium::with(disk), dir: self.dir }
    }
}

impl Place for MemoryPlace {
    fn medium(&self) -> Option<&Medium> {
        Some(&self.medium)
    }

    async fn end(self, store: Store) -> Self {
        self.crash(store)
    }

    fn start_under(&self, bounds: Bounds, clock: Clock) -> Store {
        let backend = MemoryBackend::new(Arc::clone(&self.medium));
        Store::start(Box::new(backend), &self.dir.path().join("witness"), "test", bounds, clock, ()).unwrap()
    }

    fn holds(&self) -> Vec<bool> {
        self.medium.disk().holds.values().map(|(_, orphan)| *orphan).collect()
    }

    fn set_aside(&self) -> Units {
        let disk = self.medium.disk();
        let open = disk.holds.values().filter(|(_, orphan)| !orphan);
        open.fold(Units::default(), |sum, (hold, _)| sum.checked_add(hold.units).unwrap())
    }

    fn claims(&self) -> usize {
        self.medium.disk().claims.len()
    }

    fn denials(&self) -> Vec<DenialCount> {
        self.medium.disk().denials.clone()
    }
}
