//! Calls: asked for, granted or refused, ended.

use till_core::limit::Units;

use super::super::model::{add, less};
use super::super::schedule::End;
use super::{ANSWERED_AFTER, Ask, Call, World, key_id, poll};
use crate::{Hold, HoldRefusal};

impl World {
    pub(super) fn ask(&mut self, key: usize, units: Units) -> Result<(), String> {
        let store = self.store();
        let answer = Box::pin(async move { store.hold_exactly(key_id(key), units).await });
        self.asks.push(Ask { key, units, answer });
        self.answers_of_asks()
    }

    pub(super) fn burst(&mut self, key: usize, calls: u64, units: Units) -> Result<(), String> {
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

    pub(super) fn end(&mut self, call: Call, how: End) {
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
        for sums in self.model.sums(call.key, call.day) {
            sums.open = less(sums.open, held);
            sums.sent = add(sums.sent, used);
            sums.charged = add(sums.charged, used);
            sums.excess = add(sums.excess, excess);
            sums.loose = add(sums.loose, less(held, used));
        }
    }

    /// The writer runs, and everybody hears what came of it.
    pub(super) fn write(&mut self) -> Result<(), String> {
        self.process().writer.step();
        self.answers()?;
        self.check_figures()?;
        self.check_ends()
    }

    /// What is in flight ends with the time of its key.
    fn check_ends(&mut self) -> Result<(), String> {
        if self.process().writer.is_behind() {
            return Ok(());
        }
        for call in &self.calls {
            if self.model.is_over(call.key) && call.hold.ended().is_none() {
                return Err(format!("SENT: a call of key {} goes on, and its time is over", call.key));
            }
        }
        Ok(())
    }

    pub(super) fn answers(&mut self) -> Result<(), String> {
        self.answers_of_asks()?;
        let Some(change) = &mut self.change else { return Ok(()) };
        if let Some(answer) = poll(&mut change.answer) {
            let change = self.change.take().expect("just seen");
            self.changed(change.what, answer)?;
        }
        Ok(())
    }

    pub(super) fn answers_of_asks(&mut self) -> Result<(), String> {
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
    pub(super) fn asks_end(&mut self) -> Result<(), String> {
        for _ in 0..ANSWERED_AFTER {
            if self.asks.is_empty() {
                break;
            }
            self.write()?;
        }
        self.asks.clear();
        Ok(())
    }

    pub(super) fn granted(&mut self, key: usize, hold: Hold) -> Result<(), String> {
        self.tally.granted += 1;
        self.tally.drawn += u64::from(hold.is_drawn());
        if !hold.is_drawn() {
            self.model.keep_time();
        }
        let day = self.model.day();
        for sums in self.model.sums(key, day) {
            sums.open = add(sums.open, hold.units());
        }
        self.calls.push(Call { key, day, hold });
        self.model.check_grant(key)
    }

    pub(super) fn refused(
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
                self.model.left(key, units);
                Ok(())
            }
            other => Err(format!("UNAVAILABLE without a fault: {other:?}")),
        }
    }
}
