//! New connections to a provider: TCP, through an HTTP proxy where the operator set one, TLS, HTTP/1.1.
//!
//! Everything that can go wrong here goes wrong before the first byte of a request, so a [`ConnectError`]
//! is proof that nothing was sent.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
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
    #[error("the outbound proxy {proxy} broke off")]
    ProxyBroken { proxy: String, source: hyper::Error },
    #[error("the connection was closed at once")]
    Handshake { source: hyper::Error },
    #[error("connecting took longer than {} s", .0.as_secs())]
    Timeout(Duration),
}

/// One HTTP/1.1 connection to a provider.
pub(crate) struct Wire {
    pub(crate) sender: http1::SendRequest<OutboundBody>,
    /// Bytes handed to the socket so far, to prove that a request was or was not begun.
    written: Arc<AtomicU64>,
}

impl Wire {
    /// How many bytes were written since the connection was made.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
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
                let tunnel = tunnel(&proxy, base).await?;
                self.secure(TokioIo::new(tunnel), base).await
            }
            None => self.secure(tcp(base.host(), base.port()).await?, base).await,
        }
    }

    async fn secure<S>(&self, socket: S, base: &BaseUrl) -> Result<Wire, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if base.scheme() != Scheme::Https {
            return handshake(socket).await;
        }
        let host = base.host();
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| ConnectError::ServerName { host: host.to_owned() })?;
        let socket = self
            .tls
            .connect(name, socket)
            .await
            .map_err(|source| ConnectError::Tls { host: host.to_owned(), source })?;
        handshake(socket).await
    }
}

async fn tcp(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let bare = host.trim_matches(['[', ']']);
    let addresses = tokio::net::lookup_host((bare, port))
        .await
        .map_err(|source| ConnectError::Resolve { host: host.to_owned(), source })?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(socket) => {
                // Small writes must not wait for the answer to earlier ones.
                let _ = socket.set_nodelay(true);
                return Ok(socket);
            }
            Err(error) => last = error,
        }
    }
    Err(ConnectError::Tcp { host: host.to_owned(), port, source: last })
}

/// Asks an HTTP proxy for a tunnel (RFC 9110 section 9.3.6). Plain-text upstreams go through a tunnel too:
/// then the proxy sees one destination and no request of ours in absolute form.
async fn tunnel(
    proxy: &hyper_util::client::proxy::matcher::Intercept,
    base: &BaseUrl,
) -> Result<hyper::upgrade::Upgraded, ConnectError> {
    let uri = proxy.uri();
    let host = uri.host().unwrap_or_default();
    let name = format!("{host}:{}", uri.port_u16().unwrap_or(80));
    let broken = |source| ConnectError::ProxyBroken { proxy: name.clone(), source };
    let socket = tcp(host, uri.port_u16().unwrap_or(80)).await?;
    let (mut sender, connection) =
        http1::handshake::<_, Empty<Bytes>>(TokioIo::new(socket)).await.map_err(broken)?;
    tokio::spawn(connection.with_upgrades());
    let authority = format!("{}:{}", base.host(), base.port());
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

async fn handshake<S>(socket: S) -> Result<Wire, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let written = Arc::new(AtomicU64::new(0));
    let counted = Counted { socket, written: Arc::clone(&written) };
    let (sender, connection) = http1::Builder::new()
        .max_headers(256)
        .handshake(TokioIo::new(counted))
        .await
        .map_err(|source| ConnectError::Handshake { source })?;
    // Ends by itself: when the provider closes, or when the last sender is dropped.
    tokio::spawn(async move {
        let _ = connection.with_upgrades().await;
    });
    Ok(Wire { sender, written })
}

/// Counts what is written through it, above TLS: bytes of the request, not of the handshake.
struct Counted<S> {
    socket: S,
    written: Arc<AtomicU64>,
}

impl<S> Counted<S> {
    fn count(&self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(length)) = &outcome {
            self.written.fetch_add(*length as u64, Ordering::Release);
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
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.socket).poll_write(cx, bytes);
        this.count(outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.socket).poll_write_vectored(cx, slices);
        this.count(outcome)
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
