//! A request asks for units: what is counted out ahead is taken back where that helps.

use std::sync::Arc;

use till_core::demand::Demand;
use till_core::denial::{Denial, DenialCode};
use till_core::key::KeyId;
use till_core::ledger::{self, AccountChain, AccountId, Verdict};
use till_core::limit::{Limits, Units};
use till_core::rate::Rates;
use till_core::time::Month;

use super::{Writer, key_of};
use crate::error::StoreError;
use crate::escrow::remaining;
use crate::hold::{Hold, HoldRefusal, Pending};
use crate::terms::KeyTerms;

/// What came of asking for a hold.
pub(super) enum HoldOutcome {
    Granted(Pending),
    Refused(HoldRefusal),
    /// It has to wait for units of this account.
    Busy(AccountId),
}

impl Writer {
    /// Sets aside what a request asks for, or says why not.
    pub(super) fn hold(
        &mut self,
        terms: &Arc<KeyTerms>,
        demand: &Demand,
        contended: bool,
    ) -> Result<HoldOutcome, StoreError> {
        let denied = |denial| Ok(HoldOutcome::Refused(HoldRefusal::Denied(denial)));
        if self.shared.is_stopping() {
            return denied(ledger::shutting_down_denial());
        }
        let key = terms.key;
        if !self.ledger.is_fenced() {
            self.ensure_loaded(key)?;
            self.ensure_month(Month::of(self.now))?;
        }
        let rates = match self.live.get(&key) {
            Some(live) if live.terms.version != terms.version && !self.ledger.is_fenced() => {
                return Ok(HoldOutcome::Refused(HoldRefusal::TermsChanged));
            }
            live => live.map_or(Rates::default(), |live| live.terms.options.rates),
        };
        let chain = if self.ledger.is_fenced() {
            AccountChain::of_key(AccountId::Key(key))
        } else {
            self.chain(key)?
        };
        let demand = &within_a_minute(demand, &rates);
        let mut asked = self.ask_ledger(chain.clone(), &rates, demand, contended);
        // What was counted out ahead is free again once it is taken back.
        if !is_whole(&asked, demand) && self.recall(key) {
            self.unask(key, &rates, &asked);
            asked = self.ask_ledger(chain.clone(), &rates, demand, contended);
        }
        if !is_whole(&asked, demand)
            && self.is_held_up_above(&asked, &chain, demand)
            && self.recall_beside(&chain)
        {
            self.unask(key, &rates, &asked);
            asked = self.ask_ledger(chain.clone(), &rates, demand, contended);
        }
        let mut grant = match asked {
            Verdict::Granted(grant) => grant,
            Verdict::Busy(account) => return Ok(HoldOutcome::Busy(account)),
            Verdict::Denied(denial) => {
                if denial.code == DenialCode::KeyExpired {
                    self.note_expiry(key);
                }
                return denied(denial);
            }
        };
        self.dirty.extend(chain.iter());
        self.batch.holds_opened.push(grant.id);
        self.count_month(self.now, grant.units.activations, 0);
        let live = self.live.get_mut(&key).expect("a loaded key is live");
        live.touched = self.number;
        let (ended, expires_at) = (live.ended.subscribe(), live.expires_at);
        if self.shared.escrows.len() > 0
            && let Some(hold) = live.terms.escrow.hold().and_then(|id| self.ledger.open_hold(id))
            // Otherwise it is counted out in windows that are over.
            && hold.accounts == chain
        {
            grant.remaining = remaining(grant.remaining, live.terms.escrow.sight().free);
        }
        if live.is_busy(self.shared.clock.instant()) {
            self.note_busy(key, grant.units);
        }
        if let Some(at) = expires_at {
            self.ends.await_end(at, key);
        }
        let hold = Hold::new(Arc::clone(&self.shared), grant, None, ended, expires_at, self.now);
        Ok(HoldOutcome::Granted(Pending::new(hold)))
    }

    /// Whether what is counted out for other keys under the same ceilings may be all that is in the way.
    fn is_held_up_above(&self, asked: &Verdict, chain: &AccountChain, demand: &Demand) -> bool {
        let by_the_key = |denial: &Denial| denial.code != DenialCode::ProjectExhausted;
        !matches!(asked, Verdict::Denied(denial) if by_the_key(denial))
            && self.ledger.is_short_above(chain, demand)
    }

    /// As if nothing had been asked.
    fn unask(&mut self, key: KeyId, rates: &Rates, asked: &Verdict) {
        let Verdict::Granted(grant) = asked else { return };
        self.ledger.void(grant.id).expect("a hold that was just taken can be given back");
        if let Some(live) = self.live.get_mut(&key) {
            live.rate.correct(rates, grant.units, Units::default(), self.shared.clock.steady());
        }
    }

    /// Asks the ledger, and the rates of the key if it has any.
    fn ask_ledger(
        &mut self,
        chain: AccountChain,
        rates: &Rates,
        demand: &Demand,
        contended: bool,
    ) -> Verdict {
        if *rates == Rates::default() {
            return self.ledger.ask(chain, demand, contended, self.now);
        }
        let key = key_of(chain.key()).expect("a chain begins with a key");
        let live = self.live.get_mut(&key).expect("a key with rates is live");
        let now = self.shared.clock.steady();
        let allow = |units, in_flight| live.rate.take(rates, key, units, in_flight, now);
        self.ledger.ask_if(chain, demand, contended, self.now, allow)
    }
}

/// Whether all was granted that was wanted.
fn is_whole(asked: &Verdict, demand: &Demand) -> bool {
    matches!(asked, Verdict::Granted(grant) if grant.steps == demand.steps_wanted)
}

/// An output cap that no minute has room for is lowered, where it may be; otherwise the request could never pass.
fn within_a_minute(demand: &Demand, rates: &Rates) -> Demand {
    if rates.tokens_per_minute.is_none() {
        return *demand;
    }
    let room = Limits { tokens: rates.tokens_per_minute, ..Limits::default() };
    Demand { steps_wanted: demand.steps_within(room).unwrap_or(demand.steps_wanted), ..*demand }
}
