//! Stage 3: set units aside, durably, before anything is sent.

use till_core::denial::{Denial, DenialCode};
use till_core::limit::{Limits, Units};
use till_store::{Hold, HoldRefusal, Store};

use crate::authenticate::Authenticated;
use crate::facts::Facts;

/// Proof that one request may be sent: its hold is on disk.
///
/// Dropping it gives the units back as long as it is certain that nothing was sent, and spends them otherwise.
pub(crate) struct Admission {
    hold: Option<Hold>,
    maybe_sent: bool,
}

impl Admission {
    /// What is left of each limit after this request.
    pub(crate) fn remaining(&self) -> Limits {
        self.hold.as_ref().map_or_else(Limits::default, Hold::remaining)
    }

    /// Called right before the request is handed to a connection: bytes may go out at any moment from here on.
    pub(crate) fn sending(&mut self) {
        self.maybe_sent = true;
    }

    /// Called with the proof in hand that not one byte was written.
    pub(crate) fn nothing_was_sent(&mut self) {
        self.maybe_sent = false;
    }

    /// The hold of a request that was sent. Dropping the hold spends it.
    pub(crate) fn into_hold(mut self) -> Hold {
        self.hold.take().expect("an admission has its hold until it is used")
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        match self.hold.take() {
            Some(hold) if !self.maybe_sent => hold.void(),
            // A hold that is dropped is spent.
            _ => {}
        }
    }
}

/// Asks the ledger. `_facts` is demanded so that no request is admitted before it is understood.
///
/// # Errors
/// The ledger's denial, or `ledger_unavailable` when the hold could not be made durable.
pub(crate) async fn admit(store: &Store, key: &Authenticated, _facts: &Facts) -> Result<Admission, Denial> {
    take_hold(store, key).await.map(|hold| Admission { hold: Some(hold), maybe_sent: false })
}

/// A hold of one activation.
///
/// # Errors
/// As [`admit`].
pub(crate) async fn take_hold(store: &Store, key: &Authenticated) -> Result<Hold, Denial> {
    store.hold(key.key().id, Units::ONE_ACTIVATION).await.map_err(|refusal| match refusal {
        HoldRefusal::Denied(denial) => denial,
        HoldRefusal::Unavailable(error) => {
            // The client gets no file names; the store has logged the reason once for the whole batch.
            tracing::debug!(key = %key.key().id, error = %error, "hold not durable");
            Denial::new(
                DenialCode::LedgerUnavailable,
                "till could not record this request durably, so nothing was sent. Try again; if it stays, the \
                 operator finds the reason in till's log.",
            )
        }
    })
}
