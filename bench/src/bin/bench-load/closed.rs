//! Clients that each send the next request after the answer to the last, also when they are refused.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use till_bench::figures::{Summary, Times};
use tokio::task::JoinSet;

use crate::Target;
use crate::exchange::Connection;

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Clients, each with a connection of its own.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// How long, in milliseconds.
    #[arg(long, default_value_t = 4000)]
    millis: u64,
    /// How long a client waits after it was refused, in milliseconds; 0 asks again at once.
    #[arg(long, default_value_t = 0)]
    pause_ms: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    millis: u128,
    /// How often each status came.
    statuses: BTreeMap<u16, usize>,
    /// Refusals (503) with the code `overloaded` and a `retry-after`.
    refused_in_form: usize,
    /// Of answers with 200.
    served: Summary,
    /// Of answers with 503.
    refused: Summary,
}

#[derive(Default)]
struct Share {
    statuses: BTreeMap<u16, usize>,
    refused_in_form: usize,
    served: Times,
    refused: Times,
}

pub(crate) async fn run(target: &Target, plan: &Plan) -> io::Result<Report> {
    let request: Arc<[u8]> = target.request(false).into();
    let begun = Instant::now();
    let end = begun + Duration::from_millis(plan.millis);
    let pause = Duration::from_millis(plan.pause_ms);
    let mut clients = JoinSet::new();
    for _ in 0..plan.clients {
        clients.spawn(client(Connection::open(target.to).await?, Arc::clone(&request), end, pause));
    }
    let mut all = Share::default();
    while let Some(share) = clients.join_next().await {
        let share = share.expect("a client does not panic")?;
        for (status, count) in share.statuses {
            *all.statuses.entry(status).or_default() += count;
        }
        all.refused_in_form += share.refused_in_form;
        all.served.add_all(share.served);
        all.refused.add_all(share.refused);
    }
    Ok(Report {
        millis: begun.elapsed().as_millis(),
        statuses: all.statuses,
        refused_in_form: all.refused_in_form,
        served: all.served.summary(),
        refused: all.refused.summary(),
    })
}

async fn client(
    mut connection: Connection,
    request: Arc<[u8]>,
    end: Instant,
    pause: Duration,
) -> io::Result<Share> {
    let mut share = Share::default();
    while Instant::now() < end {
        let begun = Instant::now();
        let mut says_overloaded = false;
        let look = |part: &[u8]| says_overloaded |= memchr::memmem::find(part, b"overloaded").is_some();
        let answer = connection.ask(&request, look).await?;
        *share.statuses.entry(answer.status).or_default() += 1;
        match answer.status {
            200 => share.served.add(begun.elapsed()),
            503 => {
                share.refused.add(begun.elapsed());
                share.refused_in_form += usize::from(says_overloaded && answer.says_retry_after);
                tokio::time::sleep(pause).await;
            }
            _ => {}
        }
    }
    Ok(share)
}
