//! `/admin/events`: tells who is signed in that something changed, as server-sent events.
//!
//! An event names topics and carries no data: whoever wants to know more asks the API, as always. Invariants: one ticker
//! looks for changes, once a second, for all listeners together, and only while there are any; the number of listeners is
//! bounded; a stream ends when whoever listens may not any more, or till stops.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use till_core::time::Timestamp;
use till_store::{AuditQuery, Store, StoreError};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use crate::authenticate::{Caller, Standing};
use crate::error::{ApiError, ErrorBody, ErrorCode};
use crate::permission::{Permission, role_may};
use crate::query;
use crate::router::Shared;

/// How often somebody looks for changes.
const TICK: Duration = Duration::from_secs(1);

/// After so many ticks without a change listeners hear that the stream is alive.
const BEAT_TICKS: u32 = 15;

/// Listeners at a time.
const LISTENERS_MAX: usize = 256;

/// Ticks that a listener may be behind; who is further behind hears that everything changed.
const BEHIND_MAX: usize = 16;

/// Entries of the audit log that are looked at per tick; more than that is a change of everything.
const ENTRIES_MAX: u32 = 200;

/// What can change, as bits of [`Topics`].
const NAMES: [&str; 5] = ["usage", "keys", "audit", "admin", "kill_switch"];

/// A set of topics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Topics(u8);

impl Topics {
    const USAGE: Self = Self(1);
    const KEYS: Self = Self(2);
    const AUDIT: Self = Self(4);
    const ADMIN: Self = Self(8);
    const KILL_SWITCH: Self = Self(16);
    const ALL: Self = Self(31);

    fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// What an action of the audit log changes, besides the log.
    fn of_action(action: &str) -> Self {
        match action.split('.').next() {
            Some("key" | "keys" | "claim") => Self::KEYS,
            Some("project" | "credential" | "master_key") => Self::KEYS.and(Self::ADMIN),
            _ => Self::ADMIN,
        }
    }

    fn event(self) -> Bytes {
        let names: Vec<&str> =
            (0..).zip(NAMES).filter(|(bit, _)| self.0 & (1 << bit) != 0).map(|(_, name)| name).collect();
        format!("event: changed\ndata: {{\"topics\":[\"{}\"]}}\n\n", names.join("\",\"")).into()
    }
}

/// What the ticker says.
#[derive(Clone, Copy, Debug)]
enum Tick {
    Changed(Topics),
    Beat,
    /// Till stops.
    End,
}

/// Those who listen.
pub(crate) struct Listeners {
    ticks: broadcast::Sender<Tick>,
    places: Arc<Semaphore>,
    is_ticking: AtomicBool,
    changes: AtomicU64,
}

impl Listeners {
    /// How often they heard of a change. What was worked out at another count may lack what they heard of.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }
}

impl Default for Listeners {
    fn default() -> Self {
        Self {
            ticks: broadcast::channel(BEHIND_MAX).0,
            places: Arc::new(Semaphore::new(LISTENERS_MAX)),
            is_ticking: AtomicBool::new(false),
            changes: AtomicU64::new(0),
        }
    }
}

/// What was seen last.
struct Seen {
    /// Calls that ended, and denials.
    calls: u64,
    /// Transactions.
    batches: u64,
    /// The last entry of the audit log; `None` until one came.
    entry: Option<u64>,
    kill_switch: Option<Timestamp>,
}

impl Seen {
    fn now(store: &Store) -> Self {
        let stats = store.stats();
        Self {
            calls: stats.settles_ahead + stats.settles_own + stats.denials,
            batches: stats.batches,
            entry: None,
            kill_switch: store.kill_switch().map(|switch| switch.since),
        }
    }

    /// What changed since then.
    async fn changes(&mut self, store: &Store) -> Result<Topics, StoreError> {
        let stats = store.stats();
        let mut topics = Topics::default();
        // First, because it can fail: then nothing is taken for told.
        if stats.batches != self.batches {
            topics = topics.and(self.entries(store).await?);
            self.batches = stats.batches;
        }
        let calls = stats.settles_ahead + stats.settles_own + stats.denials;
        if calls != self.calls {
            self.calls = calls;
            topics = topics.and(Topics::USAGE);
        }
        let kill_switch = store.kill_switch().map(|switch| switch.since);
        if kill_switch != self.kill_switch {
            self.kill_switch = kill_switch;
            topics = topics.and(Topics::KILL_SWITCH);
        }
        Ok(topics)
    }

    /// What new entries of the audit log say. Which are new is not known of the first ones: they may be about anything.
    async fn entries(&mut self, store: &Store) -> Result<Topics, StoreError> {
        let query = match self.entry {
            None => AuditQuery { limit: 1, newest_first: true, ..AuditQuery::default() },
            after => AuditQuery { after, limit: ENTRIES_MAX, ..AuditQuery::default() },
        };
        let entries = store.audit_page(query).await?;
        let Some(last) = entries.last() else { return Ok(Topics::default()) };
        if self.entry.replace(last.seq).is_none() {
            return Ok(Topics::ALL);
        }
        let of_entries = entries.iter().map(|entry| Topics::of_action(&entry.action));
        Ok(of_entries.fold(Topics::AUDIT, Topics::and))
    }
}

/// Looks for changes until nobody listens any more.
async fn tick(shared: Arc<Shared>, mut seen: Seen) {
    let listeners = &shared.listeners;
    let mut quiet = 0;
    loop {
        tokio::time::sleep(TICK).await;
        if shared.state.store.is_stopping() {
            let _ = listeners.ticks.send(Tick::End);
        }
        let topics = seen.changes(&shared.state.store).await.unwrap_or_default();
        quiet += 1;
        let tick = if topics != Topics::default() {
            Some(Tick::Changed(topics))
        } else {
            (quiet >= BEAT_TICKS).then_some(Tick::Beat)
        };
        if let Some(tick) = tick {
            quiet = 0;
            if matches!(tick, Tick::Changed(_)) {
                listeners.changes.fetch_add(1, Ordering::SeqCst);
            }
            let _ = listeners.ticks.send(tick);
        }
        if listeners.ticks.receiver_count() == 0 {
            listeners.is_ticking.store(false, Ordering::SeqCst);
            // Somebody may have come in between, and relied on this task.
            if listeners.ticks.receiver_count() == 0 || listeners.is_ticking.swap(true, Ordering::SeqCst) {
                return;
            }
        }
    }
}

/// A stream under way.
struct Listener {
    shared: Arc<Shared>,
    standing: Standing,
    ticks: broadcast::Receiver<Tick>,
    /// What they do not hear about.
    hidden: Topics,
    is_greeted: bool,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.is_greeted {
            self.is_greeted = true;
            return Some(Bytes::from_static(b"retry: 2000\n: till says when something changes\n\n"));
        }
        loop {
            let tick = match self.ticks.recv().await {
                Ok(tick) => tick,
                Err(RecvError::Lagged(_)) => Tick::Changed(Topics::ALL),
                Err(RecvError::Closed) => return None,
            };
            match tick {
                Tick::End => return None,
                Tick::Beat => {
                    // A session ends by itself, too.
                    return if self.may_listen().await { Some(Bytes::from_static(b":\n\n")) } else { None };
                }
                Tick::Changed(topics) => {
                    if topics.has(Topics::ADMIN) && !self.may_listen().await {
                        return None;
                    }
                    let shown = topics.without(self.hidden);
                    if shown != Topics::default() {
                        return Some(shown.event());
                    }
                }
            }
        }
    }

    async fn may_listen(&self) -> bool {
        self.standing.holds(&self.shared, Permission::SelfRead).await
    }
}

/// Follow changes
///
/// A stream of server-sent events that ends with the session or the admin token. `changed` has in its data which topics
/// changed: `{"topics": ["usage", "keys"]}`, of `usage`, `keys`, `audit`, `admin` and `kill_switch`; at most one a second. It
/// says that something changed, not what, and who is bound to a project hears of changes elsewhere as well. Comments in
/// between keep the connection alive.
#[utoipa::path(get, path = "/admin/events",
    responses(
        (status = 200, description = "The events", body = String, content_type = "text/event-stream"),
        (status = 400, description = "There are query parameters", body = ErrorBody),
        (status = 503, description = "Too many listen, or the store could not be read just now", body = ErrorBody),
    ))]
pub(crate) async fn events(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    query::none(request.uri())?;
    let listeners = &shared.listeners;
    let place = Arc::clone(&listeners.places).try_acquire_owned().map_err(|_| {
        ApiError::new(ErrorCode::TooManyListeners, "too many listen for changes already; ask again later")
    })?;
    let ticks = listeners.ticks.subscribe();
    // Looked at before anybody relies on the ticker, so that no change after the answer is missed.
    let seen = Seen::now(&shared.state.store);
    if !listeners.is_ticking.swap(true, Ordering::SeqCst) {
        tokio::spawn(tick(Arc::clone(&shared), seen));
    }
    let sees_audit = role_may(caller.role(), caller.project().is_some(), Permission::AuditRead);
    let hidden = if sees_audit { Topics::default() } else { Topics::AUDIT };
    let standing = Standing::of(&request);
    let shared = Arc::clone(&shared);
    let listener = Listener { shared, standing, ticks, hidden, is_greeted: false, _place: place };
    let body = stream::unfold(listener, |mut listener| async {
        let bytes = listener.next().await?;
        Some((Ok::<_, Infallible>(bytes), listener))
    });
    // Something in between that collects answers would make it wait for ever.
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(body)).into_response())
}
