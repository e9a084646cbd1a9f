//! Doors to the engine: sockets that listen, one set per thread.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::EngineError;
use super::connection::Connection;
use super::node::{Node, OpenSocket};
use super::protocol::Fault;
use super::registry::{Registered, Registry};
use super::session::{Door, Session};
use super::tls::Certificates;
use crate::domain::CacheId;

const BACKLOG: i32 = 4096;
/// Keep-alive probes without answer after which the peer is gone.
const KEEPALIVE_PROBES: u32 = 5;
/// Pause after a failed accept, which is most often a want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where the engine is to listen. Port 0 lets the system choose.
#[derive(Clone, Debug, Default)]
pub struct Listeners {
    /// Plain TCP, with login.
    pub plain: Option<SocketAddr>,
    pub tls: Option<TlsListener>,
    pub open: Option<OpenListener>,
}

/// The same with TLS from the first byte.
#[derive(Clone, Debug)]
pub struct TlsListener {
    pub addr: SocketAddr,
    /// PEM files, read at start and by [`super::Engine::reload_tls`].
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// No login, bound to one cache. Loopback only.
#[derive(Clone, Copy, Debug)]
pub struct OpenListener {
    pub addr: SocketAddr,
    pub cache: CacheId,
}

/// Where the engine listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    pub plain: Option<SocketAddr>,
    pub tls: Option<SocketAddr>,
    pub open: Option<SocketAddr>,
}

/// Who comes through a door.
#[derive(Clone, Debug)]
pub enum Guests {
    Plain,
    Tls(Arc<Certificates>),
    Open(CacheId),
}

/// A listening socket of one thread.
#[derive(Debug)]
pub struct Entrance {
    pub socket: std::net::TcpListener,
    pub guests: Guests,
}

/// Binds one socket per thread to the same address; the kernel deals connections out.
pub fn bind(addr: SocketAddr, threads: usize) -> Result<Vec<std::net::TcpListener>, EngineError> {
    let failed = |source| EngineError::Listen { addr, source };
    let first = bind_one(addr).map_err(failed)?;
    let bound = first.local_addr().map_err(failed)?;
    let mut sockets = vec![first];
    for _ in 1..threads {
        sockets.push(bind_one(bound).map_err(failed)?);
    }
    Ok(sockets)
}

fn bind_one(addr: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Accepts until the engine stops.
pub async fn accept(entrance: Entrance, node: Arc<Node>, registry: Arc<Registry>, thread: usize) {
    let Ok(listener) = TcpListener::from_std(entrance.socket) else {
        return;
    };
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Some(open) = node.open_socket() else {
            refuse(&stream);
            continue;
        };
        if prepare(&stream, &node).is_err() {
            continue;
        }
        let guest = Guest {
            peer,
            thread,
            node: Arc::clone(&node),
            open,
            registered: registry.enter(),
        };
        let number = guest.registered.number();
        let task = tokio::spawn(guest.visit(stream, entrance.guests.clone()));
        registry.bind(number, task.abort_handle());
    }
}

/// The node is full. Best effort: nobody waits for this peer.
fn refuse(stream: &TcpStream) {
    let _ = stream.try_write(Fault::TooManyConnections.text());
}

fn prepare(stream: &TcpStream, node: &Node) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(node.limits.keepalive)
        .with_interval(node.limits.keepalive / 2)
        .with_retries(KEEPALIVE_PROBES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// One accepted socket.
struct Guest {
    peer: SocketAddr,
    thread: usize,
    node: Arc<Node>,
    open: OpenSocket,
    registered: Registered,
}

impl Guest {
    /// The rarer doors are boxed, so that their needs do not swell the state of every connection.
    async fn visit(self, stream: TcpStream, guests: Guests) {
        match guests {
            Guests::Plain => {
                let session = Session::new(Door::Locked, self.remote(), self.thread);
                self.serve(stream, session).await;
            }
            Guests::Tls(certificates) => Box::pin(self.visit_by_tls(stream, certificates)).await,
            Guests::Open(cache) => Box::pin(self.visit_openly(stream, cache)).await,
        }
    }

    /// The peer's address; IPv4 in its own form.
    fn remote(&self) -> Option<IpAddr> {
        Some(self.peer.ip().to_canonical())
    }

    async fn visit_by_tls(self, stream: TcpStream, certificates: Arc<Certificates>) {
        // The sweep ends a handshake that outlasts the login deadline.
        let Ok(stream) = certificates.acceptor().accept(stream).await else {
            return;
        };
        let session = Session::new(Door::Locked, self.remote(), self.thread);
        self.serve(stream, session).await;
    }

    async fn visit_openly(self, mut stream: TcpStream, cache: CacheId) {
        let Some(account) = self.node.directory.open_account(cache) else {
            return;
        };
        match self.node.seat(Arc::clone(&account)) {
            Ok(seat) => {
                self.registered.control.hold_account(&account);
                self.registered.control.enter(super::registry::Phase::Idle);
                let session = Session::open(seat, self.remote(), self.thread);
                self.serve(stream, session).await;
            }
            Err(_) => {
                let _ = stream.write_all(Fault::TooManyConnections.text()).await;
            }
        }
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin>(self, stream: S, session: Session) {
        let control = Arc::clone(&self.registered.control);
        Connection::new(stream, session, Arc::clone(&self.node), control)
            .serve()
            .await;
        drop(self.open);
    }
}
