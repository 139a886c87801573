//! Listening, serving connections, and stopping without losing anything.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::body::BodyError;
use crate::http1::{self, FrontDoor, FrontTimeouts, Protocol};
use crate::http2;
use crate::pool::Pool;
use crate::proxy_protocol::{self, Sender};
use crate::request::Client;
use crate::socket::{Socket, Tcp};
use crate::{Inner, Proxy, Stage};

/// How long to wait after accepting failed, which is nearly always for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long what is cut may take to let go. It waits for nothing, so this is only used up by a fault.
const CUT_TIME_MAX: Duration = Duration::from_secs(5);

/// Certificates of the listener, replaceable while it runs.
pub struct ServerTls(RwLock<Arc<rustls::ServerConfig>>);

impl ServerTls {
    /// Starts with these.
    pub fn new(config: Arc<rustls::ServerConfig>) -> Self {
        Self(RwLock::new(config))
    }

    /// New connections use these from now on.
    pub fn replace(&self, config: Arc<rustls::ServerConfig>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// How stopping went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainReport {
    /// Connections that were still busy when the time was over, and were cut.
    pub cut: usize,
}

impl Proxy {
    /// Serves until `stop` is ready. Then it accepts nothing more, lets requests under way finish for at most
    /// `grace`, and cuts the rest: their holds are settled as spent.
    pub async fn serve(
        &self,
        listener: TcpListener,
        tls: Option<Arc<ServerTls>>,
        stop: impl Future<Output = ()>,
        grace: Duration,
    ) -> DrainReport {
        let till = &self.inner;
        let sweeper = tokio::spawn(Pool::sweep_regularly(Arc::downgrade(&till.pool)));
        let mut tasks = tokio::task::JoinSet::new();
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                accepted = listener.accept() => match accepted {
                    Ok((socket, peer)) => {
                        let (till, tls) = (Arc::clone(till), tls.clone());
                        tasks.spawn(till.connections.track_future(connection(Arc::clone(&till), socket, peer, tls)));
                    }
                    Err(error) => {
                        tracing::warn!(error = %error, "accept failed");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = tasks.join_next() => {}
            }
        }
        drop(listener);
        till.metrics.stopping();
        self.stop.send_replace(Stage::Stopping);
        till.connections.close();
        let _ = tokio::time::timeout(grace, till.connections.wait()).await;
        let cut = till.connections.len();
        self.stop.send_replace(Stage::Cutting);
        tasks.shutdown().await;
        // Whoever closes the store next must find every hold settled: what is open then looks like a crash.
        till.requests.close();
        let all_settled = async { tokio::join!(till.connections.wait(), till.requests.wait()) };
        let _ = tokio::time::timeout(CUT_TIME_MAX, all_settled).await;
        sweeper.abort();
        DrainReport { cut }
    }
}

async fn connection(till: Arc<Inner>, mut socket: TcpStream, peer: SocketAddr, tls: Option<Arc<ServerTls>>) {
    till.metrics.connections.add(1);
    till.metrics.connections_open.enter();
    let _open = Open(&till);
    let origin = match origin(&till, &mut socket, peer).await {
        Ok(origin) => origin,
        Err(error) => {
            tracing::debug!(peer = %peer, error = %error, "client connection failed");
            return;
        }
    };
    let outcome = match tls {
        None => speak(&till, Socket::Plain(Tcp::new(socket)), peer, origin).await,
        // In a box, so that connections without TLS don't have its size.
        Some(tls) => Box::pin(speak_tls(&till, socket, peer, origin, &tls)).await,
    };
    if let Err(error) = outcome {
        tracing::debug!(peer = %peer, error = %error, "client connection failed");
    }
}

/// Whom a connection is for: where the PROXY protocol is on, a trusted proxy says it before anything else. What anybody
/// else sends there is no HTTP.
async fn origin(till: &Inner, socket: &mut TcpStream, peer: SocketAddr) -> io::Result<Option<IpAddr>> {
    if !till.proxy_protocol || !till.trusted_proxies.trusts(peer.ip()) {
        return Ok(Some(peer.ip()));
    }
    let sender = tokio::time::timeout(till.timeouts.client_head, proxy_protocol::read(socket));
    Ok(match sender.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? {
        Sender::Itself => Some(peer.ip()),
        Sender::Other(address) => Some(address.ip()),
        Sender::Unknown => None,
    })
}

/// Counts a connection as open until it is dropped.
struct Open<'a>(&'a Inner);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.metrics.connections_open.leave();
    }
}

async fn speak_tls(
    till: &Arc<Inner>,
    socket: TcpStream,
    peer: SocketAddr,
    origin: Option<IpAddr>,
    tls: &ServerTls,
) -> Result<(), BodyError> {
    let handshake = Box::pin(tls.acceptor().accept(Tcp::new(socket)));
    match tokio::time::timeout(till.timeouts.client_head, handshake).await {
        Ok(socket) => speak(till, Socket::Tls(Box::new(socket?.into())), peer, origin).await,
        Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
    }
}

async fn speak(
    till: &Arc<Inner>,
    socket: Socket,
    peer: SocketAddr,
    origin: Option<IpAddr>,
) -> Result<(), BodyError> {
    let timeouts = FrontTimeouts {
        head: till.timeouts.client_head,
        idle: till.timeouts.client_idle,
        stalled: till.timeouts.idle,
    };
    let mut door = FrontDoor::new(socket, till.head_limits, timeouts);
    let mut stage = till.stage.clone();
    let protocol = tokio::select! {
        protocol = door.detect() => protocol?,
        () = reached(&mut stage, Stage::Stopping) => return Ok(()),
    };
    let client = Arc::new(Client { till: Arc::clone(till), peer, origin });
    match protocol {
        Protocol::Http1 => http1::serve(door, client, stage).await,
        // In a box, so that connections of HTTP/1 don't have its size.
        Protocol::Http2 => Box::pin(http2::serve(door, client, stage)).await,
    }
}

/// Ready once the server has come so far.
pub(crate) async fn reached(stage: &mut watch::Receiver<Stage>, wanted: Stage) {
    // An error means that the server itself is gone, which is the same.
    let _ = stage.wait_for(|stage| *stage >= wanted).await;
}
