//! What a call used, where nothing waits for it: it is read when its end is written.
//!
//! To read it takes code and tables of its own. Done for hundreds of calls in a row they stay in the processor's caches, and
//! the threads that serve calls keep theirs.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use till_core::limit::Units;

use crate::command::Closing;
use crate::usage_record::UsageRecord;

/// Completes the record of a call and tells what it used.
pub(crate) struct Figures(Box<dyn FnOnce(&mut UsageRecord) -> Units + Send>);

impl Figures {
    pub(crate) fn new(read: impl FnOnce(&mut UsageRecord) -> Units + Send + 'static) -> Self {
        Self(Box::new(read))
    }
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}

impl Closing {
    /// Reads what was left to be read.
    pub(crate) fn read(&mut self) {
        let Some(Figures(read)) = self.figures.take() else { return };
        let Some(record) = self.record.as_mut().and_then(Arc::get_mut) else { return };
        // What a provider sent must not stop the writer, whatever is wrong with whoever reads it.
        match catch_unwind(AssertUnwindSafe(|| read(record))) {
            Ok(used) => {
                self.used = used;
                record.charged = used;
            }
            Err(_) => tracing::error!(request = record.request_id, "what a call used could not be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use till_core::key::KeyId;
    use till_core::ledger::HoldId;
    use till_core::limit::Units;

    use super::Figures;
    use crate::command::Closing;
    use crate::conformance::usage;
    use crate::usage_record::UsageRecord;

    fn closing(read: impl FnOnce(&mut UsageRecord) -> Units + Send + 'static) -> Closing {
        let record = UsageRecord { charged: Units::ONE_ACTIVATION, ..usage::record(KeyId([1; 16]), "1") };
        Closing {
            id: HoldId { incarnation: 1, number: 1 },
            part: None,
            used: Units::ONE_ACTIVATION,
            record: Some(Arc::new(record)),
            figures: Some(Figures::new(read)),
            ended: None,
        }
    }

    #[test]
    fn figures_are_read_once_and_a_panic_leaves_what_was_set_aside() {
        let used = Units { tokens: 7, ..Units::ONE_ACTIVATION };
        let mut good = closing(move |record| {
            record.latency_ms += 1;
            used
        });
        let before = good.record.as_ref().expect("it has one").latency_ms;
        good.read();
        good.read();
        let record = good.record.expect("it has one");
        assert_eq!((good.used, record.charged, record.latency_ms), (used, used, before + 1));

        let mut bad = closing(|_| panic!("on purpose"));
        bad.read();
        let record = bad.record.expect("it has one");
        assert_eq!((bad.used, record.charged), (Units::ONE_ACTIVATION, Units::ONE_ACTIVATION));
    }
}
