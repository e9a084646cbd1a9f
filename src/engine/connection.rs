//! The socket loop around a [`Session`].
//!
//! Idle connections hold no buffer. A turn reads into the thread's scratch buffer, executes every whole command in
//! it, and sends all replies with one write. Only a cut-off command or an unsent rest moves into memory of the
//! connection. Nothing is read while output waits, so a client that does not take its replies holds at most one
//! turn's output.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::auth::Seat;
use super::node::{Node, OpenSocket};
use super::protocol::Output;
use super::registry::{Control, Phase, Registered};
use super::session::{Door, Next, Session};

/// Bytes read at once.
const SCRATCH_BYTES: usize = 64 << 10;
/// An output buffer that grew beyond this is not kept.
const OUTPUT_KEPT_BYTES: usize = 1 << 20;
/// Pieces handed to one vectored write.
const PIECES: usize = 32;
/// Pause of a value that waits for room.
const ROOM_PAUSE: Duration = Duration::from_millis(5);

/// Buffers of one engine thread, used by one connection at a time and never across a wait.
struct Scratch {
    input: Box<[u8]>,
    out: Output,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        input: vec![0; SCRATCH_BYTES].into_boxed_slice(),
        out: Output::default(),
    });
}

/// Runs `turn` with the thread's buffers. Should a turn ever panic, its half-made replies must not reach the next
/// connection, so the output is emptied before as well as after.
fn with_scratch<T>(turn: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.out.clear();
        turn(scratch)
    })
}

/// What a connection occupies until it ends: a counted socket and an entry in the registry.
#[derive(Debug)]
pub struct Place {
    open: OpenSocket,
    registered: Registered,
    remote: IpAddr,
    thread: usize,
}

impl Place {
    pub fn new(open: OpenSocket, registered: Registered, remote: IpAddr, thread: usize) -> Place {
        Place {
            open,
            registered,
            remote,
            thread,
        }
    }

    pub fn node(&self) -> &Arc<Node> {
        self.open.node()
    }

    pub fn control(&self) -> &Control {
        &self.registered.control
    }

    /// The number in the registry.
    pub fn number(&self) -> u64 {
        self.registered.number()
    }

    /// A session that begins with a login.
    pub fn locked_session(&self) -> Session {
        Session::new(Door::Locked, Some(self.remote), self.thread)
    }

    /// A session of the open listener.
    pub fn open_session(&self, seat: Seat) -> Session {
        Session::open(seat, Some(self.remote), self.thread)
    }
}

/// One connection and what it holds.
pub struct Connection<S> {
    stream: S,
    session: Session,
    place: Place,
    /// Bytes of a request that is not whole yet, or beyond this turn.
    pending: Vec<u8>,
    /// How much of `pending` is done with.
    done: usize,
    /// Replies that the socket did not take at once.
    unsent: Option<Box<Output>>,
    farewell: Farewell,
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

/// How a turn ended.
enum Turned {
    Next(Next),
    /// The peer will send nothing more.
    Ended,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub fn new(stream: S, session: Session, place: Place) -> Self {
        Connection {
            stream,
            session,
            place,
            pending: Vec::new(),
            done: 0,
            unsent: None,
            farewell: Farewell::Not,
        }
    }

    /// Serves the peer until one side ends it. Errors of the socket end it silently.
    pub async fn serve(&mut self) {
        // A broken socket has nobody left to tell.
        let _ = self.converse().await;
    }

    async fn converse(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            self.place.control().remember(cx.waker());
            Poll::Ready(())
        })
        .await;
        let mut next = Next::Read;
        loop {
            let turned = match next {
                Next::Read if self.session.upload_buffer().is_some() => self.upload().await?,
                Next::Read => std::future::poll_fn(|cx| self.poll_turn(cx)).await?,
                Next::Again | Next::Wait => std::future::poll_fn(|cx| self.poll_resume(cx)).await?,
                Next::Close => return self.close().await,
            };
            self.flush().await?;
            next = match turned {
                Turned::Next(next) => next,
                // Whole requests are answered; a cut-off one has no effect.
                Turned::Ended => return self.close().await,
            };
            if !self.settle() {
                return Ok(());
            }
            if self.place.control().is_leaving() && matches!(next, Next::Read) && self.is_done() {
                return self.close().await;
            }
            match next {
                Next::Again => tokio::task::yield_now().await,
                Next::Wait => tokio::time::sleep(ROOM_PAUSE).await,
                Next::Read | Next::Close => {}
            }
        }
    }

    /// Whether a connection that is asked to leave has nothing left to answer.
    fn is_done(&mut self) -> bool {
        if self.is_between_requests() || self.farewell == Farewell::Said {
            return true;
        }
        self.farewell = Farewell::Awaits;
        false
    }

    fn is_between_requests(&self) -> bool {
        self.pending.is_empty() && self.session.is_between_requests()
    }

    /// Reads once, executes, writes once.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Turned>> {
        if self.place.control().is_leaving() && self.is_between_requests() {
            return Poll::Ready(Ok(Turned::Ended));
        }
        with_scratch(|scratch| {
            let mut buffer = ReadBuf::new(&mut scratch.input);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
            let read = buffer.filled().len();
            if read == 0 {
                return Poll::Ready(Ok(Turned::Ended));
            }
            let next = if self.pending.is_empty() {
                let input = &scratch.input[..read];
                let fed = self
                    .session
                    .feed(self.place.node(), input, &mut scratch.out);
                self.pending.extend_from_slice(&input[fed.used..]);
                fed.next
            } else {
                self.pending.extend_from_slice(&scratch.input[..read]);
                self.feed_pending(&mut scratch.out)
            };
            self.finish_turn(cx, read, next, &mut scratch.out)
        })
    }

    /// Executes what was read before.
    fn poll_resume(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Turned>> {
        with_scratch(|scratch| {
            let next = self.feed_pending(&mut scratch.out);
            self.finish_turn(cx, 0, next, &mut scratch.out)
        })
    }

    fn feed_pending(&mut self, out: &mut Output) -> Next {
        let input = &self.pending[self.done..];
        let fed = self.session.feed(self.place.node(), input, out);
        self.done += fed.used;
        if self.done == self.pending.len() {
            self.pending = Vec::new();
            self.done = 0;
        } else if fed.next == Next::Read {
            self.pending.drain(..self.done);
            self.done = 0;
        }
        fed.next
    }

    /// Sends what the socket takes at once; the rest becomes the connection's own.
    fn finish_turn(
        &mut self,
        cx: &mut Context<'_>,
        read: usize,
        next: Next,
        out: &mut Output,
    ) -> Poll<io::Result<Turned>> {
        self.session.count_traffic(read, out.len());
        if self.farewell == Farewell::Awaits && !out.is_empty() {
            self.farewell = Farewell::Said;
        }
        while !out.is_empty() {
            match poll_write(&mut self.stream, cx, out) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    out.clear();
                    return Poll::Ready(Err(error));
                }
                Poll::Pending => {
                    self.unsent = Some(Box::new(std::mem::take(out)));
                    break;
                }
            }
        }
        out.shrink(OUTPUT_KEPT_BYTES);
        Poll::Ready(Ok(Turned::Next(next)))
    }

    /// Reads a large value straight into its place.
    async fn upload(&mut self) -> io::Result<Turned> {
        self.place.control().enter(Phase::Busy);
        let read = match self.session.upload_buffer() {
            Some(mut buffer) => self.stream.read_buf(&mut buffer).await?,
            None => return Ok(Turned::Next(Next::Read)),
        };
        if read == 0 {
            return Ok(Turned::Ended);
        }
        std::future::poll_fn(|cx| {
            with_scratch(|scratch| {
                let fed = self.session.feed(self.place.node(), &[], &mut scratch.out);
                self.finish_turn(cx, read, fed.next, &mut scratch.out)
            })
        })
        .await
    }

    /// Waits until the peer has taken everything. The registry closes a peer that takes nothing for too long.
    async fn flush(&mut self) -> io::Result<()> {
        if let Some(mut unsent) = self.unsent.take() {
            while !unsent.is_empty() {
                self.place.control().enter(Phase::Writing);
                std::future::poll_fn(|cx| poll_write(&mut self.stream, cx, &mut unsent)).await?;
            }
        }
        // Only TLS holds something back here.
        let mut waits = false;
        std::future::poll_fn(|cx| {
            let flushed = Pin::new(&mut self.stream).poll_flush(cx);
            if flushed.is_pending() && !std::mem::replace(&mut waits, true) {
                self.place.control().enter(Phase::Writing);
            }
            flushed
        })
        .await
    }

    /// Tells the registry where the connection stands. False when its credential went while it logged in.
    fn settle(&mut self) -> bool {
        let between = self.is_between_requests();
        match self.session.account() {
            None => {
                self.place.control().forget_account();
                self.place.control().enter(Phase::Login);
                true
            }
            Some(account) => {
                let valid = self.place.control().hold_account(account);
                let phase = if between { Phase::Idle } else { Phase::Busy };
                self.place.control().enter(phase);
                valid
            }
        }
    }

    /// Ends our side and lets the peer take the last reply: closing at once, with bytes of the peer unread, would
    /// reset the connection and could destroy it.
    async fn close(&mut self) -> io::Result<()> {
        self.place.control().enter(Phase::Closing);
        self.flush().await?;
        self.place.control().enter(Phase::Closing);
        self.stream.shutdown().await?;
        std::future::poll_fn(|cx| self.poll_discard(cx)).await
    }

    /// Reads to the end and keeps nothing.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_scratch(|scratch| {
            loop {
                let mut buffer = ReadBuf::new(&mut scratch.input);
                ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
                if buffer.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
            }
        })
    }
}

/// One write of as much as there is.
fn poll_write<S: AsyncWrite + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    out: &mut Output,
) -> Poll<io::Result<()>> {
    let stream = Pin::new(stream);
    let sent = match out.as_one_piece() {
        Some([]) => return Poll::Ready(Ok(())),
        Some(piece) => ready!(stream.poll_write(cx, piece))?,
        None => {
            let mut pieces = [IoSlice::new(&[]); PIECES];
            let filled = out.pieces(&mut pieces);
            ready!(stream.poll_write_vectored(cx, &pieces[..filled]))?
        }
    };
    if sent == 0 {
        return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
    }
    out.advance(sent);
    Poll::Ready(Ok(()))
}
