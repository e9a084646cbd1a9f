//! A connection's bytes on their way to and from the peer: as they are, or by TLS.
//!
//! Nothing here waits. What cannot be done now is [`io::ErrorKind::WouldBlock`], and the event loop tells when to try
//! again. Sockets are watched edge-triggered: after less was read than asked for, the system tells of what comes next.
//!
//! The commonest calls go to the system without the C library between: what that does for threads that may be cancelled
//! is a tenth of the instructions of an unpipelined get.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use mio::net::TcpStream;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustls::{ServerConfig, ServerConnection};

use crate::domain::Fingerprint;
use crate::engine::protocol::Output;

/// Pieces handed to one vectored write.
const PIECES: usize = 32;

/// One socket, and TLS over it once that has begun.
#[derive(Debug)]
pub struct Transport {
    socket: TcpStream,
    tls: Option<Box<Tls>>,
}

/// What a read brought.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// None at the peer's end of the stream.
    pub bytes: usize,
    /// More may be here already, of which the system will not tell again.
    pub maybe_more: bool,
}

impl Transport {
    pub fn plain(socket: TcpStream) -> Transport {
        Transport { socket, tls: None }
    }

    /// Goes on by TLS, of which nothing has been read yet.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub fn begin_tls(&mut self, config: Arc<ServerConfig>) -> io::Result<()> {
        let session = ServerConnection::new(config).map_err(io::Error::other)?;
        self.tls = Some(Box::new(Tls {
            session,
            is_dry: false,
            peer_closed: false,
        }));
        Ok(())
    }

    /// The first byte that is here, left where it is; none at the peer's end of the stream.
    ///
    /// # Errors
    /// Of the socket.
    pub fn first_byte(&self) -> io::Result<Option<u8>> {
        let mut first = [0];
        let bytes = self.socket.peek(&mut first)?;
        Ok((bytes > 0).then_some(first[0]))
    }

    /// Goes on with the handshake.
    ///
    /// # Errors
    /// As [`Transport::read`].
    pub fn shake_hands(&mut self) -> io::Result<()> {
        match &mut self.tls {
            None => Ok(()),
            Some(tls) => tls.shake_hands(&mut self.socket),
        }
    }

    /// The certificate by which the peer has identified itself.
    pub fn peer_certificate(&self) -> Option<Fingerprint> {
        let chain = self.tls.as_ref()?.session.peer_certificates()?;
        chain
            .first()
            .map(|certificate| Fingerprint::of(certificate))
    }

    /// # Errors
    /// Of the socket; [`io::ErrorKind::InvalidData`] when the peer's TLS is wrong.
    #[inline]
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        match &mut self.tls {
            None => {
                let (bytes, _) = recv(&self.socket, &mut *buffer, RecvFlags::empty())?;
                let maybe_more = bytes == buffer.len();
                Ok(Received { bytes, maybe_more })
            }
            Some(tls) => tls.read(&mut self.socket, buffer),
        }
    }

    /// Sends all of it, and takes from `out` what is on its way.
    ///
    /// # Errors
    /// Of the socket. After [`io::ErrorKind::WouldBlock`], even with nothing left in `out`, call it again.
    #[inline]
    pub fn write(&mut self, out: &mut Output) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            return tls.write(&mut self.socket, out);
        }
        while !out.is_empty() {
            let sent = match out.as_one_piece() {
                Some(piece) => send(&self.socket, piece, SendFlags::NOSIGNAL)?,
                None => write_pieces(&mut self.socket, out)?,
            };
            took(sent, out)?;
        }
        Ok(())
    }

    /// Whether TLS has something of its own to send that the socket has not taken.
    pub fn holds_back(&self) -> bool {
        self.tls
            .as_ref()
            .is_some_and(|tls| tls.session.wants_write())
    }

    /// Ends our side. May be called again after [`io::ErrorKind::WouldBlock`].
    ///
    /// # Errors
    /// Of the socket.
    pub fn shut(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.session.send_close_notify();
            tls.flush(&mut self.socket)?;
        }
        self.socket.shutdown(Shutdown::Write)
    }

    /// Reads what nobody will look at, TLS or not; 0 at the peer's end of the stream.
    ///
    /// # Errors
    /// Of the socket.
    pub fn discard(&mut self, scrap: &mut [u8]) -> io::Result<usize> {
        self.socket.read(scrap)
    }
}

/// One write of as much as there is in several pieces.
#[inline(never)]
fn write_pieces(writer: &mut impl Write, out: &Output) -> io::Result<usize> {
    let mut pieces = [IoSlice::new(&[]); PIECES];
    let filled = out.pieces(&mut pieces);
    writer.write_vectored(&pieces[..filled])
}

#[inline]
fn took(sent: usize, out: &mut Output) -> io::Result<()> {
    if sent == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    out.advance(sent);
    Ok(())
}

#[derive(Debug)]
struct Tls {
    session: ServerConnection,
    /// The last read from the socket brought less than asked for.
    is_dry: bool,
    /// The peer has said by TLS that it sends nothing more.
    peer_closed: bool,
}

impl Tls {
    fn shake_hands(&mut self, socket: &mut TcpStream) -> io::Result<()> {
        self.flush(socket)?;
        while self.session.is_handshaking() {
            if self.receive(socket)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    #[inline(never)]
    fn read(&mut self, socket: &mut TcpStream, buffer: &mut [u8]) -> io::Result<Received> {
        self.flush(socket)?;
        loop {
            match self.session.reader().read(buffer) {
                Ok(bytes) => {
                    let maybe_more = bytes == buffer.len() || !self.is_dry || self.peer_closed;
                    return Ok(Received { bytes, maybe_more });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.receive(socket)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads once from the socket, and answers what TLS itself has to answer, alerts included.
    fn receive(&mut self, socket: &mut TcpStream) -> io::Result<usize> {
        let mut source = Source {
            socket,
            is_dry: &mut self.is_dry,
        };
        let bytes = self.session.read_tls(&mut source)?;
        let processed = self.session.process_new_packets();
        let flushed = self.flush(socket);
        let state = processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.peer_closed = state.peer_has_closed();
        flushed.map(|()| bytes)
    }

    #[inline(never)]
    fn write(&mut self, socket: &mut TcpStream, out: &mut Output) -> io::Result<()> {
        loop {
            // The session takes a bounded amount, so it is emptied before it gets more.
            self.flush(socket)?;
            if out.is_empty() {
                return Ok(());
            }
            let sent = write_pieces(&mut self.session.writer(), out)?;
            took(sent, out)?;
        }
    }

    fn flush(&mut self, socket: &mut TcpStream) -> io::Result<()> {
        while self.session.wants_write() {
            if self.session.write_tls(socket)? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }
}

/// The socket, with a note whether it has been emptied.
struct Source<'t> {
    socket: &'t mut TcpStream,
    is_dry: &'t mut bool,
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.socket.read(buffer)?;
        *self.is_dry = bytes < buffer.len();
        Ok(bytes)
    }
}
