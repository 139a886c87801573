//! Many streams at once, each with few events.
//!
//! Prints `{"open": N}` once every stream has had its first event; from then on it measures. The events carry the time
//! at which the provider made them, and both run on one machine, so what is measured is the way through the proxy.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use till_bench::answers::{made_at_nanos, unix_nanos};
use till_bench::figures::{Summary, Times};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;

use crate::exchange::Connection;
use crate::{Target, print};

/// How many streams are opened at once: opening them all in one moment would measure the opening.
const OPENING: usize = 64;

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Streams.
    #[arg(long, default_value_t = 5000)]
    streams: usize,
    /// How long to measure once all are open, in milliseconds.
    #[arg(long, default_value_t = 5000)]
    millis: u64,
}

#[derive(Debug, Serialize)]
struct Open {
    open: usize,
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// From the making of an event to its arrival.
    way: Summary,
    /// Between two events of a stream.
    gap: Summary,
    /// Per stream: the mean time between its events, the slowest streams last.
    pace: Summary,
    broken: usize,
}

#[derive(Default)]
struct Seen {
    opened: usize,
    is_measuring: bool,
    way: Times,
    gap: Times,
    pace: Times,
    broken: usize,
}

pub(crate) async fn run(target: &Target, plan: &Plan) -> io::Result<Report> {
    let seen = Rc::new(RefCell::new(Seen::default()));
    let request: Arc<[u8]> = target.request(true).into();
    let places = Arc::new(Semaphore::new(OPENING));
    let streams = LocalSet::new();
    let mut tasks = Vec::with_capacity(plan.streams);
    for _ in 0..plan.streams {
        let (to, request) = (target.to, Arc::clone(&request));
        let (seen, places) = (Rc::clone(&seen), Arc::clone(&places));
        tasks.push(streams.spawn_local(async move {
            let place = places.acquire_owned().await.expect("nobody closes it");
            let mut watch =
                Watch { seen: Rc::clone(&seen), place: Some(place), first: None, last: None, events: 0 };
            let outcome = match Connection::open(to).await {
                Ok(mut connection) => connection.ask(&request, |event| watch.event(event)).await.map(|_| ()),
                Err(error) => Err(error),
            };
            seen.borrow_mut().broken += usize::from(outcome.is_err());
        }));
    }
    let measured = streams.run_until(async {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let seen = seen.borrow();
            if seen.broken > 0 {
                return Err(io::Error::other(format!("{} streams broke while opening", seen.broken)));
            }
            if seen.opened == plan.streams {
                break;
            }
        }
        print(&Open { open: plan.streams })?;
        seen.borrow_mut().is_measuring = true;
        tokio::time::sleep(Duration::from_millis(plan.millis)).await;
        Ok(())
    });
    measured.await?;
    // What each stream has seen is told when it goes.
    for task in &tasks {
        task.abort();
    }
    streams.await;
    let seen = std::mem::take(&mut *seen.borrow_mut());
    Ok(Report {
        way: seen.way.summary(),
        gap: seen.gap.summary(),
        pace: seen.pace.summary(),
        broken: seen.broken,
    })
}

/// What one stream sees.
struct Watch {
    seen: Rc<RefCell<Seen>>,
    place: Option<tokio::sync::OwnedSemaphorePermit>,
    first: Option<Instant>,
    last: Option<Instant>,
    events: u32,
}

impl Watch {
    fn event(&mut self, bytes: &[u8]) {
        let mut seen = self.seen.borrow_mut();
        if self.place.take().is_some() {
            seen.opened += 1;
        }
        if !seen.is_measuring {
            return;
        }
        let Some(made) = made_at_nanos(bytes) else { return };
        seen.way.add(Duration::from_nanos(unix_nanos().saturating_sub(made)));
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            seen.gap.add(now - last);
            self.events += 1;
        } else {
            self.first = Some(now);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let (Some(first), Some(last), 1..) = (self.first, self.last, self.events) {
            self.seen.borrow_mut().pace.add((last - first) / self.events);
        }
    }
}
