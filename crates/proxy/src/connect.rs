//! New connections to a provider: TCP, through an HTTP proxy where the operator set one, TLS, HTTP/1.1.
//!
//! Everything that can go wrong here goes wrong before the first byte of a request, so a [`ConnectError`]
//! is proof that nothing was sent.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body_util::{Either, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use till_providers::BaseUrl;
use till_providers::base_url::Scheme;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_rustls::TlsConnector;

/// The body of a forwarded request: the client's own, or one that till holds in memory.
pub(crate) type OutboundBody = Either<Incoming, Full<Bytes>>;

/// Proxies between till and the providers, as the usual environment variables give them.
#[derive(Clone, Debug, Default)]
pub struct OutboundProxy {
    /// For `https://` upstreams: `HTTPS_PROXY`.
    pub https: Option<String>,
    /// For `http://` upstreams: `HTTP_PROXY`.
    pub http: Option<String>,
    /// Hosts that are reached directly: `NO_PROXY`.
    pub no_proxy: Option<String>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the name {host} could not be resolved")]
    Resolve { host: String, source: io::Error },
    #[error("no connection to {host}:{port}")]
    Tcp { host: String, port: u16, source: io::Error },
    #[error("the TLS handshake with {host} failed")]
    Tls { host: String, source: io::Error },
    #[error("{host} is not a name that a certificate can have")]
    ServerName { host: String },
    #[error("the outbound proxy {proxy} refused to connect: {answer}")]
    Proxy { proxy: String, answer: String },
    #[error("the outbound proxy {proxy} must be given as http://HOST:PORT")]
    ProxyScheme { proxy: String },
    #[error("the outbound proxy {proxy} broke off")]
    ProxyBroken { proxy: String, source: hyper::Error },
    #[error("the connection was closed at once")]
    Handshake { source: hyper::Error },
    #[error("connecting took longer than {} s", .0.as_secs())]
    Timeout(Duration),
}

/// One HTTP/1.1 connection to a provider.
///
/// It has no task of its own: whoever waits for something that comes over it polls it meanwhile, so that an answer wakes
/// one task and not two. Who holds nothing but the wire gets nothing done: see [`Wire::poll`].
pub(crate) struct Wire {
    pub(crate) sender: http1::SendRequest<OutboundBody>,
    traffic: Arc<Traffic>,
    connection: Arc<Connection>,
    bell: Arc<Bell>,
    /// Rings the bell.
    waker: Waker,
    /// One timer for all requests; it looks at the clock when it fires instead of being moved with every request.
    timer: Option<Pin<Box<Sleep>>>,
}

/// `None` once it has ended. The lock is for [`WireEnd`]; nobody else asks for it at the same time.
type Connection = Mutex<Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>>;

/// What a connection wakes. It passes that on to whoever polls it, but not while it is being polled: taking a piece of an
/// answer makes room for the next one, and the task that took it would be woken to find nothing.
#[derive(Default)]
struct Bell {
    task: AtomicWaker,
    is_muted: AtomicBool,
    /// It rang while it was muted.
    has_rung: AtomicBool,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.has_rung.store(true, Ordering::SeqCst);
        if !self.is_muted.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

/// A way to end a connection from elsewhere, at once.
pub(crate) struct WireEnd(Weak<Connection>);

impl WireEnd {
    pub(crate) fn end(&self) {
        let connection = self.0.upgrade();
        // Taken out under the lock and closed after it.
        let _ = connection.and_then(|connection| lock(&connection).take());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What went out on a connection.
#[derive(Default)]
struct Traffic {
    /// How often HTTP handed bytes down, whatever became of them.
    attempts: AtomicU64,
    /// Bytes that the socket took, below TLS.
    bytes: AtomicU64,
}

/// A moment in the life of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    attempts: u64,
    bytes: u64,
}

impl Wire {
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            attempts: self.traffic.attempts.load(Ordering::Acquire),
            bytes: self.traffic.bytes.load(Ordering::Acquire),
        }
    }

    /// Whether it is certain that nothing of a request went out since then: HTTP handed nothing down, or the
    /// socket took nothing. Either alone would be too strict: TLS says good-bye on its own, and it may fail
    /// after a part of a record was written.
    pub(crate) fn sent_nothing_since(&self, then: Mark) -> bool {
        let now = self.mark();
        now.attempts == then.attempts || now.bytes == then.bytes
    }

    /// Moves the connection on, then asks what came over it. `poll` may wait for nothing else: it is not woken, but asked
    /// again whenever the connection moves.
    pub(crate) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.bell.task.register(cx.waker());
        self.bell.is_muted.store(true, Ordering::SeqCst);
        let mut outcome = Poll::Pending;
        // A second time if asking has rung, and no more: the runtime rings too when this task has had its share.
        for _ in 0..2 {
            self.bell.has_rung.store(false, Ordering::SeqCst);
            self.advance();
            outcome = poll(&mut Context::from_waker(Waker::noop()));
            // Who got something asks again until there is nothing more.
            if outcome.is_ready() || !self.bell.has_rung.load(Ordering::SeqCst) {
                break;
            }
        }
        self.bell.is_muted.store(false, Ordering::SeqCst);
        if outcome.is_pending() && self.bell.has_rung.load(Ordering::SeqCst) {
            // It rang after it was looked at.
            cx.waker().wake_by_ref();
        }
        outcome
    }

    /// [`Wire::poll`], for a future.
    pub(crate) async fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        poll_fn(|cx| self.poll(cx, |cx| future.as_mut().poll(cx))).await
    }

    /// Ready when it is later than `deadline`. Deadlines only ever grow.
    pub(crate) fn poll_deadline(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }

    /// Makes it ready for another request, and forgets whom it would wake. Whether it is ready now.
    pub(crate) fn rest(&self) -> bool {
        self.bell.task.take();
        self.advance();
        self.sender.is_ready()
    }

    /// Waits until the request is sent to its end; whether it can take another one.
    pub(crate) async fn ready(&mut self) -> bool {
        poll_fn(|cx| {
            self.bell.task.register(cx.waker());
            self.advance();
            self.sender.poll_ready(cx).map(|outcome| outcome.is_ok())
        })
        .await
            && self.rest()
    }

    /// Moves it on until it has ended or become another protocol.
    pub(crate) async fn run(self) {
        poll_fn(|cx| {
            self.bell.task.register(cx.waker());
            self.advance();
            if lock(&self.connection).is_some() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    pub(crate) fn end(&self) -> WireEnd {
        WireEnd(Arc::downgrade(&self.connection))
    }

    fn advance(&self) {
        let mut connection = lock(&self.connection);
        // How it ends is told to whoever waits for an answer over it.
        if let Some(running) = &mut *connection
            && running.as_mut().poll(&mut Context::from_waker(&self.waker)).is_ready()
        {
            *connection = None;
        }
    }
}

/// Makes connections.
pub(crate) struct Connector {
    tls: TlsConnector,
    proxies: Matcher,
    timeout: Duration,
}

impl Connector {
    pub(crate) fn new(tls: Arc<rustls::ClientConfig>, proxies: &OutboundProxy, timeout: Duration) -> Self {
        let mut matcher = Matcher::builder();
        if let Some(https) = &proxies.https {
            matcher = matcher.https(https.clone());
        }
        if let Some(http) = &proxies.http {
            matcher = matcher.http(http.clone());
        }
        if let Some(no_proxy) = &proxies.no_proxy {
            matcher = matcher.no(no_proxy.clone());
        }
        Self { tls: TlsConnector::from(tls), proxies: matcher.build(), timeout }
    }

    /// Connects to a provider, within the configured time.
    ///
    /// # Errors
    /// Always before anything of a request was sent.
    pub(crate) async fn connect(&self, base: &BaseUrl) -> Result<Wire, ConnectError> {
        tokio::time::timeout(self.timeout, self.connect_unbounded(base))
            .await
            .map_err(|_| ConnectError::Timeout(self.timeout))?
    }

    async fn connect_unbounded(&self, base: &BaseUrl) -> Result<Wire, ConnectError> {
        let uri: http::Uri = base.as_str().parse().expect("a base URL is a URI");
        match self.proxies.intercept(&uri) {
            Some(proxy) => {
                let tunnel = tunnel(&proxy, base, self.timeout).await?;
                self.secure(TokioIo::new(tunnel), base).await
            }
            None => self.secure(tcp(base.host(), base.port(), self.timeout).await?, base).await,
        }
    }

    async fn secure<S>(&self, socket: S, base: &BaseUrl) -> Result<Wire, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let traffic = Arc::<Traffic>::default();
        let socket = Counted { socket, traffic: Arc::clone(&traffic), level: Level::Bytes };
        if base.scheme() != Scheme::Https {
            return handshake(socket, traffic).await;
        }
        let host = base.host();
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| ConnectError::ServerName { host: host.to_owned() })?;
        let socket = self
            .tls
            .connect(name, socket)
            .await
            .map_err(|source| ConnectError::Tls { host: host.to_owned(), source })?;
        handshake(socket, traffic).await
    }
}

/// Tries the addresses one after the other; each gets its share of the time.
async fn tcp(host: &str, port: u16, time: Duration) -> Result<TcpStream, ConnectError> {
    let bare = host.trim_matches(['[', ']']);
    let addresses = tokio::net::lookup_host((bare, port))
        .await
        .map_err(|source| ConnectError::Resolve { host: host.to_owned(), source })?;
    let addresses: Vec<_> = addresses.collect();
    let share = time / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => {
                // Small writes must not wait for the answer to earlier ones.
                let _ = socket.set_nodelay(true);
                return Ok(socket);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(ConnectError::Tcp { host: host.to_owned(), port, source: last })
}

/// Asks an HTTP proxy for a tunnel (RFC 9110 section 9.3.6). Plain-text upstreams go through a tunnel too:
/// then the proxy sees one destination and no request of ours in absolute form.
async fn tunnel(
    proxy: &hyper_util::client::proxy::matcher::Intercept,
    base: &BaseUrl,
    time: Duration,
) -> Result<hyper::upgrade::Upgraded, ConnectError> {
    let uri = proxy.uri();
    let host = uri.host().unwrap_or_default();
    let name = format!("{host}:{}", uri.port_u16().unwrap_or(80));
    if uri.scheme_str() != Some("http") {
        return Err(ConnectError::ProxyScheme { proxy: name });
    }
    let broken = |source| ConnectError::ProxyBroken { proxy: name.clone(), source };
    let socket = tcp(host, uri.port_u16().unwrap_or(80), time).await?;
    let (mut sender, connection) =
        http1::handshake::<_, Empty<Bytes>>(TokioIo::new(socket)).await.map_err(broken)?;
    tokio::spawn(connection.with_upgrades());
    let host = base.host();
    let is_bare_ipv6 = host.contains(':') && !host.starts_with('[');
    let authority =
        if is_bare_ipv6 { format!("[{host}]:{}", base.port()) } else { format!("{host}:{}", base.port()) };
    let mut request =
        http::Request::connect(authority.as_str()).header(http::header::HOST, authority.as_str());
    if let Some(credentials) = proxy.basic_auth() {
        request = request.header(http::header::PROXY_AUTHORIZATION, credentials.clone());
    }
    let request = request.body(Empty::new()).expect("an authority is a request target");
    let answer = sender.send_request(request).await.map_err(broken)?;
    if !answer.status().is_success() {
        return Err(ConnectError::Proxy { proxy: name, answer: answer.status().to_string() });
    }
    hyper::upgrade::on(answer).await.map_err(broken)
}

async fn handshake<S>(socket: S, traffic: Arc<Traffic>) -> Result<Wire, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let attempted = Counted { socket, traffic: Arc::clone(&traffic), level: Level::Attempts };
    let (sender, connection) = http1::Builder::new()
        .handshake(TokioIo::new(attempted))
        .await
        .map_err(|source| ConnectError::Handshake { source })?;
    let connection: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(connection.with_upgrades());
    let bell = Arc::<Bell>::default();
    let waker = Waker::from(Arc::clone(&bell));
    Ok(Wire { sender, traffic, connection: Arc::new(Mutex::new(Some(connection))), bell, waker, timer: None })
}

/// Counts what is written through it.
struct Counted<S> {
    socket: S,
    traffic: Arc<Traffic>,
    level: Level,
}

#[derive(Clone, Copy)]
enum Level {
    /// Above TLS: every time HTTP hands bytes down.
    Attempts,
    /// Below TLS: bytes that the socket took.
    Bytes,
}

impl<S: Unpin> Counted<S> {
    /// One write, counted.
    fn write(
        &mut self,
        write: impl FnOnce(Pin<&mut S>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Level::Attempts = self.level {
            self.traffic.attempts.fetch_add(1, Ordering::Release);
        }
        let outcome = write(Pin::new(&mut self.socket));
        if let (Level::Bytes, Poll::Ready(Ok(length))) = (self.level, &outcome) {
            self.traffic.bytes.fetch_add(*length as u64, Ordering::Release);
        }
        outcome
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_read(cx, out)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().write(|socket| socket.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().write(|socket| socket.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
