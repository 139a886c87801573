//! Sends traces to a collector: OTLP over HTTP in JSON.
//!
//! One thread of its own, which is only there when an endpoint is set. Invariants:
//! - a request never waits for it: what does not fit into the queue is dropped and counted. What a trace holds that clients
//!   or providers say is bounded (`till_proxy`), so the bound of the queue is one of memory: some 16 MB;
//! - what the collector does not take within its time is dropped and counted, and not sent again;
//! - a stop waits for it for a bounded time.

mod encode;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use till_core::metric::{Counter, Kind, Page, Unit};
use till_proxy::RequestTrace;
use ureq::Agent;

pub(crate) use encode::Resource;

/// Traces that may wait to be sent.
const QUEUE_MAX: usize = 4_096;

/// Traces that are sent at once.
const BATCH_MAX: usize = 256;

/// How long a trace waits for others.
const BATCH_WAIT: Duration = Duration::from_millis(500);

/// How long a collector may take for them.
pub(crate) const SEND_TIME_MAX: Duration = Duration::from_secs(5);

/// How long a stop waits for what is left.
const STOP_TIME_MAX: Duration = Duration::from_secs(3);

/// How often it looks whether there is room to say so.
const STOP_LOOK_EVERY: Duration = Duration::from_millis(5);

/// What the collector answers is not looked at beyond this, in bytes.
const ANSWER_MAX: u64 = 64 * 1024;

/// Where finished traces go. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Exporter {
    queue: SyncSender<Message>,
    counts: Arc<Counts>,
}

enum Message {
    Trace(Box<RequestTrace>),
    /// Nothing comes after it that matters; answered once all before it is dealt with.
    Stop(SyncSender<()>),
}

#[derive(Default)]
struct Counts {
    exported: Counter,
    overflowed: Counter,
    failed: Counter,
}

impl Exporter {
    /// Starts the thread. `agent` has [`SEND_TIME_MAX`].
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(crate) fn start(url: String, agent: Agent, resource: Resource) -> std::io::Result<Self> {
        let (queue, traces) = sync_channel(QUEUE_MAX);
        let counts: Arc<Counts> = Arc::default();
        let sender = Sender { url, agent, resource, counts: Arc::clone(&counts), works: true };
        thread::Builder::new().name("till-otlp".into()).spawn(move || sender.run(&traces))?;
        Ok(Self { queue, counts })
    }

    /// Takes a trace, or drops it when too many wait.
    pub(crate) fn take(&self, trace: Box<RequestTrace>) {
        if let Err(
            TrySendError::Full(Message::Trace(trace)) | TrySendError::Disconnected(Message::Trace(trace)),
        ) = self.queue.try_send(Message::Trace(trace))
        {
            self.counts.overflowed.add(encode::spans(&trace));
        }
    }

    /// Waits until what was taken is sent, for a bounded time. It blocks.
    pub(crate) fn finish(&self) {
        let until = Instant::now() + STOP_TIME_MAX;
        let (reply, done) = sync_channel(1);
        let mut stop = Message::Stop(reply);
        // While the queue is full there is room as soon as a batch is sent.
        loop {
            match self.queue.try_send(stop) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) if Instant::now() < until => stop = back,
                Err(_) => return,
            }
            thread::sleep(STOP_LOOK_EVERY);
        }
        // An error says that the time is over: what is left is lost.
        let _ = done.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

/// The counters of an exporter, or the same at 0 where there is none.
pub(crate) fn render(exporter: Option<&Exporter>, page: &mut Page) {
    let read = |counter: fn(&Counts) -> &Counter| exporter.map_or(0, |one| counter(&one.counts).read());
    page.counter(
        "till_otlp_spans_exported_total",
        "Spans that the collector of traces took.",
        read(|counts| &counts.exported),
    );
    let mut dropped = page.family(
        "till_otlp_spans_dropped_total",
        Kind::Counter,
        Unit::Number,
        "Spans that were dropped: the queue was full, or the collector did not take them.",
    );
    dropped.series(&[("reason", "queue_full")], read(|counts| &counts.overflowed));
    dropped.series(&[("reason", "not_taken")], read(|counts| &counts.failed));
}

/// The thread's side.
struct Sender {
    url: String,
    agent: Agent,
    resource: Resource,
    counts: Arc<Counts>,
    /// Whether the last batch was taken.
    works: bool,
}

impl Sender {
    fn run(mut self, traces: &Receiver<Message>) {
        let mut batch = Vec::new();
        // The queue ends when nobody can put anything into it any more.
        while let Ok(first) = traces.recv() {
            let stop = match first {
                Message::Trace(trace) => {
                    batch.push(*trace);
                    gather(traces, &mut batch)
                }
                Message::Stop(reply) => Some(reply),
            };
            self.send(&mut batch);
            if let Some(reply) = stop {
                let _ = reply.send(());
            }
        }
    }

    fn send(&mut self, batch: &mut Vec<RequestTrace>) {
        if batch.is_empty() {
            return;
        }
        let spans = batch.iter().map(encode::spans).sum();
        let body = encode::request(&self.resource, batch);
        batch.clear();
        match self.post(body) {
            Ok(()) => {
                self.counts.exported.add(spans);
                if !self.works {
                    tracing::info!("the collector takes traces again");
                }
                self.works = true;
            }
            Err(reason) => {
                self.counts.failed.add(spans);
                if self.works {
                    tracing::warn!(
                        reason,
                        "the collector does not take traces; they are dropped until it does"
                    );
                }
                self.works = false;
            }
        }
    }

    fn post(&self, body: String) -> Result<(), String> {
        let request = self.agent.post(&self.url).header("content-type", "application/json");
        let mut answer = request.send(body).map_err(|error| error.to_string())?;
        // Read, so that the connection can be used again.
        let _ = answer.body_mut().with_config().limit(ANSWER_MAX).read_to_string();
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(format!("it answered with status {}", status.as_u16())) }
    }
}

/// Takes what comes shortly after the first one; the reply when it was the last.
fn gather(traces: &Receiver<Message>, batch: &mut Vec<RequestTrace>) -> Option<SyncSender<()>> {
    let until = Instant::now() + BATCH_WAIT;
    while batch.len() < BATCH_MAX {
        match traces.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Message::Trace(trace)) => batch.push(*trace),
            Ok(Message::Stop(reply)) => return Some(reply),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::sync_channel;
    use std::thread;
    use std::time::Duration;

    use super::{Exporter, Message};

    #[test]
    fn a_stop_waits_until_there_is_room_for_it() {
        let (queue, messages) = sync_channel(1);
        let exporter = Exporter { queue, counts: Arc::default() };
        assert!(exporter.queue.try_send(Message::Stop(sync_channel(1).0)).is_ok(), "the queue is full now");
        let sender = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            drop(messages.recv());
            matches!(messages.recv(), Ok(Message::Stop(reply)) if reply.send(()).is_ok())
        });
        exporter.finish();
        drop(exporter);
        assert!(sender.join().expect("no panic"));
    }
}
