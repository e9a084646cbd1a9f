//! Doors to the engine: sockets that listen, one set per thread.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use super::connection::Opening;
use crate::domain::CacheId;
use crate::engine::EngineError;
use crate::engine::node::Node;
use crate::engine::protocol::Fault;
use crate::engine::session::{self, Session};
use crate::engine::tls::Certificates;

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
    /// PEM files, read at start and by [`crate::engine::Engine::reload_tls`].
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

/// Binds one socket per thread to the same address; the kernel deals connections out. An address that another process
/// listens on is refused: shared with it, every other customer would be let in by the wrong one.
pub fn bind(
    addr: SocketAddr,
    threads: usize,
    keepalive: Duration,
) -> Result<Vec<std::net::TcpListener>, EngineError> {
    let failed = |source| EngineError::Listen { addr, source };
    let first = bind_one(addr, keepalive, Sharing::Opens).map_err(failed)?;
    let bound = first.local_addr().map_err(failed)?;
    let mut sockets = vec![first];
    for _ in 1..threads {
        sockets.push(bind_one(bound, keepalive, Sharing::Joins).map_err(failed)?);
    }
    Ok(sockets)
}

/// How a socket comes to share its address.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    /// It must be alone when it is bound, and lets others in from then on.
    Opens,
    Joins,
}

fn bind_one(
    addr: SocketAddr,
    keepalive: Duration,
    sharing: Sharing,
) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(sharing == Sharing::Joins)?;
    socket.set_nonblocking(true)?;
    // Connections inherit these on Linux, which spares four calls for each (tcp(7), socket(7)).
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

/// A listening socket in its loop.
pub struct Door {
    listener: TcpListener,
    pub guests: Guests,
    /// The system says that somebody came. It says so once.
    has_guests: bool,
    closed_until: Option<Instant>,
}

impl Door {
    pub fn new(entrance: Entrance) -> Door {
        Door {
            listener: TcpListener::from_std(entrance.socket),
            guests: entrance.guests,
            has_guests: false,
            closed_until: None,
        }
    }

    /// What is to be watched.
    pub fn source(&mut self) -> &mut TcpListener {
        &mut self.listener
    }

    /// Somebody came.
    pub fn knock(&mut self) {
        self.has_guests = self.closed_until.is_none();
    }

    /// Whether [`Door::accept`] is worth a call.
    pub fn has_guests(&self) -> bool {
        self.has_guests
    }

    pub fn closed_until(&self) -> Option<Instant> {
        self.closed_until
    }

    /// Ends a pause that is over.
    pub fn reopen(&mut self, now: Instant) {
        if self.closed_until.is_some_and(|until| until <= now) {
            self.closed_until = None;
            self.has_guests = true;
        }
    }

    /// The next who stands here. After a failure the door is closed for a moment.
    pub fn accept(&mut self) -> Option<(TcpStream, IpAddr)> {
        while self.has_guests {
            match self.listener.accept() {
                Ok((socket, peer)) => return Some((socket, peer.ip().to_canonical())),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    io::ErrorKind::WouldBlock => self.has_guests = false,
                    _ => {
                        self.has_guests = false;
                        self.closed_until = Some(Instant::now() + ACCEPT_PAUSE);
                    }
                },
            }
        }
        None
    }
}

impl Guests {
    /// How a connection of theirs begins.
    ///
    /// # Errors
    /// What to say to one that cannot be let in.
    pub fn greet(
        &self,
        node: &Node,
        remote: IpAddr,
        thread: usize,
    ) -> Result<(Opening, Session), Fault> {
        let opening = match self {
            Guests::Plain => Opening::Plain,
            Guests::Tls(certificates) => Opening::Tls(certificates.present()),
            Guests::Either(certificates) => Opening::Either(certificates.present()),
            Guests::Open(cache) => {
                let account = node.directory.open_account(*cache);
                let seat = account.and_then(|account| node.seat(account).ok());
                let seat = seat.ok_or(Fault::TooManyConnections)?;
                return Ok((Opening::Plain, Session::open(seat, Some(remote), thread)));
            }
        };
        Ok((
            opening,
            Session::new(session::Door::Locked, Some(remote), thread),
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
        // Another process binds as we do.
        let refused = bind(addr, 3, Duration::from_secs(60)).unwrap_err();
        let EngineError::Listen { source, .. } = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(source.kind(), io::ErrorKind::AddrInUse);

        // The chance that one of three gets none of 200 is below 10^-34.
        let _peers: Vec<_> = (0..200)
            .map(|_| std::net::TcpStream::connect(addr).unwrap())
            .collect();
        for socket in &sockets {
            assert!(socket.accept().is_ok(), "the kernel deals out");
        }
    }

    /// Nothing else sets these, and without them replies wait for one another and dead peers stay for ever.
    #[test]
    fn connections_inherit_what_the_listener_has_set() {
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
