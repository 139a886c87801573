//! Bugs that a test switches on, to see that the simulation finds them.

use std::cell::Cell;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plant {
    /// Units that are counted out are drawn twice.
    DoubleSpend,
    /// Ends of calls that a failed write had are not written again.
    LostSettle,
    /// Who hangs up pays nothing.
    RefundOnHangUp,
    /// An answer goes out before its write is synced.
    UnsyncedWrite,
    /// A revocation leaves what is counted out for the key.
    RevocationMissesEscrow,
    /// A crash forgets what is counted out.
    EscrowForgotten,
    /// A hold is granted although its write failed.
    GrantOfFailedWrite,
    /// A lowered limit leaves what is counted out under the old one.
    LimitMissesEscrow,
    /// A start does not look how late it was.
    TimeForgotten,
    /// How late it is becomes durable by a stop alone.
    TimeNotKept,
    /// The clock of the system counts, also when it was set back.
    ClockSetBack,
    /// A window of time begins anew when its account is read from disk.
    WindowForgotten,
}

impl Plant {
    pub(super) const ALL: [Self; 12] = [
        Self::DoubleSpend,
        Self::LostSettle,
        Self::RefundOnHangUp,
        Self::UnsyncedWrite,
        Self::RevocationMissesEscrow,
        Self::EscrowForgotten,
        Self::GrantOfFailedWrite,
        Self::LimitMissesEscrow,
        Self::TimeForgotten,
        Self::TimeNotKept,
        Self::ClockSetBack,
        Self::WindowForgotten,
    ];
}

thread_local! {
    static PLANTED: Cell<Option<Plant>> = const { Cell::new(None) };
}

/// Switches one on for this thread, or all off.
pub(super) fn plant(bug: Option<Plant>) {
    PLANTED.set(bug);
}

/// The one that is on.
pub(super) fn planted() -> Option<Plant> {
    PLANTED.get()
}

/// Whether this one is on.
pub(crate) fn is_planted(bug: Plant) -> bool {
    PLANTED.get() == Some(bug)
}
