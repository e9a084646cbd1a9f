//! Doors to the engine: sockets that listen, one set per thread.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::EngineError;
use super::connection::{Connection, Place};
use super::node::{Full, Node};
use super::protocol::Fault;
use super::registry::{Phase, Registry};
use super::session::Session;
use super::tls::Certificates;
use crate::domain::{CacheId, Fingerprint};

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
    /// The plain listener also takes TLS, told by the first byte, with the certificate of `tls`.
    pub tls_on_plain: bool,
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
    /// Plain or TLS, as the first byte has it.
    Either(Arc<Certificates>),
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
        let place = Place::new(open, registry.enter(), peer.ip().to_canonical(), thread);
        let number = place.number();
        let task = match &entrance.guests {
            Guests::Plain => {
                // One block holding one connection: idle ones are many, and their state is all they cost.
                let mut connection = Connection::new(stream, place.locked_session(), place);
                tokio::spawn(async move { connection.serve().await })
            }
            Guests::Tls(certificates) => {
                tokio::spawn(serve_by_tls(stream, Arc::clone(certificates), place))
            }
            Guests::Either(certificates) => {
                tokio::spawn(serve_either(stream, Arc::clone(certificates), place))
            }
            Guests::Open(cache) => tokio::spawn(serve_openly(stream, *cache, place)),
        };
        registry.bind(number, task.abort_handle());
    }
}

/// The first byte of a TLS hello. No dialect begins with it.
const TLS_HANDSHAKE: u8 = 0x16;

async fn serve_either(stream: TcpStream, certificates: Arc<Certificates>, place: Place) {
    let mut first = [0];
    let is_tls = match stream.peek(&mut first).await {
        Ok(1) => first[0] == TLS_HANDSHAKE,
        _ => return,
    };
    if is_tls {
        Box::pin(serve_by_tls(stream, certificates, place)).await;
    } else {
        let session = place.locked_session();
        Connection::new(stream, session, place).serve().await;
    }
}

async fn serve_by_tls(stream: TcpStream, certificates: Arc<Certificates>, place: Place) {
    // The sweep ends a handshake that outlasts the login deadline.
    let accepted = certificates.acceptor().accept(stream).into_fallible().await;
    let mut stream = match accepted {
        Ok(stream) => stream,
        Err((_, socket)) => return Box::pin(take_leave(socket, &place)).await,
    };
    let mut session = place.locked_session();
    let presented = stream.get_ref().1.peer_certificates();
    if let Some(certificate) = presented.and_then(|chain| chain.first()) {
        let fingerprint = Fingerprint::of(certificate);
        if let Err(refusal) = identify(&mut session, &fingerprint, &place) {
            // Nobody is left to tell when this fails.
            let _ = stream.write_all(refusal).await;
            return Box::pin(take_leave(stream, &place)).await;
        }
    }
    Connection::new(stream, session, place).serve().await;
}

/// Begins the session as whom the certificate stands for, or gives the last word to say.
///
/// The handshake has looked already, but not one that resumed an older session, and a certificate may have been
/// revoked since. From here on this is a connection that has logged in: another SASL login replaces who it is, and a
/// text `set` is a `set`.
fn identify(
    session: &mut Session,
    fingerprint: &Fingerprint,
    place: &Place,
) -> Result<(), &'static [u8]> {
    let account = place.node().certified(fingerprint).ok_or(&b""[..])?;
    // Held before it is used, so that a revocation is noticed from here on.
    if !place.control().hold_account(&account) {
        return Err(b"");
    }
    place.control().enter(Phase::Idle);
    session
        .admit(place.node(), account)
        .map_err(|Full| Fault::TooManyConnections.text())
}

/// Ends our side and lets the peer take what was said last, such as the alert that tells why it is refused: see
/// [`Connection::serve`]. Callers box it, for its buffer must not be part of every connection's task.
async fn take_leave(mut stream: impl AsyncRead + AsyncWrite + Unpin, place: &Place) {
    place.control().enter(Phase::Closing);
    if stream.shutdown().await.is_err() {
        return;
    }
    let mut scrap = [0; 1024];
    while matches!(stream.read(&mut scrap).await, Ok(1..)) {}
}

async fn serve_openly(mut stream: TcpStream, cache: CacheId, place: Place) {
    let Some(account) = place.node().directory.open_account(cache) else {
        return;
    };
    match place.node().seat(Arc::clone(&account)) {
        Ok(seat) => {
            place.control().hold_account(&account);
            place.control().enter(Phase::Idle);
            let session = place.open_session(seat);
            Connection::new(stream, session, place).serve().await;
        }
        Err(_) => {
            // Nobody is left to tell when this fails.
            let _ = stream.write_all(Fault::TooManyConnections.text()).await;
        }
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
