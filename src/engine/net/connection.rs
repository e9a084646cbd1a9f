//! The socket's side of a [`Session`]: a state machine that the event loop drives.
//!
//! ```text
//!  Arrived ──first byte──▶ Shaking ──handshake──▶ Serving ──▶ Leaving ──▶ gone
//!     └───────────────────plain─────────────────────▲
//! ```
//!
//! Idle connections hold no buffer. A turn reads into the thread's scratch buffer, executes every whole command in
//! it, and sends all replies with one write. Only a cut-off command or an unsent rest moves into memory of the
//! connection. Nothing is read while output waits, so a client that does not take its replies holds at most one
//! turn's output.

use std::io;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::ServerConfig;

use super::phase::{Phase, Progress};
use super::transport::Transport;
use crate::domain::Fingerprint;
use crate::engine::node::{Full, Node, OpenSocket};
use crate::engine::protocol::{Fault, Output};
use crate::engine::session::{Fed, Next, Session};
use crate::engine::shares::work_of_turn;

/// Bytes read at once.
const SCRATCH_BYTES: usize = 64 << 10;
/// An output buffer that grew beyond this is not kept.
const OUTPUT_KEPT_BYTES: usize = 1 << 20;
/// The first byte of a TLS hello. No dialect begins with it.
const TLS_HANDSHAKE: u8 = 0x16;

/// Buffers of one serving thread, used by one connection at a time and never across a wait.
pub struct Scratch {
    input: Box<[u8]>,
    out: Output,
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch {
            input: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            out: Output::default(),
        }
    }
}

impl Scratch {
    /// For the next connection, after one that ended in the middle of a turn.
    pub fn clear(&mut self) {
        self.out.clear();
    }
}

/// What a connection works with while it has its turn.
pub struct Turn<'t> {
    pub node: &'t Node,
    pub scratch: &'t mut Scratch,
    /// The time, in sweeps.
    pub now: u32,
    /// The engine stops: say goodbye between two requests.
    pub stopping: bool,
    /// The time, in work that the thread has done.
    pub epoch: u32,
    /// What requests of this turn cost.
    pub work: u32,
}

/// What becomes of a connection after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Nothing to do before the socket has news.
    Rest,
    /// Has more to do, once others had a turn.
    Again,
    /// Has more to do a moment later.
    Pause,
    Gone,
}

/// One connection and what it holds.
pub struct Connection {
    transport: Transport,
    stage: Stage,
    session: Session,
    progress: Progress,
    /// What the session wants next.
    next: Next,
    farewell: Farewell,
    peer_ended: bool,
    /// More may be here to read, of which the system will not tell again.
    maybe_more: bool,
    /// Bytes of a request that is not whole yet, or beyond this turn.
    pending: Vec<u8>,
    /// How much of `pending` is done with.
    done: usize,
    /// What the socket did not take at once. Empty when it is TLS that holds the rest.
    unsent: Option<Box<Output>>,
    /// Counts the socket out of the node at the end.
    _open: OpenSocket,
}

#[derive(Debug)]
enum Stage {
    /// Plain or TLS, as the first byte has it.
    Arrived(Arc<ServerConfig>),
    Shaking,
    Serving,
    /// Lets the peer take the last reply: closing at once, with bytes of the peer unread, would reset the connection
    /// and could destroy it.
    Leaving {
        shut: bool,
    },
}

/// How far a connection has come with leaving, once the engine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Farewell {
    /// Nobody asked for it.
    Not,
    /// The request that is half here is still answered. What comes behind it is not: it has no effect.
    Awaits,
    /// It was answered.
    Said,
}

/// How a connection begins.
#[derive(Clone, Debug)]
pub enum Opening {
    Plain,
    Tls(Arc<ServerConfig>),
    /// Plain or TLS, as the first byte has it.
    Either(Arc<ServerConfig>),
}

impl Connection {
    /// # Errors
    /// When the settings of TLS cannot be used.
    pub fn new(
        socket: TcpStream,
        opening: Opening,
        session: Session,
        open: OpenSocket,
        now: u32,
    ) -> io::Result<Connection> {
        let mut transport = Transport::plain(socket);
        let stage = match opening {
            Opening::Plain => Stage::Serving,
            Opening::Either(config) => Stage::Arrived(config),
            Opening::Tls(config) => {
                transport.begin_tls(config)?;
                Stage::Shaking
            }
        };
        Ok(Connection {
            transport,
            stage,
            progress: Progress::new(phase_of(&session, true), now),
            session,
            next: Next::Read,
            farewell: Farewell::Not,
            peer_ended: false,
            maybe_more: false,
            pending: Vec::new(),
            done: 0,
            unsent: None,
            _open: open,
        })
    }

    /// Takes note of what the system says, and will not say again: that there is something to read, that the peer
    /// sends nothing more than what is here. Whether a turn is worth while.
    #[inline]
    pub fn note_news(&mut self, readable: bool, ended: bool) -> bool {
        self.peer_ended |= ended;
        self.maybe_more |= readable | ended;
        readable | ended || self.unsent.is_some() || self.transport.holds_back()
    }

    /// Whether its tenant does more than its share. Who has not logged in has no tenant.
    #[inline]
    pub fn is_loud(&self, epoch: u32) -> bool {
        let traffic = self.session.traffic();
        traffic.is_some_and(|traffic| traffic.share.is_used_up(epoch))
    }

    /// Whether its time has come.
    pub fn is_over(&self, node: &Node, now: u32, look_for_revoked: bool) -> bool {
        let revoked = || {
            let account = self.session.account();
            account.is_some_and(|account| account.is_revoked())
        };
        self.progress.is_overdue(now, &node.limits) || (look_for_revoked && revoked())
    }

    /// Whether it can be asked to end: one that has not begun to converse cannot.
    pub fn is_conversing(&self) -> bool {
        matches!(self.stage, Stage::Serving | Stage::Leaving { .. })
    }

    /// One turn. Errors of the socket end the connection silently: nobody is left to tell.
    #[inline]
    pub fn drive(&mut self, turn: &mut Turn<'_>) -> After {
        match self.advance(turn) {
            Ok(after) => after,
            Err(error) => self.after_error(&error, turn.now),
        }
    }

    #[cold]
    fn after_error(&mut self, error: &io::Error, now: u32) -> After {
        match error.kind() {
            io::ErrorKind::WouldBlock => After::Rest,
            io::ErrorKind::Interrupted => After::Again,
            // TLS has an alert to send, which tells the peer why it is refused.
            io::ErrorKind::InvalidData if !matches!(self.stage, Stage::Leaving { .. }) => {
                self.stage = Stage::Leaving { shut: false };
                self.progress.enter(Phase::Closing, now);
                After::Again
            }
            _ => After::Gone,
        }
    }

    fn advance(&mut self, turn: &mut Turn<'_>) -> io::Result<After> {
        match self.stage {
            Stage::Serving => self.converse(turn),
            Stage::Arrived(_) => self.recognise(),
            Stage::Shaking => self.shake_hands(turn),
            Stage::Leaving { shut } => self.take_leave(turn, shut),
        }
    }

    #[cold]
    fn recognise(&mut self) -> io::Result<After> {
        let Some(first) = self.transport.first_byte()? else {
            return Ok(After::Gone);
        };
        let stage = std::mem::replace(&mut self.stage, Stage::Serving);
        if let (TLS_HANDSHAKE, Stage::Arrived(config)) = (first, stage) {
            self.transport.begin_tls(config)?;
            self.stage = Stage::Shaking;
        }
        Ok(After::Again)
    }

    #[cold]
    fn shake_hands(&mut self, turn: &mut Turn<'_>) -> io::Result<After> {
        self.transport.shake_hands()?;
        self.stage = Stage::Serving;
        if let Some(certificate) = self.transport.peer_certificate()
            && let Err(refusal) = identify(&mut self.session, turn.node, &certificate)
        {
            let mut last_word = Box::new(Output::default());
            last_word.push(refusal);
            self.unsent = Some(last_word);
            self.next = Next::Close;
        }
        self.settle(turn.now);
        Ok(After::Again)
    }

    #[inline]
    fn converse(&mut self, turn: &mut Turn<'_>) -> io::Result<After> {
        if self.unsent.is_some() {
            self.send_rest(turn.now)?;
            return self.end_turn(turn);
        }
        match self.next {
            Next::Read => self.read(turn),
            Next::Again | Next::Wait => {
                let fed = self.feed_pending(turn.node, &mut turn.scratch.out);
                self.answer(turn, 0, fed)
            }
            Next::Close => self.leave(turn),
        }
    }

    /// Reads once, executes, writes once.
    #[inline]
    fn read(&mut self, turn: &mut Turn<'_>) -> io::Result<After> {
        if turn.stopping && self.is_between_requests() {
            return self.leave(turn);
        }
        let Scratch { input, out } = &mut *turn.scratch;
        let received = self.transport.read(input)?;
        if received.bytes == 0 {
            // Whole requests are answered; a cut-off one has no effect.
            return self.leave(turn);
        }
        // Where the peer has ended its side, the end stands behind what was read.
        self.maybe_more = received.maybe_more || self.peer_ended;
        let input = &input[..received.bytes];
        let fed = if self.pending.is_empty() {
            let fed = self.session.feed(turn.node, input, out);
            if fed.used < input.len() {
                self.pending.extend_from_slice(&input[fed.used..]);
            }
            fed
        } else {
            self.pending.extend_from_slice(input);
            self.feed_pending(turn.node, out)
        };
        self.answer(turn, received.bytes, fed)
    }

    fn feed_pending(&mut self, node: &Node, out: &mut Output) -> Fed {
        let input = &self.pending[self.done..];
        let fed = self.session.feed(node, input, out);
        self.done += fed.used;
        if self.done == self.pending.len() {
            self.pending = Vec::new();
            self.done = 0;
        } else if fed.next == Next::Read {
            self.pending.drain(..self.done);
            self.done = 0;
        }
        fed
    }

    /// Sends what the socket takes at once; the rest becomes the connection's own.
    #[inline]
    fn answer(&mut self, turn: &mut Turn<'_>, read: usize, fed: Fed) -> io::Result<After> {
        let out = &mut turn.scratch.out;
        turn.work = work_of_turn(fed.commands, read + out.len());
        if let Some(traffic) = self.session.traffic() {
            traffic.moved(read, out.len());
            traffic.share.note(turn.epoch, turn.work);
        }
        self.next = fed.next;
        if self.farewell == Farewell::Awaits && !out.is_empty() {
            self.farewell = Farewell::Said;
        }
        if let Err(error) = self.transport.write(out) {
            return Err(self.keep_unsent(error, turn));
        }
        out.shrink(OUTPUT_KEPT_BYTES);
        self.end_turn(turn)
    }

    #[cold]
    fn keep_unsent(&mut self, error: io::Error, turn: &mut Turn<'_>) -> io::Error {
        if let io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted = error.kind() {
            self.unsent = Some(Box::new(std::mem::take(&mut turn.scratch.out)));
            self.progress.enter(Phase::Writing, turn.now);
        }
        error
    }

    /// Goes on sending. The sweep closes a peer that takes nothing for too long.
    fn send_rest(&mut self, now: u32) -> io::Result<()> {
        let Some(unsent) = &mut self.unsent else {
            return Ok(());
        };
        let before = unsent.len();
        let sent = self.transport.write(unsent);
        if unsent.len() < before {
            self.progress.enter(Phase::Writing, now);
        }
        sent?;
        self.unsent = None;
        Ok(())
    }

    /// After all replies of a turn are sent.
    #[inline]
    fn end_turn(&mut self, turn: &mut Turn<'_>) -> io::Result<After> {
        self.settle(turn.now);
        if turn.stopping && self.next == Next::Read && self.is_done() {
            return self.leave(turn);
        }
        match self.next {
            Next::Read if self.maybe_more => Ok(After::Again),
            Next::Read => Ok(After::Rest),
            Next::Again => Ok(After::Again),
            Next::Wait => Ok(After::Pause),
            Next::Close => self.leave(turn),
        }
    }

    #[inline]
    fn settle(&mut self, now: u32) {
        let phase = phase_of(&self.session, self.is_between_requests());
        self.progress.enter(phase, now);
    }

    /// Whether a connection that is asked to leave has nothing left to answer.
    fn is_done(&mut self) -> bool {
        if self.is_between_requests() || self.farewell == Farewell::Said {
            return true;
        }
        self.farewell = Farewell::Awaits;
        false
    }

    #[inline]
    fn is_between_requests(&self) -> bool {
        self.pending.is_empty() && self.session.is_between_requests()
    }

    #[cold]
    fn leave(&mut self, turn: &mut Turn<'_>) -> io::Result<After> {
        self.stage = Stage::Leaving { shut: false };
        self.progress.enter(Phase::Closing, turn.now);
        self.take_leave(turn, false)
    }

    fn take_leave(&mut self, turn: &mut Turn<'_>, shut: bool) -> io::Result<After> {
        if !shut {
            self.transport.shut()?;
            self.stage = Stage::Leaving { shut: true };
        }
        match self.transport.discard(&mut turn.scratch.input)? {
            0 => Ok(After::Gone),
            _ => Ok(After::Again),
        }
    }
}

#[inline]
fn phase_of(session: &Session, is_between_requests: bool) -> Phase {
    match (session.account().is_some(), is_between_requests) {
        (false, _) => Phase::Login,
        (true, true) => Phase::Idle,
        (true, false) => Phase::Busy,
    }
}

/// Begins the session as whom the certificate stands for, or gives the last word to say.
///
/// The handshake has looked already, but not one that resumed an older session, and a certificate may have been
/// revoked since. From here on this is a connection that has logged in: another SASL login replaces who it is, and a
/// text `set` is a `set`.
fn identify(
    session: &mut Session,
    node: &Node,
    certificate: &Fingerprint,
) -> Result<(), &'static [u8]> {
    let account = node.certified(certificate).ok_or(&b""[..])?;
    session
        .admit(node, account)
        .map_err(|Full| Fault::TooManyConnections.text())
}
