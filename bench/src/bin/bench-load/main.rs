//! Clients for benchmarks: each command prints one JSON object per line on standard output.
//!
//! At saturation `wrk` is used instead; these measure what it can't: times from when a request was due, streams, and
//! statuses.

mod closed;
mod exchange;
mod hold_open;
mod latency;
mod streams;

use std::io::{self, Write as _};
use std::net::SocketAddr;

use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use till_bench::answers::{CHAT, CHAT_STREAM};

#[derive(Debug, Parser)]
#[command(about = "Clients for benchmarks")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sends at a fixed rate, whatever the answers do, and measures from when each request was due
    Latency {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        plan: latency::Plan,
    },
    /// Reads streams one after the other, over a number of connections
    Streams {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        plan: streams::Plan,
    },
    /// Opens streams, says so, and measures how their events come
    HoldOpen {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        plan: hold_open::Plan,
    },
    /// Sends the next request after each answer, and counts the statuses
    Closed {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        plan: closed::Plan,
    },
}

/// Whom to ask, and as who.
#[derive(Debug, Args)]
struct Target {
    /// Address and port.
    #[arg(long)]
    to: SocketAddr,

    /// What goes into `authorization: Bearer`.
    #[arg(long, default_value = "sk-bench")]
    key: String,
}

impl Target {
    /// The bytes of a request, the same every time.
    fn request(&self, is_stream: bool) -> Vec<u8> {
        let body = if is_stream { CHAT_STREAM } else { CHAT };
        let Self { to, key } = self;
        let length = body.len();
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {to}\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\naccept: */*\r\nuser-agent: bench-load\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

fn main() -> io::Result<()> {
    match Arguments::parse().command {
        Command::Latency { target, plan } => print(&latency::run(&target, &plan)?),
        Command::Streams { target, plan } => print(&block_on(streams::run(&target, &plan))?),
        Command::HoldOpen { target, plan } => print(&block_on(hold_open::run(&target, &plan))?),
        Command::Closed { target, plan } => print(&block_on(closed::run(&target, &plan))?),
    }
}

/// One thread: what the clients cost is to be small and the same for everybody.
fn block_on<T>(future: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

fn print(value: &impl Serialize) -> io::Result<()> {
    writeln!(io::stdout(), "{}", serde_json::to_string(value).expect("figures are JSON"))
}
