//! Stops everything, or lets it go on.

use serde_json::json;
use till_core::audit::Actor;
use till_core::ledger;
use tokio::sync::watch;

use super::Writer;
use crate::backend::Instance;
use crate::kill_switch::KillSwitch;

impl Writer {
    /// Turns the kill switch. Nothing is granted from this moment on, in this batch neither; who holds is told once it is
    /// durable. Turned on again it keeps its time, and everybody is told again.
    pub(super) fn kill_switch(&mut self, on: bool, reason: Option<String>, actor: &Actor) -> bool {
        let before = self.batch.instance.clone().unwrap_or_else(|| self.instance.clone());
        let since = before.kill_switch.as_ref().map_or(self.now, |switch| switch.since);
        let after = on.then_some(KillSwitch { since, reason });
        if before.kill_switch != after {
            let action = if on { "kill_switch.on" } else { "kill_switch.off" };
            let shown = |switch: &Option<KillSwitch>| {
                switch.as_ref().map(|is| json!({"since": is.since.to_string(), "reason": is.reason}))
            };
            let reason = after.as_ref().and_then(|switch| switch.reason.clone());
            let detail =
                json!({"reason": reason, "before": shown(&before.kill_switch), "after": shown(&after)});
            self.audit(actor, action, "instance", detail.to_string());
            self.batch.instance = Some(Instance { kill_switch: after, ..before });
        }
        self.killing = on;
        if on {
            self.recall_all();
            self.ledger.set_stopped(true);
            self.look_at_all_waiting();
        }
        true
    }

    /// Tells everybody who holds that everything is stopped.
    pub(super) fn tell_all(&mut self) {
        for live in self.live.values_mut().filter(|live| live.ended.receiver_count() > 0) {
            // Those who hold keep what they are told; those who come later listen to a new sender.
            let ended = std::mem::replace(&mut live.ended, watch::Sender::new(None));
            ended.send_if_modified(|told| {
                let is_news = told.is_none();
                told.get_or_insert_with(ledger::stopped_denial);
                is_news
            });
        }
    }
}
