//! Listening sockets: each serving thread has one per address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::transport::TlsMode;
use crate::domain::CacheId;
use crate::engine::EngineError;
use crate::engine::protocol::ProtocolError;
use crate::engine::session::{ClientSession, LoginMode};
use crate::engine::state::EngineState;
use crate::engine::storage::monotonic_now;
use crate::engine::tls::Certificates;

const BACKLOG: i32 = 4096;
/// The kernel closes a connection after this many unanswered keep-alive probes.
const KEEPALIVE_PROBES: u32 = 5;
/// Pause after a failed accept. Without it the thread would spin, since the connection stays at the listener.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The addresses the engine is asked to listen on. With port 0 the system chooses the port.
#[derive(Clone, Debug, Default)]
pub struct Listeners {
    /// Plain TCP. Clients must log in.
    pub plain: Option<SocketAddr>,
    pub tls: Option<TlsListener>,
    pub open: Option<OpenListener>,
    /// The plain listener also accepts TLS, with the certificate of `tls`. The first byte decides.
    pub tls_on_plain: bool,
}

/// A listener that expects TLS from the first byte. Clients must log in.
#[derive(Clone, Debug)]
pub struct TlsListener {
    pub addr: SocketAddr,
    /// PEM files. They are read at start and by [`crate::engine::Engine::reload_tls`].
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// A listener without login for one cache. It may listen on loopback only.
#[derive(Clone, Copy, Debug)]
pub struct OpenListener {
    pub addr: SocketAddr,
    pub cache: CacheId,
}

/// The addresses the engine listens on, with the ports that the system chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    pub plain: Option<SocketAddr>,
    pub tls: Option<SocketAddr>,
    pub open: Option<SocketAddr>,
}

/// What connections of a listener begin with.
#[derive(Clone, Debug)]
pub enum ListenerKind {
    Plain,
    Tls(Arc<Certificates>),
    /// The first byte decides between plain TCP and TLS.
    PlainOrTls(Arc<Certificates>),
    /// No login: every connection belongs to this cache.
    Open(CacheId),
}

/// A bound socket on its way to the thread that will serve it.
#[derive(Debug)]
pub struct BoundSocket {
    pub socket: std::net::TcpListener,
    pub kind: ListenerKind,
}

/// Binds one socket per thread to the same address (`SO_REUSEPORT`); the kernel distributes connections over them.
///
/// # Errors
/// When the address cannot be bound, or another process listens on it. Sharing an address with another process would
/// send some customers to the wrong one.
pub fn bind(
    addr: SocketAddr,
    threads: usize,
    keepalive: Duration,
) -> Result<Vec<std::net::TcpListener>, EngineError> {
    let failed = |source| EngineError::Listen { addr, source };
    let first = bind_one(addr, keepalive, Sharing::First).map_err(failed)?;
    let bound = first.local_addr().map_err(failed)?;
    let mut sockets = vec![first];
    for _ in 1..threads {
        sockets.push(bind_one(bound, keepalive, Sharing::Joining).map_err(failed)?);
    }
    Ok(sockets)
}

/// Whether a socket is the first on its address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    /// The first: binding fails if anybody else holds the address. Afterwards others may join.
    First,
    Joining,
}

fn bind_one(
    addr: SocketAddr,
    keepalive: Duration,
    sharing: Sharing,
) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(sharing == Sharing::Joining)?;
    socket.set_nonblocking(true)?;
    // On Linux accepted connections inherit these options, which saves four system calls for each (tcp(7), socket(7)).
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(keepalive)
            .with_interval(keepalive / 2)
            .with_retries(KEEPALIVE_PROBES),
    )?;
    socket.bind(&addr.into())?;
    socket.set_reuse_port(true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A listening socket in the event loop that serves it.
pub struct Listener {
    listener: TcpListener,
    pub kind: ListenerKind,
    /// A readiness event reported a new connection. Events are edge-triggered, so it is reported once.
    has_pending: bool,
    paused_until: Option<Instant>,
}

impl Listener {
    pub fn new(bound: BoundSocket) -> Listener {
        Listener {
            listener: TcpListener::from_std(bound.socket),
            kind: bound.kind,
            has_pending: false,
            paused_until: None,
        }
    }

    /// What the event loop registers with epoll.
    pub fn source(&mut self) -> &mut TcpListener {
        &mut self.listener
    }

    /// A readiness event arrived.
    pub fn note_ready(&mut self) {
        self.has_pending = self.paused_until.is_none();
    }

    /// Whether [`Listener::accept`] may find a connection.
    pub fn has_pending(&self) -> bool {
        self.has_pending
    }

    /// When accepting goes on after a failure.
    pub fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Ends a pause that is over.
    pub fn resume(&mut self, now: Instant) {
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
            self.has_pending = true;
        }
    }

    /// The next connection and its peer. After a failure the listener pauses for [`ACCEPT_PAUSE`].
    pub fn accept(&mut self) -> Accepted {
        while self.has_pending {
            let error = match self.listener.accept() {
                Ok((socket, peer)) => {
                    return Accepted::Connection(socket, peer.ip().to_canonical());
                }
                Err(error) => error,
            };
            match error.kind() {
                io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                io::ErrorKind::WouldBlock => self.has_pending = false,
                _ => {
                    self.has_pending = false;
                    self.paused_until = Some(monotonic_now() + ACCEPT_PAUSE);
                    if is_out_of_descriptors(&error) {
                        return Accepted::OutOfDescriptors;
                    }
                }
            }
        }
        Accepted::None
    }

    /// Ends a pause at once: a descriptor was given back.
    pub fn end_pause(&mut self) {
        self.paused_until = None;
        self.has_pending = true;
    }
}

/// What [`Listener::accept`] found.
pub enum Accepted {
    Connection(TcpStream, IpAddr),
    None,
    /// The process or the system has no file descriptor left. The connection waits at the listener.
    OutOfDescriptors,
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(code, Some(Errno::MFILE | Errno::NFILE))
}

impl ListenerKind {
    /// Makes the session of a new connection.
    ///
    /// # Errors
    /// The error to answer with when the connection is refused.
    pub fn begin_session(
        &self,
        engine: &EngineState,
        remote: IpAddr,
        thread: usize,
    ) -> Result<(TlsMode, ClientSession), ProtocolError> {
        let tls_mode = match self {
            ListenerKind::Plain => TlsMode::Plain,
            ListenerKind::Tls(certificates) => TlsMode::Tls(certificates.current()),
            ListenerKind::PlainOrTls(certificates) => TlsMode::Detect(certificates.current()),
            ListenerKind::Open(cache) => {
                let account = engine.directory.open_account(*cache);
                let slot = account.and_then(|account| engine.take_slot(account).ok());
                let slot = slot.ok_or(ProtocolError::TooManyConnections)?;
                return Ok((
                    TlsMode::Plain,
                    ClientSession::open(slot, Some(remote), thread),
                ));
            }
        };
        Ok((
            tls_mode,
            ClientSession::new(LoginMode::Required, Some(remote), thread),
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use socket2::SockRef;

    use super::*;

    #[test]
    fn threads_share_an_address_and_processes_do_not() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let sockets = bind(any, 3, Duration::from_secs(60)).unwrap();
        let addr = sockets[0].local_addr().unwrap();
        // A second process binds in the same way.
        let refused = bind(addr, 3, Duration::from_secs(60)).unwrap_err();
        let EngineError::Listen { source, .. } = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(source.kind(), io::ErrorKind::AddrInUse);

        // The chance that one of three sockets gets none of 200 connections is below 10^-34.
        let _peers: Vec<_> = (0..200)
            .map(|_| std::net::TcpStream::connect(addr).unwrap())
            .collect();
        for socket in &sockets {
            assert!(
                socket.accept().is_ok(),
                "the kernel distributes connections"
            );
        }
    }

    /// Nothing else sets these options. Without them Nagle's algorithm delays replies, and dead peers stay for ever.
    #[test]
    fn connections_inherit_the_options_of_the_listener() {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = bind(any, 1, Duration::from_secs(60)).unwrap().remove(0);
        listener.set_nonblocking(false).unwrap();
        let _peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(
            socket.tcp_keepalive_time().unwrap(),
            Duration::from_secs(60)
        );
        assert_eq!(
            socket.tcp_keepalive_interval().unwrap(),
            Duration::from_secs(30)
        );
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_PROBES);
    }
}
