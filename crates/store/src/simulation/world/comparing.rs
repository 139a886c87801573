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
        let (own, shared) = (left(&self.model.keys[key].sums), left(&self.model.project));
        own.into_iter().chain(shared).min()
    }
}
