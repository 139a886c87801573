//! Whether the store has what the model has.

use till_core::ledger::{Account, AccountId, Balance, HoldKind};
use till_core::limit::{Dimension, Limits, Units};
use till_core::policy::{PolicyOwner, Window};
use till_core::time::Timestamp;

use super::super::model::{Sums, add, less};
use super::super::schedule::{End, KEYS};
use super::{Answer, FEW, PROJECT, Process, World, key_id, poll};
use crate::StoreError;
use crate::entity::EntityKind;

impl World {
    pub(super) fn account(&mut self, id: AccountId) -> Result<Account, String> {
        let account = self.process().writer.backend().account(id).map_err(|error| error.to_string())?;
        account.ok_or_else(|| format!("{id} has no account"))
    }

    /// What is on disk is one of what may be there.
    pub(super) fn read_states(&mut self) -> Result<(), String> {
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
    pub(super) fn check_figures(&mut self) -> Result<(), String> {
        let Process { writer, .. } = self.process.as_ref().expect("it runs");
        if writer.is_behind() {
            return Ok(());
        }
        let ledger = writer.ledger();
        let of_keys = (0..KEYS).map(|key| AccountId::Key(key_id(key)));
        let loaded = of_keys.chain(self.ceiling_ids()).filter_map(|id| Some((id, ledger.account(id)?)));
        let loaded: Vec<(AccountId, &Account)> = loaded.collect();
        let mut open = vec![(Units::default(), Units::default()); loaded.len()];
        for (_, hold) in ledger.open_holds() {
            for id in hold.accounts.iter() {
                let Some(nth) = loaded.iter().position(|(loaded, _)| *loaded == id) else { continue };
                let (held, escrowed) = &mut open[nth];
                let sum = if hold.kind == HoldKind::Call { held } else { escrowed };
                *sum = add(*sum, hold.units);
            }
        }
        for ((id, account), (held, escrowed)) in loaded.iter().zip(open) {
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
        let in_memory: Vec<_> = loaded.iter().map(|(id, account)| (*id, *account.balances())).collect();
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
        for (id, balances) in in_memory {
            let on_disk = self.account(id)?;
            if *on_disk.balances() != balances {
                return Err(format!("DISK: {id} is {:?}, in memory {balances:?}", on_disk.balances()));
            }
        }
        Ok(())
    }

    /// Everything comes to rest; then the store says what the model says, to the unit.
    pub(super) fn compare(&mut self) -> Result<(), String> {
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
        let mut all = Units::default();
        for key in 0..KEYS {
            let id = AccountId::Key(key_id(key));
            let (used, undrawn) = (self.account(id)?.used(), self.process().writer.undrawn(id));
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
            let id = self.ceiling;
            let (used, undrawn) = (self.account(id)?.used(), self.process().writer.undrawn(id));
            if used != add(all, undrawn) {
                return Err(format!("EXACTLY: the ceiling has {used:?}, its keys {all:?} and {undrawn:?}"));
            }
        }
        self.compare_days()
    }

    /// The accounts of all keys together.
    fn ceiling_ids(&self) -> impl Iterator<Item = AccountId> {
        let days = self.model.days.begun.keys().filter(|_| self.daily != Limits::default());
        let days = days.map(|day| ceiling_of(Window::Day, *day));
        std::iter::once(self.ceiling).chain(days)
    }

    /// Each day has what was granted in it.
    fn compare_days(&mut self) -> Result<(), String> {
        self.model.days.rest();
        for (day, used) in self.used_by_day()? {
            let undrawn = self.process().writer.undrawn(ceiling_of(Window::Day, day)).activations;
            let sums = self.model.days.of(day);
            let expected = sums.charged.activations + sums.open.activations;
            if used != expected + undrawn {
                return Err(format!(
                    "EXACTLY: day {day} has {used} activations, of which {undrawn} are not drawn, instead of {expected}"
                ));
            }
        }
        Ok(())
    }

    /// Activations that are counted in days, where there is a ceiling per day.
    pub(super) fn used_by_day(&mut self) -> Result<Vec<(u64, u64)>, String> {
        if self.daily == Limits::default() {
            return Ok(Vec::new());
        }
        let days: Vec<u64> = self.model.days.begun.keys().copied().collect();
        let used = |day: u64| {
            let account = self.process().writer.backend().account(ceiling_of(Window::Day, day));
            let account = account.map_err(|error| error.to_string())?;
            Ok((day, account.map_or(0, |account| account.used().activations)))
        };
        days.into_iter().map(used).collect()
    }

    /// In the end every key that lives can use exactly what is left.
    pub(super) fn exhaust(&mut self) -> Result<(), String> {
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
    pub(super) fn left(&self, key: usize) -> Option<u64> {
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
        let today = self.model.days.begun.get(&self.model.day());
        let today = today.map_or(self.daily.activations, left);
        let (own, shared) = (left(&self.model.keys[key].sums), left(&self.model.project));
        own.into_iter().chain(shared).chain(today).min()
    }
}

/// The account of all keys in a window of time.
pub(super) fn ceiling_of(window: Window, day: u64) -> AccountId {
    window.account(PolicyOwner::Project, PROJECT, Timestamp::of_day(day))
}
