//! What the developer reads whose agent was refused: which key, which limit, how much, what to do.
//!
//! The texts never say that something happens too often: some clients wait and repeat on such words.

use super::account::AccountId;
use super::balance::Balance;
use crate::denial::{Denial, DenialCode};
use crate::limit::Dimension;
use crate::money::Dollars;
use crate::time::Timestamp;

const ASK_FOR_LESS: &str =
    "Send a shorter input or a lower output cap, or ask whoever minted it for a new key or a higher limit.";

const ASK_FOR_MORE: &str = "Ask whoever minted it for a new key or a higher limit.";

pub(super) fn fenced() -> Denial {
    Denial::new(
        DenialCode::KeyFenced,
        "All keys of this till instance are stopped: its data may have been put back from an older copy, so what was \
         used since then is not known. Whoever runs this instance has to check that and accept it.",
    )
}

pub(super) fn stopped() -> Denial {
    Denial::new(
        DenialCode::InstanceStopped,
        "All keys of this till instance are stopped by whoever runs it. Nothing passes until they let it go on. Ask them.",
    )
}

pub(super) fn out_of_numbers() -> Denial {
    Denial::new(
        DenialCode::LedgerUnavailable,
        "This till instance has to be restarted before it can grant more requests.",
    )
}

pub(super) fn unknown(key: AccountId) -> Denial {
    Denial::new(
        DenialCode::InvalidKey,
        format!("This scoped key ({key}) does not exist here. Ask whoever minted it for a new key."),
    )
}

pub(super) fn revoked(key: AccountId, account: AccountId) -> Denial {
    let message = if key == account {
        format!("This scoped key ({key}) was revoked. Ask whoever minted it for a new key.")
    } else {
        format!(
            "This scoped key ({key}) ended because {account}, which it depends on, was revoked. Ask whoever minted it for a new key."
        )
    };
    Denial::new(DenialCode::KeyRevoked, message)
}

pub(super) fn expired(key: AccountId, account: AccountId) -> Denial {
    let message = if key == account {
        format!("This scoped key ({key}) has expired. Ask whoever minted it for a new key, or for more time.")
    } else {
        format!(
            "This scoped key ({key}) ended because {account}, which it depends on, has expired. Ask whoever minted it for \
             a new key."
        )
    };
    Denial::new(DenialCode::KeyExpired, message)
}

pub(super) fn paused(key: AccountId, account: AccountId) -> Denial {
    let subject = subject(key, account);
    Denial::new(
        DenialCode::KeyPaused,
        format!("{subject} is paused: nothing passes until whoever minted it lets it go on. Ask them."),
    )
}

pub(super) fn pending(key: AccountId, account: AccountId, start: Option<Timestamp>) -> Denial {
    let subject = subject(key, account);
    let start = start.map_or_else(String::new, |start| format!(", {start}"));
    Denial::new(
        DenialCode::KeyNotYetActive,
        format!("{subject} does not work before its time{start}. Ask whoever minted it, or come back then."),
    )
}

fn subject(key: AccountId, account: AccountId) -> String {
    if key == account {
        format!("This scoped key ({key})")
    } else {
        format!("This scoped key ({key}) depends on {account}, which")
    }
}

pub(super) fn uncountable(key: AccountId) -> Denial {
    Denial::new(
        DenialCode::UnboundedRequest,
        format!("What this request may use is more than can be counted for {key}. Lower its output cap."),
    )
}

/// `asked` units do not fit `balance`, that of `account` in the chain of `key`.
pub(super) fn exhausted(
    key: AccountId,
    account: AccountId,
    dimension: Dimension,
    balance: &Balance,
    asked: u64,
) -> Denial {
    let code = match dimension {
        _ if key != account => DenialCode::ProjectExhausted,
        Dimension::Activations => DenialCode::ActivationsExhausted,
        Dimension::Tokens => DenialCode::TokensExhausted,
        Dimension::Spend => DenialCode::SpendExhausted,
    };
    let subject = subject(key, account);
    let can_do_with_less =
        dimension != Dimension::Activations && balance.free() != Some(0) && !balance.is_overrun();
    let advice = if can_do_with_less { ASK_FOR_LESS } else { ASK_FOR_MORE };
    Denial::new(code, format!("{subject} {} {advice}", what_is_left(dimension, balance, asked)))
}

fn what_is_left(dimension: Dimension, balance: &Balance, asked: u64) -> String {
    let parts = balance.parts();
    let Some(limit) = parts.limit.map(u128::from) else {
        return format!("has used {}, which is as much as can be counted.", dimension.amount(balance.used()));
    };
    let whole = dimension.amount(limit);
    if parts.overrun > 0 {
        return format!("has used {} although its limit is {whole}.", dimension.amount(balance.used()));
    }
    if balance.free() != Some(0) {
        let free = dimension.amount(balance.free().unwrap_or(0));
        return format!(
            "has {free} of its {whole} left, and this request needs at least {}.",
            dimension.amount(asked.into())
        );
    }
    let in_flight = match parts.held {
        0 => String::new(),
        held => format!(" ({} of them by requests still in flight)", quantity(dimension, held)),
    };
    match (dimension, limit) {
        (_, 0) => format!("has a limit of {whole}."),
        (Dimension::Spend, _) => format!("has used all of its {whole}{in_flight}."),
        (_, 1) => format!("has used its only {}{in_flight}.", singular(dimension)),
        (_, limit) => format!("has used all {limit} of its {dimension}{in_flight}."),
    }
}

/// An amount where the unit has been said.
fn quantity(dimension: Dimension, units: u128) -> String {
    match dimension {
        Dimension::Spend => format!("${}", Dollars(units)),
        _ => units.to_string(),
    }
}

fn singular(dimension: Dimension) -> &'static str {
    match dimension {
        Dimension::Activations => "activation",
        Dimension::Tokens => "token",
        Dimension::Spend => "nano-dollar",
    }
}
