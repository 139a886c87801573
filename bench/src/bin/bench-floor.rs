//! The floor: a forwarder that does what no proxy can avoid, and nothing else.
//!
//! It reads a request from a kept connection, writes it as it is to a kept connection to the provider, reads the answer and
//! writes it back. It has as many threads as till. Of HTTP it knows where a message ends. With `--durable` a request is
//! sent after a record of it was appended to a file and is on disk, as those of till under `"durability": "call"`: one thread
//! writes, and each fdatasync is for all requests that wait when it begins.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use clap::Parser;
use till_bench::wire::Head;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// A forwarder that knows nothing. It prints the address that it listens on and runs until it is ended.
#[derive(Debug, Parser)]
struct Settings {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// The provider.
    #[arg(long)]
    to: SocketAddr,

    /// A file to which each request is appended, and which is on disk, before the request is sent.
    #[arg(long)]
    durable: Option<PathBuf>,
}

struct Floor {
    provider: SocketAddr,
    /// Connections that wait for their next request.
    idle: Mutex<Vec<Upstream>>,
    journal: Option<Journal>,
}

/// A connection to the provider, and room for an answer.
struct Upstream {
    stream: TcpStream,
    answer: Vec<u8>,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let settings = Settings::parse();
    let journal = settings.durable.as_deref().map(Journal::start).transpose()?;
    let listener = TcpListener::bind(settings.listen).await?;
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    let floor = Arc::new(Floor { provider: settings.to, idle: Mutex::default(), journal });
    loop {
        let (stream, _) = listener.accept().await?;
        let floor = Arc::clone(&floor);
        // A connection that breaks is the business of its client, which counts errors.
        tokio::spawn(async move { floor.connection(stream).await });
    }
}

impl Floor {
    async fn connection(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut request = Vec::with_capacity(8192);
        while read_message(&mut client, &mut request).await? {
            if let Some(journal) = &self.journal {
                journal.append().await?;
            }
            let mut upstream = self.upstream().await?;
            upstream.stream.write_all(&request).await?;
            if !read_message(&mut upstream.stream, &mut upstream.answer).await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            client.write_all(&upstream.answer).await?;
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(upstream);
        }
        Ok(())
    }

    async fn upstream(&self) -> io::Result<Upstream> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(upstream) = idle {
            return Ok(upstream);
        }
        let stream = TcpStream::connect(self.provider).await?;
        stream.set_nodelay(true)?;
        Ok(Upstream { stream, answer: Vec::with_capacity(8192) })
    }
}

/// Reads a request or an answer into `message`, in one read if it has come as a whole; `false` at the end of the connection.
/// The programs here send the next one after the answer.
async fn read_message(stream: &mut TcpStream, message: &mut Vec<u8>) -> io::Result<bool> {
    message.clear();
    while !is_whole(message)? {
        if stream.read_buf(message).await? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_whole(message: &[u8]) -> io::Result<bool> {
    let Some(head) = Head::find(message) else { return Ok(false) };
    let length = head.header("content-length").and_then(|length| length.parse::<usize>().ok());
    // Bodies that come in chunks are asked of nobody here, and looking for them is not the floor.
    Ok(message.len() >= head.text.len() + length.ok_or(io::ErrorKind::Unsupported)?)
}

/// The thread that makes records durable.
struct Journal {
    waiting: mpsc::Sender<oneshot::Sender<()>>,
}

impl Journal {
    /// What a record of a hold takes, about.
    const RECORD: [u8; 64] = [b'.'; 64];

    /// The file is as long as this from the beginning and is written over when it is full, as databases do with their
    /// journals: a file that grows costs more with each fdatasync.
    const BYTES: u64 = 4 << 20;

    fn start(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        io::copy(&mut io::Read::take(io::repeat(0), Self::BYTES), &mut file)?;
        file.sync_all()?;
        let (waiting, records) = mpsc::channel();
        thread::Builder::new().name("journal".to_owned()).spawn(move || {
            // Who waits is told by the channel that is gone.
            let _ = write(file, &records);
        })?;
        Ok(Self { waiting })
    }

    /// Waits until a record is on disk.
    async fn append(&self) -> io::Result<()> {
        let (done, durable) = oneshot::channel();
        let gone = || io::Error::other("the journal can't be written");
        self.waiting.send(done).map_err(|_| gone())?;
        durable.await.map_err(|_| gone())
    }
}

fn write(mut file: File, records: &mpsc::Receiver<oneshot::Sender<()>>) -> io::Result<()> {
    let (mut batch, mut bytes, mut at) = (Vec::new(), Vec::new(), u64::MAX);
    while let Ok(first) = records.recv() {
        batch.push(first);
        batch.extend(records.try_iter());
        bytes.clear();
        batch.iter().for_each(|_| bytes.extend_from_slice(&Journal::RECORD));
        let length = bytes.len() as u64;
        if at.saturating_add(length) > Journal::BYTES {
            file.rewind()?;
            at = 0;
        }
        file.write_all(&bytes)?;
        at += length;
        file.sync_data()?;
        for done in batch.drain(..) {
            // A client that is gone waits for nothing.
            let _ = done.send(());
        }
    }
    Ok(())
}
