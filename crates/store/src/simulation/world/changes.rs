//! What administrators change, and what the model is to expect of it.

use till_core::limit::{Limits, Units};

use super::super::model::{add, higher};
use super::{Call, Change, What, World, poll};
use crate::StoreError;
use crate::command::Action;

impl World {
    pub(super) fn change(&mut self, what: What, action: Action) -> Result<(), String> {
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
    pub(super) fn change_ends(&mut self) -> Result<(), String> {
        while self.change.is_some() {
            self.write()?;
        }
        Ok(())
    }

    pub(super) fn changed(&mut self, what: What, answer: Result<bool, StoreError>) -> Result<(), String> {
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
                model.keys[key].sums.limit_done(limits);
                None
            }
            What::Ceiling(limits) => {
                model.project.limit_done(limits);
                // Of the others some change nothing, and then nothing is written.
                model.keep_time();
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
