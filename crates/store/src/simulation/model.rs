//! What was promised, in the simplest form: sums of what was sent, and what is known of limits and states.
//!
//! After an administrative action whose write failed nobody knows whether it happened: until the store is read again both
//! are possible ([`Known`]), and a grant must be right under one of them.

use till_core::denial::DenialCode;
use till_core::limit::{Dimension, Limits, Units};
use till_core::time::Timestamp;

use super::days::Days;
use super::schedule::KEYS;

/// So much of the time, in milliseconds, may be forgotten in a crash under a clock that was set back.
const TIME_LOST_MAX: u64 = 1_000;

/// What something is: one possibility, or several while an answer is outstanding.
#[derive(Clone, Debug)]
pub(super) struct Known<T>(pub(super) Vec<T>);

impl<T: Copy + PartialEq + std::fmt::Debug> Known<T> {
    pub(super) fn surely(&self, is: T) -> bool {
        self.0.iter().all(|one| *one == is)
    }

    pub(super) fn maybe(&self, is: T) -> bool {
        self.0.contains(&is)
    }

    /// It was asked for.
    pub(super) fn asked(&mut self, new: T) {
        self.0.push(new);
    }

    /// It is durable.
    pub(super) fn done(&mut self, new: T) {
        self.0 = vec![new];
    }

    /// It was read from disk.
    pub(super) fn read(&mut self, what: &str, is: T) -> Result<(), String> {
        if !self.maybe(is) {
            return Err(format!("{what} is {is:?} on disk, and nobody asked for other than {:?}", self.0));
        }
        self.done(is);
        Ok(())
    }
}

/// A key, or all of them together under their ceiling.
#[derive(Clone, Debug)]
pub(super) struct Sums {
    pub(super) limits: Known<Limits>,
    /// What providers were asked for by calls that ended.
    pub(super) sent: Units,
    /// What the store has to say of them: `sent`, and what crashes burnt.
    pub(super) charged: Units,
    /// Used beyond what was held, and reported since the writer last ran.
    pub(super) excess: Units,
    /// What the store may count as used although it comes back: not durable yet when the last write was known to be.
    pub(super) loose: Units,
    /// The highest limits since then: a hundredth of them may be counted out ahead.
    pub(super) highest: Limits,
    /// What calls in flight hold.
    pub(super) open: Units,
    /// More was used or held than a limit allows, by a provider that did not keep to its bound or because the limit was
    /// lowered: an account may stay stopped then until its limit is changed, also when something comes back.
    pub(super) is_broken: bool,
    /// So it is below the limit that was asked for last.
    pub(super) will_be_broken: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) sums: Sums,
    pub(super) revoked: Known<bool>,
    pub(super) paused: Known<bool>,
    pub(super) expires: Option<u64>,
    /// Somebody was told that its time is over.
    pub(super) is_over: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) keys: [Key; KEYS],
    /// All keys together.
    pub(super) project: Sums,
    /// … and in each day, where they have a ceiling per day.
    pub(super) days: Days,
    pub(super) stopped: Known<bool>,
    /// How late it was at most, and what time it is for this process.
    pub(super) latest: u64,
    pub(super) now: u64,
    /// How late it was when something was last answered that is durable: no crash forgets that.
    pub(super) kept: u64,
    /// A write may have failed since everything was last at rest.
    pub(super) has_faults: bool,
}

pub(super) fn add(sum: Units, more: Units) -> Units {
    sum.checked_add(more).expect("small amounts")
}

pub(super) fn less(from: Units, what: Units) -> Units {
    from.zip(what, u64::saturating_sub)
}

fn loosest(limits: &Known<Limits>, dimension: Dimension) -> u64 {
    limits.0.iter().map(|limits| limits.of(dimension).unwrap_or(u64::MAX)).max().expect("one at least")
}

fn strictest(limits: &Known<Limits>, dimension: Dimension) -> u64 {
    limits.0.iter().map(|limits| limits.of(dimension).unwrap_or(u64::MAX)).min().expect("one at least")
}

pub(super) fn higher(one: Limits, other: Limits) -> Limits {
    let max = |dimension: Dimension| one.of(dimension).max(other.of(dimension));
    Limits {
        activations: max(Dimension::Activations),
        tokens: max(Dimension::Tokens),
        spend_nanos: max(Dimension::Spend),
    }
}

impl Sums {
    pub(super) fn new(limits: Limits) -> Self {
        let none = Units::default();
        Self {
            limits: Known(vec![limits]),
            sent: none,
            charged: none,
            excess: none,
            loose: none,
            highest: limits,
            open: none,
            is_broken: false,
            will_be_broken: false,
        }
    }

    /// Never over: what was sent, with this call, is within the limit.
    fn check_grant(&self, what: impl Fn() -> String) -> Result<(), String> {
        let sent = add(self.sent, self.open);
        for dimension in Dimension::ALL {
            let (sent, limit) = (sent.of(dimension), loosest(&self.limits, dimension));
            if sent > limit {
                return Err(format!(
                    "OVER: {sent} {} of {} sent under a limit of {limit}",
                    dimension.as_str(),
                    what()
                ));
            }
        }
        Ok(())
    }

    /// Exactly N: a call is refused only where it has no room, with what may come back.
    fn has_room(&self, units: Units, asked: Units, dimension: Dimension) -> bool {
        if self.is_broken {
            return false;
        }
        let all = [self.charged, self.open, self.excess, self.loose, asked, units];
        let limit = strictest(&self.limits, dimension);
        let all = all.into_iter().fold(Units::default(), add).of(dimension);
        // Nothing passes any more once a limit is reached, whatever the call would need of it.
        all <= limit && all - units.of(dimension) < limit
    }

    /// Another limit was asked for.
    pub(super) fn limit_asked(&mut self, limits: Limits, asked: Units) {
        self.limits.asked(limits);
        let all =
            [self.charged, self.open, self.excess, self.loose, asked].into_iter().fold(Units::default(), add);
        let is_below = |dimension: Dimension| all.of(dimension) > strictest(&self.limits, dimension);
        self.will_be_broken = Dimension::ALL.into_iter().any(is_below);
        // The limit that was broken stays until the other one is known to be there.
        self.is_broken |= self.will_be_broken;
    }

    /// … and was set.
    pub(super) fn limit_done(&mut self, limits: Limits) {
        self.limits.done(limits);
        self.is_broken = self.will_be_broken;
    }

    /// Everything is at rest and known.
    pub(super) fn rest(&mut self) {
        (self.loose, self.highest) = (Units::default(), self.limits.0[0]);
    }

    /// Nobody can say any more what became of calls in flight.
    pub(super) fn stopped(&mut self) {
        self.sent = add(self.sent, self.open);
        self.charged = add(self.charged, self.open);
        self.open = Units::default();
    }

    /// What a crash left, as the next start has it: nothing is lost, and what is burnt is bounded.
    pub(super) fn crashed(&mut self, what: &str, used: Units, asked: Units) -> Result<(), String> {
        self.sent = add(self.sent, self.open);
        let expected = add(self.charged, self.open);
        for dimension in Dimension::ALL {
            let (used, sent) = (used.of(dimension), self.sent.of(dimension));
            if used < sent {
                return Err(format!(
                    "LOST: {used} {} of {what} counted after a crash, {sent} were sent",
                    dimension.as_str()
                ));
            }
            let ahead = self.highest.of(dimension).unwrap_or(u64::MAX) / 100;
            // What exceeded a hold may be on disk, although nobody was told.
            let most = [self.loose.of(dimension), asked.of(dimension), self.excess.of(dimension), ahead];
            let most = most.into_iter().fold(expected.of(dimension), u64::saturating_add);
            if used > most {
                return Err(format!(
                    "BURNT: {used} {} of {what} counted after a crash, at most {most} may be",
                    dimension.as_str()
                ));
            }
        }
        (self.charged, self.open, self.excess) = (used, Units::default(), Units::default());
        (self.loose, self.highest) = (Units::default(), self.limits.0[0]);
        Ok(())
    }
}

impl Model {
    /// The day that it is.
    pub(super) fn day(&self) -> u64 {
        Timestamp(self.now).day()
    }

    /// Something was answered that is durable, and with it how late it was.
    pub(super) fn keep_time(&mut self) {
        self.kept = self.kept.max(self.now.saturating_sub(TIME_LOST_MAX));
    }

    /// Whether the time of a key is over.
    pub(super) fn is_over(&self, key: usize) -> bool {
        let of = &self.keys[key];
        of.is_over || of.expires.is_some_and(|end| end <= self.now)
    }

    /// A call was granted. `open` of the sums has it already.
    pub(super) fn check_grant(&mut self, key: usize) -> Result<(), String> {
        let day = self.day();
        self.days.of(day).check_grant(|| format!("day {day}"))?;
        let of = &self.keys[key];
        of.sums.check_grant(|| format!("key {key}"))?;
        self.project.check_grant(|| "the project".into())?;
        let no = |why: &str| Err(format!("SENT: a call of key {key} was granted, and {why}"));
        if of.revoked.surely(true) {
            return no("it is revoked");
        }
        if of.paused.surely(true) {
            return no("it is paused");
        }
        if self.stopped.surely(true) {
            return no("everything is stopped");
        }
        if self.is_over(key) {
            return no("its time is over");
        }
        Ok(())
    }

    /// A call was refused. `asked` is what others that have no answer yet may have been given.
    pub(super) fn check_denial(
        &mut self,
        key: usize,
        units: Units,
        code: DenialCode,
        asked: (Units, Units),
    ) -> Result<(), String> {
        let day = self.day();
        let of = &mut self.keys[key];
        let has_room = |dimension| of.sums.has_room(units, asked.0, dimension);
        let is_right = match code {
            DenialCode::KeyRevoked => of.revoked.maybe(true),
            DenialCode::KeyPaused => of.paused.maybe(true),
            DenialCode::InstanceStopped => self.stopped.maybe(true),
            DenialCode::KeyExpired => of.expires.is_some_and(|end| end <= self.latest),
            DenialCode::ActivationsExhausted => !has_room(Dimension::Activations),
            DenialCode::TokensExhausted => !has_room(Dimension::Tokens),
            DenialCode::SpendExhausted => !has_room(Dimension::Spend),
            DenialCode::ProjectExhausted => {
                let has_room = |sums: &Sums| sums.has_room(units, asked.1, Dimension::Activations);
                !has_room(&self.project) || !has_room(self.days.of(day))
            }
            DenialCode::BudgetBusy => {
                let all = [of.sums.open, of.sums.loose, self.project.open, self.project.loose, asked.1];
                all.into_iter().any(|units| units != Units::default())
            }
            _ => false,
        };
        of.is_over |= code == DenialCode::KeyExpired;
        if is_right {
            return Ok(());
        }
        Err(format!(
            "REFUSED: key {key} by {code:?}, and there is no reason: {:?}, {:?}, {:?}, asked {asked:?}",
            self.keys[key].sums, self.project, self.days
        ))
    }

    /// What was used beyond a hold and reported counts once the writer has run, where there is a limit on it; where there
    /// is none, once somebody wants to know.
    pub(super) fn count_excess(&mut self, is_asked: bool) {
        for key in &mut self.keys {
            let counts = |dimension| {
                let is_limited = |sums: &Sums| loosest(&sums.limits, dimension) < u64::MAX;
                is_asked || is_limited(&key.sums) || is_limited(&self.project)
            };
            let of = |dimension| if counts(dimension) { key.sums.excess.of(dimension) } else { 0 };
            let excess =
                Units { activations: 0, tokens: of(Dimension::Tokens), spend_nanos: of(Dimension::Spend) };
            for sums in [&mut key.sums, &mut self.project] {
                let is_broken = excess != Units::default();
                sums.is_broken |= is_broken;
                sums.will_be_broken |= is_broken;
                sums.excess = less(sums.excess, excess);
                sums.sent = add(sums.sent, excess);
                sums.charged = add(sums.charged, excess);
            }
        }
    }

    /// The sums that a call of the key counts in, if it was granted on this day.
    pub(super) fn sums(&mut self, key: usize, day: u64) -> [&mut Sums; 3] {
        [&mut self.keys[key].sums, &mut self.project, self.days.of(day)]
    }

    /// A call of the key left before it had an answer: what it was given comes back.
    pub(super) fn left(&mut self, key: usize, units: Units) {
        for sums in [&mut self.keys[key].sums, &mut self.project] {
            sums.loose = add(sums.loose, units);
        }
        self.days.left(units);
    }
}
