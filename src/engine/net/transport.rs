//! Reading and writing a socket: plain TCP, or TLS over it.
//!
//! Nothing here blocks. What cannot be done now returns [`io::ErrorKind::WouldBlock`], and a readiness event tells when to
//! try again. Events are edge-triggered: if a read returned less than it asked for, an event reports the next bytes.
//!
//! The most frequent system calls do not go through the C library. What it does there to support thread cancellation was
//! measured as a tenth of the instructions of an unpipelined get.

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use mio::net::TcpStream;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustls::{ServerConfig, ServerConnection};

use crate::engine::protocol::Output;

/// The most unsent bytes that a TLS session buffers, unless it is told otherwise.
const TLS_BUFFER_BYTES: usize = 64 << 10;
/// The most bytes that a peer may send without a byte of data among them: for a handshake, or for the longest record and a
/// part of the next. TLS itself would collect handshake messages of 64 KiB. A handshake with a client certificate takes
/// three to four KiB.
const TLS_DATALESS_BYTES_MAX: usize = 24 << 10;
/// What a TLS session takes by itself, as measured during a handshake.
const TLS_SESSION_BYTES: usize = 8 << 10;
/// The most pieces of one vectored write.
const PIECES: usize = 32;

/// How a connection uses TLS.
#[derive(Clone, Debug)]
pub enum TlsMode {
    Plain,
    Tls(Arc<ServerConfig>),
    /// The first byte decides.
    Detect(Arc<ServerConfig>),
}

/// One socket, and TLS over it once that has begun.
#[derive(Debug)]
pub struct Transport {
    socket: TcpStream,
    tls: Option<Box<Tls>>,
}

/// The result of a read.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    /// 0 at the end of the peer's stream.
    pub bytes: usize,
    /// There may be more to read, which no event will report.
    pub maybe_more: bool,
}

impl Transport {
    pub fn plain(socket: TcpStream) -> Transport {
        Transport { socket, tls: None }
    }

    /// Starts TLS, before anything was read.
    ///
    /// # Errors
    /// When the TLS settings cannot be used.
    pub fn begin_tls(&mut self, config: Arc<ServerConfig>) -> io::Result<()> {
        let session = ServerConnection::new(config).map_err(io::Error::other)?;
        self.tls = Some(Box::new(Tls {
            session,
            is_dry: false,
            peer_closed: false,
            dataless_bytes: 0,
        }));
        Ok(())
    }

    /// The first byte that has arrived, without consuming it. `None` at the end of the peer's stream.
    ///
    /// # Errors
    /// Of the socket.
    pub fn first_byte(&self) -> io::Result<Option<u8>> {
        let mut first = [0];
        let bytes = self.socket.peek(&mut first)?;
        Ok((bytes > 0).then_some(first[0]))
    }

    /// Continues the TLS handshake.
    ///
    /// # Errors
    /// As [`Transport::read`].
    pub fn handshake(&mut self) -> io::Result<()> {
        match &mut self.tls {
            None => Ok(()),
            Some(tls) => tls.handshake(&mut self.socket),
        }
    }

    /// The peer's certificate as DER, if it has presented one.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        let chain = self.tls.as_ref()?.session.peer_certificates()?;
        chain.first().map(|certificate| certificate.as_ref())
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

    /// Sends all of `out`, and removes from it what the socket has taken.
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

    /// Whether TLS has data to send that the socket has not taken.
    pub fn has_unsent_tls(&self) -> bool {
        self.tls
            .as_ref()
            .is_some_and(|tls| tls.session.wants_write())
    }

    /// Memory that TLS holds for data that the socket has not taken, at most.
    pub fn unsent_tls_bytes(&self) -> usize {
        if self.has_unsent_tls() {
            TLS_BUFFER_BYTES
        } else {
            0
        }
    }

    /// Memory that TLS holds, at most.
    pub fn tls_bytes(&self) -> usize {
        let held = |tls: &Tls| TLS_SESSION_BYTES + tls.dataless_bytes;
        self.tls.as_deref().map_or(0, held) + self.unsent_tls_bytes()
    }

    /// Ends our side of the stream. May be called again after [`io::ErrorKind::WouldBlock`].
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

    /// Reads and drops bytes of the socket, TLS or not. 0 at the end of the peer's stream.
    ///
    /// # Errors
    /// Of the socket.
    pub fn discard(&mut self, scrap: &mut [u8]) -> io::Result<usize> {
        self.socket.read(scrap)
    }
}

/// One vectored write of the unsent pieces.
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
    /// The last read from the socket returned less than it asked for, so the socket is empty.
    is_dry: bool,
    /// The peer has announced by TLS that it sends nothing more.
    peer_closed: bool,
    /// Bytes that the peer has sent since the last of its data.
    dataless_bytes: usize,
}

impl Tls {
    fn handshake(&mut self, socket: &mut TcpStream) -> io::Result<()> {
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

    /// Reads once from the socket, and sends what TLS itself has to answer, including alerts.
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
        self.dataless_bytes = match state.plaintext_bytes_to_read() {
            0 => self.dataless_bytes + bytes,
            _ => 0,
        };
        if self.dataless_bytes > TLS_DATALESS_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        flushed.map(|()| bytes)
    }

    #[inline(never)]
    fn write(&mut self, socket: &mut TcpStream, out: &mut Output) -> io::Result<()> {
        loop {
            // The TLS session buffers a bounded amount, so it is emptied before it gets more.
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

/// The socket, as a source that notes whether it is empty.
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
