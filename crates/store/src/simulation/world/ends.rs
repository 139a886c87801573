//! Ends of the process: crashes, of which a part of a write may be on disk, and clean stops.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use till_core::ledger::AccountId;
use till_core::limit::Units;

use super::super::model::{Model, Sums, add};
use super::super::schedule::KEYS;
use super::{Disk, World, key_id};
use crate::memory::{self, Fault};
use crate::sqlite::FILE_NAME;

impl World {
    /// The process dies: between two writes, or in one, of which a part is on disk.
    pub(super) fn crash(&mut self, part: Option<u64>) -> Result<(), String> {
        self.tally.crashes += 1;
        let image = match &self.disk {
            Disk::Memory(medium) => {
                let medium = Arc::clone(medium);
                if let Some(part) = part {
                    medium.heal();
                    medium.script([if part % 2 == 0 { Fault::WriteAndFail } else { Fault::Fail }]);
                    self.process().writer.step();
                }
                Image::Memory(Box::new(medium.crashed(planted!(UnsyncedWrite))))
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
        let today = self.model.day();
        self.start();
        self.time_after_crash()?;
        self.read_states()?;
        self.days_after_crash(today, asked.into_iter().fold(Units::default(), add))?;
        for (key, asked) in asked.iter().enumerate() {
            let used = self.account(AccountId::Key(key_id(key)))?.used();
            self.model.keys[key].sums.crashed(&format!("key {key}"), used, *asked)?;
        }
        self.sum_up();
        Ok(())
    }

    /// How late it was may be forgotten, if the clock was set back, but not if anything durable was answered then.
    fn time_after_crash(&mut self) -> Result<(), String> {
        let (now, model) = (self.store().now().0, &mut self.model);
        let least = model.kept.max(self.time.wall());
        if now < least || now > model.latest {
            return Err(format!("CLOCK: it is {now} after a crash, and was {least} to {}", model.latest));
        }
        model.now = now;
        Ok(())
    }

    /// `asked` may have been granted on the day of the crash.
    fn days_after_crash(&mut self, today: u64, asked: Units) -> Result<(), String> {
        self.model.days.of(today);
        for (day, used) in self.used_by_day()? {
            let sums = self.model.days.of(day);
            // Nothing else is counted per day.
            let used = Units { activations: used, ..add(sums.charged, sums.open) };
            let asked = if day == today { asked } else { Units::default() };
            sums.crashed(&format!("day {day}"), used, asked)?;
        }
        self.model.days.rest();
        Ok(())
    }

    /// A stop that writes everything, and a start.
    pub(super) fn restart(&mut self) -> Result<(), String> {
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
            of.sums.stopped();
            let id = AccountId::Key(key_id(key));
            let writer = &mut self.process.as_mut().expect("just started").writer;
            let used = writer.backend().account(id).unwrap().expect("it was made").used();
            if used != of.sums.charged {
                return Err(format!("RESTARTED: key {key} has {used:?} instead of {:?}", of.sums.charged));
            }
        }
        for (day, used) in self.used_by_day()? {
            let sums = self.model.days.of(day);
            sums.stopped();
            if used != sums.charged.activations {
                let charged = sums.charged.activations;
                return Err(format!("RESTARTED: day {day} has {used} activations instead of {charged}"));
            }
        }
        self.sum_up();
        Ok(())
    }

    /// What all keys come to.
    pub(super) fn sum_up(&mut self) {
        let Model { keys, project, .. } = &mut self.model;
        let sum = |of: fn(&Sums) -> Units| keys.iter().map(|key| of(&key.sums)).fold(Units::default(), add);
        (project.sent, project.charged) = (sum(|sums| sums.sent), sum(|sums| sums.charged));
        (project.open, project.excess) = (Units::default(), Units::default());
        project.rest();
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
