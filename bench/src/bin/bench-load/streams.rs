//! Streams one after the other, over a number of connections.

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
    /// Connections.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// For how long new streams begin, in milliseconds.
    #[arg(long, default_value_t = 4000)]
    millis: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    streams: usize,
    bytes: usize,
    /// Reads of the client: with one event per read there are as many as events.
    reads: usize,
    not_200: usize,
    millis: u128,
    whole: Summary,
}

#[derive(Default)]
struct Share {
    bytes: usize,
    reads: usize,
    not_200: usize,
    times: Times,
}

pub(crate) async fn run(target: &Target, plan: &Plan) -> io::Result<Report> {
    let request: Arc<[u8]> = target.request(true).into();
    let begun = Instant::now();
    let end = begun + Duration::from_millis(plan.millis);
    let mut clients = JoinSet::new();
    for _ in 0..plan.connections {
        clients.spawn(client(Connection::open(target.to).await?, Arc::clone(&request), end));
    }
    let mut all = Share::default();
    while let Some(share) = clients.join_next().await {
        let share = share.expect("a client does not panic")?;
        all.bytes += share.bytes;
        all.reads += share.reads;
        all.not_200 += share.not_200;
        all.times.add_all(share.times);
    }
    let whole = all.times.summary();
    Ok(Report {
        streams: whole.count,
        bytes: all.bytes,
        reads: all.reads,
        not_200: all.not_200,
        millis: begun.elapsed().as_millis(),
        whole,
    })
}

async fn client(mut connection: Connection, request: Arc<[u8]>, end: Instant) -> io::Result<Share> {
    let mut share = Share::default();
    while Instant::now() < end {
        let begun = Instant::now();
        let answer = connection.ask(&request, |_| ()).await?;
        share.times.add(begun.elapsed());
        share.bytes += answer.bytes;
        share.reads += answer.reads;
        share.not_200 += usize::from(answer.status != 200);
    }
    Ok(share)
}
