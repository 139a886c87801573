//! A provider that answers byte by byte what a test tells it to.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// How long a write must wait before the other side counts as one that has stopped reading.
const STALL: Duration = Duration::from_millis(200);

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Request line and headers, without the empty line.
    pub head: String,
    /// The body, out of its chunks.
    pub body: Vec<u8>,
}

impl Received {
    /// The request line.
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The method, target and version of the request line; here the target.
    pub fn target(&self) -> &str {
        self.line().split(' ').nth(1).unwrap_or_default()
    }

    /// The values of a header, in order.
    pub fn header(&self, name: &str) -> Vec<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .filter(|(given, _)| given.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }
}

/// One step of an answer.
#[derive(Clone, Debug)]
pub enum Step {
    /// Bytes, flushed at once.
    Send(Vec<u8>),
    /// Wait until the test adds a permit.
    Wait(Arc<Semaphore>),
    /// Send these bytes over and over until the connection ends.
    Flood {
        /// The bytes.
        piece: Vec<u8>,
        /// Gets a permit whenever the other side has stopped taking them.
        stalled: Arc<Semaphore>,
    },
    /// Close the connection after what was sent so far.
    Close,
    /// Send back what comes, until the end: for upgraded connections.
    Echo,
}

/// An answer with a length.
pub fn json(body: &str) -> Vec<Step> {
    respond("200 OK", "content-type: application/json\r\n", body.as_bytes())
}

/// An answer with a length and these header lines.
pub fn respond(status: &str, headers: &str, body: &[u8]) -> Vec<Step> {
    let mut bytes =
        format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    vec![Step::Send(bytes)]
}

/// The head of a chunked answer.
pub fn chunked_head(headers: &str) -> Step {
    Step::Send(format!("HTTP/1.1 200 OK\r\n{headers}transfer-encoding: chunked\r\n\r\n").into_bytes())
}

/// One chunk; an empty one is the end.
pub fn chunk(data: &[u8]) -> Step {
    let mut bytes = format!("{:x}\r\n", data.len()).into_bytes();
    bytes.extend_from_slice(data);
    bytes.extend_from_slice(b"\r\n");
    Step::Send(bytes)
}

type Script = dyn Fn(usize, &Received) -> Vec<Step> + Send + Sync;

/// The running stand-in; stops when dropped.
pub struct Upstream {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<Mutex<usize>>,
    connections_open: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Upstream {
    /// Starts on a free port. `script` gets the number of the request, from 0, and the request.
    pub async fn start(script: impl Fn(usize, &Received) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let received = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(Mutex::new(0));
        let connections_open = Arc::<AtomicUsize>::default();
        let script: Arc<Script> = Arc::new(script);
        let task = tokio::spawn(accept(
            listener,
            Arc::clone(&received),
            Arc::clone(&connections),
            Arc::clone(&connections_open),
            script,
        ));
        Self { address, received, connections, connections_open, task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://…`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.received).clone()
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        *lock(&self.connections)
    }

    /// How many of them have not ended.
    pub fn connections_open(&self) -> usize {
        self.connections_open.load(Ordering::Acquire)
    }
}

/// Counts a connection as open until it is dropped.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(
    listener: TcpListener,
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<Mutex<usize>>,
    connections_open: Arc<AtomicUsize>,
    script: Arc<Script>,
) {
    let mut tasks = tokio::task::JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        *lock(&connections) += 1;
        let open = Open::new(Arc::clone(&connections_open));
        let (received, script) = (Arc::clone(&received), Arc::clone(&script));
        tasks.spawn(async move {
            let _open = open;
            let mut buffer = Vec::new();
            let mut socket = socket;
            while let Some(request) = read_request(&mut socket, &mut buffer).await {
                let number = {
                    let mut all = lock(&received);
                    all.push(request.clone());
                    all.len() - 1
                };
                if !answer(&mut socket, &buffer, script(number, &request)).await {
                    return;
                }
            }
        });
    }
}

/// Whether the connection goes on.
async fn answer(socket: &mut TcpStream, early: &[u8], steps: Vec<Step>) -> bool {
    for step in steps {
        match step {
            Step::Send(bytes) => {
                if socket.write_all(&bytes).await.is_err() {
                    return false;
                }
            }
            Step::Wait(permits) => match permits.acquire().await {
                Ok(permit) => permit.forget(),
                Err(_) => return false,
            },
            Step::Flood { piece, stalled } => {
                flood(socket, &piece, &stalled).await;
                return false;
            }
            Step::Close => return false,
            Step::Echo => {
                let _ = socket.write_all(early).await;
                let (mut read, mut write) = socket.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                return false;
            }
        }
    }
    true
}

async fn flood(socket: &mut TcpStream, piece: &[u8], stalled: &Semaphore) {
    loop {
        let mut write = std::pin::pin!(socket.write_all(piece));
        let outcome = match tokio::time::timeout(STALL, write.as_mut()).await {
            Ok(outcome) => outcome,
            Err(_) => {
                stalled.add_permits(1);
                write.await
            }
        };
        if outcome.is_err() {
            return;
        }
    }
}

async fn read_request(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Received> {
    let end = loop {
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            break end;
        }
        fill(socket, buffer).await?;
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end + 4);
    let mut request = Received { head, body: Vec::new() };
    if let Some(length) = request.header("content-length").first().and_then(|text| text.parse().ok()) {
        while buffer.len() < length {
            fill(socket, buffer).await?;
        }
        request.body = buffer.drain(..length).collect();
    } else if request.header("transfer-encoding").contains(&"chunked") {
        while let Some(data) = read_chunk(socket, buffer).await {
            if data.is_empty() {
                return Some(request);
            }
            request.body.extend_from_slice(&data);
        }
        return None;
    }
    Some(request)
}

async fn read_chunk(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    let end = loop {
        if let Some(end) = find(buffer, b"\r\n") {
            break end;
        }
        fill(socket, buffer).await?;
    };
    let size = usize::from_str_radix(std::str::from_utf8(&buffer[..end]).ok()?, 16).ok()?;
    while buffer.len() < end + 2 + size + 2 {
        fill(socket, buffer).await?;
    }
    let data = buffer[end + 2..end + 2 + size].to_vec();
    buffer.drain(..end + 2 + size + 2);
    Some(data)
}

async fn fill(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut piece = [0; 4096];
    match socket.read(&mut piece).await {
        Ok(0) | Err(_) => None,
        Ok(length) => {
            buffer.extend_from_slice(&piece[..length]);
            Some(())
        }
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}
