//! The ends of holds: what was used replaces what was set aside, and more than that is an alarm.

use serde_json::json;
use till_core::audit::Actor;
use till_core::ledger::{AccountId, Closed, HoldId};
use till_core::limit::Dimension;
use till_core::rate::Rates;
use till_core::time::Month;

use super::{Writer, key_of, units_json};
use crate::command::Closing;
use crate::stats::count;
use crate::usage_record::hold_name;

impl Writer {
    /// Ends a hold; one that is not open any more is left alone.
    pub(super) fn close(&mut self, mut closing: Closing) {
        closing.read();
        crate::failpoint!("close.begin");
        let Some(at) = self.ledger.open_hold(closing.id).map(|hold| hold.at) else {
            return;
        };
        // A call that was granted out of an escrow counts when it ends.
        let (at, counted) = if closing.part.is_some() { (self.now, 0) } else { (at, 1) };
        if self.waits_for_others(&closing) || self.ensure_month(Month::of(at)).is_err() {
            self.retry.push(closing);
            return;
        }
        let settled = match closing.part {
            None => self.ledger.settle(closing.id, closing.used),
            Some(part) => self.ledger.escrow_settle(closing.id, part.nth, part.units, closing.used),
        };
        match settled {
            Ok(Some(closed)) => {
                let counted = counted * closed.hold.units.activations;
                self.count_month(at, closing.used.activations, counted);
                self.closed(closing, &closed);
            }
            Ok(None) => {}
            // The hold stays open and becomes an orphan, which is spent.
            Err(error) => tracing::error!(%error, hold = ?closing.id, "a settle could not be counted"),
        }
    }

    /// Whether parts of the same escrow have to be settled before this one: they could not be, or a write that had them failed.
    fn waits_for_others(&self, closing: &Closing) -> bool {
        closing.part.is_some() && self.retry.iter().any(|earlier| earlier.id == closing.id)
    }

    /// Ends calls that were granted out of one escrow, in this order: all at once where that comes to the same.
    pub(super) fn close_parts(&mut self, id: HoldId, mut closings: Vec<Closing>) {
        if closings.first().is_some_and(|first| self.waits_for_others(first)) {
            self.retry.append(&mut closings);
            return;
        }
        closings.iter_mut().for_each(Closing::read);
        if !self.settle_parts(id, &closings) {
            for closing in closings {
                self.close(closing);
            }
            return;
        }
        let Some(hold) = self.ledger.open_hold(id) else { return };
        let accounts = hold.accounts.clone();
        for account in accounts.iter() {
            self.ledger.rest(account, self.now);
        }
        self.forget_end(accounts.key());
        self.dirty.extend(accounts.iter());
        self.note_changed(&accounts);
        self.batch.hold_changed(id);
        self.batch.usage.extend(closings.iter().filter_map(|closing| closing.record.clone()));
        crate::failpoint!("close.parts");
        self.closings.append(&mut closings);
    }

    /// Whether the ledger could settle them together. None of them was an alarm then.
    fn settle_parts(&mut self, id: HoldId, closings: &[Closing]) -> bool {
        let Some(first) = closings.first().and_then(|closing| closing.part) else { return false };
        let key = self.ledger.open_hold(id).and_then(|hold| key_of(hold.accounts.key()));
        let live = key.and_then(|key| self.live.get(&key));
        let has_rates = live.is_some_and(|live| live.terms.options.rates != Rates::default());
        // What was taken from rates is corrected call by call.
        if has_rates || self.ensure_month(Month::of(self.now)).is_err() {
            return false;
        }
        let parts = closings.iter().filter_map(|closing| Some((closing.part?.units, closing.used)));
        let is_settled = self.ledger.escrow_settle_all(id, first.nth, parts);
        if is_settled {
            let activations = closings.iter().map(|closing| closing.used.activations);
            self.count_month(self.now, activations.fold(0, u64::saturating_add), 0);
        }
        is_settled
    }

    fn closed(&mut self, closing: Closing, closed: &Closed) {
        for account in closed.hold.accounts.iter() {
            self.ledger.rest(account, self.now);
        }
        self.forget_end(closed.hold.accounts.key());
        self.correct_rates(&closing, closed);
        self.dirty.extend(closed.hold.accounts.iter());
        self.note_changed(&closed.hold.accounts);
        if closing.part.is_some() {
            self.batch.hold_changed(closing.id);
        } else {
            self.batch.holds_closed.push(closing.id);
        }
        self.batch.usage.extend(closing.record.clone());
        self.report_excess(&closing, closed);
        self.closings.push(closing);
    }

    /// What was taken from the rates of a key was an estimate.
    fn correct_rates(&mut self, closing: &Closing, closed: &Closed) {
        let live = key_of(closed.hold.accounts.key()).and_then(|key| self.live.get_mut(&key));
        let Some(live) = live.filter(|live| live.terms.options.rates != Rates::default()) else { return };
        let (rates, now) = (live.terms.options.rates, self.shared.clock.steady());
        live.rate.correct(&rates, closed.hold.units, closing.used, now);
    }

    /// Nobody has to be told of the end of a key that has no hold any more.
    pub(super) fn forget_end(&mut self, account: AccountId) {
        if !self.ends.is_empty()
            && let Some(key) = key_of(account)
            && let Some(at) = self.live.get(&key).and_then(|live| live.expires_at)
            && !self.ledger.is_pinned(account)
        {
            self.ends.forget(at, key);
        }
    }

    /// A provider that did not keep to a bound is an alarm: what it used is charged in full, and an account whose
    /// limit is broken by it is stopped.
    fn report_excess(&mut self, closing: &Closing, closed: &Closed) {
        let (held, used) = (closed.hold.units, closing.used);
        let is_limited = |dimension: Dimension| {
            let mut accounts = closed.hold.accounts.iter().filter_map(|id| self.ledger.account(id));
            accounts.any(|account| account.limits().of(dimension).is_some())
        };
        let exceeds = |dimension: &Dimension| used.of(*dimension) > held.of(*dimension);
        let mut exceeded: Vec<&str> = Vec::new();
        for dimension in Dimension::ALL.into_iter().filter(exceeds).filter(|one| is_limited(*one)) {
            exceeded.push(dimension.as_str());
        }
        if exceeded.is_empty() {
            return;
        }
        let key = closed.hold.accounts.key();
        let live = key_of(key).and_then(|key| self.live.get(&key));
        let detail = json!({
            "project": live.map(|live| &live.place.project),
            "hold": hold_name(closing.id),
            "request": closing.record.as_ref().map(|record| &record.request_id),
            "exceeded": exceeded,
            "held": units_json(held),
            "used": units_json(used),
        })
        .to_string();
        // Nothing bounded a request that neither tokens nor money were held for: its key allows that, or had no limit and
        // no ceiling in them when it was let through.
        let was_bounded = held.tokens > 0 || held.spend_nanos > 0;
        if was_bounded {
            count(&self.shared.counters.holds_exceeded, 1);
            tracing::error!(%key, %detail, "more was used than the provider was allowed to");
            self.audit(&Actor::system(), "hold.exceeded", &key.to_string(), detail.clone());
        }
        self.overrun.extend(&closed.overrun);
        for account in &closed.overrun {
            count(&self.shared.counters.overruns, 1);
            let account = self.ceiling_names.get(account).cloned().unwrap_or_else(|| account.to_string());
            tracing::error!(%account, %detail, "more was used than a limit allows; what depends on it is stopped");
            self.audit(&Actor::system(), "ledger.overrun", &account, detail.clone());
        }
    }
}
