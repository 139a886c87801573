//! Latency at a fixed rate.
//!
//! Each connection has its share of the rate and its own thread, and a request that is sent late because the answer
//! before it was late is measured from when it was due. So a stall counts for every request that it delays, not for one.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use till_bench::figures::{Summary, Times};
use till_bench::wire::{BodyEnd, Head};

use crate::Target;

/// The kernel wakes a sleeper some 50 microseconds late. What is left after waking this early is spent spinning.
const WAKE_EARLY: Duration = Duration::from_micros(150);

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Requests per second, over all connections.
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// Connections.
    #[arg(long, default_value_t = 8)]
    connections: u32,
    /// How long, in milliseconds.
    #[arg(long, default_value_t = 4000)]
    millis: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    latency: Summary,
    not_200: usize,
    /// Sent more than a millisecond after they were due.
    late: usize,
}

pub(crate) fn run(target: &Target, plan: &Plan) -> io::Result<Report> {
    let begin = Instant::now() + Duration::from_millis(50);
    let end = begin + Duration::from_millis(plan.millis);
    let step = Duration::from_secs(1) / plan.rate;
    let threads: Vec<_> = (0..plan.connections)
        .map(|number| {
            let (to, request) = (target.to, target.request(false));
            let (first, period) = (begin + step * number, step * plan.connections);
            thread::spawn(move || connection(TcpStream::connect(to)?, &request, first, period, end))
        })
        .collect();
    let mut all = Share::default();
    for thread in threads {
        let share = thread.join().expect("a client thread does not panic")?;
        all.times.add_all(share.times);
        all.not_200 += share.not_200;
        all.late += share.late;
    }
    Ok(Report { latency: all.times.summary(), not_200: all.not_200, late: all.late })
}

#[derive(Default)]
struct Share {
    times: Times,
    not_200: usize,
    late: usize,
}

fn connection(
    mut stream: TcpStream,
    request: &[u8],
    first: Instant,
    period: Duration,
    end: Instant,
) -> io::Result<Share> {
    stream.set_nodelay(true)?;
    let (mut share, mut buffer) = (Share::default(), vec![0; 16 * 1024]);
    let mut due = first;
    while due < end {
        wait_until(due);
        share.late += usize::from(due.elapsed() > Duration::from_millis(1));
        stream.write_all(request)?;
        let status = read_answer(&mut stream, &mut buffer)?;
        share.times.add(due.elapsed());
        share.not_200 += usize::from(status != 200);
        due += period;
    }
    Ok(share)
}

fn wait_until(due: Instant) {
    let left = due.saturating_duration_since(Instant::now());
    if left > WAKE_EARLY {
        thread::sleep(left - WAKE_EARLY);
    }
    while Instant::now() < due {
        std::hint::spin_loop();
    }
}

fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<u16> {
    let mut filled = 0;
    let (status, mut end, length) = loop {
        filled += read(stream, &mut buffer[filled..])?;
        if let Some(head) = Head::find(&buffer[..filled]) {
            break (head.status(), BodyEnd::new(head.framing()), head.text.len());
        }
    };
    end.push(&buffer[length..filled], |_| ())?;
    while !end.is_over() {
        let count = read(stream, buffer)?;
        end.push(&buffer[..count], |_| ())?;
    }
    Ok(status)
}

fn read(stream: &mut TcpStream, into: &mut [u8]) -> io::Result<usize> {
    match stream.read(into)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => Ok(count),
    }
}
