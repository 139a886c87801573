//! Attempts to be somebody, or to do so from somewhere, that were refused: in the audit log, counted like denials of keys.
//!
//! Invariants: only those stand there whom somebody has made, a member or an admin token; the first attempt of a minute is
//! entered at once and those that follow in the minute as one entry with their number, so a flood is two entries a minute per
//! subject and reason; nobody who is refused waits for the disk, so that how long it takes tells nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use till_core::audit::Actor;
use till_store::{AdminToken, Kept, Member, Store, StoreError};

/// How long attempts are counted together.
const COUNTED: Duration = Duration::from_secs(60);

/// So many are counted at once. More than that at once are counted in metrics only.
const COUNTED_MAX: usize = 1_000;

/// As whom somebody tried to act.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Who {
    /// The member with this id.
    Member(String),
    /// The admin token with this id.
    Token(String),
    /// Whoever signs in by a login with this hash, if anybody does.
    Login([u8; 32]),
}

/// Attempts since the first one of a minute, which is entered already.
type Counts = Arc<Mutex<HashMap<(Who, &'static str), u64>>>;

/// See the module documentation.
#[derive(Default)]
pub(crate) struct Refusals(Counts);

impl Refusals {
    /// Somebody was refused.
    pub(crate) fn note(&self, store: &Store, who: Who, reason: &'static str, actor: Actor) {
        let place = (who, reason);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&place) {
            *count += 1;
            return;
        }
        if counts.len() >= COUNTED_MAX {
            return;
        }
        counts.insert(place.clone(), 0);
        drop(counts);
        tokio::spawn(count(Arc::clone(&self.0), store.clone(), place, actor));
    }
}

async fn count(counts: Counts, store: Store, place: (Who, &'static str), actor: Actor) {
    let reason = place.1;
    let enter = async |count: u64| {
        let Some((id, project)) = known(&store, &place.0).await? else { return Ok(()) };
        let detail = json!({"project": project, "reason": reason, "count": count});
        store.audit_append("login.refuse", &id, detail, &actor).await
    };
    let mut entered = enter(1).await;
    tokio::time::sleep(COUNTED).await;
    let more = counts.lock().unwrap_or_else(PoisonError::into_inner).remove(&place).unwrap_or(0);
    if more > 0 {
        entered = entered.and(enter(more).await);
    }
    if let Err(error) = entered {
        tracing::error!(%error, reason, "refused sign-ins are missing in the audit log");
    }
}

/// Id and project of somebody.
async fn known(store: &Store, who: &Who) -> Result<Option<(String, Option<String>)>, StoreError> {
    let member = |found: Kept<Member>| (found.id, found.is.project);
    Ok(match who {
        Who::Member(id) => store.entity_fetch(id).await?.map(member),
        Who::Login(hash) => store.entity_find(*hash).await?.map(member),
        Who::Token(id) => {
            store.entity_fetch(id).await?.map(|found: Kept<AdminToken>| (found.id, found.is.project))
        }
    })
}
