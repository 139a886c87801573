//! New connections to a provider: TCP, through an HTTP proxy where the operator set one, TLS, HTTP/1.1.
//!
//! Everything that can go wrong here goes wrong before the first byte of a request, so a [`ConnectError`]
//! is proof that nothing was sent.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use rustls::pki_types::ServerName;
use till_core::fields::write_line;
use till_core::metric::Gauge;
use till_providers::BaseUrl;
use till_providers::base_url::Scheme;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::body::RequestBody;
use crate::http1::{Wire, answer_status};
use crate::resolve::Resolver;
use crate::socket::{Socket, Tcp};

/// The body of a forwarded request: the client's own, or one that till holds in memory.
pub(crate) type OutboundBody = Either<RequestBody, Full<Bytes>>;

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
    ProxyBroken { proxy: String, source: io::Error },
    #[error("connecting took longer than {} s", .0.as_secs())]
    Timeout(Duration),
}

/// The longest answer of a proxy that is asked for a tunnel, in bytes.
const TUNNEL_ANSWER_MAX: usize = 16 * 1024;

/// Makes connections.
pub(crate) struct Connector {
    tls: TlsConnector,
    proxies: Matcher,
    timeout: Duration,
    resolver: Resolver,
    /// Connections that were made and not closed yet.
    pub(crate) open: Arc<Gauge>,
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
        Self {
            tls: TlsConnector::from(tls),
            proxies: matcher.build(),
            timeout,
            resolver: Resolver::default(),
            open: Arc::default(),
        }
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
        let tcp = match self.proxies.intercept(&uri) {
            Some(proxy) => self.tunnel(&proxy, base).await?,
            None => self.tcp(base.host(), base.port()).await?,
        };
        let tcp = Tcp::new(tcp).counted_in(&self.open);
        if base.scheme() != Scheme::Https {
            return Ok(Wire::new(Socket::Plain(tcp)));
        }
        let host = base.host();
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| ConnectError::ServerName { host: host.to_owned() })?;
        let tls = self
            .tls
            .connect(name, tcp)
            .await
            .map_err(|source| ConnectError::Tls { host: host.to_owned(), source })?;
        Ok(Wire::new(Socket::Tls(Box::new(tls.into()))))
    }

    /// Tries the addresses one after the other; each gets its share of the time.
    async fn tcp(&self, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
        let bare = host.trim_matches(['[', ']']);
        let addresses = self
            .resolver
            .addresses(bare, port)
            .await
            .map_err(|source| ConnectError::Resolve { host: host.to_owned(), source })?;
        let share = self.timeout / u32::try_from(addresses.len().max(1)).unwrap_or(u32::MAX);
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match tokio::time::timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(socket)) => return Ok(socket),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(ConnectError::Tcp { host: host.to_owned(), port, source: last })
    }

    /// Asks an HTTP proxy for a tunnel (RFC 9110 section 9.3.6). Plain-text upstreams go through a tunnel too:
    /// then the proxy sees one destination and no request of ours in absolute form.
    async fn tunnel(&self, proxy: &Intercept, base: &BaseUrl) -> Result<TcpStream, ConnectError> {
        let uri = proxy.uri();
        let host = uri.host().unwrap_or_default();
        let name = format!("{host}:{}", uri.port_u16().unwrap_or(80));
        if uri.scheme_str() != Some("http") {
            return Err(ConnectError::ProxyScheme { proxy: name });
        }
        let broken = |source| ConnectError::ProxyBroken { proxy: name.clone(), source };
        let mut socket = self.tcp(host, uri.port_u16().unwrap_or(80)).await?;
        let host = base.host();
        let is_bare_ipv6 = host.contains(':') && !host.starts_with('[');
        let authority = if is_bare_ipv6 {
            format!("[{host}]:{}", base.port())
        } else {
            format!("{host}:{}", base.port())
        };
        let mut request = format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n").into_bytes();
        if let Some(credentials) = proxy.basic_auth() {
            write_line(&mut request, "proxy-authorization", credentials.as_bytes());
        }
        request.extend_from_slice(b"\r\n");
        socket.write_all(&request).await.map_err(broken)?;
        let mut answer = Vec::new();
        let status = loop {
            if socket.read_buf(&mut answer).await.map_err(broken)? == 0 || answer.len() > TUNNEL_ANSWER_MAX {
                return Err(broken(io::ErrorKind::UnexpectedEof.into()));
            }
            match answer_status(&answer).map_err(|error| broken(io::Error::other(error)))? {
                // What follows is said by the other end of the tunnel, which speaks only when it is asked.
                Some((status, length)) if status.is_success() && length < answer.len() => {
                    return Err(broken(io::Error::other("it sent something that was not asked for")));
                }
                Some((status, _)) => break status,
                None => {}
            }
        };
        if !status.is_success() {
            return Err(ConnectError::Proxy { proxy: name, answer: status.to_string() });
        }
        Ok(socket)
    }
}
