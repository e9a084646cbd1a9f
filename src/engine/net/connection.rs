//! The socket's side of an [`Exchange`]: a state machine that the event loop drives.
//!
//! ```text
//!  DetectTls ──first byte──▶ Handshake ──▶ Serving ──▶ Closing ──▶ closed
//!      └────────────────plain TCP─────────────▲
//! ```
//!
//! An idle connection holds no buffer. A visit reads into the thread's scratch buffer, executes every whole command in
//! it, and sends all replies with one write. Only an unfinished command or an unsent rest of the replies moves into
//! memory of the connection. Nothing is read while replies are unsent, so a client that does not read its replies
//! makes the engine hold the replies of one visit at most.

use std::io;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::ServerConfig;

use super::exchange::Exchange;
use super::transport::{TlsMode, Transport};
use super::visit::{AfterVisit, Scratch, Visit};
use crate::domain::Fingerprint;
use crate::engine::client_verifier::{RefusedCertificate, take_refused};
use crate::engine::fairness::work_of_visit;
use crate::engine::protocol::ProtocolError;
use crate::engine::refused_logins::CertificateRefusal;
use crate::engine::session::{ClientSession, Fed, Next};
use crate::engine::state::{EngineState, OpenSocket, TooManyConnections};

/// The thread gives up an output buffer that has grown beyond this.
const OUTPUT_KEPT_BYTES: usize = 1 << 20;
/// The first byte of a TLS handshake. No memcached dialect begins with it.
const TLS_HANDSHAKE: u8 = 0x16;

/// One connection and what it holds.
pub struct Connection {
    transport: Transport,
    state: ConnectionState,
    exchange: Exchange,
    /// What the session asked for last.
    next: Next,
    stop_reply: StopReply,
    peer_ended: bool,
    /// There may be more to read. The kernel reports it only once, so the connection has to remember it.
    maybe_more: bool,
    /// Counts the socket; dropping it counts it out.
    _open: OpenSocket,
}

#[derive(Debug)]
enum ConnectionState {
    /// The first byte decides between plain TCP and TLS.
    DetectTls(Arc<ServerConfig>),
    Handshake,
    Serving,
    /// Waits for the peer to read the last reply. Closing at once, with bytes of the peer unread, would make the
    /// kernel send a reset, which can destroy that reply.
    Closing {
        shut: bool,
    },
}

/// What a connection still owes its client when the engine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StopReply {
    /// The engine does not stop, or the connection was between requests.
    None,
    /// The reply to the request that is half received. Requests behind it are not executed.
    Awaited,
    /// That reply was sent.
    Sent,
}

impl Connection {
    /// # Errors
    /// When the TLS settings cannot be used.
    pub fn new(
        socket: TcpStream,
        tls_mode: TlsMode,
        session: ClientSession,
        open: OpenSocket,
        now_sweeps: u32,
    ) -> io::Result<Connection> {
        let mut transport = Transport::plain(socket);
        let state = match tls_mode {
            TlsMode::Plain => ConnectionState::Serving,
            TlsMode::Detect(config) => ConnectionState::DetectTls(config),
            TlsMode::Tls(config) => {
                transport.begin_tls(config)?;
                ConnectionState::Handshake
            }
        };
        Ok(Connection {
            transport,
            state,
            exchange: Exchange::new(session, now_sweeps),
            next: Next::Read,
            stop_reply: StopReply::None,
            peer_ended: false,
            maybe_more: false,
            _open: open,
        })
    }

    /// Notes a readiness event: there is something to read, or the peer has ended its side. Events are edge-triggered,
    /// so the kernel reports each change once. Returns whether a visit has anything to do.
    #[inline]
    pub fn note_readiness(&mut self, readable: bool, ended: bool) -> bool {
        self.peer_ended |= ended;
        self.maybe_more |= readable | ended;
        readable | ended || self.exchange.has_unsent() || self.transport.has_unsent_tls()
    }

    /// Whether its tenant is over its fair share of the thread. False before login, when there is no tenant yet.
    #[inline]
    pub fn is_over_share(&self, epoch: u32) -> bool {
        let traffic = self.exchange.session().traffic();
        traffic.is_some_and(|traffic| traffic.recent_work.is_over_share(epoch))
    }

    /// Whether its deadline has passed, or (if `check_revoked`) its credential was revoked.
    pub fn must_close(&self, engine: &EngineState, now_sweeps: u32, check_revoked: bool) -> bool {
        let revoked = || {
            let account = self.exchange.session().account();
            account.is_some_and(|account| account.is_revoked())
        };
        let overdue = self.exchange.is_overdue(now_sweeps, &engine.limits);
        overdue || (check_revoked && revoked())
    }

    /// Whether the client has logged in.
    #[inline]
    pub fn is_logged_in(&self) -> bool {
        self.exchange.is_logged_in()
    }

    /// Memory that it holds beside itself.
    pub fn held_bytes(&self) -> usize {
        self.exchange.held_bytes() + self.transport.tls_bytes()
    }

    /// Gives back what it is still charged, if it is at rest.
    #[inline]
    pub fn settle(&mut self) {
        self.exchange.settle();
    }

    /// Whether it can be asked to close between requests. Before the first request it is simply closed.
    pub fn can_close_gracefully(&self) -> bool {
        matches!(
            self.state,
            ConnectionState::Serving | ConnectionState::Closing { .. }
        )
    }

    /// One visit. An error of the socket closes the connection silently, because nobody is left to tell.
    #[inline]
    pub fn drive(&mut self, visit: &mut Visit<'_>) -> AfterVisit {
        match self.advance(visit) {
            Ok(after) => after,
            Err(error) => self.after_error(&error, visit.now_sweeps),
        }
    }

    #[cold]
    fn after_error(&mut self, error: &io::Error, now_sweeps: u32) -> AfterVisit {
        let is_closing = matches!(self.state, ConnectionState::Closing { .. });
        match error.kind() {
            io::ErrorKind::WouldBlock => AfterVisit::Idle,
            io::ErrorKind::Interrupted => AfterVisit::Again,
            // TLS has an alert to send, which tells the peer why it is refused.
            io::ErrorKind::InvalidData if !is_closing => {
                self.state = ConnectionState::Closing { shut: false };
                self.exchange.begin_close(now_sweeps);
                AfterVisit::Again
            }
            _ => AfterVisit::Closed,
        }
    }

    fn advance(&mut self, visit: &mut Visit<'_>) -> io::Result<AfterVisit> {
        match self.state {
            ConnectionState::Serving => self.serve(visit),
            ConnectionState::DetectTls(_) => self.detect_tls(),
            ConnectionState::Handshake => self.handshake(visit),
            ConnectionState::Closing { shut } => self.finish_close(visit, shut),
        }
    }

    #[cold]
    fn detect_tls(&mut self) -> io::Result<AfterVisit> {
        let Some(first) = self.transport.first_byte()? else {
            return Ok(AfterVisit::Closed);
        };
        let state = std::mem::replace(&mut self.state, ConnectionState::Serving);
        if let (TLS_HANDSHAKE, ConnectionState::DetectTls(config)) = (first, state) {
            self.transport.begin_tls(config)?;
            self.state = ConnectionState::Handshake;
        }
        Ok(AfterVisit::Again)
    }

    #[cold]
    fn handshake(&mut self, visit: &mut Visit<'_>) -> io::Result<AfterVisit> {
        if let Err(error) = self.transport.handshake() {
            if let Some(refused) = take_refused() {
                let session = self.exchange.session();
                session.certificate_refused(visit.engine, &refused);
            }
            return Err(error);
        }
        self.state = ConnectionState::Serving;
        if let Some(certificate) = self.transport.peer_certificate()
            && let Err(refusal) =
                log_in_by_certificate(self.exchange.session_mut(), visit, certificate)
        {
            self.exchange.push_unsent(refusal);
            self.next = Next::Close;
        }
        self.exchange.end_visit(false, visit.now_sweeps);
        Ok(AfterVisit::Again)
    }

    #[inline]
    fn serve(&mut self, visit: &mut Visit<'_>) -> io::Result<AfterVisit> {
        if self.exchange.has_unsent() {
            self.send_rest(visit.now_sweeps)?;
            return self.end_visit(visit, false);
        }
        match self.next {
            Next::Read => self.read(visit),
            Next::Again | Next::Wait => {
                let fed = self.exchange.resume(visit.engine, &mut visit.scratch.out);
                self.answer(visit, 0, fed)
            }
            Next::Close => self.begin_close(visit),
        }
    }

    /// Reads once, executes, writes once.
    #[inline]
    fn read(&mut self, visit: &mut Visit<'_>) -> io::Result<AfterVisit> {
        if visit.stopping && self.is_between_requests() {
            return self.begin_close(visit);
        }
        let Scratch { input, out } = &mut *visit.scratch;
        let received = self.transport.read(input)?;
        if received.bytes == 0 {
            // Whole requests were answered; an unfinished one has no effect.
            return self.begin_close(visit);
        }
        // After the peer has ended its side, the end of the stream is still to be read.
        self.maybe_more = received.maybe_more || self.peer_ended;
        let input = &input[..received.bytes];
        let fed = self.exchange.receive(visit.engine, input, out);
        self.answer(visit, received.bytes, fed)
    }

    /// Sends what the socket takes at once. The rest moves into memory of the connection.
    #[inline]
    fn answer(&mut self, visit: &mut Visit<'_>, read: usize, fed: Fed) -> io::Result<AfterVisit> {
        let out = &mut visit.scratch.out;
        visit.work = work_of_visit(fed.commands, read + out.len());
        if let Some(traffic) = self.exchange.session().traffic() {
            traffic.moved(read, out.len());
            traffic.recent_work.note(visit.epoch, visit.work);
        } else {
            visit.anonymous = true;
        }
        self.next = fed.next;
        if self.stop_reply == StopReply::Awaited && !out.is_empty() {
            self.stop_reply = StopReply::Sent;
        }
        if let Err(error) = self.transport.write(out) {
            return Err(self.keep_unsent(error, visit));
        }
        out.shrink(OUTPUT_KEPT_BYTES);
        self.end_visit(visit, fed.commands > 0)
    }

    #[cold]
    fn keep_unsent(&mut self, error: io::Error, visit: &mut Visit<'_>) -> io::Error {
        if let io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted = error.kind() {
            let in_tls = self.transport.unsent_tls_bytes();
            let (limits, out) = (&visit.engine.limits, &mut visit.scratch.out);
            if !self
                .exchange
                .keep_unsent(limits, out, in_tls, visit.now_sweeps)
            {
                return io::ErrorKind::OutOfMemory.into();
            }
        }
        error
    }

    /// Sends more of the unsent replies. The sweep closes a peer that takes them too slowly.
    fn send_rest(&mut self, now_sweeps: u32) -> io::Result<()> {
        let Some(unsent) = self.exchange.unsent() else {
            return Ok(());
        };
        let before = unsent.len();
        let sent = self.transport.write(unsent);
        if unsent.len() < before {
            self.exchange.note_taken(now_sweeps);
        }
        sent?;
        self.exchange.all_sent();
        Ok(())
    }

    /// Decides what comes next, once all replies are sent.
    #[inline(always)]
    fn end_visit(&mut self, visit: &mut Visit<'_>, completed: bool) -> io::Result<AfterVisit> {
        self.exchange.end_visit(completed, visit.now_sweeps);
        if visit.stopping && self.next == Next::Read && self.may_stop_now() {
            return self.begin_close(visit);
        }
        match self.next {
            Next::Read if self.maybe_more => Ok(AfterVisit::Again),
            Next::Read => Ok(AfterVisit::Idle),
            Next::Again => Ok(AfterVisit::Again),
            Next::Wait => Ok(AfterVisit::Pause),
            Next::Close => self.begin_close(visit),
        }
    }

    /// Whether the connection owes no reply when the engine stops. Otherwise it starts to await that reply.
    fn may_stop_now(&mut self) -> bool {
        if self.is_between_requests() || self.stop_reply == StopReply::Sent {
            return true;
        }
        self.stop_reply = StopReply::Awaited;
        false
    }

    #[inline]
    fn is_between_requests(&self) -> bool {
        self.exchange.is_between_requests()
    }

    #[cold]
    fn begin_close(&mut self, visit: &mut Visit<'_>) -> io::Result<AfterVisit> {
        self.state = ConnectionState::Closing { shut: false };
        self.exchange.begin_close(visit.now_sweeps);
        self.finish_close(visit, false)
    }

    /// Ends our side of the stream, then drops what the peer still sends until it closes.
    fn finish_close(&mut self, visit: &mut Visit<'_>, shut: bool) -> io::Result<AfterVisit> {
        if !shut {
            self.transport.shut()?;
            self.state = ConnectionState::Closing { shut: true };
        }
        match self.transport.discard(&mut visit.scratch.input)? {
            0 => Ok(AfterVisit::Closed),
            _ => Ok(AfterVisit::Again),
        }
    }
}

/// Logs the session in as the credential that the client certificate belongs to.
///
/// The certificate is looked up here once more. A handshake that resumed an older TLS session did not verify it, and it
/// may have been revoked since the handshake. From here on the session is logged in: a SASL login replaces the
/// identity, and a text `set` stores.
///
/// # Errors
/// The reply to send before closing; empty when the certificate is unknown.
fn log_in_by_certificate(
    session: &mut ClientSession,
    visit: &Visit<'_>,
    certificate: &[u8],
) -> Result<(), &'static [u8]> {
    let Some(account) = visit.engine.certified(&Fingerprint::of(certificate)) else {
        let refused = RefusedCertificate::of(certificate, CertificateRefusal::Unknown);
        session.certificate_refused(visit.engine, &refused);
        return Err(&[]);
    };
    session
        .admit(visit.engine, account)
        .map_err(|TooManyConnections| ProtocolError::TooManyConnections.text())
}
