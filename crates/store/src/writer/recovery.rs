//! After a write that failed: nobody is promised anything, and memory is read from disk again.
//!
//! Whether the failed transaction is on disk is unknown. If it is, its holds are open there although
//! their callers were refused: each refused hold voids itself, which closes it if it is there and does
//! nothing if it is not. Ends of holds are kept and done again by id, which is idempotent as well.

use std::time::Instant;

use super::{Answer, RETRY_WAIT, Writer};
use crate::answer::Others;
use crate::audit_log::LogState;
use crate::command::Command;
use crate::error::StoreError;
use crate::hold::HoldRefusal;
use crate::start::{contradiction, load};
use crate::stats::count;

impl Writer {
    /// Tells everybody in the batch that it failed.
    pub(super) fn fail(&mut self, error: &StoreError) {
        tracing::error!(%error, "a batch could not be written; nothing of it was granted");
        count(&self.shared.counters.commit_failures, 1);
        self.stale = true;
        self.ledger.forget_all();
        self.evictions += 1;
        self.policies.clear();
        self.shut_escrows();
        self.months.clear();
        self.dirty.clear();
        self.dirty_months.clear();
        if planted!(LostSettle) {
            self.closings.clear();
        }
        // Those that wait for them come behind them.
        self.retry.splice(0..0, self.closings.drain(..));
        self.retry_due = Some(Instant::now() + RETRY_WAIT);
        self.shared.denials.put_back(&mut self.batch.denials);
        self.shared.denied_records.put_back(&mut self.denied);
        self.credentials_fail();
        self.batch.clear();
        self.ending.clear();
        self.overrun.clear();
        self.revived.clear();
        self.killing = false;
        self.undo_new_beginnings();
        self.ends.fail();
        for key in self.renewed.drain(..) {
            // What was written of a change is unknown: nobody acts on either terms before they are read again.
            self.shared.terms.remove(key);
            self.unsure.insert(key);
        }
        for answer in self.answers.drain(..) {
            match answer {
                Answer::Granted(reply, pending) if planted!(GrantOfFailedWrite) => {
                    reply.send(Ok(pending), Others::default());
                }
                Answer::Granted(reply, _) | Answer::Denied(reply, _) | Answer::Refused(reply, _) => {
                    reply.send(Err(HoldRefusal::Unavailable(error.clone())), Others::default());
                }
                Answer::Terms(reply, _) => drop(reply.send(Err(error.clone()))),
                Answer::Done(reply, _) => drop(reply.send(Err(error.clone()))),
                Answer::Exact(reply, _) => drop(reply.send(Err(error.clone()))),
            }
        }
        for (_, reply, _) in self.readers.drain(..) {
            let _ = reply.send(Err(error.clone()));
        }
    }

    /// Refuses what can't even be looked at, and keeps what nobody waits for.
    pub(super) fn refuse_all(&mut self, commands: &mut Vec<Command>, error: &StoreError) {
        for command in commands.drain(..) {
            match command {
                Command::Hold { reply, .. } => {
                    reply.send(Err(HoldRefusal::Unavailable(error.clone())), Others::default());
                }
                Command::Terms { reply, .. } => drop(reply.send(Err(error.clone()))),
                Command::Close(closing) => self.retry.push(closing),
                Command::Exact { reply, .. } => drop(reply.send(Err(error.clone()))),
                Command::Administer { reply, .. } | Command::Probe { reply } | Command::Seen { reply } => {
                    drop(reply.send(Err(error.clone())))
                }
                // What ended is kept where it is, and when something was used is not worth waiting for.
                Command::Extend(_) | Command::Drain(_) | Command::Used { .. } => {}
                Command::Stop { reply } => {
                    self.stop.push(reply);
                    self.shared.queue.close();
                }
            }
        }
        self.denials_due = None;
        self.retry_due = Some(Instant::now() + RETRY_WAIT);
    }

    /// Makes memory equal to disk again after a failed write.
    pub(super) fn recover(&mut self) -> Result<(), StoreError> {
        if !self.stale {
            return Ok(());
        }
        self.ledger.forget_all();
        self.backend.reopen()?;
        let instance = self.backend.instance()?.ok_or_else(contradiction)?;
        self.head = self.backend.audit_head()?;
        self.witness.see_log(self.head);
        let log = LogState::read(self.backend.as_mut())?;
        self.log.reload(log);
        for (id, hold) in self.backend.open_holds()? {
            for account in hold.accounts.iter() {
                if self.ledger.account(account).is_none() {
                    load(self.backend.as_mut(), &mut self.ledger, account)?;
                }
            }
            if !self.ledger.restore_hold(id, hold) {
                return Err(contradiction());
            }
        }
        self.credentials_recover()?;
        self.adopt(instance);
        self.look_at_all_waiting();
        self.stale = false;
        tracing::info!("the store works again");
        Ok(())
    }
}
